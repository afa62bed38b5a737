//! The grants that are alive, in memory.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use adyton_client::clock::Clock;
use adyton_keys::context_session::{ContextSession, InvalidSession};
use adyton_keys::sealed_box::SealedBox;
use adyton_protocol::did::Did;
use adyton_protocol::scope::ScopeSet;
use rand_core::{OsRng, TryRngCore};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::token::{TokenHash, TokenSecret};
use crate::authn::TenantId;
use crate::authz::Owner;

/// Most live grants of one tenant.
const MAX_PER_TENANT: usize = 256;
/// Most grants of the node, the ended ones that are still remembered included.
const MAX_TOTAL: usize = 100_000;
/// Life of a token when the owner does not say.
const DEFAULT_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Longest life of a token.
const MAX_LIFE: Duration = Duration::from_secs(366 * 24 * 3600);

/// What an owner allowed an app.
#[derive(Debug)]
pub struct Grant {
    id: Uuid,
    tenant: TenantId,
    scopes: ScopeSet,
    app: Option<Did>,
    created: SystemTime,
    expires: SystemTime,
    sealed_session: String,
}

/// The token does not stand for a live grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// Never minted by this process, or forgotten since.
    #[error("the access token is not known to this node")]
    Unknown,
    /// Its time is over.
    #[error("the access token has expired")]
    Expired,
    /// The owner revoked it.
    #[error("the access token was revoked by its owner")]
    Revoked,
}

/// A grant cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MintError {
    /// The life asked for is zero or longer than allowed.
    #[error("a token lives from 1 second to {} days", MAX_LIFE.as_secs() / 86400)]
    Life,
    /// The tenant has too many.
    #[error("at most {MAX_PER_TENANT} access tokens can be alive for one user; revoke some")]
    TooMany,
    /// The node has too many.
    #[error("the node has no room for more access tokens")]
    Full,
}

/// A grant found by its token, alive at the time of the request. Holds the token's sealing key for the
/// length of the request.
pub struct LiveGrant {
    grant: Arc<Grant>,
    seal: SealedBox,
}

impl LiveGrant {
    /// Whose data.
    pub fn tenant(&self) -> &TenantId {
        &self.grant.tenant
    }

    /// What is allowed.
    pub fn scopes(&self) -> &ScopeSet {
        &self.grant.scopes
    }

    /// The grant as its owner sees it.
    pub fn view(&self) -> GrantView {
        GrantView::of(&self.grant)
    }

    pub(crate) fn unseal_session(&self) -> Result<ContextSession, InvalidSession> {
        let json = self
            .seal
            .open_bytes(&self.grant.sealed_session)
            .map_err(|_| InvalidSession::Malformed)?;
        ContextSession::parse_json(&json)
    }
}

impl fmt::Debug for LiveGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LiveGrant(..)")
    }
}

/// What an owner is shown of a grant.
#[derive(Debug, Clone)]
pub struct GrantView {
    /// Names the grant; not secret.
    pub id: Uuid,
    /// Canonical scopes.
    pub scopes: Vec<String>,
    /// The app, if the owner named one.
    pub app: Option<Did>,
    /// When it was made.
    pub created: SystemTime,
    /// When it ends.
    pub expires: SystemTime,
}

impl GrantView {
    fn of(grant: &Grant) -> Self {
        Self {
            id: grant.id,
            scopes: grant.scopes.to_texts(),
            app: grant.app.clone(),
            created: grant.created,
            expires: grant.expires,
        }
    }
}

/// A new token and what it stands for. The token is shown once.
#[derive(Debug)]
pub struct Minted {
    /// The token's text.
    pub token: Zeroizing<String>,
    /// What it stands for.
    pub grant: GrantView,
}

enum Entry {
    Live(Arc<Grant>),
    /// Remembered until it would have expired, so that its holder is told why.
    Revoked {
        until: SystemTime,
    },
}

/// All grants of this node.
pub struct Grants {
    entries: RwLock<HashMap<TokenHash, Entry>>,
    clock: Clock,
}

impl Grants {
    /// No grants.
    pub fn new(clock: Clock) -> Self {
        Self {
            entries: RwLock::default(),
            clock,
        }
    }

    /// Makes a grant and its token.
    pub fn mint(
        &self,
        owner: &Owner<'_>,
        scopes: ScopeSet,
        app: Option<Did>,
        life: Option<Duration>,
    ) -> Result<Minted, MintError> {
        let life = life.unwrap_or(DEFAULT_LIFE);
        if life < Duration::from_secs(1) || life > MAX_LIFE {
            return Err(MintError::Life);
        }
        let (secret, now) = (TokenSecret::generate(), self.clock.now());
        let seal = SealedBox::of_key(secret.sealing_key());
        let grant = Arc::new(Grant {
            id: Uuid::new_v4(),
            tenant: owner.tenant().clone(),
            scopes,
            app,
            created: now,
            expires: now + life,
            sealed_session: seal
                .seal_bytes(&owner.session().expose_json(), &mut OsRng.unwrap_err()),
        });
        let view = GrantView::of(&grant);
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|_, entry| match entry {
            Entry::Live(grant) => grant.expires > now,
            Entry::Revoked { until } => *until > now,
        });
        if entries.len() >= MAX_TOTAL {
            return Err(MintError::Full);
        }
        if live_of(&entries, owner.tenant()).count() >= MAX_PER_TENANT {
            return Err(MintError::TooMany);
        }
        entries.insert(secret.hash(), Entry::Live(grant));
        Ok(Minted {
            token: secret.expose(),
            grant: view,
        })
    }

    /// The live grant behind a token.
    pub fn find(&self, token: &TokenSecret) -> Result<LiveGrant, GrantError> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        match entries.get(&token.hash()) {
            None => Err(GrantError::Unknown),
            Some(Entry::Revoked { .. }) => Err(GrantError::Revoked),
            Some(Entry::Live(grant)) if grant.expires <= self.clock.now() => {
                Err(GrantError::Expired)
            }
            Some(Entry::Live(grant)) => Ok(LiveGrant {
                grant: Arc::clone(grant),
                seal: SealedBox::of_key(token.sealing_key()),
            }),
        }
    }

    /// The live grants of the owner, newest first.
    pub fn list(&self, owner: &Owner<'_>) -> Vec<GrantView> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        let mut views: Vec<_> = live_of(&entries, owner.tenant())
            .filter(|(_, grant)| grant.expires > now)
            .map(|(_, grant)| GrantView::of(grant))
            .collect();
        views.sort_by_key(|view| std::cmp::Reverse(view.created));
        views
    }

    /// Ends a grant of the owner at once. `None` when the owner has no such grant; whether somebody else
    /// has one cannot be told.
    pub fn revoke(&self, owner: &Owner<'_>, id: Uuid) -> Option<GrantView> {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let (hash, view) = live_of(&entries, owner.tenant())
            .find(|(_, grant)| grant.id == id)
            .map(|(hash, grant)| (*hash, GrantView::of(grant)))?;
        entries.insert(
            hash,
            Entry::Revoked {
                until: view.expires,
            },
        );
        Some(view)
    }
}

fn live_of<'e>(
    entries: &'e HashMap<TokenHash, Entry>,
    tenant: &'e TenantId,
) -> impl Iterator<Item = (&'e TokenHash, &'e Arc<Grant>)> {
    entries.iter().filter_map(move |(hash, entry)| match entry {
        Entry::Live(grant) if grant.tenant == *tenant => Some((hash, grant)),
        Entry::Live(_) | Entry::Revoked { .. } => None,
    })
}

impl fmt::Debug for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Grants")
    }
}
