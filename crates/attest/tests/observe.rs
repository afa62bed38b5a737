//! The client side against servers that misbehave. Honest ones are in the tests of the node and of the verifier.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use adyton_attest::evidence::{EvidenceError, MAX_EVIDENCE_JSON_BYTES};
use adyton_attest::observe::{ObserveError, Observed, Patience, observe};
use adyton_attest::{AnswerKey, AttestedKeys, Evidence, HpkeKey, Nonce, Spki, TeeKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(10),
    handshake: Duration::from_millis(500),
    answer: Duration::from_millis(500),
};

fn certified() -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::default()
        .self_signed(&key)
        .unwrap();
    (
        certificate.der().clone(),
        PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
    )
}

fn honest_tls() -> (ServerConfig, Spki) {
    let (certificate, key) = certified();
    let spki = Spki::of_certificate(&certificate).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    (config, spki)
}

/// Serves one connection: the handshake, then `answer` says what to do with it.
async fn serve<F: Future<Output = ()> + Send + 'static>(
    config: ServerConfig,
    answer: impl FnOnce(TlsStream<TcpStream>) -> F + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        if let Ok(tls) = TlsAcceptor::from(Arc::new(config)).accept(tcp).await {
            answer(tls).await;
        }
    });
    address
}

async fn look(at: SocketAddr) -> Result<Observed, ObserveError> {
    observe(
        &format!("https://{at}").parse().unwrap(),
        Some(Nonce::new([1; 32])),
        &PATIENCE,
    )
    .await
}

/// Observes a server that reads the request and answers these bytes.
async fn answered(bytes: Vec<u8>) -> Result<Observed, ObserveError> {
    let (config, _) = honest_tls();
    let address = serve(config, |mut tls| async move {
        let mut head = [0; 4096];
        let _ = tls.read(&mut head).await;
        let _ = tls.write_all(&bytes).await;
        let _ = tls.shutdown().await;
    })
    .await;
    look(address).await
}

fn ok(body: &[u8]) -> Vec<u8> {
    [
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes(),
        body,
    ]
    .concat()
}

/// The key of RFC 8410 section 10.1.
const ED25519_KEY: &str =
    "302a300506032b657003210019bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";

fn evidence() -> Evidence {
    let config = String::new();
    Evidence {
        tee: TeeKind::AwsNitro,
        document: vec![1],
        channel_bound: true,
        issued_ms: 1,
        config,
        keys: AttestedKeys {
            tls: Spki::from_der(&hex::decode(ED25519_KEY).unwrap()).unwrap(),
            answer: AnswerKey::new([5; 32]),
            hpke: HpkeKey::new([6; 32]),
        },
        batch: None,
    }
}

#[tokio::test]
async fn what_is_seen_is_what_the_server_has() {
    let (config, spki) = honest_tls();
    let (says, hears) = tokio::sync::oneshot::channel();
    let address = serve(config, |mut tls| async move {
        let exporter =
            tls.get_ref()
                .1
                .export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(&[]));
        let mut head = [0; 4096];
        let length = tls.read(&mut head).await.unwrap();
        says.send((
            exporter.unwrap(),
            String::from_utf8(head[..length].to_vec()).unwrap(),
        ))
        .unwrap();
        tls.write_all(&ok(&evidence().to_json())).await.unwrap();
    })
    .await;
    let observed = look(address).await.unwrap();
    let (exporter, request) = hears.await.unwrap();
    assert_eq!(observed.seen.spki, spki);
    assert_eq!(observed.seen.exporter.as_bytes(), &exporter);
    assert_eq!(observed.evidence, evidence());
    let line = format!(
        "GET /.well-known/adyton-attestation?nonce={} HTTP/1.1\r\n",
        "01".repeat(32)
    );
    assert!(request.starts_with(&line), "{request}");
    assert!(
        request.contains(&format!("host: {address}\r\n")),
        "{request}"
    );
}

#[tokio::test]
async fn a_peer_that_shows_a_key_it_does_not_hold_is_not_observed() {
    // The certificate of one key, the signatures of another.
    #[derive(Debug)]
    struct Thief(Arc<CertifiedKey>);
    impl ResolvesServerCert for Thief {
        fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            Some(Arc::clone(&self.0))
        }
    }
    let ((stolen, _), (_, own)) = (certified(), certified());
    let own = rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&own).unwrap();
    assert!(
        own.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256])
            .is_some()
    );
    let thief = Thief(Arc::new(CertifiedKey::new(vec![stolen], own)));
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(thief));
    let address = serve(config, |_| async { panic!("the handshake was believed") }).await;
    assert!(matches!(
        look(address).await.unwrap_err(),
        ObserveError::Tls(_)
    ));
}

#[tokio::test]
async fn one_byte_over_the_limit_is_not_read() {
    let mut body = evidence().to_json();
    body.resize(MAX_EVIDENCE_JSON_BYTES, b' ');
    assert!(answered(ok(&body)).await.is_ok());
    body.push(b' ');
    let refused = answered(ok(&body)).await.unwrap_err();
    assert!(
        matches!(
            refused,
            ObserveError::Evidence(EvidenceError::TooLong { .. })
        ),
        "{refused:?}"
    );
}

#[tokio::test]
async fn another_answer_than_evidence_is_named() {
    for status in ["204 No Content", "301 Moved", "404 Not Found", "500 Broken"] {
        let answer = format!(
            "HTTP/1.1 {status}\r\nlocation: https://elsewhere\r\ncontent-length: 0\r\n\r\n"
        );
        let refused = answered(answer.into_bytes()).await.unwrap_err();
        let ObserveError::Status { found } = refused else {
            panic!("{refused:?}")
        };
        assert!(status.starts_with(found.as_str()));
    }
    let refused = answered(ok(b"<html>")).await.unwrap_err();
    assert!(
        matches!(refused, ObserveError::Evidence(EvidenceError::Json(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let endless_head = [b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'x'; 200_000]].concat();
    let many_headers = [
        b"HTTP/1.1 200 OK\r\n".to_vec(),
        b"a: b\r\n".repeat(65),
        b"\r\n".to_vec(),
    ]
    .concat();
    let cut_off = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_vec();
    for bytes in [
        b"220 smtp\r\n".to_vec(),
        endless_head,
        many_headers,
        cut_off,
        vec![],
    ] {
        let refused = answered(bytes).await.unwrap_err();
        assert!(matches!(refused, ObserveError::Http(_)), "{refused:?}");
    }
}

#[tokio::test]
async fn a_silent_peer_is_not_waited_for() {
    let (config, _) = honest_tls();
    let address = serve(config, |tls| async move {
        // Holds the connection and never answers.
        std::future::pending::<()>().await;
        drop(tls);
    })
    .await;
    let refused = look(address).await.unwrap_err();
    assert!(
        matches!(refused, ObserveError::TooSlow { what: "the answer" }),
        "{refused:?}"
    );

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refused = look(silent.local_addr().unwrap()).await.unwrap_err();
    assert!(
        matches!(
            refused,
            ObserveError::TooSlow {
                what: "the tls handshake"
            }
        ),
        "{refused:?}"
    );
}
