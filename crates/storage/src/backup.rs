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
    /// There is nothing to back up.
    #[error("there is no storage node's data in this directory")]
    NoNode,
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
    /// The file system failed.
    #[error("the file system failed: {0}")]
    Io(#[from] io::Error),
}

/// Backs up a directory whose node does not run.
pub async fn back_up(data: &Path, target: &Path) -> Result<Copied, BackupError> {
    let node_file = data.join(NODE_FILE);
    if !node_file.is_file() {
        return Err(BackupError::NoNode);
    }
    let node = match blocking(move || NodeStore::open(&node_file)).await {
        Err(StoreError::Closed) => return Err(BackupError::InUse),
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
            view.copy_to(&root.join(NODE_FILE), &copies)?;
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

/// Makes a node's directory of a backup, after every file was found to be what it was. The node's own file comes last: until it is
/// there, no node starts in the directory.
pub fn restore(source: &Path, data: &Path) -> Result<Copied, BackupError> {
    let list = match File::open(source.join(SUMS)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(BackupError::Unfinished);
        }
        opened => opened?,
    };
    empty_directory(data)?;
    let mut copied = Copied {
        databases: 0,
        bytes: 0,
    };
    let mut node_file = None;
    let mut list = BufReader::new(list);
    for number in 1.. {
        let mut line = String::new();
        if list.by_ref().take(MAX_LINE_BYTES).read_line(&mut line)? == 0 {
            break;
        }
        let (sum, listed) = Listed::parse(&line).ok_or(BackupError::List(number))?;
        let (from, to) = match listed {
            Listed::Database(hash) => {
                copied.databases += 1;
                let from = file_in(&source.join(DATABASES), hash);
                (from, file_in(&data.join(DATABASES), hash))
            }
            Listed::Node if node_file.is_some() => return Err(BackupError::List(number)),
            Listed::Node => {
                let to = data.join("node.redb.unfinished");
                node_file = Some(to.clone());
                (source.join(NODE_FILE), to)
            }
        };
        if let Some(parent) = to.parent() {
            make_directory(parent)?;
        }
        let mut file = new_file(&to)?;
        let (found, bytes) = hashed(&mut File::open(from)?, &mut file)?;
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
    Ok(copied)
}

/// A line of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listed {
    Node,
    Database(DatabaseHash),
}

impl Listed {
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
        _ => error.into(),
    })?;
    match std::fs::read_dir(path)?.next() {
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
