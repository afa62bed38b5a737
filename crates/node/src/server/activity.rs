//! What each connection is doing, and who makes room when all places are taken.
//!
//! Guarantees: a connection with a request under way is never sent away for a newcomer.
//!
//! No shares by address, as the storage node has them: in an enclave every connection comes from the host.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Limits;

/// The places, of which there are only so many.
pub(super) struct Seats {
    most: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    next: u64,
    by: HashMap<u64, Arc<Activity>>,
}

impl Seats {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            taken: Mutex::default(),
        }
    }

    /// A free seat, or that of the connection that has been idle longest; none if all have something to do.
    pub(super) fn take(self: &Arc<Self>) -> Option<Seat> {
        let mut taken = self.taken();
        if taken.by.len() >= self.most {
            let idle = taken
                .by
                .iter()
                .filter_map(|(id, activity)| Some((activity.idle_since()?, *id)));
            let (_, longest) = idle.min()?;
            if let Some(activity) = taken.by.remove(&longest) {
                activity.evicted.notify_one();
            }
        }
        let id = taken.next;
        taken.next += 1;
        let activity = Arc::new(Activity::new());
        taken.by.insert(id, Arc::clone(&activity));
        Some(Seat {
            seats: Arc::clone(self),
            id,
            activity,
        })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One taken place; free again when dropped.
pub(super) struct Seat {
    seats: Arc<Seats>,
    id: u64,
    pub(super) activity: Arc<Activity>,
}

impl Seat {
    /// Ready when a newcomer has got this place.
    pub(super) async fn evicted(&self) {
        self.activity.evicted.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.taken().by.remove(&self.id);
    }
}

/// What a connection is waiting for.
pub(super) struct Activity {
    state: Mutex<State>,
    evicted: Notify,
}

struct State {
    /// Requests whose answer is not completely given to the transport.
    under_way: usize,
    /// Since when there is none.
    idle_since: Instant,
    /// Answers of which the peer has not taken the last piece, and since when.
    untaken: HashMap<u64, Instant>,
    /// When the first piece of an answer was given, for those that are not finished.
    begun: HashMap<u64, Instant>,
    next: u64,
}

/// Why a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// No request for too long: say goodbye.
    Idle,
    /// An answer lies ready and is not taken, or is being taken for too long: hang up.
    Stalled,
}

impl Activity {
    fn new() -> Self {
        let state = State {
            under_way: 0,
            idle_since: Instant::now(),
            untaken: HashMap::new(),
            begun: HashMap::new(),
            next: 0,
        };
        Self {
            state: Mutex::new(state),
            evicted: Notify::new(),
        }
    }

    /// A request has come; it is under way until the value is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        let mut state = self.state();
        state.under_way += 1;
        let id = state.next;
        state.next += 1;
        UnderWay {
            activity: Arc::clone(self),
            id,
            is_endless: false,
        }
    }

    fn idle_since(&self) -> Option<Instant> {
        let state = self.state();
        (state.under_way == 0).then_some(state.idle_since)
    }

    /// What is overdue at `now`, or when to look again.
    pub(super) fn overdue(&self, limits: &Limits, now: Instant) -> Result<Overdue, Instant> {
        let state = self.state();
        if state.under_way == 0 {
            let until = state.idle_since + limits.idle;
            return if until <= now {
                Ok(Overdue::Idle)
            } else {
                Err(until)
            };
        }
        let piece = state.untaken.values().min().map(|at| *at + limits.stall);
        let whole = state.begun.values().min().map(|at| *at + limits.answer);
        match piece.into_iter().chain(whole).min() {
            Some(until) if until <= now => Ok(Overdue::Stalled),
            Some(until) => Err(until.min(now + limits.stall)),
            None => Err(now + limits.stall.min(limits.idle)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request under way.
pub(super) struct UnderWay {
    activity: Arc<Activity>,
    id: u64,
    is_endless: bool,
}

impl UnderWay {
    /// Its answer has no end, and holds nothing while it waits: it may take as long as its pieces are taken.
    pub(super) fn endless(mut self) -> Self {
        self.is_endless = true;
        self
    }

    /// The transport wants the next piece: the peer has taken the one before.
    pub(super) fn wanted(&self) {
        self.activity.state().untaken.remove(&self.id);
    }

    /// A piece was given to the transport: now it is the peer's turn.
    pub(super) fn given(&self) {
        let (mut state, now) = (self.activity.state(), Instant::now());
        state.untaken.insert(self.id, now);
        if !self.is_endless {
            state.begun.entry(self.id).or_insert(now);
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.activity.state();
        state.untaken.remove(&self.id);
        state.begun.remove(&self.id);
        state.under_way -= 1;
        if state.under_way == 0 {
            state.idle_since = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const LIMITS: Limits = Limits {
        connections: 2,
        handshake: Duration::from_secs(1),
        idle: Duration::from_secs(10),
        body: Duration::from_secs(1),
        stall: Duration::from_secs(20),
        answer: Duration::from_secs(90),
        drain: Duration::from_secs(1),
    };

    #[test]
    fn the_longest_idle_makes_room_and_the_busy_never() {
        let seats = Arc::new(Seats::new(2));
        let (first, second) = (seats.take().unwrap(), seats.take().unwrap());
        let busy = first.activity.begin();
        let third = seats.take().unwrap();
        assert_eq!(
            seats
                .taken()
                .by
                .keys()
                .copied()
                .collect::<std::collections::BTreeSet<_>>(),
            [0, 2].into()
        );
        let also_busy = third.activity.begin();
        assert!(seats.take().is_none());
        drop(busy);
        assert!(seats.take().is_some());
        drop((also_busy, second));
    }

    #[test]
    fn a_dropped_seat_is_free() {
        let seats = Arc::new(Seats::new(1));
        let seat = seats.take().unwrap();
        let busy = seat.activity.begin();
        assert!(seats.take().is_none());
        drop((busy, seat));
        assert!(seats.taken().by.is_empty());
    }

    #[test]
    fn an_evicted_seat_does_not_take_its_successors_place_along() {
        let seats = Arc::new(Seats::new(1));
        let evicted = seats.take().unwrap();
        let successor = seats.take().unwrap();
        drop(evicted);
        assert_eq!(seats.taken().by.len(), 1);
        drop(successor);
    }

    #[test]
    fn idleness_and_stalls_are_overdue_at_their_limits() {
        let activity = Arc::new(Activity::new());
        let start = activity.idle_since().unwrap();
        assert_eq!(
            activity.overdue(&LIMITS, start + LIMITS.idle),
            Ok(Overdue::Idle)
        );
        assert_eq!(activity.overdue(&LIMITS, start), Err(start + LIMITS.idle));

        let under_way = activity.begin();
        let much_later = start + LIMITS.idle * 100;
        assert_eq!(
            activity.overdue(&LIMITS, much_later),
            Err(much_later + LIMITS.idle)
        );
        under_way.given();
        assert_eq!(activity.overdue(&LIMITS, much_later), Ok(Overdue::Stalled));
        under_way.wanted();
        // The piece was taken, but the answer has been going on for too long.
        assert_eq!(activity.overdue(&LIMITS, much_later), Ok(Overdue::Stalled));
        let soon = Instant::now();
        assert_eq!(activity.overdue(&LIMITS, soon), Err(soon + LIMITS.stall));
        under_way.given();
        drop(under_way);
        assert_eq!(activity.overdue(&LIMITS, much_later), Ok(Overdue::Idle));
    }

    #[test]
    fn an_endless_answer_is_overdue_only_when_a_piece_is_not_taken() {
        let activity = Arc::new(Activity::new());
        let under_way = activity.begin().endless();
        let now = Instant::now();
        under_way.given();
        let in_a_year = now + LIMITS.answer * 20_000;
        assert_eq!(activity.overdue(&LIMITS, in_a_year), Ok(Overdue::Stalled));
        under_way.wanted();
        assert!(activity.overdue(&LIMITS, in_a_year).is_err());
    }
}
