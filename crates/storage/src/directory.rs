//! The node as a directory: registrations of DIDs for a network without a chain, by the rules and the signatures of the contract
//! on chain (`spec/protocol.md` §§7.1, 7.2).
//!
//! Guarantees: a registration was signed by the DID's own key for exactly this list and this turn; a revoked DID stays so.
//! A directory says where to look, nothing more: whoever asks checks the document's proof.

use adyton_protocol::address::Address;
use adyton_protocol::did_registry::{
    MAX_ENDPOINT_BYTES, register_message, revoke_message, set_controller_message,
};
use adyton_protocol::hash::keccak256;
use adyton_protocol::signature::Signature;
use adyton_resolver::registry::{MAX_PLACES, places};
use serde::{Deserialize, Serialize};

use crate::store::StoreError;
use crate::store::node::NodeStore;

/// What is kept for a DID's address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Registration {
    pub(crate) controller: String,
    /// Empty when revoked.
    pub(crate) endpoints: Vec<String>,
    pub(crate) nonce: u64,
    pub(crate) revoked: bool,
}

/// Why a registration is not changed, in the names of the contract's errors.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DirectoryRefusal {
    #[error("InvalidSignature")]
    Signature,
    #[error("RevokedDID")]
    Revoked,
    #[error("UnregisteredDID")]
    Unregistered,
    #[error("InvalidEndpoints")]
    Endpoints,
    #[error("OutOfRange")]
    Full,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The registrations of this node.
#[derive(Clone)]
pub(crate) struct Directory {
    node: NodeStore,
    max: u64,
}

impl Directory {
    pub(crate) fn new(node: NodeStore, max: u64) -> Self {
        Self { node, max }
    }

    /// Where a DID's documents lie; refused when it is absent or revoked.
    pub(crate) async fn lookup(&self, did: &Address) -> Result<Registration, DirectoryRefusal> {
        let found = self.node.registration(did.lowercase()).await?;
        found
            .filter(|registration| !registration.revoked)
            .ok_or(DirectoryRefusal::Unregistered)
    }

    /// The number that the next signature must have.
    pub(crate) async fn nonce(&self, did: &Address) -> Result<u64, StoreError> {
        let found = self.node.registration(did.lowercase()).await?;
        Ok(found.map_or(0, |registration| registration.nonce))
    }

    /// Creates or replaces the list of a DID. Signed by the DID itself, whoever controls it.
    pub(crate) async fn register(
        &self,
        did: &Address,
        endpoints: Vec<String>,
        signature: &Signature,
    ) -> Result<(), DirectoryRefusal> {
        let good = endpoints.len() <= MAX_PLACES
            && endpoints.iter().all(|url| url.len() <= MAX_ENDPOINT_BYTES)
            && places(endpoints.iter().map(String::as_str)).len() == endpoints.len();
        if !good {
            return Err(DirectoryRefusal::Endpoints);
        }
        let held = self.node.registration(did.lowercase()).await?;
        let nonce = held.as_ref().map_or(0, |held| held.nonce);
        let message = register_message(did, &endpoints, nonce);
        signed(signature, &message, did)?;
        if held.as_ref().is_some_and(|held| held.revoked) {
            return Err(DirectoryRefusal::Revoked);
        }
        let controller = held.map_or_else(|| did.lowercase(), |held| held.controller);
        let next = Registration {
            controller,
            endpoints,
            nonce: nonce + 1,
            revoked: false,
        };
        self.put(did, nonce, next).await
    }

    /// Ends a DID for ever. Signed by its controller.
    pub(crate) async fn revoke(
        &self,
        did: &Address,
        signature: &Signature,
    ) -> Result<(), DirectoryRefusal> {
        let held = self.lookup(did).await?;
        signed(
            signature,
            &revoke_message(did, held.nonce),
            &controller(&held)?,
        )?;
        let next = Registration {
            endpoints: Vec::new(),
            nonce: held.nonce + 1,
            revoked: true,
            ..held.clone()
        };
        self.put(did, held.nonce, next).await
    }

    /// Gives a DID another controller. Signed by the one that it has.
    pub(crate) async fn set_controller(
        &self,
        did: &Address,
        next: &Address,
        signature: &Signature,
    ) -> Result<(), DirectoryRefusal> {
        let held = self.lookup(did).await?;
        let message = set_controller_message(did, next, held.nonce);
        signed(signature, &message, &controller(&held)?)?;
        let next = Registration {
            controller: next.lowercase(),
            nonce: held.nonce + 1,
            ..held.clone()
        };
        self.put(did, held.nonce, next).await
    }

    async fn put(
        &self,
        did: &Address,
        nonce: u64,
        next: Registration,
    ) -> Result<(), DirectoryRefusal> {
        use crate::store::node::Registered::{Done, Full, Overtaken};
        match self
            .node
            .register(did.lowercase(), nonce, next, self.max)
            .await?
        {
            Done => Ok(()),
            // Another signature took this turn: this one is for a turn that is over.
            Overtaken => Err(DirectoryRefusal::Signature),
            Full => Err(DirectoryRefusal::Full),
        }
    }
}

fn signed(signature: &Signature, message: &[u8], signer: &Address) -> Result<(), DirectoryRefusal> {
    match signature.verify(keccak256(message), signer) {
        Ok(_) => Ok(()),
        Err(_) => Err(DirectoryRefusal::Signature),
    }
}

fn controller(held: &Registration) -> Result<Address, StoreError> {
    held.controller
        .parse()
        .map_err(|_| StoreError::Corrupt("a controller's address"))
}
