//! `/livez` and `/readyz`.

use super::routes::Route;
use axum::routing;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::Api;

/// The routes that this module answers.
pub(super) const ROUTES: [Route; 2] = [
    Route::public("GET", "/livez", || routing::get(livez)),
    Route::public("GET", "/readyz", || routing::get(readyz)),
];

/// The process answers.
pub(super) async fn livez() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// The node can take requests. A listener exists only after its attester was sealed, so that an answer at
/// all says that the node is attested.
pub(super) async fn readyz(State(api): State<Arc<Api>>) -> Json<Value> {
    // In tenths, rounded up. This is public: exact numbers would tell everybody when somebody comes and goes, and how
    // much they have.
    let tenths = (api.vault.usage() * 10).div_ceil(api.config.vault.node_bytes.max(1));
    Json(json!({ "status": "ok", "memoryTenths": tenths }))
}
