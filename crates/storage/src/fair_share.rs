//! So many at one time, and so many of one: connections of an address, feeds of a caller, bytes that a sender has in memory.
//!
//! Guarantees: one who takes all that there is leaves room for others; whoever leaves is counted no more, however it ends.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Those who are in.
#[derive(Debug, Clone)]
pub(crate) struct FairShare<K: Hash + Eq> {
    inside: Arc<Mutex<Inside<K>>>,
    most: Most,
}

#[derive(Debug, Clone, Copy)]
struct Most {
    all: u64,
    of_one: u64,
}

#[derive(Debug)]
struct Inside<K> {
    all: u64,
    of_each: HashMap<K, u64>,
}

/// A place of some size, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place<K: Hash + Eq> {
    inside: Arc<Mutex<Inside<K>>>,
    most: Most,
    of: K,
    size: u64,
}

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// All have as much as all may have.
    All,
    /// One has as much as one may have.
    One,
}

/// What one has beside the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) own: u64,
    /// How many have something.
    pub(crate) ones: usize,
}

impl<K: Hash + Eq + Clone> FairShare<K> {
    /// At most `all`, and `of_one` of one.
    pub(crate) fn new(all: u64, of_one: u64) -> Self {
        let inside = Inside {
            all: 0,
            of_each: HashMap::new(),
        };
        Self {
            inside: Arc::new(Mutex::new(inside)),
            most: Most { all, of_one },
        }
    }

    /// A place of this size, unless there is no room for it.
    pub(crate) fn enter(&self, one: K, size: u64) -> Option<Place<K>> {
        let mut place = Place {
            inside: Arc::clone(&self.inside),
            most: self.most,
            of: one,
            size: 0,
        };
        place.grow(size).ok()?;
        Some(place)
    }
}

impl<K: Hash + Eq + Clone> Place<K> {
    /// Takes so much more, or nothing.
    pub(crate) fn grow(&mut self, more: u64) -> Result<(), Full> {
        self.grow_leaving(more, 0)
    }

    /// The same, if so much is left of what all may have.
    pub(crate) fn grow_leaving(&mut self, more: u64, left: u64) -> Result<(), Full> {
        if more == 0 {
            return Ok(());
        }
        let mut inside = lock(&self.inside);
        let own = inside.of_each.get(&self.of).copied().unwrap_or(0);
        let (all, own) = (inside.all.saturating_add(more), own.saturating_add(more));
        if own > self.most.of_one {
            return Err(Full::One);
        }
        if all > self.most.all.saturating_sub(left) {
            return Err(Full::All);
        }
        inside.all = all;
        inside.of_each.insert(self.of.clone(), own);
        drop(inside);
        self.size += more;
        Ok(())
    }

    /// Gives so much of it back.
    pub(crate) fn shrink(&mut self, by: u64) {
        let by = by.min(self.size);
        self.size -= by;
        lock(&self.inside).give_back(&self.of, by);
    }
}

impl<K: Hash + Eq> Inside<K> {
    fn give_back(&mut self, of: &K, size: u64) {
        self.all = self.all.saturating_sub(size);
        let left = self.of_each.get_mut(of).map(|own| {
            *own = own.saturating_sub(size);
            *own
        });
        if left == Some(0) {
            self.of_each.remove(of);
        }
    }
}

impl<K: Hash + Eq> Place<K> {
    /// How the one that has it stands.
    pub(crate) fn standing(&self) -> Standing {
        let inside = lock(&self.inside);
        Standing {
            own: inside.of_each.get(&self.of).copied().unwrap_or(0),
            ones: inside.of_each.len(),
        }
    }
}

impl<K: Hash + Eq> Drop for Place<K> {
    fn drop(&mut self) {
        lock(&self.inside).give_back(&self.of, self.size);
    }
}

fn lock<K>(inside: &Mutex<Inside<K>>) -> MutexGuard<'_, Inside<K>> {
    inside.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_its_share_and_all_have_theirs_and_places_come_back() {
        let crowd = FairShare::new(3, 2);
        let first = crowd.enter("a", 1).unwrap();
        let _second = crowd.enter("a", 1).unwrap();
        assert!(crowd.enter("a", 1).is_none());
        let other = crowd.enter("b", 1).unwrap();
        assert!(crowd.enter("c", 1).is_none());
        drop(first);
        let third = crowd.enter("a", 1).unwrap();
        assert_eq!(third.standing(), Standing { own: 2, ones: 2 });
        assert!(crowd.enter("c", 1).is_none());
        drop(other);
        assert_eq!(lock(&crowd.inside).of_each.len(), 1);
        assert!(crowd.enter("c", 1).is_some());
    }

    #[test]
    fn a_place_grows_as_far_as_there_is_room() {
        let crowd = FairShare::new(10, 6);
        let mut first = crowd.enter("a", 2).unwrap();
        let second = crowd.enter("a", 3).unwrap();
        assert_eq!((first.grow(2), first.grow(1)), (Err(Full::One), Ok(())));
        drop(second);
        assert_eq!(first.grow(3), Ok(()));
        assert!(crowd.enter("b", 5).is_none() && crowd.enter("b", 4).is_some());
        let mut other = crowd.enter("b", 1).unwrap();
        assert_eq!(other.grow_leaving(2, 2), Err(Full::All));
        assert_eq!(other.grow_leaving(1, 2), Ok(()));
        first.shrink(5);
        assert_eq!(other.grow(4), Ok(()));
        drop((first, other));
        assert!(lock(&crowd.inside).of_each.is_empty());
        assert_eq!(lock(&crowd.inside).all, 0);
    }
}
