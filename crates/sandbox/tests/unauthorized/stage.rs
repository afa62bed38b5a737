//! A sandbox with an owner, who has something to protect, and everyone who should not get it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use adyton_client::clock::Clock;
use adyton_keys::account::Account;
use adyton_keys::context_session::ContextSession;
use adyton_protocol::context::ContextName;
use adyton_protocol::schema::SchemaUri;
use adyton_protocol::scope::ApiScope;
use adyton_sandbox::cluster::NETWORK;
use adyton_sandbox::{Options, Sandbox};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand_core::{OsRng, TryRngCore};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::caller::{Answer, Caller};
use crate::table::{Guard, Kind, Reach, Right};

/// The schema and database of most requests.
/// A schema of the caller's own.
pub const OWN_SCHEMA: &str = "https://dive.example/dive/v1/schema.json";
pub const EMAIL: &str = "https://common.schemas.verida.io/social/email/v0.1.0/schema.json";
pub const EMAIL_DATABASE: &str = "social_email";
/// Stands in the owner's record and nowhere else.
pub const MARK: &str = "only-the-owner-may-see-this";
pub const RECORD: &str = "the-record";
pub const TOKEN_LIFE: u64 = 60;

pub fn email(id: &str, text: &str) -> Value {
    json!({
        "_id": id, "name": text, "type": "receive", "fromName": "ada", "fromEmail": "ada@example.com",
        "toName": "Me", "toEmail": "me@example.com", "messageText": text, "messageHTML": "",
        "sentAt": "2024-01-01T00:00:00.000Z",
    })
}

/// A sandbox with an owner, who has a record and a token to protect, and strangers.
pub struct Stage {
    pub sandbox: Sandbox,
    pub caller: Caller,
    pub seconds: Arc<AtomicU64>,
    pub owner: Zeroizing<String>,
    owner_session: Value,
    stranger: Zeroizing<String>,
    stranger_session: Value,
    other_context: Zeroizing<String>,
    stranger_app: String,
    foreign_token: String,
    pub expired: String,
    /// The id of a live token of the owner.
    pub token_id: String,
    /// How many requests named their own new records, so that ids differ.
    serial: u64,
}

impl Stage {
    pub async fn new() -> Self {
        let seconds = Arc::new(AtomicU64::new(0));
        let (offset, system) = (Arc::clone(&seconds), Clock::system());
        let clock =
            Clock::of(move || system.now() + Duration::from_secs(offset.load(Ordering::SeqCst)));
        let sandbox = Sandbox::start_at(Options::default(), clock).await.unwrap();
        let (account, stranger) = (account(), account());
        let owner = open(&sandbox, &account, "Verida: Vault").await;
        let other_context = open(&sandbox, &account, "Another: Context").await;
        let stranger = open(&sandbox, &stranger, "Verida: Vault").await;
        let caller = Caller::connect(&sandbox.node_url()).await;
        let mut stage = Self {
            owner_session: session_json(&owner),
            owner: owner.expose_api_key(),
            stranger_session: session_json(&stranger),
            stranger: stranger.expose_api_key(),
            other_context: other_context.expose_api_key(),
            sandbox,
            caller,
            seconds,
            stranger_app: String::new(),
            foreign_token: String::new(),
            expired: String::new(),
            token_id: String::new(),
            serial: 0,
        };
        let owner = stage.owner.to_string();
        let created = stage
            .caller
            .send(
                "POST",
                &format!("/api/rest/v1/db/{EMAIL_DATABASE}"),
                &[("x-api-key", &owner)],
                Some(&json!({
                    "record": with_schema(email(RECORD, MARK), EMAIL)
                })),
            )
            .await;
        assert_eq!(created.status, 201, "{}", created.json());

        let everything = everything();
        let everything: Vec<&str> = everything.iter().map(String::as_str).collect();
        let stranger = stage.stranger.to_string();
        stage.stranger_app = stage.mint(&stranger, &everything, None).await.0;
        stage.foreign_token = foreign_token().await;
        stage.token_id = stage.mint(&owner, &["api:ds-query"], None).await.1;
        stage
    }

    pub async fn mint(
        &mut self,
        session: &str,
        scopes: &[&str],
        life: Option<u64>,
    ) -> (String, String) {
        mint(&mut self.caller, session, scopes, life).await
    }

    /// A token of the owner with exactly these scopes.
    async fn app(&mut self, scopes: &[String]) -> String {
        let owner = self.owner.to_string();
        let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
        let (token, id) = self.mint(&owner, &scopes, None).await;
        // Not one of the tokens that a wrong caller must not be able to end: room for more is limited.
        assert_ne!(id, self.token_id);
        format!("Bearer {token}")
    }

    /// Sends a route's request with a kind of credential.
    pub async fn ask(&mut self, row: (&str, &str, Guard), kind: Kind) -> Answer {
        let (method, path, guard) = row;
        let (owner, right) = (
            self.owner.to_string(),
            Bearer(&self.stranger_app).to_string(),
        );
        let session = |session: &Value| STANDARD.encode(session.to_string());
        let schema = match path.contains("/schemas/") {
            true => OWN_SCHEMA,
            false => EMAIL,
        };
        let database = EMAIL_DATABASE;
        let mut query = String::new();
        let headers: Vec<(&str, String)> = match kind {
            Kind::Nothing => vec![],
            Kind::WrongScheme => vec![(
                "authorization",
                format!("Basic {}", STANDARD.encode("user:password")),
            )],
            Kind::NoScheme => vec![("authorization", self.stranger_app.clone())],
            Kind::EmptySession => vec![("x-api-key", String::new())],
            Kind::GarbageSession => vec![("x-api-key", "garbage ~ not base64".to_owned())],
            Kind::SessionOfNonsenseJson => vec![("x-api-key", STANDARD.encode("{\"did\":7}"))],
            Kind::ForgedSeed => {
                let mut forged = self.owner_session.clone();
                forged["signature"] = self.stranger_session["signature"].clone();
                vec![("x-api-key", session(&forged))]
            }
            Kind::RenamedContext => {
                let mut renamed = self.owner_session.clone();
                renamed["contextName"] = json!("Another: Context");
                vec![("x-api-key", session(&renamed))]
            }
            Kind::BorrowedDid => {
                let mut borrowed = self.stranger_session.clone();
                borrowed["did"] = self.owner_session["did"].clone();
                vec![("x-api-key", session(&borrowed))]
            }
            Kind::SessionAsToken => vec![("authorization", Bearer(&owner).to_string())],
            Kind::TokenAsSession => vec![("x-api-key", self.stranger_app.clone())],
            Kind::GarbageToken => vec![("authorization", "Bearer adyt_garbage".to_owned())],
            Kind::TokenOneCharacterOff => {
                let mut token = self.stranger_app.clone();
                let last = token.pop().unwrap();
                token.push(if last == 'A' { 'B' } else { 'A' });
                vec![("authorization", Bearer(&token).to_string())]
            }
            Kind::TokenOfAnotherNode => {
                vec![("authorization", Bearer(&self.foreign_token).to_string())]
            }
            Kind::ExpiredToken => vec![("authorization", Bearer(&self.expired).to_string())],
            Kind::RevokedToken => {
                vec![("authorization", Bearer(&self.revoked().await).to_string())]
            }
            Kind::PrivateKey => vec![("key", "0x0123456789".to_owned())],
            Kind::PrivateKeyBesideSession => vec![
                ("x-api-key", owner),
                ("key", "abandon abandon art".to_owned()),
            ],
            Kind::SessionAndToken => vec![("x-api-key", owner), ("authorization", right)],
            Kind::TwoSessions => vec![("x-api-key", owner.clone()), ("x-api-key", owner)],
            Kind::TwoTokens => vec![("authorization", right.clone()), ("authorization", right)],
            Kind::SessionInUrl => {
                query = format!("?api_key={}", owner.replace(['+', '/', '='], "_"));
                vec![]
            }
            Kind::TokenInUrl => {
                query = format!("?a=b&Token={}", self.stranger_app);
                vec![]
            }
            Kind::KeyInUrlBesideSession => {
                query = "?key=abandon".to_owned();
                vec![("x-api-key", owner)]
            }
            Kind::OtherUser => vec![("x-api-key", self.stranger.to_string())],
            Kind::OtherContext => vec![("x-api-key", self.other_context.to_string())],
            Kind::AppOfOtherUser => vec![("authorization", right)],
            Kind::Owner => vec![("x-api-key", owner)],
            Kind::NoDataScope
            | Kind::NoApiScope
            | Kind::AllButThisApiScope
            | Kind::AllButThisRight
            | Kind::OtherSchema
            | Kind::OtherDatabase
            | Kind::SchemaScopeOnDatabase
            | Kind::LeastToken => vec![(
                "authorization",
                self.app(&scopes(method, guard, kind)).await,
            )],
        };
        self.serial += 1;
        let id = match (guard, kind) {
            // The controls change records of their own.
            (Guard::Data(_, _, Right::Update | Right::Delete), Kind::LeastToken | Kind::Owner) => {
                self.spare().await
            }
            _ => RECORD.to_owned(),
        };
        let token_id = match kind {
            Kind::Owner if method == "DELETE" || path.ends_with("/auth/revoke") => {
                let owner = self.owner.to_string();
                self.mint(&owner, &["api:ds-query"], None).await.1
            }
            _ => self.token_id.clone(),
        };
        let record_id = path.contains("/ds/") || path.contains("/db/");
        let filled = path
            .replace(
                "{schema}",
                &SchemaUri::parse_lenient(schema).unwrap().to_base64(),
            )
            .replace("{database}", database)
            .replace("{id}", if record_id { &id } else { &token_id });
        // What a path does not name, its query does.
        if matches!(guard, Guard::Data(_, _, Right::Delete)) && !path.contains("{id}") {
            let joint = if query.is_empty() { '?' } else { '&' };
            query = format!("{query}{joint}id={id}");
        }
        let needed = match path.rsplit('/').next() {
            Some("check-scope") => Some("scope=api:ds-query".to_owned()),
            Some("resolve-scopes") => Some("scopes=api:ds-query".to_owned()),
            Some("revoke") if method == "GET" => Some(format!("tokenId={token_id}")),
            _ => None,
        };
        if let Some(needed) = needed {
            let joint = if query.is_empty() { '?' } else { '&' };
            query = format!("{query}{joint}{needed}");
        }
        let body = match path {
            "/api/rest/v1/auth/revoke" if method == "POST" => Some(json!({ "tokenId": token_id })),
            _ => body(method, guard, schema, self.serial),
        };
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let answer = self
            .caller
            .send(method, &format!("{filled}{query}"), &headers, body.as_ref())
            .await;
        if path.ends_with("/revoke-all") && answer.status.is_success() {
            self.begin_again().await;
        }
        answer
    }

    /// A token that its owner ended just now: of those that were ended long ago, a node remembers so many and no more.
    async fn revoked(&mut self) -> String {
        let owner = self.owner.to_string();
        let (token, id) = self.mint(&owner, &["api:ds-query"], None).await;
        let path = format!("/api/rest/v1/auth/tokens/{id}");
        let ended = self
            .caller
            .send("DELETE", &path, &[("x-api-key", &owner)], None)
            .await;
        assert_eq!(ended.status, 200);
        token
    }

    /// New tokens, where somebody ended all of theirs.
    async fn begin_again(&mut self) {
        let (owner, stranger) = (self.owner.to_string(), self.stranger.to_string());
        let everything = everything();
        let everything: Vec<&str> = everything.iter().map(String::as_str).collect();
        self.stranger_app = self.mint(&stranger, &everything, None).await.0;
        self.token_id = self.mint(&owner, &["api:ds-query"], None).await.1;
    }

    /// A record of the owner that may be changed.
    async fn spare(&mut self) -> String {
        let (owner, id) = (self.owner.to_string(), format!("spare-{}", self.serial));
        let record = json!({ "record": with_schema(email(&id, "spare"), EMAIL) });
        let path = format!("/api/rest/v1/db/{EMAIL_DATABASE}");
        let made = self
            .caller
            .send("POST", &path, &[("x-api-key", &owner)], Some(&record))
            .await;
        assert_eq!(made.status, 201, "{}", made.json());
        id
    }

    /// The owner's record as it is now.
    pub async fn record(&mut self) -> Value {
        let owner = self.owner.to_string();
        let path = format!("/api/rest/v1/db/get/{EMAIL_DATABASE}/{RECORD}");
        let answer = self
            .caller
            .send("GET", &path, &[("x-api-key", &owner)], None)
            .await;
        assert_eq!(answer.status, 200);
        answer.json()
    }
}

/// The value of an `Authorization` header.
struct Bearer<'t>(&'t str);

impl std::fmt::Display for Bearer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bearer {}", self.0)
    }
}

pub fn account() -> Account {
    Account::generate(NETWORK.anchor(), &mut OsRng.unwrap_err()).0
}

pub async fn open(sandbox: &Sandbox, account: &Account, context: &str) -> ContextSession {
    let context = ContextName::new(context).unwrap();
    sandbox.open_context(account, &context).await.unwrap()
}

fn session_json(session: &ContextSession) -> Value {
    serde_json::from_slice(&session.expose_json()).unwrap()
}

pub fn with_schema(mut record: Value, schema: &str) -> Value {
    record["schema"] = json!(schema);
    record
}

pub async fn mint(
    caller: &mut Caller,
    session: &str,
    scopes: &[&str],
    life: Option<u64>,
) -> (String, String) {
    let mut body = json!({ "scopes": scopes });
    if let Some(life) = life {
        body["expiresIn"] = json!(life);
    }
    let minted = caller
        .send(
            "POST",
            "/api/rest/v1/auth/token",
            &[("x-api-key", session)],
            Some(&body),
        )
        .await;
    assert_eq!(minted.status, 201, "{}", minted.json());
    let minted = minted.json();
    (
        minted["token"].as_str().unwrap().to_owned(),
        minted["_id"].as_str().unwrap().to_owned(),
    )
}

/// A well-formed token that another node minted.
async fn foreign_token() -> String {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let session = open(&sandbox, &account(), "Verida: Vault")
        .await
        .expose_api_key();
    let mut caller = Caller::connect(&sandbox.node_url()).await;
    let token = mint(
        &mut caller,
        &session,
        &["api:ds-query", "ds:rwd:social-email"],
        None,
    )
    .await
    .0;
    drop(caller);
    sandbox.shutdown().await;
    token
}

/// All that can be granted over the records that the requests are about.
pub fn everything() -> Vec<String> {
    let mut scopes: Vec<String> = ApiScope::ALL
        .iter()
        .map(|scope| format!("api:{}", scope.name()))
        .collect();
    scopes.extend([
        format!("ds:rwd:{EMAIL}"),
        format!("db:rwd:{EMAIL_DATABASE}"),
        "ds:rwd:social-chat-message".to_owned(),
        "ds:rwd:social-chat-group".to_owned(),
    ]);
    scopes
}

/// The scopes of a token that lacks exactly what its kind says.
fn scopes(method: &str, guard: Guard, kind: Kind) -> Vec<String> {
    let all = everything();
    let api = || {
        all.iter()
            .filter(|scope| scope.starts_with("api:"))
            .cloned()
    };
    let data = || {
        all.iter()
            .filter(|scope| !scope.starts_with("api:"))
            .cloned()
    };
    let (needed, letter) = match guard {
        Guard::Data(_, scope, right) => (format!("api:{}", scope.name()), right.letter()),
        Guard::Public | Guard::Anyone | Guard::Owner => ("api:ds-query".to_owned(), 'r'),
    };
    match kind {
        Kind::NoDataScope => api().collect(),
        Kind::NoApiScope => data().collect(),
        Kind::AllButThisApiScope => all
            .iter()
            .filter(|scope| **scope != needed)
            .cloned()
            .collect(),
        Kind::AllButThisRight => {
            let others: String = "rwd".chars().filter(|other| *other != letter).collect();
            api()
                .chain([
                    format!("ds:{others}:{EMAIL}"),
                    format!("db:{others}:{EMAIL_DATABASE}"),
                ])
                .collect()
        }
        Kind::OtherSchema => api().chain(["ds:rwd:social-post".to_owned()]).collect(),
        // Its name is the beginning of the right one.
        Kind::OtherDatabase => api()
            .chain([
                "db:rwd:social_emai".to_owned(),
                "db:rwd:social_email2".to_owned(),
            ])
            .collect(),
        Kind::SchemaScopeOnDatabase => api().chain([format!("ds:rwd:{EMAIL}")]).collect(),
        _ => {
            // What was patched comes back whole, so patching needs reading, too.
            let letter = match method {
                "PATCH" => "rw".to_owned(),
                _ => letter.to_string(),
            };
            let data = match guard {
                Guard::Data(Reach::Schema, ..) => vec![format!("ds:{letter}:{EMAIL}")],
                Guard::Data(Reach::Chats, ..) => ["message", "group"]
                    .map(|kind| format!("ds:{letter}:social-chat-{kind}"))
                    .to_vec(),
                Guard::Data(Reach::Database, ..) | Guard::Public | Guard::Anyone | Guard::Owner => {
                    vec![format!("db:{letter}:{EMAIL_DATABASE}")]
                }
            };
            [vec![needed], data].concat()
        }
    }
}

/// A body that the route would accept from the right caller.
fn body(method: &str, guard: Guard, schema: &str, serial: u64) -> Option<Value> {
    let record = |id: &str| json!({ "record": with_schema(email(id, "changed"), schema), "options": { "forceUpdate": true } });
    match guard {
        Guard::Data(_, _, Right::Query | Right::Count) if method == "POST" => {
            Some(json!({ "query": {} }))
        }
        Guard::Data(_, _, Right::Watch) => Some(json!({ "options": { "since": "start" } })),
        Guard::Data(_, _, Right::Ticket) => {
            let schema = SchemaUri::parse_lenient(schema).unwrap().to_base64();
            Some(json!({ "path": format!("/ds/watch/{schema}") }))
        }
        Guard::Data(_, _, Right::Search) if method == "POST" => {
            Some(json!({ "keywords": "only the owner" }))
        }
        Guard::Data(_, _, Right::Aggregate) => {
            Some(json!({ "aggregates": [{ "by": "name" }, { "of": "sentAt" }] }))
        }
        Guard::Data(_, _, Right::Fetch) => Some(json!({ "ids": [RECORD] })),
        Guard::Data(_, _, Right::Bulk) => {
            let record = |n: u32| with_schema(email(&format!("bulk-{serial}-{n}"), "new"), schema);
            Some(json!({ "records": [record(1), record(2)] }))
        }
        Guard::Data(_, _, Right::Create) => {
            Some(json!({ "record": with_schema(email(&format!("new-{serial}"), "new"), schema) }))
        }
        Guard::Data(_, _, Right::Update) => {
            let mut body = record(RECORD);
            body["record"].as_object_mut().unwrap().remove("_id");
            Some(body)
        }
        Guard::Owner if method == "PUT" => {
            Some(json!({ "$id": OWN_SCHEMA, "title": "Dive", "database": { "name": "dives" } }))
        }
        Guard::Owner if method == "POST" => Some(json!({ "scopes": ["api:ds-query"] })),
        Guard::Data(
            _,
            _,
            Right::Get | Right::Query | Right::Search | Right::Count | Right::Delete,
        )
        | Guard::Owner
        | Guard::Anyone
        | Guard::Public => None,
    }
}
