//! A node in front of a CouchDB and one in front of files hold a context together: what is written at either reaches the other.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

#[path = "support/couch.rs"]
mod couch;
mod support;

use std::time::{Duration, Instant};

use adyton_storage::{Config, Pace, Reach, StoreChoice};
use couch::{Couch, Heard, config_of};
use serde_json::{Value, json};
use support::fault::Way;
use support::{Node, Person, Session, put_context};

const PATIENCE: Duration = Duration::from_secs(30);

/// Two nodes of one context: the first one in front of a CouchDB.
struct Two {
    couch: Couch,
    front: Node,
    files: Node,
    ways: [Way; 2],
}

fn configured(config: &mut Config, way: &Way, couch: Option<&Couch>) {
    config.public_url = Some(way.url());
    config.reach = Reach::AlsoThisMachine;
    config.pace = Pace {
        settle: Duration::from_millis(5),
        first_pause: Duration::from_millis(50),
        longest_pause: Duration::from_millis(400),
        ..Pace::default()
    };
    if let Some(couch) = couch {
        config.store = StoreChoice::Couch(Box::new(config_of(couch)));
    }
}

impl Two {
    async fn start() -> Self {
        let couch = Couch::start().await;
        let ways = [Way::open(1).await, Way::open(2).await];
        let front = Node::with_config(|config| configured(config, &ways[0], Some(&couch))).await;
        let files = Node::with_config(|config| configured(config, &ways[1], None)).await;
        let two = Self {
            couch,
            front,
            files,
            ways,
        };
        two.lead();
        for node in [&two.front, &two.files] {
            let urls = two.ways.iter().map(|way| format!("{}/", way.url()));
            let person = node.person(1).await;
            put_context(&node.client(), &person, urls.collect(), node.now()).await;
        }
        two
    }

    fn lead(&self) {
        for (way, node) in self.ways.iter().zip([&self.front, &self.files]) {
            way.lead_to(Some(node.storage.address()));
        }
    }

    /// The person on both.
    async fn sessions(&self) -> [Session; 2] {
        [
            Person::new(1).log_in(&self.front.client()).await,
            Person::new(1).log_in(&self.files.client()).await,
        ]
    }
}

async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn has(session: &Session, path: &str, member: u64) -> bool {
    let answer = session.get(path).await;
    answer.status == 200 && answer.json()["n"] == member
}

/// What was asked for the sake of other nodes.
fn of_pushing(heard: &[Heard]) -> Vec<&Heard> {
    let by_role = |heard: &&Heard| heard.as_whom.as_deref() == Some("replicater-local");
    heard.iter().filter(by_role).collect()
}

#[tokio::test]
async fn what_is_written_in_front_of_a_couchdb_reaches_the_other_nodes_and_theirs_reaches_it() {
    let two = Two::start().await;
    let [here, there] = two.sessions().await;
    let db = here.database("mail").await;
    there.database("mail").await;
    two.couch.heard();
    let written = here.put(&format!("{db}/a"), &json!({"n": 1})).await;
    let rev = written.expect(201).json()["rev"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("{db}/a");
    until("a document", || has(&there, &path, 1)).await;
    assert_eq!(there.get(&path).await.json()["_rev"], rev);

    // More than one piece of the feed, and one that is more than a request takes.
    let docs: Vec<Value> = (0..450)
        .map(|n| json!({"_id": format!("d{n}"), "n": n}))
        .collect();
    let bulk = json!({ "docs": docs });
    here.post(&format!("{db}/_bulk_docs"), &bulk)
        .await
        .expect(201);
    let large = json!({"n": 2, "text": "x".repeat(6 << 20)});
    here.put(&format!("{db}/large"), &large).await.expect(201);
    let path = format!("{db}/large");
    until("a large document", || has(&there, &path, 2)).await;
    for n in [0, 200, 449] {
        assert!(has(&there, &format!("{db}/d{n}"), n).await);
    }
    here.copy(&format!("{db}/a"), "copied").await.expect(201);
    let path = format!("{db}/copied");
    until("a copy", || has(&there, &path, 1)).await;
    let gone = format!("{db}/a?rev={rev}");
    here.send("DELETE", &gone, &Value::Null).await.expect(200);
    until("a deletion", || async {
        there.get(&format!("{db}/a")).await.json()["reason"] == "deleted"
    })
    .await;

    // It is read with the role for that, which wrote nothing but its checkpoint.
    let heard = two.couch.heard();
    let pushing = of_pushing(&heard);
    assert!(
        pushing
            .iter()
            .any(|heard| heard.path.ends_with("/_changes"))
    );
    for heard in pushing {
        let is_checkpoint = heard.path.contains("/_local/");
        assert!(heard.method == "GET" || (heard.method == "PUT" && is_checkpoint));
    }
    // And not as the admin: he reads records, and where there is room.
    let by_admin = heard
        .iter()
        .filter(|heard| heard.as_whom.as_deref() == Some(couch::ADMIN.0));
    let data = format!("{db}/");
    for heard in by_admin.filter(|heard| heard.path.starts_with(&data)) {
        assert!(heard.path.ends_with("/_security"), "{}", heard.path);
    }

    // The other way.
    there
        .put(&format!("{db}/b"), &json!({"n": 3}))
        .await
        .expect(201);
    let path = format!("{db}/b");
    until("a document of the other node", || has(&here, &path, 3)).await;
    let body = json!({"databaseHashes": [here.hash("mail")]});
    let told = here
        .post("/user/pingDatabases", &body)
        .await
        .expect(200)
        .json();
    assert_eq!(
        told["endpoints"],
        json!([format!("{}/", two.ways[1].url())])
    );
    assert_eq!(told["failedEndpoints"], json!([]));
    assert_eq!(two.couch.undocumented(), Vec::<String>::new());
}

#[tokio::test]
async fn a_node_in_front_of_a_couchdb_reads_on_where_it_was_and_gives_again_what_was_lost() {
    let two = Two::start().await;
    let [here, there] = two.sessions().await;
    let db = here.database("mail").await;
    there.database("mail").await;
    let docs: Vec<Value> = (0..300)
        .map(|n| json!({"_id": format!("d{n}"), "n": n}))
        .collect();
    let bulk = json!({ "docs": docs });
    here.post(&format!("{db}/_bulk_docs"), &bulk)
        .await
        .expect(201);
    let path = format!("{db}/d299");
    until("the last document", || has(&there, &path, 299)).await;
    let saved = || async {
        let heard = two.couch.heard();
        let pushing = of_pushing(&heard);
        pushing.iter().any(|heard| heard.method == "PUT")
    };
    until("a checkpoint", saved).await;

    // Started again, it asks for what is new only.
    let Two {
        couch,
        front,
        files,
        ways,
    } = two;
    let front = front
        .restart_with(|config| configured(config, &ways[0], Some(&couch)))
        .await;
    let two = Two {
        couch,
        front,
        files,
        ways,
    };
    two.lead();
    let [here, there] = two.sessions().await;
    here.put(&format!("{db}/new"), &json!({"n": 1}))
        .await
        .expect(201);
    let path = format!("{db}/new");
    until("a document after a restart", || has(&there, &path, 1)).await;
    let heard = two.couch.heard();
    let read = of_pushing(&heard);
    let read: Vec<_> = read
        .iter()
        .filter(|heard| heard.query.contains("rev="))
        .collect();
    assert!(read.len() < 10, "{} revisions were read again", read.len());

    // The other node lost the database: its checkpoint went with it.
    let body = json!({"databaseName": "mail"});
    there.post("/user/deleteDatabase", &body).await.expect(200);
    there.database("mail").await;
    let body = json!({"databaseHashes": [here.hash("mail")]});
    here.post("/user/pingDatabases", &body).await.expect(200);
    let path = format!("{db}/d0");
    until("a document that was lost", || has(&there, &path, 0)).await;
}

#[tokio::test]
async fn nothing_that_was_written_while_the_other_node_or_the_couchdb_was_away_is_lost() {
    let mut two = Two::start().await;
    let [here, there] = two.sessions().await;
    let db = here.database("mail").await;
    there.database("mail").await;
    two.ways[1].lead_to(None);
    here.put(&format!("{db}/a"), &json!({"n": 1}))
        .await
        .expect(201);
    two.couch.go_away().await;
    here.put(&format!("{db}/b"), &json!({"n": 2}))
        .await
        .expect(503);
    two.lead();
    two.couch.come_back().await;
    here.put(&format!("{db}/b"), &json!({"n": 2}))
        .await
        .expect(201);
    for (id, n) in [("a", 1), ("b", 2)] {
        let path = format!("{db}/{id}");
        until("what was written meanwhile", || has(&there, &path, n)).await;
    }
}

#[tokio::test]
async fn checkpoints_with_a_place_that_nobody_knows_hold_nothing_up() {
    let two = Two::start().await;
    let [here, there] = two.sessions().await;
    let db = here.database("mail").await;
    there.database("mail").await;
    here.put(&format!("{db}/a"), &json!({"n": 1}))
        .await
        .expect(201);
    let path = format!("{db}/a");
    until("a document", || has(&there, &path, 1)).await;
    let mut checkpoint = String::new();
    until("a checkpoint", || {
        let heard = two.couch.heard();
        let pushing = of_pushing(&heard);
        if let Some(put) = pushing.iter().find(|heard| heard.method == "PUT") {
            checkpoint = put.path.clone();
        }
        let is_there = !checkpoint.is_empty();
        async move { is_there }
    })
    .await;
    // Both sides, by somebody who may.
    for session in [&here, &there] {
        let held = session.get(&checkpoint).await.expect(200).json();
        let forged = json!({"_rev": held["_rev"], "source_last_seq": "999-forged"});
        session.put(&checkpoint, &forged).await.expect(201);
    }
    let Two {
        couch,
        front,
        files,
        ways,
    } = two;
    let front = front
        .restart_with(|config| configured(config, &ways[0], Some(&couch)))
        .await;
    let two = Two {
        couch,
        front,
        files,
        ways,
    };
    two.lead();
    let [here, there] = two.sessions().await;
    here.put(&format!("{db}/b"), &json!({"n": 2}))
        .await
        .expect(201);
    let path = format!("{db}/b");
    until("a document behind it", || has(&there, &path, 2)).await;
}
