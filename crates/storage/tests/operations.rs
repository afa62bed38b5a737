//! What an operator needs: callers that ask too much are held back and nobody else is; counters that name nobody.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use adyton_storage::{Proxy, Rates};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use support::{Client, Credential, Node, Person};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const RATES: Rates = Rates {
    account: 30,
    address: 20,
    resolutions: 20,
};

#[tokio::test]
async fn what_a_node_keeps_only_its_own_account_reads() {
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let node = Node::start().await;
    node.session(1).await.database("d").await;
    let (databases, node_file) = (
        node.dir.path().join("databases"),
        node.dir.path().join("node.redb"),
    );
    assert_eq!((mode(&databases), mode(&node_file)), (0o700, 0o600));
    // Also what somebody opened meanwhile.
    std::fs::set_permissions(&databases, Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&node_file, Permissions::from_mode(0o644)).unwrap();
    let _node = node.restart().await;
    assert_eq!((mode(&databases), mode(&node_file)), (0o700, 0o600));
}

#[tokio::test]
async fn who_asks_too_much_waits_and_nobody_else_does() {
    let node = Node::with_config(|config| config.limits.rates = RATES).await;
    let owner = node.session(1).await;
    let db = owner.database("d").await;
    let other = node.session(2).await;

    let mut answered = 0;
    let refused = loop {
        let answer = owner.get(&db).await;
        if answer.status == 429 {
            break answer;
        }
        answered += 1;
        assert!(answered <= 30);
    };
    assert_eq!(refused.json()["error"], "too_many_requests");
    assert_eq!(refused.headers["retry-after"], "2");
    // The middleware says it in its own words; the account is one caller on both sides.
    let usage = owner.post("/user/usage", &json!({})).await;
    assert_eq!(usage.expect(429).json()["status"], "fail");
    other.post("/user/usage", &json!({})).await.expect(200);
    node.client().get("/status").await.expect(200);
    node.pass(2);
    owner.get(&db).await.expect(200);
    owner.get(&db).await.expect(429);
}

#[tokio::test]
async fn an_address_without_a_token_has_its_own_allowance_whatever_it_sends() {
    let node = Node::with_config(|config| config.limits.rates = RATES).await;
    let owner = node.session(1).await;
    let wrong = Credential::Bearer("x.y.z".into());
    let mut refused = 0;
    for n in 0..30 {
        let answer = match n % 3 {
            0 => node.client().get("/status").await,
            1 => node.client().post("/auth/authenticate", &json!({})).await,
            _ => node.client().send("GET", "/_session", &wrong, "").await,
        };
        refused += u32::from(answer.status == 429);
    }
    // Three requests were the login.
    assert_eq!(refused, 30 + 3 - 20);
    owner.post("/user/usage", &json!({})).await.expect(200);
}

#[tokio::test]
async fn a_browsers_question_beforehand_is_a_request_like_others() {
    let node = Node::with_config(|config| config.limits.rates = RATES).await;
    let ask = async |method| {
        node.client()
            .send(method, "/status", &Credential::None, "")
            .await
    };
    for _ in 0..20 {
        ask("OPTIONS").await.expect(204);
    }
    ask("OPTIONS").await.expect(429);
    ask("GET").await.expect(429);
}

#[tokio::test]
async fn behind_a_proxy_the_clients_are_counted_and_not_the_proxy() {
    async fn status(client: Client, forwarded: &str) -> u16 {
        let stream = TcpStream::connect(client.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let request = http::Request::get("/status")
            .header("host", "x")
            .header("x-forwarded-for", forwarded);
        let request = request.body(Empty::<bytes::Bytes>::new()).unwrap();
        sender
            .send_request(request)
            .await
            .unwrap()
            .status()
            .as_u16()
    }
    let proxied = Node::with_config(|config| {
        config.limits.rates = RATES;
        config.proxy = Proxy::Trusted;
    })
    .await;
    for _ in 0..20 {
        assert_eq!(status(proxied.client(), "9.9.9.9, 1.2.3.4").await, 200);
    }
    // What a client writes itself stands before the proxy's word.
    assert_eq!(status(proxied.client(), "8.8.8.8, 1.2.3.4").await, 429);
    assert_eq!(status(proxied.client(), "1.2.3.4, 5.6.7.8").await, 200);

    let direct = Node::with_config(|config| config.limits.rates = RATES).await;
    for n in 0..20 {
        assert_eq!(status(direct.client(), &format!("1.2.3.{n}")).await, 200);
    }
    assert_eq!(status(direct.client(), "1.2.3.99").await, 429);
}

#[tokio::test]
async fn the_counters_name_nobody_and_are_shown_to_the_operator_only() {
    let listen = "127.0.0.1:0".parse().unwrap();
    let node = Node::with_config(|config| config.metrics = Some(listen)).await;
    let owner = node.session(1).await;
    let db = owner.database("canary-database").await;
    owner
        .put(&format!("{db}/canary-document"), &json!({"a": "canary"}))
        .await
        .expect(201);
    owner.get(&format!("{db}/missing")).await.expect(404);

    let operator = Client {
        address: node.storage.metrics_address().unwrap(),
    };
    let text = operator.get("/metrics").await.expect(200).text();
    for line in [
        "adyton_storage_requests_total{endpoint=\"CreateDatabase\",status=\"2xx\"} 1",
        "adyton_storage_requests_total{endpoint=\"Document\",status=\"2xx\"} 1",
        "adyton_storage_requests_total{endpoint=\"Document\",status=\"4xx\"} 1",
        "adyton_storage_accounts 1",
        "adyton_storage_throttled_total 0",
    ] {
        assert!(
            text.lines().any(|known| known == line),
            "{line} is not in\n{text}"
        );
    }
    let Credential::Bearer(token) = &owner.access else {
        panic!("a bearer token")
    };
    let hash = owner.hash("canary-database");
    let did = Person::new(1).did;
    for secret in [
        "canary",
        "Test: Context",
        &hash,
        &token[..20],
        did.lowercase(),
        "127.0.0.1",
    ] {
        assert!(!text.contains(secret), "{secret} is in\n{text}");
    }
    // Every line is a comment or a number of ours, under a label that is a word of ours.
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(
            name.starts_with("adyton_storage_") && value.parse::<f64>().is_ok(),
            "{line}"
        );
    }
    operator.get("/status").await.expect(404);
    assert_eq!(
        operator
            .send("POST", "/metrics", &Credential::None, "")
            .await
            .status,
        404
    );
    node.client().get("/metrics").await.expect(401);
    let known = owner.send("GET", "/metrics", &Value::Null).await;
    known.expect(404);
}

#[tokio::test]
async fn a_node_that_goes_down_ends_what_it_began_and_begins_nothing() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let Credential::Bearer(token) = &session.access else {
        panic!("a bearer token")
    };
    let address = node.storage.address();
    let _idle = TcpStream::connect(address).await.unwrap();
    let mut writer = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "PUT {db}/x HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: 7\r\n\r\n{{\"n\""
    );
    writer.write_all(head.as_bytes()).await.unwrap();
    // The node has the head when it answers somebody who came later.
    session.get(&db).await.expect(200);
    let began = tokio::time::Instant::now();
    let down = tokio::spawn(node.storage.shutdown());
    let refused = async {
        while let Ok(mut late) = TcpStream::connect(address).await {
            let _closed = late
                .write_all(b"GET /_up HTTP/1.1\r\nhost: x\r\n\r\n")
                .await;
            let mut answer = Vec::new();
            let _closed = late.read_to_end(&mut answer).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(4), refused)
        .await
        .expect("a node that goes down takes connections");
    writer.write_all(b":1}").await.unwrap();
    let mut answer = String::new();
    writer.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    down.await.unwrap();
    // An idle connection holds nobody up.
    assert!(began.elapsed() < Duration::from_secs(5));
}
