//! How slowly a peer may take what it is told: an answer keeps what it tells from in use, pages on disk that cannot be written anew.
//!
//! Guarantees: whoever takes bytes at [`LEAST_RATE`] is never too slow in the long run, and whoever takes fewer is, once his
//! waits exceed what he took by the time for a small answer. Only waiting for the peer counts, so a feed without news is not slow.

use std::time::Duration;

/// Bytes a second that a peer must take in the long run: as many as it must send ([`super::body`]).
const LEAST_RATE: u64 = 16 << 10;

/// How far a peer is behind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    patience: Duration,
    behind: Duration,
}

impl Pace {
    /// With so much time for a small answer.
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            patience,
            behind: Duration::ZERO,
        }
    }

    /// The peer let the node wait so long, and took so many bytes then.
    pub(super) fn took(&mut self, waited: Duration, bytes: u64) {
        let worth =
            Duration::from_secs_f64(f64::from(clamped(bytes)) / f64::from(clamped(LEAST_RATE)));
        self.behind = (self.behind + waited).saturating_sub(worth);
    }

    /// How long it may let the node wait from now on.
    pub(super) fn left(&self) -> Duration {
        self.patience.saturating_sub(self.behind)
    }
}

fn clamped(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_little_is_behind_and_who_takes_enough_never_is() {
        let seconds = Duration::from_secs;
        let mut drip = Pace::new(seconds(60));
        drip.took(seconds(29), 1);
        drip.took(seconds(29), 1);
        assert!(drip.left() < seconds(3));
        drip.took(seconds(29), 1);
        assert_eq!(drip.left(), Duration::ZERO);

        let mut steady = Pace::new(seconds(60));
        for _ in 0..1_000 {
            steady.took(seconds(20), 20 * LEAST_RATE);
            assert_eq!(steady.left(), seconds(60));
        }
        // What was taken fast is not saved up.
        steady.took(Duration::ZERO, 1_000 * LEAST_RATE);
        steady.took(seconds(61), 0);
        assert_eq!(steady.left(), Duration::ZERO);
    }
}
