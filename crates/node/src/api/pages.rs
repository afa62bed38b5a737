//! The pages that a person sees: consent, console, API browser. Built from `web/`, and part of this program.
//!
//! A page runs no script but its own, asks nobody but this node, and stands in nobody's frame. Nothing here knows who looks.

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH,
};
use http::{HeaderValue, StatusCode};

use super::problem::ApiProblem;
use super::routes::Route;

/// The routes that this module answers.
pub(super) const ROUTES: [Route; 4] = [
    Route::public("GET", "/consent", || routing::get(built)),
    Route::public("GET", "/console", || routing::get(built)),
    Route::public("GET", "/docs", || routing::get(built)),
    Route::public("GET", "/assets/{file}", || routing::get(built)),
];

/// A built file. The name of an asset comes from its content.
struct Built {
    path: &'static str,
    bytes: &'static [u8],
}

include!("../../pages/built.rs");

/// What a page may do: its own scripts, styles and requests. No markup is ever made from text (trusted types).
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
connect-src 'self'; frame-ancestors 'none'; form-action 'none'; base-uri 'none'; \
require-trusted-types-for 'script'; trusted-types 'none'";

const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// The file at this path, or not found.
async fn built(request: Request) -> Response {
    let path = request.uri().path();
    let Some(file) = BUILT.iter().find(|file| file.path == path) else {
        return ApiProblem::not_found().into_response();
    };
    match path.strip_prefix("/assets/") {
        Some(name) => asset(file, name, &request),
        None => page(file),
    }
}

fn page(file: &Built) -> Response {
    let mut response = file.bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(PAGE_POLICY),
    );
    // The app that opened a page in a window of its own gets no hold of it.
    headers.insert(
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    );
    headers.insert(
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    );
    response
}

fn asset(file: &Built, name: &str, request: &Request) -> Response {
    let tag = HeaderValue::from_str(&format!("\"{name}\"")).ok();
    let known = request.headers().get(IF_NONE_MATCH);
    let known = known
        .and_then(|tags| tags.to_str().ok())
        .unwrap_or_default();
    // Compressed on its way, a file has a weak tag; here both count (RFC 9110 section 13.1.2).
    let is_known = known
        .split(',')
        .any(|one| one.trim().trim_start_matches("W/").trim_matches('"') == name);
    let mut response = match is_known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => file.bytes.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind(name)));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(FOR_EVER));
    if let Some(tag) = tag {
        headers.insert(ETAG, tag);
    }
    response
}

fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The addresses that a page names: of scripts, styles, icons.
    fn named(page: &str) -> Vec<&str> {
        page.split('"')
            .filter(|text| text.starts_with('/') || text.contains("://"))
            .collect()
    }

    #[test]
    fn every_page_names_only_files_that_are_built_in() {
        let pages: Vec<&Built> = BUILT
            .iter()
            .filter(|file| !file.path.starts_with("/assets/"))
            .collect();
        assert_eq!(pages.len(), 3);
        for page in pages {
            let text = std::str::from_utf8(page.bytes).unwrap();
            let names = named(text);
            assert!(names.len() >= 3, "{}", page.path);
            for name in names {
                let known = BUILT.iter().any(|file| file.path == name);
                assert!(
                    known || name == "/openapi.json",
                    "{} names {name}",
                    page.path
                );
            }
            assert!(
                !text.contains("<script>"),
                "{} has a script in it",
                page.path
            );
            assert!(!text.contains("style="), "{} has a style in it", page.path);
        }
    }

    #[test]
    fn every_file_has_a_type_that_browsers_run_or_show() {
        for file in &BUILT {
            if let Some(name) = file.path.strip_prefix("/assets/") {
                assert_ne!(kind(name), "application/octet-stream", "{name}");
            }
        }
    }
}
