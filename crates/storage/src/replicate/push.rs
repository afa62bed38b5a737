//! One turn: what one node lacks of one context's databases is pushed to it, for as long as a turn may last.
//!
//! 1. The other node lets us in, if it did not lately.
//! 2. For each database: both checkpoints, then the feed in pieces.
//! 3. Of each piece: what does the target lack? That is sent. Then the cursor moves, and now and then the checkpoints.
//!
//! Guarantees: a checkpoint passes a revision only when the target says that it has it, took it, or refuses it for good; what is in
//! doubt is not written down. What one database fails with holds up no other.

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
use super::source::Source;
use crate::api::App;
use crate::database_record::DatabaseRecord;
use crate::outbound::Outbound;

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
/// Time that databases may fail for in one turn: who takes longer for it fails as a node.
const FAILING_TIME: Duration = Duration::from_secs(10);
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

    pub(super) fn has(&self, hash: &DatabaseHash) -> bool {
        match self {
            Self::These(hashes) => hashes.contains(hash),
            Self::All => true,
        }
    }

    /// Takes these away, if single ones are named.
    pub(super) fn remove(&mut self, held: &BTreeSet<DatabaseHash>) {
        if let Self::These(hashes) = self {
            hashes.retain(|hash| !held.contains(hash));
        }
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
    /// The other node let us in before.
    known: bool,
    cursors: HashMap<DatabaseHash, Cursor>,
    doubted: Option<Instant>,
    /// While these were pushed, the node was not reached any more: others come first.
    last: BTreeSet<DatabaseHash>,
}

impl Memory {
    /// Forgets where the databases stand, unless it was done lately: the checkpoints are read again, and show what a target lost.
    /// Says whether it was done now.
    pub(super) fn doubt(&mut self, now: Instant, pause: Duration) -> bool {
        let lately = self.doubted.is_some_and(|at| now < at + pause);
        if !lately {
            self.doubted = Some(now);
            self.cursors.clear();
        }
        !lately
    }

    /// When it was done last.
    pub(super) fn doubted(&self) -> Option<Instant> {
        self.doubted
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
    /// Databases that wait, each for itself.
    pub(super) held: BTreeSet<DatabaseHash>,
    /// The node may have lost something since where it stands was read: no checkpoint is written.
    pub(super) doubtful: bool,
    pub(super) memory: Memory,
    left: u32,
    until: Instant,
    pushed: BTreeSet<DatabaseHash>,
    failed: BTreeSet<DatabaseHash>,
    /// All databases are to be looked at.
    look_again: bool,
}

/// What could not be done, and whose failure it is.
enum Trouble {
    Node(Failure),
    Database(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        match failure.is_of_one_database() {
            true => Self::Database(failure),
            false => Self::Node(failure),
        }
    }
}

/// How it went.
pub(super) struct Taken {
    pub(super) link: Link,
    pub(super) outcome: Outcome,
    pub(super) memory: Memory,
    /// What is still to be pushed.
    pub(super) left: Wanted,
    /// Databases that were pushed, wholly or a piece of them.
    pub(super) pushed: BTreeSet<DatabaseHash>,
    /// Databases that failed, each for itself.
    pub(super) failed: BTreeSet<DatabaseHash>,
    /// The node may have lost something: all databases are to be looked at.
    pub(super) look_again: bool,
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
            held: BTreeSet::new(),
            doubtful: false,
            memory,
            left: PIECES,
            until: Instant::now() + TURN_TIME,
            pushed: BTreeSet::new(),
            failed: BTreeSet::new(),
            look_again: false,
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
                self.told(&error);
                (Outcome::Failed, wanted)
            }
        };
        if outcome == Outcome::Failed || !self.failed.is_empty() {
            self.app.metrics.replication().failed();
        }
        Taken {
            link: self.link,
            outcome,
            memory: self.memory,
            left,
            pushed: self.pushed,
            failed: self.failed,
            look_again: self.look_again,
        }
    }

    fn told(&self, error: &Failure) {
        tracing::debug!(%error, "a node could not be replicated to");
    }

    /// The databases that are still there, and still this account's.
    async fn databases(
        &self,
        wanted: &Wanted,
    ) -> Result<Vec<(DatabaseHash, DatabaseRecord)>, Failure> {
        let account = self.link.account.to_string();
        let records = self.app.databases.of_account(account).await?;
        let named = records.into_iter().filter_map(|record| {
            let hash = record.database_hash.parse().ok()?;
            Some((hash, record))
        });
        let mut records: Vec<(DatabaseHash, DatabaseRecord)> = named
            .filter(|(hash, _)| wanted.has(hash) && !self.held.contains(hash))
            .collect();
        records.sort_by_key(|(hash, _)| self.memory.last.contains(hash));
        Ok(records)
    }

    async fn push_all(
        &mut self,
        records: Vec<(DatabaseHash, DatabaseRecord)>,
    ) -> (Outcome, Wanted) {
        let mut left = BTreeSet::new();
        let mut away = false;
        let mut failing = Duration::ZERO;
        for (hash, record) in records {
            if away || self.is_over() {
                left.insert(hash);
                continue;
            }
            let began = Instant::now();
            let trouble = match self.push(&record, hash).await {
                Ok(complete) => {
                    self.pushed.insert(hash);
                    self.memory.last.remove(&hash);
                    if !complete {
                        left.insert(hash);
                    }
                    continue;
                }
                Err(trouble) => trouble,
            };
            self.memory.cursors.remove(&hash);
            match trouble {
                Trouble::Database(error) => {
                    self.told(&error);
                    self.failed.insert(hash);
                    self.memory.last.remove(&hash);
                    match error {
                        // It is the same node: what it lacks of this database it may lack of others.
                        Failure::PutBack => self.doubt(),
                        // All else was taken.
                        Failure::NotNow(_) => {}
                        _ => failing += began.elapsed(),
                    }
                    away = failing > FAILING_TIME;
                }
                Trouble::Node(error) => {
                    self.told(&error);
                    self.memory.last.insert(hash);
                    left.insert(hash);
                    away = true;
                }
            }
        }
        let outcome = match (away, left.is_empty()) {
            (true, _) => Outcome::Failed,
            (false, true) => Outcome::Done,
            (false, false) => Outcome::More,
        };
        (outcome, Wanted::These(left))
    }

    /// Pushes one database; true when the target has all of it.
    async fn push(&mut self, record: &DatabaseRecord, hash: DatabaseHash) -> Result<bool, Trouble> {
        let fresh = self.let_in().await.map_err(Trouble::Node)?;
        match self.push_once(record, hash).await {
            // It forgot us, or lets us in no longer: once more, from the handshake on.
            Err(Failure::NotLetIn) if !fresh => {
                self.memory.target = None;
                self.let_in().await.map_err(Trouble::Node)?;
                Ok(self.push_once(record, hash).await?)
            }
            pushed => Ok(pushed?),
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
        if std::mem::replace(&mut self.memory.known, true) {
            // Whatever made it necessary: a node that does not know us any more may have lost all else, too.
            self.doubt();
        }
        Ok(true)
    }

    /// Forgets where the databases stand, and has all of them looked at.
    fn doubt(&mut self) {
        self.memory.cursors.clear();
        self.doubtful = false;
        self.look_again = true;
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
            None => {
                let source = Source::of(&app, record).await?;
                Cursor::read(&source, target, record, &id).await?
            }
        };
        let mut sent = 0;
        let mut not_now = 0;
        let complete = loop {
            if self.is_over() {
                break false;
            }
            self.left -= 1;
            let source = Source::of(&app, record).await?;
            let rows = source.rows(&cursor.place).await?;
            if !rows.asked.0.is_empty() {
                let delivered = push_rows(&app, target, record, &rows).await?;
                sent += delivered.sent;
                not_now += delivered.not_now;
            }
            cursor.place = rows.up_to;
            cursor.unsaved += rows.count;
            if rows.complete {
                break true;
            }
            if cursor.unsaved >= SAVE_ROWS && not_now == 0 && !self.doubtful {
                let to = (target, app.uuid.as_str());
                cursor.save(&source, to, record, &id).await?;
            }
        };
        // What comes behind such a document was sent; next time it is asked about again, from the checkpoint on.
        if not_now > 0 {
            return Err(Failure::NotNow(not_now));
        }
        let worth = cursor.unsaved >= UNSAVED_ROWS || (sent > 0 && cursor.unsaved > 0);
        if worth && !self.doubtful {
            let source = Source::of(&app, record).await?;
            let to = (target, app.uuid.as_str());
            cursor.save(&source, to, record, &id).await?;
        }
        if self.memory.cursors.len() >= MAX_CURSORS {
            self.memory.cursors.clear();
        }
        self.memory.cursors.insert(hash, cursor);
        Ok(complete)
    }
}

/// Of some rows.
#[derive(Default)]
struct Delivered {
    /// Revisions that were sent.
    sent: u64,
    /// Those of them that the target could not write now.
    not_now: u64,
}

/// Asks what the target lacks of these rows, and sends it.
async fn push_rows(
    app: &Arc<App>,
    target: &Target,
    record: &DatabaseRecord,
    rows: &Rows,
) -> Result<Delivered, Failure> {
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
    let mut delivered = Delivered::default();
    loop {
        let source = Source::of(app, record).await?;
        let (back, next) = source.next(pack).await?;
        pack = back;
        let Some((load, taken)) = next else {
            return Ok(delivered);
        };
        let count = taken.len() as u64;
        let refused = match deliver(target, database, load).await {
            Ok(refused) => refused,
            // Too large, or something in it is not understood: which document it is shows when each is sent alone.
            Err(Failure::Status(400 | 412 | 413 | 415 | 422)) if taken.len() > 1 => {
                pack.again_alone(taken);
                continue;
            }
            Err(Failure::Status(400 | 412 | 413 | 415 | 422)) => Refused {
                for_good: 1,
                for_now: 0,
            },
            Err(error) => return Err(error),
        };
        let not_now = count.min(refused.for_now as u64);
        delivered.sent += count;
        delivered.not_now += not_now;
        let refused = refused.for_good as u64;
        app.metrics.replication().pushed(count - not_now, refused);
    }
}

/// Sends one request with documents; returns how many of them were refused.
async fn deliver(target: &Target, database: &str, load: Load) -> Result<Refused, Failure> {
    match load {
        Load::Bulk { sent, body } => {
            let path = format!("{database}/_bulk_docs");
            let said = target
                .ask(Method::POST, &path, Some(body), MAX_ANSWER_BYTES)
                .await?;
            Ok(Refused::parse(&success(said)?, &sent)?)
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
            Ok(Refused::default())
        }
    }
}
