//! Two ways to trust a TLS peer that no certificate authority has to do with.
//!
//! Guarantees: in both, the handshake signature is verified, so the peer holds the key it shows. TLS 1.3 only, the
//! post-quantum key exchange first, no resumption (a resumed connection would show no key).

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, PeerIncompatible, SignatureScheme,
};

use super::ObserveError;
use crate::appraise::Appraised;
use crate::binding::Spki;

/// Accepts whoever holds the key in the certificate that it shows. Nothing is known about a peer so accepted.
pub(super) fn observing_client_config() -> Result<Arc<ClientConfig>, ObserveError> {
    client_config(Expected::Anyone)
}

/// Accepts only the key that the verdict is about: for further connections to an appraised node.
///
/// # Errors
/// [`ObserveError::Setup`] when TLS cannot be set up.
pub fn pinned_client_config(node: &Appraised) -> Result<Arc<ClientConfig>, ObserveError> {
    client_config(Expected::Key(node.spki().clone()))
}

fn client_config(expected: Expected) -> Result<Arc<ClientConfig>, ObserveError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = HolderOfKey {
        provider: Arc::clone(&provider),
        expected,
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(ObserveError::Setup)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[derive(Debug)]
enum Expected {
    Anyone,
    Key(Spki),
}

/// Looks at the key and at the handshake signature, and at nothing else of the certificate.
#[derive(Debug)]
struct HolderOfKey {
    provider: Arc<CryptoProvider>,
    expected: Expected,
}

impl ServerCertVerifier for HolderOfKey {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = Spki::of_certificate(end_entity).map_err(|_| CertificateError::BadEncoding)?;
        match &self.expected {
            Expected::Key(key) if *key != shown => {
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
            Expected::Key(_) | Expected::Anyone => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
