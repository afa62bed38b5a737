//! What may be asked of a database, and what comes back.

use adyton_couch::selector::{FieldPath, Selector, SelectorError};
use serde::Serialize;
use serde_json::Value;

use super::budget::{OverBudget, Reservation};
use super::cursor::{Cursor, InvalidCursor};
use super::document::Document;
use super::view::FieldNotGranted;

/// A question: which records, in which order, which of them.
///
/// Which parts of a record are served is a [`Projection`](super::Projection), and not part of it.
#[derive(Clone, Debug)]
pub struct Query {
    /// Which records.
    pub selector: Selector,
    /// In which order: by these fields, then by `_id`. Records whose field is missing or null come
    /// last in either direction. Of a long value its first kilobyte decides.
    pub sort: Vec<SortKey>,
    /// How many to leave out at the beginning.
    pub skip: usize,
    /// How many to return at most; more than [`Query::MAX_LIMIT`] are that many.
    pub limit: usize,
    /// Where to go on: behind the page that said so.
    pub after: Option<Cursor>,
}

/// A field to sort by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortKey {
    /// The field.
    pub path: FieldPath,
    /// The direction.
    pub direction: Direction,
}

/// A direction to sort in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The smallest first.
    Ascending,
    /// The largest first.
    Descending,
}

/// An answer.
#[derive(Debug)]
pub struct Page {
    /// The records asked for, in order. They stay as they are while they are held.
    pub documents: Vec<Document>,
    /// How many records match, whatever `skip` and `limit` say.
    pub total: usize,
    /// How many were to be returned at most.
    pub limit: usize,
    /// Where the next page begins, if there is one.
    pub next: Option<Cursor>,
    /// How many records the view shows, whatever the selector says.
    pub rows: usize,
    /// Covers the handles: a caller that takes long to read an answer takes room, too.
    pub counted: Reservation,
}

/// How a query would be answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The field whose index gives the candidates; none: all records are looked at.
    pub index: Option<String>,
    /// How many records are looked at.
    pub candidates: usize,
    /// Whether the index alone decides, so that no record is read.
    pub covered: bool,
    /// The field whose index gives the order; none: the matches are sorted.
    pub order: Option<String>,
    /// The fields that are indexed now.
    pub indexed: Vec<String>,
}

/// Why a query was refused or not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The caller's selector or a path in the options.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// The caller's option: its name, and what it must be.
    #[error("query option {0} must be {1}")]
    WrongOption(&'static str, &'static str),
    /// The caller's option: its name, and how many there may be.
    #[error("query option {0} has more than {1} elements")]
    TooMany(&'static str, usize),
    /// The caller's question about what was left out of the grant.
    #[error(transparent)]
    FieldNotGranted(#[from] FieldNotGranted),
    /// The caller's cursor is none.
    #[error(transparent)]
    InvalidCursor(#[from] InvalidCursor),
    /// The caller's cursor is a place in the answer to another question, or through another view.
    #[error("the cursor belongs to another question")]
    CursorOfAnother,
    /// Nobody's fault: there is no memory to answer now.
    #[error(transparent)]
    OverBudget(#[from] OverBudget),
}

impl Query {
    /// How many records are returned when the caller does not say.
    pub const DEFAULT_LIMIT: usize = 20;
    /// The most records in one page. Clients of the original ask for a million, meaning all: whoever has more goes on
    /// with the cursor.
    pub const MAX_LIMIT: usize = 100_000;
    /// The most fields to sort by.
    pub const MOST_SORT_KEYS: usize = 8;

    /// The first records that the selector takes, by `_id`.
    #[must_use]
    pub fn new(selector: Selector) -> Self {
        Self {
            selector,
            sort: Vec::new(),
            skip: 0,
            limit: Self::DEFAULT_LIMIT,
            after: None,
        }
    }
}

impl SortKey {
    /// Parses a sort order: an array of field names and of objects `{field: "asc" | "desc"}`.
    ///
    /// # Errors
    /// When `sort` is something else, or has more than [`Query::MOST_SORT_KEYS`] elements.
    pub fn parse_list(sort: &Value) -> Result<Vec<Self>, QueryError> {
        let wrong = || {
            QueryError::WrongOption(
                "sort",
                "an array of field names or {field: \"asc\" or \"desc\"}",
            )
        };
        let list = sort.as_array().ok_or_else(wrong)?;
        if list.len() > Query::MOST_SORT_KEYS {
            return Err(QueryError::TooMany("sort", Query::MOST_SORT_KEYS));
        }
        list.iter()
            .map(|item| {
                let (field, direction) = match item {
                    Value::String(field) => (field, Direction::Ascending),
                    Value::Object(object) if object.len() == 1 => {
                        let (field, direction) = object.iter().next().ok_or_else(wrong)?;
                        match direction.as_str() {
                            Some("asc") => (field, Direction::Ascending),
                            Some("desc") => (field, Direction::Descending),
                            _ => return Err(wrong()),
                        }
                    }
                    _ => return Err(wrong()),
                };
                Ok(Self {
                    path: FieldPath::parse(field)?,
                    direction,
                })
            })
            .collect()
    }
}
