//! Resolution (`spec/protocol.md` §7.4, done right): where, then all places at once, then the proof.
//!
//! 1. What is remembered and young enough.
//! 2. The registry says where. Its "absent" ends it.
//! 3. All places are asked at the same time; each document is verified against the DID's own address (§6.5).
//! 4. The highest version counts. Nothing found: every other registry is asked, too, and the places that it adds.
//! 5. "Absent" is said only when every place said so; anything less is an error, which says nothing about the DID.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use adyton_protocol::did::Did;
use adyton_protocol::did_document::{DidDocument, MAX_DOCUMENT_BYTES};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use crate::cache::{Cache, CacheLimits, Outcome};
use crate::chain::Now;
use crate::registry::{NoAnswer, Opinion, Registered, Registry, place_at};
use crate::web::{Ask, Web, WebError};

/// Largest answer of a place, in bytes: a document and its envelope.
const MAX_ANSWER_BYTES: usize = MAX_DOCUMENT_BYTES + 1024;
/// However often somebody wants it fresh, a DID is asked for no more often.
const MIN_AGE: Duration = Duration::from_secs(5);
/// Resolutions at one time. A DID has its place among them, so that it is asked for once at a time.
const LANES: usize = 256;

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

/// Finds documents.
pub struct Resolver {
    registry: Arc<dyn Registry>,
    web: Arc<dyn Web>,
    now: Now,
    times: Times,
    /// A place that is asked whatever the registry says of places: a storage node's own documents.
    home: Option<Url>,
    cache: Mutex<Cache>,
    lanes: Vec<tokio::sync::Mutex<()>>,
    hasher: RandomState,
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
            registry,
            web,
            now,
            times: Times::default(),
            home: None,
            cache: Mutex::new(Cache::new(limits)),
            lanes: (0..LANES).map(|_| tokio::sync::Mutex::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    /// With one more place for every registered DID: the node at this base URL, which ends in `/`.
    #[must_use]
    pub fn with_home(self, base: Url) -> Self {
        Self {
            home: Some(base),
            ..self
        }
    }

    /// With other times.
    #[must_use]
    pub fn with_times(self, times: Times) -> Self {
        Self { times, ..self }
    }

    /// The newest document of a DID. `Ok(None)`: there is none, those who must know said so.
    pub async fn resolve(&self, did: &Did, freshness: Freshness) -> Outcome {
        let at_most = match freshness {
            Freshness::Remembered => Duration::MAX,
            Freshness::Asked => MIN_AGE,
        };
        if let Some(outcome) = self.remembered(did, at_most) {
            return outcome;
        }
        let resolution = tokio::time::timeout(self.times.whole, async {
            let lane = self.lanes.get(self.lane(did)).ok_or(ResolveError::Time)?;
            let _turn = lane.lock().await;
            // Somebody else may have asked while this one waited.
            if let Some(outcome) = self.remembered(did, at_most) {
                return outcome;
            }
            let found = tokio::time::timeout(self.times.whole, self.ask(did)).await;
            self.cache()
                .keep(did, found.unwrap_or(Err(ResolveError::Time)), (self.now)())
        });
        resolution.await.unwrap_or(Err(ResolveError::Time))
    }

    /// Whoever embeds this knows that something is new: the next one who asks for this DID is not answered from memory.
    pub fn forget(&self, did: &Did) {
        self.cache().forget(did);
    }

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

    fn remembered(&self, did: &Did, at_most: Duration) -> Option<Outcome> {
        self.cache().fresh(did, (self.now)(), at_most)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stranger cannot choose to be in somebody's lane: the hash has a key.
    fn lane(&self, did: &Did) -> usize {
        usize::try_from(self.hasher.hash_one(did) % LANES as u64).unwrap_or_default()
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
