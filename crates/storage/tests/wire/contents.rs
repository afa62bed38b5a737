//! Contents of attachments in feeds, and revisions as parts of `_bulk_get`.

use adyton_couch::multipart::{Boundary, parts};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::row;
use crate::support::{Answer, Node, Session, gzip, history, large, rev};

/// A database with a document of a large content, one of a zipped content in conflict, and one without.
async fn with_contents(session: &Session) -> (String, Vec<u8>) {
    let db = session.database("d").await;
    let content = large(900_000);
    let kind = [("content-type", "image/png")];
    session
        .with("PUT", &format!("{db}/a/large"), &kind, content.clone())
        .await
        .expect(201);
    let zipped = [("content-type", "text/plain"), ("content-encoding", "gzip")];
    session
        .with("PUT", &format!("{db}/b/text"), &zipped, gzip(b"hello"))
        .await
        .expect(201);
    let other = json!({"docs": [history("b", 1, "0", "loser".into())], "new_edits": false});
    session
        .post(&format!("{db}/_bulk_docs"), &other)
        .await
        .expect(201);
    session
        .put(&format!("{db}/c"), &json!({"plain": 1}))
        .await
        .expect(201);
    (db, content)
}

/// The rows are those of a feed with contents.
fn tells_contents(rows: &[Value], content: &[u8]) {
    assert_eq!(rows.len(), 3);
    let told = &row(rows, "a")["doc"]["_attachments"]["large"];
    assert_eq!(told["data"], STANDARD.encode(content));
    assert_eq!(told["content_type"], "image/png");
    let told = &row(rows, "b")["doc"];
    assert_eq!(
        told["_attachments"]["text"]["data"],
        STANDARD.encode("hello")
    );
    assert_eq!(told["_attachments"]["text"]["encoding"], "gzip");
    assert_eq!(told["_conflicts"], json!([rev(1, '0')]));
    assert_eq!(row(rows, "c")["doc"]["plain"], 1);
}

#[tokio::test]
async fn a_feed_tells_the_contents_of_attachments_to_who_asks_for_them() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let (db, content) = with_contents(&session).await;
    let wish = "include_docs=true&attachments=true&att_encoding_info=true&conflicts=true";
    for feed in ["normal", "longpoll"] {
        let answer = session
            .get(&format!("{db}/_changes?feed={feed}&{wish}"))
            .await;
        tells_contents(
            answer.expect(200).json()["results"].as_array().unwrap(),
            &content,
        );
    }
    let descending = session
        .get(&format!("{db}/_changes?descending=true&{wish}"))
        .await;
    let rows = descending.json()["results"].take();
    tells_contents(rows.as_array().unwrap(), &content);
    assert_eq!(rows[0]["id"], "c");

    let lines = |text: String, start: &'static str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix(start));
        let rows = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        rows.filter(|row| row["id"].is_string()).collect::<Vec<_>>()
    };
    for (feed, start) in [("continuous", ""), ("eventsource", "data: ")] {
        let path = format!("{db}/_changes?feed={feed}&timeout=200&{wish}");
        let answer = session.get(&path).await;
        tells_contents(&lines(answer.expect(200).text(), start), &content);
    }

    // Encodings alone, and nothing where no documents are told.
    let stubs = session
        .get(&format!(
            "{db}/_changes?include_docs=true&att_encoding_info=true"
        ))
        .await
        .json();
    let stub = &row(stubs["results"].as_array().unwrap(), "b")["doc"]["_attachments"]["text"];
    assert_eq!(
        (&stub["stub"], &stub["encoding"]),
        (&json!(true), &json!("gzip"))
    );
    let names = session
        .get(&format!("{db}/_changes?attachments=true"))
        .await;
    assert!(names.body.len() < 1_000);
}

#[tokio::test]
async fn a_feed_that_waits_tells_contents_when_they_come_and_goes_on() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let path =
        format!("{db}/_changes?feed=continuous&include_docs=true&attachments=true&heartbeat=60000");
    let feed = session.client.open("GET", &path, &session.access, "").await;
    let mut feed = feed.into_body();
    let mut text = String::new();
    for n in 0..2_usize {
        let content = large(700_000 + n);
        session
            .with("PUT", &format!("{db}/{n}/a"), &[], content.clone())
            .await
            .expect(201);
        while text.matches('\n').count() <= n {
            let frame = feed.frame().await.unwrap().unwrap();
            text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
        let row: Value = serde_json::from_str(text.lines().nth(n).unwrap()).unwrap();
        assert_eq!(
            row["doc"]["_attachments"]["a"]["data"],
            STANDARD.encode(&content)
        );
    }
}

fn read_parts(answer: &Answer) -> Vec<(String, Bytes)> {
    let kind = answer.header("content-type").unwrap();
    let boundary = Boundary::of_content_type(kind).unwrap();
    let read = parts(&answer.body, &boundary, 100).unwrap();
    let read = read.into_iter().map(|part| {
        let kind = part.header("content-type").unwrap().to_owned();
        (kind, answer.body.slice_ref(part.body))
    });
    read.collect()
}

#[tokio::test]
async fn many_revisions_are_told_as_parts_to_who_reads_parts() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let (db, content) = with_contents(&session).await;
    let path = format!("{db}/_bulk_get?revs=true");
    let wanted = json!({"docs": [
        {"id": "a"}, {"id": "c"}, {"id": "b", "rev": rev(1, '0')}, {"id": "b", "rev": rev(7, '7')}, {"id": "none"},
    ]})
    .to_string();
    for (accept, kind) in [
        ("multipart/mixed", "multipart/mixed; boundary="),
        ("multipart/related", "multipart/related; boundary="),
        (
            "multipart/related, multipart/mixed;q=0.5",
            "multipart/mixed; boundary=",
        ),
    ] {
        let answer = session
            .with("POST", &path, &[("accept", accept)], wanted.clone())
            .await;
        let told = answer.expect(200).header("content-type").unwrap();
        assert!(told.starts_with(kind), "{told}");
        let read = read_parts(&answer);
        assert_eq!(read.len(), 5);
        // A document with contents is parts within its part.
        let inner = Boundary::of_content_type(&read[0].0).unwrap();
        assert!(read[0].0.starts_with("multipart/related; "));
        let inner = parts(&read[0].1, &inner, 3).unwrap();
        let document: Value = serde_json::from_slice(inner[0].body).unwrap();
        assert_eq!(document["_attachments"]["large"]["follows"], true);
        assert_eq!(document["_revisions"]["start"], 1);
        assert_eq!(inner[1].body, content);
        for (part, id) in [(&read[1], "c"), (&read[2], "b")] {
            let document: Value = serde_json::from_slice(&part.1).unwrap();
            assert_eq!(
                (part.0.as_str(), &document["_id"]),
                ("application/json", &json!(id))
            );
        }
        for (part, id, rev) in [
            (&read[3], "b", rev(7, '7')),
            (&read[4], "none", "undefined".into()),
        ] {
            assert_eq!(part.0, "application/json; error=\"true\"");
            let error: Value = serde_json::from_slice(&part.1).unwrap();
            let expected = json!({"id": id, "rev": rev, "error": "not_found", "reason": "missing"});
            assert_eq!(error, expected);
        }
    }
    // Who has the contents gets stubs.
    let known = session.get(&format!("{db}/a")).await.json()["_rev"].clone();
    let wanted = json!({"docs": [{"id": "a", "atts_since": [known]}]}).to_string();
    let mixed = [("accept", "multipart/mixed")];
    let answer = session.with("POST", &path, &mixed, wanted.clone()).await;
    let read = read_parts(&answer);
    let document: Value = serde_json::from_slice(&read[0].1).unwrap();
    assert_eq!(document["_attachments"]["large"]["stub"], true);
    // Nothing asked for is a body without parts; and JSON is for who names no parts.
    let answer = session.with("POST", &path, &mixed, r#"{"docs":[]}"#).await;
    assert_eq!(read_parts(&answer), []);
    for accept in [
        "application/json",
        "*/*",
        "multipart/mixed;q=0",
        "multipart/mixed, application/json;q=0.5",
        "multipart/related, */*;q=0.1",
    ] {
        let answer = session
            .with("POST", &path, &[("accept", accept)], wanted.clone())
            .await;
        assert_eq!(
            answer.header("content-type"),
            Some("application/json"),
            "{accept}"
        );
    }
    // All leaves of what is named without a revision; what names nothing is refused by itself.
    let wanted = json!({"docs": [{"id": "b"}, {"id": "_x"}, {"id": "c", "rev": "x"}, {}]});
    let told = session.post(&path, &wanted).await.expect(200).json()["results"].take();
    assert_eq!(told[0]["docs"].as_array().unwrap().len(), 2);
    assert_eq!(told[0]["docs"][1]["ok"]["_rev"], rev(1, '0'));
    for (n, id, rev, error) in [
        (1, json!("_x"), Value::Null, "illegal_docid"),
        (2, json!("c"), json!("x"), "bad_request"),
        (3, Value::Null, Value::Null, "bad_request"),
    ] {
        let said = &told[n]["docs"][0]["error"];
        assert_eq!((&told[n]["id"], &said["id"]), (&id, &id));
        assert_eq!((&said["rev"], &said["error"]), (&rev, &json!(error)));
    }
    let answer = session
        .with("POST", &path, &mixed, wanted.to_string())
        .await;
    let kinds: Vec<String> = read_parts(&answer).into_iter().map(|part| part.0).collect();
    let is_error = |kind: &&String| kind.ends_with("error=\"true\"");
    assert_eq!((kinds.len(), kinds.iter().filter(is_error).count()), (5, 3));
    // So it is with the open revisions of one document: contents without being asked for.
    let answer = session
        .get_with(
            &format!("{db}/a?open_revs=all"),
            &[("accept", "multipart/mixed")],
        )
        .await;
    assert!(read_parts(&answer)[0].0.starts_with("multipart/related; "));
}
