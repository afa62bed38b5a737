//! The node's own origin: its issuer identifier (RFC 8414), the audience of consent, and what its resource is called (RFC 8707).

use std::fmt;

use url::Url;

use crate::metadata::path;

/// `https://` host and port, without a path and without a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin(String);

/// The text is not an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an origin is https:// with a host and perhaps a port, and nothing else")]
pub struct InvalidOrigin;

impl Origin {
    /// Longest text, in bytes.
    pub const MAX_LENGTH: usize = 300;

    /// Reads an origin, which must be spelled as browsers spell it.
    pub fn parse(text: &str) -> Result<Self, InvalidOrigin> {
        if text.len() > Self::MAX_LENGTH {
            return Err(InvalidOrigin);
        }
        let url = Url::parse(text).map_err(|_| InvalidOrigin)?;
        if url.scheme() != "https" || url.origin().ascii_serialization() != text {
            return Err(InvalidOrigin);
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The URL of a path that begins with `/`.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// Whether a `resource` parameter (RFC 8707) names this node: its origin, with or without the slash that the URL syntax adds, or
    /// its API. Both are one resource; the metadata of each is published (RFC 9728 section 3.1).
    pub fn is_resource(&self, text: &str) -> bool {
        matches!(text.strip_prefix(&self.0), Some("" | "/" | path::API))
    }

    /// Whether a URL is the one of this path, syntax normalised, query and fragment aside (RFC 9449 section 4.3).
    pub fn is_target(&self, path: &str, claimed: &str) -> bool {
        let normal = |text: &str| {
            let mut url = Url::parse(text).ok()?;
            url.set_query(None);
            url.set_fragment(None);
            Some(url)
        };
        claimed.len() <= 8 * 1024
            && normal(claimed).is_some_and(|claimed| normal(&self.at(path)) == Some(claimed))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
