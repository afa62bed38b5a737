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

use super::{ANSWER_TIME, Going, Passing, told};
use crate::access::Permit;
use crate::api::Asked;
use crate::api::documents::{Done, may_write};
use crate::api::reply;
use crate::couch::request;
use crate::store::{StoreError, blocking};

/// Bytes of CouchDB's answer to a bulk write.
const MAX_OUTCOMES_BYTES: usize = 32 << 20;

impl Passing {
    pub(super) async fn bulk_docs(self, asked: Asked) -> Done {
        let limit = self.app.limits.bulk_bytes;
        let (asked, body) = match self.body(asked, limit).await {
            Ok(read) => read,
            Err(refusal) => return Ok(reply::couch_body_refusal(refusal)),
        };
        self.app.databases.room(&self.permit).await?;
        let (permit, most) = (self.permit.clone(), self.app.limits.document_bytes);
        let bulk = blocking(move || Ok(Bulk::judge(body, &permit, most))).await??;
        if bulk.refused.len() == bulk.documents && bulk.documents > 0 {
            return Ok(reply::json(StatusCode::CREATED, &bulk.told(Vec::new())?));
        }
        let going = Going {
            method: Method::POST,
            path: request::path(self.hash, &["_bulk_docs"]),
            headers: request::asked(&asked.headers),
            body: bulk.body.clone(),
            liveness: bulk.liveness,
        };
        let response = self.sent(going, ANSWER_TIME).await?;
        if bulk.refused.is_empty() || !response.status().is_success() {
            return Ok(told(response));
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
    /// The place of each refused document, and what is told of it.
    refused: Vec<(usize, Value)>,
}

impl Bulk {
    fn judge(body: Bytes, permit: &Permit, most: usize) -> Result<Self, CouchError> {
        let bulk = BulkDocs::parse(&body)?;
        let (new_edits, documents) = (bulk.new_edits, bulk.docs.len());
        let mut taken = Vec::with_capacity(documents);
        let mut refused = Vec::new();
        let mut liveness = Liveness::Live;
        for (place, raw) in bulk.docs.into_iter().enumerate() {
            match judged(raw, permit, most) {
                Ok(Liveness::Live) => taken.push(raw),
                Ok(Liveness::Deleted) => {
                    liveness = Liveness::Deleted;
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

/// What a document of a bulk write is, or why it is not taken.
fn judged(
    raw: &RawValue,
    permit: &Permit,
    most: usize,
) -> Result<Liveness, (Option<DocumentId>, CouchError)> {
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
        Some(id) => may_write(permit, id, envelope.liveness),
        None => match envelope.liveness {
            Liveness::Live => permit.write(),
            Liveness::Deleted => permit.delete(),
        },
    };
    match right {
        Ok(()) => Ok(envelope.liveness),
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
