//! What changed in a database lately: for those who watch, and for those who were away and come back.
//!
//! Guarantees: a change is noted with what its record was before (schema and time, never its text), in the order in which changes
//! became visible; the log is bounded, counted in the database's budget, and the first thing to give way when that is
//! exhausted. Refuses to know: who watches, and what of it they may see.

use std::collections::VecDeque;

use adyton_couch::rev::Rev;
use adyton_protocol::scope::Instant;

use super::budget::{Budget, Reservation};

/// Most changes that are remembered.
const MOST_CHANGES: usize = 10_000;
/// Most bytes that they take.
const MOST_BYTES: usize = 1 << 20;

/// The changes since the database was loaded, as far as they are remembered.
pub(super) struct Changes {
    /// Empty while the database is loading.
    log: VecDeque<Change>,
    /// The position of the change that comes next.
    next: u64,
    is_begun: bool,
    /// What the texts in the log take beside it.
    text_bytes: usize,
    counted: Reservation,
}

/// A change of one record.
pub(super) struct Change {
    pub(super) slot: u32,
    /// What was there before; none if nothing.
    pub(super) was: Option<Was>,
    pub(super) now: Now,
}

/// What a record was before it changed: as much as decides who could see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Was {
    pub(super) schema: WasOf,
    /// When it happened.
    pub(super) at: Option<Instant>,
}

/// The schema of a record that was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WasOf {
    /// As the database numbers them; also none.
    Code(u16),
    /// One that has no number.
    Name(Box<str>),
}

/// What a change made of a record.
pub(super) enum Now {
    /// The record has this revision.
    Record(Rev),
    /// The record with this id is gone, with this revision.
    Gone(Box<str>, Rev),
}

impl Change {
    fn text_bytes(&self) -> usize {
        let was = match &self.was {
            Some(Was {
                schema: WasOf::Name(name),
                ..
            }) => name.len(),
            Some(_) | None => 0,
        };
        let gone = match &self.now {
            Now::Gone(id, _) => id.len(),
            Now::Record(_) => 0,
        };
        was + gone
    }
}

impl Changes {
    pub(super) fn new(budget: &Budget) -> Self {
        Self {
            log: VecDeque::new(),
            next: 0,
            is_begun: false,
            text_bytes: 0,
            counted: budget.reserve_beyond_limit(0),
        }
    }

    /// Remembers changes from now on: what was there when the database was loaded is no change.
    pub(super) fn begin(&mut self) {
        self.is_begun = true;
    }

    /// Whether changes are remembered.
    pub(super) fn is_begun(&self) -> bool {
        self.is_begun
    }

    /// The position behind the last change.
    pub(super) fn end(&self) -> u64 {
        self.next
    }

    /// Notes a change, and forgets the oldest if there are too many.
    pub(super) fn note(&mut self, change: Change) {
        self.text_bytes += change.text_bytes();
        self.log.push_back(change);
        self.next += 1;
        while self.log.len() > MOST_CHANGES || self.bytes() > MOST_BYTES {
            let Some(oldest) = self.log.pop_front() else {
                return;
            };
            self.text_bytes -= oldest.text_bytes();
        }
    }

    /// Counts what the log takes. It gives way when there is no room for it.
    pub(super) fn settle(&mut self) {
        let taken = self.log.capacity() * size_of::<Change>() + self.text_bytes;
        if self.counted.resize(taken).is_err() {
            self.clear();
        }
    }

    /// Forgets all changes: who has not been told must begin again.
    pub(super) fn clear(&mut self) {
        self.log = VecDeque::new();
        self.text_bytes = 0;
        self.counted.resize_beyond_limit(0);
    }

    /// The changes from a position on; none if some of them are forgotten, or the position never was.
    pub(super) fn since(
        &self,
        position: u64,
    ) -> Option<impl DoubleEndedIterator<Item = (u64, &Change)> + ExactSizeIterator> {
        let first = self.next - self.log.len() as u64;
        let missed = usize::try_from(position.checked_sub(first)?).ok()?;
        let rest = (missed <= self.log.len()).then(|| self.log.range(missed..))?;
        // Positions are counted from the end, so that the iterator can be walked from both.
        Some(
            rest.enumerate()
                .map(move |(at, change)| (position + at as u64, change)),
        )
    }

    fn bytes(&self) -> usize {
        self.log.len() * size_of::<Change>() + self.text_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone(slot: u32, id: &str) -> Change {
        Change {
            slot,
            was: None,
            now: Now::Gone(id.into(), Rev::LOWEST),
        }
    }

    #[test]
    fn the_log_is_bounded_by_number_and_by_bytes_and_says_what_it_forgot() {
        for id in ["x".to_owned(), "x".repeat(4096)] {
            let budget = Budget::new(1 << 30);
            let mut changes = Changes::new(&budget);
            for slot in 0..2 * MOST_CHANGES {
                changes.note(gone(slot as u32, &id));
            }
            changes.settle();
            let end = changes.end();
            assert_eq!(end, 2 * MOST_CHANGES as u64);
            let first = end - changes.log.len() as u64;
            assert!(changes.since(first - 1).is_none() && changes.since(end + 1).is_none());
            assert_eq!(changes.since(end).unwrap().len(), 0);
            let all: Vec<u64> = changes.since(first).unwrap().map(|(at, _)| at).collect();
            assert_eq!(all, (first..end).collect::<Vec<_>>());
            assert!(changes.bytes() <= MOST_BYTES && changes.log.len() <= MOST_CHANGES);
            assert!((changes.bytes()..3 * MOST_BYTES).contains(&budget.used()));
            changes.clear();
            assert_eq!(budget.used(), 0);
        }
    }

    #[test]
    fn the_log_gives_way_when_there_is_no_room() {
        let budget = Budget::new(1000);
        let mut changes = Changes::new(&budget);
        changes.note(gone(0, "a"));
        changes.settle();
        assert!(changes.since(0).is_some());
        changes.note(gone(1, &"x".repeat(1000)));
        changes.settle();
        assert!(changes.since(0).is_none() && changes.since(1).is_none());
        assert_eq!((changes.since(2).unwrap().len(), budget.used()), (0, 0));
    }
}
