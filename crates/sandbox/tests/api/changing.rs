//! Changing and deleting: revisions, entity tags, merge patches, the end of a database.

use serde_json::{Value, json};

use super::{Scene, email};

#[tokio::test]
async fn an_etag_names_the_revision_and_saves_the_transfer() {
    let mut scene = Scene::set().await;
    let made = scene
        .ask("POST", "/db/notes", &json!({ "_id": "a", "n": 1 }))
        .await;
    let tag = made.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(
        tag,
        format!("\"{}\"", made.json()["record"]["_rev"].as_str().unwrap())
    );
    let got = scene.ask("GET", "/db/get/notes/a", &Value::Null).await;
    assert_eq!(got.headers["etag"], tag.as_str());
    for (known, status) in [
        (tag.as_str(), 304),
        ("*", 304),
        ("\"1-b\"", 200),
        ("\"1-b\", W/\"1-c\"", 200),
    ] {
        let headers = [("if-none-match", known)];
        let got = scene
            .ask_with("GET", "/db/notes/a", &headers, &Value::Null)
            .await;
        assert_eq!(got.status, status, "{known}");
        assert_eq!(got.headers["etag"], tag.as_str());
        assert_eq!(got.body.is_empty(), status == 304);
    }
    let changed = scene.ask("PATCH", "/db/notes/a", &json!({ "n": 2 })).await;
    let next = changed.headers["etag"].to_str().unwrap();
    assert_ne!(next, tag);
    let headers = [("if-none-match", tag.as_str())];
    let got = scene
        .ask_with("GET", "/db/notes/a", &headers, &Value::Null)
        .await;
    assert_eq!(got.ok()["item"]["n"], 2);
}

#[tokio::test]
async fn a_write_with_if_match_changes_that_revision_and_no_other() {
    let mut scene = Scene::set().await;
    scene
        .create("/db/notes", &json!({ "_id": "a", "n": 0 }))
        .await;
    let mut tag = scene.ask("GET", "/db/notes/a", &Value::Null).await.headers["etag"]
        .to_str()
        .unwrap()
        .to_owned();
    for (method, n) in [("PUT", 1), ("PATCH", 2)] {
        let body = json!({ "n": n });
        let headers = [("if-match", tag.as_str())];
        let changed = scene.ask_with(method, "/db/notes/a", &headers, &body).await;
        assert_eq!(changed.ok()["record"]["n"], n, "{method}");
        // The same again: it is another revision by now.
        let late = scene.ask_with(method, "/db/notes/a", &headers, &body).await;
        let problem = late.problem(412, "precondition-failed");
        assert_eq!(problem["currentRev"], changed.json()["result"]["rev"]);
        tag = changed.headers["etag"].to_str().unwrap().to_owned();
    }
    // Without a header the same collision is the conflict that it always was.
    scene
        .ask("PUT", "/db/notes/a", &json!({ "n": 3 }))
        .await
        .problem(409, "revision-conflict");
    let stale = json!({ "_rev": "1-967a00dff5e02add41819138abb3284d", "n": 3 });
    scene
        .ask("PATCH", "/db/notes/a", &stale)
        .await
        .problem(409, "revision-conflict");
    let both = [("if-match", tag.as_str())];
    scene
        .ask_with("PATCH", "/db/notes/a", &both, &stale)
        .await
        .problem(400, "request-malformed");
    // Whatever is there, as long as something is.
    let any = [("if-match", "*")];
    scene
        .ask_with("PUT", "/db/notes/a", &any, &json!({ "n": 4 }))
        .await
        .ok();
    scene
        .ask_with("PUT", "/db/notes/b", &any, &json!({ "n": 4 }))
        .await
        .problem(404, "not-found");
    // Only if there is nothing.
    let none = [("if-none-match", "*")];
    let taken = scene
        .ask_with("POST", "/db/notes", &none, &json!({ "_id": "a" }))
        .await;
    taken.problem(412, "precondition-failed");
    scene
        .ask_with("POST", "/db/notes", &none, &json!({ "_id": "c" }))
        .await
        .ok();
    // Deleting takes the header, too.
    let old = [("if-match", tag.as_str())];
    scene
        .ask_with("DELETE", "/db/notes/a", &old, &Value::Null)
        .await
        .problem(412, "precondition-failed");
    scene
        .ask_with("DELETE", "/db/notes/a", &any, &Value::Null)
        .await
        .ok();
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_leaves_the_rest() {
    let mut scene = Scene::set().await;
    let made = scene
        .create("/ds/social-email", &email("e1", "before"))
        .await;
    let patch = json!({ "name": "after", "messageHTML": null, "extra": { "a": 1, "b": null } });
    let headers = [("content-type", "application/merge-patch+json")];
    let done = scene
        .ask_with("PATCH", "/ds/social-email/e1", &headers, &patch)
        .await
        .ok();
    assert_eq!(done["success"], true);
    let now = scene
        .ask("GET", "/ds/social-email/e1", &Value::Null)
        .await
        .ok()["item"]
        .clone();
    assert_eq!(
        (&now["name"], &now["fromEmail"]),
        (&json!("after"), &made["fromEmail"])
    );
    assert_eq!(now["extra"], json!({ "a": 1 }));
    assert_eq!(now["messageHTML"], Value::Null);
    assert_eq!(now["insertedAt"], made["insertedAt"]);
    assert_eq!(done["record"], now, "what is answered is what is there");
    // It is held to the schema as a whole, with each broken rule by its place; and nothing has changed then.
    let wrong = scene
        .ask(
            "PATCH",
            "/ds/social-email/e1",
            &json!({ "sentAt": 7, "fromEmail": null }),
        )
        .await;
    let problem = wrong.problem(422, "record-invalid");
    let errors = problem["errors"].as_array().unwrap();
    let rule = |keyword: &str| {
        errors
            .iter()
            .find(|error| error["keyword"] == keyword)
            .unwrap()
    };
    assert_eq!(rule("type")["instancePath"], "/sentAt");
    assert_eq!(rule("required")["params"]["missingProperty"], "fromEmail");
    assert!(
        rule("required")["message"]
            .as_str()
            .unwrap()
            .contains("fromEmail")
    );
    let same = scene
        .ask("GET", "/ds/social-email/e1", &Value::Null)
        .await
        .ok()["item"]
        .clone();
    assert_eq!(same, now);
    // Its name and its schema are not a patch's to change.
    for (patch, status, code) in [
        (json!({ "_id": "e2" }), 422, "record-invalid"),
        (json!({ "_id": null }), 422, "record-invalid"),
        (json!({ "_deleted": true }), 422, "record-invalid"),
        (json!({ "_rev": 7, "a": 1 }), 400, "request-malformed"),
    ] {
        scene
            .ask("PATCH", "/ds/social-email/e1", &patch)
            .await
            .problem(status, code);
    }
    let other =
        json!({ "schema": "https://common.schemas.verida.io/social/post/v0.1.0/schema.json" });
    assert_eq!(
        scene.ask("PATCH", "/ds/social-email/e1", &other).await.ok()["record"]["schema"],
        now["schema"]
    );
    scene
        .ask("PATCH", "/ds/social-email/none", &json!({ "a": 1 }))
        .await
        .problem(404, "not-found");
}

/// Defect 17: one scope of one schema, one call, no confirmation.
#[tokio::test]
async fn a_database_is_destroyed_by_its_owner_who_says_its_name_and_by_nobody_else() {
    let mut scene = Scene::set().await;
    scene.create("/ds/social-email", &email("e1", "one")).await;
    scene.create("/db/notes", &json!({ "_id": "a" })).await;
    let all = [
        "api:ds-delete",
        "api:db-update",
        "api:db-query",
        "ds:rwd:social-email",
    ];
    let app = scene.token(&all).await;
    let gone = "/ds/social-email?destroy=true&confirm=social_email";
    scene
        .ask_as(&app, "DELETE", gone, &Value::Null)
        .await
        .problem(403, "scope-missing");
    scene
        .ask_as(
            &app,
            "DELETE",
            "/db/social_email?confirm=social_email",
            &Value::Null,
        )
        .await
        .problem(403, "scope-missing");
    let reader = scene.token(&["api:db-update", "db:rw:social_email"]).await;
    scene
        .ask_as(
            &reader,
            "DELETE",
            "/db/social_email?confirm=social_email",
            &Value::Null,
        )
        .await
        .problem(403, "scope-missing");
    for path in [
        "/ds/social-email?destroy=true",
        "/ds/social-email?confirm=social_email",
        "/ds/social-email?destroy=true&confirm=social_emails",
        "/ds/social-email/e1?destroy=true&confirm=social_email",
        "/db/social_email",
        "/db/social_email?confirm=notes",
        "/db/social_email?confirm=",
    ] {
        scene
            .ask("DELETE", path, &Value::Null)
            .await
            .problem(400, "request-malformed");
    }
    assert_eq!(
        scene
            .ask("POST", "/ds/count/social-email", &json!({}))
            .await
            .ok()["count"],
        1
    );

    assert_eq!(
        scene.ask("DELETE", gone, &Value::Null).await.ok()["action"],
        "destroy"
    );
    assert_eq!(
        scene
            .ask("POST", "/ds/count/social-email", &json!({}))
            .await
            .ok()["count"],
        0
    );
    // On the storage node, too; and the registry no longer has it.
    let session = scene.person.sdk(&scene.world).await;
    let name = |name: &str| adyton_protocol::database::DatabaseName::new(name).unwrap();
    assert_eq!(
        session
            .database(&name("social_email"))
            .info()
            .await
            .unwrap(),
        None
    );
    let registry = json!({ "query": { "dbName": "social_email" } });
    let listed = scene
        .ask("POST", "/db/count/storage_database", &registry)
        .await
        .ok();
    assert_eq!(listed["count"], 0);
    // Others are as they were, and it can be made again.
    scene.ask("GET", "/db/notes/a", &Value::Null).await.ok();
    scene
        .create("/ds/social-email", &email("e1", "again"))
        .await;
    assert_eq!(
        scene
            .ask("POST", "/ds/count/social-email", &json!({}))
            .await
            .ok()["count"],
        1
    );
    // An app that was granted the whole database with the right to delete may end it.
    let whole = scene.token(&["api:db-update", "db:rwd:social_email"]).await;
    let ended = scene
        .ask_as(
            &whole,
            "DELETE",
            "/db/social_email?confirm=social_email",
            &Value::Null,
        )
        .await;
    assert_eq!(ended.ok()["action"], "destroy");
}
