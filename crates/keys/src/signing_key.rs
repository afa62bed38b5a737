//! secp256k1 secret keys. Private to this crate: what they may sign is decided by their owners.

use std::fmt;

use adyton_protocol::signature::{PublicKey, Signature};
use secp256k1::ecdsa::RecoverableSignature;
use secp256k1::{Message, SecretKey};
use zeroize::Zeroize;

/// The bytes are not a secret key of the curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a secp256k1 secret key")]
pub struct InvalidSecretKey;

/// A secret key of the curve and its public half. Boxed, so that moving it leaves no copies; erased on drop.
pub(crate) struct SigningKey {
    secret: Box<SecretKey>,
    public: PublicKey,
}

impl SigningKey {
    /// Takes over the bytes; the caller's copy is zeroized.
    pub(crate) fn take(bytes: &mut [u8; 32]) -> Result<Self, InvalidSecretKey> {
        let parsed = SecretKey::from_secret_bytes(*bytes).map(Box::new);
        bytes.zeroize();
        let secret = parsed.map_err(|_| InvalidSecretKey)?;
        let public = PublicKey::from_curve(secp256k1::PublicKey::from_secret_key(&secret));
        Ok(Self { secret, public })
    }

    pub(crate) fn public(&self) -> &PublicKey {
        &self.public
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        self.secret.as_secret_bytes()
    }

    /// Deterministic (RFC 6979), low-S.
    pub(crate) fn sign_digest(&self, digest: [u8; 32]) -> Signature {
        Signature::from_recoverable(RecoverableSignature::sign_ecdsa_recoverable(
            Message::from_digest(digest),
            &self.secret,
        ))
    }
}

impl Drop for SigningKey {
    fn drop(&mut self) {
        self.secret.non_secure_erase();
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}
