//! The node's TLS identity: a key that is born in memory and dies there.
//!
//! Guarantees: the private key never exists as bytes of ours (it lives in the crypto library, which wipes it); TLS 1.3
//! only; the post-quantum key exchange first; no session resumption, so every connection shows the attested key and has
//! an exporter of its own. Refuses to know: certificate authorities, files.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use adyton_attest::Spki;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use rcgen::{CertificateParams, DnType, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, Signer, SigningKey, SingleCertAndKey};
use rustls::{ServerConfig, SignatureScheme};

/// How far before now the certificate starts: clocks differ.
const EARLIER: Duration = Duration::from_secs(3600);

/// How long the certificate lasts. The key lives no longer than the process, which restarts more often than this.
const LIFE: Duration = Duration::from_secs(397 * 24 * 3600);

/// A fresh key and a certificate that it signed itself. Trust comes from attestation, not from the certificate.
#[derive(Debug)]
pub struct TlsIdentity {
    key: EphemeralKey,
    certificate: CertificateDer<'static>,
    pem: String,
    spki: Spki,
}

impl TlsIdentity {
    /// Makes a key and a certificate for these names (DNS names or IP addresses).
    ///
    /// # Errors
    /// [`TlsError`] when there is no randomness, or a name is none.
    pub fn generate(names: &[String], now: SystemTime) -> Result<Self, TlsError> {
        let key = EphemeralKey::generate()?;
        let mut params = CertificateParams::new(names)?;
        params
            .distinguished_name
            .push(DnType::CommonName, "adyton node (trust by attestation)");
        params.not_before = (now - EARLIER).into();
        params.not_after = (now + LIFE).into();
        let certificate = params.self_signed(&key)?;
        let spki = Spki::of_certificate(certificate.der()).map_err(|_| TlsError::Key)?;
        let pem = certificate.pem();
        Ok(Self {
            key,
            certificate: certificate.der().clone(),
            pem,
            spki,
        })
    }

    /// The public key, which evidence vouches for.
    #[must_use]
    pub fn spki(&self) -> &Spki {
        &self.spki
    }

    /// The certificate, for clients that want one on file (`curl --cacert`).
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.pem
    }

    /// The server side of TLS with this identity.
    ///
    /// # Errors
    /// [`TlsError::Setup`] when TLS cannot be set up.
    pub fn into_server_config(self) -> Result<Arc<ServerConfig>, TlsError> {
        let certified = CertifiedKey::new(vec![self.certificate], Arc::new(self.key));
        // The provider's order of key exchanges starts with X25519MLKEM768.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }
}

/// A P-256 key that only signs.
#[derive(Clone)]
struct EphemeralKey(Arc<EcdsaKeyPair>);

impl EphemeralKey {
    fn generate() -> Result<Self, TlsError> {
        let key =
            EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(|_| TlsError::Key)?;
        Ok(Self(Arc::new(key)))
    }

    fn signature(&self, message: &[u8]) -> Option<Vec<u8>> {
        let signature = self.0.sign(&SystemRandom::new(), message).ok()?;
        Some(signature.as_ref().to_vec())
    }
}

impl fmt::Debug for EphemeralKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EphemeralKey(..)")
    }
}

// For the certificate.

impl PublicKeyData for EphemeralKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for EphemeralKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.signature(message).ok_or(rcgen::Error::RemoteKeyError)
    }
}

// For the handshake.

impl SigningKey for EphemeralKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let ours = offered.contains(&SignatureScheme::ECDSA_NISTP256_SHA256);
        ours.then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(self.subject_public_key_info().into())
    }

    fn algorithm(&self) -> rustls::SignatureAlgorithm {
        rustls::SignatureAlgorithm::ECDSA
    }
}

impl Signer for EphemeralKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        self.signature(message)
            .ok_or_else(|| rustls::Error::General("the key does not sign".to_owned()))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}

/// Why there is no TLS identity. The fault is ours, or the configuration's (its names).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// No key.
    #[error("a tls key cannot be made")]
    Key,
    /// No certificate, perhaps because a name is none.
    #[error("a certificate for these names cannot be made")]
    Certificate(#[from] rcgen::Error),
    /// No TLS.
    #[error("tls cannot be set up")]
    Setup(#[source] rustls::Error),
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::NamedGroup;

    fn identity() -> TlsIdentity {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        TlsIdentity::generate(&["localhost".to_owned(), "127.0.0.1".to_owned()], now).unwrap()
    }

    #[test]
    fn every_identity_has_a_key_of_its_own() {
        assert_ne!(identity().spki(), identity().spki());
    }

    #[test]
    fn the_spki_is_that_of_the_certificate() {
        let identity = identity();
        assert_eq!(
            identity.spki().as_der(),
            identity.key.subject_public_key_info()
        );
        assert!(
            identity
                .certificate_pem()
                .starts_with("-----BEGIN CERTIFICATE-----")
        );
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        assert!(matches!(
            TlsIdentity::generate(&["ä".to_owned()], now),
            Err(TlsError::Certificate(_))
        ));
    }

    #[test]
    fn the_key_is_mute() {
        assert!(format!("{:?}", identity().key).ends_with("(..)"));
    }

    #[test]
    fn the_post_quantum_exchange_comes_first_and_nothing_is_resumed() {
        let config = identity().into_server_config().unwrap();
        let first = config.crypto_provider().kx_groups.first().unwrap().name();
        assert_eq!(first, NamedGroup::X25519MLKEM768);
        assert_eq!(
            config.alpn_protocols,
            [b"h2".to_vec(), b"http/1.1".to_vec()]
        );
        assert_eq!(config.send_tls13_tickets, 0);
        assert!(!config.session_storage.can_cache() && !config.ticketer.enabled());
        assert_eq!(config.max_early_data_size, 0);
    }
}
