//! Mango queries over HTTP: selectors, orders, pages, indexes, and who may make them. What is expected is what CouchDB 3
//! documents under `/{db}/_find`, `/{db}/_index` and `/{db}/_explain`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use adyton_storage::Limits;
use serde_json::{Value, json};
use support::{Node, Session, history};

/// A database of ten documents: `n` from 0 to 9, `even`, and a text that only some have.
async fn filled(session: &Session, permissions: &Value) -> String {
    let db = session.database_with("d", permissions).await;
    let docs: Vec<Value> = (0..10)
        .map(|n| {
            let mut doc = json!({"_id": format!("{n}"), "n": 9 - n, "even": n % 2 == 0, "a": {"b": n, "c": 1}});
            if n % 3 == 0 {
                doc["word"] = format!("w{n}").into();
            }
            doc
        })
        .collect();
    session
        .post(&format!("{db}/_bulk_docs"), &json!({"docs": docs}))
        .await
        .expect(201);
    db
}

fn private() -> Value {
    json!({"read": "owner", "write": "owner"})
}

async fn find(session: &Session, db: &str, query: Value) -> Value {
    let answer = session.post(&format!("{db}/_find"), &query).await;
    answer.expect(200).json()
}

fn ids(answer: &Value) -> Vec<String> {
    answer["docs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|doc| doc["_id"].as_str().unwrap().to_owned())
        .collect()
}

async fn index(session: &Session, db: &str, body: Value) -> Value {
    let answer = session.post(&format!("{db}/_index"), &body).await;
    answer.expect(200).json()
}

#[tokio::test]
async fn documents_are_found_by_id_when_nothing_orders_them() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = filled(&session, &private()).await;
    let found = find(&session, &db, json!({"selector": {"even": true}})).await;
    assert_eq!(ids(&found), ["0", "2", "4", "6", "8"]);
    let warning = "No matching index found, create an index to optimize query time.";
    assert_eq!(found["warning"], warning);
    assert!(found["docs"][0]["_rev"].as_str().unwrap().starts_with("1-"));

    let backwards = json!({"selector": {"n": {"$gt": 6}}, "sort": [{"_id": "desc"}]});
    assert_eq!(ids(&find(&session, &db, backwards).await), ["2", "1", "0"]);
    let fields = json!({"selector": {"_id": "3"}, "fields": ["_id", "a.b", "absent"]});
    assert_eq!(
        find(&session, &db, fields).await["docs"],
        json!([{"_id": "3", "a": {"b": 3}}])
    );
    // What a document lacks fulfils nothing but its absence.
    let other = json!({"selector": {"word": {"$ne": "w0"}}});
    assert_eq!(ids(&find(&session, &db, other).await), ["3", "6", "9"]);
    let absent = json!({"selector": {"word": {"$exists": false}}, "limit": 2});
    assert_eq!(ids(&find(&session, &db, absent).await), ["1", "2"]);
    let none = find(&session, &db, json!({"selector": {"n": 99}})).await;
    assert_eq!(
        (&none["docs"], &none["bookmark"]),
        (&json!([]), &json!("nil"))
    );
    let nothing = find(&session, &db, json!({"selector": {}, "limit": 0})).await;
    assert_eq!(ids(&nothing), [""; 0]);
}

#[tokio::test]
async fn an_order_needs_an_index_and_then_leaves_out_what_lacks_the_field() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = filled(&session, &private()).await;
    let by_word = json!({"selector": {"n": {"$gt": 0}}, "sort": ["word"]});
    let refused = session.post(&format!("{db}/_find"), &by_word).await;
    assert_eq!(
        refused.expect(400).json(),
        json!({"error": "no_usable_index",
            "reason": "No index exists for this sort, try indexing by the sort fields."})
    );
    let made = index(&session, &db, json!({"index": {"fields": ["word"]}})).await;
    assert_eq!(made["result"], "created");
    let found = find(&session, &db, by_word.clone()).await;
    assert_eq!(ids(&found), ["0", "3", "6"]);
    assert_eq!(found["warning"], Value::Null);
    let mut backwards = by_word;
    backwards["sort"] = json!([{"word": "desc"}]);
    assert_eq!(ids(&find(&session, &db, backwards).await), ["6", "3", "0"]);

    // A selector on an indexed field answers in the index' order, sorted or not.
    index(&session, &db, json!({"index": {"fields": ["n"]}})).await;
    let found = find(&session, &db, json!({"selector": {"n": {"$gte": 7}}})).await;
    assert_eq!(ids(&found), ["2", "1", "0"]);
    let mixed = json!({"selector": {}, "sort": ["n", {"word": "desc"}]});
    let refused = session.post(&format!("{db}/_find"), &mixed).await;
    assert_eq!(
        refused.expect(400).json()["error"],
        "unsupported_mixed_sort"
    );
}

#[tokio::test]
async fn a_bookmark_goes_on_where_the_page_ended() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = filled(&session, &private()).await;
    index(&session, &db, json!({"index": {"fields": ["even", "n"]}})).await;
    for query in [
        json!({"selector": {}, "limit": 3}),
        json!({"selector": {}, "limit": 3, "sort": [{"_id": "desc"}]}),
        json!({"selector": {}, "limit": 3, "sort": ["even", "n"]}),
        json!({"selector": {}, "limit": 3, "sort": [{"even": "desc"}, {"n": "desc"}]}),
    ] {
        let mut whole = query.clone();
        whole["limit"] = 100.into();
        let whole = ids(&find(&session, &db, whole).await);
        assert_eq!(whole.len(), 10);
        let (mut paged, mut query) = (Vec::new(), query);
        loop {
            let page = find(&session, &db, query.clone()).await;
            let found = ids(&page);
            query["bookmark"] = page["bookmark"].clone();
            if found.is_empty() {
                break;
            }
            paged.extend(found);
        }
        assert_eq!(paged, whole, "{query}");
    }
    // Of another index, and of none.
    let by_id = find(&session, &db, json!({"selector": {}, "limit": 1})).await;
    for bookmark in [by_id["bookmark"].clone(), json!("g1AAAA")] {
        let query = json!({"selector": {}, "sort": ["even", "n"], "bookmark": bookmark});
        let refused = session.post(&format!("{db}/_find"), &query).await;
        assert_eq!(refused.expect(400).json()["error"], "invalid_bookmark");
    }
    let skipped = json!({"selector": {}, "skip": 8});
    assert_eq!(ids(&find(&session, &db, skipped).await), ["8", "9"]);
    // 25 unless said otherwise.
    let more: Vec<Value> = (100..140).map(|n| json!({"_id": format!("{n}")})).collect();
    session
        .post(&format!("{db}/_bulk_docs"), &json!({"docs": more}))
        .await
        .expect(201);
    let found = find(&session, &db, json!({"selector": {}})).await;
    assert_eq!(ids(&found).len(), 25);
}

#[tokio::test]
async fn indexes_are_made_listed_explained_and_deleted() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = filled(&session, &private()).await;
    let special = json!({"ddoc": null, "name": "_all_docs", "type": "special", "def": {"fields": [{"_id": "asc"}]}});
    let listed = session
        .get(&format!("{db}/_index"))
        .await
        .expect(200)
        .json();
    assert_eq!(listed, json!({"total_rows": 1, "indexes": [special]}));

    let body = json!({"index": {"fields": ["n", {"word": "asc"}]}, "ddoc": "by", "name": "n-word", "type": "json"});
    let made = json!({"result": "created", "id": "_design/by", "name": "n-word"});
    assert_eq!(index(&session, &db, body.clone()).await, made);
    assert_eq!(index(&session, &db, body).await["result"], "exists");
    let second = json!({"index": {"fields": ["even"]}, "ddoc": "by", "name": "even"});
    assert_eq!(index(&session, &db, second).await["result"], "created");
    // Kept as CouchDB keeps it, so that it replicates.
    let design = session
        .get(&format!("{db}/_design/by"))
        .await
        .expect(200)
        .json();
    assert_eq!(design["language"], "query");
    assert_eq!(
        design["views"]["n-word"]["map"]["fields"],
        json!({"n": "asc", "word": "asc"})
    );
    let listed = session.get(&format!("{db}/_index")).await.json();
    assert_eq!(listed["total_rows"], 3);
    assert_eq!(
        listed["indexes"][1],
        json!({"ddoc": "_design/by", "name": "n-word", "type": "json", "partitioned": false,
            "def": {"fields": [{"n": "asc"}, {"word": "asc"}]}})
    );

    let explained = session
        .post(
            &format!("{db}/_explain"),
            &json!({"selector": {"n": 1, "word": {"$gt": null}}, "sort": ["n"], "use_index": "by", "fields": ["n"]}),
        )
        .await
        .expect(200)
        .json();
    assert_eq!(explained["index"]["name"], "n-word");
    assert_eq!(explained["dbname"], session.hash("d"));
    assert_eq!(
        (&explained["limit"], &explained["fields"]),
        (&json!(25), &json!(["n"]))
    );
    let read = &explained["mrargs"];
    assert_eq!(
        (&read["start_key"], &read["end_key"], &read["direction"]),
        (&json!([1, null]), &json!([1, "<MAX>"]), &json!("fwd"))
    );
    let unused = json!({"selector": {"n": 1}, "use_index": ["_design/by", "even"]});
    let found = find(&session, &db, unused).await;
    let warning = found["warning"].as_str().unwrap().to_owned();
    assert!(
        warning.starts_with("_design/by, even was not used because it is not a valid index"),
        "{warning}"
    );

    let delete = |path: String| {
        let session = &session;
        async move { session.send("DELETE", &path, &Value::Null).await }
    };
    delete(format!("{db}/_index/by/json/nothing"))
        .await
        .expect(404);
    let gone = delete(format!("{db}/_index/_design/by/json/n-word")).await;
    assert_eq!(gone.expect(200).json(), json!({"ok": true}));
    assert_eq!(
        session.get(&format!("{db}/_index")).await.json()["total_rows"],
        2
    );
    delete(format!("{db}/_index/by/json/even"))
        .await
        .expect(200);
    // With its last view the design document goes.
    session.get(&format!("{db}/_design/by")).await.expect(404);
    index(
        &session,
        &db,
        json!({"index": {"fields": ["n"]}, "ddoc": "x"}),
    )
    .await;
    let bulk = session
        .post(
            &format!("{db}/_index/_bulk_delete"),
            &json!({"docids": ["_design/x", "nothing"]}),
        )
        .await
        .expect(200)
        .json();
    assert_eq!(bulk["success"], json!([{"id": "_design/x", "ok": true}]));
    assert_eq!(
        bulk["fail"],
        json!([{"id": "nothing", "error": "not_found"}])
    );
}

#[tokio::test]
async fn a_partial_index_is_used_when_it_is_asked_for() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = filled(&session, &private()).await;
    let body =
        json!({"index": {"fields": ["n"], "partial_filter_selector": {"even": true}}, "ddoc": "p"});
    index(&session, &db, body).await;
    let query = json!({"selector": {"n": {"$lt": 4}}});
    assert_eq!(
        ids(&find(&session, &db, query.clone()).await),
        ["6", "7", "8", "9"]
    );
    let mut asked = query;
    asked["use_index"] = "p".into();
    assert_eq!(ids(&find(&session, &db, asked).await), ["8", "6"]);
}

#[tokio::test]
async fn only_the_living_and_only_the_winners_are_found() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let mut gone = history("gone", 1, "a", json!(1));
    gone["_deleted"] = true.into();
    let docs = json!({"docs": [
        history("x", 2, "ba", json!(1)), history("x", 2, "ca", json!(2)), gone,
        {"_id": "_design/x", "_rev": support::rev(1, 'a'), "member": 2},
    ], "new_edits": false});
    session
        .post(&format!("{db}/_bulk_docs"), &docs)
        .await
        .expect(201);
    let found = find(
        &session,
        &db,
        json!({"selector": {"member": {"$gt": 0}}, "conflicts": true, "execution_stats": true}),
    )
    .await;
    assert_eq!(ids(&found), ["x"]);
    assert_eq!(found["docs"][0]["member"], 2);
    assert_eq!(
        found["docs"][0]["_conflicts"],
        json!([support::rev(2, 'b')])
    );
    let stats = &found["execution_stats"];
    assert_eq!(
        (&stats["total_docs_examined"], &stats["results_returned"]),
        (&json!(1), &json!(1))
    );
    assert!(stats["execution_time_ms"].is_number());
}

#[tokio::test]
async fn whoever_may_read_may_ask_and_the_owner_alone_makes_indexes() {
    let node = Node::start().await;
    let owner = node.session(1).await;
    let db = filled(&owner, &json!({"read": "public", "write": "public"})).await;
    let public = node.client().public().await;
    let send = |method: &'static str, path: &'static str, body: Value| {
        let (client, credential) = (node.client(), public.clone());
        let path = format!("{db}{path}");
        async move {
            client
                .send(method, &path, &credential, body.to_string())
                .await
        }
    };
    let selector = json!({"selector": {"n": 1}});
    let found = send("POST", "/_find", selector.clone()).await;
    assert_eq!(ids(&found.expect(200).json()), ["8"]);
    send("POST", "/_explain", selector).await.expect(200);
    send("GET", "/_index", Value::Null).await.expect(200);
    let body = json!({"index": {"fields": ["n"]}, "ddoc": "i", "name": "i"});
    let refused = send("POST", "/_index", body.clone()).await;
    assert_eq!(
        refused.expect(401).json()["reason"],
        "You are not a db or server admin."
    );
    index(&owner, &db, body).await;
    send("DELETE", "/_index/i/json/i", Value::Null)
        .await
        .expect(401);
    send("POST", "/_index/_bulk_delete", json!({"docids": ["i"]}))
        .await
        .expect(401);
    assert_eq!(
        owner.get(&format!("{db}/_index")).await.json()["total_rows"],
        2
    );
}

#[tokio::test]
async fn a_query_over_the_nodes_bounds_is_refused_whole() {
    let bounded = |find_documents, find_bytes| Limits {
        find_documents,
        find_bytes,
        ..Limits::default()
    };
    for (limits, status) in [
        (bounded(10, 1 << 20), 200),
        (bounded(9, 1 << 20), 413),
        (bounded(10, 600), 413),
    ] {
        let node = Node::with_limits(limits).await;
        let session = node.session(1).await;
        let db = filled(&session, &private()).await;
        let ask = async |query: Value| session.post(&format!("{db}/_find"), &query).await;
        let answer = ask(json!({"selector": {"n": 99}})).await;
        answer.expect(status);
        if status == 413 {
            assert_eq!(answer.json()["error"], "too_large");
        }
        // A range of ids is looked at alone.
        let narrow = json!({"selector": {"_id": {"$gte": "3", "$lt": "5"}, "n": 99}});
        ask(narrow).await.expect(200);
        let first = ask(json!({"selector": {}, "limit": 2})).await;
        assert_eq!(ids(&first.expect(200).json()), ["0", "1"]);
    }
}

#[tokio::test]
async fn a_malformed_query_is_refused_in_couchdbs_words() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    for (body, error) in [
        ("", "bad_request"),
        ("{}", "missing_required_key"),
        ("{\"selector\":{},\"x\":1}", "invalid_key"),
        (
            "{\"selector\":{\"a\":{\"$regex\":\"(?=x)\"}}}",
            "bad_request",
        ),
    ] {
        let answer = node
            .client()
            .send("POST", &format!("{db}/_find"), &session.access, body)
            .await;
        assert_eq!(answer.expect(400).json()["error"], error, "{body}");
    }
    let long = format!("{{\"selector\":{{\"a\":\"{}\"}}}}", "x".repeat(64 << 10));
    let answer = node
        .client()
        .send("POST", &format!("{db}/_find"), &session.access, long)
        .await;
    answer.expect(413);
    session.get(&format!("{db}/_find")).await.expect(405);
}
