//! A bulk write: what is allowed of it goes on, and of the rest its writer is told.

use adyton_couch::document::{DocumentId, DocumentKind, Envelope};
use adyton_couch::rev_tree::Liveness;
use adyton_couch::wire::{BulkDocs, CouchError, ErrorKind};
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{ANSWER_TIME, Going, Passing, only_deletes};
use crate::access::Rights;
use crate::api::asked::Admitted;
use crate::api::documents::{Done, may_write};
use crate::api::reply;
use crate::couch::request;
use crate::store::{StoreError, blocking};

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
        let bulk = bulk?;
        if bulk.refused.len() == bulk.documents && bulk.documents > 0 {
            return Ok(reply::json(StatusCode::CREATED, &bulk.told(Vec::new())?));
        }
        let _room = match bulk.only_deletes {
            true => None,
            false => Some(self.room(&permit, bulk.body.len()).await?),
        };
        let going = Going {
            method: Method::POST,
            path: request::path(self.hash, &["_bulk_docs"]),
            headers: request::asked(&head.headers),
            body: bulk.body.clone(),
            liveness: bulk.liveness,
        };
        let changes = self.couch.changes();
        let response = self.sent(&permit, going, ANSWER_TIME).await?;
        if bulk.refused.is_empty() || !response.status().is_success() {
            return Ok(self.told(permit, changes, response));
        }
        let outcomes = outcomes_of(response.into_body()).await?;
        Ok(reply::json(StatusCode::CREATED, &bulk.told(outcomes)?))
    }
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
    refused: Vec<(usize, Value)>,
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
                Err((id, refusal)) => {
                    let (error, reason) = (refusal.kind.name(), refusal.reason);
                    refused.push((place, json!({"id": id, "error": error, "reason": reason})));
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
    fn told(self, outcomes: Vec<Value>) -> Result<Vec<Value>, StoreError> {
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
    let fault = "The documents cannot be written as JSON.";
    body.map(Bytes::from)
        .map_err(|_| CouchError::new(ErrorKind::Internal, fault))
}

/// What a document of a bulk write is.
struct Judged {
    liveness: Liveness,
    only_deletes: bool,
}

/// What a document of a bulk write is, or why it is not taken.
fn judged(
    raw: &RawValue,
    rights: Rights,
    most: usize,
) -> Result<Judged, (Option<DocumentId>, CouchError)> {
    if raw.get().len() > most {
        let reason = "The document is too large.";
        return Err((None, CouchError::new(ErrorKind::TooLarge, reason)));
    }
    let envelope =
        Envelope::parse(raw.get().as_bytes()).map_err(|invalid| (None, invalid.into()))?;
    let right = match &envelope.id {
        Some(id) if id.kind() == DocumentKind::Local => Err(CouchError::bad_request(
            "Local documents are written with PUT.",
        )),
        Some(id) => may_write(rights, id, envelope.liveness),
        None => match envelope.liveness {
            Liveness::Live => rights.write(),
            Liveness::Deleted => rights.delete(),
        },
    };
    match right {
        Ok(()) => Ok(Judged {
            liveness: envelope.liveness,
            only_deletes: only_deletes(&envelope, raw.get().len()),
        }),
        Err(refusal) => Err((envelope.id, refusal)),
    }
}

async fn outcomes_of(body: Incoming) -> Result<Vec<Value>, StoreError> {
    let read = Limited::new(body, MAX_OUTCOMES_BYTES).collect();
    let body = tokio::time::timeout(ANSWER_TIME, read)
        .await
        .map_err(|_| StoreError::Away)?
        .map_err(|_| StoreError::Away)?;
    serde_json::from_slice(&body.to_bytes()).map_err(|_| StoreError::Away)
}
