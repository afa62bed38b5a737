//! A browser logs in at its storage nodes through the node, with a key that never leaves it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub,
    missing_docs
)]

mod caller;

use adyton_keys::account::Account;
use adyton_keys::context_session::ContextSession;
use adyton_protocol::consent;
use adyton_protocol::context::ContextName;
use adyton_sandbox::cluster::NETWORK;
use adyton_sandbox::{Options, Sandbox};
use caller::{Answer, Caller};
use rand_core::{OsRng, TryRngCore};
use serde_json::{Value, json};

const CHALLENGES: &str = "/api/rest/v1/auth/session/challenges";
const SESSION: &str = "/api/rest/v1/auth/session";

/// A person with a vault, and a browser that knows the node alone.
struct Browser {
    sandbox: Sandbox,
    caller: Caller,
    account: Account,
}

impl Browser {
    async fn new() -> Self {
        let sandbox = Sandbox::start(Options::default()).await.unwrap();
        let (account, _) = Account::generate(NETWORK.anchor(), &mut OsRng.unwrap_err());
        sandbox
            .open_context(&account, &ContextName::vault())
            .await
            .unwrap();
        Self {
            caller: Caller::connect(&sandbox.node_url()).await,
            sandbox,
            account,
        }
    }

    async fn post(&mut self, path: &str, body: &Value) -> Answer {
        self.caller.send("POST", path, &[], Some(body)).await
    }

    fn asking(&self) -> Value {
        json!({
            "did": self.account.did().as_given(), "contextName": "Verida: Vault",
            "storageNode": self.sandbox.storage_url(),
        })
    }

    /// The answers that this account's key gives to challenges.
    fn answers(&self, asked: &Value) -> Value {
        let signed = |challenge: &Value| {
            let id = challenge["authRequestId"].as_str().unwrap();
            let text = consent::authenticate(self.account.did(), &ContextName::vault(), id);
            json!({
                "endpointUri": challenge["endpointUri"], "authJwt": challenge["authJwt"],
                "signature": self.account.sign_consent(&text).to_string(),
            })
        };
        let answers: Vec<Value> = asked["challenges"]
            .as_array()
            .unwrap()
            .iter()
            .map(signed)
            .collect();
        json!({
            "did": self.account.did().as_given(), "contextName": "Verida: Vault",
            "signKey": asked["contextConfig"]["publicKeys"]["signKey"], "answers": answers,
        })
    }
}

#[tokio::test]
async fn a_session_made_through_the_node_opens_the_vault() {
    let mut browser = Browser::new().await;
    let asked = browser.post(CHALLENGES, &browser.asking()).await;
    assert_eq!(asked.status, 200, "{}", asked.json());
    let asked = asked.json();
    let tokens = browser.post(SESSION, &browser.answers(&asked)).await;
    assert_eq!(tokens.status, 200, "{}", tokens.json());

    let auths: std::collections::BTreeMap<String, _> =
        serde_json::from_value(tokens.json()["contextAuths"].take()).unwrap();
    let session = ContextSession::new(
        browser.account.did().clone(),
        ContextName::vault(),
        browser.account.unlock(&ContextName::vault()),
        serde_json::from_value(asked["contextConfig"].clone()).unwrap(),
        auths.into_values().collect(),
    )
    .unwrap();
    let key = session.expose_api_key();
    let record = json!({ "record": { "_id": "note", "text": "mine" } });
    let written = browser
        .caller
        .send(
            "POST",
            "/api/rest/v1/db/notes",
            &[("x-api-key", &key)],
            Some(&record),
        )
        .await;
    assert_eq!(written.status, 201, "{}", written.json());
    browser.sandbox.shutdown().await;
}

#[tokio::test]
async fn an_answer_by_another_key_gets_no_tokens() {
    let mut browser = Browser::new().await;
    let asked = browser.post(CHALLENGES, &browser.asking()).await.json();
    let mut answers = browser.answers(&asked);
    let (stranger, _) = Account::generate(NETWORK.anchor(), &mut OsRng.unwrap_err());
    let id = asked["challenges"][0]["authRequestId"].as_str().unwrap();
    let text = consent::authenticate(browser.account.did(), &ContextName::vault(), id);
    answers["answers"][0]["signature"] = json!(stranger.sign_consent(&text).to_string());
    let refused = browser.post(SESSION, &answers).await;
    assert_eq!(refused.problem(), (401, "credentials-invalid".to_owned()));
    browser.sandbox.shutdown().await;
}

#[tokio::test]
async fn somebody_without_a_vault_is_not_found() {
    let mut browser = Browser::new().await;
    let (stranger, _) = Account::generate(NETWORK.anchor(), &mut OsRng.unwrap_err());
    let mut of_a_stranger = browser.asking();
    of_a_stranger["did"] = json!(stranger.did().as_given());
    let mut other_context = browser.asking();
    other_context["contextName"] = json!("Another: Context");
    for asking in [of_a_stranger, other_context] {
        let answer = browser.post(CHALLENGES, &asking).await;
        assert_eq!(answer.problem(), (404, "not-found".to_owned()), "{asking}");
    }
    browser.sandbox.shutdown().await;
}

#[tokio::test]
async fn what_is_no_login_is_refused_before_anybody_is_asked() {
    let mut browser = Browser::new().await;
    let good = browser.asking();
    let with = |member: &str, value: Value| {
        let mut asking = good.clone();
        asking[member] = value;
        asking
    };
    let answers = |answers: Value| {
        json!({
            "did": good["did"], "contextName": "Verida: Vault", "answers": answers,
            "signKey": { "publicKeyHex": format!("0x02{}", "ab".repeat(32)) },
        })
    };
    let answer = json!({ "endpointUri": good["storageNode"], "authJwt": "a", "signature": "0x" });
    let long = json!({ "endpointUri": good["storageNode"], "authJwt": "a".repeat(4097), "signature": "0x" });
    let elsewhere =
        json!({ "endpointUri": "http://192.168.0.1/", "authJwt": "a", "signature": "0x" });
    let extra = json!({ "endpointUri": good["storageNode"], "authJwt": "a", "signature": "0x", "key": "0x1" });
    for (path, body) in [
        (CHALLENGES, json!({})),
        (CHALLENGES, with("did", json!("did:web:example.com"))),
        (CHALLENGES, with("contextName", json!("x".repeat(1025)))),
        (CHALLENGES, with("storageNode", json!("ftp://node.example"))),
        // Neither plain http to strangers nor addresses that are not public.
        (
            CHALLENGES,
            with("storageNode", json!("http://node.example")),
        ),
        (
            CHALLENGES,
            with("storageNode", json!("https://169.254.169.254/")),
        ),
        (CHALLENGES, with("storageNode", json!("https://10.0.0.1/"))),
        (CHALLENGES, with("privateKey", json!("0x1"))),
        (SESSION, answers(json!([]))),
        (
            SESSION,
            answers(json!([answer, answer, answer, answer, answer])),
        ),
        (SESSION, answers(json!([long]))),
        (SESSION, answers(json!([elsewhere]))),
        (SESSION, answers(json!([extra]))),
    ] {
        let refused = browser.post(path, &body).await;
        assert_eq!(
            refused.problem(),
            (400, "request-malformed".to_owned()),
            "{path} {body}"
        );
    }
    browser.sandbox.shutdown().await;
}
