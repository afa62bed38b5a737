//! The program and its enclave: started, waited for, started again, ended; and what it says of a wrong configuration.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use adyton_vsock::guest::Host;
use adyton_vsock::port;
use support::{Folder, HostProcess, signal, wait_for};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const NODE: &str = "listen = \"vsock:8443\"\n";

/// A command that notes its process and stays; and the processes that were noted.
fn run(folder: &Folder, then: &str, more: &str) -> String {
    let lives = folder.path().join("lives");
    let script = format!("echo $$ >> {}; {then}", lives.display());
    format!("[run]\ncommand = [\"sh\", \"-c\", \"{script}\"]\n{more}\n")
}

fn lives(folder: &Folder) -> Vec<u32> {
    let text = fs::read_to_string(folder.path().join("lives")).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
    whole.lines().map(|line| line.parse().unwrap()).collect()
}

async fn heartbeat(folder: &Folder) {
    let host = Host::Unix(folder.vm());
    let mut wire = host.connect(port::HEARTBEAT).await.unwrap();
    wire.write_u8(port::HEARTBEAT_BYTE).await.unwrap();
    assert_eq!(wire.read_u8().await.unwrap(), port::HEARTBEAT_BYTE);
}

fn is_alive(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"));
    stat.is_ok_and(|text| !text.contains(") Z "))
}

#[tokio::test]
async fn an_enclave_that_dies_is_started_again_and_ends_with_the_host() {
    let folder = Folder::new();
    let more = run(&folder, "exec sleep 1000", "");
    let mut host = HostProcess::start(&folder.configure(NODE, &more));
    let first = wait_for("a first life", || lives(&folder).first().copied()).await;
    heartbeat(&folder).await;
    host.said("the enclave's heartbeat was heard", 0).await;
    signal(first, "KILL");
    host.said("the enclave ended: the command ended: signal: 9", 0)
        .await;
    let second = wait_for("a second life", || lives(&folder).get(1).copied()).await;
    assert!(is_alive(second) && !is_alive(first));
    heartbeat(&folder).await;
    host.said("the enclave's heartbeat was heard", 1).await;
    assert_eq!(host.end().await.code(), Some(0));
    wait_for("the enclave's end", || (!is_alive(second)).then_some(())).await;
    assert_eq!(lives(&folder).len(), 2);
}

#[tokio::test]
async fn an_enclave_without_a_heartbeat_is_ended_and_pauses_grow() {
    let folder = Folder::new();
    let more = run(&folder, "sleep 1000 & wait", "heartbeat_seconds = 1");
    let host = HostProcess::start(&folder.configure(NODE, &more));
    for (nth, pause) in ["1 s", "2 s"].into_iter().enumerate() {
        let line = host.said("the enclave ended", nth).await;
        assert!(line.contains("no heartbeat came in time"), "{line}");
        assert!(line.ends_with(&format!("next start in {pause}")), "{line}");
    }
    for life in lives(&folder).iter().take(2) {
        let life = *life;
        wait_for("the end of a life", || (!is_alive(life)).then_some(())).await;
    }
}

#[tokio::test]
async fn a_detached_enclave_is_ended_by_its_own_command() {
    let folder = Folder::new();
    let stopped = folder.path().join("stopped");
    let more = format!(
        "detaches = true\nstop = [\"touch\", \"{}\"]",
        stopped.display()
    );
    let more = run(&folder, "true", &more);
    let mut host = HostProcess::start(&folder.configure(NODE, &more));
    wait_for("a life", || lives(&folder).first().copied()).await;
    heartbeat(&folder).await;
    host.said("the enclave's heartbeat was heard", 0).await;
    assert!(!stopped.exists());
    assert_eq!(host.end().await.code(), Some(0));
    assert!(stopped.exists());
}

#[tokio::test]
async fn the_configuration_is_handed_over_to_the_last_byte_and_read_anew_for_each_boot() {
    let folder = Folder::new();
    let host = HostProcess::start(&folder.configure(NODE, ""));
    host.address().await;
    let file = folder.path().join("node.toml");
    for text in [NODE.to_owned(), format!("{NODE}# ä comment \r\n\n")] {
        fs::write(&file, &text).unwrap();
        let enclave = Host::Unix(folder.vm());
        let mut wire = enclave.connect(port::CONFIGURATION).await.unwrap();
        let length = wire.read_u32().await.unwrap();
        let mut handed = vec![0; length as usize];
        wire.read_exact(&mut handed).await.unwrap();
        assert_eq!(handed, text.as_bytes());
    }
    // What cannot be used is not handed over, and the operator reads why.
    fs::write(&file, "listen = ").unwrap();
    let enclave = Host::Unix(folder.vm());
    let mut wire = enclave.connect(port::CONFIGURATION).await.unwrap();
    assert!(wire.read_u32().await.is_err());
    host.said(
        "the node's configuration is not handed over: it is not TOML",
        0,
    )
    .await;
}

#[tokio::test]
async fn what_the_enclave_says_is_shown_harmless() {
    let folder = Folder::new();
    let host = HostProcess::start(&folder.configure(NODE, ""));
    host.address().await;
    let enclave = Host::Unix(folder.vm());
    let mut wire = enclave.connect(port::NOTICES).await.unwrap();
    let long = "y".repeat(100_000);
    let text = format!("boot: entropy\n\x1b]0;evil\x07\n{long}\nboot: last\n");
    wire.write_all(text.as_bytes()).await.unwrap();
    host.said("enclave: boot: last", 0).await;
    let log = host.log();
    assert!(
        log.contains(&"enclave: boot: entropy".to_owned()),
        "{log:?}"
    );
    assert!(log.contains(&"enclave: ?]0;evil?".to_owned()), "{log:?}");
    assert!(log.iter().all(|line| line.len() < 600));
}

fn check(config: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_adyton-host"))
        .args(arguments)
        .arg(config)
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn a_configuration_is_checked_without_being_used() {
    let folder = Folder::new();
    let config = folder.configure(NODE, "");
    let (code, words) = check(&config, &["--check"]);
    assert_eq!(
        (code, words.as_str()),
        (Some(0), "the configuration can be used\n")
    );
    assert!(!folder.path().join("vm_9000").exists());
}

#[test]
fn a_wrong_configuration_ends_it_with_the_reason() {
    let folder = Folder::new();
    for (more, reason) in [
        ("admin = true", "unknown field `admin`"),
        ("[egress]\nports = [70000]", "70000"),
        (
            "[connections]\nmost = 0",
            "`connections.most` is out of range",
        ),
        ("[run]\ncommand = []", "`run.command` names no program"),
    ] {
        let config = folder.configure(NODE, more);
        for arguments in [&[][..], &["--check"]] {
            let (code, words) = check(&config, arguments);
            assert_eq!(code, Some(2), "{words}");
            assert!(words.contains(reason), "{words}");
        }
    }
    let config = folder.configure("listen = ", "");
    let (code, words) = check(&config, &["--check"]);
    assert_eq!(code, Some(2));
    assert!(words.contains("node.toml: it is not TOML"), "{words}");
    let (code, words) = check(&folder.path().join("missing.toml"), &[]);
    assert_eq!(code, Some(2));
    assert!(words.contains("missing.toml"), "{words}");
}

#[test]
fn a_port_that_is_taken_ends_it_with_the_reason() {
    let folder = Folder::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config = folder.configure(NODE, "");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("127.0.0.1:0", &address)).unwrap();
    let (code, words) = check(&config, &[]);
    assert_eq!(code, Some(1));
    assert!(
        words.contains(&format!("cannot listen on {address}")),
        "{words}"
    );
}
