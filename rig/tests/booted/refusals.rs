//! What a client refuses, against an enclave that really runs, and hosts that really lie. Each with its reason.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::attacker::{Identity, Middle, flipping_relay, stolen_key};
use crate::stage;
use crate::stage::{Script, Stage, image, now};
use adyton_attest::appraise::Reason;
use adyton_attest::fact::Step;
use adyton_attest::nitro::pcr::CONFIG_PCR;
use adyton_attest::nitro::{Pcr, RootHash};
use adyton_attest::observe::{Observed, Patience, observe};
use adyton_attest::{ConfigDigest, Nonce, Policy, Refusal, Seen, appraise};
use adyton_client::attested_node::{AttestedNode, NodeCredential, NodeError};
use adyton_client::clock::Clock;
use adyton_enclave::eif::Eif;
use adyton_rig::Machine;
use adyton_rig::tap::{Change, Port, Speaker};
use http::Method;
use serde_json::json;

const NONCE: Nonce = Nonce::new([9; 32]);

async fn look(url: &str) -> Observed {
    let address = url.parse().unwrap();
    observe(&address, Some(NONCE), &Patience::default())
        .await
        .unwrap()
}

fn refused(observed: &Observed, policy: &Policy, seen: &Seen) -> Refusal {
    appraise(&observed.evidence, policy, seen, now()).unwrap_err()
}

/// What a client that was refused says: and that it says so before it has sent anything but its question.
async fn refusal_of(url: &str, policy: &Policy) -> Refusal {
    match AttestedNode::connect(url, policy, &Clock::system()).await {
        Err(NodeError::NotTrusted(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

/// Three claims about one enclave: it boots once for them.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_refuses_false_evidence_a_host_in_the_middle_and_changed_bytes() {
    let stage = Stage::boot().await;
    evidence_of_a_running_enclave_is_refused_for_every_single_thing_that_is_not_as_expected(&stage)
        .await;
    a_host_in_the_middle_is_refused_with_its_own_key_and_with_the_nodes_own(&stage).await;
    a_host_that_changes_bytes_ends_the_connection_and_changes_no_answer(&stage).await;
}

async fn evidence_of_a_running_enclave_is_refused_for_every_single_thing_that_is_not_as_expected(
    stage: &Stage,
) {
    let observed = look(&stage.url()).await;
    let (policy, seen) = (stage.policy(), observed.seen.clone());
    let appraised =
        appraise(&observed.evidence, &policy, &seen, now()).expect("as it is, it is accepted");
    assert!(appraised.is_channel_bound());

    // Registers: each of the builder's, one bit away; and a configuration that is another one.
    let root = stage.pki.root();
    let expected = {
        let mut pcrs = image().pcrs;
        pcrs.insert(CONFIG_PCR, Pcr::of_config(&ConfigDigest::of(stage::CONFIG)));
        pcrs
    };
    for index in expected.keys() {
        let mut pcrs = expected.clone();
        let mut bytes = *pcrs[index].as_bytes();
        bytes[47] ^= 1;
        pcrs.insert(*index, Pcr::new(bytes));
        let refusal = refused(&observed, &stage::policy(&root, &pcrs), &seen);
        assert_eq!(
            (refusal.step(), refusal.reason()),
            (Step::Measurements, &Reason::Measurements),
            "pcr {index}"
        );
    }
    let mut other = expected.clone();
    let loose = stage::CONFIG.replace("idle_seconds = 2", "idle_seconds = 3");
    other.insert(CONFIG_PCR, Pcr::of_config(&ConfigDigest::of(&loose)));
    let refusal = refused(&observed, &stage::policy(&root, &other), &seen);
    assert_eq!(
        refusal.reason(),
        &Reason::Measurements,
        "another configuration"
    );

    // The root: somebody else's, and the hardware vendor's.
    let aws = Policy::default();
    let other = stage::policy(&RootHash::of(b"another root"), &expected);
    for policy in [&aws, &other] {
        assert_eq!(refused(&observed, policy, &seen).step(), Step::Chain);
    }

    // The challenge: another caller's, or none.
    let other = Seen {
        nonce: Some(Nonce::new([8; 32])),
        ..seen.clone()
    };
    assert_eq!(refused(&observed, &policy, &other).reason(), &Reason::Nonce);
    let none = Seen {
        nonce: None,
        ..seen.clone()
    };
    assert_eq!(
        refused(&observed, &policy, &none).reason(),
        &Reason::NonceRequired
    );

    // Time: kept for later.
    let later = now() + policy.max_age() + Duration::from_secs(61);
    let refusal = appraise(&observed.evidence, &policy, &seen, later).unwrap_err();
    assert!(
        matches!(refusal.reason(), Reason::Stale { .. }),
        "{refusal}"
    );
    let earlier = now() - Duration::from_secs(120);
    let refusal = appraise(&observed.evidence, &policy, &seen, earlier).unwrap_err();
    assert!(
        matches!(refusal.reason(), Reason::Future { .. }),
        "{refusal}"
    );

    // Shown on another connection to the very same node, which proves that it holds the same key.
    let again = look(&stage.url()).await;
    assert_eq!(again.seen.spki, seen.spki);
    assert_eq!(
        refused(&observed, &policy, &again.seen).reason(),
        &Reason::Channel
    );

    // Another configuration shown than the one that was measured.
    let mut evidence = observed.evidence.clone();
    evidence.config.push('\n');
    let refusal = appraise(&evidence, &policy, &seen, now()).unwrap_err();
    assert_eq!(refusal.step(), Step::Configuration);

    // A bit of the document, anywhere.
    for at in (0..observed.evidence.document.len()).step_by(97) {
        let mut evidence = observed.evidence.clone();
        evidence.document[at] ^= 1;
        assert!(
            appraise(&evidence, &policy, &seen, now()).is_err(),
            "byte {at}"
        );
    }
}

async fn a_host_in_the_middle_is_refused_with_its_own_key_and_with_the_nodes_own(stage: &Stage) {
    let node: SocketAddr = stage.host.address();
    let policy = stage.policy();

    // It swaps the certificate: the evidence that it passes on vouches for another key.
    let middle = Middle::between(Identity::new(), node).await;
    let refusal = refusal_of(&middle.url(), &policy).await;
    assert_eq!(
        (refusal.step(), refusal.reason()),
        (Step::TlsKey, &Reason::TlsKey)
    );
    let overheard = middle.overheard.load(Ordering::SeqCst);
    assert!(
        (1..1024).contains(&overheard),
        "it heard one question, and nothing after it: {overheard} bytes"
    );

    // It even holds the node's key, and talks to the node on a second connection.
    let seen = look(&stage.url()).await.seen;
    let memory = stage.enclave.memory().unwrap().bytes;
    let stolen = stolen_key::find(&memory, &seen.spki).expect("the key is in the guest's memory");
    drop(memory);
    let middle = Middle::between(Identity::of(&stolen), node).await;
    assert_eq!(
        look(&middle.url()).await.seen.spki,
        seen.spki,
        "nobody can tell its key from the node's"
    );
    let refusal = refusal_of(&middle.url(), &policy).await;
    assert_eq!(
        (refusal.step(), refusal.reason()),
        (Step::Channel, &Reason::Channel)
    );
    let overheard = middle.overheard.load(Ordering::SeqCst);
    assert!(overheard < 2048, "two questions: {overheard} bytes");
}

async fn a_host_that_changes_bytes_ends_the_connection_and_changes_no_answer(stage: &Stage) {
    let policy = stage.policy();
    // In the handshake, in the certificate, in the evidence.
    for at in [40, 300, 700, 1500, 3000] {
        let address = flipping_relay(stage.host.address(), at).await;
        let changed =
            AttestedNode::connect(&format!("https://{address}"), &policy, &Clock::system()).await;
        assert!(
            matches!(changed, Err(NodeError::Observe(_))),
            "byte {at}: {changed:?}"
        );
    }
    // The relay itself is none of its reasons.
    let address = flipping_relay(stage.host.address(), usize::MAX).await;
    AttestedNode::connect(&format!("https://{address}"), &policy, &Clock::system())
        .await
        .unwrap();
}

/// Turns over a bit of every record's ciphertext that passes: the base64 behind the member's name.
fn damage_ciphertext(piece: &mut [u8]) {
    let name = b"\"payload\":\"";
    let places: Vec<usize> = memchr::memmem::find_iter(piece, name).collect();
    for at in places {
        if let Some(letter) = piece.get_mut(at + name.len() + 60) {
            *letter = if *letter == b'A' { b'B' } else { b'A' };
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_changes_ciphertext_on_its_way_in_changes_no_answer() {
    let stage = Stage::boot().await;
    let session = stage.open_context(&stage::new_account()).await;
    let owner = NodeCredential::Session(session.expose_api_key());
    let mut node = stage.node().await.unwrap();
    let path = "/api/rest/v1/db/diary";
    for n in 0..10 {
        let record =
            json!({ "record": { "_id": format!("day-{n}"), "text": format!("the truth, {n}") } });
        let written = node
            .send(Method::POST, path, Some(&owner), Some(&record))
            .await
            .unwrap();
        assert_eq!(written.status, 201);
    }
    // Dropped when idle, and loaded again through a host that lies; and once more through one that does not.
    let query = json!({ "query": { "text": { "$gte": "" } }, "options": { "limit": 100 } });
    for lies in [true, false] {
        stage::evicted(&stage.url()).await;
        stage.tap.lie(lies.then_some(Change {
            port: Port::OfHost(9200),
            speaker: Speaker::Host,
            change: damage_ciphertext,
        }));
        let path = "/api/rest/v1/db/query/diary";
        let answer = node
            .send(Method::POST, path, Some(&owner), Some(&query))
            .await
            .unwrap();
        let body = answer.json().unwrap();
        let items = body["items"].as_array().map_or(&[][..], Vec::as_slice);
        for item in items {
            assert!(
                item["text"].as_str().unwrap().starts_with("the truth, "),
                "{item}"
            );
        }
        assert_eq!(items.len() == 10, !lies, "{} {body}", answer.status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_debug_enclave_is_refused_although_its_document_is_signed_correctly() {
    let machine = Machine {
        debug_mode: true,
        ..Machine::default()
    };
    let stage = Stage::play(Script {
        machine,
        ..Script::default()
    })
    .await;
    let refusal = refusal_of(&stage.url(), &stage.policy()).await;
    assert_eq!(
        (refusal.step(), refusal.reason()),
        (Step::Production, &Reason::Debug { index: 0 })
    );
    // Not even a policy can say that this is fine.
    let zero = (0..=2)
        .map(|index| (index, Pcr::ZERO))
        .collect::<adyton_attest::nitro::Pcrs>();
    let text = format!("root_sha256 = \"{}\"", stage.pki.root());
    let pcrs: Vec<_> = zero
        .iter()
        .map(|(index, pcr)| format!("{index} = \"{pcr}\""))
        .collect();
    let policy = format!(
        "version = 1\nallow_simulated = true\n[[nitro]]\nname = \"x\"\n{text}\npcrs = {{ {} }}\n",
        pcrs.join(", ")
    );
    assert!(Policy::from_toml(&policy).is_err());
}

/// Boots a changed image and says why a client refuses it.
async fn boots_and_is_refused(change: impl FnOnce(&mut Eif)) -> Refusal {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changed.eif");
    let mut eif = Eif::parse(&std::fs::read(image().eif).unwrap()).unwrap();
    change(&mut eif);
    std::fs::write(&path, eif.to_bytes()).unwrap();
    let stage = Stage::play(Script {
        image: path,
        ..Script::default()
    })
    .await;
    refusal_of(&stage.url(), &stage.policy()).await
}

fn differing(refusal: &Refusal) -> Vec<u8> {
    assert_eq!(
        (refusal.step(), refusal.reason()),
        (Step::Measurements, &Reason::Measurements)
    );
    let measured = refusal.measured().unwrap();
    let expected = image().pcrs;
    expected
        .iter()
        .filter(|(index, pcr)| measured.get(index) != Some(pcr))
        .map(|(index, _)| *index)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_command_line_is_another_image() {
    let refusal = boots_and_is_refused(|eif| eif.cmdline.push_str(" audit=0")).await;
    assert_eq!(differing(&refusal), [0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_changed_letter_in_the_nodes_program_is_another_image() {
    let refusal = boots_and_is_refused(|eif| {
        let program = &mut eif.ramdisks[1];
        let words = b"holds users' data in memory only";
        let at = memchr::memmem::find(program, words).expect("the program's help");
        program[at] = b'H';
    })
    .await;
    assert_eq!(differing(&refusal), [0, 2]);
}
