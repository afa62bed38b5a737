//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a request that is sent again, because its answer was lost, is
//! answered again and not done again.
//!
//! Guarantees: a key belongs to one credential and to one request; two at the same time are done once. Of an answer nothing is
//! kept but ids, revisions and codes. New records of such a request are named before they are written, so that a repetition
//! after an outcome that nobody knows meets them and not a second copy. Forgotten: after a day, with the process, and when
//! others need the room.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use adyton_client::clock::Clock;
use adyton_protocol::problem::ProblemKind;
use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Uri};
use uuid::Uuid;

use super::problem::ApiProblem;
use crate::authn::{Authority, Principal};

/// The request header.
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says of an answer that it is an old one.
pub(super) const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Longest key, in bytes.
const MAX_KEY: usize = 255;
/// Most keys that are remembered.
const MOST_KEYS: usize = 20_000;
/// Most bytes of answers that are remembered.
const MOST_BYTES: usize = 32 << 20;
/// How long.
const KEPT: Duration = Duration::from_secs(24 * 3600);

type Digest = [u8; 32];

/// The keys that were used.
#[derive(Debug)]
pub(crate) struct Keys {
    clock: Clock,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_key: HashMap<Digest, Entry>,
    /// In the order in which they came.
    order: VecDeque<Digest>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    request: Digest,
    since: SystemTime,
    /// What new records of the request are called.
    name: Uuid,
    state: State,
}

#[derive(Debug)]
enum State {
    Running,
    /// It was begun, and how it ended is not known.
    Unknown,
    Done(Outcome),
}

/// What is remembered of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// One record was created.
    Created { id: String, rev: String },
    /// Many were written: the answer, which has ids, revisions and codes and nothing else.
    Bulk { status: u16, body: Bytes },
}

/// What to do about a request.
#[derive(Debug)]
pub(super) enum Begun {
    /// It has no key.
    Unkeyed,
    /// To be done.
    First(Attempt),
    /// Done before.
    Before(Outcome),
}

/// A request that is being done. Dropped without an outcome, its outcome is not known.
#[derive(Debug)]
pub(super) struct Attempt {
    keys: Arc<Keys>,
    key: Digest,
    name: Uuid,
    /// It was begun before, and how that ended is not known.
    pub(super) is_again: bool,
    is_over: bool,
}

impl Keys {
    /// None was used yet.
    pub(crate) fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            clock,
            known: Mutex::default(),
        })
    }

    /// Looks a request up, and takes its key if it is new.
    pub(super) fn begin(
        self: &Arc<Self>,
        caller: &Principal,
        headers: &HeaderMap,
        (method, uri): (&Method, &Uri),
        body: Option<Digest>,
    ) -> Result<Begun, ApiProblem> {
        let Some(key) = key_of(headers)? else {
            return Ok(Begun::Unkeyed);
        };
        let grant = match caller.authority() {
            Authority::Owner(_) => Uuid::nil(),
            Authority::App(grant) => grant.id(),
        };
        let tenant = caller.tenant();
        let key = digest(&[
            tenant.did().as_given().to_lowercase().as_bytes(),
            tenant.context().as_str().as_bytes(),
            grant.as_bytes(),
            key.as_bytes(),
        ]);
        let target = uri.path_and_query().map_or("", |target| target.as_str());
        let request = digest(&[
            method.as_str().as_bytes(),
            target.as_bytes(),
            &body.unwrap_or_default(),
        ]);
        self.look_up(key, request)
    }

    fn look_up(self: &Arc<Self>, key: Digest, request: Digest) -> Result<Begun, ApiProblem> {
        let now = self.clock.now();
        let mut known = self.lock();
        known.forget_old(now);
        if let Some(entry) = known.by_key.get_mut(&key) {
            if entry.request != request {
                return Err(ApiProblem::new(
                    ProblemKind::IdempotencyKeyReused,
                    "this idempotency-key came with another request before",
                ));
            }
            return match &entry.state {
                State::Running => Err(ApiProblem::new(
                    ProblemKind::IdempotencyKeyInUse,
                    "the request with this idempotency-key is still under way",
                )),
                State::Done(outcome) => Ok(Begun::Before(outcome.clone())),
                State::Unknown => {
                    entry.state = State::Running;
                    Ok(Begun::First(Attempt {
                        keys: Arc::clone(self),
                        key,
                        name: entry.name,
                        is_again: true,
                        is_over: false,
                    }))
                }
            };
        }
        let name = Uuid::new_v4();
        known.make_room(0);
        known.order.push_back(key);
        known.by_key.insert(
            key,
            Entry {
                request,
                since: now,
                name,
                state: State::Running,
            },
        );
        drop(known);
        Ok(Begun::First(Attempt {
            keys: Arc::clone(self),
            key,
            name,
            is_again: false,
            is_over: false,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn forget_old(&mut self, now: SystemTime) {
        while let Some(key) = self.order.front() {
            let is_old = self.by_key.get(key).is_none_or(|entry| {
                now.duration_since(entry.since).is_ok_and(|age| age >= KEPT)
                    && !matches!(entry.state, State::Running)
            });
            if !is_old {
                return;
            }
            self.forget_first();
        }
    }

    /// Forgets the oldest, but none that is under way, until there is room for one more.
    fn make_room(&mut self, bytes: usize) {
        for _ in 0..self.order.len() {
            if self.by_key.len() < MOST_KEYS && self.bytes + bytes <= MOST_BYTES {
                return;
            }
            let key = self.order.front().copied();
            match key.and_then(|key| self.by_key.get(&key)) {
                Some(entry) if matches!(entry.state, State::Running) => self.order.rotate_left(1),
                Some(_) | None => self.forget_first(),
            }
        }
    }

    fn forget_first(&mut self) {
        let key = self.order.pop_front();
        if let Some(entry) = key.and_then(|key| self.by_key.remove(&key))
            && let State::Done(outcome) = entry.state
        {
            self.bytes -= outcome.bytes();
        }
    }
}

impl Outcome {
    fn bytes(&self) -> usize {
        match self {
            Self::Created { id, rev } => id.len() + rev.len(),
            Self::Bulk { body, .. } => body.len(),
        }
    }
}

impl Attempt {
    /// What a new record without an id is called: the same at each attempt.
    pub(super) fn id(&self, index: Option<usize>) -> String {
        match index {
            None => self.name.to_string(),
            Some(index) => format!("{}-{index}", self.name),
        }
    }

    /// It was done, and this is to be answered from now on.
    pub(super) fn done(mut self, outcome: Outcome) {
        self.is_over = true;
        let mut known = self.keys.lock();
        let bytes = outcome.bytes();
        known.make_room(bytes);
        if let Some(entry) = known.by_key.get_mut(&self.key) {
            entry.state = State::Done(outcome);
            known.bytes += bytes;
        }
    }

    /// It was refused before anything was done: the key is as good as new.
    pub(super) fn undone(mut self) {
        self.is_over = true;
        let mut known = self.keys.lock();
        known.by_key.remove(&self.key);
        known.order.retain(|key| *key != self.key);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.is_over
            && let Some(entry) = self.keys.lock().by_key.get_mut(&self.key)
        {
            entry.state = State::Unknown;
        }
    }
}

fn key_of(headers: &HeaderMap) -> Result<Option<&str>, ApiProblem> {
    let mut values = headers.get_all(&IDEMPOTENCY_KEY).iter();
    let (Some(value), second) = (values.next(), values.next()) else {
        return Ok(None);
    };
    let key = value.to_str().unwrap_or_default().trim();
    match second.is_none() && (1..=MAX_KEY).contains(&key.len()) {
        true => Ok(Some(key)),
        false => Err(ApiProblem::malformed(format!(
            "idempotency-key is one text of 1 to {MAX_KEY} visible characters"
        ))),
    }
}

/// Of several parts, none of which can pass for a part of another.
fn digest(parts: &[&[u8]]) -> Digest {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut digest = Digest::default();
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    fn keys() -> (Arc<Keys>, Arc<AtomicU64>) {
        let seconds = Arc::new(AtomicU64::new(0));
        let ahead = Arc::clone(&seconds);
        let clock = Clock::of(move || {
            SystemTime::UNIX_EPOCH + Duration::from_secs(ahead.load(Ordering::SeqCst))
        });
        (Keys::new(clock), seconds)
    }

    fn first(keys: &Arc<Keys>, key: u8, request: u8) -> Attempt {
        match keys.look_up([key; 32], [request; 32]) {
            Ok(Begun::First(attempt)) => attempt,
            other => panic!("{other:?}"),
        }
    }

    fn refused(keys: &Arc<Keys>, key: u8, request: u8) -> ProblemKind {
        keys.look_up([key; 32], [request; 32]).unwrap_err().kind()
    }

    fn created(id: &str) -> Outcome {
        Outcome::Created {
            id: id.to_owned(),
            rev: String::new(),
        }
    }

    #[test]
    fn a_request_is_done_once_and_answered_as_often_as_it_is_sent() {
        let (keys, _) = keys();
        let attempt = first(&keys, 1, 1);
        assert_eq!(refused(&keys, 1, 1), ProblemKind::IdempotencyKeyInUse);
        assert_eq!(refused(&keys, 1, 2), ProblemKind::IdempotencyKeyReused);
        attempt.done(created("a"));
        for _ in 0..2 {
            let Ok(Begun::Before(outcome)) = keys.look_up([1; 32], [1; 32]) else {
                panic!("done before")
            };
            assert_eq!(outcome, created("a"));
        }
        assert_eq!(refused(&keys, 1, 2), ProblemKind::IdempotencyKeyReused);
    }

    #[test]
    fn what_was_not_done_may_be_tried_anew_and_what_nobody_knows_has_the_same_names() {
        let (keys, _) = keys();
        first(&keys, 1, 1).undone();
        let attempt = first(&keys, 1, 2);
        let (one, many) = (attempt.id(None), attempt.id(Some(3)));
        drop(attempt);
        let again = first(&keys, 1, 2);
        assert!(again.is_again);
        assert_eq!((again.id(None), again.id(Some(3))), (one, many));
    }

    #[test]
    fn keys_are_forgotten_after_a_day_and_when_there_is_no_room() {
        let (keys, seconds) = keys();
        first(&keys, 1, 1).done(created("a"));
        seconds.store(KEPT.as_secs() - 1, Ordering::SeqCst);
        assert!(matches!(
            keys.look_up([1; 32], [1; 32]),
            Ok(Begun::Before(_))
        ));
        seconds.store(KEPT.as_secs(), Ordering::SeqCst);
        let under_way = first(&keys, 1, 1);
        // Large answers take room until others need it; what is under way stays.
        let large = || Outcome::Bulk {
            status: 200,
            body: Bytes::from(vec![0; MOST_BYTES / 4]),
        };
        for key in 2..8 {
            first(&keys, key, key).done(large());
        }
        assert_eq!(refused(&keys, 1, 1), ProblemKind::IdempotencyKeyInUse);
        let known = keys.lock();
        assert!(known.bytes <= MOST_BYTES && known.by_key.len() == 5);
        drop(known);
        drop(under_way);
    }
}
