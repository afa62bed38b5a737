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

use crate::api::App;
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
use crate::store::StoreError;
use crate::store::node::{NodeSecrets, NodeStore};
use crate::throttle::Throttle;
use crate::tls::{Certificates, Reload, TlsError};

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
    /// Ends when the node's own file is closed.
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
    /// The address cannot be listened on.
    #[error("cannot listen: {0}")]
    Listen(#[source] std::io::Error),
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
        let databases_directory = config.data.join("databases");
        own_directory(&databases_directory).map_err(StartError::Directory)?;
        let node_file = config.data.join("node.redb");
        if !node_file.exists() && !database_files(&databases_directory)?.is_empty() {
            return Err(StartError::NoNodeFile);
        }
        own_file(&node_file).map_err(StartError::Directory)?;
        let node = crate::store::blocking(move || NodeStore::open(&node_file)).await?;
        let secrets = node.secrets().await?;

        let certificates = config.tls.map(Certificates::open).transpose()?;
        let tls = certificates.as_ref().map(Certificates::server_config);
        let tls = tls.transpose()?;
        let scheme = if tls.is_some() { "https" } else { "http" };

        let listener = TcpListener::bind(config.listen)
            .await
            .map_err(StartError::Listen)?;
        let address = listener.local_addr().map_err(StartError::Listen)?;
        let public_url = config
            .public_url
            .unwrap_or_else(|| format!("{scheme}://{address}"));

        let limits = config.limits;
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
        let did_documents = DidDocuments::new(records.clone(), &limits);
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
            proxy: config.proxy,
            metrics: Metrics::new(),
            finds: Finds::new(&limits),
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
        let replicating = async move {
            if replicator.databases.couch().is_none() {
                crate::replicate::run(replicator, way_out, paced, seed, stops).await;
            }
        };
        let connections = crate::server::serve(listener, Arc::clone(&app), tls, stopping.clone());
        let looking = certificates
            .clone()
            .map(|certificates| crate::server::watch_certificate(certificates, stopping.clone()));
        let serving = async move {
            match looking {
                None => {
                    tokio::join!(connections, replicating);
                }
                Some(looking) => {
                    tokio::join!(connections, replicating, looking);
                }
            }
        };
        let (metrics_address, server) = match config.metrics {
            None => (None, tokio::spawn(serving)),
            Some(address) => {
                let listener = TcpListener::bind(address)
                    .await
                    .map_err(StartError::Listen)?;
                let address = listener.local_addr().map_err(StartError::Listen)?;
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
        let files = app.databases.files().map_err(|_| BackupError::NoNode)?;
        crate::backup::make(files, target).await
    }

    /// Makes a backup in the configured directory, in one of its own named after the time. None: no directory is configured.
    pub async fn backup_by_time(&self) -> Option<Result<Copied, BackupError>> {
        let directory = self.backups.as_ref()?;
        let app = self.app.upgrade()?;
        let name = app.clock.name()?;
        Some(self.backup(&directory.join(name)).await)
    }

    /// Reads the certificate and its key again. May block for as long as that takes. Connections that are open go on.
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
            tracing::warn!("the node's file is still in use");
        }
    }
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
    crate::couch::databases::prepare(&client, couch).await?;
    let databases = CouchDatabases::new(
        Arc::clone(&client),
        &couch.access_key,
        clock.clone(),
        couch.public_user.0.clone(),
        limits,
    );
    if !databases.takes_tokens().await? {
        let why = "it does not take tokens that are signed with the access key ([jwt_keys] hmac:_default, jwt_authentication_handler)";
        return Err(StartError::Couch(why));
    }
    let records = CouchRecords::new(client, node.clone());
    Ok(Chosen {
        records: Records::Couch(Arc::new(records)),
        kept: Kept::Couch(Arc::new(databases)),
        keys: AuthKeys::of_couch(secrets, couch),
        identity: couch.node_key.unwrap_or(secrets.identity),
        host: couch.public_url.clone(),
    })
}
