//! Makes the connections of [`crate::transport`]: by this machine, or through the enclave's host.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use adyton_vsock::socket::Wire;
use http::Uri;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower::Service;

use super::Route;
use super::doh::DohResolver;
use super::host_wire::{HostWire, literal, target};
use crate::endpoint::{EgressDenied, EgressPolicy};

/// Most addresses of a name that are tried.
const MAX_TRIES: usize = 3;

/// Makes connections on one of the routes.
#[derive(Clone)]
pub(crate) enum Dialer {
    Direct(HttpConnector<GuardedResolver>),
    ThroughHost(HostDialer),
}

impl Dialer {
    /// `tls` is for the resolvers; what the connections carry is not this module's business.
    pub(crate) fn new(
        route: Route,
        policy: EgressPolicy,
        limit: Duration,
        tls: ClientConfig,
    ) -> Self {
        match route {
            Route::Direct => {
                let mut tcp = HttpConnector::new_with_resolver(GuardedResolver::new(policy));
                tcp.enforce_http(false);
                tcp.set_nodelay(true);
                tcp.set_connect_timeout(Some(limit));
                Self::Direct(tcp)
            }
            Route::ThroughHost(route) => {
                let wire = HostWire::new(route.host, policy, limit);
                Self::ThroughHost(HostDialer {
                    resolver: DohResolver::new(wire.clone(), route.resolvers, tls),
                    wire,
                    policy,
                })
            }
        }
    }
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<Dialed>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Direct(tcp) => tcp.poll_ready(cx).map_err(io::Error::other),
            Self::ThroughHost(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        match self {
            Self::Direct(tcp) => {
                let connecting = tcp.call(uri);
                Box::pin(async move {
                    let tcp = connecting.await.map_err(io::Error::other)?;
                    Ok(TokioIo::new(Dialed::Tcp(tcp.into_inner())))
                })
            }
            Self::ThroughHost(dialer) => {
                let dialer = dialer.clone();
                Box::pin(async move {
                    let wire = dialer.connect(&uri).await?;
                    Ok(TokioIo::new(Dialed::Host(wire)))
                })
            }
        }
    }
}

/// Resolves inside, asks the host by address.
#[derive(Clone)]
pub(crate) struct HostDialer {
    wire: HostWire,
    resolver: DohResolver,
    policy: EgressPolicy,
}

impl HostDialer {
    async fn connect(&self, uri: &Uri) -> io::Result<Wire> {
        let (host, port) = target(uri).ok_or(io::ErrorKind::InvalidInput)?;
        let addresses: Arc<[IpAddr]> = match literal(host) {
            Some(ip) => [ip].into(),
            // The host's own machine; [`HostWire`] refuses it unless the policy allows it.
            None if host.eq_ignore_ascii_case("localhost") => [Ipv4Addr::LOCALHOST.into()].into(),
            None => self
                .resolver
                .resolve(host)
                .await
                .map_err(io::Error::other)?,
        };
        let mut last = denied();
        let allowed = addresses
            .iter()
            .filter(|ip| self.policy.allows_address(**ip));
        for ip in allowed.take(MAX_TRIES) {
            match self.wire.connect(SocketAddr::new(*ip, port)).await {
                Ok(wire) => return Ok(wire),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// A connection, however it was made.
#[derive(Debug)]
pub(crate) enum Dialed {
    Tcp(TcpStream),
    Host(Wire),
}

impl Connection for Dialed {
    fn connected(&self) -> Connected {
        match self {
            Self::Tcp(tcp) => tcp.connected(),
            Self::Host(_) => Connected::new(),
        }
    }
}

impl AsyncRead for Dialed {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Host(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Dialed {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Host(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            Self::Host(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Host(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Host(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Host(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Resolves names, and drops the addresses that the policy does not allow: a public name that points
/// to a private address leads nowhere.
#[derive(Clone)]
pub(crate) struct GuardedResolver {
    system: GaiResolver,
    policy: EgressPolicy,
}

impl GuardedResolver {
    fn new(policy: EgressPolicy) -> Self {
        Self {
            system: GaiResolver::new(),
            policy,
        }
    }
}

impl Service<Name> for GuardedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.system.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (resolving, policy) = (self.system.call(name), self.policy);
        Box::pin(async move {
            let all = resolving.await?;
            let allowed: Vec<_> = all
                .filter(|address| policy.allows_address(address.ip()))
                .collect();
            if allowed.is_empty() {
                return Err(denied());
            }
            Ok(allowed.into_iter())
        })
    }
}

fn denied() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, EgressDenied)
}
