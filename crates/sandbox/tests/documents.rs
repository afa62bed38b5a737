//! Documents name files: tests that hold a claim, places where something is changed. The files are there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap().to_owned()
}

/// The documents at the root, those of `docs`, and each crate's own.
fn documents() -> Vec<PathBuf> {
    let root = root();
    let mut folders = vec![
        root.clone(),
        root.join("docs"),
        root.join("docs/adr"),
        root.join("bench"),
    ];
    let crates = fs::read_dir(root.join("crates")).unwrap();
    folders.extend(crates.map(|entry| entry.unwrap().path()));
    let files = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap());
    files
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "md"))
        .collect()
}

/// Words in backticks that are paths from the root.
fn named_files(text: &str) -> impl Iterator<Item = &str> {
    const BEGINNINGS: [&str; 6] = ["crates/", "docs/", "bench/", "vectors/", "schemas/", ".ci/"];
    text.split('`').skip(1).step_by(2).filter(|word| {
        let is_path = BEGINNINGS
            .iter()
            .any(|beginning| word.starts_with(beginning));
        is_path && !word.contains([' ', '<', '*', '\n'])
    })
}

/// Targets of links that are files.
fn linked_files(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| {
        let target = rest.split([')', '#']).next()?;
        (!target.is_empty() && !target.contains("://")).then_some(target)
    })
}

/// Whether there is such a file or folder; `docs/adr/0006` stands for the one that begins so.
fn is_there(path: &Path) -> bool {
    let begins = || {
        let (folder, name) = (path.parent()?, path.file_name()?.to_str()?);
        let mut entries = fs::read_dir(folder).ok()?;
        entries.find(|entry| {
            let found = entry.as_ref().map(|entry| entry.file_name());
            found.is_ok_and(|found| found.to_str().is_some_and(|found| found.starts_with(name)))
        })
    };
    path.exists() || begins().is_some()
}

#[test]
fn every_file_that_a_document_names_is_there() {
    let mut missing = Vec::new();
    let mut named = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        // Code blocks have backticks of their own.
        let prose: String = text.split("```").step_by(2).collect();
        let shown = document.strip_prefix(root()).unwrap().display();
        for word in named_files(&prose) {
            named += 1;
            if !is_there(&root().join(word)) {
                missing.push(format!("{shown} names {word}"));
            }
        }
        for target in linked_files(&prose) {
            named += 1;
            if !is_there(&document.parent().unwrap().join(target)) {
                missing.push(format!("{shown} links to {target}"));
            }
        }
    }
    assert!(named > 50, "{named} names were found");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
