//! The records of people: accounts, refresh tokens, DID documents. In the node's own file, or in a CouchDB.

use std::sync::Arc;

use crate::couch::records::CouchRecords;
use crate::store::StoreError;
use crate::store::node::{
    Account, DocumentRoom, Kept, Login, LoginOutcome, NewVersion, NodeStore, RefreshRow,
};
use crate::stream::BATCH_BYTES;

/// A refresh token that counts, unless its key does not any more.
#[derive(Debug)]
pub(crate) struct LivingToken {
    /// See [`RefreshRow::signer`].
    pub(crate) signer: Option<String>,
}

/// Where they are.
#[derive(Clone)]
pub(crate) enum Records {
    Embedded(NodeStore),
    Couch(Arc<CouchRecords>),
}

impl Records {
    pub(crate) async fn log_in(&self, login: Login) -> Result<LoginOutcome, StoreError> {
        match self {
            Self::Embedded(node) => node.log_in(login).await,
            Self::Couch(couch) => couch.log_in(login).await,
        }
    }

    pub(crate) async fn token(&self, id: String) -> Result<Option<LivingToken>, StoreError> {
        match self {
            Self::Embedded(node) => {
                let row = node.refresh_token(id).await?;
                Ok(row.map(|row| LivingToken { signer: row.signer }))
            }
            Self::Couch(couch) => couch.token(&id).await,
        }
    }

    /// Ends a refresh token.
    pub(crate) async fn end_token(&self, id: String) -> Result<(), StoreError> {
        match self {
            Self::Embedded(node) => node.end_token(id).await,
            Self::Couch(couch) => couch.end_token(&id).await,
        }
    }

    /// Replaces a refresh token by another. False when the old one is not there any more.
    pub(crate) async fn replace_token(
        &self,
        old: String,
        new: String,
        row: RefreshRow,
    ) -> Result<bool, StoreError> {
        match self {
            Self::Embedded(node) => node.replace_token(old, new, row).await,
            Self::Couch(couch) => couch.replace_token(&old, &new, &row).await,
        }
    }

    /// Revokes every refresh token of a device, and says how many there were.
    pub(crate) async fn revoke_device(&self, device: String) -> Result<usize, StoreError> {
        match self {
            Self::Embedded(node) => node.revoke_device(device).await,
            Self::Couch(couch) => couch.revoke_device(&device).await,
        }
    }

    /// Somebody used an account at this moment. In a CouchDB nobody's account makes room for others': its users are its operator's.
    pub(crate) async fn use_account(&self, name: String, now: u64) -> Result<(), StoreError> {
        match self {
            Self::Embedded(node) => node.use_account(name, now).await,
            Self::Couch(_) => Ok(()),
        }
    }

    /// Whose account it is. A CouchDB says it only of those that have a database.
    pub(crate) async fn account(&self, name: String) -> Result<Option<Account>, StoreError> {
        match self {
            Self::Embedded(node) => node.account(name).await,
            Self::Couch(couch) => couch.account(&name).await,
        }
    }

    pub(crate) async fn has_account(&self, name: String) -> Result<bool, StoreError> {
        match self {
            Self::Embedded(node) => Ok(node.account(name).await?.is_some()),
            Self::Couch(couch) => couch.has_account(&name).await,
        }
    }

    /// Whether there is such an account, as far as that is known without asking anybody: in front of a CouchDB, of none.
    pub(crate) async fn is_at_hand(&self, name: String) -> Result<bool, StoreError> {
        match self {
            Self::Embedded(node) => Ok(node.account(name).await?.is_some()),
            Self::Couch(_) => Ok(false),
        }
    }

    pub(crate) async fn account_count(&self) -> Result<u64, StoreError> {
        match self {
            Self::Embedded(node) => node.account_count().await,
            Self::Couch(couch) => couch.accounts().await,
        }
    }

    /// The newest version of a DID's document.
    pub(crate) async fn did_document(&self, did: String) -> Result<Option<String>, StoreError> {
        match self {
            Self::Embedded(node) => node.did_document(did).await,
            Self::Couch(couch) => couch.did_document(&did).await,
        }
    }

    /// Versions of a DID's document from this one on, the first one first: as many as are answered at once.
    pub(crate) async fn did_document_versions(
        &self,
        did: String,
        from: u64,
    ) -> Result<Vec<String>, StoreError> {
        match self {
            Self::Embedded(node) => node.did_document_versions(did, from, BATCH_BYTES).await,
            Self::Couch(couch) => couch.did_document_versions(&did, from).await,
        }
    }

    /// Adds the next version if nobody else did, and there is room for one; the first one after a deletion if it is younger than what
    /// was deleted.
    pub(crate) async fn add_did_document(
        &self,
        version: NewVersion,
        room: DocumentRoom,
    ) -> Result<Kept, StoreError> {
        match self {
            Self::Embedded(node) => node.add_did_document(version, room).await,
            Self::Couch(couch) => couch.add_did_document(&version, room).await,
        }
    }

    /// Removes every version, if `newest` is the last one, and says how many there were. `last` stays: the last time that they name.
    pub(crate) async fn remove_did_document(
        &self,
        did: String,
        newest: u64,
        last: String,
    ) -> Result<Option<u64>, StoreError> {
        match self {
            Self::Embedded(node) => node.remove_did_document(did, newest, last).await,
            Self::Couch(couch) => couch.remove_did_document(&did, newest, &last).await,
        }
    }
}
