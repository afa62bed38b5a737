//! Problems: errors that cross an API (RFC 9457), a closed set.

use serde::Serialize;

/// The kinds of problem that a node answers with. `docs/problems.md` explains each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(
    missing_docs,
    reason = "the title says it, and docs/problems.md at length"
)]
pub enum ProblemKind {
    CredentialsMissing,
    CredentialsInvalid,
    CredentialsAmbiguous,
    TokenExpired,
    TokenRevoked,
    ScopeMissing,
    FieldNotGranted,
    NotFound,
    MethodNotAllowed,
    RequestMalformed,
    QueryUnsupported,
    RecordInvalid,
    RequestTooLarge,
    ResultTooLarge,
    RevisionConflict,
    PreconditionFailed,
    MediaTypeUnsupported,
    PermissionsUnsupported,
    Gone,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    SchemaInvalid,
    SchemaPublished,
    ScopeInvalid,
    ConsentInvalid,
    RateLimited,
    StorageUnreachable,
    StorageMisbehaved,
    StorageRefused,
    CiphertextRejected,
    Overloaded,
    ReceiptsUnwritable,
    TooLargeForThisNode,
    Draining,
    Timeout,
    Internal,
}

impl ProblemKind {
    /// All of them.
    pub const ALL: [Self; 36] = [
        Self::CredentialsMissing,
        Self::CredentialsInvalid,
        Self::CredentialsAmbiguous,
        Self::TokenExpired,
        Self::TokenRevoked,
        Self::ScopeMissing,
        Self::FieldNotGranted,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestMalformed,
        Self::QueryUnsupported,
        Self::RecordInvalid,
        Self::RequestTooLarge,
        Self::ResultTooLarge,
        Self::RevisionConflict,
        Self::PreconditionFailed,
        Self::MediaTypeUnsupported,
        Self::PermissionsUnsupported,
        Self::Gone,
        Self::IdempotencyKeyInUse,
        Self::IdempotencyKeyReused,
        Self::SchemaInvalid,
        Self::SchemaPublished,
        Self::ScopeInvalid,
        Self::ConsentInvalid,
        Self::RateLimited,
        Self::StorageUnreachable,
        Self::StorageMisbehaved,
        Self::StorageRefused,
        Self::CiphertextRejected,
        Self::Overloaded,
        Self::ReceiptsUnwritable,
        Self::TooLargeForThisNode,
        Self::Draining,
        Self::Timeout,
        Self::Internal,
    ];

    /// The stable name: last part of the problem's `type`.
    pub const fn slug(self) -> &'static str {
        self.facts().0
    }

    /// The HTTP status.
    pub const fn status(self) -> u16 {
        self.facts().1
    }

    /// The title.
    pub const fn title(self) -> &'static str {
        self.facts().2
    }

    const fn facts(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::CredentialsMissing => ("credentials-missing", 401, "No credentials were given"),
            Self::CredentialsInvalid => {
                ("credentials-invalid", 401, "The credentials are not valid")
            }
            Self::CredentialsAmbiguous => (
                "credentials-ambiguous",
                400,
                "More than one credential was given",
            ),
            Self::TokenExpired => ("token-expired", 401, "The access token has expired"),
            Self::TokenRevoked => ("token-revoked", 401, "The access token was revoked"),
            Self::ScopeMissing => ("scope-missing", 403, "The access token does not allow this"),
            Self::FieldNotGranted => (
                "field-not-granted",
                403,
                "The question touches a field that was not granted",
            ),
            Self::NotFound => ("not-found", 404, "There is nothing here for you"),
            Self::MethodNotAllowed => (
                "method-not-allowed",
                405,
                "This route does not take this method",
            ),
            Self::RequestMalformed => {
                ("request-malformed", 400, "The request cannot be understood")
            }
            Self::QueryUnsupported => ("query-unsupported", 400, "The query cannot be answered"),
            Self::RecordInvalid => ("record-invalid", 422, "The record does not fit its schema"),
            Self::RequestTooLarge => ("request-too-large", 413, "The request is too large"),
            Self::ResultTooLarge => ("result-too-large", 413, "The result is too large"),
            Self::RevisionConflict => {
                ("revision-conflict", 409, "The record was changed meanwhile")
            }
            Self::PreconditionFailed => (
                "precondition-failed",
                412,
                "The record is not the one that was expected",
            ),
            Self::MediaTypeUnsupported => ("media-type-unsupported", 415, "The body is not JSON"),
            Self::PermissionsUnsupported => (
                "permissions-unsupported",
                400,
                "This node serves what its owner alone can read",
            ),
            Self::Gone => ("gone", 410, "The original had this; this node does not"),
            Self::IdempotencyKeyInUse => (
                "idempotency-key-in-use",
                409,
                "A request with this key is still under way",
            ),
            Self::IdempotencyKeyReused => (
                "idempotency-key-reused",
                422,
                "This key was used for another request",
            ),
            Self::SchemaInvalid => ("schema-invalid", 422, "The schema cannot be used"),
            Self::SchemaPublished => ("schema-published", 409, "The name is a published schema's"),
            Self::ScopeInvalid => ("scope-invalid", 400, "A scope cannot be granted"),
            Self::ConsentInvalid => ("consent-invalid", 400, "The consent does not hold"),
            Self::RateLimited => ("rate-limited", 429, "Too many requests"),
            Self::StorageUnreachable => (
                "storage-unreachable",
                502,
                "The user's storage node cannot be reached",
            ),
            Self::StorageMisbehaved => (
                "storage-misbehaved",
                502,
                "The user's storage node broke the protocol",
            ),
            Self::StorageRefused => (
                "storage-refused",
                502,
                "The user's storage node refused the session",
            ),
            Self::CiphertextRejected => (
                "ciphertext-rejected",
                502,
                "Stored data was not written by this user",
            ),
            Self::Overloaded => ("overloaded", 503, "There is no room for this now"),
            Self::TooLargeForThisNode => (
                "too-large-for-this-node",
                507,
                "The data is larger than this node holds for one user",
            ),
            Self::ReceiptsUnwritable => (
                "receipts-unwritable",
                503,
                "The user's storage node takes no receipts",
            ),
            Self::Draining => ("draining", 503, "The node is shutting down"),
            Self::Timeout => ("timeout", 504, "The answer took too long"),
            Self::Internal => ("internal", 500, "The node has a bug"),
        }
    }

    /// The URI that names the kind.
    pub fn type_uri(self) -> String {
        format!("https://adyton.dev/problems/{}", self.slug())
    }
}

/// The body of a problem, `application/problem+json`.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    /// Names the kind.
    #[serde(rename = "type")]
    pub type_uri: String,
    /// Says the kind in words.
    pub title: &'static str,
    /// The HTTP status again.
    pub status: u16,
    /// What happened here. Written by us: never a value of the request or a record.
    pub detail: String,
    /// `detail` once more, for clients of the original API.
    pub error: String,
    /// The slug, for clients that switch on it.
    pub code: &'static str,
}

impl Problem {
    /// The problem of this kind with this explanation.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self {
            type_uri: kind.type_uri(),
            title: kind.title(),
            status: kind.status(),
            error: detail.clone(),
            detail,
            code: kind.slug(),
        }
    }
}
