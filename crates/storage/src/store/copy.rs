//! A copy of a file as it was at one moment, row by row: compact, and whole whatever is written to the original meanwhile.
//!
//! Guarantees: every table is copied, or (a table that it does not know) nothing; the copy is durable when it is there. Tokens and
//! the keys that make them stay behind ([`node_to`]), and the stored indexes of a database, which lives a life of its own
//! ([`database_to`]).

use std::collections::BTreeSet;
use std::path::Path;

use redb::backends::FileBackend;
use redb::{
    Database, Key, ReadTransaction, ReadableTable, TableDefinition, TableHandle, Value,
    WriteTransaction,
};

use super::StoreError;
use super::attachments::{ATTACHED, BLOBS, CHUNKS};
use super::database::{BODIES, CHANGES, Counters, DOCUMENTS, LOCAL};
use super::format::META;
use super::indexes::{INDEX_KEYS, INDEX_ROWS, INDEXES};
use super::node::{
    ACCOUNTS, DATABASES, DELETED, DELETED_DIDS, DEVICES, DID_DOCUMENT_BYTES, DID_DOCUMENTS,
    EXPIRIES, OWNED, PEER_CONTEXTS, PEER_KIN, REFRESH_TOKENS, REGISTRATIONS, REPLICATED, SECRETS,
    USED_REQUESTS,
};
use super::node_indexes::{ACCOUNT_TOKENS, PEER_EXPIRIES, PEER_KIN_EXPIRIES, UNOWNING};
use crate::private_files::new_file;

/// Memory that making a copy may use for pages.
const CACHE_BYTES: usize = 16 << 20;

/// The node's own secrets that a copy has. The others make tokens, challenges and passwords for other nodes: without them, those are
/// void where the copy is used, and the node makes new ones.
const KEPT_SECRETS: [&str; 4] = ["identity", "public_user", "public_password", "uuid"];

/// Copies a database. What is written to the copy counts on from the same number as what is written to the original: so the copy gets a
/// life of its own, and a reader who stands in the original's reads the copy from the beginning instead of skipping.
pub(super) fn database_to(from: &ReadTransaction, path: &Path) -> Result<(), StoreError> {
    let known = [
        META.name(),
        DOCUMENTS.name(),
        BODIES.name(),
        CHANGES.name(),
        LOCAL.name(),
        ATTACHED.name(),
        BLOBS.name(),
        CHUNKS.name(),
        // These stay behind: they are made anew of the documents when somebody asks.
        INDEXES.name(),
        INDEX_ROWS.name(),
        INDEX_KEYS.name(),
    ];
    only(from, &known)?;
    written(path, |to| {
        table(from, to, META)?;
        {
            let mut meta = to.open_table(META)?;
            let was = Counters::load(&meta)?;
            was.reborn()?.save(&was, &mut meta)?;
        }
        table(from, to, DOCUMENTS)?;
        table(from, to, BODIES)?;
        table(from, to, CHANGES)?;
        table(from, to, LOCAL)?;
        table(from, to, ATTACHED)?;
        table(from, to, BLOBS)?;
        table(from, to, CHUNKS)
    })
}

/// Copies the node's file, with the databases that are in `databases` and no others.
pub(super) fn node_to(
    from: &ReadTransaction,
    path: &Path,
    databases: &BTreeSet<String>,
) -> Result<(), StoreError> {
    let known = [
        META.name(),
        SECRETS.name(),
        ACCOUNTS.name(),
        DATABASES.name(),
        OWNED.name(),
        DELETED.name(),
        REFRESH_TOKENS.name(),
        DEVICES.name(),
        EXPIRIES.name(),
        USED_REQUESTS.name(),
        DID_DOCUMENTS.name(),
        DID_DOCUMENT_BYTES.name(),
        DELETED_DIDS.name(),
        REGISTRATIONS.name(),
        PEER_CONTEXTS.name(),
        PEER_KIN.name(),
        ACCOUNT_TOKENS.name(),
        UNOWNING.name(),
        PEER_EXPIRIES.name(),
        PEER_KIN_EXPIRIES.name(),
        REPLICATED.name(),
    ];
    only(from, &known)?;
    written(path, |to| {
        table(from, to, META)?;
        table(from, to, ACCOUNTS)?;
        table(from, to, DID_DOCUMENTS)?;
        table(from, to, DID_DOCUMENT_BYTES)?;
        table(from, to, DELETED_DIDS)?;
        table(from, to, REGISTRATIONS)?;
        table(from, to, PEER_CONTEXTS)?;
        table(from, to, PEER_KIN)?;
        table(from, to, PEER_EXPIRIES)?;
        table(from, to, PEER_KIN_EXPIRIES)?;
        table(from, to, REPLICATED)?;
        // What is deleted is not in a backup.
        to.open_table(DELETED)?;
        // Tokens stay behind; their tables do not.
        to.open_table(REFRESH_TOKENS)?;
        to.open_table(DEVICES)?;
        to.open_table(ACCOUNT_TOKENS)?;
        // The next start finds out which accounts have no database among those that are copied.
        to.open_table(UNOWNING)?;
        to.open_table(EXPIRIES)?;
        to.open_table(USED_REQUESTS)?;
        let (read, mut write) = (from.open_table(SECRETS)?, to.open_table(SECRETS)?);
        for name in KEPT_SECRETS {
            if let Some(secret) = read.get(name)? {
                write.insert(name, secret.value())?;
            }
        }
        let (read, mut write) = (from.open_table(DATABASES)?, to.open_table(DATABASES)?);
        for row in read.range::<&str>(..)? {
            let (hash, record) = row?;
            if databases.contains(hash.value()) {
                write.insert(hash.value(), record.value())?;
            }
        }
        let (read, mut write) = (from.open_table(OWNED)?, to.open_table(OWNED)?);
        for row in read.range::<(&str, &str)>(..)? {
            let (pair, ()) = row.map(|(pair, _)| (pair, ()))?;
            if databases.contains(pair.value().1) {
                write.insert(pair.value(), ())?;
            }
        }
        Ok(())
    })
}

/// Fails when there is a table that would be left behind.
fn only(from: &ReadTransaction, known: &[&str]) -> Result<(), StoreError> {
    let stranger = from
        .list_tables()?
        .any(|table| !known.contains(&table.name()));
    match stranger || from.list_multimap_tables()?.next().is_some() {
        true => Err(StoreError::Corrupt("there is an unknown table")),
        false => Ok(()),
    }
}

fn table<K: Key, V: Value>(
    from: &ReadTransaction,
    to: &WriteTransaction,
    definition: TableDefinition<'static, K, V>,
) -> Result<(), StoreError> {
    let read = match from.open_table(definition) {
        Ok(read) => read,
        // Attachments: not before the first one.
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let mut write = to.open_table(definition)?;
    for row in read.iter()? {
        let (key, value) = row?;
        write.insert(key.value(), value.value())?;
    }
    Ok(())
}

/// A new file for its owner alone, written in one transaction.
fn written(
    path: &Path,
    work: impl FnOnce(&WriteTransaction) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let file = new_file(path)?;
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    let mut database = builder.create_with_backend(FileBackend::new(file)?)?;
    let transaction = database.begin_write()?;
    work(&transaction)?;
    transaction.commit()?;
    match database.compact() {
        Ok(_) => {}
        Err(redb::CompactionError::Storage(error)) => return Err(error.into()),
        Err(_) => return Err(StoreError::Aborted),
    }
    database.close()?;
    Ok(())
}
