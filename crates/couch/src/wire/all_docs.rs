//! `_all_docs`: documents by id.

use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

use super::bounded::{Bounded, TOO_MANY};
use super::document_query::AttachmentsWanted;
use super::error::{CouchError, ErrorKind};
use super::object::{Object, read_object};
use super::query::{boolean, number, parameters};
use crate::attachment::Encodings;
use crate::limits::{MAX_BULK_ITEMS, MAX_DOCUMENT_ID_BYTES, MAX_LISTS};

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
    #[serde(deserialize_with = "said")]
    key: Option<Edge>,
    #[serde(alias = "start_key", deserialize_with = "said")]
    startkey: Option<Edge>,
    #[serde(alias = "end_key", deserialize_with = "said")]
    endkey: Option<Edge>,
    inclusive_end: Option<bool>,
    include_docs: Option<bool>,
    conflicts: Option<bool>,
    descending: Option<bool>,
    update_seq: Option<bool>,
    attachments: Option<bool>,
    att_encoding_info: Option<bool>,
    limit: Option<u64>,
    skip: Option<u64>,
}

/// Where a range begins or ends. Ids are texts: another JSON value stands before or behind all of them, as CouchDB orders values.
struct Edge(String);

impl Edge {
    fn of(json: &RawValue) -> serde_json::Result<Self> {
        Ok(Self(match json.get().as_bytes().first() {
            Some(b'"') => serde_json::from_str(json.get())?,
            // Behind every id, for none is as long.
            Some(b'[' | b'{') => "\u{10FFFF}".repeat(MAX_DOCUMENT_ID_BYTES / 4 + 1),
            _ => String::new(),
        }))
    }

    /// A parameter of a query string.
    fn parse(text: &str) -> Result<Self, CouchError> {
        let read = serde_json::from_str(text).and_then(Self::of);
        read.map_err(|_| CouchError::bad_request("A key parameter must be JSON."))
    }
}

impl<'de> Deserialize<'de> for Edge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?;
        Self::of(json).map_err(de::Error::custom)
    }
}

/// `null` is a value, too.
fn said<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Edge>, D::Error> {
    Edge::deserialize(deserializer).map(Some)
}

impl AllDocsQuery {
    /// Reads the query string, and the body of a POST (empty for GET).
    pub fn parse(query: &str, body: &[u8]) -> Result<Self, CouchError> {
        let mut out = Self::of_query(query)?;
        if !body.is_empty() {
            out.apply(read_object(body).map_err(|_| {
                CouchError::bad_request("`keys` body member must be an array of strings.")
            })?);
        }
        Ok(out)
    }

    /// Reads the body of `_all_docs/queries`: several lists, each with what the query string says unless it says otherwise itself.
    pub fn parse_several(query: &str, body: &[u8]) -> Result<Vec<Self>, CouchError> {
        #[derive(Deserialize)]
        struct Several {
            queries: Bounded<Object<Body>, MAX_LISTS>,
        }
        let several: Several = read_object(body).map_err(|error| {
            if error.to_string().starts_with(TOO_MANY) {
                CouchError::new(ErrorKind::TooLarge, "The request has too many items.")
            } else {
                CouchError::bad_request("`queries` must be an array of objects.")
            }
        })?;
        let default = Self::of_query(query)?;
        let lists = several.queries.0.into_iter().map(|Object(body)| {
            let mut list = default.clone();
            list.apply(body);
            list
        });
        Ok(lists.collect())
    }

    /// Bytes that what [`Self::parse`] makes of this query string and this body takes besides the texts of the body, at most.
    pub fn bytes_of_keys(query: &str, body: &[u8]) -> u64 {
        bytes_of_keys(query, body, 1)
    }

    /// The same for [`Self::parse_several`].
    pub fn bytes_of_several(query: &str, body: &[u8]) -> u64 {
        bytes_of_keys(query, body, MAX_LISTS)
    }

    fn of_query(query: &str) -> Result<Self, CouchError> {
        let mut out = Self::default();
        for (name, value) in parameters(query)? {
            match &*name {
                "include_docs" => out.include_docs = boolean(&value)?,
                "conflicts" => out.conflicts = boolean(&value)?,
                "attachments" => {
                    out.attachments = AttachmentsWanted::all_if(boolean(&value)?);
                }
                "att_encoding_info" => {
                    out.encodings = Encodings::told_if(boolean(&value)?);
                }
                "descending" => out.descending = boolean(&value)?,
                "inclusive_end" => out.range.exclusive_end = !boolean(&value)?,
                "limit" => out.limit = Some(number(&value)?),
                "skip" => out.skip = number(&value)?,
                "startkey" | "start_key" => out.range.start = Some(Edge::parse(&value)?.0),
                "endkey" | "end_key" => out.range.end = Some(Edge::parse(&value)?.0),
                "update_seq" => out.update_seq = boolean(&value)?,
                "key" => out.range = KeyRange::only(Edge::parse(&value)?.0),
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
        Ok(out)
    }

    /// What a body says goes before what the query string says.
    fn apply(&mut self, body: Body) {
        self.keys = body.keys.map(|keys| keys.0).or(self.keys.take());
        let edge = |edge: Option<Edge>| edge.map(|Edge(text)| text);
        self.range.start = edge(body.startkey).or(self.range.start.take());
        self.range.end = edge(body.endkey).or(self.range.end.take());
        self.range.exclusive_end = body
            .inclusive_end
            .map_or(self.range.exclusive_end, |inclusive| !inclusive);
        if let Some(Edge(key)) = body.key {
            self.range = KeyRange::only(key);
        }
        self.include_docs = body.include_docs.unwrap_or(self.include_docs);
        self.conflicts = body.conflicts.unwrap_or(self.conflicts);
        self.descending = body.descending.unwrap_or(self.descending);
        self.update_seq = body.update_seq.unwrap_or(self.update_seq);
        if let Some(attachments) = body.attachments {
            self.attachments = AttachmentsWanted::all_if(attachments);
        }
        if let Some(told) = body.att_encoding_info {
            self.encodings = Encodings::told_if(told);
        }
        self.limit = body.limit.or(self.limit);
        self.skip = body.skip.unwrap_or(self.skip);
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

/// Keys of a body stand between quotes. Those of the query string may become those of each list, with their texts.
fn bytes_of_keys(query: &str, body: &[u8], lists: usize) -> u64 {
    /// Bytes from a key of no length to the next.
    const SHORTEST: usize = br#""","#.len();
    let quotes = body.iter().filter(|byte| **byte == b'"').count();
    let in_body = (quotes / 2).min(MAX_BULK_ITEMS * lists) as u64;
    // Each stands between quotes, plain or encoded.
    let has_keys = query.contains(['"', '%']);
    let in_query = (query.len() / SHORTEST + 1).min(MAX_BULK_ITEMS) as u64;
    let queried = u64::from(has_keys) * (in_query * KEY_BYTES + query.len() as u64);
    in_body * KEY_BYTES + queried * lists as u64
}

/// What one key takes besides its text, at most: its place, what the allocator adds, and its place among those already seen.
const KEY_BYTES: u64 = 128;
const _: () = assert!(2 * size_of::<String>() + 2 * size_of::<&str>() <= KEY_BYTES as usize);

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
    fn every_key_counts_with_more_than_it_takes() {
        let body = br#"{"keys":["x","","\"\"","z"]}"#;
        let AllDocsQuery { keys, .. } = AllDocsQuery::parse("", body).unwrap();
        let keys = keys.unwrap().len() as u64;
        assert_eq!(keys, 4);
        assert!(AllDocsQuery::bytes_of_keys("", body) >= keys * KEY_BYTES);

        // Each list has those of the query string, with their texts.
        let (query, body) = (
            r#"keys=["abc","",""]"#,
            br#"{"queries":[{},{"limit":1},{}]}"#,
        );
        let lists = AllDocsQuery::parse_several(query, body).unwrap();
        let keys: usize = lists.iter().flat_map(|list| &list.keys).map(Vec::len).sum();
        assert_eq!(keys, 9);
        let counted = AllDocsQuery::bytes_of_several(query, body);
        assert!(counted >= 9 * KEY_BYTES + 9);

        // What is refused for its many keys does not count for more than the most that are taken.
        let many = "\"\",".repeat(10 * MAX_BULK_ITEMS);
        let counted = AllDocsQuery::bytes_of_keys("", many.as_bytes());
        assert!(counted <= (MAX_BULK_ITEMS as u64 + 1) * KEY_BYTES);
    }

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
    fn keys_that_are_no_texts_stand_around_all_ids() {
        let greatest = "\u{10FFFF}".repeat(MAX_DOCUMENT_ID_BYTES / 4);
        let edge = |json: &str| {
            let query = format!("startkey={}", json.replace('"', "%22"));
            let queried = AllDocsQuery::parse(&query, b"").unwrap();
            let body = format!("{{\"startkey\":{json}}}");
            let sent = AllDocsQuery::parse("", body.as_bytes()).unwrap();
            assert_eq!(queried, sent, "{json}");
            queried.range.start.unwrap()
        };
        for json in ["null", "false", "true", "0", "-1e999"] {
            assert_eq!(edge(json), "", "{json}");
        }
        for json in ["[]", "{}", r#"["a"]"#, r#"{"a":1}"#] {
            assert!(edge(json) > greatest, "{json}");
        }
        assert_eq!(edge(r#""a""#), "a");
        assert!(AllDocsQuery::parse("", br#"{"endkey":nonsense}"#).is_err());
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
    fn several_lists_are_asked_for_at_once_and_each_may_say_otherwise() {
        let body =
            br#"{"queries":[{"keys":["a"]},{"limit":2,"include_docs":false,"attachments":true}]}"#;
        let lists = AllDocsQuery::parse_several("include_docs=true", body).unwrap();
        assert_eq!(lists[0].keys.as_deref(), Some(&["a".to_owned()][..]));
        assert!(lists[0].include_docs && !lists[1].include_docs);
        assert_eq!(lists[1].limit, Some(2));
        assert_eq!(lists[1].attachments, AttachmentsWanted::All);
        for body in [
            "",
            "{}",
            "[]",
            "[[{}]]",
            r#"{"queries":{}}"#,
            r#"{"queries":[1]}"#,
            r#"{"queries":[[["a"]]]}"#,
        ] {
            let refusal = AllDocsQuery::parse_several("", body.as_bytes()).unwrap_err();
            assert_eq!(refusal.kind, ErrorKind::BadRequest, "{body}");
        }
        let of = |n| {
            let body = format!("{{\"queries\":[{}]}}", vec!["{}"; n].join(","));
            AllDocsQuery::parse_several("", body.as_bytes())
        };
        assert_eq!(of(MAX_LISTS).unwrap().len(), MAX_LISTS);
        let refusal = of(MAX_LISTS + 1).unwrap_err();
        assert_eq!(refusal.kind, ErrorKind::TooLarge);
    }

    #[test]
    fn malformed_queries_are_refused() {
        for query in [
            "startkey=a",
            "keys=1",
            "keys=[1]",
            "limit=x",
            "key=nonsense",
            "key=%22%5Cud800%22",
            "key=%22caf%E9%22",
            "%FF",
        ] {
            assert!(AllDocsQuery::parse(query, b"").is_err(), "{query}");
        }
        for body in ["[]x", "[]", r#"[["a"]]"#] {
            assert!(AllDocsQuery::parse("", body.as_bytes()).is_err(), "{body}");
        }
        assert!(AllDocsQuery::parse("", b"{\"keys\":1}").is_err());
    }
}
