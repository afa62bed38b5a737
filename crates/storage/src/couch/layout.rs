//! The original's layout of a CouchDB, as pure functions: names, `_security`, validation functions, records of databases; and as
//! whom a request is made there.
//!
//! Reviewed line by line with `access.rs`: the permissions that CouchDB enforces are written here. What an account can write
//! itself (its `c…` database, when clients reach CouchDB directly) is a claim: [`record_of`] takes it only where hashes prove it.

use adyton_couch::rev_tree::Liveness;
use adyton_couch::wire::Object;
use adyton_protocol::context::{ContextHash, ContextName};
use adyton_protocol::database::{DatabaseName, Permissions};
use adyton_protocol::did::Did;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::access::Principal;
use crate::database_record::{Audience, DatabaseRecord};

/// Refresh tokens that count.
pub(crate) const TOKENS: &str = "verida_refresh_tokens";
/// DID documents, every version.
pub(crate) const DIDS: &str = "verida_dids";
/// Who may write.
pub(super) const WRITERS: &str = "_design/only_permit_write_users";
/// Who may delete where everybody may write.
pub(super) const DELETERS: &str = "_design/disable_public_delete";

/// Who reads every database to push it: a role of the original, and a member that writes nothing.
pub(super) const LOCAL_REPLICATER: &str = "replicater-local";

/// The document of an account.
pub(crate) fn user_path(account: &str) -> String {
    format!("/_users/org.couchdb.user:{account}")
}

/// The database with the records of an account's databases.
pub(crate) fn registry_of(account: &str) -> String {
    format!("c{}", context_of(account))
}

/// The role of nodes that replicate an account's context.
pub(crate) fn role_of(account: &str) -> String {
    format!("r{}-replicater", context_of(account))
}

fn context_of(account: &str) -> &str {
    account.strip_prefix('v').unwrap_or(account)
}

/// Whether this is an account's name: it becomes part of paths.
pub(crate) fn is_account(name: &str) -> bool {
    name.strip_prefix('v').is_some_and(|digits| {
        digits.len() == 64
            && digits
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

/// For the node's own databases: admins of the server only.
pub(crate) fn closed() -> Value {
    let nobody = json!({"names": [], "roles": ["_admin"]});
    json!({"admins": nobody, "members": nobody})
}

/// `_security` of the database with an account's records.
pub(crate) fn registry_security(account: &str) -> Value {
    security_of(account, &[account.to_owned()])
}

/// `_security` of a database.
pub(crate) fn security(record: &DatabaseRecord, public_user: &str) -> Value {
    let rules = &record.rules;
    let mut names = Names::of(&record.owner);
    names.add(&rules.read, public_user);
    names.add(&rules.write, public_user);
    // Who may delete where everybody writes does so under its own name.
    names.add(&rules.delete, public_user);
    security_of(&record.owner, &names.0)
}

fn security_of(owner: &str, members: &[String]) -> Value {
    json!({
        "admins": {"names": [owner], "roles": []},
        "members": {"names": members, "roles": [role_of(owner), LOCAL_REPLICATER]},
    })
}

/// The validation functions of a database, by the ids of their documents; none where there is to be no such document.
pub(crate) fn validations(
    record: &DatabaseRecord,
    public_user: &str,
) -> [(&'static str, Option<Value>); 2] {
    let rules = &record.rules;
    let mut writers = Names::of(&record.owner);
    writers.add(&rules.write, public_user);
    let mut deleters = Names::of(&record.owner);
    let public = rules.write == Audience::Everyone;
    if public {
        writers.add(&rules.delete, public_user);
        deleters.add(&rules.delete, public_user);
    }
    let role = role_of(&record.owner);
    let function = |names: &Names, further: &str, reason: &str| {
        let (names, role) = (json!(names.0), json!(role));
        let stranger =
            format!("{names}.indexOf(userCtx.name) === -1 && userCtx.roles.indexOf({role}) === -1");
        let refuse = json!({"unauthorized": reason});
        let text = format!(
            "function (newDoc, oldDoc, userCtx, secObj) {{ if ({stranger}{further}) throw({refuse}); }}"
        );
        json!({"validate_doc_update": text})
    };
    let write = function(&writers, "", "User is not permitted to write to database");
    let delete = function(
        &deleters,
        " && newDoc._deleted",
        "User is not permitted to delete from database",
    );
    [(WRITERS, Some(write)), (DELETERS, public.then_some(delete))]
}

/// Names, each once, the owner first.
struct Names(Vec<String>);

impl Names {
    fn of(owner: &str) -> Self {
        Self(vec![owner.to_owned()])
    }

    fn add(&mut self, audience: &Audience, public_user: &str) {
        let more: &[String] = match audience {
            Audience::Owner => &[],
            Audience::Accounts(names) => names,
            Audience::Everyone => &[public_user.to_owned()],
        };
        for name in more {
            if !self.0.contains(name) {
                self.0.push(name.clone());
            }
        }
    }
}

/// What the original keeps of a database.
pub(crate) fn document_of(record: &DatabaseRecord) -> Value {
    json!({
        "did": record.did,
        "contextName": record.context_name,
        "databaseName": record.database_name,
        "databaseHash": record.database_hash,
        "permissions": record.permissions,
    })
}

/// The record that a document of this account's registry is; none when it is not what it says, or not this account's.
pub(crate) fn record_of(document: &Value, account: &str) -> Option<DatabaseRecord> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Kept {
        did: String,
        context_name: String,
        database_name: String,
        database_hash: String,
        #[serde(default)]
        permissions: Option<Object<Permissions>>,
    }
    let Object(kept) = Object::<Kept>::deserialize(document).ok()?;
    let did: Did = kept.did.parse().ok()?;
    let context = ContextName::new(kept.context_name).ok()?;
    let name = DatabaseName::new(kept.database_name).ok()?;
    let Object(permissions) = kept.permissions.unwrap_or_default();
    let record = DatabaseRecord::new(&did, &context, &name, permissions).ok()?;
    let proven = ContextHash::of(&did, &context).couch_user() == account
        && record.database_hash == kept.database_hash;
    proven.then_some(record)
}

/// As whom a request is made at the CouchDB, which then holds it against `_security` and the validation functions itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Acting {
    pub(crate) name: String,
    pub(crate) roles: Vec<String>,
}

impl Acting {
    /// The name under which CouchDB's own rules give `principal` no more than ours do. Everybody's rights are the public user's.
    pub(crate) fn of(
        principal: &Principal,
        record: &DatabaseRecord,
        liveness: Liveness,
        public_user: &str,
    ) -> Self {
        let plain = |name: &str| Self {
            name: name.to_owned(),
            roles: Vec::new(),
        };
        match principal {
            Principal::Anonymous | Principal::Public => plain(public_user),
            Principal::Peer(peer) => Self {
                name: peer.name.clone(),
                roles: vec![role_of(&record.owner)],
            },
            Principal::User(user) => {
                let account = user.account();
                let rules = &record.rules;
                let named = match (&rules.write, liveness) {
                    (Audience::Everyone, Liveness::Live) => false,
                    (Audience::Everyone, Liveness::Deleted) => rules.delete.lists(&account),
                    (Audience::Owner | Audience::Accounts(_), _) => {
                        rules.write.lists(&account) || rules.read.lists(&account)
                    }
                };
                match account == record.owner || named {
                    true => plain(&account),
                    false => plain(public_user),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use adyton_protocol::database::AccessRule::{self, Owner, Public, Users};

    use super::*;
    use crate::access::User;

    fn did(digit: char) -> Did {
        let text = format!("did:vda:polamoy:0x{}", digit.to_string().repeat(40));
        text.parse().unwrap()
    }

    fn context() -> ContextName {
        ContextName::new("Test: App").unwrap()
    }

    fn account(digit: char) -> String {
        ContextHash::of(&did(digit), &context()).couch_user()
    }

    fn record(read: AccessRule, write: AccessRule) -> DatabaseRecord {
        let listed = |digit| vec![did(digit).as_given().to_owned()];
        let permissions = Permissions {
            read,
            write,
            read_list: listed('2'),
            write_list: listed('3'),
            delete_list: listed('4'),
        };
        let name = DatabaseName::new("db").unwrap();
        DatabaseRecord::new(&did('1'), &context(), &name, permissions).unwrap()
    }

    fn members(read: AccessRule, write: AccessRule) -> Value {
        security(&record(read, write), "everybody")["members"]["names"].clone()
    }

    #[test]
    fn members_are_those_of_the_originals_map() {
        let [owner, reader, writer, deleter] = ['1', '2', '3', '4'].map(account);
        assert_eq!(members(Owner, Owner), json!([owner]));
        assert_eq!(members(Users, Owner), json!([owner, reader]));
        assert_eq!(members(Users, Users), json!([owner, reader, writer]));
        assert_eq!(members(Public, Owner), json!([owner, "everybody"]));
        assert_eq!(members(Owner, Public), json!([owner, "everybody", deleter]));
        let all = security(&record(Owner, Owner), "everybody");
        let context = owner.strip_prefix('v').unwrap();
        let roles = json!([format!("r{context}-replicater"), "replicater-local"]);
        assert_eq!(all["members"]["roles"], roles);
        assert_eq!(all["admins"], json!({"names": [owner], "roles": []}));
    }

    #[test]
    fn a_validation_function_names_the_writers_and_where_all_write_the_deleters() {
        let text = |write, n: usize| {
            let [first, second] = validations(&record(Owner, write), "everybody");
            let chosen = [first.1, second.1].into_iter().nth(n).flatten()?;
            Some(chosen["validate_doc_update"].as_str()?.to_owned())
        };
        let [owner, writer, deleter] = ['1', '3', '4'].map(account);
        assert!(text(Owner, 0).unwrap().contains(&format!("[\"{owner}\"]")));
        let users = text(Users, 0).unwrap();
        assert!(users.contains(&format!("[\"{owner}\",\"{writer}\"]")));
        assert_eq!([text(Owner, 1), text(Users, 1)], [None, None]);
        let public = text(Public, 0).unwrap();
        assert!(public.contains("\"everybody\"") && !public.contains("_deleted"));
        let delete = text(Public, 1).unwrap();
        assert!(delete.contains(&format!("[\"{owner}\",\"{deleter}\"]")));
        assert!(delete.contains("&& newDoc._deleted") && !delete.contains("everybody"));
    }

    #[test]
    fn a_record_counts_only_where_hashes_prove_it() {
        let kept = record(Users, Owner);
        let document = document_of(&kept);
        assert_eq!(record_of(&document, &account('1')), Some(kept));
        // In the registry of somebody else, and with the hash of somebody else's database.
        assert_eq!(record_of(&document, &account('2')), None);
        let mut lying = document.clone();
        lying["databaseHash"] = format!("v{}", "0".repeat(64)).into();
        assert_eq!(record_of(&lying, &account('1')), None);
        lying = document;
        lying["databaseName"] = "other".into();
        assert_eq!(record_of(&lying, &account('1')), None);
    }

    #[test]
    fn the_originals_record_is_read_without_lists() {
        // vectors/storage_node_probe.json, "c-db docs".
        let document = json!({
            "_id": "v3f289d2e20131f8b137536d48dd5885089047d81ed540e6cd6215c07bdcb0844",
            "_rev": "2-9647b084b89af49a0bdbe9d9b3a5d687",
            "did": "did:vda:polamoy:0x23618e81e3f5cdf7f54c3d65f7fbc0abf5b21e8f",
            "contextName": "Probe: Context",
            "databaseName": "pub1",
            "databaseHash": "v3f289d2e20131f8b137536d48dd5885089047d81ed540e6cd6215c07bdcb0844",
            "permissions": {"read": "public", "write": "public"},
        });
        let owner = "vd8d7ccf92f0f9c4f6144f0688245889c8d96f8ab9eb2fe2cf437fd124ea271b3";
        let record = record_of(&document, owner).unwrap();
        assert_eq!(record.rules.write, Audience::Everyone);
        let members = &security(&record, "784c2n780c9cn0789")["members"];
        assert_eq!(members["names"], json!([owner, "784c2n780c9cn0789"]));
    }

    #[test]
    fn a_request_is_made_under_the_name_that_has_the_right() {
        let as_whom = |digit, read, write, liveness| {
            let user = Principal::User(User {
                did: did(digit),
                context: context(),
                expires: 0,
            });
            Acting::of(&user, &record(read, write), liveness, "everybody").name
        };
        let everybody = "everybody".to_owned();
        let live = Liveness::Live;
        assert_eq!(as_whom('1', Public, Public, live), account('1'));
        assert_eq!(as_whom('2', Users, Owner, live), account('2'));
        assert_eq!(as_whom('3', Public, Users, live), account('3'));
        assert_eq!(as_whom('5', Public, Users, live), everybody);
        assert_eq!(as_whom('4', Public, Public, live), everybody);
        let gone = Liveness::Deleted;
        assert_eq!(as_whom('4', Public, Public, gone), account('4'));
        assert_eq!(as_whom('5', Public, Public, gone), everybody);
    }

    #[test]
    fn only_hex_becomes_part_of_a_path() {
        assert!(is_account(&account('1')));
        for name in [
            "",
            "v",
            "admin",
            &account('1')[1..],
            &format!("v{}", "A".repeat(64)),
        ] {
            assert!(!is_account(name), "{name}");
        }
    }
}
