//! The protocol's hash: Keccak-256, with the reference's rule for texts that look like hex
//! (`spec/protocol.md` §3.1).

use serde_json::Value;
use sha3::{Digest, Keccak256};

use crate::canonical_json::{self, NotCanonical};

/// Keccak-256 (the pre-NIST variant used by Ethereum) of raw bytes.
pub fn keccak256(bytes: &[u8]) -> [u8; 32] {
    Keccak256::digest(bytes).into()
}

/// The value cannot be hashed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HashError {
    /// The text is `0x…` hex with an odd number of digits.
    #[error("hex text with an odd number of digits cannot be hashed")]
    OddHex,
    /// The JSON value has no faithful canonical form.
    #[error(transparent)]
    NotCanonical(#[from] NotCanonical),
}

/// The hash of a text: `^0x[0-9A-Fa-f]*$` is decoded and its *bytes* are hashed, any other text is
/// hashed as UTF-8.
pub fn hash_text(text: &str) -> Result<[u8; 32], HashError> {
    match text.strip_prefix("0x") {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_hexdigit()) => hex::decode(digits)
            .map(|bytes| keccak256(&bytes))
            .map_err(|_| HashError::OddHex),
        _ => Ok(keccak256(text.as_bytes())),
    }
}

/// The hash of any JSON value: a text by [`hash_text`], everything else by its canonical JSON.
pub fn hash_value(value: &Value) -> Result<[u8; 32], HashError> {
    match value {
        Value::String(text) => hash_text(text),
        other => Ok(keccak256(canonical_json::to_string(other)?.as_bytes())),
    }
}

/// `0x` and 64 lower-case hex digits.
pub fn to_hex(hash: &[u8; 32]) -> String {
    format!("0x{}", hex::encode(hash))
}
