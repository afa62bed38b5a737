//! What a refused request is told about how to do better: `WWW-Authenticate` (RFC 6750 section 3, RFC 9728 section 5.1,
//! RFC 9449 section 7.1).

use crate::jwk::ALGORITHMS;
use crate::metadata::path::PROTECTED_RESOURCE;
use crate::origin::Origin;

/// Why a request for data is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal<'r> {
    /// It named nobody.
    NoCredential,
    /// Its token is not, or no longer, one of this node.
    InvalidToken,
    /// Its token is bound to a key, and the proof of that key is missing or wrong.
    InvalidProof,
    /// Its token does not allow this; the scope that would, if it may be named.
    InsufficientScope(Option<&'r str>),
}

/// The value of the header.
pub fn www_authenticate(origin: Option<&Origin>, refusal: &Refusal<'_>) -> String {
    let mut members = Vec::new();
    let scheme = match refusal {
        Refusal::NoCredential => "Bearer",
        Refusal::InvalidToken => {
            members.push(("error", "invalid_token".to_owned()));
            "Bearer"
        }
        Refusal::InsufficientScope(scope) => {
            members.push(("error", "insufficient_scope".to_owned()));
            let scope = scope.filter(|scope| scope.bytes().all(is_scope_byte));
            members.extend(scope.map(|scope| ("scope", scope.to_owned())));
            "Bearer"
        }
        Refusal::InvalidProof => {
            members.push(("error", "invalid_dpop_proof".to_owned()));
            members.push(("algs", ALGORITHMS.join(" ")));
            "DPoP"
        }
    };
    members.extend(origin.map(|origin| ("resource_metadata", origin.at(PROTECTED_RESOURCE))));
    let mut header = format!("{scheme} realm=\"adyton\"");
    for (name, value) in members {
        header.push_str(&format!(", {name}=\"{value}\""));
    }
    header
}

/// The characters of a scope (RFC 6749 section 3.3), none of which ends a quoted text.
pub(crate) const fn is_scope_byte(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)
}
