use super::*;
use crate::authn::{Credential, Origins, Possession, Principal, authenticate};
use adyton_client::schema::SchemaSet;
use base64_simd::STANDARD;
use serde_json::Value;

/// The owner of a session out of the original's, with some bytes more in it.
pub(in crate::grants) fn owner_with(more: usize) -> Principal {
    let vector = include_str!("../../../../vectors/context_session.json");
    let vector: Value = serde_json::from_str(vector).unwrap();
    let mut session = vector["session"].clone();
    let auths = session["contextAuths"].as_object_mut().unwrap();
    let first = auths.values_mut().next().unwrap();
    first["accessToken"] = "x".repeat(more).into();
    let key = STANDARD.encode_to_string(session.to_string());
    let key = Credential::Session(Zeroizing::new(key));
    let clock = Clock::system();
    let possession = Possession::new(Origins::new(None, Vec::new()), clock.clone());
    authenticate(&key, &Grants::new(clock), &possession).unwrap()
}

fn terms() -> Terms {
    let schemas = SchemaSet::embedded().unwrap();
    Terms::parse(r#"{"scopes":["api:ds-query"]}"#, &schemas).unwrap()
}

fn mint(grants: &Grants, owner: &Principal) -> Result<Minted, MintError> {
    grants.mint(&owner.as_owner().unwrap(), terms(), App::Nobody)
}

#[test]
fn who_mints_and_revokes_for_ever_takes_nobodys_room() {
    let (grants, owner) = (Grants::new(Clock::system()), owner_with(0));
    for _ in 0..3 * MAX_ENDED_PER_TENANT {
        let minted = mint(&grants, &owner).unwrap();
        let owner = owner.as_owner().unwrap();
        assert!(grants.revoke(&owner, minted.grant.id).is_some());
        // The newest is always remembered.
        let token = TokenSecret::parse(&minted.token).unwrap();
        assert_eq!(grants.find(&token).unwrap_err(), GrantError::Revoked);
    }
    let held = grants.state.read().unwrap().slots.len();
    assert_eq!(held, MAX_ENDED_PER_TENANT);
}

/// A clock that a test sets, in seconds.
fn set_clock() -> (Arc<AtomicU64>, Clock) {
    let seconds = Arc::new(AtomicU64::new(1_000_000));
    let shown = Arc::clone(&seconds);
    let clock = Clock::of(move || {
        let seconds = shown.load(Ordering::SeqCst);
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    });
    (seconds, clock)
}

#[test]
fn a_clock_that_is_set_back_brings_nothing_back_to_life() {
    let (seconds, clock) = set_clock();
    let (grants, owner) = (Grants::new(clock), owner_with(0));
    let minted = mint(&grants, &owner).unwrap();
    let token = TokenSecret::parse(&minted.token).unwrap();
    assert!(grants.find(&token).is_ok());
    seconds.fetch_add(DEFAULT_LIFE.as_secs(), Ordering::SeqCst);
    assert_eq!(grants.find(&token).unwrap_err(), GrantError::Expired);
    seconds.store(1_000_001, Ordering::SeqCst);
    assert_eq!(grants.find(&token).unwrap_err(), GrantError::Expired);
    assert!(grants.list(&owner.as_owner().unwrap()).is_empty());
}

#[test]
fn the_bytes_of_a_tenants_grants_are_limited_and_not_only_their_number() {
    let (grants, owner) = (Grants::new(Clock::system()), owner_with(45_000));
    let minted = (0..MAX_PER_TENANT).find_map(|n| mint(&grants, &owner).err().map(|e| (n, e)));
    let (count, refused) = minted.unwrap();
    assert_eq!(refused, MintError::TooMany);
    assert!((32..MAX_PER_TENANT).contains(&count), "{count}");
}
