//! Several lists at once, long ones of revisions, and keys of every type.

use adyton_storage::Limits;
use serde_json::{Value, json};

use crate::support::{Node, rev};

#[tokio::test]
async fn what_a_peer_lacks_is_told_however_much_it_is() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let branches: Vec<Value> = (0..900)
        .map(|n| {
            let rev = format!("2-{n:032x}");
            json!({"_id": "wide", "_rev": rev, "_revisions": {"start": 2, "ids": [format!("{n:032x}"), "0".repeat(32)]}})
        })
        .collect();
    session
        .post(
            &format!("{db}/_bulk_docs"),
            &json!({"docs": branches, "new_edits": false}),
        )
        .await
        .expect(201);
    session
        .put(&format!("{db}/known"), &json!({}))
        .await
        .expect(201);
    let known = session.get(&format!("{db}/known")).await.json()["_rev"].take();
    let mut asked: serde_json::Map<String, Value> = (0..20_000)
        .map(|n| (format!("unknown\"{n}"), json!([rev(1, 'a'), rev(2, 'b')])))
        .collect();
    asked.insert("wide".into(), json!([rev(3, 'c')]));
    asked.insert("known".into(), json!([known]));
    let asked = Value::Object(asked);
    let diff = session.post(&format!("{db}/_revs_diff"), &asked).await;
    assert!(diff.expect(200).body.len() > 1 << 20);
    let diff = diff.json();
    assert_eq!(diff.as_object().unwrap().len(), 20_001);
    assert_eq!(
        diff["unknown\"7"],
        json!({"missing": [rev(1, 'a'), rev(2, 'b')]})
    );
    assert_eq!(diff["wide"]["missing"], json!([rev(3, 'c')]));
    assert_eq!(
        diff["wide"]["possible_ancestors"].as_array().unwrap().len(),
        900
    );
    let missing = session.post(&format!("{db}/_missing_revs"), &asked).await;
    let missing = missing.expect(200).json()["missing_revs"].take();
    assert_eq!(missing.as_object().unwrap().len(), 20_001);
    assert_eq!(missing["wide"], json!([rev(3, 'c')]));
    for path in ["_revs_diff", "_missing_revs"] {
        let nothing = session
            .post(&format!("{db}/{path}"), &json!({"known": [known]}))
            .await;
        assert!(nothing.expect(200).body.len() < 30);
    }
}

#[tokio::test]
async fn several_lists_are_told_in_one_answer() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    for id in ["a", "b", "_design/x"] {
        session
            .put(&format!("{db}/{id}"), &json!({"n": 1}))
            .await
            .expect(201);
    }
    let at = format!("{db}/_all_docs/queries");
    let queries = json!({"queries": [
        {"keys": ["b", "none"]}, {"startkey": "a", "limit": 1, "include_docs": true}, {"limit": 0},
    ]});
    let lists = session.post(&at, &queries).await.expect(200).json()["results"].take();
    let ids = |list: &Value| {
        let rows = list["rows"].as_array().unwrap().iter();
        rows.map(|row| row["key"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&lists[0]), ["b", "none"]);
    assert_eq!(ids(&lists[1]), ["a"]);
    assert_eq!(lists[1]["rows"][0]["doc"]["n"], 1);
    assert_eq!(
        (ids(&lists[2]).len(), &lists[2]["total_rows"]),
        (0, &json!(3))
    );
    let designs = session
        .post(
            &format!("{db}/_design_docs/queries"),
            &json!({"queries": [{}, {"keys": ["a"]}]}),
        )
        .await
        .expect(200)
        .json();
    assert_eq!(ids(&designs["results"][0]), ["_design/x"]);
    assert_eq!(ids(&designs["results"][1]), Vec::<String>::new());
    let none = session.post(&at, &json!({"queries": []})).await;
    assert_eq!(none.expect(200).json(), json!({"results": []}));
    session
        .post(&at, &json!({"queries": vec![json!({}); 21]}))
        .await
        .expect(413);
    session.post(&at, &json!({})).await.expect(400);
    session.get(&at).await.expect(405);
}

#[tokio::test]
async fn lists_of_one_request_name_documents_so_often_together() {
    let limits = Limits {
        repeated_bytes: 5_000,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    session
        .put(&format!("{db}/a"), &json!({"a": "0".repeat(1_000)}))
        .await
        .expect(201);
    let at = format!("{db}/_all_docs/queries?include_docs=true");
    let times = |n| json!({"queries": vec![json!({"keys": ["a"]}); n]});
    session.post(&at, &times(4)).await.expect(200);
    session.post(&at, &times(10)).await.expect(413);
}

#[tokio::test]
async fn keys_that_are_no_texts_stand_around_all_documents() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let last = "\u{10FFFF}";
    for id in ["a", "%F4%8F%BF%BF", "_local/a"] {
        session
            .put(&format!("{db}/{id}"), &json!({}))
            .await
            .expect(201);
    }
    let ids = async |query: &str| {
        let list = session.get(&format!("{db}/{query}")).await;
        let rows = list.expect(200).json()["rows"].take();
        let ids = rows.as_array().unwrap().iter();
        let ids = ids.map(|row| row["id"].as_str().unwrap().to_owned());
        ids.collect::<Vec<_>>()
    };
    let (all, none): (&[&str], &[&str]) = (&["a", last], &[]);
    for (query, expected) in [
        ("startkey=null", all),
        ("startkey=null&endkey=%7B%7D", all),
        ("startkey=1&endkey=%5B%5D", all),
        ("startkey=%22a%22&endkey=%7B%7D&inclusive_end=false", all),
        ("startkey=%5B%5D", none),
        ("endkey=true", none),
        ("key=null", none),
        ("key=%7B%7D", none),
        ("startkey=%7B%7D&endkey=null&descending=true", &[last, "a"]),
        ("startkey=null&descending=true", none),
    ] {
        assert_eq!(
            ids(&format!("_all_docs?{query}")).await,
            expected,
            "{query}"
        );
    }
    assert_eq!(ids("_local_docs?endkey=%7B%7D").await, ["_local/a"]);
    assert_eq!(ids("_design_docs?startkey=null").await, none);
    let body = json!({"startkey": "a", "endkey": null});
    let list = session.post(&format!("{db}/_all_docs"), &body).await;
    assert_eq!(list.expect(200).json()["rows"], json!([]));
}
