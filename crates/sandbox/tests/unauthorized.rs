//! Every route × every kind of missing or wrong credential, with one answer for each pair. A route that is not in
//! the table (`unauthorized/table.rs`) fails it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub,
    missing_docs
)]

mod caller;
#[path = "unauthorized/stage.rs"]
mod stage;
#[path = "unauthorized/table.rs"]
mod table;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use adyton_node::api::{Route, routes};
use adyton_sandbox::{Options, Sandbox};
use caller::{Answer, Caller};
use serde_json::json;
use stage::{EMAIL, EMAIL_DATABASE, MARK, RECORD, Stage, TOKEN_LIFE};
use stage::{account, email, everything, mint, open, with_schema};
use table::{Expect, Guard, KINDS, Kind, TABLE, expected};

/// Holds an answer to what the table says, and any answer that is not the owner's to silence about the owner.
fn hold(row: (&str, &str, Guard), kind: Kind, answer: &Answer) {
    let (method, path, guard) = row;
    let at = format!("{method} {path} as {kind:?}");
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let may_see = guard == Guard::Public || matches!(kind, Kind::Owner | Kind::LeastToken);
    assert!(
        may_see || !text.contains(MARK),
        "{at} shows the record: {text}"
    );
    match expected(guard, path, kind) {
        Expect::Problem(status, code) => {
            assert_eq!(answer.problem(), (status, code.to_owned()), "{at}: {text}");
            let challenge = answer.headers.contains_key("www-authenticate");
            assert_eq!(
                challenge,
                matches!(status, 401 | 403),
                "{at}: WWW-Authenticate goes with 401 and 403"
            );
        }
        Expect::NoForm => {
            let said = (answer.status.as_u16(), answer.json()["error"].clone());
            assert_eq!(said, (400, json!("invalid_request")), "{at}: {text}");
        }
        Expect::OwnEmptiness => {
            assert!(answer.status.is_success(), "{at}: {} {text}", answer.status);
            // What the caller named comes back to it as missing.
            let missing = format!("\"missing\":[\"{RECORD}\"]");
            assert!(!text.replace(&missing, "").contains(RECORD), "{at}: {text}");
        }
        Expect::Served => assert!(answer.status.is_success(), "{at}: {} {text}", answer.status),
        Expect::NotApplicable => panic!("{at} was asked"),
    }
    assert_eq!(answer.headers["cache-control"], "no-store", "{at}");
}

#[tokio::test]
async fn every_route_refuses_every_wrong_credential_with_the_right_problem() {
    let mut stage = Stage::new().await;
    let before = stage.record().await;
    let owner = stage.owner.to_string();
    let mut asked = 0;
    for row in TABLE.iter().copied() {
        for kind in KINDS {
            if expected(row.2, row.1, kind) == Expect::NotApplicable || kind == Kind::ExpiredToken {
                continue;
            }
            let answer = stage.ask(row, kind).await;
            hold(row, kind, &answer);
            asked += 1;
        }
        // An owner has room for 256 tokens; the tokens of one route are enough for one route.
        end_all_but(&mut stage.caller, &owner, &stage.token_id).await;
    }
    // Last, because time only goes forward, and the next token that is made clears the expired ones away.
    let scopes = everything();
    let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
    stage.expired = stage.mint(&owner, &scopes, Some(TOKEN_LIFE)).await.0;
    let live = stage
        .ask(
            ("GET", "/api/rest/v1/auth/me", Guard::Anyone),
            Kind::ExpiredToken,
        )
        .await;
    assert_eq!(live.status, 200, "alive until then: {}", live.json());
    stage.seconds.fetch_add(TOKEN_LIFE, Ordering::SeqCst);
    for row in TABLE.iter().copied() {
        let answer = stage.ask(row, Kind::ExpiredToken).await;
        hold(row, Kind::ExpiredToken, &answer);
        asked += 1;
    }
    assert!(asked > 600, "{asked}");
    assert_eq!(
        stage.record().await,
        before,
        "nobody changed the owner's record"
    );
    stage.sandbox.shutdown().await;
}

async fn end_all_but(caller: &mut Caller, owner: &str, kept: &str) {
    let list = caller
        .send(
            "GET",
            "/api/rest/v1/auth/tokens",
            &[("x-api-key", owner)],
            None,
        )
        .await
        .json();
    for token in list["tokens"].as_array().unwrap() {
        let id = token["_id"].as_str().unwrap();
        if id != kept {
            let path = format!("/api/rest/v1/auth/tokens/{id}");
            assert_eq!(
                caller
                    .send("DELETE", &path, &[("x-api-key", owner)], None)
                    .await
                    .status,
                200
            );
        }
    }
    let text = list.to_string();
    assert!(
        text.contains(kept) && !text.contains("adyt_"),
        "the list shows ids and no tokens"
    );
}

#[test]
fn the_table_says_something_about_every_kind() {
    for kind in KINDS {
        let refusals = TABLE
            .iter()
            // Some routes take what these callers do not send, and refuse everybody.
            .filter(|(_, path, guard)| {
                let of_app = path.ends_with("/auth/auth") || path.ends_with("/auth/token");
                *guard != Guard::Public && !of_app && !path.contains("{request}")
            })
            .filter(|(_, path, guard)| matches!(expected(*guard, path, kind), Expect::Problem(..)))
            .count();
        // The controls are served, by all routes or by all but the owner's.
        assert_eq!(refusals == 0, kind == Kind::Owner, "{kind:?}");
    }
}

#[test]
fn the_table_names_the_routes_and_no_others() {
    let declared: Vec<_> = routes()
        .map(|route| (route.method, route.path, route.public))
        .collect();
    let tabled: Vec<_> = TABLE
        .iter()
        .map(|(method, path, guard)| (*method, *path, *guard == Guard::Public))
        .collect();
    for row in &tabled {
        assert!(declared.contains(row), "no such route: {row:?}");
    }
    for route in &declared {
        assert!(
            tabled.contains(route),
            "a route is not in the table: {route:?}"
        );
    }
    let unique: std::collections::HashSet<_> = declared
        .iter()
        .map(|(method, path, _)| (method, path))
        .collect();
    assert_eq!(
        (unique.len(), tabled.len()),
        (declared.len(), declared.len())
    );
}

#[tokio::test]
async fn an_unknown_path_and_an_unknown_method_are_problems_for_everybody() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let session = open(&sandbox, &account(), "Verida: Vault")
        .await
        .expose_api_key();
    let mut caller = Caller::connect(&sandbox.node_url()).await;
    for headers in [
        &[][..],
        &[("x-api-key", session.as_str())],
        &[("authorization", "Bearer x")],
    ] {
        for path in [
            "/",
            "/api",
            "/api/rest/v1",
            "/api/rest/v1/",
            "/api/rest/v1/auth",
            "/api/rest/v1/ds",
            "/api/rest/v2/auth/me",
            "/api/rest/v1/auth/me/",
            "/API/REST/V1/auth/me",
            "/metrics",
            "/debug",
            "/.well-known/",
            "/.well-known/other",
            "/api/rest/v1/ds/get/social-email/a/b",
            "/api/rest/v1/auth/tokens/a/b",
            "//livez",
            "/livez/",
        ] {
            let answer = caller.send("GET", path, headers, None).await;
            assert_eq!(answer.problem(), (404, "not-found".to_owned()), "{path}");
        }
        for Route { method, path, .. } in routes() {
            for other in ["GET", "POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"] {
                let known = routes().any(|route| {
                    // HEAD comes with GET; a path can have several methods, also by another row's parameters.
                    route.method == other && same_shape(route.path, path)
                });
                if known || other == *method {
                    continue;
                }
                let answer = caller
                    .send(other, path.replace(['{', '}'], "").as_str(), headers, None)
                    .await;
                let (status, code) = answer.problem();
                assert_eq!(
                    (status, code.as_str()),
                    (405, "method-not-allowed"),
                    "{other} {path}"
                );
            }
        }
    }
    drop(caller);
    sandbox.shutdown().await;
}

/// Whether a request for the second path also fits the first.
fn same_shape(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<_>, Vec<_>) =
        (pattern.split('/').collect(), path.split('/').collect());
    pattern.len() == path.len()
        && pattern
            .iter()
            .zip(&path)
            .all(|(one, other)| one == other || one.starts_with('{'))
}

#[tokio::test]
async fn a_hundred_callers_at_a_time_each_get_exactly_what_is_theirs() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let session = open(&sandbox, &account(), "Verida: Vault")
        .await
        .expose_api_key();
    let mut caller = Caller::connect(&sandbox.node_url()).await;
    let create = format!("/api/rest/v1/db/{EMAIL_DATABASE}");
    for n in 0..5 {
        let record = json!({ "record": with_schema(email(&format!("mail-{n}"), MARK), EMAIL) });
        let made = caller
            .send("POST", &create, &[("x-api-key", &session)], Some(&record))
            .await;
        assert_eq!(made.status, 201, "{}", made.json());
    }
    let reader = mint(
        &mut caller,
        &session,
        &["api:ds-query", "ds:r:social-email"],
        None,
    )
    .await
    .0;
    let other = mint(
        &mut caller,
        &session,
        &["api:ds-query", "ds:rwd:social-post"],
        None,
    )
    .await
    .0;
    let (reader, other) = (format!("Bearer {reader}"), format!("Bearer {other}"));

    // Who asks what, and what comes back: the status, and for a query how many records.
    let email_query = "/api/rest/v1/ds/query/social-email";
    let post_query = "/api/rest/v1/ds/query/social-post";
    let tokens = "/api/rest/v1/auth/tokens";
    let owner = ("x-api-key", session.to_string());
    let (reader, other) = (("authorization", reader), ("authorization", other));
    let cases = [
        (owner.clone(), "POST", email_query, 200, Some(5)),
        (owner.clone(), "POST", post_query, 200, Some(0)),
        (owner, "GET", tokens, 200, None),
        (reader.clone(), "POST", email_query, 200, Some(5)),
        (reader.clone(), "POST", post_query, 403, None),
        (reader, "GET", tokens, 403, None),
        (other.clone(), "POST", email_query, 403, None),
        (other.clone(), "POST", post_query, 200, Some(0)),
        (other, "GET", tokens, 403, None),
    ];
    let url = sandbox.node_url();
    let together = Arc::new(tokio::sync::Barrier::new(100));
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..100 {
        let ((name, value), method, path, status, records) = cases[n % cases.len()].clone();
        let (url, together) = (url.clone(), Arc::clone(&together));
        calls.spawn(async move {
            let mut caller = Caller::connect(&url).await;
            together.wait().await;
            for _ in 0..5 {
                let body = (method == "POST").then(|| json!({}));
                let answer = caller
                    .send(method, path, &[(name, &value)], body.as_ref())
                    .await;
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                assert_eq!(answer.status, status, "{n} {path}: {text}");
                let found = answer.json()["items"].as_array().map(Vec::len);
                assert_eq!(found, records, "{n} {path}: {text}");
                assert_eq!(text.contains(MARK), records == Some(5), "{n} {path}");
            }
        });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
    drop(caller);
    sandbox.shutdown().await;
}
