//! Bodies that are arriving. When there is no room for another one, one of them gives way, so that those who send slowly, or stop, keep
//! nobody out.
//!
//! Guarantees: it is the largest of the sender whose arriving bodies are largest together, and only if he has more than the one who
//! needs room would have with it. So whoever has few bytes under way is never interrupted for who has more.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::futures::Notified;
use tokio::sync::{Notify, oneshot};

/// All of them.
#[derive(Debug)]
pub(super) struct Arrivals<K> {
    state: Mutex<State<K>>,
    left: Notify,
}

#[derive(Debug)]
struct State<K> {
    next: u64,
    bodies: BTreeMap<u64, Body<K>>,
}

#[derive(Debug)]
struct Body<K> {
    sender: K,
    bytes: u64,
    /// Dropped when it is to end.
    stays: Option<oneshot::Sender<()>>,
}

/// One of them, until it is dropped.
pub(super) struct Arrival<K> {
    all: Arc<Arrivals<K>>,
    number: u64,
    gives_way: oneshot::Receiver<()>,
}

impl<K: Hash + Eq + Clone> Arrivals<K> {
    pub(super) fn new() -> Arc<Self> {
        let state = State {
            next: 0,
            bodies: BTreeMap::new(),
        };
        Arc::new(Self {
            state: Mutex::new(state),
            left: Notify::new(),
        })
    }

    /// A body begins to arrive.
    pub(super) fn begin(self: &Arc<Self>, sender: K) -> Arrival<K> {
        let (stays, gives_way) = oneshot::channel();
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        let body = Body {
            sender,
            bytes: 0,
            stays: Some(stays),
        };
        state.bodies.insert(number, body);
        drop(state);
        Arrival {
            all: Arc::clone(self),
            number,
            gives_way,
        }
    }

    /// Tells one to give way to a sender who would have so many bytes. False: nobody has to.
    pub(super) fn tell_one(&self, newcomer: &K, bytes: u64) -> bool {
        let mut state = self.state();
        if state.bodies.values().any(|body| body.stays.is_none()) {
            // It is about to leave.
            return true;
        }
        let mut of_each: HashMap<&K, u64> = HashMap::new();
        for body in state.bodies.values() {
            *of_each.entry(&body.sender).or_default() += body.bytes;
        }
        let largest = state
            .bodies
            .iter()
            .filter(|(_, body)| body.sender != *newcomer)
            .map(|(number, body)| (of_each.get(&body.sender), body.bytes, *number))
            .max();
        let Some((Some(&own), _, number)) = largest else {
            return false;
        };
        if own <= bytes {
            return false;
        }
        if let Some(body) = state.bodies.get_mut(&number) {
            body.stays = None;
        }
        true
    }

    /// Ends when one has left after it was asked for.
    pub(super) fn left(&self) -> Notified<'_> {
        self.left.notified()
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq + Clone> Arrival<K> {
    /// So many bytes have come.
    pub(super) fn has(&self, bytes: u64) {
        if let Some(body) = self.all.state().bodies.get_mut(&self.number) {
            body.bytes = bytes;
        }
    }

    /// Ends when it has to give way.
    pub(super) async fn gives_way(&mut self) {
        // Nothing is ever sent.
        let _dropped = (&mut self.gives_way).await;
    }
}

impl<K> Drop for Arrival<K> {
    fn drop(&mut self) {
        let state = self.all.state.lock();
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        state.bodies.remove(&self.number);
        drop(state);
        self.all.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    async fn is_told(arrival: &mut Arrival<&'static str>) -> bool {
        timeout(Duration::ZERO, arrival.gives_way()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn the_largest_body_of_who_has_most_gives_way_to_who_would_have_less() {
        let all = Arrivals::new();
        let mut bodies = Vec::new();
        for (sender, bytes) in [("a", 50), ("b", 30), ("b", 40), ("c", 60)] {
            let body = all.begin(sender);
            body.has(bytes);
            bodies.push(body);
        }
        // Not for more than it has itself, and not for its own sender.
        assert!(!all.tell_one(&"d", 70) && !all.tell_one(&"b", 60));
        assert!(all.tell_one(&"d", 69));
        for (at, told) in [(0, false), (1, false), (2, true), (3, false)] {
            assert_eq!(is_told(&mut bodies[at]).await, told, "{at}");
        }
        // One after the other.
        assert!(all.tell_one(&"d", 1_000));
        bodies.remove(2);
        assert!(all.tell_one(&"d", 10) && is_told(&mut bodies[2]).await);
        drop(bodies);
        assert!(!all.tell_one(&"d", 0) && all.state().bodies.is_empty());
    }
}
