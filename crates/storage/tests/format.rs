//! A node's directory as the first layout had it opens, for as long as that layout is read. (The number itself: `src/store/format.rs`.)
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use adyton_protocol::context::ContextName;
use adyton_protocol::database::{DatabaseHash, DatabaseName};
use adyton_storage::{Clock, Config, Storage, back_up, check};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use hmac::{Hmac, KeyInit, Mac};
use redb::{
    Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition, TableHandle,
};
use serde_json::json;
use sha2::Sha256;
use support::{Client, Node, Person, START, history};
use tempfile::TempDir;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format-1")
}

/// The one database's file, by its address.
fn database_file(data: &Path, db: &str) -> PathBuf {
    let name = db.trim_start_matches('/');
    data.join("databases")
        .join(&name[1..3])
        .join(format!("{name}.redb"))
}

/// Writes the fixture anew: for a new layout, into a new directory.
#[tokio::test]
#[ignore = "makes the fixture, once for each layout"]
async fn a_fixture_is_made() {
    let node = Node::start().await;
    let owner = node.session(1).await;
    let db = owner.database("fixture").await;
    let put = |path: &str, body| {
        let (owner, path) = (&owner, format!("{db}/{path}"));
        async move { owner.put(&path, &body).await.expect(201).json() }
    };
    let first = put("edited", json!({"n": 1})).await;
    put("edited", json!({"n": 2, "_rev": first["rev"]})).await;
    let gone = put("gone", json!({})).await;
    let tombstone = json!({"_rev": gone["rev"], "_deleted": true});
    let gone = owner.put(&format!("{db}/gone"), &tombstone).await;
    gone.expect(200);
    let data = json!({"a": {"content_type": "text/plain", "data": "aGVsbG8="}});
    put("attached", json!({"_attachments": data})).await;
    put("_local/checkpoint", json!({"seq": 7})).await;
    let docs = [
        history("conflict", 2, "ba", json!(1)),
        history("conflict", 2, "ca", json!(2)),
    ];
    let bulk = json!({"new_edits": false, "docs": docs});
    owner
        .post(&format!("{db}/_bulk_docs"), &bulk)
        .await
        .expect(201);
    let path = node.dir.path().to_owned();
    node.storage.shutdown().await;
    add_rows_of_other_nodes(&path.join("node.redb"));
    std::fs::create_dir_all(fixture()).unwrap();
    for (from, to) in [
        (path.join("node.redb"), "node.redb.gz"),
        (database_file(&path, &db), "database.redb.gz"),
    ] {
        let file = std::fs::File::create(fixture().join(to)).unwrap();
        let mut packed = GzEncoder::new(file, Compression::best());
        packed.write_all(&std::fs::read(from).unwrap()).unwrap();
        packed.finish().unwrap();
    }
}

/// What a node has that is a directory, and into which another one is let.
fn add_rows_of_other_nodes(node_file: &Path) {
    const BY_NAME: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("did_registrations");
    const PEERS: [TableDefinition<'_, (&str, &str), &[u8]>; 2] = [
        TableDefinition::new("peer_context_passwords"),
        TableDefinition::new("peer_kin"),
    ];
    let database = Database::open(node_file).unwrap();
    let transaction = database.begin_write().unwrap();
    let address = format!("0x{}", "ab".repeat(20));
    let registration = json!({
        "controller": address, "endpoints": ["https://a.example/"], "nonce": 1, "revoked": false,
    });
    let registration = registration.to_string();
    let mut rows = transaction.open_table(BY_NAME).unwrap();
    rows.insert(address.as_str(), registration.as_bytes())
        .unwrap();
    drop(rows);
    let row = json!({"password": vec![7; 32], "until": START}).to_string();
    for table in PEERS {
        let mut rows = transaction.open_table(table).unwrap();
        rows.insert(("a", "b"), row.as_bytes()).unwrap();
    }
    transaction.commit().unwrap();
}

/// A table of the same layout that came after the fixture: it is made when the file is opened.
fn add_replicated_account(node_file: &Path) {
    const REPLICATED: TableDefinition<'_, &str, ()> = TableDefinition::new("replicated_accounts");
    let database = Database::open(node_file).unwrap();
    let transaction = database.begin_write().unwrap();
    let mut rows = transaction.open_table(REPLICATED).unwrap();
    rows.insert("a", ()).unwrap();
    drop(rows);
    transaction.commit().unwrap();
}

/// The fixture's directory, and the address of the one database in it.
fn unpacked() -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let name = DatabaseName::new("fixture").unwrap();
    let context = ContextName::new(support::CONTEXT).unwrap();
    let db = format!(
        "/{}",
        DatabaseHash::of(&Person::new(1).did, &context, &name)
    );
    let file = database_file(dir.path(), &db);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    for (from, to) in [
        ("node.redb.gz", dir.path().join("node.redb")),
        ("database.redb.gz", file),
    ] {
        let mut bytes = Vec::new();
        let packed = std::fs::File::open(fixture().join(from)).unwrap();
        GzDecoder::new(packed).read_to_end(&mut bytes).unwrap();
        std::fs::write(to, bytes).unwrap();
    }
    (dir, db)
}

/// The tables of a file, and how many rows each has.
fn rows(path: &Path) -> BTreeMap<String, u64> {
    let database = Database::open(path).unwrap();
    let read = database.begin_read().unwrap();
    let tables = read.list_tables().unwrap().map(|table| {
        let name = table.name().to_owned();
        (name, read.open_untyped_table(table).unwrap().len().unwrap())
    });
    tables.collect()
}

/// The refresh token that the node's file knows, as the node signed it.
fn kept_token(node_file: &Path, person: &Person) -> String {
    const SECRETS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("secrets");
    const TOKENS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("refresh_tokens");
    let database = Database::open(node_file).unwrap();
    let read = database.begin_read().unwrap();
    let tokens = read.open_table(TOKENS).unwrap();
    let (id, row) = tokens.iter().unwrap().next().unwrap().unwrap();
    let row: serde_json::Value = serde_json::from_slice(row.value()).unwrap();
    assert_eq!(row.get("signer"), None);
    let claims = json!({
        "id": id.value(), "sub": person.did.lowercase(), "contextName": support::CONTEXT, "type": "refresh",
        "iat": START, "exp": row["expiry"],
    });
    let secrets = read.open_table(SECRETS).unwrap();
    let key = secrets.get("refresh_key").unwrap().unwrap();
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let mut mac = Hmac::<Sha256>::new_from_slice(key.value()).unwrap();
    mac.update(signed.as_bytes());
    let tag = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    format!("{signed}.{tag}")
}

#[tokio::test]
async fn a_backup_has_every_row_but_tokens_and_the_keys_that_make_them() {
    let (dir, db) = unpacked();
    add_replicated_account(&dir.path().join("node.redb"));
    let target = dir.path().join("backup");
    back_up(dir.path(), &target).await.unwrap();
    let database = rows(&database_file(dir.path(), &db));
    assert!(database.values().all(|rows| *rows > 0), "{database:?}");
    assert_eq!(rows(&database_file(&target, &db)), database);

    let mut node = rows(&dir.path().join("node.redb"));
    // The fixture is of before some tables: opening it added them, with what they must have.
    let device_or_used = |name: &str| {
        matches!(
            name,
            "device_tokens"
                | "used_auth_requests"
                | "accounts_without_databases"
                | "deleted_databases"
                | "deleted_did_documents"
        )
    };
    let any = |(name, rows): (&String, &u64)| *rows > 0 || device_or_used(name);
    assert!(node.iter().all(any), "{node:?}");
    for (table, left) in [
        ("secrets", 4),
        ("refresh_tokens", 0),
        ("account_tokens", 0),
        ("device_tokens", 0),
        ("expiries", 0),
        ("used_auth_requests", 0),
    ] {
        *node.get_mut(table).unwrap() = left;
    }
    assert_eq!(rows(&target.join("node.redb")), node);
}

#[tokio::test]
async fn a_directory_of_the_first_layout_opens_with_everything_that_is_in_it() {
    let (dir, db) = unpacked();
    let person = Person::new(1);
    let token = kept_token(&dir.path().join("node.redb"), &person);
    let report = check(dir.path()).unwrap();
    assert_eq!(
        (report.faults, report.notices.len(), report.databases),
        (vec![], 0, 1)
    );

    let config = Config::new("127.0.0.1:0".parse().unwrap(), dir.path().to_owned());
    let clock = Clock::from_fn(|| UNIX_EPOCH + Duration::from_secs(START));
    let storage = Storage::start_with(config, clock, None).await.unwrap();
    let client = Client {
        address: storage.address(),
    };
    // The DID document is there, or this would not be let in.
    let owner = Person::new(1).log_in(&client).await;
    // A token from before it was kept whose key made it.
    let connect = json!({
        "refreshToken": token, "did": person.did.as_given(), "contextName": support::CONTEXT,
    });
    client.post("/auth/connect", &connect).await.expect(200);
    let get = |path: &str| {
        let (owner, path) = (&owner, format!("{db}/{path}"));
        async move { owner.get(&path).await }
    };
    assert_eq!(get("edited").await.expect(200).json()["n"], 2);
    get("gone").await.expect(404);
    assert_eq!(get("attached/a").await.expect(200).text(), "hello");
    assert_eq!(get("_local/checkpoint").await.expect(200).json()["seq"], 7);
    let conflict = get("conflict?conflicts=true").await.expect(200).json();
    assert_eq!(conflict["_rev"], support::rev(2, 'c'));
    assert_eq!(conflict["_conflicts"], json!([support::rev(2, 'b')]));
    let changes = get("_changes").await.expect(200).json();
    assert_eq!(changes["results"].as_array().unwrap().len(), 4);
    owner
        .put(&format!("{db}/new"), &json!({}))
        .await
        .expect(201);
    storage.shutdown().await;
}
