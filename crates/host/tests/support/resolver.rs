//! A resolver: DNS over HTTPS with the test's own certificate, and answers that a test chooses.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::Authority;
use super::tap::Tap;

/// What is answered for a name.
#[derive(Clone)]
pub enum Says {
    /// These addresses of IPv4.
    Addresses(Vec<IpAddr>, u32),
    /// These bytes, whatever was asked.
    Bytes(Vec<u8>),
    /// An address for another name, which was not asked for.
    AnotherName(IpAddr),
    /// A page of HTML.
    Html,
}

pub struct Resolver {
    pub address: SocketAddr,
    pub tap: Arc<Tap>,
    names: Arc<Mutex<HashMap<String, Says>>>,
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Resolver {
    pub async fn start(authority: &Authority) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tls = TlsAcceptor::from(authority.server("127.0.0.1", &["h2", "http/1.1"]));
        let (tap, names, asked) =
            <(Arc<Tap>, Arc<Mutex<HashMap<_, _>>>, Arc<AtomicUsize>)>::default();
        let (tapping, answers, counter) =
            (Arc::clone(&tap), Arc::clone(&names), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (tls, answers, counter) =
                    (tls.clone(), Arc::clone(&answers), Arc::clone(&counter));
                let (near, far) = tokio::io::duplex(64 * 1024);
                tokio::spawn(Arc::clone(&tapping).pass(tcp, near));
                tokio::spawn(async move {
                    let Ok(stream) = tls.accept(far).await else {
                        return;
                    };
                    let service = service_fn(move |request: Request<Incoming>| {
                        counter.fetch_add(1, Ordering::SeqCst);
                        let answers = Arc::clone(&answers);
                        async move { Ok::<_, Infallible>(answer(request, &answers).await) }
                    });
                    let server = auto::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self {
            address,
            tap,
            names,
            asked,
            task,
        }
    }

    pub fn url(&self) -> String {
        format!("https://{}/dns-query", self.address)
    }

    pub fn says(&self, name: &str, says: Says) {
        self.names.lock().unwrap().insert(name.to_owned(), says);
    }

    /// How many questions came.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    request: Request<Incoming>,
    names: &Mutex<HashMap<String, Says>>,
) -> Response<Full<Bytes>> {
    assert_eq!(request.uri().path(), "/dns-query");
    assert_eq!(request.headers()["content-type"], "application/dns-message");
    let question = request.into_body().collect().await.unwrap().to_bytes();
    let (name, end) = question_name(&question);
    let v4 = question[end..end + 2] == [0, 1];
    let says = names.lock().unwrap().get(&name).cloned();
    let mut response = Response::new(Full::default());
    let dns = "application/dns-message".parse().unwrap();
    response.headers_mut().insert("content-type", dns);
    *response.body_mut() = Full::from(match says {
        Some(Says::Addresses(addresses, seconds)) => {
            let addresses = if v4 { addresses } else { Vec::new() };
            message(&question, end, &addresses, &[0xc0, 12], seconds)
        }
        Some(Says::AnotherName(ip)) => message(&question, end, &[ip], b"\x05other\x04test\0", 60),
        Some(Says::Bytes(bytes)) => bytes,
        Some(Says::Html) => {
            response
                .headers_mut()
                .insert("content-type", "text/html".parse().unwrap());
            b"<html>".to_vec()
        }
        None => {
            let mut message = message(&question, end, &[], &[], 0);
            message[3] = 0x83;
            message
        }
    });
    response
}

/// The name that is asked for, and where its type stands.
fn question_name(message: &[u8]) -> (String, usize) {
    let (mut at, mut labels) = (12, Vec::new());
    while message[at] != 0 {
        let end = at + 1 + usize::from(message[at]);
        labels.push(str::from_utf8(&message[at + 1..end]).unwrap().to_owned());
        at = end;
    }
    (labels.join("."), at + 1)
}

fn message(
    question: &[u8],
    end: usize,
    addresses: &[IpAddr],
    owner: &[u8],
    seconds: u32,
) -> Vec<u8> {
    let mut message = vec![0, 0, 0x81, 0x80, 0, 1, 0, addresses.len() as u8, 0, 0, 0, 0];
    message.extend(&question[12..end + 4]);
    for ip in addresses {
        let IpAddr::V4(ip) = ip else {
            panic!("IPv4 only")
        };
        message.extend(owner);
        message.extend([0, 1, 0, 1]);
        message.extend(seconds.to_be_bytes());
        message.extend([0, 4]);
        message.extend(ip.octets());
    }
    message
}
