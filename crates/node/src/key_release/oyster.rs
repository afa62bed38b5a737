//! Marlin Oyster's derive service: `GET /derive?path=…` on the loopback interface, 64 bytes back.
//!
//! Guarantees: only the loopback interface is ever asked, once, for at most so long. The service talks to Marlin's key
//! server, which checks the evidence of this enclave and derives by its image. Refuses to know that protocol.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::HOST;
use http_body_util::Full;
use tokio::net::TcpStream;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{KeyRelease, KeyReleaseError, Release, ReleasedSecret};
use crate::local_http;

/// How long the service may take. At the start of an enclave it first has to reach its server.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longest path of a secret.
const MAX_PATH_BYTES: usize = 64;

/// The derive service of an Oyster enclave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OysterDerive {
    address: SocketAddr,
    patience: Duration,
}

impl OysterDerive {
    /// Takes `http://127.0.0.1:1100`, or another port there. Nothing else: what is not on this machine would have to be
    /// reached over TLS and be known by a key.
    ///
    /// # Errors
    /// [`NotLoopback`].
    pub fn at(url: &str) -> Result<Self, NotLoopback> {
        let address = url.strip_prefix("http://").ok_or(NotLoopback)?;
        let address: SocketAddr = address.parse().map_err(|_| NotLoopback)?;
        if !address.ip().is_loopback() || address.port() == 0 {
            return Err(NotLoopback);
        }
        Ok(Self {
            address,
            patience: PATIENCE,
        })
    }

    /// The same with another patience.
    #[must_use]
    pub fn within(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    async fn derive(&self, path: &str) -> Result<ReleasedSecret, KeyReleaseError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if !(1..=MAX_PATH_BYTES).contains(&path.len()) || !path.bytes().all(plain) {
            return Err(KeyReleaseError::Path);
        }
        let request = Request::builder()
            .uri(format!("/derive?path={path}"))
            .header(HOST, self.address.to_string())
            .body(Full::new(Bytes::new()))
            .map_err(|_| KeyReleaseError::Path)?;
        let stream = timeout(self.patience, TcpStream::connect(self.address)).await;
        let stream = stream
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
            .map_err(KeyReleaseError::Unreachable)?;
        // One byte more than a secret has, so that a longer one is told from it. What is freed is wiped by the allocator.
        let body = local_http::ask(stream, request, 65, self.patience).await?;
        let mut secret = Zeroizing::new([0; 64]);
        if body.len() != secret.len() {
            return Err(KeyReleaseError::Length { found: body.len() });
        }
        secret.copy_from_slice(&body);
        Ok(ReleasedSecret::new(secret))
    }
}

impl KeyRelease for OysterDerive {
    fn release<'a>(&'a self, path: &'a str) -> Release<'a> {
        Box::pin(self.derive(path))
    }
}

/// The address is not one of this machine's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key service must be at http://127.0.0.1:<port> or http://[::1]:<port>")]
pub struct NotLoopback;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_asked() {
        for good in [
            "http://127.0.0.1:1100",
            "http://[::1]:1100",
            "http://127.0.0.2:1",
        ] {
            assert!(OysterDerive::at(good).is_ok(), "{good}");
        }
        for wrong in [
            "",
            "127.0.0.1:1100",
            "https://127.0.0.1:1100",
            "http://127.0.0.1",
            "http://127.0.0.1:0",
            "http://127.0.0.1:1100/",
            "http://localhost:1100",
            "http://10.0.0.1:1100",
            "http://0.0.0.0:1100",
            "http://169.254.169.254:80",
            "http://user@127.0.0.1:1100",
        ] {
            assert_eq!(OysterDerive::at(wrong), Err(NotLoopback), "{wrong}");
        }
    }
}
