//! The messages of the replication protocol, typed: what a client asks and what a server answers.

pub mod all_docs;
pub mod answers;
pub mod bounded;
pub mod bulk;
pub mod changes;
pub mod document_query;
pub mod error;
mod query;

pub use all_docs::{AllDocsQuery, Among, DESIGN_IDS, KeyRange};
pub use answers::{InvalidAnswer, Missing, Refused};
pub use bounded::Bounded;
pub use bulk::{BulkDocs, BulkGet, BulkGetItem, RevsDiff, Written};
pub use changes::{ChangesQuery, Feed, Filter, Style};
pub use document_query::{AttachmentsWanted, DocumentQuery, OpenRevs};
pub use error::{CouchError, ErrorKind};
