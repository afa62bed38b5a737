//! Which tenants are in memory: who comes in, and who goes for whom.
//!
//! Guarantees: a tenant that a caller holds is not dropped for another's sake; what is idle goes by itself.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::admission::{Candidate, who_goes};
use super::database_task::Budgets;
use super::error::VaultError;
use super::loading::LoadTurns;
use super::tenant::Tenant;
use super::vault::Vault;
use crate::authn::TenantId;
use crate::authz::Owner;

impl Vault {
    /// Drops who could not be loaded and so takes a place for nothing, and who was idle for a while. A
    /// tenant that a caller holds is just beginning.
    pub(super) fn make_room(&self, tenants: &mut HashMap<TenantId, Arc<Tenant>>) {
        let crowded = self.around.limits.crowded;
        tenants.retain(|_, tenant| {
            Arc::strong_count(tenant) > 1 || (tenant.is_in_use() && tenant.idle_for() < crowded)
        });
    }

    /// Makes room for a load of a tenant: drops what this tenant does not use, if it lacks its own budget, and whoever has
    /// been idle longest, if the node lacks memory. Says whether anything goes; it is wiped a little later.
    pub(super) fn relieve(&self, id: &TenantId, bytes: usize) -> bool {
        let crowded = self.around.limits.crowded;
        let mut tenants = self.lock();
        let own = tenants.get(id);
        let lacks_own = own.is_some_and(|own| own.lacks(bytes));
        let goes = lacks_own && own.is_some_and(|own| own.forget_idle(crowded));
        let missing = self
            .budget
            .used()
            .saturating_add(bytes)
            .saturating_sub(self.budget.limit());
        let others = tenants.iter().filter(|(other, tenant)| {
            // A tenant that a caller holds is in use.
            *other != id && Arc::strong_count(tenant) == 1
        });
        let candidates = others.map(|(who, tenant)| Candidate {
            who: who.clone(),
            idle: tenant.idle_for(),
            holds: tenant.holds(),
        });
        let going = who_goes(candidates.collect(), missing, crowded);
        for who in &going {
            tenants.remove(who);
        }
        goes || !going.is_empty()
    }

    /// The tenant, in memory from now on if it was not.
    pub(super) fn tenant(&self, id: &TenantId) -> Result<Arc<Tenant>, VaultError> {
        let mut tenants = self.lock();
        if let Some(tenant) = tenants.get(id) {
            tenant.touch();
            return Ok(Arc::clone(tenant));
        }
        if tenants.len() >= self.around.limits.tenants {
            self.make_room(&mut tenants);
        }
        if tenants.len() >= self.around.limits.tenants {
            return Err(VaultError::Overloaded);
        }
        let limits = &self.around.limits;
        let tenant = Arc::new(Tenant::new(Budgets {
            budget: self.budget.within(limits.tenant_bytes),
            // One tenant cannot have all of it.
            transit: self.transit.within(self.transit.limit() / 2),
            turns: LoadTurns {
                schedule: self.loads.clone(),
                tenant: id.clone(),
            },
        }));
        tenants.insert(id.clone(), Arc::clone(&tenant));
        Ok(tenant)
    }

    /// What is answered is visible: whoever was evicted while it was changed may have been loaded again from before the
    /// change, and is loaded once more.
    pub(super) fn forget_older(&self, id: &TenantId, changed: &Arc<Tenant>) {
        let mut tenants = self.lock();
        let is_other = |now: &Arc<Tenant>| !Arc::ptr_eq(now, changed);
        if tenants.get(id).is_some_and(is_other) {
            tenants.remove(id);
        }
    }

    /// The tenant if it is in memory, and not held there.
    pub(super) fn in_memory(&self, id: &TenantId) -> Option<Weak<Tenant>> {
        self.lock().get(id).map(Arc::downgrade)
    }

    /// Drops everything of one tenant in memory, because its owner wants it. What is being computed is not shown any
    /// more: its callers have gone or are told that the data was unloaded.
    pub fn evict(&self, owner: &Owner<'_>) {
        let evicted = self.lock().remove(owner.tenant());
        drop(evicted);
    }

    /// Drops everything in memory.
    pub fn evict_all(&self) {
        self.lock().clear();
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, Arc<Tenant>>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends with the vault.
pub(super) async fn evict_idle(vault: Weak<Vault>, idle: Duration) {
    let mut tick =
        tokio::time::interval((idle / 4).clamp(Duration::from_millis(50), Duration::from_secs(30)));
    loop {
        tick.tick().await;
        let Some(vault) = vault.upgrade() else { return };
        let mut tenants = vault.lock();
        tenants.retain(|_, tenant| tenant.unheard_for() < idle);
        for tenant in tenants.values() {
            tenant.forget_idle(idle);
        }
    }
}
