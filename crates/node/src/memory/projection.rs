//! `fields`: which parts of a record are served.

use adyton_couch::lazy_json::LazyValue;
use adyton_couch::selector::FieldPath;
use serde_json::Value;

use super::document::Document;
use super::query::QueryError;

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
    pub fn write(&self, document: &Document, out: &mut Vec<u8>) {
        out.push(b'{');
        let before = out.len();
        if self.part("_rev").is_some() {
            out.extend_from_slice(format!("\"_rev\":\"{}\"", document.rev()).as_bytes());
        }
        if let Some(object) = LazyValue::first_of(document.object()) {
            self.write_members(object, before, out);
        }
        out.push(b'}');
    }

    /// Writes the wanted members of `object`, with a comma where something is there since `before`.
    fn write_members(&self, object: LazyValue<'_>, before: usize, out: &mut Vec<u8>) {
        for member in object.members().into_iter().flatten() {
            let Some(part) = self.part(&member.name.decode()) else {
                continue;
            };
            let start = out.len();
            if start > before {
                out.push(b',');
            }
            out.push(b'"');
            out.extend_from_slice(member.name.raw());
            out.extend_from_slice(b"\":");
            if part.within.parts.is_empty() {
                out.extend_from_slice(member.value.text());
                continue;
            }
            out.push(b'{');
            let inside = out.len();
            part.within.write_members(member.value, inside, out);
            if out.len() == inside {
                // Nothing of it is there: as if the member were not.
                out.truncate(start);
            } else {
                out.push(b'}');
            }
        }
    }

    fn part(&self, name: &str) -> Option<&Part> {
        self.parts.iter().find(|part| *part.name == *name)
    }
}
