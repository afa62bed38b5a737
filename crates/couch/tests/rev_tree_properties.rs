//! Merging histories: the order in which edits arrive changes nothing. Checked against a model that is a plain map of
//! child to parent.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::redundant_clone)]

use std::collections::{BTreeMap, BTreeSet};

use adyton_couch::rev::{Rev, RevHash};
use adyton_couch::rev_tree::{BodyRef, Liveness, RevTree, Revisions};
use proptest::prelude::*;

/// An edit of a small universe: a path that ends in `newest`, every name derived from its own ancestry as honest names are.
#[derive(Debug, Clone)]
struct Edit {
    names: Vec<Rev>,
    deleted: bool,
}

fn edit() -> impl Strategy<Value = Edit> {
    (prop::collection::vec(0_u8..3, 1..6), 1_usize..6).prop_map(|(choices, known)| {
        let mut names = Vec::new();
        let mut parent = None;
        for choice in choices {
            let rev = Rev::of_edit(parent, false, &[choice]).unwrap();
            names.push(rev);
            parent = Some(rev);
        }
        // Deletion is part of what a revision is: the same name always has the same liveness.
        let deleted = names.last().unwrap().hash().as_bytes()[0].is_multiple_of(3);
        names.reverse();
        names.truncate(known);
        Edit { names, deleted }
    })
}

fn revisions(edit: &Edit) -> Revisions {
    let ids: Vec<RevHash> = edit.names.iter().map(Rev::hash).collect();
    Revisions::new(edit.names[0].generation(), ids).unwrap()
}

fn liveness(edit: &Edit) -> Liveness {
    if edit.deleted {
        Liveness::Deleted
    } else {
        Liveness::Live
    }
}

fn tree_of(edits: &[Edit]) -> RevTree {
    let mut tree = RevTree::new();
    for edit in edits {
        tree.insert(&revisions(edit), liveness(edit), None).unwrap();
    }
    tree
}

/// A revision heard of only as somebody's ancestor has no liveness yet; compare what peers can see.
fn visible(tree: &RevTree) -> (Vec<(Rev, bool)>, Vec<Revisions>) {
    let leaves = tree.leaves();
    let paths = leaves.iter().map(|leaf| tree.revisions(leaf.rev)).collect();
    (
        leaves.iter().map(|leaf| (leaf.rev, leaf.deleted)).collect(),
        paths,
    )
}

proptest! {
    #[test]
    fn merging_is_commutative_associative_and_idempotent(
        a in prop::collection::vec(edit(), 0..8),
        b in prop::collection::vec(edit(), 0..8),
        c in prop::collection::vec(edit(), 0..8),
    ) {
        let (a, b, c) = (tree_of(&a), tree_of(&b), tree_of(&c));
        let merged = |parts: &[&RevTree]| {
            let mut all = RevTree::new();
            for part in parts { all.merge(part); }
            all
        };
        prop_assert_eq!(merged(&[&a, &b]), merged(&[&b, &a]));
        prop_assert_eq!(merged(&[&merged(&[&a, &b]), &c]), merged(&[&a, &merged(&[&b, &c])]));
        prop_assert_eq!(merged(&[&a, &a]), a.clone());
    }

    #[test]
    fn the_order_of_arrival_does_not_matter(edits in prop::collection::vec(edit(), 1..12)) {
        let forwards = tree_of(&edits);
        let backwards = tree_of(&edits.iter().rev().cloned().collect::<Vec<_>>());
        prop_assert_eq!(visible(&forwards), visible(&backwards));
        let twice: Vec<Edit> = edits.iter().chain(&edits).cloned().collect();
        prop_assert_eq!(visible(&forwards), visible(&tree_of(&twice)));
    }

    #[test]
    fn leaves_and_winner_are_those_of_the_map_model(edits in prop::collection::vec(edit(), 1..12)) {
        let mut parent_of: BTreeMap<Rev, Option<Rev>> = BTreeMap::new();
        let mut deleted: BTreeSet<Rev> = BTreeSet::new();
        for edit in &edits {
            for (i, rev) in edit.names.iter().enumerate() {
                let parent = edit.names.get(i + 1).copied();
                let known = parent_of.entry(*rev).or_default();
                *known = known.or(parent);
            }
            if edit.deleted { deleted.insert(edit.names[0]); }
        }
        let parents: BTreeSet<Rev> = parent_of.values().flatten().copied().collect();
        let leaves: BTreeSet<Rev> =
            parent_of.keys().copied().filter(|rev| !parents.contains(rev)).collect();
        let winner = leaves.iter().max_by_key(|rev| (!deleted.contains(*rev), **rev)).copied();

        let tree = tree_of(&edits);
        let ours: BTreeSet<Rev> = tree.leaves().iter().map(|leaf| leaf.rev).collect();
        prop_assert_eq!(&ours, &leaves);
        prop_assert_eq!(tree.winner().map(|leaf| leaf.rev), winner);
        for leaf in &leaves {
            let mut expected = vec![leaf.hash()];
            let mut at = *leaf;
            while let Some(parent) = parent_of[&at] {
                expected.push(parent.hash());
                at = parent;
            }
            prop_assert_eq!(
                tree.revisions(*leaf),
                Revisions::new(leaf.generation(), expected).unwrap()
            );
        }
    }

    #[test]
    fn purged_leaves_are_gone_and_the_others_are_as_they_were(
        edits in prop::collection::vec(edit(), 1..12),
        mask in any::<u16>(),
    ) {
        let before = tree_of(&edits);
        let is_purged = |i: usize| mask >> (i % 16) & 1 == 1;
        let (purged, kept): (Vec<_>, Vec<_>) =
            before.leaves().into_iter().enumerate().partition(|(i, _)| is_purged(*i));
        let revs: Vec<Rev> = purged.into_iter().map(|(_, leaf)| leaf.rev).collect();
        let mut tree = before.clone();
        prop_assert_eq!(tree.purge(&revs).len(), revs.len());
        let kept: Vec<Rev> = kept.into_iter().map(|(_, leaf)| leaf.rev).collect();
        let left: Vec<Rev> = tree.leaves().into_iter().map(|leaf| leaf.rev).collect();
        prop_assert_eq!(&left, &kept);
        for rev in &kept {
            prop_assert_eq!(tree.revisions(*rev), before.revisions(*rev));
        }
        // One by one, and in any order, it is the same.
        let mut slowly = before.clone();
        for rev in revs.iter().rev() {
            slowly.purge(&[*rev]);
        }
        prop_assert_eq!(&slowly, &tree);
        prop_assert_eq!(RevTree::decode(&tree.encode()).unwrap(), tree);
    }

    #[test]
    fn a_stored_tree_reads_back_the_same(
        edits in prop::collection::vec((edit(), any::<Option<u64>>()), 0..12)
    ) {
        let mut tree = RevTree::new();
        for (edit, body) in &edits {
            tree.insert(&revisions(edit), liveness(edit), body.map(BodyRef)).unwrap();
        }
        prop_assert_eq!(RevTree::decode(&tree.encode()).unwrap(), tree);
    }

    #[test]
    fn damaged_bytes_are_refused_or_read_but_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(tree) = RevTree::decode(&bytes) {
            prop_assert!(tree.leaves().len() <= bytes.len());
        }
    }
}
