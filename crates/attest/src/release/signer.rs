//! A release key's secret half: one file per holder, used for the length of one signature.
//!
//! Guarantees: never printed, and wiped when dropped as far as the crypto library does. Refuses to know where it is kept.

use std::fmt;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::{ReleaseKey, SIGNATURE_BYTES};

/// Longest key file that is read.
const MAX_PEM_BYTES: usize = 4096;

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// Signs manifests. The file is PKCS#8 in PEM (RFC 8410), as `openssl genpkey -algorithm ed25519` writes it.
pub struct ReleaseSigner {
    pair: Ed25519KeyPair,
    key: ReleaseKey,
}

impl ReleaseSigner {
    /// Draws a key.
    ///
    /// # Errors
    /// [`SignerError::NoKey`] when the system gives no randomness.
    pub fn generate() -> Result<Self, SignerError> {
        Ed25519KeyPair::generate()
            .map_err(|_| SignerError::NoKey)
            .and_then(Self::of)
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// [`SignerError::NotAKey`].
    pub fn from_pem(text: &str) -> Result<Self, SignerError> {
        if text.len() > MAX_PEM_BYTES {
            return Err(SignerError::NotAKey);
        }
        let body = text.trim().strip_prefix(BEGIN);
        let body = body.and_then(|body| body.strip_suffix(END));
        let body: Zeroizing<String> = Zeroizing::new(
            body.ok_or(SignerError::NotAKey)?
                .split_whitespace()
                .collect(),
        );
        let der = STANDARD.decode(&*body).map_err(|_| SignerError::NotAKey)?;
        let der = Zeroizing::new(der);
        // Version 1 (OpenSSL's, without the public half) and version 2 alike.
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der)
            .map_err(|_| SignerError::NotAKey)
            .and_then(Self::of)
    }

    /// Writes the key file.
    ///
    /// # Errors
    /// [`SignerError::NoKey`] when the crypto library cannot export.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, SignerError> {
        let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> =
            self.pair.as_der().map_err(|_| SignerError::NoKey)?;
        let text = Zeroizing::new(STANDARD.encode(der.as_ref()));
        Ok(Zeroizing::new(format!("{BEGIN}\n{}\n{END}\n", *text)))
    }

    /// The public half.
    #[must_use]
    pub fn key(&self) -> ReleaseKey {
        self.key
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        let mut bytes = [0; SIGNATURE_BYTES];
        let signature = self.pair.sign(message);
        bytes
            .iter_mut()
            .zip(signature.as_ref())
            .for_each(|(to, from)| *to = *from);
        bytes
    }

    fn of(pair: Ed25519KeyPair) -> Result<Self, SignerError> {
        let key = pair.public_key().as_ref().try_into();
        Ok(Self {
            key: ReleaseKey::new(key.map_err(|_| SignerError::NotAKey)?),
            pair,
        })
    }
}

impl fmt::Debug for ReleaseSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReleaseSigner({})", self.key)
    }
}

/// Why there is no key to sign with. The fault is the file's or this machine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignerError {
    /// Not a PKCS#8 Ed25519 key in PEM.
    #[error("not an ed25519 private key in pem (pkcs#8)")]
    NotAKey,
    /// None could be made.
    #[error("no key can be made")]
    NoKey,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The secret of RFC 8032, test 1, as OpenSSL writes it.
    const RFC_8032_1: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
        -----END PRIVATE KEY-----\n";

    #[test]
    fn a_key_of_openssl_signs_as_rfc_8032_says() {
        let signer = ReleaseSigner::from_pem(RFC_8032_1).unwrap();
        let public =
            hex::decode("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        assert_eq!(
            signer.key(),
            ReleaseKey::new(public.unwrap().try_into().unwrap())
        );
        let signature = "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555\
                         fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b";
        assert_eq!(hex::encode(signer.sign(b"")), signature);
    }

    #[test]
    fn a_key_is_read_back_as_written_and_never_printed() {
        let signer = ReleaseSigner::generate().unwrap();
        let again = ReleaseSigner::from_pem(&signer.to_pem().unwrap()).unwrap();
        assert_eq!(signer.key(), again.key());
        assert_eq!(
            format!("{signer:?}"),
            format!("ReleaseSigner({})", signer.key())
        );
        let rfc = ReleaseSigner::from_pem(RFC_8032_1).unwrap();
        assert_eq!(*rfc.to_pem().unwrap(), RFC_8032_1);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let long = format!("{}{RFC_8032_1}", " ".repeat(MAX_PEM_BYTES));
        let short = RFC_8032_1.replace("rn9g", "");
        for text in ["", "x", &short, &RFC_8032_1.replace("BEGIN", "BEGI"), &long] {
            assert_eq!(
                ReleaseSigner::from_pem(text).unwrap_err(),
                SignerError::NotAKey
            );
        }
    }
}
