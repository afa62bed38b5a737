//! Searches over the records in memory: they follow every batch, and show what a view shows.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use adyton_client::pull::PlainBatch;
use adyton_couch::rev::{Rev, RevHash};
use adyton_node::memory::{
    Budget, Documents, Findings, QueryError, Search, Searched, Thread, View, search, search_threads,
};
use adyton_protocol::scope::{FieldName, Instant, Window};
use adyton_search::{Options, Query};
use serde_json::{Value, json};

const EMAIL: &str = "https://common.schemas.verida.io/social/email/v0.1.0/schema.json";
const MESSAGE: &str = "https://common.schemas.verida.io/social/chat/message/v0.1.0/schema.json";
const EVENT: &str = "https://common.schemas.verida.io/social/event/v0.1.0/schema.json";

fn rev(generation: u64) -> Rev {
    Rev::new(generation, RevHash::from_bytes([7; 16])).unwrap()
}

fn apply(documents: &mut Documents, records: &[Value], removed: &[&str]) {
    let mut batch = PlainBatch::with_capacity(1 << 12);
    for record in records {
        let id = record["_id"].as_str().unwrap();
        batch
            .push(id, rev(1), record.to_string().as_bytes())
            .unwrap();
    }
    for id in removed {
        batch.remove(id, rev(2));
    }
    documents.apply(batch).unwrap();
}

fn email(id: &str, subject: &str, text: &str, month: u32) -> Value {
    json!({
        "_id": id, "schema": EMAIL, "name": subject, "messageText": text, "fromName": "Ann", "fromEmail": "ann@example.org",
        "sentAt": format!("2024-{month:02}-01T00:00:00.000Z"), "insertedAt": "2020-01-01T00:00:00Z", "type": "receive",
        "attachments": [{ "filename": "a.pdf", "textContent": "lighthouse" }], "signatures": { "a": "b" },
    })
}

fn asked(keywords: &str) -> Search {
    Search {
        typed: keywords.to_owned(),
        query: Query::parse(keywords).unwrap(),
        options: Options::default(),
        limit: 20,
        least_of_each: 0,
        after: None,
        facets: Vec::new(),
        highlight: false,
    }
}

fn ready(documents: &Documents, view: &View) {
    while !documents.read_words(view.schema().unwrap()).unwrap() {}
}

fn find(documents: &Documents, view: &View, asked: &Search) -> Result<Findings, QueryError> {
    ready(documents, view);
    let target = Searched { documents, view };
    search(&[target], asked).map(Option::unwrap)
}

fn ids(findings: &Findings) -> Vec<&str> {
    findings
        .items
        .iter()
        .map(|found| found.document.id())
        .collect()
}

fn found(documents: &Documents, view: &View, keywords: &str) -> Vec<String> {
    let findings = find(documents, view, &asked(keywords)).unwrap();
    assert_eq!(findings.totals, [findings.items.len()]);
    ids(&findings).into_iter().map(str::to_owned).collect()
}

fn some() -> Documents {
    let mut documents = Documents::new(Budget::new(64 << 20));
    apply(
        &mut documents,
        &[
            email("a", "Train", "The night train to Vienna leaves at nine.", 1),
            email("b", "Invoice", "Two invoices for March.", 3),
            email("c", "Invoice again", "One more invoice for the train.", 5),
            json!({ "_id": "x", "schema": "https://other/", "messageText": "train" }),
        ],
        &[],
    );
    documents
}

#[test]
fn a_search_follows_every_batch_at_once() {
    let mut documents = some();
    let view = View::of_schema(EMAIL);
    assert_eq!(found(&documents, &view, "train"), ["a", "c"]);
    apply(
        &mut documents,
        &[email("a", "Boat", "The ferry to Vienna.", 1)],
        &["c"],
    );
    assert_eq!(found(&documents, &view, "train "), [""; 0]);
    assert_eq!(found(&documents, &view, "ferry"), ["a"]);
    apply(
        &mut documents,
        &[email("d", "Train", "new", 7), email("d", "Bus", "newer", 7)],
        &[],
    );
    assert_eq!(found(&documents, &view, "bus"), ["d"]);
    assert_eq!(found(&documents, &view, "train "), [""; 0]);
    // A record that changes its schema is another one's.
    apply(
        &mut documents,
        &[json!({ "_id": "d", "schema": "https://other/", "messageText": "bus" })],
        &[],
    );
    assert_eq!(found(&documents, &view, "bus "), [""; 0]);
    assert_eq!(
        found(&documents, &View::of_schema("https://other/"), "bus"),
        ["d"]
    );
}

#[test]
fn what_changes_while_an_index_is_built_is_in_it() {
    let mut documents = Documents::new(Budget::new(256 << 20));
    let all: Vec<Value> = (0..9_000)
        .map(|n| {
            email(
                &format!("id{n:05}"),
                "Old",
                &format!("number n{n} old"),
                1 + n % 12,
            )
        })
        .collect();
    for part in all.chunks(1_000) {
        apply(&mut documents, part, &[]);
    }
    assert!(
        !documents.read_words(EMAIL).unwrap(),
        "it takes more than one slice"
    );
    let view = View::of_schema(EMAIL);
    let target = Searched {
        documents: &documents,
        view: &view,
    };
    assert!(
        search(&[target], &asked("old")).unwrap().is_none(),
        "and says so until then"
    );
    // One that was read, one that was not, one that is gone, one that is new.
    let changed = [
        email("id00001", "New", "changed", 1),
        email("id08999", "New", "changed", 1),
        email("new", "New", "changed", 1),
    ];
    apply(&mut documents, &changed, &["id00002", "id08998"]);
    let findings = find(&documents, &view, &asked("changed")).unwrap();
    assert_eq!(findings.totals, [3]);
    for gone in ["n1 ", "n2 ", "n8998 ", "n8999 "] {
        assert_eq!(
            found(&documents, &view, &format!("\"{}\"", gone.trim())),
            [""; 0],
            "{gone}"
        );
    }
    assert_eq!(
        find(&documents, &view, &asked("\"old\"")).unwrap().totals,
        [8_996]
    );
}

#[test]
fn an_index_of_words_gives_way_to_records_and_is_built_again() {
    let mut documents = Documents::new(Budget::new(8 << 20));
    let all: Vec<Value> = (0..500)
        .map(|n| email(&format!("id{n}"), "Train", &format!("number n{n}"), 1))
        .collect();
    apply(&mut documents, &all, &[]);
    let view = View::of_schema(EMAIL);
    assert_eq!(
        find(&documents, &view, &asked("train")).unwrap().totals,
        [500]
    );
    assert!(documents.usage().indexes > 10_000 && documents.has_words(EMAIL));
    let filler = "x".repeat(20_000);
    let mut filled = 0;
    while documents.has_words(EMAIL) {
        apply(
            &mut documents,
            &[email(&format!("big{filled}"), "x", &filler, 1)],
            &[],
        );
        filled += 1;
        assert!(filled < 400);
    }
    assert_eq!(documents.usage().indexes, 0);
    // Its room is reserved before it is built, and there is none.
    assert!(documents.read_words(EMAIL).is_err() && !documents.has_words(EMAIL));
    let big: Vec<String> = (0..filled).map(|n| format!("big{n}")).collect();
    apply(
        &mut documents,
        &[],
        &big.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    assert_eq!(
        find(&documents, &view, &asked("train")).unwrap().totals,
        [500]
    );
}

#[test]
fn nothing_outside_of_a_window_is_found_or_counted() {
    let documents = some();
    let time = |text: &str| Instant::parse(text.as_bytes());
    let window = Window::new(time("2024-02-01"), time("2024-04-01")).unwrap();
    let view = View::of_schema(EMAIL).during(window);
    let mut search = asked("invoice train");
    search.facets = ["type", "sender", "month"].map(str::to_owned).to_vec();
    let findings = find(&documents, &view, &search).unwrap();
    assert_eq!((ids(&findings), &*findings.totals), (vec!["b"], &[1][..]));
    for (_, values) in &findings.facets {
        assert_eq!(values.iter().map(|(_, count)| count).sum::<usize>(), 1);
    }
    // The same records alone, elsewhere: the same score.
    let mut alone = Documents::new(Budget::new(64 << 20));
    apply(
        &mut alone,
        &[email("b", "Invoice", "Two invoices for March.", 3)],
        &[],
    );
    let other = find(&alone, &View::of_schema(EMAIL), &search).unwrap();
    assert_eq!(
        other.items[0].score.to_bits(),
        findings.items[0].score.to_bits()
    );
    assert_eq!(other.facets, findings.facets);
}

#[test]
fn a_field_that_is_left_out_is_not_searched_shown_or_asked() {
    let documents = some();
    let without = |fields: &[&str]| {
        let fields: Vec<FieldName> = fields
            .iter()
            .map(|field| FieldName::parse(field).unwrap())
            .collect();
        View::of_schema(EMAIL).without(&fields)
    };
    let view = without(&["messageText", "attachments"]);
    assert_eq!(found(&documents, &view, "vienna "), [""; 0]);
    assert_eq!(found(&documents, &view, "lighthouse "), [""; 0]);
    let mut search = asked("train");
    search.highlight = true;
    let findings = find(&documents, &view, &search).unwrap();
    assert_eq!(ids(&findings), ["a"]);
    let shown = String::from_utf8(findings.items[0].document.object().to_vec()).unwrap();
    assert!(!shown.contains("Vienna") && !shown.contains("signatures"));
    assert_eq!(
        findings.items[0].pieces,
        [("name".to_owned(), vec!["<mark>Train</mark>".to_owned()])]
    );
    let refused = |view: &View, search: &Search| {
        matches!(
            find(&documents, view, search),
            Err(QueryError::FieldNotGranted(_))
        )
    };
    // Whether anything is there or not, the answer is the same.
    for keywords in [
        "body:vienna",
        "messageText:nothing",
        "attachment:x",
        "train -body:vienna",
    ] {
        assert!(refused(&view, &asked(keywords)), "{keywords}");
    }
    for set in [
        |search: &mut Search| search.options.fields = vec!["messageText".to_owned()],
        |search: &mut Search| search.options.boosts = vec![("messageText".to_owned(), 2.0)],
    ] {
        let mut search = asked("train");
        set(&mut search);
        assert!(refused(&view, &search));
    }
    let view = without(&["sentAt", "fromEmail"]);
    for keywords in ["train after:2024", "before:2024"] {
        assert!(refused(&view, &asked(keywords)), "{keywords}");
    }
    for facet in ["sender", "month"] {
        let mut search = asked("train");
        search.facets = vec![facet.to_owned()];
        assert!(refused(&view, &search), "{facet}");
    }
    assert!(
        find(&documents, &view, &asked("train"))
            .unwrap()
            .items
            .iter()
            .all(|found| found.time == i64::MIN)
    );
}

#[test]
fn pages_go_on_where_the_last_one_ended() {
    let mut documents = Documents::new(Budget::new(64 << 20));
    let all: Vec<Value> = (0..97)
        .map(|n| {
            email(
                &format!("id{n:02}"),
                "Train",
                &"x ".repeat(n % 7),
                1 + n as u32 % 3,
            )
        })
        .collect();
    apply(&mut documents, &all, &[]);
    let view = View::of_schema(EMAIL);
    let mut all = asked("train");
    all.limit = 200;
    let findings = find(&documents, &view, &all).unwrap();
    assert!(findings.next.is_none());
    let whole: Vec<String> = ids(&findings).into_iter().map(str::to_owned).collect();
    assert_eq!(whole.len(), 97);
    let mut paged = Vec::new();
    let mut search = asked("train");
    search.limit = 10;
    loop {
        let findings = find(&documents, &view, &search).unwrap();
        assert_eq!(findings.totals, [97]);
        paged.extend(ids(&findings).into_iter().map(str::to_owned));
        search.after = findings.next;
        if search.after.is_none() {
            break;
        }
    }
    assert_eq!(paged, whole);
}

fn message(id: &str, group: &str, text: &str, minute: usize) -> Value {
    json!({
        "_id": id, "schema": MESSAGE, "groupId": group, "messageText": text, "fromName": "Bob",
        "sentAt": format!("2024-01-01T{:02}:{:02}:00.000Z", minute / 60, minute % 60),
    })
}

#[test]
fn several_kinds_are_ranked_in_one_space() {
    let mut mails = some();
    apply(
        &mut mails,
        &[email("z", "Other", &"filler ".repeat(50), 2)],
        &[],
    );
    let mut chats = Documents::new(Budget::new(64 << 20));
    let many: Vec<Value> = (0..60)
        .map(|n| {
            message(
                &format!("m{n}"),
                "g",
                if n % 2 == 0 { "train?" } else { "ok" },
                n,
            )
        })
        .collect();
    apply(&mut chats, &many, &[]);
    let mut events = Documents::new(Budget::new(64 << 20));
    let event = json!({ "_id": "e", "schema": EVENT, "name": "Train to Vienna", "start": { "dateTime": "2024-01-05T09:00:00+01:00" } });
    apply(&mut events, &[event], &[]);
    let views = [
        View::of_schema(EMAIL),
        View::of_schema(MESSAGE),
        View::of_schema(EVENT),
    ];
    let targets: Vec<Searched<'_>> = [&mails, &chats, &events]
        .into_iter()
        .zip(&views)
        .map(|(documents, view)| {
            ready(documents, view);
            Searched { documents, view }
        })
        .collect();
    let all = |search: &Search| search_all(&targets, search);
    let mut wanted = asked("vienna train ");
    let findings = all(&wanted);
    assert_eq!(findings.totals, [2, 30, 1]);
    let first: Vec<&str> = ids(&findings).into_iter().take(2).collect();
    assert!(first.contains(&"e") && first.contains(&"a"), "{first:?}");
    assert!(
        findings
            .items
            .windows(2)
            .all(|pair| pair[0].score >= pair[1].score)
    );
    // Of each kind some are there, and nobody is there twice.
    wanted = asked("train ");
    (wanted.limit, wanted.least_of_each) = (6, 1);
    let mut seen = Vec::new();
    loop {
        let findings = all(&wanted);
        if wanted.after.is_none() {
            let mut kinds: Vec<usize> = findings.items.iter().map(|found| found.kind).collect();
            kinds.sort_unstable();
            kinds.dedup();
            assert_eq!(kinds, [0, 1, 2]);
        }
        seen.extend(ids(&findings).into_iter().map(str::to_owned));
        wanted.after = findings.next;
        if wanted.after.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 33);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 33);
    // An event is found by when it is.
    let found = all(&asked("vienna after:2024-01-05 before:2024-01-06"));
    assert_eq!(ids(&found), ["e"]);
}

fn search_all(targets: &[Searched<'_>], asked: &Search) -> Findings {
    search(targets, asked).unwrap().unwrap()
}

#[test]
fn threads_are_the_messages_around_those_that_were_found() {
    let mut documents = Documents::new(Budget::new(64 << 20));
    let mut all: Vec<Value> = (0..100)
        .map(|n| message(&format!("a{}", 99 - n), "one", "chatter", n))
        .collect();
    all[50]["messageText"] = json!("the lighthouse");
    all[53]["messageText"] = json!("which lighthouse");
    all[90]["messageText"] = json!("lighthouse");
    all.extend((0..3).map(|n| {
        message(
            &format!("b{n}"),
            "two",
            if n == 0 { "a lighthouse" } else { "yes" },
            n,
        )
    }));
    apply(&mut documents, &all, &[]);
    let threads = |view: &View, merge: bool, size: usize| -> Vec<Thread> {
        ready(&documents, view);
        let target = Searched {
            documents: &documents,
            view,
        };
        search_threads(target, &asked("lighthouse"), size, merge)
            .unwrap()
            .unwrap()
            .0
    };
    let view = View::of_schema(MESSAGE);
    let told = threads(&view, true, 10);
    let shape = |threads: &[Thread]| -> Vec<(String, usize, usize)> {
        let mut shape: Vec<_> = threads
            .iter()
            .map(|thread| {
                (
                    thread.group.clone(),
                    thread.messages.len(),
                    thread.found.len(),
                )
            })
            .collect();
        shape.sort();
        shape
    };
    let one = |messages, found| ("one".to_owned(), messages, found);
    assert_eq!(
        shape(&told),
        [one(10, 1), one(13, 2), ("two".to_owned(), 3, 1)]
    );
    for thread in &told {
        let times: Vec<String> = thread
            .messages
            .iter()
            .map(|message| {
                message
                    .member("sentAt")
                    .unwrap()
                    .as_text()
                    .unwrap()
                    .decode()
                    .into_owned()
            })
            .collect();
        assert!(
            times.is_sorted(),
            "in the order of their time, not of their ids"
        );
        let shown: Vec<&str> = thread.messages.iter().map(|message| message.id()).collect();
        assert!(
            thread
                .found
                .iter()
                .all(|found| shown.contains(&found.as_str()))
        );
    }
    assert_eq!(
        shape(&threads(&view, false, 10)),
        [one(10, 1), one(10, 1), one(10, 1), ("two".to_owned(), 3, 1)]
    );
    assert_eq!(
        shape(&threads(&view, true, 1)),
        [one(1, 1), one(1, 1), one(1, 1), ("two".to_owned(), 1, 1)]
    );
    // A conversation is no way around a window.
    let window = Window::new(None, Instant::parse(b"2024-01-01T00:52:00Z")).unwrap();
    let told = threads(&view.clone().during(window), true, 10);
    assert_eq!(shape(&told), [one(10, 1), ("two".to_owned(), 3, 1)]);
    let fields = [FieldName::parse("groupId").unwrap()];
    let narrow = view.without(&fields);
    ready(&documents, &narrow);
    let target = Searched {
        documents: &documents,
        view: &narrow,
    };
    assert!(matches!(
        search_threads(target, &asked("lighthouse"), 10, true),
        Err(QueryError::FieldNotGranted(_))
    ));
}
