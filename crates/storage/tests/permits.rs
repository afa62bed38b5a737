//! A right that ended while a body came is none: whoever was let in, and sends slowly, is refused when the body is there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use serde_json::{Value, json};
use support::begun::{Begun, JSON, Row, members_requests};
use support::{Node, Session, rev};

/// What only an owner may send.
fn owners_requests() -> Vec<Row> {
    let post = |path, body: Value| ("POST", path, JSON, body.to_string());
    let named = json!({"databaseName": "d"});
    vec![
        post("{db}/_purge", json!({"secret": [rev(1, 'a')]})),
        ("PUT", "{db}/_revs_limit", JSON, "  7".to_owned()),
        post(
            "{db}/_index",
            json!({"index": {"fields": ["a"]}, "name": "late"}),
        ),
        post("{db}/_index/_bulk_delete", json!({"docids": ["_design/x"]})),
        (
            "PUT",
            "{db}/_design/late",
            JSON,
            json!({"a": 1}).to_string(),
        ),
        post("/user/createDatabase", json!({"databaseName": "late"})),
        post("/user/updateDatabase", named.clone()),
        post("/user/deleteDatabase", named.clone()),
        post("/user/deleteDatabases", json!({})),
        post("/user/databases", json!({})),
        post("/user/databaseInfo", named.clone()),
        post("/user/usage", json!({})),
        post("/user/pingDatabases", json!({})),
        post("/user/pingDatabase", json!({})),
        post("/user/checkReplication", named),
    ]
}

fn shared_with(member: &Session) -> Value {
    let did = member.person.did.as_given();
    json!({"read": "users", "write": "users", "readList": [did], "writeList": [did], "deleteList": [did]})
}

async fn put_permissions(owner: &Session, permissions: Value) {
    let body = json!({"databaseName": "d", "options": {"permissions": permissions}});
    owner.post("/user/updateDatabase", &body).await.expect(200);
}

const SECRET: &str = "written when he was out";

/// Begins every request, lets something happen, ends every request, and expects each to be refused like this.
async fn all_are_refused(
    (session, db): (&Session, &str),
    rows: Vec<Row>,
    expected: u16,
    happens: impl Future,
) {
    let mut begun = Vec::new();
    for row in rows {
        begun.push(Begun::new(session.client, &session.access, db, row).await);
    }
    happens.await;
    for request in begun {
        let (status, answer, row) = request.finish().await;
        assert_eq!(status, expected, "{row}: {answer}");
        assert!(!answer.contains(SECRET), "{row}");
    }
}

#[tokio::test]
async fn a_member_who_was_put_out_while_he_sent_is_refused() {
    let node = Node::start().await;
    let (owner, member) = (node.session(1).await, node.session(2).await);
    let db = owner.database_with("d", &shared_with(&member)).await;
    all_are_refused((&member, &db), members_requests(), 403, async {
        put_permissions(&owner, json!({"read": "owner", "write": "owner"})).await;
        let secret = json!({"secret": SECRET});
        owner
            .put(&format!("{db}/secret"), &secret)
            .await
            .expect(201);
    })
    .await;
    // Nothing of what he sent is there.
    let listed = owner.get(&format!("{db}/_all_docs")).await.json();
    assert_eq!(listed["rows"].as_array().unwrap().len(), 1, "{listed}");
    owner.get(&format!("{db}/_local/late")).await.expect(404);
}

#[tokio::test]
async fn whose_token_ended_while_he_sent_is_refused() {
    let node = Node::start().await;
    let (owner, member) = (node.session(1).await, node.session(2).await);
    let db = owner.database_with("d", &shared_with(&member)).await;
    let secret = json!({"secret": SECRET});
    owner
        .put(&format!("{db}/secret"), &secret)
        .await
        .expect(201);
    let rows = members_requests().into_iter().chain(owners_requests());
    all_are_refused((&owner, &db), rows.collect(), 401, async {
        node.pass(7_200)
    })
    .await;
    let again = support::Person::new(1).log_in(&node.client()).await;
    let listed = again
        .get(&format!("{db}/_all_docs"))
        .await
        .expect(200)
        .json();
    assert_eq!(listed["rows"].as_array().unwrap().len(), 1, "{listed}");
    let names = again.post("/user/databases", &json!({})).await.json();
    assert_eq!(names["result"].as_array().unwrap().len(), 1, "{names}");
    assert_eq!(again.get(&format!("{db}/_revs_limit")).await.json(), 1_000);
}

#[tokio::test]
async fn a_database_that_was_made_anew_while_he_sent_is_another_one() {
    let node = Node::start().await;
    let (owner, member) = (node.session(1).await, node.session(2).await);
    let db = owner.database_with("d", &shared_with(&member)).await;
    all_are_refused((&member, &db), members_requests(), 403, async {
        let named = json!({"databaseName": "d"});
        owner.post("/user/deleteDatabase", &named).await.expect(200);
        owner.database("d").await;
        let secret = json!({"secret": SECRET});
        owner
            .put(&format!("{db}/secret"), &secret)
            .await
            .expect(201);
    })
    .await;
}

#[tokio::test]
async fn whoever_may_still_do_it_is_served_however_long_he_sent() {
    let node = Node::start().await;
    let (owner, member) = (node.session(1).await, node.session(2).await);
    let db = owner.database_with("d", &shared_with(&member)).await;
    let mut begun = Vec::new();
    for row in members_requests() {
        // An endless feed is answered, and goes on.
        if !row.1.contains("continuous") {
            begun.push(Begun::new(member.client, &member.access, &db, row).await);
        }
    }
    // The permissions change, and not his: what he was let in with is not what counts.
    let mut wider = shared_with(&member);
    wider["readList"] = json!([
        member.person.did.as_given(),
        support::Person::new(3).did.as_given()
    ]);
    put_permissions(&owner, wider).await;
    for request in begun {
        let (status, answer, row) = request.finish().await;
        // The same document is put by several of these: a conflict is an answer to one who may write.
        assert!(matches!(status, 200 | 201 | 409), "{row}: {answer}");
    }
    owner.get(&format!("{db}/late")).await.expect(200);
}

#[tokio::test]
async fn who_may_only_read_by_now_writes_nothing() {
    let node = Node::start().await;
    let (owner, member) = (node.session(1).await, node.session(2).await);
    let db = owner.database_with("d", &shared_with(&member)).await;
    let put = ("PUT", "{db}/late", JSON, json!({"a": 1}).to_string());
    let attachment = ("PUT", "{db}/late/a.txt", "text/plain", "hello".to_owned());
    all_are_refused((&member, &db), vec![put, attachment], 401, async {
        let did = member.person.did.as_given();
        let reads = json!({"read": "users", "write": "owner", "readList": [did]});
        put_permissions(&owner, reads).await;
    })
    .await;
    owner.get(&format!("{db}/late")).await.expect(404);
}

#[tokio::test]
async fn a_feed_with_much_to_tell_ends_with_its_token() {
    let node = Node::start().await;
    let owner = node.session(1).await;
    let db = owner.database("d").await;
    let filler = "f".repeat(1 << 20);
    for n in 0..40 {
        let document = json!({"f": filler});
        owner.put(&format!("{db}/{n}"), &document).await.expect(201);
    }
    let path = format!("{db}/_changes?include_docs=true");
    let answer = owner.client.open("GET", &path, &owner.access, "").await;
    assert_eq!(answer.status(), 200);
    // Nothing is read of it until the token is over: the node has told what fits on the way.
    node.pass(7_200);
    let told = support::Answer::read(answer).await;
    assert!(told.body.len() < 40 << 20, "{}", told.body.len());
    assert!(told.json()["pending"].as_u64().unwrap() > 0);
}
