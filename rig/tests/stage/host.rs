//! The host's side of the enclave: the real `adyton-host`, as a process.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running `adyton-host`.
pub struct Host {
    address: SocketAddr,
    process: Child,
    said: PathBuf,
}

impl Host {
    /// Serves the enclave whose vsock is at `socket`, with this configuration for it.
    pub fn start(socket: &Path, config: &str, folder: &Path) -> Self {
        let address = free_address();
        let node = folder.join("node.toml");
        fs::write(&node, config).unwrap();
        let said = folder.join("host.err");
        todo!("{} {}", socket.display(), address)
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything that it printed.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap_or_default()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An address that nobody uses now.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}
