//! Files with a secret in them: written for their owner alone, and read only if that still holds.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use zeroize::Zeroizing;

use crate::failure::Failure;

/// No secret that we read is longer: 24 words and a token fit many times.
const MAX_SECRET_BYTES: u64 = 4 << 10;

/// What a file holds, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The key of an account.
    Key,
    /// An access token.
    Token,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "key",
            Self::Token => "token",
        })
    }
}

/// Writes a secret to a new file with mode 0600. An existing file is never overwritten.
pub fn write(path: &Path, kind: Kind, secret: &str) -> Result<(), Failure> {
    create(path, secret).map_err(|error| {
        let shown = path.display();
        let failure = Failure::of(format_args!("cannot write the {kind} to {shown}"), &error);
        match error.kind() {
            io::ErrorKind::AlreadyExists => failure.hint(format!(
                "choose another name with --out; a {kind} is never overwritten"
            )),
            _ => failure,
        }
    })
}

/// Reads a secret from a file that nobody else can read.
pub fn read(path: &Path, kind: Kind) -> Result<Zeroizing<String>, Failure> {
    let failed = |error: io::Error| {
        let missing = error.kind() == io::ErrorKind::NotFound;
        let shown = path.display();
        let failure = Failure::of(format_args!("cannot read the {kind} file {shown}"), &error);
        match (missing, kind) {
            (true, Kind::Key) => failure
                .hint("make one with `adyton account new`, or name yours with --account FILE"),
            (true, Kind::Token) => {
                failure.hint("make one with `adyton token new --out FILE`, or pipe it in with `-`")
            }
            (false, _) => failure,
        }
    };
    let file = File::open(path).map_err(failed)?;
    check_mode(path, kind, &file.metadata().map_err(failed)?)?;
    read_from(file).map_err(failed)
}

/// Reads a secret from wherever it comes.
pub fn read_from(source: impl Read) -> io::Result<Zeroizing<String>> {
    // Room for all of it at once: a string that grows would leave copies behind.
    let mut secret = Zeroizing::new(String::with_capacity(MAX_SECRET_BYTES as usize + 1));
    source
        .take(MAX_SECRET_BYTES + 1)
        .read_to_string(&mut secret)?;
    if secret.len() as u64 > MAX_SECRET_BYTES {
        let text = format!("longer than {MAX_SECRET_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(secret)
}

fn create(path: &Path, secret: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(secret.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

#[cfg(unix)]
fn check_mode(path: &Path, kind: Kind, metadata: &std::fs::Metadata) -> Result<(), Failure> {
    let mode = std::os::unix::fs::MetadataExt::mode(metadata) & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let shown = path.display();
    Err(Failure::new(format!(
        "others can read the {kind} file {shown} (mode {mode:04o})"
    ))
    .hint(format!("chmod 600 {shown}")))
}

#[cfg(not(unix))]
fn check_mode(_: &Path, _: Kind, _: &std::fs::Metadata) -> Result<(), Failure> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_over_the_limit_is_refused_and_not_cut() {
        let most = "x".repeat(MAX_SECRET_BYTES as usize);
        assert_eq!(*read_from(most.as_bytes()).unwrap(), most);
        assert!(read_from(format!("{most}x").as_bytes()).is_err());
    }

    #[test]
    fn a_secret_comes_back_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        write(&path, Kind::Token, "adyt_x").unwrap();
        assert_eq!(read(&path, Kind::Token).unwrap().trim(), "adyt_x");
    }

    #[test]
    #[cfg(unix)]
    fn a_secret_that_others_can_read_is_not_used() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write(&path, Kind::Key, "words").unwrap();
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode));
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        mode(0o640).unwrap();
        let failure = read(&path, Kind::Key).unwrap_err().to_string();
        assert!(failure.contains("mode 0640") && failure.contains("chmod 600"));
    }
}
