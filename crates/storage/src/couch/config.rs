//! What the operator says of the CouchDB: where it is, and the secrets that the original had in its environment.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use url::Url;

use crate::config::{ConfigError, Limits, unread};

/// Bytes of a key that signs tokens, at least: a shorter one could be guessed from a single token.
const MIN_KEY_BYTES: usize = 16;
/// Connections that requests of clients take at one time, unless the operator says otherwise: half of what a CouchDB takes by itself.
const CONNECTIONS: usize = 1_024;
/// Of fewer nobody would get his share.
const MIN_CONNECTIONS: usize = 16;

/// A CouchDB 3.x that was, or could be, the original's.
#[derive(Clone)]
pub struct CouchConfig {
    /// Where this node reaches it: `http(s)://host[:port]/`.
    pub url: Url,
    /// How clients of the original reach it directly. None: they come through this node.
    pub public_url: Option<String>,
    /// A server admin of it, and the password.
    pub admin: (String, String),
    /// `ACCESS_JWT_SIGN_PK`: CouchDB has it as `[jwt_keys] hmac:_default`, in base64.
    pub access_key: String,
    /// `REFRESH_JWT_SIGN_PK`.
    pub refresh_key: String,
    /// `VDA_PRIVATE_KEY`. None: the node makes its own key.
    pub node_key: Option<[u8; 32]>,
    /// The public user, and the password that everyone can fetch.
    pub public_user: (String, String),
    /// Connections that requests of clients take at one time. The node's own requests take up to 320 more.
    pub connections: usize,
}

impl CouchConfig {
    /// Where it is, with the original's secrets, and everything else as it is by itself.
    pub fn new(
        url: Url,
        admin: (String, String),
        (access_key, refresh_key): (String, String),
        public_user: (String, String),
    ) -> Self {
        Self {
            url,
            public_url: None,
            admin,
            access_key,
            refresh_key,
            node_key: None,
            public_user,
            connections: CONNECTIONS,
        }
    }

    /// A feed takes a connection for as long as it waits: all feeds leave some for requests that end, and a caller's some for his own.
    pub(crate) fn bound_feeds(&self, limits: &mut Limits) {
        limits.feeds = limits.feeds.min(self.connections / 4 * 3);
        limits.feeds_per_caller = limits.feeds_per_caller.min(self.connections / 8);
    }
}

impl fmt::Debug for CouchConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CouchConfig({})", self.url)
    }
}

/// `[couchdb]`: which one. Its secrets are in a file of their own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CouchTable {
    /// See [`CouchConfig::url`].
    pub url: String,
    /// See [`CouchConfig::public_url`].
    pub public_url: Option<String>,
    /// The file with the secrets, TOML.
    pub secrets: PathBuf,
    /// See [`CouchConfig::connections`].
    pub connections: Option<usize>,
}

/// The file with the secrets.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Secrets {
    admin: String,
    admin_password: String,
    access_key: String,
    refresh_key: String,
    node_key: Option<String>,
    public_user: String,
    public_password: String,
}

impl CouchTable {
    pub(crate) fn read(
        self,
        public_url: impl Fn(&'static str, &str) -> Result<String, ConfigError>,
    ) -> Result<CouchConfig, ConfigError> {
        let text = std::fs::read_to_string(&self.secrets);
        let text = text.map_err(unread("couchdb.secrets", &self.secrets))?;
        // Not the parser's own words: they quote the line, and the line is a secret.
        let secrets: Secrets = toml::from_str(&text).map_err(|_| {
            let expected = "expected admin, admin-password, access-key, refresh-key, public-user, public-password, and node-key or not";
            ConfigError::Invalid("couchdb.secrets", expected)
        })?;
        let url = public_url("couchdb.url", &self.url)?;
        let url = Url::parse(&url).map_err(|_| ConfigError::Invalid("couchdb.url", "not a URL"))?;
        let outside = self
            .public_url
            .map(|url| public_url("couchdb.public-url", &url));
        secrets.check()?;
        let connections = self.connections.unwrap_or(CONNECTIONS);
        if connections < MIN_CONNECTIONS {
            let why = "fewer than 16";
            return Err(ConfigError::Invalid("couchdb.connections", why));
        }
        Ok(CouchConfig {
            public_url: outside.transpose()?,
            node_key: secrets.node_key.as_deref().map(node_key).transpose()?,
            connections,
            ..CouchConfig::new(
                url,
                (secrets.admin, secrets.admin_password),
                (secrets.access_key, secrets.refresh_key),
                (secrets.public_user, secrets.public_password),
            )
        })
    }
}

impl Secrets {
    fn check(&self) -> Result<(), ConfigError> {
        let wrong = |name, why| Err(ConfigError::Invalid(name, why));
        for (name, key) in [
            ("access-key", &self.access_key),
            ("refresh-key", &self.refresh_key),
        ] {
            if key.len() < MIN_KEY_BYTES {
                return wrong(name, "shorter than 16 bytes");
            }
        }
        if self.access_key == self.refresh_key {
            return wrong("refresh-key", "is the access key");
        }
        // It stands in permission lists beside account names, and in a URL's place for users.
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let is_name = (1..=64).contains(&self.public_user.len())
            && self.public_user.bytes().all(plain)
            && !self.public_user.starts_with('_');
        if !is_name || self.public_user == self.admin {
            return wrong(
                "public-user",
                "expected up to 64 letters, digits, `-`, `_`, `.`, and not the admin",
            );
        }
        Ok(())
    }
}

fn node_key(text: &str) -> Result<[u8; 32], ConfigError> {
    let mut key = [0; 32];
    hex::decode_to_slice(text.trim_start_matches("0x"), &mut key)
        .map_err(|_| ConfigError::Invalid("node-key", "expected 64 hex digits"))?;
    Ok(key)
}
