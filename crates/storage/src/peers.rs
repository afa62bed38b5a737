//! Other nodes that replicate to this one with the original's credentials: a name, a password, and the contexts that each serves.
//!
//! Guarantees: a node gets into a context only after its own key signed for it and the user's DID document named both nodes
//! (`api/replication_creds`); the password is kept as its hash. Refuses to know: what is replicated.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use adyton_protocol::hash::keccak256;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::store::StoreError;
use crate::store::node::{NodeStore, PeerOutcome};

/// Bytes of a password. The original makes 64; less than this could be guessed.
pub(crate) const PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 32..=256;

/// How long a node is let in. The original asks again when it is not any more, so a user's document that stops naming it ends it.
const ADMISSION_SECONDS: u64 = 24 * 60 * 60;

/// What is kept of another node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PeerRow {
    /// SHA-256, in hex. It was made at random and is long: nothing slower would make it safer.
    pub(crate) password: String,
}

/// The other nodes, in memory, as every request with a password is held against them.
pub(crate) struct Peers {
    node: NodeStore,
    passwords: RwLock<HashMap<String, [u8; 32]>>,
}

impl Peers {
    /// Reads what is kept.
    pub(crate) async fn open(node: NodeStore) -> Result<Self, StoreError> {
        let mut passwords = HashMap::new();
        for (name, row) in node.peers().await? {
            let mut hash = [0; 32];
            hex::decode_to_slice(&row.password, &mut hash)
                .map_err(|_| StoreError::Corrupt("a peer's password"))?;
            passwords.insert(name, hash);
        }
        Ok(Self {
            node,
            passwords: RwLock::new(passwords),
        })
    }

    /// Whether this is a peer's name and password.
    pub(crate) fn knows(&self, name: &str, password: &[u8]) -> bool {
        let passwords = self
            .passwords
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let given: [u8; 32] = Sha256::digest(password).into();
        passwords
            .get(name)
            .is_some_and(|known| bool::from(known.ct_eq(&given)))
    }

    /// Lets a node into an account's context for a day, with this password if one is given.
    pub(crate) async fn admit(
        &self,
        name: &str,
        password: Option<&str>,
        account: &str,
        now: u64,
        max: u64,
    ) -> Result<PeerOutcome, StoreError> {
        let hash: Option<[u8; 32]> = password.map(|password| Sha256::digest(password).into());
        let row = hash.map(|hash| PeerRow {
            password: hex::encode(hash),
        });
        let outcome = self
            .node
            .put_peer(
                name.to_owned(),
                row,
                account.to_owned(),
                now + ADMISSION_SECONDS,
                max,
            )
            .await?;
        // Also when the row was there: a call that broke off may have written it and come no further.
        let done = match outcome {
            PeerOutcome::Created | PeerOutcome::Updated | PeerOutcome::Exists => true,
            PeerOutcome::NoPassword | PeerOutcome::Full => false,
        };
        if let (true, Some(hash)) = (done, hash) {
            let mut passwords = self
                .passwords
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            passwords.insert(name.to_owned(), hash);
        }
        Ok(outcome)
    }
}

/// The name of a node here: of its host alone, as the original has it.
pub(crate) fn peer_name(host: &str) -> String {
    format!("r{}", hex::encode(keccak256(host.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_node_whose_handshake_broke_off_half_way_is_let_in_by_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let node = NodeStore::open(&directory.path().join("node.redb")).unwrap();
        let peers = Peers::open(node.clone()).await.unwrap();
        // The request was dropped after its row was written.
        let row = PeerRow {
            password: hex::encode(Sha256::digest("word")),
        };
        let put = node.put_peer("r1".to_owned(), Some(row), "a".to_owned(), 9, 1);
        assert_eq!(put.await.unwrap(), PeerOutcome::Created);
        assert!(!peers.knows("r1", b"word"));
        let again = peers.admit("r1", Some("word"), "a", 0, 1).await.unwrap();
        assert_eq!(again, PeerOutcome::Exists);
        assert!(peers.knows("r1", b"word") && !peers.knows("r1", b"other"));
    }
}
