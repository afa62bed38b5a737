//! What the guest's programs asked of their kernel, as the emulator's plugin saw it (`enclave/rig/qemu/system-calls.c`).

use std::fs;
use std::io;
use std::path::Path;

const OPEN: u64 = 2;
const OPENAT: u64 = 257;
const OPENAT2: u64 = 437;
const EXECVE: u64 = 59;
const EXECVEAT: u64 = 322;

/// Calls whose only purpose is to make, move, size or attach files: truncate, ftruncate, rename, mkdir, creat, link,
/// symlink, mknod, mount, mq_open, mkdirat, mknodat, renameat, linkat, symlinkat, fallocate, open_by_handle_at, renameat2,
/// memfd_create, shmget, io_uring_setup, open_tree, move_mount, fsopen, fsmount, memfd_secret.
const MAKING: [u64; 26] = [
    76, 77, 82, 83, 85, 86, 88, 133, 165, 240, 258, 259, 264, 265, 266, 285, 304, 316, 319, 29,
    425, 428, 429, 430, 432, 447,
];

/// `O_CREAT` and `O_TMPFILE` of Linux on x86-64.
const O_CREAT: u64 = 0o100;
const O_TMPFILE: u64 = 0o20_000_000;

/// The kinds of access of `open`: everything but reading.
const O_ACCMODE: u64 = 3;

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its number (x86-64).
    pub number: u64,
    /// The first four arguments; for `openat2` the third are the flags.
    pub arguments: [u64; 4],
    /// The path that it names.
    pub path: String,
}

impl Call {
    /// Reads a line of the plugin.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`]; a call by the 32-bit ways is none that anybody here makes.
    pub fn parse(line: &str) -> io::Result<Self> {
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, line.to_owned());
        let mut words = line.split(' ');
        let mut next = || words.next().ok_or_else(invalid);
        let number = next()?.parse().map_err(|_| invalid())?;
        let mut arguments = [0; 4];
        for argument in &mut arguments {
            *argument = u64::from_str_radix(next()?, 16).map_err(|_| invalid())?;
        }
        let path = next()?.to_owned();
        Ok(Self {
            number,
            arguments,
            path,
        })
    }

    /// Whether the call would make a file, with or without a name, or open one for writing. Also when it was refused.
    #[must_use]
    pub fn makes_or_writes_a_file(&self) -> bool {
        match self.number {
            OPEN => opens_to_change(self.arguments[1]),
            OPENAT | OPENAT2 => opens_to_change(self.arguments[2]),
            number => MAKING.contains(&number),
        }
    }

    /// Whether the call would start another program.
    #[must_use]
    pub fn starts_a_program(&self) -> bool {
        [EXECVE, EXECVEAT].contains(&self.number)
    }
}

fn opens_to_change(flags: u64) -> bool {
    flags & (O_CREAT | O_TMPFILE | O_ACCMODE) != 0
}

/// Everything that was recorded so far.
///
/// # Errors
/// When the file cannot be read or has a line that is none.
pub fn recorded(file: &Path) -> io::Result<Vec<Call>> {
    let text = fs::read_to_string(file)?;
    // The last line may still be written.
    let whole = text
        .rfind('\n')
        .map_or("", |end| text.get(..end).unwrap_or_default());
    whole.lines().map(Call::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_make_files_are_told_from_those_that_read() {
        let makes = |line: &str| Call::parse(line).unwrap().makes_or_writes_a_file();
        assert!(makes("257 ffffff9c 7ffe 241 1b6 /etc/new"));
        assert!(makes("257 ffffff9c 7ffe 1 0 /dev/console"));
        assert!(makes("319 7ffe 3 0 0 config"));
        assert!(makes("83 7ffe 1ff 0 0 /tmp/x"));
        assert!(
            Call::parse("59 7ffe 7ffe 7ffe 0 /adyton-node")
                .unwrap()
                .starts_a_program()
        );
        assert!(!makes("257 ffffff9c 7ffe 80000 0 /proc/self/status"));
        assert!(!makes("1 1 7ffe 10 0 -"));
        assert!(Call::parse("legacy").is_err());
    }
}
