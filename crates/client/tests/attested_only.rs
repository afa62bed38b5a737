//! No program talks to a node that it did not appraise.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// The two ways around an appraisal, and where they are made.
const WAYS_AROUND: [(&str, &str); 2] = [
    ("dangerous_connection", "attest/src/observe.rs"),
    // A TLS client that accepts any certificate is for looking at a node, before it is believed.
    ("observing_client_config", "attest/src/observe"),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The sources of programs: not tests, not the bench, which has no credentials and measures the appraisal itself.
fn programs() -> Vec<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found = Vec::new();
    for package in fs::read_dir(workspace.join("crates")).unwrap() {
        for folder in ["src", "examples"] {
            let folder = package.as_ref().unwrap().path().join(folder);
            if folder.exists() {
                sources(&folder, &mut found);
            }
        }
    }
    assert!(found.len() > 100, "the sources were not found");
    found
}

#[test]
fn no_program_uses_a_connection_that_was_not_appraised() {
    for path in programs() {
        let text = fs::read_to_string(&path).unwrap();
        for (way, made_in) in WAYS_AROUND {
            let here = path.to_str().unwrap().contains(made_in);
            assert!(here || !text.contains(way), "{}: {way}", path.display());
        }
    }
}
