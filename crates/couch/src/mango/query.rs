//! The body of `_find` and `_explain`.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Bookmark, IndexName, MAX_INDEX_FIELDS, Projection};
use crate::selector::{FieldPath, Selector};
use crate::wire::{Bounded, CouchError, ErrorKind, read_object};

/// Documents of an answer when the query does not say how many.
const DEFAULT_LIMIT: u64 = 25;

/// In which direction an index is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// From the smallest value.
    #[default]
    Ascending,
    /// From the greatest value; documents that are equal come in falling order of their ids, too.
    Descending,
}

impl Direction {
    /// The word of sort orders and index definitions.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ascending => "asc",
            Self::Descending => "desc",
        }
    }
}

/// A Mango query.
#[derive(Debug, Clone)]
pub struct FindQuery {
    /// Which documents.
    pub selector: Selector,
    /// At most this many.
    pub limit: u64,
    /// After leaving out this many.
    pub skip: u64,
    /// By which fields they lie; none leaves the order to the index.
    pub sort: Vec<FieldPath>,
    /// In which direction.
    pub direction: Direction,
    /// Which of their members.
    pub fields: Option<Projection>,
    /// The index to use, if it can be used.
    pub use_index: Option<IndexName>,
    /// Whether another may be used if it cannot.
    pub allow_fallback: bool,
    /// Where the page begins.
    pub bookmark: Option<Bookmark>,
    /// With `_conflicts` in each document.
    pub conflicts: bool,
    /// With what it cost.
    pub execution_stats: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    #[serde(default, borrow)]
    selector: Option<&'a RawValue>,
    #[serde(default)]
    limit: Option<u64>,
    #[serde(default)]
    skip: Option<u64>,
    #[serde(default)]
    sort: Option<Bounded<SortField, MAX_INDEX_FIELDS>>,
    #[serde(default)]
    fields: Option<Bounded<String, { super::MAX_PROJECTED_FIELDS }>>,
    #[serde(default)]
    use_index: Option<UseIndex>,
    #[serde(default)]
    allow_fallback: Option<bool>,
    #[serde(default)]
    bookmark: Option<String>,
    #[serde(default)]
    conflicts: Option<bool>,
    #[serde(default)]
    execution_stats: Option<bool>,
    // What follows tunes CouchDB's cluster and its stored views: read, so that a mistake is told, and without effect.
    #[serde(default, rename = "r")]
    _quorum: Option<u64>,
    #[serde(default, rename = "update")]
    _update: Option<bool>,
    #[serde(default, rename = "stable")]
    _stable: Option<bool>,
    #[serde(default, rename = "stale")]
    _stale: Option<String>,
    #[serde(default, rename = "partition")]
    _partition: Option<String>,
}

/// `"name"` or `{"name": "asc"}`.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum SortField {
    Name(String),
    Directed(std::collections::BTreeMap<String, Word>),
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
pub(super) enum Word {
    Asc,
    Desc,
}

/// `"design"`, `["design"]` or `["design", "name"]`.
#[derive(Deserialize)]
#[serde(untagged)]
enum UseIndex {
    Design(String),
    Listed(Bounded<String, 2>),
}

impl SortField {
    /// The field as it is written, and its direction.
    pub(super) fn read(self) -> Result<(String, Direction), CouchError> {
        match self {
            Self::Name(name) => Ok((name, Direction::Ascending)),
            Self::Directed(members) => {
                let mut members = members.into_iter();
                match (members.next(), members.next()) {
                    (Some((name, Word::Asc)), None) => Ok((name, Direction::Ascending)),
                    (Some((name, Word::Desc)), None) => Ok((name, Direction::Descending)),
                    (None | Some(_), _) => Err(CouchError::bad_request(
                        "A sort field must be a name or an object with one member.",
                    )),
                }
            }
        }
    }
}

/// The direction that all fields have.
pub(super) fn common_direction(fields: &[(String, Direction)]) -> Result<Direction, CouchError> {
    let first = fields.first().map(|(_, first)| *first).unwrap_or_default();
    if fields.iter().any(|(_, direction)| *direction != first) {
        let reason = "Sorts currently only support a single direction for all fields.";
        return Err(CouchError::new(ErrorKind::UnsupportedMixedSort, reason));
    }
    Ok(first)
}

impl FindQuery {
    /// Bytes of a request.
    pub const MAX_BYTES: usize = 256 << 10;

    /// Reads the body of the request.
    pub fn parse(body: &[u8]) -> Result<Self, CouchError> {
        if body.len() > Self::MAX_BYTES {
            let reason = "the request entity is too large";
            return Err(CouchError::new(ErrorKind::TooLarge, reason));
        }
        let body: Body<'_> = read_object(body).map_err(|error| {
            let text = error.to_string();
            if text.starts_with("unknown field") {
                let reason = "A member of the request is not known.";
                CouchError::new(ErrorKind::InvalidKey, reason)
            } else if error.is_data() {
                CouchError::bad_request("A member of the request has the wrong shape.")
            } else {
                CouchError::bad_request("invalid UTF-8 JSON")
            }
        })?;
        let selector = body.selector.ok_or(CouchError::new(
            ErrorKind::MissingRequiredKey,
            "Missing required key: selector",
        ))?;
        let sort = body.sort.unwrap_or_default().0;
        let sort: Vec<(String, Direction)> = sort
            .into_iter()
            .map(SortField::read)
            .collect::<Result<_, _>>()?;
        let bookmark = match body.bookmark.as_deref() {
            None | Some("" | "nil") => None,
            Some(text) => Some(text.parse().map_err(|_| CouchError::invalid_bookmark())?),
        };
        Ok(Self {
            selector: Selector::parse_as_couchdb(selector.get())?,
            limit: body.limit.unwrap_or(DEFAULT_LIMIT),
            skip: body.skip.unwrap_or(0),
            direction: common_direction(&sort)?,
            sort: sort
                .iter()
                .map(|(name, _)| FieldPath::parse(name))
                .collect::<Result<_, _>>()?,
            fields: Projection::of(&body.fields.unwrap_or_default().0)?,
            use_index: body.use_index.and_then(UseIndex::read),
            allow_fallback: body.allow_fallback.unwrap_or(true),
            bookmark,
            conflicts: body.conflicts.unwrap_or(false),
            execution_stats: body.execution_stats.unwrap_or(false),
        })
    }
}

impl UseIndex {
    fn read(self) -> Option<IndexName> {
        match self {
            Self::Design(design) => Some(IndexName::new(&design, None)),
            Self::Listed(list) => {
                let mut texts = list.0.into_iter();
                let design = texts.next()?;
                Some(IndexName::new(&design, texts.next()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_with_couchdbs_defaults() {
        let query = FindQuery::parse(br#"{"selector":{"a":1}}"#).unwrap();
        assert_eq!((query.limit, query.skip, query.sort.len()), (25, 0, 0));
        assert!(query.fields.is_none() && query.bookmark.is_none() && query.allow_fallback);
        let query = FindQuery::parse(
            br#"{"selector":{},"sort":[{"a":"desc"},{"b.c":"desc"}],"limit":3,"skip":1,"fields":["a"],
                "use_index":["_design/x","y"],"bookmark":"nil","r":2,"update":true,"stable":false}"#,
        )
        .unwrap();
        assert_eq!(
            (query.direction, query.sort.len()),
            (Direction::Descending, 2)
        );
        assert_eq!(query.use_index, Some(IndexName::new("x", Some("y".into()))));
    }

    #[test]
    fn what_is_no_query_is_refused_in_couchdbs_words() {
        for (body, name) in [
            ("", "bad_request"),
            (r#"[{"a":1},5]"#, "bad_request"),
            ("{}", "missing_required_key"),
            (r#"{"selector":{},"slector":1}"#, "invalid_key"),
            (r#"{"selector":{},"limit":-1}"#, "bad_request"),
            (r#"{"selector":{},"limit":"1"}"#, "bad_request"),
            (r#"{"selector":[]}"#, "bad_request"),
            (r#"{"selector":{"a":{"$foo":1}}}"#, "bad_request"),
            (r#"{"selector":{},"sort":[{"a":"up"}]}"#, "bad_request"),
            (
                r#"{"selector":{},"sort":[{"a":"asc","b":"asc"}]}"#,
                "bad_request",
            ),
            (
                r#"{"selector":{},"sort":["a",{"b":"desc"}]}"#,
                "unsupported_mixed_sort",
            ),
            (r#"{"selector":{},"bookmark":"x"}"#, "invalid_bookmark"),
            (
                r#"{"selector":{},"use_index":["a","b","c"]}"#,
                "bad_request",
            ),
        ] {
            let error = FindQuery::parse(body.as_bytes()).unwrap_err();
            assert_eq!(error.kind.name(), name, "{body}");
        }
        let sort = |count: usize| {
            let fields = vec!["\"a\""; count].join(",");
            FindQuery::parse(format!("{{\"selector\":{{}},\"sort\":[{fields}]}}").as_bytes())
        };
        assert!(sort(MAX_INDEX_FIELDS).is_ok() && sort(MAX_INDEX_FIELDS + 1).is_err());
        let long = |bytes: usize| {
            let body = r#"{"selector":{}}"#;
            FindQuery::parse(format!("{body}{}", " ".repeat(bytes - body.len())).as_bytes())
        };
        assert!(long(FindQuery::MAX_BYTES).is_ok());
        assert_eq!(
            long(FindQuery::MAX_BYTES + 1).unwrap_err().kind,
            ErrorKind::TooLarge
        );
    }
}
