//! Fuzz target: hostile signature fields and stored answers are errors, never a panic, and nothing unsigned verifies.

#![allow(clippy::unwrap_used)]

use adyton_attest::AnswerKey;
use adyton_attest::signed_answer::{Asked, StoredAnswer, sha256_in, verify};

const KEY: AnswerKey = AnswerKey::new([1; 32]);

const SEEDS: [&str; 6] = [
    r#"sig1=("@status" "content-digest";tr "@method";req);created;nonce="n";alg="ed25519";tag="adyton""#,
    r#"a=();tag="adyton", b=();tag="adyton""#,
    "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:, sha-512=:AA==:",
    r#"{"v":1,"request":{"method":"GET","target_uri":"https://h/"},"answer":{"status":200,"headers":{"signature-input":"s=(\"@status\");created=1;tag=\"adyton\"","signature":"s=:AA==:","content-digest":"x"},"body":""}}"#,
    r#"{"v":1,"request":{"method":"\n","target_uri":"","body":"?"},"answer":{"status":99999,"headers":{},"body":""}}"#,
    "((((((((",
];

fn check(input: &[u8]) {
    if let Ok(answer) = StoredAnswer::from_json(input) {
        assert!(verify(&answer, &KEY).is_err());
        assert_eq!(StoredAnswer::from_json(&answer.to_json()).unwrap(), answer);
    }
    if let Ok(text) = std::str::from_utf8(input) {
        let _ = Asked::parse(text, &KEY);
        let _ = sha256_in(text);
    }
}

#[test]
fn hostile_signatures_are_refused_in_order() {
    SEEDS.iter().for_each(|seed| check(seed.as_bytes()));
    check("(".repeat(200_000).as_bytes());
    bolero::check!().for_each(check);
}
