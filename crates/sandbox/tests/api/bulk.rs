//! Many records at once: written, read by their ids, exported.

use serde_json::{Value, json};

use super::{Scene, email};

#[tokio::test]
async fn a_bulk_write_saves_what_it_can_and_says_what_became_of_each() {
    let mut scene = Scene::set().await;
    let old = scene
        .create("/db/notes", &json!({ "_id": "old", "n": 0 }))
        .await;
    let stale = scene
        .create("/db/notes", &json!({ "_id": "stale", "n": 0 }))
        .await;
    scene
        .ask("PATCH", "/db/notes/stale", &json!({ "n": 1 }))
        .await
        .ok();
    let bulk = json!({ "records": [
        { "_id": "new" },
        { "n": 7 },
        { "_id": "old", "_rev": old["_rev"], "n": 1 },
        { "_id": "stale", "_rev": stale["_rev"], "n": 2 },
        { "_id": "old" },
        { "_id": "none", "_rev": old["_rev"] },
    ] });
    let done = scene.ask("POST", "/db/bulk/notes", &bulk).await;
    assert_eq!(done.status, 207);
    let done = done.json();
    assert_eq!(
        (&done["success"], &done["saved"], &done["failed"]),
        (&json!(false), &json!(3), &json!(3))
    );
    let items = done["items"].as_array().unwrap();
    let statuses: Vec<u64> = items
        .iter()
        .map(|item| item["status"].as_u64().unwrap())
        .collect();
    assert_eq!(statuses, [201, 201, 201, 409, 409, 404]);
    assert_eq!(items[3]["code"], "revision-conflict");
    assert!(items[3]["currentRev"].as_str().unwrap().starts_with("2-"));
    // Visible at once, and as it was said.
    let made = items[1]["_id"].as_str().unwrap();
    let got = scene
        .ask("GET", &format!("/db/notes/{made}"), &Value::Null)
        .await
        .ok();
    assert_eq!(
        (&got["item"]["n"], &got["item"]["_rev"]),
        (&json!(7), &items[1]["_rev"])
    );
    assert_eq!(
        scene.ask("GET", "/db/notes/old", &Value::Null).await.ok()["item"]["n"],
        1
    );
    assert_eq!(
        scene.ask("GET", "/db/notes/stale", &Value::Null).await.ok()["item"]["n"],
        1
    );
    // The same id twice: the first is saved.
    let twice = json!({ "records": [{ "_id": "t", "n": 1 }, { "_id": "t", "n": 2 }] });
    let items = scene.ask("POST", "/db/bulk/notes", &twice).await.json()["items"].clone();
    assert_eq!(
        (&items[0]["status"], &items[1]["status"]),
        (&json!(201), &json!(409))
    );
    assert_eq!(
        scene.ask("GET", "/db/notes/t", &Value::Null).await.ok()["item"]["n"],
        1
    );
}

#[tokio::test]
async fn a_bulk_write_with_one_invalid_record_writes_nothing() {
    let mut scene = Scene::set().await;
    let mut broken = email("b", "two");
    broken["sentAt"] = json!(7);
    let bulk = json!({ "records": [email("a", "one"), broken, { "_id": "_bad" }] });
    let refused = scene.ask("POST", "/ds/bulk/social-email", &bulk).await;
    let problem = refused.problem(422, "record-invalid");
    assert_eq!(
        (&problem["success"], &problem["invalid"]),
        (&json!(false), &json!(2))
    );
    assert_eq!(problem["errors"][0]["index"], 1);
    assert_eq!(problem["errors"][0]["errors"][0]["instancePath"], "/sentAt");
    assert_eq!(problem["errors"][1]["index"], 2);
    assert_eq!(
        scene
            .ask("POST", "/ds/count/social-email", &json!({}))
            .await
            .ok()["count"],
        0
    );
    let many = json!({ "records": vec![json!({}); 1001] });
    scene
        .ask("POST", "/db/bulk/notes", &many)
        .await
        .problem(413, "request-too-large");
    assert_eq!(
        scene
            .ask("POST", "/db/bulk/notes", &json!({ "records": [] }))
            .await
            .ok()["saved"],
        0
    );
}

#[tokio::test]
async fn a_bulk_write_needs_the_capability_of_everything_in_it() {
    let mut scene = Scene::set().await;
    let old = scene.create("/ds/social-email", &email("old", "one")).await;
    let creates = scene.token(&["api:ds-create", "ds:rw:social-email"]).await;
    let new = json!({ "records": [email("new", "one")] });
    scene
        .ask_as(&creates, "POST", "/ds/bulk/social-email", &new)
        .await
        .ok();
    let mixed = json!({ "records": [email("new2", "one"), old] });
    let refused = scene
        .ask_as(&creates, "POST", "/ds/bulk/social-email", &mixed)
        .await;
    refused.problem(403, "scope-missing");
    assert_eq!(
        scene
            .ask("POST", "/ds/count/social-email", &json!({}))
            .await
            .ok()["count"],
        2
    );
}

#[tokio::test]
async fn a_bulk_read_gives_what_is_there_and_names_what_is_not() {
    let mut scene = Scene::set().await;
    for n in 0..5 {
        scene
            .create("/db/notes", &json!({ "_id": format!("n{n}"), "n": n }))
            .await;
    }
    let asked = json!({ "ids": ["n3", "none", "n0", "n3"] });
    let got = scene.ask("POST", "/db/bulk-get/notes", &asked).await.ok();
    let ids: Vec<&str> = got["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["_id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["n3", "n0", "n3"]);
    assert_eq!(got["missing"], json!(["none"]));
    // A record of another schema is not there for who asks for this one's.
    scene.create("/ds/social-email", &email("e1", "one")).await;
    scene
        .create("/db/social_email", &json!({ "_id": "strange" }))
        .await;
    let asked = json!({ "keys": ["e1", "strange"] });
    let got = scene
        .ask("POST", "/ds/bulk-get/social-email", &asked)
        .await
        .ok();
    assert_eq!(
        (got["items"].as_array().unwrap().len(), &got["missing"]),
        (1, &json!(["strange"]))
    );
    let many = json!({ "ids": vec!["a"; 1001] });
    scene
        .ask("POST", "/db/bulk-get/notes", &many)
        .await
        .problem(413, "request-too-large");
}

#[tokio::test]
async fn an_export_has_every_record_of_the_resource_once_in_the_order_of_their_ids() {
    let mut scene = Scene::set().await;
    // More than two pages, ids that sort in odd ways, and one record that is large.
    let mut ids: Vec<String> = (0..600).map(|n| format!("n{n}")).collect();
    ids.extend(["A", "a", "Z z", "ä", "é/1", "\u{1f600}", "0", "~", "n\"q"].map(str::to_owned));
    for some in ids.chunks(500) {
        let records: Vec<Value> = some
            .iter()
            .map(|id| json!({ "_id": id, "text": "line\nbreak" }))
            .collect();
        scene
            .ask("POST", "/db/bulk/notes", &json!({ "records": records }))
            .await
            .ok();
    }
    scene
        .create(
            "/db/notes",
            &json!({ "_id": "large", "text": "x".repeat(300_000) }),
        )
        .await;
    ids.push("large".to_owned());
    let export = scene.ask("GET", "/db/export/notes", &Value::Null).await;
    assert_eq!(export.headers["content-type"], "application/x-ndjson");
    let text = String::from_utf8(export.body.to_vec()).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let query = json!({ "options": { "limit": 1000 } });
    let all = scene.ask("POST", "/db/query/notes", &query).await.ok();
    assert_eq!(lines, *all["items"].as_array().unwrap());
    assert_eq!(lines.len(), ids.len());
    assert!(text.ends_with('\n'));
    // One schema's are its own.
    scene.create("/ds/social-email", &email("e1", "one")).await;
    scene
        .create("/db/social_email", &json!({ "_id": "strange" }))
        .await;
    let export = scene
        .ask("GET", "/ds/export/social-email", &Value::Null)
        .await;
    assert_eq!(export.body.iter().filter(|byte| **byte == b'\n').count(), 1);
    assert_eq!(
        scene
            .ask("GET", "/db/export/empty", &Value::Null)
            .await
            .body
            .len(),
        0
    );
}
