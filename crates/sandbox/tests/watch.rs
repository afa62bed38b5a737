//! Watching, against the whole system: what happens is told to those who may know, for as long as they may, and to
//! nobody else; who comes back is told what it missed, or that it must begin again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::time::{Duration, Instant};

use adyton_client::record::Save;
use serde_json::{Value, json};
use support::events::Events;
use support::{Answer, NodeClient, Person, World, note, notes, prepared};

const WATCH: &str = "/api/rest/v1/db/watch/notes";
const EMAIL: &str = "https://common.schemas.verida.io/social/email/v0.1.0/schema.json";

/// Somebody with two notes, and a connection.
struct Scene {
    world: World,
    person: Person,
    key: String,
    node: NodeClient,
}

impl Scene {
    async fn set() -> Self {
        Self::with("").await
    }

    async fn with(limits: &str) -> Self {
        let world = World::with(limits).await;
        let person = world.person().await;
        person.write_notes(&world, 2).await;
        Self {
            key: person.key(),
            node: world.node().await,
            world,
            person,
        }
    }

    /// Watches the notes as their owner.
    async fn watch(&self, path: &str, headers: &[(&str, &str)]) -> Events {
        let mut all = vec![("x-api-key", self.key.as_str())];
        all.extend(headers);
        let node = self.world.node().await;
        node.events("GET", path, &all, "").await.unwrap()
    }

    /// A token with these scopes.
    async fn mint(&mut self, scopes: &[&str], life: u64) -> (String, String) {
        let body = json!({ "scopes": scopes, "expiresIn": life });
        let minted = self.node.post("/api/rest/v1/auth/token", &self.key, &body);
        let minted = minted.await.ok();
        let token = format!("Bearer {}", minted["token"].as_str().unwrap());
        (token, minted["_id"].as_str().unwrap().to_owned())
    }

    async fn watch_as(&self, token: &str, path: &str) -> Result<Events, Answer> {
        let node = self.world.node().await;
        let headers = [("authorization", token)];
        node.events("POST", path, &headers, "").await
    }

    /// Ends a grant.
    async fn revoke(&mut self, id: &str) {
        let path = format!("/api/rest/v1/auth/tokens/{id}");
        let headers = [("x-api-key", self.key.as_str())];
        self.node.send("DELETE", &path, &headers, "").await.ok();
    }

    /// Creates, changes and deletes a note through the node.
    async fn live_and_die(&mut self, n: usize) {
        self.live_and_die_before(n, &mut []).await;
    }

    /// The same, each step before these watchers: what happens faster than it is read may be told as one.
    async fn live_and_die_before(&mut self, n: usize, watchers: &mut [&mut Events]) {
        let id = format!("note-{n}");
        let made = self.node.create_note(&self.key, &note(n)).await.ok();
        for events in &mut *watchers {
            assert_eq!(events.words(1).await, [format!("created {id}")]);
        }
        let mut changed = made["record"].clone();
        changed["text"] = json!("changed");
        self.node.update_note(&self.key, &changed).await.ok();
        for events in &mut *watchers {
            assert_eq!(events.words(1).await, [format!("updated {id}")]);
        }
        self.node.delete_note(&self.key, &id).await.ok();
        for events in &mut *watchers {
            assert_eq!(events.words(1).await, [format!("deleted {id}")]);
        }
    }
}

#[tokio::test]
async fn what_is_created_changed_and_deleted_is_told_in_the_shape_that_old_readers_know() {
    let mut scene = Scene::set().await;
    let mut events = scene.watch(WATCH, &[]).await.open().await;
    let key = scene.key.clone();
    let made = scene.node.create_note(&key, &note(7)).await.ok();
    let created = events.next().await.unwrap();
    assert_eq!(created.name, "created");
    assert_eq!(created.data["type"], "record");
    assert_eq!(created.data["value"], made["record"]);
    let mut changed = made["record"].clone();
    changed["text"] = json!("changed");
    scene.node.update_note(&key, &changed).await.ok();
    let updated = events.next().await.unwrap();
    assert_eq!(updated.name, "updated");
    assert_eq!(updated.data["value"]["text"], "changed");
    let answer = scene.node.delete_note(&key, "note-7").await.ok();
    let deleted = events.next().await.unwrap();
    assert_eq!(deleted.name, "deleted");
    // The revision with which it went: who deleted it knows its own deletion by it.
    let gone = json!({ "type": "deleted", "value": { "_id": "note-7", "_rev": answer["rev"] } });
    assert!(answer["rev"].is_string(), "{answer}");
    assert_eq!(deleted.data, gone);
    // What another client writes straight to the storage node is told as well.
    let session = scene.person.sdk(&scene.world).await;
    let database = session.database(&notes());
    let record = prepared(&session, note(8), Save::Insert);
    database.put(&record, &database.cipher()).await.unwrap();
    assert_eq!(events.words(1).await, ["created note-8"]);
}

#[tokio::test]
async fn a_watch_over_http2_is_told_the_same() {
    let mut scene = Scene::set().await;
    let sandbox = &scene.world.sandbox;
    let (url, pem) = (sandbox.node_url(), sandbox.certificate_pem());
    let events = support::events::over_http2(&url, pem, WATCH, &scene.key).await;
    let mut events = events.open().await;
    scene.live_and_die_before(7, &mut [&mut events]).await;
}

#[tokio::test]
async fn who_begins_at_the_start_is_told_everything_once_and_then_goes_on() {
    let mut scene = Scene::set().await;
    let path = format!("{WATCH}?since=start");
    let mut events = scene.watch(&path, &[]).await;
    let mut there = events.words(2).await;
    there.sort();
    assert_eq!(there, ["created note-0", "created note-1"]);
    assert!(
        events.last_id.is_empty(),
        "nobody comes back to the middle of it"
    );
    let complete = events.next().await.unwrap();
    assert_eq!(
        (complete.name.as_str(), complete.data),
        ("complete", json!({ "type": "complete" }))
    );
    assert!(!events.last_id.is_empty());
    scene.live_and_die_before(7, &mut [&mut events]).await;
}

#[tokio::test]
async fn a_filter_tells_what_comes_in_and_what_leaves_and_nothing_of_the_rest() {
    let mut scene = Scene::set().await;
    let key = scene.key.clone();
    let filter = r#"?filter=%7B%22n%22%3A%7B%22%24lt%22%3A5%7D%7D"#;
    let mut in_url = scene
        .watch(&format!("{WATCH}{filter}"), &[])
        .await
        .open()
        .await;
    let node = scene.world.node().await;
    let body =
        json!({ "query": { "n": { "$lt": 5 } }, "options": { "live": true, "since": "now" } });
    let headers = [("x-api-key", key.as_str())];
    let in_body = node.events("GET", WATCH, &headers, body.to_string()).await;
    let mut in_body = in_body.ok().unwrap().open().await;

    scene.live_and_die(9).await;
    let shown = scene.node.note(&key, "note-1").await.ok();
    let mut changed = shown["item"].clone();
    for (n, word) in [(9, "removed note-1"), (3, "created note-1")] {
        changed["n"] = json!(n);
        let saved = scene.node.update_note(&key, &changed).await.ok();
        changed["_rev"] = saved["record"]["_rev"].clone();
        for events in [&mut in_url, &mut in_body] {
            assert_eq!(events.words(1).await, [word]);
        }
    }
}

#[tokio::test]
async fn an_app_is_told_of_its_schema_alone_and_asks_for_no_more_than_it_may() {
    let mut scene = Scene::set().await;
    let (token, _) = scene
        .mint(&["api:ds-query", "ds:r:social-email"], 600)
        .await;
    let refused = scene.watch_as(&token, WATCH).await.err().unwrap();
    refused.problem(403, "scope-missing");
    let path = "/api/rest/v1/ds/watch/social-email";
    let mut events = scene
        .watch_as(&token, path)
        .await
        .ok()
        .unwrap()
        .open()
        .await;
    // Others lie in the same database.
    let key = scene.key.clone();
    for (id, schema) in [
        ("foreign", "https://example.com/other.json"),
        ("own", EMAIL),
    ] {
        let record = json!({ "record": { "_id": id, "schema": schema, "name": "x" } });
        let made = scene
            .node
            .post("/api/rest/v1/db/social_email", &key, &record);
        made.await.ok();
    }
    assert_eq!(events.words(1).await, ["created own"]);
    let headers = [("x-api-key", key.as_str())];
    for id in ["foreign", "own"] {
        let gone = format!("/api/rest/v1/db/social_email/{id}");
        scene.node.send("DELETE", &gone, &headers, "").await.ok();
    }
    assert_eq!(events.words(1).await, ["deleted own"]);
}

#[tokio::test]
async fn who_comes_back_is_told_what_it_missed_and_a_foreign_cursor_is_worth_nothing() {
    let mut scene = Scene::set().await;
    let mut events = scene.watch(WATCH, &[]).await.open().await;
    let key = scene.key.clone();
    scene.node.create_note(&key, &note(7)).await.ok();
    assert_eq!(events.words(1).await, ["created note-7"]);
    let cursor = events.last_id.clone();
    drop(events);
    scene.node.delete_note(&key, "note-7").await.ok();
    scene.live_and_die(8).await;
    scene.node.create_note(&key, &note(9)).await.ok();
    // The header of a reader that comes back, or what it says itself.
    let since = format!("{WATCH}?since={cursor}");
    let header = [("last-event-id", cursor.as_str())];
    let start = format!("{WATCH}?since=start");
    for (path, headers) in [(WATCH, &header[..]), (&since, &[]), (&start, &header)] {
        let mut events = scene.watch(path, headers).await;
        let told = events.words(2).await;
        // What came and went meanwhile is nothing to it.
        assert_eq!(told, ["deleted note-7", "created note-9"]);
    }
}

#[tokio::test]
async fn a_cursor_of_elsewhere_means_to_begin_again() {
    let mut scene = Scene::set().await;
    let cursor = scene.watch(WATCH, &[]).await.open().await.last_id;
    let stranger = scene.world.person().await;
    stranger.write_notes(&scene.world, 1).await;
    let stranger = stranger.key();
    for (key, path, cursor) in [
        (stranger.as_str(), WATCH, cursor.as_str()),
        (&scene.key, "/api/rest/v1/db/watch/other", &cursor),
        (&scene.key, WATCH, "nonsense"),
        (&scene.key, WATCH, &cursor[1..]),
    ] {
        let node = scene.world.node().await;
        let headers = [("x-api-key", key), ("last-event-id", cursor)];
        let mut events = node.events("GET", path, &headers, "").await.ok().unwrap();
        let resync = events.next().await.unwrap();
        assert_eq!(
            (resync.name.as_str(), resync.data),
            ("resync", json!({ "type": "resync" }))
        );
        assert_ne!(resync.id, cursor);
    }
    // It goes on from there.
    let mut events = scene.watch(WATCH, &[("last-event-id", "nonsense")]).await;
    assert_eq!(events.next().await.unwrap().name, "resync");
    scene.live_and_die_before(7, &mut [&mut events]).await;
}

#[tokio::test]
async fn a_revoked_grant_ends_its_streams_within_a_second_and_no_others() {
    let mut scene = Scene::set().await;
    let scopes = ["api:db-query", "db:r:notes"];
    let (token, id) = scene.mint(&scopes, 600).await;
    let (other, _) = scene.mint(&scopes, 600).await;
    let mut ends = scene
        .watch_as(&token, WATCH)
        .await
        .ok()
        .unwrap()
        .open()
        .await;
    let mut stays = scene
        .watch_as(&other, WATCH)
        .await
        .ok()
        .unwrap()
        .open()
        .await;
    let mut owner = scene.watch(WATCH, &[]).await.open().await;
    let revoked = Instant::now();
    scene.revoke(&id).await;
    let last = ends.next().await.unwrap();
    assert!(revoked.elapsed() < Duration::from_secs(1));
    assert_eq!(
        (last.name.as_str(), &last.data["type"]),
        ("error", &json!("error"))
    );
    assert_eq!(last.data["problem"]["code"], "token-revoked");
    assert_eq!(last.data["problem"]["status"], 401);
    assert_eq!(ends.next().await, None);
    let watchers = &mut [&mut stays, &mut owner];
    scene.live_and_die_before(7, watchers).await;
}

#[tokio::test]
async fn an_expired_grant_ends_its_streams() {
    let mut scene = Scene::set().await;
    let (token, _) = scene.mint(&["api:db-query", "db:r:notes"], 2).await;
    let mut events = scene
        .watch_as(&token, WATCH)
        .await
        .ok()
        .unwrap()
        .open()
        .await;
    let last = events.next().await.unwrap();
    assert_eq!(last.data["problem"]["code"], "token-expired");
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn an_event_that_comes_after_the_end_of_the_grant_is_not_told() {
    let mut scene = Scene::set().await;
    let (token, _) = scene.mint(&["api:db-query", "db:r:notes"], 60).await;
    let mut events = scene
        .watch_as(&token, WATCH)
        .await
        .ok()
        .unwrap()
        .open()
        .await;
    // The clock says that the grant is over; no timer has.
    scene.world.pass(60);
    scene.live_and_die(7).await;
    let last = events.next().await.unwrap();
    assert_eq!(last.data["problem"]["code"], "token-expired");
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn an_evicted_tenant_ends_its_streams_and_they_say_to_begin_again() {
    let mut scene = Scene::with("idle_seconds = 1").await;
    let mut events = scene.watch(WATCH, &[]).await.open().await;
    let cursor = events.last_id.clone();
    let last = events.next().await.unwrap();
    assert_eq!((last.name.as_str(), events.next().await), ("resync", None));
    // Loaded anew, it has forgotten what was.
    let mut events = scene.watch(WATCH, &[("last-event-id", &cursor)]).await;
    assert_eq!(events.next().await.unwrap().name, "resync");
    scene.live_and_die_before(7, &mut [&mut events]).await;
}

#[tokio::test]
async fn a_watch_of_ones_own_schema_ends_when_the_schema_does_and_is_not_opened_again() {
    let mut scene = Scene::set().await;
    let uri = "https://dive.example/dive/v1/schema.json";
    let name = uri
        .parse::<adyton_protocol::schema::SchemaUri>()
        .unwrap()
        .to_base64();
    let (schema, watch) = (
        format!("/api/rest/v1/schemas/{name}"),
        format!("/api/rest/v1/ds/watch/{name}"),
    );
    let key = scene.key.clone();
    let headers = [("x-api-key", key.as_str())];
    let document = json!({ "$id": uri, "title": "Note", "database": { "name": "notes" } });
    let put = scene
        .node
        .send("PUT", &schema, &headers, document.to_string());
    assert_eq!(put.await.status, 201);
    let scope = format!("ds:r:{uri}");
    let (token, _) = scene.mint(&["api:ds-query", &scope], 3600).await;
    let mut events = scene.watch_as(&token, &watch).await.unwrap().open().await;
    let record = json!({ "record": { "_id": "dive" } });
    let path = format!("/api/rest/v1/ds/{name}");
    scene.node.post(&path, &key, &record).await.ok();
    assert_eq!(events.words(1).await, ["created dive"]);
    scene.node.send("DELETE", &schema, &headers, "").await.ok();
    let last = events.next().await.unwrap();
    assert_eq!((last.name.as_str(), events.next().await), ("resync", None));
    let refused = scene.watch_as(&token, &watch).await.err().unwrap();
    refused.problem(404, "not-found");
}

#[tokio::test]
async fn a_node_that_shuts_down_does_not_wait_for_its_watchers() {
    let scene = Scene::set().await;
    let mut events = scene.watch(WATCH, &[]).await.open().await;
    let began = Instant::now();
    let Scene { world, node, .. } = scene;
    drop(node);
    let stopping = tokio::spawn(world.sandbox.shutdown());
    let last = events.next().await.unwrap();
    assert_eq!(last.data["problem"]["code"], "draining");
    assert_eq!(events.next().await, None);
    stopping.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn watches_are_limited_and_whoever_goes_makes_room() {
    let mut scene = Scene::with("watches_per_tenant = 4\nwatches = 5").await;
    let key = scene.key.clone();
    let headers = [("x-api-key", key.as_str())];
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(scene.watch(WATCH, &[]).await.open().await);
    }
    let node = scene.world.node().await;
    let refused = node.events("GET", WATCH, &headers, "").await.err().unwrap();
    refused.problem(429, "rate-limited");
    // A ticket is a watch that waits for its reader.
    let ticket = json!({ "path": "/db/watch/notes" });
    let refused = scene.node.post("/api/rest/v1/watch/tickets", &key, &ticket);
    refused.await.problem(429, "rate-limited");
    // Nobody says goodbye: its connection is gone.
    drop(open.pop());
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let node = scene.world.node().await;
        match node.events("GET", WATCH, &headers, "").await {
            Ok(events) => break open.push(events.open().await),
            Err(answer) => {
                answer.problem(429, "rate-limited");
                assert!(Instant::now() < deadline, "the place was not free again");
            }
        }
    }
    // Of one grant a quarter, and on the node five.
    drop(open);
    let (token, _) = scene.mint(&["api:db-query", "db:r:notes"], 600).await;
    let first = loop {
        if let Ok(events) = scene.watch_as(&token, WATCH).await {
            break events.open().await;
        }
    };
    let second = scene.watch_as(&token, WATCH).await.err().unwrap();
    second.problem(429, "rate-limited");
    drop(first);
}

#[tokio::test]
async fn a_ticket_is_good_once_for_one_watch_and_for_nothing_else() {
    let mut scene = Scene::set().await;
    let (token, id) = scene.mint(&["api:db-query", "db:r:notes"], 600).await;
    let issue = |path: &str| json!({ "path": path, "query": { "n": { "$gt": 5 } } }).to_string();
    let bearer = [("authorization", token.as_str())];
    let tickets = "/api/rest/v1/watch/tickets";
    let foreign = issue("/api/rest/v1/db/watch/other");
    let refused = scene.node.send("POST", tickets, &bearer, foreign).await;
    refused.problem(403, "scope-missing");
    for wrong in ["/db/query/notes", "", "/auth/tokens", "/db/watch/%FF"] {
        let refused = scene
            .node
            .send("POST", tickets, &bearer, issue(wrong))
            .await;
        refused.problem(400, "request-malformed");
    }
    let made = scene
        .node
        .send("POST", tickets, &bearer, issue("/db/watch/notes"));
    let made = made.await.ok();
    assert_eq!(made["expiresIn"], 60);
    let (ticket, url) = (
        made["ticket"].as_str().unwrap(),
        made["url"].as_str().unwrap(),
    );
    assert!(url.ends_with(ticket) && !token.contains(ticket));

    // What happens before it is fetched is told, too; and it is no credential elsewhere.
    scene.live_and_die(4).await;
    let key = scene.key.clone();
    scene.node.create_note(&key, &note(7)).await.ok();
    let as_token = [("authorization", &*format!("Bearer {ticket}"))];
    let refused = scene
        .node
        .send("GET", "/api/rest/v1/auth/me", &as_token, "")
        .await;
    refused.problem(401, "credentials-invalid");
    let node = scene.world.node().await;
    let mut events = node
        .events("GET", url, &[], "")
        .await
        .ok()
        .unwrap()
        .open()
        .await;
    assert_eq!(events.words(1).await, ["created note-7"]);
    let again = scene.node.send("GET", url, &[], "").await;
    again.problem(404, "not-found");
    let never = scene
        .node
        .send("GET", "/api/rest/v1/watch/x", &bearer, "")
        .await;
    never.problem(404, "not-found");
    // Without the token, but not without the grant.
    scene.revoke(&id).await;
    let last = events.next().await.unwrap();
    assert_eq!(last.data["problem"]["code"], "token-revoked");
}

#[tokio::test]
async fn what_a_watch_does_not_understand_is_refused() {
    let mut scene = Scene::set().await;
    let key = scene.key.clone();
    let ask = |path: &str, body: Value| (path.to_owned(), body);
    for (path, body) in [
        ask("?filter=%7B", json!({})),
        ask("?filter=%7B%7D", json!({ "query": {} })),
        ask("?since=now", json!({ "options": { "since": "now" } })),
        ask("?other=1", json!({})),
        ask("", json!({ "selector": {}, "options": { "selector": {} } })),
        ask("", json!({ "options": { "since": 7 } })),
        ask("", json!({ "options": { "live": false } })),
        ask("", json!({ "options": { "filter": "x" } })),
        ask("", json!({ "options": [] })),
        ask("", json!({ "other": {} })),
    ] {
        let refused = scene
            .node
            .post(&format!("{WATCH}{path}"), &key, &body)
            .await;
        assert_eq!(refused.status, 400, "{path} {body}");
    }
    let refused = scene.node.get(&format!("{WATCH}?token=x"), &key).await;
    refused.problem(400, "request-malformed");
}

#[tokio::test]
async fn an_answer_without_end_is_not_signed_and_does_not_wait_for_its_signature() {
    let mut scene = Scene::set().await;
    let key = scene.key.clone();
    let ask = "sig1=(\"@status\" \"content-digest\" \"@method\";req \"@target-uri\";req);created;nonce=\"n-7\";tag=\"adyton\"";
    let headers = [("x-api-key", key.as_str()), ("accept-signature", ask)];
    let refused = scene.node.send("GET", WATCH, &headers, "").await;
    assert!(refused.headers.contains_key("signature"));
    refused.problem(400, "request-malformed");
}
