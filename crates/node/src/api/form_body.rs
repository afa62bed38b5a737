//! Bodies that are forms: limited first, then read.

use std::sync::Arc;

use adyton_oauth::form::{MAX_FORM_BYTES, Parameters};
use adyton_oauth::refused::{ErrorCode, Refused};
use axum::extract::{FromRequest, Request};
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, Limited};

use super::Api;
use super::oauth::OauthError;

/// Copies of a form that are made on its way: read, decoded, taken apart.
const COPIES: usize = 4;

/// A body that is a form.
#[derive(Debug)]
pub(super) struct FormBody(pub(super) Parameters);

impl FromRequest<Arc<Api>> for FormBody {
    type Rejection = OauthError;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, OauthError> {
        let kind = request.headers().get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let bare = kind.split(';').next().unwrap_or_default().trim();
        if !bare.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(Refused::request(
                "the body must be a form: application/x-www-form-urlencoded",
            )
            .into());
        }
        // OAuth keeps secrets out of URLs, and so does this node.
        if request.uri().query().is_some() {
            return Err(Refused::request("parameters belong in the body, not in the URL").into());
        }
        let _room = api
            .bodies
            .reserve(COPIES * MAX_FORM_BYTES)
            .map_err(|_| Refused::new(ErrorCode::TemporarilyUnavailable, "the node is busy"))?;
        let body = Limited::new(request.into_body(), MAX_FORM_BYTES)
            .collect()
            .await
            .map_err(|_| Refused::request("the body is too long or could not be read"))?;
        Ok(Self(Parameters::parse(&body.to_bytes())?))
    }
}
