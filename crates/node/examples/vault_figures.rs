//! Prints how fast the vault is on this machine: `cargo run --release -p adyton-node --example
//! vault_figures`. Each figure is the best and the median of several runs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use adyton_client::pull::PlainBatch;
use adyton_couch::rev::{Rev, RevHash};
use adyton_couch::selector::Selector;
use adyton_node::memory::{Budget, Documents, Query, SortKey, View};
use adyton_node::zeroing_allocator::ZeroingAllocator;
use adyton_protocol::scope::{FieldName, Instant as Moment, Window};
use serde_json::{Value, json};

const EMAIL: &str = "https://common.schemas.verida.io/social/email/v0.1.0/schema.json";
const CHAT: &str = "https://common.schemas.verida.io/social/chat/message/v0.1.0/schema.json";

#[global_allocator]
static ALLOCATOR: ZeroingAllocator = ZeroingAllocator::new();

fn main() {
    emails();
    chats();
}

fn emails() {
    let records: Vec<(String, String)> = (0..1000).map(email).collect();
    let bytes: usize = records.iter().map(|(_, text)| text.len()).sum();
    println!("1,000 emails, {:.1} MB", bytes as f64 / 1e6);
    take_in("  take into batches", &records);
    let selector = Selector::parse(r#"{"fromEmail":"person7@example.org"}"#).unwrap();
    let (documents, _) = loaded("  load ready batches", &records);
    rate("  selector, no index", bytes, 20, || {
        records
            .iter()
            .filter(|(_, text)| selector.takes(text.as_bytes()))
            .count()
    });
    let absent = Selector::parse(r#"{"nothing":1}"#).unwrap();
    rate("  selector on an absent field", bytes, 20, || {
        records
            .iter()
            .filter(|(_, text)| absent.takes(text.as_bytes()))
            .count()
    });
    first_and_later(
        "  sort by sentAt, all",
        &documents,
        &View::of_schema(EMAIL),
        &query(&json!({}), &json!([{"sentAt": "desc"}]), 1000),
    );
    first_and_later(
        "  one sender, by sentAt",
        &documents,
        &View::of_schema(EMAIL),
        &query(
            &json!({"fromEmail": "person7@example.org"}),
            &json!([{"sentAt": "desc"}]),
            20,
        ),
    );
    let page = documents
        .query(
            &View::of_schema(EMAIL),
            &query(&json!({}), &json!([]), 1000),
        )
        .unwrap();
    rate("  write all as JSON", bytes, 10, || {
        let mut out = Vec::with_capacity(bytes + 100_000);
        page.documents
            .iter()
            .for_each(|document| document.write_to(&mut out));
        out.len()
    });
    memory(&documents);
}

fn chats() {
    let records: Vec<(String, String)> = (0..100_000).map(chat).collect();
    let bytes: usize = records.iter().map(|(_, text)| text.len()).sum();
    println!("100,000 chat messages, {:.1} MB", bytes as f64 / 1e6);
    take_in("  take into batches", &records);
    let before = resident();
    let (documents, _) = loaded("  load ready batches", &records);
    let selector =
        Selector::parse(r#"{"groupId":"group-17","sentAt":{"$gte":"2025-06-01"}}"#).unwrap();
    rate("  selector, no index", bytes, 10, || {
        records
            .iter()
            .filter(|(_, text)| selector.takes(text.as_bytes()))
            .count()
    });
    let regex = json!({"messageText": {"$regex": "lunch.*tomorrow"}});
    first_and_later(
        "  regex, no index",
        &documents,
        &View::of_schema(CHAT),
        &query(&regex, &json!([]), 20),
    );
    let group = json!({"groupId": "group-17", "sentAt": {"$gte": "2025-06-01"}});
    first_and_later(
        "  group since, by sentAt",
        &documents,
        &View::of_schema(CHAT),
        &query(&group, &json!([{"sentAt": "desc"}]), 20),
    );
    first_and_later(
        "  latest 20",
        &documents,
        &View::of_schema(CHAT),
        &query(&json!({}), &json!([{"sentAt": "desc"}]), 20),
    );
    first_and_later(
        "  all, by id",
        &documents,
        &View::of_schema(CHAT),
        &query(&json!({}), &json!([]), 20),
    );
    first_and_later(
        "  all 100,000, by sentAt",
        &documents,
        &View::of_schema(CHAT),
        &query(&json!({}), &json!([{"sentAt": "asc"}]), 100_000),
    );
    // The same range, asked for by a caller who sees all, and as all that a caller sees.
    let latest = json!([{"sentAt": "desc"}]);
    let from = Moment::parse(b"2025-06-01T00:00:00Z");
    let window = Window::new(from, None).unwrap();
    let range = json!({"sentAt": {"$gte": "2025-06-01T00:00:00Z"}});
    let (all, windowed) = (View::of_schema(CHAT), View::of_schema(CHAT).during(window));
    let without = windowed
        .clone()
        .without(&[FieldName::parse("messageText").unwrap()]);
    let group = json!({"groupId": "group-17"});
    let ask = |name: &str, view: &View, selector: &Value| {
        first_and_later(name, &documents, view, &query(selector, &latest, 20));
    };
    ask("  latest 20 of a range", &all, &range);
    ask("  latest 20 of a window", &windowed, &json!({}));
    ask(
        "  latest 20 of a window, without text",
        &without,
        &json!({}),
    );
    ask("  one group in a window", &windowed, &group);
    let ids: Vec<&str> = records.iter().map(|(id, _)| id.as_str()).collect();
    let started = Instant::now();
    let found = ids
        .iter()
        .filter(|id| documents.get(&View::of_schema(CHAT), id).unwrap().is_some())
        .count();
    println!(
        "  get by id: {:?} each ({found} found)",
        started.elapsed() / 100_000
    );
    memory(&documents);
    if let (Some(before), Some(after)) = (before, resident()) {
        println!(
            "  resident: {:.1} MB more than before",
            (after - before) as f64 / 1e6
        );
    }
    let mut documents = documents;
    let mut n = 0;
    figure("  update one record, four indexes", 200, || {
        n += 1;
        let (id, text) = chat(n * 37);
        let mut batch = PlainBatch::with_capacity(text.len());
        batch.push(&id, rev(2), text.as_bytes()).unwrap();
        documents.apply(batch).unwrap();
    });
}

fn take_in(name: &str, records: &[(String, String)]) {
    let bytes = records.iter().map(|(_, text)| text.len()).sum();
    rate(name, bytes, 5, || batches(records).len());
}

fn batches(records: &[(String, String)]) -> Vec<PlainBatch> {
    let mut batches = vec![PlainBatch::with_capacity(1 << 20)];
    for (id, text) in records {
        if !batches.last().unwrap().has_room(text.len()) {
            batches.push(PlainBatch::with_capacity(1 << 20));
        }
        batches
            .last_mut()
            .unwrap()
            .push(id, rev(1), text.as_bytes())
            .unwrap();
    }
    batches
}

fn loaded(name: &str, records: &[(String, String)]) -> (Documents, Duration) {
    let mut times = Vec::new();
    let mut last = None;
    for _ in 0..5 {
        drop(last.take());
        let mut documents = Documents::new(Budget::new(1 << 30));
        let batches = batches(records);
        let started = Instant::now();
        for batch in batches {
            documents.apply(batch).unwrap();
        }
        times.push(started.elapsed());
        last = Some(documents);
    }
    times.sort_unstable();
    println!("{name}: best {:?}, median {:?}", times[0], times[2]);
    (last.unwrap(), times[2])
}

fn query(selector: &Value, sort: &Value, limit: usize) -> Query {
    Query {
        sort: SortKey::parse_list(sort).unwrap(),
        limit,
        ..Query::new(Selector::parse(&selector.to_string()).unwrap())
    }
}

fn first_and_later(name: &str, documents: &Documents, view: &View, query: &Query) {
    let started = Instant::now();
    let page = documents.query(view, query).unwrap();
    println!(
        "{name}: first {:?} ({} of {})",
        started.elapsed(),
        page.documents.len(),
        page.total
    );
    figure(&format!("{name}: later"), 50, || {
        black_box(documents.query(view, query).unwrap());
    });
}

fn figure(name: &str, runs: usize, mut run: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..runs)
        .map(|_| {
            let started = Instant::now();
            run();
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!(
        "{name}: best {:?}, median {:?}, p99 {:?}",
        times[0],
        times[runs / 2],
        times[runs * 99 / 100]
    );
    times[0]
}

fn rate(name: &str, bytes: usize, runs: usize, mut run: impl FnMut() -> usize) {
    let best = figure(name, runs, || {
        black_box(run());
    });
    println!(
        "{:>width$} {:.2} GB/s",
        "",
        bytes as f64 / best.as_secs_f64() / 1e9,
        width = name.len()
    );
}

fn memory(documents: &Documents) {
    let usage = documents.usage();
    let all = usage.plaintext + usage.overhead + usage.indexes;
    println!(
        "  memory: plaintext {:.1} MB, overhead {:.1} MB, indexes {:.1} MB, ratio {:.2}",
        usage.plaintext as f64 / 1e6,
        usage.overhead as f64 / 1e6,
        usage.indexes as f64 / 1e6,
        all as f64 / usage.plaintext as f64
    );
}

fn resident() -> Option<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(statm.split(' ').nth(1)?.parse::<usize>().ok()? * 4096)
}

fn rev(generation: u64) -> Rev {
    Rev::new(generation, RevHash::from_bytes([0x5a; 16])).unwrap()
}

fn words(seed: usize, bytes: usize) -> String {
    const WORDS: [&str; 16] = [
        "lunch", "tomorrow", "meeting", "the", "and", "project", "please", "regards", "data",
        "with", "from", "attached", "invoice", "when", "you", "about",
    ];
    let mut text = String::with_capacity(bytes + 16);
    let mut state = (seed as u64)
        .wrapping_mul(2_862_933_555_777_941_757)
        .wrapping_add(3_037_000_493);
    while text.len() < bytes {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        text.push_str(WORDS[(state >> 60) as usize]);
        text.push(' ');
    }
    text
}

fn time(n: usize) -> String {
    let n = n * 7919 % 1_000_003;
    format!(
        "202{}-{:02}-{:02}T{:02}:{:02}:{:02}.000Z",
        4 + n % 3,
        1 + n % 12,
        1 + n / 12 % 28,
        n / 336 % 24,
        n / 8064 % 60,
        n % 60
    )
}

fn email(n: usize) -> (String, String) {
    let id = format!("google-{n:032x}");
    let html: String = words(n, 46_000)
        .as_bytes()
        .chunks(60)
        .map(|line| format!("<p class=\"x\">{}</p>\n", String::from_utf8_lossy(line)))
        .collect();
    let record = json!({
        "_id": id, "_rev": "1-0", "name": words(n, 60), "messageText": words(n + 1, 9_000),
        "messageHTML": html, "fromName": format!("Person {}", n % 50),
        "fromEmail": format!("person{}@example.org", n % 50), "toEmail": [{"email": "me@example.org"}],
        "threadId": format!("thread{}", n / 3), "sentAt": time(n), "schema": EMAIL,
        "sourceApplication": "https://gmail.com/", "sourceId": format!("{n:x}"),
        "insertedAt": time(n + 5), "modifiedAt": time(n + 6),
        "signatures": {"did:vda:mainnet:0x1234?context=0xabcd": {"secp256k1": "0x1234567890"}}
    });
    (id, record.to_string())
}

fn chat(n: usize) -> (String, String) {
    let id = format!("telegram-{n:012x}");
    let record = json!({
        "_id": id, "_rev": "1-0", "schema": CHAT, "groupId": format!("group-{}", n % 100),
        "groupName": "friends", "messageText": words(n, 60), "fromId": format!("{}", n % 1000),
        "sentAt": time(n), "type": "receive",
    });
    (id, record.to_string())
}
