//! Files: read within a limit, written whole or not at all.
//!
//! Guarantees: a file that is replaced holds the old or the new content, whatever happens in between.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Reads a file of at most `limit` bytes, and one byte more of a longer one, so that its reader refuses it.
pub(crate) fn read(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The same; none if there is no such file.
pub(crate) fn read_if_there(path: &Path, limit: usize) -> io::Result<Option<Vec<u8>>> {
    match read(path, limit) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a file beside it, makes that durable, and puts it in its place.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = beside(path, &format!("new-{}", std::process::id()));
    let written = write(&new, bytes).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // Nobody reads the half-written one; that it cannot be removed is no other fault than the first.
        let _ = fs::remove_file(&new);
    }
    written
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Held while a file is read and replaced, so that of two programs one waits. Ends with the value.
pub(crate) struct Turn(#[expect(dead_code, reason = "the lock ends with the file")] File);

impl Turn {
    pub(crate) fn take(path: &Path) -> io::Result<Self> {
        let lock = beside(path, "lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(lock)?;
        file.lock()?;
        Ok(Self(file))
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("memory.json");
        assert_eq!(read_if_there(&path, 9).unwrap(), None);
        for content in [b"one".as_slice(), b"another"] {
            replace(&path, content).unwrap();
            assert_eq!(read(&path, 9).unwrap(), content);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(replace(&folder.path().join("no/such/folder"), b"x").is_err());
    }

    #[test]
    fn a_longer_file_is_read_to_one_byte_over_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long");
        replace(&path, &[7; 100]).unwrap();
        assert_eq!(read(&path, 10).unwrap(), [7; 11]);
    }

    #[test]
    fn of_two_programs_one_waits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("memory.json");
        replace(&path, b"0").unwrap();
        let count_to = |path: &Path| {
            for _ in 0..50 {
                let _turn = Turn::take(path).unwrap();
                let text = String::from_utf8(read(path, 9).unwrap()).unwrap();
                let next = text.parse::<u32>().unwrap() + 1;
                replace(path, next.to_string().as_bytes()).unwrap();
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| count_to(&path));
        });
        count_to(&path);
        assert_eq!(read(&path, 9).unwrap(), b"100");
    }
}
