//! Resolution of DIDs by a registry: on chain, in a file, or directories that nodes keep for each other.
//!
//! This node's own documents are one more place of every registered DID, and its own directory one of the directories; neither
//! takes a connection. With no registry (the default) a node knows the documents that it keeps, and no others.

use std::sync::Arc;

use adyton_protocol::address::Address;
use adyton_protocol::did::{Did, Network};
use adyton_protocol::did_document::DidDocument;
use adyton_resolver::cache::CacheLimits;
use adyton_resolver::directory::UNREGISTERED;
use adyton_resolver::registry::Source;
use adyton_resolver::registry_file::FileRegistry;
use adyton_resolver::resolver::{Asking, Purpose, Resolver};
use adyton_resolver::web::{Pending, Said, Web};
use serde_json::{Value, json};
use url::Url;

use crate::clock::Clock;
use crate::did_documents::{DidDocuments, DidResolver, Freshness, Resolution, ResolveFailure};
use crate::directory::{Directory, DirectoryRefusal};
use crate::outbound::{Own, WithOwn};

/// Which registry says where DID documents lie.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RegistryChoice {
    /// None: the documents that this node keeps are all.
    #[default]
    Own,
    /// The contract on the network's chain, through these JSON-RPC endpoints; none: the public one.
    Chain(Vec<Url>),
    /// This node keeps registrations, and asks these other directories, too.
    Directory(Vec<Url>),
    /// This file's text.
    File(Vec<u8>),
}

/// Resolves DIDs by a registry.
pub(crate) struct RegisteredDids(Resolver);

/// A registry cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum InvalidRegistry {
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The file is wrong.
    #[error(transparent)]
    File(#[from] adyton_resolver::registry_file::InvalidRegistryFile),
    /// The node's own address is no URL.
    #[error("the node's own address is not a URL")]
    OwnAddress,
}

impl RegisteredDids {
    /// The resolver of a choice; none for [`RegistryChoice::Own`].
    pub(crate) fn open(
        choice: RegistryChoice,
        outbound: Arc<dyn Web>,
        network: Network,
        public_url: &str,
        own: OwnPlaces,
        clock: &Clock,
    ) -> Result<Option<Self>, InvalidRegistry> {
        let base = format!("{public_url}/");
        let base: Url = base.parse().map_err(|_| InvalidRegistry::OwnAddress)?;
        let source = match choice {
            RegistryChoice::Own => return Ok(None),
            RegistryChoice::Chain(rpc) => Source::Chain(network.anchor(), rpc),
            RegistryChoice::Directory(others) => {
                let mut bases = vec![base.clone()];
                bases.extend(others);
                Source::Directories(bases)
            }
            RegistryChoice::File(text) => Source::File(FileRegistry::parse(&text)?),
        };
        let web = Arc::new(WithOwn {
            outbound,
            base: base.clone(),
            own: Arc::new(own),
        });
        let now = clock.reader();
        let registry = source.open(web.clone(), Arc::clone(&now));
        let resolver = Resolver::new(registry, web, now, CacheLimits::default());
        Ok(Some(Self(resolver.with_home(base))))
    }
}

impl RegisteredDids {
    async fn found(
        &self,
        asking: Asking,
        did: &Did,
        freshness: Freshness,
    ) -> Result<Option<DidDocument>, ResolveFailure> {
        let found = self.0.resolve_for(asking, did, freshness).await;
        found.map_err(|error| {
            tracing::debug!(%error, "a DID could not be resolved");
            ResolveFailure::Unreachable
        })
    }
}

impl DidResolver for RegisteredDids {
    fn resolve<'a>(&'a self, did: &'a Did, freshness: Freshness) -> Resolution<'a> {
        // The node's own wish: for somebody who has an account here.
        Box::pin(self.found(Purpose::KnownLogin.into(), did, freshness))
    }

    fn resolve_for<'a>(
        &'a self,
        asking: Asking,
        did: &'a Did,
        freshness: Freshness,
    ) -> Resolution<'a> {
        Box::pin(self.found(asking, did, freshness))
    }

    fn forget(&self, did: &Did) {
        self.0.forget(did);
    }

    fn is_at_hand(&self, did: &Did, freshness: Freshness) -> bool {
        self.0.remembers(did, freshness)
    }
}

/// What this node knows itself, to its own resolver.
pub(crate) struct OwnPlaces {
    pub(crate) documents: DidDocuments,
    pub(crate) directory: Directory,
}

impl Own for OwnPlaces {
    fn answer<'a>(&'a self, path: &'a str, body: Option<&'a [u8]>) -> Pending<'a, Option<Said>> {
        Box::pin(async move {
            match (path.strip_prefix("did/"), path, body) {
                (Some(did), _, None) => self.document(&did.parse().ok()?).await,
                (None, "didRegistry/lookup", Some(body)) => self.registration(body).await,
                _ => None,
            }
        })
    }
}

impl OwnPlaces {
    async fn document(&self, did: &Did) -> Option<Said> {
        let (status, body) = match self.documents.text(did).await.ok()? {
            Some(text) => (200, text),
            None => (404, String::new()),
        };
        Some(Said {
            status,
            body: body.into(),
        })
    }

    async fn registration(&self, body: &[u8]) -> Option<Said> {
        let asked: Value = serde_json::from_slice(body).ok()?;
        let did: Address = asked.get("didAddress")?.as_str()?.parse().ok()?;
        let (status, answer) = match self.directory.lookup(&did).await {
            Ok(found) => (
                200,
                json!({"success": true, "data": [found.controller, found.endpoints]}),
            ),
            Err(DirectoryRefusal::Store(_)) => return None,
            Err(_) => (404, json!({"success": false, "data": UNREGISTERED})),
        };
        Some(Said {
            status,
            body: answer.to_string().into(),
        })
    }
}
