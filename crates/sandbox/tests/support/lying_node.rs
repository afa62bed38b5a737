//! A storage node that tells lies: it stands in front of the real one, and answers as a test wants.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A request to the storage node.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: Method,
    /// Without leading `/`.
    pub path: String,
    pub query: String,
    pub body: Bytes,
}

impl Asked {
    /// Is the changes feed asked for, the part that is read at loading?
    pub fn is_snapshot(&self) -> bool {
        self.path.ends_with("/_changes") && !self.is_live()
    }

    /// Is the changes feed asked for, the part that is followed?
    pub fn is_live(&self) -> bool {
        self.query.contains("feed=continuous")
    }

    /// Is a document written?
    pub fn is_write(&self) -> bool {
        self.method == Method::PUT
    }

    /// Is it asked what the database holds?
    pub fn is_info(&self) -> bool {
        self.method == Method::GET && self.path.starts_with('v') && !self.path.contains('/')
    }
}

/// What is done about a request.
pub enum Act {
    /// The real node's answer.
    Honest,
    /// The real node's answer, later.
    Slow(Duration),
    /// Another answer altogether.
    Say(StatusCode, String),
    /// An answer in pieces; an error ends it in the middle.
    Stream(BoxStream<'static, io::Result<Bytes>>),
    /// The real node's answer, altered as JSON.
    Alter(Box<dyn FnOnce(Value) -> Value + Send>),
    /// The first bytes of the real node's answer, and then the connection breaks.
    CutAfter(usize),
    /// The real node does it, and nobody is told.
    LoseAnswer,
    /// No answer at all.
    Silence,
    /// The connection breaks.
    HangUp,
}

type Lie = Arc<dyn Fn(&Asked) -> Act + Send + Sync>;

/// See the module.
pub struct LyingNode {
    pub url: String,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    real: String,
    url: String,
    lie: Mutex<Lie>,
    is_down: AtomicBool,
    connections: AtomicUsize,
    open: AtomicUsize,
    cuts: watch::Sender<u64>,
}

impl LyingNode {
    pub async fn start(real: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            real: real.trim_start_matches("http://").to_owned(),
            url: url.clone(),
            lie: Mutex::new(Arc::new(|_| Act::Honest)),
            is_down: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            cuts: watch::Sender::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self {
            url,
            shared,
            accepting,
        }
    }

    /// From now on, this is done about every request.
    pub fn lie(&self, lie: impl Fn(&Asked) -> Act + Send + Sync + 'static) {
        *self.shared.lie.lock().unwrap() = Arc::new(lie);
    }

    pub fn be_honest(&self) {
        self.lie(|_| Act::Honest);
    }

    /// Breaks all connections and takes no new ones, until it is up again.
    pub fn go_down(&self) {
        self.shared.is_down.store(true, Ordering::SeqCst);
        self.cut_connections();
    }

    pub fn come_up(&self) {
        self.shared.is_down.store(false, Ordering::SeqCst);
    }

    pub fn cut_connections(&self) {
        self.shared.cuts.send_modify(|count| *count += 1);
    }

    /// How many connections are open now.
    pub fn open_connections(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// How many connections were ever opened to it.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for LyingNode {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            return;
        };
        shared.connections.fetch_add(1, Ordering::SeqCst);
        if shared.is_down.load(Ordering::SeqCst) {
            continue;
        }
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let mut cuts = shared.cuts.subscribe();
            let service = service_fn(|request| answer(Arc::clone(&shared), request));
            let serving = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            shared.open.fetch_add(1, Ordering::SeqCst);
            tokio::select! {
                _ = serving => {}
                _ = cuts.changed() => {}
            }
            shared.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

type Body = BoxBody<Bytes, io::Error>;

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let asked = Asked {
        method: head.method.clone(),
        path: head.uri.path().trim_start_matches('/').to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        body,
    };
    let lie = Arc::clone(&shared.lie.lock().unwrap());
    let honest = forward(&shared, &asked, &head.headers);
    match lie(&asked) {
        Act::Honest => honest.await,
        Act::Slow(wait) => {
            tokio::time::sleep(wait).await;
            honest.await
        }
        Act::Say(status, text) => Ok(response(status, whole(text))),
        Act::Stream(pieces) => Ok(response(StatusCode::OK, streamed(pieces))),
        Act::Alter(alter) => {
            let (head, body) = honest.await?.into_parts();
            let body = body.collect().await?.to_bytes();
            let value = serde_json::from_slice(&body).map_err(io::Error::other)?;
            Ok(response(head.status, whole(alter(value).to_string())))
        }
        Act::CutAfter(bytes) => {
            let body = honest.await?.into_body().collect().await?.to_bytes();
            let first = body.slice(..bytes.min(body.len()));
            let broken = Err(io::ErrorKind::BrokenPipe.into());
            Ok(response(
                StatusCode::OK,
                streamed(futures_util::stream::iter([Ok(first), broken]).boxed()),
            ))
        }
        Act::LoseAnswer => {
            honest.await?.into_body().collect().await?;
            Err(io::ErrorKind::BrokenPipe.into())
        }
        Act::Silence => std::future::pending().await,
        Act::HangUp => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

async fn forward(
    shared: &Shared,
    asked: &Asked,
    headers: &HeaderMap,
) -> io::Result<Response<Body>> {
    let stream = TcpStream::connect(&shared.real).await?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let uri = format!("/{}?{}", asked.path, asked.query);
    let mut request = Request::builder().method(&asked.method).uri(uri);
    for name in ["authorization", "content-type", "accept"] {
        if let Some(value) = headers.get(name) {
            request = request.header(name, value);
        }
    }
    let request = request
        .header("host", &shared.real)
        .body(Full::new(asked.body.clone()))
        .map_err(io::Error::other)?;
    let response = sender
        .send_request(request)
        .await
        .map_err(io::Error::other)?;
    let (head, body) = response.into_parts();
    if asked.path != "auth/connect" {
        let body = body.map_err(io::Error::other).boxed();
        return Ok(self::response(head.status, body));
    }
    // The databases are reached over the lying node, too.
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let mut value: Value = serde_json::from_slice(&body)?;
    if value.get("host").is_some() {
        value["host"] = shared.url.clone().into();
    }
    Ok(self::response(head.status, whole(value.to_string())))
}

fn response(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

fn whole(text: String) -> Body {
    Full::new(Bytes::from(text))
        .map_err(|never| match never {})
        .boxed()
}

fn streamed(pieces: BoxStream<'static, io::Result<Bytes>>) -> Body {
    // The pieces come from one task at a time.
    let pieces = SyncStream(Mutex::new(pieces));
    BodyExt::boxed(StreamBody::new(pieces))
}

struct SyncStream(Mutex<BoxStream<'static, io::Result<Bytes>>>);

impl futures_util::Stream for SyncStream {
    type Item = io::Result<Frame<Bytes>>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        let mut pieces = self.0.lock().unwrap();
        pieces
            .poll_next_unpin(cx)
            .map(|next| next.map(|piece| piece.map(Frame::data)))
    }
}
