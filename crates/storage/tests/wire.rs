//! CouchDB's protocol where few clients go: contents in feeds, parts from `_bulk_get`, codings, copies, several lists at once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

#[path = "support/couch.rs"]
mod couch;
mod support;

use std::io::{Read, Write};

use adyton_couch::multipart::{Boundary, parts};
use adyton_storage::Limits;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use support::{Answer, Node, Session, history, rev};

async fn with(
    session: &Session,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Answer {
    let client = &session.client;
    let response = client.open_with(method, path, &session.access, headers, body);
    Answer::read(response.await).await
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer
        .headers
        .get(name)
        .map(|value| value.to_str().unwrap())
}

/// Bytes that do not repeat.
fn large(bytes: usize) -> Vec<u8> {
    (0..bytes as u64)
        .map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8)
        .collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn unzipped(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut decoder = flate2::read::MultiGzDecoder::new(bytes);
    decoder.read_to_end(&mut out).unwrap();
    out
}

/// A database with a document of a large content, one of a zipped content in conflict, and one without.
async fn with_contents(session: &Session) -> (String, Vec<u8>) {
    let db = session.database("d").await;
    let content = large(900_000);
    let kind = [("content-type", "image/png")];
    with(
        session,
        "PUT",
        &format!("{db}/a/large"),
        &kind,
        content.clone(),
    )
    .await
    .expect(201);
    let zipped = [("content-type", "text/plain"), ("content-encoding", "gzip")];
    with(
        session,
        "PUT",
        &format!("{db}/b/text"),
        &zipped,
        gzip(b"hello"),
    )
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

fn row<'a>(rows: &'a [Value], id: &str) -> &'a Value {
    rows.iter().find(|row| row["id"] == id).unwrap()
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
        with(
            &session,
            "PUT",
            &format!("{db}/{n}/a"),
            &[],
            content.clone(),
        )
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
    let kind = header(answer, "content-type").unwrap();
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
        let answer = with(
            &session,
            "POST",
            &path,
            &[("accept", accept)],
            wanted.clone(),
        )
        .await;
        let told = header(answer.expect(200), "content-type").unwrap();
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
    let answer = with(&session, "POST", &path, &mixed, wanted.clone()).await;
    let read = read_parts(&answer);
    let document: Value = serde_json::from_slice(&read[0].1).unwrap();
    assert_eq!(document["_attachments"]["large"]["stub"], true);
    // Nothing asked for is a body without parts; and JSON is for who names no parts.
    let answer = with(&session, "POST", &path, &mixed, r#"{"docs":[]}"#).await;
    assert_eq!(read_parts(&answer), []);
    for accept in [
        "application/json",
        "*/*",
        "multipart/mixed;q=0",
        "multipart/mixed, application/json;q=0.5",
        "multipart/related, */*;q=0.1",
    ] {
        let answer = with(
            &session,
            "POST",
            &path,
            &[("accept", accept)],
            wanted.clone(),
        )
        .await;
        assert_eq!(
            header(&answer, "content-type"),
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
    let answer = with(&session, "POST", &path, &mixed, wanted.to_string()).await;
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

async fn with_many(session: &Session, db: &str) {
    let docs: Vec<Value> = (0..3_000)
        .map(|n| json!({"_id": format!("{n:05}"), "n": n}))
        .collect();
    session
        .post(&format!("{db}/_bulk_docs"), &json!({"docs": docs}))
        .await
        .expect(201);
}

#[tokio::test]
async fn long_answers_are_told_in_a_coding_to_who_names_one() {
    for store in couch::stores().await {
        let session = store.node.session(1).await;
        let db = session.database("d").await;
        with_many(&session, &db).await;
        let path = format!("{db}/_all_docs?include_docs=true");
        let plain = session.get(&path).await;
        assert!(header(plain.expect(200), "content-encoding").is_none());
        assert_eq!(header(&plain, "vary"), Some("accept-encoding"));
        for (accept, coding) in [
            ("gzip, deflate, br", "gzip"),
            ("gzip, deflate, br, zstd", "zstd"),
            ("zstd;q=0.5, gzip", "gzip"),
        ] {
            let coded = session
                .get_with(&path, &[("accept-encoding", accept)])
                .await;
            assert_eq!(header(coded.expect(200), "content-encoding"), Some(coding));
            assert_eq!(header(&coded, "vary"), Some("accept-encoding"));
            assert!(header(&coded, "content-length").is_none());
            let decoded = match coding {
                "gzip" => unzipped(&coded.body),
                _ => zstd::decode_all(&coded.body[..]).unwrap(),
            };
            assert_eq!(decoded, plain.body, "{accept}");
            assert!(coded.body.len() < plain.body.len() / 4);
            let head = with(&session, "HEAD", &path, &[("accept-encoding", accept)], "").await;
            assert_eq!(header(&head, "content-encoding"), Some(coding));
        }
        for accept in ["identity", "gzip;q=0", "br", "*"] {
            let plain = session
                .get_with(&path, &[("accept-encoding", accept)])
                .await;
            assert!(header(&plain, "content-encoding").is_none(), "{accept}");
        }
    }
}

#[tokio::test]
async fn a_document_keeps_its_entity_tag_and_a_feed_that_waits_its_lines() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let zstd = [("accept-encoding", "zstd, gzip")];
    session
        .put(&format!("{db}/long"), &json!({"a": "0".repeat(9_000)}))
        .await
        .expect(201);
    let document = session.get_with(&format!("{db}/long"), &zstd).await;
    let rev = document.expect(200).json()["_rev"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(header(&document, "etag"), Some(&*format!("\"{rev}\"")));
    with_many(&session, &db).await;
    let changes = session.get_with(&format!("{db}/_changes"), &zstd).await;
    assert_eq!(header(&changes, "content-encoding"), Some("zstd"));
    for feed in [
        "longpoll",
        "continuous&timeout=100",
        "eventsource&timeout=100",
    ] {
        let path = format!("{db}/_changes?feed={feed}");
        let told = session.get_with(&path, &zstd).await;
        assert!(
            header(told.expect(200), "content-encoding").is_none(),
            "{feed}"
        );
        assert!(header(&told, "vary").is_none(), "{feed}");
    }
}

#[tokio::test]
async fn nothing_is_coded_where_others_write_what_not_everybody_may_read() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let path = |db: &str| format!("{db}/_all_docs?include_docs=true");
    let gzip = [("accept-encoding", "gzip")];
    for (name, read, write, coded) in [
        ("shared", "users", "users", false),
        ("shown", "public", "owner", true),
        ("open", "public", "public", true),
        ("own", "owner", "owner", true),
    ] {
        let db = session
            .database_with(name, &json!({"read": read, "write": write}))
            .await;
        with_many(&session, &db).await;
        let answer = session.get_with(&path(&db), &gzip).await;
        let told = header(answer.expect(200), "content-encoding").is_some();
        assert_eq!(told, coded, "{name}");
    }
}

#[tokio::test]
async fn a_body_in_a_coding_is_read_under_the_limit_of_its_size() {
    for store in couch::stores().await {
        let session = store.node.session(1).await;
        let db = session.database("d").await;
        let text = json!({"a": "0".repeat(100_000)}).to_string();
        let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
        for (coding, body) in [
            ("gzip", gzip(text.as_bytes())),
            ("zstd", zstd(text.as_bytes())),
        ] {
            assert!(body.len() < 1_000);
            let path = format!("{db}/{coding}");
            with(
                &session,
                "PUT",
                &path,
                &[("content-encoding", coding)],
                body,
            )
            .await
            .expect(201);
            let read = session.get(&path).await.expect(200).json();
            assert_eq!(read["a"].as_str().unwrap().len(), 100_000);
            let no = with(
                &session,
                "PUT",
                &path,
                &[("content-encoding", coding)],
                "no such thing",
            )
            .await;
            assert_eq!(no.expect(400).json()["error"], "bad_request");
        }
        let bulk = json!({"docs": [{"_id": "x"}]}).to_string();
        let bulk = with(
            &session,
            "POST",
            &format!("{db}/_bulk_docs"),
            &[("content-encoding", "gzip")],
            gzip(bulk.as_bytes()),
        )
        .await;
        assert_eq!(bulk.expect(201).json()[0]["id"], "x");
        let other = with(
            &session,
            "PUT",
            &format!("{db}/y"),
            &[("content-encoding", "br")],
            "{}",
        )
        .await;
        assert_eq!(other.expect(415).json()["error"], "bad_content_type");
    }
}

#[tokio::test]
async fn a_small_coding_of_something_large_is_413() {
    let limits = Limits {
        document_bytes: 10_000,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let of = |bytes: usize| {
        let text = format!("{{\"a\":\"{}\"}}", "0".repeat(bytes - 8));
        assert_eq!(text.len(), bytes);
        [
            ("gzip", gzip(text.as_bytes())),
            ("zstd", zstd::encode_all(text.as_bytes(), 1).unwrap()),
        ]
    };
    for (bytes, status) in [(10_000, 201), (10_001, 413), (50_000_000, 413)] {
        for (coding, body) in of(bytes) {
            assert!(body.len() < 300_000);
            let path = format!("{db}/{coding}{bytes}");
            with(
                &session,
                "PUT",
                &path,
                &[("content-encoding", coding)],
                body,
            )
            .await
            .expect(status);
        }
    }
}

#[tokio::test]
async fn what_a_peer_lacks_is_told_however_much_it_is() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let branches: Vec<Value> = (0..900)
        .map(|n| {
            let rev = format!("2-{n:032x}");
            json!({"_id": "wide", "_rev": rev, "_revisions": {"start": 2, "ids": [format!("{n:032x}"), "0".repeat(32)]}})
        })
        .collect();
    session
        .post(
            &format!("{db}/_bulk_docs"),
            &json!({"docs": branches, "new_edits": false}),
        )
        .await
        .expect(201);
    session
        .put(&format!("{db}/known"), &json!({}))
        .await
        .expect(201);
    let known = session.get(&format!("{db}/known")).await.json()["_rev"].take();
    let mut asked: serde_json::Map<String, Value> = (0..20_000)
        .map(|n| (format!("unknown\"{n}"), json!([rev(1, 'a'), rev(2, 'b')])))
        .collect();
    asked.insert("wide".into(), json!([rev(3, 'c')]));
    asked.insert("known".into(), json!([known]));
    let asked = Value::Object(asked);
    let diff = session.post(&format!("{db}/_revs_diff"), &asked).await;
    assert!(diff.expect(200).body.len() > 1 << 20);
    let diff = diff.json();
    assert_eq!(diff.as_object().unwrap().len(), 20_001);
    assert_eq!(
        diff["unknown\"7"],
        json!({"missing": [rev(1, 'a'), rev(2, 'b')]})
    );
    assert_eq!(diff["wide"]["missing"], json!([rev(3, 'c')]));
    assert_eq!(
        diff["wide"]["possible_ancestors"].as_array().unwrap().len(),
        900
    );
    let missing = session.post(&format!("{db}/_missing_revs"), &asked).await;
    let missing = missing.expect(200).json()["missing_revs"].take();
    assert_eq!(missing.as_object().unwrap().len(), 20_001);
    assert_eq!(missing["wide"], json!([rev(3, 'c')]));
    for path in ["_revs_diff", "_missing_revs"] {
        let nothing = session
            .post(&format!("{db}/{path}"), &json!({"known": [known]}))
            .await;
        assert!(nothing.expect(200).body.len() < 30);
    }
}

#[tokio::test]
async fn a_document_is_copied_with_its_attachments_which_are_not_kept_twice() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let at = format!("{db}/a%2Fb");
    let content = large(300_000);
    with(&session, "PUT", &format!("{at}/x"), &[], content.clone())
        .await
        .expect(201);
    let first = session.get(&at).await.json();
    let mut second = first.clone();
    second["n"] = 2.into();
    session.put(&at, &second).await.expect(201);
    let bytes = session.get(&db).await.json()["sizes"]["active"]
        .as_u64()
        .unwrap();

    let copy = |to: String| {
        let (session, at) = (&session, at.clone());
        async move { with(session, "COPY", &at, &[("destination", &to)], "").await }
    };
    let made = copy("c%20%C3%A4".into()).await;
    let told = made.expect(201).json();
    assert_eq!((&told["ok"], &told["id"]), (&json!(true), &json!("c ä")));
    let made_rev = told["rev"].as_str().unwrap();
    assert_eq!(header(&made, "etag"), Some(&*format!("\"{made_rev}\"")));
    let copied = session.get(&format!("{db}/c%20%C3%A4")).await.json();
    assert_eq!(copied["n"], 2);
    assert_eq!(
        session.get(&format!("{db}/c%20%C3%A4/x")).await.body,
        content
    );
    let now = session.get(&db).await.json()["sizes"]["active"]
        .as_u64()
        .unwrap();
    assert!(now - bytes < 1_000, "{now} {bytes}");

    // Over another document only with its revision; a revision that is no leaf is not there.
    assert_eq!(
        copy("c%20%C3%A4".into()).await.expect(409).json()["error"],
        "conflict"
    );
    copy(format!("c%20%C3%A4?rev={made_rev}")).await.expect(201);
    session
        .put(&format!("{db}/other"), &json!({}))
        .await
        .expect(201);
    let other = session.get(&format!("{db}/other")).await.json()["_rev"].take();
    copy(format!("other?rev={}", other.as_str().unwrap()))
        .await
        .expect(201);
    let stale = format!("{at}?rev={}", first["_rev"].as_str().unwrap());
    with(&session, "COPY", &stale, &[("destination", "y")], "")
        .await
        .expect(404);
    with(
        &session,
        "COPY",
        &format!("{db}/none"),
        &[("destination", "y")],
        "",
    )
    .await
    .expect(404);
    for destination in ["", "_local/x", "_x", "http://example.org/x", "y?rev=1"] {
        copy(destination.into()).await.expect(400);
    }
    with(&session, "COPY", &at, &[], "").await.expect(400);
    // The original goes, and the copy has its content.
    let rev = session.get(&at).await.json()["_rev"].take();
    let gone = format!("{at}?rev={}", rev.as_str().unwrap());
    session
        .send("DELETE", &gone, &Value::Null)
        .await
        .expect(200);
    assert_eq!(
        session.get(&format!("{db}/c%20%C3%A4/x")).await.body,
        content
    );
}

#[tokio::test]
async fn a_copy_needs_the_right_to_write_where_it_goes() {
    for store in couch::stores().await {
        let node = &store.node;
        let owner = node.session(1).await;
        let reader = node.session(2).await;
        let writer = node.session(3).await;
        let permissions = json!({
            "read": "users", "write": "users",
            "readList": [reader.person.did.as_given()], "writeList": [writer.person.did.as_given()],
        });
        let db = owner.database_with("d", &permissions).await;
        owner
            .put(&format!("{db}/x"), &json!({"n": 1}))
            .await
            .expect(201);
        let path = format!("{db}/x");
        let to = |id: &'static str| [("destination", id)];
        with(&reader, "COPY", &path, &to("y"), "").await.expect(401);
        with(&writer, "COPY", &path, &to("y"), "").await.expect(201);
        assert_eq!(
            reader.get(&format!("{db}/y")).await.expect(200).json()["n"],
            1
        );
        with(&writer, "COPY", &path, &to("_design/y"), "")
            .await
            .expect(401);
        // What a copy makes of a design document is nowhere to be judged before a CouchDB acts upon it.
        let as_design = with(&owner, "COPY", &path, &to("_design/y"), "").await;
        as_design.expect(if store.couch.is_some() { 403 } else { 201 });
        let stranger = node.session(4).await;
        with(&stranger, "COPY", &path, &to("z"), "")
            .await
            .expect(403);
        store.is_documented();
    }
}

#[tokio::test]
async fn several_lists_are_told_in_one_answer() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    for id in ["a", "b", "_design/x"] {
        session
            .put(&format!("{db}/{id}"), &json!({"n": 1}))
            .await
            .expect(201);
    }
    let at = format!("{db}/_all_docs/queries");
    let queries = json!({"queries": [
        {"keys": ["b", "none"]}, {"startkey": "a", "limit": 1, "include_docs": true}, {"limit": 0},
    ]});
    let lists = session.post(&at, &queries).await.expect(200).json()["results"].take();
    let ids = |list: &Value| {
        let rows = list["rows"].as_array().unwrap().iter();
        rows.map(|row| row["key"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&lists[0]), ["b", "none"]);
    assert_eq!(ids(&lists[1]), ["a"]);
    assert_eq!(lists[1]["rows"][0]["doc"]["n"], 1);
    assert_eq!(
        (ids(&lists[2]).len(), &lists[2]["total_rows"]),
        (0, &json!(3))
    );
    let designs = session
        .post(
            &format!("{db}/_design_docs/queries"),
            &json!({"queries": [{}, {"keys": ["a"]}]}),
        )
        .await
        .expect(200)
        .json();
    assert_eq!(ids(&designs["results"][0]), ["_design/x"]);
    assert_eq!(ids(&designs["results"][1]), Vec::<String>::new());
    let none = session.post(&at, &json!({"queries": []})).await;
    assert_eq!(none.expect(200).json(), json!({"results": []}));
    session
        .post(&at, &json!({"queries": vec![json!({}); 21]}))
        .await
        .expect(413);
    session.post(&at, &json!({})).await.expect(400);
    session.get(&at).await.expect(405);
}

#[tokio::test]
async fn lists_of_one_request_name_documents_so_often_together() {
    let limits = Limits {
        repeated_bytes: 5_000,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    session
        .put(&format!("{db}/a"), &json!({"a": "0".repeat(1_000)}))
        .await
        .expect(201);
    let at = format!("{db}/_all_docs/queries?include_docs=true");
    let times = |n| json!({"queries": vec![json!({"keys": ["a"]}); n]});
    session.post(&at, &times(4)).await.expect(200);
    session.post(&at, &times(10)).await.expect(413);
}

#[tokio::test]
async fn a_revision_that_is_said_twice_is_the_same_or_refused() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let at = format!("{db}/x");
    let made = session.put(&at, &json!({})).await.expect(201).json();
    let known = made["rev"].as_str().unwrap().to_owned();
    let other = rev(1, 'f');
    let quoted = |rev: &str| format!("\"{rev}\"");
    for (method, path) in [
        ("PUT", at.clone()),
        ("DELETE", at.clone()),
        ("PUT", format!("{at}/a")),
    ] {
        let path = format!("{path}?rev={known}");
        let refused = with(
            &session,
            method,
            &path,
            &[("if-match", &quoted(&other))],
            "{}",
        )
        .await;
        let reason = refused.expect(400).json()["reason"].take();
        assert_eq!(reason, "Document rev and etag have different values");
    }
    let body = json!({"_rev": known}).to_string();
    with(&session, "PUT", &at, &[("if-match", &quoted(&other))], body)
        .await
        .expect(400);
    let same = with(
        &session,
        "PUT",
        &format!("{at}?rev={known}"),
        &[("if-match", &quoted(&known))],
        "{}",
    )
    .await;
    same.expect(201);
}

#[tokio::test]
async fn what_is_not_there_is_not_found_whatever_is_said_of_its_revision() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let gone = |path: String| {
        let session = &session;
        async move { session.send("DELETE", &path, &Value::Null).await }
    };
    let none = gone(format!("{db}/none?rev={}", rev(1, '1'))).await;
    assert_eq!(none.expect(404).json()["reason"], "missing");
    let made = session
        .put(&format!("{db}/x"), &json!({}))
        .await
        .expect(201)
        .json();
    gone(format!("{db}/x?rev={}", rev(1, '1')))
        .await
        .expect(409);
    let known = made["rev"].as_str().unwrap();
    let tombstone = gone(format!("{db}/x?rev={known}")).await.expect(200).json();
    let tombstone = tombstone["rev"].as_str().unwrap();
    let again = gone(format!("{db}/x?rev={tombstone}")).await;
    assert_eq!(again.expect(404).json()["reason"], "deleted");
    let reserved = session.put(&format!("{db}/_nothing"), &json!({})).await;
    assert_eq!(reserved.expect(400).json()["error"], "illegal_docid");
    session.get(&format!("{db}/_nothing")).await.expect(404);
}

#[tokio::test]
async fn what_belongs_to_a_cluster_is_not_there() {
    for store in couch::stores().await {
        let session = store.node.session(1).await;
        let db = session.database("d").await;
        let made = session.put(&format!("{db}/x"), &json!({})).await;
        for name in ["location", "server", "x-couch-request-id"] {
            assert!(made.expect(201).headers.get(name).is_none(), "{name}");
        }
        for (method, path, status) in [
            ("GET", "_shards", 404),
            ("POST", "_sync_shards", 404),
            ("GET", "_purged_infos", 404),
            ("GET", "_purged_infos_limit", 404),
            ("GET", "_auto_purge", 404),
            ("POST", "_search_analyze", 404),
            ("GET", "_partition/x", 404),
            ("POST", "_compact/x", 404),
            ("POST", "_local_docs/queries", 404),
            ("POST", "x", 405),
            ("COPY", "_local/x", 405),
        ] {
            let answer = session
                .send(method, &format!("{db}/{path}"), &json!({}))
                .await;
            assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        }
        store.is_documented();
    }
}

#[tokio::test]
async fn there_are_no_files_of_views_to_clean_up_and_the_owner_may_ask() {
    for store in couch::stores().await {
        let owner = store.node.session(1).await;
        let db = owner
            .database_with("d", &json!({"read": "public", "write": "public"}))
            .await;
        let at = format!("{db}/_view_cleanup");
        assert_eq!(
            owner.post(&at, &json!({})).await.expect(202).json(),
            json!({"ok": true})
        );
        let other = store.node.session(2).await;
        other.post(&at, &json!({})).await.expect(401);
        store.is_documented();
    }
}

#[tokio::test]
async fn an_address_that_is_no_text_names_nothing() {
    for store in couch::stores().await {
        let session = store.node.session(1).await;
        let db = session.database("d").await;
        let made = session.put(&format!("{db}/caf%C3%A9"), &json!({})).await;
        let known = made.expect(201).json()["rev"].as_str().unwrap().to_owned();
        for (method, path, error) in [
            ("PUT", "/caf%E9", "illegal_docid"),
            ("GET", "/caf%FF", "illegal_docid"),
            ("DELETE", "/caf%E1?rev={}", "illegal_docid"),
            ("PUT", "/caf%E9/a", "illegal_docid"),
            ("PUT", "/_local/%FF", "illegal_docid"),
            ("GET", "/_design/%FF", "illegal_docid"),
            ("PUT", "/caf%C3%A9/%E9.txt?rev={}", "bad_request"),
            ("DELETE", "/_index/%FF/json/n", "bad_request"),
            ("GET", "/_all_docs?key=%22caf%E9%22", "bad_request"),
            ("GET", "/caf%C3%A9?rev=%FF", "bad_request"),
            ("PUT", "/caf%C3%A9?rev={}&%FF", "bad_request"),
            ("GET", "/_changes?filter=%FF", "bad_request"),
            ("GET", "?%FF", "bad_request"),
        ] {
            let path = format!("{db}{}", path.replace("{}", &known));
            let answer = session.send(method, &path, &json!({})).await;
            assert_eq!(answer.status, 400, "{method} {path}: {}", answer.text());
            assert_eq!(answer.json()["error"], error, "{method} {path}");
        }
        let to = [("destination", "caf%E7")];
        with(&session, "COPY", &format!("{db}/caf%C3%A9"), &to, "")
            .await
            .expect(400);
        let list = session
            .get(&format!("{db}/_all_docs?startkey=%22a%22"))
            .await;
        let list = list.expect(200).json();
        assert_eq!(list["rows"].as_array().unwrap().len(), 1);
        assert_eq!(list["rows"][0]["id"], "caf\u{e9}");
        store.is_documented();
    }
}

#[tokio::test]
async fn a_body_that_is_no_object_is_refused_everywhere() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let refused = async |method: &str, path: &str, body: &Value| {
        let answer = session.send(method, path, body).await;
        assert_eq!(
            answer.status,
            400,
            "{method} {path} {body}: {}",
            answer.text()
        );
    };
    // A list of what would be the members, in some order, is no object either, at the top or further in.
    let revision = json!([1, ["a".repeat(32)]]);
    let listed = json!({"_rev": rev(1, 'a'), "_revisions": revision});
    for (method, path, bodies) in [
        ("POST", "", json!([[], ["x"]])),
        (
            "PUT",
            "/x",
            json!([[], {"_attachments": {"a": ["text/plain"]}}]),
        ),
        ("PUT", "/x?new_edits=false", json!([listed])),
        ("PUT", "/_local/x", json!([["x"]])),
        (
            "POST",
            "/_bulk_docs",
            json!([[[{"_id": "x"}]], [[{"_id": "x", "_rev": rev(1, 'a')}], false]]),
        ),
        (
            "POST",
            "/_bulk_get",
            json!([[[{"id": "x"}]], {"docs": [["x"]]}]),
        ),
        ("POST", "/_all_docs", json!([[["x"]], [null, "x"]])),
        (
            "POST",
            "/_all_docs/queries",
            json!([[[{}]], {"queries": [[["x"]]]}]),
        ),
        ("POST", "/_design_docs", json!([[["x"]]])),
        (
            "POST",
            "/_design_docs/queries",
            json!([[[{}]], {"queries": [[]]}]),
        ),
        ("POST", "/_changes", json!([[["x"]]])),
        ("POST", "/_changes?filter=_doc_ids", json!([[["x"]]])),
        ("POST", "/_changes?filter=_design", json!([[["x"]]])),
        (
            "POST",
            "/_changes?filter=_selector",
            json!([[null, {"_id": "x"}]]),
        ),
        ("POST", "/_find", json!([[{"_id": "x"}]])),
        ("POST", "/_explain", json!([[{"_id": "x"}]])),
        (
            "POST",
            "/_index",
            json!([[{"fields": ["n"]}], {"index": [["n"]]}]),
        ),
        ("POST", "/_index/_bulk_delete", json!([[["x"]]])),
        ("POST", "/_revs_diff", json!([[["x", []]]])),
        ("POST", "/_missing_revs", json!([[["x", []]]])),
        ("POST", "/_purge", json!([[["x", []]]])),
    ] {
        let path = format!("{db}{path}");
        let others = [json!([]), json!("x"), json!(1)];
        for body in bodies.as_array().unwrap().iter().chain(&others) {
            refused(method, &path, body).await;
        }
    }
    for query in ["", "?filter=_design", "?feed=longpoll"] {
        let path = format!("{db}/_changes{query}");
        with(&session, "POST", &path, &[], "nonsense")
            .await
            .expect(400);
    }
    let did = session.person.did.to_string();
    let owner = json!({"read": "public", "write": "public"});
    for (path, bodies) in [
        ("/auth/generateAuthJwt", json!([[did, "Test: Context"]])),
        ("/auth/authenticate", json!([])),
        ("/auth/connect", json!([])),
        ("/auth/regenerateRefreshToken", json!([])),
        ("/auth/isTokenValid", json!([])),
        ("/auth/invalidateDeviceId", json!([])),
        ("/auth/replicationCreds", json!([])),
        ("/user/contextHash", json!([])),
        ("/user/destroyContext", json!([])),
        (
            "/user/createDatabase",
            json!([
                ["x"],
                {"databaseName": "x", "options": [owner]},
                {"databaseName": "x", "options": {"permissions": ["public", "public"]}},
            ]),
        ),
        ("/user/updateDatabase", json!([["d"]])),
        ("/user/deleteDatabase", json!([["d"]])),
        ("/user/deleteDatabases", json!([])),
        ("/user/databases", json!([])),
        ("/user/databaseInfo", json!([["d"]])),
        ("/user/usage", json!([])),
        ("/user/pingDatabases", json!([])),
        ("/user/checkReplication", json!([])),
        (&format!("/did/{did}"), json!([[{"id": did}]])),
    ] {
        let others = [json!([]), json!("x"), json!(1)];
        for body in bodies.as_array().unwrap().iter().chain(&others) {
            refused("POST", path, body).await;
        }
    }
    let rows = session.get(&format!("{db}/_all_docs")).await.json()["rows"].take();
    assert_eq!(rows, json!([]));
    let known = session.post("/user/databases", &json!({})).await.json();
    assert_eq!(known["result"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_405_names_the_methods_and_a_page_may_read_retry_after() {
    let origin = [("origin", "https://app.example")];
    for store in couch::stores().await {
        let session = store.node.session(1).await;
        let db = session.database("d").await;
        for (path, methods) in [
            ("", "GET, HEAD, POST"),
            ("/_changes", "GET, HEAD, POST"),
            ("/_all_docs", "GET, HEAD, POST"),
            ("/_design_docs", "GET, HEAD, POST"),
            ("/_index", "GET, HEAD, POST"),
            ("/_bulk_docs", "POST"),
            ("/_bulk_get", "POST"),
            ("/_revs_diff", "POST"),
            ("/_missing_revs", "POST"),
            ("/_ensure_full_commit", "POST"),
            ("/_compact", "POST"),
            ("/_purge", "POST"),
            ("/_view_cleanup", "POST"),
            ("/_all_docs/queries", "POST"),
            ("/_design_docs/queries", "POST"),
            ("/_find", "POST"),
            ("/_explain", "POST"),
            ("/_index/_bulk_delete", "POST"),
            ("/_security", "GET, HEAD"),
            ("/_local_docs", "GET, HEAD"),
            ("/_revs_limit", "GET, HEAD, PUT"),
            ("/_index/x/json/y", "DELETE"),
            ("/_local/x", "GET, HEAD, PUT, DELETE"),
            ("/x/y", "GET, HEAD, PUT, DELETE"),
            ("/x", "GET, HEAD, PUT, DELETE, COPY"),
        ] {
            let path = format!("{db}{path}");
            let answer = with(&session, "PATCH", &path, &origin, "").await;
            assert_eq!(header(answer.expect(405), "allow"), Some(methods), "{path}");
            let read = header(&answer, "access-control-expose-headers").unwrap();
            for name in ["retry-after", "accept-ranges"] {
                assert!(read.split(", ").any(|read| read == name), "{name}");
            }
            if store.couch.is_some() {
                continue;
            }
            for method in methods.split(", ") {
                let answer = session.send(method, &path, &json!({})).await;
                assert_ne!(answer.status, 405, "{method} {path}");
            }
        }
        store.is_documented();
    }
}

#[tokio::test]
async fn keys_that_are_no_texts_stand_around_all_documents() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let last = "\u{10FFFF}";
    for id in ["a", "%F4%8F%BF%BF", "_local/a"] {
        session
            .put(&format!("{db}/{id}"), &json!({}))
            .await
            .expect(201);
    }
    let ids = async |query: &str| {
        let list = session.get(&format!("{db}/{query}")).await;
        let rows = list.expect(200).json()["rows"].take();
        let ids = rows.as_array().unwrap().iter();
        let ids = ids.map(|row| row["id"].as_str().unwrap().to_owned());
        ids.collect::<Vec<_>>()
    };
    let (all, none): (&[&str], &[&str]) = (&["a", last], &[]);
    for (query, expected) in [
        ("startkey=null", all),
        ("startkey=null&endkey=%7B%7D", all),
        ("startkey=1&endkey=%5B%5D", all),
        ("startkey=%22a%22&endkey=%7B%7D&inclusive_end=false", all),
        ("startkey=%5B%5D", none),
        ("endkey=true", none),
        ("key=null", none),
        ("key=%7B%7D", none),
        ("startkey=%7B%7D&endkey=null&descending=true", &[last, "a"]),
        ("startkey=null&descending=true", none),
    ] {
        assert_eq!(
            ids(&format!("_all_docs?{query}")).await,
            expected,
            "{query}"
        );
    }
    assert_eq!(ids("_local_docs?endkey=%7B%7D").await, ["_local/a"]);
    assert_eq!(ids("_design_docs?startkey=null").await, none);
    let body = json!({"startkey": "a", "endkey": null});
    let list = session.post(&format!("{db}/_all_docs"), &body).await;
    assert_eq!(list.expect(200).json()["rows"], json!([]));
}

#[tokio::test]
async fn what_no_known_client_asks_for_is_otherwise() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let at = |path: &str| format!("{db}{path}");
    let body = json!({"_id": "a+b"}).to_string();
    let form = [("content-type", "multipart/form-data; boundary=b")];
    with(&session, "POST", &db, &form, body).await.expect(201);
    let plus = session.get(&at("/a+b")).await;
    assert_eq!(plus.expect(200).json()["_id"], "a+b");
    assert_eq!(header(&plus, "cache-control"), None);
    session.get(&at("/a%20b")).await.expect(404);
    session
        .post(&db, &json!({"_id": "_local/x"}))
        .await
        .expect(400);
    let keys = json!({"keys": [1]});
    session.post(&at("/_all_docs"), &keys).await.expect(400);
    let list = session.get(&at("/_all_docs?partition=x")).await;
    assert_eq!(list.expect(200).json()["rows"][0]["id"], "a+b");
}
