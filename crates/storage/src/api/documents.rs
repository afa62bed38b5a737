//! The data path, one document at a time, and what a database says of itself.

use std::sync::Arc;

use adyton_couch::attachment::AttachmentName;
use adyton_couch::document::{DocumentId, DocumentKind, Envelope, LocalEnvelope, LocalRev};
use adyton_couch::rev::Rev;
use adyton_couch::rev_tree::{LiveLeaves, Liveness};
use adyton_couch::seq::Seq;
use adyton_couch::wire::{CouchError, DocumentQuery, ErrorKind, Written};
use adyton_protocol::database::DatabaseHash;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::App;
use super::asked::{Admitted, Asked, Head};
use super::contents;
use super::copy::COPY;
use super::missing_revs::MissingForm;
use super::multipart;
use super::parsed;
use super::read;
use super::reply::{self, Reply};
use super::route::Endpoint;
use crate::access::{Permit, Rights};
use crate::database_record::DatabaseRecord;
use crate::databases::DatabaseError;
use crate::quota::{Need, Room};
use crate::server::body::{BodyRefusal, Claim};
use crate::store::database::{DatabaseFile, LocalWrite};
use crate::store::write::{DocumentWrite, WriteKind};
use crate::store::{StoreError, blocking};

/// Bytes of a local document: replication checkpoints are small.
pub(super) const MAX_LOCAL_DOCUMENT_BYTES: usize = 256 << 10;

/// What the methods of the data path give: an answer, or why not.
pub(super) type Done = Result<Reply, DatabaseError>;

impl App {
    /// Everything under `/{db}` that is not a document.
    pub(super) async fn in_database(
        self: Arc<Self>,
        endpoint: Endpoint,
        hash: DatabaseHash,
        asked: Asked,
    ) -> Reply {
        // First who asks, then what: a stranger learns nothing of methods and paths.
        let asked = match asked.admit(&self, hash).await {
            Ok(asked) => asked,
            Err(error) => return reply::couch_failure(&error),
        };
        let (coding, coder) = (asked.coding(), self.coder.clone());
        let method = asked.head().method.clone();
        let done = match (endpoint, method) {
            (Endpoint::Database, Method::GET) => self.database(&asked.bodiless().0).await,
            (Endpoint::Database, Method::POST) => self.post_document(asked).await,
            (Endpoint::Database, Method::PUT | Method::DELETE) => {
                let reason = "You are not a server admin.";
                Err(CouchError::new(ErrorKind::Unauthorized, reason).into())
            }
            (Endpoint::Changes, Method::GET | Method::POST) => self.changes(hash, asked).await,
            (Endpoint::AllDocs, Method::GET | Method::POST) => self.all_docs(asked).await,
            (endpoint @ (Endpoint::AllDocsQueries | Endpoint::DesignDocsQueries), Method::POST) => {
                self.lists(endpoint, asked).await
            }
            (Endpoint::BulkDocs, Method::POST) => self.bulk_docs(asked).await,
            (Endpoint::BulkGet, Method::POST) => self.bulk_get(asked).await,
            (Endpoint::RevsDiff, Method::POST) => self.missing_revs(MissingForm::Diff, asked).await,
            (Endpoint::Find, Method::POST) => self.find(asked).await,
            (Endpoint::Explain, Method::POST) => self.explain(asked).await,
            (Endpoint::Index, Method::GET) => self.indexes(&asked.bodiless().0).await,
            (Endpoint::Index, Method::POST) => self.create_index(asked).await,
            (Endpoint::IndexBulkDelete, Method::POST) => self.delete_designs(asked).await,
            (Endpoint::Security, Method::GET) => {
                let (permit, _head) = asked.bodiless();
                Ok(security(&permit, &self.auth.public().username))
            }
            (Endpoint::MissingRevs, Method::POST) => {
                self.missing_revs(MissingForm::Revs, asked).await
            }
            (Endpoint::RevsLimit, Method::GET) => self.revs_limit(&asked.bodiless().0).await,
            (Endpoint::RevsLimit, Method::PUT) => self.set_revs_limit(asked).await,
            (Endpoint::Compact, Method::POST) => self.compact(&asked.bodiless().0).await,
            (Endpoint::Purge, Method::POST) => self.purge(asked).await,
            (Endpoint::ViewCleanup, Method::POST) => {
                // There are no files of views.
                let done = reply::json(StatusCode::ACCEPTED, &json!({"ok": true}));
                asked.rights().design().map(|()| done).map_err(Into::into)
            }
            (Endpoint::DesignDocs, Method::GET | Method::POST) => self.design_docs(asked).await,
            (Endpoint::LocalDocs, Method::GET) => self.local_docs(asked).await,
            (Endpoint::DesignFunction, _) => {
                let reason = "missing_named_view";
                Err(CouchError::new(ErrorKind::NotFound, reason).into())
            }
            (Endpoint::Security, Method::PUT) => {
                let reason = "Permissions are set through /user/updateDatabase.";
                let refusal = CouchError::new(ErrorKind::Forbidden, reason);
                Err(asked.rights().design().err().unwrap_or(refusal).into())
            }
            (Endpoint::EnsureFullCommit, Method::POST) => {
                // Every acknowledged write is durable already. A replicator holds the time against that of `GET /{db}`.
                self.full_commit(&asked.bodiless().0).await
            }
            (Endpoint::UnknownInDatabase, Method::PUT) => Err(reserved_id()),
            (Endpoint::UnknownInDatabase, _) => Err(CouchError::missing().into()),
            _ => Err(method_not_allowed()),
        };
        let reply = done.unwrap_or_else(|error| reply::couch_failure(&error));
        coder.code_if(reply, coding)
    }

    pub(super) async fn document(&self, hash: DatabaseHash, id: DocumentId, asked: Asked) -> Reply {
        let asked = match asked.admit(self, hash).await {
            Ok(asked) => asked,
            Err(error) => return reply::couch_failure(&error),
        };
        let coding = asked.coding();
        let done = match asked.head().method.clone() {
            Method::GET => self.get_document(id, asked).await,
            Method::PUT => self.put_document(id, asked).await,
            Method::DELETE => self.delete_document(id, asked).await,
            method if method.as_str() == COPY => self.copy_document(id, asked).await,
            _ => Err(method_not_allowed()),
        };
        let reply = done.unwrap_or_else(|error| reply::couch_failure(&error));
        self.coder.code_if(reply, coding)
    }

    pub(super) async fn local(&self, hash: DatabaseHash, id: DocumentId, asked: Asked) -> Reply {
        let asked = match asked.admit(self, hash).await {
            Ok(asked) => asked,
            Err(error) => return reply::couch_failure(&error),
        };
        let done = match asked.head().method.clone() {
            Method::GET => self.get_local(&asked.bodiless().0, id).await,
            Method::PUT => self.put_local(id, asked).await,
            Method::DELETE => self.delete_local(id, asked).await,
            _ => Err(method_not_allowed()),
        };
        done.unwrap_or_else(|error| reply::couch_failure(&error))
    }

    /// A replicator that reads another time of making than `GET /{db}` told takes the database for another one.
    async fn full_commit(&self, permit: &Permit) -> Done {
        let file = self.databases.file(permit).await?;
        let told = info(permit.record(), file).await?;
        let done = json!({"ok": true, "instance_start_time": told.get("instance_start_time")});
        Ok(reply::json(StatusCode::CREATED, &done))
    }

    async fn database(&self, permit: &Permit) -> Done {
        let file = self.databases.file(permit).await?;
        Ok(reply::json(
            StatusCode::OK,
            &info(permit.record(), file).await?,
        ))
    }

    async fn get_document(&self, id: DocumentId, asked: Admitted) -> Done {
        let (permit, head) = asked.bodiless();
        let query = DocumentQuery::parse(&head.query)?;
        if contents::concern(&query) {
            return self.get_contents(permit, id, query, &head).await;
        }
        let known = Known::of(&head);
        let file = self.databases.file(&permit).await?;
        blocking(move || {
            let view = file.view()?;
            Ok(read::document(&view, id.as_str(), &query).map(|found| {
                let rev = found.rev.to_string();
                // Only the plain text is named by its revision: what else is asked for may change without it.
                let is_plain = !read::extras(&query).is_any();
                let mut reply = match is_plain && known.is_some_and(|known| known.has(&rev)) {
                    true => reply::bytes(StatusCode::NOT_MODIFIED, reply::JSON, ""),
                    false => reply::pieces(StatusCode::OK, found.pieces),
                };
                if is_plain {
                    tag(&mut reply, &rev);
                }
                reply
            }))
        })
        .await?
    }

    async fn put_document(&self, id: DocumentId, asked: Admitted) -> Done {
        if let Some(boundary) = multipart::related(asked.head()) {
            return self.put_multipart(id, boundary?, asked).await;
        }
        let mut query = DocumentQuery::parse(&asked.head().query)?;
        query.rev = said_rev(query.rev, asked.head())?;
        let (body, permit, _head) = asked.read(self, self.limits.document_bytes).await?;
        let document = parsed::document(body).await?;
        self.put_envelope(&permit, id, query, document, Vec::new())
            .await
    }

    /// Writes what a peer put at a document's address; `held` is the room that it takes; `parts` are the contents of attachments
    /// that came behind it.
    pub(super) async fn put_envelope(
        &self,
        permit: &Permit,
        id: DocumentId,
        query: DocumentQuery,
        (envelope, held): (Envelope, Claim),
        parts: Vec<(AttachmentName, Bytes)>,
    ) -> Done {
        if envelope.id.as_ref().is_some_and(|inner| *inner != id) {
            return Err(CouchError::bad_request("Document ID must match the address").into());
        }
        let base = match (envelope.rev, query.rev) {
            (Some(inner), Some(outer)) if inner != outer => {
                return Err(CouchError::bad_request(
                    "Document rev from request body and query string have different values",
                )
                .into());
            }
            (inner, outer) => inner.or(outer),
        };
        let kind = if query.replicated {
            let ancestry = envelope.ancestry().ok_or(bad_rev())?;
            WriteKind::History(ancestry, live_leaves(permit.rights(), &id))
        } else {
            WriteKind::Edit { base }
        };
        may_write(permit.rights(), &id, envelope.liveness)?;
        let write = DocumentWrite {
            id,
            liveness: envelope.liveness,
            members: envelope.members,
            attachments: self.incoming(envelope.attachments, parts).await?,
            kind,
        };
        let status = match write.liveness {
            Liveness::Live => StatusCode::CREATED,
            Liveness::Deleted => StatusCode::OK,
        };
        self.write_one(permit, write, Some(held), status).await
    }

    async fn delete_document(&self, id: DocumentId, asked: Admitted) -> Done {
        let (permit, head) = asked.bodiless();
        let query = DocumentQuery::parse(&head.query)?;
        may_write(permit.rights(), &id, Liveness::Deleted)?;
        // An absent document is not found; an existing one without its revision is a conflict.
        let base = said_rev(query.rev, &head)?;
        let file = self.databases.file(&permit).await?;
        let sought = id.clone();
        let winner = blocking(move || file.view()?.document(sought.as_str())).await?;
        match (winner.and_then(|row| row.tree.winner()), base) {
            (None, _) => return Err(CouchError::missing().into()),
            (Some(leaf), _) if leaf.deleted => return Err(CouchError::deleted().into()),
            (Some(_), None) => return Err(CouchError::conflict().into()),
            (Some(_), Some(_)) => {}
        }
        let write = DocumentWrite {
            id,
            liveness: Liveness::Deleted,
            members: Default::default(),
            attachments: Vec::new(),
            kind: WriteKind::Edit { base },
        };
        self.write_one(&permit, write, None, StatusCode::OK).await
    }

    async fn post_document(&self, asked: Admitted) -> Done {
        let (body, permit, _head) = asked.read(self, self.limits.document_bytes).await?;
        let (envelope, held) = parsed::document(body).await?;
        let id = match envelope.id {
            Some(id) if id.kind() == DocumentKind::Local => {
                return Err(
                    CouchError::bad_request("Local documents are written with PUT.").into(),
                );
            }
            Some(id) => id,
            None => fresh_document_id()?,
        };
        let kind = WriteKind::Edit { base: envelope.rev };
        may_write(permit.rights(), &id, envelope.liveness)?;
        let write = DocumentWrite {
            id,
            liveness: envelope.liveness,
            members: envelope.members,
            attachments: self.incoming(envelope.attachments, Vec::new()).await?,
            kind,
        };
        self.write_one(&permit, write, Some(held), StatusCode::CREATED)
            .await
    }

    pub(super) async fn write_one(
        &self,
        permit: &Permit,
        write: DocumentWrite,
        held: Option<Claim>,
        status: StatusCode,
    ) -> Done {
        may_write(permit.rights(), &write.id, write.liveness)?;
        let id = write.id.clone();
        let outcomes = match &write.kind {
            WriteKind::Edit { .. } => {
                let room = self.room_for_writes(permit, std::slice::from_ref(&write));
                let held = (held, room.await?);
                let file = self.databases.file(permit).await?;
                file.write(vec![write], held).await?
            }
            WriteKind::History(..) | WriteKind::Deletion(_) => {
                self.write_history(permit, vec![write], held).await?
            }
        };
        let outcome = outcomes
            .into_iter()
            .next()
            .ok_or(StoreError::Corrupt("a lost outcome"))?;
        let rev = outcome?;
        let mut reply = reply::json(status, &Written { ok: true, id, rev });
        tag(&mut reply, &rev.to_string());
        Ok(reply)
    }

    /// Room in the owner's account for what is written; none is needed for deletions.
    pub(super) async fn room_for_writes(
        &self,
        permit: &Permit,
        writes: &[DocumentWrite],
    ) -> Result<Option<Room>, DatabaseError> {
        if writes.iter().all(DocumentWrite::only_deletes) {
            return Ok(None);
        }
        let bytes: u64 = writes.iter().map(DocumentWrite::bytes).sum();
        self.databases.room(permit, bytes).await.map(Some)
    }

    async fn get_local(&self, permit: &Permit, id: DocumentId) -> Done {
        let file = self.databases.file(permit).await?;
        let found = blocking(move || file.view()?.local(id.as_str())).await?;
        let body: Bytes = found.ok_or(CouchError::missing())?;
        Ok(reply::bytes(StatusCode::OK, reply::JSON, body))
    }

    async fn put_local(&self, id: DocumentId, asked: Admitted) -> Done {
        asked.rights().checkpoint()?;
        let bytes = self.local_bytes(asked.rights());
        let (body, permit, _head) = asked.read(self, bytes).await?;
        // Who wrote may only read by now.
        permit.rights().checkpoint()?;
        if body.as_slice().len() > self.local_bytes(permit.rights()) {
            return Err(reply::couch_refusal(BodyRefusal::TooLarge).into());
        }
        let local = LocalEnvelope::parse(body.as_slice()).map_err(CouchError::from)?;
        let base = local.rev;
        if local.liveness == Liveness::Deleted {
            return self.remove_local(&permit, id, base).await;
        }
        let write = LocalWrite {
            id: id.clone(),
            base,
            content: Some(local),
        };
        let rev = match self.write_locals(&permit, vec![write]).await?.pop() {
            Some(outcome) => outcome?,
            None => return Err(StoreError::Corrupt("a lost outcome").into()),
        };
        let written = json!({"ok": true, "id": id, "rev": rev.to_string()});
        Ok(reply::json(StatusCode::CREATED, &written))
    }

    /// Writes local documents; where there is no room, that is said of each.
    pub(super) async fn write_locals(
        &self,
        permit: &Permit,
        locals: Vec<LocalWrite>,
    ) -> Result<Vec<Result<LocalRev, CouchError>>, DatabaseError> {
        let bytes = || locals.iter().map(LocalWrite::bytes);
        let (bytes, largest) = (bytes().sum(), bytes().max().unwrap_or(0));
        let outcomes = match self.room_for_locals(permit, bytes, largest).await {
            Ok((_room, most)) => {
                let file = self.databases.file(permit).await?;
                file.write_locals(locals, most).await?
            }
            Err(DatabaseError::Refused(full)) => locals.iter().map(|_| Err(full.clone())).collect(),
            Err(error) => return Err(error),
        };
        let refused = |error| checkpoint_refusal(permit.rights(), error);
        let outcomes = outcomes.into_iter();
        Ok(outcomes.map(|outcome| outcome.map_err(refused)).collect())
    }

    /// Room in the owner's account for local documents, and how many of them there may be. Where there is none, some is lent to
    /// checkpoints of who does not only read, as small and as few as those of who does.
    pub(super) async fn room_for_locals(
        &self,
        permit: &Permit,
        bytes: u64,
        largest: u64,
    ) -> Result<(Room, u64), DatabaseError> {
        let few = self.limits.local_documents_for_readers;
        if permit.rights().only_checkpoints() {
            let room = self.databases.room(permit, Need::of_readers(bytes));
            return Ok((room.await?, few));
        }
        match self.databases.room(permit, bytes).await {
            Ok(room) => Ok((room, u64::MAX)),
            Err(DatabaseError::Refused(full))
                if full.kind == ErrorKind::InsufficientStorage
                    && largest <= self.limits.reader_local_bytes as u64 =>
            {
                let lent = self.databases.room(permit, Need::of_checkpoints(bytes));
                Ok((lent.await?, few))
            }
            Err(error) => Err(error),
        }
    }

    /// Bytes of a local document: what readers keep fills the owner's account.
    pub(super) fn local_bytes(&self, rights: Rights) -> usize {
        match rights.only_checkpoints() {
            true => self.limits.reader_local_bytes.min(MAX_LOCAL_DOCUMENT_BYTES),
            false => MAX_LOCAL_DOCUMENT_BYTES,
        }
    }

    async fn delete_local(&self, id: DocumentId, asked: Admitted) -> Done {
        let (permit, head) = asked.bodiless();
        permit.rights().checkpoint()?;
        let rev: Option<LocalRev> = url::form_urlencoded::parse(head.query.as_bytes())
            .find(|(name, _)| name == "rev")
            .map(|(_, value)| value.parse())
            .transpose()
            .map_err(|_| bad_rev())?;
        self.remove_local(&permit, id, rev).await
    }

    /// Removes a local document. That needs no room.
    async fn remove_local(&self, permit: &Permit, id: DocumentId, base: Option<LocalRev>) -> Done {
        let file = self.databases.file(permit).await?;
        let write = LocalWrite {
            id: id.clone(),
            base,
            content: None,
        };
        file.write_local(write, u64::MAX).await??;
        let gone = json!({"ok": true, "id": id, "rev": "0-0"});
        Ok(reply::json(StatusCode::OK, &gone))
    }
}

/// Why a checkpoint is not kept. Who may only read is told that he may not: a replicator goes on without one then, and ends with any
/// other refusal.
pub(super) fn checkpoint_refusal(rights: Rights, refused: CouchError) -> CouchError {
    match refused.kind {
        ErrorKind::InsufficientStorage if rights.only_checkpoints() => {
            let reason = "No more checkpoints of readers are kept here.";
            CouchError::new(ErrorKind::Forbidden, reason)
        }
        _ => refused,
    }
}

/// The right to write this kind of revision of this kind of document.
pub(super) fn may_write(
    rights: Rights,
    id: &DocumentId,
    liveness: Liveness,
) -> Result<(), CouchError> {
    if id.kind() == DocumentKind::Design {
        return rights.design();
    }
    match liveness {
        Liveness::Live => rights.write(),
        Liveness::Deleted => rights.delete(),
    }
}

/// What who has these rights may make of the live leaves of a document by telling the past of a revision that is here.
pub(super) fn live_leaves(rights: Rights, id: &DocumentId) -> LiveLeaves {
    match may_write(rights, id, Liveness::Deleted) {
        Ok(()) => LiveLeaves::End,
        Err(_) => LiveLeaves::Stay,
    }
}

/// What `GET /{db}` tells.
pub(crate) async fn info(
    record: &DatabaseRecord,
    file: Arc<DatabaseFile>,
) -> Result<Value, StoreError> {
    let name = record.database_hash.clone();
    blocking(move || {
        let counters = file.view()?.counters;
        let seq = Seq { number: counters.update_seq, life: counters.life() };
        Ok(json!({
            "instance_start_time": counters.created.to_string(),
            "db_name": name,
            "purge_seq": counters.purge_seq.to_string(),
            "update_seq": seq,
            "sizes": {"file": file.file_bytes(), "external": counters.bytes, "active": counters.bytes},
            "props": {},
            "doc_del_count": counters.deleted,
            "doc_count": counters.documents,
            "disk_format_version": 8,
            "compact_running": false,
            "cluster": {"q": 1, "n": 1, "w": 1, "r": 1},
        }))
    })
    .await
}

pub(super) fn fresh_document_id() -> Result<DocumentId, DatabaseError> {
    let name = hex::encode(crate::store::random::<16>()?);
    name.parse()
        .map_err(|_| StoreError::Corrupt("a made document id").into())
}

/// The permissions in CouchDB's words: who the admins and members are.
pub(super) fn security(permit: &Permit, public_user: &str) -> Reply {
    use crate::database_record::Audience;
    let record = permit.record();
    let mut members = vec![record.owner.clone()];
    for audience in [&record.rules.read, &record.rules.write] {
        let names: &[String] = match audience {
            Audience::Owner => &[],
            Audience::Accounts(names) => names,
            Audience::Everyone => &[public_user.to_owned()],
        };
        for name in names {
            if !members.contains(name) {
                members.push(name.clone());
            }
        }
    }
    let context = record.owner.strip_prefix('v').unwrap_or(&record.owner);
    let roles = [
        format!("r{context}-replicater"),
        "replicater-local".to_owned(),
    ];
    reply::json(
        StatusCode::OK,
        &json!({
            "admins": {"names": [record.owner], "roles": []},
            "members": {"names": members, "roles": roles},
        }),
    )
}

/// The versions that a client has: `If-None-Match`.
struct Known(String);

impl Known {
    fn of(head: &Head) -> Option<Self> {
        let value = head.headers.get(header::IF_NONE_MATCH)?.to_str().ok()?;
        Some(Self(value.to_owned()))
    }

    /// RFC 9110 section 13.1.2: weak comparison with each of the list, or with anything.
    fn has(&self, rev: &str) -> bool {
        self.0.split(',').map(str::trim).any(|tag| {
            let tag = tag.strip_prefix("W/").unwrap_or(tag);
            tag == "*" || tag.trim_matches('"') == rev
        })
    }
}

pub(super) fn tag(reply: &mut Reply, rev: &str) {
    if let Ok(value) = HeaderValue::from_str(&format!("\"{rev}\"")) {
        reply.headers_mut().insert(header::ETAG, value);
    }
}

/// The revision that a request builds on: `rev`, or `If-Match`, or both when they are the same.
pub(super) fn said_rev(rev: Option<Rev>, head: &Head) -> Result<Option<Rev>, DatabaseError> {
    let Some(value) = head.headers.get(header::IF_MATCH) else {
        return Ok(rev);
    };
    let text = value.to_str().unwrap_or_default().trim_matches('"');
    let matched: Rev = text.parse().map_err(|_| bad_rev())?;
    match rev {
        Some(rev) if rev != matched => {
            Err(CouchError::bad_request("Document rev and etag have different values").into())
        }
        Some(_) | None => Ok(Some(matched)),
    }
}

/// The refusal of a document, or an attachment, whose name begins with an underscore and means nothing.
pub(super) fn reserved_id() -> DatabaseError {
    let reason = "Only reserved names may start with underscore.";
    CouchError::new(ErrorKind::IllegalDocumentId, reason).into()
}

pub(super) fn bad_rev() -> DatabaseError {
    CouchError::bad_request("Invalid rev format").into()
}

pub(super) fn method_not_allowed() -> DatabaseError {
    CouchError::new(
        ErrorKind::MethodNotAllowed,
        "This address does not know this method.",
    )
    .into()
}
