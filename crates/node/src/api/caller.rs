//! The caller of a request: an extractor, so that a handler without it cannot touch data.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;

use super::Api;
use super::problem::ApiProblem;
use crate::authn::{Credential, Principal, authenticate};

/// The authenticated caller.
#[derive(Debug)]
pub(super) struct Caller(pub(super) Arc<Principal>);

impl FromRequestParts<Arc<Api>> for Caller {
    type Rejection = ApiProblem;

    async fn from_request_parts(head: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiProblem> {
        let credential = Credential::of(head)?;
        Ok(Self(Arc::new(authenticate(
            &credential,
            &api.grants,
            &api.possession,
        )?)))
    }
}
