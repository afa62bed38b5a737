//! How much memory the machine has, as its kernel says. Read once, before files are out of reach.

use std::fs::File;
use std::io::Read as _;

/// Where the kernel says it (proc(5)).
const FILE: &str = "/proc/meminfo";
/// Longest text that is read of it.
const MAX_BYTES: u64 = 16 * 1024;

/// The bytes of memory of this machine; `None` where the kernel does not say.
#[must_use]
pub fn memory() -> Option<u64> {
    let mut text = String::new();
    let file = File::open(FILE).ok()?;
    file.take(MAX_BYTES).read_to_string(&mut text).ok()?;
    total(&text)
}

/// `MemTotal:       16384000 kB`, where a kB is 1024 bytes.
fn total(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_understood() {
        let text = "MemTotal:        6100000 kB\nMemFree:  1 kB\n";
        assert_eq!(total(text), Some(6_100_000 * 1024));
        for none in [
            "",
            "MemTotal: kB",
            "MemTotal: 5",
            "MemFree: 5 kB",
            "MemTotal: -5 kB",
        ] {
            assert_eq!(total(none), None, "{none}");
        }
        assert!(memory().is_none_or(|bytes| bytes > 1 << 20));
    }
}
