//! A real node on a real socket, a client that speaks plain HTTP to it, and people with keys.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::needless_pass_by_value
)]

pub mod fault;

pub mod begun;

pub mod sites;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use adyton_protocol::consent;
use adyton_protocol::context::ContextName;
use adyton_protocol::database::{DatabaseHash, DatabaseName};
use adyton_protocol::did::{Anchor, Did, Network};
use adyton_protocol::did_document::{
    ContextEndpoints, ContextKeys, DidDocument, UnsignedDidDocument,
};
use adyton_protocol::signature::{PublicKey, Signature};
use adyton_storage::{Clock, Config, Limits, Storage};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use secp256k1::ecdsa::RecoverableSignature;
use secp256k1::{Message, SecretKey};
use serde_json::{Value, json};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::net::TcpStream;

/// The moment at which tests begin: a fixed one, so that nothing depends on the day.
pub const START: u64 = 1_795_000_000;

/// A running node with a clock that tests move.
pub struct Node {
    pub storage: Storage,
    pub dir: TempDir,
    pub now: Arc<AtomicU64>,
}

impl Node {
    pub async fn start() -> Self {
        Self::with_limits(Limits::default()).await
    }

    pub async fn with_limits(limits: Limits) -> Self {
        Self::with_config(|config| config.limits = limits).await
    }

    /// A node with something else in its configuration.
    pub async fn with_config(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let now = Arc::new(AtomicU64::new(START));
        let storage = Self::open(&dir, &now, change).await;
        Self { storage, dir, now }
    }

    async fn open(
        dir: &TempDir,
        now: &Arc<AtomicU64>,
        change: impl FnOnce(&mut Config),
    ) -> Storage {
        let now = Arc::clone(now);
        let clock =
            Clock::from_fn(move || UNIX_EPOCH + Duration::from_secs(now.load(Ordering::SeqCst)));
        let mut config = Config::new("127.0.0.1:0".parse().unwrap(), dir.path().to_owned());
        change(&mut config);
        Storage::start_with(config, clock, None).await.unwrap()
    }

    /// Ends the node in order and starts it again on the same data.
    pub async fn restart(self) -> Self {
        self.restart_with(|_| {}).await
    }

    /// The same, with something else in its configuration.
    pub async fn restart_with(self, change: impl FnOnce(&mut Config)) -> Self {
        self.storage.shutdown().await;
        let storage = Self::open(&self.dir, &self.now, change).await;
        Self {
            storage,
            dir: self.dir,
            now: self.now,
        }
    }

    pub fn pass(&self, seconds: u64) {
        self.now.fetch_add(seconds, Ordering::SeqCst);
    }

    pub fn now(&self) -> u64 {
        self.now.load(Ordering::SeqCst)
    }

    pub fn client(&self) -> Client {
        Client {
            address: self.storage.address(),
        }
    }

    /// A person whose document the node keeps.
    pub async fn person(&self, seed: u8) -> Person {
        let person = Person::new(seed);
        person.publish(&self.client(), self.now()).await;
        person
    }

    /// A person who is logged in.
    pub async fn session(&self, seed: u8) -> Session {
        self.person(seed).await.log_in(&self.client()).await
    }
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub async fn read(response: http::Response<Incoming>) -> Self {
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Self {
            status: head.status,
            headers: head.headers,
            body,
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("not JSON: {}", String::from_utf8_lossy(&self.body)))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    #[track_caller]
    pub fn expect(&self, status: u16) -> &Self {
        assert_eq!(
            self.status.as_u16(),
            status,
            "{}",
            String::from_utf8_lossy(&self.body)
        );
        self
    }
}

/// Sends requests, each on a connection of its own.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    pub address: SocketAddr,
}

/// What authorises a request.
#[derive(Debug, Clone)]
pub enum Credential {
    None,
    Bearer(String),
    Basic(String, String),
    Raw(String),
}

impl Client {
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        credential: &Credential,
        body: impl Into<Bytes>,
    ) -> Answer {
        Answer::read(self.open(method, path, credential, body).await).await
    }

    /// Sends a request and returns the answer while it still comes.
    pub async fn open(
        &self,
        method: &str,
        path: &str,
        credential: &Credential,
        body: impl Into<Bytes>,
    ) -> http::Response<Incoming> {
        self.open_with(method, path, credential, &[], body).await
    }

    /// The same, with further headers.
    pub async fn open_with(
        &self,
        method: &str,
        path: &str,
        credential: &Credential,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> http::Response<Incoming> {
        use base64::Engine;
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address.to_string());
        if !headers.iter().any(|(name, _)| *name == "accept") {
            request = request.header("accept", "application/json");
        }
        request = match credential {
            Credential::None => request,
            Credential::Bearer(token) => request.header("authorization", format!("Bearer {token}")),
            Credential::Basic(user, password) => {
                let pair =
                    base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
                request.header("authorization", format!("Basic {pair}"))
            }
            Credential::Raw(value) => request.header("authorization", value),
        };
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        sender.send_request(request).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &Credential::None, "").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &Credential::None, body.to_string())
            .await
    }

    pub async fn public(&self) -> Credential {
        let answer = self.get("/auth/public").await.json();
        let member = |name: &str| answer["user"][name].as_str().unwrap().to_owned();
        Credential::Basic(member("username"), member("password"))
    }
}

/// Somebody with an account key.
pub struct Person {
    pub key: SecretKey,
    pub did: Did,
}

impl Person {
    pub fn new(seed: u8) -> Self {
        let key = SecretKey::from_secret_bytes([seed; 32]).unwrap();
        let did = Did::of_account(Anchor::Polamoy, public(&key).address());
        Self { key, did }
    }

    pub fn sign(&self, digest: [u8; 32]) -> String {
        sign(&self.key, digest).to_string()
    }

    /// The first version of the person's document.
    pub fn document(&self, now: u64) -> Value {
        let time = OffsetDateTime::from_unix_timestamp(i64::try_from(now).unwrap()).unwrap();
        let unsigned = UnsignedDidDocument::new(&self.did, &public(&self.key), time);
        let proof = sign(&self.key, unsigned.proof_digest().unwrap());
        unsigned.sign_with(&proof).unwrap().to_json()
    }

    /// The document with these members changed, signed again.
    pub fn document_with(&self, now: u64, changes: &Value) -> Value {
        let mut document = self.document(now);
        let members = document.as_object_mut().unwrap();
        for (name, value) in changes.as_object().unwrap() {
            members.insert(name.clone(), value.clone());
        }
        let mut unsigned = document.clone();
        unsigned.as_object_mut().unwrap().remove("proof");
        let digest = adyton_protocol::hash::hash_value(&unsigned).unwrap();
        document["proof"]["proofValue"] = self.sign(digest).into();
        document
    }

    pub async fn publish(&self, client: &Client, now: u64) {
        let path = format!("/did/{}", self.did.lowercase());
        client
            .post(&path, &json!({"document": self.document(now)}))
            .await
            .expect(200);
    }

    /// Deletes the person's document.
    pub async fn delete_document(&self, client: &Client, now: u64) -> Answer {
        let path = format!("/did/{}", self.did.lowercase());
        let text = consent::delete_did_document(&self.did, (now + 30) / 60);
        let signature = self.sign(text.digest());
        let headers = [("signature", signature.as_str())];
        let deleted = client.open_with("DELETE", &path, &Credential::None, &headers, "");
        Answer::read(deleted.await).await
    }

    pub async fn challenge(&self, client: &Client, context: &str) -> (String, String) {
        let body = json!({"did": self.did.as_given(), "contextName": context});
        let answer = client.post("/auth/generateAuthJwt", &body).await;
        let answer = answer.expect(200).json();
        let member = |name: &str| answer["authJwt"][name].as_str().unwrap().to_owned();
        (member("authRequestId"), member("authJwt"))
    }

    pub async fn answer_challenge(
        &self,
        client: &Client,
        context: &str,
        challenge: &(String, String),
    ) -> Answer {
        let name = ContextName::new(context).unwrap();
        let text = consent::authenticate(&self.did, &name, &challenge.0);
        let body = json!({
            "authJwt": challenge.1,
            "did": self.did.as_given(),
            "contextName": context,
            "signature": self.sign(text.digest()),
            "deviceId": "test-device",
        });
        client.post("/auth/authenticate", &body).await
    }

    pub async fn log_in(self, client: &Client) -> Session {
        self.log_in_to(client, CONTEXT).await
    }

    pub async fn log_in_to(self, client: &Client, context: &str) -> Session {
        let challenge = self.challenge(client, context).await;
        let answer = self.answer_challenge(client, context, &challenge).await;
        let answer = answer.expect(200).json();
        let member = |name: &str| answer[name].as_str().unwrap().to_owned();
        Session {
            client: *client,
            context: ContextName::new(context).unwrap(),
            access: Credential::Bearer(member("accessToken")),
            refresh: member("refreshToken"),
            person: self,
        }
    }
}

/// The context of most tests.
pub const CONTEXT: &str = "Test: Context";

/// A person with tokens.
pub struct Session {
    pub client: Client,
    pub person: Person,
    pub context: ContextName,
    pub access: Credential,
    pub refresh: String,
}

impl Session {
    pub async fn send(&self, method: &str, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.client.send(method, path, &self.access, body).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &Value::Null).await
    }

    /// Any method, with further headers and any body.
    pub async fn with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let client = &self.client;
        let answer = client.open_with(method, path, &self.access, headers, body);
        Answer::read(answer.await).await
    }

    /// `GET` with further headers.
    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.with("GET", path, headers, "").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, body).await
    }

    /// `COPY` of a document to another name.
    pub async fn copy(&self, path: &str, to: &str) -> Answer {
        self.with("COPY", path, &[("destination", to)], "").await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, body).await
    }

    pub fn hash(&self, name: &str) -> String {
        let name = DatabaseName::new(name).unwrap();
        DatabaseHash::of(&self.person.did, &self.context, &name).to_string()
    }

    /// Makes a database for the owner alone, and returns its address.
    pub async fn database(&self, name: &str) -> String {
        self.database_with(name, &json!({"read": "owner", "write": "owner"}))
            .await
    }

    pub async fn database_with(&self, name: &str, permissions: &Value) -> String {
        let body = json!({"databaseName": name, "options": {"permissions": permissions}});
        let answer = self.post("/user/createDatabase", &body).await;
        assert_eq!(answer.expect(200).json()["databaseHash"], self.hash(name));
        format!("/{}", self.hash(name))
    }

    /// Makes a database that one other person may read, and another one write.
    pub async fn database_shared(&self, name: &str, reader: &Self, writer: &Self) -> String {
        let permissions = json!({
            "read": "users", "write": "users",
            "readList": [reader.person.did.as_given()], "writeList": [writer.person.did.as_given()],
        });
        self.database_with(name, &permissions).await
    }
}

/// Bytes that do not repeat.
pub fn large(bytes: usize) -> Vec<u8> {
    (0..bytes as u64)
        .map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8)
        .collect()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn public(key: &SecretKey) -> PublicKey {
    PublicKey::from_curve(secp256k1::PublicKey::from_secret_key(key))
}

pub fn sign(key: &SecretKey, digest: [u8; 32]) -> Signature {
    let message = Message::from_digest(digest);
    Signature::from_recoverable(RecoverableSignature::sign_ecdsa_recoverable(message, key))
}

/// A revision of this generation whose hash is the digit repeated.
pub fn rev(generation: u64, digit: char) -> String {
    format!("{generation}-{}", digit.to_string().repeat(32))
}

/// A document made elsewhere: its ancestry newest first, one digit per revision.
pub fn history(id: &str, generation: u64, digits: &str, member: Value) -> Value {
    let ids: Vec<String> = digits
        .chars()
        .map(|digit| digit.to_string().repeat(32))
        .collect();
    json!({
        "_id": id,
        "_rev": format!("{generation}-{}", ids[0]),
        "_revisions": {"start": generation, "ids": ids},
        "member": member,
    })
}

/// The next version of a person's document, with a context on these nodes.
pub async fn put_context(client: &Client, person: &Person, nodes: Vec<String>, now: u64) {
    put_contexts(client, person, vec![(CONTEXT, nodes)], now).await;
}

/// The same, with several contexts.
pub async fn put_contexts(
    client: &Client,
    person: &Person,
    contexts: Vec<(&str, Vec<String>)>,
    now: u64,
) {
    let at = |now: u64| OffsetDateTime::from_unix_timestamp(i64::try_from(now).unwrap()).unwrap();
    let path = format!("/did/{}", person.did.lowercase());
    let current = client.get(&path).await.expect(200).json()["data"].take();
    let current = DidDocument::verify(current, &person.did).unwrap();
    let mut next = UnsignedDidDocument::successor_of(&current, at(now + 1));
    let key = SecretKey::from_secret_bytes([9; 32]).unwrap();
    let text = consent::context_proof(&person.did, &public(&key).address());
    let keys = ContextKeys {
        sign: public(&key),
        asym: [7; 32],
        proof: sign(&person.key, text.digest()),
    };
    for (context, nodes) in contexts {
        let endpoints = ContextEndpoints {
            database: nodes.clone(),
            messaging: nodes,
            ..Default::default()
        };
        let context = ContextName::new(context).unwrap();
        next.add_context(Network::Banksia, &context, &keys, &endpoints);
    }
    let proof = sign(&person.key, next.proof_digest().unwrap());
    let document = next.sign_with(&proof).unwrap().to_json();
    let body = json!({"document": document}).to_string();
    client
        .send("PUT", &path, &Credential::None, body)
        .await
        .expect(200);
}
