//! DID documents: taken only with a proof by the DID's own key, and only one version after the other.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

#[path = "support/couch.rs"]
mod couch;
mod support;

use adyton_protocol::consent;
use adyton_storage::StoreChoice;
use couch::{Couch, config_of};
use serde_json::{Value, json};
use support::{Answer, Credential, Node, Person};

async fn send(node: &Node, method: &str, person: &Person, document: Value) -> Answer {
    let path = format!("/did/{}", person.did.as_given());
    let body = json!({"document": document}).to_string();
    node.client()
        .send(method, &path, &Credential::None, body)
        .await
}

#[track_caller]
fn fails(answer: &Answer, message: &str) {
    let body = answer.expect(400).json();
    assert_eq!(body["status"], "fail");
    let said = body["message"].as_str().unwrap();
    assert!(said.contains(message), "{said}");
}

#[tokio::test]
async fn versions_follow_each_other() {
    let node = Node::start().await;
    let person = Person::new(1);
    let version = |n: u64, changes: Value| {
        let mut all = json!({"versionId": n});
        all.as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        person.document_with(support::START, &all)
    };
    fails(
        &send(&node, "PUT", &person, version(0, json!({}))).await,
        "DID Document not found",
    );
    fails(
        &send(&node, "POST", &person, version(1, json!({}))).await,
        "(Expected 0)",
    );
    let created = send(&node, "POST", &person, version(0, json!({}))).await;
    assert_eq!(
        created.expect(200).json(),
        json!({"status": "success", "data": {}})
    );
    fails(
        &send(&node, "POST", &person, version(0, json!({}))).await,
        "DID Document already exists. Use PUT",
    );
    fails(
        &send(&node, "PUT", &person, version(0, json!({}))).await,
        "Incorrect value for versionId (Expected 1)",
    );
    fails(
        &send(&node, "PUT", &person, version(2, json!({}))).await,
        "(Expected 1)",
    );
    let earlier = json!({"updated": "2001-01-01T00:00:00Z"});
    fails(
        &send(&node, "PUT", &person, version(1, earlier)).await,
        "updated must be after",
    );
    let other = json!({"created": "2001-01-01T00:00:00Z"});
    fails(
        &send(&node, "PUT", &person, version(1, other)).await,
        "created",
    );
    send(&node, "PUT", &person, version(1, json!({})))
        .await
        .expect(200);

    let path = format!("/did/{}", person.did.lowercase());
    let current = node.client().get(&path).await.expect(200).json();
    assert_eq!(current["data"], version(1, json!({})));
    let all = node
        .client()
        .get(&format!("{path}?allVersions=true"))
        .await
        .expect(200)
        .json();
    assert_eq!(all["data"]["versions"].as_array().unwrap().len(), 2);
    let found = node
        .client()
        .get(&format!("/lookup{path}"))
        .await
        .expect(200)
        .json();
    assert_eq!(found["data"]["document"], version(1, json!({})));
    assert_eq!(found["data"]["did"], person.did.lowercase());
}

#[tokio::test]
async fn a_document_with_another_keys_proof_is_refused() {
    let node = Node::start().await;
    let (anna, mallory) = (Person::new(1), Person::new(2));
    // Mallory's key inside, Mallory's proof, Anna's name: consistent in itself, and worthless.
    let mut forged = mallory.document(node.now());
    let text = forged
        .to_string()
        .replace(mallory.did.lowercase(), anna.did.lowercase());
    forged = serde_json::from_str(&text).unwrap();
    let mut unsigned = forged.clone();
    unsigned.as_object_mut().unwrap().remove("proof");
    let digest = adyton_protocol::hash::hash_value(&unsigned).unwrap();
    forged["proof"]["proofValue"] = mallory.sign(digest).into();
    fails(
        &send(&node, "POST", &anna, forged).await,
        "Invalid DID Document",
    );

    let mut tampered = anna.document(node.now());
    tampered["updated"] = "2030-01-01T00:00:00Z".into();
    fails(
        &send(&node, "POST", &anna, tampered).await,
        "Invalid DID Document",
    );
    fails(
        &send(&node, "POST", &anna, mallory.document(node.now())).await,
        "Invalid DID Document",
    );
    node.client()
        .get(&format!("/did/{}", anna.did.lowercase()))
        .await
        .expect(404);
}

#[tokio::test]
async fn malformed_documents_are_refused_and_the_node_lives() {
    let node = Node::start().await;
    let person = Person::new(1);
    for document in [
        json!({}),
        json!([]),
        json!("x"),
        json!({"id": 1}),
        json!({"id": "x", "proof": {}}),
        json!({"proof": {"proofValue": "0x00"}}),
    ] {
        fails(
            &send(&node, "POST", &person, document).await,
            "Invalid DID Document",
        );
    }
    fails(
        &send(&node, "POST", &person, Value::Null).await,
        "No document specified",
    );
    let deep = format!(
        "{{\"document\":{}{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let path = format!("/did/{}", person.did.lowercase());
    node.client()
        .send("POST", &path, &Credential::None, deep)
        .await
        .expect(400);
    let big = person.document_with(node.now(), &json!({"note": "n".repeat(300 << 10)}));
    fails(
        &send(&node, "POST", &person, big).await,
        "Invalid DID Document",
    );
    for did in [
        "x",
        "did:vda:polamoy:0x1",
        "did:key:z",
        "%00",
        "did:vda:polamoy:0x0000000000000000000000000000000000000001",
    ] {
        node.client().get(&format!("/did/{did}")).await.expect(404);
        node.client()
            .get(&format!("/lookup/did/{did}"))
            .await
            .expect(404);
    }
    let migrate = node
        .client()
        .post(&format!("{path}/migrate"), &json!({}))
        .await;
    assert_eq!(
        migrate.expect(404).json()["message"],
        "Not implemented (yet)"
    );
    node.client().get("/status").await.expect(200);
}

#[tokio::test]
async fn a_document_is_deleted_on_its_owners_word() {
    let node = Node::start().await;
    let person = node.person(1).await;
    let path = format!("/did/{}", person.did.lowercase());
    let delete = async |signature: Option<String>| {
        let stream = tokio::net::TcpStream::connect(node.storage.address())
            .await
            .unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        let mut request = http::Request::delete(&path).header("host", "x");
        if let Some(signature) = signature {
            request = request.header("signature", signature);
        }
        let request = request
            .body(http_body_util::Empty::<bytes::Bytes>::new())
            .unwrap();
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        let body = http_body_util::BodyExt::collect(body)
            .await
            .unwrap()
            .to_bytes();
        Answer {
            status: head.status,
            headers: head.headers,
            body,
        }
    };
    let minutes = (node.now() + 30) / 60;
    let word = |minutes| consent::delete_did_document(&person.did, minutes).digest();
    fails(&delete(None).await, "No signature specified");
    fails(&delete(Some("0x00".into())).await, "Invalid signature");
    fails(
        &delete(Some(Person::new(2).sign(word(minutes)))).await,
        "Invalid signature",
    );
    fails(
        &delete(Some(person.sign(word(minutes - 2)))).await,
        "Invalid signature",
    );
    let deleted = delete(Some(person.sign(word(minutes - 1))))
        .await
        .expect(200)
        .json();
    assert_eq!(
        deleted["data"],
        json!({"did": person.did.lowercase(), "revisions": 1})
    );
    fails(
        &delete(Some(person.sign(word(minutes)))).await,
        "DID Document not found",
    );
    node.client().get(&path).await.expect(404);
}

#[tokio::test]
async fn a_deleted_document_is_not_put_back_by_who_only_has_its_text() {
    for store in couch::stores().await {
        let node = &store.node;
        let (anna, client) = (node.person(1).await, node.client());
        let at = |seconds: i64| {
            let start = i64::try_from(support::START).unwrap();
            let time = time::OffsetDateTime::from_unix_timestamp(start + seconds).unwrap();
            time.format(&time::format_description::well_known::Rfc3339)
                .unwrap()
        };
        let first = anna.document(node.now());
        let next = json!({"versionId": 1, "updated": at(60)});
        let next = anna.document_with(node.now(), &next);
        send(node, "PUT", &anna, next.clone()).await.expect(200);
        node.pass(120);
        let deleted = anna.delete_document(&client, node.now()).await;
        assert_eq!(deleted.expect(200).json()["data"]["revisions"], 2);
        let put_back = async || {
            let refused = send(node, "POST", &anna, first.clone()).await;
            fails(&refused, "was deleted");
            // Nor one that the owner signed for another place, before the last version.
            let other = json!({"created": at(60), "updated": at(90)});
            let other = anna.document_with(node.now(), &other);
            fails(&send(node, "POST", &anna, other).await, "was deleted");
            fails(
                &send(node, "PUT", &anna, next.clone()).await,
                "DID Document not found",
            );
            client
                .get(&format!("/did/{}", anna.did.lowercase()))
                .await
                .expect(404);
        };
        put_back().await;
        fails(
            &anna.delete_document(&client, node.now()).await,
            "DID Document not found",
        );

        // The owner begins anew, and ends that, too.
        let anew = anna.document_with(node.now(), &json!({"updated": at(0)}));
        send(node, "POST", &anna, anew.clone()).await.expect(200);
        fails(
            &send(node, "POST", &anna, first.clone()).await,
            "already exists",
        );
        let deleted = anna.delete_document(&client, node.now()).await;
        deleted.expect(200);
        put_back().await;
        fails(&send(node, "POST", &anna, anew).await, "was deleted");
        anna.publish(&client, node.now() + 1).await;
        store.is_documented();
    }
}

#[tokio::test]
async fn what_is_left_of_deleted_documents_counts_and_gives_its_place_to_the_next() {
    let node = Node::with_config(|config| config.limits.did_documents = 1).await;
    let (anna, client) = (node.person(1).await, node.client());
    let deleted = anna.delete_document(&client, node.now()).await;
    deleted.expect(200);
    let bert = Person::new(2);
    let refused = send(&node, "POST", &bert, bert.document(node.now())).await;
    fails(&refused, "keeps no further DID documents");
    let node = node
        .restart_with(|config| config.limits.did_documents = 1)
        .await;
    let first = anna.document(node.now());
    fails(&send(&node, "POST", &anna, first).await, "was deleted");
    anna.publish(&node.client(), node.now() + 1).await;
    let dir = node.dir;
    node.storage.shutdown().await;
    assert_eq!(adyton_storage::check(dir.path()).unwrap().faults, []);
}

#[tokio::test]
async fn a_full_node_keeps_no_further_documents_and_those_that_it_has() {
    let node = Node::with_config(|config| config.limits.did_documents = 2).await;
    let first = Person::new(1);
    first.publish(&node.client(), node.now()).await;
    Person::new(2).publish(&node.client(), node.now()).await;
    let third = Person::new(3);
    let refused = send(&node, "POST", &third, third.document(node.now())).await;
    fails(&refused, "keeps no further DID documents");
    first.log_in(&node.client()).await;
}

#[tokio::test]
async fn a_full_node_takes_the_next_version_of_whom_it_knows() {
    let (anna, bert, carl) = (Person::new(1), Person::new(2), Person::new(3));
    let padded = |version: u64| {
        let changes = json!({"versionId": version, "padding": "x".repeat(1_000)});
        anna.document_with(support::START, &changes)
    };
    let couch = Couch::start().await;
    for choice in [
        StoreChoice::Embedded,
        StoreChoice::Couch(Box::new(config_of(&couch))),
    ] {
        let node = Node::with_config(|config| {
            config.store = choice;
            config.limits.did_documents = 2;
            config.limits.did_document_bytes = 8_000;
        })
        .await;
        anna.publish(&node.client(), node.now()).await;
        bert.publish(&node.client(), node.now()).await;
        let refused = send(&node, "POST", &carl, carl.document(node.now())).await;
        fails(&refused, "keeps no further DID documents");
        send(&node, "PUT", &anna, padded(1)).await.expect(200);
        send(&node, "PUT", &anna, padded(2)).await.expect(200);
        // As far as it would come in a node that is not full.
        for version in 3.. {
            assert!(version < 8, "more than the limit's bytes");
            let answer = send(&node, "PUT", &anna, padded(version)).await;
            if answer.status != 200 {
                fails(&answer, "keeps no further DID documents");
                break;
            }
        }
        let deleted = bert.delete_document(&node.client(), node.now()).await;
        deleted.expect(200);
        bert.publish(&node.client(), node.now() + 1).await;
        let refused = send(&node, "POST", &carl, carl.document(node.now())).await;
        fails(&refused, "keeps no further DID documents");
    }
    assert_eq!(couch.undocumented(), Vec::<String>::new());
}

#[tokio::test]
async fn documents_are_kept_up_to_so_many_bytes_of_one_did_and_of_all() {
    let size = |person: &Person| person.document(support::START).to_string().len() as u64;
    let (anna, bert) = (Person::new(1), Person::new(2));
    let limited = async |of_did: u64, of_all: u64| {
        Node::with_config(|config| {
            config.limits.did_document_bytes = of_did;
            config.limits.did_documents_bytes = of_all;
        })
        .await
    };
    let next = anna.document_with(support::START, &json!({"versionId": 1}));
    let both = size(&anna) + next.to_string().len() as u64;

    let node = limited(both - 1, u64::MAX).await;
    anna.publish(&node.client(), node.now()).await;
    fails(
        &send(&node, "PUT", &anna, next.clone()).await,
        "keeps no further DID documents",
    );
    bert.publish(&node.client(), node.now()).await;

    let node = limited(both, both + size(&bert) - 1).await;
    anna.publish(&node.client(), node.now()).await;
    send(&node, "PUT", &anna, next.clone()).await.expect(200);
    let refused = send(&node, "POST", &bert, bert.document(node.now())).await;
    fails(&refused, "keeps no further DID documents");
    // What is deleted gives its room back.
    let deleted = anna.delete_document(&node.client(), node.now()).await;
    deleted.expect(200);
    bert.publish(&node.client(), node.now()).await;
    node.pass(1);
    anna.publish(&node.client(), node.now()).await;
}

#[tokio::test]
async fn all_versions_are_told_in_order_however_many_bytes_they_are() {
    let node = Node::start().await;
    let person = Person::new(1);
    let mut sent = vec![person.document(support::START)];
    send(&node, "POST", &person, sent[0].clone())
        .await
        .expect(200);
    let padding = "x".repeat(50_000);
    for version in 1..24 {
        let changes = json!({"versionId": version, "padding": padding});
        let next = person.document_with(support::START, &changes);
        send(&node, "PUT", &person, next.clone()).await.expect(200);
        sent.push(next);
    }
    let path = format!("/did/{}?allVersions=true", person.did.lowercase());
    let answer = node.client().get(&path).await;
    let all = answer.expect(200).json();
    assert_eq!(all["status"], "success");
    assert_eq!(all["data"]["versions"], Value::Array(sent));
    // It is sent while it is read: nobody has all of it in memory.
    assert!(!answer.headers.contains_key("content-length"));
}
