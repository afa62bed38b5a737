//! The way out: who is asked for, what resolvers may say, and what the host refuses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adyton_client::egress::{HostRoute, Route};
use adyton_client::endpoint::{Endpoint, Reach};
use adyton_client::transport::{Call, Patience, Transport, TransportError};
use adyton_vsock::egress::{Answer, MAX_HEAD, parse_answer, request};
use adyton_vsock::guest::Host;
use adyton_vsock::port;
use rustls::RootCertStore;
use support::resolver::{Resolver, Says};
use support::{Authority, Folder, HostProcess};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;

const NODE: &str = "listen = \"vsock:8443\"\n";
const LOOPBACK: &str = "[egress]\nallow_loopback = true\n";
const NAME: &str = "storage.localhost";

/// A host, the requests that it got, a resolver, and a server behind TLS that says hello.
struct Scene {
    folder: Folder,
    authority: Authority,
    resolver: Resolver,
    server: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    _host: HostProcess,
}

impl Scene {
    async fn set() -> Self {
        let authority = Authority::new();
        let resolver = Resolver::start(&authority).await;
        let folder = Folder::new();
        let host = HostProcess::start(&folder.configure(NODE, LOOPBACK));
        host.address().await;
        let asked = Arc::new(Mutex::new(Vec::new()));
        let listener = UnixListener::bind(ear(&folder)).unwrap();
        tokio::spawn(listen_in(
            listener,
            folder.path().join("vm_9200"),
            Arc::clone(&asked),
        ));
        let server = hello(&authority).await;
        Self {
            folder,
            authority,
            resolver,
            server,
            asked,
            _host: host,
        }
    }

    fn transport(&self, resolvers: &[&Resolver], roots: Arc<RootCertStore>) -> Transport {
        let host = Host::Unix(self.folder.path().join("ear"));
        let resolvers = resolvers
            .iter()
            .map(|resolver| resolver.url().parse().unwrap())
            .collect();
        Transport::with_route(
            Reach::AlsoThisMachine,
            Patience {
                head: Duration::from_secs(15),
                ..Patience::default()
            },
            Route::ThroughHost(HostRoute { host, resolvers }),
            roots,
        )
        .unwrap()
    }

    async fn get(&self, name: &str) -> Result<String, TransportError> {
        let transport = self.transport(&[&self.resolver], self.authority.roots());
        fetch(&transport, name, self.server.port()).await
    }

    /// The addresses that the host was asked for, but the resolver's.
    fn asked(&self) -> Vec<String> {
        let resolver = self.resolver.address.to_string();
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .filter(|address| **address != resolver)
            .cloned()
            .collect()
    }
}

async fn fetch(transport: &Transport, name: &str, port: u16) -> Result<String, TransportError> {
    let endpoint: Endpoint = format!("https://{name}:{port}/").parse().unwrap();
    let answer = transport.send(Call::get(&endpoint, "")).await?;
    Ok(String::from_utf8(answer.body.to_vec()).unwrap())
}

fn ear(folder: &Folder) -> PathBuf {
    folder.path().join("ear_9200")
}

/// Passes requests on to the host, and remembers the address in each.
async fn listen_in(listener: UnixListener, host: PathBuf, asked: Arc<Mutex<Vec<String>>>) {
    loop {
        let (mut from, _) = listener.accept().await.unwrap();
        let (host, asked) = (host.clone(), Arc::clone(&asked));
        tokio::spawn(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(from.read_u8().await.unwrap());
            }
            let text = String::from_utf8(head).unwrap();
            let address = text.split(' ').nth(1).unwrap().to_owned();
            asked.lock().unwrap().push(address);
            let mut to = UnixStream::connect(host).await.unwrap();
            to.write_all(text.as_bytes()).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
        });
    }
}

async fn hello(authority: &Authority) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = TlsAcceptor::from(authority.server(NAME, &["http/1.1"]));
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let tls = tls.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = tls.accept(tcp).await else {
                    return;
                };
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
                let mut piece = [0; 4096];
                while let Ok(1..) = stream.read(&mut piece).await {
                    stream.write_all(answer).await.unwrap();
                }
            });
        }
    });
    address
}

fn v4(ip: [u8; 4]) -> IpAddr {
    ip.into()
}

#[tokio::test]
async fn a_name_is_resolved_inside_and_the_host_is_asked_for_an_address() {
    let scene = Scene::set().await;
    let says = Says::Addresses(vec![v4([127, 0, 0, 1])], 60);
    scene.resolver.says(NAME, says);
    let transport = scene.transport(&[&scene.resolver], scene.authority.roots());
    for _ in 0..3 {
        let answer = fetch(&transport, NAME, scene.server.port()).await;
        assert_eq!(answer.unwrap(), "hello");
    }
    assert_eq!(scene.asked(), [scene.server.to_string()]);
    // Remembered as long as the answer allows.
    assert_eq!(scene.resolver.asked(), 1);
}

#[tokio::test]
async fn the_lifetime_of_an_answer_is_respected() {
    let scene = Scene::set().await;
    // Not to be remembered at all; and another port each time, so that no connection is used again.
    let says = Says::Addresses(vec![v4([127, 0, 0, 1])], 0);
    scene.resolver.says(NAME, says);
    let transport = scene.transport(&[&scene.resolver], scene.authority.roots());
    for _ in 0..3 {
        let server = hello(&scene.authority).await;
        let answer = fetch(&transport, NAME, server.port()).await;
        assert_eq!(answer.unwrap(), "hello");
    }
    assert_eq!(scene.resolver.asked(), 3);
}

#[tokio::test]
async fn a_name_that_points_inside_leads_nowhere() {
    let scene = Scene::set().await;
    for inside in [
        [10, 0, 0, 1],
        [169, 254, 169, 254],
        [192, 168, 1, 1],
        [0, 0, 0, 0],
        [100, 64, 0, 1],
    ] {
        let says = Says::Addresses(vec![v4(inside)], 60);
        scene.resolver.says(NAME, says);
        let refused = scene.get(NAME).await;
        assert_eq!(refused, Err(TransportError::Unreachable), "{inside:?}");
    }
    // The host never heard of these addresses.
    assert_eq!(scene.asked(), Vec::<String>::new());
    // Beside one that is allowed, the others are left out.
    let both = vec![v4([10, 0, 0, 1]), v4([127, 0, 0, 1])];
    scene.resolver.says(NAME, Says::Addresses(both, 60));
    assert_eq!(scene.get(NAME).await.unwrap(), "hello");
    assert_eq!(scene.asked(), [scene.server.to_string()]);
}

#[tokio::test]
async fn answers_to_something_else_and_too_large_ones_are_refused() {
    let scene = Scene::set().await;
    let poison = v4([127, 0, 0, 1]);
    for says in [
        Says::AnotherName(poison),
        Says::Bytes(Vec::new()),
        Says::Bytes(vec![0xff; 200]),
        Says::Bytes(vec![0; 5000]),
        Says::Bytes(vec![0; 20_000_000]),
        Says::Html,
        Says::Addresses(vec![poison; 100], 60),
    ] {
        scene.resolver.says(NAME, says);
        let refused = scene.get(NAME).await;
        assert_eq!(refused, Err(TransportError::Unreachable));
    }
    // A name that nobody knows.
    let refused = scene.get("nobody.localhost").await;
    assert_eq!(refused, Err(TransportError::Unreachable));
    assert_eq!(scene.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn a_resolver_and_a_server_with_a_foreign_certificate_are_not_believed() {
    let scene = Scene::set().await;
    let says = Says::Addresses(vec![v4([127, 0, 0, 1])], 60);
    let impostor = Resolver::start(&Authority::new()).await;
    impostor.says(NAME, says.clone());
    let roots = scene.authority.roots();
    let transport = scene.transport(&[&impostor], Arc::clone(&roots));
    let refused = fetch(&transport, NAME, scene.server.port()).await;
    assert_eq!(refused, Err(TransportError::Unreachable));
    assert_eq!(impostor.asked(), 0);

    // The next one is asked instead.
    scene.resolver.says(NAME, says.clone());
    let transport = scene.transport(&[&impostor, &scene.resolver], roots);
    let answer = fetch(&transport, NAME, scene.server.port()).await;
    assert_eq!(answer.unwrap(), "hello");

    // A server is verified for the name that was asked for, not for where it is.
    scene.resolver.says("other.localhost", says);
    let refused = scene.get("other.localhost").await;
    assert_eq!(refused, Err(TransportError::Unreachable));
}

#[tokio::test]
async fn a_resolver_that_is_away_is_not_waited_for_twice() {
    let scene = Scene::set().await;
    let away = Resolver::start(&scene.authority).await;
    let says = Says::Addresses(vec![v4([127, 0, 0, 1])], 0);
    scene.resolver.says(NAME, says);
    away.says(NAME, Says::Html);
    let transport = scene.transport(&[&away, &scene.resolver], scene.authority.roots());
    for _ in 0..3 {
        let server = hello(&scene.authority).await;
        let answer = fetch(&transport, NAME, server.port()).await;
        assert_eq!(answer.unwrap(), "hello");
    }
    assert_eq!((away.asked(), scene.resolver.asked()), (1, 3));
}

/// Says something to the host's egress port and reads the answer's head.
async fn said(folder: &Folder, bytes: &[u8]) -> Option<Answer> {
    let host = Host::Unix(folder.vm());
    let mut wire = host.connect(port::EGRESS).await.unwrap();
    wire.write_all(bytes).await.unwrap();
    wire.shutdown().await.unwrap();
    let mut head = Vec::new();
    wire.read_to_end(&mut head).await.ok()?;
    parse_answer(&head).ok()
}

#[tokio::test]
async fn the_host_itself_refuses_what_is_inside_and_what_is_no_request() {
    let folder = Folder::new();
    let host = HostProcess::start(&folder.configure(NODE, "[egress]\nports = [443]\n"));
    host.address().await;
    for inside in [
        "127.0.0.1:443",
        "[::1]:443",
        "10.0.0.1:443",
        "169.254.169.254:443",
        "[fd00:ec2::254]:443",
        "[::ffff:127.0.0.1]:443",
        "1.1.1.1:22",
    ] {
        let head = request(inside.parse().unwrap());
        let answer = said(&folder, head.as_bytes()).await;
        assert_eq!(answer, Some(Answer::Forbidden), "{inside}");
    }
    let long = format!(
        "CONNECT 1.1.1.1:443 HTTP/1.1\r\nA: {}",
        "x".repeat(MAX_HEAD)
    );
    for wrong in [
        "CONNECT example.com:443 HTTP/1.1\r\n\r\n",
        "GET http://1.1.1.1/ HTTP/1.1\r\n\r\n",
        "\r\n\r\n",
        &long,
    ] {
        let answer = said(&folder, wrong.as_bytes()).await;
        assert_eq!(answer, Some(Answer::Malformed), "{wrong}");
    }
    // Nothing of it is in the log.
    let log = host.log().join("\n");
    assert!(
        !log.contains("169.254") && !log.contains("example"),
        "{log}"
    );
}

#[tokio::test]
async fn the_host_says_when_nobody_answers_and_when_it_has_no_place() {
    let folder = Folder::new();
    let more = "[egress]\nallow_loopback = true\nmost = 1\n";
    let host = HostProcess::start(&folder.configure(NODE, more));
    host.address().await;
    // Bound and not listening: the port is nobody else's either.
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let head = request(nobody.local_addr().unwrap());
    // Who has heard the refusal finds the only place free.
    for _ in 0..50 {
        let answer = said(&folder, head.as_bytes()).await;
        assert_eq!(answer, Some(Answer::Unreachable));
    }

    let somebody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let head = request(somebody.local_addr().unwrap());
    let enclave = Host::Unix(folder.vm());
    let mut first = enclave.connect(port::EGRESS).await.unwrap();
    // Bytes right behind the request are the server's.
    first
        .write_all(format!("{head}early").as_bytes())
        .await
        .unwrap();
    let (mut tcp, _) = somebody.accept().await.unwrap();
    let mut early = [0; 5];
    tcp.read_exact(&mut early).await.unwrap();
    assert_eq!(&early, b"early");
    assert_eq!(said(&folder, head.as_bytes()).await, Some(Answer::Busy));
}
