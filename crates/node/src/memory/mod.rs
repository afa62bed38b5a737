//! A user's databases, decrypted, in memory and nowhere else.
//!
//! [`Documents`] holds the records of one database: it takes [`PlainBatch`](adyton_client::pull::PlainBatch)es of decrypted records
//! in and answers [`Query`]s with shared [`Document`] handles, all within a [`Budget`]. Nothing here
//! waits, does I/O, or knows who is asking.

mod access;
mod answer;
mod budget;
mod document;
mod documents;
mod effort;
mod index;
mod indexes;
mod projection;
mod query;
mod schemas;
mod slab;
mod slabs;
mod slots;

pub use budget::{Budget, OverBudget, Reservation};
pub use document::Document;
pub use documents::{Applied, Documents, Scope, Usage};
pub use projection::{Parts, Projection};
pub use query::{Direction, Explanation, Page, Query, QueryError, SortKey};
