//! Where a node is: an `https` address and nothing more.
//!
//! Guarantees: host, port and server name are usable; no credentials, no path, no query that would be silently dropped.

use std::fmt;
use std::str::FromStr;

use rustls::pki_types::ServerName;
use url::{Host, Url};

/// A node's address: `https://host[:port]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    host: String,
    port: u16,
    authority: String,
    server_name: ServerName<'static>,
}

impl NodeAddress {
    /// Host name, or IP address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, 443 unless the address says otherwise.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host[:port]` as it stands in the address.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The name for TLS.
    #[must_use]
    pub fn server_name(&self) -> ServerName<'static> {
        self.server_name.clone()
    }
}

impl FromStr for NodeAddress {
    type Err = NodeAddressError;

    fn from_str(text: &str) -> Result<Self, NodeAddressError> {
        let url = Url::parse(text).map_err(|_| NodeAddressError::NotAnAddress)?;
        if url.scheme() != "https" {
            return Err(NodeAddressError::NotHttps);
        }
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if !bare || !url.username().is_empty() || url.password().is_some() {
            return Err(NodeAddressError::More);
        }
        let host = match url.host().ok_or(NodeAddressError::NotAnAddress)? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let server_name =
            ServerName::try_from(host.clone()).map_err(|_| NodeAddressError::NotAnAddress)?;
        Ok(Self {
            host,
            port: url.port().unwrap_or(443),
            authority: url.authority().to_owned(),
            server_name,
        })
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority)
    }
}

/// Why text is not a node's address. The fault is the caller's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeAddressError {
    /// Not a URL with a host.
    #[error("not an address; write https://host or https://host:port")]
    NotAnAddress,
    /// Another scheme.
    #[error("not an https address; write https://host or https://host:port")]
    NotHttps,
    /// Path, query, fragment or credentials.
    #[error("an address with more than host and port; write https://host or https://host:port")]
    More,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_in_its_parts() {
        for (text, host, port, authority) in [
            ("https://node.example", "node.example", 443, "node.example"),
            (
                "https://node.example:443/",
                "node.example",
                443,
                "node.example",
            ),
            (
                "https://127.0.0.1:8443",
                "127.0.0.1",
                8443,
                "127.0.0.1:8443",
            ),
            ("HTTPS://[::1]:8443", "::1", 8443, "[::1]:8443"),
        ] {
            let address: NodeAddress = text.parse().unwrap();
            assert_eq!(
                (address.host(), address.port(), address.authority()),
                (host, port, authority)
            );
            assert_eq!(address.to_string().parse(), Ok(address));
        }
    }

    #[test]
    fn anything_more_or_less_than_an_address_is_refused() {
        let refused = |text: &str| text.parse::<NodeAddress>().unwrap_err();
        for text in ["", "node.example", "https://", "https:///", "https://a b"] {
            assert_eq!(refused(text), NodeAddressError::NotAnAddress, "{text}");
        }
        for text in ["http://node.example", "wss://node.example"] {
            assert_eq!(refused(text), NodeAddressError::NotHttps, "{text}");
        }
        for text in [
            "https://u@h",
            "https://:p@h",
            "https://h/path",
            "https://h?key=secret",
            "https://h/#f",
            "https://h//",
        ] {
            assert_eq!(refused(text), NodeAddressError::More, "{text}");
        }
    }
}
