//! The accesses of all tenants, on their way into receipts.
//!
//! An access is noted in memory and written with others soon after. While nothing can be written, accesses go on for a few
//! minutes and are then refused: an app's access without its receipt is worse than none. What is noted and not written when
//! the machine stops is lost, and so is what cannot be written for an hour; a later receipt owns up to the latter.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use adyton_client::clock::Clock;
use adyton_client::session::Session;
use futures_util::{StreamExt, stream};
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use super::access::{Act, Kind, target_of};
use super::append::{Head, append};
use super::batch::{Batch, Entry};
use crate::authn::TenantId;
use crate::authz::{Permit, PermitAction};

/// Longest wait of an access for its receipt.
const INTERVAL: Duration = Duration::from_secs(30);
/// How long accesses go on while no receipt can be written.
const PATIENCE: Duration = Duration::from_secs(5 * 60);
/// After this time what could not be written is given up.
const GIVEN_UP: Duration = Duration::from_secs(3600);
/// Tenants whose receipts are written at a time.
const WRITERS: usize = 8;

/// Receipts cannot be written, so nothing is shown to apps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the user's storage node takes no receipts: apps have no access until it does")]
pub struct Unwritable;

/// The accesses that are not in receipts yet, by tenant.
pub struct Journal {
    tenants: Mutex<HashMap<TenantId, Arc<OfTenant>>>,
    clock: Clock,
    interval: Duration,
}

#[derive(Default)]
struct OfTenant {
    pending: Mutex<Pending>,
    /// The end of the chain, for the one who writes.
    writing: tokio::sync::Mutex<Option<Head>>,
}

#[derive(Default)]
struct Pending {
    batch: Batch,
    /// Since when something waits, or the last attempt failed.
    since: Option<Instant>,
    failing: Option<Instant>,
    lost: u64,
    /// What they can be written with; kept no longer than something waits.
    session: Option<Arc<Session>>,
}

/// An app that has access to a tenant's data, for its receipts.
pub struct Accessor {
    of: Arc<OfTenant>,
    clock: Clock,
    patience: Duration,
    grant: Uuid,
    app: Option<Arc<str>>,
    target: Arc<str>,
}

impl Journal {
    /// No accesses. Receipts are written so often that an idle tenant has none left when it is evicted.
    #[must_use]
    pub fn new(clock: Clock, idle: Duration) -> Self {
        Self {
            tenants: Mutex::default(),
            clock,
            interval: INTERVAL.min(idle / 3),
        }
    }

    /// How often to look whether something is to be written.
    #[must_use]
    pub fn tick(&self) -> Duration {
        (self.interval / 4).clamp(Duration::from_millis(20), Duration::from_secs(1))
    }

    /// Who needs receipts: an app. None for the owner.
    ///
    /// # Errors
    /// When receipts cannot be written for too long.
    pub fn accessor<A: PermitAction>(
        &self,
        permit: &Permit<A>,
    ) -> Result<Option<Accessor>, Unwritable> {
        let Some((grant, app)) = permit.app() else {
            return Ok(None);
        };
        let accessor = Accessor {
            of: Arc::clone(self.lock().entry(permit.tenant().clone()).or_default()),
            clock: self.clock.clone(),
            patience: PATIENCE,
            grant,
            app: app.map(Arc::from),
            target: target_of(permit.resource()).into(),
        };
        accessor.may_go_on()?;
        Ok(Some(accessor))
    }

    /// Writes what has waited long enough. `is_loaded`: whether a tenant's data are in memory; the ends of the chains of
    /// others are forgotten.
    pub async fn write_due(&self, is_loaded: impl Fn(&TenantId) -> bool) {
        let interval = self.interval;
        self.write(|pending| pending.is_due(interval)).await;
        self.lock().retain(|tenant, of| {
            Arc::strong_count(of) > 1 || !of.lock().batch.is_empty() || is_loaded(tenant)
        });
    }

    /// Writes everything: the node shuts down.
    pub async fn write_all(&self) {
        self.write(|pending| !pending.batch.is_empty()).await;
    }

    /// Writes what a tenant has: its owner wants it evicted. What cannot be written in time is forgotten.
    pub async fn close(&self, tenant: &TenantId, time: Duration) {
        let Some(of) = self.lock().remove(tenant) else {
            return;
        };
        // Who holds it still notes into it, and it ends with them.
        let _ = tokio::time::timeout(time, of.write()).await;
    }

    async fn write(&self, which: impl Fn(&Pending) -> bool) {
        let all: Vec<_> = {
            let tenants = self.lock();
            let due = tenants.values().filter(|of| which(&of.lock()));
            due.cloned().collect()
        };
        stream::iter(all)
            .for_each_concurrent(WRITERS, |of| async move { of.write().await })
            .await;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, Arc<OfTenant>>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    fn is_due(&self, interval: Duration) -> bool {
        let has_waited = self.since.is_some_and(|since| since.elapsed() >= interval);
        has_waited || (self.batch.is_large() && self.failing.is_none())
    }
}

impl OfTenant {
    /// Writes what is pending as one receipt.
    async fn write(&self) {
        let mut head = self.writing.lock().await;
        let Some((taken, session)) = Taken::from(self) else {
            return;
        };
        let accesses: Vec<Value> = taken.batch.entries().iter().map(Entry::to_json).collect();
        let written = append(&session, &mut head, &accesses, taken.lost).await;
        match written {
            Ok(()) => taken.are_written(),
            // Put back, and tried again with what is known then.
            Err(_) => *head = None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Accesses that are being written. They are put back when they are not, also when the writer is not waited for.
struct Taken<'o> {
    of: &'o OfTenant,
    batch: Batch,
    lost: u64,
}

impl<'o> Taken<'o> {
    fn from(of: &'o OfTenant) -> Option<(Self, Arc<Session>)> {
        let mut pending = of.lock();
        if pending.batch.is_empty() {
            return None;
        }
        let Some(session) = pending.session.clone() else {
            pending.have_failed();
            return None;
        };
        pending.since = None;
        let taken = Self {
            of,
            batch: std::mem::take(&mut pending.batch),
            lost: pending.lost,
        };
        Some((taken, session))
    }

    fn are_written(mut self) {
        self.batch = Batch::default();
        let mut pending = self.of.lock();
        pending.lost = pending.lost.saturating_sub(self.lost);
        pending.failing = None;
        if pending.batch.is_empty() {
            pending.session = None;
        }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let mut pending = self.of.lock();
        let later = std::mem::replace(&mut pending.batch, std::mem::take(&mut self.batch));
        pending.lost += pending.batch.append(later);
        pending.have_failed();
    }
}

impl Pending {
    fn have_failed(&mut self) {
        let now = Instant::now();
        self.since = Some(now);
        let failing = *self.failing.get_or_insert(now);
        if failing.elapsed() >= GIVEN_UP {
            self.lost += self.batch.accesses();
            *self = Self {
                lost: self.lost,
                ..Self::default()
            };
        }
    }
}

impl Accessor {
    /// Whether its accesses can go on: whether receipts are written, or were until recently.
    ///
    /// # Errors
    /// When they cannot.
    pub fn may_go_on(&self) -> Result<(), Unwritable> {
        let pending = self.of.lock();
        let failing = pending.failing;
        let too_long = failing.is_some_and(|since| since.elapsed() >= self.patience);
        match too_long || pending.batch.is_full() {
            true => Err(Unwritable),
            false => Ok(()),
        }
    }

    /// The digest of an act on what this accessor has access to.
    #[must_use]
    pub fn digest(&self, act: &Act<'_>) -> [u8; 32] {
        act.digest(&self.target)
    }

    /// Notes an access. `session` is asked for if there is none to write with.
    pub fn note(
        &self,
        kind: Kind,
        digest: [u8; 32],
        records: usize,
        session: impl FnOnce() -> Option<Arc<Session>>,
    ) {
        let now = self.clock.now();
        let entry = Entry {
            first: now,
            last: now,
            grant: self.grant,
            app: self.app.clone(),
            kind,
            target: Arc::clone(&self.target),
            times: 1,
            records: records as u64,
            digest,
        };
        let mut pending = self.of.lock();
        if pending.batch.note(entry).is_err() {
            pending.lost += 1;
        }
        pending.since.get_or_insert_with(Instant::now);
        // When it fails, it may be the session's fault: whoever comes brings another.
        if (pending.session.is_none() || pending.failing.is_some())
            && let Some(session) = session()
        {
            pending.session = Some(session);
        }
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Journal")
    }
}

impl fmt::Debug for Accessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Accessor(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accessor(of: &Arc<OfTenant>, patience: Duration) -> Accessor {
        Accessor {
            of: Arc::clone(of),
            clock: Clock::system(),
            patience,
            grant: Uuid::from_u128(1),
            app: None,
            target: "db:notes".into(),
        }
    }

    fn note(accessor: &Accessor, times: usize) {
        for n in 0..times {
            let digest = accessor.digest(&Act::Get(&n.to_string()));
            accessor.note(Kind::Get, digest, 1, || None);
        }
    }

    #[tokio::test]
    async fn accesses_go_on_for_a_while_without_receipts_and_then_no_more() {
        let of = Arc::new(OfTenant::default());
        let (patient, impatient) = (
            accessor(&of, Duration::from_secs(60)),
            accessor(&of, Duration::ZERO),
        );
        note(&patient, 1);
        assert_eq!(impatient.may_go_on(), Ok(()), "nothing has failed yet");
        // There is nothing to write with.
        of.write().await;
        assert_eq!(patient.may_go_on(), Ok(()));
        assert_eq!(impatient.may_go_on(), Err(Unwritable));
        assert_eq!(of.lock().batch.accesses(), 1, "it waits");
        let taken = Taken {
            of: &of,
            batch: std::mem::take(&mut of.lock().batch),
            lost: 0,
        };
        taken.are_written();
        assert_eq!(impatient.may_go_on(), Ok(()));
    }

    #[test]
    fn what_was_not_written_comes_back_before_what_came_meanwhile() {
        let of = Arc::new(OfTenant::default());
        let accessor = accessor(&of, Duration::from_secs(60));
        note(&accessor, 3);
        let first = of.lock().batch.entries().to_vec();
        let taken = Taken {
            of: &of,
            batch: std::mem::take(&mut of.lock().batch),
            lost: 0,
        };
        note(&accessor, 2);
        // Its writer was not waited for.
        drop(taken);
        let pending = of.lock();
        assert_eq!(pending.batch.accesses(), 5);
        assert_eq!(pending.batch.entries()[..3], first);
        assert!(pending.failing.is_some() && pending.lost == 0);
    }

    #[test]
    fn what_cannot_be_written_for_an_hour_is_owned_up_to() {
        let of = OfTenant::default();
        let of = Arc::new(of);
        note(&accessor(&of, Duration::ZERO), 250);
        let mut pending = of.lock();
        pending.failing = Instant::now().checked_sub(GIVEN_UP);
        pending.have_failed();
        assert!(pending.batch.is_empty() && pending.failing.is_none());
        assert_eq!(pending.lost, 250);
    }

    /// What a receipt adds to an access; `cargo test -p adyton-node --lib -- --ignored --nocapture receipt_costs`.
    #[test]
    #[ignore = "a measurement"]
    #[allow(clippy::print_stderr)]
    fn receipt_costs() {
        let of = Arc::new(OfTenant::default());
        let accessor = accessor(&of, Duration::from_secs(60));
        let began = std::time::Instant::now();
        note(&accessor, 100_000);
        eprintln!("{} ns per access", began.elapsed().as_nanos() / 100_000);
    }
}
