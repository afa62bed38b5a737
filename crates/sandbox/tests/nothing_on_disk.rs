//! A confidential node writes nothing to any disk: its system calls are watched through a whole life.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    missing_docs
)]

mod caller;
mod child;
mod lacking;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use adyton_keys::account::Account;
use adyton_protocol::context::ContextName;
use adyton_sandbox::cluster::NETWORK;
use adyton_sandbox::{Options, Sandbox};
use caller::Caller;
use child::{Process, Role};
use rand_core::{OsRng, TryRngCore};
use serde_json::json;
use tempfile::TempDir;

/// Idle tenants go after a second, so that the run sees an eviction.
const CONFIG: &str =
    "listen = \"127.0.0.1:0\"\nallow_loopback_storage = true\n[limits]\nidle_seconds = 1\n";

/// System calls that are watched: all that take a path, and all that make, size or map files without one.
const WATCHED: &str = "%file,?memfd_create,?memfd_secret,ftruncate,fallocate,mmap,?mq_open,?io_uring_setup,\
    sendfile,copy_file_range,splice,vmsplice,tee,open_by_handle_at,shmget,fchmod,fchown,fsetxattr,fremovexattr";

/// Watched calls that only look. Everything else that is watched is a violation, also when it was refused.
const LOOKING: [&str; 13] = [
    "access",
    "faccessat",
    "faccessat2",
    "stat",
    "lstat",
    "newfstatat",
    "statx",
    "statfs",
    "readlink",
    "readlinkat",
    "getcwd",
    "getxattr",
    "inotify_add_watch",
];

/// The child's side.
#[test]
fn child() {
    child::serve_if_asked(|| ());
}

/// A whole life of a node: load, write, query, follow, errors of every class, eviction, loading again.
async fn live(node: &Process) {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let (account, _) = Account::generate(NETWORK.anchor(), &mut OsRng.unwrap_err());
    let session = sandbox
        .open_context(&account, &ContextName::vault())
        .await
        .unwrap();
    let key = session.expose_api_key();
    let owner = [("x-api-key", key.as_str())];
    let mut caller = Caller::connect(node.hello("url")).await;
    let mut elsewhere = Caller::connect(&sandbox.node_url()).await;
    let create = "/api/rest/v1/db/diary";
    for n in 0..40 {
        let record =
            json!({ "record": { "_id": format!("day-{n}"), "text": "dear diary ".repeat(2000) } });
        // Half of it is written elsewhere, so that this node loads and follows.
        let writer = if n % 2 == 0 {
            &mut elsewhere
        } else {
            &mut caller
        };
        assert_eq!(
            writer
                .send("POST", create, &owner, Some(&record))
                .await
                .status,
            201
        );
    }
    let query = json!({ "query": { "text": { "$gt": "a" } }, "options": { "sort": [{ "text": "desc" }], "limit": 1000 } });
    for _ in 0..200 {
        let answer = caller
            .send("POST", "/api/rest/v1/db/query/diary", &owner, Some(&query))
            .await;
        assert_eq!(answer.status, 200, "{}", answer.json());
        if answer.json()["items"].as_array().unwrap().len() == 40 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let update = json!({ "record": { "text": "changed" }, "options": { "forceUpdate": true } });
    assert_eq!(
        caller
            .send("PUT", "/api/rest/v1/db/diary/day-1", &owner, Some(&update))
            .await
            .status,
        200
    );
    assert_eq!(
        caller
            .send("DELETE", "/api/rest/v1/db/diary/day-2", &owner, None)
            .await
            .status,
        200
    );
    let scopes = json!({ "scopes": ["api:db-query", "api:db-get-by-id", "db:r:diary"] });
    let minted = caller
        .send("POST", "/api/rest/v1/auth/token", &owner, Some(&scopes))
        .await
        .json();
    let bearer = format!("Bearer {}", minted["token"].as_str().unwrap());
    let app = [("authorization", bearer.as_str())];
    assert_eq!(
        caller
            .send("GET", "/api/rest/v1/db/get/diary/day-1", &app, None)
            .await
            .status,
        200
    );
    let nonce = format!("/.well-known/adyton-attestation?nonce={}", "ab".repeat(32));
    assert_eq!(caller.send("GET", &nonce, &[], None).await.status, 200);
    let large = json!({ "record": { "text": "x".repeat(9 << 20) } });
    for (status, method, path, headers, body) in [
        (
            400,
            "POST",
            create,
            &owner[..],
            Some(json!({ "record": 7 })),
        ),
        (
            400,
            "POST",
            "/api/rest/v1/db/query/diary",
            &owner,
            Some(json!({ "query": { "$no": 1 } })),
        ),
        (401, "GET", "/api/rest/v1/auth/me", &[], None),
        (403, "POST", create, &app, Some(json!({ "record": {} }))),
        (404, "GET", "/api/rest/v1/db/get/diary/nothing", &app, None),
        (405, "PUT", "/livez", &[], None),
        (
            409,
            "PUT",
            "/api/rest/v1/db/diary/day-3",
            &owner,
            Some(json!({ "record": { "_rev": "9-00000000000000000000000000000000" } })),
        ),
        (413, "POST", create, &owner, Some(large)),
    ] {
        let answer = caller.send(method, path, headers, body.as_ref()).await;
        assert_eq!(
            answer.problem().0,
            status,
            "{method} {path}: {}",
            answer.json()
        );
    }
    evicted(&mut caller).await;
    assert_eq!(
        caller
            .send("GET", "/api/rest/v1/db/get/diary/day-1", &app, None)
            .await
            .status,
        200,
        "loaded again"
    );
    sandbox.shutdown().await;
}

/// Waits until the node has dropped what is idle.
async fn evicted(caller: &mut Caller) {
    for _ in 0..400 {
        let ready = caller.send("GET", "/readyz", &[], None).await.json();
        if ready["memoryTenths"] == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nothing was evicted in 20 s");
}

/// What a line of the trace says that a node may never do, if it does.
fn violation(line: &str) -> Option<&str> {
    // `123 openat(AT_FDCWD, "/x", O_RDONLY|O_CLOEXEC) = 3`
    let call = line.split_once(' ')?.1.trim_start();
    let (name, rest) = call.split_once('(')?;
    let fine = match name {
        "open" | "openat" => {
            let looks = rest.contains("O_RDONLY") || rest.contains("O_PATH");
            let writes = [
                "O_WRONLY",
                "O_RDWR",
                "O_CREAT",
                "O_TRUNC",
                "O_APPEND",
                "O_TMPFILE",
            ];
            looks && !writes.iter().any(|flag| rest.contains(flag))
        }
        "mmap" => {
            !(rest.contains("PROT_WRITE")
                && rest.contains("MAP_SHARED")
                && !rest.contains("MAP_ANONYMOUS"))
        }
        // `<... resumed>` and signals have no name; that a call was begun was seen before.
        name if !name
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || letter == '_') =>
        {
            true
        }
        name => LOOKING.contains(&name),
    };
    (!fine).then_some(call)
}

#[test]
fn the_watch_sees_what_it_is_for() {
    for bad in [
        r#"7 openat(AT_FDCWD, "/tmp/x", O_WRONLY|O_CREAT|O_CLOEXEC, 0666) = 3"#,
        r#"7 openat(AT_FDCWD, "/tmp/x", O_RDWR|O_CLOEXEC) = -1 EPERM (Operation not permitted)"#,
        r#"7 openat(AT_FDCWD, "/tmp", O_RDONLY|O_TMPFILE <unfinished ...>"#,
        r#"7 unlink("/tmp/x") = 0"#,
        r#"7 memfd_create("x", MFD_CLOEXEC) = 5"#,
        "7 mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 5, 0) = 0x7f",
        r#"7 execve("/bin/sh", ["sh"], 0x7 /* 3 vars */) = 0"#,
    ] {
        assert!(violation(bad).is_some(), "{bad}");
    }
    for good in [
        r#"7 openat(AT_FDCWD, "/etc/ld.so.cache", O_RDONLY|O_CLOEXEC) = 3"#,
        "7 mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_PRIVATE, 5, 0) = 0x7f",
        "7 mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED|MAP_ANONYMOUS, -1, 0) = 0x7f",
        "7 <... openat resumed>) = 3",
        "7 +++ exited with 0 +++",
    ] {
        assert_eq!(violation(good), None, "{good}");
    }
}

#[tokio::test]
async fn no_system_call_of_a_whole_life_creates_or_writes_a_file() {
    let folder = TempDir::new().unwrap();
    let traces = TempDir::new().unwrap();
    let trace = traces.path().join("trace");
    let tracer = [
        "strace",
        "-f",
        "-qq",
        "-o",
        trace.to_str().unwrap(),
        "-e",
        WATCHED,
    ]
    .map(str::to_owned);
    if !can_trace(traces.path()) {
        lacking::skip("strace is missing or not allowed here");
        return;
    }
    let node = Process::start(Role::Node, CONFIG, folder.path(), &tracer);
    live(&node).await;
    let (status, said) = node.end();
    assert!(status.success(), "{}", String::from_utf8_lossy(&said));
    let trace = fs::read_to_string(trace).unwrap();
    let lines: Vec<&str> = trace.lines().collect();
    assert!(lines.len() > 100, "the trace has {} lines", lines.len());
    // The first line is the start of the program by the tracer.
    assert!(lines[0].contains("execve("), "{}", lines[0]);
    let violations: Vec<&str> = lines[1..]
        .iter()
        .filter_map(|line| violation(line))
        .collect();
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

fn can_trace(folder: &Path) -> bool {
    let probe = folder.join("probe");
    let tried = Command::new("strace")
        .args(["-f", "-o", probe.to_str().unwrap(), "-e", WATCHED, "true"])
        .output();
    tried.is_ok_and(|tried| tried.status.success())
}

#[tokio::test]
async fn a_whole_life_leaves_no_file_and_the_kernel_would_not_allow_one() {
    let folder = TempDir::new().unwrap();
    let node = Process::start(Role::Node, CONFIG, folder.path(), &[]);
    if node.hello("forbidsWriting") != "yes" {
        eprintln!("NOTE: this kernel offers neither landlock nor seccomp");
    }
    eprintln!("{}", node.hello("hardening"));
    live(&node).await;

    let process = format!("/proc/{}", node.id());
    let limits = fs::read_to_string(format!("{process}/limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    let core: Vec<&str> = core.split_whitespace().collect();
    assert_eq!(
        core[4..6],
        ["0", "0"],
        "core dumps are off, softly and for good"
    );
    let mut closed = 0;
    for task in fs::read_dir(format!("{process}/task")).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let fact = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.map(|line| line.trim().to_owned())
        };
        // The test harness' own first thread only waits; everything that it started for us is closed.
        if fact("Pid:") == fact("Tgid:") && fact("NoNewPrivs:").as_deref() == Some("0") {
            continue;
        }
        assert_eq!(fact("NoNewPrivs:").as_deref(), Some("1"), "{status}");
        if node.hello("hardening").contains("by seccomp: yes") {
            assert_eq!(fact("Seccomp:").as_deref(), Some("2"), "{status}");
        }
        closed += 1;
    }
    assert!(closed >= 3, "the node's threads were looked at: {closed}");

    let (status, said) = node.end();
    assert!(status.success(), "{}", String::from_utf8_lossy(&said));
    let left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
