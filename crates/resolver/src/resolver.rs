//! Resolution (`spec/protocol.md` §7.4, done right): where, then all places at once, then the proof.
//!
//! 1. What is remembered and young enough.
//! 2. The registry says where. Its "absent" ends it.
//! 3. All places are asked at the same time; each document is verified against the DID's own address (§6.5).
//! 4. The highest version counts. Nothing found: every other registry is asked, too, and the places that it adds.
//! 5. "Absent" is said only when every place said so; anything less is an error, which says nothing about the DID.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use adyton_protocol::did::Did;
use adyton_protocol::did_document::{DidDocument, MAX_DOCUMENT_BYTES};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;
use url::Url;

use crate::cache::{Cache, CacheLimits, Outcome};
use crate::chain::Now;
use crate::registry::{NoAnswer, Opinion, Registered, Registry, place_at};
pub use crate::turns::Party;
use crate::turns::{Turn, Turns};
use crate::web::{Ask, Web, WebError};

/// Largest answer of a place, in bytes: a document and its envelope.
const MAX_ANSWER_BYTES: usize = MAX_DOCUMENT_BYTES + 1024;
/// However often somebody wants it fresh, a DID is asked for no more often.
const MIN_AGE: Duration = Duration::from_secs(5);
/// DIDs that are asked for at one time, for logins.
const LOGINS_AT_ONCE: usize = 256;
/// The same, for those who are known: no stranger takes their turns.
const KNOWN_AT_ONCE: usize = 64;
/// The same, for those who only want to see a document. They wait for each other, and for nobody who logs in.
const LOOK_UPS_AT_ONCE: usize = 64;
/// All of them: documents that are asked for at one time.
pub const AT_ONCE: usize = LOGINS_AT_ONCE + KNOWN_AT_ONCE + LOOK_UPS_AT_ONCE;
/// Lanes after which those that nobody is in are forgotten.
const MIN_LANES: usize = 1024;

/// The DID could not be resolved *now*. That says nothing about whether it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// No registry answered.
    #[error("no DID registry could be asked")]
    Registry,
    /// Not all places that must know of the document could be asked.
    #[error("the places of the DID document cannot be reached")]
    Places,
    /// What lies there was not made by the DID's own key.
    #[error("no DID document with a valid proof was found where one should be")]
    Unverified,
    /// It took too long, or too many others wait.
    #[error("the DID could not be resolved in time")]
    Time,
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// One place (`spec/protocol.md` §7.4).
    pub place: Duration,
    /// Once there is a document, the others to show a higher version.
    pub grace: Duration,
    /// A resolution, whatever it takes.
    pub whole: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            place: Duration::from_secs(10),
            grace: Duration::from_secs(2),
            whole: Duration::from_secs(30),
        }
    }
}

/// How young an answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// As young as the memory's limits say.
    Remembered,
    /// Asked for now, or a few seconds ago.
    Asked,
}

impl Freshness {
    fn at_most(self) -> Duration {
        match self {
            Self::Remembered => Duration::MAX,
            Self::Asked => MIN_AGE,
        }
    }
}

/// What a document is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To check what somebody signed.
    Login,
    /// The same, of a DID that was let in before.
    KnownLogin,
    /// To show it, to anybody.
    LookUp,
}

/// What a document is wanted for, and on whose behalf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asking {
    /// What for.
    pub purpose: Purpose,
    /// Who shares turns fairly with the others.
    pub party: Party,
}

impl From<Purpose> for Asking {
    /// On behalf of whoever embeds this.
    fn from(purpose: Purpose) -> Self {
        let party = Party::default();
        Self { purpose, party }
    }
}

/// Finds documents. Dropping it ends what is being asked.
pub struct Resolver {
    asker: Asker,
    now: Now,
    cache: Arc<Mutex<Cache>>,
    logins: Queue,
    known: Queue,
    look_ups: Queue,
    asking: Mutex<JoinSet<()>>,
}

/// Who is asked, and how long. Cheap to clone.
#[derive(Clone)]
struct Asker {
    registry: Arc<dyn Registry>,
    web: Arc<dyn Web>,
    times: Times,
    /// A place that is asked whatever the registry says of places: a storage node's own documents.
    home: Option<Url>,
}

impl Resolver {
    /// A resolver over a registry.
    pub fn new(
        registry: Arc<dyn Registry>,
        web: Arc<dyn Web>,
        now: Now,
        limits: CacheLimits,
    ) -> Self {
        Self {
            asker: Asker {
                registry,
                web,
                times: Times::default(),
                home: None,
            },
            now,
            cache: Arc::new(Mutex::new(Cache::new(limits))),
            logins: Queue::new(LOGINS_AT_ONCE),
            known: Queue::new(KNOWN_AT_ONCE),
            look_ups: Queue::new(LOOK_UPS_AT_ONCE),
            asking: Mutex::default(),
        }
    }

    /// With one more place for every registered DID: the node at this base URL, which ends in `/`.
    #[must_use]
    pub fn with_home(mut self, base: Url) -> Self {
        self.asker.home = Some(base);
        self
    }

    /// With other times.
    #[must_use]
    pub fn with_times(mut self, times: Times) -> Self {
        self.asker.times = times;
        self
    }

    /// The newest document of a DID. `Ok(None)`: there is none, those who must know said so.
    pub async fn resolve(&self, did: &Did, freshness: Freshness) -> Outcome {
        self.resolve_for(Purpose::Login, did, freshness).await
    }

    /// The same, with what it is wanted for. Where too many are asked for, those of a party that has many give way to others'.
    pub async fn resolve_for(
        &self,
        asking: impl Into<Asking>,
        did: &Did,
        freshness: Freshness,
    ) -> Outcome {
        let at_most = freshness.at_most();
        if let Some(outcome) = self.remembered(did, at_most) {
            return outcome;
        }
        let Asking { purpose, party } = asking.into();
        let queue = match purpose {
            Purpose::Login => &self.logins,
            Purpose::KnownLogin => &self.known,
            Purpose::LookUp => &self.look_ups,
        };
        let resolution = tokio::time::timeout(self.asker.times.whole, async {
            // First the turn: who waits for one holds up nobody else who wants the same DID.
            let mut turn = queue.turns.take(party).await?;
            let lane = tokio::select! {
                lane = queue.lane(did).lock_owned() => lane,
                () = turn.is_over() => return None,
            };
            // Somebody else may have asked while this one waited.
            if let Some(outcome) = self.remembered(did, at_most) {
                return Some(outcome);
            }
            self.ask(did.clone(), lane, turn).await.ok()
        });
        // Nobody could be asked in time: what was seen lately counts then, too. Nothing is kept of what was not asked: whoever made
        // this one wait would decide what others are told.
        match resolution.await {
            Ok(Some(outcome)) => outcome,
            Ok(None) | Err(_) => self.cache().late(did, (self.now)()),
        }
    }

    /// Asks on its own, so that what is found is kept also when nobody waits for it any more; unless the turn ends before.
    fn ask(
        &self,
        did: Did,
        lane: impl Send + 'static,
        mut turn: Turn,
    ) -> oneshot::Receiver<Outcome> {
        let (tell, told) = oneshot::channel();
        let (asker, cache) = (self.asker.clone(), Arc::clone(&self.cache));
        let now = Arc::clone(&self.now);
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        while asking.try_join_next().is_some() {}
        asking.spawn(async move {
            let found = tokio::select! {
                found = tokio::time::timeout(asker.times.whole, asker.ask(&did)) => found,
                () = turn.is_over() => return,
            };
            let found = found.unwrap_or(Err(ResolveError::Time));
            let outcome =
                cache
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .keep(&did, found, now());
            drop((lane, turn));
            // Nobody may wait any more.
            drop(tell.send(outcome));
        });
        told
    }

    /// Whether a DID is answered from memory: nobody is asked for it.
    pub fn remembers(&self, did: &Did, freshness: Freshness) -> bool {
        self.remembered(did, freshness.at_most()).is_some()
    }

    /// Whoever embeds this knows that something is new: the next one who asks for this DID is not answered from memory.
    pub fn forget(&self, did: &Did) {
        self.cache().forget(did);
    }

    fn remembered(&self, did: &Did, at_most: Duration) -> Option<Outcome> {
        self.cache().fresh(did, (self.now)(), at_most)
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those who want documents for one purpose: a DID is asked for once at a time and waits for no other one, and all that are asked
/// for are only so many.
struct Queue {
    lanes: Mutex<Lanes>,
    turns: Arc<Turns>,
}

impl Queue {
    fn new(at_once: usize) -> Self {
        Self {
            lanes: Mutex::default(),
            turns: Turns::new(at_once),
        }
    }

    fn lane(&self, did: &Did) -> Arc<tokio::sync::Mutex<()>> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.of(did)
    }
}

#[derive(Default)]
struct Lanes {
    all: HashMap<String, Weak<tokio::sync::Mutex<()>>>,
    /// How many there may be before those that nobody is in are forgotten.
    most: usize,
}

impl Lanes {
    fn of(&mut self, did: &Did) -> Arc<tokio::sync::Mutex<()>> {
        if let Some(lane) = self.all.get(did.lowercase()).and_then(Weak::upgrade) {
            return lane;
        }
        if self.all.len() >= self.most {
            self.all.retain(|_, lane| lane.strong_count() > 0);
            self.most = (2 * self.all.len()).max(MIN_LANES);
        }
        let lane = Arc::default();
        self.all
            .insert(did.lowercase().to_owned(), Arc::downgrade(&lane));
        lane
    }
}

impl Asker {
    async fn ask(&self, did: &Did) -> Result<Option<(DidDocument, usize)>, ResolveError> {
        let home = self.home.iter().filter_map(|base| place_at(base, did));
        let (mut places, answered) = match self.registry.lookup(did, Opinion::First).await {
            Ok(Registered::Absent) => return Ok(None),
            Ok(Registered::At(places)) => (places, true),
            Err(NoAnswer) => (Vec::new(), false),
        };
        for place in home {
            if !places.contains(&place) {
                places.push(place);
            }
        }
        let first = self.gather(did, &places).await;
        if first.newest.is_some() {
            return Ok(first.newest);
        }
        if !answered {
            return Err(ResolveError::Registry);
        }
        let second = match self.registry.lookup(did, Opinion::Every).await {
            Ok(Registered::Absent) => return Ok(None),
            Ok(Registered::At(more)) => {
                let more: Vec<Url> = more
                    .into_iter()
                    .filter(|url| !places.contains(url))
                    .collect();
                self.gather(did, &more).await
            }
            Err(NoAnswer) => return Err(ResolveError::Registry),
        };
        match (second.newest, first.failure.or(second.failure)) {
            (Some(found), _) => Ok(Some(found)),
            (None, Some(failure)) => Err(failure),
            (None, None) => Ok(None),
        }
    }

    /// Asks all places at once.
    async fn gather(&self, did: &Did, places: &[Url]) -> Gathered {
        let mut asked: FuturesUnordered<_> = places
            .iter()
            .map(|place| self.ask_place(did, place))
            .collect();
        let mut gathered = Gathered::default();
        let mut until = None;
        loop {
            let next = match until {
                None => asked.next().await,
                // The rest may show a higher version, but not hold up everybody for as long as they like.
                Some(until) => match tokio::time::timeout_at(until, asked.next()).await {
                    Ok(next) => next,
                    Err(_) => return gathered,
                },
            };
            match next {
                None => return gathered,
                Some(Ok(None)) => {}
                Some(Ok(Some(found))) => {
                    gathered.take(found);
                    until.get_or_insert_with(|| Instant::now() + self.times.grace);
                }
                Some(Err(error)) => gathered.failure = Some(error),
            }
        }
    }

    async fn ask_place(
        &self,
        did: &Did,
        place: &Url,
    ) -> Result<Option<(DidDocument, usize)>, ResolveError> {
        let ask = Ask {
            url: place.clone(),
            body: None,
            limit: MAX_ANSWER_BYTES,
            time: self.times.place,
        };
        let said = match self.web.ask(ask).await {
            Ok(said) => said,
            Err(WebError::TooLarge) => return Err(ResolveError::Unverified),
            Err(WebError::Denied | WebError::Unreachable | WebError::Timeout) => {
                return Err(ResolveError::Places);
            }
        };
        match said.status {
            200 => read(&said.body, did)
                .map(|document| Some((document, said.body.len())))
                .ok_or(ResolveError::Unverified),
            404 => Ok(None),
            _ => Err(ResolveError::Places),
        }
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
}

#[derive(Default)]
struct Gathered {
    newest: Option<(DidDocument, usize)>,
    failure: Option<ResolveError>,
}

impl Gathered {
    fn take(&mut self, found: (DidDocument, usize)) {
        let higher = self
            .newest
            .as_ref()
            .is_none_or(|(held, _)| held.version_id() < found.0.version_id());
        if higher {
            self.newest = Some(found);
        }
    }
}

/// A storage node's answer, or a document as it is. Either way its proof decides.
pub fn read(body: &[u8], did: &Did) -> Option<DidDocument> {
    if body.len() > MAX_ANSWER_BYTES {
        return None;
    }
    let mut value: Value = serde_json::from_slice(body).ok()?;
    let document = match value.get_mut("data") {
        Some(data) => data.take(),
        None => value,
    };
    DidDocument::verify(document, did).ok()
}
