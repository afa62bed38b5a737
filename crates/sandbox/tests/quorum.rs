//! A context on three storage nodes, each behind a proxy that can be away, slow, or lie: what the SDK writes and reads then.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

#[path = "support/lying_node.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
mod lying_node;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, UNIX_EPOCH};

use adyton_client::ack::Ack;
use adyton_client::clock::Clock;
use adyton_client::database::{Database, WriteError};
use adyton_client::did_resolver::StorageNodeResolver;
use adyton_client::identity::open_context;
use adyton_client::record::{PreparedRecord, Save};
use adyton_client::session::{Session, SessionError};
use adyton_client::storage_node::StorageNode;
use adyton_client::transport::{Patience, Transport};
use adyton_couch::rev::Rev;
use adyton_keys::account::Account;
use adyton_keys::context_session::ContextSession;
use adyton_protocol::context::ContextName;
use adyton_protocol::database::{DatabaseName, Permissions};
use adyton_sandbox::cluster::NETWORK;
use adyton_storage::{Pace, Reach, Storage};
use http::{Method, StatusCode};
use lying_node::{Act, LyingNode};
use rand_core::{OsRng, TryRngCore};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// Three storage nodes, and somebody whose context they hold.
struct World {
    fronts: Vec<LyingNode>,
    session: ContextSession,
    _nodes: Vec<(Storage, TempDir)>,
}

impl World {
    async fn of(count: usize) -> Self {
        let (mut nodes, mut fronts) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let directory = TempDir::new().unwrap();
            let any = "127.0.0.1:0".parse().unwrap();
            let mut config = adyton_storage::Config::new(any, directory.path().to_owned());
            config.network = NETWORK;
            let storage = Storage::start(config).await.unwrap();
            fronts.push(LyingNode::start(storage.public_url()).await);
            nodes.push((storage, directory));
        }
        Self {
            session: context_on(fronts.iter().map(|front| &*front.url)).await,
            fronts,
            _nodes: nodes,
        }
    }

    /// A session whose writers meet at this node, with connections of its own.
    async fn open(&self, home: u64) -> Session {
        self.try_open(home).await.unwrap()
    }

    async fn try_open(&self, home: u64) -> Result<Session, SessionError> {
        let clock = Clock::of(move || UNIX_EPOCH + Duration::from_secs(home * 3600));
        Session::open(&self.session, transport(), clock).await
    }

    /// What one node has of a record.
    async fn rev_at(&self, n: usize, id: &str) -> Option<Rev> {
        rev_at(&self.session, &self.fronts[n].url, id).await
    }

    /// Who has this revision of a record.
    async fn holders(&self, id: &str, rev: Rev) -> Vec<usize> {
        let mut holders = Vec::new();
        for n in 0..self.fronts.len() {
            if self.rev_at(n, id).await == Some(rev) {
                holders.push(n);
            }
        }
        holders
    }
}

/// A new person's context on these nodes.
async fn context_on(urls: impl Iterator<Item = &str>) -> ContextSession {
    let nodes: Vec<StorageNode> = urls
        .map(|url| StorageNode::new(transport(), url.parse().unwrap()).unwrap())
        .collect();
    let (account, _) = Account::generate(NETWORK.anchor(), &mut OsRng.unwrap_err());
    let (resolver, clock) = (StorageNodeResolver::new(nodes.clone()), Clock::system());
    let vault = ContextName::vault();
    let opening = open_context(&account, NETWORK, &vault, &nodes, &resolver, &clock);
    opening.await.unwrap()
}

/// What the node at this URL has of a record: its revision, asked without any of the others.
async fn rev_at(context: &ContextSession, url: &str, id: &str) -> Option<Rev> {
    let mut only: Value = serde_json::from_slice(&context.expose_json()).unwrap();
    only["contextConfig"]["services"]["databaseServer"]["endpointUri"] = json!([url]);
    let only = ContextSession::parse_json(only.to_string().as_bytes()).unwrap();
    let session = Session::open(&only, transport(), Clock::system())
        .await
        .unwrap();
    match notes(&session).revision(id).await {
        Ok(rev) => rev,
        Err(SessionError::Refused { status: 404 }) => None,
        Err(error) => panic!("{error}"),
    }
}

fn transport() -> Transport {
    let patience = Patience {
        head: Duration::from_secs(10),
        ..Patience::default()
    };
    Transport::with_patience(Reach::AlsoThisMachine, patience).unwrap()
}

fn notes(session: &Session) -> Database<'_> {
    session.database(&DatabaseName::new("notes").unwrap())
}

async fn make(session: &Session) -> Result<(), SessionError> {
    notes(session).create(&Permissions::default()).await
}

fn note(session: &Session, id: &str, rev: Option<Rev>, text: &str) -> PreparedRecord {
    let mut members = Map::from_iter([
        ("_id".to_owned(), json!(id)),
        ("text".to_owned(), json!(text)),
    ]);
    let save = match rev {
        Some(rev) => {
            members.insert("_rev".to_owned(), json!(rev.to_string()));
            Save::Update
        }
        None => Save::Insert,
    };
    PreparedRecord::new(members, save, None, session).unwrap()
}

async fn put(session: &Session, id: &str, rev: Option<Rev>, text: &str) -> Result<Rev, WriteError> {
    let database = notes(session);
    database
        .put(&note(session, id, rev, text), &database.cipher())
        .await
}

async fn delete(session: &Session, id: &str, rev: Rev) -> Result<Rev, WriteError> {
    let members = Map::from_iter([
        ("_id".to_owned(), json!(id)),
        ("_rev".to_owned(), json!(rev.to_string())),
    ]);
    let tombstone = PreparedRecord::new(members, Save::Delete, None, session).unwrap();
    let database = notes(session);
    database.put(&tombstone, &database.cipher()).await
}

async fn text_of(session: &Session, id: &str) -> Result<Option<String>, SessionError> {
    let database = notes(session);
    let record = database.read(id, &database.cipher()).await?;
    Ok(record.map(|record| record["text"].as_str().unwrap().to_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_is_on_as_many_nodes_as_asked_under_one_revision() {
    let world = World::of(3).await;
    let session = world.open(0).await;
    make(&session).await.unwrap();
    // Three hold the context, so it is a quorum that nobody had to ask for.
    let rev = put(&session, "usual", None, "a").await.unwrap();
    assert_eq!(world.holders("usual", rev).await.len(), 2);
    let edit = put(&session, "usual", Some(rev), "b").await.unwrap();
    assert!(world.holders("usual", edit).await.len() >= 2);

    for (ack, expected) in [(Ack::One, 1), (Ack::Quorum, 2), (Ack::All, 3)] {
        let session = world.open(1).await.with_ack(ack);
        let id = format!("asked-{ack}");
        let rev = put(&session, &id, None, "a").await.unwrap();
        assert_eq!(world.holders(&id, rev).await.len(), expected, "{ack}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_are_written_to_one_by_one_unless_both_are_asked_for() {
    let world = World::of(2).await;
    let session = world.open(0).await;
    make(&session).await.unwrap();
    let rev = put(&session, "one", None, "a").await.unwrap();
    assert_eq!(world.holders("one", rev).await, [0]);
    let both = world.open(0).await.with_ack(Ack::Quorum);
    let rev = put(&both, "both", None, "a").await.unwrap();
    assert_eq!(world.holders("both", rev).await, [0, 1]);
    world.fronts[1].go_down();
    let (reached, asked) = (1, 2);
    let failed = put(&both, "late", None, "a").await;
    assert_eq!(failed, Err(WriteError::Unconfirmed { reached, asked }));
    put(&session, "late too", None, "a").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_node_is_away_writing_and_reading_go_on() {
    let world = World::of(3).await;
    let session = world.open(0).await;
    make(&session).await.unwrap();
    let mut rev = put(&session, "note", None, "0").await.unwrap();
    for away in 0..3 {
        world.fronts[away].go_down();
        let text = format!("without {away}");
        rev = put(&session, "note", Some(rev), &text).await.unwrap();
        assert_eq!(text_of(&session, "note").await, Ok(Some(text)));
        let fresh = world.open(away as u64).await;
        put(&fresh, &format!("new-{away}"), None, "a")
            .await
            .unwrap();
        world.fronts[away].come_up();
        let holders = world.holders("note", rev).await;
        assert!(
            holders.len() >= 2 && !holders.contains(&away),
            "{holders:?}"
        );
    }
    let records: Vec<PreparedRecord> = (0..50)
        .map(|n| note(&session, &format!("bulk-{n}"), None, "a"))
        .collect();
    world.fronts[0].go_down();
    let database = notes(&session);
    let written = database
        .put_all(&records, &database.cipher())
        .await
        .unwrap();
    world.fronts[0].come_up();
    for (record, rev) in records.iter().zip(written) {
        assert_eq!(world.holders(record.id(), rev.unwrap()).await, [1, 2]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_reached_too_few_says_so_and_can_be_repeated() {
    let world = World::of(3).await;
    let session = world.open(0).await.with_ack(Ack::All);
    make(&session).await.unwrap();
    let database = notes(&session);
    let mut sealed = database
        .seal(&note(&session, "note", None, "a"), &database.cipher())
        .unwrap();
    world.fronts[2].go_down();
    let (reached, asked) = (2, 3);
    for _ in 0..2 {
        let failed = database.write(&mut sealed).await;
        assert_eq!(failed, Err(WriteError::Unconfirmed { reached, asked }));
    }
    let rev = sealed.rev().unwrap();
    world.fronts[2].come_up();
    assert_eq!(database.write(&mut sealed).await, Ok(rev));
    assert_eq!(world.holders("note", rev).await, [0, 1, 2]);

    // Where only one can be reached, that one has it.
    world.fronts[0].go_down();
    world.fronts[1].go_down();
    let quorum = world.open(0).await;
    let failed = put(&quorum, "other", None, "a").await;
    let (reached, asked) = (1, 2);
    assert_eq!(failed, Err(WriteError::Unconfirmed { reached, asked }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_makes_no_second_revision() {
    let world = World::of(3).await;
    let session = world.open(0).await;
    make(&session).await.unwrap();
    world.fronts[0].lie(|asked| match asked.is_write() {
        true => Act::LoseAnswer,
        false => Act::Honest,
    });
    let rev = put(&session, "note", None, "a").await.unwrap();
    world.fronts[0].be_honest();
    assert_eq!(world.holders("note", rev).await, [0, 1, 2]);
    // And where nobody else can be asked, the write is recognised when it is repeated.
    let alone = World::of(1).await;
    let session = alone.open(0).await;
    make(&session).await.unwrap();
    let database = notes(&session);
    let mut sealed = database
        .seal(&note(&session, "note", None, "a"), &database.cipher())
        .unwrap();
    alone.fronts[0].lie(|asked| match asked.is_write() {
        true => Act::LoseAnswer,
        false => Act::Honest,
    });
    let lost = database.write(&mut sealed).await;
    assert!(matches!(lost, Err(WriteError::Session(_))), "{lost:?}");
    alone.fronts[0].be_honest();
    let rev = database.write(&mut sealed).await.unwrap();
    assert_eq!(alone.rev_at(0, "note").await, Some(rev));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_says_nothing_delays_a_write_once_and_a_read_hardly() {
    let world = World::of(3).await;
    let session = world.open(0).await;
    make(&session).await.unwrap();
    put(&session, "note", None, "a").await.unwrap();
    world.fronts[0].lie(|_| Act::Silence);
    let begun = Instant::now();
    assert_eq!(text_of(&session, "note").await.unwrap().unwrap(), "a");
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    let begun = Instant::now();
    put(&session, "other", None, "a").await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
    // It rests now, and nobody waits for it.
    let begun = Instant::now();
    put(&session, "third", None, "a").await.unwrap();
    assert_eq!(text_of(&session, "third").await.unwrap().unwrap(), "a");
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_go_to_the_nearest() {
    let world = World::of(3).await;
    let writer = world.open(0).await.with_ack(Ack::All);
    make(&writer).await.unwrap();
    put(&writer, "note", None, "a").await.unwrap();
    for n in [0, 1] {
        world.fronts[n].lie(|_| Act::Slow(Duration::from_millis(300)));
    }
    let reader = world.open(0).await;
    for _ in 0..4 {
        text_of(&reader, "note").await.unwrap();
    }
    let begun = Instant::now();
    for _ in 0..10 {
        text_of(&reader, "note").await.unwrap();
    }
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_not_logged_in_to_enough_nodes_writes_nothing() {
    let world = World::of(3).await;
    make(&world.open(0).await).await.unwrap();
    let mut one: Value = serde_json::from_slice(&world.session.expose_json()).unwrap();
    let auths = one["contextAuths"].as_object_mut().unwrap();
    auths.retain(|url, _| *url == world.fronts[0].url);
    // The others are on the same host, and its token is not theirs.
    let only = ContextSession::parse_json(one.to_string().as_bytes()).unwrap();
    let session = Session::open(&only, transport(), Clock::system())
        .await
        .unwrap();
    let (usable, asked) = (1, 2);
    let failed = put(&session, "note", None, "a").await;
    assert_eq!(failed, Err(WriteError::TooFewNodes { usable, asked }));
    assert_eq!(world.rev_at(0, "note").await, None);
    put(&session.with_ack(Ack::One), "note", None, "a")
        .await
        .unwrap();
}

/// Acknowledges writes under a revision of its own making, and keeps nothing.
fn keeps_nothing(asked: &lying_node::Asked) -> Act {
    match (&asked.method, asked.path.split_once('/')) {
        (&Method::PUT, Some((_, id))) => {
            let rev = format!("1-{}", "a".repeat(32));
            Act::Say(
                StatusCode::CREATED,
                json!({"ok": true, "id": id, "rev": rev}).to_string(),
            )
        }
        _ => Act::Honest,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_acknowledges_and_keeps_nothing_is_found_out_by_reading() {
    let world = World::of(3).await;
    let session = world.open(0).await;
    make(&session).await.unwrap();
    world.fronts[0].lie(keeps_nothing);
    // One of a quorum lies: another has it, and a reader finds it there, whoever is asked first.
    let rev = put(&session, "note", None, "a").await.unwrap();
    assert_eq!(world.holders("note", rev).await.len(), 1);
    for reader in [&session, &world.open(0).await] {
        assert_eq!(text_of(reader, "note").await.unwrap().unwrap(), "a");
    }
    // It alone was asked for: the session that wrote is told what it must not believe.
    let careless = world.open(0).await.with_ack(Ack::One);
    put(&careless, "lost", None, "a").await.unwrap();
    assert_eq!(text_of(&careless, "lost").await, Err(SessionError::Behind));
    assert_eq!(
        notes(&careless).revision("lost").await,
        Err(SessionError::Behind)
    );
    // A revision that cannot be is no acknowledgement: another node is asked.
    let (id, text) = ("note", "b");
    let edited = put(&session, id, Some(rev), text).await.unwrap();
    assert_eq!(edited.generation(), 2);
    assert_eq!(text_of(&session, id).await.unwrap().unwrap(), text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_edit_the_same_one_is_told() {
    let world = World::of(3).await;
    let (ada, bob) = (world.open(0).await, world.open(0).await);
    make(&ada).await.unwrap();
    let mut rev = put(&ada, "note", None, "0").await.unwrap();
    for round in 0..10 {
        let texts = [format!("ada {round}"), format!("bob {round}")];
        let (first, second) = tokio::join!(
            put(&ada, "note", Some(rev), &texts[0]),
            put(&bob, "note", Some(rev), &texts[1]),
        );
        let (winner, text) = match (first, second) {
            (Ok(rev), Err(WriteError::Conflict)) => (rev, &texts[0]),
            (Err(WriteError::Conflict), Ok(rev)) => (rev, &texts[1]),
            both => panic!("{both:?}"),
        };
        // Who lost sees at once what the other wrote.
        for session in [&ada, &bob] {
            assert_eq!(text_of(session, "note").await.unwrap().as_ref(), Some(text));
        }
        rev = winner;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_behind_is_no_conflict() {
    let world = World::of(3).await;
    let session = world.open(1).await;
    make(&session).await.unwrap();
    world.fronts[2].go_down();
    let rev = put(&session, "note", None, "a").await.unwrap();
    world.fronts[2].come_up();
    assert_eq!(world.holders("note", rev).await, [0, 1]);
    // The next to be asked is the one that knows nothing of the record.
    world.fronts[1].go_down();
    let session = world.open(1).await;
    let rev = put(&session, "note", Some(rev), "b").await.unwrap();
    assert_eq!(text_of(&session, "note").await.unwrap().unwrap(), "b");
    world.fronts[1].come_up();
    let holders = world.holders("note", rev).await;
    assert_eq!(holders, [0, 2]);
    // And where it is the only one that can be asked, it takes the edit in all the same.
    let other = put(&session, "other", None, "a").await.unwrap();
    let there = world.holders("other", other).await;
    for n in &there {
        world.fronts[*n].go_down();
    }
    let lonely = world.open(0).await.with_ack(Ack::One);
    let edit = put(&lonely, "other", Some(other), "b").await.unwrap();
    assert_eq!(edit.generation(), 2);
    assert_eq!(text_of(&lonely, "other").await.unwrap().unwrap(), "b");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_missed_an_edit_keeps_nothing_that_comes_back_when_the_record_is_deleted() {
    let world = World::of(3).await;
    let session = world.open(0).await;
    make(&session).await.unwrap();
    let everywhere = world.open(0).await.with_ack(Ack::All);
    let rev = put(&everywhere, "note", None, "a").await.unwrap();
    world.fronts[2].go_down();
    let rev = put(&session, "note", Some(rev), "b").await.unwrap();
    world.fronts[2].come_up();
    // It missed that one, and takes part in the next.
    world.fronts[1].go_down();
    let session = world.open(0).await;
    let rev = put(&session, "note", Some(rev), "c").await.unwrap();
    world.fronts[1].come_up();
    assert_eq!(world.holders("note", rev).await, [0, 2]);
    let everywhere = world.open(0).await.with_ack(Ack::All);
    delete(&everywhere, "note", rev).await.unwrap();
    for n in 0..3 {
        assert_eq!(world.rev_at(n, "note").await, None, "node {n}");
    }

    // Made anew over what is deleted: what is between, each node is told that lacks it.
    world.fronts[2].go_down();
    let again = put(&session, "note", None, "d").await.unwrap();
    world.fronts[2].come_up();
    let again = put(&everywhere, "note", Some(again), "e").await.unwrap();
    assert_eq!(world.holders("note", again).await, [0, 1, 2]);
    delete(&everywhere, "note", again).await.unwrap();
    for n in 0..3 {
        assert_eq!(world.rev_at(n, "note").await, None, "node {n}");
    }

    // With nobody to be reached who knows what the edit is on top of, it is not written: only behind all of its past is it safe.
    let one = world.open(0).await.with_ack(Ack::One);
    let first = put(&everywhere, "other", None, "a").await.unwrap();
    let second = put(&one, "other", Some(first), "b").await.unwrap();
    world.fronts[0].go_down();
    let one = world.open(0).await.with_ack(Ack::One);
    let third = put(&one, "other", Some(second), "c").await;
    assert_eq!(third, Err(WriteError::Session(SessionError::Behind)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_single_node_says_who_may_read_a_database_that_another_lacks() {
    let world = World::of(3).await;
    let session = world.open(0).await;
    world.fronts[2].go_down();
    make(&session).await.unwrap();
    world.fronts[2].come_up();
    world.fronts[0].lie(|asked| match asked.path.ends_with("user/databaseInfo") {
        true => Act::Alter(Box::new(|mut told| {
            told["result"]["permissions"]["read"] = json!("public");
            told["result"]["permissions"]["write"] = json!("public");
            told
        })),
        false => Act::Honest,
    });
    let all = world.open(0).await.with_ack(Ack::All);
    let written = put(&all, "note", None, "a").await;
    assert!(
        matches!(written, Err(WriteError::Unconfirmed { .. })),
        "{written:?}"
    );
    world.fronts[0].lie(|_| Act::Honest);
    put(&all, "note", None, "a").await.unwrap_err();
    let rev = put(&all, "another", None, "a").await.unwrap();
    assert_eq!(world.holders("another", rev).await, [0, 1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_away_when_the_database_was_made_gets_it_with_the_first_write() {
    let world = World::of(3).await;
    let session = world.open(0).await;
    world.fronts[2].go_down();
    make(&session).await.unwrap();
    world.fronts[2].come_up();
    let all = world.open(0).await.with_ack(Ack::All);
    let rev = put(&all, "note", None, "a").await.unwrap();
    assert_eq!(world.holders("note", rev).await, [0, 1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_stays_so_for_who_deleted_it() {
    let world = World::of(3).await;
    let session = world.open(0).await.with_ack(Ack::All);
    make(&session).await.unwrap();
    let rev = put(&session, "note", None, "a").await.unwrap();
    // Two nodes do not hear of the deletion.
    let session = world.open(0).await.with_ack(Ack::One);
    let database = notes(&session);
    delete(&session, "note", rev).await.unwrap();
    assert_eq!(text_of(&session, "note").await, Ok(None));
    assert_eq!(database.revision("note").await, Ok(None));
    // The only one that knows is away: what the others say is not taken for the truth.
    world.fronts[0].go_down();
    assert_eq!(text_of(&session, "note").await, Err(SessionError::Behind));
}

/// What is told of databases in use at these nodes, with the number of the node; answered as `act` says.
fn pings(world: &World, act: fn(usize) -> Act) -> Arc<Mutex<Vec<(usize, Value)>>> {
    let told = Arc::new(Mutex::new(Vec::new()));
    for (n, front) in world.fronts.iter().enumerate() {
        let told = Arc::clone(&told);
        front.lie(move |asked| {
            if asked.path != "user/pingDatabase" {
                return Act::Honest;
            }
            assert_eq!((&asked.method, &*asked.query), (&Method::POST, ""));
            let body = serde_json::from_slice(&asked.body).unwrap();
            told.lock().unwrap().push((n, body));
            act(n)
        });
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_told_once_that_a_database_is_in_use_as_the_originals_client_tells_it() {
    let world = World::of(2).await;
    let told = pings(&world, |_| Act::Honest);
    let session = world.open(0).await;
    make(&session).await.unwrap();
    for n in 0..10 {
        let id = format!("note-{n}");
        put(&session, &id, None, "a").await.unwrap();
        text_of(&session, &id).await.unwrap();
    }
    let wait = Instant::now() + Duration::from_secs(20);
    while told.lock().unwrap().is_empty() {
        assert!(Instant::now() < wait);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let told = told.lock().unwrap().clone();
    let at_home = told.iter().filter(|(n, _)| *n == 0).count();
    assert!(at_home == 1 && told.len() <= 2, "{told:?}");
    let expected = json!({
        "databaseHashes": [notes(&session).hash().to_string()],
        "isWritePublic": false,
        "did": session.did().lowercase(),
        "contextName": "Verida: Vault",
    });
    assert!(told.iter().all(|(_, body)| *body == expected), "{told:?}");
    // Member for member what the original sends.
    let trace = include_str!("../../../vectors/http_trace_owner.json");
    let trace: Value = serde_json::from_str(trace).unwrap();
    let recorded = recorded_ping(&trace).expect("a ping was recorded");
    let names = |body: &Value| {
        body.as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    let (mut ours, mut theirs) = (names(&expected), names(recorded));
    ours.sort();
    theirs.sort();
    assert_eq!(ours, theirs);
    assert_eq!(recorded["isWritePublic"], expected["isWritePublic"]);
    let theirs = recorded["did"].as_str().unwrap();
    assert_eq!(theirs, theirs.to_lowercase());

    // Where there is no other node, there is nothing to replicate.
    let alone = World::of(1).await;
    let told = pings(&alone, |_| Act::Honest);
    let session = alone.open(0).await;
    make(&session).await.unwrap();
    put(&session, "note", None, "a").await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(told.lock().unwrap().is_empty());
}

/// The body of the first ping in a trace, wherever in it the requests are.
fn recorded_ping(trace: &Value) -> Option<&Value> {
    match trace {
        Value::Object(members) if trace["path"] == "/user/pingDatabase" => members.get("body"),
        Value::Object(members) => members.values().find_map(recorded_ping),
        Value::Array(items) => items.iter().find_map(recorded_ping),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_does_not_take_what_it_is_told_is_used_as_before() {
    let world = World::of(3).await;
    // Refused as the original refuses it, never answered, and cut off.
    let told = pings(&world, |n| match n {
        0 => Act::Say(
            StatusCode::INTERNAL_SERVER_ERROR,
            json!({"status": "fail", "message": "Server not a valid endpoint"}).to_string(),
        ),
        1 => Act::Silence,
        _ => Act::HangUp,
    });
    let session = world.open(0).await.with_ack(Ack::All);
    make(&session).await.unwrap();
    let begun = Instant::now();
    for n in 0..5 {
        let rev = put(&session, &format!("{n}"), None, "a").await.unwrap();
        assert_eq!(world.holders(&format!("{n}"), rev).await, [0, 1, 2]);
    }
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
    let asked: Vec<usize> = told.lock().unwrap().iter().map(|(n, _)| *n).collect();
    assert!(asked.contains(&0) && asked.contains(&1), "{asked:?}");
    // Nobody is taken to be ill for it: writers still meet at the first.
    let one = world.open(0).await.with_ack(Ack::One);
    let rev = put(&one, "one", None, "a").await.unwrap();
    assert_eq!(world.holders("one", rev).await, [0]);
}

/// Three nodes that replicate among themselves, on three addresses as hosts are what they know each other by.
async fn replicating() -> (ContextSession, Vec<(Storage, TempDir)>) {
    let mut nodes = Vec::new();
    for n in 1..=3 {
        let directory = TempDir::new().unwrap();
        let any = format!("127.0.0.{n}:0").parse().unwrap();
        let mut config = adyton_storage::Config::new(any, directory.path().to_owned());
        config.network = NETWORK;
        config.reach = Reach::AlsoThisMachine;
        config.pace = Pace {
            settle: Duration::from_millis(5),
            first_pause: Duration::from_millis(50),
            longest_pause: Duration::from_millis(400),
            ..Pace::default()
        };
        nodes.push((Storage::start(config).await.unwrap(), directory));
    }
    let urls = nodes.iter().map(|(storage, _)| storage.public_url());
    (context_on(urls).await, nodes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_some_nodes_were_written_to_all_come_to_have_under_one_revision() {
    let (context, nodes) = replicating().await;
    let open = async |home: u64| {
        let clock = Clock::of(move || UNIX_EPOCH + Duration::from_secs(home * 3600));
        Session::open(&context, transport(), clock).await.unwrap()
    };
    let (ada, bob) = (open(0).await, open(1).await.with_ack(Ack::One));
    make(&ada).await.unwrap();
    let mut expected = Vec::new();
    for n in 0..20 {
        let id = format!("quorum-{n}");
        let rev = put(&ada, &id, None, "a").await.unwrap();
        expected.push((id.clone(), put(&ada, &id, Some(rev), "b").await.unwrap()));
    }
    // Two who meet at different nodes, and do not hear of each other in time: both are told yes, and one wins everywhere.
    let careless = open(0).await.with_ack(Ack::One);
    for n in 0..20 {
        let id = format!("both-{n}");
        let (first, second) = tokio::join!(
            put(&careless, &id, None, "ada's"),
            put(&bob, &id, None, "bob's"),
        );
        let rev = match (first, second) {
            (Ok(first), Ok(second)) => first.max(second),
            (Ok(rev), Err(WriteError::Conflict)) | (Err(WriteError::Conflict), Ok(rev)) => rev,
            both => panic!("{both:?}"),
        };
        expected.push((id, rev));
    }
    let until = Instant::now() + Duration::from_secs(60);
    for (storage, _) in &nodes {
        let url = format!("{}/", storage.public_url());
        for (id, rev) in &expected {
            while rev_at(&context, &url, id).await != Some(*rev) {
                assert!(Instant::now() < until, "{url} {id}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
