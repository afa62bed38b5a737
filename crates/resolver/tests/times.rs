//! Time that the test moves: how long slow places can hold up a document that is there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use adyton_protocol::did::{Anchor, Did};
use adyton_protocol::did_document::{DidDocument, UnsignedDidDocument};
use adyton_protocol::signature::{PublicKey, Signature};
use adyton_resolver::cache::CacheLimits;
use adyton_resolver::registry_file::FileRegistry;
use adyton_resolver::resolver::{Freshness, ResolveError, Resolver};
use adyton_resolver::web::{Ask, Pending, Said, Web, WebError};
use secp256k1::ecdsa::RecoverableSignature;
use secp256k1::{Message, SecretKey};
use time::OffsetDateTime;
use tokio::time::Instant;

/// Places that answer after as many milliseconds as their path says: with the document, or that there is none.
struct Slow(DidDocument);

impl Web for Slow {
    fn ask(&self, ask: Ask) -> Pending<'_, Result<Said, WebError>> {
        Box::pin(async move {
            let (kind, millis) = ask
                .url
                .path()
                .trim_start_matches('/')
                .split_once('/')
                .unwrap();
            let wait = Duration::from_millis(millis.parse().unwrap());
            if wait > ask.time {
                tokio::time::sleep(ask.time).await;
                return Err(WebError::Timeout);
            }
            tokio::time::sleep(wait).await;
            let there = kind == "there";
            let body = match there {
                true => self.0.to_json().to_string(),
                false => String::new(),
            };
            Ok(Said {
                status: if there { 200 } else { 404 },
                body: body.into(),
            })
        })
    }
}

fn document() -> (Did, DidDocument) {
    let key = SecretKey::from_secret_bytes([1; 32]).unwrap();
    let public = PublicKey::from_curve(secp256k1::PublicKey::from_secret_key(&key));
    let did = Did::of_account(Anchor::Polamoy, public.address());
    let unsigned = UnsignedDidDocument::new(&did, &public, OffsetDateTime::UNIX_EPOCH);
    let message = Message::from_digest(unsigned.proof_digest().unwrap());
    let signed = RecoverableSignature::sign_ecdsa_recoverable(message, &key);
    let document = unsigned
        .sign_with(&Signature::from_recoverable(signed))
        .unwrap();
    (did, document)
}

/// What comes of it, and after how many milliseconds.
async fn resolve(places: Vec<String>) -> (Result<bool, ResolveError>, u128) {
    let (did, document) = document();
    let file = serde_json::json!({did.lowercase(): places}).to_string();
    let registry = FileRegistry::parse(file.as_bytes()).unwrap();
    let resolver = Resolver::new(
        Arc::new(registry),
        Arc::new(Slow(document)),
        Arc::new(|| UNIX_EPOCH),
        CacheLimits::default(),
    );
    let began = Instant::now();
    let found = resolver.resolve(&did, Freshness::Remembered).await;
    (
        found.map(|found| found.is_some()),
        began.elapsed().as_millis(),
    )
}

fn place(kind: &str, millis: u64) -> String {
    format!("https://{kind}{millis}.example/{kind}/{millis}")
}

#[tokio::test(start_paused = true)]
async fn others_have_two_seconds_once_there_is_a_document_however_they_drip() {
    let mut places = vec![place("there", 100)];
    places.extend((1..15).map(|n| place("gone", n * 1_900)));
    assert_eq!(resolve(places).await, (Ok(true), 2_100));
}

#[tokio::test(start_paused = true)]
async fn a_place_has_ten_seconds_and_silence_is_not_absence() {
    assert_eq!(
        resolve(vec![place("there", 9_000)]).await,
        (Ok(true), 9_000)
    );
    let silent = vec![place("gone", 1), place("gone", 60_000)];
    assert_eq!(resolve(silent).await, (Err(ResolveError::Places), 10_000));
    let gone = vec![place("gone", 1), place("gone", 9_999)];
    assert_eq!(resolve(gone).await, (Ok(false), 9_999));
}
