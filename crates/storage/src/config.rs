//! What the storage node is told at start: one file or flags, nothing else.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use adyton_protocol::did::Network;
use adyton_resolver::chain::MAX_RPC;
use adyton_resolver::directory::MAX_DIRECTORIES;
use adyton_resolver::web::plain_url;
use serde::Deserialize;
use url::Url;

use crate::couch::{CouchConfig, CouchTable};
use crate::limits_table::LimitsTable;
use crate::outbound::Reach;
use crate::replicate::Pace;
use crate::resolution::RegistryChoice;
use crate::throttle::{Proxy, Rates};
use crate::tls::TlsFiles;

/// The configuration of a storage node.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address to listen on. Port 0 lets the system choose.
    pub listen: SocketAddr,
    /// The directory that holds everything the node keeps itself.
    pub data: PathBuf,
    /// Who keeps the databases, and the records of people.
    pub store: StoreChoice,
    /// How clients reach this node, without trailing slash. None: `http://` and the listening address.
    pub public_url: Option<String>,
    /// The network whose entries count in DID documents.
    pub network: Network,
    /// Who says where DID documents lie.
    pub registry: RegistryChoice,
    /// Which servers the node may ask for that.
    pub reach: Reach,
    /// Where counters are shown to the operator. None: nowhere.
    pub metrics: Option<SocketAddr>,
    /// Where backups go that a signal asks for. None: nowhere.
    pub backups: Option<PathBuf>,
    /// The certificate and key of TLS. None: plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Whether an operator's proxy stands before the node.
    pub proxy: Proxy,
    /// How fast it replicates to the other nodes of a context.
    pub pace: Pace,
    /// What the node takes from one account or one peer.
    pub limits: Limits,
}

/// Who keeps the databases.
#[derive(Debug, Clone, Default)]
pub enum StoreChoice {
    /// This node, in files of its data directory.
    #[default]
    Embedded,
    /// An existing CouchDB, in the original's layout.
    Couch(Box<CouchConfig>),
}

/// Limits of a node. Every allocation that a peer can cause is under one of these or of [`adyton_couch::limits`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Accounts (a DID in a context each).
    pub accounts: u64,
    /// Databases of one account.
    pub databases_per_account: usize,
    /// Bytes that one account may keep.
    pub account_bytes: u64,
    /// Bytes of one document.
    pub document_bytes: usize,
    /// Bytes of one attachment, as sent and decoded.
    pub attachment_bytes: usize,
    /// Bytes of all attachments that come with one document.
    pub attachments_bytes: usize,
    /// Bytes of all databases and the node's own file, on disk. None: as many as there is room for.
    pub node_bytes: Option<u64>,
    /// Refresh tokens of an account. With one more, the oldest ends.
    pub refresh_tokens_per_account: usize,
    /// Bytes of a local document of somebody who may read and not write. CouchDB's replicator keeps up to 50 sessions in one.
    pub reader_local_bytes: usize,
    /// Local documents of a database from which on somebody who may read and not write makes no new one.
    pub local_documents_for_readers: u64,
    /// Bytes of a request body with documents.
    pub bulk_bytes: usize,
    /// Bytes of any other request body.
    pub body_bytes: usize,
    /// Bytes of request bodies that are in memory at one time, over all connections.
    pub bodies_in_flight_bytes: u64,
    /// Bytes of request bodies that one account or one address has in memory at one time. None: a quarter of all, and never less than
    /// the largest request takes.
    pub bodies_in_flight_bytes_per_sender: Option<u64>,
    /// Bytes of documents that one answer tells more than once, because the request names them more than once.
    pub repeated_bytes: u64,
    /// Open connections.
    pub connections: usize,
    /// Open connections of one address, where no proxy stands before the node. None: a quarter of all; then those from this machine
    /// are not counted.
    pub connections_per_address: Option<usize>,
    /// Feeds that wait for changes.
    pub feeds: usize,
    /// Feeds of one caller that wait for changes.
    pub feeds_per_caller: usize,
    /// TLS handshakes under way at one time. One more, and the oldest ends.
    pub handshakes: usize,
    /// Time for a TLS handshake.
    pub handshake_timeout: Duration,
    /// Database files open at one time.
    pub open_databases: usize,
    /// Queries (`_find`), and batches of feeds by selector, that look through documents at one time.
    pub finds_at_once: usize,
    /// Queries of one caller that wait for their turn.
    pub find_queue: usize,
    /// Bytes of all pages of answers to queries that are being told; a quarter of it for one caller.
    pub find_pages_bytes: usize,
    /// Documents that one query may look at, deleted ones included.
    pub find_documents: u64,
    /// Bytes of documents that one query may look at.
    pub find_bytes: u64,
    /// Versions of one DID document.
    pub did_document_versions: u64,
    /// Versions of all DID documents together.
    pub did_documents: u64,
    /// Bytes of all versions of one DID document: they are answered at once.
    pub did_document_bytes: u64,
    /// Bytes of all versions of all DID documents together.
    pub did_documents_bytes: u64,
    /// DIDs that the node registers, when it is a directory.
    pub registrations: u64,
    /// Contexts, of all accounts, into which other nodes are let.
    pub peers: u64,
    /// Requests a minute.
    pub rates: Rates,
    /// Time for a client to send a request's head; an idle connection lives as long.
    pub header_timeout: Duration,
    /// Time without any progress after which a connection is dropped, while a body is read or an answer written.
    pub stall_timeout: Duration,
    /// Time for the whole of a request's body; a large one has a second more for each 16 KiB that came.
    pub body_timeout: Duration,
    /// The longest that a feed waits for a change before it ends.
    pub feed_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            accounts: 10_000,
            databases_per_account: 1_000,
            account_bytes: 10 << 30,
            node_bytes: None,
            refresh_tokens_per_account: 256,
            document_bytes: adyton_couch::limits::MAX_DOCUMENT_BYTES,
            attachment_bytes: 64 << 20,
            attachments_bytes: 256 << 20,
            reader_local_bytes: 32 << 10,
            local_documents_for_readers: 1_000,
            bulk_bytes: adyton_couch::limits::MAX_BULK_BYTES,
            body_bytes: 1 << 20,
            bodies_in_flight_bytes: 1 << 30,
            bodies_in_flight_bytes_per_sender: None,
            repeated_bytes: 64 << 20,
            connections: 4_096,
            connections_per_address: None,
            feeds: 20_000,
            feeds_per_caller: 10_000,
            handshakes: 256,
            handshake_timeout: Duration::from_secs(10),
            open_databases: 256,
            finds_at_once: 4,
            find_queue: 16,
            find_pages_bytes: 256 << 20,
            find_documents: 100_000,
            find_bytes: 256 << 20,
            did_document_versions: 10_000,
            did_documents: 1_000_000,
            did_document_bytes: 16 << 20,
            did_documents_bytes: 16 << 30,
            registrations: 100_000,
            peers: 100_000,
            rates: Rates::default(),
            header_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(60),
            feed_timeout: Duration::from_secs(60),
        }
    }
}

impl Limits {
    /// Files and sockets that a node with these limits may have open at one time, about: connections, databases, the places that the
    /// resolver asks (320 DIDs at one time), and a thousand for its own files and other servers.
    pub fn open_files(&self) -> u64 {
        const OWN: u64 = 1_024;
        const PLACES: u64 = 320 * adyton_resolver::registry::MAX_PLACES as u64;
        OWN + PLACES + self.connections as u64 + self.open_databases as u64
    }
}

impl Config {
    /// A node with default limits on the test net.
    pub fn new(listen: SocketAddr, data: PathBuf) -> Self {
        Self {
            listen,
            data,
            store: StoreChoice::Embedded,
            public_url: None,
            network: Network::Banksia,
            registry: RegistryChoice::Own,
            reach: Reach::Public,
            metrics: None,
            backups: None,
            tls: None,
            proxy: Proxy::None,
            pace: Pace::default(),
            limits: Limits::default(),
        }
    }
}

/// The configuration file: TOML, the same names as the flags.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ConfigFile {
    /// See [`Config::listen`].
    pub listen: Option<SocketAddr>,
    /// See [`Config::data`].
    pub data: Option<PathBuf>,
    /// See [`Config::public_url`].
    pub public_url: Option<String>,
    /// See [`Config::network`].
    pub network: Option<String>,
    /// See [`Limits::accounts`].
    pub max_accounts: Option<u64>,
    /// See [`Limits::account_bytes`].
    pub account_bytes: Option<u64>,
    /// See [`Limits::node_bytes`].
    pub node_bytes: Option<u64>,
    /// See [`Limits::document_bytes`].
    pub document_bytes: Option<usize>,
    /// See [`Limits::attachment_bytes`].
    pub attachment_bytes: Option<usize>,
    /// See [`Limits::attachments_bytes`].
    pub attachments_bytes: Option<usize>,
    /// See [`Limits::connections`].
    pub connections: Option<usize>,
    /// See [`Limits::open_databases`].
    pub open_databases: Option<usize>,
    /// See [`Rates::account`].
    pub requests_per_minute: Option<u32>,
    /// See [`Rates::address`].
    pub requests_per_minute_per_address: Option<u32>,
    /// See [`Config::metrics`].
    pub metrics_listen: Option<SocketAddr>,
    /// See [`Config::backups`].
    pub backups: Option<PathBuf>,
    /// Whether connections come from the operator's own proxy: see [`Proxy`].
    pub behind_proxy: Option<bool>,
    /// `embedded` (the default) or `couchdb`: see [`Config::store`].
    pub store: Option<String>,
    /// See the table `[couchdb]`.
    pub couchdb: Option<CouchTable>,
    /// See the table `[did]`.
    pub did: Option<DidTable>,
    /// See the table `[limits]`.
    pub limits: Option<LimitsTable>,
    /// See the table `[tls]`.
    pub tls: Option<TlsTable>,
}

/// `[tls]`: the node's own certificate.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsTable {
    /// See [`TlsFiles::certificate`].
    pub certificate: PathBuf,
    /// See [`TlsFiles::key`].
    pub key: PathBuf,
}

/// `[did]`: how DIDs are resolved (ADR 24).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct DidTable {
    /// `own` (the default), `chain`, `directory` or `file`.
    pub registry: Option<String>,
    /// JSON-RPC endpoints of the network's chain, in the order in which they are asked. Default: the public one.
    pub rpc: Vec<String>,
    /// Base URLs of other nodes that are directories of this network.
    pub directories: Vec<String>,
    /// The registry file.
    pub file: Option<PathBuf>,
    /// Whether `rpc` and `directories` may name servers on this machine, also without TLS: an operator's own chain node.
    pub allow_loopback: bool,
}

impl DidTable {
    /// What a key says that belongs to another kind of registry is a mistake, and named.
    fn read(self) -> Result<(RegistryChoice, Reach), ConfigError> {
        let named: Vec<Url> = match self.allow_loopback {
            true => self
                .rpc
                .iter()
                .chain(&self.directories)
                .filter_map(|text| plain_url(text))
                .collect(),
            false => Vec::new(),
        };
        let reach = match self.allow_loopback {
            true => Reach::also(&named),
            false => Reach::Public,
        };
        let kind = self.registry.as_deref().unwrap_or("own");
        let stray = |name, given: bool, of: &str| match given && kind != of {
            true => Err(ConfigError::Invalid(
                name,
                "does not belong to this registry",
            )),
            false => Ok(()),
        };
        stray("did.rpc", !self.rpc.is_empty(), "chain")?;
        stray("did.directories", !self.directories.is_empty(), "directory")?;
        stray("did.file", self.file.is_some(), "file")?;
        let choice = match kind {
            "own" => RegistryChoice::Own,
            "chain" => RegistryChoice::Chain(servers("did.rpc", &self.rpc, MAX_RPC, &reach)?),
            "directory" => {
                let most = MAX_DIRECTORIES - 1;
                let others = servers("did.directories", &self.directories, most, &reach)?;
                if others.iter().any(|base| !base.path().ends_with('/')) {
                    return Err(ConfigError::Invalid("did.directories", "must end in `/`"));
                }
                RegistryChoice::Directory(others)
            }
            "file" => {
                let path = self.file.ok_or(ConfigError::Missing("did.file"))?;
                RegistryChoice::File(std::fs::read(path)?)
            }
            _ => {
                let expected = "not one of own, chain, directory, file";
                return Err(ConfigError::Invalid("did.registry", expected));
            }
        };
        Ok((choice, reach))
    }
}

/// URLs of servers that may be asked.
fn servers(
    name: &'static str,
    texts: &[String],
    most: usize,
    reach: &Reach,
) -> Result<Vec<Url>, ConfigError> {
    if texts.len() > most {
        return Err(ConfigError::Invalid(name, "too many"));
    }
    let urls = texts.iter().map(|text| {
        let url = plain_url(text).filter(|url| reach.allows_url(url));
        url.ok_or(ConfigError::Invalid(
            name,
            "expected https URLs of public servers",
        ))
    });
    urls.collect()
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file: {0}")]
    Read(#[from] std::io::Error),
    /// The file is not what it should be.
    #[error("the configuration file is wrong: {0}")]
    Parse(#[from] toml::de::Error),
    /// Something must be given.
    #[error("`{0}` must be given, in the file or as a flag")]
    Missing(&'static str),
    /// Something is not what it should be.
    #[error("`{0}` is wrong: {1}")]
    Invalid(&'static str, &'static str),
}

impl ConfigFile {
    /// Reads TOML text.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        Ok(toml::from_str(text)?)
    }

    /// The configuration, with what is not given at its default.
    pub fn into_config(self) -> Result<Config, ConfigError> {
        let mut limits = Limits::default();
        limits.accounts = self.max_accounts.unwrap_or(limits.accounts);
        limits.account_bytes = self.account_bytes.unwrap_or(limits.account_bytes);
        limits.node_bytes = self.node_bytes;
        limits.connections = self.connections.unwrap_or(limits.connections);
        limits.open_databases = self.open_databases.unwrap_or(limits.open_databases);
        limits.document_bytes = self.document_bytes.unwrap_or(limits.document_bytes);
        if limits.document_bytes > adyton_couch::limits::MAX_DOCUMENT_BYTES {
            return Err(ConfigError::Invalid(
                "document-bytes",
                "larger than the protocol allows",
            ));
        }
        limits.attachment_bytes = self.attachment_bytes.unwrap_or(limits.attachment_bytes);
        limits.attachments_bytes = self.attachments_bytes.unwrap_or(limits.attachments_bytes);
        for (name, bytes) in [
            ("attachment-bytes", limits.attachment_bytes),
            ("attachments-bytes", limits.attachments_bytes),
        ] {
            if bytes > adyton_couch::limits::MAX_ATTACHMENT_BYTES {
                return Err(ConfigError::Invalid(
                    name,
                    "larger than the protocol allows",
                ));
            }
        }
        let network = match self.network {
            None => Network::Banksia,
            Some(name) => name.parse().map_err(|_| {
                ConfigError::Invalid("network", "not one of myrtle, banksia, devnet, local")
            })?,
        };
        let rates = &mut limits.rates;
        rates.account = self.requests_per_minute.unwrap_or(rates.account);
        rates.address = self
            .requests_per_minute_per_address
            .unwrap_or(rates.address);
        let proxy = match self.behind_proxy.unwrap_or(false) {
            true => Proxy::Trusted,
            false => Proxy::None,
        };
        self.limits.unwrap_or_default().apply(&mut limits)?;
        let (registry, reach) = self.did.unwrap_or_default().read()?;
        let store = match (self.store.as_deref().unwrap_or("embedded"), self.couchdb) {
            ("embedded", None) => StoreChoice::Embedded,
            ("embedded", Some(_)) => {
                return Err(ConfigError::Invalid(
                    "couchdb",
                    "does not belong to this store",
                ));
            }
            ("couchdb", Some(_)) if self.backups.is_some() => {
                let why = "does not belong to this store: CouchDB has its own ways";
                return Err(ConfigError::Invalid("backups", why));
            }
            ("couchdb", Some(table)) => StoreChoice::Couch(Box::new(table.read(base_url)?)),
            ("couchdb", None) => return Err(ConfigError::Missing("couchdb")),
            _ => {
                return Err(ConfigError::Invalid(
                    "store",
                    "not one of embedded, couchdb",
                ));
            }
        };
        Ok(Config {
            store,
            registry,
            reach,
            metrics: self.metrics_listen,
            backups: self.backups,
            tls: self.tls.map(|table| TlsFiles {
                certificate: table.certificate,
                key: table.key,
            }),
            proxy,
            listen: self.listen.ok_or(ConfigError::Missing("listen"))?,
            data: self.data.ok_or(ConfigError::Missing("data"))?,
            public_url: self
                .public_url
                .map(|url| base_url("public-url", &url))
                .transpose()?,
            network,
            pace: Pace::default(),
            limits,
        })
    }
}

/// A base URL that clients can append `/…` to.
fn base_url(name: &'static str, text: &str) -> Result<String, ConfigError> {
    let url = Url::parse(text).map_err(|_| ConfigError::Invalid(name, "not a URL"))?;
    let plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !matches!(url.scheme(), "http" | "https") || !plain || url.host().is_none() {
        return Err(ConfigError::Invalid(
            name,
            "expected http(s)://host[:port] without a path",
        ));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_what_flags_name() {
        let text = "listen = \"127.0.0.1:0\"\ndata = \"d\"\npublic-url = \"https://node.example:443/\"\nnetwork = \"myrtle\"\n";
        let config = ConfigFile::parse(text).unwrap().into_config().unwrap();
        assert_eq!(
            config.public_url.as_deref(),
            Some("https://node.example:443")
        );
        assert_eq!(config.network, Network::Myrtle);
        assert_eq!(config.limits, Limits::default());
    }

    fn with(lines: &str) -> Result<Config, ConfigError> {
        let text = format!("listen = \"127.0.0.1:0\"\ndata = \"d\"\n{lines}");
        ConfigFile::parse(&text)?.into_config()
    }

    #[test]
    fn a_registry_has_its_own_settings_and_no_others() {
        let choice = |lines: &str| with(lines).unwrap().registry;
        let url = |text: &str| Url::parse(text).unwrap();
        assert_eq!(choice(""), RegistryChoice::Own);
        assert_eq!(
            choice("[did]\nregistry = \"chain\""),
            RegistryChoice::Chain(vec![])
        );
        let rpc =
            "[did]\nregistry = \"chain\"\nrpc = [\"https://a.example/x\", \"https://b.example/\"]";
        let rpc_urls = vec![url("https://a.example/x"), url("https://b.example/")];
        assert_eq!(choice(rpc), RegistryChoice::Chain(rpc_urls));
        let own = "[did]\nregistry = \"chain\"\nallow-loopback = true\nrpc = [\"http://127.0.0.1:8545/\"]";
        // The flag is about the servers that are named, not about whatever else listens here.
        let reach = with(own).unwrap().reach;
        assert!(reach.allows_url(&url("http://127.0.0.1:8545/")));
        assert!(!reach.allows_url(&url("http://127.0.0.1:5984/")));
        let directory = "[did]\nregistry = \"directory\"\ndirectories = [\"https://a.example/\"]";
        let others = vec![url("https://a.example/")];
        assert_eq!(choice(directory), RegistryChoice::Directory(others));
        for wrong in [
            "registry = \"nowhere\"",
            "registry = \"file\"",
            "registry = \"file\"\nfile = \"/does/not/exist\"",
            "rpc = [\"https://a.example/\"]",
            "registry = \"chain\"\nrpc = [\"http://127.0.0.1:8545/\"]",
            "registry = \"chain\"\nrpc = [\"https://10.0.0.1/\"]",
            "registry = \"chain\"\nrpc = [\"https://user:word@a.example/\"]",
            "registry = \"chain\"\nfile = \"x\"",
            "registry = \"directory\"\ndirectories = [\"https://a.example/x\"]",
            "registry = \"directory\"\nrpc = [\"https://a.example/\"]",
        ] {
            assert!(with(&format!("[did]\n{wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_operators_settings_are_read() {
        let config = with(
            "requests-per-minute = 7\nrequests-per-minute-per-address = 8\nmetrics-listen = \"127.0.0.1:9100\"\nbehind-proxy = true\nbackups = \"b\"\n[limits]\nresolutions-per-minute = 9\n[tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"",
        )
        .unwrap();
        let rates = Rates {
            account: 7,
            address: 8,
            resolutions: 9,
        };
        assert_eq!((config.limits.rates, config.proxy), (rates, Proxy::Trusted));
        assert_eq!(config.metrics.unwrap().port(), 9100);
        assert_eq!(config.backups, Some("b".into()));
        let files = TlsFiles {
            certificate: "c.pem".into(),
            key: "k.pem".into(),
        };
        assert_eq!(config.tls, Some(files));
        assert!(with("[tls]\ncertificate = \"c.pem\"").is_err());
    }

    #[test]
    fn a_couchdb_is_named_in_the_file_and_its_secrets_in_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secrets.toml");
        let secrets = "admin = \"a\"\nadmin-password = \"b\"\naccess-key = \"0123456789abcdef\"\n\
            refresh-key = \"fedcba9876543210\"\npublic-user = \"everybody\"\npublic-password = \"c\"\n";
        let lines = |url: &str| {
            let path = path.display();
            format!("store = \"couchdb\"\n[couchdb]\nurl = \"{url}\"\nsecrets = \"{path}\"")
        };
        let here = "http://couch.internal:5984";
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write(&format!("{secrets}node-key = \"0x{}\"", "07".repeat(32)));
        let config = with(&lines(here)).unwrap();
        let StoreChoice::Couch(couch) = &config.store else {
            panic!("the other store")
        };
        assert_eq!(
            (couch.url.as_str(), couch.node_key),
            ("http://couch.internal:5984/", Some([7; 32]))
        );
        assert!(!format!("{config:?}").contains("0123456789abcdef"));
        for wrong in [
            "http://a:b@couch.internal/",
            "http://couch.internal/x",
            "ftp://couch.internal/",
        ] {
            assert!(with(&lines(wrong)).is_err(), "{wrong}");
        }
        for (name, value) in [
            ("access-key", "short"),
            ("access-key", "fedcba9876543210"),
            ("public-user", "a"),
            ("public-user", "_x"),
            ("public-user", "a b"),
        ] {
            let line = secrets.lines().find(|line| line.starts_with(name)).unwrap();
            write(&secrets.replace(line, &format!("{name} = \"{value}\"")));
            assert!(with(&lines(here)).is_err(), "{name} {value}");
        }
        write(&format!("{secrets}more = \"a secret\""));
        let told = with(&lines(here)).unwrap_err().to_string();
        assert!(!told.contains("a secret"), "{told}");
        assert!(with(&format!("backups = \"b\"\n{}", lines(here))).is_err());
        assert!(with("store = \"couchdb\"").is_err());
        assert!(with("store = \"files\"").is_err());
        assert!(with(&lines(here).replace("couchdb\"\n", "embedded\"\n")).is_err());
    }

    #[test]
    fn mistakes_are_named() {
        assert!(ConfigFile::parse("lisen = 1").is_err());
        let missing = ConfigFile::parse("listen = \"127.0.0.1:0\"")
            .unwrap()
            .into_config();
        assert!(matches!(missing, Err(ConfigError::Missing("data"))));
        for line in [
            "public-url = \"node\"",
            "public-url = \"http://h/couch\"",
            "network = \"x\"",
            "document-bytes = 99999999999",
            "attachment-bytes = 99999999999",
            "attachments-bytes = 99999999999",
        ] {
            let text = format!("listen = \"127.0.0.1:0\"\ndata = \"d\"\n{line}");
            assert!(
                ConfigFile::parse(&text).unwrap().into_config().is_err(),
                "{line}"
            );
        }
    }
}
