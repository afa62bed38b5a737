//! A sandbox with people in it, and requests to its node that may be as wrong as a test wants.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

pub mod events;
pub mod lying_node;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use adyton_attest::observe::{Connection, Patience, observe};
use adyton_client::clock::Clock;
use adyton_client::record::{PreparedRecord, Save};
use adyton_client::session::Session;
use adyton_keys::account::Account;
use adyton_keys::context_session::ContextSession;
use adyton_protocol::context::ContextName;
use adyton_protocol::database::{DatabaseHash, DatabaseName};
use adyton_sandbox::cluster::NETWORK;
use adyton_sandbox::{Options, Sandbox};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use lying_node::LyingNode;
use rand_core::{OsRng, TryRngCore};
use serde_json::{Map, Value, json};

/// The schema that the tests write: its database, and its path in the API.
pub const NOTES: &str = "/api/rest/v1/db/query/notes";
pub const EMAILS: &str = "/api/rest/v1/ds/query/social-email";

/// A whole network, and the clock of its confidential node.
pub struct World {
    pub sandbox: Sandbox,
    ahead: Arc<AtomicU64>,
}

impl World {
    pub async fn start() -> Self {
        Self::with("").await
    }

    /// `limits` are lines of the node's configuration table of that name.
    pub async fn with(limits: &str) -> Self {
        let ahead = Arc::new(AtomicU64::new(0));
        let (seconds, system) = (Arc::clone(&ahead), Clock::system());
        let clock =
            Clock::of(move || system.now() + Duration::from_secs(seconds.load(Ordering::SeqCst)));
        let options = Options {
            node_config: format!("[limits]\n{limits}"),
            ..Options::default()
        };
        let sandbox = Sandbox::start_at(options, clock).await.unwrap();
        Self { sandbox, ahead }
    }

    /// Lets time pass for the confidential node.
    pub fn pass(&self, seconds: u64) {
        self.ahead.fetch_add(seconds, Ordering::SeqCst);
    }

    /// A new person with a vault on the storage node.
    pub async fn person(&self) -> Person {
        let (account, _) = Account::generate(NETWORK.anchor(), &mut OsRng.unwrap_err());
        let session = self.log_in(&account).await;
        Person { account, session }
    }

    pub async fn log_in(&self, account: &Account) -> ContextSession {
        let vault = ContextName::vault();
        self.sandbox.open_context(account, &vault).await.unwrap()
    }

    /// A connection to the confidential node.
    pub async fn node(&self) -> NodeClient {
        NodeClient::connect(&self.sandbox.node_url()).await
    }

    /// A storage node that tells lies about the real one.
    pub async fn lying_node(&self) -> LyingNode {
        LyingNode::start(self.sandbox.storage_url()).await
    }
}

/// Somebody with a vault.
pub struct Person {
    pub account: Account,
    pub session: ContextSession,
}

impl Person {
    /// The value of `X-API-Key`.
    pub fn key(&self) -> String {
        self.session.expose_api_key().to_string()
    }

    /// The same session, with another address for its storage node.
    pub fn key_at(&self, url: &str) -> String {
        key_at(&self.session, url)
    }

    /// The session, opened by the SDK.
    pub async fn sdk(&self, world: &World) -> Session {
        let transport = world.sandbox.transport().clone();
        Session::open(&self.session, transport, Clock::system())
            .await
            .unwrap()
    }

    /// Writes notes with the SDK: ids `note-0` and so on.
    pub async fn write_notes(&self, world: &World, count: usize) {
        let session = self.sdk(world).await;
        let database = session.database(&notes());
        adyton_client::database_registry::create_registered(&database, &Default::default())
            .await
            .unwrap();
        let records: Vec<PreparedRecord> = (0..count)
            .map(|n| prepared(&session, note(n), Save::Insert))
            .collect();
        let written = database.put_all(&records, &database.cipher()).await;
        assert!(written.unwrap().iter().all(Result::is_ok));
    }

    /// The path of a document below the storage node's URL.
    pub fn document(&self, database: &str, id: &str) -> String {
        let name = DatabaseName::new(database).unwrap();
        let hash = DatabaseHash::of(self.session.did(), self.session.context(), &name);
        format!("{hash}/{id}")
    }

    /// Sends a request to the real storage node's databases with this person's token.
    pub async fn raw(&self, world: &World, method: &str, path: &str, body: &Value) -> Value {
        let token = self.session.auths().next().unwrap().access_token.clone();
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let (status, answer) = raw_request(
            world.sandbox.storage_url(),
            method,
            path,
            &token,
            body.into(),
        )
        .await;
        assert!(status.is_success(), "{method} {path}: {status} {answer}");
        answer
    }
}

pub fn notes() -> DatabaseName {
    DatabaseName::new("notes").unwrap()
}

pub fn note(n: usize) -> Value {
    json!({ "_id": format!("note-{n}"), "n": n, "text": format!("text of note {n}") })
}

pub fn prepared(session: &Session, record: Value, save: Save) -> PreparedRecord {
    let Value::Object(members) = record else {
        panic!("not an object")
    };
    PreparedRecord::new(members, save, None, session).unwrap()
}

/// A session whose storage node is somewhere else.
pub fn key_at(session: &ContextSession, url: &str) -> String {
    let mut json: Value = serde_json::from_slice(&session.expose_json()).unwrap();
    json["contextConfig"]["services"]["databaseServer"]["endpointUri"] = json!([url]);
    let auths = json["contextAuths"].as_object_mut().unwrap();
    let mut auth = auths.values().next().unwrap().clone();
    auth["endpointUri"] = url.into();
    *auths = Map::from_iter([(url.to_owned(), auth)]);
    api_key(&json)
}

/// A session in JSON as the value of `X-API-Key`.
pub fn api_key(json: &Value) -> String {
    STANDARD.encode(json.to_string())
}

/// Sends one request in clear, on a connection of its own. `token` is a bearer's, or begins with `Basic `.
pub async fn raw_request(
    base: &str,
    method: &str,
    path: &str,
    token: &str,
    body: Bytes,
) -> (StatusCode, Value) {
    let address = base.trim_start_matches("http://").trim_end_matches('/');
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder()
        .method(method)
        .uri(format!("/{path}"))
        .header("host", address)
        .header("accept", "application/json")
        .header("content-type", "application/json");
    if token.starts_with("Basic ") {
        request = request.header("authorization", token);
    } else if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.body(Full::new(body)).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

/// What the node answered.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("not JSON: {}", self.beginning()))
    }

    /// Asserts success and gives the body.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert!(
            self.status.is_success(),
            "{} {}",
            self.status,
            self.beginning()
        );
        self.json()
    }

    /// What a message about it shows.
    fn beginning(&self) -> String {
        let beginning = self.body.len().min(2000);
        String::from_utf8_lossy(&self.body[..beginning]).into_owned()
    }

    /// Asserts that this is a problem of this kind, in the form that every problem has.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        let body = self.json();
        assert_eq!(
            (self.status.as_u16(), body["code"].as_str()),
            (status, Some(code)),
            "{}",
            self.beginning()
        );
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(body["status"], status);
        assert_eq!(body["detail"], body["error"]);
        body
    }
}

/// A connection to the confidential node, over which anything can be said.
pub struct NodeClient {
    connection: Connection,
    url: String,
}

impl NodeClient {
    pub async fn connect(url: &str) -> Self {
        let address = url.parse().unwrap();
        let observed = observe(&address, None, &Patience::default()).await.unwrap();
        Self {
            connection: observed.dangerous_connection(),
            url: url.to_owned(),
        }
    }

    /// Sends a request; `headers` beside the body.
    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        if self.connection.is_closed() {
            *self = Self::connect(&self.url).await;
        }
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let response = self.connection.send(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            status: head.status,
            headers: head.headers,
            body,
        }
    }

    /// Sends a request whose answer has no end; the connection goes with it.
    pub async fn events(
        mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<events::Events, Answer> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let (head, body) = self.connection.send(request).await.unwrap().into_parts();
        if head.status != StatusCode::OK {
            let body = body.collect().await.unwrap().to_bytes();
            return Err(Answer {
                status: head.status,
                headers: head.headers,
                body,
            });
        }
        assert_eq!(head.headers["content-type"], "text/event-stream");
        assert_eq!(head.headers["cache-control"], "no-store");
        Ok(events::Events::of(body, Box::new(self.connection)))
    }

    /// A POST with the owner's session.
    pub async fn post(&mut self, path: &str, key: &str, body: &Value) -> Answer {
        self.send("POST", path, &[("x-api-key", key)], body.to_string())
            .await
    }

    pub async fn get(&mut self, path: &str, key: &str) -> Answer {
        self.send("GET", path, &[("x-api-key", key)], "").await
    }

    /// Asks for all notes.
    pub async fn notes(&mut self, key: &str) -> Answer {
        self.post(NOTES, key, &json!({ "options": { "limit": 100_000 } }))
            .await
    }

    /// One note by its id.
    pub async fn note(&mut self, key: &str, id: &str) -> Answer {
        self.get(&format!("/api/rest/v1/db/get/notes/{id}"), key)
            .await
    }

    /// Writes a note through the node.
    pub async fn create_note(&mut self, key: &str, note: &Value) -> Answer {
        let body = json!({ "record": note });
        self.post("/api/rest/v1/db/notes", key, &body).await
    }

    pub async fn update_note(&mut self, key: &str, note: &Value) -> Answer {
        let path = format!("/api/rest/v1/db/notes/{}", note["_id"].as_str().unwrap());
        let body = json!({ "record": note }).to_string();
        self.send("PUT", &path, &[("x-api-key", key)], body).await
    }

    pub async fn delete_note(&mut self, key: &str, id: &str) -> Answer {
        let path = format!("/api/rest/v1/db/notes/{id}");
        self.send("DELETE", &path, &[("x-api-key", key)], "").await
    }

    /// Asks for the notes until the answer is as wanted; panics with the last one after a long time.
    pub async fn notes_until(&mut self, key: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
        let mut answer = self.notes(key).await;
        for _ in 0..400 {
            if wanted(&answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            answer = self.notes(key).await;
        }
        panic!(
            "never as wanted: {} {}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        )
    }
}

/// The ids in an answer, sorted.
#[track_caller]
pub fn ids(answer: &Answer) -> Vec<String> {
    let mut ids: Vec<String> = answer.ok()["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["_id"].as_str().unwrap().to_owned())
        .collect();
    ids.sort();
    ids
}

/// Somebody else, whose data must stay as they are whatever happens to others.
pub struct Bystander {
    key: String,
    node: NodeClient,
}

impl Bystander {
    pub async fn of(world: &World) -> Self {
        let person = world.person().await;
        person.write_notes(world, 3).await;
        let mut bystander = Self {
            key: person.key(),
            node: world.node().await,
        };
        bystander.is_unharmed().await;
        bystander
    }

    /// Reads and writes as ever, and the process is alive.
    pub async fn is_unharmed(&mut self) {
        let answer = self.node.notes(&self.key).await.ok();
        let found = answer["items"].as_array().unwrap().len();
        assert!(found >= 3, "{answer}");
        let kept = json!({ "_id": format!("kept-{found}") });
        self.node.create_note(&self.key, &kept).await.ok();
        let after = self.node.notes(&self.key).await.ok();
        assert_eq!(after["items"].as_array().unwrap().len(), found + 1);
        let alive = self.node.send("GET", "/livez", &[], "").await;
        assert!(alive.status.is_success());
    }
}

/// Seconds since 1970, by the system's clock.
pub fn unix_now() -> u64 {
    let now = Clock::system().now();
    now.duration_since(UNIX_EPOCH).unwrap().as_secs()
}
