//! Whether a database's stored indexes have the rows that follow from its documents.
//!
//! 1. The two tables of rows say the same, and nothing belongs to no index.
//! 2. An index that is in use and defined has a row of each document that it should, as the document was up to the line of the feed
//!    that the index is made to; what was written later is made up for by readers, and is not looked at.

use std::collections::{HashMap, HashSet};

use adyton_couch::mango::Index;
use adyton_couch::wire::DESIGN_IDS;
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata};

use super::StoreError;
use super::check::Faults;
use super::database::{BODIES, Counters, DOCUMENTS};
use super::format::META;
use super::indexes::{INDEX_KEYS, INDEX_ROWS, INDEXES, Standing, trusted};
use super::row::DocumentRow;

type Keys = ReadOnlyTable<(u64, &'static str), &'static [u8]>;
type Rows = ReadOnlyTable<(u64, &'static [u8], &'static str), u64>;

/// Checks them, if there are any.
pub(super) fn check(view: &ReadTransaction, faults: &mut Faults) -> Result<(), StoreError> {
    let indexes = match view.open_table(INDEXES) {
        Ok(indexes) => indexes,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let (keys, rows) = (view.open_table(INDEX_KEYS)?, view.open_table(INDEX_ROWS)?);
    let purge_seq = Counters::load(&view.open_table(META)?)?.purge_seq;
    let (mut numbers, mut standings) = (HashSet::new(), HashMap::new());
    for row in indexes.iter()? {
        let (name, row) = row?;
        let fresh = numbers.insert(row.value().1);
        faults.expect(fresh, "two indexes have the same number");
        if let Some(standing) = trusted(row.value(), purge_seq) {
            standings.insert(name.value().to_vec(), standing);
        }
    }
    pairs(&numbers, &keys, &rows, faults)?;
    let defined = defined(view)?;
    let made = defined.into_iter().filter_map(|index| {
        let standing = standings.remove(index.fingerprint().as_slice())?;
        Some((index, standing))
    });
    contents(view, &made.collect::<Vec<_>>(), &keys, &rows, faults)
}

fn pairs(
    numbers: &HashSet<u64>,
    keys: &Keys,
    rows: &Rows,
    faults: &mut Faults,
) -> Result<(), StoreError> {
    for key in keys.iter()? {
        let (owner, key) = key?;
        let (number, id) = owner.value();
        faults.expect(
            numbers.contains(&number),
            "a row of an index belongs to none",
        );
        let row = rows.get((number, key.value(), id))?;
        faults.expect(row.is_some(), "the tables of an index disagree");
    }
    faults.expect(
        keys.len()? == rows.len()?,
        "an index has more rows than documents",
    );
    Ok(())
}

/// Every index that a design document of the database defines.
fn defined(view: &ReadTransaction) -> Result<Vec<Index>, StoreError> {
    let (documents, bodies) = (view.open_table(DOCUMENTS)?, view.open_table(BODIES)?);
    let mut defined: HashMap<_, Index> = HashMap::new();
    for row in documents.range(DESIGN_IDS.0..DESIGN_IDS.1)? {
        let (id, row) = row?;
        let winner = DocumentRow::decode(row.value()).ok();
        let winner = winner.and_then(|row| row.tree.winner());
        let Some(body) = winner
            .filter(|leaf| !leaf.deleted)
            .and_then(|leaf| leaf.body)
        else {
            continue;
        };
        if let Some(text) = bodies.get(body.0)? {
            let found = Index::in_design(id.value(), text.value());
            defined.extend(found.into_iter().map(|index| (index.fingerprint(), index)));
        }
    }
    Ok(defined.into_values().collect())
}

fn contents(
    view: &ReadTransaction,
    made: &[(Index, Standing)],
    keys: &Keys,
    rows: &Rows,
    faults: &mut Faults,
) -> Result<(), StoreError> {
    if made.is_empty() {
        return Ok(());
    }
    let (documents, bodies) = (view.open_table(DOCUMENTS)?, view.open_table(BODIES)?);
    for row in documents.iter()? {
        let (id, row) = row?;
        // What does not read back has been noted.
        let Ok(row) = DocumentRow::decode(row.value()) else {
            continue;
        };
        let body = row.tree.winner().filter(|leaf| !leaf.deleted);
        let body = body.and_then(|leaf| leaf.body);
        let text = match body {
            Some(body) if !id.value().starts_with(DESIGN_IDS.0) => bodies.get(body.0)?,
            Some(_) | None => None,
        };
        for (index, standing) in made.iter().filter(|(_, made)| row.seq <= made.built) {
            let due = text.as_ref().and_then(|text| index.key_of(text.value()));
            let found = keys.get((standing.number, id.value()))?;
            let agrees = match (&due, &found) {
                (None, None) => true,
                (Some(due), Some(found)) if *due == found.value() => {
                    let row = rows.get((standing.number, due.as_slice(), id.value()))?;
                    row.map(|row| row.value()) == body.map(|body| body.0)
                }
                _ => false,
            };
            faults.expect(agrees, "an index does not have a document as it is");
        }
    }
    for key in keys.iter()? {
        let (owner, _) = key?;
        let (number, id) = owner.value();
        if made.iter().any(|(_, standing)| standing.number == number) {
            let there = documents.get(id)?.is_some();
            faults.expect(there, "an index has a document that is not there");
        }
    }
    Ok(())
}
