//! Reading records: `ds`, those of a schema, and `db`, those of a whole database. The same handlers serve both; what differs
//! is the resource and the capability that a scope must name.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing;
use http::HeaderMap;
use serde_json::json;

use super::Api;
use super::caller::Caller;
use super::door::{Db, Door, Ds, Record, Records};
use super::export::Export;
use super::json_body::JsonObject;
use super::precondition::{Unwanted, not_modified, tagged};
use super::problem::ApiProblem;
use super::query_body::{QueryBody, SELECTOR_NAMES, take_selector};
use super::record_stream::{found_response, item_response, query_response};
use super::routes::Route;
use super::write_body::ids_of;
use crate::authz::Read;
use crate::memory::Measure;
use adyton_couch::selector::Selector;

/// The routes that this module answers.
#[rustfmt::skip]
pub(super) const ROUTES: [Route; 18] = [
    Route::guarded("GET", "/api/rest/v1/ds/get/{schema}/{id}", || routing::get(get::<Ds>)),
    // As the original's SDK asks, and as its documentation says.
    Route::guarded("POST", "/api/rest/v1/ds/get/{schema}/{id}", || routing::post(get::<Ds>)),
    Route::guarded("GET", "/api/rest/v1/ds/{schema}/{id}", || routing::get(get::<Ds>)),
    Route::guarded("POST", "/api/rest/v1/ds/query/{schema}", || routing::post(query::<Ds>)),
    Route::guarded("POST", "/api/rest/v1/ds/count/{schema}", || routing::post(count::<Ds>)),
    Route::guarded("POST", "/api/rest/v1/ds/explain/{schema}", || routing::post(explain::<Ds>)),
    Route::guarded("POST", "/api/rest/v1/ds/aggregate/{schema}", || routing::post(aggregate::<Ds>)),
    Route::guarded("POST", "/api/rest/v1/ds/bulk-get/{schema}", || routing::post(bulk_get::<Ds>)),
    Route::guarded("GET", "/api/rest/v1/ds/export/{schema}", || routing::get(export::<Ds>)),
    Route::guarded("GET", "/api/rest/v1/db/get/{database}/{id}", || routing::get(get::<Db>)),
    Route::guarded("POST", "/api/rest/v1/db/get/{database}/{id}", || routing::post(get::<Db>)),
    Route::guarded("GET", "/api/rest/v1/db/{database}/{id}", || routing::get(get::<Db>)),
    Route::guarded("POST", "/api/rest/v1/db/query/{database}", || routing::post(query::<Db>)),
    Route::guarded("POST", "/api/rest/v1/db/count/{database}", || routing::post(count::<Db>)),
    Route::guarded("POST", "/api/rest/v1/db/explain/{database}", || routing::post(explain::<Db>)),
    Route::guarded("POST", "/api/rest/v1/db/aggregate/{database}", || routing::post(aggregate::<Db>)),
    Route::guarded("POST", "/api/rest/v1/db/bulk-get/{database}", || routing::post(bulk_get::<Db>)),
    Route::guarded("GET", "/api/rest/v1/db/export/{database}", || routing::get(export::<Db>)),
];

type Answer = Result<Response, ApiProblem>;
type Shared = State<Arc<Api>>;

/// `GET /{door}/get/{name}/{id}`, and its aliases
pub(super) async fn get<D: Door>(
    State(api): Shared,
    Caller(caller): Caller,
    at: Record<D>,
    headers: HeaderMap,
) -> Answer {
    let resource = at.named.resource(&api, &caller).await?;
    let permit = caller.permit::<Read>(D::GET, resource)?;
    let document = api.vault.get(&permit, &at.id).await?;
    match Unwanted::of(&headers).has(document.rev()) {
        true => Ok(not_modified(document.rev())),
        false => Ok(tagged(item_response(&document), document.rev())),
    }
}

/// `POST /{door}/query/{name}`
pub(super) async fn query<D: Door>(
    State(api): Shared,
    Caller(caller): Caller,
    at: Records<D>,
    body: JsonObject,
) -> Answer {
    let resource = at.named.resource(&api, &caller).await?;
    let permit = caller.permit::<Read>(D::QUERY, resource)?;
    let QueryBody { query, fields } = QueryBody::parse(body)?;
    if let Some(fields) = &fields {
        permit.view().may_serve(fields)?;
    }
    let skip = query.skip;
    let answer = api.vault.query(&permit, query).await?;
    Ok(query_response(answer, fields, skip))
}

/// `POST /{door}/count/{name}`
pub(super) async fn count<D: Door>(
    State(api): Shared,
    Caller(caller): Caller,
    at: Records<D>,
    mut body: JsonObject,
) -> Answer {
    let resource = at.named.resource(&api, &caller).await?;
    let permit = caller.permit::<Read>(D::QUERY, resource)?;
    let selector = take_selector(&mut body)?.unwrap_or_else(Selector::everything);
    let _counted = body.nothing_else(&SELECTOR_NAMES)?;
    let count = api.vault.count(&permit, selector).await?;
    Ok(Json(json!({ "count": count })).into_response())
}

/// `POST /{door}/explain/{name}`: the body of a query; nothing is read.
pub(super) async fn explain<D: Door>(
    State(api): Shared,
    Caller(caller): Caller,
    at: Records<D>,
    body: JsonObject,
) -> Answer {
    let resource = at.named.resource(&api, &caller).await?;
    let permit = caller.permit::<Read>(D::QUERY, resource)?;
    let QueryBody { query, .. } = QueryBody::parse(body)?;
    Ok(Json(api.vault.explain(&permit, query).await?).into_response())
}

/// `POST /{door}/aggregate/{name}`: `{"query"?: {…}, "aggregates": […]}`
pub(super) async fn aggregate<D: Door>(
    State(api): Shared,
    Caller(caller): Caller,
    at: Records<D>,
    mut body: JsonObject,
) -> Answer {
    let resource = at.named.resource(&api, &caller).await?;
    let permit = caller.permit::<Read>(D::QUERY, resource)?;
    let selector = take_selector(&mut body)?.unwrap_or_else(Selector::everything);
    let measures = Measure::parse_list(&body.take("aggregates").unwrap_or_default())?;
    let known = [&SELECTOR_NAMES[..], &["aggregates"]].concat();
    let _counted = body.nothing_else(&known)?;
    let summaries = api.vault.aggregate(&permit, selector, measures).await?;
    Ok(Json(json!({ "aggregates": summaries })).into_response())
}

/// `POST /{door}/bulk-get/{name}`: `{"ids": […]}`
pub(super) async fn bulk_get<D: Door>(
    State(api): Shared,
    Caller(caller): Caller,
    at: Records<D>,
    body: JsonObject,
) -> Answer {
    let resource = at.named.resource(&api, &caller).await?;
    let permit = caller.permit::<Read>(D::GET, resource)?;
    let (ids, _counted) = ids_of(body)?;
    Ok(found_response(api.vault.by_ids(&permit, ids).await?))
}

/// `GET /{door}/export/{name}`
pub(super) async fn export<D: Door>(
    State(api): Shared,
    Caller(caller): Caller,
    at: Records<D>,
) -> Answer {
    let resource = at.named.resource(&api, &caller).await?;
    let permit = caller.permit::<Read>(D::QUERY, resource)?;
    Export::begin(Arc::clone(&api.vault), permit).await
}
