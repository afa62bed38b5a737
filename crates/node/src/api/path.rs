//! Parameters in a path, with a problem instead of a plain text when they are no text.

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::problem::ApiProblem;

/// The parameters of a path.
#[derive(Debug)]
pub(super) struct Path<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = ApiProblem;

    async fn from_request_parts(head: &mut Parts, state: &S) -> Result<Self, ApiProblem> {
        match axum::extract::Path::from_request_parts(head, state).await {
            Ok(axum::extract::Path(parameters)) => Ok(Self(parameters)),
            Err(_) => Err(ApiProblem::malformed("the path is not valid text")),
        }
    }
}
