//! Whom the resolver takes for out of order.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::sync::{Arc, Mutex};
use std::time::UNIX_EPOCH;

use adyton_protocol::address::Address;
use adyton_protocol::did::{Anchor, Did};
use adyton_resolver::chain::ChainRegistry;
use adyton_resolver::registry::{NoAnswer, Opinion, Registered, Registry};
use adyton_resolver::web::{Ask, Pending, Said, Web, WebError};
use serde_json::{Value, json};

/// Endpoints of one chain, on which a stranger registered what nobody reads; one of them is out of order. Notes who is asked.
struct Endpoints(Arc<Mutex<Vec<String>>>);

impl Web for Endpoints {
    fn ask(&self, ask: Ask) -> Pending<'_, Result<Said, WebError>> {
        Box::pin(async move {
            let host = ask.url.host_str().unwrap().to_owned();
            if host == "out-of-order.example" {
                self.0.lock().unwrap().push(host);
                return Err(WebError::Unreachable);
            }
            let question: Value = serde_json::from_slice(&ask.body.unwrap()).unwrap();
            let anchor = Anchor::Polamoy.chain_id();
            let result = match question["method"].as_str().unwrap() {
                "eth_chainId" => format!("0x{anchor:x}"),
                _ => {
                    self.0.lock().unwrap().push(host);
                    format!("0x{}", "ff".repeat(96))
                }
            };
            let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": result});
            Ok(Said {
                status: 200,
                body: answer.to_string().into(),
            })
        })
    }
}

#[tokio::test]
async fn a_strangers_registration_that_is_not_read_puts_no_endpoint_last() {
    let asked = Arc::default();
    let rpc = ["https://out-of-order.example/", "https://good.example/"];
    let rpc = rpc.map(|url| url.parse().unwrap());
    let registry = ChainRegistry::new(
        Anchor::Polamoy,
        rpc.into(),
        Arc::new(Endpoints(Arc::clone(&asked))),
        Arc::new(|| UNIX_EPOCH),
    );
    let did = Did::of_account(Anchor::Polamoy, Address::from_bytes([1; 20]));
    for _ in 0..2 {
        let answer: Result<Registered, NoAnswer> = registry.lookup(&did, Opinion::First).await;
        assert_eq!(answer, Err(NoAnswer));
    }
    let (bad, good) = ("out-of-order.example", "good.example");
    assert_eq!(*asked.lock().unwrap(), [bad, good, good, bad]);
}
