//! `_changes`: how a client asks for the feed.

use std::collections::HashSet;
use std::time::Duration;

use serde::Deserialize;

use super::bounded::Bounded;
use super::error::CouchError;
use super::query::{boolean, number, parameters};
use crate::limits::MAX_BULK_ITEMS;
use crate::seq::Since;

/// How the feed goes on when it has told everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Feed {
    /// It ends.
    #[default]
    Normal,
    /// If there was nothing to tell, it waits for one change or the time-out, then ends.
    Longpoll,
    /// It waits and tells on, one JSON object per line, until the time-out.
    Continuous,
}

/// Which revisions a change names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// The winner.
    #[default]
    MainOnly,
    /// Every leaf.
    AllDocs,
}

/// Which changes are told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Filter {
    /// All.
    #[default]
    Everything,
    /// Those of these documents.
    DocumentIds(HashSet<String>),
}

/// A request for the feed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChangesQuery {
    /// How it goes on.
    pub feed: Feed,
    /// Which revisions are named.
    pub style: Style,
    /// Where to start.
    pub since: Since,
    /// At most this many changes.
    pub limit: Option<u64>,
    /// With the winner's document in each change.
    pub include_docs: bool,
    /// With `_conflicts` in each document.
    pub conflicts: bool,
    /// Newest first.
    pub descending: bool,
    /// A line feed this often while waiting.
    pub heartbeat: Option<Duration>,
    /// How long to wait for a change.
    pub timeout: Option<Duration>,
    /// Which changes.
    pub filter: Filter,
}

/// What `heartbeat=true` means.
const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(60);
/// The shortest heartbeat: a client cannot make the server busy with line feeds.
const MIN_HEARTBEAT: Duration = Duration::from_millis(100);

#[derive(Deserialize, Default)]
struct Body {
    #[serde(default)]
    doc_ids: Option<Bounded<String, MAX_BULK_ITEMS>>,
}

impl ChangesQuery {
    /// Reads the query string, and the body of a POST (empty for GET).
    pub fn parse(query: &str, body: &[u8]) -> Result<Self, CouchError> {
        let mut out = Self::default();
        let mut by_ids = false;
        let mut ids: Option<Vec<String>> = None;
        for (name, value) in parameters(query) {
            match &*name {
                "feed" => {
                    out.feed = match &*value {
                        "normal" => Feed::Normal,
                        "longpoll" => Feed::Longpoll,
                        "continuous" => Feed::Continuous,
                        _ => {
                            return Err(CouchError::bad_request(
                                "Supported `feed` types: normal, longpoll, continuous",
                            ));
                        }
                    }
                }
                "style" => {
                    out.style = match &*value {
                        "main_only" => Style::MainOnly,
                        "all_docs" => Style::AllDocs,
                        _ => {
                            return Err(CouchError::bad_request(
                                "Supported `style` values: main_only, all_docs",
                            ));
                        }
                    }
                }
                "since" => {
                    out.since = Since::parse(&value).map_err(|_| {
                        CouchError::bad_request("Malformed sequence supplied in 'since' parameter.")
                    })?;
                }
                // Zero means one, as CouchDB documents.
                "limit" => out.limit = Some(number(&value)?.max(1)),
                "include_docs" => out.include_docs = boolean(&value)?,
                "conflicts" => out.conflicts = boolean(&value)?,
                "descending" => out.descending = boolean(&value)?,
                "heartbeat" => {
                    out.heartbeat = match &*value {
                        "true" => Some(DEFAULT_HEARTBEAT),
                        "false" => None,
                        millis => Some(Duration::from_millis(number(millis)?).max(MIN_HEARTBEAT)),
                    }
                }
                "timeout" => out.timeout = Some(Duration::from_millis(number(&value)?)),
                "filter" => match &*value {
                    "_doc_ids" => by_ids = true,
                    _ => {
                        return Err(CouchError::bad_request(
                            "Supported `filter` values: _doc_ids",
                        ));
                    }
                },
                "doc_ids" => {
                    let list: Bounded<String, MAX_BULK_ITEMS> = serde_json::from_str(&value)
                        .map_err(|_| {
                            CouchError::bad_request("`doc_ids` must be an array of strings")
                        })?;
                    ids = Some(list.0);
                }
                // Further parameters change nothing that we answer.
                _ => {}
            }
        }
        if by_ids {
            if !body.is_empty() {
                let body: Body = serde_json::from_slice(body)
                    .map_err(|_| CouchError::bad_request("Request body must be a JSON object"))?;
                ids = body.doc_ids.map(|list| list.0).or(ids);
            }
            let ids = ids.ok_or(CouchError::bad_request(
                "`doc_ids` filter parameter is not a list.",
            ))?;
            out.filter = Filter::DocumentIds(ids.into_iter().collect());
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_of_the_original_client_is_understood() {
        let query = ChangesQuery::parse(
            "timeout=5000&style=all_docs&include_docs=true&feed=longpoll&heartbeat=10000&since=1&limit=100",
            b"",
        )
        .unwrap();
        assert_eq!(query.feed, Feed::Longpoll);
        assert_eq!(query.style, Style::AllDocs);
        assert_eq!(query.since, Since::Number(1));
        assert_eq!(query.limit, Some(100));
        assert!(query.include_docs);
        assert_eq!(query.heartbeat, Some(Duration::from_secs(10)));
        assert_eq!(query.timeout, Some(Duration::from_secs(5)));
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_not_ignored() {
        for query in [
            "feed=eventsource",
            "style=x",
            "since=x",
            "limit=-1",
            "limit=1e3",
            "limit=99999999999999999999",
            "include_docs=1",
            "heartbeat=x",
            "filter=app/important",
            "filter=_doc_ids",
            "filter=_doc_ids&doc_ids=[1]",
        ] {
            assert!(ChangesQuery::parse(query, b"").is_err(), "{query}");
        }
        assert!(ChangesQuery::parse("filter=_doc_ids", b"{\"doc_ids\":3}").is_err());
    }

    #[test]
    fn documents_can_be_chosen_by_id() {
        let query = ChangesQuery::parse("filter=_doc_ids", br#"{"doc_ids":["a","b"]}"#).unwrap();
        assert_eq!(
            query.filter,
            Filter::DocumentIds(["a".into(), "b".into()].into())
        );
    }

    #[test]
    fn a_heartbeat_has_a_lower_bound() {
        let query = ChangesQuery::parse("heartbeat=0", b"").unwrap();
        assert_eq!(query.heartbeat, Some(MIN_HEARTBEAT));
    }
}
