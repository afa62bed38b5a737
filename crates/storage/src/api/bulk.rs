//! The data path, many documents at a time. Large answers are streamed: made in batches while they are sent.

use std::sync::Arc;

use adyton_couch::document::{DocumentId, DocumentKind, Envelope};
use adyton_couch::rev::Rev;
use adyton_couch::wire::{
    AllDocsQuery, BulkDocs, BulkGet, ChangesQuery, CouchError, DocumentQuery, ErrorKind, RevsDiff,
    Written, changes,
};
use adyton_protocol::database::DatabaseHash;
use http::StatusCode;
use http::header::{self, HeaderValue};
use serde_json::{Map, Value, json};

use super::App;
use super::asked::Admitted;
use super::bulk_get::BulkGetSource;
use super::documents::{Done, fresh_document_id, may_write};
use super::incoming;
use super::lists::AllDocsSource;
use super::local_docs::LocalDocsProducer;
use super::pieces::Sending;
use super::repeats::{self, Telling};
use super::reply;
use crate::access::{Permit, Rights};
use crate::changes::Feed;
use crate::config::Limits;
use crate::databases::DatabaseError;
use crate::store::write::{DocumentWrite, WriteKind};
use crate::store::{StoreError, blocking};
use crate::stream::{Reader, produce};

/// What is to become of one document of a bulk write.
enum Entry {
    /// To be written, as the n-th of the writes.
    Write(DocumentId),
    /// Refused, with what is known of its name.
    Refused(Option<DocumentId>, CouchError),
}

impl App {
    pub(super) async fn bulk_docs(&self, asked: Admitted) -> Done {
        let (body, permit, _head) = asked.read(self, self.limits.bulk_bytes).await?;
        let held = body.claim_copy().map_err(reply::couch_refusal)?;
        let limits = self.limits.clone();
        let rights = permit.rights();
        // What is made of the body counts as long as there is work on it, also when nobody waits any more.
        let parsed = blocking(move || {
            let parsed = parse_bulk(body.as_slice(), rights, &limits);
            Ok((parsed, held))
        });
        let (parsed, held) = parsed.await?;
        let (entries, writes, new_edits) = parsed?;
        let outcomes = if writes.is_empty() {
            Vec::new()
        } else {
            let held = (held, self.room_for_writes(&permit, &writes).await?);
            let file = self.databases.file(&permit).await?;
            file.write(writes, held).await?
        };
        let mut outcomes = outcomes.into_iter();
        let mut lines = Vec::with_capacity(entries.len());
        for entry in entries {
            let (id, outcome) = match entry {
                Entry::Refused(id, refusal) => (id, Err(refusal)),
                Entry::Write(id) => (
                    Some(id),
                    outcomes
                        .next()
                        .ok_or(StoreError::Corrupt("a lost outcome"))?,
                ),
            };
            match (id, outcome) {
                // History is merged silently; only refusals are told.
                (Some(id), Ok(rev)) => {
                    if new_edits {
                        lines.push(json!(Written { ok: true, id, rev }));
                    }
                }
                (id, Err(refusal)) => lines.push(json!({
                    "id": id,
                    "error": refusal.kind.name(),
                    "reason": refusal.reason,
                })),
                (None, Ok(_)) => {
                    return Err(StoreError::Corrupt("a written document without id").into());
                }
            }
        }
        Ok(reply::json(StatusCode::CREATED, &lines))
    }

    pub(super) async fn bulk_get(&self, asked: Admitted) -> Done {
        let query = DocumentQuery::parse(&asked.head().query)?;
        let (body, permit, _head) = asked.read(self, self.limits.bulk_bytes).await?;
        let wanted = BulkGet::parse(body.as_slice())?;
        drop(body);
        let file = self.databases.file(&permit).await?;
        let (most, opened) = (self.limits.repeated_bytes, Arc::clone(&file));
        let telling = Telling {
            contents: repeats::with_contents(&query.attachments),
            revisions: query.revs,
            latest: query.latest,
        };
        let mut wanted = wanted.docs;
        if repeats::are_any(wanted.iter().map(|item| item.id.as_str())) {
            wanted = blocking(move || {
                let few = repeats::of_items(&opened.view()?, &wanted, telling, most)?;
                Ok(few.map(|()| wanted))
            })
            .await??;
        }
        let source = BulkGetSource::new(file, wanted, &query);
        Ok(reply::stream(produce(
            Sending::new(source),
            Reader::new(self.databases.files()?, permit),
        )))
    }

    pub(super) async fn revs_diff(&self, asked: Admitted) -> Done {
        let (body, permit, _head) = asked.read(self, self.limits.bulk_bytes).await?;
        let asked_for = RevsDiff::parse(body.as_slice())?;
        drop(body);
        let file = self.databases.file(&permit).await?;
        let missing = blocking(move || {
            let view = file.view()?;
            let mut answer = Map::new();
            for (id, revs) in asked_for.0 {
                let row = view.document(id.as_str())?.unwrap_or_default();
                let missing: Vec<Rev> = row.tree.missing(&revs).collect();
                let Some(deepest) = missing.iter().map(Rev::generation).max() else {
                    continue;
                };
                let ancestors = row.tree.possible_ancestors(deepest);
                let mut entry = json!({"missing": missing});
                if let (false, Value::Object(members)) = (ancestors.is_empty(), &mut entry) {
                    members.insert("possible_ancestors".to_owned(), json!(ancestors));
                }
                answer.insert(id.as_str().to_owned(), entry);
            }
            Ok(answer)
        })
        .await?;
        Ok(reply::json(StatusCode::OK, &missing))
    }

    pub(super) async fn all_docs(&self, asked: Admitted) -> Done {
        let (body, permit, head) = asked.read(self, self.limits.bulk_bytes).await?;
        let query = AllDocsQuery::parse(&head.query, body.as_slice())?;
        drop(body);
        self.list(permit, query).await
    }

    pub(super) async fn design_docs(&self, asked: Admitted) -> Done {
        let (body, permit, head) = asked.read(self, self.limits.bulk_bytes).await?;
        let query = AllDocsQuery::parse(&head.query, body.as_slice())?.among_designs();
        drop(body);
        self.list(permit, query).await
    }

    async fn list(&self, permit: Permit, mut query: AllDocsQuery) -> Done {
        let file = self.databases.file(&permit).await?;
        let (most, opened) = (self.limits.repeated_bytes, Arc::clone(&file));
        let telling = Telling {
            contents: repeats::with_contents(&query.attachments),
            revisions: false,
            latest: false,
        };
        let repeated = |keys: &Vec<String>| repeats::are_any(keys.iter().map(String::as_str));
        if let (true, Some(keys)) = (
            query.include_docs,
            query.keys.take_if(|keys| repeated(keys)),
        ) {
            let few = blocking(move || {
                let few = repeats::of_keys(&opened.view()?, &keys, telling, most)?;
                Ok(few.map(|()| keys))
            });
            query.keys = Some(few.await??);
        }
        let source = AllDocsSource::new(file, query);
        Ok(reply::stream(produce(
            Sending::new(source),
            Reader::new(self.databases.files()?, permit),
        )))
    }

    pub(super) async fn local_docs(&self, asked: Admitted) -> Done {
        // Readers' checkpoints say who reads: they are the owner's to list.
        let (permit, head) = asked.bodiless();
        permit.rights().design()?;
        let query = AllDocsQuery::parse(&head.query, b"")?;
        if query.descending || query.keys.is_some() {
            let reason = "`_local_docs` is told upwards, without `keys`.";
            return Err(CouchError::bad_request(reason).into());
        }
        let file = self.databases.file(&permit).await?;
        let producer = LocalDocsProducer::new(file, query);
        Ok(reply::stream(produce(
            producer,
            Reader::new(self.databases.files()?, permit),
        )))
    }

    pub(super) async fn missing_revs(&self, asked: Admitted) -> Done {
        let (body, permit, _head) = asked.read(self, self.limits.bulk_bytes).await?;
        let asked_for = RevsDiff::parse(body.as_slice())?;
        drop(body);
        let file = self.databases.file(&permit).await?;
        let missing = blocking(move || {
            let view = file.view()?;
            let mut answer = Map::new();
            for (id, revs) in asked_for.0 {
                let row = view.document(id.as_str())?.unwrap_or_default();
                let missing: Vec<Rev> = row.tree.missing(&revs).collect();
                if !missing.is_empty() {
                    answer.insert(id.as_str().to_owned(), json!(missing));
                }
            }
            Ok(answer)
        })
        .await?;
        let answer = json!({ "missing_revs": missing });
        Ok(reply::json(StatusCode::OK, &answer))
    }

    pub(super) async fn changes(self: Arc<Self>, hash: DatabaseHash, asked: Admitted) -> Done {
        let (body, permit, head) = asked.read(&self, self.limits.bulk_bytes).await?;
        let mut query = ChangesQuery::parse(&head.query, body.as_slice())?;
        drop(body);
        let last_event = head.headers.get("last-event-id");
        if let Some(last_event) = last_event {
            // A header that is no text is no position either.
            query.resume(last_event.to_str().unwrap_or("?"))?;
        }
        let kind = query.feed;
        let feed = Feed::open(self, head.caller, permit, hash, query).await?;
        let mut reply = reply::stream(feed.into_stream());
        if kind == changes::Feed::EventSource {
            let headers = reply.headers_mut();
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("text/event-stream"),
            );
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        }
        Ok(reply)
    }
}

/// Reads a bulk write. A wrong document is refused by itself; only a wrong request is refused as a whole.
fn parse_bulk(
    body: &[u8],
    rights: Rights,
    limits: &Limits,
) -> Result<(Vec<Entry>, Vec<DocumentWrite>, bool), DatabaseError> {
    let bulk = BulkDocs::parse(body)?;
    let mut entries = Vec::with_capacity(bulk.docs.len());
    let mut writes = Vec::with_capacity(bulk.docs.len());
    for raw in bulk.docs {
        if raw.get().len() > limits.document_bytes {
            let reason = "The document is too large.";
            entries.push(Entry::Refused(
                None,
                CouchError::new(ErrorKind::TooLarge, reason),
            ));
            continue;
        }
        let envelope = match Envelope::parse(raw.get().as_bytes()) {
            Ok(envelope) => envelope,
            Err(invalid) => {
                entries.push(Entry::Refused(None, invalid.into()));
                continue;
            }
        };
        let kind = if bulk.new_edits {
            Ok(WriteKind::Edit { base: envelope.rev })
        } else {
            envelope
                .ancestry()
                .map(WriteKind::History)
                .ok_or(CouchError::bad_request(
                    "A replicated document needs a revision.",
                ))
        };
        let id = match (envelope.id, bulk.new_edits) {
            (Some(id), _) => id,
            (None, true) => fresh_document_id()?,
            (None, false) => {
                let refusal = CouchError::bad_request("A replicated document needs an id.");
                entries.push(Entry::Refused(None, refusal));
                continue;
            }
        };
        let checked = match id.kind() {
            DocumentKind::Local => Err(CouchError::bad_request(
                "Local documents are written with PUT.",
            )),
            DocumentKind::Ordinary | DocumentKind::Design => {
                may_write(rights, &id, envelope.liveness).and(kind)
            }
        };
        let checked = checked.and_then(|kind| {
            let attachments = incoming::attachments(envelope.attachments, Vec::new(), limits)?;
            Ok((kind, attachments))
        });
        match checked {
            Err(refusal) => entries.push(Entry::Refused(Some(id), refusal)),
            Ok((kind, attachments)) => {
                entries.push(Entry::Write(id.clone()));
                writes.push(DocumentWrite {
                    id,
                    liveness: envelope.liveness,
                    members: envelope.members,
                    attachments,
                    kind,
                });
            }
        }
    }
    Ok((entries, writes, bulk.new_edits))
}
