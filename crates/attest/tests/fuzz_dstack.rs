//! Fuzz target: hostile dstack documents, agents' answers and collateral are errors, never panics; what is read is read
//! back the same.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[cfg(feature = "tdx")]
mod forge_tdx;

use adyton_attest::tdx::agent::Quoted;
use adyton_attest::tdx::event_log::{Event, EventLog};
use adyton_attest::tdx::{Collateral, Document};

fn check(input: &[u8]) {
    if let Ok(document) = Document::parse(input) {
        assert_eq!(Document::parse(&document.to_cbor()).unwrap(), document);
        let _ = document.event_log.replay();
        let _ = document.event_log.application();
    }
    if let Ok(collateral) = Collateral::from_json(input) {
        assert_eq!(
            Collateral::from_json(&collateral.to_json()).unwrap(),
            collateral
        );
    }
    let _ = Quoted::from_json(input);
}

fn seed() -> Vec<u8> {
    let event = Event::new("compose-hash", vec![2; 32]).unwrap();
    Document {
        quote: vec![4, 0],
        event_log: EventLog::new(vec![event]).unwrap(),
        collateral: None,
        public_key: vec![1],
        user_data: vec![2],
        nonce: Some([3; 32]),
    }
    .to_cbor()
}

#[test]
fn hostile_documents_are_refused_in_order() {
    let seed = seed();
    for end in 0..seed.len() {
        check(&seed[..end]);
    }
    for at in 0..seed.len() {
        let mut flipped = seed.clone();
        if let Some(byte) = flipped.get_mut(at) {
            *byte ^= 0xff;
        }
        check(&flipped);
    }
    check(&[0x9f; 60_000]);
    check("[".repeat(60_000).as_bytes());
    bolero::check!().for_each(check);
}

#[cfg(feature = "tdx")]
#[test]
fn hostile_quotes_are_refused_in_order() {
    use adyton_attest::tdx::INTEL_SGX_ROOT;
    use adyton_attest::tdx::quote::VerifiedQuote;
    use std::time::SystemTime;
    let vendor = forge_tdx::Vendor::new();
    let collateral = vendor.collateral();
    let quote = vendor.quote(&forge_tdx::Guest::new());
    let trusted = [vendor.root(), INTEL_SGX_ROOT];
    let verify =
        |quote: &[u8]| VerifiedQuote::verify(quote, &collateral, &trusted, forge_tdx::now());
    assert!(verify(&quote).is_ok());
    for end in 0..quote.len() {
        assert!(verify(&quote[..end]).is_err(), "cut at {end}");
    }
    bolero::check!().for_each(|input: &[u8]| {
        let _ = VerifiedQuote::verify(input, &collateral, &trusted, SystemTime::UNIX_EPOCH);
        let _ = verify(input);
    });
}
