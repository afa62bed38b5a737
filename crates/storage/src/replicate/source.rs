//! Where what is pushed is read: a database's file, or a CouchDB.
//!
//! Guarantees: a place in one's feed is never taken for one in the other's; a place that both sides do not tell alike counts for
//! nothing, for a CouchDB's places have no order.

use std::fmt;
use std::sync::Arc;

use adyton_couch::document::{DocumentId, LocalEnvelope};
use adyton_couch::rev::Rev;
use adyton_couch::seq::Seq;
use adyton_couch::wire::{RevsDiff, read_object};
use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::BodyExt;
use serde_json::Value;

use super::batch::{Load, Pack, REQUEST_BYTES, ROWS, Rows};
use super::checkpoint::Kept;
use super::link::Failure;
use crate::api::App;
use crate::couch::reading::{BEGINNING, Held, Reading};
use crate::database_record::DatabaseRecord;
use crate::databases::DatabaseError;
use crate::store::database::{DatabaseFile, LocalWrite};
use crate::store::{StoreError, blocking};

/// Revisions that are read of a CouchDB at one time.
const READ_AT_ONCE: usize = 8;

/// A place in a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Of a file.
    Of(Seq),
    /// In CouchDB's own words.
    CouchDb(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(seq) => seq.fmt(f),
            Self::CouchDb(text) => f.write_str(text),
        }
    }
}

/// One database that is pushed.
pub(super) enum Source {
    File(Arc<DatabaseFile>),
    CouchDb(Reading),
}

impl Source {
    pub(super) async fn of(app: &App, record: &DatabaseRecord) -> Result<Self, Failure> {
        let Some(couch) = app.databases.couch() else {
            return Ok(Self::File(app.databases.own_file(record).await?));
        };
        let hash = record
            .database_hash
            .parse()
            .map_err(|_| StoreError::Corrupt("a database hash"))?;
        Ok(Self::CouchDb(Reading::of(Arc::clone(couch), hash)))
    }

    /// Reads the feed on.
    pub(super) async fn rows(&self, place: &Place) -> Result<Rows, StoreError> {
        match self {
            Self::File(file) => {
                let (file, place) = (Arc::clone(file), place.clone());
                blocking(move || Rows::after(&file.view()?, &place)).await
            }
            Self::CouchDb(reading) => {
                let since = match place {
                    Place::Of(_) => BEGINNING,
                    Place::CouchDb(since) => since,
                };
                let piece = match reading.after(since, ROWS).await {
                    // A place that this CouchDB does not know (any more): its own was put back, or a member wrote the checkpoints.
                    Err(StoreError::Strange(_)) if since != BEGINNING => {
                        reading.after(BEGINNING, ROWS).await?
                    }
                    read => read?,
                };
                Ok(Rows {
                    asked: RevsDiff(piece.leaves),
                    count: piece.count,
                    up_to: Place::CouchDb(piece.up_to),
                    complete: piece.complete,
                })
            }
        }
    }

    /// The next request of a pack, with what it takes along; none when all was packed.
    pub(super) async fn next(
        &self,
        mut pack: Pack,
    ) -> Result<(Pack, Option<(Load, Vec<(DocumentId, Rev)>)>), StoreError> {
        match self {
            Self::File(file) => {
                let file = Arc::clone(file);
                blocking(move || {
                    let next = pack.next(&file)?;
                    Ok((pack, next))
                })
                .await
            }
            Self::CouchDb(reading) => {
                let next = pack.next_of(reading).await?;
                Ok((pack, next))
            }
        }
    }

    /// The checkpoint beside the database, and where to read on when the target has this one.
    pub(super) async fn checkpoint(
        &self,
        id: &str,
        there: &Kept,
    ) -> Result<(Kept, Place), Failure> {
        match self {
            Self::File(file) => {
                let (file, id) = (Arc::clone(file), id.to_owned());
                let (counters, text) = blocking(move || {
                    let view = file.view()?;
                    Ok((view.counters, view.local(&id)?))
                })
                .await?;
                let here: Kept = text
                    .and_then(|text| read_object(&text).ok())
                    .unwrap_or_default();
                let life = counters.life();
                let number = here.number(life).min(there.number(life));
                let number = match number <= counters.update_seq {
                    true => number,
                    false => 0,
                };
                Ok((here, Place::Of(Seq { number, life })))
            }
            Self::CouchDb(reading) => {
                let text = reading.local(&local_id(id)?).await?;
                let here: Kept = text
                    .and_then(|text| read_object(&text).ok())
                    .unwrap_or_default();
                let place = agreed(&here, there).unwrap_or(BEGINNING).to_owned();
                Ok((here, Place::CouchDb(place)))
            }
        }
    }

    /// Writes the checkpoint beside the database, over the one of this revision, and says its new one.
    pub(super) async fn keep_checkpoint(
        &self,
        id: &str,
        over: Option<String>,
        body: impl Fn(Option<&str>) -> Value,
    ) -> Result<Option<String>, Failure> {
        let id = local_id(id)?;
        match self {
            Self::File(file) => {
                let local = LocalEnvelope::parse(body(None).to_string().as_bytes())
                    .map_err(|_| StoreError::Corrupt("a checkpoint"))?;
                let over = over.and_then(|rev| rev.parse().ok());
                let write = LocalWrite {
                    id,
                    base: over,
                    content: Some(local),
                };
                let rev = file.write_local(write, u64::MAX).await?;
                let rev = rev.map_err(DatabaseError::from)?;
                Ok(Some(rev.to_string()))
            }
            Self::CouchDb(reading) => {
                let body = body(over.as_deref());
                Ok(reading.keep_local(&id, &body).await?)
            }
        }
    }
}

/// The place that both checkpoints tell.
fn agreed<'a>(here: &'a Kept, there: &Kept) -> Option<&'a str> {
    let place = here.source_last_seq.as_deref();
    place.filter(|place| there.source_last_seq.as_deref() == Some(place))
}

fn local_id(id: &str) -> Result<DocumentId, StoreError> {
    id.parse()
        .map_err(|_| StoreError::Corrupt("the name of a checkpoint"))
}

impl Pack {
    /// The next request, of what a CouchDB holds.
    async fn next_of(
        &mut self,
        reading: &Reading,
    ) -> Result<Option<(Load, Vec<(DocumentId, Rev)>)>, StoreError> {
        let mut body = b"{\"new_edits\":false,\"docs\":[".to_vec();
        let mut taken: Vec<(DocumentId, Rev)> = Vec::new();
        loop {
            if self.ready.is_empty() {
                self.read(reading).await?;
            }
            let Some((wanted, held)) = self.ready.pop_front() else {
                break;
            };
            match held {
                Held::Gone => {}
                Held::Large if taken.is_empty() => {
                    let (id, rev) = &wanted;
                    let Some(passed) = reading.passed(id, *rev).await? else {
                        continue;
                    };
                    let load = Load::Related {
                        id: id.clone(),
                        kind: passed.kind,
                        bytes: passed.bytes.unwrap_or(REQUEST_BYTES),
                        body: passed.body.map_err(|_| StoreError::Away).boxed_unsync(),
                    };
                    return Ok(Some((load, vec![wanted])));
                }
                Held::Text(text) if fits(&body, &text, self.single, taken.is_empty()) => {
                    if !taken.is_empty() {
                        body.push(b',');
                    }
                    body.extend_from_slice(&text);
                    taken.push(wanted);
                }
                held @ (Held::Large | Held::Text(_)) => {
                    self.ready.push_front((wanted, held));
                    break;
                }
            }
        }
        if taken.is_empty() {
            return Ok(None);
        }
        body.extend_from_slice(b"]}");
        let load = Load::Bulk {
            sent: taken.iter().map(|(id, _)| id.clone()).collect(),
            body: body.into(),
        };
        Ok(Some((load, taken)))
    }

    /// Reads some of what is left.
    async fn read(&mut self, reading: &Reading) -> Result<(), StoreError> {
        let some = self.left.len().min(READ_AT_ONCE);
        let wanted: Vec<_> = self.left.drain(..some).collect();
        let mut read = futures_util::stream::iter(wanted)
            .map(|(id, rev)| async move {
                let held = reading.revision(&id, rev).await?;
                Ok::<_, StoreError>(((id, rev), held))
            })
            .buffered(READ_AT_ONCE);
        while let Some(ready) = read.next().await {
            self.ready.push_back(ready?);
        }
        Ok(())
    }
}

/// Whether a request has room for one more document; it always has for a first one.
fn fits(body: &[u8], text: &Bytes, single: bool, first: bool) -> bool {
    first || (!single && (body.len() + text.len()) as u64 <= REQUEST_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_only_where_both_sides_tell_it_alike() {
        let kept = |place: Option<&str>| -> Kept {
            serde_json::from_value(serde_json::json!({ "source_last_seq": place })).unwrap()
        };
        let (none, one, two) = (kept(None), kept(Some("9-x")), kept(Some("8-y")));
        assert_eq!(agreed(&one, &one), Some("9-x"));
        for (here, there) in [(&one, &two), (&two, &one), (&none, &one), (&one, &none)] {
            assert_eq!(agreed(here, there), None);
        }
        assert_eq!(agreed(&none, &none), None);
    }
}
