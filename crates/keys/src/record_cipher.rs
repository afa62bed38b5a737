//! Encryption of records (`spec/protocol.md` §11): XSalsa20-Poly1305 under the derived record key.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, pbkdf2};
use base64_simd::{Out, STANDARD};
use dryoc::classic::crypto_secretbox::crypto_secretbox_open_easy;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::database_key::DatabaseKey;
use crate::sealed_box::{MAC, NONCE, SealedBox, nonce_and_box};
use crate::secret::SecretBytes;

/// Rounds of the derivation: part of the format, and worth nothing (the input is a 256-bit key).
const ROUNDS: NonZeroU32 = NonZeroU32::new(1000).unwrap();

/// Opens and seals the payloads of one database.
#[derive(Debug)]
pub struct RecordCipher {
    sealed_box: SealedBox,
}

/// The payload was not made by a holder of this key, or was damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Not base64 of at least a nonce and a tag.
    #[error("the payload is not a sealed record")]
    Malformed,
    /// Wrong key, or tampered with.
    #[error("the payload was sealed with another key or altered")]
    Rejected,
}

/// A payload after base64: still sealed.
#[derive(Debug, Clone, Copy)]
pub struct SealedRecord<'a> {
    nonce: &'a [u8; NONCE],
    boxed: &'a [u8],
}

impl<'a> SealedRecord<'a> {
    /// Decodes a base64 payload into `scratch`, which holds only ciphertext and can be reused.
    pub fn decode(payload: &[u8], scratch: &'a mut Vec<u8>) -> Result<Self, OpenError> {
        scratch.resize(STANDARD.estimated_decoded_length(payload.len()), 0);
        let sealed = STANDARD
            .decode(payload, Out::from_slice(scratch))
            .map_err(|_| OpenError::Malformed)?;
        let (nonce, boxed) = nonce_and_box(sealed).ok_or(OpenError::Malformed)?;
        Ok(Self { nonce, boxed })
    }

    /// Bytes of plaintext inside.
    pub fn plaintext_len(&self) -> usize {
        self.boxed.len() - MAC
    }
}

impl RecordCipher {
    /// Derives the record key of a database.
    ///
    /// PBKDF2 with an *empty* salt: the original means to salt with the database hash, but decodes
    /// its hex wrongly and gets zero bytes. That is part of the format.
    pub fn of(database: &DatabaseKey) -> Self {
        let password = digest::digest(&digest::SHA512, database.expose_hex().as_bytes());
        let mut key = [0; 32];
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA512,
            ROUNDS,
            &[],
            password.as_ref(),
            &mut key,
        );
        Self {
            sealed_box: SealedBox::of_key(SecretBytes::take(&mut key)),
        }
    }

    /// Length of the plaintext of a base64 payload of this length, or a little more.
    pub fn plaintext_bound(payload_length: usize) -> usize {
        (payload_length / 4 * 3 + 3).saturating_sub(NONCE + MAC)
    }

    /// Opens a record into `out`, which has exactly its length. No plaintext is written before the tag
    /// is verified.
    pub fn open_into(&self, sealed: SealedRecord<'_>, out: &mut [u8]) -> Result<(), OpenError> {
        crypto_secretbox_open_easy(out, sealed.boxed, sealed.nonce, self.sealed_box.key())
            .map_err(|_| OpenError::Rejected)
    }

    /// Opens one payload into memory of its own.
    pub fn open(&self, payload: &str) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let mut scratch = Vec::new();
        let sealed = SealedRecord::decode(payload.as_bytes(), &mut scratch)?;
        let mut out = Zeroizing::new(vec![0; sealed.plaintext_len()]);
        self.open_into(sealed, &mut out)?;
        Ok(out)
    }

    /// Seals the JSON text of a record under a random nonce.
    pub fn seal(&self, plaintext: &[u8], rng: &mut impl CryptoRng) -> String {
        self.sealed_box.seal_bytes(plaintext, rng)
    }

    #[cfg(test)]
    pub(crate) fn sealed_box(&self) -> &SealedBox {
        &self.sealed_box
    }
}
