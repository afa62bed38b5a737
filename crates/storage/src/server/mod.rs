//! The accept loop: connections under limits, and an orderly end.

mod addresses;
mod arriving;
pub(crate) mod body;
mod crowd;
mod handshakes;
pub(crate) mod line;
pub(crate) mod metrics;
mod multiplexed;
mod pace;
mod stall;

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use self::addresses::Addresses;
use self::crowd::{Crowd, Member};
use self::handshakes::Handshakes;
use self::line::Line;
use self::multiplexed::{Answers, Overdue, Taken};
use self::pace::Pace;
use self::stall::StallGuard;
use crate::api::App;
use crate::fair_share::Place;
use crate::tls::{ACME_PROTOCOL, Certificates, Reload};

/// Header fields of one request.
const MAX_HEADERS: usize = 64;
/// Bytes of a connection's read and write buffers, and so of a request's head.
const MAX_BUFFER_BYTES: usize = 256 << 10;
/// Requests at a time on one HTTP/2 connection.
const MAX_STREAMS: u32 = 64;
/// Bytes of a request's header fields on HTTP/2.
const MAX_HEADER_BYTES: u32 = 64 << 10;
/// Bytes of one answer that wait for its HTTP/2 peer.
const MAX_SEND_BYTES: usize = 256 << 10;
/// How often a silent HTTP/2 peer is asked whether it is still there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(20);
/// How often the files of the certificate are looked at.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(60);
/// Time for open requests to end when the node goes down.
const GRACE: Duration = Duration::from_secs(5);
/// Pause after the system refused a connection (out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The TLS side of a server.
struct Tls {
    acceptor: TlsAcceptor,
    handshakes: Handshakes,
}

/// Looks for another certificate from time to time, until `stop` says otherwise.
pub(crate) async fn watch_certificate(
    certificates: Arc<Certificates>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(CERTIFICATE_LOOK) => {}
        }
        let certificates = Arc::clone(&certificates);
        match tokio::task::spawn_blocking(move || certificates.reload()).await {
            Ok(Ok(Reload::Same | Reload::Asked)) => {}
            Ok(Ok(Reload::New)) => tracing::info!("another certificate is shown from now on"),
            Ok(Err(error)) => tracing::warn!(%error, "the certificate stays as it was"),
            Err(error) => tracing::error!(%error, "looking for another certificate failed"),
        }
    }
}

/// Accepts and serves until `stop` says otherwise, then lets requests end. Owns every connection's task.
pub(crate) async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    tls: Option<ServerConfig>,
    mut stop: watch::Receiver<bool>,
) {
    let tls = tls.map(|config| {
        Arc::new(Tls {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            handshakes: Handshakes::new(app.limits.handshakes, app.limits.handshake_timeout),
        })
    });
    let crowd = Crowd::new(app.limits.connections);
    let addresses = Addresses::new(&app.limits, app.proxy.clone());
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            // What has ended keeps its room until it is joined.
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                // One who has too many is hung up on: nothing that could be said is worth the wait.
                let Ok(place) = addresses.enter(peer.ip()) else {
                    continue;
                };
                let line = Arc::new(Line::new(peer.ip()));
                // Beyond the limit, this one waits until another one gives way, and all after it in the system's queue.
                let member = tokio::select! {
                    _ = stop.wait_for(|stop| *stop) => break,
                    member = crowd.enter(&line) => member,
                };
                connections.spawn(connection(
                    stream,
                    line,
                    Arc::clone(&app),
                    tls.clone(),
                    graceful.watcher(),
                    (member, place),
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

/// One connection, to its end. Not an `async fn`: that would keep room for what it was given beside the box where it goes.
fn connection(
    stream: TcpStream,
    line: Arc<Line>,
    app: Arc<App>,
    tls: Option<Arc<Tls>>,
    watcher: Watcher,
    (mut member, place): (Member, Option<Place<IpAddr>>),
) -> impl Future<Output = ()> + Send {
    // Small answers go out at once; large ones fill packets anyway.
    let _best_effort = stream.set_nodelay(true);
    let counted = Arc::clone(&app);
    let pace = Pace::new(app.limits.body_timeout);
    let stream = StallGuard::new(stream, app.limits.stall_timeout, pace);
    // Each kind in a box: thousands of connections wait, and one that is plain keeps no room for the others' needs.
    let served: Pin<Box<dyn Future<Output = ()> + Send>> = match tls {
        None => Box::pin(one_at_a_time(stream, line, app, watcher)),
        Some(tls) => Box::pin(private(stream, line, app, tls, watcher)),
    };
    async move {
        let (_open, _place) = (counted.metrics.connection(), place);
        tokio::select! {
            () = served => {}
            () = member.gives_way() => {}
        }
    }
}

/// TLS, and what was agreed on within.
async fn private(
    stream: StallGuard<TcpStream>,
    line: Arc<Line>,
    app: Arc<App>,
    tls: Arc<Tls>,
    watcher: Watcher,
) {
    let mut stop = app.stop.clone();
    let handshake = Box::pin(
        tls.handshakes
            .drive(line.peer(), tls.acceptor.accept(stream)),
    );
    let stream = tokio::select! {
        stream = handshake => stream,
        _ = stop.wait_for(|stop| *stop) => None,
    };
    let Some(mut stream) = stream else { return };
    if stream.get_ref().1.alpn_protocol() == Some(ACME_PROTOCOL) {
        // The handshake was all that the authority wants, and all that anybody gets.
        let time = app.limits.handshake_timeout;
        let _timed_out = tokio::time::timeout(time, stream.shutdown()).await;
        return;
    }
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        Box::pin(many_at_a_time(stream, line, app, watcher)).await;
    } else {
        Box::pin(one_at_a_time(stream, line, app, watcher)).await;
    }
}

/// HTTP/1.1. Not an `async fn`: that would keep room for the connection twice.
fn one_at_a_time(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    line: Arc<Line>,
    app: Arc<App>,
    watcher: Watcher,
) -> impl Future<Output = ()> + Send {
    let header_timeout = app.limits.header_timeout;
    let service = service_fn(move |request| {
        let (app, line) = (Arc::clone(&app), Arc::clone(&line));
        // In a box, the request too, that goes when the answer begins: a feed that waits for hours keeps no room for what was needed to ask.
        Box::pin(async move { Ok::<_, Infallible>(app.answer(request, &line).await) })
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    // A connection that ends badly is its peer's business.
    watcher.watch(connection).map(drop)
}

/// HTTP/2.
async fn many_at_a_time(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    line: Arc<Line>,
    app: Arc<App>,
    // The server waits until it is dropped.
    _watcher: Watcher,
) {
    let (idle, stall) = (app.limits.header_timeout, app.limits.stall_timeout);
    let mut stop = app.stop.clone();
    let answers = Answers::new(Pace::new(app.limits.body_timeout));
    let watched = Arc::clone(&answers);
    let service = service_fn(move |request| {
        let (app, line, answering) = (Arc::clone(&app), Arc::clone(&line), answers.begin());
        async move {
            let reply = Box::pin(app.answer(request, &line)).await;
            Ok::<_, Infallible>(reply.map(|body| Taken::new(body, answering)))
        }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES)
        .max_send_buf_size(MAX_SEND_BYTES)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let mut look = tokio::time::interval(idle.min(stall) / 4 + Duration::from_millis(1));
    loop {
        tokio::select! {
            // A connection that ends badly is its peer's business.
            _ = connection.as_mut() => return,
            _ = stop.wait_for(|stop| *stop) => break,
            _ = look.tick() => match watched.overdue(idle, stall) {
                None => {}
                Some(Overdue::Idle) => break,
                Some(Overdue::Stalled) => return,
            },
        }
    }
    connection.as_mut().graceful_shutdown();
    let _timed_out = tokio::time::timeout(GRACE, connection).await;
}
