//! HTTP to storage nodes: limits on time and size around every request, and the reach
//! applied to every address, names included.

use std::sync::Arc;
use std::time::Duration;

use adyton_egress::body::{self, Unread};
use adyton_egress::tls::{client_config, compiled_in_roots, connector};
use adyton_resolver::web::{Ask, Pending, Said, Web, WebError};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::{Client, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::RootCertStore;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::egress::{Dialer, Route};
use crate::endpoint::{Denied, Endpoint, Reach};
use crate::health::Health;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection is kept that nobody uses.
const IDLE: Duration = Duration::from_secs(60);
/// Largest small answer, in bytes.
pub const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// How long a storage node may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For the head of an answer.
    pub head: Duration,
    /// For the whole of a small answer.
    pub answer: Duration,
    /// Between two pieces of a feed: a node sends at least a heartbeat in this time.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(15),
            answer: Duration::from_secs(60),
            silence: Duration::from_secs(75),
        }
    }
}

/// A request did not get a usable answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// No connection, or it broke.
    #[error("the server cannot be reached")]
    Unreachable,
    /// No answer in time.
    #[error("the server did not answer in time")]
    Timeout,
    /// The answer is larger than allowed.
    #[error("the server's answer is too large")]
    TooLarge,
    /// The answer is not what the protocol says.
    #[error("the server broke the protocol")]
    Misbehaved,
    /// This server may not be contacted.
    #[error(transparent)]
    Denied(#[from] Denied),
}

/// A complete answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body, at most [`MAX_ANSWER_BYTES`].
    pub body: Bytes,
}

impl Answer {
    /// Reads the body as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, TransportError> {
        serde_json::from_slice(&self.body).map_err(|_| TransportError::Misbehaved)
    }
}

type HttpClient = Client<HttpsConnector<Dialer>, Full<Bytes>>;

/// A pool of connections to storage nodes. An idle one is kept for a minute, and in its buffers what was last read on it.
#[derive(Clone)]
pub struct Transport {
    client: HttpClient,
    connector: HttpsConnector<Dialer>,
    reach: Reach,
    patience: Patience,
    /// Of the servers that it talks to as storage nodes: whoever shares the pool shares what was learned.
    health: Arc<Health>,
}

impl Transport {
    /// A pool within a reach. Public servers are verified against the WebPKI roots compiled in.
    pub fn new(reach: Reach) -> Result<Self, rustls::Error> {
        Self::with_patience(reach, Patience::default())
    }

    /// A pool that waits longer or less long.
    pub fn with_patience(reach: Reach, patience: Patience) -> Result<Self, rustls::Error> {
        Self::with_route(reach, patience, Route::Direct, compiled_in_roots())
    }

    /// A pool that connects on a route, and verifies public servers (those of the route, too) against these roots.
    pub fn with_route(
        reach: Reach,
        patience: Patience,
        route: Route,
        roots: Arc<RootCertStore>,
    ) -> Result<Self, rustls::Error> {
        let tls = client_config(roots)?;
        let limit = patience.head.min(CONNECT_TIMEOUT);
        let dialer = Dialer::new(route, reach.clone(), limit, tls.clone());
        let connector = connector(&reach, tls, dialer);
        Ok(Self {
            client: pool(connector.clone()),
            connector,
            reach,
            patience,
            health: Arc::default(),
        })
    }

    /// The same way to the same servers, with connections of its own: they end with it and its copies, and their buffers with them.
    #[must_use]
    pub fn with_own_connections(&self) -> Self {
        Self {
            client: pool(self.connector.clone()),
            ..self.clone()
        }
    }

    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    /// How long answers are waited for.
    pub fn patience(&self) -> Patience {
        self.patience
    }

    /// Checks an address before anything is sent there.
    pub fn check<'e>(&self, endpoint: &'e Endpoint) -> Result<&'e Endpoint, TransportError> {
        Ok(endpoint.within(&self.reach)?)
    }

    /// Sends a request to a path below `endpoint` and reads the whole answer.
    pub async fn send(&self, call: Call<'_>) -> Result<Answer, TransportError> {
        let whole = async {
            let response = self.open(call).await?;
            let status = response.status();
            let body = body::read(response.into_body(), MAX_ANSWER_BYTES).await?;
            Ok(Answer { status, body })
        };
        tokio::time::timeout(self.patience.answer, whole)
            .await
            .map_err(|_| TransportError::Timeout)?
    }

    /// Sends a request and returns as soon as the head of the answer is there.
    pub async fn open(&self, call: Call<'_>) -> Result<Response<Incoming>, TransportError> {
        let endpoint = call.endpoint.within(&self.reach)?;
        let mut request = Request::new(Full::new(call.body));
        *request.method_mut() = call.method;
        *request.uri_mut() = endpoint
            .join(&call.path)
            .parse()
            .map_err(|_| TransportError::Misbehaved)?;
        request.headers_mut().insert(
            http::header::ACCEPT,
            HeaderValue::from_static("application/json"),
        );
        if call.has_json {
            request
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(token) = call.bearer {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| TransportError::Misbehaved)?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        match tokio::time::timeout(self.patience.head, self.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(_)) => Err(TransportError::Unreachable),
            Err(_) => Err(TransportError::Timeout),
        }
    }

    /// None of `async`, so that the HTTP client is compiled here, and not in every program that sends a request.
    fn request(&self, request: Request<Full<Bytes>>) -> ResponseFuture {
        self.client.request(request)
    }
}

fn pool(connector: HttpsConnector<Dialer>) -> HttpClient {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .http1_max_buf_size(512 * 1024)
        .build(connector)
}

impl Web for Transport {
    /// As every other request: within the reach, no redirect is followed.
    fn ask(&self, ask: Ask) -> Pending<'_, Result<Said, WebError>> {
        Box::pin(async move {
            let whole = async {
                let endpoint: Endpoint = ask.url.as_str().parse().map_err(|_| WebError::Denied)?;
                let target = &ask.url[url::Position::BeforePath..];
                let path = target.trim_start_matches('/');
                let call = match ask.body {
                    Some(body) => Call::raw_json(Method::POST, &endpoint, path, body),
                    None => Call::get(&endpoint, path),
                };
                let response = self.open(call).await?;
                let status = response.status().as_u16();
                let body = body::read(response.into_body(), ask.limit).await;
                let body = body.map_err(TransportError::from)?;
                Ok(Said { status, body })
            };
            let said = tokio::time::timeout(ask.time, whole).await;
            said.unwrap_or(Err(WebError::Timeout))
        })
    }
}

impl From<Unread> for TransportError {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::TooLarge => Self::TooLarge,
            Unread::BrokenOff => Self::Unreachable,
        }
    }
}

impl From<TransportError> for WebError {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::Timeout => Self::Timeout,
            TransportError::TooLarge => Self::TooLarge,
            TransportError::Denied(_) => Self::Denied,
            TransportError::Unreachable | TransportError::Misbehaved => Self::Unreachable,
        }
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Transport({:?})", self.reach)
    }
}

/// One request.
#[derive(Debug)]
pub struct Call<'a> {
    endpoint: &'a Endpoint,
    method: Method,
    path: String,
    bearer: Option<&'a str>,
    body: Bytes,
    has_json: bool,
}

impl<'a> Call<'a> {
    /// A GET of a path without leading `/`.
    pub fn get(endpoint: &'a Endpoint, path: impl Into<String>) -> Self {
        Self::of(Method::GET, endpoint, path)
    }

    /// A request without body.
    pub fn of(method: Method, endpoint: &'a Endpoint, path: impl Into<String>) -> Self {
        Self {
            endpoint,
            method,
            path: path.into(),
            bearer: None,
            body: Bytes::new(),
            has_json: false,
        }
    }

    /// A request with a JSON body.
    pub fn json(
        method: Method,
        endpoint: &'a Endpoint,
        path: impl Into<String>,
        body: &impl Serialize,
    ) -> Self {
        // Maps with text keys and strings always serialise; an empty body is refused by the server.
        let body = serde_json::to_vec(body).unwrap_or_default().into();
        Self {
            body,
            has_json: true,
            ..Self::of(method, endpoint, path)
        }
    }

    /// A request with a body that is JSON already.
    pub fn raw_json(
        method: Method,
        endpoint: &'a Endpoint,
        path: impl Into<String>,
        body: Bytes,
    ) -> Self {
        Self {
            body,
            has_json: true,
            ..Self::of(method, endpoint, path)
        }
    }

    /// Adds an access token.
    pub fn bearer(self, token: &'a str) -> Self {
        Self {
            bearer: Some(token),
            ..self
        }
    }
}
