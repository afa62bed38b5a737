//! `Content-Digest` (RFC 9530 section 2), with SHA-256.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sfv::{BareItem, Dictionary, ListEntry, Parser};

use crate::binding::sha256;

/// Longest field that is read.
const MAX_FIELD_BYTES: usize = 1024;

/// The field's value for a body.
#[must_use]
pub fn content_digest(body: &[u8]) -> String {
    content_digest_of(&sha256(body))
}

/// The field's value for a body of this SHA-256.
#[must_use]
pub fn content_digest_of(sha256: &[u8; 32]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(sha256))
}

/// The SHA-256 in a field; other algorithms beside it are ignored.
#[must_use]
pub fn sha256_in(field: &str) -> Option<[u8; 32]> {
    if field.len() > MAX_FIELD_BYTES {
        return None;
    }
    let digests: Dictionary = Parser::new(field).parse().ok()?;
    match digests.get("sha-256")? {
        ListEntry::Item(item) => match &item.bare_item {
            BareItem::ByteSequence(bytes) => bytes.as_slice().try_into().ok(),
            _ => None,
        },
        ListEntry::InnerList(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_the_rfc() {
        // RFC 9530 appendix D, and section 2 with two algorithms.
        let body = b"{\"hello\": \"world\"}\n";
        let field = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";
        assert_eq!(content_digest(body), field);
        assert_eq!(sha256_in(field), Some(sha256(body)));
        let two = format!("sha-512=:AQID:, {field}");
        assert_eq!(sha256_in(&two), Some(sha256(body)));
    }

    #[test]
    fn what_is_no_sha_256_is_none() {
        for field in [
            "",
            "sha-256",
            "sha-256=:AQID:",
            "sha-256=\"text\"",
            "sha-256=(1 2)",
            "sha-512=:AQID:",
            "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=",
        ] {
            assert_eq!(sha256_in(field), None, "{field}");
        }
        let good = content_digest(b"");
        let padded = |bytes| format!("{good},{}", " ".repeat(bytes - good.len() - 2)) + "a";
        assert!(sha256_in(&padded(MAX_FIELD_BYTES)).is_some());
        assert!(sha256_in(&padded(MAX_FIELD_BYTES + 1)).is_none());
    }
}
