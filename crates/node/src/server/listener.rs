//! Where a node listens: TCP, or the vsock of an enclave. What is accepted is a stream of bytes, and no address of a peer
//! comes out of here.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;

use adyton_vsock::lingering::{LINGER, Lingering};
use adyton_vsock::paced::Paced;
use adyton_vsock::socket::{VsockListener, Wire};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::either::Either;

/// An address to listen on. Written `127.0.0.1:8443` or `vsock:8443`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// Of this machine.
    Tcp(SocketAddr),
    /// A port of this enclave, which its host alone can reach.
    Vsock(u32),
}

/// The text is no address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an address to listen on is written as 127.0.0.1:8443 or vsock:8443")]
pub struct InvalidListenAddress;

impl FromStr for ListenAddress {
    type Err = InvalidListenAddress;

    fn from_str(text: &str) -> Result<Self, InvalidListenAddress> {
        match text.strip_prefix("vsock:") {
            Some(port) => {
                let port = port.parse().map_err(|_| InvalidListenAddress)?;
                match port {
                    // Any port: the host would not know which.
                    0 | u32::MAX => Err(InvalidListenAddress),
                    port => Ok(Self::Vsock(port)),
                }
            }
            None => Ok(Self::Tcp(text.parse().map_err(|_| InvalidListenAddress)?)),
        }
    }
}

impl ListenAddress {
    /// The address, if it is one of TCP.
    #[must_use]
    pub fn tcp(self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(address),
            Self::Vsock(_) => None,
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Vsock(port) => write!(f, "vsock:{port}"),
        }
    }
}

/// A bound address.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// Vsock.
    Vsock {
        /// The socket.
        listener: VsockListener,
        /// Its port.
        port: u32,
    },
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl Listener {
    /// Binds an address.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn bind(address: ListenAddress) -> io::Result<Self> {
        Ok(match address {
            ListenAddress::Tcp(address) => Self::Tcp(TcpListener::bind(address).await?),
            ListenAddress::Vsock(port) => Self::Vsock {
                listener: VsockListener::bind(port)?,
                port,
            },
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> io::Result<ListenAddress> {
        Ok(match self {
            Self::Tcp(listener) => ListenAddress::Tcp(listener.local_addr()?),
            Self::Vsock { port, .. } => ListenAddress::Vsock(*port),
        })
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (tcp, _) = listener.accept().await?;
                // Small answers should not wait for company; a refusal of the option is no reason not to serve.
                let _ = tcp.set_nodelay(true);
                Accepted::Left(tcp)
            }
            Self::Vsock { listener, .. } => {
                let (vsock, _) = listener.accept().await?;
                Accepted::Right(Lingering::new(Paced::new(vsock), LINGER))
            }
        })
    }
}

/// A connection, however it came. One of vsock is paced, and ended by the host first: see [`adyton_vsock::lingering`].
pub(super) type Accepted = Either<TcpStream, Lingering<Wire>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_of_tcp_or_of_vsock() {
        for text in ["127.0.0.1:0", "[::]:443", "vsock:8443"] {
            let address: ListenAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
        for text in [
            "",
            "8443",
            "localhost:1",
            "vsock:",
            "vsock:0",
            "vsock:4294967295",
            "vsock:x",
        ] {
            assert_eq!(
                text.parse::<ListenAddress>(),
                Err(InvalidListenAddress),
                "{text}"
            );
        }
    }
}
