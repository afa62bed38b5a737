//! Mango selectors: parsed once into a typed tree, evaluated on documents nobody has parsed.
//!
//! Guarantees: operators mean what PouchDB-find 9 means by them in memory (`SPEC.md` beside this
//! file lists each decision); a hostile selector is refused by size, depth and number of terms
//! before it costs anything; evaluation reads only the members that the selector names.

mod condition;
mod couchdb;
mod error;
mod operand;
mod parse;
mod path;
mod pattern;

pub use condition::Relation;
use condition::{Condition, Test};
pub use error::SelectorError;
pub use operand::Operand;
use parse::Parser;
pub use path::{FieldPath, walk};
pub use pattern::{Pattern, PatternError};

use crate::lazy_json::{LazyValue, MemberNames};

/// A parsed Mango selector.
#[derive(Clone, Debug)]
pub struct Selector {
    root: Condition,
    names: MemberNames,
    source: Box<str>,
}

impl Selector {
    /// The longest selector, as JSON text.
    pub const MAX_BYTES: usize = 64 * 1024;
    /// The most arrays and objects that may be open at one place.
    pub const MAX_DEPTH: usize = 32;
    /// The most operators and operands; every element of `$in`, `$nin` and `$all` is one.
    pub const MAX_TERMS: usize = 1000;

    /// Parses a selector from its JSON text.
    ///
    /// # Errors
    /// When the text is no selector or is over a limit. Nothing recurses before the limits hold.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut parser = Parser::default();
        let (root, source) = parser.selector(text)?;
        Ok(Self {
            root,
            names: parser.names,
            source: source.into(),
        })
    }

    /// Parses a selector that means what CouchDB's own `_find` means by it, which is stricter with what a document does
    /// not have (`SPEC.md`, "As CouchDB").
    ///
    /// # Errors
    /// As [`Selector::parse`].
    pub fn parse_as_couchdb(text: &str) -> Result<Self, SelectorError> {
        let mut selector = Self::parse(text)?;
        selector.root = couchdb::translated(selector.root);
        Ok(selector)
    }

    /// Whether every document that the selector takes has something at `path`.
    #[must_use]
    pub fn requires(&self, path: &FieldPath) -> bool {
        self.root.requires(path, &mut Vec::new())
    }

    /// The selector `{}`, which takes every document.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            root: Condition::All(Vec::new()),
            names: MemberNames::default(),
            source: "{}".into(),
        }
    }

    /// What was parsed, as JSON in one form: members sorted, no space.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The places that the selector looks at, each as its steps from the document inwards. Whoever changes nothing at
    /// these places, inside of them or on the way to them, does not change the answer.
    #[must_use]
    pub fn places(&self) -> Vec<Vec<&str>> {
        let mut places = Vec::new();
        self.root.places(&mut Vec::new(), &mut places);
        places
    }

    /// Whether `object`, the JSON text of a document, is what the selector asks for.
    #[must_use]
    pub fn takes(&self, object: &[u8]) -> bool {
        self.takes_with(object, &[])
    }

    /// Like [`Selector::takes`], for a document with `further` members that are not in its text.
    #[must_use]
    pub fn takes_with(&self, object: &[u8], further: &[(&str, LazyValue<'_>)]) -> bool {
        if self.names.len() <= 8 {
            self.takes_in(object, further, &mut [None; 8])
        } else {
            self.takes_in(object, further, &mut vec![None; self.names.len()])
        }
    }

    #[inline]
    fn takes_in<'a>(
        &self,
        object: &'a [u8],
        further: &[(&str, LazyValue<'a>)],
        slots: &mut [Option<LazyValue<'a>>],
    ) -> bool {
        for (name, value) in further {
            if let Some(slot) = self.names.find(name).and_then(|slot| slots.get_mut(slot)) {
                *slot = Some(*value);
            }
        }
        self.names.pick(object, slots);
        self.root.holds(slots, None)
    }

    /// Whether the selector reads the document's member `name`.
    #[must_use]
    pub fn reads(&self, name: &str) -> bool {
        self.names.find(name).is_some()
    }

    /// The demands on single fields that every matching document fulfils.
    #[must_use]
    pub fn conjunction(&self) -> Conjunction<'_> {
        let mut conjunction = Conjunction {
            conjuncts: Vec::new(),
            is_whole: true,
        };
        conjunction.collect(&self.root);
        conjunction
    }
}

/// By what was parsed; both are read in the same way, or neither is compared.
impl PartialEq for Selector {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Selector {}

/// What an index can know of a selector.
#[derive(Debug)]
pub struct Conjunction<'s> {
    /// Demands that all must hold.
    pub conjuncts: Vec<Conjunct<'s>>,
    /// Whether they are the whole selector, so that fulfilling them is enough.
    pub is_whole: bool,
}

/// A demand on one field.
#[derive(Debug, Clone, Copy)]
pub struct Conjunct<'s> {
    /// The field.
    pub path: &'s FieldPath,
    /// What its value must be.
    pub bound: Bound<'s>,
}

/// What a field's value must be.
#[derive(Debug, Clone, Copy)]
pub enum Bound<'s> {
    /// In this relation to the operand.
    Compare(Relation, &'s Operand),
    /// One of these, or an array with one of these in it; not null.
    OneOf(&'s [Operand]),
}

impl<'s> Conjunction<'s> {
    fn collect(&mut self, condition: &'s Condition) {
        match condition {
            Condition::All(all) => all.iter().for_each(|one| self.collect(one)),
            Condition::Member { path, is, .. } => self.collect_field(path, is),
            Condition::Any(_)
            | Condition::None(_)
            | Condition::Not(_)
            | Condition::Below { .. }
            | Condition::Is(_) => self.is_whole = false,
        }
    }

    fn collect_field(&mut self, path: &'s FieldPath, condition: &'s Condition) {
        match condition {
            Condition::All(all) => all.iter().for_each(|one| self.collect_field(path, one)),
            Condition::Is(Test::Compare(relation, operand)) => {
                self.conjuncts.push(Conjunct {
                    path,
                    bound: Bound::Compare(*relation, operand),
                });
            }
            Condition::Is(Test::OneOf(operands)) => {
                self.conjuncts.push(Conjunct {
                    path,
                    bound: Bound::OneOf(operands),
                });
            }
            _ => self.is_whole = false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(selector: &str, document: &str) -> bool {
        Selector::parse(selector)
            .unwrap_or_else(|error| panic!("{error}"))
            .takes(document.as_bytes())
    }

    #[test]
    fn every_place_that_is_looked_at_is_named() {
        for (selector, expected) in [
            ("{}", vec![]),
            (r#"{"a":1}"#, vec!["a"]),
            (r#"{"a":{}}"#, vec!["a"]),
            (r#"{"a.b":{"$gt":1,"c":{"d":2}}}"#, vec!["a.b", "a.b.c.d"]),
            (r#"{"a":{"b":1,"c":{"$exists":false}}}"#, vec!["a.b", "a.c"]),
            (
                r#"{"$or":[{"a":1},{"$nor":[{"b":1},{"$not":{"c":1}}]}]}"#,
                vec!["a", "b", "c"],
            ),
            (r#"{"a":{"$not":{"b":1}}}"#, vec!["a.b"]),
            (
                r#"{"a":{"$elemMatch":{"b":1,"c.d":{"$gt":1}}}}"#,
                vec!["a.b", "a.c.d"],
            ),
            (r#"{"a":{"$allMatch":{"$gt":1}}}"#, vec!["a"]),
            (r#"{"a":{"$allMatch":{}}}"#, vec!["a"]),
            (r#"{"a":{"$or":[]}}"#, vec!["a"]),
        ] {
            let selector = Selector::parse(selector).unwrap();
            let places: Vec<String> = selector
                .places()
                .iter()
                .map(|steps| steps.join("."))
                .collect();
            assert_eq!(places, expected, "{}", selector.source());
        }
    }

    #[test]
    fn fields_are_compared_and_anded() {
        let event =
            r#"{"_id":"1","n":5,"start":{"dateTime":"2026-01-02"},"tags":["a","b"],"z":null}"#;
        for (selector, expected) in [
            (r"{}", true),
            (r#"{"n":5}"#, true),
            (r#"{"n":5,"_id":"2"}"#, false),
            (r#"{"n":{"$gt":4,"$lte":5}}"#, true),
            (r#"{"n":{"$gt":5}}"#, false),
            (r#"{"start.dateTime":{"$gte":"2026-01-01"}}"#, true),
            (r#"{"start":{"dateTime":{"$gte":"2026-01-01"}}}"#, true),
            (r#"{"start":{"dateTime":"2026-01-02"}}"#, true),
            (r#"{"start":{"$eq":{"dateTime":"2026-01-02"}}}"#, true),
            (r#"{"start":{}}"#, true),
            (r#"{"tags":["a","b"]}"#, true),
            (r#"{"tags":{"$all":["b"]}}"#, true),
            (r#"{"tags":{"$in":["b","x"]}}"#, true),
            (r#"{"tags":{"$nin":["b","x"]}}"#, false),
            (r#"{"tags":{"$size":2}}"#, true),
            (r#"{"tags.1":"b"}"#, true),
            (r#"{"n":{"$mod":[3,2]}}"#, true),
            (r#"{"_id":{"$regex":"^[0-9]$"}}"#, true),
            (r#"{"n":{"$regex":"5"}}"#, false),
            (r#"{"n":{"$type":"number"},"z":{"$type":"null"}}"#, true),
            (r#"{"$or":[{"n":1},{"n":5}]}"#, true),
            (r#"{"$nor":[{"n":1},{"n":5}]}"#, false),
            (r#"{"$not":{"n":1}}"#, true),
            (r#"{"n":{"$not":{"$eq":1}}}"#, true),
            (r#"{"n":{"$or":[{"$lt":1},{"$gt":4}]}}"#, true),
            (r#"{"$and":[{"n":{"$gt":1}},{"n":{"$gt":9}}]}"#, false),
        ] {
            assert_eq!(takes(selector, event), expected, "{selector}");
        }
    }

    #[test]
    fn missing_and_null_fields_answer_as_in_pouchdb() {
        let document = r#"{"null":null}"#;
        for (selector, missing, null) in [
            (r#"{"F":{"$eq":null}}"#, false, true),
            (r#"{"F":null}"#, false, true),
            (r#"{"F":{"$ne":1}}"#, true, true),
            (r#"{"F":{"$ne":null}}"#, false, false),
            (r#"{"F":{"$lt":1}}"#, false, true),
            (r#"{"F":{"$gt":null}}"#, false, false),
            (r#"{"F":{"$gte":null}}"#, false, true),
            (r#"{"F":{"$exists":true}}"#, false, true),
            (r#"{"F":{"$exists":false}}"#, true, false),
            (r#"{"F":{"$in":[null,1]}}"#, false, false),
            (r#"{"F":{"$nin":[1]}}"#, false, false),
            (r#"{"F":{"$type":"null"}}"#, false, true),
            (r#"{"F":{"$not":{"$gt":1}}}"#, true, true),
            (r#"{"F":{}}"#, true, true),
            (r#"{"F":{"x":{"$exists":false}}}"#, true, true),
        ] {
            assert_eq!(
                takes(&selector.replace("F", "absent"), document),
                missing,
                "{selector}"
            );
            assert_eq!(
                takes(&selector.replace("F", "null"), document),
                null,
                "{selector}"
            );
        }
    }

    #[test]
    fn elements_are_matched_one_by_one() {
        let document = r#"{"to":[{"name":"Ann","n":1},{"name":"Bob","n":2}],"ns":[1,5],"e":[]}"#;
        for (selector, expected) in [
            (r#"{"to":{"$elemMatch":{"name":"Bob","n":2}}}"#, true),
            (r#"{"to":{"$elemMatch":{"name":"Bob","n":1}}}"#, false),
            (r#"{"to":{"$allMatch":{"n":{"$gt":0}}}}"#, true),
            (r#"{"ns":{"$elemMatch":{"$gt":4}}}"#, true),
            (r#"{"ns":{"$allMatch":{"$gt":4}}}"#, false),
            (r#"{"e":{"$allMatch":{"$gt":4}}}"#, false),
            (r#"{"e":{"$all":[]}}"#, true),
        ] {
            assert_eq!(takes(selector, document), expected, "{selector}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused_with_its_reason() {
        for (selector, reason) in [
            ("", "selector is not valid json"),
            ("[]", "selector must be an object"),
            (
                r#"{"a":{"$foo":1}}"#,
                "unknown operator \"$foo\" - should be one of $eq, $lte, $lt",
            ),
            (
                r#"{"$foo":1}"#,
                "unknown operator \"$foo\" - should be one of $eq, $lte, $lt",
            ),
            (
                r#"{"a":{"$beginsWith":"x"}}"#,
                "unknown operator \"$beginsWith\"",
            ),
            (
                r#"{"$gt":1}"#,
                "query operator at the top level must be $and, $or, $nor or $not",
            ),
            (r#"{"a":{"$in":1}}"#, "query operator $in must be an array"),
            (r#"{"$or":{}}"#, "query operator $or must be an array"),
            (
                r#"{"$or":[1]}"#,
                "query operator $or must be an array of objects",
            ),
            (r#"{"$not":[]}"#, "query operator $not must be an object"),
            (
                r#"{"a":{"$exists":1}}"#,
                "query operator $exists must be a boolean",
            ),
            (
                r#"{"a":{"$mod":[0,1]}}"#,
                "query operator $mod must be in the format",
            ),
            (
                r#"{"a":{"$mod":[1.5,1]}}"#,
                "query operator $mod must be in the format",
            ),
            (
                r#"{"a":{"$mod":[2]}}"#,
                "query operator $mod must be in the format",
            ),
            (
                r#"{"a":{"$size":-1}}"#,
                "query operator $size must be an integer",
            ),
            (r#"{"a":{"$type":"date"}}"#, "query operator $type must be"),
            (
                r#"{"a":{"$regex":1}}"#,
                "query operator $regex must be a string",
            ),
            (
                r#"{"a":{"$regex":"(?=x)"}}"#,
                "query operator $regex: look-around is not supported",
            ),
        ] {
            let error = Selector::parse(selector).unwrap_err().to_string();
            assert!(error.starts_with(reason), "{selector}: {error}");
        }
    }

    #[test]
    fn a_selector_one_over_a_limit_is_refused() {
        let deep = |levels: usize| {
            format!(
                "{}{}",
                r#"{"$not":"#.repeat(levels - 1) + "{",
                "}".repeat(levels)
            )
        };
        assert!(Selector::parse(&deep(Selector::MAX_DEPTH)).is_ok());
        assert_eq!(
            Selector::parse(&deep(Selector::MAX_DEPTH + 1)).unwrap_err(),
            SelectorError::TooDeep
        );
        let terms =
            |count: usize| format!(r#"{{"a":{{"$in":[{}]}}}}"#, vec!["1"; count - 1].join(","));
        assert!(Selector::parse(&terms(Selector::MAX_TERMS)).is_ok());
        assert_eq!(
            Selector::parse(&terms(Selector::MAX_TERMS + 1)).unwrap_err(),
            SelectorError::TooManyTerms
        );
        let long = |bytes: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 8));
        assert!(Selector::parse(&long(Selector::MAX_BYTES)).is_ok());
        assert_eq!(
            Selector::parse(&long(Selector::MAX_BYTES + 1)).unwrap_err(),
            SelectorError::TooLong
        );
    }

    #[test]
    fn a_selector_of_depth_ten_thousand_is_refused() {
        for open in ["{\"$not\":", "[", "{\"a\":", "{\"$or\":["] {
            let error = Selector::parse(&open.repeat(10_000 / open.len().min(6))).unwrap_err();
            assert!(
                matches!(error, SelectorError::TooDeep | SelectorError::TooLong),
                "{open}"
            );
        }
        assert_eq!(
            Selector::parse(&"[".repeat(10_000)).unwrap_err(),
            SelectorError::TooDeep
        );
    }

    #[test]
    fn members_beside_the_text_are_read_too() {
        let selector = Selector::parse(r#"{"_rev":{"$regex":"^3-"},"n":1}"#).unwrap();
        let rev = LazyValue::first_of(br#""3-abc""#).unwrap();
        assert!(selector.reads("_rev"));
        assert!(selector.takes_with(br#"{"n":1}"#, &[("_rev", rev)]));
        assert!(!selector.takes(br#"{"n":1}"#));
    }

    #[test]
    fn the_conjunction_holds_what_an_index_can_use() {
        let selector = Selector::parse(
            r#"{"a":1,"b.c":{"$gt":1,"$lt":9},"$and":[{"d":{"$in":[1,2]}}],"e":{"f":2}}"#,
        )
        .unwrap();
        let conjunction = selector.conjunction();
        let paths: Vec<_> = conjunction
            .conjuncts
            .iter()
            .map(|one| one.path.to_string())
            .collect();
        assert_eq!(paths, ["d", "a", "b.c", "b.c"]);
        assert!(!conjunction.is_whole);
        let selector = Selector::parse(r#"{"a":1,"b.c":{"$gt":1,"$lt":9}}"#).unwrap();
        assert!(selector.conjunction().is_whole);
        assert!(Selector::everything().conjunction().is_whole);
        assert!(
            !Selector::parse(r#"{"a":{"$ne":1}}"#)
                .unwrap()
                .conjunction()
                .is_whole
        );
    }
}
