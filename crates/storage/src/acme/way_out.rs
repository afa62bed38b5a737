//! The way to an authority: our own rules about addresses, limits and times below a library that knows the protocol.
//!
//! Guarantees: an answer has a limit and a time; no redirect is followed; a directory that is none ends the try here. What the
//! authority says of waiting is noted: the library does not tell. Refuses to know: what is asked.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use adyton_egress::Reach;
use adyton_egress::tls::compiled_in_roots;
use bytes::Bytes;
use http::header::{ACCEPT, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Method, Request, Response, Uri};
use http_body_util::BodyExt;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use serde::Deserialize;

use super::AcmeConfig;
use crate::clock::Clock;
use crate::outbound::Outbound;

/// Bytes of an answer: a chain of certificates is a few thousand.
const MAX_ANSWER_BYTES: usize = 256 << 10;
/// Requests of one try: an order with a hundred names takes a few hundred.
const MAX_REQUESTS: u64 = 2_000;
/// Who asks (RFC 8555, §6.1).
const AGENT: &str = concat!(
    "adyton-storage/",
    env!("CARGO_PKG_VERSION"),
    " (instant-acme)"
);

/// Sends a try's requests.
#[derive(Clone)]
pub(super) struct WayOut {
    outbound: Outbound,
    answer_time: Duration,
    clock: Clock,
    noted: Arc<Noted>,
}

/// What was noted during a try.
#[derive(Default)]
struct Noted {
    requests: AtomicU64,
    /// With a refusal: nothing before this second since 1970.
    not_before: AtomicU64,
    /// With the last answer: how long until the next question makes sense.
    pause: Mutex<Option<Duration>>,
}

impl WayOut {
    pub(super) fn new(config: &AcmeConfig, clock: Clock) -> Result<Self, rustls::Error> {
        let reach = match config.allow_private {
            true => Reach::AlsoServer(config.directory.origin()),
            false => Reach::Public,
        };
        let roots = config
            .roots
            .clone()
            .map_or_else(compiled_in_roots, Arc::new);
        Ok(Self {
            outbound: Outbound::trusting(roots, reach)?,
            answer_time: config.pace.answer,
            clock,
            noted: Arc::default(),
        })
    }

    /// For another try. What was noted is forgotten.
    pub(super) fn begin(&self) -> Self {
        self.noted.requests.store(0, Ordering::Relaxed);
        self.noted.not_before.store(0, Ordering::Relaxed);
        self.clone()
    }

    /// Before this second since 1970 the authority wants nothing of us.
    pub(super) fn not_before(&self) -> u64 {
        self.noted.not_before.load(Ordering::Relaxed)
    }

    /// What the last answer said of the pause until the next question.
    pub(super) fn pause(&self) -> Option<Duration> {
        *self.pause_cell()
    }

    fn pause_cell(&self) -> std::sync::MutexGuard<'_, Option<Duration>> {
        let pause = self.noted.pause.lock();
        pause.unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(self, mut request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        if self.noted.requests.fetch_add(1, Ordering::Relaxed) >= MAX_REQUESTS {
            return Err(Error::Str("an end of questions"));
        }
        let is_directory = request.method() == Method::GET;
        let fields = request.headers_mut();
        fields.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        fields.insert(ACCEPT, HeaderValue::from_static("*/*"));
        let request = request.map(|body| body.map_err(|never| match never {}).boxed_unsync());
        let said = self
            .outbound
            .converse(request, MAX_ANSWER_BYTES, self.answer_time)
            .await;
        let said = said.map_err(|error| Error::Other(Box::new(error)))?;
        self.note(&said);
        if is_directory && !is_usable(&said) {
            return Err(Error::Str("a directory that can be used"));
        }
        let (parts, body) = said.into_parts();
        Ok(BytesResponse {
            parts,
            body: Box::new(body),
        })
    }

    fn note(&self, said: &Response<Bytes>) {
        let now = self.clock.unix_seconds();
        let after = retry_after(said.headers(), now);
        *self.pause_cell() = after.map(Duration::from_secs);
        let status = said.status();
        if let (true, Some(after)) = (status.is_client_error() || status.is_server_error(), after) {
            let until = now.saturating_add(after);
            self.noted.not_before.fetch_max(until, Ordering::Relaxed);
        }
    }
}

impl HttpClient for WayOut {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(self.clone().send(request))
    }
}

/// Seconds from now, of a number or of a date (RFC 9110, §10.2.3).
fn retry_after(fields: &HeaderMap, now: u64) -> Option<u64> {
    let text = fields.get(RETRY_AFTER)?.to_str().ok()?.trim();
    text.parse().ok().or_else(|| {
        let date = httpdate::parse_http_date(text).ok()?;
        let at = date.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(at.as_secs().saturating_sub(now))
    })
}

/// What the library takes for granted: it would panic at an address that is none.
fn is_usable(said: &Response<Bytes>) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Directory {
        new_nonce: String,
    }
    let directory = serde_json::from_slice::<Directory>(said.body());
    let nonces = directory.map(|directory| directory.new_nonce.parse::<Uri>());
    said.status().is_success() && matches!(nonces, Ok(Ok(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_a_number_of_seconds_or_a_date() {
        let after = |text: &str| {
            let mut fields = HeaderMap::new();
            fields.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&fields, 784_111_700)
        };
        assert_eq!(after("120"), Some(120));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(77));
        assert_eq!(after("Sun, 06 Nov 1994 08:40:00 GMT"), Some(0));
        for wrong in ["", "soon", "-1", "1.5"] {
            assert_eq!(after(wrong), None, "{wrong}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), 0), None);
    }

    #[test]
    fn a_directory_without_a_place_for_nonces_is_none() {
        let said = |status: u16, body: &str| {
            let body = Bytes::from(body.to_owned());
            Response::builder().status(status).body(body).unwrap()
        };
        let directory = r#"{"newNonce": "https://a.example/nonce", "newOrder": "x"}"#;
        assert!(is_usable(&said(200, directory)));
        assert!(!is_usable(&said(503, directory)));
        for wrong in [
            "",
            "{}",
            "[]",
            r#"{"newNonce": "https://a b/"}"#,
            r#"{"newNonce": ""}"#,
        ] {
            assert!(!is_usable(&said(200, wrong)), "{wrong}");
        }
    }
}
