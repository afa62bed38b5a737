//! Few bytes that ask for much: what is named again is told, looked up and gone through only so often.

use adyton_storage::Limits;
use serde_json::json;

use crate::support::{Answer, Node};

#[tokio::test]
async fn a_request_that_names_a_document_often_is_told_only_so_much_of_it() {
    let limits = Limits {
        repeated_bytes: 10_000,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let document = json!({"f": "f".repeat(3_000)});
    session.put(&format!("{db}/a"), &document).await.expect(201);
    let content = json!({"data": "A".repeat(4_000)});
    let attached = json!({"_attachments": {"x": content}});
    session.put(&format!("{db}/b"), &attached).await.expect(201);

    let list = async |query: &str, id: &str, times: usize| {
        let path = format!("{db}/_all_docs?{query}");
        session.post(&path, &json!({"keys": vec![id; times]})).await
    };
    let rows = list("include_docs=true", "a", 4).await.expect(200).json();
    assert_eq!(rows["rows"].as_array().unwrap().len(), 4);
    list("include_docs=true", "a", 5).await.expect(413);
    // Without the documents it is a list of names, as often as one likes.
    list("", "a", 1_000).await.expect(200);
    list("include_docs=true", "b", 20).await.expect(200);
    list("include_docs=true&attachments=true", "b", 20)
        .await
        .expect(413);

    let get = async |query: &str, id: &str, times: usize| {
        let path = format!("{db}/_bulk_get?{query}");
        let docs = vec![json!({"id": id}); times];
        session.post(&path, &json!({"docs": docs})).await
    };
    get("", "a", 4).await.expect(200);
    get("", "a", 5).await.expect(413);
    get("", "b", 20).await.expect(200);
    get("attachments=true", "b", 20).await.expect(413);
    // What does not exist is told to be missing, and that is short.
    get("", "nothing", 1_000).await.expect(200);
}

#[tokio::test]
async fn the_branches_of_a_document_are_no_repetitions_but_each_of_them_twice_is() {
    let limits = Limits {
        repeated_bytes: 10_000,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let rev = |n: usize| format!("1-{n:032x}");
    let docs: Vec<_> = (0..20)
        .map(|n| json!({"_id": "a", "_rev": rev(n), "f": "f".repeat(2_000)}))
        .collect();
    session
        .post(
            &format!("{db}/_bulk_docs"),
            &json!({"docs": docs, "new_edits": false}),
        )
        .await
        .expect(201);
    let items: Vec<_> = (0..20).map(|n| json!({"id": "a", "rev": rev(n)})).collect();
    let get = async |items: &[serde_json::Value]| {
        let path = format!("{db}/_bulk_get");
        session.post(&path, &json!({"docs": items})).await
    };
    get(&items).await.expect(200);
    get(&[&items[..], &items[..]].concat()).await.expect(413);
}

#[tokio::test]
async fn a_long_tree_is_gone_through_again_only_so_often() {
    let limits = Limits {
        repeated_bytes: 1_000_000,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let rev = |n: usize| format!("{n}-{n:032x}");
    let ids: Vec<String> = (1..=999).rev().map(|n| format!("{n:032x}")).collect();
    let document =
        |id: &str| json!({"_id": id, "_rev": rev(999), "_revisions": {"start": 999, "ids": ids}});
    let body = json!({"docs": [document("a"), document("b")], "new_edits": false});
    session
        .post(&format!("{db}/_bulk_docs"), &body)
        .await
        .expect(201);
    let get = async |query: &str, items: Vec<serde_json::Value>| {
        let path = format!("{db}/_bulk_get?{query}");
        session.post(&path, &json!({"docs": items})).await
    };
    // Side by side they are looked for in a tree that is read once, whether they are there or not.
    let unknown = (0..5_000).map(|n| json!({"id": "a", "rev": format!("1-{:032x}", 5_000 + n)}));
    get("latest=true", unknown.collect()).await.expect(200);
    // Here it is read for each of them, and there gone through.
    let turns =
        |n: usize| (0..n).flat_map(|_| ["a", "b"].map(|id| json!({"id": id, "rev": rev(1)})));
    get("", turns(10).collect()).await.expect(200);
    get("", turns(100).collect()).await.expect(413);
    let ancestors = |n: usize| (1..=n).map(|n| json!({"id": "a", "rev": rev(n)}));
    get("", ancestors(900).collect()).await.expect(200);
    get("latest=true", ancestors(20).collect())
        .await
        .expect(200);
    get("latest=true", ancestors(900).collect())
        .await
        .expect(413);
}

#[tokio::test]
async fn a_key_that_is_named_often_is_looked_up_only_so_often() {
    let limits = Limits {
        repeated_bytes: 1_000_000,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let rev = |n: usize| format!("{n}-{n:032x}");
    let ids: Vec<String> = (1..=999).rev().map(|n| format!("{n:032x}")).collect();
    let revisions = json!({"start": 999, "ids": ids});
    let docs = json!([
        {"_id": "a", "_rev": rev(999), "_revisions": revisions},
        {"_id": "gone", "_rev": rev(999), "_revisions": revisions, "_deleted": true},
    ]);
    let bulk = json!({"docs": docs, "new_edits": false});
    let bulk = session.post(&format!("{db}/_bulk_docs"), &bulk).await;
    bulk.expect(201);
    let list = async |query: &str, keys: Vec<&str>| {
        let path = format!("{db}/_all_docs{query}");
        session.post(&path, &json!({"keys": keys})).await
    };
    // Side by side it is read once, and told each time.
    let told = list("", vec!["a"; 5_000]).await.expect(200).json();
    let rows = told["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 5_000);
    assert!(rows.iter().all(|row| row["value"]["rev"] == rev(999)));
    list("?include_docs=true", vec!["a"; 500]).await.expect(200);
    // Here it is read for each of them, and there gone through for its conflicts.
    list("", ["a", "b"].repeat(20)).await.expect(200);
    list("", ["a", "b"].repeat(100)).await.expect(413);
    list("", ["gone", "b"].repeat(100)).await.expect(413);
    list("", ["b", "c"].repeat(100)).await.expect(200);
    list("?include_docs=true&conflicts=true", vec!["a"; 100])
        .await
        .expect(413);
    let path = format!("{db}/_all_docs/queries");
    let lists = |n: usize| {
        let list = json!({"keys": (["a", "b"].repeat(n))});
        json!({"queries": vec![list; 10]})
    };
    session.post(&path, &lists(2)).await.expect(200);
    session.post(&path, &lists(10)).await.expect(413);
}

#[tokio::test]
async fn a_revision_that_is_asked_for_often_is_told_once() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let rev = |n: usize| format!("{}-{n:032x}", n + 1);
    // One long branch, and a second leaf: both follow its first revision.
    let branch: Vec<String> = (0..30).rev().map(|n| format!("{n:032x}")).collect();
    let long = json!({
        "_id": "a", "_rev": rev(29), "f": "long", "_revisions": {"start": 30, "ids": branch},
    });
    let short = json!({
        "_id": "a", "_rev": "2-ffffffffffffffffffffffffffffffff", "f": "short",
        "_revisions": {"start": 2, "ids": ["f".repeat(32), format!("{:032x}", 0)]},
    });
    let docs = json!({"docs": [long, short], "new_edits": false});
    session
        .post(&format!("{db}/_bulk_docs"), &docs)
        .await
        .expect(201);
    let wanted: Vec<String> = (0..30).chain(0..30).map(rev).collect();
    let open_revs: String =
        url::form_urlencoded::byte_serialize(json!(wanted).to_string().as_bytes()).collect();
    let ask = async |more: &str| {
        let path = format!("{db}/a?open_revs={open_revs}{more}");
        session.get(&path).await.expect(200).json()
    };
    let told = ask("&latest=true").await;
    let told: Vec<_> = told.as_array().unwrap().iter().collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|line| line["ok"]["f"].is_string()));
    // Without `latest` only leaves are kept: one is told, and what is missing is named once, too.
    let told = ask("").await;
    assert_eq!(told.as_array().unwrap().len(), 30);
}

#[tokio::test]
async fn the_large_leaves_of_a_document_are_all_told_piece_by_piece() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let first = format!("{:032x}", 0);
    // Together many times what is made at once.
    let leaf = |n: usize| {
        let name = format!("{n:032x}");
        json!({
            "_id": "a", "_rev": format!("2-{name}"), "n": n, "f": "f".repeat(200 << 10),
            "_revisions": {"start": 2, "ids": [name, first]},
        })
    };
    let docs: Vec<_> = (1..=20).map(leaf).collect();
    let docs = json!({"docs": docs, "new_edits": false});
    session
        .post(&format!("{db}/_bulk_docs"), &docs)
        .await
        .expect(201);
    session
        .put(&format!("{db}/b"), &json!({}))
        .await
        .expect(201);
    let numbers = |told: &serde_json::Value| {
        let told = told.as_array().unwrap().iter();
        let mut numbers: Vec<_> = told.map(|line| line["ok"]["n"].as_u64().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    };
    let all: Vec<u64> = (1..=20).collect();

    let told = session.get(&format!("{db}/a?open_revs=all")).await;
    assert_eq!(numbers(&told.expect(200).json()), all);
    let items = json!([
        {"id": "b"}, {"id": "a", "rev": format!("1-{first}")}, {"id": "nothing"}, {"id": "b"},
    ]);
    let path = format!("{db}/_bulk_get?latest=true&revs=true");
    let told = session.post(&path, &json!({"docs": items})).await;
    let told = told.expect(200).json();
    let results = told["results"].as_array().unwrap();
    let ids: Vec<_> = results
        .iter()
        .map(|item| item["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["b", "a", "nothing", "b"]);
    assert_eq!(numbers(&results[1]["docs"]), all);
    assert_eq!(results[2]["docs"][0]["error"]["reason"], "missing");
    for b in [&results[0], &results[3]] {
        assert_eq!(b["docs"][0]["ok"]["_id"], "b");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn open_revs_of_a_document_that_changes_is_always_answered() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let hot = format!("{db}/hot");
    let written = session.put(&hot, &json!({"n": 0})).await;
    let first = written.expect(201).json()["rev"].take();
    let edits = async {
        let mut rev = first.clone();
        loop {
            let written = session.put(&hot, &json!({"_rev": rev, "n": 1})).await;
            rev = written.expect(201).json()["rev"].take();
        }
    };
    let reads = async {
        // A broken answer is a panic of whoever reads it.
        for _ in 0..150 {
            let all = session.get(&format!("{hot}?open_revs=all&revs=true")).await;
            let all = all.expect(200).json();
            assert!(all[0]["ok"]["_revisions"].is_object() && all[1].is_null());
            let wanted = all[0]["ok"]["_rev"].as_str().unwrap();
            let path = format!("{hot}?latest=true&open_revs=%5B%22{wanted}%22%5D");
            let latest = session.get(&path).await.expect(200).json();
            assert!(latest[0]["ok"]["_id"] == "hot" && latest[1].is_null());
        }
    };
    tokio::select! {
        () = reads => {}
        () = edits => {}
    }
}

#[tokio::test]
async fn leaves_that_are_replaced_while_others_are_told_are_followed_or_missing() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let rev = |n: usize| format!("1-{n:032x}");
    // More than fits what is on its way. The leaves that come last are the lowest.
    for part in 0..4 {
        let leaf = |n: usize| json!({"_id": "a", "_rev": rev(n), "f": "f".repeat(1 << 20)});
        let docs: Vec<_> = (0..10).map(|n| leaf(part * 10 + n)).collect();
        let docs = json!({"docs": docs, "new_edits": false});
        let bulk = session.post(&format!("{db}/_bulk_docs"), &docs).await;
        bulk.expect(201);
    }
    let begin = async |method: &str, path: &str, body: serde_json::Value| {
        let (path, body) = (format!("{db}/{path}"), body.to_string());
        let client = &session.client;
        client.open(method, &path, &session.access, body).await
    };
    let all = begin("GET", "a?open_revs=all", json!(null)).await;
    let named = json!((0..40).rev().map(rev).collect::<Vec<_>>()).to_string();
    let named: String = url::form_urlencoded::byte_serialize(named.as_bytes()).collect();
    let named = begin("GET", &format!("a?open_revs={named}"), json!(null)).await;
    let every = json!({"docs": [{"id": "a"}, {"id": "b"}]});
    let every = begin("POST", "_bulk_get", every).await;
    let replaced = json!({"_rev": rev(3), "n": 3});
    let replaced = session.put(&format!("{db}/a"), &replaced).await;
    let replaced = replaced.expect(201).json()["rev"].take();

    let told = |list: &serde_json::Value| {
        let lines = list.as_array().unwrap().iter();
        lines
            .map(|line| match &line["ok"] {
                serde_json::Value::Null => line.clone(),
                ok => ok["_rev"].clone(),
            })
            .collect::<Vec<_>>()
    };
    let but_one = |other: serde_json::Value| {
        let mut lines: Vec<_> = (0..40).rev().map(|n| json!(rev(n))).collect();
        lines[36] = other;
        lines
    };
    let all = Answer::read(all).await.expect(200).json();
    assert_eq!(told(&all), but_one(replaced.clone()));
    let named = Answer::read(named).await.expect(200).json();
    assert_eq!(told(&named), but_one(json!({"missing": rev(3)})));
    let every = Answer::read(every).await.expect(200).json();
    assert_eq!(told(&every["results"][0]["docs"]), but_one(replaced));
    assert_eq!(every["results"][1]["docs"][0]["error"]["reason"], "missing");
}
