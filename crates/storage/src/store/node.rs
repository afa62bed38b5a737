//! `node.redb`: its tables, the node's own keys, and by subject what is kept of people, databases and other nodes.

mod accounts;
mod databases;
mod did_documents;
mod peers;

use std::collections::BTreeSet;
use std::path::Path;

use redb::{ReadTransaction, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use super::commit::Committer;
use super::copy;
use super::engine::Engine;
use super::format::{self, META};
use super::known::KnownRecords;
use super::{StoreError, node_indexes, random};

pub(super) use accounts::remove_token;
pub(crate) use accounts::{Account, Login, LoginOutcome, RefreshRow};
pub(crate) use did_documents::{DocumentRoom, Kept, NewVersion, Registered};
#[cfg(test)]
pub(crate) use peers::PeerChange;
pub(crate) use peers::PeerOutcome;

pub(super) const SECRETS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("secrets");
pub(super) const ACCOUNTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("accounts");
pub(super) const DATABASES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("databases");
/// (account, database) → nothing: the databases of an account.
pub(super) const OWNED: TableDefinition<'_, (&str, &str), ()> =
    TableDefinition::new("owned_databases");
/// Database → nothing: those that are deleted, and whose file may still be there.
pub(super) const DELETED: TableDefinition<'_, &str, ()> = TableDefinition::new("deleted_databases");
pub(super) const REFRESH_TOKENS: TableDefinition<'_, &str, &[u8]> =
    TableDefinition::new("refresh_tokens");
/// (device hash, token id) → nothing: the tokens of a device.
pub(super) const DEVICES: TableDefinition<'_, (&str, &str), ()> =
    TableDefinition::new("device_tokens");
/// (expiry, token or request id) → nothing: what to forget, and when.
pub(super) const EXPIRIES: TableDefinition<'_, (u64, &str), ()> = TableDefinition::new("expiries");
pub(super) const USED_REQUESTS: TableDefinition<'_, &str, u64> =
    TableDefinition::new("used_auth_requests");
/// (lower-case DID, version) → the document's JSON text.
pub(super) const DID_DOCUMENTS: TableDefinition<'_, (&str, u64), &str> =
    TableDefinition::new("did_documents");
/// Lower-case DID → bytes of all versions of its document; under the empty name, those of all DIDs.
pub(super) const DID_DOCUMENT_BYTES: TableDefinition<'_, &str, u64> =
    TableDefinition::new("did_document_bytes");
/// Lower-case DID → the last time that its document named when it was deleted. None of a DID that has one.
pub(super) const DELETED_DIDS: TableDefinition<'_, &str, &str> =
    TableDefinition::new("deleted_did_documents");
/// Address of a DID, lower case → its registration, on a node that is a directory.
pub(super) const REGISTRATIONS: TableDefinition<'_, &str, &[u8]> =
    TableDefinition::new("did_registrations");
/// Account → nothing: those whose context other nodes hold, too, or may hold. At start they are replicated.
pub(super) const REPLICATED: TableDefinition<'_, &str, ()> =
    TableDefinition::new("replicated_accounts");
/// (account, name of another node) → with which password, and until when, that node may replicate the account's context.
pub(super) const PEER_CONTEXTS: TableDefinition<'_, (&str, &str), &[u8]> =
    TableDefinition::new("peer_context_passwords");
/// (kin of contexts, name of another node) → the password that came last with one of them.
pub(super) const PEER_KIN: TableDefinition<'_, (&str, &str), &[u8]> =
    TableDefinition::new("peer_kin");

const CACHE_BYTES: usize = 16 << 20;

/// The node's own keys, made at first start.
pub(crate) struct NodeSecrets {
    /// Whether the node is made by this: it had no identity until now.
    pub(crate) is_new: bool,
    pub(crate) identity: [u8; 32],
    pub(crate) challenge_key: [u8; 32],
    pub(crate) refresh_key: [u8; 32],
    pub(crate) access_key: [u8; 32],
    pub(crate) public_user: [u8; 32],
    pub(crate) public_password: [u8; 32],
    pub(crate) uuid: [u8; 32],
    /// Makes the passwords that other nodes know this one by.
    pub(crate) peer_key: [u8; 32],
}

/// The open node file. Cheap to clone.
#[derive(Clone)]
pub(crate) struct NodeStore {
    committer: Committer,
    known: KnownRecords,
}

impl NodeStore {
    /// Opens or makes the file. Fails when another process has it.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let engine = Engine::create(path, CACHE_BYTES)?;
        let transaction = engine.write()?;
        {
            let mut meta = transaction.open_table(META)?;
            format::check(&meta)?;
            format::stamp(&mut meta)?;
            transaction.open_table(SECRETS)?;
            transaction.open_table(ACCOUNTS)?;
            transaction.open_table(DATABASES)?;
            transaction.open_table(OWNED)?;
            transaction.open_table(DELETED)?;
            transaction.open_table(REFRESH_TOKENS)?;
            transaction.open_table(DEVICES)?;
            transaction.open_table(EXPIRIES)?;
            transaction.open_table(USED_REQUESTS)?;
            did_documents::count_did_documents(&transaction)?;
            transaction.open_table(DELETED_DIDS)?;
            transaction.open_table(REGISTRATIONS)?;
            transaction.open_table(PEER_CONTEXTS)?;
            transaction.open_table(REPLICATED)?;
            transaction.open_table(PEER_KIN)?;
            node_indexes::complete(&transaction)?;
        }
        transaction.commit()?;
        Ok(Self {
            committer: Committer::new(engine),
            known: KnownRecords::default(),
        })
    }

    pub(super) fn committer(&self) -> &Committer {
        &self.committer
    }

    /// Ends when the file is closed, and all database files that close with it: when every clone is dropped and the last commit is done.
    pub(crate) fn closed(&self) -> impl Future<Output = ()> + use<> {
        self.committer.closed()
    }

    /// The node's keys; missing ones are made.
    pub(crate) async fn secrets(&self) -> Result<NodeSecrets, StoreError> {
        self.committer
            .write(|transaction| {
                let mut table = transaction.open_table(SECRETS)?;
                let is_new = table.get("identity")?.is_none();
                let mut key = |name: &str| -> Result<[u8; 32], StoreError> {
                    if let Some(stored) = table.get(name)? {
                        return stored
                            .value()
                            .try_into()
                            .map_err(|_| StoreError::Corrupt("a node key"));
                    }
                    let made: [u8; 32] = random()?;
                    table.insert(name, made.as_slice())?;
                    Ok(made)
                };
                Ok(NodeSecrets {
                    is_new,
                    identity: key("identity")?,
                    challenge_key: key("challenge_key")?,
                    refresh_key: key("refresh_key")?,
                    access_key: key("access_key")?,
                    public_user: key("public_user")?,
                    public_password: key("public_password")?,
                    uuid: key("uuid")?,
                    peer_key: key("peer_key")?,
                })
            })
            .await
    }

    /// The file as it is now.
    pub(crate) fn now(&self) -> Result<NodeView, StoreError> {
        Ok(NodeView(self.committer.read()?))
    }
}

/// The node's file at one moment.
pub(crate) struct NodeView(ReadTransaction);

impl NodeView {
    /// Copies it, with these databases. May block.
    pub(crate) fn copy_to(
        &self,
        path: &Path,
        databases: &BTreeSet<String>,
    ) -> Result<(), StoreError> {
        copy::node_to(&self.0, path, databases)
    }
}

/// The second halves of all keys that start with `first`.
fn second_keys(
    table: &impl ReadableTable<(&'static str, &'static str), ()>,
    first: &str,
) -> Result<Vec<String>, StoreError> {
    let mut found = Vec::new();
    for row in table.range((first, "")..)? {
        let key = row?.0;
        let (owner, second) = key.value();
        if owner != first {
            break;
        }
        found.push(second.to_owned());
    }
    Ok(found)
}

pub(super) fn to_json(value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|_| StoreError::Corrupt("a row cannot be written as JSON"))
}

pub(super) fn from_json<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|_| StoreError::Corrupt("a row is not the JSON it was"))
}
