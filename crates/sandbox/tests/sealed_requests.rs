//! Requests that only the attested node can read, over a connection whose other end may be anybody.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::time::{Duration, SystemTime};

use adyton_attest::observe::{Connection, Patience, observe};
use adyton_attest::signed_answer::{StoredAnswer, content_digest, verify};
use adyton_attest::{Appraised, Nonce, Policy};
use adyton_client::clock::Clock;
use adyton_client::sealed_exchange::{
    Aead, AnswerSecret, REQUEST_TYPE, RESPONSE_TYPE, read_response, seal_request, write_request,
};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use support::{EMAILS, World};

const GATEWAY: &str = "/.well-known/ohttp-gateway";
const CREATE: &str = "/api/rest/v1/ds/social-email";
const ORIGIN: &str = "https://node.example";

/// A client that knows the attested key and not who is at the other end of its connection.
struct Client {
    connection: Connection,
    appraised: Appraised,
}

impl Client {
    async fn of(world: &World) -> Self {
        let address = world.sandbox.node_url().parse().unwrap();
        let nonce = Some(Nonce::new([1; 32]));
        let observed = observe(&address, nonce, &Patience::default())
            .await
            .unwrap();
        let policy = Policy::from_toml(world.sandbox.policy()).unwrap();
        let (appraised, connection) = observed.appraise(&policy, now()).unwrap();
        Self {
            connection,
            appraised,
        }
    }

    fn seal(&self, request: &Request<Bytes>) -> (Vec<u8>, AnswerSecret) {
        let message = write_request(request).unwrap();
        seal_request(message, self.appraised.hpke_key(), Aead::Aes256Gcm).unwrap()
    }

    /// What comes back in the open.
    async fn post(&mut self, kind: &str, message: &[u8]) -> Response<Bytes> {
        let request = Request::post(GATEWAY)
            .header("content-type", kind)
            .body(Full::new(Bytes::copy_from_slice(message)))
            .unwrap();
        let (head, body) = self.connection.send(request).await.unwrap().into_parts();
        Response::from_parts(head, body.collect().await.unwrap().to_bytes())
    }

    /// What comes back inside.
    async fn ask(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        let (message, secret) = self.seal(request);
        let answer = self.post(REQUEST_TYPE, &message).await;
        assert_eq!(answer.status(), StatusCode::OK, "{:?}", answer.body());
        assert_eq!(answer.headers()["content-type"], RESPONSE_TYPE);
        assert_eq!(answer.headers()["cache-control"], "no-store");
        read_response(secret.open(answer.body()).unwrap()).unwrap()
    }
}

fn now() -> SystemTime {
    Clock::system().now()
}

fn request(method: Method, path: &str, key: &str, body: Option<&Value>) -> Request<Bytes> {
    Request::builder()
        .method(method)
        .uri(format!("{ORIGIN}{path}"))
        .header("x-api-key", key)
        .header("date", httpdate::fmt_http_date(now()))
        .body(body.map(Value::to_string).unwrap_or_default().into())
        .unwrap()
}

fn email(id: &str) -> Value {
    json!({ "record": {
        "_id": id, "name": "Subject", "type": "receive", "fromName": "ada", "fromEmail": "ada@example.com",
        "toName": "Me", "toEmail": "me@example.com", "messageText": "kept from the middle", "messageHTML": "",
        "sentAt": "2024-01-01T00:00:00.000Z",
    }})
}

fn json_of(answer: &Response<Bytes>) -> Value {
    serde_json::from_slice(answer.body()).unwrap()
}

#[tokio::test]
async fn a_sealed_request_does_what_an_open_one_does_and_shows_nothing() {
    let world = World::start().await;
    let (person, mut client) = (world.person().await, Client::of(&world).await);
    let key = person.key();
    let create = request(Method::POST, CREATE, &key, Some(&email("mail-1")));
    let created = client.ask(&create).await;
    assert_eq!(created.status(), 201, "{:?}", created.body());
    let query = request(Method::POST, EMAILS, &key, Some(&json!({ "query": {} })));
    let (message, secret) = client.seal(&query);
    let open = client.post(REQUEST_TYPE, &message).await;
    let answer = read_response(secret.open(open.body()).unwrap()).unwrap();
    assert_eq!(
        json_of(&answer)["items"][0]["messageText"],
        "kept from the middle"
    );
    // The middle sees ciphertext both ways: no key, no path, no data, not even the inner status.
    for needle in [
        key.as_str(),
        "social-email",
        "kept from the middle",
        "x-api-key",
    ] {
        for seen in [&message[..], open.body()] {
            let found = memchr::memmem::find(seen, needle.as_bytes());
            assert_eq!(found, None, "{needle}");
        }
    }
    let nobody = client
        .ask(&request(Method::POST, EMAILS, "nobody", Some(&json!({}))))
        .await;
    assert_eq!(nobody.status(), 401);
    assert_eq!(json_of(&nobody)["code"], "credentials-invalid");
    let get = Request::get(format!("{ORIGIN}/livez")).body(Bytes::new());
    assert_eq!(client.ask(&get.unwrap()).await.status(), 200);
}

#[tokio::test]
async fn what_the_middle_sends_again_is_not_done_again() {
    let world = World::start().await;
    let (person, mut client) = (world.person().await, Client::of(&world).await);
    let key = person.key();
    // Without an id of its own, each would be another record.
    let mut mail = email("x");
    mail["record"].as_object_mut().unwrap().remove("_id");
    let (message, secret) = client.seal(&request(Method::POST, CREATE, &key, Some(&mail)));
    let first = client.post(REQUEST_TYPE, &message).await;
    let first = read_response(secret.open(first.body()).unwrap()).unwrap();
    assert_eq!(first.status(), 201, "{:?}", first.body());
    for _ in 0..3 {
        assert_eq!(client.post(REQUEST_TYPE, &message).await.status(), 200);
    }
    let path = "/api/rest/v1/ds/count/social-email";
    let count = client
        .ask(&request(Method::POST, path, &key, Some(&json!({}))))
        .await;
    assert_eq!(json_of(&count)["count"], 1);

    // A date that is old, or none, is refused; who may not do anything leaves no trace.
    let mut old = request(Method::POST, CREATE, &key, Some(&mail));
    let date = httpdate::fmt_http_date(now() - Duration::from_secs(3600));
    old.headers_mut().insert("date", date.parse().unwrap());
    assert_eq!(client.ask(&old).await.status(), 400);
    old.headers_mut().remove("date");
    assert_eq!(client.ask(&old).await.status(), 400);
    let stranger = request(Method::POST, CREATE, "nobody", Some(&mail));
    assert_eq!(client.ask(&stranger).await.status(), 401);
}

#[tokio::test]
async fn an_answer_inside_can_be_signed() {
    let world = World::start().await;
    let mut client = Client::of(&world).await;
    let body = json!({});
    let digest = content_digest(body.to_string().as_bytes());
    let mut asked = request(Method::POST, EMAILS, "nobody", Some(&body));
    let ask = "s=();nonce=\"n\";tag=\"adyton\"";
    asked
        .headers_mut()
        .insert("accept-signature", ask.parse().unwrap());
    asked
        .headers_mut()
        .insert("content-digest", digest.parse().unwrap());
    let answer = client.ask(&asked).await;
    let fields = answer
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    let stored = StoredAnswer {
        method: "POST".to_owned(),
        target_uri: format!("{ORIGIN}{EMAILS}"),
        request_digest: Some(digest),
        request_body: body.to_string().into_bytes(),
        status: answer.status().as_u16(),
        headers: fields.collect(),
        trailers: [].into(),
        body: answer.body().to_vec(),
    };
    let verified = verify(&stored, client.appraised.answer_key()).unwrap();
    assert_eq!(verified.nonce(), Some("n"));
}

#[tokio::test]
async fn what_is_not_for_this_node_is_refused_in_the_open() {
    let (world, other) = (World::start().await, World::start().await);
    let (mut client, stranger) = (Client::of(&world).await, Client::of(&other).await);
    let get = Request::get(format!("{ORIGIN}/livez"))
        .body(Bytes::new())
        .unwrap();
    let (foreign, _) = stranger.seal(&get);
    let (good, _) = client.seal(&get);
    let mut changed = good.clone();
    *changed.last_mut().unwrap() ^= 1;
    for (kind, message) in [
        (REQUEST_TYPE, &foreign),
        (REQUEST_TYPE, &changed),
        (REQUEST_TYPE, &good[..20].to_vec()),
        (REQUEST_TYPE, &Vec::new()),
        ("application/json", &good),
    ] {
        let refused = client.post(kind, message).await;
        assert_eq!(refused.status(), 400, "{kind}");
        assert_eq!(
            refused.headers()["content-type"],
            "application/problem+json"
        );
    }
    // Nothing is nested, nothing is for another scheme, and what is out of form is said inside.
    let nested = Request::post(format!("{ORIGIN}{GATEWAY}")).body(Bytes::from(good));
    assert_eq!(client.ask(&nested.unwrap()).await.status(), 404);
    let plain = Request::get("http://node.example/livez").body(Bytes::new());
    assert_eq!(client.ask(&plain.unwrap()).await.status(), 400);
    let key = client.appraised.hpke_key();
    let (message, secret) = seal_request(b"\x02garbage".to_vec(), key, Aead::Aes128Gcm).unwrap();
    let answer = client.post(REQUEST_TYPE, &message).await;
    let answer = read_response(secret.open(answer.body()).unwrap()).unwrap();
    assert_eq!(answer.status(), 400);
}

#[tokio::test]
async fn an_answer_without_end_is_refused_and_not_waited_for() {
    let world = World::start().await;
    let (person, mut client) = (world.person().await, Client::of(&world).await);
    let watch = "/api/rest/v1/db/watch/notes";
    let watch = request(Method::GET, watch, &person.key(), None);
    let refused = client.ask(&watch).await;
    assert_eq!(refused.status(), 400);
    assert_eq!(json_of(&refused)["code"], "request-malformed");
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused() {
    let world = World::with("body_mib = 1\n").await;
    let (person, mut client) = (world.person().await, Client::of(&world).await);
    let key = person.key();
    let long = json!({ "query": "x".repeat(1 << 20) });
    let refused = client
        .ask(&request(Method::POST, EMAILS, &key, Some(&long)))
        .await;
    assert_eq!(refused.status(), 413);
    let refused = client
        .post(REQUEST_TYPE, &vec![0; (1 << 20) + (64 << 10) + 1])
        .await;
    assert_eq!(refused.status(), 413);
    // Answers come whole, or not at all.
    for n in 0..3 {
        let mut mail = email(&format!("mail-{n}"));
        mail["record"]["messageText"] = "long ".repeat(90_000).into();
        let created = client
            .ask(&request(Method::POST, CREATE, &key, Some(&mail)))
            .await;
        assert_eq!(created.status(), 201);
    }
    let all = request(Method::POST, EMAILS, &key, Some(&json!({})));
    assert_eq!(client.ask(&all).await.status(), 413);
    let one = request(
        Method::POST,
        EMAILS,
        &key,
        Some(&json!({ "options": { "limit": 1 } })),
    );
    assert_eq!(client.ask(&one).await.status(), 200);
}
