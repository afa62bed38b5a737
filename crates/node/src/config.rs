//! The node's configuration: one TOML file, parsed whole, and part of what is measured.
//!
//! There are no secrets in it, no environment variables beside it, and nothing changes it at run time.

mod oauth;

use std::path::PathBuf;
use std::time::Duration;

use adyton_client::ack::Ack;
use adyton_client::egress::{DohServer, HostRoute, MAX_RESOLVERS, Route};
use adyton_client::endpoint::{Endpoint, Reach};
use adyton_client::transport::Patience;
use adyton_protocol::did::Network;
use adyton_resolver::chain::MAX_RPC;
use adyton_resolver::directory::MAX_DIRECTORIES;
use adyton_resolver::web::plain_url;
use adyton_vsock::configuration;
use adyton_vsock::guest::Host;
use serde::Deserialize;
use url::Url;

use self::oauth::{CompatTable, ConsentTable, OauthTable};
pub use self::oauth::{LegacyTokens, LocalClients, OauthConfig, Wallet};
use crate::key_release::OysterDerive;
use crate::server::ListenAddress;
use crate::tee::TeeName;
use crate::vault::{VaultLimits, WatchLimits};

/// A parsed configuration, with the text that is measured.
#[derive(Debug, Clone)]
pub struct Config {
    /// The exact text of the file.
    pub text: String,
    /// Where the node listens.
    pub listen: ListenAddress,
    /// DNS names and addresses in the node's certificate.
    pub names: Vec<String>,
    /// Which storage nodes may be contacted.
    pub egress: Reach,
    /// The way to them.
    pub route: Route,
    /// Largest request body, in bytes.
    pub body_bytes: usize,
    /// Longest time for answering a request.
    pub request_timeout: Duration,
    /// Requests that one credential may send in a minute.
    pub requests_per_minute: u32,
    /// Most connections at a time.
    pub connections: usize,
    /// How long storage nodes may take.
    pub patience: Patience,
    /// What the vault may use.
    pub vault: VaultLimits,
    /// The TEE that it must run in; without a name, the one that is there.
    pub tee: Option<TeeName>,
    /// On dstack: a file with Intel's collateral, which others keep up to date.
    pub dstack_collateral: Option<PathBuf>,
    /// How apps ask for grants.
    pub oauth: OauthConfig,
    /// Where grants are kept beyond the process. Without, they end with it.
    pub grants: Option<GrantsStorage>,
    /// Who says where the DID documents of apps lie. Without, the user's own storage nodes are asked.
    pub dids: Option<DidRegistry>,
    /// Who releases the secret that the answer key is derived from. Without, that key is born in memory like the others.
    pub key_release: Option<OysterDerive>,
}

/// Where a node keeps grants, as ciphertext: in a context of an account of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantsStorage {
    /// The storage node.
    pub storage: Endpoint,
    /// The network of the account.
    pub network: Network,
}

/// A registry of DIDs (ADR 24).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DidRegistry {
    /// The contract on this network's chain, through these JSON-RPC endpoints; none: the public one.
    Chain(Network, Vec<Url>),
    /// Storage nodes that keep registrations, by their base URLs.
    Directories(Vec<Url>),
}

/// The configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidConfig {
    /// It is not the TOML that is expected.
    #[error("the configuration is not valid: {0}")]
    Toml(String),
    /// A value is out of range.
    #[error("the configuration value `{0}` is out of range")]
    Range(&'static str),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: String,
    #[serde(default = "default_names")]
    names: Vec<String>,
    #[serde(default)]
    allow_loopback_storage: bool,
    tee: Option<TeeName>,
    dstack: Option<DstackTable>,
    key_release: Option<KeyReleaseTable>,
    grants: Option<GrantsTable>,
    did: Option<DidTable>,
    #[serde(default)]
    storage: StorageTable,
    #[serde(default)]
    egress: EgressTable,
    #[serde(default)]
    oauth: OauthTable,
    #[serde(default)]
    consent: ConsentTable,
    #[serde(default)]
    compat: CompatTable,
    #[serde(default)]
    limits: LimitsTable,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct StorageTable {
    ack: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DstackTable {
    collateral_file: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyReleaseTable {
    oyster: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DidTable {
    registry: DidRegistryKind,
    network: Option<String>,
    #[serde(default)]
    rpc: Vec<String>,
    #[serde(default)]
    directories: Vec<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum DidRegistryKind {
    Chain,
    Directory,
}

impl DidTable {
    /// What belongs to the other kind of registry is a mistake, and named.
    fn read(self, reach: &Reach) -> Result<DidRegistry, InvalidConfig> {
        let urls = |name, texts: &[String], most| {
            let found: Vec<Url> = texts
                .iter()
                .filter_map(|text| plain_url(text))
                .filter(|url| reach.check(url).is_ok())
                .collect();
            match found.len() == texts.len() && found.len() <= most {
                true => Ok(found),
                false => Err(InvalidConfig::Range(name)),
            }
        };
        let rpc = urls("did.rpc", &self.rpc, MAX_RPC)?;
        let directories = urls("did.directories", &self.directories, MAX_DIRECTORIES)?;
        match self.registry {
            DidRegistryKind::Chain if directories.is_empty() => {
                let network = match self.network {
                    None => Network::Myrtle,
                    Some(name) => name
                        .parse()
                        .map_err(|_| InvalidConfig::Range("did.network"))?,
                };
                Ok(DidRegistry::Chain(network, rpc))
            }
            DidRegistryKind::Chain => Err(InvalidConfig::Range("did.directories")),
            DidRegistryKind::Directory if self.network.is_some() => {
                Err(InvalidConfig::Range("did.network"))
            }
            DidRegistryKind::Directory if !rpc.is_empty() => Err(InvalidConfig::Range("did.rpc")),
            DidRegistryKind::Directory
                if directories.is_empty()
                    || directories.iter().any(|base| !base.path().ends_with('/')) =>
            {
                Err(InvalidConfig::Range("did.directories"))
            }
            DidRegistryKind::Directory => Ok(DidRegistry::Directories(directories)),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantsTable {
    storage: String,
    network: Option<String>,
}

impl GrantsTable {
    /// What is kept must be found again: without a secret that outlives the process it could not be.
    fn storage(self, reach: &Reach, has_secret: bool) -> Result<GrantsStorage, InvalidConfig> {
        if !has_secret {
            return Err(InvalidConfig::Range("grants (without key_release)"));
        }
        let invalid = |_| InvalidConfig::Range("grants.storage");
        let storage: Endpoint = self.storage.parse().map_err(invalid)?;
        if storage.within(reach).is_err() {
            return Err(InvalidConfig::Range("grants.storage"));
        }
        let network = match self.network {
            None => Network::Myrtle,
            Some(name) => name
                .parse()
                .map_err(|_| InvalidConfig::Range("grants.network"))?,
        };
        Ok(GrantsStorage { storage, network })
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct EgressTable {
    through: Through,
    resolvers: Option<Vec<String>>,
}

#[derive(Deserialize, Default, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Through {
    #[default]
    Direct,
    Host,
}

/// Two that are not each other's: Cloudflare and Quad9.
const RESOLVERS: [&str; 2] = ["https://1.1.1.1/dns-query", "https://9.9.9.9/dns-query"];

impl EgressTable {
    /// Every resolver must be an address that may be contacted; and without a use for them, naming some is a mistake.
    fn route(self, reach: &Reach) -> Result<Route, InvalidConfig> {
        let invalid = InvalidConfig::Range("egress.resolvers");
        let named = match (self.through, self.resolvers) {
            (Through::Direct, None) => return Ok(Route::Direct),
            (Through::Direct, Some(_)) => return Err(invalid),
            (Through::Host, None) => RESOLVERS.map(str::to_owned).to_vec(),
            (Through::Host, Some(named)) => named,
        };
        let resolvers: Vec<DohServer> = named
            .iter()
            .filter_map(|text| text.parse().ok())
            .filter(|server: &DohServer| reach.allows_address(server.ip()))
            .collect();
        if resolvers.len() != named.len() || !(1..=MAX_RESOLVERS).contains(&resolvers.len()) {
            return Err(invalid);
        }
        Ok(Route::ThroughHost(HostRoute {
            host: Host::vsock(),
            resolvers,
        }))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsTable {
    body_mib: usize,
    request_seconds: u64,
    requests_per_minute: usize,
    connections: usize,
    node_memory_mib: usize,
    tenant_memory_mib: usize,
    tenants: usize,
    databases_per_tenant: usize,
    idle_seconds: u64,
    crowded_idle_seconds: u64,
    load_seconds: u64,
    stale_seconds: u64,
    storage_answer_seconds: u64,
    storage_silence_seconds: u64,
    workers: usize,
    watches: usize,
    watches_per_tenant: usize,
}

impl Default for LimitsTable {
    fn default() -> Self {
        Self {
            body_mib: 8,
            request_seconds: 150,
            requests_per_minute: 60_000,
            connections: 10_000,
            node_memory_mib: 4096,
            tenant_memory_mib: 1024,
            tenants: 1000,
            databases_per_tenant: 64,
            idle_seconds: 30 * 60,
            crowded_idle_seconds: 60,
            load_seconds: 120,
            stale_seconds: 300,
            storage_answer_seconds: 15,
            storage_silence_seconds: 75,
            workers: 2,
            watches: 10_000,
            watches_per_tenant: 100,
        }
    }
}

fn default_names() -> Vec<String> {
    vec!["localhost".to_owned(), "127.0.0.1".to_owned()]
}

impl Config {
    /// Longest accepted file, in bytes (it travels with the evidence).
    pub const MAX_BYTES: usize = configuration::MAX_BYTES;

    /// Parses a file. Unknown names are refused.
    pub fn parse(text: &str) -> Result<Self, InvalidConfig> {
        if text.len() > Self::MAX_BYTES {
            return Err(InvalidConfig::Range("file length"));
        }
        let file: File =
            toml::from_str(text).map_err(|e| InvalidConfig::Toml(e.message().to_owned()))?;
        let limits = file.limits;
        let mib = |name, value: usize| within(name, value, 1, 1 << 20).map(|value| value << 20);
        let seconds = |name, value: u64| {
            let value = usize::try_from(value).map_err(|_| InvalidConfig::Range(name))?;
            within(name, value, 1, 7 * 24 * 3600).map(|value| Duration::from_secs(value as u64))
        };
        let egress = match file.allow_loopback_storage {
            true => Reach::AlsoThisMachine,
            false => Reach::Public,
        };
        let head = seconds("storage_answer_seconds", limits.storage_answer_seconds)?;
        Ok(Self {
            text: text.to_owned(),
            listen: file
                .listen
                .parse()
                .map_err(|_| InvalidConfig::Range("listen"))?,
            names: file.names,
            tee: file.tee,
            dstack_collateral: match file.dstack.map(|table| table.collateral_file) {
                Some(path) if !path.is_absolute() => {
                    return Err(InvalidConfig::Range("dstack.collateral_file"));
                }
                path => path,
            },
            grants: match file.grants {
                None => None,
                Some(table) => Some(table.storage(&egress, file.key_release.is_some())?),
            },
            dids: file.did.map(|table| table.read(&egress)).transpose()?,
            key_release: file
                .key_release
                .map(|table| OysterDerive::at(&table.oyster))
                .transpose()
                .map_err(|_| InvalidConfig::Range("key_release.oyster"))?,
            oauth: file.oauth.read(&file.consent, &file.compat, &egress)?,
            route: file.egress.route(&egress)?,
            egress,
            body_bytes: mib("body_mib", limits.body_mib)?,
            request_timeout: seconds("request_seconds", limits.request_seconds)?,
            requests_per_minute: u32::try_from(limits.requests_per_minute)
                .ok()
                .filter(|requests| *requests > 0)
                .ok_or(InvalidConfig::Range("requests_per_minute"))?,
            connections: within("connections", limits.connections, 1, 1_000_000)?,
            patience: Patience {
                head,
                answer: head * 4,
                silence: seconds("storage_silence_seconds", limits.storage_silence_seconds)?,
            },
            vault: VaultLimits {
                node_bytes: mib("node_memory_mib", limits.node_memory_mib)?,
                tenant_bytes: mib("tenant_memory_mib", limits.tenant_memory_mib)?,
                tenants: within("tenants", limits.tenants, 1, 1_000_000)?,
                databases_per_tenant: within(
                    "databases_per_tenant",
                    limits.databases_per_tenant,
                    1,
                    10_000,
                )?,
                idle: seconds("idle_seconds", limits.idle_seconds)?,
                crowded: seconds("crowded_idle_seconds", limits.crowded_idle_seconds)?,
                load: seconds("load_seconds", limits.load_seconds)?,
                stale: seconds("stale_seconds", limits.stale_seconds)?,
                workers: within("workers", limits.workers, 1, 1024)?,
                watches: WatchLimits {
                    node: within("watches", limits.watches, 1, 1_000_000)?,
                    tenant: within(
                        "watches_per_tenant",
                        limits.watches_per_tenant,
                        1,
                        1_000_000,
                    )?,
                },
                ack: file.storage.ack()?,
            },
        })
    }
}

impl StorageTable {
    fn ack(&self) -> Result<Option<Ack>, InvalidConfig> {
        let ack = self.ack.as_deref().map(str::parse).transpose();
        ack.map_err(|_| InvalidConfig::Range("storage.ack"))
    }
}

fn within(
    name: &'static str,
    value: usize,
    low: usize,
    high: usize,
) -> Result<usize, InvalidConfig> {
    if (low..=high).contains(&value) {
        Ok(value)
    } else {
        Err(InvalidConfig::Range(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_of_dids_is_a_chains_or_a_list_of_directories() {
        let read = |table: &str| {
            let text = format!("listen = \"127.0.0.1:0\"\n[did]\n{table}");
            Config::parse(&text).map(|config| config.dids.unwrap())
        };
        let url = |text: &str| Url::parse(text).unwrap();
        assert_eq!(
            read("registry = \"chain\""),
            Ok(DidRegistry::Chain(Network::Myrtle, vec![]))
        );
        let rpc = "registry = \"chain\"\nnetwork = \"banksia\"\nrpc = [\"https://a.example/rpc\"]";
        let rpc_url = url("https://a.example/rpc");
        assert_eq!(
            read(rpc),
            Ok(DidRegistry::Chain(Network::Banksia, vec![rpc_url]))
        );
        let directory = "registry = \"directory\"\ndirectories = [\"https://a.example/\"]";
        let base = url("https://a.example/");
        assert_eq!(read(directory), Ok(DidRegistry::Directories(vec![base])));
        for wrong in [
            "",
            "registry = \"own\"",
            "registry = \"directory\"",
            "registry = \"directory\"\ndirectories = [\"https://a.example/x\"]",
            "registry = \"directory\"\ndirectories = [\"https://10.0.0.1/\"]",
            "registry = \"directory\"\ndirectories = [\"https://a.example/\"]\nnetwork = \"myrtle\"",
            "registry = \"chain\"\ndirectories = [\"https://a.example/\"]",
            "registry = \"chain\"\nrpc = [\"http://a.example/\"]",
            "registry = \"chain\"\nrpc = [\"https://key@a.example/\"]",
            "registry = \"chain\"\nnetwork = \"nowhere\"",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_smallest_file_has_the_documented_defaults() {
        let config = Config::parse("listen = \"127.0.0.1:0\"").unwrap();
        assert_eq!(config.egress, Reach::Public);
        assert_eq!(config.vault.idle, Duration::from_secs(1800));
        assert_eq!(config.body_bytes, 8 << 20);
    }

    #[test]
    fn how_many_storage_nodes_must_have_a_write_is_a_choice() {
        let read = |table: &str| {
            let text = format!("listen = \"127.0.0.1:0\"\n{table}");
            Config::parse(&text).map(|config| config.vault.ack)
        };
        assert_eq!(read(""), Ok(None));
        assert_eq!(read("[storage]\nack = \"1\""), Ok(Some(Ack::One)));
        assert_eq!(read("[storage]\nack = \"all\""), Ok(Some(Ack::All)));
        let wrong = InvalidConfig::Range("storage.ack");
        assert_eq!(read("[storage]\nack = \"most\""), Err(wrong));
        assert!(read("[storage]\nack = 1").is_err());
    }

    #[test]
    fn in_an_enclave_the_host_is_the_way_in_and_out() {
        let text = "listen = \"vsock:8443\"\n[egress]\nthrough = \"host\"";
        let config = Config::parse(text).unwrap();
        assert_eq!(config.listen, ListenAddress::Vsock(8443));
        let Route::ThroughHost(route) = config.route else {
            panic!("{:?}", config.route)
        };
        let resolvers: Vec<_> = route.resolvers.iter().map(DohServer::as_str).collect();
        assert_eq!(resolvers, RESOLVERS);
        // One machine's test has its resolver there, too.
        let text = "listen = \"vsock:1\"\nallow_loopback_storage = true\n\
                    [egress]\nthrough = \"host\"\nresolvers = [\"https://127.0.0.1:1/q\"]";
        assert!(Config::parse(text).is_ok());
        assert!(Config::parse(&text.replace("= true", "= false")).is_err());
    }

    #[test]
    fn unknown_names_and_values_out_of_range_are_refused() {
        for text in [
            "",
            "listen = 7",
            "listen = \"127.0.0.1:0\"\nadmin = true",
            "listen = \"vsock:0\"",
            "listen = \"vsock:1\"\n[egress]\nthrough = \"relay\"",
            "listen = \"vsock:1\"\n[egress]\nresolvers = [\"https://1.1.1.1/q\"]",
            "listen = \"vsock:1\"\n[egress]\nthrough = \"host\"\nresolvers = []",
            "listen = \"vsock:1\"\n[egress]\nthrough = \"host\"\nresolvers = [\"https://dns.example/q\"]",
            "listen = \"vsock:1\"\n[egress]\nthrough = \"host\"\nresolvers = [\"https://10.0.0.1/q\"]",
            "listen = \"127.0.0.1:0\"\n[limits]\nworkers = 0",
            "listen = \"127.0.0.1:0\"\n[limits]\nrequests_per_minute = 0",
            "listen = \"127.0.0.1:0\"\n[limits]\nidle_seconds = 99999999999",
            &format!(
                "listen = \"127.0.0.1:0\"\n# {}",
                "x".repeat(Config::MAX_BYTES)
            ),
        ] {
            assert!(Config::parse(text).is_err(), "{}", text.len());
        }
    }

    #[test]
    fn the_tee_and_the_key_service_are_named_or_left_out() {
        let parse = |more: &str| Config::parse(&format!("listen = \"127.0.0.1:0\"\n{more}"));
        let bare = parse("").unwrap();
        assert_eq!((bare.tee, bare.dstack_collateral), (None, None));
        assert_eq!(bare.key_release, None);
        let whole = parse(
            "tee = \"dstack\"\n[dstack]\ncollateral_file = \"/c.json\"\n\
             [key_release]\noyster = \"http://127.0.0.1:1100\"",
        )
        .unwrap();
        assert_eq!(whole.tee, Some(TeeName::Dstack));
        assert_eq!(whole.dstack_collateral, Some(PathBuf::from("/c.json")));
        let service = OysterDerive::at("http://127.0.0.1:1100").unwrap();
        assert_eq!(whole.key_release, Some(service));
        for wrong in [
            "tee = \"simulated\"",
            "tee = \"\"",
            "[dstack]",
            "[dstack]\ncollateral_file = \"c.json\"",
            "[key_release]",
            "[key_release]\noyster = \"http://10.0.0.1:1100\"",
            "[key_release]\noyster = \"http://127.0.0.1:1100\"\nother = 1",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn grants_are_kept_where_it_says_if_there_is_a_secret_to_find_them_by() {
        let key = "[key_release]\noyster = \"http://127.0.0.1:1100\"\n";
        let parse = |more: &str| Config::parse(&format!("listen = \"127.0.0.1:0\"\n{more}"));
        assert_eq!(parse(key).unwrap().grants, None);
        let grants = "[grants]\nstorage = \"https://storage.example\"\n";
        let kept = parse(&format!("{key}{grants}")).unwrap().grants.unwrap();
        assert_eq!(kept.network, Network::Myrtle);
        for wrong in [
            grants.to_owned(),
            format!("{key}[grants]"),
            format!("{key}[grants]\nstorage = \"http://10.0.0.1:5000\""),
            format!("{key}{grants}network = \"mars\""),
            format!("{key}{grants}key = \"x\""),
        ] {
            assert!(parse(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_configuration_that_we_ship_for_oyster_is_one() {
        let text = include_str!("../../../enclave/oyster/node.toml");
        let config = Config::parse(text).unwrap();
        assert_eq!(config.tee, Some(TeeName::Nitro));
        assert_eq!(config.key_release, None);
        let released = text
            .replace("# [key", "[key")
            .replace("# oyster =", "oyster =");
        let config = Config::parse(&released).unwrap();
        let service = OysterDerive::at("http://127.0.0.1:1100").unwrap();
        assert_eq!(config.key_release, Some(service));
    }
}
