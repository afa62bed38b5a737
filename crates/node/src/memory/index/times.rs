//! Where in an index the times of a window lie.
//!
//! Texts that name moments are nearly in the order of the moments: an offset from UTC shifts by less than a day. So
//! between two days after a window's beginning and two before its end the order of texts decides, and around both ends
//! each key is read.

use std::ops::Range;

use adyton_couch::collate::Key;
use adyton_couch::lazy_json::Kind;
use adyton_protocol::scope::{Instant, Window};

use super::Index;

const DAY: i64 = 86_400_000;

/// The moment that a key names, if it is that of a text that names one.
fn moment(key: &[u8]) -> Option<Instant> {
    let text = key.strip_prefix(&[Key::first_byte(Kind::Text)])?;
    // The byte that ends a text.
    Instant::parse(text.strip_suffix(&[0])?)
}

/// Whether a key is none of a text, or names a moment.
pub(super) fn is_no_other_text(key: &[u8]) -> bool {
    key.first() != Some(&Key::first_byte(Kind::Text)) || moment(key).is_some()
}

impl Index {
    /// The positions of the records whose time lies in `window`.
    pub(in super::super) fn during(&self, window: &Window) -> Vec<Range<usize>> {
        let texts = self.kinds(Kind::Text, Kind::Array);
        // The first position of a date so many days from a bound, if that can be written.
        let near = |bound: Instant, days: i64| {
            let date = Instant::of_milliseconds(bound.milliseconds() + days * DAY).date()?;
            let mut key = vec![Key::first_byte(Kind::Text)];
            key.extend_from_slice(date.as_bytes());
            Some(self.lower(&key).clamp(texts.start, texts.end))
        };
        let edge = |bound: Option<Instant>, days: i64, otherwise: usize| {
            bound.map_or(Some(otherwise), |bound| near(bound, days))
        };
        let first = edge(window.from(), -1, texts.start).unwrap_or(texts.start);
        let last = edge(window.until(), 2, texts.end).unwrap_or(texts.end);
        let certain = match (
            edge(window.from(), 2, texts.start),
            edge(window.until(), -1, texts.end),
        ) {
            (Some(from), Some(until)) if from < until && self.keys.are_times => from..until,
            _ => first..first,
        };
        let mut found = Vec::new();
        self.read_times(first..certain.start, window, &mut found);
        push(&mut found, certain.clone());
        self.read_times(certain.end..last, window, &mut found);
        found
    }

    /// Adds the positions within `range` whose keys name a moment in the window.
    fn read_times(&self, range: Range<usize>, window: &Window, found: &mut Vec<Range<usize>>) {
        let mut at = range.start;
        while at < range.end {
            let group = self.group(at, at..range.end);
            let key = self.entries.get(at).map(|entry| self.keys.get(entry.key));
            if key
                .and_then(moment)
                .is_some_and(|moment| window.contains(moment))
            {
                push(found, group.clone());
            }
            at = group.end;
        }
    }
}

/// Adds a range behind the others, as one with the last if nothing lies between them.
fn push(ranges: &mut Vec<Range<usize>>, range: Range<usize>) {
    match ranges.last_mut() {
        _ if range.is_empty() => {}
        Some(last) if last.end == range.start => last.end = range.end,
        _ => ranges.push(range),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::budget::Budget;
    use super::*;
    use adyton_couch::selector::FieldPath;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn value() -> impl Strategy<Value = Value> {
        let offset =
            prop::sample::select(vec!["Z", "+14:00", "-12:00", "+23:59", "-23:59", "z", ""]);
        let hour = prop::sample::select(vec![
            "T00:00:00",
            "T23:59:59",
            "T12:00:00.5",
            "t01:00:00.0004",
        ]);
        let time = (1..13_u8, hour, offset)
            .prop_map(|(day, hour, offset)| json!(format!("2026-01-{day:02}{hour}{offset}")));
        let date = (1..13_u8).prop_map(|day| json!(format!("2026-01-{day:02}")));
        let other = prop::sample::select(vec![
            json!(null),
            json!(7),
            json!(["2026-01-05"]),
            json!({"a": "2026-01-05"}),
            json!("0000-01-01"),
            json!("9999-12-31T23:59:59Z"),
        ]);
        prop_oneof![6 => time, 2 => date, 1 => other]
    }

    fn bound() -> impl Strategy<Value = Option<Instant>> {
        let texts = [
            "0000-01-01",
            "2026-01-03",
            "2026-01-05T12:00:00Z",
            "2026-01-08",
            "2026-01-08T00:00:00.500Z",
            "9999-12-31",
        ];
        let moments = texts.map(|text| Instant::parse(text.as_bytes()).unwrap());
        prop::option::of(prop::sample::select(moments.to_vec()))
    }

    proptest! {
        /// The index says what reading each record would.
        #[test]
        fn an_index_knows_a_window(
            values in prop::collection::vec(value(), 0..60),
            more in prop::collection::vec(value(), 0..20),
            all_times in any::<bool>(),
            (from, until) in (bound(), bound()),
        ) {
            let Some(window) = Window::new(from, until).filter(|window| !window.is_always()) else {
                return Ok(());
            };
            let is_time = |value: &Value| value.as_str().is_none_or(|text| Instant::parse(text.as_bytes()).is_some());
            let keep = |value: &Value| !all_times || is_time(value);
            let values: Vec<_> = values.into_iter().filter(keep).collect();
            let all: Vec<String> = values.iter().chain(more.iter().filter(|value| keep(value)))
                .map(|value| json!({ "t": value }).to_string()).collect();
            let path = FieldPath::parse("t").unwrap();
            let object = |slot: u32| all[slot as usize].as_bytes();
            let counted = Budget::new(1 << 20).reserve(0).unwrap();
            let mut index = Index::build(path, 0..values.len() as u32, object, counted).unwrap();
            let added: Vec<u32> = (values.len() as u32..all.len() as u32).collect();
            index.update(&added, |slot| Some(object(slot))).unwrap();
            prop_assert!(!all_times || index.keys.are_times);
            let ranges = index.during(&window);
            prop_assert!(ranges.iter().all(|range| !range.is_empty()));
            prop_assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
            let mut found: Vec<u32> = ranges.into_iter().flat_map(|range| index.entries(range)).map(|entry| entry.slot).collect();
            found.sort_unstable();
            let expected: Vec<u32> = (0..all.len() as u32).filter(|slot| {
                let record: Value = serde_json::from_str(&all[*slot as usize]).unwrap();
                let moment = record["t"].as_str().and_then(|text| Instant::parse(text.as_bytes()));
                moment.is_some_and(|moment| window.contains(moment))
            }).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
