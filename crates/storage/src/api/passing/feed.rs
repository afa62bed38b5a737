//! A feed of CouchDB's, passed on for as long as its reader may read.

use std::time::Duration;

use adyton_protocol::database::DatabaseHash;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use super::{ANSWER_TIME, Going, Passing, told};
use crate::api::Asked;
use crate::api::documents::Done;
use crate::api::reply;
use crate::couch::request::{self, FeedKind};
use crate::databases::DatabaseError;
use crate::store::StoreError;
use adyton_couch::rev_tree::Liveness;

/// What a feed that ends by itself may take longer than it was told.
const FEED_GRACE: Duration = Duration::from_secs(10);
/// The longest that a feed may live.
const LONGEST_FEED: Duration = Duration::from_secs(24 * 3_600);
/// How often the right to a feed is looked at when nothing is heard: another node may have changed it.
const FEED_CHECK: Duration = Duration::from_secs(60);

impl Passing {
    pub(super) async fn changes(self, asked: Asked) -> Done {
        let limit = self.app.limits.bulk_bytes;
        let (asked, body) = match self.body(asked, limit).await {
            Ok(read) => read,
            Err(refusal) => return Ok(reply::couch_body_refusal(refusal)),
        };
        let left = self
            .principal
            .expires()
            .saturating_sub(self.app.clock.unix_seconds());
        let life = Duration::from_secs(left).min(LONGEST_FEED);
        let feed = request::feed(&asked.query, self.app.limits.feed_timeout.min(life))?;
        // Told of changes from before CouchDB is asked on.
        let changes = self.couch.changes();
        let path = request::path(self.hash, &["_changes"]);
        let going = Going {
            method: asked.method.clone(),
            path: format!("{path}{}", feed.query),
            headers: request::asked(&asked.headers),
            body,
            liveness: Liveness::Live,
        };
        let ends = Instant::now() + life;
        // CouchDB may begin a feed with its first word.
        let time = match feed.beats {
            true => life,
            false => (self.app.limits.feed_timeout + FEED_GRACE).max(ANSWER_TIME),
        };
        let response = self.sent(going, time).await?;
        if feed.kind == FeedKind::Normal || !response.status().is_success() {
            return Ok(told(response));
        }
        let (head, body) = response.into_parts();
        let stop = self.app.stop.clone();
        let feed = Feed {
            passing: self,
            kind: feed.kind,
            body,
            changes,
            stop,
            ends,
            // Rights that changed before this feed listened are noticed at once.
            check: Instant::now(),
        };
        let mut reply = reply::stream(feed.into_stream());
        *reply.status_mut() = head.status;
        reply.headers_mut().extend(request::told(&head.headers));
        Ok(reply)
    }
}

/// A feed under way.
struct Feed {
    passing: Passing,
    kind: FeedKind,
    body: Incoming,
    changes: broadcast::Receiver<DatabaseHash>,
    stop: watch::Receiver<bool>,
    /// Where the credential ends, and with it the feed.
    ends: Instant,
    /// When the right is looked at again.
    check: Instant,
}

/// What a feed waits for.
enum Heard {
    Piece(Option<Result<Frame<Bytes>, hyper::Error>>),
    /// The right to read may have changed.
    Rights,
    /// Something about another database.
    Nothing,
    End,
}

impl Feed {
    fn into_stream(self) -> impl Stream<Item = Result<Bytes, StoreError>> + Send + 'static {
        unfold(Some(self), |feed| async move {
            let mut feed = feed?;
            loop {
                match feed.listen().await {
                    Heard::Piece(None) => return None,
                    Heard::Piece(Some(Err(_))) => return Some((Err(StoreError::Away), None)),
                    Heard::Piece(Some(Ok(frame))) => {
                        if let Ok(piece) = frame.into_data() {
                            return Some((Ok(piece), Some(feed)));
                        }
                    }
                    Heard::Rights => match feed.is_allowed().await {
                        Ok(true) => feed.check = Instant::now() + FEED_CHECK,
                        Ok(false) => return feed.cut(),
                        Err(error) => return Some((Err(error), None)),
                    },
                    Heard::Nothing => {}
                    Heard::End => return feed.cut(),
                }
            }
        })
    }

    async fn listen(&mut self) -> Heard {
        tokio::select! {
            biased;
            _ = self.stop.wait_for(|stop| *stop) => Heard::End,
            () = tokio::time::sleep_until(self.ends) => Heard::End,
            changed = self.changes.recv() => match changed {
                Ok(hash) if hash != self.passing.hash => Heard::Nothing,
                Ok(_) | Err(_) => Heard::Rights,
            },
            () = tokio::time::sleep_until(self.check) => Heard::Rights,
            frame = self.body.frame() => Heard::Piece(frame),
        }
    }

    async fn is_allowed(&self) -> Result<bool, StoreError> {
        let Passing {
            app,
            principal,
            hash,
            ..
        } = &self.passing;
        let now = app.clock.unix_seconds();
        match app.databases.authorise(principal, *hash, now).await {
            Ok(_) => Ok(now < principal.expires()),
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
