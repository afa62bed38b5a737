//! How much one tenant at its limit moves the answers of another: the same load alone and beside it, in turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use adyton_client::attested_node::NodeCredential;
use adyton_client::clock::Clock;
use clap::Args;
use http::Method;
use serde_json::{Value, json};

use crate::Outcome;
use crate::dataset::{DataSet, Person, connect};
use crate::figures::print_machine;
use crate::server::Server;

#[derive(Args)]
pub(crate) struct Load {
    /// Small records of the tenant that asks for too much.
    #[arg(long, default_value_t = 100_000)]
    records: usize,
    /// Its connections, each with a scan of all its records at any time.
    #[arg(long, default_value_t = 32)]
    greedy: usize,
    /// Small records of the other.
    #[arg(long, default_value_t = 10_000)]
    quiet_records: usize,
    /// Requests a second of the other; a tenth as many scans.
    #[arg(long, default_value_t = 200)]
    rate: u64,
    /// How long each part of a round takes.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Rounds: each alone, and beside the other.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// One tenant with its data.
struct Tenant {
    person: Person,
    set: DataSet,
}

impl Tenant {
    async fn new(directory: &std::path::Path, records: usize, clock: &Clock) -> Outcome<Self> {
        let person = Person::new(directory, clock).await?;
        let mut set = DataSet::chats(records);
        person.write(&mut set).await?;
        Ok(Self { person, set })
    }
}

/// What is asked for again and again.
#[derive(Clone)]
struct Question {
    what: &'static str,
    method: Method,
    paths: Arc<Vec<String>>,
    body: Option<Value>,
    /// How often a second.
    rate: u64,
}

pub(crate) async fn measure(load: &Load) -> Outcome<()> {
    print_machine();
    let clock = Clock::system();
    let (one, other) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let greedy = Tenant::new(one.path(), load.records, &clock).await?;
    let quiet = Tenant::new(other.path(), load.quiet_records, &clock).await?;
    let server = Server::node()?;
    let mut node = connect(&server, &clock).await?;
    let owner = &quiet.person.owner;
    let ids = quiet.set.ids(&mut node, owner).await?;
    let gets = ids
        .iter()
        .map(|id| format!("{}/{id}", quiet.set.path("get")));
    let questions = [
        Question {
            what: "get by id",
            method: Method::GET,
            paths: Arc::new(gets.collect()),
            body: None,
            rate: load.rate,
        },
        Question {
            what: "indexed query, first 20",
            method: Method::POST,
            paths: Arc::new(vec![quiet.set.path("query")]),
            body: Some(json!({
                "query": quiet.set.range, "options": { "limit": 20, "sort": quiet.set.sort, "fields": ["_id"] },
            })),
            rate: load.rate,
        },
        Question {
            what: "scan of all its records",
            method: Method::POST,
            paths: Arc::new(vec![quiet.set.path("query")]),
            body: Some(json!({ "query": quiet.set.unindexed })),
            rate: (load.rate / 10).max(1),
        },
    ];
    for question in &questions {
        // Indexes are built by the first one.
        times(&server, &clock, owner, question, Duration::from_secs(1)).await?;
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        let mut scans = 0;
        let part = Duration::from_secs(load.seconds);
        for _ in 0..load.rounds {
            alone.push(p99(times(&server, &clock, owner, question, part).await?));
            let greed = Greed::start(&server, &clock, &greedy, load.greedy).await?;
            beside.push(p99(times(&server, &clock, owner, question, part).await?));
            scans += greed.stop().await?;
        }
        let (alone, beside) = (median(&mut alone), median(&mut beside));
        println!(
            "{:<26}p50 {:.3} ms, p99 {:.3} ms alone; p50 {:.3} ms, p99 {:.3} ms beside {} scans a second: p99 {:+.0} %",
            question.what,
            millis(alone.0),
            millis(alone.1),
            millis(beside.0),
            millis(beside.1),
            scans / (load.seconds * load.rounds as u64).max(1),
            (beside.1.as_secs_f64() / alone.1.as_secs_f64() - 1.0) * 100.0,
        );
    }
    Ok(())
}

/// A tenant that asks for more than it gets.
struct Greed {
    stop: Arc<AtomicBool>,
    scans: Arc<AtomicU64>,
    asking: Vec<tokio::task::JoinHandle<Outcome<()>>>,
}

impl Greed {
    async fn start(
        server: &Server,
        clock: &Clock,
        tenant: &Tenant,
        connections: usize,
    ) -> Outcome<Self> {
        let (stop, scans) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let key = match &tenant.person.owner {
            NodeCredential::Session(key) => key.to_string(),
            NodeCredential::Token(_) => return Err("an owner has a session".into()),
        };
        let mut asking = Vec::new();
        for _ in 0..connections {
            let mut node = connect(server, clock).await?;
            let (path, body) = (
                tenant.set.path("query"),
                json!({ "query": tenant.set.unindexed }),
            );
            let (stop, scans) = (Arc::clone(&stop), Arc::<AtomicU64>::clone(&scans));
            let owner = NodeCredential::Session(key.clone().into());
            asking.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let answer = node
                        .send(Method::POST, &path, Some(&owner), Some(&body))
                        .await?;
                    if answer.status != 200 {
                        return Err(format!("a scan was answered with {}", answer.status).into());
                    }
                    scans.fetch_add(1, Ordering::Relaxed);
                }
                Outcome::Ok(())
            }));
        }
        // Its data is loaded, and its line is as long as it gets.
        while scans.load(Ordering::Relaxed) < connections as u64 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        scans.store(0, Ordering::Relaxed);
        Ok(Self {
            stop,
            scans,
            asking,
        })
    }

    async fn stop(self) -> Outcome<u64> {
        let scans = self.scans.load(Ordering::Relaxed);
        self.stop.store(true, Ordering::Relaxed);
        for asking in self.asking {
            asking.await??;
        }
        Ok(scans)
    }
}

/// How long the answers take to a question that is asked so often a second, for so long. A late answer does not put off
/// the next question: that goes over another connection.
async fn times(
    server: &Server,
    clock: &Clock,
    owner: &NodeCredential,
    question: &Question,
    long: Duration,
) -> Outcome<Vec<Duration>> {
    const CONNECTIONS: u64 = 4;
    let NodeCredential::Session(key) = owner else {
        return Err("an owner has a session".into());
    };
    let begun = Instant::now() + Duration::from_millis(50);
    let mut asking = Vec::new();
    for lane in 0..CONNECTIONS {
        let mut node = connect(server, clock).await?;
        let question = question.clone();
        let owner = NodeCredential::Session(key.to_string().into());
        asking.push(tokio::spawn(async move {
            let mut times = Vec::new();
            for number in (lane..).step_by(CONNECTIONS as usize) {
                let due = begun + Duration::from_secs_f64(number as f64 / question.rate as f64);
                if due >= begun + long {
                    break;
                }
                tokio::time::sleep_until(due.into()).await;
                let path = question
                    .paths
                    .get(number as usize % question.paths.len())
                    .ok_or("there are no paths")?;
                let asked = Instant::now();
                let method = question.method.clone();
                let answer = node
                    .send(method, path, Some(&owner), question.body.as_ref())
                    .await?;
                times.push(asked.elapsed());
                if answer.status != 200 {
                    return Err(format!("a request was answered with {}", answer.status).into());
                }
            }
            Outcome::Ok(times)
        }));
    }
    let mut times = Vec::new();
    for asking in asking {
        times.extend(asking.await??);
    }
    Ok(times)
}

/// Half and ninety-nine hundredths of them were faster than these.
fn p99(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    let at = |share: f64| {
        let at = (times.len() as f64 * share) as usize;
        times.get(at).copied().unwrap_or_default()
    };
    (at(0.50), at(0.99))
}

fn median(rounds: &mut [(Duration, Duration)]) -> (Duration, Duration) {
    rounds.sort_unstable_by_key(|(_, p99)| *p99);
    rounds.get(rounds.len() / 2).copied().unwrap_or_default()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
