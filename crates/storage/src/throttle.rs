//! How often one caller may ask: an identity by its account, everybody else by their address.
//!
//! Guarantees: whoever asks too much is told when to come again, and costs nobody else their turn; what is remembered is bounded.
//! Refuses to know: what is asked.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use http::header::{HeaderMap, HeaderName};

/// Callers that are remembered at one time.
const MAX_CALLERS: usize = 65_536;
/// Milliseconds in which a caller's whole allowance comes back.
const SPAN_MS: u64 = 60_000;

/// Who asks, as far as counting goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum CallerKey {
    /// The account behind a valid token. One name for all that is counted of a request.
    Account(Arc<str>),
    /// A network address; of IPv6, the part that its owner cannot choose.
    Address(IpAddr),
}

/// Requests a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Of one account.
    pub account: u32,
    /// Of one address, without a valid token.
    pub address: u32,
    /// Of one caller, by token or address, that make the node ask others: for the document of a DID that it does not remember, or
    /// for the key of another node.
    pub resolutions: u32,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            account: 300_000,
            address: 60_000,
            resolutions: 1_200,
        }
    }
}

/// Too many requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many requests")]
pub(crate) struct TooMany {
    /// Seconds until there is room for one.
    pub(crate) seconds: u64,
}

/// Counts every caller's requests: an allowance that flows back steadily.
pub(crate) struct Throttle {
    rates: Rates,
    spent: Mutex<HashMap<CallerKey, Spent>>,
}

/// Milliseconds of the span that are used up, and when that was so.
#[derive(Clone, Copy)]
struct Spent {
    millis: f64,
    at: u64,
}

impl Spent {
    fn at(self, now: u64) -> f64 {
        #[expect(
            clippy::cast_precision_loss,
            reason = "milliseconds of one minute count"
        )]
        let passed = now.saturating_sub(self.at) as f64;
        (self.millis - passed).max(0.0)
    }
}

impl Throttle {
    pub(crate) fn new(rates: Rates) -> Self {
        Self {
            rates,
            spent: Mutex::default(),
        }
    }

    /// Takes one request from a caller's allowance.
    pub(crate) fn take(&self, caller: CallerKey, now: u64) -> Result<(), TooMany> {
        #[expect(clippy::cast_precision_loss, reason = "one minute in milliseconds")]
        let span = SPAN_MS as f64;
        let rate = match caller {
            CallerKey::Account(_) => self.rates.account,
            CallerKey::Address(_) => self.rates.address,
        };
        let cost = span / f64::from(rate.max(1));
        let mut all = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_CALLERS && !all.contains_key(&caller) {
            make_room(&mut all, now);
        }
        let known = all.get_mut(&caller);
        let spent = known.as_ref().map_or(0.0, |spent| spent.at(now));
        // A hair beyond the span: sums of fractions are not exact.
        if spent + cost > span + 1e-6 {
            if let Some(known) = known {
                // The clock may have been set back: from now on its time counts.
                known.at = known.at.min(now);
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between 1 and 60"
            )]
            let seconds = ((spent + cost - span) / 1_000.0).ceil().max(1.0) as u64;
            return Err(TooMany { seconds });
        }
        let millis = spent + cost;
        all.insert(caller, Spent { millis, at: now });
        Ok(())
    }
}

/// Forgets those who have their whole allowance again; and if there are too few of those, every second one: a flood of
/// addresses may win requests, and never room.
fn make_room(all: &mut HashMap<CallerKey, Spent>, now: u64) {
    all.retain(|_, spent| spent.at(now) > 0.0);
    if all.len() >= MAX_CALLERS {
        let mut odd = false;
        all.retain(|_, _| {
            odd = !odd;
            odd
        });
    }
}

/// Who a proxy says that it speaks for, last.
const FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Where connections come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Proxy {
    /// From clients: the connection's address is theirs.
    #[default]
    None,
    /// All from the operator's own proxy, which writes the client's address last into `X-Forwarded-For`.
    Trusted,
    /// The same, from these addresses; from others, clients.
    At(Vec<IpAddr>),
}

impl Proxy {
    /// Whether a connection from there is the proxy's.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        match self {
            Self::None => false,
            Self::Trusted => true,
            Self::At(addresses) => {
                let known = addresses.iter().map(IpAddr::to_canonical);
                known.into_iter().any(|known| known == peer.to_canonical())
            }
        }
    }

    /// The address that a request is counted for.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let forwarded = || {
            let last = headers.get_all(FORWARDED).iter().next_back()?;
            last.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
        };
        let address = match self.trusts(peer) {
            false => peer,
            true => forwarded().unwrap_or(peer),
        };
        network_of(address)
    }
}

/// An IPv6 customer has at least a /64 of addresses: they count as one.
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & (u128::MAX << 64)).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: Rates = Rates {
        account: 120,
        address: 60,
        resolutions: 10,
    };

    fn address(text: &str) -> CallerKey {
        CallerKey::Address(network_of(text.parse().unwrap()))
    }

    #[test]
    fn an_allowance_is_used_up_and_flows_back() {
        let throttle = Throttle::new(RATES);
        let now = 1_000_000;
        for _ in 0..60 {
            assert_eq!(throttle.take(address("10.0.0.1"), now), Ok(()));
        }
        assert_eq!(
            throttle.take(address("10.0.0.1"), now),
            Err(TooMany { seconds: 1 })
        );
        assert_eq!(throttle.take(address("10.0.0.2"), now), Ok(()));
        for _ in 0..120 {
            assert_eq!(throttle.take(CallerKey::Account("v".into()), now), Ok(()));
        }
        assert!(throttle.take(CallerKey::Account("v".into()), now).is_err());
        assert_eq!(throttle.take(address("10.0.0.1"), now + 1_000), Ok(()));
        assert!(throttle.take(address("10.0.0.1"), now + 1_000).is_err());
        // A clock that was set back gives nothing, and takes nothing for ever: its own time counts from then on.
        let hour = 3_600_000;
        let ahead = now + hour;
        for _ in 0..60 {
            assert_eq!(throttle.take(address("10.0.0.3"), ahead), Ok(()));
        }
        assert!(throttle.take(address("10.0.0.3"), now).is_err());
        for _ in 0..60 {
            assert_eq!(throttle.take(address("10.0.0.3"), now + 60_000), Ok(()));
        }
        assert!(throttle.take(address("10.0.0.3"), now + 60_000).is_err());
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_are_one_caller() {
        assert_eq!(address("2001:db8:1:2::1"), address("2001:db8:1:2:ffff::9"));
        assert_ne!(address("2001:db8:1:2::1"), address("2001:db8:1:3::1"));
        assert_eq!(address("::ffff:10.0.0.1"), address("10.0.0.1"));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let throttle = Throttle::new(RATES);
        for n in 0..u32::try_from(MAX_CALLERS * 2).unwrap() {
            let caller = CallerKey::Address(IpAddr::V4(n.into()));
            assert_eq!(throttle.take(caller, 7), Ok(()));
        }
        assert!(throttle.spent.lock().unwrap().len() <= MAX_CALLERS);
    }

    #[test]
    fn only_the_operators_own_proxy_is_believed_and_only_its_last_word() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "1.2.3.4, 5.6.7.8".parse().unwrap());
        let peer: IpAddr = "10.0.0.1".parse().unwrap();
        assert_eq!(Proxy::None.client(peer, &headers), peer);
        let named: IpAddr = "5.6.7.8".parse().unwrap();
        assert_eq!(Proxy::Trusted.client(peer, &headers), named);
        let at = |address: &str| Proxy::At(vec![address.parse().unwrap()]);
        assert_eq!(at("10.0.0.1").client(peer, &headers), named);
        assert_eq!(at("::ffff:10.0.0.1").client(peer, &headers), named);
        assert_eq!(at("10.0.0.2").client(peer, &headers), peer);
        // Whatever a client writes there.
        bolero::check!().for_each(|bytes: &[u8]| {
            if let Ok(value) = bytes.try_into() {
                let headers: HeaderMap = [(FORWARDED, value)].into_iter().collect();
                let _client = Proxy::Trusted.client(peer, &headers);
                assert_eq!(Proxy::None.client(peer, &headers), peer);
            }
        });
        headers.insert("x-forwarded-for", "unknown".parse().unwrap());
        assert_eq!(Proxy::Trusted.client(peer, &headers), peer);
    }
}
