//! One connection: handshake, requests, goodbye.
//!
//! Guarantees: it ends when it is idle or stalled for too long, when a newcomer needs its seat and it has nothing to do,
//! and when the server drains. Every request carries the [`ConnectionFacts`] of the connection it came on.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use adyton_attest::Exporter;
use adyton_attest::binding::EXPORTER_LABEL;
use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt as _;

use super::activity::{Activity, Overdue, Seat};
use super::body::{Arriving, Leaving};
use super::listener::Accepted;
use super::{Endless, Limits};
use crate::attestation::Bucket;

/// Most headers of a request.
const MAX_HEADERS: usize = 64;

/// Longest head of a request.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// Most bytes that lie between us and one peer, in either direction.
const MAX_BUFFER_BYTES: usize = 128 * 1024;

/// Most requests at a time on one HTTP/2 connection.
const MAX_STREAMS: u32 = 64;

/// How often a silent HTTP/2 peer is asked whether it is still there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(20);

/// What is known about the connection that a request came on.
#[derive(Clone, Debug)]
pub struct ConnectionFacts {
    /// The RFC 9266 exporter: what evidence for this very connection is bound to.
    pub exporter: Exporter,
    /// How often evidence was asked for on it.
    pub(crate) asked: Arc<Bucket>,
}

impl ConnectionFacts {
    fn of(tls: &TlsStream<Accepted>) -> Result<Self, rustls::Error> {
        let exporter =
            tls.get_ref()
                .1
                .export_keying_material([0; 32], EXPORTER_LABEL, Some(&[]))?;
        Ok(Self {
            exporter: Exporter::new(exporter),
            asked: Arc::default(),
        })
    }
}

/// Serves one connection to its end. Boxed, so that it is compiled here, and not in every program that runs a server.
pub(super) fn serve(
    stream: Accepted,
    seat: Seat,
    acceptor: TlsAcceptor,
    router: Router,
    limits: Limits,
    draining: watch::Receiver<bool>,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(serving(stream, seat, acceptor, router, limits, draining))
}

async fn serving(
    stream: Accepted,
    seat: Seat,
    acceptor: TlsAcceptor,
    router: Router,
    limits: Limits,
    mut draining: watch::Receiver<bool>,
) {
    let tls = tokio::select! {
        tls = timeout(limits.handshake, acceptor.accept(stream)) => tls,
        () = seat.evicted() => return,
        _ = draining.wait_for(|draining| *draining) => return,
    };
    let Ok(Ok(tls)) = tls else { return };
    let Ok(facts) = ConnectionFacts::of(&tls) else {
        return;
    };

    let service = service(router, facts, Arc::clone(&seat.activity), limits.body);
    if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEAD_BYTES as u32)
            .max_send_buf_size(MAX_BUFFER_BYTES)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING);
        drive(
            http.serve_connection(TokioIo::new(tls), service),
            &seat,
            &limits,
            draining,
        )
        .await;
    } else {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(limits.idle)
            .max_headers(MAX_HEADERS)
            .max_header_size(MAX_HEAD_BYTES)
            .max_buf_size(MAX_BUFFER_BYTES);
        drive(
            http.serve_connection(TokioIo::new(tls), service),
            &seat,
            &limits,
            draining,
        )
        .await;
    }
}

/// Every request: facts put in, body watched, answer counted.
fn service(
    router: Router,
    facts: ConnectionFacts,
    activity: Arc<Activity>,
    body_time: Duration,
) -> impl HttpService<Incoming, ResBody = Leaving, Error = Infallible, Future: Send + 'static> + Send
{
    service_fn(move |request: Request<Incoming>| {
        let under_way = activity.begin();
        let mut request = request.map(|body| Body::new(Arriving::within(body, body_time)));
        request.extensions_mut().insert(facts.clone());
        let answer = router.clone().oneshot(request);
        async move {
            let answer: Response<Body> = answer.await?;
            let under_way = match answer.extensions().get() {
                Some(Endless) => under_way.endless(),
                None => under_way,
            };
            Ok::<_, Infallible>(answer.map(|body| Leaving::new(body, under_way)))
        }
    })
}

/// Moves a connection until it ends, or has to.
async fn drive<C: GracefulConnection>(
    connection: C,
    seat: &Seat,
    limits: &Limits,
    mut draining: watch::Receiver<bool>,
) {
    let mut connection = std::pin::pin!(connection);
    let mut look_again = Instant::now() + limits.idle.min(limits.stall);
    loop {
        tokio::select! {
            // How a connection ended is its peer's business.
            _ = connection.as_mut() => return,
            () = seat.evicted() => return,
            _ = draining.wait_for(|draining| *draining) => break,
            () = sleep_until(look_again) => match seat.activity.overdue(limits, Instant::now()) {
                Ok(Overdue::Idle) => break,
                Ok(Overdue::Stalled) => return,
                Err(later) => look_again = later,
            },
        }
    }
    say_goodbye(connection, seat, limits).await;
}

/// Takes no more requests and finishes what is under way.
async fn say_goodbye<C: GracefulConnection>(
    mut connection: Pin<&mut C>,
    seat: &Seat,
    limits: &Limits,
) {
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = timeout(limits.drain, connection) => {}
        () = seat.evicted() => {}
    }
}
