//! `/info/status`.

use super::routes::Route;
use axum::routing;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::Api;

/// The routes that this module answers.
pub(super) const ROUTES: [Route; 1] = [Route::public("GET", "/api/rest/v1/info/status", || {
    routing::get(status)
})];

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
