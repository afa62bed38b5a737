//! The records of a view, as the slots of one database know them.

use adyton_couch::lazy_json::{LazyValue, MemberNames};
use adyton_couch::selector::FieldPath;
use adyton_protocol::scope::{Window, time_field};

use super::documents::Documents;
use super::index::field;
use super::schemas::Schemas;
use super::slots::Slot;
use super::view::{View, is_in};

/// Which records a view lets through.
#[derive(Clone)]
pub(super) struct Filter<'v> {
    schema: Option<OfSchema<'v>>,
    times: Option<Times>,
}

#[derive(Clone, Copy)]
struct OfSchema<'v> {
    code: Option<u16>,
    name: &'v str,
}

/// When a record must have happened.
#[derive(Clone)]
struct Times {
    window: Window,
    /// The fields that say when: one, or those of all schemas.
    fields: Vec<TimeField>,
}

#[derive(Clone)]
struct TimeField {
    name: &'static str,
    path: FieldPath,
    names: MemberNames,
}

impl TimeField {
    fn new(name: &'static str) -> Option<Self> {
        let path = FieldPath::parse(name).ok()?;
        let mut names = MemberNames::default();
        names.slot(path.first());
        Some(Self { name, path, names })
    }
}

impl<'v> Filter<'v> {
    /// What `view` lets through of these records.
    pub(super) fn of(documents: &Documents, view: &'v View) -> Self {
        let schemas = documents.schemas();
        let schema = view.schema().map(|name| OfSchema {
            code: schemas.find(name),
            name,
        });
        let is_of_all = schema.is_some_and(|schema| {
            let count = schema.code.map(|code| schemas.count(code));
            count == Some(documents.len())
        });
        let times = (!view.window().is_always()).then(|| Times {
            window: *view.window(),
            fields: match view.schema() {
                Some(schema) => TimeField::new(time_field(Some(schema)))
                    .into_iter()
                    .collect(),
                None => documents.time_fields(),
            },
        });
        Self {
            schema: schema.filter(|_| !is_of_all),
            times,
        }
    }

    /// Whether every record is let through.
    pub(super) fn is_all(&self) -> bool {
        self.schema.is_none() && self.times.is_none()
    }

    /// The one field that says when all records happened, and when they must have.
    pub(super) fn time(&self) -> Option<(&FieldPath, &Window)> {
        let times = self.times.as_ref()?;
        match times.fields.as_slice() {
            [field] => Some((&field.path, &times.window)),
            _ => None,
        }
    }

    /// The same for records that are known to have happened in time.
    pub(super) fn in_time(self) -> Self {
        Self {
            times: None,
            ..self
        }
    }

    /// Whether the record is let through.
    #[inline]
    pub(super) fn has(&self, documents: &Documents, number: u32, slot: &Slot) -> bool {
        let is_of_schema = match self.schema {
            None => true,
            Some(OfSchema { code, .. }) if slot.schema != Schemas::OTHER => {
                code == Some(slot.schema)
            }
            Some(OfSchema { name, .. }) => LazyValue::first_of(documents.object(number))
                .and_then(|object| object.member("schema")?.as_text())
                .is_some_and(|schema| schema.is(name)),
        };
        is_of_schema
            && self
                .times
                .as_ref()
                .is_none_or(|times| times.has(documents, number, slot))
    }
}

impl Times {
    fn has(&self, documents: &Documents, number: u32, slot: &Slot) -> bool {
        let object = documents.object(number);
        let found = match self.fields.as_slice() {
            [only] => Some(only),
            several => {
                let name = match slot.schema {
                    Schemas::NONE => time_field(None),
                    Schemas::OTHER => {
                        let object = LazyValue::first_of(object);
                        let schema = object.and_then(|object| object.member("schema")?.as_text());
                        time_field(schema.map(|schema| schema.decode()).as_deref())
                    }
                    code => time_field(documents.schemas().name(code)),
                };
                several.iter().find(|field| field.name == name)
            }
        };
        found.is_some_and(|time| is_in(&self.window, field(&time.names, &time.path, object)))
    }
}

impl Documents {
    /// The fields that say when the records happened: one where all have one schema, else all there are.
    fn time_fields(&self) -> Vec<TimeField> {
        let schemas = self.schemas();
        let only = schemas.names().find(|(_, count)| *count == self.len());
        let names: &[&'static str] = match only {
            Some((name, _)) => &[time_field(Some(name))],
            None => &TIME_FIELDS,
        };
        names
            .iter()
            .filter_map(|name| TimeField::new(name))
            .collect()
    }
}

/// All that [`time_field`] answers.
const TIME_FIELDS: [&str; 4] = [
    "insertedAt",
    "sentAt",
    "start.dateTime",
    "followedTimestamp",
];
