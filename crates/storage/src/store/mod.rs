//! Durable state: `node.redb` for everything about people and databases, one file per database for documents.
//!
//! Guarantees: an acknowledged write is on disk. Many writers of one file share one durable transaction ([`commit`]).
//! Knows ciphertext as bytes; nothing here can read it.

pub(crate) mod attachments;
pub(crate) mod check;
mod check_indexes;
pub(crate) mod check_node;
pub(crate) mod commit;
mod copy;
#[cfg(test)]
mod crash_tests;
pub(crate) mod database;
#[cfg(test)]
mod disk;
mod engine;
mod format;
#[cfg(test)]
mod index_tests;
pub(crate) mod indexes;
mod known;
pub(crate) mod node;
mod node_indexes;
pub(crate) mod pulse;
mod purge;
pub(crate) mod row;
mod stubs;
mod unwritten;
pub(crate) mod write;

use std::io::ErrorKind;

/// The store could not do its work. Never the caller's fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The engine failed: disk full, broken disk, broken file.
    #[error("the storage engine failed: {0}")]
    Engine(#[from] redb::Error),
    /// The file system failed.
    #[error("the file system failed: {0}")]
    Io(#[from] std::io::Error),
    /// Stored bytes do not read back.
    #[error("stored data is corrupt: {0}")]
    Corrupt(&'static str),
    /// The disk is full.
    #[error("the disk is full")]
    Full,
    /// A newer version of this program wrote the file.
    #[error(
        "the data is in layout {found}, of a newer version of this program; this one knows layouts up to {known}"
    )]
    TooNew {
        /// The layout of the file.
        found: u64,
        /// The newest layout that this program knows.
        known: u64,
    },
    /// There is no file of a database that was made: somebody took it, or its disk is not mounted. It is never made anew.
    #[error("a database that was made has no file: is the disk of the databases mounted?")]
    Lacking,
    /// The transaction that carried this write failed, through another write's fault or the disk's.
    #[error("the shared transaction failed")]
    Aborted,
    /// The file is gone or the server is going down.
    #[error("the store is closed")]
    Closed,
    /// What is being told was replaced meanwhile: nobody is told a part of it as if it were the whole.
    #[error("what is being told was replaced meanwhile")]
    Gone,
    /// The CouchDB that holds the data cannot be reached, or cannot do its work now.
    #[error("the CouchDB cannot be reached")]
    Away,
    /// The CouchDB answered with a status that says that something is wrong with its configuration, or with the request.
    #[error("the CouchDB answered {0}")]
    Strange(u16),
    /// No random bytes.
    #[error("the system has no random bytes")]
    Random,
}

impl StoreError {
    /// Whether there was no room on the disk.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::Full => true,
            Self::Io(error) | Self::Engine(redb::Error::Io(error)) => matches!(
                error.kind(),
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
            ),
            Self::Engine(_)
            | Self::Corrupt(_)
            | Self::TooNew { .. }
            | Self::Lacking
            | Self::Aborted
            | Self::Closed
            | Self::Gone
            | Self::Away
            | Self::Strange(_)
            | Self::Random => false,
        }
    }

    /// Whether the same may succeed in a moment: the file was closed under it, to be opened again, or its disk comes back.
    pub(crate) fn passes(&self) -> bool {
        matches!(
            self,
            Self::Lacking | Self::Engine(redb::Error::PreviousIo | redb::Error::DatabaseClosed)
        )
    }
}

macro_rules! from_engine {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for StoreError {
            fn from(error: redb::$error) -> Self {
                Self::Engine(error.into())
            }
        }
    )*};
}
from_engine!(
    DatabaseError,
    TransactionError,
    TableError,
    StorageError,
    CommitError
);

/// Fills an array from the system's generator.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| StoreError::Random)?;
    Ok(bytes)
}

/// Runs work that touches the disk on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| StoreError::Closed)?
}
