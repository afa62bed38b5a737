//! Addresses of storage nodes, and which of them may be contacted.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use adyton_protocol::context_config::normalise_url;
use adyton_vsock::public_address::is_public;
use url::{Host, Url};

/// The base URL of a server: scheme, host and port, ends in `/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    url: String,
    host: Host<String>,
    https: bool,
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
        Ok(Self {
            https: parsed.scheme() == "https",
            url,
            host,
        })
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

/// Which servers may be contacted. Sessions and DID documents name URLs that strangers chose, so the
/// answer is never "any".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EgressPolicy {
    /// HTTPS to public addresses only.
    PublicHttps,
    /// Also plain HTTP to this machine: one machine's sandbox, and tests.
    AlsoLoopback,
}

/// The policy does not allow this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this address may not be contacted: only https to public addresses is allowed")]
pub struct EgressDenied;

impl EgressPolicy {
    /// Checks what the URL itself tells. Names are checked again when they are resolved, by
    /// [`EgressPolicy::allows_address`].
    pub fn check(self, endpoint: &Endpoint) -> Result<&Endpoint, EgressDenied> {
        let literal = match &endpoint.host {
            Host::Ipv4(ip) => Some(IpAddr::V4(*ip)),
            Host::Ipv6(ip) => Some(IpAddr::V6(*ip)),
            Host::Domain(_) => None,
        };
        let address_allowed = literal.is_none_or(|ip| self.allows_address(ip));
        let local = literal.is_some_and(|ip| ip.is_loopback())
            || matches!(&endpoint.host, Host::Domain(name) if name == "localhost");
        let scheme_allowed = endpoint.https || (self == Self::AlsoLoopback && local);
        if address_allowed && scheme_allowed {
            Ok(endpoint)
        } else {
            Err(EgressDenied)
        }
    }

    /// May a connection go to this address?
    pub fn allows_address(self, ip: IpAddr) -> bool {
        is_public(ip) || (self == Self::AlsoLoopback && ip.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(policy: EgressPolicy, url: &str) -> bool {
        policy.check(&url.parse().unwrap()).is_ok()
    }

    #[test]
    fn only_https_to_public_addresses_is_allowed_by_default() {
        for url in [
            "https://node1.example/",
            "https://8.8.8.8:5000",
            "https://[2606:4700::1111]/",
        ] {
            assert!(allowed(EgressPolicy::PublicHttps, url), "{url}");
        }
        for url in [
            "http://node1.example/",
            "https://127.0.0.1/",
            "https://10.0.0.1",
            "https://192.168.1.1",
            "https://169.254.169.254/latest",
            "https://[::1]/",
            "https://[fd00::1]/",
            "https://0.0.0.0/",
            "https://100.64.0.1/",
            "https://[::ffff:127.0.0.1]/",
            "https://[64:ff9b::7f00:1]/",
            "https://2130706433/",
            "https://[2002:7f00:1::]/",
        ] {
            assert!(!allowed(EgressPolicy::PublicHttps, url), "{url}");
        }
    }

    #[test]
    fn the_sandbox_may_talk_to_its_own_machine_and_to_no_other_private_one() {
        assert!(allowed(
            EgressPolicy::AlsoLoopback,
            "http://127.0.0.1:5000/"
        ));
        assert!(allowed(
            EgressPolicy::AlsoLoopback,
            "http://localhost:5000/"
        ));
        assert!(!allowed(EgressPolicy::AlsoLoopback, "http://10.0.0.1/"));
        assert!(!allowed(EgressPolicy::AlsoLoopback, "http://example.org/"));
    }
}
