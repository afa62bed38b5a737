//! Every route of the node: each module that answers some names them in a table of its own, and all tables together make
//! the router. The tests walk them: a route that is in none does not exist, and one that the tests do not cover fails them.

use std::sync::Arc;

use adyton_oauth::metadata::path::PROTECTED_RESOURCE;
use adyton_protocol::problem::ProblemKind;
use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, IF_MATCH, IF_NONE_MATCH,
    RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method};
use tower_http::cors::{Any, CorsLayer};

use super::idempotency::{IDEMPOTENCY_KEY, IDEMPOTENCY_REPLAYED};
use super::problem::ApiProblem;
use super::{
    Api, about, consent, gone, grants, health, index, legacy_auth, oauth, oauth_tokens, pages,
    prefer, records, resolve_scopes, schemas, search, sessions, throttle, tokens, watch, writes,
};
use crate::attestation::NodeKeys;
use crate::authn::Origins;
use crate::compressed_answers::compress;
use crate::sealed_requests::{self, Gateway};
use crate::signed_answers::{
    ACCEPT_SIGNATURE, CONTENT_DIGEST, SIGNATURE, SIGNATURE_INPUT, Signer, sign,
};

/// The header of a proof of possession (RFC 9449).
const DPOP: HeaderName = HeaderName::from_static("dpop");

/// A route: method, path, and who answers.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// The method.
    pub method: &'static str,
    /// The path, with `{parameters}`.
    pub path: &'static str,
    /// Answered without a credential.
    pub public: bool,
    /// `None`: a layer beside the API answers.
    handler: Option<Handler>,
}

/// Makes what answers a route.
pub(super) type Handler = fn() -> MethodRouter<Arc<Api>>;

impl Route {
    /// A route for callers with a credential: its handler takes a `Caller`.
    pub(super) const fn guarded(
        method: &'static str,
        path: &'static str,
        handler: Handler,
    ) -> Self {
        Self {
            method,
            path,
            public: false,
            handler: Some(handler),
        }
    }

    /// A route that says nothing about anybody.
    pub(super) const fn public(method: &'static str, path: &'static str, handler: Handler) -> Self {
        Self {
            method,
            path,
            public: true,
            handler: Some(handler),
        }
    }

    const fn beside(method: &'static str, path: &'static str) -> Self {
        Self {
            method,
            path,
            public: true,
            handler: None,
        }
    }
}

/// What layers beside the API answer.
const BESIDE: [Route; 2] = [
    Route::beside("GET", "/.well-known/adyton-attestation"),
    Route::beside("POST", sealed_requests::PATH),
];

/// The routes, by the module that answers them.
const GROUPS: &[&[Route]] = &[
    &health::ROUTES,
    &index::ROUTES,
    &about::ROUTES,
    &tokens::ROUTES,
    &resolve_scopes::ROUTES,
    &legacy_auth::ROUTES,
    &oauth::ROUTES,
    &oauth_tokens::ROUTES,
    &grants::ROUTES,
    &consent::ROUTES,
    &sessions::ROUTES,
    &pages::ROUTES,
    &records::ROUTES,
    &watch::ROUTES,
    &writes::ROUTES,
    &search::ROUTES,
    &schemas::ROUTES,
    &BESIDE,
];

/// All routes.
pub fn routes() -> impl Iterator<Item = &'static Route> {
    GROUPS.iter().copied().flatten()
}

/// The router: the table's routes, the attestation route beside them, and around both the route for sealed requests
/// (these two are in the table, too). The keys sign what is answered, if a caller asks for that, and open what is sealed.
pub fn router(api: Arc<Api>, attestation: Router, keys: NodeKeys) -> Router {
    let timeout = api.config.request_timeout;
    let signer = Signer {
        keys: keys.clone(),
        clock: api.clock.clone(),
    };
    let origins = api.possession.origins().clone();
    let (clock, bodies) = (api.clock.clone(), api.bodies.clone());
    let body_bytes = api.config.body_bytes;
    let compressors = bodies.clone();
    let mut router = Router::new();
    for route in routes() {
        if let Some(handler) = route.handler {
            router = router.route(route.path, handler());
        }
    }
    let router = router
        .with_state(api)
        .merge(attestation)
        // After the last route: the second one holds only for routes that are already there.
        .fallback(gone::or_not_found)
        .method_not_allowed_fallback(async || wrong_method())
        .layer(middleware::from_fn(prefer::layer))
        .layer(middleware::from_fn(throttle::tell))
        .layer(middleware::from_fn(move |request, next| {
            within(timeout, request, next)
        }))
        .layer(middleware::from_fn(move |request, next| {
            compress(compressors.clone(), request, next)
        }))
        .layer(middleware::from_fn(move |request, next| {
            sign(signer.clone(), request, next)
        }));
    let gateway = Gateway::new(keys, clock, router.clone(), bodies, body_bytes);
    let sealed = post(sealed_requests::open).fallback(async || wrong_method());
    router
        .route(sealed_requests::PATH, sealed.with_state(gateway))
        .layer(middleware::from_fn(move |request, next| {
            answer_headers(origins.clone(), request, next)
        }))
        .layer(
            CorsLayer::new()
                .allow_origin(Any)
                .allow_methods([
                    Method::GET,
                    Method::POST,
                    Method::PUT,
                    Method::PATCH,
                    Method::DELETE,
                ])
                // By name: browsers do not take `*` for `authorization`.
                .allow_headers([
                    AUTHORIZATION,
                    CONTENT_TYPE,
                    HeaderName::from_static("x-api-key"),
                    HeaderName::from_static("last-event-id"),
                    DPOP,
                    IF_MATCH,
                    IF_NONE_MATCH,
                    IDEMPOTENCY_KEY,
                    HeaderName::from_static("permissions"),
                    prefer::PREFER,
                    ACCEPT_SIGNATURE,
                    CONTENT_DIGEST,
                ])
                .expose_headers([
                    ETAG,
                    WWW_AUTHENTICATE,
                    RETRY_AFTER,
                    IDEMPOTENCY_REPLAYED,
                    HeaderName::from_static("ratelimit"),
                    HeaderName::from_static("ratelimit-policy"),
                    prefer::APPLIED,
                    CONTENT_DIGEST,
                    SIGNATURE_INPUT,
                    SIGNATURE,
                ]),
        )
}

fn wrong_method() -> ApiProblem {
    ApiProblem::new(
        ProblemKind::MethodNotAllowed,
        "this path takes another method",
    )
}

async fn within(timeout: std::time::Duration, request: Request, next: Next) -> Response {
    match tokio::time::timeout(timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiProblem::new(ProblemKind::Timeout, "the answer took too long").into_response(),
    }
}

/// Personal data is not for caches, and an answer is what its type says.
async fn answer_headers(origins: Origins, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let origin = origins.of(&head);
    let mut response = next.run(Request::from_parts(head, body)).await;
    let headers = response.headers_mut();
    // Who is refused learns where it says how to be allowed (RFC 9728 section 5.1).
    if let Some(origin) = origin
        && let Some(challenge) = headers
            .get(WWW_AUTHENTICATE)
            .and_then(|one| one.to_str().ok())
    {
        let metadata = origin.at(PROTECTED_RESOURCE);
        let whole = format!("{challenge}, resource_metadata=\"{metadata}\"");
        if let Ok(whole) = HeaderValue::try_from(whole) {
            headers.insert(WWW_AUTHENTICATE, whole);
        }
    }
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        HeaderName::from_static("referrer-policy"),
        HeaderValue::from_static("no-referrer"),
    );
    response
}
