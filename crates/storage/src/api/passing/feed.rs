//! An answer of CouchDB's, passed on for as long as its reader may read: a feed, or any other.

use std::time::Duration;

use adyton_couch::rev_tree::Liveness;
use adyton_couch::wire::{CouchError, ErrorKind};
use adyton_protocol::database::DatabaseHash;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use http::Method;
use http_body::Frame;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use super::said::Said;
use super::{ANSWER_TIME, Going, Passing};
use crate::access::Permit;
use crate::api::asked::Admitted;
use crate::api::coding::AsItIs;
use crate::api::documents::Done;
use crate::api::reply::{self, Reply};
use crate::couch::request::{self, FeedKind};
use crate::databases::DatabaseError;
use crate::fair_share::Place;
use crate::store::StoreError;
use crate::throttle::CallerKey;

/// What a feed that ends by itself may take longer than it was told.
const FEED_GRACE: Duration = Duration::from_secs(10);
/// The longest that an answer may take.
const LONGEST_FEED: Duration = Duration::from_secs(24 * 3_600);

impl Passing {
    pub(super) async fn changes(self, asked: Admitted) -> Done {
        let (body, permit, head) = match asked.head().method {
            Method::GET => {
                let (permit, head) = asked.bodiless();
                (Bytes::new(), permit, head)
            }
            _ => {
                let limit = self.app.limits.bulk_bytes;
                let (body, permit, head) = asked.read(&self.app, limit).await?;
                (body.into_shared(), permit, head)
            }
        };
        let life = self.life(&permit);
        let feed = request::feed(&head.query, self.app.limits.feed_timeout.min(life))?;
        let place = match feed.kind {
            FeedKind::Normal => None,
            FeedKind::Longpoll | FeedKind::Endless => {
                let reason = "There are too many open feeds.";
                let place = self.app.feeds.enter(head.caller.clone(), 1);
                Some(place.ok_or(CouchError::new(ErrorKind::Unavailable, reason))?)
            }
        };
        // Told of changes from before CouchDB is asked on.
        let changes = self.couch.changes();
        let path = request::path(self.hash, &["_changes"]);
        let going = Going {
            method: head.method.clone(),
            path: format!("{path}{}", feed.query),
            headers: request::asked(&head.headers),
            body,
            liveness: Liveness::Live,
            caller: head.caller,
        };
        let ends = Instant::now() + life;
        // CouchDB may begin a feed with its first word.
        let time = match feed.beats {
            true => life,
            false => (self.app.limits.feed_timeout + FEED_GRACE).max(ANSWER_TIME),
        };
        let said = self.sent(&permit, going, time).await?;
        if feed.kind == FeedKind::Normal || !said.head.status.is_success() {
            return Ok(self.told(permit, changes, said));
        }
        let feed = Feed {
            stop: self.app.stop.clone(),
            passing: self,
            permit,
            kind: feed.kind,
            said,
            changes,
            ends,
            // Rights that changed before this feed listened are noticed at once.
            check: Instant::now(),
            asked: Instant::now(),
            _place: place,
        };
        let mut reply = feed.reply();
        reply.extensions_mut().insert(AsItIs);
        Ok(reply)
    }

    /// The answer as it comes, as long as its reader may read. One that breaks off breaks off for the caller, too.
    pub(super) fn told(
        self,
        permit: Permit,
        changes: broadcast::Receiver<DatabaseHash>,
        said: Said,
    ) -> Reply {
        let feed = Feed {
            stop: self.app.stop.clone(),
            ends: Instant::now() + self.life(&permit),
            check: Instant::now() + self.app.limits.rights_time,
            passing: self,
            permit,
            kind: FeedKind::Normal,
            said,
            changes,
            asked: Instant::now(),
            _place: None,
        };
        feed.reply()
    }

    /// How long an answer may be told.
    fn life(&self, permit: &Permit) -> Duration {
        let left = permit
            .expires()
            .saturating_sub(self.app.clock.unix_seconds());
        Duration::from_secs(left).min(LONGEST_FEED)
    }
}

/// An answer under way.
struct Feed {
    passing: Passing,
    permit: Permit,
    kind: FeedKind,
    said: Said,
    changes: broadcast::Receiver<DatabaseHash>,
    stop: watch::Receiver<bool>,
    /// Where the credential ends, and with it the feed.
    ends: Instant,
    /// When the right is looked at again.
    check: Instant,
    /// Since when the next piece is waited for.
    asked: Instant,
    /// Kept as long as the feed lives. Only feeds that wait need one.
    _place: Option<Place<CallerKey>>,
}

/// What a feed waits for.
enum Heard {
    Piece(Option<Result<Frame<Bytes>, StoreError>>),
    /// The right to read may have changed.
    Rights,
    /// Something about another database.
    Nothing,
    /// Nothing at all, for long.
    Silence,
    End,
}

impl Feed {
    fn reply(self) -> Reply {
        let (status, headers) = (
            self.said.head.status,
            request::told(&self.said.head.headers),
        );
        let mut reply = reply::stream(self.into_stream());
        *reply.status_mut() = status;
        *reply.headers_mut() = headers;
        reply
    }

    fn into_stream(self) -> impl Stream<Item = Result<Bytes, StoreError>> + Send + 'static {
        unfold(Some(self), |feed| async move {
            let mut feed = feed?;
            // However long the reader took for the last piece.
            feed.asked = Instant::now();
            loop {
                match feed.listen().await {
                    Heard::Piece(None) => return None,
                    Heard::Piece(Some(Err(error))) => return Some((Err(error), None)),
                    Heard::Piece(Some(Ok(frame))) => {
                        if let Ok(piece) = frame.into_data() {
                            return Some((Ok(piece), Some(feed)));
                        }
                    }
                    Heard::Rights => match feed.is_allowed().await {
                        Ok(true) => feed.look_later(),
                        Ok(false) => return feed.cut(),
                        Err(error) => return Some((Err(error), None)),
                    },
                    Heard::Nothing => {}
                    Heard::Silence => return Some((Err(StoreError::Away), None)),
                    Heard::End => return feed.cut(),
                }
            }
        })
    }

    async fn listen(&mut self) -> Heard {
        let silent = self.asked + ANSWER_TIME;
        tokio::select! {
            biased;
            // What is no feed ends by itself.
            _ = self.stop.wait_for(|stop| *stop), if self.kind != FeedKind::Normal => Heard::End,
            () = tokio::time::sleep_until(self.ends) => Heard::End,
            changed = self.changes.recv() => match changed {
                Ok(hash) if hash != self.passing.hash => Heard::Nothing,
                Ok(_) | Err(_) => Heard::Rights,
            },
            () = tokio::time::sleep_until(self.check) => Heard::Rights,
            piece = self.said.piece() => Heard::Piece(piece),
            () = tokio::time::sleep_until(silent), if self.kind == FeedKind::Normal => Heard::Silence,
        }
    }

    /// When nothing is heard the right is looked at again: another node may have changed it.
    fn look_later(&mut self) {
        self.check = Instant::now() + self.passing.app.limits.rights_time;
    }

    async fn is_allowed(&self) -> Result<bool, StoreError> {
        let Passing { app, hash, .. } = &self.passing;
        match app
            .databases
            .authorise(self.permit.principal(), *hash)
            .await
        {
            Ok(_) => Ok(true),
            Err(DatabaseError::Refused(_)) => Ok(false),
            Err(DatabaseError::Store(error)) => Err(error),
        }
    }

    /// Ends before CouchDB ends it: in order where any line may be the last, else by breaking off, so that nobody takes a part for
    /// the whole.
    fn cut(self) -> Option<(Result<Bytes, StoreError>, Option<Self>)> {
        match self.kind {
            FeedKind::Endless => None,
            FeedKind::Normal | FeedKind::Longpoll => Some((Err(StoreError::Closed), None)),
        }
    }
}
