//! Where an enclave may be connected to. Public addresses only; further rules are the operator's advice, since the enclave
//! has rules of its own and trusts nobody's here.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use adyton_egress::public_address::is_public;

/// Which addresses are connected to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Only these ports; none named: all.
    pub ports: Vec<u16>,
    /// Only these networks; none named: all.
    pub networks: Vec<Network>,
    /// Also this machine itself. For tests on one machine.
    pub loopback: Loopback,
}

/// Whether this machine itself may be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loopback {
    /// No.
    #[default]
    Refused,
    /// Yes, besides what the rule allows.
    Allowed,
}

impl Rule {
    /// Whether an address is connected to.
    #[must_use]
    pub fn allows(&self, to: SocketAddr) -> bool {
        let ip = to.ip().to_canonical();
        if ip.is_loopback() {
            return self.loopback == Loopback::Allowed;
        }
        is_public(to.ip())
            && (self.ports.is_empty() || self.ports.contains(&to.port()))
            && (self.networks.is_empty() || self.networks.iter().any(|net| net.contains(ip)))
    }
}

/// Addresses with the same first bits. Written `203.0.113.0/24`, or as one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

/// The text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a network is written as 203.0.113.0/24 or as an address")]
pub struct InvalidNetwork;

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| InvalidNetwork)?;
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.parse().map_err(|_| InvalidNetwork)?,
            None => whole,
        };
        if bits > whole {
            return Err(InvalidNetwork);
        }
        Ok(Self { address, bits })
    }
}

impl Network {
    fn contains(self, ip: IpAddr) -> bool {
        match (self.address, ip) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let different = net.to_bits() ^ ip.to_bits();
                different.leading_zeros() >= self.bits
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let different = net.to_bits() ^ ip.to_bits();
                different.leading_zeros() >= self.bits
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(rule: &Rule, to: &str) -> bool {
        rule.allows(to.parse().unwrap())
    }

    #[test]
    fn public_addresses_are_allowed_and_no_others() {
        let rule = Rule::default();
        assert!(allows(&rule, "8.8.8.8:5000") && allows(&rule, "[2606:4700::1111]:443"));
        for inside in [
            "127.0.0.1:80",
            "10.0.0.1:443",
            "169.254.169.254:80",
            "192.168.1.1:443",
            "[::1]:80",
            "[fe80::1]:443",
            "[fd00:ec2::254]:80",
            "[::ffff:10.0.0.1]:443",
            "[::ffff:127.0.0.1]:443",
            "0.0.0.0:80",
        ] {
            assert!(!allows(&rule, inside), "{inside}");
        }
    }

    #[test]
    fn this_machine_is_allowed_only_when_said_and_others_inside_never() {
        let rule = Rule {
            loopback: Loopback::Allowed,
            ..Rule::default()
        };
        assert!(allows(&rule, "127.0.0.1:80") && allows(&rule, "[::1]:80"));
        assert!(!allows(&rule, "10.0.0.1:80"));
    }

    #[test]
    fn advice_narrows() {
        let rule = Rule {
            ports: vec![443],
            networks: vec![
                "9.9.9.0/24".parse().unwrap(),
                "2620:fe::fe".parse().unwrap(),
            ],
            ..Rule::default()
        };
        assert!(allows(&rule, "9.9.9.9:443") && allows(&rule, "[2620:fe::fe]:443"));
        for outside in [
            "9.9.9.9:80",
            "9.9.8.9:443",
            "[2620:fe::ff]:443",
            "8.8.8.8:443",
        ] {
            assert!(!allows(&rule, outside), "{outside}");
        }
    }

    #[test]
    fn a_network_is_an_address_and_perhaps_a_number_of_bits() {
        let all: Network = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains([1, 2, 3, 4].into()) && !all.contains("::1".parse().unwrap()));
        for text in ["", "1.2.3", "1.2.3.4/33", "::/129", "1.2.3.4/", "1.2.3.4/x"] {
            assert_eq!(text.parse::<Network>(), Err(InvalidNetwork), "{text}");
        }
    }
}
