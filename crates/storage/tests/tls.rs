//! TLS of the node's own, with real clients: what is spoken, what is not, and that nobody who is slow keeps others out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use adyton_storage::{Reload, StartError, Storage, TlsError, TlsFiles};
use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::generate_simple_self_signed;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CipherSuite, ClientConfig, ProtocolVersion, RootCertStore};
use serde_json::{Value, json};
use support::{Answer, Credential, Node};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A new certificate for `localhost`, and its key.
fn issue(dir: &Path) -> TlsFiles {
    let made = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = TlsFiles {
        certificate: dir.join("cert.pem"),
        key: dir.join("key.pem"),
    };
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    files
}

/// A node with TLS, and its directory of certificates.
async fn node(change: impl FnOnce(&mut adyton_storage::Config)) -> (Node, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let files = issue(dir.path());
    let node = Node::with_config(|config| {
        config.tls = Some(files.into());
        change(config);
    });
    (node.await, dir)
}

/// A client that trusts the certificate on file.
fn trusting(dir: &TempDir, versions: &[&'static rustls::SupportedProtocolVersion]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let pem = std::fs::read(dir.path().join("cert.pem")).unwrap();
    roots
        .add(CertificateDer::from_pem_slice(&pem).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

async fn connect(
    storage: &Storage,
    mut config: ClientConfig,
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    let tcp = TcpStream::connect(storage.address()).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
}

fn both() -> [&'static rustls::SupportedProtocolVersion; 2] {
    [&rustls::version::TLS13, &rustls::version::TLS12]
}

async fn over_http1(tls: TlsStream<TcpStream>, path: &str) -> Answer {
    let (mut sender, connection) = http1::handshake(TokioIo::new(tls)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(path).header("host", "localhost");
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    Answer::read(sender.send_request(request).await.unwrap()).await
}

type Sender = http2::SendRequest<Full<Bytes>>;

async fn http2_sender(tls: TlsStream<TcpStream>) -> Sender {
    let handshake = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(65_535)
        .initial_connection_window_size(16 << 20)
        .handshake(TokioIo::new(tls));
    let (sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request(
    method: &str,
    path: &str,
    credential: &Credential,
    body: &Value,
) -> Request<Full<Bytes>> {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("https://localhost{path}"));
    if let Credential::Bearer(token) = credential {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    request.body(Full::new(Bytes::from(body))).unwrap()
}

#[tokio::test]
async fn a_client_is_answered_over_both_versions_and_both_protocols() {
    let (node, dir) = node(|_| {}).await;
    assert!(node.storage.public_url().starts_with("https://"));
    for (version, spoken) in [
        (&rustls::version::TLS13, ProtocolVersion::TLSv1_3),
        (&rustls::version::TLS12, ProtocolVersion::TLSv1_2),
    ] {
        for protocols in [vec![], vec!["http/1.1"], vec!["http/1.1", "h2"], vec!["h2"]] {
            let tls = connect(&node.storage, trusting(&dir, &[version]), &protocols);
            let tls = tls.await.unwrap();
            let connection = tls.get_ref().1;
            assert_eq!(connection.protocol_version(), Some(spoken));
            if version.version == ProtocolVersion::TLSv1_3 {
                let group = connection.negotiated_key_exchange_group().unwrap();
                assert_eq!(group.name(), rustls::NamedGroup::X25519MLKEM768);
            }
            if connection.alpn_protocol() == Some(b"h2") {
                assert!(protocols.contains(&"h2"));
                let mut sender = http2_sender(tls).await;
                let asked = request("GET", "/status", &Credential::None, &Value::Null);
                let answer = sender.send_request(asked).await.unwrap();
                assert_eq!(answer.version(), Version::HTTP_2);
                Answer::read(answer).await.expect(200);
            } else {
                over_http1(tls, "/status").await.expect(200);
            }
        }
    }
}

#[tokio::test]
async fn what_is_not_safe_is_not_spoken() {
    let (node, dir) = node(|_| {}).await;
    // Another protocol than HTTP.
    let strange = connect(&node.storage, trusting(&dir, &both()), &["spdy/3"]).await;
    assert!(strange.is_err());
    // Plain HTTP.
    let mut plain = TcpStream::connect(node.storage.address()).await.unwrap();
    plain
        .write_all(b"GET /status HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut said = Vec::new();
    let _reset = plain.read_to_end(&mut said).await;
    assert!(!said.starts_with(b"HTTP"), "{said:?}");
    // TLS 1.1, and a key exchange that is not ephemeral: a hello by hand, as no client here still says it.
    for (version, suite) in [
        (
            0x0302_u16,
            u16::from(CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA),
        ),
        (
            0x0303,
            u16::from(CipherSuite::TLS_RSA_WITH_AES_128_GCM_SHA256),
        ),
    ] {
        let mut hello = version.to_be_bytes().to_vec();
        hello.extend([7; 32]);
        hello.push(0);
        hello.extend([0, 2]);
        hello.extend(suite.to_be_bytes());
        hello.extend([1, 0]);
        // Extensions: curves, and signatures by P-256.
        let extensions = [
            0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0, 0, 13, 0, 4, 0, 2, 4, 3, 0, 23, 0, 0,
        ];
        hello.extend((extensions.len() as u16).to_be_bytes());
        hello.extend(extensions);
        let mut record = vec![22, 3, 1];
        record.extend((hello.len() as u16 + 4).to_be_bytes());
        record.extend([1, 0]);
        record.extend((hello.len() as u16).to_be_bytes());
        record.extend(hello);
        let mut tcp = TcpStream::connect(node.storage.address()).await.unwrap();
        tcp.write_all(&record).await.unwrap();
        let mut said = Vec::new();
        let _reset = tcp.read_to_end(&mut said).await;
        // An alert, and fatal: neither a hello of the server's nor silence.
        assert_eq!(said.get(..1), Some(&[21][..]), "{said:?}");
        assert_eq!(said.get(5), Some(&2));
    }
    // And a node that still answers.
    let tls = connect(&node.storage, trusting(&dir, &both()), &[])
        .await
        .unwrap();
    over_http1(tls, "/status").await.expect(200);
}

#[tokio::test]
async fn handshakes_that_never_end_keep_nobody_out() {
    let (node, dir) = node(|config| {
        config.limits.handshakes = 4;
        config.limits.handshake_timeout = Duration::from_millis(800);
    })
    .await;
    let mut silent = Vec::new();
    for _ in 0..40 {
        let mut tcp = TcpStream::connect(node.storage.address()).await.unwrap();
        // The beginning of a hello, and no more.
        tcp.write_all(&[22, 3, 1, 2]).await.unwrap();
        silent.push(tcp);
    }
    let began = std::time::Instant::now();
    let tls = connect(&node.storage, trusting(&dir, &both()), &["h2"]);
    let tls = tls.await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(700));
    for mut tcp in silent {
        let mut said = [0; 64];
        let ended = tokio::time::timeout(Duration::from_secs(5), tcp.read(&mut said));
        assert!(matches!(ended.await.unwrap(), Ok(0) | Err(_)));
    }
    // Who has shaken hands is not counted any more.
    let mut sender = http2_sender(tls).await;
    let asked = request("GET", "/status", &Credential::None, &Value::Null);
    Answer::read(sender.send_request(asked).await.unwrap())
        .await
        .expect(200);
}

#[tokio::test]
async fn another_certificate_is_shown_to_new_connections_and_old_ones_go_on() {
    let (node, dir) = node(|_| {}).await;
    let before = trusting(&dir, &both());
    let tls = connect(&node.storage, before.clone(), &["h2"])
        .await
        .unwrap();
    let mut old = http2_sender(tls).await;
    let mut status = async || {
        let asked = request("GET", "/status", &Credential::None, &Value::Null);
        Answer::read(old.send_request(asked).await.unwrap())
            .await
            .status
    };
    assert_eq!(status().await, 200);
    // Half of a new pair: nothing changes.
    let key = std::fs::read(dir.path().join("key.pem")).unwrap();
    issue(dir.path());
    let new_key = std::fs::read(dir.path().join("key.pem")).unwrap();
    std::fs::write(dir.path().join("key.pem"), key).unwrap();
    let refused = node.storage.reload_certificate();
    assert!(matches!(refused, Err(TlsError::Pair(_))), "{refused:?}");
    connect(&node.storage, before.clone(), &[]).await.unwrap();
    // And all of it.
    std::fs::write(dir.path().join("key.pem"), new_key).unwrap();
    assert_eq!(node.storage.reload_certificate().unwrap(), Reload::New);
    assert_eq!(node.storage.reload_certificate().unwrap(), Reload::Same);
    let tls = connect(&node.storage, trusting(&dir, &both()), &[])
        .await
        .unwrap();
    over_http1(tls, "/status").await.expect(200);
    // A client that kept a session of the old certificate's may resume it; one that knows nothing cannot be shown it.
    let mut fresh = before;
    fresh.resumption = rustls::client::Resumption::disabled();
    assert!(connect(&node.storage, fresh, &[]).await.is_err());
    assert_eq!(status().await, 200);
}

#[tokio::test]
async fn a_node_does_not_start_with_a_certificate_that_it_cannot_use() {
    let dir = tempfile::tempdir().unwrap();
    let files = issue(dir.path());
    std::fs::write(&files.key, "no key").unwrap();
    let mut config =
        adyton_storage::Config::new("127.0.0.1:0".parse().unwrap(), dir.path().join("data"));
    config.tls = Some(files.into());
    let started = Storage::start(config).await;
    assert!(
        matches!(started, Err(StartError::Tls(TlsError::Pem(_)))),
        "{started:?}"
    );
}

/// A login, a database, and documents over HTTP/2; then a feed and an answer that is not taken, on one connection.
#[tokio::test]
async fn an_answer_that_is_not_taken_ends_its_connection_and_a_feed_does_not() {
    // The login goes over plain HTTP first: the test's people speak that.
    let plain = Node::start().await;
    let owner = plain.session(1).await;
    let db = owner.database("d").await;
    let access = owner.access.clone();
    let certificates = tempfile::tempdir().unwrap();
    let files = issue(certificates.path());
    let stall = Duration::from_millis(600);
    let node = plain
        .restart_with(|config| {
            config.tls = Some(files.into());
            config.limits.stall_timeout = stall;
            config.limits.header_timeout = Duration::from_millis(900);
        })
        .await;
    let sender = || async {
        let config = trusting(&certificates, &both());
        http2_sender(connect(&node.storage, config, &["h2"]).await.unwrap()).await
    };
    let mut first = sender().await;
    let large = json!({"f": "x".repeat(1 << 20)});
    let put = first.send_request(request("PUT", &format!("{db}/large"), &access, &large));
    Answer::read(put.await.unwrap()).await.expect(201);
    let path = format!("{db}/large");
    let get = |access: &Credential| request("GET", &path, access, &Value::Null);
    let whole = Answer::read(first.send_request(get(&access)).await.unwrap()).await;
    assert!(whole.expect(200).body.len() > 1 << 20);

    // A feed that waits for longer than a stall may last is served.
    let feed = format!("{db}/_changes?feed=longpoll&since=now&timeout=2000");
    let mut waiting = sender().await;
    let news = waiting.send_request(request("GET", &feed, &access, &Value::Null));
    let news = tokio::spawn(news);
    // An answer of which nothing is taken ends its connection: the last piece of it never comes.
    let mut lazy = sender().await;
    let mut answer = lazy.send_request(get(&access)).await.unwrap();
    assert_eq!(answer.status(), 200);
    tokio::time::sleep(stall * 3).await;
    let mut end = None;
    while let Some(frame) = answer.frame().await {
        end = Some(frame.is_err());
        if frame.is_err() {
            break;
        }
    }
    assert_eq!(end, Some(true));
    // The first one had nothing to do for as long, and was let go.
    assert!(first.send_request(get(&access)).await.is_err());
    let answer = Answer::read(news.await.unwrap().unwrap()).await;
    assert_eq!(answer.expect(200).json()["results"], json!([]));
}
