//! What a piece of evidence is bound to: the node's keys, one TLS connection, a configuration, a nonce.
//!
//! Guarantees: the byte layout lives here and nowhere else; nodes build it and clients rebuild it with the same code.
//! Refuses to know: how a TEE signs it, and whether it is true.

mod bytes32;
mod spki;

use aws_lc_rs::digest::{SHA256, digest};

pub use self::bytes32::{AnswerKey, ConfigDigest, Exporter, HpkeKey, Nonce};
pub use self::spki::{MAX_SPKI_BYTES, Spki, SpkiError};

/// Starts every binding digest, so that no other protocol's hash can be taken for one of ours.
const DOMAIN: &[u8] = b"adyton-attest-v1\0";

/// First byte of `user_data`: this document vouches for a node's keys. (Later purposes: key release, handover.)
const PURPOSE_KEYS: u8 = 0x01;

/// Second byte of `user_data`, bit 0: the document covers the exporter of a TLS connection.
const FLAG_CHANNEL_BOUND: u8 = 0x01;

/// Bit 1, never without bit 0: the document's nonce is the root over many askers' challenges ([`crate::batch`]).
/// All other bits are reserved; a set one means a layout that this code does not know.
const FLAG_BATCHED: u8 = 0x02;

/// `purpose ‖ flags ‖ SHA256(binding) ‖ answer key ‖ hpke key ‖ config_sha256`.
pub const USER_DATA_BYTES: usize = 2 + 4 * 32;

/// The TLS exporter label of RFC 9266 (`tls-exporter`), with an empty context and 32 bytes of output.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// The public halves of the keys that were born inside and that evidence vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestedKeys {
    /// Terminates TLS.
    pub tls: Spki,
    /// Signs answers.
    pub answer: AnswerKey,
    /// Opens encrypted bodies.
    pub hpke: HpkeKey,
}

/// Everything that one piece of evidence vouches for, beside its nonce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The keys inside the TEE.
    pub keys: AttestedKeys,
    /// The connection the evidence was asked on, if any.
    pub channel: ChannelBinding,
    /// SHA-256 of the measured configuration text.
    pub config: ConfigDigest,
}

impl Binding {
    /// SHA-256 over `"adyton-attest-v1\0" ‖ purpose ‖ flags ‖ SHA256(SPKI) ‖ exporter ‖ answer key ‖ hpke key ‖
    /// config_sha256`. The exporter is zeros unless one connection is bound directly.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let none = [0_u8; 32];
        let exporter = match &self.channel {
            ChannelBinding::TlsExporter(exporter) => exporter.as_bytes(),
            ChannelBinding::Batch | ChannelBinding::None => &none,
        };
        let parts: [&[u8]; 7] = [
            DOMAIN,
            &[PURPOSE_KEYS, self.channel.form().flags()],
            &self.keys.tls.sha256(),
            exporter,
            self.keys.answer.as_bytes(),
            self.keys.hpke.as_bytes(),
            self.config.as_bytes(),
        ];
        sha256(&parts.concat())
    }

    /// The `user_data` field of a Nitro document.
    #[must_use]
    pub fn user_data(&self) -> UserData {
        UserData {
            channel: self.channel.form(),
            binding_sha256: self.digest(),
            answer: self.keys.answer,
            hpke: self.keys.hpke,
            config: self.config,
        }
    }

    /// What a TEE signs that has room for 64 bytes only (TDX, SEV-SNP): SHA-512 over `"adyton-report-v1\0" ‖ user_data ‖
    /// length of the nonce (0 or 32) ‖ nonce`. The public key is covered through the binding.
    #[must_use]
    pub fn report_data(&self, nonce: Option<&Nonce>) -> [u8; 64] {
        let user_data = self.user_data().to_bytes();
        crate::tdx::report_data(&user_data, nonce.map(Nonce::as_bytes))
    }
}

/// The `user_data` of a document, in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserData {
    /// How the document covers a TLS connection.
    pub channel: ChannelForm,
    /// [`Binding::digest`].
    pub binding_sha256: [u8; 32],
    /// The key that signs the node's answers.
    pub answer: AnswerKey,
    /// The key that opens bodies encrypted for the node.
    pub hpke: HpkeKey,
    /// The configuration that the node says it was started with.
    pub config: ConfigDigest,
}

impl UserData {
    /// The bytes as they stand in the document.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; USER_DATA_BYTES] {
        let mut bytes = [0; USER_DATA_BYTES];
        let parts = [PURPOSE_KEYS, self.channel.flags()]
            .into_iter()
            .chain(self.binding_sha256)
            .chain(*self.answer.as_bytes())
            .chain(*self.hpke.as_bytes())
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
        let length = || UserDataError::Length { found: bytes.len() };
        let [purpose, flags, rest @ ..] = bytes else {
            return Err(length());
        };
        if *purpose != PURPOSE_KEYS {
            return Err(UserDataError::Purpose { found: *purpose });
        }
        let channel =
            ChannelForm::of_flags(*flags).ok_or(UserDataError::Flags { found: *flags })?;
        match rest.as_chunks() {
            ([binding, answer, hpke, config], []) => Ok(Self {
                channel,
                binding_sha256: *binding,
                answer: AnswerKey::new(*answer),
                hpke: HpkeKey::new(*hpke),
                config: ConfigDigest::new(*config),
            }),
            _ => Err(length()),
        }
    }
}

/// Why a `user_data` field is not one of ours. The fault is the document's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UserDataError {
    /// Not the 130 bytes of this layout.
    #[error("user data has {found} bytes instead of {USER_DATA_BYTES}")]
    Length {
        /// Bytes found.
        found: usize,
    },
    /// Made for something else than vouching for a node's keys.
    #[error(
        "user data was made for another purpose (0x{found:02x} instead of 0x{PURPOSE_KEYS:02x})"
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
    /// The connections of all askers whose challenges the document's nonce is the root of.
    Batch,
}

impl ChannelBinding {
    /// Whether connections are bound.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.form().is_bound()
    }

    /// The form alone.
    #[must_use]
    pub fn form(&self) -> ChannelForm {
        match self {
            Self::None => ChannelForm::None,
            Self::TlsExporter(_) => ChannelForm::Direct,
            Self::Batch => ChannelForm::Batched,
        }
    }
}

/// How a document covers a TLS connection: the flags byte, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelForm {
    /// Not at all.
    None,
    /// The exporter is in the binding, the asker's nonce in the document.
    Direct,
    /// Nonce and exporter are in a leaf, the root over all leaves is the document's nonce.
    Batched,
}

impl ChannelForm {
    /// Whether a connection is covered.
    #[must_use]
    pub fn is_bound(self) -> bool {
        match self {
            Self::None => false,
            Self::Direct | Self::Batched => true,
        }
    }

    fn flags(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Direct => FLAG_CHANNEL_BOUND,
            Self::Batched => FLAG_CHANNEL_BOUND | FLAG_BATCHED,
        }
    }

    fn of_flags(flags: u8) -> Option<Self> {
        [Self::None, Self::Direct, Self::Batched]
            .into_iter()
            .find(|form| form.flags() == flags)
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
    use super::spki::tests::spki;
    use super::*;

    fn bound(exporter: [u8; 32]) -> Binding {
        Binding {
            keys: AttestedKeys {
                tls: spki(),
                answer: AnswerKey::new([5; 32]),
                hpke: HpkeKey::new([6; 32]),
            },
            channel: ChannelBinding::TlsExporter(Exporter::new(exporter)),
            config: ConfigDigest::of("a = 1"),
        }
    }

    #[test]
    fn the_layout_is_the_one_that_is_written_down() {
        let binding = bound([7; 32]);
        let mut text = b"adyton-attest-v1\0\x01\x01".to_vec();
        text.extend(sha256(binding.keys.tls.as_der()));
        text.extend([7; 32]);
        text.extend([5; 32]);
        text.extend([6; 32]);
        text.extend(sha256(b"a = 1"));
        let user_data = binding.user_data().to_bytes();
        assert_eq!(user_data[..2], [1, 1]);
        assert_eq!(user_data[2..34], sha256(&text));
        assert_eq!(user_data[34..66], [5; 32]);
        assert_eq!(user_data[66..98], [6; 32]);
        assert_eq!(user_data[98..], sha256(b"a = 1"));
    }

    #[test]
    fn every_part_changes_the_digest() {
        let binding = bound([7; 32]);
        let changed = |change: fn(&mut Binding)| {
            let mut other = binding.clone();
            change(&mut other);
            other.digest()
        };
        let digests = [
            binding.digest(),
            changed(|binding| binding.keys.tls = spki()),
            changed(|binding| binding.keys.answer = AnswerKey::new([9; 32])),
            changed(|binding| binding.keys.hpke = HpkeKey::new([9; 32])),
            changed(|binding| binding.channel = ChannelBinding::None),
            changed(|binding| binding.channel = ChannelBinding::Batch),
            changed(|binding| {
                binding.channel = ChannelBinding::TlsExporter(Exporter::new([0; 32]));
            }),
            changed(|binding| binding.config = ConfigDigest::of("a = 2")),
            changed(|binding| {
                binding.keys.answer = AnswerKey::new([6; 32]);
                binding.keys.hpke = HpkeKey::new([5; 32]);
            }),
        ];
        let different: std::collections::BTreeSet<_> = digests.iter().collect();
        assert_eq!(different.len(), digests.len());
    }

    #[test]
    fn report_data_covers_the_user_data_and_the_nonce() {
        let binding = bound([7; 32]);
        let zeros = Nonce::new([0; 32]);
        let mut other = binding.clone();
        other.keys.hpke = HpkeKey::new([9; 32]);
        assert_ne!(binding.report_data(None), binding.report_data(Some(&zeros)));
        assert_ne!(binding.report_data(None), other.report_data(None));
        let nonce = Nonce::new([1; 32]);
        assert_ne!(
            binding.report_data(Some(&nonce)),
            binding.report_data(Some(&zeros))
        );
    }

    #[test]
    fn user_data_is_read_back_as_written() {
        for channel in [
            ChannelBinding::None,
            ChannelBinding::TlsExporter(Exporter::new([9; 32])),
            ChannelBinding::Batch,
        ] {
            let user_data = Binding {
                channel,
                ..bound([9; 32])
            }
            .user_data();
            assert_eq!(UserData::parse(&user_data.to_bytes()), Ok(user_data));
        }
    }

    #[test]
    fn foreign_user_data_is_refused() {
        let good = bound([9; 32]).user_data().to_bytes();
        for length in (0..good.len()).chain([good.len() + 1, good.len() + 32]) {
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
        // Batched without a channel is no form either.
        for found in (0..=255).filter(|flags| ![0, 1, 3].contains(flags)) {
            let mut flags = good;
            flags[1] = found;
            assert_eq!(UserData::parse(&flags), Err(UserDataError::Flags { found }));
        }
    }
}
