//! What is sent, and what is made of it: each has a limit, and all of it together has one.

use std::time::Duration;

use adyton_storage::Limits;
use serde_json::json;

use super::{raw, small};
use crate::support::{Answer, Node};

#[tokio::test]
async fn one_byte_over_a_body_limit_is_413() {
    let node = Node::with_limits(small()).await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let document = |bytes: usize| format!("{{\"f\":\"{}\"}}", "f".repeat(bytes - 8));
    let put = async |path: &str, body: String| {
        node.client()
            .send("PUT", &format!("{db}{path}"), &session.access, body)
            .await
    };
    assert_eq!(document(1_000).len(), 1_000);
    put("/a", document(1_000)).await.expect(201);
    assert_eq!(
        put("/b", document(1_001)).await.expect(413).json()["error"],
        "too_large"
    );

    let bulk = |bytes: usize| {
        let docs = "{\"f\":1},".repeat((bytes - 12) / 8);
        let body = format!("{{\"docs\":[{}]}}", docs.trim_end_matches(','));
        format!("{body:<bytes$}")
    };
    let post = async |body: String| {
        node.client()
            .send("POST", &format!("{db}/_bulk_docs"), &session.access, body)
            .await
    };
    assert_eq!(bulk(10_000).len(), 10_000);
    post(bulk(10_000)).await.expect(201);
    post(bulk(10_001)).await.expect(413);
    // A large document among others is refused by itself.
    let docs = format!("{{\"docs\":[{},{{\"_id\":\"ok\"}}]}}", document(1_001));
    let lines = post(docs).await.expect(201).json();
    assert_eq!(
        (&lines[0]["error"], &lines[1]["ok"]),
        (&json!("too_large"), &json!(true))
    );

    let call = |bytes: usize| format!("{:<bytes$}", "{}");
    let usage = async |body: String| {
        node.client()
            .send("POST", "/user/usage", &session.access, body)
            .await
    };
    usage(call(2_000)).await.expect(200);
    usage(call(2_001)).await.expect(413);
}

#[tokio::test]
async fn a_body_of_unknown_length_is_cut_at_the_limit() {
    let node = Node::with_limits(small()).await;
    let mut request =
        b"POST /auth/connect HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..50 {
        request.extend_from_slice(b"64\r\n");
        request.extend_from_slice(&[b' '; 100]);
        request.extend_from_slice(b"\r\n");
    }
    assert!(raw(&node, &request).await.starts_with("HTTP/1.1 413"));
}

#[tokio::test]
async fn more_bodies_than_fit_in_memory_are_refused_for_now() {
    let limits = Limits {
        bodies_in_flight_bytes: 500,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let answer = node
        .client()
        .post("/auth/connect", &json!({"did": "x".repeat(600)}))
        .await;
    answer.expect(503);
    node.client()
        .post("/auth/connect", &json!({"did": "x".repeat(300)}))
        .await
        .expect(401);
}

#[tokio::test]
async fn what_is_made_of_a_body_counts_as_the_body_does() {
    let limits = Limits {
        bodies_in_flight_bytes: 2_400,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let data = |bytes: usize| json!({"data": "A".repeat(bytes)});
    for (bytes, status) in [(600, 201), (1_200, 503), (600, 201), (600, 201)] {
        let document = json!({"_attachments": {"a": data(bytes)}});
        let bulk = json!({"docs": [document]});
        let answer = session.post(&format!("{db}/_bulk_docs"), &bulk).await;
        answer.expect(status);
        session.post(&db, &document).await.expect(status);
    }
}

#[tokio::test]
async fn what_is_made_of_a_bulk_get_counts_and_is_made_where_nobody_waits() {
    let limits = Limits {
        bodies_in_flight_bytes: 4 << 20,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let post = async |path: &str, body: String| {
        let path = format!("{db}/{path}");
        let client = node.client();
        client.send("POST", &path, &session.access, body).await
    };
    // A few bytes that become an item each: as many bytes of spaces take no room.
    let items = |items: usize| format!("{{\"docs\":[{}]}}", vec!["{}"; items].join(","));
    let named = |documents: usize| {
        let named = (0..documents).map(|n| format!("\"{n}\":[]"));
        format!("{{{}}}", named.collect::<Vec<_>>().join(","))
    };
    let stubs = |documents: usize| {
        let stubs = (0..1_000).map(|n| format!("\"{n}\":{{\"stub\":true}}"));
        let stubs = stubs.collect::<Vec<_>>().join(",");
        let document = format!("{{\"_attachments\":{{{stubs}}}}}");
        format!("{{\"docs\":[{}]}}", vec![document; documents].join(","))
    };
    for (path, few, many, done) in [
        ("_bulk_get", items(2_000), items(20_000), 200),
        ("_revs_diff", named(2_000), named(20_000), 200),
        ("_missing_revs", named(2_000), named(20_000), 200),
        ("_bulk_docs", stubs(2), stubs(20), 201),
    ] {
        let filled = few.clone() + &" ".repeat(many.len() - few.len());
        post(path, many.clone()).await.expect(503);
        post(path, filled).await.expect(done);
        // Nothing stays taken.
        post(path, few).await.expect(done);
        post(path, many).await.expect(503);
    }
    let revs = vec!["\"\""; 1_000].join(",");
    let item = format!("{{\"id\":\"a\",\"atts_since\":[{revs},\"\"]}}");
    let refused = post("_bulk_get", format!("{{\"docs\":[{item}]}}")).await;
    assert_eq!(refused.expect(413).json()["error"], "too_large");
}

#[tokio::test]
async fn what_is_made_of_a_bulk_get_counts_until_the_last_of_it_is_told() {
    let limits = Limits {
        bodies_in_flight_bytes: 30_000_000,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    let path = format!("{}/_bulk_get", session.database("d").await);
    let items = (0..10_000).map(|n| format!("{{\"id\":\"{n:0>1000}\"}}"));
    let body = format!("{{\"docs\":[{}]}}", items.collect::<Vec<_>>().join(","));
    let client = node.client();
    let open = async || {
        let body = body.clone();
        client.open("POST", &path, &session.access, body).await
    };
    let unread = open().await;
    assert_eq!(unread.status(), 200);
    assert_eq!(open().await.status(), 503);
    let told = Answer::read(unread).await.expect(200).json();
    assert_eq!(told["results"].as_array().unwrap().len(), 10_000);
    let again = async {
        while open().await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let again = tokio::time::timeout(Duration::from_secs(20), again).await;
    again.expect("the room of an answer that was told is not given back");
}

#[tokio::test]
async fn pages_that_do_not_fit_in_memory_together_are_refused_for_now() {
    let limits = Limits {
        find_pages_bytes: 8 << 10,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let docs: Vec<serde_json::Value> = (0..100).map(|n| json!({"n": n})).collect();
    session
        .post(&format!("{db}/_bulk_docs"), &json!({"docs": docs}))
        .await
        .expect(201);
    let find = async |limit: u64| {
        let query = json!({"selector": {"n": {"$gte": 0}}, "limit": limit});
        session.post(&format!("{db}/_find"), &query).await
    };
    // One caller has a quarter of the room, and gets it back.
    for _ in 0..3 {
        find(5).await.expect(200);
    }
    find(100).await.expect(503);
    find(5).await.expect(200);
}
