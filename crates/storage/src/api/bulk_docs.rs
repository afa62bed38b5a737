//! `_bulk_docs`: documents to write, each judged by itself. What is refused is named in its writer's own words: a replicator looks for
//! its documents in the answer, and takes those that it does not find for written.

use adyton_couch::document::{DocumentId, DocumentKind, Envelope, LocalEnvelope, LocalRev};
use adyton_couch::rev::Rev;
use adyton_couch::rev_tree::Liveness;
use adyton_couch::wire::{BulkDocs, CouchError, ErrorKind, Named, NotWritten, Written};
use http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;

use super::App;
use super::asked::Admitted;
use super::documents::{Done, fresh_document_id, live_leaves, may_write};
use super::incoming;
use super::parsed::grow;
use super::reply;
use crate::access::{Permit, Rights};
use crate::config::Limits;
use crate::databases::DatabaseError;
use crate::server::body::Claim;
use crate::store::database::LocalWrite;
use crate::store::write::{DocumentWrite, Outcome, WriteKind};
use crate::store::{StoreError, blocking};

/// A bulk write, read.
#[derive(Default)]
struct Bulk {
    entries: Vec<Entry>,
    writes: Vec<DocumentWrite>,
    locals: Vec<LocalWrite>,
    new_edits: bool,
}

/// What is to become of one document of a bulk write.
enum Entry {
    /// To be written, as the next of the writes; of history with its revision.
    Write(DocumentId, Option<Rev>),
    /// To be written, as the next of the local documents.
    Local(DocumentId),
    Refused(NotWritten),
}

/// What a document of a bulk write takes besides its texts and attachments, at most.
const DOCUMENT_BYTES: u64 = 512;
// With its place among the texts, and what the allocator adds.
const _: () = assert!(
    (size_of::<DocumentWrite>() + size_of::<Entry>()) as u64 <= DOCUMENT_BYTES * 3 / 4
        && (size_of::<LocalWrite>() + size_of::<Entry>()) as u64 <= DOCUMENT_BYTES * 3 / 4
);

/// A line of the answer.
#[derive(Serialize)]
#[serde(untagged)]
enum Line {
    Written(Written),
    Local {
        ok: bool,
        id: DocumentId,
        rev: String,
    },
    Refused(NotWritten),
}

impl App {
    pub(super) async fn bulk_docs(&self, asked: Admitted) -> Done {
        let (body, permit, _head) = asked.read(self, self.limits.bulk_bytes).await?;
        let held = body.claim_copy().map_err(reply::couch_refusal)?;
        let limits = self.limits.clone();
        let rights = permit.rights();
        let local_bytes = self.local_bytes(rights);
        // What is made of the body counts as long as there is work on it, also when nobody waits any more.
        let parsed = blocking(move || {
            let mut held = held;
            let body = body.as_slice();
            let parsed = Bulk::parse(body, rights, (&limits, local_bytes), &mut held);
            Ok(parsed.map(|bulk| (bulk, held)))
        });
        let (mut bulk, held) = parsed.await??;
        let writes = std::mem::take(&mut bulk.writes);
        let outcomes = match (writes.is_empty(), bulk.new_edits) {
            (true, _) => Vec::new(),
            (false, true) => {
                let held = (held, self.room_for_writes(&permit, &writes).await?);
                let file = self.databases.file(&permit).await?;
                file.write(writes, held).await?
            }
            (false, false) => self.write_history(&permit, writes, held).await?,
        };
        let locals = std::mem::take(&mut bulk.locals);
        let locals = match locals.is_empty() {
            true => Vec::new(),
            false => self.write_locals(&permit, locals).await?,
        };
        Ok(reply::json(
            StatusCode::CREATED,
            &bulk.lines(outcomes, locals)?,
        ))
    }

    /// Writes history. In a full account what only deletes is written, and then the request is refused for the rest of it, as a
    /// whole: a replicator tries again what is refused so, and finds room then, and takes a single refusal for the last word.
    pub(super) async fn write_history<H: Send + 'static>(
        &self,
        permit: &Permit,
        mut writes: Vec<DocumentWrite>,
        held: H,
    ) -> Result<Vec<Outcome>, DatabaseError> {
        let full = match self.room_for_writes(permit, &writes).await {
            Ok(room) => {
                let file = self.databases.file(permit).await?;
                return Ok(file.write(writes, (held, room)).await?);
            }
            Err(DatabaseError::Refused(full)) if full.kind == ErrorKind::InsufficientStorage => {
                full
            }
            Err(error) => return Err(error),
        };
        let all = writes.len();
        writes.retain_mut(DocumentWrite::narrow_to_deletion);
        if writes.is_empty() {
            return Err(full.into());
        }
        let narrowed = writes.len();
        let file = self.databases.file(permit).await?;
        let outcomes = file.write(writes, held).await?;
        let without_room = |outcome: &Outcome| {
            let refusal = outcome.as_ref().err();
            refusal.is_some_and(|refusal| refusal.kind == ErrorKind::InsufficientStorage)
        };
        match narrowed < all || outcomes.iter().any(without_room) {
            true => Err(full.into()),
            false => Ok(outcomes),
        }
    }
}

fn is_local(envelope: &Envelope) -> bool {
    let id = envelope.id.as_ref();
    id.is_some_and(|id| id.kind() == DocumentKind::Local)
}

impl Bulk {
    /// Reads a bulk write, and takes room for what it makes besides texts. A wrong document is refused by itself; only a wrong
    /// request is refused as a whole.
    fn parse(
        body: &[u8],
        rights: Rights,
        (limits, local_bytes): (&Limits, usize),
        held: &mut Claim,
    ) -> Result<Self, DatabaseError> {
        let bulk = BulkDocs::parse(body)?;
        grow(held, bulk.docs.len() as u64 * DOCUMENT_BYTES)?;
        let mut read = Self {
            new_edits: bulk.new_edits,
            ..Self::default()
        };
        for raw in bulk.docs {
            if raw.get().len() > limits.document_bytes {
                let refusal = CouchError::new(ErrorKind::TooLarge, "The document is too large.");
                // CouchDB's replicator sends each by itself then.
                if !bulk.new_edits {
                    return Err(refusal.into());
                }
                read.refuse(Named::of(raw, true), refusal);
                continue;
            }
            match Envelope::parse(raw.get().as_bytes()) {
                Ok(envelope) if !is_local(&envelope) => {
                    grow(held, incoming::bytes(&envelope.attachments))?;
                    read.document(envelope, rights, limits)?;
                }
                // Local documents have revisions of their own.
                other => read.other(
                    raw,
                    other.err().map(CouchError::from),
                    (rights, local_bytes),
                ),
            }
        }
        Ok(read)
    }

    fn refuse(&mut self, name: Named, refusal: CouchError) {
        self.entries.push(Entry::Refused(name.refused(refusal)));
    }

    fn document(
        &mut self,
        envelope: Envelope,
        rights: Rights,
        limits: &Limits,
    ) -> Result<(), DatabaseError> {
        let ancestry = envelope.ancestry().filter(|_| !self.new_edits);
        let rev = ancestry
            .as_ref()
            .and_then(|revisions| revisions.newest().ok());
        let id = match (envelope.id, self.new_edits) {
            (Some(id), _) => id,
            (None, true) => fresh_document_id()?,
            (None, false) => {
                let refusal = CouchError::bad_request("A replicated document needs an id.");
                self.refuse(Named::default(), refusal);
                return Ok(());
            }
        };
        let kind = match (self.new_edits, ancestry) {
            (true, _) => Ok(WriteKind::Edit { base: envelope.rev }),
            (false, Some(revisions)) => Ok(WriteKind::History(revisions, live_leaves(rights, &id))),
            (false, None) => Err(CouchError::bad_request(
                "A replicated document needs a revision.",
            )),
        };
        let checked = may_write(rights, &id, envelope.liveness).and(kind);
        let checked = checked.and_then(|kind| {
            let attachments = incoming::attachments(envelope.attachments, Vec::new(), limits)?;
            Ok((kind, attachments))
        });
        match checked {
            Err(refusal) => self.refuse(Named::known(&id, rev), refusal),
            Ok((kind, attachments)) => {
                self.entries.push(Entry::Write(id.clone(), rev));
                self.writes.push(DocumentWrite {
                    id,
                    liveness: envelope.liveness,
                    members: envelope.members,
                    attachments,
                    kind,
                });
            }
        }
        Ok(())
    }

    /// What is no document of the feed: a local one, or what `refusal` says.
    fn other(
        &mut self,
        raw: &RawValue,
        refusal: Option<CouchError>,
        (rights, bytes): (Rights, usize),
    ) {
        let name = Named::of(raw, self.new_edits);
        let Some(id) = name.local() else {
            let none = CouchError::bad_request("Document must be a JSON object");
            return self.refuse(name, refusal.unwrap_or(none));
        };
        let read = rights.checkpoint().and_then(|()| {
            if raw.get().len() > bytes {
                let reason = "The document is too large.";
                return Err(CouchError::new(ErrorKind::TooLarge, reason));
            }
            Ok(LocalEnvelope::parse(raw.get().as_bytes())?)
        });
        match read {
            Err(refusal) => self.refuse(name, refusal),
            Ok(local) => {
                self.entries.push(Entry::Local(id.clone()));
                self.locals.push(LocalWrite {
                    id,
                    base: local.rev,
                    content: (local.liveness == Liveness::Live).then_some(local),
                });
            }
        }
    }

    /// What the writer is told. History is merged silently: of it, only refusals are told.
    fn lines(
        self,
        outcomes: Vec<Outcome>,
        locals: Vec<Result<LocalRev, CouchError>>,
    ) -> Result<Vec<Line>, StoreError> {
        const LOST: StoreError = StoreError::Corrupt("a lost outcome");
        let (mut outcomes, mut locals) = (outcomes.into_iter(), locals.into_iter());
        let mut lines = Vec::with_capacity(self.entries.len());
        for entry in self.entries {
            let line = match entry {
                Entry::Refused(line) => Line::Refused(line),
                Entry::Write(id, rev) => match outcomes.next().ok_or(LOST)? {
                    Ok(_) if !self.new_edits => continue,
                    Ok(rev) => Line::Written(Written { ok: true, id, rev }),
                    Err(refusal) => Line::Refused(Named::known(&id, rev).refused(refusal)),
                },
                Entry::Local(id) => match locals.next().ok_or(LOST)? {
                    Ok(_) if !self.new_edits => continue,
                    Ok(rev) => Line::Local {
                        ok: true,
                        id,
                        rev: rev.to_string(),
                    },
                    Err(refusal) => Line::Refused(Named::known(&id, None).refused(refusal)),
                },
            };
            lines.push(line);
        }
        Ok(lines)
    }
}
