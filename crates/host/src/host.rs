//! The host, put together: the enclave's ports are bound before the enclave is started, the public ones with them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use adyton_vsock::enclave::{Enclave, Listener};
use adyton_vsock::port;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::config::Config;
use crate::configuration::Configuration;
use crate::egress::Egress;
use crate::front::{Front, Way};
use crate::log::Log;
use crate::pass::Meter;
use crate::supervisor::{Run, Supervisor};
use crate::{heartbeat, notices};

/// A host that is bound to all its ports and does not serve yet.
#[derive(Debug)]
pub struct Host {
    enclave: Enclave,
    fronts: Vec<Front>,
    addresses: Vec<SocketAddr>,
    egress: Arc<Egress>,
    configuration: Configuration,
    run: Option<Run>,
    ports: Ports,
    meter: Arc<Meter>,
    log: Log,
}

#[derive(Debug)]
struct Ports {
    /// None: on real hardware `nitro-cli run-enclave` binds this port itself, and ends well only after a heartbeat.
    heartbeat: Option<Listener>,
    configuration: Listener,
    egress: Listener,
    notices: Listener,
}

/// A port cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {what}: {source}")]
pub struct NoPort {
    what: String,
    source: io::Error,
}

impl Host {
    /// Binds everything.
    ///
    /// # Errors
    /// [`NoPort`].
    pub async fn bind(config: Config, log: Log) -> Result<Self, NoPort> {
        let listen = |name, number| {
            config.enclave.listen(number).map_err(|source| NoPort {
                what: format!("the enclave's {name} port {number}"),
                source,
            })
        };
        let ports = Ports {
            heartbeat: match config.enclave {
                Enclave::Hybrid { .. } => Some(listen("heartbeat", port::HEARTBEAT)?),
                Enclave::Vsock { .. } => None,
            },
            configuration: listen("configuration", port::CONFIGURATION)?,
            egress: listen("egress", port::EGRESS)?,
            notices: listen("notices", port::NOTICES)?,
        };
        let meter = Arc::new(Meter::default());
        let way = Arc::new(Way {
            enclave: config.enclave.clone(),
            places: Arc::new(Semaphore::new(config.connections)),
            idle: config.idle,
            meter: Arc::clone(&meter),
            answers: AtomicBool::new(true),
            log: log.clone(),
        });
        let (mut fronts, mut addresses) = (Vec::new(), Vec::new());
        for address in config.listen {
            let no_port = |source| NoPort {
                what: address.to_string(),
                source,
            };
            let front = Front::bind(address, Arc::clone(&way))
                .await
                .map_err(no_port)?;
            addresses.push(front.address().map_err(no_port)?);
            fronts.push(front);
        }
        Ok(Self {
            enclave: config.enclave,
            fronts,
            addresses,
            egress: Arc::new(Egress {
                rule: config.rule,
                most: config.egress_connections,
                places: Arc::new(Semaphore::new(config.egress_connections)),
                idle: config.idle,
                meter: Arc::clone(&meter),
            }),
            configuration: Configuration {
                path: config.configuration,
                log: log.clone(),
            },
            run: config.run,
            ports,
            meter,
            log,
        })
    }

    /// The public addresses.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What lies here, of all connections.
    #[must_use]
    pub fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }

    /// Serves until `shutdown` is ready, then ends the enclave that it started. Owns every task; none outlives it.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let (stop, stopping) = watch::channel(false);
        let mut serving = JoinSet::new();
        for front in self.fronts {
            serving.spawn(front.run());
        }
        serving.spawn(self.egress.run(self.ports.egress));
        serving.spawn(self.configuration.run(self.ports.configuration));
        let heard = self.ports.heartbeat.map(|listener| {
            let (hearing, heard) = watch::channel(0);
            serving.spawn(heartbeat::run(listener, hearing));
            heard
        });
        serving.spawn(notices::run(self.ports.notices, self.log.clone()));
        let mut supervising = JoinSet::new();
        if let Some(run) = self.run {
            let supervisor = Supervisor {
                run,
                enclave: self.enclave,
                heard,
                log: self.log,
            };
            supervising.spawn(supervisor.run(stopping));
        }
        shutdown.await;
        // Nobody is left to tell when nothing was started.
        let _ = stop.send(true);
        while supervising.join_next().await.is_some() {}
        serving.shutdown().await;
    }
}
