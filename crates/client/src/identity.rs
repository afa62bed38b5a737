//! Making a user's identity known: the DID document and the contexts in it (`spec/protocol.md` §§7.3, 8.2).

use adyton_keys::account::Account;
use adyton_keys::context_session::{ContextSession, InvalidSession};
use adyton_keys::keyring::Keyring;
use adyton_protocol::context::{ContextHash, ContextName};
use adyton_protocol::context_config::ContextConfig;
use adyton_protocol::did::Network;
use adyton_protocol::did_document::{ContextEndpoints, DidDocumentError, UnsignedDidDocument};
use futures_util::future::join_all;

use crate::clock::Clock;
use crate::did_resolver::{DidResolver, ResolveError};
use crate::storage_node::{StorageNode, StorageNodeError};

/// A context could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenContextError {
    /// The DID could not be resolved.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The document in place cannot be used or replaced.
    #[error(transparent)]
    Document(#[from] DidDocumentError),
    /// A storage node refused.
    #[error(transparent)]
    StorageNode(#[from] StorageNodeError),
    /// The keys of the context cannot be derived.
    #[error(transparent)]
    Session(#[from] InvalidSession),
    /// No storage node was given for a new context.
    #[error("a new context needs at least one storage node")]
    NoStorageNode,
}

/// Opens a context as its owner: adds it to the DID document if it is missing (making the DID if
/// needed), logs in to its storage nodes, and returns the session.
pub async fn open_context(
    account: &Account,
    network: Network,
    context: &ContextName,
    nodes: &[StorageNode],
    resolver: &dyn DidResolver,
    clock: &Clock,
) -> Result<ContextSession, OpenContextError> {
    let did = account.did();
    let hash = ContextHash::of(did, context);
    let seed = account.unlock(context);
    let keyring = Keyring::of_seed(&seed).map_err(|_| InvalidSession::Signature)?;

    let current = resolver.resolve(did).await?;
    let configured = match &current {
        Some(document) => ContextConfig::of_document(document, network, &hash)?,
        None => None,
    };
    let config = match configured {
        Some(config) => config,
        None => {
            if nodes.is_empty() {
                return Err(OpenContextError::NoStorageNode);
            }
            let urls: Vec<String> = nodes
                .iter()
                .map(|node| node.endpoint().as_str().to_owned())
                .collect();
            let endpoints = ContextEndpoints {
                database: urls.clone(),
                messaging: urls,
                ..Default::default()
            };
            let mut unsigned = match &current {
                Some(document) => UnsignedDidDocument::successor_of(document, clock.date()),
                None => UnsignedDidDocument::new(did, account.public_key(), clock.date()),
            };
            unsigned.add_context(
                network,
                context,
                &account.context_keys(&keyring),
                &endpoints,
            );
            let document = account.sign_document(unsigned)?;
            for node in nodes {
                node.put_did_document(&document).await?;
            }
            ContextConfig::of_document(&document, network, &hash)?
                .ok_or(DidDocumentError::Member("service"))?
        }
    };

    let mut auths = Vec::new();
    let mut failure = OpenContextError::NoStorageNode;
    // All at once, so that one that does not answer holds nobody up for longer than itself.
    let logins = nodes
        .iter()
        .map(|node| node.login(account, context, &keyring));
    for login in join_all(logins).await {
        match login {
            Ok(auth) => auths.push(auth),
            Err(error) => failure = error.into(),
        }
    }
    // A node that is down is left out; with none left there is nothing to open.
    if auths.is_empty() {
        return Err(failure);
    }
    Ok(ContextSession::new(
        did.clone(),
        context.clone(),
        seed,
        config,
        auths,
    )?)
}
