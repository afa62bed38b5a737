//! Fuzz target: hostile evidence JSON is an error, never a panic; what is read is read back the same.

#![allow(clippy::unwrap_used)]

use adyton_attest::binding::UserData;
use adyton_attest::{Evidence, Nonce};

const SEEDS: [&str; 5] = [
    r#"{"v":1,"tee":"aws-nitro","evidence":"AQID","channel_bound":true,"issued_ms":1,"config":""}"#,
    r#"{"v":1,"tee":"aws-nitro","evidence":"AQID","channel_bound":true,"issued_ms":-1,"config":""}"#,
    r#"{"v":1,"tee":"\ud800","evidence":"","channel_bound":true,"issued_ms":1e400,"config":"\u0000"}"#,
    r#"{"v":1,"tee":"aws-nitro","evidence":"AQID","channel_bound":true,"issued_ms":1,"config":"","keys":{"tls_spki":"MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=","sign":"BQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU=","hpke":"BgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgY="},"batch":{"place":1,"path":["BgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgY="]}}"#,
    r#"[[[[[[[["#,
];

fn check(input: &[u8]) {
    if let Ok(evidence) = Evidence::from_json(input) {
        assert_eq!(Evidence::from_json(&evidence.to_json()).unwrap(), evidence);
    }
    if let Ok(user_data) = UserData::parse(input) {
        assert_eq!(user_data.to_bytes(), input);
    }
    if let Ok(text) = std::str::from_utf8(input) {
        let _ = Nonce::from_hex(text);
    }
}

#[test]
fn hostile_evidence_is_refused_in_order() {
    SEEDS.iter().for_each(|seed| check(seed.as_bytes()));
    check("[".repeat(200_000).as_bytes());
    bolero::check!().for_each(check);
}
