//! The verdict about a guest on dstack: what is refused when any part is another's, old, debugged, or unexplained.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod forge;
mod forge_tdx;

use std::time::SystemTime;

use adyton_attest::appraise::{DstackReason, Reason};
use adyton_attest::batch::{Batch, Challenge};
use adyton_attest::fact::{Outcome, Step};
use adyton_attest::tdx::event_log::{Event, EventLog, EventLogError};
use adyton_attest::tdx::quote::QuoteError;
use adyton_attest::tdx::{Collateral, Document, report_data};
use adyton_attest::{
    Appraised, ChannelBinding, Evidence, Exporter, Nonce, Policy, Refusal, Seen, TeeKind, appraise,
};
use forge::Scene;
use forge_tdx::{DAY, Guest, Vendor, now};

/// A genuine situation on dstack, each part of which a test can spoil.
struct Stage {
    vendor: Vendor,
    guest: Guest,
    /// Key, binding, nonce and configuration are those of a Nitro scene.
    nitro: Scene,
    events: Vec<(&'static str, Vec<u8>)>,
}

const KEY_PROVIDER: &str = r#"{"name":"kms","id":"aa"}"#;

impl Stage {
    fn new() -> Self {
        Self {
            vendor: Vendor::new(),
            guest: Guest::new(),
            nitro: Scene::new(),
            events: vec![
                ("system-preparing", vec![]),
                ("app-id", vec![1; 20]),
                ("compose-hash", vec![2; 32]),
                ("key-provider", KEY_PROVIDER.into()),
                ("system-ready", vec![]),
            ],
        }
    }

    fn event_log(&self) -> EventLog {
        let event = |(name, payload): &(&str, Vec<u8>)| Event::new(name, payload.clone()).unwrap();
        EventLog::new(self.events.iter().map(event).collect()).unwrap()
    }

    /// What the guest's agent and the node make of it.
    fn document(&self) -> Document {
        let user_data = self.nitro.claims.user_data.clone().unwrap();
        let nonce: Option<[u8; 32]> = self
            .nitro
            .claims
            .nonce
            .clone()
            .map(|nonce| nonce.try_into().unwrap());
        let mut guest = self.guest.clone();
        guest.report_data = report_data(&user_data, nonce.as_ref());
        if guest.rtmr[3] == [0; 48] {
            guest.rtmr[3] = *self.event_log().replay().as_bytes();
        }
        Document {
            quote: self.vendor.quote(&guest),
            event_log: self.event_log(),
            collateral: Some(self.vendor.collateral()),
            public_key: self.nitro.claims.public_key.clone().unwrap(),
            user_data,
            nonce,
        }
    }

    fn evidence(&self, document: &Document) -> Evidence {
        Evidence {
            tee: TeeKind::DstackTdx,
            document: document.to_cbor(),
            ..self.nitro.evidence()
        }
    }

    /// An entry that trusts this stage as it was at first; with another line for one of its fields.
    fn entry(&self, line: &str) -> String {
        let register = |digit: &str| digit.repeat(48);
        let mut text = "[[dstack]]\n".to_owned();
        for ours in [
            "name = \"test app\"".to_owned(),
            format!("root_sha256 = \"{}\"", self.vendor.root()),
            format!("mrtd = \"{}\"", register("a0")),
            format!("rtmr0 = [\"{}\"]", register("b0")),
            format!("rtmr1 = \"{}\"", register("b1")),
            format!("rtmr2 = \"{}\"", register("b2")),
            format!("compose_hash = \"{}\"", "02".repeat(32)),
            format!("app_id = \"{}\"", "01".repeat(20)),
            format!("key_provider = '{KEY_PROVIDER}'"),
            "tcb_status = [\"UpToDate\"]".to_owned(),
        ] {
            let field = ours.split(' ').next().unwrap();
            let replaced = line.split(' ').next() == Some(field);
            text.push_str(if replaced { line } else { &ours });
            text.push('\n');
        }
        text
    }

    fn policy(&self, line: &str) -> Policy {
        let entry = self.entry(line);
        Policy::from_toml(&format!("version = 1\nallow_simulated = true\n{entry}")).unwrap()
    }

    fn appraise(&self) -> Result<Appraised, Refusal> {
        self.appraise_at(&self.document(), now())
    }

    fn appraise_at(&self, document: &Document, at: SystemTime) -> Result<Appraised, Refusal> {
        appraise(
            &self.evidence(document),
            &self.policy(""),
            &self.nitro.seen,
            at,
        )
    }
}

#[track_caller]
fn refused(verdict: Result<Appraised, Refusal>) -> (Step, Reason) {
    let refusal = verdict.unwrap_err();
    (refusal.step(), refusal.reason().clone())
}

#[track_caller]
fn dstack(verdict: Result<Appraised, Refusal>) -> (Step, DstackReason) {
    match refused(verdict) {
        (step, Reason::Dstack(reason)) => (step, *reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_genuine_guest_is_appraised_and_every_step_has_a_line() {
    let stage = Stage::new();
    let appraised = stage.appraise().unwrap();
    assert_eq!(appraised.measurement(), "test app");
    assert!(
        appraised.is_simulated(),
        "a root that is not intel's counts as a simulation"
    );
    assert!(appraised.is_channel_bound());
    assert_eq!(appraised.config(), forge::CONFIG);
    assert_eq!(
        appraised.module_id(),
        format!("dstack app {}", "01".repeat(20))
    );
    let steps: Vec<_> = appraised
        .facts()
        .iter()
        .map(|fact| (fact.step, fact.outcome))
        .collect();
    assert_eq!(steps, Step::ALL.map(|step| (step, Outcome::Held)));
}

#[test]
fn one_policy_trusts_an_enclave_and_a_guest_and_each_as_what_it_is() {
    let stage = Stage::new();
    let enclave = &stage.nitro;
    let pcr = |index| enclave.claims.pcrs[&index];
    let policy = format!(
        "version = 1\nallow_simulated = true\n{}\n[[nitro]]\nname = \"test image\"\nroot_sha256 = \"{}\"\n\
         pcrs = {{ 0 = \"{}\", 1 = \"{}\", 2 = \"{}\" }}\n",
        stage.entry(""),
        enclave.pki.root(),
        pcr(0),
        pcr(1),
        pcr(2)
    );
    let policy = Policy::from_toml(&policy).unwrap();
    let guest = stage.evidence(&stage.document());
    let verdict = |evidence| appraise(evidence, &policy, &enclave.seen, now()).unwrap();
    assert_eq!(verdict(&guest).measurement(), "test app");
    assert_eq!(verdict(&enclave.evidence()).measurement(), "test image");
}

#[test]
fn a_simulated_vendor_needs_the_word_in_the_policy() {
    let stage = Stage::new();
    let policy = Policy::from_toml("version = 1").unwrap();
    let evidence = stage.evidence(&stage.document());
    let verdict = dstack(appraise(&evidence, &policy, &stage.nitro.seen, now()));
    let root = QuoteError::Root {
        found: stage.vendor.root(),
    };
    assert_eq!(verdict, (Step::Chain, DstackReason::Quote(root)));
}

#[test]
fn a_quote_without_or_with_anothers_collateral_is_refused() {
    let stage = Stage::new();
    let mut document = stage.document();
    document.collateral = None;
    let verdict = dstack(stage.appraise_at(&document, now()));
    assert_eq!(verdict, (Step::Chain, DstackReason::NoCollateral));

    // Each part in turn is that of another authority with the same names.
    let other = Vendor::new().collateral();
    let spoil: [fn(&mut Collateral, &Collateral); 9] = [
        |ours, other| ours.root_ca_crl.clone_from(&other.root_ca_crl),
        |ours, other| ours.pck_crl.clone_from(&other.pck_crl),
        |ours, other| {
            ours.tcb_info_issuer_chain
                .clone_from(&other.tcb_info_issuer_chain)
        },
        |ours, _| ours.tcb_info = ours.tcb_info.replace("UpToDate", "UpToDate "),
        |ours, other| {
            ours.tcb_info_signature
                .clone_from(&other.tcb_info_signature)
        },
        |ours, other| {
            ours.qe_identity_issuer_chain
                .clone_from(&other.qe_identity_issuer_chain)
        },
        |ours, _| ours.qe_identity = ours.qe_identity.replace("17", "18"),
        |ours, other| {
            ours.qe_identity_signature
                .clone_from(&other.qe_identity_signature)
        },
        |ours, _| ours.tcb_info_issuer_chain.clear(),
    ];
    for (at, spoil) in spoil.iter().enumerate() {
        let mut document = stage.document();
        spoil(document.collateral.as_mut().unwrap(), &other);
        let (step, reason) = dstack(stage.appraise_at(&document, now()));
        assert_eq!(step, Step::Chain, "{at}: {reason}");
        assert!(matches!(reason, DstackReason::Quote(_)), "{at}: {reason}");
    }
}

#[test]
fn another_vendors_quote_is_refused() {
    let stage = Stage::new();
    let mut document = stage.document();
    document.quote = Stage::new().document().quote;
    let (step, reason) = dstack(stage.appraise_at(&document, now()));
    assert_eq!(step, Step::Chain);
    assert!(matches!(reason, DstackReason::Quote(QuoteError::Chain(_))));
}

#[test]
fn a_revoked_platform_is_refused() {
    for spoil in [
        |vendor: &mut Vendor| vendor.revoked = true,
        |vendor: &mut Vendor| vendor.tcb_status = "Revoked",
    ] {
        let mut stage = Stage::new();
        spoil(&mut stage.vendor);
        let (step, reason) = dstack(stage.appraise());
        assert_eq!(step, Step::Chain);
        assert!(
            matches!(reason, DstackReason::Quote(QuoteError::Chain(_))),
            "{reason}"
        );
    }
}

#[test]
fn intels_word_is_not_used_before_or_after_its_time() {
    let stage = Stage::new();
    let document = stage.document();
    assert!(stage.appraise_at(&document, now() + DAY * 28).is_ok());
    for at in [now() - DAY * 2, now() + DAY * 30] {
        let (step, reason) = dstack(stage.appraise_at(&document, at));
        assert_eq!(step, Step::Chain);
        assert!(
            matches!(reason, DstackReason::Quote(QuoteError::Chain(_))),
            "{reason}"
        );
    }
    let appraised = stage
        .appraise_at(&document, stage.vendor.issued + DAY * 30 - DAY / 48)
        .unwrap();
    assert_eq!(appraised.good_until(), stage.vendor.issued + DAY * 30);
}

#[test]
fn a_debugged_or_profiled_guest_is_refused() {
    for bit in 0..8 {
        let mut stage = Stage::new();
        stage.guest.attributes[0] |= 1 << bit;
        let (step, reason) = dstack(stage.appraise());
        // Bits that have no meaning yet end the walk along the chain.
        match bit {
            0 | 4 | 5 | 6 => assert_eq!((step, reason), (Step::Production, DstackReason::Debug)),
            _ => assert_eq!(step, Step::Chain, "bit {bit}"),
        }
    }
}

#[test]
fn a_guest_that_can_be_migrated_or_interrupted_unseen_is_refused() {
    let migratable = |attributes: &mut [u8; 8]| attributes[3] |= 1 << 5;
    let without_sept_ve_disable = |attributes: &mut [u8; 8]| attributes[3] = 0;
    for spoil in [migratable, without_sept_ve_disable] {
        let mut stage = Stage::new();
        spoil(&mut stage.guest.attributes);
        let (step, reason) = dstack(stage.appraise());
        assert_eq!(step, Step::Chain);
        assert!(
            matches!(reason, DstackReason::Quote(QuoteError::Chain(_))),
            "{reason}"
        );
    }
}

#[test]
fn a_quote_for_other_bytes_than_those_shown_is_refused() {
    let genuine = Stage::new();
    let spoil: [fn(&mut Document); 4] = [
        |document| document.user_data[2] ^= 1,
        |document| *document.user_data.last_mut().unwrap() ^= 1,
        |document| document.nonce = Some([9; 32]),
        |document| document.nonce = None,
    ];
    for spoil in spoil {
        let mut document = genuine.document();
        spoil(&mut document);
        let verdict = dstack(genuine.appraise_at(&document, now()));
        assert_eq!(verdict, (Step::Signature, DstackReason::ReportData));
    }
}

#[test]
fn without_a_challenge_a_quote_is_of_any_age_and_no_policy_lets_it_in() {
    let mut stage = Stage::new();
    stage.nitro.claims.nonce = None;
    stage.nitro.seen.nonce = None;
    stage.nitro.bind(ChannelBinding::None);
    let lax = format!(
        "version = 1\nallow_simulated = true\nrequire_nonce = false\nrequire_channel_binding = false\n{}",
        stage.entry("")
    );
    let policy = Policy::from_toml(&lax).unwrap();
    let evidence = stage.evidence(&stage.document());
    let verdict = dstack(appraise(&evidence, &policy, &stage.nitro.seen, now()));
    assert_eq!(verdict, (Step::Freshness, DstackReason::NoFreshness));
}

#[test]
fn evidence_for_another_challenge_key_connection_or_configuration_is_refused() {
    let stage = Stage::new();
    let evidence = stage.evidence(&stage.document());
    let policy = stage.policy("");
    let seen = |change: fn(&mut Seen)| {
        let mut seen = stage.nitro.seen.clone();
        change(&mut seen);
        refused(appraise(&evidence, &policy, &seen, now()))
    };
    let nonce = seen(|seen| seen.nonce = Some(Nonce::new([8; 32])));
    assert_eq!(nonce, (Step::Nonce, Reason::Nonce));
    let key = seen(|seen| seen.spki = Scene::new().seen.spki);
    assert_eq!(key, (Step::TlsKey, Reason::TlsKey));
    let relayed = seen(|seen| seen.exporter = Exporter::new([8; 32]));
    assert_eq!(relayed, (Step::Channel, Reason::Channel));

    // The key that is shown is the one that is seen, and the quote vouches for another.
    let mut document = stage.document();
    let other = Scene::new().seen.spki;
    document.public_key = other.as_der().to_vec();
    let swapped = Seen {
        spki: other.clone(),
        ..stage.nitro.seen.clone()
    };
    let mut shown = stage.evidence(&document);
    let verdict = refused(appraise(&shown, &policy, &swapped, now()));
    assert_eq!(verdict, (Step::Channel, Reason::Keys));
    shown.keys.tls = other;
    let verdict = refused(appraise(&shown, &policy, &swapped, now()));
    assert_eq!(verdict, (Step::Channel, Reason::Channel));

    let mut other = evidence.clone();
    other.config.push('\n');
    let verdict = refused(appraise(&other, &policy, &stage.nitro.seen, now()));
    assert_eq!(verdict, (Step::Configuration, Reason::Configuration));
}

#[test]
fn one_quote_answers_many_askers_and_each_on_its_own_connection() {
    let mut stage = Stage::new();
    let challenge = |byte| Challenge {
        nonce: Nonce::new([byte; 32]),
        exporter: Exporter::new([byte ^ 0xff; 32]),
    };
    let challenges = [challenge(1), challenge(2), challenge(3)];
    let batch = Batch::over(&challenges).unwrap();
    stage.nitro.bind(ChannelBinding::Batch);
    stage.nitro.claims.nonce = Some(batch.root().as_bytes().to_vec());
    let document = stage.document();
    let policy = stage.policy("");
    for (challenge, proof) in challenges.iter().zip(batch.proofs()) {
        let mut evidence = stage.evidence(&document);
        evidence.batch = Some(proof);
        let seen = |nonce, exporter| Seen {
            nonce: Some(nonce),
            exporter,
            ..stage.nitro.seen.clone()
        };
        let own = seen(challenge.nonce, challenge.exporter);
        assert!(
            appraise(&evidence, &policy, &own, now())
                .unwrap()
                .is_channel_bound()
        );
        let elsewhere = seen(challenge.nonce, Exporter::new([9; 32]));
        let verdict = refused(appraise(&evidence, &policy, &elsewhere, now()));
        assert_eq!(verdict, (Step::Nonce, Reason::Batch));
    }
}

#[test]
fn every_listed_measurement_must_be_the_guests() {
    let stage = Stage::new();
    let evidence = stage.evidence(&stage.document());
    for field in [
        "mrtd",
        "rtmr0",
        "rtmr1",
        "rtmr2",
        "compose_hash",
        "app_id",
        "key_provider",
    ] {
        let value = match field {
            "rtmr0" => format!("[\"{}\"]", "ee".repeat(48)),
            "compose_hash" => format!("\"{}\"", "ee".repeat(32)),
            "app_id" => format!("\"{}\"", "ee".repeat(20)),
            "key_provider" => "\"other\"".to_owned(),
            _ => format!("\"{}\"", "ee".repeat(48)),
        };
        let policy = stage.policy(&format!("{field} = {value}"));
        let (step, reason) = dstack(appraise(&evidence, &policy, &stage.nitro.seen, now()));
        assert_eq!(step, Step::Measurements);
        let DstackReason::Measurements {
            differs, nearest, ..
        } = reason
        else {
            panic!("{field}: {reason}")
        };
        assert_eq!((differs, nearest.as_str()), (field, "test app"));
    }
}

#[test]
fn the_code_counts_apart_from_the_id_that_a_deployer_gave_it() {
    let mut stage = Stage::new();
    // Other code under the same id, honestly measured.
    stage.events[2].1 = vec![9; 32];
    let (step, reason) = dstack(stage.appraise());
    assert_eq!(step, Step::Measurements);
    assert!(matches!(
        reason,
        DstackReason::Measurements {
            differs: "compose_hash",
            ..
        }
    ));
}

#[test]
fn a_platform_that_misses_updates_is_trusted_only_if_the_policy_says_so() {
    let mut stage = Stage::new();
    stage.vendor.tcb_status = "OutOfDate";
    let (step, reason) = dstack(stage.appraise());
    assert_eq!(step, Step::Measurements);
    assert!(matches!(
        reason,
        DstackReason::Measurements {
            differs: "tcb_status",
            ..
        }
    ));
    let policy = stage.policy("tcb_status = [\"UpToDate\", \"OutOfDate\"]");
    let evidence = stage.evidence(&stage.document());
    assert!(appraise(&evidence, &policy, &stage.nitro.seen, now()).is_ok());
}

#[test]
fn a_log_that_does_not_give_the_register_is_refused() {
    let stage = Stage::new();
    let genuine = stage.document();
    let events = genuine.event_log.events();
    let mut logs = Vec::new();
    for at in 0..events.len() {
        let mut less = events.to_vec();
        less.remove(at);
        logs.push(less);
        let mut changed = events.to_vec();
        let mut payload = changed[at].payload().to_vec();
        payload.push(0);
        changed[at] = Event::new(changed[at].name(), payload).unwrap();
        logs.push(changed);
    }
    let mut swapped = events.to_vec();
    swapped.swap(1, 2);
    logs.push(swapped);
    let mut more = events.to_vec();
    more.push(Event::new("more", vec![]).unwrap());
    logs.push(more);
    for log in logs {
        let mut document = genuine.clone();
        document.event_log = EventLog::new(log).unwrap();
        let verdict = dstack(stage.appraise_at(&document, now()));
        assert_eq!(verdict, (Step::Measurements, DstackReason::Replay));
    }
}

#[test]
fn an_application_cannot_measure_itself_another_name() {
    // The guest runs other code, and extends the register with what the policy's author wants to see.
    let mut stage = Stage::new();
    stage.events[2].1 = vec![9; 32];
    stage.events.push(("compose-hash", vec![2; 32]));
    let (step, reason) = dstack(stage.appraise());
    assert_eq!(step, Step::Measurements);
    let late = EventLogError::Late {
        name: "compose-hash",
    };
    assert_eq!(reason, DstackReason::EventLog(late));
}

#[test]
fn an_empty_policy_trusts_no_guest() {
    let stage = Stage::new();
    let nitro = stage.nitro.policy("");
    let evidence = stage.evidence(&stage.document());
    let (step, _) = refused(appraise(&evidence, &nitro, &stage.nitro.seen, now()));
    assert_eq!(step, Step::Chain, "its root is trusted for enclaves only");
}

#[test]
fn a_document_of_the_other_kind_is_none() {
    let stage = Stage::new();
    let policy = stage.policy("");
    let enclave = stage.nitro.evidence();
    let relabelled = Evidence {
        tee: TeeKind::DstackTdx,
        ..enclave
    };
    let (step, _) = dstack(appraise(&relabelled, &policy, &stage.nitro.seen, now()));
    assert_eq!(step, Step::Envelope);
    let guest = stage.evidence(&stage.document());
    let relabelled = Evidence {
        tee: TeeKind::AwsNitro,
        ..guest
    };
    let (step, _) = refused(appraise(&relabelled, &policy, &stage.nitro.seen, now()));
    assert_eq!(step, Step::Envelope);
}

#[test]
fn a_flipped_bit_in_what_is_signed_is_refused() {
    let stage = Stage::new();
    let genuine = stage.document();
    // Header and report of the guest, its signature, and the key that made it.
    let signed = 48 + 584 + 4 + 64 + 64;
    for at in (0..signed).step_by(3) {
        let mut document = genuine.clone();
        document.quote[at] ^= 1 << (at % 8);
        let verdict = stage.appraise_at(&document, now());
        assert!(verdict.is_err(), "byte {at}");
    }
    let mut zero = genuine;
    zero.quote[0] = 0;
    assert_eq!(dstack(stage.appraise_at(&zero, now())).0, Step::Chain);
}
