//! What is read of a database in CouchDB to push it to other nodes: its feed, revisions, and a checkpoint beside them.
//!
//! Guarantees: it is read with the role that the original gave its own replication (a member that writes nothing but local documents),
//! never as the admin; what is held in memory has a limit, and a revision that is larger is passed on as it comes.

use std::sync::Arc;
use std::time::Duration;

use adyton_couch::document::{DocumentId, DocumentKind};
use adyton_couch::rev::Rev;
use adyton_protocol::database::DatabaseHash;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::segment;
use super::databases::CouchDatabases;
use super::layout::{Acting, LOCAL_REPLICATER};
use super::request;
use crate::store::StoreError;

/// Longest wait for an answer.
const TIME: Duration = Duration::from_secs(60);
/// Bytes of a piece of a feed.
const MAX_FEED_BYTES: usize = 8 << 20;
/// Bytes of a revision that is held in memory; a larger one is passed on as it comes.
const MAX_HELD_BYTES: usize = 4 << 20;
/// Attachments of more bytes than this are passed on as they come.
const INLINE_BYTES: u64 = 1 << 20;
/// Bytes of a checkpoint.
const MAX_CHECKPOINT_BYTES: usize = 64 << 10;
/// Where a feed begins.
pub(crate) const BEGINNING: &str = "0";

/// A database of a CouchDB, as it is read.
pub(crate) struct Reading {
    couch: Arc<CouchDatabases>,
    hash: DatabaseHash,
}

/// A piece of the feed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Ordinary documents, with their leaves.
    pub(crate) leaves: Vec<(String, Vec<Rev>)>,
    /// Rows that were looked at.
    pub(crate) count: u64,
    /// The feed was read up to here.
    pub(crate) up_to: String,
    /// Nothing follows yet.
    pub(crate) complete: bool,
}

/// A revision.
pub(crate) enum Held {
    /// Compacted, or purged: the feed has more, or nothing.
    Gone,
    /// The document's JSON, with its ancestry, and its attachments inside it.
    Text(Bytes),
    /// Too large to be held.
    Large,
}

/// A revision that is passed on as it comes.
pub(crate) struct Passed {
    pub(crate) kind: HeaderValue,
    /// As far as it is known.
    pub(crate) bytes: Option<u64>,
    pub(crate) body: Incoming,
}

/// An answer of the feed. Positions are CouchDB's own: texts, or numbers.
#[derive(Deserialize)]
struct Feed {
    results: Vec<Row>,
    last_seq: Value,
    pending: Option<u64>,
}

#[derive(Deserialize)]
struct Row {
    id: String,
    changes: Vec<Leaf>,
}

#[derive(Deserialize)]
struct Leaf {
    rev: String,
}

impl Piece {
    fn read(json: &[u8], most: usize) -> Result<Self, StoreError> {
        let feed: Feed = serde_json::from_slice(json).map_err(|_| StoreError::Strange(200))?;
        let count = feed.results.len();
        let leaves = feed.results.into_iter().filter_map(|row| {
            // What no node of ours could name, no other node takes of us.
            let id: DocumentId = row.id.parse().ok()?;
            let revs = row.changes.iter().filter_map(|leaf| leaf.rev.parse().ok());
            // The owner's client writes design documents to every node itself: no other node may.
            (id.kind() == DocumentKind::Ordinary).then(|| (row.id, revs.collect()))
        });
        Ok(Self {
            leaves: leaves.collect(),
            count: count as u64,
            up_to: match feed.last_seq {
                Value::String(text) => text,
                other => other.to_string(),
            },
            complete: feed.pending == Some(0) || count < most,
        })
    }
}

impl Reading {
    pub(crate) fn of(couch: Arc<CouchDatabases>, hash: DatabaseHash) -> Self {
        Self { couch, hash }
    }

    /// Reads on after a position: so many rows at most.
    pub(crate) async fn after(&self, since: &str, most: usize) -> Result<Piece, StoreError> {
        let path = format!(
            "{}?style=all_docs&limit={most}&since={}",
            request::path(self.hash, &["_changes"]),
            segment(since)
        );
        let json = self.get(&path, request::JSON, MAX_FEED_BYTES).await?;
        match json {
            Some(Held::Text(json)) => Piece::read(&json, most),
            // Gone meanwhile, or of documents with more conflicts than anybody made in good faith.
            Some(Held::Gone | Held::Large) | None => Err(StoreError::Strange(404)),
        }
    }

    /// A revision as it is pushed.
    pub(crate) async fn revision(&self, id: &DocumentId, rev: Rev) -> Result<Held, StoreError> {
        #[derive(Deserialize)]
        struct Stub {
            #[serde(default)]
            length: u64,
        }
        #[derive(Deserialize)]
        struct Attached {
            #[serde(default)]
            _attachments: std::collections::HashMap<String, Stub>,
        }
        let path = self.revision_path(id, rev);
        let told = self.get(&path, request::JSON, MAX_HELD_BYTES).await?;
        let Some(Held::Text(text)) = told else {
            return Ok(told.unwrap_or(Held::Gone));
        };
        let attached: Attached =
            serde_json::from_slice(&text).map_err(|_| StoreError::Strange(200))?;
        let each = attached._attachments.values();
        let bytes = each.fold(0_u64, |sum, stub| sum.saturating_add(stub.length));
        match (attached._attachments.is_empty(), bytes) {
            (true, _) => Ok(Held::Text(text)),
            (false, bytes) if bytes > INLINE_BYTES => Ok(Held::Large),
            (false, _) => {
                let path = format!("{path}&attachments=true");
                let told = self.get(&path, request::JSON, MAX_HELD_BYTES).await?;
                Ok(told.unwrap_or(Held::Gone))
            }
        }
    }

    /// A revision with its attachments behind it, as it comes; none when it is gone.
    pub(crate) async fn passed(
        &self,
        id: &DocumentId,
        rev: Rev,
    ) -> Result<Option<Passed>, StoreError> {
        let path = format!("{}&attachments=true", self.revision_path(id, rev));
        let kinds = "multipart/related, application/json";
        let response = self.ask(Method::GET, &path, kinds, Bytes::new()).await?;
        match response.status().as_u16() {
            200 => {}
            404 => return Ok(None),
            status => return Err(wrong(status)),
        }
        let (head, body) = response.into_parts();
        let bytes = head.headers.get(CONTENT_LENGTH);
        let kind = head.headers.get(CONTENT_TYPE).cloned();
        Ok(Some(Passed {
            kind: kind.unwrap_or(HeaderValue::from_static(request::JSON)),
            bytes: bytes.and_then(|bytes| bytes.to_str().ok()?.parse().ok()),
            body,
        }))
    }

    /// A local document; none when it is not there.
    pub(crate) async fn local(&self, id: &DocumentId) -> Result<Option<Bytes>, StoreError> {
        let path = request::document_path(self.hash, id, None);
        let told = self.get(&path, request::JSON, MAX_CHECKPOINT_BYTES).await?;
        Ok(match told {
            Some(Held::Text(text)) => Some(text),
            Some(Held::Gone | Held::Large) | None => None,
        })
    }

    /// Writes a local document, and says its revision.
    pub(crate) async fn keep_local(
        &self,
        id: &DocumentId,
        document: &Value,
    ) -> Result<Option<String>, StoreError> {
        #[derive(Deserialize)]
        struct Written {
            rev: Option<String>,
        }
        let path = request::document_path(self.hash, id, None);
        let body = Bytes::from(document.to_string());
        let response = self.ask(Method::PUT, &path, request::JSON, body).await?;
        match response.status().as_u16() {
            200..=299 => {}
            status => return Err(wrong(status)),
        }
        let text = Limited::new(response.into_body(), MAX_CHECKPOINT_BYTES).collect();
        let text = tokio::time::timeout(TIME, text)
            .await
            .map_err(|_| StoreError::Away)?
            .map_err(|_| StoreError::Away)?;
        let written: Written =
            serde_json::from_slice(&text.to_bytes()).map_err(|_| StoreError::Strange(201))?;
        Ok(written.rev)
    }

    fn revision_path(&self, id: &DocumentId, rev: Rev) -> String {
        let path = request::document_path(self.hash, id, None);
        format!("{path}?revs=true&rev={rev}")
    }

    /// What is there, if it is small enough. None: it is not there.
    async fn get(
        &self,
        path: &str,
        kind: &'static str,
        most: usize,
    ) -> Result<Option<Held>, StoreError> {
        let response = self.ask(Method::GET, path, kind, Bytes::new()).await?;
        match response.status().as_u16() {
            200 => {}
            404 => return Ok(None),
            status => return Err(wrong(status)),
        }
        let text = Limited::new(response.into_body(), most).collect();
        let text = tokio::time::timeout(TIME, text)
            .await
            .map_err(|_| StoreError::Away)?;
        match text {
            Ok(text) => Ok(Some(Held::Text(text.to_bytes()))),
            Err(error) if error.is::<LengthLimitError>() => Ok(Some(Held::Large)),
            Err(_) => Err(StoreError::Away),
        }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        kinds: &'static str,
        body: Bytes,
    ) -> Result<Response<Incoming>, StoreError> {
        let acting = Acting {
            name: LOCAL_REPLICATER.to_owned(),
            roles: vec![LOCAL_REPLICATER.to_owned()],
        };
        let request = Request::builder()
            .method(method)
            .header(AUTHORIZATION, self.couch.credential(&acting)?)
            .header(ACCEPT, HeaderValue::from_static(kinds))
            .header(CONTENT_TYPE, HeaderValue::from_static(request::JSON));
        let sent = self.couch.client().send(request, path, body);
        tokio::time::timeout(TIME, sent)
            .await
            .map_err(|_| StoreError::Away)?
    }
}

fn wrong(status: u16) -> StoreError {
    match status {
        500..=599 => StoreError::Away,
        status => StoreError::Strange(status),
    }
}

/// A checkpoint as it is kept beside the database that is read.
pub(crate) fn checkpoint(place: &str, session: &str, rev: Option<&str>) -> Value {
    let mut body = json!({
        "source_last_seq": place, "session_id": session, "replication_id_version": 4,
        "history": [{"session_id": session, "recorded_seq": place}],
    });
    if let (Some(rev), Some(members)) = (rev, body.as_object_mut()) {
        members.insert("_rev".to_owned(), rev.into());
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_of_a_feed_is_its_ordinary_documents() {
        let rev = format!("1-{}", "a".repeat(32));
        let row =
            |id: &str| json!({"seq": "1-x", "id": id, "changes": [{"rev": rev}, {"rev": "odd"}]});
        let feed = json!({
            "results": [row("a"), row("_design/x"), row("b")], "last_seq": "3-g1AAAA", "pending": 4,
        });
        let piece = Piece::read(feed.to_string().as_bytes(), 3).unwrap();
        let leaves = vec![rev.parse().unwrap()];
        let expected = ["a", "b"].map(|id| (id.to_owned(), leaves.clone()));
        assert_eq!(piece.leaves, expected);
        assert_eq!((piece.count, piece.up_to.as_str()), (3, "3-g1AAAA"));
        assert!(!piece.complete);
        let fewer = Piece::read(feed.to_string().as_bytes(), 4).unwrap();
        assert!(fewer.complete);
        let numbers = br#"{"results": [], "last_seq": 12}"#;
        assert_eq!(Piece::read(numbers, 4).unwrap().up_to, "12");
        assert!(Piece::read(b"{}", 4).is_err());
    }

    #[test]
    fn whatever_a_couchdb_tells_is_a_piece_or_none() {
        bolero::check!()
            .with_type::<Vec<u8>>()
            .for_each(|json: &Vec<u8>| {
                if let Ok(piece) = Piece::read(json, 4) {
                    assert!(piece.leaves.len() as u64 <= piece.count);
                }
            });
    }
}
