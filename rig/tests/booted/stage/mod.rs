//! A storage node, the host's program and the released image in an emulated enclave, with a tap between the last two.

pub mod host;

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use adyton_attest::nitro::pcr::CONFIG_PCR;
use adyton_attest::nitro::{Pcr, Pcrs, RootHash};
use adyton_attest::observe::{Patience, observe};
use adyton_attest::{ConfigDigest, Policy};
use adyton_client::attested_node::{AttestedNode, NodeError};
use adyton_client::clock::Clock;
use adyton_client::did_resolver::StorageNodeResolver;
use adyton_client::endpoint::Reach;
use adyton_client::identity::open_context;
use adyton_client::storage_node::StorageNode;
use adyton_client::transport::Transport;
use adyton_keys::account::Account;
use adyton_keys::context_session::ContextSession;
use adyton_protocol::context::ContextName;
use adyton_protocol::did::Network;
use adyton_rig::tap::Tap;
use adyton_rig::tools::repository;
use adyton_rig::{Emulator, Image, Machine, TestPki, Tools};
use adyton_storage::Storage;
use host::Host;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use rand_core::{OsRng, TryRngCore};
use serde_json::Value;
use tempfile::TempDir;

/// The network that the stage plays.
pub const NETWORK: Network = Network::Local;

/// What the node is told; the storage node is on the host, so it is reached without TLS.
pub const CONFIG: &str = r#"listen = "vsock:8443"
names = ["localhost", "127.0.0.1"]
allow_loopback_storage = true

[egress]
through = "host"

[limits]
node_memory_mib = 64
tenant_memory_mib = 32
idle_seconds = 2
"#;

/// How long a boot may take, on a machine that is busy with other things.
pub const BOOT: Duration = Duration::from_secs(90);

/// What the node prints when it serves.
pub const SERVES: &str = "listening on";

/// The ports of the host's, as `adyton-vsock` has them.
pub const HOST_PORTS: [u32; 4] = [9000, 9100, 9200, 9300];

/// What is booted.
pub struct Script {
    pub config: String,
    pub machine: Machine,
    pub image: PathBuf,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            config: CONFIG.to_owned(),
            machine: Machine::default(),
            image: image().eif,
        }
    }
}

/// Everything running. Fields end in this order.
pub struct Stage {
    pub enclave: Emulator,
    pub host: Host,
    pub tap: Tap,
    pub storage: Storage,
    pub pki: TestPki,
    config: String,
    _folder: TempDir,
}

/// The released image.
pub fn image() -> Image {
    Image::in_folder(&repository().join("target/enclave-image")).unwrap()
}

pub fn tools() -> Tools {
    Tools::find().expect("just enclave-test skips where there are no tools")
}

pub fn now() -> SystemTime {
    Clock::system().now()
}

impl Stage {
    /// The released image, as it is meant to run.
    pub async fn boot() -> Self {
        Self::play(Script::default()).await
    }

    /// Boots until the node serves.
    pub async fn play(script: Script) -> Self {
        let stage = Self::raise(script).await;
        assert!(
            stage.enclave.console().shows(SERVES, BOOT),
            "the node does not serve:\n{}\n{}\n{}",
            stage.enclave.console().text(),
            stage.enclave.complaints(),
            stage.host.said()
        );
        stage
    }

    /// Switches on and returns at once.
    pub async fn raise(script: Script) -> Self {
        let folder = TempDir::with_prefix("adyton-stage.").unwrap();
        let data = folder.path().join("storage");
        let any = "127.0.0.1:0".parse().unwrap();
        let mut config = adyton_storage::Config::new(any, data);
        config.network = NETWORK;
        let storage = Storage::start(config).await.unwrap();

        let pki = TestPki::make(now()).unwrap();
        let prepared = script.machine.prepare(&tools(), &pki).unwrap();
        let socket = folder.path().join("host");
        let tap = Tap::between(&prepared.vsock(), &socket, &HOST_PORTS).unwrap();
        let host = Host::start(&socket, &script.config, folder.path());
        let enclave = prepared.boot(&script.image).unwrap();
        Self {
            enclave,
            host,
            tap,
            storage,
            pki,
            config: script.config,
            _folder: folder,
        }
    }

    /// The node, as its clients address it.
    pub fn url(&self) -> String {
        format!("https://{}", self.host.address())
    }

    /// What a client trusts: this root, the builder's measurements, and this configuration.
    pub fn policy(&self) -> Policy {
        let mut pcrs = image().pcrs;
        pcrs.insert(CONFIG_PCR, Pcr::of_config(&ConfigDigest::of(&self.config)));
        policy(&self.pki.root(), &pcrs)
    }

    /// A client that has appraised the node.
    pub async fn node(&self) -> Result<AttestedNode, NodeError> {
        AttestedNode::connect(&self.url(), &self.policy(), &Clock::system()).await
    }

    /// Opens a context as its owner, making DID document and context if they are new.
    pub async fn open_context(&self, account: &Account) -> ContextSession {
        let transport = transport();
        let endpoint = self.storage.public_url().parse().unwrap();
        let node = StorageNode::new(transport, endpoint).unwrap();
        let resolver = StorageNodeResolver::new(vec![node.clone()]);
        let vault = ContextName::vault();
        let clock = Clock::system();
        open_context(account, NETWORK, &vault, &[node], &resolver, &clock)
            .await
            .unwrap()
    }
}

/// A policy that trusts one root and one set of registers.
pub fn policy(root: &RootHash, pcrs: &Pcrs) -> Policy {
    let pcrs: Vec<String> = pcrs
        .iter()
        .map(|(index, pcr)| format!("{index} = \"{pcr}\""))
        .collect();
    let text = format!(
        "version = 1\nallow_simulated = true\n[[nitro]]\nname = \"the rig\"\nroot_sha256 = \"{root}\"\npcrs = {{ {} }}\n",
        pcrs.join(", ")
    );
    Policy::from_toml(&text).unwrap()
}

/// A client's connections to the storage node.
pub fn transport() -> Transport {
    Transport::new(Reach::AlsoThisMachine).unwrap()
}

pub fn new_account() -> Account {
    Account::generate(NETWORK.anchor(), &mut OsRng.unwrap_err()).0
}

/// Waits until the node has dropped what is idle.
pub async fn evicted(url: &str) {
    let address = url.parse().unwrap();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(60) {
        let observed = observe(&address, None, &Patience::default()).await.unwrap();
        let mut connection = observed.dangerous_connection();
        for _ in 0..20 {
            let request = Request::get("/readyz").body(Full::default()).unwrap();
            let Ok(answer) = connection.send(request).await else {
                break;
            };
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let ready: Value = serde_json::from_slice(&body).unwrap();
            if ready["memoryTenths"] == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    panic!("nothing was evicted in a minute");
}
