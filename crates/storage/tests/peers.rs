//! Other nodes replicate to this one with the original's credentials, into contexts whose owners named both.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::convert::Infallible;

use adyton_protocol::consent;
use adyton_protocol::context::{ContextHash, ContextName};
use adyton_protocol::hash::{hash_value, keccak256};
use adyton_storage::Reach;
use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use secp256k1::SecretKey;
use serde_json::{Value, json};
use support::{
    Answer, CONTEXT, Credential, Node, Person, Session, history, public, put_context, sign,
};
use tokio::net::TcpListener;

const PASSWORD: &str = "5f0c6d1c5f0c6d1c5f0c6d1c5f0c6d1c5f0c6d1c5f0c6d1c5f0c6d1c5f0c6d1c";

/// An original node, as far as the handshake needs one: it shows its key. Nodes are told apart by host, so it is `localhost`.
struct Original {
    key: SecretKey,
    url: String,
}

impl Original {
    async fn start() -> Self {
        let key = SecretKey::from_secret_bytes([42; 32]).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://localhost:{}", listener.local_addr().unwrap().port());
        let shown = format!("0x{}", hex::encode(public(&key).uncompressed()));
        let status = json!({"status": "success", "results": {"publicKey": shown}}).to_string();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let status = status.clone();
                let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    // Nodes that it is named beside push to it, too: it does not answer that.
                    let shown = request.uri().path() == "/status";
                    let body = if shown { status.clone() } else { String::new() };
                    let mut response = Response::new(Full::new(Bytes::from(body)));
                    if !shown {
                        *response.status_mut() = http::StatusCode::NOT_FOUND;
                    }
                    async { Ok::<_, Infallible>(response) }
                });
                let serving = hyper::server::conn::http1::Builder::new();
                tokio::spawn(serving.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { key, url }
    }

    fn request(&self, node: &Node, person: &Person) -> Value {
        json!({
            "endpointUri": self.url, "did": person.did.as_given(), "contextName": CONTEXT,
            "timestampMinutes": node.now() / 60, "password": PASSWORD,
        })
    }

    async fn ask(&self, node: &Node, mut body: Value) -> Answer {
        body["signature"] = sign(&self.key, hash_value(&body).unwrap())
            .to_string()
            .into();
        node.client().post("/auth/replicationCreds", &body).await
    }

    fn credential(&self) -> Credential {
        let name = format!("r{}", hex::encode(keccak256(b"localhost")));
        Credential::Basic(name, PASSWORD.into())
    }
}

async fn node() -> Node {
    Node::with_config(|config| config.reach = Reach::AlsoThisMachine).await
}

/// A node, an original one, and somebody whose context lies on both.
async fn stage() -> (Node, Original, Session, String) {
    let (node, original) = (node().await, Original::start().await);
    let owner = node.session(1).await;
    let nodes = vec![
        format!("{}/", node.storage.public_url()),
        format!("{}/", original.url),
    ];
    put_context(&node.client(), &owner.person, nodes, node.now()).await;
    let db = owner.database("d").await;
    (node, original, owner, db)
}

#[tokio::test]
async fn a_node_that_the_owner_named_replicates_into_the_context_and_nowhere_else() {
    let (node, original, owner, db) = stage().await;
    let stranger = node.session(2).await;
    let foreign = stranger
        .database_with("d", &json!({"read": "public", "write": "public"}))
        .await;
    let request = original.request(&node, &owner.person);

    let created = original
        .ask(&node, request.clone())
        .await
        .expect(200)
        .json();
    assert_eq!(created["result"], "created");
    assert!(created.get("status").is_none() && created["signature"].is_string());
    assert_eq!(
        original.ask(&node, request.clone()).await.json()["result"],
        "exists"
    );
    let mut other = request.clone();
    other["password"] = PASSWORD.to_uppercase().into();
    assert_eq!(original.ask(&node, other).await.json()["result"], "updated");
    assert_eq!(
        original.ask(&node, request.clone()).await.json()["result"],
        "updated"
    );
    let mut bare = request;
    bare.as_object_mut().unwrap().remove("password");
    assert_eq!(original.ask(&node, bare).await.json()["result"], "exists");

    let send = async |method: &str, path: String, credential: &Credential, body: Value| {
        node.client()
            .send(method, &path, credential, body.to_string())
            .await
    };
    let peer = original.credential();
    let name = send("GET", "/_session".into(), &peer, Value::Null)
        .await
        .json();
    assert_eq!(
        name["userCtx"]["name"],
        format!("r{}", hex::encode(keccak256(b"localhost")))
    );
    send("GET", db.clone(), &peer, Value::Null)
        .await
        .expect(200);
    let docs = json!({"new_edits": false, "docs": [history("x", 1, "a", json!({"b": 1}))]});
    send("POST", format!("{db}/_bulk_docs"), &peer, docs.clone())
        .await
        .expect(201);
    owner.get(&format!("{db}/x")).await.expect(200);
    send("PUT", format!("{db}/_local/c"), &peer, json!({"since": 1}))
        .await
        .expect(201);
    send("PUT", format!("{db}/_design/x"), &peer, json!({}))
        .await
        .expect(401);
    // Not even what everybody may.
    send("GET", foreign.clone(), &peer, Value::Null)
        .await
        .expect(403);
    send("POST", format!("{foreign}/_bulk_docs"), &peer, docs)
        .await
        .expect(403);
    send("POST", "/user/databases".into(), &peer, json!({}))
        .await
        .expect(401);

    let Credential::Basic(name, _) = &peer else {
        panic!("a password")
    };
    let wrong = Credential::Basic(name.clone(), PASSWORD.to_uppercase());
    send("GET", db.clone(), &wrong, Value::Null)
        .await
        .expect(401);

    // It outlives a restart, and ends with its day.
    let node = node.restart().await;
    node.client().send("GET", &db, &peer, "").await.expect(200);
    node.pass(24 * 60 * 60);
    node.client().send("GET", &db, &peer, "").await.expect(403);
}

#[tokio::test]
async fn destroying_a_context_lets_no_node_into_it_any_more() {
    let (node, original, owner, db) = stage().await;
    original
        .ask(&node, original.request(&node, &owner.person))
        .await
        .expect(200);
    let server = node.storage.public_url();
    let did = &owner.person.did;
    let text = consent::destroy_context(did, &owner.context, server, node.now());
    let body = json!({
        "did": did.lowercase(), "timestamp": node.now(), "contextName": CONTEXT,
        "signature": owner.person.sign(text.digest()),
    });
    node.client()
        .post("/user/destroyContext", &body)
        .await
        .expect(200);
    owner.database("d").await;
    node.client()
        .send("GET", &db, &original.credential(), "")
        .await
        .expect(403);
}

#[tokio::test]
async fn a_handshake_that_does_not_hold_lets_nobody_in() {
    let (node, original, owner, db) = stage().await;
    let request = original.request(&node, &owner.person);
    let refused = async |member: &str, value: Value, status: u16, message: &str| {
        let mut body = request.clone();
        body[member] = value;
        let answer = original.ask(&node, body).await;
        let said = answer.expect(status).json()["message"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(said.starts_with(message), "{said}");
    };
    let stranger = Person::new(3).did;
    refused(
        "did",
        stranger.as_given().into(),
        400,
        "Unable to locate DID",
    )
    .await;
    refused("did", "x".into(), 400, "Unable to locate DID: x").await;
    refused(
        "contextName",
        "Other".into(),
        400,
        "Invalid context: DID not linked",
    )
    .await;
    let elsewhere = "Invalid DID and context: Not associated with this endpoint http";
    // Its host decides, so nobody's address is asked that the owner did not name.
    for url in [
        "http://10.0.0.1/",
        "http://169.254.169.254/latest",
        "https://other.example",
    ] {
        refused("endpointUri", url.into(), 400, elsewhere).await;
    }
    refused(
        "endpointUri",
        "ftp://localhost/".into(),
        400,
        "Endpoint not specified",
    )
    .await;
    refused(
        "endpointUri",
        "http://localhost:1".into(),
        400,
        "Unknown error: ",
    )
    .await;
    refused("password", "short".into(), 400, "Invalid password").await;
    refused(
        "timestampMinutes",
        5.into(),
        400,
        "Timestamp is out of range",
    )
    .await;

    // Signed by another key, or something else was signed.
    let mut forged = request.clone();
    forged["signature"] = owner.person.sign(hash_value(&forged).unwrap()).into();
    let answer = node.client().post("/auth/replicationCreds", &forged).await;
    assert_eq!(answer.expect(401).json()["message"], "Invalid signature");
    let mut changed = request.clone();
    changed["signature"] = sign(&original.key, hash_value(&request).unwrap())
        .to_string()
        .into();
    changed["password"] = "x".repeat(64).into();
    node.client()
        .post("/auth/replicationCreds", &changed)
        .await
        .expect(401);
    node.client()
        .send("GET", &db, &original.credential(), "")
        .await
        .expect(401);

    // A first time without a password.
    let mut bare = request.clone();
    bare.as_object_mut().unwrap().remove("password");
    assert_eq!(
        original.ask(&node, bare).await.expect(400).json()["message"],
        "Password not specified"
    );

    // A node that contacts public addresses only does not ask this machine, whoever names it.
    let careful = Node::start().await;
    let person = careful.person(1).await;
    let nodes = vec![
        format!("{}/", careful.storage.public_url()),
        format!("{}/", original.url),
    ];
    put_context(&careful.client(), &person, nodes, careful.now()).await;
    let answer = original
        .ask(&careful, original.request(&careful, &person))
        .await;
    let said = answer.expect(400).json();
    assert_eq!(
        said["message"],
        "Unknown error: the address may not be contacted"
    );
    let hash = ContextHash::of(&person.did, &ContextName::new(CONTEXT).unwrap());
    assert!(!said.to_string().contains(&hash.couch_user()));
}
