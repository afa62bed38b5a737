//! `/auth/grants`: what an owner allowed, to whom, when it was last used; and the end of it.

use std::sync::Arc;

use adyton_client::schema::SchemaSet;
use adyton_protocol::did::Did;
use adyton_protocol::scope::Scope;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Api;
use super::asked::{Granted, granted};
use super::caller::Caller;
use super::consent::Who;
use super::path::Parameters;
use super::problem::ApiProblem;
use super::routes::Route;
use super::tokens::iso;
use crate::authn::AuthenticationError;
use crate::grants::{App, GrantError, GrantView};

/// The routes that this module answers.
pub(super) const ROUTES: [Route; 3] = [
    Route::guarded("GET", "/api/rest/v1/auth/grants", || routing::get(list)),
    Route::guarded("DELETE", "/api/rest/v1/auth/grants/{id}", || {
        routing::delete(end)
    }),
    Route::guarded("POST", "/api/rest/v1/auth/revoke-all", || {
        routing::post(end_all)
    }),
];

type Answer = Result<Response, ApiProblem>;

/// `GET /auth/grants`: the newest first.
async fn list(State(api): State<Arc<Api>>, Caller(caller): Caller) -> Answer {
    let owner = caller.as_owner()?;
    let mut grants = api.grants.list(&owner);
    grants.sort_by_key(|grant| std::cmp::Reverse(grant.created));
    let names_own = |grant: &GrantView| {
        let mut scopes = grant.terms.scopes().iter();
        scopes.any(|scope| {
            matches!(scope, Scope::Datastore { schema, .. } if api.schemas.get(schema.as_str()).is_none())
        })
    };
    let mut schemas = Arc::clone(&api.schemas);
    if grants.iter().any(names_own) {
        // What was granted is shown, and can be ended, also when nobody can say now what its schemas are called.
        let own = api.vault.schemas(&caller.to_resolve()).await;
        schemas = own.map_or(schemas, |own| Arc::clone(&own.set));
    }
    let grants: Vec<Shown<'_>> = grants
        .iter()
        .map(|grant| Shown::of(grant, &schemas))
        .collect();
    Ok(Json(json!({ "grants": grants })).into_response())
}

/// `DELETE /auth/grants/{id}` and `DELETE /auth/tokens/{id}`: with all of its tokens and streams.
pub(super) async fn end(
    State(api): State<Arc<Api>>,
    Caller(caller): Caller,
    Parameters(id): Parameters<String>,
) -> Answer {
    let owner = caller.as_owner()?;
    let id: Uuid = id.parse().map_err(|_| ApiProblem::not_found())?;
    let ended = api
        .grants
        .revoke(&owner, id)
        .ok_or_else(|| ApiProblem::no_such_grant(&api.grants))?;
    api.grants.settled().await?;
    Ok(Json(json!({ "revoked": true, "_id": ended.id.to_string() })).into_response())
}

/// `POST /auth/revoke-all`: every grant at once, with all tokens and streams; and nothing of the user stays in memory.
async fn end_all(State(api): State<Arc<Api>>, Caller(caller): Caller) -> Answer {
    let owner = caller.as_owner()?;
    // In this order: who still had a grant could load again what was evicted.
    let revoked = api.grants.revoke_all(&owner);
    api.vault.close(&owner).await;
    api.tickets.clear_up();
    if !api.grants.has_all() {
        return Err(AuthenticationError::from(GrantError::NotYet).into());
    }
    api.grants.settled().await?;
    Ok(Json(json!({ "revoked": revoked, "evicted": true })).into_response())
}

/// What its owner is shown of a grant. Never a token.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'g> {
    #[serde(rename = "_id")]
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<Who<'g>>,
    #[serde(rename = "appDID", skip_serializing_if = "Option::is_none")]
    app_did: Option<&'g str>,
    permissions: Vec<Granted>,
    terms: Value,
    bound: bool,
    inserted_at: String,
    expires_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_at: Option<String>,
}

impl<'g> Shown<'g> {
    fn of(grant: &'g GrantView, schemas: &SchemaSet) -> Self {
        let (client, app_did) = match &grant.app {
            App::Nobody => (None, None),
            App::Named(did) => (None, Some(did.as_given())),
            App::Client(client) => (Some(Who::of(client)), client.did().map(Did::as_given)),
        };
        Self {
            id: grant.id.to_string(),
            client,
            app_did,
            permissions: granted(&grant.terms, schemas),
            terms: grant.terms.to_value(),
            bound: grant.bound,
            inserted_at: iso(grant.created),
            expires_at: iso(grant.expires),
            last_used_at: grant.last_used.map(iso),
        }
    }
}
