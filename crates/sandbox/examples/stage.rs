//! A sandbox with an invented person's vault, for the tests of the pages in a browser (`web/tests`).
//!
//! Prints one line of JSON: where the nodes are, and the person's seed phrase and session. Ends when its standard input does.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_macros,
    reason = "a program for tests"
)]

use adyton_client::attested_node::{AttestedNode, NodeCredential};
use adyton_client::clock::Clock;
use adyton_keys::account::Account;
use adyton_protocol::context::ContextName;
use adyton_sandbox::cluster::NETWORK;
use adyton_sandbox::{Options, Sandbox};
use http::Method;
use rand_core::{OsRng, TryRngCore};
use serde_json::{Value, json};

/// Who wrote, about what, when, and what.
const MAIL: [(&str, &str, &str, &str); 6] = [
    (
        "Ada",
        "The bridge on Friday",
        "2026-11-20T08:12:00.000Z",
        "Shall we meet at the bridge at six?",
    ),
    (
        "Grace",
        "Your sketches",
        "2026-11-18T17:40:00.000Z",
        "They are wonderful. May I show them to Edith?",
    ),
    (
        "Edith",
        "Invoice 17",
        "2026-10-02T09:00:00.000Z",
        "Please find the invoice attached.",
    ),
    (
        "Ada",
        "Re: the old letters",
        "2026-03-11T21:05:00.000Z",
        "I kept all of them, in the blue box.",
    ),
    (
        "Library",
        "Two books are due",
        "2025-12-01T06:30:00.000Z",
        "On the Nature of Things; Middlemarch.",
    ),
    (
        "Grace",
        "Happy new year",
        "2025-01-01T00:00:10.000Z",
        "May it be a kind one.",
    ),
];

#[tokio::main]
async fn main() {
    let options = Options {
        node_config: "names = [\"localhost\", \"127.0.0.1\"]\n[oauth]\nlocal_clients = true\n[consent]\nwallet = \"https://wallet.example/sign?for=adyton\"\n[limits]\nidle_seconds = 6\n"
            .to_owned(),
        ..Options::default()
    };
    let sandbox = Sandbox::start(options).await.unwrap();
    let (account, words) = Account::generate(NETWORK.anchor(), &mut OsRng.unwrap_err());
    let session = sandbox
        .open_context(&account, &ContextName::vault())
        .await
        .unwrap();
    let policy = adyton_attest::Policy::from_toml(sandbox.policy()).unwrap();
    let mut node = AttestedNode::connect(&sandbox.node_url(), &policy, &Clock::system())
        .await
        .unwrap();
    let owner = NodeCredential::Session(session.expose_api_key());
    for (n, (from, subject, sent, text)) in MAIL.iter().enumerate() {
        let record = json!({ "record": {
            "_id": format!("mail-{n}"), "name": subject, "type": "receive", "fromName": from,
            "fromEmail": format!("{}@example.com", from.to_lowercase()), "toName": "Me", "toEmail": "me@example.com",
            "messageText": text, "messageHTML": format!("<p>{text}</p>"), "sentAt": sent,
            "sourceApplication": "https://mail.example/", "sourceId": format!("{n}"),
        } });
        post(&mut node, "/api/rest/v1/ds/social-email", &owner, &record).await;
    }
    let note = json!({ "record": { "_id": "note-1", "text": "Water the ferns <b>today</b>" } });
    post(&mut node, "/api/rest/v1/db/notes", &owner, &note).await;
    println!(
        "{}",
        json!({
            "node": sandbox.node_url(), "storage": sandbox.storage_url(),
            "phrase": *words, "session": *session.expose_api_key(),
        })
    );
    // Ends with the test that started it, however that ended.
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()))
        .await
        .unwrap()
        .unwrap();
    drop(node);
    sandbox.shutdown().await;
}

async fn post(node: &mut AttestedNode, path: &str, owner: &NodeCredential, body: &Value) {
    let answer = node
        .send(Method::POST, path, Some(owner), Some(body))
        .await
        .unwrap();
    assert_eq!(answer.status, 201, "{:?}", answer.json());
}
