//! `fields`: some members of a document, as a document of their own.

use std::collections::HashMap;

use super::MAX_PROJECTED_FIELDS;
use crate::document::write_json_text;
use crate::lazy_json::LazyValue;
use crate::selector::{FieldPath, SelectorError, walk};

/// The members to tell. A path tells its value at the same place: `a.b` is told as `{"a":{"b":…}}`.
#[derive(Debug, Clone)]
pub struct Projection {
    paths: Vec<FieldPath>,
}

/// What is told at one place.
enum Told<'a> {
    Value(LazyValue<'a>),
    Members(Members<'a>),
}

#[derive(Default)]
struct Members<'a> {
    /// In the order in which they were asked for.
    list: Vec<(&'a str, Told<'a>)>,
    places: HashMap<&'a str, usize>,
}

impl Projection {
    /// The projection to these fields; none of no fields, which asks for everything.
    pub fn of(fields: &[String]) -> Result<Option<Self>, SelectorError> {
        if fields.len() > MAX_PROJECTED_FIELDS {
            return Err(SelectorError::TooManyTerms);
        }
        let paths: Vec<FieldPath> = fields
            .iter()
            .map(|field| FieldPath::parse(field))
            .collect::<Result<_, _>>()?;
        Ok((!paths.is_empty()).then_some(Self { paths }))
    }

    /// The fields, as they are written.
    pub fn names(&self) -> Vec<String> {
        self.paths.iter().map(ToString::to_string).collect()
    }

    /// The told members of `document`, a JSON object's text, as an object.
    pub fn apply(&self, document: &[u8]) -> Vec<u8> {
        let mut told = Members::default();
        if let Some(document) = LazyValue::first_of(document) {
            for path in &self.paths {
                if let Some(value) = walk(document, path.steps()) {
                    told.put(path.steps(), value);
                }
            }
        }
        let mut out = Vec::new();
        told.write(&mut out);
        out
    }
}

impl<'a> Members<'a> {
    fn put(&mut self, steps: &'a [Box<str>], value: LazyValue<'a>) {
        let Some((name, rest)) = steps.split_first() else {
            return;
        };
        let place = *self.places.entry(name).or_insert_with(|| {
            self.list.push((name, Told::Members(Self::default())));
            self.list.len() - 1
        });
        let Some((_, told)) = self.list.get_mut(place) else {
            return;
        };
        match (told, rest) {
            // The whole is told already.
            (Told::Value(_), _) => {}
            (told, []) => *told = Told::Value(value),
            (Told::Members(members), rest) => members.put(rest, value),
        }
    }

    /// Depth is bounded by [`FieldPath::MAX_STEPS`].
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (i, (name, told)) in self.list.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            write_json_text(name, out);
            out.push(b':');
            match told {
                Told::Value(value) => out.extend_from_slice(value.text()),
                Told::Members(members) => members.write(out),
            }
        }
        out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(fields: &[&str], document: &str) -> String {
        let fields: Vec<String> = fields.iter().map(|f| (*f).to_owned()).collect();
        let projection = Projection::of(&fields).unwrap().unwrap();
        String::from_utf8(projection.apply(document.as_bytes())).unwrap()
    }

    #[test]
    fn fields_are_told_at_their_places_and_byte_for_byte() {
        let document = r#"{"_id":"x","a":{"b":1.0e2,"c":"\u00e9"},"l":[1,{"m":2}],"n":null}"#;
        assert_eq!(
            project(&["n", "_id", "absent", "a.absent"], document),
            r#"{"n":null,"_id":"x"}"#
        );
        assert_eq!(
            project(&["a.c", "n", "a.b"], document),
            r#"{"a":{"c":"\u00e9","b":1.0e2},"n":null}"#
        );
        assert_eq!(
            project(&["a.b", "a"], document),
            r#"{"a":{"b":1.0e2,"c":"\u00e9"}}"#
        );
        assert_eq!(
            project(&["a", "a.b"], document),
            r#"{"a":{"b":1.0e2,"c":"\u00e9"}}"#
        );
        assert_eq!(project(&["l.1.m"], document), r#"{"l":{"1":{"m":2}}}"#);
        assert!(Projection::of(&[]).unwrap().is_none());
        let many = vec!["a".to_owned(); MAX_PROJECTED_FIELDS + 1];
        assert!(Projection::of(&many).is_err());
    }
}
