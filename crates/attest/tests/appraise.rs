//! Steps 5 to 8, and the verdict: one lie at a time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod forge;

use std::time::{Duration, SystemTime};

use adyton_attest::appraise::Reason;
use adyton_attest::batch::Batch;
use adyton_attest::binding::UserDataError;
use adyton_attest::fact::{Outcome, Step};
use adyton_attest::nitro::Pcr;
use adyton_attest::nitro::document::DocumentError;
use adyton_attest::{
    AnswerKey, Appraised, BatchProof, Challenge, ChannelBinding, Exporter, HpkeKey, Nonce, Policy,
    Refusal, TeeKind, appraise,
};
use forge::{Pki, Scene, now};
use rcgen::DnType;

fn judge(scene: &Scene, policy: &Policy, at: SystemTime) -> Result<Appraised, Refusal> {
    appraise(&scene.evidence(), policy, &scene.seen, at)
}

/// The verdict on a scene after a lie, under the policy that trusts the scene without it.
fn refusal(lie: impl FnOnce(&mut Scene)) -> Refusal {
    let mut scene = Scene::new();
    lie(&mut scene);
    judge(&scene, &scene.policy(""), now()).expect_err("a lie was believed")
}

fn reason(lie: impl FnOnce(&mut Scene)) -> Reason {
    refusal(lie).reason().clone()
}

#[test]
fn a_genuine_scene_is_trusted_and_says_what_was_found() {
    let scene = Scene::new();
    let appraised = judge(&scene, &scene.policy(""), now()).unwrap();
    assert_eq!(appraised.measurement(), "test image");
    assert_eq!(appraised.spki(), &scene.seen.spki);
    assert_eq!(appraised.config(), forge::CONFIG);
    assert_eq!(appraised.module_id(), "i-test-enc0");
    assert_eq!(appraised.issued(), now());
    assert_eq!(appraised.good_until(), now() + forge::HOUR);
    assert!(appraised.is_channel_bound());

    // Not beyond the chain's first expiry either.
    let short =
        Pki::spoiled(|drafts| drafts[3].params.not_after = (now() + forge::HOUR / 2).into());
    let scene = Scene::with(short);
    let shortly = judge(&scene, &scene.policy(""), now()).unwrap();
    assert_eq!(shortly.good_until(), now() + forge::HOUR / 2);
    let steps: Vec<Step> = appraised.facts().iter().map(|fact| fact.step).collect();
    assert_eq!(steps, Step::ALL);
    assert!(
        appraised
            .facts()
            .iter()
            .all(|fact| fact.outcome == Outcome::Held)
    );
}

#[test]
fn the_default_policy_trusts_nothing() {
    let scene = Scene::new();
    let refused = judge(&scene, &Policy::default(), now()).unwrap_err();
    assert_eq!(refused.step(), Step::Chain);
    let genuine_root_only = Policy::from_toml("version = 1\nallow_simulated = true").unwrap();
    assert_eq!(
        judge(&scene, &genuine_root_only, now()).unwrap_err().step(),
        Step::Chain
    );
}

#[test]
fn every_refusal_has_a_line_for_every_step() {
    let refused = refusal(|scene| scene.claims.nonce = None);
    let facts: Vec<_> = refused
        .facts()
        .iter()
        .map(|fact| (fact.step, fact.outcome))
        .collect();
    for (step, outcome) in facts {
        let expected = if step == Step::Nonce {
            Outcome::Failed
        } else {
            Outcome::Held
        };
        assert_eq!(outcome, expected, "{step}");
    }
    // What no trusted root signed is not looked at any further.
    let scene = Scene::new();
    let mut evidence = scene.evidence();
    *evidence.document.last_mut().unwrap() ^= 1;
    let refused = appraise(&evidence, &scene.policy(""), &scene.seen, now()).unwrap_err();
    assert_eq!(refused.step(), Step::Signature);
    let later: Vec<_> = refused
        .facts()
        .iter()
        .filter(|fact| fact.step > Step::Signature)
        .collect();
    assert_eq!(later.len(), 7);
    assert!(later.iter().all(|fact| fact.outcome == Outcome::NotReached));
}

#[test]
fn garbage_is_refused_at_the_first_step() {
    let scene = Scene::new();
    let mut evidence = scene.evidence();
    for document in [
        vec![],
        vec![0x84],
        evidence.document[1..].to_vec(),
        vec![0; 20_000],
    ] {
        evidence.document = document;
        let refused = appraise(&evidence, &scene.policy(""), &scene.seen, now()).unwrap_err();
        assert_eq!(refused.step(), Step::Envelope);
    }
    let refused = refusal(|scene| scene.claims.module_id = String::new());
    assert_eq!(refused.step(), Step::Claims);
}

#[test]
fn a_document_signed_by_another_key_is_refused() {
    let reason = reason(|scene| scene.pki.leaf_key = forge::p384());
    assert_eq!(reason, Reason::Document(DocumentError::Signature));
}

#[test]
fn a_document_is_as_old_as_the_policy_allows_and_no_older() {
    let scene = Scene::new();
    let policy = scene.policy("max_age_seconds = 200");
    let at = |seconds| judge(&scene, &policy, now() + Duration::from_secs(seconds));
    assert!(at(200).is_ok());
    let reason = at(201).unwrap_err().reason().clone();
    assert!(matches!(reason, Reason::Stale { .. }), "{reason:?}");
}

#[test]
fn a_document_from_the_future_is_refused() {
    let scene = Scene::new();
    let policy = scene.policy("max_future_skew_seconds = 30");
    let before = |seconds| judge(&scene, &policy, now() - Duration::from_secs(seconds));
    assert!(before(30).is_ok());
    let reason = before(31).unwrap_err().reason().clone();
    assert!(matches!(reason, Reason::Future { .. }), "{reason:?}");
}

#[test]
fn a_document_without_a_challenge_has_its_own_age_limit() {
    let mut scene = Scene::new();
    scene.seen.nonce = None;
    let policy =
        scene.policy("require_nonce = false\nmax_age_seconds = 10\nmax_cached_age_seconds = 20");
    assert!(judge(&scene, &policy, now() + Duration::from_secs(20)).is_ok());
    let late = judge(&scene, &policy, now() + Duration::from_secs(21)).unwrap_err();
    assert_eq!(late.step(), Step::Freshness);
}

#[test]
fn debug_mode_is_refused_before_the_policy_is_asked() {
    for index in [0, 1, 2] {
        let zero = reason(|scene| {
            scene.claims.pcrs.insert(index, Pcr::ZERO);
        });
        assert_eq!(zero, Reason::Debug { index });
        let missing = reason(|scene| {
            scene.claims.pcrs.remove(&index);
        });
        assert_eq!(missing, Reason::Debug { index });
    }
}

#[test]
fn every_listed_register_must_be_present_and_equal() {
    for index in [0, 1, 2] {
        let other = reason(|scene| {
            scene.claims.pcrs.insert(index, Pcr::of(b"other"));
        });
        assert_eq!(other, Reason::Measurements);
    }
    assert_eq!(
        reason(|scene| {
            scene.claims.pcrs.remove(&17);
        }),
        Reason::Measurements
    );
}

#[test]
fn an_empty_policy_lists_nothing_even_for_a_trusted_root() {
    // The policy trusts the root by another image.
    let scene = Scene::new();
    let text = format!(
        "version = 1\nallow_simulated = true\n[[nitro]]\nname = \"n\"\nroot_sha256 = \"{}\"\n\
         pcrs = {{ 0 = \"{1}\", 1 = \"{1}\", 2 = \"{1}\" }}",
        scene.pki.root(),
        "ab".repeat(48)
    );
    let refused = judge(&scene, &Policy::from_toml(&text).unwrap(), now()).unwrap_err();
    assert_eq!(refused.reason(), &Reason::Measurements);
}

#[test]
fn a_measurement_counts_only_under_the_root_it_is_listed_with() {
    let (scene, other) = (Scene::new(), Scene::new());
    let listed = |scene: &Scene, root: &Scene| {
        let pcrs = &scene.claims.pcrs;
        format!(
            "[[nitro]]\nname = \"n\"\nroot_sha256 = \"{}\"\npcrs = {{ 0 = \"{}\", 1 = \"{}\", 2 = \"{}\" }}\n",
            root.pki.root(),
            pcrs[&0],
            pcrs[&1],
            pcrs[&2]
        )
    };
    // The right image under another root, and another image under the right root: both roots are trusted to sign.
    let mut foreign = Scene::new();
    foreign.claims.pcrs.insert(0, Pcr::of(b"another image"));
    let text = format!(
        "version = 1\nallow_simulated = true\n{}{}",
        listed(&scene, &other),
        listed(&foreign, &scene)
    );
    let refused = judge(&scene, &Policy::from_toml(&text).unwrap(), now()).unwrap_err();
    assert_eq!(refused.reason(), &Reason::Measurements);
}

#[test]
fn another_challenge_is_refused() {
    let lies: [Option<Vec<u8>>; 5] = [
        None,
        Some(vec![]),
        Some(vec![5; 32]),
        Some(vec![4; 31]),
        Some(vec![4; 33]),
    ];
    for nonce in lies {
        assert_eq!(reason(|scene| scene.claims.nonce = nonce), Reason::Nonce);
    }
}

#[test]
fn without_a_challenge_only_a_policy_that_says_so_is_satisfied() {
    let mut scene = Scene::new();
    scene.seen.nonce = None;
    let refused = judge(&scene, &scene.policy(""), now()).unwrap_err();
    assert_eq!(refused.reason(), &Reason::NonceRequired);
    assert!(judge(&scene, &scene.policy("require_nonce = false"), now()).is_ok());
    // The permission to send none is no permission to answer another one.
    scene.seen.nonce = Some(Nonce::new([9; 32]));
    let refused = judge(&scene, &scene.policy("require_nonce = false"), now()).unwrap_err();
    assert_eq!(refused.reason(), &Reason::Nonce);
}

#[test]
fn a_swapped_tls_key_is_refused() {
    let other = Scene::new();
    // The man in the middle shows the node's document on a connection with his own key.
    let swapped = reason(|scene| scene.seen.spki = other.seen.spki.clone());
    assert_eq!(swapped, Reason::TlsKey);
    assert_eq!(
        reason(|scene| scene.claims.public_key = None),
        Reason::TlsKey
    );
    // The field agrees but the binding was made for another key.
    let half = reason(|scene| {
        scene.seen.spki = other.seen.spki.clone();
        scene.claims.public_key = Some(other.seen.spki.as_der().to_vec());
        scene.keys.tls = other.seen.spki.clone();
    });
    assert_eq!(half, Reason::Channel);
}

#[test]
fn a_relayed_connection_is_refused_even_by_a_holder_of_the_tls_key() {
    let relayed = reason(|scene| scene.seen.exporter = Exporter::new([8; 32]));
    assert_eq!(relayed, Reason::Channel);
}

#[test]
fn an_unbound_document_passes_only_a_policy_that_says_so() {
    let mut scene = Scene::new();
    scene.bind(ChannelBinding::None);
    let refused = judge(&scene, &scene.policy(""), now()).unwrap_err();
    assert_eq!(refused.reason(), &Reason::ChannelRequired);
    let appraised = judge(
        &scene,
        &scene.policy("require_channel_binding = false"),
        now(),
    )
    .unwrap();
    assert!(!appraised.is_channel_bound());
}

#[test]
fn clearing_the_flag_does_not_make_a_bound_document_an_unbound_one() {
    let mut scene = Scene::new();
    scene.claims.user_data.as_mut().unwrap()[1] = 0;
    let refused = judge(
        &scene,
        &scene.policy("require_channel_binding = false"),
        now(),
    )
    .unwrap_err();
    assert_eq!(refused.reason(), &Reason::Channel);
    // And the other way round: zeros do not stand for any connection.
    scene.bind(ChannelBinding::None);
    scene.claims.user_data.as_mut().unwrap()[1] = 1;
    let refused = judge(&scene, &scene.policy(""), now()).unwrap_err();
    assert_eq!(refused.reason(), &Reason::Channel);
}

#[test]
fn the_keys_that_are_shown_are_those_that_are_signed() {
    let scene = Scene::new();
    let appraised = judge(&scene, &scene.policy(""), now()).unwrap();
    assert_eq!(appraised.answer_key(), &AnswerKey::new([5; 32]));
    assert_eq!(appraised.hpke_key(), &HpkeKey::new([6; 32]));

    let shown: [fn(&mut Scene); 4] = [
        |scene| scene.keys.answer = AnswerKey::new([9; 32]),
        |scene| scene.keys.hpke = HpkeKey::new([9; 32]),
        |scene| scene.keys.tls = Scene::new().keys.tls,
        |scene| {
            scene.keys.answer = AnswerKey::new([6; 32]);
            scene.keys.hpke = HpkeKey::new([5; 32]);
        },
    ];
    for lie in shown {
        assert_eq!(reason(lie), Reason::Keys);
    }
    // Swapped in the user data as well, but not in the binding: somebody edits what the enclave meant.
    let edited = reason(|scene| {
        scene.keys.answer = AnswerKey::new([9; 32]);
        scene.claims.user_data.as_mut().unwrap()[34..66].fill(9);
    });
    assert_eq!(edited, Reason::Channel);
    let edited = reason(|scene| {
        scene.keys.hpke = HpkeKey::new([9; 32]);
        scene.claims.user_data.as_mut().unwrap()[66..98].fill(9);
    });
    assert_eq!(edited, Reason::Channel);
}

/// A scene whose document is shared with four other askers.
fn shared() -> Scene {
    let mut scene = Scene::new();
    let others = (10..14).map(|seed| Challenge {
        nonce: Nonce::new([seed; 32]),
        exporter: Exporter::new([seed + 100; 32]),
    });
    let ours = Challenge {
        nonce: scene.seen.nonce.unwrap(),
        exporter: scene.seen.exporter,
    };
    let challenges: Vec<_> = others.chain([ours]).collect();
    let batch = Batch::over(&challenges).unwrap();
    scene.batch = batch.proofs().last();
    scene.claims.nonce = Some(batch.root().as_bytes().to_vec());
    scene.bind(ChannelBinding::Batch);
    scene
}

fn shared_reason(lie: impl FnOnce(&mut Scene)) -> Reason {
    let mut scene = shared();
    lie(&mut scene);
    let refused = judge(&scene, &scene.policy(""), now()).expect_err("a lie was believed");
    refused.reason().clone()
}

#[test]
fn a_shared_document_answers_each_asker_on_its_own_connection() {
    let scene = shared();
    let appraised = judge(&scene, &scene.policy(""), now()).unwrap();
    assert!(appraised.is_channel_bound());
    let own = Scene::new();
    assert!(judge(&own, &own.policy(""), now()).is_ok());
}

#[test]
fn a_shared_document_relayed_to_another_connection_is_refused() {
    let relayed = shared_reason(|scene| scene.seen.exporter = Exporter::new([8; 32]));
    assert_eq!(relayed, Reason::Batch);
    // The man in the middle was himself among the askers, with the victim's nonce on his own connection.
    let among = shared_reason(|scene| scene.seen.exporter = Exporter::new([113; 32]));
    assert_eq!(among, Reason::Batch);
}

#[test]
fn a_shared_document_answers_no_other_challenge() {
    let other = shared_reason(|scene| scene.seen.nonce = Some(Nonce::new([10; 32])));
    assert_eq!(other, Reason::Batch);
    // Even one that is the root itself.
    let root = shared_reason(|scene| {
        let root: [u8; 32] = scene.claims.nonce.clone().unwrap().try_into().unwrap();
        scene.seen.nonce = Some(Nonce::new(root));
    });
    assert_eq!(root, Reason::Batch);
    let none = shared_reason(|scene| scene.claims.nonce = None);
    assert_eq!(none, Reason::Batch);
    // Without a challenge of one's own, nothing can be recomputed, whatever the policy allows.
    let mut scene = shared();
    scene.seen.nonce = None;
    let relaxed = scene.policy("require_nonce = false\nrequire_channel_binding = false");
    let refused = judge(&scene, &relaxed, now()).unwrap_err();
    assert_eq!(refused.reason(), &Reason::NonceRequired);
}

#[test]
fn a_foreign_place_or_neighbour_is_refused() {
    let proof = shared().batch.unwrap();
    let (place, path) = (proof.place(), proof.path().to_vec());
    let mut reversed = path.clone();
    reversed.reverse();
    let mut changed = path.clone();
    changed[1][0] ^= 1;
    let wrong = [
        (place ^ 1, path.clone()),
        (place, reversed),
        (place, changed),
        (place, [path, vec![[0; 32]]].concat()),
    ];
    for (place, path) in wrong {
        let proof = BatchProof::new(place, path).unwrap();
        assert_eq!(
            shared_reason(|scene| scene.batch = Some(proof)),
            Reason::Batch
        );
    }
}

#[test]
fn a_proof_belongs_to_a_shared_document_and_the_other_way_round() {
    let without = shared_reason(|scene| scene.batch = None);
    assert_eq!(without, Reason::BatchForm);
    let with = reason(|scene| scene.batch = shared().batch);
    assert_eq!(with, Reason::BatchForm);
    // A document that one asker had made for a nonce of its choice, shown as one that many share.
    let chosen =
        shared_reason(|scene| scene.bind(ChannelBinding::TlsExporter(scene.seen.exporter)));
    assert_eq!(chosen, Reason::BatchForm);
    // And with the flag set by hand.
    let flagged = shared_reason(|scene| {
        scene.bind(ChannelBinding::TlsExporter(scene.seen.exporter));
        scene.claims.user_data.as_mut().unwrap()[1] = 3;
    });
    assert_eq!(flagged, Reason::Channel);
}

#[test]
fn a_document_for_another_purpose_is_refused() {
    assert_eq!(
        reason(|scene| scene.claims.user_data = None),
        Reason::NoUserData
    );
    let purpose = reason(|scene| scene.claims.user_data.as_mut().unwrap()[0] = 2);
    assert_eq!(
        purpose,
        Reason::UserData(UserDataError::Purpose { found: 2 })
    );
    let longer = reason(|scene| scene.claims.user_data.as_mut().unwrap().push(0));
    assert!(matches!(
        longer,
        Reason::UserData(UserDataError::Length { .. })
    ));
}

#[test]
fn another_configuration_than_the_measured_one_is_refused() {
    assert_eq!(
        reason(|scene| scene.config.push(' ')),
        Reason::Configuration
    );
    // The digest in the user data is swapped without the binding.
    let digest = reason(|scene| scene.claims.user_data.as_mut().unwrap()[100] ^= 1);
    assert_eq!(digest, Reason::Channel);
    // The enclave claims another configuration than its register holds.
    let mut scene = Scene::new();
    let policy = scene.policy("");
    scene.config = "other".to_owned();
    scene.bind(ChannelBinding::TlsExporter(scene.seen.exporter));
    assert_eq!(
        judge(&scene, &policy, now()).unwrap_err().reason(),
        &Reason::ConfigurationPcr
    );
}

#[test]
fn a_simulation_is_refused_unless_the_policy_names_its_root_and_allows_it() {
    let mut marked = [Scene::new(), Scene::new(), Scene::with(simulated_root())];
    marked[0].tee = TeeKind::SimulatedNitro;
    marked[1].claims.module_id = "SIMULATED-i-0".to_owned();
    for scene in &marked {
        let appraised = judge(scene, &scene.policy(""), now()).unwrap();
        assert!(appraised.is_simulated());
        let refused = judge(scene, &Policy::default(), now()).unwrap_err();
        assert_eq!(refused.step(), Step::Chain);
        assert_eq!(refused.reason(), &Reason::Simulated);
        assert!(refused.is_simulated());
    }
    // Any root that is not compiled in counts as a simulation, whatever it calls itself.
    assert!(judge(&Scene::new(), &Scene::new().policy(""), now()).is_err());
    let scene = Scene::new();
    assert!(
        judge(&scene, &scene.policy(""), now())
            .unwrap()
            .is_simulated()
    );
}

fn simulated_root() -> Pki {
    Pki::spoiled(|drafts| {
        drafts[0]
            .params
            .distinguished_name
            .push(DnType::CommonName, "SIMULATED root");
    })
}

#[test]
fn the_first_failure_is_the_verdict() {
    let refused = refusal(|scene| {
        scene.claims.nonce = None;
        scene.claims.pcrs.insert(0, Pcr::ZERO);
        scene.config.clear();
    });
    assert_eq!(refused.step(), Step::Production);
    assert_eq!(
        refused
            .facts()
            .iter()
            .filter(|fact| fact.outcome == Outcome::Failed)
            .count(),
        4
    );
    assert_eq!(
        refused.to_string(),
        "step 6 (production) does not hold: pcr 0 is zero or missing: the enclave runs in debug mode, its operator \
         can read its memory"
    );
}
