//! The enclave's side: how it reaches its host.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::cid::HostCid;
use crate::paced::Paced;
use crate::socket::{self, Wire};
use crate::stream::CONNECT_TIMEOUT;

/// An enclave's host. Clones share what they learn about it.
#[derive(Clone, Debug)]
pub enum Host {
    /// The real one.
    Vsock(Arc<HostCid>),
    /// Whoever listens on `PATH_<port>`: for enclaves that are played by a process, in tests.
    Unix(PathBuf),
}

impl Host {
    /// The real one, wherever it is.
    #[must_use]
    pub fn vsock() -> Self {
        Self::Vsock(Arc::new(HostCid::unknown()))
    }

    /// Connects to one of its ports.
    ///
    /// # Errors
    /// When nobody answers there; in time in any case.
    pub async fn connect(&self, port: u32) -> io::Result<Wire> {
        match self {
            Self::Vsock(host) => {
                let mut last = io::ErrorKind::AddrNotAvailable.into();
                for cid in host.candidates() {
                    match within(CONNECT_TIMEOUT, socket::connect(cid, port)).await {
                        Ok(socket) => {
                            host.learn(cid);
                            return Ok(Paced::new(socket));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
            Self::Unix(path) => {
                let path = port_path(path, port);
                let socket = within(CONNECT_TIMEOUT, UnixStream::connect(path)).await?;
                Ok(Paced::new(socket))
            }
        }
    }
}

/// The socket that stands for a port of the host: `PATH_<port>`.
pub(crate) fn port_path(path: &Path, port: u32) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(format!("_{port}"));
    path.into()
}

async fn within<T>(limit: Duration, done: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(limit, done)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
