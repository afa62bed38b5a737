//! `/oauth/token`, `/oauth/revoke`, `/oauth/introspect`: codes become tokens, tokens the next tokens, and they end.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use adyton_oauth::client::Client;
use adyton_oauth::did_signature::authenticate;
use adyton_oauth::form::Parameters;
use adyton_oauth::metadata::path;
use adyton_oauth::refused::{ErrorCode, Refused};
use adyton_oauth::token_request::{TokenRequest, token};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing;
use http::StatusCode;
use serde_json::json;

use super::Api;
use super::caller::Caller;
use super::form_body::FormBody;
use super::oauth::{Asked, OauthError, use_once};
use super::routes::Route;
use crate::authn::Authority;
use crate::grants::{CodeBinding, NotKept, TokenKind, TokenPair, TokenSecret};

/// The routes that this module answers.
pub(super) const ROUTES: [Route; 3] = [
    Route::public("POST", path::TOKEN, || routing::post(exchange)),
    Route::public("POST", path::REVOKE, || routing::post(revoke)),
    Route::guarded("POST", path::INTROSPECT, || routing::post(introspect)),
];

const NOT_OURS: Refused = Refused::new(
    ErrorCode::InvalidGrant,
    "the code or refresh token is not known, was used before, has expired or was revoked",
);

const NOT_YET: Refused = Refused::new(
    ErrorCode::TemporarilyUnavailable,
    "the grants that were kept are still being read: try again in a moment",
);

const NOT_RECORDED: Refused = Refused::new(
    ErrorCode::TemporarilyUnavailable,
    "the grant has ended on this node, which is recorded as soon as its storage node can be reached",
);

/// `POST /oauth/token`
async fn exchange(
    State(api): State<Arc<Api>>,
    asked: Asked,
    FormBody(parameters): FormBody,
) -> Result<Response, OauthError> {
    let request = TokenRequest::read(&parameters, &asked.origin)?;
    let (text, kind) = match request {
        TokenRequest::Code { code, .. } => (code, TokenKind::Code),
        TokenRequest::Refresh { token, .. } => (token, TokenKind::Refresh),
    };
    let secret = TokenSecret::parse_any(text)
        .filter(|secret| secret.kind() == kind)
        .ok_or(NOT_OURS)?;
    let client = match api.grants.client_of(&secret) {
        None if !api.grants.has_all() => return Err(NOT_YET.into()),
        found => found.ok_or(NOT_OURS)?,
    };
    identify(&api, &asked, &parameters, &client)?;
    let proof = match &asked.proof {
        None => None,
        Some(proof) => Some(api.possession.check(proof, None)?),
    };
    let key = match &proof {
        None => None,
        Some(proof) => Some(api.possession.use_proof(proof)?),
    };
    let pair = match request {
        TokenRequest::Code {
            verifier,
            redirect_uri,
            ..
        } => {
            let check = |binding: &CodeBinding| {
                if redirect_uri.is_some_and(|uri| uri != binding.redirect_uri) {
                    return Err(Refused::new(
                        ErrorCode::InvalidGrant,
                        "redirect_uri is not the one that the code was sent to",
                    ));
                }
                binding.challenge.met_by(verifier).map(|_verified| ())
            };
            api.grants.exchange(&secret, check, key)
        }
        TokenRequest::Refresh { scope, .. } => api.grants.refresh(&secret, scope, key),
    };
    // The tokens are good here in any case; so is the end of a grant whose token was used twice. What could not be recorded
    // does not outlive the process.
    let _: Result<(), NotKept> = api.grants.settled().await;
    Ok(answer(&pair.map_err(|error| error.0)?))
}

/// Whoever brings a code or a refresh token must say whose it is, and prove it where the client can.
fn identify(
    api: &Api,
    asked: &Asked,
    parameters: &Parameters,
    client: &Client,
) -> Result<(), Refused> {
    let named = parameters.required("client_id", "client_id is needed")?;
    if named != client.id().as_str() {
        return Err(NOT_OURS);
    }
    match authenticate(parameters, client, &asked.origin, api.possession.now())? {
        Some(assertion) => use_once(api, &assertion),
        None => Ok(()),
    }
}

fn answer(pair: &TokenPair) -> Response {
    let mut body = json!({
        "access_token": pair.access.as_str(),
        "token_type": kind(pair.grant.bound),
        "expires_in": pair.access_life.as_secs(),
        "refresh_token": pair.refresh.as_str(),
        "scope": pair.grant.scopes.join(" "),
    });
    // What was granted beside the scopes, if it is not all (RFC 9396 section 7).
    let mut terms = pair.grant.terms.to_value();
    if let Some(members) = terms.as_object_mut() {
        members.remove("scopes");
        if !members.is_empty() {
            let kind = adyton_oauth::authorization::DETAILS_TYPE;
            members.insert("type".to_owned(), json!(kind));
            if let Some(body) = body.as_object_mut() {
                body.insert("authorization_details".to_owned(), json!([terms]));
            }
        }
    }
    Json(body).into_response()
}

const fn kind(bound: bool) -> &'static str {
    if bound { "DPoP" } else { "Bearer" }
}

/// `POST /oauth/revoke` (RFC 7009): whoever has a token may end its grant. What is no token of ours has ended already.
async fn revoke(
    State(api): State<Arc<Api>>,
    FormBody(parameters): FormBody,
) -> Result<Response, OauthError> {
    if let Some(secret) = TokenSecret::parse_any(token(&parameters)?) {
        if !api.grants.has_all() {
            return Err(NOT_YET.into());
        }
        api.grants.give_back(&secret);
        let not_kept = |_| OauthError(NOT_RECORDED);
        api.grants.settled().await.map_err(not_kept)?;
    }
    Ok(StatusCode::OK.into_response())
}

/// `POST /oauth/introspect` (RFC 7662): for the token's own holder and for the owner; to everybody else no token is active.
async fn introspect(
    State(api): State<Arc<Api>>,
    Caller(caller): Caller,
    asked: Asked,
    FormBody(parameters): FormBody,
) -> Result<Response, OauthError> {
    let secret = TokenSecret::parse_any(token(&parameters)?);
    let found = secret.and_then(|secret| {
        let (grant, tenant, until) = api.grants.inspect(&secret)?;
        let may_know = match caller.authority() {
            Authority::Owner(_) => *caller.tenant() == tenant,
            Authority::App(own) => own.id() == grant.id,
        };
        may_know.then_some((grant, until, secret.kind()))
    });
    let Some((grant, until, token_kind)) = found else {
        return Ok(Json(json!({ "active": false })).into_response());
    };
    let mut body = json!({
        "active": true,
        "scope": grant.scopes.join(" "),
        "exp": seconds(until),
        "iat": seconds(grant.created),
        "iss": asked.origin.as_str(),
        "aud": asked.origin.as_str(),
        "sub": caller.tenant().did().as_given(),
    });
    if let Some(body) = body.as_object_mut() {
        if token_kind == TokenKind::Access {
            body.insert("token_type".to_owned(), json!(kind(grant.bound)));
        }
        if let Some(client) = grant.app.client() {
            body.insert("client_id".to_owned(), json!(client.id().as_str()));
        }
        if let Some(key) = grant.key {
            body.insert("cnf".to_owned(), json!({ "jkt": key.to_string() }));
        }
    }
    Ok(Json(body).into_response())
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
