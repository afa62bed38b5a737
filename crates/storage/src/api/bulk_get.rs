//! The answer to `_bulk_get`: many revisions, batch by batch, with the contents of attachments where they are wished for.

use std::sync::Arc;

use adyton_couch::document::write_json_text;
use adyton_couch::rev_tree::Leaf;
use adyton_couch::wire::{AttachmentsWanted, BulkGetItem, DocumentQuery};
use bytes::Bytes;
use serde_json::json;

use super::contents::{self, ContentPlace, Wish};
use super::pieces::{Piece, PieceProducer, PieceSource};
use super::read::{self, Extras};
use crate::store::StoreError;
use crate::store::database::{DatabaseFile, View};
use crate::store::row::DocumentRow;
use crate::stream::BATCH_BYTES;

/// What an item counts for besides its documents, so that many small ones end a batch too.
const ITEM_BYTES: u64 = 100;

/// The answer under way.
pub(super) struct BulkGetSource {
    file: Arc<DatabaseFile>,
    wanted: std::vec::IntoIter<BulkGetItem>,
    extras: Extras,
    wish: Wish,
    latest: bool,
    /// An item that was begun, with the view that it was begun with. A document may have a thousand large leaves: they are never in
    /// memory together.
    under_way: Option<(UnderWay, Arc<View>)>,
    at: Place,
}

/// An item that is being told.
struct UnderWay {
    row: DocumentRow,
    leaves: std::vec::IntoIter<Leaf>,
    wish: Wish,
    told: bool,
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
    pub(super) fn new(
        file: Arc<DatabaseFile>,
        wanted: Vec<BulkGetItem>,
        query: &DocumentQuery,
    ) -> Self {
        Self {
            file,
            wanted: wanted.into_iter(),
            extras: Extras {
                revisions: query.revs,
                ..Extras::default()
            },
            wish: Wish {
                attachments: query.attachments.clone(),
                encodings: query.encodings,
                place: ContentPlace::Inline,
            },
            latest: query.latest,
            under_way: None,
            at: Place::Start,
        }
    }

    /// Begins the next item: what stands before its documents. None: there is none left.
    fn begin(
        &mut self,
        view: &View,
        pieces: &mut Vec<Piece>,
    ) -> Result<Option<UnderWay>, StoreError> {
        let Some(item) = self.wanted.next() else {
            return Ok(None);
        };
        let mut head: Vec<u8> = match self.at {
            Place::Start => b"{\"results\":[{\"id\":".to_vec(),
            Place::Items | Place::Done => b",{\"id\":".to_vec(),
        };
        self.at = Place::Items;
        write_json_text(item.id.as_str(), &mut head);
        head.extend_from_slice(b",\"docs\":[");
        let row = view.document(item.id.as_str())?.unwrap_or_default();
        let leaves = match item.rev {
            Some(rev) => read::found_for(&row, rev, self.latest),
            None => row.tree.winner().into_iter().collect(),
        };
        let mut wish = self.wish.clone();
        if let Some(since) = item.atts_since {
            wish.attachments = AttachmentsWanted::Since(since.0);
        }
        if leaves.is_empty() {
            let rev = item
                .rev
                .map_or_else(|| "undefined".to_owned(), |rev| rev.to_string());
            let error = json!({"error": {
                "id": item.id, "rev": rev, "error": "not_found", "reason": "missing",
            }});
            head.extend_from_slice(error.to_string().as_bytes());
        }
        pieces.push(Piece::Text(head.into()));
        Ok(Some(UnderWay {
            row,
            leaves: leaves.into_iter(),
            wish,
            told: false,
        }))
    }

    /// Appends the next document of an item. False: there was none left, and the item has ended.
    fn go_on(
        &self,
        view: &View,
        item: &mut UnderWay,
        pieces: &mut Vec<Piece>,
    ) -> Result<bool, StoreError> {
        let Some(leaf) = item.leaves.next() else {
            pieces.push(Piece::Text(Bytes::from_static(b"]}")));
            return Ok(false);
        };
        let opening: &'static [u8] = if item.told { b",{\"ok\":" } else { b"{\"ok\":" };
        item.told = true;
        pieces.push(Piece::Text(Bytes::from_static(opening)));
        let told = contents::revision(view, &item.row, leaf, self.extras, &item.wish)?;
        pieces.extend(told.pieces);
        pieces.push(Piece::Text(Bytes::from_static(b"}")));
        Ok(true)
    }
}

impl PieceSource for BulkGetSource {
    fn next_pieces(&mut self) -> Result<Option<PieceProducer>, StoreError> {
        if self.at == Place::Done {
            return Ok(None);
        }
        // What was begun is ended with what was seen then.
        let (mut item, view) = match self.under_way.take() {
            Some((item, view)) => (Some(item), view),
            None => (None, Arc::new(self.file.view()?)),
        };
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
                    item = self.begin(&view, &mut pieces)?;
                    bytes += ITEM_BYTES;
                    if item.is_none() {
                        let end: &'static str = match self.at {
                            Place::Start => "{\"results\":[]}",
                            Place::Items | Place::Done => "]}",
                        };
                        pieces.push(Piece::Text(Bytes::from_static(end.as_bytes())));
                        self.at = Place::Done;
                        break;
                    }
                }
            }
            bytes += pieces.iter().skip(before).map(Piece::length).sum::<u64>();
        }
        self.under_way = item.map(|item| (item, Arc::clone(&view)));
        let file = Arc::clone(&self.file);
        Ok(Some(PieceProducer::sharing(file, view, pieces)))
    }
}
