//! Handshakes under way: a bounded number, each with its time. When there are as many as may be, the oldest gives way to the
//! newcomer, so that those who never finish keep nobody out.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

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
    oldest: VecDeque<(u64, oneshot::Sender<()>)>,
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
        handshake: impl Future<Output = Result<T, E>>,
    ) -> Option<T> {
        let (sender, give_way) = oneshot::channel();
        let _place = self.enter(sender);
        tokio::select! {
            done = timeout(self.time, handshake) => done.ok()?.ok(),
            _ = give_way => None,
        }
    }

    fn enter(&self, give_way: oneshot::Sender<()>) -> Place<'_> {
        let mut waiting = self.waiting();
        let number = waiting.next;
        waiting.next += 1;
        waiting.oldest.push_back((number, give_way));
        if waiting.oldest.len() > self.most {
            // Dropping the sender tells it.
            waiting.oldest.pop_front();
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
            .binary_search_by_key(&number, |(number, _)| *number)
        {
            waiting.oldest.remove(at);
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
        let never = || {
            let handshakes = Arc::clone(&handshakes);
            tokio::spawn(async move { handshakes.drive(pending::<Result<(), ()>>()).await })
        };
        let (first, second) = (never(), never());
        tokio::task::yield_now().await;
        assert_eq!(handshakes.drive(ready(Ok::<_, ()>(7))).await, Some(7));
        assert_eq!(first.await.unwrap(), None);
        assert!(!second.is_finished());
        let began = tokio::time::Instant::now();
        assert_eq!(second.await.unwrap(), None);
        assert_eq!(began.elapsed(), Duration::from_secs(10));
        assert!(handshakes.waiting().oldest.is_empty());
        assert_eq!(handshakes.drive(ready(Err::<(), _>(()))).await, None);
    }
}
