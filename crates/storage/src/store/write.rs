//! Writing documents inside a transaction: edits checked against the current leaves, and history merged as it is.

use adyton_couch::document::{DocumentId, Members};
use adyton_couch::rev::Rev;
use adyton_couch::rev_tree::{BodyRef, Inserted, Liveness, Revisions};
use adyton_couch::wire::{CouchError, ErrorKind};
use redb::{ReadableTable, Table, WriteTransaction};

use super::StoreError;
use super::database::{BODIES, CHANGES, Counters, DOCUMENTS, META};
use super::row::{ChangeRow, DocumentRow};

/// One document to write.
#[derive(Debug)]
pub(crate) struct DocumentWrite {
    pub(crate) id: DocumentId,
    pub(crate) liveness: Liveness,
    pub(crate) members: Members,
    pub(crate) kind: WriteKind,
}

/// On what authority a revision is added.
#[derive(Debug)]
pub(crate) enum WriteKind {
    /// An edit of a current leaf (of none, for a new document): refused when it is not current.
    Edit {
        /// The revision that the author saw.
        base: Option<Rev>,
    },
    /// A revision made elsewhere, with its ancestry: always merged.
    History(Revisions),
}

/// What became of one write.
pub(crate) type Outcome = Result<Rev, CouchError>;

/// The tables of one database, open for writing.
pub(super) struct Writer<'t> {
    pub(super) documents: Table<'t, &'static str, &'static [u8]>,
    bodies: Table<'t, u64, &'static [u8]>,
    pub(super) changes: Table<'t, u64, &'static [u8]>,
    meta: Table<'t, &'static str, u64>,
    pub(super) counters: Counters,
}

impl<'t> Writer<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, StoreError> {
        let meta = transaction.open_table(META)?;
        Ok(Self {
            documents: transaction.open_table(DOCUMENTS)?,
            bodies: transaction.open_table(BODIES)?,
            changes: transaction.open_table(CHANGES)?,
            counters: Counters::load(&meta)?,
            meta,
        })
    }

    /// Writes the counters; without this, nothing of the writer counts.
    pub(super) fn finish(mut self) -> Result<Counters, StoreError> {
        self.counters.save(&mut self.meta)?;
        Ok(self.counters)
    }

    pub(super) fn write(&mut self, write: &DocumentWrite) -> Result<Outcome, StoreError> {
        let mut row = self.document(write.id.as_str())?.unwrap_or_default();
        let revisions = match &write.kind {
            WriteKind::History(revisions) => revisions.clone(),
            WriteKind::Edit { base } => match edit(&row, *base, write) {
                Ok(revisions) => revisions,
                Err(refusal) => return Ok(Err(refusal)),
            },
        };
        let Ok(rev) = revisions.newest() else {
            return Ok(Err(CouchError::bad_request("Invalid _revisions")));
        };
        if matches!(write.kind, WriteKind::History(_)) && row.tree.leaf(rev).is_some() {
            return Ok(Ok(rev));
        }
        let before = row.tree.winner();
        let body = BodyRef(self.counters.next_body);
        let superseded = match row.tree.insert(&revisions, write.liveness, Some(body)) {
            Ok(Inserted::New { superseded }) => superseded,
            Ok(Inserted::Known) => return Ok(Ok(rev)),
            Err(_) => {
                let reason = "The document has too many conflicting revisions.";
                return Ok(Err(CouchError::new(ErrorKind::TooLarge, reason)));
            }
        };
        row.tree.stem(self.counters.revs_limit());
        let rendered = write.members.render(&write.id, &rev, write.liveness);
        self.counters.next_body += 1;
        self.counters.bytes += rendered.len() as u64;
        self.bodies.insert(body.0, rendered.as_slice())?;
        for old in superseded {
            self.remove_body(old)?;
        }
        let leaves = row.tree.leaves();
        self.count(
            before.map(|leaf| leaf.deleted),
            leaves.first().map(|leaf| leaf.deleted),
        );
        if row.seq != 0 {
            self.changes.remove(row.seq)?;
        }
        self.counters.update_seq += 1;
        row.seq = self.counters.update_seq;
        self.changes.insert(
            row.seq,
            ChangeRow::new(&write.id, &leaves).encode().as_slice(),
        )?;
        self.documents
            .insert(write.id.as_str(), row.encode().as_slice())?;
        Ok(Ok(rev))
    }

    pub(super) fn document(&self, id: &str) -> Result<Option<DocumentRow>, StoreError> {
        let row = self.documents.get(id)?;
        row.map(|row| DocumentRow::decode(row.value())).transpose()
    }

    /// Forgets the text of a revision.
    pub(super) fn remove_body(&mut self, body: BodyRef) -> Result<(), StoreError> {
        if let Some(freed) = self.bodies.remove(body.0)? {
            let freed = freed.value().len() as u64;
            self.counters.bytes = self.counters.bytes.saturating_sub(freed);
        }
        Ok(())
    }

    /// Keeps the numbers of live and deleted documents: what the winner was, and is. None: there is no document.
    pub(super) fn count(&mut self, was_deleted: Option<bool>, is_deleted: Option<bool>) {
        match was_deleted {
            Some(true) => self.counters.deleted -= 1,
            Some(false) => self.counters.documents -= 1,
            None => {}
        }
        match is_deleted {
            Some(true) => self.counters.deleted += 1,
            Some(false) => self.counters.documents += 1,
            None => {}
        }
    }
}

/// The rules of an edit, CouchDB's: it builds on a leaf; a new document, or one that is deleted, needs no base.
fn edit(
    row: &DocumentRow,
    base: Option<Rev>,
    write: &DocumentWrite,
) -> Result<Revisions, CouchError> {
    let parent = match (base, row.tree.winner()) {
        (None, None) => None,
        (None, Some(winner)) if winner.deleted => Some(winner.rev),
        (None, Some(_)) | (Some(_), None) => return Err(CouchError::conflict()),
        (Some(base), Some(_)) => match row.tree.leaf(base) {
            Some(leaf) => Some(leaf.rev),
            None => return Err(CouchError::conflict()),
        },
    };
    let deleted = write.liveness == Liveness::Deleted;
    let child = Rev::of_edit(parent, deleted, write.members.as_bytes())
        .map_err(|_| CouchError::bad_request("Invalid rev format"))?;
    if row.tree.contains(child) {
        // The same edit of the same parent, already made and since replaced.
        return Err(CouchError::conflict());
    }
    Ok(match parent {
        Some(parent) => Revisions::child_of(parent, child),
        None => Revisions::alone(child),
    })
}
