//! DIDs resolved through a registry on chain and through directories, over real connections: as recorded, and with everything
//! that can go wrong on the way.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

mod world;

use std::sync::Arc;

use adyton_client::clock::Clock;
use adyton_client::did_resolver::{DidResolver, RegistryResolver};
use adyton_client::endpoint::Reach;
use adyton_client::transport::Transport;
use adyton_protocol::did::{Anchor, Did};
use adyton_protocol::did_registry::{public_rpc, registry_contract};
use adyton_resolver::directory::DirectoryRegistry;
use adyton_resolver::registry::{NoAnswer, Opinion, Registered, Registry, Source};
use adyton_resolver::resolver::{Freshness, ResolveError, Resolver};
use serde_json::{Value, json};
use url::Url;
use world::{Says, World, documents, person};

const CHAIN: u64 = 80002;

async fn version(resolver: &Resolver, did: &Did) -> Result<Option<u64>, ResolveError> {
    let found = resolver.resolve(did, Freshness::Remembered).await?;
    Ok(found.map(|document| document.version_id()))
}

#[tokio::test]
async fn the_registry_is_asked_as_recorded_and_the_recorded_answers_are_read() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../vectors/did_registry.json"
    );
    let vector: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let lookup = &vector["lookup"];
    let address = lookup["did_address"].as_str().unwrap();
    let did: Did = format!("did:vda:polamoy:{address}").parse().unwrap();

    for anchor in [Anchor::Polpos, Anchor::Polamoy] {
        let recorded = &vector["contracts"][anchor.name()];
        assert_eq!(recorded["chain_id"], anchor.chain_id());
        let contract = registry_contract(anchor).checksummed();
        assert_eq!(recorded["did_registry"], contract);
        assert_eq!(vector["rpc_urls_4_4_5"][anchor.name()], public_rpc(anchor));
    }

    let world = World::new().await;
    let rpc = world.says(
        "rpc",
        Says::Call(json!({"result": lookup["sample_result"]})),
    );
    let chain = world.chain(vec![rpc]);
    let expected: Vec<Url> = lookup["decoded"]["endpoints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|text| text.as_str().unwrap().parse().unwrap())
        .collect();
    let found = chain.lookup(&did, Opinion::First).await;
    assert_eq!(found, Ok(Registered::At(expected)));

    let asked: Vec<Value> = world.asked().into_iter().map(|(_, body)| body).collect();
    assert_eq!(asked[0]["method"], "eth_chainId");
    assert_eq!(asked[1]["method"], "eth_call");
    let contract = vector["contracts"]["polamoy"]["did_registry"]
        .as_str()
        .unwrap();
    let call = json!([{"to": contract.to_lowercase(), "data": lookup["call_data"]}, "latest"]);
    assert_eq!(asked[1]["params"], call);
    assert_eq!(asked.len(), 2);

    world.says(
        "rpc",
        Says::Call(json!({"result": lookup["empty_endpoints_result"]})),
    );
    assert_eq!(
        chain.lookup(&did, Opinion::First).await,
        Ok(Registered::At(vec![]))
    );
    world.says("rpc", Says::Call(world::unregistered()));
    assert_eq!(
        chain.lookup(&did, Opinion::First).await,
        Ok(Registered::Absent)
    );
    // Known to be the right chain: only the call is sent.
    assert_eq!(world.asked().len(), 2);
    let elsewhere: Did = format!("did:vda:polpos:{address}").parse().unwrap();
    assert_eq!(
        chain.lookup(&elsewhere, Opinion::First).await,
        Err(NoAnswer)
    );
}

#[tokio::test]
async fn the_highest_version_with_the_dids_own_proof_counts() {
    let world = World::new().await;
    let alice = person(1);
    let versions = documents(&alice, 3);
    let mut forged = versions[2].to_json();
    forged["versionId"] = 9.into();
    let foreign = documents(&person(2), 5);
    let places = vec![
        world.keeps("a", &versions[0]),
        world.keeps("b", &versions[2]),
        world
            .says("c", Says::Plain(200, json!({"data": forged}).to_string()))
            .into(),
        world.keeps("d", &foreign[4]),
        world.keeps("e", &versions[1]),
    ];
    let rpc = world.says("rpc", Says::Chain(CHAIN, Some(places)));
    assert_eq!(
        version(&world.chain_resolver(vec![rpc]), alice.did()).await,
        Ok(Some(2))
    );
}

#[tokio::test]
async fn an_endpoint_that_fails_in_any_way_is_passed_over_and_never_means_absent() {
    let alice = person(1);
    let document = &documents(&alice, 1)[0];
    let failures = [
        Says::Plain(500, "out of order".into()),
        Says::Plain(200, "<html>".into()),
        Says::Plain(
            429,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32005,"message":"x"}}"#.into(),
        ),
        Says::Chain(137, None),
        Says::WrongId,
        Says::Silence,
        Says::Huge,
        Says::Call(json!({"result": "0x"})),
        Says::Call(json!({"result": "0xnothex"})),
        Says::Call(json!({"result": null})),
        Says::Call(json!({"result": format!("0x{}", "f".repeat(640))})),
        Says::Call(json!({"error": {"code": -32000, "message": "header not found"}})),
        Says::Call(json!({"error": {"code": 3, "message": "other", "data": "0xc1260d54"}})),
    ];
    for failure in failures {
        let world = World::new().await;
        let bad = world.says("bad", failure);
        let places = vec![world.keeps("a", document)];
        let good = world.says("good", Says::Chain(CHAIN, Some(places)));
        let alone = world.chain_resolver(vec![bad.clone()]);
        assert_eq!(
            version(&alone, alice.did()).await,
            Err(ResolveError::Registry)
        );
        let both = world.chain_resolver(vec![bad, good]);
        assert_eq!(version(&both, alice.did()).await, Ok(Some(0)));
    }
}

#[tokio::test]
async fn absent_needs_a_second_word_where_there_are_two() {
    let world = World::new().await;
    let alice = person(1);
    let places = vec![world.keeps("a", &documents(&alice, 1)[0])];
    let none = world.says("none", Says::Chain(CHAIN, None));
    let liar = world.says("liar", Says::Chain(CHAIN, None));
    let good = world.says("good", Says::Chain(CHAIN, Some(places)));
    let down = world.says("down", Says::Plain(503, String::new()));

    let resolve = |rpc: Vec<&Url>| {
        let resolver = world.chain_resolver(rpc.into_iter().cloned().collect());
        let did = alice.did().clone();
        async move { version(&resolver, &did).await }
    };
    assert_eq!(resolve(vec![&none]).await, Ok(None));
    assert_eq!(resolve(vec![&none, &liar]).await, Ok(None));
    assert_eq!(resolve(vec![&liar, &good]).await, Ok(Some(0)));
    assert_eq!(
        resolve(vec![&none, &down]).await,
        Err(ResolveError::Registry)
    );
}

#[tokio::test]
async fn places_that_lead_nowhere_make_the_others_asked() {
    let world = World::new().await;
    let alice = person(1);
    let nowhere = vec![world.base.join("nothing").unwrap().into()];
    let places = vec![world.keeps("a", &documents(&alice, 2)[1])];
    let liar = world.says("liar", Says::Chain(CHAIN, Some(nowhere)));
    let good = world.says("good", Says::Chain(CHAIN, Some(places)));
    let resolver = world.chain_resolver(vec![liar, good]);
    assert_eq!(version(&resolver, alice.did()).await, Ok(Some(1)));
}

#[tokio::test]
async fn absent_is_what_every_place_said_and_anything_less_is_an_error() {
    let world = World::new().await;
    let alice = person(1);
    let nothing = || String::from(world.base.join("nothing").unwrap());
    let closed = || "http://127.0.0.1:1/did".to_owned();
    let busy = world.says("busy", Says::Plain(500, String::new()));
    let foreign = world.keeps("foreign", &documents(&person(2), 1)[0]);
    let huge = world.says("huge", Says::Huge);
    let silent = world.says("silent", Says::Silence);
    for (places, expected) in [
        (vec![], Ok(None)),
        (vec![nothing(), nothing() + "/2"], Ok(None)),
        (vec![nothing(), closed()], Err(ResolveError::Places)),
        (vec![nothing(), busy.into()], Err(ResolveError::Places)),
        (vec![nothing(), silent.into()], Err(ResolveError::Places)),
        (vec![nothing(), foreign], Err(ResolveError::Unverified)),
        (vec![nothing(), huge.into()], Err(ResolveError::Unverified)),
    ] {
        let rpc = world.says("rpc", Says::Chain(CHAIN, Some(places.clone())));
        let found = version(&world.chain_resolver(vec![rpc]), alice.did()).await;
        assert_eq!(found, expected, "{places:?}");
    }
}

#[tokio::test]
async fn an_endpoint_that_failed_is_asked_last_until_its_pause_is_over() {
    let world = World::new().await;
    let alice = person(1);
    let places = vec![world.keeps("a", &documents(&alice, 1)[0])];
    let first = world.says("first", Says::Plain(500, String::new()));
    let second = world.says("second", Says::Chain(CHAIN, Some(places.clone())));
    let chain = world.chain(vec![first, second]);
    let asked = |world: &World| -> Vec<String> {
        world.asked().into_iter().map(|(path, _)| path).collect()
    };
    chain.lookup(alice.did(), Opinion::First).await.unwrap();
    assert_eq!(asked(&world), ["first", "second", "second"]);
    chain.lookup(alice.did(), Opinion::First).await.unwrap();
    assert_eq!(asked(&world), ["second"]);
    world.says("first", Says::Chain(CHAIN, Some(places)));
    world.pass(2);
    chain.lookup(alice.did(), Opinion::First).await.unwrap();
    assert_eq!(asked(&world), ["first", "first"]);
}

#[tokio::test]
async fn a_slow_place_does_not_hold_up_a_document_that_is_there() {
    let world = World::new().await;
    let alice = person(1);
    let silent = world.says("silent", Says::Silence).into();
    let places = vec![silent, world.keeps("a", &documents(&alice, 1)[0])];
    let rpc = world.says("rpc", Says::Chain(CHAIN, Some(places)));
    assert_eq!(
        version(&world.chain_resolver(vec![rpc]), alice.did()).await,
        Ok(Some(0))
    );
}

#[tokio::test]
async fn what_is_remembered_has_its_time_and_never_goes_back_to_a_lower_version() {
    let world = World::new().await;
    let alice = person(1);
    let versions = documents(&alice, 3);
    let places = vec![world.keeps("a", &versions[1])];
    let rpc = world.says("rpc", Says::Chain(CHAIN, Some(places)));
    let resolver = world.chain_resolver(vec![rpc]);
    let now = || version(&resolver, alice.did());

    assert_eq!(now().await, Ok(Some(1)));
    world.asked();
    world.keeps("a", &versions[2]);
    world.pass(299);
    assert_eq!(now().await, Ok(Some(1)));
    assert!(world.asked().is_empty());
    // Whoever has a reason gets it from the place itself.
    let asked = resolver
        .resolve(alice.did(), Freshness::Asked)
        .await
        .unwrap();
    assert_eq!(asked.unwrap().version_id(), 2);

    // The place brings back an old one: the newer was signed by the same hand.
    world.keeps("a", &versions[0]);
    world.pass(301);
    assert_eq!(now().await, Ok(Some(2)));

    // Nobody can be asked: for an hour, what was seen counts.
    world.says("rpc", Says::Plain(500, String::new()));
    world.pass(301);
    assert_eq!(now().await, Ok(Some(2)));
    world.pass(3600);
    assert_eq!(now().await, Err(ResolveError::Registry));
    // A failure is remembered for some seconds only.
    world.says(
        "rpc",
        Says::Chain(CHAIN, Some(vec![world.keeps("a", &versions[2])])),
    );
    world.pass(6);
    assert_eq!(now().await, Ok(Some(2)));
    // And a registry that says "absent" ends it.
    world.says("rpc", Says::Chain(CHAIN, None));
    world.pass(301);
    assert_eq!(now().await, Ok(None));
}

#[tokio::test]
async fn many_who_ask_at_once_are_one_question() {
    let world = World::new().await;
    let alice = person(1);
    let places = vec![world.keeps("a", &documents(&alice, 1)[0])];
    let rpc = world.says("rpc", Says::Chain(CHAIN, Some(places)));
    let resolver = Arc::new(world.chain_resolver(vec![rpc]));
    let askers = (0..50).map(|_| {
        let (resolver, did) = (Arc::clone(&resolver), alice.did().clone());
        tokio::spawn(async move { version(&resolver, &did).await })
    });
    for asker in askers.collect::<Vec<_>>() {
        assert_eq!(asker.await.unwrap(), Ok(Some(0)));
    }
    // Chain, call, document.
    assert_eq!(world.asked().len(), 3);
}

#[tokio::test]
async fn directories_are_all_asked_and_all_must_say_absent() {
    let world = World::new().await;
    let alice = person(1);
    let place = world.keeps("a", &documents(&alice, 1)[0]);
    let registered = json!({"success": true, "data": [alice.did().address().lowercase(), [place]]});
    let absent = r#"{"success":false,"data":"UnregisteredDID"}"#.to_owned();
    world.says("one/didRegistry/lookup", Says::Plain(404, absent.clone()));
    world.says("two/didRegistry/lookup", Says::Plain(404, absent));
    let bases = ["one/", "two/"]
        .map(|path| world.base.join(path).unwrap())
        .to_vec();
    let resolver = || world.resolver(Arc::new(DirectoryRegistry::new(bases.clone(), world.web())));

    assert_eq!(version(&resolver(), alice.did()).await, Ok(None));
    world.says("two/didRegistry/lookup", Says::Plain(502, String::new()));
    assert_eq!(
        version(&resolver(), alice.did()).await,
        Err(ResolveError::Registry)
    );
    world.says(
        "two/didRegistry/lookup",
        Says::Plain(200, registered.to_string()),
    );
    assert_eq!(version(&resolver(), alice.did()).await, Ok(Some(0)));
}

#[tokio::test]
async fn places_on_private_networks_are_not_contacted() {
    let world = World::new().await;
    let alice = person(1);
    let place = world.keeps("a", &documents(&alice, 1)[0]);
    let file = json!({alice.did().lowercase(): [place]}).to_string();
    let source = || {
        let file = adyton_resolver::registry_file::FileRegistry::parse(file.as_bytes());
        Source::File(file.unwrap())
    };
    let clock = Clock::system();
    let public = Transport::new(Reach::Public).unwrap();
    let refused = RegistryResolver::new(source(), public, &clock);
    assert!(refused.resolve(alice.did()).await.is_err());
    assert!(world.asked().is_empty());
    let local = Transport::new(Reach::AlsoThisMachine).unwrap();
    let allowed = RegistryResolver::new(source(), local, &clock);
    assert_eq!(
        allowed
            .resolve(alice.did())
            .await
            .unwrap()
            .unwrap()
            .version_id(),
        0
    );
}
