//! How many files the node may need to have open, and how many the system lets it.

use std::path::Path;

use crate::config::Limits;

/// Places that the resolver asks at one time, at most: its turns for logins and look-ups, and the places of each.
const PLACES: usize = (256 + 64) * adyton_resolver::registry::MAX_PLACES;
/// Everything else: the node's own file, sockets that listen, kept connections.
const OTHERS: usize = 256;

/// The limits of a process, as Linux tells them.
const LIMITS_FILE: &str = "/proc/self/limits";

/// What the node may need and what it has, when it has less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooFewFiles {
    /// Files that it may need to have open at one time.
    pub needed: usize,
    /// Files that it may open.
    pub allowed: usize,
}

impl TooFewFiles {
    /// Looks whether this process may open as many files as these limits need. None also where the system does not tell.
    pub fn look(limits: &Limits) -> Option<Self> {
        let text = std::fs::read_to_string(Path::new(LIMITS_FILE)).ok()?;
        Self::of(limits, soft_limit(&text)?)
    }

    fn of(limits: &Limits, allowed: usize) -> Option<Self> {
        // Twice as many databases may be open while some are being closed.
        let needed = limits.connections + 2 * limits.open_databases + PLACES + OTHERS;
        (allowed < needed).then_some(Self { needed, allowed })
    }
}

fn soft_limit(text: &str) -> Option<usize> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(usize::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_limit_is_too_low_for_the_defaults_and_what_the_guide_says_is_enough() {
        let text = "Limit                     Soft Limit           Hard Limit           Units\n\
            Max open files            1024                 524288               files\n";
        assert_eq!(soft_limit(text), Some(1024));
        let unlimited = "Max open files            unlimited            unlimited            files";
        assert_eq!(soft_limit(unlimited), Some(usize::MAX));
        assert_eq!(soft_limit("Max cpu time unlimited unlimited seconds"), None);
        let limits = Limits::default();
        let few = TooFewFiles::of(&limits, 1024).unwrap();
        assert_eq!(TooFewFiles::of(&limits, few.needed), None);
        assert!(TooFewFiles::of(&limits, few.needed - 1).is_some());
        assert_eq!(TooFewFiles::of(&limits, 65_536), None);
    }
}
