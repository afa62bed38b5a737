//! Backups: made beside a running node or of a directory at rest, and made a node's directory again.
//!
//! A backup is a directory like a node's own, with a list of its files and their hashes, `SHA256SUMS`, which is written last: a
//! backup without it is none. What it holds:
//!
//! 1. Every database that the node had when it began, each as it was at one moment after that: whatever was acknowledged before
//!    is in it.
//! 2. Permissions, accounts and DID documents as they are when the databases are copied. So a permission is never older than what
//!    it protects. A database that was deleted meanwhile is not in it; nor one that was made meanwhile.
//! 3. No token, and no key that makes tokens: after a restore everybody logs in anew, and what was revoked stays revoked.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use adyton_couch::wire::ErrorKind;
use adyton_protocol::database::DatabaseHash;
use sha2::{Digest, Sha256};

use crate::check::Report;
use crate::clock::Clock;
use crate::config::Limits;
use crate::databases::{BackupUnderWay, DatabaseError, Databases, file_in};
use crate::private_files::{make_directory, new_file};
use crate::replicate::News;
use crate::store::node::NodeStore;
use crate::store::{StoreError, blocking};

/// The list of a backup's files, in the form of `sha256sum`.
const SUMS: &str = "SHA256SUMS";
const NODE_FILE: &str = "node.redb";
const DATABASES: &str = "databases";
/// The node's file until it is whole: no node starts with it.
const UNFINISHED_NODE_FILE: &str = "node.redb.unfinished";
/// Stands in a directory from before the first file of a restore until after the last one.
const RESTORING: &str = "RESTORE-UNFINISHED";
const WRONG_LIST: &str = "the list of files is wrong";
/// Bytes of a line of the list.
const MAX_LINE_BYTES: u64 = 512;
/// Bytes that are hashed or copied at a time.
const PIECE_BYTES: usize = 1 << 20;
/// How often a database is tried that cannot be opened because too many are open.
const BUSY_TRIES: u32 = 600;
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// What a backup or a restore did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Databases.
    pub databases: u64,
    /// Bytes of all files.
    pub bytes: u64,
}

impl std::fmt::Display for Copied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} databases, {} bytes", self.databases, self.bytes)
    }
}

/// No backup was made, or none restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// Where it should go is something already.
    #[error("the target is not an empty directory")]
    TargetNotEmpty,
    /// A restore into the directory did not end.
    #[error("a restore into this directory did not end: remove it, and restore again")]
    HalfRestored,
    /// There is nothing to back up.
    #[error("there is no storage node's data in this directory")]
    NoNode,
    /// What should be backed up is a backup: opening it would change it, and no restore would take it any more.
    #[error("this is a backup: copy it as it is. Where a node runs in it since, remove SHA256SUMS")]
    IsBackup,
    /// The databases are not this node's to copy.
    #[error(
        "the databases are in a CouchDB, which has its own ways; of this node's own file a backup is made while it does not run"
    )]
    InCouchDb,
    /// Another process has the data.
    #[error("the data is in use: of a running node, a backup is made with SIGUSR1")]
    InUse,
    /// The node is going down.
    #[error("the node is going down")]
    Stopped,
    /// Another backup is being made.
    #[error("another backup is under way")]
    UnderWay,
    /// What should be restored is no whole backup.
    #[error("this is no backup that was finished: it has no list of its files")]
    Unfinished,
    /// The list of files is not one that a backup has.
    #[error("the list of files is wrong in line {0}")]
    List(u64),
    /// A file is not what it was.
    #[error("a file is not what it was when the backup was made: line {0} of the list")]
    Changed(u64),
    /// Too many databases were in use for too long.
    #[error("too many databases are in use")]
    Busy,
    /// The stored data cannot be read, or not written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file or a directory cannot be read, or not written.
    #[error("{path}: {1}", path = .0.display())]
    File(PathBuf, #[source] io::Error),
    /// The file system failed.
    #[error("the file system failed: {0}")]
    Io(#[from] io::Error),
}

/// Which one it was.
pub(crate) fn named(path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |error| BackupError::File(path, error)
}

/// Backs up a directory whose node does not run.
pub async fn back_up(data: &Path, target: &Path) -> Result<Copied, BackupError> {
    let node_file = data.join(NODE_FILE);
    expect_node(data, &node_file)?;
    let sums = data.join(SUMS);
    if sums.try_exists().map_err(named(&sums))? {
        return Err(BackupError::IsBackup);
    }
    let opened = node_file.clone();
    let node = match blocking(move || NodeStore::open(&opened)).await {
        Err(StoreError::Closed) => return Err(BackupError::InUse),
        Err(StoreError::Io(error)) => return Err(named(&node_file)(error)),
        opened => opened?,
    };
    let databases = Databases::new(
        node.clone(),
        data.join(DATABASES),
        Limits::default(),
        (Clock::system(), News::default()),
    );
    let copied = make(&databases, target).await;
    let closed = node.closed();
    drop((node, databases));
    closed.await;
    copied
}

/// Makes a backup while everything goes on.
pub(crate) async fn make(databases: &Databases, target: &Path) -> Result<Copied, BackupError> {
    let backup = databases.begin_backup().ok_or(BackupError::UnderWay)?;
    let root = target.to_owned();
    blocking(move || Ok(empty_directory(&root))).await??;
    let mut copies = BTreeSet::new();
    for hash in backup.databases().await? {
        let parsed: DatabaseHash = hash
            .parse()
            .map_err(|_| StoreError::Corrupt("a database hash"))?;
        if copy(&backup, parsed, target).await? {
            copies.insert(hash);
        }
    }
    make_directory(&target.join(DATABASES))?;
    // From here on, nothing that happens to the set of databases is in the backup.
    let (view, standing) = backup.end().await?;
    for hash in copies.difference(&standing) {
        std::fs::remove_file(copied_file(target, hash)?)?;
    }
    copies.retain(|hash| standing.contains(hash));
    let root = target.to_owned();
    let finished = blocking(move || {
        Ok((|| {
            let unfinished = root.join(UNFINISHED_NODE_FILE);
            view.copy_to(&unfinished, &copies)?;
            std::fs::rename(unfinished, root.join(NODE_FILE))?;
            finish(&root, &copies)
        })())
    });
    finished.await?
}

/// Copies one database. False when it is gone.
async fn copy(
    backup: &BackupUnderWay<'_>,
    hash: DatabaseHash,
    target: &Path,
) -> Result<bool, BackupError> {
    let mut tries = 0;
    let file = loop {
        match backup.file(hash).await {
            Ok(Some(file)) => break file,
            Ok(None) => return Ok(false),
            Err(DatabaseError::Refused(refusal)) if refusal.kind == ErrorKind::Unavailable => {
                tries += 1;
                if tries == BUSY_TRIES {
                    return Err(BackupError::Busy);
                }
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            Err(DatabaseError::Refused(_)) => return Err(BackupError::Busy),
            Err(DatabaseError::Store(error)) => return Err(error.into()),
        }
    };
    let path = copied_file(target, &hash.to_string())?;
    blocking(move || {
        if let Some(parent) = path.parent() {
            make_directory(parent)?;
        }
        file.copy_to(&path)
    })
    .await?;
    Ok(true)
}

fn copied_file(target: &Path, hash: &str) -> Result<PathBuf, StoreError> {
    let hash = hash
        .parse()
        .map_err(|_| StoreError::Corrupt("a database hash"))?;
    Ok(file_in(&target.join(DATABASES), hash))
}

/// Writes the list, durably, and last.
fn finish(target: &Path, copies: &BTreeSet<String>) -> Result<Copied, BackupError> {
    let mut list = Vec::new();
    let mut copied = Copied {
        databases: 0,
        bytes: 0,
    };
    let mut directories = BTreeSet::from([target.to_owned(), target.join(DATABASES)]);
    let files = copies.iter().map(|hash| copied_file(target, hash));
    for path in files.chain([Ok(target.join(NODE_FILE))]) {
        let path = path?;
        directories.extend(path.parent().map(Path::to_owned));
        let (sum, bytes) = hashed(&mut File::open(&path)?, &mut io::sink())?;
        let name = path.strip_prefix(target).unwrap_or(&path);
        writeln!(list, "{}  {}", hex::encode(sum), name.display())?;
        copied.bytes += bytes;
    }
    copied.databases = copies.len() as u64;
    for directory in directories {
        File::open(directory)?.sync_all()?;
    }
    let unfinished = target.join("SHA256SUMS.unfinished");
    let mut file = new_file(&unfinished)?;
    file.write_all(&list)?;
    file.sync_all()?;
    std::fs::rename(unfinished, target.join(SUMS))?;
    File::open(target)?.sync_all()?;
    Ok(copied)
}

/// Whether a restore into this directory began and did not end.
pub(crate) fn is_half_restored(data: &Path) -> io::Result<bool> {
    data.join(RESTORING).try_exists()
}

/// Whether there is a node's data in the directory. What may not be looked at is not the same as nothing.
pub(crate) fn expect_node(data: &Path, node_file: &Path) -> Result<(), BackupError> {
    if is_half_restored(data).map_err(named(data))? {
        return Err(BackupError::HalfRestored);
    }
    match node_file.try_exists().map_err(named(node_file))? {
        true => Ok(()),
        false => Err(BackupError::NoNode),
    }
}

/// The databases on the list of a backup, whose files are held against it, as a restore holds them. None: there is no list.
pub(crate) fn held(
    source: &Path,
    report: &mut Report,
) -> Result<Option<BTreeSet<String>>, BackupError> {
    let Some(list) = List::open(source)? else {
        return Ok(None);
    };
    let (mut databases, mut has_node) = (BTreeSet::new(), false);
    for line in list {
        let (sum, listed) = match line {
            Ok((_, sum, listed)) => (sum, listed),
            Err(BackupError::List(_)) => {
                report.fault(source.join(SUMS), WRONG_LIST);
                break;
            }
            Err(error) => return Err(error),
        };
        let path = listed.path(source);
        let is_new = match listed {
            Listed::Node => !std::mem::replace(&mut has_node, true),
            Listed::Database(hash) => databases.insert(hash.to_string()),
        };
        if !is_new {
            report.fault(source.join(SUMS), WRONG_LIST);
        }
        let found = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                report.fault(path, "the backup lacks a file");
                continue;
            }
            opened => hashed(&mut opened.map_err(named(&path))?, &mut io::sink()),
        };
        if found.map_err(named(&path))?.0 != sum {
            report.fault(path, "is not what it was when the backup was made");
        }
    }
    if !has_node {
        report.fault(source.join(SUMS), "the node's file is not on the list");
    }
    Ok(Some(databases))
}

/// Makes a node's directory of a backup, after every file was found to be what it was. A mark is there before the first file, and goes
/// after the last one, the node's own: until then, no node starts in the directory.
pub fn restore(source: &Path, data: &Path) -> Result<Copied, BackupError> {
    let list = List::open(source)?.ok_or(BackupError::Unfinished)?;
    empty_directory(data)?;
    let mark = data.join(RESTORING);
    new_file(&mark)?.sync_all()?;
    File::open(data)?.sync_all()?;
    let mut copied = Copied {
        databases: 0,
        bytes: 0,
    };
    let mut node_file = None;
    for line in list {
        let (number, sum, listed) = line?;
        let (from, to) = (listed.path(source), listed.path(data));
        let to = match listed {
            Listed::Database(_) => {
                copied.databases += 1;
                to
            }
            Listed::Node if node_file.is_some() => return Err(BackupError::List(number)),
            Listed::Node => {
                let to = data.join(UNFINISHED_NODE_FILE);
                node_file = Some(to.clone());
                to
            }
        };
        if let Some(parent) = to.parent() {
            make_directory(parent)?;
        }
        let mut original = File::open(&from).map_err(named(&from))?;
        let mut file = new_file(&to)?;
        let (found, bytes) = hashed(&mut original, &mut file)?;
        if found != sum {
            return Err(BackupError::Changed(number));
        }
        file.sync_all()?;
        if let Some(parent) = to.parent() {
            File::open(parent)?.sync_all()?;
        }
        copied.bytes += bytes;
    }
    let node_file = node_file.ok_or(BackupError::Unfinished)?;
    make_directory(&data.join(DATABASES))?;
    File::open(data.join(DATABASES))?.sync_all()?;
    std::fs::rename(node_file, data.join(NODE_FILE))?;
    File::open(data)?.sync_all()?;
    std::fs::remove_file(mark)?;
    File::open(data)?.sync_all()?;
    Ok(copied)
}

/// The list of a backup, line by line: the line's number, the hash, the file.
struct List {
    lines: BufReader<File>,
    number: u64,
}

impl List {
    /// None: there is none.
    fn open(backup: &Path) -> Result<Option<Self>, BackupError> {
        let path = backup.join(SUMS);
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => Ok(Some(Self {
                lines: BufReader::new(opened.map_err(named(&path))?),
                number: 0,
            })),
        }
    }
}

impl Iterator for List {
    type Item = Result<(u64, [u8; 32], Listed), BackupError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.number += 1;
        let mut line = Vec::new();
        let mut lines = self.lines.by_ref().take(MAX_LINE_BYTES);
        match lines.read_until(b'\n', &mut line) {
            Err(error) => return Some(Err(error.into())),
            Ok(0) => return None,
            Ok(_) => {}
        }
        let line = std::str::from_utf8(&line).ok().and_then(Listed::parse);
        let line = line.map(|(sum, listed)| (self.number, sum, listed));
        Some(line.ok_or(BackupError::List(self.number)))
    }
}

/// A line of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listed {
    Node,
    Database(DatabaseHash),
}

impl Listed {
    /// Where the file is, in a backup or in a node's directory.
    fn path(self, directory: &Path) -> PathBuf {
        match self {
            Self::Node => directory.join(NODE_FILE),
            Self::Database(hash) => file_in(&directory.join(DATABASES), hash),
        }
    }

    /// `<64 hex>  <path>`, where the path is the one that such a file has and no other.
    fn parse(line: &str) -> Option<([u8; 32], Self)> {
        let (sum, path) = line.strip_suffix('\n')?.split_once("  ")?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(sum, &mut bytes).ok()?;
        if path == NODE_FILE {
            return Some((bytes, Self::Node));
        }
        let name = path.rsplit('/').next()?.strip_suffix(".redb")?;
        let hash: DatabaseHash = name.parse().ok()?;
        let own = file_in(Path::new(DATABASES), hash);
        (own.as_os_str() == path).then_some((bytes, Self::Database(hash)))
    }
}

/// Hashes what is read, and passes it on.
fn hashed(from: &mut impl Read, to: &mut impl Write) -> io::Result<([u8; 32], u64)> {
    let (mut hasher, mut total) = (Sha256::new(), 0);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let length = from.read(&mut piece)?;
        let read = piece.get(..length).unwrap_or_default();
        if read.is_empty() {
            return Ok((hasher.finalize().into(), total));
        }
        hasher.update(read);
        to.write_all(read)?;
        total += read.len() as u64;
    }
}

/// Makes the directory, or takes it if it is empty.
fn empty_directory(path: &Path) -> Result<(), BackupError> {
    make_directory(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => BackupError::TargetNotEmpty,
        _ => named(path)(error),
    })?;
    match std::fs::read_dir(path).map_err(named(path))?.next() {
        None => Ok(()),
        Some(_) => Err(BackupError::TargetNotEmpty),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_a_file_in_its_own_place_and_nothing_else() {
        let sum = "ab".repeat(32);
        let hash = format!("v{}", "cd".repeat(32));
        let parse = |path: &str| Listed::parse(&format!("{sum}  {path}\n"));
        assert_eq!(parse("node.redb"), Some(([0xab; 32], Listed::Node)));
        let database = Listed::Database(hash.parse().unwrap());
        let own = format!("databases/cd/{hash}.redb");
        assert_eq!(parse(&own), Some(([0xab; 32], database)));
        for wrong in [
            "".to_owned(),
            "../node.redb".to_owned(),
            "/node.redb".to_owned(),
            "databases/cd/x.redb".to_owned(),
            format!("databases/ab/{hash}.redb"),
            format!("databases/cd/../cd/{hash}.redb"),
            format!("databases//cd/{hash}.redb"),
            format!("/databases/cd/{hash}.redb"),
        ] {
            assert_eq!(parse(&wrong), None, "{wrong}");
        }
        assert_eq!(Listed::parse(&format!("{sum}  node.redb")), None);
        assert_eq!(Listed::parse(&format!("{} node.redb\n", &sum[1..])), None);
    }
}
