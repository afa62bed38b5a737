//! Too much, too slow, too many: each is refused cleanly, and the node goes on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

#[path = "../support/mod.rs"]
mod support;

mod bodies;
mod connections;
mod repeats;
mod turns;

use std::time::Duration;

use adyton_storage::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use support::Node;

fn small() -> Limits {
    Limits {
        document_bytes: 1_000,
        bulk_bytes: 10_000,
        body_bytes: 2_000,
        header_timeout: Duration::from_millis(300),
        stall_timeout: Duration::from_millis(300),
        ..Limits::default()
    }
}

/// Sends raw bytes, and returns everything that comes back until the node closes.
async fn raw(node: &Node, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(node.storage.address()).await.unwrap();
    // The node may close while we still write.
    let _refused = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the node keeps the connection for ever");
    String::from_utf8_lossy(&answer).into_owned()
}
