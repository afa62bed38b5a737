//! Fetching what apps publish about themselves: URLs that strangers chose, and so the strictest way out that the node has.
//!
//! Guarantees: HTTPS to public addresses only, whatever a name resolves to, and to the address that was checked; no redirects; five
//! seconds, five KiB, one content type; so many at a time; what was found or not found is believed for a while, so that
//! nobody can make the node hammer a stranger. Documents on this machine are fetched only where a setting for developers says so.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use adyton_client::clock::Clock;
use adyton_client::egress::Route;
use adyton_client::endpoint::{Endpoint, Reach};
use adyton_client::transport::{Call, Patience, Transport};
use adyton_egress::body::{self, Unread};
use adyton_oauth::client::Client;
use adyton_oauth::client_id::{ClientId, DocumentUrl};
use adyton_oauth::client_metadata::{self, InvalidMetadata, MAX_DOCUMENT_BYTES};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use rustls::RootCertStore;

use crate::config::LocalClients;

/// Longest time for fetching a document.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most documents that are being fetched.
const MAX_FETCHES: usize = 64;
/// Most of one domain: a slow one is not in the way of others.
const MAX_FETCHES_OF_ONE: usize = 4;
/// Most documents that are remembered, found or not.
const MAX_REMEMBERED: usize = 1_000;
/// How long a document is believed.
const BELIEVED: Duration = Duration::from_secs(300);
/// How long it is believed that there is none.
const ABSENT: Duration = Duration::from_secs(30);

/// The client could not be identified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnknownClient {
    /// Not a document's URL, or one on this machine.
    #[error("client_id names no metadata document that this node fetches")]
    NoDocument,
    /// No answer, or none in time, or from an address that may not be asked.
    #[error("the client metadata document cannot be fetched")]
    Unreachable,
    /// Another status than 200, redirects among them.
    #[error("the client metadata document is not at its URL; redirects are not followed")]
    NotThere,
    /// Another content type.
    #[error("the client metadata document is not served as application/json")]
    NotJson,
    /// It says nothing that can be used.
    #[error(transparent)]
    Invalid(#[from] InvalidMetadata),
    /// Too many are being fetched.
    #[error("too many client metadata documents are being fetched")]
    Busy,
}

type Found = Result<Arc<Client>, UnknownClient>;

/// The documents of apps.
pub struct ClientDocuments {
    public: Transport,
    local: Option<Transport>,
    remembered: Mutex<HashMap<DocumentUrl, (Found, SystemTime)>>,
    fetches: Mutex<Vec<String>>,
    clock: Clock,
}

impl ClientDocuments {
    /// Documents that are fetched on this route.
    pub fn new(
        route: &Route,
        roots: &Arc<RootCertStore>,
        local: LocalClients,
        clock: Clock,
    ) -> Result<Self, rustls::Error> {
        let patience = Patience {
            head: PATIENCE,
            answer: PATIENCE,
            silence: PATIENCE,
        };
        let way = |reach| Transport::with_route(reach, patience, route.clone(), Arc::clone(roots));
        let local = match local {
            LocalClients::Refused => None,
            LocalClients::Allowed => Some(way(Reach::AlsoThisMachine)?),
        };
        Ok(Self {
            public: way(Reach::Public)?,
            local,
            remembered: Mutex::default(),
            fetches: Mutex::default(),
            clock,
        })
    }

    /// The client that a document describes.
    pub async fn find(&self, id: &ClientId) -> Found {
        let (url, transport) = match (id, &self.local) {
            (ClientId::Document(url), _) => (url, &self.public),
            (ClientId::Local(url), Some(local)) => (url, local),
            (ClientId::Local(_), None) | (ClientId::Did(_), _) => {
                return Err(UnknownClient::NoDocument);
            }
        };
        let now = self.clock.now();
        let known = self.remembered().get(url).cloned();
        if let Some((found, until)) = known
            && now < until
        {
            return found;
        }
        let _one_of_few = Fetch::begin(&self.fetches, url.host())?;
        let fetched = tokio::time::timeout(PATIENCE, fetch(transport, url)).await;
        let found = match fetched.unwrap_or(Err(UnknownClient::Unreachable)) {
            Ok(bytes) => match id {
                ClientId::Local(_) => client_metadata::parse_local(url, &bytes),
                ClientId::Document(_) | ClientId::Did(_) => client_metadata::parse(url, &bytes),
            }
            .map(Arc::new)
            .map_err(UnknownClient::Invalid),
            Err(error) => Err(error),
        };
        let life = if found.is_ok() { BELIEVED } else { ABSENT };
        self.remember(url, found.clone(), now, now + life);
        found
    }

    fn remember(&self, url: &DocumentUrl, found: Found, now: SystemTime, until: SystemTime) {
        let mut remembered = self.remembered();
        if remembered.len() >= MAX_REMEMBERED {
            remembered.retain(|_, (_, until)| now < *until);
        }
        // A full memory of what is still believed forgets something: it will be fetched again.
        if remembered.len() >= MAX_REMEMBERED {
            let some = remembered.keys().next().cloned();
            some.map(|some| remembered.remove(&some));
        }
        remembered.insert(url.clone(), (found, until));
    }

    fn remembered(&self) -> MutexGuard<'_, HashMap<DocumentUrl, (Found, SystemTime)>> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A fetch that is under way, by the domain that it asks.
struct Fetch<'f> {
    all: &'f Mutex<Vec<String>>,
    domain: String,
}

impl<'f> Fetch<'f> {
    fn begin(all: &'f Mutex<Vec<String>>, host: &str) -> Result<Self, UnknownClient> {
        // The last two labels: names below a domain are its owner's to make.
        let mut labels: Vec<&str> = host.rsplit('.').take(2).collect();
        labels.reverse();
        let domain = labels.join(".");
        let mut under_way = all.lock().unwrap_or_else(PoisonError::into_inner);
        let same = under_way.iter().filter(|one| **one == domain).count();
        if under_way.len() >= MAX_FETCHES || same >= MAX_FETCHES_OF_ONE {
            return Err(UnknownClient::Busy);
        }
        under_way.push(domain.clone());
        Ok(Self { all, domain })
    }
}

impl Drop for Fetch<'_> {
    fn drop(&mut self) {
        let mut under_way = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = under_way.iter().position(|one| *one == self.domain) {
            under_way.swap_remove(at);
        }
    }
}

impl fmt::Debug for ClientDocuments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientDocuments")
    }
}

async fn fetch(transport: &Transport, url: &DocumentUrl) -> Result<bytes::Bytes, UnknownClient> {
    let endpoint: Endpoint = url
        .as_str()
        .parse()
        .map_err(|_| UnknownClient::NoDocument)?;
    let answer = transport
        .open(Call::get(&endpoint, url.path()))
        .await
        .map_err(|_| UnknownClient::Unreachable)?;
    if answer.status() != StatusCode::OK {
        return Err(UnknownClient::NotThere);
    }
    let kind = answer.headers().get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let bare = kind.split(';').next().unwrap_or_default().trim();
    let is_json = bare.eq_ignore_ascii_case("application/json")
        || (bare.starts_with("application/") && bare.ends_with("+json"));
    if !is_json {
        return Err(UnknownClient::NotJson);
    }
    let body = body::read(answer.into_body(), MAX_DOCUMENT_BYTES).await;
    body.map_err(|unread| match unread {
        Unread::TooLarge => UnknownClient::Invalid(InvalidMetadata::TooLong),
        Unread::BrokenOff => UnknownClient::Unreachable,
    })
}

#[cfg(test)]
#[path = "client_documents_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "client_documents_tls_tests.rs"]
mod tls_tests;
