//! Proof Key for Code Exchange (RFC 7636), S256 alone: OAuth 2.1 has no code without it, and `plain` proves nothing.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64_simd::URL_SAFE_NO_PAD;

use crate::form::Parameters;
use crate::refused::{ErrorCode, Refused};

/// Shortest verifier (RFC 7636 section 4.1).
const MIN_VERIFIER: usize = 43;
/// Longest verifier.
const MAX_VERIFIER: usize = 128;

/// What the app committed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Challenge([u8; 32]);

/// Proof that whoever exchanges a code is who asked for it.
#[derive(Debug)]
pub struct Verified(());

impl Challenge {
    /// Reads `code_challenge` and `code_challenge_method`.
    pub fn of(parameters: &Parameters) -> Result<Self, Refused> {
        let text = parameters.required("code_challenge", "PKCE is needed: code_challenge")?;
        match parameters.one("code_challenge_method") {
            Some("S256") => {}
            // Without a method RFC 7636 means `plain`.
            Some(_) | None => {
                return Err(Refused::request("code_challenge_method must be S256"));
            }
        }
        let bytes = URL_SAFE_NO_PAD.decode_to_vec(text).ok();
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or(Refused::request(
                "code_challenge must be the base64url of a SHA-256",
            ))
    }

    /// Checks the verifier of a token request, in constant time.
    pub fn met_by(&self, verifier: &str) -> Result<Verified, Refused> {
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if !(MIN_VERIFIER..=MAX_VERIFIER).contains(&verifier.len())
            || !verifier.bytes().all(unreserved)
        {
            return Err(Refused::request(
                "code_verifier must be 43 to 128 unreserved characters",
            ));
        }
        let hash = digest(&SHA256, verifier.as_bytes());
        verify_slices_are_equal(hash.as_ref(), &self.0)
            .map(|()| Verified(()))
            .map_err(|_| {
                Refused::new(
                    ErrorCode::InvalidGrant,
                    "code_verifier does not belong to code_challenge",
                )
            })
    }
}
