//! The grants that are alive, in memory.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use adyton_client::clock::Clock;
use adyton_keys::context_session::{ContextSession, InvalidSession};
use adyton_keys::sealed_box::SealedBox;
use adyton_protocol::did::Did;
use adyton_protocol::scope::Terms;
use rand_core::{OsRng, TryRngCore};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::token::{TokenHash, TokenSecret};
use crate::authn::TenantId;
use crate::authz::Owner;

/// Most live grants of one tenant.
const MAX_PER_TENANT: usize = 256;
/// Most revoked grants of one tenant that are remembered: who revokes all day takes nobody's room.
const MAX_REVOKED_PER_TENANT: usize = 256;
/// Most grants of the node, the ended ones that are still remembered included.
const MAX_TOTAL: usize = 100_000;
/// Most bytes that the live grants of one tenant take: sessions and scopes have the length that callers give them.
const MAX_BYTES_PER_TENANT: usize = 4 << 20;
/// Most bytes that all live grants take.
const MAX_BYTES_TOTAL: usize = 256 << 20;
/// Life of a token when the owner does not say.
const DEFAULT_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Longest life of a token.
const MAX_LIFE: Duration = Duration::from_secs(366 * 24 * 3600);

/// What an owner allowed an app.
#[derive(Debug)]
pub struct Grant {
    id: Uuid,
    tenant: TenantId,
    terms: Terms,
    app: Option<Did>,
    created: SystemTime,
    expires: SystemTime,
    sealed_session: String,
    /// About what it takes in memory.
    bytes: usize,
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
    #[error(
        "at most {MAX_PER_TENANT} access tokens, of at most {} MiB together, can be alive for one user; revoke some",
        MAX_BYTES_PER_TENANT >> 20
    )]
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
    pub fn terms(&self) -> &Terms {
        &self.grant.terms
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
    /// What is allowed.
    pub terms: Terms,
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
            terms: grant.terms.clone(),
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
        tenant: TenantId,
        until: SystemTime,
    },
}

/// All grants of this node.
pub struct Grants {
    entries: RwLock<HashMap<TokenHash, Entry>>,
    clock: Clock,
    /// The latest time that was seen.
    latest: Mutex<SystemTime>,
}

impl Grants {
    /// No grants.
    pub fn new(clock: Clock) -> Self {
        Self {
            entries: RwLock::default(),
            latest: Mutex::new(clock.now()),
            clock,
        }
    }

    /// The time, which never goes back: what has ended does not come alive because the host says that it is earlier.
    fn now(&self) -> SystemTime {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        *latest = self.clock.now().max(*latest);
        *latest
    }

    /// Makes a grant and its token.
    pub fn mint(
        &self,
        owner: &Owner<'_>,
        terms: Terms,
        app: Option<Did>,
    ) -> Result<Minted, MintError> {
        let life = terms.expires_in().map_or(DEFAULT_LIFE, Duration::from_secs);
        if life < Duration::from_secs(1) || life > MAX_LIFE {
            return Err(MintError::Life);
        }
        let (secret, now) = (TokenSecret::generate(), self.now());
        let seal = SealedBox::of_key(secret.sealing_key());
        let sealed_session =
            seal.seal_bytes(&owner.session().expose_json(), &mut OsRng.unwrap_err());
        let bytes = size_of::<Grant>() + sealed_session.len() + 2 * terms.to_text().len();
        let grant = Arc::new(Grant {
            id: Uuid::new_v4(),
            tenant: owner.tenant().clone(),
            terms,
            app,
            created: now,
            expires: now + life,
            sealed_session,
            bytes,
        });
        let view = GrantView::of(&grant);
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|_, entry| match entry {
            Entry::Live(grant) => grant.expires > now,
            Entry::Revoked { until, .. } => *until > now,
        });
        let of_tenant = || live_of(&entries, owner.tenant()).map(|(_, grant)| grant.bytes);
        if of_tenant().count() >= MAX_PER_TENANT
            || of_tenant().sum::<usize>() + bytes > MAX_BYTES_PER_TENANT
        {
            return Err(MintError::TooMany);
        }
        let all = entries.values().map(|entry| match entry {
            Entry::Live(grant) => grant.bytes,
            Entry::Revoked { .. } => 0,
        });
        if entries.len() >= MAX_TOTAL || all.sum::<usize>() + bytes > MAX_BYTES_TOTAL {
            return Err(MintError::Full);
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
            Some(Entry::Live(grant)) if grant.expires <= self.now() => Err(GrantError::Expired),
            Some(Entry::Live(grant)) => Ok(LiveGrant {
                grant: Arc::clone(grant),
                seal: SealedBox::of_key(token.sealing_key()),
            }),
        }
    }

    /// The live grants of the owner, newest first.
    pub fn list(&self, owner: &Owner<'_>) -> Vec<GrantView> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
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
        let tenant = owner.tenant().clone();
        let until = view.expires;
        entries.insert(hash, Entry::Revoked { tenant, until });
        forget_revoked(&mut entries, owner.tenant());
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

/// Forgets those of the tenant's revoked grants that would have ended first, if it has too many. Their tokens are
/// as dead as before; their holders are no longer told why.
fn forget_revoked(entries: &mut HashMap<TokenHash, Entry>, owner: &TenantId) {
    let mut revoked: Vec<(SystemTime, TokenHash)> = entries
        .iter()
        .filter_map(|(hash, entry)| match entry {
            Entry::Revoked { tenant, until } if tenant == owner => Some((*until, *hash)),
            Entry::Revoked { .. } | Entry::Live(_) => None,
        })
        .collect();
    revoked.sort_unstable_by_key(|(until, _)| *until);
    let too_many = revoked.len().saturating_sub(MAX_REVOKED_PER_TENANT);
    for (_, hash) in revoked.into_iter().take(too_many) {
        entries.remove(&hash);
    }
}

impl fmt::Debug for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Grants")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::{Credential, Principal, authenticate};
    use adyton_client::schema::SchemaSet;
    use base64_simd::STANDARD;
    use serde_json::Value;

    /// The owner of a session out of the original's, with some bytes more in it.
    fn owner_with(more: usize) -> Principal {
        let vector = include_str!("../../../../vectors/context_session.json");
        let vector: Value = serde_json::from_str(vector).unwrap();
        let mut session = vector["session"].clone();
        let auths = session["contextAuths"].as_object_mut().unwrap();
        let first = auths.values_mut().next().unwrap();
        first["accessToken"] = "x".repeat(more).into();
        let key = STANDARD.encode_to_string(session.to_string());
        let key = Credential::Session(Zeroizing::new(key));
        authenticate(&key, &Grants::new(Clock::system())).unwrap()
    }

    fn mint(grants: &Grants, owner: &Principal) -> Result<Minted, MintError> {
        let schemas = SchemaSet::embedded().unwrap();
        let terms = Terms::parse(r#"{"scopes":["api:ds-query"]}"#, &schemas).unwrap();
        grants.mint(&owner.as_owner().unwrap(), terms, None)
    }

    #[test]
    fn who_mints_and_revokes_for_ever_takes_nobodys_room() {
        let (grants, owner) = (Grants::new(Clock::system()), owner_with(0));
        for _ in 0..3 * MAX_REVOKED_PER_TENANT {
            let minted = mint(&grants, &owner).unwrap();
            let owner = owner.as_owner().unwrap();
            assert!(grants.revoke(&owner, minted.grant.id).is_some());
            // The newest is always remembered.
            let token = TokenSecret::parse(&minted.token).unwrap();
            assert_eq!(grants.find(&token).unwrap_err(), GrantError::Revoked);
        }
        let held = grants.entries.read().unwrap().len();
        assert_eq!(held, MAX_REVOKED_PER_TENANT);
    }

    #[test]
    fn a_clock_that_is_set_back_brings_nothing_back_to_life() {
        let seconds = Arc::new(std::sync::atomic::AtomicU64::new(1_000_000));
        let shown = Arc::clone(&seconds);
        let clock = Clock::of(move || {
            let seconds = shown.load(std::sync::atomic::Ordering::SeqCst);
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
        });
        let (grants, owner) = (Grants::new(clock), owner_with(0));
        let minted = mint(&grants, &owner).unwrap();
        let token = TokenSecret::parse(&minted.token).unwrap();
        assert!(grants.find(&token).is_ok());
        seconds.fetch_add(DEFAULT_LIFE.as_secs(), std::sync::atomic::Ordering::SeqCst);
        assert_eq!(grants.find(&token).unwrap_err(), GrantError::Expired);
        seconds.store(1_000_001, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(grants.find(&token).unwrap_err(), GrantError::Expired);
        assert!(grants.list(&owner.as_owner().unwrap()).is_empty());
    }

    #[test]
    fn the_bytes_of_a_tenants_grants_are_limited_and_not_only_their_number() {
        let (grants, owner) = (Grants::new(Clock::system()), owner_with(45_000));
        let minted = (0..MAX_PER_TENANT).find_map(|n| mint(&grants, &owner).err().map(|e| (n, e)));
        let (count, refused) = minted.unwrap();
        assert_eq!(refused, MintError::TooMany);
        assert!((32..MAX_PER_TENANT).contains(&count), "{count}");
    }
}
