//! Mango queries over one database: documents are come by through a stored index (ADR 29), or one by one in the order of their ids,
//! within bounds.
//!
//! Guarantees: what is told fulfils the query at the moment it is told; the order is the index', the page ends where its
//! bookmark says; a query that would look at more than the node allows is refused as a whole, never cut short. Which way is gone
//! changes nothing of the answer: what a stored index does not have yet is looked at one by one.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use adyton_couch::mango::{Bookmark, Direction, FindQuery, Index, MAX_INDEXES, Place, Plan};
use adyton_couch::rev_tree::{BodyRef, Leaf};
use adyton_couch::wire::{CouchError, DESIGN_IDS, ErrorKind, KeyRange};
use bytes::Bytes;
use serde_json::json;

use crate::api::read::{self, Extras};
use crate::config::Limits;
use crate::databases::DatabaseError;
use crate::finds::Kept;
use crate::indexing::{self, Step, Stride};
use crate::store::StoreError;
use crate::store::database::{DatabaseFile, View};
use crate::store::indexes::{IndexRow, StoredIndexes};
use crate::store::row::DocumentRow;
use crate::stream::{BATCH_BYTES, Producer};

/// Bytes of the places of one page: what is held while the order is made.
const MAX_PAGE_BYTES: usize = 32 << 20;

/// Design documents that are looked through for indexes, deleted ones among them, and bytes of those that are there.
const MAX_DESIGNS: usize = 20_000;
const MAX_DESIGNS_BYTES: usize = 64 << 20;

/// The indexes of a database, the one that every database has first. Blocking.
pub(crate) fn indexes(view: &View) -> Result<Vec<Index>, DatabaseError> {
    let mut found = vec![Index::all_docs()];
    let range = KeyRange {
        start: Some(DESIGN_IDS.0.to_owned()),
        end: Some(DESIGN_IDS.1.to_owned()),
        exclusive_end: true,
    };
    let mut read = 0;
    for (n, row) in view.documents(&range)?.enumerate() {
        if n >= MAX_DESIGNS || read > MAX_DESIGNS_BYTES {
            let reason =
                "The database has too many design documents, deleted ones among them: purge some.";
            return Err(CouchError::new(ErrorKind::TooLarge, reason).into());
        }
        let (id, row) = row?;
        let Some(body) = living(&row).and_then(|leaf| leaf.body) else {
            continue;
        };
        let text = view.body(body)?;
        read += text.len();
        found.extend(Index::in_design(&id, &text));
        if found.len() >= MAX_INDEXES {
            found.truncate(MAX_INDEXES);
            break;
        }
    }
    Ok(found)
}

/// The winner, if the document is there.
pub(crate) fn living(row: &DocumentRow) -> Option<Leaf> {
    row.tree.winner().filter(|leaf| !leaf.deleted)
}

/// The documents of one page, in order.
pub(crate) struct Page {
    places: BTreeSet<Place>,
    direction: Direction,
    bytes: usize,
    /// Rows of the index looked at.
    keys: u64,
    /// Documents looked at.
    examined: u64,
    warning: Option<String>,
    bookmark: String,
}

/// How documents are come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// One by one, by their ids.
    ById,
    /// By the rows of an index, and one by one what it does not have yet.
    ByIndex,
}

impl Way {
    /// The way that looks at less.
    pub(crate) fn of(plan: &Plan<'_>, query: &FindQuery) -> Self {
        let one = match Plan::id_range(query) {
            (Some(least), Some(greatest)) => least >= greatest,
            _ => false,
        };
        match one || plan.index.is_all_docs() {
            true => Self::ById,
            false => Self::ByIndex,
        }
    }
}

/// What a query had better do first: nothing, or a step towards an up-to-date index, when more than `most` documents are not in it.
/// Blocking.
pub(crate) fn next_step(
    stored: &(View, StoredIndexes),
    query: &FindQuery,
    most: u64,
    stride: Stride,
) -> Result<Option<Step>, DatabaseError> {
    let indexes = indexes(&stored.0)?;
    let plan = Plan::of(query, &indexes)?;
    match is_behind(stored, query, &plan, most)? {
        true => Ok(Some(Step::next(stored, plan.index, &indexes, stride)?)),
        false => Ok(None),
    }
}

/// Whether there is such a step. Blocking.
pub(crate) fn lags(
    stored: &(View, StoredIndexes),
    query: &FindQuery,
    most: u64,
) -> Result<bool, DatabaseError> {
    let indexes = indexes(&stored.0)?;
    let plan = Plan::of(query, &indexes)?;
    Ok(is_behind(stored, query, &plan, most)?)
}

fn is_behind(
    stored: &(View, StoredIndexes),
    query: &FindQuery,
    plan: &Plan<'_>,
    most: u64,
) -> Result<bool, StoreError> {
    match Way::of(plan, query) {
        Way::ByIndex if query.limit > 0 => indexing::lags(stored, plan.index, most),
        Way::ById | Way::ByIndex => Ok(false),
    }
}

/// Finds the documents that answer a query. Blocking.
pub(crate) fn page(
    (view, stored): &(View, StoredIndexes),
    query: &FindQuery,
    limits: &Limits,
) -> Result<Page, DatabaseError> {
    let indexes = indexes(view)?;
    let plan = Plan::of(query, &indexes)?;
    let way = Way::of(&plan, query);
    let found = page_by(way, (view, stored), query, &plan, limits);
    match (found, Plan::id_range(query)) {
        // By ids it may be less, and then it is answered.
        (Err(DatabaseError::Refused(refusal)), (Some(_), _) | (_, Some(_)))
            if way == Way::ByIndex && refusal.kind == ErrorKind::TooLarge =>
        {
            page_by(Way::ById, (view, stored), query, &plan, limits)
        }
        (found, _) => found,
    }
}

pub(crate) fn page_by(
    way: Way,
    (view, stored): (&View, &StoredIndexes),
    query: &FindQuery,
    plan: &Plan<'_>,
    limits: &Limits,
) -> Result<Page, DatabaseError> {
    let after = match &query.bookmark {
        None => None,
        Some(bookmark) => Some(
            bookmark
                .place_in(plan.index)
                .map_err(|_| CouchError::invalid_bookmark())?,
        ),
    };
    let page = Page {
        places: BTreeSet::new(),
        direction: plan.direction,
        bytes: 0,
        keys: 0,
        examined: 0,
        warning: plan.warning.clone(),
        bookmark: query
            .bookmark
            .as_ref()
            .map_or_else(|| "nil".to_owned(), Bookmark::to_string),
    };
    let mut search = Search {
        view,
        query,
        plan,
        after,
        wanted: query.skip.saturating_add(query.limit),
        limits,
        walked: 0,
        read: 0,
        page,
    };
    match way {
        Way::ById | Way::ByIndex if query.limit == 0 => {}
        Way::ById => search.by_id()?,
        Way::ByIndex => search.by_index(stored)?,
    }
    let mut page = search.page;
    for _ in 0..query.skip {
        if page.take_first().is_none() {
            break;
        }
    }
    if let Some(last) = page.last() {
        page.bookmark = Bookmark::after(plan.index, last.clone()).to_string();
    }
    Ok(page)
}

/// A page that is being filled.
struct Search<'s> {
    view: &'s View,
    query: &'s FindQuery,
    plan: &'s Plan<'s>,
    /// Where the page before ended.
    after: Option<&'s Place>,
    /// Documents of the page, and those that are left out before.
    wanted: u64,
    limits: &'s Limits,
    /// Documents and rows come by, and bytes of documents looked at.
    walked: u64,
    read: u64,
    page: Page,
}

impl Search<'_> {
    fn by_id(&mut self) -> Result<(), DatabaseError> {
        let in_order = self.plan.index.is_all_docs();
        let (start, end) = Plan::id_range(self.query);
        let mut range = KeyRange {
            start,
            end,
            exclusive_end: false,
        };
        // Where documents are met in the order of the answer, the page begins at its bookmark and ends when it is full.
        match (self.after, self.plan.direction) {
            (Some(after), Direction::Ascending) if in_order => {
                range.start = range.start.max(Some(after.id.clone()));
            }
            (Some(after), Direction::Descending) if in_order => {
                let end = range.end.take();
                range.end = Some(end.map_or(after.id.clone(), |end| end.min(after.id.clone())));
            }
            _ => {}
        }
        let mut rows = self.view.documents(&range)?;
        loop {
            let next = match self.plan.direction {
                Direction::Ascending => rows.next(),
                Direction::Descending => rows.next_back(),
            };
            let Some(row) = next else { return Ok(()) };
            let (id, row) = row?;
            self.walk()?;
            let Some(body) = living(&row).and_then(|leaf| leaf.body) else {
                continue;
            };
            self.look_at(&id, body)?;
            if in_order && self.page.places.len() as u64 == self.wanted {
                return Ok(());
            }
        }
    }

    fn by_index(&mut self, stored: &StoredIndexes) -> Result<(), DatabaseError> {
        let standing = stored.standing(self.plan.index)?;
        let (least, greatest) = Plan::id_range(self.query);
        let is_within = |id: &str| {
            least.as_deref().is_none_or(|least| least <= id)
                && greatest.as_deref().is_none_or(|greatest| id <= greatest)
        };
        // What the index does not have yet, or has as it was.
        let mut changed = HashSet::new();
        let built = standing.map_or(0, |standing| standing.built);
        for row in self.view.changes(built, self.view.counters.update_seq)? {
            let (_, row) = row?;
            self.walk()?;
            if let Some(body) = row.body.filter(|_| !row.deleted && is_within(&row.id)) {
                self.look_at(&row.id, body)?;
            }
            if standing.is_some() {
                self.page.bytes += row.id.len() + PLACE_BYTES;
                self.fits()?;
                changed.insert(row.id);
            }
        }
        let Some(standing) = standing else {
            return Ok(());
        };
        let span = self.plan.span(self.query);
        for row in stored.rows(standing, &span, self.plan.direction, self.after)? {
            let IndexRow { place, body } = row?;
            let full = self.page.places.len() as u64 == self.wanted;
            if full
                && self
                    .page
                    .last()
                    .is_some_and(|last| self.is_after(&place, last))
            {
                return Ok(());
            }
            self.page.keys += 1;
            self.walk()?;
            if changed.contains(&place.id) || !is_within(&place.id) {
                continue;
            }
            let body = self.body(body)?;
            if self.query.selector.takes(&body) {
                self.add(place)?;
            }
        }
        Ok(())
    }

    /// Counts a document or a row that is come by.
    fn walk(&mut self) -> Result<(), DatabaseError> {
        self.walked += 1;
        match self.walked > self.limits.find_documents {
            true => Err(too_much("documents")),
            false => Ok(()),
        }
    }

    fn body(&mut self, body: BodyRef) -> Result<Bytes, DatabaseError> {
        let body = self.view.body(body)?;
        self.page.examined += 1;
        self.read += body.len() as u64;
        match self.read > self.limits.find_bytes {
            true => Err(too_much("bytes")),
            false => Ok(body),
        }
    }

    /// Takes a document, if it is an answer.
    fn look_at(&mut self, id: &str, body: BodyRef) -> Result<(), DatabaseError> {
        // Design documents are no answers, as in CouchDB.
        if id.starts_with(DESIGN_IDS.0) {
            return Ok(());
        }
        let body = self.body(body)?;
        match self.plan.place_of(self.query, id, &body) {
            Some(place) => self.add(place),
            None => Ok(()),
        }
    }

    fn add(&mut self, place: Place) -> Result<(), DatabaseError> {
        if self
            .after
            .is_some_and(|after| !self.is_after(&place, after))
        {
            return Ok(());
        }
        self.page.bytes += place.key.len() + place.id.len() + PLACE_BYTES;
        self.page.places.insert(place);
        if self.page.places.len() as u64 > self.wanted {
            self.page.drop_last();
        }
        self.fits()
    }

    fn fits(&self) -> Result<(), DatabaseError> {
        match self.page.bytes > MAX_PAGE_BYTES {
            true => Err(too_much("results")),
            false => Ok(()),
        }
    }

    fn is_after(&self, place: &Place, after: &Place) -> bool {
        match self.plan.direction {
            Direction::Ascending => place > after,
            Direction::Descending => place < after,
        }
    }
}

impl Page {
    /// The places of its documents, how many rows of an index were looked at, and its bookmark.
    #[cfg(test)]
    pub(crate) fn found(mut self) -> (Vec<Place>, u64, String) {
        let places = std::iter::from_fn(|| self.take_first()).collect();
        (places, self.keys, self.bookmark)
    }

    /// Bytes of memory that the page takes at most.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn take_first(&mut self) -> Option<Place> {
        match self.direction {
            Direction::Ascending => self.places.pop_first(),
            Direction::Descending => self.places.pop_last(),
        }
    }

    fn last(&self) -> Option<&Place> {
        match self.direction {
            Direction::Ascending => self.places.last(),
            Direction::Descending => self.places.first(),
        }
    }

    fn drop_last(&mut self) {
        let dropped = match self.direction {
            Direction::Ascending => self.places.pop_last(),
            Direction::Descending => self.places.pop_first(),
        };
        if let Some(place) = dropped {
            self.bytes -= place.key.len() + place.id.len() + PLACE_BYTES;
        }
    }
}

/// What a place costs besides its texts.
const PLACE_BYTES: usize = 64;

fn too_much(what: &'static str) -> DatabaseError {
    let reason = match what {
        "documents" => {
            "The query would look at more documents than this node allows: narrow it by `_id`."
        }
        "bytes" => "The query would look at more data than this node allows: narrow it by `_id`.",
        _ => "The query asks for too many results at once: ask for less, and follow the bookmark.",
    };
    CouchError::new(ErrorKind::TooLarge, reason).into()
}

/// Tells the documents of a page.
pub(crate) struct PageProducer {
    query: Arc<FindQuery>,
    page: Page,
    /// The room that the page takes.
    _kept: Kept,
    /// How long the finding took.
    took: Duration,
    told: u64,
    at: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Start,
    Documents,
    Done,
}

impl PageProducer {
    pub(crate) fn new(query: Arc<FindQuery>, (page, kept): (Page, Kept), took: Duration) -> Self {
        Self {
            query,
            page,
            _kept: kept,
            took,
            told: 0,
            at: Stage::Start,
        }
    }

    /// Tells one document as it is now, if it still is an answer.
    fn document(
        &mut self,
        view: &View,
        id: &str,
        pieces: &mut Vec<Bytes>,
    ) -> Result<usize, StoreError> {
        let Some(row) = view.document(id)? else {
            return Ok(0);
        };
        let Some(leaf) = living(&row) else {
            return Ok(0);
        };
        let Some(body) = leaf.body else { return Ok(0) };
        let body = view.body(body)?;
        if !self.query.selector.takes(&body) {
            return Ok(0);
        }
        let before = pieces.len();
        if self.told > 0 {
            pieces.push(Bytes::from_static(b",\n"));
        }
        self.told += 1;
        match &self.query.fields {
            Some(fields) => pieces.push(fields.apply(&body).into()),
            None => {
                let extras = Extras {
                    conflicts: self.query.conflicts,
                    ..Extras::default()
                };
                read::revision(view, &row, leaf, extras, pieces)?;
            }
        }
        Ok(pieces.iter().skip(before).map(Bytes::len).sum())
    }

    fn end(&self) -> Bytes {
        let mut end = format!("\n],\n\"bookmark\": {}", json!(self.page.bookmark));
        if self.query.execution_stats {
            let stats = json!({
                "total_keys_examined": self.page.keys,
                "total_docs_examined": self.page.examined,
                "total_quorum_docs_examined": 0,
                "results_returned": self.told,
                "execution_time_ms": self.took.as_secs_f64() * 1_000.0,
            });
            end.push_str(&format!(",\n\"execution_stats\": {stats}"));
        }
        if let Some(warning) = &self.page.warning {
            end.push_str(&format!(",\n\"warning\": {}", json!(warning)));
        }
        end.push_str("}\n");
        end.into()
    }
}

impl Producer for PageProducer {
    fn batch(&mut self, file: &Arc<DatabaseFile>) -> Result<Option<Vec<Bytes>>, StoreError> {
        if self.at == Stage::Done {
            return Ok(None);
        }
        let view = file.view()?;
        let mut pieces = Vec::new();
        if self.at == Stage::Start {
            pieces.push(Bytes::from_static(b"{\"docs\":[\n"));
            self.at = Stage::Documents;
        }
        let mut bytes = 0;
        while bytes < BATCH_BYTES {
            let Some(place) = self.page.take_first() else {
                pieces.push(self.end());
                self.at = Stage::Done;
                break;
            };
            bytes += PLACE_BYTES + self.document(&view, &place.id, &mut pieces)?;
        }
        Ok(Some(pieces))
    }

    fn is_complete(&self) -> bool {
        self.at == Stage::Done
    }
}
