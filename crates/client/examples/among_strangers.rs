//! The SDK with a storage node that somebody else's CouchDB stands behind: for `interop/js/src/client.js`, which starts it.
//!
//! `among_strangers COUNT URL…`: pushes, pulls, follows, edits, deletes, and writes to a quorum. It says on its output what the other
//! side is to do or to look at, one line each; the other side answers with a line when it is done.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a program for tests: it ends at the first thing that is not as it must be"
)]

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use adyton_client::ack::Ack;
use adyton_client::clock::Clock;
use adyton_client::database::{Database, WriteError};
use adyton_client::did_resolver::StorageNodeResolver;
use adyton_client::endpoint::Reach;
use adyton_client::identity::open_context;
use adyton_client::pull::{Feed, FeedPosition, PlainRow, Pull, PullBatch, PullError};
use adyton_client::record::{PreparedRecord, Save};
use adyton_client::session::Session;
use adyton_client::storage_node::StorageNode;
use adyton_client::transport::Transport;
use adyton_couch::rev::Rev;
use adyton_keys::account::Account;
use adyton_keys::record_cipher::RecordCipher;
use adyton_protocol::context::ContextName;
use adyton_protocol::database::{DatabaseName, Permissions};
use adyton_protocol::did::{Anchor, Network};
use rand_core::{OsRng, TryRngCore};
use serde_json::{Map, Value, json};

/// Records written with one request.
const BATCH: usize = 250;
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let count: usize = arguments.next().unwrap().parse().unwrap();
    let urls: Vec<String> = arguments.collect();
    let (account, _) = Account::generate(Anchor::Polamoy, &mut OsRng.unwrap_err());

    let session = open(&account, "Interop: One", &urls[..1]).await;
    let notes = notes(&session);
    notes.create(&Permissions::default()).await.unwrap();
    let told = Told {
        database: notes.hash().to_string(),
    };
    push_through_a_restart(&notes, &told, count).await;
    let held = pull_through_a_restart(&notes, &told, count).await;
    let position = edit_and_delete(&notes, &told, held).await;
    follow(&notes, &told, position).await;

    let session = open(&account, "Interop: Three", &urls).await;
    quorum(&session.with_ack(Ack::All)).await;
}

async fn open(account: &Account, context: &str, urls: &[String]) -> Session {
    let transport = Transport::new(Reach::AlsoThisMachine).unwrap();
    let nodes: Vec<StorageNode> = urls
        .iter()
        .map(|url| StorageNode::new(transport.clone(), url.parse().unwrap()).unwrap())
        .collect();
    let (resolver, clock) = (StorageNodeResolver::new(nodes.clone()), Clock::system());
    let context = ContextName::new(context).unwrap();
    let opening = open_context(account, Network::Local, &context, &nodes, &resolver, &clock);
    let opened = opening.await.unwrap();
    Session::open(&opened, transport, clock).await.unwrap()
}

fn notes(session: &Session) -> Database<'_> {
    session.database(&DatabaseName::new("notes").unwrap())
}

/// The other side.
struct Told {
    database: String,
}

impl Told {
    fn say(&self, what: &str) {
        println!("{what} {}", self.database);
        std::io::stdout().flush().unwrap();
    }

    /// Says something and waits until it is done.
    async fn ask(&self, what: &str) {
        self.say(what);
        self.wait().await;
    }

    /// Waits until what was said is done.
    async fn wait(&self) {
        let line = tokio::task::spawn_blocking(|| std::io::stdin().lines().next());
        assert_eq!(line.await.unwrap().unwrap().unwrap(), "done");
    }
}

fn record(database: &Database<'_>, id: &str, rev: Option<Rev>, text: &str) -> PreparedRecord {
    let save = match rev {
        Some(_) => Save::Update,
        None => Save::Insert,
    };
    prepare(database, id, rev, text, save)
}

fn prepare(
    database: &Database<'_>,
    id: &str,
    rev: Option<Rev>,
    text: &str,
    save: Save,
) -> PreparedRecord {
    let mut members = Map::from_iter([
        ("_id".to_owned(), json!(id)),
        ("text".to_owned(), json!(text)),
    ]);
    if let Some(rev) = rev {
        members.insert("_rev".to_owned(), json!(rev.to_string()));
    }
    PreparedRecord::new(members, save, None, database.session()).unwrap()
}

/// Writes as many records as asked, while the server goes away and comes back.
async fn push_through_a_restart(database: &Database<'_>, told: &Told, count: usize) {
    let cipher = database.cipher();
    let (mut written, mut known, mut outages) = (0, 0, 0);
    for from in (0..count).step_by(BATCH) {
        if from == count / 2 / BATCH * BATCH {
            told.say("restart");
        }
        let batch = from..count.min(from + BATCH);
        let records: Vec<PreparedRecord> = batch
            .map(|n| record(database, &format!("n{n}"), None, &format!("text {n}")))
            .collect();
        loop {
            match database.put_all(&records, &cipher).await {
                Ok(outcomes) => {
                    for outcome in outcomes {
                        match outcome {
                            Ok(_) => written += 1,
                            // Its answer was lost.
                            Err(WriteError::Conflict) if outages > 0 => known += 1,
                            Err(error) => panic!("{error}"),
                        }
                    }
                    break;
                }
                Err(WriteError::Session(_)) if outages < 1000 => {
                    outages += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert!(outages > 0, "nobody was away");
    assert_eq!(written + known, count);
    told.wait().await;
    told.ask("pushed").await;
}

/// Every record that can be opened, by id, and where the feed stands.
async fn pull(
    database: &Database<'_>,
) -> Result<(BTreeMap<String, (Rev, Value)>, FeedPosition), PullError> {
    let cipher = Arc::new(database.cipher());
    let info = database.info().await?.unwrap();
    let max_rows = info.doc_count + info.doc_del_count + 10;
    let mut pull = Pull::start(database, cipher, Feed::Snapshot { max_rows }, 2).await?;
    let mut held = BTreeMap::new();
    while let Some(batch) = pull.next().await {
        take_in(batch?, &mut held);
    }
    Ok((held, pull.position().unwrap().clone()))
}

fn take_in(batch: PullBatch, held: &mut BTreeMap<String, (Rev, Value)>) {
    assert!(batch.faults.is_empty(), "{:?}", batch.faults);
    let (bytes, rows) = batch.records.into_parts();
    for row in rows {
        match row {
            PlainRow::Record {
                id, rev, object, ..
            } => {
                let id = String::from_utf8(bytes[id].to_vec()).unwrap();
                let record = serde_json::from_slice(&bytes[object]).unwrap();
                held.insert(id, (rev, record));
            }
            PlainRow::Removed { id, .. } => {
                held.remove(&*id);
            }
        }
    }
}

async fn pull_through_a_restart(
    database: &Database<'_>,
    told: &Told,
    count: usize,
) -> BTreeMap<String, (Rev, Value)> {
    let cipher = Arc::new(database.cipher());
    let max_rows = count as u64 + 10;
    let feed = Feed::Snapshot { max_rows };
    let mut cut = Pull::start(database, cipher, feed, 1).await.unwrap();
    told.ask("restart").await;
    let mut ended = Ok(());
    while let Some(batch) = cut.next().await {
        if let Err(error) = batch {
            ended = Err(error);
        }
    }
    // What was on its way may be all of a small database; a large one is cut off, and that is not taken for its end.
    assert!(ended.is_err() || count < 10_000, "{ended:?}");
    let (held, _) = pull(database).await.unwrap();
    assert_eq!(held.len(), count);
    for n in 0..count {
        assert_eq!(held[&format!("n{n}")].1["text"], format!("text {n}"));
    }
    held
}

async fn put(
    database: &Database<'_>,
    cipher: &RecordCipher,
    id: &str,
    rev: Option<Rev>,
    text: &str,
) -> Result<Rev, WriteError> {
    let record = record(database, id, rev, text);
    database.put(&record, cipher).await
}

/// Edits, deletions and conflicts of both sides' making.
async fn edit_and_delete(
    database: &Database<'_>,
    told: &Told,
    held: BTreeMap<String, (Rev, Value)>,
) -> FeedPosition {
    let cipher = &database.cipher();
    let rev = |id: &str| held[id].0;
    let edited = put(database, cipher, "n0", Some(rev("n0")), "edited").await;
    assert_eq!(edited.unwrap().generation(), 2);
    let late = put(database, cipher, "n0", Some(rev("n0")), "late").await;
    assert_eq!(late, Err(WriteError::Conflict));
    let tombstone = prepare(database, "n1", Some(rev("n1")), "gone", Save::Delete);
    database.put(&tombstone, cipher).await.unwrap();
    assert_eq!(database.read("n1", cipher).await, Ok(None));
    assert_eq!(database.revision("n1").await, Ok(None));
    assert_eq!(
        database.holds(&["n1", "never"]).await,
        Ok(vec![true, false])
    );
    // A deleted record is made again.
    put(database, cipher, "n1", None, "again").await.unwrap();

    // n2: deleted. n3: an older content wins, and ours stays beside it. n4: edited and deleted, and a conflicting edit stays.
    for id in ["n3", "n4"] {
        put(database, cipher, id, Some(rev(id)), "second")
            .await
            .unwrap();
    }
    told.ask("edit").await;
    let (held, position) = pull(database).await.unwrap();
    let text = |id: &str| {
        held.get(id)
            .map(|(_, record)| record["text"].as_str().unwrap())
    };
    let seen = ["n0", "n1", "n2", "n3", "n4"].map(text);
    let expected = [
        Some("edited"),
        Some("again"),
        None,
        Some("text 3"),
        Some("text 4"),
    ];
    assert_eq!(seen, expected);
    for (id, expected) in ["n0", "n1", "n3", "n4"]
        .into_iter()
        .zip(["edited", "again", "text 3", "text 4"])
    {
        let read = database.read(id, cipher).await.unwrap().unwrap();
        assert_eq!(read["text"], expected);
        assert_eq!(read["_rev"], held[id].0.to_string());
        assert_eq!(database.revision(id).await, Ok(Some(held[id].0)));
    }
    assert_eq!(database.read("n2", cipher).await, Ok(None));
    // The conflict is resolved with an edit of what wins.
    let resolved = put(database, cipher, "n3", Some(held["n3"].0), "third").await;
    told.ask(&format!("resolved {}", resolved.unwrap())).await;
    position
}

/// Follows the feed: what happened since, what happens now, and what happens when the server was away.
async fn follow(database: &Database<'_>, told: &Told, position: FeedPosition) {
    let cipher = Arc::new(database.cipher());
    let start = |position| Pull::start(database, Arc::clone(&cipher), Feed::Follow(position), 1);
    let mut feed = start(position).await.unwrap();
    let mut held = BTreeMap::new();
    until(&mut feed, &mut held, |held| {
        held.get("n3")
            .is_some_and(|(_, record)| record["text"] == "third")
    })
    .await;
    put(database, &cipher, "live", None, "ours").await.unwrap();
    until(&mut feed, &mut held, |held| held.contains_key("live")).await;
    told.ask("delete live").await;
    until(&mut feed, &mut held, |held| !held.contains_key("live")).await;
    let position = feed.position().unwrap().clone();
    told.ask("restart").await;
    let ended = tokio::time::timeout(PATIENCE, async {
        while let Some(batch) = feed.next().await {
            if batch.is_err() {
                break;
            }
        }
    });
    ended.await.unwrap();
    put(database, &cipher, "after", None, "a restart")
        .await
        .unwrap();
    let mut feed = start(position).await.unwrap();
    let mut held = BTreeMap::new();
    until(&mut feed, &mut held, |held| held.contains_key("after")).await;
    assert_eq!(held.len(), 1, "nothing is told twice");
}

async fn until(
    feed: &mut Pull,
    held: &mut BTreeMap<String, (Rev, Value)>,
    is_there: impl Fn(&BTreeMap<String, (Rev, Value)>) -> bool,
) {
    let waiting = tokio::time::timeout(PATIENCE, async {
        while !is_there(held) {
            take_in(feed.next().await.unwrap().unwrap(), held);
        }
    });
    waiting.await.unwrap();
}

/// One revision on all servers, whichever of them named it.
async fn quorum(session: &Session) {
    let database = notes(session);
    let cipher = database.cipher();
    database.create(&Permissions::default()).await.unwrap();
    let told = Told {
        database: database.hash().to_string(),
    };
    let first = put(&database, &cipher, "q", None, "one").await.unwrap();
    let second = put(&database, &cipher, "q", Some(first), "two")
        .await
        .unwrap();
    let records: Vec<PreparedRecord> = (0..50)
        .map(|n| record(&database, &format!("q{n}"), None, "one"))
        .collect();
    for outcome in database.put_all(&records, &cipher).await.unwrap() {
        outcome.unwrap();
    }
    let late = put(&database, &cipher, "q", Some(first), "late").await;
    assert_eq!(late, Err(WriteError::Conflict));
    told.ask(&format!("quorum {second}")).await;
}
