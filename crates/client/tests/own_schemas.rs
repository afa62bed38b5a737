//! Schemas of a user's own: documents that nobody vouches for, over the published ones.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use adyton_client::schema::{
    MAX_OWN_BYTES, MAX_OWN_SCHEMAS, MAX_WORK, SchemaError, SchemaSet, Unfit,
};
use adyton_protocol::schema::{SchemaDirectory, SchemaUri};
use serde_json::{Value, json};

const DIVE: &str = "https://dive.example/dive/v1/schema.json";
const EMAIL: &str = "https://common.schemas.verida.io/social/email/v0.1.0/schema.json";
const BASE: &str = "https://core.schemas.verida.io/base/v0.1.0/schema.json";

static PUBLISHED: LazyLock<Arc<SchemaSet>> =
    LazyLock::new(|| Arc::new(SchemaSet::embedded().unwrap()));

fn uri(text: &str) -> SchemaUri {
    text.parse().unwrap()
}

/// A schema of this name with these members beside what it needs.
fn document(name: &str, members: &Value) -> (SchemaUri, String) {
    let mut document = json!({ "$id": name, "title": "Dive", "database": { "name": "dives" } });
    for (name, member) in members.as_object().unwrap() {
        document[name] = member.clone();
    }
    (uri(name), document.to_string())
}

fn set(documents: &[(SchemaUri, String)]) -> (SchemaSet, BTreeMap<SchemaUri, Unfit>) {
    let documents = documents
        .iter()
        .map(|(uri, text)| (uri.clone(), text.as_str()));
    SchemaSet::with_own(&PUBLISHED, documents)
}

/// Why this alone is not fit.
fn refused(members: &Value) -> Unfit {
    let (set, mut unfit) = set(&[document(DIVE, members)]);
    assert!(set.get(DIVE).is_none(), "{members}");
    unfit
        .remove(&uri(DIVE))
        .unwrap_or_else(|| panic!("{members} is fit"))
}

/// What is wrong with it as a JSON Schema.
fn broken(members: &Value) -> String {
    let (set, unfit) = set(&[document(DIVE, members)]);
    assert_eq!(unfit, BTreeMap::new(), "{members}");
    let unfit = set.compile_own(set.get(DIVE).unwrap()).unwrap_err();
    assert_eq!(
        set.validator(DIVE)
            .err()
            .map(|error| matches!(error, SchemaError::Uncompilable { .. })),
        Some(true)
    );
    unfit.violation().unwrap().instance_path.clone()
}

#[test]
fn a_schema_of_ones_own_says_what_a_record_must_be_and_where_it_is_kept() {
    let members = json!({
        "allOf": [{ "$ref": BASE }], "required": ["depth"],
        "properties": { "depth": { "$ref": "#/$defs/metres" }, "site": { "pattern": "^[A-Z]" } },
        "$defs": { "metres": { "type": "number", "maximum": 332 } },
    });
    let (set, unfit) = set(&[document(DIVE, &members)]);
    assert_eq!(unfit, BTreeMap::new());
    assert_eq!(set.database_of(&uri(DIVE)).unwrap().as_str(), "dives");
    assert!(set.get(DIVE).unwrap().is_own() && !set.get(EMAIL).unwrap().is_own());
    let valid = |record: &Value| set.validator(DIVE).unwrap().validate(record).map(|_| ());
    assert_eq!(
        valid(&json!({ "schema": DIVE, "depth": 12, "site": "Blue" })),
        Ok(())
    );
    let invalid = valid(&json!({ "schema": DIVE, "depth": 333, "site": "blue" })).unwrap_err();
    let places: Vec<_> = invalid
        .violations()
        .iter()
        .map(|one| &*one.instance_path)
        .collect();
    assert_eq!(places, ["/depth", "/site"]);
    // What it is made of holds, too; and the published ones are what they were.
    assert!(valid(&json!({ "depth": 12 })).is_err());
    assert!(set.validator(EMAIL).unwrap().validate(&json!({})).is_err());
    assert_eq!(set.iter().count(), PUBLISHED.iter().count() + 1);
}

#[test]
fn nothing_hides_a_published_schema_or_looks_like_one() {
    for name in [
        EMAIL,
        "https://common.schemas.verida.io/social/email/v9.0.0/schema.json",
        "https://vault.schemas.verida.io/anything/schema.json",
        "https://verida.io/schema.json",
    ] {
        let (set, mut unfit) = set(&[document(name, &json!({}))]);
        assert_eq!(unfit.remove(&uri(name)), Some(Unfit::Published), "{name}");
        assert!(set.get(name).is_none_or(|schema| !schema.is_own()));
        assert!(!PUBLISHED.may_be_own(&uri(name)));
    }
    for name in [
        "https://dive.example:443/schema.json",
        "https://dive.example:8443/schema.json",
        "https://Dive.example/schema.json",
        "https://common.schemas.verida.io@dive.example/schema.json",
        "https://dive.example./schema.json",
        "https://dive.example/a/../schema.json",
        "https://dive.example/%73chema.json",
        "https://dive.example\\a/schema.json",
        "https:///schema.json",
        "https://dive.exämple/schema.json",
    ] {
        let (set, mut unfit) = set(&[document(name, &json!({}))]);
        assert_eq!(unfit.remove(&uri(name)), Some(Unfit::Name), "{name}");
        assert!(set.get(name).is_none());
    }
    assert!(PUBLISHED.may_be_own(&uri(DIVE)));
}

#[test]
fn what_a_schema_says_of_itself_is_checked_before_anything_else() {
    assert_eq!(refused(&json!({ "$id": EMAIL })), Unfit::Id);
    assert_eq!(
        refused(&json!({ "$schema": "http://json-schema.org/draft-07/schema#" })),
        Unfit::Dialect
    );
    for title in [
        json!(""),
        json!(7),
        json!(" Dive"),
        json!("a\nb"),
        json!("Dive\u{202e}s"),
        json!("x".repeat(81)),
        Value::Null,
    ] {
        assert_eq!(refused(&json!({ "title": title })), Unfit::Title, "{title}");
    }
    assert_eq!(refused(&json!({ "titlePlural": "\u{200b}" })), Unfit::Title);
    for database in [
        json!({}),
        json!("dives"),
        json!({ "name": "" }),
        json!({ "name": "a\nb" }),
        json!({ "name": "d", "indexes": [] }),
    ] {
        assert_eq!(
            refused(&json!({ "database": database })),
            Unfit::Database,
            "{database}"
        );
    }
    for name in [
        "user_wallet",
        "Wallet",
        "access_receipts",
        "schemas",
        "storage_database",
        "data_connections",
    ] {
        assert_eq!(
            refused(&json!({ "database": { "name": name } })),
            Unfit::NeverShared,
            "{name}"
        );
    }
    for text in ["", "[]", "7", "{"] {
        let (_, unfit) = set(&[(uri(DIVE), text.to_owned())]);
        assert_eq!(unfit[&uri(DIVE)], Unfit::NotAnObject, "{text}");
    }
}

#[test]
fn references_reach_the_published_schemas_and_ones_own_and_nothing_else() {
    for reference in [
        "https://elsewhere.example/schema.json",
        "http://127.0.0.1/schema.json",
        "file:///etc/passwd",
        "other.json",
        "/base/v0.1.0/schema.json",
        "#/$defs/nothing",
        "#anchor",
        "#/%24defs/a",
        "https://dive.example/dive/v1/schema.json#x",
        "#/title",
        "//dive.example/dive/v1/schema.json",
    ] {
        let members = json!({ "$ref": reference, "$defs": { "a": {} } });
        assert_eq!(refused(&members), Unfit::Reference, "{reference}");
    }
    for keyword in [
        "$anchor",
        "$dynamicAnchor",
        "$dynamicRef",
        "unevaluatedProperties",
    ] {
        let members = json!({ "$defs": { "a": { keyword: "x" } } });
        assert_eq!(refused(&members), Unfit::Keyword(keyword));
    }
    let inner = json!({ "$defs": { "a": { "$id": "https://other.example/schema.json" } } });
    assert_eq!(refused(&inner), Unfit::Keyword("$id"));
    // Two of one's own: with the one the other goes.
    let site = "https://dive.example/site/v1/schema.json";
    let dive = document(
        DIVE,
        &json!({ "properties": { "site": { "$ref": format!("{site}#/$defs/name") } } }),
    );
    let of_site = document(site, &json!({ "$defs": { "name": { "type": "string" } } }));
    let (both, unfit) = set(&[dive.clone(), of_site]);
    assert_eq!(unfit, BTreeMap::new());
    let record = json!({ "site": 7 });
    let invalid = both.validator(DIVE).unwrap().validate(&record).unwrap_err();
    assert_eq!(invalid.violations()[0].instance_path, "/site");
    let (_, unfit) = set(&[dive]);
    assert_eq!(unfit[&uri(DIVE)], Unfit::Reference);
}

#[test]
fn a_schema_that_contains_itself_or_doubles_itself_is_refused_before_it_is_compiled() {
    assert_eq!(
        refused(&json!({ "properties": { "next": { "$ref": "#" } } })),
        Unfit::Recursive
    );
    let two = json!({ "$defs": { "a": { "not": { "$ref": "#/$defs/b" } }, "b": { "not": { "$ref": "#/$defs/a" } } } });
    assert_eq!(
        refused(&json!({ "$ref": "#/$defs/a", "$defs": two["$defs"] })),
        Unfit::Recursive
    );
    // Each is the next one twice: 2^30 rules in two kilobytes.
    let doubled: serde_json::Map<String, Value> = (0..30)
        .map(|n| {
            let next = json!({ "$ref": format!("#/$defs/d{}", n + 1) });
            (format!("d{n}"), json!({ "allOf": [next, next] }))
        })
        .chain([("d30".to_owned(), json!({}))])
        .collect();
    let unfit = refused(&json!({ "$ref": "#/$defs/d0", "$defs": doubled }));
    assert!(matches!(unfit, Unfit::TooLarge | Unfit::TooDeep), "{unfit}");
    let chained: serde_json::Map<String, Value> = (0..2_000)
        .map(|n| {
            (
                format!("c{n}"),
                json!({ "$ref": format!("#/$defs/c{}", n + 1) }),
            )
        })
        .chain([("c2000".to_owned(), json!({}))])
        .collect();
    let unfit = refused(&json!({ "$ref": "#/$defs/c0", "$defs": chained }));
    assert!(matches!(unfit, Unfit::TooLong | Unfit::TooDeep), "{unfit}");
    let nested = (0..60).fold(json!({}), |inner, _| json!({ "not": inner }));
    assert_eq!(refused(&nested), Unfit::TooDeep);
    assert_eq!(refused(&json!({ "enum": vec![0; 4_000] })), Unfit::TooLarge);
    let patterns = vec![json!({ "pattern": "a" }); 16];
    assert_eq!(refused(&json!({ "anyOf": patterns })), Unfit::TooLarge);
    assert_eq!(
        refused(&json!({ "description": "x".repeat(MAX_OWN_BYTES) })),
        Unfit::TooLong
    );
}

#[test]
fn what_is_no_json_schema_is_told_with_the_place() {
    assert_eq!(broken(&json!({ "type": "nothing" })), "/type");
    assert_eq!(
        broken(&json!({ "properties": { "a": { "minLength": -1 } } })),
        "/properties/a/minLength"
    );
    // Larger compiled than a pattern may be, and one that is none.
    broken(&json!({ "pattern": "((\\w{100}){100}){100}" }));
    broken(&json!({ "pattern": "(" }));
}

#[test]
fn there_are_so_many_of_one_user_and_so_much_of_them_and_no_more() {
    let names = (0..=MAX_OWN_SCHEMAS).map(|n| format!("https://dive.example/{n:03}/schema.json"));
    let many: Vec<_> = names.map(|name| document(&name, &json!({}))).collect();
    let (all, unfit) = set(&many);
    assert_eq!(
        all.iter().filter(|schema| schema.is_own()).count(),
        MAX_OWN_SCHEMAS
    );
    assert_eq!(unfit.into_values().collect::<Vec<_>>(), [Unfit::TooMany]);
    let large = json!({ "enum": vec![0; 3_900] });
    let names = (0..5).map(|n| format!("https://dive.example/{n}/schema.json"));
    let large: Vec<_> = names.map(|name| document(&name, &large)).collect();
    let (all, unfit) = set(&large);
    assert_eq!(
        unfit.into_values().collect::<Vec<_>>(),
        [Unfit::TooLargeTogether]
    );
    assert!(all.own_bytes() < 17 << 20, "{}", all.own_bytes());
}

#[test]
fn a_record_that_would_take_too_long_to_be_held_to_its_schema_is_refused_at_once() {
    let members = json!({ "properties": { "list": { "items": { "enum": vec![0; 3_000] } } } });
    let (set, _) = set(&[document(DIVE, &members)]);
    let validate = |count| {
        let record = json!({ "list": vec![0; count] });
        set.validator(DIVE)
            .unwrap()
            .validate(&record)
            .map(|_| ())
            .map_err(|invalid| invalid.violations().len())
    };
    assert_eq!(validate(3_000), Ok(()));
    assert_eq!(validate(4_000), Err(1));
}

#[test]
fn a_record_that_breaks_more_rules_than_there_is_memory_for_is_refused_in_one_sentence() {
    let members = json!({ "properties": { "a": { "items": { "allOf": vec![false; 3_900] } } } });
    let (set, unfit) = set(&[document(DIVE, &members)]);
    assert_eq!(unfit, BTreeMap::new());
    let validator = set.validator(DIVE).unwrap();
    // Nearly ten million errors, each of hundreds of bytes; then a few thousand, which are told.
    for (count, messages) in [(2_500, 1), (10, 16)] {
        let record = json!({ "a": vec![0; count] });
        let invalid = validator.validate(&record).unwrap_err();
        assert_eq!(invalid.violations().len(), messages, "{count}");
        let is_short = invalid.violations()[0].message.contains("say where");
        assert_eq!(is_short, messages == 1, "{count}");
    }
    let many = json!({ "schema": EMAIL, "attachments": vec![0; 1_000_000] });
    let invalid = PUBLISHED.validator(EMAIL).unwrap().validate(&many);
    assert_eq!(invalid.unwrap_err().violations().len(), 1);
}

#[test]
fn what_is_no_rule_about_a_record_but_reads_its_texts_as_patterns_is_refused() {
    let format = json!({ "properties": { "a": { "format": "regex" } } });
    assert_eq!(refused(&format), Unfit::Keyword("format: regex"));
    let named = json!({ "properties": { "format": { "format": "date" }, "regex": true } });
    assert_eq!(set(&[document(DIVE, &named)]).1, BTreeMap::new());
}

#[test]
fn a_pattern_reads_no_long_text_and_is_small() {
    broken(&json!({ "pattern": "[ab]*a[ab]{1700}c" }));
    for pattern in [
        "^[A-Z]{2,3}-[0-9]+$",
        "^\\d{4}-\\d{2}$",
        "^[^@ ]+@[^@ ]+$",
        "^(red|green|blue)$",
    ] {
        let (set, unfit) = set(&[document(
            DIVE,
            &json!({ "properties": { "a": { "pattern": pattern } } }),
        )]);
        assert_eq!(unfit, BTreeMap::new());
        let validate = |bytes: usize| {
            let record = json!({ "a": "a".repeat(bytes) });
            let invalid = set.validator(DIVE).unwrap().validate(&record).unwrap_err();
            invalid.violations()[0].keyword.clone()
        };
        assert_eq!(validate(100 << 10), "pattern", "{pattern}");
        assert_eq!(validate(1 << 20), "$id", "{pattern}");
    }
}

#[test]
fn records_that_are_held_to_a_schema_together_take_no_longer_than_one_may() {
    let members = json!({ "properties": { "list": { "items": { "enum": vec![0; 3_000] } } } });
    let (set, _) = set(&[document(DIVE, &members)]);
    let validator = set.validator(DIVE).unwrap();
    let record = json!({ "list": vec![0; 1_500] });
    let mut left = MAX_WORK;
    assert!(validator.validate_within(&record, &mut left).is_ok());
    assert_eq!(left, MAX_WORK - validator.work_of(&record));
    assert!(validator.validate_within(&record, &mut left).is_ok());
    assert!(validator.validate_within(&record, &mut left).is_err());
    // A published one is known, and counts nothing.
    let published = PUBLISHED.validator(EMAIL).unwrap();
    assert_eq!(published.work_of(&record), 0);
}

#[test]
fn every_published_schema_can_be_part_of_ones_own() {
    for schema in PUBLISHED.iter() {
        let (set, unfit) = set(&[document(
            DIVE,
            &json!({ "allOf": [{ "$ref": schema.uri() }] }),
        )]);
        assert_eq!(unfit, BTreeMap::new(), "{}", schema.uri());
        assert!(set.validator(DIVE).is_ok(), "{}", schema.uri());
    }
}
