//! What an owner does to a database as a whole, and the lists and answers around documents. What is expected is what CouchDB 3
//! documents for `_revs_limit`, `_compact`, `_purge`, `_missing_revs`, `_all_docs`, `_design_docs`, `_local_docs` and documents.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::time::Duration;

use adyton_storage::Limits;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use support::{Answer, Node, Session, history, rev};

async fn push(session: &Session, db: &str, docs: Value) {
    let body = json!({"docs": docs, "new_edits": false});
    session
        .post(&format!("{db}/_bulk_docs"), &body)
        .await
        .expect(201);
}

/// Edits a document `times` times, and returns its last revision.
async fn edit(session: &Session, db: &str, id: &str, times: u64) -> String {
    let mut rev = Value::Null;
    for n in 0..times {
        let mut doc = json!({"n": n});
        if !rev.is_null() {
            doc["_rev"] = rev;
        }
        let written = session.put(&format!("{db}/{id}"), &doc).await;
        rev = written.expect(201).json()["rev"].clone();
    }
    rev.as_str().unwrap().to_owned()
}

async fn known_revisions(session: &Session, db: &str, id: &str) -> usize {
    let doc = session.get(&format!("{db}/{id}?revs=true")).await;
    let doc = doc.expect(200).json();
    doc["_revisions"]["ids"].as_array().unwrap().len()
}

fn row_ids(answer: &Answer) -> Vec<String> {
    answer.expect(200).json()["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["id"].as_str().unwrap_or("none").to_owned())
        .collect()
}

#[tokio::test]
async fn a_limit_of_revisions_is_kept_by_writes_and_by_compaction() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let limit = format!("{db}/_revs_limit");
    assert_eq!(session.get(&limit).await.expect(200).text(), "1000");
    edit(&session, &db, "old", 6).await;
    assert_eq!(
        session.put(&limit, &json!(3)).await.expect(200).json(),
        json!({"ok": true})
    );
    assert_eq!(session.get(&limit).await.text(), "3");
    edit(&session, &db, "new", 6).await;
    assert_eq!(known_revisions(&session, &db, "new").await, 3);
    // What was written before is stemmed by the next write, or by compaction.
    assert_eq!(known_revisions(&session, &db, "old").await, 6);
    let seq = session.get(&db).await.json()["update_seq"].clone();
    let compacted = session.post(&format!("{db}/_compact"), &json!({})).await;
    assert_eq!(compacted.expect(202).json(), json!({"ok": true}));
    assert_eq!(known_revisions(&session, &db, "old").await, 3);
    // To forget is no news.
    assert_eq!(session.get(&db).await.json()["update_seq"], seq);
    for wrong in [json!(0), json!(-1), json!(1001), json!("3"), json!(null)] {
        session
            .client
            .send("PUT", &limit, &session.access, wrong.to_string())
            .await
            .expect(400);
    }
    let node = node.restart().await;
    let text = node.client().send("GET", &limit, &session.access, "").await;
    assert_eq!(text.expect(200).text(), "3");
}

#[tokio::test]
async fn compaction_gives_unused_bytes_back() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let filler = "f".repeat(1 << 20);
    for id in 0..8 {
        let path = format!("{db}/{id}");
        let written = session
            .put(&path, &json!({"f": filler}))
            .await
            .expect(201)
            .json();
        let path = format!("{path}?rev={}", written["rev"].as_str().unwrap());
        session
            .send("DELETE", &path, &Value::Null)
            .await
            .expect(200);
    }
    session
        .put(&format!("{db}/kept"), &json!({"n": 1}))
        .await
        .expect(201);
    let size = async || {
        session.get(&db).await.json()["sizes"]["file"]
            .as_u64()
            .unwrap()
    };
    let before = size().await;
    session
        .post(&format!("{db}/_compact"), &json!({}))
        .await
        .expect(202);
    let after = size().await;
    assert!(after < before / 2, "{before} {after}");
    assert_eq!(
        session.get(&format!("{db}/kept")).await.expect(200).json()["n"],
        1
    );
    session
        .put(&format!("{db}/more"), &json!({}))
        .await
        .expect(201);
    // While a feed waits, the database is compacted as far as that goes.
    let path = format!("{db}/_changes?feed=continuous&heartbeat=60000");
    let feed = session.client.open("GET", &path, &session.access, "").await;
    session
        .post(&format!("{db}/_compact"), &json!({}))
        .await
        .expect(202);
    drop(feed);
}

#[tokio::test]
async fn a_reader_does_not_keep_a_full_account_full() {
    let limits = Limits {
        account_bytes: 48 << 20,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    let everybody = json!({"read": "public", "write": "owner"});
    let db = session.database_with("d", &everybody).await;
    let document = json!({"f": "f".repeat(4 << 20)});
    let mut written = Vec::new();
    let full = loop {
        let path = format!("{db}/{}", written.len());
        let answer = session.put(&path, &document).await;
        match answer.status.as_u16() {
            201 => written.push((path, answer.json()["rev"].as_str().unwrap().to_owned())),
            _ => break answer,
        }
    };
    full.expect(507);
    let path = format!("{db}/_all_docs?include_docs=true");
    let stranger = node.client().public().await;
    let mut slow = node
        .client()
        .open("GET", &path, &stranger, "")
        .await
        .into_body();
    slow.frame().await.unwrap().unwrap();
    // Until all that fits anywhere was sent.
    tokio::time::sleep(Duration::from_millis(500)).await;
    for (path, rev) in &written[1..] {
        let path = format!("{path}?rev={rev}");
        session
            .send("DELETE", &path, &Value::Null)
            .await
            .expect(200);
    }
    let compact = format!("{db}/_compact");
    session.post(&compact, &json!({})).await.expect(202);
    let path = format!("{db}/more");
    session.put(&path, &document).await.expect(201);
    // The reader goes on behind what he was told, to the end.
    let mut told = Vec::new();
    while let Some(frame) = slow.frame().await {
        told.extend(frame.unwrap().into_data().unwrap());
    }
    assert!(told.ends_with(b"]}") && told.len() < written.len() << 22);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_is_written_and_read_while_it_is_compacted() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let (client, access) = (session.client, session.access.clone());
    let compacting = {
        let (path, access) = (format!("{db}/_compact"), access.clone());
        tokio::spawn(async move {
            for _ in 0..30 {
                client.send("POST", &path, &access, "").await.expect(202);
            }
        })
    };
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (db, access) = (db.clone(), access.clone());
            tokio::spawn(async move {
                for n in 0..25 {
                    let path = format!("{db}/{writer}-{n}");
                    client.send("PUT", &path, &access, "{}").await.expect(201);
                    client.send("GET", &path, &access, "").await.expect(200);
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    compacting.await.unwrap();
    let told = session.get(&format!("{db}/_changes")).await.json();
    assert_eq!(told["results"].as_array().unwrap().len(), 100);
    assert_eq!(session.get(&db).await.json()["doc_count"], 100);
}

#[tokio::test]
async fn a_purged_leaf_is_gone_as_if_it_had_never_been() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    push(
        &session,
        &db,
        json!([
            history("x", 2, "ba", json!(1)),
            history("x", 3, "dca", json!(2)),
            history("y", 1, "a", json!(3))
        ]),
    )
    .await;
    let wanted = json!({"x": [rev(3, 'd'), rev(1, 'a'), rev(7, 'f')], "y": [rev(1, 'a')], "z": [rev(1, 'a')]});
    let purged = session.post(&format!("{db}/_purge"), &wanted).await;
    assert_eq!(
        purged.expect(201).json(),
        json!({"purge_seq": null, "purged": {"x": [rev(3, 'd')], "y": [rev(1, 'a')], "z": []}})
    );
    // The other branch wins now, and its change is told anew; the other document is in no list.
    let x = session
        .get(&format!("{db}/x?revs_info=true"))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&x["_rev"], x["_revs_info"].as_array().unwrap().len()),
        (&json!(rev(2, 'b')), 2)
    );
    let missing = json!({"error": "not_found", "reason": "missing"});
    assert_eq!(
        session.get(&format!("{db}/y")).await.expect(404).json(),
        missing
    );
    let changes = session
        .get(&format!("{db}/_changes?include_docs=true"))
        .await
        .json();
    let rows = changes["results"].as_array().unwrap();
    assert_eq!((rows.len(), &rows[0]["doc"]["member"]), (1, &json!(1)));
    let info = session.get(&db).await.json();
    assert_eq!(
        (
            &info["doc_count"],
            &info["doc_del_count"],
            &info["purge_seq"]
        ),
        (&json!(1), &json!(0), &json!("2"))
    );
    // A peer that still has it may bring it back.
    push(&session, &db, json!([history("y", 1, "a", json!(3))])).await;
    session.get(&format!("{db}/y")).await.expect(200);
    let again = json!({"x": [rev(2, 'b')], "y": [rev(1, 'a')]});
    session
        .post(&format!("{db}/_purge"), &again)
        .await
        .expect(201);
    let info = session.get(&db).await.json();
    assert_eq!(
        (&info["doc_count"], &info["sizes"]["external"]),
        (&json!(0), &json!(0))
    );
    // What was attached goes with the revision.
    let attached = json!({"_attachments": {"a": {"content_type": "text/plain", "data": "AAAA"}}});
    let path = format!("{db}/with");
    let written = session.put(&path, &attached).await.expect(201).json();
    session.get(&format!("{path}/a")).await.expect(200);
    let last = json!({"with": [written["rev"]]});
    session
        .post(&format!("{db}/_purge"), &last)
        .await
        .expect(201);
    session.get(&format!("{path}/a")).await.expect(404);
    assert_eq!(session.get(&db).await.json()["sizes"]["external"], 0);
    session
        .post(&format!("{db}/_purge"), &json!({"x": ["1-x"]}))
        .await
        .expect(400);
}

#[tokio::test]
async fn only_the_owner_forgets_purges_compacts_and_lists_checkpoints() {
    let node = Node::start().await;
    let owner = node.session(1).await;
    let writer = node.session(2).await;
    let shared = json!({"read": "users", "write": "users",
        "readList": [writer.person.did.as_given()], "writeList": [writer.person.did.as_given()]});
    let db = owner.database_with("d", &shared).await;
    owner.put(&format!("{db}/x"), &json!({})).await.expect(201);
    for (method, path, body) in [
        ("PUT", "_revs_limit", json!(1)),
        ("POST", "_compact", json!({})),
        ("POST", "_purge", json!({"x": []})),
        ("GET", "_local_docs", Value::Null),
        ("PUT", "_security", json!({"members": {"names": []}})),
        ("POST", "_index", json!({"index": {"fields": ["a"]}})),
    ] {
        let refused = writer.send(method, &format!("{db}/{path}"), &body).await;
        assert_eq!(
            refused.expect(401).json(),
            json!({"error": "unauthorized", "reason": "You are not a db or server admin."}),
            "{path}"
        );
    }
    assert_eq!(
        writer
            .get(&format!("{db}/_revs_limit"))
            .await
            .expect(200)
            .text(),
        "1000"
    );
    // Permissions are not CouchDB's to set, not even for the owner.
    let refused = owner.put(&format!("{db}/_security"), &json!({})).await;
    assert_eq!(refused.expect(403).json()["error"], "forbidden");
    let security = owner
        .get(&format!("{db}/_security"))
        .await
        .expect(200)
        .json();
    assert_eq!(security["members"]["names"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn revisions_that_are_missing_are_named() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    push(&session, &db, json!([history("x", 2, "ba", json!(1))])).await;
    let asked = json!({"x": [rev(2, 'b'), rev(1, 'a'), rev(3, 'c')], "y": [rev(1, 'a')]});
    let missing = session.post(&format!("{db}/_missing_revs"), &asked).await;
    assert_eq!(
        missing.expect(200).json(),
        json!({"missing_revs": {"x": [rev(3, 'c')], "y": [rev(1, 'a')]}})
    );
    let known = session
        .post(&format!("{db}/_missing_revs"), &json!({"x": [rev(2, 'b')]}))
        .await;
    assert_eq!(known.expect(200).json(), json!({"missing_revs": {}}));
}

#[tokio::test]
async fn all_documents_design_documents_and_local_documents_are_listed() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let docs: Vec<Value> = ["a", "b", "_design/x", "_design/y", "z"]
        .map(|id| json!({"_id": id}))
        .to_vec();
    session
        .post(&format!("{db}/_bulk_docs"), &json!({"docs": docs}))
        .await
        .expect(201);
    for id in ["q", "r"] {
        session
            .put(&format!("{db}/_local/{id}"), &json!({"at": id}))
            .await
            .expect(201);
    }
    let list = async |path: &str| session.get(&format!("{db}/{path}")).await;
    assert_eq!(
        row_ids(&list("_all_docs").await),
        ["_design/x", "_design/y", "a", "b", "z"]
    );
    // A key that is not there is no row; of listed keys each has one.
    assert_eq!(row_ids(&list("_all_docs?key=%22nothing%22").await), [""; 0]);
    assert_eq!(row_ids(&list("_all_docs?key=%22b%22").await), ["b"]);
    assert_eq!(
        row_ids(&list("_all_docs?keys=%5B%22b%22,%22nothing%22%5D").await),
        ["b", "none"]
    );
    let page = list("_all_docs?startkey=%22b%22&descending=true&limit=2&skip=1").await;
    assert_eq!(row_ids(&page), ["a", "_design/y"]);
    let open = list("_all_docs?startkey=%22a%22&endkey=%22z%22&inclusive_end=false").await;
    assert_eq!(row_ids(&open), ["a", "b"]);
    let posted = session
        .post(
            &format!("{db}/_all_docs"),
            &json!({"start_key": "b", "descending": true, "limit": 1}),
        )
        .await;
    assert_eq!(row_ids(&posted), ["b"]);
    let with_seq = list("_all_docs?update_seq=true&limit=0").await.json();
    assert_eq!(
        with_seq["update_seq"],
        session.get(&db).await.json()["update_seq"]
    );
    assert_eq!(
        (&with_seq["total_rows"], &with_seq["offset"]),
        (&json!(5), &json!(0))
    );

    let designs = list("_design_docs").await;
    assert_eq!(row_ids(&designs), ["_design/x", "_design/y"]);
    assert_eq!(designs.json()["total_rows"], 2);
    assert_eq!(
        row_ids(&list("_design_docs?descending=true&limit=1").await),
        ["_design/y"]
    );
    assert_eq!(
        row_ids(&list("_design_docs?startkey=%22_design/xa%22").await),
        ["_design/y"]
    );

    let local = list("_local_docs?include_docs=true").await;
    assert_eq!(row_ids(&local), ["_local/q", "_local/r"]);
    assert_eq!(local.json()["rows"][0]["value"], json!({"rev": "0-1"}));
    assert_eq!(local.json()["rows"][1]["doc"]["at"], "r");
    assert_eq!(
        row_ids(&list("_local_docs?startkey=%22_local/r%22").await),
        ["_local/r"]
    );
    assert_eq!(
        row_ids(&list("_local_docs?skip=1&limit=5").await),
        ["_local/r"]
    );
    list("_local_docs?descending=true").await.expect(400);
}

#[tokio::test]
async fn a_document_that_a_client_has_is_not_sent_again() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let path = format!("{db}/x");
    let first = edit(&session, &db, "x", 1).await;
    let tag = session.get(&path).await.headers["etag"]
        .to_str()
        .unwrap()
        .to_owned();
    assert_eq!(tag, format!("\"{first}\""));
    for known in [
        tag.clone(),
        format!("W/{tag}"),
        format!("\"1-x\", {tag}"),
        "*".into(),
    ] {
        let answer = session.get_with(&path, &[("if-none-match", &known)]).await;
        assert_eq!(
            (
                answer.expect(304).headers["etag"].to_str().unwrap(),
                answer.body.len()
            ),
            (tag.as_str(), 0)
        );
    }
    session
        .get_with(&path, &[("if-none-match", "\"1-x\"")])
        .await
        .expect(200);
    // What is told besides the revision may change without it.
    for more in [
        "conflicts=true",
        "revs_info=true",
        "local_seq=true",
        "meta=true",
    ] {
        let answer = session
            .get_with(&format!("{path}?{more}"), &[("if-none-match", &tag)])
            .await;
        assert!(answer.expect(200).headers.get("etag").is_none(), "{more}");
    }
    let told = session.get(&format!("{path}?local_seq=true")).await.json();
    assert_eq!(told["_local_seq"], 1);
    let head = session.send("HEAD", &path, &Value::Null).await;
    assert_eq!(head.expect(200).headers["etag"].to_str().unwrap(), tag);
    assert_eq!(head.body.len(), 0);
    session
        .send("HEAD", &format!("{db}/nothing"), &Value::Null)
        .await
        .expect(404);
    let head = session.send("HEAD", &db, &Value::Null).await;
    assert_eq!(
        (head.expect(200).body.len(), &head.headers["content-type"]),
        (0, &"application/json".parse().unwrap())
    );
}

#[tokio::test]
async fn nothing_in_a_design_document_is_ever_run() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let design = json!({"language": "javascript", "views": {"v": {"map": "function(doc) { emit(doc._id) }"}},
        "validate_doc_update": "function() { throw({forbidden: 'no'}) }", "updates": {"u": "function() {}"}});
    session
        .put(&format!("{db}/_design/x"), &design)
        .await
        .expect(201);
    let kept = session
        .get(&format!("{db}/_design/x"))
        .await
        .expect(200)
        .json();
    assert_eq!(kept["views"], design["views"]);
    session
        .put(&format!("{db}/doc"), &json!({}))
        .await
        .expect(201);
    let none = json!({"error": "not_found", "reason": "missing_named_view"});
    for path in [
        "_view/v",
        "_update/u",
        "_show/s",
        "_list/l/v",
        "_rewrite/r",
        "_info",
    ] {
        let answer = session.get(&format!("{db}/_design/x/{path}")).await;
        assert_eq!(answer.expect(404).json(), none, "{path}");
        session
            .post(&format!("{db}/_design%2Fx/{path}"), &json!({}))
            .await
            .expect(404);
    }
    session
        .get(&format!("{db}/_changes?filter=x/f"))
        .await
        .expect(400);
}
