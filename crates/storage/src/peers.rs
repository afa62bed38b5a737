//! Other nodes that replicate to this one with the original's credentials: a name, a password, and the context that it opens.
//!
//! Guarantees: a node gets into a context only after its own key signed for it and the user's DID document named both nodes
//! (`api/replication_creds`); a password opens the contexts that it came with, and no others, as the signature names no recipient
//! and whoever got it may pass it on; it is kept as its hash. Refuses to know: what is replicated.

use std::collections::{HashMap, HashSet};
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};

use adyton_protocol::hash::keccak256;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::store::StoreError;
use crate::store::node::{NodeStore, PeerOutcome};

/// Bytes of a password. The original makes 64; less than this could be guessed.
pub(crate) const PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 32..=256;

/// How long a node is let in. The original asks again when it is not any more, so a user's document that stops naming it ends it.
const ADMISSION_SECONDS: u64 = 24 * 60 * 60;

/// SHA-256 of a password. That was made at random and is long: nothing slower would make it safer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct PasswordHash([u8; 32]);

impl PasswordHash {
    pub(crate) fn of(password: &[u8]) -> Self {
        Self(Sha256::digest(password).into())
    }
}

/// What is kept of another node in a context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PeerRow {
    pub(crate) password: PasswordHash,
    /// Unix seconds until which it is let in.
    pub(crate) until: u64,
}

/// A node that is to be let into a context.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) name: String,
    pub(crate) password: Option<PasswordHash>,
    /// The account whose context it is.
    pub(crate) account: String,
    /// The contexts whose passwords count here, too, when there is none: see [`kin`].
    pub(crate) kin: String,
}

/// The other nodes, in memory, as every request with a password is held against them.
pub(crate) struct Peers {
    node: NodeStore,
    passwords: RwLock<Passwords>,
}

/// Each password that is known, with the serial number of its last admission.
#[derive(Default)]
struct Passwords {
    all: HashMap<(String, PasswordHash), u64>,
    serial: u64,
}

impl Passwords {
    fn insert(&mut self, name: String, password: PasswordHash) {
        self.serial += 1;
        self.all.insert((name, password), self.serial);
    }

    /// Forgets all but what is kept. What was admitted after `before` stays: it came while the kept ones were read, and may not be
    /// among them.
    fn forget_all_but(&mut self, kept: &HashSet<(String, PasswordHash)>, before: u64) {
        let stays =
            |known: &(String, PasswordHash), serial| serial > before || kept.contains(known);
        self.all.retain(|known, serial| stays(known, *serial));
    }
}

impl Peers {
    /// Reads what is kept.
    pub(crate) async fn open(node: NodeStore) -> Result<Self, StoreError> {
        let mut passwords = Passwords::default();
        for (name, password) in node.peer_passwords().await? {
            passwords.insert(name, password);
        }
        Ok(Self {
            node,
            passwords: RwLock::new(passwords),
        })
    }

    /// The hash of this password, if it is one of this node's. Which contexts it opens is another question.
    pub(crate) fn knows(&self, name: &str, password: &[u8]) -> Option<PasswordHash> {
        let given = PasswordHash::of(password);
        let passwords = self
            .passwords
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let passwords = &passwords.all;
        // Found by a keyed hash of the hash: how long it takes tells nothing of other passwords.
        passwords
            .contains_key(&(name.to_owned(), given))
            .then_some(given)
    }

    /// Lets a node into an account's context for a day, with its password or one that is known from its kin.
    pub(crate) async fn admit(
        &self,
        candidate: Candidate,
        now: u64,
        max: u64,
    ) -> Result<PeerOutcome, StoreError> {
        let name = candidate.name.clone();
        let until = now + ADMISSION_SECONDS;
        let outcome = self.node.put_peer(candidate, now, until, max).await?;
        if let PeerOutcome::Admitted(_, password) = outcome {
            let many = {
                let mut passwords = self.write();
                passwords.insert(name, password);
                passwords.all.len() as u64 > max.saturating_mul(2)
            };
            if many {
                // Most of them open nothing any more.
                self.forget_all_but_kept().await?;
            }
        }
        Ok(outcome)
    }

    async fn forget_all_but_kept(&self) -> Result<(), StoreError> {
        let before = self.write().serial;
        let kept = self.node.peer_passwords().await?;
        self.write().forget_all_but(&kept, before);
        Ok(())
    }

    fn write(&self) -> RwLockWriteGuard<'_, Passwords> {
        self.passwords
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of a node here: of its host alone, as the original has it.
pub(crate) fn peer_name(host: &str) -> String {
    format!("r{}", hex::encode(keccak256(host.as_bytes())))
}

/// The contexts of one owner that lie on the same nodes. Whoever can know a password of one of them is named in all.
///
/// Not those of other owners: their documents are theirs to change, also between the moment at which a node's password was sent
/// to somebody and the one at which it is passed on.
pub(crate) fn kin(did: &str, origins: &[String]) -> String {
    let mut origins: Vec<&str> = origins.iter().map(String::as_str).collect();
    origins.sort_unstable();
    origins.dedup();
    let nodes = keccak256(origins.join(" ").as_bytes());
    format!("{did} {}", hex::encode(nodes))
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::store::node::PeerChange;

    #[tokio::test]
    async fn a_node_whose_handshake_broke_off_half_way_is_let_in_by_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let node = NodeStore::open(&directory.path().join("node.redb")).unwrap();
        let peers = Peers::open(node.clone()).await.unwrap();
        let candidate = || Candidate {
            name: "r1".to_owned(),
            password: Some(PasswordHash::of(b"word")),
            account: "a".to_owned(),
            kin: "k".to_owned(),
        };
        // The request was dropped after its row was written.
        let put = node.put_peer(candidate(), 0, 9, 1).await.unwrap();
        let password = PasswordHash::of(b"word");
        assert_eq!(put, PeerOutcome::Admitted(PeerChange::Created, password));
        assert_eq!(peers.knows("r1", b"word"), None);
        let again = peers.admit(candidate(), 0, 1).await.unwrap();
        assert_eq!(again, PeerOutcome::Admitted(PeerChange::Exists, password));
        assert_eq!(peers.knows("r1", b"word"), Some(password));
        assert_eq!(peers.knows("r1", b"other"), None);
    }

    #[test]
    fn contexts_are_kin_on_the_same_nodes_in_any_order_and_of_one_owner() {
        let of = |did: &str, origins: &[&str]| {
            let origins: Vec<String> = origins.iter().map(|&origin| origin.to_owned()).collect();
            kin(did, &origins)
        };
        let (a, b, c) = (
            "https://a.example",
            "https://b.example",
            "https://c.example",
        );
        assert_eq!(of("did:1", &[a, b]), of("did:1", &[b, a, b]));
        assert_ne!(of("did:1", &[a, b]), of("did:2", &[a, b]));
        assert_ne!(of("did:1", &[a, b]), of("did:1", &[a, b, c]));
    }

    #[test]
    fn a_password_that_comes_while_old_ones_are_forgotten_stays_known() {
        let hash = |n: u8| PasswordHash::of(&[n; 32]);
        let mut passwords = Passwords::default();
        passwords.insert("kept".to_owned(), hash(1));
        passwords.insert("old".to_owned(), hash(2));
        let (kept, before) = (
            HashSet::from([("kept".to_owned(), hash(1))]),
            passwords.serial,
        );
        passwords.insert("new".to_owned(), hash(3));
        passwords.forget_all_but(&kept, before);
        let mut names: Vec<&str> = passwords
            .all
            .keys()
            .map(|(name, _)| name.as_str())
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["kept", "new"]);
    }

    #[tokio::test]
    async fn admissions_that_ended_make_room_and_those_that_were_renewed_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.redb");
        let peers = Peers::open(NodeStore::open(&path).unwrap()).await.unwrap();
        let admit = async |peers: &Peers, n: u8, now: u64| {
            let candidate = Candidate {
                name: format!("r{n}"),
                password: Some(PasswordHash::of(&[n; 32])),
                account: format!("v{n}"),
                kin: format!("k{n}"),
            };
            peers.admit(candidate, now, 3).await.unwrap()
        };
        let day = ADMISSION_SECONDS;
        for n in 1..=3 {
            let admitted = admit(&peers, n, 0).await;
            assert!(matches!(admitted, PeerOutcome::Admitted(..)));
        }
        assert!(matches!(
            admit(&peers, 1, 10).await,
            PeerOutcome::Admitted(..)
        ));
        assert_eq!(admit(&peers, 4, day - 1).await, PeerOutcome::Full);
        assert!(matches!(
            admit(&peers, 4, day).await,
            PeerOutcome::Admitted(..)
        ));
        assert!(matches!(
            admit(&peers, 5, day).await,
            PeerOutcome::Admitted(..)
        ));
        assert_eq!(admit(&peers, 6, day).await, PeerOutcome::Full);
        let row = async |n: u8| {
            let row = peers.node.peer(format!("r{n}"), format!("v{n}")).await;
            row.unwrap().map(|row| row.until)
        };
        assert_eq!(row(1).await, Some(day + 10));
        assert_eq!((row(2).await, row(3).await), (None, None));
        assert_eq!(row(4).await, Some(2 * day));
        // Who may come into an account's context no more leaves room at once.
        peers.node.remove_peers_of("v4".to_owned()).await.unwrap();
        assert_eq!(row(4).await, None);
    }
}
