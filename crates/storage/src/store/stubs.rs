//! Stubs of attachments: what stands for a content that an ancestor of the new revision keeps.
//!
//! Guarantees: the attachments of an ancestor are read once for all stubs of a document, and of few ancestors; and a request whose
//! documents are refused for their stubs reads [`MOST_IN_VAIN`] attachments, and no more: there is one writer of a database at a
//! time, and the others wait for it.

use std::collections::HashMap;

use adyton_couch::attachment::{AttachmentDigest, AttachmentName};
use adyton_couch::rev_tree::{BodyRef, Leaf, Revisions};

use super::attachments::Attached;
use super::row::DocumentRow;

/// Ancestors of a revision whose attachments are read for its stubs. More than one are leaves only where somebody told no more than
/// a part of its past before.
const MOST_ANCESTORS: usize = 8;
/// Attachments that one request may have looked at for documents that were refused then. After so many, no stub is found.
pub(super) const MOST_IN_VAIN: usize = 100_000;
/// Bytes of the name and type of an attachment that is looked at; one with more counts as several.
const LOOK_BYTES: usize = 400;

/// The attachments that stubs may mean.
#[derive(Default)]
pub(super) struct Kept {
    /// Of each name, what the nearest ancestor has first.
    by_name: HashMap<AttachmentName, Vec<Attached>>,
}

impl Kept {
    /// Adds what an ancestor has; the nearest comes first. Returns how many looks it took.
    pub(super) fn add(&mut self, attached: Vec<Attached>) -> usize {
        let mut looks = 0;
        for attached in attached {
            let attachment = &attached.attachment;
            let texts = attachment.name.as_str().len() + attachment.content_type.as_str().len();
            looks += 1 + texts / LOOK_BYTES;
            let name = attachment.name.clone();
            self.by_name.entry(name).or_default().push(attached);
        }
        looks
    }

    /// What a stub of this name means: with a digest, that content only.
    pub(super) fn find(
        &self,
        name: &AttachmentName,
        digest: Option<AttachmentDigest>,
    ) -> Option<&Attached> {
        let mut named = self.by_name.get(name)?.iter();
        named.find(|attached| digest.is_none_or(|digest| digest == attached.attachment.digest))
    }
}

/// The texts of the nearest leaves that a new revision descends from: their attachments are what its stubs may mean.
pub(super) fn ancestors(row: &DocumentRow, revisions: &Revisions) -> Vec<BodyRef> {
    let leaves = revisions.iter().filter_map(|rev| row.tree.leaf(rev));
    bodies(leaves)
}

/// The texts of these leaves, of so many as are read.
pub(super) fn bodies(leaves: impl IntoIterator<Item = Leaf>) -> Vec<BodyRef> {
    let bodies = leaves.into_iter().filter_map(|leaf| leaf.body);
    bodies.take(MOST_ANCESTORS).collect()
}

#[cfg(test)]
mod tests {
    use adyton_couch::attachment::{ContentType, Encoding};
    use adyton_couch::rev::{Rev, RevHash};
    use adyton_couch::rev_tree::{LiveLeaves, Liveness};
    use adyton_couch::wire::ErrorKind;
    use bytes::Bytes;
    use redb::Database;

    use super::super::attachments::{AttachmentWrite, Blob, Source};
    use super::super::write::{DocumentWrite, WriteKind, Writer};
    use super::*;

    const EACH: usize = 50;

    fn hash(number: usize) -> RevHash {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
        RevHash::from_bytes(bytes)
    }

    /// A revision of one document, its ancestry newest first.
    fn told(ids: &[usize], attachments: Vec<AttachmentWrite>) -> DocumentWrite {
        let ids: Vec<_> = ids.iter().map(|id| hash(*id)).collect();
        let revisions = Revisions::new(ids.len() as u64, ids).unwrap();
        DocumentWrite {
            id: "x".parse().unwrap(),
            liveness: Liveness::Live,
            members: Default::default(),
            attachments,
            kind: WriteKind::History(revisions, LiveLeaves::End),
        }
    }

    fn new(prefix: &str) -> Vec<AttachmentWrite> {
        let blob = Blob::new(Bytes::new());
        let each = (0..EACH).map(|n| AttachmentWrite {
            name: format!("{prefix}{n}").parse().unwrap(),
            source: Source::New {
                content_type: ContentType::default(),
                revpos: None,
                encoding: Encoding::Identity,
                length: 0,
                blob: blob.clone(),
            },
        });
        each.collect()
    }

    fn stubs(prefix: &str) -> Vec<AttachmentWrite> {
        let each = (0..EACH).map(|n| AttachmentWrite {
            name: format!("{prefix}{n}").parse().unwrap(),
            source: Source::Kept {
                digest: None,
                revpos: None,
            },
        });
        each.collect()
    }

    #[test]
    fn stubs_of_nothing_cost_a_look_each() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::create(dir.path().join("a.redb")).unwrap();
        let transaction = database.begin_write().unwrap();
        let mut writer = Writer::open(&transaction).unwrap();
        for branch in 1..=100 {
            writer.write(&told(&[branch], new("a"))).unwrap().unwrap();
        }
        let refused = |writer: &mut Writer<'_>, write: &DocumentWrite| {
            let before = writer.in_vain;
            let refusal = writer.write(write).unwrap().unwrap_err();
            assert_eq!(refusal.kind, ErrorKind::MissingStub);
            writer.in_vain - before
        };
        // A revision that descends from no branch: none of them is looked at.
        let strange = told(&[1_000], stubs("b"));
        assert_eq!(refused(&mut writer, &strange), 1);
        // One that descends from a branch: that one is read once, and each stub is looked up until one means nothing.
        let mut wrong = stubs("a");
        wrong.extend(stubs("b"));
        let wrong = told(&[1_001, 7], wrong);
        assert_eq!(refused(&mut writer, &wrong), 2 * EACH + 1);
        // What is found is not in vain.
        let before = writer.in_vain;
        let right = told(&[1_002, 7], stubs("a"));
        writer.write(&right).unwrap().unwrap();
        assert_eq!(writer.in_vain, before);

        // A request that was refused so often finds nothing more.
        let wrong = told(&[1_003, 8], stubs("b"));
        while writer.in_vain < MOST_IN_VAIN {
            assert_eq!(refused(&mut writer, &wrong), EACH + 1);
        }
        let right = told(&[1_004, 8], stubs("a"));
        assert_eq!(refused(&mut writer, &right), 1);
        // The next one begins anew.
        writer.in_vain = 0;
        writer.write(&right).unwrap().unwrap();
    }

    #[test]
    fn the_stubs_of_a_document_are_looked_for_in_few_of_its_ancestors() {
        let mut row = DocumentRow::default();
        // Each is told as if it came from nowhere, and then one that comes from all of them.
        let ids: Vec<_> = (1..=100).rev().map(hash).collect();
        for (generation, id) in (1..).zip(ids.iter().rev()) {
            let alone = Revisions::alone(Rev::new(generation, *id).unwrap());
            let body = Some(BodyRef(generation));
            row.tree.insert(&alone, Liveness::Live, body).unwrap();
        }
        let revisions = Revisions::new(101, [vec![hash(101)], ids].concat()).unwrap();
        let nearest: Vec<_> = (93..=100).rev().map(BodyRef).collect();
        assert_eq!(ancestors(&row, &revisions), nearest);
    }
}
