//! `_changes`: how a client asks for the feed.

use std::collections::HashSet;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::bounded::Bounded;
use super::document_query::AttachmentsWanted;
use super::error::CouchError;
use super::object::read_object;
use super::query::{boolean, number, parameters};
use crate::attachment::Encodings;
use crate::limits::MAX_BULK_ITEMS;
use crate::selector::Selector;
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
    /// As `Continuous`, in the form that a browser's `EventSource` reads.
    EventSource,
}

impl Feed {
    /// Whether it tells on and on, without an end that belongs to the answer.
    pub fn is_endless(self) -> bool {
        match self {
            Self::Continuous | Self::EventSource => true,
            Self::Normal | Self::Longpoll => false,
        }
    }
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
    /// Those of design documents.
    Designs,
    /// Those whose revisions the selector takes, as CouchDB reads selectors.
    Selector(Box<Selector>),
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
    /// With the contents of attachments in each document: all, or none.
    pub attachments: AttachmentsWanted,
    /// Whether the encodings of attachments are told.
    pub encodings: Encodings,
    /// Newest first.
    pub descending: bool,
    /// A sign of life this often while waiting. With it a feed waits without end, whatever `timeout` says.
    pub heartbeat: Option<Duration>,
    /// How long to wait for the next change.
    pub timeout: Option<Duration>,
    /// Which changes.
    pub filter: Filter,
}

/// What `heartbeat=true` means, and the longest time between two signs of life.
const MAX_HEARTBEAT: Duration = Duration::from_secs(60);
/// The shortest heartbeat: a client cannot make the server busy with line feeds.
const MIN_HEARTBEAT: Duration = Duration::from_millis(100);

/// What the request's `filter` names.
#[derive(Clone, Copy)]
enum FilterName {
    DocumentIds,
    Design,
    Selector,
}

#[derive(Deserialize, Default)]
struct Body<'a> {
    #[serde(default)]
    doc_ids: Option<Bounded<String, MAX_BULK_ITEMS>>,
    #[serde(default, borrow)]
    selector: Option<&'a RawValue>,
}

impl ChangesQuery {
    /// Reads the query string, and the body of a POST (empty for GET).
    pub fn parse(query: &str, body: &[u8]) -> Result<Self, CouchError> {
        let mut out = Self::default();
        let mut filter: Option<FilterName> = None;
        let mut ids: Option<Vec<String>> = None;
        for (name, value) in parameters(query)? {
            match &*name {
                "feed" => out.feed = feed(&value)?,
                "style" => out.style = style(&value)?,
                "since" | "last-event-id" => out.since = since(&value)?,
                // Zero means one, as CouchDB documents.
                "limit" => out.limit = Some(number(&value)?.max(1)),
                "include_docs" => out.include_docs = boolean(&value)?,
                "conflicts" => out.conflicts = boolean(&value)?,
                "attachments" => out.attachments = AttachmentsWanted::all_if(boolean(&value)?),
                "att_encoding_info" => out.encodings = Encodings::told_if(boolean(&value)?),
                "descending" => out.descending = boolean(&value)?,
                "heartbeat" => {
                    out.heartbeat = match &*value {
                        "true" => Some(MAX_HEARTBEAT),
                        "false" => None,
                        millis => Some(
                            Duration::from_millis(number(millis)?)
                                .clamp(MIN_HEARTBEAT, MAX_HEARTBEAT),
                        ),
                    }
                }
                "timeout" => out.timeout = Some(Duration::from_millis(number(&value)?)),
                "filter" => filter = Some(filter_name(&value)?),
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
        let body = match body {
            [] => Body::default(),
            body => read_object(body)
                .map_err(|_| CouchError::bad_request("Request body must be a JSON object"))?,
        };
        if let Some(name) = filter {
            out.filter = chosen(name, ids, body)?;
        }
        Ok(out)
    }

    /// Takes the `Last-Event-ID` header, with which a browser comes back to an event stream where it was cut. It counts
    /// for that feed only, and then before `since`.
    pub fn resume(&mut self, last_event: &str) -> Result<(), CouchError> {
        if self.feed == Feed::EventSource {
            self.since = since(last_event)?;
        }
        Ok(())
    }
}

fn feed(value: &str) -> Result<Feed, CouchError> {
    match value {
        "normal" => Ok(Feed::Normal),
        "longpoll" => Ok(Feed::Longpoll),
        "continuous" => Ok(Feed::Continuous),
        "eventsource" => Ok(Feed::EventSource),
        _ => Err(CouchError::bad_request(
            "Supported `feed` types: normal, continuous, eventsource, longpoll",
        )),
    }
}

fn style(value: &str) -> Result<Style, CouchError> {
    match value {
        "main_only" => Ok(Style::MainOnly),
        "all_docs" => Ok(Style::AllDocs),
        _ => Err(CouchError::bad_request(
            "Supported `style` values: main_only, all_docs",
        )),
    }
}

fn since(value: &str) -> Result<Since, CouchError> {
    Since::parse(value)
        .map_err(|_| CouchError::bad_request("Malformed sequence supplied in 'since' parameter."))
}

fn filter_name(value: &str) -> Result<FilterName, CouchError> {
    match value {
        "_doc_ids" => Ok(FilterName::DocumentIds),
        "_design" => Ok(FilterName::Design),
        "_selector" => Ok(FilterName::Selector),
        _ => Err(CouchError::bad_request(
            "Supported `filter` values: _doc_ids, _design, _selector",
        )),
    }
}

fn chosen(
    name: FilterName,
    ids: Option<Vec<String>>,
    body: Body<'_>,
) -> Result<Filter, CouchError> {
    match name {
        FilterName::Design => Ok(Filter::Designs),
        FilterName::DocumentIds => {
            let ids = body.doc_ids.map(|list| list.0).or(ids);
            let ids = ids.ok_or(CouchError::bad_request(
                "`doc_ids` filter parameter is not a list.",
            ))?;
            Ok(Filter::DocumentIds(ids.into_iter().collect()))
        }
        FilterName::Selector => {
            let text = body.selector.ok_or(CouchError::bad_request(
                "Selector must be specified in POST payload",
            ))?;
            let selector = Selector::parse_as_couchdb(text.get())?;
            Ok(Filter::Selector(Box::new(selector)))
        }
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
            "feed=x",
            "style=x",
            "since=x",
            "limit=-1",
            "limit=1e3",
            "limit=99999999999999999999",
            "include_docs=1",
            "attachments=1",
            "att_encoding_info=x",
            "heartbeat=x",
            "filter=app/important",
            "filter=_doc_ids",
            "filter=_doc_ids&doc_ids=[1]",
            "filter=_selector",
            "filter=_view&view=a/b",
        ] {
            assert!(ChangesQuery::parse(query, b"").is_err(), "{query}");
        }
        assert!(ChangesQuery::parse("filter=_doc_ids", b"{\"doc_ids\":3}").is_err());
        for body in [
            "{}",
            "[]",
            r#"{"selector":[]}"#,
            r#"{"selector":{"a":{"$x":1}}}"#,
        ] {
            assert!(
                ChangesQuery::parse("filter=_selector", body.as_bytes()).is_err(),
                "{body}"
            );
        }
    }

    #[test]
    fn documents_can_be_chosen_by_a_selector() {
        let body = br#"{"selector": {"n": {"$gt": 1}}, "fields": ["n"]}"#;
        let query = ChangesQuery::parse("filter=_selector", body).unwrap();
        let Filter::Selector(selector) = query.filter else {
            panic!("a selector")
        };
        assert!(selector.takes(br#"{"_id":"a","n":2}"#));
        assert!(!selector.takes(br#"{"_id":"a"}"#));
        // Without the filter's name, a body chooses nothing; but it is one.
        assert_eq!(
            ChangesQuery::parse("", body).unwrap().filter,
            Filter::Everything
        );
        for query in ["", "filter=_design", "filter=_selector", "filter=_doc_ids"] {
            for body in ["[", "[]", r#"[["a"],{"n":1}]"#, "nonsense"] {
                let read = ChangesQuery::parse(query, body.as_bytes());
                assert!(read.is_err(), "{query} {body}");
            }
        }
    }

    #[test]
    fn an_event_stream_goes_on_where_it_was_cut() {
        let mut query = ChangesQuery::parse("feed=eventsource&since=1", b"").unwrap();
        query.resume("7").unwrap();
        assert_eq!(query.since, Since::Number(7));
        assert!(query.resume("x").is_err());
        let query = ChangesQuery::parse("last-event-id=9", b"").unwrap();
        assert_eq!(query.since, Since::Number(9));
        // For other feeds the header means nothing.
        let mut query = ChangesQuery::parse("since=1", b"").unwrap();
        query.resume("7").unwrap();
        assert_eq!(query.since, Since::Number(1));
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
    fn a_heartbeat_has_bounds() {
        let query = ChangesQuery::parse("heartbeat=0", b"").unwrap();
        assert_eq!(query.heartbeat, Some(MIN_HEARTBEAT));
        for value in ["true", "99999999"] {
            let query = ChangesQuery::parse(&format!("heartbeat={value}"), b"").unwrap();
            assert_eq!(query.heartbeat, Some(MAX_HEARTBEAT));
        }
    }
}
