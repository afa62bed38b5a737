//! The User Data API as apps see it: every name and shape that the original documents and that people send, and the
//! behaviour of HTTP that they may count on. The numbers in the tests are those of `docs/migrating-from-verida.md`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    unreachable_pub,
    missing_docs
)]

mod acceptance;
mod aliases;
mod bulk;
mod changing;
mod contract;
mod guide;
mod http;
mod narrowed;
mod schemas;
mod sdk;
mod search;
#[path = "../support/mod.rs"]
mod support;

use serde_json::{Value, json};
use support::{Answer, NodeClient, Person, World};

/// Below this, every route.
pub const API: &str = "/api/rest/v1";
pub const EMAIL: &str = "https://common.schemas.verida.io/social/email/v0.1.0/schema.json";

/// A network, a person in it, and a connection to the node.
pub struct Scene {
    pub world: World,
    pub person: Person,
    pub key: String,
    pub node: NodeClient,
}

impl Scene {
    pub async fn set() -> Self {
        Self::with("").await
    }

    /// `limits` are lines of the node's configuration table of that name.
    pub async fn with(limits: &str) -> Self {
        let world = World::with(limits).await;
        let person = world.person().await;
        let (key, node) = (person.key(), world.node().await);
        Self {
            world,
            person,
            key,
            node,
        }
    }

    /// Asks as the owner.
    pub async fn ask(&mut self, method: &str, path: &str, body: &Value) -> Answer {
        self.ask_with(method, path, &[], body).await
    }

    /// Asks as the owner, with more headers.
    pub async fn ask_with(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Answer {
        let key = self.key.clone();
        let mut all = vec![("x-api-key", key.as_str())];
        all.extend_from_slice(headers);
        send(&mut self.node, method, path, &all, body).await
    }

    /// Asks as an app.
    pub async fn ask_as(&mut self, token: &str, method: &str, path: &str, body: &Value) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        send(&mut self.node, method, path, &headers, body).await
    }

    /// A token of the owner.
    pub async fn token(&mut self, scopes: &[&str]) -> String {
        let minted = self
            .ask("POST", "/auth/token", &json!({ "scopes": scopes }))
            .await;
        minted.ok()["token"].as_str().unwrap().to_owned()
    }

    /// Creates a record and gives it as it was saved.
    pub async fn create(&mut self, path: &str, record: &Value) -> Value {
        let made = self.ask("POST", path, &json!({ "record": record })).await;
        assert_eq!(made.status, 201, "{}", made.json());
        made.json()["record"].clone()
    }
}

async fn send(
    node: &mut NodeClient,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> Answer {
    let mut headers = headers.to_vec();
    let text = if body.is_null() {
        String::new()
    } else {
        let is_said = headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        if !is_said {
            headers.push(("content-type", "application/json"));
        }
        body.to_string()
    };
    let path = format!("{API}{path}");
    let answer = node.send(method, &path, &headers, text).await;
    contract::hold(method, &path, &answer);
    answer
}

pub fn email(id: &str, subject: &str) -> Value {
    json!({
        "_id": id, "name": subject, "type": "receive", "fromName": "Ada", "fromEmail": "ada@example.com",
        "toName": "Me", "toEmail": "me@example.com", "messageText": "hello", "messageHTML": "",
        "sentAt": "2024-01-01T00:00:00.000Z",
    })
}
