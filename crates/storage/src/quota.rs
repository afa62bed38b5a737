//! What accounts keep, against what they may keep: measured on disk now and then, and counted in between as it is written.
//!
//! Guarantees: bytes that are being written, or were written since the last measurement, count at once, however many write at one
//! time; what was counted and not kept (a refused write) counts until the next measurement only. Knows nothing of files.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A measurement is good for this long. What is written meanwhile is counted; what the engine takes besides is not.
const MEMORY: Duration = Duration::from_secs(5);
/// What checkpoints may take in an account that is full, in all of its databases together.
const LENT_BYTES: u64 = 64 << 20;
/// Accounts that are remembered at one time, besides those that are just writing.
const MAX_ACCOUNTS: usize = 10_000;

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

    /// Whether there is no room for so many bytes more.
    fn refuses(&self, need: Need) -> bool {
        let limit = need.extent.of(self.limit, LENT_BYTES);
        self.bytes >= limit || self.bytes.saturating_add(need.bytes) > limit
    }
}

/// Bytes that room is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) bytes: u64,
    pub(crate) extent: Extent,
}

/// How much of what may be kept may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// A fifth stays for what the owner writes.
    LeavingAFifth,
    /// All.
    Whole,
    /// All, and what is lent.
    Lent,
}

impl Extent {
    /// Of a limit, in bytes, beyond which so many are lent.
    pub(crate) fn of(self, limit: u64, lent: u64) -> u64 {
        match self {
            Self::LeavingAFifth => limit / 5 * 4,
            Self::Whole => limit,
            Self::Lent => limit.saturating_add(lent),
        }
    }
}

impl Need {
    /// For checkpoints of who writes here, too: without them he could not read on in a full account.
    pub(crate) fn of_checkpoints(bytes: u64) -> Self {
        let extent = Extent::Lent;
        Self { bytes, extent }
    }

    /// For checkpoints of who may only read: with all of them he takes no room that the owner's writes need.
    pub(crate) fn of_readers(bytes: u64) -> Self {
        let extent = Extent::LeavingAFifth;
        Self { bytes, extent }
    }
}

impl From<u64> for Need {
    fn from(bytes: u64) -> Self {
        let extent = Extent::Whole;
        Self { bytes, extent }
    }
}

/// The account has no room for the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoRoom;

/// What is known of all accounts.
#[derive(Default)]
pub(crate) struct Quotas {
    accounts: Arc<Mutex<Accounts>>,
}

#[derive(Default)]
struct Accounts {
    all: HashMap<String, Account>,
    /// No account has finished more: one that was forgotten begins here, so that an old measurement never seems a new one.
    highest: u64,
}

#[derive(Default)]
struct Account {
    /// Bytes of writes that are under way.
    pending: u64,
    /// Bytes of all writes that are done.
    finished: u64,
    measured: Option<Measured>,
}

struct Measured {
    at: Instant,
    usage: Usage,
    /// What was finished before the measurement began, and so is in it.
    finished: u64,
}

/// A measurement that has begun.
#[derive(Debug, Clone, Copy)]
struct Measuring {
    finished: u64,
}

/// Bytes that an account is writing: they count as pending until this is dropped, and then as written.
pub(crate) struct Room {
    accounts: Arc<Mutex<Accounts>>,
    account: String,
    bytes: u64,
}

impl Quotas {
    /// What an account keeps, by `measure`, which begins when it is waited for.
    pub(crate) async fn usage<E>(
        &self,
        account: &str,
        measure: impl Future<Output = Result<Usage, E>>,
    ) -> Result<Usage, E> {
        let measuring = self.measuring(account);
        let usage = measure.await?;
        self.measured(account, measuring, usage);
        Ok(usage)
    }

    /// Room for so many bytes: by what is remembered, or by `measure`, where that could change the answer.
    pub(crate) async fn room<E>(
        &self,
        account: &str,
        need: Need,
        measure: impl Future<Output = Result<Usage, E>>,
    ) -> Result<Result<Room, NoRoom>, E> {
        if let Some(room) = self.take(account, need) {
            return Ok(Ok(room));
        }
        if self.is_refused(account, need) {
            return Ok(Err(NoRoom));
        }
        let measuring = self.measuring(account);
        let usage = measure.await?;
        Ok(self.take_measured(account, need, measuring, usage))
    }

    /// To be called before the files are looked at.
    fn measuring(&self, account: &str) -> Measuring {
        let mut accounts = self.lock();
        let finished = accounts.of(account).finished;
        Measuring { finished }
    }

    /// What was found since [`Self::measuring`].
    fn measured(&self, account: &str, measuring: Measuring, usage: Usage) {
        self.lock().measured(account, measuring, usage);
    }

    /// What is remembered of an account does not count any more: it gave bytes back.
    pub(crate) fn forget(&self, account: &str) {
        if let Some(account) = self.lock().all.get_mut(account) {
            account.measured = None;
        }
    }

    /// Room for so many bytes, as far as is known. None: the account must be measured first.
    fn take(&self, account: &str, need: impl Into<Need>) -> Option<Room> {
        let need = need.into();
        let mut accounts = self.lock();
        let known = accounts.all.get(account)?;
        let measured = known.measured.as_ref()?;
        if measured.at.elapsed() >= MEMORY || known.counted(measured).refuses(need) {
            return None;
        }
        Some(self.hand_out(&mut accounts, account, need.bytes))
    }

    /// Whether a refusal by what is remembered is one by what was measured, and young: to measure again would change nothing.
    fn is_refused(&self, account: &str, need: impl Into<Need>) -> bool {
        let need = need.into();
        let accounts = self.lock();
        let known = accounts.all.get(account);
        known
            .and_then(|account| account.measured.as_ref())
            .is_some_and(|measured| measured.at.elapsed() < MEMORY && measured.usage.refuses(need))
    }

    /// Room for so many bytes, by what was measured just now.
    fn take_measured(
        &self,
        account: &str,
        need: impl Into<Need>,
        measuring: Measuring,
        usage: Usage,
    ) -> Result<Room, NoRoom> {
        let need = need.into();
        let mut accounts = self.lock();
        let known = accounts.measured(account, measuring, usage);
        let counted = match &known.measured {
            Some(measured) => known.counted(measured),
            None => usage,
        };
        match counted.refuses(need) {
            true => Err(NoRoom),
            false => Ok(self.hand_out(&mut accounts, account, need.bytes)),
        }
    }

    fn hand_out(&self, accounts: &mut Accounts, account: &str, bytes: u64) -> Room {
        let known = accounts.of(account);
        known.pending = known.pending.saturating_add(bytes);
        Room {
            accounts: Arc::clone(&self.accounts),
            account: account.to_owned(),
            bytes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Accounts {
    fn of(&mut self, account: &str) -> &mut Account {
        if !self.all.contains_key(account) && self.all.len() >= MAX_ACCOUNTS {
            self.all.retain(|_, account| account.pending > 0);
        }
        let finished = self.highest;
        self.all
            .entry(account.to_owned())
            .or_insert_with(|| Account {
                finished,
                ..Account::default()
            })
    }

    fn measured(&mut self, account: &str, measuring: Measuring, usage: Usage) -> &Account {
        let known = self.of(account);
        let newer = |measured: &Measured| measured.finished <= measuring.finished;
        if known.measured.as_ref().is_none_or(newer) {
            known.measured = Some(Measured {
                at: Instant::now(),
                usage,
                finished: measuring.finished,
            });
        }
        known
    }
}

impl Account {
    /// The measurement, with what was written since and what is being written.
    fn counted(&self, measured: &Measured) -> Usage {
        let since = self.finished.saturating_sub(measured.finished);
        let bytes = measured.usage.bytes.saturating_add(since);
        Usage {
            bytes: bytes.saturating_add(self.pending),
            ..measured.usage
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let account = accounts.of(&self.account);
        account.pending = account.pending.saturating_sub(self.bytes);
        account.finished = account.finished.saturating_add(self.bytes);
        let finished = account.finished;
        accounts.highest = accounts.highest.max(finished);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(bytes: u64) -> Usage {
        Usage {
            databases: 1,
            bytes,
            limit: 100,
        }
    }

    fn measured(quotas: &Quotas, bytes: u64) {
        let measuring = quotas.measuring("a");
        quotas.measured("a", measuring, usage(bytes));
    }

    #[tokio::test]
    async fn a_full_account_is_lent_only_so_much_for_checkpoints() {
        let quotas = Quotas::default();
        measured(&quotas, 100);
        assert!(quotas.take("a", 1).is_none());
        let half = Need::of_checkpoints(LENT_BYTES / 2);
        let _first = quotas.take("a", half).unwrap();
        let _second = quotas.take("a", half).unwrap();
        assert!(quotas.take("a", Need::of_checkpoints(1)).is_none());
        measured(&quotas, 100 + LENT_BYTES);
        assert!(quotas.is_refused("a", Need::of_checkpoints(1)));
    }

    #[tokio::test]
    async fn readers_leave_a_fifth_to_writers() {
        let quotas = Quotas::default();
        measured(&quotas, 70);
        assert!(quotas.take("a", Need::of_readers(11)).is_none());
        let _reader = quotas.take("a", Need::of_readers(10)).unwrap();
        assert!(quotas.take("a", Need::of_readers(1)).is_none());
        assert!(quotas.take("a", 20).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_being_written_and_what_was_written_count_at_once() {
        let quotas = Quotas::default();
        assert!(quotas.take("a", 1).is_none(), "nothing is known yet");
        measured(&quotas, 40);
        let one = quotas.take("a", 30).unwrap();
        let two = quotas.take("a", 30).unwrap();
        assert!(quotas.take("a", 1).is_none());
        drop(one);
        assert!(quotas.take("a", 1).is_none());
        drop(two);
        assert!(quotas.take("a", 1).is_none());
        // It is the count that refuses: who measures may find that less was kept.
        assert!(!quotas.is_refused("a", 1));
        measured(&quotas, 70);
        assert!(quotas.take("a", 30).is_some());
        assert!(quotas.is_refused("a", 31));
        tokio::time::advance(MEMORY).await;
        assert!(!quotas.is_refused("a", 31));
        assert!(quotas.take("a", 1).is_none());
    }

    #[tokio::test]
    async fn a_write_that_ended_while_the_files_were_looked_at_still_counts() {
        let quotas = Quotas::default();
        measured(&quotas, 0);
        let write = quotas.take("a", 60).unwrap();
        let measuring = quotas.measuring("a");
        drop(write);
        let room = quotas.take_measured("a", 41, measuring, usage(0));
        assert_eq!(room.map(|_| ()), Err(NoRoom));
        assert!(quotas.take("a", 40).is_some());
    }

    #[tokio::test]
    async fn a_measurement_that_took_long_replaces_no_younger_one() {
        let quotas = Quotas::default();
        let slow = quotas.measuring("a");
        measured(&quotas, 0);
        drop(quotas.take("a", 60).unwrap());
        measured(&quotas, 90);
        quotas.measured("a", slow, usage(0));
        assert!(quotas.take("a", 11).is_none());
        assert!(quotas.take("a", 10).is_some());
    }

    #[tokio::test]
    async fn what_is_remembered_is_bounded_and_who_writes_is_not_forgotten() {
        let quotas = Quotas::default();
        measured(&quotas, 0);
        let _write = quotas.take("a", 100).unwrap();
        for n in 0..2 * MAX_ACCOUNTS {
            let name = n.to_string();
            let measuring = quotas.measuring(&name);
            quotas.measured(&name, measuring, usage(0));
        }
        assert!(quotas.lock().all.len() <= MAX_ACCOUNTS);
        measured(&quotas, 0);
        assert!(quotas.take("a", 1).is_none());
    }

    #[tokio::test]
    async fn a_measurement_from_before_an_account_was_forgotten_hides_nothing() {
        let quotas = Quotas::default();
        measured(&quotas, 0);
        let old = quotas.measuring("a");
        drop(quotas.take("a", 50).unwrap());
        quotas.lock().all.clear();
        drop(quotas.take_measured("a", 60, quotas.measuring("a"), usage(0)));
        quotas.measured("a", old, usage(0));
        assert!(quotas.take("a", 41).is_none());
    }
}
