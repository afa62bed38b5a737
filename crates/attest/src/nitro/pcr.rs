//! Platform configuration registers: SHA-384 values that can only be extended.
//!
//! Guarantees: 48 bytes, index 0..=31. Refuses to know which values are good.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::digest::{SHA384, digest};

use crate::binding::ConfigDigest;

/// Registers of an NSM are numbered 0..=31.
pub const MAX_INDEX: u8 = 31;

/// The register that holds our configuration digest.
pub const CONFIG_PCR: u8 = 17;

/// Bytes of a SHA-384 register.
pub const PCR_BYTES: usize = 48;

/// One register's value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pcr([u8; PCR_BYTES]);

impl Pcr {
    /// The value every register starts with; of an image register it means debug mode.
    pub const ZERO: Self = Self([0; PCR_BYTES]);

    /// Wraps bytes.
    #[must_use]
    pub const fn new(bytes: [u8; PCR_BYTES]) -> Self {
        Self(bytes)
    }

    /// Reads exactly 96 hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; PCR_BYTES];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// SHA-384 of some text: what a simulation puts where hardware puts an image's measurement.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        Self(sha384(&[text]))
    }

    /// `SHA384(old ‖ data)`: the register after an extension.
    #[must_use]
    pub fn extended(&self, data: &[u8]) -> Self {
        Self(sha384(&[&self.0, data]))
    }

    /// What [`CONFIG_PCR`] holds after the configuration was measured once.
    #[must_use]
    pub fn of_config(config: &ConfigDigest) -> Self {
        Self::ZERO.extended(config.as_bytes())
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; PCR_BYTES] {
        &self.0
    }

    /// Whether nothing was ever measured into it.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }
}

impl fmt::Display for Pcr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Pcr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pcr({self})")
    }
}

/// The locked registers of one enclave, by index. An absent one is absent, not zero.
pub type Pcrs = BTreeMap<u8, Pcr>;

fn sha384(parts: &[&[u8]]) -> [u8; PCR_BYTES] {
    let mut out = [0; PCR_BYTES];
    out.copy_from_slice(digest(&SHA384, &parts.concat()).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_hashes_the_old_value_and_the_data() {
        let mut bytes = vec![0; 48];
        bytes.extend(b"role");
        assert_eq!(Pcr::ZERO.extended(b"role"), Pcr::of(&bytes));
        assert!(!Pcr::ZERO.extended(b"").is_zero());
    }

    #[test]
    fn a_value_is_exactly_96_hexadecimal_digits() {
        assert_eq!(Pcr::from_hex(&"00".repeat(48)), Some(Pcr::ZERO));
        for wrong in ["", &"0".repeat(95), &"0".repeat(97), &"x".repeat(96)] {
            assert_eq!(Pcr::from_hex(wrong), None, "{wrong}");
        }
    }
}
