//! The node in front of a CouchDB: the original's layout is kept, rights are judged by both, and nothing goes on that should not.
//!
//! What stands in for CouchDB here takes only what CouchDB 3.5 documents (`support/couch.rs`); `interop/js/src/couchdb.js` does
//! the same with express-pouchdb.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

#[path = "support/couch.rs"]
mod couch;
mod support;

use std::time::Duration;

use adyton_protocol::consent;
use adyton_protocol::context::{ContextHash, ContextName};
use adyton_protocol::hash::{keccak256, to_hex};
use adyton_storage::{Clock, Config, CouchConfig, Storage, StoreChoice};
use couch::{ACCESS_KEY, ADMIN, Couch, EVERYBODY, REFRESH_KEY, config_of, in_front_of, token};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use support::begun::{Begun, members_requests};
use support::{CONTEXT, Credential, Node, Person, Session};

async fn both() -> (Couch, Node) {
    let couch = Couch::start().await;
    let node = in_front_of(&couch).await;
    (couch, node)
}

fn account(session: &Session) -> String {
    ContextHash::of(&session.person.did, &session.context).couch_user()
}

/// The same account's registry.
fn registry(session: &Session) -> String {
    account(session).replacen('v', "c", 1)
}

#[tokio::test]
async fn accounts_databases_and_permissions_are_kept_as_the_original_keeps_them() {
    let (couch, node) = both().await;
    let session = node.session(1).await;
    let reader = Person::new(2).did;
    let shared = json!({"read": "users", "write": "public", "readList": [reader.as_given()]});
    let db = session.database_with("mail", &shared).await;
    // Once more changes nothing there.
    couch.heard();
    session.database_with("mail", &shared).await;
    let documents = |heard: &[couch::Heard]| {
        heard
            .iter()
            .filter(|heard| heard.method == "PUT" && heard.path.matches('/').count() > 1)
            .count()
    };
    assert_eq!(documents(&couch.heard()), 0);

    let name = account(&session);
    let user =
        couch.database("_users").unwrap().documents[&format!("org.couchdb.user:{name}")].clone();
    assert_eq!(
        [&user["name"], &user["type"]],
        [&json!(name), &json!("user")]
    );
    assert_eq!(user["roles"], json!([]));
    assert!(user["storageLimit"].is_u64() && user.get("password").is_none());

    let kept = couch.database(&session.hash("mail")).unwrap();
    let context = name.strip_prefix('v').unwrap();
    let role = format!("r{context}-replicater");
    let listed = ContextHash::of(&reader, &session.context).couch_user();
    assert_eq!(
        kept.security["admins"],
        json!({"names": [name], "roles": []})
    );
    let members = json!({"names": [name, listed, EVERYBODY], "roles": [role, "replicater-local"]});
    assert_eq!(kept.security["members"], members);
    for design in ["only_permit_write_users", "disable_public_delete"] {
        let function = &kept.documents[&format!("_design/{design}")]["validate_doc_update"];
        assert!(function.as_str().unwrap().contains(&role));
    }

    let record = couch.database(&registry(&session)).unwrap();
    assert_eq!(record.security["members"]["names"], json!([name]));
    let record = &record.documents[&session.hash("mail")];
    assert_eq!(record["did"], session.person.did.lowercase());
    assert_eq!(
        [&record["contextName"], &record["databaseName"]],
        [CONTEXT, "mail"]
    );
    assert_eq!(record["permissions"]["write"], "public");

    for own in ["verida_refresh_tokens", "verida_dids"] {
        let security = couch.database(own).unwrap().security;
        assert_eq!(
            security["members"],
            json!({"names": [], "roles": ["_admin"]})
        );
    }
    // Closed again: the function against deletions goes with what it was for.
    let body = json!({"databaseName": "mail", "options": {"permissions": {"read": "owner", "write": "owner"}}});
    session
        .post("/user/updateDatabase", &body)
        .await
        .expect(200);
    let kept = couch.database(&session.hash("mail")).unwrap();
    assert_eq!(kept.security["members"]["names"], json!([name]));
    assert_eq!(
        kept.documents["_design/disable_public_delete"]["_deleted"],
        true
    );

    let info = session
        .post("/user/databaseInfo", &json!({"databaseName": "mail"}))
        .await;
    assert_eq!(
        info.expect(200).json()["result"]["info"]["db_name"],
        session.hash("mail")
    );
    session
        .put(&format!("{db}/x"), &json!({}))
        .await
        .expect(201);
    session
        .post("/user/deleteDatabase", &json!({"databaseName": "mail"}))
        .await
        .expect(200);
    assert!(couch.database(&session.hash("mail")).is_none());
    session.get(&db).await.expect(404);
    let listed = session.post("/user/databases", &json!({})).await;
    assert_eq!(listed.expect(200).json()["result"], json!([]));
    assert_eq!(couch.undocumented(), Vec::<String>::new());
}

/// What somebody may do to a database: read, write, delete, write a design document.
async fn rights(client: &support::Client, credential: &Credential, db: &str, n: usize) -> [u16; 4] {
    let send = async |method: &str, path: String, body: &str| {
        let answer = client
            .send(method, &path, credential, body.to_owned())
            .await;
        answer.status.as_u16()
    };
    let id = format!("{db}/d{n}");
    let read = send("GET", db.to_owned(), "").await;
    let write = send("PUT", id.clone(), "{}").await;
    let held = client.send("GET", &id, credential, "").await;
    let rev = match held.status.as_u16() {
        200 => held.json()["_rev"].as_str().unwrap().to_owned(),
        _ => support::rev(1, 'a'),
    };
    let delete = send("DELETE", format!("{id}?rev={rev}"), "").await;
    let design = send("PUT", format!("{db}/_design/x{n}"), "{}").await;
    [read, write, delete, design]
}

#[tokio::test]
async fn rights_are_the_same_in_front_of_a_couchdb_and_in_front_of_files() {
    let mut found = Vec::new();
    for store in couch::stores().await {
        let node = &store.node;
        let client = node.client();
        let mut people = Vec::new();
        for seed in 1..=5 {
            people.push(node.session(seed).await);
        }
        let [owner, reader, writer, deleter, stranger] = &people[..] else {
            panic!("five people")
        };
        let public = client.public().await;
        let mut table = Vec::new();
        for (n, (read, write)) in [
            ("owner", "owner"),
            ("users", "users"),
            ("users", "owner"),
            ("public", "owner"),
            ("public", "users"),
            ("public", "public"),
            ("users", "public"),
        ]
        .into_iter()
        .enumerate()
        {
            let list = |session: &Session| json!([session.person.did.as_given()]);
            let permissions = json!({
                "read": read, "write": write, "readList": list(reader),
                "writeList": list(writer), "deleteList": list(deleter),
            });
            let db = owner.database_with(&format!("db{n}"), &permissions).await;
            let credentials = [
                &owner.access,
                &reader.access,
                &writer.access,
                &deleter.access,
                &stranger.access,
                &public,
                &Credential::None,
            ];
            for (m, credential) in credentials.into_iter().enumerate() {
                let rights = rights(&client, credential, &db, m).await;
                table.push((read, write, m, rights));
            }
        }
        found.push(table);
        store.is_documented();
    }
    let [files, couch_db] = &found[..] else {
        panic!("two stores")
    };
    for (one, other) in files.iter().zip(couch_db) {
        assert_eq!(one, other);
    }
}

#[tokio::test]
async fn a_bulk_write_passes_what_is_allowed_and_tells_of_the_rest() {
    let (couch, node) = both().await;
    let (owner, writer) = (node.session(1).await, node.session(2).await);
    let permissions = json!({
        "read": "owner", "write": "users", "writeList": [writer.person.did.as_given()],
    });
    let db = owner.database_with("shared", &permissions).await;
    let docs =
        json!([{"_id": "a"}, {"_id": "_design/x"}, {"_id": "b", "_unknown": 1}, {"_id": "c"}]);
    couch.heard();
    let told = writer
        .post(&format!("{db}/_bulk_docs"), &json!({ "docs": docs }))
        .await;
    let told = told.expect(201).json();
    assert_eq!([&told[0]["id"], &told[3]["id"]], ["a", "c"]);
    assert_eq!(
        told[1],
        json!({
            "id": "_design/x", "error": "unauthorized", "reason": "You are not a db or server admin.",
        })
    );
    assert_eq!(told[2]["error"], "doc_validation");
    let sent = couch.heard();
    let bulk = sent
        .iter()
        .find(|heard| heard.path.ends_with("_bulk_docs"))
        .unwrap();
    assert_eq!(bulk.as_whom, Some(account(&writer)));
    let body: Value = serde_json::from_str(&bulk.body).unwrap();
    assert_eq!(
        body,
        json!({"new_edits": true, "docs": [{"_id": "a"}, {"_id": "c"}]})
    );
    // What is allowed as a whole goes on as it came.
    let whole = json!({"docs": [{"_id": "d"}, {"_id": "e"}], "more": 1});
    let told = writer.post(&format!("{db}/_bulk_docs"), &whole).await;
    assert_eq!(told.expect(201).json()[1]["id"], "e");
    let sent = couch.heard();
    let bulk = sent
        .iter()
        .find(|heard| heard.path.ends_with("_bulk_docs"))
        .unwrap();
    assert_eq!(serde_json::from_str::<Value>(&bulk.body).unwrap(), whole);
    // Of history only refusals are told.
    let history =
        json!({"new_edits": false, "docs": [{"_id": "_design/x", "_rev": support::rev(1, 'a')}]});
    let told = writer.post(&format!("{db}/_bulk_docs"), &history).await;
    assert_eq!(told.expect(201).json()[0]["id"], "_design/x");
    assert!(
        couch
            .heard()
            .iter()
            .all(|heard| !heard.path.ends_with("_bulk_docs"))
    );
}

#[tokio::test]
async fn nothing_of_a_caller_goes_on_but_what_is_on_a_list() {
    let (couch, node) = both().await;
    let session = node.session(1).await;
    let db = session.database("mail").await;
    session
        .put(&format!("{db}/x"), &json!({}))
        .await
        .expect(201);
    couch.heard();
    let Credential::Bearer(own) = &session.access else {
        panic!("a token")
    };
    let headers = [
        ("cookie", "AuthSession=y"),
        ("x-auth-couchdb-username", "admin"),
        ("if-none-match", "\"1-0\""),
    ];
    let path = format!(
        "{db}/x?batch=ok&rev={}",
        "1-00000000000000000000000000000001"
    );
    let answer = session.get_with(&path, &headers).await;
    for name in ["set-cookie", "location", "server"] {
        assert!(answer.headers.get(name).is_none(), "{name}");
    }
    assert!(answer.headers.get("etag").is_some());
    let heard = couch.heard();
    let passed = heard
        .iter()
        .find(|heard| heard.path.ends_with("/x"))
        .unwrap();
    assert_eq!(passed.as_whom, Some(account(&session)));
    assert!(passed.headers.get("if-none-match").is_some());
    assert!(!passed.query.contains("batch"));
    for name in ["cookie", "x-auth-couchdb-username"] {
        assert!(passed.headers.get(name).is_none(), "{name}");
    }
    for heard in &heard {
        let credential = heard.headers["authorization"].to_str().unwrap();
        assert!(!credential.contains(own.as_str()));
        // The way to a path that was never understood.
        assert!(!heard.path.contains("..") && !heard.query.contains("authorization"));
    }
    // What CouchDB is asked with opens nothing here.
    let acting = passed.headers["authorization"].to_str().unwrap().to_owned();
    session
        .client
        .send("GET", &db, &Credential::Raw(acting), "")
        .await
        .expect(400);

    // A redirection is not followed, and not passed on.
    couch.instead(Some((302, "http://elsewhere.example/")));
    let answer = session.get(&format!("{db}/x")).await;
    assert_eq!(answer.status, 500);
    assert!(answer.headers.get("location").is_none());
    couch.instead(None);

    // Somebody without rights is nobody whom CouchDB hears of.
    let stranger = node.session(2).await;
    couch.heard();
    stranger.get(&format!("{db}/_all_docs")).await.expect(403);
    assert!(
        couch
            .heard()
            .iter()
            .all(|heard| heard.as_whom.as_deref() == Some(ADMIN.0) && heard.method == "GET")
    );
    // What CouchDB keeps for its admins nobody does through the node.
    let purge = json!({"x": [support::rev(1, 'a')]});
    session
        .post(&format!("{db}/_purge"), &purge)
        .await
        .expect(401);
    session
        .post(&format!("{db}/_compact"), &json!({}))
        .await
        .expect(202);
    stranger
        .post(&format!("{db}/_compact"), &json!({}))
        .await
        .expect(403);
    couch.heard();
    // Nothing runs the code of a design document.
    session
        .get(&format!("{db}/_design/x/_view/y"))
        .await
        .expect(404);
    session
        .get(&format!("{db}/_changes?filter=x/y"))
        .await
        .expect(400);
    assert!(
        couch
            .heard()
            .iter()
            .all(|heard| !heard.path.contains("_design") && !heard.path.contains("_changes"))
    );
}

#[tokio::test]
async fn tokens_of_the_original_go_on_counting_and_ours_are_kept_beside_them() {
    let (couch, node) = both().await;
    let session = node.session(1).await;
    let db = session.database("mail").await;
    let (did, now) = (session.person.did.lowercase().to_owned(), node.now());
    let claims = |kind: &str, key: &str| {
        token(
            key,
            &json!({
                "id": "o".repeat(256), "did": did, "contextName": CONTEXT, "type": kind, "iat": now, "exp": now + 60,
                "sub": if kind == "access" { account(&session) } else { did.clone() },
            }),
        )
    };
    let access = Credential::Bearer(claims("access", ACCESS_KEY));
    session
        .client
        .send("GET", &db, &access, "")
        .await
        .expect(200);
    let refresh = claims("refresh", REFRESH_KEY);
    let connect =
        |refresh: &str| json!({"refreshToken": refresh, "did": did, "contextName": CONTEXT});
    let client = session.client;
    client
        .post("/auth/connect", &connect(&refresh))
        .await
        .expect(401);
    couch.change("verida_refresh_tokens", |tokens| {
        let row =
            json!({"_id": "o".repeat(256), "_rev": "1-a", "deviceHash": "0x0", "expiry": now + 60});
        tokens.documents.insert("o".repeat(256), row);
    });
    client
        .post("/auth/connect", &connect(&refresh))
        .await
        .expect(200);

    let replaced = client
        .post("/auth/regenerateRefreshToken", &connect(&refresh))
        .await;
    let fresh = replaced.expect(200).json()["refreshToken"]
        .as_str()
        .unwrap()
        .to_owned();
    client
        .post("/auth/connect", &connect(&refresh))
        .await
        .expect(401);
    client
        .post("/auth/connect", &connect(&fresh))
        .await
        .expect(200);

    // All tokens of a device go at once.
    let device = to_hex(&keccak256(
        format!("{did}/{CONTEXT}/test-device").as_bytes(),
    ));
    let of_device = |couch: &Couch| {
        let tokens = couch.database("verida_refresh_tokens").unwrap().documents;
        tokens
            .values()
            .filter(|row| row["deviceHash"] == device && row["_deleted"] != true)
            .count()
    };
    Person::new(1).log_in(&client).await;
    assert_eq!(of_device(&couch), 2);
    let context = ContextName::new(CONTEXT).unwrap();
    let text = consent::invalidate_device(&session.person.did, &context, "test-device");
    let signature = session.person.sign(text.digest());
    let body = json!({"did": did, "contextName": CONTEXT, "deviceId": "test-device", "signature": signature});
    client
        .post("/auth/invalidateDeviceId", &body)
        .await
        .expect(200);
    assert_eq!(of_device(&couch), 0);
    client
        .post("/auth/connect", &connect(&session.refresh))
        .await
        .expect(401);
    assert_eq!(couch.undocumented(), Vec::<String>::new());
}

#[tokio::test]
async fn a_challenge_is_answered_once_and_users_are_limited() {
    let couch = Couch::start().await;
    let choice = StoreChoice::Couch(Box::new(config_of(&couch)));
    let node = Node::with_config(|config| {
        config.store = choice;
        config.limits.accounts = 1;
    })
    .await;
    let person = node.person(1).await;
    let client = node.client();
    let challenge = person.challenge(&client, CONTEXT).await;
    person
        .answer_challenge(&client, CONTEXT, &challenge)
        .await
        .expect(200);
    person
        .answer_challenge(&client, CONTEXT, &challenge)
        .await
        .expect(401);
    let other = node.person(2).await;
    let challenge = other.challenge(&client, CONTEXT).await;
    let full = other.answer_challenge(&client, CONTEXT, &challenge).await;
    assert_eq!(
        full.expect(500).json()["message"],
        "Maximum user limit reached"
    );
}

#[tokio::test]
async fn did_documents_are_kept_version_by_version() {
    for store in couch::stores().await {
        let node = &store.node;
        let (person, client) = (Person::new(1), node.client());
        let path = format!("/did/{}", person.did.lowercase());
        let put = async |version: u64| {
            let time = time::OffsetDateTime::from_unix_timestamp(
                i64::try_from(node.now() + version).unwrap(),
            );
            let format = time::format_description::well_known::Rfc3339;
            let changes =
                json!({"versionId": version, "updated": time.unwrap().format(&format).unwrap()});
            let document = person.document_with(node.now(), &changes);
            let method = if version == 0 { "POST" } else { "PUT" };
            let body = json!({ "document": document }).to_string();
            (
                client.send(method, &path, &Credential::None, body).await,
                document,
            )
        };
        for version in 0..20 {
            put(version).await.0.expect(200);
        }
        put(0).await.0.expect(400);
        put(21).await.0.expect(400);
        let newest = client.get(&path).await.expect(200).json()["data"].clone();
        assert_eq!(newest, put(19).await.1);
        assert_eq!(newest["versionId"], 19);
        let all = client.get(&format!("{path}?allVersions=true")).await;
        let all = all.expect(200).json()["data"]["versions"].clone();
        let versions: Vec<u64> = all
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["versionId"].as_u64().unwrap())
            .collect();
        assert_eq!(versions, (0..20).collect::<Vec<_>>());
        let reserved = person.document_with(node.now(), &json!({"versionId": 20, "_x": 1}));
        let refused = client.send(
            "PUT",
            &path,
            &Credential::None,
            json!({"document": reserved}).to_string(),
        );
        refused.await.expect(400);
        let text = consent::delete_did_document(&person.did, (node.now() + 30) / 60);
        let signature = person.sign(text.digest());
        let headers = [("signature", signature.as_str())];
        let deleted = client.open_with("DELETE", &path, &Credential::None, &headers, "");
        assert_eq!(deleted.await.status(), 200);
        client.get(&path).await.expect(404);
        node.pass(20);
        put(0).await.0.expect(200);
        assert_eq!(
            client.get(&path).await.expect(200).json()["data"]["versionId"],
            0
        );
        store.is_documented();
    }
}

#[tokio::test]
async fn what_an_account_writes_into_its_registry_gives_it_nothing_of_others() {
    let (couch, node) = both().await;
    let (victim, liar) = (node.session(1).await, node.session(2).await);
    let db = victim.database("mail").await;
    liar.database("own").await;
    // As the owner of its registry, past this node.
    let hash = victim.hash("mail");
    couch.change(&registry(&liar), |registry| {
        let lie = json!({
            "_id": hash, "_rev": "1-a", "did": liar.person.did.lowercase(), "contextName": CONTEXT,
            "databaseName": "mail", "databaseHash": hash, "permissions": {"read": "public", "write": "public"},
        });
        registry.documents.insert(hash.clone(), lie);
        let stolen = json!({
            "_id": "vx", "_rev": "1-a", "did": victim.person.did.lowercase(), "contextName": CONTEXT,
            "databaseName": "mail", "databaseHash": hash, "permissions": {"read": "public", "write": "public"},
        });
        registry.documents.insert("vx".to_owned(), stolen);
    });
    let listed = liar
        .post("/user/databases", &json!({}))
        .await
        .expect(200)
        .json();
    assert_eq!(listed["result"].as_array().unwrap().len(), 1);
    liar.get(&db).await.expect(403);
    let gone = liar
        .post("/user/deleteDatabases", &json!({}))
        .await
        .expect(200)
        .json();
    assert_eq!(gone["results"], json!(["own"]));
    victim.get(&db).await.expect(200);
}

#[tokio::test]
async fn an_account_that_is_full_writes_no_more() {
    let (couch, node) = both().await;
    let session = node.session(1).await;
    let db = session.database("mail").await;
    let mut revs = Vec::new();
    for id in ["a", "b", "c", "d", "e"] {
        let written = session.put(&format!("{db}/{id}"), &json!({})).await;
        revs.push(written.expect(201).json()["rev"].clone());
    }
    couch.change(&session.hash("mail"), |mail| mail.file_bytes = 1_000);
    couch.change("_users", |users| {
        let user = users
            .documents
            .get_mut(&format!("org.couchdb.user:{}", account(&session)));
        user.unwrap()["storageLimit"] = 1_000.into();
    });
    let usage = session
        .post("/user/usage", &json!({}))
        .await
        .expect(200)
        .json();
    let usage = &usage["result"];
    assert_eq!(
        [&usage["bytes"], &usage["storageLimit"], &usage["databases"]],
        [1_000, 1_000, 1]
    );
    session
        .put(&format!("{db}/x"), &json!({}))
        .await
        .expect(507);
    session
        .post(
            &format!("{db}/_bulk_docs"),
            &json!({"docs": [{"_id": "x"}]}),
        )
        .await
        .expect(507);
    session.get(&db).await.expect(200);
    // What is there may be deleted, in whatever way.
    let path = format!("{db}/a?rev={}", revs[0].as_str().unwrap());
    session
        .client
        .send("DELETE", &path, &session.access, "")
        .await
        .expect(200);
    let tombstone = json!({"_deleted": true, "_rev": revs[1]});
    let path = format!("{db}/b");
    let as_history = format!("{path}?new_edits=false");
    session.put(&as_history, &tombstone).await.expect(507);
    let deleted = session.put(&path, &tombstone).await.status;
    assert!(deleted.is_success(), "{deleted}");
    let more = |more: &str| json!({"_id": "c", "_deleted": true, "_rev": revs[2], "more": more});
    let bulk = format!("{db}/_bulk_docs");
    let large = json!({"docs": [more(&"x".repeat(2_000))]});
    session.post(&bulk, &large).await.expect(507);
    let small = json!({"docs": [more("")]});
    session.post(&bulk, &small).await.expect(201);
    // Also by a replicator: what ends something goes on, and beside what does not, the request is refused as a whole.
    let history = |id: &str, base: &Value| {
        let base = base.as_str().unwrap().trim_start_matches("1-");
        let revisions = json!({"start": 2, "ids": ["f".repeat(32), base]});
        json!({"_id": id, "_deleted": true, "_revisions": revisions})
    };
    let push = |docs: Value| json!({"docs": docs, "new_edits": false});
    let d = push(json!([history("d", &revs[3])]));
    let lines = session.post(&bulk, &d).await.expect(201).json();
    assert_eq!(lines, json!([]));
    let unknown = push(json!([history("e", &revs[3])]));
    session.post(&bulk, &unknown).await.expect(507);
    let fresh = json!({"_id": "y", "_rev": format!("1-{}", "a".repeat(32))});
    let both = push(json!([fresh, history("e", &revs[4])]));
    session.post(&bulk, &both).await.expect(507);
    let kept = couch.database(&session.hash("mail")).unwrap().documents;
    assert_eq!(
        [&kept["d"]["_deleted"], &kept["e"]["_deleted"]],
        [true, true]
    );
    assert!(!kept.contains_key("y"));
    // Readers' checkpoints are kept.
    let checkpoint = format!("{db}/_local/c");
    let small = json!({"last_seq": "1-x"});
    session.put(&checkpoint, &small).await.expect(201);
    let large = json!({"last_seq": "x".repeat(33 << 10)});
    session.put(&checkpoint, &large).await.expect(507);
    // What only deletes one needs no room, whatever it says besides.
    let gone = json!({"_rev": "0-1", "_deleted": true, "was": "x".repeat(33 << 10)});
    let deleted = session.put(&checkpoint, &gone).await.status;
    assert!(deleted.is_success(), "{deleted}");
    let body = json!({"databaseName": "more"});
    session
        .post("/user/createDatabase", &body)
        .await
        .expect(400);
}

#[tokio::test]
async fn while_couchdb_is_away_everybody_is_told_and_nothing_is_lost() {
    let (mut couch, node) = both().await;
    let session = node.session(1).await;
    let db = session.database("mail").await;
    session
        .put(&format!("{db}/x"), &json!({"n": 1}))
        .await
        .expect(201);
    couch.go_away().await;
    let told = session.get(&format!("{db}/x")).await;
    assert_eq!(told.expect(503).json()["error"], "service_unavailable");
    session
        .put(&format!("{db}/y"), &json!({}))
        .await
        .expect(503);
    let told = session
        .post("/user/createDatabase", &json!({"databaseName": "more"}))
        .await;
    assert_eq!(told.expect(503).json()["status"], "fail");
    let refresh = json!({
        "refreshToken": session.refresh, "did": session.person.did.as_given(), "contextName": CONTEXT,
    });
    // Not "no such token": a client would throw it away.
    session
        .client
        .post("/auth/connect", &refresh)
        .await
        .expect(503);
    session.client.get("/status").await.expect(503);
    session
        .client
        .get(&format!("/did/{}", session.person.did.lowercase()))
        .await
        .expect(503);
    couch.come_back().await;
    assert_eq!(
        session.get(&format!("{db}/x")).await.expect(200).json()["n"],
        1
    );
    session
        .client
        .post("/auth/connect", &refresh)
        .await
        .expect(200);
    session.database("more").await;
    // A cluster that has lost its quorum says so with a status.
    couch.instead(Some((500, "/")));
    session.get(&format!("{db}/x")).await.expect(503);
}

/// Whether a feed ended in order, within a while.
async fn ended(mut feed: http::Response<hyper::body::Incoming>) -> bool {
    let end = async {
        loop {
            match feed.body_mut().frame().await {
                None => return true,
                Some(Err(_)) => return false,
                Some(Ok(_)) => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), end)
        .await
        .expect("the feed goes on")
}

#[tokio::test]
async fn a_feed_ends_with_its_token_and_with_the_right_to_read() {
    let (couch, node) = both().await;
    let (owner, reader) = (node.session(1).await, node.session(2).await);
    let permissions =
        json!({"read": "users", "write": "owner", "readList": [reader.person.did.as_given()]});
    let db = owner.database_with("mail", &permissions).await;
    let open = async |kind: &str| {
        let path = format!("{db}/_changes?feed={kind}&heartbeat=1000&since=0");
        reader.client.open("GET", &path, &reader.access, "").await
    };
    let (endless, longpoll) = (open("continuous").await, open("longpoll").await);
    assert_eq!([endless.status(), longpoll.status()], [200, 200]);
    let body = json!({"databaseName": "mail", "options": {"permissions": {"read": "owner", "write": "owner"}}});
    owner.post("/user/updateDatabase", &body).await.expect(200);
    assert!(ended(endless).await);
    // A client that polls must not take this for an answer.
    assert!(!ended(longpoll).await);
    reader.get(&db).await.expect(403);

    owner.database_with("mail", &permissions).await;
    node.pass(599);
    let feed = open("continuous").await;
    assert_eq!(feed.status(), 200);
    assert!(ended(feed).await);
    // One without signs of life ends by itself in time.
    couch.heard();
    reader
        .get(&format!("{db}/_changes?feed=longpoll&timeout=60000"))
        .await
        .expect(200);
    let heard = couch.heard();
    let feed = heard
        .iter()
        .find(|heard| heard.path.ends_with("_changes"))
        .unwrap();
    assert_eq!(feed.query, "feed=longpoll&timeout=1000");
}

#[tokio::test]
async fn a_right_that_ends_while_a_body_comes_passes_nothing_on() {
    let (couch, node) = both().await;
    let (owner, member) = (node.session(1).await, node.session(2).await);
    let did = member.person.did.as_given();
    let shared = json!({"read": "users", "write": "users", "readList": [did], "writeList": [did], "deleteList": [did]});
    let db = owner.database_with("mail", &shared).await;
    let begin = async |session: &Session| {
        let mut begun = Vec::new();
        for row in members_requests() {
            begun.push(Begun::new(session.client, &session.access, &db, row).await);
        }
        begun
    };
    let all_are_refused = async |begun: Vec<Begun>, expected: u16| {
        couch.heard();
        for request in begun {
            let (status, answer, row) = request.finish().await;
            assert_eq!(status, expected, "{row}: {answer}");
        }
        // CouchDB was asked for rights, and for nothing as anybody else.
        for heard in couch.heard() {
            assert_eq!(heard.as_whom.as_deref(), Some(ADMIN.0), "{}", heard.path);
        }
    };
    let begun = begin(&member).await;
    let body = json!({"databaseName": "mail", "options": {"permissions": {"read": "owner", "write": "owner"}}});
    owner.post("/user/updateDatabase", &body).await.expect(200);
    all_are_refused(begun, 403).await;

    let begun = begin(&owner).await;
    node.pass(7_200);
    all_are_refused(begun, 401).await;
}

#[tokio::test]
async fn an_answer_is_broken_off_when_its_reader_may_not_read_any_more() {
    let (couch, node) = both().await;
    let (owner, reader) = (node.session(1).await, node.session(2).await);
    let did = reader.person.did.as_given();
    let shared = json!({"read": "users", "write": "owner", "readList": [did]});
    let db = owner.database_with("mail", &shared).await;
    // More than lies on the way.
    let text = "x".repeat(48 << 20);
    couch.change(&owner.hash("mail"), |mail| {
        let big = json!({"_id": "big", "_rev": support::rev(1, 'a'), "text": text});
        mail.documents.insert("big".to_owned(), big);
    });
    let path = format!("{db}/big");
    let open = async || reader.client.open("GET", &path, &reader.access, "").await;
    assert!(ended(open().await).await);
    let slow = open().await;
    assert_eq!(slow.status(), 200);
    let body = json!({"databaseName": "mail", "options": {"permissions": {"read": "owner", "write": "owner"}}});
    owner.post("/user/updateDatabase", &body).await.expect(200);
    assert!(!ended(slow).await);
}

#[tokio::test]
async fn open_feeds_of_one_caller_are_bounded_in_front_of_a_couchdb() {
    let couch = Couch::start().await;
    let choice = StoreChoice::Couch(Box::new(config_of(&couch)));
    let node = Node::with_config(|config| {
        config.store = choice;
        config.limits.feeds_per_caller = 1;
    })
    .await;
    let (owner, other) = (node.session(1).await, node.session(2).await);
    let (db, others) = (owner.database("mail").await, other.database("mail").await);
    let open = async |session: &Session, db: &str| {
        let path = format!("{db}/_changes?feed=continuous&heartbeat=1000");
        let answer = session.client.open("GET", &path, &session.access, "");
        answer.await
    };
    let first = open(&owner, &db).await;
    assert_eq!(first.status(), 200);
    assert_eq!(open(&owner, &db).await.status(), 503);
    assert_eq!(open(&other, &others).await.status(), 200);
    // Who only reads does not wait, and is answered.
    owner.get(&format!("{db}/_changes")).await.expect(200);
    drop(first);
    let opened = async {
        while open(&owner, &db).await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), opened)
        .await
        .expect("a feed that ended still counts");
}

#[tokio::test]
async fn checkpoints_of_readers_are_few_and_small() {
    let couch = Couch::start().await;
    let choice = StoreChoice::Couch(Box::new(config_of(&couch)));
    let node = Node::with_config(|config| {
        config.store = choice;
        config.limits.local_documents_for_readers = 1;
        config.limits.reader_local_bytes = 100;
    })
    .await;
    let (owner, reader) = (node.session(1).await, node.session(2).await);
    let db = owner
        .database_with("mail", &json!({"read": "public", "write": "owner"}))
        .await;
    let put = async |id: &str, bytes: usize| {
        let body = json!({ "at": "x".repeat(bytes) });
        reader
            .put(&format!("{db}/_local/{id}"), &body)
            .await
            .status
            .as_u16()
    };
    assert_eq!(put("a", 10).await, 201);
    assert_eq!(put("a", 200).await, 413);
    assert_eq!(put("b", 10).await, 403);
    // Who reads is the owner's to list.
    reader.get(&format!("{db}/_local_docs")).await.expect(401);
    owner.get(&format!("{db}/_local_docs")).await.expect(200);
}

#[tokio::test]
async fn clients_of_the_original_are_sent_to_couchdb_itself_when_it_is_open_to_them() {
    let couch = Couch::start().await;
    let mut config = config_of(&couch);
    config.public_url = Some("https://couch.example:6984".to_owned());
    let choice = StoreChoice::Couch(Box::new(config));
    let node = Node::with_config(|config| config.store = choice).await;
    let person = node.person(1).await;
    let client = node.client();
    let challenge = person.challenge(&client, CONTEXT).await;
    let tokens = person
        .answer_challenge(&client, CONTEXT, &challenge)
        .await
        .expect(200)
        .json();
    assert_eq!(tokens["host"], "https://couch.example:6984");
    let public = client.get("/auth/public").await.expect(200).json();
    let dsn = "https://everybody:everybody's word@couch.example:6984";
    assert_eq!(public["user"]["dsn"], dsn);
    let users = couch.database("_users").unwrap();
    assert_eq!(
        users.documents["org.couchdb.user:everybody"]["roles"],
        json!([])
    );
    // Other nodes push to this one, which knows their passwords.
    let status = client.get("/status").await.expect(200).json();
    assert_eq!(status["results"]["couchUri"], node.storage.public_url());
}

#[tokio::test]
async fn a_node_does_not_start_in_front_of_a_couchdb_that_would_not_take_its_tokens() {
    let couch = Couch::start().await;
    let refused = async |change: fn(&mut CouchConfig)| {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config::new("127.0.0.1:0".parse().unwrap(), directory.path().to_owned());
        let mut choice = config_of(&couch);
        change(&mut choice);
        config.store = StoreChoice::Couch(Box::new(choice));
        let error = Storage::start_with(config, Clock::system(), None)
            .await
            .unwrap_err();
        error.to_string()
    };
    let wrong_key = refused(|config| config.access_key = "another access key".to_owned()).await;
    assert!(wrong_key.contains("jwt_keys"), "{wrong_key}");
    let wrong_word = refused(|config| config.admin.1 = "wrong".to_owned()).await;
    assert!(wrong_word.contains("the admin"), "{wrong_word}");
    let away = refused(|config| config.url = "http://127.0.0.1:1/".parse().unwrap()).await;
    assert!(away.contains("cannot be reached"), "{away}");
}
