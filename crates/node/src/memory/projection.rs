//! `fields`: which parts of a record are served.

use adyton_couch::lazy_json::LazyValue;
use adyton_couch::selector::FieldPath;
use bytes::Bytes;
use serde_json::Value;

use super::document::Document;
use super::query::QueryError;

/// What is written: short texts gathered, long values of records as they lie in memory, uncopied.
#[derive(Debug, Default)]
pub struct Parts {
    whole: Vec<Bytes>,
    gathering: Vec<u8>,
    length: usize,
}

impl Parts {
    /// Values from this length on are not copied.
    const LONG: usize = 16 * 1024;

    /// Goes on after `begun`.
    #[must_use]
    pub fn after(begun: Vec<u8>) -> Self {
        Self {
            length: begun.len(),
            gathering: begun,
            whole: Vec::new(),
        }
    }

    /// All finished pieces, and what was gathered behind them.
    #[must_use]
    pub fn into_pieces(self) -> (Vec<Bytes>, Vec<u8>) {
        (self.whole, self.gathering)
    }

    /// Bytes written in all.
    fn len(&self) -> usize {
        self.length
    }

    fn text(&mut self, text: &[u8]) {
        self.gathering.extend_from_slice(text);
        self.length += text.len();
    }

    /// Writes a value that stands in the text of `document`.
    fn value_of(&mut self, document: &Document, value: &[u8]) {
        if value.len() < Self::LONG {
            return self.text(value);
        }
        self.whole.push(std::mem::take(&mut self.gathering).into());
        self.whole.push(document.slice_of(value));
        self.length += value.len();
    }

    /// Unwrites the last bytes, which were short texts.
    fn take_back(&mut self, bytes: usize) {
        let kept = self.gathering.len().saturating_sub(bytes);
        self.gathering.truncate(kept);
        self.length -= bytes;
    }
}

/// The parts of a record that are served, in the order in which the record has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Projection {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    name: Box<str>,
    /// Empty: the whole member.
    within: Projection,
}

impl Projection {
    /// The most fields of one projection.
    pub const MOST_FIELDS: usize = 256;

    /// Parses a list of dotted paths.
    ///
    /// # Errors
    /// When `fields` is no array of paths, or is too long.
    pub fn parse(fields: &Value) -> Result<Self, QueryError> {
        let wrong = QueryError::WrongOption("fields", "an array of field names");
        let fields = fields.as_array().ok_or(wrong.clone())?;
        if fields.len() > Self::MOST_FIELDS {
            return Err(QueryError::TooMany("fields", Self::MOST_FIELDS));
        }
        let mut projection = Self::default();
        for field in fields {
            let path = FieldPath::parse(field.as_str().ok_or(wrong.clone())?)?;
            projection.add(path.steps());
        }
        Ok(projection)
    }

    fn add(&mut self, steps: &[Box<str>]) {
        let Some((name, rest)) = steps.split_first() else {
            return;
        };
        match self.parts.iter_mut().find(|part| part.name == *name) {
            // The whole of it is wanted already.
            Some(part) if part.within.parts.is_empty() => {}
            Some(part) if rest.is_empty() => part.within = Self::default(),
            Some(part) => part.within.add(rest),
            None => {
                let mut within = Self::default();
                within.add(rest);
                self.parts.push(Part {
                    name: name.clone(),
                    within,
                });
            }
        }
    }

    /// Writes the wanted parts of `document` as one object.
    pub fn write(&self, document: &Document, out: &mut Parts) {
        out.text(b"{");
        let before = out.len();
        if self.part("_rev").is_some() {
            out.text(format!("\"_rev\":\"{}\"", document.rev()).as_bytes());
        }
        if let Some(object) = LazyValue::first_of(document.object()) {
            self.write_members(document, object, before, out);
        }
        out.text(b"}");
    }

    /// Writes the wanted members of `object`, with a comma where something is there since `before`.
    fn write_members(
        &self,
        document: &Document,
        object: LazyValue<'_>,
        before: usize,
        out: &mut Parts,
    ) {
        for member in object.members().into_iter().flatten() {
            let Some(part) = self.part(&member.name.decode()) else {
                continue;
            };
            let start = out.len();
            if start > before {
                out.text(b",");
            }
            out.text(b"\"");
            out.text(member.name.raw());
            out.text(b"\":");
            if part.within.parts.is_empty() {
                out.value_of(document, member.value.text());
                continue;
            }
            out.text(b"{");
            let inside = out.len();
            part.within
                .write_members(document, member.value, inside, out);
            if out.len() == inside {
                // Nothing of it is there: as if the member were not.
                out.take_back(inside - start);
            } else {
                out.text(b"}");
            }
        }
    }

    /// The paths of the wanted parts, as steps.
    pub(super) fn places(&self) -> Vec<Vec<&str>> {
        let mut places = Vec::new();
        for part in &self.parts {
            let within = part.within.places();
            if within.is_empty() {
                places.push(vec![&*part.name]);
            }
            for mut steps in within {
                steps.insert(0, &part.name);
                places.push(steps);
            }
        }
        places
    }

    fn part(&self, name: &str) -> Option<&Part> {
        self.parts.iter().find(|part| *part.name == *name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Budget, Documents, View};
    use super::*;
    use adyton_client::pull::PlainBatch;
    use adyton_couch::rev::Rev;
    use serde_json::json;

    #[test]
    fn long_values_are_served_from_where_they_lie() {
        let long = "x".repeat(Parts::LONG);
        let record =
            json!({ "_id": "a", "body": long, "in": { "body": long, "z": 1 }, "none": { "y": 1 } });
        let mut batch = PlainBatch::default();
        let text = record.to_string();
        batch.push("a", Rev::LOWEST, text.as_bytes()).unwrap();
        let mut documents = Documents::new(Budget::new(1 << 20));
        documents.apply(batch).unwrap();
        let document = documents
            .get(&View::whole_database(), "a")
            .unwrap()
            .unwrap();

        let fields = json!(["body", "in.body", "in.z", "none.absent"]);
        let mut parts = Parts::after(b"before ".to_vec());
        Projection::parse(&fields)
            .unwrap()
            .write(&document, &mut parts);
        let (whole, rest) = parts.into_pieces();
        let held = document.object().as_ptr_range();
        let uncopied = whole.iter().filter(|piece| held.contains(&piece.as_ptr()));
        assert_eq!((uncopied.count(), whole.len()), (2, 4));
        let mut all: Vec<u8> = whole.iter().flatten().copied().collect();
        all.extend(rest);
        let served: Value = serde_json::from_slice(all.strip_prefix(b"before ").unwrap()).unwrap();
        let wanted = json!({ "body": long, "in": { "body": long, "z": 1 } });
        assert_eq!(served, wanted);
    }
}
