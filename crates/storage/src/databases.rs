//! The databases of all accounts: made, found, opened on demand, deleted.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use adyton_protocol::database::DatabaseHash;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::access::{Permit, Principal};
use crate::account_turns::AccountTurns;
use crate::clock::Clock;
use crate::config::Limits;
use crate::database_record::DatabaseRecord;
use crate::keeper::judged;
use crate::private_files::make_directory;
use crate::quota::{Extent, Need, NoRoom, Quotas, Room, Usage};
use crate::replicate::News;
use crate::store::database::DatabaseFile;
use crate::store::node::NodeStore;
use crate::store::pulse::Pulse;
use crate::store::{StoreError, blocking};
use crate::total::{NodeFull, Total, bytes_on_disk};

use adyton_couch::wire::{CouchError, ErrorKind};

mod backup;
mod compaction;
mod opening;

pub(crate) use backup::BackupUnderWay;
use backup::Standing;
use compaction::Compactions;
use opening::Open;

/// About what an empty database takes on disk.
const NEW_FILE_BYTES: u64 = 64 << 10;
/// Below the databases: files that the node's file does not know.
const UNKNOWN: &str = "unknown";
/// How long whoever is being told something waits for a file, while too many are in use.
const GOING_ON_TIME: Duration = Duration::from_secs(30);
/// Why something cannot be done with a database: a refusal to word, or a fault of ours.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error(transparent)]
    Refused(#[from] CouchError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<NoRoom> for DatabaseError {
    fn from(_: NoRoom) -> Self {
        let reason = "Storage limit reached";
        CouchError::new(ErrorKind::InsufficientStorage, reason).into()
    }
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
    /// Held while files are closed for those for whom there is no room.
    making_room: tokio::sync::Mutex<()>,
    /// Counts uses, to find the file that was not used for longest.
    uses: AtomicU64,
    /// While a backup is made: what of it still stands.
    standing: Arc<Mutex<Standing>>,
    /// Held while a database is compacted: one at a time.
    compacting: Arc<tokio::sync::Mutex<()>>,
    /// And of an account's databases one waits to be.
    compactions: AccountTurns,
    turns: AccountTurns,
    quotas: Quotas,
    total: Total,
    /// Counts the changes of the registry: a permit that is older than the last one is looked at again.
    changes: Arc<AtomicU64>,
    /// Deletions under way: done to their end, whether somebody waits or not.
    ending: Mutex<JoinSet<()>>,
}

/// A database's place: its file when open, and the pulse that wakes its feeds, open or not.
struct Slot {
    file: Arc<tokio::sync::Mutex<Option<Open>>>,
    pulse: watch::Sender<u64>,
    used: AtomicU64,
    compactions: Compactions,
}

impl Slot {
    /// Removes its file. Nobody opens it meanwhile, and its feeds look again.
    async fn remove_file(&self, path: PathBuf) -> Result<(), StoreError> {
        let mut held = Arc::clone(&self.file).lock_owned().await;
        blocking(move || {
            drop(held.take());
            remove_durably(&path)
        })
        .await?;
        self.pulse.send_modify(|_| {});
        Ok(())
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
            making_room: tokio::sync::Mutex::default(),
            uses: AtomicU64::new(0),
            standing: Arc::default(),
            compacting: Arc::default(),
            compactions: AccountTurns::default(),
            turns: AccountTurns::default(),
            quotas: Quotas::default(),
            total,
            changes: Arc::new(AtomicU64::new(1)),
            ending: Mutex::default(),
        }
    }

    /// Takes over the directory. Deletions that did not end are brought to their end. Other files that no database owns are moved
    /// aside: a creation did not end, or the node's file is older than they are, and they are all that there is of what it lacks.
    pub(crate) async fn open(
        node: NodeStore,
        directory: PathBuf,
        limits: Limits,
        (clock, news): (Clock, News),
    ) -> Result<Self, StoreError> {
        let this = Self::new(node, directory, limits, (clock, news));
        let deleted = this.node.deleted().await?;
        if !deleted.is_empty() {
            let paths: Vec<PathBuf> = deleted.iter().map(|hash| this.path(*hash)).collect();
            blocking(move || paths.iter().try_for_each(|path| remove_durably(path))).await?;
            this.node.forget_deleted(deleted).await?;
        }
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

    /// The same for whoever goes on reading: the permit is renewed, if it is given at this moment. It may be for a database that was
    /// made anew by now. While too many files are in use, he waits.
    pub(crate) async fn file_again(
        &self,
        permit: &mut Permit,
    ) -> Result<Arc<DatabaseFile>, DatabaseError> {
        let hash = hash_of(permit.record())?;
        let deadline = Instant::now() + GOING_ON_TIME;
        loop {
            let opened = self.open_file(hash).await;
            // Afterwards, as above.
            if let Some(again) = self.renewed(permit).await? {
                *permit = again;
            }
            match opened {
                Err(DatabaseError::Refused(_)) if Instant::now() < deadline => {}
                opened => return opened,
            }
        }
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
            self.room_on_node(NEW_FILE_BYTES.into()).await?;
            self.slot(hash).is_free()?;
            self.remove_file(hash).await?;
            self.make_file(hash, now).await?;
        } else {
            self.open_file(hash).await?;
        }
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

    /// Says to the log how many databases of an account have no file. None is made: an empty one would be taken for the whole.
    pub(crate) async fn look_for_files(&self, account: String) -> Result<(), DatabaseError> {
        let _changing = self.turns.of(&account).await;
        let mut lacking = 0;
        for record in self.node.databases_of(account).await? {
            lacking += usize::from(!self.path(hash_of(&record)?).exists());
        }
        if lacking > 0 {
            tracing::error!(lacking, "{}", StoreError::Lacking);
        }
        Ok(())
    }

    /// Deletes a database with everything in it. False when there is no such database.
    pub(crate) async fn delete(
        &self,
        owner: &str,
        hash: DatabaseHash,
    ) -> Result<bool, DatabaseError> {
        let changing = self.turns.of(owner).await;
        let record = self.node.database(hash.to_string()).await?;
        if record.is_none_or(|record| record.owner != owner) {
            return Ok(false);
        }
        let slot = self.slot(hash);
        slot.is_free()?;
        self.changes.fetch_add(1, Ordering::SeqCst);
        let standing = Arc::clone(&self.standing);
        let note = move |hash: &str| Standing::deleted(&standing, hash);
        let (node, changes, path) = (
            self.node.clone(),
            Arc::clone(&self.changes),
            self.path(hash),
        );
        let account = owner.to_owned();
        self.to_its_end(async move {
            let _changing = changing;
            // First it is not there any more, then its bytes go, then that they were to go is forgotten.
            node.remove_database(account, hash.to_string(), note)
                .await?;
            changes.fetch_add(1, Ordering::SeqCst);
            slot.remove_file(path).await?;
            node.forget_deleted(vec![hash]).await
        })
        .await?;
        self.forget(hash);
        self.quotas.forget(owner);
        Ok(true)
    }

    /// Does something to its end, whether somebody waits for it or not: as long as the node runs.
    async fn to_its_end(
        &self,
        work: impl Future<Output = Result<(), StoreError>> + Send + 'static,
    ) -> Result<(), StoreError> {
        let (tell, told) = oneshot::channel();
        {
            let mut ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
            while ending.try_join_next().is_some() {}
            ending.spawn(async move {
                let done = work.await;
                // Nobody may wait any more.
                drop(tell.send(done));
            });
        }
        told.await.unwrap_or(Err(StoreError::Closed))
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
        self.quotas.usage(account, self.measure(account)).await
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
                .map(|file| bytes_on_disk(&file))
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
    pub(crate) async fn room(&self, permit: &Permit, need: Need) -> Result<Room, DatabaseError> {
        let owner = &permit.record().owner;
        self.room_on_node(need).await?;
        let taken = self.quotas.room(owner, need, self.measure(owner)).await?;
        Ok(taken?)
    }

    /// The same for a step of an index, after which its rows may take `expected` bytes more. A fifth of the account stays for writes.
    pub(crate) async fn room_for_rows(
        &self,
        permit: &Permit,
        bytes: u64,
        expected: u64,
    ) -> Result<Room, DatabaseError> {
        if bytes > 0 {
            let usage = self.usage(&permit.record().owner).await?;
            let then = usage.bytes.saturating_add(expected.saturating_mul(2));
            if then > Extent::LeavingAFifth.of(usage.limit, 0) {
                return Err(NoRoom.into());
            }
        }
        self.room(permit, bytes.into()).await
    }

    /// Room for so many bytes, whoever writes them.
    async fn room_on_node(&self, need: Need) -> Result<(), DatabaseError> {
        let taken = self.total.take(need).await?;
        let reason = "The node keeps as much as it may.";
        Ok(taken.map_err(|NodeFull| CouchError::new(ErrorKind::InsufficientStorage, reason))?)
    }

    async fn make_file(&self, hash: DatabaseHash, now: u64) -> Result<(), DatabaseError> {
        let slot = self.slot(hash);
        let mut file = slot.file.lock().await;
        if file.is_none() {
            let count = self.room_for_a_file(hash).await?;
            let (path, pulse) = (self.path(hash), self.pulse_of(hash, &slot));
            let made = blocking(move || DatabaseFile::create(&path, now, pulse)).await?;
            *file = Some(self.opened(made, count));
            drop(file);
            self.close_surplus(hash).await;
        }
        Ok(())
    }

    /// Removes the file of a database that is not registered. Nobody opens it meanwhile, and its feeds look again.
    async fn remove_file(&self, hash: DatabaseHash) -> Result<(), DatabaseError> {
        Ok(self.slot(hash).remove_file(self.path(hash)).await?)
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
                compactions: Compactions::default(),
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

/// Removes a file, if it is there, so that it is gone after a power cut, too.
fn remove_durably(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        removed => removed?,
    }
    if let Some(directory) = path.parent() {
        std::fs::File::open(directory)?.sync_all()?;
    }
    Ok(())
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
