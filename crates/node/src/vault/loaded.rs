//! A database in memory: its records, and those that could not be opened.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};

use adyton_client::pull::{PlainBatch, PullBatch, RecordFault};
use adyton_couch::rev::Rev;
use adyton_keys::dead_stack::wiped_after;
use tokio::sync::watch;

use super::cursor::Cursors;
use super::error::VaultError;
use crate::memory::{Applied, Budget, Document, Documents, OverBudget, View};

/// Most unreadable records that are remembered by id.
const MAX_FAULTS: usize = 10_000;

/// A database in memory. Readers share it; only its own task changes it.
pub(crate) struct LoadedDatabase {
    documents: RwLock<Documents>,
    faults: RwLock<Faults>,
    /// Told of every change, after it is visible.
    changed: watch::Sender<()>,
    cursors: Cursors,
}

#[derive(Default)]
struct Faults {
    by_id: HashMap<Box<str>, RecordFault>,
    unnamed: usize,
}

impl LoadedDatabase {
    pub(super) fn empty(budget: Budget) -> Self {
        Self {
            documents: RwLock::new(Documents::new(budget)),
            faults: RwLock::default(),
            changed: watch::Sender::new(()),
            cursors: Cursors::generate(),
        }
    }

    /// The records, for the length of one computation; never held over an await.
    pub(crate) fn documents(&self) -> RwLockReadGuard<'_, Documents> {
        self.documents
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The records, unless a change is waiting or under way: who may not be held up does not wait for it.
    pub(super) fn try_documents(&self) -> Option<RwLockReadGuard<'_, Documents>> {
        match self.documents.try_read() {
            Ok(documents) => Some(documents),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Remembers changes from now on: it is loaded.
    pub(super) fn begin_changes(&self) {
        self.write().begin_changes();
    }

    /// Ready for each change, and at last when the database is dropped.
    pub(super) fn changed(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// What names positions among its changes.
    pub(super) fn cursors(&self) -> &Cursors {
        &self.cursors
    }

    /// Records that could not be opened, as far as the view may know of them: what they are cannot be told, so whoever
    /// does not see the whole database knows of none.
    pub(crate) fn unreadable(&self, view: &View) -> usize {
        if !view.is_whole_database() {
            return 0;
        }
        let faults = self.faults.read().unwrap_or_else(PoisonError::into_inner);
        faults.by_id.len() + faults.unnamed
    }

    /// The record as the view shows it.
    pub(super) fn get(&self, view: &View, id: &str) -> Result<Document, VaultError> {
        let found = self.documents().get(view, id)?;
        self.found(found, view, id)
    }

    /// Like [`LoadedDatabase::get`]; `None` when a change is waiting or under way.
    pub(super) fn try_get(&self, view: &View, id: &str) -> Option<Result<Document, VaultError>> {
        let found = self.try_documents()?.get(view, id);
        Some(match found {
            Ok(found) => self.found(found, view, id),
            Err(over) => Err(over.into()),
        })
    }

    /// The revision of the record, if the view shows it.
    pub(super) fn rev(&self, view: &View, id: &str) -> Result<Rev, VaultError> {
        let found = self.documents().rev(view, id);
        self.found(found, view, id)
    }

    fn found<T>(&self, found: Option<T>, view: &View, id: &str) -> Result<T, VaultError> {
        if let Some(found) = found {
            return Ok(found);
        }
        let faults = self.faults.read().unwrap_or_else(PoisonError::into_inner);
        // Which schema or time an unreadable record had cannot be known; only a caller that may see the whole database
        // is told that it is there.
        match view.is_whole_database() && faults.by_id.contains_key(id) {
            true => Err(VaultError::Unreadable),
            false => Err(VaultError::NotFound),
        }
    }

    /// Applies a batch as soon as no query is reading. Where a long query is, a thread waits for it on which nothing
    /// else runs: the threads of the async runtime are everybody's.
    pub(super) async fn apply(
        self: &Arc<Self>,
        mut batch: PullBatch,
    ) -> Result<Applied, VaultError> {
        if let Some(applied) = self.try_apply(&mut batch) {
            return Ok(applied?);
        }
        let database = Arc::clone(self);
        let applying =
            tokio::task::spawn_blocking(move || wiped_after(|| database.apply_waiting(batch)));
        Ok(applying.await.map_err(|_| VaultError::Stopped)??)
    }

    /// Takes a batch and applies it if nobody is reading; leaves it otherwise.
    fn try_apply(&self, batch: &mut PullBatch) -> Option<Result<Applied, OverBudget>> {
        let mut documents = match self.documents.try_write() {
            Ok(documents) => documents,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let records = self.note_faults(std::mem::take(batch));
        let applied = documents.apply(records);
        drop(documents);
        self.changed.send_replace(());
        Some(applied)
    }

    /// Applies a batch on this thread.
    pub(super) fn apply_waiting(&self, batch: PullBatch) -> Result<Applied, OverBudget> {
        let records = self.note_faults(batch);
        let applied = self.write().apply(records);
        self.changed.send_replace(());
        applied
    }

    fn note_faults(&self, batch: PullBatch) -> PlainBatch {
        let mut faults = self.faults.write().unwrap_or_else(PoisonError::into_inner);
        for id in batch.records.ids() {
            if !faults.by_id.is_empty() {
                faults.by_id.remove(id);
            }
        }
        faults.unnamed += batch.oversized;
        for (id, fault) in batch.faults {
            if faults.by_id.len() < MAX_FAULTS {
                faults.by_id.insert(id, fault);
            } else {
                faults.unnamed += 1;
            }
        }
        batch.records
    }

    fn write(&self) -> RwLockWriteGuard<'_, Documents> {
        self.documents
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for LoadedDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoadedDatabase(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only one thread runs async tasks here: whoever blocks it, blocks everybody.
    #[tokio::test]
    async fn a_change_that_waits_for_a_long_query_holds_nobody_else_up() {
        let database = Arc::new(LoadedDatabase::empty(Budget::new(1 << 20)));
        let (done, until_done) = std::sync::mpsc::channel::<()>();
        let (began, has_begun) = tokio::sync::oneshot::channel();
        let querying = std::thread::spawn({
            let database = Arc::clone(&database);
            move || {
                let _reading = database.documents();
                began.send(()).unwrap();
                // Gives up in the end, so that a node that blocks fails here and does not hang.
                until_done.recv_timeout(std::time::Duration::from_secs(20))
            }
        });
        has_begun.await.unwrap();
        let mut records = PlainBatch::default();
        records.push("a", Rev::LOWEST, br#"{"_id":"a"}"#).unwrap();
        let batch = PullBatch {
            records,
            ..PullBatch::default()
        };
        let applying = tokio::spawn({
            let database = Arc::clone(&database);
            async move { database.apply(batch).await }
        });
        for _ in 0..100 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        // The change waits, and others were served meanwhile; nobody reads around it.
        assert!(!applying.is_finished());
        assert!(database.try_get(&View::whole_database(), "a").is_none());
        done.send(()).unwrap();
        assert!(querying.join().unwrap().is_ok());
        assert_eq!(applying.await.unwrap().unwrap().inserted, 1);
        assert!(
            database
                .try_get(&View::whole_database(), "a")
                .unwrap()
                .is_ok()
        );
    }
}
