//! Names, hashes and permissions of databases (`spec/protocol.md` §10).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::context::ContextName;
use crate::did::Did;
use crate::hash::keccak256;

/// The private name of a database. Storage nodes know it, other users do not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DatabaseName(String);

/// The text cannot name a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a database name: it is longer than 256 bytes or contains control characters")]
pub struct InvalidDatabaseName;

impl DatabaseName {
    /// Longest accepted name, in bytes.
    pub const MAX_LENGTH: usize = 256;

    /// The per-context registry of databases (`spec/protocol.md` §13).
    pub fn registry() -> Self {
        Self("storage_database".to_owned())
    }

    /// A user's own schemas: what grants of their records mean. Never shared.
    pub fn own_schemas() -> Self {
        Self("schemas".to_owned())
    }

    /// Checks a name. The protocol allows any text, even none; length and control characters are
    /// limited here, because names travel in paths and scopes.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidDatabaseName> {
        let text = text.into();
        if text.len() > Self::MAX_LENGTH || text.chars().any(char::is_control) {
            return Err(InvalidDatabaseName);
        }
        Ok(Self(text))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DatabaseName {
    type Err = InvalidDatabaseName;

    fn from_str(text: &str) -> Result<Self, InvalidDatabaseName> {
        Self::new(text)
    }
}

impl fmt::Display for DatabaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The public name of a database: `v` and 64 hex digits. There is no way back to the private name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DatabaseHash([u8; 32]);

/// The text is not a database hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a database hash: expected v and 64 lower-case hex digits")]
pub struct InvalidDatabaseHash;

impl DatabaseHash {
    /// The hash of `lower(owner)/context/name`. Permissions are not part of it.
    pub fn of(owner: &Did, context: &ContextName, name: &DatabaseName) -> Self {
        Self(keccak256(
            format!("{}/{context}/{name}", owner.lowercase()).as_bytes(),
        ))
    }
}

impl fmt::Display for DatabaseHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", hex::encode(self.0))
    }
}

impl FromStr for DatabaseHash {
    type Err = InvalidDatabaseHash;

    fn from_str(text: &str) -> Result<Self, InvalidDatabaseHash> {
        let digits = text.strip_prefix('v').ok_or(InvalidDatabaseHash)?;
        if digits.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(InvalidDatabaseHash);
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| InvalidDatabaseHash)?;
        Ok(Self(bytes))
    }
}

/// Who may do a thing to a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessRule {
    /// The owner alone.
    #[default]
    Owner,
    /// The owner and the listed DIDs.
    Users,
    /// Everyone.
    Public,
}

/// The permissions of a database, as clients send them to storage nodes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Permissions {
    /// Who may read. Writers may read as well.
    pub read: AccessRule,
    /// Who may write.
    pub write: AccessRule,
    /// DIDs that may read when `read` is `users`.
    pub read_list: Vec<String>,
    /// DIDs that may write when `write` is `users`.
    pub write_list: Vec<String>,
    /// DIDs that may delete in a database with public write.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub delete_list: Vec<String>,
}

/// How the records of a database are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Encrypted with the database's record key.
    Encrypted,
    /// Plain JSON, readable by everyone.
    Plain,
}

/// The permissions contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a database that only its owner may read cannot be written by everyone")]
pub struct ContradictoryPermissions;

impl Permissions {
    /// How a database with these permissions keeps its records (`spec/protocol.md` §10.2).
    pub fn encoding(&self) -> Result<Encoding, ContradictoryPermissions> {
        match (self.read, self.write) {
            (AccessRule::Public, _) => Ok(Encoding::Plain),
            (AccessRule::Owner, AccessRule::Public) => Err(ContradictoryPermissions),
            (AccessRule::Owner | AccessRule::Users, _) => Ok(Encoding::Encrypted),
        }
    }
}
