//! `adyton-storage check`: whether everything that a node keeps is there and whole. The node must not run.
//!
//! Guarantees: what it finds is told by kind and file, so that a report may be shown to others. A file that a killed process left
//! is repaired by the engine, as at every start; nothing else is changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::backup::BackupError;
use crate::databases::{database_files, file_in};
use crate::store::StoreError;
use crate::store::check::Faults;

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Databases that were looked at.
    pub databases: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// File, what is wrong with it, and how often.
    pub faults: Vec<(PathBuf, &'static str, u64)>,
    /// What is no fault, but worth knowing, and how often.
    pub notices: BTreeMap<&'static str, u64>,
}

impl Report {
    fn take(&mut self, path: &Path, faults: Faults) {
        let faults = faults.0.into_iter();
        self.faults
            .extend(faults.map(|(what, times)| (path.to_owned(), what, times)));
    }
}

/// Checks the directory of a node that does not run. May block for as long as all of it takes to read.
pub fn check(data: &Path) -> Result<Report, BackupError> {
    let (node_file, directory) = (data.join("node.redb"), data.join("databases"));
    if !node_file.is_file() {
        return Err(BackupError::NoNode);
    }
    let mut report = Report::default();
    let (facts, faults) = in_use(crate::store::check_node::node(&node_file))?;
    report.bytes += std::fs::metadata(&node_file)?.len();
    // Without the node's file, nothing is known about whose the others are.
    let node_is_readable = faults.0.is_empty();
    report.take(&node_file, faults);
    let mut kept: BTreeMap<&str, u64> = BTreeMap::new();
    for (hash, path) in database_files(&directory)? {
        let bytes = std::fs::metadata(&path)?.len();
        report.databases += 1;
        report.bytes += bytes;
        match facts.databases.get(&hash.to_string()) {
            Some(owner) => *kept.entry(owner).or_default() += bytes,
            None if node_is_readable => {
                let notice = "a file belongs to no database; the next start moves it aside";
                *report.notices.entry(notice).or_default() += 1;
                // Nothing in it counts: it may be a creation that broke off half way.
                continue;
            }
            None => {}
        }
        let faults = in_use(crate::store::check::database(&path))?;
        report.take(&path, faults);
    }
    for hash in facts.databases.keys() {
        let path = hash.parse().map(|hash| file_in(&directory, hash));
        let path = path.unwrap_or_else(|_| directory.clone());
        if !path.is_file() {
            report.faults.push((path, "a database has no file", 1));
        }
    }
    for (owner, bytes) in kept {
        if facts.limits.get(owner).is_some_and(|limit| bytes > *limit) {
            let notice = "an account keeps more than it may";
            *report.notices.entry(notice).or_default() += 1;
        }
    }
    Ok(report)
}

fn in_use<T>(checked: Result<T, StoreError>) -> Result<T, BackupError> {
    match checked {
        Err(StoreError::Closed) => Err(BackupError::InUse),
        checked => Ok(checked?),
    }
}
