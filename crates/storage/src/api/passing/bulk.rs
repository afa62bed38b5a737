//! A bulk write: what is allowed of it goes on, and of the rest its writer is told.

use std::collections::HashSet;

use adyton_couch::document::{DocumentId, DocumentKind, Envelope};
use adyton_couch::rev::Rev;
use adyton_couch::rev_tree::Liveness;
use adyton_couch::wire::{BulkDocs, CouchError, ErrorKind, Named};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use super::{ANSWER_TIME, Going, Passing, only_deletes};
use crate::access::Rights;
use crate::api::asked::Admitted;
use crate::api::documents::{Done, may_write};
use crate::api::reply;
use crate::couch::{designs, request};
use crate::databases::DatabaseError;
use crate::store::write::{SMALL_TOMBSTONE_BYTES, SMALL_TOMBSTONE_REVISIONS};
use crate::store::{StoreError, blocking};

/// Tombstones of one request for which CouchDB is asked whether they delete anything: replicators send some hundreds.
const MAX_TOMBSTONES: usize = 1_000;
/// Bytes of CouchDB's answer to a bulk write.
const MAX_OUTCOMES_BYTES: usize = 32 << 20;

impl Passing {
    pub(super) async fn bulk_docs(self, asked: Admitted) -> Done {
        let limit = self.app.limits.bulk_bytes;
        let (body, permit, head) = asked.read(&self.app, limit).await?;
        // What goes on in place of the body counts as the body does.
        let held = body.claim_copy().map_err(reply::couch_refusal)?;
        let (body, rights) = (body.into_shared(), permit.rights());
        let most = self.app.limits.document_bytes;
        let judged = blocking(move || Ok((Bulk::judge(body, rights, most), held)));
        let (bulk, _held) = judged.await?;
        let mut bulk = bulk?;
        if bulk.refused.len() == bulk.documents && bulk.documents > 0 {
            return Ok(reply::json(StatusCode::CREATED, &bulk.told(Vec::new())?));
        }
        let (_room, full) = match bulk.only_deletes {
            true => (None, None),
            false => match self.room(&permit, bulk.body.len()).await {
                Ok(room) => (Some(room), None),
                Err(DatabaseError::Refused(full))
                    if full.kind == ErrorKind::InsufficientStorage && !bulk.new_edits =>
                {
                    let (deletions, all) = self.deletions_of(&bulk.body, &full).await?;
                    bulk.body = deletions;
                    (None, (!all).then_some(full))
                }
                Err(error) => return Err(error),
            },
        };
        let going = Going {
            method: Method::POST,
            path: request::path(self.hash, &["_bulk_docs"]),
            headers: request::asked(&head.headers),
            body: bulk.body.clone(),
            liveness: bulk.liveness,
            caller: head.caller,
        };
        let changes = self.couch.changes();
        let said = self.sent(&permit, going, ANSWER_TIME).await?;
        let status = said.head.status;
        if status.is_success() {
            self.app.news.written(self.hash);
            // What deletes is written, and what is refused as a whole is tried again, as in front of files.
            if let Some(full) = full {
                return Err(full.into());
            }
        }
        if bulk.refused.is_empty() || !status.is_success() {
            return Ok(self.told(permit, changes, said));
        }
        let outcomes = said.read(MAX_OUTCOMES_BYTES).await?;
        let outcomes = serde_json::from_slice(&outcomes).map_err(|_| StoreError::Away)?;
        // 202: fewer copies than a quorum are written.
        Ok(reply::json(status, &bulk.told(outcomes)?))
    }
}

impl Passing {
    /// The body of those documents of history that need no room: small tombstones that end what CouchDB shows now. With whether
    /// these are all of them; `full`, if there are none.
    async fn deletions_of(
        &self,
        body: &Bytes,
        full: &CouchError,
    ) -> Result<(Bytes, bool), DatabaseError> {
        let read = body.clone();
        let tombstones = blocking(move || Ok(tombstones(&read))).await??;
        let keys: Vec<&DocumentId> = tombstones.iter().map(|(_, id, _)| id).collect();
        if keys.is_empty() {
            return Err(full.clone().into());
        }
        let path = request::path(self.hash, &["_all_docs"]);
        let question = json!({ "keys": keys });
        let client = self.couch.client();
        let answer = client.ask(Method::POST, &path, Some(&question)).await?;
        let shown: Shown =
            serde_json::from_value(answer.good()?).map_err(|_| StoreError::Strange(200))?;
        let shown: HashSet<(String, Rev)> = shown.rows.into_iter().filter_map(Row::alive).collect();
        let ends = |(_, id, ancestors): &&(usize, DocumentId, Vec<Rev>)| {
            let mut ancestors = ancestors.iter();
            ancestors.any(|rev| shown.contains(&(id.as_str().to_owned(), *rev)))
        };
        let kept: HashSet<usize> = tombstones.iter().filter(ends).map(|(at, ..)| *at).collect();
        if kept.is_empty() {
            return Err(full.clone().into());
        }
        let docs = BulkDocs::parse(body)?.docs;
        let all = kept.len() == docs.len();
        let docs = docs.into_iter().enumerate();
        let docs: Vec<&RawValue> = docs
            .filter_map(|(at, raw)| kept.contains(&at).then_some(raw))
            .collect();
        Ok((written(false, &docs)?, all))
    }
}

/// What CouchDB shows of some documents.
#[derive(Deserialize)]
struct Shown {
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    id: Option<String>,
    value: Option<RowValue>,
}

#[derive(Deserialize)]
struct RowValue {
    rev: Rev,
    #[serde(default)]
    deleted: bool,
}

impl Row {
    /// The document and its revision, if it is there.
    fn alive(self) -> Option<(String, Rev)> {
        let value = self.value.filter(|value| !value.deleted)?;
        Some((self.id?, value.rev))
    }
}

/// The small tombstones among the documents of a bulk write: the place of each, and its last ancestors.
fn tombstones(body: &[u8]) -> Result<Vec<(usize, DocumentId, Vec<Rev>)>, CouchError> {
    let mut found = Vec::new();
    for (place, raw) in BulkDocs::parse(body)?.docs.into_iter().enumerate() {
        if found.len() == MAX_TOMBSTONES {
            break;
        }
        let envelope = Envelope::parse(raw.get().as_bytes())?;
        let ancestry = envelope.ancestry();
        let (Some(id), Some(ancestry)) = (envelope.id, ancestry) else {
            continue;
        };
        let bytes = (id.as_str().len() + envelope.members.as_bytes().len()) as u64;
        if envelope.liveness == Liveness::Deleted
            && envelope.attachments.is_empty()
            && bytes <= SMALL_TOMBSTONE_BYTES
        {
            let ancestors = ancestry.iter().skip(1).take(SMALL_TOMBSTONE_REVISIONS);
            found.push((place, id, ancestors.collect()));
        }
    }
    Ok(found)
}

/// A bulk write, judged.
struct Bulk {
    /// What goes on: as it came, if nothing of it was refused.
    body: Bytes,
    new_edits: bool,
    documents: usize,
    liveness: Liveness,
    /// Whether all that goes on does.
    only_deletes: bool,
    /// The place of each refused document, and what is told of it.
    refused: Vec<(usize, Box<RawValue>)>,
}

impl Bulk {
    fn judge(body: Bytes, rights: Rights, most: usize) -> Result<Self, CouchError> {
        let bulk = BulkDocs::parse(&body)?;
        let (new_edits, documents) = (bulk.new_edits, bulk.docs.len());
        let mut taken = Vec::with_capacity(documents);
        let mut refused = Vec::new();
        let (mut liveness, mut only_deletes) = (Liveness::Live, new_edits);
        for (place, raw) in bulk.docs.into_iter().enumerate() {
            match judged(raw, rights, most) {
                Ok(judged) => {
                    only_deletes &= judged.only_deletes;
                    if judged.liveness == Liveness::Deleted {
                        liveness = Liveness::Deleted;
                    }
                    taken.push(raw);
                }
                // As in front of files.
                Err(refusal) if refusal.kind == ErrorKind::TooLarge && !new_edits => {
                    return Err(refusal);
                }
                Err(refusal) => {
                    let line = Named::of(raw, new_edits).refused(refusal);
                    refused.push((place, to_raw_value(&line).map_err(|_| unwritable())?));
                }
            }
        }
        let allowed = match refused.is_empty() {
            true => None,
            false => Some(written(new_edits, &taken)?),
        };
        drop(taken);
        Ok(Self {
            body: allowed.unwrap_or(body),
            new_edits,
            documents,
            liveness,
            only_deletes,
            refused,
        })
    }

    /// What the writer is told, where CouchDB told this of what went on. Of edits each is told, in order; of history only what
    /// was not merged.
    fn told(self, outcomes: Vec<Box<RawValue>>) -> Result<Vec<Box<RawValue>>, StoreError> {
        if !self.new_edits {
            let refused = self.refused.into_iter().map(|(_, refusal)| refusal);
            return Ok(outcomes.into_iter().chain(refused).collect());
        }
        let (mut outcomes, mut refused) =
            (outcomes.into_iter(), self.refused.into_iter().peekable());
        let mut lines = Vec::with_capacity(self.documents);
        for place in 0..self.documents {
            let refusal = refused.next_if(|(refused, _)| *refused == place);
            let line = refusal
                .map(|(_, refusal)| refusal)
                .or_else(|| outcomes.next());
            lines.push(line.ok_or(StoreError::Away)?);
        }
        Ok(lines)
    }
}

/// The body of a bulk write of these documents.
fn written(new_edits: bool, docs: &[&RawValue]) -> Result<Bytes, CouchError> {
    #[derive(Serialize)]
    struct Body<'a> {
        new_edits: bool,
        docs: &'a [&'a RawValue],
    }
    let body = serde_json::to_vec(&Body { new_edits, docs });
    body.map(Bytes::from).map_err(|_| unwritable())
}

fn unwritable() -> CouchError {
    CouchError::new(
        ErrorKind::Internal,
        "The documents cannot be written as JSON.",
    )
}

/// What a document of a bulk write is.
struct Judged {
    liveness: Liveness,
    only_deletes: bool,
}

/// What a document of a bulk write is, or why it is not taken.
fn judged(raw: &RawValue, rights: Rights, most: usize) -> Result<Judged, CouchError> {
    if raw.get().len() > most {
        let reason = "The document is too large.";
        return Err(CouchError::new(ErrorKind::TooLarge, reason));
    }
    let envelope = Envelope::parse(raw.get().as_bytes())?;
    let right = match &envelope.id {
        Some(id) if id.kind() == DocumentKind::Local => Err(CouchError::bad_request(
            "Local documents are written with PUT.",
        )),
        Some(id) => may_write(rights, id, envelope.liveness)
            .and_then(|()| designs::may_keep(id, raw.get().as_bytes())),
        None => match envelope.liveness {
            Liveness::Live => rights.write(),
            Liveness::Deleted => rights.delete(),
        },
    };
    right?;
    Ok(Judged {
        liveness: envelope.liveness,
        only_deletes: only_deletes(&envelope, raw.get().len()),
    })
}
