//! Resolutions of DIDs, where one may make this node ask others: each caller may cause only so many of those.
//!
//! Guarantees: whoever names DIDs that nobody knows, in logins or in look-ups, sends this node to others at a lower rate than
//! requests have; what is at hand costs nothing. Refuses to know what the documents say.

use std::sync::Arc;

use adyton_protocol::did::Did;
use adyton_protocol::did_document::DidDocument;

use crate::clock::Clock;
use crate::did_documents::{DidResolver, Freshness, ResolveFailure};
use crate::store::StoreError;
use crate::throttle::{CallerKey, Rates, Throttle, TooMany};

/// Resolves DIDs for callers.
pub(crate) struct Abroad {
    resolver: Arc<dyn DidResolver>,
    throttle: Throttle,
    clock: Clock,
}

/// The DID could not be resolved for this caller now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unresolved {
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// Those who must know could not be asked.
    #[error("The DID could not be resolved now")]
    Unreachable,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ResolveFailure> for Unresolved {
    fn from(failure: ResolveFailure) -> Self {
        match failure {
            ResolveFailure::Unreachable => Self::Unreachable,
            ResolveFailure::Store(error) => Self::Store(error),
        }
    }
}

impl Abroad {
    /// With so many questions to others a minute for each caller.
    pub(crate) fn new(resolver: Arc<dyn DidResolver>, a_minute: u32, clock: Clock) -> Self {
        let rates = Rates {
            account: a_minute,
            address: a_minute,
            resolutions: a_minute,
        };
        Self {
            resolver,
            throttle: Throttle::new(rates),
            clock,
        }
    }

    /// The document by which somebody is let in.
    pub(crate) async fn resolve(
        &self,
        caller: &CallerKey,
        did: &Did,
        freshness: Freshness,
    ) -> Result<Option<DidDocument>, Unresolved> {
        self.may_resolve(caller, did, freshness)?;
        Ok(self.resolver.resolve(did, freshness).await?)
    }

    /// The document, for somebody who wants to see it.
    pub(crate) async fn look_up(
        &self,
        caller: &CallerKey,
        did: &Did,
        freshness: Freshness,
    ) -> Result<Option<DidDocument>, Unresolved> {
        self.may_resolve(caller, did, freshness)?;
        Ok(self.resolver.look_up(did, freshness).await?)
    }

    /// The document that the node itself needs: nobody asked for it.
    pub(crate) async fn resolve_unasked(
        &self,
        did: &Did,
        freshness: Freshness,
    ) -> Result<Option<DidDocument>, ResolveFailure> {
        self.resolver.resolve(did, freshness).await
    }

    /// Takes one question to others from the caller's allowance.
    pub(crate) fn may_ask(&self, caller: &CallerKey) -> Result<(), TooMany> {
        self.throttle.take(caller.clone(), self.clock.unix_millis())
    }

    /// This node was told something new of a DID.
    pub(crate) fn forget(&self, did: &Did) {
        self.resolver.forget(did);
    }

    fn may_resolve(
        &self,
        caller: &CallerKey,
        did: &Did,
        freshness: Freshness,
    ) -> Result<(), TooMany> {
        match self.resolver.is_at_hand(did, freshness) {
            true => Ok(()),
            false => self.may_ask(caller),
        }
    }
}
