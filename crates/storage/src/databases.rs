//! The databases of all accounts: made, found, opened on demand, deleted. Open files are few; the least used are closed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use adyton_protocol::database::DatabaseHash;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::access::{Admission, Peer, Permit, Principal};
use crate::config::Limits;
use crate::registry::DatabaseRecord;
use crate::replicate::News;
use crate::store::database::DatabaseFile;
use crate::store::node::NodeStore;
use crate::store::pulse::Pulse;
use crate::store::{StoreError, blocking};

use adyton_couch::wire::{CouchError, ErrorKind};

/// A measured usage is good for this long: an account can overrun its limit by what it writes in that time.
const USAGE_MEMORY: Duration = Duration::from_secs(5);
/// How long an open waits for a file that is just being closed.
const CLOSING_TIME: Duration = Duration::from_secs(5);
/// Accounts whose usage is remembered at one time.
const MAX_REMEMBERED_USAGES: usize = 10_000;

/// Why something cannot be done with a database: a refusal to word, or a fault of ours.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error(transparent)]
    Refused(#[from] CouchError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What an account keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) databases: usize,
    pub(crate) bytes: u64,
    pub(crate) limit: u64,
}

impl Usage {
    pub(crate) fn is_exhausted(&self) -> bool {
        self.bytes >= self.limit
    }
}

/// All databases of the node.
pub(crate) struct Databases {
    node: NodeStore,
    directory: PathBuf,
    limits: Limits,
    news: News,
    slots: Mutex<HashMap<DatabaseHash, Arc<Slot>>>,
    open_files: AtomicUsize,
    /// Counts uses, to find the file that was not used for longest.
    uses: AtomicU64,
    /// Held while a database is compacted: one at a time.
    compacting: tokio::sync::Mutex<()>,
    /// Held while the set of databases changes.
    changing: tokio::sync::Mutex<()>,
    usages: Mutex<HashMap<String, (Instant, Usage)>>,
}

/// A database's place: its file when open, and the pulse that wakes its feeds, open or not.
struct Slot {
    file: tokio::sync::Mutex<Option<Arc<DatabaseFile>>>,
    pulse: watch::Sender<u64>,
    used: AtomicU64,
}

impl Databases {
    /// Takes over the directory, and removes files that no database owns (left by a creation that never finished).
    pub(crate) async fn open(
        node: NodeStore,
        directory: PathBuf,
        limits: Limits,
        news: News,
    ) -> Result<Self, StoreError> {
        let this = Self {
            node,
            directory,
            limits,
            news,
            slots: Mutex::default(),
            open_files: AtomicUsize::new(0),
            uses: AtomicU64::new(0),
            compacting: tokio::sync::Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            usages: Mutex::default(),
        };
        let directory = this.directory.clone();
        for (hash, path) in blocking(move || database_files(&directory)).await? {
            if this.node.database(hash.to_string()).await?.is_none() {
                std::fs::remove_file(path)?;
            }
        }
        Ok(this)
    }

    /// What `principal` may do to a database.
    pub(crate) async fn authorise(
        &self,
        principal: &Principal,
        hash: DatabaseHash,
    ) -> Result<Permit, DatabaseError> {
        let record = match principal {
            // Nothing is looked up for somebody without a credential.
            Principal::Anonymous => None,
            Principal::Public | Principal::User(_) | Principal::Peer(_) => {
                self.node.database(hash.to_string()).await?
            }
        };
        let (Principal::Peer(peer), Some(found)) = (principal, &record) else {
            return Ok(Permit::grant(principal, record)?);
        };
        let until = self.node.peer_until(peer.name.clone(), found.owner.clone());
        let principal = Principal::Peer(Peer {
            admission: match until.await?.is_some_and(|until| peer.now < until) {
                true => Admission::Granted,
                false => Admission::Refused,
            },
            ..peer.clone()
        });
        Ok(Permit::grant(&principal, record)?)
    }

    /// The open file of a database that the caller may read.
    pub(crate) async fn file(&self, permit: &Permit) -> Result<Arc<DatabaseFile>, DatabaseError> {
        let hash = hash_of(permit.record())?;
        self.open_file(hash).await
    }

    /// Forgets what a database need not remember, and gives unused bytes back, if nobody uses the file at that moment.
    pub(crate) async fn compact(&self, permit: &Permit) -> Result<(), DatabaseError> {
        let _one = self.compacting.lock().await;
        let hash = hash_of(permit.record())?;
        self.open_file(hash).await?.stem().await?;
        let slot = self.slot(hash);
        // Done to its end, whether somebody waits for it or not. Who opens the database meanwhile waits.
        blocking(move || {
            let mut held = slot.file.blocking_lock();
            let Some(open) = held.take() else {
                return Ok(());
            };
            let (file, done) = match Arc::try_unwrap(open) {
                Err(in_use) => (in_use, Ok(())),
                Ok(file) => {
                    let (file, done) = file.shrunk();
                    (Arc::new(file), done)
                }
            };
            *held = Some(file);
            done
        })
        .await?;
        self.usages().remove(&permit.record().owner);
        Ok(())
    }

    /// The pulse of a database that the caller may read: changes whenever there is something new.
    pub(crate) fn pulse(&self, permit: &Permit) -> Result<watch::Receiver<u64>, DatabaseError> {
        Ok(self.slot(hash_of(permit.record())?).pulse.subscribe())
    }

    /// Makes the database of `record` if it is not there, and gives it the record's permissions. Idempotent.
    pub(crate) async fn create(
        &self,
        record: DatabaseRecord,
        now: u64,
    ) -> Result<(), DatabaseError> {
        let _changing = self.changing.lock().await;
        let hash = hash_of(&record)?;
        if self.node.database(hash.to_string()).await?.is_none() {
            let existing = self.node.databases_of(record.owner.clone()).await?.len();
            if existing >= self.limits.databases_per_account {
                let reason = "The account has as many databases as it may.";
                return Err(CouchError::new(ErrorKind::InsufficientStorage, reason).into());
            }
        }
        self.make_file(hash, now).await?;
        self.node.put_database(record).await?;
        self.slot(hash).pulse.send_modify(|_| {});
        Ok(())
    }

    /// Gives an existing database other permissions. False when there is no such database.
    pub(crate) async fn update(&self, record: DatabaseRecord) -> Result<bool, DatabaseError> {
        let _changing = self.changing.lock().await;
        let hash = hash_of(&record)?;
        if self.node.database(hash.to_string()).await?.is_none() {
            return Ok(false);
        }
        self.node.put_database(record).await?;
        // Feeds look again at what they may read.
        self.slot(hash).pulse.send_modify(|_| {});
        Ok(true)
    }

    /// Makes the files of registered databases that lack one.
    pub(crate) async fn restore_files(
        &self,
        account: String,
        now: u64,
    ) -> Result<(), DatabaseError> {
        let _changing = self.changing.lock().await;
        for record in self.node.databases_of(account).await? {
            let hash = hash_of(&record)?;
            if !self.path(hash).exists() {
                self.make_file(hash, now).await?;
            }
        }
        Ok(())
    }

    /// Deletes a database with everything in it. False when there is no such database.
    pub(crate) async fn delete(
        &self,
        owner: &str,
        hash: DatabaseHash,
    ) -> Result<bool, DatabaseError> {
        let _changing = self.changing.lock().await;
        let record = self.node.database(hash.to_string()).await?;
        if record.is_none_or(|record| record.owner != owner) {
            return Ok(false);
        }
        // First it is not there any more, then its bytes go.
        self.node
            .remove_database(owner.to_owned(), hash.to_string())
            .await?;
        let slot = self.slots().remove(&hash);
        if let Some(slot) = slot {
            if slot.file.lock().await.take().is_some() {
                self.open_files.fetch_sub(1, Ordering::Relaxed);
            }
            slot.pulse.send_modify(|_| {});
        }
        let path = self.path(hash);
        blocking(move || match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        })
        .await?;
        self.usages().remove(owner);
        Ok(true)
    }

    /// The databases of an account.
    pub(crate) async fn of_account(
        &self,
        account: String,
    ) -> Result<Vec<DatabaseRecord>, StoreError> {
        self.node.databases_of(account).await
    }

    /// One database of an account.
    pub(crate) async fn find(
        &self,
        account: &str,
        hash: DatabaseHash,
    ) -> Result<Option<DatabaseRecord>, StoreError> {
        let record = self.node.database(hash.to_string()).await?;
        Ok(record.filter(|record| record.owner == account))
    }

    /// The open file of a database of the caller's own account.
    pub(crate) async fn own_file(
        &self,
        record: &DatabaseRecord,
    ) -> Result<Arc<DatabaseFile>, DatabaseError> {
        self.open_file(hash_of(record)?).await
    }

    /// What an account keeps, measured now.
    pub(crate) async fn usage(&self, account: &str) -> Result<Usage, StoreError> {
        let limit = self
            .node
            .account(account.to_owned())
            .await?
            .map_or(self.limits.account_bytes, |account| account.storage_limit);
        let records = self.node.databases_of(account.to_owned()).await?;
        let paths: Vec<PathBuf> = records
            .iter()
            .filter_map(|record| record.database_hash.parse().ok())
            .map(|hash| self.path(hash))
            .collect();
        let databases = paths.len();
        let bytes = blocking(move || {
            Ok(paths
                .iter()
                .filter_map(|path| std::fs::metadata(path).ok())
                .map(|m| m.len())
                .sum())
        })
        .await?;
        let usage = Usage {
            databases,
            bytes,
            limit,
        };
        let mut usages = self.usages();
        if usages.len() >= MAX_REMEMBERED_USAGES {
            usages.clear();
        }
        usages.insert(account.to_owned(), (Instant::now(), usage));
        Ok(usage)
    }

    /// Refuses a write to a database whose owner has no room left.
    pub(crate) async fn room(&self, permit: &Permit) -> Result<(), DatabaseError> {
        let owner = &permit.record().owner;
        let remembered = self
            .usages()
            .get(owner)
            .filter(|(measured, _)| measured.elapsed() < USAGE_MEMORY)
            .map(|(_, usage)| *usage);
        let usage = match remembered {
            Some(usage) => usage,
            None => self.usage(owner).await?,
        };
        if usage.is_exhausted() {
            let reason = "Storage limit reached";
            return Err(CouchError::new(ErrorKind::InsufficientStorage, reason).into());
        }
        Ok(())
    }

    async fn make_file(&self, hash: DatabaseHash, now: u64) -> Result<(), DatabaseError> {
        let slot = self.slot(hash);
        let mut file = slot.file.lock().await;
        if file.is_none() {
            let (path, pulse) = (self.path(hash), self.pulse_of(hash, &slot));
            let made = blocking(move || DatabaseFile::create(&path, now, pulse)).await?;
            *file = Some(Arc::new(made));
            drop(file);
            self.opened(hash).await;
        }
        Ok(())
    }

    async fn open_file(&self, hash: DatabaseHash) -> Result<Arc<DatabaseFile>, DatabaseError> {
        let slot = self.slot(hash);
        slot.used
            .store(self.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        let mut file = slot.file.lock().await;
        if let Some(open) = &*file {
            return Ok(Arc::clone(open));
        }
        if self.open_files.load(Ordering::Relaxed) >= 2 * self.limits.open_databases {
            let reason = "Too many databases are in use.";
            return Err(CouchError::new(ErrorKind::Unavailable, reason).into());
        }
        let deadline = Instant::now() + CLOSING_TIME;
        let open = loop {
            let (path, pulse) = (self.path(hash), self.pulse_of(hash, &slot));
            match blocking(move || DatabaseFile::open(&path, pulse)).await {
                Err(StoreError::Closed) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                opened => break Arc::new(opened?),
            }
        };
        *file = Some(Arc::clone(&open));
        drop(file);
        self.opened(hash).await;
        Ok(open)
    }

    /// Counts an opened file, and closes those that were not used for longest and that nobody holds.
    async fn opened(&self, just_opened: DatabaseHash) {
        let open = self.open_files.fetch_add(1, Ordering::Relaxed) + 1;
        if open <= self.limits.open_databases {
            return;
        }
        let mut candidates: Vec<Arc<Slot>> = self
            .slots()
            .iter()
            .filter(|(hash, _)| **hash != just_opened)
            .map(|(_, slot)| Arc::clone(slot))
            .collect();
        candidates.sort_by_key(|slot| slot.used.load(Ordering::Relaxed));
        let mut surplus = open - self.limits.open_databases;
        for slot in candidates {
            if surplus == 0 {
                return;
            }
            let Ok(mut file) = slot.file.try_lock() else {
                continue;
            };
            if file.as_ref().is_none_or(|file| Arc::strong_count(file) > 1) {
                continue;
            }
            if let Some(idle) = file.take() {
                // Closing writes; the slot stays locked until it is done.
                let closed = blocking(move || {
                    drop(idle);
                    Ok(())
                })
                .await;
                if let Err(error) = closed {
                    tracing::error!(%error, "closing a database failed");
                }
                self.open_files.fetch_sub(1, Ordering::Relaxed);
                surplus -= 1;
            }
        }
    }

    fn pulse_of(&self, hash: DatabaseHash, slot: &Slot) -> Pulse {
        Pulse {
            feeds: slot.pulse.clone(),
            hash,
            news: self.news.clone(),
        }
    }

    fn slot(&self, hash: DatabaseHash) -> Arc<Slot> {
        let mut slots = self.slots();
        let slot = slots.entry(hash).or_insert_with(|| {
            Arc::new(Slot {
                file: tokio::sync::Mutex::default(),
                pulse: watch::Sender::new(0),
                used: AtomicU64::new(0),
            })
        });
        Arc::clone(slot)
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<DatabaseHash, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn usages(&self) -> MutexGuard<'_, HashMap<String, (Instant, Usage)>> {
        self.usages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `<directory>/ab/v<ab…>.redb`: at most 256 directories, whatever the number of databases.
    fn path(&self, hash: DatabaseHash) -> PathBuf {
        let name = hash.to_string();
        let fan = name.get(1..3).unwrap_or_default();
        self.directory.join(fan).join(format!("{name}.redb"))
    }
}

fn hash_of(record: &DatabaseRecord) -> Result<DatabaseHash, StoreError> {
    record
        .database_hash
        .parse()
        .map_err(|_| StoreError::Corrupt("a database hash"))
}

fn database_files(directory: &Path) -> Result<Vec<(DatabaseHash, PathBuf)>, StoreError> {
    let mut found = Vec::new();
    for fan in std::fs::read_dir(directory)? {
        let fan = fan?.path();
        if !fan.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(fan)? {
            let path = file?.path();
            let hash = path
                .file_name()
                .and_then(|name| name.to_str())
                .and_then(|name| name.strip_suffix(".redb")?.parse().ok());
            found.extend(hash.map(|hash| (hash, path.clone())));
        }
    }
    Ok(found)
}
