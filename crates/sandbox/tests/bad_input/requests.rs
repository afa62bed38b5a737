//! Requests that are not what they should be.

use serde_json::{Value, json};

use super::Scene;
use crate::support::{NOTES, note};

impl Scene {
    async fn said(&mut self, path: &str, body: impl Into<bytes::Bytes>) -> crate::support::Answer {
        let headers = [("x-api-key", self.key.as_str())];
        self.node.send("POST", path, &headers, body).await
    }
}

#[tokio::test]
async fn a_selector_of_depth_10_000_is_refused() {
    let mut scene = Scene::set().await;
    let depth = 10_000;
    for (open, close) in [
        (r#"{"$not":"#, "}"),
        (r#"{"$and":["#, "]}"),
        (r#"{"a":"#, "}"),
        (r#"{"$or":[{"b":1},"#, "]}"),
    ] {
        let selector = format!("{}{{}}{}", open.repeat(depth), close.repeat(depth));
        let body = format!(r#"{{"query":{selector}}}"#);
        scene
            .said(NOTES, body)
            .await
            .problem(400, "request-malformed");
        // Deeper than a query may be, and not deeper than JSON may be.
        let selector = format!("{}{{}}{}", open.repeat(60), close.repeat(60));
        let body = format!(r#"{{"query":{selector}}}"#);
        let refused = scene.said(NOTES, body).await;
        refused.problem(400, "query-unsupported");
    }
    let lists = format!(
        r#"{{"query":{{"a":{}{}}}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    scene
        .said(NOTES, lists)
        .await
        .problem(400, "request-malformed");
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn a_selector_of_more_than_64_kib_is_refused() {
    let mut scene = Scene::set().await;
    let selector = |bytes: usize| json!({ "query": { "text": "x".repeat(bytes) } });
    scene
        .said(NOTES, selector(60 * 1024).to_string())
        .await
        .ok();
    let refused = scene.said(NOTES, selector(64 * 1024).to_string()).await;
    refused.problem(400, "query-unsupported");
    let many: Vec<Value> = (0..20_000).map(|n| json!({ "n": n })).collect();
    let refused = scene
        .said(NOTES, json!({ "query": { "$or": many } }).to_string())
        .await;
    refused.problem(400, "query-unsupported");
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn an_expression_that_never_ends_is_refused_or_answered_quickly() {
    let mut scene = Scene::set().await;
    for pattern in [
        "(a+)+$",
        "(x{1000}){1000}",
        "((((((((((a*)*)*)*)*)*)*)*)*)*b",
        "[",
        "(?<=a)b",
    ] {
        let body = json!({ "query": { "text": { "$regex": pattern } } });
        let answer = scene.said(NOTES, body.to_string()).await;
        assert!(
            [200, 400].contains(&answer.status.as_u16()),
            "{pattern}: {}",
            answer.status
        );
    }
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let mut scene = Scene::with("body_mib = 1").await;
    let body = |bytes: usize| {
        let empty = json!({ "record": { "text": "" } }).to_string().len();
        json!({ "record": { "text": "x".repeat(bytes - empty) } }).to_string()
    };
    let path = "/api/rest/v1/db/scratch";
    let refused = scene.said(path, body((1 << 20) + 1)).await;
    refused.problem(413, "request-too-large");
    scene.said(path, body(1 << 20)).await.ok();
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn malformed_json_is_refused() {
    let mut scene = Scene::set().await;
    for body in [
        "{",
        "nonsense",
        "[]",
        "1",
        "null",
        "{\"query\":{}} trailing",
        "{\"query\":{\"a\":NaN}}",
        "{\"quary\":{}}",
        "{\"query\":[]}",
        "{\"query\":{},\"selector\":{}}",
        "{\"query\":{},\"options\":[]}",
        "{\"query\":{},\"options\":{\"limit\":-1}}",
        "{\"query\":{},\"options\":{\"limit\":1e300}}",
        "{\"query\":{},\"options\":{\"skip\":\"a\"}}",
        "{\"query\":{},\"options\":{\"shift\":1}}",
    ] {
        let answer = scene.said(NOTES, body).await;
        assert_eq!(answer.status, 400, "{body}");
        let code = answer.json()["code"].as_str().unwrap().to_owned();
        assert!(
            ["request-malformed", "query-unsupported"].contains(&code.as_str()),
            "{body}"
        );
    }
    let refused = scene
        .said(NOTES, &b"{\"query\":{\"a\":\"\xff\xfe\"}}"[..])
        .await;
    refused.problem(400, "request-malformed");
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn a_record_that_cannot_be_one_is_refused() {
    let mut scene = Scene::set().await;
    let path = "/api/rest/v1/db/notes";
    let long = "x".repeat(1025);
    for (record, status, code) in [
        (json!({ "_id": "_design/x" }), 422, "record-invalid"),
        (json!({ "_id": "" }), 422, "record-invalid"),
        (json!({ "_id": ".." }), 422, "record-invalid"),
        (json!({ "_id": 7 }), 422, "record-invalid"),
        (json!({ "_id": long }), 422, "record-invalid"),
        (json!({ "_attachments": {} }), 422, "record-invalid"),
        (json!([]), 400, "request-malformed"),
        (Value::Null, 400, "request-malformed"),
    ] {
        let body = json!({ "record": record }).to_string();
        scene.said(path, body).await.problem(status, code);
    }
    // The schema's rules, with each violation by its place.
    let body = json!({ "record": { "name": 7 } }).to_string();
    let refused = scene.said("/api/rest/v1/ds/social-email", body).await;
    let refused = refused.problem(422, "record-invalid");
    assert!(!refused["errors"].as_array().unwrap().is_empty());
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn paths_that_lead_nowhere_are_refused() {
    let mut scene = Scene::set().await;
    let long = "x".repeat(3000);
    for path in [
        "/api/rest/v1/db/query/",
        "/api/rest/v1/db/query/../../etc/passwd",
        "/api/rest/v1/ds/query/aHR0cDovLzE2OS4yNTQuMTY5LjI1NC8=",
        "/api/rest/v1/ds/query/%ff%fe",
        "/api/rest/v1/nothing",
        "/%2e%2e/",
        "//",
        &format!("/api/rest/v1/db/query/{long}"),
    ] {
        let answer = scene.said(path, "{}").await;
        assert!(
            [400, 403, 404].contains(&answer.status.as_u16()),
            "{path}: {}",
            answer.status
        );
        let kind = answer.headers["content-type"].to_str().unwrap();
        assert_eq!(kind, "application/problem+json", "{path}");
    }
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn garbage_in_headers_is_refused() {
    let mut scene = Scene::set().await;
    let key = scene.key.clone();
    let huge = "x".repeat(40_000);
    for (name, value, statuses) in [
        ("x-api-key", "\u{fe}\u{ff}", &[401][..]),
        ("authorization", "Bearer \u{fe}\u{ff}", &[401][..]),
        ("authorization", "Bearer", &[401][..]),
        ("authorization", "Basic YTpi", &[401][..]),
        ("x-api-key", huge.as_str(), &[401, 431][..]),
    ] {
        let answer = scene.node.send("POST", NOTES, &[(name, value)], "{}").await;
        assert!(
            statuses.contains(&answer.status.as_u16()),
            "{name}: {}",
            answer.status
        );
    }
    // Beside a good credential, garbage is not looked at.
    for (name, value) in [
        ("accept", "\u{fe}/\u{ff}; q=x"),
        ("origin", "null\u{ff}"),
        ("range", "bytes=9-1"),
        ("x-forwarded-for", "127.0.0.1, ::1"),
        ("if-none-match", "*"),
    ] {
        let headers = [("x-api-key", key.as_str()), (name, value)];
        scene.node.send("POST", NOTES, &headers, "{}").await.ok();
    }
    let many: Vec<(String, String)> = (0..500).map(|n| (format!("x-{n}"), "a".into())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let answer = scene.node.send("POST", NOTES, &many, "{}").await;
    assert!([400, 401, 431].contains(&answer.status.as_u16()));
    scene.node.create_note(&key, &note(1)).await;
    scene.all_is_well_again().await;
}
