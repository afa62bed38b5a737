//! A compiled schema: says whether a record is valid, or which rules it breaks.

use jsonschema::{Draft, PatternOptions, Registry};
use serde::Serialize;
use serde_json::Value;

use super::violation::Violation;

/// An invalid record is described by at most this many violations.
pub const MAX_VIOLATIONS: usize = 16;

/// A schema, compiled. Formats are asserted; patterns run in linear time.
#[derive(Debug)]
pub struct Validator(jsonschema::Validator);

impl Validator {
    pub(super) fn compile(document: &Value, registry: &Registry<'_>) -> Result<Self, String> {
        jsonschema::options()
            .with_draft(Draft::Draft202012)
            .with_registry(registry)
            .with_pattern_options(PatternOptions::regex())
            .should_validate_formats(true)
            .build(document)
            .map(Self)
            .map_err(|error| error.to_string())
    }

    /// The record as a valid one, or all that is wrong with it.
    ///
    /// The record must already carry its `schema`: the base schema requires it.
    pub fn validate<'r>(&self, record: &'r Value) -> Result<ValidRecord<'r>, InvalidRecord> {
        if self.0.is_valid(record) {
            return Ok(ValidRecord(record));
        }
        let violations = self.0.iter_errors(record).take(MAX_VIOLATIONS);
        Err(InvalidRecord {
            violations: violations.map(|error| Violation::of(&error)).collect(),
        })
    }
}

/// A record that its schema accepts. Made by [`Validator::validate`] alone.
#[derive(Clone, Copy, Debug)]
pub struct ValidRecord<'r>(&'r Value);

impl<'r> ValidRecord<'r> {
    /// The record.
    pub fn value(self) -> &'r Value {
        self.0
    }
}

/// A record that its schema refuses. Serialises as the list of violations.
#[derive(Clone, Debug, PartialEq, Serialize, thiserror::Error)]
#[error("the record breaks {} rule(s) of its schema", violations.len())]
#[serde(transparent)]
pub struct InvalidRecord {
    violations: Vec<Violation>,
}

impl InvalidRecord {
    /// What is wrong, in the order of the schema; at most [`MAX_VIOLATIONS`].
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }
}
