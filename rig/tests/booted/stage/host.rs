//! The host's side of the enclave: the real `adyton-host`, as a process.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Before the address in what it prints.
const LISTENS: &str = "listening on ";

/// A running `adyton-host`.
pub struct Host {
    address: SocketAddr,
    process: Child,
    said: PathBuf,
}

impl Host {
    /// Serves the enclave whose vsock is at `socket`, with this configuration for it.
    pub fn start(socket: &Path, config: &str, folder: &Path) -> Self {
        let at = |name: &str| folder.join(name);
        fs::write(at("node.toml"), config).unwrap();
        let text = format!(
            "enclave = \"unix:{}\"\nconfiguration = \"node.toml\"\nlisten = [\"127.0.0.1:0\"]\n\
             [egress]\nallow_loopback = true\n",
            socket.display()
        );
        fs::write(at("host.toml"), text).unwrap();
        let said = at("host.err");
        let process = Command::new(program())
            .arg(at("host.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&said).unwrap())
            .spawn()
            .unwrap();
        let mut host = Self {
            address: ([0, 0, 0, 0], 0).into(),
            process,
            said,
        };
        host.address = host.listens();
        host
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything that it printed.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap_or_default()
    }

    fn listens(&self) -> SocketAddr {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(20) {
            let said = self.said();
            let address = said
                .split(LISTENS)
                .nth(1)
                .and_then(|rest| rest.split(',').next());
            if let Some(address) = address.and_then(|address| address.parse().ok()) {
                return address;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        panic!("the host's program does not listen: {}", self.said())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Built beside these tests: `just enclave-test` sees to it.
fn program() -> PathBuf {
    let here = std::env::current_exe().unwrap();
    let program = here.ancestors().nth(2).unwrap().join("adyton-host");
    assert!(
        program.exists(),
        "{} is missing: cargo build -p adyton-host",
        program.display()
    );
    program
}
