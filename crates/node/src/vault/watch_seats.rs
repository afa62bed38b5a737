//! How many watches there may be: of one grant, of one tenant, on the node.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::authn::TenantId;

/// One grant may have this part of its tenant's watches.
const GRANT_SHARE: usize = 4;

/// How many watches may be open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchLimits {
    /// On the node.
    pub node: usize,
    /// Of one tenant.
    pub tenant: usize,
}

/// There are too many watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooManyWatches {
    /// Of one grant or tenant.
    #[error("too many watches are open; close some")]
    Yours,
    /// On the node.
    #[error("the node has no room for more watches")]
    All,
}

/// The open watches, counted.
#[derive(Default)]
pub(super) struct WatchSeats {
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by: HashMap<TenantId, OfTenant>,
}

#[derive(Default)]
struct OfTenant {
    all: usize,
    by_grant: HashMap<Uuid, usize>,
}

/// An open watch; none when dropped.
pub(super) struct WatchSeat {
    seats: Arc<WatchSeats>,
    tenant: TenantId,
    grant: Option<Uuid>,
}

impl WatchSeats {
    /// One more watch, of a grant or of the owner.
    pub(super) fn take(
        self: &Arc<Self>,
        limits: WatchLimits,
        tenant: &TenantId,
        grant: Option<Uuid>,
    ) -> Result<WatchSeat, TooManyWatches> {
        let mut taken = self.taken();
        let of_tenant = taken.by.get(tenant);
        let of_grant = of_tenant
            .zip(grant)
            .and_then(|(all, grant)| all.by_grant.get(&grant));
        if of_tenant.is_some_and(|of| of.all >= limits.tenant)
            || of_grant.is_some_and(|of| *of >= (limits.tenant / GRANT_SHARE).max(1))
        {
            return Err(TooManyWatches::Yours);
        }
        if taken.all >= limits.node {
            return Err(TooManyWatches::All);
        }
        taken.all += 1;
        let of_tenant = taken.by.entry(tenant.clone()).or_default();
        of_tenant.all += 1;
        if let Some(grant) = grant {
            *of_tenant.by_grant.entry(grant).or_default() += 1;
        }
        drop(taken);
        Ok(WatchSeat {
            seats: Arc::clone(self),
            tenant: tenant.clone(),
            grant,
        })
    }

    /// How many watches are open.
    pub(super) fn len(&self) -> usize {
        self.taken().all
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for WatchSeat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        taken.all -= 1;
        let Some(of_tenant) = taken.by.get_mut(&self.tenant) else {
            return;
        };
        of_tenant.all -= 1;
        if let Some(grant) = self.grant
            && let Some(of_grant) = of_tenant.by_grant.get_mut(&grant)
        {
            *of_grant -= 1;
            if *of_grant == 0 {
                of_tenant.by_grant.remove(&grant);
            }
        }
        if of_tenant.all == 0 {
            taken.by.remove(&self.tenant);
        }
    }
}

impl fmt::Debug for WatchSeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WatchSeat(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use adyton_keys::context_session::ContextSession;
    use serde_json::Value;

    fn tenant() -> TenantId {
        let vector = include_str!("../../../../vectors/context_session.json");
        let vector: Value = serde_json::from_str(vector).unwrap();
        let session = ContextSession::parse_api_key(vector["x_api_key"].as_str().unwrap());
        TenantId::of(&session.unwrap())
    }

    #[test]
    fn watches_are_limited_by_grant_tenant_and_node_and_closing_one_makes_room() {
        let seats = Arc::new(WatchSeats::default());
        let (tenant, grant) = (tenant(), Some(Uuid::from_u128(1)));
        let limits = WatchLimits { node: 9, tenant: 8 };
        let first = seats.take(limits, &tenant, grant).unwrap();
        let second = seats.take(limits, &tenant, grant).unwrap();
        let third = seats.take(limits, &tenant, grant);
        assert_eq!(third.unwrap_err(), TooManyWatches::Yours);
        let owners: Vec<_> = (0..6)
            .map(|_| seats.take(limits, &tenant, None).unwrap())
            .collect();
        let ninth = seats.take(limits, &tenant, None);
        assert_eq!(ninth.unwrap_err(), TooManyWatches::Yours);
        drop(second);
        let again = seats.take(limits, &tenant, grant).unwrap();
        let full = WatchLimits {
            node: 8,
            tenant: 20,
        };
        let none = seats.take(full, &tenant, None);
        assert_eq!(none.unwrap_err(), TooManyWatches::All);
        drop((first, again, owners));
        assert_eq!(seats.len(), 0);
        assert!(seats.taken().by.is_empty());
    }
}
