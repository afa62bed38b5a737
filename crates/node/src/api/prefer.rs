//! `Prefer: respond-async` (RFC 7240): a caller who does not want to wait for a load is told how far it is.
//!
//! Guarantees: without the header nothing changes; `202` is said of reading only, and means that nothing was read yet and that the
//! same request should be made again; an app learns how much of the load is done, not how many records there are.

use std::time::Duration;

use axum::Json;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{HeaderName, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;

use crate::vault::{Patience, StillLoading};

pub(super) const PREFER: HeaderName = HeaderName::from_static("prefer");
pub(super) const APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// Longest header that is read; a longer one is no preference.
const MAX_BYTES: usize = 256;
/// Longest wait that can be preferred; the request's own time may be over before.
const MAX_WAIT: u64 = 600;
/// Seconds until the caller should ask again.
const AGAIN: u64 = 1;

/// What a caller prefers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Preference {
    /// Seconds to wait before the answer may be that it is not ready.
    wait: Option<u64>,
}

impl Preference {
    /// Reads the headers; `None` when the caller is ready to wait. `wait` alone asks for nothing that can be given: there is no
    /// early answer for who does not accept one.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let mut is_async = false;
        let mut wait = None;
        let lines = headers.get_all(PREFER).iter();
        let lines = lines.filter(|line| line.len() <= MAX_BYTES);
        let lines = lines.filter_map(|line| line.to_str().ok());
        for preference in lines.flat_map(|line| line.split(',')) {
            // Parameters of a preference, after a semicolon, mean nothing for these two.
            let preference = preference.split(';').next().unwrap_or_default();
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            if name.eq_ignore_ascii_case("respond-async") {
                is_async = true;
            } else if name.eq_ignore_ascii_case("wait") && wait.is_none() {
                // The first one counts (RFC 7240 section 2).
                wait = value.parse().ok().filter(|seconds| *seconds <= MAX_WAIT);
            }
        }
        is_async.then_some(Self { wait })
    }

    fn patience(self) -> Patience {
        Patience::of(Duration::from_secs(self.wait.unwrap_or(0)))
    }

    /// What was done about it, in its own words.
    fn applied(self) -> HeaderValue {
        let words = match self.wait {
            None => "respond-async".to_owned(),
            Some(seconds) => format!("respond-async, wait={seconds}"),
        };
        HeaderValue::try_from(words).unwrap_or_else(|_| HeaderValue::from_static("respond-async"))
    }
}

/// The layer around every route.
pub(super) async fn layer(request: Request, next: Next) -> Response {
    let Some(preference) = Preference::of(request.headers()) else {
        return next.run(request).await;
    };
    let patience = preference.patience();
    let response = patience.clone().around(next.run(request)).await;
    match patience.met() {
        Some(still) if !response.status().is_success() => still_loading(still, preference),
        _ => response,
    }
}

fn still_loading(still: StillLoading, preference: Preference) -> Response {
    let so_far = still.so_far;
    let mut body = json!({ "complete": false, "state": "loading", "percent": so_far.percent() });
    if still.may_count
        && let Some(members) = body.as_object_mut()
    {
        members.insert("records".to_owned(), json!(so_far.records));
        members.insert("of".to_owned(), json!(so_far.of));
    }
    let mut response = (StatusCode::ACCEPTED, Json(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(APPLIED, preference.applied());
    headers.insert(RETRY_AFTER, HeaderValue::from(AGAIN));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preference(lines: &[&str]) -> Option<Option<u64>> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(PREFER, HeaderValue::from_str(line).unwrap());
        }
        Preference::of(&headers).map(|preference| preference.wait)
    }

    /// The forms are those of RFC 7240, sections 2 and 4.
    #[test]
    fn the_forms_of_the_header_are_understood() {
        for (lines, expected) in [
            (&["respond-async"][..], Some(None)),
            (&["Respond-Async, wait=10"], Some(Some(10))),
            (&["respond-async", "wait = \"10\""], Some(Some(10))),
            (&["wait=5, wait=7; x=y, respond-async;a=b"], Some(Some(5))),
            (&["respond-async, wait=601"], Some(None)),
            (&["respond-async, wait=soon"], Some(None)),
            (&["wait=5"], None),
            (&["return=minimal, lenient"], None),
            (&["respond-asynchronously"], None),
            (&[], None),
        ] {
            assert_eq!(preference(lines), expected, "{lines:?}");
        }
        let longest = format!("respond-async, a=\"{}\"", "x".repeat(MAX_BYTES - 19));
        assert_eq!(longest.len(), MAX_BYTES);
        assert_eq!(preference(&[&longest]), Some(None));
        assert_eq!(preference(&[&format!("{longest} ")]), None);
    }

    #[test]
    fn any_bytes_are_a_preference_or_none() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(bytes) {
                headers.insert(PREFER, value);
            }
            if let Some(preference) = Preference::of(&headers) {
                assert!(preference.wait.unwrap_or_default() <= MAX_WAIT);
                let mut again = HeaderMap::new();
                again.insert(PREFER, preference.applied());
                assert_eq!(Preference::of(&again), Some(preference));
            }
        });
    }
}
