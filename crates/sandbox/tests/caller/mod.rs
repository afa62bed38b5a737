//! A caller that may send what a well-behaved client never would: any method, path, header and credential.

use adyton_attest::observe::{Connection, NodeAddress, Patience, observe};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::Value;
use std::time::Duration;

/// A header to send.
pub type Header<'h> = (&'h str, &'h str);

/// A connection to a node, renewed when the node closes it.
pub struct Caller {
    address: NodeAddress,
    connection: Connection,
}

/// What a node answered.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Caller {
    /// Connects. Nothing is appraised: these tests are about what a node does with strangers.
    pub async fn connect(url: &str) -> Self {
        let address: NodeAddress = url.parse().unwrap();
        let connection = connection(&address).await;
        Self {
            address,
            connection,
        }
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[Header<'_>],
        body: Option<&Value>,
    ) -> Answer {
        let mut all = Vec::new();
        if body.is_some() {
            all.push((CONTENT_TYPE.as_str(), "application/json"));
        }
        all.extend(headers);
        let text = body.map(Value::to_string).unwrap_or_default();
        self.send_text(method, path, &all, text).await
    }

    /// The same with a body of any type, which its headers say.
    pub async fn send_text(
        &mut self,
        method: &str,
        path: &str,
        headers: &[Header<'_>],
        text: String,
    ) -> Answer {
        let body = Bytes::from(text);
        for _ in 0..2 {
            if self.connection.is_closed() {
                self.connection = connection(&self.address).await;
            }
            let mut request = request(method, path, headers, body.clone());
            // What every client sends, unless the test says something else.
            let host = HeaderValue::from_str(self.address.authority()).unwrap();
            request.headers_mut().entry(HOST).or_insert(host);
            // A node may close a connection whose last request it refused before it read the body.
            if let Ok(response) = self.connection.send(request).await {
                let (head, body) = response.into_parts();
                let body = match head.headers.get(CONTENT_TYPE) {
                    Some(kind) if kind == "text/event-stream" => beginning(body).await,
                    _ => body.collect().await.unwrap().to_bytes(),
                };
                return Answer {
                    status: head.status,
                    headers: head.headers,
                    body,
                };
            }
            self.connection = connection(&self.address).await;
        }
        panic!("{method} {path}: no answer on two connections")
    }
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("not JSON: {:?}", String::from_utf8_lossy(&self.body)))
    }

    /// The status and the code, after holding the whole answer to the form that every problem has.
    pub fn problem(&self) -> (u16, String) {
        let (status, body) = (self.status.as_u16(), self.json());
        assert_eq!(
            self.headers
                .get(CONTENT_TYPE)
                .and_then(|kind| kind.to_str().ok()),
            Some("application/problem+json"),
            "{status} {body}"
        );
        assert_eq!(body["status"], status, "{body}");
        let code = body["code"].as_str().unwrap().to_owned();
        assert_eq!(
            body["type"],
            format!("https://adyton.dev/problems/{code}"),
            "{body}"
        );
        assert!(!body["title"].as_str().unwrap().is_empty(), "{body}");
        assert!(!body["detail"].as_str().unwrap().is_empty(), "{body}");
        assert_eq!(body["error"], body["detail"], "the legacy member: {body}");
        (status, code)
    }
}

/// What an answer without end has to say at first. Not reading on ends it, and its connection.
async fn beginning(mut body: Incoming) -> Bytes {
    let mut read = Vec::new();
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            read.extend_from_slice(frame.data_ref().unwrap());
            if memchr::memmem::find(&read, b"event: complete").is_some() {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), reading).await;
    read.into()
}

async fn connection(address: &NodeAddress) -> Connection {
    let observed = observe(address, None, &Patience::default()).await.unwrap();
    observed.dangerous_connection()
}

fn request(method: &str, path: &str, headers: &[Header<'_>], body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
    *request.uri_mut() = path.parse().unwrap();
    let map = request.headers_mut();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        map.append(name, HeaderValue::from_str(value).unwrap());
    }
    request
}
