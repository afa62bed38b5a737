//! `COPY`.

use serde_json::{Value, json};

use crate::couch;
use crate::support::{Node, large};

#[tokio::test]
async fn a_document_is_copied_with_its_attachments_which_are_not_kept_twice() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let at = format!("{db}/a%2Fb");
    let content = large(300_000);
    session
        .with("PUT", &format!("{at}/x"), &[], content.clone())
        .await
        .expect(201);
    let first = session.get(&at).await.json();
    let mut second = first.clone();
    second["n"] = 2.into();
    session.put(&at, &second).await.expect(201);
    let bytes = session.get(&db).await.json()["sizes"]["active"]
        .as_u64()
        .unwrap();

    let copy = |to: String| {
        let (session, at) = (&session, at.clone());
        async move { session.with("COPY", &at, &[("destination", &to)], "").await }
    };
    let made = copy("c%20%C3%A4".into()).await;
    let told = made.expect(201).json();
    assert_eq!((&told["ok"], &told["id"]), (&json!(true), &json!("c ä")));
    let made_rev = told["rev"].as_str().unwrap();
    assert_eq!(made.header("etag"), Some(&*format!("\"{made_rev}\"")));
    let copied = session.get(&format!("{db}/c%20%C3%A4")).await.json();
    assert_eq!(copied["n"], 2);
    assert_eq!(
        session.get(&format!("{db}/c%20%C3%A4/x")).await.body,
        content
    );
    let now = session.get(&db).await.json()["sizes"]["active"]
        .as_u64()
        .unwrap();
    assert!(now - bytes < 1_000, "{now} {bytes}");

    // Over another document only with its revision; a revision that is no leaf is not there.
    assert_eq!(
        copy("c%20%C3%A4".into()).await.expect(409).json()["error"],
        "conflict"
    );
    copy(format!("c%20%C3%A4?rev={made_rev}")).await.expect(201);
    session
        .put(&format!("{db}/other"), &json!({}))
        .await
        .expect(201);
    let other = session.get(&format!("{db}/other")).await.json()["_rev"].take();
    copy(format!("other?rev={}", other.as_str().unwrap()))
        .await
        .expect(201);
    let stale = format!("{at}?rev={}", first["_rev"].as_str().unwrap());
    session
        .with("COPY", &stale, &[("destination", "y")], "")
        .await
        .expect(404);
    session
        .with("COPY", &format!("{db}/none"), &[("destination", "y")], "")
        .await
        .expect(404);
    for destination in ["", "_local/x", "_x", "http://example.org/x", "y?rev=1"] {
        copy(destination.into()).await.expect(400);
    }
    session.with("COPY", &at, &[], "").await.expect(400);
    // The original goes, and the copy has its content.
    let rev = session.get(&at).await.json()["_rev"].take();
    let gone = format!("{at}?rev={}", rev.as_str().unwrap());
    session
        .send("DELETE", &gone, &Value::Null)
        .await
        .expect(200);
    assert_eq!(
        session.get(&format!("{db}/c%20%C3%A4/x")).await.body,
        content
    );
}

#[tokio::test]
async fn a_copy_needs_the_right_to_write_where_it_goes() {
    for store in couch::stores().await {
        let node = &store.node;
        let owner = node.session(1).await;
        let reader = node.session(2).await;
        let writer = node.session(3).await;
        let db = owner.database_shared("d", &reader, &writer).await;
        owner
            .put(&format!("{db}/x"), &json!({"n": 1}))
            .await
            .expect(201);
        let path = format!("{db}/x");
        let to = |id: &'static str| [("destination", id)];
        reader.with("COPY", &path, &to("y"), "").await.expect(401);
        writer.with("COPY", &path, &to("y"), "").await.expect(201);
        assert_eq!(
            reader.get(&format!("{db}/y")).await.expect(200).json()["n"],
            1
        );
        writer
            .with("COPY", &path, &to("_design/y"), "")
            .await
            .expect(401);
        // What a copy makes of a design document is nowhere to be judged before a CouchDB acts upon it.
        let as_design = owner.with("COPY", &path, &to("_design/y"), "").await;
        as_design.expect(if store.couch.is_some() { 403 } else { 201 });
        let stranger = node.session(4).await;
        stranger.with("COPY", &path, &to("z"), "").await.expect(403);
        store.is_documented();
    }
}
