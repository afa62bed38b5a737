//! Where a page of an answer ended: the place of its last document, and which index the places belong to.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::plan::Place;
use super::{Index, MAX_COLUMN_BYTES, MAX_INDEX_FIELDS};
use crate::limits::MAX_DOCUMENT_ID_BYTES;

/// Bytes of the texts that name an index, shortened.
const NAME_BYTES: usize = 8;
/// Bytes of the longest place: every column, and an id.
const MAX_PLACE_BYTES: usize = MAX_INDEX_FIELDS * MAX_COLUMN_BYTES + MAX_DOCUMENT_ID_BYTES;
/// The first byte of a bookmark of this form.
const VERSION: u8 = 1;

/// A position in the order of one index. Peers keep it as an opaque text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bookmark {
    index: [u8; NAME_BYTES],
    place: Place,
}

/// The text is not a bookmark, or not one of this query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid bookmark value")]
pub struct InvalidBookmark;

impl Bookmark {
    /// The position after `place` in the order of `index`.
    pub fn after(index: &Index, place: Place) -> Self {
        Self {
            index: short(index),
            place,
        }
    }

    /// The place after which the next page begins, if the bookmark was made with this index.
    pub fn place_in(&self, index: &Index) -> Result<&Place, InvalidBookmark> {
        (self.index == short(index))
            .then_some(&self.place)
            .ok_or(InvalidBookmark)
    }
}

fn short(index: &Index) -> [u8; NAME_BYTES] {
    let digest: [u8; 32] = Sha256::digest(index.definition()).into();
    let mut short = [0; NAME_BYTES];
    short.copy_from_slice(digest.split_at(NAME_BYTES).0);
    short
}

impl fmt::Display for Bookmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.index);
        let length = u32::try_from(self.place.key.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&self.place.key);
        bytes.extend_from_slice(self.place.id.as_bytes());
        f.write_str(&hex::encode(bytes))
    }
}

impl FromStr for Bookmark {
    type Err = InvalidBookmark;

    fn from_str(text: &str) -> Result<Self, InvalidBookmark> {
        if text.len() > 2 * (1 + NAME_BYTES + 4 + MAX_PLACE_BYTES) {
            return Err(InvalidBookmark);
        }
        let bytes = hex::decode(text).map_err(|_| InvalidBookmark)?;
        let rest = bytes.strip_prefix(&[VERSION]).ok_or(InvalidBookmark)?;
        let (index, rest) = rest.split_first_chunk().ok_or(InvalidBookmark)?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(InvalidBookmark)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| InvalidBookmark)?;
        let (key, id) = rest.split_at_checked(length).ok_or(InvalidBookmark)?;
        let id = String::from_utf8(id.to_vec()).map_err(|_| InvalidBookmark)?;
        Ok(Self {
            index: *index,
            place: Place {
                key: key.to_vec(),
                id,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bookmark_is_read_as_it_was_printed_and_belongs_to_its_index() {
        let place = Place {
            key: vec![1, 2],
            id: "é".into(),
        };
        let bookmark = Bookmark::after(&Index::all_docs(), place.clone());
        let read: Bookmark = bookmark.to_string().parse().unwrap();
        assert_eq!(read.place_in(&Index::all_docs()), Ok(&place));
        let other = Index {
            columns: vec![crate::selector::FieldPath::parse("a").unwrap()],
            ..Index::all_docs()
        };
        assert_eq!(read.place_in(&other), Err(InvalidBookmark));
        let text = bookmark.to_string();
        for end in 0..text.len() - 4 {
            assert!(text[..end].parse::<Bookmark>().is_err(), "{end}");
        }
        for text in ["nil", "zz", "00", &"01".repeat(100_000)] {
            assert!(text.parse::<Bookmark>().is_err());
        }
    }
}
