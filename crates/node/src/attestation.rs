//! `GET /.well-known/adyton-attestation`: evidence about this node, for anyone who asks.
//!
//! Guarantees: with `?nonce=`, the evidence covers the nonce and the very TLS connection it was asked on; without, it is
//! made ahead, shared by all askers and marked `channel_bound: false`. The device is slow: askers that come while it is
//! busy share its next document, and a limit per connection keeps one of them from taking all places. Refuses to know:
//! credentials. There are none here.

mod batcher;
mod keys;
mod rate;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use adyton_attest::attester::{AttesterError, SealedAttester};
use adyton_attest::evidence::WELL_KNOWN_PATH;
use adyton_attest::{AttestedKeys, Challenge, ChannelBinding, Nonce};
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

use self::batcher::{Batcher, DEVICE_TIME, NoEvidence};
pub use self::keys::{NoKey, NodeKeys};
pub(crate) use self::rate::Bucket;
use self::rate::Rate;
use crate::server::ConnectionFacts;

/// How long evidence without a nonce is shown before it is made anew. (A Nitro leaf lives three hours.)
const REFRESH: Duration = Duration::from_secs(30 * 60);

/// Answers to a nonce on one connection: an honest client asks once, and again after minutes.
const CONNECTION_RATE: Rate = Rate {
    per_second: 0.2,
    at_once: 5.0,
};

/// What the route needs.
pub struct Attestation {
    attester: SealedAttester,
    keys: Arc<AttestedKeys>,
    clock: Clock,
    ahead: tokio::sync::Mutex<Option<Ahead>>,
    batcher: Batcher,
}

/// Evidence that was made ahead.
struct Ahead {
    made: SystemTime,
    body: Bytes,
}

impl Attestation {
    /// For these keys, by this attester. Must be called within a runtime.
    #[must_use]
    pub fn new(attester: SealedAttester, keys: AttestedKeys, clock: Clock) -> Self {
        let keys = Arc::new(keys);
        let batcher = Batcher::start(attester.clone(), Arc::clone(&keys), clock.clone());
        Self {
            attester,
            keys,
            clock,
            ahead: tokio::sync::Mutex::new(None),
            batcher,
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
        if !facts.asked.take(CONNECTION_RATE, now) {
            return Err(Refused::TooOften);
        }
        let challenge = Challenge {
            nonce,
            exporter: facts.exporter,
        };
        let evidence = timeout(DEVICE_TIME, self.batcher.evidence(challenge)).await;
        match evidence.map_err(|_| Refused::Device)? {
            Ok(evidence) => Ok(evidence.to_json().into()),
            Err(NoEvidence::Full) => Err(Refused::TooMany),
            Err(NoEvidence::Device) => Err(Refused::Device),
        }
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
        let evidence = self
            .attester
            .evidence(&self.keys, ChannelBinding::None, None, now);
        let evidence = timeout(DEVICE_TIME, evidence)
            .await
            .map_err(|_| Refused::Device)?;
        let evidence = evidence.map_err(|_: AttesterError| Refused::Device)?;
        let body: Bytes = evidence.to_json().into();
        *ahead = Some(Ahead {
            made: now,
            body: body.clone(),
        });
        Ok(body)
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
    /// The caller's impatience.
    TooOften,
    /// Everybody's.
    TooMany,
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
                "evidence is made a few times per connection",
                Some("5"),
            ),
            Self::TooMany => (
                ProblemKind::Overloaded,
                "too many wait for evidence",
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
}
