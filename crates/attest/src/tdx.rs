//! Evidence of an Intel TDX guest that runs under dstack: strict reading, event log, quote, collateral.
//!
//! Guarantees: a [`quote::VerifiedQuote`] was signed by a key that Intel's root vouches for, at the time given.
//! Refuses to know what is in it: debugging, measurements and binding are [`crate::appraise()`]'s.
//! Reading is always built in; verifying quotes needs the feature `tdx`, so that nodes carry none of its packages.

pub mod agent;
pub mod collateral;
pub mod document;
pub mod event_log;
#[cfg(feature = "tdx")]
pub mod quote;
pub mod tcb;

pub use collateral::Collateral;
pub use document::Document;
pub use event_log::EventLog;
pub use tcb::TcbStatus;

use aws_lc_rs::digest::{SHA512, digest};

use crate::nitro::chain::RootHash;

/// SHA-256 of Intel's SGX root certificate (CN=Intel SGX Root CA, valid 2018 to 2049): it signs for TDX, too.
pub const INTEL_SGX_ROOT: RootHash = RootHash([
    0x44, 0xa0, 0x19, 0x6b, 0x2b, 0x99, 0xf8, 0x89, 0xb8, 0xe1, 0x49, 0xe9, 0x5b, 0x80, 0x7a, 0x35,
    0x0e, 0x74, 0x24, 0x96, 0x43, 0x99, 0xe8, 0x85, 0xa7, 0xcb, 0xb8, 0xcc, 0xfa, 0xb6, 0x74, 0xd3,
]);

/// Starts every report data, so that no other protocol's quote can be taken for one of ours.
const DOMAIN: &[u8] = b"adyton-report-v1\0";

/// The 64 bytes that a quote vouches for: SHA-512 over `"adyton-report-v1\0" ‖ user_data ‖ length of the nonce (0 or 32) ‖
/// nonce`. The user data is that of a Nitro document, so that everything bound there is bound here, by the same code.
#[must_use]
pub fn report_data(user_data: &[u8], nonce: Option<&[u8; 32]>) -> [u8; 64] {
    let (length, nonce): (u8, &[u8]) = match nonce {
        Some(nonce) => (32, nonce),
        None => (0, &[]),
    };
    let mut out = [0; 64];
    let text = [DOMAIN, user_data, &[length], nonce].concat();
    out.copy_from_slice(digest(&SHA512, &text).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recomputed with another implementation (Python's hashlib) from the formula above.
    #[test]
    fn the_report_data_is_the_one_that_is_written_down() {
        let expected = "0a3dc691a040424d849880859aa1001497d9a7b8579e3f01c0eee41b951f385c26ce3798c84fd01769be339dbb1f27cffd2d215b9cec519db72c3799fdae516b";
        let found = report_data(&[5; 130], Some(&[7; 32]));
        assert_eq!(hex::encode(found), expected);
        assert_ne!(found, report_data(&[5; 130], None));
    }
}
