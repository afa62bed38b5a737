//! Copying databases while they are made and deleted: which there are to copy, and which copies stand for a database that still is.
//!
//! Guarantees: a copy whose database was deleted since, and perhaps made anew with other permissions, does not count
//! ([`BackupUnderWay::end`]).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use adyton_protocol::database::DatabaseHash;

use super::{DatabaseError, Databases};
use crate::store::StoreError;
use crate::store::database::DatabaseFile;
use crate::store::node::NodeView;

impl Databases {
    /// Begins a backup, which lasts until it is dropped. None when another one is under way.
    pub(crate) fn begin_backup(&self) -> Option<BackupUnderWay<'_>> {
        let mut standing = Standing::lock(&self.standing);
        match *standing {
            Standing::Unknown => {
                *standing = Standing::Known(BTreeSet::new());
                Some(BackupUnderWay(self))
            }
            Standing::Known(_) => None,
        }
    }
}

/// A backup that is being made.
pub(crate) struct BackupUnderWay<'d>(&'d Databases);

impl BackupUnderWay<'_> {
    /// The databases that are to be copied.
    pub(crate) async fn databases(&self) -> Result<BTreeSet<String>, StoreError> {
        let standing = Arc::clone(&self.0.standing);
        let note =
            move |all: &BTreeSet<String>| *Standing::lock(&standing) = Standing::Known(all.clone());
        self.0.node.all_databases(note).await
    }

    /// The open file of a database that is to be copied. None when it was deleted.
    pub(crate) async fn file(
        &self,
        hash: DatabaseHash,
    ) -> Result<Option<Arc<DatabaseFile>>, DatabaseError> {
        match self.0.open_file(hash).await {
            Err(_) if !Standing::lock(&self.0.standing).has(&hash.to_string()) => {
                self.0.forget(hash);
                Ok(None)
            }
            opened => opened.map(Some),
        }
    }

    /// What the backup ends with: the node's file at this moment, and the databases whose copies count.
    pub(crate) async fn end(&self) -> Result<(NodeView, BTreeSet<String>), StoreError> {
        // In this order: the copy of a database that is deleted in between does not count. In the other, it would count for one that
        // was made anew.
        let view = self.0.node.now()?;
        let standing = match &*Standing::lock(&self.0.standing) {
            Standing::Unknown => BTreeSet::new(),
            Standing::Known(hashes) => hashes.clone(),
        };
        // The deletions that were noted have come true by now; or nothing can be written any more, and there is no backup.
        self.0.node.settled().await?;
        Ok((view, standing))
    }
}

impl Drop for BackupUnderWay<'_> {
    fn drop(&mut self) {
        *Standing::lock(&self.0.standing) = Standing::Unknown;
    }
}

/// The databases that there were when a backup began, and that were not deleted since. Both are noted in the turns of the writes to
/// the registry: whether somebody waits for a deletion or has hung up, and before a database can be made anew.
#[derive(Default)]
pub(super) enum Standing {
    /// No backup is under way.
    #[default]
    Unknown,
    Known(BTreeSet<String>),
}

impl Standing {
    fn lock(this: &Mutex<Self>) -> MutexGuard<'_, Self> {
        this.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A database is deleted.
    pub(super) fn deleted(this: &Mutex<Self>, hash: &str) {
        match &mut *Self::lock(this) {
            Self::Unknown => {}
            Self::Known(hashes) => {
                hashes.remove(hash);
            }
        }
    }

    fn has(&self, hash: &str) -> bool {
        match self {
            Self::Unknown => false,
            Self::Known(hashes) => hashes.contains(hash),
        }
    }
}
