//! How often a caller may ask: so many requests in a span of time, for each credential, told with every answer
//! (draft-ietf-httpapi-ratelimit-headers).
//!
//! Refuses to know what is asked, and who a caller is: it counts under numbers that mean nothing outside of this process.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use adyton_protocol::problem::ProblemKind;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderName, HeaderValue};

use super::problem::ApiProblem;
use crate::authn::{Authority, Principal};
use crate::grants::RateLeft;

/// Most callers that are counted at a time. Beyond, some are counted anew.
const MOST_CALLERS: usize = 100_000;

/// How often: so many requests in a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quota {
    /// Its name in the headers.
    pub(crate) name: &'static str,
    /// Requests.
    pub(crate) requests: u32,
    /// Within this time, from the first of them on.
    pub(crate) span: Duration,
}

/// Where a caller stands after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    quota: Quota,
    remaining: u32,
    /// Until the next span.
    seconds: u64,
}

/// Counts.
#[derive(Debug)]
pub(crate) struct Throttle {
    quota: Quota,
    hasher: RandomState,
    spans: Mutex<HashMap<(u64, &'static str), Span>>,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    began: SystemTime,
    lasts: Duration,
    used: u32,
}

impl Span {
    /// A clock that was set back counts as one that stands still.
    fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.began).unwrap_or_default()
    }

    fn is_over(&self, now: SystemTime) -> bool {
        self.age(now) >= self.lasts
    }
}

/// Where the layer finds what the extractor counted.
#[derive(Debug, Clone, Default)]
pub(super) struct Slot(Arc<OnceLock<Standing>>);

impl Slot {
    pub(super) fn set(&self, standing: Standing) {
        // One credential, one count; a second one would be the same.
        let _ = self.0.set(standing);
    }
}

impl Throttle {
    /// Nobody has asked yet.
    pub(crate) fn new(quota: Quota) -> Self {
        Self {
            quota,
            hasher: RandomState::new(),
            spans: Mutex::default(),
        }
    }

    /// Counts a request of this caller, or refuses it. Of its quota and that of its grant, the one with less left is told.
    pub(super) fn count(
        &self,
        caller: &Principal,
        now: SystemTime,
    ) -> Result<Standing, ApiProblem> {
        let grant = match caller.authority() {
            Authority::Owner(_) => None,
            Authority::App(grant) => Some(grant.id()),
        };
        let who = self.hasher.hash_one((caller.tenant(), grant));
        let standing = self.take(who, self.quota, now)?;
        // The grant's own rate was counted when the caller was authenticated.
        Ok(match caller.rate_left() {
            Some(left) if left.remaining <= standing.remaining => left.into(),
            Some(_) | None => standing,
        })
    }

    fn take(&self, who: u64, quota: Quota, now: SystemTime) -> Result<Standing, ApiProblem> {
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (who, quota.name);
        if spans.len() >= MOST_CALLERS && !spans.contains_key(&key) {
            spans.retain(|_, span| !span.is_over(now));
            // Whoever it is begins a new span: better than to refuse somebody for the number of others.
            let any = spans.keys().next().copied();
            if let Some(any) = any.filter(|_| spans.len() >= MOST_CALLERS) {
                spans.remove(&any);
            }
        }
        let new = Span {
            began: now,
            lasts: quota.span,
            used: 0,
        };
        let span = spans.entry(key).or_insert(new);
        if span.is_over(now) {
            *span = new;
        }
        let left = span.lasts.saturating_sub(span.age(now));
        let seconds = whole_seconds(left);
        let is_allowed = span.used < quota.requests;
        span.used = span.used.saturating_add(1);
        let standing = Standing {
            quota,
            remaining: quota.requests.saturating_sub(span.used),
            seconds,
        };
        drop(spans);
        match is_allowed {
            true => Ok(standing),
            false => Err(standing.refusal()),
        }
    }
}

impl From<RateLeft> for Standing {
    fn from(left: RateLeft) -> Self {
        Self {
            quota: Quota {
                name: "grant",
                requests: left.rate.requests,
                span: Duration::from_secs(left.rate.seconds.into()),
            },
            remaining: left.remaining,
            seconds: whole_seconds(left.wait),
        }
    }
}

/// Rounded up: who waits as long as told is not refused again.
fn whole_seconds(time: Duration) -> u64 {
    let seconds = time.as_millis().div_ceil(1000);
    seconds.try_into().unwrap_or(u64::MAX)
}

impl Standing {
    fn refusal(self) -> ApiProblem {
        let Quota { requests, span, .. } = self.quota;
        let detail = format!(
            "more than {requests} requests in {} seconds with this credential",
            span.as_secs()
        );
        ApiProblem::new(ProblemKind::RateLimited, detail).after(self)
    }

    /// Seconds until there is room again.
    pub(super) fn seconds(&self) -> u64 {
        self.seconds
    }

    /// Tells it in an answer.
    pub(super) fn tell(&self, response: &mut Response) {
        let Quota {
            name,
            requests,
            span,
        } = self.quota;
        let policy = format!("\"{name}\";q={requests};w={}", span.as_secs());
        let now = format!("\"{name}\";r={};t={}", self.remaining, self.seconds);
        for (name, text) in [("ratelimit-policy", policy), ("ratelimit", now)] {
            if let Ok(value) = HeaderValue::from_str(&text) {
                response
                    .headers_mut()
                    .insert(HeaderName::from_static(name), value);
            }
        }
    }
}

/// The layer that tells callers where they stand.
pub(super) async fn tell(mut request: Request, next: Next) -> Response {
    let slot = Slot::default();
    request.extensions_mut().insert(slot.clone());
    let mut response = next.run(request).await;
    if let Some(standing) = slot.0.get() {
        standing.tell(&mut response);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Quota = Quota {
        name: "caller",
        requests: 3,
        span: Duration::from_secs(10),
    };

    #[test]
    fn a_span_has_its_requests_and_the_next_one_has_them_again() {
        let throttle = Throttle::new(QUOTA);
        let start = SystemTime::UNIX_EPOCH;
        let take = |who, after| throttle.take(who, QUOTA, start + Duration::from_millis(after));
        for left in [2, 1, 0] {
            let standing = take(1, 0).unwrap();
            assert_eq!((standing.remaining, standing.seconds), (left, 10));
        }
        assert_eq!(take(1, 500).unwrap_err().kind(), ProblemKind::RateLimited);
        // Somebody else has lost nothing.
        assert_eq!(take(2, 9_999).unwrap().remaining, 2);
        assert!(take(1, 9_999).is_err());
        assert_eq!(take(1, 10_000).unwrap().remaining, 2);
        assert_eq!(take(1, 10_001).unwrap().seconds, 10, "rounded up");
    }

    #[test]
    fn a_crowd_takes_no_more_than_its_room_and_keeps_nobody_out() {
        let throttle = Throttle::new(QUOTA);
        let now = SystemTime::UNIX_EPOCH;
        for who in 0..MOST_CALLERS as u64 + 100 {
            assert!(throttle.take(who, QUOTA, now).is_ok());
        }
        assert_eq!(throttle.spans.lock().unwrap().len(), MOST_CALLERS);
    }
}
