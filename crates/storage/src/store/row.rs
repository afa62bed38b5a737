//! The bytes of the rows: a document's row in `documents`, and its row in `changes`.

use adyton_couch::document::DocumentId;
use adyton_couch::rev::{Rev, RevHash};
use adyton_couch::rev_tree::{BodyRef, Leaf, RevTree};

use super::StoreError;

/// What is known of a document: where it stands in the feed, and its history.
#[derive(Debug, Clone, Default)]
pub(crate) struct DocumentRow {
    pub(crate) seq: u64,
    pub(crate) tree: RevTree,
}

impl DocumentRow {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = self.seq.to_be_bytes().to_vec();
        out.extend(self.tree.encode());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let (seq, tree) = bytes
            .split_first_chunk()
            .ok_or(StoreError::Corrupt("document row"))?;
        let tree = RevTree::decode(tree).map_err(|_| StoreError::Corrupt("revision tree"))?;
        Ok(Self {
            seq: u64::from_be_bytes(*seq),
            tree,
        })
    }
}

/// One line of the feed: all that an answer needs but the body itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChangeRow {
    pub(crate) id: String,
    pub(crate) deleted: bool,
    /// The winner's body.
    pub(crate) body: Option<BodyRef>,
    /// The winner first.
    pub(crate) leaves: Vec<Rev>,
}

impl ChangeRow {
    pub(crate) fn new(id: &DocumentId, leaves: &[Leaf]) -> Self {
        let winner = leaves.first();
        Self {
            id: id.as_str().to_owned(),
            deleted: winner.is_some_and(|leaf| leaf.deleted),
            body: winner.and_then(|leaf| leaf.body),
            leaves: leaves.iter().map(|leaf| leaf.rev).collect(),
        }
    }

    /// Whether this is the line of a document with these leaves.
    pub(super) fn is_of(&self, id: &str, leaves: &[Leaf]) -> bool {
        let winner = leaves.first();
        self.id == id
            && self.deleted == winner.is_some_and(|leaf| leaf.deleted)
            && self.body == winner.and_then(|leaf| leaf.body)
            && self.leaves.iter().eq(leaves.iter().map(|leaf| &leaf.rev))
    }

    /// `flags, body, id length, id, (generation, hash)*`
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + self.id.len() + self.leaves.len() * 24);
        out.push(u8::from(self.deleted) | u8::from(self.body.is_some()) << 1);
        out.extend(self.body.map_or(0, |body| body.0).to_be_bytes());
        out.extend(
            u32::try_from(self.id.len())
                .unwrap_or(u32::MAX)
                .to_be_bytes(),
        );
        out.extend(self.id.as_bytes());
        for rev in &self.leaves {
            out.extend(rev.generation().to_be_bytes());
            out.extend(rev.hash().as_bytes());
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        Self::read(bytes).ok_or(StoreError::Corrupt("change row"))
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (flags, rest) = bytes.split_first()?;
        let (body, rest) = rest.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (id, mut rest) =
            rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        let mut leaves = Vec::with_capacity(rest.len() / 24);
        while let Some((generation, tail)) = rest.split_first_chunk::<8>() {
            let (hash, tail) = tail.split_first_chunk::<16>()?;
            leaves
                .push(Rev::new(u64::from_be_bytes(*generation), RevHash::from_bytes(*hash)).ok()?);
            rest = tail;
        }
        Some(Self {
            id: String::from_utf8(id.to_vec()).ok()?,
            deleted: flags & 1 != 0,
            body: (flags & 2 != 0).then_some(BodyRef(u64::from_be_bytes(*body))),
            leaves,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_row_reads_back_the_same() {
        let rev = "3-967a00dff5e02add41819138abb3284d".parse().unwrap();
        let row = ChangeRow {
            id: "é/x".into(),
            deleted: true,
            body: Some(BodyRef(7)),
            leaves: vec![rev, rev],
        };
        assert_eq!(ChangeRow::decode(&row.encode()).unwrap(), row);
        for end in 0..row.encode().len() {
            if let Ok(cut) = ChangeRow::decode(&row.encode()[..end]) {
                assert!(cut.leaves.len() < 2);
            }
        }
    }
}
