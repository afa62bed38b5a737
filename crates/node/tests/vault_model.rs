//! The vault against the plainest model of itself: a map of JSON values, searched from end to end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::cmp::Ordering;
use std::collections::BTreeMap;

use adyton_client::pull::PlainBatch;
use adyton_couch::rev::{Rev, RevHash};
use adyton_couch::selector::Selector;
use adyton_node::memory::{
    Budget, Cursor, Direction, Document, Documents, Parts, Projection, Query, SortKey, View,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const SCHEMAS: [&str; 3] = [
    "https://s/a",
    "https://s/b",
    "https://s/quite/a/long/name/of/a/schema/that/goes/on/and/on",
];
const FIELDS: [&str; 4] = ["a", "b", "c.d", "long"];

/// Records as the model holds them: with `_rev`, as they are served.
type Model = BTreeMap<String, Value>;

#[derive(Debug, Clone)]
enum Change {
    Put { id: u16, fields: Map<String, Value> },
    Remove { id: u16 },
}

fn scalar() -> impl Strategy<Value = Value> {
    let text = vec!["", "a", "b", "a\"b", "é", "\u{ffff}", "😀"];
    prop_oneof![
        2 => Just(Value::Null),
        2 => any::<bool>().prop_map(Value::Bool),
        6 => (-2_i64..4).prop_map(Value::from),
        1 => Just(json!(1.5)),
        6 => proptest::sample::select(text).prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => scalar(),
        1 => proptest::collection::vec(scalar(), 0..3).prop_map(Value::Array),
        1 => scalar().prop_map(|value| json!({"d": value})),
    ]
}

/// Text whose key is longer than an index keeps.
fn long_text() -> impl Strategy<Value = Value> {
    (0_usize..3, 0_usize..3).prop_map(|(tail, cut)| {
        Value::from(format!("{}{}", "x".repeat(124 + cut), "abc".repeat(tail)))
    })
}

fn fields() -> impl Strategy<Value = Map<String, Value>> {
    (
        proptest::option::of(value()),
        proptest::option::of(value()),
        proptest::option::of(value()),
        proptest::option::of(prop_oneof![long_text(), scalar()]),
        proptest::option::of(0..SCHEMAS.len()),
    )
        .prop_map(|(a, b, c, long, schema)| {
            let schema = schema.map(|schema| Value::from(SCHEMAS[schema]));
            [
                ("a", a),
                ("b", b),
                ("c", c),
                ("long", long),
                ("schema", schema),
            ]
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
        })
}

fn changes(ids: u16, most: usize) -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        5 => (0..ids, fields()).prop_map(|(id, fields)| Change::Put { id, fields }),
        1 => (0..ids).prop_map(|id| Change::Remove { id }),
    ];
    proptest::collection::vec(change, 0..most)
}

fn selector() -> impl Strategy<Value = Value> {
    let field = proptest::sample::select(vec!["a", "b", "c.d", "long", "c", "schema", "_id"]);
    let operand = prop_oneof![5 => value(), 1 => long_text()];
    let relation = proptest::sample::select(vec!["$eq", "$ne", "$lt", "$lte", "$gt", "$gte"]);
    let list = proptest::sample::select(vec!["$in", "$nin"]);
    let test = prop_oneof![
        operand
            .clone()
            .prop_filter("no object", |value| !value.is_object()),
        (relation, operand.clone()).prop_map(|(operator, operand)| json!({operator: operand})),
        (operand.clone(), operand.clone())
            .prop_map(|(low, high)| json!({"$gte": low, "$lt": high})),
        (list, proptest::collection::vec(operand, 0..4))
            .prop_map(|(operator, operands)| json!({operator: operands})),
        any::<bool>().prop_map(|exists| json!({"$exists": exists})),
    ];
    let leaf = proptest::collection::vec((field, test), 0..3).prop_map(|tests| {
        Value::Object(
            tests
                .into_iter()
                .map(|(field, test)| (field.to_owned(), test))
                .collect(),
        )
    });
    leaf.prop_recursive(2, 6, 3, |inner| {
        let operator = proptest::sample::select(vec!["$and", "$or", "$nor"]);
        (operator, proptest::collection::vec(inner, 0..3))
            .prop_map(|(operator, list)| json!({operator: list}))
    })
}

fn id(number: u16) -> String {
    // Some ids are escaped in the text.
    if number.is_multiple_of(7) {
        format!("quoted\"{number}")
    } else {
        format!("id{number}")
    }
}

fn apply(documents: &mut Documents, model: &mut Model, changes: &[Change], round: u32) {
    let mut batch = PlainBatch::with_capacity(256);
    for change in changes {
        match change {
            Change::Put { id: number, fields } => {
                let id = id(*number);
                let digest = RevHash::from_bytes([*number as u8; 16]);
                let rev = Rev::new(u64::from(round) + 1, digest).unwrap();
                let mut record = fields.clone();
                record.insert("_id".to_owned(), id.clone().into());
                record.insert("_rev".to_owned(), "1-old".into());
                batch
                    .push(
                        &id,
                        rev,
                        Value::Object(record.clone()).to_string().as_bytes(),
                    )
                    .unwrap();
                record.insert("_rev".to_owned(), rev.to_string().into());
                model.insert(id, Value::Object(record));
            }
            Change::Remove { id: number } => {
                batch.remove(&id(*number), Rev::LOWEST);
                model.remove(&id(*number));
            }
        }
    }
    documents.apply(batch).unwrap();
}

fn served(document: &Document) -> Value {
    let mut out = Vec::new();
    document.write_to(&mut out);
    assert_eq!(out.len(), document.served_len());
    assert_eq!(document.served().concat(), out);
    serde_json::from_slice(&out).unwrap()
}

/// The order of values, once more in the plainest way.
fn collate(left: &Value, right: &Value) -> Ordering {
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
        // The only member the objects of this test have is `d`.
        (Value::Object(left), Value::Object(right)) => collate(&left["d"], &right["d"]),
        _ => rank(left).cmp(&rank(right)),
    }
}

fn at<'v>(record: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(record, |value, step| match value {
        Value::Object(object) => object.get(step),
        Value::Array(array) => array.get(step.parse::<usize>().ok()?),
        _ => None,
    })
}

/// What the selectors of this test mean, written down a second time.
fn takes(selector: &Value, record: &Value) -> bool {
    let list = |test: &Value| test.as_array().unwrap().clone();
    selector
        .as_object()
        .unwrap()
        .iter()
        .all(|(name, test)| match name.as_str() {
            "$and" => list(test).iter().all(|one| takes(one, record)),
            "$or" => list(test).iter().any(|one| takes(one, record)),
            "$nor" => !list(test).iter().any(|one| takes(one, record)),
            path => {
                let value = at(record, path);
                let implicit = json!({"$eq": test});
                let tests = if test.is_object() { test } else { &implicit };
                let mut tests = tests.as_object().unwrap().iter();
                tests.all(|(operator, operand)| passes(operator, operand, value))
            }
        })
}

fn passes(operator: &str, operand: &Value, value: Option<&Value>) -> bool {
    let order = value.map(|value| collate(value, operand));
    let listed = |value: &Value| {
        operand
            .as_array()
            .unwrap()
            .iter()
            .any(|one| collate(one, value).is_eq())
    };
    let in_list = |value: &Value| match value.as_array() {
        Some(array) => array.iter().any(listed),
        None => listed(value),
    };
    match operator {
        "$eq" => order.is_some_and(Ordering::is_eq),
        "$ne" => collate(value.unwrap_or(&Value::Null), operand).is_ne(),
        "$lt" => order.is_some_and(Ordering::is_lt),
        "$lte" => order.is_some_and(Ordering::is_le),
        "$gt" => order.is_some_and(Ordering::is_gt),
        "$gte" => order.is_some_and(Ordering::is_ge),
        "$in" => value.is_some_and(|value| !value.is_null() && in_list(value)),
        "$nin" => value.is_some_and(|value| !value.is_null() && !in_list(value)),
        "$exists" => value.is_some() == operand.as_bool().unwrap(),
        other => panic!("{other}"),
    }
}

#[derive(Debug, Clone)]
struct Question {
    selector: Value,
    sort: Vec<(&'static str, bool)>,
    schema: Option<usize>,
    skip: usize,
    limit: usize,
}

fn question() -> impl Strategy<Value = Question> {
    let limit = prop_oneof![0_usize..5, Just(20), Just(usize::MAX)];
    let key = (proptest::sample::select(FIELDS.to_vec()), any::<bool>());
    let sort = proptest::collection::vec(key, 0..3);
    (
        selector(),
        sort,
        proptest::option::of(0..SCHEMAS.len()),
        0_usize..4,
        limit,
    )
        .prop_map(|(selector, sort, schema, skip, limit)| Question {
            selector,
            sort,
            schema,
            skip,
            limit,
        })
}

impl Question {
    fn view(&self) -> View {
        let of_schema = |schema: usize| View::of_schema(SCHEMAS[schema]);
        self.schema.map_or(View::whole_database(), of_schema)
    }

    fn query(&self) -> Query {
        let key = |(path, descending): &(&str, bool)| {
            let direction = if *descending { "desc" } else { "asc" };
            json!({*path: direction})
        };
        let sort: Value = self.sort.iter().map(key).collect();
        Query {
            sort: SortKey::parse_list(&sort).unwrap(),
            skip: self.skip,
            limit: self.limit,
            ..Query::new(Selector::parse(&self.selector.to_string()).unwrap())
        }
    }

    /// All matches in order.
    fn expected(&self, model: &Model) -> Vec<Value> {
        let mut found: Vec<Value> = model
            .values()
            .filter(|record| match self.schema {
                None => true,
                Some(schema) => record
                    .get("schema")
                    .is_some_and(|name| name == SCHEMAS[schema]),
            })
            .filter(|record| takes(&self.selector, record))
            .cloned()
            .collect();
        found.sort_by(|left, right| {
            let by_fields = self.sort.iter().map(|(path, descending)| {
                let present = |record| at(record, path).filter(|value| !value.is_null());
                match (present(left), present(right)) {
                    (None, None) => Ordering::Equal,
                    (None, Some(_)) => Ordering::Greater,
                    (Some(_), None) => Ordering::Less,
                    (Some(left), Some(right)) if *descending => collate(right, left),
                    (Some(left), Some(right)) => collate(left, right),
                }
            });
            let by_id = || collate(&left["_id"], &right["_id"]);
            by_fields
                .into_iter()
                .find(|order| order.is_ne())
                .unwrap_or_else(by_id)
        });
        found
    }

    fn check(&self, documents: &Documents, model: &Model) {
        let (view, query) = (self.view(), self.query());
        let page = documents.query(&view, &query).unwrap();
        let expected = self.expected(model);
        assert_eq!(page.total, expected.len());
        let everything = Self {
            selector: json!({}),
            ..self.clone()
        };
        assert_eq!(page.rows, everything.expected(model).len());
        assert_eq!(
            documents.count(&view, &query.selector).unwrap(),
            expected.len()
        );
        let expected: Vec<_> = expected
            .into_iter()
            .skip(self.skip)
            .take(self.limit)
            .collect();
        let found: Vec<_> = page.documents.iter().map(served).collect();
        assert_eq!(found, expected);
    }
}

fn check_all(documents: &Documents, model: &Model) {
    assert_eq!(documents.len(), model.len());
    for (id, record) in model {
        let document = documents.get(&View::whole_database(), id).unwrap().unwrap();
        assert_eq!(document.id(), id);
        assert_eq!(&served(&document), record);
    }
    assert!(documents.rev(&View::whole_database(), "nobody").is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn queries_answer_as_the_model_does(
        first in changes(400, 400),
        later in proptest::collection::vec(changes(400, 40), 0..6),
        questions in proptest::collection::vec(question(), 1..12),
    ) {
        let budget = Budget::new(64 << 20);
        let mut documents = Documents::new(budget.clone());
        let mut model = Model::new();
        apply(&mut documents, &mut model, &first, 0);
        for (round, changes) in (1..).zip(&later) {
            questions.iter().for_each(|question| question.check(&documents, &model));
            apply(&mut documents, &mut model, changes, round);
        }
        check_all(&documents, &model);
        questions.iter().for_each(|question| question.check(&documents, &model));
        let usage = documents.usage();
        prop_assert_eq!(budget.used(), usage.plaintext + usage.overhead + usage.indexes);
        drop(documents);
        prop_assert_eq!(budget.used(), 0);
    }

    /// Page after page, while records come, change and go: who is there all the time is shown exactly once, and in order.
    #[test]
    fn pages_by_cursor_neither_skip_nor_repeat(
        first in changes(300, 300),
        between in proptest::collection::vec(changes(300, 30), 1..8),
        question in question(),
        limit in 1_usize..40,
    ) {
        let mut documents = Documents::new(Budget::new(64 << 20));
        let mut model = Model::new();
        apply(&mut documents, &mut model, &first, 0);
        let question = Question { skip: 0, limit, ..question };
        let mut query = question.query();
        let unchanged = |record: &Value| {
            let mut record = record.clone();
            record.as_object_mut().unwrap().remove("_rev");
            record
        };
        let mut steady: BTreeMap<String, Value> = question.expected(&model).iter()
            .map(|record| (record["_id"].as_str().unwrap().to_owned(), unchanged(record))).collect();
        let mut seen: Vec<String> = Vec::new();
        for round in 0_usize.. {
            let page = documents.query(&question.view(), &query).unwrap();
            prop_assert!(page.documents.len() <= limit);
            prop_assert_eq!(page.total, question.expected(&model).len());
            seen.extend(page.documents.iter().map(|document| document.id().to_owned()));
            let Some(next) = page.next else { break };
            prop_assert_eq!(page.documents.len(), limit);
            query.after = Some(Cursor::parse(&next.to_text()).unwrap());
            if let Some(changes) = between.get(round) {
                apply(&mut documents, &mut model, changes, u32::try_from(round).unwrap() + 1);
                let now: BTreeMap<String, Value> = question.expected(&model).iter()
                    .map(|record| (record["_id"].as_str().unwrap().to_owned(), unchanged(record))).collect();
                steady.retain(|id, record| now.get(id) == Some(record));
            }
        }
        for id in steady.keys() {
            prop_assert_eq!(seen.iter().filter(|other| *other == id).count(), 1, "{}", id);
        }
        // Those that stayed came in the order that they have now.
        let order = question.expected(&model).into_iter().map(|record| record["_id"].as_str().unwrap().to_owned());
        let order: Vec<_> = order.filter(|id| steady.contains_key(id)).collect();
        seen.retain(|id| steady.contains_key(id));
        prop_assert_eq!(seen, order);
    }

    #[test]
    fn a_tight_budget_refuses_but_never_answers_wrong(
        first in changes(200, 200),
        later in proptest::collection::vec(changes(200, 40), 0..4),
        questions in proptest::collection::vec(question(), 1..8),
        room in 0_usize..20_000,
    ) {
        let budget = Budget::new(64 << 20);
        let mut documents = Documents::new(budget.clone());
        let mut model = Model::new();
        apply(&mut documents, &mut model, &first, 0);
        // What is left is not enough for all indexes, or for any.
        let free = budget.limit() - budget.used();
        let held = budget.reserve(free.saturating_sub(room)).unwrap();
        for question in &questions {
            if let Ok(page) = documents.query(&question.view(), &question.query()) {
                let expected = question.expected(&model);
                prop_assert_eq!(page.total, expected.len());
                let found: Vec<_> = page.documents.iter().map(served).collect();
                let page = expected.into_iter().skip(question.skip).take(question.limit);
                prop_assert_eq!(found, page.collect::<Vec<_>>());
            }
        }
        drop(held);
        for (round, changes) in (1..).zip(&later) {
            apply(&mut documents, &mut model, changes, round);
        }
        questions.iter().for_each(|question| question.check(&documents, &model));
        check_all(&documents, &model);
    }

    #[test]
    fn projections_keep_what_is_named(
        fields in fields(),
        wanted in proptest::collection::vec(proptest::sample::select(
            vec!["_id", "_rev", "a", "b", "c", "c.d", "c.x", "long.y", "schema"]), 0..5),
    ) {
        let mut documents = Documents::new(Budget::new(1 << 20));
        let mut model = Model::new();
        apply(&mut documents, &mut model, &[Change::Put { id: 0, fields }], 0);
        let projection = Projection::parse(&json!(wanted)).unwrap();
        let document = documents.get(&View::whole_database(), &id(0)).unwrap().unwrap();
        let mut out = Vec::new();
        let mut parts = Parts::after(std::mem::take(&mut out));
        projection.write(&document, &mut parts);
        let (whole, rest) = parts.into_pieces();
        out.extend(whole.iter().flatten());
        out.extend(rest);
        let record = &model[&id(0)];
        let mut expected = json!({});
        for path in wanted {
            let Some(value) = at(record, path) else { continue };
            match path.split_once('.') {
                None => expected[path] = value.clone(),
                Some((first, second)) if record[first].is_object() => {
                    expected[first][second] = value.clone();
                }
                Some(_) => {}
            }
        }
        prop_assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), expected);
    }
}

#[test]
fn a_sort_order_is_a_list_of_fields_and_directions() {
    let keys = SortKey::parse_list(&json!(["a", {"b.c": "desc"}, {"d": "asc"}])).unwrap();
    let directions: Vec<_> = keys.iter().map(|key| key.direction).collect();
    assert_eq!(
        directions,
        [
            Direction::Ascending,
            Direction::Descending,
            Direction::Ascending
        ]
    );
    let both = json!([{"a": "asc", "b": "asc"}]);
    for bad in [
        json!("a"),
        json!([1]),
        json!([{"a": "up"}]),
        both,
        json!([{}]),
    ] {
        assert!(SortKey::parse_list(&bad).is_err(), "{bad}");
    }
}

#[test]
fn lists_one_over_their_limit_are_refused() {
    assert!(SortKey::parse_list(&json!(vec!["a"; Query::MOST_SORT_KEYS])).is_ok());
    assert!(SortKey::parse_list(&json!(vec!["a"; Query::MOST_SORT_KEYS + 1])).is_err());
    assert!(Projection::parse(&json!(vec!["a"; Projection::MOST_FIELDS])).is_ok());
    assert!(Projection::parse(&json!(vec!["a"; Projection::MOST_FIELDS + 1])).is_err());
}
