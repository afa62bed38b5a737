//! Compactions: one at a time in the whole node, and turns for accounts.
//!
//! Guarantees: who asks while another waits for the same database waits for that one; answers under way go on afterwards; whoever
//! opens the database meanwhile waits, and who would delete it is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use adyton_couch::wire::{CouchError, ErrorKind};
use tokio::time::Instant;

use super::opening::Open;
use super::{DatabaseError, Databases, Slot, hash_of};
use crate::access::Permit;
use crate::indexing;
use crate::store::blocking;
use crate::store::database::DatabaseFile;

/// How long a compaction waits until nobody uses the file any more.
const LETTING_GO_TIME: Duration = Duration::from_secs(5);
/// How often it looks.
const LETTING_GO_LOOK: Duration = Duration::from_millis(5);

/// The compactions of one database: one does for all who asked before it began.
#[derive(Default)]
pub(super) struct Compactions {
    under_way: AtomicBool,
    asked: AtomicU64,
    /// How many had asked when the last one began that was done. Held by the one that is next.
    done: Arc<tokio::sync::Mutex<u64>>,
}

impl Slot {
    /// Refuses to wait for a compaction: nobody knows how long it takes.
    pub(super) fn is_free(&self) -> Result<(), CouchError> {
        if self.compactions.under_way.load(Ordering::Relaxed) {
            let reason = "The database is being compacted.";
            return Err(CouchError::new(ErrorKind::Unavailable, reason));
        }
        Ok(())
    }
}

/// Marks a place whose file is being compacted.
pub(super) struct Compacting(Arc<Slot>);

impl Compacting {
    pub(super) fn begin(slot: Arc<Slot>) -> Self {
        slot.compactions.under_way.store(true, Ordering::Relaxed);
        Self(slot)
    }
}

impl Drop for Compacting {
    fn drop(&mut self) {
        self.0.compactions.under_way.store(false, Ordering::Relaxed);
    }
}

impl Databases {
    /// Forgets what a database need not remember, and gives unused bytes back, unless somebody uses the file for longer than a batch of
    /// an answer takes. Answers under way go on afterwards. Whoever asks while another waits for his turn waits for that one.
    pub(crate) async fn compact(&self, permit: &Permit) -> Result<(), DatabaseError> {
        let owner = &permit.record().owner;
        let slot = self.slot(hash_of(permit.record())?);
        let asked = &slot.compactions.asked;
        let this = asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut compacted = Arc::clone(&slot.compactions.done).lock_owned().await;
        if *compacted >= this {
            self.quotas.forget(owner);
            return Ok(());
        }
        // The account's own turn first: who waits for it takes nobody else's place.
        let own = self.compactions.of(owner).await;
        let one = Arc::clone(&self.compacting).lock_owned().await;
        let asked = asked.load(Ordering::SeqCst);
        let file = self.file(permit).await?;
        file.stem().await?;
        indexing::clear(&file).await?;
        drop(file);
        let compacting = Compacting::begin(slot);
        // Done to its end, whether somebody waits for it or not. Who opens the database meanwhile waits.
        blocking(move || {
            let _turns = (own, one);
            let mut held = compacting.0.file.blocking_lock();
            let Some(Open { file, _count }) = held.take() else {
                return Ok(());
            };
            let (file, done) = match alone(file) {
                Err(in_use) => (in_use, Ok(())),
                Ok(file) => {
                    let (file, done) = file.shrunk();
                    (Arc::new(file), done)
                }
            };
            *held = Some(Open { file, _count });
            if done.is_ok() {
                *compacted = asked;
            }
            done
        })
        .await?;
        self.quotas.forget(owner);
        Ok(())
    }
}

/// A file, once nobody else uses it; as it is, if that takes too long. May block for so long.
#[expect(
    clippy::disallowed_methods,
    reason = "on a thread that may block, and for some seconds at most"
)]
fn alone(mut file: Arc<DatabaseFile>) -> Result<DatabaseFile, Arc<DatabaseFile>> {
    let deadline = Instant::now() + LETTING_GO_TIME;
    loop {
        match Arc::try_unwrap(file) {
            Err(in_use) if Instant::now() < deadline => file = in_use,
            alone => return alone,
        }
        std::thread::sleep(LETTING_GO_LOOK);
    }
}
