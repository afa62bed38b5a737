//! `/auth/session`: carries a browser's login to its storage nodes.
//!
//! The pages talk to their own node and to nobody else, so the node takes challenges from storage nodes to the browser and
//! answers back. What is signed, is signed in the browser with a key that never comes here; what comes out is part of the
//! context session that the node is sent anyway. Both routes are public: whoever has no key gets a challenge and nothing
//! else, as from the storage node itself.

use std::sync::Arc;

use adyton_client::endpoint::Endpoint;
use adyton_client::storage_node::{LoginAnswer, StorageNode, StorageNodeError};
use adyton_client::transport::TransportError;
use adyton_keys::context_session::NodeAuth;
use adyton_protocol::context::{ContextHash, ContextName};
use adyton_protocol::context_config::ContextConfig;
use adyton_protocol::did::{Anchor, Did, Network};
use adyton_protocol::did_document::DidDocument;
use adyton_protocol::problem::ProblemKind;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing;
use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Api;
use super::json_body::JsonObject;
use super::problem::ApiProblem;
use super::routes::Route;

/// The routes that this module answers.
pub(super) const ROUTES: [Route; 2] = [
    Route::public("POST", "/api/rest/v1/auth/session/challenges", || {
        routing::post(challenges)
    }),
    Route::public("POST", "/api/rest/v1/auth/session", || {
        routing::post(session)
    }),
];

/// Logins that are carried at a time. Anybody can ask, and each asks storage nodes.
pub(super) const LOGINS_AT_A_TIME: usize = 16;
/// Storage nodes that one login goes to.
const MOST_STORAGE_NODES: usize = 4;
/// Longest text that a storage node's challenge or a signature may have.
const MAX_TEXT_BYTES: usize = 4096;

type Answer = Result<Response, ApiProblem>;

/// `POST /auth/session/challenges`: `{"did", "contextName", "storageNode"}` → the context's configuration, and a challenge
/// of each of its storage nodes that answers.
async fn challenges(State(api): State<Arc<Api>>, mut body: JsonObject) -> Answer {
    let did = did(&mut body)?;
    let context = context(&mut body)?;
    let source = endpoint(&text(&mut body, "storageNode")?)?;
    let _counted = body.nothing_else(&["did", "contextName", "storageNode"])?;
    let _turn = turn(&api)?;

    let document = storage_node(&api, source)?.did_document(&did).await?;
    let config = document
        .and_then(|document| config_of(&document, &did, &context))
        .ok_or_else(ApiProblem::not_found)?;
    let endpoints = &config.services.database_server.endpoint_uri;
    let asked = endpoints.iter().take(MOST_STORAGE_NODES).map(async |url| {
        let node = storage_node(&api, endpoint(url)?)?;
        let challenge = node.challenge(&did, &context).await?;
        Ok::<_, ApiProblem>(json!({
            "endpointUri": node.endpoint().as_str(),
            "authRequestId": challenge.request_id,
            "authJwt": challenge.token,
        }))
    });
    let challenges = those_that_answer(join_all(asked).await)?;
    Ok(Json(json!({ "contextConfig": config, "challenges": challenges })).into_response())
}

/// A signed challenge on its way back.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Signed {
    endpoint_uri: String,
    auth_jwt: String,
    signature: String,
}

/// `POST /auth/session`: `{"did", "contextName", "signKey", "answers": [{"endpointUri", "authJwt", "signature"}]}` → the
/// tokens of the storage nodes, as a context session has them.
async fn session(State(api): State<Arc<Api>>, mut body: JsonObject) -> Answer {
    let did = did(&mut body)?;
    let context = context(&mut body)?;
    let sign_key = sign_key(body.take("signKey").as_ref())?;
    let answers: Vec<Signed> = body
        .take("answers")
        .and_then(|answers| serde_json::from_value(answers).ok())
        .filter(|answers: &Vec<Signed>| (1..=MOST_STORAGE_NODES).contains(&answers.len()))
        .ok_or_else(|| {
            ApiProblem::malformed(format!(
                "`answers` must be a list of 1 to {MOST_STORAGE_NODES} objects with endpointUri, authJwt and signature"
            ))
        })?;
    let _counted = body.nothing_else(&["did", "contextName", "signKey", "answers"])?;
    let _turn = turn(&api)?;

    let given = answers.into_iter().map(async |signed| {
        if signed.auth_jwt.len().max(signed.signature.len()) > MAX_TEXT_BYTES {
            return Err(ApiProblem::malformed(
                "a challenge or signature is too long",
            ));
        }
        let node = storage_node(&api, endpoint(&signed.endpoint_uri)?)?;
        let answer = LoginAnswer {
            challenge: signed.auth_jwt,
            signature: signed.signature,
        };
        let key = sign_key.clone();
        Ok(node.authenticate(&did, &context, &answer, key).await?)
    });
    let auths: Vec<NodeAuth> = those_that_answer(join_all(given).await)?;
    let by_endpoint: Map<String, Value> = auths
        .iter()
        .map(|auth| (auth.endpoint_uri.clone(), json!(auth)))
        .collect();
    Ok(Json(json!({ "contextAuths": by_endpoint })).into_response())
}

/// A storage node that is down is left out; when none is left, the last failure is the answer.
fn those_that_answer<T>(answers: Vec<Result<T, ApiProblem>>) -> Result<Vec<T>, ApiProblem> {
    let mut served = Vec::new();
    let mut failure = ApiProblem::not_found();
    for answer in answers {
        match answer {
            Ok(answer) => served.push(answer),
            Err(problem) => failure = problem,
        }
    }
    match served.is_empty() {
        true => Err(failure),
        false => Ok(served),
    }
}

/// The configuration of a context in whichever network of the DID's chain it is.
fn config_of(document: &DidDocument, did: &Did, context: &ContextName) -> Option<ContextConfig> {
    let hash = ContextHash::of(did, context);
    let networks: &[Network] = match did.anchor() {
        Anchor::Polpos => &[Network::Myrtle],
        Anchor::Polamoy => &[Network::Banksia, Network::Devnet, Network::Local],
    };
    networks
        .iter()
        .find_map(|network| ContextConfig::of_document(document, *network, &hash).ok()?)
}

fn storage_node(api: &Api, endpoint: Endpoint) -> Result<StorageNode, ApiProblem> {
    StorageNode::new(api.vault.transport().clone(), endpoint).map_err(|_| {
        ApiProblem::malformed(
            "this storage node may not be contacted: only https to public addresses is allowed",
        )
    })
}

fn turn(api: &Api) -> Result<tokio::sync::SemaphorePermit<'_>, ApiProblem> {
    api.logins.try_acquire().map_err(|_| {
        ApiProblem::new(
            ProblemKind::Overloaded,
            "too many logins are under way; try again in a moment",
        )
    })
}

fn did(body: &mut JsonObject) -> Result<Did, ApiProblem> {
    text(body, "did")?
        .parse()
        .map_err(|_| ApiProblem::malformed("`did` must be a DID"))
}

fn context(body: &mut JsonObject) -> Result<ContextName, ApiProblem> {
    ContextName::new(text(body, "contextName")?)
        .map_err(|error| ApiProblem::malformed(error.to_string()))
}

fn endpoint(url: &str) -> Result<Endpoint, ApiProblem> {
    url.parse()
        .map_err(|_| ApiProblem::malformed("a storage node's address must be an https URL"))
}

/// `{"type", "publicKeyHex"}`, of which the session keeps the key.
fn sign_key(value: Option<&Value>) -> Result<String, ApiProblem> {
    let key = value.and_then(|key| key.get("publicKeyHex")?.as_str());
    key.filter(|key| is_compressed_key(key))
        .map(str::to_owned)
        .ok_or_else(|| ApiProblem::malformed("`signKey` must name a compressed public key"))
}

fn is_compressed_key(text: &str) -> bool {
    text.len() == 68
        && (text.starts_with("0x02") || text.starts_with("0x03"))
        && text.bytes().skip(2).all(|digit| digit.is_ascii_hexdigit())
}

fn text(body: &mut JsonObject, name: &'static str) -> Result<String, ApiProblem> {
    match body.take(name) {
        Some(Value::String(text)) if text.len() <= MAX_TEXT_BYTES => Ok(text),
        _ => Err(ApiProblem::malformed(format!(
            "the request body needs a member `{name}`, a text"
        ))),
    }
}

impl From<StorageNodeError> for ApiProblem {
    fn from(error: StorageNodeError) -> Self {
        let kind = match error {
            StorageNodeError::Transport(TransportError::Misbehaved | TransportError::TooLarge) => {
                ProblemKind::StorageMisbehaved
            }
            StorageNodeError::Transport(_) => ProblemKind::StorageUnreachable,
            StorageNodeError::Unauthorized => ProblemKind::CredentialsInvalid,
            _ => ProblemKind::StorageRefused,
        };
        Self::new(kind, error.to_string())
    }
}
