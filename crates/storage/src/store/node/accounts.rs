//! Accounts, and what lets somebody act as one: refresh tokens, devices, challenges that were answered.

use redb::{ReadableTable, ReadableTableMetadata, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::{
    ACCOUNTS, DEVICES, EXPIRIES, NodeStore, REFRESH_TOKENS, USED_REQUESTS, from_json, second_keys,
    to_json,
};
use crate::store::StoreError;
use crate::store::node_indexes::{self, ACCOUNT_TOKENS, end_oldest_tokens, has_room_for_account};

/// The use of an account is noted by who uses it about so often.
const USE_NOTED_SECONDS: u64 = 60 * 60;

/// Expired rows removed by one login at most.
const FORGET_PER_LOGIN: usize = 64;

/// A user of this node: one DID in one context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Account {
    pub(crate) did: String,
    pub(crate) context_name: String,
    pub(crate) storage_limit: u64,
    /// Unix seconds of its last use; none is known from before it was noted.
    #[serde(default)]
    pub(crate) used: u64,
}

/// A refresh token that counts until it expires or is revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefreshRow {
    pub(crate) account: String,
    pub(crate) device: Option<String>,
    pub(crate) expiry: u64,
    /// Whose signature it was made for: an address in lower case. None is known from before it was kept.
    #[serde(default)]
    pub(crate) signer: Option<String>,
}

/// What a login writes.
#[derive(Debug)]
pub(crate) struct Login {
    pub(crate) account_name: String,
    pub(crate) account: Account,
    pub(crate) request_id: String,
    pub(crate) request_expiry: u64,
    pub(crate) token_id: String,
    pub(crate) token: RefreshRow,
    pub(crate) max_accounts: u64,
    /// Tokens that the account may have; with one more, the oldest ends.
    pub(crate) max_tokens: usize,
    pub(crate) now: u64,
}

/// What became of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoginOutcome {
    Done,
    /// The challenge was answered before.
    Replayed,
    /// The node has as many accounts as it takes.
    Full,
}

impl NodeStore {
    // Logins and tokens

    pub(crate) async fn log_in(&self, login: Login) -> Result<LoginOutcome, StoreError> {
        self.committer
            .write(move |transaction| {
                forget_expired(transaction, login.now)?;
                let mut used = transaction.open_table(USED_REQUESTS)?;
                if used.get(login.request_id.as_str())?.is_some() {
                    return Ok(LoginOutcome::Replayed);
                }
                let name = login.account_name.as_str();
                let is_known = transaction.open_table(ACCOUNTS)?.get(name)?.is_some();
                if !is_known {
                    if !has_room_for_account(transaction, login.now, login.max_accounts)? {
                        return Ok(LoginOutcome::Full);
                    }
                    let account = to_json(&login.account)?;
                    let mut accounts = transaction.open_table(ACCOUNTS)?;
                    accounts.insert(name, account.as_slice())?;
                }
                node_indexes::used(transaction, name, login.now)?;
                used.insert(login.request_id.as_str(), login.request_expiry)?;
                transaction
                    .open_table(EXPIRIES)?
                    .insert((login.request_expiry, login.request_id.as_str()), ())?;
                insert_token(transaction, &login.token_id, &login.token)?;
                end_oldest_tokens(transaction, name, login.max_tokens)?;
                Ok(LoginOutcome::Done)
            })
            .await
    }

    /// Notes that a challenge was answered. False when it was before.
    pub(crate) async fn use_request(
        &self,
        id: String,
        expiry: u64,
        now: u64,
    ) -> Result<bool, StoreError> {
        self.committer
            .write(move |transaction| {
                forget_expired(transaction, now)?;
                let mut used = transaction.open_table(USED_REQUESTS)?;
                if used.insert(id.as_str(), expiry)?.is_some() {
                    return Ok(false);
                }
                let mut expiries = transaction.open_table(EXPIRIES)?;
                expiries.insert((expiry, id.as_str()), ())?;
                Ok(true)
            })
            .await
    }

    pub(crate) async fn refresh_token(&self, id: String) -> Result<Option<RefreshRow>, StoreError> {
        self.committer
            .view(move |view| {
                view.open_table(REFRESH_TOKENS)?
                    .get(id.as_str())?
                    .map(|row| from_json(row.value()))
                    .transpose()
            })
            .await
    }

    /// Ends a refresh token, if it is there.
    pub(crate) async fn end_token(&self, id: String) -> Result<(), StoreError> {
        self.committer
            .write(move |transaction| remove_token(transaction, &id).map(drop))
            .await
    }

    /// Replaces a refresh token by another. False when the old one is not there any more.
    pub(crate) async fn replace_token(
        &self,
        old: String,
        new: String,
        row: RefreshRow,
    ) -> Result<bool, StoreError> {
        self.committer
            .write(move |transaction| {
                if !remove_token(transaction, &old)? {
                    return Ok(false);
                }
                insert_token(transaction, &new, &row)?;
                Ok(true)
            })
            .await
    }

    /// Revokes every refresh token of a device, and says how many there were.
    pub(crate) async fn revoke_device(&self, device: String) -> Result<usize, StoreError> {
        self.committer
            .write(move |transaction| {
                let ids = {
                    let devices = transaction.open_table(DEVICES)?;
                    second_keys(&devices, &device)?
                };
                for id in &ids {
                    remove_token(transaction, id)?;
                }
                Ok(ids.len())
            })
            .await
    }

    /// Notes that an account is in use, if that was not noted lately.
    pub(crate) async fn use_account(&self, name: String, now: u64) -> Result<(), StoreError> {
        let noted = self.account(name.clone()).await?;
        if noted.is_none_or(|account| now.saturating_sub(account.used) < USE_NOTED_SECONDS) {
            return Ok(());
        }
        self.committer
            .write(move |transaction| node_indexes::used(transaction, &name, now))
            .await
    }

    pub(crate) async fn account(&self, name: String) -> Result<Option<Account>, StoreError> {
        self.committer
            .view(move |view| {
                view.open_table(ACCOUNTS)?
                    .get(name.as_str())?
                    .map(|row| from_json(row.value()))
                    .transpose()
            })
            .await
    }

    pub(crate) async fn account_count(&self) -> Result<u64, StoreError> {
        self.committer
            .view(|view| Ok(view.open_table(ACCOUNTS)?.len()?))
            .await
    }
}

fn insert_token(
    transaction: &WriteTransaction,
    id: &str,
    row: &RefreshRow,
) -> Result<(), StoreError> {
    let json = to_json(row)?;
    transaction
        .open_table(REFRESH_TOKENS)?
        .insert(id, json.as_slice())?;
    transaction
        .open_table(EXPIRIES)?
        .insert((row.expiry, id), ())?;
    transaction
        .open_table(ACCOUNT_TOKENS)?
        .insert((row.account.as_str(), row.expiry, id), ())?;
    if let Some(device) = &row.device {
        transaction
            .open_table(DEVICES)?
            .insert((device.as_str(), id), ())?;
    }
    Ok(())
}

pub(in crate::store) fn remove_token(
    transaction: &WriteTransaction,
    id: &str,
) -> Result<bool, StoreError> {
    let removed: Option<RefreshRow> = transaction
        .open_table(REFRESH_TOKENS)?
        .remove(id)?
        .map(|row| from_json(row.value()))
        .transpose()?;
    let Some(row) = removed else {
        return Ok(false);
    };
    transaction.open_table(EXPIRIES)?.remove((row.expiry, id))?;
    transaction
        .open_table(ACCOUNT_TOKENS)?
        .remove((row.account.as_str(), row.expiry, id))?;
    if let Some(device) = &row.device {
        transaction
            .open_table(DEVICES)?
            .remove((device.as_str(), id))?;
    }
    Ok(true)
}

/// Forgets some of what has expired: challenges that were answered, and refresh tokens.
fn forget_expired(transaction: &WriteTransaction, now: u64) -> Result<(), StoreError> {
    let expired: Vec<(u64, String)> = {
        let expiries = transaction.open_table(EXPIRIES)?;
        let rows = expiries.range((0, "")..(now, ""))?.take(FORGET_PER_LOGIN);
        rows.map(|row| {
            let key = row?.0;
            let (expiry, id) = key.value();
            Ok((expiry, id.to_owned()))
        })
        .collect::<Result<_, StoreError>>()?
    };
    for (expiry, id) in expired {
        remove_token(transaction, &id)?;
        transaction.open_table(USED_REQUESTS)?.remove(id.as_str())?;
        transaction
            .open_table(EXPIRIES)?
            .remove((expiry, id.as_str()))?;
    }
    Ok(())
}
