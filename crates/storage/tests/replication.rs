//! Two nodes, two writers, conflicts: replicated both ways by the rules that CouchDB clients follow, they agree.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use support::{Node, Session};

/// One step of a writer on one of the two nodes.
#[derive(Debug, Clone)]
enum Step {
    /// Writes a value over whatever this node shows, with what the value says of attachments.
    Write {
        node: usize,
        document: u8,
        value: u8,
    },
    /// Deletes what this node shows.
    Delete { node: usize, document: u8 },
    /// Replicates from one node to the other.
    Replicate { from: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_usize..2, 0_u8..4, any::<u8>())
            .prop_map(|(node, document, value)| Step::Write { node, document, value }),
        1 => (0_usize..2, 0_u8..4).prop_map(|(node, document)| Step::Delete { node, document }),
        2 => (0_usize..2).prop_map(|from| Step::Replicate { from }),
    ]
}

/// A replica: a session on a node, the database, and how far the other's changes were taken over.
struct Replica {
    session: Session,
    db: String,
    seen: String,
}

impl Replica {
    async fn on(node: &Node) -> Self {
        let session = node.session(1).await;
        let db = session.database("d").await;
        Self {
            session,
            db,
            seen: "0".to_owned(),
        }
    }

    async fn show(&self, id: &str) -> Option<Value> {
        let answer = self.session.get(&format!("{}/{id}", self.db)).await;
        (answer.status == 200).then(|| answer.json())
    }

    /// Every document with every leaf and every content, in a form that can be compared.
    async fn everything(&self) -> BTreeMap<String, Value> {
        let path = format!("{}/_changes?style=all_docs&include_docs=true", self.db);
        let all = self.session.get(&path).await.expect(200).json();
        let mut out = BTreeMap::new();
        for row in all["results"].as_array().unwrap() {
            let id = row["id"].as_str().unwrap().to_owned();
            let path = format!("{}/{id}?open_revs=all&attachments=true", self.db);
            let leaves = self.session.get(&path).await.expect(200).json();
            let told = json!({"changes": row["changes"], "doc": row["doc"], "leaves": leaves});
            out.insert(id, told);
        }
        out
    }

    /// Replaces every leaf by a bare tombstone, and says how many there are.
    async fn delete_everything(&self) -> u64 {
        let mut leaves = 0;
        for (id, told) in self.everything().await {
            for change in told["changes"].as_array().unwrap() {
                let rev = change["rev"].as_str().unwrap();
                let path = format!("{}/{id}?rev={rev}", self.db);
                let body = json!({"_deleted": true});
                self.session.put(&path, &body).await.expect(200);
                leaves += 1;
            }
        }
        leaves
    }
}

/// What a value says of attachments: kept, replaced, dropped, or one more.
fn attachments(value: u8, shown: &Value) -> Value {
    let mut attachments = match shown.get("_attachments") {
        Some(stubs) if value % 4 != 2 => stubs.clone(),
        Some(_) | None => json!({}),
    };
    let content = || {
        let content = [value % 3; CONTENT_BYTES];
        json!({"data": STANDARD.encode(content)})
    };
    match value % 4 {
        1 => attachments["a"] = content(),
        3 => attachments["b"] = content(),
        _ => {}
    }
    attachments
}

/// Bytes of a content: many more than of a document.
const CONTENT_BYTES: usize = 5_000;

/// changes → `_revs_diff` → `_bulk_get` → `_bulk_docs`, in small batches.
async fn replicate(from: &Replica, to: &mut Replica) {
    loop {
        let path = format!(
            "{}/_changes?style=all_docs&limit=3&since={}",
            from.db, to.seen
        );
        let changes = from.session.get(&path).await.expect(200).json();
        let rows = changes["results"].as_array().unwrap();
        if rows.is_empty() {
            return;
        }
        let offered: Map<String, Value> = rows
            .iter()
            .map(|row| {
                let revs: Vec<Value> = row["changes"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|c| c["rev"].clone())
                    .collect();
                (row["id"].as_str().unwrap().to_owned(), json!(revs))
            })
            .collect();
        let diff = to
            .session
            .post(&format!("{}/_revs_diff", to.db), &json!(offered))
            .await;
        let diff = diff.expect(200).json();
        let mut wanted = Vec::new();
        for (id, entry) in diff.as_object().unwrap() {
            for rev in entry["missing"].as_array().unwrap() {
                let since = entry.get("possible_ancestors").cloned();
                wanted
                    .push(json!({"id": id, "rev": rev, "atts_since": since.unwrap_or(json!([]))}));
            }
        }
        let path = format!("{}/_bulk_get?revs=true&latest=true", from.db);
        let got = from
            .session
            .post(&path, &json!({"docs": wanted}))
            .await
            .expect(200)
            .json();
        let docs: Vec<Value> = got["results"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|result| result["docs"].as_array().unwrap())
            .map(|doc| doc["ok"].clone())
            .collect();
        assert!(docs.iter().all(Value::is_object), "{got}");
        let body = json!({"docs": docs, "new_edits": false});
        let written = to
            .session
            .post(&format!("{}/_bulk_docs", to.db), &body)
            .await;
        assert_eq!(written.expect(201).json(), json!([]));
        to.seen = changes["last_seq"].as_str().unwrap().to_owned();
    }
}

async fn run(steps: Vec<Step>) {
    let nodes = [Node::start().await, Node::start().await];
    let mut replicas = [Replica::on(&nodes[0]).await, Replica::on(&nodes[1]).await];
    for step in steps {
        match step {
            Step::Write {
                node,
                document,
                value,
            } => {
                let replica = &replicas[node];
                let id = format!("doc{document}");
                let mut body = json!({"value": value, "by": node});
                let shown = replica.show(&id).await.unwrap_or_default();
                body["_attachments"] = attachments(value, &shown);
                if let Some(rev) = shown.get("_rev") {
                    body["_rev"] = rev.clone();
                }
                replica
                    .session
                    .put(&format!("{}/{id}", replica.db), &body)
                    .await
                    .expect(201);
            }
            Step::Delete { node, document } => {
                let replica = &replicas[node];
                let path = format!("{}/doc{document}", replica.db);
                if let Some(shown) = replica.show(&format!("doc{document}")).await {
                    let path = format!("{path}?rev={}", shown["_rev"].as_str().unwrap());
                    replica
                        .session
                        .send("DELETE", &path, &Value::Null)
                        .await
                        .expect(200);
                }
            }
            Step::Replicate { from } => {
                let [first, second] = &mut replicas;
                match from {
                    0 => replicate(first, second).await,
                    _ => replicate(second, first).await,
                }
            }
        }
    }
    let [first, second] = &mut replicas;
    replicate(first, second).await;
    replicate(second, first).await;
    assert_eq!(first.everything().await, second.everything().await);
    // What nobody has any more is not kept.
    for replica in [first, second] {
        let leaves = replica.delete_everything().await;
        let info = replica.session.get(&replica.db).await.expect(200).json();
        let bytes = info["sizes"]["active"].as_u64().unwrap();
        assert!(
            bytes <= leaves * 100,
            "{bytes} bytes for {leaves} tombstones"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn two_nodes_that_replicated_both_ways_show_the_same(steps in prop::collection::vec(step(), 1..25)) {
        tokio::runtime::Runtime::new().unwrap().block_on(run(steps));
    }
}

#[tokio::test]
async fn a_conflict_is_kept_on_both_sides_and_resolved_by_deleting_one() {
    let nodes = [Node::start().await, Node::start().await];
    let mut one = Replica::on(&nodes[0]).await;
    let mut two = Replica::on(&nodes[1]).await;
    for (replica, value) in [(&one, "one"), (&two, "two")] {
        replica
            .session
            .put(&format!("{}/x", replica.db), &json!({"v": value}))
            .await
            .expect(201);
    }
    replicate(&one, &mut two).await;
    replicate(&two, &mut one).await;
    let path = format!("{}/x?conflicts=true", one.db);
    let (here, there) = (
        one.session.get(&path).await.json(),
        two.session.get(&path).await.json(),
    );
    assert_eq!(here, there);
    assert_eq!(here["_conflicts"].as_array().unwrap().len(), 1);

    let winner = here["_rev"].as_str().unwrap();
    let path = format!("{}/x?rev={winner}", two.db);
    two.session
        .send("DELETE", &path, &Value::Null)
        .await
        .expect(200);
    replicate(&two, &mut one).await;
    let settled = one.show("x").await.unwrap();
    assert_ne!(settled["v"], here["v"]);
    assert_eq!(one.everything().await, two.everything().await);
}
