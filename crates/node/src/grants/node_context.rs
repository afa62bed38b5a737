//! The node's own place on the storage network: an account that is derived from the released secret, and one context of it.
//!
//! Whoever has the same image, the same configuration and the key service's word has the same account; nobody else has. What
//! is in it is ciphertext to the storage node, as a person's data is.

use adyton_client::clock::Clock;
use adyton_client::did_resolver::StorageNodeResolver;
use adyton_client::endpoint::Endpoint;
use adyton_client::identity::{OpenContextError, open_context};
use adyton_client::session::{Session, SessionError};
use adyton_client::storage_node::StorageNode;
use adyton_client::transport::{Transport, TransportError};
use adyton_keys::account::{Account, InvalidAccount};
use adyton_protocol::context::ContextName;
use adyton_protocol::did::Network;
use zeroize::Zeroizing;

use crate::config::GrantsStorage;

/// The context's name.
const CONTEXT: &str = "Adyton: Node";

/// See the module.
pub(crate) struct NodeContext {
    account: Account,
    network: Network,
    storage: Endpoint,
    transport: Transport,
    clock: Clock,
}

/// The context cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum NodeContextError {
    /// The storage node does not work.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// It does not let the node in.
    #[error(transparent)]
    Open(#[from] OpenContextError),
    /// It does not give it a session.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The name of the context is none, which a test would see.
    #[error("the context has no name")]
    Name,
}

impl NodeContext {
    /// The context of the account with this key.
    pub(crate) fn new(
        key: &Zeroizing<[u8; 32]>,
        place: &GrantsStorage,
        transport: Transport,
        clock: Clock,
    ) -> Result<Self, InvalidAccount> {
        let digits = key.iter().map(|byte| format!("{byte:02x}"));
        let text: Zeroizing<String> = Zeroizing::new(format!("0x{}", digits.collect::<String>()));
        Ok(Self {
            account: Account::from_secret_text(&text, place.network.anchor())?,
            network: place.network,
            storage: place.storage.clone(),
            transport,
            clock,
        })
    }

    /// Logs in, and makes the context if it is new.
    pub(super) async fn open(&self) -> Result<Session, NodeContextError> {
        let node = StorageNode::new(self.transport.clone(), self.storage.clone())?;
        let resolver = StorageNodeResolver::new(vec![node.clone()]);
        let context = ContextName::new(CONTEXT).map_err(|_| NodeContextError::Name)?;
        let nodes = [node];
        let (account, clock) = (&self.account, &self.clock);
        let opened = open_context(account, self.network, &context, &nodes, &resolver, clock);
        let session = opened.await?;
        Ok(Session::open(&session, self.transport.clone(), clock.clone()).await?)
    }
}
