//! The vault: every tenant's decrypted records, reachable with a permit and in no other way.
//!
//! Guarantees: the permit names the tenant and the resource, so two tenants cannot be mixed up; a record
//! that a resource does not include does not exist for its caller; what is idle is dropped and
//! zeroized. Refuses to know: HTTP, credentials, scopes.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use adyton_client::clock::Clock;
use adyton_client::schema::SchemaSet;
use adyton_client::transport::Transport;
use adyton_couch::selector::Selector;
use adyton_protocol::database::DatabaseName;
use adyton_protocol::schema::SchemaDirectory;
use adyton_protocol::scope::Action;
use serde_json::{Map, Value};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::database_task::{BulkSaved, Change, Command, Reach, Saved};
use super::error::VaultError;
use super::lanes::Turns;
use super::limits::VaultLimits;
use super::loaded::LoadedDatabase;
use super::patience::{Patience, StillLoading};
use super::receipt;
use super::room;
use super::schedule::Schedule;
use super::tenant::{NotDone, Tenant};
use super::watch_seats::{TooManyWatches, WatchSeat, WatchSeats};
use crate::authn::TenantId;
use crate::authz::{Delete, Owner, Permit, PermitAction, Read, Write};
use crate::memory::{
    Budget, Document, Explanation, FieldNotGranted, Measure, Page, Query, QueryError, Reservation,
    Summary,
};
use crate::receipts::{Act, Journal};

/// The part of the node's memory that large rows may take on their way.
const TRANSIT_SHARE: usize = 2;
/// How often a command is handed to a database whose task may just have ended.
const ORDER_ATTEMPTS: usize = 3;
/// Computations of one tenant that may wait for their turn.
const WAITING: usize = 1_000;
/// Records that are found by their ids without waiting for a turn.
const FEW_IDS: usize = 2_000;
/// How long the last receipts of a tenant may take, whose owner wants it evicted at once.
const LAST_RECEIPTS: Duration = Duration::from_millis(500);
/// Until a record that is just being changed is read again.
const BETWEEN_TRIES: Duration = Duration::from_millis(5);

/// What every tenant needs from outside.
#[derive(Debug)]
pub(super) struct Surroundings {
    pub(super) transport: Transport,
    pub(super) clock: Clock,
    pub(super) limits: VaultLimits,
    pub(super) schemas: Arc<SchemaSet>,
    /// Whatever is computed for long: large queries, and what a user's own schemas take.
    pub(super) computations: Schedule<TenantId>,
    vault: Weak<Vault>,
}

impl Surroundings {
    /// Makes room for a tenant's load; see [`Vault::relieve`].
    pub(super) fn relieve(&self, tenant: &TenantId, bytes: usize) -> bool {
        let vault = self.vault.upgrade();
        vault.is_some_and(|vault| vault.relieve(tenant, bytes))
    }
}

/// All tenants of this node.
pub struct Vault {
    pub(super) around: Arc<Surroundings>,
    pub(super) budget: Budget,
    /// Large rows on their way, beside what is loaded: peers that send without end fill this and nothing else.
    pub(super) transit: Budget,
    pub(super) tenants: Mutex<HashMap<TenantId, Arc<Tenant>>>,
    watches: Arc<WatchSeats>,
    journal: Journal,
    /// Cancelled when the node shuts down.
    closing: CancellationToken,
    /// Batches of records that are opened and taken in: short work, so that one tenant may have all turns while nobody else
    /// wants one.
    pub(super) loads: Schedule<TenantId>,
}

/// The answer to a query, and what could not be part of it.
#[derive(Debug)]
pub struct Answer {
    /// The records.
    pub page: Page,
    /// Records of the database that could not be opened.
    pub unreadable: usize,
}

/// Records asked for by their ids.
#[derive(Debug)]
pub struct Found {
    /// Those that are there for the caller.
    pub documents: Vec<Document>,
    /// The ids of the others.
    pub missing: Vec<String>,
    /// Covers the handles.
    pub counted: Reservation,
}

impl Vault {
    /// An empty vault that evicts what is idle for as long as it exists.
    pub fn new(
        transport: Transport,
        clock: Clock,
        limits: VaultLimits,
        schemas: Arc<SchemaSet>,
    ) -> Arc<Self> {
        let vault = Arc::new_cyclic(|vault| Self {
            around: Arc::new(Surroundings {
                transport,
                clock: clock.clone(),
                limits,
                schemas,
                computations: Schedule::new(Turns {
                    at_once: limits.workers,
                    // Whoever asks for much leaves a turn for whoever comes.
                    of_one: (limits.workers / 2).max(1),
                    waiting_of_one: WAITING,
                }),
                vault: Weak::clone(vault),
            }),
            budget: Budget::new(limits.node_bytes),
            transit: Budget::new(limits.node_bytes / TRANSIT_SHARE),
            tenants: Mutex::default(),
            watches: Arc::default(),
            journal: Journal::new(clock, limits.idle),
            closing: CancellationToken::new(),
            loads: Schedule::new(Turns {
                at_once: limits.workers,
                of_one: limits.workers,
                // A load has a few batches in hand.
                waiting_of_one: limits
                    .databases_per_tenant
                    .saturating_mul(limits.workers.saturating_add(1)),
            }),
        });
        tokio::spawn(room::evict_idle(Arc::downgrade(&vault), limits.idle));
        tokio::spawn(receipt::write_due(
            Arc::downgrade(&vault),
            vault.journal.tick(),
        ));
        vault
    }

    /// The connections to storage nodes.
    pub fn transport(&self) -> &Transport {
        &self.around.transport
    }

    /// The record with this id, as the permit's view shows it.
    pub async fn get(&self, permit: &Permit<Read>, id: &str) -> Result<Document, VaultError> {
        let (database, mut receipt) = self.begin(permit, Act::Get(id)).await?;
        loop {
            if let Some(found) = database.try_get(permit.view(), id) {
                receipt.shows(found.is_ok().into());
                return found;
            }
            // A change waits for a long query. Readers of one record are many: none of them takes a thread.
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
    }

    /// Those of these records that the view shows, in the order asked for; how many handles that may be is for the
    /// caller to limit.
    pub async fn by_ids(
        &self,
        permit: &Permit<Read>,
        ids: Vec<String>,
    ) -> Result<Found, VaultError> {
        let (database, mut receipt) = self.begin(permit, Act::GetAll(&ids)).await?;
        let view = permit.view().clone();
        let is_quick = ids.len() <= FEW_IDS;
        let found = self.compute(permit.tenant(), database, is_quick, move |database| {
            let (documents, counted) = database.documents().by_ids(&view, &ids)?;
            let mut missing = ids;
            let found: HashSet<&str> = documents.iter().map(Document::id).collect();
            missing.retain(|id| !found.contains(&**id));
            Ok(Found {
                documents,
                missing,
                counted,
            })
        });
        let found = found.await?;
        receipt.shows(found.documents.len());
        Ok(found)
    }

    /// Answers a query within the permit's view.
    pub async fn query(&self, permit: &Permit<Read>, query: Query) -> Result<Answer, VaultError> {
        let (database, mut receipt) = self.begin(permit, Act::Query(&query)).await?;
        let view = permit.view().clone();
        let is_quick = database
            .try_documents()
            .is_some_and(|documents| documents.is_quick(&view, &query.selector, &query.sort));
        let answer = self.compute(permit.tenant(), database, is_quick, move |database| {
            let page = database.documents().query(&view, &query)?;
            Ok(Answer {
                page,
                unreadable: database.unreadable(&view),
            })
        });
        let answer = answer.await?;
        receipt.shows(answer.page.documents.len());
        Ok(answer)
    }

    /// Counts the records of the permit's view that a selector takes.
    pub async fn count(
        &self,
        permit: &Permit<Read>,
        selector: Selector,
    ) -> Result<usize, VaultError> {
        let (database, _receipt) = self.begin(permit, Act::Count(&selector)).await?;
        let view = permit.view().clone();
        let is_quick = database
            .try_documents()
            .is_some_and(|documents| documents.is_quick(&view, &selector, &[]));
        self.compute(permit.tenant(), database, is_quick, move |database| {
            Ok(database.documents().count(&view, &selector)?)
        })
        .await
    }

    /// Sums over the records of the permit's view that a selector takes.
    pub async fn aggregate(
        &self,
        permit: &Permit<Read>,
        selector: Selector,
        measures: Vec<Measure>,
    ) -> Result<Vec<Summary>, VaultError> {
        let (database, _receipt) = self.begin(permit, Act::Aggregate(&selector)).await?;
        let view = permit.view().clone();
        let is_quick = database
            .try_documents()
            .is_some_and(|documents| documents.is_small());
        self.compute(permit.tenant(), database, is_quick, move |database| {
            let documents = database.documents();
            Ok(documents.aggregate(&view, &selector, &measures)?)
        })
        .await
    }

    /// How a query would be answered within the permit's view.
    pub async fn explain(
        &self,
        permit: &Permit<Read>,
        query: Query,
    ) -> Result<Explanation, VaultError> {
        let (database, _receipt) = self.begin(permit, Act::Explain(&query)).await?;
        let view = permit.view().clone();
        let is_quick = database
            .try_documents()
            .is_some_and(|documents| documents.is_small());
        self.compute(permit.tenant(), database, is_quick, move |database| {
            Ok(database.documents().explain(&view, &query)?)
        })
        .await
    }

    /// Creates a record. Returns when the storage node has it durably.
    pub async fn create(
        &self,
        permit: &Permit<Write>,
        record: Map<String, Value>,
    ) -> Result<Saved, VaultError> {
        self.begin_change(permit, Act::Create, 1).await?;
        let mut saved = self.change(permit, Change::Create { record }).await?;
        permit.view().strip(&mut saved.record);
        Ok(saved)
    }

    /// Replaces a record. `force` takes the current revision, whatever the record says.
    pub async fn update(
        &self,
        permit: &Permit<Write>,
        id: String,
        record: Map<String, Value>,
        force: bool,
    ) -> Result<Saved, VaultError> {
        sees_whole_records(permit)?;
        self.begin_change(permit, Act::Update(&id), 1).await?;
        self.change(permit, Change::Update { id, record, force })
            .await
    }

    /// Changes some members of a record (RFC 7396): of the expected revision, or of whichever is current. What comes
    /// back has the members that were not named, too, so reading is needed as well.
    pub async fn patch(
        &self,
        permit: &Permit<Write>,
        reading: &Permit<Read>,
        id: String,
        patch: Map<String, Value>,
        expected: Option<String>,
    ) -> Result<Saved, VaultError> {
        sees_whole_records(permit)?;
        sees_whole_records(reading)?;
        let view = reading.view();
        if !view.is_whole_database() && view != permit.view() {
            // What may be changed and what may be read are not the same: this must be both.
            self.get(reading, &id).await?;
        }
        self.begin_change(permit, Act::Update(&id), 1).await?;
        let change = Change::Patch {
            id,
            patch,
            expected,
        };
        self.change(permit, change).await
    }

    /// Writes many records at once, those with a `_rev` as new versions. Nothing is written unless all are valid.
    pub async fn write_all(
        &self,
        permit: &Permit<Write>,
        records: Vec<Map<String, Value>>,
    ) -> Result<BulkSaved, VaultError> {
        if records.iter().any(|record| record.contains_key("_rev")) {
            sees_whole_records(permit)?;
        }
        self.begin_change(permit, Act::Create, records.len())
            .await?;
        let (reply, outcome) = oneshot::channel();
        let command = Command::Bulk {
            reach: self.reach_of(permit).await?,
            records,
            reply,
        };
        let mut saved = self.order(permit, command, outcome).await?;
        for saved in saved.iter_mut().flatten() {
            permit.view().strip(&mut saved.record);
        }
        Ok(saved)
    }

    /// Deletes a record, if it has the expected revision or none is expected. Of it nobody shall know less than who deletes
    /// it.
    pub async fn delete(
        &self,
        permit: &Permit<Delete>,
        id: String,
        expected: Option<String>,
    ) -> Result<Saved, VaultError> {
        sees_whole_records(permit)?;
        self.begin_change(permit, Act::Delete(&id), 1).await?;
        self.change(permit, Change::Delete { id, expected }).await
    }

    /// Ends a whole database with everything in it, here and on its storage node. A permit for less than the whole
    /// database does not reach it.
    pub async fn destroy(&self, permit: &Permit<Delete>) -> Result<(), VaultError> {
        if !permit.view().is_whole_database() {
            return Err(VaultError::NotFound);
        }
        self.begin_change(permit, Act::Destroy, 0).await?;
        let (reply, outcome) = oneshot::channel();
        self.order(permit, Command::Destroy { reply }, outcome)
            .await
    }

    /// Bytes held for all tenants.
    pub fn usage(&self) -> usize {
        self.budget.used()
    }

    /// How many watches are open.
    pub fn watches(&self) -> usize {
        self.watches.len()
    }

    /// Ends all watches: the node shuts down.
    pub fn end_watches(&self) {
        self.closing.cancel();
    }

    pub(super) fn journal(&self) -> &Journal {
        &self.journal
    }

    pub(super) fn closing(&self) -> CancellationToken {
        self.closing.clone()
    }

    pub(super) fn watch_seat(
        &self,
        tenant: &TenantId,
        grant: Option<Uuid>,
    ) -> Result<WatchSeat, TooManyWatches> {
        self.watches.take(self.around.limits.watches, tenant, grant)
    }

    /// Writes what receipts are left of a tenant, and drops everything of it in memory.
    pub async fn close(&self, owner: &Owner<'_>) {
        self.journal.close(owner.tenant(), LAST_RECEIPTS).await;
        self.evict(owner);
    }

    async fn change<A: PermitAction>(
        &self,
        permit: &Permit<A>,
        change: Change,
    ) -> Result<Saved, VaultError> {
        let (reply, outcome) = oneshot::channel();
        let command = Command::Change {
            reach: self.reach_of(permit).await?,
            change,
            reply,
        };
        self.order(permit, command, outcome).await
    }

    /// What a change with this permit may reach.
    async fn reach_of<A: PermitAction>(&self, permit: &Permit<A>) -> Result<Reach, VaultError> {
        let schema = permit.resource().schema().cloned();
        let mut schemas = Arc::clone(self.published());
        if let Some(uri) = &schema
            && schemas.get(uri.as_str()).is_none()
        {
            // It may have become another one since the permit was made: then it is of another database, or none.
            schemas = Arc::clone(&self.schemas_for(permit).await?.set);
            if schemas.database_of(uri).as_ref() != Some(permit.resource().database()) {
                return Err(VaultError::NotFound);
            }
        }
        Ok(Reach {
            schema,
            schemas,
            view: permit.view().clone(),
        })
    }

    async fn order<A: PermitAction, T>(
        &self,
        permit: &Permit<A>,
        mut command: Command,
        mut outcome: oneshot::Receiver<Result<T, VaultError>>,
    ) -> Result<T, VaultError> {
        for _ in 0..ORDER_ATTEMPTS {
            self.loaded(permit).await?;
            let tenant = self.tenant(permit.tenant())?;
            let name = permit.resource().database();
            match tenant.order(name, command, &mut outcome).await {
                Ok(done) => {
                    self.forget_older(permit.tenant(), &tenant);
                    return Ok(done);
                }
                Err(NotDone::Failed(error)) => return Err(error),
                Err(NotDone::NotTaken(untouched)) => command = untouched,
            }
        }
        Err(VaultError::Stopped)
    }

    /// What [`Vault::begin`] is for everybody else: no access is without its receipt.
    pub(super) async fn loaded<A: PermitAction>(
        &self,
        permit: &Permit<A>,
    ) -> Result<Arc<LoadedDatabase>, VaultError> {
        let tenant = self.tenant(permit.tenant())?;
        // What ended meanwhile does not bring back what was evicted with it.
        if let Some(ended) = permit.life().and_then(|life| life.end()) {
            return Err(VaultError::Grant(ended));
        }
        let name = permit.resource().database();
        let loading = tenant.loaded(name, || permit.session(), &self.around);
        // Only who reads may be impatient: a change that was not waited for could not be told from one that was made.
        let patience = Patience::current().filter(|_| A::ACTION == Action::Read);
        let loaded = match patience {
            None => loading.await,
            Some(patience) => {
                let still = || StillLoading {
                    so_far: tenant.so_far(name),
                    may_count: permit.is_owner(),
                };
                let loaded = patience.wait_for(loading, still).await;
                loaded.unwrap_or(Err(VaultError::StillLoading))
            }
        };
        if matches!(loaded, Err(VaultError::Overloaded)) {
            // Not for this caller, who has been told to come back: for when it does.
            self.make_room(&mut self.lock());
        }
        loaded
    }

    /// A database that the node itself reads, with the permit of whoever made it necessary: nobody is shown anything of it. Never
    /// impatient: who is, is so about what they asked for.
    pub(super) async fn loaded_unseen<A: PermitAction>(
        &self,
        permit: &Permit<A>,
        name: &DatabaseName,
    ) -> Result<(Arc<Tenant>, Arc<LoadedDatabase>), VaultError> {
        let tenant = self.tenant(permit.tenant())?;
        if let Some(ended) = permit.life().and_then(|life| life.end()) {
            return Err(VaultError::Grant(ended));
        }
        let loading = tenant.loaded(name, || permit.session(), &self.around);
        let loaded = loading.await;
        if matches!(loaded, Err(VaultError::Overloaded)) {
            self.make_room(&mut self.lock());
        }
        Ok((tenant, loaded?))
    }

    /// The schemas that everybody has.
    pub(super) fn published(&self) -> &Arc<SchemaSet> {
        &self.around.schemas
    }

    /// Runs a computation: at once if it is quick, or else when it is the tenant's turn.
    pub(super) async fn compute<T: Send + 'static>(
        &self,
        tenant: &TenantId,
        database: Arc<LoadedDatabase>,
        is_quick: bool,
        work: impl FnOnce(&LoadedDatabase) -> Result<T, VaultError> + Send + 'static,
    ) -> Result<T, VaultError> {
        if is_quick {
            return work(&database);
        }
        let computations = &self.around.computations;
        computations
            .compute(tenant, move || work(&database))
            .await?
    }

    /// The same for what needs no database.
    pub(super) async fn compute_alone<T: Send + 'static>(
        &self,
        tenant: &TenantId,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, VaultError> {
        self.around.computations.compute(tenant, work).await
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault")
    }
}

/// Refuses whoever does not see all fields of the records they may see: they would replace what they do not know.
fn sees_whole_records<A: PermitAction>(permit: &Permit<A>) -> Result<(), VaultError> {
    match permit.view().leaves_out_fields() {
        true => Err(QueryError::from(FieldNotGranted).into()),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use adyton_client::endpoint::Reach;
    use adyton_keys::context_session::ContextSession;

    #[tokio::test]
    async fn a_large_query_whose_caller_has_gone_keeps_its_tenants_turn() {
        let limits = VaultLimits {
            node_bytes: 1 << 30,
            tenant_bytes: 1 << 30,
            tenants: 2,
            databases_per_tenant: 2,
            idle: Duration::from_secs(60),
            crowded: Duration::from_secs(60),
            stale: Duration::from_secs(60),
            load: Duration::from_secs(60),
            workers: 2,
            watches: crate::vault::WatchLimits { node: 1, tenant: 1 },
            ack: None,
        };
        let vault = Vault::new(
            Transport::new(Reach::AlsoThisMachine).unwrap(),
            Clock::system(),
            limits,
            Arc::new(SchemaSet::embedded().unwrap()),
        );
        let vector = include_str!("../../../../vectors/context_session.json");
        let vector: Value = serde_json::from_str(vector).unwrap();
        let session = ContextSession::parse_api_key(vector["x_api_key"].as_str().unwrap());
        let tenant = TenantId::of(&session.unwrap());
        let database = Arc::new(LoadedDatabase::empty(Budget::new(1 << 30)));

        let (began, has_begun) = oneshot::channel();
        let (done, until_done) = std::sync::mpsc::channel::<()>();
        let first = tokio::spawn({
            let (vault, tenant, database) = (vault.clone(), tenant.clone(), database.clone());
            async move {
                let work = move |_: &LoadedDatabase| {
                    began.send(()).unwrap();
                    let _ = until_done.recv_timeout(Duration::from_secs(20));
                    Ok(())
                };
                vault.compute(&tenant, database, false, work).await
            }
        });
        has_begun.await.unwrap();
        first.abort();
        assert!(first.await.is_err());
        let second = vault.compute(&tenant, Arc::clone(&database), false, |_| Ok(()));
        let waiting = tokio::time::timeout(Duration::from_millis(200), second).await;
        assert!(waiting.is_err());
        done.send(()).unwrap();
        vault
            .compute(&tenant, database, false, |_| Ok(()))
            .await
            .unwrap();
    }
}
