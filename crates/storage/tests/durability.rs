//! An acknowledged write survives `kill -9`: the real program is killed in the middle of a stream of writes, again and again. Attachments with their documents, whole.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use support::{Client, Credential, Person};

/// The program, running.
struct Program {
    child: Child,
    client: Client,
}

impl Program {
    fn start(data: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_adyton-storage"))
            .args(["--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address: SocketAddr = line
            .split("http://")
            .nth(1)
            .unwrap()
            .split(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        Self {
            child,
            client: Client { address },
        }
    }

    /// `kill -9`.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Every second document has an attachment that names it.
fn document(id: &str, n: u64, filler: &str) -> Value {
    let mut document = json!({"f": filler, "n": n});
    if n.is_multiple_of(2) {
        let data = STANDARD.encode(id.repeat(500));
        document["_attachments"] = json!({"a": {"content_type": "text/plain", "data": data}});
    }
    document
}

/// Writes documents one after the other until the program is gone, and notes every acknowledged one.
async fn write_until_killed(
    address: SocketAddr,
    token: String,
    db: String,
    writer: String,
    acknowledged: Arc<Mutex<Vec<(String, String)>>>,
) {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let filler = "f".repeat(2_000);
    for n in 0_u64.. {
        let id = format!("{writer}-{n}");
        let request = http::Request::put(format!("{db}/{id}"))
            .header("host", "localhost")
            .header("authorization", format!("Bearer {token}"))
            .body(Full::new(bytes::Bytes::from(
                document(&id, n, &filler).to_string(),
            )))
            .unwrap();
        let Ok(answer) = sender.send_request(request).await else {
            return;
        };
        assert_eq!(answer.status(), 201);
        let Ok(body) = answer.into_body().collect().await else {
            return;
        };
        let answer: Value = serde_json::from_slice(&body.to_bytes()).unwrap();
        let rev = answer["rev"].as_str().unwrap().to_owned();
        acknowledged.lock().unwrap().push((id, rev));
    }
}

/// Compacts the database again and again until the program is gone: the file is rewritten under the writers.
async fn compact_until_killed(address: SocketAddr, token: String, db: String) {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    loop {
        let request = http::Request::post(format!("{db}/_compact"))
            .header("host", "localhost")
            .header("authorization", format!("Bearer {token}"))
            .body(Full::new(bytes::Bytes::new()))
            .unwrap();
        let Ok(answer) = sender.send_request(request).await else {
            return;
        };
        assert_eq!(answer.status(), 202);
        if answer.into_body().collect().await.is_err() {
            return;
        }
    }
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
    let dir = tempfile::tempdir().unwrap();
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let program = Program::start(dir.path());
    let person = Person::new(1);
    person.publish(&program.client, now).await;
    let session = person.log_in(&program.client).await;
    let db = session.database("d").await;
    let Credential::Bearer(token) = session.access.clone() else {
        panic!("a bearer token")
    };

    let mut running = Some(program);
    // Lengths without a common measure, so that the kill falls on different steps of a commit.
    for (round, millis) in [13_u64, 47, 81, 127, 199].into_iter().enumerate() {
        let program = running.take().unwrap_or_else(|| Program::start(dir.path()));
        let address = program.client.address;
        let before = acknowledged.lock().unwrap().len();
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let name = format!("r{round}w{writer}");
                let acknowledged = Arc::clone(&acknowledged);
                tokio::spawn(write_until_killed(
                    address,
                    token.clone(),
                    db.clone(),
                    name,
                    acknowledged,
                ))
            })
            .collect();
        // In some rounds only: writes have the file for themselves in the others.
        let compactor = (round % 2 == 1)
            .then(|| tokio::spawn(compact_until_killed(address, token.clone(), db.clone())));
        // Killed when writes are flowing, at a moment that they do not choose.
        while acknowledged.lock().unwrap().len() < before + 8 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(millis)).await;
        program.kill();
        for writer in writers {
            writer.await.unwrap();
        }
        if let Some(compactor) = compactor {
            compactor.await.unwrap();
        }
    }

    let program = Program::start(dir.path());
    let acknowledged = acknowledged.lock().unwrap().clone();
    let changes = program
        .client
        .send("GET", &format!("{db}/_changes"), &session.access, "")
        .await;
    let changes = changes.expect(200).json();
    let kept: std::collections::BTreeMap<&str, &str> = changes["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (
                row["id"].as_str().unwrap(),
                row["changes"][0]["rev"].as_str().unwrap(),
            )
        })
        .collect();
    for (id, rev) in &acknowledged {
        assert_eq!(
            kept.get(id.as_str()),
            Some(&rev.as_str()),
            "{id} was acknowledged"
        );
    }
    // And it is readable, and the numbers agree.
    let all = program
        .client
        .send(
            "GET",
            &format!("{db}/_all_docs?include_docs=true"),
            &session.access,
            "",
        )
        .await;
    let all = all.expect(200).json();
    assert_eq!(all["rows"].as_array().unwrap().len(), kept.len());
    assert_eq!(all["total_rows"], kept.len());
    assert!(acknowledged.len() >= 40);
    for row in all["rows"].as_array().unwrap() {
        let id = row["id"].as_str().unwrap();
        let even = row["doc"]["n"].as_u64().unwrap().is_multiple_of(2);
        assert_eq!(row["doc"].get("_attachments").is_some(), even, "{id}");
        if even {
            let path = format!("{db}/{id}/a");
            let read = program.client.send("GET", &path, &session.access, "");
            assert_eq!(read.await.expect(200).text(), id.repeat(500));
        }
    }
    program.kill();
}
