//! A changes feed that is not what the protocol says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use http::StatusCode;
use rand_core::{OsRng, TryRngCore};
use serde_json::{Value, json};

use super::Scene;
use crate::support::lying_node::{Act, Asked};
use crate::support::{ids, note, notes};

const REV: &str = "1-967a00dff5e02add41819138abb3284d";
const OTHER_REV: &str = "1-067a00dff5e02add41819138abb3284d";

/// Rows that go on as long as somebody reads them.
fn endless(row: impl Fn(u64) -> Value + Send + 'static) -> Act {
    let first = stream::iter([Ok(Bytes::from_static(b"{\"results\":["))]);
    let rows = stream::iter(1..).map(move |n| Ok(Bytes::from(format!("{},\n", row(n)))));
    Act::Stream(first.chain(rows).boxed())
}

fn row(seq: impl Into<Value>, id: &str, payload: &str) -> Value {
    json!({
        "seq": seq.into(), "id": id, "changes": [{ "rev": REV }],
        "doc": { "_id": id, "_rev": REV, "payload": payload },
    })
}

/// A feed of these rows, as the whole answer.
fn rows(rows: &[Value]) -> Act {
    Act::Say(
        StatusCode::OK,
        json!({ "results": rows, "last_seq": 99 }).to_string(),
    )
}

/// Loading with this lie about the feed gives this problem; with the truth, everything is there again.
async fn loading_ends_in(
    status: u16,
    code: &str,
    limits: &str,
    lie: impl Fn(&Asked) -> Option<Act> + Send + Sync + 'static,
) {
    let mut scene = Scene::with(limits).await;
    scene
        .lying
        .lie(move |asked| lie(asked).unwrap_or(Act::Honest));
    scene.notes().await.problem(status, code);
    scene.bystander.is_unharmed().await;
    // And once more: a failure is not remembered as an answer.
    scene.notes().await.problem(status, code);
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn a_feed_that_repeats_a_row_for_ever_is_left() {
    loading_ends_in(502, "storage-misbehaved", "", |asked| {
        asked
            .is_snapshot()
            .then(|| endless(|_| row(1, "note-0", "AAAA")))
    })
    .await;
}

#[tokio::test]
async fn a_feed_that_numbers_the_same_row_anew_for_ever_is_left() {
    loading_ends_in(502, "storage-misbehaved", "", |asked| {
        asked
            .is_snapshot()
            .then(|| endless(|n| row(n, "note-0", "AAAA")))
    })
    .await;
}

#[tokio::test]
async fn a_feed_with_more_rows_than_the_database_has_is_left() {
    loading_ends_in(502, "storage-misbehaved", "", |asked| {
        asked
            .is_snapshot()
            .then(|| endless(|n| row(n, &format!("x{n}"), "AAAA")))
    })
    .await;
}

#[tokio::test]
async fn new_records_for_ever_end_at_the_memory_budget() {
    let mut scene = Scene::with("tenant_memory_mib = 4").await;
    let session = scene.person.sdk(&scene.world).await;
    let cipher = Arc::new(session.database(&notes()).cipher());
    scene.lying.lie(move |asked| {
        if asked.is_info() {
            return Act::Alter(Box::new(|mut info| {
                info["doc_count"] = 1_000_000_000_u64.into();
                info
            }));
        }
        let cipher = Arc::clone(&cipher);
        match asked.is_snapshot() {
            true => endless(move |n| {
                let id = format!("x{n}");
                let text = json!({ "_id": id, "text": "x".repeat(50_000) }).to_string();
                row(
                    n,
                    &id,
                    &cipher.seal(text.as_bytes(), &mut OsRng.unwrap_err()),
                )
            }),
            false => Act::Honest,
        }
    });
    // More than one user may have, whatever the storage node said of its size.
    scene.notes().await.problem(507, "too-large-for-this-node");
    scene.bystander.is_unharmed().await;
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn a_row_that_is_longer_than_there_is_room_is_not_even_held() {
    // It never ends, and no one waits for that: the budget counts what is on its way, too.
    loading_ends_in(503, "overloaded", "node_memory_mib = 16", |asked| {
        asked.is_snapshot().then(|| {
            let head = format!(
                r#"{{"results":[{{"seq":1,"id":"a","changes":[{{"rev":"{REV}"}}],"doc":{{"_id":"a","_rev":"{REV}","payload":""#
            );
            let begun = stream::iter([Ok(Bytes::from(head))]);
            let middle = Bytes::from(vec![b'A'; 1 << 16]);
            let first = stream::iter((0..100).map(move |_| Ok(middle.clone())));
            Act::Stream(begun.chain(first).chain(stream::pending()).boxed())
        })
    })
    .await;
}

#[tokio::test]
async fn a_live_row_that_is_longer_than_there_is_room_is_told() {
    let mut scene = Scene::with("node_memory_mib = 16").await;
    scene.lying.lie(|asked| {
        if !asked.is_live() {
            return Act::Honest;
        }
        let head = format!(r#"{{"seq":1000,"id":"a","doc":{{"_id":"a","_rev":"{REV}","payload":""#);
        let begun = stream::iter([Ok(Bytes::from(head))]);
        let middle = Bytes::from(vec![b'A'; 1 << 16]);
        let endless = stream::iter(std::iter::repeat_with(move || Ok(middle.clone())));
        Act::Stream(begun.chain(endless).boxed())
    });
    // The data is loaded again each time, and the live feed never holds more than there is room for.
    for _ in 0..10 {
        assert_eq!(ids(&scene.notes().await).len(), 3);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    scene.bystander.is_unharmed().await;
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn a_feed_that_goes_backwards_is_left() {
    loading_ends_in(502, "storage-misbehaved", "", |asked| {
        asked
            .is_snapshot()
            .then(|| rows(&[row("5-x", "a", "AAAA"), row("4-x", "b", "AAAA")]))
    })
    .await;
}

#[tokio::test]
async fn a_feed_whose_row_and_document_disagree_is_left() {
    for (member, value) in [("_rev", OTHER_REV), ("_id", "other")] {
        loading_ends_in(502, "storage-misbehaved", "", move |asked| {
            let mut row = row(1, "note-0", "AAAA");
            row["doc"][member] = value.into();
            asked.is_snapshot().then(|| rows(&[row]))
        })
        .await;
    }
}

#[tokio::test]
async fn a_revision_that_is_none_and_a_row_that_is_none_are_refused() {
    let not_a_rev = json!({
        "seq": 1, "id": "a", "changes": [{ "rev": "newest" }],
        "doc": { "_id": "a", "_rev": "newest", "payload": "" },
    });
    let no_revs = json!({ "seq": 1, "id": "a", "changes": [], "doc": null });
    let no_document = json!({ "seq": 1, "id": "a", "changes": [{ "rev": REV }] });
    let long_id = row(1, &"x".repeat(1025), "AAAA");
    let no_position = row("soon", "a", "AAAA");
    for lie in [
        not_a_rev,
        no_revs,
        no_document,
        long_id,
        no_position,
        json!({ "a": 1 }),
    ] {
        loading_ends_in(502, "storage-misbehaved", "", move |asked| {
            asked
                .is_snapshot()
                .then(|| rows(std::slice::from_ref(&lie)))
        })
        .await;
    }
}

#[tokio::test]
async fn a_feed_that_ends_in_the_middle_is_no_database() {
    // Cut within a row, the answer well-formed for HTTP.
    loading_ends_in(502, "storage-misbehaved", "", |asked| {
        let text = format!("{{\"results\":[{}", row(1, "a", "AAAA"));
        let cut = text[..text.len() - 10].to_owned();
        asked.is_snapshot().then(|| Act::Say(StatusCode::OK, cut))
    })
    .await;
    // Cut between two rows: everything that came is good, and still it is not everything.
    loading_ends_in(502, "storage-misbehaved", "", |asked| {
        asked.is_snapshot().then(|| {
            let text = format!("{{\"results\":[{},", row(1, "a", "AAAA"));
            Act::Say(StatusCode::OK, text)
        })
    })
    .await;
}

#[tokio::test]
async fn a_feed_that_is_no_feed_is_refused() {
    for text in ["", "null", "<html>maintenance</html>", "[]", "{}"] {
        loading_ends_in(502, "storage-misbehaved", "", move |asked| {
            asked
                .is_snapshot()
                .then(|| Act::Say(StatusCode::OK, text.to_owned()))
        })
        .await;
    }
}

#[tokio::test]
async fn a_silent_feed_is_given_up_after_a_time() {
    loading_ends_in(
        502,
        "storage-unreachable",
        "storage_silence_seconds = 1",
        |asked| {
            asked.is_snapshot().then(|| {
                let begun = stream::iter([Ok(Bytes::from_static(b"{\"results\":["))]);
                Act::Stream(begun.chain(stream::pending()).boxed())
            })
        },
    )
    .await;
}

#[tokio::test]
async fn a_feed_that_drips_is_given_up_after_the_time_for_loading() {
    loading_ends_in(504, "timeout", "load_seconds = 2", |asked| {
        asked.is_snapshot().then(|| {
            let begun = stream::iter([Ok(Bytes::from_static(b"{\"results\":["))]);
            let drops = stream::iter(1..).then(|_| async {
                tokio::time::sleep(Duration::from_millis(200)).await;
                Ok(Bytes::from_static(b"\n"))
            });
            Act::Stream(begun.chain(drops).boxed())
        })
    })
    .await;
}

#[tokio::test]
async fn a_count_that_is_none_is_refused() {
    for info in [
        "{\"doc_count\":-1}",
        "{}",
        "\"many\"",
        "{\"doc_count\":1e30}",
    ] {
        loading_ends_in(502, "storage-misbehaved", "", move |asked| {
            asked
                .is_info()
                .then(|| Act::Say(StatusCode::OK, info.to_owned()))
        })
        .await;
    }
}

#[tokio::test]
async fn a_live_feed_that_lies_does_not_change_what_is_served() {
    let mut scene = Scene::set().await;
    let lies = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&lies);
    scene.lying.lie(move |asked| {
        if !asked.is_live() {
            return Act::Honest;
        }
        let lie = match counted.fetch_add(1, Ordering::SeqCst) % 5 {
            // Older than what was read.
            0 => row(0, "note-0", "AAAA"),
            1 => {
                let mut row = row(1_000_000, "note-0", "AAAA");
                row["doc"]["_rev"] = OTHER_REV.into();
                row
            }
            2 => json!({ "seq": 1_000_001, "id": "note-1", "changes": [{ "rev": "latest" }] }),
            3 => json!({ "nothing": [] }),
            _ => json!({ "seq": 1_000_002, "id": "note-2", "changes": [] }),
        };
        let lie = stream::iter([Ok(Bytes::from(format!("{lie}\n")))]);
        Act::Stream(lie.chain(stream::pending()).boxed())
    });
    while lies.load(Ordering::SeqCst) < 5 {
        assert_eq!(ids(&scene.notes().await), ["note-0", "note-1", "note-2"]);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    scene.lying.be_honest();
    scene.lying.cut_connections();
    let session = scene.person.sdk(&scene.world).await;
    let database = session.database(&notes());
    let more = crate::support::prepared(&session, note(3), adyton_client::record::Save::Insert);
    database.put(&more, &database.cipher()).await.unwrap();
    scene
        .node
        .notes_until(&scene.key, |answer| ids(answer).len() == 4)
        .await;
    scene.bystander.is_unharmed().await;
}

#[tokio::test]
async fn a_live_feed_that_lies_all_the_time_does_not_keep_its_owner_from_writing() {
    let mut scene = Scene::set().await;
    let key = scene.key.clone();
    scene.lying.lie(|asked| match asked.is_live() {
        true => Act::Say(StatusCode::OK, format!("{}\n", row(0, "note-0", "AAAA"))),
        false => Act::Honest,
    });
    let mut written = 0;
    for n in 100..160 {
        let answer = scene.node.create_note(&key, &note(n)).await;
        match answer.status.is_success() {
            true => written += 1,
            // The task ended in the middle of it: that is said, and repeating it is safe.
            false => assert_eq!(answer.status, 503, "{}", answer.json()),
        }
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    assert!(written >= 58, "{written}");
    scene.lying.be_honest();
    let everything = |answer: &crate::support::Answer| {
        answer.status.is_success() && ids(answer).len() >= 3 + written
    };
    scene.node.notes_until(&key, everything).await;
    scene.bystander.is_unharmed().await;
}
