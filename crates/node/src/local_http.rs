//! One question to a service on this machine: over a unix socket, or over the loopback interface.
//!
//! Guarantees: one request on one connection, an answer of at most so many bytes within so much time, and nothing but a 200
//! is an answer. Refuses to know names, TLS, redirects: what is asked is on this machine, or it is not asked.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

/// Asks over a connection that is already there.
///
/// # Errors
/// [`LocalHttpError`] says what was no answer; never what was in it.
pub async fn ask<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    most: usize,
    patience: Duration,
) -> Result<Bytes, LocalHttpError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let whole = async {
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(LocalHttpError::Http)?;
        let exchange = async move {
            let answer = sender.send_request(request).await;
            let answer = answer.map_err(LocalHttpError::Http)?;
            if answer.status() != StatusCode::OK {
                return Err(LocalHttpError::Status(answer.status()));
            }
            match Limited::new(answer.into_body(), most).collect().await {
                Ok(body) => Ok(body.to_bytes()),
                Err(error) => Err(match error.downcast::<hyper::Error>() {
                    Ok(error) => LocalHttpError::Http(*error),
                    Err(_) => LocalHttpError::TooLong { most },
                }),
            }
        };
        // The connection ends with the exchange, which owns its sender; how it ends says nothing more.
        join(exchange, connection).await.0
    };
    timeout(patience, whole)
        .await
        .unwrap_or(Err(LocalHttpError::Silent))
}

/// Why there is no answer. The fault is the service's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalHttpError {
    /// The connection or the form of the answer.
    #[error("the exchange failed")]
    Http(#[source] hyper::Error),
    /// Another status than 200.
    #[error("the answer has the status {0}")]
    Status(StatusCode),
    /// Longer than the caller takes.
    #[error("the answer is longer than {most} bytes")]
    TooLong {
        /// The limit.
        most: usize,
    },
    /// No whole answer in time.
    #[error("no answer in time")]
    Silent,
}
