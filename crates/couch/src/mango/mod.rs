//! Mango queries as data: what `_find` asks, what `_index` defines, which index answers, and in which order.
//!
//! Guarantees: the plan is CouchDB's choice, so that the order of an answer is CouchDB's; every list and text of a request has
//! a limit; a bookmark of another query's index is refused. Knows nothing of where documents or rows of an index are kept: who executes a
//! plan reads documents and asks [`Plan::place_of`] about each, or reads the stretch of the index that [`Span`] names.

mod bookmark;
mod index;
mod plan;
mod projection;
mod query;
mod span;

pub use bookmark::{Bookmark, InvalidBookmark};
pub use index::{ALL_DOCS, Index, IndexName, NewIndex, Remainder, with_view, without_view};
pub use plan::{Place, Plan};
pub use projection::Projection;
pub use query::{Direction, FindQuery};
pub use span::Span;

/// Fields of one index, and of one sort order.
pub const MAX_INDEX_FIELDS: usize = 16;
/// Fields that one query may ask for.
pub const MAX_PROJECTED_FIELDS: usize = 1_000;
/// Views of one design document that are read, and design documents of one database.
pub const MAX_INDEXES: usize = 200;
/// Bytes of a design document in which indexes are looked for, and that an index may be added to.
pub const MAX_DESIGN_BYTES: usize = 64 << 10;
/// Bytes of one value that take part in an order; what is equal so far lies by `_id`.
pub const MAX_COLUMN_BYTES: usize = 1_024;
