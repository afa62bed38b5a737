//! Open files: few, and the least used are closed.
//!
//! Guarantees: there are never more than twice as many as `open-databases`; at that bound those that nobody uses any more give way,
//! whoever has used them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use adyton_couch::wire::{CouchError, ErrorKind};
use adyton_protocol::database::DatabaseHash;
use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use super::{DatabaseError, Databases, Slot};
use crate::store::database::DatabaseFile;
use crate::store::{StoreError, blocking};

/// How long an open waits for a file that is just being closed.
const CLOSING_TIME: Duration = Duration::from_secs(5);
/// How long an open waits while too many files are in use: most are for some milliseconds.
const ROOM_TIME: Duration = Duration::from_secs(1);
/// How often it looks.
const ROOM_LOOK: Duration = Duration::from_millis(20);
/// Files that are closed at one time to make room.
const CLOSED_AT_ONCE: usize = 8;

/// An open file, counted as long as it is one.
pub(super) struct Open {
    pub(super) file: Arc<DatabaseFile>,
    pub(super) _count: Counted,
}

pub(super) struct Counted(Arc<AtomicUsize>);

impl Counted {
    /// One more, if there are fewer than `most`.
    fn one_of_at_most(most: usize, count: &Arc<AtomicUsize>) -> Option<Self> {
        let one_more = |open| (open < most).then_some(open + 1);
        count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .ok()
            .map(|_| Self(Arc::clone(count)))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Slot {
    /// Its file, if it is open and nobody uses it. Nobody does as long as this is held.
    fn idle(&self) -> Option<OwnedMutexGuard<Option<Open>>> {
        let held = Arc::clone(&self.file).try_lock_owned().ok()?;
        let open = held.as_ref()?;
        (Arc::strong_count(&open.file) == 1).then_some(held)
    }
}

impl Databases {
    pub(super) async fn open_file(
        &self,
        hash: DatabaseHash,
    ) -> Result<Arc<DatabaseFile>, DatabaseError> {
        let slot = self.slot(hash);
        slot.used
            .store(self.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        let mut file = slot.file.lock().await;
        if let Some(open) = &*file {
            return Ok(Arc::clone(&open.file));
        }
        let count = self.room_for_a_file(hash).await?;
        let deadline = Instant::now() + CLOSING_TIME;
        let opened = loop {
            let (path, pulse) = (self.path(hash), self.pulse_of(hash, &slot));
            match blocking(move || DatabaseFile::open(&path, pulse)).await {
                Err(StoreError::Closed) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                opened => break self.opened(opened?, count),
            }
        };
        let opened = Arc::clone(&file.insert(opened).file);
        drop(file);
        self.close_surplus(hash).await;
        Ok(opened)
    }

    pub(super) fn opened(&self, file: DatabaseFile, count: Counted) -> Open {
        file.closes_with(&self.node);
        Open {
            file: Arc::new(file),
            _count: count,
        }
    }

    /// A place among the open files. Those that nobody uses any more give way, and there is some time for that.
    pub(super) async fn room_for_a_file(
        &self,
        hash: DatabaseHash,
    ) -> Result<Counted, DatabaseError> {
        let take = || Counted::one_of_at_most(2 * self.limits.open_databases, &self.open_files);
        let deadline = Instant::now() + ROOM_TIME;
        loop {
            if let Some(count) = take() {
                return Ok(count);
            }
            match self.making_room.try_lock() {
                Ok(_making_room) => self.close_surplus(hash).await,
                // Whoever makes room makes it for all.
                Err(_) => drop(self.making_room.lock().await),
            }
            if let Some(count) = take() {
                return Ok(count);
            }
            if Instant::now() >= deadline {
                let reason = "Too many databases are in use.";
                return Err(CouchError::new(ErrorKind::Unavailable, reason).into());
            }
            tokio::time::sleep(ROOM_LOOK).await;
        }
    }

    /// Closes files that were not used for longest and that nobody uses, when there are too many.
    pub(super) async fn close_surplus(&self, just_opened: DatabaseHash) {
        let open = self.open_files.load(Ordering::Relaxed);
        let surplus = open.saturating_sub(self.limits.open_databases);
        if surplus == 0 {
            return;
        }
        let mut candidates: Vec<Arc<Slot>> = self
            .slots()
            .iter()
            .filter(|(hash, slot)| **hash != just_opened && slot.idle().is_some())
            .map(|(_, slot)| Arc::clone(slot))
            .collect();
        candidates.sort_by_cached_key(|slot| slot.used.load(Ordering::Relaxed));
        let idle = candidates.into_iter().filter_map(|slot| slot.idle());
        let closing = stream::iter(idle.take(surplus));
        let close = |mut held: OwnedMutexGuard<Option<Open>>| async move {
            // Closing writes; the slot stays locked, and the file counted, until it is done, whether somebody waits or not.
            let closed = blocking(move || {
                drop(held.take());
                Ok(())
            })
            .await;
            if let Err(error) = closed {
                tracing::error!(%error, "closing a database failed");
            }
        };
        closing.for_each_concurrent(CLOSED_AT_ONCE, close).await;
    }
}
