//! The configuration of a context as clients pass it around (`spec/protocol.md` §8.1): public keys
//! and service endpoints, read out of a DID document or received inside a context session.

use serde::{Deserialize, Serialize};
use url::Url;

use crate::context::ContextHash;
use crate::did::Network;
use crate::did_document::{DidDocument, DidDocumentError};

/// One public key and its type string.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TypedKey {
    /// The type string; it differs from the one in the DID document.
    #[serde(rename = "type")]
    pub kind: String,
    /// `0x` and hex.
    pub public_key_hex: String,
}

/// The two public keys of a context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublicKeys {
    /// secp256k1 signing key, compressed.
    pub sign_key: TypedKey,
    /// X25519 key.
    pub asym_key: TypedKey,
}

/// One service and the URLs that offer it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// The engine, for example `VeridaDatabase`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Normalised URLs that end in `/`.
    pub endpoint_uri: Vec<String>,
}

/// The services of a context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Services {
    /// Storage nodes.
    pub database_server: Service,
    /// Message nodes.
    pub message_server: Service,
    /// File storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_server: Option<Service>,
    /// Notification servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notification_server: Option<Service>,
}

/// `SecureContextConfig` of the original client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContextConfig {
    /// The context hash; a context that was just created carries its *name* here (§20.4).
    pub id: String,
    /// Its public keys.
    pub public_keys: PublicKeys,
    /// Its services.
    pub services: Services,
    /// True for documents whose id is spelled `did:vda:mainnet:…`. The reference also sets it for
    /// every checksummed DID (§20.3); that is not reproduced.
    #[serde(default)]
    pub is_legacy_did: bool,
}

impl ContextConfig {
    /// Reads the configuration of a context out of a verified document. `None` when the document
    /// lacks its keys, database or message service.
    pub fn of_document(
        document: &DidDocument,
        network: Network,
        context: &ContextHash,
    ) -> Result<Option<Self>, DidDocumentError> {
        let Some(keys) = document.context_keys(network, context)? else {
            return Ok(None);
        };
        let endpoints = document.context_endpoints(network, context);
        let service = |kind: &str, urls: &[String]| {
            let endpoint_uri: Vec<String> =
                urls.iter().filter_map(|url| normalise_url(url)).collect();
            (!endpoint_uri.is_empty()).then(|| Service {
                kind: kind.to_owned(),
                endpoint_uri,
            })
        };
        let (Some(database_server), Some(message_server)) = (
            service("VeridaDatabase", &endpoints.database),
            service("VeridaMessage", &endpoints.messaging),
        ) else {
            return Ok(None);
        };
        Ok(Some(Self {
            id: context.to_string(),
            public_keys: PublicKeys {
                sign_key: TypedKey {
                    kind: "EcdsaSecp256k1VerificationKey2019".to_owned(),
                    public_key_hex: format!("0x{}", hex::encode(keys.sign.compressed())),
                },
                asym_key: TypedKey {
                    kind: "Curve25519EncryptionPublicKey".to_owned(),
                    public_key_hex: format!("0x{}", hex::encode(keys.asym)),
                },
            },
            services: Services {
                database_server,
                message_server,
                storage_server: service("VeridaStorage", &endpoints.storage),
                notification_server: service("VeridaNotification", &endpoints.notification),
            },
            is_legacy_did: document.did().is_legacy(),
        }))
    }
}

/// `scheme://host:port/` with a lower-case host and an explicit port; path and query are cut off.
/// `None` when the text is not an http or https URL.
pub fn normalise_url(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    if !matches!(url.scheme(), "http" | "https") {
        return None;
    }
    Some(format!(
        "{}://{}:{}/",
        url.scheme(),
        url.host_str()?,
        url.port_or_known_default()?
    ))
}
