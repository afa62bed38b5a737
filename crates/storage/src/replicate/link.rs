//! The way to one other node for one context: the original's handshake (`spec/storage-node.md` §§3, 7), then requests to its
//! databases.
//!
//! Guarantees: the password is another for each node, is sent to that node only and never stands in a URL; every answer has a
//! limit and a time; whatever the other side answers is one of the failures below, or what was asked for.

use std::time::Duration;

use adyton_couch::wire::InvalidAnswer;
use adyton_protocol::context::ContextName;
use adyton_protocol::did::Did;
use adyton_resolver::web::{Said, WebError, plain_url};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::Method;
use http::header::HeaderValue;
use serde_json::{Value, json};
use sha2::Sha256;
use url::Url;

use crate::api::App;
use crate::api::reply;
use crate::databases::DatabaseError;
use crate::outbound::{Outbound, Sent, SentBody, in_memory};
use crate::peers::peer_name;
use crate::store::StoreError;

/// Largest answer of the middleware that is read, in bytes.
const MAX_HANDSHAKE_BYTES: usize = 64 * 1024;
/// Longest wait for an answer to a small request.
const SMALL_TIME: Duration = Duration::from_secs(20);
/// Bytes a second that a large body travels at least.
const SLOWEST: u64 = 64 << 10;
/// How long another node lets us in, less than its day: then the handshake is done again.
const ADMISSION_SECONDS: u64 = 12 * 60 * 60;

/// Why something could not be done at another node.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("the node did not answer: {0}")]
    Web(#[from] WebError),
    #[error("the node does not let this one in")]
    NotLetIn,
    #[error("the node answered {0}")]
    Status(u16),
    #[error("the database is not there")]
    NoDatabase,
    #[error("the node did not take {0} of the documents now")]
    NotNow(u64),
    #[error("the node's checkpoint is not the one that was written there")]
    PutBack,
    #[error(transparent)]
    Lie(#[from] InvalidAnswer),
    #[error(transparent)]
    Here(#[from] DatabaseError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Here(error.into())
    }
}

impl Failure {
    /// Whether the node may take other databases: this one waits by itself.
    pub(super) fn is_of_one_database(&self) -> bool {
        match self {
            Self::NotLetIn
            | Self::Status(_)
            | Self::NoDatabase
            | Self::NotNow(_)
            | Self::PutBack
            | Self::Here(_) => true,
            Self::Web(_) | Self::Lie(_) => false,
        }
    }
}

/// Another node that let us in.
pub(super) struct Target {
    outbound: Outbound,
    /// Where its databases are.
    databases: Url,
    authorization: HeaderValue,
    /// Unix seconds.
    pub(super) until: u64,
}

/// The password by which one node knows this one.
fn password(key: &[u8; 32], endpoint: &Url) -> Result<String, StoreError> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key)
        .map_err(|_| StoreError::Corrupt("the key of passwords"))?;
    mac.update(b"adyton/replication-password/");
    mac.update(endpoint.as_str().as_bytes());
    Ok(hex::encode(mac.finalize().into_bytes()))
}

/// An address below a base that may or may not end in a slash.
fn below(base: &Url, path: &str) -> Result<Url, Failure> {
    let text = format!("{}/{path}", base.as_str().trim_end_matches('/'));
    Url::parse(&text).map_err(|_| Failure::Web(WebError::Denied))
}

impl Target {
    /// Asks a node to let this one into a context.
    pub(super) async fn admitted(
        app: &App,
        outbound: &Outbound,
        endpoint: &Url,
        (did, context): (&Did, &ContextName),
    ) -> Result<Self, Failure> {
        let status = outbound.request(Sent {
            method: Method::GET,
            url: below(endpoint, "status")?,
            authorization: None,
            body: None,
            limit: MAX_HANDSHAKE_BYTES,
            time: SMALL_TIME,
        });
        let status = success(status.await?)?;
        let status: Value = serde_json::from_slice(&status).map_err(|_| InvalidAnswer)?;
        let databases = status.pointer("/results/couchUri").and_then(Value::as_str);
        let databases = databases.and_then(plain_url).ok_or(InvalidAnswer)?;

        let password = password(&app.peer_key, endpoint)?;
        let now = app.clock.unix_seconds();
        let mut body = json!({
            "endpointUri": app.public_url,
            "did": did.as_given(),
            "contextName": context.as_str(),
            "timestampMinutes": now / 60,
            "password": password,
            // So that whoever this is sent to cannot pass it on as sent to him: the original does not look at it, and hashes it.
            "to": endpoint.origin().ascii_serialization(),
        });
        let signature = app.identity.sign_value(&body);
        let signature = signature.map_err(|_| StoreError::Corrupt("the node's own address"))?;
        if let Value::Object(members) = &mut body {
            members.insert("signature".to_owned(), signature.to_string().into());
        }
        let let_in = outbound.request(Sent {
            method: Method::POST,
            url: below(endpoint, "auth/replicationCreds")?,
            authorization: None,
            body: Some((
                HeaderValue::from_static(reply::JSON),
                in_memory(body.to_string().into()),
            )),
            limit: MAX_HANDSHAKE_BYTES,
            time: SMALL_TIME,
        });
        success(let_in.await?)?;

        let own = plain_url(&app.public_url).and_then(|url| url.host_str().map(peer_name));
        let pair = STANDARD.encode(format!("{}:{password}", own.unwrap_or_default()));
        let mut authorization = HeaderValue::from_str(&format!("Basic {pair}"))
            .map_err(|_| StoreError::Corrupt("a password"))?;
        authorization.set_sensitive(true);
        Ok(Self {
            outbound: outbound.clone(),
            databases,
            authorization,
            until: now + ADMISSION_SECONDS,
        })
    }

    /// Sends JSON and reads an answer of at most `limit` bytes.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        limit: usize,
    ) -> Result<Said, Failure> {
        let json = HeaderValue::from_static(reply::JSON);
        let bytes = body.as_ref().map_or(0, |body| body.len() as u64);
        let body = body.map(|body| (json, in_memory(body)));
        self.send(method, path, body, bytes, limit).await
    }

    /// Sends a body of `bytes` bytes, in memory or made while it is sent.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<(HeaderValue, SentBody)>,
        bytes: u64,
        limit: usize,
    ) -> Result<Said, Failure> {
        let time = SMALL_TIME + Duration::from_secs((bytes + limit as u64) / SLOWEST);
        let said = self.outbound.request(Sent {
            method,
            url: below(&self.databases, path)?,
            authorization: Some(self.authorization.clone()),
            body,
            limit,
            time,
        });
        let said = said.await?;
        match said.status {
            401 | 403 => Err(Failure::NotLetIn),
            _ => Ok(said),
        }
    }
}

/// The body of an answer that says yes.
pub(super) fn success(said: Said) -> Result<Bytes, Failure> {
    match said.status {
        200..=299 => Ok(said.body),
        status => Err(Failure::Status(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_has_another_password_of_us() {
        let url = |text: &str| Url::parse(text).unwrap();
        let of = |text: &str| password(&[7; 32], &url(text)).unwrap();
        assert_eq!(of("https://a.example/"), of("https://a.example:443/"));
        assert_ne!(of("https://a.example/"), of("https://a.example:5000/"));
        assert_eq!(of("https://a.example/").len(), 64);
        let other = password(&[8; 32], &url("https://a.example/")).unwrap();
        assert_ne!(of("https://a.example/"), other);
    }

    #[test]
    fn paths_stand_below_a_base_with_or_without_a_slash() {
        for base in ["https://a.example/couch", "https://a.example/couch/"] {
            let base = Url::parse(base).unwrap();
            assert_eq!(
                below(&base, "v/_local/x").unwrap().as_str(),
                "https://a.example/couch/v/_local/x"
            );
        }
    }
}
