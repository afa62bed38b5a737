//! The way out: HTTPS to registries and other nodes, for the resolution of DIDs and for replication, and to the authority that
//! makes the node's certificate.
//!
//! Guarantees: only servers within the [`Reach`] are contacted, whatever a name resolves to, as strangers write most of the
//! URLs that are asked; no redirect is followed; an answer has a limit and a time. What this node keeps itself is answered without a connection. Refuses
//! to know: what is fetched.

use std::sync::Arc;
use std::time::Duration;

use adyton_egress::body::{self, Unread};
use adyton_egress::names::{self, GuardedNames};
use adyton_egress::tls::{client_config, compiled_in_roots, connector};
use adyton_egress::{Denied, Reach};
use adyton_resolver::web::{Ask, Pending, Said, Web, WebError};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::RootCertStore;
use url::Url;

use crate::store::StoreError;

/// Longest wait for a connection.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long a connection is kept for the next request: most are to strangers' servers, for one question.
const IDLE_TIME: Duration = Duration::from_secs(10);
/// Connections that are kept of one server.
const MAX_IDLE_OF_HOST: usize = 4;

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
    client: Client<HttpsConnector<HttpConnector<GuardedNames>>, SentBody>,
    reach: Reach,
}

impl Outbound {
    /// Servers are verified against the roots that are compiled in: those of the WebPKI, as Mozilla trusts them.
    pub(crate) fn new(reach: Reach) -> Result<Self, rustls::Error> {
        Self::trusting(compiled_in_roots(), reach)
    }

    /// Servers are verified against these roots.
    pub(crate) fn trusting(roots: Arc<RootCertStore>, reach: Reach) -> Result<Self, rustls::Error> {
        let tls = client_config(roots)?;
        let tcp = names::tcp(reach.clone(), CONNECT_TIME);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME)
            .pool_max_idle_per_host(MAX_IDLE_OF_HOST)
            .build(connector(&reach, tls, tcp));
        Ok(Self { client, reach })
    }

    /// Sends a request and reads its answer, within its time.
    pub(crate) async fn request(&self, sent: Sent) -> Result<Said, WebError> {
        let time = sent.time;
        let said = tokio::time::timeout(time, self.send(sent)).await;
        said.unwrap_or(Err(WebError::Timeout))
    }

    async fn send(&self, sent: Sent) -> Result<Said, WebError> {
        let url = self.reach.check(&sent.url);
        let url = url.map_err(|Denied| WebError::Denied)?;
        let limit = sent.limit;
        let (kind, body) = sent.body.unzip();
        let mut request = Request::new(body.unwrap_or_else(|| in_memory(Bytes::new())));
        *request.uri_mut() = url.as_str().parse().map_err(|_| WebError::Denied)?;
        *request.method_mut() = sent.method;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.extend(kind.map(|kind| (CONTENT_TYPE, kind)));
        headers.extend(sent.authorization.map(|word| (AUTHORIZATION, word)));
        let response = self.exchange(request, limit).await?;
        Ok(Said {
            status: response.status().as_u16(),
            body: response.into_body(),
        })
    }

    /// Sends a request whose fields matter, and reads its answer with its fields, within a time.
    pub(crate) async fn converse(
        &self,
        request: Request<SentBody>,
        limit: usize,
        time: Duration,
    ) -> Result<Response<Bytes>, WebError> {
        let url = Url::parse(&request.uri().to_string()).map_err(|_| WebError::Denied)?;
        let checked = self.reach.check(&url);
        checked.map_err(|Denied| WebError::Denied)?;
        let said = tokio::time::timeout(time, self.exchange(request, limit)).await;
        said.unwrap_or(Err(WebError::Timeout))
    }

    /// A request as it stands, to a URL that was checked. The caller has a time.
    async fn exchange(
        &self,
        request: Request<SentBody>,
        limit: usize,
    ) -> Result<Response<Bytes>, WebError> {
        let response = self.client.request(request).await;
        let (head, body) = response.map_err(|_| WebError::Unreachable)?.into_parts();
        let body = body::read(body, limit).await;
        let body = body.map_err(|unread| match unread {
            Unread::TooLarge => WebError::TooLarge,
            Unread::BrokenOff => WebError::Unreachable,
        })?;
        Ok(Response::from_parts(head, body))
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
