//! A storage node that is ill: down, slow, broken off, and then well again.

use std::time::{Duration, Instant};

use adyton_client::record::Save;
use serde_json::json;

use super::Scene;
use crate::support::lying_node::Act;
use crate::support::{ids, note, notes, prepared};

#[tokio::test]
async fn a_storage_node_that_is_down_at_loading_is_told_and_asked_again() {
    let mut scene = Scene::set().await;
    scene.lying.go_down();
    scene.notes().await.problem(502, "storage-unreachable");
    scene.bystander.is_unharmed().await;
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn a_storage_node_that_breaks_off_while_loading_is_told_and_asked_again() {
    let mut scene = Scene::set().await;
    for bytes in [0, 20, 500] {
        scene.lying.lie(move |asked| match asked.is_snapshot() {
            true => Act::CutAfter(bytes),
            false => Act::Honest,
        });
        scene.notes().await.problem(502, "storage-unreachable");
        scene.bystander.is_unharmed().await;
    }
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn a_storage_node_that_is_down_at_a_write_leaves_reading_and_the_write_can_be_repeated() {
    let mut scene = Scene::set().await;
    assert_eq!(ids(&scene.notes().await).len(), 3);
    scene.lying.go_down();
    let key = scene.key.clone();
    let refused = scene.node.create_note(&key, &note(7)).await;
    refused.problem(502, "storage-unreachable");
    let changed = json!({ "_id": "note-1", "n": 100 });
    let path = "/api/rest/v1/db/notes/note-1";
    let body = json!({ "record": changed, "options": { "forceUpdate": true } }).to_string();
    let refused = scene
        .node
        .send("PUT", path, &[("x-api-key", &key)], body.clone())
        .await;
    refused.problem(502, "storage-unreachable");
    let refused = scene.node.delete_note(&key, "note-2").await;
    refused.problem(502, "storage-unreachable");
    // Nothing was pretended: what is in memory is what is stored.
    let answer = scene.notes().await;
    assert_eq!(ids(&answer), ["note-0", "note-1", "note-2"]);
    assert_eq!(answer.json()["items"][1]["n"], 1);
    scene.bystander.is_unharmed().await;

    scene.lying.come_up();
    scene.node.create_note(&key, &note(7)).await.ok();
    scene
        .node
        .send("PUT", path, &[("x-api-key", &key)], body)
        .await
        .ok();
    scene.node.delete_note(&key, "note-2").await.ok();
    assert_eq!(ids(&scene.notes().await), ["note-0", "note-1", "note-7"]);
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_not_lost() {
    let mut scene = Scene::set().await;
    assert_eq!(ids(&scene.notes().await).len(), 3);
    scene.lying.lie(|asked| match asked.is_write() {
        true => Act::LoseAnswer,
        false => Act::Honest,
    });
    let key = scene.key.clone();
    let told = scene.node.create_note(&key, &note(7)).await;
    told.problem(502, "storage-unreachable");
    // It happened, and the feed brings it.
    let is_there = |answer: &crate::support::Answer| ids(answer).len() == 4;
    scene.node.notes_until(&key, is_there).await;
    scene.lying.be_honest();
    // Repeating it is a conflict, not a second record.
    let told = scene.node.create_note(&key, &note(7)).await;
    let told = told.problem(409, "revision-conflict");
    assert!(told["currentRev"].as_str().unwrap().starts_with("1-"));
    scene.bystander.is_unharmed().await;
}

#[tokio::test]
async fn a_broken_live_feed_is_opened_again_and_misses_nothing() {
    let mut scene = Scene::set().await;
    assert_eq!(ids(&scene.notes().await).len(), 3);
    let session = scene.person.sdk(&scene.world).await;
    let database = session.database(&notes());
    for round in 3..6 {
        scene.lying.go_down();
        let more = prepared(&session, note(round), Save::Insert);
        database.put(&more, &database.cipher()).await.unwrap();
        scene.bystander.is_unharmed().await;
        scene.lying.come_up();
        let wanted = round + 1;
        let is_there = |answer: &crate::support::Answer| ids(answer).len() == wanted;
        scene.node.notes_until(&scene.key, is_there).await;
    }
}

#[tokio::test]
async fn a_live_feed_is_opened_again_while_its_owner_keeps_writing() {
    let mut scene = Scene::set().await;
    let key = scene.key.clone();
    assert_eq!(ids(&scene.notes().await).len(), 3);
    // Long enough for the waiting between attempts to grow: the next one is a second away.
    scene.lying.lie(|asked| match asked.is_live() {
        true => Act::HangUp,
        false => Act::Honest,
    });
    scene.lying.cut_connections();
    tokio::time::sleep(Duration::from_secs(2)).await;
    scene.lying.be_honest();
    let session = scene.person.sdk(&scene.world).await;
    let database = session.database(&notes());
    let foreign = prepared(&session, note(50), Save::Insert);
    database.put(&foreign, &database.cipher()).await.unwrap();
    let began = Instant::now();
    for n in 100.. {
        scene.node.create_note(&key, &note(n)).await.ok();
        if ids(&scene.notes().await).contains(&"note-50".to_owned()) {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "never seen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_slow_storage_node_is_waited_for_and_one_that_never_answers_is_not() {
    let mut scene = Scene::with("storage_answer_seconds = 2").await;
    scene.lying.lie(|_| Act::Slow(Duration::from_millis(300)));
    assert_eq!(ids(&scene.notes().await).len(), 3);
    scene.lying.lie(|asked| match asked.is_write() {
        true => Act::Silence,
        false => Act::Honest,
    });
    let key = scene.key.clone();
    let told = scene.node.create_note(&key, &note(7)).await;
    told.problem(502, "storage-unreachable");
    assert_eq!(ids(&scene.notes().await).len(), 3);
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn reading_goes_on_while_a_write_hangs() {
    let mut scene = Scene::with("storage_answer_seconds = 5").await;
    assert_eq!(ids(&scene.notes().await).len(), 3);
    scene.lying.lie(|asked| match asked.is_write() {
        true => Act::Silence,
        false => Act::Honest,
    });
    let mut other = scene.world.node().await;
    let key = scene.key.clone();
    let writing = tokio::spawn(async move { other.create_note(&key, &note(7)).await });
    for _ in 0..5 {
        assert_eq!(ids(&scene.notes().await).len(), 3);
        scene.bystander.is_unharmed().await;
    }
    assert!(!writing.is_finished());
    writing.await.unwrap().problem(502, "storage-unreachable");
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn answers_that_are_none_are_refused_at_every_step() {
    let garbage = |text: &'static str| Act::Say(http::StatusCode::OK, text.to_owned());
    for (step, text) in [
        ("auth/connect", "no JSON"),
        (
            "auth/connect",
            "{\"accessToken\":\"a\\nb\",\"host\":\"http://127.0.0.1:1/\"}",
        ),
        (
            "auth/connect",
            "{\"accessToken\":\"a\",\"host\":\"file:///etc/passwd\"}",
        ),
        (
            "auth/connect",
            "{\"accessToken\":\"a\",\"host\":\"http://169.254.169.254/\"}",
        ),
        ("auth/connect", "{\"accessToken\":\"a\"}"),
    ] {
        let mut scene = Scene::set().await;
        scene.lying.lie(move |asked| match asked.path == step {
            true => garbage(text),
            false => Act::Honest,
        });
        scene.notes().await.problem(502, "storage-misbehaved");
        scene.all_is_well_again().await;
    }
    // The answer to a write, too.
    let mut scene = Scene::set().await;
    assert_eq!(ids(&scene.notes().await).len(), 3);
    let key = scene.key.clone();
    for (n, text) in ["", "{}", "{\"rev\":\"new\"}", "[]"]
        .into_iter()
        .enumerate()
    {
        scene.lying.lie(move |asked| match asked.is_write() {
            true => garbage(text),
            false => Act::Honest,
        });
        let told = scene.node.create_note(&key, &note(10 + n)).await;
        told.problem(502, "storage-misbehaved");
    }
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn a_database_that_was_destroyed_elsewhere_is_not_served_any_more() {
    let mut scene = Scene::set().await;
    assert_eq!(ids(&scene.notes().await).len(), 3);
    let session = scene.person.sdk(&scene.world).await;
    session.database(&notes()).destroy().await.unwrap();
    scene.lying.cut_connections();
    let is_empty = |answer: &crate::support::Answer| ids(answer).is_empty();
    scene.node.notes_until(&scene.key, is_empty).await;
    scene.bystander.is_unharmed().await;
}
