//! The highest number of each set of keys that was ever accepted, so that nobody can be served an older release.
//!
//! Guarantees: numbers only grow, and one number stands for one manifest. Refuses to know the file it is kept in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Release;

/// Longest memory that is read.
pub const MAX_MEMORY_BYTES: usize = 64 * 1024;

/// Most sets of keys in one memory.
const MAX_KEY_SETS: usize = 256;

/// The format's version.
const VERSION: u8 = 1;

/// What was accepted so far, by set of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    highest: BTreeMap<[u8; 32], Accepted>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Accepted {
    seq: u64,
    sha256: [u8; 32],
}

impl Memory {
    /// Reads what [`Self::to_json`] wrote.
    ///
    /// # Errors
    /// [`MemoryError::Unreadable`]. Whoever forgets a memory that cannot be read accepts any old release: do not.
    pub fn from_json(bytes: &[u8]) -> Result<Self, MemoryError> {
        if bytes.len() > MAX_MEMORY_BYTES {
            return Err(MemoryError::Unreadable);
        }
        let file: File = serde_json::from_slice(bytes).map_err(|_| MemoryError::Unreadable)?;
        if file.version != VERSION {
            return Err(MemoryError::Unreadable);
        }
        let highest = file.releases.into_iter().map(|line| {
            let mut keys = [0; 32];
            hex::decode_to_slice(line.keys, &mut keys).ok()?;
            let mut sha256 = [0; 32];
            hex::decode_to_slice(line.sha256, &mut sha256).ok()?;
            let seq = line.seq;
            Some((keys, Accepted { seq, sha256 }))
        });
        let highest: Vec<_> = highest
            .collect::<Option<_>>()
            .ok_or(MemoryError::Unreadable)?;
        let count = highest.len();
        let highest: BTreeMap<_, _> = highest.into_iter().collect();
        if highest.len() != count {
            return Err(MemoryError::Unreadable);
        }
        Ok(Self { highest })
    }

    /// The text to keep.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let line = |(keys, accepted): (&[u8; 32], &Accepted)| Line {
            keys: hex::encode(keys),
            seq: accepted.seq,
            sha256: hex::encode(accepted.sha256),
        };
        let file = File {
            version: VERSION,
            releases: self.highest.iter().map(line).collect(),
        };
        // A struct of strings and numbers: serialising it cannot fail.
        let mut text = serde_json::to_vec_pretty(&file).unwrap_or_default();
        text.push(b'\n');
        text
    }

    /// Takes note of a release, if it is not older than the last one of the same keys. The next step is to keep the
    /// memory, before anything rests on the release.
    ///
    /// # Errors
    /// [`MemoryError::Older`] or [`MemoryError::Twin`]; the memory stays what it was.
    pub fn admit(&mut self, release: &Release) -> Result<(), MemoryError> {
        let (seq, sha256) = (release.manifest().seq(), *release.sha256());
        match self.highest.get(release.key_set()) {
            Some(known) if seq < known.seq => {
                return Err(MemoryError::Older {
                    found: seq,
                    known: known.seq,
                });
            }
            Some(known) if seq == known.seq && sha256 != known.sha256 => {
                return Err(MemoryError::Twin { seq });
            }
            None if self.highest.len() >= MAX_KEY_SETS => return Err(MemoryError::Full),
            Some(_) | None => {}
        }
        self.highest
            .insert(*release.key_set(), Accepted { seq, sha256 });
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u8,
    releases: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    keys: String,
    seq: u64,
    sha256: String,
}

/// Why a release is not admitted, or a memory not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// A lower number than was seen before: somebody serves an old release.
    #[error(
        "the manifest has number {found}, but number {known} of the same keys was seen before: it is an old one"
    )]
    Older {
        /// The manifest's number.
        found: u64,
        /// The highest seen.
        known: u64,
    },
    /// The same number on another text: the keys' holders told two stories.
    #[error(
        "another manifest with number {seq} of the same keys was seen before: somebody is told another story"
    )]
    Twin {
        /// The number.
        seq: u64,
    },
    /// Too many sets of keys.
    #[error("more than {MAX_KEY_SETS} sets of release keys are remembered")]
    Full,
    /// Not a memory that this code wrote.
    #[error(
        "what is remembered of earlier releases cannot be read; without it an old one could be accepted"
    )]
    Unreadable,
}
