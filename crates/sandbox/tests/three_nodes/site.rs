//! Storage nodes on hosts of their own, each behind a way that can be cut, and configured as an operator configures them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use adyton_client::clock::Clock;
use adyton_client::did_directory::DidDirectory;
use adyton_client::did_resolver::{DidResolver, RegistryResolver};
use adyton_client::identity::open_context;
use adyton_client::storage_node::StorageNode;
use adyton_keys::account::Account;
use adyton_keys::context_session::ContextSession;
use adyton_keys::keyring::Keyring;
use adyton_protocol::context::ContextName;
use adyton_protocol::did_document::{ContextEndpoints, UnsignedDidDocument};
use adyton_protocol::hash::keccak256;
use adyton_resolver::registry::Source;
use adyton_sandbox::cluster::NETWORK;
use adyton_storage::{ConfigFile, Pace, Storage};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand_core::{OsRng, TryRngCore};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::child::{Process, Role};
use crate::fault::{Fault, Way};
use crate::support::raw_request;
use crate::transport;

/// Longest wait for something that must happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A storage node at an address that stays.
pub struct Site {
    pub way: Way,
    config: String,
    folder: TempDir,
    running: Running,
}

#[allow(dead_code, reason = "held for as long as it runs")]
enum Running {
    Nothing,
    Here(Storage),
    /// A process of its own, which can be killed.
    Apart(Process),
}

impl Site {
    pub fn url(&self) -> String {
        format!("{}/", self.way.url())
    }

    pub fn data(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it in this process.
    async fn up(&mut self, ahead: &Arc<AtomicI64>) {
        let mut config = ConfigFile::parse(&self.config)
            .unwrap()
            .into_config()
            .unwrap();
        config.pace = Pace {
            settle: Duration::from_millis(5),
            first_pause: Duration::from_millis(50),
            longest_pause: Duration::from_millis(400),
            nodes_memory: Duration::from_secs(1),
            ..Pace::default()
        };
        let (ahead, system) = (Arc::clone(ahead), Clock::system());
        let clock = adyton_storage::Clock::from_fn(move || {
            let seconds = u64::try_from(ahead.load(Ordering::SeqCst)).unwrap();
            system.now() + Duration::from_secs(seconds)
        });
        let storage = Storage::start_with(config, clock, None).await.unwrap();
        self.way.lead_to(Some(storage.address()));
        self.running = Running::Here(storage);
    }

    /// Starts it as a process of its own.
    pub fn up_apart(&mut self) {
        let process = Process::start(Role::ConfiguredStorage, &self.config, self.data(), &[]);
        let address = process.hello("address").parse().unwrap();
        self.way.lead_to(Some(address));
        self.running = Running::Apart(process);
    }

    /// Ends the process as a power cut would.
    pub fn kill(&mut self) {
        self.way.lead_to(None);
        self.running = Running::Nothing;
    }
}

/// Storage nodes that know each other, and the seconds that their clocks are ahead.
pub struct Sites {
    pub all: Vec<Site>,
    pub ahead: Arc<AtomicI64>,
}

impl Sites {
    /// Nodes in this process.
    pub async fn start(count: u8) -> Self {
        let mut sites = Self::prepare(count).await;
        for site in &mut sites.all {
            site.up(&sites.ahead).await;
        }
        sites
    }

    /// Nodes as processes of their own.
    pub async fn start_apart(count: u8) -> Self {
        let mut sites = Self::prepare(count).await;
        for site in &mut sites.all {
            site.up_apart();
        }
        sites
    }

    async fn prepare(count: u8) -> Self {
        let mut ways = Vec::new();
        for n in 1..=count {
            ways.push(Way::open(n).await);
        }
        let urls: Vec<String> = ways.iter().map(|way| format!("{}/", way.url())).collect();
        let site = |(n, way): (usize, Way)| {
            let mut others = urls.clone();
            others.remove(n);
            let folder = TempDir::new().unwrap();
            let data = folder.path().join("data");
            let config = format!(
                "listen = \"127.0.0.1:0\"\npublic-url = \"{}\"\ndata = {data:?}\nnetwork = \"{}\"\n\
                 [did]\nregistry = \"directory\"\nallow-loopback = true\ndirectories = {others:?}\n\
                 [replication]\nloopback-nodes = {others:?}\n",
                way.url(),
                NETWORK.name(),
            );
            let running = Running::Nothing;
            Site {
                way,
                config,
                folder,
                running,
            }
        };
        Self {
            all: ways.into_iter().enumerate().map(site).collect(),
            ahead: Arc::default(),
        }
    }

    pub fn urls(&self) -> Vec<String> {
        self.all.iter().map(Site::url).collect()
    }

    /// Nothing that these nodes send reaches those.
    pub fn part(&self, those: &[usize], these: &[usize]) {
        let words: Vec<String> = these.iter().flat_map(|n| self.words_of(*n)).collect();
        for n in those {
            self.all[*n].way.shut_out(&words);
            // Those who are through are cut off.
            self.all[*n].way.fault(Fault::Partition);
            self.all[*n].way.fault(Fault::None);
        }
    }

    pub fn heal(&self) {
        self.all.iter().for_each(|site| site.way.shut_out(&[]));
    }

    /// What stands in each request of a node to another: its name, or its address.
    fn words_of(&self, n: usize) -> [String; 2] {
        let way = &self.all[n].way;
        let host = way.address.ip().to_string();
        let name = format!("r{}:", hex::encode(keccak256(host.as_bytes())));
        // Its bytes are a multiple of three: so it stands by itself before the password.
        let handshake = format!("\"endpointUri\":\"{}\"", way.url());
        [STANDARD.encode(name), handshake]
    }
}

/// Somebody with a context on nodes.
pub struct Owner {
    pub account: Account,
    directories: Vec<String>,
}

impl Owner {
    /// A new person, whom these nodes know as directories.
    pub fn new(sites: &Sites) -> Self {
        let (account, _) = Account::generate(NETWORK.anchor(), &mut OsRng.unwrap_err());
        Self {
            account,
            directories: sites.urls(),
        }
    }

    /// Names the nodes that hold the vault, registers where the document lies, and logs in to these nodes.
    pub async fn named(&self, urls: &[String]) -> ContextSession {
        let did = self.account.did().lowercase();
        let places: Vec<String> = urls.iter().map(|url| format!("{url}did/{did}")).collect();
        for url in &self.directories {
            let directory = DidDirectory::new(transport(), url.parse().unwrap()).unwrap();
            directory.register(&self.account, &places).await.unwrap();
        }
        let (vault, clock) = (ContextName::vault(), Clock::system());
        let resolver = self.resolver();
        if let Some(current) = resolver.resolve(self.account.did()).await.unwrap() {
            let keyring = Keyring::of_seed(&self.account.unlock(&vault)).unwrap();
            let mut next = UnsignedDidDocument::successor_of(&current, clock.date());
            let endpoints = ContextEndpoints {
                database: urls.to_vec(),
                messaging: urls.to_vec(),
                ..Default::default()
            };
            next.add_context(
                NETWORK,
                &vault,
                &self.account.context_keys(&keyring),
                &endpoints,
            );
            let document = self.account.sign_document(next).unwrap();
            for node in storage_nodes(&self.directories) {
                let stored = node.put_did_document(&document).await;
                // A node that is new to it takes only what it can hold against the document before.
                if stored.is_err() {
                    node.put_did_document(&current).await.unwrap();
                    node.put_did_document(&document).await.unwrap();
                }
            }
        }
        self.named_already(urls).await
    }

    /// Logs in to nodes that hold the vault already.
    pub async fn named_already(&self, urls: &[String]) -> ContextSession {
        let (vault, clock) = (ContextName::vault(), Clock::system());
        let (nodes, resolver) = (storage_nodes(urls), self.resolver());
        open_context(&self.account, NETWORK, &vault, &nodes, &resolver, &clock)
            .await
            .unwrap()
    }

    fn resolver(&self) -> RegistryResolver {
        let bases = self.directories.iter().map(|url| url.parse().unwrap());
        let source = Source::Directories(bases.collect());
        RegistryResolver::new(source, transport(), &Clock::system())
    }
}

fn storage_nodes(urls: &[String]) -> Vec<StorageNode> {
    let node = |url: &String| StorageNode::new(transport(), url.parse().unwrap()).unwrap();
    urls.iter().map(node).collect()
}

/// A context of which a client reaches the nodes at other addresses.
pub fn through(context: &ContextSession, urls: &[(String, String)]) -> ContextSession {
    let mut text = String::from_utf8(context.expose_json().to_vec()).unwrap();
    for (from, to) in urls {
        text = text.replace(from, to);
    }
    ContextSession::parse_json(text.as_bytes()).unwrap()
}

/// Every document's leaves on one node, and whether the winner is deleted.
pub type Told = BTreeMap<String, (BTreeSet<String>, bool)>;

/// One node, asked by the owner without the others.
pub struct Direct {
    url: String,
    token: String,
}

impl Direct {
    pub async fn new(context: &ContextSession, url: &str) -> Self {
        let auth = context
            .auths()
            .find(|auth| auth.endpoint_uri == url)
            .unwrap();
        let body = json!({
            "refreshToken": auth.refresh_token,
            "did": context.did().as_given(),
            "contextName": context.context().as_str(),
        });
        let (status, said) =
            raw_request(url, "POST", "auth/connect", "", body.to_string().into()).await;
        assert!(status.is_success(), "{status} {said}");
        Self {
            url: url.to_owned(),
            token: said["accessToken"].as_str().unwrap().to_owned(),
        }
    }

    pub async fn told(&self, database: &str) -> Option<Told> {
        let path = format!("{database}/_changes?style=all_docs");
        let (status, said) = raw_request(&self.url, "GET", &path, &self.token, "".into()).await;
        if !status.is_success() {
            return None;
        }
        let rows = said["results"].as_array().unwrap().iter();
        let told = rows.map(|row| {
            let revs = row["changes"].as_array().unwrap().iter();
            let revs = revs.map(|change| change["rev"].as_str().unwrap().to_owned());
            let id = row["id"].as_str().unwrap().to_owned();
            (id, (revs.collect(), row["deleted"] == json!(true)))
        });
        Some(told.collect())
    }

    /// Which of these revisions it does not know, neither as leaves nor in their history.
    pub async fn lacks(&self, database: &str, revs: &[(String, String)]) -> Value {
        let mut asked: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (id, rev) in revs {
            asked.entry(id).or_default().push(rev);
        }
        let path = format!("{database}/_revs_diff");
        let body = json!(asked).to_string();
        let (status, said) = raw_request(&self.url, "POST", &path, &self.token, body.into()).await;
        assert!(status.is_success(), "{status} {said}");
        said
    }
}

/// Waits until these nodes tell the same of a database, know all of these revisions, and lacks nothing.
pub async fn converged(
    context: &ContextSession,
    urls: &[String],
    database: &str,
    acknowledged: &[(String, String)],
) -> Told {
    let mut nodes = Vec::new();
    for url in urls {
        nodes.push(Direct::new(context, url).await);
    }
    let began = Instant::now();
    loop {
        let mut all = Vec::new();
        let mut lacking = Vec::new();
        for node in &nodes {
            let told = node.told(database).await;
            if told.is_some() {
                lacking.push(node.lacks(database, acknowledged).await);
            }
            all.push(told);
        }
        let agree = all[0].is_some() && all.iter().all(|told| *told == all[0]);
        if agree && lacking.iter().all(|lacking| *lacking == json!({})) {
            return all.remove(0).unwrap();
        }
        assert!(began.elapsed() < PATIENCE, "{lacking:?}\n{all:?}");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}
