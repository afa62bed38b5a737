//! The task that owns one database of one tenant: it loads it, follows its changes, and writes to it.
//!
//! A write is durable on the storage node before it is visible, and visible before it is answered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use adyton_client::database::{Database, WriteError};
use adyton_client::pull::{Feed, FeedPosition, PlainBatch, Pull, PullBatch, PullError};
use adyton_client::record::{InvalidRecord, PreparedRecord, Save};
use adyton_client::registry;
use adyton_client::session::{Session, SessionError};
use adyton_couch::rev::Rev;
use adyton_keys::context_session::ContextSession;
use adyton_keys::record_cipher::RecordCipher;
use adyton_protocol::database::{DatabaseName, Permissions};
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
use crate::memory::{Budget, View};
use crate::zeroing_allocator;

/// Rows that a snapshot may have beyond twice what the node says it has, for what changes meanwhile.
const ROW_SLACK: u64 = 10_000;
/// First and longest wait before a broken feed is opened again.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
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
    let loading = async {
        let opened = session
            .get_or_try_init(|| async {
                let (transport, clock) = (around.transport.clone(), around.clock.clone());
                Session::open(&credential, transport, clock)
                    .await
                    .map(Arc::new)
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
    match loaded.unwrap_or(Err(VaultError::LoadTimeout)) {
        Ok(mut task) => {
            publish
                .state
                .send_replace(State::Ready(Arc::clone(&task.loaded)));
            // Not waited for: it only tidies up.
            drop(tokio::task::spawn_blocking(zeroing_allocator::give_back));
            let error = task.serve(queue).await;
            publish.state.send_replace(State::Failed(error));
        }
        Err(error) => {
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

    async fn carry_out(&mut self, reach: &Reach, change: Change) -> Result<Saved, VaultError> {
        let session = Arc::clone(&self.session);
        let (members, save) = self.members_of(reach, change)?;
        let prepared = self.prepare(reach.schema.as_ref(), members, save)?;
        let is_new_version = save != Save::Delete;
        let text = prepared.text()?;
        // Room first: a write that could not be shown afterwards is not begun. Who deletes makes room.
        let room = match is_new_version {
            true => Some(self.budget.reserve(text.len())?),
            false => None,
        };
        let database = session.database(&self.name);
        if !self.exists {
            self.create(&database).await?;
        }
        let rev = match database.put(&prepared, &self.cipher).await {
            Ok(rev) => rev,
            Err(WriteError::Conflict) => {
                return Err(self.conflict(reach, &database, prepared.id()).await);
            }
            Err(error) => return Err(error.into()),
        };
        self.expect_echo(prepared.id(), rev);
        drop(room);
        let mut records = PlainBatch::with_capacity(text.len() + prepared.id().len());
        if prepared.is_deleted() {
            records.remove(prepared.id());
        } else {
            // Our own text is a record under its own id.
            records
                .push(prepared.id(), rev, &text)
                .map_err(|_| VaultError::Stopped)?;
        }
        let batch = PullBatch {
            records,
            ..PullBatch::default()
        };
        let shown = self.loaded.apply(batch).await;
        if shown.is_err() {
            // It is durable, so it is no failure; the feed must bring it, and be the one that finds no room.
            self.echoes.remove(prepared.id());
        }
        let mut record = prepared.into_members();
        record.insert("_rev".to_owned(), rev.to_string().into());
        Ok(Saved { record, rev })
    }

    /// Writes many records with one request. Nothing is written unless all of them are valid; what then collides is
    /// told of each.
    async fn carry_out_all(
        &mut self,
        reach: &Reach,
        records: Vec<Map<String, Value>>,
    ) -> Result<BulkSaved, VaultError> {
        let session = Arc::clone(&self.session);
        let mut outcomes: Vec<Option<Result<Saved, VaultError>>> = Vec::new();
        let (mut prepared, mut places) = (Vec::new(), Vec::new());
        let mut invalid = Vec::new();
        let mut bytes = 0;
        for (at, record) in records.into_iter().enumerate() {
            let change = match record.get("_rev") {
                Some(Value::String(_)) => Change::Update {
                    id: record
                        .get("_id")
                        .and_then(Value::as_str)
                        .unwrap_or_default()
                        .to_owned(),
                    record,
                    force: false,
                },
                _ => Change::Create { record },
            };
            let ready = self
                .members_of(reach, change)
                .and_then(|(members, save)| self.prepare(reach.schema.as_ref(), members, save))
                .and_then(|record| Ok((record.text()?.len(), record)));
            match ready {
                Ok((length, record)) => {
                    bytes += length;
                    outcomes.push(None);
                    prepared.push(record);
                    places.push(at);
                }
                Err(error @ (VaultError::Schema(_) | VaultError::Record(_))) => {
                    invalid.push((at, error));
                    outcomes.push(None);
                }
                Err(error) => outcomes.push(Some(Err(error))),
            }
        }
        if !invalid.is_empty() {
            return Err(VaultError::Bulk(invalid));
        }
        if !prepared.is_empty() {
            let room = self.budget.reserve(bytes)?;
            let database = session.database(&self.name);
            if !self.exists {
                self.create(&database).await?;
            }
            let written = database.put_all(&prepared, &self.cipher).await?;
            drop(room);
            let mut shown = PlainBatch::with_capacity(bytes);
            for ((record, written), at) in prepared.into_iter().zip(written).zip(places) {
                let outcome = match written {
                    Ok(rev) => {
                        self.expect_echo(record.id(), rev);
                        let text = record.text()?;
                        shown
                            .push(record.id(), rev, &text)
                            .map_err(|_| VaultError::Stopped)?;
                        let mut record = record.into_members();
                        record.insert("_rev".to_owned(), rev.to_string().into());
                        Ok(Saved { record, rev })
                    }
                    Err(WriteError::Conflict) => {
                        Err(self.conflict(reach, &database, record.id()).await)
                    }
                    Err(error) => Err(error.into()),
                };
                if let Some(place) = outcomes.get_mut(at) {
                    *place = Some(outcome);
                }
            }
            let ids: Vec<Box<str>> = shown.ids().map(Into::into).collect();
            let batch = PullBatch {
                records: shown,
                ..PullBatch::default()
            };
            if self.loaded.apply(batch).await.is_err() {
                // Durable all the same: the feed must bring it.
                for id in ids {
                    self.echoes.remove(&*id);
                }
            }
        }
        let outcomes = outcomes.into_iter();
        Ok(outcomes
            .map(|outcome| outcome.unwrap_or(Err(VaultError::Stopped)))
            .collect())
    }

    /// Ends the database on its storage node, and takes it out of the registry.
    async fn destroy(&mut self) -> Result<(), VaultError> {
        let session = Arc::clone(&self.session);
        registry::destroy_registered(&session.database(&self.name)).await?;
        Ok(())
    }

    /// Signs a record and holds it to its schema.
    fn prepare(
        &self,
        schema: Option<&SchemaUri>,
        members: Map<String, Value>,
        save: Save,
    ) -> Result<PreparedRecord, VaultError> {
        let (session, schema_text) = (&self.session, schema.map(SchemaUri::as_str));
        let prepared = match save {
            Save::Delete => {
                // A tombstone keeps the content, as the original's does; of a record that cannot be signed it keeps
                // the name alone, because what is to be deleted must not stay for that.
                let [id, rev] = ["_id", "_rev"].map(|name| {
                    (
                        name.to_owned(),
                        members.get(name).cloned().unwrap_or_default(),
                    )
                });
                PreparedRecord::new(members, save, schema_text, session).or_else(|_| {
                    PreparedRecord::new(Map::from_iter([id, rev]), save, schema_text, session)
                })?
            }
            _ => PreparedRecord::new(members, save, schema_text, session)?,
        };
        if save != Save::Delete
            && let Some(schema) = schema
        {
            self.validate(&prepared, schema)?;
        }
        Ok(prepared)
    }

    /// What is told of a collision. The feed may not have brought yet what we collided with. Not knowing it is no failure;
    /// and whether it is of this schema can be known of what is here alone.
    async fn conflict(&self, reach: &Reach, database: &Database<'_>, id: &str) -> VaultError {
        let may_know = reach.view.is_whole_database() || self.loaded.rev(&reach.view, id).is_ok();
        let current = match may_know {
            true => database
                .revision(id)
                .await
                .ok()
                .flatten()
                .or_else(|| self.current(id)),
            false => None,
        };
        VaultError::Conflict { current }
    }

    fn expect_echo(&mut self, id: &str, rev: Rev) {
        if self.echoes.len() < MAX_ECHOES {
            self.echoes.insert(id.to_owned(), rev);
        }
    }

    /// The members to save, checked against what is in memory.
    fn members_of(
        &self,
        reach: &Reach,
        change: Change,
    ) -> Result<(Map<String, Value>, Save), VaultError> {
        match change {
            Change::Create { mut record } => {
                record.remove("_rev");
                if let Some(Value::String(id)) = record.get("_id")
                    && self.current(id).is_some()
                {
                    // That the id is taken cannot be hidden; what has it is told to those who may see it.
                    let current = self.loaded.rev(&reach.view, id).ok();
                    return Err(VaultError::Conflict { current });
                }
                Ok((record, Save::Insert))
            }
            Change::Update {
                id,
                mut record,
                force,
            } => {
                let current = self.loaded.rev(&reach.view, &id)?;
                let named = record.get("_id").and_then(Value::as_str).unwrap_or(&id);
                if named != id {
                    return Err(InvalidRecord::Id.into());
                }
                let given = record
                    .get("_rev")
                    .and_then(Value::as_str)
                    .map(str::to_owned);
                if !force && given.as_deref() != Some(current.to_string().as_str()) {
                    return Err(VaultError::Conflict {
                        current: Some(current),
                    });
                }
                record.insert("_id".to_owned(), id.into());
                record.insert("_rev".to_owned(), current.to_string().into());
                Ok((record, Save::Update))
            }
            Change::Patch {
                id,
                patch,
                expected,
            } => {
                let (mut record, current) = self.whole(reach, &id, expected.as_deref())?;
                merge_patch(&mut record, patch);
                if record.get("_id").and_then(Value::as_str) != Some(&*id) {
                    return Err(InvalidRecord::Id.into());
                }
                record.insert("_rev".to_owned(), current.to_string().into());
                Ok((record, Save::Update))
            }
            Change::Delete { id, expected } => {
                let (mut record, current) = self.whole(reach, &id, expected.as_deref())?;
                record.insert("_rev".to_owned(), current.to_string().into());
                Ok((record, Save::Delete))
            }
        }
    }

    /// All of a record that the view shows, if it still has the expected revision.
    fn whole(
        &self,
        reach: &Reach,
        id: &str,
        expected: Option<&str>,
    ) -> Result<(Map<String, Value>, Rev), VaultError> {
        let current = self.loaded.rev(&reach.view, id)?;
        if expected.is_some_and(|expected| expected != current.to_string()) {
            return Err(VaultError::Conflict {
                current: Some(current),
            });
        }
        let document = self.loaded.get(&View::whole_database(), id)?;
        let record =
            serde_json::from_slice(document.object()).map_err(|_| VaultError::Unreadable)?;
        Ok((record, current))
    }

    /// The revision of a record, whoever may see it.
    fn current(&self, id: &str) -> Option<Rev> {
        self.loaded.documents().rev(&View::whole_database(), id)
    }

    fn validate(&self, prepared: &PreparedRecord, schema: &SchemaUri) -> Result<(), VaultError> {
        // The schema of a permit is one of the set, and the set compiles (a test holds that).
        let validator = self
            .around
            .schemas
            .validator(schema.as_str())
            .map_err(|_| VaultError::NotFound)?;
        let value = Value::Object(prepared.members().clone());
        validator
            .validate(&value)
            .map(|_| ())
            .map_err(VaultError::Schema)
    }

    async fn create(&mut self, database: &Database<'_>) -> Result<(), VaultError> {
        registry::create_registered(database, &Permissions::default()).await?;
        self.exists = true;
        Ok(())
    }
}

/// Changes a record as a merge patch says (RFC 7396 section 2). The nesting is that of JSON that was parsed: limited.
fn merge_patch(target: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (name, value) in patch {
        match value {
            Value::Null => {
                target.remove(&name);
            }
            Value::Object(patch) => {
                let member = target.entry(name).or_insert(Value::Null);
                if !member.is_object() {
                    *member = Value::Object(Map::new());
                }
                if let Value::Object(member) = member {
                    merge_patch(member, patch);
                }
            }
            other => {
                target.insert(name, other);
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_merge_patch_does_what_the_examples_of_its_rfc_say() {
        // RFC 7396 appendix A, those whose target and patch are objects.
        for (target, patch, result) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (
                json!({"a":"b","b":"c"}),
                json!({"a":null}),
                json!({"b":"c"}),
            ),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (
                json!({"a":{"b":"c"}}),
                json!({"a":{"b":"d","c":null}}),
                json!({"a":{"b":"d"}}),
            ),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (
                json!({}),
                json!({"a":{"bb":{"ccc":null}}}),
                json!({"a":{"bb":{}}}),
            ),
        ] {
            let (Value::Object(mut target), Value::Object(patch)) = (target, patch) else {
                panic!("objects")
            };
            merge_patch(&mut target, patch);
            assert_eq!(Value::Object(target), result);
        }
    }
}
