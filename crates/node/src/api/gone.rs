//! What the original's server has and this node leaves out on purpose: asked for, it says where to go instead.
//! `docs/migrating-from-verida.md` has the reason for each row; a test holds the one to the other.

use adyton_protocol::problem::ProblemKind;
use axum::extract::Request;
use serde_json::json;

use super::problem::ApiProblem;

/// The beginning of a path below `/api/rest/v1`, and what to use instead, if there is something.
pub(super) const GONE: [(&str, Option<&str>); 9] = [
    ("/info/memory", Some("/readyz")),
    ("/app/", Some("/api/rest/v1/auth/me")),
    ("/access/", None),
    ("/admin/logs", None),
    ("/admin/clearLogs", None),
    (
        "/admin/updateConfig",
        Some("/.well-known/adyton-attestation"),
    ),
    ("/integrations/", None),
    ("/telegram/", None),
    ("/auth/token-info", Some("/api/rest/v1/auth/me")),
];

/// Whatever is no route.
pub(super) async fn or_not_found(request: Request) -> ApiProblem {
    let below = request.uri().path().strip_prefix("/api/rest/v1");
    let row = below.and_then(|path| GONE.iter().find(|(gone, _)| is_below(path, gone)));
    let Some((_, instead)) = row else {
        return ApiProblem::not_found();
    };
    let problem = ApiProblem::new(
        ProblemKind::Gone,
        "this route of the original was left out on purpose",
    );
    match instead {
        Some(instead) => problem.with("instead", json!(instead)),
        None => problem,
    }
}

fn is_below(path: &str, gone: &str) -> bool {
    match gone.ends_with('/') {
        true => path.starts_with(gone),
        false => path == gone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_for_those_who_come_from_the_original_names_what_is_gone_and_no_more() {
        let page = include_str!("../../../../docs/migrating-from-verida.md");
        let rows: Vec<&str> = page
            .lines()
            .filter(|line| line.starts_with("| gone |"))
            .filter_map(|line| line.split('`').nth(1))
            .collect();
        let paths: Vec<&str> = GONE.iter().map(|(path, _)| *path).collect();
        assert_eq!(rows, paths);
    }
}
