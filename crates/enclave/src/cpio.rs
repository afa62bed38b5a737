//! An archive that the kernel unpacks into its first file system (`newc`, see the kernel's
//! `Documentation/driver-api/early-userspace/buffer-format.rst`).
//!
//! Guarantees: the same entries give the same bytes, whatever order, machine, user or time: names are sorted, inodes
//! count from 1, owner, group and times are 0. Refuses to know: compression, links, devices.

use std::collections::BTreeMap;

/// An archive in the making: names and what is behind them.
#[derive(Debug, Default)]
pub struct Archive {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
enum Entry {
    Folder,
    Program(Vec<u8>),
}

/// What an archive holds, as [`read`] tells it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Item {
    /// Its path, without a leading slash.
    pub name: String,
    /// File type and permissions, as `stat` gives them.
    pub mode: u32,
    /// Its length; 0 for a folder.
    pub bytes: usize,
}

impl Archive {
    /// Nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an empty folder that everybody may enter and nobody may change.
    #[must_use]
    pub fn with_folder(mut self, name: &str) -> Self {
        self.entries.insert(name.to_owned(), Entry::Folder);
        self
    }

    /// Adds a program that everybody may read and start and nobody may change.
    #[must_use]
    pub fn with_program(mut self, name: &str, bytes: Vec<u8>) -> Self {
        self.entries.insert(name.to_owned(), Entry::Program(bytes));
        self
    }

    /// The archive's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (inode, (name, entry)) in (1..).zip(&self.entries) {
            match entry {
                Entry::Folder => write(&mut out, inode, FOLDER, name, &[]),
                Entry::Program(bytes) => write(&mut out, inode, PROGRAM, name, bytes),
            }
        }
        write(&mut out, 0, 0, END, &[]);
        out
    }
}

fn write(out: &mut Vec<u8>, inode: u32, mode: u32, name: &str, bytes: &[u8]) {
    let links = u32::from(name != END);
    let fields = [
        inode,
        mode,
        0, // user
        0, // group
        links,
        0, // modified
        bytes.len() as u32,
        0, // device, two numbers
        0,
        0, // device that it is, two numbers
        0,
        name.len() as u32 + 1,
        0, // checksum, of another variant
    ];
    out.extend_from_slice(MAGIC);
    for field in fields {
        out.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    pad(out);
    out.extend_from_slice(bytes);
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
}

/// What is in an archive. Strict: what [`Archive::to_bytes`] does not write is refused, so that the list is complete.
///
/// # Errors
/// [`CpioError`] says where the archive is not one of ours.
pub fn read(archive: &[u8]) -> Result<Vec<Item>, CpioError> {
    let mut at = 0;
    let mut items: Vec<Item> = Vec::new();
    loop {
        let refused = |reason| CpioError { at, reason };
        let header = archive
            .get(at..at + HEADER)
            .ok_or(refused("the archive ends early"))?;
        let numbers = header
            .strip_prefix(MAGIC)
            .ok_or(refused("no entry starts here"))?;
        let field = |index: usize| {
            let digits = numbers.get(index * 8..index * 8 + 8).unwrap_or_default();
            digits
                .iter()
                .try_fold(0_u32, |number, digit| match digit {
                    b'0'..=b'9' => Some(number << 4 | u32::from(digit - b'0')),
                    b'a'..=b'f' => Some(number << 4 | u32::from(digit - b'a' + 10)),
                    _ => None,
                })
                .ok_or(refused("a number is not one"))
        };
        let (inode, mode, links) = (field(0)?, field(1)?, field(4)?);
        for always_zero in [2, 3, 5, 7, 8, 9, 10, 12] {
            if field(always_zero)? != 0 {
                return Err(refused("an owner, a time or a device is set"));
            }
        }
        let bytes = field(6)? as usize;
        let name_bytes = field(11)? as usize;
        if name_bytes > MAX_NAME {
            return Err(refused("a name is too long"));
        }
        let name = archive
            .get(at + HEADER..at + HEADER + name_bytes)
            .and_then(|name| name.strip_suffix(&[0]))
            .and_then(|name| str::from_utf8(name).ok())
            .ok_or(refused("a name is not one"))?;
        let start = padded(archive, at + HEADER + name_bytes).ok_or(refused("padding"))?;
        let end = start
            .checked_add(bytes)
            .filter(|end| *end <= archive.len())
            .ok_or(refused("a file ends after the archive"))?;
        let next = padded(archive, end).ok_or(refused("padding"))?;
        if name == END {
            let last = next == archive.len() && (inode, mode, links, bytes) == (0, 0, 0, 0);
            return if last {
                Ok(items)
            } else {
                Err(refused("something stands behind the end"))
            };
        }
        let expected_bytes = mode == PROGRAM || (mode == FOLDER && bytes == 0);
        if !expected_bytes || links != 1 || inode as usize != items.len() + 1 {
            return Err(refused("neither a program nor an empty folder"));
        }
        if items.last().is_some_and(|last| *last.name >= *name) || name.contains('\0') {
            return Err(refused("names are not in order"));
        }
        items.push(Item {
            name: name.to_owned(),
            mode,
            bytes,
        });
        at = next;
    }
}

/// The next aligned position, if there are only zeros on the way.
fn padded(archive: &[u8], from: usize) -> Option<usize> {
    let to = from.next_multiple_of(ALIGNMENT);
    let zeros = archive.get(from..to)?;
    zeros.iter().all(|byte| *byte == 0).then_some(to)
}

/// Why bytes are not an archive of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an archive of this builder, at byte {at}: {reason}")]
pub struct CpioError {
    at: usize,
    reason: &'static str,
}

const MAGIC: &[u8] = b"070701";
const HEADER: usize = 6 + 13 * 8;
const ALIGNMENT: usize = 4;
const MAX_NAME: usize = 256;
const END: &str = "TRAILER!!!";
/// A folder, `r-xr-xr-x`.
const FOLDER: u32 = 0o040_555;
/// A file, `r-xr-xr-x`.
const PROGRAM: u32 = 0o100_555;

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Archive {
        Archive::new()
            .with_program("init", vec![7; 5])
            .with_folder("dev")
    }

    #[test]
    fn what_was_put_in_is_listed_in_order() {
        let items = read(&sample().to_bytes()).unwrap();
        let names: Vec<_> = items
            .iter()
            .map(|item| (&*item.name, item.mode, item.bytes))
            .collect();
        assert_eq!(names, [("dev", 0o040_555, 0), ("init", 0o100_555, 5)]);
    }

    #[test]
    fn the_order_of_adding_does_not_matter() {
        let other = Archive::new()
            .with_folder("dev")
            .with_program("init", vec![7; 5]);
        assert_eq!(other.to_bytes(), sample().to_bytes());
    }

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let archive = Archive::new().with_program("a", b"hello".to_vec());
        let bytes = archive.to_bytes();
        let first = "070701\
            000000010000816d00000000000000000000000100000000\
            00000005000000000000000000000000000000000000000200000000";
        assert!(bytes.starts_with(format!("{first}a\0hello\0\0\0070701").as_bytes()));
        assert!(bytes.ends_with(b"TRAILER!!!\0\0\0\0"));
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn every_single_changed_byte_outside_of_contents_is_noticed() {
        let bytes = sample().to_bytes();
        let honest = read(&bytes).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let unnoticed = read(&changed).is_ok_and(|items| items == honest);
            let content = bytes.get(at) == Some(&7);
            assert_eq!(unnoticed, content, "byte {at}");
        }
    }

    #[test]
    fn a_longer_archive_is_refused() {
        let mut bytes = sample().to_bytes();
        bytes.extend_from_slice(&[0; 4]);
        assert!(read(&bytes).is_err());
    }
}
