//! Fuzz target: hostile certificates are an error, never a panic, and never a chain.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod forge;

use adyton_attest::Spki;
use adyton_attest::nitro::chain::Chain;
use adyton_attest::nitro::claims::Certificates;
use forge::{Pki, now};

#[test]
fn hostile_certificates_are_refused_in_order() {
    let pki = Pki::new();
    let root = pki.root();
    bolero::check!().for_each(|input: &[u8]| {
        let _ = Spki::from_der(input);
        let _ = Spki::of_certificate(input);
        // Bytes as the leaf, and changes to one of the certificates below the root.
        let genuine = &pki.certificates;
        let leaf = Certificates {
            leaf: input.to_vec(),
            ..genuine.clone()
        };
        assert!(Chain::verify(&leaf, &[root], now()).is_err());
        let Some((which, changes)) = input.split_first() else {
            return;
        };
        let mut changed = genuine.clone();
        let der = match usize::from(*which) % 4 {
            0 => &mut changed.leaf,
            at => &mut changed.bundle[at],
        };
        for change in changes.chunks_exact(3) {
            let at = usize::from(u16::from_be_bytes([change[0], change[1]])) % der.len();
            der[at] = change[2];
        }
        if changed != *genuine {
            assert!(Chain::verify(&changed, &[root], now()).is_err());
        }
    });
}
