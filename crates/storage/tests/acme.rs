//! A certificate from a real authority (Let's Encrypt's test server, pebble): made, kept, renewed, and what happens when there is none.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

#[path = "../../sandbox/tests/lacking/mod.rs"]
mod lacking;
#[path = "acme/pebble.rs"]
mod pebble;
mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use adyton_storage::{AcmePace, Config, ConfigFile, Reload, TlsChoice};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Empty, Full};
use hyper::client::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pebble::{Pebble, Place, free_port, trusting};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use serde_json::{Value, json};
use support::{Answer, Node};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

const PATIENCE: Duration = Duration::from_secs(30);

/// Where the node and its authority are.
struct Scene {
    place: Place,
    port: u16,
    /// More lines of `[tls.acme]`.
    lines: String,
}

impl Scene {
    fn new() -> Self {
        Self {
            place: Place::new(),
            port: free_port(),
            lines: String::new(),
        }
    }

    /// An authority that looks for the node where it is.
    async fn pebble(&self) -> Option<Pebble> {
        self.pebble_with(&Value::Null).await
    }

    async fn pebble_with(&self, more: &Value) -> Option<Pebble> {
        let pebble = self.place.pebble(self.port, more).await;
        if pebble.is_none() {
            lacking::skip("there is no pebble on this machine");
        }
        pebble
    }

    /// As an operator says it, and faster.
    fn configure(&self, config: &mut Config) {
        let text = format!(
            "listen = \"127.0.0.1:{}\"\ndata = \"unused\"\nmetrics-listen = \"127.0.0.1:0\"\n\
             [tls.acme]\nnames = [\"node.test\", \"www.node.test\"]\nterms-agreed = true\nemail = \"ops@node.test\"\n\
             directory = \"{}\"\nallow-private = true\nca = {:?}\n{}",
            self.port,
            self.place.directory(),
            self.place.ca(),
            self.lines,
        );
        let said = ConfigFile::parse(&text).unwrap().into_config().unwrap();
        (config.listen, config.metrics, config.tls) = (said.listen, said.metrics, said.tls);
        if let Some(TlsChoice::Acme(acme)) = &mut config.tls {
            acme.pace = AcmePace {
                look: Duration::from_millis(50),
                poll: Duration::from_millis(50),
                answer: Duration::from_millis(800),
                ..acme.pace
            };
        }
    }

    async fn node(&self) -> Node {
        Node::with_config(|config| self.configure(config)).await
    }

    async fn again(&self, node: Node) -> Node {
        node.restart_with(|config| self.configure(config)).await
    }

    async fn connect(&self, config: &ClientConfig, name: &str) -> std::io::Result<Tls> {
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connector = TlsConnector::from(Arc::new(config.clone()));
        connector.connect(name, tcp).await
    }

    /// Waits until the node shows a certificate that these roots lead to.
    async fn served(&self, node: &Node, roots: &RootCertStore) -> Tls {
        let mut config = trusting(roots.clone());
        config.alpn_protocols = vec![b"h2".to_vec()];
        let mut waiting = Waiting::new();
        loop {
            match self.connect(&config, "node.test").await {
                Ok(tls) => return tls,
                Err(error) => waiting.for_another_look(node, &error.to_string()).await,
            }
        }
    }
}

/// Waiting for what an authority does. Pebble refuses nonces by chance, sometimes as often as makes a try fail: after a while the
/// operator wants another.
struct Waiting(Instant, u32);

impl Waiting {
    fn new() -> Self {
        Self(Instant::now(), 0)
    }

    async fn for_another_look(&mut self, node: &Node, why: &str) {
        assert!(self.0.elapsed() < PATIENCE, "{why}");
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.1 += 1;
        if self.1.is_multiple_of(60) {
            node.storage.reload_certificate().unwrap();
        }
    }
}

type Tls = TlsStream<TcpStream>;
type Sender = http2::SendRequest<Empty<Bytes>>;

async fn sender(tls: Tls) -> Sender {
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(tls));
    let (sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn status(sender: &mut Sender) -> u16 {
    let request = Request::get("https://node.test/status");
    let request = request.body(Empty::new()).unwrap();
    let answer = Answer::read(sender.send_request(request).await.unwrap()).await;
    answer.status.as_u16()
}

fn certificate(tls: &Tls) -> CertificateDer<'static> {
    tls.get_ref().1.peer_certificates().unwrap()[0].clone()
}

/// One of the node's figures.
async fn figure(node: &Node, name: &str) -> u64 {
    let client = support::Client {
        address: node.storage.metrics_address().unwrap(),
    };
    let answer = client.get("/metrics").await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let line = text.lines().find_map(|line| {
        let (found, value) = line.split_once(' ')?;
        (found == format!("adyton_storage_tls_{name}")).then(|| value.parse().unwrap())
    });
    line.unwrap()
}

async fn reaches(node: &Node, name: &str, least: u64) {
    let mut waiting = Waiting::new();
    while figure(node, name).await < least {
        waiting.for_another_look(node, name).await;
    }
}

/// The files that are kept of the only authority.
fn kept(data: &Path) -> PathBuf {
    let mut all = std::fs::read_dir(data.join("acme")).unwrap();
    all.next().unwrap().unwrap().path()
}

#[tokio::test]
async fn a_certificate_is_made_at_the_first_start_and_kept_over_the_next() {
    let scene = Scene::new();
    let Some(pebble) = scene.pebble().await else {
        return;
    };
    let roots = scene.place.root().await;
    let node = scene.node().await;
    let url = format!("https://node.test:{}", scene.port);
    assert_eq!(node.storage.public_url(), url);
    let tls = scene.served(&node, &roots).await;
    let first = certificate(&tls);
    assert_eq!(status(&mut sender(tls).await).await, 200);
    let other_name = scene
        .connect(&trusting(roots.clone()), "www.node.test")
        .await;
    assert_eq!(certificate(&other_name.unwrap()), first);
    assert_eq!(figure(&node, "renewals_total").await, 1);
    assert!(figure(&node, "certificate_expiry_timestamp_seconds").await > node.now());
    let directory = kept(node.dir.path());
    for (name, mode) in [
        ("", 0o700),
        ("account.json", 0o600),
        ("attempts.json", 0o600),
        ("certificate.pem", 0o600),
    ] {
        let permissions = std::fs::metadata(directory.join(name))
            .unwrap()
            .permissions();
        assert_eq!(permissions.mode() & 0o777, mode, "{name}");
    }
    // A backup is for every machine that it is restored on; a certificate's key is for this one.
    let target = tempfile::tempdir().unwrap();
    node.storage.backup(target.path()).await.unwrap();
    assert!(!target.path().join("acme").exists());
    // No authority any more: nobody is asked.
    drop(pebble);
    let node = scene.again(node).await;
    assert_eq!(certificate(&scene.served(&node, &roots).await), first);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(figure(&node, "renewals_total").await, 0);
    assert_eq!(figure(&node, "renewal_failures_total").await, 0);
}

#[tokio::test]
async fn another_authority_takes_over_without_a_gap() {
    let mut scene = Scene::new();
    let Some(first_pebble) = scene.pebble().await else {
        return;
    };
    let first_roots = scene.place.root().await;
    let node = scene.node().await;
    let first = certificate(&scene.served(&node, &first_roots).await);
    drop(first_pebble);
    // One that was never asked before, and is not there yet.
    let first_place = std::mem::replace(&mut scene.place, Place::new());
    let node = scene.again(node).await;
    let config = trusting(first_roots.clone());
    let tls = scene.connect(&config, "node.test").await.unwrap();
    assert_eq!(certificate(&tls), first);
    reaches(&node, "renewal_failures_total", 1).await;
    let tls = scene.served(&node, &first_roots).await;
    assert_eq!(certificate(&tls), first);
    let Some(_second_pebble) = scene.pebble().await else {
        return;
    };
    node.storage.reload_certificate().unwrap();
    let second_roots = scene.place.root().await;
    let second = certificate(&scene.served(&node, &second_roots).await);
    // From then on its own, and not the other's, which is as good.
    let node = scene.again(node).await;
    let tls = scene.served(&node, &second_roots).await;
    assert_eq!(certificate(&tls), second);
    assert_eq!(figure(&node, "renewals_total").await, 0);
    drop(first_place);
}

#[tokio::test]
async fn a_kept_file_that_is_damaged_is_replaced_and_an_account_that_is_not_known_is_made_anew() {
    let scene = Scene::new();
    let Some(pebble) = scene.pebble().await else {
        return;
    };
    let node = scene.node().await;
    reaches(&node, "renewals_total", 1).await;
    let file = kept(node.dir.path()).join("certificate.pem");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 3]).unwrap();
    // It knows nobody after its end.
    drop(pebble);
    let Some(_pebble) = scene.pebble().await else {
        return;
    };
    let roots = scene.place.root().await;
    let node = scene.again(node).await;
    let tls = scene.served(&node, &roots).await;
    assert_eq!(figure(&node, "renewals_total").await, 1);
    let now = std::fs::read(&file).unwrap();
    let kept = CertificateDer::pem_slice_iter(&now).next().unwrap();
    assert_eq!(kept.unwrap(), certificate(&tls));
}

#[tokio::test]
async fn a_certificate_is_renewed_with_a_new_key_while_connections_go_on() {
    let scene = Scene::new();
    let Some(_pebble) = scene.pebble().await else {
        return;
    };
    let roots = scene.place.root().await;
    let node = scene.node().await;
    let tls = scene.served(&node, &roots).await;
    let first = certificate(&tls);
    let mut old = sender(tls).await;
    assert_eq!(status(&mut old).await, 200);
    let file = kept(node.dir.path()).join("certificate.pem");
    let key = || PrivateKeyDer::from_pem_file(&file).unwrap();
    let first_key = key();
    // Before its time, nothing: whatever the operator says.
    assert_eq!(node.storage.reload_certificate().unwrap(), Reload::Asked);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(figure(&node, "renewals_total").await, 1);
    let ends = figure(&node, "certificate_expiry_timestamp_seconds").await;
    node.now.store(ends - 86_400, Ordering::SeqCst);
    reaches(&node, "renewals_total", 2).await;
    assert_ne!(certificate(&scene.served(&node, &roots).await), first);
    assert_ne!(key().secret_der(), first_key.secret_der());
    assert_eq!(status(&mut old).await, 200);
    // The clock is as wrong as before, and the certificate new: it is not asked for again.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(figure(&node, "renewals_total").await, 2);
}

#[tokio::test]
async fn without_a_certificate_every_handshake_is_refused_and_tries_wait_over_restarts() {
    let scene = Scene::new();
    let node = scene.node().await;
    reaches(&node, "renewal_failures_total", 1).await;
    assert_eq!(
        figure(&node, "certificate_expiry_timestamp_seconds").await,
        0
    );
    let nobody = trusting(RootCertStore::empty());
    for (name, protocol) in [
        ("node.test", "h2"),
        ("node.test", "acme-tls/1"),
        ("other.test", "acme-tls/1"),
        ("127.0.0.1", "http/1.1"),
    ] {
        let mut config = nobody.clone();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let refused = scene.connect(&config, name).await.unwrap_err();
        // In order: not a silence, and not a certificate.
        assert!(refused.to_string().contains("alert"), "{refused}");
    }
    let node = scene.again(node).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(figure(&node, "renewal_failures_total").await, 0);
    // The operator need not wait.
    let Some(_pebble) = scene.pebble().await else {
        return;
    };
    node.storage.reload_certificate().unwrap();
    let roots = scene.place.root().await;
    scene.served(&node, &roots).await;
    assert_eq!(figure(&node, "renewals_total").await, 1);
}

#[tokio::test]
async fn an_authority_that_refuses_or_does_not_find_the_node_leaves_the_certificate_as_it_was() {
    let scene = Scene::new();
    let Some(pebble) = scene.pebble().await else {
        return;
    };
    let roots = scene.place.root().await;
    let node = scene.node().await;
    let first = certificate(&scene.served(&node, &roots).await);
    let ends = figure(&node, "certificate_expiry_timestamp_seconds").await;
    drop(pebble);
    // It looks for the node where nobody is.
    let Some(blind) = scene.place.pebble(free_port(), &Value::Null).await else {
        return;
    };
    node.now.store(ends - 86_400, Ordering::SeqCst);
    reaches(&node, "renewal_failures_total", 1).await;
    drop(blind);
    let blocked = json!({"domainBlocklist": ["node.test"]});
    let Some(_unwilling) = scene.pebble_with(&blocked).await else {
        return;
    };
    // The pause is over.
    node.pass(200);
    reaches(&node, "renewal_failures_total", 2).await;
    assert_eq!(certificate(&scene.served(&node, &roots).await), first);
    assert_eq!(figure(&node, "renewals_total").await, 1);
}

#[tokio::test]
async fn an_authority_that_hangs_is_left_after_a_time_and_holds_up_nothing() {
    let scene = Scene::new();
    let silent = TcpListener::bind(scene.place.address()).await.unwrap();
    let node = scene.node().await;
    let _open = silent.accept().await.unwrap();
    reaches(&node, "renewal_failures_total", 1).await;
    let _asked = node.storage.reload_certificate();
    let _open = silent.accept().await.unwrap();
    let began = Instant::now();
    node.storage.shutdown().await;
    assert!(began.elapsed() < Duration::from_millis(600));
}

/// A server that answers every question with the same, and counts them.
async fn nonsense(
    place: &Place,
    answer: impl Fn() -> Response<Full<Bytes>> + Send + Sync + 'static,
) -> JoinHandle<()> {
    let listener = TcpListener::bind(place.address()).await.unwrap();
    let chain = vec![CertificateDer::from_pem_file(place.ca()).unwrap()];
    let key = PrivateKeyDer::from_pem_file(place.ca_key()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key);
    let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let Ok(tls) = acceptor.accept(tcp).await else {
                continue;
            };
            let answer = Arc::clone(&answer);
            let service = service_fn(move |_| {
                let answer = answer();
                async move { Ok::<_, std::convert::Infallible>(answer) }
            });
            let serving = hyper::server::conn::http1::Builder::new();
            tokio::spawn(serving.serve_connection(TokioIo::new(tls), service));
        }
    })
}

#[tokio::test]
async fn an_authority_that_answers_nonsense_ends_the_try_and_nothing_else() {
    let here = |place: &Place| place.directory();
    let directory = |nonces: &str, rest: &str| {
        json!({"newNonce": nonces, "newAccount": rest, "newOrder": rest}).to_string()
    };
    let scene = Scene::new();
    let own = here(&scene.place);
    for body in [
        String::new(),
        "<html>".to_owned(),
        "{}".to_owned(),
        directory("https://a b", &own),
        directory(&own, "https://a b"),
        // Somewhere else, where the node has nothing to ask.
        directory("https://127.0.0.1:1/", &own),
        directory("http://localhost/", &own),
        // No nonces.
        directory(&own, &own),
        " ".repeat(300 << 10),
    ] {
        let said = body.clone();
        let server = nonsense(&scene.place, move || {
            Response::new(Full::new(Bytes::from(said.clone())))
        })
        .await;
        let node = scene.node().await;
        reaches(&node, "renewal_failures_total", 1).await;
        node.storage.shutdown().await;
        server.abort();
        let _aborted = server.await;
    }
}

#[tokio::test]
async fn an_authority_that_wants_to_be_left_alone_is_whatever_the_operator_says() {
    let scene = Scene::new();
    let server = nonsense(&scene.place, || {
        let busy = Response::builder()
            .status(503)
            .header("retry-after", "3600");
        busy.body(Full::default()).unwrap()
    });
    let _server = server.await;
    let node = scene.node().await;
    reaches(&node, "renewal_failures_total", 1).await;
    node.storage.reload_certificate().unwrap();
    node.pass(1_800);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(figure(&node, "renewal_failures_total").await, 1);
    node.pass(1_801);
    reaches(&node, "renewal_failures_total", 2).await;
}

#[tokio::test]
async fn a_try_that_cannot_be_written_down_is_not_made() {
    let scene = Scene::new();
    let asked = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&asked);
    let server = nonsense(&scene.place, move || {
        counted.fetch_add(1, Ordering::SeqCst);
        Response::new(Full::default())
    });
    let _server = server.await;
    let node = scene.node().await;
    reaches(&node, "renewal_failures_total", 1).await;
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    // In the directory's place is something else.
    let directory = kept(node.dir.path());
    std::fs::remove_dir_all(&directory).unwrap();
    std::fs::write(&directory, "").unwrap();
    node.storage.reload_certificate().unwrap();
    reaches(&node, "renewal_failures_total", 2).await;
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_authority_that_wants_an_account_of_the_operators_is_shown_it() {
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let mut scene = Scene::new();
    let bound = json!({
        "externalAccountBindingRequired": true,
        "externalAccountMACKeys": {"kid-1": key},
    });
    let Some(_pebble) = scene.pebble_with(&bound).await else {
        return;
    };
    let roots = scene.place.root().await;
    let node = scene.node().await;
    reaches(&node, "renewal_failures_total", 1).await;
    let file = scene.place.dir.path().join("account-key");
    std::fs::write(&file, key).unwrap();
    scene.lines = format!("account-key-id = \"kid-1\"\naccount-key-file = {file:?}\n");
    let node = scene.again(node).await;
    node.storage.reload_certificate().unwrap();
    scene.served(&node, &roots).await;
    assert_eq!(figure(&node, "renewals_total").await, 1);
}

/// A client that takes any certificate: to look at those that no client should.
#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::RSA_PSS_SHA256,
        ]
    }
}

/// The authority's questions come through the test, which looks at the node while one is open.
#[tokio::test]
async fn while_an_authority_asks_it_is_shown_its_answer_and_nothing_else_and_nobody_is_served() {
    let scene = Scene::new();
    let questions = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = questions.local_addr().unwrap().port();
    let Some(_pebble) = scene.place.pebble(port, &Value::Null).await else {
        lacking::skip("there is no pebble on this machine");
        return;
    };
    let roots = scene.place.root().await;
    let node = scene.node().await;
    let (mut question, _) = questions.accept().await.unwrap();
    let offering = |protocols: &[&str]| {
        let mut config = trusting(RootCertStore::empty());
        config
            .dangerous()
            .set_certificate_verifier(Arc::new(Anything));
        config.alpn_protocols = protocols
            .iter()
            .map(|one| one.as_bytes().to_vec())
            .collect();
        config
    };
    // Whoever offers it gets that and is not served, whatever else it offers.
    let mut shown = 0;
    for name in ["node.test", "www.node.test"] {
        let asking = offering(&["h2", "http/1.1", "acme-tls/1"]);
        let Ok(mut tls) = scene.connect(&asking, name).await else {
            continue;
        };
        shown += 1;
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"acme-tls/1"[..]));
        let own = certificate(&tls);
        // id-pe-acmeIdentifier, which no client takes (RFC 8737, §6.1), in a certificate for that name.
        let mark = [0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x1f];
        for part in [&mark[..], name.as_bytes()] {
            assert!(own.windows(part.len()).any(|found| found == part), "{name}");
        }
        let _sent = tls
            .write_all(b"GET /status HTTP/1.1\r\nhost: node.test\r\n\r\n")
            .await;
        let mut said = Vec::new();
        let _ended = tls.read_to_end(&mut said).await;
        assert!(said.is_empty(), "{said:?}");
        // Others are shown nothing yet.
        for protocols in [&["h2"][..], &["http/1.1"][..], &[][..]] {
            let refused = scene.connect(&offering(protocols), name).await;
            assert!(refused.unwrap_err().to_string().contains("alert"));
        }
    }
    assert!(shown > 0);
    let other = scene
        .connect(&offering(&["acme-tls/1"]), "other.test")
        .await;
    assert!(other.is_err());
    let own = scene.port;
    let through = tokio::spawn(async move {
        loop {
            let mut node = TcpStream::connect(("127.0.0.1", own)).await.unwrap();
            tokio::spawn(
                async move { tokio::io::copy_bidirectional(&mut question, &mut node).await },
            );
            (question, _) = questions.accept().await.unwrap();
        }
    });
    scene.served(&node, &roots).await;
    // The answers are gone with the questions.
    for name in ["node.test", "www.node.test"] {
        let late = scene.connect(&offering(&["acme-tls/1"]), name).await;
        assert!(late.unwrap_err().to_string().contains("alert"), "{name}");
    }
    through.abort();
}

#[tokio::test]
async fn who_asks_by_another_name_or_as_an_authority_is_shown_nothing() {
    let scene = Scene::new();
    let Some(_pebble) = scene.pebble().await else {
        return;
    };
    let roots = scene.place.root().await;
    let node = scene.node().await;
    scene.served(&node, &roots).await;
    let offering = |protocols: &[&str]| {
        let mut config = trusting(roots.clone());
        config.alpn_protocols = protocols
            .iter()
            .map(|one| one.as_bytes().to_vec())
            .collect();
        config
    };
    for (name, protocols) in [
        ("other.test", &["h2"][..]),
        ("node.test", &["acme-tls/1"][..]),
        ("node.test", &["h2", "acme-tls/1"][..]),
        ("other.test", &["acme-tls/1"][..]),
    ] {
        let refused = scene.connect(&offering(protocols), name).await.unwrap_err();
        assert!(refused.to_string().contains("alert"), "{name}: {refused}");
    }
    // By address: the certificate is shown, and is not for it.
    let shown = scene.connect(&offering(&["h2"]), "127.0.0.1").await;
    let told = shown.unwrap_err().to_string();
    assert!(told.contains("certificate"), "{told}");
}
