//! Connections of one address: a stranger cannot hold all that there are.

use std::net::IpAddr;

use crate::config::Limits;
use crate::fair_share::{FairShare, Place};
use crate::throttle::{Proxy, network_of};

/// Counts connections by address. Those from the operator's proxy are counted by what comes over them ([`super::line`]).
pub(super) struct Addresses {
    share: FairShare<IpAddr>,
    counted: Counted,
    proxy: Proxy,
}

/// Whose connections are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counted {
    Everybodys,
    /// Not those from this machine: there, an operator's proxy may stand for many.
    Strangers,
}

/// The address has as many as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMany;

impl Addresses {
    pub(super) fn new(limits: &Limits, proxy: Proxy) -> Self {
        let counted = match limits.connections_per_address {
            Some(_) => Counted::Everybodys,
            None => Counted::Strangers,
        };
        Self {
            share: FairShare::new(u64::MAX, limits.of_one_address() as u64),
            counted,
            proxy,
        }
    }

    /// A place for a connection, kept until it ends; none where it is not counted.
    pub(super) fn enter(&self, peer: IpAddr) -> Result<Option<Place<IpAddr>>, TooMany> {
        let network = network_of(peer);
        match self.counted {
            _ if self.proxy.trusts(peer) => Ok(None),
            Counted::Strangers if peer.to_canonical().is_loopback() => Ok(None),
            Counted::Strangers | Counted::Everybodys => {
                self.share.enter(network, 1).map(Some).ok_or(TooMany)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entered(limits: &Limits, proxy: Proxy, peer: &str) -> usize {
        let addresses = Addresses::new(limits, proxy);
        let peer = peer.parse().unwrap();
        let places = (0..20).map_while(|_| addresses.enter(peer).ok());
        places.collect::<Vec<_>>().len()
    }

    #[test]
    fn a_stranger_has_a_quarter_and_this_machine_and_a_proxy_what_they_need() {
        let mut limits = Limits {
            connections: 8,
            ..Limits::default()
        };
        assert_eq!(entered(&limits, Proxy::None, "9.9.9.9"), 2);
        assert_eq!(entered(&limits, Proxy::None, "2001:db8::1"), 2);
        assert_eq!(entered(&limits, Proxy::None, "127.0.0.1"), 20);
        assert_eq!(entered(&limits, Proxy::None, "::1"), 20);
        assert_eq!(entered(&limits, Proxy::Trusted, "10.0.0.1"), 20);
        let at = || Proxy::At(vec!["10.0.0.1".parse().unwrap()]);
        assert_eq!(entered(&limits, at(), "10.0.0.1"), 20);
        assert_eq!(entered(&limits, at(), "10.0.0.2"), 2);
        limits.connections_per_address = Some(3);
        assert_eq!(entered(&limits, Proxy::None, "9.9.9.9"), 3);
        assert_eq!(entered(&limits, Proxy::None, "127.0.0.1"), 3);
    }
}
