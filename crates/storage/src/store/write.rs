//! Writing documents inside a transaction: edits checked against the current leaves, and history merged as it is.

use adyton_couch::attachment::AttachmentName;
use adyton_couch::document::{DocumentId, Members};
use adyton_couch::rev::Rev;
use adyton_couch::rev_tree::{BodyRef, Inserted, Leaf, LiveLeaves, Liveness, Revisions};
use adyton_couch::wire::{CouchError, ErrorKind};
use redb::{ReadableTable, Table, WriteTransaction};

use super::StoreError;
use super::attachments::{AttachmentTables, AttachmentWrite, Resolved, Source};
use super::database::{BODIES, CHANGES, Counters, DOCUMENTS};
use super::format::META;
use super::row::{ChangeRow, DocumentRow};
use super::stubs::{self, Kept, MOST_IN_VAIN};

/// One document to write.
#[derive(Debug)]
pub(crate) struct DocumentWrite {
    pub(crate) id: DocumentId,
    pub(crate) liveness: Liveness,
    pub(crate) members: Members,
    pub(crate) attachments: Vec<AttachmentWrite>,
    pub(crate) kind: WriteKind,
}

/// Bytes that a document takes besides its text, about.
const ROW_BYTES: u64 = 200;
/// Bytes of one revision that a document is said to come from, about.
const ANCESTOR_BYTES: u64 = 20;
/// Bytes of a tombstone that is written where there is no room: enough to say that something is deleted.
pub(crate) const SMALL_TOMBSTONE_BYTES: u64 = 1 << 10;
/// Revisions between such a tombstone and what it deletes: each is kept, too.
pub(crate) const SMALL_TOMBSTONE_REVISIONS: usize = 100;

impl DocumentWrite {
    /// Bytes that it adds to a database, about.
    pub(crate) fn bytes(&self) -> u64 {
        let ancestors = match &self.kind {
            WriteKind::Edit { .. } => 0,
            WriteKind::History(revisions, _) | WriteKind::Deletion(revisions) => {
                revisions.iter().skip(1).count() as u64
            }
        };
        self.own_bytes() + ANCESTOR_BYTES * ancestors
    }

    /// The same without the revisions that it comes from.
    fn own_bytes(&self) -> u64 {
        let attachments = self.attachments.iter().map(AttachmentWrite::bytes);
        let text = self.id.as_str().len() + self.members.as_bytes().len();
        ROW_BYTES + text as u64 + attachments.sum::<u64>()
    }

    /// Whether it only says that something that is there is there no more: that is written where there is no room, too.
    pub(crate) fn only_deletes(&self) -> bool {
        matches!(self.kind, WriteKind::Edit { base: Some(_) })
            && self.liveness == Liveness::Deleted
            && self.own_bytes() <= SMALL_TOMBSTONE_BYTES
    }

    /// Lets history be written only if it deletes something: there is no room for anything else. False: it cannot be that.
    pub(crate) fn narrow_to_deletion(&mut self) -> bool {
        if self.liveness == Liveness::Live || self.own_bytes() > SMALL_TOMBSTONE_BYTES {
            return false;
        }
        if let WriteKind::History(revisions, _) = &self.kind {
            self.kind = WriteKind::Deletion(revisions.clone());
        }
        match self.kind {
            WriteKind::Edit { .. } => self.only_deletes(),
            WriteKind::History(..) | WriteKind::Deletion(_) => true,
        }
    }
}

/// On what authority a revision is added.
#[derive(Debug)]
pub(crate) enum WriteKind {
    /// An edit of a current leaf (of none, for a new document): refused when it is not current.
    Edit {
        /// The revision that the author saw.
        base: Option<Rev>,
    },
    /// A revision made elsewhere, with its ancestry: always merged. Of one that is here, only its past is news.
    History(Revisions, LiveLeaves),
    /// The same of a tombstone, merged if it ends a live leaf, and told no further back: there is no room for anything else.
    Deletion(Revisions),
}

/// What became of one write.
pub(crate) type Outcome = Result<Rev, CouchError>;

/// The tables of one database, open for writing.
pub(super) struct Writer<'t> {
    transaction: &'t WriteTransaction,
    /// Opened when they are needed.
    attachments: Option<AttachmentTables<'t>>,
    pub(super) documents: Table<'t, &'static str, &'static [u8]>,
    bodies: Table<'t, u64, &'static [u8]>,
    pub(super) changes: Table<'t, u64, &'static [u8]>,
    meta: Table<'t, &'static str, u64>,
    pub(super) counters: Counters,
    /// The counters as they are in the file.
    found: Counters,
    /// Looks at attachments for the stubs of documents that were refused.
    pub(super) in_vain: usize,
}

impl<'t> Writer<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, StoreError> {
        let meta = transaction.open_table(META)?;
        let found = Counters::load(&meta)?;
        Ok(Self {
            transaction,
            attachments: None,
            documents: transaction.open_table(DOCUMENTS)?,
            bodies: transaction.open_table(BODIES)?,
            changes: transaction.open_table(CHANGES)?,
            counters: found,
            found,
            in_vain: 0,
            meta,
        })
    }

    /// Writes the counters; without this, nothing of the writer counts.
    pub(super) fn finish(mut self) -> Result<Counters, StoreError> {
        self.counters.save(&self.found, &mut self.meta)?;
        Ok(self.counters)
    }

    pub(super) fn write(&mut self, write: &DocumentWrite) -> Result<Outcome, StoreError> {
        let in_vain = self.in_vain;
        let outcome = self.merge(write)?;
        if outcome.is_ok() {
            self.in_vain = in_vain;
        }
        Ok(outcome)
    }

    fn merge(&mut self, write: &DocumentWrite) -> Result<Outcome, StoreError> {
        let mut row = self.document(write.id.as_str())?.unwrap_or_default();
        let (revisions, resolved) = match &write.kind {
            WriteKind::History(revisions, _) | WriteKind::Deletion(revisions) => {
                let Ok(rev) = revisions.newest() else {
                    return Ok(Err(CouchError::bad_request("Invalid _revisions")));
                };
                if row.tree.contains(rev) {
                    // A past takes room.
                    if let WriteKind::History(_, live_leaves) = write.kind {
                        self.join(write, row, revisions, live_leaves)?;
                    }
                    return Ok(Ok(rev));
                }
                let revisions = match &write.kind {
                    WriteKind::Deletion(_) => match back_to_live_leaves(&row, revisions) {
                        Some(revisions) => revisions,
                        None => {
                            let reason = "There is room for deletions only.";
                            return Ok(Err(CouchError::new(
                                ErrorKind::InsufficientStorage,
                                reason,
                            )));
                        }
                    },
                    _ => revisions.clone(),
                };
                let sources = match write.attachments.is_empty() {
                    true => Vec::new(),
                    false => stubs::ancestors(&row, &revisions),
                };
                match self.resolve(write, &sources, rev.generation())? {
                    Ok(resolved) => (revisions, resolved),
                    Err(refusal) => return Ok(Err(refusal)),
                }
            }
            WriteKind::Edit { base } => {
                let parent = match parent(&row, *base) {
                    Ok(parent) => parent,
                    Err(refusal) => return Ok(Err(refusal)),
                };
                let generation = parent.map_or(0, |leaf| leaf.rev.generation()) + 1;
                let resolved = match self.resolve(write, &stubs::bodies(parent), generation)? {
                    Ok(resolved) => resolved,
                    Err(refusal) => return Ok(Err(refusal)),
                };
                match edit(&row, parent, write, &resolved) {
                    Ok(revisions) => (revisions, resolved),
                    Err(refusal) => return Ok(Err(refusal)),
                }
            }
        };
        let Ok(rev) = revisions.newest() else {
            return Ok(Err(CouchError::bad_request("Invalid _revisions")));
        };
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
        self.add_body(body, write, rev, &resolved)?;
        for old in superseded {
            self.remove_body(old)?;
        }
        self.changed(&write.id, row, before)?;
        Ok(Ok(rev))
    }

    /// Takes over what is told of the past of a revision that is here.
    fn join(
        &mut self,
        DocumentWrite { id, liveness, .. }: &DocumentWrite,
        mut row: DocumentRow,
        revisions: &Revisions,
        live_leaves: LiveLeaves,
    ) -> Result<(), StoreError> {
        let (was, before) = (row.tree.clone(), row.tree.winner());
        let Some(joined) = row.tree.join(revisions, *liveness, live_leaves) else {
            return Ok(());
        };
        row.tree.stem(self.counters.revs_limit());
        // What is further back than is remembered is not news.
        if row.tree == was {
            return Ok(());
        }
        for old in joined.superseded {
            self.remove_body(old)?;
        }
        if row.tree.leaves() == was.leaves() {
            self.documents
                .insert(id.as_str(), row.encode().as_slice())?;
            return Ok(());
        }
        self.changed(id, row, before)
    }

    /// Writes a document's row whose leaves have changed, and tells of it. `before`: the winner until then.
    fn changed(
        &mut self,
        id: &DocumentId,
        mut row: DocumentRow,
        before: Option<Leaf>,
    ) -> Result<(), StoreError> {
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
        self.changes
            .insert(row.seq, ChangeRow::new(id, &leaves).encode().as_slice())?;
        self.documents
            .insert(id.as_str(), row.encode().as_slice())?;
        Ok(())
    }

    pub(super) fn document(&self, id: &str) -> Result<Option<DocumentRow>, StoreError> {
        let row = self.documents.get(id)?;
        row.map(|row| DocumentRow::decode(row.value())).transpose()
    }

    /// Stores the text of a revision, and its attachments.
    fn add_body(
        &mut self,
        body: BodyRef,
        write: &DocumentWrite,
        rev: Rev,
        resolved: &Resolved<'_>,
    ) -> Result<(), StoreError> {
        let mut rendered = write.members.render(&write.id, &rev, write.liveness);
        if !resolved.attached.is_empty() {
            rendered.pop();
            rendered.extend(resolved.stubs());
            rendered.push(b'}');
            let tables = opened(&mut self.attachments, self.transaction)?;
            tables.attach(body, resolved, &mut self.counters)?;
        }
        self.counters.next_body += 1;
        self.counters.bytes += rendered.len() as u64;
        self.bodies.insert(body.0, rendered.as_slice())?;
        Ok(())
    }

    /// Forgets the text of a revision, its attachments, and what of their contents nobody else needs.
    pub(super) fn remove_body(&mut self, body: BodyRef) -> Result<(), StoreError> {
        if let Some(freed) = self.bodies.remove(body.0)? {
            let freed = freed.value().len() as u64;
            self.counters.bytes = self.counters.bytes.saturating_sub(freed);
        }
        if self.counters.attached > 0 {
            let tables = opened(&mut self.attachments, self.transaction)?;
            tables.detach(body, &mut self.counters)?;
        }
        Ok(())
    }

    /// Finds the contents of the write's attachments: sent with it, or kept by one of its ancestors, the nearest first.
    fn resolve<'w>(
        &mut self,
        write: &'w DocumentWrite,
        ancestors: &[BodyRef],
        generation: u64,
    ) -> Result<Result<Resolved<'w>, CouchError>, StoreError> {
        let mut resolved = Resolved::default();
        // When a content came is ours to say of an edit; of history made elsewhere it is a fact.
        let said = |revpos: Option<u64>| match write.kind {
            WriteKind::Edit { .. } => None,
            WriteKind::History(..) | WriteKind::Deletion(_) => revpos,
        };
        let mut kept = None;
        for AttachmentWrite { name, source } in &write.attachments {
            match source {
                Source::New {
                    content_type,
                    revpos,
                    encoding,
                    length,
                    blob,
                } => {
                    let (kind, content) = ((content_type, said(*revpos)), (*encoding, *length));
                    resolved.add(name, kind, content, blob, generation);
                }
                Source::Stored(attached) => {
                    let tables = opened(&mut self.attachments, self.transaction)?;
                    if !tables.has(attached.blob)? {
                        return Ok(Err(missing_stub(write, name)));
                    }
                    resolved.keep((**attached).clone(), None, generation);
                }
                Source::Kept { digest, revpos } => {
                    self.in_vain += 1;
                    let kept = match &mut kept {
                        Some(kept) => kept,
                        none => none.insert(self.kept_by(ancestors)?),
                    };
                    match kept.find(name, *digest) {
                        Some(attached) => {
                            resolved.keep(attached.clone(), said(*revpos), generation)
                        }
                        None => return Ok(Err(missing_stub(write, name))),
                    }
                }
            }
        }
        Ok(Ok(resolved))
    }

    /// What stubs may mean.
    fn kept_by(&mut self, ancestors: &[BodyRef]) -> Result<Kept, StoreError> {
        let mut kept = Kept::default();
        if self.counters.attached == 0 || self.in_vain > MOST_IN_VAIN {
            return Ok(kept);
        }
        for body in ancestors {
            let tables = opened(&mut self.attachments, self.transaction)?;
            self.in_vain += kept.add(tables.of(*body)?);
        }
        Ok(kept)
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

/// The tables of attachments, opened on first use.
fn opened<'s, 't>(
    slot: &'s mut Option<AttachmentTables<'t>>,
    transaction: &'t WriteTransaction,
) -> Result<&'s mut AttachmentTables<'t>, StoreError> {
    let tables = match slot.take() {
        Some(tables) => tables,
        None => AttachmentTables::open(transaction)?,
    };
    Ok(slot.insert(tables))
}

/// The rules of an edit, CouchDB's: it builds on a leaf; a new document, or one that is deleted, needs no base.
fn parent(row: &DocumentRow, base: Option<Rev>) -> Result<Option<Leaf>, CouchError> {
    match (base, row.tree.winner()) {
        (None, None) => Ok(None),
        (None, Some(winner)) if winner.deleted => Ok(Some(winner)),
        (None, Some(_)) | (Some(_), None) => Err(CouchError::conflict()),
        (Some(base), Some(_)) => match row.tree.leaf(base) {
            Some(leaf) => Ok(Some(leaf)),
            None => Err(CouchError::conflict()),
        },
    }
}

/// The name of an edit's revision, with its parent.
fn edit(
    row: &DocumentRow,
    parent: Option<Leaf>,
    write: &DocumentWrite,
    resolved: &Resolved<'_>,
) -> Result<Revisions, CouchError> {
    let parent = parent.map(|leaf| leaf.rev);
    let deleted = write.liveness == Liveness::Deleted;
    let child = if resolved.attached.is_empty() {
        Rev::of_edit(parent, deleted, write.members.as_bytes())
    } else {
        let content = [write.members.as_bytes(), &resolved.identity()].concat();
        Rev::of_edit(parent, deleted, &content)
    }
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

/// The ancestry of a tombstone as far as the live leaves among its last ancestors, which it ends. None: there is none.
fn back_to_live_leaves(row: &DocumentRow, revisions: &Revisions) -> Option<Revisions> {
    let last = revisions.iter().skip(1).take(SMALL_TOMBSTONE_REVISIONS);
    let leaves = last.filter_map(|rev| row.tree.leaf(rev));
    let oldest = leaves.filter(|leaf| !leaf.deleted).last()?;
    Some(revisions.clone().back_to(oldest.rev))
}

fn missing_stub(write: &DocumentWrite, name: &AttachmentName) -> CouchError {
    CouchError {
        kind: ErrorKind::MissingStub,
        reason: format!("Invalid attachment stub in {} for {name}", write.id).into(),
    }
}
