//! Makes the data, measures, prints.

use std::time::{Duration, Instant};

use adyton_client::attested_node::{AttestedNode, NodeCredential};
use adyton_client::clock::Clock;
use http::Method;
use serde_json::{Value, json};

use crate::Outcome;
use crate::dataset::{DataSet, Person, connect};
use crate::server::Server;

/// Requests per latency figure.
const REQUESTS: usize = 2_000;

/// Everything.
pub(crate) async fn measure(emails: usize, chats: usize, rounds: usize) -> Outcome<()> {
    print_machine();
    let directory = tempfile::tempdir()?;
    let clock = Clock::system();
    let person = Person::new(directory.path(), &clock).await?;
    let mut sets = [DataSet::emails(emails), DataSet::chats(chats)];
    for set in &mut sets {
        person.write(set).await?;
    }
    for set in &sets {
        println!(
            "\n== {} {} ({:.1} MB of plaintext)",
            set.records,
            set.title,
            set.plaintext as f64 / 1e6
        );
        cold(set, &person.owner, &clock, rounds).await?;
        warm(set, &person.owner, &clock).await?;
    }
    Ok(())
}

pub(crate) fn print_machine() {
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

/// The first request of a fresh node: everything is loaded, sorted and returned.
async fn cold(set: &DataSet, owner: &NodeCredential, clock: &Clock, rounds: usize) -> Outcome<()> {
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

async fn warm(set: &DataSet, owner: &NodeCredential, clock: &Clock) -> Outcome<()> {
    let server = Server::node()?;
    let mut node = connect(&server, clock).await?;
    let ids = set.ids(&mut node, owner).await?;
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
        let path = format!("{}/{id}", set.path("get"));
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
    let range = json!({ "query": set.range, "options": { "limit": 20, "sort": set.sort, "fields": ["_id"] } });
    let mut queries = Vec::new();
    for _ in 0..REQUESTS {
        let begun = Instant::now();
        query(&mut node, set, owner, &range).await?;
        queries.push(begun.elapsed());
    }
    print_latency("warm, range sorted, first 20", &mut queries);
    Ok(())
}

/// Bytes of the answer, and the total that it names.
async fn query(
    node: &mut AttestedNode,
    set: &DataSet,
    owner: &NodeCredential,
    body: &Value,
) -> Outcome<(usize, u64)> {
    let answer = node
        .send(Method::POST, &set.path("query"), Some(owner), Some(body))
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

pub(crate) fn print_latency(what: &str, times: &mut [Duration]) {
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
