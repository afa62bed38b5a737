//! The answer to `_bulk_get`: many revisions, batch by batch, with the contents of attachments where they are wished for.

use std::collections::VecDeque;
use std::sync::Arc;

use adyton_couch::document::write_json_text;
use adyton_couch::rev_tree::Leaf;
use adyton_couch::wire::{AttachmentsWanted, BulkGetItem, DocumentQuery, WrongItem};
use bytes::Bytes;
use serde_json::json;

use super::contents::{self, Wish, text};
use super::open_revs::Form;
use super::pieces::{Piece, PieceSource};
use super::read::{self, Extras};
use crate::store::StoreError;
use crate::store::database::{DatabaseFile, View};
use crate::store::row::DocumentRow;
use crate::stream::BATCH_BYTES;

/// What an item counts for besides its documents, so that many small ones end a batch too.
const ITEM_BYTES: u64 = 100;

/// What is asked for, or why it is nothing.
type Wanted = Result<BulkGetItem, WrongItem>;

/// The answer under way.
pub(super) struct BulkGetSource {
    wanted: std::vec::IntoIter<Wanted>,
    extras: Extras,
    wish: Wish,
    latest: bool,
    form: Form,
    /// An item that was begun. A document may have a thousand large leaves: they are never in memory together.
    under_way: Option<UnderWay>,
    at: Place,
}

/// An item that is being told.
struct UnderWay {
    document: Document,
    leaves: VecDeque<Leaf>,
    /// A leaf that is replaced while others are told is followed.
    follow: bool,
    wish: Wish,
    told: bool,
}

/// A document as it is read for a batch. Items that follow each other and name the same one read it once.
#[derive(Clone, Default)]
struct Document {
    id: String,
    row: Arc<DocumentRow>,
}

impl Document {
    fn read(view: &View, id: &str) -> Result<Self, StoreError> {
        let row = view.document(id)?.unwrap_or_default();
        Ok(Self {
            id: id.to_owned(),
            row: Arc::new(row),
        })
    }
}

/// How far the answer is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    /// At least one item was told.
    Items,
    Done,
}

impl BulkGetSource {
    pub(super) fn new(wanted: Vec<Wanted>, query: &DocumentQuery, form: Form) -> Self {
        Self {
            wanted: wanted.into_iter(),
            extras: Extras {
                revisions: query.revs,
                ..Extras::default()
            },
            wish: Wish {
                attachments: form.contents(&query.attachments),
                encodings: query.encodings,
                place: form.content_place(),
            },
            latest: query.latest,
            form,
            under_way: None,
            at: Place::Start,
        }
    }

    /// Begins the next item: what stands before its documents. None: there is none left.
    fn begin(
        &mut self,
        view: &View,
        last: &mut Option<Document>,
        pieces: &mut Vec<Piece>,
    ) -> Result<Option<UnderWay>, StoreError> {
        let Some(item) = self.wanted.next() else {
            return Ok(None);
        };
        if let Form::List = self.form {
            let mut head: Vec<u8> = match self.at {
                Place::Start => b"{\"results\":[{\"id\":".to_vec(),
                Place::Items | Place::Done => b",{\"id\":".to_vec(),
            };
            self.at = Place::Items;
            match &item {
                Ok(item) => write_json_text(item.id.as_str(), &mut head),
                Err(wrong) => head.extend_from_slice(json!(wrong.id).to_string().as_bytes()),
            }
            head.extend_from_slice(b",\"docs\":[");
            pieces.push(Piece::Text(head.into()));
        }
        let item = match item {
            Ok(item) => item,
            Err(wrong) => {
                let WrongItem { id, rev, refusal } = wrong;
                let (error, reason) = (refusal.kind.name(), refusal.reason);
                let error = json!({"id": id, "rev": rev, "error": error, "reason": reason});
                self.missing(&error, pieces);
                return Ok(Some(UnderWay {
                    document: Document::default(),
                    leaves: VecDeque::new(),
                    follow: false,
                    wish: Wish::default(),
                    told: true,
                }));
            }
        };
        let document = match last.take().filter(|last| last.id == item.id.as_str()) {
            Some(document) => document,
            None => Document::read(view, item.id.as_str())?,
        };
        *last = Some(document.clone());
        let leaves = read::named(&document.row, item.rev, self.latest);
        let mut wish = self.wish.clone();
        if let Some(since) = item.atts_since {
            wish.attachments = AttachmentsWanted::Since(since);
        }
        if leaves.is_empty() {
            let rev = item
                .rev
                .map_or_else(|| "undefined".to_owned(), |rev| rev.to_string());
            let error = json!({
                "id": item.id, "rev": rev, "error": "not_found", "reason": "missing",
            });
            self.missing(&error, pieces);
        }
        Ok(Some(UnderWay {
            document,
            leaves: leaves.into(),
            follow: self.latest || item.rev.is_none(),
            wish,
            told: false,
        }))
    }

    /// Tells that there is nothing of an item.
    fn missing(&mut self, error: &serde_json::Value, pieces: &mut Vec<Piece>) {
        match &self.form {
            Form::List => {
                let error = json!({ "error": error });
                pieces.push(text(error.to_string().as_bytes()));
            }
            Form::Parts(parts) => {
                let first = self.at == Place::Start;
                pieces.push(parts.before(first, "application/json; error=\"true\""));
                pieces.push(text(error.to_string().as_bytes()));
            }
        }
        self.at = Place::Items;
    }

    /// Appends the next document of an item. False: there was none left, and the item has ended.
    fn go_on(
        &mut self,
        view: &View,
        item: &mut UnderWay,
        pieces: &mut Vec<Piece>,
    ) -> Result<bool, StoreError> {
        let Some(chosen) = item.leaves.pop_front() else {
            if let Form::List = self.form {
                pieces.push(Piece::Text(Bytes::from_static(b"]}")));
            }
            return Ok(false);
        };
        let row = &item.document.row;
        let mut found = read::found_for(row, chosen.rev, item.follow).into_iter();
        let Some(leaf) = found.next() else {
            // Replaced since the last batch.
            if item.told && matches!(self.form, Form::List) {
                pieces.push(Piece::Text(Bytes::from_static(b",")));
            }
            let error = json!({
                "id": item.document.id, "rev": chosen.rev, "error": "not_found", "reason": "missing",
            });
            self.missing(&error, pieces);
            item.told = true;
            return Ok(true);
        };
        for other in found.rev() {
            item.leaves.push_front(other);
        }
        let told = contents::revision(view, row, leaf, self.extras, &item.wish)?;
        match &self.form {
            Form::List => {
                let opening: &'static [u8] = if item.told { b",{\"ok\":" } else { b"{\"ok\":" };
                pieces.push(Piece::Text(Bytes::from_static(opening)));
                pieces.extend(told.pieces);
                pieces.push(Piece::Text(Bytes::from_static(b"}")));
            }
            Form::Parts(parts) => {
                parts.push(self.at == Place::Start, told, self.wish.encodings, pieces)?;
            }
        }
        item.told = true;
        self.at = Place::Items;
        Ok(true)
    }

    /// What stands behind the last item.
    fn end(&self) -> Piece {
        match (&self.form, self.at) {
            (Form::List, Place::Start) => text(b"{\"results\":[]}"),
            (Form::List, Place::Items | Place::Done) => text(b"]}"),
            (Form::Parts(parts), Place::Start) => parts.nothing(),
            (Form::Parts(parts), Place::Items | Place::Done) => parts.end(),
        }
    }
}

impl PieceSource for BulkGetSource {
    fn next_pieces(&mut self, file: &DatabaseFile) -> Result<Option<Vec<Piece>>, StoreError> {
        if self.at == Place::Done {
            return Ok(None);
        }
        let view = file.view()?;
        let mut last = None;
        let mut item = self.under_way.take();
        if let Some(under_way) = &mut item {
            // What of it was replaced since the last batch is not told as if it were there.
            under_way.document = Document::read(&view, &under_way.document.id)?;
        }
        let mut pieces = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES as u64 {
            let before = pieces.len();
            match &mut item {
                Some(under_way) => {
                    if !self.go_on(&view, under_way, &mut pieces)? {
                        item = None;
                    }
                }
                None => {
                    item = self.begin(&view, &mut last, &mut pieces)?;
                    bytes += ITEM_BYTES;
                    if item.is_none() {
                        pieces.push(self.end());
                        self.at = Place::Done;
                        break;
                    }
                }
            }
            bytes += pieces.iter().skip(before).map(Piece::length).sum::<u64>();
        }
        self.under_way = item;
        Ok(Some(pieces))
    }

    fn is_complete(&self) -> bool {
        self.at == Place::Done
    }
}
