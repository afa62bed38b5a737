//! The stretch of an index' order that a selector leaves: what lies outside of it, the selector does not take.
//!
//! Guarantees: nothing that the selector takes is left out (what is in the stretch is still to be asked one by one). Columns are
//! followed from the first for as long as the selector demands one value of each; the next may have a least and a greatest value.

use serde_json::Value;

use super::MAX_COLUMN_BYTES;
use crate::selector::{Bound, FieldPath, Operand, Relation, Selector};

/// A stretch of an index.
#[derive(Debug, Clone)]
pub struct Span<'s> {
    equal: Vec<&'s Operand>,
    least: Option<Edge<'s>>,
    greatest: Option<Edge<'s>>,
}

/// One end of a column's values.
#[derive(Debug, Clone, Copy)]
struct Edge<'s> {
    operand: &'s Operand,
    /// Whether the value itself is outside.
    exclusive: bool,
}

impl<'s> Span<'s> {
    /// How `_explain` writes what is greater than everything, as CouchDB does.
    pub const MAX: &'static str = "<MAX>";

    /// What a selector leaves of an index with these columns.
    pub fn of(selector: &'s Selector, columns: &[FieldPath]) -> Self {
        let demands = selector.conjunction();
        let mut span = Self {
            equal: Vec::new(),
            least: None,
            greatest: None,
        };
        for column in columns {
            let (mut least, mut greatest): (Option<Edge<'_>>, Option<Edge<'_>>) = (None, None);
            for conjunct in &demands.conjuncts {
                let Bound::Compare(relation, operand) = conjunct.bound else {
                    continue;
                };
                if conjunct.path != column {
                    continue;
                }
                let edge = |exclusive: bool| Edge {
                    operand,
                    // Of two values that are equal so far, one may be the greater.
                    exclusive: exclusive && !is_cut(operand),
                };
                let (up, down) = match relation {
                    Relation::Equal => (Some(edge(false)), Some(edge(false))),
                    Relation::Greater => (Some(edge(true)), None),
                    Relation::GreaterOrEqual => (Some(edge(false)), None),
                    Relation::Less => (None, Some(edge(true))),
                    Relation::LessOrEqual => (None, Some(edge(false))),
                };
                let narrower_up = |old: &Edge<'_>, new: &Edge<'_>| {
                    (key(new.operand), new.exclusive) > (key(old.operand), old.exclusive)
                };
                let narrower_down = |old: &Edge<'_>, new: &Edge<'_>| {
                    (key(new.operand), !new.exclusive) < (key(old.operand), !old.exclusive)
                };
                narrow(&mut least, up, narrower_up);
                narrow(&mut greatest, down, narrower_down);
            }
            match (least, greatest) {
                (Some(least), Some(greatest))
                    if key(least.operand) == key(greatest.operand)
                        && !least.exclusive
                        && !greatest.exclusive =>
                {
                    span.equal.push(least.operand);
                }
                (least, greatest) => {
                    (span.least, span.greatest) = (least, greatest);
                    break;
                }
            }
        }
        span
    }

    /// The first key that can lie in it.
    pub fn start(&self) -> Vec<u8> {
        let mut start = self.prefix();
        if let Some(least) = self.least {
            start.extend_from_slice(key(least.operand));
            if least.exclusive {
                return successor(start).unwrap_or_default();
            }
        }
        start
    }

    /// The first key that lies behind it; none when nothing does.
    pub fn end(&self) -> Option<Vec<u8>> {
        let mut end = self.prefix();
        if let Some(greatest) = self.greatest {
            end.extend_from_slice(key(greatest.operand));
            if greatest.exclusive {
                return Some(end);
            }
        }
        successor(end)
    }

    /// The values that it begins and ends with, as `_explain` tells them.
    pub fn to_json(&self) -> (Vec<Value>, Vec<Value>) {
        let ends_with = |edge: Option<Edge<'_>>| {
            let values = self.equal.iter().map(|operand| operand.to_json());
            let last = edge.map(|edge| edge.operand.to_json());
            values.chain(last).collect::<Vec<_>>()
        };
        let (start, mut end) = (ends_with(self.least), ends_with(self.greatest));
        end.push(Self::MAX.into());
        (start, end)
    }

    fn prefix(&self) -> Vec<u8> {
        self.equal
            .iter()
            .flat_map(|operand| key(operand))
            .copied()
            .collect()
    }
}

fn narrow<'s>(
    edge: &mut Option<Edge<'s>>,
    new: Option<Edge<'s>>,
    is_narrower: impl Fn(&Edge<'s>, &Edge<'s>) -> bool,
) {
    if let Some(new) = new
        && edge.as_ref().is_none_or(|old| is_narrower(old, &new))
    {
        *edge = Some(new);
    }
}

/// As much of an operand's key as the index has of a value.
fn key(operand: &Operand) -> &[u8] {
    let whole = operand.key().as_bytes();
    whole.get(..MAX_COLUMN_BYTES).unwrap_or(whole)
}

fn is_cut(operand: &Operand) -> bool {
    operand.key().as_bytes().len() >= MAX_COLUMN_BYTES
}

/// The first key that does not begin with `bytes` and lies behind those that do; none when there is none.
fn successor(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    while let Some(last) = bytes.pop() {
        if last < u8::MAX {
            bytes.push(last + 1);
            return Some(bytes);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::{Direction, Index};
    use super::*;

    fn index(columns: &[&str]) -> Index {
        let columns = columns.iter().map(|name| FieldPath::parse(name).unwrap());
        Index {
            design: Some("_design/i".into()),
            name: "i".into(),
            columns: columns.collect(),
            direction: Direction::Ascending,
            filter: None,
        }
    }

    fn selector(value: &Value) -> Selector {
        Selector::parse_as_couchdb(&value.to_string()).unwrap()
    }

    fn contains(span: &Span<'_>, key: &[u8]) -> bool {
        *span.start() <= *key && span.end().is_none_or(|end| key < &*end)
    }

    #[test]
    fn a_span_is_as_narrow_as_the_first_columns_allow() {
        let index = index(&["a", "b"]);
        let within = |query: Value, a: Value, b: Value| {
            let (selector, document) = (selector(&query), json!({"a": a, "b": b}).to_string());
            let key = index.key_of(document.as_bytes()).unwrap();
            contains(&Span::of(&selector, &index.columns), &key)
        };
        for (query, a, b, expected) in [
            (json!({}), json!(null), json!({}), true),
            (json!({"a": 1}), json!(1), json!(null), true),
            (json!({"a": 1}), json!(1), json!({"z": 1}), true),
            (json!({"a": 1}), json!(2), json!(1), false),
            (json!({"a": 1, "b": {"$gt": 1}}), json!(1), json!(1), false),
            (json!({"a": 1, "b": {"$gt": 1}}), json!(1), json!(2), true),
            (
                json!({"a": 1, "b": {"$gte": 1, "$lt": 3}}),
                json!(1),
                json!(1),
                true,
            ),
            (
                json!({"a": 1, "b": {"$gte": 1, "$lt": 3}}),
                json!(1),
                json!(3),
                false,
            ),
            (
                json!({"a": {"$gt": "x"}, "b": 1}),
                json!("x"),
                json!(1),
                false,
            ),
            (
                json!({"a": {"$gt": "x"}, "b": 1}),
                json!("xa"),
                json!(9),
                true,
            ),
            (json!({"a": {"$lte": "x"}}), json!("x"), json!([]), true),
            (json!({"a": {"$lte": "x"}}), json!("xa"), json!([]), false),
            // An array may have one of them in it: nothing is left out.
            (json!({"a": {"$in": [1, 2]}}), json!([1]), json!(1), true),
            (
                json!({"$or": [{"a": 1}, {"a": 2}]}),
                json!(2),
                json!(1),
                true,
            ),
            (
                json!({"$and": [{"a": {"$gt": 1}}, {"a": {"$gte": 3}}]}),
                json!(2),
                json!(1),
                false,
            ),
            (
                json!({"$and": [{"a": 1}, {"a": 2}]}),
                json!(1),
                json!(1),
                false,
            ),
            (
                json!({"$and": [{"a": 1}, {"a": {"$gt": 1}}]}),
                json!(1),
                json!(1),
                false,
            ),
        ] {
            assert_eq!(
                within(query.clone(), a.clone(), b.clone()),
                expected,
                "{query} {a} {b}"
            );
        }
    }

    #[test]
    fn values_that_are_equal_so_far_are_all_within() {
        let index = index(&["a"]);
        let long = |last: &str| format!("{}{last}", "x".repeat(2 * MAX_COLUMN_BYTES));
        for relation in ["$eq", "$gt", "$gte", "$lt", "$lte"] {
            let selector = selector(&json!({"a": {relation: long("b")}}));
            let span = Span::of(&selector, &index.columns);
            for last in ["a", "b", "c"] {
                let document = json!({"a": long(last)}).to_string();
                let key = index.key_of(document.as_bytes()).unwrap();
                assert!(contains(&span, &key), "{relation} {last}");
            }
        }
    }

    #[test]
    fn a_span_is_told_as_couchdb_tells_it() {
        let index = index(&["a", "b"]);
        let told = |query: Value| {
            let selector = selector(&query);
            let (start, end) = Span::of(&selector, &index.columns).to_json();
            json!([start, end])
        };
        for (query, expected) in [
            (json!({}), json!([[], ["<MAX>"]])),
            (json!({"a": "x"}), json!([["x"], ["x", "<MAX>"]])),
            (
                json!({"a": 1, "b": 0.5}),
                json!([[1, 0.5], [1, 0.5, "<MAX>"]]),
            ),
            (
                json!({"a": [1, {}]}),
                json!([[[1, {}]], [[1, {}], "<MAX>"]]),
            ),
            (
                json!({"a": true, "b": {"$gt": null}}),
                json!([[true, null], [true, "<MAX>"]]),
            ),
            (
                json!({"a": {"$lt": {"z": 1}}}),
                json!([[], [{"z": 1}, "<MAX>"]]),
            ),
        ] {
            assert_eq!(told(query.clone()), expected, "{query}");
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(Value::from),
            (-2_i64..3).prop_map(Value::from),
            any::<f64>().prop_filter_map("finite", |n| serde_json::Number::from_f64(n)
                .map(Value::Number)),
            "[ab\u{0}\u{ffff}\u{10000}]{0,3}".prop_map(Value::from),
            (1_020_usize..1_026, "[ab]")
                .prop_map(|(n, end)| format!("{}{end}", "x".repeat(n)).into()),
        ];
        leaf.prop_recursive(2, 6, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
                proptest::collection::vec(("[ab]", inner), 0..3)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn demand() -> impl Strategy<Value = Value> {
        let relation = prop_oneof![
            Just("$eq"),
            Just("$gt"),
            Just("$gte"),
            Just("$lt"),
            Just("$lte")
        ];
        (prop_oneof![Just("a"), Just("b")], relation, value())
            .prop_map(|(field, relation, value)| json!({field: {relation: value}}))
    }

    proptest! {
        /// The order of keys is that of the values, column by column: of each the first bytes, as everywhere.
        #[test]
        fn keys_of_documents_order_as_their_values(left in (value(), value()), right in (value(), value())) {
            let index = index(&["a", "b"]);
            let key = |(a, b): &(Value, Value)| {
                index.key_of(json!({"a": a, "b": b}).to_string().as_bytes()).unwrap()
            };
            let column = |value: &Value| {
                let operand = Operand::new(value);
                super::key(&operand).to_vec()
            };
            let expected = column(&left.0).cmp(&column(&right.0)).then(column(&left.1).cmp(&column(&right.1)));
            prop_assert_eq!(key(&left).cmp(&key(&right)), expected);
        }

        #[test]
        fn what_a_selector_takes_lies_in_its_span(
            demands in proptest::collection::vec(demand(), 0..4), a in value(), b in value()
        ) {
            let (index, selector) = (index(&["a", "b"]), selector(&json!({"$and": demands})));
            let document = json!({"a": a, "b": b}).to_string();
            let key = index.key_of(document.as_bytes()).unwrap();
            let span = Span::of(&selector, &index.columns);
            prop_assert!(!selector.takes(document.as_bytes()) || contains(&span, &key));
        }
    }
}
