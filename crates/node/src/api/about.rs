//! `/info` and `/account`: what this node is, and whose session the caller has.

use super::routes::Route;
use axum::routing;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::Api;
use super::caller::Caller;
use super::problem::ApiProblem;

/// The routes that this module answers.
pub(super) const ROUTES: [Route; 2] = [
    Route::public("GET", "/api/rest/v1/info/status", || routing::get(status)),
    Route::guarded("GET", "/api/rest/v1/account/fromKey", || {
        routing::get(account)
    }),
];

/// `GET /account/fromKey`: whose session it is. Public profiles are not in encrypted databases and not read here, hence
/// the empty list.
pub(super) async fn account(Caller(caller): Caller) -> Result<Json<Value>, ApiProblem> {
    let owner = caller.as_owner()?;
    Ok(Json(json!({
        "success": true,
        "did": owner.tenant().did().as_given(),
        "contextName": owner.tenant().context().as_str(),
        "account": [],
    })))
}

/// What this node is. Nothing about its users.
pub(super) async fn status(State(api): State<Arc<Api>>) -> Json<Value> {
    Json(json!({
        "name": "adyton",
        "apiVersion": "v1",
        "build": env!("CARGO_PKG_VERSION"),
        "tee": api.tee,
        "time": api.clock.iso(),
        "schemas": api.schemas.iter().count(),
        "logsExposed": false,
    }))
}
