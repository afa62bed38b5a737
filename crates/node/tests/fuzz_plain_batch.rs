//! Foreign bytes as decrypted records: refused, or served as what a whole parser reads in them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use adyton_client::pull::PlainBatch;
use adyton_couch::rev::{Rev, RevHash};
use adyton_node::memory::{Budget, Documents, View};
use serde_json::Value;

const SEEDS: [&str; 6] = [
    r#"{"_id":"a","_rev":"1-x","schema":"https://s/","b":[1,{"c":"\ud83d"}]}"#,
    r#" { "_rev" : null , "_deleted":true, "_id" : "a" , "_conflicts" : [ ] } "#,
    r#"{"\u005fid":"a","_id":"b"}"#,
    r#"{"_id":"\u0061"}"#,
    r#"{"_id":"a","a":1,"a":2}"#,
    r#"{"_id":"a""#,
];

fn check(bytes: &[u8]) {
    let rev = Rev::new(1, RevHash::from_bytes([1; 16])).unwrap();
    let mut batch = PlainBatch::with_capacity(16);
    if batch.push("a", rev, bytes).is_err() {
        assert!(batch.is_empty() && batch.plaintext_bytes() == 0);
        return;
    }
    let mut documents = Documents::new(Budget::new(1 << 20));
    documents.apply(batch).unwrap();
    let document = documents
        .get(&View::whole_database(), "a")
        .unwrap()
        .unwrap();
    let mut served = Vec::new();
    document.write_to(&mut served);
    // A whole parser may refuse lone surrogates and great depth, which are valid JSON.
    let Ok(Value::Object(mut expected)) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    expected.remove("_deleted");
    expected.remove("_conflicts");
    expected.insert("_rev".into(), rev.to_string().into());
    assert_eq!(
        serde_json::from_slice::<Value>(&served).unwrap(),
        Value::Object(expected)
    );
}

#[test]
fn a_record_is_refused_or_served_as_it_is() {
    bolero::check!().for_each(|bytes: &[u8]| check(bytes));
}

#[test]
fn seeds_pass_whole_and_cut() {
    for seed in SEEDS {
        (0..=seed.len()).for_each(|cut| check(&seed.as_bytes()[..cut]));
    }
}
