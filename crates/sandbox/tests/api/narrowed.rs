//! What an app gets through a grant that its user narrowed, over every route that reads or writes.

use serde_json::{Value, json};

use super::{Scene, email};

/// A person with three mails, one of each month, and a token that sees February without bodies.
async fn scene() -> (Scene, String) {
    let mut scene = Scene::set().await;
    for (id, month) in [("jan", 1), ("feb", 2), ("mar", 3)] {
        let mut mail = email(id, &format!("subject of {id}"));
        mail["sentAt"] = format!("2026-0{month}-15T12:00:00.000Z").into();
        mail["messageText"] = format!("body-of-{id}").into();
        mail["attachments"] =
            json!([{ "id": "1", "filename": "a.txt", "textContent": format!("body-of-{id}") }]);
        scene.create("/ds/social-email", &mail).await;
    }
    let token = token(&mut scene, &["ds:rwd:social-email"], "ds:social-email").await;
    (scene, token)
}

async fn token(scene: &mut Scene, scopes: &[&str], target: &str) -> String {
    let api = [
        "ds-query",
        "ds-get-by-id",
        "ds-create",
        "ds-update",
        "ds-delete",
        "db-query",
        "db-get-by-id",
        "db-update",
    ];
    let mut all: Vec<_> = api.iter().map(|name| format!("api:{name}")).collect();
    all.extend(scopes.iter().map(|&scope| scope.to_owned()));
    let terms = json!({ "scopes": all, "purpose": "To look at February.", "narrow": [{
        "target": target, "from": "2026-02-01T00:00:00Z", "until": "2026-03-01T00:00:00Z",
        "without": ["messageText", "attachments.textContent"],
    }] });
    let minted = scene.ask("POST", "/auth/token", &terms).await;
    assert_eq!(minted.status, 201, "{}", minted.json());
    minted.json()["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_narrowed_app_sees_its_window_without_what_was_left_out() {
    let (mut scene, token) = scene().await;
    let whole = token_of_database(&mut scene).await;
    for (token, door) in [(&token, "ds"), (&whole, "db")] {
        let name = if door == "ds" {
            "social-email"
        } else {
            "social_email"
        };
        let found = scene
            .ask_as(token, "POST", &format!("/{door}/query/{name}"), &json!({}))
            .await;
        let found = found.ok();
        let (total, rows) = (&found["total"], &found["dbRows"]);
        assert_eq!(
            (total, rows, &found["unreadable"]),
            (&json!(1), &json!(1), &json!(0))
        );
        let [mail] = found["items"].as_array().unwrap().as_slice() else {
            panic!("{found}")
        };
        assert_eq!(
            (&mail["_id"], &mail["attachments"]),
            (&json!("feb"), &json!([{ "id": "1", "filename": "a.txt" }]))
        );
        assert!(
            mail["_rev"].is_string()
                && mail.get("signatures").is_none()
                && mail.get("messageText").is_none()
        );
        let got = scene
            .ask_as(
                token,
                "GET",
                &format!("/{door}/get/{name}/feb"),
                &Value::Null,
            )
            .await;
        assert_eq!(&got.ok()["item"], mail);
        for id in ["jan", "mar", "nobody"] {
            let got = scene
                .ask_as(
                    token,
                    "GET",
                    &format!("/{door}/get/{name}/{id}"),
                    &Value::Null,
                )
                .await;
            got.problem(404, "not-found");
        }
        let count = scene
            .ask_as(token, "POST", &format!("/{door}/count/{name}"), &json!({}))
            .await;
        assert_eq!(count.ok()["count"], 1);
    }
}

async fn token_of_database(scene: &mut Scene) -> String {
    token(scene, &["db:r:social_email"], "db:social_email").await
}

#[tokio::test]
async fn a_question_about_what_was_left_out_is_refused_whatever_the_data() {
    let (mut scene, token) = scene().await;
    for body in [
        json!({ "query": { "messageText": { "$regex": "body" } } }),
        json!({ "query": { "attachments.0.textContent": "x" } }),
        json!({ "query": { "attachments": { "$elemMatch": { "textContent": "x" } } } }),
        json!({ "query": { "signatures": { "$exists": true } } }),
        json!({ "options": { "sort": [{ "messageText": "asc" }] } }),
        json!({ "options": { "fields": ["_id", "messageText"] } }),
    ] {
        let refused = scene
            .ask_as(&token, "POST", "/ds/query/social-email", &body)
            .await;
        refused.problem(403, "field-not-granted");
    }
    let query = json!({ "query": { "attachments": { "$elemMatch": { "filename": "a.txt" } } } });
    let found = scene
        .ask_as(&token, "POST", "/ds/query/social-email", &query)
        .await;
    assert_eq!(found.ok()["total"], 1);
    let me = scene.ask_as(&token, "GET", "/auth/me", &Value::Null).await;
    assert_eq!(
        me.ok()["narrow"][0]["without"],
        json!(["attachments.textContent", "messageText"])
    );
    assert_eq!(me.ok()["purpose"], "To look at February.");
}

#[tokio::test]
async fn who_does_not_see_all_of_a_record_may_create_but_not_change_or_delete() {
    let (mut scene, token) = scene().await;
    let path = "/ds/social-email/feb";
    let record = email("feb", "changed");
    for (method, body) in [
        (
            "PUT",
            json!({ "record": record, "options": { "forceUpdate": true } }),
        ),
        ("PATCH", json!({ "record": { "name": "changed" } })),
        ("DELETE", Value::Null),
    ] {
        let refused = scene.ask_as(&token, method, path, &body).await;
        refused.problem(403, "field-not-granted");
    }
    let made = scene
        .ask_as(
            &token,
            "POST",
            "/ds/social-email",
            &json!({ "record": email("new", "n") }),
        )
        .await;
    assert_eq!(made.status, 201, "{}", made.json());
    assert_eq!(made.json()["record"].get("messageText"), None);
    let kept = scene
        .ask("GET", "/ds/get/social-email/feb", &Value::Null)
        .await;
    assert_eq!(kept.ok()["item"]["messageText"], "body-of-feb");
    let kept = scene
        .ask("GET", "/ds/get/social-email/new", &Value::Null)
        .await;
    assert_eq!(kept.ok()["item"]["messageText"], "hello");
}

#[tokio::test]
async fn pages_go_on_with_a_cursor_and_a_larger_limit_is_the_largest() {
    let (mut scene, _) = scene().await;
    let mut seen = Vec::new();
    let mut body = json!({ "options": { "limit": 2, "sort": [{ "sentAt": "desc" }] } });
    loop {
        let page = scene.ask("POST", "/ds/query/social-email", &body).await;
        let page = page.ok();
        assert_eq!((&page["limit"], &page["total"]), (&json!(2), &json!(3)));
        seen.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["_id"].clone()),
        );
        let Some(cursor) = page.get("cursor") else {
            break;
        };
        body["options"]["cursor"] = cursor.clone();
    }
    assert_eq!(seen, ["mar", "feb", "jan"]);
    let all = scene
        .ask(
            "POST",
            "/ds/query/social-email",
            &json!({ "options": { "limit": 1_000_000 } }),
        )
        .await;
    assert_eq!(
        (
            &all.ok()["limit"],
            all.ok()["items"].as_array().unwrap().len()
        ),
        (&json!(100_000), 3)
    );
    for cursor in [json!("nonsense"), json!(7)] {
        let body = json!({ "options": { "cursor": cursor } });
        assert_eq!(
            scene
                .ask("POST", "/ds/query/social-email", &body)
                .await
                .status,
            400
        );
    }
}

#[tokio::test]
async fn terms_that_are_not_understood_make_no_token() {
    let mut scene = Scene::set().await;
    for (terms, code) in [
        (
            json!({ "narrow": [{ "target": "ds:file", "without": ["a"] }] }),
            "scope-invalid",
        ),
        (
            json!({ "narrow": [{ "target": "ds:social-email", "without": ["_id"] }] }),
            "scope-invalid",
        ),
        (
            json!({ "narrow": [{ "target": "ds:social-email", "hours": 3 }] }),
            "request-malformed",
        ),
        (
            json!({ "narrow": [{ "target": "ds:social-email" }] }),
            "request-malformed",
        ),
        (
            json!({ "rate": { "requests": 0, "seconds": 1 } }),
            "request-malformed",
        ),
    ] {
        let mut body = terms.clone();
        body["scopes"] = json!(["ds:r:social-email"]);
        scene
            .ask("POST", "/auth/token", &body)
            .await
            .problem(400, code);
    }
}
