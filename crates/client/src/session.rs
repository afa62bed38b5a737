//! An open session: one context on its storage nodes, with keys and tokens.

use std::time::{Duration, SystemTime};

use adyton_keys::context_session::{ContextSession, InvalidSession, NodeAuth};
use adyton_keys::keyring::Keyring;
use adyton_protocol::context::ContextName;
use adyton_protocol::database::{DatabaseHash, DatabaseName};
use adyton_protocol::did::Did;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::ack::Ack;
use crate::clock::Clock;
use crate::database::Database;
use crate::endpoint::Endpoint;
use crate::health::Rank;
use crate::nodes::{Nodes, Said};
use crate::ping::Pings;
use crate::transport::{Answer, Call, Patience, Transport, TransportError};

/// How long an access token is used. Nodes give it 600 s.
const ACCESS_TOKEN_LIFE: Duration = Duration::from_secs(540);
/// A request or an answer that is longer tells how long it is, and not how near the node is.
const MEASURED_BYTES: usize = 64 * 1024;
/// The active endpoint changes with the hour (`spec/protocol.md` §10.5).
const ENDPOINT_TURN_SECONDS: u64 = 3600;

/// The storage side of a session does not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// No usable answer.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The refresh token is expired or revoked: the owner must log in again.
    #[error("the storage node no longer accepts this session")]
    Expired,
    /// The node refused.
    #[error("the storage node refused the request with status {status}")]
    Refused {
        /// Its HTTP status.
        status: u16,
    },
    /// The session's keys cannot be derived.
    #[error(transparent)]
    Session(#[from] InvalidSession),
    /// The session names no storage node with a token for it.
    #[error("the session has no storage node to use")]
    NoStorageNode,
    /// A node acknowledged something in this session that none that answers has: it is behind, or it lied.
    #[error("no storage node that answers has what one of them acknowledged before")]
    Behind,
}

/// One user's one context, open for work.
#[derive(Debug)]
pub struct Session {
    did: Did,
    context: ContextName,
    keyring: Keyring,
    nodes: Nodes,
    pings: Pings,
    clock: Clock,
}

impl Session {
    /// Opens a session: picks the storage node that is active this hour, or the next one that answers,
    /// and gets an access token. Nothing else is sent. Writes are acknowledged as [`Ack::usual`] says.
    ///
    /// It has connections of its own, which end with it: nothing of one user waits in a buffer that serves another one.
    pub async fn open(
        session: &ContextSession,
        transport: Transport,
        clock: Clock,
    ) -> Result<Self, SessionError> {
        let transport = transport.with_own_connections();
        let named = &session.config().services.database_server.endpoint_uri;
        let links: Vec<NodeLink> = named
            .iter()
            .filter_map(|url| NodeLink::new(url, session, &transport, &clock))
            .collect();
        if links.is_empty() {
            return Err(SessionError::NoStorageNode);
        }
        let keyring = session.keyring()?;
        let turn = active_turn(clock.now(), links.len());
        let mut nodes = Nodes::new(links, named.len(), turn);
        let connect = |link| async move {
            let connecting = NodeLink::renew(link);
            connecting.await.map(|_| Said::Surely(()))
        };
        let (home, ()) = nodes.ask(nodes.writers(), connect).await?;
        nodes.set_home(home);
        Ok(Self {
            did: session.did().clone(),
            context: session.context().clone(),
            keyring,
            nodes,
            pings: Pings::default(),
            clock,
        })
    }

    /// The same session, whose writes must have reached so many nodes.
    #[must_use]
    pub fn with_ack(mut self, ack: Ack) -> Self {
        self.nodes.set_ack(ack);
        self
    }

    /// The owner.
    pub fn did(&self) -> &Did {
        &self.did
    }

    /// The context.
    pub fn context(&self) -> &ContextName {
        &self.context
    }

    /// The context's keys.
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The time.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn patience(&self) -> Patience {
        let home = self.nodes.home();
        home.map(|home| home.transport.patience())
            .unwrap_or_default()
    }

    /// An own encrypted database. Nothing is sent yet.
    pub fn database(&self, name: &DatabaseName) -> Database<'_> {
        Database::new(self, name.clone())
    }

    /// Whether the context lies on other nodes, too, that this session can use.
    pub fn has_other_nodes(&self) -> bool {
        self.nodes.are_many()
    }

    /// The node whose feeds are followed does not work: sessions that are opened next begin with another one.
    pub fn give_up_home(&self) {
        if let Some(home) = self.nodes.home() {
            home.gave_up();
        }
    }

    /// The storage nodes.
    pub(crate) fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    /// A node was used for a database.
    pub(crate) fn used(&self, link: &NodeLink, database: DatabaseHash) {
        if self.nodes.are_named_many()
            && let Some(link) = self.nodes.shared(link)
        {
            self.pings.used(link, database);
        }
    }

    /// The node whose feeds are followed.
    pub(crate) fn home(&self) -> Result<&NodeLink, SessionError> {
        self.nodes.home().ok_or(SessionError::NoStorageNode)
    }
}

/// Which of `n` endpoints is active at this time.
fn active_turn(now: SystemTime, n: usize) -> usize {
    let seconds = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    usize::try_from(seconds / ENDPOINT_TURN_SECONDS).unwrap_or(0) % n.max(1)
}

/// A storage node with the tokens for it.
pub(crate) struct NodeLink {
    transport: Transport,
    endpoint: Endpoint,
    did: String,
    context: String,
    refresh_token: Zeroizing<String>,
    access: Mutex<Option<Access>>,
    clock: Clock,
}

#[derive(Debug, Clone)]
struct Access {
    token: Zeroizing<String>,
    host: Endpoint,
    good_until: SystemTime,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Connected {
    access_token: String,
    host: String,
}

impl NodeLink {
    /// The link to the node at `url`, if the session has a token for it, or else for its host (ports are ignored, as
    /// the protocol says; but a token of another node that the context names is that node's alone).
    fn new(
        url: &str,
        session: &ContextSession,
        transport: &Transport,
        clock: &Clock,
    ) -> Option<Self> {
        let endpoint: Endpoint = url.parse().ok()?;
        let known = |auth: &NodeAuth| auth.endpoint_uri.parse::<Endpoint>().ok();
        let is_its = |auth: &&NodeAuth| known(auth).as_ref() == Some(&endpoint);
        let named = &session.config().services.database_server.endpoint_uri;
        let is_its_hosts = |auth: &&NodeAuth| {
            known(auth).is_some_and(|known| {
                let mut named = named.iter().filter_map(|url| url.parse().ok());
                known.host() == endpoint.host() && !named.any(|named: Endpoint| named == known)
            })
        };
        let auth = session.auths().find(is_its);
        let auth = auth.or_else(|| session.auths().find(is_its_hosts))?;
        Some(Self {
            transport: transport.clone(),
            endpoint,
            did: session.did().as_given().to_owned(),
            context: session.context().as_str().to_owned(),
            refresh_token: Zeroizing::new(auth.refresh_token.clone()),
            access: Mutex::new(None),
            clock: clock.clone(),
        })
    }

    /// Gets a new access token with the refresh token (§9.3).
    async fn renew(&self) -> Result<Access, SessionError> {
        self.told(Instant::now(), self.connect().await)
    }

    async fn connect(&self) -> Result<Access, SessionError> {
        let body = json!({
            "refreshToken": *self.refresh_token, "did": self.did, "contextName": self.context,
        });
        let call = Call::json(http::Method::POST, &self.endpoint, "auth/connect", &body);
        let answer = self.transport.send(call).await?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED => return Err(SessionError::Expired),
            other => {
                return Err(SessionError::Refused {
                    status: other.as_u16(),
                });
            }
        }
        let connected: Connected = answer.json()?;
        let host: Endpoint = connected
            .host
            .parse()
            .map_err(|_| TransportError::Misbehaved)?;
        // The node chose this address, not the session: one that may not be contacted is its fault.
        self.transport
            .check(&host)
            .map_err(|_| TransportError::Misbehaved)?;
        let access = Access {
            token: Zeroizing::new(connected.access_token),
            host,
            good_until: self.clock.now() + ACCESS_TOKEN_LIFE,
        };
        *self.access.lock().await = Some(access.clone());
        Ok(access)
    }

    /// A token that is good now.
    async fn access(&self) -> Result<Access, SessionError> {
        let held = self.access.lock().await.clone();
        match held {
            Some(access) if access.good_until > self.clock.now() => Ok(access),
            _ => self.renew().await,
        }
    }

    /// Sends a request to the node's databases, renewing the token once when it is refused.
    pub(crate) async fn send(&self, request: NodeRequest<'_>) -> Result<Answer, SessionError> {
        let access = self.access().await?;
        let answer = self.send_with(&request, &access).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let renewed = self.renew().await?;
        self.send_with(&request, &renewed).await
    }

    async fn send_with(
        &self,
        request: &NodeRequest<'_>,
        access: &Access,
    ) -> Result<Answer, SessionError> {
        let begun = Instant::now();
        let answer = self.transport.send(request.call(access)).await;
        let long = |body: &bytes::Bytes| body.len() > MEASURED_BYTES;
        match answer {
            // The node answers, and does not work. (507 is an account that is full.)
            Ok(answer) if matches!(answer.status.as_u16(), 500 | 502 | 503 | 504) => {
                self.gave_up();
                Ok(answer)
            }
            Ok(answer) if long(&answer.body) || request.json.as_ref().is_some_and(long) => {
                Ok(answer)
            }
            answer => self.told(begun, answer.map_err(SessionError::from)),
        }
    }

    /// Remembers how well the node answered. A refusal tells of who asked and not of the node.
    fn told<T>(&self, begun: Instant, said: Result<T, SessionError>) -> Result<T, SessionError> {
        let (health, now) = (self.transport.health(), Instant::now());
        match &said {
            Ok(_) => health.answered(&self.endpoint, now - begun, now),
            Err(SessionError::Transport(_) | SessionError::Refused { status: 500.. }) => {
                health.failed(&self.endpoint, now);
            }
            Err(_) => {}
        }
        said
    }

    /// Where it stands among others.
    pub(crate) fn rank(&self, now: Instant) -> Rank {
        self.transport.health().rank(&self.endpoint, now)
    }

    /// Whether it failed just now, and is left alone.
    pub(crate) fn rests(&self, now: Instant) -> bool {
        self.rank(now).rests()
    }

    /// After how long another node is asked, too.
    pub(crate) fn lateness(&self, now: Instant) -> Duration {
        self.transport.health().patience(&self.endpoint, now)
    }

    /// It took longer than is bearable, or does not work.
    pub(crate) fn gave_up(&self) {
        let health = self.transport.health();
        health.failed(&self.endpoint, Instant::now());
    }

    /// It was not waited for any longer.
    pub(crate) fn outrun(&self, waited: Duration) {
        let health = self.transport.health();
        // Who was stopped because others were faster is no slower for that.
        if waited >= self.lateness(Instant::now()) {
            health.outrun(&self.endpoint, waited, Instant::now());
        }
    }

    /// Like [`NodeLink::send`], for an answer that is read as it arrives.
    pub(crate) async fn open_answer(
        &self,
        request: NodeRequest<'_>,
    ) -> Result<http::Response<hyper::body::Incoming>, SessionError> {
        let access = self.access().await?;
        let response = self.transport.open(request.call(&access)).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let renewed = self.renew().await?;
        Ok(self.transport.open(request.call(&renewed)).await?)
    }

    /// Sends a request to the node's middleware (`user/…`).
    pub(crate) async fn send_user(
        &self,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<Answer, SessionError> {
        // A JSON value always serialises.
        let body = serde_json::to_vec(body).unwrap_or_default().into();
        self.send(NodeRequest {
            middleware: Some(&self.endpoint),
            ..NodeRequest::new(http::Method::POST, path, Some(body))
        })
        .await
    }

    /// Tells the node that a database is in use, as the original's client does. What it thinks of that says nothing about how well it is.
    pub(crate) async fn ping(&self, database: &DatabaseHash) -> Result<Answer, SessionError> {
        let access = self.access().await?;
        let body = json!({
            "databaseHashes": [database.to_string()],
            "isWritePublic": false,
            "did": self.did.to_lowercase(),
            "contextName": self.context,
        });
        let request = NodeRequest {
            middleware: Some(&self.endpoint),
            ..NodeRequest::new(
                http::Method::POST,
                "user/pingDatabase",
                Some(body.to_string().into()),
            )
        };
        Ok(self.transport.send(request.call(&access)).await?)
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

/// A request to a node; can be sent again with another token.
#[derive(Debug, Clone)]
pub(crate) struct NodeRequest<'a> {
    method: http::Method,
    path: &'a str,
    json: Option<bytes::Bytes>,
    /// Where the node's middleware is, for a request that is not for its databases.
    middleware: Option<&'a Endpoint>,
}

impl<'a> NodeRequest<'a> {
    /// A request to the node's databases. `path` has no leading `/`.
    pub(crate) fn new(method: http::Method, path: &'a str, json: Option<bytes::Bytes>) -> Self {
        Self {
            method,
            path,
            json,
            middleware: None,
        }
    }

    fn call<'s>(&'s self, access: &'s Access) -> Call<'s> {
        let endpoint = self.middleware.unwrap_or(&access.host);
        let call = match &self.json {
            Some(body) => Call::raw_json(self.method.clone(), endpoint, self.path, body.clone()),
            None => Call::of(self.method.clone(), endpoint, self.path),
        };
        call.bearer(&access.token)
    }
}
