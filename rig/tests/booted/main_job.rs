//! The main job, through the released image: ciphertext on a storage node, a client that verifies, an answer to an app.

use crate::stage;
use crate::stage::{Stage, image, new_account, transport};
use adyton_client::attested_node::{AttestedNode, NodeAnswer, NodeCredential};
use adyton_client::clock::Clock;
use adyton_client::database_registry::create_registered;
use adyton_client::record::{PreparedRecord, Save};
use adyton_client::session::Session;
use adyton_keys::context_session::ContextSession;
use adyton_protocol::database::{DatabaseName, Permissions};
use adyton_rig::emulator::{MODULE_ID, PARENT_ID, PARENT_ROLE};
use http::Method;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

const EMAIL: &str = "https://common.schemas.verida.io/social/email/v0.1.0/schema.json";
const CHAT: &str = "https://common.schemas.verida.io/social/chat/message/v0.1.0/schema.json";

const MAILS: usize = 120;
const MESSAGES: usize = 300;

fn mail(n: usize) -> Value {
    let from = if n.is_multiple_of(2) { "ada" } else { "grace" };
    json!({
        "_id": format!("mail-{n}"),
        "name": format!("Message {n}"), "type": "receive", "fromName": from, "fromEmail": format!("{from}@example.com"),
        "toName": "Me", "toEmail": "me@example.com", "messageText": format!("Hello from {from}, number {n}"),
        "messageHTML": "", "sentAt": format!("2024-01-01T00:{:02}:{:02}.000Z", n / 60, n % 60),
    })
}

fn message(n: usize) -> Value {
    json!({
        "_id": format!("chat-{n}"),
        "name": format!("Chat {n}"), "groupId": format!("group-{}", n % 5), "type": "receive",
        "messageText": format!("word {n}"), "messageHTML": "", "fromId": "someone", "fromName": "Some One",
        "fromHandle": "someone", "sentAt": format!("2024-02-01T00:{:02}:{:02}.000Z", n / 60, n % 60),
    })
}

/// Seals records on the owner's side and stores them; no node has seen them.
async fn store(session: &Session, database: &str, schema: &str, records: Vec<Value>) {
    let database = session.database(&DatabaseName::new(database).unwrap());
    create_registered(&database, &Permissions::default())
        .await
        .unwrap();
    let cipher = database.cipher();
    let prepared: Vec<_> = records
        .into_iter()
        .map(|record| {
            let members: Map<String, Value> = serde_json::from_value(record).unwrap();
            PreparedRecord::new(members, Save::Insert, Some(schema), session).unwrap()
        })
        .collect();
    for written in database.put_all(&prepared, &cipher).await.unwrap() {
        written.unwrap();
    }
}

async fn mailbox_and_chats(owner: &ContextSession) {
    let session = Session::open(owner, transport(), Clock::system())
        .await
        .unwrap();
    store(
        &session,
        "social_email",
        EMAIL,
        (0..MAILS).map(mail).collect(),
    )
    .await;
    store(
        &session,
        "social_chat_message",
        CHAT,
        (0..MESSAGES).map(message).collect(),
    )
    .await;
}

struct Client {
    node: AttestedNode,
}

impl Client {
    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        who: &NodeCredential,
        body: Option<Value>,
    ) -> NodeAnswer {
        let path = format!("/api/rest/v1{path}");
        self.node
            .send(method, &path, Some(who), body.as_ref())
            .await
            .unwrap()
    }

    async fn post(&mut self, path: &str, who: &NodeCredential, body: Value) -> (u16, Value) {
        let answer = self.ask(Method::POST, path, who, Some(body)).await;
        (answer.status.as_u16(), answer.json().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_job_runs_through_the_released_image() {
    let stage = Stage::boot().await;
    eprintln!("the node serves after {:?}", stage.enclave.age());
    the_document_shows_what_the_builder_measured_and_where_it_runs(&stage).await;
    let owner = stage.open_context(&new_account()).await;
    mailbox_and_chats(&owner).await;
    let owner = NodeCredential::Session(owner.expose_api_key());

    // The client looks first: the builder's measurements, this configuration, this connection.
    let node = stage.node().await.unwrap();
    eprintln!("appraised after {:?}", stage.enclave.age());
    assert!(node.appraised().is_channel_bound());
    assert_eq!(node.appraised().config(), stage::CONFIG);
    assert_eq!(node.appraised().module_id(), MODULE_ID);
    let mut client = Client { node };

    // The enclave fetches ciphertext through its host and answers from plaintext in its memory.
    let query = json!({
        "query": { "fromName": "ada", "sentAt": { "$gte": "2024-01-01T00:01:30" } },
        "options": { "sort": [{ "sentAt": "desc" }], "limit": 3, "fields": ["_id", "messageText"] },
    });
    let (status, answer) = client
        .post("/ds/query/social-email", &owner, query.clone())
        .await;
    assert_eq!(status, 200, "{answer}");
    eprintln!("first answer after {:?}", stage.enclave.age());
    assert_eq!(answer["dbRows"], MAILS);
    let texts: Vec<_> = answer["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["messageText"])
        .collect();
    assert_eq!(
        texts,
        [
            "Hello from ada, number 118",
            "Hello from ada, number 116",
            "Hello from ada, number 114"
        ]
    );
    let (status, answer) = client
        .post(
            "/ds/count/social-chat-message",
            &owner,
            json!({ "query": { "groupId": "group-3" } }),
        )
        .await;
    assert_eq!(
        (status, &answer["count"]),
        (200, &json!(MESSAGES / 5)),
        "{answer}"
    );

    // It writes; what it wrote is on the storage node, for whoever has the owner's keys.
    let (status, written) = client
        .post("/ds/social-email", &owner, json!({ "record": mail(500) }))
        .await;
    assert_eq!(status, 201, "{written}");

    // An app is granted reading, reads, may not write, and is ended.
    let scopes = json!({ "scopes": ["api:ds-query", "ds:r:social-email"] });
    let (status, minted) = client.post("/auth/token", &owner, scopes).await;
    assert_eq!(status, 201, "{minted}");
    let token = minted["token"].as_str().unwrap().to_owned();
    let app = NodeCredential::Token(Zeroizing::new(token));
    let (status, answer) = client
        .post("/ds/query/social-email", &app, query.clone())
        .await;
    assert_eq!(
        (status, &answer["dbRows"]),
        (200, &json!(MAILS + 1)),
        "{answer}"
    );
    let (status, _) = client
        .post("/ds/social-email", &app, json!({ "record": mail(501) }))
        .await;
    assert_eq!(status, 403);
    let path = format!("/auth/tokens/{}", minted["_id"].as_str().unwrap());
    let ended = client.ask(Method::DELETE, &path, &owner, None).await;
    assert_eq!(ended.status, 200);
    let (status, answer) = client.post("/ds/query/social-email", &app, query).await;
    assert_eq!((status, &answer["code"]), (401, &json!("token-revoked")));
}

async fn the_document_shows_what_the_builder_measured_and_where_it_runs(stage: &Stage) {
    let address = stage.url().parse().unwrap();
    let patience = adyton_attest::observe::Patience::default();
    let nonce = adyton_attest::Nonce::new([7; 32]);
    let observed = adyton_attest::observe::observe(&address, Some(nonce), &patience)
        .await
        .unwrap();
    // An empty policy refuses, and says what it saw in a document that it could check.
    let nothing = adyton_attest::nitro::Pcr::of(b"nobody's");
    let listed = (0..=2).map(|index| (index, nothing)).collect();
    let policy = stage::policy(&stage.pki.root(), &listed);
    let refused =
        adyton_attest::appraise(&observed.evidence, &policy, &observed.seen, stage::now())
            .unwrap_err();
    let measured = refused.measured().unwrap();
    for (index, pcr) in &image().pcrs {
        assert_eq!(measured.get(index), Some(pcr), "pcr {index}");
    }
    // Formulas of the platform: role, machine, an unsigned image, untouched registers, all of ours locked.
    let zero = adyton_attest::nitro::Pcr::ZERO;
    assert_eq!(measured[&3], zero.extended(PARENT_ROLE.as_bytes()));
    assert_eq!(measured[&4], zero.extended(PARENT_ID.as_bytes()));
    assert_eq!(measured[&8], zero);
    let digest = adyton_attest::ConfigDigest::of(stage::CONFIG);
    assert_eq!(measured[&17], adyton_attest::nitro::Pcr::of_config(&digest));
    let locked: Vec<u8> = measured.keys().copied().collect();
    assert_eq!(
        locked,
        (0..32).collect::<Vec<u8>>(),
        "every register is locked, so it is in the document"
    );
}
