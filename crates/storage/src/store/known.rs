//! The registry's records that were read lately, in memory: nearly every request begins with one.
//!
//! Guarantees: what is found here is what the file says, or said until a change that nobody was told of yet. What is kept is bounded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::database_record::DatabaseRecord;

/// Records that are kept at one time.
const MAX_KNOWN: usize = 4_096;
/// A record with more DIDs in its lists is read every time: it would take too much room here.
const MAX_LISTED: usize = 16;

/// Records by the hash of their database. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct KnownRecords {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    records: HashMap<String, Arc<DatabaseRecord>>,
    /// Changes of the registry so far.
    changes: u64,
}

/// What is known of a database.
pub(super) enum Known {
    Record(Arc<DatabaseRecord>),
    /// Nothing. What is read now may be kept if the registry has not changed until then.
    Nothing(AsOf),
}

/// A moment in the life of the registry.
#[derive(Clone, Copy)]
pub(super) struct AsOf(u64);

/// A record that is being changed: forgotten when this is dropped. That has to be after the change is durable, and before anybody is
/// told of it; so it belongs to what a transaction returns.
pub(super) struct Changing {
    known: KnownRecords,
    hash: String,
}

impl KnownRecords {
    pub(super) fn find(&self, hash: &str) -> Known {
        let shared = self.lock();
        match shared.records.get(hash) {
            Some(record) => Known::Record(Arc::clone(record)),
            None => Known::Nothing(AsOf(shared.changes)),
        }
    }

    /// Keeps what was read of the file after `as_of`.
    pub(super) fn keep(&self, as_of: AsOf, record: &Arc<DatabaseRecord>) {
        let permissions = &record.permissions;
        let listed = permissions.read_list.len()
            + permissions.write_list.len()
            + permissions.delete_list.len();
        let mut shared = self.lock();
        if listed > MAX_LISTED || shared.changes != as_of.0 {
            return;
        }
        if shared.records.len() >= MAX_KNOWN {
            shared.records.clear();
        }
        let hash = record.database_hash.clone();
        shared.records.insert(hash, Arc::clone(record));
    }

    pub(super) fn changing(&self, hash: &str) -> Changing {
        Changing {
            known: self.clone(),
            hash: hash.to_owned(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Changing {
    fn drop(&mut self) {
        let mut shared = self.known.lock();
        shared.changes += 1;
        shared.records.remove(&self.hash);
    }
}

#[cfg(test)]
mod tests {
    use adyton_protocol::context::ContextName;
    use adyton_protocol::database::{AccessRule, DatabaseName, Permissions};

    use super::*;

    fn record(listed: usize) -> Arc<DatabaseRecord> {
        let did = format!("did:vda:polamoy:0x{}", "1".repeat(40));
        let permissions = Permissions {
            read: AccessRule::Users,
            read_list: vec![did.clone(); listed],
            ..Permissions::default()
        };
        let (context, name) = (ContextName::new("Test: App"), DatabaseName::new("db"));
        let record = DatabaseRecord::new(
            &did.parse().unwrap(),
            &context.unwrap(),
            &name.unwrap(),
            permissions,
        );
        Arc::new(record.unwrap())
    }

    fn as_of(known: &KnownRecords, hash: &str) -> AsOf {
        match known.find(hash) {
            Known::Nothing(as_of) => as_of,
            Known::Record(_) => panic!("it is known"),
        }
    }

    fn is_known(known: &KnownRecords, hash: &str) -> bool {
        matches!(known.find(hash), Known::Record(_))
    }

    #[test]
    fn a_record_is_known_until_it_changes() {
        let (known, record) = (KnownRecords::default(), record(1));
        let hash = record.database_hash.as_str();
        known.keep(as_of(&known, hash), &record);
        assert!(is_known(&known, hash));
        drop(known.changing("another"));
        assert!(is_known(&known, hash));
        drop(known.changing(hash));
        assert!(!is_known(&known, hash));
    }

    #[test]
    fn what_was_read_before_a_change_is_not_kept_after_it() {
        let (known, record) = (KnownRecords::default(), record(1));
        let hash = record.database_hash.as_str();
        let before = as_of(&known, hash);
        let changing = known.changing(hash);
        // Read while the change is not durable yet, and kept: it is forgotten with the change.
        known.keep(before, &record);
        drop(changing);
        assert!(!is_known(&known, hash));
        known.keep(before, &record);
        assert!(!is_known(&known, hash));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let (known, long) = (KnownRecords::default(), record(MAX_LISTED + 1));
        known.keep(as_of(&known, "any"), &long);
        assert!(!is_known(&known, &long.database_hash));
        let record = record(MAX_LISTED);
        for n in 0..=MAX_KNOWN {
            let mut other = DatabaseRecord::clone(&record);
            other.database_hash = n.to_string();
            known.keep(as_of(&known, "any"), &Arc::new(other));
        }
        assert!(known.lock().records.len() <= MAX_KNOWN);
    }
}
