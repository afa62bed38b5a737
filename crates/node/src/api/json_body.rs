//! Request bodies: limited first, then JSON.

use std::sync::Arc;

use adyton_protocol::problem::ProblemKind;
use axum::extract::{FromRequest, Request};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Map, Value};

use super::Api;
use super::problem::ApiProblem;

/// A body that is one JSON object.
#[derive(Debug)]
pub(super) struct JsonObject(pub(super) Map<String, Value>);

impl FromRequest<Arc<Api>> for JsonObject {
    type Rejection = ApiProblem;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, ApiProblem> {
        let limit = api.config.body_bytes;
        let body = Limited::new(request.into_body(), limit)
            .collect()
            .await
            .map_err(|error| {
                if error.is::<LengthLimitError>() {
                    ApiProblem::new(
                        ProblemKind::RequestTooLarge,
                        format!("the request body is larger than {limit} bytes"),
                    )
                } else {
                    ApiProblem::malformed("the request body could not be read")
                }
            })?;
        let bytes = body.to_bytes();
        if bytes.is_empty() {
            return Ok(Self(Map::new()));
        }
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(members)) => Ok(Self(members)),
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
    /// Takes a member out.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    /// Refuses what was not taken: a misspelt name must not be ignored in silence.
    pub(super) fn nothing_else(self, known: &str) -> Result<(), ApiProblem> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(_) => Err(ApiProblem::malformed(format!(
                "the request body has a member that this route does not know; it knows {known}"
            ))),
        }
    }
}
