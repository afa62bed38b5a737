//! What all accounts keep together, against what the node may keep: measured on disk now and then, and counted in between.
//!
//! Guarantees: bytes that are to be written count at once; what was counted and not kept counts until the next measurement only.
//! Refuses to know whose they are.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::quota::{Extent, Need};
use crate::store::{StoreError, blocking};

/// A measurement is good for this long. What the engine takes besides what is written is found by the next one.
const MEMORY: Duration = Duration::from_secs(60);
/// However full the node seems, it is measured no more often.
const PAUSE: Duration = Duration::from_secs(5);

/// Which part of what a node may keep it lends besides.
const LENT_PART: u64 = 64;

/// The node has no room for the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodeFull;

/// What the node keeps.
pub(crate) struct Total {
    most: Option<u64>,
    directory: PathBuf,
    counted: Mutex<Counted>,
    /// Held by who measures.
    measuring: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Counted {
    at: Option<Instant>,
    bytes: u64,
    /// Bytes that were to be written, ever.
    written: u64,
}

impl Total {
    /// Of the files below a directory, which may have `most` bytes.
    pub(crate) fn new(directory: PathBuf, most: Option<u64>) -> Self {
        Self {
            most,
            directory,
            counted: Mutex::default(),
            measuring: tokio::sync::Mutex::default(),
        }
    }

    /// Counts so many bytes as written, if there is room for them. A node that is full lends, too: a part of what it may keep, to all
    /// accounts together.
    pub(crate) async fn take(
        &self,
        need: impl Into<Need>,
    ) -> Result<Result<(), NodeFull>, StoreError> {
        let Need { bytes, extent } = need.into();
        let Some(most) = self.most else {
            return Ok(Ok(()));
        };
        let most = match extent {
            // The fifth is the account's.
            Extent::LeavingAFifth | Extent::Whole => most,
            Extent::Lent => most.saturating_add(most / LENT_PART),
        };
        if self.count(bytes, most, MEMORY) {
            return Ok(Ok(()));
        }
        let _one = self.measuring.lock().await;
        if !self.is_younger(PAUSE) {
            self.measure().await?;
        }
        match self.count(bytes, most, MEMORY) {
            true => Ok(Ok(())),
            false => Ok(Err(NodeFull)),
        }
    }

    fn count(&self, bytes: u64, most: u64, life: Duration) -> bool {
        let young = self.is_younger(life);
        let mut counted = self.lock();
        let then = counted.bytes.saturating_add(bytes);
        if !young || then > most {
            return false;
        }
        counted.bytes = then;
        counted.written = counted.written.saturating_add(bytes);
        true
    }

    fn is_younger(&self, than: Duration) -> bool {
        self.lock().at.is_some_and(|at| at.elapsed() < than)
    }

    async fn measure(&self) -> Result<(), StoreError> {
        let before = self.lock().written;
        let directory = self.directory.clone();
        let bytes = blocking(move || Ok(bytes_below(directory)?)).await?;
        let mut counted = self.lock();
        // What was written meanwhile may have been seen or not.
        let meanwhile = counted.written.saturating_sub(before);
        counted.bytes = bytes.saturating_add(meanwhile);
        counted.at = Some(Instant::now());
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a file takes of its disk. The engine makes a file longer by as much as it has, and what is not written of that takes nothing.
pub(crate) fn bytes_on_disk(file: &Metadata) -> u64 {
    /// Of one block, whatever the file system's own are (`stat(2)`).
    const BLOCK_BYTES: u64 = 512;
    file.len().min(file.blocks() * BLOCK_BYTES)
}

/// Files that go away meanwhile have no bytes.
fn bytes_below(directory: PathBuf) -> std::io::Result<u64> {
    let (mut bytes, mut left) = (0, vec![directory]);
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            match entry.metadata() {
                Ok(found) if found.is_dir() => left.push(entry.path()),
                Ok(found) if found.is_file() => bytes += bytes_on_disk(&found),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_has_before_it_and_is_not_written_takes_nothing() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 30).unwrap();
        assert_eq!(bytes_on_disk(&file.metadata().unwrap()), 0);
        let text = [1; 100_000];
        std::os::unix::fs::FileExt::write_all_at(&file, &text, 0).unwrap();
        file.sync_all().unwrap();
        let taken = bytes_on_disk(&file.metadata().unwrap());
        assert!((100_000..1_000_000).contains(&taken), "{taken}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_written_counts_at_once_and_what_is_gone_counts_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("below/file");
        std::fs::create_dir(dir.path().join("below")).unwrap();
        std::fs::write(&path, [0; 60]).unwrap();
        let total = Total::new(dir.path().to_owned(), Some(100));
        assert_eq!(total.take(40).await.unwrap(), Ok(()));
        assert_eq!(total.take(1).await.unwrap(), Err(NodeFull));
        // It was not kept; that is found out after a pause.
        tokio::time::advance(PAUSE).await;
        assert_eq!(total.take(41).await.unwrap(), Err(NodeFull));
        assert_eq!(total.take(40).await.unwrap(), Ok(()));
        std::fs::remove_file(path).unwrap();
        tokio::time::advance(MEMORY).await;
        assert_eq!(total.take(100).await.unwrap(), Ok(()));
        let without = Total::new(dir.path().join("absent"), None);
        assert_eq!(without.take(u64::MAX).await.unwrap(), Ok(()));
    }
}
