//! The network, as a parameter.
//!
//! Guarantees nothing by itself: who implements [`Web`] applies the rules for addresses that strangers chose (only public
//! ones), follows no redirect, and stops reading at the limit.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use url::Url;

/// Something that is awaited.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One request.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Where.
    pub url: Url,
    /// A JSON body, sent with POST. Without: GET.
    pub body: Option<Bytes>,
    /// Most bytes of the answer that are read.
    pub limit: usize,
    /// Longest time for all of it.
    pub time: Duration,
}

/// One answer, read to its end.
#[derive(Debug, Clone)]
pub struct Said {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

/// There is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WebError {
    /// This address may not be contacted.
    #[error("the address may not be contacted")]
    Denied,
    /// No connection, or it broke.
    #[error("the server cannot be reached")]
    Unreachable,
    /// Not in time.
    #[error("the server did not answer in time")]
    Timeout,
    /// Longer than [`Ask::limit`].
    #[error("the answer is too large")]
    TooLarge,
}

/// Sends requests.
pub trait Web: Send + Sync {
    /// Sends one and reads its answer.
    fn ask(&self, ask: Ask) -> Pending<'_, Result<Said, WebError>>;
}

/// Longest URL that is followed, in bytes.
pub const MAX_URL_BYTES: usize = 2048;

/// A URL that a stranger wrote, if it can be one of a document or a service: http or https, a host, no credentials.
pub fn plain_url(text: &str) -> Option<Url> {
    if text.len() > MAX_URL_BYTES {
        return None;
    }
    let url = Url::parse(text).ok()?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.host().is_some()
        && url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none();
    plain.then_some(url)
}
