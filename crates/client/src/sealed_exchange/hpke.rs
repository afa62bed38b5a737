//! Hybrid Public Key Encryption, RFC 9180, as far as it is used: base mode, X25519, HKDF-SHA256, AES-GCM, one message.
//!
//! 1. Both sides agree on a shared secret: the sender with a key pair for this message only (section 4.1).
//! 2. Key, nonce and exporter secret follow from it and from `info` (section 5.1).
//! 3. One message is sealed or opened (section 5.2); by then the key is used up, and only [`Exporter`] is left.
//!
//! Guarantees: a key seals one message; secrets are wiped and say nothing when shown. Refuses to know: HTTP, who sends.

use std::fmt;

use adyton_attest::HpkeKey;
use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use zeroize::Zeroizing;

/// `KEM` and DHKEM(X25519, HKDF-SHA256), section 7.1.
const KEM_SUITE: &[u8] = b"KEM\x00\x20";

/// Starts everything that is hashed, section 4.
const VERSION: &[u8] = b"HPKE-v1";

/// `Nn` of both ciphers, section 7.3.
pub(super) const NONCE_BYTES: usize = 12;

/// The KEM's number, section 7.1.
pub(super) const KEM_ID: u16 = 0x0020;

/// The number of HKDF-SHA256, section 7.2.
pub(super) const KDF_ID: u16 = 0x0001;

/// The ciphers, section 7.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aead {
    /// What libraries for Oblivious HTTP take by default.
    Aes128Gcm,
    /// The stronger one.
    Aes256Gcm,
}

impl Aead {
    pub(super) fn id(self) -> u16 {
        match self {
            Self::Aes128Gcm => 0x0001,
            Self::Aes256Gcm => 0x0002,
        }
    }

    pub(super) fn of_id(id: u16) -> Option<Self> {
        [Self::Aes128Gcm, Self::Aes256Gcm]
            .into_iter()
            .find(|aead| aead.id() == id)
    }

    /// `Nk`.
    pub(super) fn key_bytes(self) -> usize {
        self.algorithm().key_len()
    }

    fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::Aes128Gcm => &AES_128_GCM,
            Self::Aes256Gcm => &AES_256_GCM,
        }
    }

    fn suite(self) -> [u8; 10] {
        let mut suite = *b"HPKE\0\0\0\0\0\0";
        let ids = [KEM_ID, KDF_ID, self.id()].map(u16::to_be_bytes);
        let ids = ids.as_flattened();
        suite
            .iter_mut()
            .skip(4)
            .zip(ids)
            .for_each(|(to, from)| *to = *from);
        suite
    }
}

/// Nothing more is said: an attacker would learn from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message cannot be sealed or opened")]
pub struct HpkeError;

/// What both sides have before the message.
pub(super) struct Context {
    aead: Aead,
    key: Secret,
    nonce: [u8; NONCE_BYTES],
    exporter: Exporter,
}

/// What is left after the message.
pub(super) struct Exporter {
    aead: Aead,
    secret: Secret,
}

/// Up to 32 bytes.
type Secret = Zeroizing<Vec<u8>>;

impl Context {
    /// The sender's side, with a key pair for this message only: `enc` and the context.
    ///
    /// # Errors
    /// [`HpkeError`] without randomness, or if the recipient's key is none.
    pub(super) fn of_sender(
        recipient: &HpkeKey,
        info: &[u8],
        aead: Aead,
    ) -> Result<([u8; 32], Self), HpkeError> {
        let ephemeral = PrivateKey::generate(&X25519).map_err(|_| HpkeError)?;
        Self::of_sender_with(&ephemeral, recipient, info, aead)
    }

    pub(super) fn of_sender_with(
        ephemeral: &PrivateKey,
        recipient: &HpkeKey,
        info: &[u8],
        aead: Aead,
    ) -> Result<([u8; 32], Self), HpkeError> {
        let enc = ephemeral.compute_public_key().map_err(|_| HpkeError)?;
        let enc: [u8; 32] = enc.as_ref().try_into().map_err(|_| HpkeError)?;
        let recipient = recipient.as_bytes();
        let shared = shared(ephemeral, recipient, &enc, recipient)?;
        Ok((enc, Self::of(&shared, info, aead)?))
    }

    /// The recipient's side.
    ///
    /// # Errors
    /// [`HpkeError`] if `enc` is no public key.
    pub(super) fn of_recipient(
        enc: &[u8; 32],
        private: &PrivateKey,
        public: &HpkeKey,
        info: &[u8],
        aead: Aead,
    ) -> Result<Self, HpkeError> {
        let shared = shared(private, enc, enc, public.as_bytes())?;
        Self::of(&shared, info, aead)
    }

    /// Section 5.1, `KeySchedule` in base mode.
    fn of(shared: &[u8], info: &[u8], aead: Aead) -> Result<Self, HpkeError> {
        let suite = aead.suite();
        let psk_id = labeled_extract(&suite, &[], b"psk_id_hash", &[]);
        let info = labeled_extract(&suite, &[], b"info_hash", info);
        let context = [&[0][..], &psk_id, &info].concat();
        let secret = labeled_extract(&suite, shared, b"secret", &[]);
        let expand = |label, length| labeled_expand(&suite, &secret, label, &context, length);
        let nonce = expand(b"base_nonce", NONCE_BYTES);
        Ok(Self {
            aead,
            key: expand(b"key", aead.key_bytes()),
            nonce: nonce.as_slice().try_into().map_err(|_| HpkeError)?,
            exporter: Exporter {
                aead,
                secret: expand(b"exp", 32),
            },
        })
    }

    /// Seals the one message.
    ///
    /// # Errors
    /// [`HpkeError`] if it is too long for the cipher.
    pub(super) fn seal(
        self,
        aad: &[u8],
        message: Vec<u8>,
    ) -> Result<(Vec<u8>, Exporter), HpkeError> {
        let sealed = seal(self.aead, &self.key, self.nonce, aad, message)?;
        Ok((sealed, self.exporter))
    }

    /// Opens the one message.
    ///
    /// # Errors
    /// [`HpkeError`] if it is not by somebody who has the recipient's public key and used this `info` and `aad`.
    pub(super) fn open(
        self,
        aad: &[u8],
        sealed: Vec<u8>,
    ) -> Result<(Vec<u8>, Exporter), HpkeError> {
        let message = open(self.aead, &self.key, self.nonce, aad, sealed)?;
        Ok((message, self.exporter))
    }
}

impl Exporter {
    /// Section 5.3; at most 32 bytes are used.
    pub(super) fn export(&self, context: &[u8], length: usize) -> Secret {
        labeled_expand(&self.aead.suite(), &self.secret, b"sec", context, length)
    }

    pub(super) fn aead(&self) -> Aead {
        self.aead
    }
}

/// Section 4.1: `ExtractAndExpand` over what X25519 gives. A public key of small order gives nothing.
fn shared(
    private: &PrivateKey,
    peer: &[u8; 32],
    enc: &[u8; 32],
    recipient: &[u8; 32],
) -> Result<Secret, HpkeError> {
    let context = [enc.as_slice(), recipient].concat();
    agree(
        private,
        UnparsedPublicKey::new(&X25519, peer),
        HpkeError,
        |dh| {
            let prk = labeled_extract(KEM_SUITE, &[], b"eae_prk", dh);
            Ok(labeled_expand(
                KEM_SUITE,
                &prk,
                b"shared_secret",
                &context,
                32,
            ))
        },
    )
}

pub(super) fn seal(
    aead: Aead,
    key: &[u8],
    nonce: [u8; NONCE_BYTES],
    aad: &[u8],
    mut message: Vec<u8>,
) -> Result<Vec<u8>, HpkeError> {
    let key = UnboundKey::new(aead.algorithm(), key).map_err(|_| HpkeError)?;
    let nonce = Nonce::assume_unique_for_key(nonce);
    LessSafeKey::new(key)
        .seal_in_place_append_tag(nonce, Aad::from(aad), &mut message)
        .map_err(|_| HpkeError)?;
    Ok(message)
}

pub(super) fn open(
    aead: Aead,
    key: &[u8],
    nonce: [u8; NONCE_BYTES],
    aad: &[u8],
    mut sealed: Vec<u8>,
) -> Result<Vec<u8>, HpkeError> {
    let key = UnboundKey::new(aead.algorithm(), key).map_err(|_| HpkeError)?;
    let nonce = Nonce::assume_unique_for_key(nonce);
    let message = LessSafeKey::new(key)
        .open_in_place(nonce, Aad::from(aad), &mut sealed)
        .map_err(|_| HpkeError)?;
    let length = message.len();
    sealed.truncate(length);
    Ok(sealed)
}

/// HKDF-Extract, RFC 5869 section 2.2.
pub(super) fn extract(salt: &[u8], secret: &[u8]) -> Secret {
    let tag = hmac::sign(&hmac::Key::new(HMAC_SHA256, salt), secret);
    Zeroizing::new(tag.as_ref().to_vec())
}

/// HKDF-Expand, RFC 5869 section 2.3, for the one block that is enough here: at most 32 bytes.
pub(super) fn expand(prk: &[u8], info: &[u8], length: usize) -> Secret {
    let key = hmac::Key::new(HMAC_SHA256, prk);
    let tag = hmac::sign(&key, &[info, &[1]].concat());
    Zeroizing::new(tag.as_ref().iter().copied().take(length).collect())
}

fn labeled_extract(suite: &[u8], salt: &[u8], label: &[u8], secret: &[u8]) -> Secret {
    let text = Zeroizing::new([VERSION, suite, label, secret].concat());
    extract(salt, &text)
}

fn labeled_expand(suite: &[u8], prk: &[u8], label: &[u8], info: &[u8], length: usize) -> Secret {
    // At most 32, see above.
    let bytes = [0, u8::try_from(length).unwrap_or(u8::MAX)];
    expand(prk, &[&bytes, VERSION, suite, label, info].concat(), length)
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Context(..)")
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exporter(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{hex, key_pair};
    use super::*;

    /// RFC 9180 appendix A.1.1.
    const EPHEMERAL: &str = "52c4a758a802cd8b936eceea314432798d5baf2d7e9235dc084ab1b9cfa2f736";
    const RECIPIENT: &str = "4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8";
    const INFO: &[u8] = b"Ode on a Grecian Urn";
    const TEXT: &[u8] = b"Beauty is truth, truth beauty";
    const AAD: &[u8] = b"Count-0";

    #[test]
    fn the_first_message_is_that_of_the_rfc() {
        let (ephemeral, enc) = key_pair(EPHEMERAL);
        let (private, public) = key_pair(RECIPIENT);
        let (sent, context) =
            Context::of_sender_with(&ephemeral, &public, INFO, Aead::Aes128Gcm).unwrap();
        assert_eq!(sent, *enc.as_bytes());
        assert_eq!(
            sent,
            hex("37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431")[..]
        );
        assert_eq!(*context.key, hex("4531685d41d65f03dc48f6b8302c05b0"));
        assert_eq!(context.nonce, hex("56d890e5accaaf011cff4b7d")[..]);
        assert_eq!(
            *context.exporter.secret,
            hex("45ff1c2e220db587171952c0592d5f5ebe103f1561a2614e38f2ffd47e99e3f8")
        );
        let (sealed, _) = context.seal(AAD, TEXT.to_vec()).unwrap();
        let expected = "f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a";
        assert_eq!(sealed, hex(expected));

        let context =
            Context::of_recipient(&sent, &private, &public, INFO, Aead::Aes128Gcm).unwrap();
        let (opened, exporter) = context.open(AAD, sealed).unwrap();
        assert_eq!(opened, TEXT);
        assert_eq!(
            *exporter.export(b"TestContext", 32),
            hex("e9e43065102c3836401bed8c3c3c75ae46be1639869391d62c61f1ec7af54931")
        );
    }

    #[test]
    fn a_message_opens_only_for_its_recipient_and_unchanged() {
        let (private, public) = key_pair(RECIPIENT);
        let (other, other_public) = key_pair(EPHEMERAL);
        let aead = Aead::Aes256Gcm;
        let (enc, context) = Context::of_sender(&public, INFO, aead).unwrap();
        let (sealed, _) = context.seal(AAD, TEXT.to_vec()).unwrap();
        let open = |private, public, info: &[u8], aead, aad: &[u8], sealed: &[u8]| {
            let context = Context::of_recipient(&enc, private, public, info, aead).unwrap();
            context.open(aad, sealed.to_vec()).map(|(text, _)| text)
        };
        let good = open(&private, &public, INFO, aead, AAD, &sealed);
        assert_eq!(good.unwrap(), TEXT);
        for wrong in [
            open(&other, &other_public, INFO, aead, AAD, &sealed),
            open(&private, &other_public, INFO, aead, AAD, &sealed),
            open(&private, &public, b"", aead, AAD, &sealed),
            open(&private, &public, INFO, Aead::Aes128Gcm, AAD, &sealed),
            open(&private, &public, INFO, aead, b"", &sealed),
            open(&private, &public, INFO, aead, AAD, &sealed[1..]),
            open(&private, &public, INFO, aead, AAD, &[]),
        ] {
            assert_eq!(wrong, Err(HpkeError));
        }
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&private, &public, INFO, aead, AAD, &flipped).is_err());
        }
    }

    #[test]
    fn a_public_key_of_small_order_gives_no_secret() {
        let (private, public) = key_pair(RECIPIENT);
        for small in [[0; 32], {
            let mut one = [0; 32];
            one[0] = 1;
            one
        }] {
            let context = Context::of_recipient(&small, &private, &public, INFO, Aead::Aes256Gcm);
            assert!(context.is_err());
            let context = Context::of_sender(&HpkeKey::new(small), INFO, Aead::Aes256Gcm);
            assert!(context.is_err());
        }
    }

    #[test]
    fn secrets_are_mute() {
        let (_, public) = key_pair(RECIPIENT);
        let (_, context) = Context::of_sender(&public, INFO, Aead::Aes256Gcm).unwrap();
        assert_eq!(format!("{context:?}"), "Context(..)");
        assert_eq!(format!("{:?}", context.exporter), "Exporter(..)");
    }
}
