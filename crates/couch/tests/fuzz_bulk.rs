//! Any bytes as the body of a bulk request: read or refused, never a panic.
#![allow(clippy::unwrap_used)]

use adyton_couch::document::Envelope;
use adyton_couch::limits::MAX_PURGED_DOCUMENTS;
use adyton_couch::wire::{BulkDocs, BulkGet, RevsDiff};

fn check(bytes: &[u8]) {
    if let Ok(bulk) = BulkDocs::parse(bytes) {
        for doc in bulk.docs {
            let _document = Envelope::parse(doc.get().as_bytes());
        }
    }
    let _get = BulkGet::parse(bytes);
    if let Ok(purge) = RevsDiff::parse_purge(bytes) {
        assert!(purge.0.len() <= MAX_PURGED_DOCUMENTS);
    }
    if let Ok(diff) = RevsDiff::parse(bytes) {
        assert!(diff.0.iter().map(|(_, revs)| revs.len()).sum::<usize>() <= bytes.len());
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
        br#"{"docs":{}}"#,
        br#"{"docs":[],"docs":[]}"#,
        br#"{"new_edits":null}"#,
        b"",
    ] {
        check(seed);
    }
}
