//! Long lists of documents, batch by batch: `_all_docs`.

use std::sync::Arc;

use adyton_couch::document::write_json_text;
use adyton_couch::seq::Seq;
use adyton_couch::wire::{AllDocsQuery, Among, DESIGN_IDS, KeyRange};
use bytes::Bytes;
use serde_json::json;

use super::contents::{self, ContentPlace, Wish};
use super::pieces::{Piece, PieceProducer, PieceSource};
use super::read::Extras;
use crate::store::StoreError;
use crate::store::database::{DatabaseFile, View};
use crate::store::row::DocumentRow;
use crate::stream::BATCH_BYTES;

/// Rows of `_all_docs` that one batch reads at most.
const ROWS_PER_BATCH: usize = 1_000;
/// Revisions that the trees of these rows may hold together: a tree may have thousands.
const REVISIONS_PER_BATCH: usize = 100_000;
/// What a row counts for besides its documents, so that many small rows end a batch too.
const ROW_BYTES: u64 = 100;

/// How far an answer is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    /// At least one row was told.
    Rows,
    Done,
}

/// The answer to `_all_docs`.
pub(super) struct AllDocsSource {
    file: Arc<DatabaseFile>,
    source: Source,
    include_docs: bool,
    extras: Extras,
    wish: Wish,
    /// Rows to leave out before the first.
    skip: u64,
    /// Rows that may still be told.
    left: u64,
    at: Place,
    /// Tells nothing of where a range begins.
    offset: Option<u64>,
    /// With the position of the feed.
    update_seq: bool,
    among: Among,
}

/// Where the rows come from.
enum Source {
    Keys(std::vec::IntoIter<String>),
    Range(Walk),
}

/// A walk over a range of ids, in one direction, interrupted after each batch.
struct Walk {
    /// In ascending order, whatever the direction.
    range: KeyRange,
    /// Ids at which the walk does not stop: the excluded end, and the last id told.
    excluded_end: Option<String>,
    last: Option<String>,
    descending: bool,
}

impl AllDocsSource {
    pub(super) fn new(file: Arc<DatabaseFile>, query: AllDocsQuery) -> Self {
        let from_the_start = query.range.start.is_none() && query.keys.is_none();
        let offset = from_the_start.then_some(query.skip);
        let source = match query.keys {
            Some(keys) => Source::Keys(keys.into_iter()),
            None => Source::Range(Walk::new(query.range, query.descending)),
        };
        Self {
            file,
            source,
            include_docs: query.include_docs,
            extras: Extras {
                conflicts: query.conflicts,
                ..Extras::default()
            },
            wish: Wish {
                attachments: query.attachments,
                encodings: query.encodings,
                place: ContentPlace::Inline,
            },
            skip: query.skip,
            left: query.limit.unwrap_or(u64::MAX),
            at: Place::Start,
            offset,
            update_seq: query.update_seq,
            among: query.among,
        }
    }

    /// What stands before the rows.
    fn head(&self, view: &View) -> Result<Bytes, StoreError> {
        let total = match self.among {
            Among::Everything => view.counters.documents,
            Among::Designs => {
                let range = KeyRange {
                    start: Some(DESIGN_IDS.0.to_owned()),
                    end: Some(DESIGN_IDS.1.to_owned()),
                    exclusive_end: true,
                };
                let mut living = 0;
                for row in view.documents(&range)? {
                    let winner = row?.1.tree.winner();
                    living += u64::from(winner.is_some_and(|leaf| !leaf.deleted));
                }
                living
            }
        };
        let mut head = format!(
            "{{\"total_rows\":{total},\"offset\":{},",
            json!(self.offset)
        );
        if self.update_seq {
            let seq = Seq {
                number: view.counters.update_seq,
                life: view.counters.life(),
            };
            head.push_str(&format!("\"update_seq\":\"{seq}\","));
        }
        head.push_str("\"rows\":[\n");
        Ok(head.into())
    }

    /// Counts a row: whether it is told.
    fn takes(&mut self) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        true
    }

    fn row(
        &mut self,
        view: &View,
        id: &str,
        row: Option<&DocumentRow>,
        pieces: &mut Vec<Piece>,
    ) -> Result<(), StoreError> {
        let comma: &[u8] = if self.at == Place::Rows { b",\n" } else { b"" };
        self.at = Place::Rows;
        self.left -= 1;
        let mut head = comma.to_vec();
        let Some((row, winner)) = row.and_then(|row| Some((row, row.tree.winner()?))) else {
            head.extend_from_slice(b"{\"key\":");
            write_json_text(id, &mut head);
            head.extend_from_slice(b",\"error\":\"not_found\"}");
            pieces.push(Piece::Text(head.into()));
            return Ok(());
        };
        head.extend_from_slice(b"{\"id\":");
        write_json_text(id, &mut head);
        head.extend_from_slice(b",\"key\":");
        write_json_text(id, &mut head);
        let deleted = if winner.deleted {
            ",\"deleted\":true"
        } else {
            ""
        };
        head.extend_from_slice(
            format!(",\"value\":{{\"rev\":\"{}\"{deleted}}}", winner.rev).as_bytes(),
        );
        match (self.include_docs, winner.deleted) {
            (false, _) => head.push(b'}'),
            (true, true) => head.extend_from_slice(b",\"doc\":null}"),
            (true, false) => {
                head.extend_from_slice(b",\"doc\":");
                pieces.push(Piece::Text(head.into()));
                let told = contents::revision(view, row, winner, self.extras, &self.wish)?;
                pieces.extend(told.pieces);
                pieces.push(Piece::Text(Bytes::from_static(b"}")));
                return Ok(());
            }
        }
        pieces.push(Piece::Text(head.into()));
        Ok(())
    }

    /// Tells rows until the batch is full. True when there are no more.
    fn rows(&mut self, view: &View, pieces: &mut Vec<Piece>) -> Result<bool, StoreError> {
        let mut bytes = 0;
        loop {
            // A range is walked in short stretches, so that the walk may stop and go on anywhere.
            let stretch = match &mut self.source {
                Source::Keys(keys) => match keys.next() {
                    None => return Ok(true),
                    Some(key) => vec![(view.document(&key)?, key)],
                },
                Source::Range(walk) => walk.stretch(view)?,
            };
            if stretch.is_empty() {
                return Ok(true);
            }
            for (row, id) in stretch {
                if self.left == 0 {
                    return Ok(true);
                }
                if self.takes() {
                    let before = pieces.len();
                    self.row(view, &id, row.as_ref(), pieces)?;
                    bytes += ROW_BYTES + length(pieces, before);
                }
                if let Source::Range(walk) = &mut self.source {
                    walk.last = Some(id);
                }
                if bytes >= BATCH_BYTES as u64 {
                    return Ok(self.left == 0);
                }
            }
        }
    }
}

impl PieceSource for AllDocsSource {
    fn next_pieces(&mut self) -> Result<Option<PieceProducer>, StoreError> {
        if self.at == Place::Done {
            return Ok(None);
        }
        let file = Arc::clone(&self.file);
        let view = file.view()?;
        let mut pieces = Vec::new();
        if self.at == Place::Start {
            pieces.push(Piece::Text(self.head(&view)?));
        }
        if self.left == 0 || self.rows(&view, &mut pieces)? {
            pieces.push(Piece::Text(Bytes::from_static(b"\n]}")));
            self.at = Place::Done;
        }
        Ok(Some(PieceProducer::new(file, view, pieces)))
    }
}

impl Walk {
    fn new(mut range: KeyRange, descending: bool) -> Self {
        let excluded_end = if range.exclusive_end {
            range.end.clone()
        } else {
            None
        };
        range.exclusive_end = false;
        if descending {
            std::mem::swap(&mut range.start, &mut range.end);
        }
        Self {
            range,
            excluded_end,
            last: None,
            descending,
        }
    }

    /// The next living documents of the range, each with its id. None when the walk is over.
    fn stretch(&self, view: &View) -> Result<Vec<(Option<DocumentRow>, String)>, StoreError> {
        let mut range = self.range.clone();
        match (&self.last, self.descending) {
            (None, _) => {}
            (Some(last), false) => range.start = Some(last.clone()),
            (Some(last), true) => range.end = Some(last.clone()),
        }
        let mut rows = view.documents(&range)?;
        let mut found = Vec::new();
        let mut revisions = 0;
        while found.len() < ROWS_PER_BATCH && revisions < REVISIONS_PER_BATCH {
            let next = if self.descending {
                rows.next_back()
            } else {
                rows.next()
            };
            let Some(row) = next else { break };
            let (id, row) = row?;
            let passed = self.last.as_ref() == Some(&id) || self.excluded_end.as_ref() == Some(&id);
            if !passed && row.tree.winner().is_some_and(|winner| !winner.deleted) {
                revisions += row.tree.len();
                found.push((Some(row), id));
            }
        }
        Ok(found)
    }
}

/// Bytes of the pieces from one on.
fn length(pieces: &[Piece], from: usize) -> u64 {
    pieces.iter().skip(from).map(Piece::length).sum()
}
