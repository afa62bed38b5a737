//! Foreign bytes as selectors, patterns and documents: refused or evaluated, never a panic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::hint::black_box;

use adyton_couch::collate::Key;
use adyton_couch::lazy_json::{LazyValue, read_object};
use adyton_couch::selector::{FieldPath, Pattern, Selector};

const SELECTORS: [&str; 5] = [
    r#"{"a":{"$gt":1,"$lt":"x"},"$or":[{"b.c":{"$in":[1,"é",null]}},{"d":{"$regex":"^a[^]\\d"}}]}"#,
    r#"{"a":{"$elemMatch":{"b":{"$mod":[3,1]}}},"c":{"$allMatch":{"$type":"string"}}}"#,
    r#"{"$nor":[{"$not":{"a":{"$all":[1,{"x":[]}],"$size":2}}}],"b\\.c":{"$exists":false}}"#,
    r#"{"a":{"$nin":["\u0000","\ud83d\ude00"]},"b":{"c":{"d":{}}}}"#,
    r"{}",
];

#[test]
fn a_selector_is_refused_or_evaluated() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let (selector, document) = bytes.split_at(bytes.len() / 2);
        if let Ok(parsed) = Selector::parse(&String::from_utf8_lossy(selector)) {
            black_box(parsed.takes(document));
            black_box(parsed.conjunction());
        }
        for selector in SELECTORS {
            black_box(Selector::parse(selector).unwrap().takes(bytes));
        }
    });
}

#[test]
fn a_pattern_is_refused_or_matched() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(pattern) = Pattern::new(&text) {
            black_box(pattern.occurs_in(&text));
        }
        if let Ok(path) = FieldPath::parse(&text) {
            assert_eq!(FieldPath::parse(&path.to_string()), Ok(path));
        }
    });
}

#[test]
fn lazy_values_agree_with_a_whole_parser() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let lazy = LazyValue::first_of(bytes);
        if let Some(lazy) = lazy {
            black_box(Key::of(lazy));
            lazy.elements()
                .into_iter()
                .flatten()
                .for_each(|element| drop(Key::of(element)));
        }
        if let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes) {
            let lazy = lazy.unwrap();
            assert_eq!(
                serde_json::from_slice::<serde_json::Value>(lazy.text()).unwrap(),
                value
            );
            if let Some(text) = value.as_str() {
                assert_eq!(lazy.as_text().unwrap().decode(), text);
            }
            assert_eq!(
                lazy.elements().map(Iterator::count),
                value.as_array().map(Vec::len)
            );
        }
    });
}

#[test]
fn seeds_pass_through_all_parsers() {
    for seed in SELECTORS {
        let selector = Selector::parse(seed).unwrap();
        for document in SELECTORS {
            black_box(selector.takes(document.as_bytes()));
            for cut in 0..document.len() {
                black_box(selector.takes(&document.as_bytes()[..cut]));
                Selector::parse(&String::from_utf8_lossy(&document.as_bytes()[..cut])).ok();
            }
        }
    }
}

/// What the checker says must be what a parser by other people says.
fn check_object(bytes: &[u8]) {
    let mut members = Vec::new();
    let checked = read_object(bytes, |member| members.push((member.start, member.end)));
    let parsed = serde_json::from_slice::<serde::de::IgnoredAny>(bytes);
    let is_object = bytes.trim_ascii_start().starts_with(b"{");
    match checked {
        Ok(place) => {
            assert!(parsed.is_ok() && is_object && std::str::from_utf8(bytes).is_ok());
            let lazy = LazyValue::first_of(bytes).unwrap();
            assert_eq!(lazy.text(), &bytes[place]);
            let walked = lazy
                .members()
                .unwrap()
                .map(|member| (member.start, member.end));
            assert!(walked.eq(members));
        }
        Err(_) => {
            let deep = bytes
                .iter()
                .filter(|byte| matches!(byte, b'[' | b'{'))
                .count()
                > 100;
            let utf8 = std::str::from_utf8(bytes).is_ok();
            assert!(parsed.is_err() || !is_object || !utf8 || deep, "{bytes:?}");
        }
    }
}

#[test]
fn the_checker_agrees_with_a_whole_parser() {
    bolero::check!().for_each(|bytes: &[u8]| check_object(bytes));
}

#[test]
fn the_checker_agrees_on_text_that_is_almost_json() {
    // Random bytes are hardly ever JSON: this builds texts out of JSON's own pieces.
    const PIECES: [&str; 24] = [
        "{", "}", "[", "]", ",", ":", "\"", "a", "\\", "\\n", "\\u00e9", "1", "-", "0", ".5",
        "e+1", "true", "null", "false", " ", "\n", "é", "\"b\":", "\"x\"",
    ];
    bolero::check!().for_each(|picks: &[u8]| {
        let text: String = picks
            .iter()
            .map(|pick| PIECES[*pick as usize % PIECES.len()])
            .collect();
        check_object(text.as_bytes());
        check_object(format!("{{\"a\":{text}}}").as_bytes());
        check_object(format!("{{\"a\":[{text}]}}").as_bytes());
        check_object(format!("{{\"a\":\"{text}\"}}").as_bytes());
    });
}
