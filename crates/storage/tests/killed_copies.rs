//! A backup and a restore that are killed at random moments: a half one is never taken for a whole one, and what is backed up takes no
//! harm. Eight kills of each; `ADYTON_KILLS` for as many as one likes, `ADYTON_SEED` for other moments.
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

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use adyton_storage::{BackupError, Config, StartError, Storage, back_up, check, restore};
use serde_json::json;
use support::{Client, Credential, Node, Person};

const DATABASES: u64 = 12;

#[expect(
    clippy::disallowed_methods,
    reason = "how much a test tries is said beside it"
)]
fn given(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Random enough moments: a linear congruence.
struct Moments(u64);

impl Moments {
    fn of_this_run() -> Self {
        let seed = given("ADYTON_SEED").unwrap_or(u64::from(std::process::id()));
        eprintln!("ADYTON_SEED={seed}");
        Self(seed)
    }

    /// Somewhere in a time.
    fn within(&mut self, time: Duration) -> Duration {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        time.mul_f64(f64::from(u32::try_from(self.0 >> 32).unwrap()) / f64::from(u32::MAX))
    }
}

fn program(arguments: &[&Path]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adyton-storage"));
    command
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// `kill -9`, if it still runs.
fn kill(mut child: Child) {
    drop(child.kill());
    child.wait().unwrap();
}

/// A node's directory, at rest, with some databases.
async fn at_rest() -> (tempfile::TempDir, PathBuf) {
    let node = Node::start().await;
    let owner = node.session(1).await;
    for name in 0..DATABASES {
        let db = owner.database(&format!("d{name}")).await;
        let docs: Vec<_> = (0..50)
            .map(|n| json!({"n": n, "f": "f".repeat(5_000)}))
            .collect();
        let bulk = format!("{db}/_bulk_docs");
        owner.post(&bulk, &json!({"docs": docs})).await.expect(201);
    }
    node.storage.shutdown().await;
    let data = node.dir.path().to_owned();
    (node.dir, data)
}

/// A copy that was killed is restored as a whole, or not at all.
fn is_whole_or_none(backup: &Path, out: &Path) -> bool {
    match restore(backup, out) {
        Ok(_) => {
            assert_eq!(check(out).unwrap().faults, vec![]);
            true
        }
        Err(BackupError::Unfinished) => false,
        Err(error) => panic!("a half backup: {error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_killed_is_none_and_a_restore_that_is_killed_starts_nothing() {
    let (_dir, data) = at_rest().await;
    let out = tempfile::tempdir().unwrap();
    let to = |name: String| out.path().join(name);
    let (backup, mut moments) = (to("backup".to_owned()), Moments::of_this_run());
    // Somewhat longer than it takes by itself: the program must start, and some are to end.
    let begin = Instant::now();
    back_up(&data, &backup).await.unwrap();
    let backing_up = begin.elapsed() * 2;
    let begin = Instant::now();
    restore(&backup, &to("restored".to_owned())).unwrap();
    let restoring = begin.elapsed() * 3;
    let kills = given("ADYTON_KILLS").unwrap_or(8);
    let (mut whole, mut started) = (0, 0);
    for round in 0..kills {
        let target = to(format!("b{round}"));
        let child = program(&[Path::new("backup"), &data, &target]).spawn();
        tokio::time::sleep(moments.within(backing_up)).await;
        kill(child.unwrap());
        whole += u64::from(is_whole_or_none(&target, &to(format!("r{round}"))));
        assert_eq!(check(&data).unwrap().faults, vec![]);

        let target = to(format!("k{round}"));
        let child = program(&[Path::new("restore"), &backup, &target]).spawn();
        tokio::time::sleep(moments.within(restoring)).await;
        kill(child.unwrap());
        let is_empty = |path: &Path| {
            let entries = std::fs::read_dir(path);
            entries.map_or(true, |mut entries| entries.next().is_none())
        };
        if is_empty(&target) {
            continue;
        }
        let config = Config::new("127.0.0.1:0".parse().unwrap(), target.clone());
        match Storage::start(config).await {
            Err(StartError::HalfRestored) => {}
            Err(error) => panic!("{error}"),
            Ok(storage) => {
                storage.shutdown().await;
                let report = check(&target).unwrap();
                assert_eq!((report.faults, report.databases), (vec![], DATABASES));
                started += 1;
            }
        }
    }
    eprintln!("{kills} kills of each: {whole} whole backups, {started} whole restores");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_killed_while_it_makes_a_backup_loses_nothing_and_leaves_no_half_one() {
    let (_dir, data) = at_rest().await;
    let out = tempfile::tempdir().unwrap();
    let (backups, config) = (out.path().join("backups"), out.path().join("storage.toml"));
    let lines = format!("listen = \"127.0.0.1:0\"\ndata = {data:?}\nbackups = {backups:?}\n");
    std::fs::write(&config, lines).unwrap();
    let mut moments = Moments::of_this_run();
    let kills = given("ADYTON_KILLS").unwrap_or(8);
    let written = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    back_up(&data, &out.path().join("first")).await.unwrap();
    // Beside a writer it takes longer than at rest.
    let longest = begin.elapsed() * 3 + Duration::from_secs(1);
    let (mut begun, mut whole) = (0, 0);
    for round in 0..kills {
        let mut child = program(&[Path::new("--config"), &config]).spawn().unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let address = line.split("http://").nth(1).unwrap().split(' ').next();
        let client = Client {
            address: address.unwrap().parse().unwrap(),
        };
        let session = Person::new(1).log_in(&client).await;
        let db = format!("/{}", session.hash("d0"));
        for n in 0..written.load(Ordering::SeqCst) {
            session.get(&format!("{db}/w{n}")).await.expect(200);
        }
        let Credential::Bearer(token) = session.access.clone() else {
            panic!("a bearer token")
        };
        let (count, path) = (Arc::clone(&written), db.clone());
        let writing = tokio::spawn(async move {
            loop {
                let n = count.load(Ordering::SeqCst);
                if write(&client, &format!("{path}/w{n}"), &token)
                    .await
                    .is_none()
                {
                    return;
                }
                count.store(n + 1, Ordering::SeqCst);
            }
        });
        program::signal(&child, "-USR1");
        tokio::time::sleep(moments.within(longest)).await;
        kill(child);
        writing.await.unwrap();
        assert_eq!(check(&data).unwrap().faults, vec![]);
        for made in std::fs::read_dir(&backups).into_iter().flatten() {
            let made = made.unwrap().path();
            begun += 1;
            let restored = out.path().join(format!("r{round}"));
            whole += u64::from(is_whole_or_none(&made, &restored));
            std::fs::remove_dir_all(made).unwrap();
        }
    }
    let written = written.load(Ordering::SeqCst);
    eprintln!(
        "{kills} kills, {whole} of {begun} backups whole, {written} acknowledged writes, none lost"
    );
    assert!(begun > 0, "no backup was begun");
}

/// Writes a document that may be there already. None when the program is gone.
async fn write(client: &Client, path: &str, token: &str) -> Option<()> {
    use http_body_util::{BodyExt, Full};
    let stream = tokio::net::TcpStream::connect(client.address).await.ok()?;
    let stream = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.ok()?;
    tokio::spawn(connection);
    let request = http::Request::put(path)
        .header("host", "localhost")
        .header("authorization", format!("Bearer {token}"))
        .body(Full::new(bytes::Bytes::from_static(b"{}")));
    let answer = sender.send_request(request.unwrap()).await.ok()?;
    let status = answer.status().as_u16();
    answer.into_body().collect().await.ok()?;
    // One that was written and not acknowledged is there.
    assert!([201, 409].contains(&status), "{status}");
    Some(())
}
