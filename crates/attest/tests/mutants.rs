//! The mutation check: every check of the verdict, deleted in turn; each time a test must turn red.
//!
//! The lists are in `tests/mutants/*.txt`, a file per source. Lines that begin with `@` name what goes wrong, then follow
//! lines of the source: unchanged ones after a blank, deleted ones after `-`, new ones after `+`. An entry without a
//! change says why there is none: `kept` where the compiler already refuses to go on without the value, `equivalent`
//! where another check would refuse the same.
//!
//! That the lists fit the source, and that no refusal is missing in them, is tested always. The mutants themselves are
//! built and tested by `just mutants` (an hour or more): `just mutants 'chain.rs'` takes only those that match.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr
)]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Sources that decide, whose every refusal must be in a list.
const DECIDING: &[&str] = &[
    "src/appraise.rs",
    "src/appraise/dstack.rs",
    "src/batch.rs",
    "src/binding.rs",
    "src/measurement.rs",
    "src/nitro/chain.rs",
    "src/nitro/claims.rs",
    "src/nitro/document.rs",
    "src/nitro/envelope.rs",
    "src/policy.rs",
    "src/policy/dstack.rs",
    "src/release.rs",
    "src/release/keys.rs",
    "src/release/manifest.rs",
    "src/release/memory.rs",
    "src/tdx/event_log.rs",
    "src/tdx/quote.rs",
];

struct Entry {
    source: String,
    title: String,
    before: Vec<String>,
    after: Vec<String>,
}

impl Entry {
    fn is_mutant(&self) -> bool {
        self.before != self.after
    }

    fn name(&self) -> String {
        format!("{}: {}", self.source, self.title)
    }

    /// Where its lines stand in the source; they must stand there once.
    fn place(&self) -> Result<usize, String> {
        let lines = source(&self.source);
        let places: Vec<usize> = lines
            .windows(self.before.len())
            .enumerate()
            .filter(|(_, window)| {
                window
                    .iter()
                    .map(|line| line.trim())
                    .eq(self.before.iter().map(String::as_str))
            })
            .map(|(at, _)| at)
            .collect();
        match places[..] {
            [at] => Ok(at),
            _ => Err(format!(
                "{}: its lines stand in the source {} times\n",
                self.name(),
                places.len()
            )),
        }
    }

    /// The source with the check gone.
    fn mutated(&self) -> String {
        let at = self.place().unwrap();
        let mut lines = source(&self.source);
        lines.splice(at..at + self.before.len(), self.after.clone());
        lines.join("\n") + "\n"
    }
}

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn source(path: &str) -> Vec<String> {
    let text = fs::read_to_string(here().join(path)).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn entries() -> Vec<Entry> {
    let mut lists: Vec<PathBuf> = fs::read_dir(here().join("tests/mutants"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    lists.sort();
    lists.iter().flat_map(|list| read(list)).collect()
}

fn read(list: &Path) -> Vec<Entry> {
    let text = fs::read_to_string(list).unwrap();
    let mut lines = text.lines();
    let source = lines.next().unwrap().strip_prefix("# ").unwrap();
    let mut entries: Vec<Entry> = Vec::new();
    for line in lines {
        if let Some(title) = line.strip_prefix("@ ") {
            let (source, title) = (source.to_owned(), title.to_owned());
            let (before, after) = (Vec::new(), Vec::new());
            entries.push(Entry {
                source,
                title,
                before,
                after,
            });
            continue;
        }
        let entry = entries.last_mut().expect("a title first");
        let code = line.get(1..).unwrap_or_default().trim().to_owned();
        match line.chars().next() {
            Some('-') => entry.before.push(code),
            Some('+') => entry.after.push(code),
            Some(' ') => {
                entry.before.push(code.clone());
                entry.after.push(code);
            }
            _ => panic!("{}: {line:?}", list.display()),
        }
    }
    entries
}

/// Whether a line makes a refusal (and does not merely declare or document one).
fn refuses(line: &str) -> bool {
    let line = line.trim();
    let makes = ["Reason::", "Error::"].iter().any(|kind| {
        line.match_indices(kind).any(|(at, _)| {
            let variant = line[at + kind.len()..].chars().next();
            variant.is_some_and(char::is_uppercase)
        })
    });
    makes && !line.starts_with("//")
}

#[test]
fn the_lists_fit_the_source_and_no_refusal_is_missing_in_them() {
    let entries = entries();
    let mut wrong = String::new();
    for entry in &entries {
        if let Err(misfit) = entry.place() {
            wrong.push_str(&misfit);
        }
        let reason = ["kept: ", "equivalent: "]
            .iter()
            .any(|kind| entry.title.starts_with(kind));
        if entry.is_mutant() == reason {
            wrong.push_str(&format!(
                "{}: a change, or a reason for none\n",
                entry.name()
            ));
        }
    }
    for path in DECIDING {
        let lines = source(path);
        let mut listed = vec![false; lines.len()];
        for entry in entries.iter().filter(|entry| entry.source == *path) {
            if let Ok(at) = entry.place() {
                listed[at..at + entry.before.len()].fill(true);
            }
        }
        let code = lines
            .iter()
            .take_while(|line| line.trim() != "#[cfg(test)]");
        for (at, line) in code
            .enumerate()
            .filter(|(at, line)| refuses(line) && !listed[*at])
        {
            wrong.push_str(&format!(
                "{path}:{}: no mutant deletes this: {}\n",
                at + 1,
                line.trim()
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// How a mutant fared.
enum Fate {
    Caught,
    Missed,
    Unbuilt(String),
}

/// Builds and tests the crate in the copy of the workspace.
fn fate(copy: &Path, target: &Path) -> Fate {
    let mut command = Command::new(env!("CARGO"));
    command
        .args([
            "test",
            "--offline",
            "--quiet",
            "--package",
            "adyton-attest",
            "--features",
            "tdx",
            "--lib",
        ])
        .args(tests().iter().flat_map(|test| ["--test", test]))
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", target)
        .env("RUST_BACKTRACE", "0");
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        Fate::Missed
    } else if errors.contains("could not compile") {
        Fate::Unbuilt(errors)
    } else {
        Fate::Caught
    }
}

/// The test files that judge: not the long ones, whose rows of flipped bits and random bytes are about the whole.
fn tests() -> Vec<String> {
    let files = fs::read_dir(here().join("tests")).unwrap();
    let mut names: Vec<String> = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension() == Some(OsStr::new("rs")))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| {
            !name.starts_with("fuzz_")
                && !["mutants", "genuine", "genuine_tdx", "observe"].contains(&name.as_str())
        })
        .collect();
    names.sort();
    names
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if [OsStr::new("target"), OsStr::new(".git")].contains(&name.as_os_str()) {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &to.join(name));
        } else {
            fs::copy(entry.path(), to.join(name)).unwrap();
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a person names the mutants to run by the environment, in this one test"
)]
fn wanted(entry: &Entry) -> bool {
    let pattern = std::env::var("ADYTON_MUTANTS").unwrap_or_default();
    entry.name().contains(&pattern)
}

#[test]
#[ignore = "builds the crate once for each mutant: `just mutants`"]
fn every_mutant_is_caught() {
    let workspace = here().ancestors().nth(2).unwrap();
    let target = workspace.join("target");
    let copy = target.join("mutants");
    let _ = fs::remove_dir_all(&copy);
    copy_folder(workspace, &copy);
    assert!(
        matches!(fate(&copy, &target), Fate::Missed),
        "the tests are red without any mutant"
    );

    let (mut caught, mut bad) = (0, Vec::new());
    for entry in entries()
        .iter()
        .filter(|entry| entry.is_mutant() && wanted(entry))
    {
        let path = copy.join("crates/attest").join(&entry.source);
        fs::write(&path, entry.mutated()).unwrap();
        match fate(&copy, &target) {
            Fate::Caught => {
                caught += 1;
                eprintln!("caught  {}", entry.name());
            }
            Fate::Missed => {
                eprintln!("MISSED  {}", entry.name());
                bad.push(entry.name());
            }
            Fate::Unbuilt(errors) => {
                eprintln!("UNBUILT {}\n{errors}", entry.name());
                bad.push(entry.name());
            }
        }
        fs::copy(here().join(&entry.source), &path).unwrap();
    }
    let _ = fs::remove_dir_all(&copy);
    eprintln!("{caught} caught, {} not: {bad:#?}", bad.len());
    assert!(bad.is_empty());
    assert!(caught > 0, "no mutant has such a name");
}
