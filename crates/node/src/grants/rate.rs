//! How often a grant may be used: its terms' rate, as a bucket that fills evenly.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use adyton_protocol::scope::Rate;

/// Counts the uses of one grant.
#[derive(Debug)]
pub(super) struct Meter(Option<(Rate, Mutex<Bucket>)>);

#[derive(Debug)]
struct Bucket {
    left: f64,
    at: SystemTime,
}

/// What is left of a grant's rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLeft {
    /// The rate.
    pub rate: Rate,
    /// Requests that are allowed at once.
    pub remaining: u32,
    /// Until one more is.
    pub wait: Duration,
}

impl Meter {
    /// A full bucket.
    pub(super) fn new(rate: Option<Rate>, now: SystemTime) -> Self {
        Self(rate.map(|rate| {
            let left = f64::from(rate.requests);
            (rate, Mutex::new(Bucket { left, at: now }))
        }))
    }

    /// Takes one out. `None`: there is no limit; `Err`: there is none left.
    pub(super) fn take(&self, now: SystemTime) -> Result<Option<RateLeft>, RateLeft> {
        let Some((rate, bucket)) = &self.0 else {
            return Ok(None);
        };
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let per_second = f64::from(rate.requests) / f64::from(rate.seconds);
        let passed = now.duration_since(bucket.at).unwrap_or_default();
        bucket.left = (bucket.left + passed.as_secs_f64() * per_second).min(rate.requests.into());
        bucket.at = now.max(bucket.at);
        let taken = bucket.left >= 1.0;
        if taken {
            bucket.left -= 1.0;
        }
        let missing = (1.0 - bucket.left).max(0.0);
        let left = RateLeft {
            rate: *rate,
            // Less than `requests`, which is a u32.
            remaining: bucket.left as u32,
            wait: Duration::from_secs_f64(missing / per_second),
        };
        match taken {
            true => Ok(Some(left)),
            false => Err(left),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_allows_as_many_as_it_says_and_then_as_fast_as_it_says() {
        let rate = Rate {
            requests: 3,
            seconds: 30,
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let meter = Meter::new(Some(rate), now);
        for remaining in [2, 1, 0] {
            assert_eq!(meter.take(now).unwrap().unwrap().remaining, remaining);
        }
        let refused = meter.take(now).unwrap_err();
        assert_eq!(refused.wait, Duration::from_secs(10));
        assert!(meter.take(now + Duration::from_secs(9)).is_err());
        assert!(meter.take(now + Duration::from_secs(10)).is_ok());
        // Idle time is not saved up beyond the rate.
        let later = now + Duration::from_secs(10_000);
        assert_eq!((0..10).filter(|_| meter.take(later).is_ok()).count(), 3);
        // A clock that goes back gives nothing.
        assert!(meter.take(now).is_err());
    }

    #[test]
    fn without_a_rate_there_is_no_limit() {
        let meter = Meter::new(None, SystemTime::UNIX_EPOCH);
        assert!((0..1000).all(|_| meter.take(SystemTime::UNIX_EPOCH) == Ok(None)));
    }
}
