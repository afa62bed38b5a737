//! A user's databases, decrypted, in memory and nowhere else.
//!
//! [`Documents`] holds the records of one database: it takes [`PlainBatch`](adyton_client::pull::PlainBatch)es of decrypted records
//! in and answers [`Query`]s through a [`View`] with shared [`Document`] handles, all within a [`Budget`]. There is no
//! way out of here but through a view. Nothing here waits, does I/O, or knows who is asking.

mod access;
mod aggregate;
mod answer;
mod budget;
mod changes;
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
mod search;
mod slab;
mod slabs;
mod slots;
mod view;
mod watching;
mod words;

pub use aggregate::{Measure, Period, Summary, TimeCount, ValueCount};
pub use budget::{Budget, OverBudget, Reservation};
pub use cursor::{Cursor, InvalidCursor};
pub use document::Document;
pub use documents::{Applied, Documents, Usage};
pub use projection::{Parts, Projection};
pub use query::{Direction, Explanation, Page, Query, QueryError, SortKey};
pub use search::{Finding, Findings, Place, Search, Searched, Thread, search, search_threads};
pub use view::{FieldNotGranted, View};
pub use watching::{Gap, Since, Tidings, Told, Watching};
