//! A compiled schema: says whether a record is valid, or which rules it breaks.

use jsonschema::{Draft, PatternOptions, Registry};
use serde::Serialize;
use serde_json::Value;

use super::unfolded::{values_of_record, weight_of_record};
use super::violation::Violation;

/// An invalid record is described by at most this many violations.
pub const MAX_VIOLATIONS: usize = 16;

/// Most work that holding the records of one request to schemas of a user's own may be: values of the ones times values of the
/// others ([`Validator::work_of`]).
pub const MAX_WORK: usize = 10_000_000;
/// Most values of a record times values of its schema with which it is told what is wrong with the record: each may be an error,
/// and all errors are there before the first can be read.
const MAX_DESCRIBED: usize = 200_000;
/// What a published schema counts there: about as many rules as one of them holds against one value.
const PUBLISHED_WEIGHT: usize = 16;
/// Largest pattern of a schema of a user's own, compiled, in bytes: what one byte of a text may take. And of what it remembers
/// while it runs.
const MAX_PATTERN_BYTES: (usize, usize) = (16 * 1024, 128 * 1024);

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

    /// The work that holding this record to the schema is: none that counts where the schema is a published one, whose rules are
    /// known.
    pub fn work_of(&self, record: &Value) -> usize {
        self.weight
            .map_or(0, |weight| weight.saturating_mul(weight_of_record(record)))
    }

    /// The record as a valid one, or all that is wrong with it.
    ///
    /// The record must already carry its `schema`: the base schema requires it.
    pub fn validate<'r>(&self, record: &'r Value) -> Result<ValidRecord<'r>, InvalidRecord> {
        self.validate_within(record, &mut { MAX_WORK })
    }

    /// The same as part of more: what it took is no longer left for the records after it. One for which too little is left is
    /// refused unseen.
    pub fn validate_within<'r>(
        &self,
        record: &'r Value,
        left: &mut usize,
    ) -> Result<ValidRecord<'r>, InvalidRecord> {
        *left = match left.checked_sub(self.work_of(record)) {
            Some(rest) => rest,
            None => return Err(InvalidRecord::of(Violation::too_large())),
        };
        if self.rules.is_valid(record) {
            return Ok(ValidRecord(record));
        }
        let weight = self.weight.unwrap_or(PUBLISHED_WEIGHT);
        if weight.saturating_mul(values_of_record(record)) > MAX_DESCRIBED {
            return Err(InvalidRecord::of(Violation::not_described()));
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
    fn of(violation: Violation) -> Self {
        Self {
            violations: vec![violation],
        }
    }

    /// What is wrong, in the order of the schema; at most [`MAX_VIOLATIONS`].
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }
}
