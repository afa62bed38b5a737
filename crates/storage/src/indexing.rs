//! What brings a stored index up to date, one bounded step at a time; whoever asks does it, and nobody who writes (ADR 29).
//!
//! 1. [`lags`]: whether a query had better bring its index up to date first.
//! 2. [`Step::next`]: from one view, what the next stretch of the feed changes in the index.
//! 3. `DatabaseFile::write_index`: that, in one short transaction. What came of it stays, whoever hangs up.

use std::collections::HashSet;
use std::sync::Arc;

use adyton_couch::mango::Index;
use adyton_couch::wire::DESIGN_IDS;

use crate::databases::DatabaseError;
use crate::query::indexes;
use crate::store::database::{DatabaseFile, View};
use crate::store::indexes::{Batch, Changed, Fingerprint, StoredIndexes, Unused};
use crate::store::{StoreError, blocking};

/// What one step takes at most: it bounds what a writer who comes meanwhile waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stride {
    /// Lines of the feed, and rows of an index that is not used any more.
    pub(crate) lines: usize,
    /// Bytes of rows that it writes, and bytes of documents that it reads, before it takes no further line.
    pub(crate) row_bytes: usize,
    pub(crate) read_bytes: usize,
}

impl Default for Stride {
    fn default() -> Self {
        Self {
            lines: 500,
            row_bytes: 512 << 10,
            read_bytes: 16 << 20,
        }
    }
}

/// What one transaction does to the stored indexes.
#[derive(Debug)]
pub(crate) struct Step {
    /// Rows of the index that is wanted.
    pub(crate) batch: Option<Batch>,
    /// An index that nobody wants any more, of which some rows go.
    pub(crate) unused: Option<Unused>,
    /// Bytes that the file has more when the index is up to date, about.
    pub(crate) expected: u64,
    /// Whether the index is then up to date, as of the view.
    pub(crate) is_last: bool,
}

/// Whether more than `most` lines of the feed are not in an index yet. Blocking.
pub(crate) fn lags(
    (view, stored): &(View, StoredIndexes),
    index: &Index,
    most: u64,
) -> Result<bool, StoreError> {
    let built = stored.standing(index)?.map_or(0, |standing| standing.built);
    let newest = view.counters.update_seq;
    // Numbers that were given are more than lines that are there.
    if newest.saturating_sub(built) <= most {
        return Ok(false);
    }
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    Ok(view.changes(built, newest)?.nth(most).is_some())
}

impl Step {
    /// The next step towards an up-to-date `index`, one of `all`. Blocking.
    pub(crate) fn next(
        (view, stored): &(View, StoredIndexes),
        index: &Index,
        all: &[Index],
        stride: Stride,
    ) -> Result<Self, StoreError> {
        let name = stored.unused(Some(index), &wanted(all))?;
        // Where its own rows are to go first, nothing is added to them.
        let batch = match name == Some(index.fingerprint()) {
            true => None,
            false => Some(batch(view, stored, index, stride)?),
        };
        let rows = stride.lines;
        let newest = view.counters.update_seq;
        Ok(Self {
            expected: batch.as_ref().map_or(0, |batch| batch.expected(newest)),
            is_last: batch.as_ref().is_some_and(|batch| batch.to == newest),
            batch,
            unused: name.map(|name| Unused { name, rows }),
        })
    }
}

fn wanted(all: &[Index]) -> HashSet<Fingerprint> {
    all.iter().map(Index::fingerprint).collect()
}

fn batch(
    view: &View,
    stored: &StoredIndexes,
    index: &Index,
    stride: Stride,
) -> Result<Batch, StoreError> {
    let from = stored.standing(index)?.map_or(0, |standing| standing.built);
    let newest = view.counters.update_seq;
    let mut batch = Batch::after(index.fingerprint(), from, &view.counters);
    let (mut read, mut made) = (0, 0);
    for (n, line) in view.changes(from, newest)?.enumerate() {
        if n == stride.lines || read >= stride.read_bytes || made >= stride.row_bytes {
            return Ok(batch);
        }
        let (seq, line) = line?;
        batch.to = seq;
        // Design documents are in no index, as in CouchDB.
        if line.id.starts_with(DESIGN_IDS.0) {
            continue;
        }
        let mut row = None;
        if let Some(body) = line.body.filter(|_| !line.deleted) {
            let text = view.body(body)?;
            read += text.len();
            row = index.key_of(&text).map(|key| (key, body));
        }
        made += line.id.len() + row.as_ref().map_or(0, |(key, _)| key.len());
        batch.rows.push(Changed { id: line.id, row });
    }
    batch.to = newest;
    Ok(batch)
}

/// Removes what is stored of indexes that are not defined any more, or cannot be trusted.
pub(crate) async fn clear(file: &Arc<DatabaseFile>) -> Result<(), StoreError> {
    loop {
        let opened = Arc::clone(file);
        let unused = blocking(move || {
            let (view, stored) = opened.indexed_view()?;
            match indexes(&view) {
                Ok(all) => stored.unused(None, &wanted(&all)),
                // Which ones are defined is not to be known.
                Err(DatabaseError::Refused(_)) => Ok(None),
                Err(DatabaseError::Store(error)) => Err(error),
            }
        })
        .await?;
        let Some(name) = unused else { return Ok(()) };
        let rows = Stride::default().lines;
        file.write_index(None, Some(Unused { name, rows }), ())
            .await?;
    }
}
