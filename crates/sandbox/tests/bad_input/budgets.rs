//! More of everything than there is room for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use adyton_client::record::Save;
use serde_json::json;
use tokio::task::JoinSet;

use super::Scene;
use crate::support::lying_node::Act;
use crate::support::{
    Answer, Bystander, NOTES, NodeClient, Person, World, ids, key_at, note, notes, prepared,
};

/// Writes notes of 100 kB each.
pub(super) async fn write_large(world: &World, person: &Person, count: usize) {
    let session = person.sdk(world).await;
    let database = session.database(&notes());
    database.create(&Default::default()).await.unwrap();
    for n in 0..count {
        let large = json!({ "_id": format!("large-{n}"), "text": "x".repeat(100_000) });
        let large = prepared(&session, large, Save::Insert);
        database.put(&large, &database.cipher()).await.unwrap();
    }
}

#[tokio::test]
async fn more_than_a_tenant_may_hold_is_refused_and_others_do_not_notice() {
    let mut scene = Scene::with("tenant_memory_mib = 4").await;
    write_large(&scene.world, &scene.person, 50).await;
    // It says nothing of its size, and then too little.
    for sizes in [json!({}), json!({ "external": 1000 })] {
        scene.lying.lie(move |asked| match asked.is_info() {
            true => {
                let sizes = sizes.clone();
                Act::Alter(Box::new(move |mut info| {
                    info["sizes"] = sizes;
                    info
                }))
            }
            false => Act::Honest,
        });
        for _ in 0..2 {
            let refused = scene.notes().await;
            refused.problem(503, "overloaded");
            assert_eq!(refused.headers["retry-after"], "5");
        }
    }
    scene.lying.be_honest();
    scene.bystander.is_unharmed().await;
    // Another database of the same person has room: a refused load leaves nothing behind.
    let path = "/api/rest/v1/db/small";
    let body = json!({ "record": note(1) });
    scene.node.post(path, &scene.key, &body).await.ok();
    scene.bystander.is_unharmed().await;
}

#[tokio::test]
async fn a_write_without_room_is_not_stored() {
    let world = World::with("tenant_memory_mib = 4").await;
    let mut bystander = Bystander::of(&world).await;
    let person = world.person().await;
    write_large(&world, &person, 5).await;
    let mut node = world.node().await;
    assert_eq!(ids(&node.notes(&person.key()).await).len(), 5);
    let mut stored = 5;
    loop {
        let large = json!({ "_id": format!("more-{stored}"), "text": "x".repeat(100_000) });
        let answer = node.create_note(&person.key(), &large).await;
        if !answer.status.is_success() {
            answer.problem(503, "overloaded");
            break;
        }
        stored += 1;
        assert!(stored < 60, "never refused");
    }
    let session = person.sdk(&world).await;
    let info = session.database(&notes()).info().await.unwrap().unwrap();
    assert_eq!(info.doc_count, stored);
    assert_eq!(ids(&node.notes(&person.key()).await).len() as u64, stored);
    // Whoever has no room can make some.
    node.delete_note(&person.key(), "large-0").await.ok();
    bystander.is_unharmed().await;
}

#[tokio::test]
async fn more_than_the_node_may_hold_is_refused_until_somebody_leaves() {
    let world = World::with("node_memory_mib = 9\ntenant_memory_mib = 6\nidle_seconds = 3").await;
    let mut bystander = Bystander::of(&world).await;
    let mut people = Vec::new();
    for _ in 0..3 {
        let person = world.person().await;
        write_large(&world, &person, 33).await;
        people.push(person);
    }
    let mut node = world.node().await;
    let mut refused = 0;
    for person in &people {
        let answer = node.notes(&person.key()).await;
        match answer.status.is_success() {
            true => assert_eq!(ids(&answer).len(), 33),
            false => {
                answer.problem(503, "overloaded");
                refused += 1;
            }
        }
    }
    assert!((1..3).contains(&refused), "{refused}");
    bystander.is_unharmed().await;
    // The others go idle and are evicted; then there is room.
    let last = people[2].key();
    let answer = node
        .notes_until(&last, |answer| answer.status.is_success())
        .await;
    assert_eq!(ids(&answer).len(), 33);
    bystander.is_unharmed().await;
}

#[tokio::test]
async fn an_idle_tenant_is_forgotten_and_loaded_again() {
    let mut scene = Scene::with("idle_seconds = 1").await;
    let loads = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&loads);
    scene.lying.lie(move |asked| {
        if asked.is_snapshot() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        Act::Honest
    });
    assert_eq!(ids(&scene.notes().await).len(), 3);
    assert_eq!(ids(&scene.notes().await).len(), 3);
    assert_eq!(loads.load(Ordering::SeqCst), 1);
    let feeds = scene.lying.open_connections();
    assert!(feeds > 0);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    // The live feed was closed with it.
    assert!(scene.lying.open_connections() < feeds || loads.load(Ordering::SeqCst) == 1);
    assert_eq!(ids(&scene.notes().await).len(), 3);
    assert_eq!(loads.load(Ordering::SeqCst), 2);
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn strangers_whose_storage_nodes_do_not_exist_take_nobodys_place() {
    let world = World::with("tenants = 4").await;
    let mut bystander = Bystander::of(&world).await;
    let mut node = world.node().await;
    for _ in 0..8 {
        let stranger = world.person().await;
        let key = key_at(&stranger.session, "http://127.0.0.1:9/");
        node.notes(&key).await.problem(502, "storage-unreachable");
    }
    let person = world.person().await;
    person.write_notes(&world, 3).await;
    assert_eq!(ids(&node.notes(&person.key()).await).len(), 3);
    bystander.is_unharmed().await;
}

#[tokio::test]
async fn too_many_tenants_at_once_are_refused() {
    let world = World::with("tenants = 2").await;
    let mut bystander = Bystander::of(&world).await;
    let mut node = world.node().await;
    let mut refused = 0;
    for _ in 0..3 {
        let person = world.person().await;
        person.write_notes(&world, 1).await;
        let answer = node.notes(&person.key()).await;
        match answer.status.is_success() {
            true => assert_eq!(ids(&answer), ["note-0"]),
            false => {
                answer.problem(503, "overloaded");
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 2);
    bystander.is_unharmed().await;
}

/// Uses what these people have on the node, without a pause, until it is dropped.
async fn in_use(world: &World, people: &[&Person]) -> JoinSet<()> {
    let mut using = JoinSet::new();
    for person in people {
        let (key, mut node) = (person.key(), world.node().await);
        using.spawn(async move {
            let first = json!({ "options": { "limit": 1 } });
            loop {
                node.post(NOTES, &key, &first).await.ok();
            }
        });
    }
    using
}

/// Asks for a person's notes until there is room for them.
async fn once_there_is_room(node: &mut NodeClient, person: &Person) -> Answer {
    let began = Instant::now();
    loop {
        let answer = node.notes(&person.key()).await;
        if answer.status.is_success() || began.elapsed() > Duration::from_secs(30) {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn who_was_idle_makes_room_when_somebody_else_has_none() {
    let world = World::with("tenants = 2\ncrowded_idle_seconds = 2").await;
    let mut node = world.node().await;
    let mut people = Vec::new();
    for _ in 0..3 {
        let person = world.person().await;
        person.write_notes(&world, 1).await;
        people.push(person);
    }
    let using = in_use(&world, &[&people[0], &people[1]]).await;
    for person in &people[..2] {
        assert_eq!(ids(&node.notes(&person.key()).await), ["note-0"]);
    }
    node.notes(&people[2].key())
        .await
        .problem(503, "overloaded");
    drop(using);
    // Idle for long enough; nobody loses anything but time.
    for person in people.iter().rev() {
        let answer = once_there_is_room(&mut node, person).await;
        assert_eq!(ids(&answer), ["note-0"]);
    }
}

#[tokio::test]
async fn memory_of_who_was_idle_is_given_to_somebody_else() {
    let world =
        World::with("node_memory_mib = 16\ntenant_memory_mib = 16\ncrowded_idle_seconds = 2").await;
    let (first, second) = (world.person().await, world.person().await);
    for person in [&first, &second] {
        write_large(&world, person, 90).await;
    }
    let mut node = world.node().await;
    assert_eq!(node.notes(&first.key()).await.ok()["total"], 90);
    // Not from who is in use; from who was idle.
    let using = in_use(&world, &[&first]).await;
    node.notes(&second.key()).await.problem(503, "overloaded");
    drop(using);
    let answer = once_there_is_room(&mut node, &second).await;
    assert_eq!(answer.ok()["total"], 90);
}

#[tokio::test]
async fn more_databases_than_a_tenant_may_have_are_refused() {
    let world = World::with("databases_per_tenant = 2").await;
    let mut bystander = Bystander::of(&world).await;
    let person = world.person().await;
    let mut node = world.node().await;
    let path = |n: usize| format!("/api/rest/v1/db/query/many_{n}");
    for n in 0..2 {
        node.post(&path(n), &person.key(), &json!({})).await.ok();
    }
    let refused = node.post(&path(2), &person.key(), &json!({})).await;
    refused.problem(503, "overloaded");
    node.post(&path(1), &person.key(), &json!({})).await.ok();
    bystander.is_unharmed().await;
}

#[tokio::test]
async fn one_tenant_that_asks_for_much_does_not_hold_up_another() {
    let world = World::with("workers = 1").await;
    let mut bystander = Bystander::of(&world).await;
    let person = world.person().await;
    let session = person.sdk(&world).await;
    let database = session.database(&notes());
    database.create(&Default::default()).await.unwrap();
    for chunk in 0..3 {
        let records: Vec<_> = (0..1000)
            .map(|n| prepared(&session, note(chunk * 1000 + n), Save::Insert))
            .collect();
        database
            .put_all(&records, &database.cipher())
            .await
            .unwrap();
    }
    let asking: Vec<_> = (0..8)
        .map(|_| {
            let (key, url) = (person.key(), world.sandbox.node_url());
            tokio::spawn(async move {
                let mut node = NodeClient::connect(&url).await;
                let query = json!({ "query": { "text": { "$regex": "no.*such.*note" } } });
                for _ in 0..5 {
                    node.post(NOTES, &key, &query).await.ok();
                }
            })
        })
        .collect();
    bystander.is_unharmed().await;
    for asked in asking {
        asked.await.unwrap();
    }
    bystander.is_unharmed().await;
}
