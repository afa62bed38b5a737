//! docs/compatibility.md names, for each thing that is done otherwise than by the originals, and for each weakness of theirs, the
//! tests that hold it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::path::Path;

/// The rows of a section's tables, without heads and rules.
fn rows<'a>(text: &'a str, section: &str) -> Vec<Vec<&'a str>> {
    let section = text
        .split("\n## ")
        .find(|text| text.starts_with(section))
        .unwrap();
    let lines: Vec<&str> = section.lines().collect();
    let is_rule = |line: &str| line.starts_with("|---");
    lines
        .iter()
        .enumerate()
        .filter(|(n, line)| {
            let is_head = lines.get(n + 1).is_some_and(|next| is_rule(next));
            line.starts_with("| ") && !is_head
        })
        .map(|(_, line)| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect()
}

/// The names in a cell: of files, and of tests in the file before them.
fn names(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The code of a file that a cell names.
fn code(file: &str) -> String {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = match file.contains('/') {
        true => here.join(file),
        false => here.join("tests").join(file),
    };
    std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("there is no {file}"))
}

/// Holds the names in a cell to the code; how many tests there are.
fn hold(what: &str, cell: &str) -> usize {
    let mut file: Option<(&str, String)> = None;
    let mut tests = 0;
    for name in names(cell) {
        if name.ends_with(".rs") {
            file = Some((name, code(name)));
            continue;
        }
        let (file, code) = file.as_ref().expect("a file comes before its tests");
        assert!(
            code.contains(&format!("fn {name}(")),
            "{file} has no {name}, which {what:?} names"
        );
        tests += 1;
    }
    tests
}

fn text() -> String {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(here.join("../../docs/compatibility.md")).unwrap()
}

#[test]
fn every_difference_of_the_middleware_names_tests_that_exist() {
    let text = text();
    let rows = rows(&text, "Middleware");
    assert!(rows.len() > 20);
    for row in rows {
        let [what, original, ours, _why, tests] = row[..] else {
            panic!("a row is what, original, ours, why, tests: {row:?}")
        };
        assert!(
            !what.is_empty() && !original.is_empty() && !ours.is_empty(),
            "{what}"
        );
        assert!(hold(what, tests) > 0, "{what:?} names no test");
    }
}

#[test]
fn every_weakness_of_the_original_names_the_tests_that_answer_it() {
    let text = text();
    let rows = rows(&text, "Weaknesses of the original");
    assert!(rows.len() > 20);
    for row in rows {
        let [what, ours, tests] = row[..] else {
            panic!("a row is what, ours, tests: {row:?}")
        };
        assert!(!what.is_empty() && !ours.is_empty(), "{what}");
        assert!(hold(what, tests) > 0, "{what:?} names no test");
    }
}

#[test]
fn every_difference_from_couchdb_names_tests_that_exist_somewhere() {
    let text = text();
    let protocol = rows(&text, "CouchDB protocol");
    let in_front = rows(&text, "In front of a CouchDB");
    assert!(protocol.len() > 40 && in_front.len() > 10);
    let mut all = String::new();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![
        here.join("src"),
        here.join("tests"),
        here.join("../couch/src"),
        here.join("../couch/tests"),
    ];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                all.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    for row in protocol.into_iter().chain(in_front) {
        let [what, _, _, _, tests] = row[..] else {
            panic!("a row is what, CouchDB, here, why, tests: {row:?}")
        };
        let tests = names(tests);
        assert!(!tests.is_empty(), "{what:?} names no test");
        for test in tests {
            assert!(
                all.contains(&format!("fn {test}(")),
                "there is no {test}, which {what:?} names"
            );
        }
    }
}
