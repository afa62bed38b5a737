//! Databases: made, listed, described, changed, deleted; and what an account may keep.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::path::PathBuf;
use std::time::Duration;

use adyton_storage::Limits;
use serde_json::{Value, json};
use support::{Credential, Node, Session};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

async fn call(session: &Session, name: &str, body: Value) -> support::Answer {
    session.post(&format!("/user/{name}"), &body).await
}

#[tokio::test]
async fn a_database_is_made_listed_described_and_deleted() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("mail").await;
    // Making it again changes nothing but its permissions.
    session
        .put(&format!("{db}/x"), &json!({}))
        .await
        .expect(201);
    let shared = json!({"read": "users", "write": "owner", "readList": ["did:vda:polamoy:0x1111111111111111111111111111111111111111"]});
    session.database_with("mail", &shared).await;
    session.get(&format!("{db}/x")).await.expect(200);
    // A token that has run out is no lock-out.
    let refresh = json!({
        "refreshToken": session.refresh, "did": session.person.did.as_given(), "contextName": session.context.as_str(),
    });
    let connected = session.client.post("/auth/connect", &refresh).await;
    assert!(connected.expect(200).json()["accessToken"].is_string());

    let list = call(&session, "databases", json!({}))
        .await
        .expect(200)
        .json();
    let entry = &list["result"][0];
    assert_eq!(entry["did"], session.person.did.lowercase());
    assert_eq!(entry["contextName"], support::CONTEXT);
    assert_eq!(entry["databaseName"], "mail");
    assert_eq!(entry["databaseHash"], session.hash("mail"));
    assert_eq!(entry["permissions"]["read"], "users");

    let info = call(&session, "databaseInfo", json!({"databaseName": "mail"}))
        .await
        .expect(200)
        .json();
    assert_eq!(info["result"]["info"]["db_name"], session.hash("mail"));
    assert_eq!(info["result"]["info"]["doc_count"], 1);

    let usage = call(&session, "usage", Value::Null)
        .await
        .expect(200)
        .json();
    assert_eq!(usage["result"]["databases"], 1);
    assert!(usage["result"]["bytes"].as_u64().unwrap() > 0);

    call(&session, "deleteDatabase", json!({"databaseName": "mail"}))
        .await
        .expect(200);
    session.get(&db).await.expect(404);
    let gone = call(&session, "deleteDatabase", json!({"databaseName": "mail"})).await;
    assert_eq!(
        gone.expect(500).json()["message"],
        "Database does not exist."
    );
    let files = std::fs::read_dir(node.dir.path().join("databases"))
        .unwrap()
        .flat_map(|fan| std::fs::read_dir(fan.unwrap().path()).unwrap())
        .count();
    assert_eq!(files, 0);
}

#[tokio::test]
async fn mistakes_are_answered_in_the_originals_words() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let fails = async |name: &str, body: Value, status: u16, message: &str| {
        let answer = call(&session, name, body).await;
        assert_eq!(
            answer.expect(status).json(),
            json!({"status": "fail", "message": message})
        );
    };
    for name in [
        "createDatabase",
        "updateDatabase",
        "deleteDatabase",
        "databaseInfo",
    ] {
        fails(name, json!({}), 400, "Database must be specified").await;
        fails(
            name,
            json!({"databaseName": ""}),
            400,
            "Database must be specified",
        )
        .await;
        call(&session, name, json!({"databaseName": "x".repeat(300)}))
            .await
            .expect(400);
        call(&session, name, json!({"databaseName": 1}))
            .await
            .expect(400);
    }
    let nope = json!({"databaseName": "nope"});
    fails(
        "updateDatabase",
        nope.clone(),
        500,
        "Database does not exist.",
    )
    .await;
    fails(
        "deleteDatabase",
        nope.clone(),
        500,
        "Database does not exist.",
    )
    .await;
    fails("databaseInfo", nope.clone(), 404, "Database not found").await;
    fails("checkReplication", nope, 401, "Invalid database name").await;
    call(&session, "checkReplication", json!({}))
        .await
        .expect(200);
    let ping = call(&session, "pingDatabase", json!({"databaseHashes": []}))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&ping["failedEndpoints"], &ping["endpoints"]),
        (&json!([]), &json!([]))
    );
    for permissions in [
        json!({"read": "owner", "write": "public"}),
        json!({"read": "everybody"}),
        json!({"read": "users", "readList": ["nobody"]}),
        json!({"read": "users", "readList": vec!["did:vda:polamoy:0x1111111111111111111111111111111111111111"; 1_001]}),
    ] {
        let body = json!({"databaseName": "p", "options": {"permissions": permissions}});
        call(&session, "createDatabase", body).await.expect(400);
    }
    assert_eq!(
        call(&session, "databases", json!({})).await.json()["result"],
        json!([])
    );
}

#[tokio::test]
async fn databases_of_two_contexts_are_apart() {
    let node = Node::start().await;
    let here = node.session(1).await;
    let there = support::Person::new(1)
        .log_in_to(&node.client(), "Other: Context")
        .await;
    let db = here.database("d").await;
    assert_ne!(here.hash("d"), there.hash("d"));
    there.get(&db).await.expect(403);
    assert_eq!(
        call(&there, "databases", json!({})).await.json()["result"],
        json!([])
    );
    call(&there, "deleteDatabases", json!({})).await.expect(200);
    here.get(&db).await.expect(200);
    let deleted = call(&here, "deleteDatabases", json!({}))
        .await
        .expect(200)
        .json();
    assert_eq!(deleted["results"], json!(["d"]));
}

#[tokio::test]
async fn more_databases_than_may_be_open_all_work() {
    let limits = Limits {
        open_databases: 3,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    let mut paths = Vec::new();
    for n in 0..12 {
        paths.push(session.database(&format!("d{n}")).await);
    }
    for round in 0..3 {
        for db in &paths {
            session
                .put(&format!("{db}/r{round}"), &json!({}))
                .await
                .expect(201);
        }
    }
    for db in &paths {
        assert_eq!(session.get(db).await.expect(200).json()["doc_count"], 3);
    }
}

#[tokio::test]
async fn the_number_of_an_accounts_databases_is_limited() {
    let limits = Limits {
        databases_per_account: 2,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    session.database("a").await;
    session.database("b").await;
    session.database("a").await;
    call(&session, "createDatabase", json!({"databaseName": "c"}))
        .await
        .expect(507);
}

#[tokio::test]
async fn an_account_that_is_full_may_read_and_delete_but_not_write() {
    let limits = Limits {
        account_bytes: 8 << 20,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let document = json!({"f": "f".repeat(1 << 20)});
    let mut revs: Vec<String> = Vec::new();
    // What is written counts at once, and not only when the files are measured again.
    let refused = loop {
        let id = revs.len();
        let answer = session.put(&format!("{db}/{id}"), &document).await;
        if answer.status != 201 {
            break answer;
        }
        revs.push(answer.json()["rev"].as_str().unwrap().to_owned());
        assert!(revs.len() < 8, "8 MiB hold more than is in them");
    };
    assert_eq!(
        refused.expect(507).json()["reason"],
        "Storage limit reached"
    );
    let bulk = format!("{db}/_bulk_docs");
    let docs = json!({"docs": [document]});
    session.post(&bulk, &docs).await.expect(507);
    session
        .put(&format!("{db}/_design/d"), &document)
        .await
        .expect(507);

    // Nothing of what is there is lost, and there is a way to get room.
    assert!(revs.len() > 1);
    session.get(&format!("{db}/1")).await.expect(200);
    let large = json!({"_id": "0", "_rev": revs[0], "_deleted": true, "f": document["f"]});
    let docs = json!({"docs": [large]});
    session.post(&bulk, &docs).await.expect(507);
    let small = json!({"_id": "0", "_rev": revs[0], "_deleted": true});
    let docs = json!({"docs": [small]});
    let lines = session.post(&bulk, &docs).await.expect(201).json();
    assert_eq!(lines[0]["ok"], true);
    let path = format!("{db}/1?rev={}", revs[1]);
    session
        .send("DELETE", &path, &Value::Null)
        .await
        .expect(200);
    call(&session, "deleteDatabase", json!({"databaseName": "d"}))
        .await
        .expect(200);
    let db = session.database("e").await;
    session.put(&format!("{db}/0"), &document).await.expect(201);
}

#[tokio::test]
async fn a_node_that_is_full_is_full_for_every_account_and_is_read_all_the_same() {
    let limits = Limits {
        node_bytes: Some(24 << 20),
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let document = json!({"f": "f".repeat(1 << 20)});
    let (mut written, mut full) = (0, 0);
    let sessions = [node.session(1).await, node.session(2).await];
    let dbs = [
        sessions[0].database("d").await,
        sessions[1].database("d").await,
    ];
    for n in 0..32 {
        for (session, db) in sessions.iter().zip(&dbs) {
            let answer = session.put(&format!("{db}/{n}"), &document).await;
            match answer.status.as_u16() {
                201 => written += 1,
                _ => {
                    let refusal = answer.expect(507).json();
                    assert_eq!(refusal["reason"], "The node keeps as much as it may.");
                    full += 1;
                }
            }
        }
    }
    assert!((2..24).contains(&written) && full > 8, "{written}, {full}");
    let body = json!({"databaseName": "e"});
    // A new database takes room, too, if less: up to the last bytes.
    let mut databases = 0;
    while call(&sessions[0], "createDatabase", body_named(databases))
        .await
        .status
        == 200
    {
        databases += 1;
        assert!(databases < 400, "a full node makes databases");
    }
    call(&sessions[1], "createDatabase", body).await.expect(507);
    sessions[0].get(&format!("{}/0", dbs[0])).await.expect(200);
    sessions[0]
        .get(&format!("{}/_changes", dbs[0]))
        .await
        .expect(200);
}

fn body_named(n: usize) -> Value {
    json!({"databaseName": format!("n{n}")})
}

#[tokio::test]
async fn an_account_that_is_full_makes_no_further_database() {
    let limits = Limits {
        account_bytes: 1_000,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    session.database("d").await;
    let usage = call(&session, "usage", json!({})).await.json();
    assert!(usage["result"]["usagePercent"].as_f64().unwrap() >= 1.0);
    let refused = call(&session, "createDatabase", json!({"databaseName": "e"})).await;
    assert_eq!(
        refused.expect(400).json()["message"],
        "Storage limit reached"
    );
}

#[tokio::test]
async fn many_who_write_at_one_time_do_not_overrun_the_limit_together() {
    let limits = Limits {
        account_bytes: 8 << 20,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let document = json!({"f": "f".repeat(1 << 20)}).to_string();
    let writers: Vec<_> = (0..24)
        .map(|n| {
            let (client, access) = (session.client, session.access.clone());
            let (path, document) = (format!("{db}/{n}"), document.clone());
            tokio::spawn(async move { client.send("PUT", &path, &access, document).await.status })
        })
        .collect();
    let mut written = 0;
    for writer in writers {
        match writer.await.unwrap().as_u16() {
            201 => written += 1,
            status => assert_eq!(status, 507),
        }
    }
    assert!((1..8).contains(&written), "{written} MiB of 8");
    assert_eq!(session.get(&db).await.json()["doc_count"], written);
}

#[tokio::test]
async fn databases_survive_a_restart_and_stray_files_do_not() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    session
        .put(&format!("{db}/x"), &json!({"n": 1}))
        .await
        .expect(201);
    let seq = session.get(&format!("{db}/_changes")).await.json()["last_seq"].clone();
    let fan = node.dir.path().join("databases").join("ff");
    std::fs::create_dir_all(&fan).unwrap();
    let stray = fan.join(format!("v{}.redb", "f".repeat(64)));
    std::fs::write(&stray, "left by a creation that never finished").unwrap();

    let node = node.restart().await;
    assert!(!stray.exists());
    let get = async |path: String| node.client().send("GET", &path, &session.access, "").await;
    assert_eq!(get(format!("{db}/x")).await.expect(200).json()["n"], 1);
    assert_eq!(get(format!("{db}/_changes")).await.json()["last_seq"], seq);
}

/// Where the node keeps a database.
fn file_of(node: &Node, hash: &str) -> PathBuf {
    let fan = node.dir.path().join("databases").join(&hash[1..3]);
    fan.join(format!("{hash}.redb"))
}

fn files(node: &Node) -> usize {
    std::fs::read_dir(node.dir.path().join("databases"))
        .unwrap()
        .flat_map(|fan| std::fs::read_dir(fan.unwrap().path()).unwrap())
        .count()
}

#[tokio::test]
async fn what_is_left_of_a_deleted_database_is_not_in_a_new_one_of_its_name() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("mail").await;
    session
        .put(&format!("{db}/x"), &json!({"secret": 1}))
        .await
        .expect(201);
    let path = file_of(&node, &session.hash("mail"));
    let left = std::fs::read(&path).unwrap();
    call(&session, "deleteDatabase", json!({"databaseName": "mail"}))
        .await
        .expect(200);
    std::fs::write(&path, left).unwrap();

    let everybody = json!({"read": "public", "write": "owner"});
    session.database_with("mail", &everybody).await;
    session.get(&format!("{db}/x")).await.expect(404);
    assert_eq!(session.get(&db).await.expect(200).json()["doc_count"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_is_done_to_its_end_when_the_client_hangs_up() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let Credential::Bearer(token) = &session.access else {
        panic!("a session has a token");
    };
    for round in 0..24_u64 {
        let name = format!("d{round}");
        let db = session.database(&name).await;
        session
            .put(&format!("{db}/x"), &json!({"secret": 1}))
            .await
            .expect(201);
        let body = json!({ "databaseName": name }).to_string();
        let request = format!(
            "POST /user/deleteDatabase HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(node.storage.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_micros(250 * round)).await;
    }
    // Each was deleted as a whole, or not at all.
    let mut seen = (0, 0);
    for _ in 0..250 {
        let list = call(&session, "databases", json!({})).await.json();
        seen = (list["result"].as_array().unwrap().len(), files(&node));
        if seen.0 == seen.1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{} databases, {} files", seen.0, seen.1);
}
