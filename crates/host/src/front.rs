//! From outside to the enclave: one connection in is one connection on, bytes only. TLS ends inside.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use adyton_vsock::enclave::Enclave;
use adyton_vsock::port;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::log::Log;
use crate::pass::{Meter, pass};

/// How long the enclave may take to accept.
const ENCLAVE_TIME: Duration = Duration::from_secs(5);

/// How long a listener is left alone after it failed (usually: no more file descriptors).
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound public address.
#[derive(Debug)]
pub struct Front {
    listener: TcpListener,
    way: Arc<Way>,
}

/// What the public addresses share.
#[derive(Debug)]
pub struct Way {
    /// Where to.
    pub enclave: Enclave,
    /// Free places; without one, a newcomer is sent away.
    pub places: Arc<Semaphore>,
    /// Silence that ends a connection.
    pub idle: Duration,
    /// What lies here.
    pub meter: Arc<Meter>,
    /// Whether the enclave answered last time; what changes is logged.
    pub answers: AtomicBool,
    /// The operator's.
    pub log: Log,
}

impl Front {
    /// Binds a public address.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn bind(address: SocketAddr, way: Arc<Way>) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { listener, way })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until it is dropped, and its connections with it.
    pub async fn run(self) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((tcp, _)) => {
                        if let Ok(place) = Arc::clone(&self.way.places).try_acquire_owned() {
                            connections.spawn(serve(tcp, Arc::clone(&self.way), place));
                        }
                    }
                    Err(_) => sleep(ACCEPT_PAUSE).await,
                },
            }
        }
    }
}

async fn serve(tcp: TcpStream, way: Arc<Way>, _place: OwnedSemaphorePermit) {
    // A refusal of the option is no reason not to serve.
    let _ = tcp.set_nodelay(true);
    let connecting = timeout(ENCLAVE_TIME, way.enclave.connect(port::ENCLAVE_TLS));
    let wire = match connecting.await {
        Ok(Ok(wire)) => wire,
        Ok(Err(_)) | Err(_) => {
            if way.answers.swap(false, Ordering::Relaxed) {
                way.log
                    .say("the enclave does not answer; connections from outside are closed");
            }
            return;
        }
    };
    if !way.answers.swap(true, Ordering::Relaxed) {
        way.log.say("the enclave answers");
    }
    pass(tcp, wire, way.idle, &way.meter).await;
}
