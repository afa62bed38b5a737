//! A confidential node that was appraised. No credential can be sent to one that was not: the only way to
//! send is a method of [`AttestedNode`], and the only way to have one is an appraisal that held.

use std::fmt;
use std::time::Duration;

use adyton_attest::observe::{
    Connection, NodeAddress, NodeAddressError, ObserveError, Patience, observe,
};
use adyton_attest::{Appraised, Nonce, Policy, Refusal};
use adyton_egress::body;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use rand_core::{OsRng, RngCore, TryRngCore};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::clock::Clock;

/// Largest answer, in bytes.
const MAX_ANSWER_BYTES: usize = 512 * 1024 * 1024;
/// Longest time for an answer.
const ANSWER_TIME: Duration = Duration::from_secs(180);

/// How the caller proves who it is.
#[derive(Debug)]
pub enum NodeCredential {
    /// The owner's context session, as text for `X-API-Key`.
    Session(Zeroizing<String>),
    /// An app's access token.
    Token(Zeroizing<String>),
}

/// The node cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// Not the address of a node.
    #[error(transparent)]
    Address(#[from] NodeAddressError),
    /// There is no evidence to look at, or the connection broke.
    #[error("the node cannot be observed: {0}")]
    Observe(#[from] ObserveError),
    /// The node is not what the policy allows. Nothing was sent to it.
    #[error("the node is not trusted: {0}")]
    NotTrusted(#[from] Refusal),
    /// The credential or the path cannot be sent.
    #[error("the request cannot be sent")]
    Request,
    /// The answer broke off, took too long, or is too large.
    #[error("the node's answer cannot be read")]
    Answer,
}

/// What a node answered.
pub struct NodeAnswer {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub body: Bytes,
}

impl NodeAnswer {
    /// The body as JSON.
    pub fn json(&self) -> Result<Value, NodeError> {
        serde_json::from_slice(&self.body).map_err(|_| NodeError::Answer)
    }
}

impl fmt::Debug for NodeAnswer {
    /// Says nothing of the body: it is somebody's data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeAnswer({}, {} bytes)", self.status, self.body.len())
    }
}

/// An appraised node, and the connection on which it was appraised: the evidence covers this very
/// connection, so everything is sent on it and on no other.
///
/// ```no_run
/// use adyton_attest::Policy;
/// use adyton_client::attested_node::{AttestedNode, NodeCredential};
/// use adyton_client::clock::Clock;
/// use http::Method;
///
/// # async fn example(policy: &str, token: NodeCredential) -> Result<(), Box<dyn std::error::Error>> {
/// let policy = Policy::from_toml(policy)?;
/// let mut node = AttestedNode::connect("https://node.example", &policy, &Clock::system()).await?;
/// let answer = node.send(Method::GET, "/api/rest/v1/…", Some(&token), None).await?;
/// # Ok(())
/// # }
/// ```
///
/// It cannot be constructed otherwise:
///
/// ```compile_fail,E0451
/// # use adyton_client::attested_node::AttestedNode;
/// let unproven = AttestedNode { connection: todo!(), appraised: todo!() };
/// ```
#[derive(Debug)]
pub struct AttestedNode {
    connection: Connection,
    appraised: Appraised,
}

impl AttestedNode {
    /// Connects and appraises. The connection is closed, and nothing was sent, when the policy refuses.
    pub async fn connect(url: &str, policy: &Policy, clock: &Clock) -> Result<Self, NodeError> {
        let address: NodeAddress = url.parse()?;
        let mut nonce = [0; 32];
        OsRng.unwrap_err().fill_bytes(&mut nonce);
        let observed = observe(&address, Some(Nonce::new(nonce)), &Patience::default()).await?;
        let (appraised, connection) = observed.appraise(policy, clock.now())?;
        Ok(Self {
            connection,
            appraised,
        })
    }

    /// What the appraisal found.
    pub fn appraised(&self) -> &Appraised {
        &self.appraised
    }

    /// Sends a request with an optional JSON body. `path` begins with `/`.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        credential: Option<&NodeCredential>,
        body: Option<&Value>,
    ) -> Result<NodeAnswer, NodeError> {
        let bytes = body
            .map(|body| Bytes::from(body.to_string()))
            .unwrap_or_default();
        let mut request = Request::new(Full::new(bytes));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().map_err(|_| NodeError::Request)?;
        let headers = request.headers_mut();
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let (name, text) = match credential {
            None => (None, Zeroizing::default()),
            Some(NodeCredential::Session(key)) => {
                (Some(HeaderName::from_static("x-api-key")), key.clone())
            }
            Some(NodeCredential::Token(token)) => (
                Some(AUTHORIZATION),
                Zeroizing::new(format!("Bearer {}", **token)),
            ),
        };
        if let Some(name) = name {
            let mut value = HeaderValue::from_str(&text).map_err(|_| NodeError::Request)?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let whole = async {
            let response = self.connection.send(request).await?;
            let status = response.status();
            let body = body::read(response.into_body(), MAX_ANSWER_BYTES).await;
            let body = body.map_err(|_| NodeError::Answer)?;
            Ok(NodeAnswer { status, body })
        };
        tokio::time::timeout(ANSWER_TIME, whole)
            .await
            .map_err(|_| NodeError::Answer)?
    }
}
