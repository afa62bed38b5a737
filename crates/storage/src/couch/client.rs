//! Requests to the CouchDB: as its admin for what the node keeps there, and as somebody else for what is passed on.
//!
//! Guarantees: an answer that is read here has a limit and a time; no redirect is followed; no credential of a caller is sent on;
//! whatever is wrong with the CouchDB is [`StoreError::Away`] or [`StoreError::Strange`], and never taken for "not there".

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::config::CouchConfig;
use crate::store::StoreError;

/// Longest wait for a connection.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long a connection is kept for the next request.
const IDLE_TIME: Duration = Duration::from_secs(30);
/// Longest wait for the whole answer to a request of the node's own.
const OWN_TIME: Duration = Duration::from_secs(15);
/// Requests of the node's own that are under way at one time; the others wait, as long as they may take.
const OWN_AT_ONCE: usize = 256;
/// Bytes of an answer to a request of the node's own: 16 DID documents at most, or the ids of 10,000, or 25 databases' records.
const MAX_OWN_BYTES: usize = 8 << 20;
/// How often a document is read and written again when somebody else writes it, too.
const TRIES: usize = 5;

/// What stays as it is in a segment of a path. Not `.`, so that no segment is `..`.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~');

/// A segment of a path.
pub(crate) fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// An answer that was read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    body: Bytes,
}

impl Answer {
    /// The body of a good answer.
    pub(crate) fn good(&self) -> Result<Value, StoreError> {
        match self.status {
            200..=299 => {
                serde_json::from_slice(&self.body).map_err(|_| StoreError::Strange(self.status))
            }
            status => Err(bad(status)),
        }
    }
}

/// What an answer that is neither good nor expected says.
fn bad(status: u16) -> StoreError {
    match status {
        500..=599 => StoreError::Away,
        status => StoreError::Strange(status),
    }
}

/// The way to the CouchDB.
pub(crate) struct CouchClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// Without the trailing slash.
    base: String,
    admin: HeaderValue,
    own: Semaphore,
}

impl CouchClient {
    pub(crate) fn new(config: &CouchConfig) -> Result<Self, rustls::Error> {
        let roots = rustls::RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let tls = rustls::ClientConfig::builder_with_provider(provider.into())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_TIME));
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let (name, password) = &config.admin;
        let pair = STANDARD.encode(format!("{name}:{password}"));
        let admin = HeaderValue::from_str(&format!("Basic {pair}"));
        let mut admin = admin.map_err(|_| rustls::Error::General("credential".to_owned()))?;
        admin.set_sensitive(true);
        Ok(Self {
            client: Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE_TIME)
                .build(connector),
            base: config.url.as_str().trim_end_matches('/').to_owned(),
            admin,
            own: Semaphore::new(OWN_AT_ONCE),
        })
    }

    /// Asks as the admin.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, StoreError> {
        let request = Request::builder()
            .method(method)
            .header(AUTHORIZATION, self.admin.clone());
        let body = body.map(Value::to_string);
        self.own(request, path, body.unwrap_or_default().into())
            .await
    }

    /// Asks as whoever this credential says, and reads the answer.
    pub(crate) async fn ask_as(
        &self,
        credential: HeaderValue,
        path: &str,
    ) -> Result<Answer, StoreError> {
        let request = Request::builder().header(AUTHORIZATION, credential);
        self.own(request, path, Bytes::new()).await
    }

    /// A request of the node's own, when it is its turn.
    async fn own(
        &self,
        request: http::request::Builder,
        path: &str,
        body: Bytes,
    ) -> Result<Answer, StoreError> {
        let said = async {
            let _turn = self.own.acquire().await.map_err(|_| StoreError::Closed)?;
            self.exchange(request, path, body).await
        };
        tokio::time::timeout(OWN_TIME, said)
            .await
            .map_err(|_| StoreError::Away)?
    }

    async fn exchange(
        &self,
        request: http::request::Builder,
        path: &str,
        body: Bytes,
    ) -> Result<Answer, StoreError> {
        let json = HeaderValue::from_static("application/json");
        let request = request
            .header(ACCEPT, json.clone())
            .header(CONTENT_TYPE, json);
        let response = self.send(request, path, body).await?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MAX_OWN_BYTES)
            .collect()
            .await
            .map_err(|_| StoreError::Away)?;
        Ok(Answer {
            status,
            body: body.to_bytes(),
        })
    }

    /// Sends a request, and waits for the head of the answer. Whoever calls it says how long.
    pub(crate) async fn send(
        &self,
        request: http::request::Builder,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, StoreError> {
        let request = request
            .uri(format!("{}{path}", self.base))
            .body(Full::new(body))
            .map_err(|_| StoreError::Strange(0))?;
        let response = self.client.request(request).await;
        response.map_err(|_| StoreError::Away)
    }

    // What the node keeps there

    /// A document, or what a database says of itself; none when it is not there.
    pub(crate) async fn get(&self, path: &str) -> Result<Option<Value>, StoreError> {
        let answer = self.ask(Method::GET, path, None).await?;
        match answer.status {
            404 => Ok(None),
            _ => answer.good().map(Some),
        }
    }

    /// Makes a database if it is not there.
    pub(crate) async fn make_database(&self, name: &str) -> Result<(), StoreError> {
        let answer = self.ask(Method::PUT, &format!("/{name}"), None).await?;
        match answer.status {
            412 => Ok(()),
            _ => answer.good().map(drop),
        }
    }

    /// Writes a document, whatever was there. Nothing is written when it is there already.
    pub(crate) async fn put(&self, path: &str, document: &Value) -> Result<(), StoreError> {
        for _ in 0..TRIES {
            let mut document = document.clone();
            if let Some(mut held) = self.get(path).await? {
                let rev = held.as_object_mut().and_then(|held| {
                    held.remove("_id");
                    held.remove("_rev")
                });
                if held == document {
                    return Ok(());
                }
                if let (Some(members), Some(rev)) = (document.as_object_mut(), rev) {
                    members.insert("_rev".to_owned(), rev);
                }
            }
            let answer = self.ask(Method::PUT, path, Some(&document)).await?;
            if answer.status != 409 {
                return answer.good().map(drop);
            }
        }
        Err(StoreError::Aborted)
    }

    /// Writes a document that is not there yet. False when it is.
    pub(crate) async fn put_new(&self, path: &str, document: &Value) -> Result<bool, StoreError> {
        let answer = self.ask(Method::PUT, path, Some(document)).await?;
        match answer.status {
            409 => Ok(false),
            _ => answer.good().map(|_| true),
        }
    }

    /// Deletes a document. False when it was not there.
    pub(crate) async fn delete(&self, path: &str) -> Result<bool, StoreError> {
        for _ in 0..TRIES {
            let Some(held) = self.get(path).await? else {
                return Ok(false);
            };
            let rev = held.get("_rev").and_then(Value::as_str).unwrap_or_default();
            let path = format!("{path}?rev={}", segment(rev));
            let answer = self.ask(Method::DELETE, &path, None).await?;
            match answer.status {
                404 => return Ok(false),
                409 => {}
                _ => return answer.good().map(|_| true),
            }
        }
        Err(StoreError::Aborted)
    }

    /// Deletes a database. False when it was not there.
    pub(crate) async fn delete_database(&self, name: &str) -> Result<bool, StoreError> {
        let answer = self.ask(Method::DELETE, &format!("/{name}"), None).await?;
        match answer.status {
            404 => Ok(false),
            _ => answer.good().map(|_| true),
        }
    }
}
