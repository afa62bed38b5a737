//! The feed of changes: told in order from a position, streamed, and then awaited for as long as was asked.
//!
//! Guarantees: a change that was acknowledged before the feed reads is told; a position handed out is never ahead of what was
//! told, unless that is told downwards; the right to read is checked again before every further reading. A feed at rest holds no file
//! and no thread.

mod reading;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use adyton_couch::seq::{Life, Seq};
use adyton_couch::wire::{ChangesQuery, CouchError, ErrorKind, Filter, changes};
use adyton_protocol::database::DatabaseHash;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::access::{Permit, Principal};
use crate::api::App;
use crate::api::pieces::{Piece, PieceProducer};
use crate::databases::DatabaseError;
use crate::fair_share::Place;
use crate::store::database::DatabaseFile;
use crate::store::{StoreError, blocking};
use crate::stream::Producer;
use crate::throttle::CallerKey;
use reading::{Read, Reading};

/// The longest that a feed may live.
const LONGEST_FEED: Duration = Duration::from_secs(24 * 3_600);

/// A feed under way.
pub(crate) struct Feed {
    app: Arc<App>,
    principal: Principal,
    caller: CallerKey,
    hash: DatabaseHash,
    query: Arc<ChangesQuery>,
    life: Life,
    pulse: watch::Receiver<u64>,
    stop: watch::Receiver<bool>,
    /// Told up to here (from here, when descending).
    cursor: u64,
    /// Where the present reading ends.
    newest: u64,
    /// Rows that may still be told.
    left: u64,
    /// Where the last row is that was told.
    told: Option<u64>,
    /// How long to wait for the next change.
    patience: Duration,
    /// Where the present wait ends.
    deadline: Instant,
    /// Where the credential ends, and with it the feed.
    expires: Instant,
    ready: VecDeque<Bytes>,
    phase: Phase,
    /// Kept as long as the feed lives. Only feeds that wait need one.
    _place: Option<Place<CallerKey>>,
}

enum Phase {
    /// A batch is being read.
    Reading(JoinHandle<Result<Option<Batch>, StoreError>>),
    /// A batch with contents of attachments is being told.
    Telling(Box<Telling>),
    /// There is nothing to tell yet.
    Waiting,
    /// The last words are ready.
    Ended,
}

/// What ends a wait.
enum Woken {
    News,
    Beat,
    End,
}

/// How far a batch reads.
#[derive(Clone, Copy)]
enum Horizon {
    /// To the end of the present reading.
    Newest,
    /// To whatever is there now.
    Now,
}

/// Rows that were read.
struct Batch {
    read: Read,
    text: Text,
}

/// What a batch tells.
enum Text {
    Made(Vec<Bytes>),
    /// With contents of attachments, which are made when they are sent.
    WithContents(Box<PieceProducer>),
}

/// A batch under way whose contents are made some at a time, the next ones while the last ones are sent.
struct Telling {
    read: Read,
    made: JoinHandle<Contents>,
}

/// What is left of a batch, and what was made of it; nothing at its end.
type Contents = (Box<PieceProducer>, Result<Option<Vec<Bytes>>, StoreError>);

impl Feed {
    /// Starts a feed for somebody who may read the database.
    pub(crate) async fn open(
        app: Arc<App>,
        caller: CallerKey,
        permit: Permit,
        hash: DatabaseHash,
        query: ChangesQuery,
    ) -> Result<Self, DatabaseError> {
        let place = match query.feed {
            changes::Feed::Normal => None,
            changes::Feed::Longpoll | changes::Feed::Continuous | changes::Feed::EventSource => {
                let reason = "There are too many open feeds.";
                let place = app.feeds.enter(caller.clone(), 1);
                Some(place.ok_or(CouchError::new(ErrorKind::Unavailable, reason))?)
            }
        };
        // The pulse first: what changes after the view is taken will be noticed.
        let mut pulse = app.databases.pulse(&permit)?;
        pulse.mark_unchanged();
        let file = app.databases.file(&permit).await?;
        let opened = Arc::clone(&file);
        let counters = blocking(move || Ok(opened.view()?.counters)).await?;
        let longest = app.limits.feed_timeout;
        let patience = match (query.timeout, query.heartbeat) {
            // With a heartbeat the feed lives as long as its credential.
            (_, Some(_)) => LONGEST_FEED,
            (Some(timeout), None) => timeout.min(longest),
            (None, None) => longest,
        };
        let lifetime = permit.expires().saturating_sub(app.clock.unix_seconds());
        let expires = Instant::now() + Duration::from_secs(lifetime).min(LONGEST_FEED);
        let query = Arc::new(query);
        let after = query.since.resolve(counters.life(), counters.update_seq);
        let mut feed = Self {
            stop: app.stop.clone(),
            app,
            principal: permit.principal().clone(),
            caller,
            hash,
            life: counters.life(),
            pulse,
            cursor: after,
            newest: counters.update_seq,
            left: query.limit.unwrap_or(u64::MAX),
            told: None,
            patience,
            deadline: expires.min(Instant::now() + patience),
            expires,
            ready: VecDeque::new(),
            phase: Phase::Waiting,
            _place: place,
            query,
        };
        if !feed.query.feed.is_endless() {
            feed.ready
                .push_back(Bytes::from_static(b"{\"results\":[\n"));
        }
        feed.read(file, Horizon::Newest).await?;
        Ok(feed)
    }

    /// The feed's text, piece by piece.
    pub(crate) fn into_stream(
        self,
    ) -> impl Stream<Item = Result<Bytes, StoreError>> + Send + 'static {
        unfold(Some(Box::new(self)), |feed| async move {
            let mut feed = feed?;
            match feed.next().await {
                Ok(Some(piece)) => Some((Ok(piece), Some(feed))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    /// Thousands of feeds wait here for hours: whatever happens only when there is news has its room only then.
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Ok(Some(piece));
            }
            match std::mem::replace(&mut self.phase, Phase::Waiting) {
                Phase::Reading(batch) => match batch.await.map_err(|_| StoreError::Closed)?? {
                    Some(batch) => Box::pin(self.tell(batch)).await?,
                    None => self.end(),
                },
                Phase::Telling(telling) => Box::pin(self.tell_contents(*telling)).await?,
                Phase::Waiting => match self.wait().await {
                    Woken::Beat => return Ok(Some(self.beat())),
                    Woken::News => Box::pin(self.look()).await?,
                    Woken::End => self.end(),
                },
                Phase::Ended => {
                    self.phase = Phase::Ended;
                    return Ok(None);
                }
            }
        }
    }

    /// Takes a batch over.
    async fn tell(&mut self, batch: Batch) -> Result<(), StoreError> {
        match batch.text {
            Text::Made(pieces) => {
                self.ready.extend(pieces);
                self.go_on(batch.read).await
            }
            Text::WithContents(producer) => {
                let file = self.same_file().await?;
                self.phase = Phase::Telling(Box::new(Telling::start(producer, batch.read, file)));
                Ok(())
            }
        }
    }

    /// Takes over what was made of a batch with contents.
    async fn tell_contents(&mut self, telling: Telling) -> Result<(), StoreError> {
        let (producer, pieces) = telling.made.await.map_err(|_| StoreError::Closed)?;
        let Some(pieces) = pieces? else {
            return self.go_on(telling.read).await;
        };
        let file = self.same_file().await?;
        self.ready.extend(pieces);
        self.phase = Phase::Telling(Box::new(Telling::start(producer, telling.read, file)));
        Ok(())
    }

    /// The file, to go on in the middle of a row. A reader whose right ended is cut off there.
    async fn same_file(&self) -> Result<Arc<DatabaseFile>, StoreError> {
        let file = self.file().await?;
        file.filter(|file| file.life() == self.life)
            .ok_or(StoreError::Closed)
    }

    /// Decides how to go on after a batch.
    async fn go_on(&mut self, read: Read) -> Result<(), StoreError> {
        self.told = read.last.or(self.told);
        self.left = self.left.saturating_sub(read.rows);
        self.newest = read.newest;
        if self.query.descending {
            self.newest = read.cursor.saturating_sub(1);
        } else {
            self.cursor = read.cursor;
        }
        let waits = match self.query.feed {
            changes::Feed::Normal => false,
            changes::Feed::Longpoll => self.told.is_none(),
            changes::Feed::Continuous | changes::Feed::EventSource => true,
        } && !self.query.descending;
        if read.rows > 0 {
            self.deadline = self.expires.min(Instant::now() + self.patience);
        }
        if self.left == 0 || (read.complete && !waits) {
            self.end();
        } else if read.complete {
            self.phase = Phase::Waiting;
        } else if let Some(file) = self.file().await? {
            self.read(file, Horizon::Newest).await?;
        } else {
            self.end();
        }
        Ok(())
    }

    /// Waits for a change, for the next heartbeat, or for the end.
    async fn wait(&mut self) -> Woken {
        let beat = self.query.heartbeat.map(|period| Instant::now() + period);
        let beat = beat.filter(|beat| *beat < self.deadline);
        tokio::select! {
            changed = self.pulse.changed() => match changed {
                Ok(()) => Woken::News,
                Err(_) => Woken::End,
            },
            _ = self.stop.wait_for(|stop| *stop) => Woken::End,
            () = tokio::time::sleep_until(beat.unwrap_or(self.deadline)) => match beat {
                Some(_) => Woken::Beat,
                None => Woken::End,
            },
        }
    }

    /// What is told when there is nothing to tell.
    fn beat(&self) -> Bytes {
        Bytes::from_static(match self.query.feed {
            changes::Feed::EventSource => b"event: heartbeat\ndata: \n\n",
            changes::Feed::Normal | changes::Feed::Longpoll | changes::Feed::Continuous => b"\n",
        })
    }

    /// Looks at what has changed. Gone, or not the reader's any more: the feed ends as if nothing more happened.
    async fn look(&mut self) -> Result<(), StoreError> {
        match self.file().await? {
            Some(file) => self.read(file, Horizon::Now).await?,
            None => self.end(),
        }
        Ok(())
    }

    /// The file, if the reader still may read it.
    async fn file(&self) -> Result<Option<Arc<DatabaseFile>>, StoreError> {
        let opened = match self
            .app
            .databases
            .authorise(&self.principal, self.hash)
            .await
        {
            Ok(mut permit) => {
                let files = self.app.databases.files()?;
                files.file_again(&mut permit).await
            }
            Err(refused) => Err(refused),
        };
        match opened {
            Ok(file) => Ok(Some(file)),
            Err(DatabaseError::Refused(_)) => Ok(None),
            Err(DatabaseError::Store(error)) => Err(error),
        }
    }

    /// Begins to read a batch. A selector looks through documents, as queries do: only so many at one time. Whoever waits for a
    /// turn holds no file meanwhile.
    async fn read(&mut self, file: Arc<DatabaseFile>, horizon: Horizon) -> Result<(), StoreError> {
        let (turn, file) = match &self.query.filter {
            Filter::Selector(_) => {
                drop(file);
                let turn = self.app.finds.wait(&self.caller).await?;
                let Some(file) = self.file().await? else {
                    self.end();
                    return Ok(());
                };
                (Some(turn), file)
            }
            Filter::Everything | Filter::DocumentIds(_) | Filter::Designs => (None, file),
        };
        let mut reading = Reading {
            query: Arc::clone(&self.query),
            life: self.life,
            after: self.cursor,
            up_to: self.newest,
            left: self.left,
            comma: self.told.is_some(),
        };
        self.phase = Phase::Reading(tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let view = file.view()?;
            if view.counters.life() != reading.life {
                return Ok(None);
            }
            if let Horizon::Now = horizon {
                reading.up_to = view.counters.update_seq;
            }
            let (read, pieces) = reading.batch(&view)?;
            let made: Option<Vec<Bytes>> = pieces.iter().map(Piece::made).collect();
            let text = match made {
                Some(pieces) => Text::Made(pieces),
                None => Text::WithContents(Box::new(PieceProducer::new(pieces))),
            };
            Ok(Some(Batch { read, text }))
        }));
        Ok(())
    }

    fn end(&mut self) {
        // Downwards the cursor stays where the range begins: nobody could go on from there.
        let told = self.told.filter(|_| self.query.descending);
        let last = Seq {
            number: told.unwrap_or(self.cursor),
            life: self.life,
        };
        let pending = self.newest.saturating_sub(self.cursor);
        let text = match self.query.feed {
            changes::Feed::Continuous => {
                format!("{{\"last_seq\":\"{last}\",\"pending\":{pending}}}\n")
            }
            changes::Feed::Normal | changes::Feed::Longpoll => {
                format!("\n],\"last_seq\":\"{last}\",\"pending\":{pending}}}\n")
            }
            // A browser has the position from the last event, and comes back with it.
            changes::Feed::EventSource => String::new(),
        };
        self.ready
            .extend((!text.is_empty()).then(|| Bytes::from(text)));
        self.phase = Phase::Ended;
    }
}

impl Telling {
    /// The file is held until the next contents are made.
    fn start(mut producer: Box<PieceProducer>, read: Read, file: Arc<DatabaseFile>) -> Self {
        let made = tokio::task::spawn_blocking(move || {
            let pieces = producer.batch(&file);
            (producer, pieces)
        });
        Self { read, made }
    }
}
