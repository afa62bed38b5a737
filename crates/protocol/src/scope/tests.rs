use proptest::prelude::*;

use super::*;

/// Knows the shortcuts, and two schemas that share a database with another or hold secrets.
pub(super) struct Directory;

impl SchemaDirectory for Directory {
    fn database_of(&self, schema: &SchemaUri) -> Option<DatabaseName> {
        let path = schema
            .as_str()
            .strip_prefix("https://common.schemas.verida.io/")?;
        let name = match path.strip_suffix("/v0.1.0/schema.json")? {
            "social/calendar" => "calendar_data".to_owned(),
            "wallets" => "user_wallet".to_owned(),
            "sibling" => "social_email".to_owned(),
            other if SchemaUri::shortcuts().any(|(_, uri)| uri == *schema) => {
                other.replace('/', "_")
            }
            _ => return None,
        };
        DatabaseName::new(name).ok()
    }
}

fn uri(path: &str) -> SchemaUri {
    format!("https://common.schemas.verida.io/{path}/v0.1.0/schema.json")
        .parse()
        .unwrap()
}

pub(super) fn datastore(path: &str) -> Resource {
    Resource::datastore(uri(path), &Directory).unwrap()
}

pub(super) fn database(name: &str) -> Resource {
    Resource::whole_database(DatabaseName::new(name).unwrap())
}

fn set(texts: &[&str]) -> ScopeSet {
    ScopeSet::parse(texts.iter().copied(), &Directory).unwrap()
}

#[test]
fn every_spelling_of_a_datastore_scope_is_one_scope() {
    let email = uri("social/email");
    let encoded = format!("ds:r:base64/{}", email.to_base64());
    let texts = [
        "ds:r:social-email",
        "ds:social-email",
        &encoded,
        &format!("ds:r:{email}"),
        &format!("ds:{email}"),
    ];
    let scopes = set(&texts);
    assert_eq!(scopes.to_texts(), [format!("ds:r:{email}")]);
}

#[test]
fn a_scope_allows_what_it_says_and_nothing_else() {
    let scopes = set(&["ds:rw:social-email", "db:r:favourite", "api:ds-query"]);
    assert!(scopes.allows(Action::Read, &datastore("social/email")));
    assert!(scopes.allows(Action::Write, &datastore("social/email")));
    assert!(!scopes.allows(Action::Delete, &datastore("social/email")));
    // The whole database is more than the one schema in it, and so is a sibling schema.
    assert!(!scopes.allows(Action::Read, &database("social_email")));
    assert!(!scopes.allows(Action::Read, &datastore("sibling")));
    // A whole database includes the datastore inside it.
    assert!(scopes.allows(Action::Read, &datastore("favourite")));
    assert!(!scopes.allows(Action::Write, &datastore("favourite")));
    assert!(scopes.allows_api(ApiScope::DsQuery));
    assert!(!scopes.allows_api(ApiScope::DbQuery));
}

#[test]
fn secrets_are_never_grantable_by_any_name() {
    for name in [
        "user_wallet",
        "USER_WALLET_v2",
        "wallets",
        "storage_database",
        "storage_sync",
        "data_connections",
        "data_connections_sync_log",
        "connections",
        "sync_position",
        "sync_log",
        "api_keys_private",
        "api_keys",
        "keyring",
        "keys",
        "key_backup",
        "private_keys",
        "token_metadata_public",
        "tokens",
        "credential",
        "credential_public",
        "Credentials",
        "security_log",
        "inbox",
        "inbox_item",
        "inbox_entry",
        "outbox_entry",
        "access_receipts",
        "Access_Receipts_2",
    ] {
        for letters in ["r", "w", "d", "rwd"] {
            let text = format!("db:{letters}:{name}");
            let refused = Scope::parse(&text, &Directory);
            assert_eq!(refused, Err(InvalidScope::NeverGrantable), "{text}");
        }
    }
    let wallets = "ds:r:https://common.schemas.verida.io/wallets/v0.1.0/schema.json";
    let refused = Scope::parse(wallets, &Directory);
    assert_eq!(refused, Err(InvalidScope::NeverGrantable));
    // What is like them by chance is not refused.
    for name in [
        "keynotes",
        "favourite",
        "profile_public",
        "my_wallet_photos",
    ] {
        assert!(
            Scope::parse(&format!("db:r:{name}"), &Directory).is_ok(),
            "{name}"
        );
    }
}

#[test]
fn what_is_not_understood_is_refused() {
    for (text, reason) in [
        ("test-scope", InvalidScope::Kind),
        ("", InvalidScope::Kind),
        ("api:everything", InvalidScope::UnknownApi),
        ("ds:rr:social-email", InvalidScope::Actions),
        ("ds:x:social-email", InvalidScope::Actions),
        ("db::favourite", InvalidScope::Actions),
        ("db:favourite", InvalidScope::Actions),
        (
            "ds:r:https://evil.example/schema.json",
            InvalidScope::UnknownSchema,
        ),
        ("db:r:", InvalidScope::Database),
    ] {
        assert_eq!(Scope::parse(text, &Directory), Err(reason), "{text}");
    }
    let many = vec!["api:ds-query"; ScopeSet::MAX_SCOPES + 1];
    assert_eq!(
        ScopeSet::parse(many, &Directory),
        Err(InvalidScopeSet::TooMany)
    );
    assert_eq!(ScopeSet::parse([], &Directory), Err(InvalidScopeSet::Empty));
    let refused = ScopeSet::parse(["api:ds-query", "ds:q:file"], &Directory);
    assert!(matches!(
        refused,
        Err(InvalidScopeSet::Scope(InvalidScopeAt { index: 1, .. }))
    ));
}

fn any_scope_text() -> impl Strategy<Value = String> {
    let letters =
        prop::sample::select(vec!["r", "w", "d", "rw", "wr", "rwd", "dwr", "rd", "x", ""]);
    let targets = prop::sample::select(vec![
        "social-email",
        "file",
        "favourite",
        "social_email",
        "user_wallet",
        "sibling",
        "https://common.schemas.verida.io/sibling/v0.1.0/schema.json",
        "base64/ZmlsZQ",
    ]);
    let kinds = prop::sample::select(vec!["ds", "db", "api", "d"]);
    (kinds, letters, targets)
        .prop_map(|(kind, letters, target)| format!("{kind}:{letters}:{target}"))
}

proptest! {
    /// Printing and parsing again changes nothing, and a set never allows more than one of its members does.
    #[test]
    fn expansion_never_widens(texts in prop::collection::vec(any_scope_text(), 1..6)) {
        let parsed: Vec<Scope> =
            texts.iter().filter_map(|text| Scope::parse(text, &Directory).ok()).collect();
        prop_assume!(!parsed.is_empty());
        let printed: Vec<String> = parsed.iter().map(Scope::to_string).collect();
        let set = ScopeSet::parse(printed.iter().map(String::as_str), &Directory).unwrap();
        let resources = [
            datastore("social/email"), datastore("sibling"), datastore("file"), datastore("favourite"),
            database("social_email"), database("user_wallet"), database("file"), database("favourite"),
        ];
        for resource in &resources {
            for action in Action::ALL {
                let alone = texts.iter().any(|text| {
                    ScopeSet::parse([text.as_str()], &Directory)
                        .is_ok_and(|one| one.allows(action, resource))
                });
                prop_assert_eq!(set.allows(action, resource), alone);
                // The letter must have been asked for in some text that names the database.
                if set.allows(action, resource) {
                    let asked = texts.iter().filter_map(|text| text.split(':').nth(1));
                    prop_assert!(asked.into_iter().any(|letters| letters.contains(action.letter())));
                    prop_assert_ne!(resource.database().as_str(), "user_wallet");
                }
            }
        }
    }
}
