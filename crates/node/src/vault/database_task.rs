//! The task that owns one database of one tenant: it loads it, follows its changes, and writes to it.
//!
//! A write is durable on the storage node before it is visible, and visible before it is answered (`writing`).

mod checking;
mod writing;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use adyton_client::pull::{Feed, FeedPosition, Pull, PullBatch, PullError};
use adyton_client::schema::SchemaSet;
use adyton_client::session::{Session, SessionError};
use adyton_couch::rev::Rev;
use adyton_keys::context_session::ContextSession;
use adyton_keys::record_cipher::RecordCipher;
use adyton_protocol::database::DatabaseName;
use adyton_protocol::schema::SchemaUri;
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::admission::{self, size_of};
use super::error::VaultError;
use super::loaded::LoadedDatabase;
use super::loading::{LoadRoom, LoadTurns, Progress};
use super::tenant::{OpenSession, State};
use super::vault::Surroundings;
use crate::authn::TenantId;
use crate::memory::{Budget, View};
use crate::zeroing_allocator;

/// Rows that a snapshot may have beyond twice what the node says it has, for what changes meanwhile.
const ROW_SLACK: u64 = 10_000;
/// First and longest wait before a broken feed is opened again.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// How long a storage node may be away before the data are loaded anew from another one that has the context, too.
const TURN: Duration = Duration::from_secs(5);
/// Own writes that are waited for in the feed.
const MAX_ECHOES: usize = 10_000;

/// A change asked for.
#[derive(Debug)]
pub(super) enum Change {
    Create {
        record: Map<String, Value>,
    },
    Update {
        id: String,
        record: Map<String, Value>,
        force: bool,
    },
    /// A merge patch (RFC 7396) of the revision that `expected` names, or of whichever is current.
    Patch {
        id: String,
        patch: Map<String, Value>,
        expected: Option<String>,
    },
    Delete {
        id: String,
        expected: Option<String>,
    },
}

/// What a tenant's databases may hold.
#[derive(Debug, Clone)]
pub(super) struct Budgets {
    /// Records and indexes.
    pub(super) budget: Budget,
    /// Large rows that are on their way.
    pub(super) transit: Budget,
    /// The processor, for loading.
    pub(super) turns: LoadTurns,
}

/// Where it is said what becomes of a database.
pub(super) struct Published {
    pub(super) state: watch::Sender<State>,
    /// While it loads.
    pub(super) progress: Arc<Progress>,
}

/// Where an outcome goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, VaultError>>;

/// The outcome of a bulk write: one for each record, in their order.
pub type BulkSaved = Vec<Result<Saved, VaultError>>;

/// What a change may reach: the records that its caller sees, and the schema that new ones must fit.
#[derive(Debug)]
pub(super) struct Reach {
    pub(super) schema: Option<SchemaUri>,
    /// What it and every other name means for this caller's user.
    pub(super) schemas: Arc<SchemaSet>,
    pub(super) view: View,
}

/// Something to do, and where its outcome goes.
pub(super) enum Command {
    /// One record.
    Change {
        reach: Reach,
        change: Change,
        reply: Reply<Saved>,
    },
    /// Many records in one request to the storage node: those with a `_rev` are new versions, the others new records.
    Bulk {
        reach: Reach,
        records: Vec<Map<String, Value>>,
        reply: Reply<BulkSaved>,
    },
    /// The end of the whole database, here and on its storage node.
    Destroy { reply: Reply<()> },
}

impl Command {
    /// Whose caller has gone before it began is not begun: the caller was told that it failed.
    fn is_given_up(&self) -> bool {
        match self {
            Self::Change { reply, .. } => reply.is_closed(),
            Self::Bulk { reply, .. } => reply.is_closed(),
            Self::Destroy { reply } => reply.is_closed(),
        }
    }
}

/// A change that is durable and visible.
#[derive(Debug)]
pub struct Saved {
    /// The record as it is now, with its new revision.
    pub record: Map<String, Value>,
    /// The new revision.
    pub rev: Rev,
}

/// Runs until the tenant is dropped or the database fails for good.
pub(super) async fn run(
    name: DatabaseName,
    credential: Arc<ContextSession>,
    session: OpenSession,
    budgets: Budgets,
    around: Arc<Surroundings>,
    publish: Published,
    queue: mpsc::Receiver<Command>,
) {
    let opened = Arc::clone(&session);
    let loading = async {
        let opened = session
            .get_or_try_init(|| async {
                let (transport, clock) = (around.transport.clone(), around.clock.clone());
                let opened = Session::open(&credential, transport, clock).await?;
                Ok::<_, SessionError>(Arc::new(match around.limits.ack {
                    Some(ack) => opened.with_ack(ack),
                    None => opened,
                }))
            })
            .await?;
        DatabaseTask::load(
            Arc::clone(opened),
            &name,
            budgets,
            &around,
            &publish.progress,
        )
        .await
    };
    let loaded = tokio::time::timeout(around.limits.load, loading).await;
    drop(credential);
    let opened = opened.get().cloned();
    match loaded.unwrap_or(Err(VaultError::LoadTimeout)) {
        Ok(mut task) => {
            publish
                .state
                .send_replace(State::Ready(Arc::clone(&task.loaded)));
            // Not waited for: it only tidies up.
            drop(tokio::task::spawn_blocking(zeroing_allocator::give_back));
            let error = task.serve(queue).await;
            if error.is_of_one_node() {
                task.session.give_up_home();
            }
            publish.state.send_replace(State::Failed(error));
        }
        Err(error) => {
            if let Some(opened) = opened.filter(|_| error.is_of_one_node()) {
                opened.give_up_home();
            }
            publish.state.send_replace(State::Failed(error));
        }
    }
}

struct DatabaseTask {
    session: Arc<Session>,
    name: DatabaseName,
    cipher: Arc<RecordCipher>,
    loaded: Arc<LoadedDatabase>,
    budget: Budget,
    transit: Budget,
    around: Arc<Surroundings>,
    tenant: TenantId,
    /// False until the storage node has the database.
    exists: bool,
    position: FeedPosition,
    /// Own writes whose rows in the feed are still to come: older rows must not undo them.
    echoes: HashMap<String, Rev>,
}

impl DatabaseTask {
    /// Loads everything that the storage node has.
    async fn load(
        session: Arc<Session>,
        name: &DatabaseName,
        Budgets {
            budget,
            transit,
            turns,
        }: Budgets,
        around: &Arc<Surroundings>,
        progress: &Progress,
    ) -> Result<Self, VaultError> {
        let database = session.database(name);
        let cipher = Arc::new(database.cipher());
        let loaded = Arc::new(LoadedDatabase::empty(budget.clone()));
        let info = database.info().await?;
        let mut position = FeedPosition::beginning();
        if let Some(info) = info {
            let relieve = |bytes| around.relieve(&turns.tenant, bytes);
            let mut advance = admission::admit(&budget, size_of(&info), relieve).await?;
            progress.expect(info.doc_count);
            let held = info.doc_count.saturating_add(info.doc_del_count);
            let max_rows = held.saturating_mul(2).saturating_add(ROW_SLACK);
            let feed = Feed::Snapshot { max_rows };
            let room = Arc::new(LoadRoom {
                transit: transit.clone(),
                turns: turns.clone(),
            });
            let workers = around.limits.workers;
            let mut pull =
                Pull::start_within(&database, Arc::clone(&cipher), feed, workers, room).await?;
            while let Some(batch) = pull.next().await {
                let taken = progress.take_in(&loaded, batch?, &mut advance, &turns);
                taken.await?;
            }
            position = pull.position().cloned().unwrap_or(position);
        }
        if loaded.documents().is_empty() && loaded.unreadable(&View::whole_database()) > 0 {
            return Err(VaultError::NothingOpens);
        }
        loaded.begin_changes();
        let (name, around) = (name.clone(), Arc::clone(around));
        let exists = info.is_some();
        Ok(Self {
            session,
            name,
            cipher,
            loaded,
            budget,
            transit,
            around,
            tenant: turns.tenant,
            exists,
            position,
            echoes: HashMap::new(),
        })
    }

    /// Follows the feed and carries out changes, until something fails for good.
    async fn serve(&mut self, mut queue: mpsc::Receiver<Command>) -> VaultError {
        let mut feed: Option<Pull> = None;
        let mut wait = RETRY.0;
        let mut retry_at = Instant::now() + wait;
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                command = queue.recv() => match command {
                    Some(given_up) if given_up.is_given_up() => {}
                    // The caller may have gone meanwhile; what was done is durable all the same.
                    Some(Command::Change { reach, change, reply }) => {
                        let saved = self.carry_out(&reach, change).await;
                        let _: Result<(), _> = reply.send(saved);
                    }
                    Some(Command::Bulk { reach, records, reply }) => {
                        let saved = self.carry_out_all(&reach, records).await;
                        let _: Result<(), _> = reply.send(saved);
                    }
                    Some(Command::Destroy { reply }) => {
                        let destroyed = self.destroy().await;
                        let is_gone = destroyed.is_ok();
                        let _: Result<(), _> = reply.send(destroyed);
                        if is_gone {
                            return VaultError::Stopped;
                        }
                    }
                    None => return VaultError::Stopped,
                },
                batch = next_of(&mut feed) => match batch {
                    Some(Ok(batch)) => {
                        wait = RETRY.0;
                        if let Some(position) = feed.as_ref().and_then(Pull::position) {
                            self.position = position.clone();
                        }
                        if let Err(error) = self.take_in(batch).await {
                            return error;
                        }
                    }
                    Some(Err(error @ (PullError::Session(SessionError::Expired) | PullError::NoRoom))) => {
                        return error.into();
                    }
                    Some(Err(error @ PullError::Misbehaved(_))) if !is_cut_off(&error) => return error.into(),
                    Some(Err(_)) | None => {
                        if heard.elapsed() > RETRY.1 {
                            // It worked for long: this is a new accident.
                            wait = RETRY.0;
                        }
                        (feed, heard) = (None, Instant::now());
                        retry_at = Instant::now() + wait;
                    }
                },
                // A moment, not a duration: who writes all the time must not put it off.
                () = tokio::time::sleep_until(retry_at), if feed.is_none() => {
                    wait = (wait * 2).min(RETRY.1);
                    match self.follow().await {
                        Ok(opened) => (feed, heard) = (opened, Instant::now()),
                        // The node no longer lets this session in, or has the database no more: what it gave
                        // is given up.
                        Err(PullError::Session(error @ (SessionError::Expired | SessionError::Refused { status: 404 }))) => {
                            return error.into();
                        }
                        // Another node may know more than this memory by now, and whoever asks next loads it from there.
                        Err(error) if heard.elapsed() > TURN && self.session.has_other_nodes() => {
                            return error.into();
                        }
                        // What is served must not grow old without end.
                        Err(error) if heard.elapsed() > self.around.limits.stale => return error.into(),
                        Err(_) => {}
                    }
                    retry_at = Instant::now() + wait;
                }
            }
        }
    }

    async fn follow(&mut self) -> Result<Option<Pull>, PullError> {
        let database = self.session.database(&self.name);
        if !self.exists {
            self.exists = database.info().await?.is_some();
        }
        if !self.exists {
            return Ok(None);
        }
        let feed = Feed::Follow(self.position.clone());
        let room = Arc::new(self.transit.clone());
        Pull::start_within(&database, Arc::clone(&self.cipher), feed, 1, room)
            .await
            .map(Some)
    }

    /// Applies a row of the feed, unless an own write has overtaken it.
    async fn take_in(&mut self, batch: PullBatch) -> Result<(), VaultError> {
        if let Some((id, rev)) = &batch.last_row
            && let Some(own) = self.echoes.get(&**id)
        {
            if rev.generation() < own.generation() {
                return Ok(());
            }
            let is_echo = rev == own;
            self.echoes.remove(&**id);
            if is_echo {
                return Ok(());
            }
        }
        self.loaded.apply(batch).await?;
        Ok(())
    }
}

/// A feed that is not open never has a next batch.
async fn next_of(feed: &mut Option<Pull>) -> Option<Result<PullBatch, PullError>> {
    match feed {
        Some(pull) => pull.next().await,
        None => std::future::pending().await,
    }
}

/// A connection that breaks in the middle of a row is an accident, not a lie.
fn is_cut_off(error: &PullError) -> bool {
    matches!(
        error,
        PullError::Misbehaved(adyton_client::pull::Misbehaviour::Truncated)
    )
}
