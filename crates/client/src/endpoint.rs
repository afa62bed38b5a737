//! Addresses of storage nodes.

use std::fmt;
use std::str::FromStr;

pub use adyton_egress::{Denied, Reach};
use adyton_protocol::context_config::normalise_url;
use url::{Host, Url};

/// The base URL of a server: scheme, host and port, ends in `/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    url: String,
    host: Host<String>,
    parsed: Url,
}

/// The text is not the base URL of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an http or https URL")]
pub struct InvalidEndpoint;

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    /// Path, query and credentials are cut off.
    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let url = normalise_url(text).ok_or(InvalidEndpoint)?;
        let parsed = Url::parse(&url).map_err(|_| InvalidEndpoint)?;
        let host = parsed.host().ok_or(InvalidEndpoint)?.to_owned();
        Ok(Self { url, host, parsed })
    }
}

impl Endpoint {
    /// The URL, ends in `/`.
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// The URL of a path below this endpoint. `path` has no leading `/`.
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// This endpoint, if it may be contacted as far as its URL tells.
    pub fn within(&self, reach: &Reach) -> Result<&Self, Denied> {
        reach.check(&self.parsed).map(|_| self)
    }

    /// The host without port: what the protocol compares endpoints by.
    pub fn host(&self) -> &Host<String> {
        &self.host
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_judged_as_its_url() {
        let within = |reach: &Reach, text: &str| {
            let endpoint: Endpoint = text.parse().unwrap();
            endpoint.within(reach).is_ok()
        };
        // Path, query and credentials are cut off before; the port is always written.
        for text in ["https://node1.example/a?b", "https://u:p@8.8.8.8"] {
            assert!(within(&Reach::Public, text), "{text}");
        }
        for text in ["https://10.0.0.1", "http://node1.example/", "https://[::1]"] {
            assert!(!within(&Reach::Public, text), "{text}");
        }
        assert!(within(&Reach::AlsoThisMachine, "http://127.0.0.1:5000/"));
        assert!(!within(&Reach::AlsoThisMachine, "http://10.0.0.1/"));
    }
}
