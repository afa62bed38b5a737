//! Too much, too slow, too many: each is refused cleanly, and the node goes on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::time::Duration;

use adyton_storage::Limits;
use serde_json::json;
use support::{Answer, Credential, Node, Session};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn small() -> Limits {
    Limits {
        document_bytes: 1_000,
        bulk_bytes: 10_000,
        body_bytes: 2_000,
        header_timeout: Duration::from_millis(300),
        stall_timeout: Duration::from_millis(300),
        ..Limits::default()
    }
}

/// Sends raw bytes, and returns everything that comes back until the node closes.
async fn raw(node: &Node, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(node.storage.address()).await.unwrap();
    // The node may close while we still write.
    let _refused = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the node keeps the connection for ever");
    String::from_utf8_lossy(&answer).into_owned()
}

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
async fn a_slow_head_and_a_slow_body_end() {
    let node = Node::with_limits(small()).await;
    // Both would hold their connection for ever.
    let (head, body) = tokio::join!(
        raw(&node, b"GET /status HTTP/1.1\r\nhost: x\r\nx-slow:"),
        raw(
            &node,
            b"POST /auth/connect HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"
        ),
    );
    assert!(
        head.is_empty() || head.starts_with("HTTP/1.1 408") || head.starts_with("HTTP/1.1 400"),
        "{head}"
    );
    assert!(body.starts_with("HTTP/1.1 400"), "{body}");
    node.client().get("/status").await.expect(200);
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let node = Node::with_limits(small()).await;
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(400 << 10));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200));
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"\r\n\r\n\x00\x00",
        long.as_bytes(),
        many.as_bytes(),
    ] {
        let answer = raw(&node, bytes).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{answer}"
        );
    }
    node.client().get("/status").await.expect(200);
}

#[tokio::test]
async fn idle_connections_at_the_limit_make_room_for_others() {
    let limits = Limits {
        connections: 4,
        // Longer than this test waits for anything.
        header_timeout: Duration::from_secs(3_600),
        body_timeout: Duration::from_secs(3_600),
        stall_timeout: Duration::from_secs(3_600),
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let owner = node.session(1).await;
    let db = owner.database("d").await;
    let path = format!("{db}/_changes?feed=continuous&since=now&heartbeat=60000");
    let mut feed = owner
        .client
        .open("GET", &path, &owner.access, "")
        .await
        .into_body();
    let mut idle = Vec::new();
    for request in [
        "",
        "GET /status HTTP/1.1\r\nx:",
        "POST /auth/connect HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{",
    ] {
        let mut stream = TcpStream::connect(node.storage.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        idle.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    // Those after them are served at once: one gives way each time.
    let served = async {
        for _ in 0..8 {
            node.client().get("/status").await.expect(200);
        }
    };
    tokio::time::timeout(Duration::from_secs(10), served)
        .await
        .expect("connections that ask nothing keep others out");
    // Not the one on which somebody with an account waits for news.
    owner
        .put(&format!("{db}/news"), &json!({}))
        .await
        .expect(201);
    let told = http_body_util::BodyExt::frame(&mut feed);
    let told = tokio::time::timeout(Duration::from_secs(10), told).await;
    told.expect("the feed is silent").unwrap().unwrap();
}

#[tokio::test]
async fn one_address_does_not_hold_all_connections() {
    let limits = Limits {
        connections: 8,
        connections_per_address: Some(2),
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let connect = async || TcpStream::connect(node.storage.address()).await.unwrap();
    let ask = async |stream: &mut TcpStream| {
        let request = b"GET /_up HTTP/1.1\r\nhost: x\r\n\r\n";
        let _hung_up = stream.write_all(request).await;
        let mut byte = [0];
        stream.read(&mut byte).await.unwrap_or(0)
    };
    let (mut first, mut second) = (connect().await, connect().await);
    assert_eq!((ask(&mut first).await, ask(&mut second).await), (1, 1));
    assert_eq!(ask(&mut connect().await).await, 0);
    // Whoever leaves makes room.
    drop(first);
    let answered = async {
        while ask(&mut connect().await).await == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), answered)
        .await
        .expect("a place that was left stays taken");
}

#[tokio::test]
async fn one_account_does_not_hold_all_connections_however_it_holds_them() {
    let limits = Limits {
        connections: 6,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let (owner, other) = (node.session(1).await, node.session(2).await);
    let (db, others) = (owner.database("d").await, other.database("d").await);
    let feed = async |session: &Session, db: &str| {
        let path = format!("{db}/_changes?feed=longpoll&since=now");
        let answer = session.client.open("GET", &path, &session.access, "");
        answer.await
    };
    let mut feeds = Vec::new();
    for _ in 0..3 {
        let answer = feed(&owner, &db).await;
        assert_eq!(answer.status(), 200);
        feeds.push(answer);
    }
    // Half of all: the rest is for others.
    assert_eq!(feed(&owner, &db).await.status(), 503);
    owner.post("/user/usage", &json!({})).await.expect(503);
    let elsewhere = feed(&other, &others).await;
    assert_eq!(elsewhere.status(), 200);
    feeds.pop();
    let answered = async {
        while owner.get(&db).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), answered)
        .await
        .expect("a connection that ended still counts");
}

#[tokio::test]
async fn accounts_that_hold_every_connection_give_way_to_a_newcomer() {
    let limits = Limits {
        connections: 16,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let mut owners = Vec::new();
    for seed in [1, 2, 3] {
        let owner = node.session(seed).await;
        let db = owner.database("d").await;
        owners.push((owner, db));
    }
    // Let what has been asked so far be over.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut feeds = Vec::new();
    for ((owner, db), many) in owners.iter().zip([8, 5, 3]) {
        let path = format!("{db}/_changes?feed=continuous&since=now&heartbeat=100");
        for _ in 0..many {
            let answer = owner.client.open("GET", &path, &owner.access, "").await;
            assert_eq!(answer.status(), 200);
            feeds.push(answer.into_body());
        }
    }
    let newcomers = async {
        for _ in 0..3 {
            node.client().get("/status").await.expect(200);
        }
    };
    tokio::time::timeout(Duration::from_secs(10), newcomers)
        .await
        .expect("accounts keep everybody else out");
    // Whoever had most gave way, and the others were not interrupted.
    let mut went_on = Vec::new();
    for feed in &mut feeds {
        let mut is_open = true;
        for _ in 0..3 {
            let told = http_body_util::BodyExt::frame(feed);
            let told = tokio::time::timeout(Duration::from_secs(10), told).await;
            is_open &= matches!(told, Ok(Some(Ok(_))));
        }
        went_on.push(is_open);
    }
    assert!(!went_on[0]);
    assert!(went_on[5..].iter().all(|is_open| *is_open), "{went_on:?}");
}

#[tokio::test]
async fn a_reader_of_a_few_bytes_a_second_is_dropped_and_a_feed_without_news_is_not() {
    let limits = Limits {
        body_timeout: Duration::from_secs(1),
        stall_timeout: Duration::from_secs(60),
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let path = format!("{db}/_changes?feed=continuous&since=now&heartbeat=60000");
    let mut feed = session
        .client
        .open("GET", &path, &session.access, "")
        .await
        .into_body();
    let filler = "f".repeat(1 << 20);
    for n in 0..24 {
        let body = json!({"f": filler});
        session.put(&format!("{db}/{n}"), &body).await.expect(201);
    }
    let Credential::Bearer(token) = &session.access else {
        panic!("a bearer token")
    };
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    let mut stream = socket.connect(node.storage.address()).await.unwrap();
    let request = format!(
        "GET {db}/_all_docs?include_docs=true HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = [0; 512];
    let dripping = async {
        while let Ok(1..) = stream.read(&mut bytes).await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    // At this rate the whole would take more than an hour.
    let dropped = tokio::time::timeout(Duration::from_secs(2), dripping).await;
    drop(dropped);
    let mut rest = Vec::new();
    let _reset = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest))
        .await
        .expect("the node goes on");
    assert!(rest.len() < 20 << 20, "{}", rest.len());
    // The feed lived longer without anything to tell.
    session
        .put(&format!("{db}/news"), &json!({}))
        .await
        .expect(201);
    let told = async {
        let mut text = Vec::new();
        while !String::from_utf8_lossy(&text).contains("\"news\"") {
            let frame = http_body_util::BodyExt::frame(&mut feed).await.unwrap();
            text.extend_from_slice(frame.unwrap().data_ref().unwrap());
        }
    };
    tokio::time::timeout(Duration::from_secs(10), told)
        .await
        .expect("the feed ended");
}

#[tokio::test]
async fn rows_that_are_skipped_are_walked_over_in_turns_and_the_rest_is_told() {
    let limits = Limits {
        finds_at_once: 1,
        find_queue: 1,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let docs: Vec<_> = (0..6_000)
        .map(|n| json!({"_id": format!("{n:05}")}))
        .collect();
    let bulk = format!("{db}/_bulk_docs");
    let made = session.post(&bulk, &json!({"docs": docs})).await;
    // The middle third is deleted: nobody is told of these, and they are walked over all the same.
    let gone: Vec<_> = made.expect(201).json().as_array().unwrap()[2_000..4_000]
        .iter()
        .map(|row| json!({"_id": row["id"], "_rev": row["rev"], "_deleted": true}))
        .collect();
    session
        .post(&bulk, &json!({"docs": gone}))
        .await
        .expect(201);
    let list = async |query: &str| {
        let answer = session.get(&format!("{db}/_all_docs?{query}")).await;
        let rows = answer.expect(200).json()["rows"].clone();
        let ids = rows.as_array().unwrap().iter();
        ids.map(|row| row["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(list("").await.len(), 4_000);
    assert_eq!(list("skip=1999&limit=2").await, ["01999", "04000"]);
    assert_eq!(list("skip=2500&limit=1").await, ["04500"]);
    assert_eq!(list("skip=3999").await, ["05999"]);
    assert_eq!(list("skip=4000").await, [""; 0]);
    assert_eq!(list("skip=100000").await, [""; 0]);
    assert_eq!(list("descending=true&skip=2500&limit=1").await, ["01499"]);
    assert_eq!(
        list("startkey=%2201000%22&skip=1500&limit=1").await,
        ["04500"]
    );
    let keys = json!({"keys": ["00001", "nobody", "00003"]});
    let path = format!("{db}/_all_docs?skip=2");
    let rows = session.post(&path, &keys).await.expect(200).json();
    assert_eq!(rows["rows"].as_array().unwrap().len(), 1);
    assert_eq!(rows["rows"][0]["id"], "00003");
    // Many at a time: they take turns, and of one caller only so many wait.
    let path = format!("{db}/_all_docs?skip=3999");
    let many: Vec<_> = (0..8).map(|_| session.get(&path)).collect();
    let statuses: Vec<_> = futures_util::future::join_all(many)
        .await
        .iter()
        .map(|answer| answer.status.as_u16())
        .collect();
    assert!(statuses.contains(&200), "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 503].contains(status)));
}

#[tokio::test]
async fn open_feeds_are_so_many_in_all_and_so_many_of_one() {
    let limits = Limits {
        feeds: 3,
        feeds_per_caller: 2,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let (owner, other) = (node.session(1).await, node.session(2).await);
    let (db, others) = (owner.database("d").await, other.database("d").await);
    let open = async |session: &Session, db: &str| {
        let path = format!("{db}/_changes?feed=continuous&heartbeat=60000");
        let answer = session.client.open("GET", &path, &session.access, "");
        answer.await
    };
    let first = open(&owner, &db).await;
    let _second = open(&owner, &db).await;
    assert_eq!(open(&owner, &db).await.status(), 503);
    // Who only reads does not wait, and is answered.
    owner.get(&format!("{db}/_changes")).await.expect(200);
    let _third = open(&other, &others).await;
    assert_eq!(open(&other, &others).await.status(), 503);
    drop(first);
    let opened = async {
        while open(&other, &others).await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), opened)
        .await
        .expect("a feed that ended still counts");
}

#[tokio::test]
async fn a_reader_who_stops_reading_is_dropped() {
    let limits = Limits {
        stall_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let filler = "f".repeat(1 << 20);
    for n in 0..24 {
        session
            .put(&format!("{db}/{n}"), &json!({"f": filler}))
            .await
            .expect(201);
    }
    let Credential::Bearer(token) = &session.access else {
        panic!("a bearer token")
    };
    let mut stream = TcpStream::connect(node.storage.address()).await.unwrap();
    let request = format!(
        "GET {db}/_changes?include_docs=true HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut answer = Vec::new();
    // Whatever the system had buffered, then the end: reset or closed, but not the whole.
    let _reset = stream.read_to_end(&mut answer).await;
    assert!(answer.len() < 24 << 20, "{}", answer.len());
    assert!(!answer.ends_with(b"0\r\n\r\n"));
    session.get(&db).await.expect(200);
}

#[tokio::test]
async fn one_account_cannot_keep_all_open_files() {
    let limits = Limits {
        open_databases: 1,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let (session, other) = (node.session(1).await, node.session(2).await);
    let others = other.database("d").await;
    let Credential::Bearer(token) = &session.access else {
        panic!("a bearer token")
    };
    let filler = "f".repeat(4 << 20);
    let mut unread = Vec::new();
    for n in 0..4 {
        let db = session.database(&format!("d{n}")).await;
        for id in 0..4 {
            let path = format!("{db}/{id}");
            session.put(&path, &json!({"f": filler})).await.expect(201);
        }
        for path in ["_all_docs?include_docs=true", "_changes?include_docs=true"] {
            let mut stream = TcpStream::connect(node.storage.address()).await.unwrap();
            let request = format!(
                "GET {db}/{path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            unread.push(stream);
        }
    }
    // Until all that fits anywhere was sent.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for n in 0..4 {
        let path = format!("{others}/{n}");
        other.put(&path, &json!({})).await.expect(201);
    }
    // And the answers go on where their readers do.
    for mut stream in unread {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.len() > 16 << 20 && answer.ends_with(b"0\r\n\r\n"));
    }
}

#[tokio::test]
async fn queries_and_feeds_by_selector_take_turns_and_all_are_answered() {
    let limits = Limits {
        finds_at_once: 1,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let docs: Vec<serde_json::Value> = (0..3_000).map(|n| json!({"n": n})).collect();
    session
        .post(&format!("{db}/_bulk_docs"), &json!({"docs": docs}))
        .await
        .expect(201);
    // More rows than one batch, so that each of them waits for its turn more than once.
    let asked: Vec<_> = (0..8)
        .map(|n| {
            let (client, access) = (session.client, session.access.clone());
            let body = json!({"selector": {"n": {"$gte": 2_900}}}).to_string();
            let path = match n % 2 {
                0 => format!("{db}/_changes?filter=_selector"),
                _ => format!("{db}/_find"),
            };
            tokio::spawn(async move { client.send("POST", &path, &access, body).await })
        })
        .collect();
    for (n, answer) in asked.into_iter().enumerate() {
        let answer = answer.await.unwrap().expect(200).json();
        let (list, count) = match n % 2 {
            0 => ("results", 100),
            _ => ("docs", 25),
        };
        assert_eq!(answer[list].as_array().unwrap().len(), count);
    }
}

#[tokio::test]
async fn a_reader_keeps_checkpoints_and_no_more() {
    let limits = Limits {
        reader_local_bytes: 1_000,
        local_documents_for_readers: 3,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let owner = node.session(1).await;
    let reader = node.session(2).await;
    let everybody = json!({"read": "public", "write": "owner"});
    let db = owner.database_with("d", &everybody).await;
    let local = |id: &str| format!("{db}/_local/{id}");
    let document = |bytes: usize| json!({"f": "f".repeat(bytes - 8)});
    owner.put(&local("own"), &document(1_001)).await.expect(201);

    reader.put(&local("a"), &document(1_001)).await.expect(413);
    let a = reader.put(&local("a"), &document(1_000)).await;
    let rev = a.expect(201).json()["rev"].clone();
    reader.put(&local("b"), &json!({})).await.expect(201);
    // Replicators go on without a checkpoint when they may not keep it.
    reader.put(&local("c"), &json!({})).await.expect(403);
    // What is there is still kept up to date, by its readers; the owner keeps what he likes.
    let next = json!({"_rev": rev, "n": 1});
    let rev = reader.put(&local("a"), &next).await.expect(201).json()["rev"].clone();
    owner.put(&local("d"), &json!({})).await.expect(201);
    owner.put(&local("e"), &json!({})).await.expect(201);
    let gone = format!("{}?rev={}", local("a"), rev.as_str().unwrap());
    reader.send("DELETE", &gone, &json!(null)).await.expect(200);
    reader.put(&local("c"), &json!({})).await.expect(403);
}

#[tokio::test]
async fn a_reader_of_public_databases_takes_nothing_that_writers_need() {
    let limits = Limits {
        account_bytes: 8 << 20,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let (owner, reader) = (node.session(1).await, node.session(2).await);
    let everybody = json!({"read": "public", "write": "owner"});
    let db = owner.database_with("d", &everybody).await;
    let checkpoint = json!({"at": "x".repeat(30 << 10)});
    let put = async |session: &Session, n: usize| {
        let path = format!("{db}/_local/{n}");
        session.put(&path, &checkpoint).await.status
    };
    let mut kept = 0;
    while put(&reader, kept).await == 201 {
        kept += 1;
        assert!(kept < 400, "a reader takes all of the account");
    }
    assert_eq!(put(&reader, kept).await, 403);
    let document = json!({"f": "f".repeat(500 << 10)});
    owner.post(&db, &document).await.expect(201);
    while owner.post(&db, &document).await.status == 201 {}

    // Full: to readers nothing is lent, to who writes here a little.
    assert_eq!(put(&reader, kept).await, 403);
    assert_eq!(put(&owner, 1_000).await, 201);
}

#[tokio::test]
async fn a_full_node_lends_checkpoints_so_much_and_no_more() {
    let limits = Limits {
        node_bytes: Some(16 << 20),
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let owner = node.session(1).await;
    let db = owner.database("d").await;
    let document = json!({"f": "f".repeat(500 << 10)});
    while owner.post(&db, &document).await.status == 201 {}
    let checkpoint = json!({"at": "x".repeat(30 << 10)});
    let mut lent = 0;
    let refused = loop {
        let path = format!("{db}/_local/{lent}");
        let put = owner.put(&path, &checkpoint).await;
        if put.status != 201 {
            break put;
        }
        lent += 1;
        assert!(lent < 100, "the node lends without end");
    };
    refused.expect(507);
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

#[tokio::test]
async fn a_request_that_names_a_document_often_is_told_only_so_much_of_it() {
    let limits = Limits {
        repeated_bytes: 10_000,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let document = json!({"f": "f".repeat(3_000)});
    session.put(&format!("{db}/a"), &document).await.expect(201);
    let content = json!({"data": "A".repeat(4_000)});
    let attached = json!({"_attachments": {"x": content}});
    session.put(&format!("{db}/b"), &attached).await.expect(201);

    let list = async |query: &str, id: &str, times: usize| {
        let path = format!("{db}/_all_docs?{query}");
        session.post(&path, &json!({"keys": vec![id; times]})).await
    };
    let rows = list("include_docs=true", "a", 4).await.expect(200).json();
    assert_eq!(rows["rows"].as_array().unwrap().len(), 4);
    list("include_docs=true", "a", 5).await.expect(413);
    // Without the documents it is a list of names, as often as one likes.
    list("", "a", 1_000).await.expect(200);
    list("include_docs=true", "b", 20).await.expect(200);
    list("include_docs=true&attachments=true", "b", 20)
        .await
        .expect(413);

    let get = async |query: &str, id: &str, times: usize| {
        let path = format!("{db}/_bulk_get?{query}");
        let docs = vec![json!({"id": id}); times];
        session.post(&path, &json!({"docs": docs})).await
    };
    get("", "a", 4).await.expect(200);
    get("", "a", 5).await.expect(413);
    get("", "b", 20).await.expect(200);
    get("attachments=true", "b", 20).await.expect(413);
    // What does not exist is told to be missing, and that is short.
    get("", "nothing", 1_000).await.expect(200);
}

#[tokio::test]
async fn the_branches_of_a_document_are_no_repetitions_but_each_of_them_twice_is() {
    let limits = Limits {
        repeated_bytes: 10_000,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let rev = |n: usize| format!("1-{n:032x}");
    let docs: Vec<_> = (0..20)
        .map(|n| json!({"_id": "a", "_rev": rev(n), "f": "f".repeat(2_000)}))
        .collect();
    session
        .post(
            &format!("{db}/_bulk_docs"),
            &json!({"docs": docs, "new_edits": false}),
        )
        .await
        .expect(201);
    let items: Vec<_> = (0..20).map(|n| json!({"id": "a", "rev": rev(n)})).collect();
    let get = async |items: &[serde_json::Value]| {
        let path = format!("{db}/_bulk_get");
        session.post(&path, &json!({"docs": items})).await
    };
    get(&items).await.expect(200);
    get(&[&items[..], &items[..]].concat()).await.expect(413);
}

#[tokio::test]
async fn a_long_tree_is_gone_through_again_only_so_often() {
    let limits = Limits {
        repeated_bytes: 1_000_000,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let rev = |n: usize| format!("{n}-{n:032x}");
    let ids: Vec<String> = (1..=999).rev().map(|n| format!("{n:032x}")).collect();
    let document =
        |id: &str| json!({"_id": id, "_rev": rev(999), "_revisions": {"start": 999, "ids": ids}});
    let body = json!({"docs": [document("a"), document("b")], "new_edits": false});
    session
        .post(&format!("{db}/_bulk_docs"), &body)
        .await
        .expect(201);
    let get = async |query: &str, items: Vec<serde_json::Value>| {
        let path = format!("{db}/_bulk_get?{query}");
        session.post(&path, &json!({"docs": items})).await
    };
    // Side by side they are looked for in a tree that is read once, whether they are there or not.
    let unknown = (0..5_000).map(|n| json!({"id": "a", "rev": format!("1-{:032x}", 5_000 + n)}));
    get("latest=true", unknown.collect()).await.expect(200);
    // Here it is read for each of them, and there gone through.
    let turns =
        |n: usize| (0..n).flat_map(|_| ["a", "b"].map(|id| json!({"id": id, "rev": rev(1)})));
    get("", turns(10).collect()).await.expect(200);
    get("", turns(100).collect()).await.expect(413);
    let ancestors = |n: usize| (1..=n).map(|n| json!({"id": "a", "rev": rev(n)}));
    get("", ancestors(900).collect()).await.expect(200);
    get("latest=true", ancestors(20).collect())
        .await
        .expect(200);
    get("latest=true", ancestors(900).collect())
        .await
        .expect(413);
}

#[tokio::test]
async fn a_key_that_is_named_often_is_looked_up_only_so_often() {
    let limits = Limits {
        repeated_bytes: 1_000_000,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let rev = |n: usize| format!("{n}-{n:032x}");
    let ids: Vec<String> = (1..=999).rev().map(|n| format!("{n:032x}")).collect();
    let revisions = json!({"start": 999, "ids": ids});
    let docs = json!([
        {"_id": "a", "_rev": rev(999), "_revisions": revisions},
        {"_id": "gone", "_rev": rev(999), "_revisions": revisions, "_deleted": true},
    ]);
    let bulk = json!({"docs": docs, "new_edits": false});
    let bulk = session.post(&format!("{db}/_bulk_docs"), &bulk).await;
    bulk.expect(201);
    let list = async |query: &str, keys: Vec<&str>| {
        let path = format!("{db}/_all_docs{query}");
        session.post(&path, &json!({"keys": keys})).await
    };
    // Side by side it is read once, and told each time.
    let told = list("", vec!["a"; 5_000]).await.expect(200).json();
    let rows = told["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 5_000);
    assert!(rows.iter().all(|row| row["value"]["rev"] == rev(999)));
    list("?include_docs=true", vec!["a"; 500]).await.expect(200);
    // Here it is read for each of them, and there gone through for its conflicts.
    list("", ["a", "b"].repeat(20)).await.expect(200);
    list("", ["a", "b"].repeat(100)).await.expect(413);
    list("", ["gone", "b"].repeat(100)).await.expect(413);
    list("", ["b", "c"].repeat(100)).await.expect(200);
    list("?include_docs=true&conflicts=true", vec!["a"; 100])
        .await
        .expect(413);
    let path = format!("{db}/_all_docs/queries");
    let lists = |n: usize| {
        let list = json!({"keys": (["a", "b"].repeat(n))});
        json!({"queries": vec![list; 10]})
    };
    session.post(&path, &lists(2)).await.expect(200);
    session.post(&path, &lists(10)).await.expect(413);
}

#[tokio::test]
async fn a_revision_that_is_asked_for_often_is_told_once() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let rev = |n: usize| format!("{}-{n:032x}", n + 1);
    // One long branch, and a second leaf: both follow its first revision.
    let branch: Vec<String> = (0..30).rev().map(|n| format!("{n:032x}")).collect();
    let long = json!({
        "_id": "a", "_rev": rev(29), "f": "long", "_revisions": {"start": 30, "ids": branch},
    });
    let short = json!({
        "_id": "a", "_rev": "2-ffffffffffffffffffffffffffffffff", "f": "short",
        "_revisions": {"start": 2, "ids": ["f".repeat(32), format!("{:032x}", 0)]},
    });
    let docs = json!({"docs": [long, short], "new_edits": false});
    session
        .post(&format!("{db}/_bulk_docs"), &docs)
        .await
        .expect(201);
    let wanted: Vec<String> = (0..30).chain(0..30).map(rev).collect();
    let open_revs: String =
        url::form_urlencoded::byte_serialize(json!(wanted).to_string().as_bytes()).collect();
    let ask = async |more: &str| {
        let path = format!("{db}/a?open_revs={open_revs}{more}");
        session.get(&path).await.expect(200).json()
    };
    let told = ask("&latest=true").await;
    let told: Vec<_> = told.as_array().unwrap().iter().collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|line| line["ok"]["f"].is_string()));
    // Without `latest` only leaves are kept: one is told, and what is missing is named once, too.
    let told = ask("").await;
    assert_eq!(told.as_array().unwrap().len(), 30);
}

#[tokio::test]
async fn the_large_leaves_of_a_document_are_all_told_piece_by_piece() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let first = format!("{:032x}", 0);
    // Together many times what is made at once.
    let leaf = |n: usize| {
        let name = format!("{n:032x}");
        json!({
            "_id": "a", "_rev": format!("2-{name}"), "n": n, "f": "f".repeat(200 << 10),
            "_revisions": {"start": 2, "ids": [name, first]},
        })
    };
    let docs: Vec<_> = (1..=20).map(leaf).collect();
    let docs = json!({"docs": docs, "new_edits": false});
    session
        .post(&format!("{db}/_bulk_docs"), &docs)
        .await
        .expect(201);
    session
        .put(&format!("{db}/b"), &json!({}))
        .await
        .expect(201);
    let numbers = |told: &serde_json::Value| {
        let told = told.as_array().unwrap().iter();
        let mut numbers: Vec<_> = told.map(|line| line["ok"]["n"].as_u64().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    };
    let all: Vec<u64> = (1..=20).collect();

    let told = session.get(&format!("{db}/a?open_revs=all")).await;
    assert_eq!(numbers(&told.expect(200).json()), all);
    let items = json!([
        {"id": "b"}, {"id": "a", "rev": format!("1-{first}")}, {"id": "nothing"}, {"id": "b"},
    ]);
    let path = format!("{db}/_bulk_get?latest=true&revs=true");
    let told = session.post(&path, &json!({"docs": items})).await;
    let told = told.expect(200).json();
    let results = told["results"].as_array().unwrap();
    let ids: Vec<_> = results
        .iter()
        .map(|item| item["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["b", "a", "nothing", "b"]);
    assert_eq!(numbers(&results[1]["docs"]), all);
    assert_eq!(results[2]["docs"][0]["error"]["reason"], "missing");
    for b in [&results[0], &results[3]] {
        assert_eq!(b["docs"][0]["ok"]["_id"], "b");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn open_revs_of_a_document_that_changes_is_always_answered() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let hot = format!("{db}/hot");
    let written = session.put(&hot, &json!({"n": 0})).await;
    let first = written.expect(201).json()["rev"].take();
    let edits = async {
        let mut rev = first.clone();
        loop {
            let written = session.put(&hot, &json!({"_rev": rev, "n": 1})).await;
            rev = written.expect(201).json()["rev"].take();
        }
    };
    let reads = async {
        // A broken answer is a panic of whoever reads it.
        for _ in 0..150 {
            let all = session.get(&format!("{hot}?open_revs=all&revs=true")).await;
            let all = all.expect(200).json();
            assert!(all[0]["ok"]["_revisions"].is_object() && all[1].is_null());
            let wanted = all[0]["ok"]["_rev"].as_str().unwrap();
            let path = format!("{hot}?latest=true&open_revs=%5B%22{wanted}%22%5D");
            let latest = session.get(&path).await.expect(200).json();
            assert!(latest[0]["ok"]["_id"] == "hot" && latest[1].is_null());
        }
    };
    tokio::select! {
        () = reads => {}
        () = edits => {}
    }
}

#[tokio::test]
async fn leaves_that_are_replaced_while_others_are_told_are_followed_or_missing() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let rev = |n: usize| format!("1-{n:032x}");
    // More than fits what is on its way. The leaves that come last are the lowest.
    for part in 0..4 {
        let leaf = |n: usize| json!({"_id": "a", "_rev": rev(n), "f": "f".repeat(1 << 20)});
        let docs: Vec<_> = (0..10).map(|n| leaf(part * 10 + n)).collect();
        let docs = json!({"docs": docs, "new_edits": false});
        let bulk = session.post(&format!("{db}/_bulk_docs"), &docs).await;
        bulk.expect(201);
    }
    let begin = async |method: &str, path: &str, body: serde_json::Value| {
        let (path, body) = (format!("{db}/{path}"), body.to_string());
        let client = &session.client;
        client.open(method, &path, &session.access, body).await
    };
    let all = begin("GET", "a?open_revs=all", json!(null)).await;
    let named = json!((0..40).rev().map(rev).collect::<Vec<_>>()).to_string();
    let named: String = url::form_urlencoded::byte_serialize(named.as_bytes()).collect();
    let named = begin("GET", &format!("a?open_revs={named}"), json!(null)).await;
    let every = json!({"docs": [{"id": "a"}, {"id": "b"}]});
    let every = begin("POST", "_bulk_get", every).await;
    let replaced = json!({"_rev": rev(3), "n": 3});
    let replaced = session.put(&format!("{db}/a"), &replaced).await;
    let replaced = replaced.expect(201).json()["rev"].take();

    let told = |list: &serde_json::Value| {
        let lines = list.as_array().unwrap().iter();
        lines
            .map(|line| match &line["ok"] {
                serde_json::Value::Null => line.clone(),
                ok => ok["_rev"].clone(),
            })
            .collect::<Vec<_>>()
    };
    let but_one = |other: serde_json::Value| {
        let mut lines: Vec<_> = (0..40).rev().map(|n| json!(rev(n))).collect();
        lines[36] = other;
        lines
    };
    let all = Answer::read(all).await.expect(200).json();
    assert_eq!(told(&all), but_one(replaced.clone()));
    let named = Answer::read(named).await.expect(200).json();
    assert_eq!(told(&named), but_one(json!({"missing": rev(3)})));
    let every = Answer::read(every).await.expect(200).json();
    assert_eq!(told(&every["results"][0]["docs"]), but_one(replaced));
    assert_eq!(every["results"][1]["docs"][0]["error"]["reason"], "missing");
}

/// Sends a piece every 50 ms until the node hangs up or has answered. What it answered, and how long it took.
async fn dripped(node: &Node, head: &str, piece: &str) -> (String, Duration) {
    let stream = TcpStream::connect(node.storage.address()).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    write.write_all(head.as_bytes()).await.unwrap();
    let began = std::time::Instant::now();
    let mut answer = [0; 64];
    let mut drip = tokio::time::interval(Duration::from_millis(50));
    let answered = async {
        loop {
            tokio::select! {
                said = read.read(&mut answer) => return said.unwrap_or(0),
                _ = drip.tick() => {
                    let _hung_up = write.write_all(piece.as_bytes()).await;
                }
            }
        }
    };
    let length = tokio::time::timeout(Duration::from_secs(20), answered).await;
    let length = length.expect("a drop now and then keeps a connection for ever");
    let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
    (answer, began.elapsed())
}

#[tokio::test]
async fn a_head_and_a_body_that_drip_end() {
    let limits = Limits {
        header_timeout: Duration::from_millis(600),
        stall_timeout: Duration::from_millis(400),
        body_timeout: Duration::from_millis(800),
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let Credential::Bearer(token) = &session.access else {
        panic!("a bearer token")
    };
    let body = "POST /auth/connect HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n{";
    let document = format!(
        "PUT {db}/a HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: 1000000\r\n\r\n{{"
    );
    let ((head, _), (body, in_time), (document, _)) = tokio::join!(
        dripped(&node, "GET /status HTTP/1.1\r\nhost: x\r\nx-slow:", "x"),
        dripped(&node, body, " "),
        dripped(&node, &document, " "),
    );
    assert!(head.is_empty() || head.starts_with("HTTP/1.1 4"), "{head}");
    for answer in [body, document] {
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    // Never late for the next piece, and late for the whole.
    assert!(in_time >= Duration::from_millis(700), "{in_time:?}");
}

#[tokio::test]
async fn two_senders_leave_room_for_a_login() {
    let limits = Limits {
        bulk_bytes: 1 << 20,
        body_bytes: 32 << 10,
        bodies_in_flight_bytes: 4 << 20,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    // Their uploads do not end, large ones and then small ones, until there is room for no more.
    let mut unfinished = Vec::new();
    for holder in [1, 2] {
        let session = node.session(holder).await;
        let path = format!("{}/_bulk_docs", session.database("d").await);
        let Credential::Bearer(token) = &session.access else {
            unreachable!();
        };
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: 1048576\r\n\r\n"
        );
        for bytes in [1_000_000, 60_000, 4_000, 100] {
            loop {
                let mut stream = TcpStream::connect(node.storage.address()).await.unwrap();
                stream.write_all(head.as_bytes()).await.unwrap();
                let _refused = stream.write_all(&vec![b' '; bytes]).await;
                let mut answer = [0; 12];
                let said = stream.read_exact(&mut answer);
                if tokio::time::timeout(Duration::from_millis(50), said)
                    .await
                    .is_ok()
                {
                    break;
                }
                unfinished.push(stream);
            }
        }
    }
    assert!(unfinished.len() > 10, "{}", unfinished.len());

    let session = node.session(3).await;
    let db = session.database("d").await;
    for n in 0..5 {
        let document = json!({"f": "f".repeat(20_000)});
        session
            .put(&format!("{db}/{n}"), &document)
            .await
            .expect(201);
    }
    // A large one has room that one of theirs leaves.
    let docs = json!({"docs": [{"_id": "large", "f": "f".repeat(200_000)}]});
    let bulk = session.post(&format!("{db}/_bulk_docs"), &docs).await;
    bulk.expect(201);
    session.get(&format!("{db}/large")).await.expect(200);
}

#[tokio::test]
async fn dripped_bodies_leave_connections_and_room_for_others() {
    let limits = Limits {
        connections: 8,
        bodies_in_flight_bytes: 40_000,
        bodies_in_flight_bytes_per_sender: Some(10_000),
        stall_timeout: Duration::from_millis(400),
        body_timeout: Duration::from_millis(800),
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let head = "POST /auth/connect HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n";
    let begun = format!("{head}{}", " ".repeat(4_000));
    let mut strangers = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(node.storage.address()).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        strangers.push(stream);
    }
    // Two of them fill what strangers from one address have together; the third is refused.
    let mut refused = 0;
    for stream in &mut strangers {
        let mut answer = [0; 12];
        let said = stream.read_exact(&mut answer);
        let said = tokio::time::timeout(Duration::from_millis(200), said).await;
        refused += usize::from(said.is_ok() && &answer == b"HTTP/1.1 503");
    }
    assert_eq!(refused, 1);
    // Who has an account has the room of the account.
    let document = json!({"f": "f".repeat(4_000)});
    session.put(&format!("{db}/a"), &document).await.expect(201);
    // And all connections, when somebody holds each of them with a body that drips.
    drop(strangers);
    let drips: Vec<_> = (0..8).map(|_| dripped(&node, head, " ")).collect();
    let (_, answer) = tokio::join!(futures_util::future::join_all(drips), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let asked = node.client();
        tokio::time::timeout(Duration::from_secs(10), asked.get("/status")).await
    });
    answer.expect("all connections are held").expect(200);
}
