//! The simulation, judged by the production verifier.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use adyton_attest::attester::{AttesterError, SealedAttester};
use adyton_attest::nitro::UnverifiedDocument;
use adyton_attest::{
    AnswerKey, AttestedKeys, ChannelBinding, Evidence, Exporter, HpkeKey, Nonce, Policy, Seen,
    Spki, TeeKind, appraise,
};
use adyton_sandbox::SimulatedTee;

const CONFIG: &str = "listen = \"127.0.0.1:0\"\n";

/// A simulation with a clock that a test moves.
struct Stage {
    tee: Arc<SimulatedTee>,
    seconds: Arc<AtomicU64>,
    seen: Seen,
}

impl Stage {
    fn new() -> Self {
        let seconds = Arc::new(AtomicU64::new(1_800_000_000));
        let read = Arc::clone(&seconds);
        let clock = move || UNIX_EPOCH + Duration::from_secs(read.load(Ordering::SeqCst));
        let key = rcgen::KeyPair::generate().unwrap();
        let spki = Spki::from_der(&rcgen::PublicKeyData::subject_public_key_info(&key)).unwrap();
        let seen = Seen {
            spki,
            exporter: Exporter::new([1; 32]),
            nonce: Some(Nonce::new([2; 32])),
        };
        Self {
            tee: Arc::new(SimulatedTee::start(Arc::new(clock)).unwrap()),
            seconds,
            seen,
        }
    }

    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.seconds.load(Ordering::SeqCst))
    }

    async fn sealed(&self) -> SealedAttester {
        SealedAttester::seal(self.tee.clone(), CONFIG)
            .await
            .unwrap()
    }

    async fn evidence(&self) -> Evidence {
        let channel = ChannelBinding::TlsExporter(self.seen.exporter);
        let keys = AttestedKeys {
            tls: self.seen.spki.clone(),
            answer: AnswerKey::new([5; 32]),
            hpke: HpkeKey::new([6; 32]),
        };
        self.sealed()
            .await
            .evidence(&keys, channel, self.seen.nonce, self.now())
            .await
            .unwrap()
    }

    fn policy(&self) -> Policy {
        Policy::from_toml(&self.tee.policy()).unwrap()
    }
}

#[tokio::test]
async fn its_own_policy_trusts_it_and_says_simulated() {
    let stage = Stage::new();
    let evidence = stage.evidence().await;
    let appraised = appraise(&evidence, &stage.policy(), &stage.seen, stage.now()).unwrap();
    assert!(appraised.is_simulated() && appraised.is_channel_bound());
    assert!(appraised.measurement().starts_with("SIMULATED"));
    assert!(appraised.module_id().starts_with("SIMULATED"));
    assert_eq!(appraised.config(), CONFIG);
    let chain = &appraised.facts()[2];
    assert!(
        chain
            .says
            .contains("SIMULATED adyton test root - trusts nothing"),
        "{}",
        chain.says
    );
}

#[tokio::test]
async fn the_default_policy_refuses_it_and_says_simulated() {
    let stage = Stage::new();
    let refused = appraise(
        &stage.evidence().await,
        &Policy::default(),
        &stage.seen,
        stage.now(),
    )
    .unwrap_err();
    assert!(refused.is_simulated());
    assert!(refused.to_string().contains("SIMULATED"), "{refused}");
}

#[tokio::test]
async fn the_policy_of_one_start_refuses_another_start() {
    let (one, other) = (Stage::new(), Stage::new());
    let evidence = one.evidence().await;
    assert!(appraise(&evidence, &other.policy(), &one.seen, one.now()).is_err());
}

#[tokio::test]
async fn its_policy_holds_it_to_its_configuration() {
    let stage = Stage::new();
    let unsealed = stage.tee.policy();
    assert!(!unsealed.contains("17 ="));
    drop(stage.sealed().await);
    assert!(stage.tee.policy().contains("17 ="));
    let again = SealedAttester::seal(stage.tee.clone(), "another configuration").await;
    assert!(matches!(again, Err(AttesterError::AlreadySealed)));
    assert!(
        SealedAttester::seal(stage.tee.clone(), CONFIG)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn its_documents_have_the_size_and_the_form_of_genuine_ones() {
    let stage = Stage::new();
    let evidence = stage.evidence().await;
    assert_eq!(evidence.tee, TeeKind::SimulatedNitro);
    assert!(
        (2000..6000).contains(&evidence.document.len()),
        "{}",
        evidence.document.len()
    );
    let document = UnverifiedDocument::parse(&evidence.document).unwrap();
    assert_eq!(document.unverified_root().unwrap().0, stage.tee.root());
}

#[tokio::test]
async fn it_renews_its_certificates_before_they_expire() {
    let stage = Stage::new();
    for hours in [1, 1, 3, 30, 24 * 365] {
        stage.seconds.fetch_add(hours * 3600, Ordering::SeqCst);
        let evidence = stage.evidence().await;
        let appraised = appraise(&evidence, &stage.policy(), &stage.seen, stage.now()).unwrap();
        assert!(appraised.good_until() >= stage.now() + Duration::from_secs(3600));
    }
    // And a clock that was set back does not leave it with certificates from the future.
    stage.seconds.fetch_sub(24 * 3600, Ordering::SeqCst);
    assert!(
        appraise(
            &stage.evidence().await,
            &stage.policy(),
            &stage.seen,
            stage.now()
        )
        .is_ok()
    );
}

#[tokio::test]
async fn a_configuration_over_the_limit_cannot_be_sealed() {
    let stage = Stage::new();
    let long = "#".repeat(64 * 1024 + 1);
    let refused = SealedAttester::seal(stage.tee.clone(), &long).await;
    assert!(matches!(refused, Err(AttesterError::ConfigTooLong)));
    assert!(
        SealedAttester::seal(stage.tee.clone(), &long[1..])
            .await
            .is_ok()
    );
}
