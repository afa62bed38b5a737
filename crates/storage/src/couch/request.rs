//! What of a request on the data path goes on to CouchDB: an address made anew from what was understood, a query without what
//! would run code or weaken an acknowledgement, and headers of a list. And what of the answer comes back.

use std::time::Duration;

use adyton_couch::document::DocumentId;
use adyton_couch::wire::{CouchError, Destination};
use adyton_protocol::database::DatabaseHash;
use http::header::{self, HeaderMap, HeaderName};
use url::form_urlencoded;

use super::client::segment;

/// What is asked for and sent.
pub(crate) const JSON: &str = "application/json";
/// Headers of a request that CouchDB is told.
const ASKED: [HeaderName; 6] = [
    header::ACCEPT,
    header::CONTENT_TYPE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::RANGE,
    HeaderName::from_static("last-event-id"),
];
/// Headers of an attachment's content, too.
const CONTENT: [HeaderName; 2] = [
    header::CONTENT_ENCODING,
    HeaderName::from_static("content-md5"),
];
/// Headers of an answer that the caller is told. Not `Location`: it names the CouchDB.
const TOLD: [HeaderName; 8] = [
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    header::ACCEPT_RANGES,
    header::ETAG,
    header::CACHE_CONTROL,
    HeaderName::from_static("content-md5"),
];
/// Filters of a feed that run nothing of a design document.
const FILTERS: [&str; 3] = ["_doc_ids", "_selector", "_design"];
/// What a query does not say: to acknowledge before it is written, or what fewer copies hold, and to answer with a script.
const NOT_ASKED: [&str; 4] = ["batch", "w", "r", "callback"];
/// The shortest time between two signs of life of a feed.
const SHORTEST_BEAT: u64 = 1_000;

/// The headers that go on.
pub(crate) fn asked(headers: &HeaderMap) -> HeaderMap {
    chosen(headers, &ASKED)
}

/// The headers that go on with the content of an attachment.
pub(crate) fn asked_with_content(headers: &HeaderMap) -> HeaderMap {
    let mut all = asked(headers);
    all.extend(chosen(headers, &CONTENT));
    all
}

/// The headers that come back.
pub(crate) fn told(headers: &HeaderMap) -> HeaderMap {
    chosen(headers, &TOLD)
}

fn chosen(headers: &HeaderMap, names: &[HeaderName]) -> HeaderMap {
    let chosen = names.iter().filter_map(|name| {
        let value = headers.get(name)?;
        Some((name.clone(), value.clone()))
    });
    chosen.collect()
}

/// The address of a database, or of something in it.
pub(crate) fn path(hash: DatabaseHash, rest: &[&str]) -> String {
    let mut path = format!("/{hash}");
    for part in rest {
        path.push('/');
        path.push_str(&segment(part));
    }
    path
}

/// The address of a document, of any kind, or of something in it.
pub(crate) fn document_path(hash: DatabaseHash, id: &DocumentId, rest: Option<&str>) -> String {
    let mut parts: Vec<&str> = match id.as_str().split_once('/') {
        Some((kind @ ("_design" | "_local"), name)) => vec![kind, name],
        _ => vec![id.as_str()],
    };
    parts.extend(rest);
    path(hash, &parts)
}

/// Where a copy goes, relative to the database.
pub(crate) fn destination(to: &Destination) -> String {
    let id = match to.id.as_str().split_once('/') {
        Some(("_design", name)) => format!("_design/{}", segment(name)),
        _ => segment(to.id.as_str()),
    };
    match to.rev {
        Some(rev) => format!("{id}?rev={rev}"),
        None => id,
    }
}

/// A query that goes on, without [`NOT_ASKED`]: what is acknowledged is written, and written as often as CouchDB is set to.
pub(crate) fn query(text: &str) -> String {
    written(pairs(text))
}

/// How a feed goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FeedKind {
    /// It tells what there is.
    Normal,
    /// It waits, and ends with the words that belong to its end.
    Longpoll,
    /// It tells on, and may end after any line.
    Endless,
}

/// A feed as it goes on to CouchDB.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FeedQuery {
    pub(crate) kind: FeedKind,
    /// Whether CouchDB gives signs of life, and so ends the feed never.
    pub(crate) beats: bool,
    pub(crate) query: String,
}

/// Reads the query of a feed. It waits no longer than `longest`, unless it gives signs of life.
pub(crate) fn feed(text: &str, longest: Duration) -> Result<FeedQuery, CouchError> {
    let wrong = || CouchError::bad_request("invalid query of a feed");
    let mut own: [Option<String>; 4] = Default::default();
    let mut others = Vec::new();
    for (name, value) in pairs(text) {
        let slot = match name.as_str() {
            "feed" => 0,
            "timeout" => 1,
            "heartbeat" => 2,
            "filter" => 3,
            // It belongs to a filter that is not taken.
            "view" => continue,
            _ => {
                others.push((name, value));
                continue;
            }
        };
        let slot = own.get_mut(slot).ok_or_else(wrong)?;
        // Twice said could be understood in two ways.
        if slot.replace(value).is_some() {
            return Err(wrong());
        }
    }
    let [kind, timeout, heartbeat, filter] = own;
    let name = kind;
    let kind = match name.as_deref() {
        None | Some("normal") => FeedKind::Normal,
        Some("longpoll") => FeedKind::Longpoll,
        Some("continuous" | "eventsource") => FeedKind::Endless,
        Some(_) => return Err(wrong()),
    };
    let longest = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
    let timeout = match timeout.map(|text| text.parse::<u64>()) {
        None => longest,
        Some(Ok(asked)) => asked.min(longest),
        Some(Err(_)) => return Err(wrong()),
    };
    let heartbeat = match heartbeat.as_deref() {
        None | Some("false") => None,
        Some("true") => Some("true".to_owned()),
        Some(text) => {
            let asked: u64 = text.parse().map_err(|_| wrong())?;
            Some(asked.max(SHORTEST_BEAT).to_string())
        }
    };
    let heartbeat = heartbeat.filter(|_| kind != FeedKind::Normal);
    if let Some(filter) = filter {
        if !FILTERS.contains(&filter.as_str()) {
            let reason = "Only the filters _doc_ids, _selector and _design are known.";
            return Err(CouchError::bad_request(reason));
        }
        others.push(("filter".to_owned(), filter));
    }
    if let Some(name) = name {
        others.push(("feed".to_owned(), name));
    }
    let beats = heartbeat.is_some();
    others.push(match heartbeat {
        Some(heartbeat) => ("heartbeat".to_owned(), heartbeat),
        None => ("timeout".to_owned(), timeout.to_string()),
    });
    Ok(FeedQuery {
        kind,
        beats,
        query: written(others),
    })
}

fn pairs(text: &str) -> impl Iterator<Item = (String, String)> {
    form_urlencoded::parse(text.as_bytes())
        .into_owned()
        .filter(|(name, _)| !NOT_ASKED.contains(&name.as_str()))
}

fn written(pairs: impl IntoIterator<Item = (String, String)>) -> String {
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish();
    match query.is_empty() {
        true => query,
        // CouchDB reads `+` as a space, too; `%20` is the same to everybody.
        false => format!("?{}", query.replace('+', "%20")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn fed(text: &str) -> (FeedKind, bool, String) {
        let feed = feed(text, MINUTE).unwrap();
        (feed.kind, feed.beats, feed.query)
    }

    #[test]
    fn an_address_has_only_what_was_understood() {
        let hash: DatabaseHash = format!("v{}", "0a".repeat(32)).parse().unwrap();
        let of = |id: &str, rest| document_path(hash, &id.parse().unwrap(), rest);
        assert_eq!(of("a/b c", None), format!("/{hash}/a%2Fb%20c"));
        assert_eq!(of("..", None), format!("/{hash}/%2E%2E"));
        assert_eq!(of("_design/x", Some("y")), format!("/{hash}/_design/x/y"));
        assert_eq!(of("_local/x==", None), format!("/{hash}/_local/x%3D%3D"));
        assert_eq!(of("a?b#c", Some("d/e")), format!("/{hash}/a%3Fb%23c/d%2Fe"));
        assert_eq!(path(hash, &["_changes"]), format!("/{hash}/_changes"));
    }

    #[test]
    fn what_is_acknowledged_is_written() {
        assert_eq!(query("rev=1-a&batch=ok"), "?rev=1-a");
        assert_eq!(query("batch=ok"), "");
        assert_eq!(query("w=1&rev=1-a&r=1&callback=x"), "?rev=1-a");
        assert_eq!(query("startkey=%22a+b%26%22"), "?startkey=%22a%20b%26%22");
    }

    #[test]
    fn a_feed_waits_no_longer_than_it_may() {
        let normal = (FeedKind::Normal, false, "?since=0&timeout=60000".to_owned());
        assert_eq!(fed("since=0&heartbeat=5"), normal);
        let (kind, beats, query) = fed("feed=longpoll&timeout=999999");
        assert_eq!((kind, beats), (FeedKind::Longpoll, false));
        assert_eq!(query, "?feed=longpoll&timeout=60000");
        let (kind, beats, query) = fed("feed=continuous&heartbeat=5&timeout=7");
        assert_eq!((kind, beats), (FeedKind::Endless, true));
        assert_eq!(query, "?feed=continuous&heartbeat=1000");
        let (_, _, query) = fed("feed=longpoll&timeout=7&filter=_selector");
        assert_eq!(query, "?filter=_selector&feed=longpoll&timeout=7");
    }

    #[test]
    fn a_feed_that_would_run_code_or_says_two_things_is_refused() {
        for text in [
            "filter=x/y",
            "filter=_view&view=x/y",
            "filter=_doc_ids&filter=x/y",
            "feed=normal&feed=continuous",
            "feed=forever",
            "timeout=x",
            "heartbeat=x",
        ] {
            assert!(feed(text, MINUTE).is_err(), "{text}");
        }
    }

    #[test]
    fn whatever_a_stranger_asks_a_feed_that_goes_on_says_one_thing() {
        bolero::check!()
            .with_type::<String>()
            .for_each(|text: &String| {
                let Ok(feed) = feed(text, MINUTE) else {
                    return;
                };
                let text = feed.query.trim_start_matches('?');
                let names: Vec<_> = form_urlencoded::parse(text.as_bytes()).collect();
                for own in ["feed", "filter", "heartbeat", "timeout"] {
                    assert!(names.iter().filter(|(name, _)| name == own).count() <= 1);
                }
                let has = |own: &str| names.iter().any(|(name, _)| name == own);
                assert!(has("timeout") != has("heartbeat"));
                assert!(NOT_ASKED.iter().all(|name| !has(name)));
                assert!(feed.query.bytes().all(|b| b.is_ascii_graphic()));
            });
    }

    #[test]
    fn credentials_and_cookies_stay_where_they_are() {
        let mut headers = HeaderMap::new();
        for name in [
            "authorization",
            "cookie",
            "x-auth-couchdb-username",
            "accept",
        ] {
            headers.insert(name, "x".parse().unwrap());
        }
        assert_eq!(asked(&headers).len(), 1);
        headers.clear();
        for name in [
            "set-cookie",
            "location",
            "server",
            "x-couch-request-id",
            "etag",
        ] {
            headers.insert(name, "x".parse().unwrap());
        }
        assert_eq!(told(&headers).keys().collect::<Vec<_>>(), ["etag"]);
    }
}
