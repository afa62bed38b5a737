//! The whole chain: an owner's ciphertext on a storage node, a node that proves its code, plaintext in its
//! memory, an answer to an authorised app.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use adyton_attest::Policy;
use adyton_client::attested_node::{AttestedNode, NodeCredential};
use adyton_client::clock::Clock;
use adyton_keys::account::Account;
use adyton_protocol::context::ContextName;
use adyton_sandbox::cluster::NETWORK;
use adyton_sandbox::{Options, Sandbox};
use http::Method;
use rand_core::{OsRng, TryRngCore};
use serde_json::{Value, json};
use zeroize::Zeroizing;

const EMAIL: &str = "https://common.schemas.verida.io/social/email/v0.1.0/schema.json";

fn email(n: u32, from: &str) -> Value {
    json!({
        "_id": format!("mail-{n}"),
        "name": format!("Message {n}"), "type": "receive", "fromName": from, "fromEmail": format!("{from}@example.com"),
        "toName": "Me", "toEmail": "me@example.com", "messageText": format!("Hello from {from}"),
        "messageHTML": "", "sentAt": format!("2024-01-{:02}T00:00:00.000Z", n + 1),
    })
}

#[tokio::test]
async fn an_authorised_app_gets_the_answer_and_nobody_else_does() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let (account, _words) = Account::generate(NETWORK.anchor(), &mut OsRng.unwrap_err());
    let session = sandbox
        .open_context(&account, &ContextName::vault())
        .await
        .unwrap();
    let owner = NodeCredential::Session(session.expose_api_key());

    // The default policy refuses a simulation; the sandbox's own accepts it.
    let refused =
        AttestedNode::connect(&sandbox.node_url(), &Policy::default(), &Clock::system()).await;
    assert!(refused.is_err());
    let policy = Policy::from_toml(sandbox.policy()).unwrap();
    let mut node = AttestedNode::connect(&sandbox.node_url(), &policy, &Clock::system())
        .await
        .unwrap();
    assert!(node.appraised().is_simulated());
    assert!(node.appraised().is_channel_bound());

    // The owner writes; the storage node creates the database on the way.
    let create = "/api/rest/v1/ds/social-email";
    for n in 0..20 {
        let body = json!({ "record": email(n, if n % 2 == 0 { "ada" } else { "grace" }) });
        let answer = node
            .send(Method::POST, create, Some(&owner), Some(&body))
            .await
            .unwrap();
        assert_eq!(answer.status, 201, "{:?}", answer.json());
    }

    // The owner grants reading, and the app reads.
    let scopes = json!({ "scopes": ["api:ds-query", "ds:r:social-email"] });
    let minted = node
        .send(
            Method::POST,
            "/api/rest/v1/auth/token",
            Some(&owner),
            Some(&scopes),
        )
        .await
        .unwrap();
    assert_eq!(minted.status, 201);
    let minted = minted.json().unwrap();
    let app = NodeCredential::Token(Zeroizing::new(minted["token"].as_str().unwrap().to_owned()));
    let query = json!({
        "query": { "fromName": "ada", "sentAt": { "$gte": "2024-01-05" } },
        "options": { "sort": [{ "sentAt": "desc" }], "limit": 3, "fields": ["_id", "sentAt"] },
    });
    let answer = node
        .send(
            Method::POST,
            "/api/rest/v1/ds/query/social-email",
            Some(&app),
            Some(&query),
        )
        .await
        .unwrap();
    assert_eq!(answer.status, 200, "{:?}", answer.json());
    let answer = answer.json().unwrap();
    let ids: Vec<_> = answer["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["_id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["mail-18", "mail-16", "mail-14"]);
    assert_eq!(
        (answer["total"].as_u64(), answer["dbRows"].as_u64()),
        (Some(8), Some(20))
    );

    // What was not granted is refused; what is nobody's is nobody's.
    let denied = node
        .send(
            Method::POST,
            create,
            Some(&app),
            Some(&json!({ "record": email(99, "eve") })),
        )
        .await
        .unwrap();
    assert_eq!(denied.status, 403);
    let encoded = adyton_protocol::schema::SchemaUri::parse_lenient(EMAIL)
        .unwrap()
        .to_base64();
    let denied = node
        .send(
            Method::GET,
            &format!("/api/rest/v1/ds/get/{encoded}/mail-1"),
            Some(&app),
            None,
        )
        .await
        .unwrap();
    assert_eq!(denied.status, 403);
    let (stranger, _) = Account::generate(NETWORK.anchor(), &mut OsRng.unwrap_err());
    let stranger = sandbox
        .open_context(&stranger, &ContextName::vault())
        .await
        .unwrap();
    let stranger = NodeCredential::Session(stranger.expose_api_key());
    let nothing = node
        .send(
            Method::POST,
            "/api/rest/v1/ds/query/social-email",
            Some(&stranger),
            Some(&json!({})),
        )
        .await
        .unwrap();
    assert_eq!(nothing.json().unwrap()["items"], json!([]));

    // Revoked means revoked.
    let id = minted["_id"].as_str().unwrap();
    let path = format!("/api/rest/v1/auth/tokens/{id}");
    assert_eq!(
        node.send(Method::DELETE, &path, Some(&stranger), None)
            .await
            .unwrap()
            .status,
        404
    );
    assert_eq!(
        node.send(Method::DELETE, &path, Some(&owner), None)
            .await
            .unwrap()
            .status,
        200
    );
    let revoked = node
        .send(
            Method::POST,
            "/api/rest/v1/ds/query/social-email",
            Some(&app),
            Some(&query),
        )
        .await
        .unwrap();
    assert_eq!(
        (
            revoked.status.as_u16(),
            revoked.json().unwrap()["code"].as_str()
        ),
        (401, Some("token-revoked"))
    );
    sandbox.shutdown().await;
}
