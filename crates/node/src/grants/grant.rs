//! A grant, what its owner sees of it, and what its tokens open.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use adyton_keys::context_session::{ContextSession, InvalidSession};
use adyton_oauth::client::{Client, VerifiedBy};
use adyton_oauth::jwk::Thumbprint;
use adyton_protocol::did::Did;
use adyton_protocol::scope::{Part, ScopeSet, Terms};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::life::GrantLife;
use super::rate::{Meter, RateLeft};
use super::sealed::{GrantKey, SealedSession};
use super::state::{MAX_BYTES_PER_TENANT, MAX_PER_TENANT};
use super::store::{MAX_LIFE, NeverBack};
use crate::authn::TenantId;

/// For whom a grant is.
#[derive(Debug, Clone)]
pub enum App {
    /// For whoever holds the token: its owner made it.
    Nobody,
    /// The same, with a DID that the owner wrote beside it.
    Named(Did),
    /// For a client whose identity was established.
    Client(Arc<Client>),
}

impl App {
    /// The client, where there is one.
    pub fn client(&self) -> Option<&Client> {
        match self {
            Self::Client(client) => Some(client),
            Self::Nobody | Self::Named(_) => None,
        }
    }
}

/// What an owner allowed an app.
#[derive(Debug)]
pub struct Grant {
    pub(super) id: Uuid,
    pub(super) tenant: TenantId,
    pub(super) terms: Terms,
    pub(super) app: App,
    /// The key that its tokens are bound to, from their first exchange on.
    pub(super) key: OnceLock<Thumbprint>,
    pub(super) created: SystemTime,
    pub(super) expires: SystemTime,
    /// Seconds since 1970; 0: never.
    pub(super) last_used: AtomicU64,
    pub(super) meter: Meter,
    pub(super) session: SealedSession,
    pub(super) revoked: CancellationToken,
    /// About what it takes in memory.
    pub(super) bytes: usize,
}

/// The token does not stand for a live grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// Never minted by this process, or forgotten since.
    #[error("the access token is not known to this node")]
    Unknown,
    /// What was kept before this process began is not here yet.
    #[error("the grants that were kept are still being read")]
    NotYet,
    /// Its time is over.
    #[error("the access token has expired")]
    Expired,
    /// The owner revoked it.
    #[error("the access token was revoked by its owner")]
    Revoked,
    /// Its terms do not allow so many requests.
    #[error("the grant was used more often than its terms allow")]
    TooOften(RateLeft),
}

/// A grant cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MintError {
    /// The life asked for is zero or longer than allowed.
    #[error("a token lives from 1 second to {} days", MAX_LIFE.as_secs() / 86400)]
    Life,
    /// The tenant has too many.
    #[error(
        "at most {MAX_PER_TENANT} grants, of at most {} MiB together, can be alive for one user; revoke some",
        MAX_BYTES_PER_TENANT >> 20
    )]
    TooMany,
    /// The node has too many.
    #[error("the node has no room for more grants")]
    Full,
}

/// A grant found by its token, alive at the time of the request. Holds the grant's key for the
/// length of the request.
pub struct LiveGrant {
    pub(super) grant: Arc<Grant>,
    /// What its token opens, where that is not all that was granted.
    pub(super) part: Option<Terms>,
    pub(super) seal: GrantKey,
    pub(super) clock: Arc<NeverBack>,
}

impl LiveGrant {
    /// Whose data.
    pub fn tenant(&self) -> &TenantId {
        &self.grant.tenant
    }

    /// Names the grant; not secret.
    pub fn id(&self) -> Uuid {
        self.grant.id
    }

    /// What is allowed to whoever has its token.
    pub fn terms(&self) -> &Terms {
        self.part.as_ref().unwrap_or(&self.grant.terms)
    }

    /// What is allowed, without how narrowly.
    pub fn scopes(&self) -> &ScopeSet {
        self.terms().scopes()
    }

    /// For whom.
    pub fn app(&self) -> &App {
        &self.grant.app
    }

    /// The key that its tokens are bound to.
    pub fn key(&self) -> Option<Thumbprint> {
        self.grant.key.get().copied()
    }

    /// The grant as its owner sees it, with no more than what its token opens.
    pub fn view(&self) -> GrantView {
        GrantView::of(&self.grant).with(self.part.clone())
    }

    /// How long it lives: for what goes on after the request. Holds no key.
    pub fn life(&self) -> GrantLife {
        let Grant {
            id,
            revoked,
            expires,
            ..
        } = &*self.grant;
        GrantLife::new(*id, revoked.clone(), *expires, Arc::clone(&self.clock))
    }

    /// Counts a use, against the rate and for the owner to see.
    pub(crate) fn count_use(&self) -> Result<Option<RateLeft>, GrantError> {
        let now = self.clock.now();
        let left = self.grant.meter.take(now).map_err(GrantError::TooOften)?;
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.grant.last_used.fetch_max(seconds, Ordering::Relaxed);
        Ok(left)
    }

    pub(crate) fn unseal_session(&self) -> Result<ContextSession, InvalidSession> {
        let session = self.grant.session.open(&self.seal)?;
        // Held against what was kept with it, which somebody else may have brought together.
        match TenantId::of(&session) == self.grant.tenant {
            true => Ok(session),
            false => Err(InvalidSession::Malformed),
        }
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
    /// What is allowed.
    pub terms: Terms,
    /// Canonical scopes.
    pub scopes: Vec<String>,
    /// For whom.
    pub app: App,
    /// Whether its tokens are bound to a key.
    pub bound: bool,
    /// That key.
    pub key: Option<Thumbprint>,
    /// When it was made.
    pub created: SystemTime,
    /// When it ends.
    pub expires: SystemTime,
    /// When it was last used; `None`: never.
    pub last_used: Option<SystemTime>,
}

impl GrantView {
    pub(super) fn of(grant: &Grant) -> Self {
        let last = grant.last_used.load(Ordering::Relaxed);
        Self {
            id: grant.id,
            terms: grant.terms.clone(),
            scopes: grant.terms.scopes().to_texts(),
            app: grant.app.clone(),
            bound: grant.key.get().is_some(),
            key: grant.key.get().copied(),
            created: grant.created,
            expires: grant.expires,
            last_used: (last > 0).then(|| UNIX_EPOCH + Duration::from_secs(last)),
        }
    }

    /// The same, of what a part opens.
    pub(super) fn only(self, part: Option<&Part>) -> Self {
        let terms = part.map(|part| self.terms.only(part));
        self.with(terms)
    }

    fn with(mut self, terms: Option<Terms>) -> Self {
        if let Some(terms) = terms {
            self.scopes = terms.scopes().to_texts();
            self.terms = terms;
        }
        self
    }

    /// How the app's identity is known, where it is.
    pub fn verified_by(&self) -> Option<VerifiedBy> {
        self.app.client().map(Client::verified_by)
    }
}
