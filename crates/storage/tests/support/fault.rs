//! A proxy on the way to a node, which drops, delays and cuts connections as it is told.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the proxy does to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Nobody comes through; who is through is cut off.
    Partition,
    /// Some are refused, some delayed, most are cut after some bytes, by this seed.
    Random(u64),
}

/// The way to one node. Its address stays when the node's does not.
pub struct Way {
    pub address: SocketAddr,
    target: Arc<Mutex<Option<SocketAddr>>>,
    fault: watch::Sender<Fault>,
    /// Whoever sends one of these is cut off.
    shut_out: Arc<Mutex<Vec<String>>>,
    bytes: Arc<AtomicU64>,
    connections: Arc<AtomicU64>,
}

impl Way {
    /// Listens on an address of this machine that no other way has, for nodes are told apart by host.
    pub async fn open(last_octet: u8) -> Self {
        let listener = TcpListener::bind((format!("127.0.0.{last_octet}"), 0))
            .await
            .unwrap();
        let (fault, faults) = watch::channel(Fault::None);
        let way = Self {
            address: listener.local_addr().unwrap(),
            target: Arc::default(),
            fault,
            shut_out: Arc::default(),
            bytes: Arc::default(),
            connections: Arc::default(),
        };
        let target = Arc::clone(&way.target);
        let shut_out = Arc::clone(&way.shut_out);
        let (bytes, connections) = (Arc::clone(&way.bytes), Arc::clone(&way.connections));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = connections.fetch_add(1, Ordering::Relaxed);
                let target = *target.lock().unwrap();
                let faults = faults.clone();
                let (bytes, shut_out) = (Arc::clone(&bytes), Arc::clone(&shut_out));
                tokio::spawn(async move {
                    if let Some(target) = target {
                        through(stream, target, (faults, shut_out), number, bytes).await;
                    }
                });
            }
        });
        way
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn lead_to(&self, target: Option<SocketAddr>) {
        *self.target.lock().unwrap() = target;
    }

    pub fn fault(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// From now on, whoever sends one of these words gets no further: a node that names itself, say.
    pub fn shut_out(&self, words: &[String]) {
        *self.shut_out.lock().unwrap() = words.to_vec();
    }

    /// Bytes that went through, in both directions.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Connections that were tried.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

/// SplitMix64.
pub fn mixed(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

async fn through(
    client: TcpStream,
    target: SocketAddr,
    (mut faults, shut_out): (watch::Receiver<Fault>, Arc<Mutex<Vec<String>>>),
    number: u64,
    bytes: Arc<AtomicU64>,
) {
    let fault = *faults.borrow_and_update();
    let (mut up, mut down) = (u64::MAX, u64::MAX);
    match fault {
        Fault::None => {}
        Fault::Partition => return,
        Fault::Random(seed) => {
            let roll = mixed(seed ^ mixed(number));
            tokio::time::sleep(Duration::from_millis(roll % 40)).await;
            match (roll >> 8) % 8 {
                0 => return,
                1..=3 => up = (roll >> 16) % 6_000,
                4..=6 => down = (roll >> 16) % 6_000,
                _ => {}
            }
        }
    }
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let nobody = Mutex::default();
    tokio::select! {
        () = copy(client_read, server_write, up, Arc::clone(&bytes), &shut_out) => {}
        () = copy(server_read, client_write, down, bytes, &nobody) => {}
        // Whoever is through when the weather changes is cut off.
        _ = faults.changed() => {}
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut left: u64,
    bytes: Arc<AtomicU64>,
    shut_out: &Mutex<Vec<String>>,
) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let is_shut_out = shut_out.lock().unwrap().iter().any(|word| {
            let mut windows = buffer[..read].windows(word.len());
            windows.any(|window| window == word.as_bytes())
        });
        if is_shut_out {
            return;
        }
        let passed = read.min(usize::try_from(left).unwrap());
        bytes.fetch_add(passed as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..passed]).await.is_err() || passed < read {
            return;
        }
        left -= passed as u64;
    }
}
