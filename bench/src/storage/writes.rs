//! Small documents, written one by one, by many at the same time, and a thousand at a time.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use http::Method;

use super::peer::Peer;
use super::table::{Column, Row};
use super::tell_times;
use crate::Outcome;
use crate::synthetic::Words;

/// Characters of a small document's payload.
const SMALL: usize = 300;
/// Documents of one bulk write.
const BULK: usize = 1_000;

pub(super) async fn one_writer(peer: &mut Peer, writes: usize, column: &mut Column) -> Outcome<()> {
    let database = peer.database("one_writer").await?;
    let mut wire = peer.connect().await?;
    let mut words = Words::new(1);
    let mut times = Vec::new();
    for n in 0..writes {
        let path = format!("{database}/d{n:08}");
        let document = small(&mut words);
        let begun = Instant::now();
        wire.send(Method::PUT, &path, document).await?;
        times.push(begun.elapsed());
    }
    tell_times(column, (Row::Write, Row::WriteTail), &mut times);
    Ok(())
}

/// Writers on a connection each, spread over so many databases.
pub(super) async fn many_writers(
    peer: &mut Peer,
    writers: usize,
    databases: usize,
    time: Duration,
    column: &mut Column,
) -> Outcome<()> {
    let mut paths = Vec::new();
    for n in 0..databases {
        paths.push(peer.database(&format!("many_{databases}_{n}")).await?);
    }
    let mut wires = Vec::new();
    for _ in 0..writers {
        wires.push(peer.connect().await?);
    }
    let before = peer.server.cpu()?;
    let begun = Instant::now();
    let until = begun + time;
    let writing = wires.into_iter().enumerate().map(|(writer, mut wire)| {
        let database = paths.get(writer % databases.max(1)).cloned();
        tokio::spawn(async move {
            let database = database.unwrap_or_default();
            let mut words = Words::new(writer as u64);
            let mut times = Vec::new();
            for n in 0.. {
                let begun = Instant::now();
                if begun >= until {
                    break;
                }
                let path = format!("{database}/w{writer:03}-{n:08}");
                wire.send(Method::PUT, &path, small(&mut words)).await?;
                times.push(begun.elapsed());
            }
            Outcome::Ok(times)
        })
    });
    let mut times = Vec::new();
    for writer in try_join_all(writing).await? {
        times.extend(writer?);
    }
    let took = begun.elapsed().as_secs_f64();
    let cpu = (peer.server.cpu()? - before).as_secs_f64();
    let (rate, wait) = match databases {
        1 => (Row::Writers, Row::WritersWait),
        _ => (Row::WritersApart, Row::WritersApartWait),
    };
    column.tell(rate, times.len() as f64 / took);
    column.tell(wait, super::table::percentiles(&mut times).0);
    println!(
        "  the server's processor time for one: {:.0} us",
        cpu * 1e6 / times.len() as f64
    );
    Ok(())
}

pub(super) async fn bulk(peer: &mut Peer, bulks: usize, column: &mut Column) -> Outcome<()> {
    let database = peer.database("bulk").await?;
    let path = format!("{database}/_bulk_docs");
    let mut wire = peer.connect().await?;
    let mut words = Words::new(2);
    let bodies: Vec<String> = (0..bulks)
        .map(|bulk| {
            let documents: Vec<String> = (0..BULK)
                .map(|n| {
                    let payload = words.base64(SMALL);
                    format!("{{\"_id\":\"b{bulk:05}-{n:04}\",\"payload\":\"{payload}\"}}")
                })
                .collect();
            format!("{{\"docs\":[{}]}}", documents.join(","))
        })
        .collect();
    let before = peer.server.cpu()?;
    let begun = Instant::now();
    for body in bodies {
        wire.send(Method::POST, &path, body).await?;
    }
    let took = begun.elapsed().as_secs_f64();
    let cpu = (peer.server.cpu()? - before).as_secs_f64();
    let documents = (bulks * BULK) as f64;
    column.tell(Row::Bulk, documents / took);
    println!(
        "  the server's processor time for one: {:.1} us",
        cpu * 1e6 / documents
    );
    Ok(())
}

/// A small document as clients write it: one sealed payload.
pub(super) fn small(words: &mut Words) -> String {
    format!("{{\"payload\":\"{}\"}}", words.base64(SMALL))
}
