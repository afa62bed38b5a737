//! The number of the layout that a file is in (`FORMAT.md`), looked at before anything else of the file is.
//!
//! A file of a newer layout is refused, never guessed at. A file without a number was written before there were numbers, in what
//! is layout 1.

use redb::{ReadableTable, Table, TableDefinition};

use super::StoreError;

/// The layout that this program reads and writes, of `node.redb` and of databases alike. A change of a table, a key or a row's
/// bytes that this program could not read is a new number, with a fixture (`tests/format.rs`) and a way from the old one.
pub(crate) const FORMAT: u64 = 1;

/// Numbers of a file; in a database also its counters.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

const NAME: &str = "format";

/// Refuses a file of a layout that this program does not know.
pub(super) fn check(meta: &impl ReadableTable<&'static str, u64>) -> Result<(), StoreError> {
    match meta.get(NAME)?.map_or(1, |number| number.value()) {
        1..=FORMAT => Ok(()),
        0 => Err(StoreError::Corrupt("the number of the layout")),
        found => Err(StoreError::TooNew {
            found,
            known: FORMAT,
        }),
    }
}

/// Says which layout the file is in.
pub(super) fn stamp(meta: &mut Table<'_, &'static str, u64>) -> Result<(), StoreError> {
    meta.insert(NAME, FORMAT)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use redb::{Database, ReadableDatabase};

    use super::super::database::DatabaseFile;
    use super::super::node::NodeStore;
    use super::super::pulse::Pulse;
    use super::*;

    /// Puts another number into a file.
    fn renumber(path: &std::path::Path, number: Option<u64>) {
        let database = Database::open(path).unwrap();
        let transaction = database.begin_write().unwrap();
        {
            let mut meta = transaction.open_table(META).unwrap();
            match number {
                Some(number) => meta.insert(NAME, number).unwrap(),
                None => meta.remove(NAME).unwrap(),
            };
        }
        transaction.commit().unwrap();
    }

    #[test]
    fn a_file_of_a_newer_layout_is_refused_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (database, node) = (dir.path().join("v.redb"), dir.path().join("node.redb"));
        drop(DatabaseFile::create(&database, 1, Pulse::unheard()).unwrap());
        drop(NodeStore::open(&node).unwrap());
        let refusals = || {
            [
                DatabaseFile::open(&database, Pulse::unheard()).err(),
                DatabaseFile::create(&database, 1, Pulse::unheard()).err(),
                NodeStore::open(&node).err(),
            ]
        };
        assert!(refusals().iter().all(Option::is_none));
        for path in [&database, &node] {
            renumber(path, Some(FORMAT + 1));
        }
        for refusal in refusals() {
            let refusal = refusal.unwrap();
            assert!(matches!(refusal, StoreError::TooNew { found: 2, known: 1 }));
            let text = refusal.to_string();
            assert!(
                text.contains("layout 2") && text.contains("up to 1"),
                "{text}"
            );
        }
        let database = Database::open(&node).unwrap();
        let read = database.begin_read().unwrap();
        let meta = read.open_table(META).unwrap();
        assert_eq!(meta.get(NAME).unwrap().unwrap().value(), 2);
    }

    #[test]
    fn a_file_from_before_there_were_numbers_is_of_the_first_layout() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v.redb");
        drop(DatabaseFile::create(&path, 1, Pulse::unheard()).unwrap());
        renumber(&path, None);
        assert!(DatabaseFile::open(&path, Pulse::unheard()).is_ok());
        renumber(&path, Some(0));
        let refused = DatabaseFile::open(&path, Pulse::unheard()).err();
        assert!(matches!(refused, Some(StoreError::Corrupt(_))));
    }
}
