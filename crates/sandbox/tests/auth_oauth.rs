//! OAuth 2.1 from outside, as an app sees it: asking, being allowed by a user, tokens, and everything that goes wrong.
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

use auth::{AppDid, CHALLENGE, Key, Stage, VERIFIER, form, seconds};
use serde_json::json;

#[tokio::test]
async fn an_app_asks_a_user_allows_and_the_tokens_open_what_was_allowed_and_no_more() {
    let mut stage = Stage::new().await;
    let id = stage
        .ask(&stage.request("ds:r:social-email api:ds-query api:ds-get-by-id"))
        .await;
    let back = stage
        .approve(
            &id,
            &json!({ "scopes": ["ds:r:social-email", "api:ds-query"] }),
        )
        .await;
    // The query that the app published is kept, and every answer says whose it is.
    assert!(
        back.starts_with(&format!("{}/back?a=b&code=adyc_", stage.app)),
        "{back}"
    );
    let answer = auth::query(&back);
    assert_eq!(answer["iss"], stage.origin);
    assert_eq!(answer["state"], "x y&z");
    let tokens = stage.exchange(&answer["code"], &[]).await;
    assert_eq!(tokens["token_type"], "Bearer");
    assert_eq!(tokens["expires_in"], 600);
    assert!(
        tokens["refresh_token"]
            .as_str()
            .unwrap()
            .starts_with("adyr_")
    );
    let access = tokens["access_token"].as_str().unwrap().to_owned();
    let found = stage.query_mail(&access).await;
    assert_eq!((found.0, found.1.as_str()), (200, ""));
    // It was asked and not allowed: the challenge names what would help, and where to learn more.
    let refused = stage.bearer("GET", &stage.mail_path(), &access).await;
    assert_eq!(refused.problem(), (403, "scope-missing".to_owned()));
    let challenge = refused.headers["www-authenticate"].to_str().unwrap();
    let metadata = format!(
        "resource_metadata=\"{}/.well-known/oauth-protected-resource\"",
        stage.origin
    );
    for part in [
        "Bearer realm=\"adyton\"",
        "error=\"insufficient_scope\"",
        "scope=\"api:ds-get-by-id\"",
        &metadata,
    ] {
        assert!(challenge.contains(part), "{challenge} lacks {part}");
    }
    // The owner sees it, and it says when it was used.
    let grants = stage
        .owner("GET", "/api/rest/v1/auth/grants", None)
        .await
        .json();
    assert_eq!(grants["grants"][0]["client"]["name"], "Letter Reader");
    assert!(grants["grants"][0]["lastUsedAt"].is_string());
    stage.sandbox.shutdown().await;
}

#[tokio::test]
async fn refresh_tokens_rotate_and_a_stolen_one_ends_the_grant_for_thief_and_app() {
    let mut stage = Stage::new().await;
    let first = stage.granted("ds:r:social-email api:ds-query", &[]).await;
    let refresh = first["refresh_token"].as_str().unwrap();
    let second = stage.refresh(refresh, &[]).await;
    assert_eq!(second.status, 200, "{}", second.json());
    let second = second.json();
    assert_ne!(second["refresh_token"], first["refresh_token"]);
    let access = second["access_token"].as_str().unwrap().to_owned();
    assert_eq!(stage.query_mail(&access).await.0, 200);
    // Once more with the first: somebody has copied it.
    let stolen = stage.refresh(refresh, &[]).await;
    assert_eq!(
        (stolen.status.as_u16(), &stolen.json()["error"]),
        (400, &json!("invalid_grant"))
    );
    assert_eq!(
        stage.query_mail(&access).await,
        (401, "token-revoked".to_owned())
    );
    let newest = second["refresh_token"].as_str().unwrap();
    assert_eq!(
        stage.refresh(newest, &[]).await.json()["error"],
        "invalid_grant"
    );
    stage.sandbox.shutdown().await;
}

#[tokio::test]
async fn a_code_is_worth_nothing_twice_without_its_verifier_elsewhere_or_for_another_app() {
    let mut stage = Stage::new().await;
    let client = stage.client_id();
    for (what, changed, error) in [
        (
            "another verifier",
            ("code_verifier", "a".repeat(43)),
            "invalid_grant",
        ),
        (
            "no verifier",
            ("code_verifier", String::new()),
            "invalid_request",
        ),
        (
            "another client",
            ("client_id", "https://evil.example/c".to_owned()),
            "invalid_grant",
        ),
        ("no client", ("client_id", String::new()), "invalid_request"),
        (
            "another redirect URI",
            ("redirect_uri", format!("{}/back", stage.app)),
            "invalid_grant",
        ),
        (
            "another resource",
            ("resource", "https://evil.example".to_owned()),
            "invalid_target",
        ),
        (
            "a secret",
            ("client_secret", "x".to_owned()),
            "invalid_client",
        ),
        (
            "a grant of another type",
            ("grant_type", "password".to_owned()),
            "unsupported_grant_type",
        ),
    ] {
        let code = stage.code("ds:r:social-email api:ds-query").await;
        let mut pairs = vec![
            ("grant_type", "authorization_code".to_owned()),
            ("code", code),
            ("code_verifier", VERIFIER.to_owned()),
            ("client_id", client.clone()),
        ];
        pairs.retain(|(name, _)| *name != changed.0);
        pairs.push(changed);
        let answer = stage.form("/oauth/token", &pairs, &[]).await;
        assert_eq!(answer.json()["error"], error, "{what}");
        assert_eq!(answer.headers["cache-control"], "no-store", "{what}");
    }
    let code = stage.code("ds:r:social-email api:ds-query").await;
    let tokens = stage.exchange(&code, &[]).await;
    let access = tokens["access_token"].as_str().unwrap().to_owned();
    assert_eq!(stage.query_mail(&access).await.0, 200);
    let again = stage.try_exchange(&code, &[]).await;
    assert_eq!(again.json()["error"], "invalid_grant");
    assert_eq!(
        stage.query_mail(&access).await.0,
        401,
        "what a code became ends with its second use"
    );
    stage.sandbox.shutdown().await;
}

#[tokio::test]
async fn what_is_wrong_about_the_client_is_shown_and_never_redirected() {
    let mut stage = Stage::new().await;
    for (what, name, value) in [
        (
            "a redirect URI that was not published",
            "redirect_uri",
            "https://evil.example/back",
        ),
        ("no redirect URI", "redirect_uri", ""),
        ("no client", "client_id", ""),
        (
            "a client at the cloud's metadata",
            "client_id",
            "https://169.254.169.254/latest/meta-data",
        ),
        (
            "a client on this machine over https",
            "client_id",
            "https://127.0.0.1/c",
        ),
        ("a client at ::1", "client_id", "https://[::1]/c"),
        (
            "a client at an IPv4 address in IPv6",
            "client_id",
            "https://[::ffff:7f00:1]/c",
        ),
        (
            "a client at a decimal address",
            "client_id",
            "https://2130706433/c",
        ),
        ("a client in a file", "client_id", "file:///etc/passwd"),
        (
            "a client that does not exist",
            "client_id",
            "https://does-not-exist.invalid-tld-of-nobody/c",
        ),
        (
            "a DID that signs nothing",
            "client_id",
            "did:vda:polpos:0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a",
        ),
        (
            "a request that nobody pushed",
            "request_uri",
            "urn:ietf:params:oauth:request_uri:x",
        ),
        (
            "a request at a URL",
            "request_uri",
            "https://evil.example/request",
        ),
    ] {
        let mut pairs = stage.request("api:ds-query");
        pairs.retain(|(known, _)| *known != name);
        pairs.push((name, value.to_owned()));
        let answer = stage.authorize(&pairs).await;
        assert_eq!(
            answer.problem(),
            (400, "request-malformed".to_owned()),
            "{what}"
        );
        assert!(!answer.headers.contains_key("location"), "{what}");
    }
    // What is wrong about the request goes back to the app, with its state and our name.
    for (name, value, error) in [
        ("response_type", "token", "unsupported_response_type"),
        ("code_challenge", "", "invalid_request"),
        ("code_challenge_method", "plain", "invalid_request"),
        ("scope", "db:r:user_wallet", "invalid_scope"),
        (
            "scope",
            "ds:rwd:https://common.schemas.verida.io/evil/v0.1.0/schema.json",
            "invalid_scope",
        ),
        ("resource", "https://evil.example", "invalid_target"),
        (
            "authorization_details",
            "[{}]",
            "invalid_authorization_details",
        ),
    ] {
        let mut pairs = stage.request("api:ds-query");
        pairs.retain(|(known, _)| *known != name);
        pairs.push((name, value.to_owned()));
        let answer = stage.authorize(&pairs).await;
        assert_eq!(answer.status, 303, "{name}");
        let location = answer.headers["location"].to_str().unwrap();
        assert!(
            location.starts_with(&format!("{}/back?a=b&error={error}&", stage.app)),
            "{location}"
        );
        let said = auth::query(location);
        assert_eq!(
            (&said["iss"], &said["state"]),
            (&stage.origin, &"x y&z".to_owned())
        );
    }
    stage.sandbox.shutdown().await;
}

#[tokio::test]
async fn a_pushed_request_is_good_once_and_for_its_client() {
    let mut stage = Stage::new().await;
    let pairs = stage.request("ds:r:social-email api:ds-query");
    let pushed = stage.form("/oauth/par", &pairs, &[]).await;
    assert_eq!(pushed.status, 201, "{}", pushed.json());
    let uri = pushed.json()["request_uri"].as_str().unwrap().to_owned();
    let named = |client: String| vec![("client_id", client), ("request_uri", uri.clone())];
    let other = stage
        .authorize(&named("https://evil.example/c".to_owned()))
        .await;
    assert_eq!(other.status, 400, "another client");
    let client = stage.client_id();
    assert_eq!(stage.authorize(&named(client.clone())).await.status, 303);
    assert_eq!(
        stage.authorize(&named(client.clone())).await.status,
        400,
        "a second time"
    );
    let mut within = pairs.clone();
    within.push(("request_uri", uri));
    let refused = stage.form("/oauth/par", &within, &[]).await;
    assert_eq!(refused.json()["error"], "invalid_request");
    let mut elsewhere = pairs;
    elsewhere.retain(|(name, _)| *name != "redirect_uri");
    elsewhere.push(("redirect_uri", "https://evil.example/".to_owned()));
    let refused = stage.form("/oauth/par", &elsewhere, &[]).await;
    assert_eq!(refused.json()["error"], "invalid_request");
    stage.sandbox.shutdown().await;
}

#[tokio::test]
async fn tokens_that_are_bound_to_a_key_are_good_with_its_proofs_only_and_each_proof_once() {
    let mut stage = Stage::new().await;
    let (key, thief) = (Key::new(), Key::new());
    let code = stage.code("ds:r:social-email api:ds-query").await;
    let proof = key.proof("POST", &format!("{}/oauth/token", stage.origin), None, "1");
    let tokens = stage.exchange(&code, &[("dpop", &proof)]).await;
    assert_eq!(tokens["token_type"], "DPoP");
    let access = tokens["access_token"].as_str().unwrap().to_owned();
    let path = "/api/rest/v1/ds/query/social-email";
    let target = format!("{}{path}", stage.origin);
    let scheme = format!("DPoP {access}");
    let proof = key.proof("POST", &target, Some(&access), "2");
    let good = [("authorization", scheme.as_str()), ("dpop", &proof)];
    assert_eq!(
        stage
            .send("POST", path, &good, Some(&json!({})))
            .await
            .status,
        200
    );
    let others = [
        ("the proof again", scheme.clone(), proof.clone()),
        (
            "another key's proof",
            scheme.clone(),
            thief.proof("POST", &target, Some(&access), "3"),
        ),
        (
            "a proof for another method",
            scheme.clone(),
            key.proof("GET", &target, Some(&access), "4"),
        ),
        (
            "a proof for another path",
            scheme.clone(),
            key.proof("POST", &stage.origin, Some(&access), "5"),
        ),
        (
            "a proof without the token",
            scheme.clone(),
            key.proof("POST", &target, None, "6"),
        ),
        (
            "a proof for another token",
            scheme.clone(),
            key.proof("POST", &target, Some("adyt_x"), "7"),
        ),
        (
            "the token as a bearer's",
            format!("Bearer {access}"),
            key.proof("POST", &target, Some(&access), "8"),
        ),
    ];
    for (what, scheme, proof) in others {
        let headers = [("authorization", scheme.as_str()), ("dpop", &proof)];
        let answer = stage.send("POST", path, &headers, Some(&json!({}))).await;
        assert_eq!(
            answer.problem(),
            (401, "credentials-invalid".to_owned()),
            "{what}"
        );
        let challenge = answer.headers["www-authenticate"].to_str().unwrap();
        assert!(
            challenge.starts_with("DPoP ") && challenge.contains("invalid_dpop_proof"),
            "{what}: {challenge}"
        );
    }
    let headers = [("authorization", scheme.as_str())];
    let answer = stage.send("POST", path, &headers, Some(&json!({}))).await;
    assert_eq!(answer.status, 401, "no proof at all");
    // A refresh token without the key is worth nothing, and its try ends nothing.
    let refresh = tokens["refresh_token"].as_str().unwrap().to_owned();
    let stolen = stage.refresh(&refresh, &[]).await;
    assert_eq!(stolen.json()["error"], "invalid_dpop_proof");
    let proof = key.proof("POST", &format!("{}/oauth/token", stage.origin), None, "9");
    assert_eq!(
        stage.refresh(&refresh, &[("dpop", &proof)]).await.status,
        200
    );
    stage.sandbox.shutdown().await;
}

#[tokio::test]
async fn a_token_is_introspected_by_its_holder_and_the_owner_and_ended_by_whoever_has_it() {
    let mut stage = Stage::new().await;
    let one = stage.granted("ds:r:social-email api:ds-query", &[]).await;
    let other = stage.granted("api:ds-query", &[]).await;
    let text = |tokens: &serde_json::Value, name: &str| tokens[name].as_str().unwrap().to_owned();
    let (access, refresh) = (text(&one, "access_token"), text(&one, "refresh_token"));
    let key = stage.owner.expose_api_key().to_string();
    let own = format!("Bearer {access}");
    let foreign = format!("Bearer {}", text(&other, "access_token"));
    let stranger = stage.stranger.expose_api_key().to_string();
    for (what, header, active) in [
        ("its holder", ("authorization", own.as_str()), true),
        ("the owner", ("x-api-key", key.as_str()), true),
        (
            "another app of the owner",
            ("authorization", foreign.as_str()),
            false,
        ),
        ("another user", ("x-api-key", stranger.as_str()), false),
    ] {
        for token in [&access, &refresh] {
            let said = stage
                .form("/oauth/introspect", &[("token", token.clone())], &[header])
                .await
                .json();
            assert_eq!(said["active"], active, "{what}");
            assert_eq!(
                said.as_object().unwrap().len() > 1,
                active,
                "{what}: {said}"
            );
        }
    }
    let nothing = stage
        .form("/oauth/introspect", &[("token", access.clone())], &[])
        .await;
    assert_eq!(nothing.problem(), (401, "credentials-missing".to_owned()));
    let said = stage
        .form(
            "/oauth/introspect",
            &[("token", access.clone())],
            &[("x-api-key", &key)],
        )
        .await
        .json();
    assert_eq!(said["client_id"], stage.client_id());
    // Ended by its holder; for what is no token the answer is the same.
    for token in [refresh.clone(), refresh, "nonsense".to_owned()] {
        let ended = stage.form("/oauth/revoke", &[("token", token)], &[]).await;
        assert_eq!((ended.status.as_u16(), ended.body.len()), (200, 0));
    }
    assert_eq!(
        stage.query_mail(&access).await,
        (401, "token-revoked".to_owned())
    );
    assert_eq!(
        stage.query_mail(&text(&other, "access_token")).await.0,
        403,
        "the other grant lives"
    );
    stage.sandbox.shutdown().await;
}

#[tokio::test]
async fn the_metadata_says_what_the_server_does_and_names_itself_by_its_own_names_only() {
    let mut stage = Stage::new().await;
    let server = stage
        .send("GET", "/.well-known/oauth-authorization-server", &[], None)
        .await
        .json();
    assert_eq!(server["issuer"], stage.origin);
    assert_eq!(server["code_challenge_methods_supported"], json!(["S256"]));
    for endpoint in [
        "authorization_endpoint",
        "token_endpoint",
        "revocation_endpoint",
        "introspection_endpoint",
        "pushed_authorization_request_endpoint",
    ] {
        let url = server[endpoint].as_str().unwrap();
        let path = url.strip_prefix(&stage.origin).unwrap();
        let method = if endpoint == "authorization_endpoint" {
            "GET"
        } else {
            "POST"
        };
        let answer = stage.send(method, path, &[], None).await;
        assert!(
            [400, 401].contains(&answer.status.as_u16()),
            "{endpoint}: {}",
            answer.status
        );
    }
    let resource = stage
        .send("GET", "/.well-known/oauth-protected-resource", &[], None)
        .await
        .json();
    assert_eq!(resource["resource"], stage.origin);
    assert_eq!(resource["authorization_servers"], json!([stage.origin]));
    // Whoever knows the node by the address of its API finds the same there, under that name; no other path is a resource.
    let api = format!("{}/api/rest/v1", stage.origin);
    let below = "/.well-known/oauth-protected-resource";
    let path = format!("{below}/api/rest/v1");
    let mut of_api = stage.send("GET", &path, &[], None).await.json();
    assert_eq!(of_api["resource"], json!(api));
    assert_eq!(server["protected_resources"], json!([stage.origin, api]));
    of_api["resource"] = resource["resource"].clone();
    assert_eq!(of_api, resource);
    for other in [
        "api",
        "api/rest/v1/",
        "api/rest/v1/ds",
        "api/rest/v2",
        "console",
    ] {
        let answer = stage
            .send("GET", &format!("{below}/{other}"), &[], None)
            .await;
        assert_eq!(answer.problem(), (404, "not-found".to_owned()), "{other}");
    }
    // An identifier that is published is one that can be asked for.
    let mut request = stage.request("api:ds-query");
    request.retain(|(name, _)| *name != "resource");
    request.push(("resource", api));
    let _waits = stage.ask(&request).await;
    // A header cannot make the node take another name for its own.
    let headers = [("host", "evil.example")];
    let answer = stage
        .send(
            "GET",
            "/.well-known/oauth-authorization-server",
            &headers,
            None,
        )
        .await;
    assert!(!String::from_utf8_lossy(&answer.body).contains("evil"));
    stage.sandbox.shutdown().await;
}

#[tokio::test]
async fn forms_that_are_too_long_in_the_wrong_place_or_of_another_type_are_refused() {
    let mut stage = Stage::new().await;
    let long = vec![("token", "x".repeat(64 * 1024))];
    let answer = stage.form("/oauth/revoke", &long, &[]).await;
    assert_eq!(answer.json()["error"], "invalid_request");
    let path = format!("/oauth/token?{}", form(&[("code", "x".to_owned())]));
    let answer = stage
        .form(
            &path,
            &[("grant_type", "authorization_code".to_owned())],
            &[],
        )
        .await;
    assert_eq!(answer.json()["error"], "invalid_request");
    let answer = stage
        .send(
            "POST",
            "/oauth/token",
            &[],
            Some(&json!({ "grant_type": "refresh_token" })),
        )
        .await;
    assert_eq!(answer.json()["error"], "invalid_request");
    assert_eq!(CHALLENGE.len(), 43);
    stage.sandbox.shutdown().await;
}

#[tokio::test]
async fn what_is_refused_repeats_nothing_of_what_was_sent() {
    let mut stage = Stage::new().await;
    let word = "marked-7f3a9c";
    let names = [
        "grant_type",
        "code",
        "code_verifier",
        "client_id",
        "redirect_uri",
        "refresh_token",
        "token",
        "scope",
        "resource",
        "request",
        "request_uri",
        "client_assertion",
        "client_assertion_type",
        "authorization_details",
        "state",
        "response_type",
        "dpop_jkt",
        word,
    ];
    let all: Vec<(&str, String)> = names.iter().map(|name| (*name, word.to_owned())).collect();
    for path in ["/oauth/token", "/oauth/par"] {
        let mut good = stage.request("api:ds-query");
        good.push(("grant_type", "authorization_code".to_owned()));
        good.push(("code", "adyc_x".to_owned()));
        good.push(("code_verifier", VERIFIER.to_owned()));
        let one_wrong = names.iter().map(|name| {
            let mut pairs = good.clone();
            pairs.retain(|(known, _)| known != name);
            pairs.push((name, word.to_owned()));
            pairs
        });
        let requests: Vec<Vec<(&str, String)>> = one_wrong.chain([all.clone()]).collect();
        for pairs in requests {
            for headers in [&[][..], &[("dpop", word)], &[("authorization", word)]] {
                let answer = stage.form(path, &pairs, headers).await;
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                assert!(!text.contains(word), "{path}: {text}");
                let headers = format!("{:?}", answer.headers);
                assert!(!headers.contains(word), "{path}: {headers}");
            }
        }
    }
    stage.sandbox.shutdown().await;
}

const REQUEST: &str = "oauth-authz-req+jwt";
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

#[tokio::test]
async fn an_app_with_a_did_asks_with_its_key_and_gets_tokens_with_its_key_and_nobody_else_does() {
    let mut stage = Stage::new().await;
    let (app, thief) = (AppDid::new(7), AppDid::new(8));
    let did = app.did().as_given().to_owned();
    let mut serial = 0;
    let mut claims = |stage: &Stage| {
        serial += 1;
        json!({
            "iss": did, "aud": stage.origin, "jti": format!("{serial}"), "exp": seconds() + 60,
        })
    };
    let mut asked = claims(&stage);
    for (name, value) in stage.request("ds:r:social-email api:ds-query") {
        asked[name] = json!(value);
    }
    asked["client_id"] = json!(did);
    let named = |request: String| vec![("client_id", did.clone()), ("request", request)];
    // Parameters beside the signed ones count for nothing.
    let mut pairs = named(app.jwt(REQUEST, &asked));
    pairs.push(("scope", "db:rwd:favourite".to_owned()));
    pairs.push(("redirect_uri", "https://evil.example/".to_owned()));
    let id = stage.ask(&pairs).await;
    let shown = stage
        .send("GET", &format!("/consent/requests/{id}"), &[], None)
        .await
        .json();
    assert_eq!(shown["client"]["verifiedBy"], "did-signature");
    assert_eq!(shown["client"]["did"], did.as_str());
    assert!(!shown.to_string().contains("favourite") && !shown.to_string().contains("evil"));
    // Once more, and by somebody else.
    assert_eq!(
        stage.authorize(&pairs).await.problem().0,
        400,
        "the same request again"
    );
    let mut next = asked.clone();
    next["jti"] = json!("another");
    let forged = stage.authorize(&named(thief.jwt(REQUEST, &next))).await;
    assert_eq!(forged.problem().0, 400, "somebody else's signature");
    let unsigned = stage.request("api:ds-query");
    let mut unsigned: Vec<_> = unsigned
        .into_iter()
        .filter(|(name, _)| *name != "client_id")
        .collect();
    unsigned.push(("client_id", did.clone()));
    assert_eq!(
        stage.authorize(&unsigned).await.problem().0,
        400,
        "no signature"
    );

    let terms = json!({ "scopes": ["ds:r:social-email", "api:ds-query"] });
    let back = stage.approve_of(&did, &id, &terms).await;
    let code = auth::query(&back)["code"].clone();
    let exchange = |assertion: Option<String>| {
        let mut pairs = vec![
            ("grant_type", "authorization_code".to_owned()),
            ("code", code.clone()),
            ("code_verifier", VERIFIER.to_owned()),
            ("client_id", did.clone()),
        ];
        if let Some(assertion) = assertion {
            pairs.push(("client_assertion_type", ASSERTION.to_owned()));
            pairs.push(("client_assertion", assertion));
        }
        pairs
    };
    let mut assertion = claims(&stage);
    assertion["sub"] = json!(did);
    // Who is not the client does not use the code up.
    for bad in [
        None,
        Some(thief.jwt("JWT", &assertion)),
        Some(app.jwt(REQUEST, &assertion)),
    ] {
        let answer = stage.form("/oauth/token", &exchange(bad), &[]).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["error"]),
            (401, &json!("invalid_client"))
        );
    }
    let good = exchange(Some(app.jwt("JWT", &assertion)));
    let tokens = stage.form("/oauth/token", &good, &[]).await;
    assert_eq!(tokens.status, 200, "{}", tokens.json());
    let access = tokens.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(stage.query_mail(&access).await.0, 200);
    let again = stage.form("/oauth/token", &good, &[]).await;
    assert_eq!(
        again.json()["error"],
        "invalid_client",
        "an assertion is good once"
    );
    // Pushed with an assertion, a request needs no signature of its own.
    let mut assertion = claims(&stage);
    assertion["sub"] = json!(did);
    unsigned.push(("client_assertion_type", ASSERTION.to_owned()));
    unsigned.push(("client_assertion", app.jwt("JWT", &assertion)));
    let pushed = stage.form("/oauth/par", &unsigned, &[]).await;
    assert_eq!(pushed.status, 201, "{}", pushed.json());
    stage.sandbox.shutdown().await;
}

#[tokio::test]
async fn a_refresh_for_fewer_scopes_opens_less_until_the_next_one() {
    let mut stage = Stage::new().await;
    let scope = "ds:rw:social-email api:ds-query api:ds-get-by-id";
    let tokens = stage.granted(scope, &[]).await;
    let text = |tokens: &serde_json::Value, name: &str| tokens[name].as_str().unwrap().to_owned();
    let refresh = text(&tokens, "refresh_token");
    let mail = stage.mail_path();
    // What was not granted, what does not exist and what is no list of scopes; none of it uses the token up.
    for wider in [
        "ds:rwd:social-email api:ds-query",
        "api:ds-query api:ds-create",
        "db:r:social_email",
        "ds:r:social-chat-message",
        "api:everything",
        "api:ds-query  api:ds-get-by-id",
    ] {
        let refused = stage.refresh_for(&refresh, wider).await;
        let (status, error) = (refused.status, refused.json()["error"].clone());
        assert_eq!(
            (status.as_u16(), error),
            (400, json!("invalid_scope")),
            "{wider}"
        );
    }
    let less = stage
        .refresh_for(&refresh, "api:ds-get-by-id ds:r:social-email")
        .await;
    assert_eq!(less.status, 200, "{}", less.json());
    let less = less.json();
    let email = "https://common.schemas.verida.io/social/email/v0.1.0/schema.json";
    assert_eq!(less["scope"], format!("ds:r:{email} api:ds-get-by-id"));
    let access = text(&less, "access_token");
    assert_eq!(stage.bearer("GET", &mail, &access).await.status, 200);
    let refused = stage.query_mail(&access).await;
    assert_eq!(refused, (403, "scope-missing".to_owned()));
    // The token knows what it is; its grant is what it was.
    let own = [("authorization", &*format!("Bearer {access}"))];
    let said = stage
        .form("/oauth/introspect", &[("token", access.clone())], &own)
        .await
        .json();
    assert_eq!(said["scope"], less["scope"]);
    let path = format!("/api/rest/v1/auth/check-scope?scope=ds:rw:{email}");
    let checked = stage.bearer("GET", &path, &access).await.json();
    assert_eq!(checked["authenticated"], false);
    let refresh = text(&less, "refresh_token");
    let said = stage
        .form("/oauth/introspect", &[("token", refresh.clone())], &own)
        .await
        .json();
    assert_eq!(said["scope"], tokens["scope"]);
    let all = stage.refresh(&refresh, &[]).await.json();
    assert_eq!(all["scope"], tokens["scope"]);
    let access = text(&all, "access_token");
    assert_eq!(stage.query_mail(&access).await.0, 200);
    stage.sandbox.shutdown().await;
}
