//! The feed of changes: from a position, with documents, awaited, ended.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use support::{Node, Session, history};

async fn write(session: &Session, db: &str, id: &str) {
    session
        .put(&format!("{db}/{id}"), &json!({}))
        .await
        .expect(201);
}

/// The next text of a feed.
async fn piece(feed: &mut Incoming) -> Option<String> {
    let frame = tokio::time::timeout(Duration::from_secs(20), feed.frame())
        .await
        .unwrap()?;
    Some(String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap())
}

/// The rest of a feed.
async fn rest(feed: &mut Incoming) -> String {
    let mut text = String::new();
    while let Some(piece) = piece(feed).await {
        text.push_str(&piece);
    }
    text
}

#[tokio::test]
async fn changes_are_told_in_order_and_from_a_position() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    for id in ["a", "b", "c"] {
        write(&session, &db, id).await;
    }
    let all = session
        .get(&format!("{db}/_changes"))
        .await
        .expect(200)
        .json();
    let ids: Vec<&Value> = all["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["id"])
        .collect();
    assert_eq!(ids, ["a", "b", "c"]);
    assert_eq!(all["pending"], 0);
    assert_eq!(all["last_seq"], all["results"][2]["seq"]);

    let seq = all["results"][1]["seq"].as_str().unwrap();
    let later = session
        .get(&format!("{db}/_changes?since={seq}"))
        .await
        .json();
    assert_eq!(later["results"].as_array().unwrap().len(), 1);
    let number = seq.split('-').next().unwrap();
    let later = session
        .get(&format!("{db}/_changes?since={number}"))
        .await
        .json();
    assert_eq!(later["results"].as_array().unwrap().len(), 1);
    let none = session
        .get(&format!("{db}/_changes?since=now"))
        .await
        .json();
    assert_eq!(
        (&none["results"], &none["last_seq"]),
        (&json!([]), &all["last_seq"])
    );

    let limited = session.get(&format!("{db}/_changes?limit=2")).await.json();
    assert_eq!(limited["last_seq"], all["results"][1]["seq"]);
    assert_eq!(limited["pending"], 1);
    let backwards = session
        .get(&format!("{db}/_changes?descending=true&limit=2"))
        .await
        .json();
    assert_eq!(backwards["results"][0]["id"], "c");
    assert_eq!(backwards["results"][1]["id"], "b");
    let some = session
        .post(
            &format!("{db}/_changes?filter=_doc_ids"),
            &json!({"doc_ids": ["b"]}),
        )
        .await;
    let some = some.expect(200).json();
    assert_eq!(some["results"].as_array().unwrap().len(), 1);
    assert_eq!(some["last_seq"], all["last_seq"]);
    session
        .get(&format!("{db}/_changes?since=x"))
        .await
        .expect(400);
}

#[tokio::test]
async fn the_newest_change_is_a_position_to_go_on_from() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let told = async |query: &str| {
        let feed = session.get(&format!("{db}/_changes?{query}")).await;
        feed.expect(200).json()
    };
    let empty = told("descending=true").await;
    assert_eq!(
        (&empty["results"], &empty["pending"]),
        (&json!([]), &json!(0))
    );
    assert_eq!(empty["last_seq"], told("").await["last_seq"]);
    for id in ["a", "b", "c", "d", "e"] {
        write(&session, &db, id).await;
    }
    let newest = told("descending=true&limit=1").await;
    assert_eq!(newest["results"][0]["id"], "e");
    assert_eq!(newest["last_seq"], newest["results"][0]["seq"]);
    assert_eq!(newest["last_seq"], told("").await["last_seq"]);
    assert_eq!(newest["pending"], 4);
    let since = newest["last_seq"].as_str().unwrap().to_owned();
    assert_eq!(told(&format!("since={since}")).await["results"], json!([]));
    write(&session, &db, "f").await;
    let later = told(&format!("since={since}")).await;
    assert_eq!(later["results"][0]["id"], "f");

    // Page by page downwards, `pending` says whether there is more.
    let first = told("").await["results"][0]["seq"].take();
    for (query, rows, pending) in [
        ("limit=4", 4, 2),
        ("limit=5", 5, 1),
        ("limit=6", 6, 0),
        ("limit=7", 6, 0),
        ("since=4", 2, 0),
        ("since=4&limit=1", 1, 1),
        ("since=now", 0, 0),
    ] {
        let page = told(&format!("descending=true&{query}")).await;
        let results = page["results"].as_array().unwrap();
        assert_eq!((results.len(), &page["pending"]), (rows, &json!(pending)));
        if let Some(last) = results.last() {
            assert_eq!(page["last_seq"], last["seq"], "{query}");
        }
    }
    assert_eq!(told("descending=true").await["last_seq"], first);
    let one = "descending=true&limit=1&feed=continuous&timeout=100";
    let lines = session.get(&format!("{db}/_changes?{one}")).await.text();
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[1]["last_seq"], lines[0]["seq"]);
    // With a filter it is a row that was told.
    let some = "descending=true&filter=_doc_ids&doc_ids=%5B%22b%22%5D";
    let some = told(some).await;
    assert_eq!(some["results"][0]["id"], "b");
    assert_eq!(some["last_seq"], some["results"][0]["seq"]);
    assert_eq!(some["pending"], 0);
}

#[tokio::test]
async fn a_changed_document_is_told_once_at_its_last_change() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    for id in ["a", "b"] {
        write(&session, &db, id).await;
    }
    let rev = session.get(&format!("{db}/a")).await.json()["_rev"]
        .as_str()
        .unwrap()
        .to_owned();
    session
        .send("DELETE", &format!("{db}/a?rev={rev}"), &Value::Null)
        .await
        .expect(200);
    let all = session
        .get(&format!("{db}/_changes?include_docs=true"))
        .await
        .json();
    let rows = all["results"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0]["id"], "b");
    assert_eq!(
        (&rows[1]["id"], &rows[1]["deleted"]),
        (&json!("a"), &json!(true))
    );
    assert_eq!(rows[1]["doc"]["_deleted"], true);
}

#[tokio::test]
async fn a_position_of_a_deleted_database_does_not_skip_in_its_successor() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    write(&session, &db, "old").await;
    let seq = session.get(&format!("{db}/_changes")).await.json()["last_seq"]
        .as_str()
        .unwrap()
        .to_owned();
    session
        .post("/user/deleteDatabase", &json!({"databaseName": "d"}))
        .await
        .expect(200);
    session.get(&db).await.expect(404);
    session.database("d").await;
    write(&session, &db, "new").await;
    let all = session
        .get(&format!("{db}/_changes?since={seq}"))
        .await
        .json();
    assert_eq!(all["results"][0]["id"], "new");
}

#[tokio::test]
async fn a_long_poll_answers_at_once_when_there_is_something_and_else_with_the_next_change() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    write(&session, &db, "a").await;
    let at_once = session
        .get(&format!("{db}/_changes?feed=longpoll"))
        .await
        .json();
    assert_eq!(at_once["results"][0]["id"], "a");
    let seq = at_once["last_seq"].as_str().unwrap();

    let path = format!("{db}/_changes?feed=longpoll&include_docs=true&heartbeat=60000&since={seq}");
    let mut feed = session
        .client
        .open("GET", &path, &session.access, "")
        .await
        .into_body();
    assert_eq!(piece(&mut feed).await.unwrap(), "{\"results\":[\n");
    write(&session, &db, "b").await;
    let text = format!("{{\"results\":[{}", rest(&mut feed).await);
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(told["results"].as_array().unwrap().len(), 1);
    assert_eq!(told["results"][0]["doc"]["_id"], "b");
}

#[tokio::test]
async fn a_long_poll_ends_empty_after_its_time() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let told = session
        .get(&format!("{db}/_changes?feed=longpoll&timeout=50"))
        .await
        .json();
    assert_eq!(told["results"], json!([]));
}

#[tokio::test]
async fn a_continuous_feed_goes_on_with_heartbeats_until_the_node_stops() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    write(&session, &db, "a").await;
    let path = format!("{db}/_changes?feed=continuous&heartbeat=100&since=0");
    let mut feed = session
        .client
        .open("GET", &path, &session.access, "")
        .await
        .into_body();
    let mut lines = Vec::new();
    let (mut beats, mut written) = (0, false);
    while lines.len() < 3 {
        let text = piece(&mut feed).await.unwrap();
        for line in text.lines() {
            match line {
                "" => beats += 1,
                line => lines.push(serde_json::from_str::<Value>(line).unwrap()["id"].clone()),
            }
        }
        if lines.len() == 1 && beats > 0 && !written {
            written = true;
            write(&session, &db, "b").await;
            write(&session, &db, "c").await;
        }
    }
    assert_eq!(lines, ["a", "b", "c"]);
    node.storage.shutdown().await;
    let last = rest(&mut feed).await;
    assert!(last.contains("\"last_seq\":\"3-"), "{last}");
}

#[tokio::test]
async fn a_feed_ends_when_its_database_goes_or_is_closed_to_its_reader() {
    let node = Node::start().await;
    let owner = node.session(1).await;
    let reader = node.session(2).await;
    let shared =
        json!({"read": "users", "write": "owner", "readList": [reader.person.did.as_given()]});
    let db = owner.database_with("d", &shared).await;
    let path = format!("{db}/_changes?feed=continuous&heartbeat=60000");
    let mut feed = reader
        .client
        .open("GET", &path, &reader.access, "")
        .await
        .into_body();
    write(&owner, &db, "a").await;
    assert!(piece(&mut feed).await.unwrap().contains("\"id\":\"a\""));
    let closed = json!({"databaseName": "d", "options": {"permissions": {"read": "owner", "write": "owner"}}});
    owner
        .post("/user/updateDatabase", &closed)
        .await
        .expect(200);
    write(&owner, &db, "secret").await;
    let last = rest(&mut feed).await;
    assert!(
        last.contains("last_seq") && !last.contains("secret"),
        "{last}"
    );

    let mut feed = owner
        .client
        .open("GET", &path, &owner.access, "")
        .await
        .into_body();
    assert!(piece(&mut feed).await.unwrap().contains("\"id\":\"a\""));
    owner
        .post("/user/deleteDatabase", &json!({"databaseName": "d"}))
        .await
        .expect(200);
    assert!(rest(&mut feed).await.contains("last_seq"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_under_writes_tells_every_acknowledged_change() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let path = format!("{db}/_changes?feed=continuous&heartbeat=60000");
    let mut feed = session
        .client
        .open("GET", &path, &session.access, "")
        .await
        .into_body();
    let reader = tokio::spawn(async move {
        let mut text = String::new();
        let mut seen = std::collections::BTreeSet::new();
        while seen.len() < 400 {
            text.push_str(&piece(&mut feed).await.unwrap());
            while let Some((line, rest)) = text.split_once('\n') {
                if !line.is_empty() {
                    let row: Value = serde_json::from_str(line).unwrap();
                    seen.insert(row["id"].as_str().unwrap().to_owned());
                }
                text = rest.to_owned();
            }
        }
        seen
    });
    for batch in 0..40 {
        let docs: Vec<Value> = (0..10)
            .map(|n| history(&format!("{batch}-{n}"), 1, "a", json!(n)))
            .collect();
        let body = json!({"docs": docs, "new_edits": false});
        session
            .post(&format!("{db}/_bulk_docs"), &body)
            .await
            .expect(201);
    }
    assert_eq!(reader.await.unwrap().len(), 400);
}

#[tokio::test]
async fn an_event_stream_is_what_a_browser_reads_and_goes_on_after_its_last_event() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    for id in ["a", "b"] {
        write(&session, &db, id).await;
    }
    let path = format!("{db}/_changes?feed=eventsource&heartbeat=100");
    let answer = session.client.open("GET", &path, &session.access, "").await;
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    assert_eq!(answer.headers()["cache-control"], "no-cache");
    let mut feed = answer.into_body();
    let mut text = String::new();
    while !text.contains("event: heartbeat\ndata: \n\n") {
        text.push_str(&piece(&mut feed).await.unwrap());
    }
    let events: Vec<&str> = text.split("\n\n").collect();
    let (data, id) = events[0].split_once('\n').unwrap();
    let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!((&data["id"], events.len() >= 3), (&json!("a"), true));
    let id: Value = serde_json::from_str(id.strip_prefix("id: ").unwrap()).unwrap();
    assert_eq!(id, data["seq"]);

    // As the browser comes back: with the position of the last event, as header or parameter, rather than `since`.
    let seq = id.as_str().unwrap();
    let path = format!("{db}/_changes?feed=eventsource&timeout=50&since=0");
    let resumed = session.get_with(&path, &[("last-event-id", seq)]).await;
    let text = resumed.expect(200).text();
    assert_eq!(text.matches("data: ").count(), 1, "{text}");
    assert!(text.contains("\"id\":\"b\""), "{text}");
    assert!(!text.contains("last_seq"), "{text}");
    let path = format!("{db}/_changes?feed=normal&last-event-id={seq}");
    let rows = session.get(&path).await.expect(200).json();
    assert_eq!(rows["results"].as_array().unwrap().len(), 1);
    session
        .get_with(
            &format!("{db}/_changes?feed=eventsource"),
            &[("last-event-id", "?")],
        )
        .await
        .expect(400);
}

#[tokio::test]
async fn a_selector_chooses_changes_by_what_their_revisions_hold() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let docs = json!({"docs": [
        {"_id": "a", "n": 1}, {"_id": "b", "n": 2}, {"_id": "c"}, {"_id": "_design/x", "n": 2},
    ]});
    session
        .post(&format!("{db}/_bulk_docs"), &docs)
        .await
        .expect(201);
    let two = json!({"docs": [history("d", 2, "ba", json!(1)), history("d", 2, "ca", json!(2))],
        "new_edits": false});
    session
        .post(&format!("{db}/_bulk_docs"), &two)
        .await
        .expect(201);
    let ask = async |query: &str, selector: Value| {
        let path = format!("{db}/_changes?filter=_selector{query}");
        let rows = session.post(&path, &json!({"selector": selector})).await;
        rows.expect(200).json()["results"]
            .as_array()
            .unwrap()
            .clone()
    };
    let ids = |rows: &[Value]| -> Vec<String> {
        rows.iter()
            .map(|row| row["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids(&ask("", json!({"n": 2})).await), ["b", "_design/x"]);
    // What a document does not have is not unequal, as CouchDB has it.
    assert_eq!(ids(&ask("", json!({"n": {"$ne": 2}})).await), ["a"]);
    assert_eq!(ids(&ask("&limit=1", json!({"n": {"$gt": 0}})).await), ["a"]);
    // The winner alone, or each leaf by itself.
    assert_eq!(ids(&ask("", json!({"member": 1})).await), [""; 0]);
    let rows = ask("&style=all_docs", json!({"member": 1})).await;
    assert_eq!(rows[0]["changes"], json!([{"rev": support::rev(2, 'b')}]));

    let design = session
        .get(&format!("{db}/_changes?filter=_design"))
        .await
        .expect(200)
        .json();
    assert_eq!(ids(design["results"].as_array().unwrap()), ["_design/x"]);
    let by_get = session
        .get(&format!("{db}/_changes?filter=_selector"))
        .await;
    by_get.expect(400);
    let ids_by_get = session
        .get(&format!(
            "{db}/_changes?filter=_doc_ids&doc_ids=%5B%22c%22%5D"
        ))
        .await;
    assert_eq!(ids(ids_by_get.json()["results"].as_array().unwrap()), ["c"]);
}

#[tokio::test]
async fn a_waiting_selector_feed_tells_the_next_match_only() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let path = format!("{db}/_changes?feed=longpoll&filter=_selector&heartbeat=60000&timeout=1");
    let body = json!({"selector": {"_id": {"$gt": "m"}}}).to_string();
    let answer = session
        .client
        .open("POST", &path, &session.access, body)
        .await;
    let mut feed = answer.into_body();
    assert_eq!(piece(&mut feed).await.unwrap(), "{\"results\":[\n");
    write(&session, &db, "a").await;
    write(&session, &db, "z").await;
    // With a heartbeat the feed outlives any time-out.
    let text = rest(&mut feed).await;
    assert!(
        text.contains("\"id\":\"z\"") && !text.contains("\"id\":\"a\""),
        "{text}"
    );
}

#[tokio::test]
async fn a_line_break_within_a_document_breaks_no_line_of_a_feed() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let text = "{\n  \"a\":\r\n [1,\r2],\n\n\"b\": \"x\\ny\"\n}";
    let path = format!("{db}/x");
    session
        .client
        .send("PUT", &path, &session.access, text)
        .await
        .expect(201);
    let expected = json!([[1, 2], "x\ny"]);
    for kind in ["continuous", "eventsource"] {
        let path = format!("{db}/_changes?feed={kind}&include_docs=true&timeout=0");
        let told = session.get(&path).await.expect(200).text();
        let lines: Vec<&str> = told.split(['\r', '\n']).collect();
        let row = lines[0].trim_start_matches("data: ");
        let row: Value = serde_json::from_str(row).unwrap();
        assert_eq!(
            json!([row["doc"]["a"], row["doc"]["b"]]),
            expected,
            "{told}"
        );
    }
}
