//! The two names under which records are reached, and what a path below them means.

use std::marker::PhantomData;
use std::sync::Arc;

use adyton_protocol::database::DatabaseName;
use adyton_protocol::problem::ProblemKind;
use adyton_protocol::schema::SchemaUri;
use adyton_protocol::scope::{ApiScope, Resource};
use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::request::Parts;

use super::Api;
use super::path::Parameters;
use super::problem::ApiProblem;

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
    fn resource(api: &Api, name: &str) -> Result<Resource, ApiProblem>;
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

    /// A schema that the node does not know is "not found": no URL is ever fetched.
    fn resource(api: &Api, schema: &str) -> Result<Resource, ApiProblem> {
        let schema = SchemaUri::parse_lenient(schema)
            .map_err(|error| ApiProblem::malformed(error.to_string()))?;
        Resource::datastore(schema, &*api.schemas).ok_or_else(ApiProblem::not_found)
    }
}

impl Door for Db {
    const GET: ApiScope = ApiScope::DbGetById;
    const QUERY: ApiScope = ApiScope::DbQuery;
    const CREATE: ApiScope = ApiScope::DbCreate;
    const UPDATE: ApiScope = ApiScope::DbUpdate;
    // There is no capability of its own: changing a database's records covers it.
    const DELETE: ApiScope = ApiScope::DbUpdate;

    fn resource(_: &Api, name: &str) -> Result<Resource, ApiProblem> {
        let name =
            DatabaseName::new(name).map_err(|error| ApiProblem::malformed(error.to_string()))?;
        Ok(Resource::whole_database(name))
    }
}

/// The records that a path names.
#[derive(Debug)]
pub(super) struct Records<D> {
    pub(super) resource: Resource,
    door: PhantomData<D>,
}

/// The one record that a path names.
#[derive(Debug)]
pub(super) struct Record<D> {
    pub(super) resource: Resource,
    pub(super) id: String,
    door: PhantomData<D>,
}

impl<D: Door> FromRequestParts<Arc<Api>> for Records<D> {
    type Rejection = ApiProblem;

    async fn from_request_parts(head: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiProblem> {
        let Parameters(name) = Parameters::<String>::from_request_parts(head, api).await?;
        owners_only(&head.headers)?;
        Ok(Self {
            resource: D::resource(api, &name)?,
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
            resource: D::resource(api, &name)?,
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
