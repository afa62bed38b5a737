//! The real program on what it kept: judged again later, and never mistaken for the present.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod node;
mod program;

use std::fs;

use node::{Lie, Node};
use program::verify;

#[test]
fn a_look_that_was_kept_is_judged_again_and_says_that_it_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (policy, record) = (path("policy.toml"), path("look.json"));
    let node = Node::start(Lie::None);
    fs::write(&policy, node.tee.policy()).unwrap();
    let ran = verify(&[&node.url(), "--policy", &policy, "--save", &record]);
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    let url = node.stop();

    let ran = verify(&["--evidence", &record, "--policy", &policy]);
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    assert!(
        ran.out
            .starts_with(&format!("{url}, as it was looked at 20")),
        "{}",
        ran.out
    );
    assert!(
        ran.out.contains("A record: no node was asked."),
        "{}",
        ran.out
    );
    assert!(
        ran.out
            .ends_with("HELD THEN, BUT SIMULATED: it proves nothing.\n"),
        "{}",
        ran.out
    );
    assert!(!ran.out.contains("pin sha256//"), "{}", ran.out);

    let ran = verify(&["--evidence", &record, "--policy", &policy, "--json"]);
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.status, &report["verdict"]), (0, &"held-then".into()));
    assert!(report["archive_at_ms"].as_u64().unwrap() > 1_700_000_000_000);

    // Another policy, another verdict: nothing of the first one is kept.
    let ran = verify(&["--evidence", &record]);
    assert_eq!(ran.status, 1, "{}{}", ran.out, ran.err);
}

#[test]
fn a_record_of_a_lie_is_kept_and_refused_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (policy, record) = (path("policy.toml"), path("look.json"));
    let node = Node::start(Lie::Exporter);
    fs::write(&policy, node.tee.policy()).unwrap();
    let ran = verify(&[&node.url(), "--policy", &policy, "--save", &record]);
    assert_eq!(ran.status, 1, "{}{}", ran.out, ran.err);
    let ran = verify(&["--evidence", &record, "--policy", &policy]);
    assert_eq!(ran.status, 1, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("step 8c (channel)"), "{}", ran.out);
}

#[test]
fn a_record_that_was_edited_does_not_hold() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (policy, record) = (path("policy.toml"), path("look.json"));
    let node = Node::start(Lie::None);
    fs::write(&policy, node.tee.policy()).unwrap();
    verify(&[&node.url(), "--policy", &policy, "--save", &record]);
    let sound: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    let edits: [fn(&mut serde_json::Value); 4] = [
        |value| value["at_ms"] = (value["at_ms"].as_u64().unwrap() + 400_000).into(),
        |value| value["seen"]["nonce"] = "ab".repeat(32).into(),
        |value| value["seen"]["exporter"] = "ab".repeat(32).into(),
        |value| value["evidence"]["config"] = "b = 2\n".into(),
    ];
    for edit in edits {
        let mut edited = sound.clone();
        edit(&mut edited);
        fs::write(&record, edited.to_string()).unwrap();
        let ran = verify(&["--evidence", &record, "--policy", &policy]);
        assert_eq!(ran.status, 1, "{}{}", ran.out, ran.err);
    }
    for (text, status) in [("{}", 2), ("", 2)] {
        fs::write(&record, text).unwrap();
        let ran = verify(&["--evidence", &record, "--policy", &policy]);
        assert_eq!(ran.status, status, "{}{}", ran.out, ran.err);
    }
}

#[test]
fn what_cannot_be_kept_is_said() {
    let node = Node::start(Lie::None);
    let ran = verify(&[&node.url(), "--save", "/no/such/folder/look.json"]);
    assert_eq!(ran.status, 2, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("/no/such/folder/look.json"), "{}", ran.out);
}
