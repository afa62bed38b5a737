//! Resolutions of DIDs, where one may make this node ask others: each caller may cause only so many of those.
//!
//! Guarantees: whoever names DIDs that nobody knows, in logins or in look-ups, sends this node to others at a lower rate than
//! requests have, and only so many at one time, whether it waits for the answers or hangs up; many who do so give way to whoever has
//! fewer turns, and take none of those kept for people who have an account here (`adyton_resolver`'s turns); what is at hand costs
//! nothing and waits for nothing. Refuses to know what the documents say.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use adyton_protocol::did::Did;
use adyton_protocol::did_document::DidDocument;
use adyton_resolver::resolver::{Asking, Party, Purpose};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::did_documents::{DidResolver, Freshness, ResolveFailure};
use crate::store::StoreError;
use crate::throttle::{CallerKey, Rates, Throttle, TooMany};

/// Resolutions of one caller that are under way at one time: of the resolver's turns for all, a sixteenth. Its others wait.
const AT_ONCE_OF_ONE: usize = 16;
/// How long they do.
const TURN_TIME: Duration = Duration::from_secs(10);
/// Callers from which on those that nothing is under way for are forgotten.
const MANY_CALLERS: usize = 1_024;

/// Resolves DIDs for callers.
pub(crate) struct OutgoingResolution {
    resolver: Arc<dyn DidResolver>,
    throttle: Throttle,
    clock: Clock,
    turns: Mutex<HashMap<CallerKey, Weak<Semaphore>>>,
    asking: Mutex<JoinSet<()>>,
    /// Makes parties of callers, in a way that no caller foresees.
    parties: RandomState,
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

impl OutgoingResolution {
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
            turns: Mutex::default(),
            asking: Mutex::default(),
            parties: RandomState::new(),
        }
    }

    /// The document by which somebody is let in.
    pub(crate) async fn resolve(
        &self,
        caller: &CallerKey,
        did: &Did,
        freshness: Freshness,
    ) -> Result<Option<DidDocument>, Unresolved> {
        self.ask(Purpose::Login, caller, did, freshness).await
    }

    /// The same, of somebody who has an account here: no stranger takes the turns for those.
    pub(crate) async fn resolve_known(
        &self,
        caller: &CallerKey,
        did: &Did,
        freshness: Freshness,
    ) -> Result<Option<DidDocument>, Unresolved> {
        self.ask(Purpose::KnownLogin, caller, did, freshness).await
    }

    /// Whether a document is had without asking others.
    pub(crate) fn is_at_hand(&self, did: &Did, freshness: Freshness) -> bool {
        self.resolver.is_at_hand(did, freshness)
    }

    /// The document, for somebody who wants to see it.
    pub(crate) async fn look_up(
        &self,
        caller: &CallerKey,
        did: &Did,
        freshness: Freshness,
    ) -> Result<Option<DidDocument>, Unresolved> {
        self.ask(Purpose::LookUp, caller, did, freshness).await
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

    async fn ask(
        &self,
        purpose: Purpose,
        caller: &CallerKey,
        did: &Did,
        freshness: Freshness,
    ) -> Result<Option<DidDocument>, Unresolved> {
        let asking = Asking {
            purpose,
            party: Party(self.parties.hash_one(caller)),
        };
        if self.is_at_hand(did, freshness) {
            return Ok(self.resolver.resolve_for(asking, did, freshness).await?);
        }
        self.may_ask(caller)?;
        let turn = tokio::time::timeout(TURN_TIME, self.turns_of(caller).acquire_owned());
        let Ok(Ok(turn)) = turn.await else {
            return Err(TooMany { seconds: 1 }.into());
        };
        let told = self.spawn(asking, did.clone(), freshness, turn);
        let outcome = told.await.unwrap_or(Err(ResolveFailure::Unreachable));
        Ok(outcome?)
    }

    /// Asks on its own: who hangs up does not have its turn back before the answer is there.
    fn spawn(
        &self,
        wish: Asking,
        did: Did,
        freshness: Freshness,
        turn: OwnedSemaphorePermit,
    ) -> oneshot::Receiver<Result<Option<DidDocument>, ResolveFailure>> {
        let (tell, told) = oneshot::channel();
        let resolver = Arc::clone(&self.resolver);
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        while asking.try_join_next().is_some() {}
        asking.spawn(async move {
            let outcome = resolver.resolve_for(wish, &did, freshness).await;
            drop(turn);
            // Nobody may wait any more.
            drop(tell.send(outcome));
        });
        told
    }

    fn turns_of(&self, caller: &CallerKey) -> Arc<Semaphore> {
        let mut all = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turns) = all.get(caller).and_then(Weak::upgrade) {
            return turns;
        }
        if all.len() >= MANY_CALLERS {
            all.retain(|_, turns| turns.strong_count() > 0);
        }
        let turns = Arc::new(Semaphore::new(AT_ONCE_OF_ONE));
        all.insert(caller.clone(), Arc::downgrade(&turns));
        turns
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use adyton_protocol::address::Address;
    use adyton_protocol::did::Anchor;
    use adyton_resolver::cache::CacheLimits;
    use adyton_resolver::registry::{NoAnswer, Opinion, Registered, Registry};
    use adyton_resolver::resolver::Resolver;
    use adyton_resolver::web::{Ask, Pending, Said, Web, WebError};
    use tokio::time::Instant;

    use super::*;
    use crate::did_documents::Resolution;

    /// A registry that knows one DID to be absent, and says nothing of others.
    struct Slow(Did);

    impl Registry for Slow {
        fn lookup<'a>(
            &'a self,
            did: &'a Did,
            _opinion: Opinion,
        ) -> Pending<'a, Result<Registered, NoAnswer>> {
            Box::pin(async move {
                if *did != self.0 {
                    std::future::pending::<()>().await;
                }
                Ok(Registered::Absent)
            })
        }
    }

    struct Nobody;

    impl Web for Nobody {
        fn ask(&self, _ask: Ask) -> Pending<'_, Result<Said, WebError>> {
            Box::pin(std::future::ready(Err(WebError::Unreachable)))
        }
    }

    struct Dids(Resolver);

    impl DidResolver for Dids {
        fn resolve<'a>(&'a self, did: &'a Did, freshness: Freshness) -> Resolution<'a> {
            self.resolve_for(Purpose::KnownLogin.into(), did, freshness)
        }

        fn resolve_for<'a>(
            &'a self,
            asking: Asking,
            did: &'a Did,
            freshness: Freshness,
        ) -> Resolution<'a> {
            Box::pin(async move {
                let found = self.0.resolve_for(asking, did, freshness).await;
                found.map_err(|_| ResolveFailure::Unreachable)
            })
        }

        fn forget(&self, did: &Did) {
            self.0.forget(did);
        }

        fn is_at_hand(&self, did: &Did, freshness: Freshness) -> bool {
            self.0.remembers(did, freshness)
        }
    }

    fn did(n: u16) -> Did {
        let mut bytes = [0; 20];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        Did::of_account(Anchor::Polamoy, Address::from_bytes(bytes))
    }

    #[tokio::test(start_paused = true)]
    async fn logins_of_many_addresses_hold_up_no_first_login_of_another() {
        let clock = Clock::from_fn(|| UNIX_EPOCH);
        let registry = Arc::new(Slow(did(9_999)));
        let limits = CacheLimits::default();
        let resolver = Resolver::new(registry, Arc::new(Nobody), clock.reader(), limits);
        let resolver = Arc::new(Dids(resolver));
        let abroad = Arc::new(OutgoingResolution::new(resolver, 100_000, clock));
        // Twice as many as fill all turns for logins, each with as many as it may have.
        for n in 0..32 * 16u16 {
            let abroad = Arc::clone(&abroad);
            tokio::spawn(async move {
                let stranger = CallerKey::Address([192, 0, 2, n.to_be_bytes()[1] % 32].into());
                let did = did(n);
                let login = abroad.resolve(&stranger, &did, Freshness::Remembered);
                login.await
            });
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        let (began, honest) = (Instant::now(), did(9_999));
        let newcomer = CallerKey::Address([198, 51, 100, 1].into());
        let login = abroad.resolve(&newcomer, &honest, Freshness::Remembered);
        assert!(matches!(login.await, Ok(None)));
        assert!(began.elapsed() < Duration::from_millis(5));
    }

    #[tokio::test(start_paused = true)]
    async fn logins_of_one_caller_hold_up_no_login_of_another_whether_it_waits_or_hangs_up() {
        let clock = Clock::from_fn(|| UNIX_EPOCH);
        let registry = Arc::new(Slow(did(9_999)));
        let limits = CacheLimits::default();
        let resolver = Resolver::new(registry, Arc::new(Nobody), clock.reader(), limits);
        let abroad = Arc::new(OutgoingResolution::new(
            Arc::new(Dids(resolver)),
            100_000,
            clock,
        ));
        let caller = |n: u8| CallerKey::Address([192, 0, 2, n].into());
        for n in 0..600 {
            let (abroad, stranger) = (Arc::clone(&abroad), caller(1));
            let waits = Duration::from_millis(if n % 2 == 0 { 1 } else { 100_000 });
            tokio::spawn(async move {
                let did = did(n);
                let login = abroad.resolve(&stranger, &did, Freshness::Remembered);
                tokio::time::timeout(waits, login).await
            });
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        let began = Instant::now();
        let (one, other, honest) = (caller(1), caller(2), did(9_999));
        let login = abroad.resolve(&other, &honest, Freshness::Remembered);
        assert!(matches!(login.await, Ok(None)));
        assert!(began.elapsed() < Duration::from_millis(5));
        // The stranger's own next one waits, and is told to come again.
        let unknown = did(700);
        let more = abroad.resolve(&one, &unknown, Freshness::Remembered);
        assert!(matches!(more.await, Err(Unresolved::TooMany(_))));
        // What is at hand waits for nothing.
        let known = abroad.resolve(&one, &honest, Freshness::Remembered);
        assert!(matches!(known.await, Ok(None)));
    }
}
