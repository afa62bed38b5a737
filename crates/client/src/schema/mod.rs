//! The public record schemas, a user's own beside them, and what they say about a record.
//!
//! Guarantees: every public document is embedded in the program, a user's own never hides one and is limited in what it can cost,
//! and both resolve inside the set, so that a
//! validation does no I/O; an error names the place and the rule, never the value that broke it.
//! Refuses to know: where records are kept, and who may write them.

mod directory;
mod documents;
mod own;
mod set;
mod unfolded;
mod validator;
mod violation;

pub use own::{MAX_OWN_BYTES, MAX_OWN_SCHEMAS, MAX_TITLE, Unfit};
pub use set::{Schema, SchemaError, SchemaSet};
pub use validator::{InvalidRecord, MAX_VIOLATIONS, MAX_WORK, ValidRecord, Validator};
pub use violation::Violation;
