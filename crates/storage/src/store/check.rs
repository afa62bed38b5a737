//! Whether a database's file is whole: the engine's own check, and then what must be true of our rows in every file.
//!
//! 1. A document's row reads back; its line in the feed stands where the row says, and says the same; there is no other line.
//! 2. Every leaf's body is there, is JSON and names its document and revision; there is no other body.
//! 3. Every attachment's content is there, in pieces whose SHA-256 is its name, and is counted as often as it is used.
//! 4. The counters are what counting gives.
//! 5. Stored indexes have the rows that follow from the documents, as far as they say that they do ([`super::check_indexes`]).

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::Path;

use adyton_couch::rev_tree::{BodyRef, Leaf};
use redb::{
    Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable,
    ReadableTableMetadata, TableDefinition,
};
use serde::Deserialize;
use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};

use super::attachments::{ATTACHED, Attached, BLOBS, CHUNK_BYTES, CHUNKS};
use super::database::{BODIES, CHANGES, Counters, DOCUMENTS, LOCAL};
use super::format::{self, META};
use super::row::{ChangeRow, DocumentRow};
use super::unwritten::Unwritten;
use super::{StoreError, check_indexes};

/// Memory that a check may use for pages.
const CACHE_BYTES: usize = 64 << 20;

const UNREADABLE: &str = "the engine cannot read the file";

/// What is wrong, and how often. Named by kind, so that a report names nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Faults(pub(crate) BTreeMap<&'static str, u64>);

impl Faults {
    pub(super) fn add(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    pub(super) fn expect(&mut self, holds: bool, what: &'static str) {
        if !holds {
            self.add(what);
        }
    }
}

/// Opens a file with every page's checksum verified, and what a killed process left repaired, in memory: the file stays as it is. A file
/// that another process has is an error, as is one that may not be read, and one of a newer layout.
pub(super) fn verified(path: &Path, faults: &mut Faults) -> Result<Option<Database>, StoreError> {
    let file = File::open(path)?;
    if file.metadata()?.len() == 0 {
        faults.add(UNREADABLE);
        return Ok(None);
    }
    let mut builder = Database::builder();
    builder
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true);
    match builder.create_with_backend(Unwritten::new(file)?) {
        Ok(database) => Ok(Some(database)),
        Err(redb::DatabaseError::DatabaseAlreadyOpen) => Err(StoreError::Closed),
        Err(_) => {
            faults.add(UNREADABLE);
            Ok(None)
        }
    }
}

/// Checks one database. May block for as long as the file is large.
pub(crate) fn database(path: &Path) -> Result<Faults, StoreError> {
    let mut faults = Faults::default();
    let Some(database) = verified(path, &mut faults)? else {
        return Ok(faults);
    };
    let view = database.begin_read()?;
    let Some(meta) = table(&view, META, &mut faults)? else {
        return Ok(faults);
    };
    format::check(&meta)?;
    let counters = Counters::load(&meta)?;
    let counted = Check {
        view: &view,
        faults: &mut faults,
        counted: Counters::default(),
    }
    .run()?;
    for (name, kept, counted) in [
        (
            "the number of documents",
            counters.documents,
            counted.documents,
        ),
        (
            "the number of deleted documents",
            counters.deleted,
            counted.deleted,
        ),
        ("the number of bytes", counters.bytes, counted.bytes),
        (
            "the number of attachments",
            counters.attached,
            counted.attached,
        ),
    ] {
        faults.expect(kept == counted, name);
    }
    faults.expect(
        counted.update_seq <= counters.update_seq,
        "the newest sequence number",
    );
    faults.expect(
        counted.next_body < counters.next_body,
        "the next body's number",
    );
    faults.expect(counters.life != 0, "the database's life");
    Ok(faults)
}

/// A table that must be there.
fn table<K: redb::Key, V: redb::Value>(
    view: &ReadTransaction,
    definition: TableDefinition<'static, K, V>,
    faults: &mut Faults,
) -> Result<Option<ReadOnlyTable<K, V>>, StoreError> {
    match view.open_table(definition) {
        Ok(table) => Ok(Some(table)),
        Err(redb::TableError::Storage(error)) => Err(error.into()),
        Err(_) => {
            faults.add("a table is missing");
            Ok(None)
        }
    }
}

/// What of a body must agree with its row.
#[derive(Deserialize)]
struct Head<'b> {
    #[serde(borrow, rename = "_id")]
    id: Cow<'b, str>,
    #[serde(borrow, rename = "_rev")]
    rev: Cow<'b, str>,
    #[serde(default, rename = "_deleted")]
    deleted: bool,
}

struct Check<'c> {
    view: &'c ReadTransaction,
    faults: &'c mut Faults,
    /// What the counters should be: `update_seq` and `next_body` the highest that are in use.
    counted: Counters,
}

impl Check<'_> {
    fn run(mut self) -> Result<Counters, StoreError> {
        self.documents()?;
        self.attachments()?;
        check_indexes::check(self.view, self.faults)?;
        if let Some(local) = table(self.view, LOCAL, self.faults)? {
            for row in local.iter()? {
                let readable = serde_json::from_slice::<IgnoredAny>(row?.1.value().1).is_ok();
                self.faults.expect(readable, "a local document is no JSON");
            }
        }
        Ok(self.counted)
    }

    fn documents(&mut self) -> Result<(), StoreError> {
        let (Some(documents), Some(changes), Some(bodies)) = (
            table(self.view, DOCUMENTS, self.faults)?,
            table(self.view, CHANGES, self.faults)?,
            table(self.view, BODIES, self.faults)?,
        ) else {
            return Ok(());
        };
        let mut used = 0;
        for row in documents.iter()? {
            let (id, row) = row?;
            let Ok(row) = DocumentRow::decode(row.value()) else {
                self.faults.add("a document's row does not read back");
                continue;
            };
            let leaves = row.tree.leaves();
            match leaves.first() {
                None => self.faults.add("a document has no revision"),
                Some(winner) if winner.deleted => self.counted.deleted += 1,
                Some(_) => self.counted.documents += 1,
            }
            self.counted.update_seq = self.counted.update_seq.max(row.seq);
            let line = changes.get(row.seq)?;
            let line = line.and_then(|line| ChangeRow::decode(line.value()).ok());
            let agrees = line.is_some_and(|line| line.is_of(id.value(), &leaves));
            self.faults
                .expect(agrees, "a document and its line in the feed disagree");
            for leaf in &leaves {
                if let Some(body) = leaf.body {
                    used += 1;
                    self.body(&bodies, id.value(), leaf, body)?;
                }
            }
        }
        let stray = changes.len()? != documents.len()?;
        self.faults
            .expect(!stray, "the feed has more lines than there are documents");
        self.faults
            .expect(bodies.len()? == used, "a body belongs to no revision");
        Ok(())
    }

    fn body(
        &mut self,
        bodies: &ReadOnlyTable<u64, &'static [u8]>,
        id: &str,
        leaf: &Leaf,
        body: BodyRef,
    ) -> Result<(), StoreError> {
        self.counted.next_body = self.counted.next_body.max(body.0);
        let Some(text) = bodies.get(body.0)? else {
            self.faults.add("a revision has no body");
            return Ok(());
        };
        self.counted.bytes += text.value().len() as u64;
        let head = serde_json::from_slice::<Head<'_>>(text.value());
        let agrees = head.is_ok_and(|head| {
            head.id == id && head.rev == leaf.rev.to_string() && head.deleted == leaf.deleted
        });
        self.faults
            .expect(agrees, "a body is not that of its revision");
        Ok(())
    }

    fn attachments(&mut self) -> Result<(), StoreError> {
        let attached = match self.view.open_table(ATTACHED) {
            Ok(attached) => attached,
            // Not before the first attachment.
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let (Some(blobs), Some(chunks), Some(bodies)) = (
            table(self.view, BLOBS, self.faults)?,
            table(self.view, CHUNKS, self.faults)?,
            table(self.view, BODIES, self.faults)?,
        ) else {
            return Ok(());
        };
        let mut uses: HashMap<[u8; 32], u64> = HashMap::new();
        for row in attached.iter()? {
            let (body, row) = row?;
            let owned = bodies.get(body.value())?.is_some();
            self.faults
                .expect(owned, "attachments belong to no revision");
            let Ok(row) = serde_json::from_slice::<Vec<Attached>>(row.value()) else {
                self.faults.add("a row of attachments does not read back");
                continue;
            };
            for attached in row {
                self.counted.attached += 1;
                *uses.entry(attached.blob.bytes()).or_default() += 1;
            }
        }
        let mut pieces = 0;
        for row in blobs.iter()? {
            let (id, row) = row?;
            let (id, (references, bytes)) = (id.value(), row.value());
            let used = uses.remove(id).unwrap_or_default();
            self.faults.expect(
                used == references,
                "a content is not used as often as counted",
            );
            self.counted.bytes += bytes;
            let (mut hasher, mut length) = (Sha256::new(), 0);
            for number in 0..bytes.div_ceil(CHUNK_BYTES) {
                if let Some(piece) = chunks.get((id, number))? {
                    pieces += 1;
                    hasher.update(piece.value());
                    length += piece.value().len() as u64;
                }
            }
            let whole = length == bytes && hasher.finalize().as_slice() == id;
            self.faults
                .expect(whole, "a content is not what its name says");
        }
        self.faults
            .expect(uses.is_empty(), "an attachment has no content");
        self.faults.expect(
            chunks.len()? == pieces,
            "a piece of a content belongs to none",
        );
        Ok(())
    }
}
