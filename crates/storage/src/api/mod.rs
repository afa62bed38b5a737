//! What requests mean: one answer for each address and method, in the dialect of its side.

mod asked;
mod attachments;
mod bulk;
mod bulk_docs;
mod bulk_get;
mod coding;
pub(crate) mod contents;
mod copy;
mod did;
mod did_registry;
mod documents;
mod find;
mod incoming;
mod lists;
mod local_docs;
mod maintenance;
mod missing_revs;
mod multipart;
mod open_revs;
mod parsed;
mod passing;
pub(crate) mod pieces;
pub(crate) mod read;
mod repeats;
mod replication_creds;
pub(crate) mod reply;
pub mod route;
mod session;
mod status;
mod user;

use std::sync::Arc;
use std::time::Instant;

use adyton_couch::wire::{CouchError, ErrorKind};
use adyton_protocol::did::Network;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use tokio::sync::watch;

use self::asked::{Asked, Head};
pub(crate) use self::coding::Coder;
pub(crate) use self::documents::info;
use self::reply::Reply;
use self::route::{Endpoint, Route};
use crate::access::Permit;
use crate::auth::Auth;
use crate::clock::Clock;
use crate::config::Limits;
use crate::did_documents::DidDocuments;
use crate::directory::Directory;
use crate::fair_share::FairShare;
use crate::finds::Finds;
use crate::identity::Identity;
use crate::keeper::Keeper;
use crate::metrics::Metrics;
use crate::node_keys::NodeKeys;
use crate::outgoing_resolution::OutgoingResolution;
use crate::records::Records;
use crate::replicate::{News, Standing};
use crate::server::body::BodyBudget;
use crate::server::line::{Holding, Line, Lines, TooManyLines};
use crate::store::node::NodeStore;
use crate::throttle::{CallerKey, Proxy, Throttle, TooMany};

/// Everything that answering takes.
pub(crate) struct App {
    pub(crate) limits: Limits,
    pub(crate) public_url: String,
    /// Where clients find the databases: here, or at a CouchDB that they reach directly.
    pub(crate) host: String,
    pub(crate) uuid: String,
    pub(crate) clock: Clock,
    pub(crate) identity: Identity,
    pub(crate) node: NodeStore,
    pub(crate) auth: Auth,
    pub(crate) databases: Keeper,
    pub(crate) records: Records,
    pub(crate) did_documents: DidDocuments,
    pub(crate) resolver: Arc<OutgoingResolution>,
    /// The registrations, when this node is a directory.
    pub(crate) directory: Option<Directory>,
    pub(crate) bodies: Arc<BodyBudget>,
    /// What makes this node replicate.
    pub(crate) news: News,
    /// Which other nodes cannot be replicated to at present.
    pub(crate) standing: Standing,
    /// Makes the passwords that other nodes know this one by.
    pub(crate) peer_key: [u8; 32],
    /// The way to other nodes.
    pub(crate) node_keys: NodeKeys,
    pub(crate) network: Network,
    pub(crate) throttle: Throttle,
    /// Versions of DID documents, and registrations.
    pub(crate) did_writes: Throttle,
    pub(crate) proxy: Proxy,
    pub(crate) metrics: Metrics,
    /// Queries, and feeds by selector, that look through documents at one time; the others wait.
    pub(crate) finds: Finds,
    /// Answers that are told compressed.
    pub(crate) coder: Coder,
    /// Connections, by those who have requests on them.
    pub(crate) lines: Lines,
    /// Feeds that wait for changes.
    pub(crate) feeds: FairShare<CallerKey>,
    /// Becomes true when the node goes down: feeds end.
    pub(crate) stop: watch::Receiver<bool>,
}

impl App {
    /// Answers one request. Never fails: whatever goes wrong is an answer.
    pub(crate) async fn answer(self: Arc<Self>, request: Request<Incoming>, line: &Line) -> Reply {
        let began = Instant::now();
        let (head, body) = request.into_parts();
        let route = Route::parse(head.uri.path());
        let endpoint = route.endpoint();
        let origin = head.headers.get(header::ORIGIN).cloned();
        let preflight = head.method == Method::OPTIONS;
        let bodiless = head.method == Method::HEAD;
        let method = match bodiless {
            true => Method::GET,
            false => head.method.clone(),
        };
        let head = Head::of(&self, head, method, line.peer());
        let now = self.clock.unix_millis();
        let mut reply = match self.throttle.take(head.caller.clone(), now) {
            Ok(()) if preflight => preflight_reply(&head.headers),
            Ok(()) => match self.lines.enter(line, &head.caller, &self.proxy) {
                Ok(hold) => {
                    let asked = Asked::new(head, body);
                    let held = (line.begin(), hold);
                    let reply = Arc::clone(&self).dispatch(route, asked).await;
                    reply.map(|body| Holding::new(body, held).boxed_unsync())
                }
                Err(refusal) => refusal.reply(&route),
            },
            Err(refusal) => {
                self.metrics.throttled();
                refusal.reply(&route)
            }
        };
        if let (StatusCode::METHOD_NOT_ALLOWED, Some(methods)) =
            (reply.status(), endpoint.methods())
        {
            let methods = HeaderValue::from_static(methods);
            reply.headers_mut().insert(header::ALLOW, methods);
        }
        if let Some(origin) = origin {
            allow_origin(reply.headers_mut(), origin);
        }
        if bodiless {
            let (head, _body) = reply.into_parts();
            let nothing = Empty::new().map_err(|never| match never {}).boxed_unsync();
            reply = Response::from_parts(head, nothing);
        }
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.metrics.answered(endpoint, reply.status(), micros);
        reply
    }

    /// The counters, for the operator's listener.
    pub(crate) async fn metrics_text(&self) -> Reply {
        match self.records.account_count().await {
            Ok(accounts) => {
                let text = self.metrics.text(accounts);
                reply::bytes(
                    StatusCode::OK,
                    "text/plain; version=0.0.4; charset=utf-8",
                    text,
                )
            }
            Err(error) => reply::fault(&error),
        }
    }

    async fn dispatch(self: Arc<Self>, route: Route, asked: Asked) -> Reply {
        if let (Some(couch), Some(hash)) = (self.databases.couch(), route.database()) {
            let couch = Arc::clone(couch);
            return self.pass(couch, hash, route, asked).await;
        }
        match route {
            Route::Plain(endpoint) => self.plain(endpoint, asked).await,
            Route::Did(endpoint, did) => self.did(endpoint, &did, asked).await,
            Route::Database(endpoint, hash) => self.in_database(endpoint, hash, asked).await,
            Route::Document(Endpoint::Local, hash, id) => self.local(hash, id, asked).await,
            Route::Attachment(hash, id, name) => self.attachment(hash, id, name, asked).await,
            Route::Document(_, hash, id) => self.document(hash, id, asked).await,
            Route::Index(hash, design, name) => self.index(hash, &design, &name, asked).await,
            Route::Invalid(endpoint, hash) => match asked.admit(&self, hash).await {
                Ok(_) => reply::couch_error(&match endpoint {
                    Endpoint::Document => {
                        CouchError::new(ErrorKind::IllegalDocumentId, "The document id is not one.")
                    }
                    _ => CouchError::bad_request("The address is no text."),
                }),
                Err(error) => reply::couch_failure(&error),
            },
            Route::NoDatabase => {
                let now = self.clock.unix_seconds();
                let principal = asked.head.principal().cloned();
                match principal.and_then(|principal| Permit::grant(principal, None, now)) {
                    Ok(_) => reply::couch_error(&CouchError::no_database()),
                    Err(refusal) => reply::couch_error(&refusal),
                }
            }
        }
    }

    async fn plain(self: Arc<Self>, endpoint: Endpoint, asked: Asked) -> Reply {
        let method = asked.head.method.clone();
        match (endpoint, method) {
            (Endpoint::Status, Method::GET) => self.status().await,
            (Endpoint::Public, Method::GET) => self.public(),
            (Endpoint::Welcome, Method::GET) => self.welcome(),
            (Endpoint::Up, Method::GET) => {
                reply::json(StatusCode::OK, &serde_json::json!({"status": "ok"}))
            }
            (Endpoint::Session, Method::GET) => self.couch_session(&asked.head),
            (Endpoint::GenerateAuthJwt, Method::POST) => self.generate_auth_jwt(asked).await,
            (Endpoint::Authenticate, Method::POST) => self.authenticate(asked).await,
            (Endpoint::Connect, Method::POST) => self.connect(asked).await,
            (Endpoint::RegenerateRefreshToken, Method::POST) => self.regenerate(asked).await,
            (Endpoint::IsTokenValid, Method::POST) => self.is_token_valid(asked).await,
            (Endpoint::InvalidateDeviceId, Method::POST) => self.invalidate_device(asked).await,
            (Endpoint::ReplicationCreds, Method::POST) => self.replication_creds(asked).await,
            (
                endpoint @ (Endpoint::RegistryLookup
                | Endpoint::RegistryNonce
                | Endpoint::RegistryRegister
                | Endpoint::RegistryRevoke
                | Endpoint::RegistrySetController),
                _,
            ) => self.did_registry(endpoint, asked).await,
            (Endpoint::ContextHash, Method::POST) => self.context_hash(asked).await,
            (Endpoint::DestroyContext, Method::POST) => self.destroy_context(asked).await,
            (
                Endpoint::CreateDatabase
                | Endpoint::UpdateDatabase
                | Endpoint::DeleteDatabase
                | Endpoint::DeleteDatabases
                | Endpoint::Databases
                | Endpoint::DatabaseInfo
                | Endpoint::Usage
                | Endpoint::PingDatabases
                | Endpoint::CheckReplication,
                Method::POST,
            ) => match asked.recognise(&self) {
                Some(recognised) => self.user_call(endpoint, recognised).await,
                None => reply::unauthorized(),
            },
            _ => self.unknown(&asked.head),
        }
    }

    /// An address that nobody answers: only those with a token learn so much.
    fn unknown(&self, head: &Head) -> Reply {
        match head.user(self) {
            Some(_) => reply::bytes(
                StatusCode::NOT_FOUND,
                "text/html; charset=utf-8",
                "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>Error</title>\n</head>\n<body>\n<pre>Not found</pre>\n</body>\n</html>\n",
            ),
            None => reply::unauthorized(),
        }
    }
}

/// What is said to who asks too much.
const WORDS: &str = "Too many requests";

impl TooMany {
    /// In the dialect of the side that was asked.
    fn reply(self, route: &Route) -> Reply {
        match route {
            Route::Plain(_) | Route::Did(..) => self.middleware_reply(),
            _ => {
                let error = serde_json::json!({"error": "too_many_requests", "reason": WORDS});
                self.timed(reply::json(StatusCode::TOO_MANY_REQUESTS, &error))
            }
        }
    }

    /// In the middleware's dialect.
    fn middleware_reply(self) -> Reply {
        self.timed(reply::fail(StatusCode::TOO_MANY_REQUESTS, WORDS))
    }

    fn timed(self, mut reply: Reply) -> Reply {
        let seconds = HeaderValue::from(self.seconds);
        reply.headers_mut().insert(header::RETRY_AFTER, seconds);
        reply
    }
}

impl TooManyLines {
    /// In the dialect of the side that was asked.
    fn reply(self, route: &Route) -> Reply {
        const WORDS: &str = "You have too many connections.";
        match route {
            Route::Plain(_) | Route::Did(..) => reply::fail(StatusCode::SERVICE_UNAVAILABLE, WORDS),
            _ => reply::couch_error(&CouchError::new(ErrorKind::Unavailable, WORDS)),
        }
    }
}

/// Any page may ask: there are no cookies, so a page has no more rights than its tokens give it.
fn allow_origin(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
        HeaderValue::from_static("true"),
    );
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(
            "etag, content-length, content-range, content-md5, accept-ranges, retry-after",
        ),
    );
    headers.append(header::VARY, HeaderValue::from_static("origin"));
}

fn preflight_reply(asked: &HeaderMap) -> Reply {
    let mut reply = reply::bytes(StatusCode::NO_CONTENT, reply::JSON, "");
    let headers = reply.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE, COPY"),
    );
    headers.insert(
        header::ACCESS_CONTROL_MAX_AGE,
        HeaderValue::from_static("600"),
    );
    if let Some(names) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    reply
}
