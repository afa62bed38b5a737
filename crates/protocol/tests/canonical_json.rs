//! Canonical JSON against a model that is written from the rules alone, and against itself.
#![allow(clippy::unwrap_used)]

use adyton_protocol::canonical_json::{NotCanonical, to_string, to_string_lossy_like_reference};
use proptest::prelude::*;
use serde_json::{Map, Number, Value, json};

/// The rules of the format, as plainly as they can be written: members sorted into a list, decimal keys
/// first by number, the others by their UTF-16 units; everything else as serde_json prints it.
fn model(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            format!(
                "[{}]",
                items.iter().map(model).collect::<Vec<_>>().join(",")
            )
        }
        Value::Object(members) => {
            let mut keys: Vec<&String> = members.keys().collect();
            keys.sort_by_key(|key| {
                let decimal = key
                    .parse::<u64>()
                    .ok()
                    .filter(|number| number.to_string() == **key);
                match decimal {
                    Some(number) => (0, number, Vec::new()),
                    None => (1, 0, key.encode_utf16().collect::<Vec<u16>>()),
                }
            });
            let members = keys
                .iter()
                .map(|key| format!("{}:{}", json!(key), model(&members[*key])));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        scalar => scalar.to_string(),
    }
}

/// Values in which the reference loses nothing and prints numbers as Rust does.
fn faithful_json() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-(1_i64 << 53)..=1 << 53).prop_map(Value::from),
        (-1_000_000_i32..1_000_000).prop_map(|n| json!(f64::from(n) / 64.0 + 1.0 / 128.0)),
        any::<String>().prop_map(Value::from),
    ];
    let key = prop_oneof![
        "[a-zA-Z_é😀\u{fffd}]{0,4}",
        (0_u64..200).prop_map(|n| n.to_string()),
        "0[0-9]{1,2}",
        any::<String>(),
    ];
    let key = key.prop_filter("lost by the reference", |key| {
        key != "__proto__" && !key.parse::<u64>().is_ok_and(|n| n > 1 << 53)
    });
    scalar.prop_recursive(4, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn it_is_what_the_rules_say(value in faithful_json()) {
        prop_assert_eq!(to_string(&value).unwrap(), model(&value));
    }

    #[test]
    fn its_text_means_the_same_value_and_is_its_own_canonical_form(value in faithful_json()) {
        let text = to_string(&value).unwrap();
        let read: Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&to_string(&read).unwrap(), &text);
        prop_assert_eq!(to_string_lossy_like_reference(&value), text);
    }

    /// Two values have one text only when they are equal, up to how a number is spelled.
    #[test]
    fn different_values_have_different_texts(left in faithful_json(), right in faithful_json()) {
        let same_text = to_string(&left).unwrap() == to_string(&right).unwrap();
        prop_assert_eq!(same_text, as_doubles(&left) == as_doubles(&right));
    }

    #[test]
    fn every_double_is_printed_so_that_it_reads_back(number in any::<f64>()) {
        prop_assume!(number.is_finite());
        let text = to_string(&json!(number)).unwrap();
        let read: f64 = text.parse().unwrap();
        prop_assert_eq!(read, number);
    }
}

fn as_doubles(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().and_then(Number::from_f64).into(),
        Value::Array(items) => items.iter().map(as_doubles).collect(),
        Value::Object(members) => Value::Object(
            members
                .iter()
                .map(|(key, member)| (key.clone(), as_doubles(member)))
                .collect(),
        ),
        other => other.clone(),
    }
}

#[test]
fn what_the_reference_loses_is_refused() {
    let with = |key: &str| Value::Object(Map::from_iter([(key.to_owned(), json!(1))]));
    assert_eq!(to_string(&with("__proto__")), Err(NotCanonical::ProtoKey));
    assert_eq!(
        to_string(&with("9007199254740993")),
        Err(NotCanonical::DecimalKey)
    );
    assert_eq!(
        to_string(&with("1000000000000000000000")),
        Err(NotCanonical::DecimalKey)
    );
    assert!(to_string(&with("9007199254740992")).is_ok());
    for number in [
        "9007199254740993",
        "-9007199254740993",
        "18446744073709551615",
    ] {
        let value: Value = serde_json::from_str(number).unwrap();
        assert_eq!(
            to_string(&value),
            Err(NotCanonical::LargeInteger),
            "{number}"
        );
    }
    for (number, text) in [
        ("1e21", "1e+21"),
        ("1e-7", "1e-7"),
        ("-0.0", "0"),
        ("1.50", "1.5"),
        ("1e5", "100000"),
    ] {
        let value: Value = serde_json::from_str(number).unwrap();
        assert_eq!(to_string(&value).unwrap(), text);
    }
}
