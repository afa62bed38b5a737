//! What a person finds, and what not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use adyton_search::{
    Bits, Combine, Gathered, Index, Options, Plan, Query, Sight, Spelling, Statistics, parse_time,
};

const EMAIL: &str = "https://common.schemas.verida.io/social/email/v0.1.0/schema.json";

struct Mails(Index);

impl Mails {
    fn new() -> Self {
        Self(Index::new(Plan::for_schema(EMAIL)))
    }

    fn put(&mut self, doc: u32, subject: &str, from: &str, text: &str) {
        self.put_at(doc, subject, from, text, "2024-01-01");
    }

    fn put_at(&mut self, doc: u32, subject: &str, from: &str, text: &str, day: &str) {
        self.0.put(doc, |draft| {
            for (path, text) in [("name", subject), ("fromName", from), ("messageText", text)] {
                let field = draft.field(path).unwrap();
                draft.text(field, text);
            }
            draft.facet(0, from);
            draft.time(parse_time(day).unwrap());
        });
        self.0.settle();
    }

    fn find(&self, query: &str) -> Vec<u32> {
        self.find_with(query, &Options::default())
    }

    fn find_with(&self, query: &str, options: &Options) -> Vec<u32> {
        let query = Query::parse(query).unwrap();
        let gathered = Gathered::new(&self.0, &query, options, &Sight::ALL).unwrap();
        let mut statistics = Statistics::default();
        statistics.add(&gathered);
        let hits = gathered.rank(
            &statistics,
            100,
            None,
            &Sight::ALL,
            &|one, other| one.cmp(&other),
            &|_| false,
        );
        assert_eq!(hits.len(), gathered.matches().len());
        hits.into_iter().map(|hit| hit.doc).collect()
    }
}

fn some() -> Mails {
    let mut mails = Mails::new();
    mails.put(
        1,
        "Invoice 2024-002",
        "Anna Müller",
        "Please find the invoices for March attached. Running late.",
    );
    mails.put(
        2,
        "Night train to Köln",
        "Rail Europe",
        "Your ticket: Utrecht Centraal to Köln Hbf, seat 61.",
    );
    mails.put(
        3,
        "Rechnung",
        "Anna Müller",
        "Die Rechnungen für den März sind nicht im Anhang, und wir bitten um Geduld.",
    );
    mails.put(4, "東京都の天気", "山田", "明日は東京都で雨です。");
    mails.put(
        5,
        "Re: Night train",
        "Tom",
        "See you there.\n\nOn Mon, 3 Jun 2024, Anna <anna@x.org> wrote:\n> zebra crossing\n",
    );
    mails
}

#[test]
fn words_are_found_in_every_form_and_spelling() {
    let mails = some();
    for (query, expected) in [
        ("invoice", vec![1]),
        ("INVOICING ", vec![1]),
        ("koln", vec![2]),
        ("Muller rechnung", vec![3, 1]),
        ("rechnungen ", vec![3]),
        ("ticke", vec![2]),
        ("ticke ", vec![2]),
        ("tickte ", vec![2]),
        ("天気 ", vec![4]),
        ("東京 ", vec![4]),
        ("雨 ", vec![4]),
        ("京都で ", vec![4]),
        ("run ", vec![1]),
        ("zebra ", vec![]),
        ("nothing-at-all ", vec![]),
    ] {
        assert_eq!(mails.find(query), expected, "{query}");
    }
}

#[test]
fn operators_phrases_and_fields_narrow() {
    let mails = some();
    for (query, expected) in [
        ("\"night train\"", vec![5, 2]),
        ("\"train night\"", vec![]),
        ("night -ticket ", vec![5]),
        ("night NOT ticket ", vec![5]),
        ("invoice AND muller ", vec![1]),
        ("invoice AND train ", vec![]),
        ("(invoice OR train) AND anna ", vec![1]),
        ("from:anna rechnung ", vec![3]),
        ("from:anna ", vec![1, 3]),
        ("subject:ticket ", vec![]),
        ("messageText:ticket ", vec![2]),
        ("+train zzz ", vec![]),
        ("-train ", vec![1, 3, 4]),
        ("2024-002 ", vec![1]),
        ("köl* ", vec![2]),
    ] {
        let mut found = mails.find(query);
        if query.starts_with('-') {
            found.sort_unstable();
        }
        assert_eq!(found, expected, "{query}");
    }
    let all = Options {
        combine: Combine::All,
        ..Options::default()
    };
    assert_eq!(mails.find_with("night ticket ", &all), [2]);
    let exact = Options {
        spelling: Spelling::Exact,
        ..Options::default()
    };
    assert_eq!(mails.find_with("tickte ", &exact), [0_u32; 0]);
}

#[test]
fn the_index_follows_every_change_in_any_order() {
    let mut mails = some();
    mails.put(2, "Day train", "Rail Europe", "canary");
    assert_eq!(mails.find("\"night\""), [5]);
    assert_eq!(mails.find("canary "), [2]);
    mails.put(2, "Day train", "Rail Europe", "nothing");
    assert_eq!(mails.find("canary "), [0_u32; 0]);
    assert!(mails.0.remove(5) && !mails.0.remove(5) && !mails.0.remove(99));
    mails.0.settle();
    assert_eq!(mails.find("\"night\""), [0_u32; 0]);
    mails.put(0, "Night", "x", "early number, late arrival");
    assert_eq!(mails.find("\"night\""), [0]);
    for doc in 0..6 {
        mails.0.remove(doc);
    }
    mails.0.settle();
    assert_eq!((mails.0.len(), mails.0.distinct_words()), (0, 0));
}

#[test]
fn times_filter_and_what_is_near_is_first_among_equals() {
    let mut mails = Mails::new();
    for (doc, day) in [(1, "2022-03-01"), (2, "2024-03-01"), (3, "2023-03-01")] {
        mails.put_at(doc, "Report", "x", "the yearly report", day);
    }
    assert_eq!(mails.find("report"), [2, 3, 1]);
    assert_eq!(mails.find("report after:2023 "), [2, 3]);
    assert_eq!(mails.find("report after:2023 before:2024-03-01 "), [3]);
    assert_eq!(mails.find("before:2023"), [1]);
    assert_eq!(mails.find("after:2023"), [2, 3]);
}

#[test]
fn facets_count_the_matches() {
    let mails = some();
    let query = Query::parse("invoice OR rechnung OR train ").unwrap();
    let gathered = Gathered::new(&mails.0, &query, &Options::default(), &Sight::ALL).unwrap();
    let senders = gathered.facet(0, 2);
    assert_eq!(
        senders,
        [("Anna Müller".to_owned(), 2), ("Rail Europe".to_owned(), 1)]
    );
    assert_eq!(gathered.months(5), [("2024-01".to_owned(), 4)]);
    let seen: Bits = [1].into_iter().collect();
    let sight = Sight {
        docs: Some(&seen),
        ..Sight::ALL
    };
    let gathered = Gathered::new(&mails.0, &query, &Options::default(), &sight).unwrap();
    assert_eq!(gathered.facet(0, 9), [("Anna Müller".to_owned(), 1)]);
}

#[test]
fn a_match_says_by_which_words_and_where() {
    let mails = some();
    let query = Query::parse("invoice ").unwrap();
    let gathered = Gathered::new(&mails.0, &query, &Options::default(), &Sight::ALL).unwrap();
    let mut found: Vec<(String, Vec<String>)> = gathered
        .explain(&query, 1)
        .into_iter()
        .map(|found| (found.found, found.fields))
        .collect();
    found.sort();
    assert_eq!(
        found,
        [
            ("invoice".to_owned(), vec!["name".to_owned()]),
            ("invoices".to_owned(), vec!["messageText".to_owned()])
        ]
    );
}

#[test]
fn a_field_has_the_names_that_people_and_the_original_give_it() {
    let index = Index::new(Plan::for_schema(EMAIL));
    let subject = index.named("name");
    assert!(
        !subject.is_empty() && index.named("subject") == subject && index.named("Title") == subject
    );
    let text = index.named("attachments.textContent");
    assert!(!text.is_empty() && index.named("attachments_2.textContent") == text);
    assert!(
        index.named("attachments_x.textContent").is_empty() && index.named("nobody").is_empty()
    );
}
