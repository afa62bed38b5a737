//! Fuzz target: a TEE document of hostile bytes is an error, never a panic, and never trusted.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod forge;

use adyton_attest::nitro::{UnverifiedDocument, claims};
use forge::{Scene, now};

#[test]
fn hostile_documents_are_refused_in_order() {
    let scene = Scene::new();
    let seed = scene.pki.document(&scene.claims);
    let root = scene.pki.root();
    let mutate = |input: &[u8]| {
        // The input is a list of changes to a genuine document: place (2 bytes), new byte, ...
        let mut document = seed.clone();
        for change in input.chunks_exact(3) {
            let at = usize::from(u16::from_be_bytes([change[0], change[1]])) % document.len();
            document[at] = change[2];
        }
        document
    };
    bolero::check!().for_each(|input: &[u8]| {
        let _ = UnverifiedDocument::parse(input);
        let _ = claims::parse(input);
        let document = mutate(input);
        if document != seed
            && let Ok(document) = UnverifiedDocument::parse(&document)
        {
            assert!(document.verify(&[root], now()).is_err());
        }
    });
}
