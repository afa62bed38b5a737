//! Pulling a database: the changes feed of a storage node, cut into rows, opened on worker threads
//! while later rows are still on the wire, and handed over in order.
//!
//! The peer is not trusted: positions must grow, revisions must agree, rows and documents have limits,
//! and every record must open with the database's key and name itself. A record that does not is left out
//! and counted, never guessed.

mod batch;
mod opener;
mod plain_batch;
mod room;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use adyton_couch::changes_feed::{RowCutter, Rows};
use adyton_keys::dead_stack::wiped_after;
use adyton_keys::record_cipher::RecordCipher;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::task::JoinHandle;

pub use batch::{FeedPosition, PullBatch, RecordFault};
pub use plain_batch::{PlainBatch, PlainRow, RecordError, SchemaText};
pub use room::{Reserved, Room, Turn, Unlimited};

use crate::database::Database;
use crate::session::SessionError;
use crate::transport::TransportError;

/// Bytes of rows handed to a worker at once.
const BATCH_BYTES: usize = 256 * 1024;
/// Bytes that a pull may hold without asking: ordinary records always pass.
const HELD_FREELY: usize = 1024 * 1024;
/// Bytes held for each byte of a row: the row, and its plaintext while it is opened.
const HELD_PER_BYTE: usize = 2;
/// Heartbeats asked for within the longest silence that is accepted.
const HEARTBEATS: u32 = 3;

/// The pull cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// The storage side does not work, or stopped in the middle.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The feed broke the protocol.
    #[error("the changes feed broke the protocol: {0}")]
    Misbehaved(Misbehaviour),
    /// There is no room for what is on its way.
    #[error("there is no room for the rows of the feed")]
    NoRoom,
    /// The process is out of worker threads or is ending.
    #[error("the pull was stopped")]
    Stopped,
}

impl From<TransportError> for PullError {
    fn from(error: TransportError) -> Self {
        Self::Session(error.into())
    }
}

/// How a feed broke the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misbehaviour {
    /// A row is not what the protocol says.
    #[error("a row is malformed")]
    Row,
    /// The position of a row is not after the one before.
    #[error("positions do not grow")]
    Backwards,
    /// The row and its document name different ids or revisions.
    #[error("a row and its document disagree")]
    Disagreement,
    /// More rows came than the database has documents.
    #[error("the feed does not end")]
    Endless,
    /// The feed ended in the middle of a row, or before its list was closed.
    #[error("the feed was cut off")]
    Truncated,
}

/// Which part of a feed is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Feed {
    /// Everything up to now, then the end.
    Snapshot {
        /// Most rows that are accepted: what the node itself says it has, and some more for what
        /// changes meanwhile.
        max_rows: u64,
    },
    /// Everything after a position, and then every change as it happens.
    Follow(FeedPosition),
}

/// A pull in progress. Dropping it closes the connection.
pub struct Pull {
    batches: BoxStream<'static, Result<PullBatch, PullError>>,
    position: Option<FeedPosition>,
    rows_left: u64,
}

impl Pull {
    /// Starts a pull of one's own data. `workers` is the number of batches opened at the same time.
    pub async fn start(
        database: &Database<'_>,
        cipher: Arc<RecordCipher>,
        feed: Feed,
        workers: usize,
    ) -> Result<Self, PullError> {
        Self::start_within(database, cipher, feed, workers, Arc::new(Unlimited)).await
    }

    /// Starts a pull that holds no more than 1 MiB and what there is room for, whatever the peer sends.
    pub async fn start_within(
        database: &Database<'_>,
        cipher: Arc<RecordCipher>,
        feed: Feed,
        workers: usize,
        room: Arc<dyn Room>,
    ) -> Result<Self, PullError> {
        let silence = database.session().patience().silence;
        let (query, position, rows_left) = match feed {
            Feed::Snapshot { max_rows } => ("include_docs=true&since=0".to_owned(), None, max_rows),
            Feed::Follow(position) => {
                let since: String =
                    url::form_urlencoded::byte_serialize(position.text().as_bytes()).collect();
                let heartbeat = (silence / HEARTBEATS).as_millis();
                let query = format!(
                    "include_docs=true&feed=continuous&heartbeat={heartbeat}&since={since}"
                );
                (query, Some(position), u64::MAX)
            }
        };
        let follows = position.is_some();
        let turns = Arc::clone(&room);
        let response = database.open_feed(&query).await?;
        match response.status() {
            StatusCode::OK => {}
            other => {
                return Err(SessionError::Refused {
                    status: other.as_u16(),
                }
                .into());
            }
        }
        let reader = Reader {
            body: response.into_body(),
            cutter: RowCutter::new(),
            pending: VecDeque::new(),
            follows,
            silence,
            ended: false,
            room,
            reserved: Vec::new(),
            reserved_bytes: 0,
        };
        let rows = stream::unfold(reader, |mut reader| async move {
            let next = reader.next().await?;
            Some((next, reader))
        });
        let batches = rows
            .map(move |rows| {
                let opening = rows.map(|(rows, room)| {
                    let (cipher, turns) = (Arc::clone(&cipher), Arc::clone(&turns));
                    (room, Opening::start(rows, cipher, turns))
                });
                async move {
                    let (room, mut opening) = opening?;
                    let opened = (&mut opening.0).await;
                    let batch = opened.map_err(|_| PullError::Stopped)??;
                    Ok(PullBatch { room, ..batch })
                }
            })
            .buffered(workers.max(1))
            .boxed();
        Ok(Self {
            batches,
            position,
            rows_left,
        })
    }

    /// The next records, in the order of the feed; `None` at its end.
    pub async fn next(&mut self) -> Option<Result<PullBatch, PullError>> {
        let batch = match self.batches.next().await? {
            Ok(batch) => batch,
            Err(error) => return Some(Err(error)),
        };
        Some(self.checked(batch))
    }

    /// Where the feed stands: everything up to here was handed over.
    pub fn position(&self) -> Option<&FeedPosition> {
        self.position.as_ref()
    }

    fn checked(&mut self, batch: PullBatch) -> Result<PullBatch, PullError> {
        self.rows_left = self
            .rows_left
            .checked_sub(batch.row_count)
            .ok_or(PullError::Misbehaved(Misbehaviour::Endless))?;
        if let Some((first, last)) = &batch.positions {
            if self
                .position
                .as_ref()
                .is_some_and(|before| !first.is_after(before))
            {
                return Err(PullError::Misbehaved(Misbehaviour::Backwards));
            }
            self.position = Some(last.clone());
        }
        Ok(batch)
    }
}

impl std::fmt::Debug for Pull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pull")
    }
}

/// A batch that is being opened, or waits for its turn. It is a task of its own, because a turn must not be given to
/// somebody who is busy with something else. Dropping it leaves the line.
struct Opening(JoinHandle<Result<PullBatch, PullError>>);

impl Opening {
    fn start(rows: Rows, cipher: Arc<RecordCipher>, turns: Arc<dyn Room>) -> Self {
        Self(tokio::spawn(async move {
            let turn = turns.turn().await.ok_or(PullError::NoRoom)?;
            let opening = tokio::task::spawn_blocking(move || {
                let opened = wiped_after(|| opener::open_rows(&rows, &cipher));
                drop(turn);
                opened
            });
            opening.await.map_err(|_| PullError::Stopped)?
        }))
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Reads the body and cuts it into rows.
struct Reader {
    body: Incoming,
    cutter: RowCutter,
    pending: VecDeque<(Rows, Vec<Reserved>)>,
    follows: bool,
    silence: Duration,
    ended: bool,
    room: Arc<dyn Room>,
    /// For the bytes in the cutter.
    reserved: Vec<Reserved>,
    reserved_bytes: usize,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<(Rows, Vec<Reserved>), PullError>> {
        loop {
            if let Some(rows) = self.pending.pop_front() {
                return Some(Ok(rows));
            }
            if self.ended {
                return None;
            }
            let frame = match tokio::time::timeout(self.silence, self.body.frame()).await {
                Err(_) => Some(Err(PullError::from(TransportError::Timeout))),
                Ok(None) => {
                    self.ended = true;
                    self.hand_over();
                    let cut_off = self.cutter.is_inside_row()
                        || (!self.follows && !self.cutter.is_complete());
                    if cut_off {
                        self.pending.clear();
                        return Some(Err(PullError::Misbehaved(Misbehaviour::Truncated)));
                    }
                    continue;
                }
                Ok(Some(Err(_))) => Some(Err(TransportError::Unreachable.into())),
                Ok(Some(Ok(frame))) => {
                    let cut = match frame.into_data() {
                        Ok(data) => self.cut(&data),
                        Err(_) => Ok(()),
                    };
                    cut.err().map(Err)
                }
            };
            if let Some(error) = frame {
                self.ended = true;
                return Some(error);
            }
        }
    }

    fn cut(&mut self, data: &[u8]) -> Result<(), PullError> {
        for part in data.chunks(BATCH_BYTES) {
            self.cutter.push(part);
            self.reserve()?;
            if self.follows || self.cutter.byte_len() >= BATCH_BYTES {
                self.hand_over();
                self.reserve()?;
            }
        }
        Ok(())
    }

    /// Moves the finished rows to where they are taken from, and the room for them along.
    fn hand_over(&mut self) {
        let rows = self.cutter.take();
        if rows.is_empty() && rows.oversized() == 0 {
            return;
        }
        let room = std::mem::take(&mut self.reserved);
        self.reserved_bytes = 0;
        if self.follows {
            let single = rows.into_single_rows().map(|row| (row, Vec::new()));
            self.pending.extend(single);
            if let Some((_, last)) = self.pending.back_mut() {
                *last = room;
            }
        } else {
            self.pending.push_back((rows, room));
        }
    }

    /// Reserves room for what the cutter holds beyond what is free.
    fn reserve(&mut self) -> Result<(), PullError> {
        let held = self.cutter.byte_len().saturating_sub(HELD_FREELY);
        if held > self.reserved_bytes {
            let more = (held - self.reserved_bytes).saturating_mul(HELD_PER_BYTE);
            let reserved = self.room.reserve(more).ok_or(PullError::NoRoom)?;
            self.reserved.push(reserved);
            self.reserved_bytes = held;
        }
        Ok(())
    }
}
