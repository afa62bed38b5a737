//! Any text as a proof of possession or another JWT: accepted only with a genuine signature, never a panic.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::{Duration, UNIX_EPOCH};

use adyton_oauth::did_signature::SignedRequest;
use adyton_oauth::dpop::{DpopProof, Expected, MAX_PROOF_BYTES};
use adyton_oauth::jws::Jws;
use adyton_oauth::origin::Origin;
use base64_simd::URL_SAFE_NO_PAD;

fn check(bytes: &[u8]) {
    let origin = Origin::parse("https://node.example").unwrap();
    let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let expected = Expected {
        method: "POST",
        origin: &origin,
        path: "/oauth/token",
        access_token: None,
        now,
    };
    let text = String::from_utf8_lossy(bytes);
    let encode = |part: &str| URL_SAFE_NO_PAD.encode_to_string(part);
    // As it is, and as header and claims with nothing of a signature.
    let (header, claims) = text.split_once('\n').unwrap_or((&text, "{}"));
    let wrapped = format!("{}.{}.AAAA", encode(header), encode(claims));
    let did = "did:vda:polpos:0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a";
    for text in [&*text, &wrapped] {
        let _parts = Jws::parse(text, MAX_PROOF_BYTES);
        assert!(DpopProof::verify(text, &expected).is_err());
        assert!(SignedRequest::verify(text, &did.parse().unwrap(), &origin, now).is_err());
    }
    let _target = origin.is_target("/oauth/token", &text);
}

#[test]
fn any_text_as_a_proof() {
    bolero::check!().for_each(check);
}

#[test]
fn seeds() {
    let x = "A".repeat(43);
    for seed in [
        format!(
            r#"{{"typ":"dpop+jwt","alg":"ES256","jwk":{{"kty":"EC","crv":"P-256","x":"{x}","y":"{x}"}}}}"#
        ),
        format!(
            r#"{{"typ":"dpop+jwt","alg":"EdDSA","jwk":{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}}}"#
        ),
        "{\"alg\":\"ES256K\",\"typ\":\"oauth-authz-req+jwt\"}\n{\"exp\":1e400}".to_owned(),
        "..".to_owned(),
        "https://node.example/oauth/token".to_owned(),
    ] {
        check(seed.as_bytes());
    }
}
