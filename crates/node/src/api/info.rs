//! `/info/status`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::Api;

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
