//! Any bytes as a target's answer: refused, or nothing but what was asked for.
#![allow(clippy::unwrap_used)]

use adyton_couch::wire::{Missing, Refused, RevsDiff};

const REV: &str = "1-967a00dff5e02add41819138abb3284d";

fn check(bytes: &[u8]) {
    let named = vec![REV.parse().unwrap()];
    let asked = RevsDiff(vec![("a".to_owned(), named), ("b".to_owned(), Vec::new())]);
    if let Ok(missing) = Missing::parse(bytes, &asked) {
        assert!(missing.0.len() <= 1);
        for (id, revs) in missing.0 {
            assert_eq!((id.as_str(), revs.len()), ("a", 1));
        }
    }
    let sent: Vec<_> = asked.0.iter().map(|(id, _)| id.parse().unwrap()).collect();
    if let Ok(refused) = Refused::parse(bytes, &sent) {
        assert!(refused.for_good + refused.for_now <= 2);
    }
}

#[test]
fn any_bytes_as_an_answer() {
    bolero::check!().for_each(check);
}

#[test]
fn seeds() {
    for seed in [
        &br#"{"a":{"missing":["1-967a00dff5e02add41819138abb3284d"]}}"#[..],
        br#"{"a":{"missing":["1-967a00dff5e02add41819138abb3284d"],"possible_ancestors":[]},"b":{}}"#,
        br#"[{"id":"a","error":"forbidden","reason":"x"}]"#,
        br#"[{"id":"a","error":"internal_server_error"},{"id":null,"error":{}}]"#,
        br#"[{"ok":true,"id":"b","rev":"1-x"}]"#,
        b"[]",
        b"{}",
        b"",
    ] {
        check(seed);
    }
}
