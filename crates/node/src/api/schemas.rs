//! `/schemas`: what kinds of records there are for a user, the published ones and the user's own. For the owner alone.
//!
//! Nothing is ever fetched: a schema is what its owner put. What is put is held to limits before it is compiled, and compiled
//! before it is written (`adyton_client::schema`).

use std::sync::Arc;

use adyton_client::schema::{MAX_OWN_BYTES, Schema, Unfit};
use adyton_protocol::database::DatabaseName;
use adyton_protocol::problem::ProblemKind;
use adyton_protocol::schema::SchemaUri;
use adyton_protocol::scope::{ApiScope, Resource};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing;
use http::StatusCode;
use serde_json::{Value, json};

use super::Api;
use super::caller::Caller;
use super::json_body::JsonObject;
use super::path::Parameters;
use super::problem::ApiProblem;
use super::routes::Route;
use crate::authz::{Delete, Write};
use crate::vault::{VaultError, record_of};

/// The routes that this module answers.
#[rustfmt::skip]
pub(super) const ROUTES: [Route; 4] = [
    Route::guarded("GET", "/api/rest/v1/schemas", || routing::get(list)),
    Route::guarded("GET", "/api/rest/v1/schemas/{schema}", || routing::get(get)),
    Route::guarded("PUT", "/api/rest/v1/schemas/{schema}", || routing::put(put)),
    Route::guarded("DELETE", "/api/rest/v1/schemas/{schema}", || routing::delete(delete)),
];

type Answer = Result<Response, ApiProblem>;
type Shared = State<Arc<Api>>;

/// `GET /schemas`: the published ones, then the owner's own; those that cannot be used, with the reason.
async fn list(State(api): Shared, Caller(caller): Caller) -> Answer {
    let _ = caller.as_owner()?;
    let own = api.vault.schemas(&caller.to_resolve()).await?;
    let mut schemas: Vec<Value> = own.set.iter().map(shown).collect();
    schemas.extend(own.unfit.iter().map(
        |(uri, unfit)| json!({ "uri": uri.as_str(), "own": true, "unusable": unfit.to_string() }),
    ));
    Ok(Json(json!({ "schemas": schemas })).into_response())
}

/// `GET /schemas/{schema}`: with the document.
async fn get(
    State(api): Shared,
    Caller(caller): Caller,
    Parameters(name): Parameters<String>,
) -> Answer {
    let _ = caller.as_owner()?;
    let uri = parsed(&name)?;
    let answer = |schema: &Schema| {
        let mut shown = shown(schema);
        if let Some(members) = shown.as_object_mut() {
            members.insert("document".to_owned(), schema.document().clone());
        }
        Json(json!({ "schema": shown })).into_response()
    };
    if let Some(published) = api.schemas.get(uri.as_str()) {
        return Ok(answer(published));
    }
    let own = api.vault.schemas(&caller.to_resolve()).await?;
    let schema = own.set.get(uri.as_str());
    Ok(answer(schema.ok_or_else(ApiProblem::not_found)?))
}

/// `PUT /schemas/{schema}`: the body is the document.
async fn put(
    State(api): Shared,
    Caller(caller): Caller,
    Parameters(name): Parameters<String>,
    body: JsonObject,
) -> Answer {
    let _ = caller.as_owner()?;
    let uri = parsed(&name)?;
    let (document, _counted) = body.into_members();
    let text = Value::Object(document).to_string();
    let reading = caller.to_resolve();
    let checked = api.vault.could_use(&reading, &uri, &text).await?;
    checked.map_err(|unfit| problem(&unfit))?;
    let permit = caller.permit::<Write>(ApiScope::DbUpdate, place())?;
    let record = record_of(&uri, &text);
    let updated = api
        .vault
        .update(&permit, uri.to_base64(), record.clone(), true)
        .await;
    let status = match updated {
        Ok(_) => StatusCode::OK,
        Err(VaultError::NotFound) => {
            api.vault.create(&permit, record).await?;
            StatusCode::CREATED
        }
        Err(error) => return Err(error.into()),
    };
    let own = api.vault.schemas(&caller.to_resolve()).await?;
    // Another of the owner's clients may have changed or ended it meanwhile.
    let schema = own.set.get(uri.as_str()).map(shown);
    let schema = schema.unwrap_or_else(|| json!({ "uri": uri.as_str(), "own": true }));
    Ok((status, Json(json!({ "success": true, "schema": schema }))).into_response())
}

/// `DELETE /schemas/{schema}`: no record is deleted; but nobody reaches them by this name any more, whatever was granted.
async fn delete(
    State(api): Shared,
    Caller(caller): Caller,
    Parameters(name): Parameters<String>,
) -> Answer {
    let _ = caller.as_owner()?;
    let uri = parsed(&name)?;
    if api.schemas.get(uri.as_str()).is_some() {
        return Err(problem(&Unfit::Published));
    }
    let permit = caller.permit::<Delete>(ApiScope::DbUpdate, place())?;
    api.vault.delete(&permit, uri.to_base64(), None).await?;
    Ok(Json(json!({ "success": true, "action": "delete" })).into_response())
}

fn place() -> Resource {
    Resource::whole_database(DatabaseName::own_schemas())
}

fn parsed(name: &str) -> Result<SchemaUri, ApiProblem> {
    SchemaUri::parse_lenient(name).map_err(|error| ApiProblem::malformed(error.to_string()))
}

/// A schema without its document.
fn shown(schema: &Schema) -> Value {
    json!({
        "uri": schema.uri(), "title": schema.title(), "titlePlural": schema.title_plural(),
        "database": schema.database(), "own": schema.is_own(),
    })
}

/// Why a schema was not taken, with the rule of JSON Schema that it breaks.
fn problem(unfit: &Unfit) -> ApiProblem {
    let kind = match unfit {
        Unfit::Published => ProblemKind::SchemaPublished,
        Unfit::TooLong => {
            let detail = format!("a schema is at most {MAX_OWN_BYTES} bytes long");
            return ApiProblem::new(ProblemKind::RequestTooLarge, detail);
        }
        _ => ProblemKind::SchemaInvalid,
    };
    let problem = ApiProblem::new(kind, unfit.to_string());
    match unfit.violation() {
        Some(violation) => problem.with("errors", json!([violation])),
        None => problem,
    }
}
