//! Any bytes as a consent: without the right key's signature nothing is accepted, never a panic; signed by it, only what is canonical.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::{Duration, UNIX_EPOCH};

use adyton_oauth::client_id::ClientId;
use adyton_oauth::consent::{Consent, Expected, LegacyConsent, LegacyExpected};
use adyton_oauth::origin::Origin;
use adyton_oauth::redirect_uri::RedirectUri;
use adyton_protocol::did::{Anchor, Did};
use adyton_protocol::hash::keccak256;
use adyton_protocol::signature::{PublicKey, Signature};
use secp256k1::ecdsa::RecoverableSignature;
use secp256k1::{Message, SecretKey};

fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let secret = SecretKey::from_secret_bytes([1; 32]).unwrap();
    let public = PublicKey::from_curve(secp256k1::PublicKey::from_secret_key(&secret));
    let message = Message::from_digest(keccak256(text.as_bytes()));
    let signature = Signature::from_recoverable(RecoverableSignature::sign_ecdsa_recoverable(
        message, &secret,
    ));
    let did = Did::of_account(Anchor::Polpos, public.address());
    let client = ClientId::Did(did.clone());
    let origin = Origin::parse("https://node.example").unwrap();
    let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let expected = Expected {
        nonce: "n",
        audience: &origin,
        client: &client,
        redirect_uri: &RedirectUri::parse("https://app.example/b").unwrap(),
        signer: &public.address(),
        now,
    };
    if Consent::verify(text, &signature, &expected).is_ok() {
        assert!(text.starts_with(r#"{"audience":"https://node.example","client":"did:vda"#));
    }
    let expected = LegacyExpected {
        user: &did,
        signer: &public.address(),
        client: &client,
        audience: &origin,
        redirect_uri: "https://app.example/b",
        now,
    };
    if let Ok(consent) = LegacyConsent::verify(text, &signature, &expected) {
        assert!(consent.once().1 >= now);
    }
}

#[test]
fn any_bytes_as_a_consent() {
    bolero::check!().for_each(check);
}

#[test]
fn seeds() {
    for seed in [
        r#"{"audience":"https://node.example","client":"x","nonce":"n","notAfter":1800000100,"notBefore":1800000000,"redirectUri":"https://app.example/b","terms":{}}"#,
        r#"{"appDID":"did:vda:polpos:0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a","userDID":"x","scopes":[],"payer":"app","timestamp":1800000000}"#,
        r#"{"notAfter":1e400}"#,
        "null",
        "",
    ] {
        check(seed.as_bytes());
    }
}
