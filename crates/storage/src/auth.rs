//! Logging in: a challenge, a signature by the DID's key, then tokens.
//!
//! 1. `challenge`: a signed, stateless question that lives a minute.
//! 2. `authenticate`: the answer, taken once; the signer must be the DID's account key or the context's signing key.
//! 3. `connect`: a refresh token for an access token, as long as the key that signed (2) may log in.
//!
//! The token's own subject, context and kind decide; what a request claims besides must agree.

use std::sync::Arc;

use adyton_couch::wire::{CouchError, ErrorKind};
use adyton_protocol::address::Address;
use adyton_protocol::consent;
use adyton_protocol::context::{ContextHash, ContextName};
use adyton_protocol::did::{Did, Network};
use adyton_protocol::did_document::DidDocument;
use adyton_protocol::hash::{keccak256, to_hex};
use adyton_protocol::signature::Signature;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use crate::access::{Admission, EXPIRED, Peer, Principal, User};
use crate::clock::Clock;
use crate::config::Limits;
use crate::couch::CouchConfig;
use crate::did_documents::Freshness;
use crate::outgoing_resolution::{OutgoingResolution, Unresolved};
use crate::peers::Peers;
use crate::records::{LivingToken, Records};
use crate::store::StoreError;
use crate::store::node::{Account, Login, LoginOutcome, NodeSecrets, RefreshRow};
use crate::throttle::{CallerKey, TooMany};
use crate::token::{
    ACCESS_SECONDS, AccessClaims, CHALLENGE_SECONDS, ChallengeClaims, InvalidToken,
    REFRESH_SECONDS, RefreshClaims, TokenKey, fresh_id,
};

/// Bytes of a device id.
pub(crate) const MAX_DEVICE_ID_BYTES: usize = 256;

/// Why a login or a token is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthError {
    /// The credential does not prove what it should. Deliberately not told more precisely.
    #[error("the credential is not accepted")]
    Refused,
    /// The node takes no further accounts.
    #[error("Maximum user limit reached")]
    Full,
    /// The DID's document cannot be had now: nothing is known of the credential.
    #[error("The DID could not be resolved now")]
    Unresolved,
    /// The caller made this node ask others for too many documents.
    #[error(transparent)]
    TooMany(TooMany),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Unresolved> for AuthError {
    fn from(failure: Unresolved) -> Self {
        match failure {
            Unresolved::TooMany(refusal) => Self::TooMany(refusal),
            Unresolved::Unreachable => Self::Unresolved,
            Unresolved::Store(error) => Self::Store(error),
        }
    }
}

/// A question to be signed.
pub(crate) struct Challenge {
    pub(crate) request_id: String,
    pub(crate) token: String,
}

/// What a login yields.
pub(crate) struct Tokens {
    pub(crate) refresh: String,
    pub(crate) access: String,
}

/// Issues and checks everything that proves who somebody is.
pub(crate) struct Auth {
    records: Records,
    resolver: Arc<OutgoingResolution>,
    clock: Clock,
    network: Network,
    limits: Limits,
    keys: AuthKeys,
    peers: Peers,
}

/// What proves who made a token, and the public credential.
pub(crate) struct AuthKeys {
    challenge: TokenKey,
    refresh: TokenKey,
    access: TokenKey,
    public: PublicCredential,
}

impl AuthKeys {
    /// The node's own.
    pub(crate) fn own(secrets: &NodeSecrets) -> Self {
        let readable = |bytes: &[u8; 32]| hex::encode(bytes.split_at(16).0);
        Self {
            challenge: TokenKey::new(secrets.challenge_key),
            refresh: TokenKey::new(secrets.refresh_key),
            access: TokenKey::new(secrets.access_key),
            public: PublicCredential {
                username: readable(&secrets.public_user),
                password: readable(&secrets.public_password),
            },
        }
    }

    /// Those of the original, whose tokens go on counting. A challenge is answered where it was made: its key is the node's own.
    pub(crate) fn of_couch(secrets: &NodeSecrets, couch: &CouchConfig) -> Self {
        let (username, password) = couch.public_user.clone();
        Self {
            challenge: TokenKey::new(secrets.challenge_key),
            refresh: TokenKey::new(couch.refresh_key.as_bytes()),
            access: TokenKey::new(couch.access_key.as_bytes()),
            public: PublicCredential { username, password },
        }
    }
}

/// The node's public credential: for databases that everyone may read.
pub(crate) struct PublicCredential {
    pub(crate) username: String,
    pub(crate) password: String,
}

impl Auth {
    pub(crate) fn new(
        records: Records,
        keys: AuthKeys,
        resolver: Arc<OutgoingResolution>,
        clock: Clock,
        network: Network,
        limits: Limits,
        peers: Peers,
    ) -> Self {
        Self {
            records,
            keys,
            peers,
            resolver,
            clock,
            network,
            limits,
        }
    }

    /// The other nodes that replicate to this one.
    pub(crate) fn peers(&self) -> &Peers {
        &self.peers
    }

    pub(crate) fn public(&self) -> &PublicCredential {
        &self.keys.public
    }

    pub(crate) fn challenge(
        &self,
        did: &Did,
        context: &ContextName,
    ) -> Result<Challenge, StoreError> {
        let now = self.clock.unix_seconds();
        let request_id = fresh_id()?;
        let token = self.keys.challenge.issue(&ChallengeClaims {
            sub: did.lowercase().to_owned(),
            context_name: context.as_str().to_owned(),
            auth_request_id: request_id.clone(),
            iat: now,
            exp: now + CHALLENGE_SECONDS,
        })?;
        Ok(Challenge { request_id, token })
    }

    pub(crate) async fn authenticate(
        &self,
        caller: &CallerKey,
        challenge: &str,
        did: &Did,
        context: &ContextName,
        signature: &str,
        device: Option<&str>,
    ) -> Result<Tokens, AuthError> {
        let now = self.clock.unix_seconds();
        let asked: ChallengeClaims = self
            .keys
            .challenge
            .verify(challenge, now)
            .map_err(|_| AuthError::Refused)?;
        if asked.sub != did.lowercase() || asked.context_name != context.as_str() {
            return Err(AuthError::Refused);
        }
        let text = consent::authenticate(did, context, &asked.auth_request_id);
        let signer = self
            .signed_by(caller, did, context, text.digest(), signature)
            .await?;

        let (refresh_claims, refresh) = self.refresh_token(did, context, device, now)?;
        let account_name = ContextHash::of(did, context).couch_user();
        let login = Login {
            account: Account {
                did: did.lowercase().to_owned(),
                context_name: context.as_str().to_owned(),
                storage_limit: self.limits.account_bytes,
                used: now,
            },
            request_id: asked.auth_request_id,
            request_expiry: asked.exp,
            token: RefreshRow {
                account: account_name.clone(),
                device: device.map(|device| device_hash(did, context, device)),
                expiry: refresh_claims.exp,
                signer: Some(signer.lowercase()),
            },
            token_id: refresh_claims.id,
            account_name,
            max_accounts: self.limits.accounts,
            max_tokens: self.limits.refresh_tokens_per_account,
            now,
        };
        match self.records.log_in(login).await? {
            LoginOutcome::Done => Ok(Tokens {
                refresh,
                access: self.access_token(did, context, now)?,
            }),
            LoginOutcome::Replayed => Err(AuthError::Refused),
            LoginOutcome::Full => Err(AuthError::Full),
        }
    }

    /// An access token for a refresh token that counts.
    pub(crate) async fn connect(
        &self,
        refresh: &str,
        did: &Did,
        context: &ContextName,
    ) -> Result<String, AuthError> {
        let (claims, token) = self.living_refresh_token(refresh, context).await?;
        if claims.sub != did.lowercase() {
            return Err(AuthError::Refused);
        }
        self.key_counts(did, context, claims.id, &token).await?;
        let now = self.clock.unix_seconds();
        let account = ContextHash::of(did, context).couch_user();
        self.records.use_account(account, now).await?;
        Ok(self.access_token(did, context, now)?)
    }

    /// Another refresh token in place of this one.
    pub(crate) async fn regenerate(
        &self,
        refresh: &str,
        context: &ContextName,
    ) -> Result<String, AuthError> {
        let (claims, held) = self.living_refresh_token(refresh, context).await?;
        let did: Did = claims.sub.parse().map_err(|_| AuthError::Refused)?;
        self.key_counts(&did, context, claims.id.clone(), &held)
            .await?;
        let device = claims.device_id.as_deref();
        let (fresh, token) =
            self.refresh_token(&did, context, device, self.clock.unix_seconds())?;
        let row = RefreshRow {
            account: ContextHash::of(&did, context).couch_user(),
            device: device.map(|device| device_hash(&did, context, device)),
            expiry: fresh.exp,
            signer: held.signer,
        };
        match self.records.replace_token(claims.id, fresh.id, row).await? {
            true => Ok(token),
            false => Err(AuthError::Refused),
        }
    }

    /// When a refresh token that counts will expire.
    pub(crate) async fn expiry(
        &self,
        refresh: &str,
        context: &ContextName,
    ) -> Result<u64, AuthError> {
        Ok(self.living_refresh_token(refresh, context).await?.0.exp)
    }

    /// Revokes every refresh token of a device.
    pub(crate) async fn revoke_device(
        &self,
        caller: &CallerKey,
        did: &Did,
        context: &ContextName,
        device: &str,
        signature: &str,
    ) -> Result<(), AuthError> {
        let text = consent::invalidate_device(did, context, device);
        self.signed_by(caller, did, context, text.digest(), signature)
            .await?;
        match self
            .records
            .revoke_device(device_hash(did, context, device))
            .await?
        {
            0 => Err(AuthError::Refused),
            _ => Ok(()),
        }
    }

    /// Checks that the DID's own key, or the context's signing key, made this signature, and says which.
    async fn signed_by(
        &self,
        caller: &CallerKey,
        did: &Did,
        context: &ContextName,
        digest: [u8; 32],
        signature: &str,
    ) -> Result<Address, AuthError> {
        let signature: Signature = signature.parse().map_err(|_| AuthError::Refused)?;
        // A key that was exchanged must count at once: what does not fit what is remembered is held against what is there now.
        for freshness in [Freshness::Remembered, Freshness::Asked] {
            let document = self.document(caller, did, context, freshness).await?;
            let Some(document) = document.filter(|document| !document.is_deactivated()) else {
                continue;
            };
            let signers = document.login_addresses(self.network, context);
            let signed = signers
                .into_iter()
                .find(|signer| signature.verify(digest, signer).is_ok());
            if let Some(signer) = signed {
                return Ok(signer);
            }
        }
        Err(AuthError::Refused)
    }

    /// Refuses a refresh token, and ends it, when the key that it was made for may not log in any more. Of a token from before that was
    /// kept, only the DID itself is known. While the DID cannot be resolved, nothing says that the key does not count.
    async fn key_counts(
        &self,
        did: &Did,
        context: &ContextName,
        id: String,
        token: &LivingToken,
    ) -> Result<(), AuthError> {
        // Taken from its own allowance: nobody else can use that up to have it let in, or kept out.
        let caller = CallerKey::Account(ContextHash::of(did, context).couch_user().into());
        for freshness in [Freshness::Remembered, Freshness::Asked] {
            let found = match self.document(&caller, did, context, freshness).await {
                Err(AuthError::Unresolved) if freshness == Freshness::Remembered => return Ok(()),
                found => found?,
            };
            let Some(document) = found.filter(|document| !document.is_deactivated()) else {
                continue;
            };
            let Some(signer) = &token.signer else {
                return Ok(());
            };
            let signers = document.login_addresses(self.network, context);
            if signers.iter().any(|known| known.lowercase() == *signer) {
                return Ok(());
            }
        }
        self.records.end_token(id).await?;
        Err(AuthError::Refused)
    }

    /// The document that lets somebody in. Who has an account here waits for no stranger, where others must be asked.
    async fn document(
        &self,
        caller: &CallerKey,
        did: &Did,
        context: &ContextName,
        freshness: Freshness,
    ) -> Result<Option<DidDocument>, AuthError> {
        let account = ContextHash::of(did, context).couch_user();
        let is_known =
            !self.resolver.is_at_hand(did, freshness) && self.records.is_at_hand(account).await?;
        let found = match is_known {
            true => self.resolver.resolve_known(caller, did, freshness).await,
            false => self.resolver.resolve(caller, did, freshness).await,
        };
        Ok(found?)
    }

    /// Checks that the DID's own key made this signature.
    pub(crate) async fn signed_by_account(
        &self,
        caller: &CallerKey,
        did: &Did,
        digest: [u8; 32],
        signature: &str,
    ) -> Result<(), AuthError> {
        let signature: Signature = signature.parse().map_err(|_| AuthError::Refused)?;
        signature
            .verify(digest, &did.address())
            .map_err(|_| AuthError::Refused)?;
        // Others are asked only for who holds the key.
        let document = self
            .resolver
            .resolve(caller, did, Freshness::Remembered)
            .await?;
        match document.is_some_and(|document| !document.is_deactivated()) {
            true => Ok(()),
            false => Err(AuthError::Refused),
        }
    }

    /// The user behind a bearer credential of the middleware.
    pub(crate) fn user(&self, authorization: Option<&str>) -> Result<User, AuthError> {
        // The original takes whatever follows the first space, and never looks at the scheme.
        let token = authorization
            .and_then(|value| value.split(' ').nth(1))
            .ok_or(AuthError::Refused)?;
        self.access_user(token).map_err(|_| AuthError::Refused)
    }

    /// Who asks on the data path, in CouchDB's words when the credential is wrong.
    pub(crate) fn principal(&self, authorization: Option<&str>) -> Result<Principal, CouchError> {
        let Some(value) = authorization else {
            return Ok(Principal::Anonymous);
        };
        match value.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                match self.access_user(token.trim()) {
                    Ok(user) => Ok(Principal::User(user)),
                    Err(InvalidToken::Malformed) => Err(CouchError::bad_request("Malformed token")),
                    Err(InvalidToken::Signature) => Err(CouchError::bad_request("Bad HMAC")),
                    Err(InvalidToken::Expired) => {
                        Err(CouchError::new(ErrorKind::Unauthorized, EXPIRED))
                    }
                }
            }
            Some((scheme, credential)) if scheme.eq_ignore_ascii_case("basic") => {
                self.basic(credential.trim())
            }
            _ => Err(CouchError::bad_request("Malformed authorization header")),
        }
    }

    fn basic(&self, credential: &str) -> Result<Principal, CouchError> {
        const WRONG: CouchError =
            CouchError::new(ErrorKind::Unauthorized, "Name or password is incorrect.");
        let given = STANDARD.decode(credential).map_err(|_| WRONG)?;
        let expected = format!(
            "{}:{}",
            self.keys.public.username, self.keys.public.password
        );
        if bool::from(given.ct_eq(expected.as_bytes())) {
            return Ok(Principal::Public);
        }
        let colon = given.iter().position(|byte| *byte == b':').ok_or(WRONG)?;
        let (name, password) = given.split_at(colon);
        let name = std::str::from_utf8(name).map_err(|_| WRONG)?;
        let password = password.get(1..).unwrap_or_default();
        let password = self.peers.knows(name, password).ok_or(WRONG)?;
        Ok(Principal::Peer(Peer {
            name: name.to_owned(),
            password,
            admission: Admission::Refused,
        }))
    }

    fn access_user(&self, token: &str) -> Result<User, InvalidToken> {
        let claims: AccessClaims = self.keys.access.verify(token, self.clock.unix_seconds())?;
        let did = claims.did.parse().map_err(|_| InvalidToken::Malformed)?;
        let context = ContextName::new(claims.context_name).map_err(|_| InvalidToken::Malformed)?;
        Ok(User {
            did,
            context,
            expires: claims.exp,
        })
    }

    fn access_token(
        &self,
        did: &Did,
        context: &ContextName,
        now: u64,
    ) -> Result<String, StoreError> {
        self.keys.access.issue(&AccessClaims {
            id: fresh_id()?,
            did: did.lowercase().to_owned(),
            sub: ContextHash::of(did, context).couch_user(),
            context_name: context.as_str().to_owned(),
            kind: "access".to_owned(),
            iat: now,
            exp: now + ACCESS_SECONDS,
        })
    }

    fn refresh_token(
        &self,
        did: &Did,
        context: &ContextName,
        device: Option<&str>,
        now: u64,
    ) -> Result<(RefreshClaims, String), StoreError> {
        let claims = RefreshClaims {
            id: fresh_id()?,
            device_id: device.map(str::to_owned),
            sub: did.lowercase().to_owned(),
            context_name: context.as_str().to_owned(),
            kind: "refresh".to_owned(),
            iat: now,
            exp: now + REFRESH_SECONDS,
        };
        let token = self.keys.refresh.issue(&claims)?;
        Ok((claims, token))
    }

    async fn living_refresh_token(
        &self,
        token: &str,
        context: &ContextName,
    ) -> Result<(RefreshClaims, LivingToken), AuthError> {
        let claims: RefreshClaims = self
            .keys
            .refresh
            .verify(token, self.clock.unix_seconds())
            .map_err(|_| AuthError::Refused)?;
        if claims.context_name != context.as_str() {
            return Err(AuthError::Refused);
        }
        match self.records.token(claims.id.clone()).await? {
            Some(token) => Ok((claims, token)),
            None => Err(AuthError::Refused),
        }
    }
}

/// How the node remembers a device.
fn device_hash(did: &Did, context: &ContextName, device: &str) -> String {
    to_hex(&keccak256(
        format!("{}/{context}/{device}", did.lowercase()).as_bytes(),
    ))
}
