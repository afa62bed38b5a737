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
    fn refuses(&self, bytes: u64) -> bool {
        self.is_exhausted() || self.bytes.saturating_add(bytes) > self.limit
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
pub(crate) struct Measuring {
    finished: u64,
}

/// Bytes that an account is writing: they count as pending until this is dropped, and then as written.
pub(crate) struct Room {
    accounts: Arc<Mutex<Accounts>>,
    account: String,
    bytes: u64,
}

impl Quotas {
    /// To be called before the files are looked at.
    pub(crate) fn measuring(&self, account: &str) -> Measuring {
        let mut accounts = self.lock();
        let finished = accounts.of(account).finished;
        Measuring { finished }
    }

    /// What was found since [`Self::measuring`].
    pub(crate) fn measured(&self, account: &str, measuring: Measuring, usage: Usage) {
        self.lock().measured(account, measuring, usage);
    }

    /// What is remembered of an account does not count any more: it gave bytes back.
    pub(crate) fn forget(&self, account: &str) {
        if let Some(account) = self.lock().all.get_mut(account) {
            account.measured = None;
        }
    }

    /// Room for so many bytes, as far as is known. None: the account must be measured first.
    pub(crate) fn take(&self, account: &str, bytes: u64) -> Option<Room> {
        let mut accounts = self.lock();
        let known = accounts.all.get(account)?;
        let measured = known.measured.as_ref()?;
        if measured.at.elapsed() >= MEMORY || known.counted(measured).refuses(bytes) {
            return None;
        }
        Some(self.room(&mut accounts, account, bytes))
    }

    /// Whether a refusal by what is remembered is one by what was measured, and young: to measure again would change nothing.
    pub(crate) fn is_refused(&self, account: &str, bytes: u64) -> bool {
        let accounts = self.lock();
        let known = accounts.all.get(account);
        known
            .and_then(|account| account.measured.as_ref())
            .is_some_and(|measured| measured.at.elapsed() < MEMORY && measured.usage.refuses(bytes))
    }

    /// Room for so many bytes, by what was measured just now.
    pub(crate) fn take_measured(
        &self,
        account: &str,
        bytes: u64,
        measuring: Measuring,
        usage: Usage,
    ) -> Result<Room, NoRoom> {
        let mut accounts = self.lock();
        let known = accounts.measured(account, measuring, usage);
        let counted = match &known.measured {
            Some(measured) => known.counted(measured),
            None => usage,
        };
        match counted.refuses(bytes) {
            true => Err(NoRoom),
            false => Ok(self.room(&mut accounts, account, bytes)),
        }
    }

    fn room(&self, accounts: &mut Accounts, account: &str, bytes: u64) -> Room {
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
