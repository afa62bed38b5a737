//! Several callers of one vault: what one may not see is not told, and what one does is not another's burden.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::StatusCode;
use rand_core::{OsRng, TryRngCore};
use serde_json::{Value, json};

use super::Scene;
use crate::support::lying_node::Act;
use crate::support::{Answer, EMAILS, NodeClient, ids, notes};

/// An access token for an app.
async fn token(node: &mut NodeClient, key: &str, scopes: &[&str]) -> String {
    let body = json!({ "scopes": scopes });
    let minted = node.post("/api/rest/v1/auth/token", key, &body).await.ok();
    format!("Bearer {}", minted["token"].as_str().unwrap())
}

async fn as_app(node: &mut NodeClient, bearer: &str, path: &str, body: &Value) -> Answer {
    let headers = [("authorization", bearer)];
    node.send("POST", path, &headers, body.to_string()).await
}

#[tokio::test]
async fn an_app_is_told_nothing_of_records_of_other_schemas_in_the_same_database() {
    let mut scene = Scene::set().await;
    let key = scene.key.clone();
    let node = &mut scene.node;
    for n in 0..3 {
        let other = json!({ "record": { "_id": format!("other-{n}"), "schema": "https://other/schema.json" } });
        node.post("/api/rest/v1/db/social_email", &key, &other)
            .await
            .ok();
    }
    let scopes = ["api:ds-query", "api:ds-create", "ds:rw:social-email"];
    let app = token(node, &key, &scopes).await;
    let found = as_app(node, &app, EMAILS, &json!({})).await.ok();
    assert_eq!((&found["total"], &found["dbRows"]), (&json!(0), &json!(0)));
    // The id is taken, which cannot be hidden; what the record is now, can.
    let create = json!({ "record": {
        "_id": "other-1", "name": "x", "sourceAccountId": "x", "sourceApplication": "https://x.example",
        "sourceId": "x", "type": "receive", "fromName": "x", "fromEmail": "x@x.example", "messageText": "x",
        "messageHTML": "x", "sentAt": "2024-01-01T00:00:00.000Z", "threadId": "x",
    }});
    let refused = as_app(node, &app, "/api/rest/v1/ds/social-email", &create).await;
    let refused = refused.problem(409, "revision-conflict");
    assert_eq!(refused.get("currentRev"), None);
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn a_record_that_cannot_be_signed_can_be_deleted() {
    let mut scene = Scene::set().await;
    let session = scene.person.sdk(&scene.world).await;
    let cipher = session.database(&notes()).cipher();
    // Both were valid for other clients: an integer beyond 2^53, and a member with an underscore.
    for (id, text) in [
        ("large", r#"{"_id":"large","n":12345678901234567890}"#),
        ("under", r#"{"_id":"under","_foo":1}"#),
    ] {
        let sealed = cipher.seal(text.as_bytes(), &mut OsRng.unwrap_err());
        let path = scene.person.document("notes", id);
        let document = json!({ "_id": id, "payload": sealed });
        scene
            .person
            .raw(&scene.world, "PUT", &path, &document)
            .await;
    }
    let key = scene.key.clone();
    for id in ["large", "under"] {
        scene.node.note(&key, id).await.ok();
        scene.node.delete_note(&key, id).await.ok();
        let gone = scene.node.note(&key, id).await;
        gone.problem(404, "not-found");
    }
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn a_write_whose_caller_was_told_that_it_timed_out_is_not_begun_afterwards() {
    let mut scene = Scene::with("request_seconds = 2").await;
    let key = scene.key.clone();
    assert_eq!(ids(&scene.notes().await).len(), 3);
    scene.lying.lie(|asked| match asked.is_write() {
        true => Act::Slow(Duration::from_secs(4)),
        false => Act::Honest,
    });
    let url = scene.world.sandbox.node_url();
    let writing = ["first", "second"].map(|id| {
        let (key, url) = (key.clone(), url.clone());
        async move {
            let mut node = NodeClient::connect(&url).await;
            if id == "second" {
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            let answer = node.create_note(&key, &json!({ "_id": id })).await;
            answer.problem(504, "timeout");
        }
    });
    let [first, second] = writing;
    tokio::join!(first, second);
    tokio::time::sleep(Duration::from_secs(7)).await;
    scene.lying.be_honest();
    // The first was under way, and happened; the second had not begun.
    let found = ids(&scene.notes().await);
    assert_eq!(found, ["first", "note-0", "note-1", "note-2"]);
}

#[tokio::test]
async fn databases_that_could_not_be_loaded_take_no_place() {
    let mut scene = Scene::with("databases_per_tenant = 2").await;
    let key = scene.key.clone();
    scene.lying.lie(|asked| match asked.is_info() {
        true => Act::Say(StatusCode::INTERNAL_SERVER_ERROR, String::new()),
        false => Act::Honest,
    });
    for name in ["one", "two"] {
        let path = format!("/api/rest/v1/db/query/{name}");
        let refused = scene.node.post(&path, &key, &json!({})).await;
        refused.problem(502, "storage-refused");
    }
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn a_database_that_nobody_asks_for_is_forgotten_while_another_is_in_use() {
    let mut scene = Scene::with("idle_seconds = 1").await;
    let loads = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&loads);
    scene.lying.lie(move |asked| {
        if asked.is_snapshot() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        Act::Honest
    });
    let key = scene.key.clone();
    assert_eq!(ids(&scene.notes().await).len(), 3);
    for _ in 0..30 {
        let path = "/api/rest/v1/db/query/another";
        scene.node.post(path, &key, &json!({})).await.ok();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(loads.load(Ordering::SeqCst), 1);
    assert_eq!(ids(&scene.notes().await).len(), 3);
    assert_eq!(loads.load(Ordering::SeqCst), 2);
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn an_apps_outdated_session_does_not_fail_the_owner_who_waits_for_the_same_load() {
    let mut scene = Scene::set().await;
    scene.lying.lie(|asked| match asked.path.as_str() {
        "auth/connect" => Act::Slow(Duration::from_secs(2)),
        _ => Act::HangUp,
    });
    let scopes = ["api:db-query", "db:r:notes"];
    let app = token(&mut scene.node, &scene.key, &scopes).await;
    let url = scene.world.sandbox.node_url();
    let asking = tokio::spawn(async move {
        let mut node = NodeClient::connect(&url).await;
        as_app(&mut node, &app, crate::support::NOTES, &json!({})).await
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let fresh = scene.person.key();
    let mut node = scene.world.node().await;
    assert_eq!(ids(&node.notes(&fresh).await).len(), 3);
    let refused = asking.await.unwrap();
    refused.problem(502, "storage-unreachable");
    scene.bystander.is_unharmed().await;
}

#[tokio::test]
async fn a_web_app_may_send_its_token_and_a_damaged_path_is_a_problem() {
    let mut scene = Scene::set().await;
    let headers = [
        ("origin", "https://app.example"),
        ("access-control-request-method", "POST"),
        (
            "access-control-request-headers",
            "authorization,content-type",
        ),
    ];
    let allowed = scene
        .node
        .send("OPTIONS", crate::support::NOTES, &headers, "")
        .await;
    // Browsers do not take `*` for this header.
    let names = allowed.headers["access-control-allow-headers"]
        .to_str()
        .unwrap()
        .to_ascii_lowercase();
    for name in ["authorization", "content-type", "x-api-key"] {
        assert!(names.split(',').any(|n| n.trim() == name), "{names}");
    }
    assert!(
        !allowed
            .headers
            .contains_key("access-control-allow-credentials")
    );
    let key = scene.key.clone();
    let refused = scene
        .node
        .get("/api/rest/v1/db/get/notes/%ff%fe", &key)
        .await;
    refused.problem(400, "request-malformed");
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn bodies_that_unfold_to_more_than_there_is_room_for_are_refused() {
    let mut scene = Scene::with("node_memory_mib = 256").await;
    let mut record = String::from(r#"{"record":{"a":[0"#);
    record.push_str(&",0".repeat(4_000_000 - 20));
    record.push_str("]}}");
    let headers = [("x-api-key", scene.key.as_str())];
    let refused = scene
        .node
        .send("POST", "/api/rest/v1/db/notes", &headers, record)
        .await;
    refused.problem(503, "overloaded");
    // A long text of as many bytes is as good as ever.
    let key = scene.key.clone();
    let long = json!({ "_id": "long", "text": "x".repeat(6 << 20) });
    scene.node.create_note(&key, &long).await.ok();
    scene.node.delete_note(&key, "long").await.ok();
    scene.all_is_well_again().await;
}
