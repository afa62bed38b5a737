//! Single records that are not what they should be.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use futures_util::stream;
use rand_core::{OsRng, TryRngCore};
use serde_json::{Value, json};

use super::Scene;
use crate::support::lying_node::Act;
use crate::support::{ids, note, notes, prepared};

use adyton_client::record::Save;
use adyton_protocol::database::DatabaseName;

/// Replaces the payload of `note-1` on the storage node.
async fn damage(scene: &Scene, damage: impl Fn(&str) -> Value) {
    let path = scene.person.document("notes", "note-1");
    let mut document = scene
        .person
        .raw(&scene.world, "GET", &path, &Value::Null)
        .await;
    document["payload"] = damage(document["payload"].as_str().unwrap());
    if document["payload"].is_null() {
        document.as_object_mut().unwrap().remove("payload");
    }
    scene
        .person
        .raw(&scene.world, "PUT", &path, &document)
        .await;
}

/// The damaged record is counted, told to who asks for it, and in nobody's way.
async fn one_record_is_unreadable(scene: &mut Scene) {
    let answer = scene.notes().await;
    assert_eq!(ids(&answer), ["note-0", "note-2"]);
    assert_eq!(answer.json()["unreadable"], 1);
    let key = scene.key.clone();
    let refused = scene.node.note(&key, "note-1").await;
    refused.problem(502, "ciphertext-rejected");
    scene.node.note(&key, "note-2").await.ok();
    scene.bystander.is_unharmed().await;
}

fn flipped(payload: &str, at: usize) -> Value {
    let mut bytes = STANDARD.decode(payload).unwrap();
    bytes[at] ^= 1;
    STANDARD.encode(bytes).into()
}

#[tokio::test]
async fn one_altered_bit_hides_one_record_and_no_other() {
    let mut scene = Scene::set().await;
    damage(&scene, |payload| flipped(payload, 60)).await;
    one_record_is_unreadable(&mut scene).await;
    // It is not lost: written back as it was, it is read again, without a reload.
    damage(&scene, |payload| flipped(payload, 60)).await;
    let all = |answer: &crate::support::Answer| ids(answer).len() == 3;
    scene.node.notes_until(&scene.key, all).await;
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn an_altered_nonce_hides_one_record() {
    let mut scene = Scene::set().await;
    damage(&scene, |payload| flipped(payload, 0)).await;
    one_record_is_unreadable(&mut scene).await;
}

#[tokio::test]
async fn a_record_damaged_while_the_node_watches_disappears() {
    let mut scene = Scene::set().await;
    assert_eq!(ids(&scene.notes().await).len(), 3);
    damage(&scene, |payload| flipped(payload, 60)).await;
    let gone = |answer: &crate::support::Answer| ids(answer).len() == 2;
    scene.node.notes_until(&scene.key, gone).await;
    one_record_is_unreadable(&mut scene).await;
}

#[tokio::test]
async fn truncated_base64_hides_one_record() {
    let mut scene = Scene::set().await;
    damage(&scene, |payload| payload[..payload.len() - 3].into()).await;
    one_record_is_unreadable(&mut scene).await;
}

#[tokio::test]
async fn a_payload_shorter_than_a_nonce_hides_one_record() {
    let mut scene = Scene::set().await;
    damage(&scene, |_| "AAAA".into()).await;
    one_record_is_unreadable(&mut scene).await;
}

#[tokio::test]
async fn a_document_without_payload_hides_one_record() {
    let mut scene = Scene::set().await;
    damage(&scene, |_| Value::Null).await;
    one_record_is_unreadable(&mut scene).await;
}

#[tokio::test]
async fn a_record_that_is_not_json_hides_itself() {
    for plaintext in [
        "no JSON at all",
        "",
        "[1,2]",
        "{\"_id\":\"note-1\"",
        "{\"_id\":\"note-1\",\"a\":1,\"a\":2}",
        "{\"n\":1}",
    ] {
        let mut scene = Scene::set().await;
        let session = scene.person.sdk(&scene.world).await;
        let cipher = session.database(&notes()).cipher();
        let sealed = cipher.seal(plaintext.as_bytes(), &mut OsRng.unwrap_err());
        damage(&scene, |_| sealed.clone().into()).await;
        one_record_is_unreadable(&mut scene).await;
    }
}

#[tokio::test]
async fn a_payload_moved_to_another_id_is_not_shown_there() {
    let mut scene = Scene::set().await;
    let other = scene.person.document("notes", "note-2");
    let other = scene
        .person
        .raw(&scene.world, "GET", &other, &Value::Null)
        .await;
    damage(&scene, |_| other["payload"].clone()).await;
    one_record_is_unreadable(&mut scene).await;
}

#[tokio::test]
async fn a_database_written_under_another_key_is_refused_as_a_whole() {
    let mut scene = Scene::set().await;
    let session = scene.person.sdk(&scene.world).await;
    let (database, other) = (
        session.database(&DatabaseName::new("strange").unwrap()),
        session.database(&notes()),
    );
    database.create(&Default::default()).await.unwrap();
    let records: Vec<_> = (0..3)
        .map(|n| prepared(&session, note(n), Save::Insert))
        .collect();
    database.put_all(&records, &other.cipher()).await.unwrap();
    let path = "/api/rest/v1/db/query/strange";
    let refused = scene.node.post(path, &scene.key, &json!({})).await;
    refused.problem(502, "ciphertext-rejected");
    let path = "/api/rest/v1/db/get/strange/note-1";
    let refused = scene.node.get(path, &scene.key).await;
    refused.problem(502, "ciphertext-rejected");
    // The same user's other databases are as they were.
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn a_document_of_100_megabytes_is_counted_and_passed_over() {
    // Longer than a row may be; and one that a row may hold but a record may not.
    for (mebibytes, is_named) in [(100, false), (50, true)] {
        let mut scene = Scene::set().await;
        let path = scene.person.document("notes", "_changes?include_docs=true");
        let feed = scene
            .person
            .raw(&scene.world, "GET", &path, &Value::Null)
            .await;
        let mut rows = feed["results"].clone();
        for row in rows.as_array_mut().unwrap() {
            let number = row["seq"].to_string();
            let number: u64 = number
                .trim_matches('"')
                .split('-')
                .next()
                .unwrap()
                .parse()
                .unwrap();
            row["seq"] = (number + 1).into();
        }
        let rest = rows.to_string()[1..].to_owned();
        scene.lying.lie(move |asked| {
            if !asked.is_snapshot() {
                return if asked.is_live() { Act::Silence } else { Act::Honest };
            }
            let rev = "1-967a00dff5e02add41819138abb3284d";
            let head = format!(
                r#"{{"results":[{{"seq":1,"id":"huge","changes":[{{"rev":"{rev}"}}],"doc":{{"_id":"huge","_rev":"{rev}","payload":""#
            );
            let middle = bytes::Bytes::from(vec![b'A'; 1 << 20]);
            let tail = format!(r#""}}}},{rest},"last_seq":99}}"#);
            let pieces = stream::iter([Ok(head.into())])
                .chain(stream::iter((0..mebibytes).map(move |_| Ok(middle.clone()))))
                .chain(stream::iter([Ok(tail.into())]));
            Act::Stream(pieces.boxed())
        });
        let answer = scene.notes().await;
        assert_eq!(ids(&answer), ["note-0", "note-1", "note-2"]);
        assert_eq!(answer.json()["unreadable"], 1);
        let told = scene.node.note(&scene.key, "huge").await;
        match is_named {
            true => told.problem(502, "ciphertext-rejected"),
            false => told.problem(404, "not-found"),
        };
        scene.bystander.is_unharmed().await;
    }
}
