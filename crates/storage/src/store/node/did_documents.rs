//! DID documents with all their versions; registrations, on a node that is a directory.

use redb::{ReadableTable, ReadableTableMetadata, WriteTransaction};

use super::{
    ACCOUNTS, Account, DELETED_DIDS, DID_DOCUMENT_BYTES, DID_DOCUMENTS, NodeStore, REGISTRATIONS,
    from_json, to_json,
};
use crate::directory::Registration;
use crate::store::StoreError;

/// What became of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Registered {
    Done,
    /// It was meant for a turn that is over.
    Overtaken,
    /// The node has as many as it takes.
    Full,
}

/// What became of a version of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    Done,
    /// Another one has its number.
    Overtaken,
    /// It is not younger than what was deleted.
    Deleted,
    /// The node has as many as it takes.
    Full,
}

/// A version of a DID's document that is to be kept.
#[derive(Debug)]
pub(crate) struct NewVersion {
    /// In lower case.
    pub(crate) did: String,
    pub(crate) number: u64,
    /// When the document was created, as it says itself.
    pub(crate) created: String,
    pub(crate) text: String,
    /// Names of accounts that are the DID's, if they are here and say so.
    pub(crate) accounts: Vec<String>,
}

/// How many DID documents are kept. Whom the node knows (a document, what is left of one, or an account is here) may go on up to
/// `bytes_of_did` in a node that is full: a key must be exchanged, whoever filled it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DocumentRoom {
    /// Versions, of all DIDs, and what is left of those that were deleted.
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

    /// Adds a version if it is exactly the next one, and there is room for it.
    pub(crate) async fn add_did_document(
        &self,
        version: NewVersion,
        room: DocumentRoom,
    ) -> Result<Kept, StoreError> {
        self.committer
            .write(move |transaction| {
                let NewVersion {
                    did,
                    number: version,
                    created,
                    text,
                    accounts,
                } = version;
                let mut table = transaction.open_table(DID_DOCUMENTS)?;
                let newest = {
                    let mut versions = table.range((did.as_str(), 0)..=(did.as_str(), u64::MAX))?;
                    versions
                        .next_back()
                        .transpose()?
                        .map(|(key, _)| key.value().1)
                };
                if version != newest.map_or(0, |newest| newest + 1) {
                    return Ok(Kept::Overtaken);
                }
                let mut deleted = transaction.open_table(DELETED_DIDS)?;
                let last = deleted.get(did.as_str())?;
                let last = last.map(|last| last.value().to_owned());
                if last.as_ref().is_some_and(|last| created <= *last) {
                    return Ok(Kept::Deleted);
                }
                let mut counted = transaction.open_table(DID_DOCUMENT_BYTES)?;
                let [of_did, of_all] = [did.as_str(), ""].map(|name| {
                    let held = counted.get(name)?.map_or(0, |bytes| bytes.value());
                    Ok::<_, StoreError>(held + text.len() as u64)
                });
                let (of_did, of_all) = (of_did?, of_all?);
                // What is left of a deleted document gives its place to the next one.
                let rows = table.len()? + deleted.len()? - u64::from(last.is_some());
                let is_full = rows >= room.documents || of_all > room.bytes;
                let is_known = newest.is_some()
                    || last.is_some()
                    || (is_full && has_account_of(transaction, &did, &accounts)?);
                if of_did > room.bytes_of_did || (is_full && !is_known) {
                    return Ok(Kept::Full);
                }
                counted.insert(did.as_str(), of_did)?;
                counted.insert("", of_all)?;
                deleted.remove(did.as_str())?;
                table.insert((did.as_str(), version), text.as_str())?;
                Ok(Kept::Done)
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

    /// Removes every version, if `newest` is the last one, and says how many there were. The last time that they name stays.
    pub(crate) async fn remove_did_document(
        &self,
        did: String,
        newest: u64,
        last: String,
    ) -> Result<Option<u64>, StoreError> {
        self.committer
            .write(move |transaction| {
                let mut table = transaction.open_table(DID_DOCUMENTS)?;
                let held = (did.as_str(), newest)..=(did.as_str(), u64::MAX);
                let held = table.range(held)?.take(2);
                let held = held.map(|row| Ok(row?.0.value().1));
                if held.collect::<Result<Vec<_>, StoreError>>()? != [newest] {
                    return Ok(None);
                }
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
                let mut deleted = transaction.open_table(DELETED_DIDS)?;
                deleted.insert(did.as_str(), last.as_str())?;
                Ok(Some(removed))
            })
            .await
    }
}

fn has_account_of(
    transaction: &WriteTransaction,
    did: &str,
    names: &[String],
) -> Result<bool, StoreError> {
    let accounts = transaction.open_table(ACCOUNTS)?;
    for name in names {
        if let Some(row) = accounts.get(name.as_str())? {
            let account: Account = from_json(row.value())?;
            if account.did == did {
                return Ok(true);
            }
        }
    }
    Ok(false)
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
