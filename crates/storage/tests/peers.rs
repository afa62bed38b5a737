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
use support::begun::Begun;
use support::{Answer, CONTEXT, Credential, Node, Person, Session, history, public, sign};
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
        self.credential_with(PASSWORD)
    }

    fn credential_with(&self, password: &str) -> Credential {
        let name = format!("r{}", hex::encode(keccak256(b"localhost")));
        Credential::Basic(name, password.into())
    }
}

/// The next version of a person's document, with a context on these nodes.
async fn put_context(node: &Node, person: &Person, nodes: Vec<String>) {
    put_contexts(node, person, vec![(CONTEXT, nodes)]).await;
}

async fn put_contexts(node: &Node, person: &Person, contexts: Vec<(&str, Vec<String>)>) {
    support::put_contexts(&node.client(), person, contexts, node.now()).await;
}

async fn node() -> Node {
    Node::with_config(|config| config.reach = Reach::AlsoThisMachine).await
}

/// The addresses of both, as documents name them.
fn both(node: &Node, original: &Original) -> Vec<String> {
    vec![
        format!("{}/", node.storage.public_url()),
        format!("{}/", original.url),
    ]
}

/// A node, an original one, and somebody whose context lies on both.
async fn stage() -> (Node, Original, Session, String) {
    let (node, original) = (node().await, Original::start().await);
    let owner = node.session(1).await;
    put_context(&node, &owner.person, both(&node, &original)).await;
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
    // One that was replaced opens nothing, and one that never was is none.
    for (password, status) in [(PASSWORD.to_uppercase(), 403), (PASSWORD.repeat(2), 401)] {
        let wrong = Credential::Basic(name.clone(), password);
        send("GET", db.clone(), &wrong, Value::Null)
            .await
            .expect(status);
    }

    // It outlives a restart, and ends with its day.
    let node = node.restart().await;
    node.client().send("GET", &db, &peer, "").await.expect(200);
    node.pass(24 * 60 * 60);
    node.client().send("GET", &db, &peer, "").await.expect(403);
}

#[tokio::test]
async fn a_nodes_password_is_in_no_file() {
    let (node, original, owner, db) = stage().await;
    let request = original.request(&node, &owner.person);
    original.ask(&node, request).await.expect(200);
    let document = json!({"canary": "what a file holds is found"});
    owner.put(&format!("{db}/x"), &document).await.expect(201);
    node.storage.shutdown().await;
    let mut files = vec![node.dir.path().to_owned()];
    let mut all = Vec::new();
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(path.read_dir().unwrap().map(|entry| entry.unwrap().path()));
        } else {
            all.extend(std::fs::read(path).unwrap());
        }
    }
    let holds = |text: &str| all.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(holds("what a file holds is found"));
    assert!(!holds(PASSWORD));
}

#[tokio::test]
async fn a_password_that_another_node_passed_on_opens_only_the_context_it_came_with() {
    let (node, original, owner, db) = stage().await;
    let own = original.request(&node, &owner.person);
    original.ask(&node, own).await.expect(200);

    // Somebody names both nodes and a third one. The original asks that one to let it in; that one passes the request on.
    let other = node.session(2).await;
    let mut nodes = both(&node, &original);
    nodes.push("https://third.example/".into());
    put_context(&node, &other.person, nodes).await;
    let others_db = other.database("d").await;
    let known_to_third = PASSWORD.to_uppercase();
    let mut passed_on = original.request(&node, &other.person);
    passed_on["password"] = known_to_third.clone().into();
    original.ask(&node, passed_on).await.expect(200);

    let third = original.credential_with(&known_to_third);
    let get = async |node: &Node, db: &str, credential: &Credential, status: u16| {
        let answer = node.client().send("GET", db, credential, "").await;
        answer.expect(status);
    };
    get(&node, &db, &third, 403).await;
    get(&node, &db, &original.credential(), 200).await;
    get(&node, &others_db, &third, 200).await;
    get(&node, &others_db, &original.credential(), 403).await;
    let node = node.restart().await;
    get(&node, &db, &third, 403).await;
    get(&node, &db, &original.credential(), 200).await;
    get(&node, &others_db, &third, 200).await;
}

#[tokio::test]
async fn without_a_password_a_node_gets_into_contexts_of_the_same_owner_on_the_same_nodes() {
    let (node, original, owner, db) = stage().await;
    let ask = async |person: &Person, context: &str, password: Option<&str>| {
        let mut body = original.request(&node, person);
        body["contextName"] = context.into();
        match password {
            Some(password) => body["password"] = password.into(),
            None => drop(body.as_object_mut().unwrap().remove("password")),
        }
        original.ask(&node, body).await
    };
    let refused = |answer: Answer| {
        assert_eq!(
            answer.expect(400).json()["message"],
            "Password not specified"
        );
    };
    ask(&owner.person, CONTEXT, Some(PASSWORD))
        .await
        .expect(200);
    // Another owner's context on the same nodes: nobody knows whose password that would be.
    let other = node.session(2).await;
    put_context(&node, &other.person, both(&node, &original)).await;
    refused(ask(&other.person, CONTEXT, None).await);

    // Another context of the same owner.
    let mut more = both(&node, &original);
    more.push("https://third.example/".into());
    let (same, wider) = ("Test: Same nodes", "Test: More nodes");
    let contexts = vec![
        (CONTEXT, both(&node, &original)),
        (same, both(&node, &original)),
        (wider, more),
    ];
    let again = Person::new(4);
    again.publish(&node.client(), node.now()).await;
    put_contexts(&node, &again, contexts).await;
    for context in [CONTEXT, same, wider] {
        Person::new(4).log_in_to(&node.client(), context).await;
    }
    refused(ask(&again, CONTEXT, None).await);
    ask(&again, CONTEXT, Some(PASSWORD)).await.expect(200);
    ask(&again, same, None).await.expect(200);
    refused(ask(&again, wider, None).await);
    let session = again.log_in_to(&node.client(), same).await;
    let same_db = session.database("d").await;
    for db in [db, same_db] {
        let peer = original.credential();
        node.client().send("GET", &db, &peer, "").await.expect(200);
    }
}

#[tokio::test]
async fn a_request_that_names_this_node_as_its_recipient_counts() {
    let (node, original, owner, _) = stage().await;
    let mut request = original.request(&node, &owner.person);
    request["to"] = format!("{}/", node.storage.public_url()).into();
    original.ask(&node, request).await.expect(200);
}

#[tokio::test]
async fn an_open_feed_of_a_node_tells_nothing_after_its_admission_ended() {
    let (node, original, owner, db) = stage().await;
    let request = original.request(&node, &owner.person);
    original.ask(&node, request).await.expect(200);
    let feed = format!("{db}/_changes?feed=continuous&timeout=20000");
    let feed = node
        .client()
        .open("GET", &feed, &original.credential(), "")
        .await;
    node.pass(24 * 60 * 60);
    // The owner's token ended, too.
    let person = Person::new(1);
    let owner = person.log_in(&node.client()).await;
    owner
        .put(&format!("{db}/late"), &json!({"member": 1}))
        .await
        .expect(201);
    let told = Answer::read(feed).await;
    told.expect(200);
    assert!(!told.text().contains("late"), "{}", told.text());
    assert!(told.text().contains("last_seq"));
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
async fn a_context_that_is_not_here_takes_no_place_for_nodes() {
    let node = Node::with_config(|config| {
        config.reach = Reach::AlsoThisMachine;
        config.limits.peers = 1;
    })
    .await;
    let original = Original::start().await;
    let (owner, stranger) = (node.session(1).await, node.person(2).await);
    for person in [&owner.person, &stranger] {
        put_context(&node, person, both(&node, &original)).await;
    }
    let of_stranger = original.request(&node, &stranger);
    let message = async |status: u16| {
        let answer = original.ask(&node, of_stranger.clone()).await;
        let said = answer.expect(status).json()["message"].clone();
        said.as_str().unwrap().to_owned()
    };
    let said = message(400).await;
    assert!(
        said.starts_with("Invalid context: DID not linked"),
        "{said}"
    );
    original
        .ask(&node, original.request(&node, &owner.person))
        .await
        .expect(200);
    Person::new(2).log_in(&node.client()).await;
    assert_eq!(
        message(400).await,
        "This node replicates with no further nodes"
    );
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
    // Exactly the address that the owner named is asked: no other one, no other port, and nothing that the caller adds.
    for url in [
        "http://10.0.0.1/",
        "http://169.254.169.254/latest",
        "https://other.example",
        "http://localhost:1",
        &original.url.replace("http:", "https:"),
        &format!("{}/?x=", original.url),
        &format!("{}/status?x=", original.url),
        &format!("{}/x/..//y", original.url),
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
    // It was meant for another node.
    let other = "This request is for another node";
    refused("to", "https://other.example/".into(), 400, other).await;
    refused("to", original.url.clone().into(), 400, other).await;
    refused("to", 5.into(), 400, other).await;
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
    put_context(&careful, &person, both(&careful, &original)).await;
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

#[tokio::test]
async fn a_node_whose_day_ends_while_it_sends_is_refused() {
    let (node, original, owner, db) = stage().await;
    let request = original.request(&node, &owner.person);
    original.ask(&node, request).await.expect(200);
    let mut begun = Vec::new();
    for row in support::begun::members_requests() {
        begun.push(Begun::new(node.client(), &original.credential(), &db, row).await);
    }
    node.pass(24 * 60 * 60);
    for request in begun {
        let (status, answer, row) = request.finish().await;
        assert_eq!(status, 403, "{row}: {answer}");
    }
    let again = Person::new(1).log_in(&node.client()).await;
    let listed = again.get(&format!("{db}/_all_docs")).await.json();
    let told = listed["rows"].to_string();
    assert!(!told.contains("late"), "{told}");
}
