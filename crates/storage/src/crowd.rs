//! So many at one time, and so many of one: connections of an address, feeds of a caller.
//!
//! Guarantees: one who takes all that there is leaves room for others; whoever leaves is counted no more, however it ends.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Those who are in.
pub(crate) struct Crowd<K: Hash + Eq> {
    inside: Arc<Mutex<Inside<K>>>,
    most: usize,
    most_of_one: usize,
}

struct Inside<K> {
    all: usize,
    of_each: HashMap<K, usize>,
}

/// A place, given back when dropped.
pub(crate) struct Place<K: Hash + Eq> {
    inside: Arc<Mutex<Inside<K>>>,
    of: K,
}

impl<K: Hash + Eq + Clone> Crowd<K> {
    /// At most `most` in all, and `most_of_one` of one.
    pub(crate) fn new(most: usize, most_of_one: usize) -> Self {
        let inside = Inside {
            all: 0,
            of_each: HashMap::new(),
        };
        Self {
            inside: Arc::new(Mutex::new(inside)),
            most,
            most_of_one,
        }
    }

    /// A place, unless there are too many.
    pub(crate) fn enter(&self, one: K) -> Option<Place<K>> {
        let mut inside = lock(&self.inside);
        let own = inside.of_each.get(&one).copied().unwrap_or(0);
        if inside.all >= self.most || own >= self.most_of_one {
            return None;
        }
        inside.all += 1;
        inside.of_each.insert(one.clone(), own + 1);
        Some(Place {
            inside: Arc::clone(&self.inside),
            of: one,
        })
    }
}

impl<K: Hash + Eq> Drop for Place<K> {
    fn drop(&mut self) {
        let mut inside = lock(&self.inside);
        inside.all = inside.all.saturating_sub(1);
        let left = inside.of_each.get_mut(&self.of).map(|own| {
            *own -= 1;
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
        let crowd = Crowd::new(3, 2);
        let first = crowd.enter("a").unwrap();
        let _second = crowd.enter("a").unwrap();
        assert!(crowd.enter("a").is_none());
        let other = crowd.enter("b").unwrap();
        assert!(crowd.enter("c").is_none());
        drop(first);
        let _third = crowd.enter("a").unwrap();
        assert!(crowd.enter("c").is_none());
        drop(other);
        assert_eq!(lock(&crowd.inside).of_each.len(), 1);
        assert!(crowd.enter("c").is_some());
    }
}
