//! Any bytes as a path, a token, a DID document, a whole request: an answer or a refusal, never a panic and never a hang.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::time::Duration;

use adyton_protocol::did_document::DidDocument;
use adyton_storage::route::Route;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use support::{Answer, Node, Person};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[test]
fn any_text_as_a_path() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let path = String::from_utf8_lossy(bytes);
        let _known = Route::parse(&path).endpoint();
        let _in_database = Route::parse(&format!("/v{}/{path}", "0".repeat(64))).endpoint();
    });
}

#[test]
fn bytes_that_are_no_text_name_nothing_wherever_they_stand() {
    let names_something = |path: String| {
        let route = Route::parse(&format!("/v{}/{path}", "0".repeat(64)));
        matches!(
            route,
            Route::Document(..) | Route::Attachment(..) | Route::Index(..)
        )
    };
    let holes = [
        "{}",
        "{}/a",
        "a/{}",
        "_local/{}",
        "_design/{}",
        "_index/{}/json/n",
    ];
    for hole in holes {
        assert!(names_something(hole.replace("{}", "caf%C3%A9")), "{hole}");
        assert!(!names_something(hole.replace("{}", "caf%E9")), "{hole}");
    }
    bolero::check!().for_each(|bytes: &[u8]| {
        let name = percent_encode(bytes, NON_ALPHANUMERIC).to_string();
        for hole in holes {
            let named = names_something(hole.replace("{}", &name));
            assert!(!named || std::str::from_utf8(bytes).is_ok(), "{hole}");
        }
    });
}

#[test]
fn any_bytes_as_a_did_document() {
    let person = Person::new(1);
    bolero::check!().for_each(|bytes: &[u8]| {
        if let Ok(value) = serde_json::from_slice(bytes) {
            assert!(DidDocument::verify(value, &person.did).is_err());
        }
    });
}

/// Requests with holes: `{}` is filled with foreign bytes.
const REQUESTS: &[&str] = &[
    "GET /{} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    "GET /v0000000000000000000000000000000000000000000000000000000000000000/%FF{}?key=%FF HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    "GET /_session HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {}\r\n\r\n",
    "GET /_session HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Basic {}\r\n\r\n",
    "POST /auth/authenticate HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 40\r\n\r\n{}",
    "{}\r\n\r\n",
];

#[test]
fn any_bytes_in_a_request_are_answered_or_refused_and_the_node_lives() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let node = runtime.block_on(Node::with_limits(adyton_storage::Limits {
        header_timeout: Duration::from_millis(200),
        stall_timeout: Duration::from_millis(200),
        rates: adyton_storage::Rates {
            address: u32::MAX,
            ..Default::default()
        },
        ..Default::default()
    }));
    let address = node.storage.address();
    bolero::check!()
        .with_iterations(60)
        .with_max_len(200)
        .for_each(|bytes: &[u8]| {
            for template in REQUESTS {
                let (before, after) = template.split_once("{}").unwrap();
                let request = [before.as_bytes(), bytes, after.as_bytes()].concat();
                runtime.block_on(async {
                    let mut stream = TcpStream::connect(address).await.unwrap();
                    let _refused = stream.write_all(&request).await;
                    let _closed = stream.shutdown().await;
                    let mut answer = Vec::new();
                    let read = stream.read_to_end(&mut answer);
                    tokio::time::timeout(Duration::from_secs(20), read)
                        .await
                        .expect("the node keeps the connection for ever")
                        .ok();
                    assert!(
                        !answer.starts_with(b"HTTP/1.1 500"),
                        "{:?}",
                        String::from_utf8_lossy(&answer)
                    );
                });
            }
        });
    runtime.block_on(async { node.client().get("/status").await.expect(200).json() });
}

#[test]
fn any_bytes_as_a_document_with_attachments_are_taken_or_refused() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let node = runtime.block_on(Node::start());
    let session = runtime.block_on(node.session(1));
    let db = runtime.block_on(session.database("d"));
    let kind = [("content-type", "multipart/related; boundary=b")];
    // Whole, or only the head or the content of a part.
    let templates = [
        "{}",
        "--b\r\n\r\n{}\r\n--b--",
        "--b\r\n\r\n{\"_attachments\":{\"a\":{\"follows\":true}}}\r\n--b\r\n{}\r\n\r\nx\r\n--b--",
        "--b\r\n\r\n{\"_attachments\":{\"a\":{\"follows\":true}}}\r\n--b\r\n\r\n{}\r\n--b--",
    ];
    bolero::check!()
        .with_iterations(60)
        .with_max_len(200)
        .for_each(|bytes: &[u8]| {
            for template in templates {
                let (before, after) = template.rsplit_once("{}").unwrap();
                let body = [before.as_bytes(), bytes, after.as_bytes()].concat();
                let path = format!("{db}/x?new_edits=true");
                runtime.block_on(async {
                    let client = session.client;
                    let answer = client.open_with("PUT", &path, &session.access, &kind, body);
                    let status = Answer::read(answer.await).await.status.as_u16();
                    assert!([201, 400, 409, 412, 413].contains(&status), "{status}");
                });
            }
        });
}
