//! Which of the node's rows are to be forgotten first: the oldest token of an account, the account that nobody used for longest, the
//! other nodes whose admission has ended.
//!
//! Guarantees: no write walks all rows to make room, and none forgets what still counts. What these tables hold follows from others:
//! where they lack something (a program before them wrote the file), [`complete`] adds it.

use redb::{ReadableTable, ReadableTableMetadata, Table, TableDefinition, WriteTransaction};

use super::StoreError;
use super::node::{
    ACCOUNTS, Account, OWNED, PEER_CONTEXTS, PEER_KIN, REFRESH_TOKENS, RefreshRow, from_json,
    remove_token, to_json,
};
use crate::peers::PeerRow;

/// (account, when a token ends, token) → nothing: the tokens of an account, the oldest first.
pub(super) const ACCOUNT_TOKENS: TableDefinition<'_, (&str, u64, &str), ()> =
    TableDefinition::new("account_tokens");
/// (last use, account) → nothing: the accounts without a database, the one first that nobody used for longest.
pub(super) const UNOWNING: TableDefinition<'_, (u64, &str), ()> =
    TableDefinition::new("accounts_without_databases");
/// (until when, account, name of another node) → nothing.
pub(super) const PEER_EXPIRIES: TableDefinition<'_, (u64, &str, &str), ()> =
    TableDefinition::new("peer_context_expiries");
/// (until when, kin of contexts, name of another node) → nothing.
pub(super) const PEER_KIN_EXPIRIES: TableDefinition<'_, (u64, &str, &str), ()> =
    TableDefinition::new("peer_kin_expiries");

/// Seconds after its last use from which on an account without a database makes room for others. Longer than any access token lives.
pub(super) const IDLE_SECONDS: u64 = 24 * 60 * 60;
/// Rows that one write forgets at most.
const FORGET_AT_ONCE: usize = 64;

type Rows<'t> = Table<'t, (&'static str, &'static str), &'static [u8]>;

/// Makes the tables, and adds what they lack.
pub(super) fn complete(transaction: &WriteTransaction) -> Result<(), StoreError> {
    {
        let tokens = transaction.open_table(REFRESH_TOKENS)?;
        let mut of_accounts = transaction.open_table(ACCOUNT_TOKENS)?;
        if tokens.len()? != of_accounts.len()? {
            for row in tokens.iter()? {
                let (id, row) = row?;
                let row: RefreshRow = from_json(row.value())?;
                of_accounts.insert((row.account.as_str(), row.expiry, id.value()), ())?;
            }
        }
    }
    {
        let owned = transaction.open_table(OWNED)?;
        let mut unowning = transaction.open_table(UNOWNING)?;
        for row in transaction.open_table(ACCOUNTS)?.iter()? {
            let (name, row) = row?;
            if !owns(&owned, name.value())? {
                let account: Account = from_json(row.value())?;
                unowning.insert((account.used, name.value()), ())?;
            }
        }
    }
    for (rows, expiries) in [
        (PEER_CONTEXTS, PEER_EXPIRIES),
        (PEER_KIN, PEER_KIN_EXPIRIES),
    ] {
        let rows = transaction.open_table(rows)?;
        let mut expiries = transaction.open_table(expiries)?;
        if rows.len()? != expiries.len()? {
            for row in rows.iter()? {
                let (key, row) = row?;
                let row: PeerRow = from_json(row.value())?;
                let (first, name) = key.value();
                expiries.insert((row.until, first, name), ())?;
            }
        }
    }
    Ok(())
}

/// Ends the oldest tokens of an account that has more than `most`.
pub(super) fn end_oldest_tokens(
    transaction: &WriteTransaction,
    account: &str,
    most: usize,
) -> Result<(), StoreError> {
    let ids = tokens_of(transaction, account)?;
    let surplus = ids.len().saturating_sub(most).min(FORGET_AT_ONCE);
    for id in ids.iter().take(surplus) {
        remove_token(transaction, id)?;
    }
    Ok(())
}

fn tokens_of(transaction: &WriteTransaction, account: &str) -> Result<Vec<String>, StoreError> {
    let table = transaction.open_table(ACCOUNT_TOKENS)?;
    let rows = table.range((account, 0, "")..)?;
    let mut ids = Vec::new();
    for row in rows {
        let key = row?.0;
        let (of, _, id) = key.value();
        if of != account {
            break;
        }
        ids.push(id.to_owned());
    }
    Ok(ids)
}

/// Somebody used an account at this moment.
pub(super) fn used(transaction: &WriteTransaction, name: &str, now: u64) -> Result<(), StoreError> {
    let mut accounts = transaction.open_table(ACCOUNTS)?;
    let held = accounts.get(name)?.map(|row| from_json(row.value()));
    let Some(mut account) = held.transpose()? as Option<Account> else {
        return Ok(());
    };
    let before = std::mem::replace(&mut account.used, now);
    accounts.insert(name, to_json(&account)?.as_slice())?;
    let mut unowning = transaction.open_table(UNOWNING)?;
    unowning.remove((before, name))?;
    if !owns(&transaction.open_table(OWNED)?, name)? {
        unowning.insert((now, name), ())?;
    }
    Ok(())
}

/// An account got its first database, or lost its last one.
pub(super) fn databases_changed(
    transaction: &WriteTransaction,
    name: &str,
) -> Result<(), StoreError> {
    let accounts = transaction.open_table(ACCOUNTS)?;
    let held = accounts.get(name)?.map(|row| from_json(row.value()));
    let Some(account) = held.transpose()? as Option<Account> else {
        return Ok(());
    };
    let mut unowning = transaction.open_table(UNOWNING)?;
    match owns(&transaction.open_table(OWNED)?, name)? {
        true => unowning.remove((account.used, name))?,
        false => unowning.insert((account.used, name), ())?,
    };
    Ok(())
}

/// Whether there is room for one more account; those without a database that nobody used for long make it, and their tokens end.
pub(super) fn has_room_for_account(
    transaction: &WriteTransaction,
    now: u64,
    max: u64,
) -> Result<bool, StoreError> {
    if transaction.open_table(ACCOUNTS)?.len()? < max {
        return Ok(true);
    }
    let candidates: Vec<(u64, String)> = {
        let unowning = transaction.open_table(UNOWNING)?;
        let idle = (0, "")..=(now.saturating_sub(IDLE_SECONDS), "\u{10ffff}");
        let rows = unowning.range(idle)?.take(FORGET_AT_ONCE);
        rows.map(|row| {
            let key = row?.0;
            let (used, name) = key.value();
            Ok((used, name.to_owned()))
        })
        .collect::<Result<_, StoreError>>()?
    };
    for (last, name) in candidates {
        if last == 0 {
            // From a program that noted no use: its time begins now.
            used(transaction, &name, now)?;
            continue;
        }
        let mut accounts = transaction.open_table(ACCOUNTS)?;
        let held = accounts.get(name.as_str())?;
        let held = held.map(|row| from_json(row.value())).transpose()?;
        transaction
            .open_table(UNOWNING)?
            .remove((last, name.as_str()))?;
        let stays = held.is_none_or(|account: Account| account.used != last)
            || owns(&transaction.open_table(OWNED)?, &name)?;
        if stays {
            continue;
        }
        accounts.remove(name.as_str())?;
        for id in tokens_of(transaction, &name)? {
            remove_token(transaction, &id)?;
        }
        if accounts.len()? < max {
            return Ok(true);
        }
    }
    Ok(false)
}

fn owns(
    owned: &impl ReadableTable<(&'static str, &'static str), ()>,
    account: &str,
) -> Result<bool, StoreError> {
    match owned.range((account, "")..)?.next().transpose()? {
        Some((key, _)) => Ok(key.value().0 == account),
        None => Ok(false),
    }
}

/// The rows of other nodes in one table, with when they end.
pub(super) struct Admissions<'t> {
    rows: Rows<'t>,
    expiries: Table<'t, (u64, &'static str, &'static str), ()>,
}

impl<'t> Admissions<'t> {
    /// Into contexts.
    pub(super) fn contexts(transaction: &'t WriteTransaction) -> Result<Self, StoreError> {
        Ok(Self {
            rows: transaction.open_table(PEER_CONTEXTS)?,
            expiries: transaction.open_table(PEER_EXPIRIES)?,
        })
    }

    /// Into contexts that are kin.
    pub(super) fn kindred(transaction: &'t WriteTransaction) -> Result<Self, StoreError> {
        Ok(Self {
            rows: transaction.open_table(PEER_KIN)?,
            expiries: transaction.open_table(PEER_KIN_EXPIRIES)?,
        })
    }

    pub(super) fn row(&self, key: (&str, &str)) -> Result<Option<PeerRow>, StoreError> {
        let row = self.rows.get(key)?;
        row.map(|row| from_json(row.value())).transpose()
    }

    pub(super) fn put(&mut self, key: (&str, &str), row: &PeerRow) -> Result<(), StoreError> {
        self.remove(key)?;
        self.rows.insert(key, to_json(row)?.as_slice())?;
        self.expiries.insert((row.until, key.0, key.1), ())?;
        Ok(())
    }

    /// The names of the other nodes in these rows.
    pub(super) fn names(&self, first: &str) -> Result<Vec<String>, StoreError> {
        let mut names = Vec::new();
        for row in self.rows.range((first, "")..)? {
            let key = row?.0;
            let (of, name) = key.value();
            if of != first {
                break;
            }
            names.push(name.to_owned());
        }
        Ok(names)
    }

    pub(super) fn remove(&mut self, key: (&str, &str)) -> Result<(), StoreError> {
        if let Some(row) = self.row(key)? {
            self.rows.remove(key)?;
            self.expiries.remove((row.until, key.0, key.1))?;
        }
        Ok(())
    }

    /// Whether one more fits; some of those that have ended make room.
    pub(super) fn has_room(&mut self, now: u64, max: u64) -> Result<bool, StoreError> {
        if self.rows.len()? < max {
            return Ok(true);
        }
        let ended: Vec<(u64, String, String)> = {
            let rows = self.expiries.range(..(now.saturating_add(1), "", ""))?;
            rows.take(FORGET_AT_ONCE)
                .map(|row| {
                    let key = row?.0;
                    let (until, first, name) = key.value();
                    Ok((until, first.to_owned(), name.to_owned()))
                })
                .collect::<Result<_, StoreError>>()?
        };
        for (until, first, name) in ended {
            let key = (first.as_str(), name.as_str());
            self.expiries.remove((until, key.0, key.1))?;
            if self.row(key)?.is_some_and(|row| row.until == until) {
                self.rows.remove(key)?;
            }
        }
        Ok(self.rows.len()? < max)
    }
}
