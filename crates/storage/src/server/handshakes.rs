//! Handshakes under way: a bounded number, each with its time. When there are as many as may be, the oldest one of the address that
//! has most gives way to the newcomer, so that those who never finish keep nobody out, however fast they come again.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::throttle::network_of;

/// The handshakes of one server.
pub(super) struct Handshakes {
    most: usize,
    time: Duration,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    /// The oldest first; at most `most`.
    oldest: VecDeque<UnderWay>,
    of_each: HashMap<IpAddr, usize>,
}

struct UnderWay {
    number: u64,
    network: IpAddr,
    /// Dropped when it is to end.
    _stays: oneshot::Sender<()>,
}

impl Waiting {
    fn remove(&mut self, at: usize) {
        let Some(gone) = self.oldest.remove(at) else {
            return;
        };
        if let Some(count) = self.of_each.get_mut(&gone.network) {
            *count -= 1;
            if *count == 0 {
                self.of_each.remove(&gone.network);
            }
        }
    }

    /// Ends the oldest one of the address that has most.
    fn make_room(&mut self) {
        let largest = self.of_each.values().copied().max();
        let mut oldest = self.oldest.iter();
        let at = oldest.position(|one| self.of_each.get(&one.network).copied() == largest);
        if let Some(at) = at {
            self.remove(at);
        }
    }
}

/// A handshake's place, given back when dropped.
struct Place<'h>(&'h Handshakes, u64);

impl Handshakes {
    pub(super) fn new(most: usize, time: Duration) -> Self {
        Self {
            most: most.max(1),
            time,
            waiting: Mutex::default(),
        }
    }

    /// Drives a handshake. None when it took too long, failed, or had to give way.
    pub(super) async fn drive<T, E>(
        &self,
        peer: IpAddr,
        handshake: impl Future<Output = Result<T, E>>,
    ) -> Option<T> {
        let (sender, give_way) = oneshot::channel();
        let _place = self.enter(network_of(peer), sender);
        tokio::select! {
            done = timeout(self.time, handshake) => done.ok()?.ok(),
            _ = give_way => None,
        }
    }

    fn enter(&self, network: IpAddr, stays: oneshot::Sender<()>) -> Place<'_> {
        let mut waiting = self.waiting();
        let number = waiting.next;
        waiting.next += 1;
        *waiting.of_each.entry(network).or_default() += 1;
        waiting.oldest.push_back(UnderWay {
            number,
            network,
            _stays: stays,
        });
        if waiting.oldest.len() > self.most {
            waiting.make_room();
        }
        Place(self, number)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let number = self.1;
        let mut waiting = self.0.waiting();
        // In ascending order.
        if let Ok(at) = waiting
            .oldest
            .binary_search_by_key(&number, |one| one.number)
        {
            waiting.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_oldest_gives_way_and_nobody_takes_longer_than_the_time() {
        let handshakes = Arc::new(Handshakes::new(2, Duration::from_secs(10)));
        let never = |from: IpAddr| {
            let handshakes = Arc::clone(&handshakes);
            let handshake = pending::<Result<(), ()>>();
            tokio::spawn(async move { handshakes.drive(from, handshake).await })
        };
        let (here, there) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let (first, second) = (never(here), never(here));
        tokio::task::yield_now().await;
        let done = handshakes.drive(there, ready(Ok::<_, ()>(7))).await;
        assert_eq!(done, Some(7));
        assert_eq!(first.await.unwrap(), None);
        assert!(!second.is_finished());
        let began = tokio::time::Instant::now();
        assert_eq!(second.await.unwrap(), None);
        assert_eq!(began.elapsed(), Duration::from_secs(10));
        assert!(handshakes.waiting().oldest.is_empty());
        let failed = handshakes.drive(there, ready(Err::<(), _>(()))).await;
        assert_eq!(failed, None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_begins_many_ends_its_own() {
        let handshakes = Arc::new(Handshakes::new(2, Duration::from_secs(10)));
        let begin = |from: IpAddr, takes: u64| {
            let handshakes = Arc::clone(&handshakes);
            tokio::spawn(async move {
                let handshake = async {
                    tokio::time::sleep(Duration::from_secs(takes)).await;
                    Ok::<_, ()>(())
                };
                handshakes.drive(from, handshake).await
            })
        };
        let slow = begin([192, 0, 2, 1].into(), 5);
        tokio::task::yield_now().await;
        for _ in 0..1_000 {
            begin([192, 0, 2, 2].into(), 60);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(slow.await.unwrap(), Some(()));
    }
}
