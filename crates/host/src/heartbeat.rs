//! An enclave says that it lives, once, early in its boot.

use std::time::Duration;

use adyton_vsock::enclave::Listener;
use adyton_vsock::port::HEARTBEAT_BYTE;
use adyton_vsock::socket::Wire;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::front::ACCEPT_PAUSE;

/// How long the exchange may take.
const TIME: Duration = Duration::from_secs(5);

/// Answers heartbeats until it is dropped, and counts them.
pub async fn run(listener: Listener, heard: watch::Sender<u64>) {
    loop {
        match listener.accept().await {
            Ok(wire) => if let Ok(Some(())) = timeout(TIME, answer(wire, &heard)).await {},
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn answer(mut wire: Wire, heard: &watch::Sender<u64>) -> Option<()> {
    if wire.read_u8().await.ok()? != HEARTBEAT_BYTE {
        return None;
    }
    wire.write_u8(HEARTBEAT_BYTE).await.ok()?;
    heard.send_modify(|count| *count += 1);
    // The enclave ends first: it has the answer then.
    wire.read(&mut [0]).await.ok().map(drop)
}
