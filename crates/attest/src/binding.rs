//! What a piece of evidence is bound to: a TLS key, one TLS connection, a configuration, a nonce.
//!
//! Guarantees: the byte layout lives here and nowhere else; nodes build it and clients rebuild it with the same code.
//! Refuses to know: how a TEE signs it, and whether it is true.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use x509_parser::prelude::{FromDer as _, SubjectPublicKeyInfo, X509Certificate};

/// Starts every binding digest, so that no other protocol's hash can be taken for one of ours.
const DOMAIN: &[u8] = b"adyton-attest-v1\0";

/// First byte of `user_data`: this document vouches for a TLS key. (Later purposes: key release, handover.)
const PURPOSE_TLS: u8 = 0x01;

/// Second byte of `user_data`, bit 0: the binding covers the exporter of one TLS connection.
/// All other bits are reserved; a set one means a layout that this code does not know.
const FLAG_CHANNEL_BOUND: u8 = 0x01;

/// `purpose ‖ flags ‖ SHA256(binding) ‖ config_sha256`.
pub const USER_DATA_BYTES: usize = 2 + 32 + 32;

/// Longest public key that a Nitro document can carry, hence the longest we look at.
pub const MAX_SPKI_BYTES: usize = 1024;

/// The TLS exporter label of RFC 9266 (`tls-exporter`), with an empty context and 32 bytes of output.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// Everything that one piece of evidence vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The key that terminates TLS inside the TEE.
    pub spki: Spki,
    /// The one connection the evidence was asked on, if any.
    pub channel: ChannelBinding,
    /// SHA-256 of the measured configuration text.
    pub config: ConfigDigest,
}

impl Binding {
    /// SHA-256 over `"adyton-attest-v1\0" ‖ SHA256(SPKI) ‖ exporter ‖ config_sha256`.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let unbound = [0_u8; 32];
        let exporter = match &self.channel {
            ChannelBinding::TlsExporter(exporter) => exporter.as_bytes(),
            ChannelBinding::None => &unbound,
        };
        let mut binding = Vec::with_capacity(DOMAIN.len() + 96);
        binding.extend_from_slice(DOMAIN);
        binding.extend_from_slice(&self.spki.sha256());
        binding.extend_from_slice(exporter);
        binding.extend_from_slice(self.config.as_bytes());
        sha256(&binding)
    }

    /// The `user_data` field of a Nitro document.
    #[must_use]
    pub fn user_data(&self) -> UserData {
        UserData {
            channel_bound: self.channel.is_bound(),
            binding_sha256: self.digest(),
            config: self.config,
        }
    }
}

/// The `user_data` of a document, in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserData {
    /// Whether the binding digest covers a TLS exporter.
    pub channel_bound: bool,
    /// [`Binding::digest`].
    pub binding_sha256: [u8; 32],
    /// The configuration that the node says it was started with.
    pub config: ConfigDigest,
}

impl UserData {
    /// The bytes as they stand in the document.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; USER_DATA_BYTES] {
        let mut bytes = [0; USER_DATA_BYTES];
        let flags = if self.channel_bound {
            FLAG_CHANNEL_BOUND
        } else {
            0
        };
        let parts = [PURPOSE_TLS, flags]
            .into_iter()
            .chain(self.binding_sha256)
            .chain(*self.config.as_bytes());
        bytes
            .iter_mut()
            .zip(parts)
            .for_each(|(slot, byte)| *slot = byte);
        bytes
    }

    /// Reads the bytes back; another purpose, an unknown flag or another length is refused.
    ///
    /// # Errors
    /// [`UserDataError`] names the first thing that is not ours.
    pub fn parse(bytes: &[u8]) -> Result<Self, UserDataError> {
        let found = bytes.len();
        let [purpose, flags, rest @ ..] = bytes else {
            return Err(UserDataError::Length { found });
        };
        if *purpose != PURPOSE_TLS {
            return Err(UserDataError::Purpose { found: *purpose });
        }
        if flags & !FLAG_CHANNEL_BOUND != 0 {
            return Err(UserDataError::Flags { found: *flags });
        }
        let (binding, config) = rest
            .split_at_checked(32)
            .ok_or(UserDataError::Length { found })?;
        Ok(Self {
            channel_bound: flags & FLAG_CHANNEL_BOUND != 0,
            binding_sha256: binding
                .try_into()
                .map_err(|_| UserDataError::Length { found })?,
            config: ConfigDigest(
                config
                    .try_into()
                    .map_err(|_| UserDataError::Length { found })?,
            ),
        })
    }
}

/// Why a `user_data` field is not one of ours. The fault is the document's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UserDataError {
    /// Not the 66 bytes of this layout.
    #[error("user data has {found} bytes instead of {USER_DATA_BYTES}")]
    Length {
        /// Bytes found.
        found: usize,
    },
    /// Made for something else than vouching for a TLS key.
    #[error(
        "user data was made for another purpose (0x{found:02x} instead of 0x{PURPOSE_TLS:02x})"
    )]
    Purpose {
        /// The purpose byte found.
        found: u8,
    },
    /// A flag that this version does not know.
    #[error("user data has unknown flags (0x{found:02x})")]
    Flags {
        /// The flags byte found.
        found: u8,
    },
}

/// Which connection a binding covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelBinding {
    /// None: the evidence was made ahead of time and can be shown on any connection.
    None,
    /// The TLS connection with this exporter value, and no other.
    TlsExporter(Exporter),
}

impl ChannelBinding {
    /// Whether one connection is bound.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        match self {
            Self::TlsExporter(_) => true,
            Self::None => false,
        }
    }
}

/// A DER `SubjectPublicKeyInfo`, at most [`MAX_SPKI_BYTES`] long.
#[derive(Clone, PartialEq, Eq)]
pub struct Spki(Vec<u8>);

impl Spki {
    /// Takes DER that is exactly one `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// [`SpkiError`] when it is too long or something else.
    pub fn from_der(der: &[u8]) -> Result<Self, SpkiError> {
        if der.len() > MAX_SPKI_BYTES {
            return Err(SpkiError::TooLong { found: der.len() });
        }
        match SubjectPublicKeyInfo::from_der(der) {
            Ok(([], _)) => Ok(Self(der.to_vec())),
            Ok(_) | Err(_) => Err(SpkiError::NotAKey),
        }
    }

    /// Takes the key out of a certificate. Nothing about the certificate is checked.
    ///
    /// # Errors
    /// [`SpkiError`] when it is not a certificate or its key is too long.
    pub fn of_certificate(der: &[u8]) -> Result<Self, SpkiError> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|_| SpkiError::NotACertificate)?;
        Self::from_der(certificate.public_key().raw)
    }

    /// The DER bytes.
    #[must_use]
    pub fn as_der(&self) -> &[u8] {
        &self.0
    }

    /// SHA-256 of the DER bytes.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        sha256(&self.0)
    }

    /// The key as `curl --pinnedpubkey` wants it: `sha256//BASE64`.
    #[must_use]
    pub fn pin(&self) -> String {
        format!("sha256//{}", STANDARD.encode(self.sha256()))
    }
}

impl fmt::Debug for Spki {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spki({})", self.pin())
    }
}

/// Why bytes are not a public key. The fault is the peer's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpkiError {
    /// Longer than any document could carry.
    #[error("public key has {found} bytes, more than {MAX_SPKI_BYTES}")]
    TooLong {
        /// Bytes found.
        found: usize,
    },
    /// Not one DER `SubjectPublicKeyInfo`.
    #[error("not a public key in DER")]
    NotAKey,
    /// Not a DER certificate.
    #[error("not a certificate in DER")]
    NotACertificate,
}

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

/// What a client saw with its own eyes on its own connection. Evidence is compared with this, never the other way round.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The key in the peer's certificate, proven by the handshake signature.
    pub spki: Spki,
    /// The exporter of the connection.
    pub exporter: Exporter,
    /// The challenge the client sent, if it sent one.
    pub nonce: Option<Nonce>,
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spki() -> Spki {
        let key = rcgen::KeyPair::generate().unwrap();
        Spki::from_der(&rcgen::PublicKeyData::subject_public_key_info(&key)).unwrap()
    }

    fn bound(exporter: [u8; 32]) -> Binding {
        Binding {
            spki: spki(),
            channel: ChannelBinding::TlsExporter(Exporter::new(exporter)),
            config: ConfigDigest::of("a = 1"),
        }
    }

    #[test]
    fn the_layout_is_the_one_that_is_written_down() {
        let binding = bound([7; 32]);
        let mut text = b"adyton-attest-v1\0".to_vec();
        text.extend(sha256(binding.spki.as_der()));
        text.extend([7; 32]);
        text.extend(sha256(b"a = 1"));
        let user_data = binding.user_data().to_bytes();
        assert_eq!(user_data[..2], [1, 1]);
        assert_eq!(user_data[2..34], sha256(&text));
        assert_eq!(user_data[34..], sha256(b"a = 1"));
    }

    #[test]
    fn without_a_channel_the_exporter_is_zeros_and_the_flag_is_off() {
        let unbound = Binding {
            channel: ChannelBinding::None,
            ..bound([0; 32])
        };
        let zeros = Binding {
            channel: ChannelBinding::TlsExporter(Exporter::new([0; 32])),
            ..unbound.clone()
        };
        assert_eq!(unbound.digest(), zeros.digest());
        assert_eq!(unbound.user_data().to_bytes()[1], 0);
        assert_ne!(unbound.user_data(), zeros.user_data());
    }

    #[test]
    fn user_data_is_read_back_as_written() {
        let user_data = bound([9; 32]).user_data();
        assert_eq!(UserData::parse(&user_data.to_bytes()), Ok(user_data));
    }

    #[test]
    fn foreign_user_data_is_refused() {
        let good = bound([9; 32]).user_data().to_bytes();
        for length in (0..good.len()).chain([good.len() + 1]) {
            let mut other = good.to_vec();
            other.resize(length, 0);
            assert_eq!(
                UserData::parse(&other),
                Err(UserDataError::Length { found: length })
            );
        }
        let mut purpose = good;
        purpose[0] = 2;
        assert_eq!(
            UserData::parse(&purpose),
            Err(UserDataError::Purpose { found: 2 })
        );
        for bit in 1..8 {
            let mut flags = good;
            flags[1] |= 1 << bit;
            assert_eq!(
                UserData::parse(&flags),
                Err(UserDataError::Flags {
                    found: 1 | 1 << bit
                })
            );
        }
    }

    #[test]
    fn a_key_with_bytes_behind_it_is_not_a_key() {
        let mut der = spki().as_der().to_vec();
        der.push(0);
        assert_eq!(Spki::from_der(&der), Err(SpkiError::NotAKey));
        assert_eq!(
            Spki::from_der(&[0; MAX_SPKI_BYTES + 1]),
            Err(SpkiError::TooLong { found: 1025 })
        );
    }

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
