//! The answer to `_bulk_get`: many revisions, batch by batch, with the contents of attachments where they are wished for.

use std::sync::Arc;

use adyton_couch::document::write_json_text;
use adyton_couch::wire::{AttachmentsWanted, BulkGetItem, DocumentQuery};
use bytes::Bytes;
use serde_json::json;

use super::contents::{self, ContentPlace, Wish};
use super::pieces::{Piece, PieceProducer, PieceSource};
use super::read::{self, Extras};
use crate::store::StoreError;
use crate::store::database::{DatabaseFile, View};
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
    at: Place,
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
            at: Place::Start,
        }
    }

    /// Appends one item's answer.
    fn item(
        &self,
        view: &View,
        item: BulkGetItem,
        pieces: &mut Vec<Piece>,
    ) -> Result<(), StoreError> {
        let mut head: Vec<u8> = match self.at {
            Place::Start => b"{\"results\":[{\"id\":".to_vec(),
            Place::Items | Place::Done => b",{\"id\":".to_vec(),
        };
        write_json_text(item.id.as_str(), &mut head);
        head.extend_from_slice(b",\"docs\":[");
        pieces.push(Piece::Text(head.into()));
        let row = view.document(item.id.as_str())?.unwrap_or_default();
        let leaves = match item.rev {
            Some(rev) => read::found_for(&row, rev, self.latest),
            None => row.tree.winner().into_iter().collect(),
        };
        let mut wish = self.wish.clone();
        if let Some(since) = item.atts_since {
            wish.attachments = AttachmentsWanted::Since(since.0);
        }
        for (i, leaf) in leaves.iter().enumerate() {
            let opening: &'static [u8] = if i == 0 { b"{\"ok\":" } else { b",{\"ok\":" };
            pieces.push(Piece::Text(Bytes::from_static(opening)));
            let told = contents::revision(view, &row, *leaf, self.extras, &wish)?;
            pieces.extend(told.pieces);
            pieces.push(Piece::Text(Bytes::from_static(b"}")));
        }
        if leaves.is_empty() {
            let rev = item
                .rev
                .map_or_else(|| "undefined".to_owned(), |rev| rev.to_string());
            let error = json!({"error": {
                "id": item.id, "rev": rev, "error": "not_found", "reason": "missing",
            }});
            pieces.push(Piece::Text(error.to_string().into()));
        }
        pieces.push(Piece::Text(Bytes::from_static(b"]}")));
        Ok(())
    }
}

impl PieceSource for BulkGetSource {
    fn next_pieces(&mut self) -> Result<Option<PieceProducer>, StoreError> {
        if self.at == Place::Done {
            return Ok(None);
        }
        let view = self.file.view()?;
        let mut pieces = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES as u64 {
            let Some(item) = self.wanted.next() else {
                let end: &'static str = match self.at {
                    Place::Start => "{\"results\":[]}",
                    Place::Items | Place::Done => "]}",
                };
                pieces.push(Piece::Text(Bytes::from_static(end.as_bytes())));
                self.at = Place::Done;
                break;
            };
            let before = pieces.len();
            self.item(&view, item, &mut pieces)?;
            self.at = Place::Items;
            bytes += ITEM_BYTES + pieces.iter().skip(before).map(Piece::length).sum::<u64>();
        }
        let file = Arc::clone(&self.file);
        Ok(Some(PieceProducer::new(file, view, pieces)))
    }
}
