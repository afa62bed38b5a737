//! The documents that say what we speak name their tests: every name is one.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// The names of all functions of the crates that they speak of.
fn functions(crates: &Path) -> BTreeSet<String> {
    let mut files = Vec::new();
    for name in ["couch", "egress", "storage"] {
        for part in ["src", "tests"] {
            sources(&crates.join(name).join(part), &mut files);
        }
    }
    let mut names = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        for after in text.split("fn ").skip(1) {
            let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            names.insert(after.split_at(end.unwrap_or(0)).0.to_owned());
        }
    }
    names
}

/// Words in backticks that can only be names of tests: four words at least, and nothing but letters between underscores.
fn named_tests(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2).filter(|word| {
        word.matches('_').count() >= 3
            && !word.starts_with('_')
            && word
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    })
}

#[test]
fn every_test_that_a_document_names_is_there() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let functions = functions(&crates);
    let mut missing = Vec::new();
    for (document, least) in [("couch/SPEC.md", 30), ("../docs/compatibility.md", 20)] {
        let text = fs::read_to_string(crates.join(document)).unwrap();
        let named: Vec<&str> = named_tests(&text).collect();
        assert!(named.len() >= least, "{document} names {}", named.len());
        let unknown = named.into_iter().filter(|name| !functions.contains(*name));
        missing.extend(unknown.map(str::to_owned));
    }
    assert!(missing.is_empty(), "{missing:?}");
}
