//! Records of a look at a node: read back as written, judged as of their own moment, and hostile ones refused.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod forge;

use std::time::Duration;

use adyton_attest::appraise;
use adyton_attest::appraise::Reason;
use adyton_attest::record::{MAX_RECORD_BYTES, Record, RecordError};
use forge::{HOUR, Scene, now};
use serde_json::Value;

fn record(scene: &Scene) -> Record {
    Record {
        node: "https://node.example".to_owned(),
        at: now() + Duration::from_millis(1234),
        seen: scene.seen.clone(),
        evidence: scene.evidence(),
    }
}

fn changed(change: impl FnOnce(&mut Value)) -> Result<Record, RecordError> {
    let text = record(&Scene::new()).to_json().unwrap();
    let mut value: Value = serde_json::from_slice(&text).unwrap();
    change(&mut value);
    Record::from_json(&serde_json::to_vec(&value).unwrap())
}

#[test]
fn a_record_is_judged_again_as_of_its_own_moment() {
    let scene = Scene::new();
    let kept = record(&scene);
    let read = Record::from_json(&kept.to_json().unwrap()).unwrap();
    assert_eq!((&read.node, read.at), (&kept.node, kept.at));
    assert_eq!(read.evidence, kept.evidence);
    let policy = scene.policy("");
    let again = appraise(&read.evidence, &policy, &read.seen, read.at).unwrap();
    assert_eq!(again.spki(), &scene.seen.spki);
    // By today's clock it is as stale as any other.
    let refused = appraise(&read.evidence, &policy, &read.seen, now() + HOUR).unwrap_err();
    assert!(matches!(refused.reason(), Reason::Stale { .. }));
}

#[test]
fn a_look_without_a_challenge_is_kept_as_one() {
    let mut scene = Scene::new();
    scene.seen.nonce = None;
    let read = Record::from_json(&record(&scene).to_json().unwrap()).unwrap();
    assert_eq!(read.seen.nonce, None);
}

#[test]
fn marks_that_are_none_are_refused() {
    for (mark, wrong) in [
        ("spki", "AQID"),
        ("spki", "?"),
        ("exporter", "ab"),
        ("nonce", "ab"),
    ] {
        let refused = changed(|value| value["seen"][mark] = wrong.into());
        assert!(matches!(refused, Err(RecordError::Seen)), "{mark}");
    }
    let version = changed(|value| value["version"] = 2.into());
    assert!(matches!(version, Err(RecordError::Version { found: 2 })));
    let misspelt = changed(|value| value["sen"] = 2.into());
    assert!(matches!(misspelt, Err(RecordError::Json(_))));
    let evidence = changed(|value| value["evidence"]["v"] = 9.into());
    assert!(matches!(evidence, Err(RecordError::Evidence(_))));
    let node = changed(|value| value["node"] = "n".repeat(513).into());
    assert!(matches!(node, Err(RecordError::TooLong)));
}

#[test]
fn one_byte_over_the_limit_is_refused() {
    let mut bytes = record(&Scene::new()).to_json().unwrap();
    bytes.resize(MAX_RECORD_BYTES, b' ');
    assert!(Record::from_json(&bytes).is_ok());
    bytes.push(b' ');
    assert!(matches!(
        Record::from_json(&bytes),
        Err(RecordError::TooLong)
    ));
}
