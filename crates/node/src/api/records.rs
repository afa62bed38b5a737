//! `ds` and `db`: records of a schema, and records of a whole database. The same handlers serve both;
//! what differs is the resource and the capability that a scope must name.

use std::sync::Arc;

use adyton_protocol::database::DatabaseName;
use adyton_protocol::schema::SchemaUri;
use adyton_protocol::scope::{ApiScope, Resource};
use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::Api;
use super::caller::Caller;
use super::json_body::JsonObject;
use super::path::Parameters;
use super::problem::ApiProblem;
use super::query_body::{QueryBody, take_selector};
use super::record_stream::{item_response, query_response};
use crate::authz::{Delete, Read, Write};
use crate::memory::Reservation;
use crate::vault::Saved;

type Answer = Result<Response, ApiProblem>;
type Shared = State<Arc<Api>>;

/// `GET /ds/get/{schema}/{id}`
pub(super) async fn ds_get(
    State(api): Shared,
    Caller(caller): Caller,
    Parameters((schema, id)): Parameters<(String, String)>,
) -> Answer {
    let permit = caller.permit::<Read>(ApiScope::DsGetById, datastore(&api, &schema)?)?;
    Ok(item_response(&api.vault.get(&permit, &id).await?))
}

/// `GET /db/get/{database}/{id}`
pub(super) async fn db_get(
    State(api): Shared,
    Caller(caller): Caller,
    Parameters((name, id)): Parameters<(String, String)>,
) -> Answer {
    let permit = caller.permit::<Read>(ApiScope::DbGetById, database(&name)?)?;
    Ok(item_response(&api.vault.get(&permit, &id).await?))
}

/// `POST /ds/query/{schema}`
pub(super) async fn ds_query(
    State(api): Shared,
    Caller(caller): Caller,
    Parameters(schema): Parameters<String>,
    body: JsonObject,
) -> Answer {
    query(
        &api,
        &caller,
        ApiScope::DsQuery,
        datastore(&api, &schema)?,
        body,
    )
    .await
}

/// `POST /db/query/{database}`
pub(super) async fn db_query(
    State(api): Shared,
    Caller(caller): Caller,
    Parameters(name): Parameters<String>,
    body: JsonObject,
) -> Answer {
    query(&api, &caller, ApiScope::DbQuery, database(&name)?, body).await
}

async fn query(
    api: &Api,
    caller: &Arc<crate::authn::Principal>,
    scope: ApiScope,
    resource: Resource,
    body: JsonObject,
) -> Answer {
    let permit = caller.permit::<Read>(scope, resource)?;
    let QueryBody { query, fields } = QueryBody::parse(body)?;
    let (limit, skip) = (query.limit, query.skip);
    let answer = api.vault.query(&permit, query).await?;
    Ok(query_response(answer, fields, limit, skip))
}

/// `POST /ds/count/{schema}`
pub(super) async fn ds_count(
    State(api): Shared,
    Caller(caller): Caller,
    Parameters(schema): Parameters<String>,
    body: JsonObject,
) -> Answer {
    count(
        &api,
        &caller,
        ApiScope::DsQuery,
        datastore(&api, &schema)?,
        body,
    )
    .await
}

/// `POST /db/count/{database}`
pub(super) async fn db_count(
    State(api): Shared,
    Caller(caller): Caller,
    Parameters(name): Parameters<String>,
    body: JsonObject,
) -> Answer {
    count(&api, &caller, ApiScope::DbQuery, database(&name)?, body).await
}

async fn count(
    api: &Api,
    caller: &Arc<crate::authn::Principal>,
    scope: ApiScope,
    resource: Resource,
    mut body: JsonObject,
) -> Answer {
    let permit = caller.permit::<Read>(scope, resource)?;
    let selector = take_selector(&mut body)?;
    let _counted = body.nothing_else("query (or selector, filter, filters)")?;
    let count = api.vault.count(&permit, selector).await?;
    Ok(Json(json!({ "count": count })).into_response())
}

/// `POST /ds/{schema}`
pub(super) async fn ds_create(
    State(api): Shared,
    Caller(caller): Caller,
    Parameters(schema): Parameters<String>,
    body: JsonObject,
) -> Answer {
    let permit = caller.permit::<Write>(ApiScope::DsCreate, datastore(&api, &schema)?)?;
    let (record, _, _counted) = record_of(body)?;
    Ok(created(&api.vault.create(&permit, record).await?))
}

/// `POST /db/{database}`
pub(super) async fn db_create(
    State(api): Shared,
    Caller(caller): Caller,
    Parameters(name): Parameters<String>,
    body: JsonObject,
) -> Answer {
    let permit = caller.permit::<Write>(ApiScope::DbCreate, database(&name)?)?;
    let (record, _, _counted) = record_of(body)?;
    Ok(created(&api.vault.create(&permit, record).await?))
}

/// `PUT /ds/{schema}/{id}`
pub(super) async fn ds_update(
    State(api): Shared,
    Caller(caller): Caller,
    Parameters((schema, id)): Parameters<(String, String)>,
    body: JsonObject,
) -> Answer {
    let permit = caller.permit::<Write>(ApiScope::DsUpdate, datastore(&api, &schema)?)?;
    let (record, force, _counted) = record_of(body)?;
    Ok(updated(
        &api.vault.update(&permit, id, record, force).await?,
    ))
}

/// `PUT /db/{database}/{id}`
pub(super) async fn db_update(
    State(api): Shared,
    Caller(caller): Caller,
    Parameters((name, id)): Parameters<(String, String)>,
    body: JsonObject,
) -> Answer {
    let permit = caller.permit::<Write>(ApiScope::DbUpdate, database(&name)?)?;
    let (record, force, _counted) = record_of(body)?;
    Ok(updated(
        &api.vault.update(&permit, id, record, force).await?,
    ))
}

/// `DELETE /ds/{schema}/{id}`
pub(super) async fn ds_delete(
    State(api): Shared,
    Caller(caller): Caller,
    Parameters((schema, id)): Parameters<(String, String)>,
    RawQuery(query): RawQuery,
) -> Answer {
    let permit = caller.permit::<Delete>(ApiScope::DsDelete, datastore(&api, &schema)?)?;
    refuse_destroy(query.as_deref())?;
    Ok(deleted(&api.vault.delete(&permit, id).await?))
}

/// `DELETE /db/{database}/{id}`. There is no scope of its own: changing a database's records covers it.
pub(super) async fn db_delete(
    State(api): Shared,
    Caller(caller): Caller,
    Parameters((name, id)): Parameters<(String, String)>,
    RawQuery(query): RawQuery,
) -> Answer {
    let permit = caller.permit::<Delete>(ApiScope::DbUpdate, database(&name)?)?;
    refuse_destroy(query.as_deref())?;
    Ok(deleted(&api.vault.delete(&permit, id).await?))
}

/// The records of a schema. A schema that the node does not know is "not found": no URL is ever fetched.
fn datastore(api: &Api, schema: &str) -> Result<Resource, ApiProblem> {
    let schema = SchemaUri::parse_lenient(schema)
        .map_err(|error| ApiProblem::malformed(error.to_string()))?;
    Resource::datastore(schema, &*api.schemas).ok_or_else(ApiProblem::not_found)
}

fn database(name: &str) -> Result<Resource, ApiProblem> {
    let name = DatabaseName::new(name).map_err(|error| ApiProblem::malformed(error.to_string()))?;
    Ok(Resource::whole_database(name))
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
