//! Runs the vectors that the original implementation made (`vectors/*.json`, or the folder named by
//! `ADYTON_VECTORS`). A file that the folder lacks is skipped and named.

mod derivation;
mod documents;
mod records;

use std::path::PathBuf;

use adyton_protocol::canonical_json::{self, to_string_lossy_like_reference};
use adyton_protocol::context::ContextName;
use adyton_protocol::did::{Anchor, Did};
use adyton_protocol::hash::{hash_text, keccak256};
use serde_json::Value;

use crate::account::Account;

/// The parsed file, or `None` (and a line that says so) when the folder lacks it.
#[allow(
    clippy::disallowed_methods,
    reason = "other vector sets are run by the same tests"
)]
fn load(file: &str) -> Option<Value> {
    let folder = std::env::var_os("ADYTON_VECTORS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors")),
        PathBuf::from,
    );
    match std::fs::read_to_string(folder.join(file)) {
        // A strict parser rejects a lone surrogate; those two vectors hold their text inside a
        // string, so the file itself parses.
        Ok(text) => {
            let mut vectors = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{file}: {e}"));
            expand_repeats(&mut vectors);
            Some(vectors)
        }
        Err(_) => {
            println!("skipped: {file} is not in {}", folder.display());
            None
        }
    }
}

/// Long inputs are written as `"seed_repeat": {"unit": "x", "count": 1000}`.
fn expand_repeats(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(expand_repeats),
        Value::Object(members) => {
            members.values_mut().for_each(expand_repeats);
            let repeats: Vec<(String, Value)> = members
                .iter()
                .filter_map(|(key, member)| {
                    let count = usize::try_from(member["count"].as_u64()?).ok()?;
                    let long = member["unit"].as_str()?.repeat(count);
                    Some((key.strip_suffix("_repeat")?.to_owned(), long.into()))
                })
                .collect();
            members.extend(repeats);
        }
        _ => {}
    }
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member]
        .as_str()
        .unwrap_or_else(|| panic!("no text `{member}` in {value}"))
}

fn bytes(value: &Value, member: &str) -> Vec<u8> {
    unhex(text(value, member))
}

fn unhex(text: &str) -> Vec<u8> {
    hex::decode(text.strip_prefix("0x").unwrap_or(text)).unwrap()
}

fn array<const N: usize>(value: &Value, member: &str) -> [u8; N] {
    bytes(value, member).try_into().unwrap()
}

fn list<'a>(value: &'a Value, member: &str) -> &'a [Value] {
    let items = value[member]
        .as_array()
        .unwrap_or_else(|| panic!("no list `{member}`"));
    assert!(!items.is_empty(), "`{member}` is empty");
    items
}

/// A list that another vector set may lack.
fn optional_list<'a>(value: &'a Value, member: &str) -> &'a [Value] {
    value[member].as_array().map_or(&[], Vec::as_slice)
}

fn did(value: &Value, member: &str) -> Did {
    text(value, member).parse().unwrap()
}

fn context(value: &Value) -> ContextName {
    ContextName::new(text(value, "context_name")).unwrap()
}

fn account(secret: &str, anchor: Anchor) -> Account {
    Account::from_secret_text(secret, anchor).unwrap()
}

fn account_of(value: &Value, member: &str) -> Account {
    account(text(value, member), Anchor::Polamoy)
}

/// What the reference hashes: our canonical form, and where we refuse, the reference's lossy one.
fn canonical(value: &Value) -> String {
    canonical_json::to_string(value).unwrap_or_else(|_| to_string_lossy_like_reference(value))
}

fn digest_of_data(value: &Value) -> [u8; 32] {
    match value {
        Value::String(text) => hash_text(text).unwrap(),
        other => keccak256(canonical(other).as_bytes()),
    }
}
