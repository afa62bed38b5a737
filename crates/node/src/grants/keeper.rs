//! Keeps grants beyond the process, in the node's own context: a task that reads what is there, follows what other nodes of the
//! same cohort do, and writes what changes here.
//!
//! Guarantees: what [`Grants::settled`] has said is durable; a grant that ended is taken away, or its owner is told that this did
//! not work. A grant that two nodes changed at the same time ends: one of the two who used it is not the app. Refuses to know:
//! what a grant says.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use adyton_client::database::{Database, WriteError};
use adyton_client::database_registry;
use adyton_client::pull::{Feed, FeedPosition, PlainRow, Pull, PullBatch, PullError};
use adyton_client::record::{InvalidRecord, PreparedRecord, Save};
use adyton_client::schema::SchemaSet;
use adyton_client::session::{Session, SessionError};
use adyton_couch::rev::Rev;
use adyton_keys::record_cipher::RecordCipher;
use adyton_protocol::database::{DatabaseName, Permissions};
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use uuid::Uuid;

use super::node_context::{NodeContext, NodeContextError};
use super::store::Grants;

/// The database's name.
const DATABASE: &str = "grants";
/// The member of a record that has the grant.
const MEMBER: &str = "grant";
/// First and longest wait before the storage node is asked again.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// Rows that a snapshot may have beyond twice what the node says it has, for what changes meanwhile.
const ROW_SLACK: u64 = 10_000;
/// How often a record is taken away that others change at the same time.
const ATTEMPTS: usize = 5;
/// Requests that wait for what they changed. When it is full, others wait in turn.
pub(super) const QUEUE: usize = 1024;

/// Somebody who waits until everything that changed is durable.
pub(super) type Waiting = oneshot::Sender<bool>;

/// See the module.
pub(super) struct Keeper {
    context: NodeContext,
    schemas: Arc<SchemaSet>,
    grants: Weak<Grants>,
    waiting: mpsc::Receiver<Waiting>,
    /// The revision of each grant that is kept.
    revs: HashMap<Uuid, Rev>,
}

/// The keeper cannot go on.
#[derive(Debug, thiserror::Error)]
enum KeeperError {
    #[error(transparent)]
    Context(#[from] NodeContextError),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Pull(#[from] PullError),
    #[error(transparent)]
    Record(#[from] InvalidRecord),
    #[error("the feed has ended")]
    Feed,
    /// There are no grants any more.
    #[error("the node is ending")]
    Over,
}

impl Keeper {
    pub(super) fn new(
        context: NodeContext,
        schemas: Arc<SchemaSet>,
        grants: Weak<Grants>,
        waiting: mpsc::Receiver<Waiting>,
    ) -> Self {
        Self {
            context,
            schemas,
            grants,
            waiting,
            revs: HashMap::new(),
        }
    }

    /// Runs as long as there are grants.
    pub(super) async fn run(mut self) {
        let mut wait = RETRY.0;
        loop {
            let begun = Instant::now();
            match self.serve().await {
                Err(KeeperError::Over) => return,
                Ok(never) => match never {},
                Err(_) if begun.elapsed() > RETRY.1 => wait = RETRY.0,
                Err(_) => wait = (wait * 2).min(RETRY.1),
            }
            let until = Instant::now() + wait;
            while let Ok(waiting) = tokio::time::timeout_at(until, self.waiting.recv()).await {
                let Some(waiting) = waiting else { return };
                // Nobody has to wait for what does not work now.
                let _: Result<(), bool> = waiting.send(false);
            }
        }
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, KeeperError> {
        let session = self.context.open().await?;
        let name = DatabaseName::new(DATABASE).map_err(|_| KeeperError::Over)?;
        let database = session.database(&name);
        database_registry::create_registered(&database, &Permissions::default()).await?;
        let cipher = Arc::new(database.cipher());
        let place = Place {
            session: &session,
            database: &database,
            cipher: &cipher,
        };
        let position = self.load(&place).await?;
        self.grants()?.is_ready();
        self.flush(&place).await?;
        let feed = Feed::Follow(position);
        let mut feed = Pull::start(&database, Arc::clone(&cipher), feed, 1).await?;
        loop {
            tokio::select! {
                waiting = self.waiting.recv() => {
                    let waiting = waiting.ok_or(KeeperError::Over)?;
                    let flushed = self.flush(&place).await;
                    let _: Result<(), bool> = waiting.send(flushed.is_ok());
                    flushed?;
                }
                batch = feed.next() => self.take_in(batch.ok_or(KeeperError::Feed)??)?,
            }
        }
    }

    /// Reads everything that is there. What ended without anybody's doing is taken away later.
    async fn load(&mut self, place: &Place<'_>) -> Result<FeedPosition, KeeperError> {
        let mut position = FeedPosition::beginning();
        if let Some(info) = place.database.info().await? {
            let held = info.doc_count.saturating_add(info.doc_del_count);
            let max_rows = held.saturating_mul(2).saturating_add(ROW_SLACK);
            let feed = Feed::Snapshot { max_rows };
            let cipher = Arc::clone(place.cipher);
            let mut pull = Pull::start(place.database, cipher, feed, 1).await?;
            while let Some(batch) = pull.next().await {
                self.take_in(batch?)?;
            }
            position = pull.position().cloned().unwrap_or(position);
        }
        Ok(position)
    }

    /// Takes in what others wrote. What was written here comes back, too, and says nothing new.
    fn take_in(&mut self, batch: PullBatch) -> Result<(), KeeperError> {
        let grants = self.grants()?;
        let (bytes, rows) = batch.records.into_parts();
        for row in rows {
            match row {
                PlainRow::Removed { id, .. } => {
                    if let Ok(id) = id.parse::<Uuid>() {
                        self.revs.remove(&id);
                        grants.end_elsewhere(id);
                    }
                }
                PlainRow::Record {
                    id, rev, object, ..
                } => {
                    let id = bytes.get(id).and_then(|id| std::str::from_utf8(id).ok());
                    let Some(id) = id.and_then(|id| id.parse::<Uuid>().ok()) else {
                        continue;
                    };
                    let is_known = |known: &Rev| known.generation() >= rev.generation();
                    if self.revs.get(&id).is_some_and(is_known) {
                        continue;
                    }
                    self.revs.insert(id, rev);
                    let record = bytes.get(object).unwrap_or_default();
                    let record: Option<Map<String, Value>> = serde_json::from_slice(record).ok();
                    if let Some(text) = record.and_then(|mut record| record.remove(MEMBER)) {
                        grants.take_back(id, text, &*self.schemas);
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes everything that has changed.
    async fn flush(&mut self, place: &Place<'_>) -> Result<(), KeeperError> {
        let grants = self.grants()?;
        while let Some((change, text)) = grants.next_change(&*self.schemas) {
            let written = match text {
                Some(text) => self.write(place, change.id, text, &grants).await,
                None => self.take_away(place, change.id).await,
            };
            if let Err(error) = written {
                grants.not_kept(change);
                return Err(error);
            }
        }
        Ok(())
    }

    async fn write(
        &mut self,
        place: &Place<'_>,
        id: Uuid,
        text: Value,
        grants: &Grants,
    ) -> Result<(), KeeperError> {
        let mut members = Map::from_iter([
            ("_id".to_owned(), Value::String(id.to_string())),
            (MEMBER.to_owned(), text),
        ]);
        let save = match self.revs.get(&id) {
            None => Save::Insert,
            Some(rev) => {
                members.insert("_rev".to_owned(), Value::String(rev.to_string()));
                Save::Update
            }
        };
        let record = PreparedRecord::new(members, save, None, place.session)?;
        match place.database.put(&record, place.cipher).await {
            Ok(rev) => {
                self.revs.insert(id, rev);
                Ok(())
            }
            Err(WriteError::Conflict) => {
                grants.end_elsewhere(id);
                self.take_away(place, id).await
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn take_away(&mut self, place: &Place<'_>, id: Uuid) -> Result<(), KeeperError> {
        let name = id.to_string();
        for _ in 0..ATTEMPTS {
            // The node is asked: a write whose answer was lost may have happened.
            let Some(rev) = place.database.revision(&name).await? else {
                self.revs.remove(&id);
                return Ok(());
            };
            let members = [("_id", name.clone()), ("_rev", rev.to_string())];
            let members = members.map(|(name, value)| (name.to_owned(), Value::String(value)));
            let members = Map::from_iter(members);
            let record = PreparedRecord::new(members, Save::Delete, None, place.session)?;
            match place.database.put(&record, place.cipher).await {
                Ok(_) | Err(WriteError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(WriteError::Conflict.into())
    }

    fn grants(&self) -> Result<Arc<Grants>, KeeperError> {
        self.grants.upgrade().ok_or(KeeperError::Over)
    }
}

/// Where grants are kept.
struct Place<'s> {
    session: &'s Session,
    database: &'s Database<'s>,
    cipher: &'s Arc<RecordCipher>,
}
