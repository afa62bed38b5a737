//! How large a schema is with everything that it refers to written out in place. Pure, and its own work is limited.
//!
//! A few lines of references can stand for more rules than there are atoms (each of thirty definitions twice the next), and a
//! recursive one for as many as a record is deep. A schema of a user's own is measured before anything is compiled.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::own::Unfit;

/// Most levels, references written out.
pub(super) const MAX_DEPTH: usize = 48;
/// Most values of one schema, references written out.
pub(super) const MAX_WEIGHT: usize = 4_000;
/// Most values of all schemas of one user.
pub(super) const MAX_WEIGHT_OF_ALL: usize = 16_000;
/// What a pattern counts: a compiled one takes that much more than another rule.
pub(super) const PATTERN_WEIGHT: usize = 250;
/// What a value takes in memory once it is compiled, about. [`PATTERN_WEIGHT`] of them are the largest pattern with its cache.
pub(super) const BYTES_PER_WEIGHT: usize = 1024;

/// Keywords by which a reference could mean something else than what it says, or that read a record again at every level.
const REFUSED: [&str; 8] = [
    "$anchor",
    "$dynamicAnchor",
    "$dynamicRef",
    "$recursiveAnchor",
    "$recursiveRef",
    "$vocabulary",
    "unevaluatedItems",
    "unevaluatedProperties",
];

/// The measure of a part of a schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) weight: usize,
    depth: usize,
}

/// What a document refers to, and how large it is.
#[derive(Debug)]
pub(super) struct Unfolded {
    pub(super) size: Size,
    /// The other documents that are part of it, also by others.
    pub(super) parts: BTreeSet<String>,
}

/// Measures the document of this name.
pub(super) fn unfold<'d>(
    uri: &'d str,
    document_of: impl Fn(&str) -> Option<&'d Value>,
) -> Result<Unfolded, Unfit> {
    let mut measuring = Measuring {
        document_of: &document_of,
        known: BTreeMap::new(),
        begun: BTreeSet::new(),
        parts: BTreeSet::new(),
    };
    let size = measuring.target(uri.to_owned(), "", MAX_DEPTH)?;
    measuring.parts.remove(uri);
    Ok(Unfolded {
        size,
        parts: measuring.parts,
    })
}

struct Measuring<'f, 'd> {
    document_of: &'f dyn Fn(&str) -> Option<&'d Value>,
    /// What was measured: document and place.
    known: BTreeMap<(String, String), Size>,
    begun: BTreeSet<(String, String)>,
    parts: BTreeSet<String>,
}

impl<'d> Measuring<'_, 'd> {
    /// What a reference means; `left` levels may still be below it.
    fn target(&mut self, uri: String, place: &str, left: usize) -> Result<Size, Unfit> {
        let key = (uri, place.to_owned());
        if let Some(size) = self.known.get(&key) {
            return match size.depth <= left {
                true => Ok(*size),
                false => Err(Unfit::TooDeep),
            };
        }
        let document = (self.document_of)(&key.0).ok_or(Unfit::Reference)?;
        let part = document.pointer(place).ok_or(Unfit::Reference)?;
        if !part.is_object() && !part.is_boolean() {
            return Err(Unfit::Reference);
        }
        if !self.begun.insert(key.clone()) {
            return Err(Unfit::Recursive);
        }
        self.parts.insert(key.0.clone());
        let size = self.value(part, &key.0, place.is_empty(), left)?;
        self.begun.remove(&key);
        self.known.insert(key, size);
        Ok(size)
    }

    fn value(
        &mut self,
        value: &'d Value,
        uri: &str,
        is_root: bool,
        left: usize,
    ) -> Result<Size, Unfit> {
        let left = left.checked_sub(1).ok_or(Unfit::TooDeep)?;
        let mut whole = Size {
            weight: 1,
            depth: 0,
        };
        let mut add = |part: Size| {
            whole.weight = whole.weight.saturating_add(part.weight);
            whole.depth = whole.depth.max(part.depth);
            match whole.weight <= MAX_WEIGHT {
                true => Ok(()),
                false => Err(Unfit::TooLarge),
            }
        };
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    if let Some(refused) = REFUSED.iter().find(|refused| *refused == name) {
                        return Err(Unfit::Keyword(refused));
                    }
                    match (name.as_str(), member) {
                        // Another base would make every reference below it another one.
                        ("$id", Value::String(_)) if !is_root => return Err(Unfit::Keyword("$id")),
                        ("$schema", Value::String(_)) if !is_root => {
                            return Err(Unfit::Keyword("$schema"));
                        }
                        ("$ref", Value::String(reference)) => {
                            let (document, place) = parsed(reference, uri)?;
                            add(self.target(document, &place, left)?)?;
                        }
                        // A pattern of the record's: nothing says how long it takes to read one.
                        ("format", Value::String(format)) if format == "regex" => {
                            return Err(Unfit::Keyword("format: regex"));
                        }
                        ("pattern", Value::String(_)) => add(Size {
                            weight: PATTERN_WEIGHT,
                            depth: 0,
                        })?,
                        ("patternProperties", Value::Object(patterns)) => add(Size {
                            weight: PATTERN_WEIGHT.saturating_mul(patterns.len()),
                            depth: 0,
                        })?,
                        _ => {}
                    }
                    add(self.value(member, uri, false, left)?)?;
                }
            }
            Value::Array(items) => {
                for item in items {
                    add(self.value(item, uri, false, left)?)?;
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        whole.depth += 1;
        Ok(whole)
    }
}

/// A reference as a document and a place in it: `https://…`, `https://…#/$defs/a`, `#/$defs/a`, `#`. Nothing relative.
fn parsed(reference: &str, uri: &str) -> Result<(String, String), Unfit> {
    let (document, place) = reference.split_once('#').unwrap_or((reference, ""));
    let is_place = place.is_empty() || place.starts_with('/');
    let is_document = document.is_empty() || document.starts_with("https://");
    // Written with percent signs, the same place would have two names.
    if !is_place || !is_document || reference.contains('%') {
        return Err(Unfit::Reference);
    }
    let document = match document {
        "" => uri,
        document => document,
    };
    Ok((document.to_owned(), place.to_owned()))
}

/// Bytes of a text or a name that count as one value more: a pattern reads each of them.
const TEXT_STRIDE: usize = 16;

/// What a record takes to be held to its schema: its values, and its texts for the patterns.
pub(super) fn weight_of_record(record: &Value) -> usize {
    counted(record, &|text| text.len() / TEXT_STRIDE)
}

/// The values of a record and its names: as many places as a rule can be broken at.
pub(super) fn values_of_record(record: &Value) -> usize {
    counted(record, &|_| 0)
}

fn counted(value: &Value, text: &impl Fn(&str) -> usize) -> usize {
    // JSON that was parsed: its nesting is limited.
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
        Value::String(string) => 1 + text(string),
        Value::Array(items) => 1 + items.iter().map(|item| counted(item, text)).sum::<usize>(),
        Value::Object(members) => {
            let members = members.iter();
            1 + members
                .map(|(name, member)| 1 + text(name) + counted(member, text))
                .sum::<usize>()
        }
    }
}
