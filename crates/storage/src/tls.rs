//! TLS of the node's own, with a certificate and a key from files, or from an authority (`acme`).
//!
//! Guarantees: TLS 1.3, or 1.2 with an ephemeral key exchange, authenticated encryption and the extended master secret (RFC 7627);
//! the post-quantum exchange first where the client knows it; no early data. Files that change are read again, and a pair that does
//! not fit is not taken: connections go on with the one before. An authority's question (RFC 8737) gets the answer that was laid out
//! for that name, or none, and nothing else. Refuses to know: how a certificate is asked for.
//!
//! Why 1.2 at all, which the confidential node does not speak: what is carried here is ciphertext, under a login by signature, and
//! the clients are others' (phones' own libraries, older runtimes); none of them should be sent to plain http by it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::Notify;
use zeroize::{Zeroize, Zeroizing};

use crate::acme::AcmeConfig;
use crate::certificate_life::CertificateLife;

/// Bytes of a file with certificates, or a key.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Certificates that are sent to every client.
const MAX_CHAIN: usize = 10;
/// What an authority speaks that looks for its challenge (RFC 8737, §4): a handshake, and nothing within.
pub(crate) const ACME_PROTOCOL: &[u8] = b"acme-tls/1";

/// Where the node's certificate comes from.
#[derive(Debug, Clone)]
pub enum TlsChoice {
    /// Files, which the operator renews.
    Files(TlsFiles),
    /// An authority, which the node asks itself.
    Acme(Box<AcmeConfig>),
}

impl From<TlsFiles> for TlsChoice {
    fn from(files: TlsFiles) -> Self {
        Self::Files(files)
    }
}

impl From<AcmeConfig> for TlsChoice {
    fn from(config: AcmeConfig) -> Self {
        Self::Acme(Box::new(config))
    }
}

/// Where the certificate and its key lie: PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The node's certificate, and then those that lead from it to an authority.
    pub certificate: PathBuf,
    /// The private key: PKCS #8, SEC 1 or PKCS #1, without a passphrase.
    pub key: PathBuf,
}

/// The files cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// One of them cannot be read.
    #[error("cannot read the {0}: {1}")]
    Read(&'static str, #[source] std::io::Error),
    /// One of them is larger than any is.
    #[error("the {0} is too large")]
    TooLarge(&'static str),
    /// There is no certificate, no key, or one that is broken.
    #[error("there is no {0} in PEM in its file")]
    Pem(&'static str),
    /// The certificate is another key's, or of a kind that nobody here speaks.
    #[error("the certificate and the key cannot be used: {0}")]
    Pair(#[source] rustls::Error),
    /// Nothing can be said to the authority.
    #[error("the authority cannot be asked: {0}")]
    Authority(#[source] rustls::Error),
}

/// What the server shows to clients, and where it comes from.
#[derive(Debug)]
pub(crate) struct Certificates {
    source: Source,
    provider: Arc<CryptoProvider>,
    /// None: an authority has not made it yet. Nobody's handshake ends well then, besides the authority's.
    shown: RwLock<Option<Pair>>,
    renewals: AtomicU64,
    failures: AtomicU64,
}

#[derive(Debug)]
enum Source {
    Files(TlsFiles),
    Authority(Asked),
}

/// What was asked for, and how the authority may see that it is ours.
#[derive(Debug)]
struct Asked {
    /// In lower case. What is asked for by another name is refused.
    names: BTreeSet<String>,
    /// At most one a name, and only while an order is under way.
    challenges: RwLock<BTreeMap<String, Arc<CertifiedKey>>>,
    /// The operator wants it tried now.
    now: Notify,
}

/// A certificate with its key.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) key: Arc<CertifiedKey>,
    /// None: what no client could read either, or a kind of certificate that we do not.
    pub(crate) life: Option<CertificateLife>,
}

/// What reading the files again brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// The same certificate as before.
    Same,
    /// Another one, which new connections are shown.
    New,
    /// There are no files: if the certificate is due, its authority is asked now.
    Asked,
}

/// What is told about the certificate in figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// When it ends, in seconds since 1970. 0: there is none.
    pub(crate) ends: u64,
    pub(crate) renewals: u64,
    pub(crate) failures: u64,
}

impl Certificates {
    /// Reads the files.
    pub(crate) fn open(files: TlsFiles) -> Result<Arc<Self>, TlsError> {
        let pair = read(&files)?;
        Ok(Arc::new(Self::new(Source::Files(files), Some(pair))))
    }

    /// A certificate for these names comes from an authority. One may be there already.
    pub(crate) fn asked_for(names: impl IntoIterator<Item = String>, kept: Option<Pair>) -> Self {
        let asked = Asked {
            names: names.into_iter().collect(),
            challenges: RwLock::default(),
            now: Notify::new(),
        };
        Self::new(Source::Authority(asked), kept)
    }

    fn new(source: Source, shown: Option<Pair>) -> Self {
        Self {
            source,
            provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
            shown: RwLock::new(shown),
            renewals: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }

    /// Reads the files again. May block. When they cannot be used, nothing changes.
    pub(crate) fn reload(&self) -> Result<Reload, TlsError> {
        let files = match &self.source {
            Source::Files(files) => files,
            Source::Authority(asked) => {
                asked.now.notify_one();
                return Ok(Reload::Asked);
            }
        };
        let read = read(files).inspect_err(|_| self.failed())?;
        let mut shown = self.shown.write().unwrap_or_else(PoisonError::into_inner);
        // A certificate belongs to one key: the same certificate is the same pair.
        if shown
            .as_ref()
            .is_some_and(|pair| pair.key.cert == read.key.cert)
        {
            return Ok(Reload::Same);
        }
        *shown = Some(read);
        self.renewals.fetch_add(1, Ordering::Relaxed);
        Ok(Reload::New)
    }

    /// The server's side.
    pub(crate) fn server_config(self: &Arc<Self>) -> Result<ServerConfig, TlsError> {
        let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&versions)
            .map_err(TlsError::Pair)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        if matches!(self.source, Source::Authority(_)) {
            // First: who offers it is answered in it, whatever else it offers, and so never served.
            config.alpn_protocols.insert(0, ACME_PROTOCOL.to_vec());
        }
        config.require_ems = true;
        Ok(config)
    }

    /// What is shown now.
    pub(crate) fn shown(&self) -> Option<Pair> {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        shown.clone()
    }

    /// Shows another one to new connections.
    pub(crate) fn show(&self, pair: Pair) {
        let mut shown = self.shown.write().unwrap_or_else(PoisonError::into_inner);
        *shown = Some(pair);
        self.renewals.fetch_add(1, Ordering::Relaxed);
    }

    /// One more try that brought nothing.
    pub(crate) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Lays out the answer to an authority's question about a name, until the guard is dropped. None: it is not a name of ours.
    pub(crate) fn challenge(self: &Arc<Self>, name: &str, key: CertifiedKey) -> Option<LaidOut> {
        let Source::Authority(asked) = &self.source else {
            return None;
        };
        let name = asked.names.get(name)?.clone();
        let mut challenges = asked
            .challenges
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        challenges.insert(name.clone(), Arc::new(key));
        Some(LaidOut(Arc::clone(self), name))
    }

    /// Waits until the operator wants it tried now.
    pub(crate) async fn asked_now(&self) {
        match &self.source {
            Source::Authority(asked) => asked.now.notified().await,
            Source::Files(_) => std::future::pending().await,
        }
    }

    pub(crate) fn standing(&self) -> Standing {
        let life = self.shown().and_then(|pair| pair.life);
        Standing {
            ends: life.map_or(0, |life| life.ends),
            renewals: self.renewals.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }
}

/// An answer to an authority's question. It goes when this is dropped.
#[must_use]
pub(crate) struct LaidOut(Arc<Certificates>, String);

impl Drop for LaidOut {
    fn drop(&mut self) {
        if let Source::Authority(asked) = &self.0.source {
            let challenges = asked.challenges.write();
            challenges
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&self.1);
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let Source::Authority(asked) = &self.source {
            let name = hello.server_name();
            if hello
                .alpn()
                .is_some_and(|mut all| all.any(|one| one == ACME_PROTOCOL))
            {
                let challenges = asked.challenges.read();
                let challenges = challenges.unwrap_or_else(PoisonError::into_inner);
                return challenges.get(name?).cloned();
            }
            if name.is_some_and(|name| !asked.names.contains(name)) {
                return None;
            }
        }
        self.shown().map(|pair| pair.key)
    }
}

fn read(files: &TlsFiles) -> Result<Pair, TlsError> {
    let chain = chain(&read_file(&files.certificate, CERTIFICATE)?)?;
    pair(chain, &read_file(&files.key, KEY)?)
}

const CERTIFICATE: &str = "certificate";
const KEY: &str = "key of the certificate";

/// The certificates of a PEM text, the node's own first.
pub(crate) fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = CertificateDer::pem_slice_iter(pem)
        .take(MAX_CHAIN + 1)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| TlsError::Pem(CERTIFICATE))?;
    match chain.len() {
        0 => Err(TlsError::Pem(CERTIFICATE)),
        1..=MAX_CHAIN => Ok(chain),
        _ => Err(TlsError::TooLarge(CERTIFICATE)),
    }
}

/// The first key of a PEM text, with the certificate that is its own.
pub(crate) fn pair(chain: Vec<CertificateDer<'static>>, pem: &[u8]) -> Result<Pair, TlsError> {
    let mut secret = PrivateKeyDer::from_pem_slice(pem).map_err(|_| TlsError::Pem(KEY))?;
    let signing = any_supported_type(&secret);
    secret.zeroize();
    let life = chain.first().and_then(|own| CertificateLife::of(own));
    let certified = CertifiedKey::new(chain, signing.map_err(TlsError::Pair)?);
    // A pair of which nobody can tell whether it fits is none.
    certified.keys_match().map_err(TlsError::Pair)?;
    Ok(Pair {
        key: Arc::new(certified),
        life,
    })
}

/// What a file holds, which may be a secret. No copy of it is left behind.
pub(crate) fn read_file(path: &Path, what: &'static str) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let error = |error| TlsError::Read(what, error);
    let file = std::fs::File::open(path).map_err(error)?;
    // Room for all of it at once: a vector that grows leaves what it had where it was.
    let length = file.metadata().map_err(error)?.len();
    let room = usize::try_from(length.min(MAX_FILE_BYTES)).unwrap_or(0) + 2;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    let mut limited = file.take(MAX_FILE_BYTES + 1);
    limited.read_to_end(&mut bytes).map_err(error)?;
    match bytes.len() as u64 > MAX_FILE_BYTES {
        true => Err(TlsError::TooLarge(what)),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey as Made, generate_simple_self_signed};
    use rustls::{CipherSuite, NamedGroup};

    use super::*;

    struct Pair {
        dir: tempfile::TempDir,
        made: Made<rcgen::KeyPair>,
    }

    impl Pair {
        fn new() -> Self {
            let made = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            let dir = tempfile::tempdir().unwrap();
            let pair = Self { dir, made };
            pair.write(
                &pair.made.cert.pem(),
                &pair.made.signing_key.serialize_pem(),
            );
            pair
        }

        fn files(&self) -> TlsFiles {
            TlsFiles {
                certificate: self.dir.path().join("cert.pem"),
                key: self.dir.path().join("key.pem"),
            }
        }

        fn write(&self, certificate: &str, key: &str) {
            std::fs::write(self.files().certificate, certificate).unwrap();
            std::fs::write(self.files().key, key).unwrap();
        }
    }

    #[test]
    fn files_that_cannot_be_used_are_refused_with_what_is_wrong() {
        let (pair, other) = (Pair::new(), Pair::new());
        let (cert, key) = (pair.made.cert.pem(), pair.made.signing_key.serialize_pem());
        let refused = |certificate: &str, key: &str| {
            pair.write(certificate, key);
            Certificates::open(pair.files()).unwrap_err()
        };
        assert!(matches!(refused("", &key), TlsError::Pem("certificate")));
        assert!(matches!(refused(&key, &key), TlsError::Pem("certificate")));
        assert!(matches!(refused(&cert, &cert), TlsError::Pem(_)));
        assert!(matches!(
            refused(&cert, &other.made.signing_key.serialize_pem()),
            TlsError::Pair(_)
        ));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(refused(broken, &key), TlsError::Pair(_)));
        let chain = cert.repeat(MAX_CHAIN + 1);
        assert!(matches!(refused(&chain, &key), TlsError::TooLarge(_)));
        let long = " ".repeat(MAX_FILE_BYTES as usize + 1);
        assert!(matches!(refused(&long, &key), TlsError::TooLarge(_)));
        assert!(matches!(refused(&cert, &long), TlsError::TooLarge(_)));
        std::fs::remove_file(pair.files().key).unwrap();
        assert!(matches!(
            Certificates::open(pair.files()),
            Err(TlsError::Read(..))
        ));
        pair.write(&cert, &key);
        Certificates::open(pair.files()).unwrap();
    }

    #[test]
    fn a_pair_that_does_not_fit_yet_is_not_taken() {
        let (pair, other) = (Pair::new(), Pair::new());
        let certificates = Certificates::open(pair.files()).unwrap();
        let shown = || certificates.shown().unwrap().key.cert[0].to_vec();
        assert_eq!(certificates.reload().unwrap(), Reload::Same);
        let (cert, key) = (
            other.made.cert.pem(),
            other.made.signing_key.serialize_pem(),
        );
        std::fs::write(pair.files().certificate, &cert).unwrap();
        assert!(certificates.reload().is_err());
        assert_eq!(shown(), pair.made.cert.der().to_vec());
        std::fs::write(pair.files().key, &key).unwrap();
        assert_eq!(certificates.reload().unwrap(), Reload::New);
        assert_eq!(shown(), other.made.cert.der().to_vec());
    }

    #[test]
    fn what_is_offered_is_ephemeral_and_authenticated() {
        let pair = Pair::new();
        let config = Certificates::open(pair.files())
            .unwrap()
            .server_config()
            .unwrap();
        let provider = config.crypto_provider();
        assert_eq!(provider.kx_groups[0].name(), NamedGroup::X25519MLKEM768);
        for suite in &provider.cipher_suites {
            let name = format!("{:?}", suite.suite());
            let aead = name.contains("GCM") || name.contains("POLY1305");
            let ephemeral = name.starts_with("TLS13_") || name.starts_with("TLS_ECDHE_");
            assert!(aead && ephemeral, "{name}");
        }
        let rsa = CipherSuite::TLS_RSA_WITH_AES_128_GCM_SHA256;
        assert!(provider.cipher_suites.iter().all(|s| s.suite() != rsa));
        assert!(config.require_ems);
        assert_eq!(config.max_early_data_size, 0);
    }
}
