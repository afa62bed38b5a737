//! The data path in front of a CouchDB: a permit, a look at what is to be written, and the request goes on.
//!
//! 1. Who asks, and what for: the same permit as in front of files, the same words for who has none.
//! 2. Bodies are read under the same limits; the permit is given anew when a body is there, and every document in it is held against
//!    that one before anything goes on.
//! 3. The request is made anew (`couch/request`), as somebody whom CouchDB itself gives no more rights (`couch/layout::Acting`).
//! 4. The answer is streamed, as long as its reader may read. A feed ends with this node, too.

mod bulk;
mod feed;
mod said;

use std::sync::Arc;
use std::time::Duration;

use adyton_couch::document::{DocumentId, DocumentKind, Envelope, LocalEnvelope};
use adyton_couch::limits::MAX_ATTACHMENTS;
use adyton_couch::multipart::parts;
use adyton_couch::rev_tree::Liveness;
use adyton_couch::wire::{CouchError, ErrorKind};
use adyton_protocol::database::DatabaseHash;
use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderValue,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, Request};
use serde_json::Value;
use url::form_urlencoded;

use self::said::Said;
use super::App;
use super::asked::{Admitted, Asked, Head};
use super::copy::{COPY, destination};
use super::documents::{
    Done, checkpoint_refusal, may_write, method_not_allowed, reserved_id, security,
};
use super::multipart::related;
use super::reply::{self, Reply};
use super::route::{Endpoint, Route};
use crate::access::Permit;
use crate::couch::databases::CouchDatabases;
use crate::couch::layout::Acting;
use crate::couch::{designs, request};
use crate::databases::DatabaseError;
use crate::quota::Room;
use crate::store::StoreError;
use crate::store::write::SMALL_TOMBSTONE_BYTES;
use crate::throttle::CallerKey;

/// Longest wait for an answer to begin, and for its next piece: a query may look through a whole database.
const ANSWER_TIME: Duration = Duration::from_secs(120);

/// The way on, to one database.
struct Passing {
    app: Arc<App>,
    couch: Arc<CouchDatabases>,
    hash: DatabaseHash,
}

/// What goes on.
struct Going {
    method: Method,
    /// With its query.
    path: String,
    headers: HeaderMap,
    body: Bytes,
    /// Whether something is deleted.
    liveness: Liveness,
    /// For whom.
    caller: CallerKey,
}

impl Going {
    /// What was asked, with this body.
    fn of(head: &Head, path: &str, body: Bytes, liveness: Liveness) -> Self {
        Self {
            method: head.method.clone(),
            path: format!("{path}{}", request::query(&head.query)),
            headers: request::asked(&head.headers),
            body,
            liveness,
            caller: head.caller.clone(),
        }
    }
}

impl App {
    /// Answers what is asked of a database in a CouchDB.
    pub(super) async fn pass(
        self: Arc<Self>,
        couch: Arc<CouchDatabases>,
        hash: DatabaseHash,
        route: Route,
        asked: Asked,
    ) -> Reply {
        // First who asks, then what: a stranger learns nothing of methods and paths.
        let asked = match asked.admit(&self, hash).await {
            Ok(asked) => asked,
            Err(error) => return reply::couch_failure(&error),
        };
        let passing = Passing {
            app: self,
            couch,
            hash,
        };
        let (coding, coder) = (asked.coding(), passing.app.coder.clone());
        let done = passing.answer(route, asked).await;
        let reply = done.unwrap_or_else(|error| reply::couch_failure(&error));
        coder.code_if(reply, coding)
    }
}

impl Passing {
    async fn answer(self, route: Route, asked: Admitted) -> Done {
        match route {
            Route::Database(endpoint, _) => self.in_database(endpoint, asked).await,
            Route::Document(Endpoint::Local, _, id) => self.local(id, asked).await,
            Route::Document(_, _, id) => self.document(id, asked).await,
            Route::Attachment(_, id, name) => self.attachment(&id, name.as_str(), asked).await,
            Route::Index(_, design, name) => match asked.head().method {
                Method::DELETE => {
                    asked.rights().design()?;
                    let path = request::path(self.hash, &["_index", &design, "json", &name]);
                    self.bodiless(&path, asked, Liveness::Live).await
                }
                _ => Err(method_not_allowed()),
            },
            Route::Plain(_) | Route::Did(..) | Route::Invalid(..) | Route::NoDatabase => {
                Err(CouchError::missing().into())
            }
        }
    }

    /// The same addresses and methods as in front of files (`documents::in_database`).
    async fn in_database(self, endpoint: Endpoint, asked: Admitted) -> Done {
        let (bulk, small) = (self.app.limits.bulk_bytes, self.app.limits.body_bytes);
        match (endpoint, asked.head().method.clone()) {
            (Endpoint::Database, Method::GET) => self.get(&[], asked).await,
            (Endpoint::Database, Method::POST) => self.post_document(asked).await,
            (Endpoint::Database, Method::PUT | Method::DELETE) => {
                let reason = "You are not a server admin.";
                Err(CouchError::new(ErrorKind::Unauthorized, reason).into())
            }
            (Endpoint::Changes, Method::GET | Method::POST) => self.changes(asked).await,
            (Endpoint::AllDocs, Method::GET) => self.get(&["_all_docs"], asked).await,
            (Endpoint::AllDocs, Method::POST) => self.ask(&["_all_docs"], asked, bulk).await,
            (Endpoint::AllDocsQueries, Method::POST) => {
                self.ask(&["_all_docs", "queries"], asked, bulk).await
            }
            (Endpoint::DesignDocsQueries, Method::POST) => {
                self.ask(&["_design_docs", "queries"], asked, bulk).await
            }
            (Endpoint::DesignDocs, Method::GET) => self.get(&["_design_docs"], asked).await,
            (Endpoint::DesignDocs, Method::POST) => self.ask(&["_design_docs"], asked, bulk).await,
            (Endpoint::BulkDocs, Method::POST) => self.bulk_docs(asked).await,
            (Endpoint::BulkGet, Method::POST) => self.ask(&["_bulk_get"], asked, bulk).await,
            (Endpoint::RevsDiff, Method::POST) => self.ask(&["_revs_diff"], asked, bulk).await,
            (Endpoint::MissingRevs, Method::POST) => {
                self.ask(&["_missing_revs"], asked, bulk).await
            }
            (Endpoint::Find, Method::POST) => self.find(asked, small).await,
            (Endpoint::Explain, Method::POST) => self.ask(&["_explain"], asked, small).await,
            (Endpoint::Index, Method::GET) => self.get(&["_index"], asked).await,
            (Endpoint::RevsLimit, Method::GET) => self.get(&["_revs_limit"], asked).await,
            (Endpoint::Index, Method::POST) => self.owners(&["_index"], asked, small).await,
            (Endpoint::IndexBulkDelete, Method::POST) => {
                let path = ["_index", "_bulk_delete"];
                self.owners(&path, asked, small).await
            }
            (Endpoint::RevsLimit, Method::PUT) => self.owners(&["_revs_limit"], asked, 64).await,
            (Endpoint::Compact, Method::POST) => self.owners(&["_compact"], asked, small).await,
            (Endpoint::ViewCleanup, Method::POST) => {
                self.owners(&["_view_cleanup"], asked, small).await
            }
            (Endpoint::Purge, Method::POST) => self.owners(&["_purge"], asked, small).await,
            (Endpoint::LocalDocs, Method::GET) => {
                // Readers' checkpoints say who reads: they are the owner's to list.
                asked.rights().design()?;
                self.get(&["_local_docs"], asked).await
            }
            (Endpoint::Security, Method::GET) => {
                let (permit, _head) = asked.bodiless();
                Ok(security(&permit, self.couch.public_user()))
            }
            (Endpoint::Security, Method::PUT) => {
                let reason = "Permissions are set through /user/updateDatabase.";
                let refusal = CouchError::new(ErrorKind::Forbidden, reason);
                Err(asked.rights().design().err().unwrap_or(refusal).into())
            }
            (Endpoint::DesignFunction, _) => {
                let reason = "missing_named_view";
                Err(CouchError::new(ErrorKind::NotFound, reason).into())
            }
            // Every write that CouchDB acknowledges is durable there; but a replicator looks at when the database was made.
            (Endpoint::EnsureFullCommit, Method::POST) => {
                let path = request::path(self.hash, &["_ensure_full_commit"]);
                self.bodiless(&path, asked, Liveness::Live).await
            }
            (Endpoint::UnknownInDatabase, Method::PUT) => Err(reserved_id()),
            (Endpoint::UnknownInDatabase, _) => Err(CouchError::missing().into()),
            _ => Err(method_not_allowed()),
        }
    }

    /// What every reader may ask, without a body.
    async fn get(self, path: &[&str], asked: Admitted) -> Done {
        let path = request::path(self.hash, path);
        self.bodiless(&path, asked, Liveness::Live).await
    }

    /// What may be asked goes on without a body.
    async fn bodiless(self, path: &str, asked: Admitted, liveness: Liveness) -> Done {
        let (permit, head) = asked.bodiless();
        let going = Going::of(&head, path, Bytes::new(), liveness);
        self.go(permit, going).await
    }

    /// What every reader may ask, with a body.
    async fn ask(self, path: &[&str], asked: Admitted, limit: usize) -> Done {
        let (body, permit, head) = asked.read(&self.app, limit).await?;
        let path = request::path(self.hash, path);
        let going = Going::of(&head, &path, body.into_shared(), Liveness::Live);
        self.go(permit, going).await
    }

    async fn find(self, asked: Admitted, limit: usize) -> Done {
        let (body, permit, head) = asked.read(&self.app, limit).await?;
        // As many queries at one time as in front of files.
        let app = Arc::clone(&self.app);
        let _turn = app.finds.ask(&head.caller).await?;
        // Who waited for his turn may have lost the right meanwhile.
        let again = app.databases.authorise(permit.principal(), self.hash);
        let permit = again.await?;
        let path = request::path(self.hash, &["_find"]);
        let going = Going::of(&head, &path, body.into_shared(), Liveness::Live);
        self.go(permit, going).await
    }

    /// What only the owner may ask.
    async fn owners(self, path: &[&str], asked: Admitted, limit: usize) -> Done {
        asked.rights().design()?;
        let (body, permit, head) = asked.read(&self.app, limit).await?;
        permit.rights().design()?;
        let path = request::path(self.hash, path);
        let going = Going::of(&head, &path, body.into_shared(), Liveness::Live);
        self.go(permit, going).await
    }

    async fn document(self, id: DocumentId, asked: Admitted) -> Done {
        let path = request::document_path(self.hash, &id, None);
        match asked.head().method {
            Method::GET => self.bodiless(&path, asked, Liveness::Live).await,
            Method::DELETE => {
                may_write(asked.rights(), &id, Liveness::Deleted)?;
                designs::may_change(&id)?;
                let (permit, head) = asked.bodiless();
                let going = Going::of(&head, &path, Bytes::new(), Liveness::Deleted);
                self.write(permit, going).await
            }
            Method::PUT => {
                let boundary = related(asked.head()).transpose()?;
                let limit = match &boundary {
                    Some(_) => self.app.limits.bulk_bytes,
                    None => self.app.limits.document_bytes,
                };
                let (body, permit, head) = asked.read(&self.app, limit).await?;
                let body = body.into_shared();
                let json = match &boundary {
                    None => &*body,
                    Some(boundary) => {
                        let wrong = || CouchError::bad_request("The multipart body is malformed.");
                        let parts =
                            parts(&body, boundary, MAX_ATTACHMENTS + 1).map_err(|_| wrong())?;
                        parts.first().ok_or_else(wrong)?.body
                    }
                };
                let envelope = Envelope::parse(json).map_err(CouchError::from)?;
                if envelope.id.as_ref().is_some_and(|inner| *inner != id) {
                    let reason = "Document ID must match the address";
                    return Err(CouchError::bad_request(reason).into());
                }
                may_write(permit.rights(), &id, envelope.liveness)?;
                designs::may_keep(&id, json)?;
                let _room = self.room_for_edit(&permit, &head, &envelope, &body).await?;
                let going = Going::of(&head, &path, body, envelope.liveness);
                self.write(permit, going).await
            }
            ref method if method.as_str() == COPY => self.copy(&path, asked).await,
            _ => Err(method_not_allowed()),
        }
    }

    async fn copy(self, path: &str, asked: Admitted) -> Done {
        let (permit, head) = asked.bodiless();
        let destination = destination(&head)?;
        may_write(permit.rights(), &destination.id, Liveness::Live)?;
        if destination.id.kind() == DocumentKind::Design {
            // What would become of it is nowhere to be judged.
            let reason = "Design documents are written with PUT.";
            return Err(CouchError::new(ErrorKind::Forbidden, reason).into());
        }
        let bytes = self.told_bytes(&permit, &head, path).await?;
        let _room = self.room(&permit, bytes).await?;
        let mut going = Going::of(&head, path, Bytes::new(), Liveness::Live);
        let value = request::destination(&destination);
        let value = HeaderValue::from_str(&value)
            .map_err(|_| CouchError::bad_request("The destination is none."))?;
        going.headers.insert("destination", value);
        self.write(permit, going).await
    }

    /// How long a document is as CouchDB tells it, without the contents of attachments: what a copy of it takes.
    async fn told_bytes(
        &self,
        permit: &Permit,
        head: &Head,
        path: &str,
    ) -> Result<usize, DatabaseError> {
        let asking = Going {
            method: Method::HEAD,
            headers: HeaderMap::new(),
            ..Going::of(head, path, Bytes::new(), Liveness::Live)
        };
        let said = self.sent(permit, asking, ANSWER_TIME).await?;
        let length = said.head.headers.get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        Ok(length.unwrap_or(0))
    }

    async fn post_document(self, asked: Admitted) -> Done {
        let limit = self.app.limits.document_bytes;
        let (body, permit, head) = asked.read(&self.app, limit).await?;
        let body = body.into_shared();
        let envelope = Envelope::parse(&body).map_err(CouchError::from)?;
        let rights = permit.rights();
        match &envelope.id {
            Some(id) if id.kind() == DocumentKind::Local => {
                let reason = "Local documents are written with PUT.";
                return Err(CouchError::bad_request(reason).into());
            }
            Some(id) => {
                may_write(rights, id, envelope.liveness)?;
                designs::may_keep(id, &body)?;
            }
            None => match envelope.liveness {
                Liveness::Live => rights.write()?,
                Liveness::Deleted => rights.delete()?,
            },
        }
        let _room = self.room_for_edit(&permit, &head, &envelope, &body).await?;
        let path = request::path(self.hash, &[]);
        let going = Going::of(&head, &path, body, envelope.liveness);
        self.write(permit, going).await
    }

    async fn attachment(self, id: &DocumentId, name: &str, asked: Admitted) -> Done {
        let path = request::document_path(self.hash, id, Some(name));
        let (body, permit, head) = match asked.head().method {
            Method::GET => {
                let (permit, head) = asked.bodiless();
                (Bytes::new(), permit, head)
            }
            Method::DELETE => {
                let (permit, head) = asked.bodiless();
                may_write(permit.rights(), id, Liveness::Live)?;
                designs::may_change(id)?;
                (Bytes::new(), permit, head)
            }
            Method::PUT => {
                may_write(asked.rights(), id, Liveness::Live)?;
                designs::may_change(id)?;
                let limit = self.app.limits.attachment_bytes;
                let (body, permit, head) = asked.read_as_it_is(&self.app, limit).await?;
                may_write(permit.rights(), id, Liveness::Live)?;
                (body.into_shared(), permit, head)
            }
            _ => return Err(method_not_allowed()),
        };
        let _room = match head.method {
            Method::GET => None,
            _ => Some(self.room(&permit, body.len()).await?),
        };
        let mut headers = request::asked_with_content(&head.headers);
        headers
            .entry(CONTENT_TYPE)
            .or_insert(HeaderValue::from_static("application/octet-stream"));
        let going = Going {
            headers,
            ..Going::of(&head, &path, body, Liveness::Live)
        };
        let mut reply = match head.method {
            Method::GET => self.go(permit, going).await?,
            _ => self.write(permit, going).await?,
        };
        // What somebody stored is never a page of ours.
        for (name, value) in [
            (CONTENT_SECURITY_POLICY, "sandbox"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ] {
            let value = HeaderValue::from_static(value);
            reply.headers_mut().insert(name, value);
        }
        Ok(reply)
    }

    async fn local(self, id: DocumentId, asked: Admitted) -> Done {
        let path = request::document_path(self.hash, &id, None);
        match asked.head().method {
            Method::GET => self.bodiless(&path, asked, Liveness::Live).await,
            Method::DELETE => {
                asked.rights().checkpoint()?;
                self.bodiless(&path, asked, Liveness::Live).await
            }
            Method::PUT => {
                asked.rights().checkpoint()?;
                let limit = self.app.local_bytes(asked.rights());
                let (body, permit, head) = asked.read(&self.app, limit).await?;
                permit.rights().checkpoint()?;
                let body = body.into_shared();
                let local = LocalEnvelope::parse(&body).map_err(CouchError::from)?;
                let bytes = body.len();
                let going = Going::of(&head, &path, body, Liveness::Live);
                if local.liveness == Liveness::Deleted {
                    return self.go(permit, going).await;
                }
                if bytes > self.app.local_bytes(permit.rights()) {
                    let reason = "The document is too large.";
                    return Err(CouchError::new(ErrorKind::TooLarge, reason).into());
                }
                let room = self.room_for_local(&permit, &path, bytes).await;
                let _room = room.map_err(|error| match error {
                    DatabaseError::Refused(full) => {
                        checkpoint_refusal(permit.rights(), full).into()
                    }
                    error => error,
                })?;
                self.go(permit, going).await
            }
            _ => Err(method_not_allowed()),
        }
    }

    /// Room for one document; none is needed where it only deletes.
    async fn room_for_edit(
        &self,
        permit: &Permit,
        head: &Head,
        envelope: &Envelope,
        body: &Bytes,
    ) -> Result<Option<Room>, DatabaseError> {
        let query = form_urlencoded::parse(head.query.as_bytes());
        let is_history = query.into_iter().any(|(name, _)| name == "new_edits");
        if !is_history && only_deletes(envelope, body.len()) {
            return Ok(None);
        }
        self.room(permit, body.len()).await.map(Some)
    }

    /// Room for a body in the owner's account, to be kept until CouchDB answered.
    async fn room(&self, permit: &Permit, bytes: usize) -> Result<Room, DatabaseError> {
        self.app.databases.room(permit, bytes as u64).await
    }

    /// Room for a local document, by the same rules as in front of files.
    async fn room_for_local(
        &self,
        permit: &Permit,
        path: &str,
        bytes: usize,
    ) -> Result<Room, DatabaseError> {
        let bytes = bytes as u64;
        let (room, most) = self.app.room_for_locals(permit, bytes, bytes).await?;
        if most < u64::MAX {
            self.is_one_of(most, path).await?;
        }
        Ok(room)
    }

    /// Refuses a new local document where there are as many as there may be.
    async fn is_one_of(&self, most: u64, path: &str) -> Result<(), DatabaseError> {
        let client = self.couch.client();
        if client.get(path).await?.is_some() {
            return Ok(());
        }
        let list = request::path(self.hash, &["_local_docs"]);
        let listed = client
            .get(&format!("{list}?skip={}&limit=1", most.saturating_sub(1)))
            .await?;
        let rows = listed.as_ref().and_then(|listed| listed.get("rows"));
        match rows.and_then(Value::as_array) {
            Some(rows) if rows.is_empty() => Ok(()),
            _ => {
                let reason = "The database holds as many local documents as it may.";
                Err(CouchError::new(ErrorKind::InsufficientStorage, reason).into())
            }
        }
    }

    /// The request goes on, and its answer is told.
    async fn go(self, permit: Permit, going: Going) -> Done {
        // Told of changes from before CouchDB is asked on.
        let changes = self.couch.changes();
        let said = self.sent(&permit, going, ANSWER_TIME).await?;
        Ok(self.told(permit, changes, said))
    }

    /// The same with what is written: the other nodes of the context are to have it, too.
    async fn write(self, permit: Permit, going: Going) -> Done {
        let (app, hash) = (Arc::clone(&self.app), self.hash);
        let reply = self.go(permit, going).await?;
        if reply.status().is_success() {
            app.news.written(hash);
        }
        Ok(reply)
    }

    async fn sent(
        &self,
        permit: &Permit,
        going: Going,
        time: Duration,
    ) -> Result<Said, DatabaseError> {
        let reason = "There are too many requests under way.";
        let way = self.couch.way(going.caller);
        let way = way.ok_or(CouchError::new(ErrorKind::Unavailable, reason))?;
        let public_user = self.couch.public_user();
        let record = permit.record();
        let acting = Acting::of(permit.principal(), record, going.liveness, public_user);
        let mut request = Request::builder().method(going.method);
        if let Some(headers) = request.headers_mut() {
            headers.extend(going.headers);
            headers.insert(AUTHORIZATION, self.couch.credential(&acting)?);
            headers
                .entry(CONTENT_TYPE)
                .or_insert(HeaderValue::from_static("application/json"));
        }
        let sent = self.couch.client().send(request, &going.path, going.body);
        let response = tokio::time::timeout(time, sent)
            .await
            .map_err(|_| StoreError::Away)??;
        Ok(Said::of(response, way).await?)
    }
}

/// Whether an edit only says that something that is there is there no more: that is written where there is no room, too.
fn only_deletes(envelope: &Envelope, bytes: usize) -> bool {
    envelope.liveness == Liveness::Deleted
        && envelope.rev.is_some()
        && bytes as u64 <= SMALL_TOMBSTONE_BYTES
}
