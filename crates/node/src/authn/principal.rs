//! A caller whose credential was checked.

use std::fmt;
use std::sync::Arc;

use adyton_keys::context_session::{ContextSession, InvalidSession};
use adyton_protocol::context::ContextName;
use adyton_protocol::did::Did;

use super::AuthenticationError;
use crate::grants::{LiveGrant, RateLeft};

/// The unit of isolation: one user's one context. Both halves come out of a proof.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TenantId {
    did: Did,
    context: ContextName,
}

impl TenantId {
    pub(crate) fn of(session: &ContextSession) -> Self {
        Self {
            did: session.did().clone(),
            context: session.context().clone(),
        }
    }

    /// What a node kept of a proof, under its own seal.
    pub(crate) fn of_kept(did: Did, context: ContextName) -> Self {
        Self { did, context }
    }

    /// The user.
    pub fn did(&self) -> &Did {
        &self.did
    }

    /// The context.
    pub fn context(&self) -> &ContextName {
        &self.context
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TenantId(..)")
    }
}

/// With what right the caller acts.
#[derive(Debug)]
pub enum Authority {
    /// The owner, with the session that proves it.
    Owner(Arc<ContextSession>),
    /// An app, with what the owner granted it.
    App(LiveGrant),
}

/// A caller whose credential was checked. Made by [`super::authenticate`] alone.
#[derive(Debug)]
pub struct Principal {
    tenant: TenantId,
    authority: Authority,
    left: Option<RateLeft>,
}

impl Principal {
    pub(super) fn owner(api_key: &str) -> Result<Self, AuthenticationError> {
        let session = ContextSession::parse_api_key(api_key)?;
        let tenant = TenantId::of(&session);
        Ok(Self {
            tenant,
            authority: Authority::Owner(Arc::new(session)),
            left: None,
        })
    }

    pub(super) fn app(grant: LiveGrant, left: Option<RateLeft>) -> Self {
        Self {
            tenant: grant.tenant().clone(),
            authority: Authority::App(grant),
            left,
        }
    }

    /// Whose data this is about.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// With what right.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// What is left of the grant's rate after this request, if it has one.
    pub fn rate_left(&self) -> Option<RateLeft> {
        self.left
    }

    /// The session with which the tenant's data can be loaded. For an app it is unsealed with the app's
    /// own token, which the node does not keep.
    pub(crate) fn session(&self) -> Result<Arc<ContextSession>, InvalidSession> {
        match &self.authority {
            Authority::Owner(session) => Ok(Arc::clone(session)),
            Authority::App(grant) => grant.unseal_session().map(Arc::new),
        }
    }
}
