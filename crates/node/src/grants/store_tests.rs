use super::*;
use crate::authn::{Credential, Origins, Possession, Principal, authenticate};
use crate::grants::state::{ACCESS_LIFE, MAX_ENDED_PER_TENANT, MAX_PER_TENANT};
use adyton_client::schema::SchemaSet;
use adyton_oauth::approval::Requested;
use adyton_oauth::client_id::ClientId;
use adyton_oauth::client_metadata;
use adyton_oauth::form::Parameters;
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

const CHALLENGE: &str = "code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

fn client(more: &str) -> Arc<Client> {
    let url = "https://app.example/client.json";
    let Ok(ClientId::Document(url)) = ClientId::parse(url) else {
        panic!()
    };
    let text = format!(
        r#"{{"client_id":"https://app.example/client.json","redirect_uris":["https://app.example/back"]{more}}}"#
    );
    Arc::new(client_metadata::parse(&url, text.as_bytes()).unwrap())
}

fn key(letter: char) -> Thumbprint {
    Thumbprint::parse(&letter.to_string().repeat(43)).unwrap()
}

/// A grant that was approved, and the code for it.
fn approved(grants: &Grants, owner: &Principal, bound_to: Option<Thumbprint>) -> TokenSecret {
    approved_for(terms(), grants, owner, bound_to)
}

fn approved_for(
    terms: Terms,
    grants: &Grants,
    owner: &Principal,
    bound_to: Option<Thumbprint>,
) -> TokenSecret {
    let challenge = format!("{CHALLENGE}&code_challenge_method=S256");
    let binding = CodeBinding {
        redirect_uri: "https://app.example/back".to_owned(),
        challenge: Challenge::of(&Parameters::parse(challenge.as_bytes()).unwrap()).unwrap(),
        key: bound_to,
    };
    let terms = Requested::new(terms.clone()).narrow(terms).unwrap();
    let owner = owner.as_owner().unwrap();
    let code = grants.authorize(&owner, terms, client(""), binding);
    TokenSecret::parse_any(&code.unwrap()).unwrap()
}

fn check(binding: &CodeBinding) -> Result<(), Refused> {
    binding.challenge.met_by(VERIFIER).map(|_| ())
}

fn secret(text: &str) -> TokenSecret {
    TokenSecret::parse_any(text).unwrap()
}

fn code_of(error: ExchangeError) -> &'static str {
    error.0.code.name()
}

#[test]
fn a_code_becomes_tokens_that_open_the_session_and_refresh_tokens_become_the_next() {
    let (grants, owner) = (Grants::new(Clock::system()), owner_with(0));
    let code = approved(&grants, &owner, None);
    let first = grants.exchange(&code, check, None).unwrap();
    assert_eq!(first.access_life, ACCESS_LIFE);
    let live = grants.find(&secret(&first.access)).unwrap();
    assert_eq!(live.unseal_session().unwrap().did(), owner.tenant().did());
    assert_eq!(live.app().client().unwrap().host(), Some("app.example"));
    let second = grants.refresh(&secret(&first.refresh), None, None).unwrap();
    for token in [&first.access, &second.access] {
        let live = grants.find(&secret(token)).unwrap();
        assert_eq!(live.id(), first.grant.id);
        assert!(live.unseal_session().is_ok());
    }
    assert_eq!(grants.list(&owner.as_owner().unwrap()).len(), 1);
    // Neither a code nor a refresh token opens anything itself.
    assert_eq!(grants.find(&code).unwrap_err(), GrantError::Unknown);
    let refresh = secret(&second.refresh);
    assert_eq!(grants.find(&refresh).unwrap_err(), GrantError::Unknown);
}

#[test]
fn a_refresh_token_that_is_used_twice_ends_the_whole_grant() {
    let (grants, owner) = (Grants::new(Clock::system()), owner_with(0));
    let first = grants
        .exchange(&approved(&grants, &owner, None), check, None)
        .unwrap();
    let second = grants.refresh(&secret(&first.refresh), None, None).unwrap();
    let third = grants
        .refresh(&secret(&second.refresh), None, None)
        .unwrap();
    // The first one again: a thief's, or the app's after the thief. Neither keeps anything.
    let again = grants.refresh(&secret(&first.refresh), None, None);
    assert_eq!(code_of(again.unwrap_err()), "invalid_grant");
    for token in [&first.access, &second.access, &third.access] {
        assert_eq!(
            grants.find(&secret(token)).unwrap_err(),
            GrantError::Revoked
        );
    }
    assert!(grants.refresh(&secret(&third.refresh), None, None).is_err());
    assert!(grants.list(&owner.as_owner().unwrap()).is_empty());
}

#[test]
fn a_code_that_is_used_twice_ends_what_it_became() {
    let (grants, owner) = (Grants::new(Clock::system()), owner_with(0));
    let code = approved(&grants, &owner, None);
    let pair = grants.exchange(&code, check, None).unwrap();
    let again = grants.exchange(&code, check, None);
    assert_eq!(code_of(again.unwrap_err()), "invalid_grant");
    let found = grants.find(&secret(&pair.access));
    assert_eq!(found.unwrap_err(), GrantError::Revoked);
}

#[test]
fn a_code_with_another_verifier_is_refused_and_used_up() {
    let (grants, owner) = (Grants::new(Clock::system()), owner_with(0));
    let code = approved(&grants, &owner, None);
    let wrong = |binding: &CodeBinding| binding.challenge.met_by(&"a".repeat(43)).map(|_| ());
    let refused = grants.exchange(&code, wrong, None);
    assert_eq!(code_of(refused.unwrap_err()), "invalid_grant");
    assert!(grants.exchange(&code, check, None).is_err());
}

#[test]
fn a_code_lives_a_minute_an_access_token_ten_and_what_nobody_exchanged_is_forgotten() {
    let (seconds, clock) = set_clock();
    let pass = |more| seconds.fetch_add(more, Ordering::SeqCst);
    let (grants, owner) = (Grants::new(clock), owner_with(0));
    let late = approved(&grants, &owner, None);
    pass(60);
    assert!(grants.exchange(&late, check, None).is_err());
    let _never_exchanged = approved(&grants, &owner, None);
    pass(61);
    let pair = grants
        .exchange(&approved(&grants, &owner, None), check, None)
        .unwrap();
    assert_eq!(grants.list(&owner.as_owner().unwrap()).len(), 1);
    let access = secret(&pair.access);
    pass(599);
    assert!(grants.find(&access).is_ok());
    pass(1);
    assert_eq!(grants.find(&access).unwrap_err(), GrantError::Expired);
    // The grant lives on.
    let next = grants.refresh(&secret(&pair.refresh), None, None).unwrap();
    assert!(grants.find(&secret(&next.access)).is_ok());
    pass(DEFAULT_LIFE.as_secs());
    assert!(grants.refresh(&secret(&next.refresh), None, None).is_err());
}

#[test]
fn tokens_that_are_bound_to_a_key_are_exchanged_with_that_key_only() {
    let (grants, owner) = (Grants::new(Clock::system()), owner_with(0));
    // Bound from the request on: a stolen code is worth nothing without the key.
    for proven in [None, Some(key('E'))] {
        let code = approved(&grants, &owner, Some(key('A')));
        let refused = grants.exchange(&code, check, proven);
        assert_eq!(code_of(refused.unwrap_err()), "invalid_dpop_proof");
    }
    let code = approved(&grants, &owner, Some(key('A')));
    let pair = grants.exchange(&code, check, Some(key('A'))).unwrap();
    assert_eq!(
        grants.find(&secret(&pair.access)).unwrap().key(),
        Some(key('A'))
    );
    // A thief without the key gets nothing, and ends nothing.
    for proven in [None, Some(key('E'))] {
        let refused = grants.refresh(&secret(&pair.refresh), None, proven);
        assert_eq!(code_of(refused.unwrap_err()), "invalid_dpop_proof");
    }
    let next = grants
        .refresh(&secret(&pair.refresh), None, Some(key('A')))
        .unwrap();
    assert_eq!(
        grants.find(&secret(&next.access)).unwrap().key(),
        Some(key('A'))
    );
}

#[test]
fn a_client_that_always_binds_gets_no_token_without_a_key() {
    let (grants, owner) = (Grants::new(Clock::system()), owner_with(0));
    let challenge = format!("{CHALLENGE}&code_challenge_method=S256");
    let binding = CodeBinding {
        redirect_uri: "https://app.example/back".to_owned(),
        challenge: Challenge::of(&Parameters::parse(challenge.as_bytes()).unwrap()).unwrap(),
        key: None,
    };
    let always = client(r#","dpop_bound_access_tokens":true"#);
    let terms = Requested::new(terms()).narrow(terms()).unwrap();
    let code = grants.authorize(&owner.as_owner().unwrap(), terms, always, binding);
    let refused = grants.exchange(&secret(&code.unwrap()), check, None);
    assert_eq!(code_of(refused.unwrap_err()), "invalid_dpop_proof");
}

/// First tokens of an app that may ask for mail and change it.
fn pair_for_mail(grants: &Grants, owner: &Principal) -> TokenPair {
    let schemas = SchemaSet::embedded().unwrap();
    let terms = r#"{"scopes":["api:ds-query","api:ds-update","ds:rw:social-email"]}"#;
    pair_for(Terms::parse(terms, &schemas).unwrap(), grants, owner)
}

/// First tokens of an app for these terms.
pub(in crate::grants) fn pair_for(terms: Terms, grants: &Grants, owner: &Principal) -> TokenPair {
    grants
        .exchange(&approved_for(terms, grants, owner, None), check, None)
        .unwrap()
}

#[test]
fn a_refresh_for_less_opens_less_and_the_next_one_all_again() {
    let (grants, owner) = (Grants::new(Clock::system()), owner_with(0));
    let pair = pair_for_mail(&grants, &owner);
    let less = "api:ds-query ds:r:social-email";
    let second = grants
        .refresh(&secret(&pair.refresh), Some(less), None)
        .unwrap();
    let email = "https://common.schemas.verida.io/social/email/v0.1.0/schema.json";
    let read_mail = ["api:ds-query".to_owned(), format!("ds:r:{email}")];
    assert_eq!(second.grant.scopes, read_mail);
    let live = grants.find(&secret(&second.access)).unwrap();
    assert_eq!(live.scopes().to_texts(), read_mail);
    assert_eq!(live.view().scopes, read_mail);
    let inspected = grants.inspect(&secret(&second.access)).unwrap();
    assert_eq!(inspected.0.scopes, read_mail);
    // The grant and its refresh token are what they were, and so is the token before.
    let all = pair.grant.scopes;
    let inspected = grants.inspect(&secret(&second.refresh)).unwrap();
    assert_eq!(inspected.0.scopes, all);
    assert_eq!(grants.list(&owner.as_owner().unwrap())[0].scopes, all);
    let before = grants.find(&secret(&pair.access)).unwrap();
    assert_eq!(before.scopes().to_texts(), all);
    let third = grants.refresh(&secret(&second.refresh), None, None);
    let third = grants.find(&secret(&third.unwrap().access)).unwrap();
    assert_eq!(third.scopes().to_texts(), all);
}

#[test]
fn a_refresh_for_more_is_refused_and_uses_nothing_up() {
    let (grants, owner) = (Grants::new(Clock::system()), owner_with(0));
    let token = secret(&pair_for_mail(&grants, &owner).refresh);
    for wider in [
        "api:ds-query api:ds-create",
        "ds:rwd:social-email",
        "ds:r:social-chat-message",
        "db:r:social_email",
        "ds:r:https://dive.example/dive/v1/schema.json",
    ] {
        let refused = grants.refresh(&token, Some(wider), None);
        assert_eq!(code_of(refused.unwrap_err()), "invalid_scope", "{wider}");
    }
    assert!(grants.refresh(&token, None, None).is_ok());
}

#[test]
fn an_app_that_refreshes_for_ever_takes_nobodys_room() {
    let (grants, owner) = (Grants::new(Clock::system()), owner_with(0));
    let mut pair = grants
        .exchange(&approved(&grants, &owner, None), check, None)
        .unwrap();
    for _ in 0..3 * MAX_TOKENS {
        pair = grants.refresh(&secret(&pair.refresh), None, None).unwrap();
        assert!(grants.find(&secret(&pair.access)).is_ok());
    }
    assert_eq!(grants.state.read().unwrap().slots.len(), MAX_TOKENS);
}

#[test]
fn revoking_all_ends_every_grant_of_the_owner_and_the_room_is_free_again() {
    let (grants, owner) = (Grants::new(Clock::system()), owner_with(0));
    let minted = mint(&grants, &owner).unwrap();
    let pair = grants
        .exchange(&approved(&grants, &owner, None), check, None)
        .unwrap();
    assert_eq!(grants.revoke_all(&owner.as_owner().unwrap()), 2);
    for token in [&minted.token, &pair.access] {
        assert_eq!(
            grants.find(&secret(token)).unwrap_err(),
            GrantError::Revoked
        );
    }
    let state = grants.state.read().unwrap();
    assert_eq!((state.grants, state.bytes), (0, 0));
}

#[tokio::test]
async fn who_waits_for_the_end_of_a_grant_is_told_at_once_and_who_asks_is_told_by_every_clock() {
    let (seconds, clock) = set_clock();
    let (grants, owner) = (Grants::new(clock), owner_with(0));
    let mint = |terms: &str| {
        let schemas = SchemaSet::embedded().unwrap();
        let terms = Terms::parse(terms, &schemas).unwrap();
        let minted = grants.mint(&owner.as_owner().unwrap(), terms, App::Nobody);
        grants.find(&secret(&minted.unwrap().token)).unwrap()
    };
    let grant = mint(r#"{"scopes":["api:ds-query"]}"#);
    let life = grant.life();
    let waiting = tokio::spawn(async move { life.ended().await });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished() && grant.life().end().is_none());
    grants
        .revoke(&owner.as_owner().unwrap(), grant.id())
        .unwrap();
    assert_eq!(waiting.await.unwrap(), GrantError::Revoked);
    assert_eq!(grant.life().end(), Some(GrantError::Revoked));
    // The clock of the machine says that it is over.
    let grant = mint(r#"{"scopes":["api:ds-query"]}"#);
    let life = grant.life();
    seconds.fetch_add(DEFAULT_LIFE.as_secs(), Ordering::SeqCst);
    assert_eq!(life.end(), Some(GrantError::Expired));
    // The clock of the machine stands still, and time passes all the same.
    let grant = mint(r#"{"scopes":["api:ds-query"],"expiresIn":1}"#);
    assert_eq!(grant.life().ended().await, GrantError::Expired);
}

#[test]
fn the_owner_sees_when_a_grant_was_last_used() {
    let (seconds, clock) = set_clock();
    let (grants, owner) = (Grants::new(clock), owner_with(0));
    let minted = mint(&grants, &owner).unwrap();
    let last = || grants.list(&owner.as_owner().unwrap())[0].last_used;
    assert_eq!(last(), None);
    seconds.fetch_add(5, Ordering::SeqCst);
    grants
        .find(&secret(&minted.token))
        .unwrap()
        .count_use()
        .unwrap();
    let expected = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_005);
    assert_eq!(last(), Some(expected));
}

#[test]
fn a_token_that_is_given_back_ends_its_grant_and_one_that_is_inspected_says_what_it_is() {
    let (grants, owner) = (Grants::new(Clock::system()), owner_with(0));
    let pair = grants
        .exchange(&approved(&grants, &owner, None), check, None)
        .unwrap();
    for token in [&pair.access, &pair.refresh] {
        let (grant, tenant, _) = grants.inspect(&secret(token)).unwrap();
        assert_eq!((grant.id, &tenant), (pair.grant.id, owner.tenant()));
    }
    grants.give_back(&secret(&pair.refresh));
    grants.give_back(&TokenSecret::generate());
    for token in [&pair.access, &pair.refresh] {
        assert!(grants.inspect(&secret(token)).is_none());
    }
}
