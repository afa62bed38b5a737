//! The same client, by one policy file, against two kinds of node: one in a (simulated) enclave, one in a dstack guest whose
//! agent is played by a server on a unix socket, with quotes of a test authority.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[path = "../../attest/tests/forge_tdx/mod.rs"]
mod forge_tdx;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use adyton_attest::Policy;
use adyton_attest::nitro::Pcr;
use adyton_attest::tdx::event_log::{Event, EventLog};
use adyton_client::attested_node::{AttestedNode, NodeError};
use adyton_client::clock::Clock;
use adyton_node::config::Config;
use adyton_node::node::Node;
use adyton_node::tee::{DstackAttester, GuestAgent};
use adyton_sandbox::{Options, Sandbox};
use forge_tdx::{Guest, Vendor};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;

const EVENTS: [(&str, &[u8]); 4] = [
    ("system-preparing", b""),
    ("app-id", &[1; 20]),
    ("compose-hash", &[2; 32]),
    ("system-ready", b""),
];

fn rtmr3() -> Pcr {
    let event = |(name, payload): (&str, &[u8])| Event::new(name, payload.to_vec()).unwrap();
    EventLog::new(EVENTS.map(event).to_vec()).unwrap().replay()
}

/// A guest agent whose quotes a verifier accepts.
fn agent(folder: &Path, vendor: Arc<Vendor>) -> PathBuf {
    let socket = folder.join("dstack.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let log = EVENTS.map(|(name, payload)| {
        serde_json::json!({
            "imr": 3, "event_type": 0x0800_0001, "digest": "", "event": name,
            "event_payload": hex::encode(payload),
        })
    });
    let log = serde_json::to_string(&log).unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            // The body's last byte closes its only object.
            while request.last() != Some(&b'}') {
                assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
            }
            let text = String::from_utf8(request).unwrap();
            assert!(text.starts_with("POST /GetQuote HTTP/1.1\r\n"), "{text}");
            let body: serde_json::Value =
                serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
            let mut guest = Guest::new();
            guest.rtmr[3] = *rtmr3().as_bytes();
            let report_data = body["report_data"].as_str().unwrap();
            hex::decode_to_slice(report_data, &mut guest.report_data).unwrap();
            let answer = serde_json::json!({
                "quote": hex::encode(vendor.quote(&guest)), "event_log": log,
                "report_data": report_data, "vm_config": "{}",
            })
            .to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
                answer.len()
            );
            stream.write_all((head + &answer).as_bytes()).await.unwrap();
        }
    });
    socket
}

/// The entry that trusts the guest with this code.
fn entry(vendor: &Vendor, compose_hash: u8) -> String {
    format!(
        "\n[[dstack]]\nname = \"guest\"\nroot_sha256 = \"{}\"\nmrtd = \"{}\"\nrtmr0 = [\"{}\"]\nrtmr1 = \"{}\"\n\
         rtmr2 = \"{}\"\ncompose_hash = \"{}\"\n",
        vendor.root(),
        "a0".repeat(48),
        "b0".repeat(48),
        "b1".repeat(48),
        "b2".repeat(48),
        hex::encode([compose_hash; 32]),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn one_policy_verifies_an_enclave_and_a_guest() {
    let clock = Clock::system();
    let vendor = Arc::new(Vendor::at(clock.now()));
    let folder = tempfile::tempdir().unwrap();
    let collateral = folder.path().join("collateral.json");
    std::fs::write(&collateral, vendor.collateral().to_json()).unwrap();
    let socket = agent(folder.path(), Arc::clone(&vendor));
    let attester = DstackAttester::at(GuestAgent::Current, socket, Some(collateral.clone()));
    let config = Config::parse("listen = \"127.0.0.1:0\"\ntee = \"dstack\"").unwrap();
    let node = Node::start(config, Arc::new(attester), clock.clone())
        .await
        .unwrap();
    let guest_url = format!("https://{}", node.address());
    let serving = tokio::spawn(node.serve(std::future::pending()));

    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let enclave_url = sandbox.node_url();
    let both = sandbox.policy().to_owned() + &entry(&vendor, 2);
    let policy = Policy::from_toml(&both).unwrap();
    let connect =
        async |url: &str, policy: &Policy| AttestedNode::connect(url, policy, &clock).await;

    let guest = connect(&guest_url, &policy).await.unwrap();
    assert_eq!(guest.appraised().measurement(), "guest");
    assert!(guest.appraised().is_channel_bound());
    assert!(guest.appraised().is_simulated(), "its root is not intel's");
    let enclave = connect(&enclave_url, &policy).await.unwrap();
    assert_ne!(enclave.appraised().measurement(), "guest");

    // Each is refused by the policy of the other, and a guest with other code by every policy.
    let enclaves_only = Policy::from_toml(sandbox.policy()).unwrap();
    let refused = connect(&guest_url, &enclaves_only).await;
    assert!(
        matches!(refused, Err(NodeError::NotTrusted(_))),
        "{refused:?}"
    );
    let guests_only = format!("version = 1\nallow_simulated = true\n{}", entry(&vendor, 2));
    let refused = connect(&enclave_url, &Policy::from_toml(&guests_only).unwrap()).await;
    assert!(
        matches!(refused, Err(NodeError::NotTrusted(_))),
        "{refused:?}"
    );
    let other_code = format!("version = 1\nallow_simulated = true\n{}", entry(&vendor, 3));
    let refused = connect(&guest_url, &Policy::from_toml(&other_code).unwrap()).await;
    assert!(
        matches!(refused, Err(NodeError::NotTrusted(_))),
        "{refused:?}"
    );

    // Without Intel's word nothing vouches for the quote.
    std::fs::remove_file(&collateral).unwrap();
    let refused = connect(&guest_url, &policy).await;
    assert!(
        matches!(refused, Err(NodeError::NotTrusted(_))),
        "{refused:?}"
    );
    serving.abort();
}
