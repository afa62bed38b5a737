//! Marked words go through everything; afterwards they are nowhere but in the answers to those who may have them.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    missing_docs
)]

mod caller;
mod child;
mod lacking;
#[path = "canary/memory.rs"]
mod memory;
#[path = "canary/mistakes.rs"]
mod mistakes;
#[path = "canary/needle.rs"]
mod needle;

use std::fs;
use std::path::Path;
use std::time::Duration;

use adyton_client::attested_node::{NodeAnswer, NodeCredential};
use adyton_client::clock::Clock;
use adyton_client::did_resolver::StorageNodeResolver;
use adyton_client::endpoint::Reach;
use adyton_client::identity::open_context;
use adyton_client::storage_node::StorageNode;
use adyton_client::transport::Transport;
use adyton_keys::account::Account;
use adyton_keys::context_session::ContextSession;
use adyton_node::grants::TokenSecret;
use adyton_node::zeroing_allocator::ZeroingAllocator;
use adyton_protocol::context::ContextName;
use adyton_protocol::database::DatabaseName;
use adyton_sandbox::cluster::NETWORK;
use caller::{Answer, Caller};
use child::{Process, Role};
use mistakes::{Credentials, Mistake, mistakes};
use needle::Needle;
use rand_core::{OsRng, TryRngCore};
use serde_json::{Value, json};
use tempfile::TempDir;
use tracing_subscriber::filter::LevelFilter;
use zeroize::Zeroizing;

/// As in the node's own binary.
#[global_allocator]
static ALLOCATOR: ZeroingAllocator = ZeroingAllocator::new();

const CONFIG: &str =
    "listen = \"127.0.0.1:0\"\nallow_loopback_storage = true\n[limits]\nidle_seconds = 2\n";

/// The child's side: whatever any library has to say is printed.
#[test]
fn child() {
    child::serve_if_asked(|| {
        tracing_subscriber::fmt()
            .with_max_level(LevelFilter::TRACE)
            .with_writer(std::io::stderr)
            .init();
    });
}

/// The words of one run.
struct Words {
    /// What only the owner's answers may contain: texts and names of members.
    text: Needle,
    member: Needle,
    question: Needle,
    /// What storage nodes see by design (SECURITY.md), and nobody else.
    id: Needle,
    database: Needle,
    /// Whatever a stranger sends.
    nonsense: Needle,
}

/// Two nodes, an owner, and everything that the node ever answered to somebody who may not see the words.
struct Stage {
    node: Process,
    storage: Process,
    data: TempDir,
    folder: TempDir,
    account: Account,
    words: Words,
    session: ContextSession,
    key: Zeroizing<String>,
    answers: Vec<u8>,
}

impl Stage {
    async fn new() -> Self {
        Self::with(CONFIG).await
    }

    async fn with(config: &str) -> Self {
        let (data, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let storage = Process::start(
            Role::Storage,
            data.path().to_str().unwrap(),
            folder.path(),
            &[],
        );
        let node = Process::start(Role::ReadableNode, config, folder.path(), &[]);
        let (account, _) = Account::generate(NETWORK.anchor(), &mut OsRng.unwrap_err());
        let session = open(&account, storage.hello("url")).await;
        Self {
            node,
            storage,
            data,
            folder,
            account,
            words: Words {
                text: Needle::random("record text"),
                member: Needle::random("member name"),
                question: Needle::random("question"),
                id: Needle::random("record id"),
                database: Needle::random("database name"),
                nonsense: Needle::random("nonsense"),
            },
            key: session.expose_api_key(),
            session,
            answers: Vec::new(),
        }
    }

    /// Keeps an answer that anybody may see.
    fn keep(&mut self, answer: &Answer) {
        self.answers
            .extend_from_slice(format!("{:?}", answer.headers).as_bytes());
        self.answers.extend_from_slice(&answer.body);
    }

    /// Writes, reads, queries. Returns an app's token.
    async fn use_it(&mut self, caller: &mut Caller) -> Needle {
        let key = self.key.clone();
        let owner = [("x-api-key", key.as_str())];
        let (database, id) = (self.words.database.word.clone(), self.words.id.word.clone());
        let (text, member) = (self.words.text.word.clone(), self.words.member.word.clone());
        let create = format!("/api/rest/v1/db/{database}");
        for n in 0..30 {
            let long = format!("{text} {}", "and so on ".repeat(n * 40));
            let record =
                json!({ "record": { "_id": format!("{id}-{n}"), member.as_str(): long, "n": n } });
            assert_eq!(
                caller
                    .send("POST", &create, &owner, Some(&record))
                    .await
                    .status,
                201
            );
        }
        let update = json!({ "record": { member.as_str(): format!("{text} anew") }, "options": { "forceUpdate": true } });
        let answer = caller
            .send("PUT", &format!("{create}/{id}-3"), &owner, Some(&update))
            .await;
        assert_eq!(answer.status, 200, "{}", answer.json());
        assert_eq!(
            caller
                .send("DELETE", &format!("{create}/{id}-4"), &owner, None)
                .await
                .status,
            200
        );
        let query = json!({
            "query": { member.as_str(): { "$gte": "" }, "n": { "$ne": self.words.question.word } },
            "options": { "sort": [{ member.as_str(): "desc" }], "limit": 100 },
        });
        let found = caller
            .send(
                "POST",
                &format!("/api/rest/v1/db/query/{database}"),
                &owner,
                Some(&query),
            )
            .await;
        assert!(
            self.words.text.count_in(&found.body) >= 20,
            "the owner sees it: {}",
            found.json()
        );
        let watch = json!({ "query": query["query"], "options": { "since": "start" } });
        let path = format!("/api/rest/v1/db/watch/{database}");
        let told = caller.send("POST", &path, &owner, Some(&watch)).await;
        assert!(self.words.text.count_in(&told.body) >= 20);
        let scopes = json!({ "scopes": ["api:db-query", format!("db:r:{database}")] });
        let minted = caller
            .send("POST", "/api/rest/v1/auth/token", &owner, Some(&scopes))
            .await
            .json();
        let token = Needle::of("access token", minted["token"].as_str().unwrap().to_owned());
        let bearer = format!("Bearer {}", token.word);
        let found = caller
            .send(
                "POST",
                &format!("/api/rest/v1/db/query/{database}"),
                &[("authorization", &bearer)],
                Some(&query),
            )
            .await;
        assert!(
            self.words.text.count_in(&found.body) >= 20,
            "the app sees it: {}",
            found.json()
        );
        token
    }

    /// Makes mistakes with the words in all places where a word can stand.
    async fn err(&mut self, caller: &mut Caller, token: &Needle) {
        let key = self.key.clone();
        let bearer = format!("Bearer {}", token.word);
        let wrong = format!("Bearer adyt_{}", self.words.nonsense.word);
        let (owner, app) = (
            ("x-api-key", key.as_str()),
            ("authorization", bearer.as_str()),
        );
        let credentials = Credentials {
            owner,
            app,
            wrong: ("authorization", &wrong),
        };
        let mut codes = std::collections::BTreeSet::new();
        let mut kept = Vec::new();
        for mistake in mistakes(&self.words, &credentials) {
            let Mistake {
                method,
                path,
                headers,
                body,
            } = mistake;
            let answer = caller.send(method, &path, &headers, body.as_ref()).await;
            assert!(!answer.status.is_success(), "{method} {path} is no mistake");
            let (_, code) = answer.problem();
            codes.insert(code);
            kept.push(answer);
        }
        // Two more, one after the other: a token that was taken back, and a body over the limit.
        let list = caller
            .send("GET", "/api/rest/v1/auth/tokens", &[owner], None)
            .await
            .json();
        let path = format!(
            "/api/rest/v1/auth/tokens/{}",
            list["tokens"][0]["_id"].as_str().unwrap()
        );
        assert_eq!(
            caller.send("DELETE", &path, &[owner], None).await.status,
            200
        );
        let text = &self.words.text.word;
        let large = json!({ "record": { "text": text.repeat((9 << 20) / text.len()) } });
        for (header, body, code) in [
            (app, None, "token-revoked"),
            (owner, Some(&large), "request-too-large"),
        ] {
            let path = format!("/api/rest/v1/db/{}", self.words.database.word);
            let answer = caller.send("POST", &path, &[header], body).await;
            assert_eq!(answer.problem().1, code);
            codes.insert(code.to_owned());
            kept.push(answer);
        }
        kept.iter().for_each(|answer| self.keep(answer));
        eprintln!("problems reached: {codes:?}");
        assert!(codes.len() >= 12, "{codes:?}");
    }

    /// What anybody can ask.
    async fn look_around(&mut self, caller: &mut Caller) {
        let nonce = format!("/.well-known/adyton-attestation?nonce={}", "ab".repeat(32));
        for path in [
            "/livez",
            "/readyz",
            "/api/rest/v1/info/status",
            "/api/rest/v1/auth/scopes",
            &nonce,
        ] {
            let answer = caller.send("GET", path, &[], None).await;
            assert_eq!(answer.status, 200, "{path}");
            self.keep(&answer);
        }
    }

    /// Everything secret that is the owner's, beside the words.
    fn secrets(&self) -> Vec<Needle> {
        let session: Value = serde_json::from_slice(&self.session.expose_json()).unwrap();
        let auth = session["contextAuths"]
            .as_object()
            .unwrap()
            .values()
            .next()
            .unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let keyring = self.session.keyring().unwrap();
        let database = DatabaseName::new(&self.words.database.word).unwrap();
        vec![
            Needle::of("session seed", text(&session["signature"])),
            Needle::of("refresh token", text(&auth["refreshToken"])),
            Needle::of("storage access token", text(&auth["accessToken"])),
            Needle::of("account key", self.account.expose_private_key().to_string()),
            Needle::of(
                "database key",
                keyring.database_key(&database).expose_hex().to_string(),
            ),
        ]
    }
}

async fn open(account: &Account, storage: &str) -> ContextSession {
    let transport = Transport::new(Reach::AlsoThisMachine).unwrap();
    let storage = StorageNode::new(transport, storage.parse().unwrap()).unwrap();
    let resolver = StorageNodeResolver::new(vec![storage.clone()]);
    let vault = ContextName::vault();
    open_context(
        account,
        NETWORK,
        &vault,
        &[storage],
        &resolver,
        &Clock::system(),
    )
    .await
    .unwrap()
}

/// Waits until the node has dropped what is idle; the connection of the waiter is not kept.
async fn evicted(url: &str) {
    let mut caller = Caller::connect(url).await;
    for _ in 0..400 {
        let ready = caller.send("GET", "/readyz", &[], None).await.json();
        if ready["memoryTenths"] == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nothing was evicted in 20 s");
}

/// All bytes of all files below.
fn files(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(files(&path)),
            false => all.extend(fs::read(&path).unwrap()),
        }
        all.extend_from_slice(path.to_str().unwrap().as_bytes());
    }
    all
}

#[tokio::test]
async fn no_marked_word_is_in_files_output_problems_public_pages_or_what_eviction_leaves() {
    let mut stage = Stage::new().await;
    let url = stage.node.hello("url").to_owned();
    let mut caller = Caller::connect(&url).await;
    let token = stage.use_it(&mut caller).await;
    stage.err(&mut caller, &token).await;
    stage.look_around(&mut caller).await;
    let mut secrets = stage.secrets();
    secrets.push(token);

    // The node's memory, while the data is loaded and when it is not.
    let words = &stage.words;
    let mut watched: Vec<&Needle> = vec![&words.text, &words.member, &words.question];
    watched.extend([&words.id, &words.database]);
    watched.extend(&secrets);
    let before = memory::traces(stage.node.id(), &watched);
    drop(caller);
    evicted(&url).await;
    // Connections end when their tasks see that the peer is gone.
    let mut after = memory::traces(stage.node.id(), &watched);
    for _ in 0..20 {
        if after.as_ref().is_none_or(Vec::is_empty) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        after = memory::traces(stage.node.id(), &watched);
    }
    match (before, after) {
        (Some(before), Some(after)) => {
            let texts: usize = before
                .iter()
                .filter(|trace| trace.name == "record text")
                .map(|trace| trace.count)
                .sum();
            assert!(texts >= 29, "the search finds what is there: {texts}");
            memory::assert_empty(&after, "after eviction");
        }
        _ => lacking::skip("this system does not let a process read its child's memory"),
    }

    let Stage {
        node,
        storage,
        data,
        folder,
        words,
        key,
        mut answers,
        ..
    } = stage;
    // A last mistake, by the storage node.
    let (status, storage_said) = storage.end();
    assert!(
        status.success(),
        "{}",
        String::from_utf8_lossy(&storage_said)
    );
    let mut caller = Caller::connect(&url).await;
    let path = format!(
        "/api/rest/v1/db/get/{}/{}-1",
        words.database.word, words.id.word
    );
    let answer = caller
        .send("GET", &path, &[("x-api-key", &key)], None)
        .await;
    assert_eq!(answer.problem().1, "storage-unreachable");
    answers.extend_from_slice(&answer.body);
    drop(caller);
    let (status, said) = node.end();
    assert!(status.success(), "{}", String::from_utf8_lossy(&said));
    eprintln!(
        "looked through {} bytes of output at trace level",
        said.len() + storage_said.len()
    );
    assert!(
        said.len() + storage_said.len() > 10_000,
        "trace level prints"
    );
    let stored = files(data.path());
    assert!(
        words.id.count_in(&stored) > 0,
        "the search finds what storage nodes see by design"
    );

    let mut found = Vec::new();
    let mut look = |place: &str, hay: &[u8], needles: &[&Needle]| {
        for needle in needles {
            let count = needle.count_in(hay);
            if count > 0 {
                found.push(format!("{} × {} in {place}", count, needle.name));
            }
        }
    };
    let Words {
        text,
        member,
        question,
        id,
        database,
        nonsense,
    } = &words;
    let mut everything = vec![text, member, question, id, database, nonsense];
    everything.extend(&secrets);
    let mut unseen_by_storage = vec![text, member, question, nonsense];
    unseen_by_storage.extend(&secrets);
    look("the storage node's files", &stored, &unseen_by_storage);
    look(
        "the folder of the processes",
        &files(folder.path()),
        &everything,
    );
    look("problems and public pages", &answers, &everything);
    look("the node's output", &said, &everything);
    look("the storage node's output", &storage_said, &everything);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[tokio::test]
async fn a_second_after_revoke_all_nothing_of_the_user_is_in_the_nodes_memory() {
    // Nothing would be evicted by itself.
    let stage = &mut Stage::with(&CONFIG.replace("= 2", "= 3600")).await;
    let url = stage.node.hello("url").to_owned();
    let mut caller = Caller::connect(&url).await;
    let token = stage.use_it(&mut caller).await;
    let mut secrets = stage.secrets();
    secrets.push(token);
    let words = &stage.words;
    let mut watched: Vec<&Needle> = vec![&words.text, &words.member, &words.question];
    watched.extend([&words.id, &words.database]);
    watched.extend(&secrets);
    let before = memory::traces(stage.node.id(), &watched);
    let key = stage.key.clone();
    let path = "/api/rest/v1/auth/revoke-all";
    let all = caller
        .send("POST", path, &[("x-api-key", &key)], None)
        .await;
    let all = all.json();
    assert_eq!(
        (&all["revoked"], &all["evicted"]),
        (&json!(1), &json!(true))
    );
    drop(caller);
    // The request itself had the session in it: its connection ends when its task sees that the peer is gone.
    let mut after = memory::traces(stage.node.id(), &watched);
    for _ in 0..10 {
        if after.as_ref().is_none_or(Vec::is_empty) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        after = memory::traces(stage.node.id(), &watched);
    }
    match (before, after) {
        (Some(before), Some(after)) => {
            assert!(before.iter().any(|trace| trace.name == "record text"));
            memory::assert_empty(&after, "after revoke-all");
        }
        _ => lacking::skip("this system does not let a process read its child's memory"),
    }
}

#[tokio::test]
async fn what_holds_a_secret_shows_nothing_of_it() {
    let stage = Stage::new().await;
    let mut caller = Caller::connect(stage.node.hello("url")).await;
    let owner = [("x-api-key", stage.key.as_str())];
    let scopes = json!({ "scopes": ["api:ds-query", "ds:r:social-email"] });
    let minted = caller
        .send("POST", "/api/rest/v1/auth/token", &owner, Some(&scopes))
        .await
        .json();
    let token = minted["token"].as_str().unwrap().to_owned();
    let mut secrets = stage.secrets();
    secrets.push(Needle::of("access token", token.clone()));
    secrets.push(Needle::of("api key", stage.key.to_string()));
    secrets.push(Needle::of("record text", stage.words.text.word.clone()));

    let keyring = stage.session.keyring().unwrap();
    let database = keyring.database_key(&DatabaseName::new(&stage.words.database.word).unwrap());
    let auths: Vec<_> = stage.session.auths().collect();
    let answer = NodeAnswer {
        status: http::StatusCode::OK,
        body: stage.words.text.word.clone().into(),
    };
    let shown = [
        ("Account", format!("{:?}", stage.account)),
        ("ContextSession", format!("{:?}", stage.session)),
        ("NodeAuth", format!("{auths:?}")),
        (
            "ContextSeed",
            format!("{:?}", stage.account.unlock(&ContextName::vault())),
        ),
        ("Keyring", format!("{keyring:?}")),
        (
            "SealedBox",
            format!("{:?}", keyring.shared_box(&keyring.asym_public_key())),
        ),
        ("DatabaseKey", format!("{database:?}")),
        (
            "RecordCipher",
            format!(
                "{:?}",
                adyton_keys::record_cipher::RecordCipher::of(&database)
            ),
        ),
        (
            "NodeCredential",
            format!("{:?}", NodeCredential::Session(stage.key.clone())),
        ),
        (
            "NodeCredential",
            format!("{:?}", NodeCredential::Token(Zeroizing::new(token.clone()))),
        ),
        (
            "TokenSecret",
            format!("{:?}", TokenSecret::parse(&token).unwrap()),
        ),
        ("NodeAnswer", format!("{answer:?}")),
    ];
    for (name, shown) in &shown {
        for secret in &secrets {
            assert_eq!(
                secret.count_in(shown.as_bytes()),
                0,
                "{name} shows the {}",
                secret.name
            );
        }
        // Bytes in brackets are how a derived form shows a key.
        assert!(
            !shown.contains("[1") && !shown.contains(", 1"),
            "{name}: numbers"
        );
    }
    drop(caller);
}
