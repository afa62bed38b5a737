//! `GET /.well-known/adyton-attestation`: evidence about this node, for anyone who asks.
//!
//! Guarantees: with `?nonce=`, the evidence covers the nonce and the very TLS connection it was asked on; without, it is
//! made ahead, shared by all askers and marked `channel_bound: false`. The device is slow and asked one at a time:
//! a limit per connection and one for the node keep it free. Refuses to know: credentials. There are none here.

mod keys;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use adyton_attest::attester::{AttesterError, SealedAttester};
use adyton_attest::evidence::WELL_KNOWN_PATH;
use adyton_attest::{AttestedKeys, ChannelBinding, Evidence, Nonce};
use adyton_client::clock::Clock;
use adyton_protocol::problem::{Problem, ProblemKind};
use axum::body::Body;
use axum::extract::{Extension, RawQuery, State};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER,
};
use http::{Response, StatusCode};
use tokio::time::timeout;

pub use self::keys::{NoKey, NodeKeys};
use crate::server::ConnectionFacts;

/// How long evidence without a nonce is shown before it is made anew. (A Nitro leaf lives three hours.)
const REFRESH: Duration = Duration::from_secs(30 * 60);

/// How long the device may take.
const DEVICE_TIME: Duration = Duration::from_secs(10);

/// Answers to a nonce that the node gives per second, and how many may come at once.
const NODE_RATE: Rate = Rate {
    per_second: 20.0,
    at_once: 40.0,
};

/// The same for one connection: an honest client asks once, and again after minutes.
const CONNECTION_RATE: Rate = Rate {
    per_second: 0.2,
    at_once: 5.0,
};

/// What the route needs.
pub struct Attestation {
    attester: SealedAttester,
    keys: AttestedKeys,
    clock: Clock,
    ahead: tokio::sync::Mutex<Option<Ahead>>,
    node: Bucket,
}

/// Evidence that was made ahead.
struct Ahead {
    made: SystemTime,
    body: Bytes,
}

impl Attestation {
    /// For these keys, by this attester.
    #[must_use]
    pub fn new(attester: SealedAttester, keys: AttestedKeys, clock: Clock) -> Self {
        let node = Bucket::full(NODE_RATE, clock.now());
        Self {
            attester,
            keys,
            clock,
            ahead: tokio::sync::Mutex::new(None),
            node,
        }
    }

    /// The route, to be merged into the node's router. It must be served by [`crate::server::Server`].
    pub fn router(self) -> Router {
        Router::new()
            .route(WELL_KNOWN_PATH, get(answer))
            .with_state(Arc::new(self))
    }

    /// Fresh evidence for one asker on one connection.
    async fn fresh(&self, nonce: Nonce, facts: &ConnectionFacts) -> Result<Bytes, Refused> {
        let now = self.clock.now();
        // The connection's own limit first, so that a greedy peer does not use up what belongs to all.
        if !facts.asked.take(CONNECTION_RATE, now) || !self.node.take(NODE_RATE, now) {
            return Err(Refused::TooOften);
        }
        let channel = ChannelBinding::TlsExporter(facts.exporter);
        Ok(self.make(channel, Some(nonce), now).await?.to_json().into())
    }

    /// The evidence that is made ahead. Askers wait for the first of them to have it made.
    async fn ahead(&self) -> Result<Bytes, Refused> {
        let mut ahead = self.ahead.lock().await;
        let now = self.clock.now();
        if let Some(Ahead { made, body }) = &*ahead
            && now.duration_since(*made).is_ok_and(|age| age < REFRESH)
        {
            return Ok(body.clone());
        }
        let body: Bytes = self
            .make(ChannelBinding::None, None, now)
            .await?
            .to_json()
            .into();
        *ahead = Some(Ahead {
            made: now,
            body: body.clone(),
        });
        Ok(body)
    }

    async fn make(
        &self,
        channel: ChannelBinding,
        nonce: Option<Nonce>,
        now: SystemTime,
    ) -> Result<Evidence, Refused> {
        let evidence = self.attester.evidence(&self.keys, channel, nonce, now);
        let evidence = timeout(DEVICE_TIME, evidence)
            .await
            .map_err(|_| Refused::Device)?;
        evidence.map_err(|_: AttesterError| Refused::Device)
    }
}

impl fmt::Debug for Attestation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attestation")
            .field("attester", &self.attester)
            .finish_non_exhaustive()
    }
}

async fn answer(
    State(attestation): State<Arc<Attestation>>,
    facts: Option<Extension<ConnectionFacts>>,
    RawQuery(query): RawQuery,
) -> Response<Body> {
    let evidence = match (Asked::parse(query.as_deref()), facts) {
        (Some(Asked::Ahead), _) => attestation.ahead().await,
        (Some(Asked::Fresh(nonce)), Some(Extension(facts))) => {
            attestation.fresh(nonce, &facts).await
        }
        (Some(Asked::Fresh(_)), None) => Err(Refused::NoConnection),
        (None, _) => Err(Refused::Malformed),
    };
    match evidence {
        Ok(body) => {
            let mut answer = Response::new(Body::from(body));
            let headers = answer.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            answer
        }
        Err(refused) => refused.answer(),
    }
}

/// What a query asks for.
#[derive(Debug, PartialEq)]
enum Asked {
    Ahead,
    Fresh(Nonce),
}

impl Asked {
    /// No query, or exactly one nonce of 64 hexadecimal digits.
    fn parse(query: Option<&str>) -> Option<Self> {
        match query {
            None | Some("") => Some(Self::Ahead),
            Some(query) => Some(Self::Fresh(Nonce::from_hex(query.strip_prefix("nonce=")?)?)),
        }
    }
}

/// Why there is no evidence.
#[derive(Clone, Copy, Debug)]
enum Refused {
    /// The caller's query.
    Malformed,
    /// The caller's impatience, or everybody's.
    TooOften,
    /// Our device.
    Device,
    /// Our own wiring: the route is served by something that has no exporter.
    NoConnection,
}

impl Refused {
    fn answer(self) -> Response<Body> {
        let (kind, detail, retry) = match self {
            Self::Malformed => (
                ProblemKind::RequestMalformed,
                "ask with ?nonce= and exactly 64 hexadecimal digits, or with no query",
                None,
            ),
            Self::TooOften => (
                ProblemKind::RateLimited,
                "evidence is made for a few askers per second",
                Some("1"),
            ),
            Self::Device => (
                ProblemKind::Overloaded,
                "the enclave's device does not answer now",
                Some("5"),
            ),
            Self::NoConnection => (
                ProblemKind::Internal,
                "the connection that evidence would be bound to is not known",
                None,
            ),
        };
        let status =
            StatusCode::from_u16(kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut answer =
            axum::response::IntoResponse::into_response(Json(Problem::new(kind, detail)));
        *answer.status_mut() = status;
        let headers = answer.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        if let Some(seconds) = retry {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        answer
    }
}

/// How much may be asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    per_second: f64,
    at_once: f64,
}

/// A token bucket.
#[derive(Debug)]
pub(crate) struct Bucket(Mutex<Level>);

#[derive(Debug)]
struct Level {
    tokens: f64,
    at: Option<SystemTime>,
}

impl Default for Bucket {
    /// Full, from its first use on.
    fn default() -> Self {
        Self(Mutex::new(Level {
            tokens: f64::INFINITY,
            at: None,
        }))
    }
}

impl Bucket {
    fn full(rate: Rate, now: SystemTime) -> Self {
        Self(Mutex::new(Level {
            tokens: rate.at_once,
            at: Some(now),
        }))
    }

    /// Takes one token, if there is one. A clock that goes backwards fills nothing.
    fn take(&self, rate: Rate, now: SystemTime) -> bool {
        let mut level = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = level
            .at
            .and_then(|at| now.duration_since(at).ok())
            .unwrap_or_default();
        level.tokens = (level.tokens + passed.as_secs_f64() * rate.per_second).min(rate.at_once);
        level.at = Some(now);
        let taken = level.tokens >= 1.0;
        if taken {
            level.tokens -= 1.0;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_nothing_or_one_nonce() {
        let nonce = "0f".repeat(32);
        assert_eq!(Asked::parse(None), Some(Asked::Ahead));
        assert_eq!(Asked::parse(Some("")), Some(Asked::Ahead));
        let fresh = Asked::parse(Some(&format!("nonce={nonce}")));
        assert_eq!(fresh, Some(Asked::Fresh(Nonce::new([0x0f; 32]))));
        for wrong in [
            "nonce=".to_owned(),
            "nonce".to_owned(),
            format!("nonce={}", "0".repeat(63)),
            format!("nonce={}", "0".repeat(65)),
            format!("nonce={}", "x".repeat(64)),
            format!("nonce={nonce}&nonce={nonce}"),
            format!("nonce={nonce}&a=b"),
            format!("a=b&nonce={nonce}"),
            format!("Nonce={nonce}"),
            nonce,
        ] {
            assert_eq!(Asked::parse(Some(&wrong)), None, "{wrong}");
        }
    }

    #[test]
    fn a_bucket_gives_what_it_has_and_fills_with_time() {
        let rate = Rate {
            per_second: 2.0,
            at_once: 3.0,
        };
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        for bucket in [Bucket::default(), Bucket::full(rate, start)] {
            let take = |ms| bucket.take(rate, start + Duration::from_millis(ms));
            assert_eq!(
                [take(0), take(0), take(0), take(0)],
                [true, true, true, false]
            );
            assert_eq!([take(500), take(500)], [true, false]);
            assert_eq!(
                [take(60_500), take(60_500), take(60_500), take(60_500)],
                [true, true, true, false]
            );
            // A clock that was set back gives nothing away, and later it fills again.
            assert!(!take(0));
            assert!(take(500));
        }
    }
}
