//! Grants that outlive their node: kept as ciphertext in the node's own context, found again by the same image with the same
//! configuration and by nobody else, and gone for good once they ended.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use adyton_client::clock::Clock;
use adyton_node::config::Config;
use adyton_sandbox::SimulatedTee;
use adyton_sandbox::cluster::RunningNode;
use serde_json::{Value, json};
use support::{Answer, NOTES, NodeClient, Person, World, ids};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// A key service that releases one secret to whoever asks.
async fn key_service(secret: u8) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let read = stream.read(&mut [0; 1024]).await.unwrap();
            assert_ne!(read, 0);
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 64\r\n\r\n";
            let answer = [head.as_slice(), &[secret; 64]].concat();
            stream.write_all(&answer).await.unwrap();
        }
    });
    address
}

/// The text of a configuration with which grants are kept at `storage`.
fn configuration(keys: SocketAddr, storage: &str) -> String {
    format!(
        "listen = \"127.0.0.1:0\"\nallow_loopback_storage = true\n\
         [key_release]\noyster = \"http://{keys}\"\n\
         [grants]\nstorage = \"{storage}\"\nnetwork = \"local\"\n"
    )
}

/// A node of its own, beside the one of the sandbox.
struct Node {
    running: RunningNode,
    client: NodeClient,
}

impl Node {
    async fn start(configuration: &str) -> Self {
        let clock = Clock::system();
        let ticking = clock.clone();
        let tee = Arc::new(SimulatedTee::start(Arc::new(move || ticking.now())).unwrap());
        let config = Config::parse(configuration).unwrap();
        let running = RunningNode::start(config, tee, clock).await.unwrap();
        let client = NodeClient::connect(&format!("https://{}", running.address())).await;
        Self { running, client }
    }

    async fn stop(self) {
        drop(self.client);
        self.running.shutdown().await;
    }

    async fn mint(&mut self, key: &str) -> (String, String) {
        let body = json!({ "scopes": ["api:db-query", "db:r:notes"] });
        let mut minted = self
            .client
            .post("/api/rest/v1/auth/token", key, &body)
            .await;
        // The node has not opened its context yet.
        for _ in 0..100 {
            if minted.status.is_success() {
                break;
            }
            minted.problem(502, "storage-unreachable");
            tokio::time::sleep(Duration::from_millis(50)).await;
            minted = self
                .client
                .post("/api/rest/v1/auth/token", key, &body)
                .await;
        }
        let minted = minted.ok();
        let text = |name: &str| minted[name].as_str().unwrap().to_owned();
        (text("token"), text("_id"))
    }

    async fn notes(&mut self, token: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        self.client.send("POST", NOTES, &headers, "{}").await
    }

    /// The answer once the node has read what was kept.
    async fn notes_in_the_end(&mut self, token: &str) -> Answer {
        for _ in 0..200 {
            let answer = self.notes(token).await;
            if answer.status != 503 {
                return answer;
            }
            answer.problem(503, "overloaded");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the node never read what was kept");
    }

    async fn revoke(&mut self, key: &str, id: &str) -> Answer {
        let path = format!("/api/rest/v1/auth/tokens/{id}");
        let owner = [("x-api-key", key)];
        self.client.send("DELETE", &path, &owner, "").await
    }

    async fn me(&mut self, token: &str) -> Value {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        let me = self
            .client
            .send("GET", "/api/rest/v1/auth/me", &headers, "");
        me.await.ok()
    }
}

async fn person_with_notes(world: &World) -> Person {
    let person = world.person().await;
    person.write_notes(world, 3).await;
    person
}

const ALL: [&str; 3] = ["note-0", "note-1", "note-2"];

#[tokio::test]
async fn a_token_outlives_its_node_and_a_revoked_one_does_not_come_back() {
    let world = World::start().await;
    let person = person_with_notes(&world).await;
    let text = configuration(key_service(7).await, world.sandbox.storage_url());
    let mut first = Node::start(&text).await;
    let (kept, _) = first.mint(&person.key()).await;
    let (ended, id) = first.mint(&person.key()).await;
    assert_eq!(ids(&first.notes(&kept).await), ALL);
    assert_eq!(first.me(&kept).await["endsWithProcess"], false);
    first.revoke(&person.key(), &id).await.ok();
    first.stop().await;

    // The owner is away: the token alone opens what was sealed for it.
    let mut second = Node::start(&text).await;
    assert_eq!(ids(&second.notes_in_the_end(&kept).await), ALL);
    let refused = second.notes(&ended).await;
    refused.problem(401, "credentials-invalid");
    // The owner sees it, and can end it here.
    let listed = second
        .client
        .get("/api/rest/v1/auth/tokens", &person.key())
        .await
        .ok();
    let listed = listed["tokens"].as_array().unwrap().clone();
    assert_eq!(listed.len(), 1);
    let id = listed[0]["_id"].as_str().unwrap().to_owned();
    second.revoke(&person.key(), &id).await.ok();
    second.stop().await;

    let mut third = Node::start(&text).await;
    let refused = third.notes_in_the_end(&kept).await;
    refused.problem(401, "credentials-invalid");
    third.stop().await;
}

#[tokio::test]
async fn another_secret_or_configuration_finds_nothing() {
    let world = World::start().await;
    let person = person_with_notes(&world).await;
    let storage = world.sandbox.storage_url();
    let keys = key_service(7).await;
    let text = configuration(keys, storage);
    let mut node = Node::start(&text).await;
    let (token, _) = node.mint(&person.key()).await;
    node.stop().await;
    for other in [
        configuration(key_service(8).await, storage),
        format!("{text}# a comment\n"),
    ] {
        let mut stranger = Node::start(&other).await;
        let refused = stranger.notes_in_the_end(&token).await;
        refused.problem(401, "credentials-invalid");
        stranger.stop().await;
    }
}

#[tokio::test]
async fn what_ends_at_one_node_of_a_cohort_ends_at_the_others() {
    let world = World::start().await;
    let person = person_with_notes(&world).await;
    let text = configuration(key_service(7).await, world.sandbox.storage_url());
    let (mut one, mut other) = (Node::start(&text).await, Node::start(&text).await);
    let (token, id) = one.mint(&person.key()).await;
    for _ in 0..200 {
        if other.notes(&token).await.status.is_success() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(ids(&other.notes(&token).await), ALL);
    one.revoke(&person.key(), &id).await.ok();
    one.notes(&token).await.problem(401, "token-revoked");
    for _ in 0..200 {
        if !other.notes(&token).await.status.is_success() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    other.notes(&token).await.problem(401, "token-revoked");
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn an_end_that_cannot_be_recorded_is_said_and_recorded_later() {
    let world = World::start().await;
    let person = person_with_notes(&world).await;
    let lying = world.lying_node().await;
    let text = configuration(key_service(7).await, lying.url.trim_end_matches('/'));
    let mut node = Node::start(&text).await;
    let (token, id) = node.mint(&person.key()).await;
    lying.go_down();
    let told = node.revoke(&person.key(), &id).await;
    told.problem(502, "storage-unreachable");
    node.notes(&token).await.problem(401, "token-revoked");
    // A token that could not be kept is not given.
    let body = json!({ "scopes": ["api:db-query", "db:r:notes"] });
    let key = person.key();
    let refused = node.client.post("/api/rest/v1/auth/token", &key, &body);
    refused.await.problem(502, "storage-unreachable");
    lying.come_up();
    // What is minted now waits for the end before it.
    let (later, _) = node.mint(&key).await;
    node.notes(&token).await.problem(401, "token-revoked");
    node.stop().await;
    let mut again = Node::start(&text).await;
    assert_eq!(ids(&again.notes_in_the_end(&later).await), ALL);
    again
        .notes(&token)
        .await
        .problem(401, "credentials-invalid");
    again.stop().await;
}

#[tokio::test]
async fn without_a_place_to_keep_them_grants_end_with_the_process_and_say_so() {
    let world = World::start().await;
    let person = person_with_notes(&world).await;
    let mut node = Node::start("listen = \"127.0.0.1:0\"\nallow_loopback_storage = true\n").await;
    let (token, _) = node.mint(&person.key()).await;
    assert_eq!(node.me(&token).await["endsWithProcess"], true);
    node.stop().await;
}
