//! JSON-RPC endpoints, directories and storage nodes on one loopback server, each answering as the test says.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use adyton_client::endpoint::Reach;
use adyton_client::transport::Transport;
use adyton_keys::account::Account;
use adyton_protocol::did::Anchor;
use adyton_protocol::did_document::{DidDocument, UnsignedDidDocument};
use adyton_resolver::cache::CacheLimits;
use adyton_resolver::chain::{ChainRegistry, Now};
use adyton_resolver::registry::Registry;
use adyton_resolver::resolver::{Resolver, Times};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::net::TcpListener;
use url::Url;

/// What is said at a path.
#[derive(Clone)]
pub(crate) enum Says {
    /// This, with this status.
    Plain(u16, String),
    /// JSON-RPC of a chain whose registry has these endpoints for every DID; none: unregistered.
    Chain(u64, Option<Vec<String>>),
    /// JSON-RPC of the right chain, whose answer to the call is this, with the question's id.
    Call(Value),
    /// JSON-RPC whose answers are to another question.
    WrongId,
    /// Nothing, ever.
    Silence,
    /// More than anybody wants.
    Huge,
}

pub(crate) struct World {
    pub(crate) base: Url,
    said: Arc<Mutex<HashMap<String, Says>>>,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    pub(crate) seconds: Arc<AtomicU64>,
}

pub(crate) const START: u64 = 1_795_000_000;

impl World {
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/", listener.local_addr().unwrap());
        let said: Arc<Mutex<HashMap<String, Says>>> = Arc::default();
        let asked: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
        let (all_said, all_asked) = (Arc::clone(&said), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (said, asked) = (Arc::clone(&all_said), Arc::clone(&all_asked));
                let service = service_fn(move |request| {
                    answer(request, Arc::clone(&said), Arc::clone(&asked))
                });
                let serving = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(serving);
            }
        });
        Self {
            base: base.parse().unwrap(),
            said,
            asked,
            seconds: Arc::new(AtomicU64::new(START)),
        }
    }

    /// From now on, this is said there.
    pub(crate) fn says(&self, path: &str, says: Says) -> Url {
        self.said.lock().unwrap().insert(path.to_owned(), says);
        self.base.join(path).unwrap()
    }

    /// A place with this document.
    pub(crate) fn keeps(&self, path: &str, document: &DidDocument) -> String {
        let body = json!({"status": "success", "data": document.to_json()});
        self.says(path, Says::Plain(200, body.to_string())).into()
    }

    /// Paths that were asked since the last time, with what was asked.
    pub(crate) fn asked(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    pub(crate) fn now(&self) -> Now {
        let seconds = Arc::clone(&self.seconds);
        Arc::new(move || -> SystemTime {
            UNIX_EPOCH + Duration::from_secs(seconds.load(Ordering::SeqCst))
        })
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    pub(crate) fn web(&self) -> Arc<Transport> {
        Arc::new(Transport::new(Reach::AlsoThisMachine).unwrap())
    }

    /// The chain's registry through these endpoints, with little patience.
    pub(crate) fn chain(&self, rpc: Vec<Url>) -> ChainRegistry {
        ChainRegistry::new(Anchor::Polamoy, rpc, self.web(), self.now())
            .with_time(Duration::from_millis(300))
    }

    pub(crate) fn resolver(&self, registry: Arc<dyn Registry>) -> Resolver {
        Resolver::new(registry, self.web(), self.now(), CacheLimits::default()).with_times(Times {
            place: Duration::from_millis(300),
            grace: Duration::from_millis(100),
            whole: Duration::from_secs(10),
        })
    }

    pub(crate) fn chain_resolver(&self, rpc: Vec<Url>) -> Resolver {
        self.resolver(Arc::new(self.chain(rpc)))
    }
}

async fn answer(
    request: Request<Incoming>,
    said: Arc<Mutex<HashMap<String, Says>>>,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().trim_start_matches('/').to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let question: Value = serde_json::from_slice(&body).unwrap_or_default();
    asked.lock().unwrap().push((path.clone(), question.clone()));
    let says = said.lock().unwrap().get(&path).cloned();
    let reply = |status: u16, text: String| {
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status.try_into().unwrap();
        Ok(response)
    };
    let of_chain = |chain: u64, call: Value| {
        let mut said = match question["method"].as_str() {
            Some("eth_chainId") => json!({"result": format!("0x{chain:x}")}),
            _ => call,
        };
        said["jsonrpc"] = "2.0".into();
        said["id"] = question["id"].clone();
        reply(200, said.to_string())
    };
    match says {
        None => reply(
            404,
            r#"{"status":"fail","message":"DID Document not found."}"#.into(),
        ),
        Some(Says::Plain(status, text)) => reply(status, text),
        Some(Says::Chain(chain, Some(endpoints))) => {
            of_chain(chain, json!({"result": lookup_result(&endpoints)}))
        }
        Some(Says::Chain(chain, None)) => of_chain(chain, unregistered()),
        Some(Says::Call(call)) => of_chain(80002, call),
        Some(Says::WrongId) => reply(200, r#"{"jsonrpc":"2.0","id":0,"result":"0x13882"}"#.into()),
        Some(Says::Silence) => std::future::pending().await,
        Some(Says::Huge) => reply(
            200,
            format!(r#"{{"id":1,"result":"0x{}"}}"#, "0".repeat(2 << 20)),
        ),
    }
}

/// As recorded.
pub(crate) fn unregistered() -> Value {
    json!({"error": {"code": 3, "message": "execution reverted", "data": "0xedabc40b"}})
}

/// `(address, string[])` as the contract's ABI writes it.
fn lookup_result(endpoints: &[String]) -> String {
    let word = |n: usize| format!("{n:064x}");
    let mut heads = String::new();
    let mut tails = String::new();
    for endpoint in endpoints {
        heads += &word(endpoints.len() * 32 + tails.len() / 2);
        let text: String = endpoint.bytes().map(|byte| format!("{byte:02x}")).collect();
        tails += &word(endpoint.len());
        tails += &text;
        tails += &"0".repeat(text.len().next_multiple_of(64) - text.len());
    }
    let list = word(endpoints.len()) + &heads + &tails;
    format!("0x{}{}{list}", word(7), word(64))
}

/// Somebody with a key.
pub(crate) fn person(seed: u8) -> Account {
    let text = format!("0x{}", format!("{seed:02x}").repeat(32));
    Account::from_secret_text(&text, Anchor::Polamoy).unwrap()
}

/// The versions of a person's document, from the first on.
pub(crate) fn documents(of: &Account, versions: usize) -> Vec<DidDocument> {
    let at = |seconds: usize| {
        OffsetDateTime::from_unix_timestamp(1_700_000_000 + i64::try_from(seconds).unwrap())
            .unwrap()
    };
    let first = UnsignedDidDocument::new(of.did(), of.public_key(), at(0));
    let mut all = vec![of.sign_document(first).unwrap()];
    while all.len() < versions {
        let next = UnsignedDidDocument::successor_of(all.last().unwrap(), at(all.len()));
        all.push(of.sign_document(next).unwrap());
    }
    all
}
