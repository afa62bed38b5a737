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

use std::io::Write;

use bytes::Bytes;
use serde_json::Value;

use support::{Answer, Session};

async fn with(
    session: &Session,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Answer {
    let client = &session.client;
    let response = client.open_with(method, path, &session.access, headers, body);
    Answer::read(response.await).await
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer
        .headers
        .get(name)
        .map(|value| value.to_str().unwrap())
}

/// Bytes that do not repeat.
fn large(bytes: usize) -> Vec<u8> {
    (0..bytes as u64)
        .map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8)
        .collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn row<'a>(rows: &'a [Value], id: &str) -> &'a Value {
    rows.iter().find(|row| row["id"] == id).unwrap()
}
