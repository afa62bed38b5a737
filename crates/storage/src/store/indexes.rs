//! Stored indexes: for each index a row per document, in the order of the keys, made after the documents were written (ADR 29).
//!
//! Guarantees: an index says up to which line of the feed it was made ([`Standing`]); its rows are those of the documents as they were
//! then. What came later, its reader looks at one by one. An index that cannot be trusted is not found, and made anew: of another
//! form, or from before a purge that it does not know of. Refuses to know: what an index is asked for.

use std::collections::HashSet;
use std::ops::Bound;

use adyton_couch::mango::{Direction, Index, Place, Span};
use adyton_couch::rev_tree::BodyRef;
use redb::{
    ReadOnlyTable, ReadTransaction, ReadableTable, Table, TableDefinition, TableHandle,
    WriteTransaction,
};

use super::StoreError;
use super::database::Counters;

/// By the fingerprint of an index: (form of its rows, its number, made up to this line of the feed, purges that it knows of).
pub(super) const INDEXES: TableDefinition<'_, &[u8], (u64, u64, u64, u64)> =
    TableDefinition::new("indexes");
/// (number of the index, key, document) → the body that the key was made of.
pub(super) const INDEX_ROWS: TableDefinition<'_, (u64, &[u8], &str), u64> =
    TableDefinition::new("index_rows");
/// (number of the index, document) → its key, so that the row is found when the document changes.
pub(super) const INDEX_KEYS: TableDefinition<'_, (u64, &str), &[u8]> =
    TableDefinition::new("index_keys");

/// The form of rows: another order of values, or other documents in an index, is another number. Rows of other forms are made anew.
const FORM: u64 = 1;
/// Of an index whose rows are being removed.
const VOID: u64 = 0;
/// What a row of either table takes besides its key and id, about.
const ROW_BYTES: u64 = 48;

/// How far an index is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(super) number: u64,
    /// The last line of the feed that is in it.
    pub(crate) built: u64,
}

/// The name of an index' rows.
pub(crate) type Fingerprint = [u8; 32];

/// The stored indexes of a database at one moment. Reading may block.
pub(crate) struct StoredIndexes {
    /// None before the first.
    tables: Option<Tables>,
    purge_seq: u64,
}

struct Tables {
    indexes: ReadOnlyTable<&'static [u8], (u64, u64, u64, u64)>,
    rows: ReadOnlyTable<(u64, &'static [u8], &'static str), u64>,
}

/// One row of an index.
pub(crate) struct IndexRow {
    pub(crate) place: Place,
    pub(crate) body: BodyRef,
}

impl StoredIndexes {
    pub(super) fn of(
        transaction: &ReadTransaction,
        counters: &Counters,
    ) -> Result<Self, StoreError> {
        let tables = match transaction.open_table(INDEXES) {
            Ok(indexes) => Some(Tables {
                indexes,
                rows: transaction.open_table(INDEX_ROWS)?,
            }),
            Err(redb::TableError::TableDoesNotExist(_)) => None,
            Err(error) => return Err(error.into()),
        };
        Ok(Self {
            tables,
            purge_seq: counters.purge_seq,
        })
    }

    /// How far an index is made, if it is and can be trusted.
    pub(crate) fn standing(&self, index: &Index) -> Result<Option<Standing>, StoreError> {
        let Some(tables) = &self.tables else {
            return Ok(None);
        };
        let found = tables.indexes.get(index.fingerprint().as_slice())?;
        Ok(found.and_then(|row| trusted(row.value(), self.purge_seq)))
    }

    /// Rows of an index within a span, from a place on, in order.
    pub(crate) fn rows<'v>(
        &'v self,
        standing: Standing,
        span: &Span<'_>,
        direction: Direction,
        after: Option<&Place>,
    ) -> Result<impl Iterator<Item = Result<IndexRow, StoreError>> + use<'v>, StoreError> {
        let tables = self.tables.as_ref();
        let tables = tables.ok_or(StoreError::Corrupt("an index without rows"))?;
        let (first, last) = (span.start(), span.end());
        let mut start = Bound::Included((standing.number, first.as_slice(), ""));
        let mut end = Bound::Excluded(match &last {
            Some(last) => (standing.number, last.as_slice(), ""),
            None => (standing.number + 1, &[][..], ""),
        });
        if let Some(after) = after {
            let after = (standing.number, after.key.as_slice(), after.id.as_str());
            match direction {
                Direction::Ascending if after >= *at(&start) => start = Bound::Excluded(after),
                Direction::Descending if after < *at(&end) => end = Bound::Excluded(after),
                Direction::Ascending | Direction::Descending => {}
            }
        }
        // The engine takes no range that ends before it begins.
        let mut rows = match at(&start) < at(&end) {
            true => Some(tables.rows.range((start, end))?),
            false => None,
        };
        Ok(std::iter::from_fn(move || {
            let rows = rows.as_mut()?;
            let row = match direction {
                Direction::Ascending => rows.next(),
                Direction::Descending => rows.next_back(),
            };
            Some(row?.map_err(StoreError::from).map(|(key, body)| {
                let (_, key, id) = key.value();
                IndexRow {
                    place: Place {
                        key: key.to_vec(),
                        id: id.to_owned(),
                    },
                    body: BodyRef(body.value()),
                }
            }))
        }))
    }

    /// An index whose rows are to go: it cannot be trusted, or is none of these. `index` first.
    pub(crate) fn unused(
        &self,
        index: Option<&Index>,
        wanted: &HashSet<Fingerprint>,
    ) -> Result<Option<Fingerprint>, StoreError> {
        let Some(tables) = &self.tables else {
            return Ok(None);
        };
        if let Some(first) = index.map(Index::fingerprint)
            && let Some(row) = tables.indexes.get(first.as_slice())?
            && trusted(row.value(), self.purge_seq).is_none()
        {
            return Ok(Some(first));
        }
        for row in tables.indexes.iter()? {
            let (name, row) = row?;
            let name = Fingerprint::try_from(name.value())
                .map_err(|_| StoreError::Corrupt("the name of an index"))?;
            if !wanted.contains(&name) || trusted(row.value(), self.purge_seq).is_none() {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }
}

fn at<'a>(bound: &'a Bound<(u64, &'a [u8], &'a str)>) -> &'a (u64, &'a [u8], &'a str) {
    match bound {
        Bound::Included(at) | Bound::Excluded(at) => at,
        Bound::Unbounded => &(0, &[], ""),
    }
}

pub(super) fn trusted(row: (u64, u64, u64, u64), purge_seq: u64) -> Option<Standing> {
    let (form, number, built, purges) = row;
    (form == FORM && purges == purge_seq).then_some(Standing { number, built })
}

/// What brings an index nearer to the present: worked out from a view, and written later.
#[derive(Debug)]
pub(crate) struct Batch {
    name: Fingerprint,
    /// The line of the feed that it goes on from.
    from: u64,
    /// Purges so far.
    purge_seq: u64,
    /// The last line that is in it.
    pub(crate) to: u64,
    /// Documents that changed.
    pub(crate) rows: Vec<Changed>,
}

/// A document that changed.
#[derive(Debug)]
pub(crate) struct Changed {
    pub(crate) id: String,
    /// Where it lies now, if it is in the index, and by which body.
    pub(crate) row: Option<(Vec<u8>, BodyRef)>,
}

impl Batch {
    /// Nothing yet, after a line of the feed.
    pub(crate) fn after(name: Fingerprint, from: u64, counters: &Counters) -> Self {
        Self {
            name,
            from,
            purge_seq: counters.purge_seq,
            to: from,
            rows: Vec::new(),
        }
    }

    /// Bytes that it adds to the file, about.
    pub(crate) fn bytes(&self) -> u64 {
        let bytes = |Changed { id, row }: &Changed| match row {
            Some((key, _)) => 2 * ((id.len() + key.len()) as u64 + ROW_BYTES),
            None => 0,
        };
        self.rows.iter().map(bytes).sum()
    }
}

impl Batch {
    /// Bytes that this and what is left up to a line of the feed add to the file, if the rest is as this is.
    pub(crate) fn expected(&self, newest: u64) -> u64 {
        let (left, done) = (newest - self.from.min(newest), self.to - self.from);
        self.bytes().saturating_mul(left) / done.max(1)
    }
}

/// An index that is not to be used any more, of which so many rows are to go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unused {
    pub(crate) name: Fingerprint,
    pub(crate) rows: usize,
}

/// The tables of indexes, open for writing.
pub(super) struct IndexWriter<'t> {
    indexes: Table<'t, &'static [u8], (u64, u64, u64, u64)>,
    rows: Table<'t, (u64, &'static [u8], &'static str), u64>,
    keys: Table<'t, (u64, &'static str), &'static [u8]>,
}

impl<'t> IndexWriter<'t> {
    /// Makes the tables where there are none.
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, StoreError> {
        Ok(Self {
            indexes: transaction.open_table(INDEXES)?,
            rows: transaction.open_table(INDEX_ROWS)?,
            keys: transaction.open_table(INDEX_KEYS)?,
        })
    }

    /// The tables, if there are any.
    pub(super) fn existing(transaction: &'t WriteTransaction) -> Result<Option<Self>, StoreError> {
        let there = transaction
            .list_tables()?
            .any(|table| table.name() == INDEXES.name());
        match there {
            true => Self::open(transaction).map(Some),
            false => Ok(None),
        }
    }

    /// Writes a batch; nothing, when the index went on or documents were purged since it was worked out.
    pub(super) fn write(&mut self, batch: &Batch, counters: &Counters) -> Result<(), StoreError> {
        if counters.purge_seq != batch.purge_seq {
            return Ok(());
        }
        let name = batch.name.as_slice();
        let found = self.indexes.get(name)?.map(|row| row.value());
        let number = match found {
            None if batch.from == 0 => self.free_number()?,
            None => return Ok(()),
            Some(row) => match trusted(row, counters.purge_seq) {
                Some(standing) if standing.built == batch.from => standing.number,
                Some(_) | None => return Ok(()),
            },
        };
        for Changed { id, row } in &batch.rows {
            match row {
                None => self.remove(number, id)?,
                Some((key, body)) => {
                    let old = self.keys.insert((number, id.as_str()), key.as_slice())?;
                    if let Some(old) = old.filter(|old| old.value() != key.as_slice()) {
                        self.rows.remove((number, old.value(), id.as_str()))?;
                    }
                    self.rows
                        .insert((number, key.as_slice(), id.as_str()), body.0)?;
                }
            }
        }
        self.indexes
            .insert(name, (FORM, number, batch.to, batch.purge_seq))?;
        Ok(())
    }

    /// Takes documents out of every index: `before` and `after` are the numbers of purges before and after theirs.
    pub(super) fn purge(
        &mut self,
        ids: &[&str],
        before: u64,
        after: u64,
    ) -> Result<(), StoreError> {
        let mut trusting = Vec::new();
        for row in self.indexes.iter()? {
            let (name, row) = row?;
            if let Some(standing) = trusted(row.value(), before) {
                trusting.push((name.value().to_vec(), standing));
            }
        }
        for (name, Standing { number, built }) in trusting {
            for id in ids {
                self.remove(number, id)?;
            }
            self.indexes
                .insert(name.as_slice(), (FORM, number, built, after))?;
        }
        Ok(())
    }

    /// Removes rows of an index that is not to be used any more. After the last of them it is gone.
    pub(super) fn drop_some(&mut self, Unused { name, rows }: Unused) -> Result<(), StoreError> {
        let found = self.indexes.get(name.as_slice())?.map(|row| row.value());
        let Some((_, number, built, purges)) = found else {
            return Ok(());
        };
        // First of all nobody reads it any more.
        self.indexes
            .insert(name.as_slice(), (VOID, number, built, purges))?;
        let mut gone = Vec::new();
        for row in self.keys.range((number, "")..(number + 1, ""))?.take(rows) {
            gone.push(row?.0.value().1.to_owned());
        }
        for id in &gone {
            self.remove(number, id)?;
        }
        if gone.len() < rows {
            self.indexes.remove(name.as_slice())?;
        }
        Ok(())
    }

    fn remove(&mut self, number: u64, id: &str) -> Result<(), StoreError> {
        if let Some(old) = self.keys.remove((number, id))? {
            self.rows.remove((number, old.value(), id))?;
        }
        Ok(())
    }

    /// A number that no row has.
    fn free_number(&self) -> Result<u64, StoreError> {
        let mut highest = 0;
        for row in self.indexes.iter()? {
            highest = highest.max(row?.1.value().1);
        }
        Ok(highest + 1)
    }
}
