//! The keys whose holders decide what is a release, and how many of them must agree.
//!
//! Guarantees: the keys are distinct, and the threshold can be met and is not zero.

use std::fmt;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::SIGNATURE_BYTES;
use crate::binding::sha256;

/// Most keys in one policy.
pub const MAX_RELEASE_KEYS: usize = 32;

/// How a key's text begins.
const ED25519_PREFIX: &str = "ed25519:";

/// An Ed25519 public key (RFC 8032), written `ed25519:` and 44 characters of base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReleaseKey([u8; 32]);

impl ReleaseKey {
    /// Wraps the raw key.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads the one text that a key has.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        Some(Self(decode(text.strip_prefix(ED25519_PREFIX)?)?))
    }

    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(message, signature)
            .is_ok()
    }
}

impl fmt::Display for ReleaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ED25519_PREFIX}{}", encode(&self.0))
    }
}

impl fmt::Debug for ReleaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReleaseKey({self})")
    }
}

pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Exactly `N` bytes in the one base64 spelling that they have.
pub(super) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

/// The keys of a policy, and how many of them must have signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseKeys {
    threshold: usize,
    keys: Vec<ReleaseKey>,
}

impl ReleaseKeys {
    /// Takes the keys as a policy lists them.
    ///
    /// # Errors
    /// [`ReleaseKeysError`] says what to correct.
    pub fn read(threshold: usize, texts: &[String]) -> Result<Self, ReleaseKeysError> {
        if texts.len() > MAX_RELEASE_KEYS {
            return Err(ReleaseKeysError::TooMany);
        }
        let mut keys = Vec::with_capacity(texts.len());
        for (at, text) in texts.iter().enumerate() {
            let key =
                ReleaseKey::from_text(text).ok_or(ReleaseKeysError::Key { number: at + 1 })?;
            if keys.contains(&key) {
                return Err(ReleaseKeysError::Twice { key });
            }
            keys.push(key);
        }
        if !(1..=keys.len()).contains(&threshold) {
            let keys = keys.len();
            return Err(ReleaseKeysError::Threshold { threshold, keys });
        }
        keys.sort_unstable();
        Ok(Self { threshold, keys })
    }

    /// How many distinct keys must have signed; at least one.
    #[must_use]
    pub fn threshold(&self) -> usize {
        self.threshold
    }

    /// The keys, in the order of their bytes.
    #[must_use]
    pub fn keys(&self) -> &[ReleaseKey] {
        &self.keys
    }

    /// Whether a key is among them.
    #[must_use]
    pub fn contains(&self, key: &ReleaseKey) -> bool {
        self.keys.contains(key)
    }

    /// SHA-256 of the keys in the order of their bytes: what a memory of numbers is kept under.
    #[must_use]
    pub fn id(&self) -> [u8; 32] {
        let bytes: Vec<u8> = self.keys.iter().flat_map(|key| key.0).collect();
        sha256(&bytes)
    }
}

/// Why release keys cannot be used. The fault is the policy's author's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseKeysError {
    /// Over [`MAX_RELEASE_KEYS`].
    #[error("more than {MAX_RELEASE_KEYS} keys")]
    TooMany,
    /// A text that is no key.
    #[error("key {number} is not \"ed25519:\" and 32 bytes in base64")]
    Key {
        /// Its place in the list, from 1.
        number: usize,
    },
    /// A key that is listed twice, which would let one holder count as two.
    #[error("{key} is listed twice")]
    Twice {
        /// The key.
        key: ReleaseKey,
    },
    /// A threshold of none, or of more than there are.
    #[error("threshold is {threshold}; with {keys} keys it must be at least 1 and at most {keys}")]
    Threshold {
        /// What the policy says.
        threshold: usize,
        /// How many keys it lists.
        keys: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(count: u8) -> Vec<String> {
        (0..count)
            .map(|number| ReleaseKey::new([number; 32]).to_string())
            .collect()
    }

    #[test]
    fn a_key_has_one_text() {
        let key = ReleaseKey::new([7; 32]);
        assert_eq!(
            key.to_string(),
            "ed25519:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="
        );
        assert_eq!(ReleaseKey::from_text(&key.to_string()), Some(key));
        for wrong in [
            "",
            "ed25519:",
            "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=",
            "ed25519:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc",
            // The last digit's idle bits.
            "ed25519:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwd=",
            "ed25519: BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=",
            "ed25519:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBw==",
            "ED25519:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=",
        ] {
            assert_eq!(ReleaseKey::from_text(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_threshold_of_none_or_of_more_than_there_are_is_refused() {
        for threshold in 1..=3 {
            assert!(ReleaseKeys::read(threshold, &texts(3)).is_ok());
        }
        for (threshold, keys) in [(0, 3), (4, 3), (0, 0), (1, 0)] {
            let refused = ReleaseKeys::read(threshold, &texts(keys));
            let keys = usize::from(keys);
            assert_eq!(
                refused,
                Err(ReleaseKeysError::Threshold { threshold, keys })
            );
        }
    }

    #[test]
    fn one_holder_cannot_be_listed_twice() {
        let mut keys = texts(2);
        keys.push(keys[0].clone());
        assert_eq!(
            ReleaseKeys::read(2, &keys),
            Err(ReleaseKeysError::Twice {
                key: ReleaseKey::new([0; 32])
            })
        );
        keys[2] = "ed25519:x".to_owned();
        assert_eq!(
            ReleaseKeys::read(2, &keys),
            Err(ReleaseKeysError::Key { number: 3 })
        );
    }

    #[test]
    fn one_key_over_the_limit_is_refused() {
        assert!(ReleaseKeys::read(1, &texts(32)).is_ok());
        assert_eq!(
            ReleaseKeys::read(1, &texts(33)),
            Err(ReleaseKeysError::TooMany)
        );
    }

    #[test]
    fn a_set_of_keys_has_one_name_in_whatever_order_it_is_listed() {
        let (mut keys, same) = (texts(3), texts(3));
        keys.reverse();
        let id = |keys: &[String]| ReleaseKeys::read(2, keys).unwrap().id();
        assert_eq!(id(&keys), id(&same));
        assert_ne!(id(&keys), id(&same[..2]));
    }
}
