//! Starting and ending a storage node, in a program of its own or within another.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use adyton_resolver::web::Web;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::acme::Acme;
use crate::api::{App, Coder};
use crate::auth::{Auth, AuthKeys};
use crate::backup::{BackupError, Copied};
use crate::clock::Clock;
use crate::config::{Config, Limits, StoreChoice};
use crate::couch::CouchConfig;
use crate::couch::client::CouchClient;
use crate::couch::databases::CouchDatabases;
use crate::couch::records::CouchRecords;
use crate::databases::{Databases, database_files};
use crate::did_documents::{DidDocuments, DidResolver};
use crate::directory::Directory;
use crate::fair_share::FairShare;
use crate::finds::Finds;
use crate::identity::Identity;
use crate::keeper::{Keeper, Kept};
use crate::metrics::Metrics;
use crate::node_keys::NodeKeys;
use crate::outbound::Outbound;
use crate::outgoing_resolution::OutgoingResolution;
use crate::peers::Peers;
use crate::private_files::{own_directory, own_file};
use crate::records::Records;
use crate::replicate::{News, Standing};
use crate::resolution::{InvalidRegistry, OwnPlaces, RegisteredDids, RegistryChoice};
use crate::server::body::BodyBudget;
use crate::server::line::Lines;
use crate::store::StoreError;
use crate::store::node::{NodeSecrets, NodeStore};
use crate::throttle::{Rates, Throttle};
use crate::tls::{Certificates, Reload, TlsChoice, TlsError};

/// A running storage node. Dropping it stops it without ceremony; [`Storage::shutdown`] lets requests end.
pub struct Storage {
    address: SocketAddr,
    public_url: String,
    metrics_address: Option<SocketAddr>,
    /// While it runs; the server is its owner.
    app: Weak<App>,
    backups: Option<PathBuf>,
    certificates: Option<Arc<Certificates>>,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
    /// Ends when the node's own file and those of all databases are closed.
    closed: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Storage({})", self.address)
    }
}

/// Time for the last commit to end when the node goes down.
const CLOSING_TIME: Duration = Duration::from_secs(5);

/// The node did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The data directory cannot be used.
    #[error("the data directory cannot be used: {0}")]
    Directory(#[source] std::io::Error),
    /// Another process has the data directory.
    #[error("another process has the data directory, {}", .0.display())]
    InUse(PathBuf),
    /// The address cannot be listened on.
    #[error("cannot listen (`listen`): {0}")]
    Listen(#[source] std::io::Error),
    /// The address for counters cannot be listened on.
    #[error("cannot listen (`metrics-listen`): {0}")]
    ListenForMetrics(#[source] std::io::Error),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The stored data cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The registry of DIDs cannot be used as it is configured.
    #[error(transparent)]
    Registry(#[from] InvalidRegistry),
    /// The CouchDB cannot be used as it is configured.
    #[error("the CouchDB cannot be used: {0}")]
    Couch(&'static str),
    /// There are databases, and nothing that says whose they are: a restore that did not end, or a lost file.
    #[error("the directory has databases, but no node.redb: restore it from a backup")]
    NoNodeFile,
    /// A restore into the directory did not end.
    #[error("a restore into the data directory did not end: remove it, and restore again")]
    HalfRestored,
    /// The stored node key is not a key.
    #[error("the stored node key is not a key")]
    Identity,
}

impl Storage {
    /// Starts a node with the system's clock, which resolves DIDs from the documents that it keeps itself.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Self::start_with(config, Clock::system(), None).await
    }

    /// Starts a node with another clock, or another way to resolve DIDs.
    pub async fn start_with(
        config: Config,
        clock: Clock,
        resolver: Option<Arc<dyn DidResolver>>,
    ) -> Result<Self, StartError> {
        Self::start_listening(config, clock, resolver, None).await
    }

    /// Starts a node on a listener that is there already, so that others know its address before it starts.
    pub async fn start_on(listener: TcpListener, config: Config) -> Result<Self, StartError> {
        Self::start_listening(config, Clock::system(), None, Some(listener)).await
    }

    /// Boxed in a function that is none of `async`: the whole server is compiled here, and not in every program that starts one.
    fn start_listening(
        config: Config,
        clock: Clock,
        resolver: Option<Arc<dyn DidResolver>>,
        listener: Option<TcpListener>,
    ) -> Pin<Box<dyn Future<Output = Result<Self, StartError>> + Send>> {
        Box::pin(Self::starting(config, clock, resolver, listener))
    }

    async fn starting(
        config: Config,
        clock: Clock,
        resolver: Option<Arc<dyn DidResolver>>,
        listener: Option<TcpListener>,
    ) -> Result<Self, StartError> {
        if crate::backup::is_half_restored(&config.data).map_err(StartError::Directory)? {
            return Err(StartError::HalfRestored);
        }
        let databases_directory = config.data.join("databases");
        own_directory(&databases_directory).map_err(StartError::Directory)?;
        let node_file = config.data.join("node.redb");
        let has_node = node_file.try_exists().map_err(StartError::Directory)?;
        if !has_node && !database_files(&databases_directory)?.is_empty() {
            return Err(StartError::NoNodeFile);
        }
        own_file(&node_file).map_err(StartError::Directory)?;
        let node = match crate::store::blocking(move || NodeStore::open(&node_file)).await {
            Err(StoreError::Closed) => return Err(StartError::InUse(config.data)),
            opened => opened?,
        };
        let secrets = node.secrets().await?;
        if secrets.is_new {
            tell_that_it_is_new(&config, &secrets)?;
        }

        let (acme, certificates) = match config.tls {
            None => (None, None),
            Some(TlsChoice::Files(files)) => (None, Some(Certificates::open(files)?)),
            Some(TlsChoice::Acme(acme)) => {
                let acme = Acme::open(*acme, &config.data, clock.clone())?;
                let certificates = acme.certificates();
                (Some(acme), Some(certificates))
            }
        };
        let tls = certificates.as_ref().map(Certificates::server_config);
        let tls = tls.transpose()?;
        let scheme = if tls.is_some() { "https" } else { "http" };

        let listener = match listener {
            Some(listener) => Ok(listener),
            None => TcpListener::bind(config.listen).await,
        };
        let listener = listener.map_err(StartError::Listen)?;
        let address = listener.local_addr().map_err(StartError::Listen)?;
        let host = match acme.as_ref().map(Acme::name) {
            // Nobody's certificate is for an address.
            Some(name) => format!("{name}:{}", address.port()),
            None => address.to_string(),
        };
        let public_url = config
            .public_url
            .unwrap_or_else(|| format!("{scheme}://{host}"));

        let mut limits = config.limits;
        if let StoreChoice::Couch(couch) = &config.store {
            couch.bound_feeds(&mut limits);
        }
        let news = News::default();
        let Chosen {
            records,
            kept,
            keys,
            identity,
            host,
        } = match config.store {
            StoreChoice::Embedded => {
                let databases = Databases::open(
                    node.clone(),
                    databases_directory,
                    limits.clone(),
                    (clock.clone(), news.clone()),
                );
                Chosen {
                    records: Records::Embedded(node.clone()),
                    kept: Kept::Embedded(Arc::new(databases.await?)),
                    keys: AuthKeys::own(&secrets),
                    identity: secrets.identity,
                    host: None,
                }
            }
            StoreChoice::Couch(couch) => {
                in_front_of(&couch, &node, &secrets, &clock, limits.clone()).await?
            }
        };
        let identity = Identity::from_bytes(identity).map_err(|_| StartError::Identity)?;
        let did_documents = DidDocuments::new(records.clone(), config.network, &limits);
        let directory = Directory::new(node.clone(), limits.registrations);
        let is_directory = matches!(config.registry, RegistryChoice::Directory(_));
        let own = OwnPlaces {
            documents: did_documents.clone(),
            directory: directory.clone(),
        };
        let way_out = Outbound::new(config.reach).map_err(InvalidRegistry::from)?;
        let outbound: Arc<dyn Web> = Arc::new(way_out.clone());
        let registered = RegisteredDids::open(
            config.registry,
            Arc::clone(&outbound),
            config.network,
            &public_url,
            own,
            &clock,
        )?;
        let resolver: Arc<dyn DidResolver> = match (resolver, registered) {
            (Some(given), _) => given,
            (None, Some(registered)) => Arc::new(registered),
            (None, None) => Arc::new(did_documents.clone()),
        };
        let resolver = Arc::new(OutgoingResolution::new(
            resolver,
            limits.rates.resolutions,
            clock.clone(),
        ));
        let (stop, stopping) = watch::channel(false);
        let app = App {
            public_url: public_url.clone(),
            uuid: hex::encode(secrets.uuid.split_at(16).0),
            host: host.unwrap_or_else(|| public_url.clone()),
            auth: Auth::new(
                records.clone(),
                keys,
                Arc::clone(&resolver),
                clock.clone(),
                config.network,
                limits.clone(),
                Peers::open(node.clone()).await?,
            ),
            node_keys: NodeKeys::new(outbound),
            network: config.network,
            databases: Keeper::new(node.clone(), clock.clone(), kept),
            records,
            node: node.clone(),
            news,
            standing: Standing::default(),
            peer_key: secrets.peer_key,
            throttle: Throttle::new(limits.rates),
            did_writes: Throttle::new(Rates {
                address: limits.did_writes_per_minute,
                ..limits.rates
            }),
            lines: Lines::new(&limits, &config.proxy),
            proxy: config.proxy,
            metrics: Metrics::new(certificates.clone()),
            finds: Finds::new(&limits),
            coder: Coder::default(),
            feeds: FairShare::new(limits.feeds as u64, limits.feeds_per_caller as u64),
            bodies: BodyBudget::new(&limits),
            limits,
            clock,
            identity,
            did_documents,
            resolver,
            directory: is_directory.then_some(directory),
            stop: stopping.clone(),
        };
        let closed = Box::pin(node.closed());
        drop(node);
        let app = Arc::new(app);
        let running = Arc::downgrade(&app);
        let seed = u64::from_be_bytes(crate::store::random()?);
        let (replicator, paced, stops) = (Arc::clone(&app), config.pace, stopping.clone());
        let replicating = crate::replicate::run(replicator, way_out, paced, seed, stops);
        let connections = crate::server::serve(listener, Arc::clone(&app), tls, stopping.clone());
        let (looked, stops) = (certificates.clone(), stopping.clone());
        let looking = async move {
            match (acme, looked) {
                (Some(acme), _) => acme.run(stops).await,
                (None, Some(looked)) => crate::server::watch_certificate(looked, stops).await,
                (None, None) => {}
            }
        };
        let serving = async move {
            tokio::join!(connections, replicating, looking);
        };
        let (metrics_address, server) = match config.metrics {
            None => (None, tokio::spawn(serving)),
            Some(address) => {
                let listener = TcpListener::bind(address)
                    .await
                    .map_err(StartError::ListenForMetrics)?;
                let address = listener
                    .local_addr()
                    .map_err(StartError::ListenForMetrics)?;
                let showing = crate::server::metrics::serve(listener, app, stopping);
                let both = async move {
                    tokio::join!(serving, showing);
                };
                (Some(address), tokio::spawn(both))
            }
        };
        tracing::info!(%address, "storage node listens");
        Ok(Self {
            address,
            public_url,
            metrics_address,
            app: running,
            backups: config.backups,
            certificates,
            stop,
            server,
            closed,
        })
    }

    /// Whether it speaks TLS itself.
    pub fn speaks_tls(&self) -> bool {
        self.certificates.is_some()
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it shows its counters to its operator.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// How clients reach it, without trailing slash. Service endpoints in DID documents are this and a `/`.
    pub fn public_url(&self) -> &str {
        &self.public_url
    }

    /// Makes a backup in `target`, which must be an empty directory or none, while the node serves.
    pub async fn backup(&self, target: &Path) -> Result<Copied, BackupError> {
        let app = self.app.upgrade().ok_or(BackupError::Stopped)?;
        let files = app.databases.files().map_err(|_| BackupError::InCouchDb)?;
        crate::backup::make(files, target).await
    }

    /// Makes a backup in the configured directory, in one of its own named after the time. None: no directory is configured.
    pub async fn backup_by_time(&self) -> Option<Result<Copied, BackupError>> {
        let directory = self.backups.as_ref()?;
        let app = self.app.upgrade()?;
        let name = app.clock.name()?;
        Some(self.backup(&directory.join(name)).await)
    }

    /// Reads the certificate and its key again, or has its authority asked now, if it is due. May block for as long as reading takes.
    /// Connections that are open go on.
    pub fn reload_certificate(&self) -> Result<Reload, TlsError> {
        match &self.certificates {
            None => Ok(Reload::Same),
            Some(certificates) => certificates.reload(),
        }
    }

    /// Takes no more requests, lets feeds and requests end, closes the files.
    pub async fn shutdown(self) {
        // The receiver is gone only when the server has ended already.
        let _ended = self.stop.send(true);
        if let Err(error) = self.server.await {
            tracing::error!(%error, "the server ended badly");
        }
        if tokio::time::timeout(CLOSING_TIME, self.closed)
            .await
            .is_err()
        {
            tracing::warn!("files of the node are still in use");
        }
    }
}

/// A directory that is empty because its disk is not mounted makes another node: nobody may find that out by what is missing there.
fn tell_that_it_is_new(config: &Config, secrets: &NodeSecrets) -> Result<(), StartError> {
    let key = match &config.store {
        StoreChoice::Embedded => None,
        StoreChoice::Couch(couch) => couch.node_key,
    };
    let identity = Identity::from_bytes(key.unwrap_or(secrets.identity));
    let public_key = identity.map_err(|_| StartError::Identity)?.public_key_hex();
    tracing::warn!(
        data = %config.data.display(),
        public_key,
        "a new node was made, with no accounts: if there was one before, stop, and look whether the disk of `data` is mounted"
    );
    Ok(())
}

/// What the choice of a store decides.
struct Chosen {
    records: Records,
    kept: Kept,
    keys: AuthKeys,
    identity: [u8; 32],
    /// Where clients find the databases, if not here.
    host: Option<String>,
}

/// Takes its place in front of a CouchDB, which must be there, take the admin's credential, and take the tokens of this node.
async fn in_front_of(
    couch: &CouchConfig,
    node: &NodeStore,
    secrets: &NodeSecrets,
    clock: &Clock,
    limits: Limits,
) -> Result<Chosen, StartError> {
    let client = CouchClient::new(couch).map_err(InvalidRegistry::from)?;
    let client = Arc::new(client);
    let databases = CouchDatabases::new(Arc::clone(&client), couch, clock.clone(), limits);
    if let Some(hindrance) = crate::couch::start::hindrance(&client, &databases).await? {
        return Err(StartError::Couch(hindrance.words()));
    }
    crate::couch::databases::prepare(&client, couch).await?;
    let records = CouchRecords::new(client, node.clone());
    Ok(Chosen {
        records: Records::Couch(Arc::new(records)),
        kept: Kept::Couch(Arc::new(databases)),
        keys: AuthKeys::of_couch(secrets, couch),
        identity: couch.node_key.unwrap_or(secrets.identity),
        host: couch.public_url.clone(),
    })
}
