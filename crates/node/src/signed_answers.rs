//! Answers are signed when a caller asks for it with `Accept-Signature`: whoever has the node's evidence can prove later
//! what it answered, problems included.
//!
//! Guarantees: what was asked is signed as asked, or refused before anything is done; the digest of the request's body is
//! checked against the body before a handler has all of it; no request header but that digest is in the signed text.
//! An answer that is short enough is signed in its headers, a longer one in trailers while it streams: none is built
//! whole. Refuses to know: what is answered, and who asked.

mod body;

use adyton_attest::signed_answer::{Answered, Asked, Place, content_digest_of, sha256_in};
use adyton_client::clock::Clock;
use adyton_protocol::problem::ProblemKind;
use aws_lc_rs::digest::{Context, SHA256};
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, TE, TRAILER};
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;

use self::body::{Arrived, Trailing, sha256_of};
use crate::api::ApiProblem;
use crate::attestation::NodeKeys;
use crate::authn::{CredentialError, secret_in_url};
use crate::server::Endless;

/// Asks for a signature, RFC 9421 section 5.1.
pub(crate) const ACCEPT_SIGNATURE: HeaderName = HeaderName::from_static("accept-signature");
/// RFC 9530 section 2.
pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
/// RFC 9421 section 4.1.
pub(crate) const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");
/// RFC 9421 section 4.2.
pub(crate) const SIGNATURE: HeaderName = HeaderName::from_static("signature");

/// Up to here an answer is held back until its digest is known; beyond, digest and signature follow it.
const WHOLE: usize = 64 * 1024;

/// What signs.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    pub(crate) keys: NodeKeys,
    pub(crate) clock: Clock,
}

/// The layer around all routes.
pub(crate) async fn sign(signer: Signer, request: Request, next: Next) -> Response {
    if !request.headers().contains_key(ACCEPT_SIGNATURE) {
        return next.run(request).await;
    }
    match Exchange::begin(&signer, &request) {
        Ok(None) => next.run(request).await,
        Ok(Some(exchange)) => {
            let request = match exchange.body_sha256 {
                Some(digest) => request.map(|body| Body::new(Arrived::as_promised(body, digest))),
                None => request,
            };
            let answer = next.run(request).await;
            exchange.finish(answer).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// What of a request is covered by the signature of its answer.
#[derive(Debug)]
struct Exchange {
    signer: Signer,
    asked: Asked,
    method: Method,
    target_uri: String,
    request_digest: Option<String>,
    /// The same, read: what the request's body must have.
    body_sha256: Option<[u8; 32]>,
    takes_trailers: bool,
}

impl Exchange {
    /// Reads what is asked; none if nothing is asked of us.
    fn begin(signer: &Signer, request: &Request) -> Result<Option<Self>, ApiProblem> {
        let headers = request.headers();
        let field = one(headers, &ACCEPT_SIGNATURE)?.unwrap_or_default();
        let asked = Asked::parse(field, &signer.keys.answer_key())
            .map_err(|error| ApiProblem::malformed(error.to_string()))?;
        let Some(asked) = asked else { return Ok(None) };
        if request.method() == Method::HEAD {
            let detail = "an answer without its body is not signed: ask with GET";
            return Err(ApiProblem::malformed(detail));
        }
        let digest = one(headers, &CONTENT_DIGEST)?;
        let body_sha256 = match digest {
            Some(field) => Some(sha256_in(field).ok_or_else(|| {
                ApiProblem::malformed("content-digest has no sha-256 (rfc 9530 section 2)")
            })?),
            None if request.body().is_end_stream() => None,
            None => {
                let detail = "a signed answer to a body needs its content-digest with sha-256";
                return Err(ApiProblem::malformed(detail));
            }
        };
        if request.body().is_end_stream()
            && body_sha256.is_some_and(|digest| digest != sha256_of(b""))
        {
            let detail = "content-digest is not that of the request's body";
            return Err(ApiProblem::malformed(detail));
        }
        Ok(Some(Self {
            signer: signer.clone(),
            asked,
            method: request.method().clone(),
            target_uri: target_uri(request)?,
            request_digest: digest.map(str::to_owned),
            body_sha256,
            takes_trailers: takes_trailers(headers),
        }))
    }

    /// Signs an answer: at its head if it is short, else behind it.
    async fn finish(self, answer: Response) -> Response {
        if answer.extensions().get::<Endless>().is_some() {
            let detail = "an answer without end is not signed: ask without accept-signature";
            let problem = ApiProblem::malformed(detail);
            return Box::pin(self.finish(problem.into_response())).await;
        }
        let (mut head, mut body) = answer.into_parts();
        let mut digest = Context::new(&SHA256);
        let mut held: Vec<Bytes> = Vec::new();
        let mut bytes = 0;
        loop {
            match body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        bytes += data.len();
                        digest.update(&data);
                        held.push(data);
                    }
                }
                None => break,
                // Broken off: the caller sees that it is not whole, and nothing vouches for it.
                Some(Err(error)) => return broken(head, held, error),
            }
            if bytes > WHOLE {
                return if self.takes_trailers {
                    self.stream(head, held, body, digest)
                } else {
                    let detail = format!(
                        "answers of more than {WHOLE} bytes are signed in trailers: send te: trailers, or ask for less"
                    );
                    let problem = ApiProblem::new(ProblemKind::ResultTooLarge, detail);
                    // Short: it is signed at its head.
                    Box::pin(self.finish(problem.into_response())).await
                };
            }
        }
        let content_type = head.headers.get(CONTENT_TYPE);
        let fields = self.fields(head.status, content_type, Place::Headers, digest);
        let Some(fields) = fields else {
            return cannot_sign();
        };
        head.headers.extend(fields);
        let body = match <[Bytes; 1]>::try_from(held) {
            Ok([whole]) => Body::from(whole),
            Err(pieces) => body::pieces(pieces),
        };
        Response::from_parts(head, body)
    }

    /// The same for an answer whose end is not known yet.
    fn stream(self, mut head: Parts, held: Vec<Bytes>, rest: Body, digest: Context) -> Response {
        head.headers.remove(CONTENT_LENGTH);
        let announced = HeaderValue::from_static("content-digest, signature-input, signature");
        head.headers.insert(TRAILER, announced);
        let (status, content_type) = (head.status, head.headers.get(CONTENT_TYPE).cloned());
        let end = move |digest| self.fields(status, content_type.as_ref(), Place::Trailers, digest);
        Response::from_parts(head, Body::new(Trailing::new(held, rest, digest, end)))
    }

    /// Digest and signature of an answer.
    fn fields(
        &self,
        status: StatusCode,
        content_type: Option<&HeaderValue>,
        place: Place,
        digest: Context,
    ) -> Option<HeaderMap> {
        let digest = digest.finish().as_ref().try_into().ok()?;
        let digest = content_digest_of(&digest);
        let content_type = match content_type {
            Some(value) => Some(value.to_str().ok()?),
            None => None,
        };
        let answered = Answered {
            method: self.method.as_str(),
            target_uri: &self.target_uri,
            request_digest: self.request_digest.as_deref(),
            status: status.as_u16(),
            content_type,
            content_digest: &digest,
            place,
        };
        let Signer { keys, clock } = &self.signer;
        let to_be_signed = answered.to_be_signed(&self.asked, clock.now(), &keys.answer_key())?;
        let signature = keys.sign(to_be_signed.base())?;
        let (input, signature) = to_be_signed.fields(&signature);
        let fields = [
            (CONTENT_DIGEST, digest),
            (SIGNATURE_INPUT, input),
            (SIGNATURE, signature),
        ];
        fields
            .into_iter()
            .map(|(name, value)| Some((name, HeaderValue::try_from(value).ok()?)))
            .collect()
    }
}

/// RFC 9421 section 2.2.2: scheme, authority, path and query, as the caller meant them.
fn target_uri(request: &Request) -> Result<String, ApiProblem> {
    let uri = request.uri();
    if secret_in_url(uri) {
        return Err(CredentialError::InUrl.into());
    }
    let authority = match uri.authority() {
        Some(authority) => authority.as_str(),
        None => one(request.headers(), &HOST)?.unwrap_or_default(),
    };
    if authority.is_empty() || authority.contains('@') {
        let detail = "a signed answer needs the host that was asked, without a name before it";
        return Err(ApiProblem::malformed(detail));
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Ok(format!("https://{authority}{path}"))
}

/// RFC 9110 section 6.5.1. Exactly this value: with any other, the HTTP/1.1 side would leave the trailers out.
fn takes_trailers(headers: &HeaderMap) -> bool {
    headers.get(TE).is_some_and(|value| value == "trailers")
}

/// The one value of a header.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, ApiProblem> {
    let mut values = headers.get_all(name).iter();
    let malformed = || ApiProblem::malformed(format!("send {name} once, in ascii"));
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| malformed()),
        (Some(_), Some(_)) => Err(malformed()),
    }
}

/// What came before it broke, and the break.
fn broken(head: Parts, held: Vec<Bytes>, error: axum::Error) -> Response {
    let pieces = held.into_iter().map(Ok).chain([Err(error)]);
    Response::from_parts(head, Body::from_stream(futures_util::stream::iter(pieces)))
}

/// An unsigned answer would be taken for an older node's.
fn cannot_sign() -> Response {
    let detail = "the answer cannot be signed";
    ApiProblem::new(ProblemKind::Internal, detail).into_response()
}
