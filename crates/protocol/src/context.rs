//! Contexts: the application namespaces that keys derive from (`spec/protocol.md` §5).

use std::fmt;
use std::str::FromStr;

use crate::did::Did;
use crate::hash::keccak256;

/// The name of a context, chosen by an application. Compared byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ContextName(String);

/// The text cannot name a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a context name: it is longer than 1,024 bytes")]
pub struct InvalidContextName;

impl ContextName {
    /// Longest accepted name, in bytes.
    pub const MAX_LENGTH: usize = 1024;

    /// The wallet's own context, where connector data lives.
    pub fn vault() -> Self {
        Self("Verida: Vault".to_owned())
    }

    /// Checks a name. The protocol allows any text, even none; only its length is limited. Where an
    /// API takes "name or hash", a name that starts with `0x` is taken for a hash.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidContextName> {
        let text = text.into();
        if text.len() > Self::MAX_LENGTH {
            return Err(InvalidContextName);
        }
        Ok(Self(text))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContextName {
    type Err = InvalidContextName;

    fn from_str(text: &str) -> Result<Self, InvalidContextName> {
        Self::new(text)
    }
}

impl fmt::Display for ContextName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Keccak-256 of `lower(did)/contextName`: how documents and nodes name one user's context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContextHash([u8; 32]);

/// The text is not a context hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a context hash: expected 0x and 64 hex digits")]
pub struct InvalidContextHash;

impl ContextHash {
    /// The hash of this user's context.
    pub fn of(did: &Did, context: &ContextName) -> Self {
        Self(keccak256(
            format!("{}/{}", did.lowercase(), context).as_bytes(),
        ))
    }

    /// 64 lower-case hex digits without prefix: "the did-context hash" of storage nodes.
    pub fn bare_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// The CouchDB user name of this DID in this context: `v` and the bare hash.
    pub fn couch_user(&self) -> String {
        format!("v{}", self.bare_hex())
    }
}

impl fmt::Display for ContextHash {
    /// `0x` and 64 lower-case hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", self.bare_hex())
    }
}

impl FromStr for ContextHash {
    type Err = InvalidContextHash;

    fn from_str(text: &str) -> Result<Self, InvalidContextHash> {
        let mut bytes = [0; 32];
        let digits = text.strip_prefix("0x").ok_or(InvalidContextHash)?;
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| InvalidContextHash)?;
        Ok(Self(bytes))
    }
}
