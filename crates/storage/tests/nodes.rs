//! Nodes of one context replicate: three real ones, each behind a way that can be cut.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::Rng;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use support::fault::{Fault, mixed};
use support::sites::{
    Site, bulk, converged, databases, name, rename, three, three_whose_clocks_are_wrong_by, told,
    until,
};
use tokio::net::TcpListener;

#[tokio::test]
async fn a_write_on_one_node_reaches_the_others_and_then_there_is_silence() {
    let sites = three().await;
    let db = databases(&sites, "d").await;
    let (a, b, c) = (
        sites[0].log_in(1).await,
        sites[1].log_in(1).await,
        sites[2].log_in(1).await,
    );
    let rev = a.put(&format!("{db}/x"), &json!({"n": 1})).await;
    let rev = rev.expect(201).json()["rev"].as_str().unwrap().to_owned();
    converged(&sites, &db, 1).await;
    b.put(&format!("{db}/x"), &json!({"_rev": rev, "n": 2}))
        .await
        .expect(201);
    c.put(&format!("{db}/y"), &json!({"n": 1}))
        .await
        .expect(201);
    // Attachments: one that fits into the document, one that travels as a part.
    let body = json!({"_attachments": {
        "small": {"content_type": "text/plain", "data": "aGVsbG8="},
    }});
    let encoded = format!("{db}/z%20%C3%A9");
    b.put(&encoded, &body).await.expect(201);
    let large: Vec<u8> = (0..3 << 20_u32).map(|n: u32| (n >> 7) as u8).collect();
    let path = format!("{db}/large/file");
    sites[0]
        .client()
        .open_with(
            "PUT",
            &path,
            &a.access,
            &[("content-type", "application/octet-stream")],
            large.clone(),
        )
        .await;
    converged(&sites, &db, 4).await;
    for session in [&a, &b, &c] {
        let content = session.get(&path).await;
        assert!(content.expect(200).body == large);
        let small = session.get(&format!("{encoded}/small")).await;
        assert_eq!(small.expect(200).text(), "hello");
        assert_eq!(session.get(&format!("{db}/x")).await.json()["n"], 2);
    }
    let rev = c.get(&format!("{db}/y")).await.json()["_rev"].clone();
    let rev = rev.as_str().unwrap();
    a.send("DELETE", &format!("{db}/y?rev={rev}"), &Value::Null)
        .await
        .expect(200);
    until("a deletion reaches the others", || async {
        let gone = c.get(&format!("{db}/y")).await.status == 404;
        gone && b.get(&format!("{db}/y")).await.status == 404
    })
    .await;

    // No echo goes on: what came from another node is offered back once, and that is all.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let bytes = || sites.iter().map(|site| site.way.bytes()).sum::<u64>();
    let before = bytes();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bytes(), before);
    // One more write: sent to two nodes, with checkpoints, and offered back by each to the two others.
    a.put(&format!("{db}/w"), &json!({})).await.expect(201);
    converged(&sites, &db, 4).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let cost = bytes() - before;
    assert!((1_000..16_000).contains(&cost), "{cost}");
}

#[tokio::test]
async fn parted_nodes_write_the_same_document_and_choose_the_same_winner_when_they_meet() {
    let sites = three().await;
    let db = databases(&sites, "d").await;
    let path = format!("{db}/x");
    let mut sessions = Vec::new();
    for site in &sites {
        sessions.push(site.log_in(1).await);
    }
    let first = sessions[0].put(&path, &json!({"of": "all"})).await;
    let first = first.expect(201).json()["rev"].take();
    converged(&sites, &db, 1).await;

    for site in &sites {
        site.way.fault(Fault::Partition);
    }
    for (n, session) in sessions.iter().enumerate() {
        let edit = json!({"_rev": first, "of": n});
        session.put(&path, &edit).await.expect(201);
    }
    // Two of them meet before the third hears of it, which may be heard.
    sites[0].way.fault(Fault::None);
    sites[1].way.fault(Fault::None);
    until("two meet", || async {
        let (one, other) = (told(&sessions[0], &db).await, told(&sessions[1], &db).await);
        one == other && one["x"].0.len() >= 2
    })
    .await;
    sites[2].way.fault(Fault::None);
    converged(&sites, &db, 1).await;
    let mut winners = BTreeSet::new();
    for session in &sessions {
        let document = session.get(&format!("{path}?conflicts=true")).await.json();
        assert_eq!(document["_conflicts"].as_array().unwrap().len(), 2);
        winners.insert(document.to_string());
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
}

#[tokio::test]
async fn a_node_whose_clock_is_wrong_is_shut_out_until_it_is_right_and_loses_nothing() {
    let sites = three_whose_clocks_are_wrong_by([0, -60, 600]).await;
    let db = databases(&sites, "d").await;
    for (n, site) in sites.iter().enumerate() {
        let path = format!("{db}/of-{n}");
        let session = site.log_in(1).await;
        session.put(&path, &json!({})).await.expect(201);
    }
    converged(&sites[..2], &db, 2).await;
    assert_eq!(told(&sites[0].log_in(1).await, &db).await.len(), 2);
    assert_eq!(told(&sites[2].log_in(1).await, &db).await.len(), 1);
    sites[2].skew.store(0, Ordering::Relaxed);
    converged(&sites, &db, 3).await;
}

#[tokio::test]
async fn a_node_that_was_down_gets_what_it_missed_from_whoever_has_it() {
    let mut sites = three().await;
    let db = databases(&sites, "d").await;
    let ids = |range: std::ops::Range<u32>| range.map(|n| format!("{n}"));
    bulk(&sites[0].log_in(1).await, &db, ids(0..50)).await;
    converged(&sites, &db, 50).await;

    sites[2].down().await;
    bulk(&sites[0].log_in(1).await, &db, ids(50..600)).await;
    bulk(&sites[1].log_in(1).await, &db, ids(600..620)).await;
    converged(&sites[..2], &db, 620).await;
    sites[2].up().await;
    converged(&sites, &db, 620).await;

    // The writer goes down, too, before it could tell anybody: at its start it remembers that the context is shared.
    sites[1].down().await;
    sites[2].down().await;
    bulk(&sites[0].log_in(1).await, &db, ids(620..640)).await;
    sites[0].down().await;
    for site in &mut sites {
        site.up().await;
    }
    converged(&sites, &db, 640).await;
}

#[tokio::test]
async fn after_a_catch_up_a_restart_goes_on_from_the_checkpoint() {
    let mut sites = three().await;
    let db = databases(&sites, "d").await;
    bulk(
        &sites[0].log_in(1).await,
        &db,
        (0..2_000).map(|n| format!("{n}")),
    )
    .await;
    converged(&sites, &db, 2_000).await;
    // What the others offer back is done when nothing travels any more.
    let bytes = |sites: &[Site]| sites.iter().map(|site| site.way.bytes()).sum::<u64>();
    let mut before = 0;
    while before != bytes(&sites) {
        before = bytes(&sites);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    sites[0].down().await;
    sites[0].up().await;
    sites[0]
        .log_in(1)
        .await
        .put(&format!("{db}/new"), &json!({}))
        .await
        .expect(201);
    converged(&sites, &db, 2_001).await;
    // Without a checkpoint, 2,000 revisions would be asked about again: more than 45 bytes each, at two nodes.
    assert!(
        bytes(&sites) - before < 60_000,
        "{}",
        bytes(&sites) - before
    );
}

#[tokio::test]
async fn a_node_that_lost_its_data_gets_all_of_it_again() {
    let mut sites = three().await;
    let db = databases(&sites, "d").await;
    bulk(
        &sites[0].log_in(1).await,
        &db,
        (0..300).map(|n| format!("{n}")),
    )
    .await;
    converged(&sites, &db, 300).await;
    sites[1].down().await;
    sites[1].dir = tempfile::tempdir().unwrap();
    sites[1].up().await;
    let urls: Vec<String> = sites.iter().map(|site| site.way.url()).collect();
    name(&sites[1], &urls).await;
    sites[1].log_in(1).await.database("d").await;
    // A client that opens the database asks for replication, on whichever node it uses.
    let session = sites[0].log_in(1).await;
    let ping = json!({"databaseHashes": [session.hash("d")]});
    let answer = session.post("/user/pingDatabases", &ping).await;
    let answer = answer.expect(200).json();
    assert_eq!(
        answer["endpoints"],
        json!([format!("{}/", urls[1]), format!("{}/", urls[2])])
    );
    converged(&sites, &db, 300).await;
}

#[tokio::test]
async fn a_node_restored_from_an_older_backup_gets_back_what_it_lost_without_a_ping_or_a_write() {
    let mut sites = three().await;
    let db = databases(&sites, "d").await;
    let other = databases(&sites, "other").await;
    let here = sites[0].log_in(1).await;
    let ids = |range: std::ops::Range<u32>| range.map(|n| format!("{n}"));
    bulk(&here, &db, ids(0..100)).await;
    converged(&sites, &db, 100).await;
    let backups = tempfile::tempdir().unwrap();
    let backup = backups.path().join("old");
    let running = sites[1].storage.as_ref().unwrap();
    running.backup(&backup).await.unwrap();

    // What it is about to lose: from another node, and acknowledged by itself; an edit, and a deletion.
    bulk(&here, &db, ids(100..300)).await;
    bulk(&here, &other, ids(0..3)).await;
    let restored = sites[1].log_in(1).await;
    bulk(&restored, &db, ids(300..320)).await;
    for (id, is_deletion) in [("1", false), ("2", true)] {
        let path = format!("{db}/{id}");
        let rev = here.get(&path).await.expect(200).json()["_rev"].take();
        let edit = json!({"_rev": rev, "_deleted": is_deletion, "n": 2});
        let status = if is_deletion { 200 } else { 201 };
        here.put(&path, &edit).await.expect(status);
    }
    converged(&sites, &db, 320).await;
    converged(&sites, &other, 3).await;
    let expected = told(&here, &db).await;
    // The second time comes sooner than the others may look again.
    for _ in 0..2 {
        sites[1].down().await;
        sites[1].dir = tempfile::tempdir().unwrap();
        adyton_storage::restore(&backup, sites[1].dir.path()).unwrap();
        sites[1].up().await;
        converged(&sites, &db, 320).await;
        converged(&sites, &other, 3).await;
        assert_eq!(told(&sites[1].log_in(1).await, &db).await, expected);
    }
}

#[tokio::test]
async fn a_node_that_lost_everything_is_filled_as_soon_as_the_database_is_made_there_again() {
    let mut sites = three().await;
    let db = databases(&sites, "d").await;
    let ids = (0..300).map(|n| format!("{n}"));
    bulk(&sites[0].log_in(1).await, &db, ids).await;
    converged(&sites, &db, 300).await;
    sites[1].down().await;
    sites[1].dir = tempfile::tempdir().unwrap();
    sites[1].up().await;
    let urls: Vec<String> = sites.iter().map(|site| site.way.url()).collect();
    name(&sites[1], &urls).await;
    sites[1].log_in(1).await.database("d").await;
    converged(&sites, &db, 300).await;
}

#[tokio::test]
async fn a_node_that_the_owner_names_is_filled_without_a_ping_or_a_write() {
    let sites = three().await;
    let urls: Vec<String> = sites.iter().map(|site| site.way.url()).collect();
    for site in &sites[..2] {
        rename(site, &urls[..2]).await;
    }
    let db = databases(&sites, "d").await;
    let ids = (0..100).map(|n| format!("{n}"));
    bulk(&sites[0].log_in(1).await, &db, ids).await;
    converged(&sites[..2], &db, 100).await;
    for site in &sites {
        rename(site, &urls).await;
    }
    converged(&sites, &db, 100).await;
}

#[tokio::test]
async fn a_ping_names_the_nodes_that_cannot_be_reached() {
    let sites = three().await;
    let db = databases(&sites, "d").await;
    let session = sites[0].log_in(1).await;
    // Those that had no such context yet let nobody into it: by now they do.
    until("the ping names nobody", || async {
        let answer = session.post("/user/pingDatabases", &json!({})).await;
        answer.expect(200).json()["failedEndpoints"] == json!([])
    })
    .await;
    sites[2].way.fault(Fault::Partition);
    session
        .put(&format!("{db}/x"), &json!({}))
        .await
        .expect(201);
    let away = json!([format!("{}/", sites[2].way.url())]);
    until("the ping tells", || async {
        let answer = session.post("/user/pingDatabases", &json!({})).await;
        answer.expect(200).json()["failedEndpoints"] == away
    })
    .await;
    // However often one pings: a node that is away is not asked more often than the pace says.
    let (before, began) = (sites[2].way.connections(), Instant::now());
    for _ in 0..50 {
        session
            .post("/user/checkReplication", &json!({}))
            .await
            .expect(200);
    }
    let most = 2 * (1 + began.elapsed().as_millis() / 50);
    let tried = u128::from(sites[2].way.connections() - before);
    assert!(tried <= most, "{tried} of {most}");
    sites[2].way.fault(Fault::None);
    converged(&sites, &db, 1).await;
    until("the ping tells that it is back", || async {
        let answer = session.post("/user/pingDatabases", &json!({})).await;
        answer.expect(200).json()["failedEndpoints"] == json!([])
    })
    .await;
}

/// Writes on all nodes while the ways between them break, by a seed; then the weather clears.
async fn weather(seed: u64) {
    let sites = three().await;
    let db = databases(&sites, "d").await;
    let mut sessions = Vec::new();
    for site in &sites {
        sessions.push(site.log_in(1).await);
    }
    let mut acknowledged: BTreeSet<(String, String)> = BTreeSet::new();
    for step in 0..60_u64 {
        let roll = mixed(seed.wrapping_mul(1_000) + step);
        if step % 6 == 0 {
            for (i, site) in sites.iter().enumerate() {
                site.way.fault(match (roll >> (i * 4)) % 4 {
                    0 => Fault::Partition,
                    1 => Fault::None,
                    _ => Fault::Random(roll),
                });
            }
        }
        let session = &sessions[usize::try_from(roll >> 20).unwrap_or(0) % 3];
        // Few names, so that nodes write the same document apart from each other.
        let path = format!("{db}/{}", (roll >> 30) % 12);
        let base = session.get(&path).await;
        let mut body = json!({"n": step, "pad": "x".repeat((roll >> 40) as usize % 3_000)});
        if base.status == StatusCode::OK {
            body["_rev"] = base.json()["_rev"].clone();
        }
        let written = session.put(&path, &body).await;
        // A replicated edit may come between: then nothing was acknowledged.
        if written.status == StatusCode::CREATED {
            let rev = written.json()["rev"].as_str().unwrap().to_owned();
            acknowledged.insert((path.clone(), rev));
        }
        tokio::time::sleep(Duration::from_millis(roll % 12)).await;
    }
    for site in &sites {
        site.way.fault(Fault::None);
    }
    let ids: BTreeSet<&String> = acknowledged.iter().map(|(path, _)| path).collect();
    converged(&sites, &db, ids.len()).await;
    for session in &sessions {
        for (path, rev) in &acknowledged {
            // Known on every node: as a leaf, or in the history of one.
            let open = session
                .get(&format!("{path}?open_revs=all&revs=true"))
                .await
                .json();
            let (generation, hash) = rev.split_once('-').unwrap();
            let generation: u64 = generation.parse().unwrap();
            let known = open.as_array().unwrap().iter().any(|leaf| {
                let revisions = &leaf["ok"]["_revisions"];
                let start = revisions["start"].as_u64().unwrap();
                let ids = revisions["ids"].as_array().unwrap();
                let back = start.checked_sub(generation);
                back.is_some_and(|back| {
                    ids.get(usize::try_from(back).unwrap()) == Some(&json!(hash))
                })
            });
            assert!(known, "seed {seed}: {path} {rev}");
        }
    }
}

#[tokio::test]
async fn nodes_whose_ways_drop_delay_and_cut_converge_and_lose_nothing() {
    // Random, as every property's inputs are: `PROPTEST_RNG_SEED` repeats them.
    let mut runner = TestRunner::default();
    for _ in 0..4 {
        let seed = runner.rng().next_u64();
        println!("seed {seed}");
        weather(seed).await;
    }
}

/// How another node lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    /// It has everything.
    HasAll,
    /// It lacks what it was not asked about.
    OtherIds,
    /// Its answers never end.
    Endless,
    /// Its answers never begin.
    Mute,
    /// It refuses each request as a whole.
    Refuses,
    /// It took documents that it was not sent.
    TookOthers,
}

/// A node that lets everybody in and then lies, and counts.
struct Liar {
    url: String,
    lie: Arc<Mutex<Lie>>,
    requests: Arc<AtomicU64>,
    /// Addresses that were asked for, and passwords that were given.
    seen: Arc<Mutex<Vec<String>>>,
}

type LiesBody = UnsyncBoxBody<Bytes, Infallible>;

impl Liar {
    async fn start(last_octet: u8) -> Self {
        let listener = TcpListener::bind((format!("127.0.0.{last_octet}"), 0))
            .await
            .unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let liar = Self {
            url: url.clone(),
            lie: Arc::new(Mutex::new(Lie::HasAll)),
            requests: Arc::default(),
            seen: Arc::default(),
        };
        let seen = Arc::clone(&liar.seen);
        let (lie, requests) = (Arc::clone(&liar.lie), Arc::clone(&liar.requests));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (url, lie) = (url.clone(), Arc::clone(&lie));
                let (requests, seen) = (Arc::clone(&requests), Arc::clone(&seen));
                let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    requests.fetch_add(1, Ordering::Relaxed);
                    let lie = *lie.lock().unwrap();
                    let (url, seen) = (url.clone(), Arc::clone(&seen));
                    async move {
                        let path = request.uri().path().to_owned();
                        seen.lock().unwrap().push(request.uri().to_string());
                        let asked = request.into_body().collect().await.unwrap().to_bytes();
                        let body: Value = serde_json::from_slice(&asked).unwrap_or_default();
                        if let Some(password) = body["password"].as_str() {
                            seen.lock().unwrap().push(format!("password {password}"));
                            seen.lock().unwrap().push(format!("to {}", body["to"]));
                        }
                        Ok::<_, Infallible>(answer(&path, &asked, lie, &url).await)
                    }
                });
                let serving = hyper::server::conn::http1::Builder::new();
                tokio::spawn(serving.serve_connection(TokioIo::new(stream), service));
            }
        });
        liar
    }
}

async fn answer(path: &str, asked: &Bytes, lie: Lie, url: &str) -> Response<LiesBody> {
    let whole = |status: u16, value: Value| {
        let body = Full::new(Bytes::from(value.to_string())).boxed_unsync();
        Response::builder().status(status).body(body).unwrap()
    };
    let endless = || {
        let piece = Bytes::from(vec![b' '; 64 << 10]);
        let pieces =
            futures_util::stream::repeat_with(move || Ok(http_body::Frame::data(piece.clone())));
        Response::new(StreamBody::new(pieces).boxed_unsync())
    };
    let last = path.rsplit('/').next().unwrap();
    match (last, lie) {
        ("status", _) => whole(200, json!({"results": {"couchUri": url}})),
        ("replicationCreds", _) => whole(200, json!({"result": "created"})),
        (_, Lie::Mute) => std::future::pending().await,
        (_, Lie::Endless) => endless(),
        ("_revs_diff", Lie::HasAll) => whole(200, json!({})),
        ("_revs_diff", Lie::OtherIds) => {
            let rev = "1-967a00dff5e02add41819138abb3284d";
            whole(200, json!({"other": {"missing": [rev]}}))
        }
        ("_revs_diff", _) => {
            let asked: Value = serde_json::from_slice(asked).unwrap();
            let all = asked.as_object().unwrap().iter();
            let all = all.map(|(id, revs)| (id.clone(), json!({"missing": revs})));
            whole(200, Value::Object(all.collect()))
        }
        ("_bulk_docs", Lie::Refuses) => whole(413, json!({"error": "too_large"})),
        ("_bulk_docs", _) => whole(201, json!([{"id": "other", "error": "forbidden"}])),
        // It does not keep checkpoints, and claims one far ahead.
        _ => whole(
            200,
            json!({"_rev": "0-1", "source_last_seq": "99-0000000000000001"}),
        ),
    }
}

#[tokio::test]
async fn a_lying_node_costs_little_and_the_honest_ones_lose_nothing() {
    let sites = [Site::start(4, 0).await, Site::start(5, 0).await];
    let liar = Liar::start(6).await;
    let mut urls: Vec<String> = sites.iter().map(|site| site.way.url()).collect();
    urls.push(liar.url.clone());
    for site in &sites {
        name(site, &urls).await;
    }
    let db = databases(&sites, "d").await;
    let session = sites[0].log_in(1).await;
    let mut written = 0;
    for lie in [
        Lie::HasAll,
        Lie::OtherIds,
        Lie::Endless,
        Lie::Refuses,
        Lie::TookOthers,
        Lie::Mute,
    ] {
        *liar.lie.lock().unwrap() = lie;
        bulk(&session, &db, (0..20).map(|n| format!("{lie:?}-{n}"))).await;
        written += 20;
        converged(&sites, &db, written).await;
        // Two links to it, with pauses of 25 ms and more that double; a refused request is tried document by document.
        let before = liar.requests.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(500)).await;
        let requests = liar.requests.load(Ordering::Relaxed) - before;
        assert!(requests < 400, "{lie:?}: {requests}");
        let found = told(&session, &db).await;
        assert_eq!(found.len(), written, "{lie:?}");
    }
}

#[tokio::test]
async fn only_nodes_that_the_owner_named_beside_this_one_are_contacted() {
    let sites = [Site::start(7, 0).await, Site::start(8, 0).await];
    let urls: Vec<String> = sites.iter().map(|site| site.way.url()).collect();
    // The document names the second node alone.
    name(&sites[0], &urls[1..]).await;
    let session = sites[0].log_in(1).await;
    let db = session.database("d").await;
    session
        .put(&format!("{db}/x"), &json!({}))
        .await
        .expect(201);
    let answer = session.post("/user/pingDatabases", &json!({})).await;
    assert_eq!(answer.expect(200).json()["endpoints"], json!([]));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(sites[1].way.connections(), 0);
}

#[tokio::test]
async fn what_was_written_is_pushed_even_if_the_writer_hung_up() {
    let sites = three().await;
    let db = databases(&sites, "d").await;
    let here = sites[0].log_in(1).await;
    for n in 0..20_u64 {
        let (path, body) = (format!("{db}/{n}"), json!({}));
        let writing = here.put(&path, &body);
        let _hung_up = tokio::time::timeout(Duration::from_micros(n * 300), writing).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let written = told(&here, &db).await.len();
    converged(&sites, &db, written).await;
}

#[tokio::test]
async fn a_node_that_the_owner_names_no_more_gets_nothing_more() {
    let sites = three().await;
    let db = databases(&sites, "d").await;
    let here = sites[0].log_in(1).await;
    here.put(&format!("{db}/x"), &json!({})).await.expect(201);
    converged(&sites, &db, 1).await;
    let urls: Vec<String> = sites.iter().map(|site| site.way.url()).collect();
    for site in &sites[..2] {
        rename(site, &urls[..2]).await;
        let session = site.log_in(1).await;
        session
            .post("/user/pingDatabases", &json!({}))
            .await
            .expect(200);
    }
    // Until both have read the new document.
    tokio::time::sleep(Duration::from_millis(300)).await;
    here.put(&format!("{db}/y"), &json!({})).await.expect(201);
    converged(&sites[..2], &db, 2).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let away = sites[2].log_in(1).await;
    away.get(&format!("{db}/y")).await.expect(404);
}

#[tokio::test]
async fn a_database_that_a_node_lacks_does_not_hold_up_the_others() {
    let sites = three().await;
    let here = sites[0].log_in(1).await;
    let only_here = here.database("a").await;
    let everywhere = databases(&sites, "z").await;
    for db in [&only_here, &everywhere] {
        here.put(&format!("{db}/x"), &json!({})).await.expect(201);
    }
    converged(&sites, &everywhere, 1).await;
    // Once the owner makes it there, it fills.
    databases(&sites, "a").await;
    converged(&sites, &only_here, 1).await;
}

#[tokio::test]
async fn the_password_for_another_node_is_neither_on_disk_nor_in_an_address() {
    let mut site = Site::start(9, 0).await;
    let other = Liar::start(10).await;
    name(&site, &[site.way.url(), other.url.clone()]).await;
    let session = site.log_in(1).await;
    let db = session.database("d").await;
    session
        .put(&format!("{db}/x"), &json!({}))
        .await
        .expect(201);
    until("it is asked what it lacks", || async {
        let seen = other.seen.lock().unwrap();
        seen.iter().any(|line| line.ends_with("_revs_diff"))
    })
    .await;
    let seen = other.seen.lock().unwrap().clone();
    let password = seen
        .iter()
        .find_map(|line| line.strip_prefix("password "))
        .unwrap();
    assert_eq!(password.len(), 64);
    // Whoever gets it cannot pass it on: the node that it is for is named.
    assert!(seen.contains(&format!("to \"{}\"", other.url)));
    let addresses = seen.iter().filter(|line| line.starts_with('/'));
    assert!(addresses.into_iter().all(|line| !line.contains(password)));
    site.down().await;
    let bytes = std::fs::read(Path::new(site.dir.path()).join("node.redb")).unwrap();
    let holds = |text: &str| {
        bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    assert!(holds("replicated_accounts") && !holds(password));
}
