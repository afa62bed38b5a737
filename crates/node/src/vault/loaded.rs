//! A database in memory: its records, and those that could not be opened.

use std::collections::HashMap;
use std::fmt;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use adyton_client::pull::{PullBatch, RecordFault};

use super::error::VaultError;
use crate::memory::{Applied, Budget, Document, Documents, OverBudget, Scope};

/// Most unreadable records that are remembered by id.
const MAX_FAULTS: usize = 10_000;

/// A database in memory. Readers share it; only its own task changes it.
pub(crate) struct LoadedDatabase {
    documents: RwLock<Documents>,
    faults: RwLock<Faults>,
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
        }
    }

    /// The records, for the length of one computation; never held over an await.
    pub(crate) fn documents(&self) -> RwLockReadGuard<'_, Documents> {
        self.documents
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that could not be opened.
    pub(crate) fn unreadable(&self) -> usize {
        let faults = self.faults.read().unwrap_or_else(PoisonError::into_inner);
        faults.by_id.len() + faults.unnamed
    }

    pub(super) fn get(&self, scope: Scope<'_>, id: &str) -> Result<Document, VaultError> {
        if let Some(document) = self.documents().get(scope, id) {
            return Ok(document);
        }
        let faults = self.faults.read().unwrap_or_else(PoisonError::into_inner);
        // Which schema an unreadable record had cannot be known; only a caller that may see the
        // whole database is told that it is there.
        match (scope, faults.by_id.contains_key(id)) {
            (Scope::Database, true) => Err(VaultError::Unreadable),
            _ => Err(VaultError::NotFound),
        }
    }

    /// Applies a batch of the feed.
    pub(super) fn apply(&self, batch: PullBatch) -> Result<Applied, OverBudget> {
        {
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
        }
        self.write().apply(batch.records)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Documents> {
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
