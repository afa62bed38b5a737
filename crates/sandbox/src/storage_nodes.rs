//! The storage nodes of a sandbox: one, or several that hold contexts together.
//!
//! Guarantees: several are told apart by host (each has a loopback address of its own), replicate to each other and to nobody else
//! on this machine, and are each other's directory of DIDs, so that any of them may be away. A node that was stopped starts again
//! at its address, with its data.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use adyton_storage::{Config, Reach, RegistryChoice, Storage};
use tokio::net::TcpListener;
use url::Url;

use crate::cluster::{NETWORK, SandboxError};

/// Most storage nodes of a sandbox.
pub const MAX_STORAGE_NODES: u8 = 5;

/// Addresses for so many storage nodes, on as many hosts of this machine. Port 0 lets the system choose.
#[must_use]
pub fn storage_addresses(count: u8, port: u16) -> Vec<SocketAddr> {
    (1..=count.clamp(1, MAX_STORAGE_NODES))
        .map(|n| SocketAddr::from((Ipv4Addr::new(127, 0, 0, n), port)))
        .collect()
}

/// See the module.
pub struct StorageNodes(Vec<Site>);

struct Site {
    config: Config,
    url: String,
    /// None while it is stopped.
    running: Option<Storage>,
}

impl StorageNodes {
    /// Starts nodes at these addresses. The first keeps its data in `data`, the others beside it.
    pub(crate) async fn start(listen: &[SocketAddr], data: &Path) -> Result<Self, SandboxError> {
        let mut listeners = Vec::new();
        for address in listen {
            let listener = TcpListener::bind(address).await;
            listeners.push(listener.map_err(adyton_storage::StartError::Listen)?);
        }
        let addresses: Vec<SocketAddr> = listeners
            .iter()
            .map(TcpListener::local_addr)
            .collect::<Result<_, _>>()?;
        let urls: Vec<Url> = addresses
            .iter()
            .filter_map(|address| format!("http://{address}/").parse().ok())
            .collect();
        let mut sites = Vec::new();
        for (n, (address, listener)) in addresses.iter().zip(listeners).enumerate() {
            let mut config = Config::new(*address, directory(data, n));
            config.network = NETWORK;
            if urls.len() > 1 {
                let mut others = urls.clone();
                others.remove(n);
                config.reach = Reach::also(&others);
                config.registry = RegistryChoice::Directory(others);
            }
            let storage = Storage::start_on(listener, config.clone()).await?;
            sites.push(Site {
                config,
                url: storage.public_url().to_owned(),
                running: Some(storage),
            });
        }
        Ok(Self(sites))
    }

    /// Their URLs, without trailing slash, in order; those that are stopped included.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|site| site.url.as_str())
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether the n-th, from 0, runs.
    #[must_use]
    pub fn runs(&self, n: usize) -> bool {
        self.0.get(n).is_some_and(|site| site.running.is_some())
    }

    /// Stops the n-th, if there is one and it runs. Requests under way end first.
    pub async fn stop(&mut self, n: usize) {
        let running = self.0.get_mut(n).and_then(|site| site.running.take());
        if let Some(storage) = running {
            storage.shutdown().await;
        }
    }

    /// Starts the n-th again, if there is one and it was stopped.
    pub async fn start_again(&mut self, n: usize) -> Result<(), SandboxError> {
        if let Some(site) = self.0.get_mut(n)
            && site.running.is_none()
        {
            site.running = Some(Storage::start(site.config.clone()).await?);
        }
        Ok(())
    }

    pub(crate) async fn shutdown(self) {
        let running = self.0.into_iter().filter_map(|site| site.running);
        futures_util::future::join_all(running.map(Storage::shutdown)).await;
    }
}

/// Where the n-th node, from 0, keeps its data.
fn directory(data: &Path, n: usize) -> PathBuf {
    match n {
        0 => data.to_owned(),
        n => {
            let mut name = data.as_os_str().to_owned();
            name.push(format!("-{}", n + 1));
            name.into()
        }
    }
}
