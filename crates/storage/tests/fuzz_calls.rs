//! Any bytes as the members of a call, as a header, as a query: an answer or a refusal in the node's words, never a fault of ours.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use adyton_storage::{Proxy, Reach, RegistryChoice};
use serde_json::{Value, json};
use support::{Answer, Credential, Node};

/// Calls with their members; each of them in turn is replaced by something foreign.
fn calls(did: &str) -> Vec<(&'static str, Value)> {
    let token = "eyJhbGciOiJIUzI1NiJ9.e30.e30";
    let context = "Test: Context";
    let signature = format!("0x{}1b", "1".repeat(128));
    let hash = format!("v{}", "0".repeat(64));
    vec![
        (
            "/auth/generateAuthJwt",
            json!({"did": did, "contextName": context}),
        ),
        (
            "/auth/authenticate",
            json!({"did": did, "contextName": context, "authJwt": token, "signature": signature, "deviceId": "d"}),
        ),
        (
            "/auth/connect",
            json!({"did": did, "contextName": context, "refreshToken": token}),
        ),
        (
            "/auth/regenerateRefreshToken",
            json!({"contextName": context, "refreshToken": token}),
        ),
        (
            "/auth/isTokenValid",
            json!({"contextName": context, "refreshToken": token}),
        ),
        (
            "/auth/invalidateDeviceId",
            json!({"did": did, "contextName": context, "deviceId": "d", "signature": signature}),
        ),
        (
            "/auth/replicationCreds",
            json!({
                "endpointUri": "https://node.invalid", "did": did, "contextName": context,
                "timestampMinutes": 1, "password": "p".repeat(64), "signature": signature,
            }),
        ),
        (
            "/user/contextHash",
            json!({"did": did, "timestamp": 1, "signature": signature, "contextHash": hash}),
        ),
        (
            "/user/destroyContext",
            json!({"did": did, "timestamp": 1, "signature": signature, "contextName": context}),
        ),
        (
            "/user/createDatabase",
            json!({"databaseName": "x", "did": did, "options": {"permissions": {"read": "users", "readList": [did]}}}),
        ),
        (
            "/user/updateDatabase",
            json!({"databaseName": "x", "options": {}}),
        ),
        (
            "/user/deleteDatabase",
            json!({"databaseName": "x", "databaseHash": hash}),
        ),
        ("/user/databaseInfo", json!({"databaseName": "x"})),
        (
            "/user/pingDatabases",
            json!({"databaseHashes": [hash], "isWritePublic": true, "did": did, "contextName": context}),
        ),
        ("/user/checkReplication", json!({"databaseName": "x"})),
        (
            "/didRegistry/register",
            json!({"didAddress": &did[did.len() - 42..], "endpoints": ["https://node.invalid/did"], "signature": signature, "signatureProof": signature}),
        ),
        (
            "/didRegistry/lookup",
            json!({"didAddress": &did[did.len() - 42..]}),
        ),
        (
            "/didRegistry/revoke",
            json!({"didAddress": &did[did.len() - 42..], "signature": signature}),
        ),
    ]
}

/// Something foreign: JSON, if it is some, else a text.
fn foreign(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| String::from_utf8_lossy(bytes).into())
}

/// A header's value of foreign bytes.
fn header(bytes: &[u8]) -> String {
    bytes.iter().map(|b| char::from(b' ' + b % 95)).collect()
}

/// Refusals are ours to word; faults are not for strangers to cause.
fn hold(answer: &Answer, at: &str) {
    let text = String::from_utf8_lossy(&answer.body);
    assert!(!text.contains("could not do its work"), "{at}: {text}");
    assert_ne!(answer.status, 502, "{at}");
}

#[test]
fn any_bytes_as_a_call_are_answered_or_refused_and_the_node_lives() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let node = runtime.block_on(Node::with_config(|config| {
        config.registry = RegistryChoice::Directory(Vec::new());
        config.reach = Reach::Public;
        // For as long as one likes.
        config.limits.rates.address = u32::MAX;
        config.limits.rates.resolutions = u32::MAX;
    }));
    let owner = runtime.block_on(async { support::Person::new(1) });
    let calls = calls(owner.did.lowercase());
    let client = node.client();
    bolero::check!()
        .with_iterations(25)
        .with_max_len(120)
        .for_each(|bytes: &[u8]| {
            for (path, members) in &calls {
                for name in members.as_object().unwrap().keys() {
                    let mut body = members.clone();
                    body[name] = foreign(bytes);
                    runtime.block_on(async {
                        let answer = client.post(path, &body).await;
                        hold(&answer, &format!("{path} {body}"));
                    });
                }
            }
        });
    runtime.block_on(async { node.client().get("/status").await.expect(200).json() });
}

#[test]
fn any_bytes_as_headers_queries_and_bodies_of_the_data_path_are_answered_or_refused() {
    const HEADERS: &[&str] = &[
        "accept",
        "accept-encoding",
        "content-encoding",
        "content-md5",
        "content-type",
        "if-match",
        "if-none-match",
        "if-range",
        "last-event-id",
        "origin",
        "range",
        "x-forwarded-for",
    ];
    const REQUESTS: &[(&str, &str)] = &[
        ("GET", "/x/attached"),
        ("PUT", "/y/attached"),
        ("GET", "/x"),
        ("PUT", "/z"),
        ("GET", "/_changes"),
        ("POST", "/_changes"),
        ("POST", "/_all_docs"),
        ("POST", "/_bulk_docs"),
        ("POST", "/_bulk_get"),
        ("POST", "/_revs_diff"),
        ("POST", "/_purge"),
        ("POST", "/_find"),
        ("POST", "/_index"),
        ("PUT", "/_revs_limit"),
        ("PUT", "/_local/x"),
    ];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let node = runtime.block_on(Node::with_config(|config| {
        config.limits.feed_timeout = std::time::Duration::from_millis(1);
        config.limits.rates.account = u32::MAX;
        // Whoever asks writes `X-Forwarded-For`, too.
        config.proxy = Proxy::Trusted;
    }));
    let session = runtime.block_on(node.session(1));
    let db = runtime.block_on(session.database("d"));
    let attached =
        json!({"_attachments": {"attached": {"data": "aGVsbG8=", "content_type": "text/plain"}}});
    let put = runtime.block_on(session.put(&format!("{db}/x"), &attached));
    put.expect(201);
    let Credential::Bearer(token) = &session.access else {
        panic!("a bearer token")
    };
    let access = Credential::Bearer(token.clone());
    let client = session.client;
    bolero::check!()
        .with_iterations(60)
        .with_max_len(120)
        .for_each(|bytes: &[u8]| {
            let value = header(bytes);
            let query: String = url::form_urlencoded::byte_serialize(bytes).collect();
            let first = bytes.first().map_or(0, |byte| usize::from(*byte));
            for (n, (method, path)) in REQUESTS.iter().enumerate() {
                let turn = first + n;
                let headers = [(HEADERS[turn % HEADERS.len()], value.trim())];
                let names = [
                    "rev",
                    "since",
                    "keys",
                    "open_revs",
                    "heartbeat",
                    "atts_since",
                    "limit",
                ];
                let path = format!("{db}{path}?{}={query}", names[turn % names.len()]);
                let body = bytes.to_vec();
                runtime.block_on(async {
                    let answer = client.open_with(method, &path, &access, &headers, body);
                    let answer = Answer::read(answer.await).await;
                    hold(&answer, &format!("{method} {path} {headers:?}"));
                });
            }
        });
    runtime.block_on(async { session.get(&db).await.expect(200).json() });
}
