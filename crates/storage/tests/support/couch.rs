//! What stands in for Apache CouchDB in tests: in memory, with its answers, its `_security` and its JWTs. It takes only what
//! CouchDB 3.5 documents, writes down what it is asked, and reads out of a validation function whom it lets write.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adyton_storage::{CouchConfig, StoreChoice};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::StreamExt;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::support::Node;

pub const ACCESS_KEY: &str = "access key of the original's node";
pub const REFRESH_KEY: &str = "refresh key of the original's node";
/// When every database of it was made.
pub const MADE: &str = "1700000000";
/// The public user.
pub const EVERYBODY: &str = "everybody";
pub const ADMIN: (&str, &str) = ("admin", "admin's word");

pub fn config_of(couch: &Couch) -> CouchConfig {
    CouchConfig {
        node_key: Some([7; 32]),
        ..CouchConfig::new(
            format!("http://{}/", couch.address).parse().unwrap(),
            (ADMIN.0.to_owned(), ADMIN.1.to_owned()),
            (ACCESS_KEY.to_owned(), REFRESH_KEY.to_owned()),
            (EVERYBODY.to_owned(), "everybody's word".to_owned()),
        )
    }
}

pub async fn in_front_of(couch: &Couch) -> Node {
    let choice = StoreChoice::Couch(Box::new(config_of(couch)));
    Node::with_config(|config| config.store = choice).await
}

/// A node, and the CouchDB that it stands in front of, if it does.
pub struct Store {
    pub node: Node,
    pub couch: Option<Couch>,
}

impl Store {
    /// Nothing was asked of the CouchDB that it would not know.
    pub fn is_documented(&self) {
        let undocumented = self.couch.as_ref().map(Couch::undocumented);
        assert_eq!(undocumented.unwrap_or_default(), Vec::<String>::new());
    }
}

/// A node of each kind.
pub async fn stores() -> [Store; 2] {
    let couch = Couch::start().await;
    let passing = in_front_of(&couch).await;
    [(Node::start().await, None), (passing, Some(couch))].map(|(node, couch)| Store { node, couch })
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Heard {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: String,
    /// As whom: the admin's name, or a token's.
    pub as_whom: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub struct Database {
    pub security: Value,
    pub documents: BTreeMap<String, Value>,
    pub file_bytes: u64,
    /// Ids in the order of their writes.
    log: Vec<String>,
    /// The hashes of a document's revisions, newest first, as far as they are known.
    ancestry: BTreeMap<String, Vec<Value>>,
}

impl Database {
    pub fn with(security: Value, documents: BTreeMap<String, Value>) -> Self {
        let log = documents.keys().cloned().collect();
        Self {
            security,
            documents,
            file_bytes: 100_000,
            log,
            ancestry: BTreeMap::new(),
        }
    }
}

struct State {
    databases: BTreeMap<String, Database>,
    heard: Vec<Heard>,
    undocumented: Vec<String>,
    /// Answers every request with this instead.
    instead: Option<(u16, &'static str)>,
    /// Answers everybody but its admin with this instead.
    to_others: Option<(u16, Value)>,
    settings: Settings,
}

/// How it is set up.
#[derive(Clone)]
pub struct Settings {
    pub version: &'static str,
    /// `[jwt_keys] hmac:_default`.
    pub key: &'static str,
    /// `[jwt_auth] required_claims = exp`.
    pub tokens_end: bool,
    /// `[jwt_auth] roles_claim_name`.
    pub roles_claim: &'static str,
}

impl Default for State {
    fn default() -> Self {
        Self {
            databases: BTreeMap::new(),
            heard: Vec::new(),
            undocumented: Vec::new(),
            instead: None,
            to_others: None,
            settings: Settings {
                version: "3.5.0",
                key: ACCESS_KEY,
                tokens_end: true,
                roles_claim: "_couchdb.roles",
            },
        }
    }
}

/// The server.
pub struct Couch {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    serving: Option<JoinHandle<()>>,
}

struct Caller {
    name: String,
    roles: Vec<String>,
    admin: bool,
}

type Answer = Response<BoxBody<Bytes, std::convert::Infallible>>;

impl Couch {
    pub async fn start() -> Self {
        let mut couch = Self {
            address: "127.0.0.1:0".parse().unwrap(),
            state: Arc::default(),
            serving: None,
        };
        couch.come_back().await;
        couch
    }

    /// Is there again, with everything that it was told to keep.
    pub async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        let state = Arc::clone(&self.state);
        self.serving = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let state = Arc::clone(&state);
                connections.spawn(async move {
                    let answer = service_fn(move |request| answer(Arc::clone(&state), request));
                    let server = hyper::server::conn::http1::Builder::new();
                    let _ended = server.serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        }));
    }

    /// Is gone, with every connection.
    pub async fn go_away(&mut self) {
        let serving = self.serving.take().unwrap();
        serving.abort();
        let _aborted = serving.await;
    }

    pub fn database(&self, name: &str) -> Option<Database> {
        self.state.lock().unwrap().databases.get(name).cloned()
    }

    pub fn change(&self, name: &str, change: impl FnOnce(&mut Database)) {
        change(
            self.state
                .lock()
                .unwrap()
                .databases
                .entry(name.to_owned())
                .or_default(),
        );
    }

    pub fn instead(&self, answer: Option<(u16, &'static str)>) {
        self.state.lock().unwrap().instead = answer;
    }

    /// Answers whoever is not its admin.
    pub fn to_others(&self, answer: Option<(u16, Value)>) {
        self.state.lock().unwrap().to_others = answer;
    }

    pub fn set_up(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.state.lock().unwrap().settings);
    }

    /// What it was asked since this was called last.
    pub fn heard(&self) -> Vec<Heard> {
        std::mem::take(&mut self.state.lock().unwrap().heard)
    }

    /// What no CouchDB 3.5 would know.
    pub fn undocumented(&self) -> Vec<String> {
        self.state.lock().unwrap().undocumented.clone()
    }
}

impl Drop for Couch {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

/// A token as the original signs them.
pub fn token(key: &str, claims: &Value) -> String {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac(key, &signed)))
}

/// What stands behind a token that this key signed.
pub fn signature(key: &str, signed: &str) -> String {
    URL_SAFE_NO_PAD.encode(mac(key, signed))
}

fn mac(key: &str, text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

type Refused = (u16, &'static str, &'static str);

/// Who asks, or what is said of the credential.
fn caller(headers: &HeaderMap, settings: &Settings) -> Result<Caller, Refused> {
    const REQUIRED: Refused = (401, "unauthorized", "Authentication required.");
    let value = headers.get("authorization").ok_or(REQUIRED)?;
    let value = value.to_str().unwrap();
    if value
        == format!(
            "Basic {}",
            STANDARD.encode(format!("{}:{}", ADMIN.0, ADMIN.1))
        )
    {
        return Ok(Caller {
            name: ADMIN.0.to_owned(),
            roles: vec!["_admin".to_owned()],
            admin: true,
        });
    }
    let wrong = (401, "unauthorized", "Name or password is incorrect.");
    let token = value.strip_prefix("Bearer ").ok_or(wrong)?;
    let malformed = (400, "bad_request", "Malformed token");
    let (signed, tag) = token.rsplit_once('.').ok_or(malformed)?;
    let (_, payload) = signed.split_once('.').ok_or(malformed)?;
    let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| malformed)?;
    let claims: Value = serde_json::from_slice(&payload).map_err(|_| malformed)?;
    if settings.tokens_end {
        let missing = (400, "bad_request", "Missing exp claim");
        // Its clock is nobody's: what ended, ended long ago.
        if claims["exp"].as_u64().ok_or(missing)? < 1_000_000_000 {
            return Err((401, "unauthorized", "exp not in future"));
        }
    }
    if URL_SAFE_NO_PAD.decode(tag).map_err(|_| malformed)? != mac(settings.key, signed) {
        return Err((400, "bad_request", "Bad HMAC"));
    }
    let roles = claims[settings.roles_claim]
        .as_array()
        .cloned()
        .unwrap_or_default();
    Ok(Caller {
        name: claims["sub"].as_str().unwrap().to_owned(),
        roles: roles
            .iter()
            .filter_map(|role| Some(role.as_str()?.to_owned()))
            .collect(),
        admin: false,
    })
}

async fn answer(
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Answer, std::convert::Infallible> {
    let (head, body) = request.into_parts();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return Ok(said(400, &json!({}))),
    };
    let mut state = state.lock().unwrap();
    let caller = caller(&head.headers, &state.settings);
    let heard = Heard {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body: String::from_utf8_lossy(&body).into_owned(),
        as_whom: caller.as_ref().ok().map(|caller| caller.name.clone()),
    };
    state.heard.push(heard.clone());
    if let Some((status, location)) = state.instead {
        let mut answer = said(status, &json!({}));
        answer
            .headers_mut()
            .insert("location", location.parse().unwrap());
        return Ok(answer);
    }
    let mut answer = match (caller, &state.to_others) {
        (Ok(Caller { admin: false, .. }), Some((status, told))) => said(*status, told),
        (Ok(caller), _) => state.answer(&caller, &heard),
        (Err((status, error, reason)), _) => refused(status, error, reason),
    };
    let headers = answer.headers_mut();
    headers.insert("server", "CouchDB/3.5.0 (Erlang OTP/26)".parse().unwrap());
    headers.insert("set-cookie", "AuthSession=x".parse().unwrap());
    headers.insert("location", "http://inside.example/".parse().unwrap());
    Ok(answer)
}

impl State {
    fn answer(&mut self, caller: &Caller, heard: &Heard) -> Answer {
        let segments: Vec<String> = heard
            .path
            .split('/')
            .skip(1)
            .map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned())
            .collect();
        let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
        let query: BTreeMap<String, String> = url::form_urlencoded::parse(heard.query.as_bytes())
            .into_owned()
            .collect();
        let body: Value = serde_json::from_str(&heard.body).unwrap_or_default();
        let name = match parts[..] {
            [""] => {
                let version = self.settings.version;
                return said(200, &json!({"couchdb": "Welcome", "version": version}));
            }
            ["_session"] if heard.method == "GET" => {
                let who = json!({"name": caller.name, "roles": caller.roles});
                return said(200, &json!({"ok": true, "userCtx": who}));
            }
            [name, ..] => name,
            [] => return refused(404, "not_found", "missing"),
        };
        let is_own = heard.method == "PUT" || heard.method == "DELETE";
        if parts.len() == 1 && is_own {
            if !caller.admin {
                return refused(401, "unauthorized", "You are not a server admin.");
            }
            let there = self.databases.contains_key(name);
            return match (heard.method.as_str(), there) {
                ("PUT", true) => refused(412, "file_exists", "The database could not be created."),
                ("PUT", false) => {
                    let admins = json!({"names": [], "roles": ["_admin"]});
                    let security = json!({"members": admins, "admins": admins});
                    let database = Database {
                        security,
                        ..Database::default()
                    };
                    self.databases.insert(name.to_owned(), database);
                    said(201, &json!({"ok": true}))
                }
                (_, true) => {
                    self.databases.remove(name);
                    said(200, &json!({"ok": true}))
                }
                (_, false) => refused(404, "not_found", "Database does not exist."),
            };
        }
        let Some(database) = self.databases.get_mut(name) else {
            return refused(404, "not_found", "Database does not exist.");
        };
        if !database.has(caller, "admins") && !database.has(caller, "members") {
            return refused(403, "forbidden", "You are not allowed to access this db.");
        }
        let owner = caller.admin || database.has(caller, "admins");
        match (heard.method.as_str(), &parts[1..]) {
            ("GET", []) => said(
                200,
                &json!({"db_name": name, "doc_count": database.documents.len(), "sizes": {
                    "file": database.file_bytes, "external": 0, "active": 0,
                }, "instance_start_time": MADE}),
            ),
            ("POST", ["_ensure_full_commit"]) => {
                said(201, &json!({"ok": true, "instance_start_time": MADE}))
            }
            ("POST", []) => {
                let id = body["_id"].as_str().unwrap_or("made").to_owned();
                database.write(caller, &id, body, None)
            }
            ("GET", ["_security"]) => said(200, &database.security),
            ("PUT", ["_security"]) if owner => {
                database.security = body;
                said(200, &json!({"ok": true}))
            }
            ("POST", ["_index"]) if owner => said(200, &json!({"result": "created"})),
            ("POST", ["_find"]) => said(200, &database.find(&body)),
            ("GET" | "POST", ["_all_docs"]) => said(200, &database.all_docs(&query, &body)),
            ("GET", ["_local_docs"]) => {
                let local = |id: &&String| id.starts_with("_local/");
                let skip = query.get("skip").map_or(0, |skip| skip.parse().unwrap());
                let ids = database.documents.keys().filter(local).skip(skip).take(1);
                let rows: Vec<Value> = ids.map(|id| json!({ "id": id })).collect();
                said(200, &json!({ "rows": rows }))
            }
            ("POST", ["_bulk_docs"]) => {
                let mut lines = Vec::new();
                for one in body["docs"].as_array().unwrap() {
                    let id = one["_id"].as_str().unwrap().to_owned();
                    let answer = match body["new_edits"] == false {
                        true => database.merge(caller, &id, one.clone()),
                        false => database.outcome(caller, &id, one.clone(), None),
                    };
                    lines.push(match answer {
                        Ok((_, rev)) => json!({"ok": true, "id": id, "rev": rev}),
                        Err((_, error, reason)) => {
                            json!({"id": id, "error": error, "reason": reason})
                        }
                    });
                }
                if body["new_edits"] == false {
                    lines.retain(|line| line.get("error").is_some());
                }
                said(201, &lines.into())
            }
            ("GET" | "POST", ["_changes"]) => database.changes(&query),
            ("POST", ["_revs_diff"]) => said(200, &database.revs_diff(&body)),
            ("POST", ["_purge"]) if !caller.admin => {
                refused(401, "unauthorized", "You are not a server admin.")
            }
            ("POST", ["_all_docs" | "_design_docs", "queries"]) => {
                said(200, &json!({"results": []}))
            }
            ("POST", ["_compact" | "_view_cleanup"]) if owner => said(202, &json!({"ok": true})),
            ("GET", ["_revs_limit"]) => said(200, &1_000.into()),
            ("POST", ["_bulk_get"]) => said(200, &json!({"results": []})),
            (method, rest) => {
                let id = rest.join("/");
                let is_document =
                    !id.starts_with('_') || id.starts_with("_design/") || id.starts_with("_local/");
                match method {
                    "GET" if query.get("open_revs").is_some_and(|revs| revs == "all") => {
                        match database.documents.get(&id) {
                            Some(held) => said(200, &json!([{ "ok": held }])),
                            None => refused(404, "not_found", "missing"),
                        }
                    }
                    "GET" | "HEAD" if is_document => match database.documents.get(&id) {
                        Some(held)
                            if match query.get("rev") {
                                Some(rev) => held["_rev"] == rev.as_str(),
                                None => held["_deleted"] != true,
                            } =>
                        {
                            let mut told = held.clone();
                            if query.contains_key("revs") {
                                let (start, hash) =
                                    held["_rev"].as_str().unwrap().split_once('-').unwrap();
                                let start: u64 = start.parse().unwrap();
                                let known = database.ancestry.get(&id).cloned();
                                let ids = known.unwrap_or(vec![hash.into()]);
                                told["_revisions"] = json!({"start": start, "ids": ids});
                            }
                            let mut answer = said(200, &told);
                            let tag = format!("\"{}\"", held["_rev"].as_str().unwrap());
                            answer.headers_mut().insert("etag", tag.parse().unwrap());
                            answer
                        }
                        Some(_) => refused(404, "not_found", "deleted"),
                        None => refused(404, "not_found", "missing"),
                    },
                    "PUT" if is_document => {
                        database.write(caller, &id, body, query.get("rev").cloned())
                    }
                    "COPY" if is_document => {
                        let to = heard.headers["destination"].to_str().unwrap();
                        let (to, rev) = match to.split_once("?rev=") {
                            Some((to, rev)) => (to, Some(rev.to_owned())),
                            None => (to, None),
                        };
                        let to = percent_decode_str(to).decode_utf8_lossy().into_owned();
                        let mut copy = database.documents[&id].clone();
                        copy.as_object_mut().unwrap().remove("_rev");
                        database.write(caller, &to, copy, rev)
                    }
                    "DELETE" if is_document => {
                        let gone = json!({"_deleted": true});
                        let mut answer =
                            database.write(caller, &id, gone, query.get("rev").cloned());
                        if answer.status() == 201 {
                            *answer.status_mut() = http::StatusCode::OK;
                        }
                        answer
                    }
                    _ => {
                        let asked = format!("{method} {}", heard.path);
                        self.undocumented.push(asked);
                        refused(405, "method_not_allowed", "not documented")
                    }
                }
            }
        }
    }
}

type Outcome = Result<(String, String), (u16, &'static str, String)>;

impl Database {
    fn has(&self, caller: &Caller, kind: &str) -> bool {
        let lists = |member: &str, text: &String| {
            let listed = self.security[kind][member].as_array();
            listed.is_some_and(|listed| listed.iter().any(|one| one == text))
        };
        caller.admin
            || lists("names", &caller.name)
            || caller.roles.iter().any(|role| lists("roles", role))
    }

    fn write(&mut self, caller: &Caller, id: &str, body: Value, rev: Option<String>) -> Answer {
        match self.outcome(caller, id, body, rev) {
            Ok((id, rev)) => said(201, &json!({"ok": true, "id": id, "rev": rev})),
            Err((status, error, reason)) => refused(status, error, &reason),
        }
    }

    fn outcome(
        &mut self,
        caller: &Caller,
        id: &str,
        mut body: Value,
        rev: Option<String>,
    ) -> Outcome {
        if id.starts_with("_design/") {
            if !self.has(caller, "admins") {
                return Err((
                    401,
                    "unauthorized",
                    "You are not a db or server admin.".to_owned(),
                ));
            }
        } else if !id.starts_with("_local/") {
            self.validate(caller, &body)?;
        }
        let held = self.documents.get(id);
        let current = held
            .filter(|held| held["_deleted"] != true)
            .map(|held| held["_rev"].clone());
        let base = rev.map(Value::from).or(body.get("_rev").cloned());
        if current != base
            && !(current.is_none() && held.is_some_and(|held| Some(&held["_rev"]) == base.as_ref()))
        {
            return Err((409, "conflict", "Document update conflict.".to_owned()));
        }
        let generation: u64 = held.map_or(0, |held| {
            held["_rev"]
                .as_str()
                .unwrap()
                .split('-')
                .next()
                .unwrap()
                .parse()
                .unwrap()
        });
        let count = held.map_or(0, |held| {
            let rev = held["_rev"].as_str().unwrap();
            rev.rsplit('-').next().unwrap().parse().unwrap_or(0_u64)
        });
        let rev = match id.starts_with("_local/") {
            true => format!("0-{}", count + 1),
            false => format!("{}-{:032x}", generation + 1, self.documents.len()),
        };
        body["_id"] = id.into();
        body["_rev"] = rev.as_str().into();
        let (_, hash) = rev.split_once('-').unwrap();
        let known = self.ancestry.entry(id.to_owned()).or_default();
        known.insert(0, hash.into());
        self.documents.insert(id.to_owned(), body);
        self.note(id);
        Ok((id.to_owned(), rev))
    }

    fn note(&mut self, id: &str) {
        if !id.starts_with("_local/") {
            self.log.push(id.to_owned());
        }
    }

    /// Takes a revision made elsewhere, when it is the higher one: conflicts are not kept.
    fn merge(&mut self, caller: &Caller, id: &str, mut body: Value) -> Outcome {
        self.validate(caller, &body)?;
        let told = body.as_object_mut().unwrap().remove("_revisions");
        if let Some(told) = &told {
            let (start, hash) = (&told["start"], told["ids"][0].as_str().unwrap());
            body["_rev"] = format!("{start}-{hash}").into();
        }
        let rev = body["_rev"].as_str().unwrap().to_owned();
        let generation = |rev: &str| -> u64 { rev.split('-').next().unwrap().parse().unwrap() };
        let held = self.documents.get(id).map(|held| &held["_rev"]);
        let held = held.and_then(Value::as_str).unwrap_or("0-");
        if (generation(held), held) < (generation(&rev), rev.as_str()) {
            self.documents.insert(id.to_owned(), body);
            let known = told.map(|told| told["ids"].as_array().unwrap().clone());
            self.ancestry
                .insert(id.to_owned(), known.unwrap_or_default());
            self.note(id);
        }
        Ok((id.to_owned(), rev))
    }

    fn revs_diff(&self, asked: &Value) -> Value {
        let mut lacking = json!({});
        for (id, revs) in asked.as_object().unwrap() {
            let held = self.documents.get(id).map(|held| &held["_rev"]);
            let lacks = |rev: &&Value| held != Some(*rev);
            let missing: Vec<&Value> = revs.as_array().unwrap().iter().filter(lacks).collect();
            if !missing.is_empty() {
                lacking[id] = json!({ "missing": missing });
            }
        }
        lacking
    }

    /// Runs the validation functions: those that this node or the original writes,
    /// `[names].indexOf(…) … indexOf(role) … [&& newDoc._deleted] … unauthorized: reason`.
    fn validate(&self, caller: &Caller, body: &Value) -> Result<(), (u16, &'static str, String)> {
        for (id, design) in &self.documents {
            let Some(text) = design["validate_doc_update"].as_str() else {
                continue;
            };
            if design["_deleted"] == true || !id.starts_with("_design/") {
                continue;
            }
            let names = &text[text.find('[').unwrap()..=text.find(']').unwrap()];
            let names: Vec<String> = serde_json::from_str(names).unwrap();
            let role = quoted_after(text, "roles.indexOf(");
            let is_let = names.contains(&caller.name) || caller.roles.contains(&role);
            let only_deletions = text.contains("&& newDoc._deleted");
            if !is_let && (!only_deletions || body["_deleted"] == true) {
                let after = text.split("unauthorized").nth(1).unwrap();
                return Err((401, "unauthorized", quoted_after(after, ":")));
            }
        }
        Ok(())
    }

    fn living(&self) -> impl Iterator<Item = (&String, &Value)> {
        let living = self
            .documents
            .iter()
            .filter(|(_, held)| held["_deleted"] != true);
        living.filter(|(id, _)| !id.starts_with("_local/"))
    }

    fn find(&self, query: &Value) -> Value {
        let selector = query["selector"].as_object().unwrap();
        let fits = |held: &Value| {
            selector
                .iter()
                .all(|(name, wanted)| match wanted.get("$lt") {
                    Some(most) => held[name]
                        .as_u64()
                        .is_some_and(|held| held < most.as_u64().unwrap()),
                    None => held[name] == *wanted,
                })
        };
        let found = self.living().filter(|(_, held)| fits(held));
        let most = usize::try_from(query["limit"].as_u64().unwrap()).unwrap();
        let docs: Vec<&Value> = found.map(|(_, held)| held).take(most).collect();
        json!({ "docs": docs })
    }

    fn all_docs(&self, query: &BTreeMap<String, String>, body: &Value) -> Value {
        let row = |(id, held): (&String, &Value)| {
            let mut row = json!({"id": id, "key": id, "value": {"rev": held["_rev"]}});
            if query
                .get("include_docs")
                .is_some_and(|wanted| wanted == "true")
            {
                row["doc"] = held.clone();
            }
            row
        };
        let key = |name: &str| -> Option<String> {
            Some(serde_json::from_str(query.get(name)?).unwrap())
        };
        let rows: Vec<Value> = match body["keys"].as_array() {
            Some(keys) => keys
                .iter()
                .map(|key| {
                    let found = self.living().find(|(id, _)| key == *id);
                    found.map_or(json!({"key": key, "error": "not_found"}), row)
                })
                .collect(),
            None => {
                let (start, end) = (key("startkey"), key("endkey"));
                let within = |id: &String| {
                    start.as_ref().is_none_or(|start| id >= start)
                        && end.as_ref().is_none_or(|end| id < end)
                };
                let most = query
                    .get("limit")
                    .map_or(usize::MAX, |most| most.parse().unwrap());
                let skip = query.get("skip").map_or(0, |skip| skip.parse().unwrap());
                let found = self.living().filter(|(id, _)| within(id));
                found.skip(skip).take(most).map(row).collect()
            }
        };
        json!({"total_rows": self.living().count(), "offset": 0, "rows": rows})
    }
}

/// The text in quotes of whatever kind that comes next behind these words.
fn quoted_after(text: &str, words: &str) -> String {
    let rest = text.split(words).nth(1).unwrap();
    let quotes = |c: char| c == '\'' || c == '"';
    rest.split(quotes).nth(1).unwrap().to_owned()
}

impl Database {
    /// A feed: what there is, and, with signs of life, nothing for ever.
    fn changes(&self, query: &BTreeMap<String, String>) -> Answer {
        if query.contains_key("heartbeat") {
            return beats();
        }
        let number = |name: &str| -> Option<usize> {
            let text = query.get(name)?;
            Some(text.split('-').next().unwrap().parse().unwrap())
        };
        let since = number("since").unwrap_or(0);
        if since > self.log.len() {
            return refused(
                400,
                "bad_request",
                "Malformed sequence supplied in 'since' parameter.",
            );
        }
        let last =
            |(n, id): &(usize, &String)| self.log.iter().rposition(|one| one == *id) == Some(*n);
        let mut rows: Vec<Value> = self
            .log
            .iter()
            .enumerate()
            .filter(last)
            .filter(|(n, _)| *n >= since)
            .map(|(n, id)| {
                let held = &self.documents[id];
                let mut row = json!({
                    "seq": format!("{}-x", n + 1), "id": id, "changes": [{"rev": held["_rev"]}],
                });
                if held["_deleted"] == true {
                    row["deleted"] = true.into();
                }
                row
            })
            .collect();
        let most = number("limit").unwrap_or(usize::MAX).min(rows.len());
        let pending = rows.len() - most;
        rows.truncate(most);
        let end = json!(format!("{}-x", self.log.len()));
        let end = match pending {
            0 => end,
            _ => rows.last().unwrap()["seq"].clone(),
        };
        said(
            200,
            &json!({"results": rows, "last_seq": end, "pending": pending}),
        )
    }
}

fn beats() -> Answer {
    let beats = futures_util::stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Some((Ok(Frame::data(Bytes::from_static(b"\n"))), ()))
    });
    with_body(200, BodyExt::boxed(StreamBody::new(beats.map(|beat| beat))))
}

fn refused(status: u16, error: &str, reason: &str) -> Answer {
    said(status, &json!({"error": error, "reason": reason}))
}

fn said(status: u16, value: &Value) -> Answer {
    with_body(status, Full::new(Bytes::from(value.to_string())).boxed())
}

fn with_body(status: u16, body: BoxBody<Bytes, std::convert::Infallible>) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status.try_into().unwrap();
    answer
        .headers_mut()
        .insert("content-type", "application/json".parse().unwrap());
    answer
}
