//! A sealed request that may change something is taken once: RFC 9458 section 6.5.
//!
//! Guarantees: within the time in which a date is accepted, no `enc` is taken twice; what is remembered is bounded. Who
//! replays a reading request gets an answer that only the first sender can open, so those are not remembered.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// How far a request's date may be from our clock, either way.
const TOLERANCE: Duration = Duration::from_secs(300);

/// A date is accepted for twice the tolerance: as long is a request remembered, and at most twice as long.
const GENERATION: Duration = Duration::from_secs(600);

/// Requests of one generation (10 MB).
const MOST: usize = 1 << 18;

/// Why a request is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// No date, or one too far from now.
    Date,
    /// It came before.
    Again,
    /// No more can be remembered.
    Full,
}

/// What came before.
#[derive(Debug)]
pub(super) struct Replays {
    most: usize,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    current: HashSet<[u8; 32]>,
    before: HashSet<[u8; 32]>,
    since: SystemTime,
}

impl Replays {
    pub(super) fn new(now: SystemTime) -> Self {
        Self::of_at_most(MOST, now)
    }

    fn of_at_most(most: usize, now: SystemTime) -> Self {
        let seen = Mutex::new(Seen {
            current: HashSet::new(),
            before: HashSet::new(),
            since: now,
        });
        Self { most, seen }
    }

    /// Takes a request made at this date, if it is new.
    pub(super) fn take(
        &self,
        enc: [u8; 32],
        date: Option<SystemTime>,
        now: SystemTime,
    ) -> Result<(), NotTaken> {
        let date = date.ok_or(NotTaken::Date)?;
        let apart = now
            .duration_since(date)
            .unwrap_or_else(|ahead| ahead.duration());
        if apart > TOLERANCE {
            return Err(NotTaken::Date);
        }
        let mut seen = self.seen();
        // A clock that was set back keeps the generation: more is remembered, not less.
        if now
            .duration_since(seen.since)
            .is_ok_and(|age| age > GENERATION)
        {
            seen.before = std::mem::take(&mut seen.current);
            seen.since = now;
        }
        if seen.current.contains(&enc) || seen.before.contains(&enc) {
            return Err(NotTaken::Again);
        }
        if seen.current.len() >= self.most {
            return Err(NotTaken::Full);
        }
        seen.current.insert(enc);
        Ok(())
    }

    /// A request that nobody had a right to make changed nothing: it leaves no trace for strangers to fill the room with.
    pub(super) fn forget(&self, enc: &[u8; 32]) {
        let mut seen = self.seen();
        seen.current.remove(enc);
        seen.before.remove(enc);
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    #[test]
    fn a_request_is_taken_once_as_long_as_its_date_is_good() {
        let replays = Replays::new(at(0));
        for dated in [0, 299, 301, 601, 1200] {
            let (enc, date) = ([dated as u8; 32], Some(at(dated + 300)));
            assert_eq!(replays.take(enc, date, at(dated)), Ok(()));
            for later in [0, 1, 299, 300, 599, 600] {
                let again = replays.take(enc, date, at(dated + later));
                assert_eq!(again, Err(NotTaken::Again), "{dated} {later}");
            }
            let late = replays.take(enc, date, at(dated + 601));
            assert_eq!(late, Err(NotTaken::Date));
        }
    }

    #[test]
    fn a_date_is_needed_and_near() {
        let replays = Replays::new(at(0));
        let take = |date| replays.take([1; 32], date, at(1000));
        assert_eq!(take(None), Err(NotTaken::Date));
        assert_eq!(take(Some(at(699))), Err(NotTaken::Date));
        assert_eq!(take(Some(at(1301))), Err(NotTaken::Date));
        assert_eq!(take(Some(at(700))), Ok(()));
    }

    #[test]
    fn the_room_is_bounded_and_strangers_leave_nothing() {
        let replays = Replays::of_at_most(2, at(0));
        let take = |seed, now| replays.take([seed; 32], Some(at(now)), at(now));
        assert_eq!((take(1, 0), take(2, 0)), (Ok(()), Ok(())));
        assert_eq!(take(3, 0), Err(NotTaken::Full));
        replays.forget(&[2; 32]);
        assert_eq!(take(3, 0), Ok(()));
        assert_eq!(take(4, 601), Ok(()));
        assert_eq!(take(1, 601), Err(NotTaken::Again));
    }
}
