//! What a database is to the node: whose, how named, and who may do what to it.

use adyton_protocol::context::{ContextHash, ContextName};
use adyton_protocol::database::{AccessRule, DatabaseHash, DatabaseName, Permissions};
use adyton_protocol::did::Did;
use serde::{Deserialize, Serialize};

/// DIDs in one list of a database's permissions.
pub const MAX_LISTED: usize = 1_000;

/// One database, as the registry keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DatabaseRecord {
    pub(crate) did: String,
    pub(crate) context_name: String,
    pub(crate) database_name: String,
    pub(crate) database_hash: String,
    pub(crate) permissions: Permissions,
    /// The account that owns it.
    pub(crate) owner: String,
    /// Who may do what, with every listed DID already turned into an account name.
    pub(crate) rules: Rules,
}

/// Who may do what to a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rules {
    pub(crate) read: Audience,
    pub(crate) write: Audience,
    pub(crate) delete: Audience,
}

impl Rules {
    /// Whether others write what not everybody may read. Who sees the lengths of answers could then learn of the one by the other,
    /// if they were compressed together.
    pub(crate) fn mixes_words(&self) -> bool {
        self.read != Audience::Everyone
            && (self.write != Audience::Owner || self.delete != Audience::Owner)
    }
}

/// A set of accounts besides the owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Audience {
    /// Nobody else.
    Owner,
    /// These accounts.
    Accounts(Vec<String>),
    /// Everyone who has any credential, the node's public one included.
    Everyone,
}

/// The permissions cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidPermissions {
    #[error("a permission list has too many entries")]
    TooManyListed,
    #[error("a permission list names something that is not a DID")]
    NotADid,
}

impl DatabaseRecord {
    pub(crate) fn new(
        did: &Did,
        context: &ContextName,
        name: &DatabaseName,
        permissions: Permissions,
    ) -> Result<Self, InvalidPermissions> {
        Ok(Self {
            did: did.lowercase().to_owned(),
            context_name: context.as_str().to_owned(),
            database_name: name.as_str().to_owned(),
            database_hash: DatabaseHash::of(did, context, name).to_string(),
            rules: Rules::of(&permissions, context)?,
            permissions,
            owner: ContextHash::of(did, context).couch_user(),
        })
    }
}

impl Rules {
    fn of(permissions: &Permissions, context: &ContextName) -> Result<Self, InvalidPermissions> {
        let read = Audience::of(permissions.read, &permissions.read_list, context)?;
        let write = Audience::of(permissions.write, &permissions.write_list, context)?;
        let delete = match permissions.write {
            // Everyone may write here, but only the owner and the listed may delete.
            AccessRule::Public => {
                Audience::of(AccessRule::Users, &permissions.delete_list, context)?
            }
            AccessRule::Owner | AccessRule::Users => write.clone(),
        };
        Ok(Self {
            read,
            write,
            delete,
        })
    }
}

impl Audience {
    fn of(
        rule: AccessRule,
        listed: &[String],
        context: &ContextName,
    ) -> Result<Self, InvalidPermissions> {
        if listed.len() > MAX_LISTED {
            return Err(InvalidPermissions::TooManyListed);
        }
        match rule {
            AccessRule::Owner => Ok(Self::Owner),
            AccessRule::Public => Ok(Self::Everyone),
            AccessRule::Users => listed
                .iter()
                .map(|text| {
                    let did: Did = text.parse().map_err(|_| InvalidPermissions::NotADid)?;
                    Ok(ContextHash::of(&did, context).couch_user())
                })
                .collect::<Result<_, _>>()
                .map(Self::Accounts),
        }
    }

    /// Whether this account is named.
    pub(crate) fn lists(&self, account: &str) -> bool {
        match self {
            Self::Owner | Self::Everyone => false,
            Self::Accounts(names) => names.iter().any(|name| name == account),
        }
    }

    /// Whether this account (`None`: the public credential) belongs to the audience.
    pub(crate) fn admits(&self, account: Option<&str>) -> bool {
        match self {
            Self::Owner => false,
            Self::Accounts(_) => account.is_some_and(|account| self.lists(account)),
            Self::Everyone => true,
        }
    }
}
