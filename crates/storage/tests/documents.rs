//! The data path: documents, bulk writes, conflicts, local documents, lists.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

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
        (&json!(1), &json!(0))
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
        "bad_request",
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
