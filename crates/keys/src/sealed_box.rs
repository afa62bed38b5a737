//! Boxes: `symEncrypt` and `asymEncrypt` of the original (`spec/protocol.md` §§3.4, 3.5).

use adyton_protocol::canonical_json::{self, NotCanonical};
use base64_simd::STANDARD;
use dryoc::classic::crypto_box::crypto_box_beforenm;
use dryoc::classic::crypto_core::crypto_scalarmult_base;
use dryoc::classic::crypto_secretbox::{crypto_secretbox_easy, crypto_secretbox_open_easy};
use rand_core::CryptoRng;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::secret::SecretBytes;

/// Bytes of nonce before the boxed bytes.
pub(crate) const NONCE: usize = 24;
/// Bytes of authentication tag before the ciphertext proper.
pub(crate) const MAC: usize = 16;

/// Seals and opens values under one 32-byte key.
#[derive(Debug)]
pub struct SealedBox {
    key: SecretBytes<32>,
}

/// The sealed text cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnsealError {
    /// Not base64 of at least a nonce and a tag.
    #[error("not a sealed value")]
    Malformed,
    /// Wrong key, or tampered with.
    #[error("the value was sealed with another key or altered")]
    Rejected,
    /// The plaintext is not JSON.
    #[error("the sealed value is not JSON")]
    NotJson,
}

impl SealedBox {
    /// The box of a symmetric key.
    pub fn of_key(key: SecretBytes<32>) -> Self {
        Self { key }
    }

    /// The box that two X25519 keys share.
    pub(crate) fn shared(peer: &[u8; 32], own: &SecretBytes<32>) -> Option<Self> {
        let mut key = crypto_box_beforenm(peer, own.expose()).ok()?;
        Some(Self {
            key: SecretBytes::take(&mut key),
        })
    }

    pub(crate) fn public_key_of(secret: &SecretBytes<32>) -> [u8; 32] {
        let mut public = [0; 32];
        crypto_scalarmult_base(&mut public, secret.expose());
        public
    }

    /// Seals a JSON value. Text is sealed with its quotes.
    pub fn seal(&self, value: &Value, rng: &mut impl CryptoRng) -> Result<String, NotCanonical> {
        let mut nonce = [0; NONCE];
        rng.fill_bytes(&mut nonce);
        let text = Zeroizing::new(canonical_json::to_string(value)?);
        Ok(self.seal_bytes_with_nonce(text.as_bytes(), &nonce))
    }

    /// Opens a sealed JSON value.
    pub fn open(&self, sealed: &str) -> Result<Value, UnsealError> {
        serde_json::from_slice(&self.open_bytes(sealed)?).map_err(|_| UnsealError::NotJson)
    }

    /// Seals raw bytes.
    pub fn seal_bytes(&self, plaintext: &[u8], rng: &mut impl CryptoRng) -> String {
        let mut nonce = [0; NONCE];
        rng.fill_bytes(&mut nonce);
        self.seal_bytes_with_nonce(plaintext, &nonce)
    }

    /// Opens raw bytes.
    pub fn open_bytes(&self, sealed: &str) -> Result<Zeroizing<Vec<u8>>, UnsealError> {
        let sealed = STANDARD
            .decode_to_vec(sealed)
            .map_err(|_| UnsealError::Malformed)?;
        let (nonce, boxed) = nonce_and_box(&sealed).ok_or(UnsealError::Malformed)?;
        let mut plain = Zeroizing::new(vec![0; boxed.len() - MAC]);
        crypto_secretbox_open_easy(&mut plain, boxed, nonce, self.key.expose())
            .map_err(|_| UnsealError::Rejected)?;
        Ok(plain)
    }

    pub(crate) fn seal_bytes_with_nonce(&self, plaintext: &[u8], nonce: &[u8; NONCE]) -> String {
        let mut sealed = vec![0; NONCE + MAC + plaintext.len()];
        let (head, boxed) = sealed.split_at_mut(NONCE);
        head.copy_from_slice(nonce);
        // The lengths are right by construction, and nothing else can fail.
        let made = crypto_secretbox_easy(boxed, plaintext, nonce, self.key.expose());
        debug_assert!(made.is_ok());
        STANDARD.encode_to_string(&sealed)
    }

    pub(crate) fn key(&self) -> &[u8; 32] {
        self.key.expose()
    }
}

/// The layout of everything sealed: the nonce, then tag and ciphertext. `None` when it is too short.
pub(crate) fn nonce_and_box(sealed: &[u8]) -> Option<(&[u8; NONCE], &[u8])> {
    sealed
        .split_first_chunk()
        .filter(|(_, boxed)| boxed.len() >= MAC)
}
