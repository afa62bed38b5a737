//! docs/compatibility.md names, for each thing that the middleware does otherwise than the original, the test that holds it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::path::Path;

#[test]
fn every_difference_names_a_test_that_exists() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(here.join("../../docs/compatibility.md")).unwrap();
    let section = text
        .split("\n## ")
        .find(|section| section.starts_with("Middleware"));
    let rows: Vec<Vec<&str>> = section
        .unwrap()
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| what"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    assert!(rows.len() > 20);
    for row in rows {
        let [what, original, ours, _why, test] = row[..] else {
            panic!("a row is what, original, ours, why, test: {row:?}")
        };
        assert!(
            !what.is_empty() && !original.is_empty() && !ours.is_empty(),
            "{what}"
        );
        let names: Vec<&str> = test.split('`').skip(1).step_by(2).collect();
        let [file, test] = names[..] else {
            panic!("a file and a test in it: {what}")
        };
        let code = std::fs::read_to_string(here.join("tests").join(file)).unwrap();
        let exists = code.contains(&format!("fn {test}("));
        assert!(exists, "{file} has no {test}, which {what:?} names");
    }
}
