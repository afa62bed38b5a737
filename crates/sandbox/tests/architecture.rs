//! ARCHITECTURE.md says what is: its table of crates is what is built, and the files that its ways name are there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap().to_owned()
}

fn page() -> String {
    fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap()
}

/// What stands in backticks, with the white space of line breaks folded.
fn in_backticks(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Our packages in the section of a manifest, without their common name.
fn ours(manifest: &toml::Table, section: &str) -> BTreeSet<String> {
    let section = manifest.get(section).and_then(toml::Value::as_table);
    section
        .into_iter()
        .flat_map(toml::Table::keys)
        .filter_map(|name| name.strip_prefix("adyton-"))
        .map(str::to_owned)
        .collect()
}

/// Each package by its folder as the table names it (`node`, `bench/`), with the packages of ours that it is built from.
fn built() -> BTreeMap<String, BTreeSet<String>> {
    let crates = fs::read_dir(root().join("crates")).unwrap();
    let crates = crates.map(|entry| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, path)
    });
    let beside = ["bench/", "rig/"].map(|name| (name.to_owned(), root().join(name)));
    crates
        .chain(beside)
        .map(|(name, path)| {
            let text = fs::read_to_string(path.join("Cargo.toml")).unwrap();
            (name, ours(&text.parse().unwrap(), "dependencies"))
        })
        .collect()
}

/// The table's rows: the name, and the cell that says what it depends on.
fn rows(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let table = page.split("## The ways of the data").next().unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, name, _job, on, _why, _] = cells[..] else {
            panic!("not a row of four cells: {row}");
        };
        // What is in brackets explains.
        let mut plain = String::new();
        for piece in on.split('(') {
            plain.push_str(piece.split_once(')').map_or(piece, |(_, rest)| rest));
        }
        let on = plain.split(',').map(str::trim);
        let on = on.filter(|name| !name.is_empty() && *name != "–");
        (name.replace('`', ""), on.map(str::to_owned).collect())
    })
    .collect()
}

#[test]
fn the_table_of_crates_is_what_is_built() {
    let page = page();
    let mut told = rows(&page);
    // Not built by Cargo, or not with the others.
    for beside in ["web/", "interop/"] {
        assert!(told.remove(beside).is_some() && root().join(beside).is_dir());
    }
    let built = built();
    assert!(built.len() >= 20);
    for (name, on) in &built {
        assert_eq!(told.get(name), Some(on), "the row of {name}");
    }
    assert_eq!(told.len(), built.len(), "{:?}", told.keys());
}

/// The folders that the page's short names stand for: `n/` = `crates/node/src`.
fn prefixes(page: &str) -> BTreeMap<String, String> {
    let sentence = page.split("\nPrefix ").nth(1).unwrap();
    let sentence = sentence.split("\n\n").next().unwrap();
    let words: Vec<&str> = in_backticks(sentence).collect();
    words
        .chunks(2)
        .map(|pair| (pair[0].to_owned(), format!("{}/", pair[1])))
        .collect()
}

/// The path that a name means, or nothing for what is no name of a file: types, routes, commands.
fn path_of(name: &str, prefixes: &BTreeMap<String, String>) -> Option<String> {
    let name = name.split("::").next().unwrap_or_default();
    let (head, rest) = name.split_once('/')?;
    let is_path = |letter: char| letter.is_ascii_lowercase() || "_/.".contains(letter);
    if head.is_empty() || rest.contains('*') || !rest.chars().all(is_path) {
        return None;
    }
    let folder = prefixes.get(&format!("{head}/"));
    Some(match folder {
        Some(folder) => format!("{folder}{rest}"),
        // From the root, else of a crate by its name.
        None if root().join(name).exists() => name.to_owned(),
        None => format!("crates/{head}/src/{rest}"),
    })
}

#[test]
fn every_file_that_a_way_names_is_there() {
    let page = page();
    let prefixes = prefixes(&page);
    assert!(prefixes.len() >= 16, "{prefixes:?}");
    for folder in prefixes.values() {
        assert!(root().join(folder).is_dir(), "{folder}");
    }
    let there = |path: &str| {
        let path = path.trim_end_matches('/');
        ["", ".rs", "/mod.rs", ".ts"]
            .iter()
            .any(|end| root().join(format!("{path}{end}")).exists())
    };
    let (_, after) = page.split_once("\nPrefix ").unwrap();
    let (_, ways) = after.split_once("\n\n").unwrap();
    let named: Vec<_> = in_backticks(ways)
        .filter_map(|name| Some((name, path_of(name, &prefixes)?)))
        .collect();
    assert!(named.len() >= 200, "{}", named.len());
    let missing: Vec<_> = named.iter().filter(|(_, path)| !there(path)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_place_of_a_markdown_link_is_there() {
    let root = root();
    let mut pages: Vec<PathBuf> = [
        "README.md",
        "SECURITY.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
    ]
    .map(|name| root.join(name))
    .to_vec();
    for folder in ["docs", "docs/adr"] {
        let found = fs::read_dir(root.join(folder)).unwrap();
        pages.extend(found.map(|entry| entry.unwrap().path()));
    }
    pages.retain(|path| path.extension().is_some_and(|kind| kind == "md"));
    let (mut missing, mut links) = (Vec::new(), 0);
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1) {
            let to = link.split([')', '#', ' ']).next().unwrap();
            if to.is_empty() || to.contains("://") || to.starts_with("mailto:") {
                continue;
            }
            links += 1;
            if !page.parent().unwrap().join(to).exists() {
                missing.push(format!("{} → {to}", page.display()));
            }
        }
    }
    assert!(links >= 20, "{links}");
    assert!(missing.is_empty(), "{missing:?}");
}
