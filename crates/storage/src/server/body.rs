//! Request bodies, read under limits: bytes of one body, bytes of all bodies together (with what is made of them) and of one
//! sender's, time without progress, and time for the whole.
//!
//! Guarantees: an eighth of all room is for small bodies and what is made of them, so that large ones and answers that are read slowly
//! keep nobody from logging in or writing a document; for want of room a body that is arriving gives way ([`super::arriving`]).

use std::io::Read;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::{Buf, Incoming};
use tokio::time::Instant;

use super::arriving::Arrivals;
use crate::config::Limits;
use crate::fair_share::{FairShare, Full, Place};
use crate::throttle::CallerKey;

/// How much of all room one sender may take, where the operator says nothing.
const SHARE: u64 = 4;
/// How much of all room is for small bodies.
const SMALL_SHARE: u64 = 8;
/// How long a body waits for room that others are to leave.
const ROOM_TIME: Duration = Duration::from_secs(2);
/// How soon it is looked again for room.
const LOOK: Duration = Duration::from_millis(100);
/// Bytes a second that a body must come with in the long run.
const LEAST_RATE: u64 = 16 << 10;

/// Bytes that are decoded before they are counted.
const DECODED_STEP: u64 = 64 << 10;

/// Bytes of request bodies in memory, over all connections.
#[derive(Debug, Clone)]
pub(crate) struct BodyBudget {
    callers: FairShare<CallerKey>,
    addresses: FairShare<IpAddr>,
    arrivals: Arc<Arrivals<CallerKey>>,
    room: SmallRoom,
    pace: Pace,
}

/// Room that is kept for what is small.
#[derive(Debug, Clone, Copy)]
struct SmallRoom {
    kept: u64,
    /// Bytes up to which a body, or what is made of it, is small.
    most: u64,
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
    bytes: u64,
    /// It lasts as long as its sender likes.
    lasting: bool,
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
        let share = (all / SHARE).max(limits.of_largest_request());
        let of_one = limits.bodies_in_flight_bytes_per_sender.unwrap_or(share);
        Arc::new(Self {
            callers: FairShare::new(all, of_one),
            addresses: FairShare::new(all, of_one),
            arrivals: Arrivals::new(),
            room: SmallRoom {
                kept: all / SMALL_SHARE,
                most: 2 * limits.body_bytes as u64,
            },
            pace: Pace {
                stall: limits.stall_timeout,
                whole: limits.body_timeout,
            },
        })
    }

    /// A share of so many bytes.
    fn claim(
        self: &Arc<Self>,
        sender: &Sender,
        bytes: u64,
        lasting: bool,
    ) -> Result<Claim, BodyRefusal> {
        let caller = self.callers.enter(sender.caller.clone(), 0);
        let address = sender
            .address
            .map(|address| self.addresses.enter(address, 0))
            .map(|place| place.ok_or(BodyRefusal::Overloaded));
        let mut claim = Claim {
            of_caller: caller.ok_or(BodyRefusal::Overloaded)?,
            of_address: address.transpose()?,
            bytes: 0,
            lasting,
            budget: Arc::clone(self),
            sender: sender.clone(),
        };
        claim.grow(bytes)?;
        Ok(claim)
    }

    /// Takes more for a body that is arriving. Where all have as much as all may have, others may have to leave some.
    async fn grow(&self, claim: &mut Claim, bytes: u64) -> Result<(), BodyRefusal> {
        let until = Instant::now() + ROOM_TIME;
        loop {
            let left = self.arrivals.left();
            match claim.take(bytes) {
                Ok(()) => return Ok(()),
                Err(Full::One) => return Err(BodyRefusal::Overloaded),
                Err(Full::All) => {}
            }
            let then = claim.of_caller.standing().own.saturating_add(bytes);
            let is_told = self.arrivals.tell_one(&claim.sender.caller, then);
            if !is_told || Instant::now() >= until {
                return Err(BodyRefusal::Overloaded);
            }
            let _looks_again = tokio::time::timeout(LOOK, left).await;
        }
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
            claim: self.claim(&sender, 0, false)?,
        };
        let mut arrival = self.arrivals.begin(sender.caller);
        let began = Instant::now();
        loop {
            let time = self.pace.left(began.elapsed(), body.bytes.len() as u64);
            if time.is_zero() {
                return Err(BodyRefusal::Stalled);
            }
            let frame = tokio::select! {
                biased;
                () = arrival.gives_way() => return Err(BodyRefusal::Overloaded),
                frame = tokio::time::timeout(time, incoming.frame()) => frame,
            };
            let frame = frame.map_err(|_| BodyRefusal::Stalled)?;
            let Some(frame) = frame else {
                return Ok(body);
            };
            let Ok(data) = frame.map_err(|_| BodyRefusal::Broken)?.into_data() else {
                continue;
            };
            if body.bytes.len() + data.remaining() > limit {
                return Err(BodyRefusal::TooLarge);
            }
            self.grow(&mut body.claim, data.remaining() as u64).await?;
            body.bytes.extend_from_slice(&data);
            arrival.has(body.bytes.len() as u64);
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
    /// A body of somebody.
    #[cfg(test)]
    pub(crate) fn of(bytes: Vec<u8>, limits: &Limits) -> Self {
        let sender = Sender {
            caller: CallerKey::Account("a".into()),
            address: None,
        };
        let claim = BodyBudget::new(limits).claim(&sender, bytes.len() as u64, false);
        let claim = claim.unwrap();
        Self { bytes, claim }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// Room for what is made of the body: its documents and, decoded, its attachments are together no longer than it is.
    pub(crate) fn claim_copy(&self) -> Result<Claim, BodyRefusal> {
        self.claim_more(self.bytes.len() as u64)
    }

    /// Further room of the same sender.
    pub(crate) fn claim_more(&self, bytes: u64) -> Result<Claim, BodyRefusal> {
        self.claim.budget.claim(&self.claim.sender, bytes, false)
    }

    /// The same, to be kept as long as an answer is told.
    pub(crate) fn claim_while_told(&self, bytes: u64) -> Result<Claim, BodyRefusal> {
        self.claim.budget.claim(&self.claim.sender, bytes, true)
    }

    /// What a decoder makes of the bytes, under the same limit; it counts as it grows, besides them until they are dropped.
    pub(crate) fn decoded(
        &self,
        mut decoder: impl Read,
        limit: usize,
    ) -> Result<Self, BodyRefusal> {
        let mut body = Self {
            bytes: Vec::new(),
            claim: self.claim_more(0)?,
        };
        loop {
            let mut step = decoder.by_ref().take(DECODED_STEP);
            let read = step
                .read_to_end(&mut body.bytes)
                .map_err(|_| BodyRefusal::Broken)?;
            if read == 0 {
                return Ok(body);
            }
            if body.bytes.len() > limit {
                return Err(BodyRefusal::TooLarge);
            }
            body.claim.grow(read as u64)?;
        }
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
    /// Takes more, or nothing.
    pub(crate) fn grow(&mut self, bytes: u64) -> Result<(), BodyRefusal> {
        self.take(bytes).map_err(|_| BodyRefusal::Overloaded)
    }

    fn take(&mut self, bytes: u64) -> Result<(), Full> {
        let room = self.budget.room;
        let then = self.bytes.saturating_add(bytes);
        let left = match !self.lasting && then <= room.most {
            true => 0,
            false => room.kept,
        };
        self.of_caller.grow_leaving(bytes, left)?;
        if let Some(place) = &mut self.of_address
            && let Err(full) = place.grow_leaving(bytes, left)
        {
            self.of_caller.shrink(bytes);
            return Err(full);
        }
        self.bytes = then;
        Ok(())
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
            caller: CallerKey::Account(account.into()),
            address: address.map(|text| text.parse().unwrap()),
        };
        let (here, there) = (Some("192.0.2.1"), Some("192.0.2.2"));
        let claim = |sender, bytes| budget.claim(&sender, bytes, false);
        let first = claim(sender("a", here), 30).unwrap();
        // Neither the account from elsewhere nor another account from the same place.
        assert!(claim(sender("a", there), 11).is_err());
        assert!(claim(sender("b", here), 11).is_err());
        let mut other = claim(sender("b", there), 30).unwrap();
        assert!(other.grow(11).is_err());
        assert!(other.grow(10).is_ok());
        drop(other);
        let _unplaced = claim(sender("c", None), 40).unwrap();
        // All that there is has an end, too.
        assert!(claim(sender("d", None), 31).is_err());
        drop(first);
        assert!(claim(sender("d", None), 31).is_ok());
    }

    #[test]
    fn what_is_large_or_lasts_leaves_room_for_what_is_small() {
        let budget = BodyBudget::new(&Limits {
            bodies_in_flight_bytes: 800,
            bodies_in_flight_bytes_per_sender: Some(800),
            body_bytes: 50,
            ..Limits::default()
        });
        let sender = Sender {
            caller: CallerKey::Account("a".into()),
            address: Some([192, 0, 2, 1].into()),
        };
        let mut large = budget.claim(&sender, 100, false).unwrap();
        assert!(large.grow(601).is_err());
        large.grow(600).unwrap();
        assert!(budget.claim(&sender, 1, true).is_err());
        assert!(budget.claim(&sender, 0, true).is_ok());
        let _small = budget.claim(&sender, 100, false).unwrap();
        assert!(budget.claim(&sender, 1, false).is_err());
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
                caller: CallerKey::Account("a".into()),
                address: None,
            };
            (1..=all)
                .rev()
                .find(|bytes| budget.claim(&sender, *bytes, false).is_ok())
        };
        assert_eq!(share(400, 10), Some(100));
        assert_eq!(share(400, 100), Some(225));
        assert_eq!(share(400, 1_000), Some(400));
    }
}
