//! Whether the node's own file is whole: every row reads back, and rows that stand for each other are both there.

use std::collections::BTreeMap;
use std::path::Path;

use redb::{Key, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition};
use serde::de::{DeserializeOwned, IgnoredAny};

use super::StoreError;
use super::check::{Faults, verified};
use super::format::{self, META};
use super::node::{
    ACCOUNTS, Account, DATABASES, DEVICES, DID_DOCUMENT_BYTES, DID_DOCUMENTS, EXPIRIES, OWNED,
    PEER_CONTEXTS, PEER_KIN, REFRESH_TOKENS, REGISTRATIONS, RefreshRow, SECRETS,
};
use crate::directory::Registration;
use crate::peers::PeerRow;
use crate::registry::DatabaseRecord;

/// What the node's file says about the files beside it.
#[derive(Debug, Default)]
pub(crate) struct NodeFacts {
    /// The databases that must be there: hash → account.
    pub(crate) databases: BTreeMap<String, String>,
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
    each::<_, Account>(&view, ACCOUNTS, what, &mut faults, |name, account| {
        facts.limits.insert(name.to_owned(), account.storage_limit);
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
    tokens(&view, &mut faults)?;
    let what = "a registration does not read back";
    each::<_, Registration>(&view, REGISTRATIONS, what, &mut faults, |_, _| {})?;
    let what = "another node's row does not read back";
    each::<_, PeerRow>(&view, PEER_CONTEXTS, what, &mut faults, |_, _| {})?;
    each::<_, PeerRow>(&view, PEER_KIN, what, &mut faults, |_, _| {})?;
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

/// Versions count from zero, without a gap, and their bytes are counted.
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
    bytes.insert(String::new(), of_all);
    let mut counted = BTreeMap::new();
    for row in view.open_table(DID_DOCUMENT_BYTES)?.iter()? {
        let (did, bytes) = row?;
        counted.insert(did.value().to_owned(), bytes.value());
    }
    faults.expect(bytes == counted, "the number of bytes of DID documents");
    Ok(())
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
