//! Mango queries over one database: documents are looked at one by one, in the order of their ids, within bounds.
//!
//! Guarantees: what is told fulfils the query at the moment it is told; the order is the index', the page ends where its
//! bookmark says; a query that would look at more than the node allows is refused as a whole, never cut short. An index is a
//! definition: it says by which order documents may lie, and saves nothing of the looking.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use adyton_couch::mango::{Bookmark, Direction, FindQuery, Index, MAX_INDEXES, Place, Plan};
use adyton_couch::rev_tree::Leaf;
use adyton_couch::wire::{CouchError, DESIGN_IDS, ErrorKind, KeyRange};
use bytes::Bytes;
use serde_json::json;

use crate::api::read::{self, Extras};
use crate::config::Limits;
use crate::databases::DatabaseError;
use crate::finds::Kept;
use crate::store::StoreError;
use crate::store::database::{DatabaseFile, View};
use crate::store::row::DocumentRow;
use crate::stream::{BATCH_BYTES, Producer};

/// Bytes of the places of one page: what is held while the order is made.
const MAX_PAGE_BYTES: usize = 32 << 20;

/// The indexes of a database, the one that every database has first. Blocking.
pub(crate) fn indexes(view: &View) -> Result<Vec<Index>, StoreError> {
    let mut found = vec![Index::all_docs()];
    let range = KeyRange {
        start: Some(DESIGN_IDS.0.to_owned()),
        end: Some(DESIGN_IDS.1.to_owned()),
        exclusive_end: true,
    };
    for row in view.documents(&range)?.take(MAX_INDEXES) {
        let (id, row) = row?;
        let Some(leaf) = living(&row) else { continue };
        let Some(body) = leaf.body else { continue };
        found.extend(Index::in_design(&id, &view.body(body)?));
        if found.len() > MAX_INDEXES {
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
    /// Documents looked at.
    examined: u64,
    warning: Option<String>,
    bookmark: String,
}

/// Finds the documents that answer a query. Blocking.
pub(crate) fn page(view: &View, query: &FindQuery, limits: &Limits) -> Result<Page, DatabaseError> {
    let indexes = indexes(view)?;
    let plan = Plan::of(query, &indexes)?;
    let after = match &query.bookmark {
        None => None,
        Some(bookmark) => Some(
            bookmark
                .place_in(plan.index)
                .map_err(|_| CouchError::invalid_bookmark())?,
        ),
    };
    let mut page = Page {
        places: BTreeSet::new(),
        direction: plan.direction,
        bytes: 0,
        examined: 0,
        warning: plan.warning.clone(),
        bookmark: query
            .bookmark
            .as_ref()
            .map_or_else(|| "nil".to_owned(), Bookmark::to_string),
    };
    let wanted = query.skip.saturating_add(query.limit);
    if query.limit > 0 {
        page.fill(view, query, &plan, after, wanted, limits)?;
    }
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

impl Page {
    fn fill(
        &mut self,
        view: &View,
        query: &FindQuery,
        plan: &Plan<'_>,
        after: Option<&Place>,
        wanted: u64,
        limits: &Limits,
    ) -> Result<(), DatabaseError> {
        let by_id = plan.index.is_all_docs();
        let (start, end) = Plan::id_range(query);
        let mut range = KeyRange {
            start,
            end,
            exclusive_end: false,
        };
        // Where documents are met in the order of the answer, the page begins at its bookmark and ends when it is full.
        match (after, self.direction) {
            (Some(after), Direction::Ascending) if by_id => {
                range.start = range.start.max(Some(after.id.clone()));
            }
            (Some(after), Direction::Descending) if by_id => {
                let end = range.end.take();
                range.end = Some(end.map_or(after.id.clone(), |end| end.min(after.id.clone())));
            }
            _ => {}
        }
        let mut rows = view.documents(&range)?;
        let (mut walked, mut bytes) = (0_u64, 0_u64);
        loop {
            let next = match self.direction {
                Direction::Ascending => rows.next(),
                Direction::Descending => rows.next_back(),
            };
            let Some(row) = next else { return Ok(()) };
            let (id, row) = row?;
            walked += 1;
            if walked > limits.find_documents {
                return Err(too_much("documents"));
            }
            // Design documents are no answers, as in CouchDB.
            if id.starts_with(DESIGN_IDS.0) {
                continue;
            }
            let Some(body) = living(&row).and_then(|leaf| leaf.body) else {
                continue;
            };
            let body = view.body(body)?;
            self.examined += 1;
            bytes += body.len() as u64;
            if bytes > limits.find_bytes {
                return Err(too_much("bytes"));
            }
            let Some(place) = plan.place_of(query, &id, &body) else {
                continue;
            };
            if after.is_some_and(|after| !self.is_after(&place, after)) {
                continue;
            }
            self.bytes += place.key.len() + place.id.len() + PLACE_BYTES;
            self.places.insert(place);
            if self.places.len() as u64 > wanted {
                self.drop_last();
            }
            if self.bytes > MAX_PAGE_BYTES {
                return Err(too_much("results"));
            }
            if by_id && self.places.len() as u64 == wanted {
                return Ok(());
            }
        }
    }

    /// Bytes of memory that the page takes at most.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn is_after(&self, place: &Place, after: &Place) -> bool {
        match self.direction {
            Direction::Ascending => place > after,
            Direction::Descending => place < after,
        }
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
    file: Arc<DatabaseFile>,
    query: FindQuery,
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
    pub(crate) fn new(
        file: Arc<DatabaseFile>,
        query: FindQuery,
        (page, kept): (Page, Kept),
        took: Duration,
    ) -> Self {
        Self {
            file,
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
                "total_keys_examined": 0,
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
    fn batch(&mut self) -> Result<Option<Vec<Bytes>>, StoreError> {
        if self.at == Stage::Done {
            return Ok(None);
        }
        let file = Arc::clone(&self.file);
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
}
