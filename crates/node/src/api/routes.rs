//! Every route of the node, in one table. The table makes the router, and the tests walk it: a route
//! that is not in it does not exist, and one that the tests do not cover fails the build.

use std::sync::Arc;

use adyton_protocol::problem::ProblemKind;
use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post, put};
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderName, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method};
use tower_http::cors::{Any, CorsLayer};

use super::problem::ApiProblem;
use super::records::{Db, Ds};
use super::{Api, health, info, records, tokens};
use crate::attestation::NodeKeys;
use crate::sealed_requests::{self, Gateway};
use crate::signed_answers::{
    ACCEPT_SIGNATURE, CONTENT_DIGEST, SIGNATURE, SIGNATURE_INPUT, Signer, sign,
};

/// A route: method and path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The method.
    pub method: &'static str,
    /// The path, with `{parameters}`.
    pub path: &'static str,
    /// Answered without a credential.
    pub public: bool,
}

const fn route(method: &'static str, path: &'static str) -> Route {
    Route {
        method,
        path,
        public: false,
    }
}

const fn public(method: &'static str, path: &'static str) -> Route {
    Route {
        method,
        path,
        public: true,
    }
}

/// All routes.
pub const ROUTES: [Route; 22] = [
    public("GET", "/livez"),
    public("GET", "/readyz"),
    public("GET", "/api/rest/v1/info/status"),
    public("GET", "/api/rest/v1/auth/scopes"),
    route("GET", "/api/rest/v1/auth/me"),
    route("POST", "/api/rest/v1/auth/token"),
    route("GET", "/api/rest/v1/auth/tokens"),
    route("DELETE", "/api/rest/v1/auth/tokens/{id}"),
    route("GET", "/api/rest/v1/ds/get/{schema}/{id}"),
    route("POST", "/api/rest/v1/ds/query/{schema}"),
    route("POST", "/api/rest/v1/ds/count/{schema}"),
    route("POST", "/api/rest/v1/ds/{schema}"),
    route("PUT", "/api/rest/v1/ds/{schema}/{id}"),
    route("DELETE", "/api/rest/v1/ds/{schema}/{id}"),
    route("GET", "/api/rest/v1/db/get/{database}/{id}"),
    route("POST", "/api/rest/v1/db/query/{database}"),
    route("POST", "/api/rest/v1/db/count/{database}"),
    route("POST", "/api/rest/v1/db/{database}"),
    route("PUT", "/api/rest/v1/db/{database}/{id}"),
    route("DELETE", "/api/rest/v1/db/{database}/{id}"),
    public("GET", "/.well-known/adyton-attestation"),
    public("POST", sealed_requests::PATH),
];

/// The router: the table's routes, the attestation route beside them, and around both the route for sealed requests
/// (these two are in the table, too). The keys sign what is answered, if a caller asks for that, and open what is sealed.
pub fn router(api: Arc<Api>, attestation: Router, keys: NodeKeys) -> Router {
    let timeout = api.config.request_timeout;
    let signer = Signer {
        keys: keys.clone(),
        clock: api.clock.clone(),
    };
    let (clock, bodies) = (api.clock.clone(), api.bodies.clone());
    let body_bytes = api.config.body_bytes;
    let mut router = Router::new();
    for route in ROUTES {
        if let Some(handler) = handler(route) {
            router = router.route(route.path, handler);
        }
    }
    let router = router
        .with_state(api)
        .merge(attestation)
        // After the last route: the second one holds only for routes that are already there.
        .fallback(async || ApiProblem::not_found())
        .method_not_allowed_fallback(async || wrong_method())
        .layer(middleware::from_fn(move |request, next| {
            within(timeout, request, next)
        }))
        .layer(middleware::from_fn(move |request, next| {
            sign(signer.clone(), request, next)
        }));
    let gateway = Gateway::new(keys, clock, router.clone(), bodies, body_bytes);
    let sealed = post(sealed_requests::open).fallback(async || wrong_method());
    router
        .route(sealed_requests::PATH, sealed.with_state(gateway))
        .layer(middleware::from_fn(answer_headers))
        .layer(
            CorsLayer::new()
                .allow_origin(Any)
                .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
                // By name: browsers do not take `*` for `authorization`.
                .allow_headers([
                    AUTHORIZATION,
                    CONTENT_TYPE,
                    HeaderName::from_static("x-api-key"),
                    ACCEPT_SIGNATURE,
                    CONTENT_DIGEST,
                ])
                .expose_headers([CONTENT_DIGEST, SIGNATURE_INPUT, SIGNATURE]),
        )
}

fn handler(route: Route) -> Option<MethodRouter<Arc<Api>>> {
    let path = route
        .path
        .strip_prefix("/api/rest/v1")
        .unwrap_or(route.path);
    Some(match (route.method, path) {
        ("GET", "/livez") => get(health::livez),
        ("GET", "/readyz") => get(health::readyz),
        ("GET", "/info/status") => get(info::status),
        ("GET", "/auth/scopes") => get(tokens::scopes),
        ("GET", "/auth/me") => get(tokens::me),
        ("POST", "/auth/token") => post(tokens::create),
        ("GET", "/auth/tokens") => get(tokens::list),
        ("DELETE", "/auth/tokens/{id}") => delete(tokens::revoke),
        ("GET", "/ds/get/{schema}/{id}") => get(records::get::<Ds>),
        ("POST", "/ds/query/{schema}") => post(records::query::<Ds>),
        ("POST", "/ds/count/{schema}") => post(records::count::<Ds>),
        ("POST", "/ds/{schema}") => post(records::create::<Ds>),
        ("PUT", "/ds/{schema}/{id}") => put(records::update::<Ds>),
        ("DELETE", "/ds/{schema}/{id}") => delete(records::delete::<Ds>),
        ("GET", "/db/get/{database}/{id}") => get(records::get::<Db>),
        ("POST", "/db/query/{database}") => post(records::query::<Db>),
        ("POST", "/db/count/{database}") => post(records::count::<Db>),
        ("POST", "/db/{database}") => post(records::create::<Db>),
        ("PUT", "/db/{database}/{id}") => put(records::update::<Db>),
        ("DELETE", "/db/{database}/{id}") => delete(records::delete::<Db>),
        _ => return None,
    })
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
async fn answer_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
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
