//! The vectors in `vectors/binding.json`, for implementations in other languages: made here anew from their inputs, and
//! equal to the file to the last byte.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::panic
)]

use std::time::{Duration, UNIX_EPOCH};

use adyton_attest::batch::Batch;
use adyton_attest::signed_answer::{Answered, Asked, Place, StoredAnswer, content_digest, verify};
use adyton_attest::{
    AnswerKey, AttestedKeys, BatchProof, Binding, Challenge, ChannelBinding, ConfigDigest,
    Exporter, HpkeKey, Nonce, Spki,
};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

const FILE: &str = include_str!("vectors/binding.json");

/// The Ed25519 key of RFC 8410 section 10.1, as a TLS key: any key type may stand there.
const SPKI: &str =
    "302a300506032b657003210019bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";

const CONFIG: &str = "listen = \"0.0.0.0:8443\"\n";

/// A secret that everybody knows.
const SEED: [u8; 32] = [0x42; 32];

fn signer() -> (Ed25519KeyPair, AnswerKey) {
    let key = Ed25519KeyPair::from_seed_unchecked(&SEED).unwrap();
    let public = AnswerKey::new(key.public_key().as_ref().try_into().unwrap());
    (key, public)
}

fn keys() -> AttestedKeys {
    AttestedKeys {
        tls: Spki::from_der(&hex::decode(SPKI).unwrap()).unwrap(),
        answer: signer().1,
        hpke: HpkeKey::new([0x24; 32]),
    }
}

fn challenge(seed: u8) -> Challenge {
    Challenge {
        nonce: Nonce::new([seed; 32]),
        exporter: Exporter::new([seed + 0x80; 32]),
    }
}

fn bindings() -> Vec<Value> {
    let Challenge { nonce, exporter } = challenge(1);
    let cases = [
        ("none", ChannelBinding::None, None),
        ("direct", ChannelBinding::TlsExporter(exporter), Some(nonce)),
        ("batched", ChannelBinding::Batch, Some(nonce)),
    ];
    let case = |(name, channel, nonce): (&str, ChannelBinding, Option<Nonce>)| {
        let binding = Binding {
            keys: keys(),
            channel,
            config: ConfigDigest::of(CONFIG),
        };
        json!({
            "channel": name,
            "exporter": if name == "direct" { json!(exporter.to_string()) } else { Value::Null },
            "nonce": nonce.map(|nonce| nonce.to_string()),
            "binding_sha256": hex::encode(binding.digest()),
            "user_data": hex::encode(binding.user_data().to_bytes()),
            "report_data": hex::encode(binding.report_data(nonce.as_ref())),
        })
    };
    cases.into_iter().map(case).collect()
}

fn batches() -> Vec<Value> {
    let batch = |count: u8| {
        let challenges: Vec<_> = (1..=count).map(challenge).collect();
        let batch = Batch::over(&challenges).unwrap();
        let proofs = challenges.iter().zip(batch.proofs()).map(|(of, proof)| {
            json!({
                "nonce": of.nonce.to_string(),
                "exporter": of.exporter.to_string(),
                "place": proof.place(),
                "path": proof.path().iter().map(hex::encode).collect::<Vec<_>>(),
            })
        });
        json!({ "root": batch.root().to_string(), "askers": proofs.collect::<Vec<_>>() })
    };
    [2, 3, 5].into_iter().map(batch).collect()
}

fn signed_answers() -> Vec<Value> {
    let (key, public) = signer();
    let cases = [
        (
            Place::Headers,
            "GET",
            200,
            &b""[..],
            &b"{\"status\":\"ok\"}"[..],
        ),
        (
            Place::Trailers,
            "POST",
            200,
            b"{\"query\":{}}",
            b"{\"items\":[]}",
        ),
    ];
    let case = |(place, method, status, asked_body, body)| {
        let ask = "sig1=();created;nonce=\"n-1\";tag=\"adyton\"";
        let asked = Asked::parse(ask, &public).unwrap().unwrap();
        let (digest, request_digest) = (content_digest(body), content_digest(asked_body));
        let request_digest = (!asked_body.is_empty()).then_some(request_digest);
        let answered = Answered {
            method,
            target_uri: "https://node.example/api?x=1",
            request_digest: request_digest.as_deref(),
            status,
            content_type: Some("application/json"),
            content_digest: &digest,
            place,
        };
        let created = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let to_be_signed = answered.to_be_signed(&asked, created, &public).unwrap();
        let (input, signature) = to_be_signed.fields(key.sign(to_be_signed.base()).as_ref());
        let mut headers = json!({ "content-type": "application/json" });
        let fields =
            json!({ "content-digest": digest, "signature-input": input, "signature": signature });
        let mut trailers = json!({});
        let target = match place {
            Place::Headers => &mut headers,
            Place::Trailers => &mut trailers,
        };
        target
            .as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        let stored = StoredAnswer {
            method: method.to_owned(),
            target_uri: answered.target_uri.to_owned(),
            request_digest: request_digest.clone(),
            request_body: asked_body.to_vec(),
            status,
            headers: serde_json::from_value(headers).unwrap(),
            trailers: serde_json::from_value(trailers).unwrap(),
            body: body.to_vec(),
        };
        assert_eq!(verify(&stored, &public).unwrap().created(), created);
        json!({
            "accept_signature": ask,
            "signature_base": std::str::from_utf8(to_be_signed.base()).unwrap(),
            "stored_answer": serde_json::from_slice::<Value>(&stored.to_json()).unwrap(),
        })
    };
    cases.into_iter().map(case).collect()
}

#[test]
fn the_file_of_vectors_is_what_this_code_makes() {
    let (_, public) = signer();
    let made = json!({
        "keys": {
            "tls_spki": SPKI,
            "sign": public.to_string(),
            "sign_seed": hex::encode(SEED),
            "sign_keyid": public.id(),
            "hpke": keys().hpke.to_string(),
        },
        "config": CONFIG,
        "config_sha256": ConfigDigest::of(CONFIG).to_string(),
        "bindings": bindings(),
        "batches": batches(),
        "signed_answers": signed_answers(),
    });
    let made = serde_json::to_string_pretty(&made).unwrap() + "\n";
    if made != FILE {
        println!("{made}");
        panic!("the vectors changed: above is what they would have to be");
    }
}

#[test]
fn the_proofs_in_the_file_lead_to_their_roots_and_to_no_other() {
    let file: Value = serde_json::from_str(FILE).unwrap();
    let batches = file["batches"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    for batch in batches {
        for asker in batch["askers"].as_array().unwrap() {
            let path = asker["path"].as_array().unwrap().iter().map(|node| {
                let mut bytes = [0; 32];
                hex::decode_to_slice(text(node), &mut bytes).unwrap();
                bytes
            });
            let place = u32::try_from(asker["place"].as_u64().unwrap()).unwrap();
            let proof = BatchProof::new(place, path.collect()).unwrap();
            let root = proof.root(&Challenge {
                nonce: Nonce::from_hex(&text(&asker["nonce"])).unwrap(),
                exporter: Exporter::from_hex(&text(&asker["exporter"])).unwrap(),
            });
            for other in batches {
                let same = other["root"] == batch["root"];
                assert_eq!(root.to_string() == text(&other["root"]), same);
            }
        }
    }
}
