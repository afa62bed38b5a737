//! `_all_docs`: documents by id.

use serde::Deserialize;

use super::bounded::Bounded;
use super::document_query::AttachmentsWanted;
use super::error::CouchError;
use super::query::{boolean, json_text, number, parameters};
use crate::attachment::Encodings;
use crate::limits::MAX_BULK_ITEMS;

/// A range of document ids.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyRange {
    /// The first id, in the direction of reading.
    pub start: Option<String>,
    /// The last id, in the direction of reading.
    pub end: Option<String>,
    /// The last id itself is left out.
    pub exclusive_end: bool,
}

/// A request for documents by id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllDocsQuery {
    /// The range, when no keys are given.
    pub range: KeyRange,
    /// Exactly these ids, in this order.
    pub keys: Option<Vec<String>>,
    /// With each document.
    pub include_docs: bool,
    /// With `_conflicts` in each document.
    pub conflicts: bool,
    /// With the contents of attachments in each document: all, or none.
    pub attachments: AttachmentsWanted,
    /// Whether the encodings of attachments are told.
    pub encodings: Encodings,
    /// From the last id to the first.
    pub descending: bool,
    /// At most this many rows.
    pub limit: Option<u64>,
    /// After leaving out this many.
    pub skip: u64,
    /// With the position of the feed that the rows stand for.
    pub update_seq: bool,
    /// Among which documents.
    pub among: Among,
}

/// Which documents a list is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Among {
    /// All: `_all_docs`.
    #[default]
    Everything,
    /// Design documents: `_design_docs`.
    Designs,
}

/// The ids of design documents, all of them and nothing else. No document can have the second id.
pub const DESIGN_IDS: (&str, &str) = ("_design/", "_design0");

/// What a POST may say in its body instead of the query string.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Body {
    keys: Option<Bounded<String, MAX_BULK_ITEMS>>,
    key: Option<String>,
    #[serde(alias = "start_key")]
    startkey: Option<String>,
    #[serde(alias = "end_key")]
    endkey: Option<String>,
    inclusive_end: Option<bool>,
    include_docs: Option<bool>,
    conflicts: Option<bool>,
    descending: Option<bool>,
    update_seq: Option<bool>,
    limit: Option<u64>,
    skip: Option<u64>,
}

impl AllDocsQuery {
    /// Reads the query string, and the body of a POST (empty for GET).
    pub fn parse(query: &str, body: &[u8]) -> Result<Self, CouchError> {
        let mut out = Self::default();
        for (name, value) in parameters(query) {
            match &*name {
                "include_docs" => out.include_docs = boolean(&value)?,
                "conflicts" => out.conflicts = boolean(&value)?,
                "attachments" => {
                    out.attachments = match boolean(&value)? {
                        true => AttachmentsWanted::All,
                        false => AttachmentsWanted::Stubs,
                    };
                }
                "att_encoding_info" => {
                    out.encodings = match boolean(&value)? {
                        true => Encodings::Told,
                        false => Encodings::Undone,
                    };
                }
                "descending" => out.descending = boolean(&value)?,
                "inclusive_end" => out.range.exclusive_end = !boolean(&value)?,
                "limit" => out.limit = Some(number(&value)?),
                "skip" => out.skip = number(&value)?,
                "startkey" | "start_key" => out.range.start = Some(json_text(&value)?),
                "endkey" | "end_key" => out.range.end = Some(json_text(&value)?),
                "update_seq" => out.update_seq = boolean(&value)?,
                "key" => out.range = KeyRange::only(json_text(&value)?),
                "keys" => {
                    let keys: Bounded<String, MAX_BULK_ITEMS> = serde_json::from_str(&value)
                        .map_err(|_| {
                            CouchError::bad_request("`keys` must be an array of strings.")
                        })?;
                    out.keys = Some(keys.0);
                }
                // Further parameters change nothing that we answer.
                _ => {}
            }
        }
        if !body.is_empty() {
            let body: Body = serde_json::from_slice(body).map_err(|_| {
                CouchError::bad_request("`keys` body member must be an array of strings.")
            })?;
            out.keys = body.keys.map(|keys| keys.0).or(out.keys);
            out.range.start = body.startkey.or(out.range.start);
            out.range.end = body.endkey.or(out.range.end);
            out.range.exclusive_end = body
                .inclusive_end
                .map_or(out.range.exclusive_end, |inclusive| !inclusive);
            if let Some(key) = body.key {
                out.range = KeyRange::only(key);
            }
            out.include_docs = body.include_docs.unwrap_or(out.include_docs);
            out.conflicts = body.conflicts.unwrap_or(out.conflicts);
            out.descending = body.descending.unwrap_or(out.descending);
            out.update_seq = body.update_seq.unwrap_or(out.update_seq);
            out.limit = body.limit.or(out.limit);
            out.skip = body.skip.unwrap_or(out.skip);
        }
        Ok(out)
    }

    /// The same among design documents alone.
    pub fn among_designs(mut self) -> Self {
        self.among = Among::Designs;
        let (first, last) = match self.descending {
            false => (&mut self.range.start, &mut self.range.end),
            true => (&mut self.range.end, &mut self.range.start),
        };
        let least = first.take().unwrap_or_default();
        *first = Some(least.max(DESIGN_IDS.0.to_owned()));
        let greatest = last.take().unwrap_or_else(|| DESIGN_IDS.1.to_owned());
        *last = Some(greatest.min(DESIGN_IDS.1.to_owned()));
        if let Some(keys) = &mut self.keys {
            keys.retain(|key| key.starts_with(DESIGN_IDS.0));
        }
        self
    }
}

impl KeyRange {
    /// This id alone.
    pub fn only(id: String) -> Self {
        Self {
            start: Some(id.clone()),
            end: Some(id),
            exclusive_end: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_keys_are_json() {
        let query = AllDocsQuery::parse(
            "include_docs=true&startkey=%22a%22&end_key=%22b%22&inclusive_end=false&limit=3&skip=1",
            b"",
        )
        .unwrap();
        assert_eq!(query.range.start.as_deref(), Some("a"));
        assert_eq!(query.range.end.as_deref(), Some("b"));
        assert!(query.range.exclusive_end && query.include_docs);
        assert_eq!((query.limit, query.skip), (Some(3), 1));
        let query = AllDocsQuery::parse("", br#"{"keys":["x","y"]}"#).unwrap();
        assert_eq!(query.keys.unwrap(), ["x", "y"]);
    }

    #[test]
    fn a_body_says_what_a_query_string_says() {
        let query = "startkey=%22a%22&endkey=%22b%22&inclusive_end=false&descending=true&update_seq=true&conflicts=true";
        let body = br#"{"start_key":"a","endkey":"b","inclusive_end":false,"descending":true,"update_seq":true,"conflicts":true}"#;
        assert_eq!(
            AllDocsQuery::parse(query, b"").unwrap(),
            AllDocsQuery::parse("", body).unwrap()
        );
        let key = AllDocsQuery::parse("key=%22x%22", b"").unwrap();
        assert_eq!(key.range, KeyRange::only("x".into()));
    }

    #[test]
    fn design_documents_are_a_range() {
        let range = |query: &str| {
            AllDocsQuery::parse(query, b"")
                .unwrap()
                .among_designs()
                .range
        };
        let of = |start: &str, end: &str| (Some(start.to_owned()), Some(end.to_owned()));
        let both = |range: KeyRange| (range.start, range.end);
        assert_eq!(both(range("")), of("_design/", "_design0"));
        assert_eq!(both(range("descending=true")), of("_design0", "_design/"));
        assert_eq!(
            both(range("startkey=%22_design/b%22&endkey=%22z%22")),
            of("_design/b", "_design0")
        );
        assert_eq!(
            both(range("startkey=%22z%22&endkey=%22a%22&descending=true")),
            of("_design0", "a")
        );
    }

    #[test]
    fn malformed_queries_are_refused() {
        for query in ["startkey=a", "keys=1", "keys=[1]", "limit=x", "key={}"] {
            assert!(AllDocsQuery::parse(query, b"").is_err(), "{query}");
        }
        assert!(AllDocsQuery::parse("", b"[]x").is_err());
        assert!(AllDocsQuery::parse("", b"{\"keys\":1}").is_err());
    }
}
