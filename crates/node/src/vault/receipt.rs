//! The receipt of one access, which is noted whatever becomes of the access.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::error::VaultError;
use super::loaded::LoadedDatabase;
use super::vault::Vault;
use crate::authn::TenantId;
use crate::authz::{Permit, PermitAction};
use crate::receipts::{Accessor, Act, Kind};

/// An access that has begun. Noted when it is dropped: also when its caller has gone meanwhile.
pub(super) struct Receipt<'v> {
    vault: &'v Vault,
    tenant: &'v TenantId,
    /// None for the owner.
    noted: Option<(Accessor, Kind, [u8; 32])>,
    records: usize,
}

impl Vault {
    /// The database of the permit's resource, and the receipt of what is done with it.
    pub(super) async fn begin<'v, A: PermitAction>(
        &'v self,
        permit: &'v Permit<A>,
        act: Act<'_>,
    ) -> Result<(Arc<LoadedDatabase>, Receipt<'v>), VaultError> {
        // Nothing is loaded for an access that could not be written down.
        let accessor = self.journal().accessor(permit)?;
        let database = self.loaded(permit).await?;
        let noted = accessor.map(|accessor| {
            let digest = accessor.digest(&act);
            (accessor, act.kind(), digest)
        });
        let receipt = Receipt {
            vault: self,
            tenant: permit.tenant(),
            noted,
            records: 0,
        };
        Ok((database, receipt))
    }

    /// Notes a change before it is made: what a caller who has gone has begun is made all the same.
    pub(super) async fn begin_change<A: PermitAction>(
        &self,
        permit: &Permit<A>,
        act: Act<'_>,
        records: usize,
    ) -> Result<(), VaultError> {
        let (_, mut receipt) = self.begin(permit, act).await?;
        receipt.shows(records);
        Ok(())
    }

    /// Writes all receipts that are not written yet: the node shuts down.
    pub async fn write_receipts(&self, time: Duration) {
        let _ = tokio::time::timeout(time, self.journal().write_all()).await;
    }
}

impl Receipt<'_> {
    /// How many records were shown or changed.
    pub(super) fn shows(&mut self, records: usize) {
        self.records = records;
    }

    /// What notes later accesses of the same kind.
    pub(super) fn into_accessor(mut self) -> Option<(Accessor, [u8; 32])> {
        let (accessor, kind, digest) = self.noted.take()?;
        self.note(&accessor, kind, digest);
        Some((accessor, digest))
    }

    fn note(&self, accessor: &Accessor, kind: Kind, digest: [u8; 32]) {
        accessor.note(kind, digest, self.records, || {
            let tenant = self.vault.in_memory(self.tenant)?.upgrade()?;
            tenant.session()
        });
    }
}

impl Drop for Receipt<'_> {
    fn drop(&mut self) {
        if let Some((accessor, kind, digest)) = self.noted.take() {
            self.note(&accessor, kind, digest);
        }
    }
}

impl fmt::Debug for Receipt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receipt(..)")
    }
}

/// Writes what is due, and ends with the vault.
pub(super) async fn write_due(vault: Weak<Vault>, tick: Duration) {
    let mut tick = tokio::time::interval(tick);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let Some(vault) = vault.upgrade() else { return };
        let is_loaded = |tenant: &TenantId| vault.in_memory(tenant).is_some();
        vault.journal().write_due(is_loaded).await;
    }
}
