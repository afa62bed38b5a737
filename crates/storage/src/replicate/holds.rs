//! Databases that one node does not take at present, each with a pause of its own: what fails for one holds up no other.
//!
//! Guarantees: a database waits out its pause whatever is written to it; only word from the other side shortens it, and never below
//! the first pause. It is held no longer once it was pushed, or is not there any more. Does no work, reads no clock.

use std::collections::{BTreeSet, HashMap};

use adyton_protocol::database::DatabaseHash;
use tokio::time::Instant;

use super::push::Taken;
use super::schedule::Pace;

#[derive(Debug)]
struct Hold {
    failures: u32,
    /// When it failed last.
    failed: Instant,
    /// None: it is being tried.
    due: Option<Instant>,
    /// Word came while it was tried.
    heard: bool,
}

/// The databases of one link that are held.
#[derive(Debug, Default)]
pub(super) struct Holds(HashMap<DatabaseHash, Hold>);

impl Holds {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those whose pause is over: they are tried from now on.
    pub(super) fn start(&mut self, now: Instant) -> BTreeSet<DatabaseHash> {
        let due = |hold: &Hold| hold.due.is_some_and(|due| due <= now);
        let over = self.0.iter_mut().filter(|(_, hold)| due(hold));
        over.map(|(hash, hold)| {
            hold.due = None;
            *hash
        })
        .collect()
    }

    /// Those that wait.
    pub(super) fn waiting(&self) -> BTreeSet<DatabaseHash> {
        let waiting = self.0.iter().filter(|(_, hold)| hold.due.is_some());
        waiting.map(|(hash, _)| *hash).collect()
    }

    /// When the first of them need not wait any more.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.0.values().filter_map(|hold| hold.due).min()
    }

    /// The other side was heard of: it may take now what it did not take.
    pub(super) fn hasten(&mut self, now: Instant, pace: &Pace) {
        for hold in self.0.values_mut() {
            let earliest = now.max(hold.failed + pace.first_pause);
            hold.heard = hold.due.is_none();
            hold.due = hold.due.map(|due| due.min(earliest));
        }
    }

    /// A turn ended. `roll` is a random number.
    pub(super) fn ended(&mut self, taken: &Taken, now: Instant, (pace, roll): (&Pace, u64)) {
        self.0.retain(|hash, hold| {
            if taken.failed.contains(hash) || hold.due.is_some() {
                return true;
            }
            // Not tried: it was not its turn yet, or nobody could be reached. The count of its failures stays.
            hold.due = Some(now);
            !taken.pushed.contains(hash) && taken.left.has(hash)
        });
        for hash in &taken.failed {
            let hold = self.0.entry(*hash).or_insert_with(|| Hold {
                failures: 0,
                failed: now,
                due: None,
                heard: false,
            });
            let pause = match std::mem::take(&mut hold.heard) {
                true => pace.first_pause,
                false => pace.pause(hold.failures, roll),
            };
            hold.failures = hold.failures.saturating_add(1);
            hold.failed = now;
            hold.due = Some(now + pause);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Link;
    use super::super::push::{Memory, Wanted};
    use super::super::schedule::Outcome;
    use super::*;

    fn hash(digit: &str) -> DatabaseHash {
        format!("v{}", digit.repeat(64)).parse().unwrap()
    }

    fn taken(pushed: &[DatabaseHash], failed: &[DatabaseHash], left: &[DatabaseHash]) -> Taken {
        Taken {
            link: Link {
                account: "a".into(),
                node: "https://b.example/".into(),
            },
            outcome: Outcome::Done,
            memory: Memory::default(),
            left: Wanted::These(left.iter().copied().collect()),
            pushed: pushed.iter().copied().collect(),
            failed: failed.iter().copied().collect(),
            look_again: false,
        }
    }

    #[test]
    fn what_fails_waits_twice_as_long_each_time_and_word_from_the_other_side_shortens_it() {
        let (mut now, pace, one) = (Instant::now(), Pace::default(), hash("1"));
        let mut holds = Holds::default();
        holds.ended(&taken(&[], &[one], &[]), now, (&pace, 0));
        for failures in 1..12_u32 {
            let due = holds.next_due().unwrap();
            let whole = Duration::from_secs(1 << (failures - 1)).min(pace.longest_pause);
            assert_eq!(due - now, whole / 2, "{failures}");
            assert!(holds.start(now).is_empty() && holds.waiting().contains(&one));
            now = due;
            assert_eq!(holds.start(now), BTreeSet::from([one]));
            assert!(holds.waiting().is_empty() && holds.next_due().is_none());
            holds.ended(&taken(&[], &[one], &[]), now, (&pace, 0));
        }
        holds.hasten(now, &pace);
        assert_eq!(holds.next_due(), Some(now + pace.first_pause));
        now += Duration::from_secs(5);
        holds.hasten(now, &pace);
        assert_eq!(holds.start(now), BTreeSet::from([one]));
        // Word that came while it was tried counts for the next time.
        holds.hasten(now, &pace);
        holds.ended(&taken(&[], &[one], &[]), now, (&pace, 0));
        assert_eq!(holds.next_due(), Some(now + pace.first_pause));
    }

    #[test]
    fn what_was_pushed_or_is_gone_is_held_no_longer_and_what_was_not_tried_is_tried_next() {
        let (now, pace) = (Instant::now(), Pace::default());
        let all = ["1", "2", "3", "4"].map(hash);
        let [pushed, gone, untried, half] = all;
        let mut holds = Holds::default();
        holds.ended(&taken(&[], &all, &[]), now, (&pace, 0));
        let now = now + pace.first_pause;
        assert_eq!(holds.start(now).len(), 4);
        let after = taken(&[pushed, half], &[], &[untried, half]);
        holds.ended(&after, now, (&pace, 0));
        assert_eq!(holds.waiting(), BTreeSet::from([untried]));
        assert_eq!(holds.next_due(), Some(now));
        assert!(!holds.waiting().contains(&gone));
        // Its failures are still counted.
        assert_eq!(holds.start(now), BTreeSet::from([untried]));
        holds.ended(&taken(&[], &[untried], &[]), now, (&pace, 0));
        assert_eq!(holds.next_due(), Some(now + pace.first_pause));
    }
}
