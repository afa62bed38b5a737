//! Whoever changes an account's set of databases, or compacts one of them, does it alone, and waits for nobody else's account.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

/// Accounts that have a turn at one time, from which on those that are done are forgotten.
const MANY_CHANGING: usize = 1_024;

/// The turns of all accounts.
#[derive(Default)]
pub(crate) struct AccountTurns {
    changing: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

impl AccountTurns {
    /// Waits until nobody else has the account's turn.
    pub(crate) async fn of(&self, account: &str) -> OwnedMutexGuard<()> {
        let lock = {
            let mut changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
            if changing.len() >= MANY_CHANGING {
                changing.retain(|_, lock| lock.strong_count() > 0);
            }
            let known = changing.get(account).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let lock = Arc::default();
                changing.insert(account.to_owned(), Arc::downgrade(&lock));
                lock
            })
        };
        lock.lock_owned().await
    }
}
