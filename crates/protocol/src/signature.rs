//! Recoverable secp256k1 signatures as the protocol writes them, and their verification
//! (`spec/protocol.md` §3.3). Making them needs a secret: that is `adyton-keys`.

use std::fmt;
use std::str::FromStr;

use secp256k1::Message;
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};

use crate::address::Address;

/// `r ‖ s ‖ v` over a 32-byte Keccak digest. There is no prefix and no domain separation in this
/// protocol: a signature says only "this key signed these 32 bytes".
#[derive(Clone, PartialEq, Eq)]
pub struct Signature(RecoverableSignature);

/// The text or the bytes are not a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a signature: expected 0x and 130 hex digits (or 128 in compact form)")]
pub struct InvalidSignature;

/// The signature does not verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not match")]
pub struct WrongSignature;

impl Signature {
    /// From the 64-byte `r ‖ s` and a recovery id of 0 or 1.
    pub fn from_recoverable(inner: RecoverableSignature) -> Self {
        Self(inner)
    }

    /// Parses the 65 bytes `r ‖ s ‖ v` with v of 0, 1, 27 or 28, or the 64 bytes of EIP-2098.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidSignature> {
        let (compact, parity) = match bytes {
            [rs @ .., v @ (0 | 1 | 27 | 28)] if rs.len() == 64 => (rs.to_vec(), *v % 27),
            rs if rs.len() == 64 => {
                // EIP-2098: the parity is the top bit of s.
                let mut rs = rs.to_vec();
                let top = rs.get_mut(32).ok_or(InvalidSignature)?;
                let parity = *top >> 7;
                *top &= 0x7f;
                (rs, parity)
            }
            _ => return Err(InvalidSignature),
        };
        let id = if parity == 0 {
            RecoveryId::Zero
        } else {
            RecoveryId::One
        };
        RecoverableSignature::from_compact(&compact, id)
            .map(Self)
            .map_err(|_| InvalidSignature)
    }

    /// The 65 bytes `r ‖ s ‖ v`, v = 27 or 28.
    pub fn to_bytes(&self) -> [u8; 65] {
        let (id, rs) = self.0.serialize_compact();
        let mut bytes = [0; 65];
        bytes.split_at_mut(64).0.copy_from_slice(&rs);
        if let Some(v) = bytes.last_mut() {
            *v = 27 + (id.to_u8() & 1);
        }
        bytes
    }

    /// The public key whose owner signed `digest`, if the signature is one at all.
    pub fn recover(&self, digest: [u8; 32]) -> Result<PublicKey, WrongSignature> {
        self.0
            .recover(Message::from_digest(digest))
            .map(PublicKey)
            .map_err(|_| WrongSignature)
    }

    /// Checks that the holder of `address` signed `digest`, and returns the key that did.
    pub fn verify(&self, digest: [u8; 32], address: &Address) -> Result<PublicKey, WrongSignature> {
        let key = self.recover(digest)?;
        if key.address() == *address {
            Ok(key)
        } else {
            Err(WrongSignature)
        }
    }
}

impl FromStr for Signature {
    type Err = InvalidSignature;

    fn from_str(text: &str) -> Result<Self, InvalidSignature> {
        let digits = text.strip_prefix("0x").ok_or(InvalidSignature)?;
        if digits.len() > 130 {
            return Err(InvalidSignature);
        }
        Self::from_bytes(&hex::decode(digits).map_err(|_| InvalidSignature)?)
    }
}

impl fmt::Display for Signature {
    /// `0x` and 130 lower-case hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.to_bytes()))
    }
}

impl fmt::Debug for Signature {
    /// Mute: the unlock signature is a context's seed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(..)")
    }
}

/// A secp256k1 public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(secp256k1::PublicKey);

/// The text or the bytes are not a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a secp256k1 public key")]
pub struct InvalidPublicKey;

impl PublicKey {
    /// Wraps a key of the curve library.
    pub const fn from_curve(key: secp256k1::PublicKey) -> Self {
        Self(key)
    }

    /// The 33 or 65 bytes of SEC 1.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidPublicKey> {
        secp256k1::PublicKey::from_slice(bytes)
            .map(Self)
            .map_err(|_| InvalidPublicKey)
    }

    /// The compressed form, 33 bytes.
    pub fn compressed(&self) -> [u8; 33] {
        self.0.serialize()
    }

    /// The uncompressed form, 65 bytes starting with `04`.
    pub fn uncompressed(&self) -> [u8; 65] {
        self.0.serialize_uncompressed()
    }

    /// The account address of this key.
    pub fn address(&self) -> Address {
        let mut xy = [0; 64];
        xy.copy_from_slice(self.uncompressed().split_at(1).1);
        Address::of_public_key(&xy)
    }

    /// Verifies a non-recoverable `r ‖ s` signature over a SHA-256 digest, as in an ES256K JWT.
    /// Accepts high-S, which the reference's JWT library produces.
    pub fn verify_rs(&self, digest: [u8; 32], rs: &[u8]) -> Result<(), WrongSignature> {
        let mut signature =
            secp256k1::ecdsa::Signature::from_compact(rs).map_err(|_| WrongSignature)?;
        signature.normalize_s();
        self.0
            .verify(Message::from_digest(digest), &signature)
            .map_err(|_| WrongSignature)
    }
}

impl FromStr for PublicKey {
    type Err = InvalidPublicKey;

    /// Hex, with or without `0x`.
    fn from_str(text: &str) -> Result<Self, InvalidPublicKey> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        if digits.len() > 130 {
            return Err(InvalidPublicKey);
        }
        Self::from_bytes(&hex::decode(digits).map_err(|_| InvalidPublicKey)?)
    }
}
