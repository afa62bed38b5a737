//! The AWS Nitro attestation document: strict reading, chain, signature.
//!
//! Guarantees: a [`document::VerifiedDocument`] was signed by a key that a trusted root vouches for, at the time given.
//! Refuses to know what is in it: freshness, measurements and binding are [`crate::appraise()`]'s.

pub mod chain;
pub mod claims;
pub mod document;
pub mod envelope;
pub mod pcr;

pub use chain::{AWS_NITRO_ROOT_G1, RootHash};
pub use claims::Claims;
pub use document::{UnverifiedDocument, VerifiedDocument};
pub use pcr::{Pcr, Pcrs};
