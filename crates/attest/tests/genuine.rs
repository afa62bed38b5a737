//! A document that AWS signed, where somebody has one; and every single bit of a document.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic
)]

mod forge;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use adyton_attest::appraise::Reason;
use adyton_attest::nitro::chain::ChainError;
use adyton_attest::nitro::document::DocumentError;
use adyton_attest::nitro::{AWS_NITRO_ROOT_G1, RootHash, UnverifiedDocument, VerifiedDocument};
use adyton_attest::{Policy, TeeKind, appraise};
use forge::{Scene, now};

/// Genuine documents are other people's: they are read from the folder of vectors and never kept here.
#[expect(
    clippy::disallowed_methods,
    reason = "the folder of vectors is named by the environment, in tests only"
)]
fn genuine() -> Vec<u8> {
    let folder = std::env::var("ADYTON_VECTORS").expect("ADYTON_VECTORS names a folder");
    std::fs::read(std::path::Path::new(&folder).join("nitro/aws.bin")).unwrap()
}

/// When it was made.
fn its_time(document: &[u8]) -> SystemTime {
    let claims = UnverifiedDocument::parse(document).unwrap();
    UNIX_EPOCH + Duration::from_millis(claims.unverified_claims().timestamp_ms)
}

fn verify(
    bytes: &[u8],
    root: RootHash,
    now: SystemTime,
) -> Result<VerifiedDocument, DocumentError> {
    UnverifiedDocument::parse(bytes)?.verify(&[root], now)
}

#[test]
#[ignore = "needs nitro/aws.bin in the folder that ADYTON_VECTORS names"]
fn a_genuine_document_verifies_at_its_own_time() {
    let document = genuine();
    let verified = verify(&document, AWS_NITRO_ROOT_G1, its_time(&document)).unwrap();
    assert_eq!(verified.chain().root(), AWS_NITRO_ROOT_G1);
    assert_eq!(verified.chain().length(), 5);
    assert!(
        verified
            .chain()
            .root_subject()
            .contains("aws.nitro-enclaves")
    );
    assert_eq!(verified.claims().pcrs.len(), 16);
    assert!(verified.claims().module_id.starts_with("i-"));
}

#[test]
#[ignore = "needs nitro/aws.bin in the folder that ADYTON_VECTORS names"]
fn a_genuine_document_fails_today() {
    let document = genuine();
    let a_day_later = its_time(&document) + Duration::from_secs(24 * 3600);
    let refused = verify(&document, AWS_NITRO_ROOT_G1, a_day_later).unwrap_err();
    assert!(
        matches!(refused, DocumentError::Chain(ChainError::Expired { .. })),
        "{refused:?}"
    );
}

#[test]
#[ignore = "needs nitro/aws.bin in the folder that ADYTON_VECTORS names"]
fn a_genuine_document_of_somebody_else_is_not_our_node() {
    let document = genuine();
    let at = its_time(&document);
    let mut evidence = Scene::new().evidence();
    evidence.tee = TeeKind::AwsNitro;
    evidence.document = document;
    let refused = appraise(&evidence, &Policy::default(), &Scene::new().seen, at).unwrap_err();
    assert_eq!(refused.reason(), &Reason::NothingListed);
    assert!(!refused.is_simulated());

    // Not even the vendor's own root makes a simulation of what calls itself one.
    evidence.tee = TeeKind::SimulatedNitro;
    let refused = appraise(&evidence, &Policy::default(), &Scene::new().seen, at).unwrap_err();
    assert_eq!(refused.reason(), &Reason::Simulated);
}

#[test]
fn no_single_bit_of_a_forged_document_can_be_flipped() {
    let scene = Scene::new();
    let document = scene.pki.document(&scene.claims);
    every_bit_matters(&document, scene.pki.root(), now());
}

#[test]
#[ignore = "needs nitro/aws.bin in the folder that ADYTON_VECTORS names"]
fn no_single_bit_of_a_genuine_document_can_be_flipped() {
    let document = genuine();
    every_bit_matters(&document, AWS_NITRO_ROOT_G1, its_time(&document));
}

fn every_bit_matters(document: &[u8], root: RootHash, now: SystemTime) {
    assert!(verify(document, root, now).is_ok());
    let (even, odd): (Vec<usize>, Vec<usize>) =
        (0..document.len() * 8).partition(|bit| bit % 2 == 0);
    std::thread::scope(|scope| {
        for half in [even, odd] {
            scope.spawn(move || {
                let mut flipped = document.to_vec();
                for bit in half {
                    flipped[bit / 8] ^= 1 << (bit % 8);
                    assert!(
                        verify(&flipped, root, now).is_err(),
                        "bit {bit} does not matter"
                    );
                    flipped[bit / 8] ^= 1 << (bit % 8);
                }
            });
        }
    });
}
