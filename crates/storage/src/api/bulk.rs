//! The data path, many documents at a time. Large answers are streamed: made in batches while they are sent.

use std::sync::Arc;

use adyton_couch::document::{DocumentId, DocumentKind, Envelope, write_json_text};
use adyton_couch::rev::Rev;
use adyton_couch::wire::{
    AllDocsQuery, BulkDocs, BulkGet, ChangesQuery, CouchError, ErrorKind, RevsDiff, Written,
};
use adyton_protocol::database::DatabaseHash;
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::documents::{Done, fresh_document_id, may_write};
use super::read::{self, Extras};
use super::reply;
use super::{App, Asked};
use crate::access::Permit;
use crate::changes::Feed;
use crate::databases::DatabaseError;
use crate::store::write::{DocumentWrite, WriteKind};
use crate::store::{StoreError, blocking};
use crate::stream::{BATCH_BYTES, Producer, produce};

/// What is to become of one document of a bulk write.
enum Entry {
    /// To be written, as the n-th of the writes.
    Write(DocumentId),
    /// Refused, with what is known of its name.
    Refused(Option<DocumentId>, CouchError),
}

impl App {
    pub(super) async fn bulk_docs(&self, permit: &Permit, asked: Asked) -> Done {
        let body = match self.read_body(asked, self.limits.bulk_bytes).await {
            Ok(body) => body,
            Err(refusal) => return Ok(reply::couch_body_refusal(refusal)),
        };
        self.databases.room(permit).await?;
        let file = self.databases.file(permit).await?;
        let limit = self.limits.document_bytes;
        let permit = permit.clone();
        let parsed = blocking(move || Ok(parse_bulk(body.as_slice(), &permit, limit))).await?;
        let (entries, writes, new_edits) = parsed?;
        let outcomes = if writes.is_empty() {
            Vec::new()
        } else {
            file.write(writes).await?
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

    pub(super) async fn bulk_get(&self, permit: &Permit, asked: Asked) -> Done {
        let flag = |name: &str| {
            url::form_urlencoded::parse(asked.query.as_bytes())
                .any(|(key, value)| key == name && value == "true")
        };
        let (revs, latest) = (flag("revs"), flag("latest"));
        let body = match self.read_body(asked, self.limits.bulk_bytes).await {
            Ok(body) => body,
            Err(refusal) => return Ok(reply::couch_body_refusal(refusal)),
        };
        let wanted = BulkGet::parse(body.as_slice())?;
        drop(body);
        let file = self.databases.file(permit).await?;
        let producer = BulkGetProducer {
            file,
            wanted: wanted.docs.into_iter(),
            revs,
            latest,
            started: false,
            done: false,
        };
        Ok(reply::stream(produce(producer)))
    }

    pub(super) async fn revs_diff(&self, permit: &Permit, asked: Asked) -> Done {
        let body = match self.read_body(asked, self.limits.bulk_bytes).await {
            Ok(body) => body,
            Err(refusal) => return Ok(reply::couch_body_refusal(refusal)),
        };
        let asked_for = RevsDiff::parse(body.as_slice())?;
        drop(body);
        let file = self.databases.file(permit).await?;
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

    pub(super) async fn all_docs(&self, permit: &Permit, asked: Asked) -> Done {
        let query = asked.query.clone();
        let body = match self.read_body(asked, self.limits.bulk_bytes).await {
            Ok(body) => body,
            Err(refusal) => return Ok(reply::couch_body_refusal(refusal)),
        };
        let query = AllDocsQuery::parse(&query, body.as_slice())?;
        drop(body);
        let file = self.databases.file(permit).await?;
        Ok(reply::stream(produce(AllDocsProducer::new(file, query))))
    }

    pub(super) async fn changes(
        self: Arc<Self>,
        permit: Permit,
        hash: DatabaseHash,
        asked: Asked,
    ) -> Done {
        let principal = self.auth.principal(asked.authorization())?;
        let query = asked.query.clone();
        let body = match self.read_body(asked, self.limits.bulk_bytes).await {
            Ok(body) => body,
            Err(refusal) => return Ok(reply::couch_body_refusal(refusal)),
        };
        let query = ChangesQuery::parse(&query, body.as_slice())?;
        drop(body);
        Ok(reply::stream(
            Feed::open(self, principal, permit, hash, query)
                .await?
                .into_stream(),
        ))
    }
}

/// Reads a bulk write. A wrong document is refused by itself; only a wrong request is refused as a whole.
fn parse_bulk(
    body: &[u8],
    permit: &Permit,
    limit: usize,
) -> Result<(Vec<Entry>, Vec<DocumentWrite>, bool), DatabaseError> {
    let bulk = BulkDocs::parse(body)?;
    let mut entries = Vec::with_capacity(bulk.docs.len());
    let mut writes = Vec::with_capacity(bulk.docs.len());
    for raw in bulk.docs {
        if raw.get().len() > limit {
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
                may_write(permit, &id, envelope.liveness).and(kind)
            }
        };
        match checked {
            Err(refusal) => entries.push(Entry::Refused(Some(id), refusal)),
            Ok(kind) => {
                entries.push(Entry::Write(id.clone()));
                writes.push(DocumentWrite {
                    id,
                    liveness: envelope.liveness,
                    members: envelope.members,
                    kind,
                });
            }
        }
    }
    Ok((entries, writes, bulk.new_edits))
}

struct BulkGetProducer {
    file: Arc<crate::store::database::DatabaseFile>,
    wanted: std::vec::IntoIter<adyton_couch::wire::BulkGetItem>,
    revs: bool,
    latest: bool,
    started: bool,
    done: bool,
}

impl Producer for BulkGetProducer {
    fn batch(&mut self) -> Result<Option<Vec<Bytes>>, StoreError> {
        if self.done {
            return Ok(None);
        }
        let view = self.file.view()?;
        let mut pieces = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES {
            let Some(item) = self.wanted.next() else {
                self.done = true;
                let opening: &[u8] = if self.started { b"" } else { b"{\"results\":[" };
                pieces.push([opening, b"]}"].concat().into());
                break;
            };
            let mut head: Vec<u8> = if self.started {
                b",".to_vec()
            } else {
                b"{\"results\":[".to_vec()
            };
            self.started = true;
            head.extend_from_slice(b"{\"id\":");
            write_json_text(item.id.as_str(), &mut head);
            head.extend_from_slice(b",\"docs\":[");
            pieces.push(head.into());
            let row = view.document(item.id.as_str())?.unwrap_or_default();
            let leaves = match item.rev {
                Some(rev) => read::found_for(&row, rev, self.latest),
                None => row.tree.winner().into_iter().collect(),
            };
            let extras = Extras {
                revisions: self.revs,
                ..Extras::default()
            };
            for (i, leaf) in leaves.iter().enumerate() {
                let opening: &'static [u8] = if i == 0 { b"{\"ok\":" } else { b",{\"ok\":" };
                pieces.push(Bytes::from_static(opening));
                read::revision(&view, &row, *leaf, extras, &mut pieces)?;
                pieces.push(Bytes::from_static(b"}"));
            }
            if leaves.is_empty() {
                let rev = item
                    .rev
                    .map_or_else(|| "undefined".to_owned(), |rev| rev.to_string());
                let error = json!({"error": {
                    "id": item.id, "rev": rev, "error": "not_found", "reason": "missing",
                }});
                pieces.push(error.to_string().into());
            }
            pieces.push(Bytes::from_static(b"]}"));
            // Each item counts for something, or a request for nothing would be one endless batch.
            bytes += 64
                + pieces
                    .iter()
                    .rev()
                    .take(2 + 4 * leaves.len())
                    .map(Bytes::len)
                    .sum::<usize>();
        }
        Ok(Some(pieces))
    }
}

struct AllDocsProducer {
    file: Arc<crate::store::database::DatabaseFile>,
    query: AllDocsQuery,
    /// With keys: how many are answered.
    next_key: usize,
    /// Without keys: the last id told.
    last: Option<String>,
    skip: u64,
    left: u64,
    started: bool,
    first_row: bool,
    done: bool,
}

impl AllDocsProducer {
    fn new(file: Arc<crate::store::database::DatabaseFile>, query: AllDocsQuery) -> Self {
        Self {
            file,
            skip: query.skip,
            left: query.limit.unwrap_or(u64::MAX),
            query,
            next_key: 0,
            last: None,
            started: false,
            first_row: true,
            done: false,
        }
    }

    fn row(
        &mut self,
        view: &crate::store::database::View,
        id: &str,
        row: Option<&crate::store::row::DocumentRow>,
        pieces: &mut Vec<Bytes>,
    ) -> Result<usize, StoreError> {
        let mut head: Vec<u8> = if self.first_row {
            Vec::new()
        } else {
            b",\n".to_vec()
        };
        self.first_row = false;
        let winner = row.and_then(|row| Some((row, row.tree.winner()?)));
        let Some((row, winner)) = winner else {
            head.extend_from_slice(b"{\"key\":");
            write_json_text(id, &mut head);
            head.extend_from_slice(b",\"error\":\"not_found\"}");
            let length = head.len();
            pieces.push(head.into());
            return Ok(length);
        };
        head.extend_from_slice(b"{\"id\":");
        write_json_text(id, &mut head);
        head.extend_from_slice(b",\"key\":");
        write_json_text(id, &mut head);
        head.extend_from_slice(format!(",\"value\":{{\"rev\":\"{}\"", winner.rev).as_bytes());
        head.extend_from_slice(if winner.deleted {
            b",\"deleted\":true}"
        } else {
            b"}"
        });
        if !self.query.include_docs {
            head.push(b'}');
            let length = head.len();
            pieces.push(head.into());
            return Ok(length);
        }
        head.extend_from_slice(b",\"doc\":");
        if winner.deleted {
            head.extend_from_slice(b"null}");
            let length = head.len();
            pieces.push(head.into());
            return Ok(length);
        }
        pieces.push(head.into());
        let extras = Extras {
            conflicts: self.query.conflicts,
            ..Extras::default()
        };
        let before = pieces.len();
        read::revision(view, row, winner, extras, pieces)?;
        pieces.push(Bytes::from_static(b"}"));
        Ok(pieces.iter().skip(before).map(Bytes::len).sum::<usize>() + 100)
    }
}

impl Producer for AllDocsProducer {
    fn batch(&mut self) -> Result<Option<Vec<Bytes>>, StoreError> {
        if self.done {
            return Ok(None);
        }
        let file = Arc::clone(&self.file);
        let view = file.view()?;
        let mut pieces = Vec::new();
        if !self.started {
            self.started = true;
            let offset = if self.query.range.start.is_none() {
                self.query.skip.to_string()
            } else {
                "null".to_owned()
            };
            let head = format!(
                "{{\"total_rows\":{},\"offset\":{offset},\"rows\":[\n",
                view.counters.documents
            );
            pieces.push(head.into());
        }
        let mut bytes = 0;
        if let Some(keys) = self.query.keys.clone() {
            while bytes < BATCH_BYTES && self.next_key < keys.len() && self.left > 0 {
                let Some(key) = keys.get(self.next_key) else {
                    break;
                };
                self.next_key += 1;
                if self.skip > 0 {
                    self.skip -= 1;
                    continue;
                }
                self.left -= 1;
                let row = view.document(key)?;
                bytes += self.row(&view, key, row.as_ref(), &mut pieces)?;
            }
            self.done = self.next_key >= keys.len() || self.left == 0;
        } else {
            let mut range = self.query.range.clone();
            if self.query.descending {
                std::mem::swap(&mut range.start, &mut range.end);
                // `exclusive_end` now belongs to the start of the ascending range.
                range.exclusive_end = false;
            }
            match (&self.last, self.query.descending) {
                (Some(last), false) => range.start = Some(last.clone()),
                (Some(last), true) => range.end = Some(last.clone()),
                (None, _) => {}
            }
            let excluded = self.last.clone();
            let exclusive_low = (self.query.descending && self.query.range.exclusive_end)
                .then(|| self.query.range.end.clone())
                .flatten();
            let mut rows = view.documents(&range)?;
            let mut next = || {
                if self.query.descending {
                    rows.next_back()
                } else {
                    rows.next()
                }
            };
            let mut found = Vec::new();
            let (mut skip, mut left) = (self.skip, self.left);
            let mut complete = true;
            while let Some(row) = next() {
                let (id, row) = row?;
                if excluded.as_deref() == Some(&id) || exclusive_low.as_deref() == Some(&id) {
                    continue;
                }
                if row.tree.winner().is_none_or(|winner| winner.deleted) {
                    continue;
                }
                if skip > 0 {
                    skip -= 1;
                    continue;
                }
                if left == 0 {
                    break;
                }
                left -= 1;
                found.push((id, row));
                if found.len() == ROWS_PER_BATCH {
                    complete = false;
                    break;
                }
            }
            drop(rows);
            (self.skip, self.left) = (skip, left);
            self.done = complete;
            let mut taken = 0;
            for (id, row) in &found {
                bytes += self.row(&view, id, Some(row), &mut pieces)?;
                taken += 1;
                if bytes >= BATCH_BYTES && taken < found.len() {
                    // The rest is read again by the next batch.
                    self.left += (found.len() - taken) as u64;
                    self.done = false;
                    break;
                }
            }
            if let Some((id, _)) = taken.checked_sub(1).and_then(|last| found.get(last)) {
                self.last = Some(id.clone());
            }
        }
        if self.done {
            pieces.push(Bytes::from_static(b"\n]}"));
        }
        Ok(Some(pieces))
    }
}

/// Rows that one batch of `_all_docs` reads at most.
const ROWS_PER_BATCH: usize = 1_000;
