//! Everything around a host that is run as a program: an emulator's sockets, an enclave that is played by a process, a
//! storage node behind TLS, a resolver, and taps on the wires.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

pub mod resolver;
pub mod tap;
pub mod world;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// Longest wait for anything on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A folder with the sockets of one emulated machine: `vm`, and `vm_<port>` for the host's ports.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The emulator's socket.
    pub fn vm(&self) -> PathBuf {
        self.0.path().join("vm")
    }

    /// Writes both configurations; `more` are lines of the host's.
    pub fn configure(&self, node: &str, more: &str) -> PathBuf {
        std::fs::write(self.0.path().join("node.toml"), node).unwrap();
        let host = self.0.path().join("adyton-host.toml");
        let vm = self.vm();
        let text = format!(
            "enclave = \"unix:{}\"\nconfiguration = \"node.toml\"\nlisten = [\"127.0.0.1:0\"]\n{more}",
            vm.display()
        );
        std::fs::write(&host, text).unwrap();
        host
    }
}

/// `adyton-host`, running.
pub struct HostProcess {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl HostProcess {
    pub fn start(config: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_adyton-host"))
            .arg(config)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (stderr, into) = (child.stderr.take().unwrap(), Arc::clone(&lines));
        // Ends with the program's standard error.
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                into.lock().unwrap().push(line);
            }
        });
        Self { child, lines }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Waits for the n-th line that contains these words, and gives it.
    pub async fn said(&self, words: &str, nth: usize) -> String {
        let found = || {
            let lines = self.lines.lock().unwrap();
            let mut lines = lines.iter().filter(|line| line.contains(words));
            lines.nth(nth).cloned()
        };
        wait_for(&format!("{words} ({nth})"), found).await
    }

    /// The public address.
    pub async fn address(&self) -> SocketAddr {
        let line = self.said("listening on ", 0).await;
        let address = line.strip_prefix("listening on ").unwrap();
        address.split(',').next().unwrap().parse().unwrap()
    }

    /// Asks it to end, and waits.
    pub async fn end(&mut self) -> ExitStatus {
        signal(self.child.id(), "TERM");
        self.wait().await
    }

    pub async fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        wait_for("the host's end", || child.try_wait().unwrap()).await
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process of the test's own.
pub fn signal(process: u32, name: &str) {
    let status = Command::new("kill")
        .args([&format!("-{name}"), &process.to_string()])
        .status();
    assert!(status.unwrap().success());
}

pub async fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < until, "did not come: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// An authority of the test's own, with certificates for whoever needs one.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().der().clone();
        Self {
            issuer: Issuer::new(params, key),
            root,
        }
    }

    pub fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        Arc::new(roots)
    }

    /// TLS for a server of this name or address.
    pub fn server(&self, name: &str, protocols: &[&str]) -> Arc<ServerConfig> {
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let mut config = ServerConfig::builder_with_provider(provider.into())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .unwrap();
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        Arc::new(config)
    }
}
