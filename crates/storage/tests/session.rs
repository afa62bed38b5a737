//! Logging in, and everything that can go wrong with it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use adyton_protocol::consent;
use adyton_protocol::context::{ContextHash, ContextName};
use adyton_protocol::hash::hash_value;
use adyton_protocol::signature::{PublicKey, Signature};
use serde_json::{Value, json};
use support::{CONTEXT, Credential, Node, Person};

#[tokio::test]
async fn a_login_yields_tokens_that_open_both_sides() {
    let node = Node::start().await;
    let session = node.session(1).await;
    session
        .post("/user/databases", &json!({}))
        .await
        .expect(200);
    let who = session.get("/_session").await.expect(200).json();
    let account = ContextHash::of(&session.person.did, &session.context).couch_user();
    assert_eq!(who["userCtx"]["name"], account);
    assert_eq!(who["info"]["authenticated"], "jwt");
}

#[tokio::test]
async fn a_challenge_can_be_answered_once() {
    let node = Node::start().await;
    let person = node.person(1).await;
    let challenge = person.challenge(&node.client(), CONTEXT).await;
    person
        .answer_challenge(&node.client(), CONTEXT, &challenge)
        .await
        .expect(200);
    let replay = person
        .answer_challenge(&node.client(), CONTEXT, &challenge)
        .await;
    let refused = json!({"status": "fail", "message": "Invalid credentials or auth token"});
    assert_eq!(replay.expect(401).json(), refused);
    // Not after a restart either.
    let node = node.restart().await;
    person
        .answer_challenge(&node.client(), CONTEXT, &challenge)
        .await
        .expect(401);
}

#[tokio::test]
async fn a_challenge_lives_a_minute() {
    let node = Node::start().await;
    let person = node.person(1).await;
    let challenge = person.challenge(&node.client(), CONTEXT).await;
    node.pass(60);
    person
        .answer_challenge(&node.client(), CONTEXT, &challenge)
        .await
        .expect(401);
}

#[tokio::test]
async fn a_challenge_is_bound_to_did_and_context() {
    let node = Node::start().await;
    let (anna, berta) = (node.person(1).await, node.person(2).await);
    let challenge = anna.challenge(&node.client(), CONTEXT).await;
    berta
        .answer_challenge(&node.client(), CONTEXT, &challenge)
        .await
        .expect(401);
    anna.answer_challenge(&node.client(), "Other: Context", &challenge)
        .await
        .expect(401);
    anna.answer_challenge(&node.client(), CONTEXT, &challenge)
        .await
        .expect(200);
}

#[tokio::test]
async fn a_did_without_a_document_cannot_log_in() {
    let node = Node::start().await;
    let stranger = Person::new(9);
    let challenge = stranger.challenge(&node.client(), CONTEXT).await;
    stranger
        .answer_challenge(&node.client(), CONTEXT, &challenge)
        .await
        .expect(401);
}

#[tokio::test]
async fn a_did_that_was_switched_off_cannot_log_in() {
    let node = Node::start().await;
    let person = node.person(1).await;
    let path = format!("/did/{}", person.did.lowercase());
    let off = person.document_with(node.now(), &json!({"versionId": 1, "deactivated": true}));
    let client = node.client();
    let answer = client.send(
        "PUT",
        &path,
        &Credential::None,
        json!({"document": off}).to_string(),
    );
    answer.await.expect(200);
    let challenge = person.challenge(&node.client(), CONTEXT).await;
    person
        .answer_challenge(&node.client(), CONTEXT, &challenge)
        .await
        .expect(401);
}

#[tokio::test]
async fn an_access_token_lives_ten_minutes() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let path = session.database("d").await;
    node.pass(599);
    session.get(&path).await.expect(200);
    node.pass(1);
    let expired = session.get(&path).await;
    let body = json!({"error": "unauthorized", "reason": "exp not in future"});
    assert_eq!(expired.expect(401).json(), body);
    assert_eq!(
        session
            .post("/user/databases", &json!({}))
            .await
            .expect(401)
            .text(),
        "Unauthorized"
    );
}

#[tokio::test]
async fn a_refresh_token_gives_access_until_it_is_replaced() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let connect = |token: &str, context: &str| {
        let body = json!({"refreshToken": token, "did": session.person.did.as_given(), "contextName": context});
        let client = node.client();
        async move { client.post("/auth/connect", &body).await }
    };
    node.pass(3_600);
    let answer = connect(&session.refresh, CONTEXT).await.expect(200).json();
    assert_eq!(answer["host"], node.storage.public_url());
    let access = Credential::Bearer(answer["accessToken"].as_str().unwrap().to_owned());
    node.client()
        .send("POST", "/user/usage", &access, "")
        .await
        .expect(200);

    let refused = json!({"status": "fail", "data": {"did": "Invalid refresh token or DID"}});
    assert_eq!(
        connect(&session.refresh, "Other").await.expect(401).json(),
        refused
    );
    assert_eq!(connect("bad", CONTEXT).await.expect(401).json(), refused);
    let stranger = Person::new(2).did;
    let body = json!({"refreshToken": session.refresh, "did": stranger.as_given(), "contextName": CONTEXT});
    let refusal = node.client().post("/auth/connect", &body).await;
    assert_eq!(refusal.expect(401).json(), refused);
    let body = json!({"refreshToken": session.refresh, "contextName": "Other"});
    for call in ["/auth/isTokenValid", "/auth/regenerateRefreshToken"] {
        node.client().post(call, &body).await.expect(401);
    }

    let body = json!({"refreshToken": session.refresh, "contextName": CONTEXT});
    let valid = node
        .client()
        .post("/auth/isTokenValid", &body)
        .await
        .expect(200)
        .json();
    assert_eq!(valid["expires"], support::START + 2_592_000);
    let fresh = node
        .client()
        .post("/auth/regenerateRefreshToken", &body)
        .await
        .expect(200)
        .json();
    let fresh = fresh["refreshToken"].as_str().unwrap();
    node.client()
        .post("/auth/isTokenValid", &body)
        .await
        .expect(401);
    node.client()
        .post("/auth/regenerateRefreshToken", &body)
        .await
        .expect(401);
    connect(&session.refresh, CONTEXT).await.expect(401);
    connect(fresh, CONTEXT).await.expect(200);
    node.pass(2_592_000);
    connect(fresh, CONTEXT).await.expect(401);
}

#[tokio::test]
async fn tokens_of_one_kind_do_not_serve_as_another() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let (_, challenge) = session.person.challenge(&node.client(), CONTEXT).await;
    for token in [session.refresh.clone(), challenge.clone()] {
        let credential = Credential::Bearer(token);
        node.client()
            .send("POST", "/user/usage", &credential, "")
            .await
            .expect(401);
        node.client()
            .send("GET", "/_session", &credential, "")
            .await
            .expect(400);
    }
    let Credential::Bearer(access) = &session.access else {
        panic!("a bearer token")
    };
    for token in [access, &challenge] {
        let body = json!({"refreshToken": token, "did": session.person.did.as_given(), "contextName": CONTEXT});
        node.client().post("/auth/connect", &body).await.expect(401);
        node.client()
            .post("/auth/isTokenValid", &body)
            .await
            .expect(401);
    }
}

#[tokio::test]
async fn a_devices_tokens_are_revoked_together() {
    let node = Node::start().await;
    let first = node.session(1).await;
    let second = Person::new(1).log_in(&node.client()).await;
    let name = ContextName::new(CONTEXT).unwrap();
    let text = consent::invalidate_device(&first.person.did, &name, "test-device");
    let mut body = json!({
        "did": first.person.did.as_given(),
        "contextName": CONTEXT,
        "deviceId": "test-device",
        "signature": Person::new(2).sign(text.digest()),
    });
    node.client()
        .post("/auth/invalidateDeviceId", &body)
        .await
        .expect(401);
    body["signature"] = first.person.sign(text.digest()).into();
    node.client()
        .post("/auth/invalidateDeviceId", &body)
        .await
        .expect(200);
    for session in [first, second] {
        let body = json!({"refreshToken": session.refresh, "contextName": CONTEXT});
        node.client()
            .post("/auth/isTokenValid", &body)
            .await
            .expect(401);
    }
    node.client()
        .post("/auth/invalidateDeviceId", &body)
        .await
        .expect(401);
}

#[tokio::test]
async fn keys_tokens_and_accounts_survive_a_restart() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let path = session.database("d").await;
    let before = node.client().get("/status").await.json();
    let node = node.restart().await;
    let after = node.client().get("/status").await.json();
    assert_eq!(
        before["results"]["publicKey"],
        after["results"]["publicKey"]
    );
    node.client()
        .send("GET", &path, &session.access, "")
        .await
        .expect(200);
}

#[tokio::test]
async fn answers_are_signed_by_the_key_in_the_status() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let status = node.client().get("/status").await.expect(200).json();
    let key: PublicKey = status["results"]["publicKey"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let answers = [
        status,
        node.client().get("/auth/public").await.json(),
        session.post("/user/databases", &json!({})).await.json(),
        session.post("/user/usage", &json!({})).await.json(),
        session
            .post("/user/createDatabase", &json!({"databaseName": "x"}))
            .await
            .json(),
    ];
    for mut answer in answers {
        let Some(Value::String(text)) = answer.as_object_mut().unwrap().remove("signature") else {
            panic!("no signature");
        };
        let signature: Signature = text.parse().unwrap();
        assert!(
            signature
                .verify(hash_value(&answer).unwrap(), &key.address())
                .is_ok()
        );
    }
}

#[tokio::test]
async fn calls_without_their_members_are_refused_and_the_node_lives() {
    let node = Node::start().await;
    // Each of these ends the process of the original.
    for path in [
        "/auth/generateAuthJwt",
        "/auth/authenticate",
        "/auth/connect",
        "/auth/invalidateDeviceId",
        "/auth/regenerateRefreshToken",
        "/auth/isTokenValid",
        "/auth/replicationCreds",
        "/user/contextHash",
        "/user/destroyContext",
        "/did/x",
    ] {
        for body in [
            "",
            "{}",
            "null",
            "[]",
            "{",
            "{\"did\":1}",
            "\u{0}",
            "{\"document\":{}}",
        ] {
            let answer = node
                .client()
                .send("POST", path, &Credential::None, body.to_owned())
                .await;
            assert!(!answer.status.is_success(), "{path} {body}");
            assert!(answer.status.as_u16() <= 500, "{path} {body}");
            assert_eq!(answer.json()["status"], "fail", "{path} {body}");
        }
    }
    node.client().get("/status").await.expect(200);
}

#[tokio::test]
async fn a_full_node_takes_no_further_accounts() {
    let limits = adyton_storage::Limits {
        accounts: 1,
        ..Default::default()
    };
    let node = Node::with_limits(limits).await;
    let _first = node.session(1).await;
    // The same account again is no new account.
    let _again = Person::new(1).log_in(&node.client()).await;
    let second = node.person(2).await;
    let challenge = second.challenge(&node.client(), CONTEXT).await;
    let answer = second
        .answer_challenge(&node.client(), CONTEXT, &challenge)
        .await;
    assert_eq!(
        answer.expect(500).json()["message"],
        "Maximum user limit reached"
    );
}

#[tokio::test]
async fn accounts_without_a_database_that_nobody_used_for_a_day_make_room_on_a_full_node() {
    const HOUR: u64 = 60 * 60;
    let limits = adyton_storage::Limits {
        accounts: 3,
        ..Default::default()
    };
    let node = Node::with_limits(limits).await;
    let log_in = async |seed: u8| {
        let person = Person::new(seed);
        let challenge = person.challenge(&node.client(), CONTEXT).await;
        let client = node.client();
        let answer = person.answer_challenge(&client, CONTEXT, &challenge);
        answer.await
    };
    let connect = async |session: &support::Session, status: u16| {
        let body = json!({
            "refreshToken": session.refresh, "did": session.person.did.as_given(), "contextName": CONTEXT,
        });
        let answer = node.client().post("/auth/connect", &body).await;
        answer.expect(status);
    };
    let owner = node.session(1).await;
    let db = owner.database("d").await;
    let (idle, user) = (node.session(2).await, node.session(3).await);
    node.person(4).await;
    log_in(4).await.expect(500);
    node.pass(23 * HOUR);
    // Who only asks for access tokens uses the account, too.
    connect(&user, 200).await;
    log_in(4).await.expect(500);
    node.pass(HOUR);
    log_in(4).await.expect(200);
    connect(&idle, 401).await;
    connect(&user, 200).await;
    connect(&owner, 200).await;
    // It is made anew as room permits; accounts that own something, or are in use, make none.
    log_in(2).await.expect(500);
    let owner = Person::new(1).log_in(&node.client()).await;
    owner.get(&db).await.expect(200);
    // What loses its last database may make room.
    let body = json!({"databaseName": "d"});
    let gone = owner.post("/user/deleteDatabase", &body).await;
    gone.expect(200);
    let node = node.restart().await;
    node.pass(25 * HOUR);
    let again = Person::new(2);
    again.log_in(&node.client()).await;
}

#[tokio::test]
async fn an_account_has_so_many_refresh_tokens_and_the_oldest_ends() {
    let limits = adyton_storage::Limits {
        refresh_tokens_per_account: 2,
        ..Default::default()
    };
    let node = Node::with_limits(limits).await;
    let connects = async |session: &support::Session| {
        let body = json!({
            "refreshToken": session.refresh, "did": session.person.did.as_given(), "contextName": CONTEXT,
        });
        let answer = node.client().post("/auth/connect", &body).await;
        answer.status == 200
    };
    let other = node.session(2).await;
    let mut sessions = vec![node.session(1).await];
    for _ in 0..2 {
        node.pass(1);
        sessions.push(Person::new(1).log_in(&node.client()).await);
    }
    assert!(!connects(&sessions[0]).await);
    assert!(connects(&sessions[1]).await && connects(&sessions[2]).await);
    assert!(connects(&other).await);
}

#[tokio::test]
async fn a_context_is_named_and_destroyed_on_its_owners_word_only() {
    let node = Node::start().await;
    let session = node.session(1).await;
    session.database("d").await;
    let person = &session.person;
    let hash = ContextHash::of(&person.did, &session.context);
    let server = node.storage.public_url();
    let ask = |digest: [u8; 32], signer: &Person, extra: Value, timestamp: u64| {
        let mut body = json!({"did": person.did.lowercase(), "timestamp": timestamp, "signature": signer.sign(digest)});
        body.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        body
    };
    let now = node.now();
    let text = consent::context_hash_lookup(&person.did, &hash, server, now).digest();
    let body = ask(text, person, json!({"contextHash": hash.to_string()}), now);
    let named = node
        .client()
        .post("/user/contextHash", &body)
        .await
        .expect(200)
        .json();
    assert_eq!(named["result"]["contextName"], CONTEXT);
    let forged = ask(
        text,
        &Person::new(2),
        json!({"contextHash": hash.to_string()}),
        now,
    );
    node.client()
        .post("/user/contextHash", &forged)
        .await
        .expect(401);

    // A context that nobody has, and one that somebody else has, look the same, and the node lives.
    let other = node.session(2).await;
    for hash in [
        ContextHash::of(&other.person.did, &other.context).to_string(),
        format!("0x{}", "7".repeat(64)),
    ] {
        let text = consent::context_hash_lookup(&person.did, &hash.parse().unwrap(), server, now);
        let body = ask(text.digest(), person, json!({"contextHash": hash}), now);
        let answer = node.client().post("/user/contextHash", &body).await;
        assert_eq!(answer.expect(200).json()["result"], json!({}));
    }

    let text = consent::destroy_context(&person.did, &session.context, server, now).digest();
    let body = ask(text, &Person::new(2), json!({"contextName": CONTEXT}), now);
    node.client()
        .post("/user/destroyContext", &body)
        .await
        .expect(401);
    let body = ask(text, person, json!({"contextName": CONTEXT}), now);
    let destroyed = node
        .client()
        .post("/user/destroyContext", &body)
        .await
        .expect(200)
        .json();
    assert_eq!(destroyed["results"], json!(["d"]));
    node.pass(61);
    node.client()
        .post("/user/destroyContext", &body)
        .await
        .expect(401);
}

#[tokio::test]
async fn looking_up_a_did_locks_nobody_out() {
    let node = Node::start().await;
    let person = node.person(1).await;
    let path = format!("/lookup/did/{}?ignoreCache=1", person.did.as_given());
    for _ in 0..3 {
        let found = node.client().get(&path).await.expect(200).json();
        assert_eq!(found["data"]["document"]["id"], person.did.lowercase());
    }
    person.log_in(&node.client()).await;
}
