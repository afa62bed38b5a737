//! The real program on answers that were kept: whether the node that was judged gave them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod node;
mod program;

use std::fs;
use std::time::{Duration, UNIX_EPOCH};

use adyton_attest::AnswerKey;
use adyton_attest::signed_answer::{Answered, Asked, Place, StoredAnswer, content_digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use node::{Lie, Node, signer};
use program::{Ran, verify};

/// An answer that this key signed.
fn answer(key: &Ed25519KeyPair) -> StoredAnswer {
    let public = AnswerKey::new(key.public_key().as_ref().try_into().unwrap());
    let asked = Asked::parse("s=();nonce=\"n-1\";tag=\"adyton\"", &public).unwrap();
    let body = b"{\"items\":[]}".to_vec();
    let digest = content_digest(&body);
    let answered = Answered {
        method: "GET",
        target_uri: "https://node.example/livez",
        request_digest: None,
        status: 200,
        content_type: None,
        content_digest: &digest,
        place: Place::Headers,
    };
    let created = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let text = answered
        .to_be_signed(&asked.unwrap(), created, &public)
        .unwrap();
    let (input, signature) = text.fields(key.sign(text.base()).as_ref());
    let headers = [
        ("content-digest", digest),
        ("signature-input", input),
        ("signature", signature),
    ];
    StoredAnswer {
        method: "GET".to_owned(),
        target_uri: "https://node.example/livez".to_owned(),
        request_digest: None,
        request_body: Vec::new(),
        status: 200,
        headers: headers.map(|(name, value)| (name.to_owned(), value)).into(),
        trailers: [].into(),
        body,
    }
}

/// A record of a node, and files beside it.
struct Stage {
    folder: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let stage = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let node = Node::start(Lie::None);
        fs::write(stage.path("policy.toml"), node.tee.policy()).unwrap();
        let (policy, record) = (stage.path("policy.toml"), stage.path("look.json"));
        let ran = verify(&[&node.url(), "--policy", &policy, "--save", &record]);
        assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
        stage
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn judge(&self, answer: &[u8], policy: &[&str]) -> Ran {
        let (file, record) = (self.path("answer.json"), self.path("look.json"));
        fs::write(&file, answer).unwrap();
        verify(&[&["answer", &file, "--evidence", &record], policy].concat())
    }
}

#[test]
fn an_answer_by_the_node_that_was_looked_at_is_proven() {
    let stage = Stage::new();
    let policy = stage.path("policy.toml");
    let ran = stage.judge(&answer(&signer()).to_json(), &["--policy", &policy]);
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    for words in [
        "SIMULATED",
        "SIGNED by this node's key at 2027-01-15",
        "to the challenge \"n-1\"",
        "GET https://node.example/livez, 0 bytes asked",
        "200, 12 bytes answered",
    ] {
        assert!(ran.out.contains(words), "{words}: {}", ran.out);
    }
}

#[test]
fn an_answer_by_another_key_or_with_another_body_is_not() {
    let stage = Stage::new();
    let policy = stage.path("policy.toml");
    let mut other = answer(&signer());
    other.body.push(b' ');
    for (answer, words) in [
        (answer(&Ed25519KeyPair::generate().unwrap()), "another key"),
        (other, "body is not the one"),
    ] {
        let ran = stage.judge(&answer.to_json(), &["--policy", &policy]);
        assert_eq!(ran.status, 1, "{}{}", ran.out, ran.err);
        assert!(
            ran.out.contains("NOT PROVEN") && ran.out.contains(words),
            "{}",
            ran.out
        );
    }
    // The signature of a node that is not trusted says nothing, however sound it is.
    let ran = stage.judge(&answer(&signer()).to_json(), &[]);
    assert_eq!(ran.status, 1, "{}{}", ran.out, ran.err);
    assert!(
        ran.out.contains("NOT PROVEN: the node is not trusted"),
        "{}",
        ran.out
    );
}

#[test]
fn a_file_that_is_no_answer_cannot_be_judged() {
    let stage = Stage::new();
    let policy = stage.path("policy.toml");
    for file in [&b""[..], b"{}", b"[[["] {
        let ran = stage.judge(file, &["--policy", &policy]);
        assert_eq!(ran.status, 2, "{}{}", ran.out, ran.err);
        assert!(ran.out.contains("COULD NOT TELL"), "{}", ran.out);
    }
}
