//! Databases that an app can be granted at all.

use crate::database::DatabaseName;

/// A database that may appear in a scope. Wallets, tokens, connections, keys and registries are not
/// in this type's range.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GrantableDatabase(DatabaseName);

/// The database holds keys, tokens or the like, and no user can grant it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this database is never granted to an app")]
pub struct NeverGrantable;

/// Beginnings of names, compared without case: `user_wallet_v2` is a wallet, too.
///
/// Wallets and tokens; the registries of databases and of their replication; connections to other services with their
/// tokens, positions and logs; keys and credentials; what was sent to or by this user under another consent; the
/// receipts of who read what, which no reader may see or change; and a user's own schemas, which say what grants mean.
const NEVER: [&str; 20] = [
    "access_receipt",
    "api_key",
    "connection",
    "credential",
    "data_connection",
    "inbox",
    "keyring",
    "key_",
    "keys",
    "outbox",
    "private_key",
    "schemas",
    "security_",
    "storage_",
    "sync_log",
    "sync_position",
    "token_",
    "tokens",
    "user_wallet",
    "wallet",
];

impl GrantableDatabase {
    /// Checks the name against the list of what is never granted.
    pub fn new(name: DatabaseName) -> Result<Self, NeverGrantable> {
        let lowercase = name.as_str().to_lowercase();
        if NEVER.iter().any(|prefix| lowercase.starts_with(prefix)) {
            Err(NeverGrantable)
        } else {
            Ok(Self(name))
        }
    }

    /// The name.
    pub const fn name(&self) -> &DatabaseName {
        &self.0
    }
}
