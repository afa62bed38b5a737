//! `node.redb`: the node's own keys, accounts, the registry of databases, refresh tokens, DID documents.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use adyton_protocol::database::DatabaseHash;
use redb::{
    ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction,
};
use serde::{Deserialize, Serialize};

use super::commit::Committer;
use super::copy;
use super::engine::Engine;
use super::format::{self, META};
use super::known::{Known, KnownRecords};
use super::node_indexes::{
    self, ACCOUNT_TOKENS, Admissions, end_oldest_tokens, has_room_for_account,
};
use super::{StoreError, random};
use crate::directory::Registration;
use crate::peers::{Candidate, PasswordHash, PeerRow};
use crate::registry::DatabaseRecord;

pub(super) const SECRETS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("secrets");
pub(super) const ACCOUNTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("accounts");
pub(super) const DATABASES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("databases");
/// (account, database) → nothing: the databases of an account.
pub(super) const OWNED: TableDefinition<'_, (&str, &str), ()> =
    TableDefinition::new("owned_databases");
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
/// Address of a DID, lower case → its registration, on a node that is a directory.
pub(super) const REGISTRATIONS: TableDefinition<'_, &str, &[u8]> =
    TableDefinition::new("did_registrations");
/// Account → nothing: those whose context other nodes hold, too. At start they are replicated.
pub(super) const REPLICATED: TableDefinition<'_, &str, ()> =
    TableDefinition::new("replicated_accounts");
/// (account, name of another node) → with which password, and until when, that node may replicate the account's context.
pub(super) const PEER_CONTEXTS: TableDefinition<'_, (&str, &str), &[u8]> =
    TableDefinition::new("peer_context_passwords");
/// (kin of contexts, name of another node) → the password that came last with one of them.
pub(super) const PEER_KIN: TableDefinition<'_, (&str, &str), &[u8]> =
    TableDefinition::new("peer_kin");

const CACHE_BYTES: usize = 16 << 20;
/// The use of an account is noted by who uses it about so often.
const USE_NOTED_SECONDS: u64 = 60 * 60;
/// Expired rows removed by one login at most.
const FORGET_PER_LOGIN: usize = 64;

/// A user of this node: one DID in one context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Account {
    pub(crate) did: String,
    pub(crate) context_name: String,
    pub(crate) storage_limit: u64,
    /// Unix seconds of its last use; none is known from before it was noted.
    #[serde(default)]
    pub(crate) used: u64,
}

/// A refresh token that counts until it expires or is revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefreshRow {
    pub(crate) account: String,
    pub(crate) device: Option<String>,
    pub(crate) expiry: u64,
}

/// What a login writes.
#[derive(Debug)]
pub(crate) struct Login {
    pub(crate) account_name: String,
    pub(crate) account: Account,
    pub(crate) request_id: String,
    pub(crate) request_expiry: u64,
    pub(crate) token_id: String,
    pub(crate) token: RefreshRow,
    pub(crate) max_accounts: u64,
    /// Tokens that the account may have; with one more, the oldest ends.
    pub(crate) max_tokens: usize,
    pub(crate) now: u64,
}

/// What became of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoginOutcome {
    Done,
    /// The challenge was answered before.
    Replayed,
    /// The node has as many accounts as it takes.
    Full,
}

/// What became of a registration, or of a version of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Registered {
    Done,
    /// It was meant for a turn that is over.
    Overtaken,
    /// The node has as many as it takes.
    Full,
}

/// How many DID documents are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DocumentRoom {
    /// Versions, of all DIDs.
    pub(crate) documents: u64,
    /// Bytes of one DID's versions.
    pub(crate) bytes_of_did: u64,
    /// Bytes, of all DIDs.
    pub(crate) bytes: u64,
}

/// What became of another node's credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PeerOutcome {
    /// It is let in, with this password.
    Admitted(PeerChange, PasswordHash),
    /// None is known that counts, and none came.
    NoPassword,
    /// The node has let others in as often as it does.
    Full,
}

/// What is new about another node that is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PeerChange {
    /// It was unknown in this context.
    Created,
    /// Its password or its contexts changed.
    Updated,
    /// Nothing but the time.
    Exists,
}

impl PeerChange {
    /// The original's word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Exists => "exists",
        }
    }
}

/// The node's own keys, made at first start.
pub(crate) struct NodeSecrets {
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
            transaction.open_table(REFRESH_TOKENS)?;
            transaction.open_table(DEVICES)?;
            transaction.open_table(EXPIRIES)?;
            transaction.open_table(USED_REQUESTS)?;
            count_did_documents(&transaction)?;
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

    /// Ends when the file is closed: when every clone is dropped and the last commit is done.
    pub(crate) fn closed(&self) -> impl Future<Output = ()> + use<> {
        self.committer.closed()
    }

    /// The node's keys; missing ones are made.
    pub(crate) async fn secrets(&self) -> Result<NodeSecrets, StoreError> {
        self.committer
            .write(|transaction| {
                let mut table = transaction.open_table(SECRETS)?;
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

    // Logins and tokens

    pub(crate) async fn log_in(&self, login: Login) -> Result<LoginOutcome, StoreError> {
        self.committer
            .write(move |transaction| {
                forget_expired(transaction, login.now)?;
                let mut used = transaction.open_table(USED_REQUESTS)?;
                if used.get(login.request_id.as_str())?.is_some() {
                    return Ok(LoginOutcome::Replayed);
                }
                let name = login.account_name.as_str();
                let is_known = transaction.open_table(ACCOUNTS)?.get(name)?.is_some();
                if !is_known {
                    if !has_room_for_account(transaction, login.now, login.max_accounts)? {
                        return Ok(LoginOutcome::Full);
                    }
                    let account = to_json(&login.account)?;
                    let mut accounts = transaction.open_table(ACCOUNTS)?;
                    accounts.insert(name, account.as_slice())?;
                }
                node_indexes::used(transaction, name, login.now)?;
                used.insert(login.request_id.as_str(), login.request_expiry)?;
                transaction
                    .open_table(EXPIRIES)?
                    .insert((login.request_expiry, login.request_id.as_str()), ())?;
                insert_token(transaction, &login.token_id, &login.token)?;
                end_oldest_tokens(transaction, name, login.max_tokens)?;
                Ok(LoginOutcome::Done)
            })
            .await
    }

    /// Notes that a challenge was answered. False when it was before.
    pub(crate) async fn use_request(
        &self,
        id: String,
        expiry: u64,
        now: u64,
    ) -> Result<bool, StoreError> {
        self.committer
            .write(move |transaction| {
                forget_expired(transaction, now)?;
                let mut used = transaction.open_table(USED_REQUESTS)?;
                if used.insert(id.as_str(), expiry)?.is_some() {
                    return Ok(false);
                }
                let mut expiries = transaction.open_table(EXPIRIES)?;
                expiries.insert((expiry, id.as_str()), ())?;
                Ok(true)
            })
            .await
    }

    pub(crate) async fn refresh_token(&self, id: String) -> Result<Option<RefreshRow>, StoreError> {
        self.committer
            .view(move |view| {
                view.open_table(REFRESH_TOKENS)?
                    .get(id.as_str())?
                    .map(|row| from_json(row.value()))
                    .transpose()
            })
            .await
    }

    /// Replaces a refresh token by another. False when the old one is not there any more.
    pub(crate) async fn replace_token(
        &self,
        old: String,
        new: String,
        row: RefreshRow,
    ) -> Result<bool, StoreError> {
        self.committer
            .write(move |transaction| {
                if !remove_token(transaction, &old)? {
                    return Ok(false);
                }
                insert_token(transaction, &new, &row)?;
                Ok(true)
            })
            .await
    }

    /// Revokes every refresh token of a device, and says how many there were.
    pub(crate) async fn revoke_device(&self, device: String) -> Result<usize, StoreError> {
        self.committer
            .write(move |transaction| {
                let ids = {
                    let devices = transaction.open_table(DEVICES)?;
                    second_keys(&devices, &device)?
                };
                for id in &ids {
                    remove_token(transaction, id)?;
                }
                Ok(ids.len())
            })
            .await
    }

    /// Notes that an account is in use, if that was not noted lately.
    pub(crate) async fn use_account(&self, name: String, now: u64) -> Result<(), StoreError> {
        let noted = self.account(name.clone()).await?;
        if noted.is_none_or(|account| now.saturating_sub(account.used) < USE_NOTED_SECONDS) {
            return Ok(());
        }
        self.committer
            .write(move |transaction| node_indexes::used(transaction, &name, now))
            .await
    }

    pub(crate) async fn account(&self, name: String) -> Result<Option<Account>, StoreError> {
        self.committer
            .view(move |view| {
                view.open_table(ACCOUNTS)?
                    .get(name.as_str())?
                    .map(|row| from_json(row.value()))
                    .transpose()
            })
            .await
    }

    pub(crate) async fn account_count(&self) -> Result<u64, StoreError> {
        self.committer
            .view(|view| Ok(view.open_table(ACCOUNTS)?.len()?))
            .await
    }

    // The registry of databases

    pub(crate) async fn database(
        &self,
        hash: String,
    ) -> Result<Option<DatabaseRecord>, StoreError> {
        self.committer
            .view(move |view| read_database(view, &hash))
            .await
    }

    /// The same, mostly from memory.
    pub(crate) async fn known_database(
        &self,
        hash: String,
    ) -> Result<Option<Arc<DatabaseRecord>>, StoreError> {
        let as_of = match self.known.find(&hash) {
            Known::Record(record) => return Ok(Some(record)),
            Known::Nothing(as_of) => as_of,
        };
        let record = self.database(hash).await?.map(Arc::new);
        if let Some(record) = &record {
            self.known.keep(as_of, record);
        }
        Ok(record)
    }

    /// The files of those that are no databases of this node.
    pub(crate) async fn without_owner(
        &self,
        found: Vec<(DatabaseHash, PathBuf)>,
    ) -> Result<Vec<PathBuf>, StoreError> {
        self.committer
            .view(move |view| {
                let table = view.open_table(DATABASES)?;
                let mut stray = Vec::new();
                for (hash, path) in found {
                    if table.get(hash.to_string().as_str())?.is_none() {
                        stray.push(path);
                    }
                }
                Ok(stray)
            })
            .await
    }

    /// Every database of an account, by hash.
    pub(crate) async fn databases_of(
        &self,
        account: String,
    ) -> Result<Vec<DatabaseRecord>, StoreError> {
        self.committer
            .view(move |view| {
                let hashes = second_keys(&view.open_table(OWNED)?, &account)?;
                let records = hashes.iter().map(|hash| read_database(view, hash));
                records.filter_map(Result::transpose).collect()
            })
            .await
    }

    /// The hashes of all databases, looked up in turn with the writes. `note` is called in this turn: every deletion before it is
    /// reckoned with, none after it.
    pub(crate) async fn all_databases(
        &self,
        note: impl FnOnce(&BTreeSet<String>) + Send + 'static,
    ) -> Result<BTreeSet<String>, StoreError> {
        self.committer
            .write(|transaction| {
                let table = transaction.open_table(DATABASES)?;
                let rows = table.range::<&str>(..)?;
                let hashes = rows.map(|row| Ok(row?.0.value().to_owned()));
                let hashes = hashes.collect::<Result<_, StoreError>>()?;
                note(&hashes);
                Ok(hashes)
            })
            .await
    }

    /// Ends when everything that was waiting to be written is. Fails when nothing can be written any more.
    pub(crate) async fn settled(&self) -> Result<(), StoreError> {
        self.committer.write(|_| Ok(())).await
    }

    /// The file as it is now.
    pub(crate) fn now(&self) -> Result<NodeView, StoreError> {
        Ok(NodeView(self.committer.read()?))
    }

    pub(crate) async fn put_database(&self, record: DatabaseRecord) -> Result<(), StoreError> {
        let changing = self.known.changing(&record.database_hash);
        self.committer
            .write(move |transaction| {
                let hash = record.database_hash.as_str();
                let json = to_json(&record)?;
                transaction
                    .open_table(DATABASES)?
                    .insert(hash, json.as_slice())?;
                transaction
                    .open_table(OWNED)?
                    .insert((record.owner.as_str(), hash), ())?;
                node_indexes::databases_changed(transaction, &record.owner)?;
                Ok(changing)
            })
            .await
            .map(drop)
    }

    /// Takes a database out of the registry. `note` is called in this write's turn, before it is seen.
    pub(crate) async fn remove_database(
        &self,
        owner: String,
        hash: String,
        note: impl FnOnce(&str) + Send + 'static,
    ) -> Result<(), StoreError> {
        let changing = self.known.changing(&hash);
        self.committer
            .write(move |transaction| {
                note(&hash);
                transaction.open_table(DATABASES)?.remove(hash.as_str())?;
                transaction
                    .open_table(OWNED)?
                    .remove((owner.as_str(), hash.as_str()))?;
                node_indexes::databases_changed(transaction, &owner)?;
                Ok(changing)
            })
            .await
            .map(drop)
    }

    // DID documents

    /// The newest version of a DID's document: its number and text.
    pub(crate) async fn did_document(&self, did: String) -> Result<Option<String>, StoreError> {
        self.committer
            .view(move |view| {
                let table = view.open_table(DID_DOCUMENTS)?;
                let mut versions = table.range((did.as_str(), 0)..=(did.as_str(), u64::MAX))?;
                Ok(versions
                    .next_back()
                    .transpose()?
                    .map(|(_, text)| text.value().to_owned()))
            })
            .await
    }

    /// Versions of a DID's document from this one on, the first one first: so many that they have `bytes` bytes or a little more.
    pub(crate) async fn did_document_versions(
        &self,
        did: String,
        from: u64,
        bytes: usize,
    ) -> Result<Vec<String>, StoreError> {
        self.committer
            .view(move |view| {
                let table = view.open_table(DID_DOCUMENTS)?;
                let (mut versions, mut held) = (Vec::new(), 0);
                for row in table.range((did.as_str(), from)..=(did.as_str(), u64::MAX))? {
                    let text = row?.1.value().to_owned();
                    held += text.len();
                    versions.push(text);
                    if held >= bytes {
                        break;
                    }
                }
                Ok(versions)
            })
            .await
    }

    /// Adds a version if it is exactly the next one, and the node has room for one.
    pub(crate) async fn add_did_document(
        &self,
        did: String,
        version: u64,
        text: String,
        room: DocumentRoom,
    ) -> Result<Registered, StoreError> {
        self.committer
            .write(move |transaction| {
                let mut table = transaction.open_table(DID_DOCUMENTS)?;
                let newest = {
                    let mut versions = table.range((did.as_str(), 0)..=(did.as_str(), u64::MAX))?;
                    versions
                        .next_back()
                        .transpose()?
                        .map(|(key, _)| key.value().1)
                };
                if version != newest.map_or(0, |newest| newest + 1) {
                    return Ok(Registered::Overtaken);
                }
                let mut counted = transaction.open_table(DID_DOCUMENT_BYTES)?;
                let [of_did, of_all] = [did.as_str(), ""].map(|name| {
                    let held = counted.get(name)?.map_or(0, |bytes| bytes.value());
                    Ok::<_, StoreError>(held + text.len() as u64)
                });
                let (of_did, of_all) = (of_did?, of_all?);
                if table.len()? >= room.documents
                    || of_did > room.bytes_of_did
                    || of_all > room.bytes
                {
                    return Ok(Registered::Full);
                }
                counted.insert(did.as_str(), of_did)?;
                counted.insert("", of_all)?;
                table.insert((did.as_str(), version), text.as_str())?;
                Ok(Registered::Done)
            })
            .await
    }

    // Registrations of DIDs

    pub(crate) async fn registration(
        &self,
        address: String,
    ) -> Result<Option<Registration>, StoreError> {
        self.committer
            .view(move |view| {
                view.open_table(REGISTRATIONS)?
                    .get(address.as_str())?
                    .map(|row| from_json(row.value()))
                    .transpose()
            })
            .await
    }

    /// Puts `next` in place, if the held registration's turn is still `nonce`.
    pub(crate) async fn register(
        &self,
        address: String,
        nonce: u64,
        next: Registration,
        max: u64,
    ) -> Result<Registered, StoreError> {
        self.committer
            .write(move |transaction| {
                let mut table = transaction.open_table(REGISTRATIONS)?;
                let held: Option<Registration> = table
                    .get(address.as_str())?
                    .map(|row| from_json(row.value()))
                    .transpose()?;
                if held.as_ref().map_or(0, |held| held.nonce) != nonce {
                    return Ok(Registered::Overtaken);
                }
                if held.is_none() && table.len()? >= max {
                    return Ok(Registered::Full);
                }
                table.insert(address.as_str(), to_json(&next)?.as_slice())?;
                Ok(Registered::Done)
            })
            .await
    }

    // Other nodes

    /// Every password that opens a context, with its node's name.
    pub(crate) async fn peer_passwords(
        &self,
    ) -> Result<HashSet<(String, PasswordHash)>, StoreError> {
        self.committer
            .view(|view| {
                let table = view.open_table(PEER_CONTEXTS)?;
                let rows = table.iter()?.map(|row| {
                    let (key, row) = row?;
                    let row: PeerRow = from_json(row.value())?;
                    Ok((key.value().1.to_owned(), row.password))
                });
                rows.collect()
            })
            .await
    }

    /// Lets a node into an account's context.
    pub(crate) async fn put_peer(
        &self,
        candidate: Candidate,
        now: u64,
        until: u64,
        max: u64,
    ) -> Result<PeerOutcome, StoreError> {
        self.committer
            .write(move |transaction| {
                let Candidate {
                    name,
                    password: given,
                    account,
                    kin,
                } = candidate;
                let mut contexts = Admissions::contexts(transaction)?;
                let mut kindred = Admissions::kindred(transaction)?;
                let (context, kin) = (
                    (account.as_str(), name.as_str()),
                    (kin.as_str(), name.as_str()),
                );
                let known = kindred.row(kin)?.map(|row| row.password);
                let Some(password) = given.or(known) else {
                    return Ok(PeerOutcome::NoPassword);
                };
                let held = contexts.row(context)?;
                let room = held.is_some() || contexts.has_room(now, max)?;
                if !room || !(known.is_some() || kindred.has_room(now, max)?) {
                    return Ok(PeerOutcome::Full);
                }
                let row = PeerRow { password, until };
                contexts.put(context, &row)?;
                kindred.put(kin, &row)?;
                let change = match held {
                    None if given.is_some() => PeerChange::Created,
                    Some(held) if held.password == password => PeerChange::Exists,
                    None | Some(_) => PeerChange::Updated,
                };
                Ok(PeerOutcome::Admitted(change, password))
            })
            .await
    }

    /// With which password, and until when, a node was let into an account's context.
    pub(crate) async fn peer(
        &self,
        name: String,
        account: String,
    ) -> Result<Option<PeerRow>, StoreError> {
        self.committer
            .view(move |view| {
                let contexts = view.open_table(PEER_CONTEXTS)?;
                peer_row(&contexts, (account.as_str(), name.as_str()))
            })
            .await
    }

    /// Lets no other node into an account's context any more.
    pub(crate) async fn remove_peers_of(&self, account: String) -> Result<(), StoreError> {
        self.committer
            .write(move |transaction| {
                let mut contexts = Admissions::contexts(transaction)?;
                for name in contexts.names(&account)? {
                    contexts.remove((account.as_str(), name.as_str()))?;
                }
                Ok(())
            })
            .await
    }

    /// Accounts whose context other nodes hold, too, as far as is known.
    pub(crate) async fn replicated(&self) -> Result<Vec<String>, StoreError> {
        self.committer
            .view(|view| {
                let table = view.open_table(REPLICATED)?;
                let rows = table.iter()?.map(|row| Ok(row?.0.value().to_owned()));
                rows.collect()
            })
            .await
    }

    /// Whether an account's context is on other nodes, too. Written only when it is news.
    pub(crate) async fn set_replicated(
        &self,
        account: String,
        replicated: bool,
    ) -> Result<(), StoreError> {
        let asked = account.clone();
        let known = self
            .committer
            .view(move |view| Ok(view.open_table(REPLICATED)?.get(asked.as_str())?.is_some()))
            .await?;
        if known == replicated {
            return Ok(());
        }
        self.committer
            .write(move |transaction| {
                let mut table = transaction.open_table(REPLICATED)?;
                match replicated {
                    true => table.insert(account.as_str(), ())?,
                    false => table.remove(account.as_str())?,
                };
                Ok(())
            })
            .await
    }

    /// Removes every version, and says how many there were.
    pub(crate) async fn remove_did_document(&self, did: String) -> Result<u64, StoreError> {
        self.committer
            .write(move |transaction| {
                let mut table = transaction.open_table(DID_DOCUMENTS)?;
                let mut removed = 0;
                table.retain_in((did.as_str(), 0)..=(did.as_str(), u64::MAX), |_, _| {
                    removed += 1;
                    false
                })?;
                let mut counted = transaction.open_table(DID_DOCUMENT_BYTES)?;
                let of_did = counted
                    .remove(did.as_str())?
                    .map_or(0, |bytes| bytes.value());
                let of_all = counted.get("")?.map_or(0, |bytes| bytes.value());
                counted.insert("", of_all.saturating_sub(of_did))?;
                Ok(removed)
            })
            .await
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

/// Counts the bytes of DID documents that were kept before they were counted.
fn count_did_documents(transaction: &WriteTransaction) -> Result<(), StoreError> {
    let documents = transaction.open_table(DID_DOCUMENTS)?;
    let mut counted = transaction.open_table(DID_DOCUMENT_BYTES)?;
    if !counted.is_empty()? {
        return Ok(());
    }
    let mut of_all = 0;
    for row in documents.iter()? {
        let (key, text) = row?;
        let (did, bytes) = (key.value().0, text.value().len() as u64);
        let held = counted.get(did)?.map_or(0, |bytes| bytes.value());
        counted.insert(did, held + bytes)?;
        of_all += bytes;
    }
    counted.insert("", of_all)?;
    Ok(())
}

fn peer_row(
    table: &impl ReadableTable<(&'static str, &'static str), &'static [u8]>,
    key: (&str, &str),
) -> Result<Option<PeerRow>, StoreError> {
    table
        .get(key)?
        .map(|row| from_json(row.value()))
        .transpose()
}

fn read_database(view: &ReadTransaction, hash: &str) -> Result<Option<DatabaseRecord>, StoreError> {
    view.open_table(DATABASES)?
        .get(hash)?
        .map(|row| from_json(row.value()))
        .transpose()
}

fn insert_token(
    transaction: &WriteTransaction,
    id: &str,
    row: &RefreshRow,
) -> Result<(), StoreError> {
    let json = to_json(row)?;
    transaction
        .open_table(REFRESH_TOKENS)?
        .insert(id, json.as_slice())?;
    transaction
        .open_table(EXPIRIES)?
        .insert((row.expiry, id), ())?;
    transaction
        .open_table(ACCOUNT_TOKENS)?
        .insert((row.account.as_str(), row.expiry, id), ())?;
    if let Some(device) = &row.device {
        transaction
            .open_table(DEVICES)?
            .insert((device.as_str(), id), ())?;
    }
    Ok(())
}

pub(super) fn remove_token(transaction: &WriteTransaction, id: &str) -> Result<bool, StoreError> {
    let removed: Option<RefreshRow> = transaction
        .open_table(REFRESH_TOKENS)?
        .remove(id)?
        .map(|row| from_json(row.value()))
        .transpose()?;
    let Some(row) = removed else {
        return Ok(false);
    };
    transaction.open_table(EXPIRIES)?.remove((row.expiry, id))?;
    transaction
        .open_table(ACCOUNT_TOKENS)?
        .remove((row.account.as_str(), row.expiry, id))?;
    if let Some(device) = &row.device {
        transaction
            .open_table(DEVICES)?
            .remove((device.as_str(), id))?;
    }
    Ok(true)
}

/// Forgets some of what has expired: challenges that were answered, and refresh tokens.
fn forget_expired(transaction: &WriteTransaction, now: u64) -> Result<(), StoreError> {
    let expired: Vec<(u64, String)> = {
        let expiries = transaction.open_table(EXPIRIES)?;
        let rows = expiries.range((0, "")..(now, ""))?.take(FORGET_PER_LOGIN);
        rows.map(|row| {
            let key = row?.0;
            let (expiry, id) = key.value();
            Ok((expiry, id.to_owned()))
        })
        .collect::<Result<_, StoreError>>()?
    };
    for (expiry, id) in expired {
        remove_token(transaction, &id)?;
        transaction.open_table(USED_REQUESTS)?.remove(id.as_str())?;
        transaction
            .open_table(EXPIRIES)?
            .remove((expiry, id.as_str()))?;
    }
    Ok(())
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
