//! What a connection with many requests at a time (HTTP/2) may keep waiting: answers that its peer does not take, and a connection
//! on which nothing happens. With HTTP/1.1 the socket itself tells ([`super::stall`]); here one answer can stand still while
//! another flows.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::pace::Pace;
use crate::api::reply::ReplyBody;
use crate::store::StoreError;

/// Bytes that are handed over at a time: who takes as much within the time for a stall is slow, and not gone.
const PIECE_BYTES: usize = 64 << 10;

/// The answers of one connection.
pub(super) struct Answers {
    state: Mutex<State>,
    /// How slowly one may be taken.
    pace: Pace,
}

struct State {
    next: u64,
    /// Requests under way.
    open: u64,
    /// Answers of which a piece was taken and no further one asked for. At most one for each open stream.
    waiting: HashMap<u64, Wait>,
    /// When the last request ended.
    idle_since: Instant,
}

/// A piece that was taken, and is on its way.
#[derive(Clone, Copy)]
struct Wait {
    since: Instant,
    /// Of the answer, before this piece.
    pace: Pace,
}

impl Wait {
    /// How long the peer let this answer wait, among so many that wait on the same connection.
    fn waited(&self, now: Instant, among: usize) -> Duration {
        let among = u32::try_from(among.max(1)).unwrap_or(u32::MAX);
        now.duration_since(self.since) / among
    }
}

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// Nothing is under way.
    Idle,
    /// An answer is not taken.
    Stalled,
}

impl Answers {
    pub(super) fn new(pace: Pace) -> Arc<Self> {
        let state = Mutex::new(State {
            next: 0,
            open: 0,
            waiting: HashMap::new(),
            idle_since: Instant::now(),
        });
        Arc::new(Self { state, pace })
    }

    /// A request has come.
    pub(super) fn begin(self: &Arc<Self>) -> Answering {
        let mut state = self.state();
        state.open += 1;
        state.next += 1;
        Answering {
            number: state.next,
            answers: Arc::clone(self),
        }
    }

    /// Whether the connection has to end by now.
    pub(super) fn overdue(&self, idle: Duration, stall: Duration) -> Option<Overdue> {
        let state = self.state();
        let now = Instant::now();
        if state.open == 0 && now.duration_since(state.idle_since) >= idle {
            return Some(Overdue::Idle);
        }
        let among = state.waiting.len();
        let mut waiting = state.waiting.values();
        let stalled = waiting.any(|wait| {
            now.duration_since(wait.since) >= stall || wait.waited(now, among) >= wait.pace.left()
        });
        stalled.then_some(Overdue::Stalled)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request under way, until its answer is sent or given up.
pub(super) struct Answering {
    answers: Arc<Answers>,
    number: u64,
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut state = self.answers.state();
        state.open -= 1;
        state.waiting.remove(&self.number);
        state.idle_since = Instant::now();
    }
}

/// An answer's body, which is watched being taken.
pub(super) struct Taken {
    body: ReplyBody,
    /// What is left of a large piece.
    rest: Bytes,
    /// How fast the answer is taken, up to the last piece.
    pace: Pace,
    /// Bytes of the last piece.
    piece: usize,
    answering: Answering,
}

impl Taken {
    pub(super) fn new(body: ReplyBody, answering: Answering) -> Self {
        Self {
            body,
            rest: Bytes::new(),
            pace: answering.answers.pace,
            piece: 0,
            answering,
        }
    }

    /// Asked for more: what was given before is on its way.
    fn is_taken(&mut self) {
        let mut state = self.answering.answers.state();
        let among = state.waiting.len();
        let Some(wait) = state.waiting.remove(&self.answering.number) else {
            return;
        };
        self.pace = wait.pace;
        let waited = wait.waited(Instant::now(), among);
        self.pace.took(waited, self.piece as u64);
    }
}

impl Body for Taken {
    type Data = Bytes;
    type Error = StoreError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StoreError>>> {
        self.is_taken();
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                end => return Poll::Ready(end),
            }
        }
        let length = self.rest.len().min(PIECE_BYTES);
        let piece = self.rest.split_to(length);
        self.piece = length;
        if !self.is_end_stream() {
            let (number, pace) = (self.answering.number, self.pace);
            let since = Instant::now();
            let mut state = self.answering.answers.state();
            state.waiting.insert(number, Wait { since, pace });
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let (mut hint, inner) = (SizeHint::new(), self.body.size_hint());
        hint.set_lower(inner.lower().saturating_add(rest));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    const IDLE: Duration = Duration::from_secs(30);
    const STALL: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_not_taken_is_overdue_and_one_that_waits_for_news_is_not() {
        let answers = Answers::new(Pace::new(STALL * 10));
        let pieces = futures_util::stream::iter(
            ["a", "b"]
                .map(|text| Ok::<_, StoreError>(Frame::data(Bytes::from_static(text.as_bytes())))),
        );
        let news = futures_util::stream::pending();
        let body = StreamBody::new(futures_util::StreamExt::chain(pieces, news));
        let mut taken = Taken::new(body.boxed_unsync(), answers.begin());
        tokio::time::sleep(IDLE * 2).await;
        assert_eq!(answers.overdue(IDLE, STALL), None);
        for _ in 0..2 {
            taken.frame().await.unwrap().unwrap();
            tokio::time::sleep(STALL / 2).await;
            assert_eq!(answers.overdue(IDLE, STALL), None);
        }
        tokio::time::sleep(STALL / 2).await;
        assert_eq!(answers.overdue(IDLE, STALL), Some(Overdue::Stalled));
        // Asked for more, there is no more for now: that is not the peer's doing.
        let waited = tokio::time::timeout(STALL * 2, taken.frame()).await;
        assert!(waited.is_err());
        assert_eq!(answers.overdue(IDLE, STALL), None);
        drop(taken);
        tokio::time::sleep(IDLE / 2).await;
        assert_eq!(answers.overdue(IDLE, STALL), None);
        tokio::time::sleep(IDLE / 2).await;
        assert_eq!(answers.overdue(IDLE, STALL), Some(Overdue::Idle));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_of_which_little_is_taken_is_overdue_when_its_time_is_over() {
        let answers = Answers::new(Pace::new(STALL * 2));
        let pieces = futures_util::stream::repeat_with(|| {
            Ok::<_, StoreError>(Frame::data(Bytes::from_static(b"a")))
        });
        let body = StreamBody::new(pieces);
        let mut taken = Taken::new(body.boxed_unsync(), answers.begin());
        let nearly = STALL - Duration::from_secs(1);
        for _ in 0..2 {
            taken.frame().await.unwrap().unwrap();
            tokio::time::sleep(nearly).await;
            assert_eq!(answers.overdue(IDLE, STALL), None);
        }
        taken.frame().await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(answers.overdue(IDLE, STALL), Some(Overdue::Stalled));
    }
}
