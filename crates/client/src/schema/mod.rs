//! The public record schemas and what they say about a record.
//!
//! Guarantees: every document is embedded in the program and resolves inside the set, so that a
//! validation does no I/O; an error names the place and the rule, never the value that broke it.
//! Refuses to know: where records are kept, and who may write them.

mod directory;
mod documents;
mod set;
mod validator;
mod violation;

pub use set::{Schema, SchemaError, SchemaSet};
pub use validator::{InvalidRecord, MAX_VIOLATIONS, ValidRecord, Validator};
pub use violation::Violation;
