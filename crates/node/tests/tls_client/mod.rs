//! A server on a real socket, and clients that trust its certificate as any standard client would.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(unreachable_pub, reason = "a module of tests has no outside")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use adyton_node::server::{Drained, Limits, Server};
use adyton_node::tls::TlsIdentity;
use axum::Router;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Limits that a test can wait for.
pub const QUICK: Limits = Limits {
    connections: 100,
    handshake: Duration::from_millis(300),
    idle: Duration::from_millis(600),
    body: Duration::from_millis(600),
    stall: Duration::from_millis(600),
    answer: Duration::from_secs(2),
    drain: Duration::from_millis(600),
};

pub struct Running {
    pub address: SocketAddr,
    pub certificate: CertificateDer<'static>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Drained>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the peers' clocks are the system's"
)]
pub fn now() -> SystemTime {
    SystemTime::now()
}

pub fn identity() -> TlsIdentity {
    TlsIdentity::generate(&["localhost".to_owned(), "127.0.0.1".to_owned()], now()).unwrap()
}

pub async fn start(router: Router, limits: Limits) -> Running {
    start_as(identity(), router, limits).await
}

pub async fn start_as(identity: TlsIdentity, router: Router, limits: Limits) -> Running {
    let certificate =
        CertificateDer::from_pem_slice(identity.certificate_pem().as_bytes()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::new(
        listener,
        identity.into_server_config().unwrap(),
        router,
        limits,
    );
    let address = server.address().unwrap().tcp().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(server.run(async {
        let _ = stopped.await;
    }));
    Running {
        address,
        certificate,
        stop,
        task,
    }
}

impl Running {
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub async fn stop(self) -> Drained {
        self.stop.send(()).unwrap();
        self.task.await.unwrap()
    }

    /// Says that it should stop, and leaves it to it.
    pub fn begin_to_stop(self) -> JoinHandle<Drained> {
        self.stop.send(()).unwrap();
        self.task
    }

    pub async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A TLS connection by the WebPKI's rules, with the node's own certificate as the only root.
    pub async fn connect(&self, protocol: &[u8]) -> TlsStream<TcpStream> {
        self.try_connect(protocol).await.unwrap()
    }

    pub async fn try_connect(&self, protocol: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let mut config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, TcpStream::connect(self.address).await?)
            .await
    }

    /// One HTTP/1.1 request on a connection of its own; status line and everything behind it.
    pub async fn get(&self, path: &str) -> String {
        let mut stream = self.connect(b"http/1.1").await;
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        read_to_end(&mut stream).await
    }
}

/// Everything until the peer ends it, politely or not.
pub async fn read_to_end(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits for something that must happen at some time; the limit only ends a test that would hang.
pub async fn eventually<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("it never happened")
}
