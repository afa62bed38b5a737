//! The databases of all accounts: made, found, opened on demand, deleted. Open files are few; the least used are closed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use adyton_protocol::database::DatabaseHash;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::access::{Permit, Principal};
use crate::account_turns::AccountTurns;
use crate::clock::Clock;
use crate::config::Limits;
use crate::keeper::judged;
use crate::private_files::make_directory;
use crate::quota::{NoRoom, Quotas, Room, Usage};
use crate::registry::DatabaseRecord;
use crate::replicate::News;
use crate::store::database::DatabaseFile;
use crate::store::node::NodeStore;
use crate::store::pulse::Pulse;
use crate::store::{StoreError, blocking};
use crate::total::{NodeFull, Total};

use adyton_couch::wire::{CouchError, ErrorKind};

mod backup;

pub(crate) use backup::BackupUnderWay;
use backup::Standing;

/// About what an empty database takes on disk.
const NEW_FILE_BYTES: u64 = 64 << 10;
/// Below the databases: files that the node's file does not know.
const UNKNOWN: &str = "unknown";
/// How long an open waits for a file that is just being closed.
const CLOSING_TIME: Duration = Duration::from_secs(5);

/// Why something cannot be done with a database: a refusal to word, or a fault of ours.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error(transparent)]
    Refused(#[from] CouchError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All databases of the node.
pub(crate) struct Databases {
    node: NodeStore,
    clock: Clock,
    directory: PathBuf,
    limits: Limits,
    news: News,
    slots: Mutex<HashMap<DatabaseHash, Arc<Slot>>>,
    open_files: Arc<AtomicUsize>,
    /// Counts uses, to find the file that was not used for longest.
    uses: AtomicU64,
    /// While a backup is made: what of it still stands.
    standing: Arc<Mutex<Standing>>,
    /// Held while a database is compacted: one at a time.
    compacting: Arc<tokio::sync::Mutex<()>>,
    turns: AccountTurns,
    quotas: Quotas,
    total: Total,
    /// Counts the changes of the registry: a permit that is older than the last one is looked at again.
    changes: AtomicU64,
}

/// A database's place: its file when open, and the pulse that wakes its feeds, open or not.
struct Slot {
    file: Arc<tokio::sync::Mutex<Option<Open>>>,
    pulse: watch::Sender<u64>,
    used: AtomicU64,
    compacting: AtomicBool,
}

impl Slot {
    /// Refuses to wait for a compaction: nobody knows how long it takes.
    fn is_free(&self) -> Result<(), CouchError> {
        if self.compacting.load(Ordering::Relaxed) {
            let reason = "The database is being compacted.";
            return Err(CouchError::new(ErrorKind::Unavailable, reason));
        }
        Ok(())
    }
}

/// An open file, counted as long as it is one.
struct Open {
    file: Arc<DatabaseFile>,
    _count: Counted,
}

struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn one_of(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Marks a place whose file is being compacted.
struct Compacting(Arc<Slot>);

impl Compacting {
    fn begin(slot: Arc<Slot>) -> Self {
        slot.compacting.store(true, Ordering::Relaxed);
        Self(slot)
    }
}

impl Drop for Compacting {
    fn drop(&mut self) {
        self.0.compacting.store(false, Ordering::Relaxed);
    }
}

impl Databases {
    /// The databases in a directory, which is left as it is.
    pub(crate) fn new(
        node: NodeStore,
        directory: PathBuf,
        limits: Limits,
        (clock, news): (Clock, News),
    ) -> Self {
        // The node's own file is beside them.
        let whole = directory.parent().unwrap_or(&directory).to_owned();
        let total = Total::new(whole, limits.node_bytes);
        Self {
            node,
            clock,
            directory,
            limits,
            news,
            slots: Mutex::default(),
            open_files: Arc::default(),
            uses: AtomicU64::new(0),
            standing: Arc::default(),
            compacting: Arc::default(),
            turns: AccountTurns::default(),
            quotas: Quotas::default(),
            total,
            changes: AtomicU64::new(1),
        }
    }

    /// Takes over the directory. Files that no database owns are moved aside: a creation or a deletion did not end, or the node's
    /// file is older than they are, and they are all that there is of what it lacks.
    pub(crate) async fn open(
        node: NodeStore,
        directory: PathBuf,
        limits: Limits,
        (clock, news): (Clock, News),
    ) -> Result<Self, StoreError> {
        let this = Self::new(node, directory, limits, (clock, news));
        let directory = this.directory.clone();
        let found = blocking(move || database_files(&directory)).await?;
        let unknown = this.node.without_owner(found).await?;
        if !unknown.is_empty() {
            let files = unknown.len();
            let aside = this.directory.join(UNKNOWN);
            blocking(move || move_aside(&unknown, &aside)).await?;
            tracing::warn!(
                files,
                "databases that node.redb does not know were moved to databases/unknown"
            );
        }
        Ok(this)
    }

    /// What `principal` may do to a database at this moment.
    pub(crate) async fn authorise(
        &self,
        principal: &Principal,
        hash: DatabaseHash,
    ) -> Result<Permit, DatabaseError> {
        // First the count, then the record: what changes in between is noticed when the file is opened.
        let as_of = self.changes.load(Ordering::SeqCst);
        let record = match principal {
            // Nothing is looked up for somebody without a credential.
            Principal::Anonymous => None,
            Principal::Public | Principal::User(_) | Principal::Peer(_) => {
                self.node.known_database(hash.to_string()).await?
            }
        };
        let permit = judged(&self.node, principal, record, &self.clock).await?;
        Ok(permit.granted_at(as_of))
    }

    /// Refuses a permit that would not be given at this moment: its credential ended, or the database or its permissions changed.
    /// Whoever may read all the same is told to ask again: what the permit allows may be something else by now.
    async fn prove(&self, permit: &Permit) -> Result<(), DatabaseError> {
        let again = self.renewed(permit).await?;
        if again.is_some_and(|again| again.record() != permit.record()) {
            let reason = "The database changed at this moment. Ask again.";
            return Err(CouchError::new(ErrorKind::Unavailable, reason).into());
        }
        Ok(())
    }

    /// The permit as it is given at this moment; none where nothing changed since it was.
    pub(crate) async fn renewed(&self, permit: &Permit) -> Result<Option<Permit>, DatabaseError> {
        let changed = permit.registry() != self.changes.load(Ordering::SeqCst);
        if !changed && self.clock.unix_seconds() < permit.expires() {
            return Ok(None);
        }
        let again = self.authorise(permit.principal(), hash_of(permit.record())?);
        again.await.map(Some)
    }

    /// The open file of a database that the caller may read at this moment: of the one that the permit is for, and not of one that
    /// was made anew under its name meanwhile.
    pub(crate) async fn file(&self, permit: &Permit) -> Result<Arc<DatabaseFile>, DatabaseError> {
        let hash = hash_of(permit.record())?;
        let opened = self.open_file(hash).await;
        // A database loses its record before its file, so a file that followed another was opened after the count changed.
        self.prove(permit).await?;
        opened
    }

    /// Forgets what a database need not remember, and gives unused bytes back, if nobody uses the file at that moment.
    pub(crate) async fn compact(&self, permit: &Permit) -> Result<(), DatabaseError> {
        let one = Arc::clone(&self.compacting).lock_owned().await;
        let hash = hash_of(permit.record())?;
        self.file(permit).await?.stem().await?;
        let compacting = Compacting::begin(self.slot(hash));
        // Done to its end, whether somebody waits for it or not. Who opens the database meanwhile waits.
        blocking(move || {
            let _one = one;
            let mut held = compacting.0.file.blocking_lock();
            let Some(Open { file, _count }) = held.take() else {
                return Ok(());
            };
            let (file, done) = match Arc::try_unwrap(file) {
                Err(in_use) => (in_use, Ok(())),
                Ok(file) => {
                    let (file, done) = file.shrunk();
                    (Arc::new(file), done)
                }
            };
            *held = Some(Open { file, _count });
            done
        })
        .await?;
        self.quotas.forget(&permit.record().owner);
        Ok(())
    }

    /// The pulse of a database that the caller may read: changes whenever there is something new.
    pub(crate) fn pulse(&self, permit: &Permit) -> Result<watch::Receiver<u64>, DatabaseError> {
        Ok(self.slot(hash_of(permit.record())?).pulse.subscribe())
    }

    /// Makes the database of `record` if it is not there, and gives it the record's permissions. Idempotent. A new database has
    /// nothing of what its file may have held before.
    pub(crate) async fn create(
        &self,
        record: DatabaseRecord,
        now: u64,
    ) -> Result<(), DatabaseError> {
        let hash = hash_of(&record)?;
        let _changing = self.turns.of(&record.owner).await;
        // Before there is a file: no permit for the record of an earlier life of the database is as young as this one.
        self.changes.fetch_add(1, Ordering::SeqCst);
        if self.node.database(hash.to_string()).await?.is_none() {
            let existing = self.node.databases_of(record.owner.clone()).await?.len();
            if existing >= self.limits.databases_per_account {
                let reason = "The account has as many databases as it may.";
                return Err(CouchError::new(ErrorKind::InsufficientStorage, reason).into());
            }
            self.room_on_node(NEW_FILE_BYTES).await?;
            self.slot(hash).is_free()?;
            self.remove_file(hash).await?;
        }
        self.make_file(hash, now).await?;
        self.node.put_database(record).await?;
        self.slot(hash).pulse.send_modify(|_| {});
        Ok(())
    }

    /// Gives an existing database other permissions. False when there is no such database.
    pub(crate) async fn update(&self, record: DatabaseRecord) -> Result<bool, DatabaseError> {
        let hash = hash_of(&record)?;
        let _changing = self.turns.of(&record.owner).await;
        if self.node.database(hash.to_string()).await?.is_none() {
            return Ok(false);
        }
        // Before: a caller who hangs up in between must not leave it out.
        self.changes.fetch_add(1, Ordering::SeqCst);
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
        let _changing = self.turns.of(&account).await;
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
        let _changing = self.turns.of(owner).await;
        let record = self.node.database(hash.to_string()).await?;
        if record.is_none_or(|record| record.owner != owner) {
            return Ok(false);
        }
        self.slot(hash).is_free()?;
        self.changes.fetch_add(1, Ordering::SeqCst);
        // First it is not there any more, then its bytes go.
        let standing = Arc::clone(&self.standing);
        let note = move |hash: &str| Standing::deleted(&standing, hash);
        self.node
            .remove_database(owner.to_owned(), hash.to_string(), note)
            .await?;
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.remove_file(hash).await?;
        self.forget(hash);
        self.quotas.forget(owner);
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
        let measuring = self.quotas.measuring(account);
        let usage = self.measure(account).await?;
        self.quotas.measured(account, measuring, usage);
        Ok(usage)
    }

    async fn measure(&self, account: &str) -> Result<Usage, StoreError> {
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
        Ok(Usage {
            databases,
            bytes,
            limit,
        })
    }

    /// Room for so many bytes in the account of a database's owner. To be kept until they are written.
    pub(crate) async fn room(&self, permit: &Permit, bytes: u64) -> Result<Room, DatabaseError> {
        let full = || {
            let reason = "Storage limit reached";
            CouchError::new(ErrorKind::InsufficientStorage, reason)
        };
        let owner = &permit.record().owner;
        self.room_on_node(bytes).await?;
        if let Some(room) = self.quotas.take(owner, bytes) {
            return Ok(room);
        }
        if self.quotas.is_refused(owner, bytes) {
            return Err(full().into());
        }
        let measuring = self.quotas.measuring(owner);
        let usage = self.measure(owner).await?;
        let taken = self.quotas.take_measured(owner, bytes, measuring, usage);
        Ok(taken.map_err(|NoRoom| full())?)
    }

    /// Room for so many bytes, whoever writes them.
    async fn room_on_node(&self, bytes: u64) -> Result<(), DatabaseError> {
        let taken = self.total.take(bytes).await?;
        let reason = "The node keeps as much as it may.";
        Ok(taken.map_err(|NodeFull| CouchError::new(ErrorKind::InsufficientStorage, reason))?)
    }

    async fn make_file(&self, hash: DatabaseHash, now: u64) -> Result<(), DatabaseError> {
        let slot = self.slot(hash);
        let mut file = slot.file.lock().await;
        if file.is_none() {
            let (path, pulse) = (self.path(hash), self.pulse_of(hash, &slot));
            let made = blocking(move || DatabaseFile::create(&path, now, pulse)).await?;
            *file = Some(self.counted(made));
            drop(file);
            self.close_surplus(hash).await;
        }
        Ok(())
    }

    /// Removes the file of a database that is not registered. Nobody opens it meanwhile, and its feeds look again.
    async fn remove_file(&self, hash: DatabaseHash) -> Result<(), DatabaseError> {
        let slot = self.slot(hash);
        let mut held = Arc::clone(&slot.file).lock_owned().await;
        let path = self.path(hash);
        blocking(move || {
            drop(held.take());
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
                _ => Ok(()),
            }
        })
        .await?;
        slot.pulse.send_modify(|_| {});
        Ok(())
    }

    /// Forgets the place of a database that is gone, unless somebody still has to do with it.
    fn forget(&self, hash: DatabaseHash) {
        let mut slots = self.slots();
        if slots
            .get(&hash)
            .is_some_and(|slot| Arc::strong_count(slot) == 1)
        {
            slots.remove(&hash);
        }
    }

    fn counted(&self, file: DatabaseFile) -> Open {
        Open {
            file: Arc::new(file),
            _count: Counted::one_of(&self.open_files),
        }
    }

    async fn open_file(&self, hash: DatabaseHash) -> Result<Arc<DatabaseFile>, DatabaseError> {
        let slot = self.slot(hash);
        slot.used
            .store(self.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        let mut file = slot.file.lock().await;
        if let Some(open) = &*file {
            return Ok(Arc::clone(&open.file));
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
                opened => break self.counted(opened?),
            }
        };
        let opened = Arc::clone(&open.file);
        *file = Some(open);
        drop(file);
        self.close_surplus(hash).await;
        Ok(opened)
    }

    /// Closes files that were not used for longest and that nobody holds, when there are too many.
    async fn close_surplus(&self, just_opened: DatabaseHash) {
        let open = self.open_files.load(Ordering::Relaxed);
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
            let Ok(mut held) = Arc::clone(&slot.file).try_lock_owned() else {
                continue;
            };
            if held
                .as_ref()
                .is_none_or(|open| Arc::strong_count(&open.file) > 1)
            {
                continue;
            }
            // Closing writes; the slot stays locked, and the file counted, until it is done, whether somebody waits or not.
            let closed = blocking(move || {
                drop(held.take());
                Ok(())
            })
            .await;
            if let Err(error) = closed {
                tracing::error!(%error, "closing a database failed");
            }
            surplus -= 1;
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
                file: Arc::default(),
                pulse: watch::Sender::new(0),
                used: AtomicU64::new(0),
                compacting: AtomicBool::new(false),
            })
        });
        Arc::clone(slot)
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<DatabaseHash, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, hash: DatabaseHash) -> PathBuf {
        file_in(&self.directory, hash)
    }
}

/// `<directory>/ab/v<ab…>.redb`: at most 256 directories, whatever the number of databases.
pub(crate) fn file_in(directory: &Path, hash: DatabaseHash) -> PathBuf {
    let name = hash.to_string();
    let fan = name.get(1..3).unwrap_or_default();
    directory.join(fan).join(format!("{name}.redb"))
}

fn hash_of(record: &DatabaseRecord) -> Result<DatabaseHash, StoreError> {
    record
        .database_hash
        .parse()
        .map_err(|_| StoreError::Corrupt("a database hash"))
}

pub(crate) fn database_files(directory: &Path) -> Result<Vec<(DatabaseHash, PathBuf)>, StoreError> {
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

/// Moves files into a directory for their owner alone, under names that nothing there has.
fn move_aside(files: &[PathBuf], aside: &Path) -> Result<(), StoreError> {
    make_directory(aside)?;
    for file in files {
        let name = file.file_name().and_then(|name| name.to_str());
        let name = name.ok_or(StoreError::Corrupt("a file's name"))?;
        // Not a name of a database: what is here is not looked at again.
        let mut free = (0..u64::MAX).map(|n| aside.join(format!("{name}.{n}")));
        let free = free.find(|path| !path.exists());
        std::fs::rename(file, free.ok_or(StoreError::Corrupt("a file's name"))?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
