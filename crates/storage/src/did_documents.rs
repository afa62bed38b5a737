//! DID documents kept by this node, and the resolution of DIDs.
//!
//! Guarantees: every kept version carries a proof by the key that its DID names, and versions follow each other by the
//! rules. Knows nothing of the chain: `resolution` does.

use std::future::Future;
use std::pin::Pin;

use adyton_protocol::consent;
use adyton_protocol::context::ContextHash;
use adyton_protocol::did::{Did, Network};
use adyton_protocol::did_document::{DidDocument, DidDocumentError};
use adyton_protocol::signature::Signature;
pub use adyton_resolver::resolver::{Asking, Freshness};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::config::Limits;
use crate::records::Records;
use crate::store::StoreError;
use crate::store::node::{DocumentRoom, Kept, NewVersion};

/// Contexts of a document whose accounts are looked for here.
const MAX_CONTEXTS: usize = 32;

/// Finds the current document of a DID.
pub trait DidResolver: Send + Sync {
    /// The verified document, or none when there is none.
    fn resolve<'a>(&'a self, did: &'a Did, freshness: Freshness) -> Resolution<'a>;

    /// The same, with what it is wanted for, and on whose behalf: they share turns fairly, and no login waits for somebody who only
    /// wants to see a document.
    fn resolve_for<'a>(
        &'a self,
        _asking: Asking,
        did: &'a Did,
        freshness: Freshness,
    ) -> Resolution<'a> {
        self.resolve(did, freshness)
    }

    /// This node was told something new of a DID: what is remembered of it counts no more.
    fn forget(&self, did: &Did);

    /// Whether an answer of this age can be given without asking another server.
    fn is_at_hand(&self, _did: &Did, _freshness: Freshness) -> bool {
        true
    }
}

/// The DID could not be resolved now, which says nothing about whether it exists.
#[derive(Debug, thiserror::Error)]
pub enum ResolveFailure {
    /// Those who must know could not be asked.
    #[error("the DID could not be resolved now")]
    Unreachable,
    /// A fault of ours.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A resolution under way.
pub type Resolution<'a> =
    Pin<Box<dyn Future<Output = Result<Option<DidDocument>, ResolveFailure>> + Send + 'a>>;

/// Why a document is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DidDocumentRefusal {
    #[error("DID Document already exists. Use PUT request to update.")]
    Exists,
    #[error("DID Document not found")]
    NotFound,
    #[error(
        "The DID Document was deleted. Another one must be created later than its last version."
    )]
    Deleted,
    #[error("Invalid DID Document: {0}")]
    Invalid(#[from] DidDocumentError),
    #[error("Invalid DID Document: not JSON that can be signed")]
    NotJson,
    #[error("Invalid DID Document: a member's name begins with an underscore")]
    Reserved,
    #[error("The DID has as many document versions as this node keeps")]
    TooManyVersions,
    #[error("This node keeps no further DID documents")]
    Full,
    #[error("Invalid signature")]
    Signature,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The documents that this node keeps.
#[derive(Clone)]
pub(crate) struct DidDocuments {
    records: Records,
    network: Network,
    max_versions: u64,
    room: DocumentRoom,
}

impl DidDocuments {
    pub(crate) fn new(records: Records, network: Network, limits: &Limits) -> Self {
        Self {
            records,
            network,
            max_versions: limits.did_document_versions,
            room: DocumentRoom {
                documents: limits.did_documents,
                bytes_of_did: limits.did_document_bytes,
                bytes: limits.did_documents_bytes,
            },
        }
    }

    /// Keeps the first version of a DID's document. After a deletion, one that is younger than what was deleted: or whoever has that
    /// could put it back, and with it keys that count no more.
    pub(crate) async fn create(
        &self,
        did: &Did,
        text: &RawValue,
    ) -> Result<(), DidDocumentRefusal> {
        if self.text(did).await?.is_some() {
            return Err(DidDocumentRefusal::Exists);
        }
        let first = verified(did, text)?.as_first()?;
        match self.add(&first, text).await? {
            Kept::Done => Ok(()),
            Kept::Overtaken => Err(DidDocumentRefusal::Exists),
            Kept::Deleted => Err(DidDocumentRefusal::Deleted),
            Kept::Full => Err(DidDocumentRefusal::Full),
        }
    }

    /// Keeps the next version of a DID's document.
    pub(crate) async fn update(
        &self,
        did: &Did,
        text: &RawValue,
    ) -> Result<(), DidDocumentRefusal> {
        let current = self
            .current(did)
            .await?
            .ok_or(DidDocumentRefusal::NotFound)?;
        let next = verified(did, text)?.as_successor_of(&current)?;
        let version = next.version_id();
        if version >= self.max_versions {
            return Err(DidDocumentRefusal::TooManyVersions);
        }
        match self.add(&next, text).await? {
            Kept::Done => Ok(()),
            Kept::Full => Err(DidDocumentRefusal::Full),
            Kept::Deleted => Err(DidDocumentRefusal::NotFound),
            // Somebody else's update came between: the same refusal as one request later.
            Kept::Overtaken => Err(DidDocumentError::Version {
                expected: version + 1,
            }
            .into()),
        }
    }

    /// Forgets every version, on the signed word of the DID's own key. Returns how many there were.
    pub(crate) async fn delete(
        &self,
        did: &Did,
        signature: &str,
        now: u64,
    ) -> Result<u64, DidDocumentRefusal> {
        if self.text(did).await?.is_none() {
            return Err(DidDocumentRefusal::NotFound);
        }
        let signature: Signature = signature
            .parse()
            .map_err(|_| DidDocumentRefusal::Signature)?;
        let minute = (now + 30) / 60;
        let signed = (minute.saturating_sub(1)..=minute + 1).any(|minute| {
            let digest = consent::delete_did_document(did, minute).digest();
            signature.verify(digest, &did.address()).is_ok()
        });
        if !signed {
            return Err(DidDocumentRefusal::Signature);
        }
        loop {
            let Some(newest) = self.text(did).await? else {
                return Err(DidDocumentRefusal::NotFound);
            };
            let (version, last) = last_of(&newest)?;
            let did = did.lowercase().to_owned();
            // None: an update came between.
            let removed = self.records.remove_did_document(did, version, last);
            if let Some(removed) = removed.await? {
                return Ok(removed);
            }
        }
    }

    /// The newest version's text.
    pub(crate) async fn text(&self, did: &Did) -> Result<Option<String>, StoreError> {
        self.records.did_document(did.lowercase().to_owned()).await
    }

    /// The texts of the versions from this one on, the first one first; as many as are answered at once.
    pub(crate) async fn versions(&self, did: &Did, from: u64) -> Result<Vec<String>, StoreError> {
        self.records
            .did_document_versions(did.lowercase().to_owned(), from)
            .await
    }

    /// The newest version.
    pub(crate) async fn current(&self, did: &Did) -> Result<Option<DidDocument>, StoreError> {
        let Some(text) = self.text(did).await? else {
            return Ok(None);
        };
        let value: Value =
            serde_json::from_str(&text).map_err(|_| StoreError::Corrupt("a DID document"))?;
        DidDocument::verify(value, did)
            .map(Some)
            .map_err(|_| StoreError::Corrupt("a DID document's proof"))
    }

    async fn add(&self, document: &DidDocument, text: &RawValue) -> Result<Kept, StoreError> {
        let version = NewVersion {
            did: document.did().lowercase().to_owned(),
            number: document.version_id(),
            created: time_of(&document.to_json(), "created").to_owned(),
            text: text.get().to_owned(),
            accounts: document
                .contexts(self.network)
                .iter()
                .take(MAX_CONTEXTS)
                .map(ContextHash::couch_user)
                .collect(),
        };
        self.records.add_did_document(version, self.room).await
    }
}

impl DidResolver for DidDocuments {
    fn resolve<'a>(&'a self, did: &'a Did, _freshness: Freshness) -> Resolution<'a> {
        Box::pin(async move { Ok(self.current(did).await?) })
    }

    /// Nothing is remembered: what is kept is read.
    fn forget(&self, _did: &Did) {}
}

/// The number of a kept version, and the latest time that it names: nothing that was signed before it is younger.
fn last_of(text: &str) -> Result<(u64, String), StoreError> {
    let version: Value =
        serde_json::from_str(text).map_err(|_| StoreError::Corrupt("a DID document"))?;
    let number = version.get("versionId").and_then(Value::as_u64);
    let number = number.ok_or(StoreError::Corrupt("a DID document"))?;
    let last = time_of(&version, "created").max(time_of(&version, "updated"));
    Ok((number, last.to_owned()))
}

/// A time in a document. All are written alike (`DidDocument::verify`): order of text is order of time.
fn time_of<'a>(document: &'a Value, name: &str) -> &'a str {
    document
        .get(name)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn verified(did: &Did, text: &RawValue) -> Result<DidDocument, DidDocumentRefusal> {
    if text.get().len() > adyton_protocol::did_document::MAX_DOCUMENT_BYTES {
        return Err(DidDocumentRefusal::NotJson);
    }
    let value: Value = serde_json::from_str(text.get()).map_err(|_| DidDocumentRefusal::NotJson)?;
    // CouchDB keeps such members for itself: no node of the original can hold them.
    let members = value.as_object().into_iter().flatten();
    if members.into_iter().any(|(name, _)| name.starts_with('_')) {
        return Err(DidDocumentRefusal::Reserved);
    }
    Ok(DidDocument::verify(value, did)?)
}
