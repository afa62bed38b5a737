//! The two names under which records are reached, and what a path below them means.

use std::marker::PhantomData;
use std::sync::Arc;

use adyton_protocol::database::DatabaseName;
use adyton_protocol::problem::ProblemKind;
use adyton_protocol::schema::{SchemaDirectory, SchemaUri};
use adyton_protocol::scope::{ApiScope, Resource};
use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::request::Parts;

use super::Api;
use super::path::Parameters;
use super::problem::ApiProblem;
use crate::authn::Principal;

/// One of the two names under which records are reached.
pub(super) trait Door: Send + Sync + 'static {
    /// The capability for reading one record.
    const GET: ApiScope;
    /// The capability for queries and counts.
    const QUERY: ApiScope;
    /// The capability for creating.
    const CREATE: ApiScope;
    /// The capability for changing.
    const UPDATE: ApiScope;
    /// The capability for deleting.
    const DELETE: ApiScope;

    /// What the path names.
    fn named(name: &str) -> Result<Named, ApiProblem>;
}

/// What a path names. What of the data that is can depend on who asks: a schema may be the user's own.
#[derive(Debug, Clone)]
pub(super) enum Named {
    Schema(SchemaUri),
    Database(DatabaseName),
}

impl Named {
    /// The records that this caller means by the name.
    ///
    /// A schema that is neither published nor the user's own is "not found": no URL is ever fetched. One of the user's own looks the
    /// same to an app that was granted nothing of it.
    pub(super) async fn resource(
        self,
        api: &Api,
        caller: &Arc<Principal>,
    ) -> Result<Resource, ApiProblem> {
        let schema = match self {
            Self::Database(name) => return Ok(Resource::whole_database(name)),
            Self::Schema(schema) => schema,
        };
        if let Some(resource) = Resource::datastore(schema.clone(), &*api.schemas) {
            return Ok(resource);
        }
        if !api.schemas.may_be_own(&schema) || !caller.may_know(&schema) {
            return Err(ApiProblem::not_found());
        }
        let own = api.vault.schemas(&caller.to_resolve()).await?;
        Resource::datastore(schema, &*own.set)
            .filter(|resource| caller.knows(resource))
            .ok_or_else(ApiProblem::not_found)
    }
}

/// `ds`: the records of a schema.
#[derive(Debug)]
pub(super) enum Ds {}
/// `db`: all records of a database.
#[derive(Debug)]
pub(super) enum Db {}

impl Door for Ds {
    const GET: ApiScope = ApiScope::DsGetById;
    const QUERY: ApiScope = ApiScope::DsQuery;
    const CREATE: ApiScope = ApiScope::DsCreate;
    const UPDATE: ApiScope = ApiScope::DsUpdate;
    const DELETE: ApiScope = ApiScope::DsDelete;

    fn named(schema: &str) -> Result<Named, ApiProblem> {
        SchemaUri::parse_lenient(schema)
            .map(Named::Schema)
            .map_err(|error| ApiProblem::malformed(error.to_string()))
    }
}

impl Door for Db {
    const GET: ApiScope = ApiScope::DbGetById;
    const QUERY: ApiScope = ApiScope::DbQuery;
    const CREATE: ApiScope = ApiScope::DbCreate;
    const UPDATE: ApiScope = ApiScope::DbUpdate;
    // There is no capability of its own: changing a database's records covers it.
    const DELETE: ApiScope = ApiScope::DbUpdate;

    fn named(name: &str) -> Result<Named, ApiProblem> {
        DatabaseName::new(name)
            .map(Named::Database)
            .map_err(|error| ApiProblem::malformed(error.to_string()))
    }
}

/// The records that a path names.
#[derive(Debug)]
pub(super) struct Records<D> {
    pub(super) named: Named,
    door: PhantomData<D>,
}

/// The one record that a path names.
#[derive(Debug)]
pub(super) struct Record<D> {
    pub(super) named: Named,
    pub(super) id: String,
    door: PhantomData<D>,
}

impl<D: Door> FromRequestParts<Arc<Api>> for Records<D> {
    type Rejection = ApiProblem;

    async fn from_request_parts(head: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiProblem> {
        let Parameters(name) = Parameters::<String>::from_request_parts(head, api).await?;
        owners_only(&head.headers)?;
        Ok(Self {
            named: D::named(&name)?,
            door: PhantomData,
        })
    }
}

impl<D: Door> FromRequestParts<Arc<Api>> for Record<D> {
    type Rejection = ApiProblem;

    async fn from_request_parts(head: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiProblem> {
        let Parameters((name, id)) =
            Parameters::<(String, String)>::from_request_parts(head, api).await?;
        owners_only(&head.headers)?;
        Ok(Self {
            named: D::named(&name)?,
            id,
            door: PhantomData,
        })
    }
}

/// The header with which clients of the original say how a database is opened.
const PERMISSIONS: &str = "permissions";

/// Holds the header `permissions` to what this node serves: databases that their owner alone reads and writes.
fn owners_only(headers: &HeaderMap) -> Result<(), ApiProblem> {
    for value in headers.get_all(PERMISSIONS) {
        let value = value.to_str().unwrap_or("?").to_ascii_lowercase();
        for pair in value
            .split(',')
            .map(str::trim)
            .filter(|pair| !pair.is_empty())
        {
            match pair
                .split_once('=')
                .map(|(who, what)| (who.trim(), what.trim()))
            {
                Some(("read" | "write", "owner")) => {}
                Some(("read" | "write", "public" | "users")) => {
                    return Err(ApiProblem::new(
                        ProblemKind::PermissionsUnsupported,
                        "this node serves databases that their owner alone reads and writes: leave the header out, \
                         or send read=owner,write=owner",
                    ));
                }
                _ => {
                    return Err(ApiProblem::malformed(
                        "the header `permissions` is a list of read=… and write=…, each owner, users or public",
                    ));
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn permissions_that_are_not_the_owners_are_refused_with_a_reason() {
        let held = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(
                PERMISSIONS,
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
            owners_only(&headers).map_err(|problem| problem.kind())
        };
        for value in ["", "read=owner", "Write=Owner, READ=owner", "read=owner,,"] {
            assert_eq!(held(value), Ok(()), "{value}");
        }
        for value in ["read=public,write=owner", "write=users"] {
            assert_eq!(
                held(value),
                Err(ProblemKind::PermissionsUnsupported),
                "{value}"
            );
        }
        for value in ["read", "read=everybody", "delete=owner", "\u{fe}"] {
            assert_eq!(held(value), Err(ProblemKind::RequestMalformed), "{value}");
        }
        assert_eq!(owners_only(&HeaderMap::new()).map_err(|_| ()), Ok(()));
    }
}
