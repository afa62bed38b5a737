//! A confidential node whose user's context lies on three storage nodes: whichever is killed, it goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use adyton_client::clock::Clock;
use adyton_node::config::Config;
use adyton_sandbox::SimulatedTee;
use adyton_sandbox::cluster::RunningNode;
use serde_json::json;

use crate::site::{Direct, Owner, PATIENCE, Sites, converged};
use crate::support::{NodeClient, note};
use crate::{make, notes, open, put, record, texts};

/// As many notes as make a query that can be interrupted.
const NOTES: usize = 3_000;
/// A query may not take longer because a storage node is away.
const SOON: Duration = Duration::from_secs(20);

async fn confidential_node() -> RunningNode {
    let clock = Clock::system();
    let ticking = clock.clone();
    let tee = SimulatedTee::start(Arc::new(move || ticking.now())).unwrap();
    let config = "listen = \"127.0.0.1:0\"\nallow_loopback_storage = true\n";
    let config = Config::parse(config).unwrap();
    RunningNode::start(config, Arc::new(tee), clock)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_storage_node_is_killed_the_confidential_node_answers_and_writes_to_a_quorum() {
    let mut sites = Sites::start_apart(3).await;
    let owner = Owner::new(&sites);
    let context = owner.named(&sites.urls()).await;
    let session = open(&context, 0).await;
    make(&session).await;
    let database = notes(&session);
    let text = "x".repeat(300);
    let ids: Vec<String> = (0..NOTES).map(|n| format!("note-{n}")).collect();
    let records: Vec<_> = ids
        .iter()
        .map(|id| record(&session, id, None, Some(&text)))
        .collect();
    let written = database.put_all(&records, &database.cipher()).await;
    let mut acknowledged: Vec<(String, String)> = Vec::new();
    for (id, rev) in ids.iter().zip(written.unwrap()) {
        acknowledged.push((id.clone(), rev.unwrap().to_string()));
    }
    let db = database.hash().to_string();
    converged(&context, &sites.urls(), &db, &acknowledged).await;

    let key = context.expose_api_key().to_string();
    let mut expected = NOTES;
    // One of them is the node that is asked this hour.
    for n in 0..3 {
        // A confidential node that knows nothing yet, so that the query reads all of it.
        let node = confidential_node().await;
        let url = format!("https://{}", node.address());
        let mut client = NodeClient::connect(&url).await;
        let begun = Instant::now();
        let (asking, mine) = (key.clone(), url.clone());
        let asked = tokio::spawn(async move {
            let mut client = NodeClient::connect(&mine).await;
            client.notes(&asking).await
        });
        tokio::time::sleep(Duration::from_millis(40 + 30 * n as u64)).await;
        sites.all[n].kill();
        let answer = asked.await.unwrap().ok();
        assert_eq!(texts(&answer).len(), expected, "node {n}");
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());

        // Written through the confidential node's API: a quorum has it when it is acknowledged.
        let mut through_node = note(10_000 + n);
        through_node["text"] = json!("through the node");
        let created = client.create_note(&key, &through_node).await.ok();
        let rev = created["record"]["_rev"].as_str().unwrap().to_owned();
        let id = through_node["_id"].as_str().unwrap().to_owned();
        acknowledged.push((id, rev));
        expected += 1;
        for other in (0..3).filter(|other| *other != n) {
            let direct = Direct::new(&context, &sites.all[other].url()).await;
            assert_eq!(
                direct.lacks(&db, &acknowledged[expected - 1..]).await,
                json!({})
            );
        }
        // What somebody else writes is seen, too, whichever node it was that told before.
        let id = format!("meanwhile-{n}");
        let other = open(&context, n as u64 + 1).await;
        let rev = put(&other, &id, None, Some("meanwhile")).await.unwrap();
        acknowledged.push((id, rev.to_string()));
        expected += 1;
        client
            .notes_until(&key, |answer| texts(&answer.ok()).len() == expected)
            .await;

        sites.all[n].up_apart();
        converged(&context, &sites.urls(), &db, &acknowledged).await;
        client
            .notes_until(&key, |answer| texts(&answer.ok()).len() == expected)
            .await;
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
        node.shutdown().await;
    }
}
