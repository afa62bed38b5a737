//! The node's tokens: HS256 JWTs, one key and one type for each purpose. Only tokens made here are ever accepted.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::store::{StoreError, random};

/// A challenge lives this many seconds.
pub(crate) const CHALLENGE_SECONDS: u64 = 60;
/// An access token lives this many seconds.
pub(crate) const ACCESS_SECONDS: u64 = 600;
/// A refresh token lives this many seconds: 30 days.
pub(crate) const REFRESH_SECONDS: u64 = 2_592_000;
/// Bytes of a token, well above any that is made here.
pub(crate) const MAX_TOKEN_BYTES: usize = 16 << 10;

/// `{"alg":"HS256","typ":"JWT"}`: the only header there is.
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

/// The key of one kind of token.
pub(crate) struct TokenKey(Vec<u8>);

/// Claims that say what kind of token they make and when it ends.
pub(crate) trait Claims: Serialize + DeserializeOwned {
    /// Unix seconds at which the token ends.
    fn expires(&self) -> u64;
    /// Whether the claims are of their own kind.
    fn is_of_its_kind(&self) -> bool;
}

/// A challenge: `POST /auth/generateAuthJwt`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChallengeClaims {
    pub(crate) sub: String,
    pub(crate) context_name: String,
    pub(crate) auth_request_id: String,
    pub(crate) iat: u64,
    pub(crate) exp: u64,
}

/// A refresh token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RefreshClaims {
    pub(crate) id: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) device_id: Option<String>,
    pub(crate) sub: String,
    pub(crate) context_name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) iat: u64,
    pub(crate) exp: u64,
}

/// An access token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AccessClaims {
    pub(crate) id: String,
    pub(crate) did: String,
    pub(crate) sub: String,
    pub(crate) context_name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) iat: u64,
    pub(crate) exp: u64,
}

/// As whom this node asks a CouchDB, which takes `sub` for the name. Nobody who shows one here is let in by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ActingClaims {
    pub(crate) sub: String,
    #[serde(rename = "_couchdb.roles")]
    pub(crate) roles: Vec<String>,
    pub(crate) exp: u64,
}

impl Claims for ActingClaims {
    fn expires(&self) -> u64 {
        self.exp
    }

    fn is_of_its_kind(&self) -> bool {
        false
    }
}

impl Claims for ChallengeClaims {
    fn expires(&self) -> u64 {
        self.exp
    }

    fn is_of_its_kind(&self) -> bool {
        true
    }
}

impl Claims for RefreshClaims {
    fn expires(&self) -> u64 {
        self.exp
    }

    fn is_of_its_kind(&self) -> bool {
        self.kind == "refresh"
    }
}

impl Claims for AccessClaims {
    fn expires(&self) -> u64 {
        self.exp
    }

    fn is_of_its_kind(&self) -> bool {
        self.kind == "access"
    }
}

/// The token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidToken {
    #[error("Malformed token")]
    Malformed,
    #[error("Bad HMAC")]
    Signature,
    #[error("exp not in future")]
    Expired,
}

impl TokenKey {
    pub(crate) fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    pub(crate) fn issue(&self, claims: &impl Claims) -> Result<String, StoreError> {
        let payload = serde_json::to_vec(claims)
            .map_err(|_| StoreError::Corrupt("claims cannot be written as JSON"))?;
        let signed = format!("{HEADER}.{}", URL_SAFE_NO_PAD.encode(payload));
        let tag = self.mac(&signed)?.finalize().into_bytes();
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag)))
    }

    /// The claims of a token that was made with this key, is of the right kind, and lives.
    pub(crate) fn verify<C: Claims>(&self, token: &str, now: u64) -> Result<C, InvalidToken> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(InvalidToken::Malformed);
        }
        let (signed, tag) = token.rsplit_once('.').ok_or(InvalidToken::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(InvalidToken::Malformed)?;
        let decode = |part: &str| {
            URL_SAFE_NO_PAD
                .decode(part)
                .map_err(|_| InvalidToken::Malformed)
        };
        let (tag, payload) = (decode(tag)?, decode(payload)?);
        if header != HEADER {
            let json = decode(header)?;
            let _other: serde_json::Map<String, serde_json::Value> =
                serde_json::from_slice(&json).map_err(|_| InvalidToken::Malformed)?;
            return Err(InvalidToken::Signature);
        }
        let mac = self.mac(signed).map_err(|_| InvalidToken::Signature)?;
        mac.verify_slice(&tag)
            .map_err(|_| InvalidToken::Signature)?;
        let claims: C = serde_json::from_slice(&payload).map_err(|_| InvalidToken::Malformed)?;
        if !claims.is_of_its_kind() {
            return Err(InvalidToken::Signature);
        }
        if claims.expires() <= now {
            return Err(InvalidToken::Expired);
        }
        Ok(claims)
    }

    fn mac(&self, signed: &str) -> Result<Hmac<Sha256>, StoreError> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0)
            .map_err(|_| StoreError::Corrupt("a token key"))?;
        mac.update(signed.as_bytes());
        Ok(mac)
    }
}

/// A name that nobody guesses: 64 hex digits.
pub(crate) fn fresh_id() -> Result<String, StoreError> {
    Ok(hex::encode(random::<32>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(kind: &str) -> AccessClaims {
        AccessClaims {
            id: "i".into(),
            did: "d".into(),
            sub: "s".into(),
            context_name: "c".into(),
            kind: kind.into(),
            iat: 0,
            exp: 100,
        }
    }

    #[test]
    fn a_token_lives_until_it_expires() {
        let key = TokenKey::new([1; 32]);
        let token = key.issue(&claims("access")).unwrap();
        assert_eq!(
            key.verify::<AccessClaims>(&token, 99).unwrap(),
            claims("access")
        );
        assert_eq!(
            key.verify::<AccessClaims>(&token, 100),
            Err(InvalidToken::Expired)
        );
    }

    #[test]
    fn another_key_or_another_kind_is_refused() {
        let token = TokenKey::new([1; 32]).issue(&claims("access")).unwrap();
        let other = TokenKey::new([2; 32]).verify::<AccessClaims>(&token, 0);
        assert_eq!(other, Err(InvalidToken::Signature));
        let refresh = TokenKey::new([1; 32]).issue(&claims("refresh")).unwrap();
        let kind = TokenKey::new([1; 32]).verify::<AccessClaims>(&refresh, 0);
        assert_eq!(kind, Err(InvalidToken::Signature));
    }

    #[test]
    fn any_bytes_are_a_token_of_ours_or_none() {
        let key = TokenKey::new([1; 32]);
        bolero::check!().for_each(|bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            assert!(key.verify::<AccessClaims>(&text, 0).is_err());
            // Also whatever was signed by mistake.
            let signed = format!("{HEADER}.{}", URL_SAFE_NO_PAD.encode(bytes));
            let tag = key.mac(&signed).unwrap().finalize().into_bytes();
            let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag));
            if let Ok(claims) = key.verify::<AccessClaims>(&token, 7) {
                assert!(claims.kind == "access" && claims.exp > 7);
            }
            if let Ok(claims) = key.verify::<RefreshClaims>(&token, 7) {
                assert!(claims.kind == "refresh" && claims.exp > 7);
            }
        });
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let key = TokenKey::new([1; 32]);
        let token = key.issue(&claims("access")).unwrap();
        for i in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[i] = if forged[i] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            assert!(key.verify::<AccessClaims>(&forged, 0).is_err(), "{i}");
        }
    }

    #[test]
    fn what_is_not_a_token_is_malformed_and_alg_none_is_not_signed() {
        let key = TokenKey::new([1; 32]);
        for text in ["", ".", "..", "x.y.z", "a.b", "....", "é.é.é"] {
            assert_eq!(
                key.verify::<AccessClaims>(text, 0),
                Err(InvalidToken::Malformed),
                "{text}"
            );
        }
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims("access")).unwrap());
        assert_eq!(
            key.verify::<AccessClaims>(&format!("{none}.{payload}."), 0),
            Err(InvalidToken::Signature)
        );
        let long = "a".repeat(MAX_TOKEN_BYTES + 1);
        assert_eq!(
            key.verify::<AccessClaims>(&long, 0),
            Err(InvalidToken::Malformed)
        );
    }
}
