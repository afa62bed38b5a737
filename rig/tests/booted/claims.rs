//! What the project claims of a running node, checked on the released image from outside of the enclave.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::Words;
use crate::caller::{Caller, Header};
use crate::marks::Marks;
use crate::mistakes::{Credentials, Mistake, mistakes};
use crate::needle::Needle;
use crate::stage;
use crate::stage::{Script, Stage, evicted, new_account};
use adyton_client::attested_node::NodeCredential;
use adyton_keys::context_session::ContextSession;
use adyton_node::api::{Route, routes};
use adyton_rig::Machine;
use adyton_rig::system_calls::{self, Call};
use adyton_rig::tap::{Port, Speaker};
use adyton_rig::tools::repository;
use http::Method;
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// An owner with a connection that appraised nothing: these tests are about what a node does with anybody.
struct Owner {
    caller: Caller,
    session: ContextSession,
    key: Zeroizing<String>,
}

impl Owner {
    async fn new(stage: &Stage) -> Self {
        let session = stage.open_context(&new_account()).await;
        Self {
            caller: Caller::connect(&stage.url()).await,
            key: session.expose_api_key(),
            session,
        }
    }

    async fn ask(&mut self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let path = format!("/api/rest/v1{path}");
        let header: [Header<'_>; 1] = [("x-api-key", &self.key)];
        let answer = self
            .caller
            .send(method, &path, &header, body.as_ref())
            .await;
        (answer.status.as_u16(), answer.json())
    }
}

const EXECVE: u64 = 59;
const LISTEN: u64 = 50;
const MOUNT: u64 = 165;
const MEMFD_CREATE: u64 = 319;

#[tokio::test(flavor = "multi_thread")]
async fn no_file_is_made_and_no_program_started_once_the_node_runs() {
    let stage = Stage::boot().await;
    let mut owner = Owner::new(&stage).await;
    for n in 0..40 {
        let record =
            json!({ "record": { "_id": format!("day-{n}"), "text": "dear diary ".repeat(2000) } });
        let (status, answer) = owner.ask("POST", "/db/diary", Some(record)).await;
        assert_eq!(status, 201, "{answer}");
    }
    for _ in 0..2 {
        let query = json!({ "query": { "text": { "$gte": "" } }, "options": { "limit": 100 } });
        let (status, answer) = owner.ask("POST", "/db/query/diary", Some(query)).await;
        assert_eq!(
            (status, answer["items"].as_array().map(Vec::len)),
            (200, Some(40))
        );
        let (status, _) = owner.ask("GET", "/db/get/diary/nothing", None).await;
        assert_eq!(status, 404);
        let (status, _) = owner
            .ask("POST", "/db/query/diary", Some(json!({ "query": 7 })))
            .await;
        assert_eq!(status, 400);
        evicted(&stage.url()).await;
    }

    let calls = system_calls::recorded(&stage.enclave.system_calls()).unwrap();
    let started = calls
        .iter()
        .position(|call| call.number == EXECVE)
        .expect("the node was started");
    let (boot, node) = calls.split_at(started + 1);
    // The watcher sees what there is: the boot mounts, keeps the configuration in memory, and starts the node.
    for number in [MOUNT, MEMFD_CREATE] {
        assert!(
            boot.iter().any(|call| call.number == number),
            "the boot made no call {number}"
        );
    }
    let listens = node
        .iter()
        .position(|call| call.number == LISTEN)
        .expect("the node listens");
    let changes = |call: &&Call| call.makes_or_writes_a_file() || call.starts_a_program();
    let before: Vec<&str> = node[..listens]
        .iter()
        .filter(changes)
        .map(|call| call.path.as_str())
        .collect();
    let after: Vec<&Call> = node[listens..].iter().filter(changes).collect();
    assert!(
        before.iter().all(|path| *path == "/dev/nsm"),
        "before it listens: {before:?}"
    );
    assert!(after.is_empty(), "while it served: {after:?}");
    let opened: BTreeSet<&str> = node[listens..]
        .iter()
        .map(|call| call.path.as_str())
        .collect();
    eprintln!(
        "{} calls of the node recorded; paths named while it served: {opened:?}",
        node.len()
    );
    assert!(
        calls.iter().filter(|call| call.number == EXECVE).count() == 1,
        "one program was started, once"
    );
}

/// `RLIMIT_CORE` of Linux.
const RLIMIT_CORE: u64 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_with_more_load_than_memory_leaves_no_marked_word_behind() {
    // More data than memory, and a configuration that believes otherwise.
    let machine = Machine {
        memory_mib: 96,
        ..Machine::default()
    };
    let config = stage::CONFIG
        .replace("node_memory_mib = 64", "node_memory_mib = 1024")
        .replace("tenant_memory_mib = 32", "tenant_memory_mib = 1024")
        .replace("idle_seconds = 2", "idle_seconds = 600");
    let stage = Stage::play(Script {
        machine,
        config,
        ..Script::default()
    })
    .await;
    let mut marks = Marks::new();
    let session = stage.open_context(&new_account()).await;
    let owner = NodeCredential::Session(session.expose_api_key());
    let mut node = stage.node().await.unwrap();
    let path = "/api/rest/v1/db/diary";
    let mut written = 0;
    let refused = loop {
        let text = marks.next("record text").word.repeat((1 << 20) / 30);
        let record = json!({ "record": { "text": text } });
        let answer = node
            .send(Method::POST, path, Some(&owner), Some(&record))
            .await
            .expect("it does not die of its load");
        if answer.status != 201 {
            break answer;
        }
        written += 1;
        assert!(written < 96, "it took more than it has");
    };
    eprintln!("refused after {written} records of 1 MiB");
    assert!(written >= 1, "there were words in it");
    assert_eq!(refused.status, 503, "{:?}", refused.json());
    // It lives, and serves what it took.
    let count = "/api/rest/v1/db/count/diary";
    let answer = node
        .send(Method::POST, count, Some(&owner), Some(&json!({})))
        .await
        .unwrap();
    assert_eq!(answer.status, 200, "{:?}", answer.json());
    assert_eq!(answer.json().unwrap()["count"], json!(written));
    // No core is written, and nothing of its memory is shown.
    let calls = system_calls::recorded(&stage.enclave.system_calls()).unwrap();
    let limits = calls
        .iter()
        .filter(|call| [160, 302].contains(&call.number));
    let first = limits
        .map(|call| call.arguments)
        .next()
        .expect("limits are set");
    assert!(
        first.contains(&RLIMIT_CORE),
        "cores are the first limit: {first:?}"
    );
    let symbols = repository().join("target/enclave-image/System.map");
    let symbols = std::fs::read_to_string(symbols).unwrap();
    assert!(symbols.contains(" vfs_open\n"), "the kernel's symbols");
    for writes_cores in [" do_coredump\n", " elf_core_dump\n"] {
        assert!(
            !symbols.contains(writes_cores),
            "the kernel can write cores"
        );
    }
    let console = stage.enclave.console().bytes();
    assert_eq!(marks.places(&console), Vec::<String>::new(), "the console");
    assert_eq!(
        marks.places(stage.host.said().as_bytes()),
        Vec::<String>::new(),
        "the host's log"
    );
    for ((port, speaker), heard) in stage.tap.everything() {
        assert_eq!(
            marks.places(&heard),
            Vec::<String>::new(),
            "vsock: {port:?}, {speaker:?}"
        );
    }
}

/// What anybody may ever add a route to. A route that is not here needs a reason, and this list needs a person.
const ALLOWED: &[(&str, &str)] = &[
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/api/rest"),
    ("GET", "/openapi.json"),
    ("GET", "/api/rest/v1/info/status"),
    ("GET", "/api/rest/v1/auth/resolve-scopes"),
    ("POST", "/api/rest/v1/auth/auth"),
    ("GET", "/api/rest/v1/auth/check-scope"),
    ("GET", "/api/rest/v1/auth/token"),
    ("GET", "/api/rest/v1/auth/revoke"),
    ("POST", "/api/rest/v1/auth/revoke"),
    ("GET", "/oauth/authorize"),
    ("POST", "/oauth/par"),
    ("POST", "/oauth/token"),
    ("POST", "/oauth/revoke"),
    ("POST", "/oauth/introspect"),
    ("GET", "/.well-known/oauth-authorization-server"),
    ("GET", "/.well-known/oauth-protected-resource"),
    ("GET", "/.well-known/oauth-protected-resource/api/rest/v1"),
    ("GET", "/api/rest/v1/account/fromKey"),
    ("GET", "/api/rest/v1/auth/scopes"),
    ("GET", "/api/rest/v1/auth/me"),
    ("POST", "/api/rest/v1/auth/token"),
    ("GET", "/api/rest/v1/auth/tokens"),
    ("DELETE", "/api/rest/v1/auth/tokens/{id}"),
    ("GET", "/api/rest/v1/ds/get/{schema}/{id}"),
    ("POST", "/api/rest/v1/ds/query/{schema}"),
    ("POST", "/api/rest/v1/ds/count/{schema}"),
    ("POST", "/api/rest/v1/ds/{schema}"),
    ("PUT", "/api/rest/v1/ds/{schema}/{id}"),
    ("DELETE", "/api/rest/v1/ds/{schema}/{id}"),
    ("GET", "/api/rest/v1/db/get/{database}/{id}"),
    ("POST", "/api/rest/v1/db/query/{database}"),
    ("POST", "/api/rest/v1/db/count/{database}"),
    ("POST", "/api/rest/v1/db/{database}"),
    ("PUT", "/api/rest/v1/db/{database}/{id}"),
    ("DELETE", "/api/rest/v1/db/{database}/{id}"),
    ("POST", "/api/rest/v1/ds/get/{schema}/{id}"),
    ("GET", "/api/rest/v1/ds/{schema}/{id}"),
    ("POST", "/api/rest/v1/ds/explain/{schema}"),
    ("POST", "/api/rest/v1/ds/aggregate/{schema}"),
    ("POST", "/api/rest/v1/ds/bulk-get/{schema}"),
    ("GET", "/api/rest/v1/ds/export/{schema}"),
    ("PATCH", "/api/rest/v1/ds/{schema}/{id}"),
    ("DELETE", "/api/rest/v1/ds/{schema}"),
    ("POST", "/api/rest/v1/ds/bulk/{schema}"),
    ("POST", "/api/rest/v1/db/get/{database}/{id}"),
    ("GET", "/api/rest/v1/db/{database}/{id}"),
    ("POST", "/api/rest/v1/db/explain/{database}"),
    ("POST", "/api/rest/v1/db/aggregate/{database}"),
    ("POST", "/api/rest/v1/db/bulk-get/{database}"),
    ("GET", "/api/rest/v1/db/export/{database}"),
    ("PATCH", "/api/rest/v1/db/{database}/{id}"),
    ("DELETE", "/api/rest/v1/db/{database}"),
    ("POST", "/api/rest/v1/db/bulk/{database}"),
    ("GET", "/api/rest/v1/ds/watch/{schema}"),
    ("POST", "/api/rest/v1/ds/watch/{schema}"),
    ("GET", "/api/rest/v1/db/watch/{database}"),
    ("POST", "/api/rest/v1/db/watch/{database}"),
    // A watch that was opened with a credential, for who cannot send one: once, for a minute.
    ("POST", "/api/rest/v1/watch/tickets"),
    ("GET", "/api/rest/v1/watch/{ticket}"),
    ("GET", "/api/rest/v1/search/universal"),
    ("POST", "/api/rest/v1/search/universal"),
    ("GET", "/api/rest/v1/search/chatThreads"),
    ("GET", "/api/rest/v1/search/chat-threads"),
    ("POST", "/api/rest/v1/search/datastore/{schema}"),
    ("POST", "/api/rest/v1/search/ds/{schema}"),
    // The kinds of records that an owner has beside the published ones.
    ("GET", "/api/rest/v1/schemas"),
    ("GET", "/api/rest/v1/schemas/{schema}"),
    ("PUT", "/api/rest/v1/schemas/{schema}"),
    ("DELETE", "/api/rest/v1/schemas/{schema}"),
    // What an owner allowed, and the questions of the consent page.
    ("GET", "/api/rest/v1/auth/grants"),
    ("DELETE", "/api/rest/v1/auth/grants/{id}"),
    ("POST", "/api/rest/v1/auth/revoke-all"),
    ("GET", "/consent/requests/{request}"),
    ("POST", "/consent/requests/{request}/preview"),
    ("POST", "/consent/requests/{request}/approve"),
    ("POST", "/consent/requests/{request}/deny"),
    // What a browser needs to log in at its storage nodes, and the pages: files, the same for everybody.
    ("POST", "/api/rest/v1/auth/session/challenges"),
    ("POST", "/api/rest/v1/auth/session"),
    ("GET", "/consent"),
    ("GET", "/console"),
    ("GET", "/docs"),
    ("GET", "/assets/{file}"),
    ("GET", "/.well-known/adyton-attestation"),
    // Requests sealed to an attested key, for callers that cannot look into TLS; what is in them has these same routes.
    ("POST", "/.well-known/ohttp-gateway"),
];

/// Where other programs have their back doors.
const BACK_DOORS: [&str; 40] = [
    "/admin",
    "/admin/",
    "/_admin",
    "/api/admin",
    "/api/rest/v1/admin",
    "/api/rest/v1/admin/users",
    "/internal",
    "/debug",
    "/debug/pprof",
    "/debug/pprof/heap",
    "/debug/vars",
    "/metrics",
    "/stats",
    "/status",
    "/health",
    "/healthz",
    "/actuator",
    "/actuator/env",
    "/actuator/heapdump",
    "/config",
    "/env",
    "/dump",
    "/heap",
    "/h2-console",
    "/shell",
    "/exec",
    "/eval",
    "/shutdown",
    "/restart",
    "/reload",
    "/logs",
    "/log",
    "/trace",
    "/server-status",
    "/.git/config",
    "/.env",
    "/_utils",
    "/_config",
    "/_all_dbs",
    "/graphql",
];

const METHODS: [&str; 8] = [
    "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "TRACE", "ADMIN",
];

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_administrative_route() {
    let declared: BTreeSet<(&str, &str)> =
        routes().map(|route| (route.method, route.path)).collect();
    assert_eq!(
        declared,
        ALLOWED.iter().copied().collect(),
        "a route came or went: who allowed it?"
    );

    let stage = Stage::boot().await;
    let mut caller = Caller::connect(&stage.url()).await;
    for path in BACK_DOORS {
        for method in METHODS {
            let answer = caller.send(method, path, &[], None).await;
            assert_eq!(answer.status, 404, "{method} {path}");
        }
    }
    // Of an allowed path, only the allowed methods.
    let paths: BTreeSet<&str> = ALLOWED.iter().map(|(_, path)| *path).collect();
    for path in paths {
        let real = path
            .replace("{id}", "x")
            .replace("{schema}", "social-email")
            .replace("{database}", "x");
        for method in METHODS.into_iter().filter(|method| *method != "HEAD") {
            let answer = caller.send(method, &real, &[], None).await;
            let status = answer.status.as_u16();
            // `count` could also be the name of a database, of which PUT would know: there, either is a refusal.
            let fit = |route: &'static Route| route.method == method && fits(route.path, &real);
            assert!(
                status == 405 || routes().any(fit),
                "{method} {real}: {status}"
            );
            assert!(
                status != 405 || !ALLOWED.contains(&(method, path)),
                "{method} {real}"
            );
        }
    }
}

/// Whether a path is one of a route's.
fn fits(route: &str, path: &str) -> bool {
    let (route, path): (Vec<_>, Vec<_>) = (route.split('/').collect(), path.split('/').collect());
    route.len() == path.len()
        && route
            .iter()
            .zip(&path)
            .all(|(pattern, part)| pattern.starts_with('{') || pattern == part)
}

/// How many different words go through the node.
const ENOUGH: usize = 1000;

/// Sends requests with new marked words until so many of them were sent.
async fn make_mistakes(owner: &mut Owner, marks: &mut Marks, token: &str, answers: &mut Vec<u8>) {
    let key = owner.key.clone();
    let app = format!("Bearer {token}");
    let (database, id) = (marks.next("database name"), marks.next("record id"));
    let create = json!({ "record": { "_id": format!("{}-1", id.word) } });
    let (status, answer) = owner
        .ask("POST", &format!("/db/{}", database.word), Some(create))
        .await;
    assert_eq!(status, 201, "{answer}");
    let mut words = Words {
        text: marks.next("record text"),
        member: marks.next("member name"),
        question: marks.next("question"),
        nonsense: marks.next("nonsense"),
        id,
        database,
    };
    let mut turn = 0;
    while marks.sent() < ENOUGH {
        let wrong = format!("Bearer adyt_{}", words.nonsense.word);
        let credentials = Credentials {
            owner: ("x-api-key", &key),
            app: ("authorization", &app),
            wrong: ("authorization", &wrong),
        };
        let mut all = mistakes(&words, &credentials);
        let Mistake {
            method,
            path,
            headers,
            body,
        } = all.swap_remove(turn % all.len());
        turn += 1;
        // And where nobody asked for any: in a header, and behind the path.
        let aside = [marks.next("nonsense").word, marks.next("nonsense").word];
        let path = format!(
            "{path}{}{}",
            if path.contains('?') { '&' } else { '?' },
            aside[0]
        );
        let mut headers = headers;
        headers.push(("x-marked", &aside[1]));
        let sent = format!(
            "{path} {headers:?} {}",
            body.as_ref().map(Value::to_string).unwrap_or_default()
        );
        let answer = owner
            .caller
            .send(method, &path, &headers, body.as_ref())
            .await;
        assert!(!answer.status.is_success(), "{method} {path} is no mistake");
        assert!(answer.status != 500, "{method} {path}");
        drop((path, headers, body));
        marks.count(&sent);
        answers.extend_from_slice(format!("{:?}", answer.headers).as_bytes());
        answers.extend_from_slice(&answer.body);
        words.text = marks.next("record text");
        words.member = marks.next("member name");
        words.question = marks.next("question");
        words.nonsense = marks.next("nonsense");
    }
    eprintln!("{turn} mistakes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_marked_words_are_nowhere_but_where_they_belong() {
    let stage = Stage::boot().await;
    let mut owner = Owner::new(&stage).await;
    let mut marks = Marks::new();
    let mut answers = Vec::new();

    // Into records and out of them, through the owner and an app.
    let database = marks.next("database name");
    for n in 0..30 {
        let mut record = json!({ "_id": format!("{}-{n}", marks.next("record id").word) });
        for _ in 0..5 {
            record[marks.next("member name").word] = marks.next("record text").word.into();
        }
        let text = record.to_string();
        let (status, answer) = owner
            .ask(
                "POST",
                &format!("/db/{}", database.word),
                Some(json!({ "record": record })),
            )
            .await;
        assert_eq!(status, 201, "{answer}");
        marks.count(&text);
    }
    let query = json!({ "query": { "_id": { "$ne": marks.next("question").word } }, "options": { "limit": 100 } });
    let (status, found) = owner
        .ask(
            "POST",
            &format!("/db/query/{}", database.word),
            Some(query.clone()),
        )
        .await;
    assert_eq!(status, 200);
    assert!(
        marks.in_text(&found.to_string()) >= 300,
        "the owner sees them"
    );
    let scopes = json!({ "scopes": ["api:db-query", format!("db:r:{}", database.word)] });
    let (_, minted) = owner.ask("POST", "/auth/token", Some(scopes)).await;
    let token = minted["token"].as_str().unwrap().to_owned();

    // Everything that can go wrong.
    make_mistakes(&mut owner, &mut marks, &token, &mut answers).await;
    for path in [
        "/livez",
        "/readyz",
        "/api/rest/v1/info/status",
        "/api/rest/v1/auth/scopes",
    ] {
        let answer = owner.caller.send("GET", path, &[], None).await;
        answers.extend_from_slice(&answer.body);
    }
    assert!(marks.sent() >= ENOUGH, "{}", marks.sent());
    // Loaded again, so that plaintext of all records is in memory.
    let (status, _) = owner
        .ask("POST", &format!("/db/query/{}", database.word), Some(query))
        .await;
    assert_eq!(status, 200);

    // In the guest's memory now; two seconds after they were dropped, not any more.
    let secrets = secrets(&owner.session, &token);
    let before = stage.enclave.memory().unwrap().bytes;
    let (there, keys) = (marks.in_memory(&before), found_secrets(&secrets, &before));
    eprintln!("in memory while loaded: {there} marked words; {keys:?}");
    assert!(there >= 150, "the search finds what is there: {there}");
    assert!(!keys.is_empty(), "the search finds secrets that are there");
    drop(before);
    // A grant that is alive keeps its scopes, which name a database; this one is ended.
    let path = format!("/auth/tokens/{}", minted["_id"].as_str().unwrap());
    assert_eq!(owner.ask("DELETE", &path, None).await.0, 200);
    let Owner { caller, .. } = owner;
    drop(caller);
    evicted(&stage.url()).await;
    let dropped = Instant::now();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let after = stage.enclave.memory().unwrap();
    let waited = after.taken - dropped;
    eprintln!("looked {waited:?} after the eviction");
    assert!(
        waited < Duration::from_secs(2),
        "too late to say: {waited:?}"
    );
    let after = after.bytes;
    let left = marks.places(&after);
    assert!(
        left.is_empty(),
        "{} left in memory after eviction:\n{}",
        left.len(),
        left.join("\n")
    );
    assert_eq!(
        found_secrets(&secrets, &after),
        Vec::<&str>::new(),
        "secrets left in memory"
    );

    // Nowhere else, ever. What storage nodes see by design (SECURITY.md) goes to the storage node, in this stage without TLS.
    let mut places = vec![
        ("the console".to_owned(), stage.enclave.console().bytes()),
        ("the host's log".to_owned(), stage.host.said().into_bytes()),
        ("problems and public pages".to_owned(), answers),
    ];
    let mut bytes = 0;
    for ((port, speaker), heard) in stage.tap.everything() {
        bytes += heard.len();
        if port != Port::OfHost(9200) {
            places.push((format!("vsock: {port:?}, {speaker:?}"), heard));
        }
    }
    eprintln!("looked through {bytes} bytes between enclave and host");
    for (place, hay) in &places {
        assert_eq!(marks.places(hay), Vec::<String>::new(), "{place}");
        assert_eq!(found_secrets(&secrets, hay), Vec::<&str>::new(), "{place}");
    }
    let to_storage = stage.tap.heard(Port::OfHost(9200), Speaker::Enclave);
    let by_design = marks.in_text(&String::from_utf8_lossy(&to_storage));
    assert!(
        by_design > 0,
        "the tap hears, and the search finds what storage nodes see by design"
    );
    let private = marks.private_in(&to_storage);
    assert_eq!(private, Vec::<String>::new(), "to the storage node");
}

/// Everything secret that is the owner's, beside the words.
fn secrets(session: &ContextSession, token: &str) -> Vec<Needle> {
    let session: Value = serde_json::from_slice(&session.expose_json()).unwrap();
    vec![
        Needle::of(
            "session seed",
            session["signature"].as_str().unwrap().to_owned(),
        ),
        Needle::of("access token", token.to_owned()),
    ]
}

fn found_secrets(secrets: &[Needle], hay: &[u8]) -> Vec<&'static str> {
    secrets
        .iter()
        .filter(|secret| secret.count_in(hay) > 0)
        .map(|secret| secret.name)
        .collect()
}
