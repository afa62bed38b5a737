//! The client side of attested TLS: connect, look, ask for evidence on the connection that is looked at.
//!
//! 1. Connect with TLS 1.3, accept any certificate, but verify the handshake signature: the peer holds the key it shows.
//! 2. Record that key and the connection's exporter.
//! 3. Ask for evidence on that same connection, within limits.
//!
//! Guarantees: what is in [`Observed::seen`] was seen on the connection that [`Observed::appraise`] hands out, and
//! nothing else can be sent on it before. Refuses to know whether it is good.

mod address;
mod tls;

use std::pin::Pin;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{ACCEPT, HOST};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub use self::address::{NodeAddress, NodeAddressError};
pub use self::tls::pinned_client_config;
use crate::appraise::{Appraised, Refusal};
use crate::binding::{EXPORTER_LABEL, Exporter, Nonce, Seen, Spki};
use crate::evidence::{Evidence, EvidenceError, MAX_EVIDENCE_JSON_BYTES, WELL_KNOWN_PATH};
use crate::policy::Policy;

/// Most headers that an answer may have.
const MAX_HEADERS: usize = 64;

/// Most bytes of headers that are held at once.
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// How long each part may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Until a TCP connection stands.
    pub connect: Duration,
    /// Until the TLS handshake is done.
    pub handshake: Duration,
    /// Until the evidence is here, from the request on.
    pub answer: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let connect = Duration::from_secs(10);
        Self {
            connect,
            handshake: Duration::from_secs(10),
            answer: Duration::from_secs(20),
        }
    }
}

/// Evidence, what was seen while it was fetched, and the connection on which both happened.
///
/// The connection comes out through a verdict:
///
/// ```compile_fail,E0616
/// fn take(observed: adyton_attest::observe::Observed) -> adyton_attest::observe::Connection {
///     observed.connection
/// }
/// ```
#[derive(Debug)]
pub struct Observed {
    /// What the node says about itself.
    pub evidence: Evidence,
    /// What its connection showed.
    pub seen: Seen,
    /// Still open.
    connection: Connection,
}

impl Observed {
    /// [`crate::appraise()`], and the connection for whoever has the verdict.
    ///
    /// # Errors
    /// [`Refusal`]; the connection is closed, and nothing but the request for evidence was sent on it.
    pub fn appraise(
        self,
        policy: &Policy,
        now: SystemTime,
    ) -> Result<(Appraised, Connection), Refusal> {
        let appraised = crate::appraise(&self.evidence, policy, &self.seen, now)?;
        Ok((appraised, self.connection))
    }

    /// The connection to a node that nobody appraised: for tests of nodes, which must be able to say anything to one.
    /// That no program uses it is tested (`attested_only.rs` of the client).
    #[doc(hidden)]
    #[must_use]
    pub fn dangerous_connection(self) -> Connection {
        self.connection
    }
}

/// Connects to a node and asks it for evidence, with a fresh `nonce` or for the evidence it keeps ready.
///
/// # Errors
/// [`ObserveError`]: no evidence was obtained. That says nothing about the node, except for
/// [`ObserveError::Evidence`]: it answered with something else than evidence.
pub async fn observe(
    node: &NodeAddress,
    nonce: Option<Nonce>,
    patience: &Patience,
) -> Result<Observed, ObserveError> {
    observing(node, nonce, patience).await
}

/// None of `async`, so that TLS and HTTP are compiled here, and not in every program that observes.
fn observing<'a>(
    node: &'a NodeAddress,
    nonce: Option<Nonce>,
    patience: &'a Patience,
) -> Pin<Box<dyn Future<Output = Result<Observed, ObserveError>> + Send + 'a>> {
    Box::pin(connect_and_ask(node, nonce, patience))
}

async fn connect_and_ask(
    node: &NodeAddress,
    nonce: Option<Nonce>,
    patience: &Patience,
) -> Result<Observed, ObserveError> {
    let tcp = limit(
        "connecting",
        patience.connect,
        TcpStream::connect((node.host(), node.port())),
    )
    .await?;
    let tcp = tcp.map_err(ObserveError::Connect)?;
    // Small requests should not wait for company; a refusal of the option is no reason not to look.
    let _ = tcp.set_nodelay(true);

    let connector = TlsConnector::from(tls::observing_client_config()?);
    let handshake = connector.connect(node.server_name(), tcp);
    let stream = limit("the tls handshake", patience.handshake, handshake)
        .await?
        .map_err(ObserveError::Tls)?;
    let seen = Seen {
        spki: peer_key(&stream)?,
        exporter: exporter(&stream)?,
        nonce,
    };

    let fetch = async {
        let mut connection = Connection::over(stream, node).await?;
        let body = connection.evidence(nonce).await?;
        Ok((connection, body))
    };
    let (connection, body) = limit("the answer", patience.answer, fetch).await??;
    let evidence = Evidence::from_json(&body).map_err(ObserveError::Evidence)?;
    Ok(Observed {
        evidence,
        seen,
        connection,
    })
}

/// The one connection that was observed. Requests go over it one after the other.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    authority: String,
    driver: Driver,
}

impl Connection {
    async fn over(stream: TlsStream<TcpStream>, node: &NodeAddress) -> Result<Self, ObserveError> {
        let mut builder = http1::Builder::new();
        builder
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEADER_BYTES);
        let (sender, connection) = builder
            .handshake(TokioIo::new(stream))
            .await
            .map_err(ObserveError::Http)?;
        let driver = Driver(tokio::spawn(async move {
            // How the connection ended is told to whoever waits for an answer on it.
            let _ = connection.await;
        }));
        Ok(Self {
            sender,
            authority: node.authority().to_owned(),
            driver,
        })
    }

    /// Sends a request for a path on the node; `Host` is set here. The answer's body is not limited: the caller limits it.
    ///
    /// # Errors
    /// [`ObserveError::Http`] when the connection ended, or the path is not one.
    pub async fn send(
        &mut self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, ObserveError> {
        let host = self.authority.parse().map_err(|_| ObserveError::Request)?;
        request.headers_mut().insert(HOST, host);
        self.sender.ready().await.map_err(ObserveError::Http)?;
        self.sender
            .send_request(request)
            .await
            .map_err(ObserveError::Http)
    }

    /// Whether the peer or the network has ended it.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed() || self.driver.0.is_finished()
    }

    async fn evidence(&mut self, nonce: Option<Nonce>) -> Result<Bytes, ObserveError> {
        let path = match nonce {
            Some(nonce) => format!("{WELL_KNOWN_PATH}?nonce={nonce}"),
            None => WELL_KNOWN_PATH.to_owned(),
        };
        let request = Request::get(path)
            .header(ACCEPT, "application/json")
            .body(Full::default());
        let answer = self
            .send(request.map_err(|_| ObserveError::Request)?)
            .await?;
        if answer.status() != StatusCode::OK {
            return Err(ObserveError::Status {
                found: answer.status(),
            });
        }
        match Limited::new(answer.into_body(), MAX_EVIDENCE_JSON_BYTES)
            .collect()
            .await
        {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => {
                Err(ObserveError::Evidence(EvidenceError::TooLong {
                    what: "evidence",
                    limit: MAX_EVIDENCE_JSON_BYTES,
                }))
            }
            Err(error) => Err(error
                .downcast()
                .map_or(ObserveError::Request, |error| ObserveError::Http(*error))),
        }
    }
}

/// The task that moves a connection's bytes; it ends with the connection.
#[derive(Debug)]
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn peer_key(stream: &TlsStream<TcpStream>) -> Result<Spki, ObserveError> {
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let leaf = certificates.first().ok_or(ObserveError::Key)?;
    Spki::of_certificate(leaf).map_err(|_| ObserveError::Key)
}

fn exporter(stream: &TlsStream<TcpStream>) -> Result<Exporter, ObserveError> {
    let exporter = stream
        .get_ref()
        .1
        .export_keying_material([0; 32], EXPORTER_LABEL, Some(&[]));
    exporter
        .map(Exporter::new)
        .map_err(|error| ObserveError::Tls(std::io::Error::other(error)))
}

async fn limit<T>(
    what: &'static str,
    time: Duration,
    future: impl Future<Output = T>,
) -> Result<T, ObserveError> {
    tokio::time::timeout(time, future)
        .await
        .map_err(|_| ObserveError::TooSlow { what })
}

/// Why no evidence was obtained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObserveError {
    /// No TCP connection.
    #[error("cannot connect")]
    Connect(#[source] std::io::Error),
    /// No TLS 1.3 connection, or a handshake signature that is not by the key shown.
    #[error("no tls 1.3 connection")]
    Tls(#[source] std::io::Error),
    /// No TLS configuration on our side.
    #[error("tls cannot be set up")]
    Setup(#[source] rustls::Error),
    /// A certificate whose key cannot be read.
    #[error("the peer's certificate has no key that can be read")]
    Key,
    /// Longer than [`Patience`] has.
    #[error("{what} takes too long")]
    TooSlow {
        /// What was waited for.
        what: &'static str,
    },
    /// The connection ended or spoke something else than HTTP.
    #[error("the peer does not speak http as promised")]
    Http(#[source] hyper::Error),
    /// A request that cannot be written.
    #[error("the request cannot be sent")]
    Request,
    /// Another answer than 200.
    #[error("the peer answered {found} instead of evidence")]
    Status {
        /// The status.
        found: StatusCode,
    },
    /// The answer is not evidence.
    #[error("the peer's evidence cannot be read")]
    Evidence(#[source] EvidenceError),
}
