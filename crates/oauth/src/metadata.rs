//! The documents by which an app finds this server: RFC 8414, and RFC 9728 for the API as a resource.

use adyton_protocol::scope::ApiScope;
use serde_json::{Value, json};

use crate::authorization::DETAILS_TYPE;
use crate::jwk::ALGORITHMS;
use crate::origin::Origin;

/// The paths of the endpoints.
#[allow(missing_docs, reason = "the names are those of the metadata")]
pub mod path {
    pub const AUTHORIZATION_SERVER: &str = "/.well-known/oauth-authorization-server";
    pub const PROTECTED_RESOURCE: &str = "/.well-known/oauth-protected-resource";
    /// For a resource identifier with a path: the path stands after the well-known one (RFC 9728 section 3.1).
    pub const PROTECTED_API: &str = "/.well-known/oauth-protected-resource/api/rest/v1";
    pub const API: &str = "/api/rest/v1";
    pub const AUTHORIZE: &str = "/oauth/authorize";
    pub const PAR: &str = "/oauth/par";
    pub const TOKEN: &str = "/oauth/token";
    pub const REVOKE: &str = "/oauth/revoke";
    pub const INTROSPECT: &str = "/oauth/introspect";
}

/// The metadata of the authorization server (RFC 8414).
pub fn authorization_server(origin: &Origin) -> Value {
    let authentication = ["none", "private_key_jwt"];
    let signing = ["ES256", "EdDSA", "ES256K"];
    json!({
        "issuer": origin.as_str(),
        "authorization_endpoint": origin.at(path::AUTHORIZE),
        "pushed_authorization_request_endpoint": origin.at(path::PAR),
        "token_endpoint": origin.at(path::TOKEN),
        "revocation_endpoint": origin.at(path::REVOKE),
        "introspection_endpoint": origin.at(path::INTROSPECT),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": authentication,
        "token_endpoint_auth_signing_alg_values_supported": signing,
        "revocation_endpoint_auth_methods_supported": ["none"],
        "request_parameter_supported": true,
        "request_uri_parameter_supported": true,
        "require_request_uri_registration": true,
        "request_object_signing_alg_values_supported": ["ES256K"],
        "authorization_details_types_supported": [DETAILS_TYPE],
        "authorization_response_iss_parameter_supported": true,
        "client_id_metadata_document_supported": true,
        "dpop_signing_alg_values_supported": ALGORITHMS,
        "protected_resources": [origin.as_str(), origin.at(path::API)],
        "service_documentation": "https://adyton.dev/docs/consent",
    })
}

/// The metadata of the API as a resource (RFC 9728). Scopes for data name a schema or a database, of which there are many: the
/// API's own capabilities are listed. `resource` is the identifier that was asked for, which must come back (section 3.3).
pub fn protected_resource(origin: &Origin, resource: &str) -> Value {
    let scopes: Vec<String> = ApiScope::ALL
        .into_iter()
        .map(|scope| format!("api:{}", scope.name()))
        .collect();
    json!({
        "resource": resource,
        "resource_name": "Adyton user data API",
        "authorization_servers": [origin.as_str()],
        "scopes_supported": scopes,
        "bearer_methods_supported": ["header"],
        "authorization_details_types_supported": [DETAILS_TYPE],
        "dpop_signing_alg_values_supported": ALGORITHMS,
        "dpop_bound_access_tokens_required": false,
    })
}
