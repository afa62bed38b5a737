//! What a feed tells of a range of changes: batches of rows, as far as one goes, each row as the query wants it.

use std::sync::Arc;

use adyton_couch::attachment::Encodings;
use adyton_couch::document::{on_one_line, write_json_text};
use adyton_couch::rev::Rev;
use adyton_couch::rev_tree::BodyRef;
use adyton_couch::selector::Selector;
use adyton_couch::seq::{Life, Seq};
use adyton_couch::wire::{AttachmentsWanted, ChangesQuery, Filter, Style, changes};
use bytes::Bytes;

use crate::api::contents::{self, ContentPlace, Wish};
use crate::api::pieces::Piece;
use crate::api::read::Extras;
use crate::store::StoreError;
use crate::store::database::View;
use crate::store::row::ChangeRow;
use crate::stream::BATCH_BYTES;

/// Rows that one batch reads at most.
const ROWS_PER_BATCH: usize = 2_000;
/// Bytes of a revision in a row, about: a row may name a thousand.
const REV_BYTES: usize = 45;
/// Bodies from this size on are handed over as they are, smaller ones are copied together.
const SHARE_FROM_BYTES: usize = 8 << 10;

/// How far a batch read.
#[derive(Clone, Copy)]
pub(super) struct Read {
    /// Where the reading ends.
    pub(super) newest: u64,
    pub(super) rows: u64,
    /// Where the last of them is.
    pub(super) last: Option<u64>,
    /// Told up to here (down to here, when descending).
    pub(super) cursor: u64,
    /// Nothing more in the range.
    pub(super) complete: bool,
}

/// One reading of a range of the feed.
pub(super) struct Reading {
    pub(super) query: Arc<ChangesQuery>,
    pub(super) life: Life,
    pub(super) after: u64,
    pub(super) up_to: u64,
    pub(super) left: u64,
    /// A row was told before.
    pub(super) comma: bool,
}

impl Reading {
    /// As many rows as a batch holds, and how far they go.
    pub(super) fn batch(mut self, view: &View) -> Result<(Read, Vec<Piece>), StoreError> {
        let mut pieces = Vec::new();
        let mut batch = Read {
            newest: self.up_to,
            rows: 0,
            last: None,
            cursor: self.after,
            complete: true,
        };
        // Text that was not yet handed over: small rows share a piece, and a row's end travels with the next row's start.
        let mut text = Vec::new();
        let mut bytes = 0;
        let mut rows = view.changes(self.after, self.up_to)?;
        let descending = self.query.descending;
        let mut next = || {
            if descending {
                rows.next_back()
            } else {
                rows.next()
            }
        };
        let mut read = 0;
        while let Some(row) = next() {
            if bytes >= BATCH_BYTES || read >= ROWS_PER_BATCH || batch.rows >= self.left {
                batch.complete = false;
                break;
            }
            let (seq, row) = row?;
            read += 1;
            batch.cursor = seq;
            let mut examined = 0;
            let wanted = self.wanted(view, &row, &mut examined)?;
            bytes = bytes.saturating_add(examined);
            if wanted.is_empty() {
                continue;
            }
            batch.rows += 1;
            batch.last = Some(seq);
            let told = self.row(view, seq, &row, &wanted, &mut text, &mut pieces)?;
            bytes = bytes.saturating_add(told);
        }
        // A completed range was seen to its end, even where rows were filtered or superseded.
        if batch.complete {
            batch.cursor = if descending {
                self.after.saturating_add(1)
            } else {
                self.up_to
            };
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text.into()));
        }
        Ok((batch, pieces))
    }

    /// The revisions of a row to tell; none when the row is not wanted. `examined` counts the bytes read to decide it.
    fn wanted(
        &self,
        view: &View,
        row: &ChangeRow,
        examined: &mut usize,
    ) -> Result<Vec<Rev>, StoreError> {
        let told = match self.query.style {
            Style::MainOnly => 1,
            Style::AllDocs => row.leaves.len(),
        };
        let is_wanted = match &self.query.filter {
            Filter::Everything => true,
            Filter::DocumentIds(ids) => ids.contains(&row.id),
            Filter::Designs => row.id.starts_with("_design/"),
            Filter::Selector(selector) => {
                return self.taken(view, row, selector, told, examined);
            }
        };
        Ok(match is_wanted {
            true => row.leaves.iter().take(told).copied().collect(),
            false => Vec::new(),
        })
    }

    /// Of the first `told` revisions of a row, those that the selector takes.
    fn taken(
        &self,
        view: &View,
        row: &ChangeRow,
        selector: &Selector,
        told: usize,
        examined: &mut usize,
    ) -> Result<Vec<Rev>, StoreError> {
        let mut takes = |body: Option<BodyRef>| -> Result<bool, StoreError> {
            let Some(body) = body else { return Ok(false) };
            let body = view.body(body)?;
            *examined += body.len();
            Ok(selector.takes(&body))
        };
        if told == 1 || row.leaves.len() == 1 {
            let taken = takes(row.body)?;
            return Ok(row
                .leaves
                .iter()
                .take(usize::from(taken))
                .copied()
                .collect());
        }
        let document = view.document(&row.id)?.unwrap_or_default();
        let mut revs = Vec::new();
        for leaf in document.tree.leaves() {
            if takes(leaf.body)? {
                revs.push(leaf.rev);
            }
        }
        Ok(revs)
    }

    fn row(
        &mut self,
        view: &View,
        seq: u64,
        row: &ChangeRow,
        wanted: &[Rev],
        text: &mut Vec<u8>,
        pieces: &mut Vec<Piece>,
    ) -> Result<usize, StoreError> {
        let feed = self.query.feed;
        if feed == changes::Feed::EventSource {
            text.extend_from_slice(b"data: ");
        } else if self.comma && !feed.is_endless() {
            text.extend_from_slice(b",\n");
        }
        self.comma = true;
        let seq = Seq {
            number: seq,
            life: self.life,
        };
        text.extend_from_slice(format!("{{\"seq\":\"{seq}\",\"id\":").as_bytes());
        write_json_text(&row.id, text);
        text.extend_from_slice(b",\"changes\":[");
        for (i, rev) in wanted.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            text.extend_from_slice(format!("{comma}{{\"rev\":\"{rev}\"}}").as_bytes());
        }
        text.push(b']');
        if row.deleted {
            text.extend_from_slice(b",\"deleted\":true");
        }
        let mut bytes = 100 + REV_BYTES * wanted.len();
        if self.query.include_docs {
            text.extend_from_slice(b",\"doc\":");
            match row.body {
                None => text.extend_from_slice(b"null"),
                Some(_) if self.tells_attachments() => {
                    pieces.push(Piece::Text(std::mem::take(text).into()));
                    bytes += self.with_attachments(view, row, pieces)?;
                }
                Some(body) => {
                    let mut body = view.body(body)?;
                    if feed.is_endless() {
                        body = one_line(body);
                    }
                    bytes += body.len();
                    let conflicts = self.conflicts(view, row)?;
                    let end = body.len() - usize::from(conflicts.is_some());
                    if body.len() < SHARE_FROM_BYTES {
                        text.extend_from_slice(body.get(..end).unwrap_or_default());
                    } else {
                        pieces.push(Piece::Text(std::mem::take(text).into()));
                        pieces.push(Piece::Text(body.slice(..end)));
                    }
                    if let Some(conflicts) = conflicts {
                        text.extend_from_slice(conflicts.as_bytes());
                    }
                }
            }
        }
        text.push(b'}');
        match feed {
            changes::Feed::Continuous => text.push(b'\n'),
            changes::Feed::EventSource => {
                text.extend_from_slice(format!("\nid: \"{seq}\"\n\n").as_bytes());
            }
            changes::Feed::Normal | changes::Feed::Longpoll => {}
        }
        Ok(bytes)
    }

    /// Whether documents are told otherwise than they are stored.
    fn tells_attachments(&self) -> bool {
        self.query.attachments != AttachmentsWanted::Stubs
            || self.query.encodings != Encodings::Undone
    }

    /// Appends the winner with its attachments as they are wished for, and counts its bytes.
    fn with_attachments(
        &self,
        view: &View,
        row: &ChangeRow,
        pieces: &mut Vec<Piece>,
    ) -> Result<usize, StoreError> {
        const LOST: StoreError = StoreError::Corrupt("a change of a document that is not there");
        let document = view.document(&row.id)?.ok_or(LOST)?;
        let winner = document.tree.winner().ok_or(LOST)?;
        let extras = Extras {
            conflicts: self.query.conflicts,
            ..Extras::default()
        };
        let wish = Wish {
            attachments: self.query.attachments.clone(),
            encodings: self.query.encodings,
            place: ContentPlace::Inline,
        };
        let told = contents::revision(view, &document, winner, extras, &wish)?;
        let mut bytes: u64 = 0;
        for piece in told.pieces {
            bytes = bytes.saturating_add(piece.length());
            pieces.push(match piece {
                Piece::Text(text) if self.query.feed.is_endless() => Piece::Text(one_line(text)),
                piece => piece,
            });
        }
        Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// `,"_conflicts":[…]}` to end a document with, when asked for and there are any.
    fn conflicts(&self, view: &View, row: &ChangeRow) -> Result<Option<String>, StoreError> {
        if !self.query.conflicts || row.leaves.len() < 2 {
            return Ok(None);
        }
        let document = view.document(&row.id)?.unwrap_or_default();
        let conflicts = document.tree.conflicts();
        Ok((!conflicts.is_empty())
            .then(|| format!(",\"_conflicts\":{}}}", serde_json::json!(conflicts))))
    }
}

/// Documents stored by earlier versions may have line breaks between their values.
fn one_line(body: Bytes) -> Bytes {
    if !body.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
        return body;
    }
    let mut text = body.to_vec();
    on_one_line(&mut text);
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_of_an_earlier_version_is_told_on_one_line() {
        let stored = Bytes::from_static(b"{\"_id\":\"x\",\"a\":[\r\n1],\"b\":\"\\n\"}");
        assert_eq!(
            one_line(stored),
            Bytes::from_static(b"{\"_id\":\"x\",\"a\":[  1],\"b\":\"\\n\"}")
        );
    }
}
