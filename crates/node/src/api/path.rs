//! Parameters of a path: what cannot be read is a problem like any other.

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::problem::ApiProblem;

/// The parameters of the path, decoded.
#[derive(Debug)]
pub(super) struct Parameters<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = ApiProblem;

    async fn from_request_parts(head: &mut Parts, state: &S) -> Result<Self, ApiProblem> {
        match Path::from_request_parts(head, state).await {
            Ok(Path(parameters)) => Ok(Self(parameters)),
            Err(_) => Err(ApiProblem::malformed(
                "the path cannot be decoded: it must be percent-encoded UTF-8",
            )),
        }
    }
}
