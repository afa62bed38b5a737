//! One document for many askers: their challenges are the leaves of a tree, and its root is the document's nonce.
//!
//! 1. `leaf  = SHA256(00 ‖ "adyton-batch-v1\0" ‖ nonce ‖ exporter)`
//! 2. `inner = SHA256(01 ‖ left ‖ right)`; where a level has no right neighbour, 32 zero bytes stand in for it.
//! 3. Each asker gets its place and the neighbours on the way up, and recomputes the root from *its own* nonce and the
//!    exporter of *its own* connection.
//!
//! Guarantees: a proof leads from one challenge to the root, or is no proof. Why that is as good as a document of one's
//! own is argued in `SPEC.md`. Refuses to know what the root is signed with.

use crate::binding::{Exporter, Nonce, sha256};

/// Starts every leaf, behind its kind.
const LEAF_DOMAIN: &[u8] = b"adyton-batch-v1\0";

/// First byte of what is hashed into a leaf.
const LEAF: u8 = 0x00;

/// First byte of what is hashed into an inner node.
const INNER: u8 = 0x01;

/// Stands in for a neighbour that does not exist. Nobody knows a challenge that hashes to it.
const NOBODY: [u8; 32] = [0; 32];

/// Most levels between a challenge and the root.
pub const MAX_LEVELS: usize = 16;

/// Most challenges that share a document.
pub const MAX_CHALLENGES: usize = 1 << MAX_LEVELS;

/// What one asker wants evidence to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Its nonce.
    pub nonce: Nonce,
    /// The exporter of the connection it asks on.
    pub exporter: Exporter,
}

impl Challenge {
    fn leaf(&self) -> [u8; 32] {
        let parts: [&[u8]; 4] = [
            &[LEAF],
            LEAF_DOMAIN,
            self.nonce.as_bytes(),
            self.exporter.as_bytes(),
        ];
        sha256(&parts.concat())
    }
}

/// The tree over two or more challenges.
#[derive(Debug)]
pub struct Batch {
    /// From the leaves up to the level below the root.
    levels: Vec<Vec<[u8; 32]>>,
    root: [u8; 32],
    challenges: usize,
}

impl Batch {
    /// The tree over these challenges; none for fewer than two (one has its own document) or more than
    /// [`MAX_CHALLENGES`].
    #[must_use]
    pub fn over(challenges: &[Challenge]) -> Option<Self> {
        if !(2..=MAX_CHALLENGES).contains(&challenges.len()) {
            return None;
        }
        let mut levels = Vec::new();
        let mut level: Vec<_> = challenges.iter().map(Challenge::leaf).collect();
        loop {
            if let [root] = level.as_slice() {
                return Some(Self {
                    root: *root,
                    levels,
                    challenges: challenges.len(),
                });
            }
            let above = level.chunks(2).map(|pair| match pair {
                [left, right] => inner(left, right),
                [left, ..] => inner(left, &NOBODY),
                [] => NOBODY,
            });
            let above = above.collect();
            levels.push(std::mem::replace(&mut level, above));
        }
    }

    /// What the document's nonce has to be.
    #[must_use]
    pub fn root(&self) -> Nonce {
        Nonce::new(self.root)
    }

    /// The proofs, in the order of the challenges.
    pub fn proofs(&self) -> impl Iterator<Item = BatchProof> {
        (0..self.challenges).map(|place| {
            let path = self.levels.iter().enumerate().map(|(height, level)| {
                let neighbour = (place >> height) ^ 1;
                level.get(neighbour).copied().unwrap_or(NOBODY)
            });
            BatchProof {
                // At most 2^16 challenges.
                place: u32::try_from(place).unwrap_or(u32::MAX),
                path: path.collect(),
            }
        })
    }
}

/// How one asker's challenge leads to the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchProof {
    place: u32,
    path: Vec<[u8; 32]>,
}

impl BatchProof {
    /// A place, and the neighbours from the leaf upwards.
    ///
    /// # Errors
    /// [`BatchProofError`] when there are no levels or too many, or the tree has no such place.
    pub fn new(place: u32, path: Vec<[u8; 32]>) -> Result<Self, BatchProofError> {
        if !(1..=MAX_LEVELS).contains(&path.len()) {
            return Err(BatchProofError::Levels { found: path.len() });
        }
        if place >> path.len() != 0 {
            return Err(BatchProofError::Place { found: place });
        }
        Ok(Self { place, path })
    }

    /// The asker's place among the leaves.
    #[must_use]
    pub fn place(&self) -> u32 {
        self.place
    }

    /// The neighbours, from the leaf upwards.
    #[must_use]
    pub fn path(&self) -> &[[u8; 32]] {
        &self.path
    }

    /// The root that this challenge leads to at this place.
    #[must_use]
    pub fn root(&self, challenge: &Challenge) -> Nonce {
        let up = |node: [u8; 32], (height, neighbour): (usize, &[u8; 32])| {
            if (self.place >> height) & 1 == 0 {
                inner(&node, neighbour)
            } else {
                inner(neighbour, &node)
            }
        };
        Nonce::new(self.path.iter().enumerate().fold(challenge.leaf(), up))
    }
}

fn inner(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    let parts: [&[u8]; 3] = [&[INNER], left, right];
    sha256(&parts.concat())
}

/// Why this is no proof. The fault is the node's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchProofError {
    /// None, or too many.
    #[error("a batch proof has {found} levels instead of 1 to {MAX_LEVELS}")]
    Levels {
        /// Levels found.
        found: usize,
    },
    /// Outside of the tree.
    #[error("a batch proof names a place ({found}) that its tree does not have")]
    Place {
        /// The place found.
        found: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenges(count: u32) -> Vec<Challenge> {
        let bytes = |seed: u32| sha256(&seed.to_be_bytes());
        (0..count)
            .map(|at| Challenge {
                nonce: Nonce::new(bytes(at)),
                exporter: Exporter::new(bytes(at + 1_000_000)),
            })
            .collect()
    }

    #[test]
    fn every_challenge_leads_to_the_root_and_no_other_does() {
        for count in [2, 3, 4, 5, 7, 8, 9, 31, 100, 257] {
            let challenges = challenges(count);
            let batch = Batch::over(&challenges).unwrap();
            for (at, proof) in batch.proofs().enumerate() {
                assert_eq!(proof.root(&challenges[at]), batch.root());
                let next = challenges[(at + 1) % challenges.len()];
                assert_ne!(proof.root(&next), batch.root());
                let again = BatchProof::new(proof.place(), proof.path().to_vec());
                assert_eq!(again, Ok(proof));
            }
        }
    }

    #[test]
    fn the_tree_is_the_one_that_is_written_down() {
        let challenges = challenges(3);
        let leaf = |at: usize| {
            let mut text = b"\0adyton-batch-v1\0".to_vec();
            text.extend(challenges[at].nonce.as_bytes());
            text.extend(challenges[at].exporter.as_bytes());
            sha256(&text)
        };
        let pair = |left: [u8; 32], right: [u8; 32]| sha256(&[&[1], &left[..], &right].concat());
        let (one, two) = (pair(leaf(0), leaf(1)), pair(leaf(2), [0; 32]));
        let batch = Batch::over(&challenges).unwrap();
        assert_eq!(batch.root().as_bytes(), &pair(one, two));
        let last = batch.proofs().nth(2).unwrap();
        assert_eq!((last.place(), last.path()), (2, &[[0; 32], one][..]));
    }

    #[test]
    fn one_asker_or_too_many_make_no_batch() {
        assert!(Batch::over(&[]).is_none());
        assert!(Batch::over(&challenges(1)).is_none());
        assert!(Batch::over(&vec![challenges(1)[0]; MAX_CHALLENGES + 1]).is_none());
        let most = Batch::over(&vec![challenges(1)[0]; MAX_CHALLENGES]).unwrap();
        assert_eq!(most.proofs().last().unwrap().path().len(), MAX_LEVELS);
    }

    #[test]
    fn a_changed_proof_leads_elsewhere() {
        let challenges = challenges(6);
        let batch = Batch::over(&challenges).unwrap();
        let proof = batch.proofs().nth(4).unwrap();
        let root = |place, path: &[[u8; 32]], challenge: &Challenge| {
            BatchProof::new(place, path.to_vec())
                .unwrap()
                .root(challenge)
        };
        let (place, path) = (proof.place(), proof.path());
        assert_eq!(root(place, path, &challenges[4]), batch.root());
        // The neighbours on the other side.
        for side in 0..3 {
            assert_ne!(
                root(place ^ (1 << side), path, &challenges[4]),
                batch.root()
            );
        }
        // The neighbours in another order, one changed, one fewer, one more.
        for (left, right) in [(0, 1), (1, 2), (0, 2)] {
            let mut swapped = path.to_vec();
            swapped.swap(left, right);
            assert_ne!(root(place, &swapped, &challenges[4]), batch.root());
        }
        for level in 0..3 {
            let mut changed = path.to_vec();
            changed[level][31] ^= 1;
            assert_ne!(root(place, &changed, &challenges[4]), batch.root());
        }
        assert_ne!(root(0, &path[..2], &challenges[4]), batch.root());
        let longer = [path, &[[0; 32]]].concat();
        assert_ne!(root(place, &longer, &challenges[4]), batch.root());
        // Another nonce, another connection, and the two exchanged.
        let Challenge { nonce, exporter } = challenges[4];
        for other in [
            Challenge {
                nonce: challenges[3].nonce,
                exporter,
            },
            Challenge {
                nonce,
                exporter: challenges[3].exporter,
            },
            Challenge {
                nonce: Nonce::new(*exporter.as_bytes()),
                exporter: Exporter::new(*nonce.as_bytes()),
            },
        ] {
            assert_ne!(root(place, path, &other), batch.root());
        }
    }

    #[test]
    fn an_inner_node_cannot_be_taken_for_a_challenge() {
        // Without the kinds, the two halves of an inner node would be the nonce and exporter of a leaf that nobody sent.
        let challenges = challenges(4);
        let batch = Batch::over(&challenges).unwrap();
        let forged = Challenge {
            nonce: Nonce::new(challenges[0].leaf()),
            exporter: Exporter::new(challenges[1].leaf()),
        };
        let above = batch.proofs().next().unwrap().path()[1];
        let proof = BatchProof::new(0, vec![above]).unwrap();
        assert_ne!(proof.root(&forged), batch.root());
    }

    #[test]
    fn a_proof_has_one_to_sixteen_levels_and_a_place_below_them() {
        assert_eq!(
            BatchProof::new(0, vec![]),
            Err(BatchProofError::Levels { found: 0 })
        );
        assert!(BatchProof::new(u32::from(u16::MAX), vec![[0; 32]; 16]).is_ok());
        assert_eq!(
            BatchProof::new(0, vec![[0; 32]; 17]),
            Err(BatchProofError::Levels { found: 17 })
        );
        assert_eq!(
            BatchProof::new(4, vec![[0; 32]; 2]),
            Err(BatchProofError::Place { found: 4 })
        );
        assert_eq!(
            BatchProof::new(u32::MAX, vec![[0; 32]; 16]),
            Err(BatchProofError::Place { found: u32::MAX })
        );
    }
}
