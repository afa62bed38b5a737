//! The data path in front of a CouchDB: a permit, a look at what is to be written, and the request goes on.
//!
//! 1. Who asks, and what for: the same permit as in front of files, the same words for who has none.
//! 2. Bodies are read under the same limits; every document in them is held against the permit before anything goes on.
//! 3. The request is made anew (`couch/request`), as somebody whom CouchDB itself gives no more rights (`couch/layout::Acting`).
//! 4. The answer is streamed. A feed ends with its credential, its permit, or this node.

mod bulk;
mod feed;

use std::sync::Arc;
use std::time::Duration;

use adyton_couch::document::{DocumentId, DocumentKind, Envelope, LocalEnvelope};
use adyton_couch::limits::MAX_ATTACHMENTS;
use adyton_couch::multipart::parts;
use adyton_couch::rev_tree::Liveness;
use adyton_couch::wire::{CouchError, ErrorKind};
use adyton_protocol::database::DatabaseHash;
use bytes::Bytes;
use futures_util::stream::unfold;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::documents::{Done, MAX_LOCAL_DOCUMENT_BYTES, may_write, method_not_allowed, security};
use super::multipart::related;
use super::reply::{self, Reply};
use super::route::{Endpoint, Route};
use super::{App, Asked};
use crate::access::{Permit, Principal};
use crate::couch::databases::CouchDatabases;
use crate::couch::layout::Acting;
use crate::couch::request;
use crate::databases::DatabaseError;
use crate::server::body::BodyRefusal;
use crate::store::StoreError;

/// Longest wait for an answer to begin, and for its next piece: a query may look through a whole database.
const ANSWER_TIME: Duration = Duration::from_secs(120);

/// A request that may go on.
struct Passing {
    app: Arc<App>,
    couch: Arc<CouchDatabases>,
    principal: Principal,
    permit: Permit,
    hash: DatabaseHash,
}

/// What a request says before its body.
struct Head {
    method: Method,
    query: String,
    headers: HeaderMap,
}

impl Head {
    fn of(asked: &Asked) -> Self {
        Self {
            method: asked.method.clone(),
            query: asked.query.clone(),
            headers: asked.headers.clone(),
        }
    }
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
        let permit = match self.permit(hash, &asked).await {
            Ok(permit) => permit,
            Err(error) => return reply::couch_failure(&error),
        };
        let principal = match self.auth.principal(asked.authorization()) {
            Ok(principal) => principal,
            Err(refusal) => return reply::couch_error(&refusal),
        };
        let passing = Passing {
            app: self,
            couch,
            principal,
            permit,
            hash,
        };
        let done = passing.answer(route, asked).await;
        done.unwrap_or_else(|error| reply::couch_failure(&error))
    }
}

impl Passing {
    async fn answer(self, route: Route, asked: Asked) -> Done {
        match route {
            Route::Database(endpoint, _) => self.in_database(endpoint, asked).await,
            Route::Document(Endpoint::Local, _, id) => self.local(id, asked).await,
            Route::Document(_, _, id) => self.document(id, asked).await,
            Route::Attachment(_, id, name) => self.attachment(&id, name.as_str(), asked).await,
            Route::Index(_, design, name) => match asked.method {
                Method::DELETE => {
                    self.permit.design()?;
                    let parts = ["_index", &design, "json", &name];
                    let path = request::path(self.hash, &parts);
                    self.go(&Head::of(&asked), path, Bytes::new(), Liveness::Live)
                        .await
                }
                _ => Err(method_not_allowed()),
            },
            Route::Plain(_) | Route::Did(..) | Route::InvalidDocument(_) | Route::NoDatabase => {
                Err(CouchError::missing().into())
            }
        }
    }

    /// The same addresses and methods as in front of files (`documents::in_database`).
    async fn in_database(self, endpoint: Endpoint, asked: Asked) -> Done {
        let (bulk, small) = (self.app.limits.bulk_bytes, self.app.limits.body_bytes);
        match (endpoint, asked.method.clone()) {
            (Endpoint::Database, Method::GET) => self.read(&[], asked, 0).await,
            (Endpoint::Database, Method::POST) => self.post_document(asked).await,
            (Endpoint::Database, Method::PUT | Method::DELETE) => {
                let reason = "You are not a server admin.";
                Err(CouchError::new(ErrorKind::Unauthorized, reason).into())
            }
            (Endpoint::Changes, Method::GET | Method::POST) => self.changes(asked).await,
            (Endpoint::AllDocs, Method::GET | Method::POST) => {
                self.read(&["_all_docs"], asked, bulk).await
            }
            (Endpoint::DesignDocs, Method::GET | Method::POST) => {
                self.read(&["_design_docs"], asked, bulk).await
            }
            (Endpoint::BulkDocs, Method::POST) => self.bulk_docs(asked).await,
            (Endpoint::BulkGet, Method::POST) => self.read(&["_bulk_get"], asked, bulk).await,
            (Endpoint::RevsDiff, Method::POST) => self.read(&["_revs_diff"], asked, bulk).await,
            (Endpoint::MissingRevs, Method::POST) => {
                self.read(&["_missing_revs"], asked, bulk).await
            }
            (Endpoint::Find, Method::POST) => {
                // As many queries at one time as in front of files.
                let app = Arc::clone(&self.app);
                let _turn = app.finds.ask(&asked.caller).await?;
                self.read(&["_find"], asked, small).await
            }
            (Endpoint::Explain, Method::POST) => self.read(&["_explain"], asked, small).await,
            (Endpoint::Index, Method::GET) => self.read(&["_index"], asked, 0).await,
            (Endpoint::RevsLimit, Method::GET) => self.read(&["_revs_limit"], asked, 0).await,
            (Endpoint::Index, Method::POST) => self.owners(&["_index"], asked, small).await,
            (Endpoint::IndexBulkDelete, Method::POST) => {
                let path = ["_index", "_bulk_delete"];
                self.owners(&path, asked, small).await
            }
            (Endpoint::RevsLimit, Method::PUT) => self.owners(&["_revs_limit"], asked, 64).await,
            (Endpoint::Compact, Method::POST) => self.owners(&["_compact"], asked, small).await,
            (Endpoint::Purge, Method::POST) => self.owners(&["_purge"], asked, small).await,
            // Readers' checkpoints say who reads: they are the owner's to list.
            (Endpoint::LocalDocs, Method::GET) => self.owners(&["_local_docs"], asked, 0).await,
            (Endpoint::Security, Method::GET) => {
                Ok(security(&self.permit, self.couch.public_user()))
            }
            (Endpoint::Security, Method::PUT) => {
                let reason = "Permissions are set through /user/updateDatabase.";
                let refusal = CouchError::new(ErrorKind::Forbidden, reason);
                Err(self.permit.design().err().unwrap_or(refusal).into())
            }
            (Endpoint::DesignFunction, _) => {
                let reason = "missing_named_view";
                Err(CouchError::new(ErrorKind::NotFound, reason).into())
            }
            (Endpoint::EnsureFullCommit, Method::POST) => {
                // Every write that CouchDB acknowledges is durable there.
                let done = json!({"ok": true, "instance_start_time": "0"});
                Ok(reply::json(StatusCode::CREATED, &done))
            }
            (Endpoint::UnknownInDatabase, _) => Err(CouchError::missing().into()),
            _ => Err(method_not_allowed()),
        }
    }

    /// What every reader may ask.
    async fn read(self, path: &[&str], asked: Asked, limit: usize) -> Done {
        let path = request::path(self.hash, path);
        let (asked, body) = match self.body(asked, limit).await {
            Ok(read) => read,
            Err(refusal) => return Ok(reply::couch_body_refusal(refusal)),
        };
        self.go(&asked, path, body, Liveness::Live).await
    }

    /// What only the owner may ask.
    async fn owners(self, path: &[&str], asked: Asked, limit: usize) -> Done {
        self.permit.design()?;
        self.read(path, asked, limit).await
    }

    async fn document(self, id: DocumentId, asked: Asked) -> Done {
        let path = request::document_path(self.hash, &id, None);
        match asked.method {
            Method::GET => {
                self.go(&Head::of(&asked), path, Bytes::new(), Liveness::Live)
                    .await
            }
            Method::DELETE => {
                may_write(&self.permit, &id, Liveness::Deleted)?;
                self.app.databases.room(&self.permit).await?;
                self.go(&Head::of(&asked), path, Bytes::new(), Liveness::Deleted)
                    .await
            }
            Method::PUT => {
                let boundary = related(&asked).transpose()?;
                let limit = match &boundary {
                    Some(_) => self.app.limits.bulk_bytes,
                    None => self.app.limits.document_bytes,
                };
                let (asked, body) = match self.body(asked, limit).await {
                    Ok(read) => read,
                    Err(refusal) => return Ok(reply::couch_body_refusal(refusal)),
                };
                let envelope = match &boundary {
                    None => Envelope::parse(&body),
                    Some(boundary) => {
                        let wrong = || CouchError::bad_request("The multipart body is malformed.");
                        let parts =
                            parts(&body, boundary, MAX_ATTACHMENTS + 1).map_err(|_| wrong())?;
                        Envelope::parse(parts.first().ok_or_else(wrong)?.body)
                    }
                };
                let envelope = envelope.map_err(CouchError::from)?;
                if envelope.id.as_ref().is_some_and(|inner| *inner != id) {
                    let reason = "Document ID must match the address";
                    return Err(CouchError::bad_request(reason).into());
                }
                may_write(&self.permit, &id, envelope.liveness)?;
                self.app.databases.room(&self.permit).await?;
                self.go(&asked, path, body, envelope.liveness).await
            }
            _ => Err(method_not_allowed()),
        }
    }

    async fn post_document(self, asked: Asked) -> Done {
        let limit = self.app.limits.document_bytes;
        let (asked, body) = match self.body(asked, limit).await {
            Ok(read) => read,
            Err(refusal) => return Ok(reply::couch_body_refusal(refusal)),
        };
        let envelope = Envelope::parse(&body).map_err(CouchError::from)?;
        match &envelope.id {
            Some(id) if id.kind() == DocumentKind::Local => {
                let reason = "Local documents are written with PUT.";
                return Err(CouchError::bad_request(reason).into());
            }
            Some(id) => may_write(&self.permit, id, envelope.liveness)?,
            None => match envelope.liveness {
                Liveness::Live => self.permit.write()?,
                Liveness::Deleted => self.permit.delete()?,
            },
        }
        self.app.databases.room(&self.permit).await?;
        let path = request::path(self.hash, &[]);
        self.go(&asked, path, body, envelope.liveness).await
    }

    async fn attachment(self, id: &DocumentId, name: &str, asked: Asked) -> Done {
        let path = request::document_path(self.hash, id, Some(name));
        let limit = match asked.method {
            Method::GET => 0,
            Method::PUT => self.app.limits.attachment_bytes,
            Method::DELETE => 0,
            _ => return Err(method_not_allowed()),
        };
        if asked.method != Method::GET {
            may_write(&self.permit, id, Liveness::Live)?;
        }
        let (asked, body) = match self.body(asked, limit).await {
            Ok(read) => read,
            Err(refusal) => return Ok(reply::couch_body_refusal(refusal)),
        };
        if asked.method != Method::GET {
            self.app.databases.room(&self.permit).await?;
        }
        let going = Going {
            method: asked.method.clone(),
            path: format!("{path}{}", request::query(&asked.query)),
            headers: request::asked_with_content(&asked.headers),
            body,
            liveness: Liveness::Live,
        };
        Ok(told(self.sent(going, ANSWER_TIME).await?))
    }

    async fn local(self, id: DocumentId, asked: Asked) -> Done {
        let path = request::document_path(self.hash, &id, None);
        match asked.method {
            Method::GET => {
                self.go(&Head::of(&asked), path, Bytes::new(), Liveness::Live)
                    .await
            }
            Method::DELETE => {
                self.permit.checkpoint()?;
                self.go(&Head::of(&asked), path, Bytes::new(), Liveness::Live)
                    .await
            }
            Method::PUT => {
                self.permit.checkpoint()?;
                let limit = match self.permit.only_checkpoints() {
                    true => self.app.limits.reader_local_bytes,
                    false => MAX_LOCAL_DOCUMENT_BYTES,
                };
                let (asked, body) = match self.body(asked, limit).await {
                    Ok(read) => read,
                    Err(refusal) => return Ok(reply::couch_body_refusal(refusal)),
                };
                LocalEnvelope::parse(&body).map_err(CouchError::from)?;
                self.app.databases.room(&self.permit).await?;
                if self.permit.only_checkpoints() {
                    self.room_for_checkpoint(&path).await?;
                }
                self.go(&asked, path, body, Liveness::Live).await
            }
            _ => Err(method_not_allowed()),
        }
    }

    /// What readers keep fills the owner's account: when there is much, none of them makes a new document.
    async fn room_for_checkpoint(&self, path: &str) -> Result<(), DatabaseError> {
        let client = self.couch.client();
        if client.get(path).await?.is_some() {
            return Ok(());
        }
        let most = self.app.limits.local_documents_for_readers;
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

    async fn body(&self, asked: Asked, limit: usize) -> Result<(Head, Bytes), BodyRefusal> {
        let head = Head::of(&asked);
        let body = self.app.read_body(asked, limit).await?;
        Ok((head, body.into_shared()))
    }

    /// The request with this body goes on, and its answer is told.
    async fn go(&self, asked: &Head, path: String, body: Bytes, liveness: Liveness) -> Done {
        let going = Going {
            method: asked.method.clone(),
            path: format!("{path}{}", request::query(&asked.query)),
            headers: request::asked(&asked.headers),
            body,
            liveness,
        };
        Ok(told(self.sent(going, ANSWER_TIME).await?))
    }

    async fn sent(
        &self,
        going: Going,
        time: Duration,
    ) -> Result<Response<Incoming>, DatabaseError> {
        let public_user = self.couch.public_user();
        let record = self.permit.record();
        let acting = Acting::of(&self.principal, record, going.liveness, public_user);
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
        // A redirection would lead around every check.
        match response.status().is_redirection() && response.status() != StatusCode::NOT_MODIFIED {
            true => Err(StoreError::Strange(response.status().as_u16()).into()),
            false => Ok(response),
        }
    }
}

/// The answer as it comes. One that breaks off breaks off for the caller, too.
fn told(response: Response<Incoming>) -> Reply {
    let (head, body) = response.into_parts();
    let frames = unfold(Some(body), |body| async move {
        let mut body = body?;
        let frame = tokio::time::timeout(ANSWER_TIME, body.frame()).await;
        match frame {
            Ok(None) => None,
            Ok(Some(Ok(frame))) => Some((Ok(frame), Some(body))),
            Ok(Some(Err(_))) | Err(_) => Some((Err(StoreError::Away), None)),
        }
    });
    let mut reply = Response::new(StreamBody::new(frames).boxed_unsync());
    *reply.status_mut() = head.status;
    *reply.headers_mut() = request::told(&head.headers);
    reply
}
