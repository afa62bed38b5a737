//! Grants that are written down and brought back, without a storage node.

use std::sync::Arc;

use adyton_client::clock::Clock;
use adyton_client::schema::SchemaSet;
use adyton_oauth::approval::Requested;
use adyton_oauth::client::Client;
use adyton_oauth::form::Parameters;
use adyton_oauth::pkce::Challenge;
use adyton_oauth::redirect_uri::RedirectUri;
use adyton_protocol::database::DatabaseName;
use adyton_protocol::schema::SchemaUri;
use adyton_protocol::scope::{Action, Resource, Terms};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::authn::Principal;
use crate::grants::grant::GrantError;
use crate::grants::store::{CodeBinding, Grants, TokenPair};
use crate::grants::token::TokenSecret;

/// Grants that remember what is to be kept.
fn grants() -> Grants {
    let grants = Grants::new(Clock::system());
    grants.note_changes();
    grants
}

fn schemas() -> SchemaSet {
    SchemaSet::embedded().unwrap()
}

/// Everything that changed, as it would be kept.
fn changes(grants: &Grants) -> Vec<(Uuid, Option<Value>)> {
    let next = || {
        grants
            .next_change(&schemas())
            .map(|(change, text)| (change.id, text))
    };
    std::iter::from_fn(next).collect()
}

/// Another node, after a restart.
fn restarted(kept: &[(Uuid, Option<Value>)]) -> Grants {
    let grants = grants();
    for (id, text) in kept {
        grants.take_back(*id, text.clone().unwrap(), &schemas());
    }
    grants
}

/// An app with its first tokens.
fn pair(grants: &Grants, owner: &Principal) -> TokenPair {
    let schemas = schemas();
    let terms = json!({
        "scopes": ["api:ds-query", "ds:r:social-email"], "purpose": "to help", "expiresIn": 86400,
        "narrow": [{ "target": "ds:social-email", "from": "2026-01-01T00:00:00Z", "without": ["messageText"] }],
    });
    let terms = Terms::from_value(terms, &schemas).unwrap();
    let approved = Requested::new(terms.clone()).narrow(terms).unwrap();
    let did = owner.tenant().did();
    let back = RedirectUri::parse("https://app.example/back").unwrap();
    let client = Arc::new(Client::of_did(did, vec![back]));
    let query =
        "code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256";
    let binding = CodeBinding {
        redirect_uri: "https://app.example/back".to_owned(),
        challenge: Challenge::of(&Parameters::parse(query.as_bytes()).unwrap()).unwrap(),
        key: None,
    };
    let owner = owner.as_owner().unwrap();
    let code = grants.authorize(&owner, approved, client, binding).unwrap();
    // A code is not kept: it lives for a minute.
    assert!(changes(grants).iter().all(|(_, text)| text.is_none()));
    let code = TokenSecret::parse_any(&code).unwrap();
    grants.exchange(&code, |_| Ok(()), None).unwrap()
}

fn secret(text: &str) -> TokenSecret {
    TokenSecret::parse_any(text).unwrap()
}

#[test]
fn a_grant_comes_back_as_it_was() {
    let (before, owner) = (grants(), crate::grants::store::tests::owner_with(0));
    let tokens = pair(&before, &owner);
    let kept = changes(&before);
    assert_eq!(kept.len(), 1);
    let after = restarted(&kept);
    let [was, is] = [&before, &after].map(|grants| grants.find(&secret(&tokens.access)).unwrap());
    assert_eq!(is.id(), was.id());
    assert_eq!(is.terms().to_text(), was.terms().to_text());
    assert_eq!(is.tenant(), owner.tenant());
    assert_eq!(
        is.app().client().unwrap().to_kept(),
        was.app().client().unwrap().to_kept()
    );
    let session = is.unseal_session().unwrap();
    let owner = owner.as_owner().unwrap();
    assert_eq!(*session.expose_json(), *owner.session().expose_json());
    assert_eq!(after.list(&owner).len(), 1);
    // What came back is not a change.
    assert!(changes(&after).is_empty());
}

#[test]
fn a_refresh_token_that_was_used_before_the_restart_ends_the_grant_after_it() {
    let (before, owner) = (grants(), crate::grants::store::tests::owner_with(0));
    let first = pair(&before, &owner);
    let second = before.refresh(&secret(&first.refresh), None, None).unwrap();
    let after = restarted(&changes(&before));
    let third = after.refresh(&secret(&second.refresh), None, None).unwrap();
    assert!(after.find(&secret(&third.access)).is_ok());
    assert!(after.refresh(&secret(&first.refresh), None, None).is_err());
    let ended = after.find(&secret(&third.access)).unwrap_err();
    assert_eq!(ended, GrantError::Revoked);
    // And that is kept, too: nothing of it stays.
    assert!(matches!(changes(&after).as_slice(), [(_, None)]));
}

#[test]
fn a_token_for_less_comes_back_for_less_and_one_for_more_brings_nothing_back() {
    let (before, owner) = (grants(), crate::grants::store::tests::owner_with(0));
    let first = pair(&before, &owner);
    let less = before.refresh(&secret(&first.refresh), Some("api:ds-query"), None);
    let less = less.unwrap();
    let mut kept = changes(&before);
    let after = restarted(&kept);
    let live = after.find(&secret(&less.access)).unwrap();
    assert_eq!(live.scopes().to_texts(), ["api:ds-query"]);
    let whole = after.find(&secret(&first.access)).unwrap();
    assert_eq!(whole.scopes().count(), 2);
    // What was written otherwise is none of ours.
    let text = kept[0].1.as_mut().unwrap().to_string();
    let more = text.replace(r#"["api:ds-query"]"#, r#"["api:ds-create"]"#);
    assert_ne!(text, more);
    kept[0].1 = serde_json::from_str(&more).unwrap();
    let after = restarted(&kept);
    assert!(after.find(&secret(&less.access)).is_err());
    assert!(after.find(&secret(&first.access)).is_err());
}

#[test]
fn what_is_kept_opens_nothing_without_a_token() {
    let (before, owner) = (grants(), crate::grants::store::tests::owner_with(0));
    let tokens = pair(&before, &owner);
    let kept = changes(&before);
    let text = kept[0].1.as_ref().unwrap().to_string();
    // Neither the session nor a token is in it, in no part.
    let session = owner.as_owner().unwrap().session().expose_json();
    let session: Value = serde_json::from_slice(&session).unwrap();
    let signature = session["signature"].as_str().unwrap();
    assert!(!text.contains(&signature[2..34]));
    for token in [&tokens.access, &tokens.refresh] {
        assert!(!text.contains(&token[5..25]));
    }
    // Whoever has all of it and a token of something else has nothing.
    let after = restarted(&kept);
    let other = TokenSecret::generate();
    assert_eq!(after.find(&other).unwrap_err(), GrantError::Unknown);
    let read = read(
        kept[0].0,
        kept[0].1.clone().unwrap(),
        &schemas(),
        Clock::system().now(),
    );
    for (_, key, _) in read.unwrap().tokens {
        assert!(key.open(&other).is_none());
    }
}

#[test]
fn what_ended_here_is_not_brought_back_by_an_older_text() {
    let (grants, owner) = (grants(), crate::grants::store::tests::owner_with(0));
    let tokens = pair(&grants, &owner);
    let kept = changes(&grants);
    let (id, text) = kept[0].clone();
    assert!(grants.revoke(&owner.as_owner().unwrap(), id).is_some());
    // The storage node has not heard of it yet, and says what it has.
    grants.take_back(id, text.unwrap(), &schemas());
    let ended = grants.find(&secret(&tokens.access)).unwrap_err();
    assert_eq!(ended, GrantError::Revoked);
    assert!(matches!(changes(&grants).as_slice(), [(_, None)]));
}

#[test]
fn another_form_is_nothing() {
    let (before, owner) = (grants(), crate::grants::store::tests::owner_with(0));
    let tokens = pair(&before, &owner);
    let (id, text) = changes(&before).remove(0);
    let text = text.unwrap();
    let alter = |alter: fn(&mut Value)| {
        let mut text = text.clone();
        alter(&mut text);
        let grants = grants();
        grants.take_back(id, text, &schemas());
        grants.find(&secret(&tokens.access)).is_ok()
    };
    assert!(alter(|_| {}));
    assert!(!alter(|text| text["form"] = json!(2)));
    assert!(!alter(|text| text["more"] = json!(1)));
    assert!(!alter(|text| text["tokens"][0]["hash"] = json!("x")));
    assert!(!alter(|text| text["did"] = json!("did:x")));
    assert!(!alter(|text| text["expires"] = json!(u64::MAX)));
    assert!(!alter(|text| text["expires"] = json!(1)));
    assert!(!alter(|text| {
        let one = text["tokens"][0].clone();
        text["tokens"] = Value::Array(vec![one; MAX_TOKENS + 1]);
    }));
}

/// Somebody who could write into the context, and has a token of her own, gets no session but hers.
#[test]
fn a_session_of_one_tenant_in_the_grant_of_another_does_not_open() {
    let (before, owner) = (grants(), crate::grants::store::tests::owner_with(0));
    let tokens = pair(&before, &owner);
    let (id, text) = changes(&before).remove(0);
    let mut text = text.unwrap();
    text["context"] = json!("Somebody else's");
    let after = grants();
    after.take_back(id, text, &schemas());
    let found = after.find(&secret(&tokens.access)).unwrap();
    assert!(found.unseal_session().is_err());
}

/// The published schemas, and dives in this database.
struct WithDives(&'static str);

impl SchemaDirectory for WithDives {
    fn database_of(&self, schema: &SchemaUri) -> Option<DatabaseName> {
        match schema.as_str() {
            DIVE => DatabaseName::new(self.0).ok(),
            _ => schemas().database_of(schema),
        }
    }
}

const DIVE: &str = "https://dive.example/dive/v1/schema.json";

#[test]
fn a_grant_of_a_schema_of_the_owners_own_comes_back_for_the_database_that_was_granted() {
    let (before, owner) = (grants(), crate::grants::store::tests::owner_with(0));
    let terms = json!({ "scopes": ["api:ds-query", format!("ds:r:{DIVE}"), "ds:r:social-email"] });
    let terms = Terms::from_value(terms, &WithDives("dives")).unwrap();
    let minted = before
        .mint(&owner.as_owner().unwrap(), terms, App::Nobody)
        .unwrap();
    let (id, text) = changes(&before).remove(0);
    let text = text.unwrap();
    assert_eq!(text["own"], json!({ DIVE: "dives" }));
    let covers = |grants: &Grants, database: &'static str| {
        let found = grants.find(&secret(&minted.token)).ok()?;
        let uri = DIVE.parse().unwrap();
        let resource = Resource::datastore(uri, &WithDives(database)).unwrap();
        Some(found.terms().covers(Action::Read, &resource).is_some())
    };
    let after = restarted(&[(id, Some(text.clone()))]);
    assert_eq!(covers(&after, "dives"), Some(true));
    assert_eq!(covers(&after, "diary"), Some(false));
    // Without it, or with one that is never shared, there is no grant at all.
    for database in [
        json!({}),
        json!({ DIVE: "user_wallet" }),
        json!({ DIVE: 7 }),
    ] {
        let mut changed = text.clone();
        changed["own"] = database;
        assert_eq!(covers(&restarted(&[(id, Some(changed))]), "dives"), None);
    }
}

#[test]
fn a_refresh_may_name_a_schema_of_the_owners_own_as_it_was_granted_also_after_a_restart() {
    let (before, owner) = (grants(), crate::grants::store::tests::owner_with(0));
    let terms = json!({ "scopes": ["api:ds-query", format!("ds:rw:{DIVE}")] });
    let terms = Terms::from_value(terms, &WithDives("dives")).unwrap();
    let first = crate::grants::store::tests::pair_for(terms, &before, &owner);
    let all = first.grant.scopes.join(" ");
    let second = before.refresh(&secret(&first.refresh), Some(&all), None);
    let second = second.unwrap();
    assert_eq!(second.grant.scopes.join(" "), all);
    let after = restarted(&changes(&before));
    let token = secret(&second.refresh);
    let another = format!("ds:r:{DIVE}x");
    for wider in [
        &*another,
        "ds:r:social-email",
        "db:r:dives",
        "ds:rwd:nothing",
    ] {
        assert!(after.refresh(&token, Some(wider), None).is_err(), "{wider}");
    }
    let less = format!("ds:r:{DIVE}");
    let third = after.refresh(&token, Some(&less), None).unwrap();
    assert_eq!(third.grant.scopes, [less]);
}

#[test]
fn what_was_kept_cannot_say_what_a_published_schema_is() {
    let (before, owner) = (grants(), crate::grants::store::tests::owner_with(0));
    let tokens = pair(&before, &owner);
    let (id, text) = changes(&before).remove(0);
    let mut text = text.unwrap();
    assert_eq!(text.get("own"), None);
    let email = SchemaUri::of_shortcut("social-email").unwrap();
    text["own"] = json!({ email.as_str(): "diary" });
    let after = restarted(&[(id, Some(text))]);
    let found = after.find(&secret(&tokens.access)).unwrap();
    let resource = Resource::datastore(email, &schemas()).unwrap();
    assert!(found.terms().covers(Action::Read, &resource).is_some());
}

/// Every schema has one database.
struct Everything;

impl SchemaDirectory for Everything {
    fn database_of(&self, _: &SchemaUri) -> Option<DatabaseName> {
        DatabaseName::new("social_email").ok()
    }
}

#[test]
fn any_json_is_a_grant_or_none() {
    let (before, owner) = (grants(), crate::grants::store::tests::owner_with(0));
    let _tokens = pair(&before, &owner);
    let (id, text) = changes(&before).remove(0);
    let genuine = text.unwrap().to_string();
    let now = Clock::system().now();
    bolero::check!()
        .with_type::<(Vec<u8>, u16, u8)>()
        .for_each(|(bytes, at, byte)| {
            let mut altered = genuine.clone().into_bytes();
            let at = usize::from(*at) % altered.len();
            altered[at] = *byte;
            for bytes in [bytes, &altered] {
                if let Ok(text) = serde_json::from_slice(bytes) {
                    let read = read(id, text, &Everything, now);
                    assert!(read.is_none_or(|kept| kept.tokens.len() <= MAX_TOKENS));
                }
            }
        });
}
