//! `ds` and `db`: records of a schema, and records of a whole database. The same handlers serve both;
//! what differs is the resource and the capability that a scope must name.

use std::sync::Arc;

use adyton_couch::selector::Selector;
use adyton_protocol::database::DatabaseName;
use adyton_protocol::schema::SchemaUri;
use adyton_protocol::scope::{ApiScope, Resource};
use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::Api;
use super::caller::Caller;
use super::json_body::JsonObject;
use super::path::Parameters;
use super::problem::ApiProblem;
use super::query_body::{QueryBody, take_selector};
use super::record_stream::{item_response, query_response};
use super::routes::Route;
use crate::authz::{Delete, Read, Write};
use crate::memory::Reservation;
use crate::vault::Saved;

/// The routes that this module answers.
#[rustfmt::skip]
pub(super) const ROUTES: [Route; 12] = [
    Route::guarded("GET", "/api/rest/v1/ds/get/{schema}/{id}", || routing::get(get::<Ds>)),
    Route::guarded("POST", "/api/rest/v1/ds/query/{schema}", || routing::post(query::<Ds>)),
    Route::guarded("POST", "/api/rest/v1/ds/count/{schema}", || routing::post(count::<Ds>)),
    Route::guarded("POST", "/api/rest/v1/ds/{schema}", || routing::post(create::<Ds>)),
    Route::guarded("PUT", "/api/rest/v1/ds/{schema}/{id}", || routing::put(update::<Ds>)),
    Route::guarded("DELETE", "/api/rest/v1/ds/{schema}/{id}", || routing::delete(delete::<Ds>)),
    Route::guarded("GET", "/api/rest/v1/db/get/{database}/{id}", || routing::get(get::<Db>)),
    Route::guarded("POST", "/api/rest/v1/db/query/{database}", || routing::post(query::<Db>)),
    Route::guarded("POST", "/api/rest/v1/db/count/{database}", || routing::post(count::<Db>)),
    Route::guarded("POST", "/api/rest/v1/db/{database}", || routing::post(create::<Db>)),
    Route::guarded("PUT", "/api/rest/v1/db/{database}/{id}", || routing::put(update::<Db>)),
    Route::guarded("DELETE", "/api/rest/v1/db/{database}/{id}", || routing::delete(delete::<Db>)),
];

type Answer = Result<Response, ApiProblem>;
type Shared = State<Arc<Api>>;

/// One of the two names under which records are reached.
pub(super) trait Door {
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
pub(super) enum Ds {}
/// `db`: all records of a database.
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

/// `GET /{door}/get/{name}/{id}`
pub(super) async fn get<D: Door>(
    State(api): Shared,
    Caller(caller): Caller,
    Parameters((name, id)): Parameters<(String, String)>,
) -> Answer {
    let permit = caller.permit::<Read>(D::GET, D::resource(&api, &name)?)?;
    Ok(item_response(&api.vault.get(&permit, &id).await?))
}

/// `POST /{door}/query/{name}`
pub(super) async fn query<D: Door>(
    State(api): Shared,
    Caller(caller): Caller,
    Parameters(name): Parameters<String>,
    body: JsonObject,
) -> Answer {
    let permit = caller.permit::<Read>(D::QUERY, D::resource(&api, &name)?)?;
    let QueryBody { query, fields } = QueryBody::parse(body)?;
    let (limit, skip) = (query.limit, query.skip);
    let answer = api.vault.query(&permit, query).await?;
    Ok(query_response(answer, fields, limit, skip))
}

/// `POST /{door}/count/{name}`
pub(super) async fn count<D: Door>(
    State(api): Shared,
    Caller(caller): Caller,
    Parameters(name): Parameters<String>,
    mut body: JsonObject,
) -> Answer {
    let permit = caller.permit::<Read>(D::QUERY, D::resource(&api, &name)?)?;
    let selector = take_selector(&mut body)?.unwrap_or_else(Selector::everything);
    let _counted = body.nothing_else("query (or selector, filter, filters)")?;
    let count = api.vault.count(&permit, selector).await?;
    Ok(Json(json!({ "count": count })).into_response())
}

/// `POST /{door}/{name}`
pub(super) async fn create<D: Door>(
    State(api): Shared,
    Caller(caller): Caller,
    Parameters(name): Parameters<String>,
    body: JsonObject,
) -> Answer {
    let permit = caller.permit::<Write>(D::CREATE, D::resource(&api, &name)?)?;
    let (record, _, _counted) = record_of(body)?;
    Ok(created(&api.vault.create(&permit, record).await?))
}

/// `PUT /{door}/{name}/{id}`
pub(super) async fn update<D: Door>(
    State(api): Shared,
    Caller(caller): Caller,
    Parameters((name, id)): Parameters<(String, String)>,
    body: JsonObject,
) -> Answer {
    let permit = caller.permit::<Write>(D::UPDATE, D::resource(&api, &name)?)?;
    let (record, force, _counted) = record_of(body)?;
    Ok(updated(
        &api.vault.update(&permit, id, record, force).await?,
    ))
}

/// `DELETE /{door}/{name}/{id}`
pub(super) async fn delete<D: Door>(
    State(api): Shared,
    Caller(caller): Caller,
    Parameters((name, id)): Parameters<(String, String)>,
    RawQuery(query): RawQuery,
) -> Answer {
    let permit = caller.permit::<Delete>(D::DELETE, D::resource(&api, &name)?)?;
    refuse_destroy(query.as_deref())?;
    Ok(deleted(&api.vault.delete(&permit, id).await?))
}

/// `{"record": {…}, "options": {"forceUpdate": bool}}`; returns the record and whether to force.
fn record_of(mut body: JsonObject) -> Result<(Map<String, Value>, bool, Reservation), ApiProblem> {
    let Some(Value::Object(record)) = body.take("record") else {
        return Err(ApiProblem::malformed(
            "the request body needs a member `record`, an object",
        ));
    };
    let mut options = match body.take("options") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(options)) => options,
        Some(_) => return Err(ApiProblem::malformed("`options` must be an object")),
    };
    let counted = body.nothing_else("record and options")?;
    let force = options
        .remove("forceUpdate")
        .is_some_and(|value| value == Value::Bool(true));
    options.remove("forceInsert");
    match options.is_empty() {
        true => Ok((record, force, counted)),
        false => Err(ApiProblem::malformed(
            "`options` knows forceUpdate and forceInsert",
        )),
    }
}

/// The original deletes a whole database here when `destroy=true`. This route never does.
fn refuse_destroy(query: Option<&str>) -> Result<(), ApiProblem> {
    match query.is_some_and(|query| query.split('&').any(|pair| pair == "destroy=true")) {
        true => Err(ApiProblem::malformed(
            "this route deletes one record; it never destroys a database",
        )),
        false => Ok(()),
    }
}

fn created(saved: &Saved) -> Response {
    (
        StatusCode::CREATED,
        Json(json!({ "success": true, "record": saved.record })),
    )
        .into_response()
}

fn updated(saved: &Saved) -> Response {
    let id = saved.record.get("_id").cloned().unwrap_or_default();
    let result = json!({ "ok": true, "id": id, "rev": saved.rev.to_string() });
    Json(json!({ "success": true, "record": saved.record, "result": result })).into_response()
}

fn deleted(saved: &Saved) -> Response {
    Json(json!({ "success": true, "action": "delete", "rev": saved.rev.to_string() }))
        .into_response()
}
