//! What makes a node replicate: writes, calls of users, other nodes that were heard of.
//!
//! Guarantees: nothing is lost and nothing waits for the reader: the same news twice is one. What is kept is bounded by this
//! node's own databases and accounts, for both are looked up before they are told of here.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use adyton_protocol::database::DatabaseHash;
use tokio::sync::Notify;
use url::Url;

/// Tells the replicator. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct News(Arc<Inner>);

#[derive(Default)]
struct Inner {
    waiting: Mutex<Waiting>,
    notify: Notify,
}

/// What was told since it was last taken.
#[derive(Default)]
pub(super) struct Waiting {
    /// Databases with new changes.
    pub(super) written: HashSet<DatabaseHash>,
    /// Accounts whose user asks for replication.
    pub(super) asked: HashSet<String>,
    /// Accounts for which another node was heard of.
    pub(super) heard: HashSet<String>,
    /// Accounts into which another node was let, at which address: what it knew it may have lost.
    pub(super) came: HashSet<(String, Url)>,
}

impl News {
    pub(crate) fn written(&self, hash: DatabaseHash) {
        self.tell(|waiting| waiting.written.insert(hash));
    }

    pub(crate) fn asked(&self, account: &str) {
        self.tell(|waiting| waiting.asked.insert(account.to_owned()));
    }

    pub(crate) fn heard(&self, account: &str) {
        self.tell(|waiting| waiting.heard.insert(account.to_owned()));
    }

    pub(crate) fn came(&self, account: &str, node: Url) {
        self.tell(|waiting| waiting.came.insert((account.to_owned(), node)));
    }

    fn tell(&self, add: impl FnOnce(&mut Waiting) -> bool) {
        let new = {
            let waiting = &self.0.waiting;
            add(&mut waiting.lock().unwrap_or_else(PoisonError::into_inner))
        };
        if new {
            self.0.notify.notify_one();
        }
    }

    /// Waits until there is something.
    pub(super) async fn some(&self) {
        self.0.notify.notified().await;
    }

    pub(super) fn take(&self) -> Waiting {
        let mut waiting = self
            .0
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *waiting)
    }
}
