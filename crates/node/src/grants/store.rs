//! The grants that are alive, in memory, and the tokens that stand for them.
//!
//! One lock, never held over an await: a grant and all its tokens end in the same instant.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, SystemTime};

use adyton_client::clock::Clock;
use adyton_client::schema::SchemaSet;
use adyton_oauth::approval::Approved;
use adyton_oauth::client::{Binding, Client};
use adyton_oauth::jwk::Thumbprint;
use adyton_oauth::pkce::Challenge;
use adyton_oauth::refused::{ErrorCode, Refused};
use adyton_oauth::token_request::read_scopes;
use adyton_protocol::schema::SchemaDirectory;
use adyton_protocol::scope::{Part, Terms};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::grant::{App, Grant, GrantError, GrantView, LiveGrant, MintError};
use super::keeper::{self, Keeper, Waiting};
use super::kept;
use super::node_context::NodeContext;
use super::rate::Meter;
use super::sealed::{GrantKey, SealedSession};
use super::state::{Entry, MAX_TOKENS, Slot, State, What};
use super::token::{TokenKind, TokenSecret};
use crate::authn::TenantId;
use crate::authz::Owner;

/// What a token takes, about: its hash, the grant's key sealed for it, and their places in the tables.
const TOKEN_BYTES: usize = 320;
/// What is kept of a client, about.
const CLIENT_BYTES: usize = 2 * 1024;
/// Life of a grant when nobody says.
const DEFAULT_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Longest life of a grant.
pub(super) const MAX_LIFE: Duration = Duration::from_secs(366 * 24 * 3600);
/// Life of a code (RFC 6749 section 4.1.2 says ten minutes at most).
const CODE_LIFE: Duration = Duration::from_secs(60);

/// How long a change may take to be durable, before its caller is told that it is not.
const SETTLING: Duration = Duration::from_secs(30);

/// What a code is bound to.
#[derive(Debug, Clone)]
pub struct CodeBinding {
    /// Where it was sent.
    pub redirect_uri: String,
    /// What the app committed to.
    pub challenge: Challenge,
    /// The key that the app named beforehand.
    pub key: Option<Thumbprint>,
}

/// A new token of an owner's own and what it stands for. The token is shown once.
#[derive(Debug)]
pub struct Minted {
    /// The token's text.
    pub token: Zeroizing<String>,
    /// What it stands for.
    pub grant: GrantView,
}

/// New tokens of an app.
#[derive(Debug)]
pub struct TokenPair {
    /// The access token's text.
    pub access: Zeroizing<String>,
    /// How long it lives.
    pub access_life: Duration,
    /// The refresh token's text.
    pub refresh: Zeroizing<String>,
    /// What they stand for.
    pub grant: GrantView,
}

/// A code or a refresh token is not exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct ExchangeError(#[from] pub Refused);

/// The time, which never goes back: what has ended does not come alive because the host says that it is earlier.
#[derive(Debug)]
pub(super) struct NeverBack {
    clock: Clock,
    latest: Mutex<SystemTime>,
}

impl NeverBack {
    pub(super) fn now(&self) -> SystemTime {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        *latest = self.clock.now().max(*latest);
        *latest
    }
}

/// All grants of this node.
pub struct Grants {
    state: RwLock<State>,
    clock: Arc<NeverBack>,
    keeping: OnceLock<Keeping>,
}

/// The way to whoever keeps grants beyond the process.
struct Keeping {
    waiting: mpsc::Sender<Waiting>,
    /// What was kept before is here.
    is_ready: AtomicBool,
    task: JoinHandle<()>,
}

impl Drop for Keeping {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A grant that changed since it was kept.
pub(super) struct Change {
    pub(super) id: Uuid,
    tenant: TenantId,
}

/// What changed holds in this process, but is not durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this holds on this node, and is recorded as soon as its storage node can be reached; until then a restart may undo it"
)]
pub struct NotKept;

impl Grants {
    /// No grants.
    pub fn new(clock: Clock) -> Self {
        let latest = Mutex::new(clock.now());
        Self {
            state: RwLock::default(),
            clock: Arc::new(NeverBack { clock, latest }),
            keeping: OnceLock::new(),
        }
    }

    /// Keeps grants beyond the process from now on, and brings back those that were.
    pub(crate) fn keep_in(self: &Arc<Self>, context: NodeContext, schemas: Arc<SchemaSet>) {
        let (waiting, queue) = mpsc::channel(keeper::QUEUE);
        self.note_changes();
        let keeper = Keeper::new(context, schemas, Arc::downgrade(self), queue);
        let keeping = Keeping {
            waiting,
            is_ready: AtomicBool::new(false),
            task: tokio::spawn(keeper.run()),
        };
        // Set once, by whoever makes the node.
        drop(self.keeping.set(keeping));
    }

    /// From now on it is remembered what changed.
    pub(super) fn note_changes(&self) {
        self.write().keeps = true;
    }

    /// Whether grants outlive the process.
    pub fn are_kept(&self) -> bool {
        self.keeping.get().is_some()
    }

    /// Waits until everything that has changed is durable: what was minted would outlive the process, and what has ended would not
    /// come back with the next. At once where grants end with the process.
    ///
    /// # Errors
    /// When it is not; it holds in this process all the same, and is tried again.
    pub async fn settled(&self) -> Result<(), NotKept> {
        let Some(keeping) = self.keeping.get() else {
            return Ok(());
        };
        let (reply, kept) = oneshot::channel();
        let settling = async {
            keeping.waiting.send(reply).await.ok()?;
            kept.await.ok()
        };
        match tokio::time::timeout(SETTLING, settling).await {
            Ok(Some(true)) => Ok(()),
            Ok(Some(false) | None) | Err(_) => Err(NotKept),
        }
    }

    /// What was kept is here: a token that is not known now is not known.
    pub(super) fn is_ready(&self) {
        if let Some(keeping) = self.keeping.get() {
            keeping.is_ready.store(true, Ordering::Relaxed);
        }
    }

    /// A grant that changed, and what is to be kept of it: nothing, if it has ended.
    pub(super) fn next_change(
        &self,
        published: &impl SchemaDirectory,
    ) -> Option<(Change, Option<Value>)> {
        let mut state = self.write();
        let id = *state.changed.keys().next()?;
        let tenant = state.changed.remove(&id)?;
        let held = state.tenants.get_mut(&tenant).and_then(|tenant| {
            let held = tenant.held(id)?;
            Some((Arc::clone(&held.grant), held.tokens.clone()))
        });
        let text = held.and_then(|(grant, tokens)| {
            let tokens = tokens
                .iter()
                .filter_map(|hash| match state.slots.get(hash) {
                    Some(Slot::Live(entry)) => Some((*hash, entry)),
                    Some(Slot::Ended) | None => None,
                });
            kept::write(&grant, published, tokens)
        });
        Some((Change { id, tenant }, text))
    }

    /// A change that could not be kept is one still.
    pub(super) fn not_kept(&self, Change { id, tenant }: Change) {
        self.write().changed.insert(id, tenant);
    }

    /// Brings a grant back that was kept, or was changed by another node. One that has ended since is taken away.
    pub(super) fn take_back(&self, id: Uuid, text: Value, directory: &impl SchemaDirectory) {
        let now = self.clock.now();
        let Some(kept) = kept::read(id, text, directory, now) else {
            return;
        };
        let mut state = self.write();
        if kept.grant.expires <= now {
            state.changed.insert(id, kept.grant.tenant.clone());
            return;
        }
        state.take_back(kept, now);
    }

    /// Ends a grant that another node has ended.
    pub(super) fn end_elsewhere(&self, id: Uuid) {
        let mut state = self.write();
        if let Some(grant) = state.grant_of(id) {
            state.end(&grant);
        }
        state.changed.remove(&id);
    }

    /// Makes a grant and its one token, for an owner who hands it out herself.
    pub fn mint(&self, owner: &Owner<'_>, terms: Terms, app: App) -> Result<Minted, MintError> {
        let (new, key) = self.prepare(owner, terms, app)?;
        let (secret, until) = (TokenSecret::generate(), new.expires);
        let grant = GrantView::of(&new);
        let mut state = self.write();
        state.admit(&new, self.clock.now())?;
        let what = What::Access { until, part: None };
        state.insert(&new, &key, &secret, what);
        Ok(Minted {
            token: secret.expose(),
            grant,
        })
    }

    /// Makes a grant of what its owner approved, and the code that its app exchanges for tokens.
    pub fn authorize(
        &self,
        owner: &Owner<'_>,
        approved: Approved,
        client: Arc<Client>,
        binding: CodeBinding,
    ) -> Result<Zeroizing<String>, MintError> {
        let app = App::Client(client);
        let (new, key) = self.prepare(owner, approved.into_terms(), app)?;
        let (secret, now) = (TokenSecret::of_kind(TokenKind::Code), self.clock.now());
        let what = What::Code {
            until: now + CODE_LIFE,
            binding: Box::new(binding),
            used: false,
        };
        let mut state = self.write();
        state.admit(&new, now)?;
        state.insert(&new, &key, &secret, what);
        Ok(secret.expose())
    }

    /// Seals the owner's session into a grant that nobody has yet.
    fn prepare(
        &self,
        owner: &Owner<'_>,
        terms: Terms,
        app: App,
    ) -> Result<(Arc<Grant>, GrantKey), MintError> {
        let life = terms.expires_in().map_or(DEFAULT_LIFE, Duration::from_secs);
        if life < Duration::from_secs(1) || life > MAX_LIFE {
            return Err(MintError::Life);
        }
        let (key, now) = (GrantKey::generate(), self.clock.now());
        let session = key.seal(owner.session());
        let bytes = bytes_of(&session, &terms, &app);
        let grant = Grant {
            id: Uuid::new_v4(),
            tenant: owner.tenant().clone(),
            meter: Meter::new(terms.rate(), now),
            terms,
            app,
            key: OnceLock::new(),
            created: now,
            expires: now + life,
            last_used: AtomicU64::new(0),
            session,
            revoked: CancellationToken::new(),
            bytes,
        };
        Ok((Arc::new(grant), key))
    }

    /// The live grant behind an access token.
    pub fn find(&self, token: &TokenSecret) -> Result<LiveGrant, GrantError> {
        let state = self.read();
        let now = self.clock.now();
        match state.slots.get(&token.hash()) {
            None if !self.has_all() => Err(GrantError::NotYet),
            None => Err(GrantError::Unknown),
            Some(Slot::Ended) => Err(GrantError::Revoked),
            Some(Slot::Live(entry)) => match &entry.what {
                What::Access { until, part } if now < entry.grant.expires.min(*until) => {
                    // A token opens what was sealed for it: it was found by its own hash.
                    let seal = entry.key.open(token).ok_or(GrantError::Unknown)?;
                    Ok(LiveGrant {
                        grant: Arc::clone(&entry.grant),
                        part: part.as_ref().map(|part| entry.grant.terms.only(part)),
                        seal,
                        clock: Arc::clone(&self.clock),
                    })
                }
                What::Access { .. } => Err(GrantError::Expired),
                What::Refresh { .. } | What::Code { .. } => Err(GrantError::Unknown),
            },
        }
    }

    /// The client of a code or a refresh token, so that it can be authenticated before the exchange.
    pub fn client_of(&self, token: &TokenSecret) -> Option<Arc<Client>> {
        match self.read().slots.get(&token.hash()) {
            Some(Slot::Live(Entry { grant, .. })) => match &grant.app {
                App::Client(client) => Some(Arc::clone(client)),
                App::Nobody | App::Named(_) => None,
            },
            Some(Slot::Ended) | None => None,
        }
    }

    /// Exchanges a code for the first tokens, once: the second try ends the grant (RFC 6749 section 4.1.2). A try that fails the
    /// check uses the code up.
    pub fn exchange(
        &self,
        code: &TokenSecret,
        check: impl FnOnce(&CodeBinding) -> Result<(), Refused>,
        proven: Option<Thumbprint>,
    ) -> Result<TokenPair, ExchangeError> {
        const INVALID: Refused = Refused::new(
            ErrorCode::InvalidGrant,
            "the code is not known, was used before, or is older than a minute",
        );
        let now = self.clock.now();
        let mut state = self.write();
        let Some(Slot::Live(entry)) = state.slots.get_mut(&code.hash()) else {
            return Err(INVALID.into());
        };
        let What::Code {
            until,
            binding,
            used,
        } = &mut entry.what
        else {
            return Err(INVALID.into());
        };
        let grant = Arc::clone(&entry.grant);
        if std::mem::replace(used, true) {
            state.end(&grant);
            return Err(INVALID.into());
        }
        let in_time = now < *until;
        let checked = check(binding).and_then(|()| bound_key(&grant, binding.key, proven));
        let key = entry.key.open(code);
        let (true, Some(key)) = (in_time, key) else {
            state.end(&grant);
            return Err(INVALID.into());
        };
        if let Err(refused) = checked {
            state.end(&grant);
            return Err(refused.into());
        }
        if let Some(proven) = proven {
            // Set once: a code is exchanged once.
            let _first = grant.key.set(proven);
        }
        Ok(state.issue(&grant, &key, now, None))
    }

    /// Exchanges a refresh token for the next tokens. One that was used before ends the grant: two hold it, and one of them is
    /// not the app (OAuth 2.1 section 4.3.1). With the text of scopes, the access token opens no more than them; the refresh token
    /// stays what it is (RFC 6749 section 6). They mean what they meant when they were granted.
    pub fn refresh(
        &self,
        token: &TokenSecret,
        scope: Option<&str>,
        proven: Option<Thumbprint>,
    ) -> Result<TokenPair, ExchangeError> {
        const INVALID: Refused = Refused::new(
            ErrorCode::InvalidGrant,
            "the refresh token is not known, was used before, has expired or was revoked",
        );
        let now = self.clock.now();
        let mut state = self.write();
        let Some(Slot::Live(entry)) = state.slots.get_mut(&token.hash()) else {
            return Err(INVALID.into());
        };
        let What::Refresh { used } = &mut entry.what else {
            return Err(INVALID.into());
        };
        let grant = Arc::clone(&entry.grant);
        if *used {
            state.end(&grant);
            return Err(INVALID.into());
        }
        if now >= grant.expires {
            return Err(INVALID.into());
        }
        // Before it counts as used: a thief without the key must not end the grant.
        bound_key(&grant, grant.key.get().copied(), proven)?;
        let wider = |_| {
            let reason = "a refresh may name scopes that were granted, with the same letters or fewer, and nothing else";
            Refused::new(ErrorCode::InvalidScope, reason)
        };
        let scopes = scope.map(|scope| read_scopes(scope, &grant.terms));
        let part = scopes.transpose()?.map(|scopes| grant.terms.part(&scopes));
        let part = part.transpose().map_err(wider)?.flatten();
        *used = true;
        let key = entry.key.open(token).ok_or(INVALID)?;
        Ok(state.issue(&grant, &key, now, part))
    }

    /// The live grants of the owner, newest first.
    pub fn list(&self, owner: &Owner<'_>) -> Vec<GrantView> {
        let (state, now) = (self.read(), self.clock.now());
        let held = state.tenants.get(owner.tenant());
        let mut views: Vec<_> = held
            .into_iter()
            .flat_map(|tenant| &tenant.grants)
            .filter(|held| held.grant.expires > now)
            .map(|held| GrantView::of(&held.grant))
            .collect();
        views.sort_by_key(|view| std::cmp::Reverse(view.created));
        views
    }

    /// Ends a grant of the owner at once. `None` when the owner has no such grant; whether somebody else
    /// has one cannot be told.
    pub fn revoke(&self, owner: &Owner<'_>, id: Uuid) -> Option<GrantView> {
        let mut state = self.write();
        let mut held = state.tenants.get(owner.tenant())?.grants.iter();
        let grant = Arc::clone(&held.find(|held| held.grant.id == id)?.grant);
        state.end(&grant);
        Some(GrantView::of(&grant))
    }

    /// Ends all grants of the owner in one instant; says how many there were.
    pub fn revoke_all(&self, owner: &Owner<'_>) -> usize {
        let mut state = self.write();
        let held = state.tenants.get(owner.tenant());
        let all: Vec<Arc<Grant>> = held
            .into_iter()
            .flat_map(|tenant| &tenant.grants)
            .map(|held| Arc::clone(&held.grant))
            .collect();
        for grant in &all {
            state.end(grant);
        }
        all.len()
    }

    /// Ends the grant of a token, because its holder says so (RFC 7009). Whether there was one cannot be told.
    pub fn give_back(&self, token: &TokenSecret) {
        let mut state = self.write();
        if let Some(Slot::Live(entry)) = state.slots.get(&token.hash()) {
            let grant = Arc::clone(&entry.grant);
            state.end(&grant);
        }
    }

    /// The grant of a token that could be used now, for whoever may know (RFC 7662): when the token ends, too.
    pub fn inspect(&self, token: &TokenSecret) -> Option<(GrantView, TenantId, SystemTime)> {
        let (state, now) = (self.read(), self.clock.now());
        let Some(Slot::Live(entry)) = state.slots.get(&token.hash()) else {
            return None;
        };
        let until = match &entry.what {
            What::Access { until, .. } => entry.grant.expires.min(*until),
            What::Refresh { used: false } => entry.grant.expires,
            What::Refresh { used: true } | What::Code { .. } => return None,
        };
        let part = match &entry.what {
            What::Access { part, .. } => part.as_ref(),
            What::Refresh { .. } | What::Code { .. } => None,
        };
        (now < until).then(|| {
            let view = GrantView::of(&entry.grant).only(part);
            (view, entry.grant.tenant.clone(), until)
        })
    }

    /// Whether what was kept before this process began is here, so that what is not known does not exist.
    pub(crate) fn has_all(&self) -> bool {
        let is_ready = |keeping: &Keeping| keeping.is_ready.load(Ordering::Relaxed);
        self.keeping.get().is_none_or(is_ready)
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// About what a grant takes. Terms are held as types and shown as text: twice the text is about what they take. There is room for
/// all tokens that it will have, so that a refresh never fails for want of it.
pub(super) fn bytes_of(session: &SealedSession, terms: &Terms, app: &App) -> usize {
    let tokens = match app {
        App::Nobody | App::Named(_) => TOKEN_BYTES,
        App::Client(_) => {
            let part = Part::bytes(terms.scopes().count());
            CLIENT_BYTES + MAX_TOKENS * (TOKEN_BYTES + part)
        }
    };
    size_of::<Grant>() + session.bytes() + 2 * terms.to_text().len() + tokens
}

/// A token that is bound to a key is exchanged by whoever proves that key, and a client that always binds must prove one.
fn bound_key(
    grant: &Grant,
    named: Option<Thumbprint>,
    proven: Option<Thumbprint>,
) -> Result<(), Refused> {
    let always = grant.app.client().map(Client::binding) == Some(Binding::Required);
    match (named, proven) {
        (Some(named), Some(proven)) if named == proven => Ok(()),
        (Some(_), _) => Err(Refused::new(
            ErrorCode::InvalidDpopProof,
            "this needs a DPoP proof by the key that it is bound to",
        )),
        (None, None) if always => Err(Refused::new(
            ErrorCode::InvalidDpopProof,
            "the client has published that it always sends DPoP proofs",
        )),
        (None, _) => Ok(()),
    }
}

impl fmt::Debug for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Grants")
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
pub(super) mod tests;
