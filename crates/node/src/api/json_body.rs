//! Request bodies: limited first, then JSON.

use std::sync::Arc;

use adyton_protocol::problem::ProblemKind;
use aws_lc_rs::digest::{self, SHA256};
use axum::extract::{FromRequest, Request};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Map, Value};

use super::Api;
use super::idempotency::IDEMPOTENCY_KEY;
use super::problem::ApiProblem;
use crate::memory::{QueryError, Reservation};

/// Copies of a body's text that are made on its way: read, parsed, signed, sealed.
const COPIES: usize = 4;
/// What a JSON value takes in memory beside its text, in all copies.
const VALUE_BYTES: usize = 100;

/// A body that is one JSON object.
#[derive(Debug)]
pub(super) struct JsonObject {
    members: Map<String, Value>,
    counted: Reservation,
    /// SHA-256 of the text, for a request with a key.
    digest: Option<[u8; 32]>,
}

impl FromRequest<Arc<Api>> for JsonObject {
    type Rejection = ApiProblem;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, ApiProblem> {
        says_json(request.headers())?;
        let is_keyed = request.headers().contains_key(IDEMPOTENCY_KEY);
        let limit = api.config.body_bytes;
        let mut counted = api.bodies.reserve(0).map_err(QueryError::from)?;
        let mut body = Limited::new(request.into_body(), limit);
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    ApiProblem::new(
                        ProblemKind::RequestTooLarge,
                        format!("the request body is larger than {limit} bytes"),
                    )
                } else {
                    ApiProblem::malformed("the request body could not be read")
                }
            })?;
            if let Ok(data) = frame.into_data() {
                let more = counted.bytes() + COPIES * data.len();
                counted.resize(more).map_err(QueryError::from)?;
                bytes.extend_from_slice(&data);
            }
        }
        if bytes.is_empty() {
            return Ok(Self {
                members: Map::new(),
                counted,
                digest: None,
            });
        }
        // Room first: `0,` is two bytes here and many in memory.
        let more = counted.bytes() + VALUE_BYTES * most_values(&bytes);
        counted.resize(more).map_err(QueryError::from)?;
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(members)) => Ok(Self {
                members,
                counted,
                digest: is_keyed.then(|| {
                    let mut digest = [0; 32];
                    digest.copy_from_slice(digest::digest(&SHA256, &bytes).as_ref());
                    digest
                }),
            }),
            Ok(_) => Err(ApiProblem::malformed(
                "the request body must be a JSON object",
            )),
            Err(error) if error.is_syntax() || error.is_eof() => {
                Err(ApiProblem::malformed(format!(
                    "the request body is not valid JSON at line {}, column {} (nesting is limited to 128)",
                    error.line(),
                    error.column()
                )))
            }
            Err(_) => Err(ApiProblem::malformed("the request body is not valid JSON")),
        }
    }
}

impl JsonObject {
    /// SHA-256 of its text, if the request has a key.
    pub(super) fn digest(&self) -> Option<[u8; 32]> {
        self.digest
    }

    /// Takes a member out.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.members.remove(name)
    }

    /// Refuses what was not taken: a misspelt name must not be ignored in silence.
    ///
    /// Returns what covers the members that were taken: to be held as long as they are.
    pub(super) fn nothing_else(self, known: &[&str]) -> Result<Reservation, ApiProblem> {
        match self.members.is_empty() {
            true => Ok(self.counted),
            false => Err(ApiProblem::unknown_member("the request body", known)),
        }
    }

    /// All members, and what covers them.
    pub(super) fn into_members(self) -> (Map<String, Value>, Reservation) {
        (self.members, self.counted)
    }

    /// A body for tests.
    #[cfg(test)]
    pub(super) fn of(value: Value) -> Self {
        let Value::Object(members) = value else {
            panic!("not an object")
        };
        let budget = crate::memory::Budget::new(usize::MAX);
        let counted = budget.reserve(0).unwrap();
        Self {
            members,
            counted,
            digest: None,
        }
    }
}

/// Refuses what says that it is something else: a form, an upload. Who says nothing means JSON.
fn says_json(headers: &HeaderMap) -> Result<(), ApiProblem> {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Ok(());
    };
    let value = value.to_str().unwrap_or("?").to_ascii_lowercase();
    let essence = value.split(';').next().unwrap_or_default().trim();
    let is_json = essence == "application/json"
        || essence == "text/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"));
    match is_json {
        true => Ok(()),
        false => Err(ApiProblem::new(
            ProblemKind::MediaTypeUnsupported,
            "the request body must be JSON: send Content-Type: application/json",
        )),
    }
}

/// How many values a JSON text has at most: before each but the first stands one of these.
fn most_values(text: &[u8]) -> usize {
    1 + text
        .iter()
        .filter(|byte| matches!(byte, b',' | b':' | b'[' | b'{'))
        .count()
}
