//! Requests of apps that wait for their user.
//!
//! Guarantees: a request is approved or denied once; what is approved lies within what was asked, was signed by the user's context
//! key for this very request, and is granted in the same step. The id of a request is no credential: it names what is
//! asked, and approving takes the owner.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use adyton_client::clock::Clock;
use adyton_client::schema::SchemaSet;
use adyton_keys::context_session::InvalidSession;
use adyton_oauth::approval::{Approved, Wider};
use adyton_oauth::asking::Asking;
use adyton_oauth::authorization::AuthorizationRequest;
use adyton_oauth::client::Client;
use adyton_oauth::client_id::ClientId;
use adyton_oauth::consent::{Consent, Expected, InvalidConsent};
use adyton_oauth::origin::Origin;
use adyton_oauth::refused::{ErrorCode, Refused};
use adyton_protocol::scope::{InvalidTerms, Terms};
use adyton_protocol::signature::Signature;
use serde_json::Value;
use uuid::Uuid;

use super::grant::MintError;
use super::store::{CodeBinding, Grants};
use crate::authz::Owner;

/// How long a request waits.
const LIFE: Duration = Duration::from_secs(600);
/// Most requests that wait.
const MAX_PENDING: usize = 10_000;
/// Most of one client.
const MAX_PER_CLIENT: usize = 1_000;
/// Most bytes of all requests that wait, and of all that were pushed: terms have the length that apps give them.
const MAX_BYTES: usize = 32 << 20;
/// Most bytes of those of one client.
const MAX_BYTES_PER_CLIENT: usize = 4 << 20;
/// What a request takes beside its terms, about.
const REQUEST_BYTES: usize = 4 * 1024;
/// How long a pushed request waits for its browser (RFC 9126 section 2.2: seconds to minutes).
const PUSHED_LIFE: Duration = Duration::from_secs(90);

/// A request that waits.
#[derive(Debug)]
pub struct Pending {
    id: String,
    client: Arc<Client>,
    request: AuthorizationRequest,
    origin: Origin,
    bytes: usize,
    expires: SystemTime,
}

impl Pending {
    /// Its id: the nonce of a consent to it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Who asks.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What is asked.
    pub fn asking(&self) -> &Asking {
        &self.request.asking
    }

    /// Where the answer goes.
    pub fn redirect_uri(&self) -> &adyton_oauth::redirect_uri::RedirectUri {
        self.request.to.redirect_uri()
    }

    /// The node, as the app and the page call it: the audience of a consent.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Until when it waits.
    pub fn expires(&self) -> SystemTime {
        self.expires
    }

    /// Reads terms and holds them against what is asked, both with the schemas that the owner knows, as approving does: for a preview.
    pub fn narrow(&self, terms: Value, schemas: &SchemaSet) -> Result<Approved, ApproveError> {
        let terms = Terms::from_value(terms, schemas)?;
        let asked = self.asking().known_to(schemas)?;
        // Of nothing that is known, anything is too much.
        Ok(asked.requested.ok_or(Wider)?.narrow(terms)?)
    }
}

/// Too many requests wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many requests wait for their users")]
pub struct TooManyPending;

/// A request is not approved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApproveError {
    /// There is no such request, or no longer.
    #[error("the request is not known, was answered, or is older than ten minutes")]
    Gone,
    /// The consent does not hold.
    #[error(transparent)]
    Consent(#[from] InvalidConsent),
    /// Its terms cannot be granted.
    #[error(transparent)]
    Terms(#[from] InvalidTerms),
    /// Its terms are wider than what was asked.
    #[error(transparent)]
    Wider(#[from] Wider),
    /// There is no room for the grant.
    #[error(transparent)]
    Mint(#[from] MintError),
    /// The owner's session has no key.
    #[error(transparent)]
    Session(#[from] InvalidSession),
}

/// A request that its app pushed and that no browser has brought yet.
struct Pushed {
    client: Arc<Client>,
    request: AuthorizationRequest,
    bytes: usize,
    until: SystemTime,
}

/// All requests that wait at this node.
pub struct PendingRequests {
    waiting: Mutex<HashMap<String, Arc<Pending>>>,
    pushed: Mutex<HashMap<String, Pushed>>,
    clock: Clock,
}

impl PendingRequests {
    /// None.
    pub fn new(clock: Clock) -> Self {
        Self {
            waiting: Mutex::default(),
            pushed: Mutex::default(),
            clock,
        }
    }

    /// Lets a request wait.
    pub fn create(
        &self,
        client: Arc<Client>,
        request: AuthorizationRequest,
        origin: Origin,
    ) -> Result<Arc<Pending>, TooManyPending> {
        let now = self.clock.now();
        let bytes = bytes_of(&request);
        let mut waiting = self.waiting();
        waiting.retain(|_, pending| now < pending.expires);
        Room::of(
            waiting.values().map(|one| (&*one.client, one.bytes)),
            &client,
        )
        .take(bytes)?;
        let pending = Arc::new(Pending {
            // 122 random bits.
            id: Uuid::new_v4().simple().to_string(),
            client,
            request,
            origin,
            bytes,
            expires: now + LIFE,
        });
        waiting.insert(pending.id.clone(), Arc::clone(&pending));
        Ok(pending)
    }

    /// Keeps a pushed request until its browser comes; the key by which it is taken, and how long it waits.
    pub fn push(
        &self,
        client: Arc<Client>,
        request: AuthorizationRequest,
    ) -> Result<(String, Duration), TooManyPending> {
        let now = self.clock.now();
        let mut pushed = self.pushed.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = bytes_of(&request);
        pushed.retain(|_, one| now < one.until);
        Room::of(
            pushed.values().map(|one| (&*one.client, one.bytes)),
            &client,
        )
        .take(bytes)?;
        let key = Uuid::new_v4().simple().to_string();
        let until = now + PUSHED_LIFE;
        let one = Pushed {
            client,
            request,
            bytes,
            until,
        };
        pushed.insert(key.clone(), one);
        Ok((key, PUSHED_LIFE))
    }

    /// Takes a pushed request, once, for the client that pushed it.
    pub fn take_pushed(
        &self,
        key: &str,
        client: &ClientId,
    ) -> Option<(Arc<Client>, AuthorizationRequest)> {
        let now = self.clock.now();
        let mut pushed = self.pushed.lock().unwrap_or_else(PoisonError::into_inner);
        let of_client = pushed.get(key)?.client.id() == client;
        let one = of_client.then(|| pushed.remove(key)).flatten()?;
        (now < one.until).then_some((one.client, one.request))
    }

    /// The request of this id.
    pub fn find(&self, id: &str) -> Option<Arc<Pending>> {
        let now = self.clock.now();
        let pending = self.waiting().get(id).cloned()?;
        (now < pending.expires).then_some(pending)
    }

    /// Grants what the owner signed, and gives the URL that brings the app its code.
    ///
    /// The order is: what was signed, by whom and for what; its terms; that they lie within what was asked; then the request is
    /// taken, by one caller at most; then the grant is made.
    pub fn approve(
        &self,
        id: &str,
        owner: &Owner<'_>,
        consent: &str,
        signature: &Signature,
        schemas: &SchemaSet,
        grants: &Grants,
    ) -> Result<String, ApproveError> {
        let pending = self.find(id).ok_or(ApproveError::Gone)?;
        let signer = owner.session().keyring()?.sign_public_key().address();
        let consent = Consent::verify(
            consent,
            signature,
            &Expected {
                nonce: &pending.id,
                audience: &pending.origin,
                client: pending.client.id(),
                redirect_uri: pending.redirect_uri(),
                signer: &signer,
                now: self.clock.now(),
            },
        )?;
        let approved = pending.narrow(consent.terms().clone(), schemas)?;
        let request = self.take(id).ok_or(ApproveError::Gone)?;
        let binding = CodeBinding {
            redirect_uri: request.redirect_uri().as_str().to_owned(),
            challenge: request.request.challenge,
            key: request.request.key,
        };
        let code = grants.authorize(owner, approved, Arc::clone(&request.client), binding)?;
        Ok(request.request.to.code(&code, &request.origin))
    }

    /// Ends a request, and gives the URL that tells the app.
    pub fn deny(&self, id: &str) -> Option<String> {
        const DENIED: Refused =
            Refused::new(ErrorCode::AccessDenied, "the user did not allow this");
        let pending = self.take(id)?;
        Some(pending.request.to.refusal(DENIED, &pending.origin))
    }

    fn take(&self, id: &str) -> Option<Arc<Pending>> {
        let now = self.clock.now();
        let pending = self.waiting().remove(id)?;
        (now < pending.expires).then_some(pending)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, Arc<Pending>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a request takes in memory: terms are held as types, which take about twice their text.
fn bytes_of(request: &AuthorizationRequest) -> usize {
    REQUEST_BYTES + 2 * request.asking.bytes()
}

/// What requests take: all, and those of one client.
#[derive(Default)]
struct Room {
    all: usize,
    bytes: usize,
    of_client: usize,
    bytes_of_client: usize,
}

impl Room {
    fn of<'p>(held: impl Iterator<Item = (&'p Client, usize)>, client: &Client) -> Self {
        let mut room = Self::default();
        for (whose, bytes) in held {
            room.all += 1;
            room.bytes += bytes;
            if whose.id() == client.id() {
                room.of_client += 1;
                room.bytes_of_client += bytes;
            }
        }
        room
    }

    fn take(&self, bytes: usize) -> Result<(), TooManyPending> {
        let full = self.all >= MAX_PENDING
            || self.of_client >= MAX_PER_CLIENT
            || self.bytes + bytes > MAX_BYTES
            || self.bytes_of_client + bytes > MAX_BYTES_PER_CLIENT;
        match full {
            true => Err(TooManyPending),
            false => Ok(()),
        }
    }
}

impl fmt::Debug for PendingRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PendingRequests")
    }
}

#[cfg(test)]
#[path = "pending_tests.rs"]
mod tests;
