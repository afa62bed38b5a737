//! The history of one document: a set of revisions, each pointing at its parent.
//!
//! Guarantees: merging is commutative, associative and idempotent, so nodes that heard the same edits in any order
//! agree on leaves and winner. Knows nothing of bodies but an opaque [`BodyRef`] per leaf.
//!
//! A peer may lie and name two parents for one revision; then the greater parent counts, everywhere alike.

mod codec;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use serde::{Deserialize, Serialize};

use crate::limits::{MAX_GENERATION, MAX_LEAVES, MAX_NODES, REVS_LIMIT};
use crate::rev::{InvalidRev, Rev, RevHash};
use crate::wire::Object;

pub use codec::CorruptTree;

/// Where the store keeps the body of a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BodyRef(pub u64);

/// One revision's ancestry on the wire: `{"start": 3, "ids": [newest, …, oldest known]}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Object<RawRevisions>")]
pub struct Revisions {
    start: u64,
    ids: Vec<RevHash>,
}

#[derive(Deserialize)]
struct RawRevisions {
    start: u64,
    ids: Vec<RevHash>,
}

impl TryFrom<Object<RawRevisions>> for Revisions {
    type Error = InvalidRev;

    fn try_from(Object(raw): Object<RawRevisions>) -> Result<Self, InvalidRev> {
        Self::new(raw.start, raw.ids)
    }
}

impl Revisions {
    /// An ancestry: the newest revision's generation, and the names from it backwards.
    pub fn new(start: u64, mut ids: Vec<RevHash>) -> Result<Self, InvalidRev> {
        let known = ids.len() as u64;
        if ids.is_empty() || start < known || start > MAX_GENERATION {
            return Err(InvalidRev);
        }
        ids.truncate(REVS_LIMIT);
        Ok(Self { start, ids })
    }

    /// The ancestry of a revision whose parents are unknown.
    pub fn alone(rev: Rev) -> Self {
        Self {
            start: rev.generation(),
            ids: vec![rev.hash()],
        }
    }

    /// The ancestry of a child of `parent`, as far as one step.
    pub fn child_of(parent: Rev, child: Rev) -> Self {
        Self {
            start: child.generation(),
            ids: vec![child.hash(), parent.hash()],
        }
    }

    /// The same, told no further back than to `oldest`.
    pub fn back_to(mut self, oldest: Rev) -> Self {
        let told = self.iter().take_while(|rev| *rev != oldest).count();
        self.ids.truncate(told + 1);
        self
    }

    /// The newest revision.
    pub fn newest(&self) -> Result<Rev, InvalidRev> {
        let hash = self.ids.first().ok_or(InvalidRev)?;
        Rev::new(self.start, *hash)
    }

    /// From the newest backwards.
    pub fn iter(&self) -> impl Iterator<Item = Rev> + '_ {
        (1..=self.start)
            .rev()
            .zip(&self.ids)
            .filter_map(|(generation, hash)| Rev::new(generation, *hash).ok())
    }
}

/// Whether a leaf is a tombstone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// An ordinary revision.
    Live,
    /// A deletion.
    Deleted,
}

/// What may become of the live leaves that a past, told of a revision that is known, is found to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiveLeaves {
    /// They end: who tells it may delete.
    End,
    /// They stay, and nothing is taken over of a past that holds one.
    Stay,
}

/// A revision that nothing is known to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// Its name.
    pub rev: Rev,
    /// Whether it is a tombstone.
    pub deleted: bool,
    /// Where its body is; none when only its name is known.
    pub body: Option<BodyRef>,
}

/// What [`RevTree::insert`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inserted {
    /// The revision is a new leaf. `superseded` are bodies that no leaf needs any more.
    New {
        /// Bodies whose leaves have got a child.
        superseded: Vec<BodyRef>,
    },
    /// The revision was known already: nothing to store.
    Known,
}

/// What [`RevTree::join`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Bodies whose leaves are found to be the past of others.
    pub superseded: Vec<BodyRef>,
}

/// The document has as many branches as we keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the document has too many conflicting revisions")]
pub struct TooManyLeaves;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Node {
    parent: Option<RevHash>,
    /// Some revision follows this one.
    has_child: bool,
    deleted: bool,
    body: Option<BodyRef>,
}

/// The winner first.
fn sort(leaves: &mut [Leaf]) {
    leaves.sort_by_key(|leaf| std::cmp::Reverse(precedence(leaf)));
}

/// All that is known of a document's revisions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RevTree {
    nodes: BTreeMap<Rev, Node>,
}

impl RevTree {
    /// The history of a document that nobody has written.
    pub fn new() -> Self {
        Self::default()
    }

    /// True until the first revision.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Adds one revision with its ancestry.
    pub fn insert(
        &mut self,
        revisions: &Revisions,
        liveness: Liveness,
        body: Option<BodyRef>,
    ) -> Result<Inserted, TooManyLeaves> {
        let Ok(newest) = revisions.newest() else {
            return Ok(Inserted::Known);
        };
        let known = self.nodes.contains_key(&newest);
        if !known && !self.has_room(revisions) && !self.extends_a_leaf(revisions) {
            return Err(TooManyLeaves);
        }
        let (superseded, _) = self.link(revisions);
        if known {
            return Ok(Inserted::Known);
        }
        if let Some(node) = self.nodes.get_mut(&newest) {
            node.deleted = liveness == Liveness::Deleted;
            node.body = body;
        }
        self.stem_to_limits();
        Ok(Inserted::New { superseded })
    }

    /// Takes over what is told of the past of a revision that is known: where it was told with a part of its past before, what is kept
    /// of the rest is found to be its past, and no version of its own. Nothing is done where there is nothing new in it, or no room,
    /// nor where it contradicts what is known: a revision that has a parent gets no other, and one that is deleted is not told as
    /// live, nor a live leaf as deleted.
    pub fn join(
        &mut self,
        revisions: &Revisions,
        liveness: Liveness,
        live_leaves: LiveLeaves,
    ) -> Option<Joined> {
        let newest = self.nodes.get(&revisions.newest().ok()?)?;
        let contradicts = match liveness {
            Liveness::Live => newest.deleted,
            // Of a revision that is known as an ancestor only, nobody said whether it is deleted.
            Liveness::Deleted => !newest.deleted && !newest.has_child,
        };
        if contradicts || self.contradicts(revisions) {
            return None;
        }
        if live_leaves == LiveLeaves::Stay && self.live_ancestors(revisions).next().is_some() {
            return None;
        }
        let new = revisions.iter().filter(|rev| !self.contains(*rev)).count();
        if self.nodes.len() + new > MAX_NODES {
            return None;
        }
        let (superseded, changed) = self.link(revisions);
        self.stem_to_limits();
        changed.then_some(Joined { superseded })
    }

    /// Whether one of these revisions is known to have another parent.
    fn contradicts(&self, revisions: &Revisions) -> bool {
        let children = revisions.iter().map(|rev| self.nodes.get(&rev));
        let mut steps = children.zip(revisions.iter().skip(1));
        steps.any(|(child, parent)| {
            let known = child.and_then(|child| child.parent);
            known.is_some_and(|known| known != parent.hash())
        })
    }

    /// The live leaves among the ancestors that are told of a revision, the nearest first.
    fn live_ancestors(&self, revisions: &Revisions) -> impl Iterator<Item = Leaf> {
        let leaves = revisions.iter().skip(1).filter_map(|rev| self.leaf(rev));
        leaves.filter(|leaf| !leaf.deleted)
    }

    /// Makes each of these revisions the parent of the one before it. Returns the bodies of leaves that are none any more, and whether
    /// anything became known by it.
    fn link(&mut self, revisions: &Revisions) -> (Vec<BodyRef>, bool) {
        let (mut superseded, mut changed) = (Vec::new(), false);
        let mut child: Option<Rev> = None;
        for rev in revisions.iter() {
            let node = self.nodes.entry(rev).or_default();
            if child.is_some() {
                changed |= !node.has_child;
                node.has_child = true;
                superseded.extend(node.body.take());
            }
            if let Some(child) = child.and_then(|c| self.nodes.get_mut(&c)) {
                let parent = child.parent.max(Some(rev.hash()));
                changed |= parent != child.parent;
                child.parent = parent;
            }
            child = Some(rev);
        }
        (superseded, changed)
    }

    /// Takes over everything that `other` knows.
    pub fn merge(&mut self, other: &Self) {
        for (rev, theirs) in &other.nodes {
            let ours = self.nodes.entry(*rev).or_default();
            ours.parent = ours.parent.max(theirs.parent);
            ours.has_child |= theirs.has_child;
            ours.deleted |= theirs.deleted;
            ours.body = ours.body.max(theirs.body);
            if ours.has_child {
                ours.body = None;
            }
        }
        self.stem_to_limits();
    }

    /// Leaves, the winner first: live before deleted, deeper before shallower, greater hash before smaller.
    pub fn leaves(&self) -> Vec<Leaf> {
        let mut leaves: Vec<Leaf> = self.unsorted_leaves().collect();
        sort(&mut leaves);
        leaves
    }

    /// The leaf that every node shows for this document.
    pub fn winner(&self) -> Option<Leaf> {
        self.unsorted_leaves().max_by_key(precedence)
    }

    fn unsorted_leaves(&self) -> impl Iterator<Item = Leaf> + '_ {
        let leaves = self.nodes.iter().filter(|(_, node)| !node.has_child);
        leaves.map(|(rev, node)| Leaf {
            rev: *rev,
            deleted: node.deleted,
            body: node.body,
        })
    }

    /// Live leaves that are not the winner.
    pub fn conflicts(&self) -> Vec<Rev> {
        self.leaves()
            .iter()
            .skip(1)
            .filter(|leaf| !leaf.deleted)
            .map(|leaf| leaf.rev)
            .collect()
    }

    /// Deleted leaves that are not the winner.
    pub fn deleted_conflicts(&self) -> Vec<Rev> {
        self.leaves()
            .iter()
            .skip(1)
            .filter(|leaf| leaf.deleted)
            .map(|leaf| leaf.rev)
            .collect()
    }

    /// The leaf of this name.
    pub fn leaf(&self, rev: Rev) -> Option<Leaf> {
        let node = self.nodes.get(&rev).filter(|node| !node.has_child)?;
        Some(Leaf {
            rev,
            deleted: node.deleted,
            body: node.body,
        })
    }

    /// Whether this revision is known, as leaf or ancestor.
    pub fn contains(&self, rev: Rev) -> bool {
        self.nodes.contains_key(&rev)
    }

    /// The leaves that descend from `rev` (`rev` itself, if it is one), the winner first. What `latest=true` asks for. Each revision
    /// is looked at once at most.
    pub fn leaves_after(&self, rev: Rev) -> Vec<Leaf> {
        if let Some(leaf) = self.leaf(rev) {
            return vec![leaf];
        }
        if !self.contains(rev) {
            return Vec::new();
        }
        let (mut after, mut leaves) = (BTreeSet::from([rev]), Vec::new());
        // Parents come before their children.
        for (next, node) in self.nodes.range((Bound::Excluded(rev), Bound::Unbounded)) {
            let parent = node
                .parent
                .and_then(|hash| Rev::new(next.generation() - 1, hash).ok());
            if parent.is_some_and(|parent| after.contains(&parent)) {
                after.insert(*next);
                leaves.extend(self.leaf(*next));
            }
        }
        sort(&mut leaves);
        leaves
    }

    /// The ancestry of a known revision, itself first.
    pub fn revisions(&self, rev: Rev) -> Revisions {
        let ids = self.ancestry(rev).map(|r| r.hash()).collect();
        Revisions {
            start: rev.generation(),
            ids,
        }
    }

    /// Which of these revisions are not known.
    pub fn missing<'a>(&'a self, revs: &'a [Rev]) -> impl Iterator<Item = Rev> + 'a {
        revs.iter().copied().filter(|rev| !self.contains(*rev))
    }

    /// Leaves that could be ancestors of something missing: shallower than its generation.
    pub fn possible_ancestors(&self, below: u64) -> Vec<Rev> {
        self.leaves()
            .iter()
            .map(|leaf| leaf.rev)
            .filter(|rev| rev.generation() < below)
            .collect()
    }

    /// The bytes to store. Read back by [`RevTree::decode`].
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(&self.nodes)
    }

    /// Reads what [`RevTree::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, CorruptTree> {
        codec::decode(bytes).map(|nodes| Self { nodes })
    }

    /// `rev`, its parent, its parent's parent … as far as known.
    fn ancestry(&self, rev: Rev) -> impl Iterator<Item = Rev> + '_ {
        let first = self.nodes.contains_key(&rev).then_some(rev);
        std::iter::successors(first, |rev| {
            let parent = self.nodes.get(rev)?.parent?;
            let parent = Rev::new(rev.generation() - 1, parent).ok()?;
            self.nodes.contains_key(&parent).then_some(parent)
        })
    }

    fn leaf_count(&self) -> usize {
        self.nodes.values().filter(|node| !node.has_child).count()
    }

    /// Whether one more branch stays within the limits.
    fn has_room(&self, revisions: &Revisions) -> bool {
        let new = revisions.iter().filter(|rev| !self.contains(*rev)).count();
        self.leaf_count() < MAX_LEAVES && self.nodes.len() + new <= MAX_NODES
    }

    /// Forgets what is too far behind its leaf; where branches are many and long, each has its share.
    fn stem_to_limits(&mut self) {
        self.stem(REVS_LIMIT);
        if self.nodes.len() > MAX_NODES {
            self.stem((MAX_NODES / self.leaf_count().max(1)).max(1));
        }
    }

    /// Whether the path's first known ancestor is a leaf, so that inserting it adds no branch.
    fn extends_a_leaf(&self, revisions: &Revisions) -> bool {
        revisions
            .iter()
            .find_map(|rev| self.nodes.get(&rev))
            .is_some_and(|node| !node.has_child)
    }

    /// Removes leaves as if they had never been, each with the ancestors that no other revision descends from. What is no
    /// leaf stays. Returns what went.
    pub fn purge(&mut self, revs: &[Rev]) -> Vec<Leaf> {
        let parent_of = |rev: &Rev, node: &Node| {
            let parent = Rev::new(rev.generation().checked_sub(1)?, node.parent?);
            parent.ok()
        };
        let mut children: BTreeMap<Rev, usize> = BTreeMap::new();
        for (rev, node) in &self.nodes {
            if let Some(parent) = parent_of(rev, node) {
                *children.entry(parent).or_default() += 1;
            }
        }
        let mut purged = Vec::new();
        for rev in revs {
            let Some(leaf) = self.leaf(*rev) else {
                continue;
            };
            purged.push(leaf);
            let mut gone = Some(*rev);
            while let Some(rev) = gone.take() {
                let Some(node) = self.nodes.remove(&rev) else {
                    break;
                };
                let Some(parent) = parent_of(&rev, &node) else {
                    break;
                };
                let left = children.entry(parent).or_default();
                *left = left.saturating_sub(1);
                gone = (*left == 0).then_some(parent);
            }
        }
        purged
    }

    /// Revisions that are known.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Forgets ancestors more than `limit` revisions behind every leaf.
    pub fn stem(&mut self, limit: usize) {
        if self.nodes.len() <= limit {
            return;
        }
        let mut kept = BTreeMap::new();
        for leaf in self.leaves() {
            let mut path = self.ancestry(leaf.rev).take(limit).peekable();
            while let Some(rev) = path.next() {
                let Some(node) = self.nodes.get(&rev) else {
                    break;
                };
                let entry = kept.entry(rev).or_insert(Node {
                    parent: None,
                    ..*node
                });
                if path.peek().is_some() {
                    entry.parent = node.parent;
                }
            }
        }
        self.nodes = kept;
    }
}

/// The greatest leaf wins.
fn precedence(leaf: &Leaf) -> (bool, Rev) {
    (!leaf.deleted, leaf.rev)
}
