//! A node, put together: attester sealed, key born, listener bound, in this order.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use adyton_attest::Spki;
use adyton_attest::attester::{Attester, AttesterError, SealedAttester};
use adyton_client::clock::Clock;
use adyton_client::schema::{SchemaError, SchemaSet};
use adyton_client::transport::Transport;
use tokio::net::TcpListener;

use crate::api::{self, Api};
use crate::attestation::{Attestation, NoKey, NodeKeys};
use crate::config::Config;
use crate::server::{Drained, Limits, Server};
use crate::tls::{TlsError, TlsIdentity};
use crate::vault::Vault;

/// A node that is bound to its address and not yet serving.
pub struct Node {
    server: Server,
    address: SocketAddr,
    certificate_pem: String,
    spki: Spki,
    vault: Arc<Vault>,
}

/// The node cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The TEE does not vouch for this configuration. There is no listener without evidence.
    #[error("the attester refused: {0}")]
    Attester(#[from] AttesterError),
    /// No TLS key or certificate.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] TlsError),
    /// No keys beside that of TLS.
    #[error("the node's keys: {0}")]
    Keys(#[from] NoKey),
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
    /// Measures the configuration, makes the keys, and only then binds the address.
    pub async fn start(
        config: Config,
        attester: Arc<dyn Attester>,
        clock: Clock,
    ) -> Result<Self, StartError> {
        let sealed = SealedAttester::seal(attester, &config.text).await?;
        let identity = TlsIdentity::generate(&config.names, clock.now())?;
        let spki = identity.spki().clone();
        let keys = NodeKeys::generate()?;
        let certificate_pem = identity.certificate_pem().to_owned();

        let schemas = Arc::new(SchemaSet::embedded()?);
        let transport = Transport::with_patience(config.egress, config.patience)?;
        let vault = Vault::new(transport, clock.clone(), config.vault, Arc::clone(&schemas));
        let tee = sealed.kind().to_string();
        let attestation = Attestation::new(sealed, keys.attested(&spki), clock.clone());
        let limits = Limits {
            connections: config.connections,
            ..Limits::default()
        };
        let listen = config.listen;
        let api = Api::new(Arc::clone(&vault), schemas, config, clock, tee);
        let router = api::router(api, attestation.router());

        let listener = TcpListener::bind(listen).await?;
        let server = Server::new(listener, identity.into_server_config()?, router, limits);
        let address = server.local_addr()?;
        Ok(Self {
            server,
            address,
            certificate_pem,
            spki,
            vault,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
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
        let drained = self.server.run(shutdown).await;
        self.vault.evict_all();
        drained
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Node({})", self.address)
    }
}
