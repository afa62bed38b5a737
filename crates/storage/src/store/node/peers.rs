//! Other nodes that may replicate contexts, and the accounts that are replicated to others.

use std::collections::HashSet;

use redb::ReadableTable;

use super::{NodeStore, PEER_CONTEXTS, REPLICATED, from_json};
use crate::peers::{Candidate, PasswordHash, PeerRow};
use crate::store::StoreError;
use crate::store::node_indexes::Admissions;

/// What became of another node's credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PeerOutcome {
    /// It is let in, with this password.
    Admitted(PeerChange, PasswordHash),
    /// None is known that counts, and none came.
    NoPassword,
    /// The node has let others in as often as it does.
    Full,
}

/// What is new about another node that is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PeerChange {
    /// It was unknown in this context.
    Created,
    /// Its password or its contexts changed.
    Updated,
    /// Nothing but the time.
    Exists,
}

impl PeerChange {
    /// The original's word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Exists => "exists",
        }
    }
}

impl NodeStore {
    // Other nodes

    /// Every password that opens a context, with its node's name.
    pub(crate) async fn peer_passwords(
        &self,
    ) -> Result<HashSet<(String, PasswordHash)>, StoreError> {
        self.committer
            .view(|view| {
                let table = view.open_table(PEER_CONTEXTS)?;
                let rows = table.iter()?.map(|row| {
                    let (key, row) = row?;
                    let row: PeerRow = from_json(row.value())?;
                    Ok((key.value().1.to_owned(), row.password))
                });
                rows.collect()
            })
            .await
    }

    /// Lets a node into an account's context.
    pub(crate) async fn put_peer(
        &self,
        candidate: Candidate,
        now: u64,
        until: u64,
        max: u64,
    ) -> Result<PeerOutcome, StoreError> {
        self.committer
            .write(move |transaction| {
                let Candidate {
                    name,
                    password: given,
                    account,
                    kin,
                } = candidate;
                let mut contexts = Admissions::contexts(transaction)?;
                let mut kindred = Admissions::kindred(transaction)?;
                let (context, kin) = (
                    (account.as_str(), name.as_str()),
                    (kin.as_str(), name.as_str()),
                );
                let known = kindred.row(kin)?.map(|row| row.password);
                let Some(password) = given.or(known) else {
                    return Ok(PeerOutcome::NoPassword);
                };
                let held = contexts.row(context)?;
                let room = held.is_some() || contexts.has_room(now, max)?;
                if !room || !(known.is_some() || kindred.has_room(now, max)?) {
                    return Ok(PeerOutcome::Full);
                }
                let row = PeerRow { password, until };
                contexts.put(context, &row)?;
                kindred.put(kin, &row)?;
                let change = match held {
                    None if given.is_some() => PeerChange::Created,
                    Some(held) if held.password == password => PeerChange::Exists,
                    None | Some(_) => PeerChange::Updated,
                };
                Ok(PeerOutcome::Admitted(change, password))
            })
            .await
    }

    /// With which password, and until when, a node was let into an account's context.
    pub(crate) async fn peer(
        &self,
        name: String,
        account: String,
    ) -> Result<Option<PeerRow>, StoreError> {
        self.committer
            .view(move |view| {
                let contexts = view.open_table(PEER_CONTEXTS)?;
                peer_row(&contexts, (account.as_str(), name.as_str()))
            })
            .await
    }

    /// Lets no other node into an account's context any more.
    pub(crate) async fn remove_peers_of(&self, account: String) -> Result<(), StoreError> {
        self.committer
            .write(move |transaction| {
                let mut contexts = Admissions::contexts(transaction)?;
                for name in contexts.names(&account)? {
                    contexts.remove((account.as_str(), name.as_str()))?;
                }
                Ok(())
            })
            .await
    }

    /// Accounts whose context other nodes hold, too, as far as is known.
    pub(crate) async fn replicated(&self) -> Result<Vec<String>, StoreError> {
        self.committer
            .view(|view| {
                let table = view.open_table(REPLICATED)?;
                let rows = table.iter()?.map(|row| Ok(row?.0.value().to_owned()));
                rows.collect()
            })
            .await
    }

    /// Whether an account's context is on other nodes, too. Written only when it is news.
    pub(crate) async fn set_replicated(
        &self,
        account: String,
        replicated: bool,
    ) -> Result<(), StoreError> {
        let asked = account.clone();
        let known = self
            .committer
            .view(move |view| Ok(view.open_table(REPLICATED)?.get(asked.as_str())?.is_some()))
            .await?;
        if known == replicated {
            return Ok(());
        }
        self.committer
            .write(move |transaction| {
                let mut table = transaction.open_table(REPLICATED)?;
                match replicated {
                    true => table.insert(account.as_str(), ())?,
                    false => table.remove(account.as_str())?,
                };
                Ok(())
            })
            .await
    }
}

fn peer_row(
    table: &impl ReadableTable<(&'static str, &'static str), &'static [u8]>,
    key: (&str, &str),
) -> Result<Option<PeerRow>, StoreError> {
    table
        .get(key)?
        .map(|row| from_json(row.value()))
        .transpose()
}
