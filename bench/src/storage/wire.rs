//! A connection that is kept, and the requests on it: the same for every server.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::Outcome;

/// Where a server is, and with which right it is asked.
#[derive(Clone)]
pub(super) struct Address {
    /// `host:port`.
    pub(super) authority: String,
    pub(super) authorization: Option<HeaderValue>,
}

/// One connection.
pub(super) struct Wire {
    sender: SendRequest<Full<Bytes>>,
    address: Address,
}

impl Wire {
    pub(super) async fn connect(address: &Address) -> Outcome<Self> {
        let stream = TcpStream::connect(&address.authority).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self {
            sender,
            address: address.clone(),
        })
    }

    /// Asks, and returns when the head of the answer is there.
    pub(super) async fn open(
        &mut self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Outcome<Response<Incoming>> {
        let mut request = Request::new(Full::new(body.into()));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse()?;
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_str(&self.address.authority)?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(authorization) = &self.address.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        self.sender.ready().await?;
        Ok(self.sender.send_request(request).await?)
    }

    /// Asks, and returns the whole answer, which must be a good one.
    pub(super) async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Outcome<Bytes> {
        let response = self.open(method, path, body).await?;
        let status = response.status();
        let answer = response.into_body().collect().await?.to_bytes();
        good(status, &answer)?;
        Ok(answer)
    }

    /// Asks, and counts the bytes of the answer.
    pub(super) async fn count(&mut self, path: &str) -> Outcome<u64> {
        let response = self.open(Method::GET, path, Bytes::new()).await?;
        good(response.status(), b"")?;
        let (mut body, mut bytes) = (response.into_body(), 0);
        while let Some(frame) = body.frame().await {
            bytes += frame?.data_ref().map_or(0, |data| data.len() as u64);
        }
        Ok(bytes)
    }
}

pub(super) fn good(status: StatusCode, answer: &[u8]) -> Outcome<()> {
    if status.is_success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(answer.get(..answer.len().min(200)).unwrap_or_default());
    Err(format!("answered with {status}: {text}").into())
}
