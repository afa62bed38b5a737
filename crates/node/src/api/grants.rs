//! `/auth/grants`: what an owner allowed, to whom, when it was last used; and the end of it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Api;
use super::caller::Caller;
use super::path::Parameters;
use super::problem::ApiProblem;
use super::routes::Route;
use super::tokens::iso;
use crate::grants::{App, GrantView};

/// The routes that this module answers.
pub(super) const ROUTES: [Route; 2] = [
    Route::guarded("GET", "/api/rest/v1/auth/grants", || routing::get(list)),
    Route::guarded("DELETE", "/api/rest/v1/auth/grants/{id}", || {
        routing::delete(end)
    }),
];

type Answer = Result<Response, ApiProblem>;

/// `GET /auth/grants`: the newest first.
async fn list(State(api): State<Arc<Api>>, Caller(caller): Caller) -> Answer {
    let owner = caller.as_owner()?;
    let mut grants = api.grants.list(&owner);
    grants.sort_by_key(|grant| std::cmp::Reverse(grant.created));
    let grants: Vec<Value> = grants.iter().map(view_of).collect();
    Ok(Json(json!({ "grants": grants })).into_response())
}

/// `DELETE /auth/grants/{id}`: with all of its tokens and streams.
async fn end(
    State(api): State<Arc<Api>>,
    Caller(caller): Caller,
    Parameters(id): Parameters<String>,
) -> Answer {
    let owner = caller.as_owner()?;
    let id: Uuid = id.parse().map_err(|_| ApiProblem::not_found())?;
    let ended = api
        .grants
        .revoke(&owner, id)
        .ok_or_else(|| ApiProblem::no_such_grant(&api.grants))?;
    // It has ended. Whether it stays so when this node restarts is part of the answer.
    api.grants.settled().await?;
    Ok(Json(json!({ "revoked": true, "_id": ended.id.to_string() })).into_response())
}

/// What its owner is shown of a grant. Never a token.
fn view_of(grant: &GrantView) -> Value {
    let mut view = json!({
        "_id": grant.id.to_string(),
        "terms": grant.terms.to_value(),
        "insertedAt": iso(grant.created),
        "expiresAt": iso(grant.expires),
        "bound": grant.bound,
    });
    if let Some(used) = grant.last_used {
        view["lastUsedAt"] = json!(iso(used));
    }
    match &grant.app {
        App::Nobody => {}
        App::Named(did) => view["appDID"] = json!(did.as_given()),
        App::Client(client) => {
            view["client"] = json!({
                "id": client.id().as_str(),
                "name": client.name(),
                "verifiedBy": client.verified_by().name(),
            });
        }
    }
    view
}
