//! The REST API under `/api/rest/v1`, and the health routes. Each handler names the permit, calls the
//! vault and shapes the answer; none holds a key.

mod about;
mod asked;
mod caller;
mod consent;
mod door;
mod event_stream;
mod export;
mod form_body;
mod gone;
mod grants;
mod health;
mod idempotency;
mod index;
mod json_body;
mod legacy_auth;
mod oauth;
mod oauth_tokens;
#[cfg(test)]
mod openapi;
mod pages;
mod path;
mod precondition;
mod prefer;
mod problem;
mod query_body;
mod record_stream;
mod records;
mod resolve_scopes;
mod routes;
mod schemas;
mod search;
mod search_body;
mod sessions;
mod throttle;
mod tickets;
mod tokens;
mod watch;
mod write_body;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use adyton_client::clock::Clock;
use adyton_client::did_resolver::RegistryResolver;
use adyton_client::schema::SchemaSet;
use adyton_protocol::scope::Terms;
use adyton_resolver::registry::Source;
use serde_json::Value;
use tokio::sync::Semaphore;

pub use problem::ApiProblem;
pub use routes::{Route, router, routes};

use self::idempotency::Keys;
use self::throttle::{Quota, Throttle};
use self::tickets::Tickets;
use crate::authn::{Origins, Possession, Principal};
use crate::authz::Owner;
use crate::client_documents::ClientDocuments;
use crate::config::{Config, DidRegistry};
use crate::grants::{Grants, Minted, NodeContext, PendingRequests};
use crate::memory::Budget;
use crate::vault::Vault;

/// Request bodies may take this part of what the vault may.
const BODIES_SHARE: usize = 4;
/// And at least what this many of the largest bodies' bytes take.
const LEAST_BODIES: usize = 5;

/// What the handlers share.
#[derive(Debug)]
pub struct Api {
    pub(crate) vault: Arc<Vault>,
    pub(crate) grants: Arc<Grants>,
    /// Requests of apps that wait for their users.
    pub(crate) pending: PendingRequests,
    /// By which names the node is called, and what was used once.
    pub(crate) possession: Possession,
    /// What apps publish about themselves.
    pub(crate) client_documents: ClientDocuments,
    pub(crate) schemas: Arc<SchemaSet>,
    /// Who says where the documents of DIDs lie, when the configuration names somebody.
    pub(crate) dids: Option<RegistryResolver>,
    tickets: Tickets,
    /// Covers the request bodies that are being read and worked on.
    pub(crate) bodies: Budget,
    /// Counts what each caller asks.
    pub(crate) throttle: Throttle,
    /// Requests that must not be done twice.
    pub(crate) keys: Arc<Keys>,
    /// A turn for each login that is carried to storage nodes.
    pub(crate) logins: Semaphore,
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    /// What a person should be told about the TEE, for `/info/status`.
    pub(crate) tee: String,
}

impl Api {
    /// The API over a vault.
    pub(crate) fn new(
        vault: Arc<Vault>,
        client_documents: ClientDocuments,
        schemas: Arc<SchemaSet>,
        config: Config,
        clock: Clock,
        tee: String,
        node_context: Option<NodeContext>,
    ) -> Arc<Self> {
        let grants = Arc::new(Grants::new(clock.clone()));
        if let Some(context) = node_context {
            grants.keep_in(context, Arc::clone(&schemas));
        }
        let pending = PendingRequests::new(clock.clone());
        let origins = Origins::new(config.oauth.origin.clone(), config.names.clone());
        let possession = Possession::new(origins, clock.clone());
        let room = (config.vault.node_bytes / BODIES_SHARE).max(config.body_bytes * LEAST_BODIES);
        let bodies = Budget::new(room);
        let throttle = Throttle::new(Quota {
            name: "caller",
            requests: config.requests_per_minute,
            span: Duration::from_secs(60),
        });
        let keys = Keys::new(clock.clone());
        let dids = config.dids.clone().map(|registry| {
            let source = match registry {
                DidRegistry::Chain(network, rpc) => Source::Chain(network.anchor(), rpc),
                DidRegistry::Directories(bases) => Source::Directories(bases),
            };
            RegistryResolver::new(source, vault.transport().clone(), &clock)
        });
        Arc::new(Self {
            dids,
            vault,
            grants,
            pending,
            possession,
            client_documents,
            schemas,
            tickets: Tickets::default(),
            bodies,
            throttle,
            keys,
            logins: Semaphore::new(sessions::LOGINS_AT_A_TIME),
            config,
            clock,
            tee,
        })
    }

    /// Reads terms for this user. Schemas of the user's own are looked up if the terms name any that is not published.
    pub(crate) async fn terms(
        &self,
        caller: &Arc<Principal>,
        terms: Value,
    ) -> Result<Terms, ApiProblem> {
        match Terms::from_value(terms.clone(), &*self.schemas) {
            Err(error) if error.is_unknown_schema() => {
                let own = self.vault.schemas(&caller.to_resolve()).await?;
                Ok(Terms::from_value(terms, &*own.set)?)
            }
            read => Ok(read?),
        }
    }

    /// Waits until a new token would outlive the process, where tokens do. Nobody is given one that is less than was promised.
    pub(crate) async fn kept(&self, owner: &Owner<'_>, minted: &Minted) -> Result<(), ApiProblem> {
        if let Err(not_kept) = self.grants.settled().await {
            self.grants.revoke(owner, minted.grant.id);
            return Err(not_kept.into());
        }
        Ok(())
    }
}
