//! TLS of the node's own, with a certificate and a key from files.
//!
//! Guarantees: TLS 1.3, or 1.2 with an ephemeral key exchange, authenticated encryption and the extended master secret (RFC 7627);
//! the post-quantum exchange first where the client knows it; no early data. Files that change are read again, and a pair that does
//! not fit is not taken: connections go on with the one before. Refuses to know: authorities, names, ACME.
//!
//! Why 1.2 at all, which the confidential node does not speak: what is carried here is ciphertext, under a login by signature, and
//! the clients are others' (phones' own libraries, older runtimes); none of them should be sent to plain http by it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Bytes of a file with certificates, or a key.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Certificates that are sent to every client.
const MAX_CHAIN: usize = 10;

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
}

/// What the server shows to clients, and where it comes from.
#[derive(Debug)]
pub(crate) struct Certificates {
    files: TlsFiles,
    provider: Arc<CryptoProvider>,
    shown: RwLock<Arc<CertifiedKey>>,
}

/// What reading the files again brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// The same certificate as before.
    Same,
    /// Another one, which new connections are shown.
    New,
}

impl Certificates {
    /// Reads the files.
    pub(crate) fn open(files: TlsFiles) -> Result<Arc<Self>, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let shown = RwLock::new(Arc::new(read(&files, &provider)?));
        Ok(Arc::new(Self {
            files,
            provider,
            shown,
        }))
    }

    /// Reads the files again. May block. When they cannot be used, nothing changes.
    pub(crate) fn reload(&self) -> Result<Reload, TlsError> {
        let read = read(&self.files, &self.provider)?;
        let mut shown = self.shown.write().unwrap_or_else(PoisonError::into_inner);
        // A certificate belongs to one key: the same certificate is the same pair.
        if shown.cert == read.cert {
            return Ok(Reload::Same);
        }
        *shown = Arc::new(read);
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
        config.require_ems = true;
        Ok(config)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&shown))
    }
}

fn read(files: &TlsFiles, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let (certificate, key) = ("certificate", "key of the certificate");
    let chain = CertificateDer::pem_slice_iter(&read_file(&files.certificate, certificate)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| TlsError::Pem(certificate))?;
    if chain.is_empty() {
        return Err(TlsError::Pem(certificate));
    }
    if chain.len() > MAX_CHAIN {
        return Err(TlsError::TooLarge(certificate));
    }
    let secret = PrivateKeyDer::from_pem_slice(&read_file(&files.key, key)?)
        .map_err(|_| TlsError::Pem(key))?;
    let certified = CertifiedKey::from_der(chain, secret, provider).map_err(TlsError::Pair)?;
    // A pair of which nobody can tell whether it fits is none.
    certified.keys_match().map_err(TlsError::Pair)?;
    Ok(certified)
}

fn read_file(path: &Path, what: &'static str) -> Result<Vec<u8>, TlsError> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| TlsError::Read(what, error))?;
    let mut limited = file.take(MAX_FILE_BYTES + 1);
    limited
        .read_to_end(&mut bytes)
        .map_err(|error| TlsError::Read(what, error))?;
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
        let shown = || certificates.shown.read().unwrap().cert[0].to_vec();
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
