//! Turns at looking through documents, which queries and feeds by selector do, and room for the pages that are told afterwards.
//!
//! Guarantees: so many look at one time, and of them one for each caller; the others wait, holding nothing. Pages that are being
//! told fit in a fixed room, of which one caller has a quarter.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use adyton_couch::wire::{CouchError, ErrorKind};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Limits;
use crate::databases::DatabaseError;
use crate::store::StoreError;
use crate::throttle::CallerKey;

/// Callers from which on those that neither look nor wait are forgotten.
const MANY_CALLERS: usize = 1_024;
/// Room for pages is counted in pieces of so many bytes.
const PIECE_BYTES: usize = 1 << 10;

pub(crate) struct Finds {
    turns: Arc<Semaphore>,
    /// Room for pages, in pieces.
    pages: Arc<Semaphore>,
    pieces: usize,
    queue: usize,
    callers: Mutex<HashMap<CallerKey, Weak<Caller>>>,
}

/// What one caller has of everything.
struct Caller {
    turn: Arc<Semaphore>,
    /// Places of queries that look or wait.
    places: Arc<Semaphore>,
    pages: Arc<Semaphore>,
}

/// The right to look through documents. It ends when this is dropped: hand it to the work itself.
pub(crate) struct Turn {
    caller: Arc<Caller>,
    pages: Arc<Semaphore>,
    _turns: [OwnedSemaphorePermit; 2],
    place: Option<OwnedSemaphorePermit>,
}

/// A query between two turns: it keeps its place among its caller's, and nobody waits for it.
pub(crate) struct Pause {
    caller: Arc<Caller>,
    place: Option<OwnedSemaphorePermit>,
}

/// The room of a page, given back when this is dropped.
pub(crate) struct Kept {
    _caller: Arc<Caller>,
    _pages: [OwnedSemaphorePermit; 2],
}

impl Finds {
    pub(crate) fn new(limits: &Limits) -> Self {
        let pieces = (limits.find_pages_bytes / PIECE_BYTES).min(Semaphore::MAX_PERMITS);
        Self {
            turns: Arc::new(Semaphore::new(limits.finds_at_once)),
            pages: Arc::new(Semaphore::new(pieces)),
            pieces,
            queue: limits.find_queue,
            callers: Mutex::default(),
        }
    }

    /// A turn for a query; a caller with too many queries in hand is refused for now.
    pub(crate) async fn ask(&self, caller: &CallerKey) -> Result<Turn, DatabaseError> {
        let caller = self.caller(caller);
        let place = Arc::clone(&caller.places).try_acquire_owned();
        let place = place.map_err(|_| busy("You have too many queries in hand."))?;
        Ok(self.turn(caller, Some(place)).await?)
    }

    /// A turn for a feed, which waits as long as it must.
    pub(crate) async fn wait(&self, caller: &CallerKey) -> Result<Turn, StoreError> {
        self.turn(self.caller(caller), None).await
    }

    /// Another turn after a pause, behind those who wait already.
    pub(crate) async fn go_on(&self, pause: Pause) -> Result<Turn, StoreError> {
        self.turn(pause.caller, pause.place).await
    }

    async fn turn(
        &self,
        caller: Arc<Caller>,
        place: Option<OwnedSemaphorePermit>,
    ) -> Result<Turn, StoreError> {
        // The caller's own first: who waits for it takes nobody else's place.
        let own = Arc::clone(&caller.turn).acquire_owned().await;
        let one = Arc::clone(&self.turns).acquire_owned().await;
        let (Ok(own), Ok(one)) = (own, one) else {
            return Err(StoreError::Closed);
        };
        Ok(Turn {
            caller,
            pages: Arc::clone(&self.pages),
            _turns: [one, own],
            place,
        })
    }

    fn caller(&self, key: &CallerKey) -> Arc<Caller> {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = callers.get(key).and_then(Weak::upgrade) {
            return known;
        }
        if callers.len() >= MANY_CALLERS {
            callers.retain(|_, caller| caller.strong_count() > 0);
        }
        let caller = Arc::new(Caller {
            turn: Arc::new(Semaphore::new(1)),
            places: Arc::new(Semaphore::new(self.queue.saturating_add(1))),
            pages: Arc::new(Semaphore::new(self.pieces / 4)),
        });
        callers.insert(key.clone(), Arc::downgrade(&caller));
        caller
    }
}

impl Turn {
    /// Gives the turn back, and keeps the place.
    pub(crate) fn pause(self) -> Pause {
        Pause {
            caller: self.caller,
            place: self.place,
        }
    }

    /// Ends the turn, and takes room for the page that was found.
    pub(crate) fn keep(self, bytes: usize) -> Result<Kept, DatabaseError> {
        let full = || busy("The server has too many answers in hand.");
        let pieces = u32::try_from(bytes.div_ceil(PIECE_BYTES)).map_err(|_| full())?;
        let take = |room: &Arc<Semaphore>| {
            let taken = Arc::clone(room).try_acquire_many_owned(pieces);
            taken.map_err(|_| full())
        };
        let pages = [take(&self.caller.pages)?, take(&self.pages)?];
        Ok(Kept {
            _caller: self.caller,
            _pages: pages,
        })
    }
}

fn busy(reason: &'static str) -> DatabaseError {
    CouchError::new(ErrorKind::Unavailable, reason).into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn caller(name: &str) -> CallerKey {
        CallerKey::Account(name.into())
    }

    async fn waits<T>(work: impl Future<Output = T>) -> bool {
        let done = tokio::time::timeout(Duration::from_millis(50), work);
        done.await.is_err()
    }

    #[tokio::test]
    async fn a_caller_looks_once_at_a_time_and_leaves_the_other_turns_to_others() {
        let finds = Finds::new(&Limits {
            finds_at_once: 2,
            find_queue: 1,
            ..Limits::default()
        });
        let (a, b, c) = (caller("a"), caller("b"), caller("c"));
        let first = finds.ask(&a).await.ok().unwrap();
        assert!(waits(finds.ask(&a)).await && waits(finds.wait(&a)).await);
        let second = finds.ask(&b).await.ok().unwrap();
        assert!(waits(finds.ask(&c)).await);
        drop(first);
        let third = finds.wait(&c).await.unwrap();
        drop((second, third));
        finds.ask(&a).await.ok().unwrap();
    }

    #[tokio::test]
    async fn a_caller_with_a_full_queue_is_refused_and_nobody_else() {
        let finds = Finds::new(&Limits {
            find_queue: 1,
            ..Limits::default()
        });
        let (a, b) = (caller("a"), caller("b"));
        let looking = finds.ask(&a).await.ok().unwrap();
        let (waiting, refused) = tokio::join!(
            tokio::time::timeout(Duration::from_millis(50), finds.ask(&a)),
            finds.ask(&a)
        );
        assert!(waiting.is_err());
        assert!(matches!(refused, Err(DatabaseError::Refused(_))));
        finds.ask(&b).await.ok().unwrap();
        drop(looking);
        finds.ask(&a).await.ok().unwrap();
    }

    #[tokio::test]
    async fn a_query_that_pauses_gives_its_turn_back_and_keeps_its_place() {
        let finds = Finds::new(&Limits {
            finds_at_once: 1,
            find_queue: 0,
            ..Limits::default()
        });
        let (a, b) = (caller("a"), caller("b"));
        let pause = finds.ask(&a).await.ok().unwrap().pause();
        assert!(finds.ask(&a).await.is_err());
        let looking = finds.ask(&b).await.ok().unwrap();
        let mut goes_on = std::pin::pin!(finds.go_on(pause));
        assert!(waits(goes_on.as_mut()).await);
        drop(looking);
        goes_on.await.unwrap();
    }

    #[tokio::test]
    async fn pages_have_a_room_in_all_and_each_caller_a_quarter() {
        let finds = Finds::new(&Limits {
            find_pages_bytes: 8 * PIECE_BYTES,
            ..Limits::default()
        });
        let keep = async |name: &str, pieces: usize| {
            let turn = finds.ask(&caller(name)).await.ok().unwrap();
            turn.keep(pieces * PIECE_BYTES).ok()
        };
        assert!(keep("a", 3).await.is_none());
        let kept = keep("a", 2).await.unwrap();
        assert!(keep("a", 1).await.is_none());
        let others = [keep("b", 2).await, keep("c", 2).await, keep("d", 2).await];
        assert!(others.iter().all(Option::is_some));
        assert!(keep("e", 1).await.is_none());
        drop(kept);
        assert!(keep("e", 1).await.is_some());
    }
}
