//! The client id metadata document: what an app publishes about itself at its `client_id`
//! (draft-ietf-oauth-client-id-metadata-document).

use serde::Deserialize;

use crate::client::{Binding, Client, ClientAuthentication};
use crate::client_id::{ClientId, DocumentUrl};
use crate::client_name::{ClientName, InvalidClientName};
use crate::jwk::Jwk;
use crate::redirect_uri::{InvalidRedirectUri, RedirectUri};

/// Longest document, in bytes: the draft's recommendation.
pub const MAX_DOCUMENT_BYTES: usize = 5 * 1024;
/// Most redirect URIs.
pub const MAX_REDIRECT_URIS: usize = 16;
/// Most keys.
pub const MAX_KEYS: usize = 8;

/// The document says nothing that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidMetadata {
    /// It is longer than [`MAX_DOCUMENT_BYTES`].
    #[error("the client metadata document is too long")]
    TooLong,
    /// Not a JSON object with members of the right types, each once.
    #[error("the client metadata document is not the JSON that it should be")]
    Malformed,
    /// It describes another client.
    #[error("the client metadata document names another client_id")]
    OtherClient,
    /// It has no redirect URI, or too many.
    #[error("the client metadata document needs 1 to {MAX_REDIRECT_URIS} redirect_uris")]
    RedirectUris,
    /// One of them is none.
    #[error(transparent)]
    RedirectUri(#[from] InvalidRedirectUri),
    /// The name could fool a person.
    #[error(transparent)]
    Name(#[from] InvalidClientName),
    /// A public document with a shared secret.
    #[error("a client metadata document cannot have a shared secret")]
    SharedSecret,
    /// Another authentication than `none` or `private_key_jwt`.
    #[error("token_endpoint_auth_method must be none or private_key_jwt")]
    Authentication,
    /// Its keys are missing, too many, or fetched from elsewhere.
    #[error("private_key_jwt needs 1 to {MAX_KEYS} keys in jwks; jwks_uri is not followed")]
    Keys,
    /// It does not use codes.
    #[error("the client must use the authorization code grant")]
    GrantTypes,
}

#[derive(Deserialize)]
struct Wire {
    client_id: String,
    client_name: Option<String>,
    redirect_uris: Vec<String>,
    token_endpoint_auth_method: Option<String>,
    grant_types: Option<Vec<String>>,
    response_types: Option<Vec<String>>,
    jwks: Option<WireKeys>,
    jwks_uri: Option<serde::de::IgnoredAny>,
    client_secret: Option<serde::de::IgnoredAny>,
    client_secret_expires_at: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    dpop_bound_access_tokens: bool,
}

#[derive(Deserialize)]
struct WireKeys {
    keys: Vec<Jwk>,
}

/// Reads the document that was found at `url`. Members that this server does not know say nothing about the user's data and
/// are ignored, as RFC 7591 section 2 demands.
pub fn parse(url: &DocumentUrl, bytes: &[u8]) -> Result<Client, InvalidMetadata> {
    of_id(ClientId::Document(url.clone()), url, bytes)
}

/// The same for a document on this machine, of which nothing is known.
pub fn parse_local(url: &DocumentUrl, bytes: &[u8]) -> Result<Client, InvalidMetadata> {
    of_id(ClientId::Local(url.clone()), url, bytes)
}

fn of_id(id: ClientId, url: &DocumentUrl, bytes: &[u8]) -> Result<Client, InvalidMetadata> {
    if bytes.len() > MAX_DOCUMENT_BYTES {
        return Err(InvalidMetadata::TooLong);
    }
    let wire: Wire = serde_json::from_slice(bytes).map_err(|_| InvalidMetadata::Malformed)?;
    if wire.client_id != url.as_str() {
        return Err(InvalidMetadata::OtherClient);
    }
    if wire.client_secret.is_some() || wire.client_secret_expires_at.is_some() {
        return Err(InvalidMetadata::SharedSecret);
    }
    let names = |list: &Option<Vec<String>>, name: &str| {
        list.as_ref()
            .is_none_or(|list| list.iter().any(|one| one == name))
    };
    if !names(&wire.grant_types, "authorization_code") || !names(&wire.response_types, "code") {
        return Err(InvalidMetadata::GrantTypes);
    }
    if !(1..=MAX_REDIRECT_URIS).contains(&wire.redirect_uris.len()) {
        return Err(InvalidMetadata::RedirectUris);
    }
    let redirect_uris = wire
        .redirect_uris
        .iter()
        .map(|text| RedirectUri::parse(text))
        .collect::<Result<_, _>>()?;
    let name = wire.client_name.as_deref().map(ClientName::parse);
    let authentication = match wire.token_endpoint_auth_method.as_deref() {
        None | Some("none") => ClientAuthentication::PublicClient,
        Some("private_key_jwt") => {
            let keys = wire.jwks.map(|set| set.keys).unwrap_or_default();
            if wire.jwks_uri.is_some() || !(1..=MAX_KEYS).contains(&keys.len()) {
                return Err(InvalidMetadata::Keys);
            }
            ClientAuthentication::Keys(keys)
        }
        Some(_) => return Err(InvalidMetadata::Authentication),
    };
    Ok(Client {
        id,
        name: name.transpose()?,
        redirect_uris,
        authentication,
        binding: match wire.dpop_bound_access_tokens {
            true => Binding::Required,
            false => Binding::Optional,
        },
    })
}
