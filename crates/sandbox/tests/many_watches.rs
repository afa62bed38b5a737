//! Measurements of watching: what many open watches take, and how soon they are told.
//! `cargo test -p adyton-sandbox --test many_watches -- --ignored --nocapture`
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub
)]

#[allow(dead_code, reason = "each test file uses its part")]
mod child;
mod support;

use std::time::{Duration, Instant};

use adyton_node::zeroing_allocator::ZeroingAllocator;
use child::{Process, Role};
use futures_util::{StreamExt, stream};
use support::{NodeClient, World, note};

/// As in the node's own binary.
#[global_allocator]
static ALLOCATOR: ZeroingAllocator = ZeroingAllocator::new();

const WATCHES: usize = 5_000;
/// What they may take together, in bytes.
const MOST: u64 = 200 << 20;
const CONFIG: &str = "listen = \"127.0.0.1:0\"\nallow_loopback_storage = true\n\
                      [limits]\nwatches_per_tenant = 6000\n";
const WATCH: &str = "/api/rest/v1/db/watch/notes";

#[test]
fn child() {
    child::serve_if_asked(|| {});
}

fn resident(process: u64) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn five_thousand_open_watches_fit_and_each_is_told() {
    let world = World::start().await;
    let person = world.person().await;
    person.write_notes(&world, 2).await;
    let folder = tempfile::TempDir::new().unwrap();
    let node = Process::start(Role::ReadableNode, CONFIG, folder.path(), &[]);
    let (url, key) = (node.hello("url").to_owned(), person.key());
    let mut writer = NodeClient::connect(&url).await;
    writer.notes(&key).await.ok();
    let before = resident(node.id());
    let opened = Instant::now();
    // Each on a connection of its own.
    let open = |_| {
        let (url, key) = (url.clone(), key.clone());
        async move {
            let node = NodeClient::connect(&url).await;
            let headers = [("x-api-key", key.as_str())];
            let events = node.events("GET", WATCH, &headers, "").await;
            events.expect("a watch").open().await
        }
    };
    let open = stream::iter(0..WATCHES).map(open).buffer_unordered(8);
    let mut all: Vec<_> = open.collect().await;
    eprintln!("{} watches opened in {:?}", all.len(), opened.elapsed());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let taken = resident(node.id()) - before;
    let each = taken / WATCHES as u64;
    eprintln!("resident: {} MiB more, {each} bytes each", taken >> 20);

    let answered = Instant::now();
    writer.create_note(&key, &note(7)).await.ok();
    for events in &mut all {
        assert_eq!(events.words(1).await, ["created note-7"]);
    }
    eprintln!("all told {:?} after the write began", answered.elapsed());
    assert!(taken <= MOST, "{taken}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn how_soon_a_write_is_told() {
    let world = World::start().await;
    let person = world.person().await;
    person.write_notes(&world, 2).await;
    let key = person.key();
    let headers = [("x-api-key", key.as_str())];
    let events = world.node().await.events("GET", WATCH, &headers, "").await;
    let mut events = events.ok().unwrap().open().await;
    let mut writer = world.node().await;
    let mut after: Vec<Duration> = Vec::new();
    for n in 10..210 {
        writer.create_note(&key, &note(n)).await.ok();
        // The answer comes after the storage node's acknowledgement.
        let answered = Instant::now();
        events.words(1).await;
        after.push(answered.elapsed());
    }
    after.sort();
    eprintln!(
        "after the answer to the write: median {:?}, 99% {:?}",
        after[100], after[197]
    );
}
