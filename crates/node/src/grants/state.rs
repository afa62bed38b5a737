//! What is known of grants and tokens at one moment: changed under the one lock of [`super::Grants`].
//!
//! Guarantees: a tenant and the node hold no more than their limits; a grant leaves with all of its tokens. Refuses to know who
//! asks, and what is kept beyond the process: it notes only what changed.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use adyton_protocol::scope::Part;
use uuid::Uuid;

use super::grant::{Grant, GrantView, MintError};
use super::kept::Kept;
use super::sealed::{GrantKey, WrappedKey};
use super::store::{CodeBinding, TokenPair};
use super::token::{TokenHash, TokenKind, TokenSecret};
use crate::authn::TenantId;

/// Most live grants of one tenant.
pub(super) const MAX_PER_TENANT: usize = 256;
/// Most tokens of ended grants of one tenant that are remembered: who revokes all day takes nobody's room.
pub(super) const MAX_ENDED_PER_TENANT: usize = 256;
/// Most live grants of the node.
const MAX_TOTAL: usize = 100_000;
/// Most bytes that the live grants of one tenant take: sessions and scopes have the length that callers give them.
pub(super) const MAX_BYTES_PER_TENANT: usize = 4 << 20;
/// Most bytes that all live grants take.
const MAX_BYTES_TOTAL: usize = 256 << 20;
/// Most tokens of one grant, the used ones that are remembered included.
pub(super) const MAX_TOKENS: usize = 16;
/// Life of an access token that can be refreshed.
pub(crate) const ACCESS_LIFE: Duration = Duration::from_secs(10 * 60);

/// What a token stands for.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) grant: Arc<Grant>,
    pub(super) key: WrappedKey,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Access {
        until: SystemTime,
        /// The part of the grant's scopes that it opens; `None`: all.
        part: Option<Part>,
    },
    Refresh {
        used: bool,
    },
    Code {
        until: SystemTime,
        binding: Box<CodeBinding>,
        used: bool,
    },
}

pub(super) enum Slot {
    Live(Entry),
    /// Remembered until it would have expired, so that its holder is told why.
    Ended,
}

/// A grant and its tokens, the oldest first.
pub(super) struct Held {
    pub(super) grant: Arc<Grant>,
    pub(super) tokens: VecDeque<TokenHash>,
}

#[derive(Default)]
pub(super) struct Tenant {
    pub(super) grants: Vec<Held>,
    bytes: usize,
    /// The remembered tokens of ended grants, and until when they would have lived.
    ended: Vec<(SystemTime, TokenHash)>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) slots: HashMap<TokenHash, Slot>,
    pub(super) tenants: HashMap<TenantId, Tenant>,
    pub(super) grants: usize,
    pub(super) bytes: usize,
    /// Grants that changed since they were kept. Empty where none are.
    pub(super) changed: HashMap<Uuid, TenantId>,
    pub(super) keeps: bool,
}

impl State {
    /// Takes a grant in, if there is room.
    pub(super) fn admit(&mut self, grant: &Arc<Grant>, now: SystemTime) -> Result<(), MintError> {
        self.forget_expired(&grant.tenant, now);
        let tenant = self.tenants.get(&grant.tenant);
        let (count, bytes) = tenant.map_or((0, 0), |tenant| (tenant.grants.len(), tenant.bytes));
        if count >= MAX_PER_TENANT || bytes + grant.bytes > MAX_BYTES_PER_TENANT {
            return Err(MintError::TooMany);
        }
        let full =
            |state: &Self| state.grants >= MAX_TOTAL || state.bytes + grant.bytes > MAX_BYTES_TOTAL;
        if full(self) {
            let all: Vec<TenantId> = self.tenants.keys().cloned().collect();
            for tenant in all {
                self.forget_expired(&tenant, now);
            }
            if full(self) {
                return Err(MintError::Full);
            }
        }
        let tenant = self.tenants.entry(grant.tenant.clone()).or_default();
        tenant.bytes += grant.bytes;
        tenant.grants.push(Held {
            grant: Arc::clone(grant),
            tokens: VecDeque::new(),
        });
        self.grants += 1;
        self.bytes += grant.bytes;
        Ok(())
    }

    /// Lets a token stand for a grant that was taken in. The oldest token makes room.
    pub(super) fn insert(
        &mut self,
        grant: &Arc<Grant>,
        key: &GrantKey,
        secret: &TokenSecret,
        what: What,
    ) {
        let tenant = self.tenants.get_mut(&grant.tenant);
        let held = tenant.and_then(|tenant| tenant.held(grant.id));
        let Some(held) = held else { return };
        let entry = Entry {
            grant: Arc::clone(grant),
            key: key.wrap(secret),
            what,
        };
        if self.keeps {
            self.changed.insert(grant.id, grant.tenant.clone());
        }
        if held.tokens.len() >= MAX_TOKENS
            && let Some(oldest) = held.tokens.pop_front()
        {
            self.slots.remove(&oldest);
        }
        held.tokens.push_back(secret.hash());
        self.slots.insert(secret.hash(), Slot::Live(entry));
    }

    /// Brings back a grant, or the tokens of one that is here.
    pub(super) fn take_back(&mut self, kept: Kept, now: SystemTime) {
        let id = kept.grant.id;
        if self.changed.contains_key(&id) {
            // What happened here comes after: what was ended does not come back because the storage node does.
            return;
        }
        let grant = match self.grant_of(id) {
            Some(here) => {
                if let Some(key) = kept.grant.key.get() {
                    // The same, or none before.
                    let _first = here.key.set(*key);
                }
                here
            }
            None if self.admit(&kept.grant, now).is_ok() => kept.grant,
            None => return,
        };
        let tenant = self.tenants.get_mut(&grant.tenant);
        let Some(held) = tenant.and_then(|tenant| tenant.held(id)) else {
            return;
        };
        for hash in held.tokens.drain(..) {
            self.slots.remove(&hash);
        }
        for (hash, key, what) in kept.tokens {
            let grant = Arc::clone(&grant);
            held.tokens.push_back(hash);
            self.slots
                .insert(hash, Slot::Live(Entry { grant, key, what }));
        }
    }

    /// Looks at all grants: what others do is seldom.
    pub(super) fn grant_of(&self, id: Uuid) -> Option<Arc<Grant>> {
        let all = self.tenants.values().flat_map(|tenant| &tenant.grants);
        let mut grants = all.map(|held| &held.grant);
        grants.find(|grant| grant.id == id).map(Arc::clone)
    }

    /// The next tokens of a grant: an access token for a part of it, and a refresh token for all of it.
    pub(super) fn issue(
        &mut self,
        grant: &Arc<Grant>,
        key: &GrantKey,
        now: SystemTime,
        part: Option<Part>,
    ) -> TokenPair {
        let access = TokenSecret::generate();
        let refresh = TokenSecret::of_kind(TokenKind::Refresh);
        let until = grant.expires.min(now + ACCESS_LIFE);
        let view = GrantView::of(grant).only(part.as_ref());
        self.insert(grant, key, &access, What::Access { until, part });
        self.insert(grant, key, &refresh, What::Refresh { used: false });
        TokenPair {
            access: access.expose(),
            access_life: until.duration_since(now).unwrap_or_default(),
            refresh: refresh.expose(),
            grant: view,
        }
    }

    /// Ends a grant: whoever waits for it is told, and its tokens are remembered as revoked.
    pub(super) fn end(&mut self, grant: &Arc<Grant>) {
        grant.revoked.cancel();
        let Some(tenant) = self.tenants.get_mut(&grant.tenant) else {
            return;
        };
        let Some(at) = tenant
            .grants
            .iter()
            .position(|held| held.grant.id == grant.id)
        else {
            return;
        };
        if self.keeps {
            self.changed.insert(grant.id, grant.tenant.clone());
        }
        let held = tenant.grants.swap_remove(at);
        tenant.bytes -= held.grant.bytes;
        self.grants -= 1;
        self.bytes -= held.grant.bytes;
        let until = grant.expires;
        for hash in held.tokens {
            self.slots.insert(hash, Slot::Ended);
            tenant.ended.push((until, hash));
        }
        // Those that would have ended first are forgotten: their tokens are as dead as before; their holders are no longer told
        // why.
        tenant.ended.sort_by_key(|(until, _)| *until);
        let too_many = tenant.ended.len().saturating_sub(MAX_ENDED_PER_TENANT);
        for (_, hash) in tenant.ended.drain(..too_many) {
            self.slots.remove(&hash);
        }
    }

    /// Forgets what of a tenant has ended by itself: grants, codes that nobody exchanged with their grants, and what was
    /// remembered long enough.
    pub(super) fn forget_expired(&mut self, id: &TenantId, now: SystemTime) {
        let Some(tenant) = self.tenants.get_mut(id) else {
            return;
        };
        let slots = &mut self.slots;
        let (keeps, changed) = (self.keeps, &mut self.changed);
        let (grants, bytes) = (&mut self.grants, &mut self.bytes);
        let freed = &mut tenant.bytes;
        tenant.grants.retain_mut(|held| {
            let live = |hash: &TokenHash| match slots.get(hash) {
                Some(Slot::Live(entry)) => match &entry.what {
                    What::Access { until, .. } => now < *until,
                    What::Code { until, .. } => now < *until,
                    What::Refresh { .. } => true,
                },
                Some(Slot::Ended) | None => false,
            };
            let alive = now < held.grant.expires && held.tokens.iter().any(live);
            if !alive {
                if keeps {
                    changed.insert(held.grant.id, id.clone());
                }
                for hash in &held.tokens {
                    slots.remove(hash);
                }
                *grants -= 1;
                *bytes -= held.grant.bytes;
                *freed -= held.grant.bytes;
            }
            alive
        });
        tenant.ended.retain(|(until, hash)| {
            let remembered = now < *until;
            if !remembered {
                slots.remove(hash);
            }
            remembered
        });
        if tenant.grants.is_empty() && tenant.ended.is_empty() {
            self.tenants.remove(id);
        }
    }
}

impl Tenant {
    pub(super) fn held(&mut self, id: Uuid) -> Option<&mut Held> {
        self.grants.iter_mut().find(|held| held.grant.id == id)
    }
}
