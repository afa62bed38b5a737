//! Answers, in the two dialects: CouchDB's and the middleware's.

use adyton_couch::wire::CouchError;
use bytes::Bytes;
use futures_util::Stream;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use serde::Serialize;
use serde_json::{Value, json};

use crate::databases::DatabaseError;
use crate::identity::Identity;
use crate::server::body::BodyRefusal;
use crate::store::StoreError;

/// The body of an answer.
pub(crate) type ReplyBody = UnsyncBoxBody<Bytes, StoreError>;
/// An answer.
pub(crate) type Reply = Response<ReplyBody>;

/// An answer with these bytes.
pub(crate) fn bytes(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Reply {
    let body = Full::new(body.into())
        .map_err(|never| match never {})
        .boxed_unsync();
    with_type(status, kind, body)
}

/// An answer made of pieces that are already in memory.
pub(crate) fn pieces(status: StatusCode, pieces: Vec<Bytes>) -> Reply {
    let length: usize = pieces.iter().map(Bytes::len).sum();
    let frames = pieces.into_iter().map(|piece| Ok(Frame::data(piece)));
    let body = StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync();
    let mut reply = with_type(status, JSON, body);
    reply
        .headers_mut()
        .insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
    reply
}

/// An answer that is made while it is sent. An error cuts the connection, so that nobody takes a part for the whole.
pub(crate) fn stream(
    stream: impl Stream<Item = Result<Bytes, StoreError>> + Send + 'static,
) -> Reply {
    stream_of(JSON, stream)
}

/// The same, in the middleware's dialect.
pub(crate) fn middleware_stream(
    stream: impl Stream<Item = Result<Bytes, StoreError>> + Send + 'static,
) -> Reply {
    stream_of(MIDDLEWARE_JSON, stream)
}

/// The same, of another media type.
pub(crate) fn stream_of(
    kind: &str,
    stream: impl Stream<Item = Result<Bytes, StoreError>> + Send + 'static,
) -> Reply {
    use futures_util::StreamExt;
    let body = StreamBody::new(stream.map(|piece| piece.map(Frame::data))).boxed_unsync();
    let mut reply = Response::new(body);
    // Room for no more than is said: a connection keeps it as long as a feed waits.
    *reply.headers_mut() = HeaderMap::with_capacity(1);
    let kind = HeaderValue::from_str(kind).unwrap_or(HeaderValue::from_static(JSON));
    reply.headers_mut().insert(CONTENT_TYPE, kind);
    reply
}

/// JSON of CouchDB.
pub(crate) const JSON: &str = "application/json";
/// JSON of the middleware.
pub(crate) const MIDDLEWARE_JSON: &str = "application/json; charset=utf-8";

pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    match serde_json::to_vec(value) {
        Ok(body) => bytes(status, JSON, body),
        Err(_) => couch_fault(&StoreError::Corrupt("an answer cannot be written as JSON")),
    }
}

/// A refusal of the data path.
pub(crate) fn couch_error(error: &CouchError) -> Reply {
    let status =
        StatusCode::from_u16(error.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    bytes(status, JSON, error.to_json())
}

/// What everybody is told while a CouchDB that holds the data is not there. Nothing is lost: nothing was acknowledged.
const AWAY: &str = "The databases cannot be reached now.";
const FULL: &str = "The storage node has no room left.";
const PASSING: &str = "The storage node is recovering from a fault of its disk.";
const FAULT: &str = "The storage node could not do its work.";

/// A fault of ours on the data path: said to the log, not to the peer.
pub(crate) fn couch_fault(error: &StoreError) -> Reply {
    use adyton_couch::wire::ErrorKind;
    if let StoreError::Away = error {
        tracing::warn!(%error, "a request failed");
        return couch_error(&CouchError::new(ErrorKind::Unavailable, AWAY));
    }
    tracing::error!(%error, "a request failed");
    let (kind, reason) = match (error.is_full(), error.passes()) {
        (true, _) => (ErrorKind::InsufficientStorage, FULL),
        (false, true) => (ErrorKind::Unavailable, PASSING),
        (false, false) => (ErrorKind::Internal, FAULT),
    };
    couch_error(&CouchError::new(kind, reason))
}

pub(crate) fn couch_failure(error: &DatabaseError) -> Reply {
    match error {
        DatabaseError::Refused(refusal) => couch_error(refusal),
        DatabaseError::Store(fault) => couch_fault(fault),
    }
}

/// The refusal of a body on the data path, in CouchDB's words.
pub(crate) fn couch_refusal(refusal: BodyRefusal) -> CouchError {
    use adyton_couch::wire::ErrorKind;
    let (kind, reason) = match refusal {
        BodyRefusal::TooLarge => (ErrorKind::TooLarge, "the request entity is too large"),
        BodyRefusal::Overloaded => (
            ErrorKind::Unavailable,
            "The server has too many requests in hand.",
        ),
        BodyRefusal::Stalled => (ErrorKind::BadRequest, "The request body stopped arriving."),
        BodyRefusal::Broken => (ErrorKind::BadRequest, "The request body broke off."),
    };
    CouchError::new(kind, reason)
}

/// `{"status":"success", …}`.
pub(crate) fn success(mut members: Value) -> Reply {
    put(&mut members, "status", "success".into());
    middleware(StatusCode::OK, &members)
}

/// `{"status":"success", …, "signature"}`: signed by the node.
pub(crate) fn signed(identity: &Identity, mut members: Value) -> Reply {
    put(&mut members, "status", "success".into());
    match identity.sign_value(&members) {
        Ok(signature) => {
            put(&mut members, "signature", signature.to_string().into());
            middleware(StatusCode::OK, &members)
        }
        Err(_) => fault(&StoreError::Corrupt("an answer cannot be signed")),
    }
}

/// `{"status":"fail","message":…}`.
pub(crate) fn fail(status: StatusCode, message: &str) -> Reply {
    middleware(status, &json!({"status": "fail", "message": message}))
}

/// `{"status":"fail","data":{"did":…}}`, the other shape of the original's refusals.
pub(crate) fn fail_did(status: StatusCode, message: &str) -> Reply {
    middleware(status, &json!({"status": "fail", "data": {"did": message}}))
}

/// `{"status":"fail"}`.
pub(crate) fn fail_bare(status: StatusCode) -> Reply {
    middleware(status, &json!({"status": "fail"}))
}

/// A fault of ours in the middleware: said to the log, not to the peer.
pub(crate) fn fault(error: &StoreError) -> Reply {
    if let StoreError::Away = error {
        tracing::warn!(%error, "a request failed");
        return fail(StatusCode::SERVICE_UNAVAILABLE, AWAY);
    }
    tracing::error!(%error, "a request failed");
    let (status, words) = match (error.is_full(), error.passes()) {
        (true, _) => (StatusCode::INSUFFICIENT_STORAGE, FULL),
        (false, true) => (StatusCode::SERVICE_UNAVAILABLE, PASSING),
        (false, false) => (StatusCode::INTERNAL_SERVER_ERROR, FAULT),
    };
    fail(status, words)
}

/// What the middleware says to everyone without a good token.
pub(crate) fn unauthorized() -> Reply {
    bytes(
        StatusCode::UNAUTHORIZED,
        "text/plain; charset=utf-8",
        "Unauthorized",
    )
}

pub(crate) fn middleware(status: StatusCode, value: &Value) -> Reply {
    bytes(status, MIDDLEWARE_JSON, value.to_string())
}

fn with_type(status: StatusCode, kind: &'static str, body: ReplyBody) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    reply
}

fn put(object: &mut Value, name: &str, value: Value) {
    if let Value::Object(members) = object {
        members.insert(name.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_507_on_both_sides_and_another_fault_is_500() {
        let io = |kind| StoreError::Io(std::io::Error::from(kind));
        for (error, status) in [
            (StoreError::Full, 507),
            (io(std::io::ErrorKind::StorageFull), 507),
            (io(std::io::ErrorKind::QuotaExceeded), 507),
            (io(std::io::ErrorKind::PermissionDenied), 500),
            (StoreError::Aborted, 500),
        ] {
            assert_eq!(couch_fault(&error).status(), status, "{error}");
            assert_eq!(fault(&error).status(), status, "{error}");
        }
    }
}
