//! What the host sees on the whole path, and what comes of it when the host changes a byte.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use adyton_client::attested_node::{AttestedNode, NodeCredential, NodeError};
use http::Method;
use serde_json::{Value, json};
use support::tap::Way;
use support::world::{Inside, World};
use zeroize::Zeroizing;

const CREATE: &str = "/api/rest/v1/ds/social-email";
const QUERY: &str = "/api/rest/v1/ds/query/social-email";

/// Words of a record. Long enough that chance does not write them.
const CANARIES: [&str; 4] = [
    "canary-sender-8f1c77aa",
    "canary-address-5e0b21@example.com",
    "canary-text-c0ffee-the-merger-is-on-tuesday",
    "canary-id-77120",
];

fn email() -> Value {
    json!({
        "_id": CANARIES[3], "name": "A message", "type": "receive",
        "fromName": CANARIES[0], "fromEmail": CANARIES[1], "toName": "Me", "toEmail": "me@example.com",
        "messageText": CANARIES[2], "messageHTML": "", "sentAt": "2024-01-05T00:00:00.000Z",
    })
}

/// How often a text is there, as it is or in hexadecimal digits.
fn found(bytes: &[u8], text: &str) -> usize {
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let count = |needle: &[u8]| {
        bytes
            .windows(needle.len())
            .filter(|window| *window == needle)
            .count()
    };
    count(text.as_bytes()) + count(hex.as_bytes())
}

async fn said(
    node: &mut AttestedNode,
    inside: &Inside,
    path: &str,
    credential: &NodeCredential,
    body: &Value,
) -> Value {
    let (NodeCredential::Session(text) | NodeCredential::Token(text)) = credential;
    inside.heard(text.as_bytes());
    inside.heard(body.to_string().as_bytes());
    let answer = node
        .send(Method::POST, path, Some(credential), Some(body))
        .await
        .unwrap();
    assert!(answer.status.is_success(), "{}", answer.status);
    inside.heard(&answer.body);
    answer.json().unwrap()
}

#[tokio::test]
async fn the_host_sees_ciphertext_only() {
    let world = World::start().await;
    let session = world.person().await;
    let key = session.expose_api_key();
    let owner = NodeCredential::Session(key.clone());
    let mut node = world.connect().await.unwrap();
    let inside = Inside::default();

    let record = json!({ "record": email() });
    said(&mut node, &inside, CREATE, &owner, &record).await;
    let scopes = json!({ "scopes": ["api:ds-query", "ds:r:social-email"] });
    let minted = said(
        &mut node,
        &inside,
        "/api/rest/v1/auth/token",
        &owner,
        &scopes,
    )
    .await;
    let token = minted["token"].as_str().unwrap().to_owned();
    let app = NodeCredential::Token(Zeroizing::new(token.clone()));
    let query = json!({ "query": { "fromName": CANARIES[0] } });
    let answer = said(&mut node, &inside, QUERY, &app, &query).await;
    assert_eq!(answer["items"][0]["messageText"], CANARIES[2]);

    let storage_tokens = session.auths().map(|auth| auth.access_token.clone());
    let secrets: Vec<String> = CANARIES
        .iter()
        .map(|canary| (*canary).to_owned())
        .chain([token, key.to_string()])
        .collect();
    // The search finds everything where it is: inside TLS.
    let plain = inside.all();
    for secret in &secrets {
        assert!(found(&plain, secret) > 0, "{secret}");
    }
    // And nothing on what the host passes on, whichever way.
    let (front, back) = (world.front.heard(), world.back.heard());
    let names = world.resolver.tap.heard();
    assert!(front.len() > 4000 && back.len() > 4000 && names.len() > 1000);
    for secret in secrets.into_iter().chain(storage_tokens) {
        for (wire, bytes) in [("front", &front), ("back", &back), ("names", &names)] {
            assert_eq!(found(bytes, &secret), 0, "{secret} on the {wire} wire");
        }
    }
    for word in ["POST ", "Bearer", "x-api-key", "application/json"] {
        for bytes in [&front, &back, &names] {
            assert_eq!(found(bytes, word), 0, "{word}");
        }
    }
    // The name of the storage node is asked for inside TLS.
    assert_eq!(found(&names, "adyton"), 0);
    // Neither is anything of it in the host's log, and no peer's address.
    let log = world.host.log().join("\n");
    for canary in CANARIES {
        assert_eq!(found(log.as_bytes(), canary), 0);
    }
    world.host.said("enclave: boot: listening ?[2J", 0).await;
    drop(node);
    world.end().await;
}

#[tokio::test]
async fn a_byte_that_the_host_changes_is_an_error_and_never_an_answer() {
    let world = World::start().await;
    let session = world.person().await;
    let owner = NodeCredential::Session(session.expose_api_key());
    let mut node = world.connect().await.unwrap();
    let record = json!({ "record": email() });
    said(&mut node, &Inside::default(), CREATE, &owner, &record).await;
    drop(node);

    let query = json!({ "query": { "fromName": CANARIES[0] } });
    let ask = || async {
        let mut node = world.connect().await?;
        let answer = node
            .send(Method::POST, QUERY, Some(&owner), Some(&query))
            .await?;
        Ok::<_, NodeError>(answer.json()?["items"][0]["messageText"].clone())
    };
    let mut refused = 0;
    for (way, bytes) in [
        (Way::In, [0, 5, 60, 1300, 1800, 2200]),
        (Way::Out, [0, 40, 1250, 1900, 2600, 5000]),
    ] {
        for byte in bytes {
            world.front.flip(way, byte);
            let answer = ask().await;
            if world.front.has_flipped() {
                assert!(answer.is_err(), "{way:?} {byte}");
                refused += 1;
            } else {
                // Shorter than that: nothing was changed.
                assert_eq!(answer.unwrap(), CANARIES[2]);
            }
        }
    }
    assert!(refused >= 8, "{refused}");
    // The next connection that is left alone works.
    assert_eq!(ask().await.unwrap(), CANARIES[2]);
    world.end().await;
}
