//! Queries and their indexes: `_find`, `_explain`, `_index`.
//!
//! A query whose index lags far behind brings it up to date first, for a while: each step in a turn of its caller's, and what it has done
//! stays. What is then not in the index it looks at one by one, within the bounds of a query; beyond them it is told to ask again (503).

use std::sync::Arc;

use adyton_couch::document::{DocumentId, DocumentKind, Envelope, Members};
use adyton_couch::mango::{
    Direction, FindQuery, Index, IndexName, MAX_INDEXES, NewIndex, Plan, Remainder, Span,
    with_view, without_view,
};
use adyton_couch::rev::Rev;
use adyton_couch::rev_tree::Liveness;
use adyton_couch::wire::{Bounded, CouchError, ErrorKind, read_object};
use adyton_protocol::database::DatabaseHash;
use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::App;
use super::asked::{Admitted, Asked};
use super::documents::{Done, method_not_allowed};
use super::reply::{self, Reply};
use crate::access::Permit;
use crate::databases::DatabaseError;
use crate::finds::{Kept, Pause, Turn};
use crate::indexing::Stride;
use crate::query::{self, Page, PageProducer, Way};
use crate::store::database::DatabaseFile;
use crate::store::write::{DocumentWrite, WriteKind};
use crate::store::{StoreError, blocking};
use crate::stream::{Reader, produce};

/// What becomes of an index that lags behind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lag {
    IsTold,
    /// By looking at documents one by one.
    IsMadeUpFor,
}

enum Looked {
    Found(Kept, Page),
    /// The index had better be brought up to date first.
    Lags(Turn),
}

/// How far an index was brought.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reached {
    ThePresent,
    /// It was not up to date yet when the time was over.
    AllItsTime,
    /// There was no room for more rows.
    NoRoom,
}

/// A design document as it is: its revision and text, if it is there.
type Existing = Option<(Rev, Bytes)>;

impl App {
    pub(super) async fn find(&self, asked: Admitted) -> Done {
        let (body, permit, head) = asked.read(self, self.limits.body_bytes).await?;
        let query = Arc::new(FindQuery::parse(body.as_slice())?);
        drop(body);
        // First the turn, then the file: who waits holds nothing, and may read at the end of it (`Databases::file` asks again).
        let turn = self.finds.ask(&head.caller).await?;
        let file = self.databases.file(&permit).await?;
        let began = Instant::now();
        let looked = self.look(&file, &query, turn, Lag::IsTold).await?;
        let (file, kept, page) = match looked {
            Looked::Found(kept, page) => (file, kept, page),
            Looked::Lags(turn) => {
                let indexing = file.indexing();
                drop(file);
                let (pause, reached) = self
                    .bring_up(&permit, indexing, &query, turn.pause())
                    .await?;
                let turn = self.finds.go_on(pause).await?;
                // That may have taken some time: may the caller still read?
                let file = self.databases.file(&permit).await?;
                match self.look(&file, &query, turn, Lag::IsMadeUpFor).await {
                    Ok(Looked::Found(kept, page)) => (file, kept, page),
                    Err(DatabaseError::Refused(refusal))
                        if refusal.kind == ErrorKind::TooLarge
                            && reached == Reached::AllItsTime =>
                    {
                        let reason = "The index is being made: ask again in a moment.";
                        return Err(CouchError::new(ErrorKind::Unavailable, reason).into());
                    }
                    Ok(Looked::Lags(_)) => return Err(StoreError::Aborted.into()),
                    Err(error) => return Err(error),
                }
            }
        };
        let producer = PageProducer::new(query, (page, kept), began.elapsed());
        Ok(reply::stream(produce(
            producer,
            file,
            Reader::new(self.databases.files()?, permit),
        )))
    }

    /// Finds a page.
    async fn look(
        &self,
        file: &Arc<DatabaseFile>,
        query: &Arc<FindQuery>,
        turn: Turn,
        lag: Lag,
    ) -> Result<Looked, DatabaseError> {
        let (file, query, limits) = (Arc::clone(file), Arc::clone(query), self.limits.clone());
        // The turn ends with the work, whether somebody waits for it or not.
        let looked = blocking(move || {
            let stored = file.indexed_view()?;
            if lag == Lag::IsTold {
                match query::lags(&stored, &query, limits.find_unindexed) {
                    Ok(false) => {}
                    Ok(true) => return Ok(Ok(Looked::Lags(turn))),
                    Err(error) => return Ok(Err(error)),
                }
            }
            let page = query::page(&stored, &query, &limits);
            Ok(page.and_then(|page| Ok(Looked::Found(turn.keep(page.bytes())?, page))))
        });
        looked.await?
    }

    /// Brings the index of a query up to date, step by step: one query at a time in one database. Who waits for another's holds
    /// neither a turn nor the file, and each step takes a turn of its own, behind the queries that wait by then.
    async fn bring_up(
        &self,
        permit: &Permit,
        indexing: Arc<Semaphore>,
        query: &Arc<FindQuery>,
        mut pause: Pause,
    ) -> Result<(Pause, Reached), DatabaseError> {
        let deadline = Instant::now() + self.limits.find_indexing_time;
        let mut most = self.limits.find_unindexed;
        let Ok(indexing) = timeout_at(deadline, indexing.acquire_owned()).await else {
            return Ok((pause, Reached::AllItsTime));
        };
        let indexing = Arc::new(indexing.map_err(|_| StoreError::Closed)?);
        loop {
            let turn = self.finds.go_on(pause).await?;
            let file = self.databases.file(permit).await?;
            let (opened, asked) = (Arc::clone(&file), Arc::clone(query));
            let work = move || {
                let step =
                    query::next_step(&opened.indexed_view()?, &asked, most, Stride::default());
                Ok((turn.pause(), step))
            };
            let (held, step) = blocking(work).await?;
            pause = held;
            let Some(step) = step? else {
                return Ok((pause, Reached::ThePresent));
            };
            // What only removes rows needs no room.
            let (batch, room) = match step.batch {
                None => (None, None),
                Some(batch) => {
                    let (files, bytes) = (self.databases.files()?, batch.bytes());
                    match files.room_for_rows(permit, bytes, step.expected).await {
                        Ok(room) => (Some(batch), Some(room)),
                        Err(_) if step.unused.is_some() => (None, None),
                        Err(_) => return Ok((pause, Reached::NoRoom)),
                    }
                }
            };
            let is_last = step.is_last && batch.is_some();
            let held = (room, Arc::clone(&indexing));
            // What cannot be written does not keep anybody from being answered.
            if file.write_index(batch, step.unused, held).await.is_err() {
                return Ok((pause, Reached::NoRoom));
            }
            if is_last {
                return Ok((pause, Reached::ThePresent));
            }
            // After one step at least, so that who asks again comes to an end.
            if Instant::now() >= deadline {
                return Ok((pause, Reached::AllItsTime));
            }
            // What has begun goes on to the present.
            most = 0;
        }
    }

    pub(super) async fn explain(&self, asked: Admitted) -> Done {
        let (body, permit, _head) = asked.read(self, self.limits.body_bytes).await?;
        let query = FindQuery::parse(body.as_slice())?;
        drop(body);
        let indexes = self.known_indexes(&permit).await?;
        let plan = Plan::of(&query, &indexes)?;
        let selector: Value = serde_json::from_str(query.selector.source()).unwrap_or_default();
        let fields = query
            .fields
            .as_ref()
            .map_or_else(|| json!("all_fields"), |fields| json!(fields.names()));
        let sort: Vec<Value> = query
            .sort
            .iter()
            .map(|path| json!({path.to_string(): query.direction.word()}))
            .collect();
        let use_index = query.use_index.as_ref().map_or_else(Vec::new, |name| {
            let mut texts = vec![name.design.clone()];
            texts.extend(name.name.clone());
            texts
        });
        let (start, end) = read_range(&plan, &query);
        let (direction, first, last) = match query.direction {
            Direction::Ascending => ("fwd", start, end),
            Direction::Descending => ("rev", end, start),
        };
        Ok(reply::json(
            StatusCode::OK,
            &json!({
                "dbname": permit.record().database_hash,
                "index": plan.index.to_json(),
                "partitioned": false,
                "selector": selector,
                "opts": {
                    "use_index": use_index,
                    "bookmark": query.bookmark.as_ref().map_or("nil".to_owned(), ToString::to_string),
                    "limit": query.limit,
                    "skip": query.skip,
                    "sort": sort,
                    "fields": fields,
                    "conflicts": query.conflicts,
                    "execution_stats": query.execution_stats,
                    "allow_fallback": query.allow_fallback,
                },
                "limit": query.limit,
                "skip": query.skip,
                "fields": fields,
                "covering": false,
                "mrargs": {
                    "include_docs": true, "view_type": "map", "reduce": false, "partition": null,
                    "start_key": first, "end_key": last, "direction": direction, "stable": false,
                    "update": true, "conflicts": query.conflicts,
                },
            }),
        ))
    }

    pub(super) async fn indexes(&self, permit: &Permit) -> Done {
        let indexes = self.known_indexes(permit).await?;
        let told: Vec<Value> = indexes.iter().map(Index::to_json).collect();
        let answer = json!({"total_rows": told.len(), "indexes": told});
        Ok(reply::json(StatusCode::OK, &answer))
    }

    async fn known_indexes(&self, permit: &Permit) -> Result<Vec<Index>, DatabaseError> {
        let file = self.databases.file(permit).await?;
        blocking(move || Ok(query::indexes(&file.view()?))).await?
    }

    pub(super) async fn create_index(&self, asked: Admitted) -> Done {
        asked.rights().design()?;
        let (body, permit, _head) = asked.read(self, self.limits.body_bytes).await?;
        let new = NewIndex::parse(body.as_slice())?;
        drop(body);
        let id: DocumentId = new
            .design
            .parse()
            .map_err(|_| CouchError::bad_request("`ddoc` is not the name of a design document."))?;
        let existing = self.design(&permit, &id).await?;
        let text = existing.as_ref().map(|(_, text)| text.as_ref());
        let result = match with_view(text, &new.index)? {
            None => "exists",
            Some(text) => {
                if self.known_indexes(&permit).await?.len() >= MAX_INDEXES {
                    let reason = "The database has as many indexes as it may.";
                    return Err(CouchError::new(ErrorKind::TooLarge, reason).into());
                }
                let envelope = Envelope::parse(&text).map_err(CouchError::from)?;
                let base = existing.map(|(rev, _)| rev);
                self.write_design(&permit, id, base, Some(envelope)).await?;
                "created"
            }
        };
        let answer = json!({"result": result, "id": new.design, "name": new.index.name});
        Ok(reply::json(StatusCode::OK, &answer))
    }

    pub(super) async fn index(
        &self,
        hash: DatabaseHash,
        design: &str,
        name: &str,
        asked: Asked,
    ) -> Reply {
        let done = match asked.admit(self, hash).await {
            Err(error) => Err(error),
            Ok(asked) if asked.head().method == Method::DELETE => {
                self.delete_index(&asked.bodiless().0, design, name).await
            }
            Ok(_) => Err(method_not_allowed()),
        };
        done.unwrap_or_else(|error| reply::couch_failure(&error))
    }

    async fn delete_index(&self, permit: &Permit, design: &str, name: &str) -> Done {
        permit.rights().design()?;
        let id: DocumentId = IndexName::new(design, None)
            .design
            .parse()
            .map_err(|_| CouchError::missing())?;
        let (rev, text) = self
            .design(permit, &id)
            .await?
            .ok_or(CouchError::missing())?;
        let envelope = match without_view(&text, name) {
            Remainder::Unchanged => return Err(CouchError::missing().into()),
            Remainder::Nothing => None,
            Remainder::Text(text) => Some(Envelope::parse(&text).map_err(CouchError::from)?),
        };
        self.write_design(permit, id, Some(rev), envelope).await?;
        Ok(reply::json(StatusCode::OK, &json!({"ok": true})))
    }

    /// `_index/_bulk_delete`: design documents that define indexes, with all of these.
    pub(super) async fn delete_designs(&self, asked: Admitted) -> Done {
        #[derive(Deserialize)]
        struct Body {
            docids: Bounded<String, MAX_INDEXES>,
        }
        asked.rights().design()?;
        let (body, permit, _head) = asked.read(self, self.limits.body_bytes).await?;
        let asked_for: Body = read_object(body.as_slice())
            .map_err(|_| CouchError::bad_request("`docids` must be an array of strings"))?;
        drop(body);
        let (mut success, mut fail) = (Vec::new(), Vec::new());
        for name in asked_for.docids.0 {
            match self.delete_design(&permit, &name).await {
                Ok(()) => success.push(json!({"id": name, "ok": true})),
                Err(DatabaseError::Refused(refusal)) => {
                    fail.push(json!({"id": name, "error": refusal.kind.name()}));
                }
                Err(fault) => return Err(fault),
            }
        }
        let answer = json!({"success": success, "fail": fail});
        Ok(reply::json(StatusCode::OK, &answer))
    }

    async fn delete_design(&self, permit: &Permit, name: &str) -> Result<(), DatabaseError> {
        let id: DocumentId = IndexName::new(name, None)
            .design
            .parse()
            .map_err(|_| CouchError::missing())?;
        let (rev, text) = self
            .design(permit, &id)
            .await?
            .ok_or(CouchError::missing())?;
        if Index::in_design(id.as_str(), &text).is_empty() {
            return Err(CouchError::missing().into());
        }
        self.write_design(permit, id, Some(rev), None).await
    }

    async fn design(&self, permit: &Permit, id: &DocumentId) -> Result<Existing, DatabaseError> {
        let file = self.databases.file(permit).await?;
        let id = id.clone();
        let found = blocking(move || {
            let view = file.view()?;
            let row = view.document(id.as_str())?.unwrap_or_default();
            let leaf = query::living(&row);
            let Some((rev, body)) = leaf.and_then(|leaf| Some((leaf.rev, leaf.body?))) else {
                return Ok(None);
            };
            Ok(Some((rev, view.body(body)?)))
        });
        Ok(found.await?)
    }

    /// Writes a design document, or deletes it (`None`), if `base` is its revision.
    async fn write_design(
        &self,
        permit: &Permit,
        id: DocumentId,
        base: Option<Rev>,
        envelope: Option<Envelope>,
    ) -> Result<(), DatabaseError> {
        permit.rights().design()?;
        if id.kind() != DocumentKind::Design {
            return Err(CouchError::missing().into());
        }
        let (liveness, members, attachments) = match envelope {
            None => (Liveness::Deleted, Members::default(), Vec::new()),
            Some(envelope) => {
                let attachments = self.incoming(envelope.attachments, Vec::new()).await?;
                (Liveness::Live, envelope.members, attachments)
            }
        };
        let write = DocumentWrite {
            id,
            liveness,
            members,
            attachments,
            kind: WriteKind::Edit { base },
        };
        let writes = vec![write];
        let room = self.room_for_writes(permit, &writes).await?;
        let file = self.databases.file(permit).await?;
        let outcome = file.write(writes, room).await?.into_iter().next();
        outcome.ok_or(StoreError::Corrupt("a lost outcome"))??;
        Ok(())
    }
}

/// Where the reading of an index begins and ends, as CouchDB tells it: values, or ids.
fn read_range(plan: &Plan<'_>, query: &FindQuery) -> (Value, Value) {
    match Way::of(plan, query) {
        Way::ByIndex => {
            let (start, end) = plan.span(query).to_json();
            (start.into(), end.into())
        }
        Way::ById => {
            let (least, greatest) = Plan::id_range(query);
            let end = greatest.unwrap_or_else(|| Span::MAX.to_owned());
            (least.into(), end.into())
        }
    }
}
