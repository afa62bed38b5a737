//! Makes the connections of [`crate::transport`]: by this machine, or through the enclave's host.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use adyton_egress::names::{self, GuardedNames, denied};
use adyton_vsock::socket::Wire;
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower::Service;

use super::Route;
use super::doh::DohResolver;
use super::host_wire::{HostWire, literal, target};
use crate::endpoint::Reach;

/// Most addresses of a name that are tried.
const MAX_TRIES: usize = 3;

/// Makes connections on one of the routes.
#[derive(Clone)]
pub(crate) enum Dialer {
    Direct(HttpConnector<GuardedNames>),
    ThroughHost(HostDialer),
}

impl Dialer {
    /// `tls` is for the resolvers; what the connections carry is not this module's business.
    pub(crate) fn new(route: Route, reach: Reach, limit: Duration, tls: ClientConfig) -> Self {
        match route {
            Route::Direct => Self::Direct(names::tcp(reach, limit)),
            Route::ThroughHost(route) => {
                let wire = HostWire::new(route.host, reach.clone(), limit);
                Self::ThroughHost(HostDialer {
                    resolver: DohResolver::new(wire.clone(), route.resolvers, tls),
                    wire,
                    reach,
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
    reach: Reach,
}

impl HostDialer {
    async fn connect(&self, uri: &Uri) -> io::Result<Wire> {
        let (host, port) = target(uri).ok_or(io::ErrorKind::InvalidInput)?;
        let addresses: Arc<[IpAddr]> = match literal(host) {
            Some(ip) => return self.wire.connect(SocketAddr::new(ip, port)).await,
            // The host's own machine; refused below unless it may be contacted.
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
            .filter(|ip| self.reach.allows_address_of(host, **ip));
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
