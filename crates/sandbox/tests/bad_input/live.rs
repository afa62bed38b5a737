//! Several clients at once: what one writes, the others see; what collides is told.

use adyton_client::database::WriteError;
use adyton_client::record::Save;
use serde_json::{Value, json};

use super::Scene;
use crate::support::{Answer, ids, note, notes, prepared};

fn rev_of(answer: &Answer, id: &str) -> String {
    let answer = answer.ok();
    let items = answer["items"].as_array().unwrap();
    let item = items.iter().find(|item| item["_id"] == id).unwrap();
    item["_rev"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_a_second_client_writes_changes_and_deletes_is_seen_without_a_reload() {
    let mut scene = Scene::set().await;
    let key = scene.key.clone();
    let before = scene.notes().await;
    assert_eq!(ids(&before).len(), 3);
    let session = scene.person.sdk(&scene.world).await;
    let database = session.database(&notes());
    let cipher = database.cipher();

    let added = prepared(&session, note(5), Save::Insert);
    database.put(&added, &cipher).await.unwrap();
    let is_there = |answer: &Answer| ids(answer).len() == 4;
    scene.node.notes_until(&key, is_there).await;

    let changed =
        json!({ "_id": "note-1", "_rev": rev_of(&before, "note-1"), "text": "changed elsewhere" });
    database
        .put(&prepared(&session, changed, Save::Update), &cipher)
        .await
        .unwrap();
    let is_changed = |answer: &Answer| answer.ok().to_string().contains("changed elsewhere");
    scene.node.notes_until(&key, is_changed).await;

    let deleted = json!({ "_id": "note-0", "_rev": rev_of(&before, "note-0") });
    database
        .put(&prepared(&session, deleted, Save::Delete), &cipher)
        .await
        .unwrap();
    let is_gone = |answer: &Answer| ids(answer) == ["note-1", "note-2", "note-5"];
    scene.node.notes_until(&key, is_gone).await;
    let gone = scene.node.note(&key, "note-0").await;
    gone.problem(404, "not-found");
    scene.bystander.is_unharmed().await;
}

#[tokio::test]
async fn a_write_on_an_old_revision_is_a_conflict_that_names_the_current_one() {
    let mut scene = Scene::set().await;
    let key = scene.key.clone();
    let before = rev_of(&scene.notes().await, "note-1");
    let first = json!({ "_id": "note-1", "_rev": before, "text": "first" });
    let current = scene.node.update_note(&key, &first).await.ok()["result"]["rev"].clone();
    let second = json!({ "_id": "note-1", "_rev": before, "text": "second" });
    let refused = scene.node.update_note(&key, &second).await;
    assert_eq!(
        refused.problem(409, "revision-conflict")["currentRev"],
        current
    );
    let without = json!({ "_id": "note-1", "text": "second" });
    let refused = scene.node.update_note(&key, &without).await;
    assert_eq!(
        refused.problem(409, "revision-conflict")["currentRev"],
        current
    );
    let again = scene.node.create_note(&key, &note(1)).await;
    assert_eq!(
        again.problem(409, "revision-conflict")["currentRev"],
        current
    );
    let shown = scene.node.note(&key, "note-1").await.ok();
    assert_eq!(shown["item"]["text"], "first");
    scene.bystander.is_unharmed().await;
}

#[tokio::test]
async fn of_two_that_write_the_same_record_at_once_one_is_told() {
    let mut scene = Scene::set().await;
    let key = scene.key.clone();
    for round in 0..5 {
        let before = rev_of(&scene.notes().await, "note-1");
        let write =
            |who: &str| json!({ "_id": "note-1", "_rev": before, "by": format!("{who} {round}") });
        let mut other = scene.world.node().await;
        let (one, two) = (write("one"), write("two"));
        let (one, two) = tokio::join!(
            scene.node.update_note(&key, &one),
            other.update_note(&key, &two)
        );
        let (won, lost) = match one.status.is_success() {
            true => (one, two),
            false => (two, one),
        };
        let current = won.ok()["result"]["rev"].clone();
        assert_eq!(
            lost.problem(409, "revision-conflict")["currentRev"],
            current
        );
        let shown = scene.node.note(&key, "note-1").await.ok();
        assert_eq!(shown["item"]["_rev"], current);
        assert_eq!(shown["item"]["by"], won.json()["record"]["by"]);
    }
    scene.bystander.is_unharmed().await;
}

#[tokio::test]
async fn the_node_and_a_second_client_cannot_overwrite_each_other() {
    let mut scene = Scene::set().await;
    let key = scene.key.clone();
    let before = rev_of(&scene.notes().await, "note-2");
    // The node does not hear of the second client's write.
    scene.lying.lie(|asked| match asked.is_live() {
        true => crate::support::lying_node::Act::Silence,
        false => crate::support::lying_node::Act::Honest,
    });
    scene.lying.cut_connections();
    let session = scene.person.sdk(&scene.world).await;
    let database = session.database(&notes());
    let theirs = json!({ "_id": "note-2", "_rev": before, "by": "second client" });
    let theirs = prepared(&session, theirs, Save::Update);
    let current = database.put(&theirs, &database.cipher()).await.unwrap();

    // Nor does it overwrite it: it says which revision there is now.
    let ours = json!({ "_id": "note-2", "_rev": before, "by": "node" });
    let refused = scene.node.update_note(&key, &ours).await;
    let told = refused.problem(409, "revision-conflict");
    assert_eq!(told["currentRev"], current.to_string());
    // And the other way round.
    let stale = prepared(
        &session,
        json!({ "_id": "note-2", "_rev": before, "by": "late" }),
        Save::Update,
    );
    let refused = database.put(&stale, &database.cipher()).await;
    assert_eq!(refused.unwrap_err(), WriteError::Conflict);

    scene.lying.be_honest();
    scene.lying.cut_connections();
    let is_theirs = |answer: &Answer| answer.ok().to_string().contains("second client");
    scene.node.notes_until(&key, is_theirs).await;
    scene.bystander.is_unharmed().await;
}

#[tokio::test]
async fn a_record_that_was_deleted_elsewhere_can_be_made_again() {
    let mut scene = Scene::set().await;
    let key = scene.key.clone();
    scene.notes().await.ok();
    scene.node.delete_note(&key, "note-1").await.ok();
    let gone = scene.node.delete_note(&key, "note-1").await;
    gone.problem(404, "not-found");
    let update = json!({ "_id": "note-1", "_rev": "1-967a00dff5e02add41819138abb3284d" });
    let gone = scene.node.update_note(&key, &update).await;
    gone.problem(404, "not-found");
    let made: Value = scene.node.create_note(&key, &note(1)).await.ok();
    assert!(made["record"]["_rev"].as_str().unwrap().starts_with("3-"));
    scene.all_is_well_again().await;
}
