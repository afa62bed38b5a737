//! How often something may be asked for.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// How much may be asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(super) per_second: f64,
    pub(super) at_once: f64,
}

/// A token bucket.
#[derive(Debug)]
pub(crate) struct Bucket(Mutex<Level>);

#[derive(Debug)]
struct Level {
    tokens: f64,
    at: Option<SystemTime>,
}

impl Default for Bucket {
    /// Full, from its first use on.
    fn default() -> Self {
        Self(Mutex::new(Level {
            tokens: f64::INFINITY,
            at: None,
        }))
    }
}

impl Bucket {
    /// Takes one token, if there is one. A clock that goes backwards fills nothing.
    pub(super) fn take(&self, rate: Rate, now: SystemTime) -> bool {
        let mut level = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = level
            .at
            .and_then(|at| now.duration_since(at).ok())
            .unwrap_or_default();
        level.tokens = (level.tokens + passed.as_secs_f64() * rate.per_second).min(rate.at_once);
        level.at = Some(now);
        let taken = level.tokens >= 1.0;
        if taken {
            level.tokens -= 1.0;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_bucket_gives_what_it_has_and_fills_with_time() {
        let rate = Rate {
            per_second: 2.0,
            at_once: 3.0,
        };
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let bucket = Bucket::default();
        let take = |ms| bucket.take(rate, start + Duration::from_millis(ms));
        assert_eq!(
            [take(0), take(0), take(0), take(0)],
            [true, true, true, false]
        );
        assert_eq!([take(500), take(500)], [true, false]);
        assert_eq!(
            [take(60_500), take(60_500), take(60_500), take(60_500)],
            [true, true, true, false]
        );
        // A clock that was set back gives nothing away, and later it fills again.
        assert!(!take(0));
        assert!(take(500));
    }
}
