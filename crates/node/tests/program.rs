//! The program on a machine that is no enclave.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr
)]

use std::path::Path;
use std::process::{Command, Output};

fn node(config: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_adyton-node"))
        .arg("--config")
        .arg(config)
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn without_an_enclave_it_refuses_with_the_reason() {
    if Path::new("/dev/nsm").exists() {
        eprintln!("NOT TESTED: this machine has /dev/nsm");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("node.toml");
    std::fs::write(&config, "listen = \"127.0.0.1:0\"").unwrap();
    let output = node(&config);
    let words = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{words}");
    assert!(words.contains("there is no /dev/nsm"), "{words}");
    assert!(words.contains("not an enclave"), "{words}");
    assert!(!words.contains("listening"), "{words}");
}

#[test]
fn a_configuration_that_cannot_be_used_is_refused_before_anything_else() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("node.toml");
    let missing = node(&config);
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("node.toml"));
    let most = adyton_node::config::Config::MAX_BYTES;
    for (text, reason) in [
        ("listen = \"127.0.0.1:0\"\nadmin = true".to_owned(), "admin"),
        (
            format!("listen = \"127.0.0.1:0\"\n#{}", "x".repeat(most)),
            "file length",
        ),
    ] {
        std::fs::write(&config, text).unwrap();
        let output = node(&config);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(reason), "{}", stderr(&output));
    }
}
