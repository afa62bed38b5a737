//! Connections that the host makes: it is told an address, and passes bytes.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use adyton_egress::names::denied;
use adyton_vsock::egress::{Answer, HEAD_END, MAX_HEAD, parse_answer, request};
use adyton_vsock::guest::Host;
use adyton_vsock::port;
use adyton_vsock::socket::Wire;
use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tower::Service;

use super::dialer::Dialed;
use crate::endpoint::Reach;

/// Most connections that are being made at a time; more wait.
const MAX_ATTEMPTS: usize = 64;

/// Asks the host for connections. Clones share the limit.
#[derive(Clone, Debug)]
pub(super) struct HostWire {
    host: Host,
    reach: Reach,
    limit: Duration,
    attempts: Arc<Semaphore>,
}

impl HostWire {
    pub(super) fn new(host: Host, reach: Reach, limit: Duration) -> Self {
        Self {
            host,
            reach,
            limit,
            attempts: Arc::new(Semaphore::new(MAX_ATTEMPTS)),
        }
    }

    /// A connection to an address that may be contacted.
    pub(super) async fn connect(&self, to: SocketAddr) -> io::Result<Wire> {
        if !self.reach.allows_address(to.ip()) {
            return Err(denied());
        }
        let asked = async {
            // Never closed.
            let _permit = self.attempts.acquire().await.map_err(io::Error::other)?;
            let mut wire = self.host.connect(port::EGRESS).await?;
            wire.write_all(request(to).as_bytes()).await?;
            match answer(&mut wire).await? {
                Answer::Connected => Ok(wire),
                Answer::Malformed | Answer::Forbidden => {
                    Err(io::ErrorKind::PermissionDenied.into())
                }
                Answer::Unreachable => Err(io::ErrorKind::ConnectionRefused.into()),
                Answer::Busy => Err(io::ErrorKind::ResourceBusy.into()),
            }
        };
        timeout(self.limit, asked)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Reads the host's answer and not one byte more: what follows is the server's.
async fn answer(wire: &mut Wire) -> io::Result<Answer> {
    let mut head = Vec::with_capacity(MAX_HEAD);
    while !head.ends_with(HEAD_END) {
        if head.len() == MAX_HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
        head.push(wire.read_u8().await?);
    }
    parse_answer(&head).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// The host and the port of a URL.
pub(super) fn target(uri: &Uri) -> Option<(&str, u16)> {
    let port = uri.port_u16().or_else(|| match uri.scheme_str() {
        Some("https") => Some(443),
        Some("http") => Some(80),
        _ => None,
    })?;
    Some((uri.host()?, port))
}

/// An address that stands in a URL.
pub(super) fn literal(host: &str) -> Option<IpAddr> {
    let inner = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    inner.unwrap_or(host).parse().ok()
}

/// For URLs with addresses: resolvers.
impl Service<Uri> for HostWire {
    type Response = TokioIo<Dialed>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let wire = self.clone();
        Box::pin(async move {
            let (host, port) = target(&uri).ok_or(io::ErrorKind::InvalidInput)?;
            let ip = literal(host).ok_or(io::ErrorKind::InvalidInput)?;
            let wire = wire.connect(SocketAddr::new(ip, port)).await?;
            Ok(TokioIo::new(Dialed::Host(wire)))
        })
    }
}
