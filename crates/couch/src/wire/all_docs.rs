//! `_all_docs`: documents by id.

use serde::Deserialize;

use super::bounded::Bounded;
use super::error::CouchError;
use super::query::{boolean, json_text, number, parameters};
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
    /// From the last id to the first.
    pub descending: bool,
    /// At most this many rows.
    pub limit: Option<u64>,
    /// After leaving out this many.
    pub skip: u64,
}

#[derive(Deserialize, Default)]
struct Body {
    #[serde(default)]
    keys: Option<Bounded<String, MAX_BULK_ITEMS>>,
    #[serde(default)]
    include_docs: Option<bool>,
    #[serde(default)]
    limit: Option<u64>,
    #[serde(default)]
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
                "descending" => out.descending = boolean(&value)?,
                "inclusive_end" => out.range.exclusive_end = !boolean(&value)?,
                "limit" => out.limit = Some(number(&value)?),
                "skip" => out.skip = number(&value)?,
                "startkey" | "start_key" => out.range.start = Some(json_text(&value)?),
                "endkey" | "end_key" => out.range.end = Some(json_text(&value)?),
                "key" => {
                    let key = json_text(&value)?;
                    out.keys = Some(vec![key]);
                }
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
            out.include_docs = body.include_docs.unwrap_or(out.include_docs);
            out.limit = body.limit.or(out.limit);
            out.skip = body.skip.unwrap_or(out.skip);
        }
        Ok(out)
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
    fn malformed_queries_are_refused() {
        for query in ["startkey=a", "keys=1", "keys=[1]", "limit=x", "key={}"] {
            assert!(AllDocsQuery::parse(query, b"").is_err(), "{query}");
        }
        assert!(AllDocsQuery::parse("", b"[]x").is_err());
        assert!(AllDocsQuery::parse("", b"{\"keys\":1}").is_err());
    }
}
