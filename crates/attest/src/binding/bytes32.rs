//! The values of 32 bytes: public all of them, compared and shown freely.

use std::fmt;

use super::sha256;

/// Makes a 32-byte newtype with hexadecimal text.
macro_rules! thirty_two_bytes {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Wraps bytes.
            #[must_use]
            pub const fn new(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// Reads exactly 64 hexadecimal digits.
            #[must_use]
            pub fn from_hex(text: &str) -> Option<Self> {
                let mut bytes = [0; 32];
                hex::decode_to_slice(text, &mut bytes).ok()?;
                Some(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

thirty_two_bytes! {
    /// A caller's fresh random challenge.
    Nonce
}
thirty_two_bytes! {
    /// The RFC 9266 exporter value of one TLS 1.3 connection: both ends know it, nobody in the middle does.
    Exporter
}
thirty_two_bytes! {
    /// The Ed25519 public key that a node signs its answers with (RFC 8032 section 5.1.5).
    AnswerKey
}
thirty_two_bytes! {
    /// The X25519 public key that bodies for a node are encrypted to (RFC 9180 section 7.1.1).
    HpkeKey
}
thirty_two_bytes! {
    /// SHA-256 of a node's measured configuration.
    ConfigDigest
}

impl ConfigDigest {
    /// Digest of a configuration text.
    #[must_use]
    pub fn of(config: &str) -> Self {
        Self(sha256(config.as_bytes()))
    }
}

impl AnswerKey {
    /// The key's name in signatures: SHA-256 of its 32 bytes, in lower-case hexadecimal.
    #[must_use]
    pub fn id(&self) -> String {
        hex::encode(sha256(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_exactly_64_hexadecimal_digits() {
        assert!(Nonce::from_hex(&"aF".repeat(32)).is_some());
        for wrong in [
            "",
            &"a".repeat(63),
            &"a".repeat(65),
            &"g".repeat(64),
            &"é".repeat(32),
        ] {
            assert!(Nonce::from_hex(wrong).is_none(), "{wrong}");
        }
    }
}
