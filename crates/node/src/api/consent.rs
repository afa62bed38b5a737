//! `/consent/requests`: what the consent page asks the node.
//!
//! What the page shows is computed from what will be enforced: the permissions from the terms, counts and examples through the
//! permit that an app with these terms would get. Who knows the id of a request may read what is asked and may deny it;
//! looking at records and approving takes the owner.

use std::sync::Arc;

use adyton_client::schema::SchemaSet;
use adyton_couch::selector::{FieldPath, Selector};
use adyton_oauth::approval::Requested;
use adyton_oauth::client::Client;
use adyton_protocol::did::Did;
use adyton_protocol::schema::SchemaUri;
use adyton_protocol::scope::{Resource, Scope, Terms, time_field};
use adyton_protocol::signature::Signature;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing;
use serde::Serialize;
use serde_json::{Value, json};

use super::Api;
use super::asked::{Permission, permissions};
use super::caller::Caller;
use super::json_body::JsonObject;
use super::path::Parameters;
use super::problem::ApiProblem;
use super::routes::Route;
use super::tokens::iso;
use crate::authn::Principal;
use crate::authz::Denied;
use crate::config::Wallet;
use crate::grants::Pending;
use crate::memory::{Direction, Query, QueryError, SortKey};

/// The routes that this module answers.
pub(super) const ROUTES: [Route; 4] = [
    Route::public("GET", "/consent/requests/{request}", || routing::get(asked)),
    Route::guarded("POST", "/consent/requests/{request}/preview", || {
        routing::post(preview)
    }),
    Route::guarded("POST", "/consent/requests/{request}/approve", || {
        routing::post(approve)
    }),
    Route::public("POST", "/consent/requests/{request}/deny", || {
        routing::post(deny)
    }),
];

/// Examples of each target.
const EXAMPLES: usize = 3;
/// A longer record is no example.
const MAX_EXAMPLE_BYTES: usize = 256 * 1024;
/// All examples of one preview together.
const MAX_EXAMPLES_BYTES: usize = 2 * 1024 * 1024;

type Answer = Result<Response, ApiProblem>;

/// What an app asks for, and who it is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Asked<'p> {
    client: Who<'p>,
    redirect_host: &'p str,
    redirect_uri: &'p str,
    #[serde(skip_serializing_if = "Option::is_none")]
    purpose: Option<&'p str>,
    permissions: Vec<Permission>,
    api: Vec<Value>,
    /// What is asked for and is part of nothing above.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unknown: Vec<Value>,
    terms: Value,
    expires_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    wallet: Option<&'p str>,
}

/// What is said of a schema that nobody knows who is not signed in, and of one that its user does not have.
const SIGN_IN_FIRST: &str =
    "is not a published kind of record; whether you have it is known once you have signed in";
const NOT_YOURS: &str =
    "is no kind of record that you have; the app cannot get it, and you can allow the rest";

/// An app, and how it is known.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Who<'p> {
    id: &'p str,
    name: &'p str,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'p str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    did: Option<&'p str>,
    verified_by: &'static str,
}

impl<'p> Who<'p> {
    pub(super) fn of(client: &'p Client) -> Self {
        let id = client.id().as_str();
        Self {
            id,
            name: client.name().or(client.host()).unwrap_or(id),
            host: client.host(),
            did: client.did().map(Did::as_given),
            verified_by: client.verified_by().name(),
        }
    }
}

/// `GET /consent/requests/{request}`: what is asked. A schema of a user's own means something once its owner asks.
async fn asked(
    State(api): State<Arc<Api>>,
    Parameters(id): Parameters<String>,
    caller: Result<Caller, ApiProblem>,
) -> Answer {
    let pending = find(&api, &id)?;
    // Whoever else asks, or cannot be told, is answered as nobody.
    let owner = caller
        .ok()
        .filter(|Caller(caller)| caller.as_owner().is_ok());
    let schemas = match &owner {
        Some(Caller(owner)) => schemas_for(&api, owner, &pending).await?,
        None => Arc::clone(&api.schemas),
    };
    let asked = pending.asking().known_to(&*schemas)?;
    let said = match owner {
        Some(_) => NOT_YOURS,
        None => SIGN_IN_FIRST,
    };
    let unknown = asked.unknown.iter();
    let unknown = unknown.map(|schema| json!({ "schema": schema.as_str(), "words": said }));
    let terms = asked.requested.as_ref().map(Requested::terms);
    let scopes = terms.into_iter().flat_map(|terms| terms.scopes().iter());
    let capabilities: Vec<Value> = scopes
        .filter_map(|scope| match scope {
            Scope::Api(api) => {
                Some(json!({ "scope": scope.to_string(), "words": api.description() }))
            }
            Scope::Datastore { .. } | Scope::Database { .. } => None,
        })
        .collect();
    let redirect_uri = pending.redirect_uri();
    Ok(Json(Asked {
        client: Who::of(pending.client()),
        redirect_host: redirect_uri.shown(),
        redirect_uri: redirect_uri.as_str(),
        purpose: terms.and_then(Terms::purpose),
        permissions: terms.map_or_else(Vec::new, |terms| permissions(terms, &schemas)),
        api: capabilities,
        unknown: unknown.collect(),
        terms: terms.map_or_else(|| json!({ "scopes": [] }), Terms::to_value),
        expires_at: iso(pending.expires()),
        wallet: api.config.oauth.wallet.as_ref().map(Wallet::as_str),
    })
    .into_response())
}

/// `POST /consent/requests/{request}/preview`: `{"terms"}` → for each target, how many records an app with these terms would
/// see now, and the newest of them as it would get them.
async fn preview(
    State(api): State<Arc<Api>>,
    Caller(caller): Caller,
    Parameters(id): Parameters<String>,
    mut body: JsonObject,
) -> Answer {
    let _ = caller.as_owner()?;
    let pending = find(&api, &id)?;
    let terms = terms_of(&mut body)?;
    let _counted = body.nothing_else(&["terms"])?;
    let schemas = schemas_for(&api, &caller, &pending).await?;
    let approved = pending.narrow(terms, &schemas)?;
    let mut room = MAX_EXAMPLES_BYTES;
    let mut targets = Vec::new();
    for resource in targets_of(approved.terms()) {
        targets.push(shown(&api, &caller, approved.terms(), resource, &mut room).await?);
    }
    Ok(Json(json!({ "targets": targets })).into_response())
}

/// What an app would see of one target.
async fn shown(
    api: &Api,
    caller: &Arc<Principal>,
    terms: &Terms,
    (target, resource): (String, Resource),
    room: &mut usize,
) -> Result<Value, ApiProblem> {
    let permit = match caller.preview(terms, resource) {
        Ok(permit) => permit,
        // Writing alone shows nothing.
        Err(Denied::Data) => return Ok(json!({ "target": target, "count": 0, "examples": [] })),
        Err(denied) => return Err(denied.into()),
    };
    let mut query = Query::new(Selector::everything());
    query.limit = EXAMPLES;
    let newest = SortKey {
        path: time_path(permit.resource())?,
        direction: Direction::Descending,
    };
    // By time, unless the time is left out: then an order by it would tell it.
    let by_time = vec![newest];
    if permit.view().may_sort(&by_time).is_ok() {
        query.sort = by_time;
    }
    let page = api.vault.query(&permit, query).await?.page;
    let mut examples: Vec<Value> = Vec::new();
    for document in &page.documents {
        let bytes = document.served_len();
        if bytes > MAX_EXAMPLE_BYTES.min(*room) {
            continue;
        }
        *room -= bytes;
        let mut text = Vec::with_capacity(bytes);
        document.write_to(&mut text);
        examples.extend(serde_json::from_slice::<Value>(&text));
    }
    Ok(json!({ "target": target, "count": page.total, "examples": examples }))
}

/// `POST /consent/requests/{request}/approve`: `{"consent", "signature"}`. The terms are in the text that was signed.
async fn approve(
    State(api): State<Arc<Api>>,
    Caller(caller): Caller,
    Parameters(id): Parameters<String>,
    mut body: JsonObject,
) -> Answer {
    let owner = caller.as_owner()?;
    let pending = find(&api, &id)?;
    let (Some(Value::String(consent)), Some(Value::String(signature))) =
        (body.take("consent"), body.take("signature"))
    else {
        return Err(ApiProblem::malformed(
            "the request body needs the members `consent` and `signature`, both texts",
        ));
    };
    let _counted = body.nothing_else(&["consent", "signature"])?;
    let signature: Signature = signature
        .parse()
        .map_err(|_| ApiProblem::malformed("`signature` must be 0x and 130 hex digits"))?;
    let schemas = schemas_for(&api, &caller, &pending).await?;
    let redirect = api
        .pending
        .approve(&id, &owner, &consent, &signature, &schemas, &api.grants)?;
    Ok(Json(json!({ "redirect": redirect })).into_response())
}

/// `POST /consent/requests/{request}/deny`
async fn deny(State(api): State<Arc<Api>>, Parameters(id): Parameters<String>) -> Answer {
    let redirect = api.pending.deny(&id).ok_or_else(ApiProblem::not_found)?;
    Ok(Json(json!({ "redirect": redirect })).into_response())
}

/// The targets of terms, each once, with what they are of the data.
fn targets_of(terms: &Terms) -> Vec<(String, Resource)> {
    let mut targets: Vec<(String, Resource)> = Vec::new();
    for scope in terms.scopes().iter() {
        let (Some(target), Some(resource)) = (scope.target(), scope.resource()) else {
            continue;
        };
        let target = target.to_string();
        if targets.iter().all(|(known, _)| *known != target) {
            targets.push((target, resource));
        }
    }
    targets
}

fn time_path(resource: &Resource) -> Result<FieldPath, ApiProblem> {
    let path = FieldPath::parse(time_field(resource.schema().map(SchemaUri::as_str)));
    path.map_err(|error| QueryError::from(error).into())
}

fn find(api: &Api, id: &str) -> Result<Arc<Pending>, ApiProblem> {
    api.pending.find(id).ok_or_else(ApiProblem::not_found)
}

/// The schemas that a request means for this owner.
async fn schemas_for(
    api: &Api,
    owner: &Arc<Principal>,
    pending: &Pending,
) -> Result<Arc<SchemaSet>, ApiProblem> {
    let published = pending.asking().known_to(&*api.schemas);
    if published.is_ok_and(|asked| asked.unknown.is_empty()) {
        return Ok(Arc::clone(&api.schemas));
    }
    let own = api.vault.schemas(&owner.to_resolve()).await?;
    Ok(Arc::clone(&own.set))
}

fn terms_of(body: &mut JsonObject) -> Result<Value, ApiProblem> {
    body.take("terms")
        .ok_or_else(|| ApiProblem::malformed("the request body needs a member `terms`, an object"))
}
