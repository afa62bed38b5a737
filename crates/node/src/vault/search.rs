//! Searching what is in the vault: one datastore, several in one space, conversations.
//!
//! An index of words is built when it is first asked for, off the async threads, a slice at a time: whoever queries or
//! writes meanwhile waits for a slice at most.

use std::sync::Arc;

use super::error::VaultError;
use super::loaded::LoadedDatabase;
use super::receipt::Receipt;
use super::vault::Vault;
use crate::authn::TenantId;
use crate::authz::{Permit, Read};
use crate::memory::{
    Findings, QueryError, Reservation, Search, Searched, Thread, View, search, search_threads,
};
use crate::receipts::Act;

/// How often an index is built that was dropped for want of room before it could be asked.
const BUILDS: usize = 3;

/// The databases of a search, each once, and the views through which they are seen.
struct Opened {
    tenant: TenantId,
    databases: Vec<Arc<LoadedDatabase>>,
    /// Which database, and what of it.
    views: Vec<(usize, View)>,
}

impl Vault {
    /// Searches the records of these permits, each of one schema, in one space.
    pub async fn search(
        &self,
        permits: &[Permit<Read>],
        asked: Search,
    ) -> Result<Findings, VaultError> {
        let (opened, mut receipts) = self.open(permits, &asked.typed).await?;
        let answer = self.answer(opened, move |targets| search(targets, &asked));
        let found = answer.await?;
        for (kind, receipt) in receipts.iter_mut().enumerate() {
            let of_kind = found.items.iter().filter(|item| item.kind == kind);
            receipt.shows(of_kind.count());
        }
        Ok(found)
    }

    /// Searches messages and shows each that is found among those before and after it in its conversation.
    pub async fn search_threads(
        &self,
        permit: &Permit<Read>,
        asked: Search,
        size: usize,
        merge: bool,
    ) -> Result<(Vec<Thread>, Reservation), VaultError> {
        let permits = std::slice::from_ref(permit);
        let (opened, mut receipts) = self.open(permits, &asked.typed).await?;
        let answer = self.answer(opened, move |targets| match targets.first() {
            Some(messages) => search_threads(*messages, &asked, size, merge),
            None => Ok(None),
        });
        let (threads, counted) = answer.await?;
        for receipt in &mut receipts {
            receipt.shows(threads.iter().map(|thread| thread.messages.len()).sum());
        }
        Ok((threads, counted))
    }

    /// The databases of these permits, and a receipt for each permit.
    async fn open<'v>(
        &'v self,
        permits: &'v [Permit<Read>],
        typed: &str,
    ) -> Result<(Opened, Vec<Receipt<'v>>), VaultError> {
        let tenant = permits.first().ok_or(VaultError::NotFound)?.tenant();
        let mut opened = Opened {
            tenant: tenant.clone(),
            databases: Vec::new(),
            views: Vec::new(),
        };
        let mut receipts = Vec::new();
        for permit in permits {
            // Nobody has permits of two tenants; if somebody had, nothing would be mixed.
            if permit.tenant() != tenant {
                return Err(VaultError::NotFound);
            }
            let (database, receipt) = self.begin(permit, Act::Search(typed)).await?;
            receipts.push(receipt);
            let known = opened
                .databases
                .iter()
                .position(|other| Arc::ptr_eq(other, &database));
            let at = known.unwrap_or(opened.databases.len());
            if known.is_none() {
                opened.databases.push(database);
            }
            opened.views.push((at, permit.view().clone()));
        }
        Ok((opened, receipts))
    }

    async fn answer<T: Send + 'static>(
        &self,
        opened: Opened,
        ask: impl Fn(&[Searched<'_>]) -> Result<Option<T>, QueryError> + Send + 'static,
    ) -> Result<T, VaultError> {
        let first = opened.databases.first().ok_or(VaultError::NotFound)?;
        let first = Arc::clone(first);
        let is_quick = opened.is_quick();
        let tenant = opened.tenant.clone();
        self.compute(&tenant, first, is_quick, move |_| opened.answer(&ask))
            .await
    }
}

impl Opened {
    /// Whether little is asked of little that is ready.
    fn is_quick(&self) -> bool {
        self.views.iter().all(|(at, view)| {
            let documents = self
                .databases
                .get(*at)
                .and_then(|database| database.try_documents());
            documents.is_some_and(|documents| {
                documents.is_small()
                    && view
                        .schema()
                        .is_some_and(|schema| documents.has_words(schema))
            })
        })
    }

    fn answer<T>(
        &self,
        ask: &impl Fn(&[Searched<'_>]) -> Result<Option<T>, QueryError>,
    ) -> Result<T, VaultError> {
        for _ in 0..BUILDS {
            for (at, view) in &self.views {
                let (Some(database), Some(schema)) = (self.databases.get(*at), view.schema())
                else {
                    return Err(VaultError::NotFound);
                };
                // Between two slices whoever waits for the records has them.
                while !database.documents().read_words(schema)? {}
            }
            let records: Vec<_> = self
                .databases
                .iter()
                .map(|database| database.documents())
                .collect();
            let targets: Vec<Searched<'_>> = self
                .views
                .iter()
                .filter_map(|(at, view)| {
                    let documents = records.get(*at)?;
                    Some(Searched { documents, view })
                })
                .collect();
            if let Some(found) = ask(&targets)? {
                return Ok(found);
            }
        }
        Err(VaultError::Overloaded)
    }
}
