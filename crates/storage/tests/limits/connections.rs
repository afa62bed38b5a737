//! Connections and feeds: so many in all and so many of one, and none that is silent, or slow for long.

use std::time::Duration;

use adyton_storage::Limits;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{raw, small};
use crate::support::{Credential, Node, Session};

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
