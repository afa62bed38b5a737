//! What a hostile operator of the host can do to a connection.

pub mod stolen_key;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// A key for TLS with a certificate over it that anybody could make.
pub struct Identity {
    key: PrivateKeyDer<'static>,
    certificate: CertificateDer<'static>,
}

impl Identity {
    pub fn of(key: &KeyPair) -> Self {
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(key).unwrap().der().clone();
        Self {
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            certificate,
        }
    }

    pub fn new() -> Self {
        Self::of(&KeyPair::generate().unwrap())
    }
}

/// Ends TLS itself, with its own identity, and talks to the node on a connection of its own. Answers what it heard the
/// clients say, in clear.
pub struct Middle {
    pub address: SocketAddr,
    pub overheard: Arc<AtomicUsize>,
}

impl Middle {
    pub async fn between(identity: Identity, node: SocketAddr) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![identity.certificate], identity.key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let overheard = Arc::new(AtomicUsize::new(0));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::clone(&overheard);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, heard) = (acceptor.clone(), Arc::clone(&heard));
                tokio::spawn(async move { relay(acceptor, tcp, node, &heard).await });
            }
        });
        Self { address, overheard }
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}

async fn relay(
    acceptor: TlsAcceptor,
    tcp: TcpStream,
    node: SocketAddr,
    heard: &AtomicUsize,
) -> io::Result<()> {
    let near = acceptor.accept(tcp).await?;
    let far = TcpStream::connect(node).await?;
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let far = TlsConnector::from(any_peer()).connect(name, far).await?;
    let (mut from_client, mut to_client) = tokio::io::split(near);
    let (mut from_node, mut to_node) = tokio::io::split(far);
    let up = async {
        let mut piece = vec![0; 16 * 1024];
        loop {
            let length = from_client.read(&mut piece).await?;
            if length == 0 {
                return to_node.shutdown().await;
            }
            heard.fetch_add(length, Ordering::SeqCst);
            to_node.write_all(&piece[..length]).await?;
        }
    };
    let down = tokio::io::copy(&mut from_node, &mut to_client);
    tokio::try_join!(up, down).map(drop)
}

/// Trusts whoever is there: the attacker does not mind.
fn any_peer() -> Arc<ClientConfig> {
    #[derive(Debug)]
    struct Anybody(Arc<rustls::crypto::CryptoProvider>);
    impl rustls::client::danger::ServerCertVerifier for Anybody {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: rustls::pki_types::UnixTime,
        ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
            Ok(rustls::client::danger::ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
        }
        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
        }
        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Arc::new(Anybody(Arc::clone(&provider)));
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Arc::new(client)
}

/// Passes bytes on, with one bit flipped in one of those that come from the node.
pub async fn flipping_relay(node: SocketAddr, at: usize) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let far = TcpStream::connect(node).await?;
                flip(near, far, at).await
            });
        }
    });
    address
}

async fn flip(near: TcpStream, far: TcpStream, at: usize) -> io::Result<()> {
    let (mut from_client, mut to_client) = near.into_split();
    let (mut from_node, mut to_node) = far.into_split();
    let mut left = Some(at);
    let up = tokio::io::copy(&mut from_client, &mut to_node);
    let down = async {
        let mut piece = vec![0; 16 * 1024];
        loop {
            let length = from_node.read(&mut piece).await?;
            if length == 0 {
                to_client.shutdown().await?;
                return Ok(());
            }
            match left {
                Some(at) if at < length => {
                    piece[at] ^= 1;
                    left = None;
                }
                Some(at) => left = Some(at - length),
                None => {}
            }
            to_client.write_all(&piece[..length]).await?;
        }
    };
    tokio::try_join!(up, down).map(drop)
}
