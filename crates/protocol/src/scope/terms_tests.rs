use proptest::prelude::*;

use super::super::tests::{Directory, database, datastore};
use super::super::{ApiScope, NotGranted};
use super::*;

const EMAIL: &str = "ds:https://common.schemas.verida.io/social/email/v0.1.0/schema.json";

fn parse(value: impl Into<Value>) -> Result<Terms, InvalidTerms> {
    Terms::parse(&value.into().to_string(), &Directory)
}

fn narrowed(terms: &Terms, action: Action, resource: &Resource) -> Option<Value> {
    let covered = terms.covers(action, resource)?;
    Some(covered.narrowing.map_or(Value::Null, value_of))
}

#[test]
fn terms_are_read_and_written_in_one_form() {
    let terms = parse(json!({
        "rate": { "seconds": 3600, "requests": 600 },
        "scopes": ["ds:rw:social-email", "db:r:favourite", "api:ds-query", "ds:social-email"],
        "narrow": [
            { "target": "ds:social-email", "without": ["to.email", "messageText", "to", "messageText"],
              "from": "2026-01-01T02:00:00+02:00", "until": "2026-02-01" },
            { "target": "db:favourite", "until": "2026-01-01T00:00:00.250Z", "without": null },
        ],
        "purpose": "To sort your mail.",
        "expiresIn": 600,
    }));
    let terms = terms.unwrap();
    let text = terms.to_text();
    assert_eq!(
        text,
        concat!(
            r#"{"expiresIn":600,"narrow":[{"target":"db:favourite","until":"2026-01-01T00:00:00.25Z"},"#,
            r#"{"from":"2026-01-01T00:00:00Z","target":"ds:https://common.schemas.verida.io/social/email/v0.1.0/schema.json","#,
            r#""until":"2026-02-01T00:00:00Z","without":["messageText","to"]}],"purpose":"To sort your mail.","#,
            r#""rate":{"requests":600,"seconds":3600},"scopes":["api:ds-query","db:r:favourite","#,
            r#""ds:r:https://common.schemas.verida.io/social/email/v0.1.0/schema.json","#,
            r#""ds:rw:https://common.schemas.verida.io/social/email/v0.1.0/schema.json"]}"#,
        )
    );
    assert_eq!(Terms::parse(&text, &Directory), Ok(terms.clone()));
    assert!(terms.is_within(&terms));
}

#[test]
fn what_is_not_understood_or_has_no_effect_refuses_all() {
    let email = |more: Value| {
        let mut narrowing = json!({ "target": EMAIL });
        narrowing
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!({ "scopes": ["ds:r:social-email", "db:r:favourite"], "narrow": [narrowing] })
    };
    for (terms, reason) in [
        (json!([]), InvalidTerms::NotAnObject),
        (
            json!({ "scopes": [] }),
            InvalidTerms::Scopes(InvalidScopeSet::Empty),
        ),
        (
            json!({ "scopes": "api:ds-query" }),
            InvalidTerms::Wrong("scopes", "a list of texts"),
        ),
        (
            json!({ "scopes": ["api:ds-query"], "scope": [] }),
            InvalidTerms::Unknown,
        ),
        (
            email(json!({ "without": ["a"], "fields": [] })),
            InvalidTerms::Unknown,
        ),
        (
            email(json!({ "without": ["_id"] })),
            InvalidTerms::Field(InvalidFieldName::Needed),
        ),
        (
            email(json!({ "without": ["schema"] })),
            InvalidTerms::Field(InvalidFieldName::Needed),
        ),
        (
            email(json!({ "without": [""] })),
            InvalidTerms::Field(InvalidFieldName::Text),
        ),
        (
            email(json!({ "without": ["a..b"] })),
            InvalidTerms::Field(InvalidFieldName::Text),
        ),
        (
            email(json!({ "without": ["a.0.b"] })),
            InvalidTerms::Field(InvalidFieldName::Text),
        ),
        (
            email(json!({ "without": ["a\\.b"] })),
            InvalidTerms::Field(InvalidFieldName::Text),
        ),
        (
            email(json!({ "without": [7] })),
            InvalidTerms::Field(InvalidFieldName::Text),
        ),
        (
            email(json!({ "target": "db:favourite2", "without": ["a"] })),
            InvalidTerms::NothingToNarrow,
        ),
        (
            email(json!({ "target": "ds:r:social-email", "without": ["a"] })),
            InvalidTerms::Target(InvalidScope::Actions),
        ),
        (
            email(json!({ "target": "ds:wr:social-email", "without": ["a"] })),
            InvalidTerms::Target(InvalidScope::Actions),
        ),
        (
            email(json!({ "target": "db:user_wallet", "without": ["a"] })),
            InvalidTerms::Target(InvalidScope::NeverGrantable),
        ),
        (
            json!({ "scopes": ["db:r:favourite"], "narrow": [
                { "target": "db:favourite", "without": ["a"] }, { "target": "db:favourite", "until": "2026-01-01" },
            ] }),
            InvalidTerms::Twice,
        ),
        (
            json!({ "scopes": ["ds:r:favourite", "db:w:favourite"],
                "narrow": [{ "target": "ds:favourite", "without": ["a"] }] }),
            InvalidTerms::Void,
        ),
    ] {
        assert_eq!(parse(terms.clone()), Err(reason), "{terms}");
    }
    for terms in [
        email(json!({})),
        email(json!({ "from": "2026-01-01T00:00:00" })),
        email(json!({ "from": 7 })),
        email(json!({ "from": "2026-01-02", "until": "2026-01-02" })),
        email(json!({ "without": vec!["a"; Narrowing::MAX_FIELDS + 1] })),
        json!({ "scopes": ["api:ds-query"], "purpose": "x".repeat(Terms::MAX_PURPOSE + 1) }),
        json!({ "scopes": ["api:ds-query"], "purpose": "two\nlines" }),
        json!({ "scopes": ["api:ds-query"], "purpose": "" }),
        json!({ "scopes": ["api:ds-query"], "expiresIn": 0 }),
        json!({ "scopes": ["api:ds-query"], "expiresIn": Terms::MAX_EXPIRES_IN + 1 }),
        json!({ "scopes": ["api:ds-query"], "expiresIn": 1.5 }),
        json!({ "scopes": ["api:ds-query"], "rate": { "requests": 1 } }),
        json!({ "scopes": ["api:ds-query"], "rate": { "requests": 0, "seconds": 1 } }),
        json!({ "scopes": ["api:ds-query"], "narrow": {} }),
        json!({ "scopes": ["api:ds-query"], "narrow": vec![json!({}); Terms::MAX_NARROWINGS + 1] }),
    ] {
        assert!(
            matches!(parse(terms.clone()), Err(InvalidTerms::Wrong(..))),
            "{terms}"
        );
    }
    let long = " ".repeat(Terms::MAX_LENGTH + 1);
    assert_eq!(Terms::parse(&long, &Directory), Err(InvalidTerms::TooLong));
}

#[test]
fn a_narrowing_holds_for_its_target_and_the_widest_scope_wins() {
    let terms = parse(json!({
        "scopes": ["ds:r:favourite", "db:rw:favourite", "ds:r:social-email"],
        "narrow": [{ "target": "db:favourite", "without": ["uri"] }],
    }))
    .unwrap();
    let without = json!({ "target": "db:favourite", "without": ["uri"] });
    assert_eq!(
        narrowed(&terms, Action::Read, &database("favourite")),
        Some(without.clone())
    );
    assert_eq!(
        narrowed(&terms, Action::Read, &datastore("favourite")),
        Some(Value::Null)
    );
    assert_eq!(
        narrowed(&terms, Action::Write, &datastore("favourite")),
        Some(without)
    );
    assert_eq!(
        narrowed(&terms, Action::Read, &datastore("social/email")),
        Some(Value::Null)
    );
    assert_eq!(
        narrowed(&terms, Action::Delete, &database("favourite")),
        None
    );
}

#[test]
fn approved_terms_lie_within_the_requested_ones() {
    let base = json!({ "scopes": ["ds:rw:social-email", "api:ds-query"], "purpose": "p", "expiresIn": 600,
        "rate": { "requests": 10, "seconds": 60 },
        "narrow": [{ "target": "ds:social-email", "from": "2026-01-01", "without": ["to"] }] });
    let requested = parse(base.clone()).unwrap();
    let change = |name: &str, value: Value| {
        let mut changed = base.clone();
        changed
            .as_object_mut()
            .unwrap()
            .insert(name.to_owned(), value);
        parse(changed).unwrap().is_within(&requested)
    };
    let narrow = |narrowing: Value| {
        let mut narrowing = narrowing;
        narrowing["target"] = "ds:social-email".into();
        change("narrow", json!([narrowing]))
    };
    assert!(change("scopes", json!(["ds:r:social-email"])));
    assert!(change("expiresIn", json!(60)));
    assert!(change("rate", json!({ "requests": 9, "seconds": 61 })));
    assert!(narrow(
        json!({ "from": "2026-01-02", "until": "2026-03-01", "without": ["to", "cc"] })
    ));
    assert!(!change("scopes", json!(["ds:rwd:social-email"])));
    assert!(!change("scopes", json!(["ds:r:social-email", "ds:r:file"])));
    assert!(!change("expiresIn", json!(601)));
    assert!(!change("expiresIn", Value::Null));
    assert!(!change("rate", json!({ "requests": 10, "seconds": 59 })));
    assert!(!change("rate", Value::Null));
    assert!(!change("purpose", json!("another")));
    assert!(!change("narrow", Value::Null));
    assert!(!narrow(json!({ "from": "2025-12-31", "without": ["to"] })));
    assert!(!narrow(json!({ "from": "2026-01-01" })));
    assert!(!narrow(json!({ "without": ["to"] })));
    assert!(!narrow(
        json!({ "from": "2026-01-01", "without": ["to.name"] })
    ));
}

fn any_narrowing() -> impl Strategy<Value = Value> {
    let target = prop::sample::select(vec![
        "ds:social-email",
        "ds:favourite",
        "db:favourite",
        "db:social_email",
    ]);
    let day = prop::option::of(1..5_u8);
    let fields = prop::sample::subsequence(vec!["a", "a.b", "b", "b.c"], 0..4);
    (target, day.clone(), day, fields).prop_map(|(target, from, until, fields)| {
        let day = |day: Option<u8>| day.map(|day| format!("2026-01-0{day}"));
        json!({ "target": target, "from": day(from), "until": day(until), "without": fields })
    })
}

fn any_terms() -> impl Strategy<Value = Terms> {
    let scopes = vec![
        "ds:r:social-email",
        "ds:rw:favourite",
        "db:rwd:favourite",
        "db:r:social_email",
        "db:w:social_email",
        "ds:d:sibling",
        "api:ds-query",
    ];
    let scopes = scopes
        .into_iter()
        .map(|scope| {
            scope.replace(
                "sibling",
                "https://common.schemas.verida.io/sibling/v0.1.0/schema.json",
            )
        })
        .collect::<Vec<_>>();
    let scopes = prop::sample::subsequence(scopes, 1..6);
    let narrow = prop::collection::vec(any_narrowing(), 0..3);
    (scopes, narrow).prop_filter_map("terms", |(scopes, narrow)| {
        parse(json!({ "scopes": scopes, "narrow": narrow })).ok()
    })
}

/// What a reader may see, from the outside: moments and fields.
fn sees(terms: &Terms, action: Action, resource: &Resource) -> Option<Vec<bool>> {
    let covered = terms.covers(action, resource)?;
    let moments = (0..6).map(|day| {
        let moment = Instant::parse(format!("2026-01-0{}", day + 1).as_bytes()).unwrap();
        covered
            .narrowing
            .is_none_or(|one| one.window().contains(moment))
    });
    let timeless = covered.narrowing.is_none_or(|one| one.window().is_always());
    let fields = ["a", "a.b", "b", "b.c", "d"].map(|field| {
        let is_left =
            |left: &FieldName| format!("{field}.").starts_with(&format!("{}.", left.as_str()));
        covered
            .narrowing
            .is_none_or(|one| !one.without().iter().any(is_left))
    });
    Some(moments.chain([timeless]).chain(fields).collect())
}

#[test]
fn a_part_is_what_is_named_of_what_was_granted() {
    let granted = parse(json!({
        "scopes": ["api:ds-query", "api:ds-create", "ds:rw:social-email", "db:rwd:favourite"],
        "narrow": [{ "target": EMAIL, "without": ["messageText"] }, { "target": "db:favourite", "until": "2026-01-01" }],
        "purpose": "To sort your mail.",
    }))
    .unwrap();
    let part = |texts: &[&str]| {
        let asked = ScopeSet::parse(texts.iter().copied(), &Directory).unwrap();
        let part = granted.part(&asked)?;
        Ok::<_, NotGranted>(part.map(|part| granted.only(&part).to_value()))
    };
    let all = granted.scopes().to_texts();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    assert_eq!(part(&all), Ok(None));
    let read_mail = json!({
        "scopes": ["api:ds-query", EMAIL.replace("ds:", "ds:r:")],
        "narrow": [{ "target": EMAIL, "without": ["messageText"] }],
        "purpose": "To sort your mail.",
    });
    assert_eq!(
        part(&["ds:social-email", "api:ds-query"]),
        Ok(Some(read_mail))
    );
    for wider in [
        &["ds:rwd:social-email"][..],
        &["api:ds-query", "api:ds-get-by-id"],
        &["ds:r:favourite"],
        &["db:r:social_email"],
    ] {
        assert_eq!(part(wider), Err(NotGranted), "{wider:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever lies within allows nothing more, for no question; and printing changes nothing.
    #[test]
    fn within_means_nothing_more_is_seen(narrow in any_terms(), wide in any_terms()) {
        prop_assert_eq!(&Terms::parse(&narrow.to_text(), &Directory).unwrap(), &narrow);
        let resources = [
            datastore("social/email"), datastore("favourite"), datastore("sibling"),
            database("favourite"), database("social_email"),
        ];
        let is_less = |less: &Option<Vec<bool>>, more: &Option<Vec<bool>>| match (less, more) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(less), Some(more)) => less.iter().zip(more).all(|(less, more)| !less || *more),
        };
        for resource in &resources {
            for action in Action::ALL {
                let (less, more) = (sees(&narrow, action, resource), sees(&wide, action, resource));
                if narrow.is_within(&wide) {
                    prop_assert!(is_less(&less, &more), "{:?}", resource);
                }
                // One of the covering scopes alone allows all of it, and none allows more.
                let alone: Vec<_> = narrow.scopes().iter().filter_map(|scope| {
                    let target = scope.target()?.to_string();
                    let narrow: Vec<Value> = narrow.narrowings().iter().map(value_of)
                        .filter(|one| one["target"] == target.as_str()).collect();
                    sees(&parse(json!({ "scopes": [scope.to_string()], "narrow": narrow })).unwrap(), action, resource)
                }).collect();
                prop_assert!(alone.iter().all(|one| is_less(&Some(one.clone()), &less)));
                prop_assert_eq!(less.is_some(), !alone.is_empty());
                prop_assert!(less.is_none() || alone.contains(&less.unwrap()));
            }
        }
    }

    /// A part of terms allows what was granted and named, and nothing else; it is narrowed as they are.
    #[test]
    fn a_part_allows_nothing_that_was_not_granted_or_not_named(granted in any_terms(), named in any_terms()) {
        let named = named.scopes();
        let is_one_of = |scopes: &ScopeSet, action, resource: &Resource| scopes.allows(action, resource);
        let Ok(part) = granted.part(named) else {
            // Something was named that was not granted with these letters.
            let is_granted = |one: &Scope| granted.scopes().iter().any(|scope| one == scope);
            prop_assert!(!named.iter().all(is_granted));
            return Ok(());
        };
        let less = part.as_ref().map_or_else(|| granted.clone(), |part| granted.only(part));
        prop_assert!(less.is_within(&granted));
        prop_assert_eq!(&Terms::parse(&less.to_text(), &Directory).unwrap(), &less);
        for resource in [
            datastore("social/email"), datastore("favourite"), datastore("sibling"),
            database("favourite"), database("social_email"),
        ] {
            for action in Action::ALL {
                let [left, named] = [less.scopes(), named].map(|scopes| is_one_of(scopes, action, &resource));
                prop_assert_eq!(left, named, "{:?}", resource);
            }
        }
        for api in ApiScope::ALL {
            prop_assert_eq!(less.scopes().allows_api(api), named.allows_api(api));
        }
    }
}
