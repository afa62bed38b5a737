//! The sample mailbox: what the demo shows is there, whole and legible.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::collections::{BTreeSet, HashMap};

use adyton::mail::{Broken, EmailRecord, Import, Item, Mbox, MessageType, Owner, Skipped};
use adyton_client::schema::SchemaSet;

const SAMPLE: &[u8] = include_bytes!("../sample/sample.mbox");

fn read() -> (Vec<EmailRecord>, Vec<Skipped>) {
    let owner = Owner::new(["nora.hale@example.org", "nora@halestudio.example.com"]);
    let (mut records, mut skipped) = (Vec::new(), Vec::new());
    for item in Import::new(Mbox::new(SAMPLE), owner) {
        match item.unwrap() {
            Item::Record(record) => records.push(*record),
            Item::Skipped(skip) => skipped.push(skip),
        }
    }
    (records, skipped)
}

#[test]
fn two_messages_are_broken_and_all_others_are_valid_records() {
    let (records, skipped) = read();
    assert!(records.len() >= 220, "{}", records.len());
    let reasons: Vec<Broken> = skipped.iter().map(|skip| skip.reason).collect();
    assert_eq!(reasons, [Broken::NoHeader, Broken::NoSender]);
    let schemas = SchemaSet::embedded().unwrap();
    for record in &records {
        let value = serde_json::to_value(record).unwrap();
        if let Err(invalid) = schemas.validator(&record.schema).unwrap().validate(&value) {
            panic!("{}: {:?}", record.name, invalid.violations());
        }
    }
}

#[test]
fn a_second_reading_gives_the_same_records() {
    let (first, _) = read();
    let (second, _) = read();
    assert_eq!(first, second);
    let ids: BTreeSet<&str> = first.iter().map(|record| &*record.id).collect();
    assert_eq!(ids.len(), first.len(), "every message has an id of its own");
}

#[test]
fn the_owner_is_found() {
    assert_eq!(
        Owner::detect(Mbox::new(SAMPLE)).unwrap().account(),
        Some("nora.hale@example.org")
    );
}

#[test]
fn every_script_is_legible() {
    let (records, _) = read();
    for words in [
        "ζήτησε να παντρευτούμε",
        "μην αλλάξεις ούτε λέξη",
        "金木犀の香り",
        "承りました",
        "上手になったね",
        "小笼包",
        "أصل يوم الجمعة",
        "ترجمتك أجمل",
        "מפה של חיפה",
        "שימי לב",
        "chtěli bychom",
        "Não acredito",
        "접다",
        "종이가 기억하는 것",
        "сніг по коліна",
        "з наступаючим",
        "दिवाली",
        "u gebruikte",
        "Kartan över Göteborg",
        "»Knick«",
        "🍞",
        "💚",
        "€ 1.320",
        "Liebe Frau Hale",
        "Total EUR",
    ]
    .iter()
    .filter(|words| !["Ruf"].contains(words))
    {
        let found = records
            .iter()
            .any(|record| record.message_text.contains(words) || record.name.contains(words));
        assert!(found, "{words}");
    }
    for record in &records {
        assert!(!record.message_text.contains('\u{fffd}'), "{}", record.name);
        assert!(!record.name.contains('\u{fffd}') && !record.from_name.contains('\u{fffd}'));
    }
}

#[test]
fn there_is_variety() {
    let (records, _) = read();
    let count = |test: &dyn Fn(&EmailRecord) -> bool| records.iter().filter(|r| test(r)).count();
    assert!(count(&|r| r.direction == MessageType::Send) > 50);
    assert!(count(&|r| r.direction == MessageType::Receive) > 120);
    assert!(count(&|r| !r.message_html.is_empty()) > 40);
    assert!(count(&|r| !r.attachments.is_empty()) > 40);
    assert!(
        count(&|r| r
            .attachments
            .iter()
            .any(|file| file.text_content.contains("BEGIN:VCALENDAR")))
            > 4
    );
    assert!(count(&|r| r.from_email.contains("mailer-daemon")) == 2);
    let mut threads: HashMap<&str, usize> = HashMap::new();
    for record in &records {
        *threads.entry(&record.thread_id).or_default() += 1;
    }
    assert!(threads.values().filter(|size| **size > 2).count() > 20);
    let years: BTreeSet<&str> = records.iter().map(|record| &record.sent_at[..4]).collect();
    assert_eq!(years, ["2023", "2024", "2025", "2026"].into());
    assert_eq!(count(&|r| r.source_data.undated), 0);
}

#[test]
fn everybody_lives_at_an_example_domain() {
    let (records, _) = read();
    for record in &records {
        for address in [&record.from_email, &record.to_email] {
            assert!(
                address.ends_with("example.org") || address.ends_with("example.com"),
                "{address}"
            );
        }
    }
}

#[test]
fn html_alone_is_readable_as_text() {
    let (records, _) = read();
    let letter = records
        .iter()
        .find(|record| record.name == "🍞 Your starter is not dead")
        .unwrap();
    assert!(
        letter.message_text.contains("Your starter is not dead\n\n"),
        "{}",
        letter.message_text
    );
    assert!(
        letter
            .message_text
            .contains("- 100 g starter\n- 500 g flour")
    );
    assert!(!letter.message_text.contains("font-family"));
}
