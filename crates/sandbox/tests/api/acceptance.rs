//! Cases in which the original fails: counts that never return, records that disappear, errors that are no JSON.

use serde_json::{Value, json};

use super::{Scene, email};

/// Defect 15: a count of a thousand or more never came back.
#[tokio::test]
async fn a_count_is_right_below_at_and_above_a_thousand() {
    let mut scene = Scene::set().await;
    let mut held = 0;
    for more in [999, 1, 1, 1000] {
        let records: Vec<Value> = (held..held + more)
            .map(|n| json!({ "_id": format!("n{n}"), "n": n }))
            .collect();
        scene
            .ask("POST", "/db/bulk/notes", &json!({ "records": records }))
            .await
            .ok();
        held += more;
        let all = scene.ask("POST", "/db/count/notes", &json!({})).await.ok();
        let some = scene
            .ask(
                "POST",
                "/db/count/notes",
                &json!({ "query": { "n": { "$gte": 1 } } }),
            )
            .await
            .ok();
        assert_eq!(
            (&all["count"], &some["count"]),
            (&json!(held), &json!(held - 1))
        );
        let page = scene.ask("POST", "/db/query/notes", &json!({})).await.ok();
        assert_eq!(
            (&page["total"], &page["dbRows"]),
            (&json!(held), &json!(held))
        );
    }
}

/// Sorting by what has no index was an error, and took away the records without the field.
#[tokio::test]
async fn any_field_sorts_and_no_record_disappears() {
    let mut scene = Scene::set().await;
    let records = json!({ "records": [
        { "_id": "b", "n": 2 }, { "_id": "a", "n": 2 }, { "_id": "none" }, { "_id": "null", "n": null },
        { "_id": "false", "n": false }, { "_id": "text", "n": "x" }, { "_id": "one", "n": 1 },
    ] });
    scene.ask("POST", "/db/bulk/notes", &records).await.ok();
    for (direction, order) in [
        ("asc", ["false", "one", "a", "b", "text", "none", "null"]),
        ("desc", ["text", "a", "b", "one", "false", "none", "null"]),
    ] {
        let query = json!({ "options": { "sort": [{ "n": direction }], "fields": ["_id"] } });
        let found = scene.ask("POST", "/db/query/notes", &query).await.ok();
        let items = found["items"].as_array().unwrap();
        let ids: Vec<&str> = items
            .iter()
            .map(|item| item["_id"].as_str().unwrap())
            .collect();
        assert_eq!(ids, order, "{direction}");
    }
}

/// Defect 23: a `schema` in the selector replaced the one of the path.
#[tokio::test]
async fn a_schema_in_the_selector_opens_no_other() {
    let mut scene = Scene::set().await;
    scene.create("/ds/social-email", &email("e1", "one")).await;
    let hidden = json!({ "_id": "hidden", "schema": "https://other/schema.json" });
    scene.create("/db/social_email", &hidden).await;
    let token = scene.token(&["api:ds-query", "ds:r:social-email"]).await;
    for schema in [
        json!("https://other/schema.json"),
        json!({ "$exists": true }),
        json!({ "$ne": "x" }),
    ] {
        let query = json!({ "query": { "schema": schema } });
        let found = scene
            .ask_as(&token, "POST", "/ds/query/social-email", &query)
            .await;
        assert!(
            !String::from_utf8_lossy(&found.body).contains("hidden"),
            "{schema}"
        );
        let or = json!({ "query": { "$or": [{ "schema": schema }, { "_id": "hidden" }] } });
        let found = scene
            .ask_as(&token, "POST", "/ds/count/social-email", &or)
            .await;
        assert!(found.ok()["count"].as_u64().unwrap() <= 1, "{schema}");
    }
}

/// Defect 22: the wrong scope guarded `PUT /db`, and it created what was not there.
#[tokio::test]
async fn a_put_changes_what_is_there_and_creates_nothing() {
    let mut scene = Scene::set().await;
    scene.create("/db/notes", &json!({ "_id": "a" })).await;
    let getter = scene.token(&["api:db-get-by-id", "db:rw:notes"]).await;
    let body = json!({ "record": { "n": 1 }, "options": { "forceUpdate": true } });
    scene
        .ask_as(&getter, "PUT", "/db/notes/a", &body)
        .await
        .problem(403, "scope-missing");
    let updater = scene.token(&["api:db-update", "db:rw:notes"]).await;
    scene
        .ask_as(&updater, "PUT", "/db/notes/a", &body)
        .await
        .ok();
    scene
        .ask_as(&updater, "PUT", "/db/notes/b", &body)
        .await
        .problem(404, "not-found");
    assert_eq!(
        scene.ask("POST", "/db/count/notes", &json!({})).await.ok()["count"],
        1
    );
}

/// Defects 9 and 25: one request without parameters ended the process; errors were text, HTML, or a success.
#[tokio::test]
async fn requests_without_anything_in_them_are_problems_and_the_node_lives() {
    let mut scene = Scene::set().await;
    for (method, path) in [
        ("POST", "/auth/auth"),
        ("GET", "/auth/check-scope"),
        ("GET", "/auth/revoke"),
        ("POST", "/auth/token"),
        ("POST", "/db/notes"),
        ("PUT", "/db/notes/a"),
        ("POST", "/db/bulk/notes"),
        ("POST", "/db/bulk-get/notes"),
        ("POST", "/db/aggregate/notes"),
        ("DELETE", "/db/notes"),
        ("DELETE", "/ds/social-email"),
    ] {
        for body in [Value::Null, json!({})] {
            let answer = scene.ask(method, path, &body).await;
            let status = answer.status.as_u16();
            assert!((400..500).contains(&status), "{method} {path}: {status}");
            answer.problem(status, answer.json()["code"].as_str().unwrap());
        }
    }
    scene.ask("GET", "/auth/me", &Value::Null).await.ok();
}

#[tokio::test]
async fn aggregates_count_what_a_caller_may_see() {
    let mut scene = Scene::set().await;
    for (id, from) in [("e1", "ada"), ("e2", "ada"), ("e3", "grace")] {
        let mut record = email(id, "one");
        record["fromName"] = json!(from);
        scene.create("/ds/social-email", &record).await;
    }
    scene
        .create(
            "/db/social_email",
            &json!({ "_id": "other", "fromName": "nobody" }),
        )
        .await;
    let measures = json!({ "aggregates": [{ "by": "fromName" }, { "of": "sentAt" }] });
    let found = scene
        .ask("POST", "/ds/aggregate/social-email", &measures)
        .await
        .ok();
    let values = json!([{ "value": "ada", "count": 2 }, { "value": "grace", "count": 1 }]);
    let [by, of] = [&found["aggregates"][0], &found["aggregates"][1]];
    assert_eq!((&by["values"], &of["count"]), (&values, &json!(3)));
    let some = json!({ "query": { "fromName": "grace" }, "aggregates": [{ "by": "fromName" }] });
    let found = scene
        .ask("POST", "/db/aggregate/social_email", &some)
        .await
        .ok();
    assert_eq!(
        found["aggregates"][0]["values"],
        json!([{ "value": "grace", "count": 1 }])
    );
    for wrong in [
        json!({}),
        json!({ "aggregates": [{}] }),
        json!({ "aggregates": vec![json!({ "by": "a" }); 9] }),
        json!({ "aggregates": [], "x": 1 }),
    ] {
        let refused = scene
            .ask("POST", "/db/aggregate/social_email", &wrong)
            .await;
        assert_eq!(refused.status, 400, "{wrong}");
    }
    let query = json!({ "query": { "fromName": "ada" } });
    let plan = scene
        .ask("POST", "/ds/explain/social-email", &query)
        .await
        .ok();
    assert!(plan["candidates"].is_number());
}
