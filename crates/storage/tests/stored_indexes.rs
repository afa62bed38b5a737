//! Stored indexes over HTTP: who makes them, how long that may take, what they save, and that no answer changes by them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::time::Duration;

use adyton_storage::Limits;
use serde_json::{Value, json};
use support::{Node, Person, Session};

/// As many documents as one query may look at here.
const LOOKED_AT: u64 = 100;
const DOCUMENTS: i64 = 600;

fn limits() -> Limits {
    Limits {
        find_documents: LOOKED_AT,
        find_unindexed: LOOKED_AT / 2,
        ..Limits::default()
    }
}

/// A database of more documents than a query may look at, and an index on `n`, which falls as the ids rise.
async fn large(session: &Session) -> String {
    let db = session.database("d").await;
    let docs: Vec<Value> = (0..DOCUMENTS)
        .map(|n| json!({"_id": format!("{n:03}"), "n": DOCUMENTS - 1 - n, "third": n % 3 == 0}))
        .collect();
    bulk(session, &db, docs).await;
    let index = json!({"index": {"fields": ["n"]}, "ddoc": "by", "name": "n"});
    session
        .post(&format!("{db}/_index"), &index)
        .await
        .expect(200);
    db
}

async fn bulk(session: &Session, db: &str, docs: Vec<Value>) {
    let docs = json!({"docs": docs});
    let written = session.post(&format!("{db}/_bulk_docs"), &docs).await;
    for row in written.expect(201).json().as_array().unwrap() {
        assert_eq!(row["ok"], true, "{row}");
    }
}

async fn find(session: &Session, db: &str, query: Value) -> Value {
    let answer = session.post(&format!("{db}/_find"), &query).await;
    answer.expect(200).json()
}

fn numbers(answer: &Value) -> Vec<i64> {
    let docs = answer["docs"].as_array().unwrap().iter();
    docs.map(|doc| doc["n"].as_i64().unwrap()).collect()
}

/// The three documents from 300 on.
fn three() -> Value {
    json!({"selector": {"n": {"$gte": 300}}, "limit": 3, "execution_stats": true})
}

#[tokio::test]
async fn a_query_of_a_large_database_makes_its_index_and_then_reads_a_stretch_of_it() {
    let node = Node::with_limits(limits()).await;
    let session = node.session(1).await;
    let db = large(&session).await;
    // Without an index it is too much.
    let by_third = json!({"selector": {"third": true, "x": 1}});
    session
        .post(&format!("{db}/_find"), &by_third)
        .await
        .expect(413);
    for _ in 0..2 {
        let found = find(&session, &db, three()).await;
        assert_eq!(numbers(&found), [300, 301, 302]);
        let stats = &found["execution_stats"];
        assert_eq!(
            (&stats["total_keys_examined"], &stats["total_docs_examined"]),
            (&json!(3), &json!(3))
        );
        assert_eq!(found["warning"], Value::Null);
    }
    let backwards =
        json!({"selector": {"n": {"$lt": 300}}, "sort": [{"n": "desc"}], "limit": 2, "skip": 1});
    assert_eq!(numbers(&find(&session, &db, backwards).await), [298, 297]);
    // A stretch of more rows than a query may look at is refused, unless ids narrow it.
    let all = json!({"selector": {"n": {"$gte": 0}, "x": 1}});
    session.post(&format!("{db}/_find"), &all).await.expect(413);
    let few = json!({"selector": {"n": {"$gte": 0}, "_id": {"$gte": "595"}}, "sort": ["n"]});
    assert_eq!(numbers(&find(&session, &db, few).await), [0, 1, 2, 3, 4]);
    // Page by page through everything.
    let (mut paged, mut query) = (
        Vec::new(),
        json!({"selector": {"n": {"$gte": 0}}, "limit": 70}),
    );
    loop {
        let page = find(&session, &db, query.clone()).await;
        query["bookmark"] = page["bookmark"].clone();
        match numbers(&page) {
            none if none.is_empty() => break,
            some => paged.extend(some),
        }
    }
    assert_eq!(paged, (0..DOCUMENTS).collect::<Vec<_>>());
    // After a restart the rows are there.
    let node = node
        .restart_with(|config| {
            config.limits = limits();
            config.limits.find_indexing_time = Duration::ZERO;
        })
        .await;
    let session = Person::new(1).log_in(&node.client()).await;
    assert_eq!(
        numbers(&find(&session, &db, three()).await),
        [300, 301, 302]
    );
}

#[tokio::test]
async fn what_was_written_since_is_found_as_it_is_and_nothing_as_it_was() {
    let node = Node::with_limits(limits()).await;
    let session = node.session(1).await;
    let db = large(&session).await;
    find(&session, &db, three()).await;
    let id = |n: i64| format!("{:03}", DOCUMENTS - 1 - n);
    let rev = async |n: i64| {
        let doc = session.get(&format!("{db}/{}", id(n))).await;
        doc.expect(200).json()["_rev"].clone()
    };
    // Gone, elsewhere, purged, and new.
    bulk(
        &session,
        &db,
        vec![
            json!({"_id": id(300), "_rev": rev(300).await, "_deleted": true}),
            json!({"_id": id(301), "_rev": rev(301).await, "n": 5}),
            json!({"_id": "new", "n": 303}),
        ],
    )
    .await;
    let purge = json!({id(302): [rev(302).await]});
    session
        .post(&format!("{db}/_purge"), &purge)
        .await
        .expect(201);
    let found = find(&session, &db, three()).await;
    assert_eq!(numbers(&found), [303, 303, 304]);
    // Two rows, and the two documents that were written since: that an index lags a little is no reason to write.
    assert_eq!(found["execution_stats"]["total_docs_examined"], 4);
    let docs = found["docs"].as_array().unwrap();
    assert_eq!(
        (&docs[0]["_id"], &docs[1]["_id"]),
        (&json!(id(303)), &json!("new"))
    );
    let fives = json!({"selector": {"n": 5}});
    assert_eq!(
        find(&session, &db, fives).await["docs"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    // So many that the index is brought up to date first: more could not be looked at.
    let more = (0..300).map(|n| json!({"n": 1_000 + n})).collect();
    bulk(&session, &db, more).await;
    let found = find(
        &session,
        &db,
        json!({"selector": {"n": {"$gte": 1_200}}, "limit": 100}),
    )
    .await;
    assert_eq!(numbers(&found), (1_200..1_300).collect::<Vec<_>>());
    assert_eq!(
        numbers(&find(&session, &db, three()).await),
        [303, 303, 304]
    );
}

#[tokio::test]
async fn a_query_whose_index_is_not_made_in_its_time_is_told_to_ask_again_and_the_next_goes_on() {
    let never = Limits {
        find_indexing_time: Duration::ZERO,
        ..limits()
    };
    let node = Node::with_limits(never).await;
    let session = node.session(1).await;
    let db = large(&session).await;
    let refused = session.post(&format!("{db}/_find"), &three()).await;
    assert_eq!(
        refused.expect(503).json(),
        json!({"error": "service_unavailable", "reason": "The index is being made: ask again in a moment."})
    );
    // However little time there is, each makes something of it.
    let found = find(&session, &db, three()).await;
    assert_eq!(numbers(&found), [300, 301, 302]);
    assert_eq!(found["execution_stats"]["total_keys_examined"], 3);
}

#[tokio::test]
async fn what_a_query_may_look_at_one_by_one_is_answered_however_far_its_index_is() {
    let node = Node::with_limits(Limits {
        find_documents: 1_000,
        find_indexing_time: Duration::ZERO,
        ..limits()
    })
    .await;
    let session = node.session(1).await;
    let db = large(&session).await;
    for _ in 0..3 {
        let found = find(&session, &db, three()).await;
        assert_eq!(numbers(&found), [300, 301, 302]);
    }
}

#[tokio::test]
async fn where_there_is_no_room_for_rows_a_query_does_without() {
    let node = Node::with_limits(limits()).await;
    let session = node.session(1).await;
    let db = large(&session).await;
    let full = |find_documents| Limits {
        find_documents,
        node_bytes: Some(1),
        ..Limits::default()
    };
    let mut node = node;
    for (find_documents, status) in [(LOOKED_AT, 413), (1_000, 200)] {
        node = node
            .restart_with(|config| config.limits = full(find_documents))
            .await;
        let session = Person::new(1).log_in(&node.client()).await;
        session
            .post(&format!("{db}/_bulk_docs"), &json!({"docs": [{}]}))
            .await
            .expect(507);
        let answer = session.post(&format!("{db}/_find"), &three()).await;
        answer.expect(status);
        if status == 200 {
            assert_eq!(numbers(&answer.json()), [300, 301, 302]);
        }
    }
}

#[tokio::test]
async fn an_index_that_is_gone_or_another_now_leaves_no_rows_after_a_compaction() {
    let node = Node::with_limits(limits()).await;
    let session = node.session(1).await;
    let db = large(&session).await;
    find(&session, &db, three()).await;
    // Another under the same name, whose rows are made beside.
    let body = json!({"index": {"fields": ["third", "n"]}, "ddoc": "by", "name": "n"});
    session
        .post(&format!("{db}/_index"), &body)
        .await
        .expect(200);
    let thirds = json!({"selector": {"third": true, "n": {"$gte": 300}}, "limit": 2, "execution_stats": true});
    let found = find(&session, &db, thirds).await;
    assert_eq!(numbers(&found), [302, 305]);
    assert_eq!(found["execution_stats"]["total_keys_examined"], 2);
    let gone = session
        .send("DELETE", &format!("{db}/_index/by/json/n"), &Value::Null)
        .await;
    gone.expect(200);
    session
        .post(&format!("{db}/_compact"), &json!({}))
        .await
        .expect(202);
    assert_eq!(rows_on_disk(node, &db).await, 0);
}

/// Rows of all indexes that a database's file has, after the node is down and its data were checked.
async fn rows_on_disk(node: Node, db: &str) -> u64 {
    let name = db.trim_start_matches('/').to_owned();
    let file = node
        .dir
        .path()
        .join("databases")
        .join(&name[1..3])
        .join(format!("{name}.redb"));
    node.storage.shutdown().await;
    assert!(
        adyton_storage::check(node.dir.path())
            .unwrap()
            .faults
            .is_empty()
    );
    let database = redb::Database::open(file).unwrap();
    let rows: redb::TableDefinition<'_, (u64, &[u8], &str), u64> =
        redb::TableDefinition::new("index_rows");
    let read = redb::ReadableDatabase::begin_read(&database).unwrap();
    match read.open_table(rows) {
        Err(redb::TableError::TableDoesNotExist(_)) => 0,
        rows => redb::ReadableTableMetadata::len(&rows.unwrap()).unwrap(),
    }
}

#[tokio::test]
async fn indexes_that_were_deleted_hide_no_others() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let (designs, bulks) = (format!("{db}/_index"), format!("{db}/_bulk_docs"));
    let docs: Vec<Value> = (0..250)
        .map(|n| json!({"_id": format!("_design/a{n:03}"), "language": "query"}))
        .collect();
    let written = session.post(&bulks, &json!({"docs": docs})).await;
    let rows = written.expect(201).json();
    let gone: Vec<Value> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| json!({"_id": row["id"], "_rev": row["rev"], "_deleted": true}))
        .collect();
    bulk(&session, &db, gone).await;
    // And some that are there, and no indexes.
    let docs = (0..250).map(|n| json!({"_id": format!("_design/b{n:03}"), "filters": {}}));
    bulk(&session, &db, docs.collect()).await;
    bulk(&session, &db, vec![json!({"n": 7}), json!({"n": 8})]).await;
    let last = json!({"index": {"fields": ["n"]}, "ddoc": "z", "name": "n"});
    let made = session.post(&designs, &last).await;
    assert_eq!(made.expect(200).json()["result"], "created");
    let listed = session.get(&designs).await.expect(200).json();
    assert_eq!(listed["indexes"][1]["ddoc"], "_design/z");
    let sorted = json!({"selector": {"n": {"$gt": 7}}, "sort": ["n"]});
    assert_eq!(numbers(&find(&session, &db, sorted).await), [8]);
}

#[tokio::test]
async fn who_waits_for_an_index_holds_no_turn() {
    let node = Node::with_limits(Limits {
        finds_at_once: 2,
        find_indexing_time: Duration::from_secs(60),
        ..Limits::default()
    })
    .await;
    let (owner, second) = (node.session(1).await, node.session(2).await);
    let third = node.session(3).await;
    let public = json!({"read": "public", "write": "owner"});
    let db = owner.database_with("d", &public).await;
    for part in 0..4 {
        let docs = (0..2_500).map(|n| json!({"_id": format!("{part}-{n}"), "a": n, "b": n}));
        bulk(&owner, &db, docs.collect()).await;
    }
    for field in ["a", "b"] {
        let index = json!({"index": {"fields": [field]}, "ddoc": field});
        owner
            .post(&format!("{db}/_index"), &index)
            .await
            .expect(200);
    }
    let others = third.database("e").await;
    bulk(&third, &others, vec![json!({"n": 1})]).await;
    let path = format!("{db}/_find");
    let asks = |session: Session, field: &'static str| {
        let path = path.clone();
        let query = json!({"selector": {field: 7}});
        tokio::spawn(async move { session.post(&path, &query).await })
    };
    let (makes, waits) = (asks(owner, "a"), asks(second, "b"));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let found = find(&third, &others, json!({"selector": {"n": 1}})).await;
    assert_eq!(numbers(&found), [1]);
    assert!(!makes.is_finished() && !waits.is_finished());
    for found in [makes, waits] {
        let docs = found.await.unwrap().expect(200).json()["docs"].take();
        assert_eq!(docs.as_array().unwrap().len(), 4);
    }
}

/// Bytes that an account may keep here.
const FEW: u64 = 8 << 20;

fn of_few() -> Limits {
    Limits {
        account_bytes: FEW,
        ..limits()
    }
}

async fn used_bytes(session: &Session) -> u64 {
    let told = session.post("/user/usage", &json!({})).await;
    told.expect(200).json()["result"]["bytes"].as_u64().unwrap()
}

#[tokio::test]
async fn an_index_never_takes_the_room_that_writes_need() {
    let node = Node::with_limits(of_few()).await;
    let session = node.session(1).await;
    let db = large(&session).await;
    let filler = json!({"f": "f".repeat(128 << 10)});
    while used_bytes(&session).await <= FEW / 5 * 4 {
        session.post(&db, &filler).await.expect(201);
    }
    assert!(used_bytes(&session).await < FEW);
    for _ in 0..3 {
        let answer = session.post(&format!("{db}/_find"), &three()).await;
        answer.expect(413);
        session.post(&db, &json!({})).await.expect(201);
    }
    assert_eq!(rows_on_disk(node, &db).await, 0);
}

#[tokio::test]
async fn rows_of_deleted_indexes_go_in_a_full_account() {
    let node = Node::with_limits(of_few()).await;
    let session = node.session(1).await;
    let db = large(&session).await;
    find(&session, &db, three()).await;
    session
        .send("DELETE", &format!("{db}/_index/by/json/n"), &Value::Null)
        .await
        .expect(200);
    let other = json!({"index": {"fields": ["third"]}, "ddoc": "other", "name": "t"});
    session
        .post(&format!("{db}/_index"), &other)
        .await
        .expect(200);
    let filler = json!({"f": "f".repeat(512 << 10)});
    let refused = loop {
        let answer = session.post(&db, &filler).await;
        if answer.status != 201 {
            break answer;
        }
    };
    refused.expect(507);
    let thirds = json!({"selector": {"third": true}});
    session
        .post(&format!("{db}/_find"), &thirds)
        .await
        .expect(413);
    assert_eq!(rows_on_disk(node, &db).await, 0);
}
