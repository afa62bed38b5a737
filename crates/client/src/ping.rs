//! Telling a storage node that a database is in use (`spec/protocol.md` §10.3, `POST user/pingDatabase`).
//!
//! A node of the original replicates a context to the other nodes only for twenty minutes after such a call. One is made, as the
//! original's client does it, when a session begins to use a database at a node, and now and then while it goes on. Guarantees: only
//! the node that was just used for that database is told, and nothing that it does not know; nobody waits for the answer, and no
//! answer means anything. Where the context lies on one node, nothing is sent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use adyton_protocol::database::DatabaseHash;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::endpoint::Endpoint;
use crate::session::NodeLink;

/// How long a node is not told again: half of what the original replicates for.
const AGAIN: Duration = Duration::from_secs(10 * 60);
/// Calls under way at one time.
const AT_ONCE: usize = 8;
/// Longest time for one.
const PATIENCE: Duration = Duration::from_secs(30);
/// Databases at nodes that are remembered.
const MAX_TOLD: usize = 4_096;

/// The pings of a session. They end with it.
#[derive(Default)]
pub(crate) struct Pings {
    told: Mutex<Told>,
    under_way: Mutex<JoinSet<()>>,
}

#[derive(Default)]
struct Told(HashMap<(Endpoint, DatabaseHash), Instant>);

impl Told {
    /// Whether it is time, and if so, notes that it is done now.
    fn is_due(&mut self, node: &Endpoint, database: DatabaseHash, now: Instant) -> bool {
        let key = (node.clone(), database);
        let is_young = |at: &Instant| now < *at + AGAIN;
        if self.0.get(&key).is_some_and(is_young) {
            return false;
        }
        if self.0.len() >= MAX_TOLD {
            self.0.retain(|_, at| is_young(at));
        }
        if self.0.len() >= MAX_TOLD {
            // More than anybody has; those that are told nothing now are used again.
            return false;
        }
        self.0.insert(key, now);
        true
    }
}

impl Pings {
    /// A node was used for a database.
    pub(crate) fn used(&self, link: &Arc<NodeLink>, database: DatabaseHash) {
        {
            let told = &mut *self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if !told.is_due(link.endpoint(), database, Instant::now()) {
                return;
            }
        }
        let under_way = &self.under_way;
        let mut under_way = under_way.lock().unwrap_or_else(PoisonError::into_inner);
        while under_way.try_join_next().is_some() {}
        if under_way.len() < AT_ONCE {
            let link = Arc::clone(link);
            under_way.spawn(async move {
                // Whether it was understood, nobody needs to know.
                let _said = tokio::time::timeout(PATIENCE, link.ping(&database)).await;
            });
        }
    }
}

impl std::fmt::Debug for Pings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pings")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_is_told_of_each_database_once_in_ten_minutes() {
        let (mut told, now) = (Told::default(), Instant::now());
        let node = |n: u32| format!("https://node{n}.example/").parse().unwrap();
        let hash = |n: u32| format!("v{n:064x}").parse::<DatabaseHash>().unwrap();
        for (n, database) in [(1, 1), (1, 2), (2, 1)] {
            assert!(told.is_due(&node(n), hash(database), now));
            assert!(!told.is_due(&node(n), hash(database), now + AGAIN / 2));
        }
        assert!(told.is_due(&node(1), hash(1), now + AGAIN));
        assert!(!told.is_due(&node(1), hash(1), now + AGAIN));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_room_is_made_of_what_is_old() {
        let (mut told, now) = (Told::default(), Instant::now());
        let node: Endpoint = "https://node.example/".parse().unwrap();
        let hash = |n: usize| format!("v{n:064x}").parse::<DatabaseHash>().unwrap();
        for n in 0..MAX_TOLD {
            assert!(told.is_due(&node, hash(n), now));
        }
        assert!(!told.is_due(&node, hash(MAX_TOLD), now));
        assert!(told.is_due(&node, hash(MAX_TOLD), now + AGAIN));
        assert_eq!(told.0.len(), 1);
    }
}
