//! Errors at the edge: the one place where a failure inside becomes a problem outside (RFC 9457).
//!
//! `detail` is written by us from texts that are safe to show; causes stay inside.

use adyton_client::record::InvalidRecord;
use adyton_client::schema;
use adyton_client::session::SessionError;
use adyton_client::transport::TransportError;
use adyton_oauth::challenge::{Refusal, www_authenticate};
use adyton_oauth::consent::InvalidConsent;
use adyton_protocol::problem::{Problem, ProblemKind};
use adyton_protocol::scope::InvalidTerms;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::throttle::Standing;
use crate::authn::{AuthenticationError, CredentialError};
use crate::authz::Denied;
use crate::grants::{ApproveError, GrantError, Grants, MintError, NotKept};
use crate::memory::{FieldNotGranted, QueryError};
use crate::vault::{TooManyWatches, VaultError};

/// Most invalid records of a bulk write that are described; all are counted.
const MAX_INVALID: usize = 32;

/// A problem on its way to the caller.
#[derive(Debug)]
pub struct ApiProblem {
    kind: ProblemKind,
    detail: String,
    members: Vec<(&'static str, Value)>,
    challenge: Challenge,
    /// Of who asked too often.
    standing: Option<Box<Standing>>,
}

/// What the problem says in `WWW-Authenticate`.
#[derive(Debug, Clone)]
enum Challenge {
    /// What its kind says, if that is something.
    OfKind,
    /// That this scope would help.
    Scope(String),
    /// That a proof of possession would.
    Proof,
}

impl ApiProblem {
    /// A problem of this kind with this explanation.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            members: Vec::new(),
            challenge: Challenge::OfKind,
            standing: None,
        }
    }

    /// Adds an extension member.
    pub(crate) fn with(mut self, name: &'static str, value: Value) -> Self {
        self.members.push((name, value));
        self
    }

    /// Tells the caller when to come back.
    pub(super) fn after(mut self, standing: Standing) -> Self {
        self.standing = Some(Box::new(standing));
        self
    }

    /// The request cannot be understood.
    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::RequestMalformed, detail)
    }

    /// The JSON of the problem, with its extension members.
    pub(super) fn into_body(self) -> Value {
        let problem = Problem::new(self.kind, self.detail);
        let mut body = serde_json::to_value(&problem).unwrap_or_default();
        if let Some(members) = body.as_object_mut() {
            for (name, value) in self.members {
                members.insert(name.to_owned(), value);
            }
        }
        body
    }

    /// A name that is not known, and those that are. Which one it is, the caller can see.
    pub(crate) fn unknown_member(place: &str, known: &[&str]) -> Self {
        let names = known.join(", ");
        Self::malformed(format!(
            "{place} has a member that this route does not know; it knows {names}"
        ))
        .with("known", json!(known))
    }

    /// The same problem for somebody to whom it is of another kind.
    pub(crate) fn again(self, kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            ..self
        }
    }

    /// What kind it is.
    #[cfg(test)]
    pub(crate) fn kind(&self) -> ProblemKind {
        self.kind
    }

    /// What is said about it.
    #[cfg(test)]
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// The problem as one member of an answer about several things.
    pub(crate) fn into_member(self) -> Map<String, Value> {
        let mut member = Map::from_iter([
            ("status".to_owned(), json!(self.kind.status())),
            ("code".to_owned(), json!(self.kind.slug())),
            ("error".to_owned(), json!(self.detail)),
        ]);
        for (name, value) in self.members {
            member.insert(name.to_owned(), value);
        }
        member
    }

    /// There is no such grant, as far as that is known already.
    pub(crate) fn no_such_grant(grants: &Grants) -> Self {
        match grants.has_all() {
            true => Self::not_found(),
            false => AuthenticationError::from(GrantError::NotYet).into(),
        }
    }

    /// There is nothing here for this caller: absent and not yours look the same.
    pub(crate) fn not_found() -> Self {
        Self::new(ProblemKind::NotFound, "Not found")
    }
}

impl IntoResponse for ApiProblem {
    fn into_response(mut self) -> Response {
        let (kind, challenge) = (self.kind, self.challenge.clone());
        let standing = self.standing.take();
        let body = self.into_body();
        let status =
            StatusCode::from_u16(kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        let refusal = match (kind, &challenge) {
            (_, Challenge::Proof) => Some(Refusal::InvalidProof),
            (_, Challenge::Scope(scope)) => Some(Refusal::InsufficientScope(Some(scope))),
            (ProblemKind::CredentialsMissing, _) => Some(Refusal::NoCredential),
            (ProblemKind::ScopeMissing, _) => Some(Refusal::InsufficientScope(None)),
            _ if status == StatusCode::UNAUTHORIZED => Some(Refusal::InvalidToken),
            _ => None,
        };
        // The layer around all routes adds where to find the metadata: it knows by which name the node was called.
        let challenge = refusal.map(|refusal| www_authenticate(None, &refusal));
        if let Some(Ok(value)) = challenge.map(HeaderValue::try_from) {
            headers.insert(WWW_AUTHENTICATE, value);
        }
        if let Some(standing) = standing {
            headers.insert(RETRY_AFTER, standing.seconds().into());
            standing.tell(&mut response);
        } else if matches!(
            kind,
            ProblemKind::Overloaded
                | ProblemKind::ReceiptsUnwritable
                | ProblemKind::Draining
                | ProblemKind::RateLimited
        ) {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

impl From<AuthenticationError> for ApiProblem {
    fn from(error: AuthenticationError) -> Self {
        let kind = match error {
            AuthenticationError::Credential(CredentialError::Missing) => {
                ProblemKind::CredentialsMissing
            }
            AuthenticationError::Credential(CredentialError::Ambiguous) => {
                ProblemKind::CredentialsAmbiguous
            }
            AuthenticationError::Credential(CredentialError::InUrl) => {
                ProblemKind::RequestMalformed
            }
            AuthenticationError::Credential(
                CredentialError::PrivateKey | CredentialError::Malformed | CredentialError::NoProof,
            )
            | AuthenticationError::Session(_)
            | AuthenticationError::Proof(_)
            | AuthenticationError::Token(GrantError::Unknown) => ProblemKind::CredentialsInvalid,
            AuthenticationError::Token(GrantError::NotYet) => ProblemKind::Overloaded,
            AuthenticationError::Token(GrantError::Expired) => ProblemKind::TokenExpired,
            AuthenticationError::Token(GrantError::Revoked) => ProblemKind::TokenRevoked,
            AuthenticationError::Token(GrantError::TooOften(_)) => ProblemKind::RateLimited,
        };
        let mut problem = Self::new(kind, error.to_string());
        if let AuthenticationError::Proof(_)
        | AuthenticationError::Credential(CredentialError::NoProof) = error
        {
            problem.challenge = Challenge::Proof;
        }
        match error {
            AuthenticationError::Token(GrantError::TooOften(left)) => problem.after(left.into()),
            _ => problem,
        }
    }
}

impl From<CredentialError> for ApiProblem {
    fn from(error: CredentialError) -> Self {
        AuthenticationError::from(error).into()
    }
}

impl From<Denied> for ApiProblem {
    fn from(denied: Denied) -> Self {
        let mut problem = Self::new(ProblemKind::ScopeMissing, denied.to_string());
        if let Denied::Api(scope) = denied {
            problem.challenge = Challenge::Scope(format!("api:{}", scope.name()));
        }
        problem
    }
}

impl From<FieldNotGranted> for ApiProblem {
    fn from(error: FieldNotGranted) -> Self {
        QueryError::from(error).into()
    }
}

impl From<InvalidTerms> for ApiProblem {
    fn from(error: InvalidTerms) -> Self {
        let kind = match &error {
            InvalidTerms::TooLong
            | InvalidTerms::NotAnObject
            | InvalidTerms::Unknown
            | InvalidTerms::Wrong(..) => ProblemKind::RequestMalformed,
            _ => ProblemKind::ScopeInvalid,
        };
        let problem = Self::new(kind, error.to_string());
        match error.scope() {
            Some(at) => problem.with("scopeIndex", json!(at.index)),
            None => problem,
        }
    }
}

impl From<NotKept> for ApiProblem {
    fn from(error: NotKept) -> Self {
        Self::new(ProblemKind::StorageUnreachable, error.to_string())
    }
}

impl From<MintError> for ApiProblem {
    fn from(error: MintError) -> Self {
        let kind = match error {
            MintError::Life => ProblemKind::RequestMalformed,
            MintError::TooMany => ProblemKind::RateLimited,
            MintError::Full => ProblemKind::Overloaded,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<InvalidConsent> for ApiProblem {
    fn from(invalid: InvalidConsent) -> Self {
        Self::new(ProblemKind::ConsentInvalid, invalid.to_string())
    }
}

impl From<ApproveError> for ApiProblem {
    fn from(error: ApproveError) -> Self {
        match error {
            ApproveError::Gone => Self::not_found(),
            ApproveError::Consent(invalid) => invalid.into(),
            ApproveError::Terms(invalid) => invalid.into(),
            ApproveError::Wider(wider) => Self::new(ProblemKind::ScopeInvalid, wider.to_string()),
            ApproveError::Mint(error) => error.into(),
            ApproveError::Session(error) => AuthenticationError::from(error).into(),
        }
    }
}

impl From<QueryError> for ApiProblem {
    fn from(error: QueryError) -> Self {
        let kind = match error {
            QueryError::OverBudget(_) => ProblemKind::Overloaded,
            QueryError::FieldNotGranted(_) => ProblemKind::FieldNotGranted,
            _ => ProblemKind::QueryUnsupported,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<schema::InvalidRecord> for ApiProblem {
    fn from(invalid: schema::InvalidRecord) -> Self {
        let errors = serde_json::to_value(invalid.violations()).unwrap_or_default();
        Self::new(
            ProblemKind::RecordInvalid,
            "the record does not fit its schema",
        )
        .with("success", json!(false))
        .with("errors", errors)
    }
}

impl From<SessionError> for ApiProblem {
    fn from(error: SessionError) -> Self {
        let kind = match error {
            SessionError::Transport(TransportError::Misbehaved | TransportError::TooLarge)
            | SessionError::Behind => ProblemKind::StorageMisbehaved,
            // The session names the storage node: one that may not be contacted is the session's fault.
            SessionError::Transport(TransportError::Denied(_))
            | SessionError::NoStorageNode
            | SessionError::Session(_) => ProblemKind::CredentialsInvalid,
            SessionError::Transport(_) => ProblemKind::StorageUnreachable,
            _ => ProblemKind::StorageRefused,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<VaultError> for ApiProblem {
    fn from(error: VaultError) -> Self {
        let kind = match &error {
            VaultError::NotFound => return Self::not_found(),
            VaultError::Query(error) => return error.clone().into(),
            VaultError::Grant(error) => return AuthenticationError::Token(*error).into(),
            VaultError::Storage(error) => return (*error).into(),
            VaultError::Schema(invalid) => return invalid.clone().into(),
            VaultError::Conflict { current } => {
                let problem = Self::new(ProblemKind::RevisionConflict, error.to_string());
                return match current {
                    Some(rev) => problem.with("currentRev", json!(rev.to_string())),
                    None => problem,
                };
            }
            VaultError::Bulk(invalid) => {
                let errors = invalid.iter().map(|(index, error)| {
                    let mut member = Self::from(error.clone()).into_member();
                    member.insert("index".to_owned(), json!(index));
                    Value::Object(member)
                });
                let errors: Vec<Value> = errors.take(MAX_INVALID).collect();
                return Self::new(ProblemKind::RecordInvalid, error.to_string())
                    .with("success", json!(false))
                    .with("invalid", json!(invalid.len()))
                    .with("errors", errors.into());
            }
            VaultError::Unreadable | VaultError::NothingOpens => ProblemKind::CiphertextRejected,
            // Which nobody sees: `prefer` answers in its place.
            VaultError::Overloaded
            | VaultError::StillLoading
            | VaultError::Watches(TooManyWatches::All) => ProblemKind::Overloaded,
            VaultError::Watches(TooManyWatches::Yours) => ProblemKind::RateLimited,
            VaultError::Receipts(_) => ProblemKind::ReceiptsUnwritable,
            VaultError::TooLarge => ProblemKind::TooLargeForThisNode,
            VaultError::Record(InvalidRecord::TooLarge) => ProblemKind::RequestTooLarge,
            VaultError::Record(_) => ProblemKind::RecordInvalid,
            VaultError::InvalidSession(_) => ProblemKind::CredentialsInvalid,
            VaultError::Acknowledged(_) => ProblemKind::StorageUnreachable,
            VaultError::Pull(_) => ProblemKind::StorageMisbehaved,
            VaultError::LoadTimeout => ProblemKind::Timeout,
            VaultError::Stopped => ProblemKind::Draining,
        };
        Self::new(kind, error.to_string())
    }
}
