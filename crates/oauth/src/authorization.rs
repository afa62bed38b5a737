//! An authorization request (OAuth 2.1 section 4.1.1), in two steps: to whom may be answered, and what is asked.
//!
//! Until the first step has succeeded nothing is ever redirected: an answer sent to an address that the client did not publish
//! would make this server a tool of whoever wrote the address. After it every refusal goes back to the client.

use adyton_protocol::schema::SchemaDirectory;
use adyton_protocol::scope::InvalidTerms;
use serde_json::{Map, Value, json};

use crate::asking::Asking;
use crate::challenge::is_scope_byte;
use crate::client::Client;
use crate::form::Parameters;
use crate::jwk::Thumbprint;
use crate::origin::Origin;
use crate::pkce::Challenge;
use crate::redirect_uri::RedirectUri;
use crate::refused::{ErrorCode, Refused};

/// Longest `state`, in bytes.
pub const MAX_STATE_BYTES: usize = 1024;
/// The type of our authorization details (RFC 9396): terms of a grant beside its scopes.
pub const DETAILS_TYPE: &str = "adyton_terms";
/// What `request_uri` begins with after a pushed request (RFC 9126 section 2.2).
pub const REQUEST_URI_PREFIX: &str = "urn:ietf:params:oauth:request_uri:";

/// To whom may be answered: a redirect URI that the client published, and the state that it wants back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressed {
    redirect_uri: RedirectUri,
    state: Option<String>,
}

impl Addressed {
    /// The first step. Its refusals are shown to the person in front of the browser, and sent nowhere.
    pub fn of(parameters: &Parameters, client: &Client) -> Result<Self, Refused> {
        let named = parameters.required("client_id", "client_id is needed")?;
        if named != client.id().as_str() {
            return Err(Refused::request("client_id is another one"));
        }
        let asked = parameters.required("redirect_uri", "redirect_uri is needed")?;
        let redirect_uri = RedirectUri::among(client.redirect_uris(), asked)?;
        let state = parameters.one("state");
        // Printable ASCII, of which alone RFC 6749 lets a state consist (appendix A.5).
        let fits = |state: &str| {
            state.len() <= MAX_STATE_BYTES && state.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        };
        if !state.is_none_or(fits) {
            return Err(Refused::request(
                "state must be at most 1024 printable ASCII characters",
            ));
        }
        Ok(Self {
            redirect_uri,
            state: state.map(str::to_owned),
        })
    }

    /// Where answers go.
    pub fn redirect_uri(&self) -> &RedirectUri {
        &self.redirect_uri
    }

    /// The URL that tells the app of a refusal.
    pub fn refusal(&self, refused: Refused, origin: &Origin) -> String {
        self.answer(
            &[
                ("error", refused.code.name()),
                ("error_description", refused.reason),
            ],
            origin,
        )
    }

    /// The URL that brings the app its code.
    pub fn code(&self, code: &str, origin: &Origin) -> String {
        self.answer(&[("code", code)], origin)
    }

    /// Every answer says whose it is (RFC 9207) and returns the state.
    fn answer(&self, members: &[(&str, &str)], origin: &Origin) -> String {
        let state = self.state.as_deref().map(|state| ("state", state));
        let always = [("iss", origin.as_str())].into_iter().chain(state);
        self.redirect_uri
            .with(members.iter().copied().chain(always))
    }
}

/// A request that may be shown to a user.
#[derive(Debug, Clone)]
pub struct AuthorizationRequest {
    /// To whom is answered.
    pub to: Addressed,
    /// What is asked.
    pub asking: Asking,
    /// What the app committed to.
    pub challenge: Challenge,
    /// The key that the tokens are to be bound to (RFC 9449 section 10).
    pub key: Option<Thumbprint>,
}

impl AuthorizationRequest {
    /// The second step. Its refusals go back to the client: [`Addressed::refusal`].
    pub fn read(
        parameters: &Parameters,
        to: Addressed,
        origin: &Origin,
        directory: &impl SchemaDirectory,
    ) -> Result<Self, Refused> {
        match parameters.required("response_type", "response_type is needed")? {
            "code" => {}
            _ => {
                return Err(Refused::new(
                    ErrorCode::UnsupportedResponseType,
                    "response_type must be code",
                ));
            }
        }
        if parameters
            .one("response_mode")
            .is_some_and(|mode| mode != "query")
        {
            return Err(Refused::request("response_mode must be query"));
        }
        let challenge = Challenge::of(parameters)?;
        for resource in parameters.resources() {
            if !origin.is_resource(resource) {
                return Err(Refused::new(
                    ErrorCode::InvalidTarget,
                    "resource must be the origin of this node, or the address of its API",
                ));
            }
        }
        let key = match parameters.one("dpop_jkt") {
            None => None,
            Some(text) => Some(Thumbprint::parse(text).ok_or(Refused::request(
                "dpop_jkt must be the base64url of a SHA-256",
            ))?),
        };
        Ok(Self {
            asking: asking(parameters, directory)?,
            to,
            challenge,
            key,
        })
    }
}

/// The terms of `scope` and `authorization_details`.
fn asking(parameters: &Parameters, directory: &impl SchemaDirectory) -> Result<Asking, Refused> {
    let invalid = |reason| Refused::new(ErrorCode::InvalidAuthorizationDetails, reason);
    let mut members = match parameters.one("authorization_details") {
        None => Map::new(),
        Some(text) => details(text).map_err(invalid)?,
    };
    let scopes = match parameters.one("scope") {
        Some(text) => scopes(text)?,
        None => Vec::new(),
    };
    match (scopes.is_empty(), members.contains_key("scopes")) {
        (false, true) => {
            return Err(invalid(
                "scopes stand in scope or in the details, not in both",
            ));
        }
        (false, false) => {
            members.insert("scopes".to_owned(), json!(scopes));
        }
        (true, true) => {}
        (true, false) => {
            return Err(Refused::new(
                ErrorCode::InvalidScope,
                "at least one scope is needed",
            ));
        }
    }
    Asking::read(Value::Object(members), directory).map_err(|error| match error {
        InvalidTerms::Scopes(_) => Refused::new(
            ErrorCode::InvalidScope,
            "one of the scopes does not exist or is never granted",
        ),
        _ => invalid("the terms in authorization_details are not valid"),
    })
}

/// Scopes, each of characters that a scope has, one space between two (RFC 6749 section 3.3).
pub(crate) fn scopes(text: &str) -> Result<Vec<&str>, Refused> {
    let scopes: Vec<&str> = text.split(' ').collect();
    let fits = |scope: &&str| !scope.is_empty() && scope.bytes().all(is_scope_byte);
    match scopes.iter().all(fits) {
        true => Ok(scopes),
        false => Err(Refused::new(
            ErrorCode::InvalidScope,
            "scope must be scopes with single spaces between them",
        )),
    }
}

/// The one object that is understood, without its type.
fn details(text: &str) -> Result<Map<String, Value>, &'static str> {
    let list: Vec<Map<String, Value>> = serde_json::from_str(text)
        .map_err(|_| "authorization_details must be a JSON array of objects")?;
    let mut list = list.into_iter();
    let (Some(mut only), None) = (list.next(), list.next()) else {
        return Err("authorization_details must have exactly one object");
    };
    match only.remove("type") {
        Some(Value::String(kind)) if kind == DETAILS_TYPE => Ok(only),
        _ => Err("the type in authorization_details must be adyton_terms"),
    }
}
