//! The whole fetch as it happens in an enclave: the name by DNS over HTTPS, then TLS 1.3 and HTTP to the address.
//!
//! The Internet is played by the enclave's host, as any host could: when it is asked for a public address, it connects to
//! what it likes. The product is not told. All that is given is what is given anyway: the route, and the roots.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use adyton_client::clock::Clock;
use adyton_client::egress::{HostRoute, Route};
use adyton_oauth::client_id::ClientId;
use adyton_vsock::egress::{Answer, HEAD_END};
use adyton_vsock::guest::Host;
use adyton_vsock::port;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;

use super::{ClientDocuments, UnknownClient};
use crate::config::LocalClients;

const RESOLVER: Ipv4Addr = Ipv4Addr::new(9, 9, 9, 9);
const APP: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 34);
const IMPOSTOR: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 35);

/// An authority of the test's own.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().der().clone();
        let issuer = Issuer::new(params, key);
        Self { issuer, root }
    }

    fn tls(&self, name: &str) -> TlsAcceptor {
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
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config).into()
    }
}

/// A request that came through TLS: its head, and its body.
type Speaks = fn(&str, &[u8]) -> Vec<u8>;

/// The host, what it connects addresses to, and what it was asked for.
struct Internet {
    documents: ClientDocuments,
    asked: Arc<Mutex<Vec<SocketAddr>>>,
    _folder: TempDir,
}

impl Internet {
    fn start() -> Self {
        let (authority, another) = (Authority::new(), Authority::new());
        let servers: HashMap<SocketAddr, (TlsAcceptor, Speaks)> = HashMap::from([
            (
                (RESOLVER, 443).into(),
                (authority.tls("9.9.9.9"), resolver as Speaks),
            ),
            (
                (APP, 443).into(),
                (authority.tls("app.example"), app as Speaks),
            ),
            (
                (IMPOSTOR, 443).into(),
                (another.tls("impostor.example"), app as Speaks),
            ),
        ]);
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("vm");
        let listener = UnixListener::bind(folder.path().join(format!("vm_{}", port::EGRESS)));
        let asked = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(host(
            listener.unwrap(),
            Arc::new(servers),
            Arc::clone(&asked),
        ));
        let route = Route::ThroughHost(HostRoute {
            host: Host::Unix(at),
            resolvers: vec!["https://9.9.9.9/dns-query".parse().unwrap()],
        });
        let mut roots = RootCertStore::empty();
        roots.add(authority.root).unwrap();
        let roots = Arc::new(roots);
        Self {
            documents: ClientDocuments::new(&route, &roots, LocalClients::Refused, Clock::system())
                .unwrap(),
            asked,
            _folder: folder,
        }
    }

    async fn find(&self, id: &str) -> Result<String, UnknownClient> {
        let id = ClientId::parse(id).unwrap();
        let client = self.documents.find(&id).await?;
        Ok(client.name().unwrap_or_default().to_owned())
    }

    /// The addresses that the host was asked for, but the resolver's.
    fn asked(&self) -> Vec<SocketAddr> {
        let asked = self.asked.lock().unwrap().clone();
        asked.into_iter().filter(|to| to.ip() != RESOLVER).collect()
    }
}

async fn host(
    listener: UnixListener,
    servers: Arc<HashMap<SocketAddr, (TlsAcceptor, Speaks)>>,
    asked: Arc<Mutex<Vec<SocketAddr>>>,
) {
    while let Ok((mut wire, _)) = listener.accept().await {
        let (servers, asked) = (Arc::clone(&servers), Arc::clone(&asked));
        tokio::spawn(async move {
            let head = head(&mut wire).await.unwrap();
            let to = head.split(' ').nth(1).unwrap().parse().unwrap();
            asked.lock().unwrap().push(to);
            let Some((tls, speaks)) = servers.get(&to) else {
                let answer = Answer::Unreachable.head();
                return wire.write_all(answer.as_bytes()).await.unwrap();
            };
            let answer = Answer::Connected.head();
            wire.write_all(answer.as_bytes()).await.unwrap();
            serve(tls, *speaks, wire).await;
        });
    }
}

/// One connection; a client that does not like the certificate ends it.
async fn serve(tls: &TlsAcceptor, speaks: Speaks, wire: UnixStream) {
    let Ok(mut stream) = tls.accept(wire).await else {
        return;
    };
    while let Some(head) = head(&mut stream).await {
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_length = name.eq_ignore_ascii_case("content-length");
            is_length.then(|| value.trim().parse::<usize>().unwrap())
        });
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).await.unwrap();
        let _sent = stream.write_all(&speaks(&head, &body)).await;
    }
}

async fn head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(HEAD_END) {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

fn response(status: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// The app: its document, and a page that leads on to it.
fn app(head: &str, _: &[u8]) -> Vec<u8> {
    let path = head.split(' ').nth(1).unwrap();
    if path != "/client.json" {
        let moved = "302 Found\r\nlocation: https://app.example/client.json";
        return response(moved, "application/json", b"{}");
    }
    let document = json!({
        "client_id": "https://app.example/client.json", "client_name": "Notes",
        "redirect_uris": ["https://app.example/back"],
    });
    response(
        "200 OK",
        "application/json",
        document.to_string().as_bytes(),
    )
}

/// The resolver: an address for every name that it knows.
fn resolver(_: &str, question: &[u8]) -> Vec<u8> {
    let (mut at, mut labels) = (12, Vec::new());
    while question[at] != 0 {
        let end = at + 1 + usize::from(question[at]);
        labels.push(std::str::from_utf8(&question[at + 1..end]).unwrap());
        at = end;
    }
    let address = match labels.join(".").as_str() {
        "app.example" | "neighbour.example" => APP,
        "impostor.example" => IMPOSTOR,
        "inside.example" => Ipv4Addr::LOCALHOST,
        "cloud.example" => Ipv4Addr::new(169, 254, 169, 254),
        other => panic!("{other}"),
    };
    let mut message = vec![0, 0, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
    message.extend(&question[12..at + 5]);
    message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
    message.extend(address.octets());
    response("200 OK", "application/dns-message", &message)
}

#[tokio::test]
async fn a_document_is_fetched_over_tls_from_the_public_address_of_its_name() {
    let internet = Internet::start();
    let found = internet.find("https://app.example/client.json").await;
    assert_eq!(found.unwrap(), "Notes");
    assert_eq!(internet.asked(), [SocketAddr::from((APP, 443))]);
}

#[tokio::test]
async fn who_cannot_prove_its_name_or_leads_on_is_not_believed() {
    let internet = Internet::start();
    for (id, expected) in [
        // The app's certificate is not this name's.
        (
            "https://neighbour.example/client.json",
            UnknownClient::Unreachable,
        ),
        // An authority that is none of the roots.
        (
            "https://impostor.example/client.json",
            UnknownClient::Unreachable,
        ),
        ("https://app.example/other.json", UnknownClient::NotThere),
    ] {
        assert_eq!(internet.find(id).await.unwrap_err(), expected, "{id}");
    }
}

/// The same route, the same resolver, a certificate that could be had for any name: what keeps the node out is the address.
#[tokio::test]
async fn a_name_that_its_resolver_leads_inside_is_never_asked_for() {
    let internet = Internet::start();
    for name in ["inside.example", "cloud.example"] {
        let found = internet.find(&format!("https://{name}/client.json")).await;
        assert_eq!(found.unwrap_err(), UnknownClient::Unreachable, "{name}");
    }
    assert_eq!(internet.asked(), []);
    // The resolver did answer.
    assert!(!internet.asked.lock().unwrap().is_empty());
}
