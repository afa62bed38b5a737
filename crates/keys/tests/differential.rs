//! The record cipher against an independent implementation of the same construction, and against itself.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use adyton_keys::SecretBytes;
use adyton_keys::database_key::DatabaseKey;
use adyton_keys::record_cipher::{OpenError, RecordCipher};
use adyton_keys::sealed_box::{SealedBox, UnsealError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crypto_secretbox::aead::{Aead, KeyInit};
use crypto_secretbox::{Key, Nonce, XSalsa20Poly1305};
use proptest::prelude::*;
use rand_core::{OsRng, TryRngCore};

/// What RustCrypto makes of the same key, nonce and plaintext, in the layout of the protocol.
fn sealed_by_other(key: &[u8; 32], nonce: &[u8; 24], plain: &[u8]) -> String {
    let boxed =
        XSalsa20Poly1305::new(Key::from_slice(key)).encrypt(Nonce::from_slice(nonce), plain);
    STANDARD.encode([nonce.as_slice(), &boxed.unwrap()].concat())
}

fn sealed_box(key: [u8; 32]) -> SealedBox {
    SealedBox::of_key(SecretBytes::take(&mut { key }))
}

proptest! {
    /// Lengths around every block and vector size that a fast implementation could treat specially.
    #[test]
    fn two_implementations_agree(
        key in any::<[u8; 32]>(),
        nonce in any::<[u8; 24]>(),
        plain in prop::collection::vec(any::<u8>(), 0..2100),
    ) {
        let other = sealed_by_other(&key, &nonce, &plain);
        prop_assert_eq!(&*sealed_box(key).open_bytes(&other).unwrap(), &plain);
        let ours = sealed_box(key).seal_bytes(&plain, &mut OsRng.unwrap_err());
        let ours = STANDARD.decode(ours).unwrap();
        let opened = XSalsa20Poly1305::new(Key::from_slice(&key))
            .decrypt(Nonce::from_slice(&ours[..24]), &ours[24..]);
        prop_assert_eq!(opened.unwrap(), plain);
    }

    /// Any changed bit, in nonce, tag or ciphertext, is refused.
    #[test]
    fn no_bit_can_be_changed(key in any::<[u8; 32]>(), plain in prop::collection::vec(any::<u8>(), 0..300), at in any::<prop::sample::Index>(), bit in 0..8) {
        let sealed = sealed_box(key).seal_bytes(&plain, &mut OsRng.unwrap_err());
        let mut bytes = STANDARD.decode(sealed).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        let opened = sealed_box(key).open_bytes(&STANDARD.encode(bytes));
        prop_assert_eq!(opened.unwrap_err(), UnsealError::Rejected);
    }
}

#[test]
fn every_length_up_to_two_thousand_bytes_agrees() {
    let (key, nonce) = ([7; 32], [9; 24]);
    let plain: Vec<u8> = (0..2000_u32).map(|n| n as u8).collect();
    for length in 0..plain.len() {
        let other = sealed_by_other(&key, &nonce, &plain[..length]);
        assert_eq!(
            *sealed_box(key).open_bytes(&other).unwrap(),
            plain[..length]
        );
    }
    let large: Vec<u8> = (0..1_000_003_u32).map(|n| (n * 31) as u8).collect();
    let other = sealed_by_other(&key, &nonce, &large);
    assert_eq!(*sealed_box(key).open_bytes(&other).unwrap(), large);
}

#[test]
fn what_is_not_a_sealed_record_is_refused() {
    let cipher = RecordCipher::of(&DatabaseKey::parse(&"11".repeat(32)).unwrap());
    let sealed = cipher.seal(b"{\"_id\":\"a\"}", &mut OsRng.unwrap_err());
    assert_eq!(*cipher.open(&sealed).unwrap(), b"{\"_id\":\"a\"}");
    for bad in [
        "",
        "=",
        "%%%%",
        "AAAA",
        &sealed[..52],
        &sealed[..sealed.len() - 3],
    ] {
        assert_eq!(cipher.open(bad).unwrap_err(), OpenError::Malformed, "{bad}");
    }
    let shorter = STANDARD.encode(&STANDARD.decode(&sealed).unwrap()[..45]);
    assert_eq!(cipher.open(&shorter).unwrap_err(), OpenError::Rejected);
    let other = RecordCipher::of(&DatabaseKey::parse(&"22".repeat(32)).unwrap());
    assert_eq!(other.open(&sealed).unwrap_err(), OpenError::Rejected);
}
