//! The keys that other nodes show at their own addresses, when one of them asks to be let in.
//!
//! Guarantees: whoever has this node ask another one, has it ask seldom (once for all who wait, and then not for a while) and few at
//! a time, whether they wait for the answer or hang up. Refuses to know what is done with a key.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use adyton_protocol::signature::PublicKey;
use adyton_resolver::web::{Ask, Web, WebError};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;
use url::Url;

use crate::fair_share::FairShare;
use crate::throttle::CallerKey;

/// Largest answer of another node that is read, in bytes.
const MAX_STATUS_BYTES: usize = 64 << 10;
/// Longest wait for it, as the original has it.
const STATUS_TIME: Duration = Duration::from_secs(5);
/// Nodes that are asked at one time.
const AT_ONCE: u64 = 16;
/// Of those, for one caller.
const AT_ONCE_OF_ONE: u64 = 4;
/// How long a key is taken from memory.
const SHOWN: Duration = Duration::from_secs(60);
/// How long a node that shows none, or another than is looked for, is not asked again: short, as a way to it may have failed.
const FAILED: Duration = Duration::from_secs(2);
/// Nodes that are remembered.
const MAX_NODES: usize = 4_096;

/// The node shows no key now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoKey {
    #[error(transparent)]
    Web(#[from] WebError),
    #[error("the endpoint shows no key")]
    Absent,
    #[error("the endpoint is not a URL")]
    NotAUrl,
    /// Nobody was asked.
    #[error("too many other nodes are being asked")]
    TooMany,
}

/// Asks for keys, and remembers them for a while.
pub(crate) struct NodeKeys {
    outbound: Arc<dyn Web>,
    nodes: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Option<Shown>>>>>,
    share: FairShare<CallerKey>,
    asking: Mutex<JoinSet<()>>,
}

/// What a node showed, and when it was asked.
#[derive(Clone, Copy)]
struct Shown {
    at: Instant,
    key: Result<PublicKey, NoKey>,
}

impl Shown {
    fn is_young(&self, fits: impl Fn(&PublicKey) -> bool) -> bool {
        let life = match &self.key {
            Ok(key) if fits(key) => SHOWN,
            // It may have another key by now: one that lost its data, or was exchanged.
            Ok(_) | Err(_) => FAILED,
        };
        self.at.elapsed() < life
    }
}

impl NodeKeys {
    pub(crate) fn new(outbound: Arc<dyn Web>) -> Self {
        Self {
            outbound,
            nodes: Mutex::default(),
            share: FairShare::new(AT_ONCE, AT_ONCE_OF_ONE),
            asking: Mutex::default(),
        }
    }

    /// The key that the node at this address shows, or showed lately if that one fits.
    pub(crate) async fn of(
        &self,
        caller: &CallerKey,
        endpoint: &Url,
        fits: impl Fn(&PublicKey) -> bool,
    ) -> Result<PublicKey, NoKey> {
        let url = endpoint.join("/status").map_err(|_| NoKey::NotAUrl)?;
        // One at a time asks; those who waited find what it learned.
        let mut known = self.node(url.as_str()).lock_owned().await;
        if let Some(shown) = known.filter(|shown| shown.is_young(fits)) {
            return shown.key;
        }
        let place = self.share.enter(caller.clone(), 1).ok_or(NoKey::TooMany)?;
        let (tell, told) = oneshot::channel();
        let outbound = Arc::clone(&self.outbound);
        self.spawn(async move {
            let key = ask(&*outbound, url).await;
            *known = Some(Shown {
                at: Instant::now(),
                key,
            });
            drop((known, place));
            // Nobody may wait any more.
            let _told = tell.send(key);
        });
        told.await.unwrap_or(Err(NoKey::Web(WebError::Unreachable)))
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        while asking.try_join_next().is_some() {}
        asking.spawn(work);
    }

    fn node(&self, url: &str) -> Arc<tokio::sync::Mutex<Option<Shown>>> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if nodes.len() >= MAX_NODES {
            // Those that nobody has to do with just now.
            nodes.retain(|_, node| Arc::strong_count(node) > 1);
        }
        Arc::clone(nodes.entry(url.to_owned()).or_default())
    }
}

async fn ask(outbound: &dyn Web, url: Url) -> Result<PublicKey, NoKey> {
    let said = outbound.ask(Ask {
        url,
        body: None,
        limit: MAX_STATUS_BYTES,
        time: STATUS_TIME,
    });
    let status: Value = serde_json::from_slice(&said.await?.body).unwrap_or_default();
    let key = status.pointer("/results/publicKey").and_then(Value::as_str);
    key.and_then(|text| text.parse().ok()).ok_or(NoKey::Absent)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use adyton_resolver::web::{Pending, Said};

    use super::*;

    const KEY: &str = "0x0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";

    /// Shows a key after a second, at addresses with a certain name; the others never answer.
    #[derive(Default)]
    struct Nodes(AtomicU64);

    impl Nodes {
        fn asked(&self) -> u64 {
            self.0.load(Ordering::SeqCst)
        }
    }

    impl Web for Nodes {
        fn ask(&self, ask: Ask) -> Pending<'_, Result<Said, WebError>> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                if ask.url.host_str() != Some("good.example") {
                    tokio::time::sleep(ask.time).await;
                    return Err(WebError::Timeout);
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
                let body = serde_json::json!({"results": {"publicKey": KEY}});
                Ok(Said {
                    status: 200,
                    body: body.to_string().into(),
                })
            })
        }
    }

    fn keys() -> (Arc<Nodes>, Arc<NodeKeys>) {
        let nodes = Arc::new(Nodes::default());
        let keys = NodeKeys::new(Arc::clone(&nodes) as Arc<dyn Web>);
        (nodes, Arc::new(keys))
    }

    fn caller(n: u8) -> CallerKey {
        CallerKey::Address([192, 0, 2, n].into())
    }

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_is_asked_once_for_all_and_not_again_for_a_minute() {
        let (nodes, keys) = keys();
        let good = url("https://good.example/");
        let mut waiting = JoinSet::new();
        for n in 0..100 {
            let (keys, good) = (Arc::clone(&keys), good.clone());
            waiting.spawn(async move { keys.of(&caller(n), &good, |_| true).await });
        }
        for key in waiting.join_all().await {
            assert_eq!(key, Ok(KEY.parse().unwrap()));
        }
        tokio::time::advance(SHOWN - Duration::from_secs(1)).await;
        keys.of(&caller(1), &good, |_| true).await.unwrap();
        assert_eq!(nodes.asked(), 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        keys.of(&caller(1), &good, |_| true).await.unwrap();
        assert_eq!(nodes.asked(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_does_not_fit_is_asked_for_anew_and_not_more_often_than_one_that_is_not_shown()
     {
        let (nodes, keys) = keys();
        let good = url("https://good.example/");
        keys.of(&caller(1), &good, |_| true).await.unwrap();
        for asked in [1, 2] {
            // However many signatures of another key come.
            for _ in 0..10 {
                keys.of(&caller(1), &good, |_| false).await.unwrap();
                assert_eq!(nodes.asked(), asked);
            }
            tokio::time::advance(FAILED).await;
            keys.of(&caller(1), &good, |_| true).await.unwrap();
            assert_eq!(nodes.asked(), asked);
            keys.of(&caller(1), &good, |_| false).await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_hangs_up_has_nobody_asked_more_often_and_leaves_others_their_turns() {
        let (nodes, keys) = keys();
        let stranger = caller(1);
        for n in 0..100 {
            let silent = url(&format!("https://n{}.example/", n % 10));
            let impatient = keys.of(&stranger, &silent, |_| true);
            let waited = tokio::time::timeout(Duration::from_millis(1), impatient).await;
            assert!(waited.is_err() || waited == Ok(Err(NoKey::TooMany)));
        }
        assert_eq!(nodes.asked(), AT_ONCE_OF_ONE);
        let good = url("https://good.example/");
        let good = keys.of(&caller(2), &good, |_| true).await;
        assert_eq!(good, Ok(KEY.parse().unwrap()));
        tokio::time::sleep(STATUS_TIME).await;
        let silent = url("https://n0.example/");
        let silent = keys.of(&caller(1), &silent, |_| true).await;
        assert_eq!(silent, Err(NoKey::Web(WebError::Timeout)));
        assert_eq!(nodes.asked(), AT_ONCE_OF_ONE + 1);
    }
}
