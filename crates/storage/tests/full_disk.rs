//! A full disk: writes are refused with 507, reading goes on, nothing acknowledged is lost, and the first write after there is room
//! again succeeds. The real program, under a limit of its files' size that is set and lifted while it runs (`prlimit`): what the
//! kernel refuses then, it refuses in the same places as on a full disk.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use support::{Client, Person, Session};

/// The program, running. Killed when dropped.
struct Program {
    child: Child,
    client: Client,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Program {
    fn start(data: &Path) -> Self {
        // The signal that comes with the refusal would end it.
        let mut child = Command::new("sh")
            .args(["-c", r#"trap "" XFSZ; exec "$0" "$@""#])
            .arg(env!("CARGO_BIN_EXE_adyton-storage"))
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
        let address = line.split("http://").nth(1).unwrap().split(' ').next();
        let client = Client {
            address: address.unwrap().parse().unwrap(),
        };
        Self { child, client }
    }

    /// From now on no file may be longer.
    fn limit(&self, bytes: &str) {
        let limited = Command::new("prlimit")
            .arg(format!("--pid={}", self.child.id()))
            .arg(format!("--fsize={bytes}:"))
            .status()
            .unwrap();
        assert!(limited.success());
    }
}

async fn everything_is_there(session: &Session, db: &str, acknowledged: &[String]) {
    for id in acknowledged {
        let body = session.get(&format!("{db}/{id}")).await.expect(200).json();
        assert_eq!(body["f"].as_str().unwrap().len(), 60_000);
    }
    let changes = session.get(&format!("{db}/_changes")).await;
    let changes = changes.expect(200).json();
    let told: Vec<_> = changes["results"].as_array().unwrap().iter().collect();
    for id in acknowledged {
        assert!(told.iter().any(|row| row["id"] == **id), "{id} is skipped");
    }
}

#[tokio::test]
async fn a_full_disk_is_a_507_and_passes_without_a_restart() {
    #[expect(
        clippy::disallowed_methods,
        reason = "the program under test runs on the system's clock"
    )]
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(dir.path());
    Person::new(1).publish(&program.client, now).await;
    let session = Person::new(1).log_in(&program.client).await;
    let db = session.database("d").await;
    let (mut acknowledged, mut refused) = (Vec::new(), 0);
    let document = json!({"f": "f".repeat(60_000)});

    // Files do not grow beyond some megabytes; later not even what they have can be written.
    for limit in ["6000000", "4096"] {
        program.limit(limit);
        let before = refused;
        for n in 0..200 {
            let id = format!("l{limit}-{n}");
            let answer = session.put(&format!("{db}/{id}"), &document).await;
            if answer.status == 201 {
                acknowledged.push(id);
                continue;
            }
            let error = answer.expect(507).json();
            assert_eq!(error["error"], "insufficient_storage");
            assert_eq!(error["reason"], "The storage node has no room left.");
            refused += 1;
            if refused == before + 5 {
                break;
            }
        }
        assert_eq!(refused, before + 5, "the limit is not reached");
        everything_is_there(&session, &db, &acknowledged).await;
    }
    // The node's own file: the middleware says it in its dialect.
    let other = Person::new(2);
    let path = format!("/did/{}", other.did.lowercase());
    let body = json!({"document": other.document(now)});
    let answer = program.client.post(&path, &body).await;
    assert_eq!(answer.expect(507).json()["status"], "fail");
    // Who is logged in goes on reading.
    everything_is_there(&session, &db, &acknowledged).await;

    program.limit("unlimited");
    for n in 0..20 {
        let id = format!("after-{n}");
        let answer = session.put(&format!("{db}/{id}"), &document).await;
        answer.expect(201);
        acknowledged.push(id);
    }
    program.client.post(&path, &body).await.expect(200);
    other.log_in(&program.client).await;
    everything_is_there(&session, &db, &acknowledged).await;
    assert!(acknowledged.len() > 40);
}
