//! Hostile bytes where terms of a grant are expected: an error, never a panic; what is accepted lies within itself and
//! is printed so that it is accepted again, the same.
#![allow(clippy::unwrap_used)]

use adyton_protocol::database::DatabaseName;
use adyton_protocol::schema::{SchemaDirectory, SchemaUri};
use adyton_protocol::scope::{FieldName, Instant, Narrowing, Terms};

/// Every schema is known: the most permissive directory there can be.
struct Everything;

impl SchemaDirectory for Everything {
    fn database_of(&self, schema: &SchemaUri) -> Option<DatabaseName> {
        DatabaseName::new(schema.as_str().replace("https://", "")).ok()
    }
}

fn check(text: &str) -> bool {
    if let Some(moment) = Instant::parse(text.as_bytes()) {
        assert!(
            moment.date().is_none()
                || Instant::parse(moment.to_string().as_bytes()) == Some(moment)
        );
    }
    if let Ok(field) = FieldName::parse(text) {
        assert_eq!(field.as_str(), text);
        assert!(field.steps().count() <= FieldName::MAX_STEPS);
    }
    let Ok(terms) = Terms::parse(text, &Everything) else {
        return false;
    };
    assert!(terms.narrowings().len() <= Terms::MAX_NARROWINGS);
    let fields = terms.narrowings().iter().map(Narrowing::without);
    assert!(
        fields
            .map(<[_]>::len)
            .all(|count| count <= Narrowing::MAX_FIELDS)
    );
    assert!(terms.is_within(&terms));
    let printed = terms.to_text();
    let again = Terms::parse(&printed, &Everything).unwrap();
    assert_eq!(again.to_text(), printed);
    true
}

#[test]
fn terms() {
    bolero::check!().for_each(|bytes: &[u8]| {
        if let Ok(text) = std::str::from_utf8(bytes) {
            check(text);
        }
    });
}

/// Bytes that lean towards terms: each byte picks a piece of text.
#[test]
fn terms_of_pieces() {
    const PIECES: [&str; 32] = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"scopes\":[",
        "\"ds:r:social-email\"",
        "\"db:rw:mail\"",
        "\"narrow\":[",
        "\"target\":",
        "\"ds:social-email\"",
        "\"db:mail\"",
        "\"from\":",
        "\"until\":",
        "\"2026-01-01\"",
        "\"2026-01-01T10:00:00+14:00\"",
        "\"without\":[",
        "\"a.b\"",
        "\"messageText\"",
        "\"purpose\":",
        "\"sorting\"",
        "\"expiresIn\":",
        "600",
        "\"rate\":",
        "\"requests\":",
        "\"seconds\":",
        "null",
        "\"api:ds-query\"",
        "true",
        "-1",
        "]}",
    ];
    bolero::check!().for_each(|bytes: &[u8]| {
        let pieces = bytes
            .iter()
            .map(|byte| PIECES[usize::from(*byte) % PIECES.len()]);
        check(&pieces.collect::<String>());
    });
}

#[test]
fn genuine_terms_are_accepted() {
    assert!(check(r#"{"scopes":["ds:r:social-email","api:ds-query"]}"#));
    assert!(check(
        r#"{"scopes":["db:r:mail"],"narrow":[{"target":"db:mail","from":"2026-01-01T00:00:00Z","without":["a.b"]}],
            "purpose":"sorting","expiresIn":60,"rate":{"requests":1,"seconds":1}}"#
    ));
}
