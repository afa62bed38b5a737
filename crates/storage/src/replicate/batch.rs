//! What is read of a database to push it: rows of its feed to ask about, and the revisions that the target lacks, packed into
//! requests. Reading may block: on a blocking thread.
//!
//! Guarantees: a request in memory has a limit; a document with large attachments travels alone, made while it is sent.

use std::collections::VecDeque;
use std::sync::Arc;

use adyton_couch::attachment::Encodings;
use adyton_couch::document::{DocumentId, DocumentKind};
use adyton_couch::rev::Rev;
use adyton_couch::seq::Seq;
use adyton_couch::wire::{AttachmentsWanted, Missing, RevsDiff};
use bytes::Bytes;
use futures_util::StreamExt;
use http::header::HeaderValue;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use super::source::Place;
use crate::api::contents::{ContentPlace, Revision, Wish, boundary, push_related, revision};
use crate::api::pieces::{Piece, PieceProducer};
use crate::api::read::Extras;
use crate::couch::reading::Held;
use crate::outbound::SentBody;
use crate::store::StoreError;
use crate::store::database::{DatabaseFile, View};
use crate::stream::{Reader, produce};

/// Rows of the feed that one question is about.
pub(super) const ROWS: usize = 200;
/// Revisions that one question is about, unless a single document has more.
const REVS: usize = 2_000;
/// Bytes of documents after which a request is full. One document may be larger.
pub(super) const REQUEST_BYTES: u64 = 4 << 20;
/// Attachments of more bytes than this travel as parts, not in base64.
const INLINE_BYTES: u64 = 1 << 20;

/// A piece of the feed.
pub(super) struct Rows {
    pub(super) asked: RevsDiff,
    /// Rows that were looked at.
    pub(super) count: u64,
    /// The feed was read up to here.
    pub(super) up_to: Place,
    /// Nothing follows yet.
    pub(super) complete: bool,
}

impl Rows {
    /// Reads on after a place, or from the start when the database is another one than it was.
    pub(super) fn after(view: &View, place: &Place) -> Result<Self, StoreError> {
        let counters = view.counters;
        let newest = counters.update_seq;
        let after = match place {
            Place::Of(seq) if seq.life == counters.life() && seq.number <= newest => seq.number,
            Place::Of(_) | Place::CouchDb(_) => 0,
        };
        let life = counters.life();
        let place = |number| Place::Of(Seq { number, life });
        let mut rows = Self {
            asked: RevsDiff(Vec::new()),
            count: 0,
            up_to: place(newest),
            complete: true,
        };
        let mut revs = 0;
        let mut last = after;
        for row in view.changes(after, newest)? {
            let (seq, row) = row?;
            if rows.asked.0.len() == ROWS || revs > REVS {
                rows.up_to = place(last);
                rows.complete = false;
                break;
            }
            last = seq;
            rows.count += 1;
            let id: DocumentId = row
                .id
                .parse()
                .map_err(|_| StoreError::Corrupt("the id of a document"))?;
            match id.kind() {
                // The owner's client writes these to every node itself: no other node may.
                DocumentKind::Design | DocumentKind::Local => {}
                DocumentKind::Ordinary => {
                    revs += row.leaves.len();
                    rows.asked.0.push((row.id, row.leaves));
                }
            }
        }
        Ok(rows)
    }

    /// The question, as `_revs_diff` takes it.
    pub(super) fn question(&self) -> Result<Bytes, StoreError> {
        let members = self
            .asked
            .0
            .iter()
            .map(|(id, revs)| (id.clone(), serde_json::json!(revs)));
        let members: serde_json::Map<_, _> = members.collect();
        serde_json::to_vec(&members)
            .map(Bytes::from)
            .map_err(|_| StoreError::Corrupt("a question"))
    }
}

/// One request with documents.
pub(super) enum Load {
    /// For `_bulk_docs`.
    Bulk { sent: Vec<DocumentId>, body: Bytes },
    /// A document with its attachments behind it.
    Related {
        id: DocumentId,
        kind: HeaderValue,
        bytes: u64,
        body: SentBody,
    },
}

/// Revisions that are still to be packed.
pub(super) struct Pack {
    pub(super) left: VecDeque<(DocumentId, Rev)>,
    /// One document in each request: an earlier request was refused as a whole.
    pub(super) single: bool,
    /// Read already, and still to be packed.
    pub(super) ready: VecDeque<Ready>,
}

/// A revision that was read of a CouchDB.
pub(super) type Ready = ((DocumentId, Rev), Held);

impl Pack {
    pub(super) fn new(missing: Missing) -> Self {
        let each = missing.0.into_iter();
        Self {
            left: each
                .flat_map(|(id, revs)| revs.into_iter().map(move |rev| (id.clone(), rev)))
                .collect(),
            single: false,
            ready: VecDeque::new(),
        }
    }

    /// Takes back what a refused request had, to send it one by one.
    pub(super) fn again_alone(&mut self, taken: Vec<(DocumentId, Rev)>) {
        for each in taken.into_iter().rev() {
            self.left.push_front(each);
        }
        self.single = true;
    }

    /// The next request, with what it takes along; none when all was packed.
    #[expect(clippy::type_complexity, reason = "a request and what it is of")]
    pub(super) fn next(
        &mut self,
        file: &Arc<DatabaseFile>,
    ) -> Result<Option<(Load, Vec<(DocumentId, Rev)>)>, StoreError> {
        let view = file.view()?;
        let mut taken: Vec<(DocumentId, Rev)> = Vec::new();
        let mut pieces = vec![Piece::Text(Bytes::from_static(
            b"{\"new_edits\":false,\"docs\":[",
        ))];
        let mut bytes = 0;
        while let Some((id, rev)) = self.left.pop_front() {
            let Some((told, attached)) = told(&view, &id, rev, ContentPlace::Inline)? else {
                continue;
            };
            let length: u64 = told.pieces.iter().map(Piece::length).sum();
            let alone = attached > INLINE_BYTES;
            let full = bytes + length > REQUEST_BYTES || self.single;
            if !taken.is_empty() && (alone || full) {
                self.left.push_front((id, rev));
                break;
            }
            if alone {
                let load = related(file, &view, id.clone(), rev)?;
                return Ok(load.map(|load| (load, vec![(id, rev)])));
            }
            if !taken.is_empty() {
                pieces.push(Piece::Text(Bytes::from_static(b",")));
            }
            bytes += length;
            pieces.extend(told.pieces);
            taken.push((id, rev));
        }
        if taken.is_empty() {
            return Ok(None);
        }
        pieces.push(Piece::Text(Bytes::from_static(b"]}")));
        let mut body = Vec::new();
        for piece in PieceProducer::at_once(view, pieces)? {
            body.extend_from_slice(&piece);
        }
        let load = Load::Bulk {
            sent: taken.iter().map(|(id, _)| id.clone()).collect(),
            body: body.into(),
        };
        Ok(Some((load, taken)))
    }
}

/// A revision with its attachments, and how many bytes these are. None when it was replaced meanwhile: then the feed has more.
fn told(
    view: &View,
    id: &DocumentId,
    rev: Rev,
    place: ContentPlace,
) -> Result<Option<(Revision, u64)>, StoreError> {
    let Some(row) = view.document(id.as_str())? else {
        return Ok(None);
    };
    let Some(leaf) = row.tree.leaf(rev) else {
        return Ok(None);
    };
    let attached = match leaf.body {
        Some(body) => view.attached(body)?,
        None => return Ok(None),
    };
    let bytes = attached.iter().map(|each| each.attachment.length).sum();
    let wish = Wish {
        attachments: AttachmentsWanted::All,
        encodings: match place {
            ContentPlace::Inline => Encodings::Undone,
            ContentPlace::Part => Encodings::Told,
        },
        place,
    };
    let extras = Extras {
        revisions: true,
        ..Extras::default()
    };
    let told = revision(view, &row, leaf, extras, &wish)?;
    Ok(Some((told, bytes)))
}

fn related(
    file: &Arc<DatabaseFile>,
    view: &View,
    id: DocumentId,
    rev: Rev,
) -> Result<Option<Load>, StoreError> {
    let Some((told, _)) = told(view, &id, rev, ContentPlace::Part)? else {
        return Ok(None);
    };
    let boundary = boundary()?;
    let mut pieces = Vec::new();
    push_related(told, &boundary, Encodings::Told, &mut pieces);
    let kind = HeaderValue::from_str(&boundary.content_type("related"))
        .map_err(|_| StoreError::Corrupt("a made boundary"))?;
    let bytes = pieces.iter().map(Piece::length).sum();
    let reader = Reader::Itself(Arc::clone(file));
    let made = produce(PieceProducer::new(pieces), Arc::clone(file), reader);
    let body = StreamBody::new(made.map(|piece| piece.map(Frame::data))).boxed_unsync();
    Ok(Some(Load::Related {
        id,
        kind,
        bytes,
        body,
    }))
}
