//! The same tree, read as CouchDB reads it: a field that is missing fulfils nothing but `$exists: false`, and a negation
//! is the opposite operator, which wants the field too.

use super::condition::{Condition, Relation, Test};
use super::operand::Operand;
use crate::lazy_json::Kind;

/// What CouchDB means by what was parsed. Depth is bounded by the parser; the tree grows by a constant factor.
pub(super) fn translated(condition: Condition) -> Condition {
    match condition {
        Condition::All(all) => Condition::All(all.into_iter().map(translated).collect()),
        Condition::Any(any) => Condition::Any(any.into_iter().map(translated).collect()),
        Condition::None(none) => Condition::All(none.into_iter().map(opposite).collect()),
        Condition::Not(not) => opposite(*not),
        Condition::Member { slot, path, is } => Condition::Member {
            slot,
            path,
            is: Box::new(translated(*is)),
        },
        Condition::Below { path, is } => Condition::Below {
            path,
            is: Box::new(translated(*is)),
        },
        Condition::Is(test) => plain(test),
    }
}

/// The negation, pushed down to the operators.
fn opposite(condition: Condition) -> Condition {
    match condition {
        Condition::All(all) => Condition::Any(all.into_iter().map(opposite).collect()),
        Condition::Any(any) => Condition::All(any.into_iter().map(opposite).collect()),
        Condition::None(none) => Condition::Any(none.into_iter().map(translated).collect()),
        Condition::Not(not) => translated(*not),
        Condition::Member { slot, path, is } => Condition::Member {
            slot,
            path,
            is: Box::new(opposite(*is)),
        },
        Condition::Below { path, is } => Condition::Below {
            path,
            is: Box::new(opposite(*is)),
        },
        Condition::Is(Test::Compare(relation, operand)) => plain(match relation {
            Relation::Less => Test::Compare(Relation::GreaterOrEqual, operand),
            Relation::LessOrEqual => Test::Compare(Relation::Greater, operand),
            Relation::Equal => Test::NotEqual(operand),
            Relation::GreaterOrEqual => Test::Compare(Relation::Less, operand),
            Relation::Greater => Test::Compare(Relation::LessOrEqual, operand),
        }),
        Condition::Is(Test::NotEqual(operand)) => plain(Test::Compare(Relation::Equal, operand)),
        Condition::Is(Test::Exists(wanted)) => plain(Test::Exists(!wanted)),
        Condition::Is(Test::OneOf(operands)) => plain(Test::NoneOf(operands)),
        Condition::Is(Test::NoneOf(operands)) => plain(Test::OneOf(operands)),
        Condition::Is(test) => existing(Condition::Not(Box::new(plain(test)))),
    }
}

fn plain(test: Test) -> Condition {
    match test {
        Test::NotEqual(operand) => existing(Condition::Is(Test::NotEqual(operand))),
        // Null is a value like another here.
        Test::OneOf(operands) if has_null(&operands) => either_null(Test::OneOf(operands)),
        Test::NoneOf(operands) if !has_null(&operands) => either_null(Test::NoneOf(operands)),
        Test::AnyElement(element) => {
            Condition::Is(Test::AnyElement(Box::new(translated(*element))))
        }
        Test::EveryElement(element) => {
            Condition::Is(Test::EveryElement(Box::new(translated(*element))))
        }
        Test::Compare(..)
        | Test::Exists(_)
        | Test::OneOf(_)
        | Test::NoneOf(_)
        | Test::Size(_)
        | Test::Remainder { .. }
        | Test::Matches(_)
        | Test::Contains(_)
        | Test::Type(_) => Condition::Is(test),
    }
}

fn existing(condition: Condition) -> Condition {
    Condition::All(vec![Condition::Is(Test::Exists(true)), condition])
}

fn either_null(test: Test) -> Condition {
    let null = Operand::new(&serde_json::Value::Null);
    Condition::Any(vec![
        Condition::Is(test),
        Condition::Is(Test::Compare(Relation::Equal, null)),
    ])
}

fn has_null(operands: &[Operand]) -> bool {
    operands.iter().any(|operand| operand.kind() == Kind::Null)
}

#[cfg(test)]
mod tests {
    use super::super::{FieldPath, Selector};

    #[test]
    fn missing_and_null_fields_answer_as_in_couchdb() {
        let document = br#"{"null":null,"n":5}"#;
        for (selector, missing, null) in [
            (r#"{"F":{"$eq":null}}"#, false, true),
            (r#"{"F":{"$ne":1}}"#, false, true),
            (r#"{"F":{"$ne":null}}"#, false, false),
            (r#"{"F":{"$exists":false}}"#, true, false),
            (r#"{"F":{"$not":{"$exists":true}}}"#, true, false),
            (r#"{"F":{"$in":[null,1]}}"#, false, true),
            (r#"{"F":{"$in":[1]}}"#, false, false),
            (r#"{"F":{"$nin":[1]}}"#, false, true),
            (r#"{"F":{"$nin":[null]}}"#, false, false),
            (r#"{"F":{"$not":{"$in":[1]}}}"#, false, true),
            (r#"{"F":{"$not":{"$gt":1}}}"#, false, true),
            (r#"{"$not":{"F":{"$gt":1}}}"#, false, true),
            (r#"{"$not":{"F":1}}"#, false, true),
            (r#"{"$nor":[{"F":1},{"F":2}]}"#, false, true),
            (r#"{"$nor":[{"F":1,"n":5}]}"#, false, true),
            (r#"{"$nor":[{"F":1,"n":4}]}"#, true, true),
            (r#"{"F":{"$not":{"$regex":"x"}}}"#, false, true),
            (r#"{"F":{"$not":{"$not":{"$eq":null}}}}"#, false, true),
            (r#"{"$not":{"$nor":[{"n":5}]},"F":{"$lt":1}}"#, false, true),
        ] {
            let takes = |name| {
                let selector = Selector::parse_as_couchdb(&selector.replace('F', name)).unwrap();
                selector.takes(document)
            };
            assert_eq!(
                (takes("absent"), takes("null")),
                (missing, null),
                "{selector}"
            );
        }
    }

    #[test]
    fn a_field_is_required_when_nothing_without_it_is_taken() {
        for (selector, required) in [
            ("{}", false),
            (r#"{"a":1}"#, true),
            (r#"{"a":{"$exists":false}}"#, false),
            (r#"{"a":{"$ne":1}}"#, true),
            (r#"{"a":{}}"#, false),
            (r#"{"a":{"b":1}}"#, true),
            (r#"{"$or":[{"a":1},{"b":1}]}"#, false),
            (r#"{"$or":[{"a":1},{"b":1,"a":{"$gt":2}}]}"#, true),
            (r#"{"$nor":[{"a":1}]}"#, true),
            (r#"{"$and":[{"b":1},{"a":{"$regex":"x"}}]}"#, true),
        ] {
            let parsed = Selector::parse_as_couchdb(selector).unwrap();
            assert_eq!(
                parsed.requires(&FieldPath::parse("a").unwrap()),
                required,
                "{selector}"
            );
        }
        let nested = Selector::parse_as_couchdb(r#"{"a":{"b":{"$gt":1}}}"#).unwrap();
        assert!(nested.requires(&FieldPath::parse("a.b").unwrap()));
    }
}
