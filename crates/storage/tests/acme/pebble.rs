//! A real authority: Let's Encrypt's test server, with names that all lead to this machine.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A port that nobody listens on, that nobody else here is given, and that is below those that the system gives to connections.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let n = std::process::id().wrapping_mul(61) + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 10_000 + u16::try_from(n % 20_000).unwrap();
        let free = TcpListener::bind(("127.0.0.1", port)).is_ok()
            && UdpSocket::bind(("127.0.0.1", port)).is_ok();
        if free {
            return port;
        }
    }
}

/// Where an authority is to be: its addresses outlive it.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
    port: u16,
    management: u16,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(dir.path().join("ca.pem"), made.cert.pem()).unwrap();
        let key = made.signing_key.serialize_pem();
        std::fs::write(dir.path().join("ca-key.pem"), key).unwrap();
        Self {
            dir,
            port: free_port(),
            management: free_port(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    pub(crate) fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// What its own server is verified against.
    pub(crate) fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    pub(crate) fn ca_key(&self) -> PathBuf {
        self.dir.path().join("ca-key.pem")
    }

    /// Starts it. It looks for answers at `tls_port`. None: it is not on this machine.
    pub(crate) async fn pebble(&self, tls_port: u16, more: &Value) -> Option<Pebble> {
        let dns = free_port();
        let mut config = json!({
            "listenAddress": self.address().to_string(),
            "managementListenAddress": format!("127.0.0.1:{}", self.management),
            "certificate": self.ca(),
            "privateKey": self.ca_key(),
            "httpPort": free_port(),
            "tlsPort": tls_port,
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            config[name] = value.clone();
        }
        let path = self.dir.path().join("pebble.json");
        std::fs::write(&path, json!({"pebble": config}).to_string()).unwrap();
        let names = Command::new("pebble-challtestsrv")
            .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
            .args(["-defaultIPv6", "", "-defaultIPv4", "127.0.0.1"])
            .arg(format!("-dns01=127.0.0.1:{dns}"))
            .arg(format!("-management=127.0.0.1:{}", free_port()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let authority = Command::new("pebble")
            .arg("-config")
            .arg(&path)
            .arg("-dnsserver")
            .arg(format!("127.0.0.1:{dns}"))
            // Nonces are refused now and then, as they are by default.
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env_remove("PEBBLE_VA_ALWAYS_VALID")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let running = [names, authority].map(|child| child.ok().map(Running));
        let [Some(names), Some(authority)] = running else {
            return None;
        };
        let pebble = Pebble {
            _processes: [names, authority],
        };
        for port in [self.port, self.management] {
            let began = Instant::now();
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                assert!(began.elapsed() < Duration::from_secs(20), "no pebble");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Some(pebble)
    }

    /// What clients of the node trust.
    pub(crate) async fn root(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        let own = std::fs::read(self.ca()).unwrap();
        roots
            .add(CertificateDer::from_pem_slice(&own).unwrap())
            .unwrap();
        let tcp = TcpStream::connect(("127.0.0.1", self.management)).await;
        let tls = TlsConnector::from(Arc::new(trusting(roots)))
            .connect(ServerName::try_from("localhost").unwrap(), tcp.unwrap())
            .await
            .unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(tls)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get("/roots/0").header("host", "localhost");
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let said = sender.send_request(request).await.unwrap().into_body();
        let pem = said.collect().await.unwrap().to_bytes();
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(&pem).unwrap())
            .unwrap();
        roots
    }
}

pub(crate) fn trusting(roots: RootCertStore) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// An authority that runs, and ends with this.
pub(crate) struct Pebble {
    _processes: [Running; 2],
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}
