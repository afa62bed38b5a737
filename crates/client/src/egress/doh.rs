//! Names become addresses by DNS over HTTPS (RFC 8484), asked through the host and understood inside.
//!
//! Guarantees: a resolver is believed only over TLS with its own certificate; answers are limited, and remembered no
//! longer than they allow. Refuses to know: which of the addresses may be used. (Whoever connects asks the policy.)

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use adyton_egress::body;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::DohServer;
use super::dns_message::{DnsError, Family, MAX_MESSAGE, Question, Resolved};
use super::host_wire::HostWire;
use super::name_cache::NameCache;

/// Most questions at a time; more wait.
const MAX_QUESTIONS: usize = 32;

/// How long one resolver may take before the next is asked.
const PATIENCE: Duration = Duration::from_secs(4);

const DNS_MESSAGE: HeaderValue = HeaderValue::from_static("application/dns-message");

/// Asks resolvers. Clones share what they know.
#[derive(Clone)]
pub(super) struct DohResolver(Arc<Inner>);

struct Inner {
    client: Client<HttpsConnector<HostWire>, Full<Bytes>>,
    servers: Vec<DohServer>,
    /// Which of them answered last: it is asked first.
    good: AtomicUsize,
    questions: Semaphore,
    cache: NameCache,
}

impl DohResolver {
    pub(super) fn new(wire: HostWire, servers: Vec<DohServer>, tls: ClientConfig) -> Self {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_all_versions()
            .wrap_connector(wire);
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(60))
            .pool_max_idle_per_host(2)
            .build(connector);
        Self(Arc::new(Inner {
            client,
            servers,
            good: AtomicUsize::new(0),
            questions: Semaphore::new(MAX_QUESTIONS),
            cache: NameCache::default(),
        }))
    }

    /// The addresses of a name: those of IPv4, or if there is none, those of IPv6.
    pub(super) async fn resolve(&self, name: &str) -> Result<Arc<[IpAddr]>, DnsError> {
        let name = name.to_ascii_lowercase();
        if let Some(known) = self.0.cache.get(&name, Instant::now()) {
            return known;
        }
        let mut said = self.ask(&Question::new(&name, Family::V4)?).await;
        if said.as_ref().is_ok_and(|it| it.addresses.is_empty()) {
            said = self.ask(&Question::new(&name, Family::V6)?).await;
        }
        self.0.cache.put(&name, said, Instant::now())
    }

    /// Asks one resolver after the other, until one has something to say.
    async fn ask(&self, question: &Question) -> Result<Resolved, DnsError> {
        let inner = &*self.0;
        let Ok(_permit) = inner.questions.acquire().await else {
            return Err(DnsError::Unreachable);
        };
        let first = inner.good.load(Ordering::Relaxed);
        let mut last = DnsError::Unreachable;
        for (index, server) in in_turn(&inner.servers, first) {
            let asked = timeout(PATIENCE, inner.ask_one(server, question));
            match asked.await.unwrap_or(Err(DnsError::Unreachable)) {
                said @ (Ok(_) | Err(DnsError::NoSuchName | DnsError::NotAName)) => {
                    inner.good.store(index, Ordering::Relaxed);
                    return said;
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

fn in_turn(servers: &[DohServer], first: usize) -> impl Iterator<Item = (usize, &DohServer)> {
    servers
        .iter()
        .enumerate()
        .cycle()
        .skip(first)
        .take(servers.len())
}

impl Inner {
    async fn ask_one(&self, server: &DohServer, question: &Question) -> Result<Resolved, DnsError> {
        let mut request = Request::new(Full::new(Bytes::from(question.message())));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = server.as_str().parse().map_err(|_| DnsError::Unreachable)?;
        request.headers_mut().insert(CONTENT_TYPE, DNS_MESSAGE);
        request.headers_mut().insert(ACCEPT, DNS_MESSAGE);
        let answer = self
            .client
            .request(request)
            .await
            .map_err(|_| DnsError::Unreachable)?;
        let of_dns = answer.headers().get(CONTENT_TYPE) == Some(&DNS_MESSAGE);
        if answer.status() != StatusCode::OK || !of_dns {
            return Err(DnsError::Malformed);
        }
        let body = body::read(answer.into_body(), MAX_MESSAGE)
            .await
            .map_err(|_| DnsError::Malformed)?;
        question.read(&body)
    }
}
