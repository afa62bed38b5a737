//! Public keys in JSON (RFC 7517): P-256 for ES256 and Ed25519 for EdDSA, and their thumbprints (RFC 7638).

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};
use base64_simd::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Wire")]
pub struct Jwk(Key);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    P256 { x: [u8; 32], y: [u8; 32] },
    Ed25519 { x: [u8; 32] },
}

/// The algorithm that a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA over P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

/// The algorithms, as metadata names them.
pub const ALGORITHMS: [&str; 2] = ["ES256", "EdDSA"];

impl Algorithm {
    /// Reads the `alg` of a header. `Ed25519` is the name that RFC 9864 gives to what `EdDSA` means here.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "ES256" => Some(Self::Es256),
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            _ => None,
        }
    }
}

/// The JSON is not a public key that is accepted here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidJwk {
    /// Neither P-256 nor Ed25519, or coordinates of another length.
    #[error("the key is neither of P-256 nor of Ed25519")]
    Kind,
    /// It has its private half in it.
    #[error("the key has its private half in it, which must be treated as leaked")]
    Private,
    /// It says of itself that it is for something else.
    #[error("the key is for something else than signatures")]
    Use,
}

/// The members that matter; those of private keys are there to be refused.
#[derive(Deserialize)]
struct Wire {
    kty: String,
    crv: String,
    x: String,
    y: Option<String>,
    d: Option<IgnoredAny>,
    k: Option<IgnoredAny>,
    p: Option<IgnoredAny>,
    q: Option<IgnoredAny>,
    alg: Option<String>,
    r#use: Option<String>,
}

impl TryFrom<Wire> for Jwk {
    type Error = InvalidJwk;

    fn try_from(wire: Wire) -> Result<Self, InvalidJwk> {
        if wire.d.is_some() || wire.k.is_some() || wire.p.is_some() || wire.q.is_some() {
            return Err(InvalidJwk::Private);
        }
        let key = match (wire.kty.as_str(), wire.crv.as_str(), &wire.y) {
            ("EC", "P-256", Some(y)) => Key::P256 {
                x: coordinate(&wire.x)?,
                y: coordinate(y)?,
            },
            ("OKP", "Ed25519", None) => Key::Ed25519 {
                x: coordinate(&wire.x)?,
            },
            _ => return Err(InvalidJwk::Kind),
        };
        let key = Self(key);
        let fits = wire
            .alg
            .is_none_or(|alg| Algorithm::named(&alg) == Some(key.algorithm()));
        if !fits || wire.r#use.is_some_and(|used| used != "sig") {
            return Err(InvalidJwk::Use);
        }
        Ok(key)
    }
}

fn coordinate(text: &str) -> Result<[u8; 32], InvalidJwk> {
    // 43 characters: the limit comes before the decoder.
    Some(text)
        .filter(|text| text.len() == 43)
        .and_then(|text| URL_SAFE_NO_PAD.decode_to_vec(text).ok())
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(InvalidJwk::Kind)
}

impl Jwk {
    /// What signs with it.
    pub fn algorithm(&self) -> Algorithm {
        match self.0 {
            Key::P256 { .. } => Algorithm::Es256,
            Key::Ed25519 { .. } => Algorithm::EdDsa,
        }
    }

    /// Whether this key signed the message.
    pub fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.0 {
            Key::P256 { x, y } => {
                let point = [&[4], x.as_slice(), y.as_slice()].concat();
                let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
                key.verify(message, signature).is_ok()
            }
            Key::Ed25519 { x } => {
                let key = UnparsedPublicKey::new(&ED25519, x);
                key.verify(message, signature).is_ok()
            }
        }
    }

    /// The key in JSON.
    pub(crate) fn to_value(&self) -> serde_json::Value {
        serde_json::from_str(&self.members()).unwrap_or_default()
    }

    /// The members that make the key, in the order of their names.
    fn members(&self) -> String {
        let text = |bytes: &[u8; 32]| URL_SAFE_NO_PAD.encode_to_string(bytes);
        match &self.0 {
            Key::P256 { x, y } => format!(
                r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#,
                text(x),
                text(y)
            ),
            Key::Ed25519 { x } => {
                format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, text(x))
            }
        }
    }

    /// The thumbprint: the hash of the members that make the key, in their order.
    pub fn thumbprint(&self) -> Thumbprint {
        let json = self.members();
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, json.as_bytes()).as_ref());
        Thumbprint(hash)
    }
}

/// Names a key (RFC 7638).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// Reads the text of a `jkt`.
    pub fn parse(text: &str) -> Option<Self> {
        coordinate(text).ok().map(Self)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode_to_string(self.0))
    }
}

impl fmt::Debug for Thumbprint {
    /// Mute: it names a device.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Thumbprint(..)")
    }
}
