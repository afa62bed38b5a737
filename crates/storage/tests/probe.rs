//! The requests that were recorded from the original storage node, put to ours: same status, same shape of answer.
//!
//! The recordings lie in the folder named by `ADYTON_VECTORS` (default: the repository's copies). Tokens, names and signatures
//! in them are somebody else's; the request is made again with ours. Where we answer otherwise on purpose, it is written here.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout
)]

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;

use adyton_protocol::consent;
use adyton_protocol::context::ContextHash;
use serde_json::{Map, Value, json};
use support::{Answer, CONTEXT, Credential, Node, Person, Session};

/// Recordings that are not put to our node, with the reason.
const LEFT_OUT: &[(&str, &str)] = &[
    ("authJwt payload", "not a request"),
    ("authJwt header", "not a request"),
    ("refreshToken payload", "not a request"),
    ("refreshToken header", "not a request"),
    ("accessToken payload", "not a request"),
    ("accessToken header", "not a request"),
    (
        "_users doc",
        "CouchDB's own database of users: we have none",
    ),
    (
        "c-db security",
        "the original's registry database: ours is no CouchDB database",
    ),
    (
        "c-db docs",
        "the original's registry database: ours is no CouchDB database",
    ),
    (
        "ddoc write owner",
        "permissions are rules, not JavaScript in design documents",
    ),
    (
        "ddoc write public",
        "permissions are rules, not JavaScript in design documents",
    ),
    (
        "ddoc delete public",
        "permissions are rules, not JavaScript in design documents",
    ),
    (
        "ddoc write users",
        "permissions are rules, not JavaScript in design documents",
    ),
    (
        "couch put doc bearer",
        "recorded against a document that was there before",
    ),
    (
        "public user writes public db",
        "recorded against a document that was there before",
    ),
    (
        "usage over quota",
        "needs the original's administrator to lower a limit",
    ),
    (
        "createDatabase over quota",
        "needs the original's administrator to lower a limit",
    ),
    (
        "connect over quota",
        "a full account gets in, to read and to delete: tests/databases.rs",
    ),
    (
        "couch write over quota (not enforced)",
        "we enforce it: tests/databases.rs",
    ),
];

/// Answers that differ on purpose: name, our status, why.
const DIFFERENT: &[(&str, u16, &str)] = &[
    (
        "authenticate replay same authJwt",
        401,
        "a challenge is answered once",
    ),
    (
        "isTokenValid wrong context",
        401,
        "a token belongs to its context",
    ),
    (
        "invalidateDeviceId again",
        401,
        "all tokens of a device go at once, so there are none the second time",
    ),
];

#[derive(Clone)]
struct Recording {
    name: String,
    method: String,
    path: String,
    body: Value,
    status: u16,
    answer: Value,
}

fn recordings() -> Option<Vec<Recording>> {
    let folder = std::env::var_os("ADYTON_VECTORS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors")),
        PathBuf::from,
    );
    let Ok(text) = std::fs::read_to_string(folder.join("storage_node_probe.json")) else {
        println!(
            "skipped: storage_node_probe.json is not in {}",
            folder.display()
        );
        return None;
    };
    let list: Vec<Value> = serde_json::from_str(&text).unwrap();
    let recordings = list
        .into_iter()
        .filter(|entry| entry["req"].is_object())
        .map(|entry| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            Recording {
                name: text(&entry["name"]),
                method: text(&entry["req"]["method"]),
                path: text(&entry["req"]["path"]),
                body: entry["req"]["body"].clone(),
                status: u16::try_from(entry["status"].as_u64().unwrap()).unwrap(),
                answer: entry["res"].clone(),
            }
        });
    Some(recordings.collect())
}

/// Every member that the original has, ours has too, of the same JSON type. Lists are compared by their first item.
fn same_shape(path: &str, original: &Value, ours: &Value, missing: &mut Vec<String>) {
    match (original, ours) {
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

/// The cast of the recordings, on our node.
struct Stage {
    node: Node,
    session: Session,
    /// The recorded databases' hashes, and ours of the same name.
    hashes: BTreeMap<String, String>,
    challenge: (String, String),
    /// The refresh token that `regenerateRefreshToken` replaced.
    replaced: Option<String>,
}

impl Stage {
    async fn new(recordings: &[Recording]) -> Self {
        let node = Node::start().await;
        let session = node.session(1).await;
        let challenge = session.person.challenge(&node.client(), CONTEXT).await;
        let mut hashes = BTreeMap::new();
        for recording in recordings {
            let name = recording.body["databaseName"].as_str();
            let hash = recording.answer["databaseHash"].as_str();
            if let (Some(name), Some(hash)) = (name, hash) {
                hashes.insert(hash.to_owned(), session.hash(name));
            }
        }
        Self {
            node,
            session,
            hashes,
            challenge,
            replaced: None,
        }
    }

    fn signed(&self, recording: &Recording) -> Option<String> {
        let person = &self.session.person;
        let context = &self.session.context;
        let stamp = self.node.now();
        let server = self.node.storage.public_url();
        let digest = match recording.name.as_str() {
            "authenticate" | "authenticate replay same authJwt" => {
                consent::authenticate(&person.did, context, &self.challenge.0)
            }
            "invalidateDeviceId" | "invalidateDeviceId again" => {
                consent::invalidate_device(&person.did, context, "probe-device")
            }
            "contextHash" => {
                let hash = ContextHash::of(&person.did, context);
                consent::context_hash_lookup(&person.did, &hash, server, stamp)
            }
            "destroyContext" => consent::destroy_context(&person.did, context, server, stamp),
            _ => return None,
        };
        Some(person.sign(digest.digest()))
    }

    /// The recorded body, with our people, tokens and times in place of theirs.
    fn body(&self, recording: &Recording) -> Value {
        let Value::Object(mut body) = recording.body.clone() else {
            return recording.body.clone();
        };
        let person = &self.session.person;
        let is_wrong = |value: &Value| value.as_str().is_some_and(|text| text.len() < 10);
        let put = |body: &mut Map<String, Value>, name: &str, value: Value| {
            if body.contains_key(name) {
                body.insert(name.to_owned(), value);
            }
        };
        put(&mut body, "did", person.did.as_given().into());
        if !recording.name.ends_with("wrong context") {
            put(&mut body, "contextName", CONTEXT.into());
        }
        if !body.get("refreshToken").is_some_and(is_wrong) {
            let token = match (&self.replaced, recording.name.as_str()) {
                (Some(old), "old refresh token after regenerate") => old.clone(),
                _ if recording.name == "isTokenValid bad" => format!("x{}", self.session.refresh),
                _ => self.session.refresh.clone(),
            };
            put(&mut body, "refreshToken", token.into());
        }
        let challenge = match recording.name.as_str() {
            "authenticate bad jwt" => format!("x{}", self.challenge.1),
            _ => self.challenge.1.clone(),
        };
        put(&mut body, "authJwt", challenge.into());
        if let Some(signature) = self.signed(recording) {
            put(&mut body, "signature", signature.into());
        }
        if recording.name != "contextHash old ts" {
            put(&mut body, "timestamp", self.node.now().into());
        }
        let hash = ContextHash::of(&person.did, &self.session.context).to_string();
        put(&mut body, "contextHash", hash.into());
        put(&mut body, "document", person.document(self.node.now()));
        if let Some(Value::Array(hashes)) = body.get_mut("databaseHashes") {
            for hash in hashes {
                *hash = self.hashes[hash.as_str().unwrap()].clone().into();
            }
        }
        Value::Object(body)
    }

    /// The recorded answer, with our databases' names in place of theirs.
    fn expected(&self, recording: &Recording) -> Recording {
        let mut text = recording.answer.to_string();
        for (theirs, ours) in &self.hashes {
            text = text.replace(theirs, ours);
        }
        Recording {
            answer: serde_json::from_str(&text).unwrap(),
            ..recording.clone()
        }
    }

    fn path(&self, recording: &Recording) -> String {
        let mut path = recording.path.trim_start_matches("COUCH ").to_owned();
        for (theirs, ours) in &self.hashes {
            path = path.replace(theirs, ours);
        }
        for prefix in ["/did/", "/lookup/did/"] {
            if let Some(rest) = path.strip_prefix(prefix)
                && !rest.contains("0x000000")
            {
                let end = rest.find(['?', '/']).unwrap_or(rest.len());
                path = format!(
                    "{prefix}{}{}",
                    self.session.person.did.as_given(),
                    &rest[end..]
                );
            }
        }
        path
    }

    async fn credential(&self, recording: &Recording, recorded: Option<&str>) -> Credential {
        match recorded {
            None => Credential::None,
            Some(value) if value.ends_with(" x.y.z") => Credential::Bearer("x.y.z".into()),
            Some(_) if recording.name.contains("refresh token used as access") => {
                Credential::Bearer(self.session.refresh.clone())
            }
            Some(value) if value.starts_with("Bearer ") => self.session.access.clone(),
            // The administrator of the original's CouchDB looks at databases; here their owner does.
            Some(_) if recording.name.starts_with("public user") => {
                self.node.client().public().await
            }
            Some(_) => self.session.access.clone(),
        }
    }
}

/// What the original's administrator and owner recorded differently from what an owner sees here.
fn expected_status(recording: &Recording) -> u16 {
    DIFFERENT
        .iter()
        .find(|(name, ..)| *name == recording.name)
        .map_or(recording.status, |(_, status, _)| *status)
}

fn check(recording: &Recording, answer: &Answer) -> Result<(), String> {
    let text = String::from_utf8_lossy(&answer.body);
    if answer.status != expected_status(recording) {
        return Err(format!(
            "{}: {} instead of {}: {text}",
            recording.name, answer.status, recording.status
        ));
    }
    if answer.status != recording.status {
        return Ok(());
    }
    let Value::Object(_) = &recording.answer else {
        let html = recording
            .answer
            .as_str()
            .is_some_and(|text| text.starts_with('<'));
        let same = html || recording.answer.as_str() == Some(&text);
        return if same {
            Ok(())
        } else {
            Err(format!("{}: {text}", recording.name))
        };
    };
    let ours = answer.json();
    // A refusal is worded as the original words it; of an answer, the shape counts.
    if answer.status.as_u16() >= 400 && !recording.name.starts_with("did p") {
        let timed = recording.name.starts_with("replicationCreds old");
        return if timed || ours == recording.answer {
            Ok(())
        } else {
            Err(format!(
                "{}: {ours} instead of {}",
                recording.name, recording.answer
            ))
        };
    }
    let mut missing = Vec::new();
    same_shape("", &recording.answer, &ours, &mut missing);
    // Figures of CouchDB's inside, the two shapes that the original's look-up has by mistake, and contexts, which our
    // person's document does not have.
    let inner = [
        ".results.metrics.",
        ".document.doc",
        ".document.errors",
        ".cluster",
        ".permissions",
        ".keyAgreement",
        ".service",
    ];
    missing.retain(|path| !inner.iter().any(|known| path.contains(known)));
    if missing.is_empty() {
        Ok(())
    } else {
        Err(format!("{}: {missing:?}", recording.name))
    }
}

#[tokio::test]
async fn the_recorded_requests_are_answered_as_the_original_answered_them() {
    let Some(recordings) = recordings() else {
        return;
    };
    let raw: Vec<Value> = {
        let folder = std::env::var_os("ADYTON_VECTORS").map_or_else(
            || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors")),
            PathBuf::from,
        );
        let text = std::fs::read_to_string(folder.join("storage_node_probe.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let authorization: BTreeMap<&str, &str> = raw
        .iter()
        .filter_map(|entry| {
            Some((
                entry["name"].as_str()?,
                entry["req"]["headers"]["authorization"].as_str()?,
            ))
        })
        .collect();
    let mut stage = Stage::new(&recordings).await;
    let mut wrong = Vec::new();
    let mut asked = 0;
    for recording in &recordings {
        if LEFT_OUT.iter().any(|(name, _)| *name == recording.name) {
            continue;
        }
        if recording.name == "invalidateDeviceId" {
            // The recorded person logged in with this device; so does ours.
            let challenge = stage
                .session
                .person
                .challenge(&stage.node.client(), CONTEXT)
                .await;
            let text = consent::authenticate(
                &stage.session.person.did,
                &stage.session.context,
                &challenge.0,
            );
            let body = json!({
                "authJwt": challenge.1, "did": stage.session.person.did.as_given(), "contextName": CONTEXT,
                "signature": Person::new(1).sign(text.digest()), "deviceId": "probe-device",
            });
            stage
                .node
                .client()
                .post("/auth/authenticate", &body)
                .await
                .expect(200);
        }
        let recorded = authorization.get(recording.name.as_str()).copied();
        let credential = stage.credential(recording, recorded).await;
        let body = match stage.body(recording) {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let client = stage.node.client();
        let answer = client
            .send(&recording.method, &stage.path(recording), &credential, body)
            .await;
        asked += 1;
        if let Err(error) = check(&stage.expected(recording), &answer) {
            wrong.push(error);
        }
        if recording.name == "regenerateRefreshToken" && answer.status == 200 {
            let fresh = answer.json()["refreshToken"].as_str().unwrap().to_owned();
            stage.replaced = Some(std::mem::replace(&mut stage.session.refresh, fresh));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {asked} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(
        asked >= 50 || recordings.len() < 60,
        "only {asked} of {} were asked",
        recordings.len()
    );
}
