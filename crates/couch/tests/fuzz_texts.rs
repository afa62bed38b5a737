//! Any text as a revision, a position, an id, a name, a digest, a query: what is read prints as it was, the rest is refused.
#![allow(clippy::unwrap_used)]

use adyton_couch::attachment::{AttachmentDigest, AttachmentName, ContentType};
use adyton_couch::document::{DocumentId, LocalRev};
use adyton_couch::limits::MAX_LISTS;
use adyton_couch::rev::Rev;
use adyton_couch::seq::{Life, Since};
use adyton_couch::wire::{AllDocsQuery, ChangesQuery, Destination, DocumentQuery};

fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(rev) = text.parse::<Rev>() {
        assert_eq!(rev.to_string(), text);
    }
    if let Ok(id) = text.parse::<DocumentId>() {
        assert_eq!(id.as_str(), text);
    }
    if let Ok(destination) = Destination::parse(&text) {
        assert!(!destination.id.as_str().is_empty());
    }
    let _local = text.parse::<LocalRev>();
    if let Ok(name) = text.parse::<AttachmentName>() {
        assert_eq!(name.to_string(), text);
    }
    if let Ok(kind) = text.parse::<ContentType>() {
        assert!(!kind.as_str().chars().any(char::is_control));
        assert!(kind.in_header().bytes().all(|b| (b' '..=b'~').contains(&b)));
    }
    if let Ok(digest) = text.parse::<AttachmentDigest>() {
        assert_eq!(digest.to_string(), text);
    }
    if let Ok(digest) = AttachmentDigest::from_base64(&text) {
        assert_eq!(digest.to_base64(), text);
    }
    if let Ok(since) = Since::parse(&text) {
        assert!(since.resolve(Life(7), 100) <= 100);
    }
    let (query, body) = text.split_once('\n').unwrap_or((&text, ""));
    if let Ok(mut changes) = ChangesQuery::parse(query, body.as_bytes()) {
        let _resumed = changes.resume(body);
    }
    let _list = AllDocsQuery::parse(query, body.as_bytes());
    if let Ok(lists) = AllDocsQuery::parse_several(query, body.as_bytes()) {
        assert!(lists.len() <= MAX_LISTS);
    }
    let _document = DocumentQuery::parse(query);
}

#[test]
fn any_text_as_a_parameter() {
    bolero::check!().for_each(check);
}

#[test]
fn seeds() {
    for seed in [
        "1-967a00dff5e02add41819138abb3284d",
        "18446744073709551616-967a00dff5e02add41819138abb3284d",
        "42-000000000000abcd",
        "_design/é",
        "0-18446744073709551616",
        "feed=eventsource&filter=_selector&last-event-id=%223-x%22\n{\"selector\":{\"a\":{\"$not\":{\"$in\":[null]}}}}",
        "filter=_design&descending=true\n",
        "update_seq=true&key=%22a%22\n{\"start_key\":\"a\",\"inclusive_end\":false}",
        "feed=longpoll&since=%2242-x%22&heartbeat=true&limit=0\n{}",
        "filter=_doc_ids\n{\"doc_ids\":[\"a\"]}",
        "keys=%5B%22a%22%5D&startkey=%22%ff%22",
        "md5-1B2M2Y8AsgTpgAmY7PhCfg==",
        "1B2M2Y8AsgTpgAmY7PhCfg==",
        "text/plain; charset=utf-8",
        "a/b c.png",
        "feed=eventsource\n3-000000000000abcd",
        "open_revs=all&rev=&revs=true&&==&%",
    ] {
        check(seed.as_bytes());
    }
}
