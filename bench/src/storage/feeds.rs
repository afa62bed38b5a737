//! Feeds that wait: what each costs, and how soon it is told.

use std::time::{Duration, Instant};

use http::Method;
use http_body_util::BodyExt;
use serde_json::Value;

use super::peer::Peer;
use super::table::{Column, Row};
use super::wire::{Wire, good};
use super::{tell_times, writes};
use crate::Outcome;
use crate::synthetic::Words;

/// Databases that the waiting feeds are spread over.
const DATABASES: usize = 100;
/// Feeds that are opened at one time.
const OPENING: usize = 50;
/// Time for a server to come to rest with its feeds.
const REST: Duration = Duration::from_secs(3);
/// Time for a request to arrive, and to wait.
const ARRIVAL: Duration = Duration::from_millis(10);

/// From a write's first byte sent to its row received by a feed that waits, each time another one.
pub(super) async fn latency(peer: &mut Peer, told: usize, column: &mut Column) -> Outcome<()> {
    let database = peer.database("told").await?;
    let mut waiting = peer.connect().await?;
    let mut writing = peer.connect().await?;
    let mut since = String::from("now");
    let mut words = Words::new(4);
    let mut times = Vec::new();
    for n in 0..told {
        let path = format!("{database}/_changes?feed=longpoll&timeout=30000&since={since}");
        let feed = async {
            let response = waiting.open(Method::GET, &path, "").await?;
            good(response.status(), b"")?;
            let (mut body, mut text, mut arrived) = (response.into_body(), Vec::new(), None);
            while let Some(frame) = body.frame().await {
                text.extend_from_slice(frame?.data_ref().map_or(&[][..], |data| data));
                if arrived.is_none() && text.windows(5).any(|part| part == b"\"seq\"") {
                    arrived = Some(Instant::now());
                }
            }
            Outcome::Ok((arrived.ok_or("the feed ended without news")?, text))
        };
        let write = async {
            tokio::time::sleep(ARRIVAL).await;
            let path = format!("{database}/t{n:06}");
            let document = writes::small(&mut words);
            let begun = Instant::now();
            writing.send(Method::PUT, &path, document).await?;
            Outcome::Ok(begun)
        };
        let ((arrived, text), begun) = tokio::try_join!(feed, write)?;
        times.push(arrived.saturating_duration_since(begun));
        let answer: Value = serde_json::from_slice(&text)?;
        since = match answer.get("last_seq") {
            Some(Value::String(seq)) => seq.clone(),
            Some(number) => number.to_string(),
            None => return Err("the feed tells no position".into()),
        };
    }
    tell_times(column, (Row::Told, Row::ToldTail), &mut times);
    Ok(())
}

/// Memory of the server while so many longpoll feeds wait on it.
pub(super) async fn idle(peer: &mut Peer, feeds: usize, column: &mut Column) -> Outcome<()> {
    let mut databases = Vec::new();
    for n in 0..DATABASES.min(feeds) {
        databases.push(peer.database(&format!("idle_{n}")).await?);
    }
    let empty = peer.server.resident()?;
    let mut open = Vec::new();
    let all: Vec<usize> = (0..feeds).collect();
    for some in all.chunks(OPENING) {
        let opening = some.iter().map(|n| {
            let database = databases.get(n % databases.len()).cloned();
            let address = peer.address.clone();
            async move {
                let mut wire = Wire::connect(&address).await?;
                let path = format!(
                    "{}/_changes?feed=longpoll&since=now&heartbeat=60000",
                    database.unwrap_or_default()
                );
                // The head may come only with the first news.
                let head = tokio::spawn(async move {
                    let response = wire.open(Method::GET, &path, "").await?;
                    good(response.status(), b"")?;
                    Outcome::Ok((wire, response))
                });
                tokio::time::sleep(ARRIVAL).await;
                Outcome::Ok(head)
            }
        });
        open.extend(futures_util::future::try_join_all(opening).await?);
    }
    tokio::time::sleep(REST).await;
    let resident = peer.server.resident()?;
    let mut waiting = 0;
    for head in &mut open {
        // One that has ended must have a head and go on; one without a head waits for it.
        match tokio::time::timeout(Duration::ZERO, head).await {
            Err(_) => waiting += 1,
            Ok(head) => {
                let (_wire, mut response) = head??;
                let first = async { while let Some(Ok(_)) = response.frame().await {} };
                let ended = tokio::time::timeout(Duration::from_millis(1), first).await;
                waiting += usize::from(ended.is_err());
            }
        }
    }
    if waiting < feeds {
        return Err(format!("only {waiting} of {feeds} feeds wait").into());
    }
    column.tell(Row::Feeds, resident as f64 / 1e6);
    println!(
        "  of these, {:.1} MB without feeds; a feed takes {:.1} KB",
        empty as f64 / 1e6,
        (resident.saturating_sub(empty)) as f64 / 1e3 / feeds as f64
    );
    Ok(())
}
