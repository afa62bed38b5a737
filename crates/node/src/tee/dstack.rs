//! Evidence about a node inside a dstack guest: quotes from the guest agent, over its unix socket.
//!
//! Guarantees: a document holds a quote for exactly the bytes that were asked for, with the events that explain its fourth
//! register. The agent is asked one question at a time: quotes take tens of milliseconds, and many askers share one.
//! Refuses to know whether the quote is genuine: that is the client's, who has no reason to believe us.
//!
//! Sealing measures nothing. What an application may add to RTMR3 differs between versions of dstack (later ones let it
//! add nothing), so the configuration is bound by each quote's report data alone; what keeps it from changing is that only
//! this program, whose code is measured, says which it runs.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use adyton_attest::attester::{Answer, AttestationRequest, Attester, AttesterError};
use adyton_attest::tdx::agent::{self, AgentError, Quoted};
use adyton_attest::tdx::collateral::{Collateral, MAX_COLLATERAL_BYTES};
use adyton_attest::tdx::{Document, report_data};
use adyton_attest::{ConfigDigest, TeeKind};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request};
use http_body_util::Full;
use tokio::net::UnixStream;
use tokio::sync::Mutex;

use crate::local_http::{self, LocalHttpError};

/// How long the agent may take for a quote.
const PATIENCE: Duration = Duration::from_secs(10);

/// A guest agent, by the socket and the path that it answers on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestAgent {
    /// dstack 0.4 and later.
    Current,
    /// Before.
    Tappd,
}

impl GuestAgent {
    /// All of them, the best first.
    pub const ALL: [Self; 2] = [Self::Current, Self::Tappd];

    /// Where it listens.
    #[must_use]
    pub fn socket(self) -> &'static Path {
        Path::new(match self {
            Self::Current => "/var/run/dstack.sock",
            Self::Tappd => "/var/run/tappd.sock",
        })
    }

    /// Where it gives quotes for 64 bytes as they are.
    fn path(self) -> &'static str {
        match self {
            Self::Current => "/GetQuote",
            Self::Tappd => "/prpc/Tappd.RawQuote",
        }
    }
}

/// An attester inside a dstack guest.
#[derive(Debug)]
pub struct DstackAttester {
    agent: GuestAgent,
    socket: PathBuf,
    collateral: Option<PathBuf>,
    turn: Mutex<()>,
    patience: Duration,
}

impl DstackAttester {
    /// Asks this agent. `collateral` is a file with Intel's word about the platform, if there is one: whoever keeps it up to
    /// date need not be trusted, for Intel signed it.
    #[must_use]
    pub fn new(agent: GuestAgent, collateral: Option<PathBuf>) -> Self {
        Self::at(agent, agent.socket().to_owned(), collateral)
    }

    /// The same, with the socket in another place.
    #[must_use]
    pub fn at(agent: GuestAgent, socket: PathBuf, collateral: Option<PathBuf>) -> Self {
        Self {
            agent,
            socket,
            collateral,
            turn: Mutex::new(()),
            patience: PATIENCE,
        }
    }

    /// The same with another patience.
    #[must_use]
    pub fn within(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    async fn quote(&self, report_data: &[u8; 64]) -> Result<Quoted, AttesterError> {
        let _turn = self.turn.lock().await;
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.agent.path())
            .header(HOST, "dstack")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(agent::question(report_data))))
            .map_err(|_| AttesterError::Answer)?;
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(AttesterError::Device)?;
        let answer = local_http::ask(stream, request, agent::MAX_ANSWER_BYTES, self.patience).await;
        let answer = answer.map_err(|error| match error {
            LocalHttpError::Status(status) => AttesterError::Refused {
                code: status.as_str().to_owned(),
            },
            error => AttesterError::Device(std::io::Error::other(error)),
        })?;
        let quoted = Quoted::from_json(&answer).map_err(|_: AgentError| AttesterError::Answer)?;
        // Every client would refuse it; so it is not even shown.
        let ours = quoted.quote.windows(report_data.len());
        if !ours.into_iter().any(|bytes| bytes == report_data) {
            return Err(AttesterError::Answer);
        }
        Ok(quoted)
    }

    /// Intel's word, if the file has it in form. Without, the client must have it from elsewhere, or refuses.
    async fn collateral(&self) -> Option<Collateral> {
        let path = self.collateral.clone()?;
        let read = move || {
            let mut json = Vec::new();
            let file = std::fs::File::open(path).ok()?;
            let limit = MAX_COLLATERAL_BYTES as u64 + 1;
            file.take(limit).read_to_end(&mut json).ok()?;
            Collateral::from_json(&json).ok()
        };
        tokio::task::spawn_blocking(read).await.ok()?
    }
}

impl Attester for DstackAttester {
    fn kind(&self) -> TeeKind {
        TeeKind::DstackTdx
    }

    /// Finds out that the agent gives quotes: without one that does, there is no listener.
    fn seal<'a>(&'a self, config: &'a ConfigDigest) -> Answer<'a, ()> {
        Box::pin(async {
            let trial = report_data(config.as_bytes(), None);
            self.quote(&trial).await.map(drop)
        })
    }

    fn attest<'a>(&'a self, request: &'a AttestationRequest) -> Answer<'a, Vec<u8>> {
        Box::pin(async {
            let binding = &request.binding;
            let quoted = self
                .quote(&binding.report_data(request.nonce.as_ref()))
                .await?;
            let document = Document {
                quote: quoted.quote,
                event_log: quoted.event_log,
                collateral: self.collateral().await,
                public_key: binding.keys.tls.as_der().to_vec(),
                user_data: binding.user_data().to_bytes().to_vec(),
                nonce: request.nonce.as_ref().map(|nonce| *nonce.as_bytes()),
            };
            Ok(document.to_cbor())
        })
    }

    /// A guest has no clock that its host cannot set.
    fn trusted_time(&self) -> Answer<'_, Option<SystemTime>> {
        Box::pin(async { Ok(None) })
    }
}
