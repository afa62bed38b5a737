//! Requests to the token endpoint, and to those for revocation and introspection (RFC 6749 sections 4.1.3 and 6, RFC 7009,
//! RFC 7662).

use adyton_protocol::schema::SchemaDirectory;
use adyton_protocol::scope::ScopeSet;

use crate::authorization::scopes;
use crate::form::Parameters;
use crate::origin::Origin;
use crate::refused::{ErrorCode, Refused};

/// Longest code or token that is looked at, in bytes.
pub const MAX_TOKEN_BYTES: usize = 512;

/// What is asked of the token endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenRequest<'p> {
    /// A code for tokens.
    Code {
        /// The code.
        code: &'p str,
        /// The verifier of its challenge.
        verifier: &'p str,
        /// OAuth 2.0 sends it once more; it must be the same then.
        redirect_uri: Option<&'p str>,
    },
    /// The next tokens.
    Refresh {
        /// The refresh token.
        token: &'p str,
        /// A part of what was granted.
        scope: Option<&'p str>,
    },
}

impl<'p> TokenRequest<'p> {
    /// Reads a request. The client it names is its caller's to compare: [`Parameters::one`] `client_id`.
    pub fn read(parameters: &'p Parameters, origin: &Origin) -> Result<Self, Refused> {
        for resource in parameters.resources() {
            if !origin.is_resource(resource) {
                return Err(Refused::new(
                    ErrorCode::InvalidTarget,
                    "resource must be the origin of this node, or the address of its API",
                ));
            }
        }
        match parameters.required("grant_type", "grant_type is needed")? {
            "authorization_code" => Ok(Self::Code {
                code: short(parameters.required("code", "code is needed")?)?,
                verifier: parameters.required("code_verifier", "code_verifier is needed")?,
                redirect_uri: parameters.one("redirect_uri"),
            }),
            "refresh_token" => Ok(Self::Refresh {
                token: short(parameters.required("refresh_token", "refresh_token is needed")?)?,
                scope: parameters.one("scope"),
            }),
            _ => Err(Refused::new(
                ErrorCode::UnsupportedGrantType,
                "grant_type must be authorization_code or refresh_token",
            )),
        }
    }
}

/// The token that a request for revocation or introspection names. What kind it is is seen from the token; a hint may be wrong
/// (RFC 7009 section 2.1) and is not needed.
pub fn token(parameters: &Parameters) -> Result<&str, Refused> {
    short(parameters.required("token", "token is needed")?)
}

/// The scopes that a refresh names: of what was granted, which says what the names in it meant then.
pub fn read_scopes(text: &str, directory: &impl SchemaDirectory) -> Result<ScopeSet, Refused> {
    let scopes = scopes(text)?;
    ScopeSet::parse(scopes, directory).map_err(|_| {
        Refused::new(
            ErrorCode::InvalidScope,
            "one of the scopes does not exist or was not granted",
        )
    })
}

fn short(token: &str) -> Result<&str, Refused> {
    match token.len() <= MAX_TOKEN_BYTES {
        true => Ok(token),
        false => Err(Refused::new(
            ErrorCode::InvalidGrant,
            "the code or token is not one of this node",
        )),
    }
}
