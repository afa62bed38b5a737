//! CouchDB's protocol where few clients go.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

#[path = "../support/couch.rs"]
mod couch;
#[path = "../support/mod.rs"]
mod support;

mod codings;
mod contents;
mod copies;
mod lists;
mod refusals;

use serde_json::Value;

fn row<'a>(rows: &'a [Value], id: &str) -> &'a Value {
    rows.iter().find(|row| row["id"] == id).unwrap()
}
