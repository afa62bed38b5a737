//! A whole network on one machine: one storage node or several, and a confidential node in a simulated TEE.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use adyton_client::clock::Clock;
use adyton_client::did_directory::{DidDirectory, DirectoryError};
use adyton_client::did_resolver::{DidResolver, RegistryResolver, StorageNodeResolver};
use adyton_client::endpoint::{Endpoint, Reach};
use adyton_client::identity::{OpenContextError, open_context};
use adyton_client::storage_node::StorageNode;
use adyton_client::transport::{Transport, TransportError};
use adyton_keys::account::Account;
use adyton_keys::context_session::ContextSession;
use adyton_node::config::{Config, InvalidConfig};
use adyton_node::harden::{self, HardenError, ThreadHardening};
use adyton_node::node::{Node, StartError, Surroundings};
use adyton_node::server::ListenAddress;
use adyton_protocol::context::ContextName;
use adyton_protocol::did::Network;
use adyton_resolver::registry::Source;
use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::sync::oneshot;
use url::Url;

use crate::simulated_tee::{SimulatedTee, SimulationError};
use crate::storage_nodes::{StorageNodes, storage_addresses};

/// The network that the sandbox plays.
pub const NETWORK: Network = Network::Local;

/// What can be chosen.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the first storage node keeps its data, and the others beside it; none: a temporary directory that is removed at the end.
    pub data: Option<PathBuf>,
    /// Where the storage nodes listen, each on a host of its own ([`storage_addresses`]).
    pub storage_listen: Vec<SocketAddr>,
    /// Where the confidential node listens.
    pub node_listen: SocketAddr,
    /// More lines of the node's configuration (TOML).
    pub node_config: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            data: None,
            storage_listen: storage_addresses(1, 0),
            node_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            node_config: String::new(),
        }
    }
}

/// The sandbox cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// No directory or no thread.
    #[error("cannot prepare the sandbox: {0}")]
    Prepare(#[from] io::Error),
    /// The storage node.
    #[error("the storage node does not start: {0}")]
    Storage(#[from] adyton_storage::StartError),
    /// The simulated TEE.
    #[error("the simulated TEE does not start: {0}")]
    Simulation(#[from] SimulationError),
    /// The node's configuration.
    #[error("the node's configuration is not valid: {0}")]
    Config(#[from] InvalidConfig),
    /// The node.
    #[error("the node does not start: {0}")]
    Node(#[from] StartError),
    /// The node's thread cannot be restricted.
    #[error("the node's thread cannot be restricted: {0}")]
    Harden(#[from] HardenError),
    /// The node's thread ended before it served.
    #[error("the node's thread ended early")]
    Ended,
    /// The client side.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A storage node that is a directory does not register somebody.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// TLS on the client side.
    #[error("the client side of TLS cannot be set up: {0}")]
    Tls(String),
}

/// A running sandbox.
pub struct Sandbox {
    storage: StorageNodes,
    node: RunningNode,
    policy: String,
    transport: Transport,
    clock: Clock,
    /// Removed on drop.
    _temporary: Option<TempDir>,
}

impl Sandbox {
    /// Starts all nodes.
    pub async fn start(options: Options) -> Result<Self, SandboxError> {
        Self::start_at(options, Clock::system()).await
    }

    /// Starts all nodes, with another clock for the confidential node.
    pub async fn start_at(options: Options, clock: Clock) -> Result<Self, SandboxError> {
        let temporary = options.data.is_none().then(TempDir::new).transpose()?;
        let data = match (&options.data, &temporary) {
            (Some(data), _) => data.clone(),
            (None, Some(temporary)) => temporary.path().join("storage"),
            (None, None) => return Err(SandboxError::Ended),
        };
        let storage = StorageNodes::start(&options.storage_listen, &data).await?;

        let ticking = clock.clone();
        let tee = Arc::new(SimulatedTee::start(Arc::new(move || ticking.now()))?);
        let config = format!(
            "listen = \"{}\"\nallow_loopback_storage = true\n{}",
            options.node_listen, options.node_config
        );
        let node =
            RunningNode::start(Config::parse(&config)?, Arc::clone(&tee), clock.clone()).await?;
        let transport = Transport::new(Reach::AlsoThisMachine)
            .map_err(|error| SandboxError::Tls(error.to_string()))?;
        Ok(Self {
            storage,
            node,
            policy: tee.policy(),
            transport,
            clock,
            _temporary: temporary,
        })
    }

    /// The first storage node's URL, without trailing slash.
    pub fn storage_url(&self) -> &str {
        self.storage.urls().next().unwrap_or_default()
    }

    /// The storage nodes.
    pub fn storage(&self) -> &StorageNodes {
        &self.storage
    }

    /// The storage nodes, to stop one and start it again.
    pub fn storage_mut(&mut self) -> &mut StorageNodes {
        &mut self.storage
    }

    /// The confidential node's URL, without trailing slash.
    pub fn node_url(&self) -> String {
        format!("https://{}", self.node.address)
    }

    /// The confidential node's certificate.
    pub fn certificate_pem(&self) -> &str {
        &self.node.certificate_pem
    }

    /// The policy that accepts this sandbox's simulated TEE.
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// What the kernel forbids the node's threads.
    pub fn hardening(&self) -> ThreadHardening {
        self.node.hardening
    }

    /// A client's connections to the storage node.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// The first storage node as a client addresses it.
    pub fn storage_node(&self) -> Result<StorageNode, SandboxError> {
        let nodes = self.storage_nodes()?.into_iter();
        Ok(nodes.take(1).next().ok_or(TransportError::Misbehaved)?)
    }

    /// All storage nodes as a client addresses them, those that are stopped included.
    pub fn storage_nodes(&self) -> Result<Vec<StorageNode>, SandboxError> {
        let endpoints = self.endpoints()?.into_iter();
        let nodes = endpoints.map(|endpoint| StorageNode::new(self.transport.clone(), endpoint));
        Ok(nodes.collect::<Result<_, _>>()?)
    }

    fn endpoints(&self) -> Result<Vec<Endpoint>, TransportError> {
        let endpoints = self.storage.urls().map(str::parse);
        let endpoints = endpoints.collect::<Result<_, _>>();
        endpoints.map_err(|_| TransportError::Misbehaved)
    }

    /// Opens a context as its owner, on all storage nodes, making DID document and context if they are new.
    pub async fn open_context(
        &self,
        account: &Account,
        context: &ContextName,
    ) -> Result<ContextSession, OpenContextError> {
        let nodes = self
            .storage_nodes()
            .map_err(|_| OpenContextError::NoStorageNode)?;
        let resolver = self
            .resolver(account, &nodes)
            .await
            .map_err(|_| OpenContextError::NoStorageNode)?;
        let (nodes, clock) = (&*nodes, &self.clock);
        open_context(account, NETWORK, context, nodes, &*resolver, clock).await
    }

    /// How an account's document is found. Several nodes are directories, and then it must be registered.
    async fn resolver(
        &self,
        account: &Account,
        nodes: &[StorageNode],
    ) -> Result<Box<dyn DidResolver>, SandboxError> {
        if nodes.len() == 1 {
            return Ok(Box::new(StorageNodeResolver::new(nodes.to_vec())));
        }
        let endpoints = self.endpoints()?;
        let did = account.did().lowercase();
        let places: Vec<String> = endpoints
            .iter()
            .map(|endpoint| endpoint.join(&format!("did/{did}")))
            .collect();
        let register = |endpoint: Endpoint| async {
            let directory = DidDirectory::new(self.transport.clone(), endpoint)?;
            directory.register(account, &places).await
        };
        // One that is stopped learns of it from the others.
        let done = join_all(endpoints.iter().cloned().map(register)).await;
        if !done.iter().any(Result::is_ok) {
            done.into_iter().collect::<Result<Vec<()>, _>>()?;
        }
        let bases = endpoints.iter().map(|base| Url::parse(base.as_str()));
        let bases = bases.collect::<Result<_, _>>();
        let source = Source::Directories(bases.map_err(|_| TransportError::Misbehaved)?);
        let transport = self.transport.clone();
        Ok(Box::new(RegistryResolver::new(
            source,
            transport,
            &self.clock,
        )))
    }

    /// Ends all nodes.
    pub async fn shutdown(self) {
        self.node.shutdown().await;
        self.storage.shutdown().await;
    }
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sandbox (SIMULATED TEE)")
    }
}

/// A confidential node on a thread of its own, whose restrictions (no file can be written) hold for it and
/// for all threads that it starts, and for nothing else in the process.
pub struct RunningNode {
    address: ListenAddress,
    certificate_pem: String,
    hardening: ThreadHardening,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

struct Started {
    address: ListenAddress,
    certificate_pem: String,
    hardening: ThreadHardening,
}

impl RunningNode {
    /// Starts a node in a simulated TEE.
    pub async fn start(
        config: Config,
        tee: Arc<SimulatedTee>,
        clock: Clock,
    ) -> Result<Self, SandboxError> {
        Self::start_in(Surroundings::default(), config, tee, clock).await
    }

    /// The same, in other surroundings: behind a host of its own, with another server's root.
    pub async fn start_in(
        surroundings: Surroundings,
        config: Config,
        tee: Arc<SimulatedTee>,
        clock: Clock,
    ) -> Result<Self, SandboxError> {
        let (started, starting) = oneshot::channel();
        let (stop, stopping) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("confidential-node".to_owned())
            .spawn(Self::life(
                surroundings,
                config,
                tee,
                clock,
                started,
                stopping,
            ))?;
        let Started {
            address,
            certificate_pem,
            hardening,
        } = starting.await.map_err(|_| SandboxError::Ended)??;
        Ok(Self {
            address,
            certificate_pem,
            hardening,
            stop,
            thread,
        })
    }

    /// What its thread does. None of `async`, so that the node is compiled here, and not in every program that starts one.
    fn life(
        surroundings: Surroundings,
        config: Config,
        tee: Arc<SimulatedTee>,
        clock: Clock,
        started: oneshot::Sender<Result<Started, SandboxError>>,
        stopping: oneshot::Receiver<()>,
    ) -> Box<dyn FnOnce() + Send> {
        Box::new(move || {
            let runtime = || -> Result<_, SandboxError> {
                let hardening = harden::thread()?;
                let runtime = Node::runtime()?;
                let node = runtime.block_on(Node::start_in(surroundings, config, tee, clock))?;
                Ok((runtime, node, hardening))
            };
            match runtime() {
                Err(error) => drop(started.send(Err(error))),
                Ok((runtime, node, hardening)) => {
                    let (address, certificate_pem) =
                        (node.address(), node.certificate_pem().to_owned());
                    drop(started.send(Ok(Started {
                        address,
                        certificate_pem,
                        hardening,
                    })));
                    runtime.block_on(node.serve(async {
                        // Also ready when the other side is gone.
                        let _: Result<(), _> = stopping.await;
                    }));
                }
            }
        })
    }

    /// Where it listens.
    pub fn address(&self) -> ListenAddress {
        self.address
    }

    /// Its certificate.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Ends it.
    pub async fn shutdown(self) {
        // It may have ended by itself.
        let _: Result<(), _> = self.stop.send(());
        let joining = tokio::task::spawn_blocking(move || self.thread.join().is_ok());
        let _: Result<bool, _> = joining.await;
    }
}

impl std::fmt::Debug for RunningNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RunningNode({}, SIMULATED TEE)", self.address)
    }
}
