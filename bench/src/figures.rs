//! Makes the data, measures, prints.

use std::time::{Duration, Instant};

use adyton_attest::Policy;
use adyton_client::attested_node::{AttestedNode, NodeCredential};
use adyton_client::clock::Clock;
use adyton_client::did_resolver::StorageNodeResolver;
use adyton_client::endpoint::EgressPolicy;
use adyton_client::identity::open_context;
use adyton_client::record::{PreparedRecord, Save};
use adyton_client::registry;
use adyton_client::session::Session;
use adyton_client::storage_node::StorageNode;
use adyton_client::transport::Transport;
use adyton_keys::account::Account;
use adyton_keys::record_cipher::RecordCipher;
use adyton_protocol::context::ContextName;
use adyton_protocol::database::{DatabaseName, Permissions};
use adyton_sandbox::cluster::NETWORK;
use http::Method;
use rand_core::{OsRng, TryRngCore};
use serde_json::{Map, Value, json};

use crate::data::{Words, chat, email};
use crate::server::Server;
use crate::{Outcome, floor};

/// Requests per latency figure.
const REQUESTS: usize = 2_000;

struct Set {
    title: &'static str,
    shortcut: &'static str,
    schema: String,
    database: &'static str,
    sort: Value,
    indexed: Value,
    unindexed: Value,
    plaintext: u64,
    records: usize,
    floor: Duration,
}

/// Everything.
pub(crate) async fn measure(emails: usize, chats: usize, rounds: usize) -> Outcome<()> {
    print_machine();
    let directory = tempfile::tempdir()?;
    let storage = Server::storage(directory.path())?;
    let clock = Clock::system();
    let transport = Transport::new(EgressPolicy::AlsoLoopback)?;
    let (account, _words) = Account::generate(NETWORK.anchor(), &mut OsRng.unwrap_err());
    let nodes = [StorageNode::new(
        transport.clone(),
        storage.said("url").parse()?,
    )?];
    let resolver = StorageNodeResolver::new(nodes.to_vec());
    let context = open_context(
        &account,
        NETWORK,
        &ContextName::vault(),
        &nodes,
        &resolver,
        &clock,
    )
    .await?;
    let owner = NodeCredential::Session(context.expose_api_key());
    let session = Session::open(&context, transport, clock.clone()).await?;

    let mut sets = [
        Set {
            title: "emails, 61 KB each",
            shortcut: "social-email",
            schema: schema("social/email"),
            database: "social_email",
            sort: json!([{ "sentAt": "desc" }]),
            indexed: json!({ "fromEmail": "sender7@example.com" }),
            unindexed: json!({ "messageText": { "$regex": "zzzzqqq" } }),
            plaintext: 0,
            records: emails,
            floor: Duration::ZERO,
        },
        Set {
            title: "chat messages, 300 B each",
            shortcut: "social-chat-message",
            schema: schema("social/chat/message"),
            database: "social_chat_message",
            sort: json!([{ "sentAt": "desc" }]),
            indexed: json!({ "groupId": "group-7", "sentAt": { "$gte": "2024" } }),
            unindexed: json!({ "messageText": { "$regex": "zzzzqqq" } }),
            plaintext: 0,
            records: chats,
            floor: Duration::ZERO,
        },
    ];
    for set in &mut sets {
        let mut words = Words::new(7);
        let make: fn(usize, &mut Words) -> Map<String, Value> = if set.database == "social_email" {
            email
        } else {
            chat
        };
        write(&session, set, |n| make(n, &mut words)).await?;
    }
    for set in &sets {
        println!(
            "\n== {} {} ({:.1} MB of plaintext)",
            set.records,
            set.title,
            set.plaintext as f64 / 1e6
        );
        cold(set, &owner, &clock, rounds).await?;
        warm(set, &owner, &clock).await?;
    }
    Ok(())
}

fn schema(path: &str) -> String {
    format!("https://common.schemas.verida.io/{path}/v0.1.0/schema.json")
}

fn print_machine() {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    println!(
        "machine: {cores} cores, {}",
        model.trim_start_matches([' ', '\t', ':'])
    );
    println!("load average before: {}", read("/proc/loadavg").trim());
}

async fn write(
    session: &Session,
    set: &mut Set,
    mut make: impl FnMut(usize) -> Map<String, Value>,
) -> Outcome<()> {
    let database = session.database(&DatabaseName::new(set.database)?);
    registry::create_registered(&database, &Permissions::default()).await?;
    let cipher = database.cipher();
    let per_batch = if set.records > 10_000 { 2_000 } else { 50 };
    let mut feed = Vec::new();
    let mut batch = Vec::new();
    for n in 0..set.records {
        let record = PreparedRecord::new(make(n), Save::Insert, Some(&set.schema), session)?;
        set.plaintext += record.text()?.len() as u64;
        let payload = cipher.seal(&record.text()?, &mut OsRng.unwrap_err());
        feed.extend_from_slice(
            format!("{{\"id\":\"x\",\"doc\":{{\"payload\":\"{payload}\"}}}}\n").as_bytes(),
        );
        batch.push(record);
        if batch.len() == per_batch || n + 1 == set.records {
            for written in database.put_all(&batch, &cipher).await? {
                written?;
            }
            batch.clear();
        }
    }
    set.floor = floor::measure(
        &feed,
        &RecordCipher::of(&session.keyring().database_key(database.name())),
    );
    Ok(())
}

/// The first request of a fresh node: everything is loaded, sorted and returned.
async fn cold(set: &Set, owner: &NodeCredential, clock: &Clock, rounds: usize) -> Outcome<()> {
    let (mut walls, mut cpus, mut memory, mut firsts) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        for everything in [true, false] {
            let server = Server::node()?;
            let mut node = connect(&server, clock).await?;
            let before = server.cpu()?;
            let begun = Instant::now();
            let limit = if everything { set.records } else { 20 };
            let body = json!({ "query": {}, "options": { "sort": set.sort, "limit": limit } });
            let answer = query(&mut node, set, owner, &body).await?;
            let wall = begun.elapsed();
            if answer.1 != set.records as u64 {
                return Err(format!("{} of {} records", answer.1, set.records).into());
            }
            if everything {
                walls.push(wall);
                cpus.push(server.cpu()? - before);
            } else {
                firsts.push(wall);
                memory.push(server.resident()?);
            }
        }
    }
    let floor = set.floor;
    let cpu = median(&mut cpus);
    println!(
        "cold, all records returned, sorted: wall {:.3} s (min {:.3})",
        seconds(median(&mut walls)),
        seconds(min(&walls))
    );
    println!(
        "cold, node's processor time:        {:.3} s = {:.1} x the floor of {:.3} s",
        seconds(cpu),
        seconds(cpu) / seconds(floor),
        seconds(floor)
    );
    println!(
        "cold, first 20 of all, sorted:      wall {:.3} s",
        seconds(median(&mut firsts))
    );
    memory.sort_unstable();
    let resident = memory.get(memory.len() / 2).copied().unwrap_or_default();
    println!(
        "resident after load:                {:.1} MB = {:.2} x plaintext",
        resident as f64 / 1e6,
        resident as f64 / set.plaintext as f64
    );
    Ok(())
}

async fn warm(set: &Set, owner: &NodeCredential, clock: &Clock) -> Outcome<()> {
    let server = Server::node()?;
    let mut node = connect(&server, clock).await?;
    let all = json!({ "query": {}, "options": { "limit": 500, "fields": ["_id"] } });
    let answer = node
        .send(Method::POST, &path("query", set), Some(owner), Some(&all))
        .await?
        .json()?;
    let ids: Vec<String> = answer
        .get("items")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|item| Some(item.get("_id")?.as_str()?.to_owned()))
        .collect();
    let unindexed = json!({ "query": set.unindexed });
    let begun = Instant::now();
    query(&mut node, set, owner, &unindexed).await?;
    println!(
        "warm, unindexed selector:           {:.1} ms",
        millis(begun.elapsed())
    );
    let indexed = json!({ "query": set.indexed, "options": { "limit": 20, "sort": set.sort, "fields": ["_id"] } });
    let begun = Instant::now();
    query(&mut node, set, owner, &indexed).await?;
    println!(
        "warm, first use of two indexes:     {:.1} ms",
        millis(begun.elapsed())
    );

    let mut gets = Vec::new();
    for id in ids.iter().cycle().take(REQUESTS) {
        let path = format!("{}/{id}", path("get", set));
        let begun = Instant::now();
        let answer = node.send(Method::GET, &path, Some(owner), None).await?;
        gets.push(begun.elapsed());
        if answer.status != 200 {
            return Err("a record is missing".into());
        }
    }
    print_latency("warm, get by id over TLS", &mut gets);
    let mut queries = Vec::new();
    for _ in 0..REQUESTS {
        let begun = Instant::now();
        query(&mut node, set, owner, &indexed).await?;
        queries.push(begun.elapsed());
    }
    print_latency("warm, indexed query over TLS", &mut queries);
    Ok(())
}

fn path(verb: &str, set: &Set) -> String {
    format!("/api/rest/v1/ds/{verb}/{}", set.shortcut)
}

async fn connect(server: &Server, clock: &Clock) -> Outcome<AttestedNode> {
    let policy = Policy::from_toml(server.said("policy"))?;
    Ok(AttestedNode::connect(server.said("url"), &policy, clock).await?)
}

/// Bytes of the answer, and the total that it names.
async fn query(
    node: &mut AttestedNode,
    set: &Set,
    owner: &NodeCredential,
    body: &Value,
) -> Outcome<(usize, u64)> {
    let answer = node
        .send(Method::POST, &path("query", set), Some(owner), Some(body))
        .await?;
    let tail = answer.body.len().saturating_sub(200);
    let end = String::from_utf8_lossy(answer.body.get(tail..).unwrap_or_default()).into_owned();
    if answer.status != 200 {
        return Err(format!("{}: {end}", answer.status).into());
    }
    let total = end
        .rsplit_once("\"total\":")
        .and_then(|(_, rest)| rest.split(',').next()?.parse().ok());
    Ok((answer.body.len(), total.ok_or("the answer has no total")?))
}

fn print_latency(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |share: f64| {
        times
            .get((times.len() as f64 * share) as usize)
            .copied()
            .unwrap_or_default()
    };
    println!(
        "{what:<36}p50 {:.3} ms, p99 {:.3} ms",
        millis(at(0.50)),
        millis(at(0.99))
    );
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn min(times: &[Duration]) -> Duration {
    times.iter().min().copied().unwrap_or_default()
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
