//! DID documents with all their versions; registrations, on a node that is a directory.

use redb::{ReadableTable, ReadableTableMetadata, WriteTransaction};

use super::{DID_DOCUMENT_BYTES, DID_DOCUMENTS, NodeStore, REGISTRATIONS, from_json, to_json};
use crate::directory::Registration;
use crate::store::StoreError;

/// What became of a registration, or of a version of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Registered {
    Done,
    /// It was meant for a turn that is over.
    Overtaken,
    /// The node has as many as it takes.
    Full,
}

/// How many DID documents are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DocumentRoom {
    /// Versions, of all DIDs.
    pub(crate) documents: u64,
    /// Bytes of one DID's versions.
    pub(crate) bytes_of_did: u64,
    /// Bytes, of all DIDs.
    pub(crate) bytes: u64,
}

impl NodeStore {
    // DID documents

    /// The newest version of a DID's document: its number and text.
    pub(crate) async fn did_document(&self, did: String) -> Result<Option<String>, StoreError> {
        self.committer
            .view(move |view| {
                let table = view.open_table(DID_DOCUMENTS)?;
                let mut versions = table.range((did.as_str(), 0)..=(did.as_str(), u64::MAX))?;
                Ok(versions
                    .next_back()
                    .transpose()?
                    .map(|(_, text)| text.value().to_owned()))
            })
            .await
    }

    /// Versions of a DID's document from this one on, the first one first: so many that they have `bytes` bytes or a little more.
    pub(crate) async fn did_document_versions(
        &self,
        did: String,
        from: u64,
        bytes: usize,
    ) -> Result<Vec<String>, StoreError> {
        self.committer
            .view(move |view| {
                let table = view.open_table(DID_DOCUMENTS)?;
                let (mut versions, mut held) = (Vec::new(), 0);
                for row in table.range((did.as_str(), from)..=(did.as_str(), u64::MAX))? {
                    let text = row?.1.value().to_owned();
                    held += text.len();
                    versions.push(text);
                    if held >= bytes {
                        break;
                    }
                }
                Ok(versions)
            })
            .await
    }

    /// Adds a version if it is exactly the next one, and the node has room for one.
    pub(crate) async fn add_did_document(
        &self,
        did: String,
        version: u64,
        text: String,
        room: DocumentRoom,
    ) -> Result<Registered, StoreError> {
        self.committer
            .write(move |transaction| {
                let mut table = transaction.open_table(DID_DOCUMENTS)?;
                let newest = {
                    let mut versions = table.range((did.as_str(), 0)..=(did.as_str(), u64::MAX))?;
                    versions
                        .next_back()
                        .transpose()?
                        .map(|(key, _)| key.value().1)
                };
                if version != newest.map_or(0, |newest| newest + 1) {
                    return Ok(Registered::Overtaken);
                }
                let mut counted = transaction.open_table(DID_DOCUMENT_BYTES)?;
                let [of_did, of_all] = [did.as_str(), ""].map(|name| {
                    let held = counted.get(name)?.map_or(0, |bytes| bytes.value());
                    Ok::<_, StoreError>(held + text.len() as u64)
                });
                let (of_did, of_all) = (of_did?, of_all?);
                if table.len()? >= room.documents
                    || of_did > room.bytes_of_did
                    || of_all > room.bytes
                {
                    return Ok(Registered::Full);
                }
                counted.insert(did.as_str(), of_did)?;
                counted.insert("", of_all)?;
                table.insert((did.as_str(), version), text.as_str())?;
                Ok(Registered::Done)
            })
            .await
    }

    // Registrations of DIDs

    pub(crate) async fn registration(
        &self,
        address: String,
    ) -> Result<Option<Registration>, StoreError> {
        self.committer
            .view(move |view| {
                view.open_table(REGISTRATIONS)?
                    .get(address.as_str())?
                    .map(|row| from_json(row.value()))
                    .transpose()
            })
            .await
    }

    /// Puts `next` in place, if the held registration's turn is still `nonce`.
    pub(crate) async fn register(
        &self,
        address: String,
        nonce: u64,
        next: Registration,
        max: u64,
    ) -> Result<Registered, StoreError> {
        self.committer
            .write(move |transaction| {
                let mut table = transaction.open_table(REGISTRATIONS)?;
                let held: Option<Registration> = table
                    .get(address.as_str())?
                    .map(|row| from_json(row.value()))
                    .transpose()?;
                if held.as_ref().map_or(0, |held| held.nonce) != nonce {
                    return Ok(Registered::Overtaken);
                }
                if held.is_none() && table.len()? >= max {
                    return Ok(Registered::Full);
                }
                table.insert(address.as_str(), to_json(&next)?.as_slice())?;
                Ok(Registered::Done)
            })
            .await
    }

    /// Removes every version, and says how many there were.
    pub(crate) async fn remove_did_document(&self, did: String) -> Result<u64, StoreError> {
        self.committer
            .write(move |transaction| {
                let mut table = transaction.open_table(DID_DOCUMENTS)?;
                let mut removed = 0;
                table.retain_in((did.as_str(), 0)..=(did.as_str(), u64::MAX), |_, _| {
                    removed += 1;
                    false
                })?;
                let mut counted = transaction.open_table(DID_DOCUMENT_BYTES)?;
                let of_did = counted
                    .remove(did.as_str())?
                    .map_or(0, |bytes| bytes.value());
                let of_all = counted.get("")?.map_or(0, |bytes| bytes.value());
                counted.insert("", of_all.saturating_sub(of_did))?;
                Ok(removed)
            })
            .await
    }
}

/// Counts the bytes of DID documents that were kept before they were counted.
pub(super) fn count_did_documents(transaction: &WriteTransaction) -> Result<(), StoreError> {
    let documents = transaction.open_table(DID_DOCUMENTS)?;
    let mut counted = transaction.open_table(DID_DOCUMENT_BYTES)?;
    if !counted.is_empty()? {
        return Ok(());
    }
    let mut of_all = 0;
    for row in documents.iter()? {
        let (key, text) = row?;
        let (did, bytes) = (key.value().0, text.value().len() as u64);
        let held = counted.get(did)?.map_or(0, |bytes| bytes.value());
        counted.insert(did, held + bytes)?;
        of_all += bytes;
    }
    counted.insert("", of_all)?;
    Ok(())
}
