//! A node resolves DIDs by a registry: a directory that another node keeps, or the chain; and is a directory itself, by the rules
//! and the signatures of the contract on chain.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

#[path = "support/couch.rs"]
mod couch;
mod support;

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use adyton_protocol::address::Address;
use adyton_protocol::consent;
use adyton_protocol::context::ContextName;
use adyton_protocol::did::Network;
use adyton_protocol::did_document::{ContextEndpoints, ContextKeys, UnsignedDidDocument};
use adyton_protocol::did_registry::{register_message, revoke_message, set_controller_message};
use adyton_protocol::hash::keccak256;
use adyton_storage::{Config, Proxy, Reach, RegistryChoice};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use secp256k1::SecretKey;
use serde_json::{Value, json};
use support::{Answer, CONTEXT, Credential, Node, Person, public, sign};
use time::OffsetDateTime;
use tokio::net::TcpListener;

fn directory(others: &[&Node]) -> impl FnOnce(&mut Config) + use<> {
    let others = others
        .iter()
        .map(|node| format!("{}/", node.storage.public_url()).parse().unwrap());
    let choice = RegistryChoice::Directory(others.collect());
    |config| {
        config.registry = choice;
        config.reach = Reach::AlsoThisMachine;
    }
}

async fn ask(node: &Node, function: &str, body: Value) -> Answer {
    node.client()
        .post(&format!("/didRegistry/{function}"), &body)
        .await
}

/// The turn's number, as the directory tells it.
async fn nonce(node: &Node, person: &Person) -> u64 {
    let answer = ask(
        node,
        "nonce",
        json!({"didAddress": person.did.address().lowercase()}),
    )
    .await;
    answer.expect(200).json()["data"].as_u64().unwrap()
}

async fn register(node: &Node, person: &Person, endpoints: &[String]) -> Answer {
    let address = person.did.address();
    let message = register_message(&address, endpoints, nonce(node, person).await);
    let signature = person.sign(keccak256(&message));
    let body =
        json!({"didAddress": address.lowercase(), "endpoints": endpoints, "signature": signature});
    ask(node, "register", body).await
}

fn place(node: &Node, person: &Person) -> String {
    format!(
        "{}/did/{}",
        node.storage.public_url(),
        person.did.lowercase()
    )
}

#[tokio::test]
async fn a_directory_takes_the_signatures_that_the_original_made_for_the_chain() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../vectors/did_registry.json"
    );
    let vector: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let node = Node::with_config(directory(&[])).await;
    let did = json!({"didAddress": vector["lookup"]["did_address"]});
    let absent = ask(&node, "lookup", did.clone()).await;
    assert_eq!(
        absent.expect(404).json(),
        json!({"success": false, "data": "UnregisteredDID"})
    );

    for (turn, recorded) in vector["register"].as_array().unwrap()[..2]
        .iter()
        .enumerate()
    {
        assert_eq!(recorded["nonce"], turn);
        let mut body = did.clone();
        body["endpoints"] = recorded["endpoints"].clone();
        body["signature"] = recorded["signature"].clone();
        let done = ask(&node, "register", body.clone()).await;
        assert_eq!(done.expect(200).json()["success"], true);
        // The same once more is for a turn that is over.
        let again = ask(&node, "register", body).await;
        assert_eq!(again.expect(400).json()["data"], "InvalidSignature");
    }
    let found = ask(&node, "lookup", did.clone()).await;
    let decoded = &vector["lookup"]["decoded"];
    assert_eq!(
        found.expect(200).json(),
        json!({"success": true, "data": [decoded["controller"], decoded["endpoints"]]})
    );
    let mut revoke = did.clone();
    revoke["signature"] = vector["revoke"]["signature"].clone();
    ask(&node, "revoke", revoke).await.expect(200);
    ask(&node, "lookup", did.clone()).await.expect(404);
    // For ever: a good signature for the next turn changes nothing.
    assert_eq!(ask(&node, "nonce", did).await.json()["data"], 3);
}

#[tokio::test]
async fn only_who_the_contract_says_may_change_a_registration() {
    let node = Node::with_config(directory(&[])).await;
    let (alice, bob) = (Person::new(1), Person::new(2));
    let address = alice.did.address().lowercase();
    let endpoints = vec![place(&node, &alice)];
    let signed = |person: &Person, message: Vec<u8>| person.sign(keccak256(&message));

    let message = register_message(&alice.did.address(), &endpoints, 0);
    let stolen =
        json!({"didAddress": address, "endpoints": endpoints, "signature": signed(&bob, message)});
    assert_eq!(
        ask(&node, "register", stolen).await.expect(400).json()["data"],
        "InvalidSignature"
    );
    register(&node, &alice, &endpoints).await.expect(200);
    for wrong in [
        vec!["ftp://x".to_owned()],
        vec!["https://n.example/".to_owned(); 2],
        (0..17).map(|n| format!("https://n{n}.example/")).collect(),
        vec![format!("https://n.example/{}", "x".repeat(2048))],
    ] {
        let refused = register(&node, &alice, &wrong).await;
        assert_eq!(refused.expect(400).json()["data"], "InvalidEndpoints");
    }

    // Bob becomes the controller: he may revoke, and still not register; Alice the other way round.
    let message = set_controller_message(&alice.did.address(), &bob.did.address(), 1);
    let body = json!({
        "didAddress": address, "controller": bob.did.address().lowercase(), "signature": signed(&alice, message),
    });
    ask(&node, "setController", body).await.expect(200);
    let revocation = |person: &Person, nonce| {
        let message = revoke_message(&alice.did.address(), nonce);
        json!({"didAddress": address, "signature": signed(person, message)})
    };
    ask(&node, "revoke", revocation(&alice, 2))
        .await
        .expect(400);
    register(&node, &alice, &endpoints).await.expect(200);
    ask(&node, "revoke", revocation(&bob, 3)).await.expect(200);
    let late = register(&node, &alice, &endpoints).await;
    assert_eq!(late.expect(400).json()["data"], "RevokedDID");

    for function in ["lookup", "nonce", "register", "revoke", "setController"] {
        ask(&node, function, json!({})).await.expect(400);
        ask(
            &node,
            function,
            json!({"didAddress": "x", "signature": "0x00"}),
        )
        .await
        .expect(400);
    }
    // A node that is no directory does not know these addresses.
    let other = Node::start().await;
    ask(&other, "lookup", json!({"didAddress": address}))
        .await
        .expect(401);
}

#[tokio::test]
async fn a_node_finds_a_document_that_another_keeps_and_tells_absent_from_unreachable() {
    let keeper = Node::with_config(directory(&[])).await;
    let other = Node::with_config(directory(&[&keeper])).await;
    let (alice, bob) = (Person::new(1), Person::new(2));
    alice.publish(&keeper.client(), keeper.now()).await;
    register(&keeper, &alice, &[place(&keeper, &alice)])
        .await
        .expect(200);

    let look_up = async |person: &Person| {
        let path = format!("/lookup/did/{}", person.did.as_given());
        other.client().get(&path).await
    };
    let found = look_up(&alice).await.expect(200).json();
    assert_eq!(found["data"]["document"]["id"], alice.did.lowercase());
    Person::new(1).log_in(&other.client()).await;
    look_up(&bob).await.expect(404);

    keeper.storage.shutdown().await;
    other.pass(31);
    look_up(&bob).await.expect(503);
    let challenge = bob.challenge(&other.client(), CONTEXT).await;
    let refused = bob
        .answer_challenge(&other.client(), CONTEXT, &challenge)
        .await;
    assert_eq!(refused.expect(503).json()["status"], "fail");
    // Whose document was seen lately gets in still.
    other.pass(301);
    alice.log_in(&other.client()).await;
}

#[tokio::test]
async fn who_names_many_unknown_dids_waits_and_nobody_elses_login_does() {
    let keeper = Node::with_config(directory(&[])).await;
    let others = [&keeper];
    let also = directory(&others);
    let node = Node::with_config(|config| {
        also(config);
        config.limits.rates.resolutions = 6;
    })
    .await;
    let alice = Person::new(1);
    alice.publish(&keeper.client(), keeper.now()).await;
    register(&keeper, &alice, &[place(&keeper, &alice)])
        .await
        .expect(200);
    Person::new(1).log_in(&node.client()).await;

    let look_up = async |person: &Person| {
        let path = format!("/lookup/did/{}", person.did.as_given());
        node.client().get(&path).await
    };
    for n in 2..7 {
        look_up(&Person::new(n)).await.expect(404);
    }
    let refused = look_up(&Person::new(7)).await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.json()["status"], "fail");
    assert_eq!(refused.headers["retry-after"], "10");
    // The same for whoever tries logins, or asks for contexts.
    let bob = Person::new(8);
    let challenge = bob.challenge(&node.client(), CONTEXT).await;
    bob.answer_challenge(&node.client(), CONTEXT, &challenge)
        .await
        .expect(429);
    // What is remembered costs nothing: from the same address people log in, and see that others do not exist.
    Person::new(1).log_in(&node.client()).await;
    look_up(&alice).await.expect(200);
    look_up(&Person::new(2)).await.expect(404);
    node.pass(10);
    look_up(&Person::new(7)).await.expect(404);
    look_up(&Person::new(9)).await.expect(429);
}

#[tokio::test]
async fn what_a_node_is_told_itself_counts_at_once() {
    let node = Node::with_config(directory(&[])).await;
    let alice = Person::new(1);
    let log_in = async || {
        let challenge = alice.challenge(&node.client(), CONTEXT).await;
        alice
            .answer_challenge(&node.client(), CONTEXT, &challenge)
            .await
    };
    log_in().await.expect(401);
    alice.publish(&node.client(), node.now()).await;
    // A document is not enough where registration decides.
    log_in().await.expect(401);
    register(&node, &alice, &[place(&node, &alice)])
        .await
        .expect(200);
    log_in().await.expect(200);
    let message = revoke_message(&alice.did.address(), 1);
    let signature = alice.sign(keccak256(&message));
    let body = json!({"didAddress": alice.did.address().lowercase(), "signature": signature});
    ask(&node, "revoke", body).await.expect(200);
    log_in().await.expect(401);
}

#[tokio::test]
async fn a_nodes_own_copy_counts_when_its_registry_is_silent() {
    let closed = "http://127.0.0.1:1/".parse().unwrap();
    let node = Node::with_config(|config| {
        config.registry = RegistryChoice::Chain(vec![closed]);
        config.reach = Reach::AlsoThisMachine;
    })
    .await;
    node.session(1).await;
    let path = format!("/lookup/did/{}", Person::new(2).did.as_given());
    node.client().get(&path).await.expect(503);
}

/// JSON-RPC of the chain, whose registry has these endpoints for every DID.
async fn chain(endpoints: Arc<Mutex<Vec<String>>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/rpc", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let endpoints = Arc::clone(&endpoints);
            let service = service_fn(move |request: Request<Incoming>| {
                let endpoints = Arc::clone(&endpoints);
                async move {
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let asked: Value = serde_json::from_slice(&body).unwrap();
                    let result = match asked["method"].as_str() {
                        Some("eth_chainId") => "0x13882".to_owned(),
                        _ => lookup_result(&endpoints.lock().unwrap()),
                    };
                    let said = json!({"jsonrpc": "2.0", "id": asked["id"], "result": result});
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(said.to_string()))))
                }
            });
            let serving = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(serving);
        }
    });
    url
}

fn lookup_result(endpoints: &[String]) -> String {
    let word = |n: usize| format!("{n:064x}");
    let (mut heads, mut tails) = (String::new(), String::new());
    for endpoint in endpoints {
        heads += &word(endpoints.len() * 32 + tails.len() / 2);
        let text = hex::encode(endpoint);
        tails += &word(endpoint.len());
        tails += &text;
        tails += &"0".repeat(text.len().next_multiple_of(64) - text.len());
    }
    format!(
        "0x{}{}{}{heads}{tails}",
        word(7),
        word(64),
        word(endpoints.len())
    )
}

/// The next version of a person's document, with a signing key for the test's context.
fn with_context_key(person: &Person, key: &SecretKey, now: u64) -> Value {
    let at = |now: u64| OffsetDateTime::from_unix_timestamp(i64::try_from(now).unwrap()).unwrap();
    let own = public(&person.key);
    let first = UnsignedDidDocument::new(&person.did, &own, at(now));
    let proof = sign(&person.key, first.proof_digest().unwrap());
    let first = first.sign_with(&proof).unwrap();
    let mut next = UnsignedDidDocument::successor_of(&first, at(now + 1));
    let signer: Address = public(key).address();
    let text = consent::context_proof(&person.did, &signer);
    let keys = ContextKeys {
        sign: public(key),
        asym: [7; 32],
        proof: sign(&person.key, text.digest()),
    };
    let context = ContextName::new(CONTEXT).unwrap();
    next.add_context(
        Network::Banksia,
        &context,
        &keys,
        &ContextEndpoints::default(),
    );
    let proof = sign(&person.key, next.proof_digest().unwrap());
    next.sign_with(&proof).unwrap().to_json()
}

#[tokio::test]
async fn an_exchanged_key_counts_at_once_though_documents_are_remembered() {
    let keeper = Node::start().await;
    let alice = Person::new(1);
    alice.publish(&keeper.client(), keeper.now()).await;
    let endpoints = Arc::new(Mutex::new(vec![place(&keeper, &alice)]));
    let rpc = chain(endpoints).await.parse().unwrap();
    let node = Node::with_config(|config| {
        config.registry = RegistryChoice::Chain(vec![rpc]);
        config.reach = Reach::AlsoThisMachine;
    })
    .await;

    let key = SecretKey::from_secret_bytes([9; 32]).unwrap();
    let log_in = async || {
        let challenge = alice.challenge(&node.client(), CONTEXT).await;
        let context = ContextName::new(CONTEXT).unwrap();
        let text = consent::authenticate(&alice.did, &context, &challenge.0);
        let body = json!({
            "authJwt": challenge.1, "did": alice.did.as_given(), "contextName": CONTEXT,
            "signature": sign(&key, text.digest()).to_string(),
        });
        node.client().post("/auth/authenticate", &body).await
    };
    log_in().await.expect(401);
    let path = format!("/did/{}", alice.did.lowercase());
    let body = json!({"document": with_context_key(&alice, &key, keeper.now())}).to_string();
    let put = keeper
        .client()
        .send("PUT", &path, &Credential::None, body)
        .await;
    put.expect(200);
    // Within the seconds in which a DID is asked for only once, whoever asks:
    log_in().await.expect(401);
    node.pass(6);
    log_in().await.expect(200);
    let version = async |query: &str| {
        let path = format!("/lookup/did/{}{query}", alice.did.as_given());
        let found = node.client().get(&path).await.expect(200).json();
        found["data"]["document"]["versionId"].as_u64().unwrap()
    };
    assert_eq!(
        (version("").await, version("?ignoreCache=true").await),
        (1, 1)
    );
}

/// Logs somebody in with this key, and returns the refresh token.
async fn log_in_with(node: &Node, person: &Person, key: &SecretKey) -> String {
    let challenge = person.challenge(&node.client(), CONTEXT).await;
    let context = ContextName::new(CONTEXT).unwrap();
    let text = consent::authenticate(&person.did, &context, &challenge.0);
    let body = json!({
        "authJwt": challenge.1, "did": person.did.as_given(), "contextName": CONTEXT,
        "signature": sign(key, text.digest()).to_string(),
    });
    let answer = node.client().post("/auth/authenticate", &body).await;
    let token = answer.expect(200).json()["refreshToken"].clone();
    token.as_str().unwrap().to_owned()
}

/// What `connect`, `regenerateRefreshToken` and others say of a refresh token.
async fn use_token(node: &Node, call: &str, person: &Person, token: &str) -> Answer {
    let body = json!({"refreshToken": token, "did": person.did.as_given(), "contextName": CONTEXT});
    node.client().post(&format!("/auth/{call}"), &body).await
}

#[tokio::test]
async fn a_token_ends_with_the_key_that_made_it() {
    for store in couch::stores().await {
        let node = &store.node;
        let alice = node.person(1).await;
        let keys = [7, 9].map(|byte| SecretKey::from_secret_bytes([byte; 32]).unwrap());
        let put = async |version: u64, key: &SecretKey, deactivated: bool| {
            let mut changes = with_context_key(&alice, key, node.now());
            changes["versionId"] = version.into();
            changes["deactivated"] = deactivated.into();
            let document = alice.document_with(node.now(), &changes);
            let path = format!("/did/{}", alice.did.lowercase());
            let body = json!({ "document": document }).to_string();
            let client = node.client();
            let put = client.send("PUT", &path, &Credential::None, body);
            put.await.expect(200);
        };
        let says = async |call: &str, token: &str, status: u16| {
            let answer = use_token(node, call, &alice, token).await;
            answer.expect(status).json()["refreshToken"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        put(1, &keys[0], false).await;
        let of_account = log_in_with(node, &alice, &alice.key).await;
        let [stolen, other, third] = [
            log_in_with(node, &alice, &keys[0]).await,
            log_in_with(node, &alice, &keys[0]).await,
            log_in_with(node, &alice, &keys[0]).await,
        ];
        says("connect", &stolen, 200).await;
        let stolen = says("regenerateRefreshToken", &stolen, 200).await;

        put(2, &keys[1], false).await;
        says("connect", &stolen, 401).await;
        says("regenerateRefreshToken", &other, 401).await;
        says("connect", &of_account, 200).await;
        let of_second = log_in_with(node, &alice, &keys[1]).await;
        says("connect", &of_second, 200).await;
        // They are gone, and not only refused; one that nobody showed meanwhile is there.
        put(3, &keys[0], false).await;
        says("isTokenValid", &stolen, 401).await;
        says("isTokenValid", &other, 401).await;
        says("connect", &third, 200).await;

        put(4, &keys[0], true).await;
        says("connect", &of_account, 401).await;
        put(5, &keys[0], false).await;
        says("connect", &of_account, 401).await;
        says("connect", &third, 200).await;

        // Of tokens that do not say who signed, those end whose DID does.
        if let Some(couch) = &store.couch {
            couch.change("verida_refresh_tokens", |tokens| {
                for token in tokens.documents.values_mut() {
                    token.as_object_mut().unwrap().remove("signer");
                }
            });
            says("connect", &of_second, 200).await;
        }
        let deleted = alice.delete_document(&node.client(), node.now()).await;
        deleted.expect(200);
        says("connect", &third, 401).await;
        says("connect", &of_second, 401).await;
        store.is_documented();
    }
}

#[tokio::test]
async fn a_full_node_takes_the_document_of_whoever_has_an_account_there() {
    let keeper = Node::with_config(directory(&[])).await;
    let others = [&keeper];
    let directory = directory(&others);
    let node = Node::with_config(|config| {
        directory(config);
        config.limits.did_documents = 0;
    })
    .await;
    let key = SecretKey::from_secret_bytes([7; 32]).unwrap();
    let first = |person: &Person| {
        let mut changes = with_context_key(person, &key, node.now());
        changes["versionId"] = 0.into();
        person.document_with(node.now(), &changes)
    };
    let post = async |node: &Node, person: &Person, document: Value| {
        let path = format!("/did/{}", person.did.lowercase());
        let body = json!({ "document": document });
        node.client().post(&path, &body).await
    };
    let (alice, bob) = (Person::new(1), Person::new(2));
    post(&keeper, &alice, first(&alice)).await.expect(200);
    let places = [place(&keeper, &alice)];
    register(&keeper, &alice, &places).await.expect(200);
    log_in_with(&node, &alice, &alice.key).await;
    post(&node, &bob, first(&bob)).await.expect(400);
    // Bob names Alice's context.
    let services = first(&alice)["keyAgreement"].clone();
    let named = bob.document_with(node.now(), &json!({ "keyAgreement": services }));
    post(&node, &bob, named).await.expect(400);
    post(&node, &alice, first(&alice)).await.expect(200);
}

#[tokio::test]
async fn an_address_brings_so_many_documents_and_registrations_a_minute() {
    let node = Node::with_config(|config| {
        directory(&[])(config);
        config.proxy = Proxy::Trusted;
        config.limits.did_writes_per_minute = 2;
    })
    .await;
    let from = async |address: &str, path: String, body: Value| {
        let (client, headers) = (node.client(), [("x-forwarded-for", address)]);
        let body = body.to_string();
        let answer = client.open_with("POST", &path, &Credential::None, &headers, body);
        Answer::read(answer.await).await
    };
    let publish = async |address: &str, person: &Person| {
        let path = format!("/did/{}", person.did.lowercase());
        let body = json!({"document": person.document(node.now())});
        from(address, path, body).await
    };
    let people = [1, 2, 3, 4].map(Person::new);
    publish("192.0.2.1", &people[0]).await.expect(200);
    publish("192.0.2.1", &people[1]).await.expect(200);
    let refused = publish("192.0.2.1", &people[2]).await;
    assert_eq!(refused.expect(429).headers["retry-after"], "30");
    let body = json!({"didAddress": people[0].did.address().lowercase()});
    let register = "/didRegistry/register".to_owned();
    let refused = from("192.0.2.1", register, body.clone()).await;
    refused.expect(429);
    // Reading takes nothing, nor do others' documents.
    let nonce = "/didRegistry/nonce".to_owned();
    from("192.0.2.1", nonce, body).await.expect(200);
    publish("192.0.2.2", &people[2]).await.expect(200);
    node.pass(30);
    publish("192.0.2.1", &people[3]).await.expect(200);
    // What comes from this machine itself may be everybody's, through a proxy that nobody told of.
    let node = Node::with_config(|config| config.limits.did_writes_per_minute = 1).await;
    for seed in 1..4 {
        node.person(seed).await;
    }
}

#[tokio::test]
async fn while_a_did_cannot_be_resolved_its_tokens_go_on_counting() {
    let keeper = Node::with_config(directory(&[])).await;
    let others = [&keeper];
    let (configured, again) = (directory(&others), directory(&others));
    let node = Node::with_config(configured).await;
    let alice = Person::new(1);
    alice.publish(&keeper.client(), keeper.now()).await;
    register(&keeper, &alice, &[place(&keeper, &alice)])
        .await
        .expect(200);
    let token = log_in_with(&node, &alice, &alice.key).await;
    keeper.storage.shutdown().await;
    // It remembers nothing.
    let node = node.restart_with(again).await;
    let answer = use_token(&node, "connect", &alice, &token).await;
    answer.expect(200);
    let answer = use_token(&node, "regenerateRefreshToken", &alice, &token).await;
    let fresh = answer.expect(200).json()["refreshToken"].clone();
    let answer = use_token(&node, "connect", &alice, fresh.as_str().unwrap()).await;
    answer.expect(200);
}

#[tokio::test]
async fn who_looks_a_registration_up_makes_nobody_forget_the_document() {
    let keeper = Node::with_config(directory(&[])).await;
    let alone = directory(&[]);
    let node = Node::with_config(|config| {
        alone(config);
        config.limits.rates.resolutions = 1;
    })
    .await;
    let alice = Person::new(1);
    alice.publish(&keeper.client(), keeper.now()).await;
    register(&node, &alice, &[place(&keeper, &alice)])
        .await
        .expect(200);
    let did = json!({"didAddress": alice.did.address().lowercase()});
    // The one question that this address may have the node ask.
    alice.log_in(&node.client()).await;
    ask(&node, "lookup", did.clone()).await.expect(200);
    ask(&node, "nonce", did).await.expect(200);
    Person::new(1).log_in(&node.client()).await;
}
