//! The accept loop: connections under limits, and an orderly end.

pub(crate) mod body;
pub(crate) mod metrics;
mod stall;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use self::stall::StallGuard;
use crate::api::App;

/// Header fields of one request.
const MAX_HEADERS: usize = 64;
/// Bytes of a connection's read and write buffers, and so of a request's head.
const MAX_BUFFER_BYTES: usize = 256 << 10;
/// Time for open requests to end when the node goes down.
const GRACE: Duration = Duration::from_secs(5);
/// Pause after the system refused a connection (out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts and serves until `stop` says otherwise, then lets requests end. Owns every connection's task.
pub(crate) async fn serve(listener: TcpListener, app: Arc<App>, mut stop: watch::Receiver<bool>) {
    let slots = Arc::new(Semaphore::new(app.limits.connections));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        // A slot first: beyond the limit, connections wait in the system's queue.
        let slot = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            slot = Arc::clone(&slots).acquire_owned() => slot,
        };
        let Ok(slot) = slot else { break };
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, peer)) => {
                connections.spawn(connection(
                    stream,
                    peer.ip(),
                    Arc::clone(&app),
                    graceful.watcher(),
                    slot,
                ));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let _timed_out = tokio::time::timeout(GRACE, graceful.shutdown()).await;
    connections.shutdown().await;
}

async fn connection(
    stream: TcpStream,
    peer: IpAddr,
    app: Arc<App>,
    watcher: hyper_util::server::graceful::Watcher,
    _slot: OwnedSemaphorePermit,
) {
    // Small answers go out at once; large ones fill packets anyway.
    let _best_effort = stream.set_nodelay(true);
    let counted = Arc::clone(&app);
    let _open = counted.metrics.connection();
    let stall = app.limits.stall_timeout;
    let header_timeout = app.limits.header_timeout;
    let service = service_fn(move |request| {
        let app = Arc::clone(&app);
        // In a box that goes when the answer begins: a feed that waits for hours keeps no room for what was needed to ask.
        async move { Ok::<_, Infallible>(Box::pin(app.answer(request, peer)).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_BUFFER_BYTES)
        .serve_connection(TokioIo::new(StallGuard::new(stream, stall)), service);
    // A connection that ends badly is its peer's business.
    let _ended = watcher.watch(connection).await;
}
