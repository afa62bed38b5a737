//! A context that the original client wrote into the original storage node, moved into ours as it was left, and read
//! through the whole chain: storage node, confidential node, REST API.
//!
//! The folder is `foreign_context` in the one named by `ADYTON_VECTORS` (default: the repository's copies). What lacks is
//! skipped and named.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout
)]

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;

use adyton_client::clock::Clock;
use adyton_client::database::Database;
use adyton_client::did_resolver::StorageNodeResolver;
use adyton_client::identity::open_context;
use adyton_client::pull::{Feed, PlainRow, Pull};
use adyton_client::session::Session;
use adyton_keys::account::Account;
use adyton_keys::context_session::ContextSession;
use adyton_protocol::context::ContextName;
use adyton_protocol::database::{DatabaseHash, DatabaseName, Permissions};
use adyton_protocol::did::{Did, Network};
use adyton_protocol::did_document::DidDocument;
use adyton_protocol::record_signature;
use serde_json::{Map, Value, json};
use support::{Person, World, key_at, raw_request};

/// What the original adds to a record when it saves it.
const ADDED: [&str; 5] = ["_rev", "schema", "signatures", "insertedAt", "modifiedAt"];

fn load(file: &str) -> Option<Value> {
    let folder = std::env::var_os("ADYTON_VECTORS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors")),
        PathBuf::from,
    );
    let path = folder.join("foreign_context").join(file);
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(serde_json::from_str(&text).unwrap_or_else(|e| panic!("{file}: {e}"))),
        Err(_) => {
            println!("skipped: {} is absent", path.display());
            None
        }
    }
}

/// The context as it lies in the files.
struct Foreign {
    account: Account,
    did: Did,
    network: Network,
    context: ContextName,
    document: DidDocument,
    databases: BTreeMap<String, Value>,
}

impl Foreign {
    fn read() -> Option<Self> {
        let context = load("context.json")?;
        let text = |name: &str| context[name].as_str().unwrap().to_owned();
        let network: Network = text("network").parse().unwrap();
        let account = Account::from_secret_text(&text("account_private_key"), network.anchor());
        let account = account.unwrap();
        let did: Did = text("did").parse().unwrap();
        assert_eq!(account.did(), &did);
        let document = DidDocument::verify(context["did_document"].clone(), &did).unwrap();
        let mut names: Vec<String> = context["registry"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["databaseName"].as_str().unwrap().to_owned())
            .collect();
        names.push(DatabaseName::registry().as_str().to_owned());
        let databases = names
            .into_iter()
            .filter_map(|name| Some((name.clone(), load(&format!("{name}.json"))?)))
            .collect();
        Some(Self {
            account,
            did,
            network,
            context: ContextName::new(text("context")).unwrap(),
            document,
            databases,
        })
    }

    /// Puts everything into a running storage node, and logs in.
    async fn move_into(&self, world: &World) -> ContextSession {
        let node = world.sandbox.storage_node().unwrap();
        node.put_did_document(&self.document).await.unwrap();
        let resolver = StorageNodeResolver::new(vec![node.clone()]);
        let opened = open_context(
            &self.account,
            self.network,
            &self.context,
            &[node],
            &resolver,
            &Clock::system(),
        )
        .await;
        // The document names the original's address; the session is for ours.
        let key = key_at(&opened.unwrap(), world.sandbox.storage_url());
        let session = ContextSession::parse_api_key(&key).unwrap();
        let sdk = self.open(world, &session).await;
        for (name, database) in &self.databases {
            let name = DatabaseName::new(name.as_str()).unwrap();
            let here = sdk.database(&name);
            assert_eq!(database["databaseHash"], here.hash().to_string());
            here.create(&Permissions::default()).await.unwrap();
            let documents: Vec<&Value> = ["design_documents", "documents"]
                .iter()
                .flat_map(|kind| database[*kind].as_array().unwrap())
                .collect();
            let person = Person {
                account: Account::from_secret_text(
                    &self.account.expose_private_key(),
                    self.network.anchor(),
                )
                .unwrap(),
                session: ContextSession::parse_api_key(&key).unwrap(),
            };
            let path = format!("{}/_bulk_docs", here.hash());
            let body = json!({ "docs": documents, "new_edits": false });
            let refused = person.raw(world, "POST", &path, &body).await;
            // Rules in JavaScript and lists of names are the original's way; ours may leave them.
            let security = database["security"].to_string();
            let token = &person.session.auths().next().unwrap().access_token;
            let path = format!("{}/_security", here.hash());
            let base = world.sandbox.storage_url();
            raw_request(base, "PUT", &path, token, security.into()).await;
            let refused: Vec<_> = refused
                .as_array()
                .unwrap()
                .iter()
                .filter(|row| !row["id"].as_str().unwrap().starts_with("_design/"))
                .cloned()
                .collect();
            assert!(refused.is_empty(), "{refused:?}");
        }
        session
    }

    async fn open(&self, world: &World, session: &ContextSession) -> Session {
        let transport = world.sandbox.transport().clone();
        let opened = Session::open(session, transport, Clock::system());
        opened.await.unwrap()
    }

    fn revision(&self, database: &str, id: &str) -> String {
        let documents = self.databases[database]["documents"].as_array().unwrap();
        let found = documents.iter().find(|document| document["_id"] == id);
        found.unwrap()["_rev"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn every_record_of_the_original_client_is_served_as_it_was_written() {
    let Some(foreign) = Foreign::read() else {
        return;
    };
    let world = World::start().await;
    let session = foreign.move_into(&world).await;
    let key = session.expose_api_key();
    let keyring = session.keyring().unwrap();
    let mut node = world.node().await;
    let mut compared = 0;
    for (name, database) in &foreign.databases {
        if name == DatabaseName::registry().as_str() {
            continue;
        }
        let plaintext = database["plaintext"].as_object().unwrap();
        let path = format!("/api/rest/v1/db/query/{name}");
        let body = json!({ "options": { "limit": 100_000 } });
        let answer = node.post(&path, &key, &body).await.ok();
        assert_eq!(answer["unreadable"], 0, "{name}");
        let items = answer["items"].as_array().unwrap();
        assert_eq!(items.len(), plaintext.len(), "{name}");
        for item in items {
            let id = item["_id"].as_str().unwrap();
            assert_eq!(item["_rev"], foreign.revision(name, id));
            assert_same_record(item, &plaintext[id]);
            let signature = record_signature::verify(
                item.as_object().unwrap(),
                &foreign.did,
                &foreign.context,
                keyring.sign_public_key(),
            );
            assert!(signature.is_some(), "{name}: {id}");
            compared += 1;
        }
        // By id, too, and through its schema.
        if let Some((id, record)) = plaintext.iter().next() {
            let path = format!("/api/rest/v1/db/get/{name}/{id}");
            assert_same_record(&node.get(&path, &key).await.ok()["item"], record);
            let datastore = name.replace('_', "-");
            let path = format!("/api/rest/v1/ds/get/{datastore}/{id}");
            assert_same_record(&node.get(&path, &key).await.ok()["item"], record);
        }
    }
    println!("compared {compared} records");
    let written: usize = foreign
        .databases
        .values()
        .map(|database| database["plaintext"].as_object().unwrap().len())
        .sum();
    assert_eq!(compared, written);
}

#[tokio::test]
async fn the_original_registry_of_databases_opens_and_agrees_with_them() {
    let Some(foreign) = Foreign::read() else {
        return;
    };
    if !foreign.databases.contains_key("storage_database") {
        return;
    }
    let world = World::start().await;
    let session = foreign.move_into(&world).await;
    let sdk = foreign.open(&world, &session).await;
    let registry = sdk.database(&DatabaseName::registry());
    let records = read_all(&registry).await;
    let recorded = foreign.databases["storage_database"]["documents"]
        .as_array()
        .unwrap();
    assert_eq!(records.len(), recorded.len());
    for record in records {
        let text = |name: &str| record[name].as_str().unwrap().to_owned();
        let name = DatabaseName::new(text("dbName")).unwrap();
        let hash = DatabaseHash::of(&foreign.did, &foreign.context, &name);
        assert_eq!(text("dbHash"), hash.to_string());
        assert_eq!(text("_id"), hash.to_string());
        let database_key = sdk.keyring().database_key(&name);
        assert_eq!(record["encryptionKey"]["key"], *database_key.expose_hex());
        let key = sdk.keyring().sign_public_key();
        assert!(record_signature::verify(&record, &foreign.did, &foreign.context, key).is_some());
    }
}

#[tokio::test]
async fn the_original_context_goes_on_with_our_node() {
    let Some(foreign) = Foreign::read() else {
        return;
    };
    let Some((name, database)) = foreign
        .databases
        .iter()
        .find(|(_, database)| !database["plaintext"].as_object().unwrap().is_empty())
    else {
        return;
    };
    let world = World::start().await;
    let session = foreign.move_into(&world).await;
    let key = session.expose_api_key();
    let mut node = world.node().await;
    let plaintext = database["plaintext"].as_object().unwrap();
    let id = plaintext.keys().next().unwrap();
    let path = format!("/api/rest/v1/db/{name}/{id}");
    let mut record = node
        .get(&format!("/api/rest/v1/db/get/{name}/{id}"), &key)
        .await
        .ok()["item"]
        .clone();
    record["name"] = "renamed".into();
    let body = json!({ "record": record }).to_string();
    let owner = [("x-api-key", key.as_str())];
    let saved = node.send("PUT", &path, &owner, body).await.ok();
    assert!(saved["result"]["rev"].as_str().unwrap().starts_with("2-"));

    // A second client, without the node, sees the same.
    let sdk = foreign.open(&world, &session).await;
    let records = read_all(&sdk.database(&DatabaseName::new(name.as_str()).unwrap())).await;
    let changed: Vec<_> = records.iter().filter(|r| r["name"] == "renamed").collect();
    assert_eq!(changed.len(), 1);
    assert_eq!(changed[0]["_id"], **id);
    assert_eq!(records.len(), plaintext.len());
}

/// Every recorded member is served, and nothing else but what the original adds.
#[track_caller]
fn assert_same_record(served: &Value, recorded: &Value) {
    let (served, recorded) = (served.as_object().unwrap(), recorded.as_object().unwrap());
    for (name, value) in recorded {
        assert_eq!(served.get(name), Some(value), "{name}");
    }
    for name in served.keys() {
        assert!(
            recorded.contains_key(name) || ADDED.contains(&name.as_str()),
            "{name}"
        );
    }
}

/// Pulls a database with the SDK.
async fn read_all(database: &Database<'_>) -> Vec<Map<String, Value>> {
    let feed = Feed::Snapshot { max_rows: 100_000 };
    let cipher = database.cipher().into();
    let mut pull = Pull::start(database, cipher, feed, 1).await.unwrap();
    let mut records = Vec::new();
    while let Some(batch) = pull.next().await {
        let batch = batch.unwrap();
        assert!(batch.faults.is_empty());
        let (bytes, rows) = batch.records.into_parts();
        for row in rows {
            if let PlainRow::Record { object, .. } = row {
                records.push(serde_json::from_slice(&bytes[object]).unwrap());
            }
        }
    }
    records
}
