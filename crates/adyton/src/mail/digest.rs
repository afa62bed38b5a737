//! A hash over named fields: the identity of a message and of an attachment.

use sha2::{Digest, Sha256};

/// SHA-256 over fields, each with its length before it, so that no two lists read alike.
pub(super) struct FieldHash(Sha256);

impl FieldHash {
    /// Starts a hash that differs from those made for other purposes.
    pub(super) fn new(purpose: &str) -> Self {
        let mut hash = Self(Sha256::new());
        hash.field(purpose.as_bytes());
        hash
    }

    /// Adds a field.
    pub(super) fn field(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    /// The hash as hexadecimal text of `digits` digits.
    pub(super) fn hex(self, digits: usize) -> String {
        let mut text = hex::encode(self.0.finalize());
        text.truncate(digits);
        text
    }
}
