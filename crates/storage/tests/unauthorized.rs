//! Every address × every kind of missing or wrong credential, in front of files and in front of a CouchDB. An endpoint that is not in this table does not compile.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

#[path = "support/couch.rs"]
mod couch;
mod support;

use adyton_storage::route::Endpoint;
use serde_json::json;
use support::{Credential, Node, Session};

/// Who may use an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guard {
    /// Everyone: it tells nothing about anybody, or the request itself carries the proof.
    Open,
    /// Holders of an access token, of the middleware's dialect: `Unauthorized` in plain text.
    Token,
    /// Members of the database, in CouchDB's dialect.
    Member,
    /// Tells only what the credential itself says.
    Credential,
}

/// What guards an endpoint, and a request for it in a database of somebody else.
fn row(endpoint: Endpoint, db: &str, did: &str) -> (Guard, &'static str, String) {
    use Guard::{Credential, Member, Open, Token};
    let at = |rest: &str| format!("{db}{rest}");
    match endpoint {
        Endpoint::Status => (Open, "GET", "/status".into()),
        Endpoint::Public => (Open, "GET", "/auth/public".into()),
        Endpoint::GenerateAuthJwt => (Open, "POST", "/auth/generateAuthJwt".into()),
        Endpoint::Authenticate => (Open, "POST", "/auth/authenticate".into()),
        Endpoint::Connect => (Open, "POST", "/auth/connect".into()),
        Endpoint::RegenerateRefreshToken => (Open, "POST", "/auth/regenerateRefreshToken".into()),
        Endpoint::IsTokenValid => (Open, "POST", "/auth/isTokenValid".into()),
        Endpoint::InvalidateDeviceId => (Open, "POST", "/auth/invalidateDeviceId".into()),
        Endpoint::ReplicationCreds => (Open, "POST", "/auth/replicationCreds".into()),
        Endpoint::DidDocument => (Open, "GET", format!("/did/{did}")),
        Endpoint::DidMigrate => (Open, "POST", format!("/did/{did}/migrate")),
        Endpoint::DidLookup => (Open, "GET", format!("/lookup/did/{did}")),
        Endpoint::RegistryLookup => (Open, "POST", "/didRegistry/lookup".into()),
        Endpoint::RegistryNonce => (Open, "POST", "/didRegistry/nonce".into()),
        Endpoint::RegistryRegister => (Open, "POST", "/didRegistry/register".into()),
        Endpoint::RegistryRevoke => (Open, "POST", "/didRegistry/revoke".into()),
        Endpoint::RegistrySetController => (Open, "POST", "/didRegistry/setController".into()),
        Endpoint::ContextHash => (Open, "POST", "/user/contextHash".into()),
        Endpoint::DestroyContext => (Open, "POST", "/user/destroyContext".into()),
        Endpoint::CreateDatabase => (Token, "POST", "/user/createDatabase".into()),
        Endpoint::UpdateDatabase => (Token, "POST", "/user/updateDatabase".into()),
        Endpoint::DeleteDatabase => (Token, "POST", "/user/deleteDatabase".into()),
        Endpoint::DeleteDatabases => (Token, "POST", "/user/deleteDatabases".into()),
        Endpoint::Databases => (Token, "POST", "/user/databases".into()),
        Endpoint::DatabaseInfo => (Token, "POST", "/user/databaseInfo".into()),
        Endpoint::Usage => (Token, "POST", "/user/usage".into()),
        Endpoint::PingDatabases => (Token, "POST", "/user/pingDatabases".into()),
        Endpoint::CheckReplication => (Token, "POST", "/user/checkReplication".into()),
        Endpoint::Welcome => (Open, "GET", "/".into()),
        Endpoint::Up => (Open, "GET", "/_up".into()),
        Endpoint::Session => (Credential, "GET", "/_session".into()),
        Endpoint::Database => (Member, "GET", at("")),
        Endpoint::Changes => (Member, "GET", at("/_changes")),
        Endpoint::AllDocs => (Member, "GET", at("/_all_docs")),
        Endpoint::BulkDocs => (Member, "POST", at("/_bulk_docs")),
        Endpoint::BulkGet => (Member, "POST", at("/_bulk_get")),
        Endpoint::RevsDiff => (Member, "POST", at("/_revs_diff")),
        Endpoint::Security => (Member, "GET", at("/_security")),
        Endpoint::EnsureFullCommit => (Member, "POST", at("/_ensure_full_commit")),
        Endpoint::MissingRevs => (Member, "POST", at("/_missing_revs")),
        Endpoint::RevsLimit => (Member, "GET", at("/_revs_limit")),
        Endpoint::Compact => (Member, "POST", at("/_compact")),
        Endpoint::Purge => (Member, "POST", at("/_purge")),
        Endpoint::DesignDocs => (Member, "GET", at("/_design_docs")),
        Endpoint::AllDocsQueries => (Member, "POST", at("/_all_docs/queries")),
        Endpoint::DesignDocsQueries => (Member, "POST", at("/_design_docs/queries")),
        Endpoint::ViewCleanup => (Member, "POST", at("/_view_cleanup")),
        Endpoint::LocalDocs => (Member, "GET", at("/_local_docs")),
        Endpoint::DesignFunction => (Member, "GET", at("/_design/x/_view/x")),
        Endpoint::Find => (Member, "POST", at("/_find")),
        Endpoint::Explain => (Member, "POST", at("/_explain")),
        Endpoint::Index => (Member, "GET", at("/_index")),
        Endpoint::IndexBulkDelete => (Member, "POST", at("/_index/_bulk_delete")),
        Endpoint::IndexEntry => (Member, "DELETE", at("/_index/x/json/x")),
        Endpoint::Local => (Member, "GET", at("/_local/x")),
        Endpoint::Document => (Member, "GET", at("/secret")),
        Endpoint::Attachment => (Member, "GET", at("/secret/attached")),
        Endpoint::UnknownInDatabase => (Member, "GET", at("/_nothing")),
        Endpoint::Unknown => (Token, "GET", "/nothing".into()),
    }
}

/// A credential that is none, and what CouchDB's dialect says to it.
async fn wrong_credentials(node: &Node, session: &Session) -> Vec<(&'static str, Credential, u16)> {
    let Credential::Bearer(token) = session.access.clone() else {
        panic!("a bearer token")
    };
    let elsewhere = Node::start().await;
    let foreign_node = elsewhere.session(1).await.access;
    let (head, tail) = token.split_at(token.len() - 4);
    vec![
        ("none", Credential::None, 401),
        ("garbage", Credential::Bearer("x.y.z".into()), 400),
        ("empty", Credential::Bearer(String::new()), 400),
        (
            "tampered",
            Credential::Bearer(format!("{head}{}", tail.chars().rev().collect::<String>())),
            400,
        ),
        ("another node's", foreign_node, 400),
        (
            "a refresh token",
            Credential::Bearer(session.refresh.clone()),
            400,
        ),
        (
            "basic of nobody",
            Credential::Basic("admin".into(), "admin".into()),
            401,
        ),
        ("no scheme", Credential::Raw(token), 400),
        ("not text", Credential::Raw("Bearer \u{e9}".into()), 400),
        ("public", node.client().public().await, 403),
    ]
}

#[tokio::test]
async fn nobody_without_a_good_credential_gets_anything() {
    for store in couch::stores().await {
        let node = &store.node;
        let owner = node.session(1).await;
        let db = owner.database("d").await;
        owner
            .put(&format!("{db}/secret"), &json!({"canary": "CANARY"}))
            .await
            .expect(201);
        let did = owner.person.did.lowercase().to_owned();

        for (name, credential, couch_status) in wrong_credentials(node, &owner).await {
            for endpoint in Endpoint::ALL {
                let (guard, method, path) = row(*endpoint, &db, &did);
                let answer = node.client().send(method, &path, &credential, "{}").await;
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                let said = format!("{name} at {method} {path}: {} {text}", answer.status);
                assert!(!text.contains("CANARY"), "{said}");
                match guard {
                    Guard::Open => assert!(!text.contains("could not do its work"), "{said}"),
                    Guard::Token => {
                        assert_eq!(answer.status, 401, "{said}");
                        assert_eq!(text, "Unauthorized", "{said}");
                    }
                    Guard::Member => {
                        assert_eq!(answer.status, couch_status, "{said}");
                        assert!(answer.json()["error"].is_string(), "{said}");
                    }
                    Guard::Credential => match name {
                        "none" => {
                            assert_eq!(answer.json()["userCtx"]["name"], serde_json::Value::Null)
                        }
                        "public" => assert_eq!(answer.status, 200, "{said}"),
                        _ => assert_eq!(answer.status, couch_status, "{said}"),
                    },
                }
            }
        }
    }
}

#[tokio::test]
async fn an_expired_token_is_refused_everywhere_with_401() {
    for store in couch::stores().await {
        let node = &store.node;
        let owner = node.session(1).await;
        let db = owner.database("d").await;
        let did = owner.person.did.lowercase().to_owned();
        node.pass(600);
        for endpoint in Endpoint::ALL {
            let (guard, method, path) = row(*endpoint, &db, &did);
            let answer = node.client().send(method, &path, &owner.access, "{}").await;
            if guard != Guard::Open {
                assert_eq!(answer.status, 401, "{method} {path}");
            }
        }
    }
}

#[tokio::test]
async fn a_foreign_user_gets_nothing_of_a_database_and_only_their_own_of_the_middleware() {
    for store in couch::stores().await {
        let node = &store.node;
        let owner = node.session(1).await;
        let stranger = node.session(2).await;
        let db = owner.database("d").await;
        let did = owner.person.did.lowercase().to_owned();
        owner
            .put(&format!("{db}/secret"), &json!({"canary": "CANARY"}))
            .await
            .expect(201);
        let count = owner.get(&db).await.json()["doc_count"].clone();
        for endpoint in Endpoint::ALL {
            let (guard, method, path) = row(*endpoint, &db, &did);
            let body = json!({"databaseName": "d", "docs": [{"_id": "y"}]}).to_string();
            let answer = node
                .client()
                .send(method, &path, &stranger.access, body)
                .await;
            assert!(
                !String::from_utf8_lossy(&answer.body).contains("CANARY"),
                "{method} {path}"
            );
            if guard == Guard::Member {
                let forbidden = json!({"error": "forbidden", "reason": "You are not allowed to access this db."});
                assert_eq!(answer.expect(403).json(), forbidden, "{method} {path}");
            }
        }
        for (method, path) in [
            ("PUT", "/x"),
            ("DELETE", "/secret?rev=1-0"),
            ("PUT", "/_local/x"),
            ("DELETE", ""),
            ("PUT", "/_security"),
            ("PUT", "/_revs_limit"),
            ("COPY", "/secret"),
            ("POST", "/_index"),
            ("DELETE", "/_index/_design/x/json/x"),
            ("GET", "/_changes?feed=eventsource"),
            ("POST", "/_changes?filter=_selector"),
        ] {
            node.client()
                .send(method, &format!("{db}{path}"), &stranger.access, "{}")
                .await
                .expect(403);
        }
        // The stranger's own calls touched the stranger's own databases only.
        owner.get(&format!("{db}/secret")).await.expect(200);
        assert_eq!(owner.get(&db).await.json()["doc_count"], count);
    }
}

#[tokio::test]
async fn readers_read_writers_write_and_owners_design() {
    for store in couch::stores().await {
        let node = &store.node;
        let owner = node.session(1).await;
        let reader = node.session(2).await;
        let writer = node.session(3).await;
        let db = owner.database_shared("d", &reader, &writer).await;
        let doc = format!("{db}/x");
        let denied = json!({"error": "unauthorized", "reason": "User is not permitted to write to database"});

        assert_eq!(
            reader.put(&doc, &json!({})).await.expect(401).json(),
            denied
        );
        writer.put(&doc, &json!({"by": "writer"})).await.expect(201);
        reader.get(&doc).await.expect(200);
        // In bulk the refusal is told per document, so that a replicator goes on.
        let bulk = json!({"docs": [{"_id": "y"}]});
        let lines = reader
            .post(&format!("{db}/_bulk_docs"), &bulk)
            .await
            .expect(201)
            .json();
        assert_eq!(
            lines,
            json!([{"id": "y", "error": "unauthorized", "reason": denied["reason"]}])
        );
        // Readers keep checkpoints.
        reader
            .put(&format!("{db}/_local/x"), &json!({}))
            .await
            .expect(201);

        let design = format!("{db}/_design/idx-1");
        writer
            .put(&design, &json!({"payload": "p"}))
            .await
            .expect(401);
        owner
            .put(&design, &json!({"payload": "p"}))
            .await
            .expect(201);
        let security = reader
            .get(&format!("{db}/_security"))
            .await
            .expect(200)
            .json();
        assert_eq!(security["members"]["names"].as_array().unwrap().len(), 3);
    }
}

#[tokio::test]
async fn the_public_credential_opens_public_databases_only() {
    for store in couch::stores().await {
        let node = &store.node;
        let owner = node.session(1).await;
        let public = node.client().public().await;
        let open = owner
            .database_with("open", &json!({"read": "public", "write": "public"}))
            .await;
        let shown = owner
            .database_with("shown", &json!({"read": "public", "write": "owner"}))
            .await;
        let send = |method: &'static str, path: String| {
            let (client, public) = (node.client(), public.clone());
            async move { client.send(method, &path, &public, "{}").await }
        };
        let written = send("PUT", format!("{open}/x")).await.expect(201).json();
        let rev = written["rev"].as_str().unwrap();
        let denied = send("DELETE", format!("{open}/x?rev={rev}")).await;
        let reason = "User is not permitted to delete from database";
        assert_eq!(denied.expect(401).json()["reason"], reason);
        owner
            .send(
                "DELETE",
                &format!("{open}/x?rev={rev}"),
                &serde_json::Value::Null,
            )
            .await
            .expect(200);

        owner
            .put(&format!("{shown}/x"), &json!({}))
            .await
            .expect(201);
        send("GET", format!("{shown}/x")).await.expect(200);
        send("PUT", format!("{shown}/y")).await.expect(401);
        send("PUT", format!("{shown}/_local/y")).await.expect(403);
        send("GET", "/vdoesnotexist".into()).await.expect(404);
        node.client().get(&shown).await.expect(401);
    }
}
