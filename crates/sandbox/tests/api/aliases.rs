//! Paths, names and bodies as the original's documentation, its SDK and apps in the wild have them.

use adyton_protocol::schema::SchemaUri;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{EMAIL, Scene, email};

#[tokio::test]
async fn one_record_is_got_by_every_path_that_is_documented_or_sent() {
    let mut scene = Scene::set().await;
    scene.create("/ds/social-email", &email("e/1", "one")).await;
    for (method, path) in [
        ("GET", "/ds/get/social-email/e%2F1"),
        ("POST", "/ds/get/social-email/e%2F1"),
        ("GET", "/ds/social-email/e%2F1"),
        ("GET", "/db/get/social_email/e%2F1"),
        ("POST", "/db/get/social_email/e%2F1"),
        ("GET", "/db/social_email/e%2F1"),
    ] {
        for body in [Value::Null, json!({})] {
            let got = scene.ask(method, path, &body).await;
            assert_eq!(got.ok()["item"]["_id"], "e/1", "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_schema_in_a_path_may_be_a_shortcut_a_url_or_any_base64_of_either() {
    let mut scene = Scene::set().await;
    scene.create("/ds/social-email", &email("e1", "one")).await;
    let encode = |text: &str| {
        [
            STANDARD.encode(text),
            STANDARD_NO_PAD.encode(text),
            URL_SAFE.encode(text),
            URL_SAFE_NO_PAD.encode(text),
        ]
    };
    let mut forms = vec!["social-email".to_owned(), EMAIL.to_owned()];
    forms.extend(encode(EMAIL));
    forms.extend(encode("social-email"));
    // As the original's tools write it, and with everything percent-encoded that may be.
    for form in forms {
        let encoded: String = form.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let careful = form
            .replace('/', "%2F")
            .replace('=', "%3D")
            .replace('+', "%2B");
        for path in [careful, encoded] {
            let count = scene
                .ask("POST", &format!("/ds/count/{path}"), &json!({}))
                .await;
            assert_eq!(count.ok()["count"], 1, "{path}");
        }
    }
    // Both alphabets in one text; the URL of the test needs neither `+` nor `/`, so one that does.
    let url = "https://common.schemas.verida.io/~~~???/schema.json";
    assert!(
        SchemaUri::parse_lenient(&STANDARD.encode(url)).is_err(),
        "a query is no part of it"
    );
    let url = "https://common.schemas.verida.io/a>b~c/schema.json";
    let mixed = STANDARD.encode(url).replacen('+', "-", 1);
    assert_eq!(SchemaUri::parse_lenient(&mixed).unwrap().as_str(), url);
}

#[tokio::test]
async fn a_selector_has_four_names_and_options_stand_inside_or_beside() {
    let mut scene = Scene::set().await;
    for n in 0..30 {
        scene
            .create("/db/notes", &json!({ "_id": format!("n{n:02}"), "n": n }))
            .await;
    }
    for name in ["query", "selector", "filter", "filters"] {
        let mut body = json!({ "options": { "limit": 3, "skip": 1, "sort": [{ "n": "desc" }], "fields": ["_id"] } });
        body[name] = json!({ "n": { "$lt": 20 } });
        let inside = scene.ask("POST", "/db/query/notes", &body).await.ok();
        let ids: Vec<&str> = inside["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["_id"].as_str().unwrap())
            .collect();
        assert_eq!(ids, ["n18", "n17", "n16"], "{name}");
        assert_eq!(
            (&inside["total"], &inside["limit"], &inside["skip"]),
            (&json!(20), &json!(3), &json!(1))
        );
        // As CouchDB has it.
        let options = body["options"].take();
        body.as_object_mut().unwrap().remove("options");
        for (name, value) in options.as_object().unwrap() {
            body[name] = value.clone();
        }
        let beside = scene.ask("POST", "/db/query/notes", &body).await.ok();
        assert_eq!(beside, inside, "{name}");
        let count = scene
            .ask(
                "POST",
                "/db/count/notes",
                &json!({ name: { "n": { "$lt": 20 } } }),
            )
            .await;
        assert_eq!(count.ok()["count"], 20, "{name}");
    }
    // The SDK leaves out what it does not say, or says null.
    let sdk = json!({ "options": { "sort": null, "limit": null, "skip": null, "fields": null }, "filter": {} });
    assert_eq!(
        scene.ask("POST", "/db/query/notes", &sdk).await.ok()["items"]
            .as_array()
            .unwrap()
            .len(),
        20
    );
}

#[tokio::test]
async fn a_misspelt_name_is_refused_and_the_known_ones_are_named() {
    let mut scene = Scene::set().await;
    for (path, body, known) in [
        ("/db/query/notes", json!({ "fliter": {} }), "filters"),
        (
            "/db/query/notes",
            json!({ "options": { "limt": 3 } }),
            "limit",
        ),
        (
            "/db/count/notes",
            json!({ "query": {}, "options": {} }),
            "selector",
        ),
        (
            "/db/notes",
            json!({ "record": {}, "option": {} }),
            "options",
        ),
        (
            "/db/notes",
            json!({ "record": {}, "options": { "forced": true } }),
            "forceUpdate",
        ),
        (
            "/db/bulk/notes",
            json!({ "records": [], "all": true }),
            "records",
        ),
        (
            "/db/bulk-get/notes",
            json!({ "ids": [], "fields": [] }),
            "ids",
        ),
    ] {
        let refused = scene.ask("POST", path, &body).await;
        let problem = refused.problem(400, "request-malformed");
        assert!(
            problem["known"].as_array().unwrap().contains(&json!(known)),
            "{problem}"
        );
    }
    for twice in [
        json!({ "query": {}, "filter": {} }),
        json!({ "limit": 1, "options": { "limit": 1 } }),
    ] {
        scene
            .ask("POST", "/db/query/notes", &twice)
            .await
            .problem(400, "request-malformed");
    }
}

#[tokio::test]
async fn a_record_is_written_wrapped_or_bare_and_updated_by_post_as_the_original_does() {
    let mut scene = Scene::set().await;
    let bare = scene
        .ask("POST", "/ds/social-email", &email("bare", "one"))
        .await;
    assert_eq!(bare.status, 201);
    assert_eq!(bare.json()["record"]["schema"], EMAIL);
    let saved = scene
        .create("/ds/social-email", &email("wrapped", "one"))
        .await;

    // POST with the revision that the record follows.
    let mut next = saved.clone();
    next["name"] = json!("two");
    let updated = scene
        .ask("POST", "/ds/social-email", &json!({ "record": next }))
        .await;
    assert_eq!(updated.status, 200);
    assert_eq!(updated.ok()["record"]["name"], "two");
    assert_eq!(updated.ok()["record"]["insertedAt"], saved["insertedAt"]);
    let again = scene.ask("POST", "/ds/social-email", &next).await;
    again.problem(409, "revision-conflict");
    let forced = json!({ "record": email("wrapped", "three"), "options": { "forceUpdate": true } });
    assert_eq!(
        scene.ask("POST", "/ds/social-email", &forced).await.ok()["record"]["name"],
        "three"
    );
    let inserted = json!({ "record": next, "options": { "forceInsert": true } });
    scene
        .ask("POST", "/ds/social-email", &inserted)
        .await
        .problem(409, "revision-conflict");

    // What may create may not change for that.
    let creates = scene.token(&["api:ds-create", "ds:rw:social-email"]).await;
    let refused = scene
        .ask_as(&creates, "POST", "/ds/social-email", &forced)
        .await;
    refused.problem(403, "scope-missing");
}

#[tokio::test]
async fn a_record_is_deleted_by_a_name_in_the_query_too() {
    let mut scene = Scene::set().await;
    for id in ["a", "b b", "c"] {
        scene.create("/ds/social-email", &email(id, "one")).await;
    }
    // The original's client always says whether it means the whole database.
    for path in [
        "/ds/social-email?id=a",
        "/ds/social-email?id=b%20b&destroy=false",
        "/ds/social-email/c?destroy=false",
    ] {
        assert_eq!(
            scene.ask("DELETE", path, &Value::Null).await.ok()["action"],
            "delete",
            "{path}"
        );
    }
    let count = scene
        .ask("POST", "/ds/count/social-email", &json!({}))
        .await;
    assert_eq!(count.ok()["count"], 0);
    scene
        .ask("DELETE", "/ds/social-email?id=a", &Value::Null)
        .await
        .problem(404, "not-found");
    for path in [
        "/ds/social-email",
        "/ds/social-email?id=a&id=b",
        "/ds/social-email?id=a&confirm=social_email",
        "/ds/social-email?identifier=a",
        "/ds/social-email?id=a&destroy=yes",
        "/ds/social-email/a?destroy=true",
        "/ds/social-email/a?confirm=social_email",
    ] {
        scene
            .ask("DELETE", path, &Value::Null)
            .await
            .problem(400, "request-malformed");
    }
}

#[tokio::test]
async fn the_permissions_header_is_read_and_a_public_database_is_said_not_to_be_here() {
    let mut scene = Scene::set().await;
    scene.create("/db/notes", &json!({ "_id": "a" })).await;
    for (value, status) in [
        ("read=owner,write=owner", 200),
        ("read=public,write=owner", 400),
        ("write=users", 400),
    ] {
        let headers = [("permissions", value)];
        let got = scene
            .ask_with("GET", "/db/get/notes/a", &headers, &Value::Null)
            .await;
        assert_eq!(got.status, status, "{value}");
        if status == 400 {
            got.problem(400, "permissions-unsupported");
        }
    }
}

#[tokio::test]
async fn a_body_that_says_it_is_no_json_is_refused() {
    let mut scene = Scene::set().await;
    for (kind, status) in [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("Application/JSON", 200),
        ("application/vnd.api+json", 200),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("text/plain", 415),
        ("\u{fe}", 415),
    ] {
        let headers = [("content-type", kind)];
        let answer = scene
            .ask_with("POST", "/db/query/notes", &headers, &json!({}))
            .await;
        assert_eq!(answer.status, status, "{kind}");
        if status == 415 {
            answer.problem(415, "media-type-unsupported");
        }
    }
}
