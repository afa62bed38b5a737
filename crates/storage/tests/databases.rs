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
use support::{Credential, Node, Session, history, rev};
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
async fn the_owner_of_a_full_account_closes_a_database() {
    let limits = Limits {
        account_bytes: 2 << 20,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let (owner, stranger) = (node.session(1).await, node.session(2).await);
    let db = owner
        .database_with("d", &json!({"read": "public", "write": "public"}))
        .await;
    stranger
        .put(&format!("{db}/0"), &json!({}))
        .await
        .expect(201);
    let document = json!({"f": "f".repeat(1 << 20)});
    for n in 1.. {
        assert!(n < 4, "2 MiB hold more than is in them");
        if stranger.put(&format!("{db}/{n}"), &document).await.status == 507 {
            break;
        }
    }
    let permissions = json!({"permissions": {"read": "owner", "write": "owner"}});
    let body = json!({"databaseName": "d", "options": permissions});
    call(&owner, "updateDatabase", body).await.expect(200);
    stranger.get(&format!("{db}/0")).await.expect(403);
    owner.get(&format!("{db}/0")).await.expect(200);
}

#[tokio::test]
async fn who_may_not_delete_ends_no_leaf_by_a_known_tombstone() {
    let node = Node::start().await;
    let (owner, stranger) = (node.session(1).await, node.session(2).await);
    let permissions = json!({
        "read": "public", "write": "public", "deleteList": [owner.person.did.as_given()],
    });
    let db = owner.database_with("d", &permissions).await;
    let told = async |by: &Session, generation: u64, digits: &str, deleted: bool| {
        let mut revision = history("x", generation, digits, json!(digits));
        if deleted {
            revision["_deleted"] = true.into();
        }
        let body = json!({"docs": [revision], "new_edits": false});
        let lines = by.post(&format!("{db}/_bulk_docs"), &body).await;
        lines.expect(201).json()
    };
    let member = async |rev: &str| {
        let read = owner.get(&format!("{db}/x?rev={rev}")).await;
        read.json()["member"].clone()
    };
    // A live revision, beside tombstones whose past was told and was not.
    told(&owner, 3, "a21", false).await;
    told(&owner, 4, "dc21", true).await;
    told(&owner, 4, "e", true).await;
    let refused = told(&stranger, 4, "fa21", true).await;
    assert_eq!(refused[0]["error"], "unauthorized");
    for digits in ["da21", "ea21"] {
        told(&stranger, 4, digits, false).await;
        assert_eq!(owner.get(&format!("{db}/x")).await.json()["member"], "a21");
    }
    // Nor by a live revision, or one that both know as an ancestor only: what follows may be a tombstone.
    told(&owner, 5, "98", true).await;
    told(&stranger, 4, "8a21", false).await;
    told(&stranger, 4, "7", false).await;
    told(&stranger, 4, "7a21", false).await;
    assert_eq!(member(&rev(3, 'a')).await, "a21");
    // An edit is what he may do; who may delete mends the tree by a past that is true.
    told(&owner, 4, "7a21", false).await;
    assert_eq!(member(&rev(4, '7')).await, "7");
    let leaves = owner.get(&format!("{db}/x?open_revs=all")).await.json();
    let live = leaves
        .as_array()
        .unwrap()
        .iter()
        .filter(|leaf| leaf["ok"]["_deleted"] != true);
    assert_eq!(live.count(), 1);
}

#[tokio::test]
async fn a_replicator_reads_a_full_account_and_empties_it() {
    let limits = Limits {
        account_bytes: 4 << 20,
        local_documents_for_readers: 3,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let bulk = format!("{db}/_bulk_docs");
    let docs: Vec<Value> = (0..120)
        .map(|i| history(&format!("s{i}"), 1, "a", json!(i)))
        .collect();
    let push = async |docs: &[Value]| {
        let body = json!({"docs": docs, "new_edits": false});
        session.post(&bulk, &body).await
    };
    push(&docs).await.expect(201);
    let document = json!({"f": "f".repeat(100 << 10)});
    let mut large = 0;
    while session
        .put(&format!("{db}/l{large}"), &document)
        .await
        .status
        == 201
    {
        large += 1;
    }

    // Reading: every batch ends with a checkpoint.
    let checkpoint = |n: usize, bytes: usize| {
        let path = format!("{db}/_local/reader{n}");
        let session = &session;
        async move {
            let known = session.get(&path).await;
            let mut next = json!({"last_seq": "1-x", "history": "h".repeat(bytes)});
            if known.status == 200 {
                next["_rev"] = known.json()["_rev"].clone();
            }
            session.put(&path, &next).await
        }
    };
    for n in 0..3 {
        checkpoint(n, 100).await.expect(201);
        checkpoint(n, 30 << 10).await.expect(201);
    }
    checkpoint(3, 100).await.expect(507);
    checkpoint(0, 33 << 10).await.expect(507);
    let local = json!({"docs": [{"_id": "_local/other"}]});
    let lines = session.post(&bulk, &local).await.expect(201).json();
    assert_eq!(lines[0]["error"], "insufficient_storage");

    // Deletions that another replica made: a batch of them, then beside what is none.
    let gone = |id: &str, generation: u64, digits: &str| {
        let mut tombstone = history(id, generation, digits, Value::Null);
        tombstone.as_object_mut().unwrap().remove("member");
        tombstone["_deleted"] = true.into();
        tombstone
    };
    let tombstones: Vec<Value> = (0..100).map(|i| gone(&format!("s{i}"), 2, "ba")).collect();
    assert_eq!(push(&tombstones).await.expect(201).json(), json!([]));
    // They are known now: that is no news, and needs no room.
    push(&tombstones).await.expect(201);
    let path = format!("{db}/s100?new_edits=false");
    session
        .put(&path, &gone("s100", 3, "cba"))
        .await
        .expect(200);
    for other in [
        history("new", 1, "a", json!(1)),
        gone("never", 1, "a"),
        gone("s102", 2, "bc"),
        {
            let mut large = gone("s102", 2, "ba");
            large["f"] = "f".repeat(1 << 10).into();
            large
        },
    ] {
        let full = push(&[gone("s101", 2, "ba"), other]).await;
        assert_eq!(full.expect(507).json()["reason"], "Storage limit reached");
    }
    let deleted = session.get(&format!("{db}/s101")).await.expect(404).json();
    assert_eq!(deleted["reason"], "deleted");
    session.get(&format!("{db}/s102")).await.expect(200);
    for id in ["new", "never"] {
        let missing = session.get(&format!("{db}/{id}")).await.expect(404).json();
        assert_eq!(missing["reason"], "missing");
    }
    let info = session.get(&db).await.json();
    assert_eq!(
        (&info["doc_count"], &info["doc_del_count"]),
        (&json!(18 + large), &json!(102))
    );
}

#[tokio::test]
async fn a_full_account_learns_no_past() {
    let limits = Limits {
        account_bytes: 4 << 20,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let push = async |docs: &[Value]| {
        let body = json!({"docs": docs, "new_edits": false});
        session.post(&format!("{db}/_bulk_docs"), &body).await
    };
    let live = |id: &str| json!({"_id": id, "_rev": rev(2_000, 'a')});
    // A tombstone of these revisions, the newest first, and of nine hundred that nobody made.
    let gone = |id: &str, generation: u64, digits: &str| {
        let told = digits.chars().map(|digit| digit.to_string().repeat(32));
        let made_up = (0..900).map(|n| format!("{n:032x}"));
        let ids: Vec<String> = told.chain(made_up).collect();
        json!({
            "_id": id, "_rev": format!("{generation}-{}", ids[0]), "_deleted": true,
            "_revisions": {"start": generation, "ids": ids},
        })
    };
    push(&[live("edited"), live("missed"), live("alone")])
        .await
        .expect(201);
    let small = json!({"_id": "alone", "_rev": rev(2_001, 'b'), "_deleted": true});
    push(&[small]).await.expect(201);
    let mut large = 0;
    for bytes in [100 << 10, 4 << 10, 0] {
        let document = json!({"f": "f".repeat(bytes)});
        while session
            .put(&format!("{db}/{large}"), &document)
            .await
            .status
            == 201
        {
            large += 1;
        }
    }
    let known = async |id: &str, generation: u64, digit: char| {
        let path = format!("{db}/{id}?revs=true&rev={}", rev(generation, digit));
        let told = session.get(&path).await.expect(200).json();
        assert_eq!(told["_deleted"], true);
        told["_revisions"]["ids"].as_array().unwrap().len()
    };
    // Twice: what ends something, and what is known then.
    for _ in 0..2 {
        push(&[gone("edited", 2_001, "ba")]).await.expect(201);
        assert_eq!(known("edited", 2_001, 'b').await, 2);
        push(&[gone("missed", 2_002, "cba")]).await.expect(201);
        assert_eq!(known("missed", 2_002, 'c').await, 3);
        push(&[gone("alone", 2_001, "b")]).await.expect(201);
        assert_eq!(known("alone", 2_001, 'b').await, 1);
    }
    // With room, it is learnt.
    for n in 0..large {
        let path = format!("{db}/{n}");
        let read = session.get(&path).await.json();
        let path = format!("{path}?rev={}", read["_rev"].as_str().unwrap());
        session
            .send("DELETE", &path, &Value::Null)
            .await
            .expect(200);
    }
    session
        .post(&format!("{db}/_compact"), &json!({}))
        .await
        .expect(202);
    push(&[gone("alone", 2_001, "b")]).await.expect(201);
    assert_eq!(known("alone", 2_001, 'b').await, 901);
}

#[tokio::test]
async fn many_small_attachments_copies_and_ancestors_count_against_the_limit() {
    let limits = Limits {
        account_bytes: 4 << 20,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let push = async |docs: Vec<Value>, new_edits: bool| {
        let body = json!({"docs": docs, "new_edits": new_edits});
        session.post(&format!("{db}/_bulk_docs"), &body).await
    };
    let attachments = |content: Value| -> serde_json::Map<String, Value> {
        let each = (0..1_000).map(|n| (format!("n{n}"), content.clone()));
        each.collect()
    };
    let empty = attachments(json!({"data": ""}));
    let many = (0..11).map(|_| json!({"_attachments": empty}));
    push(many.collect(), true).await.expect(507);
    let past = |n: u64| {
        let ids: Vec<String> = (0..1_000)
            .map(|m| format!("{:032x}", n * 1_000 + m))
            .collect();
        json!({
            "_id": n.to_string(), "_rev": format!("1000-{}", ids[0]),
            "_revisions": {"start": 1_000, "ids": ids},
        })
    };
    push((0..220).map(past).collect(), false).await.expect(507);
    assert_eq!(session.get(&db).await.json()["doc_count"], 0);

    // What a document keeps from its parent or from another is a row, too.
    let first = session
        .put(&format!("{db}/x"), &json!({"_attachments": empty}))
        .await
        .expect(201)
        .json();
    let kept = attachments(json!({"stub": true}));
    let edits = (0..11).map(|_| json!({"_id": "x", "_rev": first["rev"], "_attachments": kept}));
    push(edits.collect(), true).await.expect(507);
    let mut copies = 0;
    let refused = loop {
        let to = format!("c{copies}");
        let headers = [("destination", to.as_str())];
        let path = format!("{db}/x");
        let copied = session
            .client
            .open_with("COPY", &path, &session.access, &headers, "");
        let copied = support::Answer::read(copied.await).await;
        if copied.status != 201 {
            break copied;
        }
        copies += 1;
    };
    refused.expect(507);
    assert!((1..10).contains(&copies), "{copies} copies");
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

#[tokio::test]
async fn a_database_whose_file_is_gone_is_not_made_anew() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let (mail, notes) = (
        session.database("mail").await,
        session.database("notes").await,
    );
    session
        .put(&format!("{mail}/x"), &json!({"n": 1}))
        .await
        .expect(201);
    let path = file_of(&node, &session.hash("mail"));
    let elsewhere = node.dir.path().join("elsewhere");

    let node = node
        .restart_with(|_| std::fs::rename(&path, &elsewhere).unwrap())
        .await;
    let call = async |name: &str, body: Value| {
        let path = format!("/user/{name}");
        node.client()
            .send("POST", &path, &session.access, body.to_string())
            .await
    };
    let get = async |path: String| node.client().send("GET", &path, &session.access, "").await;
    get(mail.clone()).await.expect(503);
    call("checkReplication", json!({})).await.expect(200);
    call("createDatabase", json!({"databaseName": "mail"}))
        .await
        .expect(503);
    get(format!("{mail}/_changes")).await.expect(503);
    assert!(!path.exists());
    get(notes).await.expect(200);

    std::fs::rename(&elsewhere, &path).unwrap();
    assert_eq!(get(format!("{mail}/x")).await.expect(200).json()["n"], 1);
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
