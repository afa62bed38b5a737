//! One turn: what one node lacks of one context's databases is pushed to it, for as long as a turn may last.
//!
//! 1. The other node lets us in, if it did not lately.
//! 2. For each database: both checkpoints, then the feed in pieces.
//! 3. Of each piece: what does the target lack? That is sent. Then the cursor moves, and now and then the checkpoints.
//!
//! Guarantees: the cursor passes a revision only when the target says that it has it, took it, or refuses it for good.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use adyton_couch::wire::{InvalidAnswer, Missing, Refused};
use adyton_protocol::context::ContextName;
use adyton_protocol::database::DatabaseHash;
use adyton_protocol::did::Did;
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::Instant;
use url::Url;

use super::Link;
use super::batch::{Load, Pack, Rows};
use super::checkpoint::{Cursor, checkpoint_id};
use super::link::{Failure, Target, success};
use super::schedule::Outcome;
use crate::api::App;
use crate::outbound::Outbound;
use crate::registry::DatabaseRecord;
use crate::store::blocking;

/// Pieces of feeds that one turn pushes at most.
const PIECES: u32 = 50;
/// Time after which a turn takes no further piece.
const TURN_TIME: Duration = Duration::from_secs(30);
/// Rows after which a checkpoint is written while there is more.
const SAVE_ROWS: u64 = 2_000;
/// Rows after which a checkpoint is worth it even if the target lacked nothing.
const UNSAVED_ROWS: u64 = 100;
/// Databases whose cursor is remembered for one link; the others' checkpoints are read again.
const MAX_CURSORS: usize = 64;
/// Time between two such readings that users can ask for.
const DOUBT_PAUSE: Duration = Duration::from_secs(60);
/// Largest answers that are read, in bytes. One about the largest question that we ask is smaller.
const MAX_ANSWER_BYTES: usize = 8 << 20;

/// Which databases of a context may have something to push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    These(BTreeSet<DatabaseHash>),
    All,
}

impl Default for Wanted {
    fn default() -> Self {
        Self::These(BTreeSet::new())
    }
}

impl Wanted {
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Self::These(hashes) if hashes.is_empty())
    }

    pub(super) fn add(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::All, _) => {}
            (Self::These(_), Self::All) => *self = Self::All,
            (Self::These(mine), Self::These(more)) => mine.extend(more),
        }
    }
}

/// What is remembered of a link between turns.
#[derive(Default)]
pub(super) struct Memory {
    target: Option<Target>,
    cursors: HashMap<DatabaseHash, Cursor>,
    doubted: Option<Instant>,
}

impl Memory {
    /// Forgets where the databases stand, unless it was done lately: the checkpoints are read again, and show what a target lost.
    pub(super) fn doubt(&mut self, now: Instant) {
        let lately = self.doubted.is_some_and(|at| now < at + DOUBT_PAUSE);
        if !lately {
            self.doubted = Some(now);
            self.cursors.clear();
        }
    }
}

/// A turn to be taken.
pub(super) struct Turn {
    pub(super) app: Arc<App>,
    pub(super) outbound: Outbound,
    pub(super) link: Link,
    pub(super) did: Did,
    pub(super) context: ContextName,
    pub(super) wanted: Wanted,
    pub(super) memory: Memory,
    left: u32,
    until: Instant,
}

/// How it went.
pub(super) struct Taken {
    pub(super) link: Link,
    pub(super) outcome: Outcome,
    pub(super) memory: Memory,
    /// What is still to be pushed.
    pub(super) left: Wanted,
}

impl Turn {
    pub(super) fn new(
        (app, outbound): (Arc<App>, Outbound),
        link: Link,
        (did, context): (Did, ContextName),
        wanted: Wanted,
        memory: Memory,
    ) -> Self {
        Self {
            app,
            outbound,
            link,
            did,
            context,
            wanted,
            memory,
            left: PIECES,
            until: Instant::now() + TURN_TIME,
        }
    }

    fn is_over(&self) -> bool {
        self.left == 0 || Instant::now() >= self.until
    }

    pub(super) async fn take(mut self) -> Taken {
        let wanted = std::mem::take(&mut self.wanted);
        let (outcome, left) = match self.databases(&wanted).await {
            Ok(records) => self.push_all(records).await,
            Err(error) => {
                self.failed(&error);
                (Outcome::Failed, wanted)
            }
        };
        if outcome == Outcome::Failed {
            self.app.metrics.replication().failed();
        }
        Taken {
            link: self.link,
            outcome,
            memory: self.memory,
            left,
        }
    }

    fn failed(&self, error: &Failure) {
        tracing::debug!(%error, "a node could not be replicated to");
    }

    /// The databases that are still there, and still this account's.
    async fn databases(&self, wanted: &Wanted) -> Result<Vec<DatabaseRecord>, Failure> {
        let account = self.link.account.to_string();
        let mut records = self.app.databases.of_account(account).await?;
        if let Wanted::These(hashes) = wanted {
            records.retain(|record| {
                let hash = record.database_hash.parse();
                hash.is_ok_and(|hash| hashes.contains(&hash))
            });
        }
        Ok(records)
    }

    async fn push_all(&mut self, records: Vec<DatabaseRecord>) -> (Outcome, Wanted) {
        let mut outcome = Outcome::Done;
        let mut left = BTreeSet::new();
        let mut over = false;
        for record in records {
            let Ok(hash) = record.database_hash.parse() else {
                continue;
            };
            if over || self.is_over() {
                left.insert(hash);
                outcome = match outcome {
                    Outcome::Failed => Outcome::Failed,
                    Outcome::Done | Outcome::More => Outcome::More,
                };
                continue;
            }
            match self.push(&record, hash).await {
                Ok(true) => {}
                Ok(false) => {
                    left.insert(hash);
                    if outcome == Outcome::Done {
                        outcome = Outcome::More;
                    }
                }
                Err(error) => {
                    self.failed(&error);
                    over = !error.is_of_one_database();
                    self.memory.cursors.remove(&hash);
                    left.insert(hash);
                    outcome = Outcome::Failed;
                }
            }
        }
        (outcome, Wanted::These(left))
    }

    /// Pushes one database; true when the target has all of it.
    async fn push(&mut self, record: &DatabaseRecord, hash: DatabaseHash) -> Result<bool, Failure> {
        let fresh = self.let_in().await?;
        match self.push_once(record, hash).await {
            // It forgot us, or lets us in no longer: once more, from the handshake on.
            Err(Failure::NotLetIn) if !fresh => {
                self.memory.target = None;
                self.memory.cursors.remove(&hash);
                self.let_in().await?;
                self.push_once(record, hash).await
            }
            pushed => pushed,
        }
    }

    /// Does the handshake if it is time for it, and says whether it was.
    async fn let_in(&mut self) -> Result<bool, Failure> {
        let now = self.app.clock.unix_seconds();
        if let Some(target) = &self.memory.target
            && now < target.until
        {
            return Ok(false);
        }
        self.memory.target = None;
        let endpoint: Url = self.link.node.parse().map_err(|_| InvalidAnswer)?;
        let context = (&self.did, &self.context);
        let target = Target::admitted(&self.app, &self.outbound, &endpoint, context).await?;
        self.memory.target = Some(target);
        Ok(true)
    }

    async fn push_once(
        &mut self,
        record: &DatabaseRecord,
        hash: DatabaseHash,
    ) -> Result<bool, Failure> {
        let app = Arc::clone(&self.app);
        let target = self.memory.target.as_ref().ok_or(Failure::NotLetIn)?;
        let id = checkpoint_id(&app.uuid, &self.link.node, hash);
        let mut cursor = match self.memory.cursors.remove(&hash) {
            Some(cursor) => cursor,
            None => Cursor::read(&app, target, record, &id).await?,
        };
        let mut sent = 0;
        let complete = loop {
            if self.is_over() {
                break false;
            }
            self.left -= 1;
            let file = app.databases.own_file(record).await?;
            let (seq, life) = (cursor.seq, cursor.life);
            let rows = blocking(move || Rows::after(&file.view()?, seq, life)).await?;
            if !rows.asked.0.is_empty() {
                sent += push_rows(&app, target, record, &rows).await?;
            }
            cursor.seq = rows.up_to;
            cursor.life = rows.life;
            cursor.unsaved += rows.count;
            if rows.complete {
                break true;
            }
            if cursor.unsaved >= SAVE_ROWS {
                cursor.save(&app, target, record, &id).await?;
            }
        };
        if cursor.unsaved >= UNSAVED_ROWS || (sent > 0 && cursor.unsaved > 0) {
            cursor.save(&app, target, record, &id).await?;
        }
        if self.memory.cursors.len() >= MAX_CURSORS {
            self.memory.cursors.clear();
        }
        self.memory.cursors.insert(hash, cursor);
        Ok(complete)
    }
}

/// Asks what the target lacks of these rows, and sends it. Returns how many revisions were sent.
async fn push_rows(
    app: &App,
    target: &Target,
    record: &DatabaseRecord,
    rows: &Rows,
) -> Result<u64, Failure> {
    let database = &record.database_hash;
    let path = format!("{database}/_revs_diff");
    let question = Some(rows.question()?);
    let said = target
        .ask(Method::POST, &path, question, MAX_ANSWER_BYTES)
        .await?;
    let answer = match said.status {
        404 => return Err(Failure::NoDatabase),
        _ => success(said)?,
    };
    let missing = Missing::parse(&answer, &rows.asked)?;
    drop(answer);
    let mut pack = Pack::new(missing);
    let mut sent = 0;
    loop {
        let file = app.databases.own_file(record).await?;
        let (back, next) = blocking(move || {
            let next = pack.next(&file)?;
            Ok((pack, next))
        })
        .await?;
        pack = back;
        let Some((load, taken)) = next else {
            return Ok(sent);
        };
        let count = taken.len() as u64;
        let refused = match deliver(target, database, load).await {
            Ok(refused) => refused,
            // Too large, or something in it is not understood: which document it is shows when each is sent alone.
            Err(Failure::Status(400 | 412 | 413 | 415 | 422)) if taken.len() > 1 => {
                pack.again_alone(taken);
                continue;
            }
            Err(Failure::Status(400 | 412 | 413 | 415 | 422)) => 1,
            Err(error) => return Err(error),
        };
        sent += count;
        app.metrics.replication().pushed(count, refused);
    }
}

/// Sends one request with documents; returns how many of them were refused.
async fn deliver(target: &Target, database: &str, load: Load) -> Result<u64, Failure> {
    match load {
        Load::Bulk { sent, body } => {
            let path = format!("{database}/_bulk_docs");
            let said = target
                .ask(Method::POST, &path, Some(body), MAX_ANSWER_BYTES)
                .await?;
            let refused = Refused::parse(&success(said)?, &sent)?;
            Ok(refused.0 as u64)
        }
        Load::Related {
            id,
            kind,
            bytes,
            body,
        } => {
            let id = utf8_percent_encode(id.as_str(), NON_ALPHANUMERIC);
            let path = format!("{database}/{id}?new_edits=false");
            let body = Some((kind, body));
            let said = target
                .send(Method::PUT, &path, body, bytes, MAX_ANSWER_BYTES)
                .await?;
            success(said)?;
            Ok(0)
        }
    }
}
