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

use crate::api::reply::ReplyBody;
use crate::store::StoreError;

/// Bytes that are handed over at a time: who takes as much within the time for a stall is slow, and not gone.
const PIECE_BYTES: usize = 64 << 10;

/// The answers of one connection.
pub(super) struct Answers(Mutex<State>);

struct State {
    next: u64,
    /// Requests under way.
    open: u64,
    /// Answers of which a piece was taken and no further one asked for: since when. At most one for each open stream.
    waiting: HashMap<u64, Instant>,
    /// When the last request ended.
    idle_since: Instant,
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
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            next: 0,
            open: 0,
            waiting: HashMap::new(),
            idle_since: Instant::now(),
        })))
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
        let oldest = state.waiting.values().min()?;
        (now.duration_since(*oldest) >= stall).then_some(Overdue::Stalled)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
    answering: Answering,
}

impl Taken {
    pub(super) fn new(body: ReplyBody, answering: Answering) -> Self {
        Self {
            body,
            rest: Bytes::new(),
            answering,
        }
    }
}

impl Body for Taken {
    type Data = Bytes;
    type Error = StoreError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StoreError>>> {
        let number = self.answering.number;
        // Asked for more: what was given before is on its way.
        self.answering.answers.state().waiting.remove(&number);
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
        if !self.is_end_stream() {
            let mut state = self.answering.answers.state();
            state.waiting.insert(number, Instant::now());
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
        let answers = Answers::new();
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
}
