//! Which servers may be contacted.
//!
//! Sessions, DID documents and registries name URLs that strangers wrote, so the answer is never "any". What the URL itself
//! tells is looked at before a request ([`Reach::check`]), what its name leads to when a connection is made
//! ([`Reach::allows_address_of`]).

use std::net::IpAddr;
use std::sync::Arc;

use url::{Host, Origin, Url};

use crate::public_address::is_public;

/// Which servers may be contacted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Reach {
    /// HTTPS to public addresses.
    #[default]
    Public,
    /// Also these servers on this machine (scheme, host and port, and nothing else here), with or without TLS.
    AlsoThese(Arc<[Origin]>),
    /// Also everything on this machine, with or without TLS: one machine's sandbox, and tests.
    AlsoThisMachine,
    /// Also this server, by TLS, wherever its name leads, and nothing else of its host: one of the operator's own network.
    AlsoServer(Origin),
}

/// This server may not be contacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this address may not be contacted: only https to public addresses is allowed")]
pub struct Denied;

impl Reach {
    /// Also those of these servers that are on this machine.
    pub fn also<'a>(servers: impl IntoIterator<Item = &'a Url>) -> Self {
        let local = servers.into_iter().filter(|url| is_local(url));
        Self::AlsoThese(local.map(Url::origin).collect())
    }

    /// These, and those of these servers that are on this machine.
    #[must_use]
    pub fn and_also(self, servers: &[Url]) -> Self {
        match (self, Self::also(servers)) {
            (Self::AlsoThese(known), Self::AlsoThese(more)) => {
                Self::AlsoThese(known.iter().chain(more.iter()).cloned().collect())
            }
            (Self::Public, more) => more,
            (wider, _) => wider,
        }
    }

    /// Checks what the URL itself tells; names are looked at again when they are resolved.
    pub fn check<'u>(&self, url: &'u Url) -> Result<&'u Url, Denied> {
        let named = match self {
            Self::Public => false,
            Self::AlsoThese(origins) => origins.contains(&url.origin()),
            Self::AlsoThisMachine => is_local(url) && matches!(url.scheme(), "http" | "https"),
            Self::AlsoServer(origin) => *origin == url.origin() && url.scheme() == "https",
        };
        let other_port = matches!(self, Self::AlsoServer(origin) if is_host_of(origin, url));
        let public = match url.host() {
            Some(Host::Ipv4(ip)) => is_public(IpAddr::V4(ip)),
            Some(Host::Ipv6(ip)) => is_public(IpAddr::V6(ip)),
            // A name that leads to this machine leads there for the servers that were named only.
            Some(Host::Domain(name)) => !is_local_name(name),
            None => false,
        };
        match named || (public && !other_port && url.scheme() == "https") {
            true => Ok(url),
            false => Err(Denied),
        }
    }

    /// Whether a connection to a server of this name may go to this address: to this machine only if the name itself says so,
    /// not because a stranger's does.
    #[must_use]
    pub fn allows_address_of(&self, name: &str, ip: IpAddr) -> bool {
        let also = match self {
            Self::Public => false,
            Self::AlsoThese(_) | Self::AlsoThisMachine => ip.is_loopback() && is_local_name(name),
            // Which of its ports, the URL has told already.
            Self::AlsoServer(Origin::Tuple(_, Host::Domain(host), _)) => {
                host.eq_ignore_ascii_case(name)
            }
            Self::AlsoServer(_) => false,
        };
        is_public(ip) || also
    }

    /// Whether a connection may go to this address, where no name led to it.
    #[must_use]
    pub fn allows_address(&self, ip: IpAddr) -> bool {
        is_public(ip) || (self.has_plain_servers() && ip.is_loopback())
    }

    /// Whether there is any server without TLS: those of this machine.
    pub(crate) fn has_plain_servers(&self) -> bool {
        match self {
            Self::Public | Self::AlsoServer(_) => false,
            Self::AlsoThese(_) | Self::AlsoThisMachine => true,
        }
    }
}

/// Whether a URL is of this server's host, on whatever port.
fn is_host_of(origin: &Origin, url: &Url) -> bool {
    match origin {
        Origin::Tuple(_, host, _) => url.host().is_some_and(|of| of.to_owned() == *host),
        Origin::Opaque(_) => false,
    }
}

/// Whether a URL says itself that it is of this machine.
#[must_use]
pub fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => is_local_name(name),
        None => false,
    }
}

/// This machine's names for itself: `localhost`, and all names below it (RFC 6761, section 6.3).
#[must_use]
pub fn is_local_name(name: &str) -> bool {
    let bare = name.strip_suffix('.').unwrap_or(name);
    let last = bare.rsplit('.').next().unwrap_or_default();
    last.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    fn allowed(reach: &Reach, text: &str) -> bool {
        reach.check(&Url::parse(text).unwrap()).is_ok()
    }

    #[test]
    fn only_https_to_public_addresses_is_contacted_unless_this_machine_is_allowed() {
        for text in [
            "https://node1.example/",
            "https://8.8.8.8:5000",
            "https://[2606:4700::1111]/",
        ] {
            assert!(allowed(&Reach::Public, text), "{text}");
            assert!(allowed(&Reach::AlsoThisMachine, text), "{text}");
        }
        for text in [
            "http://node1.example/",
            "http://8.8.8.8/",
            "http://10.0.0.1/",
            "https://10.0.0.1",
            "https://192.168.1.1",
            "https://169.254.169.254/latest/meta-data",
            "https://[fd00::1]/",
            "https://0.0.0.0/",
            "https://100.64.0.1/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:8.8.8.8]/",
            "https://[64:ff9b::7f00:1]/",
            "https://[2002:7f00:1::]/",
            "ftp://node1.example/",
            "data:text/plain,a",
        ] {
            assert!(!allowed(&Reach::Public, text), "{text}");
            assert!(!allowed(&Reach::AlsoThisMachine, text), "{text}");
        }
        for text in [
            "https://127.0.0.1/",
            "http://127.0.0.1:8545/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://[::1]/",
            "https://localhost/",
            "http://LOCALHOST./",
            "https://a.localhost/",
        ] {
            assert!(!allowed(&Reach::Public, text), "{text}");
            assert!(allowed(&Reach::AlsoThisMachine, text), "{text}");
        }
        assert!(!allowed(&Reach::AlsoThisMachine, "ftp://127.0.0.1/"));
    }

    #[test]
    fn of_this_machine_only_the_servers_that_were_named_are_contacted() {
        let named = [
            Url::parse("http://127.0.0.1:8545/rpc").unwrap(),
            Url::parse("https://localhost:7000/").unwrap(),
            Url::parse("https://a.example/").unwrap(),
            Url::parse("http://b.example/").unwrap(),
        ];
        let reach = Reach::also(&named);
        for text in [
            "http://127.0.0.1:8545/",
            "https://localhost:7000/x",
            "https://a.example/",
        ] {
            assert!(allowed(&reach, text), "{text}");
        }
        for text in [
            "http://127.0.0.1/",
            "http://127.0.0.1:5984/",
            "http://127.0.0.2:8545/",
            "https://127.0.0.1:8545/",
            "https://localhost/",
            "https://localhost:7001/",
            "http://localhost:8545/",
            "https://a.localhost:7000/",
            "http://[::1]:8545/",
            "http://b.example/",
            "https://10.0.0.1/",
        ] {
            assert!(!allowed(&reach, text), "{text}");
        }
    }

    #[test]
    fn a_server_that_is_named_is_contacted_wherever_it_is_and_nothing_else_of_its_host() {
        let server = |text: &str| Reach::AlsoServer(Url::parse(text).unwrap().origin());
        let reach = server("https://ca.internal:9000/acme/directory");
        for text in ["https://ca.internal:9000/a", "https://node.example/"] {
            assert!(allowed(&reach, text), "{text}");
        }
        for text in [
            "http://ca.internal:9000/",
            "https://ca.internal/",
            "https://ca.internal:9001/",
            "https://10.0.0.1:9000/",
            "https://localhost:9000/",
        ] {
            assert!(!allowed(&reach, text), "{text}");
        }
        let private = IpAddr::from([10, 0, 0, 1]);
        assert!(reach.allows_address_of("ca.internal", private));
        assert!(!reach.allows_address_of("other.internal", private));
        assert!(!reach.allows_address(private));
        let by_number = server("https://10.0.0.1/");
        assert!(allowed(&by_number, "https://10.0.0.1/x"));
        assert!(!allowed(&by_number, "https://10.0.0.2/x"));
        assert!(!allowed(&by_number, "https://10.0.0.1:444/x"));
        assert!(!allowed(
            &server("http://ca.internal/"),
            "http://ca.internal/"
        ));
    }

    #[test]
    fn servers_of_this_machine_are_added_to_those_that_are_known() {
        let url = |text: &str| Url::parse(text).unwrap();
        let (one, two) = (url("http://127.0.0.1:1/"), url("http://127.0.0.1:2/"));
        let both = Reach::also([&one]).and_also(from_ref(&two));
        assert!(both.check(&one).is_ok() && both.check(&two).is_ok());
        let two_alone = Reach::Public.and_also(from_ref(&two));
        assert!(two_alone.check(&one).is_err() && two_alone.check(&two).is_ok());
        assert_eq!(
            Reach::AlsoThisMachine.and_also(&[two]),
            Reach::AlsoThisMachine
        );
    }

    #[test]
    fn no_name_but_this_machines_own_leads_to_it() {
        let (loopback, private) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([10, 0, 0, 1]));
        for reach in [Reach::also(&[]), Reach::AlsoThisMachine] {
            for name in ["localhost", "a.localhost", "localhost."] {
                assert!(reach.allows_address_of(name, loopback), "{name}");
                assert!(!reach.allows_address_of(name, private), "{name}");
                assert!(!Reach::Public.allows_address_of(name, loopback), "{name}");
            }
            // Somebody's name that leads here.
            for name in ["a.example", "localhost.example", "notlocalhost", ""] {
                assert!(!reach.allows_address_of(name, loopback), "{name}");
                assert!(reach.allows_address_of(name, IpAddr::from([8, 8, 8, 8])));
            }
            assert!(reach.allows_address(loopback) && !reach.allows_address(private));
        }
        assert!(!Reach::Public.allows_address(loopback));
    }
}
