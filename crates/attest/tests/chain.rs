//! Step 3: one spoiled certificate at a time.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod forge;

use adyton_attest::nitro::chain::{Chain, ChainError};
use adyton_attest::nitro::{AWS_NITRO_ROOT_G1, RootHash};
use forge::{Draft, HOUR, Pki, now, p384};
use rcgen::{
    BasicConstraints, CustomExtension, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};

fn verify(pki: &Pki) -> Result<Chain, ChainError> {
    Chain::verify(&pki.certificates, &[pki.root()], now())
}

fn refusal(spoil: impl FnOnce(&mut Vec<Draft>)) -> ChainError {
    verify(&Pki::spoiled(spoil)).unwrap_err()
}

#[test]
fn a_whole_chain_holds_until_its_first_certificate_expires() {
    let pki = Pki::new();
    let chain = verify(&pki).unwrap();
    assert_eq!((chain.root(), chain.length()), (pki.root(), 5));
    assert_eq!(chain.valid_until(), now() + HOUR * 2);
    assert_eq!(chain.root_subject(), "CN=test root");
}

#[test]
fn a_root_that_is_not_pinned_is_refused_however_sound_it_is() {
    let pki = Pki::new();
    for trusted in [
        &[][..],
        &[AWS_NITRO_ROOT_G1],
        &[RootHash::of(&pki.certificates.bundle[1])],
    ] {
        let refused = Chain::verify(&pki.certificates, trusted, now()).unwrap_err();
        assert!(matches!(refused, ChainError::Root { found, .. } if found == pki.root()));
    }
}

#[test]
fn every_certificate_must_be_valid_now() {
    for at in 0..5 {
        let early = refusal(|drafts| drafts[at].params.not_before = (now() + HOUR / 60).into());
        assert!(
            matches!(early, ChainError::NotYetValid { at: found, .. } if found == at),
            "{at}: {early:?}"
        );
        let late = refusal(|drafts| drafts[at].params.not_after = (now() - HOUR / 60).into());
        assert!(
            matches!(late, ChainError::Expired { at: found, .. } if found == at),
            "{at}: {late:?}"
        );
    }
}

#[test]
fn every_certificate_must_be_signed_by_the_one_before_it() {
    for at in 0..5 {
        assert_eq!(
            refusal(|drafts| drafts[at].signer = Some(p384())),
            ChainError::Signature { at }
        );
    }
}

#[test]
fn every_certificate_must_name_the_one_before_it() {
    for at in 0..5 {
        assert_eq!(
            refusal(|drafts| drafts[at].issuer = Some("somebody else")),
            ChainError::Issuer { at }
        );
    }
}

#[test]
fn only_authorities_issue() {
    for at in 0..4 {
        for not_ca in [IsCa::NoCa, IsCa::ExplicitNoCa] {
            let refused = refusal(|drafts| drafts[at].params.is_ca = not_ca);
            assert_eq!(refused, ChainError::NotAnAuthority { at });
        }
        for usages in [vec![], vec![KeyUsagePurpose::DigitalSignature]] {
            let refused = refusal(|drafts| drafts[at].params.key_usages = usages);
            assert_eq!(refused, ChainError::NotAnAuthority { at });
        }
    }
}

#[test]
fn a_chain_may_not_be_longer_than_its_authorities_allow() {
    for at in 0..3 {
        let too_few = BasicConstraints::Constrained((2 - at) as u8);
        assert_eq!(
            refusal(|drafts| drafts[at].params.is_ca = IsCa::Ca(too_few)),
            ChainError::PathLength { at }
        );
    }
}

#[test]
fn an_authority_may_not_sign_documents_in_the_enclaves_place() {
    let ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let refused = refusal(|drafts| drafts[4].params.is_ca = ca);
    assert_eq!(refused, ChainError::LeafUsage { at: 4 });
    let may_issue = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyCertSign,
    ];
    for usages in [vec![], vec![KeyUsagePurpose::ContentCommitment], may_issue] {
        let refused = refusal(|drafts| drafts[4].params.key_usages = usages);
        assert_eq!(refused, ChainError::LeafUsage { at: 4 });
    }
}

#[test]
fn a_weaker_curve_is_refused_wherever_it_stands() {
    for at in 0..5 {
        let p256 = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let refused = refusal(|drafts| drafts[at].key = p256);
        assert_eq!(refused, ChainError::Algorithm { at });
    }
}

#[test]
fn a_signature_with_another_hash_is_refused() {
    for at in 0..5 {
        let refused = refusal(|drafts| {
            drafts[at].signer = Some(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap());
        });
        assert_eq!(refused, ChainError::Algorithm { at });
    }
}

#[test]
fn an_unknown_critical_extension_is_refused_and_an_unknown_other_one_is_not() {
    for at in 0..5 {
        let extension = |critical| {
            let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
            extension.set_criticality(critical);
            vec![extension]
        };
        let refused = refusal(|drafts| drafts[at].params.custom_extensions = extension(true));
        assert_eq!(refused, ChainError::Extensions { at });
        assert!(
            verify(&Pki::spoiled(|drafts| drafts[at]
                .params
                .custom_extensions =
                extension(false)))
            .is_ok()
        );
    }
}

#[test]
fn a_doubled_extension_is_refused() {
    for at in 0..5 {
        // A second basicConstraints that says cA = TRUE.
        let again = CustomExtension::from_oid_content(&[2, 5, 29, 19], vec![0x30, 3, 1, 1, 0xff]);
        let refused = refusal(|drafts| drafts[at].params.custom_extensions = vec![again]);
        assert_eq!(refused, ChainError::Extensions { at });
    }
}

#[test]
fn a_doubled_extension_is_refused_even_where_nobody_would_look_at_it() {
    for at in 0..5 {
        let twice = [[5, 0], [4, 0]]
            .map(|content| CustomExtension::from_oid_content(&[1, 2, 3, 4], content.to_vec()));
        let refused = refusal(|drafts| drafts[at].params.custom_extensions = twice.to_vec());
        assert_eq!(refused, ChainError::Extensions { at });
    }
}

#[test]
fn the_bundle_is_root_first() {
    let mut pki = Pki::new();
    let trusted = [pki.root()];
    pki.certificates.bundle.reverse();
    let refused = Chain::verify(&pki.certificates, &trusted, now()).unwrap_err();
    assert!(matches!(refused, ChainError::Root { .. }));
}

#[test]
fn a_missing_or_swapped_link_is_refused() {
    for missing in 1..4 {
        let mut pki = Pki::new();
        pki.certificates.bundle.remove(missing);
        assert!(verify(&pki).is_err(), "{missing}");
    }
    let mut pki = Pki::new();
    pki.certificates.bundle.swap(2, 3);
    assert!(verify(&pki).is_err());
    let mut pki = Pki::new();
    pki.certificates.bundle[3] = Pki::new().certificates.bundle[3].clone();
    assert_eq!(verify(&pki).unwrap_err(), ChainError::Signature { at: 3 });
}

#[test]
fn bytes_behind_a_certificate_are_refused() {
    let mut pki = Pki::new();
    pki.certificates.leaf.push(0);
    assert_eq!(verify(&pki).unwrap_err(), ChainError::Unreadable { at: 4 });
    let mut pki = Pki::new();
    pki.certificates.bundle[2].push(0);
    assert_eq!(verify(&pki).unwrap_err(), ChainError::Unreadable { at: 2 });
    pki.certificates.bundle.clear();
    let refused = Chain::verify(&pki.certificates, &[AWS_NITRO_ROOT_G1], now()).unwrap_err();
    assert_eq!(refused, ChainError::Empty);
}

/// The bytes of DER, one level down: (tag, content) of each part of a sequence.
fn parts(der: &[u8]) -> Vec<Vec<u8>> {
    let element = |der: &[u8]| -> usize {
        match der[1] {
            short @ 0..=0x7f => 2 + usize::from(short),
            0x81 => 3 + usize::from(der[2]),
            0x82 => 4 + usize::from(u16::from_be_bytes([der[2], der[3]])),
            more => panic!("longer than a test needs: {more:02x}"),
        }
    };
    let head = match der[1] {
        0..=0x7f => 2,
        0x81 => 3,
        _ => 4,
    };
    let (mut rest, mut parts) = (&der[head..], Vec::new());
    while !rest.is_empty() {
        let (part, behind) = rest.split_at(element(rest));
        parts.push(part.to_vec());
        rest = behind;
    }
    parts
}

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    let content = parts.concat();
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[0x30, 0x82][..], &length, &content].concat()
}

/// A leaf whose signed part was changed before the instance authority signed it.
fn resigned(change: impl FnOnce(&mut Vec<u8>)) -> Result<Chain, ChainError> {
    resigned_with(|inside, _| change(inside))
}

/// The same with the algorithm that stands outside.
fn resigned_with(change: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>)) -> Result<Chain, ChainError> {
    let mut pki = Pki::new();
    let [mut inside, mut algorithm, _] =
        <[Vec<u8>; 3]>::try_from(parts(&pki.certificates.leaf)).unwrap();
    change(&mut inside, &mut algorithm);
    let signature = rcgen::SigningKey::sign(&pki.instance_key, &inside).unwrap();
    let bits = [
        &[0x03, u8::try_from(signature.len() + 1).unwrap(), 0][..],
        &signature,
    ]
    .concat();
    pki.certificates.leaf = sequence(&[inside, algorithm, bits]);
    verify(&pki)
}

/// Where some bytes stand.
fn place(of: &[u8], inside: &[u8]) -> usize {
    inside
        .windows(of.len())
        .position(|window| window == of)
        .unwrap()
}

#[test]
fn a_leaf_that_was_signed_again_unchanged_holds() {
    assert!(resigned(|_| ()).is_ok());
}

#[test]
fn the_algorithm_outside_is_the_one_inside() {
    // ecdsa-with-SHA256 inside, where it is signed; ecdsa-with-SHA384 outside, with which it is signed.
    let oid = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03];
    let refused = resigned(|inside| {
        let at = place(&oid, inside);
        inside[at + 7] = 0x02;
    });
    assert_eq!(refused.unwrap_err(), ChainError::Algorithm { at: 4 });
}

#[test]
fn the_algorithm_has_no_parameters() {
    let refused = resigned_with(|inside, outside| {
        let with_null = sequence(&[parts(outside), vec![vec![5, 0]]].concat());
        // One byte of length is enough here, and DER has no other spelling.
        let with_null = [&[0x30, with_null[3]], &with_null[4..]].concat();
        let mut all = parts(inside);
        all[2].clone_from(&with_null);
        (*inside, *outside) = (sequence(&all), with_null);
    });
    assert_eq!(refused.unwrap_err(), ChainError::Algorithm { at: 4 });
}

#[test]
fn a_key_of_another_kind_is_refused_though_it_lies_on_the_curve() {
    // The next number after id-ecPublicKey, with p-384 as its parameter.
    let refused = resigned(|inside| {
        let at = place(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01], inside);
        inside[at + 6] = 0x02;
    });
    assert_eq!(refused.unwrap_err(), ChainError::Algorithm { at: 4 });
}

#[test]
fn an_older_version_of_certificates_is_refused() {
    let refused = resigned(|inside| {
        let at = place(&[0xa0, 0x03, 0x02, 0x01, 0x02], inside);
        inside[at + 4] = 0x01;
    });
    assert_eq!(refused.unwrap_err(), ChainError::Algorithm { at: 4 });
}

#[test]
fn a_signature_is_whole_bytes() {
    let mut pki = Pki::new();
    let [inside, algorithm, mut bits] =
        <[Vec<u8>; 3]>::try_from(parts(&pki.certificates.leaf)).unwrap();
    // One unused bit, in a place where the strictest reader may find a zero.
    while bits.last().unwrap() & 1 == 1 {
        let signature = rcgen::SigningKey::sign(&pki.instance_key, &inside).unwrap();
        bits = [
            &[0x03, u8::try_from(signature.len() + 1).unwrap(), 0][..],
            &signature,
        ]
        .concat();
    }
    bits[2] = 1;
    pki.certificates.leaf = sequence(&[inside, algorithm, bits]);
    assert_eq!(verify(&pki).unwrap_err(), ChainError::Unreadable { at: 4 });
}

/// What no signature covers stands in one spelling: every byte around the signed part, set to every other value.
#[test]
fn a_certificate_has_one_spelling() {
    let pki = Pki::new();
    let [inside, algorithm, bits] =
        <[Vec<u8>; 3]>::try_from(parts(&pki.certificates.leaf)).unwrap();
    let leaf = &pki.certificates.leaf;
    let behind = leaf.len() - algorithm.len() - bits.len();
    let head = behind - inside.len();
    // The signature itself is aws-lc's to read; its own header and first bytes are in this range.
    let unsigned = (0..head).chain(behind..behind + algorithm.len() + 8);
    let mut spoiled = Pki::new();
    spoiled.certificates = pki.certificates.clone();
    for at in unsigned {
        for value in (0..=u8::MAX).filter(|value| *value != leaf[at]) {
            spoiled.certificates.leaf = leaf.clone();
            spoiled.certificates.leaf[at] = value;
            let refused = Chain::verify(&spoiled.certificates, &[pki.root()], now());
            assert!(refused.is_err(), "byte {at} as {value:#04x}");
        }
    }
}
