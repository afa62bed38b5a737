//! The program as a person runs it, against a storage node in this process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::path::Path;
use std::process::{Command, Output};

use adyton_storage::{Config, RegistryChoice, Storage};
use serde_json::Value;
use tempfile::TempDir;

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/sample/sample.mbox");

fn adyton(folder: &Path, line: &str) -> Output {
    let words = line.split(' ').map(|word| word.replace('\u{a0}', " "));
    Command::new(env!("CARGO_BIN_EXE_adyton"))
        .args(words)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn json(output: &Output) -> Value {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A storage node that lives as long as the value.
struct Node {
    storage: Storage,
    _data: TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Node {
    fn start() -> Self {
        Self::with(RegistryChoice::Own)
    }

    fn with(registry: RegistryChoice) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let data = tempfile::tempdir().unwrap();
        let mut config = Config::new("127.0.0.1:0".parse().unwrap(), data.path().to_owned());
        config.registry = registry;
        let storage = runtime.block_on(Storage::start(config)).unwrap();
        Self {
            storage,
            _data: data,
            _runtime: runtime,
        }
    }

    fn url(&self) -> String {
        format!("http://{}", self.storage.address())
    }
}

#[test]
fn an_account_is_made_once_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let made = json(&adyton(folder.path(), "account new --json"));
    let shown = json(&adyton(folder.path(), "account show --json"));
    assert_eq!(made["did"], shown["did"]);
    assert!(
        made["did"]
            .as_str()
            .unwrap()
            .starts_with("did:vda:polamoy:0x")
    );
    assert!(stderr(&adyton(folder.path(), "account new")).contains("never overwritten"));
}

#[test]
fn a_mailbox_is_imported_once_however_often_it_is_imported() {
    let node = Node::start();
    let folder = tempfile::tempdir().unwrap();
    adyton(folder.path(), "account new");
    let import = format!("import mbox {SAMPLE} --storage {} --json", node.url());

    let first = json(&adyton(folder.path(), &import));
    assert_eq!((&first["added"], &first["known"]), (&254.into(), &0.into()));
    assert_eq!(first["skipped"], 2);
    assert_eq!(first["skips"][0]["reason"], "it has no message header");
    assert_eq!(first["account"], "nora.hale@example.org");

    let second = json(&adyton(folder.path(), &import));
    assert_eq!(
        (&second["added"], &second["known"]),
        (&0.into(), &254.into())
    );
}

#[test]
fn an_import_is_on_as_many_storage_nodes_as_asked() {
    let nodes = [Node::start(), Node::start(), Node::start()];
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    adyton(here, "account new");
    let all: Vec<String> = nodes
        .iter()
        .map(|node| format!("--storage {}", node.url()))
        .collect();
    let import = format!("import mbox {SAMPLE} --json");
    let first = json(&adyton(
        here,
        &format!("{import} --ack all {}", all.join(" ")),
    ));
    assert_eq!(first["added"], 254);
    for node in &all {
        let there = json(&adyton(here, &format!("{import} --ack 1 {node}")));
        assert_eq!((&there["added"], &there["known"]), (&0.into(), &254.into()));
        // Three hold the vault, so two must have what is written, unless less is asked for.
        let failed = stderr(&adyton(here, &format!("{import} {node}")));
        assert!(failed.contains("only 1 of the 2 storage nodes"), "{failed}");
        assert!(failed.contains("--ack 1"), "{failed}");
    }
    let wrong = stderr(&adyton(here, &format!("{import} --ack most {}", all[0])));
    assert!(wrong.contains("expected 1, quorum or all"), "{wrong}");
}

#[test]
fn an_import_goes_on_where_it_stopped() {
    let node = Node::start();
    let folder = tempfile::tempdir().unwrap();
    adyton(folder.path(), "account new");
    let whole = std::fs::read(SAMPLE).unwrap();
    // Cut in the middle of a message: what is left of it is another message, which stays.
    std::fs::write(folder.path().join("half.mbox"), &whole[..whole.len() / 2]).unwrap();
    let half = json(&adyton(
        folder.path(),
        &format!("import mbox half.mbox --storage {} --json", node.url()),
    ));
    let rest = json(&adyton(
        folder.path(),
        &format!("import mbox {SAMPLE} --storage {} --json", node.url()),
    ));
    let (added, known) = (
        rest["added"].as_u64().unwrap(),
        rest["known"].as_u64().unwrap(),
    );
    assert_eq!(added + known, 254);
    assert!(
        known >= half["added"].as_u64().unwrap() - 1 && added > 50,
        "{rest}"
    );
}

#[test]
fn a_dry_run_needs_neither_account_nor_storage() {
    let folder = tempfile::tempdir().unwrap();
    let output = adyton(
        folder.path(),
        &format!("import mbox {SAMPLE} --dry-run --address nora.hale@example.org"),
    );
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("254 new, 0 known, 2 skipped"), "{text}");
    assert!(text.contains("skipped the message at byte"), "{text}");
}

#[test]
fn a_session_is_what_a_node_takes_as_credential() {
    let node = Node::start();
    let folder = tempfile::tempdir().unwrap();
    let did = json(&adyton(folder.path(), "account new --json"))["did"].clone();
    let output = adyton(
        folder.path(),
        &format!("account session --storage {}", node.url()),
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let session = adyton_keys::context_session::ContextSession::parse_api_key(text.trim()).unwrap();
    assert_eq!(session.did().as_given(), did.as_str().unwrap());
}

#[test]
fn an_account_is_registered_with_a_directory_and_found_through_it() {
    let node = Node::with(RegistryChoice::Directory(Vec::new()));
    let folder = tempfile::tempdir().unwrap();
    adyton(folder.path(), "account new --json");
    let line = format!(
        "account session --storage {0} --did-directory {0}",
        node.url()
    );
    // The first time it is not registered; the second time it is found where it was registered, and nothing changes.
    for _ in 0..2 {
        let output = adyton(folder.path(), &line);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            !text.trim().is_empty(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let no_directory = Node::start();
    let line = format!(
        "account session --storage {} --did-directory {}",
        node.url(),
        no_directory.url()
    );
    assert!(stderr(&adyton(folder.path(), &line)).contains("directory"));
    let both = format!("{line} --did-rpc https://rpc.example/");
    assert!(stderr(&adyton(folder.path(), &both)).contains("cannot be used with"));
}

#[test]
fn what_goes_wrong_is_said_with_a_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    for (line, words) in [
        ("account show", "adyton account new"),
        ("import mbox none.mbox --dry-run", "cannot open none.mbox"),
        ("import mbox . --dry-run", "is a folder"),
        ("import mbox not.mbox --dry-run", "not an mbox file"),
    ] {
        std::fs::write(here.join("not.mbox"), "hello").unwrap();
        assert!(stderr(&adyton(here, line)).contains(words), "{line}");
    }
    adyton(here, "account new");
    let import = format!("import mbox {SAMPLE}");
    assert!(stderr(&adyton(here, &import)).contains("--storage URL"));
    let nobody = format!("{import} --storage http://127.0.0.1:9 --json");
    let error: Value = serde_json::from_str(&stderr(&adyton(here, &nobody))).unwrap();
    assert!(
        error["error"]
            .as_str()
            .unwrap()
            .contains("cannot be reached"),
        "{error}"
    );
    assert!(
        error["hint"].as_str().unwrap().contains("running"),
        "{error}"
    );
}

#[test]
fn every_shell_gets_completions() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = adyton(folder.path(), &format!("completions {shell}"));
        assert!(
            String::from_utf8(output.stdout).unwrap().contains("import"),
            "{shell}"
        );
    }
}
