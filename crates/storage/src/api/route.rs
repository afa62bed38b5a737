//! Every address that this node answers, as one type. The unauthorized matrix of the tests walks [`Endpoint::ALL`].

use adyton_couch::attachment::AttachmentName;
use adyton_couch::document::{DocumentId, DocumentKind};
use adyton_protocol::database::DatabaseHash;
use percent_encoding::percent_decode_str;

macro_rules! endpoints {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The kinds of addresses.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Endpoint {
            $($(#[$doc])* $name,)*
        }

        impl Endpoint {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
        }
    };
}

endpoints! {
    /// `GET /status`
    Status,
    /// `GET /auth/public`
    Public,
    /// `POST /auth/generateAuthJwt`
    GenerateAuthJwt,
    /// `POST /auth/authenticate`
    Authenticate,
    /// `POST /auth/connect`
    Connect,
    /// `POST /auth/regenerateRefreshToken`
    RegenerateRefreshToken,
    /// `POST /auth/isTokenValid`
    IsTokenValid,
    /// `POST /auth/invalidateDeviceId`
    InvalidateDeviceId,
    /// `POST /auth/replicationCreds`
    ReplicationCreds,
    /// `GET POST PUT DELETE /did/{did}`
    DidDocument,
    /// `POST /did/{did}/migrate`
    DidMigrate,
    /// `GET /lookup/did/{did}`
    DidLookup,
    /// `POST /didRegistry/lookup`
    RegistryLookup,
    /// `POST /didRegistry/nonce`
    RegistryNonce,
    /// `POST /didRegistry/register`
    RegistryRegister,
    /// `POST /didRegistry/revoke`
    RegistryRevoke,
    /// `POST /didRegistry/setController`
    RegistrySetController,
    /// `POST /user/contextHash`
    ContextHash,
    /// `POST /user/destroyContext`
    DestroyContext,
    /// `POST /user/createDatabase`
    CreateDatabase,
    /// `POST /user/updateDatabase`
    UpdateDatabase,
    /// `POST /user/deleteDatabase`
    DeleteDatabase,
    /// `POST /user/deleteDatabases`
    DeleteDatabases,
    /// `POST /user/databases`
    Databases,
    /// `POST /user/databaseInfo`
    DatabaseInfo,
    /// `POST /user/usage`
    Usage,
    /// `POST /user/pingDatabase`, `POST /user/pingDatabases`
    PingDatabases,
    /// `POST /user/checkReplication`
    CheckReplication,
    /// `GET /`
    Welcome,
    /// `GET /_up`
    Up,
    /// `GET /_session`
    Session,
    /// `GET POST /{db}`
    Database,
    /// `GET POST /{db}/_changes`
    Changes,
    /// `GET POST /{db}/_all_docs`
    AllDocs,
    /// `POST /{db}/_bulk_docs`
    BulkDocs,
    /// `POST /{db}/_bulk_get`
    BulkGet,
    /// `POST /{db}/_revs_diff`
    RevsDiff,
    /// `GET /{db}/_security`
    Security,
    /// `POST /{db}/_ensure_full_commit`
    EnsureFullCommit,
    /// `POST /{db}/_missing_revs`
    MissingRevs,
    /// `GET PUT /{db}/_revs_limit`
    RevsLimit,
    /// `POST /{db}/_compact`
    Compact,
    /// `POST /{db}/_purge`
    Purge,
    /// `GET POST /{db}/_design_docs`
    DesignDocs,
    /// `POST /{db}/_all_docs/queries`
    AllDocsQueries,
    /// `POST /{db}/_design_docs/queries`
    DesignDocsQueries,
    /// `POST /{db}/_view_cleanup`
    ViewCleanup,
    /// `GET /{db}/_local_docs`
    LocalDocs,
    /// `/{db}/_design/{name}/_…`: what would run a design document's code.
    DesignFunction,
    /// `POST /{db}/_find`
    Find,
    /// `POST /{db}/_explain`
    Explain,
    /// `GET POST /{db}/_index`
    Index,
    /// `POST /{db}/_index/_bulk_delete`
    IndexBulkDelete,
    /// `DELETE /{db}/_index/{design}/json/{name}`
    IndexEntry,
    /// `GET PUT DELETE /{db}/_local/{id}`
    Local,
    /// `GET PUT DELETE COPY /{db}/{id}`
    Document,
    /// `GET PUT DELETE /{db}/{id}/{attachment}`
    Attachment,
    /// Anything else under an existing or possible database.
    UnknownInDatabase,
    /// Anything else.
    Unknown,
}

impl Endpoint {
    /// The methods that an address on the data path knows, told to who used another. Those of the middleware are not there for others.
    pub fn methods(self) -> Option<&'static str> {
        match self {
            Self::Database | Self::Changes | Self::AllDocs | Self::DesignDocs | Self::Index => {
                Some("GET, HEAD, POST")
            }
            Self::BulkDocs
            | Self::BulkGet
            | Self::RevsDiff
            | Self::EnsureFullCommit
            | Self::MissingRevs
            | Self::Compact
            | Self::Purge
            | Self::AllDocsQueries
            | Self::DesignDocsQueries
            | Self::ViewCleanup
            | Self::Find
            | Self::Explain
            | Self::IndexBulkDelete => Some("POST"),
            Self::Security | Self::LocalDocs => Some("GET, HEAD"),
            Self::RevsLimit => Some("GET, HEAD, PUT"),
            Self::IndexEntry => Some("DELETE"),
            Self::Local | Self::Attachment => Some("GET, HEAD, PUT, DELETE"),
            Self::Document => Some("GET, HEAD, PUT, DELETE, COPY"),
            _ => None,
        }
    }
}

/// An address, with what it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// An address that names nothing further.
    Plain(Endpoint),
    /// An address that names a DID (not yet parsed: a wrong one is refused in the route's own words).
    Did(Endpoint, String),
    /// An address in a database.
    Database(Endpoint, DatabaseHash),
    /// A document, or a local document.
    Document(Endpoint, DatabaseHash, DocumentId),
    /// An index: its design document as the address names it, and its name.
    Index(DatabaseHash, String, String),
    /// An attachment of a document.
    Attachment(DatabaseHash, DocumentId, AttachmentName),
    /// An address in a database that would name this, with a name that is none.
    Invalid(Endpoint, DatabaseHash),
    /// The address of a database that cannot exist.
    NoDatabase,
}

impl Route {
    /// Reads the path of a request, still percent-encoded.
    pub fn parse(path: &str) -> Self {
        let path = path.strip_prefix('/').unwrap_or(path);
        let path = path.strip_suffix('/').unwrap_or(path);
        let (first, rest) = match path.split_once('/') {
            Some((first, rest)) => (first, Some(rest)),
            None => (path, None),
        };
        match (first, rest) {
            ("", None) => Self::Plain(Endpoint::Welcome),
            ("_up", None) => Self::Plain(Endpoint::Up),
            ("_session", None) => Self::Plain(Endpoint::Session),
            ("status", None) => Self::Plain(Endpoint::Status),
            ("auth", Some(name)) => Self::Plain(auth(name)),
            ("user", Some(name)) => Self::Plain(user(name)),
            // The name of the contract is what clients of the generation 3 ask the service by.
            ("didRegistry" | "VeridaDIDRegistry", Some(name)) => Self::Plain(did_registry(name)),
            ("did", Some(rest)) => match rest.split_once('/') {
                None => Self::did(Endpoint::DidDocument, rest),
                Some((did, "migrate")) => Self::did(Endpoint::DidMigrate, did),
                Some(_) => Self::Plain(Endpoint::Unknown),
            },
            ("lookup", Some(rest)) => match rest.strip_prefix("did/") {
                Some(did) if !did.contains('/') => Self::did(Endpoint::DidLookup, did),
                _ => Self::Plain(Endpoint::Unknown),
            },
            (name, rest) => Self::couch(name, rest),
        }
    }

    /// Which kind of address it is.
    pub fn endpoint(&self) -> Endpoint {
        match self {
            Self::Plain(endpoint)
            | Self::Did(endpoint, _)
            | Self::Database(endpoint, _)
            | Self::Document(endpoint, _, _)
            | Self::Invalid(endpoint, _) => *endpoint,
            Self::Index(..) => Endpoint::IndexEntry,
            Self::Attachment(..) => Endpoint::Attachment,
            Self::NoDatabase => Endpoint::UnknownInDatabase,
        }
    }

    /// The database in which something is asked for that could be there.
    pub(crate) fn database(&self) -> Option<DatabaseHash> {
        match self {
            Self::Database(_, hash)
            | Self::Document(_, hash, _)
            | Self::Index(hash, ..)
            | Self::Attachment(hash, ..) => Some(*hash),
            Self::Plain(_) | Self::Did(..) | Self::Invalid(..) | Self::NoDatabase => None,
        }
    }

    /// What is no text is no DID either.
    fn did(endpoint: Endpoint, did: &str) -> Self {
        Self::Did(endpoint, decode(did).unwrap_or_default())
    }

    fn couch(name: &str, rest: Option<&str>) -> Self {
        let Ok(database) = name.parse::<DatabaseHash>() else {
            // What looks like a database name gets CouchDB's answer, everything else the middleware's.
            let like_database = name.starts_with('v')
                && name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
            return if like_database {
                Self::NoDatabase
            } else {
                Self::Plain(Endpoint::Unknown)
            };
        };
        let Some(rest) = rest else {
            return Self::Database(Endpoint::Database, database);
        };
        let endpoint = match rest {
            "_changes" => Endpoint::Changes,
            "_all_docs" => Endpoint::AllDocs,
            "_bulk_docs" => Endpoint::BulkDocs,
            "_bulk_get" => Endpoint::BulkGet,
            "_revs_diff" => Endpoint::RevsDiff,
            "_security" => Endpoint::Security,
            "_ensure_full_commit" => Endpoint::EnsureFullCommit,
            "_missing_revs" => Endpoint::MissingRevs,
            "_revs_limit" => Endpoint::RevsLimit,
            "_compact" => Endpoint::Compact,
            "_purge" => Endpoint::Purge,
            "_design_docs" => Endpoint::DesignDocs,
            "_all_docs/queries" => Endpoint::AllDocsQueries,
            "_design_docs/queries" => Endpoint::DesignDocsQueries,
            "_view_cleanup" => Endpoint::ViewCleanup,
            "_local_docs" => Endpoint::LocalDocs,
            "_find" => Endpoint::Find,
            "_explain" => Endpoint::Explain,
            "_index" => Endpoint::Index,
            "_index/_bulk_delete" => Endpoint::IndexBulkDelete,
            _ if is_design_function(rest) => Endpoint::DesignFunction,
            _ if rest.starts_with("_index/") => return Self::index(database, rest),
            _ => {
                let no_text = Self::Invalid(Endpoint::Document, database);
                return Self::document(database, rest).unwrap_or(no_text);
            }
        };
        Self::Database(endpoint, database)
    }

    /// `_index/{design}/json/{name}`, where the design document may be written with its `_design/`.
    fn index(database: DatabaseHash, rest: &str) -> Self {
        let segments: Option<Vec<String>> = rest.split('/').skip(1).map(decode).collect();
        let Some(segments) = segments else {
            return Self::Invalid(Endpoint::IndexEntry, database);
        };
        let names: Vec<&str> = segments.iter().map(String::as_str).collect();
        match names.as_slice() {
            ["_design", design, "json", name] | [design, "json", name] => {
                Self::Index(database, (*design).to_owned(), (*name).to_owned())
            }
            _ => Self::Database(Endpoint::UnknownInDatabase, database),
        }
    }

    /// None where the document's name is no text.
    fn document(database: DatabaseHash, rest: &str) -> Option<Self> {
        let (first, second) = match rest.split_once('/') {
            Some((first, second)) => (decode(first)?, Some(second)),
            None => (decode(rest)?, None),
        };
        let (id, attachment) = match (first.as_str(), second) {
            ("_local", Some(name)) if !name.contains('/') => {
                (format!("{first}/{}", decode(name)?), None)
            }
            ("_design", Some(rest)) => match rest.split_once('/') {
                None => (format!("{first}/{}", decode(rest)?), None),
                Some((name, attachment)) => {
                    (format!("{first}/{}", decode(name)?), Some(attachment))
                }
            },
            (_, attachment) => (first, attachment),
        };
        if let Some(name) = attachment {
            return Some(Self::attachment(database, &id, name));
        }
        Some(match id.parse::<DocumentId>() {
            Ok(id) if id.kind() == DocumentKind::Local => {
                Self::Document(Endpoint::Local, database, id)
            }
            Ok(id) => Self::Document(Endpoint::Document, database, id),
            Err(_) if id.starts_with('_') && !id.contains('/') => {
                Self::Database(Endpoint::UnknownInDatabase, database)
            }
            Err(_) => Self::Invalid(Endpoint::Document, database),
        })
    }
}

/// Whether a path goes on behind a design document's name with a reserved word.
fn is_design_function(rest: &str) -> bool {
    let mut segments = rest.split('/');
    let first = segments.next().and_then(decode).unwrap_or_default();
    if first == "_design" {
        segments.next();
    } else if !first.starts_with("_design/") {
        return false;
    }
    segments.next().is_some_and(|name| name.starts_with('_'))
}

impl Route {
    /// A path inside a document. Local documents have no attachments, and no attachment begins with an underscore.
    fn attachment(database: DatabaseHash, id: &str, name: &str) -> Self {
        let Some(name) = decode(name) else {
            return Self::Invalid(Endpoint::Attachment, database);
        };
        match (id.parse::<DocumentId>(), name.parse()) {
            (Ok(id), Ok(name)) if id.kind() != DocumentKind::Local => {
                Self::Attachment(database, id, name)
            }
            (Ok(_) | Err(_), Ok(_) | Err(_)) => {
                Self::Database(Endpoint::UnknownInDatabase, database)
            }
        }
    }
}

fn auth(name: &str) -> Endpoint {
    match name {
        "public" => Endpoint::Public,
        "generateAuthJwt" => Endpoint::GenerateAuthJwt,
        "authenticate" => Endpoint::Authenticate,
        "connect" => Endpoint::Connect,
        "regenerateRefreshToken" => Endpoint::RegenerateRefreshToken,
        "isTokenValid" => Endpoint::IsTokenValid,
        "invalidateDeviceId" => Endpoint::InvalidateDeviceId,
        "replicationCreds" => Endpoint::ReplicationCreds,
        _ => Endpoint::Unknown,
    }
}

fn did_registry(name: &str) -> Endpoint {
    match name {
        "lookup" => Endpoint::RegistryLookup,
        "nonce" => Endpoint::RegistryNonce,
        "register" => Endpoint::RegistryRegister,
        "revoke" => Endpoint::RegistryRevoke,
        "setController" => Endpoint::RegistrySetController,
        _ => Endpoint::Unknown,
    }
}

fn user(name: &str) -> Endpoint {
    match name {
        "contextHash" => Endpoint::ContextHash,
        "destroyContext" => Endpoint::DestroyContext,
        "createDatabase" => Endpoint::CreateDatabase,
        "updateDatabase" => Endpoint::UpdateDatabase,
        "deleteDatabase" => Endpoint::DeleteDatabase,
        "deleteDatabases" => Endpoint::DeleteDatabases,
        "databases" => Endpoint::Databases,
        "databaseInfo" => Endpoint::DatabaseInfo,
        "usage" => Endpoint::Usage,
        "pingDatabase" | "pingDatabases" => Endpoint::PingDatabases,
        "checkReplication" => Endpoint::CheckReplication,
        _ => Endpoint::Unknown,
    }
}

/// Percent-decodes a path segment. Bytes that are no text name nothing: put into words, many of them would be one name.
fn decode(segment: &str) -> Option<String> {
    let decoded = percent_decode_str(segment).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> (String, DatabaseHash) {
        let name = format!("v{}", "0a".repeat(32));
        let hash = name.parse().unwrap();
        (name, hash)
    }

    #[test]
    fn the_registry_has_the_name_of_its_contract_too() {
        for name in ["lookup", "nonce", "register", "revoke", "setController"] {
            let asked = |first: &str| Route::parse(&format!("/{first}/{name}"));
            assert_eq!(asked("VeridaDIDRegistry"), asked("didRegistry"));
            assert_ne!(asked("didRegistry").endpoint(), Endpoint::Unknown);
        }
    }

    #[test]
    fn document_ids_are_decoded_and_may_hold_slashes() {
        let (name, hash) = database();
        let document = |path: &str| Route::parse(&format!("/{name}/{path}"));
        let is = |endpoint, id: &str| Route::Document(endpoint, hash, id.parse().unwrap());
        assert_eq!(document("a%2Fb%20c"), is(Endpoint::Document, "a/b c"));
        assert_eq!(document("_design/x"), is(Endpoint::Document, "_design/x"));
        assert_eq!(document("_design%2Fx"), is(Endpoint::Document, "_design/x"));
        assert_eq!(
            document("_local/KUK%3D%3D"),
            is(Endpoint::Local, "_local/KUK==")
        );
        assert_eq!(
            document("_changes"),
            Route::Database(Endpoint::Changes, hash)
        );
        assert_eq!(
            document("_nothing"),
            Route::Database(Endpoint::UnknownInDatabase, hash)
        );
        for path in [
            "_design/x/_view/y",
            "_design%2Fx/_view/y",
            "_design/x/_info",
        ] {
            assert_eq!(
                document(path),
                Route::Database(Endpoint::DesignFunction, hash)
            );
        }
        for path in ["_index/_design/a%2Fb/json/n", "_index/a%2Fb/json/n"] {
            assert_eq!(document(path), Route::Index(hash, "a/b".into(), "n".into()));
        }
        assert_eq!(
            document("_index/a/text/n"),
            Route::Database(Endpoint::UnknownInDatabase, hash)
        );
        let attachment = |id: &str, name: &str| {
            Route::Attachment(hash, id.parse().unwrap(), name.parse().unwrap())
        };
        assert_eq!(document("a/b"), attachment("a", "b"));
        assert_eq!(document("a%2Fb/c%20d/e"), attachment("a/b", "c d/e"));
        assert_eq!(document("_design/x/y.js"), attachment("_design/x", "y.js"));
        for path in ["a/_b", "a/b%0A", "_nothing/a"] {
            assert_eq!(
                document(path),
                Route::Database(Endpoint::UnknownInDatabase, hash),
                "{path}"
            );
        }
        assert_eq!(
            document("_local/a/b"),
            Route::Database(Endpoint::UnknownInDatabase, hash)
        );
        assert_eq!(
            Route::parse(&format!("/{name}/")),
            Route::Database(Endpoint::Database, hash)
        );
        let long = "x".repeat(2_000);
        assert_eq!(document(&long), Route::Invalid(Endpoint::Document, hash));
    }

    #[test]
    fn bytes_that_are_no_text_name_nothing() {
        let (name, hash) = database();
        for (path, endpoint) in [
            ("caf%E9", Endpoint::Document),
            ("%FF/a", Endpoint::Document),
            ("_design/%FF", Endpoint::Document),
            ("_design/%FF/a", Endpoint::Document),
            ("_local/%FF", Endpoint::Document),
            ("a/%FF", Endpoint::Attachment),
            ("_design/x/%FF", Endpoint::Attachment),
            ("_index/%FF/json/n", Endpoint::IndexEntry),
            ("_index/a/json/%FF", Endpoint::IndexEntry),
        ] {
            assert_eq!(
                Route::parse(&format!("/{name}/{path}")),
                Route::Invalid(endpoint, hash),
                "{path}"
            );
        }
        let did = Route::parse("/did/did:vda:%FF");
        assert_eq!(did, Route::Did(Endpoint::DidDocument, String::new()));
    }

    #[test]
    fn what_is_no_database_is_the_middlewares() {
        assert_eq!(Route::parse("/nope"), Route::Plain(Endpoint::Unknown));
        assert_eq!(Route::parse("/vdoesnotexist"), Route::NoDatabase);
        assert_eq!(Route::parse("/user/x"), Route::Plain(Endpoint::Unknown));
        assert_eq!(Route::parse("/_users/x"), Route::Plain(Endpoint::Unknown));
        assert_eq!(Route::parse("//"), Route::Plain(Endpoint::Welcome));
        assert_eq!(
            Route::parse("/did/did:vda:x/migrate"),
            Route::Did(Endpoint::DidMigrate, "did:vda:x".into())
        );
    }
}
