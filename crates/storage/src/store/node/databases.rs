//! The registry of databases: whose each is, and who may do what in it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use adyton_protocol::database::DatabaseHash;
use redb::{ReadTransaction, ReadableTable};

use super::{DATABASES, DELETED, NodeStore, OWNED, from_json, second_keys, to_json};
use crate::database_record::DatabaseRecord;
use crate::store::StoreError;
use crate::store::known::Known;
use crate::store::node_indexes;

impl NodeStore {
    // The registry of databases

    pub(crate) async fn database(
        &self,
        hash: String,
    ) -> Result<Option<DatabaseRecord>, StoreError> {
        self.committer
            .view(move |view| read_database(view, &hash))
            .await
    }

    /// The same, mostly from memory.
    pub(crate) async fn known_database(
        &self,
        hash: String,
    ) -> Result<Option<Arc<DatabaseRecord>>, StoreError> {
        let as_of = match self.known.find(&hash) {
            Known::Record(record) => return Ok(Some(record)),
            Known::Nothing(as_of) => as_of,
        };
        let record = self.database(hash).await?.map(Arc::new);
        if let Some(record) = &record {
            self.known.keep(as_of, record);
        }
        Ok(record)
    }

    /// The files of those that are no databases of this node.
    pub(crate) async fn without_owner(
        &self,
        found: Vec<(DatabaseHash, PathBuf)>,
    ) -> Result<Vec<PathBuf>, StoreError> {
        self.committer
            .view(move |view| {
                let table = view.open_table(DATABASES)?;
                let mut stray = Vec::new();
                for (hash, path) in found {
                    if table.get(hash.to_string().as_str())?.is_none() {
                        stray.push(path);
                    }
                }
                Ok(stray)
            })
            .await
    }

    /// Every database of an account, by hash.
    pub(crate) async fn databases_of(
        &self,
        account: String,
    ) -> Result<Vec<DatabaseRecord>, StoreError> {
        self.committer
            .view(move |view| {
                let hashes = second_keys(&view.open_table(OWNED)?, &account)?;
                let records = hashes.iter().map(|hash| read_database(view, hash));
                records.filter_map(Result::transpose).collect()
            })
            .await
    }

    /// The hashes of all databases, looked up in turn with the writes. `note` is called in this turn: every deletion before it is
    /// reckoned with, none after it.
    pub(crate) async fn all_databases(
        &self,
        note: impl FnOnce(&BTreeSet<String>) + Send + 'static,
    ) -> Result<BTreeSet<String>, StoreError> {
        self.committer
            .write(|transaction| {
                let table = transaction.open_table(DATABASES)?;
                let rows = table.range::<&str>(..)?;
                let hashes = rows.map(|row| Ok(row?.0.value().to_owned()));
                let hashes = hashes.collect::<Result<_, StoreError>>()?;
                note(&hashes);
                Ok(hashes)
            })
            .await
    }

    /// Ends when everything that was waiting to be written is. Fails when nothing can be written any more.
    pub(crate) async fn settled(&self) -> Result<(), StoreError> {
        self.committer.write(|_| Ok(())).await
    }

    pub(crate) async fn put_database(&self, record: DatabaseRecord) -> Result<(), StoreError> {
        let changing = self.known.changing(&record.database_hash);
        self.committer
            .write(move |transaction| {
                let hash = record.database_hash.as_str();
                let json = to_json(&record)?;
                transaction
                    .open_table(DATABASES)?
                    .insert(hash, json.as_slice())?;
                transaction
                    .open_table(OWNED)?
                    .insert((record.owner.as_str(), hash), ())?;
                transaction.open_table(DELETED)?.remove(hash)?;
                node_indexes::databases_changed(transaction, &record.owner)?;
                Ok(changing)
            })
            .await
            .map(drop)
    }

    /// Takes a database out of the registry, and notes that its file is to go. `note` is called in this write's turn, before it is
    /// seen.
    pub(crate) async fn remove_database(
        &self,
        owner: String,
        hash: String,
        note: impl FnOnce(&str) + Send + 'static,
    ) -> Result<(), StoreError> {
        let changing = self.known.changing(&hash);
        self.committer
            .write(move |transaction| {
                note(&hash);
                transaction.open_table(DATABASES)?.remove(hash.as_str())?;
                transaction.open_table(DELETED)?.insert(hash.as_str(), ())?;
                transaction
                    .open_table(OWNED)?
                    .remove((owner.as_str(), hash.as_str()))?;
                node_indexes::databases_changed(transaction, &owner)?;
                Ok(changing)
            })
            .await
            .map(drop)
    }
}

impl NodeStore {
    /// Deleted databases whose file may still be there. One that was made anew is none of them.
    pub(crate) async fn deleted(&self) -> Result<Vec<DatabaseHash>, StoreError> {
        self.committer
            .view(|view| {
                let registered = view.open_table(DATABASES)?;
                let mut deleted = Vec::new();
                for row in view.open_table(DELETED)?.range::<&str>(..)? {
                    let hash = row?.0;
                    if registered.get(hash.value())?.is_none() {
                        let hash = hash.value().parse();
                        deleted.push(hash.map_err(|_| StoreError::Corrupt("a database hash"))?);
                    }
                }
                Ok(deleted)
            })
            .await
    }

    /// The files of these are gone, durably.
    pub(crate) async fn forget_deleted(&self, gone: Vec<DatabaseHash>) -> Result<(), StoreError> {
        self.committer
            .write(move |transaction| {
                let mut deleted = transaction.open_table(DELETED)?;
                for hash in gone {
                    deleted.remove(hash.to_string().as_str())?;
                }
                Ok(())
            })
            .await
    }
}

fn read_database(view: &ReadTransaction, hash: &str) -> Result<Option<DatabaseRecord>, StoreError> {
    view.open_table(DATABASES)?
        .get(hash)?
        .map(|row| from_json(row.value()))
        .transpose()
}
