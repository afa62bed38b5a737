//! What the storage node is told at start: one file or flags, nothing else.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use adyton_egress::Reach;
use adyton_protocol::did::Network;
use adyton_resolver::chain::MAX_RPC;
use adyton_resolver::directory::MAX_DIRECTORIES;
use adyton_resolver::web::plain_url;
use serde::Deserialize;
use url::Url;

use crate::acme::AcmeTable;
use crate::couch::{CouchConfig, CouchTable};
use crate::limits_table::{LimitsTable, above_nothing, set};
use crate::replicate::Pace;
use crate::replication_table::ReplicationTable;
use crate::resolution::RegistryChoice;
use crate::throttle::{Proxy, Rates};
use crate::tls::{TlsChoice, TlsFiles};

/// The configuration of a storage node.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address to listen on. Port 0 lets the system choose.
    pub listen: SocketAddr,
    /// The directory that holds everything the node keeps itself.
    pub data: PathBuf,
    /// Who keeps the databases, and the records of people.
    pub store: StoreChoice,
    /// How clients reach this node, without trailing slash. None: the scheme and the listening address, or the first name that a
    /// certificate is asked for.
    pub public_url: Option<String>,
    /// The network whose entries count in DID documents.
    pub network: Network,
    /// Who says where DID documents lie.
    pub registry: RegistryChoice,
    /// Which servers the node may ask for that, and push to.
    pub reach: Reach,
    /// Where counters are shown to the operator. None: nowhere.
    pub metrics: Option<SocketAddr>,
    /// Where backups go that a signal asks for. None: nowhere.
    pub backups: Option<PathBuf>,
    /// The certificate and key of TLS. None: plain HTTP.
    pub tls: Option<TlsChoice>,
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
    /// Bytes of request bodies that are in memory at one time, with what is made of them, over all connections.
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
    /// Connections on which one account has requests under way, from wherever they come. None: half of all.
    pub connections_per_account: Option<usize>,
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
    /// Documents that were written since an index was made and that a query looks at one by one; with more, it brings the index up
    /// to date first.
    pub find_unindexed: u64,
    /// Time that one query may take to bring its index up to date. What it has done by then stays.
    pub find_indexing_time: Duration,
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
    /// Versions of DID documents, and registrations, that one address may bring, a minute. Those from this machine do not count.
    pub did_writes_per_minute: u32,
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
    /// How often the right to an answer that is being told is looked at again in front of a CouchDB, where another node may change it.
    pub rights_time: Duration,
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
            connections_per_account: None,
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
            find_unindexed: 200,
            find_indexing_time: Duration::from_secs(5),
            did_document_versions: 10_000,
            did_documents: 1_000_000,
            did_document_bytes: 16 << 20,
            did_documents_bytes: 16 << 30,
            registrations: 100_000,
            did_writes_per_minute: 60,
            peers: 100_000,
            rates: Rates::default(),
            header_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(60),
            feed_timeout: Duration::from_secs(60),
            rights_time: Duration::from_secs(60),
        }
    }
}

impl Limits {
    /// Bytes of the largest request and what is made of it: its texts, and its items besides.
    pub(crate) fn of_largest_request(&self) -> u64 {
        let largest = self.bulk_bytes as u64;
        largest.saturating_mul(2).saturating_add(largest / 4)
    }

    /// Connections of one address: a quarter of all, where the operator says nothing.
    pub(crate) fn of_one_address(&self) -> usize {
        const SHARE: usize = 4;
        let share = self.connections.div_ceil(SHARE);
        self.connections_per_address.unwrap_or(share)
    }

    /// Files and sockets that a node with these limits may have open at one time, about: connections, databases, the places that the
    /// resolver asks, and a thousand for its own files and other servers.
    pub fn open_files(&self) -> u64 {
        const OWN: u64 = 1_024;
        const PLACES: u64 =
            (adyton_resolver::resolver::AT_ONCE * adyton_resolver::registry::MAX_PLACES) as u64;
        OWN + PLACES + self.connections as u64 + self.open_databases as u64
    }

    /// Lowers what this node has open at one time, when the system allows only so many files: a connection that is accepted and then
    /// finds no file for its database is worse than one that waits.
    pub fn fit_into(&mut self, allowed: u64) {
        let rest = self.open_files().saturating_sub(self.connections as u64);
        let connections = allowed.saturating_sub(rest).max(allowed / 4).max(1);
        let lower = |limit: usize, most: u64| limit.min(usize::try_from(most).unwrap_or(limit));
        self.connections = lower(self.connections, connections);
        // Twice as many may be open for a moment.
        self.open_databases = lower(self.open_databases, (allowed / 8).max(1));
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

/// The configuration file: TOML. Some of its names are flags, too.
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
    /// Whether all connections come from the operator's own proxy: see [`Proxy`].
    pub behind_proxy: Option<bool>,
    /// Addresses of the operator's own proxies, where clients may come directly, too: see [`Proxy::At`].
    pub proxies: Option<Vec<IpAddr>>,
    /// `embedded` (the default) or `couchdb`: see [`Config::store`].
    pub store: Option<String>,
    /// See the table `[couchdb]`.
    pub couchdb: Option<CouchTable>,
    /// See the table `[did]`.
    pub did: Option<DidTable>,
    /// See the table `[replication]`.
    pub replication: Option<ReplicationTable>,
    /// See the table `[limits]`.
    pub limits: Option<LimitsTable>,
    /// See the table `[tls]`.
    pub tls: Option<TlsTable>,
}

/// `[tls]`: the node's own certificate, from files or from an authority.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsTable {
    /// See [`TlsFiles::certificate`].
    pub certificate: Option<PathBuf>,
    /// See [`TlsFiles::key`].
    pub key: Option<PathBuf>,
    /// See the table `[tls.acme]`.
    pub acme: Option<AcmeTable>,
}

impl TlsTable {
    fn read(self, public_url: Option<&str>) -> Result<TlsChoice, ConfigError> {
        match (self.certificate, self.key, self.acme) {
            (Some(certificate), Some(key), None) => Ok(TlsFiles { certificate, key }.into()),
            (None, None, Some(acme)) => Ok(acme.read(public_url)?.into()),
            (_, _, Some(_)) => {
                let why = "files with a certificate and a key, or `acme`, not both";
                Err(ConfigError::Invalid("tls", why))
            }
            (None, _, None) => Err(ConfigError::Missing("tls.certificate")),
            (Some(_), None, None) => Err(ConfigError::Missing("tls.key")),
        }
    }
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
                let read = std::fs::read(&path);
                RegistryChoice::File(read.map_err(unread("did.file", &path))?)
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
        let url = plain_url(text).filter(|url| reach.check(url).is_ok());
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
    /// The configuration file, or one that a setting names, cannot be read.
    #[error("cannot read the file of `{0}`, {path}: {2}", path = .1.display())]
    File(&'static str, PathBuf, #[source] std::io::Error),
    /// The file is not what it should be.
    #[error("the configuration file is wrong: {0}")]
    Parse(#[from] toml::de::Error),
    /// Something must be given.
    #[error("`{0}` must be given")]
    Missing(&'static str),
    /// Something is not what it should be.
    #[error("`{0}` is wrong: {1}")]
    Invalid(&'static str, &'static str),
}

/// Which file cannot be read.
pub(crate) fn unread(
    name: &'static str,
    path: &Path,
) -> impl FnOnce(std::io::Error) -> ConfigError {
    let path = path.to_owned();
    move |error| ConfigError::File(name, path, error)
}

impl ConfigFile {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path);
        Self::parse(&text.map_err(unread("--config", path))?)
    }

    /// Reads TOML text.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        Ok(toml::from_str(text)?)
    }

    /// The configuration, with what is not given at its default.
    pub fn into_config(self) -> Result<Config, ConfigError> {
        let mut limits = Limits::default();
        set("max-accounts", &mut limits.accounts, self.max_accounts)?;
        set(
            "account-bytes",
            &mut limits.account_bytes,
            self.account_bytes,
        )?;
        let node_bytes = self.node_bytes;
        let node_bytes = node_bytes.map(|bytes| above_nothing("node-bytes", bytes));
        limits.node_bytes = node_bytes.transpose()?;
        set("connections", &mut limits.connections, self.connections)?;
        set(
            "open-databases",
            &mut limits.open_databases,
            self.open_databases,
        )?;
        set(
            "document-bytes",
            &mut limits.document_bytes,
            self.document_bytes,
        )?;
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
        set(
            "requests-per-minute",
            &mut rates.account,
            self.requests_per_minute,
        )?;
        set(
            "requests-per-minute-per-address",
            &mut rates.address,
            self.requests_per_minute_per_address,
        )?;
        let proxy = match (self.behind_proxy.unwrap_or(false), self.proxies) {
            (true, Some(_)) => {
                let why = "with `behind-proxy` every address is one";
                return Err(ConfigError::Invalid("proxies", why));
            }
            (false, Some(addresses)) => Proxy::At(addresses),
            (true, None) => Proxy::Trusted,
            (false, None) => Proxy::None,
        };
        self.limits.unwrap_or_default().apply(&mut limits)?;
        let (registry, reach) = self.did.unwrap_or_default().read()?;
        let listen = self.listen.ok_or(ConfigError::Missing("listen"))?;
        let public_url = self.public_url.map(|url| base_url("public-url", &url));
        let public_url = public_url.transpose()?;
        let own = public_url.clone();
        let own = own.unwrap_or_else(|| format!("http://{listen}"));
        let reach = self.replication.unwrap_or_default().apply(reach, &own)?;
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
        let tls = self.tls.map(|table| table.read(public_url.as_deref()));
        let tls = tls.transpose()?;
        // With an authority's certificate, clients are told its first name.
        let told = public_url.is_some() || matches!(tls, Some(TlsChoice::Acme(_)));
        if !told && listen.ip().to_canonical().is_unspecified() {
            let why = "must be given, as clients are told an address and `listen` names none";
            return Err(ConfigError::Invalid("public-url", why));
        }
        Ok(Config {
            store,
            registry,
            reach,
            metrics: self.metrics_listen,
            backups: self.backups,
            tls,
            proxy,
            listen,
            data: self.data.ok_or(ConfigError::Missing("data"))?,
            public_url,
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
    let open = url.username().is_empty() && url.password().is_none();
    if !matches!(url.scheme(), "http" | "https") || !plain || !open || url.host().is_none() {
        return Err(ConfigError::Invalid(
            name,
            "expected http(s)://host[:port] without a path and without a credential",
        ));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests;
