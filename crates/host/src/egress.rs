//! From the enclave to the world: it asks for an address, and gets bytes to and from there. No name is ever resolved here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use adyton_vsock::egress::{Answer, MAX_HEAD, head_end, parse_request};
use adyton_vsock::enclave::Listener;
use adyton_vsock::socket::Wire;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::front::ACCEPT_PAUSE;
use crate::pass::{Meter, pass};
use crate::rule::Rule;

/// How long a request may take to arrive.
const HEAD_TIME: Duration = Duration::from_secs(5);

/// How long a server may take to accept.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// How long a refusal may take to be heard.
const REFUSAL_TIME: Duration = Duration::from_secs(2);

/// How much of what was refused is read, and thrown away.
const REFUSED_BYTES: u64 = 64 * 1024;

/// What every connection needs.
#[derive(Debug)]
pub struct Egress {
    /// Where to.
    pub rule: Rule,
    /// Connections at a time.
    pub most: usize,
    /// The places that are free; without one, the answer is that the host is busy.
    pub places: Arc<Semaphore>,
    /// Silence that ends a connection.
    pub idle: Duration,
    /// What lies here.
    pub meter: Arc<Meter>,
}

impl Egress {
    /// Serves until it is dropped, and its connections with it.
    pub async fn run(self: Arc<Self>, listener: Listener) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    // So many refusals at a time as there are places; who comes then hears nothing.
                    Ok(wire) => if connections.len() < 2 * self.most {
                        connections.spawn(Arc::clone(&self).serve(wire));
                    }
                    Err(_) => sleep(ACCEPT_PAUSE).await,
                },
            }
        }
    }

    async fn serve(self: Arc<Self>, mut wire: Wire) {
        // The place is taken before the request is read: requests that never come are limited, too.
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return refuse(wire, Answer::Busy).await;
        };
        let (mut tcp, early) = match self.reach(&mut wire).await {
            Ok(reached) => reached,
            Err(answer) => {
                // Who has heard a refusal finds the place free again.
                drop(place);
                return refuse(wire, answer).await;
            }
        };
        let begun = async {
            wire.write_all(Answer::Connected.head().as_bytes()).await?;
            tcp.write_all(&early).await
        };
        if let Ok(Ok(())) = timeout(CONNECT_TIME, begun).await {
            pass(wire, tcp, self.idle, &self.meter).await;
        }
    }

    /// The server that is asked for, and what came behind the request already; or the refusal to say.
    async fn reach(&self, wire: &mut Wire) -> Result<(TcpStream, Vec<u8>), Answer> {
        let asked = timeout(HEAD_TIME, request(wire)).await;
        let (to, early) = asked.ok().flatten().ok_or(Answer::Malformed)?;
        if !self.rule.allows(to) {
            return Err(Answer::Forbidden);
        }
        let Ok(Ok(tcp)) = timeout(CONNECT_TIME, TcpStream::connect(to)).await else {
            return Err(Answer::Unreachable);
        };
        // A refusal of the option is no reason not to serve.
        let _ = tcp.set_nodelay(true);
        Ok((tcp, early))
    }
}

/// The address that is asked for, and what came behind the request already. None: it was no request.
async fn request(wire: &mut Wire) -> Option<(SocketAddr, Vec<u8>)> {
    let mut arrived = Vec::with_capacity(MAX_HEAD);
    loop {
        if let Some(end) = head_end(&arrived) {
            let early = arrived.split_off(end);
            return Some((parse_request(&arrived).ok()?, early));
        }
        let room = MAX_HEAD
            .checked_sub(arrived.len())
            .filter(|room| *room > 0)?;
        let read = (&mut *wire).take(room as u64).read_buf(&mut arrived).await;
        if read.ok()? == 0 {
            return None;
        }
    }
}

async fn refuse(mut wire: Wire, answer: Answer) {
    let said = async {
        wire.write_all(answer.head().as_bytes()).await?;
        wire.shutdown().await?;
        // What is unread when a socket closes takes the answer with it.
        tokio::io::copy(&mut wire.take(REFUSED_BYTES), &mut tokio::io::sink()).await
    };
    // Who does not listen does not hear it.
    drop(timeout(REFUSAL_TIME, said).await);
}
