//! A marked word goes through the vault; when the vault is dropped, it is nowhere in the process.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use adyton_client::pull::{PlainBatch, RecordError};
use adyton_couch::rev::{Rev, RevHash};
use adyton_couch::selector::Selector;
use adyton_node::memory::{Budget, Documents, Parts, Projection, Query, SortKey, View};
use adyton_node::zeroing_allocator::ZeroingAllocator;
use serde_json::json;
use zeroize::Zeroizing;

#[global_allocator]
static ALLOCATOR: ZeroingAllocator = ZeroingAllocator::new();

/// The marked word, one bit of each byte turned over: the word itself is only ever in the heap.
const HIDDEN: [u8; 24] = *b"q@qx/jlsedo/v`omu/b`o`sx";

const CHUNK: usize = 1 << 16;
const PAGE: usize = 4096;

fn word() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(HIDDEN.iter().map(|byte| byte ^ 1).collect())
}

/// How often the word is in this process's writable memory.
fn traces() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut memory = File::open("/proc/self/mem").unwrap();
    let mut pages = File::open("/proc/self/pagemap").unwrap();
    let mut buffer = Zeroizing::new(vec![0; CHUNK]);
    let mut found = 0;
    for line in maps.lines() {
        let mut columns = line.split(' ');
        let (range, rights) = (columns.next().unwrap(), columns.next().unwrap());
        if !rights.starts_with("rw") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let parse = |text| usize::from_str_radix(text, 16).unwrap();
        for at in (parse(start)..parse(end)).step_by(CHUNK) {
            // A word that lies across two chunks is read with the first.
            let length = (parse(end) - at).min(CHUNK + HIDDEN.len());
            if !is_present(&mut pages, at) {
                continue;
            }
            buffer.resize(CHUNK + HIDDEN.len(), 0);
            memory.seek(SeekFrom::Start(at as u64)).unwrap();
            let Ok(read) = memory.read(&mut buffer[..length]) else {
                continue;
            };
            let own = buffer.as_ptr().addr();
            found += places(&buffer[..read])
                .filter(|place| {
                    *place < CHUNK && !(own..own + buffer.len()).contains(&(at + place))
                })
                .count();
        }
    }
    found
}

/// Whether any page of the chunk at this address is in memory, so that there is something to read.
fn is_present(pages: &mut File, at: usize) -> bool {
    let mut entries = [0; CHUNK / PAGE * 8];
    pages.seek(SeekFrom::Start((at / PAGE * 8) as u64)).unwrap();
    let read = pages.read(&mut entries).unwrap();
    entries[..read]
        .chunks_exact(8)
        .any(|entry| entry[7] & 0xC0 != 0)
}

/// Where the word is. Only its beginning is searched for as it stands.
fn places(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let beginning = [0, 1, 2, 3, 4].map(|at: usize| HIDDEN[at] ^ 1);
    let candidates: Vec<usize> = memchr::memmem::find_iter(bytes, &beginning).collect();
    candidates.into_iter().filter(|at| {
        let there = bytes.get(*at..*at + HIDDEN.len());
        there.is_some_and(|there| {
            there
                .iter()
                .zip(HIDDEN)
                .all(|(byte, hidden)| *byte == hidden ^ 1)
        })
    })
}

fn fill(room: &mut [u8], id: &str) {
    let word = word();
    let parts: [&[u8]; 5] = [
        br#"{"_id":""#,
        id.as_bytes(),
        br#"","text":""#,
        &word,
        b"\"}",
    ];
    let mut rest = room;
    for part in parts {
        let (here, after) = rest.split_at_mut(part.len());
        here.copy_from_slice(part);
        rest = after;
    }
}

#[test]
fn nothing_is_left_of_a_vault_that_was_dropped() {
    assert_eq!(traces(), 0);
    let mut documents = Documents::new(Budget::new(64 << 20));
    let rev = Rev::new(1, RevHash::from_bytes([1; 16])).unwrap();
    for round in 0..3 {
        let mut batch = PlainBatch::with_capacity(1 << 12);
        for n in 0..100 {
            let id = format!("id{:04}", round * 50 + n);
            let length = r#"{"_id":"","text":""}"#.len() + id.len() + HIDDEN.len();
            batch
                .push_with(&id, rev, length, |room| {
                    fill(room, &id);
                    Ok::<(), RecordError>(())
                })
                .unwrap();
        }
        documents.apply(batch).unwrap();
    }
    assert!(traces() >= 200, "the search finds what is there");
    {
        let word = String::from_utf8(word().to_vec()).unwrap();
        let selector = json!({"text": {"$gte": word}}).to_string();
        let sort = SortKey::parse_list(&json!([{"text": "desc"}])).unwrap();
        let query = Query {
            sort,
            limit: 1000,
            ..Query::new(Selector::parse(&selector).unwrap())
        };
        let page = documents.query(&View::whole_database(), &query).unwrap();
        assert_eq!(page.documents.len(), 200);
        let projection = Projection::parse(&json!(["text"])).unwrap();
        let mut out = Vec::new();
        page.documents
            .iter()
            .for_each(|document| document.write_to(&mut out));
        let mut parts = Parts::after(out);
        page.documents
            .iter()
            .for_each(|document| projection.write(document, &mut parts));
        let parsed: serde_json::Value = serde_json::from_slice(page.documents[0].object()).unwrap();
        assert_eq!(parsed["text"], word);
        drop(page.documents[0].served());
    }
    drop(documents);
    assert_eq!(traces(), 0);
}
