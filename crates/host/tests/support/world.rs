//! A whole path: client → `adyton-host` → node → `adyton-host` → storage node behind TLS, whose name only the resolver
//! knows. The enclave is a process that is played; everything else is what is shipped.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use adyton_attest::Policy;
use adyton_client::attested_node::{AttestedNode, NodeError};
use adyton_client::clock::Clock;
use adyton_client::did_resolver::StorageNodeResolver;
use adyton_client::egress::{HostRoute, Route};
use adyton_client::endpoint::Reach;
use adyton_client::identity::open_context;
use adyton_client::storage_node::StorageNode;
use adyton_client::transport::{Patience, Transport};
use adyton_keys::account::Account;
use adyton_keys::context_session::ContextSession;
use adyton_node::config::Config;
use adyton_node::node::Surroundings;
use adyton_protocol::context::ContextName;
use adyton_sandbox::SimulatedTee;
use adyton_sandbox::cluster::{NETWORK, RunningNode};
use adyton_storage::Storage;
use adyton_vsock::guest::Host;
use adyton_vsock::{configuration, notice, port};
use rand_core::{OsRng, TryRngCore};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_rustls::TlsAcceptor;

use super::resolver::{Resolver, Says};
use super::tap::Tap;
use super::{Authority, Folder, HostProcess};

/// The storage node's name. No resolver of this machine knows it.
pub const STORAGE: &str = "storage.localhost";

pub struct World {
    pub folder: Folder,
    pub host: HostProcess,
    pub authority: Authority,
    pub resolver: Resolver,
    /// Between the host and the enclave's port.
    pub front: Arc<Tap>,
    /// Between the host and the storage node.
    pub back: Arc<Tap>,
    pub node: RunningNode,
    pub policy: Policy,
    pub address: SocketAddr,
    storage: Storage,
    storage_url: String,
    _data: tempfile::TempDir,
}

impl World {
    pub async fn start() -> Self {
        let authority = Authority::new();
        let (front, back) = <(Arc<Tap>, Arc<Tap>)>::default();
        let resolver = Resolver::start(&authority).await;
        resolver.says(STORAGE, Says::Addresses(vec![[127, 0, 0, 1].into()], 60));

        let data = tempfile::tempdir().unwrap();
        let tls = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let storage_url = format!("https://{STORAGE}:{}", tls.local_addr().unwrap().port());
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut config = adyton_storage::Config::new(any, data.path().to_owned());
        config.network = NETWORK;
        config.public_url = Some(storage_url.clone());
        let storage = Storage::start(config).await.unwrap();
        tokio::spawn(behind_tls(
            tls,
            TlsAcceptor::from(authority.server(STORAGE, &["http/1.1"])),
            storage.address(),
            Arc::clone(&back),
        ));

        let folder = Folder::new();
        let config = folder.configure(
            &format!(
                "# measured to the last byte\nlisten = \"127.0.0.1:0\"\nallow_loopback_storage = true\n\
                 [egress]\nthrough = \"host\"\nresolvers = [\"{}\"]\n\n",
                resolver.url()
            ),
            "[egress]\nallow_loopback = true\n",
        );
        let host = HostProcess::start(&config);
        let address = host.address().await;
        let (node, tee) = boot(&folder.vm(), &authority).await;
        let vm = UnixListener::bind(folder.vm()).unwrap();
        let inside = node.address().tcp().unwrap();
        tokio::spawn(emulate(vm, inside, Arc::clone(&front)));
        Self {
            policy: Policy::from_toml(&tee.policy()).unwrap(),
            folder,
            host,
            authority,
            resolver,
            front,
            back,
            node,
            address,
            storage,
            storage_url,
            _data: data,
        }
    }

    /// A verified connection to the node, through the host.
    pub async fn connect(&self) -> Result<AttestedNode, NodeError> {
        let url = format!("https://{}", self.address);
        AttestedNode::connect(&url, &self.policy, &Clock::system()).await
    }

    /// A person with a vault on the storage node, who goes out by the same way as the enclave.
    pub async fn person(&self) -> ContextSession {
        let (account, _) = Account::generate(NETWORK.anchor(), &mut OsRng.unwrap_err());
        let endpoint = self.storage_url.parse().unwrap();
        let node = StorageNode::new(self.transport(), endpoint).unwrap();
        let nodes = StorageNodeResolver::new(vec![node.clone()]);
        open_context(
            &account,
            NETWORK,
            &ContextName::vault(),
            &[node],
            &nodes,
            &Clock::system(),
        )
        .await
        .unwrap()
    }

    pub fn transport(&self) -> Transport {
        let resolvers = vec![self.resolver.url().parse().unwrap()];
        let host = Host::Unix(self.folder.vm());
        Transport::with_route(
            Reach::AlsoThisMachine,
            Patience::default(),
            Route::ThroughHost(HostRoute { host, resolvers }),
            self.authority.roots(),
        )
        .unwrap()
    }

    pub async fn end(mut self) {
        self.node.shutdown().await;
        self.storage.shutdown().await;
        assert!(self.host.end().await.success());
    }
}

/// Boots the node as an enclave does: heartbeat, configuration, a notice, and the node with what it was handed.
async fn boot(vm: &Path, authority: &Authority) -> (RunningNode, Arc<SimulatedTee>) {
    let host = Host::Unix(vm.to_owned());
    let mut wire = host.connect(port::HEARTBEAT).await.unwrap();
    wire.write_u8(port::HEARTBEAT_BYTE).await.unwrap();
    assert_eq!(wire.read_u8().await.unwrap(), port::HEARTBEAT_BYTE);
    drop(wire);

    let mut wire = host.connect(port::CONFIGURATION).await.unwrap();
    let length = wire.read_u32().await.unwrap();
    let mut handed = length.to_be_bytes().to_vec();
    handed.resize(4 + length as usize, 0);
    wire.read_exact(&mut handed[4..]).await.unwrap();
    drop(wire);
    let text = configuration::read(&mut handed.as_slice()).unwrap();

    let config = Config::parse(&text).unwrap();
    let Route::ThroughHost(route) = config.route.clone() else {
        panic!("the configuration says so")
    };
    let surroundings = Surroundings {
        route: Some(Route::ThroughHost(HostRoute {
            host: host.clone(),
            ..route
        })),
        roots: authority.roots(),
    };
    let clock = Clock::system();
    let ticking = clock.clone();
    let tee = Arc::new(SimulatedTee::start(Arc::new(move || ticking.now())).unwrap());
    let node = RunningNode::start_in(surroundings, config, Arc::clone(&tee), clock)
        .await
        .unwrap();
    let mut wire = host.connect(port::NOTICES).await.unwrap();
    let line = notice::line("boot: listening \u{1b}[2J");
    wire.write_all(line.as_bytes()).await.unwrap();
    (node, tee)
}

/// Plays the emulator: `CONNECT 8443` at its socket becomes a connection to the port inside.
pub async fn emulate(vm: UnixListener, inside: SocketAddr, tap: Arc<Tap>) {
    loop {
        let (stream, _) = vm.accept().await.unwrap();
        let tap = Arc::clone(&tap);
        tokio::spawn(async move {
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            assert_eq!(line, "CONNECT 8443\n");
            let enclave = TcpStream::connect(inside).await.unwrap();
            stream.write_all(b"OK 1073741824\n").await.unwrap();
            tap.pass(stream, enclave).await;
        });
    }
}

async fn behind_tls(listener: TcpListener, tls: TlsAcceptor, to: SocketAddr, tap: Arc<Tap>) {
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let (near, far) = tokio::io::duplex(64 * 1024);
        tokio::spawn(Arc::clone(&tap).pass(tcp, near));
        let tls = tls.clone();
        tokio::spawn(async move {
            let Ok(mut stream) = tls.accept(far).await else {
                return;
            };
            let mut storage = TcpStream::connect(to).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut storage).await;
        });
    }
}

/// Remembers what a client says and hears inside TLS, to prove that a search finds what is there.
#[derive(Default)]
pub struct Inside(Mutex<Vec<u8>>);

impl Inside {
    pub fn heard(&self, bytes: &[u8]) {
        self.0.lock().unwrap().extend(bytes);
    }

    pub fn all(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}
