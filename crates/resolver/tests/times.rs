//! Time that the test moves: how long slow places can hold up a document that is there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use adyton_protocol::address::Address;
use adyton_protocol::did::{Anchor, Did};
use adyton_protocol::did_document::{DidDocument, UnsignedDidDocument};
use adyton_protocol::signature::{PublicKey, Signature};
use adyton_resolver::cache::CacheLimits;
use adyton_resolver::registry::{NoAnswer, Opinion, Registered, Registry};
use adyton_resolver::registry_file::FileRegistry;
use adyton_resolver::resolver::{Asking, Freshness, Party, Purpose, ResolveError, Resolver, Times};
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

/// A registry that answers, until it hangs for a while with every question that it gets.
#[derive(Default)]
struct Moody {
    hangs: AtomicBool,
    asked: AtomicUsize,
}

/// How long it hangs.
const HANGS: Duration = Duration::from_secs(25);

impl Registry for Moody {
    fn lookup<'a>(
        &'a self,
        _did: &'a Did,
        _opinion: Opinion,
    ) -> Pending<'a, Result<Registered, NoAnswer>> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::SeqCst);
            if self.hangs.load(Ordering::SeqCst) {
                tokio::time::sleep(HANGS).await;
            }
            let place = place("there", 1).parse().unwrap();
            Ok(Registered::At(vec![place]))
        })
    }
}

/// A resolver over a moody registry, whose clock says as many seconds as the number.
fn moody(whole: u64) -> (Arc<Moody>, Arc<AtomicU64>, Arc<Resolver>, Did) {
    let (did, document) = document();
    let (registry, seconds) = (Arc::new(Moody::default()), Arc::new(AtomicU64::new(0)));
    let clock = Arc::clone(&seconds);
    let resolver = Resolver::new(
        Arc::clone(&registry) as Arc<dyn Registry>,
        Arc::new(Slow(document)),
        Arc::new(move || UNIX_EPOCH + Duration::from_secs(clock.load(Ordering::SeqCst))),
        CacheLimits::default(),
    );
    let whole = Duration::from_secs(whole);
    let times = Times {
        whole,
        ..Times::default()
    };
    (registry, seconds, Arc::new(resolver.with_times(times)), did)
}

fn nobody(n: u16) -> Did {
    let mut bytes = [0; 20];
    bytes[..2].copy_from_slice(&n.to_be_bytes());
    Did::of_account(Anchor::Polamoy, Address::from_bytes(bytes))
}

#[tokio::test(start_paused = true)]
async fn a_document_that_was_seen_lately_counts_while_the_registry_hangs() {
    let (registry, seconds, resolver, did) = moody(20);
    let found = resolver.resolve(&did, Freshness::Remembered).await;
    assert!(found.unwrap().is_some());
    registry.hangs.store(true, Ordering::SeqCst);
    seconds.store(600, Ordering::SeqCst);
    let found = resolver.resolve(&did, Freshness::Remembered).await;
    assert!(found.unwrap().is_some());
    // Also while so many others wait that it is not even asked for.
    seconds.store(1200, Ordering::SeqCst);
    for n in 0..2_000 {
        let resolver = Arc::clone(&resolver);
        tokio::spawn(async move { resolver.resolve(&nobody(n), Freshness::Remembered).await });
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    let found = resolver.resolve(&did, Freshness::Remembered).await;
    assert!(found.unwrap().is_some());
    let silent = resolver
        .resolve(&nobody(9_999), Freshness::Remembered)
        .await;
    assert_eq!(silent.err(), Some(ResolveError::Time));
}

#[tokio::test(start_paused = true)]
async fn what_is_found_is_kept_though_nobody_waits_for_it_any_more() {
    let (registry, _, resolver, did) = moody(30);
    registry.hangs.store(true, Ordering::SeqCst);
    let impatient = resolver.resolve(&did, Freshness::Remembered);
    let waited = tokio::time::timeout(Duration::from_secs(1), impatient).await;
    assert!(waited.is_err());
    tokio::time::sleep(HANGS).await;
    let began = Instant::now();
    let found = resolver.resolve(&did, Freshness::Remembered).await;
    assert!(found.unwrap().is_some());
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(registry.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn look_ups_of_strangers_hold_up_no_login_and_a_did_waits_for_no_other_one() {
    let (registry, _, resolver, did) = moody(30);
    registry.hangs.store(true, Ordering::SeqCst);
    for n in 0..2_000 {
        let resolver = Arc::clone(&resolver);
        tokio::spawn(async move {
            let did = nobody(n);
            resolver
                .resolve_for(Purpose::LookUp, &did, Freshness::Remembered)
                .await
        });
    }
    for n in 2_000..2_200 {
        let resolver = Arc::clone(&resolver);
        tokio::spawn(async move { resolver.resolve(&nobody(n), Freshness::Remembered).await });
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(registry.asked.load(Ordering::SeqCst), 64 + 200);
    registry.hangs.store(false, Ordering::SeqCst);
    let began = Instant::now();
    let found = resolver.resolve(&did, Freshness::Remembered).await;
    assert!(found.unwrap().is_some());
    assert!(began.elapsed() < Duration::from_millis(5));
}

/// Look-ups of strangers that fill their queue while the registry hangs, and one of this DID that never gets its turn.
async fn look_up_that_gets_no_turn(
    (registry, resolver): (&Moody, &Arc<Resolver>),
    did: &Did,
    first: u16,
) -> Result<bool, ResolveError> {
    registry.hangs.store(true, Ordering::SeqCst);
    // Those who wait longer than the first ones' time come after them.
    for wave in [first, first + 1_000] {
        for n in wave..wave + 1_000 {
            let resolver = Arc::clone(resolver);
            tokio::spawn(async move {
                let did = nobody(n);
                resolver
                    .resolve_for(Purpose::LookUp, &did, Freshness::Remembered)
                    .await
            });
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    let looked_up = resolver
        .resolve_for(Purpose::LookUp, did, Freshness::Asked)
        .await;
    registry.hangs.store(false, Ordering::SeqCst);
    looked_up.map(|found| found.is_some())
}

#[tokio::test(start_paused = true)]
async fn a_look_up_that_got_no_turn_fails_no_login() {
    let (registry, _, resolver, did) = moody(30);
    let looked_up = look_up_that_gets_no_turn((&registry, &resolver), &did, 0).await;
    assert_eq!(looked_up, Err(ResolveError::Time));
    let login = resolver.resolve_for(Purpose::Login, &did, Freshness::Asked);
    assert!(login.await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_look_up_that_got_no_turn_makes_no_old_document_young() {
    let (registry, seconds, resolver, did) = moody(30);
    let first = resolver.resolve(&did, Freshness::Remembered).await;
    assert!(first.unwrap().is_some());
    for (turn, minute) in [(0, 4), (1, 8), (2, 59)] {
        seconds.store(minute * 60, Ordering::SeqCst);
        let looked_up = look_up_that_gets_no_turn((&registry, &resolver), &did, turn * 2_000).await;
        // What was seen lately is told, and stays as old as it is.
        assert_eq!(looked_up, Ok(true));
        let asked = registry.asked.load(Ordering::SeqCst);
        let login = resolver.resolve_for(Purpose::Login, &did, Freshness::Asked);
        assert!(login.await.unwrap().is_some());
        assert_eq!(registry.asked.load(Ordering::SeqCst), asked + 1, "{minute}");
    }
}

/// What comes of a login of an honest party while others fill every turn with DIDs that never answer, and how long it takes.
async fn login_among(purpose: Purpose, parties: u64, each: u16) -> Duration {
    let (registry, _, resolver, did) = moody(30);
    registry.hangs.store(true, Ordering::SeqCst);
    for party in 1..=parties {
        for n in 0..each {
            let resolver = Arc::clone(&resolver);
            let did = nobody(u16::try_from(party).unwrap() * each + n);
            let asking = Asking {
                purpose: Purpose::Login,
                party: Party(party),
            };
            tokio::spawn(async move {
                // Who gives way comes again at once.
                loop {
                    let asked = resolver.resolve_for(asking, &did, Freshness::Remembered);
                    drop(asked.await);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            });
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    registry.hangs.store(false, Ordering::SeqCst);
    let (began, party) = (Instant::now(), Party(0));
    let login = resolver.resolve_for(Asking { purpose, party }, &did, Freshness::Remembered);
    assert!(login.await.unwrap().is_some());
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn addresses_that_fill_all_turns_hold_up_no_other_ones_login() {
    // Sixteen each, of more than a hundred: many times as many as there are turns.
    assert!(login_among(Purpose::Login, 100, 16).await < Duration::from_millis(50));
    // So many that each has one turn: theirs give way after two seconds.
    assert!(login_among(Purpose::Login, 300, 4).await < Duration::from_secs(3));
    // Who is known here waits for no stranger.
    assert!(login_among(Purpose::KnownLogin, 300, 4).await < Duration::from_millis(50));
}
