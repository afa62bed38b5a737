//! `/livez` and `/readyz`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::Api;

/// The process answers.
pub(super) async fn livez() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// The node can take requests. A listener exists only after its attester was sealed, so that an answer at
/// all says that the node is attested.
pub(super) async fn readyz(State(api): State<Arc<Api>>) -> Json<Value> {
    let (tenants, bytes) = api.vault.usage();
    Json(json!({ "status": "ok", "tenants": tenants, "memoryBytes": bytes }))
}
