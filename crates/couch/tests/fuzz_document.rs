//! Any bytes as a document: read or refused, never a panic; what is read renders to JSON that reads the same.
#![allow(clippy::unwrap_used)]

use adyton_couch::document::{Envelope, LocalEnvelope};
use adyton_couch::rev::Rev;

fn check(bytes: &[u8]) {
    let _local = LocalEnvelope::parse(bytes);
    let Ok(envelope) = Envelope::parse(bytes) else {
        return;
    };
    let id = "x".parse().unwrap();
    let rev = Rev::of_edit(None, false, b"").unwrap();
    let rendered = envelope.members.render(&id, &rev, envelope.liveness);
    let again = Envelope::parse(&rendered).unwrap();
    assert_eq!(again.members, envelope.members);
    assert_eq!(again.liveness, envelope.liveness);
    assert_eq!(again.rev, Some(rev));
}

#[test]
fn any_bytes_as_a_document() {
    bolero::check!().for_each(check);
}

#[test]
fn seeds() {
    for seed in [
        &br#"{"_id":"a","_rev":"1-967a00dff5e02add41819138abb3284d","payload":"x"}"#[..],
        br#"{"_revisions":{"start":2,"ids":["967a00dff5e02add41819138abb3284d","967a00dff5e02add41819138abb3284d"]},"_deleted":true}"#,
        br#"{"a":{"b":[1,2,{"c":null}]},"\u00e9\n":"\ud83d\ude00","n":-0.0e-9}"#,
        br#"{"_id":"_local/x","_rev":"0-7"}"#,
        br#"{"a":"\ud800"}"#,
        br#"{"\ud800":1}"#,
        br#"{"_id":"a","_id":"b"}"#,
        b"{",
        b"[[[[",
    ] {
        check(seed);
    }
}
