//! What the original client said to its servers, word for word: everything in it that can be derived is derived again from
//! the test keys, and what a storage node can answer is asked of ours.
//!
//! The files are the `http_trace_*.json` in the folder named by `ADYTON_VECTORS` (default: the repository's copies).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout
)]

mod support;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use adyton_keys::account::Account;
use adyton_keys::keyring::Keyring;
use adyton_protocol::consent;
use adyton_protocol::context::ContextName;
use adyton_protocol::database::{DatabaseHash, DatabaseName};
use adyton_protocol::did::{Anchor, Did};
use adyton_protocol::did_document::DidDocument;
use adyton_protocol::record_signature;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use support::{World, raw_request};

/// The keys with which the traces were made: test keys, and the key of the web3 documentation.
const KEYS: [&str; 4] = [
    "0x1111111111111111111111111111111111111111111111111111111111111111",
    "0x2222222222222222222222222222222222222222222222222222222222222222",
    "0x3333333333333333333333333333333333333333333333333333333333333333",
    "0x4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318",
];

/// Which test runs a file of the folder; the source of the test names the file.
const CLAIMS: [(&str, &str); 34] = [
    ("asym_encrypt.json", "keys/src/vectors/records.rs"),
    ("context_config.json", "keys/src/vectors/documents.rs"),
    ("context_hash.json", "keys/src/vectors/derivation.rs"),
    ("context_session.json", "keys/src/vectors/derivation.rs"),
    ("database_hash.json", "keys/src/vectors/derivation.rs"),
    ("database_key.json", "keys/src/vectors/derivation.rs"),
    ("did_document.json", "keys/src/vectors/documents.rs"),
    ("did_jwt.json", "keys/src/vectors/documents.rs"),
    ("did_registry.json", "keys/src/vectors/documents.rs"),
    ("encrypted_records.json", "keys/src/vectors/records.rs"),
    ("hashing.json", "keys/src/vectors/derivation.rs"),
    ("json_sortify.json", "keys/src/vectors/derivation.rs"),
    ("keyring.json", "keys/src/vectors/derivation.rs"),
    ("keyring_raw_seed.json", "keys/src/vectors/derivation.rs"),
    ("messaging.json", "keys/src/vectors/documents.rs"),
    ("record_signature.json", "keys/src/vectors/records.rs"),
    ("schema_path.json", "keys/src/vectors/records.rs"),
    ("signatures.json", "keys/src/vectors/derivation.rs"),
    ("storage_database.json", "keys/src/vectors/records.rs"),
    ("storage_node_auth.json", "keys/src/vectors/documents.rs"),
    ("sym_encrypt.json", "keys/src/vectors/records.rs"),
    ("verida_uri.json", "keys/src/vectors/records.rs"),
    (
        "verifiable_credential.json",
        "keys/src/vectors/documents.rs",
    ),
    ("wallets.json", "keys/src/vectors/derivation.rs"),
    ("storage_node_probe.json", "storage/tests/probe.rs"),
    ("foreign_context", "sandbox/tests/foreign_context.rs"),
    ("http_trace_create.json", "sandbox/tests/http_traces.rs"),
    ("http_trace_datastore.json", "sandbox/tests/http_traces.rs"),
    ("http_trace_messaging.json", "sandbox/tests/http_traces.rs"),
    ("http_trace_owner.json", "sandbox/tests/http_traces.rs"),
    ("http_trace_public.json", "sandbox/tests/http_traces.rs"),
    ("http_trace_session.json", "sandbox/tests/http_traces.rs"),
    ("http_trace_users.json", "sandbox/tests/http_traces.rs"),
    ("README.md", "../vectors/README.md"),
];

fn folder() -> PathBuf {
    std::env::var_os("ADYTON_VECTORS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors")),
        PathBuf::from,
    )
}

#[test]
fn every_file_of_the_repositorys_folder_is_run_by_a_test() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (name, _) in CLAIMS {
        assert!(crates.join("../vectors").join(name).exists(), "{name}");
    }
    for entry in std::fs::read_dir(crates.join("../vectors")).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let claim = CLAIMS.iter().find(|(name, _)| *name == file);
        let (_, test) = claim.unwrap_or_else(|| panic!("{file} is run by no test"));
        if file != "README.md" {
            let source = std::fs::read_to_string(crates.join(test)).unwrap();
            assert!(source.contains(&file), "{test} does not name {file}");
        }
    }
}

/// One file.
struct Trace {
    name: &'static str,
    requests: Vec<Value>,
    people: Vec<Identity>,
    databases: HashMap<String, (usize, DatabaseName)>,
}

/// An account in a context.
struct Identity {
    account: Account,
    context: ContextName,
    keyring: Keyring,
}

/// What was checked.
#[derive(Debug, Default)]
struct Checked {
    hashes: usize,
    logins: usize,
    documents: usize,
    payloads: usize,
    signatures: usize,
}

impl Trace {
    fn read(name: &'static str) -> Option<Self> {
        let path = folder().join(name);
        let Ok(text) = std::fs::read_to_string(&path) else {
            println!("skipped: {} is absent", path.display());
            return None;
        };
        let file: Value = serde_json::from_str(&text).unwrap();
        let requests = file["requests"].as_array().unwrap().clone();
        let mut contexts: Vec<String> = Vec::new();
        let mut names = vec![DatabaseName::registry().as_str().to_owned()];
        for request in &requests {
            for text in [
                &request["body"]["contextName"],
                &request["headers"]["application-name"],
            ] {
                contexts.extend(text.as_str().map(str::to_owned));
            }
            names.extend(request["body"]["databaseName"].as_str().map(str::to_owned));
        }
        // The session trace opens a database that others made.
        names.push("test_db".to_owned());
        contexts.sort();
        contexts.dedup();
        names.sort();
        names.dedup();
        let mut people = Vec::new();
        let mut databases = HashMap::new();
        for key in KEYS {
            for context in &contexts {
                let account = Account::from_secret_text(key, Anchor::Polamoy).unwrap();
                let context = ContextName::new(context.as_str()).unwrap();
                let keyring = Keyring::of_seed(&account.unlock(&context)).unwrap();
                for name in &names {
                    let name = DatabaseName::new(name.as_str()).unwrap();
                    let hash = DatabaseHash::of(account.did(), &context, &name).to_string();
                    databases.insert(hash, (people.len(), name));
                }
                people.push(Identity {
                    account,
                    context,
                    keyring,
                });
            }
        }
        Some(Self {
            name,
            requests,
            people,
            databases,
        })
    }

    fn identity(&self, did: &str, context: &str) -> &Identity {
        let did: Did = did.parse().unwrap();
        let found = self.people.iter().find(|identity| {
            identity.account.did() == &did && identity.context.as_str() == context
        });
        found.unwrap_or_else(|| panic!("{}: an unknown account", self.name))
    }

    /// Derives everything again that can be derived.
    fn check(&self) -> Checked {
        let mut checked = Checked::default();
        let mut challenge = String::new();
        for request in &self.requests {
            let (body, answer) = (&request["body"], &request["response"]);
            let at = || format!("{} {}", self.name, request["n"]);
            let path = request["path"].as_str().unwrap_or_default();
            if path == "/auth/generateAuthJwt" {
                challenge = text(&answer["authJwt"]["authRequestId"]);
            }
            if path == "/auth/authenticate" {
                let person = self.identity(&text(&body["did"]), &text(&body["contextName"]));
                let did = person.account.did();
                let asked = consent::authenticate(did, &person.context, &challenge);
                let signature = person.account.sign_consent(&asked).to_string();
                assert_eq!(text(&body["signature"]), signature, "{}", at());
                checked.logins += 1;
            }
            if let Some(hash) = answer["databaseHash"].as_str() {
                let (_, name) = self
                    .databases
                    .get(hash)
                    .unwrap_or_else(|| panic!("{}: a hash of nothing", at()));
                assert_eq!(text(&body["databaseName"]), name.as_str(), "{}", at());
            }
            if request["server"] == "couch" && path.starts_with("/v") {
                let hash = path[1..].split(['/', '?']).next().unwrap();
                let Some((owner, name)) = self.databases.get(hash) else {
                    panic!("{}: a database of nobody", at())
                };
                checked.hashes += 1;
                for value in [body, answer] {
                    self.open_payloads(value, &self.people[*owner], name, &mut checked);
                }
            }
            for value in [body, answer] {
                check_documents(value, &mut checked);
                self.check_signatures(value, &mut checked);
            }
        }
        checked
    }

    /// Opens every payload below a value, and checks the record inside.
    fn open_payloads(
        &self,
        value: &Value,
        owner: &Identity,
        name: &DatabaseName,
        checked: &mut Checked,
    ) {
        match value {
            Value::Array(items) => items
                .iter()
                .for_each(|item| self.open_payloads(item, owner, name, checked)),
            Value::Object(members) => {
                if let (Some(Value::String(payload)), Some(id)) =
                    (members.get("payload"), members.get("_id"))
                {
                    let key = owner.keyring.database_key(name);
                    let cipher = adyton_keys::record_cipher::RecordCipher::of(&key);
                    let plaintext = cipher.open(payload).unwrap();
                    let record: Value = serde_json::from_slice(&plaintext).unwrap();
                    checked.payloads += 1;
                    if !text(id).starts_with('_') {
                        assert_eq!(&record["_id"], id);
                        assert!(record["signatures"].is_object(), "{}: {id}", self.name);
                    }
                    self.check_signatures(&record, checked);
                }
                members
                    .values()
                    .for_each(|member| self.open_payloads(member, owner, name, checked));
            }
            _ => {}
        }
    }

    /// Every signature of a record below a value was made by one of the test keys, and over this record.
    fn check_signatures(&self, value: &Value, checked: &mut Checked) {
        match value {
            Value::Array(items) => items
                .iter()
                .for_each(|item| self.check_signatures(item, checked)),
            Value::Object(members) => {
                // A schema has a member of this name, too, and no id.
                if let (Some(Value::Object(signatures)), Some(_)) =
                    (members.get("signatures"), members.get("_id"))
                {
                    for signer in signatures.keys() {
                        checked.signatures += self.check_signature(members, signer);
                    }
                }
                members
                    .values()
                    .for_each(|member| self.check_signatures(member, checked));
            }
            _ => {}
        }
    }

    fn check_signature(&self, record: &Map<String, Value>, signer: &str) -> usize {
        let made_by = |identity: &&Identity| {
            let did = identity.account.did();
            record_signature::signature_key(did, &identity.context) == signer
        };
        let identity = self.people.iter().find(made_by).unwrap();
        let key = identity.keyring.sign_public_key();
        let did = identity.account.did();
        let verified = record_signature::verify(record, did, &identity.context, key);
        // The original strips two members of a message after signing it: such a signature cannot verify.
        let schema = record.get("schema").map(text).unwrap_or_default();
        assert!(
            verified.is_some() || schema.contains("/inbox/item/"),
            "{}: the signature on {} does not verify",
            self.name,
            record["_id"]
        );
        usize::from(verified.is_some())
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Every DID document below a value is proven by its DID.
fn check_documents(value: &Value, checked: &mut Checked) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| check_documents(item, checked)),
        Value::Object(members) => {
            if members.contains_key("proof") && members.contains_key("verificationMethod") {
                let did: Did = text(&members["id"]).parse().unwrap();
                DidDocument::verify(value.clone(), &did).unwrap();
                checked.documents += 1;
            }
            members
                .values()
                .for_each(|member| check_documents(member, checked));
        }
        _ => {}
    }
}

/// Puts the requests of a trace to our storage node.
struct Replay<'t> {
    trace: &'t Trace,
    world: &'t World,
    base: String,
    /// The trace's names for tokens and challenges, and ours.
    names: HashMap<String, String>,
    challenge: String,
    /// Positions in a database's feed: theirs and ours.
    positions: HashMap<(String, String), String>,
    replayed: usize,
    left_out: BTreeMap<&'static str, Vec<u64>>,
}

impl<'t> Replay<'t> {
    async fn of(trace: &'t Trace, world: &'t World) -> Self {
        let mut replay = Self {
            trace,
            world,
            base: world.sandbox.storage_url().to_owned(),
            names: HashMap::new(),
            challenge: String::new(),
            positions: HashMap::new(),
            replayed: 0,
            left_out: BTreeMap::new(),
        };
        replay.publish_documents().await;
        for request in &trace.requests {
            if request.get("marker").is_none() {
                replay.put(request).await;
            }
        }
        replay
    }

    /// The DID documents that were there before the trace begins.
    async fn publish_documents(&self) {
        let node = self.world.sandbox.storage_node().unwrap();
        let is_made_in_the_trace = |request: &Value| {
            request["method"] == "POST" && text(&request["path"]).starts_with("/did/")
        };
        if self.trace.requests.iter().any(is_made_in_the_trace) {
            return;
        }
        for request in &self.trace.requests {
            let document = &request["response"]["data"];
            if request["method"] == "GET" && document.get("proof").is_some() {
                let did: Did = text(&document["id"]).parse().unwrap();
                let document = DidDocument::verify(document.clone(), &did).unwrap();
                if document.version_id() == 0 && node.did_document(&did).await.unwrap().is_none() {
                    node.put_did_document(&document).await.unwrap();
                }
            }
        }
    }

    fn leave_out(&mut self, request: &Value, reason: &'static str) {
        let n = request["n"].as_u64().unwrap();
        self.left_out.entry(reason).or_default().push(n);
    }

    async fn put(&mut self, request: &Value) {
        let path = text(&request["path"]);
        if let Some(reason) = reason_to_leave_out(request, &path) {
            return self.leave_out(request, reason);
        }
        let Some(path) = self.with_our_position(&path) else {
            return self.leave_out(
                request,
                "goes on from a position that a left-out longpoll gave",
            );
        };
        let mut body = self.with_our_names(&request["body"]);
        if path == "/auth/authenticate" {
            let (did, context) = (text(&body["did"]), text(&body["contextName"]));
            let person = self.trace.identity(&did, &context);
            let asked =
                consent::authenticate(person.account.did(), &person.context, &self.challenge);
            body["signature"] = person.account.sign_consent(&asked).to_string().into();
        }
        if path == "/auth/connect" && body == request["body"] {
            // The session was made before the trace begins.
            let (did, context) = (text(&body["did"]), text(&body["contextName"]));
            body["refreshToken"] = self.log_in(&did, &context).await.into();
        }
        let authorization = text(&request["headers"]["authorization"]);
        let bearer = authorization.trim_start_matches("Bearer ");
        let token = self.names.get(bearer).cloned().unwrap_or_default();
        let method = request["method"].as_str().unwrap();
        let bytes = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let (status, answer) = raw_request(
            &self.base,
            method,
            path.trim_start_matches('/'),
            &token,
            bytes.into(),
        )
        .await;
        let at = format!("{} {} {method} {path}", self.trace.name, request["n"]);
        // The trace's stand-in for CouchDB says 201 of a PUT that deletes, and CouchDB 200.
        let told = match (method, body["_deleted"] == true) {
            ("PUT", true) => Value::from(200),
            _ => request["status"].clone(),
        };
        assert_eq!(told, status.as_u16(), "{at}: {answer}");
        self.compare(request, &path, &answer, &at);
        self.replayed += 1;
    }

    /// The same shape as the original's answer, and the same documents.
    fn compare(&mut self, request: &Value, path: &str, ours: &Value, at: &str) {
        let theirs = &request["response"];
        self.learn_names(theirs, ours);
        if let Some(user) = ours["user"].as_object() {
            // The public credential: everybody's, and each node has its own.
            let theirs = basic(theirs["user"].as_object().unwrap());
            self.names.insert(theirs, basic(user));
        }
        if let Some(id) = ours["authJwt"]["authRequestId"].as_str() {
            self.challenge = id.to_owned();
        }
        let database = path[1..].split(['/', '?']).next().unwrap().to_owned();
        if path.contains("/_changes") {
            assert_eq!(changed(theirs), changed(ours), "{at}");
            let position = |answer: &Value| answer["last_seq"].to_string();
            let ours = position(ours).trim_matches('"').to_owned();
            self.positions.insert((database, position(theirs)), ours);
            return;
        }
        if request["server"] == "couch" && ours.get("doc_count").is_some() {
            // Permissions are rules with us, and a design document with the original.
            let documents = theirs["doc_count"].as_u64().unwrap() - 1;
            assert_eq!(ours["doc_count"], documents, "{at}");
            assert_eq!(ours["db_name"], theirs["db_name"], "{at}");
            return;
        }
        let mut missing = Vec::new();
        same_shape("", theirs, ours, &mut missing);
        assert!(missing.is_empty(), "{at}: {missing:?} in {ours}");
    }

    /// Logs in with the account key and gives the refresh token.
    async fn log_in(&self, did: &str, context: &str) -> String {
        let person = self.trace.identity(did, context);
        let sandbox = &self.world.sandbox;
        let session = sandbox.open_context(&person.account, &person.context).await;
        session
            .unwrap()
            .auths()
            .next()
            .unwrap()
            .refresh_token
            .clone()
    }

    /// `<access#3>` and its like stand for what our node gave in the same place.
    fn learn_names(&mut self, theirs: &Value, ours: &Value) {
        let (Value::Object(theirs), Value::Object(ours)) = (theirs, ours) else {
            return;
        };
        for (name, value) in theirs {
            let Some(member) = ours.get(name) else {
                continue;
            };
            // Revisions that the server gave, too: ours are others.
            let is_ours = |value: &str| value.starts_with('<') || name == "rev" || name == "_rev";
            match (value.as_str(), member.as_str()) {
                (Some(value), Some(member)) if is_ours(value) => {
                    self.names.insert(value.to_owned(), member.to_owned());
                }
                _ => self.learn_names(value, member),
            }
        }
    }

    fn with_our_names(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.names.get(text).unwrap_or(text).clone().into(),
            Value::Object(members) => members
                .iter()
                .map(|(name, value)| (name.clone(), self.with_our_names(value)))
                .collect::<Map<_, _>>()
                .into(),
            other => other.clone(),
        }
    }

    fn with_our_position(&self, path: &str) -> Option<String> {
        let Some((head, rest)) = path.split_once("since=") else {
            return Some(path.to_owned());
        };
        let (theirs, tail) = rest.split_once('&').unwrap_or((rest, ""));
        if theirs == "0" {
            return Some(path.to_owned());
        }
        let database = path[1..].split('/').next().unwrap().to_owned();
        let ours = self.positions.get(&(database, theirs.to_owned()))?;
        Some(format!("{head}since={ours}&{tail}"))
    }
}

fn reason_to_leave_out(request: &Value, path: &str) -> Option<&'static str> {
    if path == "/rpc" || path.starts_with("/gasless") {
        Some("the blockchain: no storage node answers it")
    } else if path.ends_with("/schema.json") {
        Some("the schema server: no storage node answers it")
    } else if request.get("status").is_none_or(Value::is_null) {
        Some("never answered: the recording ended")
    } else if path.contains("feed=longpoll") {
        Some("waits for what comes later: crates/storage/tests/feed.rs")
    } else if request["status"] == 401 {
        Some("the recording server was told to refuse a good token")
    } else if path.ends_with("/_find") || path.ends_with("/_index") {
        Some("queries on the storage node: only public databases have them, and not with ours yet")
    } else if path == "/" {
        Some("the greeting of the recording's own database server")
    } else {
        None
    }
}

fn basic(user: &Map<String, Value>) -> String {
    let pair = format!("{}:{}", text(&user["username"]), text(&user["password"]));
    format!("Basic {}", STANDARD.encode(pair))
}

/// The records in a feed's answer, with their revisions.
fn changed(answer: &Value) -> BTreeMap<String, String> {
    let rows = answer["results"].as_array().unwrap().iter();
    rows.filter(|row| !text(&row["id"]).starts_with("_design/"))
        .map(|row| (text(&row["id"]), text(&row["changes"][0]["rev"])))
        .collect()
}

/// Every member of the original's answer is in ours, of the same kind.
fn same_shape(path: &str, theirs: &Value, ours: &Value, missing: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            for (name, value) in theirs {
                match ours.get(name) {
                    Some(member) => same_shape(&format!("{path}.{name}"), value, member, missing),
                    None => missing.push(format!("{path}.{name}")),
                }
            }
        }
        (Value::Array(theirs), Value::Array(ours)) => {
            if let (Some(theirs), Some(ours)) = (theirs.first(), ours.first()) {
                same_shape(&format!("{path}[]"), theirs, ours, missing);
            }
        }
        (theirs, ours) => {
            if std::mem::discriminant(theirs) != std::mem::discriminant(ours) {
                missing.push(format!("{path}: {theirs} is {ours}"));
            }
        }
    }
}

/// Checks and replays one file.
async fn run(name: &'static str) {
    let Some(trace) = Trace::read(name) else {
        return;
    };
    println!("{name}: {:?}", trace.check());
    let world = World::start().await;
    let replay = Replay::of(&trace, &world).await;
    println!("{name}: {} requests replayed", replay.replayed);
    for (reason, requests) in &replay.left_out {
        println!("{name}: {} left out: {reason}", requests.len());
    }
    assert!(replay.replayed > 0);
}

#[tokio::test]
async fn the_trace_of_an_owner_is_ours_too() {
    run("http_trace_owner.json").await;
}

#[tokio::test]
async fn the_trace_of_a_session_is_ours_too() {
    run("http_trace_session.json").await;
}

#[tokio::test]
async fn the_trace_of_a_datastore_is_ours_too() {
    run("http_trace_datastore.json").await;
}

#[tokio::test]
async fn the_trace_of_a_shared_database_is_ours_too() {
    run("http_trace_users.json").await;
}

#[tokio::test]
async fn the_trace_of_a_public_database_is_ours_too() {
    run("http_trace_public.json").await;
}

#[tokio::test]
async fn the_trace_of_messages_is_ours_too() {
    run("http_trace_messaging.json").await;
}

#[tokio::test]
async fn the_trace_of_a_new_identity_is_ours_too() {
    run("http_trace_create.json").await;
}
