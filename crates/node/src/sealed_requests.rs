//! `POST /.well-known/ohttp-gateway`: a whole request, encrypted to the attested key, and its answer, encrypted back.
//! For clients that cannot look at the TLS key they talk to; RFC 9458 without a relay, at the place of RFC 9540.
//!
//! Guarantees: what is inside goes through the same router, with the same checks, as what comes openly; credentials,
//! paths and data are inside; a request that may change something is taken once. The key is nowhere to be fetched but in
//! evidence. Refuses to know: who sends, and what is asked.

mod replays;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::SystemTime;

use adyton_client::clock::Clock;
use adyton_client::sealed_exchange::{
    AnswerSecret, REQUEST_TYPE, RESPONSE_TYPE, read_request, write_response,
};
use adyton_protocol::problem::ProblemKind;
use aws_lc_rs::rand;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HOST, TE};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tower::ServiceExt as _;

use self::replays::{NotTaken, Replays};
use crate::api::ApiProblem;
use crate::attestation::NodeKeys;
use crate::memory::{Budget, QueryError, Reservation};
use crate::server::Endless;

/// Where sealed requests are taken.
pub(crate) const PATH: &str = "/.well-known/ohttp-gateway";

/// Room for the head of the inner request, beside its body.
const HEAD_BYTES: usize = 64 * 1024;

/// Copies of a message that are held at once: sealed, opened, and as the inner body.
const COPIES: usize = 3;

/// A sealed answer is given away in pieces of so many bytes.
const PIECE: usize = 64 * 1024;

/// What the route needs.
#[derive(Debug)]
pub(crate) struct Gateway {
    keys: NodeKeys,
    clock: Clock,
    /// Everything but this route.
    router: Router,
    replays: Replays,
    bodies: Budget,
    /// Longest inner body, either way.
    body_bytes: usize,
}

impl Gateway {
    pub(crate) fn new(
        keys: NodeKeys,
        clock: Clock,
        router: Router,
        bodies: Budget,
        body_bytes: usize,
    ) -> Arc<Self> {
        let replays = Replays::new(clock.now());
        Arc::new(Self {
            keys,
            clock,
            router,
            replays,
            bodies,
            body_bytes,
        })
    }

    /// Opens, asks inside, seals. An error is for whoever sent it, in the open: it says nothing of what is inside.
    async fn exchange(&self, request: Request) -> Result<Response, ApiProblem> {
        let (message, room) = self.read(request).await?;
        let opened = self.keys.open(&message).map_err(|_| {
            ApiProblem::malformed(
                "this cannot be opened with the node's key: ask for evidence again",
            )
        })?;
        let (request, secret) = opened;
        let (answer, answer_room) = self.inside(request, &secret).await;
        drop(room);
        let answer = write_response(answer.status(), answer.headers(), answer.body());
        let sealed = self.seal(secret, answer).ok_or_else(cannot_seal)?;
        let kind = HeaderValue::from_static(RESPONSE_TYPE);
        Ok(([(CONTENT_TYPE, kind)], counted(sealed, answer_room)).into_response())
    }

    async fn read(&self, request: Request) -> Result<(Vec<u8>, Reservation), ApiProblem> {
        if !is_sealed(request.headers()) {
            let detail = format!("send a request of the type {REQUEST_TYPE}");
            return Err(ApiProblem::malformed(detail));
        }
        let limit = self.body_bytes + HEAD_BYTES;
        let mut room = self.bodies.reserve(0).map_err(QueryError::from)?;
        let mut body = Limited::new(request.into_body(), limit);
        let mut message = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| match error.is::<LengthLimitError>() {
                true => too_large(ProblemKind::RequestTooLarge, limit),
                false => ApiProblem::malformed("the request body could not be read"),
            })?;
            if let Ok(data) = frame.into_data() {
                let more = room.bytes() + COPIES * data.len();
                room.resize(more).map_err(QueryError::from)?;
                message.extend_from_slice(&data);
            }
        }
        Ok((message, room))
    }

    /// What is inside, asked and answered; with what covers the answer.
    async fn inside(
        &self,
        message: Bytes,
        secret: &AnswerSecret,
    ) -> (http::Response<Bytes>, Option<Reservation>) {
        let answer = match self.unpack(message, secret) {
            Ok(request) => {
                let answer = match self.router.clone().oneshot(request).await {
                    Ok(answer) => answer,
                    Err(never) => match never {},
                };
                if answer.extensions().get::<Endless>().is_some() {
                    let detail = "an answer without end cannot be sealed";
                    Err(ApiProblem::malformed(detail))
                } else {
                    if answer.status() == StatusCode::UNAUTHORIZED {
                        self.replays.forget(secret.enc());
                    }
                    self.whole(answer).await
                }
            }
            Err(problem) => Err(problem),
        };
        match answer {
            Ok((answer, room)) => (answer, Some(room)),
            Err(problem) => {
                let (head, body) = problem.into_response().into_parts();
                let body = body.collect().await.map(|body| body.to_bytes());
                let body = body.unwrap_or_default();
                (http::Response::from_parts(head, body), None)
            }
        }
    }

    /// The inner request, as if it had come openly, if it is new.
    fn unpack(&self, message: Bytes, secret: &AnswerSecret) -> Result<Request, ApiProblem> {
        let request =
            read_request(message).map_err(|error| ApiProblem::malformed(error.to_string()))?;
        if request.uri().scheme_str() != Some("https") {
            let detail = "the request inside must be for https";
            return Err(ApiProblem::malformed(detail));
        }
        if may_change(&request) {
            let (date, now) = (date_of(request.headers()), self.clock.now());
            let taken = self.replays.take(*secret.enc(), date, now);
            taken.map_err(|why| match why {
                NotTaken::Date => ApiProblem::malformed(
                    "a sealed request needs a date within five minutes of the node's clock",
                ),
                NotTaken::Again => ApiProblem::malformed("this sealed request came before"),
                NotTaken::Full => ApiProblem::new(
                    ProblemKind::Overloaded,
                    "no more sealed requests can be remembered now",
                ),
            })?;
        }
        let (mut head, body) = request.into_parts();
        let authority = head
            .uri
            .authority()
            .map_or("", |authority| authority.as_str());
        let host = HeaderValue::from_str(authority);
        let host = host.map_err(|_| ApiProblem::malformed("the authority inside is malformed"))?;
        head.headers.insert(HOST, host);
        // Nobody inside takes trailers: answers come whole.
        head.headers.remove(TE);
        let path = head.uri.path_and_query().cloned();
        head.uri = path.map(Uri::from).unwrap_or_default();
        Ok(Request::from_parts(head, Body::from(body)))
    }

    /// An answer with its whole body, if it is short enough to be sealed in one piece.
    async fn whole(
        &self,
        answer: Response,
    ) -> Result<(http::Response<Bytes>, Reservation), ApiProblem> {
        let (head, mut body) = answer.into_parts();
        let mut room = self.bodies.reserve(0).map_err(QueryError::from)?;
        let mut whole = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| cannot_seal())?;
            if let Ok(data) = frame.into_data() {
                if whole.len() + data.len() > self.body_bytes {
                    return Err(too_large(ProblemKind::ResultTooLarge, self.body_bytes));
                }
                let more = room.bytes() + COPIES * data.len();
                room.resize(more).map_err(QueryError::from)?;
                whole.extend_from_slice(&data);
            }
        }
        Ok((http::Response::from_parts(head, whole.into()), room))
    }

    fn seal(&self, secret: AnswerSecret, answer: Vec<u8>) -> Option<Vec<u8>> {
        let mut nonce = vec![0; secret.nonce_bytes()];
        rand::fill(&mut nonce).ok()?;
        secret.seal(answer, &nonce).ok()
    }
}

/// The route.
pub(crate) async fn open(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    gateway
        .exchange(request)
        .await
        .unwrap_or_else(IntoResponse::into_response)
}

/// A body that takes room until it is given away.
fn counted(sealed: Vec<u8>, room: Option<Reservation>) -> Body {
    let mut rest = Bytes::from(sealed);
    let pieces = std::iter::from_fn(move || {
        let _held = &room;
        let piece = rest.split_to(rest.len().min(PIECE));
        (!piece.is_empty()).then_some(Ok::<_, Infallible>(piece))
    });
    Body::from_stream(stream::iter(pieces))
}

fn is_sealed(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case(REQUEST_TYPE))
}

/// Without a credential nothing is changed, and with a safe method neither (RFC 9110 section 9.2.1).
fn may_change(request: &http::Request<Bytes>) -> bool {
    let headers = request.headers();
    let credential = headers.contains_key(AUTHORIZATION) || headers.contains_key("x-api-key");
    let safe = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    credential && !safe
}

/// RFC 9110 section 6.6.1.
fn date_of(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()
}

fn too_large(kind: ProblemKind, limit: usize) -> ApiProblem {
    ApiProblem::new(kind, format!("a sealed message has at most {limit} bytes"))
}

fn cannot_seal() -> ApiProblem {
    ApiProblem::new(ProblemKind::Internal, "the answer cannot be sealed")
}
