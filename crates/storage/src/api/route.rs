//! Every address that this node answers, as one type. The unauthorized matrix of the tests walks [`Endpoint::ALL`].

use std::borrow::Cow;

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
    /// `GET PUT DELETE /{db}/_local/{id}`
    Local,
    /// `GET PUT DELETE /{db}/{id}`
    Document,
    /// Anything else under an existing or possible database.
    UnknownInDatabase,
    /// Anything else.
    Unknown,
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
    /// A document's address whose id is none.
    InvalidDocument(DatabaseHash),
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
            ("didRegistry", Some(name)) => Self::Plain(did_registry(name)),
            ("did", Some(rest)) => match rest.split_once('/') {
                None => Self::Did(Endpoint::DidDocument, decode(rest)),
                Some((did, "migrate")) => Self::Did(Endpoint::DidMigrate, decode(did)),
                Some(_) => Self::Plain(Endpoint::Unknown),
            },
            ("lookup", Some(rest)) => match rest.strip_prefix("did/") {
                Some(did) if !did.contains('/') => Self::Did(Endpoint::DidLookup, decode(did)),
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
            | Self::Document(endpoint, _, _) => *endpoint,
            Self::InvalidDocument(_) => Endpoint::Document,
            Self::NoDatabase => Endpoint::UnknownInDatabase,
        }
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
            _ => return Self::document(database, rest),
        };
        Self::Database(endpoint, database)
    }

    fn document(database: DatabaseHash, rest: &str) -> Self {
        let (first, second) = match rest.split_once('/') {
            Some((first, second)) => (decode(first), Some(second)),
            None => (decode(rest), None),
        };
        let id = match (first.as_str(), second) {
            ("_local" | "_design", Some(name)) if !name.contains('/') => {
                format!("{first}/{}", decode(name))
            }
            (_, None) => first,
            // A path inside a document would name an attachment; there are none.
            (_, Some(_)) => return Self::Database(Endpoint::UnknownInDatabase, database),
        };
        match id.parse::<DocumentId>() {
            Ok(id) if id.kind() == DocumentKind::Local => {
                Self::Document(Endpoint::Local, database, id)
            }
            Ok(id) => Self::Document(Endpoint::Document, database, id),
            Err(_) if id.starts_with('_') && !id.contains('/') => {
                Self::Database(Endpoint::UnknownInDatabase, database)
            }
            Err(_) => Self::InvalidDocument(database),
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

/// Percent-decodes a path segment. Bytes that are no text become U+FFFD, which names nothing.
fn decode(segment: &str) -> String {
    let decoded: Cow<'_, str> = percent_decode_str(segment).decode_utf8_lossy();
    decoded.into_owned()
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
            document("_find"),
            Route::Database(Endpoint::UnknownInDatabase, hash)
        );
        assert_eq!(
            document("a/b"),
            Route::Database(Endpoint::UnknownInDatabase, hash)
        );
        assert_eq!(
            document("_local/a/b"),
            Route::Database(Endpoint::UnknownInDatabase, hash)
        );
        assert_eq!(
            Route::parse(&format!("/{name}/")),
            Route::Database(Endpoint::Database, hash)
        );
        let long = "x".repeat(2_000);
        assert_eq!(document(&long), Route::InvalidDocument(hash));
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
