//! Refusals as CouchDB words them: a status, a name, a reason.

use std::borrow::Cow;

use serde::Serialize;

use crate::attachment::InvalidAttachment;
use crate::document::InvalidDocument;
use crate::selector::SelectorError;

/// The kinds of refusal, each with one status and one name on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request cannot be understood.
    BadRequest,
    /// The document's id is reserved or malformed.
    IllegalDocumentId,
    /// A special member of the document is wrong.
    DocumentValidation,
    /// A query by an order that no index has.
    NoUsableIndex,
    /// A query without what it needs.
    MissingRequiredKey,
    /// A query with a member that nobody knows.
    InvalidKey,
    /// A bookmark that is none, or another query's.
    InvalidBookmark,
    /// A sort order in two directions.
    UnsupportedMixedSort,
    /// No credential, an expired one, or one that may not write.
    Unauthorized,
    /// A good credential of somebody else.
    Forbidden,
    /// No such database, document or revision.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The revision that the edit builds on is not current.
    Conflict,
    /// An attachment was sent as a stub, and there is nothing that it stands for.
    MissingStub,
    /// What arrived is not what its digest says.
    ContentMd5Mismatch,
    /// An encoding that is not understood.
    BadContentType,
    /// No byte of the range exists.
    RangeNotSatisfiable,
    /// A named limit was exceeded.
    TooLarge,
    /// Our fault.
    Internal,
    /// The server has no room for this request now.
    Unavailable,
    /// The account has used up its storage.
    InsufficientStorage,
}

impl ErrorKind {
    /// The HTTP status.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest
            | Self::IllegalDocumentId
            | Self::DocumentValidation
            | Self::NoUsableIndex
            | Self::MissingRequiredKey
            | Self::InvalidKey
            | Self::InvalidBookmark
            | Self::UnsupportedMixedSort
            | Self::ContentMd5Mismatch => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Conflict => 409,
            Self::MissingStub => 412,
            Self::TooLarge => 413,
            Self::BadContentType => 415,
            Self::RangeNotSatisfiable => 416,
            Self::Internal => 500,
            Self::Unavailable => 503,
            Self::InsufficientStorage => 507,
        }
    }

    /// The `error` member.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::IllegalDocumentId => "illegal_docid",
            Self::DocumentValidation => "doc_validation",
            Self::NoUsableIndex => "no_usable_index",
            Self::MissingRequiredKey => "missing_required_key",
            Self::InvalidKey => "invalid_key",
            Self::InvalidBookmark => "invalid_bookmark",
            Self::UnsupportedMixedSort => "unsupported_mixed_sort",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Conflict => "conflict",
            Self::MissingStub => "missing_stub",
            Self::ContentMd5Mismatch => "content_md5_mismatch",
            Self::BadContentType => "bad_content_type",
            Self::RangeNotSatisfiable => "requested_range_not_satisfiable",
            Self::TooLarge => "too_large",
            Self::Internal => "internal_server_error",
            Self::Unavailable => "service_unavailable",
            Self::InsufficientStorage => "insufficient_storage",
        }
    }
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", .kind.name())]
pub struct CouchError {
    /// Which kind.
    pub kind: ErrorKind,
    /// One sentence for a person.
    pub reason: Cow<'static, str>,
}

impl CouchError {
    /// A refusal of this kind for this reason.
    pub const fn new(kind: ErrorKind, reason: &'static str) -> Self {
        Self {
            kind,
            reason: Cow::Borrowed(reason),
        }
    }

    /// The request cannot be understood.
    pub const fn bad_request(reason: &'static str) -> Self {
        Self::new(ErrorKind::BadRequest, reason)
    }

    /// The edit does not build on a current revision.
    pub const fn conflict() -> Self {
        Self::new(ErrorKind::Conflict, "Document update conflict.")
    }

    /// No such document or revision.
    pub const fn missing() -> Self {
        Self::new(ErrorKind::NotFound, "missing")
    }

    /// The document was deleted.
    pub const fn deleted() -> Self {
        Self::new(ErrorKind::NotFound, "deleted")
    }

    /// The bookmark is none, or another query's.
    pub const fn invalid_bookmark() -> Self {
        Self::new(ErrorKind::InvalidBookmark, "Invalid bookmark value.")
    }

    /// No such database.
    pub const fn no_database() -> Self {
        Self::new(ErrorKind::NotFound, "Database does not exist.")
    }

    /// The body: `{"error":…,"reason":…}`.
    pub fn to_json(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Body<'a> {
            error: &'a str,
            reason: &'a str,
        }
        // Two texts always have a JSON form.
        serde_json::to_vec(&Body {
            error: self.kind.name(),
            reason: &self.reason,
        })
        .unwrap_or_default()
    }
}

impl From<InvalidDocument> for CouchError {
    fn from(invalid: InvalidDocument) -> Self {
        match invalid {
            InvalidDocument::NotAnObject => Self::bad_request("Document must be a JSON object"),
            InvalidDocument::Id(id) => Self {
                kind: ErrorKind::IllegalDocumentId,
                reason: id.to_string().into(),
            },
            InvalidDocument::Rev => Self::bad_request("Invalid rev format"),
            InvalidDocument::Revisions => Self::bad_request("Invalid _revisions"),
            InvalidDocument::Deleted => Self::bad_request("`_deleted` must be a boolean"),
            InvalidDocument::Attachments(invalid) => invalid.into(),
            InvalidDocument::UnknownMember => {
                Self::new(ErrorKind::DocumentValidation, "Bad special document member")
            }
        }
    }
}

impl From<SelectorError> for CouchError {
    fn from(invalid: SelectorError) -> Self {
        let kind = match invalid {
            SelectorError::TooLong
            | SelectorError::TooDeep
            | SelectorError::TooManyTerms
            | SelectorError::PathTooLong => ErrorKind::TooLarge,
            SelectorError::NotJson
            | SelectorError::NotAnObject
            | SelectorError::UnknownOperator(_)
            | SelectorError::WrongOperand(..)
            | SelectorError::Pattern(_) => ErrorKind::BadRequest,
        };
        Self {
            kind,
            reason: invalid.to_string().into(),
        }
    }
}

impl From<InvalidAttachment> for CouchError {
    fn from(invalid: InvalidAttachment) -> Self {
        let kind = match invalid {
            InvalidAttachment::TooMany => ErrorKind::TooLarge,
            InvalidAttachment::Shape
            | InvalidAttachment::Name
            | InvalidAttachment::Twice
            | InvalidAttachment::ContentType
            | InvalidAttachment::Digest
            | InvalidAttachment::Data
            | InvalidAttachment::Encoding
            | InvalidAttachment::NoContent => ErrorKind::BadRequest,
        };
        Self {
            kind,
            reason: invalid.to_string().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_couchdbs_shape() {
        assert_eq!(
            CouchError::conflict().to_json(),
            br#"{"error":"conflict","reason":"Document update conflict."}"#
        );
        assert_eq!(CouchError::conflict().kind.status(), 409);
    }
}
