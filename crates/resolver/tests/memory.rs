//! What is remembered stays within its bounds, whoever is asked for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use adyton_protocol::address::Address;
use adyton_protocol::did::{Anchor, Did};
use adyton_protocol::did_document::{DidDocument, UnsignedDidDocument};
use adyton_protocol::signature::{PublicKey, Signature};
use adyton_resolver::cache::{Cache, CacheLimits};
use adyton_resolver::resolver::ResolveError;
use secp256k1::ecdsa::RecoverableSignature;
use secp256k1::{Message, SecretKey};
use time::OffsetDateTime;

const NOW: SystemTime = UNIX_EPOCH;

fn document(seed: u8) -> DidDocument {
    let key = SecretKey::from_secret_bytes([seed; 32]).unwrap();
    let public = PublicKey::from_curve(secp256k1::PublicKey::from_secret_key(&key));
    let did = Did::of_account(Anchor::Polamoy, public.address());
    let unsigned = UnsignedDidDocument::new(&did, &public, OffsetDateTime::UNIX_EPOCH);
    let message = Message::from_digest(unsigned.proof_digest().unwrap());
    let signed = RecoverableSignature::sign_ecdsa_recoverable(message, &key);
    unsigned
        .sign_with(&Signature::from_recoverable(signed))
        .unwrap()
}

fn nobody(n: u8) -> Did {
    Did::of_account(Anchor::Polamoy, Address::from_bytes([n; 20]))
}

fn knows(cache: &Cache, did: &Did) -> bool {
    cache.fresh(did, NOW, Duration::MAX).is_some()
}

#[test]
fn one_did_too_many_pushes_out_the_one_that_was_kept_longest_ago() {
    let mut cache = Cache::new(CacheLimits {
        entries: 2,
        ..CacheLimits::default()
    });
    let keep = |cache: &mut Cache, n| cache.keep(&nobody(n), Ok(None), NOW).unwrap();
    keep(&mut cache, 1);
    keep(&mut cache, 2);
    // Kept anew: now the second is the oldest.
    keep(&mut cache, 1);
    keep(&mut cache, 3);
    assert_eq!(cache.len(), 2);
    assert!(knows(&cache, &nobody(1)) && !knows(&cache, &nobody(2)) && knows(&cache, &nobody(3)));
}

#[test]
fn dids_without_a_document_push_out_no_document() {
    let mut cache = Cache::new(CacheLimits {
        entries: 2,
        ..CacheLimits::default()
    });
    let document = document(1);
    let did = document.did().clone();
    cache.keep(&did, Ok(Some((document, 9))), NOW).unwrap();
    for n in 1..10 {
        assert!(cache.keep(&nobody(n), Ok(None), NOW).unwrap().is_none());
        let failed = cache.keep(&nobody(n + 100), Err(ResolveError::Registry), NOW);
        assert_eq!(failed.err(), Some(ResolveError::Registry));
    }
    assert_eq!(cache.len(), 2);
    assert!(knows(&cache, &did));
    // It lost its document: now it has no precedence either.
    assert!(cache.keep(&did, Ok(None), NOW).unwrap().is_none());
    cache.keep(&nobody(1), Ok(None), NOW).unwrap();
    cache.keep(&nobody(2), Ok(None), NOW).unwrap();
    assert!(!knows(&cache, &did));
}

#[test]
fn one_byte_too_many_pushes_out_documents_and_one_that_is_too_large_is_not_kept() {
    let mut cache = Cache::new(CacheLimits {
        bytes: 100,
        ..CacheLimits::default()
    });
    let (first, second, third) = (document(1), document(2), document(3));
    let keep = |cache: &mut Cache, document: &DidDocument, length| {
        let found = cache.keep(document.did(), Ok(Some((document.clone(), length))), NOW);
        assert!(found.unwrap().is_some());
    };
    keep(&mut cache, &first, 50);
    keep(&mut cache, &second, 50);
    assert!(knows(&cache, first.did()) && knows(&cache, second.did()));
    // The same document again takes no further room.
    keep(&mut cache, &second, 50);
    assert!(knows(&cache, first.did()));
    keep(&mut cache, &third, 1);
    assert!(!knows(&cache, first.did()) && knows(&cache, second.did()));
    keep(&mut cache, &first, 101);
    assert!(cache.is_empty());
}

#[test]
fn what_was_kept_before_the_clock_was_set_back_is_not_young() {
    let mut cache = Cache::new(CacheLimits::default());
    let later = NOW + Duration::from_secs(3600);
    assert!(cache.keep(&nobody(1), Ok(None), later).unwrap().is_none());
    assert!(!knows(&cache, &nobody(1)));
}

#[test]
fn what_is_forgotten_is_asked_anew_and_keeps_its_version() {
    let mut cache = Cache::new(CacheLimits::default());
    let document = document(1);
    let did = document.did().clone();
    cache.keep(&did, Ok(Some((document, 9))), NOW).unwrap();
    cache.forget(&did);
    assert!(!knows(&cache, &did));
    // Nobody can be asked: what was seen lately counts still.
    let outcome = cache.keep(&did, Err(ResolveError::Registry), NOW).unwrap();
    assert_eq!(outcome.unwrap().did(), &did);
}

#[test]
fn a_failure_makes_no_document_look_asked_for() {
    let limits = CacheLimits::default();
    let mut cache = Cache::new(limits);
    let document = document(1);
    let did = document.did().clone();
    let at = |seconds| NOW + Duration::from_secs(seconds);
    cache.keep(&did, Ok(Some((document, 1))), NOW).unwrap();
    let told = cache.keep(&did, Err(ResolveError::Registry), at(600));
    assert!(told.unwrap().is_some());
    // For those who take it from memory, a failure lasts as long as any.
    let remembered = |seconds| cache.fresh(&did, at(seconds), Duration::MAX).is_some();
    assert!(remembered(604) && !remembered(605));
    // Those who want it asked for are not told that it was.
    assert!(cache.fresh(&did, at(600), Duration::from_secs(5)).is_none());
    // Whoever was not asked in time is told what was seen, for as long as that counts.
    assert!(cache.late(&did, at(3_599)).unwrap().is_some());
    let late = cache.late(&did, at(3_600));
    assert_eq!(late.err(), Some(ResolveError::Time));
}
