//! In front of a CouchDB: what a member, a stranger, another node, a hostile document, and a CouchDB that is set up wrong, slow or taken
//! over do not get.
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

use adyton_protocol::context::ContextHash;
use adyton_storage::{Clock, Config, CouchConfig, Limits, Storage, StoreChoice};
use couch::{Couch, Settings, config_of, in_front_of};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use support::{Answer, CONTEXT, Node, Person, Session};

async fn with(couch: &Couch, connections: usize, change: impl FnOnce(&mut Limits)) -> Node {
    let choice = StoreChoice::Couch(Box::new(CouchConfig {
        connections,
        ..config_of(couch)
    }));
    Node::with_config(|config| {
        config.store = choice;
        change(&mut config.limits);
    })
    .await
}

/// One request of each kind that goes on.
async fn one_of_each(session: &Session, db: &str) -> Vec<Answer> {
    let docs = json!({"docs": [{"_id": "n"}, {"_id": "_bad"}]});
    vec![
        session.get(db).await,
        session.get(&format!("{db}/x")).await,
        session.put(&format!("{db}/y"), &json!({})).await,
        session.post(&format!("{db}/_bulk_docs"), &docs).await,
        session.get(&format!("{db}/_changes")).await,
        session
            .get(&format!("{db}/_changes?feed=longpoll&timeout=1000"))
            .await,
        session.get(&format!("{db}/x/attachment")).await,
    ]
}

#[tokio::test]
async fn what_couchdb_says_of_its_insides_is_not_told() {
    let couch = Couch::start().await;
    let node = in_front_of(&couch).await;
    let session = node.session(1).await;
    let db = session.database("mail").await;
    let insides = json!({"error": "badmatch", "reason": "{nodedown,'couchdb@10.0.0.7'}", "ref": 1});
    couch.to_others(Some((500, insides)));
    for answer in one_of_each(&session, &db).await {
        assert_eq!(answer.expect(503).json()["error"], "service_unavailable");
        assert!(!answer.text().contains("10.0.0.7"), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_couchdb_that_takes_no_tokens_any_more_is_away_and_no_client_throws_its_own_away() {
    let couch = Couch::start().await;
    let node = in_front_of(&couch).await;
    let session = node.session(1).await;
    let db = session.database("mail").await;
    session
        .put(&format!("{db}/x"), &json!({}))
        .await
        .expect(201);
    // A key that was changed there, or one node of a cluster without it.
    couch.set_up(|settings| settings.key = "another access key");
    for answer in one_of_each(&session, &db).await {
        answer.expect(503);
    }
    couch.set_up(|settings| settings.key = couch::ACCESS_KEY);
    session.get(&format!("{db}/x")).await.expect(200);
    // Its clock runs ahead.
    let ended = json!({"error": "unauthorized", "reason": "exp not in future"});
    couch.to_others(Some((401, ended)));
    for answer in one_of_each(&session, &db).await {
        answer.expect(503);
    }
    // What a validation function says is the client's to hear.
    let said = json!({"error": "unauthorized", "reason": "Only on Mondays."});
    couch.to_others(Some((401, said.clone())));
    let told = session.put(&format!("{db}/z"), &json!({})).await;
    assert_eq!(told.expect(401).json(), said);
}

#[tokio::test]
async fn a_replicator_reads_one_time_of_making_wherever_it_asks() {
    for store in couch::stores().await {
        let session = store.node.session(1).await;
        let db = session.database("mail").await;
        let told = session.get(&db).await.expect(200).json();
        let commit = format!("{db}/_ensure_full_commit");
        let done = session.post(&commit, &json!({})).await.expect(201).json();
        assert_eq!(done["ok"], true);
        assert_eq!(done["instance_start_time"], told["instance_start_time"]);
        assert_ne!(done["instance_start_time"], "0");
        store.is_documented();
    }
}

#[tokio::test]
async fn an_attachment_is_never_a_page_of_the_node_and_bytes_are_no_json() {
    let couch = Couch::start().await;
    let node = in_front_of(&couch).await;
    let session = node.session(1).await;
    let db = session.database("mail").await;
    let path = format!("{db}/x/page.html");
    couch.heard();
    session
        .client
        .send("PUT", &path, &session.access, "<script>")
        .await
        .expect(201);
    let heard = couch.heard();
    let put = heard.iter().find(|heard| heard.method == "PUT").unwrap();
    assert_eq!(put.headers["content-type"], "application/octet-stream");
    let page = session.get(&path).await;
    assert_eq!(
        page.expect(200).headers["content-security-policy"],
        "sandbox"
    );
    assert_eq!(page.headers["x-content-type-options"], "nosniff");
}

#[tokio::test]
async fn nobody_writes_what_says_who_may_write_or_lets_couchdb_run_his_code() {
    let couch = Couch::start().await;
    let node = in_front_of(&couch).await;
    let owner = node.session(1).await;
    let db = owner.database("mail").await;
    let kept = |id: &str| couch.database(&owner.hash("mail")).unwrap().documents[id].clone();
    let own = "_design/only_permit_write_users";
    let before = kept(own);
    let rev = before["_rev"].as_str().unwrap();
    let all = json!({"_rev": rev, "validate_doc_update": "function () {}"});
    owner.put(&format!("{db}/{own}"), &all).await.expect(403);
    let path = format!("{db}/{own}?rev={rev}");
    let access = &owner.access;
    for (method, path) in [
        ("DELETE", path.clone()),
        ("DELETE", path.replace('?', "/a?")),
        ("PUT", path.replace('?', "/a?")),
    ] {
        owner
            .client
            .send(method, &path, access, "")
            .await
            .expect(403);
    }
    let view = json!({"views": {"all": {"map": "function (doc) { emit(doc) }"}}});
    owner
        .put(&format!("{db}/_design/v"), &view)
        .await
        .expect(403);
    // Nor by a copy of what is no design document.
    owner.put(&format!("{db}/x"), &view).await.expect(201);
    let design = format!("{own}?rev={rev}");
    for to in ["_design/v", "_design%2Fv", &design] {
        owner.copy(&format!("{db}/x"), to).await.expect(403);
    }
    let named = |id: &str, more: &Value| {
        let mut document = more.clone();
        document["_id"] = id.into();
        document
    };
    owner
        .post(&db, &named("_design/v", &view))
        .await
        .expect(403);
    let index = json!({"language": "query", "views": {}});
    let docs = json!([
        named(own, &all),
        named("_design/v", &view),
        named("_design/i", &index),
        {"_id": "a"},
    ]);
    let told = owner
        .post(&format!("{db}/_bulk_docs"), &json!({ "docs": docs }))
        .await;
    let told = told.expect(201).json();
    assert_eq!([&told[0]["error"], &told[1]["error"]], ["forbidden"; 2]);
    assert_eq!([&told[2]["ok"], &told[3]["ok"]], [true; 2]);
    // As the first part of several.
    let body = format!("--b\r\ncontent-type: application/json\r\n\r\n{view}\r\n--b--");
    let kind = [("content-type", "multipart/related; boundary=b")];
    let path = format!("{db}/_design/v");
    let sent = owner.client.open_with("PUT", &path, access, &kind, body);
    assert_eq!(sent.await.status(), 403);
    assert_eq!(kept(own), before);
    // What only lies there is kept, as the original's client sends it.
    let payload = json!({"payload": "AAAA"});
    owner
        .put(&format!("{db}/_design/idx-1"), &payload)
        .await
        .expect(201);
}

#[tokio::test]
async fn copies_count_before_they_are_made() {
    let couch = Couch::start().await;
    let node = in_front_of(&couch).await;
    let session = node.session(1).await;
    let db = session.database("mail").await;
    for (id, bytes) in [("small", 10), ("large", 5_000)] {
        let path = format!("{db}/{id}");
        let document = json!({"text": "x".repeat(bytes)});
        session.put(&path, &document).await.expect(201);
    }
    couch.change(&session.hash("mail"), |mail| mail.file_bytes = 1_000);
    couch.change("_users", |users| {
        let accounts = users.documents.values_mut();
        accounts.for_each(|user| user["storageLimit"] = 3_000.into());
    });
    let usage = session.post("/user/usage", &json!({})).await;
    assert_eq!(usage.expect(200).json()["result"]["storageLimit"], 3_000);
    session.copy(&format!("{db}/large"), "y").await.expect(507);
    session.copy(&format!("{db}/small"), "z").await.expect(201);
}

#[tokio::test]
async fn a_write_that_fewer_copies_hold_than_should_is_told_as_such() {
    let couch = Couch::start().await;
    let node = in_front_of(&couch).await;
    let session = node.session(1).await;
    let db = session.database("mail").await;
    let accepted = json!([{"ok": true, "id": "a", "rev": support::rev(1, 'a'), "accepted": true}]);
    couch.to_others(Some((202, accepted)));
    let docs = json!({"docs": [{"_id": "a"}, {"_id": "_bad"}]});
    let told = session.post(&format!("{db}/_bulk_docs"), &docs).await;
    assert_eq!(told.expect(202).json()[1]["error"], "illegal_docid");
}

#[tokio::test]
async fn one_caller_leaves_connections_of_couchdb_to_others() {
    let couch = Couch::start().await;
    let node = with(&couch, 16, |_| {}).await;
    let (owner, other) = (node.session(1).await, node.session(2).await);
    let (db, others) = (owner.database("mail").await, other.database("mail").await);
    let text = "x".repeat(48 << 20);
    couch.change(&owner.hash("mail"), |mail| {
        let big = json!({"_id": "big", "_rev": support::rev(1, 'a'), "text": text});
        mail.documents.insert("big".to_owned(), big);
    });
    let open = async |path: String| owner.client.open("GET", &path, &owner.access, "").await;
    let feed = || format!("{db}/_changes?feed=continuous&heartbeat=1000");
    // Feeds take an eighth, and everything a quarter.
    let feeds = [open(feed()).await, open(feed()).await];
    assert!(feeds.iter().all(|feed| feed.status() == 200));
    assert_eq!(open(feed()).await.status(), 503);
    owner.get(&db).await.expect(200);
    let slow = [
        open(format!("{db}/big")).await,
        open(format!("{db}/big")).await,
    ];
    assert!(slow.iter().all(|answer| answer.status() == 200));
    let told = owner.get(&db).await;
    let reason = &told.expect(503).json()["reason"];
    assert_eq!(reason, "There are too many requests under way.");
    other.get(&others).await.expect(200);
    drop(slow);
    let freed = async {
        while owner.get(&db).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), freed)
        .await
        .expect("an answer that nobody reads any more still counts");
}

#[tokio::test]
async fn an_account_has_so_many_refresh_tokens_and_no_more() {
    let couch = Couch::start().await;
    let node = with(&couch, 64, |limits| limits.refresh_tokens_per_account = 2).await;
    let client = node.client();
    let other = node.session(2).await;
    node.person(1).await;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        node.pass(1);
        sessions.push(Person::new(1).log_in(&client).await);
    }
    let connect = async |session: &Session| {
        let body = json!({
            "refreshToken": session.refresh, "did": session.person.did.as_given(), "contextName": CONTEXT,
        });
        client.post("/auth/connect", &body).await.status.as_u16()
    };
    assert_eq!(connect(&sessions[0]).await, 401);
    assert_eq!(connect(&sessions[1]).await, 200);
    assert_eq!(connect(&sessions[2]).await, 200);
    assert_eq!(connect(&other).await, 200);
    assert_eq!(couch.undocumented(), Vec::<String>::new());
}

/// Whether a feed ended in order, within a while.
async fn ended(mut feed: http::Response<hyper::body::Incoming>) -> bool {
    let end = async {
        loop {
            match feed.body_mut().frame().await {
                None => return true,
                Some(Err(_)) => return false,
                Some(Ok(_)) => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), end)
        .await
        .expect("the feed goes on")
}

#[tokio::test]
async fn a_right_that_another_node_took_away_ends_what_is_being_told() {
    let couch = Couch::start().await;
    let time = Duration::from_millis(300);
    let node = with(&couch, 64, |limits| limits.rights_time = time).await;
    let (owner, reader) = (node.session(1).await, node.session(2).await);
    let permissions =
        json!({"read": "users", "write": "owner", "readList": [reader.person.did.as_given()]});
    let db = owner.database_with("mail", &permissions).await;
    let text = "x".repeat(48 << 20);
    couch.change(&owner.hash("mail"), |mail| {
        let big = json!({"_id": "big", "_rev": support::rev(1, 'a'), "text": text});
        mail.documents.insert("big".to_owned(), big);
    });
    let open = async |path: String| {
        let answer = reader.client.open("GET", &path, &reader.access, "").await;
        assert_eq!(answer.status(), 200);
        answer
    };
    let feed = |kind: &str| format!("{db}/_changes?feed={kind}&heartbeat=1000&since=0");
    let mut endless = open(feed("continuous")).await;
    let longpoll = open(feed("longpoll")).await;
    let slow = open(format!("{db}/big")).await;
    // It is looked at more than once, and goes on while the right is there.
    let until = Instant::now() + 3 * time;
    while Instant::now() < until {
        assert!(endless.body_mut().frame().await.unwrap().is_ok());
    }
    let registry = ContextHash::of(&owner.person.did, &owner.context)
        .couch_user()
        .replacen('v', "c", 1);
    couch.change(&registry, |registry| {
        let record = registry.documents.get_mut(&owner.hash("mail")).unwrap();
        record["permissions"] = json!({"read": "owner", "write": "owner"});
    });
    assert!(ended(endless).await);
    assert!(!ended(longpoll).await);
    assert!(!ended(slow).await);
    reader.get(&db).await.expect(403);
}

#[tokio::test]
async fn an_account_with_full_permission_lists_everywhere_is_read_some_at_a_time() {
    let couch = Couch::start().await;
    let node = in_front_of(&couch).await;
    let session = node.session(1).await;
    session.database("mail").await;
    let registry = ContextHash::of(&session.person.did, &session.context)
        .couch_user()
        .replacen('v', "c", 1);
    let did = session.person.did.lowercase();
    let list = vec![did; 1_000];
    couch.change(&registry, |registry| {
        for n in 0..51 {
            let (name, hash) = (format!("db{n}"), session.hash(&format!("db{n}")));
            let record = json!({
                "_id": hash, "_rev": support::rev(1, 'a'), "did": did, "contextName": CONTEXT,
                "databaseName": name, "databaseHash": hash, "permissions": {
                    "read": "owner", "write": "owner",
                    "readList": list, "writeList": list, "deleteList": list,
                },
            });
            registry.documents.insert(hash, record);
        }
    });
    let listed = session.post("/user/databases", &json!({})).await;
    let listed = listed.expect(200).json();
    assert_eq!(listed["result"].as_array().unwrap().len(), 52);
    let usage = session.post("/user/usage", &json!({})).await;
    assert_eq!(usage.expect(200).json()["result"]["databases"], 52);
    // Somebody may be let into as many databases as there are: who is listed is written at full length, too.
    let others: Vec<String> = (0..1_000)
        .map(|n| format!("did:vda:polamoy:0x{n:040x}"))
        .collect();
    let shared =
        json!({"read": "users", "write": "users", "readList": others, "writeList": others});
    let db = session.database_with("shared", &shared).await;
    session
        .put(&format!("{db}/x"), &json!({}))
        .await
        .expect(201);
    let security = couch.database(&session.hash("shared")).unwrap().security;
    assert_eq!(
        security["members"]["names"].as_array().unwrap().len(),
        1_001
    );
}

#[tokio::test]
async fn a_node_does_not_start_in_front_of_a_couchdb_that_is_set_up_otherwise() {
    let refused = async |change: fn(&mut Settings)| {
        let couch = Couch::start().await;
        couch.set_up(change);
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config::new("127.0.0.1:0".parse().unwrap(), directory.path().to_owned());
        config.store = StoreChoice::Couch(Box::new(config_of(&couch)));
        let error = Storage::start_with(config, Clock::system(), None)
            .await
            .unwrap_err();
        // It made nothing there.
        assert!(couch.heard().iter().all(|heard| heard.method == "GET"));
        error.to_string()
    };
    let old = refused(|settings| settings.version = "3.0.1").await;
    assert!(old.contains("older than 3.1"), "{old}");
    let strange = refused(|settings| settings.version = "").await;
    assert!(strange.contains("no CouchDB"), "{strange}");
    let for_ever = refused(|settings| settings.tokens_end = false).await;
    assert!(for_ever.contains("required_claims"), "{for_ever}");
    let roles = refused(|settings| settings.roles_claim = "roles").await;
    assert!(roles.contains("roles_claim_name"), "{roles}");
    let key = refused(|settings| settings.key = "another access key").await;
    assert!(key.contains("jwt_keys"), "{key}");
}

#[tokio::test]
async fn nothing_of_a_request_that_would_be_read_otherwise_there_goes_on() {
    let couch = Couch::start().await;
    let node = in_front_of(&couch).await;
    let session = node.session(1).await;
    let db = session.database("mail").await;
    couch.heard();
    let headers = [
        ("x-http-method-override", "DELETE"),
        ("x-couchdb-vhost-path", "/_users"),
        ("x-couchdb-requested-path", "/_users"),
        ("x-forwarded-host", "elsewhere.example"),
        ("x-couch-full-commit", "false"),
        ("x-auth-couchdb-roles", "_admin"),
        ("cookie", "AuthSession=x"),
        ("expect", "100-continue"),
        ("connection", "x-kept"),
        ("x-kept", "y"),
        ("te", "trailers"),
    ];
    let path = format!("{db}/_revs_diff?w=1&r=1&batch=ok&callback=f");
    let sent = session
        .client
        .open_with("POST", &path, &session.access, &headers, "{}");
    assert_eq!(sent.await.status(), 200);
    for path in [
        "/..%2F_users%2Fx",
        "/%2e%2e/%2e%2e/_users",
        "//_users",
        "/_design%2Fx%2F_view%2Fy",
        "/a%2F..%2F..%2F_session",
    ] {
        session.get(&format!("{db}{path}")).await;
    }
    for heard in couch.heard() {
        for (name, _) in headers {
            assert!(!heard.headers.contains_key(name), "{name}: {}", heard.path);
        }
        if heard.as_whom.as_deref() != Some(couch::ADMIN.0) {
            assert!(heard.path.starts_with(&format!("{db}/")), "{}", heard.path);
            assert!(!heard.path.contains("/_users"), "{}", heard.path);
            assert!(!heard.path.contains("/_view"), "{}", heard.path);
            assert!(!heard.path.contains("..") && !heard.path.contains("//"));
            assert_eq!(heard.query, "");
        }
    }
}
