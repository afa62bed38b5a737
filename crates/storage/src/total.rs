//! What all accounts keep together, against what the node may keep: measured on disk now and then, and counted in between.
//!
//! Guarantees: bytes that are to be written count at once; what was counted and not kept counts until the next measurement only.
//! Refuses to know whose they are.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::store::{StoreError, blocking};

/// A measurement is good for this long. What the engine takes besides what is written is found by the next one.
const MEMORY: Duration = Duration::from_secs(60);
/// However full the node seems, it is measured no more often.
const PAUSE: Duration = Duration::from_secs(5);

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

    /// Counts so many bytes as written, if there is room for them.
    pub(crate) async fn take(&self, bytes: u64) -> Result<Result<(), NodeFull>, StoreError> {
        let Some(most) = self.most else {
            return Ok(Ok(()));
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

/// Files that go away meanwhile have no bytes.
fn bytes_below(directory: PathBuf) -> std::io::Result<u64> {
    let (mut bytes, mut left) = (0, vec![directory]);
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            match entry.metadata() {
                Ok(found) if found.is_dir() => left.push(entry.path()),
                Ok(found) if found.is_file() => bytes += found.len(),
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
