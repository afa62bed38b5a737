//! What a caller does not see has no influence: an index that has more answers as one that has nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::collections::BTreeMap;

use adyton_search::{Bits, Gathered, Index, Options, Plan, Query, Sight, Spelling, Statistics};
use proptest::prelude::*;

const EMAIL: &str = "https://common.schemas.verida.io/social/email/v0.1.0/schema.json";
const WORDS: [&str; 24] = [
    "invoice",
    "invoices",
    "invoicing",
    "train",
    "trains",
    "trian",
    "night",
    "nights",
    "the",
    "and",
    "die",
    "der",
    "und",
    "rechnung",
    "rechnungen",
    "koln",
    "köln",
    "東京",
    "東京都",
    "zebra",
    "zeb",
    "gift",
    "gifts",
    "receive",
];
const QUERIES: [&str; 16] = [
    "invoice",
    "train night",
    "\"night train\"",
    "the -train ",
    "rechnung ",
    "gifts ",
    "zeb",
    "zebr",
    "recieve ",
    "東 ",
    "東京都 ",
    "from:train ",
    "night AND (train OR invoice) ",
    "tarin ",
    "after:2024 ",
    "und* ",
];
const PATHS: [&str; 3] = ["name", "fromName", "messageText"];

type Record = ([Vec<usize>; 3], i64);

fn fill(index: &mut Index, doc: u32, record: &Record, hidden: &[String]) {
    index.put(doc, |draft| {
        for (path, words) in PATHS.iter().zip(&record.0) {
            if hidden.iter().any(|hidden| hidden == path) {
                continue;
            }
            let text: Vec<&str> = words.iter().map(|word| WORDS[*word]).collect();
            let field = draft.field(path).unwrap();
            draft.text(field, &text.join(" "));
        }
        draft.time(record.1 * 86_400_000 * 200 + 1_600_000_000_000);
    });
}

/// All that comes out, with scores to the last bit.
fn answers(index: &Index, sight: &Sight<'_>, options: &Options) -> Vec<String> {
    QUERIES
        .iter()
        .map(|text| {
            let query = Query::parse(text).unwrap();
            let Ok(gathered) = Gathered::new(index, &query, options, sight) else {
                return "refused".to_owned();
            };
            let mut statistics = Statistics::default();
            statistics.add(&gathered);
            let hits = gathered.rank(
                &statistics,
                5,
                None,
                sight,
                &|one, other| one.cmp(&other),
                &|_| false,
            );
            let matches: Vec<_> = hits
                .iter()
                .map(|hit| gathered.explain(&query, hit.doc))
                .collect();
            let hits: Vec<_> = hits
                .iter()
                .map(|hit| (hit.doc, hit.score.to_bits(), hit.time))
                .collect();
            format!(
                "{text}: {} {hits:?} {matches:?} {:?}",
                gathered.matches().len(),
                gathered.months(9)
            )
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn what_is_not_seen_has_no_influence(
        records in proptest::collection::vec((proptest::array::uniform3(proptest::collection::vec(0..WORDS.len(), 0..7)), 0_i64..9, any::<bool>()), 1..60),
        hidden in proptest::sample::subsequence(vec!["name".to_owned(), "messageText".to_owned()], 0..=2),
        tolerant in any::<bool>(),
    ) {
        let mut whole = Index::new(Plan::for_schema(EMAIL));
        let mut alone = Index::new(Plan::for_schema(EMAIL));
        let mut seen = Bits::default();
        for (doc, (texts, time, is_seen)) in (0_u32..).zip(&records) {
            let record = (texts.clone(), *time);
            fill(&mut whole, doc, &record, &[]);
            if *is_seen {
                seen.insert(doc);
                fill(&mut alone, doc, &record, &hidden);
            }
        }
        whole.settle();
        alone.settle();
        let may_ask = |path: &str| !hidden.iter().any(|one| one == path);
        let without = whole.left_out((!hidden.is_empty()).then_some(&may_ask));
        let spelling = if tolerant { Spelling::Tolerant } else { Spelling::WhenFew };
        let options = Options { spelling, now: Some(1_700_000_000_000), ..Options::default() };
        let narrow = Sight { docs: Some(&seen), without, without_time: false };
        // The other index has not even the fields, but refuses nothing less.
        let all = Sight { docs: None, without, without_time: false };
        prop_assert_eq!(answers(&whole, &narrow, &options), answers(&alone, &all, &options));
    }

    #[test]
    fn an_index_is_what_was_put_into_it_in_any_order(
        steps in proptest::collection::vec((0_u32..12, any::<bool>(), proptest::array::uniform3(proptest::collection::vec(0..WORDS.len(), 0..5)), 0_i64..9), 1..60),
    ) {
        let mut changed = Index::new(Plan::for_schema(EMAIL));
        let mut model = BTreeMap::new();
        for (at, (doc, put, texts, time)) in steps.into_iter().enumerate() {
            let record = (texts, time);
            if put {
                fill(&mut changed, doc, &record, &[]);
                model.insert(doc, record);
            } else {
                changed.remove(doc);
                model.remove(&doc);
            }
            if at % 3 == 0 {
                changed.settle();
            }
        }
        changed.settle();
        let mut fresh = Index::new(Plan::for_schema(EMAIL));
        for (doc, record) in &model {
            fill(&mut fresh, *doc, record, &[]);
        }
        fresh.settle();
        prop_assert_eq!(changed.distinct_words(), fresh.distinct_words());
        let options = Options::default();
        prop_assert_eq!(answers(&changed, &Sight::ALL, &options), answers(&fresh, &Sight::ALL, &options));
    }
}
