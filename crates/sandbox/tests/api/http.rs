//! What HTTP promises around the routes: repeated requests, limits, compression, what is gone, where to begin.

use std::time::Duration;

use serde_json::{Value, json};

use super::support::lying_node::Act;
use super::{API, Scene, email};

#[tokio::test]
async fn a_request_with_a_key_is_done_once_however_often_it_is_sent() {
    let mut scene = Scene::set().await;
    let note = json!({ "record": { "text": "once" } });
    let keyed = [("idempotency-key", "key-1")];
    let first = scene.ask_with("POST", "/db/notes", &keyed, &note).await;
    assert_eq!(first.status, 201);
    assert!(!first.headers.contains_key("idempotency-replayed"));
    let again = scene.ask_with("POST", "/db/notes", &keyed, &note).await;
    assert_eq!(again.status, 201);
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.headers["etag"], first.headers["etag"]);
    let (first, again) = (first.json(), again.json());
    for member in ["_id", "_rev", "text"] {
        assert_eq!(again["record"][member], first["record"][member], "{member}");
    }
    let other = json!({ "record": { "text": "twice" } });
    let reused = scene.ask_with("POST", "/db/notes", &keyed, &other).await;
    reused.problem(422, "idempotency-key-reused");
    let reused = scene.ask_with("POST", "/db/other", &keyed, &note).await;
    reused.problem(422, "idempotency-key-reused");
    assert_eq!(
        scene.ask("POST", "/db/count/notes", &json!({})).await.ok()["count"],
        1
    );

    // The key is its caller's: another credential has keys of its own.
    let app = scene.token(&["api:db-create", "db:rw:notes"]).await;
    let bearer = format!("Bearer {app}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("idempotency-key", "key-1"),
        ("content-type", "application/json"),
    ];
    let path = format!("{API}/db/notes");
    scene
        .node
        .send("POST", &path, &headers, other.to_string())
        .await
        .ok();
    assert_eq!(
        scene.ask("POST", "/db/count/notes", &json!({})).await.ok()["count"],
        2
    );

    // What was refused did not use it up.
    let keyed = [("idempotency-key", "key-2")];
    let mut broken = email("e1", "one");
    broken["sentAt"] = json!(7);
    scene
        .ask_with("POST", "/ds/social-email", &keyed, &broken)
        .await
        .problem(422, "record-invalid");
    scene
        .ask_with("POST", "/ds/social-email", &keyed, &email("e1", "one"))
        .await
        .ok();
    for wrong in ["", " ", &"k".repeat(256)] {
        let keyed = [("idempotency-key", wrong)];
        scene
            .ask_with("POST", "/db/notes", &keyed, &note)
            .await
            .problem(400, "request-malformed");
    }

    // Many at once, as well.
    let bulk = json!({ "records": [{ "n": 1 }, { "n": 2 }] });
    let keyed = [("idempotency-key", "key-3")];
    let first = scene
        .ask_with("POST", "/db/bulk/many", &keyed, &bulk)
        .await
        .ok();
    assert_eq!(
        scene
            .ask_with("POST", "/db/bulk/many", &keyed, &bulk)
            .await
            .ok(),
        first
    );
    assert_eq!(
        scene.ask("POST", "/db/count/many", &json!({})).await.ok()["count"],
        2
    );

    // After a day a key is as good as new.
    scene.world.pass(24 * 3600);
    scene.key = scene.person.key();
    scene
        .ask_with("POST", "/db/bulk/many", &keyed, &bulk)
        .await
        .ok();
    assert_eq!(
        scene.ask("POST", "/db/count/many", &json!({})).await.ok()["count"],
        4
    );
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_found_again_by_its_key() {
    let mut scene = Scene::set().await;
    let lying = scene.world.lying_node().await;
    scene.key = scene.person.key_at(&lying.url);
    scene.create("/db/notes", &json!({ "_id": "first" })).await;
    let keyed = [("idempotency-key", "lost")];
    let note = json!({ "record": { "text": "once" } });
    lying.lie(|asked| match asked.is_write() {
        true => Act::LoseAnswer,
        false => Act::Honest,
    });
    let lost = scene.ask_with("POST", "/db/notes", &keyed, &note).await;
    lost.problem(502, "storage-unreachable");
    lying.be_honest();
    let found = scene.ask_with("POST", "/db/notes", &keyed, &note).await;
    assert_eq!(
        (found.status.as_u16(), &found.json()["record"]["text"]),
        (201, &json!("once"))
    );
    // The feed brings it, once.
    let once = json!({ "query": { "text": "once" } });
    while scene.ask("POST", "/db/count/notes", &once).await.ok()["count"] == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let count = scene.ask("POST", "/db/count/notes", &once).await.ok();
    assert_eq!(count["count"], 1);
}

#[tokio::test]
async fn two_requests_with_one_key_at_the_same_time_are_one() {
    let mut scene = Scene::set().await;
    let lying = scene.world.lying_node().await;
    scene.key = scene.person.key_at(&lying.url);
    scene.create("/db/notes", &json!({ "_id": "first" })).await;
    lying.lie(|asked| match asked.is_write() {
        true => Act::Slow(Duration::from_millis(500)),
        false => Act::Honest,
    });
    let key = scene.key.clone();
    let headers = [("x-api-key", key.as_str()), ("idempotency-key", "both")];
    let (path, body) = (format!("{API}/db/notes"), "{\"text\":\"once\"}");
    let mut other = scene.world.node().await;
    let (one, two) = tokio::join!(
        scene.node.send("POST", &path, &headers, body),
        other.send("POST", &path, &headers, body),
    );
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
    let refused = if one.status == 409 { one } else { two };
    refused.problem(409, "idempotency-key-in-use");
    assert_eq!(
        scene.ask("POST", "/db/count/notes", &json!({})).await.ok()["count"],
        2
    );
}

#[tokio::test]
async fn every_answer_says_how_often_a_caller_may_ask_and_one_too_many_waits() {
    let mut scene = Scene::with("requests_per_minute = 20").await;
    let app = scene.token(&["api:db-query", "db:r:notes"]).await;
    let first = scene
        .ask_as(&app, "POST", "/db/query/notes", &json!({}))
        .await;
    assert_eq!(first.headers["ratelimit-policy"], "\"caller\";q=20;w=60");
    assert_eq!(first.headers["ratelimit"], "\"caller\";r=19;t=60");
    for left in (0..19).rev() {
        // Refusals count, too.
        let path = if left % 2 == 0 {
            "/db/query/notes"
        } else {
            "/db/query/secrets"
        };
        let answer = scene.ask_as(&app, "POST", path, &json!({})).await;
        let standing = answer.headers["ratelimit"].to_str().unwrap().to_owned();
        assert!(
            standing.starts_with(&format!("\"caller\";r={left};")),
            "{standing}"
        );
    }
    let refused = scene
        .ask_as(&app, "POST", "/db/query/notes", &json!({}))
        .await;
    refused.problem(429, "rate-limited");
    let wait: u64 = refused.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(
        refused.headers["ratelimit"],
        format!("\"caller\";r=0;t={wait}").as_str()
    );
    // The owner has lost nothing by it, and the app waits and goes on.
    scene.ask("GET", "/auth/me", &Value::Null).await.ok();
    scene.world.pass(wait);
    scene
        .ask_as(&app, "POST", "/db/query/notes", &json!({}))
        .await
        .ok();
    // What is nobody's is not counted.
    let public = scene.node.send("GET", "/livez", &[], "").await;
    assert!(!public.headers.contains_key("ratelimit"));
}

#[tokio::test]
async fn a_grants_own_rate_is_told_and_one_too_many_waits() {
    let mut scene = Scene::set().await;
    let terms = json!({
        "scopes": ["api:db-query", "db:r:notes"], "rate": { "requests": 3, "seconds": 30 },
    });
    let minted = scene.ask("POST", "/auth/token", &terms).await.json();
    let app = minted["token"].as_str().unwrap().to_owned();
    for left in [2, 1, 0] {
        let answer = scene
            .ask_as(&app, "POST", "/db/query/notes", &json!({}))
            .await;
        assert_eq!(answer.headers["ratelimit-policy"], "\"grant\";q=3;w=30");
        let standing = answer.headers["ratelimit"].to_str().unwrap().to_owned();
        assert!(
            standing.starts_with(&format!("\"grant\";r={left};")),
            "{standing}"
        );
        answer.ok();
    }
    let refused = scene
        .ask_as(&app, "POST", "/db/query/notes", &json!({}))
        .await;
    let wait = refused.headers["retry-after"].to_str().unwrap().to_owned();
    refused.problem(429, "rate-limited");
    scene.world.pass(wait.parse().unwrap());
    scene
        .ask_as(&app, "POST", "/db/query/notes", &json!({}))
        .await
        .ok();
}

fn opened(gzip: &[u8]) -> Vec<u8> {
    assert_eq!(gzip[..2], [0x1f, 0x8b]);
    miniz_oxide::inflate::decompress_to_vec(&gzip[10..gzip.len() - 8]).unwrap()
}

#[tokio::test]
async fn answers_are_compressed_for_who_asks_and_no_record_shortens_another() {
    let mut scene = Scene::set().await;
    let html = "<div class=\"quoted\">all work and no play</div>".repeat(200);
    for n in 0..3 {
        scene
            .create(
                "/db/notes",
                &json!({ "_id": format!("n{n}"), "html": html }),
            )
            .await;
    }
    let gzip = [("accept-encoding", "gzip, deflate, br")];
    for (method, path, body) in [
        ("POST", "/db/query/notes", json!({})),
        (
            "POST",
            "/db/query/notes",
            json!({ "options": { "fields": ["_id", "html"] } }),
        ),
        ("GET", "/db/notes/n0", Value::Null),
        (
            "POST",
            "/db/bulk-get/notes",
            json!({ "ids": ["n1", "n2", "none"] }),
        ),
        ("GET", "/db/export/notes", Value::Null),
    ] {
        let plain = scene.ask(method, path, &body).await;
        assert!(!plain.headers.contains_key("content-encoding"), "{path}");
        let packed = scene.ask_with(method, path, &gzip, &body).await;
        assert_eq!(packed.headers["content-encoding"], "gzip", "{path}");
        assert!(
            packed
                .headers
                .get_all("vary")
                .iter()
                .any(|value| value == "accept-encoding")
        );
        assert_eq!(opened(&packed.body), plain.body, "{path}");
        assert!(
            packed.body.len() * 5 < plain.body.len(),
            "{path}: {}",
            packed.body.len()
        );
        if let Some(tag) = plain.headers.get("etag") {
            assert_eq!(
                packed.headers["etag"],
                format!("W/{}", tag.to_str().unwrap()).as_str()
            );
        }
    }
    // A weakened tag still names the revision.
    let tag = scene
        .ask_with("GET", "/db/notes/n0", &gzip, &Value::Null)
        .await
        .headers["etag"]
        .clone();
    let match_it = [("if-match", tag.to_str().unwrap())];
    scene
        .ask_with("PATCH", "/db/notes/n0", &match_it, &json!({ "n": 1 }))
        .await
        .ok();

    // Three records that are alike take three times what one takes: none is written in terms of another.
    let one = scene
        .ask_with(
            "POST",
            "/db/query/notes",
            &gzip,
            &json!({ "query": { "_id": "n1" } }),
        )
        .await
        .body
        .len();
    let three = scene
        .ask_with("POST", "/db/query/notes", &gzip, &json!({}))
        .await
        .body
        .len();
    assert!(three > 2 * one, "{one} {three}");

    // What is written by hand and might hold several records' texts is not compressed: nobody can tell them apart.
    let made = scene
        .ask_with("POST", "/db/notes", &gzip, &json!({ "html": html }))
        .await;
    assert!(!made.headers.contains_key("content-encoding"));
    // What is the same for everybody is.
    let public = scene.node.send("GET", "/openapi.json", &gzip, "").await;
    assert_eq!(public.headers["content-encoding"], "gzip");
    let small = scene.node.send("GET", "/livez", &gzip, "").await;
    assert!(!small.headers.contains_key("content-encoding"));
}

#[tokio::test]
async fn what_the_original_had_and_this_node_has_not_says_where_to_go() {
    let mut scene = Scene::set().await;
    for (method, path, instead) in [
        ("GET", "/info/memory", json!("/readyz")),
        ("GET", "/app/usage", json!("/api/rest/v1/auth/me")),
        (
            "POST",
            "/admin/updateConfig",
            json!("/.well-known/adyton-attestation"),
        ),
        ("GET", "/access/did:vda:x", Value::Null),
        ("POST", "/integrations/nillion/data", Value::Null),
    ] {
        let answer = scene
            .node
            .send(method, &format!("{API}{path}"), &[], "")
            .await;
        assert_eq!(answer.problem(410, "gone")["instead"], instead, "{path}");
    }
    for path in ["/appendix", "/admin", "/info/memory/x"] {
        let answer = scene
            .node
            .send("GET", &format!("{API}{path}"), &[], "")
            .await;
        answer.problem(404, "not-found");
    }
}

#[tokio::test]
async fn the_index_names_what_is_there() {
    let mut scene = Scene::set().await;
    let index = scene.node.send("GET", "/api/rest", &[], "").await.ok();
    for name in ["openapi", "docs", "scopes", "attestation"] {
        let path = index[name].as_str().unwrap();
        assert_eq!(
            scene.node.send("GET", path, &[], "").await.status,
            200,
            "{path}"
        );
    }
    scene.ask("GET", "/auth/me", &Value::Null).await.ok();
    assert_eq!(index["whoami"], format!("{API}/auth/me"));
    let account = scene
        .ask("GET", "/account/fromKey", &Value::Null)
        .await
        .ok();
    let me = scene.ask("GET", "/auth/me", &Value::Null).await.ok();
    assert_eq!(
        (&account["success"], &account["did"]),
        (&json!(true), &me["did"])
    );
    let app = scene.token(&["api:db-query"]).await;
    scene
        .ask_as(&app, "GET", "/account/fromKey", &Value::Null)
        .await
        .problem(403, "scope-missing");
}
