//! Account addresses: 20 bytes, shown in hex, with or without the EIP-55 checksum casing.

use std::fmt;
use std::str::FromStr;

use crate::hash::keccak256;

/// The address of an account key: the last 20 bytes of Keccak-256 over the public key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address([u8; 20]);

/// The text is not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an address: expected 0x and 40 hex digits")]
pub struct InvalidAddress;

impl Address {
    /// The address with these bytes.
    pub const fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// The address of an uncompressed secp256k1 public key, given without its `04` prefix (x ‖ y).
    pub fn of_public_key(xy: &[u8; 64]) -> Self {
        let digest = keccak256(xy);
        let mut bytes = [0; 20];
        bytes.copy_from_slice(digest.split_at(12).1);
        Self(bytes)
    }

    /// The raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// `0x` and 40 lower-case hex digits.
    pub fn lowercase(&self) -> String {
        format!("0x{}", hex::encode(self.0))
    }

    /// `0x` and 40 hex digits in EIP-55 checksum casing.
    pub fn checksummed(&self) -> String {
        let plain = hex::encode(self.0);
        let digest = hex::encode(keccak256(plain.as_bytes()));
        let cased = plain.chars().zip(digest.chars()).map(|(digit, check)| {
            if check >= '8' {
                digit.to_ascii_uppercase()
            } else {
                digit
            }
        });
        "0x".chars().chain(cased).collect()
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    /// Accepts any casing; the checksum is not enforced, as the reference does not.
    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let digits = text.strip_prefix("0x").ok_or(InvalidAddress)?;
        let mut bytes = [0; 20];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| InvalidAddress)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.checksummed())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_casing_is_eip55() {
        let text = "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A";
        let address: Address = text.to_lowercase().parse().unwrap();
        assert_eq!(address.checksummed(), text);
        assert_eq!(address.lowercase(), text.to_lowercase());
    }

    #[test]
    fn wrong_lengths_and_digits_are_refused() {
        for text in [
            "",
            "0x",
            "19e7",
            "0x19e7",
            "0xzz",
            &format!("0x{}", "1".repeat(42)),
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
