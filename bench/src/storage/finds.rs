//! Queries by an index: how soon the first one is answered, which makes the index, and how long one takes from then on.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};

use super::peer::Peer;
use super::table::{Column, Row};
use super::tell_times;
use crate::Outcome;
use crate::synthetic::Words;

/// Documents of one bulk write.
const BULK: usize = 1_000;
/// Documents that one query asks for.
const PAGE: usize = 25;
/// Between two tries of a query whose index is still being made.
const AGAIN: Duration = Duration::from_millis(10);
/// Time for an index to be made.
const PATIENCE: Duration = Duration::from_secs(600);

pub(super) async fn measure(
    peer: &mut Peer,
    documents: usize,
    queries: usize,
    column: &mut Column,
) -> Outcome<()> {
    let database = peer.database("finds").await?;
    let mut wire = peer.connect().await?;
    let mut words = Words::new(5);
    let ids: Vec<usize> = (0..documents).collect();
    // Neighbours by the index are no neighbours by id: a number that has no divisor with any count of documents we use.
    let place = |n: usize| n * 1_000_003 % documents;
    for some in ids.chunks(BULK) {
        let docs: Vec<Value> = some
            .iter()
            .map(|n| json!({"_id": format!("f{n:07}"), "n": place(*n), "kind": n % 10, "text": words.base64(200)}))
            .collect();
        let path = format!("{database}/_bulk_docs");
        let body = json!({"docs": docs}).to_string();
        wire.send(Method::POST, &path, body).await?;
    }
    let index = json!({"index": {"fields": ["n"]}, "ddoc": "by-n", "name": "by-n", "type": "json"});
    let begun = Instant::now();
    let path = format!("{database}/_index");
    wire.send(Method::POST, &path, index.to_string()).await?;
    // express-pouchdb makes the index with its definition, we with the first query.
    ask(peer, &database, 0, PATIENCE).await?;
    column.tell(Row::Indexed, begun.elapsed().as_secs_f64());
    let mut times = Vec::new();
    let mut wire = peer.connect().await?;
    for n in 0..queries {
        let least = n * 7_919 % documents.saturating_sub(PAGE).max(1);
        let body = query(least);
        let path = format!("{database}/_find");
        let begun = Instant::now();
        let answer = wire.send(Method::POST, &path, body).await?;
        times.push(begun.elapsed());
        check(&answer, least)?;
    }
    tell_times(column, (Row::Find, Row::FindTail), &mut times);
    Ok(())
}

fn query(least: usize) -> String {
    let selector = json!({"n": {"$gte": least}});
    json!({"selector": selector, "sort": ["n"], "limit": PAGE}).to_string()
}

/// Asks until it is answered: an index that is being made may take more than one query is given.
async fn ask(peer: &Peer, database: &str, least: usize, patience: Duration) -> Outcome<()> {
    let end = Instant::now() + patience;
    loop {
        let mut wire = peer.connect().await?;
        let path = format!("{database}/_find");
        match wire.send(Method::POST, &path, query(least)).await {
            Ok(answer) => return check(&answer, least),
            Err(error) if Instant::now() > end => return Err(error),
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

fn check(answer: &[u8], least: usize) -> Outcome<()> {
    let answer: Value = serde_json::from_slice(answer)?;
    let docs = answer.get("docs").and_then(Value::as_array);
    let found = docs.map(|docs| docs.iter().filter_map(|doc| doc.get("n")?.as_u64()));
    let right = found.is_some_and(|found| found.eq(least as u64..(least + PAGE) as u64));
    match right {
        true => Ok(()),
        false => Err("a query found something else".into()),
    }
}
