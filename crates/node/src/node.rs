//! A node, put together: what [`crate::boot`] has prepared, and a listener.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use adyton_attest::Spki;
use adyton_attest::attester::Attester;
use adyton_client::clock::Clock;
use adyton_client::egress::{Route, compiled_in_roots};
use adyton_client::schema::{SchemaError, SchemaSet};
use adyton_client::transport::Transport;
use adyton_keys::dead_stack;
use rustls::RootCertStore;
use tokio::runtime::{Builder, Runtime};

use crate::api::{self, Api};
use crate::attestation::Attestation;
use crate::boot::{BootError, Keyed, Timed};
use crate::client_documents::ClientDocuments;
use crate::config::Config;
use crate::grants::NodeContext;
use crate::server::{Drained, Limits, ListenAddress, Listener, Server};
use crate::tls::TlsError;
use crate::vault::Vault;

/// How long the last receipts may take to be written.
const LAST_RECEIPTS: Duration = Duration::from_secs(10);

/// A node that is bound to its address and not yet serving.
pub struct Node {
    server: Server,
    address: ListenAddress,
    certificate_pem: String,
    spki: Spki,
    vault: Arc<Vault>,
}

/// What a node is given beside its configuration. In an enclave, [`Surroundings::default`].
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The way to storage nodes, instead of the one that the configuration says. Only whoever builds a program can set
    /// it: a test, whose enclave is a process.
    pub route: Option<Route>,
    /// What servers are verified against.
    pub roots: Arc<RootCertStore>,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self {
            route: None,
            roots: compiled_in_roots(),
        }
    }
}

/// The node cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A step before the listener.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The server's TLS.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] TlsError),
    /// The client side of TLS.
    #[error("TLS to storage nodes cannot be set up: {0}")]
    Transport(#[from] rustls::Error),
    /// The embedded schemas.
    #[error("the embedded schemas do not load: {0}")]
    Schemas(#[from] SchemaError),
    /// The address.
    #[error("cannot listen: {0}")]
    Listen(#[from] io::Error),
}

impl Node {
    /// What a node runs on. Before one of its threads sleeps, what its calls left on its stack is wiped: an idle node has
    /// nothing there of whoever it served last.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn runtime() -> io::Result<Runtime> {
        Builder::new_multi_thread()
            .enable_all()
            .on_thread_park(dead_stack::wipe)
            .build()
    }

    /// The whole boot: checks the clock, measures the configuration, makes the keys, and only then binds the address.
    pub async fn start(
        config: Config,
        attester: Arc<dyn Attester>,
        clock: Clock,
    ) -> Result<Self, StartError> {
        Self::start_in(Surroundings::default(), config, attester, clock).await
    }

    /// The same, in other surroundings.
    pub async fn start_in(
        surroundings: Surroundings,
        config: Config,
        attester: Arc<dyn Attester>,
        clock: Clock,
    ) -> Result<Self, StartError> {
        let timed = Timed::check(attester, clock).await?;
        let keyed = timed.seal(config).await?.make_keys().await?;
        Self::bind(keyed, surroundings).await
    }

    /// The last step: takes what proves all steps before, and binds the address.
    pub async fn bind(keyed: Keyed, surroundings: Surroundings) -> Result<Self, StartError> {
        let Keyed {
            attester,
            identity,
            keys,
            grants_account,
            config,
            clock,
        } = keyed;
        let spki = identity.spki().clone();
        let certificate_pem = identity.certificate_pem().to_owned();

        let schemas = Arc::new(SchemaSet::embedded()?);
        let route = surroundings.route.unwrap_or_else(|| config.route.clone());
        let client_documents = ClientDocuments::new(
            &route,
            &surroundings.roots,
            config.oauth.local_clients,
            clock.clone(),
        )?;
        let transport = Transport::with_route(
            config.egress.clone(),
            config.patience,
            route,
            surroundings.roots,
        )?;
        let node_context = match (&config.grants, &grants_account) {
            (Some(place), Some(key)) => {
                let context = NodeContext::new(key, place, transport.clone(), clock.clone());
                Some(context.map_err(|_| BootError::GrantsAccount)?)
            }
            (Some(_), None) | (None, _) => None,
        };
        let vault = Vault::new(transport, clock.clone(), config.vault, Arc::clone(&schemas));
        let tee = attester.kind().to_string();
        let attestation = Attestation::new(attester, keys.attested(&spki), clock.clone());
        let limits = Limits {
            connections: config.connections,
            ..Limits::default()
        };
        let listen = config.listen;
        let api = Api::new(
            Arc::clone(&vault),
            client_documents,
            schemas,
            config,
            clock,
            tee,
            node_context,
        );
        let router = api::router(api, attestation.router(), keys);

        let listener = Listener::bind(listen).await?;
        let server = Server::new(listener, identity.into_server_config()?, router, limits);
        let address = server.address()?;
        Ok(Self {
            server,
            address,
            certificate_pem,
            spki,
            vault,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> ListenAddress {
        self.address
    }

    /// The certificate, for clients that want one on file.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The TLS key that the evidence covers.
    pub fn spki(&self) -> &Spki {
        &self.spki
    }

    /// Serves until `shutdown` is ready, finishes what is under way, and wipes the vault.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Drained {
        let vault = Arc::clone(&self.vault);
        let shutdown = async move {
            shutdown.await;
            // They would not end by themselves, and hold up the rest.
            vault.end_watches();
        };
        let drained = self.server.run(shutdown).await;
        self.vault.write_receipts(LAST_RECEIPTS).await;
        self.vault.evict_all();
        drained
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Node({})", self.address)
    }
}
