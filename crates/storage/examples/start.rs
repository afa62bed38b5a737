//! Measures how a node starts after `kill -9`: with one large database, and with very many.
//!
//! ```sh
//! cargo build --release -p adyton-storage --bins
//! cargo run --release -p adyton-storage --example start -- [documents] [databases] [directory]
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use support::{Client, Person, Session};

const DOCUMENTS_PER_REQUEST: usize = 5_000;
const DATABASES_PER_ACCOUNT: usize = 1_000;
const WRITERS: usize = 8;
/// Databases that are opened after the start with very many.
const TOUCHED: usize = 2_000;

struct Program {
    child: Child,
    client: Client,
    /// From the start of the process until it listens.
    took: Duration,
}

impl Program {
    fn start(data: &Path) -> Self {
        let examples = std::env::current_exe().unwrap();
        let program = examples.ancestors().nth(2).unwrap().join("adyton-storage");
        let begin = Instant::now();
        let mut child = Command::new(program)
            .args(["--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("first: cargo build --release -p adyton-storage --bins");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let took = begin.elapsed();
        let address = line.split("http://").nth(1).unwrap().split(' ').next();
        let address = address.unwrap().parse().unwrap();
        Self {
            child,
            client: Client { address },
            took,
        }
    }

    /// `kill -9`.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn resident_mb(&self) -> f64 {
        let status = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: f64 = line
            .unwrap()
            .split_whitespace()
            .next()
            .unwrap()
            .parse()
            .unwrap();
        kib / 1024.0
    }

    fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))
            .unwrap()
            .count()
    }
}

/// Whoever has this number. Not more than 255.
async fn person(number: usize, client: &Client) -> Session {
    let person = Person::new(u8::try_from(number + 1).unwrap());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    person.publish(client, now.as_secs()).await;
    person.log_in(client).await
}

fn disk_mb(directory: &Path) -> f64 {
    let du = Command::new("du")
        .arg("-sk")
        .arg(directory)
        .output()
        .unwrap();
    let text = String::from_utf8(du.stdout).unwrap();
    text.split_whitespace()
        .next()
        .unwrap()
        .parse::<f64>()
        .unwrap()
        / 1024.0
}

async fn one_large_database(data: &Path, documents: usize) {
    let program = Program::start(data);
    let session = person(0, &program.client).await;
    let db = session.database("large").await;
    let begin = Instant::now();
    for first in (0..documents).step_by(DOCUMENTS_PER_REQUEST) {
        let last = documents.min(first + DOCUMENTS_PER_REQUEST);
        let docs: Vec<Value> = (first..last)
            .map(|n| json!({"_id": format!("{n:016x}"), "n": n, "text": "t".repeat(200)}))
            .collect();
        let path = format!("{db}/_bulk_docs");
        let answer = session.post(&path, &json!({"docs": docs})).await;
        answer.expect(201);
    }
    println!(
        "{documents} documents written in {:.1?}, {:.0} MB on disk",
        begin.elapsed(),
        disk_mb(data)
    );
    // A write is under way when the process ends.
    let (client, access) = (program.client, session.access.clone());
    let path = format!("{db}/last");
    let cut_off = tokio::spawn(async move { client.send("PUT", &path, &access, "{}").await });
    tokio::time::sleep(Duration::from_millis(2)).await;
    program.kill();
    // It was answered or cut off.
    let _either = cut_off.await;
    let program = Program::start(data);
    let begin = Instant::now();
    let path = format!("{db}/{:016x}", documents / 2);
    let read = program.client.send("GET", &path, &session.access, "");
    read.await.expect(200);
    println!(
        "killed; listens after {:.2?}, its first document read {:.2?} later; {:.0} MB resident",
        program.took,
        begin.elapsed(),
        program.resident_mb()
    );
    let begin = Instant::now();
    let path = format!("{db}/after");
    let written = program.client.send("PUT", &path, &session.access, "{}");
    written.await.expect(201);
    println!("its first write took {:.2?}", begin.elapsed());
    program.kill();
}

async fn many_databases(data: &Path, databases: usize) {
    let program = Program::start(data);
    let mut sessions = Vec::new();
    for number in 0..databases.div_ceil(DATABASES_PER_ACCOUNT) {
        sessions.push(person(number, &program.client).await);
    }
    let sessions = Arc::new(sessions);
    let begin = Instant::now();
    let next = Arc::new(AtomicUsize::new(0));
    let makers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (sessions, next) = (Arc::clone(&sessions), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= databases {
                        return;
                    }
                    let session = &sessions[number % sessions.len()];
                    session.database(&format!("d{number}")).await;
                }
            })
        })
        .collect();
    for maker in makers {
        maker.await.unwrap();
    }
    println!(
        "{databases} databases made in {:.1?}, {:.0} MB on disk, {:.0} MB resident, {} open files",
        begin.elapsed(),
        disk_mb(data),
        program.resident_mb(),
        program.open_files()
    );
    program.kill();
    let program = Program::start(data);
    println!(
        "killed; listens after {:.2?}; {:.0} MB resident, {} open files",
        program.took,
        program.resident_mb(),
        program.open_files()
    );
    let touched = TOUCHED.min(databases);
    let begin = Instant::now();
    for number in 0..touched {
        let session = &sessions[number % sessions.len()];
        let path = format!("/{}", session.hash(&format!("d{number}")));
        let info = program.client.send("GET", &path, &session.access, "");
        info.await.expect(200);
    }
    println!(
        "{touched} of them opened in {:.1?}: {:.0} MB resident, {} open files",
        begin.elapsed(),
        program.resident_mb(),
        program.open_files()
    );
    program.kill();
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let documents = arguments.next().map_or(1_000_000, |n| n.parse().unwrap());
    let databases = arguments.next().map_or(100_000, |n| n.parse().unwrap());
    let directory = arguments.next().map_or_else(std::env::temp_dir, Into::into);
    if documents > 0 {
        let data = tempfile::tempdir_in(&directory).unwrap();
        one_large_database(data.path(), documents).await;
    }
    if databases > 0 {
        let data = tempfile::tempdir_in(&directory).unwrap();
        many_databases(data.path(), databases).await;
    }
}
