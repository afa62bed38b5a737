//! `/auth` as the original has it: the signed request of its consent page, and what apps and wallets ask about tokens.
//!
//! Same shapes, other rules: the redirect URI is one that the app published, the signature is good once, at this node and for a
//! few minutes, and no secret is ever taken from a URL.

use std::sync::Arc;

use adyton_client::did_resolver::{DidResolver, ResolveError, StorageNodeResolver};
use adyton_client::endpoint::Endpoint;
use adyton_client::storage_node::StorageNode;
use adyton_oauth::client::Client;
use adyton_oauth::client_id::ClientId;
use adyton_oauth::client_metadata::MAX_REDIRECT_URIS;
use adyton_oauth::consent::{LegacyConsent, LegacyExpected};
use adyton_oauth::redirect_uri::RedirectUri;
use adyton_oauth::refused::{ErrorCode, Refused};
use adyton_protocol::did::Did;
use adyton_protocol::did_document::{DidDocument, REDIRECT_SERVICE};
use adyton_protocol::problem::ProblemKind;
use adyton_protocol::scope::{Action, InvalidScope, Scope, Terms};
use adyton_protocol::signature::Signature;
use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Api;
use super::caller::Caller;
use super::json_body::JsonObject;
use super::oauth::Asked;
use super::path::QueryString;
use super::problem::ApiProblem;
use super::routes::Route;
use crate::authn::{Authority, Once};
use crate::authz::Owner;
use crate::client_documents::UnknownClient;
use crate::config::LegacyTokens;
use crate::grants::{ACCESS_LIFE, App};

/// The routes that this module answers.
pub(super) const ROUTES: [Route; 5] = [
    Route::guarded("POST", "/api/rest/v1/auth/auth", || routing::post(consent)),
    Route::guarded("GET", "/api/rest/v1/auth/check-scope", || {
        routing::get(check_scope)
    }),
    Route::guarded("GET", "/api/rest/v1/auth/token", || routing::get(token)),
    Route::guarded("GET", "/api/rest/v1/auth/revoke", || routing::get(revoke)),
    Route::guarded("POST", "/api/rest/v1/auth/revoke", || {
        routing::post(revoke_posted)
    }),
];

/// Most storage nodes that are asked about a DID.
const MAX_NODES_ASKED: usize = 4;

type Answer = Result<Response, ApiProblem>;

/// `POST /auth/auth`: `{"client_id", "auth_request", "redirect_uri", "user_sig", "state"?}` → `{"redirectUrl"}`
async fn consent(
    State(api): State<Arc<Api>>,
    Caller(caller): Caller,
    asked: Asked,
    mut body: JsonObject,
) -> Answer {
    let owner = caller.as_owner()?;
    let mut text = |name: &str| match body.take(name) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        _ => Err(ApiProblem::malformed(format!(
            "the request body needs a member `{name}`, a text"
        ))),
    };
    let client_id = text("client_id")?;
    let (signed, signature) = (text("auth_request")?, text("user_sig")?);
    let redirect_uri = text("redirect_uri")?;
    let state = match body.take("state") {
        None | Some(Value::Null) => None,
        Some(Value::String(state)) => Some(state),
        Some(_) => return Err(ApiProblem::malformed("`state` must be a text")),
    };
    let _counted = body.nothing_else(&[
        "client_id",
        "auth_request",
        "redirect_uri",
        "user_sig",
        "state",
    ])?;
    let client_id =
        ClientId::parse(&client_id).map_err(|error| ApiProblem::malformed(error.to_string()))?;
    let signature: Signature = signature
        .parse()
        .map_err(|_| ApiProblem::malformed("`user_sig` must be 0x and 130 hex digits"))?;

    // What the user's key signed, before anybody else is asked anything.
    let session = owner.session();
    let signer = session
        .keyring()
        .map_err(crate::authn::AuthenticationError::from)?;
    let consent = LegacyConsent::verify(
        &signed,
        &signature,
        &LegacyExpected {
            user: session.did(),
            signer: &signer.sign_public_key().address(),
            client: &client_id,
            audience: &asked.origin,
            redirect_uri: &redirect_uri,
            now: api.clock.now(),
        },
    )?;
    let mut terms = json!({ "scopes": consent.scopes() });
    if api.config.oauth.legacy_tokens == LegacyTokens::Short
        && let Some(terms) = terms.as_object_mut()
    {
        terms.insert("expiresIn".to_owned(), json!(ACCESS_LIFE.as_secs()));
    }
    let terms = api.terms(&caller, terms).await?;
    let client = published(&api, &owner, &client_id).await?;
    let redirect_uri = RedirectUri::among(client.redirect_uris(), &redirect_uri)
        .map_err(|refused| ApiProblem::malformed(refused.reason))?;
    // Last: a request that could be repaired is not used up.
    const USED: Refused = Refused::new(
        ErrorCode::InvalidGrant,
        "the signed request was used before",
    );
    api.possession
        .use_once(Once::Consent, consent.once(), USED)
        .map_err(|refused| ApiProblem::new(ProblemKind::ConsentInvalid, refused.reason))?;
    let minted = api.grants.mint(&owner, terms, App::Client(client))?;
    api.kept(&owner, &minted).await?;
    let state = state.as_deref().map(|state| ("state", state));
    let token = [("auth_token", minted.token.as_str())];
    let url = redirect_uri.with(token.into_iter().chain(state));
    Ok(Json(json!({ "redirectUrl": url })).into_response())
}

/// What an app published about where it may be answered: in its metadata document, or in its DID document.
async fn published(api: &Api, owner: &Owner<'_>, id: &ClientId) -> Result<Arc<Client>, ApiProblem> {
    let did = match id {
        ClientId::Did(did) => did,
        ClientId::Document(_) | ClientId::Local(_) => {
            return api
                .client_documents
                .find(id)
                .await
                .map_err(|error| match error {
                    UnknownClient::Busy => {
                        ApiProblem::new(ProblemKind::Overloaded, error.to_string())
                    }
                    error => ApiProblem::malformed(error.to_string()),
                });
        }
    };
    let uris: Vec<RedirectUri> = redirect_services(api, owner, did)
        .await?
        .iter()
        .take(MAX_REDIRECT_URIS)
        .filter_map(|text| RedirectUri::parse(text).ok())
        .collect();
    match uris.is_empty() {
        false => Ok(Arc::new(Client::of_did(did, uris))),
        true => Err(ApiProblem::malformed(
            "the app's DID document names no service OAuthRedirectUri, so it can be answered nowhere",
        )),
    }
}

/// The registry is asked where the document lies, where the configuration names one; else the user's own storage nodes are. They cannot lie about a document, which its DID's key has signed; and whether it is
/// the newest, they could lie about to anybody.
async fn redirect_services(
    api: &Api,
    owner: &Owner<'_>,
    did: &Did,
) -> Result<Vec<String>, ApiProblem> {
    let unreachable =
        |error: ResolveError| ApiProblem::new(ProblemKind::StorageUnreachable, error.to_string());
    if let Some(registry) = &api.dids {
        let document = registry.resolve(did).await.map_err(unreachable)?;
        return Ok(redirects(document));
    }
    let config = owner.session().config();
    let transport = api.vault.transport();
    let nodes: Vec<StorageNode> = config
        .services
        .database_server
        .endpoint_uri
        .iter()
        .take(MAX_NODES_ASKED)
        .filter_map(|text| text.parse::<Endpoint>().ok())
        .filter_map(|endpoint| StorageNode::new(transport.clone(), endpoint).ok())
        .collect();
    let resolved = StorageNodeResolver::new(nodes).resolve(did).await;
    Ok(redirects(resolved.map_err(unreachable)?))
}

fn redirects(document: Option<DidDocument>) -> Vec<String> {
    document.map_or_else(Vec::new, |document| {
        document.service_endpoints(REDIRECT_SERVICE)
    })
}

/// `GET /auth/check-scope?scope=`: whether the caller may. 200 whatever the answer is (the original answers 400 or dies).
async fn check_scope(
    State(api): State<Arc<Api>>,
    Caller(caller): Caller,
    RawQuery(query): RawQuery,
) -> Answer {
    let mut query = QueryString::parse(query.as_deref())?;
    let scope = query
        .take("scope")
        .ok_or_else(|| ApiProblem::malformed("the URL needs the parameter `scope`"))?;
    query.nothing_else(&["scope"])?;
    let mut parsed = Scope::parse(&scope, &*api.schemas);
    if parsed == Err(InvalidScope::UnknownSchema) {
        let own = api.vault.schemas(&caller.to_resolve()).await?;
        parsed = Scope::parse(&scope, &*own.set);
    }
    let authenticated = match (parsed, caller.authority()) {
        (Err(_), _) => false,
        (Ok(_), Authority::Owner(_)) => true,
        (Ok(scope), Authority::App(grant)) => allows(grant.terms(), &scope),
    };
    Ok(Json(json!({ "authenticated": authenticated })).into_response())
}

/// Whether terms allow all that a scope names.
fn allows(terms: &Terms, scope: &Scope) -> bool {
    match scope {
        Scope::Api(api) => terms.scopes().allows_api(*api),
        Scope::Datastore { actions, .. } | Scope::Database { actions, .. } => {
            scope.resource().is_some_and(|resource| {
                Action::ALL
                    .into_iter()
                    .filter(|action| actions.contains(*action))
                    .all(|action| terms.covers(action, &resource).is_some())
            })
        }
    }
}

/// `GET /auth/token`: what the caller's token stands for. The original takes the token itself out of the URL; here that is refused,
/// whoever asks, and it is said where to ask instead.
async fn token(
    State(_): State<Arc<Api>>,
    RawQuery(query): RawQuery,
    caller: Result<Caller, ApiProblem>,
    asked: Asked,
) -> Answer {
    if query.is_some_and(|query| query.to_ascii_lowercase().contains("tokenid")) {
        return Err(ApiProblem::malformed(
            "a token is never accepted in a URL: treat it as leaked, revoke it, and ask GET /auth/me with Authorization: Bearer",
        ));
    }
    let Caller(caller) = caller?;
    let Authority::App(grant) = caller.authority() else {
        return Err(ApiProblem::malformed(
            "this route tells an app about its own token; the owner asks GET /auth/tokens",
        ));
    };
    let view = grant.view();
    let mut token = json!({
        "_id": view.id.to_string(),
        "did": caller.tenant().did().as_given(),
        "servers": [asked.origin.as_str()],
        "scopes": view.scopes,
    });
    let app = match &view.app {
        App::Nobody => None,
        App::Named(did) => Some(did),
        App::Client(client) => client.did(),
    };
    if let (Some(members), Some(did)) = (token.as_object_mut(), app) {
        members.insert("appDID".to_owned(), did.as_given().into());
    }
    Ok(Json(json!({ "token": token })).into_response())
}

/// `GET /auth/revoke?tokenId=`: by the id of a token, which is no secret. It changes something with GET, as the original does; a page
/// elsewhere cannot send the header that it takes.
async fn revoke(
    State(api): State<Arc<Api>>,
    Caller(caller): Caller,
    RawQuery(query): RawQuery,
) -> Answer {
    let owner = caller.as_owner()?;
    let mut query = QueryString::parse(query.as_deref())?;
    let id = query.take("tokenId");
    query.nothing_else(&["tokenId"])?;
    end(&api, &owner, id).await
}

/// `POST /auth/revoke`: `{"tokenId"}`
async fn revoke_posted(
    State(api): State<Arc<Api>>,
    Caller(caller): Caller,
    mut body: JsonObject,
) -> Answer {
    let owner = caller.as_owner()?;
    let id = match body.take("tokenId") {
        Some(Value::String(id)) => Some(id),
        _ => None,
    };
    let _counted = body.nothing_else(&["tokenId"])?;
    end(&api, &owner, id).await
}

async fn end(api: &Api, owner: &Owner<'_>, id: Option<String>) -> Answer {
    let id = id.ok_or_else(|| ApiProblem::malformed("`tokenId` is needed: the id of a token"))?;
    if id.starts_with("adyt_") || id.starts_with("adyr_") {
        return Err(ApiProblem::malformed(
            "`tokenId` is the id of a token, not the token: treat what was sent as leaked",
        ));
    }
    let id: Uuid = id.parse().map_err(|_| ApiProblem::not_found())?;
    api.grants
        .revoke(owner, id)
        .ok_or_else(|| ApiProblem::no_such_grant(&api.grants))?;
    api.grants.settled().await?;
    Ok(Json(json!({ "revoked": true })).into_response())
}
