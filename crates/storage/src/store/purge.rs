//! Taking out of the past: purged leaves, and ancestors that a lower limit forgets. Inside a transaction, like every write.

use adyton_couch::document::DocumentId;
use adyton_couch::rev::Rev;
use redb::ReadableTable;

use super::StoreError;
use super::row::{ChangeRow, DocumentRow};
use super::write::Writer;

/// Documents that one transaction looks at to forget their ancestors.
pub(super) const STEMMED_PER_TRANSACTION: usize = 1_000;

impl Writer<'_> {
    /// Removes leaves as if they had never been written. A document without any left is gone from feed and lists; another is
    /// told anew, for its winner may be another.
    pub(super) fn purge(&mut self, id: &DocumentId, revs: &[Rev]) -> Result<Vec<Rev>, StoreError> {
        let Some(mut row) = self.document(id.as_str())? else {
            return Ok(Vec::new());
        };
        let before = row.tree.winner();
        let purged = row.tree.purge(revs);
        if purged.is_empty() {
            return Ok(Vec::new());
        }
        for leaf in &purged {
            if let Some(body) = leaf.body {
                self.remove_body(body)?;
            }
        }
        let leaves = row.tree.leaves();
        self.count(
            before.map(|leaf| leaf.deleted),
            leaves.first().map(|leaf| leaf.deleted),
        );
        self.changes.remove(row.seq)?;
        self.counters.update_seq += 1;
        self.counters.purge_seq += 1;
        if leaves.is_empty() {
            self.documents.remove(id.as_str())?;
        } else {
            row.seq = self.counters.update_seq;
            let change = ChangeRow::new(id, &leaves).encode();
            self.changes.insert(row.seq, change.as_slice())?;
            self.documents
                .insert(id.as_str(), row.encode().as_slice())?;
        }
        Ok(purged.into_iter().map(|leaf| leaf.rev).collect())
    }

    /// Forgets what lies more than the limit behind every leaf, in the documents after `after`. Returns the last one looked at,
    /// if there may be more.
    pub(super) fn stem(&mut self, after: Option<&str>) -> Result<Option<String>, StoreError> {
        use std::ops::Bound;
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let limit = self.counters.revs_limit();
        let (mut last, mut looked_at, mut stemmed) = (None, 0, Vec::new());
        for row in self
            .documents
            .range::<&str>((start, Bound::Unbounded))?
            .take(STEMMED_PER_TRANSACTION)
        {
            let (id, row) = row?;
            let mut row = DocumentRow::decode(row.value())?;
            let before = row.tree.len();
            row.tree.stem(limit);
            if row.tree.len() < before {
                stemmed.push((id.value().to_owned(), row));
            }
            looked_at += 1;
            last = Some(id.value().to_owned());
        }
        for (id, row) in stemmed {
            self.documents
                .insert(id.as_str(), row.encode().as_slice())?;
        }
        Ok(last.filter(|_| looked_at == STEMMED_PER_TRANSACTION))
    }
}
