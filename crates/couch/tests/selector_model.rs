//! Selectors against a model that parses every document and evaluates selectors as plain JSON.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::cmp::Ordering;

use adyton_couch::selector::Selector;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(value) => 1 + u8::from(*value),
        Value::Number(_) => 3,
        Value::String(_) => 4,
        Value::Array(_) => 5,
        Value::Object(_) => 6,
    }
}

fn collate(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            left.as_f64().partial_cmp(&right.as_f64()).unwrap()
        }
        (Value::String(left), Value::String(right)) => {
            left.encode_utf16().cmp(right.encode_utf16())
        }
        (Value::Array(left), Value::Array(right)) => {
            let differing = left
                .iter()
                .zip(right)
                .map(|(l, r)| collate(l, r))
                .find(|o| o.is_ne());
            differing.unwrap_or(left.len().cmp(&right.len()))
        }
        (Value::Object(left), Value::Object(right)) => {
            // Names of this test are ASCII, which serde_json keeps sorted as UTF-16 does.
            let differing = left
                .iter()
                .zip(right)
                .map(|(l, r)| l.0.cmp(r.0).then_with(|| collate(l.1, r.1)));
            differing
                .into_iter()
                .find(|o| o.is_ne())
                .unwrap_or(left.len().cmp(&right.len()))
        }
        _ => rank(left).cmp(&rank(right)),
    }
}

fn at<'v>(value: Option<&'v Value>, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(value?, |value, step| match value {
        Value::Object(object) => object.get(step),
        Value::Array(array) => array.get(step.parse::<usize>().ok()?),
        _ => None,
    })
}

fn holds(selector: &Value, value: Option<&Value>) -> bool {
    selector
        .as_object()
        .unwrap()
        .iter()
        .all(|(name, operand)| match name.strip_prefix('$') {
            Some(operator) => operator_holds(operator, operand, value),
            None if operand.is_object() => holds(operand, at(value, name)),
            None => at(value, name).is_some_and(|value| collate(value, operand).is_eq()),
        })
}

fn operator_holds(operator: &str, operand: &Value, value: Option<&Value>) -> bool {
    let list = || operand.as_array().unwrap().iter();
    let order = value.map(|value| collate(value, operand));
    let listed = |value: &Value| list().any(|one| collate(one, value).is_eq());
    let any_listed = |value: &Value| match value.as_array() {
        Some(array) => array.iter().any(listed),
        None => listed(value),
    };
    let array = value.and_then(Value::as_array);
    match operator {
        "and" => list().all(|one| holds(one, value)),
        "or" => list().any(|one| holds(one, value)),
        "nor" => !list().any(|one| holds(one, value)),
        "not" => !holds(operand, value),
        "eq" => order.is_some_and(Ordering::is_eq),
        "ne" => collate(value.unwrap_or(&Value::Null), operand).is_ne(),
        "lt" => order.is_some_and(Ordering::is_lt),
        "lte" => order.is_some_and(Ordering::is_le),
        "gt" => order.is_some_and(Ordering::is_gt),
        "gte" => order.is_some_and(Ordering::is_ge),
        "exists" => value.is_some() == operand.as_bool().unwrap(),
        "in" => value.is_some_and(|value| !value.is_null() && any_listed(value)),
        "nin" => value.is_some_and(|value| !value.is_null() && !any_listed(value)),
        "all" => array.is_some_and(|array| {
            list().all(|one| array.iter().any(|element| collate(one, element).is_eq()))
        }),
        "size" => array.is_some_and(|array| Some(array.len() as u64) == operand.as_u64()),
        "mod" => value.and_then(Value::as_f64).is_some_and(|number| {
            number.fract() == 0.0
                && number % operand[0].as_f64().unwrap() == operand[1].as_f64().unwrap()
        }),
        "type" => value.is_some_and(|value| {
            let name = match value {
                Value::Null => "null",
                Value::Bool(_) => "boolean",
                Value::Number(_) => "number",
                Value::String(_) => "string",
                Value::Array(_) => "array",
                Value::Object(_) => "object",
            };
            operand == name
        }),
        // The patterns of this test are plain text, some of it anchored.
        "regex" => value.and_then(Value::as_str).is_some_and(|text| {
            let pattern = operand.as_str().unwrap();
            pattern
                .strip_prefix('^')
                .map_or(text.contains(pattern), |start| text.starts_with(start))
        }),
        "elemMatch" => array.is_some_and(|array| array.iter().any(|one| holds(operand, Some(one)))),
        "allMatch" => array.is_some_and(|array| {
            !array.is_empty() && array.iter().all(|one| holds(operand, Some(one)))
        }),
        other => panic!("{other}"),
    }
}

fn scalar() -> impl Strategy<Value = Value> {
    let text = vec!["", "a", "ab", "b\n", "é", "\u{ffff}", "😀", "\u{1}"];
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-3_i64..4).prop_map(Value::from),
        Just(json!(0.5)),
        Just(json!(-0.0)),
        proptest::sample::select(text).prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            proptest::collection::vec((name(), inner), 0..3).prop_map(object),
        ]
    })
}

fn name() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec!["a", "b", "c"])
}

fn object(members: Vec<(&'static str, Value)>) -> Value {
    Value::Object(
        members
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

/// An object of operators and names, to be used on a value.
fn test() -> impl Strategy<Value = Value> {
    let relation = proptest::sample::select(vec!["$eq", "$ne", "$lt", "$lte", "$gt", "$gte"]);
    let list = proptest::sample::select(vec!["$in", "$nin", "$all"]);
    let types = vec!["null", "boolean", "number", "string", "array", "object"];
    let patterns = vec!["", "a", "^a", "^é", "^", "b"];
    let one = |operator: &str, operand: Value| json!({operator: operand});
    let leaf = prop_oneof![
        5 => (relation, value()).prop_map(move |(operator, operand)| one(operator, operand)),
        2 => (list, proptest::collection::vec(value(), 0..3))
            .prop_map(|(operator, operands)| json!({operator: operands})),
        1 => any::<bool>().prop_map(|exists| json!({"$exists": exists})),
        1 => (0_u8..3).prop_map(|size| json!({"$size": size})),
        1 => (1_i8..4, -2_i8..3).prop_map(|(divisor, rest)| json!({"$mod": [divisor, rest]})),
        1 => proptest::sample::select(types).prop_map(|name| json!({"$type": name})),
        1 => proptest::sample::select(patterns).prop_map(|pattern| json!({"$regex": pattern})),
        1 => (name(), scalar()).prop_map(|(name, value)| json!({name: value})),
    ];
    leaf.prop_recursive(3, 10, 3, |inner| {
        let several = proptest::collection::vec(inner.clone(), 0..3);
        let combine = proptest::sample::select(vec!["$and", "$or", "$nor"]);
        let nest =
            proptest::sample::select(vec!["$not", "$elemMatch", "$allMatch", "a", "b", "a.b"]);
        prop_oneof![
            (combine, several).prop_map(|(operator, list)| json!({operator: list})),
            (nest, inner.clone()).prop_map(|(operator, test)| json!({operator: test})),
            (inner.clone(), inner).prop_map(|(mut one, other)| {
                one.as_object_mut()
                    .unwrap()
                    .extend(other.as_object().unwrap().clone());
                one
            }),
        ]
    })
}

/// A selector for documents: names at the top, and combinations of such.
fn selector() -> impl Strategy<Value = Value> {
    let path = proptest::sample::select(vec!["a", "b", "c", "a.b", "b.0", "a.b.c"]);
    let implicit = scalar();
    let leaf = proptest::collection::vec((path, prop_oneof![4 => test(), 1 => implicit]), 0..3)
        .prop_map(object);
    leaf.prop_recursive(2, 6, 3, |inner| {
        let combine = proptest::sample::select(vec!["$and", "$or", "$nor"]);
        prop_oneof![
            (combine, proptest::collection::vec(inner.clone(), 0..3))
                .prop_map(|(operator, list)| json!({operator: list})),
            inner.prop_map(|inner| json!({"$not": inner})),
        ]
    })
}

/// Writes JSON in a way that means the same and looks different: spaces, and escapes where none
/// are needed.
fn write(value: &Value, odd: bool, out: &mut String) {
    let text = |text: &str, out: &mut String| {
        out.push('"');
        for unit in text.encode_utf16() {
            match char::from_u32(unit.into()) {
                Some(plain @ ('a'..='z' | '0'..='9')) if !odd => out.push(plain),
                _ => out.push_str(&format!("\\u{unit:04x}")),
            }
        }
        out.push('"');
    };
    let space = if odd { " \n" } else { "" };
    match value {
        Value::String(string) => text(string, out),
        Value::Array(array) => {
            out.push('[');
            for (at, element) in array.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { space });
                write(element, odd, out);
                out.push_str(space);
            }
            out.push(']');
        }
        Value::Object(object) => {
            out.push('{');
            for (at, (name, member)) in object.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { space });
                text(name, out);
                out.push_str(space);
                out.push(':');
                out.push_str(space);
                write(member, odd, out);
                out.push_str(space);
            }
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn selectors_take_what_the_model_takes(
        selector in selector(),
        documents in proptest::collection::vec(
            proptest::collection::vec((name(), value()), 0..4).prop_map(object), 1..8),
        odd in any::<bool>(),
    ) {
        let parsed = Selector::parse(&selector.to_string()).unwrap();
        for document in documents {
            let mut text = String::new();
            write(&document, odd, &mut text);
            let expected = holds(&selector, Some(&document));
            prop_assert_eq!(parsed.takes(text.as_bytes()), expected, "{} {}", selector, document);
            prop_assert_eq!(parsed.takes(document.to_string().as_bytes()), expected);
        }
    }

    #[test]
    fn every_match_fulfils_the_conjunction(selector in selector(), document in
        proptest::collection::vec((name(), value()), 0..4).prop_map(object)) {
        use adyton_couch::collate::Key;
        use adyton_couch::lazy_json::LazyValue;
        use adyton_couch::selector::{Bound, Relation, walk};
        let parsed = Selector::parse(&selector.to_string()).unwrap();
        let text = document.to_string();
        let conjunction = parsed.conjunction();
        let fulfilled = conjunction.conjuncts.iter().all(|conjunct| {
            let value = walk(LazyValue::first_of(text.as_bytes()).unwrap(), conjunct.path.steps());
            let Some(value) = value else { return false };
            match conjunct.bound {
                Bound::Compare(relation, operand) => {
                    let order = Key::of(value).cmp(operand.key());
                    match relation {
                        Relation::Less => order.is_lt(),
                        Relation::LessOrEqual => order.is_le(),
                        Relation::Equal => order.is_eq(),
                        Relation::GreaterOrEqual => order.is_ge(),
                        Relation::Greater => order.is_gt(),
                    }
                }
                Bound::OneOf(operands) => {
                    let listed = |value| operands.iter().any(|operand| operand.is(value));
                    value.text() != b"null"
                        && value.elements().map_or_else(|| listed(value), |mut all| all.any(listed))
                }
            }
        });
        let taken = parsed.takes(text.as_bytes());
        prop_assert!(!taken || fulfilled);
        prop_assert!(!conjunction.is_whole || taken == fulfilled);
    }
}

#[test]
fn the_model_knows_every_operator() {
    let mut members = Map::new();
    members.insert("$foo".into(), json!(1));
    let known = "$eq $lt $lte $gt $gte $ne $exists $in $nin $size $mod $regex $elemMatch $allMatch \
                 $all $type $and $or $nor $not";
    let error = Selector::parse(&json!({"a": members}).to_string())
        .unwrap_err()
        .to_string();
    for operator in known.split_whitespace() {
        assert!(error.contains(operator), "{operator}");
    }
}
