//! `/api/rest`: where to begin.

use axum::response::{IntoResponse, Response};
use axum::{Json, routing};
use http::header::CONTENT_TYPE;
use serde_json::json;

use super::routes::Route;

/// The description of all routes (OpenAPI 3.1), as it is committed; a test holds it to the routes.
pub(super) const OPENAPI: &str = include_str!("../../openapi.json");

/// The routes that this module answers.
pub(super) const ROUTES: [Route; 2] = [
    Route::public("GET", "/api/rest", || routing::get(index)),
    Route::public("GET", "/openapi.json", || routing::get(openapi)),
];

/// `GET /api/rest`
pub(super) async fn index() -> Response {
    Json(json!({
        "name": "adyton",
        "versions": { "v1": "/api/rest/v1" },
        "openapi": "/openapi.json",
        "docs": "/docs",
        "whoami": "/api/rest/v1/auth/me",
        "scopes": "/api/rest/v1/auth/scopes",
        "attestation": "/.well-known/adyton-attestation",
        "problems": "https://adyton.dev/problems/",
    }))
    .into_response()
}

/// `GET /openapi.json`
pub(super) async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}
