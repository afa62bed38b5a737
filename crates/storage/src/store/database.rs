//! One database's file: documents by id, changes by sequence, bodies ready to splice, local documents; attachments, once there are
//! any ([`super::attachments`]).

use std::io::ErrorKind as IoKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use adyton_couch::document::{DocumentId, LocalEnvelope, LocalRev};
use adyton_couch::limits::REVS_LIMIT;
use adyton_couch::rev::Rev;
use adyton_couch::rev_tree::{BodyRef, Liveness};
use adyton_couch::seq::Life;
use adyton_couch::wire::{CouchError, ErrorKind, KeyRange};
use bytes::Bytes;
use redb::{
    ReadTransaction, ReadableTable, ReadableTableMetadata, Table, TableDefinition, WriteTransaction,
};
use tokio::sync::Semaphore;

use super::attachments::{Attached, AttachmentView, BlobId};
use super::commit::Committer;
use super::copy;
use super::engine::{self, Engine};
use super::format::{self, META};
use super::indexes::{Batch, IndexWriter, StoredIndexes, Unused};
use super::node::NodeStore;
use super::pulse::Pulse;
use super::row::{ChangeRow, DocumentRow};
use super::write::{DocumentWrite, Outcome, Writer};
use super::{StoreError, random};

pub(super) const DOCUMENTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("documents");
pub(super) const BODIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("bodies");
pub(super) const CHANGES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("changes");
pub(super) const LOCAL: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("local");

/// Memory that one open file may use for its pages. Many files are open at once; the kernel caches the rest.
const CACHE_BYTES: usize = 4 << 20;

/// The numbers of a database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) update_seq: u64,
    pub(crate) documents: u64,
    pub(crate) deleted: u64,
    /// Bytes of all bodies, and of the contents of attachments.
    pub(crate) bytes: u64,
    /// Attachments of all revisions. Without any, their tables are not looked at, and need not be there.
    pub(crate) attached: u64,
    pub(crate) life: u64,
    pub(crate) created: u64,
    pub(super) next_body: u64,
    /// Leaves that were purged since the database was made, by requests and documents.
    pub(crate) purge_seq: u64,
    /// Zero until somebody sets it.
    pub(super) revs_limit: u64,
}

impl Counters {
    pub(super) fn load(meta: &impl ReadableTable<&'static str, u64>) -> Result<Self, StoreError> {
        let number = |name: &str| -> Result<u64, StoreError> {
            Ok(meta.get(name)?.map_or(0, |value| value.value()))
        };
        Ok(Self {
            update_seq: number("update_seq")?,
            documents: number("documents")?,
            deleted: number("deleted")?,
            bytes: number("bytes")?,
            attached: number("attached")?,
            life: number("life")?,
            created: number("created")?,
            next_body: number("next_body")?,
            purge_seq: number("purge_seq")?,
            revs_limit: number("revs_limit")?,
        })
    }

    /// Writes those that are not as they were.
    pub(super) fn save(
        &self,
        was: &Self,
        meta: &mut Table<'_, &'static str, u64>,
    ) -> Result<(), StoreError> {
        for ((name, value), (_, was)) in self.named().into_iter().zip(was.named()) {
            if value != was {
                meta.insert(name, value)?;
            }
        }
        Ok(())
    }

    fn named(&self) -> [(&'static str, u64); 10] {
        [
            ("update_seq", self.update_seq),
            ("documents", self.documents),
            ("deleted", self.deleted),
            ("bytes", self.bytes),
            ("attached", self.attached),
            ("life", self.life),
            ("created", self.created),
            ("next_body", self.next_body),
            ("purge_seq", self.purge_seq),
            ("revs_limit", self.revs_limit),
        ]
    }

    /// The same in a life of its own.
    pub(super) fn reborn(self) -> Result<Self, StoreError> {
        let life = u64::from_be_bytes(random()?);
        Ok(Self { life, ..self })
    }

    /// Ancestors remembered behind each leaf.
    pub(crate) fn revs_limit(&self) -> usize {
        match usize::try_from(self.revs_limit) {
            Ok(limit @ 1..=REVS_LIMIT) => limit,
            Ok(_) | Err(_) => REVS_LIMIT,
        }
    }

    /// The life that sequence numbers count in.
    pub(crate) fn life(&self) -> Life {
        Life(self.life)
    }
}

/// One open database file. Cheap to clone.
#[derive(Clone)]
pub(crate) struct DatabaseFile {
    committer: Committer,
    path: PathBuf,
    /// What its sequence numbers count in: no two databases have the same, nor have two that had one name.
    life: Life,
    /// Tells waiting feeds that there is something new.
    pulse: Pulse,
    /// The turn at bringing indexes up to date: one at a time does.
    indexing: Arc<Semaphore>,
}

impl DatabaseFile {
    /// Makes the file if it is not there, and its tables.
    pub(crate) fn create(path: &Path, now: u64, pulse: Pulse) -> Result<Self, StoreError> {
        if let Some(parent) = path.parent() {
            engine::make_directory(parent)?;
        }
        Self::filled(Engine::create(path, CACHE_BYTES)?, path, now, pulse)
    }

    /// Makes the tables.
    pub(super) fn filled(
        engine: Engine,
        path: &Path,
        now: u64,
        pulse: Pulse,
    ) -> Result<Self, StoreError> {
        let transaction = engine.write()?;
        let life = {
            transaction.open_table(DOCUMENTS)?;
            transaction.open_table(BODIES)?;
            transaction.open_table(CHANGES)?;
            transaction.open_table(LOCAL)?;
            let mut meta = transaction.open_table(META)?;
            format::check(&meta)?;
            let mut found = Counters::load(&meta)?;
            if found.life == 0 {
                format::stamp(&mut meta)?;
                let counters = Counters {
                    created: now,
                    next_body: 1,
                    ..found
                };
                let counters = counters.reborn()?;
                counters.save(&found, &mut meta)?;
                found = counters;
            }
            found.life()
        };
        transaction.commit()?;
        Ok(Self {
            committer: Committer::new(engine),
            path: path.to_owned(),
            life,
            pulse,
            indexing: Arc::new(Semaphore::new(1)),
        })
    }

    /// Opens an existing file; repairs it first when the process that wrote it was killed.
    pub(crate) fn open(path: &Path, pulse: Pulse) -> Result<Self, StoreError> {
        let engine = Engine::open(path, CACHE_BYTES).map_err(|error| match error {
            StoreError::Io(error) if error.kind() == IoKind::NotFound => StoreError::Lacking,
            other => other,
        })?;
        let life = {
            let meta = engine.read()?.open_table(META)?;
            format::check(&meta)?;
            Counters::load(&meta)?.life()
        };
        Ok(Self {
            committer: Committer::new(engine),
            path: path.to_owned(),
            life,
            pulse,
            indexing: Arc::new(Semaphore::new(1)),
        })
    }

    /// Whoever waits until the node's own file is closed waits for this one, too.
    pub(crate) fn closes_with(&self, node: &NodeStore) {
        self.committer.closes_with(node.committer());
    }

    /// Ends when the file is closed.
    #[cfg(test)]
    pub(super) fn closed(&self) -> impl Future<Output = ()> + use<> {
        self.committer.closed()
    }

    /// What its sequence numbers count in.
    pub(crate) fn life(&self) -> Life {
        self.life
    }

    /// A consistent view of the database as it is now.
    pub(crate) fn view(&self) -> Result<View, StoreError> {
        View::of(&self.committer.read()?)
    }

    /// The same as [`DatabaseFile::view`], and what is stored of its indexes at that moment.
    pub(crate) fn indexed_view(&self) -> Result<(View, StoredIndexes), StoreError> {
        let transaction = self.committer.read()?;
        let view = View::of(&transaction)?;
        let stored = StoredIndexes::of(&transaction, &view.counters)?;
        Ok((view, stored))
    }

    /// The turn at bringing indexes up to date.
    pub(crate) fn indexing(&self) -> Arc<Semaphore> {
        Arc::clone(&self.indexing)
    }

    /// Writes what brings an index nearer to the present, and removes some of the rows of one that is not used any more. `held` is
    /// held until then, also when nobody waits any more.
    pub(crate) async fn write_index<H: Send + 'static>(
        &self,
        batch: Option<Batch>,
        unused: Option<Unused>,
        held: H,
    ) -> Result<H, StoreError> {
        self.committer
            .write(move |transaction| {
                let counters = Counters::load(&transaction.open_table(META)?)?;
                let mut writer = IndexWriter::open(transaction)?;
                if let Some(unused) = unused {
                    writer.drop_some(unused)?;
                }
                if let Some(batch) = &batch {
                    writer.write(batch, &counters)?;
                }
                Ok(held)
            })
            .await
    }

    /// A piece of an attachment's content, if it is there now. May block.
    pub(crate) fn chunk(&self, blob: BlobId, number: u64) -> Result<Bytes, StoreError> {
        AttachmentView::of(&self.committer.read()?)?
            .chunk(blob, number)?
            .ok_or(StoreError::Gone)
    }

    /// Copies it as it is now. May block.
    pub(crate) fn copy_to(&self, path: &Path) -> Result<(), StoreError> {
        copy::database_to(&self.committer.read()?, path)
    }

    /// Bytes on disk.
    pub(crate) fn file_bytes(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |meta| meta.len())
    }

    /// Writes documents, durably, in order, each with its own outcome. `held` is held until then, also when nobody waits any more.
    pub(crate) async fn write<H: Send + 'static>(
        &self,
        writes: Vec<DocumentWrite>,
        held: H,
    ) -> Result<Vec<Outcome>, StoreError> {
        let pulse = self.pulse.clone();
        let work = move |transaction: &WriteTransaction| {
            let mut writer = Writer::open(transaction)?;
            let outcomes = writes
                .iter()
                .map(|write| writer.write(write))
                .collect::<Result<Vec<_>, _>>()?;
            Ok((outcomes, writer.finish()?.update_seq, held))
        };
        // Told also when the writer hung up: what is durable is replicated.
        let told = self
            .committer
            .write_then(work, move |(_, newest, _)| pulse.tell(*newest));
        Ok(told.await?.0)
    }

    /// Removes leaves as if they had never been written, durably. Returns those that went.
    pub(crate) async fn purge(
        &self,
        wanted: Vec<(DocumentId, Vec<Rev>)>,
    ) -> Result<Vec<(DocumentId, Vec<Rev>)>, StoreError> {
        let (purged, newest) = self
            .committer
            .write(move |transaction| {
                let mut writer = Writer::open(transaction)?;
                let before = writer.counters.purge_seq;
                let mut purged = Vec::with_capacity(wanted.len());
                for (id, revs) in wanted {
                    let gone = writer.purge(&id, &revs)?;
                    purged.push((id, gone));
                }
                let counters = writer.finish()?;
                // The feed does not tell of a document that is gone.
                if let Some(mut indexes) = IndexWriter::existing(transaction)? {
                    let gone = purged.iter().filter(|(_, revs)| !revs.is_empty());
                    let ids: Vec<&str> = gone.map(|(id, _)| id.as_str()).collect();
                    indexes.purge(&ids, before, counters.purge_seq)?;
                }
                Ok((purged, counters.update_seq))
            })
            .await?;
        self.pulse.tell(newest);
        Ok(purged)
    }

    /// Sets how many ancestors are remembered behind each leaf: from the next write of a document on.
    pub(crate) async fn set_revs_limit(&self, limit: usize) -> Result<(), StoreError> {
        self.committer
            .write(move |transaction| {
                let mut writer = Writer::open(transaction)?;
                writer.counters.revs_limit = limit as u64;
                writer.finish()?;
                Ok(())
            })
            .await
    }

    /// Forgets what lies beyond the limit in every document, some documents at a time.
    pub(crate) async fn stem(&self) -> Result<(), StoreError> {
        let mut after: Option<String> = None;
        loop {
            let from = after.take();
            after = self
                .committer
                .write(move |transaction| {
                    let mut writer = Writer::open(transaction)?;
                    let last = writer.stem(from.as_deref())?;
                    writer.finish()?;
                    Ok(last)
                })
                .await?;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Gives the bytes that nothing uses any more back to the file system, unless somebody uses the file: then all stays as it is.
    /// May block for as long as the file is large.
    pub(crate) fn shrunk(self) -> (Self, Result<(), StoreError>) {
        let (committer, done) = self.committer.compacted();
        let this = Self { committer, ..self };
        (this, done)
    }

    /// Writes or removes a local document; no new one where there are `most`.
    pub(crate) async fn write_local(
        &self,
        write: LocalWrite,
        most: u64,
    ) -> Result<Result<LocalRev, CouchError>, StoreError> {
        self.committer
            .write(move |transaction| write.into_table(&mut transaction.open_table(LOCAL)?, most))
            .await
    }

    /// The same of several, each with its own outcome.
    pub(crate) async fn write_locals(
        &self,
        writes: Vec<LocalWrite>,
        most: u64,
    ) -> Result<Vec<Result<LocalRev, CouchError>>, StoreError> {
        self.committer
            .write(move |transaction| {
                let mut table = transaction.open_table(LOCAL)?;
                let writes = writes.into_iter();
                writes
                    .map(|write| write.into_table(&mut table, most))
                    .collect()
            })
            .await
    }
}

/// A local document to write, or to remove.
#[derive(Debug)]
pub(crate) struct LocalWrite {
    pub(crate) id: DocumentId,
    /// The revision that the author saw.
    pub(crate) base: Option<LocalRev>,
    /// None: it is to be removed.
    pub(crate) content: Option<LocalEnvelope>,
}

impl LocalWrite {
    /// Bytes that it adds to a database, about.
    pub(crate) fn bytes(&self) -> u64 {
        let content = self.content.as_ref();
        let text = content.map_or(0, |local| local.members.as_bytes().len());
        (self.id.as_str().len() + text) as u64
    }

    /// Writes it if its base is the revision that is there.
    fn into_table(
        self,
        table: &mut Table<'_, &'static str, (u64, &'static [u8])>,
        most: u64,
    ) -> Result<Result<LocalRev, CouchError>, StoreError> {
        let Self { id, base, content } = self;
        let existing = table.get(id.as_str())?.map(|row| row.value().0);
        let rev = LocalRev(existing.unwrap_or(0) + 1);
        match (content, existing) {
            (_, Some(current)) if base != Some(LocalRev(current)) => {
                return Ok(Err(CouchError::conflict()));
            }
            (None, None) => return Ok(Err(CouchError::missing())),
            (None, Some(_)) => {
                table.remove(id.as_str())?;
                return Ok(Ok(LocalRev(0)));
            }
            (Some(_), None) if table.len()? >= most => {
                let reason = "The database has as many local documents as readers may make.";
                return Ok(Err(CouchError::new(ErrorKind::InsufficientStorage, reason)));
            }
            (Some(local), _) => {
                let rendered = local.members.render(&id, &rev, Liveness::Live);
                table.insert(id.as_str(), (rev.0, rendered.as_slice()))?;
            }
        }
        Ok(Ok(rev))
    }
}

/// A database at one moment. Reading may block: use it on a blocking thread. As long as it is held, nothing that is in it is given
/// back, whatever is written: who waits for a reader must not hold one, so all that is read is copied.
pub(crate) struct View {
    documents: redb::ReadOnlyTable<&'static str, &'static [u8]>,
    bodies: redb::ReadOnlyTable<u64, &'static [u8]>,
    changes: redb::ReadOnlyTable<u64, &'static [u8]>,
    local: redb::ReadOnlyTable<&'static str, (u64, &'static [u8])>,
    attachments: Option<AttachmentView>,
    /// The numbers at that moment.
    pub(crate) counters: Counters,
}

impl View {
    fn of(transaction: &ReadTransaction) -> Result<Self, StoreError> {
        let counters = Counters::load(&transaction.open_table(META)?)?;
        let attachments = match counters.attached {
            0 => None,
            _ => Some(AttachmentView::of(transaction)?),
        };
        Ok(Self {
            documents: transaction.open_table(DOCUMENTS)?,
            bodies: transaction.open_table(BODIES)?,
            changes: transaction.open_table(CHANGES)?,
            local: transaction.open_table(LOCAL)?,
            attachments,
            counters,
        })
    }

    pub(crate) fn document(&self, id: &str) -> Result<Option<DocumentRow>, StoreError> {
        self.documents
            .get(id)?
            .map(|row| DocumentRow::decode(row.value()))
            .transpose()
    }

    /// The stored text of a revision.
    pub(crate) fn body(&self, body: BodyRef) -> Result<Bytes, StoreError> {
        let page = self.bodies.get(body.0)?;
        let page = page.ok_or(StoreError::Corrupt("a body is missing"))?;
        Ok(Bytes::copy_from_slice(page.value()))
    }

    /// The attachments of a revision, in the order of the document.
    pub(crate) fn attached(&self, body: BodyRef) -> Result<Vec<Attached>, StoreError> {
        match &self.attachments {
            None => Ok(Vec::new()),
            Some(attachments) => attachments.attached(body),
        }
    }

    /// A piece of an attachment's content.
    pub(crate) fn chunk(&self, blob: BlobId, number: u64) -> Result<Bytes, StoreError> {
        let chunk = match &self.attachments {
            None => None,
            Some(attachments) => attachments.chunk(blob, number)?,
        };
        chunk.ok_or(StoreError::Corrupt("a piece of an attachment is missing"))
    }

    pub(crate) fn local(&self, id: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(self
            .local
            .get(id)?
            .map(|row| Bytes::copy_from_slice(row.value().1)))
    }

    /// Local documents by id, from one on.
    pub(crate) fn locals(
        &self,
        start: &str,
    ) -> Result<impl Iterator<Item = Result<(String, u64, Bytes), StoreError>>, StoreError> {
        Ok(self.local.range::<&str>(start..)?.map(|row| {
            let (id, row) = row?;
            let (rev, text) = row.value();
            Ok((id.value().to_owned(), rev, Bytes::copy_from_slice(text)))
        }))
    }

    /// Changes after one sequence number, up to another, in order.
    pub(crate) fn changes(
        &self,
        after: u64,
        up_to: u64,
    ) -> Result<impl DoubleEndedIterator<Item = Result<(u64, ChangeRow), StoreError>>, StoreError>
    {
        let from = after.saturating_add(1);
        // Numbers start at 1: nothing is at 0.
        let range = if from <= up_to { from..=up_to } else { 0..=0 };
        Ok(self.changes.range(range)?.map(|row| {
            let (seq, row) = row?;
            Ok((seq.value(), ChangeRow::decode(row.value())?))
        }))
    }

    /// Documents by id within a range given in ascending order.
    pub(crate) fn documents(
        &self,
        range: &KeyRange,
    ) -> Result<
        impl DoubleEndedIterator<Item = Result<(String, DocumentRow), StoreError>>,
        StoreError,
    > {
        use std::ops::Bound;
        let start = range
            .start
            .as_deref()
            .map_or(Bound::Unbounded, Bound::Included);
        let end = match range.end.as_deref() {
            None => Bound::Unbounded,
            Some(end) if range.exclusive_end => Bound::Excluded(end),
            Some(end) => Bound::Included(end),
        };
        let empty = match (range.start.as_deref(), range.end.as_deref()) {
            (Some(start), Some(end)) => start > end || (start == end && range.exclusive_end),
            _ => false,
        };
        let bounds = if empty {
            (Bound::Included(""), Bound::Excluded(""))
        } else {
            (start, end)
        };
        Ok(self.documents.range::<&str>(bounds)?.map(|row| {
            let (id, row) = row?;
            Ok((id.value().to_owned(), DocumentRow::decode(row.value())?))
        }))
    }
}
