//! The contents of attachments: beside the documents, in the same transactions, each content once per database.
//!
//! Three tables, made when the first attachment of a database is written (a file without them is the older form, and reads as one
//! without attachments):
//!
//! - `attached`: body of a revision → its attachments, as JSON, in the order of the document.
//! - `blobs`: SHA-256 of a content → how many rows of `attached` name it (counted once per name), and its bytes.
//! - `chunks`: (SHA-256, number) → a piece of it, [`CHUNK_BYTES`] each but the last.
//!
//! A body goes in the transaction that supersedes it, its attachments with it, and a content with its last reference. SHA-256
//! finds contents, never MD5: who can write must not be able to put one content in the place of another.

use adyton_couch::attachment::{
    Attachment, AttachmentDigest, AttachmentName, ContentType, Encoding, stubs,
};
use adyton_couch::rev_tree::BodyRef;
use bytes::Bytes;
use md5::Md5;
use redb::{
    ReadOnlyTable, ReadTransaction, ReadableTable, Table, TableDefinition, WriteTransaction,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::StoreError;
use super::database::Counters;

pub(super) const ATTACHED: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("attached");
pub(super) const BLOBS: TableDefinition<'_, &[u8; 32], (u64, u64)> = TableDefinition::new("blobs");
pub(super) const CHUNKS: TableDefinition<'_, (&[u8; 32], u64), &[u8]> =
    TableDefinition::new("chunks");

/// Bytes of a piece: with the engine's own words it fills a page of 256 KiB, and no more.
pub(crate) const CHUNK_BYTES: u64 = (256 << 10) - 1_024;

/// Names a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlobId([u8; 32]);

impl BlobId {
    pub(super) fn bytes(self) -> [u8; 32] {
        self.0
    }
}

impl Serialize for BlobId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for BlobId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let mut id = [0; 32];
        hex::decode_to_slice(&*text, &mut id).map_err(serde::de::Error::custom)?;
        Ok(Self(id))
    }
}

/// A content with its names, made before a transaction is open.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    id: BlobId,
    digest: AttachmentDigest,
    bytes: Bytes,
}

impl Blob {
    /// Hashes the bytes. Takes its time: not on a thread that serves others.
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self {
            id: BlobId(Sha256::digest(&bytes).into()),
            digest: AttachmentDigest::from_bytes(Md5::digest(&bytes).into()),
            bytes,
        }
    }

    pub(crate) fn digest(&self) -> AttachmentDigest {
        self.digest
    }

    /// Its bytes.
    pub(crate) fn length(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// An attachment of a document that is to be written.
#[derive(Debug, Clone)]
pub(crate) struct AttachmentWrite {
    pub(crate) name: AttachmentName,
    pub(crate) source: Source,
}

/// Bytes that an attachment takes besides its content, name and type, about: it stands in a row of its revision, in the text of the
/// document, and its content among those that are counted.
const ATTACHMENT_BYTES: u64 = 400;

impl AttachmentWrite {
    /// Bytes that it adds to a database, about.
    pub(crate) fn bytes(&self) -> u64 {
        let (content_type, content) = match &self.source {
            Source::New {
                content_type, blob, ..
            } => (content_type.as_str(), blob.length()),
            Source::Stored(attached) => (attached.attachment.content_type.as_str(), 0),
            // Its type is known when it is written.
            Source::Kept { .. } => ("", 0),
        };
        let texts = self.name.as_str().len() + content_type.len();
        ATTACHMENT_BYTES + texts as u64 + content
    }
}

/// Where its content comes from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// The writer sent it.
    New {
        content_type: ContentType,
        /// The generation in which it came; none: this one.
        revpos: Option<u64>,
        encoding: Encoding,
        /// Bytes, decoded.
        length: u64,
        blob: Blob,
    },
    /// A revision of the document has it; this one, if a digest is given.
    Kept {
        digest: Option<AttachmentDigest>,
        /// The generation in which it came, where the writer has a say.
        revpos: Option<u64>,
    },
    /// Another document of the database has it, or had it a moment ago.
    Stored(Box<Attached>),
}

/// An attachment of a stored revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attached {
    #[serde(flatten)]
    pub(crate) attachment: Attachment,
    pub(crate) blob: BlobId,
}

/// The attachments of a revision that is being written, with the contents that are new.
#[derive(Default)]
pub(super) struct Resolved<'w> {
    pub(super) attached: Vec<Attached>,
    new: Vec<Option<&'w Blob>>,
}

impl<'w> Resolved<'w> {
    /// Takes an attachment over from a stored revision.
    pub(super) fn keep(&mut self, mut kept: Attached, revpos: Option<u64>, generation: u64) {
        let revpos = revpos.unwrap_or(kept.attachment.revpos);
        kept.attachment.revpos = revpos.clamp(1, generation);
        self.attached.push(kept);
        self.new.push(None);
    }

    /// Adds what the writer sent. `generation` is the revision's own.
    pub(super) fn add(
        &mut self,
        name: &AttachmentName,
        (content_type, revpos): (&ContentType, Option<u64>),
        (encoding, length): (Encoding, u64),
        blob: &'w Blob,
        generation: u64,
    ) {
        let attachment = Attachment {
            name: name.clone(),
            content_type: content_type.clone(),
            revpos: revpos.unwrap_or(generation).clamp(1, generation),
            digest: blob.digest,
            length,
            encoding,
            encoded_length: blob.length(),
        };
        self.attached.push(Attached {
            attachment,
            blob: blob.id,
        });
        self.new.push(Some(blob));
    }

    /// What of the attachments a revision's name depends on: names, types and contents, not when they came.
    pub(super) fn identity(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for attached in &self.attached {
            let timeless = Attachment {
                revpos: 0,
                ..attached.attachment.clone()
            };
            out.extend(stubs([&timeless]));
            out.extend_from_slice(&attached.blob.0);
        }
        out
    }

    /// The member that a stored document ends with.
    pub(super) fn stubs(&self) -> Vec<u8> {
        stubs(self.attached.iter().map(|attached| &attached.attachment))
    }
}

/// The tables, open for writing.
pub(super) struct AttachmentTables<'t> {
    attached: Table<'t, u64, &'static [u8]>,
    blobs: Table<'t, &'static [u8; 32], (u64, u64)>,
    chunks: Table<'t, (&'static [u8; 32], u64), &'static [u8]>,
}

impl<'t> AttachmentTables<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, StoreError> {
        Ok(Self {
            attached: transaction.open_table(ATTACHED)?,
            blobs: transaction.open_table(BLOBS)?,
            chunks: transaction.open_table(CHUNKS)?,
        })
    }

    /// Whether a content is there.
    pub(super) fn has(&self, blob: BlobId) -> Result<bool, StoreError> {
        Ok(self.blobs.get(&blob.0)?.is_some())
    }

    /// The attachments of a stored revision.
    pub(super) fn of(&self, body: BodyRef) -> Result<Vec<Attached>, StoreError> {
        read_row(self.attached.get(body.0)?.map(|row| row.value().to_vec()))
    }

    /// Stores the attachments of a revision whose body is stored in the same transaction.
    pub(super) fn attach(
        &mut self,
        body: BodyRef,
        resolved: &Resolved<'_>,
        counters: &mut Counters,
    ) -> Result<(), StoreError> {
        let row = serde_json::to_vec(&resolved.attached)
            .map_err(|_| StoreError::Corrupt("attachments cannot be written as JSON"))?;
        self.attached.insert(body.0, row.as_slice())?;
        for (attached, new) in resolved.attached.iter().zip(&resolved.new) {
            counters.attached += 1;
            let id = &attached.blob.0;
            let known = self.blobs.get(id)?.map(|row| row.value());
            match (known, new) {
                (Some((references, bytes)), _) => {
                    self.blobs.insert(id, (references + 1, bytes))?;
                }
                (None, Some(blob)) => {
                    let chunk_bytes = usize::try_from(CHUNK_BYTES).unwrap_or(usize::MAX);
                    for (number, chunk) in (0..).zip(blob.bytes.chunks(chunk_bytes)) {
                        self.chunks.insert((id, number), chunk)?;
                    }
                    self.blobs.insert(id, (1, blob.length()))?;
                    counters.bytes += blob.length();
                }
                (None, None) => return Err(StoreError::Corrupt("an attachment has no content")),
            }
        }
        Ok(())
    }

    /// Forgets the attachments of a revision whose body goes in the same transaction.
    pub(super) fn detach(
        &mut self,
        body: BodyRef,
        counters: &mut Counters,
    ) -> Result<(), StoreError> {
        let row = self.attached.remove(body.0)?;
        let attached = read_row(row.map(|row| row.value().to_vec()))?;
        for Attached { blob, .. } in attached {
            counters.attached = counters.attached.saturating_sub(1);
            let known = self.blobs.get(&blob.0)?.map(|row| row.value());
            let (references, bytes) =
                known.ok_or(StoreError::Corrupt("an attachment has no content"))?;
            if references > 1 {
                self.blobs.insert(&blob.0, (references - 1, bytes))?;
                continue;
            }
            self.blobs.remove(&blob.0)?;
            for number in 0..bytes.div_ceil(CHUNK_BYTES) {
                self.chunks.remove((&blob.0, number))?;
            }
            counters.bytes = counters.bytes.saturating_sub(bytes);
        }
        Ok(())
    }
}

/// The tables at one moment.
pub(super) struct AttachmentView {
    attached: ReadOnlyTable<u64, &'static [u8]>,
    chunks: ReadOnlyTable<(&'static [u8; 32], u64), &'static [u8]>,
}

impl AttachmentView {
    pub(super) fn of(transaction: &ReadTransaction) -> Result<Self, StoreError> {
        Ok(Self {
            attached: transaction.open_table(ATTACHED)?,
            chunks: transaction.open_table(CHUNKS)?,
        })
    }

    pub(super) fn attached(&self, body: BodyRef) -> Result<Vec<Attached>, StoreError> {
        read_row(self.attached.get(body.0)?.map(|row| row.value().to_vec()))
    }

    pub(super) fn chunk(&self, blob: BlobId, number: u64) -> Result<Option<Bytes>, StoreError> {
        let chunk = self.chunks.get((&blob.0, number))?;
        Ok(chunk.map(|chunk| Bytes::copy_from_slice(chunk.value())))
    }
}

fn read_row(row: Option<Vec<u8>>) -> Result<Vec<Attached>, StoreError> {
    let Some(row) = row else {
        return Ok(Vec::new());
    };
    serde_json::from_slice(&row).map_err(|_| StoreError::Corrupt("a row of attachments"))
}

#[cfg(test)]
mod tests {
    use redb::{Database, ReadableDatabase, ReadableTableMetadata};

    use super::*;

    fn resolved<'b>(blobs: &'b [(&str, Blob)]) -> Resolved<'b> {
        let mut resolved = Resolved::default();
        for (name, blob) in blobs {
            let length = blob.length();
            let kind = ContentType::default();
            resolved.add(
                &name.parse().unwrap(),
                (&kind, None),
                (Encoding::Identity, length),
                blob,
                1,
            );
        }
        resolved
    }

    #[test]
    fn a_content_is_kept_once_and_goes_with_its_last_reference() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::create(dir.path().join("a.redb")).unwrap();
        let large = Bytes::from(vec![7; CHUNK_BYTES as usize * 2 + 1]);
        let blobs = [
            ("a", Blob::new(large.clone())),
            ("b", Blob::new(large.clone())),
            ("c", Blob::new(Bytes::new())),
        ];
        let mut counters = Counters::default();
        let write = |work: &mut dyn FnMut(&mut AttachmentTables<'_>)| {
            let transaction = database.begin_write().unwrap();
            work(&mut AttachmentTables::open(&transaction).unwrap());
            transaction.commit().unwrap();
        };
        write(&mut |tables| {
            for body in [1, 2] {
                tables
                    .attach(BodyRef(body), &resolved(&blobs), &mut counters)
                    .unwrap();
            }
            assert_eq!(counters.bytes, large.len() as u64);
            assert_eq!(counters.attached, 6);
            assert_eq!(
                tables
                    .blobs
                    .get(&blobs[0].1.id.0)
                    .unwrap()
                    .unwrap()
                    .value()
                    .0,
                4
            );
        });
        let view = AttachmentView::of(&database.begin_read().unwrap()).unwrap();
        let attached = view.attached(BodyRef(2)).unwrap();
        let read: Vec<u8> = (0..3)
            .flat_map(|n| view.chunk(attached[1].blob, n).unwrap().unwrap())
            .collect();
        assert_eq!(read, large);
        write(&mut |tables| {
            tables.detach(BodyRef(1), &mut counters).unwrap();
            assert_eq!(counters.bytes, large.len() as u64);
            tables.detach(BodyRef(2), &mut counters).unwrap();
            assert_eq!((counters.bytes, counters.attached), (0, 0));
            assert!(tables.attached.is_empty().unwrap());
            assert!(tables.blobs.is_empty().unwrap() && tables.chunks.is_empty().unwrap());
            // A body without attachments has nothing to forget.
            tables.detach(BodyRef(3), &mut counters).unwrap();
        });
    }
}
