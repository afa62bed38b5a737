//! Who asks, and what they may do. A permit is made here only, and the data path cannot be walked without one.
//!
//! Reviewed line by line: this file decides who sees whose ciphertext.

use std::sync::Arc;

use adyton_couch::wire::{CouchError, ErrorKind};
use adyton_protocol::context::{ContextHash, ContextName};
use adyton_protocol::did::Did;

use crate::database_record::DatabaseRecord;
use crate::peers::PasswordHash;

/// Who makes a request to the data path, as far as the credential proves.
#[derive(Debug, Clone)]
pub(crate) enum Principal {
    /// No credential.
    Anonymous,
    /// The node's public credential, which everyone can fetch.
    Public,
    /// The holder of an access token.
    User(User),
    /// Another node, which replicates to this one.
    Peer(Peer),
}

/// Another node, proven by its password.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) name: String,
    /// The password's hash: it opens the contexts that it came with.
    pub(crate) password: PasswordHash,
    /// Whether the owner of the database that is asked for let this node into the database's context. Looked up for each.
    pub(crate) admission: Admission,
}

/// Whether a node was let into a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    Refused,
    /// Until so many Unix seconds.
    Granted {
        until: u64,
    },
}

/// A DID in a context, proven by an access token.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) did: Did,
    pub(crate) context: ContextName,
    /// Unix seconds at which the token ends, and with it every stream it opened.
    pub(crate) expires: u64,
}

impl User {
    /// The account name of this DID in this context.
    pub(crate) fn account(&self) -> String {
        ContextHash::of(&self.did, &self.context).couch_user()
    }
}

impl Principal {
    fn account(&self) -> Option<String> {
        match self {
            Self::Anonymous | Self::Public => None,
            Self::User(user) => Some(user.account()),
            // Stands in no permission list: what a node may do is its admission's.
            Self::Peer(peer) => Some(peer.name.clone()),
        }
    }

    /// Unix seconds at which the credential ends, or what it opens.
    fn expires(&self) -> u64 {
        match self {
            Self::Anonymous | Self::Public => u64::MAX,
            Self::User(user) => user.expires,
            Self::Peer(peer) => match peer.admission {
                Admission::Granted { until } => until,
                Admission::Refused => u64::MAX,
            },
        }
    }
}

/// What is said of a credential whose time is over.
pub(crate) const EXPIRED: &str = "exp not in future";

/// What somebody may do to a database besides reading it. It opens nothing: that takes a [`Permit`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rights {
    owner: bool,
    write: bool,
    delete: bool,
    checkpoints: bool,
}

/// The right to read one database, and what else the reader may do there, as it was at a moment. It is proven again where it opens
/// something ([`crate::databases::Databases::file`]).
#[derive(Debug, Clone)]
pub(crate) struct Permit {
    principal: Principal,
    record: Arc<DatabaseRecord>,
    rights: Rights,
    /// The count of the registry's changes before the record was read. Zero: unknown, so always an old one.
    registry: u64,
}

impl Permit {
    /// The only constructor. A database that does not exist and a missing credential are told apart only for those who have a
    /// credential. `now` is in Unix seconds: a credential that ended meanwhile is none.
    pub(crate) fn grant(
        principal: Principal,
        record: Option<Arc<DatabaseRecord>>,
        now: u64,
    ) -> Result<Self, CouchError> {
        if matches!(principal, Principal::Anonymous) {
            let reason = "You are not authorized to access this db.";
            return Err(CouchError::new(ErrorKind::Unauthorized, reason));
        }
        if now >= principal.expires() {
            return Err(CouchError::new(ErrorKind::Unauthorized, EXPIRED));
        }
        let record = record.ok_or(CouchError::no_database())?;
        let account = principal.account();
        let account = account.as_deref();
        let owner = account == Some(record.owner.as_str());
        let peer =
            matches!(&principal, Principal::Peer(peer) if peer.admission != Admission::Refused);
        if matches!(&principal, Principal::Peer(_)) && !peer {
            let reason = "You are not allowed to access this db.";
            return Err(CouchError::new(ErrorKind::Forbidden, reason));
        }
        let write = owner || peer || record.rules.write.admits(account);
        let read = write || record.rules.read.admits(account);
        if !read {
            let reason = "You are not allowed to access this db.";
            return Err(CouchError::new(ErrorKind::Forbidden, reason));
        }
        let delete = owner || peer || record.rules.delete.admits(account);
        // Readers keep their replication checkpoints here; the public credential is nobody's, so it keeps none.
        let checkpoints = account.is_some() || write;
        Ok(Self {
            principal,
            record,
            rights: Rights {
                owner,
                write,
                delete,
                checkpoints,
            },
            registry: 0,
        })
    }

    /// The same, for a record that was read when the registry had changed so often.
    pub(crate) fn granted_at(self, registry: u64) -> Self {
        Self { registry, ..self }
    }

    /// How often the registry had changed.
    pub(crate) fn registry(&self) -> u64 {
        self.registry
    }

    /// Who has it.
    pub(crate) fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Unix seconds at which it ends at the latest.
    pub(crate) fn expires(&self) -> u64 {
        self.principal.expires()
    }

    /// The database.
    pub(crate) fn record(&self) -> &DatabaseRecord {
        &self.record
    }

    /// What may be done to it besides reading.
    pub(crate) fn rights(&self) -> Rights {
        self.rights
    }
}

impl Rights {
    /// The right to write an ordinary revision.
    pub(crate) fn write(&self) -> Result<(), CouchError> {
        const REASON: &str = "User is not permitted to write to database";
        self.write
            .then_some(())
            .ok_or(CouchError::new(ErrorKind::Unauthorized, REASON))
    }

    /// The right to write a tombstone.
    pub(crate) fn delete(&self) -> Result<(), CouchError> {
        const REASON: &str = "User is not permitted to delete from database";
        self.write()?;
        self.delete
            .then_some(())
            .ok_or(CouchError::new(ErrorKind::Unauthorized, REASON))
    }

    /// The right to write a design document.
    pub(crate) fn design(&self) -> Result<(), CouchError> {
        const REASON: &str = "You are not a db or server admin.";
        self.owner
            .then_some(())
            .ok_or(CouchError::new(ErrorKind::Unauthorized, REASON))
    }

    /// Whether local documents are all that may be written here.
    pub(crate) fn only_checkpoints(&self) -> bool {
        !self.write
    }

    /// The right to keep local documents.
    pub(crate) fn checkpoint(&self) -> Result<(), CouchError> {
        const REASON: &str = "User is not permitted to write to database";
        self.checkpoints
            .then_some(())
            .ok_or(CouchError::new(ErrorKind::Forbidden, REASON))
    }
}

#[cfg(test)]
mod tests {
    use adyton_protocol::database::{AccessRule, DatabaseName, Permissions};

    use super::*;

    fn did(digit: char) -> Did {
        format!("did:vda:polamoy:0x{}", digit.to_string().repeat(40))
            .parse()
            .unwrap()
    }

    fn user(digit: char) -> Principal {
        let context = ContextName::new("Test: App").unwrap();
        Principal::User(User {
            did: did(digit),
            context,
            expires: 1,
        })
    }

    fn record(read: AccessRule, write: AccessRule) -> DatabaseRecord {
        let permissions = Permissions {
            read,
            write,
            read_list: vec![
                did('2')
                    .as_given()
                    .to_uppercase()
                    .replace("DID:VDA", "did:vda")
                    .replace("0X", "0x"),
            ],
            write_list: vec![did('3').as_given().to_owned()],
            delete_list: vec![],
        };
        let context = ContextName::new("Test: App").unwrap();
        DatabaseRecord::new(
            &did('1'),
            &context,
            &DatabaseName::new("db").unwrap(),
            permissions,
        )
        .unwrap()
    }

    /// (read, write, delete, design) of a principal.
    fn rights(principal: &Principal, record: &DatabaseRecord) -> Option<(bool, bool, bool)> {
        let permit = Permit::grant(principal.clone(), Some(record.clone().into()), 0)
            .ok()?
            .rights();
        Some((
            permit.write().is_ok(),
            permit.delete().is_ok(),
            permit.design().is_ok(),
        ))
    }

    #[test]
    fn the_permission_map_is_kept() {
        use AccessRule::{Owner, Public, Users};
        let (owner, reader, writer, stranger) = (user('1'), user('2'), user('3'), user('4'));
        let all = Some((true, true, true));
        let write = Some((true, true, false));
        let read = Some((false, false, false));
        let table = [
            // (read, write) → owner, listed reader, listed writer, stranger, public credential
            ((Owner, Owner), [all, None, None, None, None]),
            ((Users, Users), [all, read, write, None, None]),
            ((Users, Owner), [all, read, None, None, None]),
            ((Owner, Users), [all, None, write, None, None]),
            ((Public, Owner), [all, read, read, read, read]),
            ((Public, Users), [all, read, write, read, read]),
            (
                (Public, Public),
                [
                    all,
                    Some((true, false, false)),
                    Some((true, false, false)),
                    Some((true, false, false)),
                    Some((true, false, false)),
                ],
            ),
        ];
        for ((r, w), expected) in table {
            let record = record(r, w);
            let found = [&owner, &reader, &writer, &stranger, &Principal::Public]
                .map(|principal| rights(principal, &record));
            assert_eq!(found, expected, "read {r:?} write {w:?}");
        }
    }

    #[test]
    fn a_node_writes_where_it_was_let_in_and_makes_no_design_documents() {
        let record = record(AccessRule::Public, AccessRule::Public);
        let peer = |admission| {
            Principal::Peer(Peer {
                name: "r1".to_owned(),
                password: PasswordHash::of(b""),
                admission,
            })
        };
        assert_eq!(
            rights(&peer(Admission::Granted { until: 1 }), &record),
            Some((true, true, false))
        );
        // Not even what everybody may: nobody asked it to.
        assert_eq!(rights(&peer(Admission::Refused), &record), None);
    }

    #[test]
    fn a_credential_that_ended_is_none() {
        let record = record(AccessRule::Public, AccessRule::Public);
        let at = |principal: &Principal, now| {
            Permit::grant(principal.clone(), Some(record.clone().into()), now)
                .err()
                .map(|refusal| refusal.kind)
        };
        let peer = Principal::Peer(Peer {
            name: "r1".to_owned(),
            password: PasswordHash::of(b""),
            admission: Admission::Granted { until: 1 },
        });
        for principal in [user('1'), peer] {
            assert_eq!(at(&principal, 0), None);
            assert_eq!(at(&principal, 1), Some(ErrorKind::Unauthorized));
        }
        assert_eq!(at(&Principal::Public, u64::MAX - 1), None);
    }

    #[test]
    fn the_same_did_in_another_context_is_a_stranger() {
        let context = ContextName::new("Other: App").unwrap();
        let other = Principal::User(User {
            did: did('1'),
            context,
            expires: 1,
        });
        assert_eq!(
            rights(&other, &record(AccessRule::Owner, AccessRule::Owner)),
            None
        );
    }

    #[test]
    fn without_a_credential_no_database_exists_or_not() {
        let record = record(AccessRule::Public, AccessRule::Public);
        let existing = Permit::grant(Principal::Anonymous, Some(record.into()), 0).unwrap_err();
        let missing = Permit::grant(Principal::Anonymous, None, 0).unwrap_err();
        assert_eq!(existing, missing);
        assert_eq!(existing.kind, ErrorKind::Unauthorized);
    }
}
