//! The databases of all accounts, in a CouchDB: made and deleted with the original's permissions, and found again.
//!
//! Guarantees: a database is described in its account's registry last when it is made, and there until it is gone when it is
//! deleted, so what breaks off in between is finished by the same request again. Whoever owns a database is read from its
//! `_security` and proven by its record's hashes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use adyton_couch::wire::{CouchError, ErrorKind};
use adyton_protocol::database::DatabaseHash;
use futures_util::{StreamExt, TryStreamExt};
use http::Method;
use http::header::HeaderValue;
use serde_json::{Value, json};
use tokio::sync::broadcast;

use super::client::{CouchClient, segment};
use super::config::CouchConfig;
use super::layout::{self, Acting};
use crate::access::Permit;
use crate::account_turns::AccountTurns;
use crate::clock::Clock;
use crate::config::Limits;
use crate::database_record::DatabaseRecord;
use crate::databases::DatabaseError;
use crate::fair_share::{FairShare, Place};
use crate::quota::{Need, Quotas, Room, Usage};
use crate::store::StoreError;
use crate::throttle::CallerKey;
use crate::token::{ActingClaims, TokenKey};

/// Databases whose owners are remembered at one time.
const MAX_REMEMBERED_OWNERS: usize = 100_000;
/// Records that are read at one time: with full permission lists they are 250 KB each.
pub(super) const RECORDS_AT_ONCE: usize = 25;
/// Databases whose sizes are asked for at one time.
const SIZES_AT_ONCE: usize = 8;
/// Changes of permissions that a feed may not have looked at yet. One that missed some looks again.
const CHANGES_KEPT: usize = 256;
/// A credential for CouchDB is good for this long.
const ACTING_SECONDS: u64 = 600;

/// All databases of the node.
pub(crate) struct CouchDatabases {
    client: Arc<CouchClient>,
    key: TokenKey,
    clock: Clock,
    public_user: String,
    limits: Limits,
    /// Databases whose permissions changed, or that are gone: their feeds look again.
    changes: broadcast::Sender<DatabaseHash>,
    turns: AccountTurns,
    quotas: Quotas,
    /// Connections that requests of clients take. One takes at most a quarter.
    ways: FairShare<CallerKey>,
    /// Whose a database is, proven by its record's hashes: that never changes, whatever else does.
    owners: Mutex<HashMap<DatabaseHash, String>>,
}

impl CouchDatabases {
    pub(crate) fn new(
        client: Arc<CouchClient>,
        config: &CouchConfig,
        clock: Clock,
        limits: Limits,
    ) -> Self {
        let ways = config.connections as u64;
        Self {
            client,
            key: TokenKey::new(config.access_key.as_bytes()),
            clock,
            public_user: config.public_user.0.clone(),
            limits,
            ways: FairShare::new(ways, ways / 4),
            changes: broadcast::Sender::new(CHANGES_KEPT),
            turns: AccountTurns::default(),
            quotas: Quotas::default(),
            owners: Mutex::default(),
        }
    }

    pub(crate) fn client(&self) -> &CouchClient {
        &self.client
    }

    pub(crate) fn public_user(&self) -> &str {
        &self.public_user
    }

    /// Tells of every database whose permissions change through this node.
    pub(crate) fn changes(&self) -> broadcast::Receiver<DatabaseHash> {
        self.changes.subscribe()
    }

    /// A way to CouchDB for a caller's request, unless there is none left for it.
    pub(crate) fn way(&self, caller: CallerKey) -> Option<Place<CallerKey>> {
        self.ways.enter(caller, 1)
    }

    /// What CouchDB takes for a proof that somebody is `acting`.
    pub(crate) fn credential(&self, acting: &Acting) -> Result<HeaderValue, StoreError> {
        self.credential_until(acting, self.clock.unix_seconds() + ACTING_SECONDS)
    }

    pub(super) fn credential_until(
        &self,
        acting: &Acting,
        exp: u64,
    ) -> Result<HeaderValue, StoreError> {
        let token = self.key.issue(&ActingClaims {
            sub: acting.name.clone(),
            roles: acting.roles.clone(),
            exp,
        })?;
        let value = HeaderValue::from_str(&format!("Bearer {token}"));
        let mut value = value.map_err(|_| StoreError::Corrupt("a token"))?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// The record of a database, whosever it is.
    pub(crate) async fn database(
        &self,
        hash: DatabaseHash,
    ) -> Result<Option<DatabaseRecord>, StoreError> {
        let known = self.owners().get(&hash).cloned();
        if let Some(owner) = known {
            return self.find(&owner, hash).await;
        }
        let path = format!("/{hash}/_security");
        let Some(security) = self.client.get(&path).await? else {
            return Ok(None);
        };
        let owner = security.pointer("/admins/names/0").and_then(Value::as_str);
        let Some(owner) = owner.filter(|owner| layout::is_account(owner)) else {
            return Ok(None);
        };
        let record = self.find(owner, hash).await?;
        if record.is_some() {
            let mut owners = self.owners();
            if owners.len() >= MAX_REMEMBERED_OWNERS {
                owners.clear();
            }
            owners.insert(hash, owner.to_owned());
        }
        Ok(record)
    }

    /// One database of an account.
    pub(crate) async fn find(
        &self,
        account: &str,
        hash: DatabaseHash,
    ) -> Result<Option<DatabaseRecord>, StoreError> {
        let path = format!("/{}/{hash}", layout::registry_of(account));
        let document = self.client.get(&path).await?;
        let record = document.and_then(|document| layout::record_of(&document, account));
        // The name of the document proves nothing: the record does.
        Ok(record.filter(|record| record.database_hash == hash.to_string()))
    }

    /// The databases of an account, by hash.
    pub(crate) async fn of_account(
        &self,
        account: &str,
    ) -> Result<Vec<DatabaseRecord>, StoreError> {
        let mut records = Vec::new();
        self.each_of(account, |record| records.push(record)).await?;
        Ok(records)
    }

    /// Reads the databases of an account, by hash, some at one time.
    async fn each_of(
        &self,
        account: &str,
        mut take: impl FnMut(DatabaseRecord),
    ) -> Result<(), StoreError> {
        let registry = layout::registry_of(account);
        // The first one is the last one of those before.
        let (mut from, mut skip) = ("v".to_owned(), 0);
        let pages = self.limits.databases_per_account.div_ceil(RECORDS_AT_ONCE);
        for _ in 0..pages {
            let path = format!(
                "/{registry}/_all_docs?include_docs=true&startkey={}&skip={skip}&limit={RECORDS_AT_ONCE}",
                segment(&json!(from).to_string())
            );
            let mut listed = self.client.get(&path).await?.unwrap_or_default();
            let rows = match listed.get_mut("rows").map(Value::take) {
                Some(Value::Array(rows)) => rows,
                _ => Vec::new(),
            };
            for row in &rows {
                let document = row.get("doc");
                let record = document.and_then(|document| layout::record_of(document, account));
                record.into_iter().for_each(&mut take);
            }
            let last = rows.last().and_then(|row| row.get("id")?.as_str());
            match last {
                Some(last) if rows.len() == RECORDS_AT_ONCE => {
                    (from, skip) = (last.to_owned(), 1);
                }
                _ => break,
            }
        }
        Ok(())
    }

    /// Makes the database of `record` if it is not there, and gives it the record's permissions. Idempotent.
    pub(crate) async fn create(&self, record: &DatabaseRecord) -> Result<(), DatabaseError> {
        let hash = hash_of(record)?;
        let _changing = self.turns.of(&record.owner).await;
        if self.find(&record.owner, hash).await?.is_none() {
            let mut existing = 0_usize;
            self.each_of(&record.owner, |_| existing += 1).await?;
            if existing >= self.limits.databases_per_account {
                let reason = "The account has as many databases as it may.";
                return Err(CouchError::new(ErrorKind::InsufficientStorage, reason).into());
            }
        }
        // New databases of CouchDB 3.x are closed to everybody but its admins until `_security` opens them.
        self.client.make_database(&record.database_hash).await?;
        self.permit(record).await?;
        self.register(record).await?;
        self.changed(hash);
        Ok(())
    }

    /// Gives an existing database other permissions. False when there is no such database.
    pub(crate) async fn update(&self, record: &DatabaseRecord) -> Result<bool, DatabaseError> {
        let hash = hash_of(record)?;
        let _changing = self.turns.of(&record.owner).await;
        if self.find(&record.owner, hash).await?.is_none() {
            return Ok(false);
        }
        self.permit(record).await?;
        self.register(record).await?;
        self.changed(hash);
        Ok(true)
    }

    /// Deletes a database with everything in it. False when there is no such database.
    pub(crate) async fn delete(
        &self,
        account: &str,
        hash: DatabaseHash,
    ) -> Result<bool, DatabaseError> {
        let _changing = self.turns.of(account).await;
        if self.find(account, hash).await?.is_none() {
            return Ok(false);
        }
        self.client.delete_database(&hash.to_string()).await?;
        let path = format!("/{}/{hash}", layout::registry_of(account));
        self.client.delete(&path).await?;
        self.changed(hash);
        self.quotas.forget(account);
        Ok(true)
    }

    /// Forgets an account's registry: after its databases.
    pub(crate) async fn end_context(&self, account: &str) -> Result<(), DatabaseError> {
        let _changing = self.turns.of(account).await;
        let registry = layout::registry_of(account);
        self.client.delete_database(&registry).await?;
        Ok(())
    }

    /// Makes registered databases that are not there.
    pub(crate) async fn restore(&self, account: &str) -> Result<(), DatabaseError> {
        let _changing = self.turns.of(account).await;
        for record in self.of_account(account).await? {
            if self.info(&record).await?.is_none() {
                self.client.make_database(&record.database_hash).await?;
                self.permit(&record).await?;
            }
        }
        Ok(())
    }

    /// What CouchDB says of a database.
    pub(crate) async fn info(&self, record: &DatabaseRecord) -> Result<Option<Value>, StoreError> {
        self.client.get(&format!("/{}", record.database_hash)).await
    }

    /// What an account keeps, measured now.
    pub(crate) async fn usage(&self, account: &str) -> Result<Usage, StoreError> {
        self.quotas.usage(account, self.measure(account)).await
    }

    /// The bytes of the databases' files, as the original counts.
    async fn measure(&self, account: &str) -> Result<Usage, StoreError> {
        let user = self.client.get(&layout::user_path(account)).await?;
        let limit = user.and_then(|user| user.get("storageLimit").and_then(Value::as_u64));
        let mut hashes = Vec::new();
        self.each_of(account, |record| hashes.push(record.database_hash))
            .await?;
        let databases = hashes.len();
        let sizes = futures_util::stream::iter(hashes)
            .map(|hash| async move {
                let info = self.client.get(&format!("/{hash}")).await?;
                let info = info.unwrap_or_default();
                // Apache CouchDB always says it.
                Ok::<_, StoreError>(info.pointer("/sizes/file").and_then(Value::as_u64))
            })
            .buffer_unordered(SIZES_AT_ONCE);
        let bytes = sizes
            .try_fold(0_u64, |sum, size| async move {
                Ok(sum.saturating_add(size.unwrap_or(0)))
            })
            .await?;
        Ok(Usage {
            databases,
            bytes,
            limit: limit.unwrap_or(self.limits.account_bytes),
        })
    }

    /// Room for so many bytes in the account of a database's owner, by the same count as in front of files.
    pub(crate) async fn room(&self, permit: &Permit, need: Need) -> Result<Room, DatabaseError> {
        let owner = &permit.record().owner;
        let taken = self.quotas.room(owner, need, self.measure(owner)).await?;
        Ok(taken?)
    }

    /// Writes a database's permissions in CouchDB's own terms.
    async fn permit(&self, record: &DatabaseRecord) -> Result<(), StoreError> {
        let database = format!("/{}", record.database_hash);
        let security = layout::security(record, &self.public_user);
        self.secure(&database, &security).await?;
        for (id, function) in layout::validations(record, &self.public_user) {
            let path = format!("{database}/{id}");
            match function {
                Some(function) => self.client.put(&path, &function).await?,
                None => drop(self.client.delete(&path).await?),
            }
        }
        Ok(())
    }

    /// Notes a database in its account's registry.
    async fn register(&self, record: &DatabaseRecord) -> Result<(), StoreError> {
        let registry = layout::registry_of(&record.owner);
        self.client.make_database(&registry).await?;
        let security = layout::registry_security(&record.owner);
        self.secure(&format!("/{registry}"), &security).await?;
        let path = format!("/{registry}/{}", segment(&record.database_hash));
        self.client.put(&path, &layout::document_of(record)).await
    }

    async fn secure(&self, database: &str, security: &Value) -> Result<(), StoreError> {
        let path = format!("{database}/_security");
        if self.client.get(&path).await?.as_ref() == Some(security) {
            return Ok(());
        }
        let answer = self.client.ask(Method::PUT, &path, Some(security)).await?;
        answer.good().map(drop)
    }

    fn changed(&self, hash: DatabaseHash) {
        // An error says that no feed is open.
        let _feeds = self.changes.send(hash);
    }

    fn owners(&self) -> std::sync::MutexGuard<'_, HashMap<DatabaseHash, String>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the node's own databases, closed to everybody but CouchDB's admins, with their indexes.
pub(crate) async fn prepare(client: &CouchClient, config: &CouchConfig) -> Result<(), StoreError> {
    for (database, fields) in [
        // CouchDB makes this one itself, unless nobody set it up.
        ("_users", None),
        (layout::TOKENS, Some("deviceHash")),
        (layout::TOKENS, Some("expiry")),
        // Not the original's: whose a token of this node is.
        (layout::TOKENS, Some("account")),
        (layout::DIDS, None),
    ] {
        client.make_database(database).await?;
        if database == "_users" {
            // CouchDB keeps this one closed itself.
            continue;
        }
        let path = format!("/{database}/_security");
        let closed = layout::closed();
        client
            .ask(Method::PUT, &path, Some(&closed))
            .await?
            .good()?;
        if let Some(field) = fields {
            let index = json!({"index": {"fields": [field]}, "name": field, "type": "json"});
            let path = format!("/{database}/_index");
            client
                .ask(Method::POST, &path, Some(&index))
                .await?
                .good()?;
        }
    }
    // Clients that reach CouchDB directly use it with its password there.
    let (name, password) = &config.public_user;
    let path = layout::user_path(name);
    if config.public_url.is_some() && client.get(&path).await?.is_none() {
        let user = json!({"name": name, "password": password, "type": "user", "roles": []});
        client.put_new(&path, &user).await?;
    }
    Ok(())
}

fn hash_of(record: &DatabaseRecord) -> Result<DatabaseHash, StoreError> {
    record
        .database_hash
        .parse()
        .map_err(|_| StoreError::Corrupt("a database hash"))
}
