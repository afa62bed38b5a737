//! Signed answers, from a caller's question to an auditor's verdict, over real TLS.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::collections::BTreeMap;

use adyton_attest::observe::{Connection, Patience, observe};
use adyton_attest::signed_answer::{SignedAnswerError, StoredAnswer, content_digest, verify};
use adyton_attest::{Appraised, Nonce, Policy};
use adyton_client::clock::Clock;
use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use support::{EMAILS, World};

const CREATE: &str = "/api/rest/v1/ds/social-email";

/// What an honest caller asks for.
const ASK: &str = "sig1=(\"@status\" \"content-digest\" \"@method\";req \"@target-uri\";req);created;nonce=\"n-7\";\
                   tag=\"adyton\"";

/// An appraised connection.
struct Caller {
    connection: Connection,
    appraised: Appraised,
    url: String,
}

impl Caller {
    async fn of(world: &World) -> Self {
        let url = world.sandbox.node_url();
        let nonce = Some(Nonce::new([1; 32]));
        let observed = observe(&url.parse().unwrap(), nonce, &Patience::default())
            .await
            .unwrap();
        let policy = Policy::from_toml(world.sandbox.policy()).unwrap();
        let (appraised, connection) = observed.appraise(&policy, Clock::system().now()).unwrap();
        Self {
            connection,
            appraised,
            url: url.clone(),
        }
    }

    /// Asks, and keeps the exchange as an auditor would get it.
    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> StoredAnswer {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut request = Request::new(Full::new(Bytes::from(body.clone())));
        *request.method_mut() = method.clone();
        *request.uri_mut() = path.parse().unwrap();
        for (name, value) in headers {
            let name = name.parse::<http::HeaderName>().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let digest = request.headers().get("content-digest");
        let request_digest = digest.map(|value| value.to_str().unwrap().to_owned());
        let (head, answer) = self.connection.send(request).await.unwrap().into_parts();
        let answer = answer.collect().await.unwrap();
        let trailers = answer.trailers().map(fields).unwrap_or_default();
        StoredAnswer {
            method: method.to_string(),
            target_uri: format!("{}{path}", self.url),
            request_digest,
            request_body: body.into_bytes(),
            status: head.status.as_u16(),
            headers: fields(&head.headers),
            trailers,
            body: answer.to_bytes().to_vec(),
        }
    }

    /// Asks for a signed answer with a session and, if there is a body, its digest.
    async fn ask_signed(
        &mut self,
        method: Method,
        path: &str,
        key: &str,
        more: &[(&str, &str)],
        body: Option<&Value>,
    ) -> StoredAnswer {
        let digest = body.map(|body| content_digest(body.to_string().as_bytes()));
        let mut headers = vec![("accept-signature", ASK), ("x-api-key", key)];
        headers.extend(digest.as_deref().map(|digest| ("content-digest", digest)));
        headers.extend(more);
        self.ask(method, path, &headers, body).await
    }

    fn holds(&self, answer: &StoredAnswer) {
        // As it comes out of a file.
        let stored = StoredAnswer::from_json(&answer.to_json()).unwrap();
        let verified = verify(&stored, self.appraised.answer_key()).unwrap();
        assert_eq!(verified.nonce(), Some("n-7"));
        let age = Clock::system().now().duration_since(verified.created());
        assert!(age.unwrap().as_secs() < 60);
    }
}

fn fields(headers: &HeaderMap) -> BTreeMap<String, String> {
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect()
}

fn email(n: usize, text: &str) -> Value {
    json!({ "record": {
        "_id": format!("mail-{n}"), "name": "Subject", "type": "receive", "fromName": "ada",
        "fromEmail": "ada@example.com", "toName": "Me", "toEmail": "me@example.com", "messageText": text,
        "messageHTML": "", "sentAt": "2024-01-01T00:00:00.000Z",
    }})
}

#[tokio::test]
async fn an_answer_that_was_asked_for_signed_is_proof_and_says_nothing_of_the_credential() {
    let world = World::start().await;
    let (person, mut caller) = (world.person().await, Caller::of(&world).await);
    let key = person.key();

    let created = caller
        .ask_signed(Method::POST, CREATE, &key, &[], Some(&email(1, "hello")))
        .await;
    assert_eq!(created.status, 201);
    caller.holds(&created);
    let query = json!({ "query": { "fromName": "ada" } });
    let answer = caller
        .ask_signed(Method::POST, EMAILS, &key, &[], Some(&query))
        .await;
    assert_eq!(answer.status, 200);
    caller.holds(&answer);
    let public = caller
        .ask_signed(Method::GET, "/livez?a=b", "", &[], None)
        .await;
    caller.holds(&public);
    let input = &answer.headers["signature-input"];
    assert!(input.contains("\"content-digest\";req"), "{input}");
    assert!(
        !input.contains("api-key") && !input.contains(&key),
        "{input}"
    );

    // Every part of the exchange counts.
    let judge = |lie: fn(&mut StoredAnswer)| {
        let mut lied = answer.clone();
        lie(&mut lied);
        verify(&lied, caller.appraised.answer_key()).unwrap_err()
    };
    assert_eq!(
        judge(|lied| lied.status = 404),
        SignedAnswerError::Signature
    );
    assert_eq!(judge(|lied| lied.body.push(b' ')), SignedAnswerError::Body);
    assert_eq!(
        judge(|lied| lied.target_uri.push('x')),
        SignedAnswerError::Signature
    );
    assert_eq!(
        judge(|lied| lied.request_body.push(b' ')),
        SignedAnswerError::RequestBody
    );
    // Another node's evidence vouches for another key.
    let other = World::start().await;
    let stranger = Caller::of(&other).await;
    let refused = verify(&answer, stranger.appraised.answer_key()).unwrap_err();
    assert_eq!(refused, SignedAnswerError::Key);
}

#[tokio::test]
async fn problems_are_signed_as_well() {
    let world = World::start().await;
    let mut caller = Caller::of(&world).await;
    let query = json!({});
    let refused = caller
        .ask_signed(Method::POST, EMAILS, "not a session", &[], Some(&query))
        .await;
    assert_eq!(refused.status, 401);
    caller.holds(&refused);
    let nothing = caller
        .ask_signed(Method::GET, "/nothing", "", &[], None)
        .await;
    assert_eq!(nothing.status, 404);
    caller.holds(&nothing);
    let method = caller
        .ask_signed(Method::DELETE, "/livez", "", &[], None)
        .await;
    assert_eq!(method.status, 405);
    caller.holds(&method);
}

#[tokio::test]
async fn a_long_answer_is_signed_behind_its_body_or_refused() {
    let world = World::start().await;
    let (person, mut caller) = (world.person().await, Caller::of(&world).await);
    let key = person.key();
    for n in 0..8 {
        let mail = email(n, &"long ".repeat(4000));
        let created = caller
            .ask_signed(Method::POST, CREATE, &key, &[], Some(&mail))
            .await;
        assert_eq!(created.status, 201);
    }
    let (query, te) = (json!({ "options": { "limit": 100 } }), [("te", "trailers")]);
    let long = caller
        .ask_signed(Method::POST, EMAILS, &key, &te, Some(&query))
        .await;
    assert_eq!(long.status, 200);
    assert!(long.body.len() > 150_000, "{}", long.body.len());
    assert!(!long.headers.contains_key("signature"));
    assert_eq!(
        long.trailers.keys().collect::<Vec<_>>(),
        ["content-digest", "signature", "signature-input"]
    );
    caller.holds(&long);
    let mut cut = long.clone();
    cut.body.pop();
    let refused = verify(&cut, caller.appraised.answer_key()).unwrap_err();
    assert_eq!(refused, SignedAnswerError::Body);

    // Who takes no trailers is told so, signed; a short answer needs none.
    let refused = caller
        .ask_signed(Method::POST, EMAILS, &key, &[], Some(&query))
        .await;
    assert_eq!(refused.status, 413);
    caller.holds(&refused);
    let query = json!({ "options": { "limit": 1, "fields": ["_id"] } });
    let short = caller
        .ask_signed(Method::POST, EMAILS, &key, &te, Some(&query))
        .await;
    assert!(short.trailers.is_empty());
    caller.holds(&short);
}

#[tokio::test]
async fn a_body_without_its_digest_does_nothing() {
    let world = World::start().await;
    let (person, mut caller) = (world.person().await, Caller::of(&world).await);
    let key = person.key();
    let wrong = content_digest(b"another body");
    for (digest, status) in [
        (Some(wrong.as_str()), 400),
        (Some("sha-512=:AA==:"), 400),
        (None, 400),
    ] {
        let mut headers = vec![("accept-signature", ASK), ("x-api-key", key.as_str())];
        headers.extend(digest.map(|digest| ("content-digest", digest)));
        let mail = email(1, "never");
        let refused = caller
            .ask(Method::POST, CREATE, &headers, Some(&mail))
            .await;
        assert_eq!(refused.status, status, "{digest:?}");
    }
    let empty = [
        ("accept-signature", ASK),
        ("content-digest", wrong.as_str()),
    ];
    let refused = caller.ask(Method::GET, "/livez", &empty, None).await;
    assert_eq!(refused.status, 400);
    let path = "/api/rest/v1/ds/count/social-email";
    let count = caller
        .ask_signed(Method::POST, path, &key, &[], Some(&json!({})))
        .await;
    caller.holds(&count);
    let count: Value = serde_json::from_slice(&count.body).unwrap();
    assert_eq!(count["count"], 0, "{count}");
}

#[tokio::test]
async fn what_cannot_be_signed_as_asked_is_refused_and_what_is_not_asked_of_us_is_not_signed() {
    let world = World::start().await;
    let mut caller = Caller::of(&world).await;
    let status = |answer: &StoredAnswer| {
        let signed = answer.headers.contains_key("signature");
        (answer.status, signed)
    };
    for ask in [
        "sig1=(\"authorization\";req);tag=\"adyton\"",
        "sig1=();tag=\"adyton\";alg=\"rsa-v1_5-sha256\"",
        "sig1=(",
    ] {
        let headers = [("accept-signature", ask)];
        let refused = caller.ask(Method::GET, "/livez", &headers, None).await;
        assert_eq!(status(&refused), (400, false), "{ask}");
    }
    let ask = [("accept-signature", ASK)];
    // A secret in the URL is never part of anything that is kept.
    let path = "/api/rest/v1/auth/me?access_token=adyt_x";
    let refused = caller.ask(Method::GET, path, &ask, None).await;
    assert_eq!(status(&refused), (400, false));
    let refused = caller.ask(Method::HEAD, "/livez", &ask, None).await;
    assert_eq!(status(&refused), (400, false));
    for headers in [&[][..], &[("accept-signature", "sig1=();tag=\"other\"")]] {
        let plain = caller.ask(Method::GET, "/livez", headers, None).await;
        assert_eq!(status(&plain), (200, false));
    }
}
