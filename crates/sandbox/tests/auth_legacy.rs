//! The original's `/auth` routes from outside: cases 1 to 15 of `spec/user-data-api.md` §9 that concern them, the cases that the original
//! lacks, and the defects of its §10 that must not exist here. Each test names its numbers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub,
    missing_docs
)]

#[path = "auth/mod.rs"]
mod auth;
mod caller;

use adyton_client::did_directory::DidDirectory;
use adyton_client::storage_node::StorageNode;
use adyton_keys::account::Account;
use adyton_protocol::consent::legacy_request;
use adyton_protocol::did_document::{REDIRECT_SERVICE, UnsignedDidDocument};
use adyton_storage::{Config, RegistryChoice, Storage};
use auth::{Stage, account, query, seconds};
use caller::Answer;
use serde_json::{Value, json};

const AUTH: &str = "/api/rest/v1/auth";

/// The text that the original's page signs: five members.
fn signed(stage: &Stage, app: &str, scopes: &[&str], timestamp: u64) -> Value {
    json!({
        "appDID": app, "userDID": stage.owner.did().as_given(), "scopes": scopes,
        "payer": "app", "timestamp": timestamp,
    })
}

/// The body of `POST /auth/auth`, signed by the owner's context key.
fn request(stage: &Stage, app: &str, consent: &Value) -> Value {
    let text = consent.to_string();
    let keyring = stage.owner.keyring().unwrap();
    json!({
        "client_id": app, "auth_request": text, "redirect_uri": stage.redirect_uri(),
        "user_sig": keyring.sign_consent(&legacy_request(&text).unwrap()).to_string(),
        "state": "x y&z#",
    })
}

async fn consent(stage: &mut Stage, body: &Value) -> Answer {
    stage
        .owner("POST", &format!("{AUTH}/auth"), Some(body))
        .await
}

#[tokio::test]
async fn case_1_consent_returns_a_url_with_a_token_and_the_state_and_the_token_works() {
    let mut stage = Stage::new().await;
    let app = stage.client_id();
    let text = signed(
        &stage,
        &app,
        &["ds:r:social-email", "api:ds-query"],
        seconds(),
    );
    let body = request(&stage, &app, &text);
    let answer = consent(&mut stage, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.json());
    let url = answer.json()["redirectUrl"].as_str().unwrap().to_owned();
    // Defect 13: the query that was there is kept, and the state is escaped.
    assert!(
        url.starts_with(&format!("{}/back?a=b&auth_token=adyt_", stage.app)),
        "{url}"
    );
    let said = query(&url);
    assert_eq!(said["state"], body["state"]);
    let token = said["auth_token"].clone();
    assert_eq!(stage.query_mail(&token).await.0, 200);
    // Defect 12: it travelled in a URL, and so it lives for ten minutes.
    let me = stage
        .bearer("GET", &format!("{AUTH}/me"), &token)
        .await
        .json();
    let (from, until) = (&me["insertedAt"], &me["expiresAt"]);
    assert_eq!(minutes_between(from, until), 10, "{me}");
    // The same signature a second time is a replay.
    let again = consent(&mut stage, &body).await;
    assert_eq!(again.problem(), (400, "consent-invalid".to_owned()));
    stage.sandbox.shutdown().await;
}

fn minutes_between(from: &Value, until: &Value) -> i64 {
    let time = |value: &Value| {
        let format = &time::format_description::well_known::Rfc3339;
        time::OffsetDateTime::parse(value.as_str().unwrap(), format).unwrap()
    };
    (time(until) - time(from)).whole_minutes()
}

#[tokio::test]
async fn long_tokens_are_for_who_has_set_that_they_are() {
    let mut stage = Stage::with("[compat]\nlong_tokens = true").await;
    let app = stage.client_id();
    let text = signed(&stage, &app, &["api:ds-query"], seconds());
    let body = request(&stage, &app, &text);
    let url = consent(&mut stage, &body).await.json()["redirectUrl"]
        .as_str()
        .unwrap()
        .to_owned();
    let token = query(&url)["auth_token"].clone();
    let me = stage
        .bearer("GET", &format!("{AUTH}/me"), &token)
        .await
        .json();
    assert_eq!(
        minutes_between(&me["insertedAt"], &me["expiresAt"]),
        30 * 24 * 60
    );
    stage.sandbox.shutdown().await;
}

#[tokio::test]
async fn defects_3_9_12_13_a_request_that_is_not_in_order_is_refused_and_the_node_lives_on() {
    let mut stage = Stage::new().await;
    let app = stage.client_id();
    let scopes = ["ds:r:social-email"];
    let now = seconds();
    let good = signed(&stage, &app, &scopes, now);
    let with = |member: &str, value: Value| {
        let mut text = good.clone();
        text[member] = value;
        text
    };
    let evil_schema = json!(["ds:rwd:https://evil.example/schema.json"]);
    for (what, text, code) in [
        (
            "a time two minutes ago",
            with("timestamp", json!(now - 125)),
            "consent-invalid",
        ),
        (
            "a time in the future",
            with("timestamp", json!(now + 90)),
            "consent-invalid",
        ),
        (
            "a time in the far future",
            with("timestamp", json!(now + 1_000_000_000)),
            "consent-invalid",
        ),
        (
            "another app than client_id",
            with("appDID", json!("https://evil.example/c")),
            "consent-invalid",
        ),
        (
            "another user",
            with("userDID", json!(stage.stranger.did().as_given())),
            "consent-invalid",
        ),
        (
            "another node",
            with("audience", json!("https://evil.example")),
            "consent-invalid",
        ),
        (
            "another redirect URI",
            with("redirectUri", json!("https://evil.example")),
            "consent-invalid",
        ),
        (
            "nobody who pays",
            with("payer", json!("x")),
            "consent-invalid",
        ),
        (
            "an unknown member",
            with("more", json!(1)),
            "consent-invalid",
        ),
        (
            "a schema that the app hosts",
            with("scopes", evil_schema),
            "scope-invalid",
        ),
        (
            "a wallet",
            with("scopes", json!(["db:rwd:user_wallet"])),
            "scope-invalid",
        ),
        (
            "the user's connections",
            with("scopes", json!(["db:r:data_connections"])),
            "scope-invalid",
        ),
        ("no scope", with("scopes", json!([])), "scope-invalid"),
    ] {
        let body = request(&stage, &app, &text);
        let answer = consent(&mut stage, &body).await;
        assert_eq!(answer.problem(), (400, code.to_owned()), "{what}");
    }
    let body = request(&stage, &app, &good);
    for (what, member, value) in [
        ("no client", "client_id", json!(null)),
        ("no request", "auth_request", json!(null)),
        ("no signature", "user_sig", json!(null)),
        ("no redirect URI", "redirect_uri", json!(null)),
        (
            "a redirect URI that the app did not publish",
            "redirect_uri",
            json!("https://evil.example/"),
        ),
        (
            "the published redirect URI without its query",
            "redirect_uri",
            json!(format!("{}/back", stage.app)),
        ),
        ("a request that is an object", "auth_request", good.clone()),
        ("an unknown member", "payer", json!("app")),
        (
            "a script for a client",
            "client_id",
            json!("javascript:alert(1)"),
        ),
    ] {
        let mut body = body.clone();
        body[member] = value;
        let answer = consent(&mut stage, &body).await;
        assert_eq!(answer.problem().0, 400, "{what}");
    }
    // Somebody else's signature, and somebody else's session.
    let mut forged = body.clone();
    forged["user_sig"] = json!(format!("0x{}1b", "11".repeat(64)));
    let answer = consent(&mut stage, &forged).await;
    assert_eq!(answer.problem(), (400, "consent-invalid".to_owned()));
    let stranger = stage.stranger.expose_api_key();
    let headers = [("x-api-key", stranger.as_str())];
    let answer = stage
        .send("POST", &format!("{AUTH}/auth"), &headers, Some(&body))
        .await;
    assert_eq!(answer.problem(), (400, "consent-invalid".to_owned()));
    // Defect 9: one request without anything ends the original's process.
    for (method, path) in [
        ("POST", "auth"),
        ("GET", "check-scope"),
        ("GET", "revoke"),
        ("GET", "resolve-scopes"),
        ("GET", "token"),
    ] {
        let answer = stage
            .send(method, &format!("{AUTH}/{path}"), &[], Some(&json!({})))
            .await;
        assert!([400, 401].contains(&answer.problem().0), "{path}");
        let answer = stage
            .owner(method, &format!("{AUTH}/{path}"), Some(&json!({})))
            .await;
        assert_eq!(answer.problem().0, 400, "{path}");
    }
    // All of that used nothing up.
    assert_eq!(consent(&mut stage, &body).await.status, 200);
    stage.sandbox.shutdown().await;
}

/// Publishes the DID document of an app, with the places where it may be answered.
async fn publish(stage: &Stage, app: &Account, redirects: &[String]) {
    let now = time::OffsetDateTime::now_utc();
    let mut unsigned = UnsignedDidDocument::new(app.did(), app.public_key(), now);
    unsigned.set_service(REDIRECT_SERVICE, redirects);
    let document = app.sign_document(unsigned).unwrap();
    let endpoint = stage.sandbox.storage_url().parse().unwrap();
    let transport = stage.sandbox.transport().clone();
    let node = StorageNode::new(transport, endpoint).unwrap();
    node.put_did_document(&document).await.unwrap();
}

#[tokio::test]
async fn defect_13_an_app_with_a_did_is_answered_where_its_document_says_and_nowhere_else() {
    let mut stage = Stage::new().await;
    let (published, silent, unknown) = (account(), account(), account());
    let redirect_uri = stage.redirect_uri();
    publish(
        &stage,
        &published,
        &["javascript:alert(1)".to_owned(), redirect_uri],
    )
    .await;
    publish(&stage, &silent, &[]).await;
    for (app, status) in [(&published, 200), (&silent, 400), (&unknown, 400)] {
        let did = app.did().as_given().to_owned();
        let text = signed(
            &stage,
            &did,
            &["ds:r:social-email", "api:ds-query"],
            seconds(),
        );
        let body = request(&stage, &did, &text);
        let answer = consent(&mut stage, &body).await;
        assert_eq!(answer.status, status, "{}", answer.json());
        if status == 200 {
            let url = answer.json()["redirectUrl"].as_str().unwrap().to_owned();
            let token = query(&url)["auth_token"].clone();
            assert_eq!(stage.query_mail(&token).await.0, 200);
            let said = stage
                .bearer("GET", &format!("{AUTH}/token"), &token)
                .await
                .json();
            assert_eq!(said["token"]["appDID"], did.as_str());
        }
    }
    let did = published.did().as_given().to_owned();
    let text = signed(&stage, &did, &["api:ds-query"], seconds());
    for elsewhere in ["https://evil.example/", "javascript:alert(1)"] {
        let mut body = request(&stage, &did, &text);
        body["redirect_uri"] = json!(elsewhere);
        assert_eq!(
            consent(&mut stage, &body).await.problem().0,
            400,
            "{elsewhere}"
        );
    }
    stage.sandbox.shutdown().await;
}

#[tokio::test]
async fn an_app_with_a_did_is_found_through_the_registry_that_the_node_is_told_of() {
    let data = tempfile::tempdir().unwrap();
    let mut config = Config::new("127.0.0.1:0".parse().unwrap(), data.path().to_owned());
    config.registry = RegistryChoice::Directory(Vec::new());
    let directory = Storage::start(config).await.unwrap();
    let url = directory.public_url().to_owned();
    let table = format!("[did]\nregistry = \"directory\"\ndirectories = [\"{url}/\"]");
    let mut stage = Stage::with(&table).await;

    // Its document lies where the user's storage node does not know of it.
    let (registered, unregistered, late) = (account(), account(), account());
    let now = time::OffsetDateTime::now_utc();
    let mut unsigned = UnsignedDidDocument::new(registered.did(), registered.public_key(), now);
    unsigned.set_service(REDIRECT_SERVICE, &[stage.redirect_uri()]);
    let document = registered.sign_document(unsigned).unwrap();
    let transport = stage.sandbox.transport().clone();
    let endpoint: adyton_client::endpoint::Endpoint = url.parse().unwrap();
    let node = StorageNode::new(transport.clone(), endpoint.clone()).unwrap();
    node.put_did_document(&document).await.unwrap();
    let place = format!("{url}/did/{}", registered.did().lowercase());
    let service = DidDirectory::new(transport, endpoint).unwrap();
    service.register(&registered, &[place]).await.unwrap();
    // One that only the user's own node has, and no registry: it is not asked for.
    publish(&stage, &unregistered, &[stage.redirect_uri()]).await;

    let mut ask = async |app: &Account| {
        let did = app.did().as_given().to_owned();
        let text = signed(&stage, &did, &["api:ds-query"], seconds());
        let body = request(&stage, &did, &text);
        consent(&mut stage, &body).await.status
    };
    assert_eq!(ask(&registered).await, 200);
    assert_eq!(ask(&unregistered).await, 400);
    // An outage is not "no such app".
    directory.shutdown().await;
    assert_eq!(ask(&late).await, 502);
    stage.sandbox.shutdown().await;
}

/// A token that the owner makes herself: its text and its id.
async fn mint(stage: &mut Stage, scopes: &[&str]) -> (String, String) {
    let body = json!({ "scopes": scopes });
    let made = stage
        .owner("POST", &format!("{AUTH}/token"), Some(&body))
        .await
        .json();
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("token"), text("_id"))
}

#[tokio::test]
async fn cases_2_and_3_a_scope_is_checked_with_a_plain_yes_or_no() {
    let mut stage = Stage::new().await;
    let (token, _) = mint(
        &mut stage,
        &["ds:rw:social-email", "api:ds-query", "db:r:favourite"],
    )
    .await;
    for (scope, expected) in [
        ("api:ds-query", true),
        ("ds:r:social-email", true),
        ("ds:rw:social-email", true),
        ("ds:social-email", true),
        ("db:r:favourite", true),
        ("ds:rwd:social-email", false),
        ("api:ds-create", false),
        ("ds:r:social-event", false),
        ("db:r:social_email", false),
        ("test-scope", false),
        ("db:r:user_wallet", false),
        ("ds:r:https://evil.example/schema.json", false),
    ] {
        let path = format!(
            "{AUTH}/check-scope?{}",
            auth::form(&[("scope", scope.to_owned())])
        );
        let answer = stage.bearer("GET", &path, &token).await;
        assert_eq!(
            (answer.status.as_u16(), answer.json()),
            (200, json!({ "authenticated": expected })),
            "{scope}"
        );
    }
    stage.sandbox.shutdown().await;
}

#[tokio::test]
async fn cases_4_to_9_tokens_are_listed_described_and_ended_by_their_owner_alone() {
    let mut stage = Stage::new().await;
    let (token, id) = mint(&mut stage, &["ds:r:social-email", "api:ds-query"]).await;
    // 4
    let list = stage
        .owner("GET", &format!("{AUTH}/tokens"), None)
        .await
        .json();
    assert_eq!(list["tokens"][0]["_id"], id.as_str());
    assert!(!list.to_string().contains("adyt_"));
    // 5, without the secret in a URL: with it, nobody is told anything, whoever asks.
    let said = stage
        .bearer("GET", &format!("{AUTH}/token"), &token)
        .await
        .json();
    assert_eq!(
        (&said["token"]["_id"], &said["token"]["servers"]),
        (&json!(id), &json!([stage.origin]))
    );
    assert_eq!(said["token"]["did"], stage.owner.did().as_given());
    let path = format!("{AUTH}/token?tokenId={token}");
    for answer in [
        stage.send("GET", &path, &[], None).await,
        stage.bearer("GET", &path, &token).await,
        stage.owner("GET", &path, None).await,
    ] {
        assert_eq!(answer.problem(), (400, "request-malformed".to_owned()));
        assert!(
            answer.json()["detail"]
                .as_str()
                .unwrap()
                .contains("/auth/me")
        );
        assert!(!answer.json().to_string().contains(&token));
    }
    // 6, and defect 4: neither an app nor another user ends a token, and it lives on.
    let path = format!("{AUTH}/revoke?tokenId={id}");
    let by_app = stage.bearer("GET", &path, &token).await;
    assert_eq!(by_app.problem(), (403, "scope-missing".to_owned()));
    let stranger = stage.stranger.expose_api_key();
    let headers = [("x-api-key", stranger.as_str())];
    for (method, path, body) in [
        ("GET", path.clone(), None),
        (
            "POST",
            format!("{AUTH}/revoke"),
            Some(json!({ "tokenId": id })),
        ),
        ("DELETE", format!("{AUTH}/tokens/{id}"), None),
        ("DELETE", format!("{AUTH}/grants/{id}"), None),
    ] {
        let answer = stage.send(method, &path, &headers, body.as_ref()).await;
        assert_eq!(
            answer.problem(),
            (404, "not-found".to_owned()),
            "{method} {path}"
        );
    }
    assert_eq!(stage.query_mail(&token).await.0, 200);
    // The secret is no id.
    let answer = stage
        .owner(
            "POST",
            &format!("{AUTH}/revoke"),
            Some(&json!({ "tokenId": token })),
        )
        .await;
    assert_eq!(answer.problem(), (400, "request-malformed".to_owned()));
    // 7 and 8
    let ended = stage.owner("GET", &path, None).await.json();
    assert_eq!(ended, json!({ "revoked": true }));
    assert_eq!(
        stage.query_mail(&token).await,
        (401, "token-revoked".to_owned())
    );
    assert_eq!(stage.owner("GET", &path, None).await.problem().0, 404);
    // 9
    let (token, id) = mint(&mut stage, &["api:ds-query"]).await;
    let body = json!({ "tokenId": id });
    let ended = stage
        .owner("POST", &format!("{AUTH}/revoke"), Some(&body))
        .await
        .json();
    assert_eq!(ended, json!({ "revoked": true }));
    assert_eq!(
        stage
            .bearer("GET", &format!("{AUTH}/me"), &token)
            .await
            .problem()
            .0,
        401
    );
    stage.sandbox.shutdown().await;
}

#[tokio::test]
async fn cases_10_to_13_scopes_are_listed_and_resolved_and_no_url_is_fetched() {
    let mut stage = Stage::new().await;
    let scopes = stage
        .send("GET", &format!("{AUTH}/scopes"), &[], None)
        .await
        .json();
    assert!(
        scopes["scopes"]["ds:r:file"]["description"]
            .as_str()
            .unwrap()
            .contains("Files")
    );
    // Cases 11 to 13 are held at length by `resolve_scopes_tests`; here it is the route.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let hosted = format!(
        "ds:rwd:http://{}/schema.json",
        listener.local_addr().unwrap()
    );
    let texts = [
        "ds:rw:favourite",
        &hosted,
        "ds:r:file",
        "ds:rwd:http://169.254.169.254/latest.json",
        "ds:r:favourite",
    ];
    let pairs: Vec<(&str, String)> = texts
        .iter()
        .map(|text| ("scopes", (*text).to_owned()))
        .collect();
    let path = format!("{AUTH}/resolve-scopes?{}", auth::form(&pairs));
    let resolved = stage.send("GET", &path, &[], None).await.json();
    let names: Vec<&Value> = resolved["scopes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|scope| &scope["name"])
        .collect();
    assert_eq!(names, ["Favourite", "File"]);
    assert_eq!(resolved["scopeValidity"][&hosted], false);
    assert!(listener.accept().is_err(), "defect 11: nothing is fetched");
    let many: Vec<(&str, String)> = (0..129).map(|n| ("scopes", format!("db:r:d{n}"))).collect();
    let path = format!("{AUTH}/resolve-scopes?{}", auth::form(&many));
    assert_eq!(stage.send("GET", &path, &[], None).await.problem().0, 400);
    stage.sandbox.shutdown().await;
}

#[tokio::test]
async fn case_15_what_a_token_does_not_allow_is_refused_and_the_capability_is_named() {
    let mut stage = Stage::new().await;
    let (token, _) = mint(&mut stage, &["api:search-ds"]).await;
    let header = format!("Bearer {token}");
    let headers = [("authorization", header.as_str())];
    let path = "/api/rest/v1/ds/query/social-email";
    let answer = stage.send("POST", path, &headers, Some(&json!({}))).await;
    assert_eq!(answer.problem(), (403, "scope-missing".to_owned()));
    assert!(
        answer.json()["detail"]
            .as_str()
            .unwrap()
            .contains("api:ds-query")
    );
    stage.sandbox.shutdown().await;
}
