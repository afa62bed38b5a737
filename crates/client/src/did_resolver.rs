//! Finding the DID document of a user. Which way is a parameter: storage nodes that are known already, or a registry (on chain,
//! a directory, a file) that says where to look.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use adyton_protocol::did::Did;
use adyton_protocol::did_document::DidDocument;
use adyton_resolver::cache::CacheLimits;
use adyton_resolver::registry::Source;
use adyton_resolver::resolver::{Freshness, Resolver};
use futures_util::future::join_all;

use crate::clock::Clock;
use crate::storage_node::{StorageNode, StorageNodeError};
use crate::transport::Transport;

/// A resolution in progress.
pub type Resolving<'a> =
    Pin<Box<dyn Future<Output = Result<Option<DidDocument>, ResolveError>> + Send + 'a>>;

/// The DID could not be resolved *now*; that says nothing about whether it exists. A client that took
/// an outage for "not found" would overwrite a document (`spec/protocol.md` §21.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// A storage node could not be asked.
    #[error("no source of DID documents could be asked: {0}")]
    StorageNode(#[from] StorageNodeError),
    /// The registry, or the places that it names, could not.
    #[error(transparent)]
    Registry(#[from] adyton_resolver::resolver::ResolveError),
}

/// Finds DID documents. Every document that it returns is verified against the DID's own address,
/// by its type.
pub trait DidResolver: Send + Sync {
    /// The newest document; `None` when the DID has none.
    fn resolve<'a>(&'a self, did: &'a Did) -> Resolving<'a>;
}

/// Asks storage nodes, all at once, and takes the highest valid version.
#[derive(Debug)]
pub struct StorageNodeResolver {
    nodes: Vec<StorageNode>,
}

impl StorageNodeResolver {
    /// A resolver over these nodes.
    pub fn new(nodes: Vec<StorageNode>) -> Self {
        Self { nodes }
    }
}

impl DidResolver for StorageNodeResolver {
    fn resolve<'a>(&'a self, did: &'a Did) -> Resolving<'a> {
        Box::pin(async move {
            let answers = join_all(self.nodes.iter().map(|node| node.did_document(did))).await;
            let mut newest: Option<DidDocument> = None;
            let (mut answered, mut failure) = (false, None);
            for answer in answers {
                match answer {
                    Ok(Some(document)) => {
                        let newer = newest
                            .as_ref()
                            .is_none_or(|held| held.version_id() < document.version_id());
                        if newer {
                            newest = Some(document);
                        }
                    }
                    Ok(None) => answered = true,
                    Err(error) => failure = Some(error),
                }
            }
            match (newest, answered, failure) {
                (Some(document), _, _) => Ok(Some(document)),
                // Absent for certain only when every node said so.
                (None, true, None) => Ok(None),
                (None, _, Some(error)) => Err(error.into()),
                (None, false, None) => Ok(None),
            }
        })
    }
}

/// Asks a registry where, then all places at once. Remembers within bounds. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RegistryResolver(Arc<Resolver>);

impl RegistryResolver {
    /// A resolver over a registry, with a memory of the default size.
    pub fn new(source: Source, transport: Transport, clock: &Clock) -> Self {
        Self::with_memory(source, transport, clock, CacheLimits::default())
    }

    /// A resolver with another memory.
    pub fn with_memory(
        source: Source,
        transport: Transport,
        clock: &Clock,
        limits: CacheLimits,
    ) -> Self {
        let (web, now) = (Arc::new(transport), clock.reader());
        let registry = source.open(web.clone(), Arc::clone(&now));
        Self(Arc::new(Resolver::new(registry, web, now, limits)))
    }
}

impl DidResolver for RegistryResolver {
    fn resolve<'a>(&'a self, did: &'a Did) -> Resolving<'a> {
        Box::pin(async move { Ok(self.0.resolve(did, Freshness::Remembered).await?) })
    }
}
