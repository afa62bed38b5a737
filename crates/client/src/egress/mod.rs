//! The way out of an enclave: names are resolved inside, connections are asked of the host by address, TLS ends inside.
//!
//! Guarantees: the host learns addresses and ciphertext lengths, no name (but the one in TLS's greeting) and no byte of
//! what is said; an address that may not be contacted is never asked for, whatever a resolver says.
//! Refuses to know: what is fetched.

mod dialer;
pub mod dns_message;
mod doh;
mod host_wire;
mod name_cache;

use std::net::IpAddr;
use std::str::FromStr;

use adyton_vsock::guest::Host;
use url::{Host as UrlHost, Url};

pub(crate) use self::dialer::Dialer;
pub use self::dns_message::DnsError;
pub use adyton_egress::tls::compiled_in_roots;

/// Most resolvers.
pub const MAX_RESOLVERS: usize = 4;

/// How connections are made.
#[derive(Debug, Clone)]
pub enum Route {
    /// By this machine itself.
    Direct,
    /// By the enclave's host, which is asked for addresses.
    ThroughHost(HostRoute),
}

/// The way through the host.
#[derive(Debug, Clone)]
pub struct HostRoute {
    /// The host.
    pub host: Host,
    /// Who resolves names, in this order.
    pub resolvers: Vec<DohServer>,
}

/// A resolver of names: DNS over HTTPS (RFC 8484), addressed by number, so that nobody has to be asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DohServer {
    url: String,
    ip: IpAddr,
}

/// The text names no resolver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a resolver is an https URL with an address for a host, as https://1.1.1.1/dns-query")]
pub struct InvalidDohServer;

impl FromStr for DohServer {
    type Err = InvalidDohServer;

    fn from_str(text: &str) -> Result<Self, InvalidDohServer> {
        let url = Url::parse(text).map_err(|_| InvalidDohServer)?;
        let ip = match url.host() {
            Some(UrlHost::Ipv4(ip)) => IpAddr::V4(ip),
            Some(UrlHost::Ipv6(ip)) => IpAddr::V6(ip),
            Some(UrlHost::Domain(_)) | None => return Err(InvalidDohServer),
        };
        let plain = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if url.scheme() != "https" || !plain {
            return Err(InvalidDohServer);
        }
        Ok(Self {
            url: url.into(),
            ip,
        })
    }
}

impl DohServer {
    /// Its URL.
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// Its address.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_is_an_https_url_of_an_address() {
        for text in [
            "https://1.1.1.1/dns-query",
            "https://[2620:fe::fe]/dns-query",
            "https://127.0.0.1:4443/dns-query",
        ] {
            assert_eq!(text.parse::<DohServer>().unwrap().as_str(), text);
        }
        for text in [
            "",
            "1.1.1.1",
            "http://1.1.1.1/dns-query",
            "https://dns.example/dns-query",
            "https://user@1.1.1.1/dns-query",
            "https://1.1.1.1/dns-query?a=b",
        ] {
            assert_eq!(text.parse::<DohServer>(), Err(InvalidDohServer), "{text}");
        }
    }
}
