//! The attestation route over real TLS, judged by the production verifier; the TEE is simulated.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod tls_client;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use adyton_attest::appraise::Reason;
use adyton_attest::attester::{Attester, SealedAttester};
use adyton_attest::evidence::WELL_KNOWN_PATH;
use adyton_attest::observe::{Observed, Patience, observe, pinned_client_config};
use adyton_attest::{Evidence, Nonce, Policy, Spki, appraise};
use adyton_client::clock::Clock;
use adyton_node::attestation::{Attestation, NodeKeys};
use adyton_node::server::Limits;
use adyton_sandbox::{SimulatedTee, SlowDevice};
use axum::Router;
use axum::routing::get;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use tls_client::{Running, eventually, identity, now, start_as};
use tokio_rustls::TlsConnector;

const CONFIG: &str = "listen = \"127.0.0.1:0\"\n";

struct Node {
    server: Running,
    tee: Arc<SimulatedTee>,
    spki: Spki,
}

impl Node {
    async fn start() -> Self {
        Self::start_on(|tee| tee).await
    }

    async fn start_on(device: impl FnOnce(Arc<SimulatedTee>) -> Arc<dyn Attester>) -> Self {
        let tee = Arc::new(SimulatedTee::start(Arc::new(now)).unwrap());
        let attester = SealedAttester::seal(device(tee.clone()), CONFIG)
            .await
            .unwrap();
        let identity = identity();
        let spki = identity.spki().clone();
        let keys = NodeKeys::generate().unwrap();
        let attestation = Attestation::new(attester, keys.attested(&spki), Clock::system());
        let router = Router::new()
            .route("/", get(|| async { "hello" }))
            .merge(attestation.router());
        Self {
            server: start_as(identity, router, Limits::default()).await,
            tee,
            spki,
        }
    }

    async fn observe(&self, nonce: Option<Nonce>) -> Observed {
        let node = self.server.url().parse().unwrap();
        observe(&node, nonce, &Patience::default()).await.unwrap()
    }

    fn policy(&self, lines: &str) -> Policy {
        Policy::from_toml(&format!("{lines}\n{}", self.tee.policy())).unwrap()
    }

    async fn get(&self, query: &str) -> (String, String) {
        let answer = eventually(self.server.get(&format!("{WELL_KNOWN_PATH}{query}"))).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }
}

#[tokio::test]
async fn evidence_is_bound_to_the_nonce_the_key_and_the_connection() {
    let node = Node::start().await;
    let observed = node.observe(Some(Nonce::new([7; 32]))).await;
    let appraised = appraise(&observed.evidence, &node.policy(""), &observed.seen, now()).unwrap();
    assert!(appraised.is_channel_bound() && appraised.is_simulated());
    assert_eq!((appraised.spki(), appraised.config()), (&node.spki, CONFIG));

    // Shown on another connection to the same node, with the same key and nonce, it is refused.
    let other = node.observe(Some(Nonce::new([7; 32]))).await;
    assert_eq!(other.seen.spki, observed.seen.spki);
    let refused = appraise(&observed.evidence, &node.policy(""), &other.seen, now()).unwrap_err();
    assert_eq!(refused.reason(), &Reason::Channel);
}

#[tokio::test]
async fn the_connection_that_was_observed_can_be_used_on() {
    let node = Node::start().await;
    let observed = node.observe(Some(Nonce::new([1; 32]))).await;
    let (_, mut connection) = observed.appraise(&node.policy(""), now()).unwrap();
    for _ in 0..3 {
        let request = Request::get("/").body(Full::default()).unwrap();
        let answer = connection.send(request).await.unwrap();
        assert_eq!(
            answer.into_body().collect().await.unwrap().to_bytes(),
            "hello"
        );
    }
    assert!(!connection.is_closed());
    node.server.stop().await;
    eventually(async {
        while !connection.is_closed() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn further_connections_are_pinned_to_the_appraised_key() {
    let (node, other) = (Node::start().await, Node::start().await);
    let observed = node.observe(Some(Nonce::new([1; 32]))).await;
    let appraised = appraise(&observed.evidence, &node.policy(""), &observed.seen, now()).unwrap();
    let connector = TlsConnector::from(pinned_client_config(&appraised).unwrap());
    let connect = |server: &Running| {
        let (connector, address) = (connector.clone(), server.address);
        let name = rustls::pki_types::ServerName::try_from("any.name").unwrap();
        async move {
            connector
                .connect(name, tokio::net::TcpStream::connect(address).await.unwrap())
                .await
        }
    };
    assert!(eventually(connect(&node.server)).await.is_ok());
    assert!(eventually(connect(&other.server)).await.is_err());
}

#[tokio::test]
async fn without_a_nonce_the_evidence_is_shared_and_says_so() {
    let node = Node::start().await;
    let (one, other) = (node.observe(None).await, node.observe(None).await);
    assert_eq!(one.evidence, other.evidence);
    assert!(!one.evidence.channel_bound);
    let refused = appraise(&one.evidence, &node.policy(""), &one.seen, now()).unwrap_err();
    assert_eq!(refused.reason(), &Reason::NonceRequired);
    let relaxed = node.policy("require_nonce = false\nrequire_channel_binding = false");
    let appraised = appraise(&one.evidence, &relaxed, &one.seen, now()).unwrap();
    assert!(!appraised.is_channel_bound());
}

#[tokio::test]
async fn a_query_that_is_not_one_nonce_is_a_problem() {
    let node = Node::start().await;
    let nonce = "ab".repeat(32);
    let queries = [
        "?nonce=".to_owned(),
        format!("?nonce={}", &nonce[1..]),
        format!("?nonce={nonce}0"),
        "?a=b".to_owned(),
    ];
    for query in queries {
        let (head, body) = node.get(&query).await;
        assert!(head.starts_with("HTTP/1.1 400 "), "{query}: {head}");
        assert!(
            head.contains("content-type: application/problem+json"),
            "{head}"
        );
        let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(problem["code"], "request-malformed");
        assert_eq!(problem["error"], problem["detail"]);
    }
    let (head, body) = node.get(&format!("?nonce={nonce}")).await;
    assert!(
        head.starts_with("HTTP/1.1 200 ") && head.contains("cache-control: no-store"),
        "{head}"
    );
    assert!(head.contains("access-control-allow-origin: *"), "{head}");
    assert!(Evidence::from_json(body.as_bytes()).unwrap().channel_bound);
}

#[tokio::test]
async fn a_greedy_connection_is_slowed_and_others_are_not() {
    let node = Node::start().await;
    let observed = node.observe(Some(Nonce::new([1; 32]))).await;
    let (_, mut greedy) = observed.appraise(&node.policy(""), now()).unwrap();
    let mut refused = None;
    for _ in 0..6 {
        let path = format!("{WELL_KNOWN_PATH}?nonce={}", "cd".repeat(32));
        let answer = greedy
            .send(Request::get(path).body(Full::default()).unwrap())
            .await
            .unwrap();
        let (head, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        if head.status != 200 {
            refused = Some((head, body));
            break;
        }
    }
    let (head, body) = refused.expect("it was never refused");
    assert_eq!(
        (head.status.as_u16(), &head.headers["retry-after"]),
        (429, &"5".parse().unwrap())
    );
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["code"], "rate-limited");
    let observed = node.observe(Some(Nonce::new([2; 32]))).await;
    assert!(appraise(&observed.evidence, &node.policy(""), &observed.seen, now()).is_ok());
}

#[tokio::test]
async fn many_askers_share_few_documents_and_each_is_bound_to_its_own_connection() {
    let node =
        Node::start_on(|tee| Arc::new(SlowDevice::new(tee, Duration::from_millis(40)))).await;
    let address: adyton_attest::observe::NodeAddress = node.server.url().parse().unwrap();
    let patience = Patience::default();
    let many = (0..60).map(|seed| observe(&address, Some(Nonce::new([seed; 32])), &patience));
    let observed = eventually(futures_util::future::join_all(many)).await;
    let observed: Vec<_> = observed.into_iter().map(Result::unwrap).collect();
    let policy = node.policy("");
    for one in &observed {
        let appraised = appraise(&one.evidence, &policy, &one.seen, now()).unwrap();
        assert!(appraised.is_channel_bound());
    }
    let documents: BTreeSet<_> = observed.iter().map(|one| &one.evidence.document).collect();
    assert!(documents.len() < 30, "{} documents", documents.len());

    // A proof is good on the connection it was made for and on no other.
    let (one, other) = observed
        .iter()
        .zip(&observed[1..])
        .find(|(one, _)| one.evidence.batch.is_some())
        .unwrap();
    let mut elsewhere = other.seen.clone();
    elsewhere.nonce = one.seen.nonce;
    let refused = appraise(&one.evidence, &policy, &elsewhere, now()).unwrap_err();
    assert_eq!(refused.reason(), &Reason::Batch);
}
