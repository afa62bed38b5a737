//! Accounts, refresh tokens and DID documents, in a CouchDB, as the original keeps them.
//!
//! Which challenges were answered is the node's own: the original keeps no account of it, and a challenge is answered where it was
//! made.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::Method;
use serde_json::{Value, json};

use super::client::{CouchClient, segment};
use super::databases::RECORDS_AT_ONCE;
use super::layout::{self, DIDS, TOKENS};
use crate::records::LivingToken;
use crate::store::StoreError;
use crate::store::node::{
    Account, DocumentRoom, Kept, Login, LoginOutcome, NewVersion, NodeStore, RefreshRow,
};

/// Versions of a DID document that are read at one time.
const VERSIONS_AT_ONCE: u64 = 16;
/// Versions of one DID document that are looked for: more than the node takes.
const MAX_VERSIONS: u64 = 20_000;
/// Documents that one request deletes.
const DELETED_AT_ONCE: usize = 1_000;
/// What a deleted version says: the last time that the document named.
const LAST: &str = "last";
/// Tokens of one device that are looked for at one time.
const TOKENS_AT_ONCE: usize = 100;
/// How often that is done for one device.
const ROUNDS: usize = 100;
/// Every so many logins some expired tokens are forgotten: so many.
const FORGET_EVERY: u64 = 8;
const FORGOTTEN_AT_ONCE: usize = 64;

/// What the original keeps of people.
pub(crate) struct CouchRecords {
    client: Arc<CouchClient>,
    node: NodeStore,
    logins: AtomicU64,
}

impl CouchRecords {
    pub(crate) fn new(client: Arc<CouchClient>, node: NodeStore) -> Self {
        Self {
            client,
            node,
            logins: AtomicU64::new(0),
        }
    }

    pub(crate) async fn log_in(&self, login: Login) -> Result<LoginOutcome, StoreError> {
        let Login {
            account_name,
            account,
            request_id,
            request_expiry,
            token_id,
            token,
            max_accounts,
            max_tokens,
            now,
        } = login;
        if !self
            .node
            .use_request(request_id, request_expiry, now)
            .await?
        {
            return Ok(LoginOutcome::Replayed);
        }
        let path = layout::user_path(&account_name);
        if self.client.get(&path).await?.is_none() {
            if self.accounts().await? >= max_accounts {
                return Ok(LoginOutcome::Full);
            }
            // Without a password: nobody logs in at CouchDB with one.
            let user = json!({
                "name": account_name, "type": "user", "roles": [],
                "storageLimit": account.storage_limit,
            });
            // False: another login of this account made it.
            self.client.put_new(&path, &user).await?;
        }
        self.put_token(&token_id, &token).await?;
        self.end_oldest(&token.account, &token_id, max_tokens)
            .await?;
        if self
            .logins
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(FORGET_EVERY)
        {
            let selector = json!({"expiry": {"$lt": now}});
            self.forget_tokens(selector, FORGOTTEN_AT_ONCE).await?;
        }
        Ok(LoginOutcome::Done)
    }

    pub(crate) async fn token(&self, id: &str) -> Result<Option<LivingToken>, StoreError> {
        let token = self.client.get(&token_path(id)).await?;
        Ok(token.map(|token| LivingToken {
            signer: token
                .get("signer")
                .and_then(Value::as_str)
                .map(str::to_owned),
        }))
    }

    pub(crate) async fn end_token(&self, id: &str) -> Result<(), StoreError> {
        self.client.delete(&token_path(id)).await.map(drop)
    }

    /// Replaces a refresh token by another. False when the old one is not there any more.
    pub(crate) async fn replace_token(
        &self,
        old: &str,
        new: &str,
        row: &RefreshRow,
    ) -> Result<bool, StoreError> {
        // The new one first: whatever breaks off, one of them counts.
        self.put_token(new, row).await?;
        let replaced = self.client.delete(&token_path(old)).await?;
        if !replaced {
            self.client.delete(&token_path(new)).await?;
        }
        Ok(replaced)
    }

    /// Revokes every refresh token of a device, and says how many there were.
    pub(crate) async fn revoke_device(&self, device: &str) -> Result<usize, StoreError> {
        let mut revoked = 0;
        for _ in 0..ROUNDS {
            let selector = json!({ "deviceHash": device });
            match self.forget_tokens(selector, TOKENS_AT_ONCE).await? {
                0 => return Ok(revoked),
                more => revoked += more,
            }
        }
        Err(StoreError::Aborted)
    }

    /// The DID and the context of an account that has a database.
    pub(crate) async fn account(&self, name: &str) -> Result<Option<Account>, StoreError> {
        let path = format!(
            "/{}/_all_docs?include_docs=true&startkey=%22v%22&limit={RECORDS_AT_ONCE}",
            layout::registry_of(name)
        );
        let listed = self.client.get(&path).await?.unwrap_or_default();
        let record = rows(&listed).find_map(|row| layout::record_of(row.get("doc")?, name));
        Ok(record.map(|record| Account {
            did: record.did,
            context_name: record.context_name,
            storage_limit: 0,
            used: 0,
        }))
    }

    pub(crate) async fn has_account(&self, name: &str) -> Result<bool, StoreError> {
        Ok(self.client.get(&layout::user_path(name)).await?.is_some())
    }

    /// How many users CouchDB has: as the original counts, with those that are nobody's account.
    pub(crate) async fn accounts(&self) -> Result<u64, StoreError> {
        let info = self.client.get("/_users").await?.unwrap_or_default();
        let count = info.get("doc_count").and_then(Value::as_u64);
        count.ok_or(StoreError::Strange(200))
    }

    async fn put_token(&self, id: &str, row: &RefreshRow) -> Result<(), StoreError> {
        // The original's do not say whose they are, and it does not look.
        let mut token = json!({"expiry": row.expiry, "account": row.account});
        if let Some(members) = token.as_object_mut() {
            for (name, value) in [("deviceHash", &row.device), ("signer", &row.signer)] {
                if let Some(value) = value {
                    members.insert(name.to_owned(), value.as_str().into());
                }
            }
        }
        match self.client.put_new(&token_path(id), &token).await? {
            true => Ok(()),
            false => Err(StoreError::Corrupt("a token's id was there already")),
        }
    }

    /// Ends the oldest tokens of an account that has more than it may. Those that the original made do not count: nobody knows
    /// whose they are.
    async fn end_oldest(&self, account: &str, newest: &str, most: usize) -> Result<(), StoreError> {
        let query = json!({
            "selector": {"account": account}, "fields": ["_id", "_rev", "expiry"],
            "limit": most.saturating_add(TOKENS_AT_ONCE),
        });
        let path = format!("/{TOKENS}/_find");
        let answer = self.client.ask(Method::POST, &path, Some(&query)).await?;
        let found = answer.good()?;
        let found = found.get("docs").and_then(Value::as_array);
        let is_other = |token: &&Value| token.get("_id").and_then(Value::as_str) != Some(newest);
        let mut others: Vec<&Value> = found.into_iter().flatten().filter(is_other).collect();
        others.sort_by_key(|token| token.get("expiry").and_then(Value::as_u64));
        let over = (others.len() + 1).saturating_sub(most);
        let dead: Vec<Value> = others.into_iter().take(over).filter_map(dead).collect();
        self.bury(TOKENS, &dead).await
    }

    /// Deletes tokens, and says how many.
    async fn forget_tokens(&self, selector: Value, most: usize) -> Result<usize, StoreError> {
        let query = json!({"selector": selector, "fields": ["_id", "_rev"], "limit": most});
        let path = format!("/{TOKENS}/_find");
        let answer = self.client.ask(Method::POST, &path, Some(&query)).await?;
        let found = answer.good()?;
        let found = found.get("docs").and_then(Value::as_array);
        let dead: Vec<Value> = found.into_iter().flatten().filter_map(dead).collect();
        self.bury(TOKENS, &dead).await?;
        Ok(dead.len())
    }

    /// Deletes documents. One that somebody else deleted or changed meanwhile is left as it is.
    async fn bury(&self, database: &str, dead: &[Value]) -> Result<(), StoreError> {
        let path = format!("/{database}/_bulk_docs");
        for some in dead.chunks(DELETED_AT_ONCE) {
            let body = json!({ "docs": some });
            let answer = self.client.ask(Method::POST, &path, Some(&body)).await?;
            answer.good()?;
        }
        Ok(())
    }

    // DID documents: `<did>-<version>`

    pub(crate) async fn did_document(&self, did: &str) -> Result<Option<String>, StoreError> {
        let Some((newest, _)) = self
            .versions(did)
            .await?
            .into_iter()
            .max_by_key(|row| row.0)
        else {
            return Ok(None);
        };
        let document = self.client.get(&version_path(did, newest)).await?;
        Ok(document.map(text_of))
    }

    /// Versions of a DID's document from this one on, the first one first: some of them.
    pub(crate) async fn did_document_versions(
        &self,
        did: &str,
        from: u64,
    ) -> Result<Vec<String>, StoreError> {
        let ids = (from..from + VERSIONS_AT_ONCE).map(|version| format!("{did}-{version}"));
        let keys = json!({"keys": ids.collect::<Vec<_>>()});
        let path = format!("/{DIDS}/_all_docs?include_docs=true");
        let answer = self.client.ask(Method::POST, &path, Some(&keys)).await?;
        let found = answer.good()?;
        let documents = rows(&found).map_while(|row| row.get("doc").filter(|doc| doc.is_object()));
        Ok(documents.cloned().map(text_of).collect())
    }

    /// Adds a version if it is not there, and the node has room for one. Whoever calls has made sure that it is the next.
    pub(crate) async fn add_did_document(
        &self,
        version: &NewVersion,
        room: DocumentRoom,
    ) -> Result<Kept, StoreError> {
        let mut is_known = version.number > 0;
        if !is_known && let Some(last) = self.deleted(&version.did).await? {
            if version.created <= last {
                return Ok(Kept::Deleted);
            }
            is_known = true;
        }
        let info = self.client.get(&format!("/{DIDS}")).await?;
        let info = info.unwrap_or_default();
        let number = |at: &str| info.pointer(at).and_then(Value::as_u64).unwrap_or(0);
        let is_full =
            number("/doc_count") >= room.documents || number("/sizes/active") >= room.bytes;
        if is_full {
            // The bytes of its other versions are nowhere; as many as of this one, about.
            let of_did = (version.text.len() as u64).saturating_mul(version.number + 1);
            let is_known = is_known || self.has_account_of(version).await?;
            if !is_known || of_did > room.bytes_of_did {
                return Ok(Kept::Full);
            }
        }
        let document: Value = serde_json::from_str(&version.text)
            .map_err(|_| StoreError::Corrupt("a DID document"))?;
        let path = version_path(&version.did, version.number);
        match self.client.put_new(&path, &document).await? {
            true => Ok(Kept::Done),
            false => Ok(Kept::Overtaken),
        }
    }

    async fn has_account_of(&self, version: &NewVersion) -> Result<bool, StoreError> {
        for name in &version.accounts {
            let account = self.account(name).await?;
            if account.is_some_and(|account| account.did.eq_ignore_ascii_case(&version.did)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes every version, if `newest` is the last one, and says how many there were. What CouchDB keeps of each, and shows to
    /// nobody who does not ask for it by its revision, says `last`: the original does not meet it.
    pub(crate) async fn remove_did_document(
        &self,
        did: &str,
        newest: u64,
        last: &str,
    ) -> Result<Option<u64>, StoreError> {
        let versions = self.versions(did).await?;
        if versions.iter().map(|(version, _)| *version).max() != Some(newest) {
            return Ok(None);
        }
        let dead: Vec<Value> = versions
            .iter()
            .map(|(version, rev)| {
                let id = format!("{did}-{version}");
                json!({"_id": id, "_rev": rev, "_deleted": true, LAST: last})
            })
            .collect();
        self.bury(DIDS, &dead).await?;
        Ok(Some(dead.len() as u64))
    }

    /// The last time that a DID's document named when this program deleted it.
    async fn deleted(&self, did: &str) -> Result<Option<String>, StoreError> {
        let path = format!("{}?open_revs=all", version_path(did, 0));
        let leaves = self.client.get(&path).await?.unwrap_or_default();
        let leaves = leaves.as_array().into_iter().flatten();
        let leaves = leaves.filter_map(|leaf| leaf.get("ok"));
        let gone = leaves.filter(|leaf| leaf.get("_deleted") == Some(&Value::Bool(true)));
        let times = gone.filter_map(|leaf| leaf.get(LAST)?.as_str());
        Ok(times.max().map(str::to_owned))
    }

    /// The numbers of all versions, with their revisions at CouchDB.
    async fn versions(&self, did: &str) -> Result<Vec<(u64, String)>, StoreError> {
        // `:` follows the digits.
        let key = |end: char| segment(&json!(format!("{did}-{end}")).to_string());
        let (start, end) = (key('0'), key(':'));
        let path = format!(
            "/{DIDS}/_all_docs?startkey={start}&endkey={end}&inclusive_end=false&limit={MAX_VERSIONS}"
        );
        let found = self.client.get(&path).await?.unwrap_or_default();
        let versions = rows(&found).filter_map(|row| {
            let id = row.get("id")?.as_str()?;
            let version = id.strip_prefix(did)?.strip_prefix('-')?.parse().ok()?;
            let rev = row.pointer("/value/rev")?.as_str()?;
            Some((version, rev.to_owned()))
        });
        Ok(versions.collect())
    }
}

fn rows(listed: &Value) -> impl Iterator<Item = &Value> {
    let rows = listed.get("rows").and_then(Value::as_array);
    rows.into_iter().flatten()
}

fn dead(found: &Value) -> Option<Value> {
    let member = |name: &str| found.get(name)?.as_str();
    Some(json!({"_id": member("_id")?, "_rev": member("_rev")?, "_deleted": true}))
}

/// A kept document as its owner sent it: without what CouchDB added.
fn text_of(mut document: Value) -> String {
    if let Value::Object(members) = &mut document {
        members.remove("_id");
        members.remove("_rev");
    }
    document.to_string()
}

fn token_path(id: &str) -> String {
    format!("/{TOKENS}/{}", segment(id))
}

fn version_path(did: &str, version: u64) -> String {
    format!("/{DIDS}/{}", segment(&format!("{did}-{version}")))
}
