//! Work and room that one account takes from others: looking through rows, open files, checkpoints in what is full.

use std::time::Duration;

use adyton_storage::Limits;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Credential, Node, Session};

#[tokio::test]
async fn rows_that_are_skipped_are_walked_over_in_turns_and_the_rest_is_told() {
    let limits = Limits {
        finds_at_once: 1,
        find_queue: 1,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let docs: Vec<_> = (0..6_000)
        .map(|n| json!({"_id": format!("{n:05}")}))
        .collect();
    let bulk = format!("{db}/_bulk_docs");
    let made = session.post(&bulk, &json!({"docs": docs})).await;
    // The middle third is deleted: nobody is told of these, and they are walked over all the same.
    let gone: Vec<_> = made.expect(201).json().as_array().unwrap()[2_000..4_000]
        .iter()
        .map(|row| json!({"_id": row["id"], "_rev": row["rev"], "_deleted": true}))
        .collect();
    session
        .post(&bulk, &json!({"docs": gone}))
        .await
        .expect(201);
    let list = async |query: &str| {
        let answer = session.get(&format!("{db}/_all_docs?{query}")).await;
        let rows = answer.expect(200).json()["rows"].clone();
        let ids = rows.as_array().unwrap().iter();
        ids.map(|row| row["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(list("").await.len(), 4_000);
    assert_eq!(list("skip=1999&limit=2").await, ["01999", "04000"]);
    assert_eq!(list("skip=2500&limit=1").await, ["04500"]);
    assert_eq!(list("skip=3999").await, ["05999"]);
    assert_eq!(list("skip=4000").await, [""; 0]);
    assert_eq!(list("skip=100000").await, [""; 0]);
    assert_eq!(list("descending=true&skip=2500&limit=1").await, ["01499"]);
    assert_eq!(
        list("startkey=%2201000%22&skip=1500&limit=1").await,
        ["04500"]
    );
    let keys = json!({"keys": ["00001", "nobody", "00003"]});
    let path = format!("{db}/_all_docs?skip=2");
    let rows = session.post(&path, &keys).await.expect(200).json();
    assert_eq!(rows["rows"].as_array().unwrap().len(), 1);
    assert_eq!(rows["rows"][0]["id"], "00003");
    // Many at a time: they take turns, and of one caller only so many wait.
    let path = format!("{db}/_all_docs?skip=3999");
    let many: Vec<_> = (0..8).map(|_| session.get(&path)).collect();
    let statuses: Vec<_> = futures_util::future::join_all(many)
        .await
        .iter()
        .map(|answer| answer.status.as_u16())
        .collect();
    assert!(statuses.contains(&200), "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 503].contains(status)));
}

#[tokio::test]
async fn one_account_cannot_keep_all_open_files() {
    let limits = Limits {
        open_databases: 1,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let (session, other) = (node.session(1).await, node.session(2).await);
    let others = other.database("d").await;
    let Credential::Bearer(token) = &session.access else {
        panic!("a bearer token")
    };
    let filler = "f".repeat(4 << 20);
    let mut unread = Vec::new();
    for n in 0..4 {
        let db = session.database(&format!("d{n}")).await;
        for id in 0..4 {
            let path = format!("{db}/{id}");
            session.put(&path, &json!({"f": filler})).await.expect(201);
        }
        for path in ["_all_docs?include_docs=true", "_changes?include_docs=true"] {
            let mut stream = TcpStream::connect(node.storage.address()).await.unwrap();
            let request = format!(
                "GET {db}/{path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            unread.push(stream);
        }
    }
    // Until all that fits anywhere was sent.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for n in 0..4 {
        let path = format!("{others}/{n}");
        other.put(&path, &json!({})).await.expect(201);
    }
    // And the answers go on where their readers do.
    for mut stream in unread {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.len() > 16 << 20 && answer.ends_with(b"0\r\n\r\n"));
    }
}

#[tokio::test]
async fn queries_and_feeds_by_selector_take_turns_and_all_are_answered() {
    let limits = Limits {
        finds_at_once: 1,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let docs: Vec<serde_json::Value> = (0..3_000).map(|n| json!({"n": n})).collect();
    session
        .post(&format!("{db}/_bulk_docs"), &json!({"docs": docs}))
        .await
        .expect(201);
    // More rows than one batch, so that each of them waits for its turn more than once.
    let asked: Vec<_> = (0..8)
        .map(|n| {
            let (client, access) = (session.client, session.access.clone());
            let body = json!({"selector": {"n": {"$gte": 2_900}}}).to_string();
            let path = match n % 2 {
                0 => format!("{db}/_changes?filter=_selector"),
                _ => format!("{db}/_find"),
            };
            tokio::spawn(async move { client.send("POST", &path, &access, body).await })
        })
        .collect();
    for (n, answer) in asked.into_iter().enumerate() {
        let answer = answer.await.unwrap().expect(200).json();
        let (list, count) = match n % 2 {
            0 => ("results", 100),
            _ => ("docs", 25),
        };
        assert_eq!(answer[list].as_array().unwrap().len(), count);
    }
}

#[tokio::test]
async fn a_reader_keeps_checkpoints_and_no_more() {
    let limits = Limits {
        reader_local_bytes: 1_000,
        local_documents_for_readers: 3,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let owner = node.session(1).await;
    let reader = node.session(2).await;
    let everybody = json!({"read": "public", "write": "owner"});
    let db = owner.database_with("d", &everybody).await;
    let local = |id: &str| format!("{db}/_local/{id}");
    let document = |bytes: usize| json!({"f": "f".repeat(bytes - 8)});
    owner.put(&local("own"), &document(1_001)).await.expect(201);

    reader.put(&local("a"), &document(1_001)).await.expect(413);
    let a = reader.put(&local("a"), &document(1_000)).await;
    let rev = a.expect(201).json()["rev"].clone();
    reader.put(&local("b"), &json!({})).await.expect(201);
    // Replicators go on without a checkpoint when they may not keep it.
    reader.put(&local("c"), &json!({})).await.expect(403);
    // What is there is still kept up to date, by its readers; the owner keeps what he likes.
    let next = json!({"_rev": rev, "n": 1});
    let rev = reader.put(&local("a"), &next).await.expect(201).json()["rev"].clone();
    owner.put(&local("d"), &json!({})).await.expect(201);
    owner.put(&local("e"), &json!({})).await.expect(201);
    let gone = format!("{}?rev={}", local("a"), rev.as_str().unwrap());
    reader.send("DELETE", &gone, &json!(null)).await.expect(200);
    reader.put(&local("c"), &json!({})).await.expect(403);
}

#[tokio::test]
async fn a_reader_of_public_databases_takes_nothing_that_writers_need() {
    let limits = Limits {
        account_bytes: 8 << 20,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let (owner, reader) = (node.session(1).await, node.session(2).await);
    let everybody = json!({"read": "public", "write": "owner"});
    let db = owner.database_with("d", &everybody).await;
    let checkpoint = json!({"at": "x".repeat(30 << 10)});
    let put = async |session: &Session, n: usize| {
        let path = format!("{db}/_local/{n}");
        session.put(&path, &checkpoint).await.status
    };
    let mut kept = 0;
    while put(&reader, kept).await == 201 {
        kept += 1;
        assert!(kept < 400, "a reader takes all of the account");
    }
    assert_eq!(put(&reader, kept).await, 403);
    let document = json!({"f": "f".repeat(500 << 10)});
    owner.post(&db, &document).await.expect(201);
    while owner.post(&db, &document).await.status == 201 {}

    // Full: to readers nothing is lent, to who writes here a little.
    assert_eq!(put(&reader, kept).await, 403);
    assert_eq!(put(&owner, 1_000).await, 201);
}

#[tokio::test]
async fn a_full_node_lends_checkpoints_so_much_and_no_more() {
    let limits = Limits {
        node_bytes: Some(16 << 20),
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let owner = node.session(1).await;
    let db = owner.database("d").await;
    let document = json!({"f": "f".repeat(500 << 10)});
    while owner.post(&db, &document).await.status == 201 {}
    let checkpoint = json!({"at": "x".repeat(30 << 10)});
    let mut lent = 0;
    let refused = loop {
        let path = format!("{db}/_local/{lent}");
        let put = owner.put(&path, &checkpoint).await;
        if put.status != 201 {
            break put;
        }
        lent += 1;
        assert!(lent < 100, "the node lends without end");
    };
    refused.expect(507);
}
