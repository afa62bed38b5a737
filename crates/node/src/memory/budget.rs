//! How many bytes may be held: per tenant, within what the node may hold.
//!
//! Guarantees: what a [`Reservation`] covers is counted until the reservation is dropped, and no
//! reservation is given that would exceed a limit. Refuses to know: what the bytes are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use adyton_client::pull::{Reserved, Room};

/// A number of bytes that may be held, shared by all who hold some of them.
#[derive(Clone, Debug)]
pub struct Budget {
    account: Arc<Account>,
}

#[derive(Debug)]
struct Account {
    limit: usize,
    used: AtomicUsize,
    within: Option<Budget>,
}

/// The budget is exhausted. Nothing was lost; free something or refuse the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("memory budget is exhausted")]
pub struct OverBudget;

impl Budget {
    /// A budget of its own: the whole node's.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self::with(limit, None)
    }

    /// A budget whose bytes count towards this one too: a tenant's.
    #[must_use]
    pub fn within(&self, limit: usize) -> Self {
        Self::with(limit, Some(self.clone()))
    }

    fn with(limit: usize, within: Option<Budget>) -> Self {
        Self {
            account: Arc::new(Account {
                limit,
                used: AtomicUsize::new(0),
                within,
            }),
        }
    }

    /// The bytes reserved now.
    #[must_use]
    pub fn used(&self) -> usize {
        self.account.used.load(Ordering::Relaxed)
    }

    /// The most bytes that may be reserved.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.account.limit
    }

    /// The most bytes that could ever be reserved: the smallest limit that holds.
    #[must_use]
    pub fn most(&self) -> usize {
        let within = self.account.within.as_ref();
        within.map_or(self.limit(), |within| within.most().min(self.limit()))
    }

    /// Reserves `bytes`.
    ///
    /// # Errors
    /// When this budget, or one it lies within, would be exceeded.
    pub fn reserve(&self, bytes: usize) -> Result<Reservation, OverBudget> {
        self.take(bytes)?;
        Ok(Reservation {
            budget: self.clone(),
            bytes,
        })
    }

    /// Counts `bytes` even beyond the limit: for the moment in which old plaintext is moved so
    /// that it can be wiped, which must not fail.
    pub(crate) fn reserve_beyond_limit(&self, bytes: usize) -> Reservation {
        self.take_beyond_limit(bytes);
        Reservation {
            budget: self.clone(),
            bytes,
        }
    }

    fn take_beyond_limit(&self, bytes: usize) {
        let mut budget = Some(self);
        while let Some(Budget { account }) = budget {
            account.used.fetch_add(bytes, Ordering::Relaxed);
            budget = account.within.as_ref();
        }
    }

    fn take(&self, bytes: usize) -> Result<(), OverBudget> {
        let account = &self.account;
        account
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= account.limit)
            })
            .map_err(|_| OverBudget)?;
        match account.within.as_ref().map(|within| within.take(bytes)) {
            Some(Err(over)) => {
                account.used.fetch_sub(bytes, Ordering::Relaxed);
                Err(over)
            }
            Some(Ok(())) | None => Ok(()),
        }
    }

    fn give_back(&self, bytes: usize) {
        let mut budget = Some(self);
        while let Some(Budget { account }) = budget {
            account.used.fetch_sub(bytes, Ordering::Relaxed);
            budget = account.within.as_ref();
        }
    }
}

impl Room for Budget {
    fn reserve(&self, bytes: usize) -> Option<Reserved> {
        let reservation = Self::reserve(self, bytes).ok()?;
        Some(Box::new(reservation))
    }
}

/// Bytes of a [`Budget`], given back on drop.
#[derive(Debug)]
#[must_use]
pub struct Reservation {
    budget: Budget,
    bytes: usize,
}

impl Reservation {
    /// How many bytes this covers.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Covers `bytes` from now on.
    ///
    /// # Errors
    /// When more are wanted than the budget has; the reservation stays as it was.
    pub fn resize(&mut self, bytes: usize) -> Result<(), OverBudget> {
        match bytes.checked_sub(self.bytes) {
            Some(more) => self.budget.take(more)?,
            None => self.budget.give_back(self.bytes - bytes),
        }
        self.bytes = bytes;
        Ok(())
    }
}

impl Reservation {
    /// Covers `bytes` from now on, even beyond the limit: for what is held already.
    pub(crate) fn resize_beyond_limit(&mut self, bytes: usize) {
        match bytes.checked_sub(self.bytes) {
            Some(more) => self.budget.take_beyond_limit(more),
            None => self.budget.give_back(self.bytes - bytes),
        }
        self.bytes = bytes;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reservation_is_counted_until_it_is_dropped() {
        let budget = Budget::new(100);
        let mut held = budget.reserve(60).unwrap();
        assert_eq!(budget.reserve(41).unwrap_err(), OverBudget);
        let rest = budget.reserve(40).unwrap();
        assert_eq!(held.resize(61), Err(OverBudget));
        assert_eq!((held.bytes(), budget.used()), (60, 100));
        drop(rest);
        held.resize(100).unwrap();
        held.resize(1).unwrap();
        assert_eq!(budget.used(), 1);
        drop(held);
        assert_eq!(budget.used(), 0);
        assert!(budget.reserve(usize::MAX).is_err());
    }

    #[test]
    fn tenants_share_what_the_node_has() {
        let node = Budget::new(100);
        let (ann, bob) = (node.within(80), node.within(80));
        let held = ann.reserve(70).unwrap();
        assert!(bob.reserve(31).is_err());
        assert_eq!((bob.used(), node.used()), (0, 70));
        let also = bob.reserve(30).unwrap();
        assert!(ann.reserve(1).is_err());
        drop(held);
        drop(also);
        assert_eq!((ann.used(), bob.used(), node.used()), (0, 0, 0));
    }

    #[test]
    fn moving_plaintext_never_fails() {
        let node = Budget::new(10);
        let tenant = node.within(10);
        let held = tenant.reserve(10).unwrap();
        let moving = tenant.reserve_beyond_limit(10);
        assert_eq!((tenant.used(), node.used()), (20, 20));
        drop(moving);
        drop(held);
        assert_eq!(node.used(), 0);
    }
}
