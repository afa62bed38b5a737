//! Answers questions as the node does, one JSON line each: for `interop/js`, which asks PouchDB the same.
//!
//! A question: `{"docs": [{"_id": …}, …], "selector": {…}, "sort": […]}`. An answer: `{"ids": […]}`, in order, or
//! `{"refused": "why"}`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for tests: what it is given is its caller's"
)]

use std::io::{BufRead, stdin};

use adyton_client::pull::PlainBatch;
use adyton_couch::rev::Rev;
use adyton_couch::selector::Selector;
use adyton_node::memory::{Budget, Documents, Query, QueryError, SortKey, View};
use serde_json::{Value, json};

fn main() {
    for line in stdin().lock().lines() {
        let question: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let answer = match answer(&question) {
            Ok(ids) => json!({ "ids": ids }),
            Err(error) => json!({ "refused": error.to_string() }),
        };
        println!("{answer}");
    }
}

fn answer(question: &Value) -> Result<Vec<String>, QueryError> {
    let mut documents = Documents::new(Budget::new(64 << 20));
    let mut batch = PlainBatch::default();
    for document in question["docs"].as_array().unwrap() {
        let id = document["_id"].as_str().unwrap();
        batch
            .push(id, Rev::LOWEST, document.to_string().as_bytes())
            .unwrap();
    }
    documents.apply(batch)?;
    let query = Query {
        sort: SortKey::parse_list(&question["sort"])?,
        limit: Query::MAX_LIMIT,
        ..Query::new(Selector::parse(&question["selector"].to_string())?)
    };
    let page = documents.query(&View::whole_database(), &query)?;
    Ok(page
        .documents
        .iter()
        .map(|document| document.id().to_owned())
        .collect())
}
