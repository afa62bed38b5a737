//! Where a page ended, so that the next one can begin behind it.
//!
//! A cursor names a place in the order, not a number of records: what comes and goes before it moves nothing, so a record
//! that is there all the time is neither left out nor shown twice. It holds the sort fields and the id of one record that
//! its caller was shown, and opens nothing: whoever makes one up reads on from a place of their own choice, within their
//! own view. So it needs no key, and any node can read it.

use std::fmt;

use adyton_couch::collate::{compare_text, write_key};
use adyton_couch::lazy_json::{Kind, MemberNames};
use adyton_couch::selector::Operand;
use aws_lc_rs::digest::{SHA256, digest};
use base64_simd::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::documents::Documents;
use super::index::field;
use super::query::{Direction, Query, SortKey};
use super::view::View;

/// So much of a value's place in the order decides; values that are equal so far are in the order of what comes next.
pub(super) const MAX_SORT_KEY: usize = 1024;

/// A place in the answer to one question through one view.
#[derive(Clone, PartialEq, Eq)]
pub struct Cursor {
    /// What was asked.
    question: [u8; QUESTION],
    /// Of each sort field; `None`: missing or null.
    keys: Vec<Option<Box<[u8]>>>,
    id: Box<str>,
}

/// The text is not a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor")]
pub struct InvalidCursor;

const QUESTION: usize = 16;
const VERSION: u8 = 1;

impl Cursor {
    /// Longest text of a cursor, in bytes.
    pub const MAX_LENGTH: usize = 16 * 1024;

    /// Reads the text of a cursor.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, InvalidCursor> {
        if text.len() > Self::MAX_LENGTH {
            return Err(InvalidCursor);
        }
        let bytes = URL_SAFE_NO_PAD.decode_to_vec(text);
        let bytes = bytes.map_err(|_| InvalidCursor)?;
        Self::read(&bytes).ok_or(InvalidCursor)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        if *version != VERSION {
            return None;
        }
        let (question, rest) = rest.split_first_chunk::<QUESTION>()?;
        let (count, mut rest) = rest.split_first()?;
        if usize::from(*count) > Query::MOST_SORT_KEYS {
            return None;
        }
        let mut keys = Vec::with_capacity(usize::from(*count));
        for _ in 0..*count {
            let (length, after) = rest.split_first_chunk::<2>()?;
            let length = usize::from(u16::from_be_bytes(*length));
            if length > MAX_SORT_KEY {
                return None;
            }
            let (key, after) = after.split_at_checked(length)?;
            keys.push((length > 0).then(|| key.into()));
            rest = after;
        }
        Some(Self {
            question: *question,
            keys,
            id: std::str::from_utf8(rest).ok()?.into(),
        })
    }

    /// The text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.question);
        bytes.push(u8::try_from(self.keys.len()).unwrap_or(u8::MAX));
        for key in &self.keys {
            let key = key.as_deref().unwrap_or_default();
            let length = u16::try_from(key.len()).unwrap_or(u16::MAX);
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(key);
        }
        bytes.extend_from_slice(self.id.as_bytes());
        URL_SAFE_NO_PAD.encode_to_string(bytes)
    }

    /// Whether this is a place in the answer to this question.
    pub(super) fn is_of(&self, view: &View, query: &Query) -> bool {
        self.question == question(view, query) && self.keys.len() == query.sort.len()
    }

    /// The place of a record in the answer.
    pub(super) fn at(documents: &Documents, view: &View, query: &Query, number: u32) -> Self {
        let order = Order::of(&query.sort);
        Self {
            question: question(view, query),
            keys: order
                .keys(documents, number)
                .map(|key| key.map(Vec::into_boxed_slice))
                .collect(),
            id: String::from_utf8_lossy(documents.id(number)).into(),
        }
    }

    /// The key in the index of the first sort field, or of the ids, behind which the answer goes on. `None`: behind all
    /// records that have the field.
    pub(super) fn first_key(&self) -> Option<Box<[u8]>> {
        match self.keys.first() {
            Some(key) => key.clone(),
            None => {
                let id = Operand::new(&Value::from(&*self.id));
                Some(id.key().as_bytes().into())
            }
        }
    }
}

/// Sort fields come from records.
impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cursor(..)")
    }
}

/// Names a question through a view. The limit is no part of it.
fn question(view: &View, query: &Query) -> [u8; QUESTION] {
    let sort = query.sort.iter().map(|key| match key.direction {
        Direction::Ascending => format!("+{}\n", key.path),
        Direction::Descending => format!("-{}\n", key.path),
    });
    let text = format!(
        "{view}\n{}\n{}",
        query.selector.source(),
        sort.collect::<String>()
    );
    let mut name = [0; QUESTION];
    let digest = digest(&SHA256, text.as_bytes());
    for (name, byte) in name.iter_mut().zip(digest.as_ref()) {
        *name = *byte;
    }
    name
}

/// An order to sort in, ready to look at records.
pub(super) struct Order<'s> {
    fields: Vec<(&'s SortKey, MemberNames)>,
}

impl<'s> Order<'s> {
    pub(super) fn of(sort: &'s [SortKey]) -> Self {
        let names = |key: &SortKey| {
            let mut names = MemberNames::default();
            names.slot(key.path.first());
            names
        };
        Self {
            fields: sort.iter().map(|key| (key, names(key))).collect(),
        }
    }

    /// A record's place: of each field, what decides; `None` where it is missing or null.
    fn keys(&self, documents: &Documents, number: u32) -> impl Iterator<Item = Option<Vec<u8>>> {
        let object = documents.object(number);
        self.fields.iter().map(move |(sort, names)| {
            let value = field(names, &sort.path, object)?;
            (value.kind() != Kind::Null).then(|| {
                let mut key = Vec::new();
                write_key(value, MAX_SORT_KEY, &mut key);
                key
            })
        })
    }

    /// Whether a record comes behind a cursor.
    pub(super) fn is_behind(&self, documents: &Documents, number: u32, cursor: &Cursor) -> bool {
        let keys = self.keys(documents, number).zip(&cursor.keys);
        for ((key, there), (sort, _)) in keys.zip(&self.fields) {
            let order = match (key, there) {
                (None, None) => continue,
                (None, Some(_)) => return true,
                (Some(_), None) => return false,
                (Some(key), Some(there)) => key.as_slice().cmp(there),
            };
            match sort.direction {
                _ if order.is_eq() => {}
                Direction::Ascending => return order.is_gt(),
                Direction::Descending => return order.is_lt(),
            }
        }
        compare_text(documents.id(number), cursor.id.as_bytes()).is_gt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_nothing_else_is_read() {
        let cursor = Cursor {
            question: [7; QUESTION],
            keys: vec![None, Some([1, 2].into()), Some([9; MAX_SORT_KEY].into())],
            id: "id é".into(),
        };
        let text = cursor.to_text();
        assert_eq!(Cursor::parse(&text), Ok(cursor));
        assert_eq!(Cursor::parse(""), Err(InvalidCursor));
        assert_eq!(Cursor::parse("AQ=="), Err(InvalidCursor));
        assert_eq!(
            Cursor::parse(&text.replacen('A', "B", 1)),
            Err(InvalidCursor)
        );
        let long = "A".repeat(Cursor::MAX_LENGTH + 1);
        assert_eq!(Cursor::parse(&long), Err(InvalidCursor));
        let longest = Cursor {
            question: [0; QUESTION],
            keys: vec![Some([9; MAX_SORT_KEY].into()); Query::MOST_SORT_KEYS],
            id: "x".repeat(1024).into(),
        };
        assert!(longest.to_text().len() <= Cursor::MAX_LENGTH);
        let mut over = longest;
        over.keys.push(None);
        assert_eq!(Cursor::parse(&over.to_text()), Err(InvalidCursor));
    }
}
