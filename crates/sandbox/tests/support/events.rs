//! Reading an event stream as the standard says (WHATWG HTML, 9.2.6).

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Nothing in a test takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Opens an event stream over HTTP/2.
pub async fn over_http2(url: &str, certificate_pem: &str, path: &str, key: &str) -> Events {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes()).unwrap();
    roots.add(certificate).unwrap();
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let address = url.trim_start_matches("https://");
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let tls = TlsConnector::from(Arc::new(config));
    let tls = TokioIo::new(tls.connect(name, tcp).await.unwrap());
    let executor = TokioExecutor::new();
    let (mut sender, connection) = http2::handshake(executor, tls).await.unwrap();
    let driver = tokio::spawn(connection);
    let request = Request::get(format!("{url}{path}"))
        .header("x-api-key", key)
        .body(Full::<Bytes>::default())
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.version(), http::Version::HTTP_2);
    Events::of(answer.into_body(), Box::new((sender, driver)))
}

/// An open event stream. Dropping it closes its connection.
pub struct Events {
    body: Incoming,
    unread: String,
    /// The last event id, as the standard keeps it.
    pub last_id: String,
    pub retry: Option<u64>,
    _connection: Box<dyn Any + Send>,
}

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub name: String,
    pub id: String,
    pub data: Value,
}

impl Event {
    /// The id of the record that it is about.
    #[track_caller]
    pub fn record(&self) -> &str {
        self.data["value"]["_id"].as_str().unwrap()
    }

    /// Its name and its record, such as `created note-1`.
    #[track_caller]
    pub fn words(&self) -> String {
        format!("{} {}", self.name, self.record())
    }
}

impl Events {
    /// The stream of an answer's body; what it came on is kept as long.
    pub fn of(body: Incoming, connection: Box<dyn Any + Send>) -> Self {
        Self {
            body,
            unread: String::new(),
            last_id: String::new(),
            retry: None,
            _connection: connection,
        }
    }

    /// The next event, none at the end.
    pub async fn next(&mut self) -> Option<Event> {
        tokio::time::timeout(PATIENCE, self.read())
            .await
            .expect("no event came, and no end")
    }

    /// Reads the head: what comes before the first event.
    pub async fn open(mut self) -> Self {
        assert!(self.block().await.is_some_and(|event| event.is_none()));
        assert_eq!(self.retry, Some(10_000));
        assert!(!self.last_id.is_empty());
        self
    }

    /// The next events, as words.
    pub async fn words(&mut self, count: usize) -> Vec<String> {
        let mut words = Vec::new();
        for _ in 0..count {
            words.push(self.next().await.expect("the stream ended").words());
        }
        words
    }

    async fn read(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.block().await? {
                return Some(event);
            }
        }
    }

    /// The next lines up to an empty one: an event, or nothing to tell. None at the end.
    async fn block(&mut self) -> Option<Option<Event>> {
        let block = loop {
            if let Some((block, rest)) = self.unread.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.unread = rest;
                break block;
            }
            let frame = self.body.frame().await?.ok()?;
            if let Ok(data) = frame.into_data() {
                self.unread += std::str::from_utf8(&data).expect("utf-8 in each piece");
            }
        };
        let (mut name, mut data) = ("message".to_owned(), Vec::new());
        for line in block.split('\n') {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
            match field {
                "" => {}
                "event" => name = value,
                "data" => data.push(value),
                "id" => self.last_id = value,
                "retry" => self.retry = Some(value.parse().unwrap()),
                other => panic!("a field that nobody knows: {other}"),
            }
        }
        Some((!data.is_empty()).then(|| Event {
            name,
            id: self.last_id.clone(),
            data: serde_json::from_str(&data.join("\n")).unwrap(),
        }))
    }
}
