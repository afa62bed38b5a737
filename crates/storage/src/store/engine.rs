//! An open file of the engine. After its disk failed it is opened again, by itself.
//!
//! Guarantees: the engine refuses everything after one failed read, write or `fsync` of a file; here the next use opens the file
//! anew, as after a crash, so that service goes on when the fault is gone. What was in doubt when an `fsync` failed is written once
//! more before anything is built upon it: the kernel may count pages as written that never reached the disk.
//! Refuses to know: what is in the file.

use std::fs::File;
use std::io::Error;
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use redb::backends::FileBackend;
use redb::{
    BackendError, Database, DatabaseError, ReadTransaction, ReadableDatabase, StorageBackend,
    WriteTransaction,
};

use super::StoreError;
use crate::private_files;

/// From this size on, a file carries with every commit what makes its repair quick. A smaller one is read through instead, in the
/// time that this many bytes take; its commits need one `fsync`, not two.
const QUICK_REPAIR_FROM_BYTES: u64 = 64 << 20;

/// Bytes written at a time when a whole file is written once more.
const REWRITE_BYTES: usize = 1 << 20;

/// Opens what the file's bytes are on: at first, and after every failure.
pub(super) type Medium =
    Box<dyn Fn() -> Result<Box<dyn StorageBackend>, StoreError> + Send + Sync + 'static>;

/// One file of the engine, open or about to be opened again.
pub(crate) struct Engine {
    medium: Medium,
    cache_bytes: usize,
    /// None when it could not be opened again yet.
    open: RwLock<Option<Opened>>,
    /// Whether an `fsync` failed since the whole file was last known to be on disk.
    in_doubt: AtomicBool,
}

struct Opened {
    database: Database,
    health: Arc<Health>,
}

/// What is known of a file's disk since it was opened.
#[derive(Debug, Default)]
struct Health {
    failed: AtomicBool,
    sync_failed: AtomicBool,
    bytes: AtomicU64,
}

impl Engine {
    /// Opens a file, or makes it. Fails when somebody else has it. The file's name is durable then.
    pub(crate) fn create(path: &Path, cache_bytes: usize) -> Result<Self, StoreError> {
        let made = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        drop(made);
        let engine = Self::on(Box::new(file(path, Bare::New)), cache_bytes)?;
        if let Some(parent) = path.parent() {
            File::open(parent)?.sync_all()?;
        }
        Ok(Self {
            medium: Box::new(file(path, Bare::Lost)),
            ..engine
        })
    }

    /// Opens an existing file; repairs it first when the process that wrote it was killed.
    pub(crate) fn open(path: &Path, cache_bytes: usize) -> Result<Self, StoreError> {
        Self::on(Box::new(file(path, Bare::Lost)), cache_bytes)
    }

    /// Opens what is on a medium.
    pub(super) fn on(medium: Medium, cache_bytes: usize) -> Result<Self, StoreError> {
        let opened = Opened::on(medium()?, cache_bytes)?;
        Ok(Self {
            medium,
            cache_bytes,
            open: RwLock::new(Some(opened)),
            in_doubt: AtomicBool::new(false),
        })
    }

    /// A consistent view of what is durable. May block, for as long as a repair takes.
    pub(crate) fn read(&self) -> Result<ReadTransaction, StoreError> {
        self.with(|opened| Ok(opened.database.begin_read()?))
    }

    /// The one transaction that writes. May block.
    pub(crate) fn write(&self) -> Result<WriteTransaction, StoreError> {
        self.with(|opened| {
            let mut transaction = opened.database.begin_write()?;
            let bytes = opened.health.bytes.load(Ordering::Relaxed);
            transaction.set_quick_repair(bytes >= QUICK_REPAIR_FROM_BYTES);
            Ok(transaction)
        })
    }

    /// Opens the file again, if its disk failed. Done by whoever uses the file next; but the sooner, the fewer feel it.
    pub(crate) fn heal(&self) -> Result<(), StoreError> {
        self.with(|_| Ok(()))
    }

    /// Gives unused bytes back to the file system, unless somebody reads. May block for as long as the file is large.
    pub(crate) fn compact(&mut self) -> Result<(), StoreError> {
        self.heal()?;
        let open = self.open.get_mut().unwrap_or_else(PoisonError::into_inner);
        let opened = open.as_mut().ok_or(StoreError::Closed)?;
        match opened.database.compact() {
            Ok(_) => Ok(()),
            Err(redb::CompactionError::Storage(error)) => Err(error.into()),
            // Somebody holds a page, of an answer that is being sent.
            Err(_) => Ok(()),
        }
    }

    fn with<T>(&self, work: impl Fn(&Opened) -> Result<T, StoreError>) -> Result<T, StoreError> {
        {
            let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(opened) = open.as_ref().filter(|opened| !opened.failed()) {
                return work(opened);
            }
        }
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(opened) = open.take_if(|opened| opened.failed()) {
            let in_doubt = opened.health.sync_failed.load(Ordering::Relaxed);
            self.in_doubt.fetch_or(in_doubt, Ordering::Relaxed);
            // Lets go of the file; those who still read learn that it is closed.
            drop(opened);
        }
        let opened = match &mut *open {
            Some(healed_by_another) => healed_by_another,
            none => none.insert(self.opened_again()?),
        };
        work(opened)
    }

    fn opened_again(&self) -> Result<Opened, StoreError> {
        let backend = (self.medium)()?;
        if self.in_doubt.load(Ordering::Relaxed) {
            rewrite(&*backend)?;
            self.in_doubt.store(false, Ordering::Relaxed);
        }
        let opened = Opened::on(backend, self.cache_bytes)?;
        tracing::warn!("a file was opened again after its disk failed");
        Ok(opened)
    }
}

impl Opened {
    fn on(backend: Box<dyn StorageBackend>, cache_bytes: usize) -> Result<Self, StoreError> {
        let health = Arc::<Health>::default();
        let watched = Watched {
            backend,
            health: Arc::clone(&health),
        };
        let mut builder = Database::builder();
        builder.set_cache_size(cache_bytes);
        match builder.create_with_backend(watched) {
            Ok(database) => Ok(Self { database, health }),
            Err(DatabaseError::DatabaseAlreadyOpen) => Err(StoreError::Closed),
            Err(error) => Err(error.into()),
        }
    }

    fn failed(&self) -> bool {
        self.health.failed.load(Ordering::Acquire)
    }
}

/// Makes a directory that is as durable as the files in it.
pub(super) fn make_directory(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    private_files::make_directory(path)?;
    if let Some(parent) = path.parent() {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// What an empty file means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bare {
    /// It is about to be filled for the first time.
    New,
    /// There was something in it.
    Lost,
}

fn file(
    path: &Path,
    bare: Bare,
) -> impl Fn() -> Result<Box<dyn StorageBackend>, StoreError> + Send + Sync + use<> {
    let path = path.to_owned();
    move || {
        let file = File::options().read(true).write(true).open(&path)?;
        if bare == Bare::Lost && file.metadata()?.len() == 0 {
            return Err(StoreError::Corrupt("an empty file"));
        }
        Ok(Box::new(FileBackend::new(file)?))
    }
}

/// Writes every byte of a file once more, and waits until all are on disk.
fn rewrite(backend: &dyn StorageBackend) -> Result<(), StoreError> {
    let whole = (Bound::Unbounded, Bound::Unbounded);
    match backend.try_lock_range(whole.0, whole.1) {
        // What knows no locks has one user.
        Ok(true) | Err(BackendError::Unsupported) => {}
        Ok(false) => return Err(StoreError::Closed),
        Err(BackendError::Io(error)) => return Err(error.into()),
        Err(_) => return Err(StoreError::Closed),
    }
    let length = backend.len()?;
    let mut buffer = vec![0; REWRITE_BYTES];
    let mut at = 0;
    while at < length {
        let left = usize::try_from(length - at).unwrap_or(usize::MAX);
        let (part, _) = buffer.split_at_mut(left.min(REWRITE_BYTES));
        backend.read(at, part)?;
        backend.write(at, part)?;
        at += part.len() as u64;
    }
    backend.sync_data()?;
    match backend.unlock_range(whole.0, whole.1) {
        Err(BackendError::Io(error)) => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Notes every failure of what the bytes are on.
#[derive(Debug)]
struct Watched {
    backend: Box<dyn StorageBackend>,
    health: Arc<Health>,
}

impl Watched {
    fn noted<T>(&self, outcome: Result<T, Error>) -> Result<T, Error> {
        if outcome.is_err() {
            self.health.failed.store(true, Ordering::Release);
        }
        outcome
    }
}

impl StorageBackend for Watched {
    fn len(&self) -> Result<u64, Error> {
        let bytes = self.noted(self.backend.len())?;
        self.health.bytes.store(bytes, Ordering::Relaxed);
        Ok(bytes)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        self.noted(self.backend.read(offset, out))
    }

    fn set_len(&self, len: u64) -> Result<(), Error> {
        self.noted(self.backend.set_len(len))?;
        self.health.bytes.store(len, Ordering::Relaxed);
        Ok(())
    }

    fn sync_data(&self) -> Result<(), Error> {
        let outcome = self.backend.sync_data();
        if outcome.is_err() {
            self.health.sync_failed.store(true, Ordering::Relaxed);
        }
        self.noted(outcome)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        self.noted(self.backend.write(offset, data))
    }

    fn close(&self) -> Result<(), Error> {
        self.backend.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.backend.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.backend.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.backend.query_lock_range(start, end)
    }
}
