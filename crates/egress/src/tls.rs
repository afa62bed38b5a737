//! TLS to servers that strangers named: version 1.3, against roots that nobody adds to.

use std::sync::Arc;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use rustls::{ClientConfig, RootCertStore};

use crate::reach::Reach;

/// The roots that are compiled in: those of the WebPKI, as Mozilla trusts them.
#[must_use]
pub fn compiled_in_roots() -> Arc<RootCertStore> {
    Arc::new(RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    })
}

/// TLS 1.3 to servers that are verified against these roots.
pub fn client_config(roots: Arc<RootCertStore>) -> Result<ClientConfig, rustls::Error> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// HTTP/1.1 over TLS on connections of `wire`; without TLS only where the reach has such servers.
pub fn connector<W>(reach: &Reach, config: ClientConfig, wire: W) -> HttpsConnector<W> {
    let builder = HttpsConnectorBuilder::new().with_tls_config(config);
    match reach.has_plain_servers() {
        true => builder.https_or_http().enable_http1().wrap_connector(wire),
        false => builder.https_only().enable_http1().wrap_connector(wire),
    }
}
