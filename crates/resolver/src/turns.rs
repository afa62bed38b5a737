//! Turns at asking others: so many at one time, shared fairly among those who want them.
//!
//! Guarantees: when all turns are taken, one of whoever has most gives way to somebody who has at least two fewer, so that nobody
//! keeps the others out by asking for what never answers, from however many places he does it; among those who have one each, the
//! oldest gives way once it had [`LEAST_TIME`]; whoever has as many as anybody waits, and those who have fewest come first.
//! Refuses to know: what is asked.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long the only turn of somebody lasts at least. A document that is there is had in this time, mostly.
pub(crate) const LEAST_TIME: Duration = Duration::from_secs(2);
/// Those who wait at one time. One more is told to come again.
const MOST_WAITING: usize = 16_384;

/// Somebody on whose behalf documents are asked for. What it is the number of, whoever embeds this knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Party(pub u64);

/// The turns for one purpose.
pub(crate) struct Turns {
    most: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    /// Turns that are taken, the oldest first; at most `most`.
    taken: VecDeque<Taken>,
    /// How many each party has. None has none.
    of_each: HashMap<Party, usize>,
    /// In the order in which they came.
    waiting: VecDeque<Waiting>,
}

struct Taken {
    number: u64,
    party: Party,
    since: Instant,
    /// Dropped when the turn is to end.
    _stays: oneshot::Sender<()>,
}

struct Waiting {
    party: Party,
    tell: oneshot::Sender<Turn>,
}

/// A turn, until it is dropped.
pub(crate) struct Turn {
    turns: Arc<Turns>,
    number: u64,
    gives_way: oneshot::Receiver<()>,
}

impl Turn {
    /// Ends when somebody else has it. Whoever holds this then stops.
    pub(crate) async fn is_over(&mut self) {
        // Nothing is ever sent.
        let _dropped = (&mut self.gives_way).await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.lock().end(self.number);
        self.turns.assign();
    }
}

impl Turns {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            state: Mutex::default(),
        })
    }

    /// Waits for a turn. None when too many wait.
    pub(crate) async fn take(self: &Arc<Self>, party: Party) -> Option<Turn> {
        let (tell, told) = oneshot::channel();
        {
            let mut state = self.lock();
            state.waiting.retain(|waiting| !waiting.tell.is_closed());
            if state.waiting.len() >= MOST_WAITING {
                return None;
            }
            state.waiting.push_back(Waiting { party, tell });
        }
        let mut told = pin!(told);
        loop {
            let ripe = self.assign();
            tokio::select! {
                biased;
                turn = told.as_mut() => return turn.ok(),
                () = until(ripe) => {}
            }
        }
    }

    /// Gives turns to those who wait, as far as the rules go. Says when to look again, where time alone may change that.
    fn assign(self: &Arc<Self>) -> Option<Instant> {
        let now = Instant::now();
        let mut given = Vec::new();
        let mut state = self.lock();
        let ripe = loop {
            state.waiting.retain(|waiting| !waiting.tell.is_closed());
            match state.next_one(self.most, now) {
                Next::Nobody(ripe) => break ripe,
                Next::Waiting(at) => {
                    let Some(Waiting { party, tell }) = state.waiting.remove(at) else {
                        break None;
                    };
                    let (stays, gives_way) = oneshot::channel();
                    let number = state.begin(party, now, stays);
                    let turns = Arc::clone(self);
                    let turn = Turn {
                        turns,
                        number,
                        gives_way,
                    };
                    given.push((tell, turn));
                }
            }
        };
        // A turn that nobody takes any more ends here, and asks for the lock.
        drop(state);
        for (tell, turn) in given {
            drop(tell.send(turn));
        }
        ripe
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who has the next turn.
enum Next {
    /// The one at this place of those who wait. There is room by now.
    Waiting(usize),
    /// Nobody, before this moment or before a turn ends.
    Nobody(Option<Instant>),
}

impl State {
    fn has(&self, party: Party) -> usize {
        self.of_each.get(&party).copied().unwrap_or(0)
    }

    /// Of those who wait the first one that has fewest; somebody gives way to it where he must.
    fn next_one(&mut self, most: usize, now: Instant) -> Next {
        let waiting = self.waiting.iter().enumerate();
        let first = waiting.min_by_key(|(at, waiting)| (self.has(waiting.party), *at));
        let Some((at, held)) = first.map(|(at, waiting)| (at, self.has(waiting.party))) else {
            return Next::Nobody(None);
        };
        if self.taken.len() < most {
            return Next::Waiting(at);
        }
        let largest = self.of_each.values().copied().max().unwrap_or(0);
        let all_have_one = held == 0 && largest == 1;
        if !all_have_one && held + 2 > largest {
            return Next::Nobody(None);
        }
        let mut taken = self.taken.iter();
        let Some(oldest) = taken.find(|taken| self.has(taken.party) == largest) else {
            return Next::Nobody(None);
        };
        let (number, ripe) = (oldest.number, oldest.since + LEAST_TIME);
        if all_have_one && now < ripe {
            return Next::Nobody(Some(ripe));
        }
        self.end(number);
        Next::Waiting(at)
    }

    fn begin(&mut self, party: Party, since: Instant, stays: oneshot::Sender<()>) -> u64 {
        let number = self.next;
        self.next += 1;
        *self.of_each.entry(party).or_default() += 1;
        self.taken.push_back(Taken {
            number,
            party,
            since,
            _stays: stays,
        });
        number
    }

    /// Ends a turn, unless it has ended.
    fn end(&mut self, number: u64) {
        let at = self
            .taken
            .binary_search_by_key(&number, |taken| taken.number);
        let Some(taken) = at.ok().and_then(|at| self.taken.remove(at)) else {
            return;
        };
        if let Some(held) = self.of_each.get_mut(&taken.party) {
            *held -= 1;
            if *held == 0 {
                self.of_each.remove(&taken.party);
            }
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks whether a turn is to be had now.
    async fn now(turns: &Arc<Turns>, party: u64) -> Option<Turn> {
        let taken = tokio::time::timeout(Duration::ZERO, turns.take(Party(party)));
        taken.await.ok().flatten()
    }

    async fn is_over(turn: &mut Turn) -> bool {
        let over = tokio::time::timeout(Duration::ZERO, turn.is_over());
        over.await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_most_gives_way_and_whoever_has_as_many_waits() {
        let turns = Turns::new(4);
        let mut many = Vec::new();
        for _ in 0..4 {
            many.push(now(&turns, 1).await.unwrap());
        }
        assert!(now(&turns, 1).await.is_none());
        let mut other = now(&turns, 2).await.unwrap();
        assert!(is_over(&mut many[0]).await && !is_over(&mut many[1]).await);
        // Two have two now: nobody takes what the other one has.
        let mut second = now(&turns, 2).await.unwrap();
        assert!(is_over(&mut many[1]).await);
        assert!(now(&turns, 2).await.is_none() && now(&turns, 1).await.is_none());
        let _third = now(&turns, 3).await.unwrap();
        assert!(is_over(&mut many[2]).await != is_over(&mut other).await);
        drop(many);
        assert!(!is_over(&mut second).await);
        assert!(now(&turns, 1).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_only_turn_of_somebody_lasts_a_while_and_gives_way_then() {
        let turns = Turns::new(2);
        let mut first = now(&turns, 1).await.unwrap();
        let mut second = now(&turns, 2).await.unwrap();
        let began = Instant::now();
        let third = turns.take(Party(3)).await.unwrap();
        assert_eq!(began.elapsed(), LEAST_TIME);
        assert!(is_over(&mut first).await && !is_over(&mut second).await);
        drop((first, second, third));
        assert!(turns.lock().taken.is_empty() && turns.lock().of_each.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_and_has_fewest_comes_first_and_who_hangs_up_takes_nothing() {
        let turns = Turns::new(2);
        let (first, second) = (now(&turns, 1).await, now(&turns, 2).await);
        let wait = |party: u64| {
            let turns = Arc::clone(&turns);
            tokio::spawn(async move { turns.take(Party(party)).await })
        };
        let (mut same, gone) = (wait(1), wait(2));
        tokio::task::yield_now().await;
        let other = wait(3);
        tokio::task::yield_now().await;
        gone.abort();
        drop(second);
        let other = other.await.unwrap();
        assert!(other.is_some() && !same.is_finished());
        drop(first);
        assert!((&mut same).await.unwrap().is_some());
        drop(other);
        assert!(turns.lock().taken.is_empty() && turns.lock().waiting.is_empty());
    }
}
