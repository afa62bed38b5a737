//! A user's databases, decrypted, in memory and nowhere else.
//!
//! [`Documents`] holds the records of one database: it takes [`PlainBatch`](adyton_client::pull::PlainBatch)es of decrypted records
//! in and answers [`Query`]s through a [`View`] with shared [`Document`] handles, all within a [`Budget`]. There is no
//! way out of here but through a view. Nothing here waits, does I/O, or knows who is asking.

mod access;
mod aggregate;
mod answer;
mod budget;
mod cursor;
mod document;
mod documents;
mod effort;
mod explain;
mod filter;
mod index;
mod indexes;
mod projection;
mod query;
mod schemas;
mod slab;
mod slabs;
mod slots;
mod view;

pub use aggregate::{Measure, Period, Summary, TimeCount, ValueCount};
pub use budget::{Budget, OverBudget, Reservation};
pub use cursor::{Cursor, InvalidCursor};
pub use document::Document;
pub use documents::{Applied, Documents, Usage};
pub use projection::{Parts, Projection};
pub use query::{Direction, Explanation, Page, Query, QueryError, SortKey};
pub use view::{FieldNotGranted, View};
