//! `adyton-storage check`: whether everything that a node keeps, or a backup has, is there and whole. The node must not run.
//!
//! Guarantees: what it finds is told by kind and file, so that a report may be shown to others. Nothing is changed, and nothing need be
//! writable: what a killed process left is repaired in memory, as the next start repairs it on disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::backup::{self, BackupError, named};
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
    pub(crate) fn fault(&mut self, path: PathBuf, what: &'static str) {
        self.faults.push((path, what, 1));
    }

    fn take(&mut self, path: &Path, faults: Faults) {
        let faults = faults.0.into_iter();
        self.faults
            .extend(faults.map(|(what, times)| (path.to_owned(), what, times)));
    }
}

/// Checks the directory of a node that does not run. May block for as long as all of it takes to read.
pub fn check(data: &Path) -> Result<Report, BackupError> {
    let (node_file, directory) = (data.join("node.redb"), data.join("databases"));
    backup::expect_node(data, &node_file)?;
    let mut report = Report::default();
    let listed = backup::held(data, &mut report)?;
    let (facts, faults) = checked(&node_file, crate::store::check_node::node(&node_file))?;
    report.bytes += bytes_of(&node_file)?;
    // Without the node's file, nothing is known about whose the others are.
    let node_is_readable = faults.0.is_empty();
    report.take(&node_file, faults);
    let mut kept: BTreeMap<&str, u64> = BTreeMap::new();
    for (hash, path) in checked(&directory, database_files(&directory))? {
        let bytes = bytes_of(&path)?;
        report.databases += 1;
        report.bytes += bytes;
        match facts.databases.get(&hash.to_string()) {
            Some(owner) => *kept.entry(owner).or_default() += bytes,
            None if facts.deleted.contains(&hash.to_string()) => {
                let notice = "a deletion did not end; the next start ends it";
                *report.notices.entry(notice).or_default() += 1;
                continue;
            }
            None if node_is_readable => {
                let notice = "a file belongs to no database; the next start moves it aside";
                *report.notices.entry(notice).or_default() += 1;
                // Nothing in it counts: it may be a creation that broke off half way.
                continue;
            }
            None => {}
        }
        let faults = checked(&path, crate::store::check::database(&path))?;
        report.take(&path, faults);
    }
    for hash in facts.databases.keys() {
        let path = hash.parse().map(|hash| file_in(&directory, hash));
        let path = path.unwrap_or_else(|_| directory.clone());
        if !path.try_exists().map_err(named(&path))? {
            report.fault(path, "a database has no file");
        } else if listed.as_ref().is_some_and(|listed| !listed.contains(hash)) {
            report.fault(path, "a database is not in the list of the backup's files");
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

fn bytes_of(path: &Path) -> Result<u64, BackupError> {
    Ok(std::fs::metadata(path).map_err(named(path))?.len())
}

/// What stands against a check is told with the file.
fn checked<T>(path: &Path, checked: Result<T, StoreError>) -> Result<T, BackupError> {
    match checked {
        Err(StoreError::Closed) => Err(BackupError::InUse),
        Err(StoreError::Io(error)) => Err(named(path)(error)),
        checked => Ok(checked?),
    }
}
