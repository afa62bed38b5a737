//! The listener: who may connect, how long each part may take, and how it ends.
//!
//! Guarantees: no peer, however slow, silent or malformed, keeps others from being served. Every wait on a peer has a
//! limit; when all places are taken, the connection that has been idle longest makes room; on shutdown, requests that
//! are under way are finished within a limit. Refuses to know routes, credentials and what is served.

mod activity;
mod body;
mod connection;
mod listener;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use rustls::ServerConfig;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use self::activity::Seats;
pub use self::connection::ConnectionFacts;
pub use self::listener::{InvalidListenAddress, ListenAddress, Listener};

/// How long to leave the listener alone after it failed (usually: no more file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// An extension of answers without end: they are sent as they come, and neither gathered nor timed as a whole.
#[derive(Clone, Copy, Debug)]
pub struct Endless;

/// What a peer may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time, handshakes included.
    pub connections: usize,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// From the end of one request to the complete head of the next; also the first one.
    pub idle: Duration,
    /// For the body of a request, from its head on.
    pub body: Duration,
    /// For taking a piece of an answer that lies ready.
    pub stall: Duration,
    /// For taking a whole answer, however many pieces it has: what it shows is kept in memory until then.
    pub answer: Duration,
    /// For finishing what is under way when the server shuts down, and for saying goodbye at any time.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            handshake: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            body: Duration::from_secs(60),
            stall: Duration::from_secs(60),
            answer: Duration::from_secs(30 * 60),
            drain: Duration::from_secs(20),
        }
    }
}

/// A listener with everything it serves.
pub struct Server {
    listener: Listener,
    tls: Arc<ServerConfig>,
    router: Router,
    limits: Limits,
}

/// How the end of a server went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that still had something to finish and could not within the limit.
    pub cut: usize,
}

impl Server {
    /// Takes a bound listener. Nothing is accepted before [`Self::run`].
    #[must_use]
    pub fn new(
        listener: impl Into<Listener>,
        tls: Arc<ServerConfig>,
        router: Router,
        limits: Limits,
    ) -> Self {
        Self {
            listener: listener.into(),
            tls,
            router,
            limits,
        }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> io::Result<ListenAddress> {
        self.listener.address()
    }

    /// Serves until `shutdown` is ready, then drains. Owns every connection's task; none outlives it.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Drained {
        let Self {
            listener,
            tls,
            router,
            limits,
        } = self;
        let acceptor = TlsAcceptor::from(tls);
        let seats = Arc::new(Seats::new(limits.connections));
        let (drain, draining) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                // A panic in a handler has ended its own connection; the panic hook has said where.
                Some(_) = tasks.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok(stream) => {
                        // No seat: everyone is busy. The newcomer is sent away without a word.
                        if let Some(seat) = seats.take() {
                            let (acceptor, router, draining) = (acceptor.clone(), router.clone(), draining.clone());
                            tasks.spawn(connection::serve(stream, seat, acceptor, router, limits, draining));
                        }
                    }
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                },
            }
        }
        drop(listener);
        let _ = drain.send(true);
        let finish = async { while tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(limits.drain, finish).await;
        let cut = tasks.len();
        tasks.shutdown().await;
        Drained { cut }
    }
}
