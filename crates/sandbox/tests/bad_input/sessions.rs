//! Sessions, tokens and scopes that are not what they should be.

use adyton_keys::context_session::ContextSession;
use http::StatusCode;
use serde_json::{Value, json};

use super::Scene;
use crate::support::lying_node::Act;
use crate::support::{Person, api_key, ids, key_at, note};

const TOKEN: &str = "/api/rest/v1/auth/token";

fn as_json(session: &ContextSession) -> Value {
    serde_json::from_slice(&session.expose_json()).unwrap()
}

async fn grant(scene: &mut Scene, lifetime: u64) -> (String, String) {
    let body = json!({ "scopes": ["api:db-query", "db:r:notes"], "expiresIn": lifetime });
    let minted = scene.node.post(TOKEN, &scene.key, &body).await.ok();
    let text = |name: &str| minted[name].as_str().unwrap().to_owned();
    (format!("Bearer {}", text("token")), text("_id"))
}

async fn asked_with(scene: &mut Scene, bearer: &str) -> crate::support::Answer {
    let headers = [("authorization", bearer)];
    scene
        .node
        .send("POST", crate::support::NOTES, &headers, "{}")
        .await
}

#[tokio::test]
async fn an_expired_token_is_refused() {
    let mut scene = Scene::set().await;
    let (token, _) = grant(&mut scene, 60).await;
    let (longer, _) = grant(&mut scene, 3600).await;
    asked_with(&mut scene, &token).await.ok();
    scene.world.pass(61);
    asked_with(&mut scene, &token)
        .await
        .problem(401, "token-expired");
    asked_with(&mut scene, &longer).await.ok();
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn a_revoked_token_is_refused() {
    let mut scene = Scene::set().await;
    let (token, id) = grant(&mut scene, 60).await;
    let (other, _) = grant(&mut scene, 60).await;
    asked_with(&mut scene, &token).await.ok();
    let path = format!("/api/rest/v1/auth/tokens/{id}");
    let owner = [("x-api-key", scene.key.as_str())];
    scene.node.send("DELETE", &path, &owner, "").await.ok();
    asked_with(&mut scene, &token)
        .await
        .problem(401, "token-revoked");
    asked_with(&mut scene, &other).await.ok();
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn a_session_whose_seed_is_not_of_its_did_is_refused() {
    let mut scene = Scene::set().await;
    assert_eq!(ids(&scene.notes().await).len(), 3);
    let stranger = scene.world.person().await;
    let (mine, theirs) = (as_json(&scene.person.session), as_json(&stranger.session));

    // Somebody else's DID, somebody else's context, a seed that differs in one digit or in its spelling.
    let mut foreign_did = theirs.clone();
    foreign_did["did"] = mine["did"].clone();
    let mut foreign_context = mine.clone();
    foreign_context["contextName"] = "Another App".into();
    let mut digit = mine.clone();
    let seed = digit["signature"].as_str().unwrap();
    let changed = if seed.ends_with("1b") { "1c" } else { "1b" };
    digit["signature"] = format!("{}{changed}", &seed[..seed.len() - 2]).into();
    let mut spelling = mine.clone();
    let upper = mine["signature"].as_str().unwrap().to_uppercase();
    spelling["signature"] = upper.replace("0X", "0x").into();
    let mut empty = mine.clone();
    empty["signature"] = "".into();
    for session in [foreign_did, foreign_context, digit, spelling, empty] {
        let refused = scene.node.notes(&api_key(&session)).await;
        refused.problem(401, "credentials-invalid");
    }
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn a_foreign_session_opens_nothing_of_mine() {
    let mut scene = Scene::set().await;
    assert_eq!(ids(&scene.notes().await).len(), 3);
    let stranger = scene.world.person().await;
    assert!(ids(&scene.node.notes(&stranger.key()).await).is_empty());
    let nothing = scene.node.note(&stranger.key(), "note-1").await;
    nothing.problem(404, "not-found");
    // With my tokens for the storage node and the stranger's own keys: the storage node refuses.
    let mut mixed = as_json(&stranger.session);
    mixed["contextAuths"] = as_json(&scene.person.session)["contextAuths"].clone();
    let other = scene.world.person().await;
    let mut mixed_other = as_json(&other.session);
    mixed_other["contextAuths"] = mixed["contextAuths"].clone();
    let refused = scene.node.notes(&api_key(&mixed_other)).await;
    refused.problem(502, "storage-refused");
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn a_session_that_is_none_is_refused() {
    let mut scene = Scene::set().await;
    let mut without_nodes = as_json(&scene.person.session);
    without_nodes["contextConfig"]["services"]["databaseServer"]["endpointUri"] = json!([]);
    let no_nodes = api_key(&without_nodes);
    let mut many = as_json(&scene.person.session);
    many["contextConfig"]["services"]["databaseServer"]["endpointUri"] =
        json!(vec!["http://127.0.0.1:1/"; 1000]);
    for key in [
        "x".to_owned(),
        "!".repeat(100),
        "A".repeat(40_000),
        api_key(&json!([])),
        api_key(&json!({ "did": 1 })),
        api_key(&many),
        no_nodes,
    ] {
        let refused = scene.node.notes(&key).await;
        assert!(
            [401, 431].contains(&refused.status.as_u16()),
            "{} {:?}",
            refused.status,
            refused.body
        );
    }
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn a_session_that_the_storage_node_gave_up_is_told_and_a_new_login_works_at_once() {
    let mut scene = Scene::set().await;
    assert_eq!(ids(&scene.notes().await).len(), 3);
    // From now on the storage node does not take the first login's token any more.
    let first = scene.person.session.auths().next().unwrap();
    let revoked = first.refresh_token.clone();
    scene.lying.lie(move |asked| {
        let is_revoked =
            asked.path == "auth/connect" && String::from_utf8_lossy(&asked.body).contains(&revoked);
        match is_revoked {
            true => Act::Say(StatusCode::UNAUTHORIZED, "{}".to_owned()),
            false => Act::Honest,
        }
    });
    scene.world.pass(1000);
    scene.lying.cut_connections();
    let key = scene.key.clone();
    let refused = scene
        .node
        .notes_until(&key, |answer| !answer.status.is_success())
        .await;
    refused.problem(502, "storage-refused");
    scene.bystander.is_unharmed().await;
    let again = scene.world.log_in(&scene.person.account).await;
    let key = key_at(&again, &scene.lying.url);
    assert_eq!(ids(&scene.node.notes(&key).await).len(), 3);
    scene.node.create_note(&key, &note(9)).await.ok();
}

#[tokio::test]
async fn a_storage_node_that_is_gone_for_good_is_replaced_by_the_one_of_a_new_login() {
    let mut scene = Scene::with("stale_seconds = 2").await;
    assert_eq!(ids(&scene.notes().await).len(), 3);
    scene.lying.go_down();
    // What is in memory is served for a while, and then no longer.
    assert_eq!(ids(&scene.notes().await).len(), 3);
    let key = scene.key.clone();
    let old = scene
        .node
        .notes_until(&key, |answer| !answer.status.is_success())
        .await;
    old.problem(502, "storage-unreachable");
    scene.bystander.is_unharmed().await;
    // The same person, logged in at another storage node.
    let key = scene.person.key();
    assert_eq!(ids(&scene.node.notes(&key).await).len(), 3);
    scene.node.create_note(&key, &note(9)).await.ok();
    assert_eq!(ids(&scene.node.notes(&key).await).len(), 4);
    scene.bystander.is_unharmed().await;
}

#[tokio::test]
async fn scopes_that_do_not_parse_are_refused_by_their_place() {
    let mut scene = Scene::set().await;
    let long = "x".repeat(10_000);
    for scope in [
        "",
        "db",
        "db:",
        "db:r",
        "db:r:",
        "db:x:notes",
        "db:rr:notes",
        "api:",
        "api:everything",
        "ds:rwd:*",
        "*",
        "db:r:storage_database",
        "ds:r:https://evil.example/schema.json",
        long.as_str(),
    ] {
        let body = json!({ "scopes": ["api:db-query", scope] });
        let refused = scene.node.post(TOKEN, &scene.key, &body).await;
        let refused = refused.problem(400, "scope-invalid");
        assert_eq!(refused["scopeIndex"], 1, "{scope}");
        // What was refused is never repeated.
        assert!(scope.len() < 4 || !refused["detail"].as_str().unwrap().contains(scope));
    }
    for scopes in [json!("api:db-query"), json!([1]), json!({}), Value::Null] {
        let body = json!({ "scopes": scopes });
        let refused = scene.node.post(TOKEN, &scene.key, &body).await;
        refused.problem(400, "request-malformed");
    }
    let refused = scene
        .node
        .post(TOKEN, &scene.key, &json!({ "scopes": [] }))
        .await;
    refused.problem(400, "scope-invalid");
    let many = json!({ "scopes": vec!["api:db-query"; 100_000] });
    let refused = scene.node.post(TOKEN, &scene.key, &many).await;
    refused.problem(400, "scope-invalid");
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn a_token_can_do_nothing_beyond_its_scopes_even_with_an_owner_beside() {
    let mut scene = Scene::set().await;
    let (token, _) = grant(&mut scene, 60).await;
    let owner: &Person = &scene.person;
    let both = [
        ("authorization", token.as_str()),
        ("x-api-key", &owner.key()),
    ];
    let refused = scene
        .node
        .send("POST", crate::support::NOTES, &both, "{}")
        .await;
    refused.problem(400, "credentials-ambiguous");
    let headers = [("authorization", token.as_str())];
    let body = json!({ "record": note(9) }).to_string();
    let refused = scene
        .node
        .send("POST", "/api/rest/v1/db/notes", &headers, body)
        .await;
    refused.problem(403, "scope-missing");
    scene.all_is_well_again().await;
}
