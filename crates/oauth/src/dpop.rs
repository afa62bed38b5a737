//! Proof of possession (RFC 9449): a JWT per request by the key that a token is bound to.
//!
//! 1. Form, type, algorithm and key, which is public.
//! 2. The signature.
//! 3. Method and target.
//! 4. The time.
//! 5. The token that it comes with.
//!
//! That it was not used before is [`crate::replay`]'s to say: the caller asks it with [`DpopProof::once`].

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64_simd::URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::jwk::{Algorithm, Thumbprint};
use crate::jws::Jws;
use crate::origin::Origin;
use crate::refused::{ErrorCode, Refused};
use crate::replay::OnceId;

/// Longest proof, in bytes.
pub const MAX_PROOF_BYTES: usize = 4 * 1024;
/// How old a proof may be.
pub const MAX_AGE: Duration = Duration::from_secs(120);
/// How far ahead of ours the client's clock may be.
pub const MAX_AHEAD: Duration = Duration::from_secs(30);
/// Longest `jti`.
const MAX_ID: usize = 128;

/// The request that a proof must have been made for.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'e> {
    /// Its method.
    pub method: &'e str,
    /// The node's origin.
    pub origin: &'e Origin,
    /// Its path, as it stands in the request.
    pub path: &'e str,
    /// The access token beside it; none at the token endpoint.
    pub access_token: Option<&'e str>,
    /// The time.
    pub now: SystemTime,
}

/// A proof that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DpopProof {
    key: Thumbprint,
    once: OnceId,
    until: SystemTime,
}

#[derive(Deserialize)]
struct Claims {
    jti: String,
    htm: String,
    htu: String,
    iat: f64,
    ath: Option<String>,
}

impl DpopProof {
    /// Checks a proof.
    pub fn verify(text: &str, expected: &Expected<'_>) -> Result<Self, Refused> {
        let refused = |reason| Refused::new(ErrorCode::InvalidDpopProof, reason);
        let jws = Jws::parse(text, MAX_PROOF_BYTES)
            .map_err(|_| refused("the DPoP proof is not a signed JWT"))?;
        let header = jws.header();
        if header.typ.as_deref() != Some("dpop+jwt") {
            return Err(refused("the DPoP proof has another type than dpop+jwt"));
        }
        let algorithm = Algorithm::named(&header.alg)
            .ok_or(refused("a DPoP proof is signed with ES256 or EdDSA"))?;
        let key = header
            .jwk
            .as_ref()
            .ok_or(refused("the DPoP proof has no key in it"))?;
        if key.algorithm() != algorithm {
            return Err(refused(
                "the key of the DPoP proof is for another algorithm",
            ));
        }
        if !key.signed(jws.signed().as_bytes(), jws.signature()) {
            return Err(refused("the DPoP proof was not signed by its key"));
        }
        let claims: Claims = jws
            .unverified_payload()
            .map_err(|_| refused("the DPoP proof lacks jti, htm, htu or iat"))?;
        if !(1..=MAX_ID).contains(&claims.jti.len()) {
            return Err(refused("the jti of a DPoP proof has 1 to 128 bytes"));
        }
        if claims.htm != expected.method {
            return Err(refused("the DPoP proof is for another method"));
        }
        if !expected.origin.is_target(expected.path, &claims.htu) {
            return Err(refused("the DPoP proof is for another URL"));
        }
        let issued = time(claims.iat).ok_or(refused("the DPoP proof has no valid time"))?;
        let until = issued + MAX_AGE;
        if until < expected.now {
            return Err(refused("the DPoP proof is too old"));
        }
        if issued > expected.now + MAX_AHEAD {
            return Err(refused("the DPoP proof is from the future"));
        }
        if let Some(token) = expected.access_token {
            let hash = digest(&SHA256, token.as_bytes());
            let said = claims
                .ath
                .and_then(|text| URL_SAFE_NO_PAD.decode_to_vec(text).ok())
                .ok_or(refused("the DPoP proof names no access token (ath)"))?;
            verify_slices_are_equal(hash.as_ref(), &said)
                .map_err(|_| refused("the DPoP proof is for another access token"))?;
        }
        let key = key.thumbprint();
        Ok(Self {
            once: OnceId::of(&[b"dpop", key.as_bytes(), claims.jti.as_bytes()]),
            key,
            until,
        })
    }

    /// The key that signed.
    pub fn key(&self) -> Thumbprint {
        self.key
    }

    /// What may be used once, and until when it could be used again.
    pub fn once(&self) -> (OnceId, SystemTime) {
        (self.once, self.until)
    }

    /// The refusal of a second use.
    pub const USED: Refused = Refused::new(
        ErrorCode::InvalidDpopProof,
        "the DPoP proof was used before",
    );
}

/// A NumericDate (RFC 7519): seconds, possibly with a fraction.
pub(crate) fn time(seconds: f64) -> Option<SystemTime> {
    // Up to the year 9999: what is later is no time, and adding to it could overflow.
    (0.0..253_402_300_800.0)
        .contains(&seconds)
        .then(|| UNIX_EPOCH + Duration::from_secs_f64(seconds))
}
