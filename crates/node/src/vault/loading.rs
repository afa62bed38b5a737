//! A database on its way into memory: how far it is, and what it takes of the processor.
//!
//! Guarantees: every batch is opened and taken in when it is the tenant's turn, on a thread on which nobody else waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use adyton_client::pull::{PullBatch, Reserved, Room, Turn};

use super::admission::Advance;
use super::error::VaultError;
use super::lanes::LaneFull;
use super::loaded::LoadedDatabase;
use super::schedule::{self, Schedule};
use crate::authn::TenantId;
use crate::computing;
use crate::memory::Budget;

/// The turns of a tenant's loads.
#[derive(Clone)]
pub(super) struct LoadTurns {
    pub(super) schedule: Schedule<TenantId>,
    pub(super) tenant: TenantId,
}

impl LoadTurns {
    async fn turn(&self) -> Result<schedule::Turn<TenantId>, LaneFull> {
        self.schedule.turn(&self.tenant).await
    }
}

impl std::fmt::Debug for LoadTurns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LoadTurns")
    }
}

/// What a load takes of the machine.
pub(super) struct LoadRoom {
    pub(super) transit: Budget,
    pub(super) turns: LoadTurns,
}

impl Room for LoadRoom {
    fn reserve(&self, bytes: usize) -> Option<Reserved> {
        Room::reserve(&self.transit, bytes)
    }

    fn turn(&self) -> Turn<'_> {
        Box::pin(async {
            let turn = self.turns.turn().await.ok()?;
            Some(Box::new(turn) as Reserved)
        })
    }
}

/// How far a load is.
#[derive(Debug, Default)]
pub(super) struct Progress {
    records: AtomicU64,
    /// Zero until it is known.
    of: AtomicU64,
}

/// How far a load was at some moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadedSoFar {
    /// Records that are in memory.
    pub records: u64,
    /// Of how many, as the storage node says.
    pub of: Option<u64>,
}

impl LoadedSoFar {
    /// In hundredths; never all of it, for then it would not be loading.
    #[must_use]
    pub fn percent(&self) -> Option<u64> {
        let of = self.of?.max(1);
        Some((u128::from(self.records) * 100 / u128::from(of)).min(99) as u64)
    }
}

impl Progress {
    pub(super) fn expect(&self, records: u64) {
        self.of.store(records, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> LoadedSoFar {
        let of = self.of.load(Ordering::Relaxed);
        LoadedSoFar {
            records: self.records.load(Ordering::Relaxed),
            of: (of > 0).then_some(of),
        }
    }

    /// Takes a batch of a load into memory.
    pub(super) async fn take_in(
        &self,
        loaded: &Arc<LoadedDatabase>,
        batch: PullBatch,
        advance: &mut Advance,
        turns: &LoadTurns,
    ) -> Result<(), VaultError> {
        let records = batch.records.len();
        let turn = turns.turn().await?;
        advance.hand_over(batch.records.plaintext_bytes(), records);
        let database = Arc::clone(loaded);
        let applying = computing::start(move || {
            let applied = database.apply_waiting(batch);
            drop(turn);
            applied
        });
        applying.await.map_err(|_| VaultError::Stopped)??;
        self.records.fetch_add(records as u64, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_in_hundredths_of_what_is_known() {
        let percent = |records, of| LoadedSoFar { records, of }.percent();
        assert_eq!(percent(10, None), None);
        assert_eq!(percent(0, Some(0)), Some(0));
        assert_eq!(percent(1, Some(3)), Some(33));
        assert_eq!(percent(7, Some(3)), Some(99));
        assert_eq!(percent(u64::MAX, Some(u64::MAX)), Some(99));
        let progress = Progress::default();
        assert_eq!(progress.now().of, None);
        progress.expect(7);
        assert_eq!(progress.now().of, Some(7));
    }
}
