//! The listener against peers that are slow, silent, malformed, greedy or many. Real sockets, real TLS.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod tls_client;

use std::sync::Arc;
use std::time::Duration;

use adyton_node::server::{ConnectionFacts, Endless, Limits};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Extension;
use axum::routing::{get, post};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tls_client::{QUICK, Running, eventually, read_to_end, start};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Notify, Semaphore};

fn hello() -> Router {
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/echo", post(|body: Bytes| async move { body }))
        .route(
            "/exporter",
            get(|Extension(facts): Extension<ConnectionFacts>| async move {
                facts.exporter.to_string()
            }),
        )
        .route(
            "/panic",
            get(|| async {
                if true {
                    panic!("a handler's bug")
                }
            }),
        )
        .route("/large", get(|| async { Body::from(vec![b'x'; 64 << 20]) }))
}

async fn serves(server: &Running) {
    let answer = eventually(server.get("/")).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nhello"),
        "{answer}"
    );
}

#[tokio::test]
async fn it_speaks_http_1_and_http_2_to_standard_clients() {
    let server = start(hello(), Limits::default()).await;
    serves(&server).await;

    let stream = server.connect(b"h2").await;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = Request::get("https://localhost/")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let answer = eventually(sender.send_request(request)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(
        answer.into_body().collect().await.unwrap().to_bytes(),
        "hello"
    );
}

#[tokio::test]
async fn the_exchange_is_post_quantum_and_the_version_is_1_3() {
    let server = start(hello(), Limits::default()).await;
    let stream = server.connect(b"http/1.1").await;
    let session = stream.get_ref().1;
    assert_eq!(
        session.protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_3)
    );
    let group = session.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
}

#[tokio::test]
async fn requests_carry_the_exporter_of_their_own_connection() {
    let server = start(hello(), Limits::default()).await;
    let mut seen = Vec::new();
    for _ in 0..2 {
        let mut stream = server.connect(b"http/1.1").await;
        let ours = stream
            .get_ref()
            .1
            .export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(&[]))
            .unwrap();
        stream
            .write_all(b"GET /exporter HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let answer = eventually(read_to_end(&mut stream)).await;
        assert!(
            answer.ends_with(&adyton_attest::Exporter::new(ours).to_string()),
            "{answer}"
        );
        seen.push(ours);
    }
    assert_ne!(seen[0], seen[1]);
}

/// A TLS 1.2 hello: no supported_versions extension, so 1.2 is the most that it offers.
fn hello_of_tls_1_2() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(0);
    // ECDHE-ECDSA-AES128-GCM-SHA256, and the same with RSA.
    body.extend([0, 4, 0xc0, 0x2b, 0xc0, 0x2f]);
    body.extend([1, 0]);
    let groups = [0, 10, 0, 4, 0, 2, 0, 23];
    let schemes = [0, 13, 0, 4, 0, 2, 4, 3];
    body.extend([0, 16]);
    body.extend(groups);
    body.extend(schemes);
    let mut handshake = vec![1, 0, 0, u8::try_from(body.len()).unwrap()];
    handshake.extend(body);
    let mut record = vec![0x16, 3, 1, 0, u8::try_from(handshake.len()).unwrap()];
    record.extend(handshake);
    record
}

#[tokio::test]
async fn tls_1_2_is_refused_with_the_alert_for_it() {
    let server = start(hello(), QUICK).await;
    let mut tcp = server.tcp().await;
    tcp.write_all(&hello_of_tls_1_2()).await.unwrap();
    let mut alert = [0; 7];
    eventually(tcp.read_exact(&mut alert)).await.unwrap();
    // A fatal alert, protocol_version (70).
    assert_eq!((alert[0], &alert[5..]), (0x15, &[2, 70][..]));
    serves(&server).await;
}

#[tokio::test]
async fn garbage_instead_of_tls_hurts_nobody() {
    let server = start(hello(), QUICK).await;
    let huge_record = [&[0x16, 3, 1, 0xff, 0xff][..], &[0; 70_000]].concat();
    let garbage: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nhost: h\r\n\r\n",
        &[0; 100],
        &[0xff; 100_000],
        &[0x16],
        &huge_record,
        &[0x16, 3, 1, 0, 1, 1],
    ];
    for bytes in garbage {
        let mut tcp = server.tcp().await;
        // The server may hang up before everything is written.
        let _ = tcp.write_all(bytes).await;
        let answer = eventually(read_to_end(&mut tcp)).await;
        assert!(!answer.contains("HTTP"), "{answer}");
        serves(&server).await;
    }
}

#[tokio::test]
async fn a_handshake_that_never_comes_is_given_up() {
    let server = start(hello(), QUICK).await;
    let mut silent = server.tcp().await;
    let mut half = server.tcp().await;
    half.write_all(&hello_of_tls_1_2()[..20]).await.unwrap();
    serves(&server).await;
    assert_eq!(eventually(read_to_end(&mut silent)).await, "");
    assert_eq!(eventually(read_to_end(&mut half)).await, "");
}

#[tokio::test]
async fn slowloris_is_cut_off_while_others_are_served() {
    let server = start(hello(), QUICK).await;
    let mut drips = Vec::new();
    for _ in 0..20 {
        let mut stream = server.connect(b"http/1.1").await;
        drips.push(tokio::spawn(async move {
            // A byte now and then, and the head never ends.
            let (mut read, mut write) = tokio::io::split(&mut stream);
            let drip = async {
                let head = b"GET / HTTP/1.1\r\nhost: localhost\r\nx-slow: "
                    .iter()
                    .chain(std::iter::repeat(&b'x'));
                for byte in head {
                    if write.write_all(&[*byte]).await.is_err() || write.flush().await.is_err() {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::select! {
                answer = read_to_end(&mut read) => answer,
                () = drip => String::new(),
            }
        }));
    }
    serves(&server).await;
    for drip in drips {
        let answer = eventually(drip).await.unwrap();
        assert!(!answer.contains("200 OK"), "{answer}");
    }
    serves(&server).await;
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    let server = start(hello(), QUICK).await;
    let mut stream = server.connect(b"http/1.1").await;
    stream
        .write_all(b"POST /echo HTTP/1.1\r\nhost: h\r\ncontent-length: 1000\r\n\r\nabc")
        .await
        .unwrap();
    let answer = eventually(read_to_end(&mut stream)).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    serves(&server).await;
}

#[tokio::test]
async fn an_answer_that_nobody_takes_is_dropped() {
    let server = start(hello(), QUICK).await;
    let pieces = Router::new().route(
        "/pieces",
        get(|| async {
            let pieces = futures_util::stream::repeat_with(|| {
                Ok::<_, std::convert::Infallible>(Bytes::from(vec![b'x'; 65536]))
            });
            Body::from_stream(pieces)
        }),
    );
    let endless = start(pieces, QUICK).await;
    for (server, path) in [(&server, "/large"), (&endless, "/pieces")] {
        for protocol in [&b"http/1.1"[..], b"h2"] {
            let mut stream = server.connect(protocol).await;
            if protocol == b"h2" {
                let (mut sender, connection) = hyper::client::conn::http2::handshake(
                    TokioExecutor::new(),
                    TokioIo::new(stream),
                )
                .await
                .unwrap();
                let connection = tokio::spawn(connection);
                let request = Request::get(format!("https://localhost{path}"))
                    .body(Empty::<Bytes>::new())
                    .unwrap();
                let answer = eventually(sender.send_request(request)).await.unwrap();
                // The head is taken, the body is not: its window stays shut, and the server ends the connection.
                let _ = eventually(connection).await.unwrap();
                drop(answer);
            } else {
                stream
                    .write_all(format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n").as_bytes())
                    .await
                    .unwrap();
                // Nothing is read for longer than the server waits; then only what was in flight is left.
                tokio::time::sleep(QUICK.stall * 4).await;
                let left = eventually(read_to_end(&mut stream)).await.len();
                assert!(left < 64 << 20, "{left}");
            }
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_taken_drop_by_drop_ends_some_day() {
    let pieces = get(|| async {
        let piece = || Ok::<_, std::convert::Infallible>(Bytes::from(vec![b'x'; 65536]));
        Body::from_stream(futures_util::stream::repeat_with(piece))
    });
    let server = start(Router::new().route("/pieces", pieces), QUICK).await;
    let mut stream = server.connect(b"http/1.1").await;
    stream
        .write_all(b"GET /pieces HTTP/1.1\r\nhost: h\r\n\r\n")
        .await
        .unwrap();
    let mut taken = vec![0; 256 * 1024];
    // Each piece is taken well within the limit for one.
    let begun = tokio::time::Instant::now();
    while stream.read_exact(&mut taken).await.is_ok() {
        assert!(begun.elapsed() < QUICK.answer * 10, "it never ends");
        tokio::time::sleep(QUICK.stall / 12).await;
    }
    assert!(begun.elapsed() >= QUICK.answer / 2);
}

#[tokio::test]
async fn an_answer_without_end_lasts_as_long_as_it_is_read_and_no_longer() {
    let dropped = Arc::new(Notify::new());
    let told = Arc::clone(&dropped);
    let pieces = get(move || {
        // Held by the stream: who cuts it, drops it.
        let held = OnDrop(Arc::clone(&told));
        async move {
            let pieces = futures_util::stream::unfold(held, |held| async move {
                tokio::time::sleep(QUICK.stall / 60).await;
                let piece = Bytes::from(vec![b'x'; 65536]);
                Some((Ok::<_, std::convert::Infallible>(piece), held))
            });
            (Extension(Endless), Body::from_stream(pieces))
        }
    });
    let server = start(Router::new().route("/pieces", pieces), QUICK).await;
    let mut stream = server.connect(b"http/1.1").await;
    stream
        .write_all(b"GET /pieces HTTP/1.1\r\nhost: h\r\n\r\n")
        .await
        .unwrap();
    let mut taken = vec![0; 64 * 1024];
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < QUICK.answer * 3 / 2 {
        stream.read_exact(&mut taken).await.expect("it was ended");
    }
    // Nobody reads any more.
    eventually(dropped.notified()).await;
    drop(stream);
}

struct OnDrop(Arc<Notify>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[tokio::test]
async fn an_idle_connection_is_ended_and_an_active_one_is_not() {
    let server = start(hello(), QUICK).await;
    let mut idle = server.connect(b"http/1.1").await;
    let mut active = server.connect(b"http/1.1").await;
    let ended = tokio::spawn(async move { read_to_end(&mut idle).await });
    let mut rounds = 0;
    while !ended.is_finished() || rounds < 10 {
        active
            .write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
            .await
            .unwrap();
        let mut answer = [0; 512];
        let length = eventually(active.read(&mut answer)).await.unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200 OK"));
        rounds += 1;
        tokio::time::sleep(QUICK.idle / 6).await;
    }
    assert_eq!(ended.await.unwrap(), "");
}

#[tokio::test]
async fn an_idle_http_2_connection_is_ended_too() {
    let server = start(hello(), QUICK).await;
    let stream = server.connect(b"h2").await;
    let (sender, connection) = hyper::client::conn::http2::handshake::<_, _, Full<Bytes>>(
        TokioExecutor::new(),
        TokioIo::new(stream),
    )
    .await
    .unwrap();
    eventually(connection).await.unwrap();
    drop(sender);
}

/// Both ends of a thousand connections are in this process.
#[expect(unsafe_code, reason = "setrlimit takes a pointer")]
fn allow_many_files() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is valid for both calls.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max.min(10_000);
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_idle_connections_keep_nobody_out() {
    allow_many_files();
    let limits = Limits {
        connections: 1000,
        ..Limits::default()
    };
    let server = start(hello(), limits).await;
    let mut idle = Vec::new();
    for _ in 0..1000 {
        idle.push(eventually(server.connect(b"http/1.1")).await);
    }
    // All seats are taken, and more guests come: those that sat idle longest make room.
    for _ in 0..5 {
        serves(&server).await;
    }
    let mut first = idle.swap_remove(0);
    assert_eq!(eventually(read_to_end(&mut first)).await, "");
    // The youngest is still welcome.
    let youngest = idle.last_mut().unwrap();
    youngest
        .write_all(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    assert!(eventually(read_to_end(youngest)).await.ends_with("hello"));
}

#[tokio::test]
async fn the_busy_are_never_sent_away_for_a_newcomer() {
    let (started, done) = (Arc::new(Semaphore::new(0)), Arc::new(Notify::new()));
    let (says, waits) = (started.clone(), done.clone());
    let slow = get(|| async move {
        let go = waits.notified();
        says.add_permits(1);
        go.await;
    });
    let limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let server = start(Router::new().route("/", slow), limits).await;
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut stream = server.connect(b"http/1.1").await;
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        busy.push(stream);
    }
    eventually(started.acquire_many(2)).await.unwrap().forget();
    for _ in 0..5 {
        assert!(eventually(server.try_connect(b"http/1.1")).await.is_err());
    }
    done.notify_waiters();
    for stream in &mut busy {
        assert!(
            eventually(read_to_end(stream))
                .await
                .starts_with("HTTP/1.1 200 OK")
        );
    }
}

#[tokio::test]
async fn one_byte_or_one_header_over_the_limits_is_refused() {
    const START: &str = "GET / HTTP/1.1\r\nconnection: close\r\n";
    let server = start(hello(), Limits::default()).await;
    let of_length = |length: usize| {
        let fill = length - START.len() - "x: \r\n\r\n".len();
        format!("{START}x: {}\r\n\r\n", "x".repeat(fill))
    };
    let with_headers = |count: usize| {
        let more: String = (1..count).map(|at| format!("x-{at}: 1\r\n")).collect();
        format!("{START}{more}\r\n")
    };
    for (head, status) in [
        (of_length(32 * 1024), "200"),
        (of_length(32 * 1024 + 1), "431"),
        (with_headers(64), "200"),
        (with_headers(65), "431"),
    ] {
        let mut stream = server.connect(b"http/1.1").await;
        // The server may hang up before everything is written.
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.flush().await;
        let answer = eventually(read_to_end(&mut stream)).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{}: {answer}",
            head.len()
        );
    }
    serves(&server).await;
}

#[tokio::test]
async fn a_panic_ends_its_own_connection_only() {
    let server = start(hello(), Limits::default()).await;
    let mut neighbour = server.connect(b"http/1.1").await;
    assert_eq!(eventually(server.get("/panic")).await, "");
    neighbour
        .write_all(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    assert!(
        eventually(read_to_end(&mut neighbour))
            .await
            .ends_with("hello")
    );
}

#[tokio::test]
async fn shutdown_finishes_what_is_under_way_and_takes_nothing_new() {
    let (started, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (says, waits) = (started.clone(), go.clone());
    let slow = get(|| async move {
        says.notify_one();
        waits.notified().await;
        "finished"
    });
    let server = start(Router::new().route("/", slow), Limits::default()).await;
    let address = server.address;
    let mut idle = server.connect(b"http/1.1").await;
    let mut stream = server.connect(b"http/1.1").await;
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
        .await
        .unwrap();
    eventually(started.notified()).await;

    let drained = server.begin_to_stop();
    assert_eq!(eventually(read_to_end(&mut idle)).await, "");
    eventually(async { while tokio::net::TcpStream::connect(address).await.is_ok() {} }).await;
    go.notify_one();
    assert!(
        eventually(read_to_end(&mut stream))
            .await
            .ends_with("finished")
    );
    assert_eq!(eventually(drained).await.unwrap().cut, 0);
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    let started = Arc::new(Notify::new());
    let says = started.clone();
    let endless = get(|| async move {
        says.notify_one();
        std::future::pending::<()>().await;
    });
    let server = start(Router::new().route("/", endless), QUICK).await;
    let mut stream = server.connect(b"http/1.1").await;
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
        .await
        .unwrap();
    eventually(started.notified()).await;
    assert!(eventually(server.stop()).await.cut <= 1);
    assert_eq!(eventually(read_to_end(&mut stream)).await, "");
}
