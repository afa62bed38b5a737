//! `/oauth`: how an app asks a user for a grant (OAuth 2.1), and the documents by which it finds how to ask.
//!
//! What is refused before client and redirect URI are known to belong together is answered here and redirected nowhere.

use std::sync::Arc;

use adyton_oauth::authorization::{Addressed, AuthorizationRequest, REQUEST_URI_PREFIX};
use adyton_oauth::client::{Client, ClientAuthentication};
use adyton_oauth::client_id::ClientId;
use adyton_oauth::did_signature::{Assertion, SignedRequest, authenticate};
use adyton_oauth::form::Parameters;
use adyton_oauth::metadata::{self, path};
use adyton_oauth::origin::Origin;
use adyton_oauth::redirect_uri::RedirectUri;
use adyton_oauth::refused::{ErrorCode, Refused};
use adyton_protocol::problem::ProblemKind;
use axum::Json;
use axum::extract::{FromRequestParts, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing;
use http::header::LOCATION;
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use serde_json::json;

use super::Api;
use super::form_body::FormBody;
use super::problem::ApiProblem;
use super::routes::Route;
use crate::authn::{Once, UncheckedProof};
use crate::client_documents::UnknownClient;
use crate::grants::TooManyPending;

/// The routes that this module answers.
pub(super) const ROUTES: [Route; 5] = [
    Route::public("GET", path::AUTHORIZE, || routing::get(authorize)),
    Route::public("POST", path::PAR, || routing::post(push)),
    Route::public("GET", path::AUTHORIZATION_SERVER, || routing::get(server)),
    Route::public("GET", path::PROTECTED_RESOURCE, || routing::get(resource)),
    Route::public("GET", path::PROTECTED_API, || {
        routing::get(resource_of_the_api)
    }),
];

/// An error in the form of RFC 6749 section 5.2: what OAuth clients read.
#[derive(Debug)]
pub(super) struct OauthError(pub(super) Refused);

impl IntoResponse for OauthError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code.status());
        let status = status.unwrap_or(StatusCode::BAD_REQUEST);
        (status, Json(self.0.to_json())).into_response()
    }
}

impl From<Refused> for OauthError {
    fn from(refused: Refused) -> Self {
        Self(refused)
    }
}

/// The origin by which a request calls the node, and its proof of possession, if it has one.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) origin: Origin,
    pub(super) proof: Option<UncheckedProof>,
}

impl FromRequestParts<Arc<Api>> for Asked {
    type Rejection = OauthError;

    async fn from_request_parts(head: &mut Parts, api: &Arc<Api>) -> Result<Self, OauthError> {
        let origin = api.possession.origins().of(head).ok_or(Refused::request(
            "the request calls the node by a name that is not its own",
        ))?;
        let proof = match head.headers.contains_key("dpop") {
            false => None,
            true => Some(UncheckedProof::of(head).ok_or(Refused::new(
                ErrorCode::InvalidDpopProof,
                "there must be at most one DPoP header",
            ))?),
        };
        Ok(Self { origin, proof })
    }
}

/// `GET /.well-known/oauth-authorization-server` (RFC 8414)
async fn server(asked: Asked) -> Response {
    Json(metadata::authorization_server(&asked.origin)).into_response()
}

/// `GET /.well-known/oauth-protected-resource` (RFC 9728)
async fn resource(asked: Asked) -> Response {
    Json(metadata::protected_resource(
        &asked.origin,
        asked.origin.as_str(),
    ))
    .into_response()
}

/// `GET /.well-known/oauth-protected-resource/api/rest/v1`: for who knows the node by the address of its API. Any other path
/// there is not found: it names no resource.
async fn resource_of_the_api(asked: Asked) -> Response {
    let resource = asked.origin.at(path::API);
    Json(metadata::protected_resource(&asked.origin, &resource)).into_response()
}

/// `GET /oauth/authorize`: to the consent page, or back to the app with an error, or a problem.
async fn authorize(
    State(api): State<Arc<Api>>,
    asked: Asked,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiProblem> {
    let shown = |refused: Refused| ApiProblem::malformed(refused.reason);
    let parameters = Parameters::parse(query.unwrap_or_default().as_bytes()).map_err(shown)?;
    let named = parameters
        .required("client_id", "client_id is needed")
        .map_err(shown)?;
    let id = ClientId::parse(named).map_err(|error| ApiProblem::malformed(error.to_string()))?;
    let (client, request) = match parameters.one("request_uri") {
        Some(uri) => {
            let pushed = uri
                .strip_prefix(REQUEST_URI_PREFIX)
                .and_then(|key| api.pending.take_pushed(key, &id));
            pushed.ok_or_else(|| {
                ApiProblem::malformed(
                    "request_uri is not known, was used before, is older than a minute, or was pushed by another client",
                )
            })?
        }
        None => {
            let known = identify(&api, &asked.origin, id, &parameters).await;
            let (client, parameters) = known.map_err(ApiProblem::from)?;
            let to = Addressed::of(&parameters, &client).map_err(shown)?;
            let back = to.clone();
            match AuthorizationRequest::read(&parameters, to, &asked.origin, &*api.schemas) {
                Ok(request) => (client, request),
                Err(refused) => return see_other(&back.refusal(refused, &asked.origin)),
            }
        }
    };
    let back = request.to.clone();
    match api.pending.create(client, request, asked.origin.clone()) {
        Ok(pending) => see_other(&format!("/consent?request={}", pending.id())),
        Err(full) => see_other(&back.refusal(full.into(), &asked.origin)),
    }
}

/// `POST /oauth/par` (RFC 9126): the same request, pushed by the app itself, so that its parameters pass no browser.
async fn push(
    State(api): State<Arc<Api>>,
    asked: Asked,
    FormBody(parameters): FormBody,
) -> Result<Response, OauthError> {
    if parameters.one("request_uri").is_some() {
        return Err(Refused::request("request_uri cannot be pushed").into());
    }
    let named = parameters.required("client_id", "client_id is needed")?;
    let id = ClientId::parse(named).map_err(|_| UNKNOWN_CLIENT)?;
    let (client, parameters) =
        pushing(&api, &asked.origin, id, parameters)
            .await
            .map_err(|error| match error {
                NotIdentified::Refused(refused) => refused,
                NotIdentified::Unknown(UnknownClient::Busy) => BUSY,
                NotIdentified::Unknown(_) => UNKNOWN_CLIENT,
            })?;
    let to = Addressed::of(&parameters, &client)?;
    let mut request = AuthorizationRequest::read(&parameters, to, &asked.origin, &*api.schemas)?;
    if let Some(proof) = &asked.proof {
        let proof = api.possession.check(proof, None)?;
        if request.key.is_some_and(|named| named != proof.key()) {
            return Err(Refused::new(
                ErrorCode::InvalidDpopProof,
                "dpop_jkt names another key than the one of the DPoP proof",
            )
            .into());
        }
        // It is not used up: it says to whom the code is bound, and whoever sends it again says the same.
        request.key = Some(proof.key());
    }
    let (key, life) = api.pending.push(client, request).map_err(Refused::from)?;
    let body = json!({ "request_uri": format!("{REQUEST_URI_PREFIX}{key}"), "expires_in": life.as_secs() });
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

const UNKNOWN_CLIENT: Refused = Refused::new(
    ErrorCode::InvalidClient,
    "client_id names no client whose metadata document can be fetched and used",
);
const BUSY: Refused = Refused::new(
    ErrorCode::TemporarilyUnavailable,
    "too many client metadata documents are being fetched",
);

impl From<TooManyPending> for Refused {
    fn from(_: TooManyPending) -> Self {
        Self::new(
            ErrorCode::TemporarilyUnavailable,
            "too many requests wait for their users",
        )
    }
}

/// The client could not be established.
#[derive(Debug)]
enum NotIdentified {
    Unknown(UnknownClient),
    Refused(Refused),
}

impl From<NotIdentified> for ApiProblem {
    fn from(error: NotIdentified) -> Self {
        match error {
            NotIdentified::Unknown(UnknownClient::Busy) => {
                Self::new(ProblemKind::Overloaded, UnknownClient::Busy.to_string())
            }
            NotIdentified::Unknown(error) => Self::malformed(error.to_string()),
            NotIdentified::Refused(refused) => Self::malformed(refused.reason),
        }
    }
}

impl From<UnknownClient> for NotIdentified {
    fn from(error: UnknownClient) -> Self {
        Self::Unknown(error)
    }
}

impl From<Refused> for NotIdentified {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

type Identified = Result<(Arc<Client>, Parameters), NotIdentified>;

/// The client of a request that comes through a browser, and the parameters that count: for a DID those that its key signed.
async fn identify(api: &Api, origin: &Origin, id: ClientId, parameters: &Parameters) -> Identified {
    match (&id, parameters.one("request")) {
        (ClientId::Did(did), Some(text)) => {
            let signed = SignedRequest::verify(text, did, origin, api.possession.now())?;
            use_once(api, &signed.assertion)?;
            let client = client_of_did(did, &signed.parameters)?;
            Ok((Arc::new(client), signed.parameters))
        }
        (ClientId::Did(_), None) => Err(Refused::request(
            "a DID asks with a signed request (the parameter request), or pushes it with a client_assertion",
        )
        .into()),
        (_, Some(_)) => Err(Refused::new(
            ErrorCode::InvalidRequestObject,
            "only a DID asks with a signed request",
        )
        .into()),
        (ClientId::Document(_) | ClientId::Local(_), None) => {
            Ok((api.client_documents.find(&id).await?, parameters.clone()))
        }
    }
}

/// The client of a request that it pushes itself: authenticated, if it can be (RFC 9126 section 2).
async fn pushing(api: &Api, origin: &Origin, id: ClientId, parameters: Parameters) -> Identified {
    let asserted = parameters.one("client_assertion").is_some();
    let (client, parameters) = match &id {
        // A client that authenticates may name the redirect URI itself (RFC 9126 section 2.4).
        ClientId::Did(did) if asserted && parameters.one("request").is_none() => {
            (Arc::new(client_of_did(did, &parameters)?), parameters)
        }
        ClientId::Did(_) => return identify(api, origin, id, &parameters).await,
        ClientId::Document(_) | ClientId::Local(_) => {
            identify(api, origin, id, &parameters).await?
        }
    };
    let assertion = authenticate(&parameters, &client, origin, api.possession.now())?;
    if let Some(assertion) = assertion {
        use_once(api, &assertion)?;
    } else if !matches!(client.authentication(), ClientAuthentication::PublicClient) {
        return Err(UNKNOWN_CLIENT.into());
    }
    Ok((client, parameters))
}

pub(super) fn use_once(api: &Api, assertion: &Assertion) -> Result<(), Refused> {
    api.possession
        .use_once(Once::Assertion, assertion.once(), Assertion::USED)
}

fn client_of_did(
    did: &adyton_protocol::did::Did,
    parameters: &Parameters,
) -> Result<Client, Refused> {
    let text = parameters.required("redirect_uri", "redirect_uri is needed")?;
    let redirect_uri = RedirectUri::parse(text)
        .map_err(|_| Refused::request("redirect_uri is none that may be answered"))?;
    Ok(Client::of_did(did, vec![redirect_uri]))
}

/// A redirect after which a browser asks with GET.
fn see_other(url: &str) -> Result<Response, ApiProblem> {
    let location = HeaderValue::from_str(url)
        .map_err(|_| ApiProblem::malformed("the answer cannot be redirected"))?;
    Ok((StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response())
}
