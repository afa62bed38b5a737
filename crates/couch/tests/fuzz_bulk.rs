//! Any bytes as the body of a bulk request: read or refused, never a panic.
#![allow(clippy::unwrap_used)]

use adyton_couch::document::Envelope;
use adyton_couch::limits::MAX_PURGED_DOCUMENTS;
use adyton_couch::wire::{BulkDocs, BulkGet, CouchError, Named, Purge, RevsAsked};

fn check(bytes: &[u8]) {
    if let Ok(bulk) = BulkDocs::parse(bytes) {
        for doc in bulk.docs {
            let _document = Envelope::parse(doc.get().as_bytes());
            let line = Named::of(doc, bulk.new_edits).refused(CouchError::conflict());
            serde_json::to_vec(&line).unwrap();
        }
    }
    let _get = BulkGet::parse(bytes);
    if let Ok(purge) = Purge::parse(bytes) {
        assert!(purge.0.len() <= MAX_PURGED_DOCUMENTS);
    }
    if let Ok(asked) = RevsAsked::parse(bytes) {
        for (_, asked) in asked.0 {
            assert!(asked.revs.len() * 37 + asked.foreign.as_json().len() <= bytes.len());
            let items = format!("[{}]", asked.foreign.as_json());
            let items: Vec<String> = serde_json::from_str(&items).unwrap();
            assert_eq!(items.is_empty(), asked.foreign.deepest().is_none());
        }
    }
}

#[test]
fn any_bytes_as_a_bulk_body() {
    bolero::check!().for_each(check);
}

#[test]
fn seeds() {
    for seed in [
        &br#"{"docs":[{"_id":"a"},3,null,{}],"new_edits":false}"#[..],
        br#"{"docs":[{"id":"a","rev":"1-967a00dff5e02add41819138abb3284d"},{"id":"b"}]}"#,
        br#"{"a":["1-967a00dff5e02add41819138abb3284d"],"b":[]}"#,
        br#"{"a":["1-abc","2-\u0022\/"],"b":["1-"]}"#,
        br#"{"docs":[{"id":"a","atts_since":["1-967a00dff5e02add41819138abb3284d","1-",""]}]}"#,
        br#"{"docs":[{"_id":"a\ud800","k\udc00":1,"_rev":2}],"new_edits":false}"#,
        br#"{"docs":{}}"#,
        br#"{"docs":[],"docs":[]}"#,
        br#"{"new_edits":null}"#,
        b"",
    ] {
        check(seed);
    }
}
