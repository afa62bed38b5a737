//! Whether the node's own file is whole: every row reads back, and rows that stand for each other are both there. Of the tables that
//! follow from others (`node_indexes`), no line stands for nothing; those that lack are added at the next start.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use redb::{Key, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition};
use serde::de::{DeserializeOwned, IgnoredAny};

use super::StoreError;
use super::check::{Faults, verified};
use super::format::{self, META};
use super::node::{
    ACCOUNTS, Account, DATABASES, DELETED, DELETED_DIDS, DEVICES, DID_DOCUMENT_BYTES,
    DID_DOCUMENTS, EXPIRIES, OWNED, PEER_CONTEXTS, PEER_KIN, REFRESH_TOKENS, REGISTRATIONS,
    RefreshRow, SECRETS,
};
use super::node_indexes::{ACCOUNT_TOKENS, PEER_EXPIRIES, PEER_KIN_EXPIRIES, UNOWNING};
use crate::database_record::DatabaseRecord;
use crate::directory::Registration;
use crate::peers::PeerRow;

/// What the node's file says about the files beside it.
#[derive(Debug, Default)]
pub(crate) struct NodeFacts {
    /// The databases that must be there: hash → account.
    pub(crate) databases: BTreeMap<String, String>,
    /// Databases that are deleted, and whose file may still be there.
    pub(crate) deleted: BTreeSet<String>,
    /// Account → bytes that it may keep.
    pub(crate) limits: BTreeMap<String, u64>,
}

/// Checks the node's file. May block.
pub(crate) fn node(path: &Path) -> Result<(NodeFacts, Faults), StoreError> {
    let (mut facts, mut faults) = (NodeFacts::default(), Faults::default());
    let Some(database) = verified(path, &mut faults)? else {
        return Ok((facts, faults));
    };
    let view = database.begin_read()?;
    format::check(&view.open_table(META)?)?;
    secrets(&view, &mut faults)?;
    let what = "an account does not read back";
    let mut accounts = BTreeMap::new();
    each::<_, Account>(&view, ACCOUNTS, what, &mut faults, |name, account| {
        facts.limits.insert(name.to_owned(), account.storage_limit);
        accounts.insert(name.to_owned(), account.used);
    })?;
    let owned = view.open_table(OWNED)?;
    let (mut disagree, mut owners) = (0, 0);
    let what = "a database's record does not read back";
    let mut records = Vec::new();
    each::<_, DatabaseRecord>(&view, DATABASES, what, &mut faults, |hash, record| {
        records.push((hash.to_owned(), record));
    })?;
    for (hash, record) in records {
        owners += u64::from(owned.get((record.owner.as_str(), hash.as_str()))?.is_some());
        disagree += u64::from(record.database_hash != hash);
        disagree += u64::from(!facts.limits.contains_key(&record.owner));
        facts.databases.insert(hash, record.owner);
    }
    let listed = owned.iter()?.count() as u64;
    faults.expect(
        listed == owners && owners == facts.databases.len() as u64 && disagree == 0,
        "a database and its account disagree",
    );
    facts.deleted = keys(&view, DELETED, |hash| hash.to_owned())?;
    let owners: BTreeSet<&String> = facts.databases.values().collect();
    let unowning = accounts.iter().filter(|(name, _)| !owners.contains(name));
    let unowning: BTreeSet<_> = unowning.map(|(name, used)| (*used, name.clone())).collect();
    let listed = keys(&view, UNOWNING, |(used, name)| (used, name.to_owned()))?;
    let what = "a line about an account without databases stands for none";
    faults.expect(listed.is_subset(&unowning), what);
    tokens(&view, &mut faults)?;
    let what = "a registration does not read back";
    each::<_, Registration>(&view, REGISTRATIONS, what, &mut faults, |_, _| {})?;
    let what = "another node's row does not read back";
    for (rows, expiries) in [
        (PEER_CONTEXTS, PEER_EXPIRIES),
        (PEER_KIN, PEER_KIN_EXPIRIES),
    ] {
        let mut ends = BTreeSet::new();
        each::<_, PeerRow>(&view, rows, what, &mut faults, |(first, name), row| {
            ends.insert((row.until, first.to_owned(), name.to_owned()));
        })?;
        let listed = keys(&view, expiries, |(until, first, name)| {
            (until, first.to_owned(), name.to_owned())
        })?;
        let what = "a line about the end of another node's row stands for none";
        faults.expect(listed.is_subset(&ends), what);
    }
    did_documents(&view, &mut faults)?;
    Ok((facts, faults))
}

/// Those that are not there are made at the next start.
fn secrets(view: &ReadTransaction, faults: &mut Faults) -> Result<(), StoreError> {
    for row in view.open_table(SECRETS)?.iter()? {
        let whole = row?.1.value().len() == 32;
        faults.expect(whole, "a key of the node is no key");
    }
    Ok(())
}

fn tokens(view: &ReadTransaction, faults: &mut Faults) -> Result<(), StoreError> {
    let (devices, expiries) = (view.open_table(DEVICES)?, view.open_table(EXPIRIES)?);
    let mut tokens = Vec::new();
    let what = "a refresh token does not read back";
    each::<_, RefreshRow>(view, REFRESH_TOKENS, what, faults, |id, row| {
        tokens.push((id.to_owned(), row));
    })?;
    let of_accounts: BTreeSet<_> = tokens
        .iter()
        .map(|(id, row)| (row.account.clone(), row.expiry, id.clone()))
        .collect();
    let listed = keys(view, ACCOUNT_TOKENS, |(account, expiry, id)| {
        (account.to_owned(), expiry, id.to_owned())
    })?;
    let what = "a line about an account's refresh token stands for none";
    faults.expect(listed.is_subset(&of_accounts), what);
    for (id, row) in tokens {
        let expires = expiries.get((row.expiry, id.as_str()))?.is_some();
        faults.expect(expires, "a refresh token does not expire");
        if let Some(device) = &row.device {
            let revocable = devices.get((device.as_str(), id.as_str()))?.is_some();
            faults.expect(revocable, "a refresh token cannot be revoked");
        }
    }
    Ok(())
}

/// Versions count from zero, without a gap, and their bytes are counted; what is deleted is not there.
fn did_documents(view: &ReadTransaction, faults: &mut Faults) -> Result<(), StoreError> {
    let (mut did, mut next) = (String::new(), 0);
    let (mut bytes, mut of_all) = (BTreeMap::new(), 0);
    for row in view.open_table(DID_DOCUMENTS)?.iter()? {
        let (key, text) = row?;
        let (of, version) = key.value();
        if of != did {
            (did, next) = (of.to_owned(), 0);
        }
        faults.expect(version == next, "a version of a DID document is missing");
        next = version + 1;
        let length = text.value().len() as u64;
        *bytes.entry(of.to_owned()).or_default() += length;
        of_all += length;
        let readable = serde_json::from_str::<IgnoredAny>(text.value()).is_ok();
        faults.expect(readable, "a DID document is no JSON");
    }
    match view.open_table(DELETED_DIDS) {
        Ok(deleted) => {
            for row in deleted.iter()? {
                let is_gone = !bytes.contains_key(row?.0.value());
                faults.expect(is_gone, "a DID document that was deleted is there");
            }
        }
        // The next start makes it.
        Err(redb::TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    bytes.insert(String::new(), of_all);
    let mut counted = BTreeMap::new();
    for row in view.open_table(DID_DOCUMENT_BYTES)?.iter()? {
        let (did, bytes) = row?;
        counted.insert(did.value().to_owned(), bytes.value());
    }
    faults.expect(bytes == counted, "the number of bytes of DID documents");
    Ok(())
}

/// The keys of a table that has nothing else. One that is not there yet, the next start makes.
fn keys<K: Key + 'static, T: Ord>(
    view: &ReadTransaction,
    table: TableDefinition<'static, K, ()>,
    own: impl Fn(K::SelfType<'_>) -> T,
) -> Result<BTreeSet<T>, StoreError> {
    match view.open_table(table) {
        Ok(table) => table.iter()?.map(|row| Ok(own(row?.0.value()))).collect(),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(BTreeSet::new()),
        Err(error) => Err(error.into()),
    }
}

/// Reads every row of a table of JSON.
fn each<K: Key + 'static, T: DeserializeOwned>(
    view: &ReadTransaction,
    table: TableDefinition<'static, K, &'static [u8]>,
    what: &'static str,
    faults: &mut Faults,
    mut take: impl FnMut(K::SelfType<'_>, T),
) -> Result<(), StoreError> {
    for row in view.open_table(table)?.iter()? {
        let (key, row) = row?;
        match serde_json::from_slice(row.value()) {
            Ok(value) => take(key.value(), value),
            Err(_) => faults.add(what),
        }
    }
    Ok(())
}
