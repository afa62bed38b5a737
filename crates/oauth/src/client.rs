//! An app as the consent page shows it: who it says it is, and how much of that is known.

use adyton_protocol::did::Did;

use crate::client_id::ClientId;
use crate::client_name::ClientName;
use crate::jwk::Jwk;
use crate::redirect_uri::RedirectUri;

/// A client whose identity was established in the way that [`Client::verified_by`] says.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) id: ClientId,
    pub(crate) name: Option<ClientName>,
    pub(crate) redirect_uris: Vec<RedirectUri>,
    pub(crate) authentication: ClientAuthentication,
    pub(crate) binding: Binding,
}

/// How the identity of a client is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifiedBy {
    /// Whoever controls the host published it.
    HttpsDocument,
    /// The key of the DID signed the request.
    DidSignature,
    /// By nothing: it runs on the machine of whoever asks.
    OwnerTyped,
}

impl VerifiedBy {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HttpsDocument => "https-document",
            Self::DidSignature => "did-signature",
            Self::OwnerTyped => "owner-typed",
        }
    }
}

/// How a client proves at the token endpoint that it is the one.
#[derive(Debug, Clone)]
pub enum ClientAuthentication {
    /// By the verifier of its challenge alone: a public client.
    PublicClient,
    /// By a JWT that one of these keys signed (RFC 7523).
    Keys(Vec<Jwk>),
    /// By a JWT that the DID's own key signed.
    Did(Did),
}

/// Whether tokens must be bound to a key (RFC 9449 section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// The client decides with each request.
    Optional,
    /// The client has said that it always binds.
    Required,
}

impl Client {
    /// A DID whose key said where it may be answered: in a request that it signed, or in its document.
    pub fn of_did(did: &Did, redirect_uris: Vec<RedirectUri>) -> Self {
        Self {
            id: ClientId::Did(did.clone()),
            name: None,
            redirect_uris,
            authentication: ClientAuthentication::Did(did.clone()),
            binding: Binding::Optional,
        }
    }

    /// Its id.
    pub fn id(&self) -> &ClientId {
        &self.id
    }

    /// The name that it gives itself.
    pub fn name(&self) -> Option<&str> {
        self.name.as_ref().map(ClientName::as_str)
    }

    /// The host that vouches for it.
    pub fn host(&self) -> Option<&str> {
        match &self.id {
            ClientId::Document(url) | ClientId::Local(url) => Some(url.host()),
            ClientId::Did(_) => None,
        }
    }

    /// Its DID.
    pub fn did(&self) -> Option<&Did> {
        match &self.id {
            ClientId::Did(did) => Some(did),
            ClientId::Document(_) | ClientId::Local(_) => None,
        }
    }

    /// How that is known.
    pub fn verified_by(&self) -> VerifiedBy {
        match &self.id {
            ClientId::Document(_) => VerifiedBy::HttpsDocument,
            ClientId::Did(_) => VerifiedBy::DidSignature,
            ClientId::Local(_) => VerifiedBy::OwnerTyped,
        }
    }

    /// Where it may be answered.
    pub fn redirect_uris(&self) -> &[RedirectUri] {
        &self.redirect_uris
    }

    /// How it proves itself at the token endpoint.
    pub fn authentication(&self) -> &ClientAuthentication {
        &self.authentication
    }

    /// Whether its tokens must be bound to a key.
    pub fn binding(&self) -> Binding {
        self.binding
    }
}
