//! The registry on chain, through JSON-RPC endpoints that nobody has to trust much.
//!
//! 1. An endpoint is asked once for its chain, and not used when it is another.
//! 2. Endpoints are asked in the configured order, those that failed lately last.
//! 3. "Registered" is believed from one (it only says where to look); "absent" needs a second one's word when two are configured.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use adyton_protocol::address::Address;
use adyton_protocol::did::{Anchor, Did};
use adyton_protocol::did_registry::{
    MAX_ENDPOINTS, UNREGISTERED_DID, lookup_call, parse_lookup_result, registry_contract,
};
use futures_util::future::join_all;
use url::Url;

use crate::json_rpc::{self, MAX_ANSWER_BYTES, RpcAnswer};
use crate::registry::{NoAnswer, Opinion, Registered, Registry, places};
use crate::web::{Ask, Pending, Web};

/// Most JSON-RPC endpoints of one chain.
pub const MAX_RPC: usize = 8;
/// Longest wait for one endpoint.
const RPC_TIME: Duration = Duration::from_secs(5);
/// The first pause of an endpoint that failed; doubled with every further failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(64);
/// Endpoints that must agree that a DID is absent, where there are as many.
const AGREE_ON_ABSENT: usize = 2;

/// Tells the time.
pub type Now = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The contract of one chain.
pub struct ChainRegistry {
    anchor: Anchor,
    contract: Address,
    endpoints: Vec<Rpc>,
    web: Arc<dyn Web>,
    now: Now,
    time: Duration,
    questions: AtomicU64,
}

/// An endpoint, and what is known of it.
struct Rpc {
    url: Url,
    state: Mutex<RpcState>,
}

/// What an endpoint answered about a DID.
enum Answer {
    Registered(Registered),
    /// The contract's own answer, which is not read: whoever registered the DID wrote it, and the endpoint is as good as any.
    Unreadable,
}

#[derive(Clone, Copy, Default)]
struct RpcState {
    right_chain: bool,
    failures: u32,
    paused_until: Option<SystemTime>,
}

impl ChainRegistry {
    /// The registry of `anchor`, asked through these endpoints; the first [`MAX_RPC`] count.
    pub fn new(anchor: Anchor, rpc: Vec<Url>, web: Arc<dyn Web>, now: Now) -> Self {
        let endpoints = rpc.into_iter().take(MAX_RPC).map(|url| Rpc {
            url,
            state: Mutex::default(),
        });
        Self {
            anchor,
            contract: registry_contract(anchor),
            endpoints: endpoints.collect(),
            web,
            now,
            time: RPC_TIME,
            questions: AtomicU64::new(1),
        }
    }

    /// With another longest wait for one endpoint.
    #[must_use]
    pub fn with_time(self, time: Duration) -> Self {
        Self { time, ..self }
    }

    async fn first(&self, did: &Did) -> Result<Registered, NoAnswer> {
        let needed = AGREE_ON_ABSENT.min(self.endpoints.len());
        let mut absent = 0;
        for rpc in self.in_order() {
            match self.ask(rpc, did).await {
                Some(Registered::At(places)) => return Ok(Registered::At(places)),
                Some(Registered::Absent) => {
                    absent += 1;
                    if absent >= needed {
                        return Ok(Registered::Absent);
                    }
                }
                None => {}
            }
        }
        Err(NoAnswer)
    }

    async fn every(&self, did: &Did) -> Result<Registered, NoAnswer> {
        let answers = join_all(self.endpoints.iter().map(|rpc| self.ask(rpc, did))).await;
        let answered = answers.iter().flatten().count();
        let found = answers
            .into_iter()
            .flatten()
            .flat_map(|answer| match answer {
                Registered::At(places) => places,
                Registered::Absent => Vec::new(),
            });
        let found: Vec<Url> = found.collect();
        match (found.is_empty(), answered) {
            (_, 0) => Err(NoAnswer),
            (false, _) => Ok(Registered::At(places(found.iter().map(Url::as_str)))),
            (true, answered) if answered >= AGREE_ON_ABSENT.min(self.endpoints.len()) => {
                Ok(Registered::Absent)
            }
            (true, _) => Err(NoAnswer),
        }
    }

    /// The healthy ones first; the others still, for there may be no healthy one.
    fn in_order(&self) -> Vec<&Rpc> {
        let now = (self.now)();
        let mut order: Vec<&Rpc> = self.endpoints.iter().collect();
        // A stable sort: among equals, the configured order.
        order.sort_by_key(|rpc| rpc.state().paused_until.filter(|until| *until > now));
        order
    }

    /// What one endpoint says; none when it says nothing that counts.
    async fn ask(&self, rpc: &Rpc, did: &Did) -> Option<Registered> {
        let answer = self.ask_chain(rpc, did).await;
        rpc.learn(answer.is_some(), (self.now)());
        match answer? {
            Answer::Registered(registered) => Some(registered),
            Answer::Unreadable => None,
        }
    }

    async fn ask_chain(&self, rpc: &Rpc, did: &Did) -> Option<Answer> {
        if !rpc.state().right_chain {
            let id = self.question();
            match self.send(rpc, id, json_rpc::eth_chain_id(id)).await? {
                RpcAnswer::Returned(chain) if number(&chain) == Some(self.anchor.chain_id()) => {
                    rpc.state
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .right_chain = true;
                }
                _ => return None,
            }
        }
        let id = self.question();
        let call = json_rpc::eth_call(id, &self.contract, &lookup_call(&did.address()));
        match self.send(rpc, id, call).await? {
            RpcAnswer::Returned(data) => {
                let Ok(registration) = parse_lookup_result(&data) else {
                    return Some(Answer::Unreadable);
                };
                let texts = registration.endpoints.iter().take(MAX_ENDPOINTS);
                let places = places(texts.map(String::as_str));
                Some(Answer::Registered(Registered::At(places)))
            }
            RpcAnswer::Reverted(data) if data == UNREGISTERED_DID => {
                Some(Answer::Registered(Registered::Absent))
            }
            RpcAnswer::Reverted(_) => None,
        }
    }

    async fn send(&self, rpc: &Rpc, id: u64, question: bytes::Bytes) -> Option<RpcAnswer> {
        let ask = Ask {
            url: rpc.url.clone(),
            body: Some(question),
            limit: MAX_ANSWER_BYTES,
            time: self.time,
        };
        let said = self.web.ask(ask).await.ok()?;
        json_rpc::read(id, &said.body).ok()
    }

    fn question(&self) -> u64 {
        self.questions.fetch_add(1, Ordering::Relaxed)
    }
}

impl Registry for ChainRegistry {
    fn lookup<'a>(
        &'a self,
        did: &'a Did,
        opinion: Opinion,
    ) -> Pending<'a, Result<Registered, NoAnswer>> {
        Box::pin(async move {
            // A DID of another chain is registered there, if anywhere.
            if did.anchor() != self.anchor {
                return Err(NoAnswer);
            }
            match opinion {
                Opinion::First => self.first(did).await,
                Opinion::Every => self.every(did).await,
            }
        })
    }
}

impl std::fmt::Debug for ChainRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "ChainRegistry({}, {} endpoints)",
            self.anchor.name(),
            self.endpoints.len()
        )
    }
}

impl Rpc {
    fn state(&self) -> RpcState {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, answered: bool, now: SystemTime) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if answered {
            state.failures = 0;
            state.paused_until = None;
        } else {
            let doubled = FIRST_PAUSE.saturating_mul(1 << state.failures.min(8));
            state.failures = state.failures.saturating_add(1);
            state.paused_until = Some(now + doubled.min(LONGEST_PAUSE));
        }
    }
}

/// A big-endian number, if it is a small one.
fn number(bytes: &[u8]) -> Option<u64> {
    let significant = bytes.iter().skip_while(|byte| **byte == 0);
    let mut number = 0u64;
    for byte in significant {
        number = number.checked_mul(256)? | u64::from(*byte);
    }
    Some(number)
}
