//! Nodes of one context replicate although a database is away at one of them, a document is refused for a while, or a disk is lost.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use adyton_protocol::did_registry::register_message;
use adyton_protocol::hash::keccak256;
use adyton_storage::{Pace, RegistryChoice};
use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use support::fault::Fault;
use support::sites::{Site, bulk, converged, databases, name, told, until};
use support::{Person, START, Session, put_context};
use tokio::net::TcpListener;

fn ids(range: std::ops::Range<u32>) -> impl Iterator<Item = String> {
    range.map(|n| format!("{n}"))
}

/// Two nodes of somebody's context, with this pace.
async fn two(pace: &Pace) -> Vec<Site> {
    let mut sites = Vec::new();
    for last_octet in 1..=2 {
        sites.push(Site::with_pace(last_octet, 0, pace.clone()).await);
    }
    for site in &sites {
        name(site, &urls(&sites)).await;
    }
    sites
}

fn urls(sites: &[Site]) -> Vec<String> {
    sites.iter().map(|site| site.way.url()).collect()
}

/// What somebody else's node has, which is simple and knows who says what.
#[derive(Default)]
struct Kept {
    documents: BTreeMap<String, Value>,
    locals: HashMap<String, Value>,
    /// Documents that it refuses, and in which words.
    refuses: HashMap<&'static str, &'static str>,
    /// It hangs up when it is sent this document.
    hangs_up_at: Option<&'static str>,
    tried: HashMap<String, u32>,
}

/// A node that keeps what it is sent, but for documents that it refuses.
struct Picky {
    url: String,
    kept: Arc<Mutex<Kept>>,
}

impl Picky {
    async fn start(last_octet: u8) -> Self {
        let address = format!("127.0.0.{last_octet}");
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let kept: Arc<Mutex<Kept>> = Arc::default();
        let picky = Self {
            url: url.clone(),
            kept: Arc::clone(&kept),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (url, kept) = (url.clone(), Arc::clone(&kept));
                let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let (url, kept) = (url.clone(), Arc::clone(&kept));
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
                        if kept.lock().unwrap().hangs_up(&body) {
                            return Err(std::io::Error::other("no more"));
                        }
                        let (status, told) = match head.uri.path() {
                            "/status" => (200, json!({"results": {"couchUri": url}})),
                            "/auth/replicationCreds" => (200, json!({"result": "created"})),
                            path => kept.lock().unwrap().answer(path, body, &head.method),
                        };
                        let body = Full::new(Bytes::from(told.to_string()));
                        Ok(Response::builder().status(status).body(body).unwrap())
                    }
                });
                let serving = hyper::server::conn::http1::Builder::new();
                tokio::spawn(serving.serve_connection(TokioIo::new(stream), service));
            }
        });
        picky
    }

    fn has(&self, id: &str) -> bool {
        self.kept.lock().unwrap().documents.contains_key(id)
    }
}

impl Kept {
    fn hangs_up(&mut self, body: &Value) -> bool {
        let Some(at) = self.hangs_up_at else {
            return false;
        };
        let documents = body["docs"].as_array().into_iter().flatten();
        let hangs_up = documents.into_iter().any(|document| document["_id"] == at);
        *self.tried.entry(at.to_owned()).or_default() += u32::from(hangs_up);
        hangs_up
    }

    fn answer(&mut self, path: &str, body: Value, method: &http::Method) -> (u16, Value) {
        let (database, rest) = path.trim_start_matches('/').split_once('/').unwrap();
        let key = |id: &str, rev: &Value| format!("{database}/{id}/{}", rev.as_str().unwrap());
        match (rest, method) {
            ("_revs_diff", _) => {
                let lacks = |(id, revs): (&String, &Value)| {
                    let revs = revs.as_array().unwrap().iter();
                    let lacked = revs.filter(|rev| !self.tried_and_taken(&key(id, rev)));
                    let lacked: Vec<Value> = lacked.cloned().collect();
                    (!lacked.is_empty()).then(|| (id.clone(), json!({"missing": lacked})))
                };
                let asked = body.as_object().unwrap().iter();
                (200, Value::Object(asked.filter_map(lacks).collect()))
            }
            ("_bulk_docs", _) => {
                let mut lines = Vec::new();
                for document in body["docs"].as_array().unwrap() {
                    let id = document["_id"].as_str().unwrap();
                    *self.tried.entry(id.to_owned()).or_default() += 1;
                    match self.refuses.get(id) {
                        Some(error) => lines.push(json!({"id": id, "error": error})),
                        None => {
                            let key = key(id, &document["_rev"]);
                            self.documents.insert(id.to_owned(), json!(key));
                        }
                    }
                }
                (201, json!(lines))
            }
            (local, &http::Method::PUT) => {
                let rev = json!("0-1");
                let mut body = body;
                body["_rev"] = rev.clone();
                self.locals.insert(local.to_owned(), body);
                (201, json!({"ok": true, "rev": rev}))
            }
            (local, _) => match self.locals.get(local) {
                Some(kept) => (200, kept.clone()),
                None => (404, json!({"error": "not_found"})),
            },
        }
    }

    fn tried_and_taken(&self, key: &str) -> bool {
        self.documents.values().any(|taken| *taken == json!(key))
    }
}

#[tokio::test]
async fn a_document_that_a_node_cannot_take_now_is_sent_again_and_one_that_it_never_takes_is_not() {
    let site = Site::start(1, 0).await;
    let picky = Picky::start(2).await;
    name(&site, &[site.way.url(), picky.url.clone()]).await;
    picky.kept.lock().unwrap().refuses = HashMap::from([
        ("passing", "internal_server_error"),
        ("full", "insufficient_storage"),
        ("never", "forbidden"),
    ]);
    let here = site.log_in(1).await;
    let db = here.database("d").await;
    let names = ["a", "passing", "full", "never", "z"];
    bulk(&here, &db, names.iter().map(|id| (*id).to_owned())).await;
    let later: Vec<String> = ids(0..250).collect();
    bulk(&here, &db, later.iter().cloned()).await;
    // What comes behind waits for none of them.
    until("the others are there", || async {
        ["a", "z"].iter().all(|id| picky.has(id)) && later.iter().all(|id| picky.has(id))
    })
    .await;
    until("they are tried again", || async {
        picky.kept.lock().unwrap().tried["passing"] > 2
    })
    .await;
    assert!(picky.kept.lock().unwrap().locals.is_empty());
    picky
        .kept
        .lock()
        .unwrap()
        .refuses
        .retain(|_, error| *error == "forbidden");
    until("what was refused for a while is there", || async {
        picky.has("passing") && picky.has("full")
    })
    .await;
    until("that is written down", || async {
        !picky.kept.lock().unwrap().locals.is_empty()
    })
    .await;
    let before = picky.kept.lock().unwrap().tried["never"];
    bulk(&here, &db, std::iter::once("last".to_owned())).await;
    until("the last one is there", || async { picky.has("last") }).await;
    assert_eq!(picky.kept.lock().unwrap().tried["never"], before);
    assert!(!picky.has("never"));
}

#[tokio::test]
async fn with_default_pauses_a_database_that_a_node_lacks_holds_up_no_other_and_is_filled_when_made()
 {
    let sites = two(&Pace::default()).await;
    let (here, there) = (sites[0].log_in(1).await, sites[1].log_in(1).await);
    let only_here = here.database("a").await;
    let everywhere = databases(&sites, "z").await;
    let put = async |db: &str, id: &str| {
        let written = here.put(&format!("{db}/{id}"), &json!({})).await;
        written.expect(201);
    };
    put(&only_here, "x").await;
    // By then, pauses that double have become long.
    for n in 0..5 {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        put(&only_here, &format!("x{n}")).await;
        let (id, began) = (format!("y{n}"), Instant::now());
        put(&everywhere, &id).await;
        let path = format!("{everywhere}/{id}");
        until("it is there", || async {
            there.get(&path).await.status == 200
        })
        .await;
        let waited = began.elapsed();
        assert!(waited < Duration::from_secs(2), "{waited:?}");
    }
    // The owner hears of it.
    let answer = here.post("/user/pingDatabases", &json!({})).await;
    let failed = answer.expect(200).json()["failedEndpoints"].take();
    assert_eq!(failed, json!([format!("{}/", urls(&sites)[1])]));
    let began = Instant::now();
    there.database("a").await;
    converged(&sites, &only_here, 6).await;
    let waited = began.elapsed();
    assert!(waited < Duration::from_secs(8), "{waited:?}");
}

#[tokio::test]
async fn a_node_that_lost_its_disk_gets_all_databases_again_though_one_was_written_first() {
    // Nobody may ask for another look within the test.
    let pace = Pace {
        doubt_pause: Duration::from_secs(3_600),
        ..support::sites::pace()
    };
    let mut sites = two(&pace).await;
    let one = databases(&sites, "one").await;
    let two = databases(&sites, "two").await;
    let here = sites[0].log_in(1).await;
    for db in [&one, &two] {
        bulk(&here, db, ids(0..20)).await;
        converged(&sites, db, 20).await;
    }
    for round in 0..2 {
        sites[1].down().await;
        sites[1].dir = tempfile::tempdir().unwrap();
        sites[1].up().await;
        name(&sites[1], &urls(&sites)).await;
        databases(&sites[1..], "one").await;
        databases(&sites[1..], "two").await;
        for db in [&one, &two] {
            let path = format!("{db}/new-{round}");
            here.put(&path, &json!({})).await.expect(201);
            converged(&sites, db, 21 + round).await;
        }
    }
}

#[tokio::test]
async fn a_target_whose_databases_were_put_back_without_a_word_is_noticed_and_filled() {
    let site = Site::start(1, 0).await;
    let picky = Picky::start(2).await;
    name(&site, &[site.way.url(), picky.url.clone()]).await;
    let here = site.log_in(1).await;
    let (one, two) = (here.database("one").await, here.database("two").await);
    let all = |prefix: &str| (0..20).map(|n| format!("{prefix}{n}")).collect::<Vec<_>>();
    bulk(&here, &one, all("a").into_iter()).await;
    bulk(&here, &two, all("b").into_iter()).await;
    let has_all = |more: usize| {
        let kept = picky.kept.lock().unwrap();
        kept.documents.len() == 40 + more && kept.locals.len() == 2
    };
    until("all is there", || async { has_all(0) }).await;
    // It lets us in as before, and has nothing.
    {
        let mut kept = picky.kept.lock().unwrap();
        kept.documents.clear();
        kept.locals.clear();
    }
    let path = format!("{one}/new");
    here.put(&path, &json!({})).await.expect(201);
    until("all is there again", || async { has_all(1) }).await;
    assert_eq!(told(&here, &one).await.len(), 21);
}

#[tokio::test]
async fn what_a_node_lost_while_nobody_may_look_again_is_not_written_down_as_there() {
    let pace = Pace {
        doubt_pause: Duration::from_secs(5),
        ..support::sites::pace()
    };
    let mut sites = two(&pace).await;
    let db = databases(&sites, "d").await;
    let (here, there) = (sites[0].log_in(1).await, sites[1].log_in(1).await);
    bulk(&here, &db, ids(0..50)).await;
    converged(&sites, &db, 50).await;
    let backups = tempfile::tempdir().unwrap();
    let backup = backups.path().join("old");
    let running = sites[1].storage.as_ref().unwrap();
    running.backup(&backup).await.unwrap();
    // What it wrote itself, nobody sent it: no checkpoint says how far that goes.
    bulk(&there, &db, ids(50..90)).await;
    converged(&sites, &db, 90).await;
    // The look that is allowed now is used up.
    let answer = here.post("/user/pingDatabases", &json!({})).await;
    answer.expect(200);
    tokio::time::sleep(Duration::from_millis(300)).await;
    sites[1].down().await;
    sites[1].dir = tempfile::tempdir().unwrap();
    adyton_storage::restore(&backup, sites[1].dir.path()).unwrap();
    sites[1].up().await;
    let path = format!("{db}/new");
    here.put(&path, &json!({})).await.expect(201);
    converged(&sites, &db, 91).await;
}

#[tokio::test]
async fn a_database_during_which_a_node_hangs_up_each_time_comes_behind_the_others() {
    // Whichever of the two would come first by its name.
    for (bad, good) in [("one", "two"), ("two", "one")] {
        let site = Site::start(1, 0).await;
        let picky = Picky::start(2).await;
        picky.kept.lock().unwrap().hangs_up_at = Some("x");
        name(&site, &[site.way.url(), picky.url.clone()]).await;
        let here = site.log_in(1).await;
        let (bad, good) = (here.database(bad).await, here.database(good).await);
        bulk(&here, &bad, std::iter::once("x".to_owned())).await;
        until("it hung up", || async {
            let kept = picky.kept.lock().unwrap();
            kept.tried.get("x").is_some_and(|tried| *tried > 1)
        })
        .await;
        bulk(&here, &good, ids(0..20)).await;
        until("the other database is there", || async {
            picky.kept.lock().unwrap().documents.len() == 20
        })
        .await;
        picky.kept.lock().unwrap().hangs_up_at = None;
        until("it is there, too", || async { picky.has("x") }).await;
    }
}

/// A person whose document only this site keeps, which is a directory.
async fn registered(keeper: &Site) -> Person {
    let person = Person::new(1);
    person.publish(&keeper.client(), START).await;
    let address = person.did.address();
    let places = vec![format!(
        "{}/did/{}",
        keeper.way.url(),
        person.did.lowercase()
    )];
    let signature = person.sign(keccak256(&register_message(&address, &places, 0)));
    let registration =
        json!({"didAddress": address.lowercase(), "endpoints": places, "signature": signature});
    let path = "/didRegistry/register";
    let answer = keeper.client().post(path, &registration).await;
    answer.expect(200);
    person
}

#[tokio::test]
async fn a_context_that_may_be_shared_is_not_forgotten_at_a_restart_while_nobody_can_be_asked() {
    let pace = support::sites::pace;
    let keeper = Site::with(3, 0, pace(), RegistryChoice::Directory(Vec::new())).await;
    let person = registered(&keeper).await;
    let asked = vec![keeper.way.url().parse().unwrap()];
    let asking = RegistryChoice::Directory(asked);
    let mut site = Site::with(1, 0, pace(), asking.clone()).await;
    let other = Site::with(2, 0, pace(), asking).await;
    let urls = [&site, &other].map(|site| format!("{}/", site.way.url()));
    // The context lies on one node, and is then shared with another, of which the first does not hear.
    put_context(&keeper.client(), &person, urls[..1].to_vec(), START).await;
    let here = site.log_in(1).await;
    let db = here.database("d").await;
    let path = format!("{db}/before");
    here.put(&path, &json!({})).await.expect(201);
    tokio::time::sleep(Duration::from_millis(300)).await;
    site.down().await;
    put_context(&keeper.client(), &person, urls.to_vec(), START).await;
    let there = other.log_in(1).await;
    there.database("d").await;

    keeper.way.fault(Fault::Partition);
    site.up().await;
    let here = Session {
        client: site.client(),
        ..here
    };
    let path = format!("{db}/x");
    here.put(&path, &json!({})).await.expect(201);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(there.get(&path).await.status, 404);
    site.down().await;
    keeper.way.fault(Fault::None);
    site.up().await;
    until("what was written is there", || async {
        there.get(&path).await.status == 200
    })
    .await;
}
