//! Release manifests: who must sign, what is refused, and what a verdict makes of one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod forge;

use std::time::{Duration, SystemTime};

use adyton_attest::appraise::Reason;
use adyton_attest::fact::{Step, moment};
use adyton_attest::measurement::MeasurementError;
use adyton_attest::nitro::{AWS_NITRO_ROOT_G1, Pcr};
use adyton_attest::policy::PolicyError;
use adyton_attest::release::{
    Draft, MAX_MEMORY_BYTES, MAX_RELEASE_BYTES, MAX_SIGNATURES, ManifestError, Memory, MemoryError,
    Release, ReleaseError, ReleaseKeys, ReleaseKeysError, ReleaseSigner, UnverifiedRelease,
};
use adyton_attest::{Appraised, Policy, Refusal, appraise};
use forge::{HOUR, Scene, now};

/// Three holders of keys.
fn holders() -> [ReleaseSigner; 3] {
    std::array::from_fn(|_| ReleaseSigner::generate().unwrap())
}

/// A manifest that lists the scene's image.
fn draft(scene: &Scene) -> Draft {
    let image = scene.claims.pcrs.range(0..3);
    Draft {
        seq: 14,
        name: "adyton".to_owned(),
        release: "1.4.2".to_owned(),
        commit: "c0ffee".repeat(7)[..40].to_owned(),
        not_after: None,
        measurements_sha256: None,
        nitro: vec![(
            "x86_64".to_owned(),
            image.map(|(at, pcr)| (*at, *pcr)).collect(),
        )],
    }
}

fn unsigned(draft: &Draft) -> UnverifiedRelease {
    UnverifiedRelease::parse(draft.to_text().as_bytes()).unwrap()
}

fn signed(draft: &Draft, by: &[&ReleaseSigner]) -> UnverifiedRelease {
    by.iter()
        .fold(unsigned(draft), |release, signer| release.signed_by(signer))
}

fn texts(holders: &[ReleaseSigner]) -> Vec<String> {
    holders
        .iter()
        .map(|holder| holder.key().to_string())
        .collect()
}

fn keys(threshold: usize, holders: &[ReleaseSigner]) -> ReleaseKeys {
    ReleaseKeys::read(threshold, &texts(holders)).unwrap()
}

/// A policy that lists nothing but keys, under the scene's root.
fn policy(scene: &Scene, holders: &[ReleaseSigner], lines: &str) -> Policy {
    Policy::from_toml(&format!(
        "version = 1\nallow_simulated = true\n[release_keys]\nthreshold = 2\nkeys = {:?}\nroot_sha256 = \"{}\"\n{lines}",
        texts(holders),
        scene.pki.root()
    ))
    .unwrap()
}

fn judge(scene: &Scene, policy: &Policy, at: SystemTime) -> Result<Appraised, Refusal> {
    appraise(&scene.evidence(), policy, &scene.seen, at)
}

#[test]
fn an_image_that_enough_keys_released_is_trusted_and_the_report_says_on_whose_word() {
    let (scene, holders) = (Scene::new(), holders());
    let release = signed(&draft(&scene), &[&holders[2], &holders[0]]);
    let policy = policy(&scene, &holders, "min_seq = 14")
        .with_release(release)
        .unwrap();
    let appraised = judge(&scene, &policy, now()).unwrap();
    assert_eq!(appraised.measurement(), "x86_64");
    let release = appraised.release().unwrap();
    assert_eq!(release.manifest().seq(), 14);
    assert_eq!(release.signed_by(), [holders[2].key(), holders[0].key()]);
    let line = &appraised.facts()[6];
    assert_eq!(line.step, Step::Measurements);
    assert_eq!(
        line.says,
        "\"x86_64\": pcr 0, 1, 2 as the manifest of adyton 1.4.2 lists them (number 14, commit \
         c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ff, signed by 2 of the policy's release keys)"
    );
}

#[test]
fn without_its_manifest_such_a_policy_lists_nothing() {
    let (scene, holders) = (Scene::new(), holders());
    let policy = policy(&scene, &holders, "");
    assert!(policy.release().is_none());
    let refused = judge(&scene, &policy, now()).unwrap_err();
    assert_eq!(refused.reason(), &Reason::NothingListed);
}

#[test]
fn another_image_than_the_released_one_is_refused() {
    let (mut scene, holders) = (Scene::new(), holders());
    let release = signed(&draft(&scene), &[&holders[0], &holders[1]]);
    let policy = policy(&scene, &holders, "").with_release(release).unwrap();
    for index in 0..3 {
        let true_one = scene.claims.pcrs.insert(index, Pcr::of(b"another"));
        let refused = judge(&scene, &policy, now()).unwrap_err();
        assert_eq!(refused.reason(), &Reason::Measurements);
        scene.claims.pcrs.insert(index, true_one.unwrap());
    }
    // An enclave in debug mode runs the same image.
    for index in 0..3 {
        scene.claims.pcrs.insert(index, Pcr::ZERO);
    }
    let refused = judge(&scene, &policy, now()).unwrap_err();
    assert_eq!(refused.reason(), &Reason::Debug { index: 0 });
}

#[test]
fn a_manifest_counts_only_under_the_root_that_the_policy_gives_it() {
    let (scene, holders) = (Scene::new(), holders());
    let release = || signed(&draft(&scene), &[&holders[0], &holders[1]]);
    let image = format!(
        "[[nitro]]\nname = \"n\"\nroot_sha256 = \"{}\"\npcrs = {{ 0 = \"{1}\", 1 = \"{1}\", 2 = \"{1}\" }}",
        scene.pki.root(),
        "ab".repeat(48)
    );
    // The scene's root may sign, but the keys' manifests speak of AWS's.
    let policy = Policy::from_toml(&format!(
        "version = 1\nallow_simulated = true\n[release_keys]\nthreshold = 2\nkeys = {:?}\n{image}",
        texts(&holders)
    ));
    let policy = policy.unwrap().with_release(release()).unwrap();
    assert_eq!(policy.released_nitro()[0].root(), AWS_NITRO_ROOT_G1);
    let refused = judge(&scene, &policy, now()).unwrap_err();
    assert_eq!(refused.reason(), &Reason::Measurements);
}

#[test]
fn a_root_that_is_no_vendors_needs_allow_simulated_here_as_well() {
    let (scene, holders) = (Scene::new(), holders());
    let text = format!(
        "version = 1\n[release_keys]\nthreshold = 1\nkeys = {:?}\nroot_sha256 = \"{}\"",
        texts(&holders),
        scene.pki.root()
    );
    let name = "release_keys".to_owned();
    assert_eq!(
        Policy::from_toml(&text),
        Err(PolicyError::SimulatedRoot { name })
    );
}

#[test]
fn fewer_keys_than_the_policy_asks_for_do_not_release() {
    let (scene, strangers, holders) = (Scene::new(), holders(), holders());
    let two_of_three = keys(2, &holders);
    let verify = |by: &[&ReleaseSigner]| signed(&draft(&scene), by).verify(&two_of_three);
    let too_few = |found| Err(ReleaseError::TooFew { found, needed: 2 });
    assert_eq!(verify(&[]), too_few(0));
    assert_eq!(verify(&[&holders[0]]), too_few(1));
    // Whoever is not asked does not count, and does no harm.
    assert_eq!(
        verify(&[&holders[0], &strangers[0], &strangers[1]]),
        too_few(1)
    );
    let release = verify(&[&strangers[0], &holders[0], &holders[1]]).unwrap();
    assert_eq!(release.signed_by().len(), 2);
    assert_eq!(
        verify(&[&holders[0], &holders[1], &holders[2]])
            .unwrap()
            .signed_by()
            .len(),
        3
    );
}

#[test]
fn a_key_counts_once_however_often_it_signs() {
    let (scene, holders) = (Scene::new(), holders());
    let text = signed(&draft(&scene), &[&holders[0]]).to_text();
    let line = text.lines().last().unwrap();
    let again = UnverifiedRelease::parse(format!("{text}{line}\n{line}\n").as_bytes()).unwrap();
    assert_eq!(again.unverified_signers().count(), 3);
    let refused = again.verify(&keys(2, &holders));
    assert_eq!(
        refused,
        Err(ReleaseError::TooFew {
            found: 1,
            needed: 2
        })
    );
}

#[test]
fn a_signature_that_does_not_hold_spoils_the_file() {
    let (scene, holders) = (Scene::new(), holders());
    let sound = signed(&draft(&scene), &[&holders[0], &holders[1]]).to_text();
    let (_, foreign) = {
        let mut other = draft(&scene);
        other.seq += 1;
        let text = signed(&other, &[&holders[2]]).to_text();
        let line = text.lines().last().unwrap().to_owned();
        (other, line)
    };
    // Two signatures would be enough; the third is over another manifest.
    let spoiled = UnverifiedRelease::parse(format!("{sound}{foreign}\n").as_bytes()).unwrap();
    let refused = spoiled.verify(&keys(2, &holders));
    assert_eq!(
        refused,
        Err(ReleaseError::Forged {
            key: holders[2].key()
        })
    );
}

#[test]
fn no_byte_of_a_signed_manifest_can_be_changed() {
    let (scene, holders) = (Scene::new(), holders());
    let keys = keys(2, &holders);
    let sound = signed(&draft(&scene), &[&holders[0], &holders[1]]).to_text();
    assert!(
        UnverifiedRelease::parse(sound.as_bytes())
            .unwrap()
            .verify(&keys)
            .is_ok()
    );
    let mut bytes = sound.into_bytes();
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        let read = UnverifiedRelease::parse(&bytes).and_then(|release| release.verify(&keys));
        assert!(read.is_err(), "bit {bit} does not matter");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn what_is_signed_is_exactly_what_is_read() {
    let (scene, holders) = (Scene::new(), holders());
    let release = signed(&draft(&scene), &[&holders[0]]);
    let body = draft(&scene).to_text();
    let message = [b"adyton-release-v1\0", body.as_bytes()].concat();
    assert_eq!(release.message(), message);
    assert_eq!(
        UnverifiedRelease::parse(release.to_text().as_bytes()).unwrap(),
        release
    );
    // Text after the first mark is never read as the manifest, not even a second mark.
    let twice = format!("{}-----signatures-----\n", release.to_text());
    let refused = UnverifiedRelease::parse(twice.as_bytes());
    assert_eq!(refused, Err(ReleaseError::Signatures));
}

#[test]
fn lines_that_are_no_signatures_are_refused() {
    let (scene, holders) = (Scene::new(), holders());
    let sound = signed(&draft(&scene), &[&holders[0]]).to_text();
    let (body, line) = sound.split_once("-----signatures-----\n").unwrap();
    let parse = |lines: &str| {
        UnverifiedRelease::parse(format!("{body}-----signatures-----\n{lines}").as_bytes())
            .map(|_| ())
    };
    assert_eq!(parse(line), Ok(()));
    assert_eq!(parse(""), Ok(()));
    for wrong in [
        line.trim_end(),
        &line.replace('\n', "\r\n"),
        &format!("{line}\n"),
        &format!("\n{line}"),
        &line.replace(' ', "  "),
        &line.replace("ed25519:", "ed448:"),
        &line.replace("==", "="),
        &format!("# a remark\n{line}"),
    ] {
        assert_eq!(parse(wrong), Err(ReleaseError::Signatures), "{wrong}");
    }
    assert_eq!(parse(&line.repeat(MAX_SIGNATURES)), Ok(()));
    assert_eq!(
        parse(&line.repeat(MAX_SIGNATURES + 1)),
        Err(ReleaseError::Signatures)
    );
}

#[test]
fn one_byte_over_the_limit_is_refused() {
    let body = draft(&Scene::new()).to_text();
    let padded = |length: usize| format!("#{}\n{body}", "x".repeat(length - body.len() - 2));
    assert!(UnverifiedRelease::parse(padded(MAX_RELEASE_BYTES).as_bytes()).is_ok());
    let refused = UnverifiedRelease::parse(padded(MAX_RELEASE_BYTES + 1).as_bytes());
    assert_eq!(refused, Err(ManifestError::TooLong.into()));
    let refused = UnverifiedRelease::parse(&[0xff]);
    assert_eq!(refused, Err(ManifestError::NotText.into()));
}

#[test]
fn signatures_of_the_same_manifest_are_put_together_and_of_another_are_not() {
    let (scene, holders) = (Scene::new(), holders());
    let [one, two] = [&holders[0], &holders[1]].map(|holder| signed(&draft(&scene), &[holder]));
    let both = one.clone().joined_with(&two).unwrap();
    let both = both.joined_with(&one).unwrap();
    assert_eq!(both.unverified_signers().count(), 2);
    assert!(both.verify(&keys(2, &holders)).is_ok());
    let mut other = draft(&scene);
    other.seq += 1;
    let refused = one.joined_with(&signed(&other, &[&holders[1]]));
    assert_eq!(refused, Err(ReleaseError::OtherManifest));
}

#[test]
fn a_manifest_below_the_policys_number_is_refused() {
    let (scene, holders) = (Scene::new(), holders());
    let release = || signed(&draft(&scene), &[&holders[0], &holders[1]]);
    let with = |lines: &str| policy(&scene, &holders, lines).with_release(release());
    assert!(with("").is_ok());
    assert!(with("min_seq = 14").is_ok());
    assert_eq!(
        with("min_seq = 15"),
        Err(ReleaseError::TooOld {
            found: 14,
            least: 15
        })
    );
}

#[test]
fn a_policy_without_keys_takes_no_manifest() {
    let (scene, holders) = (Scene::new(), holders());
    let release = signed(&draft(&scene), &[&holders[0], &holders[1]]);
    assert_eq!(
        scene.policy("").with_release(release),
        Err(ReleaseError::NoKeys)
    );
}

#[test]
fn only_the_last_manifest_counts() {
    let (scene, holders) = (Scene::new(), holders());
    let mut later = draft(&scene);
    later.seq = 15;
    later.nitro[0].1.insert(0, Pcr::of(b"a later image"));
    let by = [&holders[0], &holders[1]];
    let policy = policy(&scene, &holders, "").with_release(signed(&draft(&scene), &by));
    assert!(judge(&scene, policy.as_ref().unwrap(), now()).is_ok());
    let policy = policy.unwrap().with_release(signed(&later, &by)).unwrap();
    let refused = judge(&scene, &policy, now()).unwrap_err();
    assert_eq!(refused.reason(), &Reason::Measurements);
}

#[test]
fn a_manifest_counts_until_it_expires_and_a_verdict_no_longer() {
    let (scene, holders) = (Scene::new(), holders());
    let mut draft = draft(&scene);
    let expiry = now() + HOUR / 60;
    draft.not_after = Some(moment(expiry));
    let release = signed(&draft, &[&holders[0], &holders[1]]);
    let policy = policy(&scene, &holders, "").with_release(release).unwrap();
    assert_eq!(judge(&scene, &policy, now()).unwrap().good_until(), expiry);
    assert!(judge(&scene, &policy, expiry).is_ok());
    let refused = judge(&scene, &policy, expiry + Duration::from_secs(1)).unwrap_err();
    assert_eq!(refused.reason(), &Reason::ReleaseExpired { since: expiry });
}

#[test]
fn the_policy_adds_the_registers_that_no_manifest_knows() {
    let (mut scene, holders) = (Scene::new(), holders());
    let config = scene.claims.pcrs[&17];
    let policy_with =
        |scene: &Scene, lines: &str| policy(scene, &holders, &format!("pcrs = {{ {lines} }}"));
    let release = || signed(&draft(&Scene::new()), &[&holders[0], &holders[1]]);
    let listed = policy_with(&scene, &format!("17 = \"{config}\""));
    let listed = listed.with_release(release()).unwrap();
    assert!(judge(&scene, &listed, now()).unwrap().is_config_listed());
    let any = policy_with(&scene, "").with_release(release()).unwrap();
    assert!(!judge(&scene, &any, now()).unwrap().is_config_listed());
    let other = policy_with(&scene, &format!("17 = \"{}\"", Pcr::of(b"other")));
    let refused = judge(&scene, &other.with_release(release()).unwrap(), now());
    assert_eq!(refused.unwrap_err().reason(), &Reason::Measurements);
    scene.claims.pcrs.remove(&17);
    let refused = judge(&scene, &listed, now()).unwrap_err();
    assert_eq!(refused.reason(), &Reason::Measurements);
    // What both of them list must be the same.
    let same = policy_with(&scene, &format!("0 = \"{}\"", scene.claims.pcrs[&0]));
    assert!(same.with_release(release()).is_ok());
    let other = policy_with(&scene, &format!("0 = \"{}\"", Pcr::ZERO));
    let refused = other.with_release(release());
    assert_eq!(refused, Err(ReleaseError::Contradiction));
}

#[test]
fn registers_of_the_release_keys_are_registers() {
    let holders = holders();
    for pcrs in ["32 = \"00\"", "17 = \"00\""] {
        let text = format!(
            "version = 1\n[release_keys]\nthreshold = 1\nkeys = {:?}\npcrs = {{ {pcrs} }}",
            texts(&holders)
        );
        let name = "release_keys".to_owned();
        let refused = Err(MeasurementError::Pcr { name }.into());
        assert_eq!(Policy::from_toml(&text), refused);
    }
}

#[test]
fn what_the_policy_lists_itself_needs_no_manifest() {
    let (scene, holders) = (Scene::new(), holders());
    let mut expired = draft(&scene);
    expired.not_after = Some(moment(now() - HOUR));
    let by_value: String = format!(
        "[[nitro]]\nname = \"by value\"\nroot_sha256 = \"{}\"\npcrs = {{ 0 = \"{}\", 1 = \"{}\", 2 = \"{}\" }}",
        scene.pki.root(),
        scene.claims.pcrs[&0],
        scene.claims.pcrs[&1],
        scene.claims.pcrs[&2]
    );
    let policy = policy(&scene, &holders, &by_value);
    let policy = policy.with_release(signed(&expired, &[&holders[0], &holders[1]]));
    let appraised = judge(&scene, &policy.unwrap(), now()).unwrap();
    assert_eq!(appraised.measurement(), "by value");
    assert!(appraised.release().is_none());
}

#[test]
fn release_keys_that_cannot_protect_are_refused() {
    let holders = holders();
    let read = |keys: &[String], threshold: usize| {
        Policy::from_toml(&format!(
            "version = 1\n[release_keys]\nthreshold = {threshold}\nkeys = {keys:?}"
        ))
    };
    let one = holders[0].key().to_string();
    assert_eq!(
        read(&[one.clone(), one.clone()], 2),
        Err(ReleaseKeysError::Twice {
            key: holders[0].key()
        }
        .into())
    );
    assert_eq!(
        read(&[one], 0),
        Err(ReleaseKeysError::Threshold {
            threshold: 0,
            keys: 1
        }
        .into())
    );
    let misspelt = "version = 1\n[release_keys]\nthreshold = 1\nkeys = []\nmin_sequence = 3";
    assert!(matches!(
        Policy::from_toml(misspelt),
        Err(PolicyError::Toml(_))
    ));
}

#[test]
fn debug_mode_cannot_be_released_whoever_signs() {
    let mut draft = draft(&Scene::new());
    draft.nitro[0].1.insert(2, Pcr::ZERO);
    let name = "x86_64".to_owned();
    assert_eq!(
        UnverifiedRelease::parse(draft.to_text().as_bytes()),
        Err(ManifestError::from(MeasurementError::Debug { name, index: 2 }).into())
    );
}

fn release(seq: u64, name: &str, holders: &[ReleaseSigner]) -> Release {
    let mut draft = draft(&Scene::new());
    draft.seq = seq;
    draft.name = name.to_owned();
    signed(&draft, &[&holders[0]])
        .verify(&keys(1, holders))
        .unwrap()
}

#[test]
fn an_older_release_than_one_that_was_seen_is_refused() {
    let holders = holders();
    let mut memory = Memory::default();
    for seq in [3, 3, 14] {
        memory.admit(&release(seq, "adyton", &holders)).unwrap();
    }
    let kept = memory.clone();
    let older = memory.admit(&release(13, "adyton", &holders));
    assert_eq!(
        older,
        Err(MemoryError::Older {
            found: 13,
            known: 14
        })
    );
    let twin = memory.admit(&release(14, "another", &holders));
    assert_eq!(twin, Err(MemoryError::Twin { seq: 14 }));
    assert_eq!(memory, kept);
    // Other keys have numbers of their own; the same keys have not, whatever the threshold.
    memory.admit(&release(1, "adyton", &holders[..2])).unwrap();
    let mut older = draft(&Scene::new());
    older.seq = 2;
    let older = signed(&older, &[&holders[0], &holders[1]]);
    let older = memory.admit(&older.verify(&keys(2, &holders)).unwrap());
    assert_eq!(
        older,
        Err(MemoryError::Older {
            found: 2,
            known: 14
        })
    );
}

#[test]
fn a_memory_has_room_for_so_many_sets_of_keys_and_forgets_none() {
    let holders = holders();
    let line = |set: u16| serde_json::json!({"keys": format!("{set:064x}"), "seq": 1, "sha256": "00".repeat(32)});
    let full_but = |free: u16| {
        let lines: Vec<_> = (0..256 - free).map(line).collect();
        let text = serde_json::json!({"version": 1, "releases": lines}).to_string();
        Memory::from_json(text.as_bytes()).unwrap()
    };
    let mut memory = full_but(1);
    memory.admit(&release(1, "adyton", &holders)).unwrap();
    memory.admit(&release(2, "adyton", &holders)).unwrap();
    let one_more = memory.admit(&release(1, "adyton", &holders[..2]));
    assert_eq!(one_more, Err(MemoryError::Full));
}

#[test]
fn a_memory_is_read_back_as_written_and_nothing_else_is() {
    let holders = holders();
    let mut memory = Memory::default();
    assert_eq!(Memory::from_json(&memory.to_json()), Ok(memory.clone()));
    memory.admit(&release(14, "adyton", &holders)).unwrap();
    memory.admit(&release(3, "adyton", &holders[..2])).unwrap();
    let text = memory.to_json();
    assert_eq!(Memory::from_json(&text), Ok(memory));
    let text = String::from_utf8(text).unwrap();
    // Two lines about the same keys: which of them counts?
    let line = text.split_once('[').unwrap().1.split_once(']').unwrap().0;
    let doubled = text.replace(line, &format!("{},{line}", line.trim_end()));
    let mut padded = text.clone().into_bytes();
    padded.resize(MAX_MEMORY_BYTES + 1, b' ');
    for wrong in [
        b"".to_vec(),
        b"{}".to_vec(),
        text.replace("\"version\": 1", "\"version\": 2")
            .into_bytes(),
        text.replace("\"seq\"", "\"number\"").into_bytes(),
        text.replace("\"keys\": \"", "\"keys\": \"00").into_bytes(),
        doubled.into_bytes(),
        padded,
    ] {
        assert_eq!(Memory::from_json(&wrong), Err(MemoryError::Unreadable));
    }
}
