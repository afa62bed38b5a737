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
        place.grow(size).then_some(place)
    }
}

impl<K: Hash + Eq + Clone> Place<K> {
    /// Takes so much more, or nothing: whether there was room.
    pub(crate) fn grow(&mut self, more: u64) -> bool {
        let mut inside = lock(&self.inside);
        let own = inside.of_each.get(&self.of).copied().unwrap_or(0);
        let (all, own) = (inside.all.saturating_add(more), own.saturating_add(more));
        if all > self.most.all || own > self.most.of_one {
            return false;
        }
        inside.all = all;
        inside.of_each.insert(self.of.clone(), own);
        drop(inside);
        self.size += more;
        true
    }
}

impl<K: Hash + Eq> Drop for Place<K> {
    fn drop(&mut self) {
        let mut inside = lock(&self.inside);
        inside.all = inside.all.saturating_sub(self.size);
        let left = inside.of_each.get_mut(&self.of).map(|own| {
            *own = own.saturating_sub(self.size);
            *own
        });
        if left == Some(0) {
            inside.of_each.remove(&self.of);
        }
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
        let _third = crowd.enter("a", 1).unwrap();
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
        assert!(!first.grow(2) && first.grow(1));
        drop(second);
        assert!(first.grow(3));
        assert!(crowd.enter("b", 5).is_none() && crowd.enter("b", 4).is_some());
        drop(first);
        assert!(lock(&crowd.inside).of_each.is_empty());
        assert_eq!(lock(&crowd.inside).all, 0);
    }
}
