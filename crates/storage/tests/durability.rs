//! An acknowledged write survives `kill -9`: the real program is killed at random moments under load, again and again, also while
//! it starts. Edits and merged history, attachments, deletions, purges, compaction, databases made and deleted, feeds that follow,
//! backups made beside them.
//! Twelve kills; `ADYTON_KILLS=500` for as many as one likes, `ADYTON_SEED` for other moments.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr
)]

#[path = "support/program.rs"]
mod program;
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use adyton_storage::{BackupError, restore};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use support::{Client, Credential, Person, Session};

const DATABASES: usize = 3;
const WRITERS: usize = 6;
const DOCUMENTS_OF_WRITER: u64 = 8;
/// Points of the feed that are remembered for each database.
const REMEMBERED: usize = 12;

/// The program, running.
struct Program {
    child: Child,
    client: Client,
}

fn config(data: &Path) -> PathBuf {
    let config = data.with_extension("toml");
    let backups = backups(data);
    let lines = format!("listen = \"127.0.0.1:0\"\ndata = {data:?}\nbackups = {backups:?}\n");
    std::fs::write(&config, lines).unwrap();
    config
}

fn backups(data: &Path) -> PathBuf {
    data.with_extension("backups")
}

/// Backups that were begun: each is whole, or none. How many were whole.
fn look_at_backups(data: &Path) -> u64 {
    let mut whole = 0;
    for made in std::fs::read_dir(backups(data)).into_iter().flatten() {
        let made = made.unwrap().path();
        let restored = data.with_extension("restored");
        match restore(&made, &restored) {
            Ok(_) => {
                check(&restored);
                std::fs::remove_dir_all(restored).unwrap();
                whole += 1;
            }
            Err(BackupError::Unfinished) => {}
            Err(error) => panic!("{error}"),
        }
        std::fs::remove_dir_all(made).unwrap();
    }
    whole
}

/// `kill -9`.
fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

impl Program {
    fn start(data: &Path) -> Self {
        let (child, address) = program::start(&config(data), Stdio::null());
        Self {
            child,
            client: Client { address },
        }
    }
}

/// A connection that is kept until the program is gone.
struct Line {
    sender: http1::SendRequest<Full<Bytes>>,
    token: String,
}

impl Line {
    async fn open(session: &Session) -> Self {
        let stream = tokio::net::TcpStream::connect(session.client.address).await;
        let (sender, connection) = http1::handshake(TokioIo::new(stream.unwrap()))
            .await
            .unwrap();
        tokio::spawn(connection);
        let Credential::Bearer(token) = session.access.clone() else {
            panic!("a bearer token")
        };
        Self { sender, token }
    }

    /// None when the program is gone.
    async fn begin(
        &mut self,
        method: &str,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Option<http::Response<hyper::body::Incoming>> {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("accept", "application/json")
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", self.token))
            .body(Full::new(body.into()))
            .unwrap();
        self.sender.ready().await.ok()?;
        self.sender.send_request(request).await.ok()
    }

    async fn send(&mut self, method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
        let body = match body {
            Value::Null => String::new(),
            Value::String(raw) => raw.clone(),
            json => json.to_string(),
        };
        let answer = self.begin(method, path, body).await?;
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.ok()?.to_bytes();
        Some((status, serde_json::from_slice(&bytes).unwrap_or_default()))
    }
}

/// SplitMix64.
#[derive(Clone)]
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Content {
    deleted: bool,
    number: u64,
    attachment: Option<String>,
}

/// A current revision, as it was acknowledged.
#[derive(Debug, Clone)]
struct Leaf {
    rev: String,
    content: Content,
}

#[derive(Debug, Clone, Default)]
struct Document {
    leaf: Option<Leaf>,
    /// All acknowledged revisions that were not purged.
    history: Vec<String>,
    /// When the request of the last acknowledged write began.
    began: u64,
    /// What was asked when the program went: it may have been done or not.
    asked: Option<Asked>,
}

#[derive(Debug, Clone)]
enum Asked {
    Revision(Content),
    Purge,
}

/// Writes its own documents, one request after the other.
struct Writer {
    name: usize,
    db: String,
    documents: BTreeMap<String, Document>,
    chance: Chance,
    number: u64,
}

impl Writer {
    /// Returns when the program is gone.
    async fn write(&mut self, mut line: Line, ticks: &AtomicU64, acknowledged: &AtomicU64) {
        loop {
            let number = self.chance.below(DOCUMENTS_OF_WRITER);
            let id = format!("w{}-{number}", self.name);
            let began = ticks.fetch_add(1, Ordering::SeqCst);
            let Some(done) = self.write_one(&mut line, &id).await else {
                return;
            };
            acknowledged.fetch_add(1, Ordering::SeqCst);
            let document = self.documents.get_mut(&id).unwrap();
            document.asked = None;
            document.began = began;
            match done {
                None => *document = Document::default(),
                Some(leaf) => {
                    document.history.push(leaf.rev.clone());
                    document.leaf = Some(leaf);
                }
            }
        }
    }

    /// The acknowledged leaf, or that there is none any more.
    async fn write_one(&mut self, line: &mut Line, id: &str) -> Option<Option<Leaf>> {
        self.number += 1;
        let chance = &mut self.chance;
        let document = self.documents.entry(id.to_owned()).or_default();
        let leaf = document.leaf.clone();
        let live = leaf.clone().filter(|leaf| !leaf.content.deleted);
        let (db, number) = (&self.db, self.number);
        let attachment = (chance.below(3) == 0).then(|| {
            let length = [10, 3_000, 120_000, 700_000][usize::try_from(chance.below(4)).unwrap()];
            format!("{number:010}").repeat(length / 10)
        });
        let mut content = Content {
            deleted: false,
            number,
            attachment,
        };
        let mut body = json!({"n": number, "f": "f".repeat(300)});
        if let Some(text) = &content.attachment {
            let data = STANDARD.encode(text);
            body["_attachments"] = json!({"a": {"content_type": "text/plain", "data": data}});
        }
        match (chance.below(10), live) {
            // A replicator's way: the revision was made elsewhere.
            (0..=2, _) => {
                let hash = format!("{:016x}{:016x}", chance.next(), chance.next());
                let (generation, mut ids) = (generation(leaf.as_ref()) + 1, vec![hash.clone()]);
                if let Some(leaf) = &leaf {
                    ids.push(leaf.rev.split('-').nth(1).unwrap().to_owned());
                }
                let rev = format!("{generation}-{hash}");
                body["_id"] = id.into();
                body["_rev"] = rev.clone().into();
                body["_revisions"] = json!({"start": generation, "ids": ids});
                document.asked = Some(Asked::Revision(content.clone()));
                let body = json!({"new_edits": false, "docs": [body]});
                let path = format!("{db}/_bulk_docs");
                let answer = line.send("POST", &path, &body).await?;
                assert_eq!(answer, (201, json!([])));
                Some(Some(Leaf { rev, content }))
            }
            (3, Some(leaf)) => {
                content = Content {
                    deleted: true,
                    ..Content::default()
                };
                document.asked = Some(Asked::Revision(content.clone()));
                let path = format!("{db}/{id}?rev={}", leaf.rev);
                let (status, answer) = line.send("DELETE", &path, &Value::Null).await?;
                assert_eq!(status, 200, "{answer}");
                let rev = answer["rev"].as_str().unwrap().to_owned();
                Some(Some(Leaf { rev, content }))
            }
            (4, Some(leaf)) => {
                document.asked = Some(Asked::Purge);
                let path = format!("{db}/_purge");
                let body = json!({id: [leaf.rev]});
                let (status, answer) = line.send("POST", &path, &body).await?;
                assert_eq!(status, 201, "{answer}");
                assert_eq!(answer["purged"], body);
                Some(None)
            }
            (5, Some(leaf)) => {
                content.number = leaf.content.number;
                let text = format!("{number}").repeat(1_000);
                content.attachment = Some(text.clone());
                document.asked = Some(Asked::Revision(content.clone()));
                let path = format!("{db}/{id}/a?rev={}", leaf.rev);
                let (status, answer) = line.send("PUT", &path, &text.into()).await?;
                assert_eq!(status, 201, "{answer}");
                let rev = answer["rev"].as_str().unwrap().to_owned();
                Some(Some(Leaf { rev, content }))
            }
            (_, live) => {
                if let Some(leaf) = live {
                    body["_rev"] = leaf.rev.into();
                }
                document.asked = Some(Asked::Revision(content.clone()));
                let (status, answer) = line.send("PUT", &format!("{db}/{id}"), &body).await?;
                assert_eq!(status, 201, "{answer}");
                let rev = answer["rev"].as_str().unwrap().to_owned();
                Some(Some(Leaf { rev, content }))
            }
        }
    }

    /// Everything acknowledged is there; what was asked last is there whole, or not at all.
    async fn verify(&mut self, session: &Session, current: &BTreeMap<String, (String, bool)>) {
        for (id, document) in &mut self.documents {
            let found = current.get(id);
            let asked = document.asked.take();
            let as_acknowledged =
                found.map(|(rev, _)| rev) == document.leaf.as_ref().map(|leaf| &leaf.rev);
            let expected = match (&asked, found) {
                _ if as_acknowledged => document.leaf.as_ref().map(|leaf| leaf.content.clone()),
                (Some(Asked::Purge), None) => {
                    *document = Document::default();
                    None
                }
                (Some(Asked::Revision(content)), Some((rev, _))) => {
                    assert_eq!(
                        rev.split('-').next().unwrap().parse::<u64>().unwrap(),
                        generation(document.leaf.as_ref()) + 1
                    );
                    document.history.push(rev.clone());
                    Some(content.clone())
                }
                lost => panic!("{id}: {lost:?}, and acknowledged was {document:?}"),
            };
            let (Some((rev, deleted)), Some(expected)) = (found, expected) else {
                continue;
            };
            let path = format!("{}/{id}?rev={rev}&attachments=true", self.db);
            let body = session.get(&path).await.expect(200).json();
            let data = body["_attachments"]["a"]["data"].as_str();
            let content = Content {
                deleted: *deleted,
                number: body["n"].as_u64().unwrap_or_default(),
                attachment: data
                    .map(|data| String::from_utf8(STANDARD.decode(data).unwrap()).unwrap()),
            };
            assert_eq!(content, expected, "{id} {rev}");
            document.leaf = Some(Leaf {
                rev: rev.clone(),
                content,
            });
        }
        let known = self.documents.iter().filter(|(_, of)| of.leaf.is_some());
        let known: BTreeMap<_, _> = known.map(|(id, of)| (id, &of.history)).collect();
        let path = format!("{}/_revs_diff", self.db);
        let missing = session.post(&path, &json!(known)).await.expect(200).json();
        assert_eq!(missing, json!({}), "acknowledged revisions are gone");
    }
}

fn generation(leaf: Option<&Leaf>) -> u64 {
    leaf.map_or(0, |leaf| {
        leaf.rev.split('-').next().unwrap().parse().unwrap()
    })
}

/// Current revisions by document, and whether they are tombstones; told after a point of the feed.
async fn current(session: &Session, db: &str, since: &Value) -> BTreeMap<String, (String, bool)> {
    let since = since.as_str().map_or(since.to_string(), str::to_owned);
    let path = format!("{db}/_changes?since={since}");
    let changes = session.get(&path).await.expect(200).json();
    let rows = changes["results"].as_array().unwrap().iter();
    rows.map(|row| {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (
            text(&row["id"]),
            (text(&row["changes"][0]["rev"]), row["deleted"] == true),
        )
    })
    .collect()
}

/// Points of a database's feed, each with the moment after which writes began that must be told after it.
struct Points {
    db: String,
    points: Vec<(Value, u64)>,
}

impl Points {
    async fn look(&mut self, mut line: Line, ticks: &AtomicU64) {
        while let Some((status, info)) = line.send("GET", &self.db, &Value::Null).await {
            assert_eq!(status, 200);
            let tick = ticks.fetch_add(1, Ordering::SeqCst);
            self.points.push((info["update_seq"].clone(), tick));
            if self.points.len() > REMEMBERED {
                // Old ones and new ones.
                self.points
                    .remove(usize::try_from(tick).unwrap() % REMEMBERED);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn verify(&self, session: &Session, writers: &[Writer]) {
        for (point, tick) in &self.points {
            let told = current(session, &self.db, point).await;
            for writer in writers.iter().filter(|writer| writer.db == self.db) {
                for (id, document) in &writer.documents {
                    if let Some(leaf) = document.leaf.as_ref().filter(|_| document.began > *tick) {
                        let told = told.get(id).map(|(rev, _)| rev);
                        assert_eq!(told, Some(&leaf.rev), "{id} is skipped after {point}");
                    }
                }
            }
        }
    }
}

/// Follows a database's feed through all kills: from the last line that came.
struct Follower {
    db: String,
    feed: &'static str,
    since: String,
    seen: BTreeMap<String, String>,
}

impl Follower {
    async fn follow(&mut self, mut line: Line) {
        loop {
            let path = format!(
                "{}/_changes?feed={}&since={}&heartbeat=1000",
                self.db, self.feed, self.since
            );
            let Some(answer) = line.begin("GET", &path, "").await else {
                return;
            };
            assert_eq!(answer.status(), 200);
            let mut body = answer.into_body();
            let mut text = Vec::new();
            loop {
                match body.frame().await {
                    None => break,
                    Some(Err(_)) => return,
                    Some(Ok(frame)) => text.extend_from_slice(frame.data_ref().unwrap()),
                }
                if self.feed == "continuous" {
                    while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                        let line: Vec<u8> = text.drain(..=end).collect();
                        if let Ok(row) = serde_json::from_slice::<Value>(&line) {
                            self.take(&row);
                        }
                    }
                }
            }
            if self.feed == "longpoll" {
                let answer: Value = serde_json::from_slice(&text).unwrap();
                for row in answer["results"].as_array().unwrap() {
                    self.take(row);
                }
                answer["last_seq"]
                    .as_str()
                    .unwrap()
                    .clone_into(&mut self.since);
            }
        }
    }

    fn take(&mut self, row: &Value) {
        row["seq"].as_str().unwrap().clone_into(&mut self.since);
        let rev = row["changes"][0]["rev"].as_str().unwrap();
        self.seen
            .insert(row["id"].as_str().unwrap().to_owned(), rev.to_owned());
    }
}

/// Makes and deletes databases.
struct Founder {
    chance: Chance,
    /// Name → whether it is there; none when that is in doubt.
    known: BTreeMap<String, Option<bool>>,
}

impl Founder {
    async fn work(&mut self, session: &Session, mut line: Line) {
        loop {
            let name = format!("c{}", self.chance.below(4));
            let known = self.known.entry(name.clone()).or_insert(Some(false));
            if *known == Some(true) {
                *known = None;
                let body = json!({"databaseName": name});
                let done = line.send("POST", "/user/deleteDatabase", &body).await;
                let Some((status, answer)) = done else { return };
                assert_eq!(status, 200, "{answer}");
                *known = Some(false);
            } else {
                *known = None;
                let body = json!({"databaseName": name, "options": {
                    "permissions": {"read": "owner", "write": "owner"},
                }});
                let done = line.send("POST", "/user/createDatabase", &body).await;
                let Some((status, answer)) = done else { return };
                assert_eq!(status, 200, "{answer}");
                let path = format!("/{}/first", session.hash(&name));
                let done = line.send("PUT", &path, &json!({"n": 1})).await;
                let Some((status, answer)) = done else { return };
                assert_eq!(status, 201, "a new database is empty: {answer}");
                *known = Some(true);
            }
        }
    }

    async fn verify(&mut self, session: &Session) {
        for (name, known) in &mut self.known {
            let db = format!("/{}", session.hash(name));
            let answer = session.get(&db).await;
            let there = answer.status == 200;
            assert!(there || answer.status == 404, "{}", answer.text());
            assert_eq!(known.unwrap_or(there), there, "{name}");
            match known {
                Some(false) | None if !there => {}
                Some(_) => {
                    session.get(&format!("{db}/first")).await.expect(200);
                }
                // Made, and its document perhaps not: so that the next one finds it as it expects.
                None => {
                    let body = json!({"databaseName": name});
                    let gone = session.post("/user/deleteDatabase", &body).await;
                    gone.expect(200);
                }
            }
            *known = Some(there && known.is_some());
        }
    }
}

/// Compacts a database again and again: the file is rewritten under the writers.
async fn compact(mut line: Line, db: String) {
    let path = format!("{db}/_compact");
    while let Some((status, _)) = line.send("POST", &path, &Value::Null).await {
        assert_eq!(status, 202);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn check(data: &Path) {
    let checked = Command::new(env!("CARGO_BIN_EXE_adyton-storage"))
        .arg("check")
        .arg(data)
        .stderr(Stdio::null())
        .output()
        .unwrap();
    let report = String::from_utf8(checked.stdout).unwrap();
    assert!(checked.status.success(), "{report}");
}

#[expect(
    clippy::disallowed_methods,
    reason = "how much a test tries is said beside it"
)]
fn given(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_write_is_there_after_kill_9() {
    #[expect(
        clippy::disallowed_methods,
        reason = "the program under test runs on the system's clock"
    )]
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let kills = given("ADYTON_KILLS").unwrap_or(12);
    let mut chance = Chance(given("ADYTON_SEED").unwrap_or(now));
    eprintln!("ADYTON_SEED={}", chance.0);
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut program = Program::start(&data);
    Person::new(1).publish(&program.client, now).await;
    let session = Person::new(1).log_in(&program.client).await;
    let mut databases = Vec::new();
    for number in 0..DATABASES {
        databases.push(session.database(&format!("d{number}")).await);
    }
    let mut writers: Vec<Writer> = (0..WRITERS)
        .map(|name| Writer {
            name,
            db: databases[name % DATABASES].clone(),
            documents: BTreeMap::new(),
            chance: Chance(chance.next()),
            number: 0,
        })
        .collect();
    let mut points: Vec<Points> = databases
        .iter()
        .map(|db| Points {
            db: db.clone(),
            points: Vec::new(),
        })
        .collect();
    let mut followers: Vec<Follower> = databases
        .iter()
        .zip(["continuous", "longpoll", "continuous"])
        .map(|(db, feed)| Follower {
            db: db.clone(),
            feed,
            since: "0".to_owned(),
            seen: BTreeMap::new(),
        })
        .collect();
    let mut founder = Founder {
        chance: Chance(chance.next()),
        known: BTreeMap::new(),
    };
    let mut whole_backups = 0;
    let (ticks, acknowledged) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());

    for round in 0..kills {
        let session = Arc::new(Person::new(1).log_in(&program.client).await);
        let before = acknowledged.load(Ordering::SeqCst);
        let mut writing = Vec::new();
        for mut writer in writers.drain(..) {
            let line = Line::open(&session).await;
            let (ticks, acknowledged) = (Arc::clone(&ticks), Arc::clone(&acknowledged));
            writing.push(tokio::spawn(async move {
                writer.write(line, &ticks, &acknowledged).await;
                writer
            }));
        }
        let mut looking = Vec::new();
        for mut points in points.drain(..) {
            let (line, ticks) = (Line::open(&session).await, Arc::clone(&ticks));
            looking.push(tokio::spawn(async move {
                points.look(line, &ticks).await;
                points
            }));
        }
        let mut following = Vec::new();
        for mut follower in followers.drain(..) {
            let line = Line::open(&session).await;
            following.push(tokio::spawn(async move {
                follower.follow(line).await;
                follower
            }));
        }
        let founding = tokio::spawn({
            let (session, line) = (Arc::clone(&session), Line::open(&session).await);
            async move {
                founder.work(&session, line).await;
                founder
            }
        });
        // In some rounds only: writes have the file for themselves in the others.
        let compacting = match round % 2 {
            0 => None,
            _ => Some(tokio::spawn(compact(
                Line::open(&session).await,
                databases[2].clone(),
            ))),
        };
        // Killed when writes are flowing, at a moment that they do not choose.
        while acknowledged.load(Ordering::SeqCst) < before + 8 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(!writing.iter().any(tokio::task::JoinHandle::is_finished));
        }
        if round % 3 == 0 {
            program::signal(&program.child, "-USR1");
        }
        // Some of them long enough for a backup to end.
        let longest = if round % 6 == 0 { 1_500_000 } else { 150_000 };
        tokio::time::sleep(Duration::from_micros(chance.below(longest))).await;
        kill(program.child);
        for task in writing {
            writers.push(task.await.unwrap());
        }
        for task in looking {
            points.push(task.await.unwrap());
        }
        for task in following {
            followers.push(task.await.unwrap());
        }
        founder = founding.await.unwrap();
        if let Some(task) = compacting {
            task.await.unwrap();
        }

        if chance.below(4) == 0 {
            let starting = program::spawn(&config(&data), Stdio::null());
            tokio::time::sleep(Duration::from_micros(chance.below(60_000))).await;
            kill(starting);
        }
        if round % 4 == 3 {
            check(&data);
        }
        whole_backups += look_at_backups(&data);
        program = Program::start(&data);
        let session = Person::new(1).log_in(&program.client).await;
        for db in &databases {
            let current = current(&session, db, &json!(0)).await;
            for writer in writers.iter_mut().filter(|writer| writer.db == *db) {
                writer.verify(&session, &current).await;
            }
        }
        for points in &points {
            points.verify(&session, &writers).await;
        }
        founder.verify(&session).await;
    }

    // Whoever followed a feed through all of it knows what there is.
    let session = Person::new(1).log_in(&program.client).await;
    for follower in &mut followers {
        let rest = current(&session, &follower.db, &json!(follower.since)).await;
        follower
            .seen
            .extend(rest.into_iter().map(|(id, (rev, _))| (id, rev)));
        for (id, (rev, _)) in current(&session, &follower.db, &json!(0)).await {
            assert_eq!(follower.seen.get(&id), Some(&rev), "{id} was skipped");
        }
    }
    kill(program.child);
    check(&data);
    let acknowledged = acknowledged.load(Ordering::SeqCst);
    eprintln!(
        "{kills} kills, {acknowledged} acknowledged writes, none lost; {whole_backups} whole backups"
    );
}
