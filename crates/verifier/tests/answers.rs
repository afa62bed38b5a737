//! The real program on an answer that a node signed, by what was kept of that node.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod node;
mod program;

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, UNIX_EPOCH};

use adyton_attest::signed_answer::{Answered, Asked, Place, StoredAnswer, content_digest};
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use node::{ANSWER_KEY, Lie, Node};
use program::{Ran, verify};
use tempfile::TempDir;

/// The secret half of the node's key (RFC 9421 section B.1.4).
const SECRET: &str = "MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF";

/// A look at a node, kept, and the policy that trusts it.
fn desk() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let node = Node::start(Lie::None);
    fs::write(path("policy.toml"), node.tee.policy()).unwrap();
    let look = [
        "--policy",
        &path("policy.toml"),
        "--save",
        &path("look.json"),
    ];
    let ran = verify(&[&[node.url().as_str()], &look[..]].concat());
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    folder
}

fn signed() -> StoredAnswer {
    let secret = STANDARD.decode(SECRET).unwrap();
    let secret = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&secret).unwrap();
    let asked = Asked::parse("sig=();nonce=\"n-1\";tag=\"adyton\"", &ANSWER_KEY);
    let body = b"{\"items\":[]}".to_vec();
    let digest = content_digest(&body);
    let answered = Answered {
        method: "GET",
        target_uri: "https://node.example/api/rest/v1/ds/get/x",
        request_digest: None,
        status: 200,
        content_type: None,
        content_digest: &digest,
        place: Place::Headers,
    };
    let at = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let to_be_signed = answered.to_be_signed(&asked.unwrap().unwrap(), at, &ANSWER_KEY);
    let to_be_signed = to_be_signed.unwrap();
    let (input, signature) = to_be_signed.fields(secret.sign(to_be_signed.base()).as_ref());
    let headers = [
        ("content-digest", digest.clone()),
        ("signature-input", input),
        ("signature", signature),
    ];
    StoredAnswer {
        method: answered.method.to_owned(),
        target_uri: answered.target_uri.to_owned(),
        request_digest: None,
        request_body: Vec::new(),
        status: 200,
        headers: headers.map(|(name, value)| (name.to_owned(), value)).into(),
        trailers: BTreeMap::new(),
        body,
    }
}

fn judge(desk: &TempDir, answer: &[u8]) -> Ran {
    let path = |name: &str| desk.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("answer.json"), answer).unwrap();
    verify(&[
        "answer",
        &path("answer.json"),
        "--evidence",
        &path("look.json"),
        "--policy",
        &path("policy.toml"),
    ])
}

#[test]
fn an_answer_is_proven_by_the_key_that_the_nodes_evidence_vouches_for() {
    let desk = desk();
    let ran = judge(&desk, &signed().to_json());
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    let first = "GET https://node.example/api/rest/v1/ds/get/x was answered with 200, 12 bytes\n";
    assert!(ran.out.starts_with(first), "{}", ran.out);
    assert!(
        ran.out
            .contains("signed at 2027-01-15T08:00:00Z by the node's own clock"),
        "{}",
        ran.out
    );
    assert!(
        ran.out.contains("for the asker's nonce \"n-1\""),
        "{}",
        ran.out
    );
    assert!(
        ran.out
            .ends_with("SIGNED, BUT SIMULATED: it proves nothing.\n"),
        "{}",
        ran.out
    );
}

#[test]
fn an_answer_that_was_changed_is_not() {
    let desk = desk();
    let changes: [fn(&mut StoredAnswer); 4] = [
        |answer| answer.status = 201,
        |answer| answer.body.push(b' '),
        |answer| answer.method = "POST".to_owned(),
        |answer| answer.target_uri.push('y'),
    ];
    for change in changes {
        let mut answer = signed();
        change(&mut answer);
        let ran = judge(&desk, &answer.to_json());
        assert_eq!(ran.status, 1, "{}{}", ran.out, ran.err);
        assert!(ran.out.starts_with("NOT PROVEN: "), "{}", ran.out);
    }
}

#[test]
fn a_node_that_the_policy_does_not_trust_proves_nothing() {
    let desk = desk();
    fs::write(desk.path().join("policy.toml"), "version = 1").unwrap();
    let ran = judge(&desk, &signed().to_json());
    assert_eq!(ran.status, 1, "{}{}", ran.out, ran.err);
    assert!(
        ran.out.contains("the node's evidence does not hold"),
        "{}",
        ran.out
    );
    for garbage in [b"".as_slice(), b"{}"] {
        assert_eq!(judge(&desk, garbage).status, 2);
    }
}
