//! The messages of the replication protocol, typed: what a client asks and what a server answers.

pub mod all_docs;
pub mod answers;
pub mod bounded;
pub mod bulk;
pub mod changes;
pub mod destination;
pub mod document_query;
pub mod error;
pub mod object;
mod query;
pub mod revs_asked;

pub use all_docs::{AllDocsQuery, Among, DESIGN_IDS, KeyRange};
pub use answers::{InvalidAnswer, Missing, Refused};
pub use bounded::Bounded;
pub use bulk::{
    BulkDocs, BulkGet, BulkGetItem, Named, NotWritten, Purge, RevsDiff, Written, WrongItem,
};
pub use changes::{ChangesQuery, Feed, Filter, Style};
pub use destination::Destination;
pub use document_query::{AttachmentsWanted, DocumentQuery, OpenRevs};
pub use error::{CouchError, ErrorKind};
pub use object::{Object, read_object};
pub use query::legible;
pub use revs_asked::{AskedRevs, ForeignRevs, RevsAsked};
