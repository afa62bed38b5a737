//! What holds for every address.
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use adyton_egress::public_address::is_public;
use adyton_egress::{Denied, Reach};
use proptest::prelude::*;
use url::Url;

/// What the standard library calls special, and what stands in no range of ours by itself.
fn is_special(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_documentation()
                || ip.is_multicast()
                || ip.is_broadcast()
                || ip.is_unspecified()
        }
        IpAddr::V6(ip) => {
            ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_unique_local()
                || ip.is_unicast_link_local()
                || ip.to_ipv4().is_some()
        }
    }
}

/// The ways to write an IPv4 address as an IPv6 one that some network may undo: mapped, compatible (RFC 4291), NAT64 (RFC 6052),
/// 6to4 (RFC 3056), Teredo (RFC 4380, inverted).
fn in_other_clothes(ip: Ipv4Addr) -> [Ipv6Addr; 5] {
    let bits = u128::from(ip.to_bits());
    let prefix = |first: u128, second: u128| (first << 112) | (second << 96);
    [
        ip.to_ipv6_mapped(),
        Ipv6Addr::from_bits(bits),
        Ipv6Addr::from_bits(prefix(0x64, 0xff9b) | bits),
        Ipv6Addr::from_bits((0x2002 << 112) | (bits << 80)),
        Ipv6Addr::from_bits(prefix(0x2001, 0) | (bits ^ 0xffff_ffff)),
    ]
}

fn addresses() -> impl Strategy<Value = IpAddr> {
    // A short prefix first: a random address is hardly ever a special one.
    let v4 = (0_u32..256, any::<u32>()).prop_map(|(a, rest)| (a << 24) | (rest >> 8));
    let near = prop_oneof![
        Just(0xa9fe_0000_u32),
        Just(0xac10_0000),
        Just(0xc000_0000),
        Just(0xc0a8_0000),
        Just(0xc633_6400),
        Just(0xcb00_7100),
        Just(0x6440_0000),
    ];
    let near = (near, any::<u16>()).prop_map(|(net, rest)| net | u32::from(rest));
    let v6 =
        (any::<u16>(), any::<u128>()).prop_map(|(a, rest)| (u128::from(a) << 112) | (rest >> 16));
    prop_oneof![
        v4.prop_map(|bits| Ipv4Addr::from_bits(bits).into()),
        near.prop_map(|bits| Ipv4Addr::from_bits(bits).into()),
        v6.prop_map(|bits| Ipv6Addr::from_bits(bits).into()),
        any::<u128>().prop_map(|bits| Ipv6Addr::from_bits(bits).into()),
    ]
}

fn url_of(ip: IpAddr) -> Url {
    let text = match ip {
        IpAddr::V4(ip) => format!("https://{ip}/"),
        IpAddr::V6(ip) => format!("https://[{ip}]/"),
    };
    Url::parse(&text).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn no_special_address_is_contacted_in_whatever_clothes(ip in addresses()) {
        let public = is_public(ip);
        prop_assert!(!(public && is_special(ip)), "{ip}");
        if let IpAddr::V4(v4) = ip {
            for dressed in in_other_clothes(v4) {
                prop_assert!(!is_public(dressed.into()), "{dressed}");
            }
        }
        // A URL and a name that lead to an address are judged as the address itself.
        let url = url_of(ip);
        prop_assert_eq!(Reach::Public.check(&url), if public { Ok(&url) } else { Err(Denied) });
        prop_assert_eq!(Reach::Public.allows_address_of("a.example", ip), public);
        prop_assert_eq!(Reach::AlsoThisMachine.allows_address_of("a.example", ip), public);
        // This machine is all that the widest reach adds.
        prop_assert_eq!(Reach::AlsoThisMachine.check(&url).is_ok(), public || ip.is_loopback());
        prop_assert_eq!(Reach::AlsoThisMachine.allows_address(ip), public || ip.is_loopback());
    }
}
