//! The data path: documents, bulk writes, conflicts, local documents, lists.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use adyton_storage::Limits;
use serde_json::{Value, json};
use support::{Node, history, rev};

#[tokio::test]
async fn a_document_is_written_read_replaced_and_deleted() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let doc = format!("{db}/a%2Fb");

    let first = session.put(&doc, &json!({"n": 1})).await.expect(201).json();
    assert_eq!(first["id"], "a/b");
    let first_rev = first["rev"].as_str().unwrap();
    assert!(first_rev.starts_with("1-"));
    let read = session.get(&doc).await;
    assert_eq!(read.headers["etag"], format!("\"{first_rev}\""));
    assert_eq!(
        read.expect(200).json(),
        json!({"_id": "a/b", "_rev": first_rev, "n": 1})
    );

    let conflict = json!({"error": "conflict", "reason": "Document update conflict."});
    assert_eq!(
        session.put(&doc, &json!({"n": 2})).await.expect(409).json(),
        conflict
    );
    let body = json!({"_id": "a/b", "_rev": first_rev, "n": 2});
    let second = session.put(&doc, &body).await.expect(201).json();
    let second_rev = second["rev"].as_str().unwrap();
    assert!(second_rev.starts_with("2-"));
    session.put(&doc, &body).await.expect(409);
    let other = format!("{db}/other");
    let made = session.put(&other, &json!({})).await.expect(201).json();
    let tombstone = json!({"_rev": made["rev"], "_deleted": true});
    session.put(&other, &tombstone).await.expect(200);
    session.get(&other).await.expect(404);
    session
        .get(&format!("{doc}?rev={first_rev}"))
        .await
        .expect(404);

    session.send("DELETE", &doc, &Value::Null).await.expect(409);
    session
        .send("DELETE", &format!("{doc}?rev=undefined"), &Value::Null)
        .await
        .expect(400);
    session
        .send("DELETE", &format!("{doc}?rev={first_rev}"), &Value::Null)
        .await
        .expect(409);
    let gone = session
        .send("DELETE", &format!("{doc}?rev={second_rev}"), &Value::Null)
        .await;
    assert!(
        gone.expect(200).json()["rev"]
            .as_str()
            .unwrap()
            .starts_with("3-")
    );
    let deleted = json!({"error": "not_found", "reason": "deleted"});
    assert_eq!(session.get(&doc).await.expect(404).json(), deleted);
    let missing = json!({"error": "not_found", "reason": "missing"});
    assert_eq!(
        session
            .get(&format!("{db}/nothing"))
            .await
            .expect(404)
            .json(),
        missing
    );

    // A deleted document is made anew on top of its history.
    let again = session.put(&doc, &json!({"n": 4})).await.expect(201).json();
    assert!(again["rev"].as_str().unwrap().starts_with("4-"));
    let info = session.get(&db).await.expect(200).json();
    assert_eq!(
        (&info["doc_count"], &info["doc_del_count"]),
        (&json!(1), &json!(1))
    );
}

#[tokio::test]
async fn the_bytes_of_a_document_come_back_as_they_were() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let body = r#"{"z":1.0e2, "a":"\u00e9\ud83d\ude00 \/", "big":123456789012345678901234567890,"o":{"b":[ ],"a":null}}"#;
    let written = node
        .client()
        .send("PUT", &format!("{db}/x"), &session.access, body)
        .await
        .expect(201)
        .json();
    let rev = written["rev"].as_str().unwrap();
    let expected = format!(
        r#"{{"_id":"x","_rev":"{rev}","z":1.0e2,"a":"\u00e9\ud83d\ude00 \/","big":123456789012345678901234567890,"o":{{"b":[ ],"a":null}}}}"#
    );
    assert_eq!(session.get(&format!("{db}/x")).await.text(), expected);
    let changes = session
        .get(&format!("{db}/_changes?include_docs=true"))
        .await
        .text();
    assert!(
        changes.contains(&format!("\"doc\":{expected}}}")),
        "{changes}"
    );
    let all = session
        .get(&format!("{db}/_all_docs?include_docs=true"))
        .await
        .text();
    assert!(all.contains(&format!("\"doc\":{expected}}}")), "{all}");
}

#[tokio::test]
async fn replicated_revisions_are_merged_and_conflicts_kept() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let push = |docs: Value| {
        let body = json!({"docs": docs, "new_edits": false});
        let session = &session;
        let path = format!("{db}/_bulk_docs");
        async move { session.post(&path, &body).await.expect(201).json() }
    };
    assert_eq!(
        push(json!([
            history("x", 2, "ba", json!(1)),
            history("x", 2, "ca", json!(2))
        ]))
        .await,
        json!([])
    );
    // Known revisions are no news.
    assert_eq!(
        push(json!([history("x", 2, "ba", json!("other"))])).await,
        json!([])
    );

    let read = session
        .get(&format!("{db}/x?conflicts=true&revs=true"))
        .await
        .expect(200)
        .json();
    assert_eq!(read["_rev"], rev(2, 'c'));
    assert_eq!(read["_conflicts"], json!([rev(2, 'b')]));
    assert_eq!(
        read["_revisions"],
        json!({"start": 2, "ids": ["c".repeat(32), "a".repeat(32)]})
    );
    let loser = session
        .get(&format!("{db}/x?rev={}", rev(2, 'b')))
        .await
        .expect(200)
        .json();
    assert_eq!(loser["member"], 1);

    let open = session
        .get(&format!("{db}/x?open_revs=all&revs=true"))
        .await
        .expect(200)
        .json();
    assert_eq!(open.as_array().unwrap().len(), 2);
    let wanted = json!([rev(2, 'b'), rev(9, 'f')]).to_string();
    let wanted: String = url::form_urlencoded::byte_serialize(wanted.as_bytes()).collect();
    let open = session
        .get(&format!("{db}/x?open_revs={wanted}"))
        .await
        .expect(200)
        .json();
    assert_eq!(open[0]["ok"]["_rev"], rev(2, 'b'));
    assert_eq!(open[1], json!({"missing": rev(9, 'f')}));

    let row = &session
        .get(&format!("{db}/_changes?style=all_docs"))
        .await
        .json()["results"][0];
    assert_eq!(
        row["changes"],
        json!([{"rev": rev(2, 'c')}, {"rev": rev(2, 'b')}])
    );
    let row = &session.get(&format!("{db}/_changes")).await.json()["results"][0];
    assert_eq!(row["changes"], json!([{"rev": rev(2, 'c')}]));

    // Deleting the winner lets the other branch win.
    let mut tombstone = history("x", 3, "dca", json!("kept"));
    tombstone["_deleted"] = true.into();
    assert_eq!(push(json!([tombstone])).await, json!([]));
    assert_eq!(
        session.get(&format!("{db}/x")).await.expect(200).json()["_rev"],
        rev(2, 'b')
    );
    let tombstone = session
        .get(&format!("{db}/x?rev={}", rev(3, 'd')))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&tombstone["_deleted"], &tombstone["member"]),
        (&json!(true), &json!("kept"))
    );
}

#[tokio::test]
async fn what_a_peer_lacks_is_told_and_sent() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let body = json!({"docs": [history("x", 3, "cba", json!(1))], "new_edits": false});
    session
        .post(&format!("{db}/_bulk_docs"), &body)
        .await
        .expect(201);

    let ask = json!({"x": [rev(3, 'c'), rev(2, 'b'), rev(4, 'd')], "y": [rev(1, 'e')], "z": []});
    let diff = session
        .post(&format!("{db}/_revs_diff"), &ask)
        .await
        .expect(200)
        .json();
    assert_eq!(
        diff,
        json!({
            "x": {"missing": [rev(4, 'd')], "possible_ancestors": [rev(3, 'c')]},
            "y": {"missing": [rev(1, 'e')]},
        })
    );

    let ask = json!({"docs": [
        {"id": "x", "rev": rev(3, 'c')},
        {"id": "x", "rev": rev(1, 'a')},
        {"id": "y", "rev": rev(1, 'e')},
        {"id": "x"},
    ]});
    let got = session
        .post(&format!("{db}/_bulk_get?revs=true&latest=true"), &ask)
        .await;
    let got = got.expect(200).json();
    let results = got["results"].as_array().unwrap();
    assert_eq!(results.len(), 4);
    assert_eq!(results[0]["id"], "x");
    let ok = &results[0]["docs"][0]["ok"];
    assert_eq!(
        (&ok["_rev"], &ok["member"]),
        (&json!(rev(3, 'c')), &json!(1))
    );
    assert_eq!(ok["_revisions"]["ids"].as_array().unwrap().len(), 3);
    // latest=true: the leaf that followed.
    assert_eq!(results[1]["docs"][0]["ok"]["_rev"], rev(3, 'c'));
    let missing = json!({"id": "y", "rev": rev(1, 'e'), "error": "not_found", "reason": "missing"});
    assert_eq!(results[2]["docs"][0]["error"], missing);
    assert_eq!(results[3]["docs"][0]["ok"]["_rev"], rev(3, 'c'));
    let without = session
        .post(&format!("{db}/_bulk_get"), &ask)
        .await
        .expect(200)
        .json();
    assert_eq!(
        without["results"][1]["docs"][0]["error"]["reason"],
        "missing"
    );
    let none = session
        .post(&format!("{db}/_bulk_get"), &json!({"docs": []}))
        .await;
    assert_eq!(none.expect(200).json(), json!({"results": []}));
}

#[tokio::test]
async fn one_wrong_document_of_many_is_refused_by_itself() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let path = format!("{db}/_bulk_docs");
    let docs = json!([
        {"_id": "good"},
        {"_id": "_reserved"},
        {"_id": "a", "_attachments": {"f": {}}},
        {"_id": "b", "_unknown": 1},
        {"_id": "c", "_rev": "x"},
        {"_id": "good"},
        {"without": "id"},
        3,
        {"_id": "_local/x"},
    ]);
    let answer = session
        .post(&path, &json!({"docs": docs}))
        .await
        .expect(201)
        .json();
    let errors: Vec<&str> = answer
        .as_array()
        .unwrap()
        .iter()
        .map(|line| {
            line.get("error")
                .map_or("ok", |error| error.as_str().unwrap())
        })
        .collect();
    let expected = [
        "ok",
        "illegal_docid",
        "bad_request",
        "doc_validation",
        "bad_request",
        "conflict",
        "ok",
        "bad_request",
        "ok",
    ];
    assert_eq!(errors, expected);
    // Replicated documents need their names.
    let docs = json!([{"_id": "r"}, {"_rev": rev(1, 'a')}]);
    let answer = session
        .post(&path, &json!({"docs": docs, "new_edits": false}))
        .await;
    assert_eq!(answer.expect(201).json().as_array().unwrap().len(), 2);
    for body in ["", "{}", "[]", "{\"docs\":{}}", "{\"docs\":[", "\u{ff}"] {
        node.client()
            .send("POST", &path, &session.access, body.to_owned())
            .await
            .expect(400);
    }
    assert_eq!(session.get(&db).await.json()["doc_count"], 2);
}

#[tokio::test]
async fn checkpoints_are_kept_apart() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let path = format!("{db}/_local/KUK8BBFt97dTUJghCVUx1w%3D%3D");
    session.get(&path).await.expect(404);
    let body = json!({"_id": "_local/KUK8BBFt97dTUJghCVUx1w==", "last_seq": "1-x", "history": []});
    let first = session.put(&path, &body).await.expect(201).json();
    assert_eq!(
        first,
        json!({"ok": true, "id": "_local/KUK8BBFt97dTUJghCVUx1w==", "rev": "0-1"})
    );
    session.put(&path, &body).await.expect(409);
    let mut next = session.get(&path).await.expect(200).json();
    assert_eq!(
        (&next["_rev"], &next["last_seq"]),
        (&json!("0-1"), &json!("1-x"))
    );
    next["last_seq"] = "2-x".into();
    assert_eq!(
        session.put(&path, &next).await.expect(201).json()["rev"],
        "0-2"
    );
    assert_eq!(
        session.get(&format!("{db}/_changes")).await.json()["results"],
        json!([])
    );
    assert_eq!(session.get(&db).await.json()["doc_count"], 0);
    session
        .send("DELETE", &format!("{path}?rev=0-1"), &Value::Null)
        .await
        .expect(409);
    session
        .send("DELETE", &format!("{path}?rev=0-2"), &Value::Null)
        .await
        .expect(200);
    session.get(&path).await.expect(404);
    session
        .send("DELETE", &format!("{path}?rev=0-2"), &Value::Null)
        .await
        .expect(404);
    let huge = json!({"h": "x".repeat(256 << 10)});
    session.put(&path, &huge).await.expect(413);
}

#[tokio::test]
async fn a_local_document_is_deleted_by_put_too() {
    let node = Node::with_config(|config| config.limits.account_bytes = 8 << 20).await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let path = format!("{db}/_local/x");
    session.put(&path, &json!({"n": 1})).await.expect(201);
    let document = json!({"f": "f".repeat(1 << 20)});
    while session.post(&db, &document).await.status == 201 {}
    // The account is full: who deletes needs no room, whatever he says besides.
    let other = json!({"n": "n".repeat(100 << 10)});
    let full = session.put(&format!("{db}/_local/y"), &other).await;
    full.expect(507);
    let gone = |rev: &str| json!({"_rev": rev, "_deleted": true, "n": "n".repeat(100 << 10)});
    session.put(&path, &gone("0-7")).await.expect(409);
    assert_eq!(
        session.put(&path, &gone("0-1")).await.expect(200).json(),
        json!({"ok": true, "id": "_local/x", "rev": "0-0"})
    );
    session.get(&path).await.expect(404);
    session.put(&path, &gone("0-1")).await.expect(404);
    let again = session.put(&path, &json!({"n": 2})).await;
    assert_eq!(again.expect(201).json()["rev"], "0-1");
}

#[tokio::test]
async fn documents_are_listed_by_id() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let docs: Vec<Value> = ["a", "b", "c", "d", "é"]
        .iter()
        .map(|id| json!({"_id": id}))
        .collect();
    session
        .post(&format!("{db}/_bulk_docs"), &json!({"docs": docs}))
        .await
        .expect(201);
    let rev_b = session.get(&format!("{db}/b")).await.json()["_rev"]
        .as_str()
        .unwrap()
        .to_owned();
    session
        .send("DELETE", &format!("{db}/b?rev={rev_b}"), &Value::Null)
        .await
        .expect(200);

    let ids = |query: &str| {
        let (session, path) = (&session, format!("{db}/_all_docs{query}"));
        async move {
            let list = session.get(&path).await.expect(200).json();
            let rows = list["rows"].as_array().unwrap().clone();
            rows.iter()
                .map(|row| row["id"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        }
    };
    assert_eq!(ids("").await, ["a", "c", "d", "é"]);
    assert_eq!(ids("?descending=true").await, ["é", "d", "c", "a"]);
    assert_eq!(ids("?limit=2&skip=1").await, ["c", "d"]);
    assert_eq!(ids("?startkey=%22b%22&endkey=%22d%22").await, ["c", "d"]);
    assert_eq!(
        ids("?startkey=%22b%22&endkey=%22d%22&inclusive_end=false").await,
        ["c"]
    );
    assert_eq!(
        ids("?startkey=%22d%22&endkey=%22a%22&descending=true").await,
        ["d", "c", "a"]
    );
    assert_eq!(
        ids("?startkey=%22d%22&endkey=%22a%22&descending=true&inclusive_end=false").await,
        ["d", "c"]
    );
    assert_eq!(
        ids("?startkey=%22z%22&endkey=%22a%22").await,
        Vec::<String>::new()
    );
    assert_eq!(ids("?limit=0").await, Vec::<String>::new());
    let list = session.get(&format!("{db}/_all_docs")).await.json();
    assert_eq!(
        (&list["total_rows"], &list["offset"]),
        (&json!(4), &json!(0))
    );

    let keys = json!({"keys": ["c", "b", "nothing"]});
    let list = session
        .post(&format!("{db}/_all_docs?include_docs=true"), &keys)
        .await;
    let list = list.expect(200).json();
    assert_eq!(list["rows"][0]["doc"]["_id"], "c");
    assert_eq!(list["rows"][1]["value"]["deleted"], true);
    assert_eq!(list["rows"][1]["doc"], Value::Null);
    assert_eq!(
        list["rows"][2],
        json!({"key": "nothing", "error": "not_found"})
    );

    // Named twice, with documents and without: what is named is told, and nothing else.
    for query in ["", "?include_docs=true"] {
        let keys = json!({"keys": ["c", "nothing", "c"]});
        let list = session.post(&format!("{db}/_all_docs{query}"), &keys).await;
        let list = list.expect(200).json();
        let rows = list["rows"].as_array().unwrap();
        let told: Vec<&Value> = rows.iter().map(|row| &row["key"]).collect();
        assert_eq!(told, ["c", "nothing", "c"], "{query}");
    }
    let asked = format!("{db}/_all_docs?keys=%5B%22c%22,%22c%22%5D");
    let list = session.get(&asked).await.expect(200).json();
    assert_eq!(list["rows"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn keys_are_told_backwards_when_descending() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    for id in ["b1", "b2", "b3"] {
        session
            .put(&format!("{db}/{id}"), &json!({}))
            .await
            .expect(201);
    }
    let keys = |list: &Value| {
        let rows = list["rows"].as_array().unwrap().iter();
        rows.map(|row| row["key"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    for (query, told) in [
        ("", &["b1", "nothing", "b3", "b2"][..]),
        ("?descending=true", &["b2", "b3", "nothing", "b1"]),
        ("?descending=true&skip=1&limit=2", &["b3", "nothing"]),
        ("?descending=true&skip=9", &[]),
    ] {
        let named = json!({"keys": ["b1", "nothing", "b3", "b2"]});
        let list = session
            .post(&format!("{db}/_all_docs{query}"), &named)
            .await;
        assert_eq!(keys(&list.expect(200).json()), told, "{query}");
    }
    let lists = json!({"queries": [{"keys": ["b1", "b2"], "descending": true}]});
    let told = session
        .post(&format!("{db}/_all_docs/queries"), &lists)
        .await;
    let told = told.expect(200).json();
    assert_eq!(keys(&told["results"][0]), ["b2", "b1"]);
}

#[tokio::test]
async fn long_lists_come_whole_though_they_are_made_in_batches() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let filler = "f".repeat(700);
    for part in 0..3 {
        let docs: Vec<Value> = (0..1_500)
            .map(|n| json!({"_id": format!("{part}-{n:05}"), "f": filler}))
            .collect();
        session
            .post(&format!("{db}/_bulk_docs"), &json!({"docs": docs}))
            .await
            .expect(201);
    }
    for query in [
        "",
        "?include_docs=true",
        "?descending=true&include_docs=true",
    ] {
        let list = session
            .get(&format!("{db}/_all_docs{query}"))
            .await
            .expect(200)
            .json();
        let mut ids: Vec<&str> = list["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["id"].as_str().unwrap())
            .collect();
        assert_eq!(ids.len(), 4_500, "{query}");
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 4_500, "{query}");
    }
    let changes = session
        .get(&format!("{db}/_changes?include_docs=true"))
        .await
        .expect(200)
        .json();
    assert_eq!(changes["results"].as_array().unwrap().len(), 4_500);
    let wanted: Vec<Value> = (0..1_500)
        .map(|n| json!({"id": format!("1-{n:05}")}))
        .collect();
    let got = session
        .post(&format!("{db}/_bulk_get"), &json!({"docs": wanted}))
        .await;
    assert_eq!(
        got.expect(200).json()["results"].as_array().unwrap().len(),
        1_500
    );
}

#[tokio::test]
async fn head_and_cors_work_for_pages() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    session
        .put(&format!("{db}/x"), &json!({}))
        .await
        .expect(201);
    let head = session.send("HEAD", &format!("{db}/x"), &Value::Null).await;
    assert!(head.expect(200).body.is_empty());
    let preflight = session
        .send("OPTIONS", &format!("{db}/x"), &Value::Null)
        .await;
    assert!(
        preflight
            .expect(204)
            .headers
            .contains_key("access-control-allow-methods")
    );
}

/// What a peer pushes: a document with its revision, and whatever else.
fn pushed(id: &Value, members: &Value) -> Value {
    let mut document = history("x", 1, "a", json!(1));
    document["_id"] = id.clone();
    for (name, value) in members.as_object().unwrap() {
        document[name] = value.clone();
    }
    document
}

#[tokio::test]
async fn a_document_that_is_not_taken_is_named_whatever_is_wrong_with_it() {
    let limits = Limits {
        document_bytes: 100_000,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let path = format!("{db}/_bulk_docs");
    let attachment = |name: &str| json!({"_attachments": {name: {"data": "YQ=="}}});
    let many: serde_json::Map<String, Value> = (0..1_001)
        .map(|i| (i.to_string(), json!({"data": "YQ=="})))
        .collect();
    let long = "i".repeat(1_025);
    for (id, members, error) in [
        (long.as_str(), json!({}), "illegal_docid"),
        ("_reserved", json!({}), "illegal_docid"),
        ("a", json!({"_replication_id": "x"}), "doc_validation"),
        ("a", json!({"_replication_state": "x"}), "doc_validation"),
        ("a", json!({"_access": []}), "doc_validation"),
        ("a", attachment(&"n".repeat(1_025)), "bad_request"),
        ("a", json!({"_attachments": many}), "too_large"),
        ("a", json!({"_revisions": {}}), "bad_request"),
    ] {
        let body = json!({"docs": [pushed(&json!(id), &members), history("good", 1, "b", json!(1))], "new_edits": false});
        let lines = session.post(&path, &body).await.expect(201).json();
        assert_eq!(lines.as_array().unwrap().len(), 1, "{lines}");
        assert_eq!(
            (&lines[0]["id"], &lines[0]["rev"]),
            (&json!(id), &json!(rev(1, 'a')))
        );
        assert_eq!(lines[0]["error"], error);
    }
    // Half a surrogate pair in the name of a member, and in the id.
    for (id, member) in [("a", r"k\udc00"), (r"a\ud800", "k")] {
        let body = format!(r#"{{"docs":[{{"_id":"{id}","{member}":1}}]}}"#);
        let answer = node
            .client()
            .send("POST", &path, &session.access, body)
            .await;
        let text = answer.expect(201).text();
        assert!(
            text.starts_with(&format!(r#"[{{"id":"{id}","error":"#)),
            "{text}"
        );
    }
    // Of edits, too.
    let large = json!({"docs": [{"_id": "a", "t": "x".repeat(100_000)}, {"_id": "b"}]});
    let lines = session.post(&path, &large).await.expect(201).json();
    assert_eq!(
        (&lines[0]["id"], &lines[0]["error"]),
        (&json!("a"), &json!("too_large"))
    );
    assert_eq!(lines[1]["ok"], true);
}

#[tokio::test]
async fn history_with_a_document_that_is_too_long_is_413() {
    let limits = Limits {
        document_bytes: 100_000,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let path = format!("{db}/_bulk_docs");
    let long = json!("x".repeat(100_000));
    let body = json!({"docs": [history("a", 1, "a", json!(1)), history("b", 1, "a", long)], "new_edits": false});
    let refused = session.post(&path, &body).await.expect(413).json();
    assert_eq!(refused["error"], "too_large");
    assert_eq!(session.get(&db).await.json()["doc_count"], 0);
}

#[tokio::test]
async fn a_name_that_no_document_can_have_is_missing_and_stops_nobody() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let long = "i".repeat(1_025);
    let ask = json!({long.as_str(): [rev(1, 'a')], "x": [rev(1, 'a')]});
    let missing = json!({"missing": [rev(1, 'a')]});
    let diff = session.post(&format!("{db}/_revs_diff"), &ask).await;
    assert_eq!(
        diff.expect(200).json(),
        json!({long.as_str(): missing, "x": missing})
    );
    let lacked = session.post(&format!("{db}/_missing_revs"), &ask).await;
    assert_eq!(
        lacked.expect(200).json()["missing_revs"][&long],
        json!([rev(1, 'a')])
    );

    let docs: Vec<Value> = (0..9)
        .map(|i| history(&i.to_string(), 1, "a", json!(1)))
        .collect();
    let docs = [docs, vec![pushed(&json!(long), &json!({}))]].concat();
    let body = json!({"docs": docs, "new_edits": false});
    let lines = session
        .post(&format!("{db}/_bulk_docs"), &body)
        .await
        .expect(201)
        .json();
    assert_eq!(lines.as_array().unwrap().len(), 1);
    assert_eq!(lines[0]["id"], json!(long));
    assert_eq!(session.get(&db).await.json()["doc_count"], 9);

    let ask = json!({"docs": [
        {"id": long, "rev": rev(1, 'a')},
        {"id": "0", "rev": "undefined"},
        {"id": "0", "atts_since": ["x"]},
        {"id": "0", "rev": rev(1, 'a')},
    ]});
    let got = session
        .post(&format!("{db}/_bulk_get"), &ask)
        .await
        .expect(200)
        .json();
    let docs = |i: usize| got["results"][i]["docs"].clone();
    assert_eq!(docs(0)[0]["error"]["id"], json!(long));
    assert_eq!(docs(0)[0]["error"]["error"], "illegal_docid");
    for (i, named) in [(1, "undefined"), (2, "x")] {
        let error = json!({"id": "0", "rev": named, "error": "bad_request", "reason": "Invalid rev format"});
        assert_eq!(docs(i), json!([{"error": error}]));
    }
    assert_eq!(docs(3)[0]["ok"]["_rev"], json!(rev(1, 'a')));
}

#[tokio::test]
async fn a_revision_that_nobody_can_have_is_missing_and_stops_nobody() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let docs: Vec<Value> = (0..9)
        .map(|i| history(&i.to_string(), 1, "a", json!(1)))
        .collect();
    let odd = json!({"_id": "odd", "_rev": "1-abc", "_revisions": {"start": 1, "ids": ["abc"]}});
    let docs = [docs, vec![odd]].concat();
    let body = json!({"docs": docs, "new_edits": false});
    let post = async |path: &str, body: &Value| session.post(&format!("{db}/{path}"), body).await;
    let lines = post("_bulk_docs", &body).await.expect(201).json();
    let refused = json!({"id": "odd", "rev": "1-abc", "error": "bad_request", "reason": "Invalid rev format"});
    assert_eq!(lines, json!([refused]));
    assert_eq!(session.get(&db).await.json()["doc_count"], 9);

    let upper = format!("1-{}", "A".repeat(32));
    let asked = json!({
        "odd": ["1-abc", rev(1, 'a'), "3-\"", format!("{}0", rev(1, 'b'))],
        "0": ["2-abc", rev(1, 'a')],
        "1": [rev(1, 'a')],
        "2": [upper],
    });
    let missing = json!([rev(1, 'a'), "1-abc", "3-\"", format!("{}0", rev(1, 'b'))]);
    let diff = post("_revs_diff", &asked).await.expect(200).json();
    let told = json!({
        "odd": {"missing": missing},
        "0": {"missing": ["2-abc"], "possible_ancestors": [rev(1, 'a')]},
    });
    assert_eq!(diff, told);
    let lacked = post("_missing_revs", &asked).await.expect(200).json();
    let told = json!({"missing_revs": {"odd": missing, "0": ["2-abc"]}});
    assert_eq!(lacked, told);

    // A peer that has it tells what came after it: nothing here did.
    let items = json!({"docs": [{"id": "0", "rev": rev(1, 'a'), "atts_since": ["1-abc"]}]});
    let got = post("_bulk_get", &items).await.expect(200).json();
    assert_eq!(got["results"][0]["docs"][0]["ok"]["_rev"], rev(1, 'a'));
    // What is a revision nowhere is refused, as CouchDB does.
    let long = format!("1-{}", "x".repeat(1_024));
    for nothing in ["abc", "", "-abc", long.as_str()] {
        let asked = json!({"odd": [nothing]});
        post("_revs_diff", &asked).await.expect(400);
        post("_missing_revs", &asked).await.expect(400);
    }
}

#[tokio::test]
async fn an_item_without_a_revision_is_every_leaf() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let mut gone = history("x", 3, "dca", json!(3));
    gone["_deleted"] = true.into();
    let docs = json!([
        history("x", 2, "ba", json!(1)),
        history("x", 2, "ea", json!(2)),
        gone
    ]);
    let body = json!({"docs": docs, "new_edits": false});
    session
        .post(&format!("{db}/_bulk_docs"), &body)
        .await
        .expect(201);
    let ask = json!({"docs": [{"id": "x"}, {"id": "nothing"}]});
    let got = session
        .post(&format!("{db}/_bulk_get"), &ask)
        .await
        .expect(200)
        .json();
    let told = got["results"][0]["docs"].as_array().unwrap();
    let revs: Vec<&str> = told
        .iter()
        .map(|doc| doc["ok"]["_rev"].as_str().unwrap())
        .collect();
    assert_eq!(revs, [rev(2, 'e'), rev(2, 'b'), rev(3, 'd')]);
    let error = &got["results"][1]["docs"][0]["error"];
    assert_eq!(
        (&error["rev"], &error["reason"]),
        (&json!("undefined"), &json!("missing"))
    );
}

#[tokio::test]
async fn local_documents_of_a_bulk_write_are_kept_apart() {
    let limits = Limits {
        local_documents_for_readers: 2,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    let permissions = json!({"read": "public", "write": "owner"});
    let db = session.database_with("d", &permissions).await;
    let path = format!("{db}/_bulk_docs");
    let docs = json!({"docs": [{"_id": "_local/a", "n": 1}, {"_id": "b"}, {"_id": "_local/"}]});
    let lines = session.post(&path, &docs).await.expect(201).json();
    assert_eq!(
        lines[0],
        json!({"ok": true, "id": "_local/a", "rev": "0-1"})
    );
    assert_eq!(lines[1]["id"], "b");
    assert_eq!(
        (&lines[2]["id"], &lines[2]["error"]),
        (&json!("_local/"), &json!("illegal_docid"))
    );
    let kept = session
        .get(&format!("{db}/_local/a"))
        .await
        .expect(200)
        .json();
    assert_eq!(kept, json!({"_id": "_local/a", "_rev": "0-1", "n": 1}));
    let docs = json!({"docs": [
        {"_id": "_local/a", "n": 2},
        {"_id": "_local/a", "_rev": "0-1", "_deleted": true},
        {"_id": "_local/c", "n": "x".repeat(256 << 10)},
    ]});
    let lines = session.post(&path, &docs).await.expect(201).json();
    assert_eq!(lines[0]["error"], "conflict");
    assert_eq!(
        lines[1],
        json!({"ok": true, "id": "_local/a", "rev": "0-0"})
    );
    assert_eq!(
        (&lines[2]["id"], &lines[2]["error"]),
        (&json!("_local/c"), &json!("too_large"))
    );
    session.get(&format!("{db}/_local/a")).await.expect(404);

    // Who may read keeps checkpoints so, too, and no more of them.
    let reader = node.session(2).await;
    let docs = json!({"docs": [{"_id": "_local/p"}, {"_id": "_local/q"}, {"_id": "_local/r"}, {"_id": "s"}]});
    let lines = node
        .client()
        .send("POST", &path, &reader.access, docs.to_string())
        .await;
    let lines = lines.expect(201).json();
    assert_eq!(
        (&lines[0]["ok"], &lines[1]["ok"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(lines[2]["error"], "forbidden");
    assert_eq!(
        (&lines[3]["id"], &lines[3]["error"]),
        (&json!("s"), &json!("unauthorized"))
    );
}
