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
use support::{Credential, Node};
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
        bodies_in_flight_bytes: 1_500,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let data = |bytes: usize| json!({"data": "A".repeat(bytes)});
    for (bytes, status) in [(600, 201), (1_000, 503), (600, 201), (600, 201)] {
        let document = json!({"_attachments": {"a": data(bytes)}});
        let bulk = json!({"docs": [document]});
        let answer = session.post(&format!("{db}/_bulk_docs"), &bulk).await;
        answer.expect(status);
        session.post(&db, &document).await.expect(status);
    }
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
        ..small()
    };
    let node = Node::with_limits(limits).await;
    let mut idle = Vec::new();
    for _ in 0..4 {
        idle.push(TcpStream::connect(node.storage.address()).await.unwrap());
    }
    // The fifth waits until an idle one is dropped, and is served then.
    node.client().get("/status").await.expect(200);
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
async fn open_feeds_are_so_many_in_all_and_so_many_of_one() {
    let limits = Limits {
        feeds: 3,
        feeds_per_caller: 2,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let (owner, other) = (node.session(1).await, node.session(2).await);
    let (db, others) = (owner.database("d").await, other.database("d").await);
    let open = async |session: &support::Session, db: &str| {
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
    reader.put(&local("c"), &json!({})).await.expect(507);
    // What is there is still kept up to date, by its readers; the owner keeps what he likes.
    let next = json!({"_rev": rev, "n": 1});
    let rev = reader.put(&local("a"), &next).await.expect(201).json()["rev"].clone();
    owner.put(&local("d"), &json!({})).await.expect(201);
    owner.put(&local("e"), &json!({})).await.expect(201);
    let gone = format!("{}?rev={}", local("a"), rev.as_str().unwrap());
    reader.send("DELETE", &gone, &json!(null)).await.expect(200);
    reader.put(&local("c"), &json!({})).await.expect(507);
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
