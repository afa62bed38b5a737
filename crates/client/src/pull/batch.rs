//! What a pull hands over.

use adyton_couch::rev::Rev;

use super::plain_batch::{PlainBatch, RecordError};
use super::room::Reserved;

/// A piece of a feed, opened.
#[derive(Default)]
pub struct PullBatch {
    /// The records, in the order of the feed.
    pub records: PlainBatch,
    /// Records that could not be opened.
    pub faults: Vec<(Box<str>, RecordFault)>,
    /// Rows that were dropped because they were too long to name themselves.
    pub oversized: usize,
    /// First and last position, if the batch has a row at all.
    pub positions: Option<(FeedPosition, FeedPosition)>,
    /// Rows of the feed that this batch stands for.
    pub row_count: u64,
    /// The room that this batch takes, until it is dropped.
    pub room: Vec<Reserved>,
    /// Id and revision of the last row. A feed that is followed comes row by row.
    pub last_row: Option<(Box<str>, Rev)>,
}

/// Why a record could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordFault {
    /// Sealed with another key, or altered.
    #[error("sealed with another key or altered")]
    Rejected,
    /// The payload is not base64 of a sealed record.
    #[error("not a sealed record")]
    Malformed,
    /// The plaintext is not one JSON object.
    #[error("not a JSON object")]
    NotJson,
    /// The plaintext names another id: a payload was moved.
    #[error("sealed under another id")]
    OtherId,
    /// Larger than a record may be.
    #[error("too large")]
    TooLarge,
}

impl std::fmt::Debug for PullBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PullBatch({} rows)", self.row_count)
    }
}

impl From<RecordError> for RecordFault {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::NotAnObject => Self::NotJson,
            RecordError::WrongId => Self::OtherId,
            RecordError::IdTooLong | RecordError::TooLong => Self::TooLarge,
        }
    }
}

/// A position in a feed: the peer's own text, and the number in front of it, which must grow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedPosition {
    text: Box<str>,
    number: u64,
}

impl FeedPosition {
    /// Before the first change.
    pub fn beginning() -> Self {
        Self {
            text: "0".into(),
            number: 0,
        }
    }

    /// Longest accepted position, in bytes (CouchDB clusters write long ones).
    const MAX_BYTES: usize = 4096;

    /// Reads a position as it stands in a row: a number, or a text that begins with one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text
            .split(|c: char| !c.is_ascii_digit())
            .next()
            .unwrap_or_default();
        let number = digits.parse().ok()?;
        (text.len() <= Self::MAX_BYTES).then(|| Self {
            text: text.into(),
            number,
        })
    }

    /// The peer's text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Does this position come after `other`? Clusters of CouchDB number several changes alike, so an
    /// equal number with another text is accepted.
    pub(crate) fn is_after(&self, other: &Self) -> bool {
        self.number > other.number || (self.number == other.number && self.text != other.text)
    }
}
