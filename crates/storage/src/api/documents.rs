//! The data path, one document at a time, and what a database says of itself.

use std::sync::Arc;

use adyton_couch::attachment::AttachmentName;
use adyton_couch::document::{DocumentId, DocumentKind, Envelope, LocalEnvelope, LocalRev};
use adyton_couch::rev_tree::Liveness;
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
use super::multipart;
use super::read;
use super::reply::{self, Reply};
use super::route::Endpoint;
use crate::access::{Permit, Rights};
use crate::databases::DatabaseError;
use crate::quota::Room;
use crate::registry::DatabaseRecord;
use crate::server::body::{BodyRefusal, Claim};
use crate::store::database::DatabaseFile;
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
            (Endpoint::BulkDocs, Method::POST) => self.bulk_docs(asked).await,
            (Endpoint::BulkGet, Method::POST) => self.bulk_get(asked).await,
            (Endpoint::RevsDiff, Method::POST) => self.revs_diff(asked).await,
            (Endpoint::Find, Method::POST) => self.find(asked).await,
            (Endpoint::Explain, Method::POST) => self.explain(asked).await,
            (Endpoint::Index, Method::GET) => self.indexes(&asked.bodiless().0).await,
            (Endpoint::Index, Method::POST) => self.create_index(asked).await,
            (Endpoint::IndexBulkDelete, Method::POST) => self.delete_designs(asked).await,
            (Endpoint::Security, Method::GET) => {
                let (permit, _head) = asked.bodiless();
                Ok(security(&permit, &self.auth.public().username))
            }
            (Endpoint::MissingRevs, Method::POST) => self.missing_revs(asked).await,
            (Endpoint::RevsLimit, Method::GET) => self.revs_limit(&asked.bodiless().0).await,
            (Endpoint::RevsLimit, Method::PUT) => self.set_revs_limit(asked).await,
            (Endpoint::Compact, Method::POST) => self.compact(&asked.bodiless().0).await,
            (Endpoint::Purge, Method::POST) => self.purge(asked).await,
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
                // Every acknowledged write is durable already.
                Ok(reply::json(
                    StatusCode::CREATED,
                    &json!({"ok": true, "instance_start_time": "0"}),
                ))
            }
            (Endpoint::UnknownInDatabase, _) => Err(CouchError::missing().into()),
            _ => Err(method_not_allowed()),
        };
        done.unwrap_or_else(|error| reply::couch_failure(&error))
    }

    pub(super) async fn document(&self, hash: DatabaseHash, id: DocumentId, asked: Asked) -> Reply {
        let asked = match asked.admit(self, hash).await {
            Ok(asked) => asked,
            Err(error) => return reply::couch_failure(&error),
        };
        let done = match asked.head().method.clone() {
            Method::GET => self.get_document(id, asked).await,
            Method::PUT => self.put_document(id, asked).await,
            Method::DELETE => self.delete_document(id, asked).await,
            _ => Err(method_not_allowed()),
        };
        done.unwrap_or_else(|error| reply::couch_failure(&error))
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
        let query = DocumentQuery::parse(&asked.head().query)?;
        let if_match = if_match(asked.head());
        let (body, permit, _head) = asked.read(self, self.limits.document_bytes).await?;
        let held = body.claim_copy().map_err(reply::couch_refusal)?;
        let envelope = Envelope::parse(body.as_slice()).map_err(CouchError::from)?;
        drop(body);
        self.put_envelope(&permit, id, (query, if_match), (envelope, held), Vec::new())
            .await
    }

    /// Writes what a peer put at a document's address; `held` is the room that it takes; `parts` are the contents of attachments
    /// that came behind it.
    pub(super) async fn put_envelope(
        &self,
        permit: &Permit,
        id: DocumentId,
        (query, if_match): (DocumentQuery, Option<String>),
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
        let base = base.or(if_match
            .map(|text| text.parse())
            .transpose()
            .map_err(|_| bad_rev())?);
        let kind = if query.replicated {
            WriteKind::History(envelope.ancestry().ok_or(bad_rev())?)
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
        self.write_one(permit, write, Some(held), StatusCode::CREATED)
            .await
    }

    async fn delete_document(&self, id: DocumentId, asked: Admitted) -> Done {
        let (permit, head) = asked.bodiless();
        let query = DocumentQuery::parse(&head.query)?;
        let if_match = if_match(&head)
            .map(|text| text.parse())
            .transpose()
            .map_err(|_| bad_rev())?;
        // An absent document is not found; an existing one without its revision is a conflict.
        let base = query.rev.or(if_match);
        if base.is_none() {
            let file = self.databases.file(&permit).await?;
            let sought = id.clone();
            let winner = blocking(move || file.view()?.document(sought.as_str())).await?;
            return match winner.and_then(|row| row.tree.winner()) {
                None => Err(CouchError::missing().into()),
                Some(leaf) if leaf.deleted => Err(CouchError::deleted().into()),
                Some(_) => Err(CouchError::conflict().into()),
            };
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
        let held = body.claim_copy().map_err(reply::couch_refusal)?;
        let envelope = Envelope::parse(body.as_slice()).map_err(CouchError::from)?;
        drop(body);
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
        let room = self.room_for_writes(permit, std::slice::from_ref(&write));
        let held = (held, room.await?);
        let file = self.databases.file(permit).await?;
        let id = write.id.clone();
        let outcomes = file.write(vec![write], held).await?;
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
        let bytes = writes.iter().map(DocumentWrite::bytes).sum();
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
        let (bytes, _) = self.local_limits(asked.rights());
        let (body, permit, _head) = asked.read(self, bytes).await?;
        // Who wrote may only read by now.
        permit.rights().checkpoint()?;
        let (bytes, documents) = self.local_limits(permit.rights());
        if body.as_slice().len() > bytes {
            return Err(reply::couch_refusal(BodyRefusal::TooLarge).into());
        }
        let local = LocalEnvelope::parse(body.as_slice()).map_err(CouchError::from)?;
        let bytes = body.as_slice().len() as u64;
        let _room = self.databases.room(&permit, bytes).await?;
        let file = self.databases.file(&permit).await?;
        let rev = file
            .write_local(id.clone(), local.rev, Some(local), documents)
            .await??;
        let written = json!({"ok": true, "id": id, "rev": rev.to_string()});
        Ok(reply::json(StatusCode::CREATED, &written))
    }

    /// Bytes of a local document, and how many of them there may be: what readers keep fills the owner's account.
    fn local_limits(&self, rights: Rights) -> (usize, u64) {
        match rights.only_checkpoints() {
            true => (
                self.limits.reader_local_bytes.min(MAX_LOCAL_DOCUMENT_BYTES),
                self.limits.local_documents_for_readers,
            ),
            false => (MAX_LOCAL_DOCUMENT_BYTES, u64::MAX),
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
        let file = self.databases.file(&permit).await?;
        file.write_local(id.clone(), rev, None, u64::MAX).await??;
        let gone = json!({"ok": true, "id": id, "rev": "0-0"});
        Ok(reply::json(StatusCode::OK, &gone))
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
    use crate::registry::Audience;
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

pub(super) fn if_match(head: &Head) -> Option<String> {
    let value = head.headers.get(header::IF_MATCH)?.to_str().ok()?;
    Some(value.trim_matches('"').to_owned())
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
