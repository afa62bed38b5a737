//! What a search asks for: the parameters of the original with all the names that clients send, and ours beside them.

use std::time::UNIX_EPOCH;

use adyton_client::clock::Clock;
use adyton_search::{Combine, Options, Prefix, Query, Spelling, parse_time};
use base64_simd::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::path::QueryString;
use super::problem::ApiProblem;
use crate::memory::{Place, Search};

/// Most records in one answer.
pub(super) const MAX_LIMIT: usize = 1_000;
/// Most names in a list of fields.
const MAX_NAMES: usize = 64;
const DEFAULT_LIMIT: usize = 20;
/// The longest cursor, in bytes.
const MAX_CURSOR: usize = 2_048;
const DAY: i64 = 86_400_000;

/// The parameters of a search, before anything is known about them.
#[derive(Debug)]
pub(super) struct Parameters {
    members: Map<String, Value>,
    known: &'static [&'static str],
    has_keywords: bool,
}

impl Parameters {
    /// Those of a URL.
    pub(super) fn of_url(
        text: Option<&str>,
        known: &'static [&'static str],
    ) -> Result<Self, ApiProblem> {
        let mut given = QueryString::parse(text)?;
        let mut members = Map::new();
        for name in known {
            if let Some(value) = given.take(name) {
                members.insert((*name).to_owned(), Value::String(value));
            }
        }
        given.nothing_else(known)?;
        Ok(Self::of_body(members, known))
    }

    /// Those of a body.
    pub(super) fn of_body(members: Map<String, Value>, known: &'static [&'static str]) -> Self {
        Self {
            members,
            known,
            has_keywords: false,
        }
    }

    fn take(&mut self, names: &[&str]) -> Result<Option<Value>, ApiProblem> {
        let mut found = None;
        for name in names {
            let value = self.members.remove(*name).filter(|value| !value.is_null());
            if value.is_some() && found.replace(value).is_some() {
                let names = names.join(", ");
                return Err(ApiProblem::malformed(format!("give only one of {names}")));
            }
        }
        Ok(found.flatten())
    }

    pub(super) fn text(&mut self, names: &[&str]) -> Result<Option<String>, ApiProblem> {
        match self.take(names)? {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(must_be(names, "a text")),
        }
    }

    pub(super) fn number(
        &mut self,
        name: &str,
        most: usize,
        usual: usize,
    ) -> Result<usize, ApiProblem> {
        let number = match self.take(&[name])? {
            None => return Ok(usual),
            Some(Value::String(text)) => text.parse().ok(),
            Some(value) => value
                .as_u64()
                .and_then(|number| usize::try_from(number).ok()),
        };
        number
            .filter(|number| *number <= most)
            .ok_or_else(|| must_be(&[name], &format!("a whole number from 0 to {most}")))
    }

    pub(super) fn flag(&mut self, name: &str, usual: bool) -> Result<bool, ApiProblem> {
        match self.take(&[name])? {
            None => Ok(usual),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(Value::String(text)) if text == "true" => Ok(true),
            Some(Value::String(text)) if text == "false" => Ok(false),
            Some(_) => Err(must_be(&[name], "true or false")),
        }
    }

    /// A list of names: an array, or a text with commas.
    pub(super) fn names(&mut self, names: &[&str]) -> Result<Option<Vec<String>>, ApiProblem> {
        let wrong = || must_be(names, "a list of names");
        let found: Vec<String> = match self.take(names)? {
            None => return Ok(None),
            Some(Value::String(text)) => text
                .split(',')
                .map(|name| name.trim().to_owned())
                .filter(|name| !name.is_empty())
                .collect(),
            Some(Value::Array(list)) => {
                let texts = list.into_iter().map(|name| match name {
                    Value::String(name) => Some(name),
                    _ => None,
                });
                texts.collect::<Option<_>>().ok_or_else(wrong)?
            }
            Some(_) => return Err(wrong()),
        };
        match found.len() <= MAX_NAMES {
            true => Ok(Some(found)),
            false => Err(wrong()),
        }
    }

    /// Whether the search that was read said what to look for.
    pub(super) fn has_keywords(&self) -> bool {
        self.has_keywords
    }

    /// What all searches have in common.
    pub(super) fn search(&mut self, clock: &Clock) -> Result<Search, ApiProblem> {
        let keywords = self.text(&["keywords", "query", "q"])?;
        self.has_keywords = keywords.is_some();
        let keywords = keywords.unwrap_or_default();
        let mut query =
            Query::parse(&keywords).map_err(|error| ApiProblem::malformed(error.to_string()))?;
        let now = clock.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        let timeframe = self.text(&["timeframe"])?;
        let days = match timeframe.as_deref() {
            None | Some("all" | "") => None,
            Some("day") => Some(1),
            Some("week") => Some(7),
            Some("month") => Some(30),
            Some("quarter") => Some(90),
            Some("half-year") => Some(180),
            Some("full-year") => Some(365),
            Some(_) => {
                let known = "day, week, month, quarter, half-year, full-year or all";
                return Err(must_be(&["timeframe"], known));
            }
        };
        let later = |one: Option<i64>, other: Option<i64>| one.max(other);
        query.after = later(query.after, days.map(|days| now - days * DAY));
        query.after = later(query.after, self.time("after")?);
        if let Some(before) = self.time("before")? {
            query.before = Some(query.before.map_or(before, |other| other.min(before)));
        }
        let limit = self.number("limit", MAX_LIMIT, DEFAULT_LIMIT)?;
        // Whoever pages by number gets the first page alone: a cursor says where the next one begins.
        let _ = self.number("skip", 0, 0)?;
        Ok(Search {
            typed: keywords,
            query,
            options: Options {
                now: Some(now),
                ..Options::default()
            },
            limit,
            least_of_each: 0,
            after: self
                .text(&["cursor"])?
                .map(|text| read_cursor(&text))
                .transpose()?,
            facets: self.names(&["facets"])?.unwrap_or_default(),
            highlight: self.flag("highlight", false)?,
        })
    }

    fn time(&mut self, name: &str) -> Result<Option<i64>, ApiProblem> {
        let Some(text) = self.text(&[name])? else {
            return Ok(None);
        };
        let time = parse_time(&text);
        time.map(Some)
            .ok_or_else(|| must_be(&[name], "a date, as in 2026-01-31"))
    }

    /// The original's options: those of MiniSearch, as far as they have a meaning here.
    pub(super) fn options(&mut self, options: &mut Options) -> Result<(), ApiProblem> {
        let given = match self.take(&["options"])? {
            None => Map::new(),
            Some(Value::Object(given)) => given,
            Some(_) => return Err(must_be(&["options"], "an object")),
        };
        let mut inner = Self::of_body(given, &OPTION_NAMES);
        if let Some(fields) = inner.names(&["fields"])? {
            options.fields = fields;
        }
        match inner.take(&["boost"])? {
            None => {}
            Some(Value::Object(boosts)) if boosts.len() <= MAX_NAMES => {
                for (name, factor) in boosts {
                    let factor = factor
                        .as_f64()
                        .filter(|factor| (0.0..=100.0).contains(factor));
                    let factor = factor
                        .ok_or_else(|| must_be(&["boost"], "factors from 0 to 100 by field"))?;
                    options.boosts.push((name, factor as f32));
                }
            }
            Some(_) => return Err(must_be(&["boost"], "factors by field")),
        }
        options.prefix = match inner.take(&["prefix"])? {
            None => Prefix::Last,
            Some(Value::Bool(true)) => Prefix::Every,
            Some(Value::Bool(false)) => Prefix::Starred,
            Some(_) => return Err(must_be(&["prefix"], "true or false")),
        };
        options.spelling = match inner.take(&["fuzzy"])? {
            None => Spelling::WhenFew,
            Some(Value::Bool(false)) => Spelling::Exact,
            Some(Value::Bool(true)) => Spelling::Tolerant,
            Some(value) => match value.as_f64() {
                Some(0.0) => Spelling::Exact,
                Some(share) if share > 0.0 => Spelling::Tolerant,
                _ => return Err(must_be(&["fuzzy"], "true, false or a positive number")),
            },
        };
        options.most_errors = inner.number("maxFuzzy", 1_000, 2)?.min(2);
        options.combine = match inner.text(&["combineWith"])?.as_deref() {
            None => Combine::Any,
            Some(text) if text.eq_ignore_ascii_case("or") => Combine::Any,
            Some(text) if text.eq_ignore_ascii_case("and") => Combine::All,
            Some(text) if text.eq_ignore_ascii_case("and_not") => Combine::FirstAlone,
            Some(_) => return Err(must_be(&["combineWith"], "AND, OR or AND_NOT")),
        };
        // How much each of these counts is not for callers to say: scores of all kinds of records are one scale.
        for name in ["weights", "bm25"] {
            if inner.take(&[name])?.is_some_and(|value| !value.is_object()) {
                return Err(must_be(&[name], "an object"));
            }
        }
        inner.nothing_else("`options`")
    }

    /// Refuses what was not taken: a misspelt name must not be ignored in silence.
    pub(super) fn nothing_else(self, place: &str) -> Result<(), ApiProblem> {
        match self.members.is_empty() {
            true => Ok(()),
            false => Err(ApiProblem::unknown_member(place, self.known)),
        }
    }
}

const OPTION_NAMES: [&str; 8] = [
    "fields",
    "boost",
    "prefix",
    "fuzzy",
    "maxFuzzy",
    "combineWith",
    "weights",
    "bm25",
];

fn must_be(names: &[&str], what: &str) -> ApiProblem {
    let names = names.join(" or ");
    ApiProblem::malformed(format!("`{names}` must be {what}"))
}

/// A place as a text that means nothing to anybody else.
pub(super) fn write_cursor(place: &Place) -> String {
    let Place {
        score,
        time,
        kind,
        id,
    } = place;
    let text = format!("{:08x}{time:016x}{kind:02x}{id}", score.to_bits());
    URL_SAFE_NO_PAD.encode_to_string(text)
}

/// Reads what [`write_cursor`] wrote.
pub(super) fn read_cursor(text: &str) -> Result<Place, ApiProblem> {
    let read = || {
        if text.len() > MAX_CURSOR {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode_to_vec(text).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let score = f32::from_bits(u32::from_str_radix(text.get(..8)?, 16).ok()?);
        let time = u64::from_str_radix(text.get(8..24)?, 16)
            .ok()?
            .cast_signed();
        let kind = usize::from(u8::from_str_radix(text.get(24..26)?, 16).ok()?);
        Some(Place {
            score: Some(score).filter(|score| score.is_finite())?,
            time,
            kind,
            id: text.get(26..)?.to_owned(),
        })
    };
    read().ok_or_else(|| must_be(&["cursor"], "one that an answer to this search gave"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const KNOWN: &[&str] = &[
        "keywords",
        "limit",
        "options",
        "index",
        "indexFields",
        "cursor",
        "timeframe",
    ];

    fn parameters(value: Value) -> Parameters {
        let Value::Object(members) = value else {
            panic!("an object")
        };
        Parameters::of_body(members, KNOWN)
    }

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        for (score, time) in [(0.0, i64::MIN), (7.25, -1), (f32::MAX, i64::MAX)] {
            let place = Place {
                score,
                time,
                kind: 6,
                id: "id \u{e9}".to_owned(),
            };
            assert_eq!(read_cursor(&write_cursor(&place)).unwrap(), place);
        }
        let nan = Place {
            score: f32::NAN,
            time: 0,
            kind: 0,
            id: String::new(),
        };
        for wrong in [
            "",
            "x",
            "AAAA",
            "\u{e9}",
            &write_cursor(&nan),
            &"A".repeat(3000),
        ] {
            assert!(read_cursor(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn any_text_is_a_cursor_or_is_refused() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let text = URL_SAFE_NO_PAD.encode_to_string(bytes);
            if let Ok(place) = read_cursor(&text) {
                assert_eq!(read_cursor(&write_cursor(&place)).unwrap(), place);
            }
            let _: Result<Place, ApiProblem> = read_cursor(&String::from_utf8_lossy(bytes));
        });
    }

    #[test]
    fn the_originals_options_have_a_meaning() {
        let mut options = Options::default();
        let mut given = parameters(json!({ "options": {
            "boost": { "name": 2 }, "prefix": true, "fuzzy": 0.2, "maxFuzzy": 6, "combineWith": "AND",
            "weights": { "fuzzy": 0.45 }, "bm25": { "k": 1.2 }, "fields": ["name"],
        }}));
        given.options(&mut options).unwrap();
        assert_eq!(options.boosts, [("name".to_owned(), 2.0)]);
        assert_eq!(
            (options.prefix, options.spelling, options.combine),
            (Prefix::Every, Spelling::Tolerant, Combine::All)
        );
        assert_eq!(
            (options.most_errors, options.fields),
            (2, vec!["name".to_owned()])
        );
        for wrong in [
            json!({ "boost": { "name": 101 } }),
            json!({ "boost": 2 }),
            json!({ "prefix": 1 }),
            json!({ "fuzzy": -1 }),
            json!({ "combineWith": "XOR" }),
            json!({ "bm25": 7 }),
            json!({ "tokenize": "x" }),
            json!([]),
        ] {
            let given = parameters(json!({ "options": wrong })).options(&mut Options::default());
            assert!(given.is_err(), "{wrong}");
        }
    }

    #[test]
    fn parameters_are_held_to_their_kinds() {
        let clock = Clock::system();
        let search =
            parameters(json!({ "keywords": "a after:2020", "limit": "7", "timeframe": "week" }))
                .search(&clock)
                .unwrap();
        assert_eq!(search.limit, 7);
        assert!(search.query.after.unwrap() > parse_time("2024").unwrap());
        for wrong in [
            json!({ "keywords": 7 }),
            json!({ "keywords": "x".repeat(3000) }),
            json!({ "limit": 1001 }),
            json!({ "limit": -1 }),
            json!({ "timeframe": "decade" }),
            json!({ "cursor": "x" }),
        ] {
            assert!(parameters(wrong.clone()).search(&clock).is_err(), "{wrong}");
        }
        assert!(
            parameters(json!({ "index": ["a"], "indexFields": ["b"] }))
                .names(&["index", "indexFields"])
                .is_err()
        );
        assert!(
            parameters(json!({ "index": vec!["a"; MAX_NAMES + 1] }))
                .names(&["index"])
                .is_err()
        );
        assert!(Parameters::of_url(Some("keyword=x"), KNOWN).is_err());
    }
}
