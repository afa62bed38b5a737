//! A secret that outlives the process: released to this very image by a service that checks its evidence.
//!
//! Guarantees: a released secret is wiped when dropped, says nothing when shown, and is used through HKDF labels only. What
//! is derived from it is the node's answer key and the account that keeps grants (`docs/adr/0022`): TLS and HPKE keys stay born in
//! memory, and no user's data ever depends on a vendor's service (`docs/adr/0014`). Refuses to know what the service's word is worth.

mod oyster;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use adyton_attest::ConfigDigest;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use zeroize::Zeroizing;

pub use self::oyster::{NotLoopback, OysterDerive};

/// Separates our use of a released secret from any other.
const SALT: &[u8] = b"adyton-key-release-v1";

/// The label of the key that signs answers.
const ANSWER_KEY: &[u8] = b"answer key, ed25519 seed";

/// The label of the account in whose context grants are kept.
const GRANTS_ACCOUNT: &[u8] = b"grants account, secp256k1 key";

/// The answer of a service, which takes its time.
pub type Release<'a> =
    Pin<Box<dyn Future<Output = Result<ReleasedSecret, KeyReleaseError>> + Send + 'a>>;

/// A service that releases secrets to enclaves by what they are.
pub trait KeyRelease: Send + Sync {
    /// The secret under this path: the same for the same image, for ever; another for every other image or path.
    fn release<'a>(&'a self, path: &'a str) -> Release<'a>;
}

/// A secret that a service released: 64 bytes, wiped when dropped.
pub struct ReleasedSecret(Zeroizing<[u8; 64]>);

impl ReleasedSecret {
    /// Takes the bytes of a secret.
    #[must_use]
    pub fn new(bytes: Zeroizing<[u8; 64]>) -> Self {
        Self(bytes)
    }

    /// The seed of the key that signs answers: HKDF-SHA256 (RFC 5869) of the secret with a salt and a label of ours and the
    /// configuration's digest, for a service tells images apart and not what they were told to do.
    ///
    /// # Errors
    /// [`KeyReleaseError::Derivation`], which does not happen with these lengths.
    pub fn answer_key_seed(
        &self,
        config: &ConfigDigest,
    ) -> Result<Zeroizing<[u8; 32]>, KeyReleaseError> {
        self.derive(ANSWER_KEY, config)
    }

    /// The key of the account in whose context this node keeps grants, in the same way: another image or configuration has
    /// another account, and finds nothing of this one's.
    ///
    /// # Errors
    /// [`KeyReleaseError::Derivation`], which does not happen with these lengths.
    pub fn grants_account_key(
        &self,
        config: &ConfigDigest,
    ) -> Result<Zeroizing<[u8; 32]>, KeyReleaseError> {
        self.derive(GRANTS_ACCOUNT, config)
    }

    fn derive(
        &self,
        label: &[u8],
        config: &ConfigDigest,
    ) -> Result<Zeroizing<[u8; 32]>, KeyReleaseError> {
        let key = Salt::new(HKDF_SHA256, SALT).extract(self.0.as_slice());
        let info = [label, config.as_bytes()];
        let mut seed = Zeroizing::new([0; 32]);
        key.expand(&info, ThirtyTwo)
            .and_then(|derived| derived.fill(seed.as_mut_slice()))
            .map_err(|_| KeyReleaseError::Derivation)?;
        Ok(seed)
    }
}

impl fmt::Debug for ReleasedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReleasedSecret(..)")
    }
}

struct ThirtyTwo;

impl KeyType for ThirtyTwo {
    fn len(&self) -> usize {
        32
    }
}

/// Why there is no secret. The fault is the service's, or this image is not one that it knows.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyReleaseError {
    /// Nobody listens where the service should be.
    #[error("the key service cannot be reached")]
    Unreachable(#[source] std::io::Error),
    /// It gave no answer, or another than a secret.
    #[error("the key service gave no secret")]
    Answer(#[from] crate::local_http::LocalHttpError),
    /// It gave too few or too many bytes.
    #[error("the key service gave {found} bytes instead of 64")]
    Length {
        /// How many.
        found: usize,
    },
    /// The path cannot stand in a question.
    #[error("the path of the secret is not in form")]
    Path,
    /// The derivation failed.
    #[error("no key can be derived")]
    Derivation,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(secret: u8, config: &str) -> [u8; 32] {
        let secret = ReleasedSecret::new(Zeroizing::new([secret; 64]));
        *secret.answer_key_seed(&ConfigDigest::of(config)).unwrap()
    }

    /// Recomputed with another implementation (Python's hmac) from RFC 5869.
    #[test]
    fn the_seed_is_the_one_that_is_written_down() {
        let expected = "6a4c155d538f3dbdcd7fc842fa6449d28957cd09a8dc04a0960a7920a3218231";
        assert_eq!(hex(&seed(7, "listen = \"a\"")), expected);
    }

    #[test]
    fn the_account_that_keeps_grants_has_nothing_in_common_with_the_answer_key() {
        let secret = ReleasedSecret::new(Zeroizing::new([7; 64]));
        let account = |config| {
            secret
                .grants_account_key(&ConfigDigest::of(config))
                .unwrap()
        };
        assert_ne!(*account("listen = \"a\""), seed(7, "listen = \"a\""));
        assert_eq!(account("a"), account("a"));
        assert_ne!(account("a"), account("b"));
    }

    #[test]
    fn another_secret_or_configuration_gives_another_key() {
        assert_eq!(seed(1, "a"), seed(1, "a"));
        assert_ne!(seed(1, "a"), seed(2, "a"));
        assert_ne!(seed(1, "a"), seed(1, "b"));
    }

    #[test]
    fn a_secret_says_nothing_when_shown() {
        let secret = ReleasedSecret::new(Zeroizing::new([0x41; 64]));
        assert_eq!(format!("{secret:?}"), "ReleasedSecret(..)");
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
