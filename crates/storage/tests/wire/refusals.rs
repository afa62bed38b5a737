//! What is refused, what is not there, and what no known client asks for.

use serde_json::{Value, json};

use crate::couch;
use crate::support::{Node, rev};

#[tokio::test]
async fn a_revision_that_is_said_twice_is_the_same_or_refused() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let at = format!("{db}/x");
    let made = session.put(&at, &json!({})).await.expect(201).json();
    let known = made["rev"].as_str().unwrap().to_owned();
    let other = rev(1, 'f');
    let quoted = |rev: &str| format!("\"{rev}\"");
    for (method, path) in [
        ("PUT", at.clone()),
        ("DELETE", at.clone()),
        ("PUT", format!("{at}/a")),
    ] {
        let path = format!("{path}?rev={known}");
        let refused = session
            .with(method, &path, &[("if-match", &quoted(&other))], "{}")
            .await;
        let reason = refused.expect(400).json()["reason"].take();
        assert_eq!(reason, "Document rev and etag have different values");
    }
    let body = json!({"_rev": known}).to_string();
    session
        .with("PUT", &at, &[("if-match", &quoted(&other))], body)
        .await
        .expect(400);
    let same = session
        .with(
            "PUT",
            &format!("{at}?rev={known}"),
            &[("if-match", &quoted(&known))],
            "{}",
        )
        .await;
    same.expect(201);
}

#[tokio::test]
async fn what_is_not_there_is_not_found_whatever_is_said_of_its_revision() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let gone = |path: String| {
        let session = &session;
        async move { session.send("DELETE", &path, &Value::Null).await }
    };
    let none = gone(format!("{db}/none?rev={}", rev(1, '1'))).await;
    assert_eq!(none.expect(404).json()["reason"], "missing");
    let made = session
        .put(&format!("{db}/x"), &json!({}))
        .await
        .expect(201)
        .json();
    gone(format!("{db}/x?rev={}", rev(1, '1')))
        .await
        .expect(409);
    let known = made["rev"].as_str().unwrap();
    let tombstone = gone(format!("{db}/x?rev={known}")).await.expect(200).json();
    let tombstone = tombstone["rev"].as_str().unwrap();
    let again = gone(format!("{db}/x?rev={tombstone}")).await;
    assert_eq!(again.expect(404).json()["reason"], "deleted");
    let reserved = session.put(&format!("{db}/_nothing"), &json!({})).await;
    assert_eq!(reserved.expect(400).json()["error"], "illegal_docid");
    session.get(&format!("{db}/_nothing")).await.expect(404);
}

#[tokio::test]
async fn what_belongs_to_a_cluster_is_not_there() {
    for store in couch::stores().await {
        let session = store.node.session(1).await;
        let db = session.database("d").await;
        let made = session.put(&format!("{db}/x"), &json!({})).await;
        for name in ["location", "server", "x-couch-request-id"] {
            assert!(made.expect(201).headers.get(name).is_none(), "{name}");
        }
        for (method, path, status) in [
            ("GET", "_shards", 404),
            ("POST", "_sync_shards", 404),
            ("GET", "_purged_infos", 404),
            ("GET", "_purged_infos_limit", 404),
            ("GET", "_auto_purge", 404),
            ("POST", "_search_analyze", 404),
            ("GET", "_partition/x", 404),
            ("POST", "_compact/x", 404),
            ("POST", "_local_docs/queries", 404),
            ("POST", "x", 405),
            ("COPY", "_local/x", 405),
        ] {
            let answer = session
                .send(method, &format!("{db}/{path}"), &json!({}))
                .await;
            assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        }
        store.is_documented();
    }
}

#[tokio::test]
async fn there_are_no_files_of_views_to_clean_up_and_the_owner_may_ask() {
    for store in couch::stores().await {
        let owner = store.node.session(1).await;
        let db = owner
            .database_with("d", &json!({"read": "public", "write": "public"}))
            .await;
        let at = format!("{db}/_view_cleanup");
        assert_eq!(
            owner.post(&at, &json!({})).await.expect(202).json(),
            json!({"ok": true})
        );
        let other = store.node.session(2).await;
        other.post(&at, &json!({})).await.expect(401);
        store.is_documented();
    }
}

#[tokio::test]
async fn an_address_that_is_no_text_names_nothing() {
    for store in couch::stores().await {
        let session = store.node.session(1).await;
        let db = session.database("d").await;
        let made = session.put(&format!("{db}/caf%C3%A9"), &json!({})).await;
        let known = made.expect(201).json()["rev"].as_str().unwrap().to_owned();
        for (method, path, error) in [
            ("PUT", "/caf%E9", "illegal_docid"),
            ("GET", "/caf%FF", "illegal_docid"),
            ("DELETE", "/caf%E1?rev={}", "illegal_docid"),
            ("PUT", "/caf%E9/a", "illegal_docid"),
            ("PUT", "/_local/%FF", "illegal_docid"),
            ("GET", "/_design/%FF", "illegal_docid"),
            ("PUT", "/caf%C3%A9/%E9.txt?rev={}", "bad_request"),
            ("DELETE", "/_index/%FF/json/n", "bad_request"),
            ("GET", "/_all_docs?key=%22caf%E9%22", "bad_request"),
            ("GET", "/caf%C3%A9?rev=%FF", "bad_request"),
            ("PUT", "/caf%C3%A9?rev={}&%FF", "bad_request"),
            ("GET", "/_changes?filter=%FF", "bad_request"),
            ("GET", "?%FF", "bad_request"),
        ] {
            let path = format!("{db}{}", path.replace("{}", &known));
            let answer = session.send(method, &path, &json!({})).await;
            assert_eq!(answer.status, 400, "{method} {path}: {}", answer.text());
            assert_eq!(answer.json()["error"], error, "{method} {path}");
        }
        let to = [("destination", "caf%E7")];
        session
            .with("COPY", &format!("{db}/caf%C3%A9"), &to, "")
            .await
            .expect(400);
        let list = session
            .get(&format!("{db}/_all_docs?startkey=%22a%22"))
            .await;
        let list = list.expect(200).json();
        assert_eq!(list["rows"].as_array().unwrap().len(), 1);
        assert_eq!(list["rows"][0]["id"], "caf\u{e9}");
        store.is_documented();
    }
}

#[tokio::test]
async fn a_body_that_is_no_object_is_refused_everywhere() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let refused = async |method: &str, path: &str, body: &Value| {
        let answer = session.send(method, path, body).await;
        assert_eq!(
            answer.status,
            400,
            "{method} {path} {body}: {}",
            answer.text()
        );
    };
    // A list of what would be the members, in some order, is no object either, at the top or further in.
    let revision = json!([1, ["a".repeat(32)]]);
    let listed = json!({"_rev": rev(1, 'a'), "_revisions": revision});
    for (method, path, bodies) in [
        ("POST", "", json!([[], ["x"]])),
        (
            "PUT",
            "/x",
            json!([[], {"_attachments": {"a": ["text/plain"]}}]),
        ),
        ("PUT", "/x?new_edits=false", json!([listed])),
        ("PUT", "/_local/x", json!([["x"]])),
        (
            "POST",
            "/_bulk_docs",
            json!([[[{"_id": "x"}]], [[{"_id": "x", "_rev": rev(1, 'a')}], false]]),
        ),
        (
            "POST",
            "/_bulk_get",
            json!([[[{"id": "x"}]], {"docs": [["x"]]}]),
        ),
        ("POST", "/_all_docs", json!([[["x"]], [null, "x"]])),
        (
            "POST",
            "/_all_docs/queries",
            json!([[[{}]], {"queries": [[["x"]]]}]),
        ),
        ("POST", "/_design_docs", json!([[["x"]]])),
        (
            "POST",
            "/_design_docs/queries",
            json!([[[{}]], {"queries": [[]]}]),
        ),
        ("POST", "/_changes", json!([[["x"]]])),
        ("POST", "/_changes?filter=_doc_ids", json!([[["x"]]])),
        ("POST", "/_changes?filter=_design", json!([[["x"]]])),
        (
            "POST",
            "/_changes?filter=_selector",
            json!([[null, {"_id": "x"}]]),
        ),
        ("POST", "/_find", json!([[{"_id": "x"}]])),
        ("POST", "/_explain", json!([[{"_id": "x"}]])),
        (
            "POST",
            "/_index",
            json!([[{"fields": ["n"]}], {"index": [["n"]]}]),
        ),
        ("POST", "/_index/_bulk_delete", json!([[["x"]]])),
        ("POST", "/_revs_diff", json!([[["x", []]]])),
        ("POST", "/_missing_revs", json!([[["x", []]]])),
        ("POST", "/_purge", json!([[["x", []]]])),
    ] {
        let path = format!("{db}{path}");
        let others = [json!([]), json!("x"), json!(1)];
        for body in bodies.as_array().unwrap().iter().chain(&others) {
            refused(method, &path, body).await;
        }
    }
    for query in ["", "?filter=_design", "?feed=longpoll"] {
        let path = format!("{db}/_changes{query}");
        session
            .with("POST", &path, &[], "nonsense")
            .await
            .expect(400);
    }
    let did = session.person.did.to_string();
    let owner = json!({"read": "public", "write": "public"});
    for (path, bodies) in [
        ("/auth/generateAuthJwt", json!([[did, "Test: Context"]])),
        ("/auth/authenticate", json!([])),
        ("/auth/connect", json!([])),
        ("/auth/regenerateRefreshToken", json!([])),
        ("/auth/isTokenValid", json!([])),
        ("/auth/invalidateDeviceId", json!([])),
        ("/auth/replicationCreds", json!([])),
        ("/user/contextHash", json!([])),
        ("/user/destroyContext", json!([])),
        (
            "/user/createDatabase",
            json!([
                ["x"],
                {"databaseName": "x", "options": [owner]},
                {"databaseName": "x", "options": {"permissions": ["public", "public"]}},
            ]),
        ),
        ("/user/updateDatabase", json!([["d"]])),
        ("/user/deleteDatabase", json!([["d"]])),
        ("/user/deleteDatabases", json!([])),
        ("/user/databases", json!([])),
        ("/user/databaseInfo", json!([["d"]])),
        ("/user/usage", json!([])),
        ("/user/pingDatabases", json!([])),
        ("/user/checkReplication", json!([])),
        (&format!("/did/{did}"), json!([[{"id": did}]])),
    ] {
        let others = [json!([]), json!("x"), json!(1)];
        for body in bodies.as_array().unwrap().iter().chain(&others) {
            refused("POST", path, body).await;
        }
    }
    let rows = session.get(&format!("{db}/_all_docs")).await.json()["rows"].take();
    assert_eq!(rows, json!([]));
    let known = session.post("/user/databases", &json!({})).await.json();
    assert_eq!(known["result"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_405_names_the_methods_and_a_page_may_read_retry_after() {
    let origin = [("origin", "https://app.example")];
    for store in couch::stores().await {
        let session = store.node.session(1).await;
        let db = session.database("d").await;
        for (path, methods) in [
            ("", "GET, HEAD, POST"),
            ("/_changes", "GET, HEAD, POST"),
            ("/_all_docs", "GET, HEAD, POST"),
            ("/_design_docs", "GET, HEAD, POST"),
            ("/_index", "GET, HEAD, POST"),
            ("/_bulk_docs", "POST"),
            ("/_bulk_get", "POST"),
            ("/_revs_diff", "POST"),
            ("/_missing_revs", "POST"),
            ("/_ensure_full_commit", "POST"),
            ("/_compact", "POST"),
            ("/_purge", "POST"),
            ("/_view_cleanup", "POST"),
            ("/_all_docs/queries", "POST"),
            ("/_design_docs/queries", "POST"),
            ("/_find", "POST"),
            ("/_explain", "POST"),
            ("/_index/_bulk_delete", "POST"),
            ("/_security", "GET, HEAD"),
            ("/_local_docs", "GET, HEAD"),
            ("/_revs_limit", "GET, HEAD, PUT"),
            ("/_index/x/json/y", "DELETE"),
            ("/_local/x", "GET, HEAD, PUT, DELETE"),
            ("/x/y", "GET, HEAD, PUT, DELETE"),
            ("/x", "GET, HEAD, PUT, DELETE, COPY"),
        ] {
            let path = format!("{db}{path}");
            let answer = session.with("PATCH", &path, &origin, "").await;
            assert_eq!(answer.expect(405).header("allow"), Some(methods), "{path}");
            let read = answer.header("access-control-expose-headers").unwrap();
            for name in ["retry-after", "accept-ranges"] {
                assert!(read.split(", ").any(|read| read == name), "{name}");
            }
            if store.couch.is_some() {
                continue;
            }
            for method in methods.split(", ") {
                let answer = session.send(method, &path, &json!({})).await;
                assert_ne!(answer.status, 405, "{method} {path}");
            }
        }
        store.is_documented();
    }
}

#[tokio::test]
async fn what_no_known_client_asks_for_is_otherwise() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let at = |path: &str| format!("{db}{path}");
    let body = json!({"_id": "a+b"}).to_string();
    let form = [("content-type", "multipart/form-data; boundary=b")];
    session.with("POST", &db, &form, body).await.expect(201);
    let plus = session.get(&at("/a+b")).await;
    assert_eq!(plus.expect(200).json()["_id"], "a+b");
    assert_eq!(plus.header("cache-control"), None);
    session.get(&at("/a%20b")).await.expect(404);
    session
        .post(&db, &json!({"_id": "_local/x"}))
        .await
        .expect(400);
    let keys = json!({"keys": [1]});
    session.post(&at("/_all_docs"), &keys).await.expect(400);
    let list = session.get(&at("/_all_docs?partition=x")).await;
    assert_eq!(list.expect(200).json()["rows"][0]["id"], "a+b");
}
