//! Writing records: created, replaced, changed, deleted, one at a time or many at once; and the end of a whole database.

use std::convert::Infallible;
use std::sync::Arc;

use adyton_couch::rev::Rev;
use adyton_protocol::problem::ProblemKind;
use adyton_protocol::scope::{ApiScope, Resource};
use axum::Json;
use axum::extract::{FromRequestParts, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use serde_json::{Map, Value, json};

use super::Api;
use super::caller::Caller;
use super::door::{Db, Door, Ds, Record, Records};
use super::idempotency::{Attempt, Begun, IDEMPOTENCY_REPLAYED, Outcome};
use super::json_body::JsonObject;
use super::path::QueryString;
use super::precondition::{Expected, Unwanted, tagged};
use super::problem::ApiProblem;
use super::routes::Route;
use super::write_body::{RecordBody, records_of};
use crate::authn::Principal;
use crate::authz::{Delete, Permit, Read, Write};
use crate::vault::{BulkSaved, Saved, VaultError};

/// The routes that this module answers.
#[rustfmt::skip]
pub(super) const ROUTES: [Route; 12] = [
    Route::guarded("POST", "/api/rest/v1/ds/{schema}", || routing::post(create::<Ds>)),
    Route::guarded("PUT", "/api/rest/v1/ds/{schema}/{id}", || routing::put(update::<Ds>)),
    Route::guarded("PATCH", "/api/rest/v1/ds/{schema}/{id}", || routing::patch(patch::<Ds>)),
    Route::guarded("DELETE", "/api/rest/v1/ds/{schema}/{id}", || routing::delete(delete::<Ds>)),
    Route::guarded("DELETE", "/api/rest/v1/ds/{schema}", || routing::delete(delete_named::<Ds>)),
    Route::guarded("POST", "/api/rest/v1/ds/bulk/{schema}", || routing::post(bulk::<Ds>)),
    Route::guarded("POST", "/api/rest/v1/db/{database}", || routing::post(create::<Db>)),
    Route::guarded("PUT", "/api/rest/v1/db/{database}/{id}", || routing::put(update::<Db>)),
    Route::guarded("PATCH", "/api/rest/v1/db/{database}/{id}", || routing::patch(patch::<Db>)),
    Route::guarded("DELETE", "/api/rest/v1/db/{database}/{id}", || routing::delete(delete::<Db>)),
    Route::guarded("DELETE", "/api/rest/v1/db/{database}", || routing::delete(delete_named::<Db>)),
    Route::guarded("POST", "/api/rest/v1/db/bulk/{database}", || routing::post(bulk::<Db>)),
];

type Answer = Result<Response, ApiProblem>;
type Shared = State<Arc<Api>>;

/// `POST /{door}/{name}`
///
/// A record that names the revision it follows is a new version of one that is there: clients of the original update this
/// way, too.
pub(super) async fn create<D: Door>(
    State(api): Shared,
    Caller(caller): Caller,
    at: Records<D>,
    asked: Asked,
    body: JsonObject,
) -> Answer {
    let resource = at.named.resource(&api, &caller).await?;
    let permit = caller.permit::<Write>(D::CREATE, resource.clone())?;
    let digest = body.digest();
    let mut body = RecordBody::parse(body)?;
    let follows = body.record.get("_rev").is_some_and(|rev| !rev.is_null());
    if !body.options.insert && (follows || body.options.force) {
        // Its revision is its key: nothing is changed twice.
        let permit = caller.permit::<Write>(D::UPDATE, resource)?;
        let id = match body.record.get("_id") {
            Some(Value::String(id)) => id.clone(),
            _ => {
                return Err(ApiProblem::malformed(
                    "a record that names a revision needs its `_id`, too",
                ));
            }
        };
        return replace(&api, &permit, id, body, &Expected::Unsaid).await;
    }
    body.record.remove("_rev");
    let attempt = match api
        .keys
        .begin(&caller, &asked.headers, asked.target(), digest)?
    {
        Begun::Unkeyed => None,
        Begun::First(attempt) => Some(attempt),
        Begun::Before(outcome) => return Ok(replayed(outcome, body.record)),
    };
    let has_id = body.record.get("_id").is_some_and(|id| !id.is_null());
    if let Some(attempt) = attempt.as_ref().filter(|_| !has_id) {
        body.record
            .insert("_id".to_owned(), attempt.id(None).into());
    }
    let is_repetition = attempt.as_ref().is_some_and(|attempt| attempt.is_again) && !has_id;
    let again = is_repetition.then(|| body.record.clone());
    let saved = api.vault.create(&permit, body.record).await;
    if let (Some(record), Err(VaultError::Conflict { current: Some(rev) })) = (again, &saved)
        && let Some(attempt) = attempt
    {
        // The id is this request's alone: the attempt whose end nobody knew has made it.
        let outcome = Outcome::Created {
            id: attempt.id(None),
            rev: rev.to_string(),
        };
        attempt.done(outcome.clone());
        return Ok(replayed(outcome, record));
    }
    settle(attempt, &saved, |saved| Outcome::Created {
        id: id_of(saved).as_str().unwrap_or_default().to_owned(),
        rev: saved.rev.to_string(),
    });
    let only_if_new = Unwanted::of(&asked.headers).is_anything();
    match saved {
        Ok(saved) => Ok(created(&saved)),
        Err(error @ VaultError::Conflict { .. }) if only_if_new => Err(ApiProblem::again(
            error.into(),
            ProblemKind::PreconditionFailed,
            "there is a record with this `_id`",
        )),
        Err(error) => Err(error.into()),
    }
}

/// `PUT /{door}/{name}/{id}`
pub(super) async fn update<D: Door>(
    State(api): Shared,
    Caller(caller): Caller,
    at: Record<D>,
    headers: HeaderMap,
    body: JsonObject,
) -> Answer {
    let resource = at.named.resource(&api, &caller).await?;
    let permit = caller.permit::<Write>(D::UPDATE, resource)?;
    let expected = Expected::of(&headers)?;
    let mut body = RecordBody::parse(body)?;
    expected.write_into(&mut body.record)?;
    replace(&api, &permit, at.id, body, &expected).await
}

async fn replace(
    api: &Api,
    permit: &Permit<Write>,
    id: String,
    body: RecordBody,
    expected: &Expected,
) -> Answer {
    let force = body.options.force || *expected == Expected::Anything;
    let saved = api.vault.update(permit, id, body.record, force).await;
    Ok(updated(&saved.map_err(|error| expected.problem(error))?))
}

/// `PATCH /{door}/{name}/{id}`: a merge patch, RFC 7396.
pub(super) async fn patch<D: Door>(
    State(api): Shared,
    Caller(caller): Caller,
    at: Record<D>,
    headers: HeaderMap,
    body: JsonObject,
) -> Answer {
    let resource = at.named.resource(&api, &caller).await?;
    let permit = caller.permit::<Write>(D::UPDATE, resource.clone())?;
    let reading = caller.permit::<Read>(D::UPDATE, resource)?;
    let expected = Expected::of(&headers)?;
    let mut body = RecordBody::parse(body)?;
    expected.write_into(&mut body.record)?;
    let rev = match body.record.remove("_rev") {
        _ if body.options.force => None,
        None => None,
        Some(Value::String(rev)) => Some(rev),
        Some(_) => return Err(ApiProblem::malformed("`_rev` must be a text")),
    };
    let vault = &api.vault;
    let saved = vault
        .patch(&permit, &reading, at.id, body.record, rev)
        .await;
    Ok(updated(&saved.map_err(|error| expected.problem(error))?))
}

/// `DELETE /{door}/{name}/{id}`
pub(super) async fn delete<D: Door>(
    State(api): Shared,
    Caller(caller): Caller,
    at: Record<D>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let resource = at.named.resource(&api, &caller).await?;
    let permit = caller.permit::<Delete>(D::DELETE, resource)?;
    let mut query = QueryString::parse(query.as_deref())?;
    // The original destroys the whole database, whatever else the path names.
    if query.take_flag("destroy")? {
        return Err(ApiProblem::malformed(
            "the path names one record: a database is destroyed by its own name, \
             DELETE /db/{database}?confirm={database}",
        ));
    }
    query.nothing_else(&["destroy"])?;
    delete_one(&api, &permit, at.id, &headers).await
}

/// `DELETE /{door}/{name}?id=…` deletes one record. `DELETE /db/{name}?confirm={name}` ends the whole database, as does
/// `DELETE /ds/{schema}?destroy=true&confirm={database}`: that is for the owner and for who may delete from all of it.
pub(super) async fn delete_named<D: Door>(
    State(api): Shared,
    Caller(caller): Caller,
    at: Records<D>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let resource = at.named.resource(&api, &caller).await?;
    let may_delete = caller.permit::<Delete>(D::DELETE, resource.clone())?;
    let mut query = QueryString::parse(query.as_deref())?;
    let (id, confirmed) = (query.take("id"), query.take("confirm"));
    let destroy = query.take_flag("destroy")?;
    query.nothing_else(&["id", "confirm", "destroy"])?;
    match (id, confirmed, destroy) {
        (Some(id), None, false) => delete_one(&api, &may_delete, id, &headers).await,
        (None, Some(confirmed), _) if destroy || resource.schema().is_none() => {
            destroy_database(&api, &caller, &resource, &confirmed).await
        }
        _ => Err(ApiProblem::malformed(
            "say what to delete: ?id={record}, or for a whole database, with all schemas that are in it, \
             DELETE /db/{database}?confirm={database}",
        )),
    }
}

async fn destroy_database(
    api: &Api,
    caller: &Arc<Principal>,
    resource: &Resource,
    confirmed: &str,
) -> Answer {
    let database = resource.database().clone();
    let is_named = database.as_str() == confirmed;
    let whole = Resource::whole_database(database);
    let permit = caller.permit::<Delete>(ApiScope::DbUpdate, whole)?;
    if !is_named {
        return Err(ApiProblem::malformed(
            "`confirm` must be the name of the database that is to be destroyed",
        ));
    }
    api.vault.destroy(&permit).await?;
    Ok(Json(json!({ "success": true, "action": "destroy" })).into_response())
}

async fn delete_one(api: &Api, permit: &Permit<Delete>, id: String, headers: &HeaderMap) -> Answer {
    let expected = Expected::of(headers)?;
    let rev = match &expected {
        Expected::Rev(rev) => Some(rev.clone()),
        Expected::Anything | Expected::Unsaid => None,
    };
    let deleted = api.vault.delete(permit, id, rev).await;
    let deleted = deleted.map_err(|error| expected.problem(error))?;
    let rev = deleted.rev.to_string();
    Ok(Json(json!({ "success": true, "action": "delete", "rev": rev })).into_response())
}

/// `POST /{door}/bulk/{name}`: `{"records": […]}`. Those with a `_rev` are new versions, the others new records. Nothing is
/// written unless all are valid; each is answered for itself.
pub(super) async fn bulk<D: Door>(
    State(api): Shared,
    Caller(caller): Caller,
    at: Records<D>,
    asked: Asked,
    body: JsonObject,
) -> Answer {
    let resource = at.named.resource(&api, &caller).await?;
    let mut permit = caller.permit::<Write>(D::CREATE, resource.clone())?;
    let digest = body.digest();
    let (mut records, _counted) = records_of(body)?;
    if records
        .iter()
        .any(|record| matches!(record.get("_rev"), Some(Value::String(_))))
    {
        permit = caller.permit::<Write>(D::UPDATE, resource)?;
    }
    let attempt = match api
        .keys
        .begin(&caller, &asked.headers, asked.target(), digest)?
    {
        Begun::Unkeyed => None,
        Begun::First(attempt) => Some(attempt),
        Begun::Before(outcome) => return Ok(replayed(outcome, Map::new())),
    };
    if let Some(attempt) = &attempt {
        for (index, record) in records.iter_mut().enumerate() {
            let id = record.entry("_id").or_insert(Value::Null);
            if id.is_null() {
                *id = attempt.id(Some(index)).into();
            }
        }
    }
    let outcomes = api.vault.write_all(&permit, records).await;
    let answer = outcomes.map(BulkAnswer::of);
    settle(attempt, &answer, |answer| Outcome::Bulk {
        status: answer.status.as_u16(),
        body: answer.body.clone(),
    });
    Ok(answer?.into_response())
}

/// What became of many records: ids, revisions, codes.
struct BulkAnswer {
    status: StatusCode,
    body: Bytes,
}

impl BulkAnswer {
    fn of(outcomes: BulkSaved) -> Self {
        let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
        let saved = outcomes.len() - failed;
        let items: Vec<Value> = outcomes.into_iter().map(outcome).collect();
        let status = match failed {
            0 => StatusCode::OK,
            _ => StatusCode::MULTI_STATUS,
        };
        let body =
            json!({ "success": failed == 0, "saved": saved, "failed": failed, "items": items });
        Self {
            status,
            body: body.to_string().into(),
        }
    }
}

impl IntoResponse for BulkAnswer {
    fn into_response(self) -> Response {
        let kind = [(CONTENT_TYPE, "application/json")];
        (self.status, kind, self.body).into_response()
    }
}

/// Remembers how a request with a key ended. When it is not known whether anything was done, the attempt is dropped as it is.
fn settle<T>(
    attempt: Option<Attempt>,
    done: &Result<T, VaultError>,
    outcome: impl FnOnce(&T) -> Outcome,
) {
    let Some(attempt) = attempt else { return };
    match done {
        Ok(done) => attempt.done(outcome(done)),
        Err(VaultError::Storage(_) | VaultError::Pull(_) | VaultError::Stopped) => drop(attempt),
        Err(_) => attempt.undone(),
    }
}

/// The answer to a request that was done before. Of the record, what was sent and what it is called.
fn replayed(outcome: Outcome, mut record: Map<String, Value>) -> Response {
    let mut response = match outcome {
        Outcome::Created { id, rev } => {
            record.insert("_id".to_owned(), id.into());
            let tag = rev.parse::<Rev>().ok();
            record.insert("_rev".to_owned(), rev.into());
            let body = json!({ "success": true, "record": record });
            let response = (StatusCode::CREATED, Json(body)).into_response();
            match tag {
                Some(rev) => tagged(response, rev),
                None => response,
            }
        }
        Outcome::Bulk { status, body } => BulkAnswer {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::OK),
            body,
        }
        .into_response(),
    };
    response
        .headers_mut()
        .insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    response
}

/// The head of a request, for what may be sent twice.
#[derive(Debug)]
pub(super) struct Asked {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Asked {
    fn target(&self) -> (&Method, &Uri) {
        (&self.method, &self.uri)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Infallible;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self {
            method: head.method.clone(),
            uri: head.uri.clone(),
            headers: head.headers.clone(),
        })
    }
}

fn outcome(outcome: Result<Saved, VaultError>) -> Value {
    Value::Object(match outcome {
        Ok(saved) => Map::from_iter([
            ("_id".to_owned(), id_of(&saved)),
            ("_rev".to_owned(), json!(saved.rev.to_string())),
            ("status".to_owned(), json!(StatusCode::CREATED.as_u16())),
        ]),
        Err(error) => ApiProblem::from(error).into_member(),
    })
}

fn created(saved: &Saved) -> Response {
    let body = json!({ "success": true, "record": saved.record });
    tagged((StatusCode::CREATED, Json(body)).into_response(), saved.rev)
}

fn updated(saved: &Saved) -> Response {
    let result = json!({ "ok": true, "id": id_of(saved), "rev": saved.rev.to_string() });
    let body = json!({ "success": true, "record": saved.record, "result": result });
    tagged(Json(body).into_response(), saved.rev)
}

fn id_of(saved: &Saved) -> Value {
    saved.record.get("_id").cloned().unwrap_or_default()
}
