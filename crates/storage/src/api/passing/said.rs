//! What CouchDB said to a request that went on, as far as it is told.
//!
//! Guarantees: a redirection is not told, it would lead around every check; a fault of CouchDB's (5xx, whose words name its insides) is
//! [`StoreError::Away`]; and so is that it does not take this node's tokens: to a client that would look like the end of its own.

use bytes::Bytes;
use http::{Response, StatusCode, response};
use http_body::Frame;
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::Incoming;
use serde::Deserialize;

use super::ANSWER_TIME;
use crate::fair_share::Place;
use crate::store::StoreError;
use crate::throttle::CallerKey;

/// Bytes of a refusal that is looked into.
const MAX_REFUSAL_BYTES: usize = 64 << 10;
/// What CouchDB says of a token that it does not take, or when it takes none.
const OF_TOKENS: [&str; 16] = [
    "Authentication required.",
    "Bad HMAC",
    "Bad signature",
    "Invalid alg header parameter",
    "Invalid iat claim",
    "Invalid iss claim",
    "Invalid typ header parameter",
    "Malformed token",
    "Missing exp claim",
    "Missing iat claim",
    "Missing iss claim",
    "Missing kid claim",
    "Missing nbf claim",
    "Token missing sub claim.",
    "Unknown kid",
    "exp not in future",
];

/// An answer, while it comes.
pub(super) struct Said {
    pub(super) head: response::Parts,
    body: Either<Incoming, Full<Bytes>>,
    /// Kept as long as CouchDB is busy with it.
    _way: Place<CallerKey>,
}

impl Said {
    pub(super) async fn of(
        response: Response<Incoming>,
        way: Place<CallerKey>,
    ) -> Result<Self, StoreError> {
        let status = response.status();
        if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
            return Err(StoreError::Strange(status.as_u16()));
        }
        if status.is_server_error() {
            return Err(StoreError::Away);
        }
        let (head, body) = response.into_parts();
        let body = match status {
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED => {
                let text = read(body, MAX_REFUSAL_BYTES).await?;
                if is_of_tokens(&text) {
                    tracing::error!("the CouchDB does not take this node's tokens");
                    return Err(StoreError::Away);
                }
                Either::Right(Full::new(text))
            }
            _ => Either::Left(body),
        };
        Ok(Self {
            head,
            body,
            _way: way,
        })
    }

    /// The next piece of the body; none at its end.
    pub(super) async fn piece(&mut self) -> Option<Result<Frame<Bytes>, StoreError>> {
        let piece = self.body.frame().await?;
        Some(piece.map_err(|_| StoreError::Away))
    }

    /// The whole body.
    pub(super) async fn read(self, most: usize) -> Result<Bytes, StoreError> {
        match self.body {
            Either::Left(body) => read(body, most).await,
            Either::Right(text) => read(text, most).await,
        }
    }
}

async fn read<B>(body: B, most: usize) -> Result<Bytes, StoreError>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let read = Limited::new(body, most).collect();
    let body = tokio::time::timeout(ANSWER_TIME, read)
        .await
        .map_err(|_| StoreError::Away)?
        .map_err(|_| StoreError::Away)?;
    Ok(body.to_bytes())
}

/// Whether a refusal is one of the token, and not of what was asked.
fn is_of_tokens(text: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Refusal {
        reason: String,
    }
    serde_json::from_slice(text)
        .is_ok_and(|refusal: Refusal| OF_TOKENS.contains(&refusal.reason.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_the_token_is_told_from_one_of_the_request() {
        for text in [
            r#"{"error":"bad_request","reason":"Bad HMAC"}"#,
            r#"{"error":"unauthorized","reason":"exp not in future"}"#,
            r#"{"error":"unauthorized","reason":"Authentication required."}"#,
        ] {
            assert!(is_of_tokens(text.as_bytes()), "{text}");
        }
        for text in [
            r#"{"error":"unauthorized","reason":"User is not permitted to write to database"}"#,
            r#"{"error":"bad_request","reason":"invalid UTF-8 JSON"}"#,
            "",
            "[]",
        ] {
            assert!(!is_of_tokens(text.as_bytes()), "{text}");
        }
    }
}
