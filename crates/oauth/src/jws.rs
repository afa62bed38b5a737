//! Signed JSON in its compact form (RFC 7515): taken apart, not yet believed.

use base64_simd::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::jwk::Jwk;

/// A text that was taken apart.
#[derive(Debug)]
pub struct Jws<'t> {
    header: Header,
    payload: Vec<u8>,
    signed: &'t str,
    signature: Vec<u8>,
}

/// The members of a header that matter here. A member twice is refused.
#[derive(Debug, Deserialize)]
pub struct Header {
    /// The algorithm.
    pub alg: String,
    /// What the payload is.
    pub typ: Option<String>,
    /// The key, where the text brings it.
    pub jwk: Option<Jwk>,
    /// Extensions that must be understood: none is.
    crit: Option<IgnoredAny>,
}

/// Not three parts of base64url over JSON, too long, or with extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a signed JSON text in compact form")]
pub struct NotJws;

impl<'t> Jws<'t> {
    /// Takes a text apart.
    pub fn parse(text: &'t str, max_bytes: usize) -> Result<Self, NotJws> {
        if text.len() > max_bytes {
            return Err(NotJws);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(NotJws)?;
        let (header, payload) = signed.split_once('.').ok_or(NotJws)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode_to_vec(part).map_err(|_| NotJws);
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| NotJws)?;
        if header.crit.is_some() {
            return Err(NotJws);
        }
        Ok(Self {
            header,
            payload: decode(payload)?,
            signed,
            signature: decode(signature)?,
        })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What the signature covers.
    pub fn signed(&self) -> &'t str {
        self.signed
    }

    /// The signature.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Reads the payload. To be believed only after the signature.
    pub fn unverified_payload<T: DeserializeOwned>(&self) -> Result<T, NotJws> {
        serde_json::from_slice(&self.payload).map_err(|_| NotJws)
    }
}
