//! A revision: how many edits deep, and a 16-byte name. Parsed once, printed in lower case, ordered as the winner rule orders.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::limits::MAX_GENERATION;

/// The 16-byte name of a revision, unique within its generation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RevHash([u8; 16]);

/// `N-<32 hex digits>`. The order is the winner rule's: the deeper edit, then the greater hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rev {
    generation: u32,
    hash: RevHash,
}

/// The text is not a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid rev format")]
pub struct InvalidRev;

impl RevHash {
    /// The hash with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl Rev {
    /// A revision of this generation. Generations start at 1 and end at [`MAX_GENERATION`].
    pub fn new(generation: u64, hash: RevHash) -> Result<Self, InvalidRev> {
        match u32::try_from(generation) {
            Ok(small) if (1..=MAX_GENERATION).contains(&generation) => Ok(Self {
                generation: small,
                hash,
            }),
            Ok(_) | Err(_) => Err(InvalidRev),
        }
    }

    /// The lowest of all revisions, which no edit makes.
    pub const LOWEST: Self = Self {
        generation: 1,
        hash: RevHash([0; 16]),
    };

    /// The revision an edit makes: one deeper than its parent, named after parent, deletion and content, so that the same
    /// edit made on two nodes is one revision.
    pub fn of_edit(parent: Option<Rev>, deleted: bool, members: &[u8]) -> Result<Self, InvalidRev> {
        let mut digest = Sha256::new();
        digest.update(parent.map(|p| p.to_string()).unwrap_or_default());
        digest.update([b'/', u8::from(deleted), b'/']);
        digest.update(members);
        let mut hash = [0; 16];
        hash.copy_from_slice(digest.finalize().split_at(16).0);
        Self::new(parent.map_or(0, |p| p.generation()) + 1, RevHash(hash))
    }

    /// How many edits deep, from 1.
    pub const fn generation(&self) -> u64 {
        self.generation as u64
    }

    /// The name within the generation.
    pub const fn hash(&self) -> RevHash {
        self.hash
    }
}

impl FromStr for RevHash {
    type Err = InvalidRev;

    /// 32 hex digits; in upper case, too, as CouchDB reads them (`couch_doc:parse_revid`).
    fn from_str(text: &str) -> Result<Self, InvalidRev> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| InvalidRev)?;
        Ok(Self(bytes))
    }
}

impl FromStr for Rev {
    type Err = InvalidRev;

    fn from_str(text: &str) -> Result<Self, InvalidRev> {
        let (generation, hash) = text.split_once('-').ok_or(InvalidRev)?;
        let canonical = !generation.starts_with('0')
            && !generation.is_empty()
            && generation.bytes().all(|b| b.is_ascii_digit());
        if !canonical {
            return Err(InvalidRev);
        }
        Self::new(generation.parse().map_err(|_| InvalidRev)?, hash.parse()?)
    }
}

impl fmt::Display for RevHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Display for Rev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.generation, self.hash)
    }
}

impl fmt::Debug for RevHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Rev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Rev {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rev {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for RevHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RevHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "967a00dff5e02add41819138abb3284d";

    #[test]
    fn a_revision_prints_as_it_was_read_and_in_lower_case() {
        let text = format!("12-{HASH}");
        assert_eq!(text.parse::<Rev>().unwrap().to_string(), text);
        let upper = format!("12-{}", HASH.to_uppercase());
        assert_eq!(upper.parse::<Rev>().unwrap().to_string(), text);
    }

    #[test]
    fn what_is_not_a_revision_is_refused() {
        for text in [
            String::new(),
            "1".into(),
            "1-".into(),
            "undefined".into(),
            format!("0-{HASH}"),
            format!("01-{HASH}"),
            format!("-1-{HASH}"),
            format!("+1-{HASH}"),
            format!("1-{HASH}0"),
            format!("1-{}", &HASH[1..]),
            format!("{}-{HASH}", MAX_GENERATION + 1),
            format!("99999999999999999999999-{HASH}"),
        ] {
            assert_eq!(text.parse::<Rev>(), Err(InvalidRev), "{text}");
        }
        assert!(format!("{MAX_GENERATION}-{HASH}").parse::<Rev>().is_ok());
    }

    #[test]
    fn the_deeper_revision_is_greater_and_then_the_greater_hash() {
        let at = |generation, byte| Rev::new(generation, RevHash([byte; 16])).unwrap();
        assert!(at(10, 0) > at(9, 255));
        assert!(at(2, 2) > at(2, 1));
    }

    #[test]
    fn the_same_edit_has_one_name_and_another_edit_another() {
        let first = Rev::of_edit(None, false, b"{}").unwrap();
        assert_eq!(first.generation(), 1);
        assert_eq!(first, Rev::of_edit(None, false, b"{}").unwrap());
        assert_ne!(first, Rev::of_edit(None, true, b"{}").unwrap());
        assert_eq!(
            Rev::of_edit(Some(first), false, b"{}")
                .unwrap()
                .generation(),
            2
        );
    }
}
