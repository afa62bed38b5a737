//! The caller of a request: an extractor, so that a handler without it cannot touch data.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;

use super::Api;
use super::problem::ApiProblem;
use super::throttle::Slot;
use crate::authn::{Credential, Principal, authenticate};

/// The authenticated caller.
#[derive(Debug)]
pub(super) struct Caller(pub(super) Arc<Principal>);

impl FromRequestParts<Arc<Api>> for Caller {
    type Rejection = ApiProblem;

    async fn from_request_parts(head: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiProblem> {
        let credential = Credential::of(head)?;
        let caller = authenticate(&credential, &api.grants, &api.possession)?;
        let standing = api.throttle.count(&caller, api.clock.now())?;
        if let Some(slot) = head.extensions.get::<Slot>() {
            slot.set(standing);
        }
        Ok(Self(Arc::new(caller)))
    }
}
