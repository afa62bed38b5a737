//! Refusals, with the codes that OAuth names (RFC 6749 sections 4.1.2.1 and 5.2, and those that later RFCs add).

use serde_json::{Value, json};

/// The code of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are those of the RFCs")]
pub enum ErrorCode {
    InvalidRequest,
    UnauthorizedClient,
    AccessDenied,
    UnsupportedResponseType,
    InvalidScope,
    ServerError,
    TemporarilyUnavailable,
    InvalidClient,
    InvalidGrant,
    UnsupportedGrantType,
    /// RFC 8707.
    InvalidTarget,
    /// RFC 9396.
    InvalidAuthorizationDetails,
    /// RFC 9101.
    InvalidRequestUri,
    /// RFC 9101.
    InvalidRequestObject,
    /// RFC 9449.
    InvalidDpopProof,
}

impl ErrorCode {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::AccessDenied => "access_denied",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::InvalidScope => "invalid_scope",
            Self::ServerError => "server_error",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidAuthorizationDetails => "invalid_authorization_details",
            Self::InvalidRequestUri => "invalid_request_uri",
            Self::InvalidRequestObject => "invalid_request_object",
            Self::InvalidDpopProof => "invalid_dpop_proof",
        }
    }

    /// The status of an answer that is not a redirect (RFC 6749 section 5.2).
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidClient => 401,
            Self::AccessDenied => 403,
            Self::ServerError => 500,
            Self::TemporarilyUnavailable => 503,
            Self::InvalidRequest
            | Self::UnauthorizedClient
            | Self::UnsupportedResponseType
            | Self::InvalidScope
            | Self::InvalidGrant
            | Self::UnsupportedGrantType
            | Self::InvalidTarget
            | Self::InvalidAuthorizationDetails
            | Self::InvalidRequestUri
            | Self::InvalidRequestObject
            | Self::InvalidDpopProof => 400,
        }
    }
}

/// A request that is refused. The reason is ours, word for word: never a value of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refused {
    /// What an app's code switches on.
    pub code: ErrorCode,
    /// What its developer reads.
    pub reason: &'static str,
}

impl Refused {
    /// A refusal.
    pub const fn new(code: ErrorCode, reason: &'static str) -> Self {
        Self { code, reason }
    }

    /// The commonest one.
    pub const fn request(reason: &'static str) -> Self {
        Self::new(ErrorCode::InvalidRequest, reason)
    }

    /// The body of an answer (RFC 6749 section 5.2).
    pub fn to_json(self) -> Value {
        json!({ "error": self.code.name(), "error_description": self.reason })
    }
}
