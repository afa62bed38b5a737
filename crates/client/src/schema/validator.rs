//! A compiled schema: says whether a record is valid, or which rules it breaks.

use jsonschema::{Draft, PatternOptions, Registry};
use serde::Serialize;
use serde_json::Value;

use super::unfolded::weight_of_record;
use super::violation::Violation;

/// An invalid record is described by at most this many violations.
pub const MAX_VIOLATIONS: usize = 16;

/// Most work that holding a record to a schema of a user's own may be: values of the one times values of the other.
const MAX_WORK: usize = 10_000_000;
/// Largest pattern of such a schema, compiled, in bytes; and of what it remembers while it runs.
const MAX_PATTERN_BYTES: (usize, usize) = (128 * 1024, 128 * 1024);

/// A schema, compiled. Formats are asserted; patterns run in linear time.
#[derive(Debug)]
pub struct Validator {
    rules: jsonschema::Validator,
    /// The size of a schema that nobody vouches for.
    weight: Option<usize>,
}

impl Validator {
    pub(super) fn compile(document: &Value, registry: &Registry<'_>) -> Result<Self, String> {
        jsonschema::options()
            .with_draft(Draft::Draft202012)
            .with_registry(registry)
            .with_pattern_options(PatternOptions::regex())
            .should_validate_formats(true)
            .build(document)
            .map(|rules| Self {
                rules,
                weight: None,
            })
            .map_err(|error| error.to_string())
    }

    /// The same for a document that nobody vouches for, whose size was measured.
    pub(super) fn compile_own(
        document: &Value,
        registry: &Registry<'_>,
        weight: usize,
    ) -> Result<Self, Box<Violation>> {
        let patterns = PatternOptions::regex()
            .size_limit(MAX_PATTERN_BYTES.0)
            .dfa_size_limit(MAX_PATTERN_BYTES.1);
        jsonschema::options()
            .with_draft(Draft::Draft202012)
            .with_registry(registry)
            .with_pattern_options(patterns)
            .should_validate_formats(true)
            .build(document)
            .map(|rules| Self {
                rules,
                weight: Some(weight),
            })
            .map_err(|error| Box::new(Violation::of(&error)))
    }

    /// The record as a valid one, or all that is wrong with it.
    ///
    /// The record must already carry its `schema`: the base schema requires it.
    pub fn validate<'r>(&self, record: &'r Value) -> Result<ValidRecord<'r>, InvalidRecord> {
        if let Some(weight) = self.weight
            && weight.saturating_mul(weight_of_record(record)) > MAX_WORK
        {
            let violations = vec![Violation::too_large()];
            return Err(InvalidRecord { violations });
        }
        if self.rules.is_valid(record) {
            return Ok(ValidRecord(record));
        }
        let violations = self.rules.iter_errors(record).take(MAX_VIOLATIONS);
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
