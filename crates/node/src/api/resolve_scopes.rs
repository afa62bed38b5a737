//! `GET /auth/resolve-scopes`: what scopes mean, in words, merged by what they open (`spec/user-data-api.md` §2.6).
//!
//! Nothing is fetched: a schema that the node does not know is not valid, whatever it says about itself.

use std::sync::Arc;

use adyton_client::schema::SchemaSet;
use adyton_protocol::schema::SchemaUri;
use adyton_protocol::scope::{Action, Actions, Scope, ScopeSet};
use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing;
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::Api;
use super::problem::ApiProblem;
use super::routes::Route;

/// The routes that this module answers.
pub(super) const ROUTES: [Route; 1] = [Route::public(
    "GET",
    "/api/rest/v1/auth/resolve-scopes",
    || routing::get(resolve),
)];

/// `GET /auth/resolve-scopes?scopes=a&scopes=b`
async fn resolve(
    State(api): State<Arc<Api>>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiProblem> {
    let query = query.unwrap_or_default();
    let mut texts = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name != "scopes" {
            return Err(ApiProblem::unknown_member("the URL", &["scopes"]));
        }
        texts.push(value);
        if texts.len() > ScopeSet::MAX_SCOPES {
            return Err(ApiProblem::malformed("too many scopes"));
        }
    }
    if texts.is_empty() {
        return Err(ApiProblem::malformed(
            "the URL needs the parameter `scopes`, once for each scope",
        ));
    }
    let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
    Ok(Json(resolved(&texts, &api.schemas)).into_response())
}

/// What the scopes open, in the order in which they first name it, and which of them can be granted.
fn resolved(texts: &[&str], schemas: &SchemaSet) -> Value {
    let mut opened: Vec<(Scope, Vec<Action>)> = Vec::new();
    let mut validity = Map::new();
    for text in texts {
        let parsed = Scope::parse(text, schemas);
        validity.insert(unwrapped(text), parsed.is_ok().into());
        let Ok(scope) = parsed else { continue };
        let same = |known: &Scope| match (known, &scope) {
            (Scope::Api(known), Scope::Api(scope)) => known == scope,
            (known, scope) => known.target().is_some() && known.target() == scope.target(),
        };
        let actions = actions_of(&scope);
        match opened.iter_mut().find(|(known, _)| same(known)) {
            Some((_, known)) => known.extend(actions),
            None => opened.push((scope, actions)),
        }
    }
    let scopes: Vec<Value> = opened
        .iter()
        .map(|(scope, actions)| words(scope, actions, schemas))
        .collect();
    json!({ "scopes": scopes, "scopeValidity": validity })
}

fn actions_of(scope: &Scope) -> Vec<Action> {
    let of = |actions: &Actions| {
        let all = Action::ALL.into_iter();
        all.filter(|action| actions.contains(*action)).collect()
    };
    match scope {
        Scope::Api(_) => Vec::new(),
        Scope::Datastore { actions, .. } | Scope::Database { actions, .. } => of(actions),
    }
}

/// One of `scopes`. This node bills nothing, so every price is 0.
fn words(scope: &Scope, actions: &[Action], schemas: &SchemaSet) -> Value {
    let permissions: Vec<String> = Action::ALL
        .into_iter()
        .filter(|action| actions.contains(action))
        .map(|action| action.letter().to_string())
        .collect();
    match scope {
        Scope::Api(api) => json!({
            "type": "api", "name": api.name(), "description": api.description(), "credits": 0,
        }),
        Scope::Datastore { schema, .. } => {
            let document = schemas.get(schema.as_str()).map(|schema| schema.document());
            let said = |member: &str| document.and_then(|document| document.get(member)).cloned();
            let mut words = json!({
                "type": "ds", "permissions": permissions, "name": said("title"), "uri": schema.as_str(),
                "description": said("description").unwrap_or_else(|| "".into()), "knownSchema": true, "credits": 0,
            });
            if let (Some(members), Some(plural)) = (words.as_object_mut(), said("titlePlural")) {
                members.insert("namePlural".to_owned(), plural);
            }
            words
        }
        Scope::Database { database, .. } => json!({
            "type": "db", "permissions": permissions, "name": database.name().as_str(), "credits": 0,
        }),
    }
}

/// A scope after its base64 is unwrapped: the key of `scopeValidity`.
fn unwrapped(text: &str) -> String {
    let parts: Option<(&str, &str, &str)> = text.split_once(':').and_then(|(kind, rest)| {
        let (letters, target) = rest.split_once(':')?;
        Some((kind, letters, target))
    });
    match parts {
        Some((_, letters, target)) if target.starts_with("base64/") => {
            let encoded = target.trim_start_matches("base64/");
            match SchemaUri::parse_lenient(encoded) {
                Ok(schema) => format!("ds:{letters}:{schema}"),
                Err(_) => text.to_owned(),
            }
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
#[path = "resolve_scopes_tests.rs"]
mod tests;
