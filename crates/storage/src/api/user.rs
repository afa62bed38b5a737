//! `/user/*`: what an account does with its databases. The token says who; names in bodies never do.

use std::sync::Arc;

use adyton_couch::wire::Object;
use adyton_protocol::consent;
use adyton_protocol::context::{ContextHash, ContextName};
use adyton_protocol::database::{AccessRule, DatabaseHash, DatabaseName, Permissions};
use adyton_protocol::did::Did;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::App;
use super::asked::{Asked, Recognised};
use super::reply::{self, Reply};
use super::route::Endpoint;
use crate::access::User;
use crate::auth::AuthError;
use crate::database_record::DatabaseRecord;
use crate::databases::DatabaseError;
use crate::did_documents::Freshness;
use crate::outgoing_resolution::Unresolved;
use crate::quota::Usage;
use crate::replicate::other_nodes;
use crate::store::StoreError;
use crate::throttle::CallerKey;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Call {
    database_name: Option<String>,
    database_hashes: Option<Vec<String>>,
    is_write_public: Option<bool>,
    did: Option<String>,
    context_name: Option<String>,
    options: Option<Object<Options>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Options {
    permissions: Option<Object<Permissions>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct SignedCall {
    did: Option<String>,
    timestamp: Option<u64>,
    signature: Option<String>,
    context_hash: Option<String>,
    context_name: Option<String>,
}

/// A signed call is good for this many seconds before and after its time.
const SIGNED_CALL_SECONDS: u64 = 60;

const NO_NAME: &str = "Database must be specified";
const NO_DATABASE: &str = "Database does not exist.";
const NO_ROOM: &str = "Storage limit reached";

impl App {
    pub(super) async fn user_call(
        self: Arc<Self>,
        endpoint: Endpoint,
        recognised: Recognised,
    ) -> Reply {
        let (call, user): (Call, User) = match recognised.call(&self).await {
            Ok(called) => called,
            Err(refusal) => return refusal,
        };
        let done = match endpoint {
            Endpoint::CreateDatabase
            | Endpoint::UpdateDatabase
            | Endpoint::DeleteDatabase
            | Endpoint::DeleteDatabases
            | Endpoint::CheckReplication => {
                let this = Arc::clone(&self);
                to_its_end(async move { this.change(endpoint, &user, call).await }).await
            }
            Endpoint::Databases => self.list_databases(&user).await,
            Endpoint::DatabaseInfo => self.database_info(&user, call).await,
            Endpoint::Usage => self.usage(&user).await,
            Endpoint::PingDatabases => self.ping_databases(&user, call).await,
            _ => Err(unknown_call()),
        };
        match done {
            Ok(members) => reply::signed(&self.identity, members),
            Err(Refusal::Fail(status, message)) => reply::fail(status, &message),
            Err(Refusal::Database(DatabaseError::Store(error))) => reply::fault(&error),
            Err(Refusal::Database(DatabaseError::Refused(error))) => {
                let status = StatusCode::from_u16(error.kind.status());
                reply::fail(
                    status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                    &error.reason,
                )
            }
        }
    }

    /// The calls that change databases.
    async fn change(&self, endpoint: Endpoint, user: &User, call: Call) -> Result<Value, Refusal> {
        match endpoint {
            Endpoint::CreateDatabase => self.create_database(user, call).await,
            Endpoint::UpdateDatabase => self.update_database(user, call).await,
            Endpoint::DeleteDatabase => self.delete_database(user, call).await,
            Endpoint::DeleteDatabases => self.delete_databases(user).await,
            Endpoint::CheckReplication => self.check_replication(user, call).await,
            _ => Err(unknown_call()),
        }
    }

    async fn create_database(&self, user: &User, call: Call) -> Result<Value, Refusal> {
        let record = record(user, call)?;
        self.room_for(user).await?;
        let hash = record.database_hash.clone();
        self.databases
            .create(record, self.clock.unix_seconds())
            .await?;
        if let (Ok(hash), None) = (hash.parse(), self.databases.couch()) {
            // Other nodes may have it already, and learn by our word that it is here now.
            self.news.written(hash);
        }
        Ok(json!({"databaseHash": hash}))
    }

    async fn update_database(&self, user: &User, call: Call) -> Result<Value, Refusal> {
        // Whoever is full may close what is open to others: it is they who may have filled it.
        let record = record(user, call)?;
        match self.databases.update(record).await? {
            true => Ok(json!({})),
            false => Err(fault(NO_DATABASE)),
        }
    }

    async fn delete_database(&self, user: &User, call: Call) -> Result<Value, Refusal> {
        let hash = DatabaseHash::of(&user.did, &user.context, &name(&call)?);
        match self.databases.delete(&user.account(), hash).await? {
            true => Ok(json!({})),
            false => Err(fault(NO_DATABASE)),
        }
    }

    async fn delete_databases(&self, user: &User) -> Result<Value, Refusal> {
        let names = self.delete_all(&user.account()).await?;
        Ok(json!({"results": names}))
    }

    /// Deletes every database of an account, and names them.
    async fn delete_all(&self, account: &str) -> Result<Vec<String>, DatabaseError> {
        let mut names = Vec::new();
        for record in self.databases.of_account(account.to_owned()).await? {
            if let Ok(hash) = record.database_hash.parse()
                && self.databases.delete(account, hash).await?
            {
                names.push(record.database_name);
            }
        }
        Ok(names)
    }

    async fn list_databases(&self, user: &User) -> Result<Value, Refusal> {
        let records = self
            .databases
            .of_account(user.account())
            .await
            .map_err(DatabaseError::from)?;
        let result: Vec<Value> = records.iter().map(described).collect();
        Ok(json!({"result": result}))
    }

    async fn database_info(&self, user: &User, call: Call) -> Result<Value, Refusal> {
        let hash = DatabaseHash::of(&user.did, &user.context, &name(&call)?);
        let found = self
            .databases
            .find(&user.account(), hash)
            .await
            .map_err(DatabaseError::from)?;
        let Some(record) = found else {
            return Err(missing());
        };
        let Some(info) = self.databases.info(&record).await? else {
            return Err(missing());
        };
        let mut result = described(&record);
        if let Value::Object(members) = &mut result {
            members.remove("databaseHash");
            members.insert("info".to_owned(), info);
        }
        Ok(json!({"result": result}))
    }

    async fn usage(&self, user: &User) -> Result<Value, Refusal> {
        let usage = self
            .databases
            .usage(&user.account())
            .await
            .map_err(DatabaseError::from)?;
        Ok(json!({"result": {
            "databases": usage.databases,
            "bytes": usage.bytes,
            "storageLimit": usage.limit,
            "usagePercent": ratio(&usage),
        }}))
    }

    async fn check_replication(&self, user: &User, call: Call) -> Result<Value, Refusal> {
        if call.database_name.is_some() {
            let invalid =
                || Refusal::Fail(StatusCode::UNAUTHORIZED, "Invalid database name".to_owned());
            let name = name(&call).map_err(|_| invalid())?;
            let hash = DatabaseHash::of(&user.did, &user.context, &name);
            let found = self.databases.find(&user.account(), hash).await;
            found.map_err(DatabaseError::from)?.ok_or_else(invalid)?;
        }
        self.databases.restore(user.account()).await?;
        self.replicate(user, &user.did, &user.context).await?;
        Ok(json!({"result": {}}))
    }

    /// Has this node push to the other nodes of a context, now. Of a database of somebody else it is checked, as the original does,
    /// that everybody may write to it.
    async fn ping_databases(&self, user: &User, call: Call) -> Result<Value, Refusal> {
        let hashes = call.database_hashes.unwrap_or_default();
        if hashes.len() > self.limits.databases_per_account {
            return Err(bad("Too many databases"));
        }
        let (did, context) = if call.is_write_public == Some(true) {
            let did = call
                .did
                .as_deref()
                .and_then(|text| text.parse::<Did>().ok());
            let context = call.context_name.as_deref().map(ContextName::new);
            let (Some(did), Some(Ok(context))) = (did, context) else {
                return Err(bad("A valid did and contextName are required"));
            };
            let owner = ContextHash::of(&did, &context).couch_user();
            for text in &hashes {
                let refused = || {
                    fault(&format!(
                        "Invalid permissions to initiate replication for {text}"
                    ))
                };
                let hash = text
                    .parse()
                    .map_err(|_| bad("A database hash is malformed"))?;
                let found = self.databases.find(&owner, hash).await;
                found
                    .map_err(DatabaseError::from)?
                    .filter(|record| record.permissions.write == AccessRule::Public)
                    .ok_or_else(refused)?;
            }
            if hashes.is_empty() {
                return Ok(json!({"failedEndpoints": [], "endpoints": []}));
            }
            (did, context)
        } else {
            (user.did.clone(), user.context.clone())
        };
        self.replicate(user, &did, &context).await
    }

    /// Wakes the replication of a context, and tells which nodes it goes to, and which of them could not be reached lately.
    async fn replicate(
        &self,
        user: &User,
        did: &Did,
        context: &ContextName,
    ) -> Result<Value, Refusal> {
        let caller = CallerKey::Account(user.account().into());
        let hash = ContextHash::of(did, context);
        let account = hash.couch_user();
        let found = self.resolver.resolve(&caller, did, Freshness::Remembered);
        let nodes = match found.await {
            Ok(Some(document)) => other_nodes(&document, self.network, &hash, &self.public_url),
            Ok(None) | Err(Unresolved::Unreachable | Unresolved::TooMany(_)) => Vec::new(),
            Err(Unresolved::Store(error)) => return Err(DatabaseError::from(error).into()),
        };
        if !nodes.is_empty() {
            self.news.asked(&account);
        }
        let failed: Vec<&String> = nodes
            .iter()
            .filter(|node| self.standing.fails(&account, node))
            .collect();
        Ok(json!({"failedEndpoints": failed, "endpoints": nodes}))
    }

    async fn room_for(&self, user: &User) -> Result<(), Refusal> {
        let usage = self
            .databases
            .usage(&user.account())
            .await
            .map_err(DatabaseError::from)?;
        if usage.is_exhausted() {
            return Err(Refusal::Fail(StatusCode::BAD_REQUEST, NO_ROOM.to_owned()));
        }
        Ok(())
    }

    // Calls that a signature authorises, without a token

    pub(super) async fn context_hash(&self, asked: Asked) -> Reply {
        let caller = asked.head.caller.clone();
        let call: SignedCall = match asked.call(self).await {
            Ok(call) => call,
            Err(refusal) => return refusal,
        };
        let (Some(did), Some(timestamp), Some(signature), Some(hash)) = (
            &call.did,
            call.timestamp,
            &call.signature,
            &call.context_hash,
        ) else {
            return reply::fail(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Invalid parameters (did, timestamp, signature, contextHash are required)",
            );
        };
        if self.is_out_of_time(timestamp) {
            return reply::fail(StatusCode::UNAUTHORIZED, "Invalid timestamp");
        }
        let (Ok(did), Ok(hash)) = (did.parse::<Did>(), hash.parse::<ContextHash>()) else {
            return reply::fail(StatusCode::UNAUTHORIZED, "Invalid signature");
        };
        let text = consent::context_hash_lookup(&did, &hash, &self.public_url, timestamp);
        if let Err(refusal) = self
            .check_account(&caller, &did, text.digest(), signature)
            .await
        {
            return refusal;
        }
        // Only the owner's own contexts have names for the owner.
        match self.records.account(hash.couch_user()).await {
            Ok(Some(account)) if account.did == did.lowercase() => reply::signed(
                &self.identity,
                json!({"result": {"contextName": account.context_name}}),
            ),
            Ok(_) => reply::signed(&self.identity, json!({"result": {}})),
            Err(error) => reply::fault(&error),
        }
    }

    pub(super) async fn destroy_context(self: Arc<Self>, asked: Asked) -> Reply {
        let caller = asked.head.caller.clone();
        let call: SignedCall = match asked.call(&self).await {
            Ok(call) => call,
            Err(refusal) => return refusal,
        };
        let (Some(did), Some(timestamp), Some(signature), Some(context)) = (
            &call.did,
            call.timestamp,
            &call.signature,
            &call.context_name,
        ) else {
            return reply::fail(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Invalid parameters (did, timestamp, signature, contextName are required)",
            );
        };
        if self.is_out_of_time(timestamp) {
            return reply::fail(StatusCode::UNAUTHORIZED, "Invalid timestamp");
        }
        let (Ok(did), Ok(context)) = (did.parse::<Did>(), ContextName::new(context.as_str()))
        else {
            return reply::fail(StatusCode::UNAUTHORIZED, "Invalid signature");
        };
        let text = consent::destroy_context(&did, &context, &self.public_url, timestamp);
        if let Err(refusal) = self
            .check_account(&caller, &did, text.digest(), signature)
            .await
        {
            return refusal;
        }
        let account = ContextHash::of(&did, &context).couch_user();
        let this = Arc::clone(&self);
        let destroyed = to_its_end(async move {
            let names = this.delete_all(&account).await?;
            this.databases.end_context(&account).await?;
            Ok(names)
        });
        match destroyed.await {
            Ok(names) => reply::signed(&self.identity, json!({"results": names})),
            Err(DatabaseError::Store(error)) => reply::fault(&error),
            Err(DatabaseError::Refused(error)) => {
                reply::fail(StatusCode::INTERNAL_SERVER_ERROR, &error.reason)
            }
        }
    }

    /// Checks that the account's own key signed a call, or says what to answer.
    async fn check_account(
        &self,
        caller: &CallerKey,
        did: &Did,
        digest: [u8; 32],
        signature: &str,
    ) -> Result<(), Reply> {
        match self
            .auth
            .signed_by_account(caller, did, digest, signature)
            .await
        {
            Ok(()) => Ok(()),
            Err(AuthError::Store(error)) => Err(reply::fault(&error)),
            Err(error @ (AuthError::Unresolved | AuthError::TooMany(_))) => Err(self.later(&error)),
            Err(_) => Err(reply::fail(StatusCode::UNAUTHORIZED, "Invalid signature")),
        }
    }

    fn is_out_of_time(&self, timestamp: u64) -> bool {
        self.clock.unix_seconds().abs_diff(timestamp) > SIGNED_CALL_SECONDS
    }
}

/// Does what must not be left half done, whether somebody waits for it or not. What it holds of the node is waited for when the
/// node goes down.
async fn to_its_end<T, E>(work: impl Future<Output = Result<T, E>> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<DatabaseError> + Send + 'static,
{
    match tokio::spawn(work).await {
        Ok(done) => done,
        Err(_) => Err(DatabaseError::from(StoreError::Closed).into()),
    }
}

fn missing() -> Refusal {
    Refusal::Fail(StatusCode::NOT_FOUND, "Database not found".to_owned())
}

fn unknown_call() -> Refusal {
    Refusal::Fail(StatusCode::NOT_FOUND, "Not found".to_owned())
}

enum Refusal {
    Fail(StatusCode, String),
    Database(DatabaseError),
}

impl From<DatabaseError> for Refusal {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

fn bad(message: &str) -> Refusal {
    Refusal::Fail(StatusCode::BAD_REQUEST, message.to_owned())
}

/// The original answers 500 where a database is not there.
fn fault(message: &str) -> Refusal {
    Refusal::Fail(StatusCode::INTERNAL_SERVER_ERROR, message.to_owned())
}

fn name(call: &Call) -> Result<DatabaseName, Refusal> {
    let text = call
        .database_name
        .as_deref()
        .filter(|text| !text.is_empty());
    DatabaseName::new(text.ok_or(bad(NO_NAME))?).map_err(|error| bad(&error.to_string()))
}

fn record(user: &User, call: Call) -> Result<DatabaseRecord, Refusal> {
    let name = name(&call)?;
    let permissions = call
        .options
        .and_then(|Object(options)| options.permissions)
        .unwrap_or_default()
        .0;
    permissions
        .encoding()
        .map_err(|error| bad(&error.to_string()))?;
    DatabaseRecord::new(&user.did, &user.context, &name, permissions)
        .map_err(|error| bad(&error.to_string()))
}

fn described(record: &DatabaseRecord) -> Value {
    json!({
        "did": record.did,
        "contextName": record.context_name,
        "databaseName": record.database_name,
        "databaseHash": record.database_hash,
        "permissions": record.permissions,
    })
}

/// The share used, as the original reports it: a ratio of four digits under a name that says percent.
fn ratio(usage: &Usage) -> f64 {
    if usage.limit == 0 {
        return 1.0;
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "a report, rounded to four digits"
    )]
    let ratio = usage.bytes as f64 / usage.limit as f64;
    (ratio * 10_000.0).round() / 10_000.0
}
