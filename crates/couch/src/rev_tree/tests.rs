use super::*;

fn hash(byte: u8) -> RevHash {
    RevHash::from_bytes([byte; 16])
}

fn rev(generation: u64, byte: u8) -> Rev {
    Rev::new(generation, hash(byte)).unwrap()
}

fn path(start: u64, bytes: &[u8]) -> Revisions {
    Revisions::new(start, bytes.iter().map(|b| hash(*b)).collect()).unwrap()
}

fn insert(tree: &mut RevTree, start: u64, bytes: &[u8]) -> Inserted {
    tree.insert(
        &path(start, bytes),
        Liveness::Live,
        Some(BodyRef(u64::from(bytes[0]))),
    )
    .unwrap()
}

/// Names that nobody else has.
fn long(start: u64, branch: u32, length: u32) -> Revisions {
    let ids = (0..length).map(|n| {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&branch.to_be_bytes());
        bytes[4..8].copy_from_slice(&(u32::try_from(start).unwrap() - n).to_be_bytes());
        RevHash::from_bytes(bytes)
    });
    Revisions::new(start, ids.collect()).unwrap()
}

#[test]
fn branches_together_are_no_longer_than_their_limit() {
    let mut tree = RevTree::new();
    for branch in 0..20 {
        tree.insert(&long(1_000, branch, 1_000), Liveness::Live, None)
            .unwrap();
    }
    assert_eq!(tree.len(), MAX_NODES);
    let refused = tree.insert(&long(1, 20, 1), Liveness::Live, None);
    assert_eq!(refused, Err(TooManyLeaves));
    // An edit of a leaf is taken, and the oldest are forgotten for it; so it is with many edits at once.
    tree.insert(&long(1_001, 3, 2), Liveness::Live, None)
        .unwrap();
    tree.insert(&long(1_999, 4, 1_000), Liveness::Live, None)
        .unwrap();
    assert_eq!((tree.len(), tree.leaves().len()), (MAX_NODES, 20));
}

#[test]
fn many_short_branches_do_not_grow_beyond_the_limit_together() {
    let mut tree = RevTree::new();
    for branch in 0..200 {
        tree.insert(&long(100, branch, 100), Liveness::Live, None)
            .unwrap();
    }
    for branch in 0..20 {
        tree.insert(&long(900, branch, 801), Liveness::Live, None)
            .unwrap();
        assert!(tree.len() <= MAX_NODES);
    }
    assert_eq!(tree.leaves().len(), 200);
}

#[test]
fn an_edit_replaces_its_parent_as_leaf_and_frees_its_body() {
    let mut tree = RevTree::new();
    assert_eq!(
        insert(&mut tree, 1, &[1]),
        Inserted::New { superseded: vec![] }
    );
    assert_eq!(
        insert(&mut tree, 2, &[2, 1]),
        Inserted::New {
            superseded: vec![BodyRef(1)]
        }
    );
    assert_eq!(tree.winner().unwrap().rev, rev(2, 2));
    assert_eq!(tree.leaves().len(), 1);
    assert_eq!(insert(&mut tree, 2, &[2, 1]), Inserted::Known);
    assert_eq!(insert(&mut tree, 1, &[1]), Inserted::Known);
}

#[test]
fn a_revision_told_with_a_part_of_its_past_finds_the_rest_later() {
    let mut tree = RevTree::new();
    insert(&mut tree, 1, &[1]);
    // As by who knows no more: the first revision stays as a version of its own.
    insert(&mut tree, 3, &[3, 2]);
    assert_eq!(tree.conflicts(), [rev(1, 1)]);
    let join = |tree: &mut RevTree, start, bytes: &[u8]| {
        tree.join(&path(start, bytes), Liveness::Live, LiveLeaves::End)
    };
    assert_eq!(join(&mut tree, 3, &[3, 2]), None);
    assert_eq!(join(&mut tree, 4, &[4, 3, 2, 1]), None);
    let joined = join(&mut tree, 3, &[3, 2, 1]).unwrap();
    assert_eq!(joined.superseded, [BodyRef(1)]);
    let mut straight = RevTree::new();
    insert(&mut straight, 1, &[1]);
    insert(&mut straight, 3, &[3, 2, 1]);
    assert_eq!(tree, straight);
    assert_eq!(join(&mut tree, 3, &[3, 2, 1]), None);
}

#[test]
fn a_past_that_contradicts_what_is_known_ends_no_leaf() {
    use {LiveLeaves::*, Liveness::*};
    let mut tree = RevTree::new();
    insert(&mut tree, 3, &[30, 2, 1]);
    // Two tombstones of other branches: one whose past is known, one of which nothing was told.
    for (start, known) in [(4, &[4, 9, 2, 1][..]), (4, &[5])] {
        tree.insert(&path(start, known), Deleted, None).unwrap();
    }
    insert(&mut tree, 4, &[6, 8]);
    let before = tree.clone();
    let mut refused = |start, bytes: &[u8], liveness, live_leaves| {
        let joined = tree.join(&path(start, bytes), liveness, live_leaves);
        assert_eq!((joined, &tree), (None, &before), "{start} {bytes:?}");
    };
    // A second parent, greater than the one that is known or not, right behind it or further back.
    refused(4, &[4, 30, 2, 1], Deleted, End);
    refused(4, &[4, 9, 2, 7], Deleted, End);
    refused(4, &[6, 30, 2, 1], Live, End);
    // What is deleted is told as live, and what is live as deleted.
    refused(4, &[5, 30, 2, 1], Live, End);
    refused(3, &[30, 2, 1], Deleted, End);
    // A live leaf, by who may not delete.
    refused(4, &[5, 30, 2, 1], Deleted, Stay);
    // The past of a parent that is told rightly contradicts what is known.
    refused(4, &[5, 30, 9], Deleted, End);

    let known = path(4, &[5, 30, 2, 1]);
    let joined = tree.join(&known, Deleted, End).unwrap();
    assert_eq!(joined.superseded, [BodyRef(30)]);
    assert_eq!(tree.winner().unwrap().rev, rev(4, 6));
    // Who may not delete tells a past that ends no live leaf.
    let told = tree.join(&path(4, &[6, 8, 2, 1]), Live, Stay);
    assert_eq!(told, Some(Joined { superseded: vec![] }));
    assert_eq!(tree.revisions(rev(4, 6)), path(4, &[6, 8, 2, 1]));
}

#[test]
fn of_two_branches_the_deeper_wins_and_the_other_is_a_conflict() {
    let mut tree = RevTree::new();
    insert(&mut tree, 2, &[9, 1]);
    insert(&mut tree, 3, &[3, 2, 1]);
    assert_eq!(tree.winner().unwrap().rev, rev(3, 3));
    assert_eq!(tree.conflicts(), [rev(2, 9)]);
    assert_eq!(tree.leaves_after(rev(1, 1)).len(), 2);
    assert_eq!(tree.leaves_after(rev(2, 2))[0].rev, rev(3, 3));
}

#[test]
fn a_live_branch_wins_over_a_deeper_deleted_one() {
    let mut tree = RevTree::new();
    insert(&mut tree, 1, &[1]);
    tree.insert(&path(3, &[3, 2, 7]), Liveness::Deleted, None)
        .unwrap();
    assert_eq!(tree.winner().unwrap().rev, rev(1, 1));
    assert_eq!(tree.conflicts(), []);
    assert_eq!(tree.deleted_conflicts(), [rev(3, 3)]);
}

#[test]
fn ancestry_is_told_newest_first() {
    let mut tree = RevTree::new();
    insert(&mut tree, 1, &[1]);
    insert(&mut tree, 3, &[3, 2, 1]);
    assert_eq!(tree.revisions(rev(3, 3)), path(3, &[3, 2, 1]));
    assert_eq!(
        tree.missing(&[rev(3, 3), rev(4, 4)]).collect::<Vec<_>>(),
        [rev(4, 4)]
    );
    assert_eq!(tree.possible_ancestors(4), [rev(3, 3)]);
}

#[test]
fn a_history_longer_than_the_limit_is_stemmed() {
    let mut tree = RevTree::new();
    let mut parent = Rev::of_edit(None, false, b"0").unwrap();
    tree.insert(&Revisions::alone(parent), Liveness::Live, None)
        .unwrap();
    for i in 1..=REVS_LIMIT + 10 {
        let child = Rev::of_edit(Some(parent), false, i.to_string().as_bytes()).unwrap();
        tree.insert(&Revisions::child_of(parent, child), Liveness::Live, None)
            .unwrap();
        parent = child;
    }
    assert_eq!(tree.revisions(parent).ids.len(), REVS_LIMIT);
    assert_eq!(tree.nodes.len(), REVS_LIMIT);
    assert_eq!(tree.leaves().len(), 1);
    assert_eq!(RevTree::decode(&tree.encode()).unwrap(), tree);
}

#[test]
fn a_purged_leaf_goes_with_the_ancestors_that_were_its_own() {
    let mut tree = RevTree::new();
    insert(&mut tree, 4, &[4, 3, 2, 1]);
    insert(&mut tree, 3, &[9, 2, 1]);
    // An ancestor, and a revision that nobody knows, stay as they are.
    assert_eq!(tree.purge(&[rev(2, 2), rev(4, 9)]), []);
    let purged = tree.purge(&[rev(4, 4)]);
    assert_eq!((purged.len(), purged[0].body), (1, Some(BodyRef(4))));
    assert!(!tree.contains(rev(3, 3)) && tree.contains(rev(2, 2)));
    assert_eq!(tree.winner().unwrap().rev, rev(3, 9));
    assert_eq!(RevTree::decode(&tree.encode()).unwrap(), tree);
    assert_eq!(tree.purge(&[rev(3, 9), rev(3, 9)]).len(), 1);
    assert!(tree.is_empty());
    // As if it had never been: it may be written again.
    assert!(matches!(insert(&mut tree, 1, &[1]), Inserted::New { .. }));
}

#[test]
fn one_branch_over_the_limit_is_refused_but_edits_go_on() {
    let mut tree = RevTree::new();
    let leaf = |i: usize| {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&(i as u64).to_be_bytes());
        RevHash::from_bytes(bytes)
    };
    for i in 0..MAX_LEAVES {
        let alone = Revisions::new(1, vec![leaf(i)]).unwrap();
        tree.insert(&alone, Liveness::Live, None).unwrap();
    }
    let over = Revisions::new(1, vec![leaf(MAX_LEAVES)]).unwrap();
    assert_eq!(tree.insert(&over, Liveness::Live, None), Err(TooManyLeaves));
    let edit = Revisions::new(2, vec![leaf(7), leaf(7)]).unwrap();
    assert!(tree.insert(&edit, Liveness::Live, None).is_ok());
}

#[test]
fn an_ancestry_is_told_back_to_one_of_its_revisions() {
    let told = path(4, &[4, 3, 2]);
    assert_eq!(told.clone().back_to(rev(4, 4)), path(4, &[4]));
    assert_eq!(told.clone().back_to(rev(3, 3)), path(4, &[4, 3]));
    assert_eq!(told.clone().back_to(rev(1, 1)), told);
}

#[test]
fn an_impossible_ancestry_is_refused() {
    assert!(Revisions::new(0, vec![hash(1)]).is_err());
    assert!(Revisions::new(1, vec![]).is_err());
    assert!(Revisions::new(1, vec![hash(2), hash(1)]).is_err());
    assert!(Revisions::new(u64::MAX, vec![hash(1)]).is_err());
    let json = r#"{"start":1,"ids":["00","01"]}"#;
    assert!(serde_json::from_str::<Revisions>(json).is_err());
}
