//! From the original node to ours and back, before the same CouchDB: nothing is migrated, and nobody logs in anew.
//!
//! What the original leaves is `vectors/foreign_context` (databases as they lay on its server) and, for what is not in there,
//! `vectors/storage_node_probe.json`. What it would do with what ours wrote is done here in its place: tokens, users, registry and
//! `_security` are read as it reads them, and clients ask CouchDB directly with the tokens that ours gave out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

#[path = "support/couch.rs"]
mod couch;
mod support;

use std::collections::BTreeMap;
use std::path::Path;

use adyton_protocol::context::{ContextHash, ContextName};
use adyton_protocol::did::Did;
use adyton_protocol::hash::{keccak256, to_hex};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use couch::{ACCESS_KEY, Couch, Database, EVERYBODY, REFRESH_KEY, in_front_of, token};
use secp256k1::SecretKey;
use serde_json::{Value, json};
use support::{Client, Credential, Node, Person, Session, put_context};

const FILES: [&str; 6] = [
    "hello_db.json",
    "social_chat_group.json",
    "social_chat_message.json",
    "social_email.json",
    "storage_database.json",
    "context.json",
];

fn vector(file: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/foreign_context");
    serde_json::from_slice(&std::fs::read(folder.join(file)).unwrap()).unwrap()
}

fn by_id(documents: &Value) -> BTreeMap<String, Value> {
    let documents = documents.as_array().unwrap().iter();
    documents
        .map(|document| {
            (
                document["_id"].as_str().unwrap().to_owned(),
                document.clone(),
            )
        })
        .collect()
}

/// A context, as the original left it in a CouchDB.
struct Left {
    couch: Couch,
    context: ContextName,
    did: Did,
    /// `v…`
    account: String,
    key: SecretKey,
    registry: Value,
    databases: Vec<Value>,
    now: u64,
}

impl Left {
    async fn by_the_original() -> Self {
        let couch = Couch::start().await;
        let left = vector("context.json");
        let text = |name: &str| left[name].as_str().unwrap().to_owned();
        let did: Did = text("did").parse().unwrap();
        let context = ContextName::new(text("context")).unwrap();
        let account = ContextHash::of(&did, &context).couch_user();
        let key = text("account_private_key");
        let key = SecretKey::from_secret_bytes(
            hex::decode(key.trim_start_matches("0x"))
                .unwrap()
                .try_into()
                .unwrap(),
        )
        .unwrap();
        let databases: Vec<Value> = FILES[..5].iter().map(|file| vector(file)).collect();
        let now = support::START;
        let put = |name: &str, security: Value, documents: BTreeMap<String, Value>| {
            couch.change(name, |database| {
                *database = Database::with(security, documents);
            });
        };
        for database in &databases {
            let mut documents = by_id(&database["design_documents"]);
            documents.extend(by_id(&database["documents"]));
            let name = database["databaseHash"].as_str().unwrap();
            put(name, database["security"].clone(), documents);
        }
        let registry = account.replacen('v', "c", 1);
        let security = databases[0]["security"].clone();
        put(&registry, security, by_id(&left["registry"]));
        // vectors/storage_node_probe.json: "_users doc".
        let id = format!("org.couchdb.user:{account}");
        let user = json!({
            "_id": id, "_rev": "1-619ddc8ef02d5f5d976f3f70808f771b", "password_scheme": "pbkdf2", "pbkdf2_prf": "sha256",
            "salt": "f25a6c7ef0dd2625caea5ab76c0a2bb8", "iterations": 600_000, "derived_key": "d29ffe78b7709e0d", "name": account,
            "type": "user", "roles": [], "storageLimit": 10_485_760,
        });
        let replicater = json!({
            "_id": "org.couchdb.user:r1", "_rev": "1-a", "name": "r1", "type": "user",
            "roles": [format!("r{}-replicater", &account[1..])],
        });
        let users = BTreeMap::from([(id, user), ("org.couchdb.user:r1".to_owned(), replicater)]);
        put("_users", Value::Null, users);
        let open = json!({"members": {"roles": ["_admin"]}, "admins": {"roles": ["_admin"]}});
        let device = device_of(&did, &context);
        let row = json!({
            "_id": "o".repeat(256), "_rev": "1-a", "deviceHash": device, "expiry": now + 2_592_000,
        });
        let index = json!({"_id": "_design/1", "_rev": "1-a", "language": "query", "views": {}});
        let tokens = BTreeMap::from([("o".repeat(256), row), ("_design/1".to_owned(), index)]);
        put("verida_refresh_tokens", open.clone(), tokens);
        let mut document = left["did_document"].clone();
        let id = format!("{}-0", did.lowercase());
        document["_id"] = id.as_str().into();
        document["_rev"] = "1-a".into();
        put(
            "verida_dids",
            open.clone(),
            BTreeMap::from([(id, document)]),
        );
        let creds = json!({"_id": "r2", "_rev": "1-a", "username": "r1", "password": "x"});
        let creds = BTreeMap::from([("r2".to_owned(), creds)]);
        put("verida_replicater_creds", open, creds);
        Self {
            couch,
            context,
            account,
            key,
            registry: left["registry"].clone(),
            databases,
            now,
            did,
        }
    }

    /// A token that the original gave out.
    fn token(&self, kind: &str) -> String {
        let did = self.did.lowercase();
        let (key, sub, life) = match kind {
            "access" => (ACCESS_KEY, self.account.as_str(), 600),
            _ => (REFRESH_KEY, did, 2_592_000),
        };
        let claims = json!({
            "id": "o".repeat(256), "did": did, "deviceId": "phone", "sub": sub, "contextName": self.context.as_str(), "type": kind,
            "iat": self.now, "exp": self.now + life,
        });
        token(key, &claims)
    }

    fn person(&self) -> Person {
        Person {
            key: self.key,
            did: self.did.clone(),
        }
    }

    /// Everything of this account that lies in CouchDB.
    fn kept(&self) -> Vec<(String, Value, BTreeMap<String, Value>)> {
        let hashes = self.databases.iter();
        let mut names: Vec<String> = hashes
            .map(|database| database["databaseHash"].as_str().unwrap().to_owned())
            .collect();
        names.push(self.account.replacen('v', "c", 1));
        names.push("_users".to_owned());
        names.push("verida_replicater_creds".to_owned());
        let kept = names.into_iter().map(|name| {
            let database = self.couch.database(&name).unwrap();
            (name, database.security, database.documents)
        });
        kept.collect()
    }
}

fn device_of(did: &Did, context: &ContextName) -> String {
    let text = format!("{}/{}/phone", did.lowercase(), context.as_str());
    to_hex(&keccak256(text.as_bytes()))
}

/// The claims of a token, if this key signed it.
fn claims(key: &str, text: &str) -> Value {
    let payload = text.split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    let mut parts = text.split('.');
    let head = URL_SAFE_NO_PAD.decode(parts.next().unwrap()).unwrap();
    let head: Value = serde_json::from_slice(&head).unwrap();
    assert_eq!(head["alg"], "HS256");
    let signed = text.rsplit_once('.').unwrap();
    assert_eq!(couch::signature(key, signed.0), signed.1);
    claims
}

#[tokio::test]
async fn a_context_of_the_original_goes_on_with_its_tokens_databases_and_rights() {
    let left = Left::by_the_original().await;
    let before = left.kept();
    let node = in_front_of(&left.couch).await;
    let client = node.client();
    // The access token that a client had in hand.
    let access = Credential::Bearer(left.token("access"));
    let mut documents = 0;
    for database in &left.databases {
        let db = format!("/{}", database["databaseHash"].as_str().unwrap());
        let info = client.send("GET", &db, &access, "").await;
        assert_eq!(info.expect(200).json()["db_name"], database["databaseHash"]);
        for kind in ["documents", "design_documents"] {
            for (id, document) in by_id(&database[kind]) {
                let path = format!("{db}/{}", id.replace('?', "%3F"));
                let told = client.send("GET", &path, &access, "").await;
                assert_eq!(told.expect(200).json(), document);
                documents += 1;
            }
        }
        let public = client.public().await;
        for credential in [&public, &Credential::None] {
            let status = client.send("GET", &db, credential, "").await.status;
            assert!([401, 403].contains(&status.as_u16()), "{status}");
        }
    }
    assert!(documents > 20, "{documents}");
    // And the refresh token.
    let refresh = left.token("refresh");
    let did = left.did.as_given();
    let with = |refresh: &str| json!({"refreshToken": refresh, "did": did, "contextName": left.context.as_str()});
    client
        .post("/auth/isTokenValid", &with(&refresh))
        .await
        .expect(200);
    let told = client.post("/auth/connect", &with(&refresh)).await;
    let fresh = told.expect(200).json()["accessToken"]
        .as_str()
        .unwrap()
        .to_owned();
    let session = Session {
        client,
        person: left.person(),
        context: left.context.clone(),
        access: Credential::Bearer(fresh),
        refresh: refresh.clone(),
    };
    let listed = session.post("/user/databases", &json!({})).await;
    let mut listed = listed.expect(200).json()["result"].take();
    let mut recorded = left.registry.clone();
    for list in [&mut listed, &mut recorded] {
        let rows = list.as_array_mut().unwrap();
        for row in rows.iter_mut() {
            let members = row.as_object_mut().unwrap();
            members.retain(|name, _| {
                ["did", "contextName", "databaseName", "databaseHash"].contains(&name.as_str())
            });
        }
        rows.sort_by_key(|row| row["databaseHash"].as_str().unwrap().to_owned());
    }
    assert_eq!(listed, recorded);
    let usage = session.post("/user/usage", &json!({})).await;
    let usage = usage.expect(200).json()["result"].take();
    assert_eq!(usage["storageLimit"], 10_485_760);
    assert_eq!(
        usage["databases"].as_u64(),
        Some(recorded.as_array().unwrap().len() as u64)
    );
    // Nothing of it was touched so far.
    assert_eq!(left.kept(), before);
    // Who logs in anew does so with the document that the original kept, into the same account.
    let session = left
        .person()
        .log_in_to(&client, left.context.as_str())
        .await;
    let email = format!("/{}", session.hash("social_email"));
    let written = session
        .put(&format!("{email}/new"), &json!({"payload": "AAAA"}))
        .await;
    written.expect(201);
    assert_eq!(
        left.couch.database("_users").unwrap().documents,
        before_of(&before, "_users")
    );
    // A device is taken its tokens, the original's among them.
    let text = adyton_protocol::consent::invalidate_device(&left.did, &left.context, "phone");
    let signature = session.person.sign(text.digest());
    let body = json!({"did": did, "contextName": left.context.as_str(), "deviceId": "phone", "signature": signature});
    client
        .post("/auth/invalidateDeviceId", &body)
        .await
        .expect(200);
    client
        .post("/auth/connect", &with(&refresh))
        .await
        .expect(401);
    assert_eq!(left.couch.undocumented(), Vec::<String>::new());
}

fn before_of(
    kept: &[(String, Value, BTreeMap<String, Value>)],
    name: &str,
) -> BTreeMap<String, Value> {
    kept.iter().find(|row| row.0 == name).unwrap().2.clone()
}

/// What the original would find of a database: its record, by which it lists and pings.
fn listed_by_the_original(couch: &Couch, session: &Session) -> Vec<Value> {
    let account = ContextHash::of(&session.person.did, &session.context).couch_user();
    let registry = couch.database(&account.replacen('v', "c", 1)).unwrap();
    let living = registry
        .documents
        .into_values()
        .filter(|document| document["_deleted"] != true);
    living.collect()
}

#[tokio::test]
async fn what_ours_wrote_is_the_originals_again() {
    let couch = Couch::start().await;
    let node: Node = in_front_of(&couch).await;
    let (owner, reader, stranger) = (
        node.session(1).await,
        node.session(2).await,
        node.session(3).await,
    );
    let did = |session: &Session| session.person.did.as_given().to_owned();
    let shared = json!({"read": "users", "write": "owner", "readList": [did(&reader)]});
    let mail = owner.database_with("mail", &shared).await;
    let wall = owner
        .database_with("wall", &json!({"read": "public", "write": "public"}))
        .await;
    owner
        .put(&format!("{mail}/x"), &json!({"payload": "AAAA"}))
        .await
        .expect(201);
    owner
        .put(&format!("{wall}/x"), &json!({"n": 1}))
        .await
        .expect(201);
    put_context(
        &node.client(),
        &Person::new(1),
        vec![format!("{}/", node.storage.public_url())],
        node.now(),
    )
    .await;
    node.storage.shutdown().await;

    // Clients go to CouchDB themselves, with the tokens that they have.
    let there = Client {
        address: couch.address,
    };
    let ask = async |method: &str, path: String, session: &Session, body: &str| {
        let answer = there.send(method, &path, &session.access, body.to_owned());
        answer.await.status.as_u16()
    };
    let document = format!("{mail}/x");
    assert_eq!(ask("GET", document.clone(), &owner, "").await, 200);
    assert_eq!(ask("GET", document.clone(), &reader, "").await, 200);
    assert_eq!(ask("GET", document, &stranger, "").await, 403);
    assert_eq!(ask("PUT", format!("{mail}/y"), &owner, "{}").await, 201);
    assert_eq!(ask("PUT", format!("{mail}/z"), &reader, "{}").await, 401);
    let public = Credential::Bearer(token(
        ACCESS_KEY,
        &json!({"sub": EVERYBODY, "exp": 2_000_000_000}),
    ));
    let read = there.send("GET", &format!("{wall}/x"), &public, "").await;
    assert_eq!(read.expect(200).json()["n"], 1);

    // The original knows the tokens: its keys, its claims, its rows.
    let Credential::Bearer(access) = &owner.access else {
        panic!("a token")
    };
    let access = claims(ACCESS_KEY, access);
    let account = ContextHash::of(&owner.person.did, &owner.context).couch_user();
    assert_eq!(access["sub"], account);
    assert_eq!(access["did"], owner.person.did.lowercase());
    assert_eq!(
        [&access["contextName"], &access["type"]],
        [support::CONTEXT, "access"]
    );
    assert!(access.get("_couchdb.roles").is_none());
    let refresh = claims(REFRESH_KEY, &owner.refresh);
    assert_eq!(refresh["sub"], owner.person.did.lowercase());
    assert_eq!(
        [&refresh["deviceId"], &refresh["type"]],
        ["test-device", "refresh"]
    );
    let tokens = couch.database("verida_refresh_tokens").unwrap().documents;
    let row = &tokens[refresh["id"].as_str().unwrap()];
    assert_eq!(row["expiry"], refresh["exp"]);
    let device = format!(
        "{}/{}/test-device",
        owner.person.did.lowercase(),
        support::CONTEXT
    );
    assert_eq!(row["deviceHash"], to_hex(&keccak256(device.as_bytes())));

    // And the account, its databases with their permissions, and the DID document with its versions.
    let users = couch.database("_users").unwrap().documents;
    let user = &users[&format!("org.couchdb.user:{account}")];
    assert!(user["storageLimit"].is_u64() && user["type"] == "user");
    let records = listed_by_the_original(&couch, &owner);
    let mut names: Vec<&str> = records
        .iter()
        .map(|record| record["databaseName"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["mail", "wall"]);
    for record in &records {
        assert_eq!(record["_id"], record["databaseHash"]);
        assert_eq!(record["contextName"], support::CONTEXT);
        assert!(couch.database(record["_id"].as_str().unwrap()).is_some());
    }
    let versions = couch.database("verida_dids").unwrap().documents;
    for version in 0..2 {
        let id = format!("{}-{version}", owner.person.did.lowercase());
        assert_eq!(versions[&id]["versionId"], version);
        assert_eq!(versions[&id]["id"], owner.person.did.lowercase());
    }
}

#[tokio::test]
async fn what_the_node_keeps_itself_is_checked_backed_up_and_put_back() {
    let couch = Couch::start().await;
    let node = in_front_of(&couch).await;
    let session = node.session(1).await;
    let db = session.database("mail").await;
    // Of a running one the databases are not this node's to copy.
    let to = tempfile::tempdir().unwrap();
    let refused = node.storage.backup(&to.path().join("now")).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("CouchDB"), "{refused}");
    node.storage.shutdown().await;
    let report = adyton_storage::check(node.dir.path()).unwrap();
    assert_eq!(report.faults, vec![]);
    let backup = to.path().join("backup");
    adyton_storage::back_up(node.dir.path(), &backup)
        .await
        .unwrap();
    let restored = tempfile::tempdir().unwrap();
    let data = restored.path().join("data");
    adyton_storage::restore(&backup, &data).unwrap();
    let mut config = adyton_storage::Config::new("127.0.0.1:0".parse().unwrap(), data);
    let choice = couch::config_of(&couch);
    config.store = adyton_storage::StoreChoice::Couch(Box::new(choice));
    let now = node.now;
    let clock = adyton_storage::Clock::from_fn(move || {
        let seconds = now.load(std::sync::atomic::Ordering::SeqCst);
        std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)
    });
    let storage = adyton_storage::Storage::start_with(config, clock, None)
        .await
        .unwrap();
    // The keys of tokens are the operator's, and so what was given out goes on counting.
    let client = Client {
        address: storage.address(),
    };
    let told = client.send("GET", &db, &session.access, "").await;
    told.expect(200);
}
