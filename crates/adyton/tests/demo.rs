//! `adyton demo` as a person sees it: every line that it prints is pasted into a shell.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr
)]

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Running, adyton, json, stderr, stdout};

/// Two small messages, one with a word that nothing else has.
const TWO: &str = "From a@example.org Thu Feb  1 10:11:12 2024\nFrom: Ann <a@example.org>\nTo: b@example.org\n\
    Date: Thu, 1 Feb 2024 10:11:12 +0000\nSubject: quincunx\n\nA zymurgical greeting.\n\n\
    From b@example.org Thu Feb  1 10:12:12 2024\nFrom: Bob <b@example.org>\nTo: a@example.org\n\
    Date: Thu, 1 Feb 2024 10:12:12 +0000\nSubject: Re: quincunx\n\nAnother.\n\n";

/// Longest wait for something that must happen.
const PATIENCE: Duration = Duration::from_secs(30);

const ANY: [&str; 4] = ["--listen", "127.0.0.1:0", "--storage-listen", "127.0.0.1:0"];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn demo<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["demo"], &ANY[..], more].concat()
}

fn pasted(line: &str) -> Output {
    Command::new("sh")
        .args(["-c", line])
        .current_dir(source())
        .output()
        .unwrap()
}

#[test]
fn every_line_works_as_it_stands() {
    let mut demo = Running::start(&source(), demo(&[]));
    let (mut text, mut lines, mut title) = (String::new(), Vec::new(), String::new());
    loop {
        let line = demo.line();
        assert!(!line.is_empty(), "it ended before it was ready:\n{text}");
        text.push_str(&line);
        if let Some(words) = line.strip_prefix("# ") {
            title = words.trim_end().to_owned();
        } else if let Some(line) = line.strip_prefix("    ").filter(|_| !title.is_empty()) {
            lines.push((title.clone(), line.to_owned()));
        } else if line.starts_with("Ready in ") {
            break;
        }
    }
    assert!(
        text.starts_with("****") && text.contains("SIMULATED"),
        "{text}"
    );
    assert!(text.contains("254 emails"), "{text}");
    assert_eq!(lines.len(), 7, "{text}");
    let manual = fs::read_to_string(source().join("docs/demo.md")).unwrap();
    for (title, _) in &lines {
        let heading = format!("\n### {}\n", title.trim_end_matches(':'));
        assert!(
            manual.contains(&heading),
            "docs/demo.md does not explain {title}"
        );
    }
    let policy = text.lines().find_map(|line| line.strip_prefix("policy "));
    let policy = PathBuf::from(policy.unwrap().trim());
    assert!(policy.exists());

    let has_curl = Command::new("curl").arg("--version").output().is_ok();
    if !has_curl {
        eprintln!(
            "NOT TESTED: there is no curl on this machine; the demo's curl lines were not run"
        );
    }
    let mut curled = Vec::new();
    for (title, line) in &lines {
        if line.starts_with("curl") {
            if has_curl {
                curled.push((title, json(&pasted(line))));
            }
        } else if title.starts_with("What the node proves") {
            let report = stdout(&pasted(line));
            assert!(
                report.contains("TRUSTED BY THIS POLICY, BUT SIMULATED"),
                "{report}"
            );
        } else if title.starts_with("The same by the default policy") {
            let output = pasted(line);
            let report = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!(output.status.code(), Some(1), "{report}");
            assert!(report.contains("NOT TRUSTED (SIMULATED)"), "{report}");
        } else if title.starts_with("The first query again") {
            let output = pasted(line);
            let records = stdout(&output);
            assert_eq!(records.lines().count(), 3, "{records}");
            let notes = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(notes.contains("SIMULATED"), "{notes}");
            let first: Value = serde_json::from_str(records.lines().next().unwrap()).unwrap();
            assert!(first["name"].is_string() && first.get("messageText").is_none());
        } else if title.starts_with("As the owner") {
            let tokens = stdout(&pasted(line));
            assert!(tokens.contains("api:ds-get-by-id"), "{tokens}");
            assert!(!tokens.contains("adyt_"), "{tokens}");
        } else {
            panic!("nothing is known of the line {title}: {line}");
        }
    }
    if let [(_, query), (_, count), (_, refused)] = curled.as_slice() {
        let items = query["items"].as_array().unwrap();
        assert_eq!(items.len(), 3);
        let dates: Vec<_> = items.iter().map(|item| item["sentAt"].as_str()).collect();
        assert!(dates.is_sorted_by(|a, b| a >= b), "{dates:?}");
        assert_eq!(count["count"], 254);
        assert_eq!(refused["code"], "scope-missing");
    } else {
        assert!(!has_curl, "{curled:?}");
    }

    let (status, _) = demo.end("-INT");
    assert!(status.success(), "{status}");
    assert!(
        !policy.parent().unwrap().exists(),
        "the temporary directory stayed"
    );
}

#[test]
fn a_second_start_finds_the_account_and_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let mbox = folder.path().join("two.mbox");
    fs::write(&mbox, TWO).unwrap();
    let start = |more: &[&str]| {
        let arguments = [
            "--data",
            "data",
            "--mbox",
            "two.mbox",
            "--exit-after-ready",
            "--json",
        ];
        let arguments = [&["demo", "--listen", "127.0.0.1:0"], &arguments[..], more].concat();
        adyton(folder.path(), arguments)
    };
    let first = json(&start(&["--storage-listen", "127.0.0.1:0"]));
    assert_eq!(
        (&first["mail"]["added"], &first["emails"]),
        (&2.into(), &2.into())
    );
    assert_eq!(
        (&first["newAccount"], &first["simulated"]),
        (&true.into(), &true.into())
    );
    let second = json(&start(&[]));
    assert_eq!(
        (&second["mail"]["added"], &second["mail"]["known"]),
        (&0.into(), &2.into())
    );
    assert_eq!(
        (&second["newAccount"], &second["emails"]),
        (&false.into(), &2.into())
    );
    for same in ["did", "storage"] {
        assert_eq!(first[same], second[same]);
    }
    // The vault's DID document names the storage node, so that another address would be another vault's.
    let other = stderr(&start(&["--storage-listen", "127.0.0.1:1"]));
    assert!(other.contains("belongs to a storage node at"), "{other}");

    let taken = TcpListener::bind(
        first["storage"]
            .as_str()
            .unwrap()
            .trim_start_matches("http://"),
    );
    let said = stderr(&start(&[]));
    assert!(said.contains("this data belongs to"), "{said}");
    drop(taken);

    // The key is the owner's alone, and nothing that the storage node keeps can be read.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |name| {
            let file = folder.path().join("data").join(name);
            fs::metadata(file).unwrap().permissions().mode() & 0o777
        };
        assert_eq!((mode("account.key"), mode(".")), (0o600, 0o700));
    }
    let mut files = 0;
    each_file(&folder.path().join("data/storage"), &mut |path, bytes| {
        files += 1;
        for word in ["zymurgical", "quincunx", "a@example.org"] {
            let found = bytes
                .windows(word.len())
                .any(|part| part == word.as_bytes());
            assert!(!found, "{word} stands in {}", path.display());
        }
    });
    assert!(
        files > 1,
        "{files} files of the storage node were looked at"
    );
}

fn each_file(folder: &Path, look: &mut dyn FnMut(&Path, &[u8])) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            each_file(&path, look);
        } else {
            look(&path, &fs::read(&path).unwrap());
        }
    }
}

#[test]
fn of_three_storage_nodes_one_is_stopped_and_gets_what_it_missed_when_it_starts_again() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("two.mbox"), TWO).unwrap();
    let three = ["--data", "data", "--mbox", "two.mbox", "--json"];
    let arguments = [&three[..], &["--storage-nodes", "3"]].concat();
    let mut running = Running::start_typing(folder.path(), demo(&arguments));
    let ready: Value = serde_json::from_str(&running.line()).unwrap();
    let urls: Vec<&str> = ready["storageNodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|url| url.as_str().unwrap())
        .collect();
    let hosts: Vec<&str> = urls
        .iter()
        .map(|url| url.rsplit_once(':').unwrap().0)
        .collect();
    assert_eq!(
        hosts,
        ["http://127.0.0.1", "http://127.0.0.2", "http://127.0.0.3"]
    );
    assert_eq!(ready["storage"], urls[0]);
    let owner = ready["lines"]["owner"].as_str().unwrap();
    assert!(
        urls.iter()
            .all(|url| owner.contains(&format!("--storage {url} "))),
        "{owner}"
    );
    let say = |demo: &mut Running, line: &str, lines: usize| {
        demo.type_line(line);
        (0..lines).map(|_| demo.line()).collect::<String>()
    };
    let help = say(&mut running, "stop 9", 1);
    assert!(help.contains("stop N") && help.contains("1 to 3"), "{help}");
    // The last words of all lines: how many emails each has, or that it is stopped.
    let has = |demo: &mut Running| {
        let said = say(demo, "nodes", 3);
        let counts = said
            .lines()
            .map(|line| line.rsplit_once("  ").unwrap().1.to_owned());
        counts.collect::<Vec<_>>()
    };
    let stopped = say(&mut running, "stop 2", 1);
    assert_eq!(stopped, "storage node 2 is stopped\n");
    for n in 1..=2 {
        let written = say(&mut running, "write", 1);
        assert!(
            written.contains(&format!("email {n} of the demo, without node 2")),
            "{written}"
        );
    }
    // Two of three have each write when it is acknowledged; a third soon.
    let began = Instant::now();
    while has(&mut running) != ["4 emails", "stopped", "4 emails"] {
        assert!(began.elapsed() < PATIENCE, "{:?}", has(&mut running));
    }
    // The app sees it, too, whichever storage node the confidential node had asked before.
    let app = ready["lines"]["adyton"].as_str().unwrap();
    while !stdout(&pasted(app)).contains("without node 2") {
        assert!(began.elapsed() < PATIENCE);
    }
    let started = say(&mut running, "start 2", 1);
    assert!(started.ends_with("it has 4\n"), "{started}");
    assert_eq!(has(&mut running), ["4 emails"; 3]);
    let (status, _) = running.end("-INT");
    assert!(status.success(), "{status}");

    // The directory says how many there are, and where.
    let again = [
        &["demo", "--listen", "127.0.0.1:0", "--exit-after-ready"],
        &three[..],
    ]
    .concat();
    let second = json(&adyton(folder.path(), again));
    assert_eq!(second["storageNodes"], ready["storageNodes"]);
    assert_eq!(second["emails"], 4);
    let two = ["demo", "--data", "data", "--storage-nodes", "2"];
    let other = stderr(&adyton(folder.path(), two));
    assert!(other.contains("belongs to 3 storage nodes"), "{other}");
}

#[test]
fn a_start_that_cannot_be_says_why_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::write(here.join("not.mbox"), "hello").unwrap();
    fs::write(here.join("file"), "").unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken_address(&taken);
    for (arguments, words) in [
        (&["--mbox", "none.mbox"][..], &["cannot open none.mbox"][..]),
        (&["--mbox", "."], &["is a folder"]),
        (&["--mbox", "not.mbox"], &["not an mbox file"]),
        (&["--data", "file"], &["cannot use the data directory file"]),
        (&["--listen", &taken], &[&taken, "--listen"]),
        (&["--storage-listen", &taken], &[&taken, "--storage-listen"]),
    ] {
        let mut line = vec!["demo"];
        for flag in ANY.chunks(2).filter(|flag| flag[0] != arguments[0]) {
            line.extend(flag);
        }
        line.extend(arguments);
        let said = stderr(&adyton(here, line));
        for word in words {
            assert!(said.contains(word), "{arguments:?}: {said}");
        }
    }
}

fn taken_address(listener: &TcpListener) -> String {
    listener.local_addr().unwrap().to_string()
}

#[test]
fn two_demos_never_share_a_directory() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("two.mbox"), TWO).unwrap();
    let arguments = demo(&["--data", "data", "--mbox", "two.mbox", "--json"]);
    let mut first = Running::start(folder.path(), arguments.clone());
    let ready: Value = serde_json::from_str(&first.line()).unwrap();
    let second: Value = serde_json::from_str(&stderr(&adyton(folder.path(), arguments))).unwrap();
    assert!(
        second["error"]
            .as_str()
            .unwrap()
            .contains("in use by another demo"),
        "{second}"
    );
    assert!(second["hint"].is_string());
    let (status, _) = first.end("-TERM");
    assert!(status.success(), "{status}");
    assert!(!Path::new(ready["tokenFile"].as_str().unwrap()).exists());
}

#[test]
fn a_start_that_is_interrupted_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    // Far more than can be imported before the signal comes.
    let many: String = (0..20_000)
        .map(|n| TWO.replace("quincunx", &format!("quincunx {n}")))
        .collect();
    fs::write(folder.path().join("many.mbox"), many).unwrap();
    let arguments = demo(&["--mbox", "many.mbox", "--data", "data"]);
    let running = Running::start(folder.path(), arguments);
    let lock = folder.path().join("data/demo.lock");
    while !lock.exists() {
        std::thread::yield_now();
    }
    let (status, said) = running.end("-INT");
    assert_eq!((status.code(), said.as_str()), (Some(1), ""));
}

#[test]
fn a_token_that_is_asked_for_is_the_only_secret_on_the_screen() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("two.mbox"), TWO).unwrap();
    let arguments = demo(&["--data", "data", "--mbox", "two.mbox", "--exit-after-ready"]);
    let output = adyton(folder.path(), arguments);
    let said = stdout(&output) + &String::from_utf8_lossy(&output.stderr);
    let words = fs::read_to_string(folder.path().join("data/account.key")).unwrap();
    assert_eq!(words.split_whitespace().count(), 12);
    let in_a_row: Vec<&str> = words.split_whitespace().take(2).collect();
    assert!(!said.contains(&in_a_row.join(" ")));
    assert!(said.contains("adyt_") && !said.contains("zymurgical"));
}
