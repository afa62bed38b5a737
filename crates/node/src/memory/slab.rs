//! A piece of memory that holds plaintext.
//!
//! Guarantees: the bytes do not change while anyone else can see them, are zeroized when the last
//! holder lets go, and are counted in a budget as long as they exist.

use std::ops::Range;

use zeroize::{Zeroize, Zeroizing};

use super::budget::Reservation;

/// Plaintext of one or many records.
pub(super) struct Slab {
    bytes: Zeroizing<Vec<u8>>,
    counted: Reservation,
}

impl Slab {
    /// What a slab costs beside its bytes.
    pub(super) const OVERHEAD: usize = 128;

    pub(super) fn new(bytes: Zeroizing<Vec<u8>>, counted: Reservation) -> Self {
        Self { bytes, counted }
    }

    pub(super) fn text(&self, at: u32, length: usize) -> &[u8] {
        let at = at as usize;
        self.bytes.get(at..at + length).unwrap_or_default()
    }

    /// What is counted for this slab.
    pub(super) fn counted(&self) -> usize {
        self.counted.bytes()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Zeroizes what is no longer anybody's.
    pub(super) fn wipe(&mut self, range: Range<usize>) {
        self.bytes
            .get_mut(range)
            .into_iter()
            .for_each(Zeroize::zeroize);
    }
}
