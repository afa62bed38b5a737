//! The way out: HTTPS to registries and other nodes, for the resolution of DIDs and for replication.
//!
//! Guarantees: only public addresses are contacted, whatever a name resolves to (besides the servers on this machine that the
//! operator names: their scheme, host and port, and nothing else here, as strangers write most of the URLs that are asked); no
//! redirect is followed; an answer has a limit and a time. What this node keeps itself is answered without a connection. Refuses
//! to know: what is fetched.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use adyton_resolver::web::{Ask, Pending, Said, Web, WebError};
use adyton_vsock::public_address::is_public;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower::Service;
use url::{Host, Origin, Url};

use crate::store::StoreError;

/// Longest wait for a connection.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long a connection is kept for the next request: most are to strangers' servers, for one question.
const IDLE_TIME: Duration = Duration::from_secs(10);
/// Connections that are kept of one server.
const MAX_IDLE_OF_HOST: usize = 4;

/// Which addresses may be contacted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Reach {
    /// HTTPS to public addresses.
    #[default]
    Public,
    /// Also these servers on this machine, with or without TLS.
    AlsoThese(Arc<[Origin]>),
    /// Also everything on this machine, without TLS: for tests with many nodes. No configuration says so.
    AlsoThisMachine,
}

impl Reach {
    /// Also those of these servers that are on this machine.
    pub fn also<'a>(servers: impl IntoIterator<Item = &'a Url>) -> Self {
        let local = servers.into_iter().filter(|url| is_local(url));
        Self::AlsoThese(local.map(Url::origin).collect())
    }

    /// What the URL itself tells; names are looked at again when they are resolved.
    pub(crate) fn allows_url(&self, url: &Url) -> bool {
        match self {
            Self::AlsoThese(origins) if origins.contains(&url.origin()) => true,
            Self::AlsoThisMachine if is_local(url) => matches!(url.scheme(), "http" | "https"),
            // A name that leads to this machine leads there for the servers that were named only.
            Self::AlsoThese(_) | Self::AlsoThisMachine | Self::Public => {
                let public = match url.host() {
                    Some(Host::Ipv4(ip)) => is_public(IpAddr::V4(ip)),
                    Some(Host::Ipv6(ip)) => is_public(IpAddr::V6(ip)),
                    Some(Host::Domain(name)) => !is_local_name(name),
                    None => false,
                };
                public && url.scheme() == "https"
            }
        }
    }

    /// Whether a name may lead to this address.
    fn allows(&self, name: &str, ip: IpAddr) -> bool {
        let local = match self {
            Self::Public => false,
            Self::AlsoThese(_) | Self::AlsoThisMachine => is_local_name(name),
        };
        is_public(ip) || (local && ip.is_loopback())
    }
}

/// Whether a URL says itself that it is of this machine.
fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => is_local_name(name),
        None => false,
    }
}

/// The name of this machine for itself, as URLs have it: in lower case.
fn is_local_name(name: &str) -> bool {
    name == "localhost"
}

/// The body of a request: in memory, or made while it is sent.
pub(crate) type SentBody = UnsyncBoxBody<Bytes, StoreError>;

/// A request to another node.
pub(crate) struct Sent {
    pub(crate) method: Method,
    pub(crate) url: Url,
    /// Never in the URL.
    pub(crate) authorization: Option<HeaderValue>,
    /// The body with its media type.
    pub(crate) body: Option<(HeaderValue, SentBody)>,
    /// Most bytes of the answer that are read.
    pub(crate) limit: usize,
    /// Longest time for all of it.
    pub(crate) time: Duration,
}

/// Sends requests to other servers.
#[derive(Clone)]
pub(crate) struct Outbound {
    client: Client<HttpsConnector<HttpConnector<PublicNames>>, SentBody>,
    reach: Reach,
}

impl Outbound {
    /// Servers are verified against the roots that are compiled in: those of the WebPKI, as Mozilla trusts them.
    pub(crate) fn new(reach: Reach) -> Result<Self, rustls::Error> {
        let roots = rustls::RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let tls = rustls::ClientConfig::builder_with_provider(provider.into())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new_with_resolver(PublicNames {
            system: GaiResolver::new(),
            reach: reach.clone(),
        });
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_TIME));
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls);
        let connector = match reach {
            Reach::Public => builder.https_only().enable_http1().wrap_connector(tcp),
            Reach::AlsoThese(_) | Reach::AlsoThisMachine => {
                builder.https_or_http().enable_http1().wrap_connector(tcp)
            }
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME)
            .pool_max_idle_per_host(MAX_IDLE_OF_HOST)
            .build(connector);
        Ok(Self { client, reach })
    }

    /// Sends a request and reads its answer, within its time.
    pub(crate) async fn request(&self, sent: Sent) -> Result<Said, WebError> {
        let time = sent.time;
        let said = tokio::time::timeout(time, self.send(sent)).await;
        said.unwrap_or(Err(WebError::Timeout))
    }

    async fn send(&self, sent: Sent) -> Result<Said, WebError> {
        if !self.reach.allows_url(&sent.url) {
            return Err(WebError::Denied);
        }
        let (kind, body) = sent.body.unzip();
        let mut request = Request::new(body.unwrap_or_else(|| in_memory(Bytes::new())));
        *request.uri_mut() = sent.url.as_str().parse().map_err(|_| WebError::Denied)?;
        *request.method_mut() = sent.method;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.extend(kind.map(|kind| (CONTENT_TYPE, kind)));
        headers.extend(sent.authorization.map(|word| (AUTHORIZATION, word)));
        let response = self.client.request(request).await;
        let response = response.map_err(|_| WebError::Unreachable)?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), sent.limit)
            .collect()
            .await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => WebError::TooLarge,
            false => WebError::Unreachable,
        })?;
        Ok(Said {
            status,
            body: body.to_bytes(),
        })
    }
}

/// A body that is there already.
pub(crate) fn in_memory(bytes: Bytes) -> SentBody {
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

impl Web for Outbound {
    fn ask(&self, ask: Ask) -> Pending<'_, Result<Said, WebError>> {
        let json = HeaderValue::from_static("application/json");
        Box::pin(self.request(Sent {
            method: match ask.body {
                Some(_) => Method::POST,
                None => Method::GET,
            },
            url: ask.url,
            authorization: None,
            body: ask.body.map(|body| (json, in_memory(body))),
            limit: ask.limit,
            time: ask.time,
        }))
    }
}

/// What this node answers itself, by a path below its own address.
pub(crate) trait Own: Send + Sync {
    /// The answer to a request below the node's own address.
    fn answer<'a>(&'a self, path: &'a str, body: Option<&'a [u8]>) -> Pending<'a, Option<Said>>;
}

/// The network, with this node in it: what is below its own address takes no connection.
pub(crate) struct WithOwn {
    pub(crate) outbound: Arc<dyn Web>,
    pub(crate) base: Url,
    pub(crate) own: Arc<dyn Own>,
}

impl Web for WithOwn {
    fn ask(&self, ask: Ask) -> Pending<'_, Result<Said, WebError>> {
        Box::pin(async move {
            match ask.url.as_str().strip_prefix(self.base.as_str()) {
                Some(path) => {
                    let said = self.own.answer(path, ask.body.as_deref()).await;
                    said.ok_or(WebError::Unreachable)
                }
                None => self.outbound.ask(ask).await,
            }
        })
    }
}

/// Resolves names, and drops the addresses that may not be contacted: a public name that points to a private address leads
/// nowhere.
#[derive(Clone)]
struct PublicNames {
    system: GaiResolver,
    reach: Reach,
}

impl Service<Name> for PublicNames {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.system.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (text, reach) = (name.as_str().to_owned(), self.reach.clone());
        let resolving = self.system.call(name);
        Box::pin(async move {
            let all = resolving.await?;
            let allowed: Vec<_> = all
                .filter(|address| reach.allows(&text, address.ip()))
                .collect();
            match allowed.is_empty() {
                true => Err(io::ErrorKind::PermissionDenied.into()),
                false => Ok(allowed.into_iter()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_to_public_addresses_is_contacted_unless_this_machine_is_allowed() {
        let url = |text: &str| Url::parse(text).unwrap();
        for text in [
            "https://node.example/",
            "https://8.8.8.8/",
            "https://[2606:4700::1]/",
        ] {
            assert!(Reach::Public.allows_url(&url(text)), "{text}");
        }
        for text in [
            "http://node.example/",
            "https://127.0.0.1/",
            "https://10.0.0.1/",
            "https://169.254.169.254/latest/meta-data",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://2130706433/",
            "ftp://node.example/",
        ] {
            assert!(!Reach::Public.allows_url(&url(text)), "{text}");
        }
        assert!(Reach::AlsoThisMachine.allows_url(&url("http://127.0.0.1:8545/")));
        assert!(Reach::AlsoThisMachine.allows_url(&url("http://localhost/")));
        for text in [
            "http://node.example/",
            "http://10.0.0.1/",
            "https://192.168.0.1/",
        ] {
            assert!(!Reach::AlsoThisMachine.allows_url(&url(text)), "{text}");
        }
    }

    #[test]
    fn of_this_machine_only_the_servers_that_were_named_are_contacted() {
        let url = |text: &str| Url::parse(text).unwrap();
        let named = [
            url("http://127.0.0.1:8545/rpc"),
            url("https://localhost:7000/"),
            url("https://a.example/"),
        ];
        let reach = Reach::also(&named);
        for text in [
            "http://127.0.0.1:8545/",
            "https://localhost:7000/x",
            "https://node.example/",
        ] {
            assert!(reach.allows_url(&url(text)), "{text}");
        }
        for text in [
            "http://127.0.0.1/",
            "http://127.0.0.1:5984/",
            "http://127.0.0.2:8545/",
            "https://127.0.0.1:8545/",
            "https://localhost/",
            "https://localhost:7001/",
            "http://localhost:8545/",
            "http://[::1]:8545/",
            "http://a.example/",
            "https://10.0.0.1/",
        ] {
            assert!(!reach.allows_url(&url(text)), "{text}");
        }
        let loopback = IpAddr::from([127, 0, 0, 1]);
        assert!(reach.allows("localhost", loopback));
        // Somebody's name that leads here.
        assert!(
            !reach.allows("a.example", loopback) && !Reach::Public.allows("localhost", loopback)
        );
        assert!(!reach.allows("localhost", IpAddr::from([10, 0, 0, 1])));
    }
}
