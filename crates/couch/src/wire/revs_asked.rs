//! `_revs_diff`, `_missing_revs`: revisions that a peer has. Those that nobody can have here are missing, and stop nobody.

use std::collections::HashSet;
use std::fmt;

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::bounded::TOO_MANY;
use super::bulk::{ITEM_BYTES, bytes_of_items, read};
use super::error::CouchError;
use crate::limits::{MAX_BULK_ITEMS, MAX_FOREIGN_REV_BYTES, MAX_REVS_DIFF_REVS};
use crate::rev::Rev;

/// `_revs_diff` as a peer puts it; each document once. Any text is a name here: of a document that nobody can have, everything is
/// missing, and the others are answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevsAsked(pub Vec<(String, AskedRevs)>);

/// The revisions of one document that a peer asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AskedRevs {
    /// Those that can be here.
    pub revs: Vec<Rev>,
    /// Those that only others can have.
    pub foreign: ForeignRevs,
}

/// Revisions that CouchDB and PouchDB take and that nobody has here, such as `1-abc`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ForeignRevs {
    /// JSON texts, with commas between them: small ones take no more than they took as they were sent.
    texts: String,
    count: usize,
    deepest: u64,
}

/// A text where a revision is asked for.
pub(super) enum AskedRev {
    Ours(Rev),
    /// A number, a dash and a text, as everywhere. CouchDB and PouchDB take any text.
    Foreign {
        text: String,
        generation: u64,
    },
    /// No revision anywhere.
    Wrong(String),
}

impl AskedRev {
    fn of(text: &str) -> Self {
        if let Ok(rev) = text.parse() {
            return Self::Ours(rev);
        }
        let digits = text.split_once('-').map_or("", |(digits, _)| digits);
        let numbered = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        match numbered && text.len() <= MAX_FOREIGN_REV_BYTES {
            true => Self::Foreign {
                text: text.to_owned(),
                generation: digits.parse().unwrap_or(u64::MAX),
            },
            false => Self::Wrong(text.to_owned()),
        }
    }
}

impl<'de> Deserialize<'de> for AskedRev {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = AskedRev;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a revision")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<AskedRev, E> {
                Ok(AskedRev::of(text))
            }
        }
        deserializer.deserialize_str(Reader)
    }
}

impl ForeignRevs {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// They, as they were sent: what stands between the brackets of a JSON list.
    pub fn as_json(&self) -> &str {
        &self.texts
    }

    /// How many edits deep the deepest says it is. None, if there are none.
    pub fn deepest(&self) -> Option<u64> {
        (!self.is_empty()).then_some(self.deepest)
    }

    fn push(&mut self, text: String, generation: u64) {
        if !self.is_empty() {
            self.texts.push(',');
        }
        self.texts += &serde_json::Value::from(text).to_string();
        self.count += 1;
        self.deepest = self.deepest.max(generation);
    }
}

impl AskedRevs {
    fn count(&self) -> usize {
        self.revs.len() + self.foreign.count
    }
}

impl<'de> Deserialize<'de> for AskedRevs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = AskedRevs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of revisions")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<AskedRevs, A::Error> {
                let mut asked = AskedRevs::default();
                while let Some(rev) = seq.next_element()? {
                    if asked.count() == MAX_REVS_DIFF_REVS {
                        return Err(de::Error::custom(TOO_MANY));
                    }
                    match rev {
                        AskedRev::Ours(rev) => asked.revs.push(rev),
                        AskedRev::Foreign { text, generation } => {
                            asked.foreign.push(text, generation);
                        }
                        AskedRev::Wrong(_) => return Err(de::Error::custom("no revision")),
                    }
                }
                asked.revs.shrink_to_fit();
                asked.foreign.texts.shrink_to_fit();
                Ok(asked)
            }
        }
        deserializer.deserialize_seq(Reader)
    }
}

// Twice while the list grows, and a place among the names.
const _: () = assert!(2 * size_of::<(String, AskedRevs)>() as u64 <= ITEM_BYTES * 7 / 8);

impl RevsAsked {
    /// Reads the body of the request.
    pub fn parse(body: &[u8]) -> Result<Self, CouchError> {
        read(body)
    }

    /// Bytes that the documents of this body take besides their texts and revisions, at most. No text and no revision takes more
    /// than it took as it was sent.
    pub fn bytes_of_items(body: &[u8]) -> u64 {
        bytes_of_items(body, b'[')
    }
}

impl<'de> Deserialize<'de> for RevsAsked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = RevsAsked;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of document ids, each with a list of revisions")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RevsAsked, A::Error> {
                let mut out: Vec<(String, AskedRevs)> = Vec::new();
                let mut revs_in_all = 0;
                while let Some((id, revs)) = map.next_entry::<String, AskedRevs>()? {
                    revs_in_all += revs.count();
                    if out.len() == MAX_BULK_ITEMS || revs_in_all > MAX_REVS_DIFF_REVS {
                        return Err(de::Error::custom(TOO_MANY));
                    }
                    out.push((id, revs));
                }
                // Each name costs a look at the document, however many revisions there are with it.
                let mut named = HashSet::with_capacity(out.len());
                if !out.iter().all(|(id, _)| named.insert(id.as_str())) {
                    return Err(de::Error::custom("a document is named twice"));
                }
                Ok(RevsAsked(out))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MAX_DOCUMENT_ID_BYTES;
    use crate::wire::ErrorKind;

    const REV: &str = "1-967a00dff5e02add41819138abb3284d";

    fn one(list: &str) -> Result<AskedRevs, CouchError> {
        let asked = RevsAsked::parse(format!(r#"{{"a":[{list}]}}"#).as_bytes())?;
        Ok(asked.0.into_iter().next().unwrap().1)
    }

    #[test]
    fn a_document_is_named_once() {
        let body = format!(r#"{{"a":["{REV}"],"b":[],"a":["{REV}"]}}"#);
        let error = RevsAsked::parse(body.as_bytes()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::BadRequest);
    }

    #[test]
    fn what_is_no_name_of_a_document_is_asked_for() {
        let long = "i".repeat(MAX_DOCUMENT_ID_BYTES + 1);
        let body = format!(r#"{{"{long}":["{REV}"],"b":[]}}"#);
        let asked = RevsAsked::parse(body.as_bytes()).unwrap().0;
        assert_eq!(asked[0].0, long);
        assert_eq!(asked[0].1.revs, [REV.parse().unwrap()]);
    }

    #[test]
    fn a_revision_that_only_others_can_have_is_kept_as_it_was_sent() {
        let asked = one(&format!(r#""3-a\"ü","{REV}","{REV}0","0-","01-x""#)).unwrap();
        assert_eq!(asked.revs, [REV.parse().unwrap()]);
        let foreign = format!(r#""3-a\"ü","{REV}0","0-","01-x""#);
        assert_eq!(asked.foreign.as_json(), foreign);
        assert_eq!(asked.foreign.deepest(), Some(3));
        let vast = one(r#""99999999999999999999999-x""#).unwrap();
        assert_eq!(vast.foreign.deepest(), Some(u64::MAX));
        assert_eq!(one("").unwrap().foreign.deepest(), None);
    }

    #[test]
    fn what_is_a_revision_nowhere_is_refused() {
        let long = |bytes: usize| format!("\"1-{}\"", "x".repeat(bytes - 2));
        assert!(one(&long(MAX_FOREIGN_REV_BYTES)).is_ok());
        let long = long(MAX_FOREIGN_REV_BYTES + 1);
        for list in [
            r#""x""#,
            r#""""#,
            r#""-1-x""#,
            r#""x-1""#,
            "1",
            "null",
            &long,
        ] {
            assert_eq!(one(list).unwrap_err().kind, ErrorKind::BadRequest, "{list}");
        }
    }

    #[test]
    fn one_revision_over_the_limit_is_too_large_whoever_can_have_it() {
        let list = |n: usize| vec![r#""1-""#; n].join(",");
        let asked = one(&list(MAX_REVS_DIFF_REVS)).unwrap();
        // No more than was sent.
        assert!(asked.foreign.texts.capacity() <= 5 * MAX_REVS_DIFF_REVS);
        let error = one(&list(MAX_REVS_DIFF_REVS + 1)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::TooLarge);
        let half = list(MAX_REVS_DIFF_REVS / 2 + 1);
        let body = format!(r#"{{"a":[{half}],"b":[{half}]}}"#);
        let error = RevsAsked::parse(body.as_bytes()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::TooLarge);
    }
}
