//! What an operator needs: callers that ask too much are held back and nobody else is; counters that name nobody.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

#[path = "support/program.rs"]
mod program;
mod support;

use std::collections::BTreeSet;
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use adyton_storage::{Config, ConfigFile, Proxy, Rates, Storage, TlsChoice};
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

/// Starts the program and ends it in order: the key that it shows, and what it logged.
async fn one_run(config: &Path) -> (String, String) {
    let log = config.with_extension("log");
    let (mut child, address) = program::start(config, File::create(&log).unwrap());
    let status = Client { address }.get("/status").await.expect(200).json();
    program::signal(&child, "-TERM");
    assert!(child.wait().unwrap().success());
    let key = status["results"]["publicKey"].as_str().unwrap().to_owned();
    (key, std::fs::read_to_string(log).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_made_anew_says_so() {
    const SAID: &str = "a new node was made";
    let out = tempfile::tempdir().unwrap();
    let (config, data) = (out.path().join("storage.toml"), out.path().join("data"));
    std::fs::write(
        &config,
        format!("listen = \"127.0.0.1:0\"\ndata = {data:?}\n"),
    )
    .unwrap();
    let says = |log: &str, key: &str| {
        let line = log.lines().find(|line| line.contains(SAID));
        line.is_some_and(|line| line.contains(key) && line.contains(data.to_str().unwrap()))
    };
    let (first, log) = one_run(&config).await;
    assert!(says(&log, &first), "{log}");
    // And for which network it takes itself.
    assert!(log.contains("banksia"), "{log}");
    let (same, log) = one_run(&config).await;
    assert_eq!(same, first);
    assert!(!log.contains(SAID), "{log}");
    // As where the disk is not mounted.
    std::fs::rename(&data, out.path().join("elsewhere")).unwrap();
    let (other, log) = one_run(&config).await;
    assert!(other != first && says(&log, &other), "{log}");
}

#[tokio::test]
async fn a_second_node_on_one_directory_is_told_that_it_is_in_use() {
    let node = Node::start().await;
    let data = node.dir.path();
    let free = "127.0.0.1:0".parse().unwrap();
    let second = Storage::start(Config::new(free, data.to_owned())).await;
    let told = second.unwrap_err().to_string();
    assert!(told.contains("another process has"), "{told}");
    assert!(told.contains(data.to_str().unwrap()), "{told}");
    node.client().get("/status").await.expect(200);
    // Likewise of the two addresses: which one is taken.
    let taken = node.storage.address();
    let out = tempfile::tempdir().unwrap();
    let second = Storage::start(Config::new(taken, out.path().join("a"))).await;
    assert!(second.unwrap_err().to_string().contains("`listen`"));
    let mut config = Config::new(free, out.path().join("b"));
    config.metrics = Some(taken);
    let told = Storage::start(config).await.unwrap_err().to_string();
    assert!(told.contains("`metrics-listen`"), "{told}");
}

const TOLD: &str = include_str!("../../../docs/operating-a-storage-node.md");

/// The settings of a table and their defaults, as an operator reads them.
fn told(head: &str) -> Vec<(&'static str, &'static str)> {
    let table = TOLD.split(&format!("\n| {head} | default | |\n")).nth(1);
    let rows = table.unwrap().lines().skip(1);
    let mut told = Vec::new();
    for row in rows.take_while(|row| row.starts_with("| ")) {
        let mut cells = row.split(" | ");
        let names = cells.next().unwrap().split('`').skip(1).step_by(2);
        let (names, default) = (names.collect::<Vec<_>>(), cells.next().unwrap());
        let several: Vec<_> = default.split(", ").collect();
        let of = |n: usize| match names.len() > 1 && several.len() == names.len() {
            true => several[n],
            false => default,
        };
        told.extend(names.iter().enumerate().map(|(n, name)| (*name, of(n))));
    }
    told
}

/// The settings that a part of the file has: the program names them to who misspells one.
fn settings(part: &str) -> BTreeSet<String> {
    let wrong = ConfigFile::parse(&format!("{part}misspelt = 1"));
    let said = wrong.unwrap_err().to_string();
    let named = said.split("expected one of ").nth(1).unwrap();
    let named = named.split('`').skip(1).step_by(2);
    named.map(str::to_owned).collect()
}

#[test]
fn every_setting_in_the_operators_tables_exists_with_its_default() {
    const HERE: &str = "listen = \"127.0.0.1:0\"\ndata = \"d\"\n";
    const ACME: &str = "[tls.acme]\nnames = [\"node.example\"]\nterms-agreed = true\n";
    let read = |part: &str, line: &str| {
        let text = match part {
            "" => format!("{HERE}{line}\n{ACME}"),
            "[limits]" => format!("{HERE}[limits]\n{line}\n{ACME}"),
            _ => format!("{HERE}{ACME}{line}\n"),
        };
        ConfigFile::parse(&text).unwrap().into_config().unwrap()
    };
    let Config {
        limits,
        tls,
        backups,
        proxy,
        ..
    } = read("", "");
    let Some(TlsChoice::Acme(acme)) = tls else {
        panic!("the authority")
    };
    // A number, with its unit, or a word of the file. None: it is said in words.
    let value = |told: &str| {
        let (number, unit) = told.split_once(' ').unwrap_or((told, ""));
        let shift = ["", "KiB", "MiB", "GiB"].iter().position(|of| *of == unit);
        match (number.parse::<u64>(), shift) {
            (Ok(number), Some(shift)) => Some((number << (10 * shift)).to_string()),
            _ => (told == "false" || told == "true").then(|| told.to_owned()),
        }
    };
    let mut numbers = 0;
    for (head, part) in [
        ("setting", ""),
        ("in `[limits]`", "[limits]"),
        ("in `[tls.acme]`", "[tls.acme]"),
    ] {
        let settings = settings(&format!("{part}\n"));
        let told = told(head);
        for (name, default) in &told {
            assert!(settings.contains(*name), "{name} is no setting");
            if let Some(value) = value(default) {
                numbers += 1;
                let (same, other) = (read(part, &format!("{name} = {value}")), read(part, ""));
                assert_eq!(format!("{same:?}"), format!("{other:?}"), "{name}");
                continue;
            }
            let holds = match (*name, *default) {
                ("node-bytes", "as much as the disk has") => limits.node_bytes.is_none(),
                ("document-bytes", "the protocol's limit") => {
                    limits.document_bytes == adyton_couch::limits::MAX_DOCUMENT_BYTES
                }
                ("backups", "–") => backups.is_none(),
                ("proxies", "–") => proxy == Proxy::None,
                (
                    "bodies-in-flight-bytes-per-sender",
                    "a quarter of all, and at least two and a quarter times `bulk-bytes`",
                ) => limits.bodies_in_flight_bytes_per_sender.is_none(),
                ("connections-per-address", "a quarter of `connections`") => {
                    limits.connections_per_address.is_none()
                }
                ("connections-per-account", "half of `connections`") => {
                    limits.connections_per_account.is_none()
                }
                ("names" | "terms-agreed", "–") => true,
                ("email", "none") => acme.contact.is_none(),
                ("directory", "Let's Encrypt's") => {
                    acme.directory.host_str() == Some("acme-v02.api.letsencrypt.org")
                }
                ("ca", "the public roots") => acme.roots.is_none(),
                ("account-key-id" | "account-key-file", "none") => acme.external_account.is_none(),
                _ => false,
            };
            assert!(holds, "{name} is not {default} by itself");
        }
        // Nor is there one of which operators are not told.
        for name in settings {
            let in_table = told.iter().any(|(told, _)| *told == name);
            let elsewhere = [
                format!("`{name}"),
                format!("\n{name} = "),
                format!("\n[{name}"),
            ];
            let elsewhere = elsewhere.iter().any(|form| TOLD.contains(form));
            assert!(in_table || part.is_empty() && elsewhere, "{name}");
        }
    }
    assert_eq!(numbers, 23);
}
