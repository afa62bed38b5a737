//! A connection, and for whom it is taken: one account does not hold all that there are, from however many addresses it comes, nor
//! does one address behind the operator's proxy.
//!
//! Guarantees: a connection counts for a caller as long as one of his requests is under way on it, once however many there are; so
//! an answer that is told for hours counts all that time, and a connection that rests for nobody ([`super::addresses`] counts it).

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::api::reply::ReplyBody;
use crate::config::Limits;
use crate::fair_share::{FairShare, Place, Standing};
use crate::store::StoreError;
use crate::throttle::{CallerKey, Proxy};

/// How much of all connections one account may hold, where the operator says nothing.
const SHARE: usize = 2;

/// The connections of a server, by those who have requests on them.
pub(crate) struct Lines {
    accounts: FairShare<CallerKey>,
    /// Only behind a proxy: else the connections themselves are counted by address.
    addresses: Option<FairShare<CallerKey>>,
}

/// One connection.
pub(crate) struct Line {
    peer: IpAddr,
    /// Those who have requests under way on it: no more than there are streams, and mostly one.
    held: Mutex<Vec<(CallerKey, Weak<Place<CallerKey>>)>>,
    /// Requests under way, whoever asks.
    requests: Arc<AtomicUsize>,
    /// Whether anything was ever asked on it.
    was_asked: AtomicBool,
}

/// The caller has requests on as many connections as he may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooManyLines;

/// A caller's part in a connection.
pub(crate) type Hold = Option<Arc<Place<CallerKey>>>;

/// A request under way, until its answer is told or given up.
pub(crate) struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lines {
    pub(crate) fn new(limits: &Limits, proxy: &Proxy) -> Self {
        let share = limits.connections.div_ceil(SHARE);
        let of_account = limits.connections_per_account.unwrap_or(share);
        let of_address = limits.of_one_address();
        let crowd = |of_one: usize| FairShare::new(u64::MAX, of_one as u64);
        Self {
            accounts: crowd(of_account),
            addresses: (*proxy != Proxy::None).then(|| crowd(of_address)),
        }
    }

    fn of(&self, line: &Line, caller: &CallerKey, proxy: &Proxy) -> Option<&FairShare<CallerKey>> {
        match caller {
            CallerKey::Account(_) => Some(&self.accounts),
            CallerKey::Address(_) if proxy.trusts(line.peer) => self.addresses.as_ref(),
            CallerKey::Address(_) => None,
        }
    }

    /// A caller's part in a connection, to be kept until his request is answered.
    pub(crate) fn enter(
        &self,
        line: &Line,
        caller: &CallerKey,
        proxy: &Proxy,
    ) -> Result<Hold, TooManyLines> {
        let Some(share) = self.of(line, caller, proxy) else {
            return Ok(None);
        };
        let mut held = line.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|(_, place)| place.strong_count() > 0);
        let own = held.iter().find(|(one, _)| one == caller);
        if let Some(place) = own.and_then(|(_, place)| place.upgrade()) {
            return Ok(Some(place));
        }
        let place = Arc::new(share.enter(caller.clone(), 1).ok_or(TooManyLines)?);
        // Thousands of connections have one caller each.
        held.reserve_exact(1);
        held.push((caller.clone(), Arc::downgrade(&place)));
        Ok(Some(place))
    }
}

impl Line {
    pub(crate) fn new(peer: IpAddr) -> Self {
        Self {
            peer,
            held: Mutex::default(),
            requests: Arc::default(),
            was_asked: AtomicBool::new(false),
        }
    }

    /// A request has come.
    pub(crate) fn begin(&self) -> UnderWay {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.was_asked.store(true, Ordering::Relaxed);
        UnderWay(Arc::clone(&self.requests))
    }

    /// Whether nothing is under way on it: it rests, or a request is not whole yet.
    pub(super) fn is_idle(&self) -> bool {
        self.requests.load(Ordering::Relaxed) == 0
    }

    /// Whether it rests after a request: another may come, or none.
    pub(super) fn is_resting(&self) -> bool {
        self.is_idle() && self.was_asked.load(Ordering::Relaxed)
    }

    /// Of the accounts whose requests are under way on it, the one that has requests on the fewest connections.
    pub(super) fn held_by(&self) -> Option<Standing> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let accounts = held.iter().filter_map(|(caller, place)| match caller {
            CallerKey::Account(_) => place.upgrade(),
            CallerKey::Address(_) => None,
        });
        accounts
            .map(|place| place.standing())
            .min_by_key(|standing| standing.own)
    }

    /// Where it comes from.
    pub(crate) fn peer(&self) -> IpAddr {
        self.peer
    }
}

/// An answer's body that keeps its connection taken until it is told.
pub(crate) struct Holding {
    body: ReplyBody,
    _held: (UnderWay, Hold),
}

impl Holding {
    pub(crate) fn new(body: ReplyBody, held: (UnderWay, Hold)) -> Self {
        Self { body, _held: held }
    }
}

impl Body for Holding {
    type Data = Bytes;
    type Error = StoreError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StoreError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str) -> CallerKey {
        CallerKey::Account(name.into())
    }

    fn line(peer: &str) -> Line {
        Line::new(peer.parse().unwrap())
    }

    #[test]
    fn an_account_has_its_share_of_connections_from_wherever_it_comes() {
        let limits = Limits {
            connections: 4,
            ..Limits::default()
        };
        let lines = Lines::new(&limits, &Proxy::None);
        let places: Vec<Line> = (1..5).map(|n| line(&format!("192.0.2.{n}"))).collect();
        let enter = |at: usize, name: &str| lines.enter(&places[at], &account(name), &Proxy::None);
        let first = enter(0, "a").unwrap();
        // Many requests on one connection are one.
        let again = enter(0, "a").unwrap();
        let _second = enter(1, "a").unwrap();
        assert!(enter(2, "a").is_err());
        assert!(enter(2, "b").is_ok() && enter(0, "b").is_ok());
        drop(first);
        assert!(enter(2, "a").is_err());
        drop(again);
        assert!(enter(2, "a").is_ok());
    }

    #[test]
    fn behind_a_proxy_an_address_has_its_share_and_else_its_connections_are_counted() {
        let limits = Limits {
            connections: 8,
            ..Limits::default()
        };
        let (proxy, inside) = (Proxy::At(vec!["10.0.0.1".parse().unwrap()]), "10.0.0.1");
        let lines = Lines::new(&limits, &proxy);
        let stranger = CallerKey::Address("192.0.2.1".parse().unwrap());
        let places: Vec<Line> = (0..3).map(|_| line(inside)).collect();
        let enter = |line: &Line| lines.enter(line, &stranger, &proxy);
        let _taken = [enter(&places[0]).unwrap(), enter(&places[1]).unwrap()];
        assert!(enter(&places[2]).is_err());
        assert!(matches!(enter(&line("192.0.2.1")), Ok(None)));
    }
}
