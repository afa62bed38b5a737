//! gzip and zstd, of answers and of bodies.

use std::io::Read;

use adyton_storage::Limits;
use serde_json::{Value, json};

use crate::couch;
use crate::support::{Node, Session, gzip};

fn unzipped(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut decoder = flate2::read::MultiGzDecoder::new(bytes);
    decoder.read_to_end(&mut out).unwrap();
    out
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
        assert!(plain.expect(200).header("content-encoding").is_none());
        assert_eq!(plain.header("vary"), Some("accept-encoding"));
        for (accept, coding) in [
            ("gzip, deflate, br", "gzip"),
            ("gzip, deflate, br, zstd", "zstd"),
            ("zstd;q=0.5, gzip", "gzip"),
        ] {
            let coded = session
                .get_with(&path, &[("accept-encoding", accept)])
                .await;
            assert_eq!(coded.expect(200).header("content-encoding"), Some(coding));
            assert_eq!(coded.header("vary"), Some("accept-encoding"));
            assert!(coded.header("content-length").is_none());
            let decoded = match coding {
                "gzip" => unzipped(&coded.body),
                _ => zstd::decode_all(&coded.body[..]).unwrap(),
            };
            assert_eq!(decoded, plain.body, "{accept}");
            assert!(coded.body.len() < plain.body.len() / 4);
            let head = session
                .with("HEAD", &path, &[("accept-encoding", accept)], "")
                .await;
            assert_eq!(head.header("content-encoding"), Some(coding));
        }
        for accept in ["identity", "gzip;q=0", "br", "*"] {
            let plain = session
                .get_with(&path, &[("accept-encoding", accept)])
                .await;
            assert!(plain.header("content-encoding").is_none(), "{accept}");
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
    assert_eq!(document.header("etag"), Some(&*format!("\"{rev}\"")));
    with_many(&session, &db).await;
    let changes = session.get_with(&format!("{db}/_changes"), &zstd).await;
    assert_eq!(changes.header("content-encoding"), Some("zstd"));
    for feed in [
        "longpoll",
        "continuous&timeout=100",
        "eventsource&timeout=100",
    ] {
        let path = format!("{db}/_changes?feed={feed}");
        let told = session.get_with(&path, &zstd).await;
        assert!(
            told.expect(200).header("content-encoding").is_none(),
            "{feed}"
        );
        assert!(told.header("vary").is_none(), "{feed}");
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
        let told = answer.expect(200).header("content-encoding").is_some();
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
            session
                .with("PUT", &path, &[("content-encoding", coding)], body)
                .await
                .expect(201);
            let read = session.get(&path).await.expect(200).json();
            assert_eq!(read["a"].as_str().unwrap().len(), 100_000);
            let no = session
                .with(
                    "PUT",
                    &path,
                    &[("content-encoding", coding)],
                    "no such thing",
                )
                .await;
            assert_eq!(no.expect(400).json()["error"], "bad_request");
        }
        let bulk = json!({"docs": [{"_id": "x"}]}).to_string();
        let bulk = session
            .with(
                "POST",
                &format!("{db}/_bulk_docs"),
                &[("content-encoding", "gzip")],
                gzip(bulk.as_bytes()),
            )
            .await;
        assert_eq!(bulk.expect(201).json()[0]["id"], "x");
        let other = session
            .with(
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
            session
                .with("PUT", &path, &[("content-encoding", coding)], body)
                .await
                .expect(status);
        }
    }
}
