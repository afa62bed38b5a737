//! The host's side: how it reaches its enclave, and how it waits for it.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tokio::net::UnixListener;

use crate::guest::port_path;
use crate::hybrid;
use crate::paced::Paced;
use crate::socket::{self, VsockListener, Wire};

/// Where the enclave is. Written `vsock:16` (its CID) or `unix:/path` (of an emulator).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enclave {
    /// A real one.
    Vsock {
        /// Its number.
        cid: u32,
    },
    /// An emulated one.
    Hybrid {
        /// The emulator's socket; the host's ports are `PATH_<port>` beside it.
        path: PathBuf,
    },
}

/// The text names no enclave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an enclave is written as vsock:16 (a number of 4 or more) or unix:/path")]
pub struct InvalidEnclave;

impl FromStr for Enclave {
    type Err = InvalidEnclave;

    fn from_str(text: &str) -> Result<Self, InvalidEnclave> {
        if let Some(cid) = text.strip_prefix("vsock:") {
            let cid = cid.parse().map_err(|_| InvalidEnclave)?;
            // 0 to 3 are hypervisor, loopback and hosts; the largest means any.
            return match cid {
                0..=3 | u32::MAX => Err(InvalidEnclave),
                cid => Ok(Self::Vsock { cid }),
            };
        }
        let path = text.strip_prefix("unix:").ok_or(InvalidEnclave)?;
        match path.starts_with('/') {
            true => Ok(Self::Hybrid { path: path.into() }),
            false => Err(InvalidEnclave),
        }
    }
}

impl Enclave {
    /// Connects to one of its ports. Without a limit on time: the caller sets one.
    ///
    /// # Errors
    /// When it is not there or does not listen.
    pub async fn connect(&self, port: u32) -> io::Result<Wire> {
        Ok(Paced::new(match self {
            Self::Vsock { cid } => socket::connect(*cid, port).await?,
            Self::Hybrid { path } => hybrid::connect(path, port).await?,
        }))
    }

    /// Waits for it on one of the host's ports. A socket that a dead process left behind is removed; one on which somebody
    /// listens is not.
    ///
    /// # Errors
    /// When the port is taken, or the socket cannot be made.
    pub fn listen(&self, port: u32) -> io::Result<Listener> {
        match self {
            Self::Vsock { cid } => Ok(Listener::Vsock {
                listener: VsockListener::bind(port)?,
                from: *cid,
            }),
            Self::Hybrid { path } => {
                let path = port_path(path, port);
                clear(&path)?;
                Ok(Listener::Hybrid(UnixListener::bind(path)?))
            }
        }
    }
}

/// Removes a socket on which nobody listens any more, and nothing else.
fn clear(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(what) if !what.file_type().is_socket() => Err(io::ErrorKind::AlreadyExists.into()),
        Ok(_) if UnixStream::connect(path).is_ok() => Err(io::ErrorKind::AddrInUse.into()),
        Ok(_) => fs::remove_file(path),
    }
}

impl fmt::Display for Enclave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vsock { cid } => write!(f, "vsock:{cid}"),
            Self::Hybrid { path } => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Waits for an enclave's connections.
#[derive(Debug)]
pub enum Listener {
    /// On a real vsock.
    Vsock {
        /// Hears everybody on this machine.
        listener: VsockListener,
        /// The only one who is served.
        from: u32,
    },
    /// Beside the emulator's socket.
    Hybrid(UnixListener),
}

impl Listener {
    /// The enclave's next connection. Others' are closed.
    ///
    /// # Errors
    /// When the system does not give one.
    pub async fn accept(&self) -> io::Result<Wire> {
        match self {
            Self::Vsock { listener, from } => loop {
                let (socket, cid) = listener.accept().await?;
                if cid == *from {
                    return Ok(Paced::new(socket));
                }
            },
            Self::Hybrid(listener) => {
                let (socket, _) = listener.accept().await?;
                Ok(Paced::new(socket))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_enclave_is_a_number_or_a_path() {
        assert_eq!("vsock:16".parse(), Ok(Enclave::Vsock { cid: 16 }));
        assert_eq!(
            "unix:/run/vm".parse(),
            Ok(Enclave::Hybrid {
                path: "/run/vm".into()
            })
        );
        for text in [
            "",
            "16",
            "vsock:",
            "vsock:3",
            "vsock:4294967295",
            "vsock:x",
            "unix:relative",
            "tcp:1",
        ] {
            assert_eq!(text.parse::<Enclave>(), Err(InvalidEnclave), "{text}");
        }
    }
}
