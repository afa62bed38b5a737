//! Fuzz target: a hostile record is an error, never a panic.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod forge;

use adyton_attest::record::Record;
use forge::{Scene, now};

#[test]
fn hostile_records_are_refused_in_order() {
    let scene = Scene::new();
    let record = Record {
        node: "https://node.example".to_owned(),
        at: now(),
        seen: scene.seen.clone(),
        evidence: scene.evidence(),
    };
    let seed = record.to_json().unwrap();
    assert!(Record::from_json(&seed).is_ok());
    let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    assert!(Record::from_json(deep.as_bytes()).is_err());
    bolero::check!().for_each(|input: &[u8]| {
        let _ = Record::from_json(input);
        // The input as a list of changes to a genuine record: place (2 bytes), new byte, ...
        let mut bytes = seed.clone();
        for change in input.chunks_exact(3) {
            let at = usize::from(u16::from_be_bytes([change[0], change[1]])) % bytes.len();
            bytes[at] = change[2];
        }
        if let Ok(read) = Record::from_json(&bytes) {
            assert!(Record::from_json(&read.to_json().unwrap()).is_ok());
        }
    });
}
