//! How good the order is: queries with judgments over the sample mailbox and invented conversations (`judged/`), as one
//! figure that must not fall, and that must not be below what others reach on the same set (`interop/relevance/`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::collections::HashMap;

use adyton_search::{Gathered, Hit, Index, Options, Plan, Query, Sight, Statistics, parse_time};
use serde_json::Value;

const KINDS: [&str; 2] = [
    "https://common.schemas.verida.io/social/email/v0.1.0/schema.json",
    "https://common.schemas.verida.io/social/chat/message/v0.1.0/schema.json",
];

/// What was measured last, less what a change may cost without a reason.
const RECORDED: f64 = 0.8677;
const TOLERANCE: f64 = 0.01;

struct Collection {
    indexes: Vec<Index>,
    ids: Vec<Vec<String>>,
}

fn texts<'r>(record: &'r Value, path: &str) -> Vec<&'r str> {
    let mut found = vec![record];
    for step in path.split('.') {
        found = found
            .into_iter()
            .flat_map(|value| {
                value
                    .as_array()
                    .map_or(vec![value], |list| list.iter().collect())
            })
            .filter_map(|value| value.get(step))
            .collect();
    }
    found.into_iter().filter_map(Value::as_str).collect()
}

fn collection() -> Collection {
    let mut indexes: Vec<Index> = KINDS
        .iter()
        .map(|kind| Index::new(Plan::for_schema(kind)))
        .collect();
    let mut ids = vec![Vec::new(); KINDS.len()];
    for line in include_str!("../judged/records.jsonl").lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let kind = KINDS
            .iter()
            .position(|kind| record["schema"] == *kind)
            .unwrap();
        let plan = Plan::for_schema(KINDS[kind]);
        let doc = ids[kind].len() as u32;
        ids[kind].push(record["_id"].as_str().unwrap().to_owned());
        indexes[kind].put(doc, |draft| {
            for field in &plan.fields {
                for text in texts(&record, &field.path) {
                    let number = draft.field(&field.path).unwrap();
                    draft.text(number, text);
                }
            }
            if let Some(time) = record["sentAt"].as_str().and_then(parse_time) {
                draft.time(time);
            }
        });
    }
    indexes.iter_mut().for_each(Index::settle);
    Collection { indexes, ids }
}

impl Collection {
    /// The ids of the best ten, of all kinds together.
    fn best(&self, text: &str) -> Vec<&str> {
        let query = Query::parse(text).unwrap();
        let options = Options {
            now: parse_time("2026-09-02"),
            ..Options::default()
        };
        let gathered: Vec<Gathered<'_>> = self
            .indexes
            .iter()
            .map(|index| Gathered::new(index, &query, &options, &Sight::ALL).unwrap())
            .collect();
        let mut statistics = Statistics::default();
        gathered
            .iter()
            .for_each(|gathered| statistics.add(gathered));
        let mut hits: Vec<(usize, Hit)> = Vec::new();
        for (kind, gathered) in gathered.iter().enumerate() {
            let best = gathered.rank(
                &statistics,
                10,
                None,
                &Sight::ALL,
                &|one, other| one.cmp(&other),
                &|_| false,
            );
            hits.extend(best.into_iter().map(|hit| (kind, hit)));
        }
        hits.sort_by(|one, other| one.1.order(&other.1).then(one.0.cmp(&other.0)));
        hits.iter()
            .take(10)
            .map(|(kind, hit)| self.ids[*kind][hit.doc as usize].as_str())
            .collect()
    }
}

fn ndcg(found: &[&str], grades: &HashMap<String, u32>) -> f64 {
    let gain =
        |grade: u32, place: usize| f64::from((1_u32 << grade) - 1) / (place as f64 + 2.0).log2();
    let sum = |grades: &[u32]| -> f64 {
        grades
            .iter()
            .enumerate()
            .map(|(place, grade)| gain(*grade, place))
            .sum()
    };
    let found: Vec<u32> = found
        .iter()
        .map(|id| grades.get(*id).copied().unwrap_or(0))
        .collect();
    let mut ideal: Vec<u32> = grades.values().copied().collect();
    ideal.sort_unstable_by(|one, other| other.cmp(one));
    ideal.truncate(10);
    sum(&found) / sum(&ideal)
}

fn queries() -> Vec<(String, HashMap<String, u32>)> {
    let queries: Vec<Value> = serde_json::from_str(include_str!("../judged/queries.json")).unwrap();
    queries
        .into_iter()
        .map(|query| {
            (
                query["query"].as_str().unwrap().to_owned(),
                serde_json::from_value(query["grades"].clone()).unwrap(),
            )
        })
        .collect()
}

#[test]
fn the_best_of_what_is_found_is_first() {
    let (collection, queries) = (collection(), queries());
    assert!(queries.len() >= 60);
    let mut scores: Vec<(f64, String)> = queries
        .iter()
        .map(|(text, grades)| {
            let found = collection.best(text);
            (ndcg(&found, grades), format!("{text}: {found:?}"))
        })
        .collect();
    let mean = scores.iter().map(|(score, _)| score).sum::<f64>() / scores.len() as f64;
    scores.sort_by(|one, other| one.0.total_cmp(&other.0));
    for (score, text) in scores.iter().take(10) {
        println!("{score:.3} {text}");
    }
    println!("NDCG@10 {mean:.4} over {} queries", scores.len());
    assert!(
        mean >= RECORDED - TOLERANCE,
        "{mean:.4} is below {RECORDED}"
    );
    let mut others = 0;
    for line in include_str!("../../../interop/relevance/results.jsonl").lines() {
        let other: Value = serde_json::from_str(line).unwrap();
        println!("NDCG@10 {} {}", other["ndcg"], other["engine"]);
        assert!(
            mean >= other["ndcg"].as_f64().unwrap(),
            "{mean:.4} is below {other}"
        );
        others += 1;
    }
    assert!(others >= 6);
}
