//! Long lists of documents, batch by batch: `_all_docs`.
//!
//! Guarantees: a batch looks at so many rows at most, told or not: a walk over many that nobody is told stops between them, and goes
//! on only if somebody still waits for it.

use adyton_couch::document::write_json_text;
use adyton_couch::rev_tree::Leaf;
use adyton_couch::seq::Seq;
use adyton_couch::wire::{AllDocsQuery, Among, DESIGN_IDS, KeyRange};
use bytes::Bytes;
use serde_json::json;

use super::contents::{self, ContentPlace, Wish};
use super::pieces::{Piece, PieceSource};
use super::read::Extras;
use crate::store::StoreError;
use crate::store::database::{DatabaseFile, View};
use crate::store::row::DocumentRow;
use crate::stream::BATCH_BYTES;

/// Rows of `_all_docs` that one stretch reads at most, deleted ones included.
const ROWS_PER_STRETCH: usize = 1_000;
/// Revisions that the trees of these rows may hold together: a tree may have thousands.
const REVISIONS_PER_STRETCH: usize = 100_000;
/// Rows that may be skipped without a turn: no more than a stretch.
const SKIPPED_FREELY: u64 = ROWS_PER_STRETCH as u64;
/// Stretches that one batch tells at most.
const STRETCHES_PER_BATCH: usize = 8;
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
    /// What stands around it, where it is one of several lists.
    around: (&'static str, &'static str),
}

/// The answer to `_all_docs/queries`: one list after the other.
pub(super) struct ListsSource {
    left: std::vec::IntoIter<AllDocsSource>,
    under_way: Option<AllDocsSource>,
    /// There was no list at all.
    empty: bool,
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
    pub(super) fn new(query: AllDocsQuery) -> Self {
        let from_the_start = query.range.start.is_none() && query.keys.is_none();
        let offset = from_the_start.then_some(query.skip);
        let (source, skip) = match query.keys {
            Some(mut keys) => {
                if query.descending {
                    keys.reverse();
                }
                let most = keys.len() as u64;
                let skipped = usize::try_from(query.skip.min(most)).unwrap_or(keys.len());
                keys.drain(..skipped);
                (Source::Keys(keys.into_iter()), 0)
            }
            None => (
                Source::Range(Walk::new(query.range, query.descending)),
                query.skip,
            ),
        };
        Self {
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
            skip,
            left: query.limit.unwrap_or(u64::MAX),
            at: Place::Start,
            offset,
            update_seq: query.update_seq,
            among: query.among,
            around: ("", ""),
        }
    }

    /// Whether so many rows are to be skipped that it takes a turn.
    pub(super) fn skips_many(&self) -> bool {
        self.skip > SKIPPED_FREELY
    }

    /// Skips some rows. May block, for a stretch.
    pub(super) fn skip_on(mut self, file: &DatabaseFile) -> Result<Self, StoreError> {
        let view = file.view()?;
        let (rows, end) = self.stretch(&view, None)?;
        for (_, id) in rows {
            // No more than a stretch is left after this one.
            self.skip = self.skip.saturating_sub(1);
            self.passed(id);
        }
        match end {
            End::Of(last) => self.passed(last),
            End::Keys => {}
            End::Everything => self.skip = 0,
        }
        Ok(self)
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
            "{}{{\"total_rows\":{total},\"offset\":{},",
            self.around.0,
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
        document: Option<&Document>,
        pieces: &mut Vec<Piece>,
    ) -> Result<(), StoreError> {
        let comma: &[u8] = if self.at == Place::Rows { b",\n" } else { b"" };
        self.at = Place::Rows;
        self.left -= 1;
        let mut head = comma.to_vec();
        let Some(Document { row, winner }) = document else {
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
                let told = contents::revision(view, row, *winner, self.extras, &self.wish)?;
                pieces.extend(told.pieces);
                pieces.push(Piece::Text(Bytes::from_static(b"}")));
                return Ok(());
            }
        }
        pieces.push(Piece::Text(head.into()));
        Ok(())
    }

    /// The next rows, and how far they go. A range is walked in short stretches, so that the walk may stop and go on anywhere. `last`
    /// is the row before, from the same view.
    fn stretch(&mut self, view: &View, last: Option<Row>) -> Result<Stretch, StoreError> {
        match &mut self.source {
            Source::Keys(keys) => match keys.next() {
                None => Ok((Vec::new(), End::Everything)),
                Some(key) => {
                    let document = match last.filter(|(_, id)| *id == key) {
                        Some((document, _)) => document,
                        None => view.document(&key)?.and_then(Document::of),
                    };
                    Ok((vec![(document, key)], End::Keys))
                }
            },
            Source::Range(walk) => walk.stretch(view),
        }
    }

    /// Goes on behind a row.
    fn passed(&mut self, id: String) {
        if let Source::Range(walk) = &mut self.source {
            walk.last = Some(id);
        }
    }

    /// Tells rows until the batch is full. True when there are no more.
    fn rows(&mut self, view: &View, pieces: &mut Vec<Piece>) -> Result<bool, StoreError> {
        let (mut bytes, mut stretches, mut last_row) = (0, 0, None);
        loop {
            let (rows, end) = self.stretch(view, last_row.take())?;
            for (document, id) in rows {
                if self.left == 0 {
                    return Ok(true);
                }
                if self.takes() {
                    let before = pieces.len();
                    self.row(view, &id, document.as_ref(), pieces)?;
                    bytes += ROW_BYTES + length(pieces, before);
                }
                match &self.source {
                    Source::Keys(_) => last_row = Some((document, id)),
                    Source::Range(_) => self.passed(id),
                }
                if bytes >= BATCH_BYTES as u64 {
                    return Ok(self.left == 0);
                }
            }
            match end {
                End::Everything => return Ok(true),
                End::Keys => continue,
                End::Of(last) => self.passed(last),
            }
            // Nothing was told, perhaps: that is enough for once.
            stretches += 1;
            if stretches >= STRETCHES_PER_BATCH {
                return Ok(self.left == 0);
            }
        }
    }
}

/// A document that is there, or not, and its id.
type Row = (Option<Document>, String);
/// Rows, and how far they go.
type Stretch = (Vec<Row>, End);

/// A document, and what is told of it. It is gone through once, however many rows it has.
struct Document {
    row: DocumentRow,
    winner: Leaf,
}

impl Document {
    fn of(row: DocumentRow) -> Option<Self> {
        let winner = row.tree.winner()?;
        Some(Self { row, winner })
    }
}

/// Where a stretch ends.
enum End {
    /// With this id, told or not.
    Of(String),
    /// With one of several keys.
    Keys,
    Everything,
}

impl PieceSource for AllDocsSource {
    fn next_pieces(&mut self, file: &DatabaseFile) -> Result<Option<Vec<Piece>>, StoreError> {
        if self.at == Place::Done {
            return Ok(None);
        }
        let view = file.view()?;
        let mut pieces = Vec::new();
        if self.at == Place::Start {
            pieces.push(Piece::Text(self.head(&view)?));
        }
        if self.left == 0 || self.rows(&view, &mut pieces)? {
            let end = format!("\n]}}{}", self.around.1);
            pieces.push(Piece::Text(end.into()));
            self.at = Place::Done;
        }
        Ok(Some(pieces))
    }

    fn is_complete(&self) -> bool {
        self.at == Place::Done
    }
}

impl ListsSource {
    pub(super) fn new(lists: Vec<AllDocsSource>) -> Self {
        let last = lists.len().saturating_sub(1);
        let lists = lists.into_iter().enumerate().map(|(i, mut list)| {
            list.around = (
                if i == 0 { "{\"results\":[\n" } else { ",\n" },
                if i == last { "\n]}" } else { "" },
            );
            list
        });
        let lists: Vec<AllDocsSource> = lists.collect();
        Self {
            empty: lists.is_empty(),
            left: lists.into_iter(),
            under_way: None,
        }
    }
}

impl PieceSource for ListsSource {
    fn next_pieces(&mut self, file: &DatabaseFile) -> Result<Option<Vec<Piece>>, StoreError> {
        if std::mem::take(&mut self.empty) {
            let nothing = Bytes::from_static(b"{\"results\":[]}");
            return Ok(Some(vec![Piece::Text(nothing)]));
        }
        loop {
            if let Some(list) = &mut self.under_way
                && let Some(pieces) = list.next_pieces(file)?
            {
                return Ok(Some(pieces));
            }
            self.under_way = self.left.next();
            if self.under_way.is_none() {
                return Ok(None);
            }
        }
    }

    fn is_complete(&self) -> bool {
        let all_told = self.under_way.as_ref().is_none_or(PieceSource::is_complete);
        all_told && self.left.as_slice().is_empty() && !self.empty
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

    /// The next living documents of the range.
    fn stretch(&self, view: &View) -> Result<Stretch, StoreError> {
        let mut range = self.range.clone();
        match (&self.last, self.descending) {
            (None, _) => {}
            (Some(last), false) => range.start = Some(last.clone()),
            (Some(last), true) => range.end = Some(last.clone()),
        }
        let mut rows = view.documents(&range)?;
        let mut found = Vec::new();
        let (mut revisions, mut read, mut end) = (0, 0, None);
        while read < ROWS_PER_STRETCH && revisions < REVISIONS_PER_STRETCH {
            let next = if self.descending {
                rows.next_back()
            } else {
                rows.next()
            };
            let Some(row) = next else {
                return Ok((found, End::Everything));
            };
            let (id, row) = row?;
            read += 1;
            revisions += row.tree.len();
            end = Some(id.clone());
            let passed = self.last.as_ref() == Some(&id) || self.excluded_end.as_ref() == Some(&id);
            let document = Document::of(row).filter(|document| !document.winner.deleted && !passed);
            if document.is_some() {
                found.push((document, id));
            }
        }
        Ok((found, end.map_or(End::Everything, End::Of)))
    }
}

/// Bytes of the pieces from one on.
fn length(pieces: &[Piece], from: usize) -> u64 {
    pieces.iter().skip(from).map(Piece::length).sum()
}
