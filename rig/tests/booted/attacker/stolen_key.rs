//! Takes the node's TLS key out of the guest's memory. Whoever owns the hypervisor of an emulated enclave can; on
//! hardware nobody is supposed to. It stands for every way in which a key could ever leak.

use adyton_attest::Spki;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rcgen::KeyPair;

/// How a P-256 private key lies in memory (AWS-LC's `EC_WRAPPED_SCALAR`): a number of four words that are not on the
/// heap for themselves (width 4, room 4, positive, static), then the words, the lowest first.
const NUMBER: [u8; 16] = [4, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0];

const SCALAR: usize = 32;

/// The key pair to a public key, if it is in this memory.
pub fn find(memory: &[u8], public: &Spki) -> Option<KeyPair> {
    // The point stands at the end of a P-256 key, uncompressed.
    let spki = public.as_der();
    let point = &spki[spki.len() - 65..];
    memchr::memmem::find_iter(memory, &NUMBER).find_map(|at| {
        let words = memory.get(at + NUMBER.len()..at + NUMBER.len() + SCALAR)?;
        let mut scalar = words.to_vec();
        scalar.reverse();
        // Only the right number fits the point.
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_ASN1_SIGNING,
            &scalar,
            point,
        )
        .ok()?;
        let pkcs8 = pair.to_pkcs8v1().ok()?;
        KeyPair::try_from(pkcs8.as_ref()).ok()
    })
}
