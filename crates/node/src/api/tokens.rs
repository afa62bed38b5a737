//! `/auth`: access tokens, and who the caller is.

use super::routes::Route;
use axum::routing;
use std::sync::Arc;
use std::time::SystemTime;

use adyton_protocol::did::Did;
use adyton_protocol::schema::SchemaUri;
use adyton_protocol::scope::ApiScope;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Api;
use super::caller::Caller;
use super::grants;
use super::json_body::JsonObject;
use super::problem::ApiProblem;
use crate::authn::Authority;
use crate::grants::{App, GrantView};

/// The routes that this module answers.
pub(super) const ROUTES: [Route; 5] = [
    Route::public("GET", "/api/rest/v1/auth/scopes", || routing::get(scopes)),
    Route::guarded("GET", "/api/rest/v1/auth/me", || routing::get(me)),
    Route::guarded("POST", "/api/rest/v1/auth/token", || routing::post(create)),
    Route::guarded("GET", "/api/rest/v1/auth/tokens", || routing::get(list)),
    Route::guarded("DELETE", "/api/rest/v1/auth/tokens/{id}", || {
        routing::delete(grants::end)
    }),
];

type Answer = Result<Response, ApiProblem>;

/// `POST /auth/token`: terms (`{"scopes": [...], "narrow"?: [...], "expiresIn"?: seconds, …}`) and `"appDID"?`.
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    Caller(caller): Caller,
    mut body: JsonObject,
) -> Answer {
    let owner = caller.as_owner()?;
    let app: Option<Did> = match body.take("appDID") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(
            text.parse()
                .map_err(|_| ApiProblem::malformed("`appDID` must be a DID"))?,
        ),
        Some(_) => return Err(ApiProblem::malformed("`appDID` must be a DID")),
    };
    let names = ["scopes", "narrow", "purpose", "expiresIn", "rate"];
    let terms = names
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), body.take(name)?)));
    let terms = Value::Object(terms.collect());
    let _counted =
        body.nothing_else(&["scopes", "narrow", "purpose", "expiresIn", "rate", "appDID"])?;
    let terms = api.terms(&caller, terms).await?;
    let app = app.map_or(App::Nobody, App::Named);
    let minted = api.grants.mint(&owner, terms, app)?;
    api.kept(&owner, &minted).await?;
    let mut body = view_of(&minted.grant);
    body.insert("token".to_owned(), minted.token.as_str().into());
    Ok((StatusCode::CREATED, Json(Value::Object(body))).into_response())
}

/// `GET /auth/tokens`
pub(super) async fn list(State(api): State<Arc<Api>>, Caller(caller): Caller) -> Answer {
    let owner = caller.as_owner()?;
    let tokens: Vec<_> = api.grants.list(&owner).iter().map(view_of).collect();
    Ok(Json(json!({ "tokens": tokens })).into_response())
}

/// `GET /auth/me`
pub(super) async fn me(State(api): State<Arc<Api>>, Caller(caller): Caller) -> Answer {
    let tenant = caller.tenant();
    let mut body = match caller.authority() {
        Authority::Owner(_) => Map::from_iter([("kind".to_owned(), json!("owner"))]),
        Authority::App(grant) => {
            let mut view = view_of(&grant.view());
            view.insert("kind".to_owned(), json!("app"));
            let ends = json!(!api.grants.are_kept());
            view.insert("endsWithProcess".to_owned(), ends);
            view
        }
    };
    body.insert("did".to_owned(), tenant.did().as_given().into());
    body.insert("contextName".to_owned(), tenant.context().as_str().into());
    Ok(Json(Value::Object(body)).into_response())
}

/// `GET /auth/scopes`: everything that can be granted, for a consent page.
pub(super) async fn scopes(State(api): State<Arc<Api>>) -> Answer {
    let api_scopes = ApiScope::ALL.into_iter().map(|scope| {
        let entry = json!({ "type": "api", "description": scope.description() });
        (format!("api:{}", scope.name()), entry)
    });
    let data_scopes = SchemaUri::shortcuts().flat_map(|(shortcut, uri)| {
        let name = api.schemas.get(uri.as_str()).map_or(shortcut, |schema| schema.title_plural()).to_owned();
        let forms = [("r", "Read"), ("rw", "Read and write"), ("rwd", "Read, write and delete")];
        forms.map(|(letters, verb)| {
            let entry = json!({ "type": "ds", "description": format!("{verb} your {name}"), "uri": uri.as_str() });
            (format!("ds:{letters}:{shortcut}"), entry)
        })
    });
    let all: Map<String, Value> = api_scopes.chain(data_scopes).collect();
    Ok(Json(json!({ "scopes": all })).into_response())
}

/// What is shown of a grant. Never the token.
fn view_of(grant: &GrantView) -> Map<String, Value> {
    let mut view = Map::from_iter([
        ("_id".to_owned(), json!(grant.id.to_string())),
        ("scopes".to_owned(), json!(grant.terms.scopes().to_texts())),
        ("insertedAt".to_owned(), json!(iso(grant.created))),
        ("expiresAt".to_owned(), json!(iso(grant.expires))),
    ]);
    // Scopes are shown in the order in which they were given.
    if let Value::Object(mut terms) = grant.terms.to_value() {
        terms.remove("scopes");
        terms.remove("expiresIn");
        view.extend(terms);
    }
    let did = match &grant.app {
        App::Nobody => None,
        App::Named(did) => Some(did),
        App::Client(client) => client.did(),
    };
    if let Some(did) = did {
        view.insert("appDID".to_owned(), did.as_given().into());
    }
    view
}

pub(super) fn iso(time: SystemTime) -> String {
    OffsetDateTime::from(time)
        .replace_millisecond(0)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
        .format(&Rfc3339)
        .unwrap_or_default()
}
