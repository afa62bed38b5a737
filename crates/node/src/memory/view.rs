//! What a caller may see of a database: which records, and which of their fields.
//!
//! Guarantees: a question about a field that is left out is refused before any record is looked at, so that the refusal
//! tells nothing; a record outside the view does not exist; the text of a record inside it is written without what is
//! left out. Refuses to know: who the caller is, and what anybody granted.

use std::fmt;
use std::sync::Arc;

use adyton_couch::lazy_json::{Kind, LazyValue};
use adyton_couch::selector::{FieldPath, Selector, walk};
use adyton_protocol::scope::{FieldName, Instant, Narrowing, Window, time_field};

use super::projection::Projection;
use super::query::SortKey;

/// What a caller may see of a database. It stands outside of anything the caller says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    schema: Option<Arc<str>>,
    window: Window,
    left_out: Option<Arc<LeftOut>>,
}

/// The question touches a field that is left out of what was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the question touches a field that was not granted")]
pub struct FieldNotGranted;

/// Where fields are left out, their record's signatures are too: whoever has them can try out what the fields were.
const SIGNATURES: &str = "signatures";

impl View {
    /// All records of the database, with all their fields.
    #[must_use]
    pub const fn whole_database() -> Self {
        Self {
            schema: None,
            window: Window::ALWAYS,
            left_out: None,
        }
    }

    /// The records whose `schema` is exactly this, with all their fields.
    #[must_use]
    pub fn of_schema(schema: &str) -> Self {
        Self {
            schema: Some(schema.into()),
            ..Self::whole_database()
        }
    }

    /// This view, narrowed as a user said.
    #[must_use]
    pub fn narrowed(self, narrowing: Option<&Narrowing>) -> Self {
        match narrowing {
            None => self,
            Some(narrowing) => self
                .during(*narrowing.window())
                .without(narrowing.without()),
        }
    }

    /// Of this view, the records whose time lies in the window. A record that has no time does not.
    #[must_use]
    pub fn during(mut self, window: Window) -> Self {
        self.window = window;
        self
    }

    /// This view without some fields, and then without signatures.
    #[must_use]
    pub fn without(mut self, fields: &[FieldName]) -> Self {
        self.left_out = (!fields.is_empty()).then(|| {
            let mut left_out = LeftOut::default();
            left_out.add([SIGNATURES].into_iter());
            fields.iter().for_each(|field| left_out.add(field.steps()));
            Arc::new(left_out)
        });
        self
    }

    /// The schema whose records alone are seen.
    #[must_use]
    pub fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// The span of time whose records alone are seen.
    #[must_use]
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// Whether all records are seen with all their fields.
    #[must_use]
    pub fn is_whole_database(&self) -> bool {
        self.schema.is_none() && self.window.is_always() && !self.leaves_out_fields()
    }

    /// Whether records are seen without some of their fields.
    #[must_use]
    pub fn leaves_out_fields(&self) -> bool {
        self.left_out.is_some()
    }

    /// Checks that a field may be asked for: that nothing in it and nothing around it is left out.
    ///
    /// # Errors
    /// When it may not.
    pub fn may_ask(&self, path: &FieldPath) -> Result<(), FieldNotGranted> {
        self.may_ask_steps(path.steps().iter().map(|step| &**step))
    }

    /// Checks that all may be asked for that a selector looks at.
    ///
    /// # Errors
    /// When it may not.
    pub fn may_select(&self, selector: &Selector) -> Result<(), FieldNotGranted> {
        if self.left_out.is_none() {
            return Ok(());
        }
        selector
            .places()
            .into_iter()
            .try_for_each(|steps| self.may_ask_steps(steps.into_iter()))
    }

    /// Checks that all may be asked for that an order goes by.
    ///
    /// # Errors
    /// When it may not.
    pub fn may_sort(&self, sort: &[SortKey]) -> Result<(), FieldNotGranted> {
        sort.iter().try_for_each(|key| self.may_ask(&key.path))
    }

    /// Checks that all may be asked for that a projection serves.
    ///
    /// # Errors
    /// When it may not.
    pub fn may_serve(&self, projection: &Projection) -> Result<(), FieldNotGranted> {
        let mut places = projection.places().into_iter();
        places.try_for_each(|steps| self.may_ask_steps(steps.into_iter()))
    }

    fn may_ask_steps<'s>(
        &self,
        steps: impl Iterator<Item = &'s str>,
    ) -> Result<(), FieldNotGranted> {
        let Some(left_out) = &self.left_out else {
            return Ok(());
        };
        // The first step names a member. A number after it may step into a list, all of whose elements are alike here.
        let mut is_first = true;
        let names =
            steps.filter(|step| std::mem::take(&mut is_first) || step.parse::<usize>().is_err());
        match left_out.meets(names) {
            true => Err(FieldNotGranted),
            false => Ok(()),
        }
    }

    /// Whether a record is seen, told by its text alone.
    #[must_use]
    pub fn sees(&self, object: &[u8]) -> bool {
        if self.is_of_all_records() {
            return true;
        }
        let Some(object) = LazyValue::first_of(object) else {
            return false;
        };
        let schema = object.member("schema").and_then(LazyValue::as_text);
        if let Some(wanted) = &self.schema
            && !schema.is_some_and(|schema| schema.is(wanted))
        {
            return false;
        }
        if self.window.is_always() {
            return true;
        }
        let schema = schema.map(|schema| schema.decode());
        let path = FieldPath::parse(time_field(schema.as_deref()));
        path.is_ok_and(|path| is_in(&self.window, walk(object, path.steps())))
    }

    /// Whether every record is seen, be it with all of its fields or not.
    pub(super) fn is_of_all_records(&self) -> bool {
        self.schema.is_none() && self.window.is_always()
    }

    /// Writes the text of a record as it is seen. `false`: it is seen as it is, and nothing was written.
    pub(super) fn write(&self, object: &[u8], out: &mut Vec<u8>) -> bool {
        let (Some(left_out), Some(object)) = (&self.left_out, LazyValue::first_of(object)) else {
            return false;
        };
        left_out.write(object, out);
        true
    }

    /// Takes out of a record what is not seen of it.
    pub fn strip(&self, record: &mut serde_json::Map<String, serde_json::Value>) {
        if let Some(left_out) = &self.left_out {
            left_out.strip(record);
        }
    }
}

impl fmt::Display for View {
    /// The same text for the same view, and another for another.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left_out = self.left_out.as_deref();
        write!(f, "{:?} {:?} {left_out:?}", self.schema, self.window)
    }
}

/// Whether a record's time lies in a window. What names no moment does not.
pub(super) fn is_in(window: &Window, time: Option<LazyValue<'_>>) -> bool {
    moment(time).is_some_and(|moment| window.contains(moment))
}

/// The moment that a record's time names.
pub(super) fn moment(time: Option<LazyValue<'_>>) -> Option<Instant> {
    let text = time?.as_text()?;
    // Escapes are rare, and no time is long.
    match text.is_escaped() {
        false => Instant::parse(text.raw()),
        true => Instant::parse(text.decode().as_bytes()),
    }
}

/// The fields that are left out, as a tree of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct LeftOut {
    fields: Vec<Left>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Left {
    name: Box<str>,
    /// Nothing: all of the member.
    within: LeftOut,
}

impl LeftOut {
    /// A field, none of which lies inside another.
    fn add<'s>(&mut self, mut steps: impl Iterator<Item = &'s str>) {
        let Some(name) = steps.next() else { return };
        let found = self.fields.iter().position(|left| *left.name == *name);
        let at = found.unwrap_or_else(|| {
            let within = LeftOut::default();
            let name = name.into();
            self.fields.push(Left { name, within });
            self.fields.len() - 1
        });
        if let Some(left) = self.fields.get_mut(at) {
            left.within.add(steps);
        }
    }

    fn find(&self, name: &str) -> Option<&LeftOut> {
        let found = self.fields.iter().find(|left| *left.name == *name)?;
        Some(&found.within)
    }

    /// Nothing is named within: all of it is left out.
    fn is_all(&self) -> bool {
        self.fields.is_empty()
    }

    /// Whether a path leads into something that is left out, or something left out lies in what it leads to.
    fn meets<'s>(&self, steps: impl Iterator<Item = &'s str>) -> bool {
        let mut here = self;
        for step in steps {
            match here.find(step) {
                None => return false,
                Some(within) if within.is_all() => return true,
                Some(within) => here = within,
            }
        }
        true
    }

    /// Writes a value without what is left out. As deep as the value, and parsers limit how deep that is.
    fn write(&self, value: LazyValue<'_>, out: &mut Vec<u8>) {
        match value.kind() {
            Kind::Object => {
                out.push(b'{');
                let mut is_first = true;
                for member in value.members().into_iter().flatten() {
                    let within = self.find(&member.name.decode());
                    if within.is_some_and(LeftOut::is_all) {
                        continue;
                    }
                    if !std::mem::take(&mut is_first) {
                        out.push(b',');
                    }
                    out.push(b'"');
                    out.extend_from_slice(member.name.raw());
                    out.extend_from_slice(b"\":");
                    match within {
                        Some(within) => within.write(member.value, out),
                        None => out.extend_from_slice(member.value.text()),
                    }
                }
                out.push(b'}');
            }
            Kind::Array => {
                out.push(b'[');
                for (at, element) in value.elements().into_iter().flatten().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    self.write(element, out);
                }
                out.push(b']');
            }
            Kind::Null | Kind::False | Kind::True | Kind::Number | Kind::Text => {
                out.extend_from_slice(value.text());
            }
        }
    }

    fn strip(&self, record: &mut serde_json::Map<String, serde_json::Value>) {
        for left in &self.fields {
            if left.within.is_all() {
                record.remove(&*left.name);
            } else if let Some(value) = record.get_mut(&*left.name) {
                left.within.strip_value(value);
            }
        }
    }

    fn strip_value(&self, value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(members) => self.strip(members),
            serde_json::Value::Array(elements) => elements
                .iter_mut()
                .for_each(|element| self.strip_value(element)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn without(fields: &[&str]) -> View {
        let fields: Vec<_> = fields
            .iter()
            .map(|field| FieldName::parse(field).unwrap())
            .collect();
        View::whole_database().without(&fields)
    }

    fn moment(text: &str) -> Option<Instant> {
        Some(Instant::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn what_is_left_out_is_not_written_wherever_it_stands() {
        let view = without(&["body", "parts.text", "from.address.street"]);
        let record = r#" {"_id":"1", "body":"x","b\u006fdy":"again","signatures":{"k":"s"},
            "parts":[{"text":"x","name":"n"},[{"text":{"deep":"x"}}],"text",7,{"te\u0078t":1}],
            "from":{"address":"plain","text":"kept"},"n\"ame":null,"nobody":{"body":"kept"}} "#;
        let mut out = Vec::new();
        assert!(view.write(record.as_bytes(), &mut out));
        let written: Value = serde_json::from_slice(&out).unwrap();
        let expected = json!({
            "_id": "1", "parts": [{ "name": "n" }, [{}], "text", 7, {}],
            "from": { "address": "plain", "text": "kept" }, "n\"ame": null, "nobody": { "body": "kept" },
        });
        assert_eq!(written, expected);
        let Value::Object(mut members) = serde_json::from_str(record).unwrap() else {
            panic!("an object");
        };
        view.strip(&mut members);
        assert_eq!(Value::Object(members), expected);
    }

    #[test]
    fn whoever_touches_what_is_left_out_is_refused_and_nobody_else() {
        let view = without(&["body", "parts.text", "from.address.street"]);
        for (path, may) in [
            ("body", false),
            ("body.length", false),
            ("parts", false),
            ("parts.0", false),
            ("parts.0.text", false),
            ("parts.+1.text.x", false),
            ("parts.0.1.text", false),
            ("parts.name", true),
            ("parts.0.name", true),
            ("from", false),
            ("from.address", false),
            ("from.address.city", true),
            ("from.name", true),
            ("signatures", false),
            ("signatures.x", false),
            ("0.body", true),
            ("_id", true),
            ("_rev", true),
            ("bodys", true),
            (r"parts\.text", true),
        ] {
            let path = FieldPath::parse(path).unwrap();
            assert_eq!(view.may_ask(&path).is_ok(), may, "{path}");
            assert!(View::whole_database().may_ask(&path).is_ok());
            let sort = [SortKey {
                path: path.clone(),
                direction: super::super::Direction::Ascending,
            }];
            assert_eq!(view.may_sort(&sort).is_ok(), may, "{path}");
            let name = path.to_string();
            for selector in [
                json!({ &name: 1 }),
                json!({ "$or": [{ "_id": "1" }, { &name: { "$exists": true } }] }),
                json!({ &name: { "$elemMatch": { "$gt": 1 } } }),
                json!({ "$nor": [{ &name: {} }] }),
            ] {
                let selector = Selector::parse(&selector.to_string()).unwrap();
                assert_eq!(
                    view.may_select(&selector).is_ok(),
                    may,
                    "{}",
                    selector.source()
                );
            }
        }
    }

    #[test]
    fn a_window_takes_the_time_that_the_schema_names() {
        const MAIL: &str = "https://common.schemas.verida.io/social/email/v0.1.0/schema.json";
        const EVENT: &str = "https://common.schemas.verida.io/social/event/v0.1.0/schema.json";
        let window = Window::new(moment("2026-01-01"), moment("2026-02-01")).unwrap();
        let all = View::whole_database().during(window);
        let (inside, outside) = ("2026-01-31T23:59:59Z", "2026-02-01T00:00:00Z");
        for (record, is_seen) in [
            (
                json!({ "schema": MAIL, "sentAt": inside, "insertedAt": outside }),
                true,
            ),
            (
                json!({ "schema": MAIL, "sentAt": outside, "insertedAt": inside }),
                false,
            ),
            (json!({ "schema": MAIL, "insertedAt": inside }), false),
            (
                json!({ "schema": MAIL, "sentAt": 1_767_225_600_000_u64 }),
                false,
            ),
            (json!({ "schema": MAIL, "sentAt": null }), false),
            (
                json!({ "schema": EVENT, "start": { "dateTime": "2026-02-01T10:00:00+11:00" } }),
                true,
            ),
            (
                json!({ "schema": EVENT, "start": { "dateTime": "2026-01-31T23:00:00-05:00" } }),
                false,
            ),
            (json!({ "schema": EVENT, "start": inside }), false),
            (
                json!({ "schema": "https://other/schema.json", "insertedAt": inside }),
                true,
            ),
            (json!({ "insertedAt": inside }), true),
            (json!({}), false),
        ] {
            let text = record.to_string();
            assert_eq!(all.sees(text.as_bytes()), is_seen, "{text}");
            let mail = View::of_schema(MAIL).during(window);
            let is_mail = record["schema"] == MAIL;
            assert_eq!(mail.sees(text.as_bytes()), is_seen && is_mail, "{text}");
        }
    }
}
