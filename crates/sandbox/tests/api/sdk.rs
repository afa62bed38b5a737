//! What the original's SDK for agents sends, tool by tool: method, path, headers and body as its published code builds them.
//! (The package itself is not in the registry, so it cannot be run here.)

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{EMAIL, Scene, email};

const SCOPES: [&str; 8] = [
    "api:ds-query",
    "api:ds-get-by-id",
    "api:search-ds",
    "api:search-universal",
    "api:search-chat-threads",
    "ds:r:social-email",
    "ds:r:social-chat-message",
    "ds:r:social-chat-group",
];

#[tokio::test]
async fn the_tools_of_the_sdk_get_answers_and_the_one_with_its_token_in_the_url_gets_a_reason() {
    let mut scene = Scene::set().await;
    scene
        .create("/ds/social-email", &email("e1", "quarterly report"))
        .await;
    scene
        .create("/ds/social-email", &email("e2", "lunch"))
        .await;
    let token = scene.token(&SCOPES).await;
    let schema = STANDARD.encode(EMAIL);

    // query_user_data, with and without `count`: what is not set is left out.
    let query = json!({ "options": { "limit": 20 }, "filter": { "name": "lunch" } });
    let found = scene
        .ask_as(&token, "POST", &format!("/ds/query/{schema}"), &query)
        .await
        .ok();
    assert_eq!(
        found["items"].as_array().unwrap().len(),
        1,
        "the filter is not ignored"
    );
    let count = json!({ "filter": { "name": "lunch" } });
    let counted = scene
        .ask_as(&token, "POST", &format!("/ds/count/{schema}"), &count)
        .await
        .ok();
    assert_eq!(counted["count"], 1);
    // get_record: a POST with an empty object.
    let got = scene
        .ask_as(&token, "POST", &format!("/ds/get/{schema}/e1"), &json!({}))
        .await
        .ok();
    assert_eq!(got["item"]["name"], "quarterly report");
    // search_user_data
    let words = json!({ "keywords": "report", "limit": 20 });
    let found = scene
        .ask_as(
            &token,
            "POST",
            &format!("/search/datastore/{schema}"),
            &words,
        )
        .await
        .ok();
    assert_eq!(
        (&found["total"], &found["items"][0]["_id"]),
        (&json!(1), &json!("e1"))
    );
    // search_chat_threads: a limit, and no `merge`.
    let threads = "/search/chatThreads?keywords=report&limit=20&skip=0";
    assert!(
        scene
            .ask_as(&token, "GET", threads, &Value::Null)
            .await
            .ok()["items"]
            .is_array()
    );
    // The universal search.
    let universal = "/search/universal?keywords=report&limit=20&skip=0";
    let found = scene
        .ask_as(&token, "GET", universal, &Value::Null)
        .await
        .ok();
    assert_eq!(found["items"].as_array().unwrap().len(), 1);
    // verida_user_info puts the token into the URL. It is refused, and there is another place to ask.
    let info = format!("/auth/token?tokenId={token}");
    let refused = scene.ask_as(&token, "GET", &info, &Value::Null).await;
    assert_eq!(refused.status, 400, "{}", refused.json());
    assert_eq!(
        scene
            .ask_as(&token, "GET", "/auth/me", &Value::Null)
            .await
            .ok()["kind"],
        "app"
    );
    // verida_profiles: there are no connections here yet.
    scene
        .ask_as(&token, "GET", "/connections/profiles", &Value::Null)
        .await
        .problem(404, "not-found");
}
