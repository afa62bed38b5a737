//! Narrowing holds: a narrowed view of a database answers as a database would in which nothing else is.
//!
//! Random databases, random grants, random questions. Each is asked through the narrowed view, and once more of a second
//! database from which everything outside was physically taken out, by code that knows nothing of views. The answers are the
//! same to the byte: records, totals, order, cursors, sums, plans, refusals. So no answer depends on what is hidden.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::sync::atomic::{AtomicUsize, Ordering};

use adyton_client::pull::PlainBatch;
use adyton_couch::rev::{Rev, RevHash};
use adyton_couch::selector::Selector;
use adyton_node::memory::{
    Budget, Cursor, Document, Documents, Measure, Parts, Projection, Query, QueryError, SortKey,
    View,
};
use adyton_protocol::database::DatabaseName;
use adyton_protocol::schema::{SchemaDirectory, SchemaUri};
use adyton_protocol::scope::{Action, Resource, Terms};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const MAIL: &str = "https://common.schemas.verida.io/social/email/v0.1.0/schema.json";
const EVENT: &str = "https://common.schemas.verida.io/social/event/v0.1.0/schema.json";
const OTHER: &str = "https://example.org/schema.json";

/// All schemas lie in one database: the hardest case.
struct OneDatabase;

impl SchemaDirectory for OneDatabase {
    fn database_of(&self, _: &SchemaUri) -> Option<DatabaseName> {
        Some(DatabaseName::new("everything").unwrap())
    }
}

/// Numbers without a pattern (SplitMix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<'t, T: ?Sized>(&mut self, from: &[&'t T]) -> &'t T {
        from[self.below(from.len())]
    }

    fn scalar(&mut self) -> Value {
        match self.below(8) {
            0 => Value::Null,
            1 => json!(true),
            2 | 3 => json!(self.below(4)),
            4 => json!(-1.5),
            5 => json!(format!("a longer text {}", self.below(3))),
            _ => json!(self.pick(&["", "a", "b", "é"])),
        }
    }

    fn time(&mut self) -> Value {
        let day = 1 + self.below(9);
        match self.below(12) {
            0 => json!(1_767_225_600_000_u64),
            1 => json!("soon"),
            2 => json!(format!("2026-01-0{day}")),
            3 => json!(format!("2026-01-0{day}T00:00:00")),
            4 => json!(format!("2026-01-0{day}T20:00:00-11:00")),
            5 => json!(format!("2026-01-0{day}T05:00:00+14:00")),
            _ => json!(format!("2026-01-0{day}T{:02}:00:00.000Z", self.below(24))),
        }
    }

    /// A record, and its text as somebody may have written it.
    fn record(&mut self, id: &str) -> (Value, String) {
        let mut record = json!({ "_id": id });
        match self.below(6) {
            0 | 1 => record["schema"] = MAIL.into(),
            2 => record["schema"] = EVENT.into(),
            3 => record["schema"] = OTHER.into(),
            4 => record["schema"] = json!(7),
            _ => {}
        }
        for (name, one_in) in [("sentAt", 4), ("insertedAt", 4)] {
            if !self.one_in(one_in) {
                record[name] = self.time();
            }
        }
        if !self.one_in(3) {
            record["start"] = json!({ "dateTime": self.time(), "zone": self.scalar() });
        }
        if self.one_in(9) {
            record["start"] = self.scalar();
        }
        for name in ["a", "body"] {
            if !self.one_in(4) {
                record[name] = self.scalar();
            }
        }
        record["b"] = match self.below(4) {
            0 => self.scalar(),
            1 => {
                json!([{ "c": self.scalar(), "d": self.scalar() }, self.scalar(), [{ "c": self.scalar() }]])
            }
            _ => json!({ "c": self.scalar(), "d": self.scalar() }),
        };
        if self.one_in(2) {
            record["signatures"] = json!({ "key": self.below(3) });
        }
        let mut text = record.to_string();
        if self.one_in(5) {
            text = text
                .replace("\"body\"", "\"b\\u006fdy\"")
                .replace("\":", "\" :\n");
        }
        if self.one_in(5) {
            text = text.replace("https://", "https:\\/\\/");
        }
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), record);
        (record, text)
    }

    fn database(&mut self) -> Vec<(String, Value, String)> {
        let count = match self.below(40) {
            0 => 300,
            1..5 => 64 + self.below(60),
            _ => self.below(30),
        };
        let ids = (0..count).map(|n| format!("id{}{n}", if n % 7 == 0 { "\"" } else { "" }));
        ids.map(|id| {
            let (record, text) = self.record(&id);
            (id, record, text)
        })
        .collect()
    }

    fn grant(&mut self) -> Grant {
        let bound = |dice: &mut Self| {
            let day = 1 + dice.below(9);
            (!dice.one_in(3)).then(|| format!("2026-01-0{day}T{:02}:00:00Z", dice.below(24)))
        };
        let (from, until) = match self.one_in(3) {
            true => (None, None),
            false => (bound(self), bound(self)),
        };
        let (from, until) = match (from, until) {
            (Some(from), Some(until)) if from >= until => (Some(from), None),
            other => other,
        };
        let without = match self.one_in(3) {
            true => Vec::new(),
            false => ["body", "b.c", "b", "a", "start.zone", "sentAt", "nothing"]
                .into_iter()
                .filter(|_| self.one_in(3))
                .collect(),
        };
        let schema = match self.below(6) {
            0 | 1 => None,
            2 | 3 => Some(MAIL),
            4 => Some(EVENT),
            _ => Some(OTHER),
        };
        Grant {
            schema,
            from,
            until,
            without,
        }
    }

    fn path(&mut self) -> String {
        let paths = [
            "_id",
            "schema",
            "sentAt",
            "insertedAt",
            "start",
            "start.dateTime",
            "start.zone",
            "a",
            "b",
            "b.c",
            "b.d",
            "b.0.c",
            "b.0.d",
            "b.1",
            "body",
            "body.x",
            "signatures",
            "signatures.key",
            "_rev",
            "bod",
        ];
        self.pick(&paths).to_owned()
    }

    fn test(&mut self, path: &str) -> Value {
        let operand = match path {
            "sentAt" | "insertedAt" | "start.dateTime" if !self.one_in(4) => self.time(),
            "schema" if !self.one_in(3) => json!(self.pick(&[MAIL, EVENT, OTHER])),
            "_id" => json!(format!("id{}", self.below(40))),
            _ => self.scalar(),
        };
        match self.below(9) {
            0..3 => json!({ "$gte": operand }),
            3 => json!({ "$lt": operand }),
            4 => json!({ "$in": [operand, self.scalar()] }),
            5 => json!({ "$exists": self.one_in(2) }),
            6 => json!({ "$elemMatch": { "d": operand } }),
            7 => json!({ "$ne": operand }),
            _ => json!({ "$eq": operand }),
        }
    }

    fn selector(&mut self) -> Value {
        let mut selector = Map::new();
        for _ in 0..self.below(3) {
            let path = self.path();
            let test = self.test(&path);
            selector.insert(path, test);
        }
        if self.one_in(6) {
            let list: Vec<_> = (0..2)
                .map(|_| {
                    let path = self.path();
                    let test = self.test(&path);
                    json!({ path: test })
                })
                .collect();
            selector.insert(self.pick(&["$or", "$nor", "$and"]).to_owned(), list.into());
        }
        selector.into()
    }

    fn question(&mut self) -> Question {
        let sort = (0..self.below(3)).map(|_| json!({ self.path(): self.pick(&["asc", "desc"]) }));
        let sort: Vec<Value> = sort.collect();
        let limit = match self.below(4) {
            0 => 1 + self.below(3),
            1 => 1_000,
            _ => 20,
        };
        let fields = self
            .one_in(2)
            .then(|| (0..3).map(|_| self.path()).collect());
        let measures = match self.below(3) {
            0 => json!([{ "by": self.path(), "top": self.below(4) }]),
            1 => json!([{ "by": self.path(), "per": self.pick(&["day", "week", "month"]) }]),
            _ => json!([{ "of": self.path() }]),
        };
        Question {
            selector: self.selector(),
            sort: sort.into(),
            skip: if self.one_in(3) { self.below(4) } else { 0 },
            limit,
            fields,
            measures,
        }
    }
}

#[derive(Debug, Clone)]
struct Grant {
    schema: Option<&'static str>,
    from: Option<String>,
    until: Option<String>,
    without: Vec<&'static str>,
}

impl Grant {
    /// The view that this grant gives, by the way that grants take.
    fn view(&self) -> View {
        let (target, scope) = match self.schema {
            Some(schema) => (format!("ds:{schema}"), format!("ds:r:{schema}")),
            None => ("db:everything".to_owned(), "db:r:everything".to_owned()),
        };
        let narrowing = json!({ "target": target, "from": self.from, "until": self.until, "without": self.without });
        let is_narrow = self.from.is_some() || self.until.is_some() || !self.without.is_empty();
        let narrow = if is_narrow { vec![narrowing] } else { vec![] };
        let terms = json!({ "scopes": [scope], "narrow": narrow }).to_string();
        let terms = Terms::parse(&terms, &OneDatabase).unwrap();
        let (resource, all) = match self.schema {
            Some(schema) => {
                let resource = Resource::datastore(schema.parse().unwrap(), &OneDatabase);
                (resource.unwrap(), View::of_schema(schema))
            }
            None => {
                let name = DatabaseName::new("everything").unwrap();
                (Resource::whole_database(name), View::whole_database())
            }
        };
        let covered = terms.covers(Action::Read, &resource).unwrap();
        all.narrowed(covered.narrowing)
    }

    /// Whether a record is there at all, said once more in the plainest way.
    fn has(&self, record: &Value) -> bool {
        let schema = record["schema"].as_str();
        if self.schema.is_some() && self.schema != schema {
            return false;
        }
        if self.from.is_none() && self.until.is_none() {
            return true;
        }
        let time = match schema {
            Some(MAIL) => &record["sentAt"],
            Some(EVENT) => &record["start"]["dateTime"],
            _ => &record["insertedAt"],
        };
        let moment = |text: &str| {
            let full = if text.len() == 10 {
                format!("{text}T00:00:00Z")
            } else {
                text.to_owned()
            };
            OffsetDateTime::parse(&full, &Rfc3339).ok()
        };
        let Some(time) = time.as_str().and_then(moment) else {
            return false;
        };
        let bound = |bound: &Option<String>| bound.as_deref().and_then(moment);
        bound(&self.from).is_none_or(|from| from <= time)
            && bound(&self.until).is_none_or(|until| time < until)
    }

    fn left_out(&self) -> Vec<&'static str> {
        let mut left_out = self.without.clone();
        if !left_out.is_empty() {
            left_out.push("signatures");
        }
        left_out
    }

    /// What is left of a record.
    fn reduce(&self, record: &Value) -> Value {
        fn remove(value: &mut Value, path: &str) {
            match value {
                Value::Array(elements) => elements
                    .iter_mut()
                    .for_each(|element| remove(element, path)),
                Value::Object(members) => match path.split_once('.') {
                    None => {
                        members.remove(path);
                    }
                    Some((first, rest)) => {
                        if let Some(member) = members.get_mut(first) {
                            remove(member, rest);
                        }
                    }
                },
                _ => {}
            }
        }
        let mut record = record.clone();
        for path in self.left_out() {
            remove(&mut record, path);
        }
        record
    }

    /// Whether a question may name this path.
    fn may_ask(&self, path: &str) -> bool {
        let (first, rest) = path.split_once('.').unwrap_or((path, ""));
        let names = rest
            .split('.')
            .filter(|step| !step.is_empty() && step.parse::<usize>().is_err());
        let names: Vec<_> = [first].into_iter().chain(names).collect();
        let asked = format!("{}.", names.join("."));
        self.left_out().iter().all(|left| {
            let left = format!("{left}.");
            !left.starts_with(&asked) && !asked.starts_with(&left)
        })
    }

    fn may_select(&self, selector: &Value) -> bool {
        selector
            .as_object()
            .unwrap()
            .iter()
            .all(|(name, test)| match test {
                Value::Array(list) if name.starts_with('$') => {
                    list.iter().all(|one| self.may_select(one))
                }
                _ => match test.get("$elemMatch") {
                    Some(element) => element
                        .as_object()
                        .unwrap()
                        .keys()
                        .all(|inner| self.may_ask(&format!("{name}.{inner}"))),
                    None => self.may_ask(name),
                },
            })
    }
}

#[derive(Debug, Clone)]
struct Question {
    selector: Value,
    sort: Value,
    skip: usize,
    limit: usize,
    fields: Option<Vec<String>>,
    measures: Value,
}

impl Question {
    fn query(&self) -> Query {
        Query {
            sort: SortKey::parse_list(&self.sort).unwrap(),
            skip: self.skip,
            limit: self.limit,
            ..Query::new(Selector::parse(&self.selector.to_string()).unwrap())
        }
    }

    fn may_be_asked(&self, grant: &Grant) -> bool {
        let sort = self.sort.as_array().unwrap().iter();
        let mut sort = sort.map(|key| key.as_object().unwrap().keys().next().unwrap());
        grant.may_select(&self.selector) && sort.all(|path| grant.may_ask(path))
    }
}

fn load(records: impl Iterator<Item = (String, String)>) -> Documents {
    let mut documents = Documents::new(Budget::new(64 << 20));
    let mut batch = PlainBatch::default();
    for (id, text) in records {
        // A revision of its own, the same in both databases.
        let digest = id
            .bytes()
            .fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
        let rev = Rev::new(1, RevHash::from_bytes([digest; 16])).unwrap();
        batch.push(&id, rev, text.as_bytes()).unwrap();
    }
    documents.apply(batch).unwrap();
    documents
}

fn served(document: &Document) -> Value {
    let mut out = Vec::new();
    document.write_to(&mut out);
    assert_eq!(document.served().concat(), out);
    assert_eq!(document.served_len(), out.len());
    serde_json::from_slice(&out).unwrap()
}

fn projected(document: &Document, fields: &Value) -> Value {
    let mut parts = Parts::after(Vec::new());
    Projection::parse(fields)
        .unwrap()
        .write(document, &mut parts);
    let (whole, rest) = parts.into_pieces();
    let mut out: Vec<u8> = whole.iter().flatten().copied().collect();
    out.extend(rest);
    serde_json::from_slice(&out).unwrap()
}

/// All that a caller learns of one question: each page, and everything around it.
fn all_of(documents: &Documents, view: &View, question: &Question) -> Value {
    let mut query = question.query();
    let mut pages = Vec::new();
    loop {
        let page = match documents.query(view, &query) {
            Ok(page) => page,
            Err(error) => return json!({ "refused": error.to_string() }),
        };
        let fields = question.fields.as_ref().map(|fields| json!(fields));
        let may_serve = fields
            .as_ref()
            .map(|fields| view.may_serve(&Projection::parse(fields).unwrap()).is_ok());
        let records: Vec<_> = page
            .documents
            .iter()
            .map(|document| match &fields {
                Some(fields) if may_serve == Some(true) => projected(document, fields),
                _ => served(document),
            })
            .collect();
        let cursor = page.next.as_ref().map(Cursor::to_text);
        pages.push(json!({
            "records": records, "total": page.total, "rows": page.rows, "limit": page.limit, "cursor": cursor,
            "may_serve": may_serve,
        }));
        let Some(next) = cursor.filter(|_| pages.len() < MOST_PAGES) else {
            break;
        };
        query.after = Some(Cursor::parse(&next).unwrap());
        query.skip = 0;
    }
    json!(pages)
}

fn sums(documents: &Documents, view: &View, question: &Question) -> Result<Value, QueryError> {
    let selector = question.query().selector;
    let measures = Measure::parse_list(&question.measures).unwrap();
    let found = documents.aggregate(view, &selector, &measures)?;
    Ok(json!({ "sums": found, "count": documents.count(view, &selector)? }))
}

/// The pages of an answer without what names the view.
fn without_cursors(pages: &Value) -> Value {
    let mut pages = pages.clone();
    for page in pages.as_array_mut().into_iter().flatten() {
        page.as_object_mut().unwrap().remove("cursor");
        page.as_object_mut().unwrap().remove("may_serve");
    }
    pages
}

static CASES: AtomicUsize = AtomicUsize::new(0);
static REFUSED: AtomicUsize = AtomicUsize::new(0);

/// So many pages of one answer are read.
const MOST_PAGES: usize = 4;
const GRANTS: usize = 5;
const QUESTIONS: usize = 14;

fn hold(seed: u64) {
    let mut dice = Dice(seed);
    let database = dice.database();
    for _ in 0..GRANTS {
        let grant = dice.grant();
        let view = grant.view();
        let whole = load(
            database
                .iter()
                .map(|(id, _, text)| (id.clone(), text.clone())),
        );
        let there: Vec<_> = database
            .iter()
            .filter(|(_, record, _)| grant.has(record))
            .collect();
        let reduced = load(
            there
                .iter()
                .map(|(id, record, _)| (id.clone(), grant.reduce(record).to_string())),
        );
        let nothing = load(std::iter::empty());
        // Where the time itself was taken out, the window can no longer be told there; it has done its part.
        let has_times = !grant.without.contains(&"sentAt");
        let same = match has_times {
            true => view.clone(),
            false => {
                let (from, until) = (None, None);
                let without = grant.without.clone();
                Grant {
                    from,
                    until,
                    without,
                    schema: grant.schema,
                }
                .view()
            }
        };
        let comparable = |answer: &Value| match has_times {
            true => answer.clone(),
            false => without_cursors(answer),
        };
        assert_eq!(whole.count_all(&view), there.len(), "{grant:?}");
        for (id, record, text) in &database {
            let found = whole.get(&view, id).unwrap();
            let expected = reduced.get(&View::whole_database(), id).unwrap();
            assert_eq!(
                found.as_ref().map(served),
                expected.as_ref().map(served),
                "{grant:?} {record}"
            );
            assert_eq!(found.is_some(), grant.has(record), "{grant:?} {record}");
            assert_eq!(
                view.sees(text.as_bytes()),
                grant.has(record),
                "{grant:?} {record}"
            );
            assert_eq!(
                whole.rev(&view, id),
                reduced.rev(&View::whole_database(), id)
            );
        }
        for _ in 0..QUESTIONS {
            let question = dice.question();
            CASES.fetch_add(1, Ordering::Relaxed);
            let answer = all_of(&whole, &view, &question);
            // A refusal is known from the question alone.
            let may = question.may_be_asked(&grant);
            assert_eq!(
                answer.get("refused").is_none(),
                may,
                "{grant:?} {question:?}"
            );
            assert_eq!(
                all_of(&nothing, &view, &question).get("refused").is_none(),
                may
            );
            assert_eq!(
                comparable(&answer),
                comparable(&all_of(&reduced, &same, &question)),
                "{grant:?} {question:?}"
            );
            if may {
                let plain = all_of(&reduced, &View::whole_database(), &question);
                let fields = question.fields.iter().flatten();
                let may_serve = fields.into_iter().all(|path| grant.may_ask(path));
                if may_serve {
                    assert_eq!(
                        without_cursors(&answer),
                        without_cursors(&plain),
                        "{grant:?} {question:?}"
                    );
                }
                for page in answer.as_array().unwrap() {
                    let asked = question.fields.as_ref().map(|_| may_serve);
                    assert_eq!(page["may_serve"], json!(asked));
                }
            } else {
                REFUSED.fetch_add(1, Ordering::Relaxed);
            }
            let sum = sums(&whole, &view, &question);
            let field = question.measures[0]["by"]
                .as_str()
                .or(question.measures[0]["of"].as_str())
                .unwrap();
            let may_sum = grant.may_select(&question.selector) && grant.may_ask(field);
            assert_eq!(sum.is_ok(), may_sum, "{grant:?} {question:?}");
            assert_eq!(
                sum,
                sums(&reduced, &same, &question),
                "{grant:?} {question:?}"
            );
            if may_sum {
                assert_eq!(sum, sums(&reduced, &View::whole_database(), &question));
            }
            // Who sees the whole database sees which indexes there are; they are the same, because the questions were.
            let query = question.query();
            assert_eq!(
                whole.explain(&view, &query),
                reduced.explain(&same, &query),
                "{grant:?} {question:?}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default() })]

    fn seeds(seed in any::<u64>()) {
        hold(seed);
    }
}

#[test]
fn nothing_outside_of_a_grant_is_in_any_answer() {
    seeds();
    let (cases, refused) = (
        CASES.load(Ordering::Relaxed),
        REFUSED.load(Ordering::Relaxed),
    );
    assert!(cases >= 20_000, "{cases} cases");
    assert!(
        (cases / 20..cases * 3 / 4).contains(&refused),
        "{refused} of {cases} were refused"
    );
}
