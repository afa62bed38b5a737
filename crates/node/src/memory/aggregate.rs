//! Sums over records: how many by value, how many by time, smallest, largest and sum.
//!
//! Guarantees: what is summed is what the view shows, and nothing else has any part in it; what comes back is bounded,
//! and says how much it leaves out.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use adyton_couch::collate::{compare, write_key};
use adyton_couch::lazy_json::{Kind, LazyValue, MemberNames};
use adyton_couch::selector::{FieldPath, Selector};
use adyton_protocol::scope::Instant;
use serde::Serialize;
use serde_json::{Map, Value};

use super::access::Building;
use super::budget::OverBudget;
use super::cursor::MAX_SORT_KEY;
use super::documents::Documents;
use super::filter::Filter;
use super::index::{Index, field};
use super::query::QueryError;
use super::view::View;

/// Longest text that is shown as a value, in bytes as written.
const LONGEST_VALUE: usize = 1024;
/// Milliseconds of a day.
const DAY: i64 = 86_400_000;

/// One thing to find out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Measure {
    /// How many records have each value of a field; of the most frequent values.
    ByValue {
        /// The field.
        field: FieldPath,
        /// How many values are listed at most.
        top: usize,
    },
    /// How many records lie in each day, week or month, by a field that says when.
    ByTime {
        /// The field.
        field: FieldPath,
        /// Of what length.
        per: Period,
    },
    /// The smallest, the largest and the sum of a field.
    Range {
        /// The field.
        field: FieldPath,
    },
}

/// A length of time, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// From midnight to midnight.
    Day,
    /// From Monday to Monday.
    Week,
    /// From the first to the first.
    Month,
}

/// What was found out.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Summary {
    /// Of [`Measure::ByValue`].
    ByValue {
        /// The most frequent first; among equals in the order of values.
        values: Vec<ValueCount>,
        /// Records with another value, or one that is not listed: an array, an object, a long text.
        other: usize,
        /// Records without the field, or with null.
        missing: usize,
    },
    /// Of [`Measure::ByTime`].
    ByTime {
        /// In order of time; of more than [`Measure::MOST_PERIODS`] the last ones.
        times: Vec<TimeCount>,
        /// Records before that, or whose field names no moment.
        other: usize,
        /// Records without the field, or with null.
        missing: usize,
    },
    /// Of [`Measure::Range`].
    Range {
        /// The smallest, in the order of values.
        min: Option<Value>,
        /// The largest.
        max: Option<Value>,
        /// Of those that are numbers.
        sum: f64,
        /// How many are numbers.
        numbers: usize,
        /// How many are numbers, texts or booleans: of what `min` and `max` are.
        count: usize,
        /// Records with an array, an object or a long text.
        other: usize,
        /// Records without the field, or with null.
        missing: usize,
    },
}

/// How many records have a value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ValueCount {
    /// The value.
    pub value: Value,
    /// How many.
    pub count: usize,
}

/// How many records lie in a period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TimeCount {
    /// The first day of it.
    pub from: String,
    /// How many.
    pub count: usize,
}

impl Measure {
    /// The most measures of one request.
    pub const MOST: usize = 8;
    /// The most values that are listed.
    pub const MOST_VALUES: usize = 1_000;
    /// The most periods that are listed.
    pub const MOST_PERIODS: usize = 10_000;
    /// How many values are listed when the caller does not say.
    const DEFAULT_TOP: usize = 20;

    /// Parses a list of measures: `{"by": field, "top"?: number}`, `{"by": field, "per": "day" | "week" | "month"}` or
    /// `{"of": field}`.
    ///
    /// # Errors
    /// When `list` is something else, or too long.
    pub fn parse_list(list: &Value) -> Result<Vec<Self>, QueryError> {
        let wrong = QueryError::WrongOption(
            "aggregates",
            "an array of {by, top}, {by, per: \"day\", \"week\" or \"month\"} or {of}",
        );
        let list = list.as_array().ok_or(wrong.clone())?;
        if list.len() > Self::MOST {
            return Err(QueryError::TooMany("aggregates", Self::MOST));
        }
        list.iter()
            .map(|one| Self::parse(one.as_object()?.clone()))
            .collect::<Option<Vec<_>>>()
            .ok_or(wrong)
    }

    fn parse(mut members: Map<String, Value>) -> Option<Self> {
        let path = |value: Value| FieldPath::parse(value.as_str()?).ok();
        let measure = match (members.remove("by"), members.remove("of")) {
            (None, Some(field)) => Self::Range {
                field: path(field)?,
            },
            (Some(field), None) => match members.remove("per") {
                None => {
                    let top = match members.remove("top") {
                        None => Self::DEFAULT_TOP,
                        Some(top) => usize::try_from(top.as_u64()?).ok()?,
                    };
                    let top = Some(top).filter(|top| *top <= Self::MOST_VALUES)?;
                    Self::ByValue {
                        field: path(field)?,
                        top,
                    }
                }
                Some(per) => Self::ByTime {
                    field: path(field)?,
                    per: match per.as_str()? {
                        "day" => Period::Day,
                        "week" => Period::Week,
                        "month" => Period::Month,
                        _ => return None,
                    },
                },
            },
            _ => return None,
        };
        members.is_empty().then_some(measure)
    }

    /// The field that is looked at.
    #[must_use]
    pub fn field(&self) -> &FieldPath {
        match self {
            Self::ByValue { field, .. } | Self::ByTime { field, .. } | Self::Range { field } => {
                field
            }
        }
    }
}

impl Period {
    /// The first day of the period of a moment, in days since 1970.
    fn first_day(self, moment: Instant) -> Option<i64> {
        let day = moment.milliseconds().div_euclid(DAY);
        match self {
            Self::Day => Some(day),
            // The day 0 was a Thursday.
            Self::Week => Some((day + 3).div_euclid(7) * 7 - 3),
            Self::Month => {
                let date = moment.date()?;
                let first = format!("{}01", date.get(..8)?);
                let first = Instant::parse(first.as_bytes())?;
                Some(first.milliseconds().div_euclid(DAY))
            }
        }
    }
}

impl Documents {
    /// Sums over the records that a selector takes within a view.
    ///
    /// # Errors
    /// When the selector or a measure touches what the view leaves out, which is known before anything is read; when
    /// there is no memory.
    pub fn aggregate(
        &self,
        view: &View,
        selector: &Selector,
        measures: &[Measure],
    ) -> Result<Vec<Summary>, QueryError> {
        view.may_select(selector)?;
        for measure in measures {
            view.may_ask(measure.field())?;
        }
        let access = self.access(selector, Filter::of(self, view), Building::Wanted);
        let _counted = self.budget().reserve(access.count * size_of::<u32>())?;
        let matches = self.matches(&access, selector);
        let summaries = measures.iter().map(|measure| match measure {
            Measure::ByValue { field, top } => self.by_value(&matches, field, *top),
            Measure::ByTime { field, per } => Ok(self.by_time(&matches, field, *per)),
            Measure::Range { field } => Ok(self.range(&matches, field)),
        });
        Ok(summaries.collect::<Result<_, OverBudget>>()?)
    }

    fn by_value(
        &self,
        matches: &[u32],
        path: &FieldPath,
        top: usize,
    ) -> Result<Summary, OverBudget> {
        // Where all records are asked about, their index serves the next question, too.
        let shared = (matches.len() == self.len())
            .then(|| self.index(path))
            .flatten();
        let index = match shared {
            Some(index) => index,
            None => Arc::new(self.index_of(path, matches)?),
        };
        let nulls = index.nulls();
        let mut tally = Tally::new(top);
        let mut at = nulls.end;
        while at < index.len() {
            let group = index.group(at, at..index.len());
            at = group.end;
            self.tally(&index, path, group, &mut tally)?;
        }
        let listed: Vec<_> = tally.listed();
        let counted: usize = listed.iter().map(|one| one.count).sum();
        Ok(Summary::ByValue {
            other: index.len() - nulls.len() - counted,
            values: listed,
            missing: index.missing().len() + nulls.len(),
        })
    }

    /// Counts the records with one key, or those whose keys begin alike.
    fn tally(
        &self,
        index: &Index,
        path: &FieldPath,
        group: Range<usize>,
        tally: &mut Tally,
    ) -> Result<(), OverBudget> {
        let entries = index.entries(group.clone());
        let fields = Fields::of(path);
        let value = |number: u32| fields.of_record(self.object(number));
        if !index.is_cut(group.start) {
            let first = entries.first().and_then(|entry| value(entry.slot));
            tally.add(first, entries.len());
            return Ok(());
        }
        let mut counted = self.budget().reserve(0)?;
        let mut keys: BTreeMap<Vec<u8>, (u32, usize)> = BTreeMap::new();
        for entry in entries {
            let Some(value) = value(entry.slot) else {
                continue;
            };
            if value.text().len() > LONGEST_VALUE {
                continue;
            }
            let mut key = Vec::new();
            write_key(value, MAX_SORT_KEY, &mut key);
            counted
                .resize(counted.bytes() + key.capacity() + size_of::<(Vec<u8>, (u32, usize))>())?;
            keys.entry(key).or_insert((entry.slot, 0)).1 += 1;
        }
        for (number, count) in keys.into_values() {
            tally.add(value(number), count);
        }
        Ok(())
    }

    fn by_time(&self, matches: &[u32], path: &FieldPath, per: Period) -> Summary {
        let fields = Fields::of(path);
        let mut days: BTreeMap<i64, usize> = BTreeMap::new();
        let (mut other, mut missing) = (0, 0);
        // Of too many periods the first ones are given up, and then nothing is counted in them again.
        let mut given_up = i64::MIN;
        for number in matches {
            let Some(value) = fields.of_record(self.object(*number)) else {
                missing += 1;
                continue;
            };
            if value.kind() == Kind::Null {
                missing += 1;
                continue;
            }
            let text = value.as_text().map(|text| text.decode());
            let moment = text.and_then(|text| Instant::parse(text.as_bytes()));
            let day = moment.and_then(|moment| per.first_day(moment));
            match day.filter(|day| *day > given_up) {
                None => other += 1,
                Some(day) => *days.entry(day).or_default() += 1,
            }
            if days.len() > Measure::MOST_PERIODS
                && let Some((day, count)) = days.pop_first()
            {
                given_up = day;
                other += count;
            }
        }
        let date = |day: i64| {
            Instant::of_milliseconds(day * DAY)
                .date()
                .unwrap_or_default()
        };
        let times = days.into_iter().map(|(day, count)| TimeCount {
            from: date(day),
            count,
        });
        Summary::ByTime {
            times: times.collect(),
            other,
            missing,
        }
    }

    fn range(&self, matches: &[u32], path: &FieldPath) -> Summary {
        let fields = Fields::of(path);
        let (mut min, mut max): (Option<LazyValue<'_>>, Option<LazyValue<'_>>) = (None, None);
        let (mut sum, mut numbers, mut count, mut other, mut missing) = (0.0, 0, 0, 0, 0);
        for number in matches {
            let value = fields.of_record(self.object(*number));
            let Some(value) = value.filter(|value| value.kind() != Kind::Null) else {
                missing += 1;
                continue;
            };
            if !can_be_shown(value) {
                other += 1;
                continue;
            }
            count += 1;
            if let Some(number) = value.as_number() {
                numbers += 1;
                sum += number;
            }
            if min.is_none_or(|least| compare(value, least).is_lt()) {
                min = Some(value);
            }
            if max.is_none_or(|most| compare(value, most).is_gt()) {
                max = Some(value);
            }
        }
        Summary::Range {
            min: min.and_then(shown),
            max: max.and_then(shown),
            sum,
            numbers,
            count,
            other,
            missing,
        }
    }
}

/// Looks at one field of records.
struct Fields<'p> {
    names: MemberNames,
    path: &'p FieldPath,
}

impl<'p> Fields<'p> {
    fn of(path: &'p FieldPath) -> Self {
        let mut names = MemberNames::default();
        names.slot(path.first());
        Self { names, path }
    }

    fn of_record<'o>(&self, object: &'o [u8]) -> Option<LazyValue<'o>> {
        field(&self.names, self.path, object)
    }
}

/// The most frequent values so far.
struct Tally {
    top: usize,
    values: Vec<ValueCount>,
}

impl Tally {
    fn new(top: usize) -> Self {
        Self {
            top,
            values: Vec::new(),
        }
    }

    /// Values come in their order.
    fn add(&mut self, value: Option<LazyValue<'_>>, count: usize) {
        if let Some(value) = value.and_then(shown) {
            self.values.push(ValueCount { value, count });
        }
        if self.values.len() > 2 * self.top {
            self.keep_top();
        }
    }

    fn keep_top(&mut self) {
        // Stable: among equals the order of values stays.
        self.values.sort_by_key(|value| Reverse(value.count));
        self.values.truncate(self.top);
    }

    fn listed(mut self) -> Vec<ValueCount> {
        self.keep_top();
        self.values
    }
}

fn can_be_shown(value: LazyValue<'_>) -> bool {
    !matches!(value.kind(), Kind::Array | Kind::Object) && value.text().len() <= LONGEST_VALUE
}

/// A value as it is shown: equal values alike, however they were written.
fn shown(value: LazyValue<'_>) -> Option<Value> {
    if !can_be_shown(value) {
        return None;
    }
    match value.as_number() {
        // Whole numbers that a double has exactly are written as such.
        Some(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
            Some(Value::from(number as i64))
        }
        Some(number) => Some(Value::from(number)),
        None => serde_json::from_slice(value.text()).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::budget::Budget;
    use super::*;
    use adyton_client::pull::PlainBatch;
    use adyton_couch::rev::Rev;
    use serde_json::json;

    fn documents(records: &[Value]) -> Documents {
        let mut documents = Documents::new(Budget::new(1 << 26));
        let mut batch = PlainBatch::default();
        for (n, record) in records.iter().enumerate() {
            let mut record = record.clone();
            record["_id"] = n.to_string().into();
            batch
                .push(&n.to_string(), Rev::LOWEST, record.to_string().as_bytes())
                .unwrap();
        }
        documents.apply(batch).unwrap();
        documents
    }

    fn ask(documents: &Documents, measures: &Value) -> Value {
        let measures = Measure::parse_list(measures).unwrap();
        let view = View::whole_database();
        let found = documents.aggregate(&view, &Selector::everything(), &measures);
        serde_json::to_value(found.unwrap()).unwrap()
    }

    #[test]
    fn values_are_counted_the_most_frequent_first() {
        let long = "x".repeat(200);
        let mut records = vec![
            json!({ "a": 1 }),
            json!({ "a": 1.0 }),
            json!({ "a": "b" }),
            json!({ "a": null }),
        ];
        records.extend([
            json!({}),
            json!({ "a": [1] }),
            json!({ "a": "x".repeat(2000) }),
        ]);
        records.extend(["1", "2", "2"].map(|tail| json!({ "a": format!("{long}{tail}") })));
        let found = ask(
            &documents(&records),
            &json!([{ "by": "a" }, { "by": "a", "top": 1 }]),
        );
        let values = json!([
            { "value": 1, "count": 2 }, { "value": format!("{long}2"), "count": 2 }, { "value": "b", "count": 1 },
            { "value": format!("{long}1"), "count": 1 },
        ]);
        assert_eq!(
            found[0],
            json!({ "values": values, "other": 2, "missing": 2 })
        );
        assert_eq!(
            found[1],
            json!({ "values": [{ "value": 1, "count": 2 }], "other": 6, "missing": 2 })
        );
    }

    #[test]
    fn times_are_counted_by_day_week_and_month() {
        let times = [
            "2026-01-31T23:30:00-01:00",
            "2026-02-01T00:00:00Z",
            "2026-02-02",
            "2025-12-29T12:00:00Z",
            "soon",
        ];
        let records: Vec<_> = times
            .iter()
            .map(|time| json!({ "at": time }))
            .chain([json!({ "at": null })])
            .collect();
        let found = ask(
            &documents(&records),
            &json!([
                { "by": "at", "per": "day" }, { "by": "at", "per": "week" }, { "by": "at", "per": "month" },
            ]),
        );
        let counts = |pairs: &[(&str, usize)]| {
            let times = pairs
                .iter()
                .map(|(from, count)| json!({ "from": from, "count": count }));
            json!({ "times": times.collect::<Vec<_>>(), "other": 1, "missing": 1 })
        };
        assert_eq!(
            found[0],
            counts(&[("2025-12-29", 1), ("2026-02-01", 2), ("2026-02-02", 1)])
        );
        assert_eq!(
            found[1],
            counts(&[("2025-12-29", 1), ("2026-01-26", 2), ("2026-02-02", 1)])
        );
        assert_eq!(found[2], counts(&[("2025-12-01", 1), ("2026-02-01", 3)]));
    }

    #[test]
    fn a_range_has_ends_and_a_sum() {
        let records = [
            json!({ "n": 3 }),
            json!({ "n": -1.5 }),
            json!({ "n": "text" }),
            json!({ "n": {} }),
            json!({}),
        ];
        let found = ask(
            &documents(&records),
            &json!([{ "of": "n" }, { "of": "absent" }]),
        );
        let expected = json!({ "min": -1.5, "max": "text", "sum": 1.5, "numbers": 2, "count": 3, "other": 1, "missing": 1 });
        assert_eq!(found[0], expected);
        assert_eq!(found[1]["min"], Value::Null);
    }

    #[test]
    fn what_is_no_measure_is_refused_and_so_are_too_many() {
        for wrong in [
            json!({}),
            json!([7]),
            json!([{}]),
            json!([{ "by": "a", "of": "b" }]),
            json!([{ "by": 7 }]),
            json!([{ "by": "a", "per": "year" }]),
            json!([{ "by": "a", "top": Measure::MOST_VALUES + 1 }]),
            json!([{ "of": "a", "top": 1 }]),
            json!([{ "by": "a", "per": "day", "top": 1 }]),
            json!(vec![json!({ "of": "a" }); Measure::MOST + 1]),
        ] {
            assert!(Measure::parse_list(&wrong).is_err(), "{wrong}");
        }
        assert!(Measure::parse_list(&json!(vec![json!({ "of": "a" }); Measure::MOST])).is_ok());
    }

    #[test]
    fn of_too_many_days_the_last_are_listed() {
        let day = |n: i64| Instant::of_milliseconds(n * DAY).to_string();
        let most = Measure::MOST_PERIODS as i64;
        // The first ones come last, when they have been given up.
        let records: Vec<_> = (0..most + 5)
            .rev()
            .chain([0])
            .map(|n| json!({ "at": day(n) }))
            .collect();
        let found = ask(&documents(&records), &json!([{ "by": "at", "per": "day" }]));
        let times = found[0]["times"].as_array().unwrap();
        assert_eq!(
            (times.len(), found[0]["other"].as_u64()),
            (Measure::MOST_PERIODS, Some(6))
        );
        assert_eq!(times[0]["from"], "1970-01-06");
    }
}
