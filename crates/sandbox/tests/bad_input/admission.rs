//! Who is let in, and what is told to those who do not want to wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use super::Scene;
use super::budgets::write_large;
use crate::support::lying_node::Act;
use crate::support::{NOTES, NodeClient, World, ids, unix_now};

#[tokio::test]
async fn what_can_never_fit_is_refused_before_a_byte_of_it_is_asked_for() {
    let mut scene = Scene::with("tenant_memory_mib = 4").await;
    write_large(&scene.world, &scene.person, 50).await;
    let loads = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&loads);
    scene.lying.lie(move |asked| {
        if asked.is_snapshot() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        Act::Honest
    });
    for _ in 0..2 {
        let refused = scene.notes().await;
        refused.problem(507, "too-large-for-this-node");
        assert!(!refused.headers.contains_key("retry-after"));
    }
    assert_eq!(loads.load(Ordering::SeqCst), 0);
    scene.bystander.is_unharmed().await;
    // It is a matter of its size alone.
    for n in 0..30 {
        let path = scene.person.document("notes", &format!("large-{n}"));
        let found = scene.person.raw(&scene.world, "GET", &path, &json!(null));
        let rev = found.await["_rev"].as_str().unwrap().to_owned();
        let gone = json!({ "_rev": rev, "_deleted": true });
        scene.person.raw(&scene.world, "PUT", &path, &gone).await;
    }
    assert_eq!(ids(&scene.notes().await).len(), 23);
    assert_eq!(loads.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn of_loads_that_do_not_fit_together_one_is_served_and_the_others_wait() {
    let world = World::with("node_memory_mib = 9\ntenant_memory_mib = 6").await;
    let mut asking = Vec::new();
    for _ in 0..3 {
        let person = world.person().await;
        write_large(&world, &person, 50).await;
        let lying = world.lying_node().await;
        lying.lie(|asked| match asked.is_snapshot() {
            true => Act::Slow(Duration::from_millis(700)),
            false => Act::Honest,
        });
        let (key, url) = (person.key_at(&lying.url), world.sandbox.node_url());
        asking.push(tokio::spawn(async move {
            let mut node = NodeClient::connect(&url).await;
            let answer = node.notes(&key).await;
            drop(lying);
            answer
        }));
    }
    let mut served = 0;
    for asked in asking {
        let answer = asked.await.unwrap();
        match answer.status.is_success() {
            true => {
                assert_eq!(ids(&answer).len(), 50);
                served += 1;
            }
            false => {
                answer.problem(503, "overloaded");
                assert_eq!(answer.headers["retry-after"], "5");
            }
        }
    }
    assert_eq!(served, 1);
}

const ASYNC: (&str, &str) = ("prefer", "respond-async");

/// A scene whose data takes its time.
async fn slow_scene(millis: u64) -> Scene {
    let scene = Scene::set().await;
    scene.lying.lie(move |asked| match asked.is_snapshot() {
        true => Act::Slow(Duration::from_millis(millis)),
        false => Act::Honest,
    });
    scene
}

#[tokio::test]
async fn who_does_not_want_to_wait_for_a_load_is_told_how_far_it_is() {
    let mut scene = slow_scene(1500).await;
    let key = scene.key.clone();
    let owner = ("x-api-key", key.as_str());
    let begun = unix_now();
    let first = scene.node.send("POST", NOTES, &[owner, ASYNC], "{}").await;
    assert!(unix_now() - begun <= 1);
    assert_eq!(first.status, 202);
    assert_eq!(first.headers["preference-applied"], "respond-async");
    assert_eq!(first.headers["retry-after"], "1");
    let body = first.json();
    assert_eq!(
        (&body["complete"], &body["state"]),
        (&json!(false), &json!("loading"))
    );
    // The same request again, until it is there. The owner may know how much there is.
    let mut answers = vec![first];
    while answers.last().unwrap().status == 202 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        answers.push(scene.node.send("POST", NOTES, &[owner, ASYNC], "{}").await);
    }
    let last = answers.pop().unwrap();
    assert_eq!(ids(&last), ["note-0", "note-1", "note-2"]);
    assert!(!last.headers.contains_key("preference-applied"));
    let of = |answer: &crate::support::Answer| answer.json()["of"].clone();
    assert!(answers.iter().any(|answer| of(answer) == 3), "{answers:?}");
    scene.bystander.is_unharmed().await;
}

#[tokio::test]
async fn an_app_is_told_how_far_a_load_is_and_not_how_much_there_is() {
    let mut scene = slow_scene(1500).await;
    let key = scene.key.clone();
    let scopes = json!({ "scopes": ["api:db-query", "db:r:notes"] });
    let minted = scene.node.post("/api/rest/v1/auth/token", &key, &scopes);
    let bearer = format!("Bearer {}", minted.await.ok()["token"].as_str().unwrap());
    let app = [("authorization", bearer.as_str()), ASYNC];
    for _ in 0..3 {
        let told = scene.node.send("POST", NOTES, &app, "{}").await;
        assert_eq!(told.status, 202);
        let told = told.json();
        let mut names: Vec<_> = told.as_object().unwrap().keys().collect();
        names.sort();
        assert_eq!(names, ["complete", "percent", "state"]);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn who_waits_a_while_and_who_writes_gets_an_answer_and_no_promise() {
    let mut scene = slow_scene(600).await;
    let key = scene.key.clone();
    let owner = ("x-api-key", key.as_str());
    // Nothing is "accepted" of a change that was not made.
    let body = json!({ "record": { "_id": "new" } }).to_string();
    let path = "/api/rest/v1/db/notes";
    let created = scene.node.send("POST", path, &[owner, ASYNC], body).await;
    assert_eq!(created.status, 201);
    let mut other = slow_scene(600).await;
    let key = other.key.clone();
    let patient = [
        ("x-api-key", key.as_str()),
        ("prefer", "respond-async, wait=30"),
    ];
    let answer = other.node.send("POST", NOTES, &patient, "{}").await;
    assert_eq!(ids(&answer), ["note-0", "note-1", "note-2"]);
}

#[tokio::test]
async fn a_load_that_fails_is_a_problem_for_who_does_not_wait_as_well() {
    let mut scene = Scene::set().await;
    scene.lying.go_down();
    let key = scene.key.clone();
    let owner = ("x-api-key", key.as_str());
    for _ in 0..100 {
        let answer = scene.node.send("POST", NOTES, &[owner, ASYNC], "{}").await;
        if answer.status != 202 {
            answer.problem(502, "storage-unreachable");
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it was never told");
}
