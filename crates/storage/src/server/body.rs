//! Request bodies, read under limits: bytes of one body, bytes of all bodies together (with what is made of them) and of one
//! sender's, time without progress, and time for the whole.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::{Buf, Incoming};
use tokio::time::Instant;

use crate::config::Limits;
use crate::fair_share::{FairShare, Place};
use crate::throttle::CallerKey;

/// How much of all room one sender may take, where the operator says nothing.
const SHARE: u64 = 4;
/// Bytes a second that a body must come with in the long run.
const LEAST_RATE: u64 = 16 << 10;

/// Bytes of request bodies in memory, over all connections.
#[derive(Debug, Clone)]
pub(crate) struct BodyBudget {
    callers: FairShare<CallerKey>,
    addresses: FairShare<IpAddr>,
    pace: Pace,
}

/// How fast a body must come.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// The longest wait for the next piece.
    stall: Duration,
    /// Time for a whole small body. A larger one has as much longer as it takes at the least rate.
    whole: Duration,
}

/// Whom the bytes of a body count for.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    pub(crate) caller: CallerKey,
    /// None: many may come from there.
    pub(crate) address: Option<IpAddr>,
}

/// A body that was read; it gives its bytes back to the budget when dropped.
#[derive(Debug)]
pub(crate) struct RequestBody {
    bytes: Vec<u8>,
    claim: Claim,
}

/// A share of the budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    of_caller: Place<CallerKey>,
    of_address: Option<Place<IpAddr>>,
    budget: Arc<BodyBudget>,
    sender: Sender,
}

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyRefusal {
    #[error("the request body is too large")]
    TooLarge,
    #[error("the server has too many requests in hand")]
    Overloaded,
    #[error("the request body stopped arriving")]
    Stalled,
    #[error("the request body broke off")]
    Broken,
}

impl BodyBudget {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        let all = limits.bodies_in_flight_bytes;
        // Never less than the largest request and what is made of it.
        let share = (all / SHARE).max((limits.bulk_bytes as u64).saturating_mul(2));
        let of_one = limits.bodies_in_flight_bytes_per_sender.unwrap_or(share);
        Arc::new(Self {
            callers: FairShare::new(all, of_one),
            addresses: FairShare::new(all, of_one),
            pace: Pace {
                stall: limits.stall_timeout,
                whole: limits.body_timeout,
            },
        })
    }

    /// A share of so many bytes.
    fn claim(self: &Arc<Self>, sender: &Sender, bytes: u64) -> Result<Claim, BodyRefusal> {
        let caller = self.callers.enter(sender.caller.clone(), bytes);
        let address = sender
            .address
            .map(|address| self.addresses.enter(address, bytes))
            .map(|place| place.ok_or(BodyRefusal::Overloaded));
        Ok(Claim {
            of_caller: caller.ok_or(BodyRefusal::Overloaded)?,
            of_address: address.transpose()?,
            budget: Arc::clone(self),
            sender: sender.clone(),
        })
    }

    /// Reads a whole body of at most `limit` bytes.
    pub(crate) async fn read(
        self: &Arc<Self>,
        mut incoming: Incoming,
        limit: usize,
        sender: Sender,
    ) -> Result<RequestBody, BodyRefusal> {
        let announced = incoming.size_hint().exact();
        if announced.is_some_and(|bytes| bytes > limit as u64) {
            return Err(BodyRefusal::TooLarge);
        }
        let mut body = RequestBody {
            bytes: Vec::new(),
            claim: self.claim(&sender, 0)?,
        };
        let began = Instant::now();
        loop {
            let time = self.pace.left(began.elapsed(), body.bytes.len() as u64);
            if time.is_zero() {
                return Err(BodyRefusal::Stalled);
            }
            let frame = tokio::time::timeout(time, incoming.frame())
                .await
                .map_err(|_| BodyRefusal::Stalled)?;
            let Some(frame) = frame else {
                return Ok(body);
            };
            let Ok(data) = frame.map_err(|_| BodyRefusal::Broken)?.into_data() else {
                continue;
            };
            if body.bytes.len() + data.remaining() > limit {
                return Err(BodyRefusal::TooLarge);
            }
            body.claim.grow(data.remaining() as u64)?;
            body.bytes.extend_from_slice(&data);
        }
    }
}

impl Pace {
    /// How long the next piece may take, when so many bytes came in so much time.
    fn left(self, passed: Duration, bytes: u64) -> Duration {
        let whole = self.whole + Duration::from_secs(bytes / LEAST_RATE);
        self.stall.min(whole.saturating_sub(passed))
    }
}

impl RequestBody {
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// Room for what is made of the body: its documents and, decoded, its attachments are together no longer than it is.
    pub(crate) fn claim_copy(&self) -> Result<Claim, BodyRefusal> {
        self.claim_more(self.bytes.len() as u64)
    }

    /// Further room of the same sender.
    pub(crate) fn claim_more(&self, bytes: u64) -> Result<Claim, BodyRefusal> {
        self.claim.budget.claim(&self.claim.sender, bytes)
    }

    /// The bytes, to be shared. They count against the budget until the last share is dropped.
    pub(crate) fn into_shared(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for RequestBody {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Claim {
    /// Takes more. What could not be taken is refused as a whole: the claim is to be dropped then.
    pub(crate) fn grow(&mut self, bytes: u64) -> Result<(), BodyRefusal> {
        let of_address = self.of_address.as_mut();
        let fits = self.of_caller.grow(bytes) && of_address.is_none_or(|place| place.grow(bytes));
        fits.then_some(()).ok_or(BodyRefusal::Overloaded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_a_time_for_the_whole_and_a_large_one_has_longer() {
        let pace = Pace {
            stall: Duration::from_secs(30),
            whole: Duration::from_secs(60),
        };
        let left = |passed, bytes| pace.left(Duration::from_secs(passed), bytes).as_secs();
        assert_eq!(left(0, 0), 30);
        assert_eq!(left(45, 1), 15);
        // However often a byte came.
        assert_eq!(left(60, 1_000), 0);
        assert_eq!(left(60, 10 * LEAST_RATE), 10);
        assert_eq!(left(80, 10 * LEAST_RATE), 0);
        assert_eq!(left(600, 600 * LEAST_RATE), 30);
    }

    #[test]
    fn one_sender_leaves_room_for_others_by_whatever_name_he_comes() {
        let budget = BodyBudget::new(&Limits {
            bodies_in_flight_bytes: 100,
            bodies_in_flight_bytes_per_sender: Some(40),
            ..Limits::default()
        });
        let sender = |account: &str, address: Option<&str>| Sender {
            caller: CallerKey::Account(account.to_owned()),
            address: address.map(|text| text.parse().unwrap()),
        };
        let (here, there) = (Some("192.0.2.1"), Some("192.0.2.2"));
        let first = budget.claim(&sender("a", here), 30).unwrap();
        // Neither the account from elsewhere nor another account from the same place.
        assert!(budget.claim(&sender("a", there), 11).is_err());
        assert!(budget.claim(&sender("b", here), 11).is_err());
        let mut other = budget.claim(&sender("b", there), 30).unwrap();
        assert!(other.grow(11).is_err());
        drop(other);
        let _unplaced = budget.claim(&sender("c", None), 40).unwrap();
        // All that there is has an end, too.
        assert!(budget.claim(&sender("d", None), 31).is_err());
        drop(first);
        assert!(budget.claim(&sender("d", None), 31).is_ok());
    }

    #[test]
    fn one_senders_share_is_never_less_than_the_largest_request_takes() {
        let share = |all, bulk_bytes| {
            let budget = BodyBudget::new(&Limits {
                bodies_in_flight_bytes: all,
                bulk_bytes,
                ..Limits::default()
            });
            let sender = Sender {
                caller: CallerKey::Account("a".to_owned()),
                address: None,
            };
            (1..=all)
                .rev()
                .find(|bytes| budget.claim(&sender, *bytes).is_ok())
        };
        assert_eq!(share(400, 10), Some(100));
        assert_eq!(share(400, 100), Some(200));
        assert_eq!(share(400, 1_000), Some(400));
    }
}
