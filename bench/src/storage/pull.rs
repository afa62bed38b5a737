//! A sequential pull: the whole feed with its documents, on one connection.

use std::time::Instant;

use http::Method;

use super::peer::Peer;
use super::table::{Column, Row};
use crate::Outcome;
use crate::synthetic::Words;

/// Characters of a large document's payload: an email of 61 KB, sealed and in base64.
const LARGE: usize = 81_000;
/// Documents of one bulk write.
const BULK: usize = 20;

pub(super) async fn measure(
    peer: &mut Peer,
    documents: usize,
    pulls: usize,
    column: &mut Column,
) -> Outcome<()> {
    let database = peer.database("pull").await?;
    let mut wire = peer.connect().await?;
    let mut words = Words::new(3);
    let ids: Vec<usize> = (0..documents).collect();
    for some in ids.chunks(BULK) {
        let some: Vec<String> = some
            .iter()
            .map(|n| {
                let payload = words.base64(LARGE);
                format!("{{\"_id\":\"l{n:06}\",\"payload\":\"{payload}\"}}")
            })
            .collect();
        let body = format!("{{\"docs\":[{}]}}", some.join(","));
        let path = format!("{database}/_bulk_docs");
        wire.send(Method::POST, &path, body).await?;
    }
    let path = format!("{database}/_changes?include_docs=true&since=0");
    let mut rates = Vec::new();
    let before = peer.server.cpu()?;
    let mut bytes = 0;
    for _ in 0..pulls {
        let begun = Instant::now();
        bytes = wire.count(&path).await?;
        rates.push(bytes as f64 / 1e6 / begun.elapsed().as_secs_f64());
    }
    let cpu = (peer.server.cpu()? - before).as_secs_f64();
    if bytes < (documents * LARGE) as u64 {
        return Err(format!("the feed told {bytes} bytes only").into());
    }
    rates.sort_unstable_by(f64::total_cmp);
    let median = rates.get(rates.len() / 2).copied().unwrap_or_default();
    column.tell(Row::Pull, median);
    println!(
        "  the server's processor time for one pull: {:.0} ms",
        cpu * 1e3 / pulls as f64
    );
    Ok(())
}
