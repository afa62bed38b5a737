//! A public key as TLS shows it: `SubjectPublicKeyInfo`, RFC 5280 section 4.1.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use x509_parser::prelude::{FromDer as _, SubjectPublicKeyInfo, X509Certificate};

use super::sha256;

/// Longest public key that a Nitro document can carry, hence the longest we look at.
pub const MAX_SPKI_BYTES: usize = 1024;

/// A DER `SubjectPublicKeyInfo`, at most [`MAX_SPKI_BYTES`] long.
#[derive(Clone, PartialEq, Eq)]
pub struct Spki(Vec<u8>);

impl Spki {
    /// Takes DER that is exactly one `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// [`SpkiError`] when it is too long or something else.
    pub fn from_der(der: &[u8]) -> Result<Self, SpkiError> {
        if der.len() > MAX_SPKI_BYTES {
            return Err(SpkiError::TooLong { found: der.len() });
        }
        match SubjectPublicKeyInfo::from_der(der) {
            Ok(([], _)) => Ok(Self(der.to_vec())),
            Ok(_) | Err(_) => Err(SpkiError::NotAKey),
        }
    }

    /// Takes the key out of a certificate. Nothing about the certificate is checked.
    ///
    /// # Errors
    /// [`SpkiError`] when it is not a certificate or its key is too long.
    pub fn of_certificate(der: &[u8]) -> Result<Self, SpkiError> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|_| SpkiError::NotACertificate)?;
        Self::from_der(certificate.public_key().raw)
    }

    /// The DER bytes.
    #[must_use]
    pub fn as_der(&self) -> &[u8] {
        &self.0
    }

    /// SHA-256 of the DER bytes.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        sha256(&self.0)
    }

    /// The key as `curl --pinnedpubkey` wants it: `sha256//BASE64`.
    #[must_use]
    pub fn pin(&self) -> String {
        format!("sha256//{}", STANDARD.encode(self.sha256()))
    }
}

impl fmt::Debug for Spki {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spki({})", self.pin())
    }
}

/// Why bytes are not a public key. The fault is the peer's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpkiError {
    /// Longer than any document could carry.
    #[error("public key has {found} bytes, more than {MAX_SPKI_BYTES}")]
    TooLong {
        /// Bytes found.
        found: usize,
    },
    /// Not one DER `SubjectPublicKeyInfo`.
    #[error("not a public key in DER")]
    NotAKey,
    /// Not a DER certificate.
    #[error("not a certificate in DER")]
    NotACertificate,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn spki() -> Spki {
        let key = rcgen::KeyPair::generate().unwrap();
        Spki::from_der(&rcgen::PublicKeyData::subject_public_key_info(&key)).unwrap()
    }

    #[test]
    fn a_key_with_bytes_behind_it_is_not_a_key() {
        let mut der = spki().as_der().to_vec();
        der.push(0);
        assert_eq!(Spki::from_der(&der), Err(SpkiError::NotAKey));
        assert_eq!(
            Spki::from_der(&[0; MAX_SPKI_BYTES + 1]),
            Err(SpkiError::TooLong { found: 1025 })
        );
    }
}
