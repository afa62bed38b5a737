//! Which images a project released, on the word of k of its n keys.
//!
//! 1. A manifest lists measurements under a number that only grows; it is a text, and its bytes are what is signed.
//! 2. The signatures stand under it in the same file, a line each, so that signers can work apart.
//! 3. A policy names the keys, how many of them must agree, and the lowest number it takes.
//! 4. A [`Memory`] refuses a number below the highest that was seen.
//!
//! Guarantees: a [`Release`] was signed by as many distinct keys as its policy asks for. Refuses to know a clock (an
//! expiry is the appraisal's to check), a file, and what is in the images.

mod keys;
mod manifest;
mod memory;
mod signer;

pub use self::keys::{MAX_RELEASE_KEYS, ReleaseKey, ReleaseKeys, ReleaseKeysError};
pub use self::manifest::{
    Draft, MAX_RELEASE_BYTES, MAX_RELEASE_MEASUREMENTS, MAX_SIGNATURES, Manifest, ManifestError,
};
pub use self::memory::{MAX_MEMORY_BYTES, Memory, MemoryError};
pub use self::signer::{ReleaseSigner, SignerError};

use std::fmt;

use crate::binding::sha256;

/// Starts every signed message, so that no other protocol's signature can be taken for one of ours.
const DOMAIN: &[u8] = b"adyton-release-v1\0";

/// The line between the manifest and its signatures.
const MARK: &str = "-----signatures-----\n";

/// Bytes of an Ed25519 signature (RFC 8032).
const SIGNATURE_BYTES: usize = 64;

/// A release file that is well-formed. Anyone can make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnverifiedRelease {
    body: String,
    manifest: Manifest,
    signatures: Vec<Signature>,
}

#[derive(Clone, PartialEq, Eq)]
struct Signature {
    key: ReleaseKey,
    bytes: [u8; SIGNATURE_BYTES],
}

impl UnverifiedRelease {
    /// Reads a release file: a manifest, then, if it was signed, a line `-----signatures-----` and one line
    /// `ed25519:KEY SIGNATURE` (base64 both) for each signature.
    ///
    /// # Errors
    /// [`ReleaseError::Manifest`] or [`ReleaseError::Signatures`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ReleaseError> {
        if bytes.len() > MAX_RELEASE_BYTES {
            return Err(ManifestError::TooLong.into());
        }
        let text = std::str::from_utf8(bytes).map_err(|_| ManifestError::NotText)?;
        // The first line that is the mark ends what is signed, and nothing else is ever read as the manifest.
        let (body, lines) = match text.find(&format!("\n{MARK}")) {
            Some(at) => {
                let (body, rest) = text.split_at(at + 1);
                (body, rest.strip_prefix(MARK).unwrap_or(rest))
            }
            None => (text, ""),
        };
        let manifest = Manifest::from_toml(body)?;
        let signatures = Signature::lines(lines).ok_or(ReleaseError::Signatures)?;
        Ok(Self {
            body: body.to_owned(),
            manifest,
            signatures,
        })
    }

    /// What it says, before anyone checked. For reports, never for decisions.
    #[must_use]
    pub fn unverified_manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whose signatures it claims to carry, before anyone checked. For reports, never for decisions.
    pub fn unverified_signers(&self) -> impl Iterator<Item = ReleaseKey> {
        self.signatures.iter().map(|signature| signature.key)
    }

    /// The exact bytes that are signed: `"adyton-release-v1" ‖ 00 ‖ manifest`.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        [DOMAIN, self.body.as_bytes()].concat()
    }

    /// Adds a signature; one by the same key is replaced.
    #[must_use]
    pub fn signed_by(mut self, signer: &ReleaseSigner) -> Self {
        let bytes = signer.sign(&self.message());
        let key = signer.key();
        self.signatures.retain(|signature| signature.key != key);
        self.signatures.push(Signature { key, bytes });
        self
    }

    /// Adds the signatures that another copy of the same manifest carries.
    ///
    /// # Errors
    /// [`ReleaseError::OtherManifest`] when it is not the same to the last byte.
    pub fn joined_with(mut self, other: &Self) -> Result<Self, ReleaseError> {
        if self.body != other.body {
            return Err(ReleaseError::OtherManifest);
        }
        for signature in &other.signatures {
            if !self.signatures.contains(signature) {
                self.signatures.push(signature.clone());
            }
        }
        Ok(self)
    }

    /// The file's text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = self.body.clone();
        if !self.signatures.is_empty() {
            text.push_str(MARK);
            for signature in &self.signatures {
                text.push_str(&signature.to_string());
                text.push('\n');
            }
        }
        text
    }

    /// Checks the signatures. Keys that are not asked for count for nothing; a key counts once; a signature in the name
    /// of a key that counts, and not by it, spoils the whole file.
    ///
    /// # Errors
    /// [`ReleaseError::Forged`] or [`ReleaseError::TooFew`].
    pub fn verify(self, keys: &ReleaseKeys) -> Result<Release, ReleaseError> {
        let message = self.message();
        let mut signed_by: Vec<ReleaseKey> = Vec::new();
        for Signature { key, bytes } in &self.signatures {
            if !keys.contains(key) {
                continue;
            }
            if !key.has_signed(&message, bytes) {
                return Err(ReleaseError::Forged { key: *key });
            }
            if !signed_by.contains(key) {
                signed_by.push(*key);
            }
        }
        let (found, needed) = (signed_by.len(), keys.threshold());
        if found < needed {
            return Err(ReleaseError::TooFew { found, needed });
        }
        Ok(Release {
            sha256: sha256(self.body.as_bytes()),
            manifest: self.manifest,
            signed_by,
            key_set: keys.id(),
        })
    }
}

impl Signature {
    /// All lines, or none if one of them is not a signature.
    fn lines(text: &str) -> Option<Vec<Self>> {
        if text.is_empty() {
            return Some(Vec::new());
        }
        let lines: Vec<&str> = text.strip_suffix('\n')?.split('\n').collect();
        if lines.len() > MAX_SIGNATURES {
            return None;
        }
        lines.into_iter().map(Self::line).collect()
    }

    fn line(text: &str) -> Option<Self> {
        let (key, signature) = text.split_once(' ')?;
        Some(Self {
            key: ReleaseKey::from_text(key)?,
            bytes: keys::decode(signature)?,
        })
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, keys::encode(&self.bytes))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({self})")
    }
}

/// A manifest that enough keys signed. Made by [`UnverifiedRelease::verify`] alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    manifest: Manifest,
    sha256: [u8; 32],
    signed_by: Vec<ReleaseKey>,
    key_set: [u8; 32],
}

impl Release {
    /// What it says.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 of the manifest's bytes.
    #[must_use]
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// The distinct keys that signed it, of those that count.
    #[must_use]
    pub fn signed_by(&self) -> &[ReleaseKey] {
        &self.signed_by
    }

    /// [`ReleaseKeys::id`] of the keys it was checked against.
    #[must_use]
    pub fn key_set(&self) -> &[u8; 32] {
        &self.key_set
    }
}

/// Why a release file does not count. The fault is the file's, except for [`Self::NoKeys`], which is the policy's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// The text above the signatures.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A line under the mark that is no signature, or too many of them.
    #[error(
        "the signatures cannot be read; at most {MAX_SIGNATURES} lines, a key and a signature each"
    )]
    Signatures,
    /// A signature under a key that counts, which that key did not make over this manifest.
    #[error("the signature of {key} is not over this manifest: one of the two was changed")]
    Forged {
        /// The key.
        key: ReleaseKey,
    },
    /// Fewer distinct keys than the policy asks for.
    #[error("{found} of the release keys signed the manifest, the policy asks for {needed}")]
    TooFew {
        /// How many did.
        found: usize,
        /// How many must.
        needed: usize,
    },
    /// A number below the policy's `min_seq`.
    #[error("the manifest has number {found}, the policy takes none below {least}")]
    TooOld {
        /// The manifest's.
        found: u64,
        /// The policy's.
        least: u64,
    },
    /// The policy has no `[release_keys]`.
    #[error("the policy names no release keys, so no manifest counts")]
    NoKeys,
    /// The manifest and the policy's `[release_keys] pcrs` name one register with two values.
    #[error("the manifest lists another value than the policy for one register")]
    Contradiction,
    /// Two files that do not carry the same manifest.
    #[error("the two files carry different manifests")]
    OtherManifest,
}
