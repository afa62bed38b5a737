//! Which addresses belong to the open Internet.
//!
//! Guarantees: no address of IANA's special-purpose registries is public, also where a registry calls a range globally
//! reachable (anycast of AS112, relays): no server of a person stands there. An IPv4 address inside an IPv6 one is not public,
//! whatever it is by itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether a server of the open Internet can have this address.
#[must_use]
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !SPECIAL_V4
            .iter()
            .any(|(network, bits)| (network.to_bits() ^ ip.to_bits()).leading_zeros() >= *bits),
        IpAddr::V6(ip) => {
            let within = |(network, bits): &(Ipv6Addr, u32)| {
                (network.to_bits() ^ ip.to_bits()).leading_zeros() >= *bits
            };
            within(&GLOBAL_UNICAST) && !SPECIAL_WITHIN_GLOBAL_UNICAST.iter().any(within)
        }
    }
}

/// IANA IPv4 Special-Purpose Address Registry (RFC 6890), and multicast. Ranges that lie within another of the registry are
/// not repeated.
pub const SPECIAL_V4: &[(Ipv4Addr, u32)] = &[
    // "This network": RFC 791.
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    // Private: RFC 1918.
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    // Shared, behind a carrier's NAT: RFC 6598.
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    // Loopback: RFC 1122.
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Link-local, where clouds keep their metadata: RFC 3927.
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    // IETF protocol assignments: RFC 6890.
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    // Documentation: RFC 5737.
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // AS112: RFC 7535, RFC 7534.
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    (Ipv4Addr::new(192, 175, 48, 0), 24),
    // Relays: AMT, RFC 7450; 6to4, RFC 7526.
    (Ipv4Addr::new(192, 52, 193, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    // Benchmarking: RFC 2544.
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    // Multicast: RFC 5771.
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    // Reserved, and limited broadcast: RFC 1112, RFC 8190.
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// All that IANA has given out for unicast (RFC 4291, section 2.4). Outside of it lie loopback, IPv4 in IPv6 (mapped,
/// compatible, NAT64), discard-only, segment routing, unique-local, link-local and multicast.
const GLOBAL_UNICAST: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// IANA IPv6 Special-Purpose Address Registry (RFC 6890), as far as it lies within global unicast.
pub const SPECIAL_WITHIN_GLOBAL_UNICAST: &[(Ipv6Addr, u32)] = &[
    // IETF protocol assignments, Teredo and ORCHID among them: RFC 2928.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    // Documentation: RFC 3849, RFC 9637.
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
    // 6to4, which carries an IPv4 address: RFC 3056.
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    // AS112: RFC 7534.
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn public(ip: &str) -> bool {
        is_public(ip.parse().unwrap())
    }

    #[test]
    fn the_open_internet_is_public_and_nothing_else_is() {
        for ip in [
            "8.8.8.8",
            "100.128.0.1",
            "172.32.0.1",
            "198.20.0.1",
            "2606:4700::1111",
            "2001:200::1",
            "2620:4f:8001::1",
        ] {
            assert!(public(ip), "{ip}");
        }
        for ip in [
            "127.0.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "192.88.99.1",
            "198.51.100.7",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::8.8.8.8",
            "fe80::1",
            "fec0::1",
            "fd00:ec2::254",
            "ff02::1",
            "100::1",
            "5f00::1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::a00:1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "2001::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
        ] {
            assert!(!public(ip), "{ip}");
        }
    }

    #[test]
    fn a_range_ends_where_the_registry_says() {
        for (network, bits) in SPECIAL_V4 {
            let (first, size) = (u64::from(network.to_bits()), 1_u64 << (32 - bits));
            assert_eq!(first % size, 0, "{network}/{bits} is no network");
            for inside in [first, first + size - 1] {
                let ip = Ipv4Addr::from_bits(inside.try_into().unwrap());
                assert!(!is_public(ip.into()), "{ip}");
            }
        }
        // The neighbours of each that are in no range themselves.
        for ip in [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "191.255.255.255",
            "192.0.1.0",
            "192.0.3.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "223.255.255.255",
            "2000::",
            "2001:200::",
            "2001:db7:ffff::",
            "2001:db9::",
            "2003::",
            "3ffe::",
        ] {
            assert!(public(ip), "{ip}");
        }
    }
}
