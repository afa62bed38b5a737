//! Whose turn it is to compute: waiting for a turn, holding it, and paying for it with the time that it took.
//!
//! Guarantees: the order of [`super::lanes`]; a turn belongs to the work and not to whoever asked for it, so a caller that goes away
//! neither frees a processor that is still busy nor leaves anything in line; the time of a turn is charged to its tenant
//! however the work ends. Refuses to know: what is computed.

use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::error::VaultError;
use super::lanes::{Called, LaneFull, Lanes, Ticket, Turns, Weight};
use crate::computing;

/// All tenants weigh the same.
const WEIGHT: Weight = Weight::MIN;

/// The schedule of one kind of work. Clones are the same schedule.
pub(super) struct Schedule<K: Clone + Eq + Hash>(Arc<Mutex<Waiting<K>>>);

type Waiting<K> = Lanes<K, oneshot::Sender<Turn<K>>>;

impl<K: Clone + Eq + Hash> std::fmt::Debug for Schedule<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Schedule")
    }
}

impl<K: Clone + Eq + Hash + Send + 'static> Schedule<K> {
    /// Runs what takes long, off the threads of the async runtime, when it is this one's turn.
    pub(super) async fn compute<T: Send + 'static>(
        &self,
        key: &K,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, VaultError> {
        let turn = self.turn(key).await?;
        let computing = computing::start(move || {
            let result = work();
            // Held by the work itself: it goes on when its caller has gone.
            drop(turn);
            result
        });
        computing.await.map_err(|_| VaultError::Stopped)
    }
}

impl<K: Clone + Eq + Hash> Clone for Schedule<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Somebody's turn, until it is dropped.
#[must_use]
pub(super) struct Turn<K: Clone + Eq + Hash> {
    schedule: Schedule<K>,
    key: K,
    advance: std::time::Duration,
    begun: Instant,
}

impl<K: Clone + Eq + Hash> Schedule<K> {
    pub(super) fn new(turns: Turns) -> Self {
        Self(Arc::new(Mutex::new(Lanes::new(turns))))
    }

    /// Waits for a turn. Dropping the future leaves the line.
    ///
    /// # Errors
    /// When too much of this tenant waits already.
    pub(super) async fn turn(&self, key: &K) -> Result<Turn<K>, LaneFull> {
        let (give, given) = oneshot::channel();
        let ticket = self.lock().join(key, WEIGHT, give)?;
        let _place = Place {
            schedule: self,
            key,
            ticket,
        };
        self.go_on();
        // Whoever takes the sender out of the line sends; the line ends with the last schedule.
        given.await.map_err(|_| LaneFull)
    }

    /// Gives the turns that there are.
    fn go_on(&self) {
        loop {
            let Some((key, Called { entry, advance })) = self.lock().call() else {
                return;
            };
            let turn = Turn {
                schedule: self.clone(),
                key,
                advance,
                begun: Instant::now(),
            };
            // Who has gone in this very moment gives it back, outside of the lock.
            let _: Result<(), Turn<K>> = entry.send(turn);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash> Drop for Turn<K> {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        self.schedule.lock().finish(&self.key, self.advance, took);
        self.schedule.go_on();
    }
}

/// A place in line, left when it is dropped.
struct Place<'s, K: Clone + Eq + Hash> {
    schedule: &'s Schedule<K>,
    key: &'s K,
    ticket: Ticket,
}

impl<K: Clone + Eq + Hash> Drop for Place<'_, K> {
    fn drop(&mut self) {
        let left = self.schedule.lock().leave(self.key, self.ticket);
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    fn schedule(at_once: usize, of_one: usize) -> Schedule<u32> {
        Schedule::new(Turns {
            at_once,
            of_one,
            waiting_of_one: 1000,
        })
    }

    /// Work that asks for its turn and says that it has it; it ends when the test says so.
    fn ask(
        schedule: &Schedule<u32>,
        key: u32,
        order: &Arc<Mutex<Vec<u32>>>,
    ) -> tokio::task::JoinHandle<()> {
        let (schedule, order) = (schedule.clone(), Arc::clone(order));
        tokio::spawn(async move {
            let turn = schedule.turn(&key).await.unwrap();
            order.lock().unwrap().push(key);
            drop(turn);
        })
    }

    async fn settle() {
        for _ in 0..2000 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn no_tenant_with_work_waits_longer_than_one_turn_of_each_other() {
        let (schedule, order) = (schedule(1, 1), Arc::default());
        let held = schedule.turn(&0).await.unwrap();
        let mut asked = Vec::new();
        for key in 0..3 {
            asked.extend((0..300).map(|_| ask(&schedule, key, &order)));
        }
        settle().await;
        asked.push(ask(&schedule, 7, &order));
        settle().await;
        drop(held);
        for asked in asked {
            asked.await.unwrap();
        }
        let order = order.lock().unwrap().clone();
        let late = order.iter().position(|key| *key == 7).unwrap();
        assert!(late <= 3, "{late}");
        assert_eq!(order.len(), 901);
    }

    #[tokio::test]
    async fn one_tenant_leaves_a_turn_for_the_others() {
        let schedule = schedule(2, 1);
        let held = schedule.turn(&1).await.unwrap();
        assert!(schedule.turn(&1).now_or_never().is_none());
        for other in 2..20 {
            let turn = schedule.turn(&other).now_or_never().unwrap().unwrap();
            drop(turn);
        }
        drop(held);
        assert!(schedule.turn(&1).now_or_never().is_some());
    }

    #[tokio::test]
    async fn who_gives_up_leaves_the_line_and_frees_no_turn() {
        let (schedule, order) = (schedule(1, 1), Arc::default());
        let held = schedule.turn(&1).await.unwrap();
        let gone: Vec<_> = (0..500).map(|_| ask(&schedule, 1, &order)).collect();
        let waiting = ask(&schedule, 2, &order);
        settle().await;
        for gone in gone {
            gone.abort();
            assert!(gone.await.is_err());
        }
        settle().await;
        assert!(!waiting.is_finished());
        drop(held);
        waiting.await.unwrap();
        assert_eq!(*order.lock().unwrap(), [2]);
        assert!(schedule.turn(&1).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_turn_that_was_given_to_somebody_who_has_gone_is_given_on() {
        let schedule = schedule(1, 1);
        let held = schedule.turn(&1).await.unwrap();
        let mut asking = Box::pin(schedule.turn(&2));
        assert!((&mut asking).now_or_never().is_none());
        // The turn is on its way to one that is never asked again.
        drop(held);
        assert!(schedule.turn(&3).now_or_never().is_none());
        drop(asking);
        assert!(schedule.turn(&3).now_or_never().is_some());
    }

    #[tokio::test]
    async fn more_than_may_wait_is_refused() {
        let schedule = Schedule::new(Turns {
            at_once: 1,
            of_one: 1,
            waiting_of_one: 1,
        });
        let held = schedule.turn(&1).await.unwrap();
        let mut waiting = Box::pin(schedule.turn(&1));
        assert!((&mut waiting).now_or_never().is_none());
        assert!(matches!(schedule.turn(&1).await, Err(LaneFull)));
        drop(held);
        assert!(waiting.await.is_ok());
    }
}
