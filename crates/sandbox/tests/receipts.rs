//! Receipts, against the whole system: what an app does with a user's data, the user finds in their own database.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use adyton_client::clock::Clock;
use adyton_node::config::Config;
use adyton_protocol::receipt::{self, BrokenChain};
use adyton_sandbox::SimulatedTee;
use adyton_sandbox::cluster::RunningNode;
use http::StatusCode;
use serde_json::{Value, json};
use support::lying_node::Act;
use support::{NodeClient, Person, World, note};

const RECEIPTS: &str = "/api/rest/v1/db/query/access_receipts";
/// Receipts are written within a third of it.
const IDLE: &str = "idle_seconds = 3";

struct Scene {
    world: World,
    person: Person,
    key: String,
    node: NodeClient,
    token: String,
    grant: String,
}

impl Scene {
    async fn set() -> Self {
        let world = World::with(IDLE).await;
        let person = world.person().await;
        person.write_notes(&world, 3).await;
        let (key, mut node) = (person.key(), world.node().await);
        let (token, grant) = mint(&mut node, &key).await;
        Self {
            world,
            person,
            key,
            node,
            token,
            grant,
        }
    }

    async fn ask(&mut self, method: &str, path: &str, body: &str) -> Value {
        let headers = [("authorization", self.token.as_str())];
        let body = body.to_owned();
        self.node.send(method, path, &headers, body).await.ok()
    }

    /// All receipts, as soon as they have so many accesses.
    async fn receipts(&mut self, accesses: u64) -> Vec<Value> {
        let query = json!({ "options": { "limit": 10_000 } });
        for _ in 0..200 {
            let answer = self.node.post(RECEIPTS, &self.key, &query).await;
            if answer.status.is_success() {
                let items = answer.json()["items"].as_array().unwrap().clone();
                if receipt::check(&items).unwrap().accesses >= accesses {
                    return items;
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the receipts did not come")
    }
}

async fn mint(node: &mut NodeClient, key: &str) -> (String, String) {
    let scopes = json!([
        "api:db-query",
        "api:db-get-by-id",
        "api:db-create",
        "api:db-update",
        "db:rwd:notes",
    ]);
    let body = json!({ "scopes": scopes, "appDID": "did:vda:polpos:0xEC20e5A69F3b4b6F1e2e4B1C5B3b1F5a8B7E1a11" });
    let minted = node.post("/api/rest/v1/auth/token", key, &body).await.ok();
    let token = format!("Bearer {}", minted["token"].as_str().unwrap());
    (token, minted["_id"].as_str().unwrap().to_owned())
}

/// The accesses in these receipts, in order: kind, times, records.
fn accesses(receipts: &[Value]) -> Vec<(String, u64, u64)> {
    let mut receipts: Vec<&Value> = receipts.iter().filter(|one| one["_id"] != "head").collect();
    receipts.sort_by_key(|receipt| receipt["seq"].as_u64().unwrap());
    let all = receipts
        .iter()
        .flat_map(|one| one["accesses"].as_array().unwrap());
    let shown = |access: &Value| {
        let number = |name: &str| access[name].as_u64().unwrap();
        let kind = access["kind"].as_str().unwrap().to_owned();
        (kind, number("times"), number("records"))
    };
    all.map(shown).collect()
}

#[tokio::test]
async fn every_access_by_an_app_is_in_the_owners_receipts_and_none_by_the_owner() {
    let mut scene = Scene::set().await;
    let key = scene.key.clone();
    scene.node.notes(&key).await.ok();
    scene.node.create_note(&key, &note(5)).await.ok();
    scene
        .ask("GET", "/api/rest/v1/db/get/notes/note-0", "")
        .await;
    let query = r#"{"query":{"n":{"$lt":2}}}"#;
    scene
        .ask("POST", "/api/rest/v1/db/query/notes", query)
        .await;
    scene
        .ask("POST", "/api/rest/v1/db/count/notes", query)
        .await;
    let created = json!({ "record": note(7) }).to_string();
    scene.ask("POST", "/api/rest/v1/db/notes", &created).await;
    scene
        .ask("DELETE", "/api/rest/v1/db/notes/note-7", "")
        .await;
    let gone = [("authorization", scene.token.as_str())];
    let missing = "/api/rest/v1/db/get/notes/nothing";
    let gone = scene.node.send("GET", missing, &gone, "").await;
    gone.problem(404, "not-found");

    let receipts = scene.receipts(6).await;
    let expected = [
        ("get", 1),
        ("query", 2),
        ("count", 0),
        ("create", 1),
        ("delete", 1),
        ("get", 0),
    ];
    let expected: Vec<_> = expected
        .map(|(kind, records)| (kind.to_owned(), 1, records))
        .into();
    assert_eq!(accesses(&receipts), expected);
    let first = receipts
        .iter()
        .find(|receipt| receipt["seq"] == 0 && receipt["_id"] != "head");
    let access = &first.unwrap()["accesses"][0];
    assert_eq!(access["grant"], scene.grant);
    assert_eq!(access["target"], "db:notes");
    assert!(access["app"].as_str().unwrap().starts_with("did:vda:"));
    // What was asked can be told by who knows it, and is not written down.
    let digest = sha256("get\ndb:notes\nnote-0\n");
    assert_eq!(access["digest"], digest);
    assert!(!serde_json::to_string(&receipts).unwrap().contains("note-0"));
}

async fn node_beside() -> RunningNode {
    let clock = Clock::system();
    let ticking = clock.clone();
    let tee = Arc::new(SimulatedTee::start(Arc::new(move || ticking.now())).unwrap());
    let config =
        format!("listen = \"127.0.0.1:0\"\nallow_loopback_storage = true\n[limits]\n{IDLE}");
    let config = Config::parse(&config).unwrap();
    RunningNode::start(config, tee, clock).await.unwrap()
}

fn sha256(text: &str) -> String {
    use aws_lc_rs::digest::{SHA256, digest};
    hex::encode(digest(&SHA256, text.as_bytes()))
}

#[tokio::test]
async fn no_app_is_granted_the_receipts_and_none_reads_or_writes_them() {
    let mut scene = Scene::set().await;
    for scope in ["db:r:access_receipts", "db:rwd:Access_Receipts"] {
        let body = json!({ "scopes": ["api:db-query", scope] });
        let refused = scene
            .node
            .post("/api/rest/v1/auth/token", &scene.key, &body);
        refused.await.problem(400, "scope-invalid");
    }
    scene
        .ask("GET", "/api/rest/v1/db/get/notes/note-0", "")
        .await;
    scene.receipts(1).await;
    let headers = [("authorization", scene.token.as_str())];
    for (method, path) in [
        ("POST", RECEIPTS),
        ("POST", "/api/rest/v1/db/watch/access_receipts"),
        ("GET", "/api/rest/v1/db/get/access_receipts/head"),
        ("DELETE", "/api/rest/v1/db/access_receipts/head"),
    ] {
        let refused = scene.node.send(method, path, &headers, "").await;
        refused.problem(403, "scope-missing");
    }
    let body = json!({ "record": { "_id": "head" } }).to_string();
    let refused = scene
        .node
        .send("POST", "/api/rest/v1/db/access_receipts", &headers, body);
    refused.await.problem(403, "scope-missing");
}

#[tokio::test]
async fn the_chain_goes_on_after_an_eviction_and_on_another_node() {
    let mut scene = Scene::set().await;
    let path = "/api/rest/v1/db/get/notes/note-0";
    scene.ask("GET", path, "").await;
    scene.receipts(1).await;
    // Nobody asks for longer than a tenant is kept.
    tokio::time::sleep(Duration::from_secs(5)).await;
    scene.ask("GET", path, "").await;
    scene.receipts(2).await;
    // Another node of the same user, at the same time.
    let other = node_beside().await;
    let mut elsewhere = NodeClient::connect(&format!("https://{}", other.address())).await;
    let (token, _) = mint(&mut elsewhere, &scene.key).await;
    for _ in 0..2 {
        let headers = [("authorization", token.as_str())];
        elsewhere.send("GET", path, &headers, "").await.ok();
        scene.ask("GET", path, "").await;
        tokio::time::sleep(Duration::from_millis(1200)).await;
    }
    let receipts = scene.receipts(6).await;
    let checked = receipt::check(&receipts).unwrap();
    assert_eq!((checked.chains, checked.accesses, checked.lost), (1, 6, 0));
    assert!(checked.receipts >= 4, "{checked:?}");
    drop(elsewhere);
    other.shutdown().await;
}

#[tokio::test]
async fn a_receipt_that_is_taken_away_is_missed() {
    let mut scene = Scene::set().await;
    for n in 1..4 {
        scene
            .ask("GET", "/api/rest/v1/db/get/notes/note-0", "")
            .await;
        scene.receipts(n).await;
    }
    let mut receipts = scene.receipts(3).await;
    receipts.retain(|receipt| receipt["_id"] == "head" || receipt["seq"] != 1);
    let broken = receipt::check(&receipts).unwrap_err();
    assert!(matches!(broken, BrokenChain::Missing { seq: 1, .. }));
}

#[tokio::test]
async fn a_storage_node_that_takes_no_receipts_for_a_while_gets_them_later() {
    let scene = Scene::set().await;
    let lying = scene.world.lying_node().await;
    let (key, mut node) = (scene.person.key_at(&lying.url), scene.world.node().await);
    let (token, grant) = mint(&mut node, &key).await;
    let mut scene = Scene {
        key,
        node,
        token,
        grant,
        ..scene
    };
    scene
        .ask("GET", "/api/rest/v1/db/get/notes/note-0", "")
        .await;
    lying.lie(|asked| match asked.is_write() {
        true => Act::Say(StatusCode::SERVICE_UNAVAILABLE, String::new()),
        false => Act::Honest,
    });
    for _ in 0..10 {
        scene
            .ask("GET", "/api/rest/v1/db/get/notes/note-1", "")
            .await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    lying.be_honest();
    let receipts = scene.receipts(11).await;
    let checked = receipt::check(&receipts).unwrap();
    assert_eq!((checked.accesses, checked.lost), (11, 0));
}

#[tokio::test]
async fn what_an_app_is_told_by_a_watch_is_written_down() {
    let mut scene = Scene::set().await;
    let headers = [("authorization", scene.token.as_str())];
    let node = scene.world.node().await;
    let watch = "/api/rest/v1/db/watch/notes?since=start";
    let mut events = node.events("GET", watch, &headers, "").await.ok().unwrap();
    assert_eq!(events.words(3).await.len(), 3);
    let receipts = scene.receipts(2).await;
    let told: u64 = accesses(&receipts)
        .iter()
        .map(|(_, _, records)| records)
        .sum();
    assert!(told >= 3);
    assert!(accesses(&receipts).iter().all(|(kind, ..)| kind == "watch"));
}

#[tokio::test]
async fn a_node_that_shuts_down_writes_its_last_receipts() {
    let scene = Scene::set().await;
    let other = node_beside().await;
    let mut elsewhere = NodeClient::connect(&format!("https://{}", other.address())).await;
    let (token, _) = mint(&mut elsewhere, &scene.key).await;
    let headers = [("authorization", token.as_str())];
    let path = "/api/rest/v1/db/get/notes/note-0";
    elsewhere.send("GET", path, &headers, "").await.ok();
    drop(elsewhere);
    other.shutdown().await;
    let session = scene.person.sdk(&scene.world).await;
    let database = session.database(&receipt::DATABASE.parse().unwrap());
    let head = database.read(receipt::HEAD, &database.cipher()).await;
    assert_eq!(head.unwrap().unwrap()["seq"], 0);
}

#[tokio::test]
async fn revoke_all_ends_every_token_and_stream_and_writes_the_last_receipts_within_a_second() {
    let mut scene = Scene::set().await;
    let (second, _) = mint(&mut scene.node, &scene.key).await;
    let stranger = scene.world.person().await;
    stranger.write_notes(&scene.world, 1).await;
    let (kept, _) = mint(&mut scene.node, &stranger.key()).await;
    let headers = [("authorization", scene.token.as_str())];
    let watch = "/api/rest/v1/db/watch/notes";
    let node = scene.world.node().await;
    let events = node.events("GET", watch, &headers, "").await.ok().unwrap();
    let mut events = events.open().await;
    let path = "/api/rest/v1/db/get/notes/note-0";
    scene.ask("GET", path, "").await;

    let key = scene.key.clone();
    let began = Instant::now();
    let all = scene
        .node
        .post("/api/rest/v1/auth/revoke-all", &key, &json!({}))
        .await;
    assert_eq!(all.ok(), json!({ "revoked": 2, "evicted": true }));
    let last = events.next().await.unwrap();
    assert_eq!(last.data["problem"]["code"], "token-revoked");
    assert_eq!(events.next().await, None);
    for token in [&scene.token, &second] {
        let headers = [("authorization", token.as_str())];
        let refused = scene.node.send("GET", path, &headers, "").await;
        refused.problem(401, "token-revoked");
    }
    assert!(began.elapsed() < Duration::from_secs(1));
    let headers = [("authorization", kept.as_str())];
    scene.node.send("GET", path, &headers, "").await.ok();
    let receipts = scene.receipts(2).await;
    assert_eq!(accesses(&receipts).len(), 2);
}
