//! A node in a few lines: TLS 1.3, one route, the simulated TEE, and a lie of the test's choice.

#![allow(dead_code, reason = "each test file uses its own part of the node")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use adyton_attest::attester::SealedAttester;
use adyton_attest::binding::EXPORTER_LABEL;
use adyton_attest::{
    AnswerKey, AttestedKeys, ChannelBinding, Evidence, Exporter, HpkeKey, Nonce, Spki,
};
use adyton_sandbox::SimulatedTee;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What the node does instead of what it should.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Lie {
    None,
    /// Answers a challenge that nobody sent.
    Nonce,
    /// Shows evidence for another key: the relay of a man in the middle.
    Relay,
    /// Shows evidence for another connection with the same key.
    Exporter,
    /// Shows evidence for no connection.
    Unbound,
    /// Shows another configuration.
    Config,
    /// One bit of the document is flipped.
    Bit,
    /// Answers with this status and body instead.
    Says(u16, &'static str),
    /// Answers with more than is read.
    Endless,
    /// Closes instead of answering.
    Closes,
}

pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) pin: String,
    pub(crate) tee: Arc<SimulatedTee>,
    runtime: tokio::runtime::Runtime,
}

impl Node {
    pub(crate) fn start(lie: Lie) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let tee = Arc::new(SimulatedTee::start(Arc::new(now)).unwrap());
        let attester = runtime
            .block_on(SealedAttester::seal(tee.clone(), "a = 1\n"))
            .unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = certificate.self_signed(&key).unwrap().der().clone();
        let spki = Spki::of_certificate(&certificate).unwrap();
        let pin = spki.pin();
        let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], private);
        let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                if let Ok(tls) = acceptor.accept(tcp).await {
                    serve(tls, &attester, &spki, lie).await;
                }
            }
        });
        Self {
            address,
            pin,
            tee,
            runtime,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Ends it, and leaves its address to nobody.
    pub(crate) fn stop(self) -> String {
        let url = self.url();
        self.runtime.shutdown_background();
        url
    }
}

async fn serve(mut tls: TlsStream<TcpStream>, attester: &SealedAttester, spki: &Spki, lie: Lie) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match tls.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let nonce = head
        .split_once("?nonce=")
        .and_then(|(_, rest)| rest.get(..64))
        .and_then(Nonce::from_hex);
    let exporter = tls
        .get_ref()
        .1
        .export_keying_material([0; 32], EXPORTER_LABEL, Some(&[]))
        .unwrap();
    let answer = match lie {
        Lie::Closes => return,
        Lie::Says(status, body) => http(status, body.as_bytes()),
        Lie::Endless => {
            let _ = tls
                .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                .await;
            let chunk = [b"1000\r\n".as_slice(), &[b' '; 4096], b"\r\n"].concat();
            while tls.write_all(&chunk).await.is_ok() {}
            return;
        }
        lie => http(
            200,
            &evidence(attester, spki, Exporter::new(exporter), nonce, lie)
                .await
                .to_json(),
        ),
    };
    let _ = tls.write_all(&answer).await;
    let _ = tls.shutdown().await;
}

async fn evidence(
    attester: &SealedAttester,
    spki: &Spki,
    exporter: Exporter,
    nonce: Option<Nonce>,
    lie: Lie,
) -> Evidence {
    let spki = if lie == Lie::Relay {
        other_key()
    } else {
        spki.clone()
    };
    let channel = match lie {
        Lie::Unbound => ChannelBinding::None,
        Lie::Exporter => ChannelBinding::TlsExporter(Exporter::new([0; 32])),
        _ => ChannelBinding::TlsExporter(exporter),
    };
    let nonce = if lie == Lie::Nonce {
        Some(Nonce::new([0; 32]))
    } else {
        nonce
    };
    let keys = AttestedKeys {
        tls: spki,
        answer: AnswerKey::new(signer().public_key().as_ref().try_into().unwrap()),
        hpke: HpkeKey::new([6; 32]),
    };
    let mut evidence = attester
        .evidence(&keys, channel, nonce, now())
        .await
        .unwrap();
    match lie {
        Lie::Config => evidence.config.push_str("b = 2\n"),
        Lie::Bit => *evidence.document.last_mut().unwrap() ^= 1,
        _ => {}
    }
    evidence
}

/// The key that the node's evidence vouches for.
pub(crate) fn signer() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[5; 32]).unwrap()
}

fn other_key() -> Spki {
    Spki::from_der(&rcgen::PublicKeyData::subject_public_key_info(
        &rcgen::KeyPair::generate().unwrap(),
    ))
    .unwrap()
}

fn http(status: u16, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status} Status\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the program under test reads the same clock"
)]
fn now() -> SystemTime {
    SystemTime::now()
}
