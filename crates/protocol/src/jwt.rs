//! Verifying DID-JWTs: ES256K over SHA-256 by a context's signing key (`spec/protocol.md` §§17, 18).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::signature::PublicKey;

/// Longest accepted token, in bytes.
pub const MAX_JWT_BYTES: usize = 16 * 1024 * 1024;

/// The token is not a JWT signed by this key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwtError {
    /// Not three base64url parts of JSON, or too long.
    #[error("not a JWT")]
    Malformed,
    /// The header names another algorithm.
    #[error("the JWT is not signed with ES256K")]
    Algorithm,
    /// The signature is not by this key.
    #[error("the JWT was not signed by this key")]
    Signature,
}

/// Verifies `token` with `key` and returns its payload. High-S signatures are accepted: the
/// reference makes them.
pub fn verify_es256k(token: &str, key: &PublicKey) -> Result<Value, JwtError> {
    if token.len() > MAX_JWT_BYTES {
        return Err(JwtError::Malformed);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(JwtError::Malformed)?;
    let (header, payload) = signed.split_once('.').ok_or(JwtError::Malformed)?;
    let decode = |part: &str| {
        URL_SAFE_NO_PAD
            .decode(part)
            .map_err(|_| JwtError::Malformed)
    };
    let header: Value =
        serde_json::from_slice(&decode(header)?).map_err(|_| JwtError::Malformed)?;
    if header.get("alg").and_then(Value::as_str) != Some("ES256K") {
        return Err(JwtError::Algorithm);
    }
    key.verify_rs(
        Sha256::digest(signed.as_bytes()).into(),
        &decode(signature)?,
    )
    .map_err(|_| JwtError::Signature)?;
    serde_json::from_slice(&decode(payload)?).map_err(|_| JwtError::Malformed)
}
