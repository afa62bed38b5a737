//! Two clients and a confidential node change the same database in any order; a map says what must come of it.
//!
//! Everything goes through the real stack: the SDK and the node's REST API over HTTP, one storage node behind both.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

mod support;

use std::collections::BTreeMap;

use adyton_client::database::WriteError;
use adyton_client::pull::{Feed, PlainRow, Pull};
use adyton_client::record::Save;
use adyton_client::session::Session;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use support::{NodeClient, Person, World, notes, prepared};

/// What is done to a record, by whom.
#[derive(Debug, Clone)]
enum Edit {
    /// A client of its own, on the current revision or on the one before.
    Client {
        who: usize,
        id: usize,
        change: Change,
        is_late: bool,
    },
    /// The confidential node, which may not have heard of the last change yet.
    Node { id: usize, change: Change },
    /// The live feed breaks.
    Break,
    /// Somebody reads through the node in between.
    Read,
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Put(u8),
    Delete,
}

fn edit() -> impl Strategy<Value = Edit> {
    let change = prop_oneof![4 => any::<u8>().prop_map(Change::Put), 1 => Just(Change::Delete)];
    let id = 0..6_usize;
    prop_oneof![
        5 => (0..2_usize, id.clone(), change.clone(), prop::bool::weighted(0.2))
            .prop_map(|(who, id, change, is_late)| Edit::Client { who, id, change, is_late }),
        5 => (id, change).prop_map(|(id, change)| Edit::Node { id, change }),
        1 => Just(Edit::Break),
        1 => Just(Edit::Read),
    ]
}

/// A record as the model knows it: its revisions, and its value unless it is deleted.
#[derive(Debug, Default, Clone)]
struct Known {
    revs: Vec<String>,
    value: Option<u8>,
}

struct Scene {
    /// Ends when it is dropped.
    _world: World,
    lying: support::lying_node::LyingNode,
    key: String,
    node: NodeClient,
    clients: Vec<Session>,
    model: BTreeMap<usize, Known>,
}

impl Scene {
    async fn set() -> Self {
        let world = World::with("idle_seconds = 600").await;
        let person: Person = world.person().await;
        let clients = vec![person.sdk(&world).await, person.sdk(&world).await];
        let lying = world.lying_node().await;
        let database = clients[0].database(&notes());
        database.create(&Default::default()).await.unwrap();
        Self {
            key: person.key_at(&lying.url),
            node: world.node().await,
            _world: world,
            lying,
            clients,
            model: BTreeMap::new(),
        }
    }

    async fn apply(&mut self, edit: &Edit) {
        match *edit {
            Edit::Break => self.lying.cut_connections(),
            Edit::Read => {
                self.node.notes(&self.key).await.ok();
            }
            Edit::Client {
                who,
                id,
                change,
                is_late,
            } => self.edit_as_client(who, id, change, is_late).await,
            Edit::Node { id, change } => self.edit_as_node(id, change).await,
        }
    }

    async fn edit_as_client(&mut self, who: usize, id: usize, change: Change, is_late: bool) {
        let known = self.model.entry(id).or_default();
        let behind = if is_late { 2 } else { 1 };
        let rev = known
            .revs
            .len()
            .checked_sub(behind)
            .map(|at| known.revs[at].clone());
        let session = &self.clients[who];
        let database = session.database(&notes());
        let (mut record, save, value) = match change {
            Change::Put(n) => (json!({ "n": n }), Save::Update, Some(n)),
            Change::Delete if known.value.is_none() => return,
            Change::Delete => (json!({}), Save::Delete, None),
        };
        record["_id"] = format!("note-{id}").into();
        // A deleted record is made anew, without a revision.
        if let Some(rev) = &rev
            && (known.value.is_some() || is_late)
        {
            record["_rev"] = rev.clone().into();
        }
        let is_current = match &record.get("_rev") {
            Some(rev) => known.revs.last().map(String::as_str) == rev.as_str(),
            None => known.value.is_none(),
        };
        let written = database
            .put(&prepared(session, record, save), &database.cipher())
            .await;
        match written {
            Ok(rev) => {
                assert!(is_current, "a late write was taken");
                known.revs.push(rev.to_string());
                known.value = value;
            }
            Err(error) => {
                assert_eq!(error, WriteError::Conflict);
                assert!(!is_current, "a write on the current revision was refused");
            }
        }
    }

    /// Through the node: whatever it has heard so far, it must never overwrite what it has not.
    async fn edit_as_node(&mut self, id: usize, change: Change) {
        let name = format!("note-{id}");
        let known = self.model.entry(id).or_default();
        for _ in 0..400 {
            let answer = match (change, known.value) {
                (Change::Delete, None) => return,
                (Change::Delete, Some(_)) => self.node.delete_note(&self.key, &name).await,
                (Change::Put(n), None) => {
                    let record = json!({ "_id": name, "n": n });
                    self.node.create_note(&self.key, &record).await
                }
                (Change::Put(n), Some(_)) => {
                    let rev = known.revs.last().unwrap();
                    let record = json!({ "_id": name, "_rev": rev, "n": n });
                    self.node.update_note(&self.key, &record).await
                }
            };
            if answer.status.is_success() {
                let body = answer.json();
                let rev = [
                    &body["rev"],
                    &body["result"]["rev"],
                    &body["record"]["_rev"],
                ]
                .into_iter()
                .find_map(Value::as_str);
                known.revs.push(rev.unwrap().to_owned());
                known.value = match change {
                    Change::Put(n) => Some(n),
                    Change::Delete => None,
                };
                return;
            }
            // It has not heard of the last change yet, and says so.
            let code = answer.json()["code"].as_str().unwrap().to_owned();
            assert!(
                ["revision-conflict", "not-found", "storage-unreachable"].contains(&code.as_str()),
                "{code}"
            );
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("the node never heard of a change");
    }

    fn expected(&self) -> BTreeMap<String, (String, u8)> {
        let live = |(id, known): (&usize, &Known)| {
            let rev = known.revs.last()?.clone();
            Some((format!("note-{id}"), (rev, known.value?)))
        };
        self.model.iter().filter_map(live).collect()
    }

    async fn all_agree(&mut self) {
        let expected = self.expected();
        let served = |answer: &support::Answer| served(answer) == expected;
        self.node.notes_until(&self.key, served).await;
        for client in &self.clients {
            assert_eq!(stored(client).await, expected);
        }
        // A confidential node that was not there when all this happened agrees, too.
        let later = World::start().await;
        let answer = later.node().await.notes(&self.key).await;
        assert_eq!(self::served(&answer), expected);
    }
}

/// The records in an answer of the node.
fn served(answer: &support::Answer) -> BTreeMap<String, (String, u8)> {
    let answer = answer.ok();
    assert_eq!(answer["unreadable"], 0);
    let items = answer["items"].as_array().unwrap().iter();
    items.map(record_of).collect()
}

/// The records on the storage node, read by the SDK.
async fn stored(session: &Session) -> BTreeMap<String, (String, u8)> {
    let database = session.database(&notes());
    let feed = Feed::Snapshot { max_rows: 10_000 };
    let cipher = database.cipher().into();
    let mut pull = Pull::start(&database, cipher, feed, 1).await.unwrap();
    let mut records = BTreeMap::new();
    while let Some(batch) = pull.next().await {
        let batch = batch.unwrap();
        assert!(batch.faults.is_empty());
        let (bytes, rows) = batch.records.into_parts();
        for row in rows {
            if let PlainRow::Record { object, rev, .. } = row {
                let mut record: Value = serde_json::from_slice(&bytes[object]).unwrap();
                record["_rev"] = rev.to_string().into();
                let (id, value) = record_of(&record);
                records.insert(id, value);
            }
        }
    }
    records
}

fn record_of(record: &Value) -> (String, (String, u8)) {
    let text = |name: &str| record[name].as_str().unwrap().to_owned();
    let n = record["n"].as_u64().and_then(|n| u8::try_from(n).ok());
    (text("_id"), (text("_rev"), n.unwrap()))
}

#[test]
fn whatever_is_edited_where_the_node_serves_what_the_model_says() {
    let config = Config {
        cases: 5,
        max_shrink_iters: 20,
        failure_persistence: None,
        ..Config::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    TestRunner::new(config)
        .run(&vec(edit(), 1..60), |edits| {
            runtime.block_on(async {
                let mut scene = Scene::set().await;
                for edit in &edits {
                    scene.apply(edit).await;
                }
                scene.all_agree().await;
            });
            Ok(())
        })
        .unwrap();
}
